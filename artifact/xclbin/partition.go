package xclbin

import (
	"bytes"
	"fmt"
	"io"
)

// Partition is the part of the AI engine array that the kernels take.
type Partition struct {
	Name               string
	OperationsPerCycle uint32
	ColumnWidth        uint16   // columns that it is wide
	StartColumns       []uint16 // where it may begin
	PDIs               []PDI
}

// PDI is an image that configures the columns. It is located, not read.
type PDI struct {
	UUID         UUID
	Offset, Size int64 // in the file
	Groups       []CDOGroup
}

// CDOGroup says for which kernels a PDI is loaded.
type CDOGroup struct {
	Name    string
	Type    CDOType
	PDI     uint64   // its id
	Kernels []uint64 // by Kernel.ID
	Before  []uint32 // ids of groups that must have been loaded
}

// readPartition reads the first AIE_PARTITION, nil when there is none.
func (f *File) readPartition(r io.ReaderAt) (*Partition, error) {
	section, ok := f.part(r, AIEPartition)
	if !ok {
		return nil, nil
	}
	p := partition{section, maxEntries}
	b, err := p.read(0, partitionBytes)
	if err != nil {
		return nil, err
	}
	out := &Partition{OperationsPerCycle: le.Uint32(b[atOperations:]), ColumnWidth: le.Uint16(b[atColumnWidth:])}
	if out.Name, err = p.name(b[atPartitionName:], "its name"); err != nil {
		return nil, err
	}
	columns, n, err := p.array(b[atStartColumns:], 2, "start columns")
	if err != nil {
		return nil, err
	}
	out.StartColumns = make([]uint16, n)
	for i := range out.StartColumns {
		out.StartColumns[i] = le.Uint16(columns[2*i:])
	}
	pdis, n, err := p.array(b[atPDIs:], pdiStride, "PDIs")
	if err != nil {
		return nil, err
	}
	out.PDIs = make([]PDI, n)
	for i := range out.PDIs {
		if out.PDIs[i], err = p.pdi(pdis[i*pdiStride:][:pdiStride], i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// partition is an AIE_PARTITION section. Its arrays may overlap, so all of them together have a bound.
type partition struct {
	part

	left uint64 // entries that may still be read
}

// array reads the entries, each of stride bytes, that a count and an offset in b refer to.
func (p *partition) array(b []byte, stride uint64, what string) ([]byte, int, error) {
	n, at := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
	switch {
	case n == 0:
		return nil, 0, nil
	case !p.has(at, n, stride):
		return nil, 0, p.corrupt(min(at, p.size), "%d %s of %d bytes at +%d reach beyond its %d", n, what, stride, at, p.size)
	case n > p.left:
		return nil, 0, p.tooLarge(at, fmt.Sprintf("%%d %s", what), n, p.left)
	}
	p.left -= n
	entries, err := p.read(at, n*stride)
	return entries, int(n), err
}

// name reads the text, ended by a NUL, at the offset in b.
func (p *partition) name(b []byte, what string) (string, error) {
	at := uint64(le.Uint32(b))
	if at >= p.size {
		return "", p.corrupt(p.size, "%s at +%d lies beyond its %d bytes", what, at, p.size)
	}
	text, err := p.read(at, min(maxNameBytes, p.size-at))
	if err != nil {
		return "", err
	}
	end := bytes.IndexByte(text, 0)
	if end < 0 {
		return "", p.corrupt(at, "%s is not ended by a NUL in %d bytes", what, len(text))
	}
	return string(text[:end]), nil
}

func (p *partition) pdi(b []byte, i int) (PDI, error) {
	size, at := uint64(le.Uint32(b[atPDIImage:])), uint64(le.Uint32(b[atPDIImage+4:]))
	if size > 0 && !p.has(at, size, 1) {
		return PDI{}, p.corrupt(min(at, p.size), "PDI %d of %d bytes at +%d reaches beyond its %d", i, size, at, p.size)
	}
	pdi := PDI{UUID: UUID(b[atPDIUUID:]), Offset: p.offset + int64(at), Size: int64(size)}
	groups, n, err := p.array(b[atPDIGroups:], groupStride, "CDO groups")
	if err != nil {
		return PDI{}, err
	}
	pdi.Groups = make([]CDOGroup, n)
	for j := range pdi.Groups {
		if pdi.Groups[j], err = p.group(groups[j*groupStride:][:groupStride]); err != nil {
			return PDI{}, err
		}
	}
	return pdi, nil
}

func (p *partition) group(b []byte) (CDOGroup, error) {
	g := CDOGroup{Type: CDOType(b[atGroupType]), PDI: le.Uint64(b[atGroupPDI:])}
	var err error
	if g.Name, err = p.name(b[atGroupName:], "the name of a CDO group"); err != nil {
		return g, err
	}
	kernels, n, err := p.array(b[atGroupKernels:], 8, "kernel ids")
	if err != nil {
		return g, err
	}
	g.Kernels = make([]uint64, n)
	for i := range g.Kernels {
		g.Kernels[i] = le.Uint64(kernels[8*i:])
	}
	before, n, err := p.array(b[atGroupBefore:], 4, "groups before")
	if err != nil {
		return g, err
	}
	g.Before = make([]uint32, n)
	for i := range g.Before {
		g.Before[i] = le.Uint32(before[4*i:])
	}
	return g, nil
}
