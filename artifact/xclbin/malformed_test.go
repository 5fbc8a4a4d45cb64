package xclbin_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/xclbin"
	"npuw/artifact/xclbin/xclbintest"
)

var le = binary.LittleEndian

// Places in the fixture.
const (
	atMem      = 0x2e0
	atPart     = 0x338
	atXML      = 0x5e0
	atIPs      = 0xb28
	atPlain    = 0xb80
	atGrouped  = 0xbd0
	atGroups   = 0xc68
	firstBytes = 456 // the first section header
)

func TestMalformed(t *testing.T) {
	t.Parallel()
	u32 := func(at int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	u64 := func(at int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[at:], v) } }
	fill := func(at, n int) func([]byte) {
		return func(b []byte) { copy(b[at:at+n], bytes.Repeat([]byte{'x'}, n)) }
	}
	text := func(from, to string) func([]byte) {
		return func(b []byte) {
			if len(from) != len(to) {
				panic("texts of different lengths")
			}
			copy(b[atXML+bytes.Index(b[atXML:], []byte(from)):], to)
		}
	}
	corrupt := artifact.ErrCorrupt
	for name, c := range map[string]struct {
		change func([]byte)
		at     int64
		is     error
		says   string
	}{
		"magic":                        {fill(6, 1), 0, xclbin.ErrNotXclbin, "xclbin2"},
		"longer than it says":          {u64(304, 6684), 304, corrupt, "6684"},
		"shorter than it says":         {u64(304, 6686), 304, artifact.ErrTruncated, "6686"},
		"length":                       {u64(304, 1<<64-1), 304, artifact.ErrTruncated, "18446744073709551615"},
		"platform without end":         {fill(352, 64), 352, corrupt, "NUL"},
		"too many sections":            {u32(448, 10_001), 448, corrupt, "10001"},
		"headers past the end":         {u32(448, 9_999), 456, corrupt, "399960"},
		"section name without end":     {fill(firstBytes+4, 16), firstBytes + 4, corrupt, "NUL"},
		"section past the end":         {u64(firstBytes+24, 6685-0x57), firstBytes + 24, corrupt, "reach beyond the 6685"},
		"offset and size overflow":     {u64(firstBytes+24, 1<<64-8), firstBytes + 24, corrupt, "reach beyond"},
		"size overflows":               {u64(firstBytes+32, 1<<64-1), firstBytes + 24, corrupt, "reach beyond"},
		"topology count":               {u32(atMem, 3), atMem, corrupt, "3 entries"},
		"negative topology count":      {u32(atMem, 1<<32-1), atMem, corrupt, "-1 entries"},
		"huge topology count":          {u32(atMem, 1<<31-1), atMem, corrupt, "2147483647 entries"},
		"topology of 3 bytes":          {u64(firstBytes+32, 3), atMem + 0, corrupt, "4 bytes at +0"},
		"tag without end":              {fill(atMem+8+24, 16), atMem + 8 + 24, corrupt, "NUL"},
		"group count":                  {u32(atGroups, 3), atGroups, corrupt, "3 entries"},
		"IP count":                     {u32(atIPs, 2), atIPs, corrupt, "2 entries"},
		"IP name without end":          {fill(atIPs+8+16, 64), atIPs + 8 + 16, corrupt, "NUL"},
		"kernel id":                    {u32(atIPs+8+4, 0x0902_0001), atIPs + 8 + 6, corrupt, "0x902"},
		"connection count":             {u32(atPlain, 7), atPlain, corrupt, "7 entries"},
		"group connection count":       {u32(atGrouped, 13), atGrouped, corrupt, "13 entries"},
		"argument index":               {u32(atGrouped+4, 8), atGrouped + 4, corrupt, "argument 8"},
		"negative argument index":      {u32(atGrouped+4, 1<<32-1), atGrouped + 4, corrupt, "argument -1"},
		"IP index":                     {u32(atGrouped+4+12+4, 1), atGrouped + 20, corrupt, "IP 1 of 1"},
		"negative IP index":            {u32(atGrouped+8, 1<<31), atGrouped + 8, corrupt, "IP -2147483648 of 1"},
		"memory index":                 {u32(atGrouped+12, 2), atGrouped + 12, corrupt, "memory 2 of 2"},
		"negative memory index":        {u32(atGrouped+12, 1<<32-1), atGrouped + 12, corrupt, "memory -1 of 2"},
		"plain memory index":           {u32(atPlain+12, 2), atPlain + 12, corrupt, "memory 2 of 2"},
		"partition name":               {u32(atPart+4, 0x2a8), atPart + 0x2a8, corrupt, "+680"},
		"partition name without end":   {func(b []byte) { fill(atPart+0xd0, 256)(b); u32(atPart+4, 0xd0)(b) }, atPart + 0xd0, corrupt, "NUL"},
		"start columns":                {u32(atPart+40, 1000), atPart + 0xc8, corrupt, "1000 start columns"},
		"start columns elsewhere":      {u32(atPart+44, 1<<32-1), atPart + 0x2a8, corrupt, "start columns"},
		"PDIs":                         {u32(atPart+120, 2), atPart + 0x248, corrupt, "2 PDIs"},
		"as many PDIs as there can be": {u32(atPart+120, 1<<32-1), atPart + 0x248, corrupt, "4294967295 PDIs"},
		"PDI size":                     {u32(atPart+0x248+16, 0x1d9), atPart + 0xd0, corrupt, "PDI 0 of 473 bytes"},
		"PDI place":                    {u32(atPart+0x248+20, 1<<32-1), atPart + 0x2a8, corrupt, "PDI 0"},
		"CDO groups":                   {u32(atPart+0x248+24, 3), atPart + 0x1e8, corrupt, "3 CDO groups"},
		"CDO group's name":             {u32(atPart+0x1e8, 1<<31), atPart + 0x2a8, corrupt, "CDO group"},
		"CDO group's kernels":          {u32(atPart+0x1e8+16, 1<<29), atPart + 0x1d8, corrupt, "kernel ids"},
		"CDO group's groups":           {u32(atPart+0x1e8+24, 1<<30), atPart + 0x1e0, corrupt, "groups before"},
		"no XML":                       {fill(atXML, 0x548), atXML, corrupt, ""},
		"XML cut off":                  {text("</project>", "          "), atXML + 0x548, corrupt, "EOF"},
		"no core":                      {text("<core>", "<cord>"), atXML, corrupt, ""},
		"number":                       {text(`size="0x8"`, `size="0xg"`), atXML, corrupt, `size "0xg" is not a number`},
		"negative number":              {text(`offset="0x08"`, `offset="-008"`), atXML, corrupt, "not a number"},
		"attribute missing":            {text("hostSize", "hostsize"), atXML, corrupt, "no attribute hostSize"},
		"name missing":                 {text(`name="MLIR_AIE"`, `nome="MLIR_AIE"`), atXML, corrupt, "no attribute name"},
		"index":                        {text(`id="3"`, `id="x"`), atXML, corrupt, `id "x"`},
		"gap in the indices":           {text(`id="3"`, `id="9"`), atXML, corrupt, "argument \"bo1\" has index 4, 3 was expected"},
		"qualifier":                    {text(`addressQualifier="1"`, `addressQualifier="5"`), atXML, corrupt, "5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := readFixture(t)
			c.change(b)
			_, err := read(b)
			if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Fatalf("error %v, want %q (%v)", err, c.says, c.is)
			}
			checkError(t, err, int64(len(b)))
			var e *artifact.Error
			errors.As(err, &e)
			if inXML := e.Offset >= atXML && e.Offset <= atXML+0x548; e.Offset != c.at && (c.at != atXML || !inXML) {
				t.Errorf("error %v, want it at byte %d", err, c.at)
			}
		})
	}
}

