// Package plan gives every operand its exact place: segment, offset, size. It works from names, shapes, how the source holds values and a
// recipe alone, so the same model and recipe give the same plan on every machine, and a dry run costs nothing.
package plan

import (
	"bytes"
	"fmt"
	"slices"

	"npuw/artifact"
	"npuw/pipeline/model"
	"npuw/pipeline/recipe"
)

// Revision is the revision of what npuw writes: it rises whenever the same model and recipe give other bytes.
const Revision = 2

// Plan is an artifact before its bytes: the index lacks only what is measured (segment digests, statistics).
type Plan struct {
	Model     *model.Model
	PageBytes uint64
	Index     *artifact.Index
	Operands  []recipe.Operand // in the order of Index.Operands
	// Streams are the bytes of segments that hold instructions, by position in Index.Segments.
	Streams map[int][]byte
}

// New lays out the operands that recipe r makes of model m: segments in order of their first operand, operands in order within.
func New(m *model.Model, r *recipe.Recipe) (*Plan, error) {
	operands, err := r.Expand(m)
	if err != nil {
		return nil, err
	}
	p := &Plan{Model: m, PageBytes: r.PageBytes, Index: &artifact.Index{
		Producer: artifact.Producer{Name: "npuw", Revision: Revision, Recipe: r.Name},
		Model:    artifact.Model{Family: m.Family},
	}}
	for _, a := range m.Attributes {
		kind := artifact.Integer
		if a.IsReal {
			kind = artifact.Real
		}
		p.Index.Model.Attributes = append(p.Index.Model.Attributes, artifact.Attribute{Name: a.Name, Kind: kind, Integer: a.Int, Real: a.Real})
	}
	for _, q := range m.Parameters {
		p.Index.Parameters = append(p.Index.Parameters, artifact.Parameter{Name: q.Name, Axes: q.Axes, Shape: q.Shape})
	}
	return p, p.place(operands)
}

// place groups operands by segment and gives each its offset.
func (p *Plan) place(operands []recipe.Operand) error {
	number := map[string]int{}
	var bySegment [][]recipe.Operand
	for _, o := range operands {
		i, known := number[o.Segment]
		if !known {
			i = len(bySegment)
			number[o.Segment] = i
			bySegment = append(bySegment, nil)
		}
		bySegment[i] = append(bySegment[i], o)
	}
	offset := p.PageBytes
	for i, list := range bySegment {
		var end uint64 // of the operands so far, in the segment
		for _, o := range list {
			at := alignUp(end, artifact.OperandAlign)
			size := o.Bytes
			if size == 0 || size > maxSegmentBytes || at+size > maxSegmentBytes {
				return fmt.Errorf("operand %q: segment %q grows beyond %d bytes", o.Name, o.Segment, uint64(maxSegmentBytes))
			}
			end = at + size
			p.Operands = append(p.Operands, o)
			p.Index.Operands = append(p.Index.Operands, artifact.Operand{
				Name: o.Name, Segment: i, Offset: at, Bytes: size,
				Encoding: o.Encoding, Format: o.Format, Layout: o.Layout, PadBits: o.PadBits, Planes: o.Planes,
				Placements: o.Placements, Fills: o.Fills,
			})
			p.note(&o)
		}
		s := artifact.Segment{Name: list[0].Segment, MemoryGroup: artifact.NoGroup, Offset: offset, Bytes: alignUp(end, p.PageBytes)}
		p.Index.Segments = append(p.Index.Segments, s)
		if offset += s.Bytes; offset > maxFileBytes {
			return fmt.Errorf("segment %q: the artifact grows beyond %d bytes", s.Name, uint64(maxFileBytes))
		}
	}
	return nil
}

// note records what was folded into the operand that was placed last.
func (p *Plan) note(o *recipe.Operand) {
	operand := len(p.Index.Operands) - 1
	add := func(parameter int) {
		n := artifact.Note{Kind: artifact.Folded, Parameter: parameter, Operand: operand}
		if parameter >= 0 && !slices.Contains(p.Index.Notes, n) {
			p.Index.Notes = append(p.Index.Notes, n)
		}
	}
	for _, f := range o.Folds {
		if f.Placement >= 0 {
			add(o.Placements[f.Placement].Parameter)
		}
		add(f.Gamma)
		if f.Beta >= 0 {
			add(f.Beta)
			add(f.Weight)
		}
	}
}

// AddStream appends a segment with an instruction stream, and gives its position. A stream that is there already is not added twice.
func (p *Plan) AddStream(name string, stream []byte) int {
	for i, s := range p.Streams {
		if bytes.Equal(s, stream) {
			return i
		}
	}
	i := len(p.Index.Segments)
	last := p.Index.Segments[i-1]
	p.Index.Segments = append(p.Index.Segments, artifact.Segment{
		Name: name, Kind: artifact.Instructions, MemoryGroup: artifact.NoGroup,
		Offset: last.Offset + last.Bytes, Bytes: alignUp(uint64(len(stream)), p.PageBytes),
	})
	if p.Streams == nil {
		p.Streams = map[int][]byte{}
	}
	p.Streams[i] = stream
	return i
}

// Bounds far beyond any model, so that sums cannot overflow.
const (
	maxSegmentBytes = 1 << 46
	maxFileBytes    = 1 << 50
)

func alignUp(n, align uint64) uint64 { return (n + align - 1) / align * align }

// DataBytes is the length of all segments.
func (p *Plan) DataBytes() uint64 {
	var n uint64
	for _, s := range p.Index.Segments {
		n += s.Bytes
	}
	return n
}

// OperandBytes is the length of all operands, padding included.
func (p *Plan) OperandBytes() int64 {
	var n uint64
	for _, o := range p.Index.Operands {
		n += o.Bytes
	}
	return int64(n)
}
