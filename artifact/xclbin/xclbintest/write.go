package xclbintest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"strings"
)

var le = binary.LittleEndian

// The kinds of sections, and the lengths of header and section header.
const (
	embeddedMetadata  = 2
	memTopology       = 6
	connectivity      = 7
	ipLayout          = 8
	groupTopology     = 26
	groupConnectivity = 27
	aiePartition      = 32

	headerBytes        = 456
	sectionHeaderBytes = 40
	atUUID             = 416
)

// Encode gives the file that s says. It fails when a name does not fit its field.
func Encode(s Spec) ([]byte, error) {
	sections := s.sections()
	for i, section := range sections {
		if len(section.Name) > 15 {
			return nil, fmt.Errorf("section %d: the name %q is longer than 15 bytes", i, section.Name)
		}
	}
	if err := s.fits(); err != nil {
		return nil, err
	}
	b := s.header(len(sections))
	at := len(b) + sectionHeaderBytes*len(sections)
	var data []byte
	for _, section := range sections {
		data = pad(data)
		h := make([]byte, sectionHeaderBytes)
		le.PutUint32(h, section.Kind)
		copy(h[4:20], section.Name)
		if len(section.Data) > 0 {
			le.PutUint64(h[24:], uint64(at+len(data)))
			le.PutUint64(h[32:], uint64(len(section.Data)))
		}
		b, data = append(b, h...), append(data, section.Data...)
	}
	b = append(append(b, pad(data)...), s.Tail...)
	le.PutUint64(b[304:], uint64(len(b)))
	if s.UUID == [16]byte{} {
		sum := sha256.Sum256(b)
		copy(b[atUUID:], sum[:16])
	}
	return b, nil
}