// withMetadata is a file with the given XML.
func withMetadata(t *testing.T, xml string) []byte {
	t.Helper()
	return encode(t, xclbintest.Spec{Extra: []xclbintest.Section{{Kind: uint32(xclbin.EmbeddedMetadata), Data: []byte(xml)}}})
}

const core, endOfCore = "<project><platform><device><core>", "</core></device></platform></project>"

func TestMetadata(t *testing.T) {
	t.Parallel()
	const arg = `<arg name="a" addressQualifier="0" id="0" size="%s" offset="%s" hostSize="" />`
	for name, c := range map[string]struct {
		xml  string
		is   error // nil: it is read
		says string
	}{
		"no kernel":             {core + endOfCore, nil, ""},
		"ended by NULs":         {core + endOfCore + "\x00\x00<", nil, ""},
		"bad after the core":    {core + endOfCore + "<", artifact.ErrCorrupt, ""},
		"deep":                  {core + strings.Repeat("<a>", 60) + strings.Repeat("</a>", 60) + endOfCore, nil, ""},
		"too deep":              {core + strings.Repeat("<a>", 61) + strings.Repeat("</a>", 61) + endOfCore, artifact.ErrUnsupported, "65 deep"},
		"much too deep":         {strings.Repeat("<a>", 1_000_000), artifact.ErrUnsupported, "65 deep"},
		"as large as may be":    {core + strings.Repeat(" ", 4<<20-len(core+endOfCore)) + endOfCore, nil, ""},
		"too large":             {core + strings.Repeat(" ", 4<<20-len(core+endOfCore)+1) + endOfCore, artifact.ErrUnsupported, "4194305"},
		"a kernel twice":        {core + `<kernel name="k"/><kernel name="k"/>` + endOfCore, artifact.ErrCorrupt, "twice"},
		"octal and decimal":     {core + `<kernel name="k">` + fmt.Sprintf(arg, "010", "10") + "</kernel>" + endOfCore, nil, ""},
		"sizes that overflow":   {core + `<kernel name="k">` + strings.Repeat(fmt.Sprintf(arg, "0xffffffffffffffff", ""), 2) + "</kernel>" + endOfCore, artifact.ErrCorrupt, "add up"},
		"a number with a _":     {core + `<kernel name="k">` + fmt.Sprintf(arg, "1_0", "") + "</kernel>" + endOfCore, artifact.ErrCorrupt, "1_0"},
		"of another encoding":   {`<?xml version="1.0" encoding="utf-16"?>` + core + endOfCore, artifact.ErrCorrupt, "encoding"},
		"kernel of another one": {core + `<other><kernel/></other>` + endOfCore, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := read(withMetadata(t, c.xml))
			if !errors.Is(err, c.is) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q (%v)", err, c.says, c.is)
			}
		})
	}
}

