// Package artifacttest makes artifacts for tests out of others.
package artifacttest

import (
	"bytes"
	"slices"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/plane"
	"npuw/artifact/plane/planetest"
)

// Recode writes the artifact at from anew to the path to, with operands that lie as form says: nil leaves one as it is. Arguments of
// contracts follow the operands that are bound to them. Of what encoding cost only the number of elements is recorded.
func Recode(t testing.TB, from, to string, form func(o *artifact.Operand) *planetest.Form) {
	t.Helper()
	f, err := artifact.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, page := *f.Index, f.Header.PageBytes
	x.Operands, x.Segments = slices.Clone(x.Operands), slices.Clone(x.Segments)
	content := make([][]byte, len(x.Operands))
	for i := range x.Operands {
		if content[i], err = recode(f, &x.Operands[i], form); err != nil {
			t.Fatalf("operand %q: %v", x.Operands[i].Name, err)
		}
	}
	place(&x, page)
	rebind(&x)
	w, err := artifact.Create(to, &x, page, false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for i, b := range content {
		o := &x.Operands[i]
		if _, err := w.WriteAt(b, int64(x.Segments[o.Segment].Offset+o.Offset)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range x.Segments { // instructions
		if s := &f.Index.Segments[i]; s.Kind != artifact.Weights {
			b := make([]byte, s.Bytes)
			if _, err := f.ReadAt(b, int64(s.Offset)); err != nil {
				t.Fatal(err)
			}
			if _, err := w.WriteAt(b, int64(x.Segments[i].Offset)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

// recode changes what an index says of an operand, but for its place, and gives its bytes.
func recode(f *artifact.File, o *artifact.Operand, form func(o *artifact.Operand) *planetest.Form) ([]byte, error) {
	wanted := form(o)
	if wanted == nil {
		b := make([]byte, o.Bytes)
		_, err := f.ReadAt(b, int64(f.Index.Segments[o.Segment].Offset+o.Offset))
		return b, err
	}
	v, err := f.OperandValues(o.Name)
	if err != nil {
		return nil, err
	}
	var raw bytes.Buffer
	if err := v.WriteFloat32(&raw); err != nil {
		return nil, err
	}
	values := make([]float32, raw.Len()/4)
	if err := element.ToFloat32(values, raw.Bytes(), element.F32); err != nil {
		return nil, err
	}
	axes := slices.Clone(o.Layout.Axes)
	for a := range axes {
		axes[a].Padded = 0
	}
	s, err := wanted.Storage(axes)
	if err != nil {
		return nil, err
	}
	first := &s.Planes[0]
	o.Encoding, o.Format, o.Layout, o.PadBits, o.Bytes, o.Planes = s.Encoding, first.Format, first.Layout, first.PadBits, s.Bytes, nil
	if s.Encoding != plane.Plain {
		o.Planes = s.Planes
	}
	o.Statistics = element.Stats{Elements: o.Elements()}
	return planetest.Encode(&s, values)
}

// place gives operands and segments their places.
func place(x *artifact.Index, page uint64) {
	const align = 256
	end := make([]uint64, len(x.Segments))
	for i := range x.Operands {
		o := &x.Operands[i]
		o.Offset = (end[o.Segment] + align - 1) / align * align
		end[o.Segment] = o.Offset + o.Bytes
	}
	at := page
	for i := range x.Segments {
		s := &x.Segments[i]
		if s.Offset = at; s.Kind == artifact.Weights {
			s.Bytes = (end[i] + page - 1) / page * page
		}
		at += s.Bytes
	}
}

// rebind makes arguments what the operands are that are bound to them.
func rebind(x *artifact.Index) {
	x.Contracts = slices.Clone(x.Contracts)
	for i := range x.Contracts {
		x.Contracts[i].Arguments = slices.Clone(x.Contracts[i].Arguments)
	}
	for _, b := range x.Bindings {
		s := x.Operands[b.Operand].Storage()
		s.Planes = slices.Clone(s.Planes)
		for i := range s.Planes {
			s.Planes[i].PadBits = 0
		}
		a := &x.Contracts[b.Contract].Arguments[b.Argument]
		group := a.MemoryGroup
		*a = kernel.Stored(a.Name, a.Index, a.Role, s)
		a.MemoryGroup = group
	}
}