// pad fills b with zeros up to a length that is a multiple of eight, as those of header and section headers are.
func pad(b []byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// fits says which name does not fit its field.
func (s *Spec) fits() error {
	check := func(what, name string, most int) error {
		if len(name) > most {
			return fmt.Errorf("%s: the name %q is longer than %d bytes", what, name, most)
		}
		return nil
	}
	if err := check("platform", s.VBNV, 63); err != nil {
		return err
	}
	for _, banks := range [][]Bank{s.Banks, s.Groups} {
		for _, bank := range banks {
			if err := check("bank", bank.Tag, 15); err != nil {
				return err
			}
		}
	}
	for _, k := range s.Kernels {
		for _, instance := range k.Instances {
			if err := check("kernel", k.Name+":"+instance, 63); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Spec) header(sections int) []byte {
	b := make([]byte, headerBytes)
	copy(b, "xclbin2\x00")
	for i := 8; i < 296; i++ {
		b[i] = 0xff // no signature
	}
	le.PutUint64(b[296:], s.Timestamp)
	le.PutUint64(b[312:], s.Timestamp)
	b[330], b[331] = 2, 26 // the version of XRT whose tools would write this
	copy(b[336:], s.InterfaceUUID[:])
	copy(b[352:], s.VBNV)
	copy(b[atUUID:], s.UUID[:])
	le.PutUint32(b[448:], uint32(sections))
	return b
}

// sections are in the order in which xclbinutil writes them.
func (s *Spec) sections() []Section {
	var out []Section
	add := func(kind uint32, name string, data []byte) { out = append(out, Section{kind, name, data}) }
	if len(s.Banks) > 0 {
		add(memTopology, "mem", topology(s.Banks))
	}
	if s.ColumnWidth > 0 {
		add(aiePartition, "part", s.partition())
	}
	if len(s.Kernels) > 0 {
		add(embeddedMetadata, "", s.metadata())
		add(ipLayout, "", s.ipLayout())
		add(connectivity, "", connections(s.connections(false)))
	}
	if !s.NoGroups && len(s.Banks) > 0 {
		groups := s.Groups
		if len(groups) == 0 {
			groups = s.Banks
		}
		if len(s.Kernels) > 0 { // those of the banks stand before those of the groups: the same ones twice where groups are banks
			add(groupConnectivity, "", connections(append(s.connections(false), s.connections(true)...)))
		}
		add(groupTopology, "", topology(groups))
	}
	return append(out, s.Extra...)
}

func topology(banks []Bank) []byte {
	b := make([]byte, 8, 8+40*len(banks))
	le.PutUint32(b, uint32(len(banks)))
	for _, bank := range banks {
		e := make([]byte, 40)
		e[0], e[1] = bank.Type, bank.Used
		le.PutUint64(e[8:], bank.KiB)
		le.PutUint64(e[16:], bank.Base)
		copy(e[24:], bank.Tag)
		b = append(b, e...)
	}
	return b
}

// connections gives {argument, IP, memory} of all kernels.
func (s *Spec) connections(groups bool) [][3]int {
	var out [][3]int
	ip := 0
	for _, k := range s.Kernels {
		for range k.Instances {
			for i, a := range k.Arguments {
				memories := a.Banks
				if groups && len(a.Groups) > 0 {
					memories = a.Groups
				}
				for _, m := range memories {
					out = append(out, [3]int{i, ip, m})
				}
			}
			ip++
		}
	}
	return out
}

func connections(list [][3]int) []byte {
	b := le.AppendUint32(nil, uint32(len(list)))
	for _, c := range list {
		for _, v := range c {
			b = le.AppendUint32(b, uint32(int32(v)))
		}
	}
	return b
}

func (s *Spec) ipLayout() []byte {
	b := make([]byte, 8)
	n := uint32(0)
	for _, k := range s.Kernels {
		for _, instance := range k.Instances {
			e := make([]byte, 80)
			if k.Type == "dpu" {
				le.PutUint32(e, 7)
				le.PutUint16(e[4:], 1)
				le.PutUint16(e[6:], k.ID)
				le.PutUint64(e[8:], ^uint64(0)) // not used
			} else {
				le.PutUint32(e, 1)
				le.PutUint64(e[8:], 0x800000+0x10000*uint64(n))
			}
			copy(e[16:], k.Name+":"+instance)
			b = append(b, e...)
			n++
		}
	}
	le.PutUint32(b, n)
	return b
}

func (s *Spec) metadata() []byte {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<project>\n  <platform>\n    <device>\n      <core>\n")
	for _, k := range s.Kernels {
		fmt.Fprintf(&b, "        <kernel name=\"%s\" language=\"c\" type=\"%s\">\n", quoted(k.Name), quoted(k.Type))
		if k.Type == "dpu" {
			fmt.Fprintf(&b, "          <extended-data subtype=\"1\" functional=\"0\" dpu_kernel_id=\"%#x\"/>\n", k.ID)
		}
		offset := uint64(0)
		for i, a := range k.Arguments {
			qualifier := 0
			if len(a.Banks) > 0 {
				qualifier = 1
			}
			fmt.Fprintf(&b, "          <arg name=\"%s\" addressQualifier=\"%d\" id=\"%d\" size=\"%#x\" offset=\"0x%02x\" hostOffset=\"0x0\" hostSize=\"%#x\" type=\"%s\"/>\n",
				quoted(a.Name), qualifier, i, a.Size, offset, a.Size, quoted(a.Type))
			offset += a.Size
		}
		for _, instance := range k.Instances {
			fmt.Fprintf(&b, "          <instance name=\"%s\"/>\n", quoted(instance))
		}
		b.WriteString("        </kernel>\n")
	}
	b.WriteString("      </core>\n    </device>\n  </platform>\n</project>\n")
	return []byte(b.String())
}

func quoted(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a builder takes everything
	return b.String()
}

// partition writes texts and arrays one after the other behind the fixed part, each from a multiple of eight; arrays are referred to
// by count and offset.
func (s *Spec) partition() []byte {
	b := make([]byte, 184)
	put := func(data ...byte) (at uint32) {
		at = uint32(len(b))
		b = pad(append(b, data...))
		return at
	}
	name, commit := put(0), put(0)
	var columns, kernels []byte
	for _, c := range s.StartColumns {
		columns = le.AppendUint16(columns, c)
	}
	for _, k := range s.Kernels {
		if k.Type == "dpu" {
			kernels = le.AppendUint64(kernels, uint64(k.ID))
		}
	}
	columnsAt, imageAt := put(columns...), put(s.PDI...)
	group := make([]byte, 96)
	le.PutUint32(group, put([]byte("DPU\x00")...))
	group[4] = 1 // primary
	le.PutUint64(group[8:], 1)
	reference(group[16:], len(kernels)/8, put(kernels...))
	reference(group[24:], 1, put(0xc1, 0, 0, 0))
	pdi := make([]byte, 96)
	pdi[15] = 1 // its uuid
	reference(pdi[16:], len(s.PDI), imageAt)
	reference(pdi[24:], 1, put(group...))
	pdiAt := put(pdi...)

	le.PutUint32(b[4:], name)
	le.PutUint32(b[8:], 2048) // operations a cycle
	le.PutUint64(b[16:], 1)   // fingerprints
	le.PutUint64(b[24:], 2)
	le.PutUint16(b[32:], s.ColumnWidth)
	reference(b[40:], len(s.StartColumns), columnsAt)
	reference(b[120:], 1, pdiAt)
	le.PutUint32(b[128:], commit)
	return b
}

func reference(b []byte, count int, at uint32) {
	le.PutUint32(b, uint32(count))
	le.PutUint32(b[4:], at)
}