// The components of an OpenCL argument are joined; what has no index is no argument of a call.
func TestComponents(t *testing.T) {
	t.Parallel()
	const arg = `<arg name="%s" addressQualifier="0" id="%s" size="0x4" offset="%s" hostSize="010" hostOffset="2"/>`
	xml := core + `<kernel name="k"><string_table/>` + fmt.Sprintf(arg, "hidden", "", "0x30") + fmt.Sprintf(arg, "b", "1", "16") +
		fmt.Sprintf(arg, "a", "0", "24") + fmt.Sprintf(arg, "a_y", "0", "0x10") + `<instance name="i"/></kernel>` + endOfCore
	f := mustRead(t, withMetadata(t, xml))
	k := f.Kernel("k")
	if k == nil || k.Type != "pl" || k.DPU() || len(k.Arguments) != 3 || len(k.Instances) != 1 || k.Instances[0] != (xclbin.Instance{Name: "i", IP: xclbin.NoIP}) {
		t.Fatalf("kernel %+v", k)
	}
	if a := k.ArgumentAt(0); a.Name != "a" || a.Size != 8 || a.HostSize != 16 || a.Offset != 16 || a.HostOffset != 2 {
		t.Errorf("argument %+v", a)
	}
	if h := k.Argument("hidden"); h.Index != xclbin.NoIndex || k.ArgumentAt(2) != nil {
		t.Errorf("argument %+v", h)
	}
}

