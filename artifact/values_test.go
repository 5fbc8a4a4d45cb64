package artifact

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

func floats(b []byte) []float32 {
	list := make([]float32, len(b)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return list
}

// output is what a method of Values writes.
func output(t *testing.T, write func(w *bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func float32s(t *testing.T, v *Values) []float32 {
	t.Helper()
	return floats(output(t, func(w *bytes.Buffer) error { return v.WriteFloat32(w) }))
}

func TestOperandValues(t *testing.T) {
	t.Parallel()
	s := newSample(16384)
	f := s.file(t)
	for i := range s.operands {
		so := &s.operands[i]
		v, err := f.OperandValues(so.name)
		if err != nil {
			t.Fatal(err)
		}
		shape := make([]uint64, len(so.axes))
		for a, axis := range so.axes {
			shape[a] = axis.Extent
		}
		single, format := so.position != nil, so.format
		if !single {
			format = 0
		}
		if !slices.Equal(v.Shape, shape) || v.Format != format || !v.Exact || v.Name != so.name {
			t.Errorf("operand %q: %+v", so.name, v)
		}
		got := float32s(t, v)
		var raw []byte
		if single {
			raw = output(t, func(w *bytes.Buffer) error { return v.WriteRaw(w) })
		} else {
			wantFault(t, v.WriteRaw(io.Discard), ErrUnsupported, fmt.Sprintf("raw elements of %q", so.name))
		}
		n, size := 0, format.Size()
		eachIndex(shape, func(i []uint64) {
			want := so.logical(i)
			if n < len(got) && got[n] != float32(want) {
				t.Errorf("operand %q at %v is %v, want %v", so.name, i, got[n], want)
			}
			if !single {
				n++
				return
			}
			var word [8]byte
			copy(word[:], raw[n*size:][:size])
			if bits := binary.LittleEndian.Uint64(word[:]); bits != bitsOf(want, so.format) {
				t.Errorf("operand %q at %v has bits %#x, want %#x", so.name, i, bits, bitsOf(want, so.format))
			}
			n++
		})
		if n != len(got) || n*size != len(raw) {
			t.Errorf("operand %q: %d values, %d bytes of elements, want %d", so.name, len(got), len(raw), n)
		}
	}
}

func TestParameterValues(t *testing.T) {
	t.Parallel()
	f := newSample(4096).file(t)
	lost := []string{"folded.gamma", "folded.weight"}
	formats := map[string]element.Format{"split.weight": 0, "linear.bias": element.F32, "conv.weight": element.F16, "tied": element.BF16, "folded.bias": element.F32, "i8.weight": 0, "bfp.weight": 0}
	scaled := []string{"q.weight", "q.bias", "thirds"}
	for i, p := range f.Index.Parameters {
		v, err := f.ParameterValues(p.Name)
		if slices.Contains(lost, p.Name) {
			wantFault(t, err, ErrUnsupported, p.Name)
			if err != nil && !strings.Contains(err.Error(), `folded into operand "folded"`) {
				t.Errorf("parameter %q: %v", p.Name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := formats[p.Name]; ok && v.Format != want {
			t.Errorf("parameter %q: format %v, want %v", p.Name, v.Format, want)
		}
		if v.Exact != (p.Name != "thirds" && p.Name != "u8.weight") || !slices.Equal(v.Shape, p.Shape) {
			t.Errorf("parameter %q: %+v", p.Name, v)
		}
		got := float32s(t, v)
		if uint64(len(got)) != p.Elements() {
			t.Errorf("parameter %q: %d values, want %d", p.Name, len(got), p.Elements())
		}
		for n, x := range got {
			if want := parameterValue(i, uint64(n)); x != float32(want) {
				t.Errorf("parameter %q: value %d is %v, want %v", p.Name, n, x, want)
				break
			}
		}
		var raw bytes.Buffer
		err = v.WriteRaw(&raw)
		if v.Format == 0 || slices.Contains(scaled, p.Name) {
			wantFault(t, err, ErrUnsupported, fmt.Sprintf("raw elements of %q", p.Name))
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		wide := make([]float32, len(got))
		if err := element.ToFloat32(wide, raw.Bytes(), v.Format); err != nil || !slices.Equal(wide, got) {
			t.Errorf("raw elements of %q are not those of its values: %v", p.Name, err)
		}
	}
}

// TestPermuted: values in another order of axes are those of the transposed array, also where they are gathered in several bands.
func TestPermuted(t *testing.T) {
	t.Parallel()
	f := newSample(16384).file(t)
	turned := 0
	for i := range f.Index.Parameters {
		v, err := f.ParameterValues(f.Index.Parameters[i].Name)
		if errors.Is(err, ErrUnsupported) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n := len(v.Shape)
		all := float32s(t, v)
		v.limits.band = 7
		for first := range n {
			order := make([]int, n)
			for j := range order {
				order[j] = (first + j) % n
			}
			p, err := v.Permuted(order...)
			if err != nil {
				t.Fatal(err)
			}
			got := float32s(t, p)
			k := 0
			eachIndex(p.Shape, func(index []uint64) {
				at := uint64(0)
				for axis := range n {
					at = at*v.Shape[axis] + index[slices.Index(order, axis)]
				}
				if math.Float32bits(got[k]) != math.Float32bits(all[at]) {
					t.Fatalf("%q in order %v: element %v is %v, want %v", v.Name, order, index, got[k], all[at])
				}
				k++
			})
			if first > 0 {
				turned++
			}
		}
		for _, order := range [][]int{make([]int, n+1), append(make([]int, n), n), {n}, {-1}} {
			if _, err := v.Permuted(order...); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q in order %v: %v", v.Name, order, err)
			}
		}
	}
	if turned == 0 {
		t.Error("the sample has no parameter of several axes")
	}
}

func TestValuesNotFound(t *testing.T) {
	t.Parallel()
	f := newSmallSample().file(t)
	for _, name := range []string{"", "none", "fc", "fc.weight "} {
		_, err := f.OperandValues(name)
		wantFault(t, err, ErrNotFound, "operand")
		_, err = f.ParameterValues(name)
		wantFault(t, err, ErrNotFound, "parameter")
	}
}

// TestNotRecoverable asks for parameters that Open lets pass and Verify does not.
func TestNotRecoverable(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		name, parameter string
		damage          func(d *damaged)
		want            error
	}{
		{"nowhere", "linear.bias", operand(1, func(o *Operand) { o.Placements = nil }), ErrUnsupported},
		{"a part of it", "split.weight", operand(4, func(o *Operand) { o.Placements = nil }), ErrUnsupported},
		{"boxes that overlap", "split.weight", operand(5, func(o *Operand) { o.Placements[0].From[0].Begin = 6 }), ErrUnsupported},
		{"more than there is", "linear.weight", func(d *damaged) {
			d.index.Parameters[0].Shape = []uint64{64, 64}
			d.index.Operands[0].Placements = []Placement{placed(0, 1, from(0, 64, 1, 0, 0, 7, 1, 0), 0, 0), placed(0, 1, from(0, 64, 1, 0, 7, 57, 1, 1), 0, 0)}
			d.index.Operands[0].Layout.Axes = axes("K", 70, 128, "N", 57, 64)
			d.index.Operands[0].Statistics.Elements = 70 * 57
			d.index.Bindings = nil
		}, nil},
	} {
		d := newSample(4096).damaged()
		r.damage(d)
		f, err := openBytes(d.bytes())
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if err := f.Verify(); err == nil {
			t.Errorf("%s: verifies", r.name)
		}
		_, err = f.ParameterValues(r.parameter)
		if r.want != nil {
			wantFault(t, err, r.want, r.name)
		}
	}
}

// TestBombs asks for parameters that would be larger than the operand in which they are said to lie.
func TestBombs(t *testing.T) {
	t.Parallel()
	d := newSample(4096).damaged()
	d.index.Parameters[0] = Parameter{"bomb", "ABCDEFGH", []uint64{9, 9, 9, 9, 9, 9, 9, 5}}
	d.index.Operands[0].Placements = []Placement{placed(0, 1,
		from(0, 9, 1, 0, 0, 9, 1, 0, 0, 9, 1, 0, 0, 9, 1, 0, 0, 9, 1, 0, 0, 9, 1, 0, 0, 9, 1, 0, 0, 5, 1, 0), 0, 0)}
	f, err := openBytes(d.bytes())
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.ParameterValues("bomb")
	wantFault(t, err, ErrCorrupt, "2^24 values from 2800 elements")
	wantFault(t, f.Verify(), ErrCorrupt, "verify")
}

// pattern is a file whose data says where it is: the f32 at byte off has the value off/4 mod 2^24.
type pattern struct{ sparse }

func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	if off < 4096 || off >= p.at {
		return p.sparse.ReadAt(b, off)
	}
	for i := 0; i+4 <= len(b); i += 4 {
		binary.LittleEndian.PutUint32(b[i:], math.Float32bits(float32((off+int64(i))/4&0xffffff)))
	}
	return len(b), nil
}

// patternFile is a file with one operand of f32, at byte 4096, that holds a parameter.
func patternFile(t *testing.T, l layout.Layout, shape []uint64, p Placement) *File {
	t.Helper()
	d := newSmallSample().damaged()
	o := &d.index.Operands[0]
	o.Format, o.Layout, o.Bytes, o.Placements = element.F32, l, 4*l.Elements(), []Placement{p}
	o.Statistics.Elements = o.Elements()
	d.index.Parameters[0] = Parameter{"p", "ABCDEFGH"[:len(shape)], shape}
	d.index.Segments[0].Bytes = (o.Bytes + 4095) &^ 4095
	d.index.Segments[0].Digest = Digest{1, 1}
	d.raw, d.data = encodeIndex(d.index), nil
	d.header.IndexOffset = 4096 + d.index.Segments[0].Bytes
	d.header.FileBytes = d.header.IndexOffset + uint64(len(d.raw))
	f, err := NewFile(pattern{sparse{d.bytes()[:HeaderBytes], d.raw, int64(d.header.IndexOffset)}}, int64(d.header.FileBytes))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestLargeValues takes values that are gathered in several bands and windows, from operands of up to 2^42 bytes.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	tiled := digits(1, 8, 32, 0, 2, 64, 0, 8, 8, 1, 8, 4, 0, 8, 1, 1, 4, 1)
	for _, r := range []struct {
		name   string
		axes   []layout.Axis
		digits []layout.Digit
		shape  []uint64
		from   []PlacedAxis
		to     []uint64
	}{
		{"tiles, transposed", axes("K", 100, 128, "N", 250, 256), tiled, []uint64{250, 100}, from(0, 250, 1, 1, 0, 100, 1, 0), []uint64{0, 0}},
		{"tiles", axes("K", 128, 128, "N", 256, 256), tiled, []uint64{128, 256}, from(0, 128, 1, 0, 0, 256, 1, 1), []uint64{0, 0}},
		{"a row longer than a band", axes("K", 2, 2, "N", 15000, 15000), digits(0, 2, 1, 1, 15000, 1), []uint64{2, 15000}, from(0, 2, 1, 0, 0, 15000, 1, 1), []uint64{0, 0}},
		{"two axes cut", axes("K", 3, 3, "M", 7, 7, "N", 3000, 3000), digits(2, 3000, 1, 1, 7, 1, 0, 3, 1), []uint64{3, 7, 3000}, from(0, 3, 1, 0, 0, 7, 1, 1, 0, 3000, 1, 2), []uint64{0, 0, 0}},
		{"a part, far apart", axes("K", 1<<20, 1<<20, "N", 1<<20, 1<<20), digits(0, 1<<20, 1, 1, 1<<20, 1), []uint64{50, 3, 7}, from(0, 50, 20000, 0, 0, 3, 7, 0, 0, 7, 140001, 1), []uint64{33, 1000}},
		{"a row of a tall operand", axes("K", 1<<22, 1<<22, "N", 4000, 4096), digits(1, 128, 32, 0, 1<<16, 64, 0, 8, 8, 1, 8, 4, 0, 8, 1, 1, 4, 1), []uint64{4000}, from(0, 4000, 1, 1), []uint64{1<<22 - 70, 0}},
		{"X outermost", axes("K", 3*4000, 3*4000, "N", 2, 2), digits(0, 3*4000, 1, 1, 2, 1), []uint64{2, 4000, 3}, from(0, 2, 1, 1, 0, 4000, 1, 0, 0, 3, 4000, 0), []uint64{0, 0}},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			l := layout.Layout{Axes: r.axes, Digits: r.digits}
			f := patternFile(t, l, r.shape, placed(0, 1, r.from, r.to...))
			v, err := f.ParameterValues("p")
			if err != nil {
				t.Fatal(err)
			}
			usual := float32s(t, v)
			v.limits = limits{band: 7000, window: 9000}
			got, n, wrong := float32s(t, v), 0, 0
			if !slices.Equal(got, usual) {
				t.Error("the limits change the values")
			}
			q := make([]uint64, len(r.axes))
			eachIndex(r.shape, func(i []uint64) {
				copy(q, r.to)
				for j, p := range r.from {
					q[p.Axis] += i[j] * p.Step
				}
				position := uint64(0)
				for _, d := range r.digits {
					position = position*d.Size + q[d.Axis]/d.Stride%d.Size
				}
				if want := float32((1024 + position) & 0xffffff); n >= len(got) || got[n] != want {
					wrong++
				}
				n++
			})
			if n != len(got) || wrong > 0 {
				t.Errorf("%d of %d values wrong, want %d", wrong, len(got), n)
			}
		})
	}
}

// TestSmallBands takes the values of every parameter of the sample a few at a time: those that lie in several operands come from some
// of them only.
func TestSmallBands(t *testing.T) {
	t.Parallel()
	f := newSample(4096).file(t)
	for i := range f.Index.Parameters {
		name := f.Index.Parameters[i].Name
		v, err := f.ParameterValues(name)
		if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrNotFound) {
			continue // folded
		}
		if err != nil {
			t.Fatal(err)
		}
		usual := float32s(t, v)
		v.limits = limits{band: 7, window: 90}
		if got := float32s(t, v); !slices.Equal(got, usual) {
			t.Errorf("parameter %q: %v in small bands, want %v", name, got, usual)
		}
	}
}

func TestValuesStopWhenTheWriterFails(t *testing.T) {
	t.Parallel()
	f := newSample(4096).file(t)
	v, err := f.OperandValues("linear")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.WriteFloat32(&limited{100}); !errors.Is(err, errEnough) {
		t.Error(err)
	}
}

func TestMap(t *testing.T) {
	t.Parallel()
	f := newSample(65536).file(t)
	m, err := f.Map()
	if !mapsFiles {
		wantFault(t, err, ErrUnsupported, "map a file")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m, readFile(t, f.Path)) {
		t.Error("the mapping is not the file")
	}
	again, err := f.Map()
	if err != nil || &again[0] != &m[0] || len(again) != len(m) {
		t.Errorf("mapped again: %v", err)
	}
	b := make([]byte, 1000)
	if _, err := f.ReadAt(b, 65536); err != nil || !bytes.Equal(b, m[65536:][:1000]) {
		t.Errorf("read otherwise than mapped: %v", err)
	}

	memory, err := openBytes(m)
	if err != nil {
		t.Fatal(err)
	}
	_, err = memory.Map()
	wantFault(t, err, ErrUnsupported, "map what is not a file")
}

func TestClose(t *testing.T) {
	t.Parallel()
	for _, mapped := range []bool{false, true} {
		f := newSample(4096).file(t)
		if mapped && mapsFiles {
			if _, err := f.Map(); err != nil {
				t.Fatal(err)
			}
		}
		v, err := f.OperandValues("linear")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		_, mapErr := f.Map()
		_, readErr := f.ReadAt(make([]byte, 1), 0)
		for what, err := range map[string]error{
			"map": mapErr, "read": readErr, "verify": f.Verify(), "check": f.CheckSegment(t.Context(), 0), "values": v.WriteFloat32(&bytes.Buffer{}),
		} {
			var e *Error
			if !errors.Is(err, os.ErrClosed) || !errors.As(err, &e) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
		if f.Index.Operands[0].Name != "linear" || f.Operand("linear") == nil {
			t.Error("the index does not outlive the file")
		}
	}
}
