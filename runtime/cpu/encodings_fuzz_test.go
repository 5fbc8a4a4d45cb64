package cpu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/artifact/plane/planetest"
	"npuw/runtime/device"
)

// randomStorage gives a storage of a small matrix [K,N]; false where the form is none.
func randomStorage(seed uint64) (plane.Storage, bool) {
	r := rand.New(rand.NewPCG(seed, 11))
	l := planetest.RandomLayout(r, planetest.Axes("KN", 1+r.Uint64N(40), 1+r.Uint64N(40)))
	form := planetest.RandomForm(r, l)
	s, err := form.Over(l)
	return s, err == nil
}

// Whatever the bytes of an operand are, a run ends without a panic, and gives what the formulas give.
func FuzzEncodedBytes(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, []byte{0, 255, 127, 128, 1, 254})
	}
	f.Fuzz(func(t *testing.T, seed uint64, pattern []byte) {
		s, ok := randomStorage(seed)
		if !ok || len(pattern) == 0 {
			return
		}
		k, n := s.Axes[0].Extent, s.Axes[1].Extent
		c := contract(t, kernel.GEMM, shape("MKN", 1, k, n), "a f32 M* K*", "b f32 K* N*", "c f32 M* N*")
		c.Arguments[1] = kernel.Stored("b", 1, kernel.Weight, s)
		x := newFixture(t, Options{Workers: 1}, c)
		host := must(x.args["b"].Buffer.Host())
		for i := range host {
			host[i] = pattern[i%len(pattern)]
		}
		if _, err := x.kernel.Run(context.Background(), x.args); err != nil {
			t.Fatal(err)
		}
		want := tripleLoop(x.inputs["a"], planetest.Decoded(&s, host), nil, 1, int(k), int(n))
		got := x.values("c")
		for i := range got { // the bits of a NaN are free
			if got[i] != got[i] && want[i] != want[i] {
				got[i], want[i] = 0, 0
			}
		}
		sameBits(t, got, want)
	})
}

// Whatever a contract says of planes, it is refused or runs: nothing panics.
func FuzzEncodedContracts(f *testing.F) {
	for seed := range uint64(20) {
		for field := range byte(14) {
			f.Add(seed, []byte{field, 0, byte(seed), field + 1, 1, 3, field + 2, 2, 200, 4})
		}
	}
	f.Fuzz(func(t *testing.T, seed uint64, edits []byte) {
		s, ok := randomStorage(seed)
		if !ok {
			return
		}
		s.Planes = slices.Clone(s.Planes)
		s.Axes = slices.Clone(s.Axes)
		for r := bytes.NewReader(edits); r.Len() > 0; {
			editStorage(&s, r)
		}
		if s.Bytes > 1<<20 || len(s.Planes) == 0 {
			return
		}
		c := contract(t, kernel.GEMM, shape("MKN", 3, max(s.Axes[0].Extent, 1), max(s.Axes[1].Extent, 1)), "a f32 M* K*", "b f32 K* N*", "c f32 M* N*")
		c.Arguments[1] = kernel.Stored("b", 1, kernel.Weight, s)
		if c.Arguments[0].Bytes > 1<<20 || c.Arguments[2].Bytes > 1<<20 {
			return
		}
		d := New(Options{Workers: 1})
		k, err := d.Open(c)
		if err != nil {
			if !errors.Is(err, device.ErrUnsupported) {
				t.Error(err)
			}
			check(t, d.Close())
			return
		}
		args := device.Arguments{}
		var buffers []device.Buffer
		for _, a := range c.Arguments {
			b := must(d.Allocate(int64(a.Bytes), kernel.NoGroup))
			buffers, args[a.Name] = append(buffers, b), device.Value{Buffer: b}
		}
		if _, err := k.Run(context.Background(), args); err != nil {
			t.Error(err)
		}
		for _, b := range buffers {
			check(t, b.Close())
		}
		check(t, errors.Join(k.Close(), d.Close()))
	})
}

// editStorage changes one field.
func editStorage(s *plane.Storage, r *bytes.Reader) {
	value := func() uint64 { v, _ := binary.ReadUvarint(r); return v }
	field := value() % 14
	p := &s.Planes[value()%uint64(len(s.Planes))]
	p.Block = slices.Clone(p.Block)
	p.Layout = layout.Layout{Axes: slices.Clone(p.Layout.Axes), Digits: slices.Clone(p.Layout.Digits)}
	axis := int(value() % 2)
	digit := &p.Layout.Digits[value()%uint64(len(p.Layout.Digits))]
	switch v := value(); field {
	case 0:
		s.Encoding = plane.Encoding(v)
	case 1:
		s.Bytes = v
	case 2:
		s.Axes[axis].Padded = v
	case 3:
		p.Role = plane.Role(v)
	case 4:
		p.Format = element.Format(v)
	case 5:
		p.HighFirst = !p.HighFirst
	case 6:
		p.Offset = v
	case 7:
		p.Bytes = v
	case 8:
		p.RecordElements = v
	case 9:
		p.RecordBytes = v
	case 10:
		if p.Block != nil {
			p.Block[axis] = v
			if !slices.Contains(p.Block, 0) {
				p.Layout.Axes = plane.Grid(s.Axes, p.Block)
			}
		}
	case 11:
		digit.Size = v
	case 12:
		digit.Stride = v
	case 13:
		digit.Axis = axis
	}
}