// large is a file of zeros behind what it begins with, as large as it says: no medium would hold it.
type large struct {
	begin []byte
	size  int64
}

func (l *large) ReadAt(b []byte, at int64) (int, error) {
	if at >= l.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), l.size-at))
	clear(b[:n])
	if at < int64(len(l.begin)) {
		copy(b[:n], l.begin[at:])
	}
	return n, nil
}

// However much a file holds or says that it holds, little of it is in memory.
func TestBoundedMemory(t *testing.T) {
	const size = 64 << 20
	begin := readFixture(t)
	header := func(i int, kind xclbin.Kind, offset, bytes uint64) {
		h := begin[firstBytes+40*i:][:40]
		le.PutUint32(h, uint32(kind))
		le.PutUint64(h[24:], offset)
		le.PutUint64(h[32:], bytes)
	}
	le.PutUint64(begin[304:], size)
	for i, kind := range []xclbin.Kind{xclbin.Bitstream, xclbin.PDISection, xclbin.BuildMetadata, xclbin.AIEPartition} {
		header(i, kind, atPart, size-atPart)
	}
	for i := 4; i < 7; i++ {
		header(i, xclbin.Bitstream, 0, size)
	}
	le.PutUint32(begin[atPart+0x248+16:], size-atPart-0xd0) // the PDI

	checkMemory(t, &large{begin: begin, size: size}, 2<<20, nil)
	le.PutUint32(begin[atPart+40:], 1<<16+1) // start columns
	checkMemory(t, &large{begin: begin, size: size}, 2<<20, artifact.ErrUnsupported)
	begin = begin[:2000+4]
	header(0, xclbin.IPLayout, 2000, size-2000)
	le.PutUint32(begin[2000:], 1<<16+1)
	checkMemory(t, &large{begin: begin, size: size}, 2<<20, artifact.ErrUnsupported)
	le.PutUint32(begin[2000:], 1<<16)
	le.PutUint32(begin[atPart+40:], 1)
	checkMemory(t, &large{begin: begin, size: size}, 16<<20, nil)
}

// checkMemory wants a file to be read, or to be refused, with at most so many bytes allocated in all.
func checkMemory(t *testing.T, l *large, most uint64, is error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := xclbin.NewFile(l, l.size)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, is) {
		t.Errorf("error %v, want %v", err, is)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > most {
		t.Errorf("%d bytes were allocated, at most %d were expected", used, most)
	}
}

// XML does not grow into much, whatever it is made of: not a hundredfold. All that is ever allocated is counted, most of which is garbage at once.
func TestBoundedGrowth(t *testing.T) {
	const size = 256 << 10
	fill := func(before, unit, after string) string {
		return core + before + strings.Repeat(unit, size/len(unit)) + after + endOfCore
	}
	for name, xml := range map[string]string{
		"elements":   fill("", "<a/>", ""),
		"instances":  fill("<kernel name='k'>", "<instance/>", "</kernel>"),
		"attributes": fill("<a", " a=''", "/>"),
	} {
		b := withMetadata(t, xml)
		t.Run(name, func(t *testing.T) { checkMemory(t, &large{begin: b, size: int64(len(b))}, 100*size, nil) })
	}
}

// Arrays of AIE_PARTITION that overlap do not multiply.
func TestBoundedPartition(t *testing.T) {
	const pdis, groups = 600, 600
	b := make([]byte, 184, 184+96*(pdis+groups))
	le.PutUint32(b[120:], pdis)
	le.PutUint32(b[124:], uint32(len(b)))
	for range pdis {
		pdi := make([]byte, 96)
		le.PutUint32(pdi[24:], groups)
		le.PutUint32(pdi[28:], 184+96*pdis)
		b = append(b, pdi...)
	}
	b = append(b, make([]byte, 96*groups)...)
	file := encode(t, xclbintest.Spec{Extra: []xclbintest.Section{{Kind: uint32(xclbin.AIEPartition), Data: b}}})
	checkMemory(t, &large{begin: file, size: int64(len(file))}, 64<<20, artifact.ErrUnsupported)
}
