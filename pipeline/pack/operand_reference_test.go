package pack

import (
	"math"
	"slices"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/pipeline/recipe"
)

// What an operand must be by the formulas of FORMAT.md, element by element: from placements to values, from values to elements, from
// elements to bytes. Nothing here is fast or shares code with what packs.

// reference is an operand worked out.
type reference struct {
	operand *recipe.Operand
	list    []*stored
	shape   []int     // extents
	x, y    []float64 // values before and after encoding, row-major
	bytes   []byte
	stats   element.Stats
}

func newReference(o *recipe.Operand, list []*stored) *reference {
	r := &reference{operand: o, list: list}
	for _, a := range o.Layout.Axes {
		r.shape = append(r.shape, int(a.Extent))
	}
	n := 1
	for _, size := range r.shape {
		n *= size
	}
	r.x, r.y = make([]float64, n), make([]float64, n)
	for i := range r.x {
		r.x[i] = math.NaN()
	}
	r.place()
	r.bytes = make([]byte, o.Bytes)
	switch {
	case o.Encoding == plane.Scaled:
		r.quantize()
	case o.Format == element.BFP16:
		r.blockFloat()
	default:
		s := o.Storage()
		r.plain(&s.Planes[0])
	}
	cols := r.shape[len(r.shape)-1]
	r.stats = statistics(n/cols, cols, func(row, col int) (x, y float64) { return r.x[row*cols+col], r.y[row*cols+col] })
	return r
}

// place gives every element its value.
func (r *reference) place() {
	o := r.operand
	for i, p := range o.Placements {
		s, fold := r.list[p.Parameter], (*recipe.Fold)(nil)
		for j := range o.Folds {
			if o.Folds[j].Placement == i {
				fold = &o.Folds[j]
			}
		}
		box := make([]int, len(p.From))
		for j, f := range p.From {
			box[j] = int(f.Size)
		}
		eachOf(box, func(inside []int) {
			q, at := ints(p.To), slices.Clone(inside)
			for j, f := range p.From {
				at[j] += int(f.Begin)
				q[f.Axis] += inside[j] * int(f.Step)
			}
			v := s.at(at)
			if fold != nil && fold.Gamma >= 0 {
				v = float64(r.list[fold.Gamma].values[at[fold.Axis]] * v)
			} else if fold != nil {
				v += r.sum(fold, at[0])
			}
			r.x[flat(q, r.shape)] = float64(p.Scale * v)
		})
	}
	for _, f := range o.Fills {
		eachOf(ints(f.Size), func(inside []int) {
			for a := range inside {
				inside[a] += int(f.Begin[a])
			}
			r.x[flat(inside, r.shape)] = f.Value
		})
	}
	for i := range o.Folds {
		if f := &o.Folds[i]; f.Placement < 0 {
			for n := range r.list[f.Weight].shape[0] {
				q := ints(f.At)
				q[f.Along] += n
				r.x[flat(q, r.shape)] = float64(f.Scale * r.sum(f, n))
			}
		}
	}
}

// sum is that of a fold's beta[k] * weight[n,k] over k.
func (r *reference) sum(f *recipe.Fold, n int) float64 {
	var l [8]float64
	for k, beta := range r.list[f.Beta].values {
		l[k%8] += float64(beta * r.list[f.Weight].at([]int{n, k}))
	}
	return ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]))
}

func ints(list []uint64) []int {
	out := make([]int, len(list))
	for i, v := range list {
		out[i] = int(v)
	}
	return out
}

// eachOf calls do for each index in a box; what it does to the index is forgotten.
func eachOf(box []int, do func(index []int)) {
	n := 1
	for _, size := range box {
		n *= size
	}
	for i := range n {
		do(unflat(i, box))
	}
}

// elements writes the elements of a plane, padding included: bits gives those of a place of the grid whose blocks hold values.
func (r *reference) elements(p *plane.Plane, bits func(place []int) uint64) {
	padded := make([]int, len(r.shape))
	for a, axis := range r.operand.Layout.Axes {
		padded[a] = (int(axis.Padded) + blockOf(p, a) - 1) / blockOf(p, a)
	}
	eachOf(padded, func(place []int) {
		v := p.PadBits
		if r.holdsValues(p, place) {
			v = bits(place)
		}
		r.put(p, position(p.Layout, place), v)
	})
}

func blockOf(p *plane.Plane, axis int) int {
	if p.Block == nil {
		return 1
	}
	return int(min(p.Block[axis], 1<<40))
}

func (r *reference) holdsValues(p *plane.Plane, place []int) bool {
	for a, v := range place {
		if v*blockOf(p, a) >= r.shape[a] {
			return false
		}
	}
	return true
}

func position(l layout.Layout, place []int) int {
	p := 0
	for _, d := range l.Digits {
		p = p*int(d.Size) + place[d.Axis]/int(min(d.Stride, 1<<40))%int(d.Size)
	}
	return p
}

// put writes the bits of element e of a plane.
func (r *reference) put(p *plane.Plane, e int, bits uint64) {
	w := p.Format.Bits()
	at := int(p.Offset)*8 + e*w
	if p.RecordElements != 0 {
		in := int(p.RecordElements)
		at = (int(p.Offset)+e/in*int(p.RecordBytes))*8 + e%in*w
	}
	if w == 4 {
		if high := (e%2 == 1) != p.HighFirst; high {
			bits <<= 4
		}
		r.bytes[at/8] |= byte(bits)
		return
	}
	appendBits(r.bytes[:at/8], bits, w/8)
}

func (r *reference) plain(p *plane.Plane) {
	r.elements(p, func(place []int) uint64 {
		i := flat(place, r.shape)
		bits, y := rounded(r.x[i], p.Format)
		r.y[i] = y
		return bits
	})
}

// blockFloat encodes bfp16.
func (r *reference) blockFloat() {
	l := r.operand.Layout
	elements := map[int]*[8]int{} // where in x each value of an element is, -1 for padding
	padded := make([]int, len(l.Axes))
	for a, axis := range l.Axes {
		padded[a] = int(axis.Padded)
	}
	eachOf(padded, func(index []int) {
		p := position(l, index)
		if elements[p/8] == nil {
			elements[p/8] = &[8]int{-1, -1, -1, -1, -1, -1, -1, -1}
		}
		for a, v := range index {
			if v >= r.shape[a] {
				return
			}
		}
		elements[p/8][p%8] = flat(index, r.shape)
	})
	for e, values := range elements {
		exponent := 0
		for _, at := range values {
			if at >= 0 && r.x[at] != 0 {
				exponent = max(exponent, 127+math.Ilogb(r.x[at]))
			}
		}
		out := r.bytes[9*e:][:9]
		out[0] = byte(exponent)
		for i, at := range values {
			if at < 0 {
				continue
			}
			t := math.Ldexp(r.x[at], -(exponent - 127 - 6))
			m := math.Floor(t)
			if r.operand.Rounding == element.NearestEven {
				m = math.Min(math.RoundToEven(t), 127)
			}
			if m == 0 && r.x[at] < 0 && r.operand.Rounding == element.Floor {
				m = -1
			}
			out[1+i], r.y[at] = byte(int8(m)), math.Ldexp(m, exponent-127-6)
		}
	}
}

// quantize encodes codes, and what their blocks share.
func (r *reference) quantize() {
	s := r.operand.Storage()
	scheme, block := s.Scheme(), &s.Planes[1]
	gridOf := func(index []int) string {
		name := make([]byte, 0, 8*len(index))
		for a, v := range index {
			name = appendBits(name, uint64(v/blockOf(block, a)), 8)
		}
		return string(name)
	}
	ranges := map[string]*[2]float64{}
	eachOf(r.shape, func(index []int) {
		x := r.x[flat(index, r.shape)]
		if b := ranges[gridOf(index)]; b != nil {
			b[0], b[1] = math.Min(b[0], x), math.Max(b[1], x)
		} else {
			ranges[gridOf(index)] = &[2]float64{x, x}
		}
	})
	fits := map[string]fit{}
	for name, b := range ranges {
		fits[name] = fitOf(scheme, b[0]+0, b[1]+0)
	}
	r.elements(&s.Planes[0], func(place []int) uint64 {
		i := flat(place, r.shape)
		bits, y := codeOf(scheme, fits[gridOf(place)], r.x[i])
		r.y[i] = y
		return bits
	})
	for i := range s.Planes[1:] {
		p := &s.Planes[1+i]
		r.elements(p, func(place []int) uint64 {
			index := slices.Clone(place)
			for a := range index {
				index[a] *= blockOf(p, a)
			}
			f := fits[gridOf(index)]
			return numberBits(map[plane.Role]float64{plane.Scales: f.scale, plane.Zeros: f.zero, plane.Minimums: f.minimum}[p.Role], p.Format)
		})
	}
}

// numberBits are the bits of a number that a format has.
func numberBits(v float64, f element.Format) uint64 {
	switch f {
	case element.E8M0:
		return uint64(math.Ilogb(v) + 127)
	case element.I8, element.U8:
		return uint64(byte(int(v)))
	case element.I4, element.U4:
		return uint64(byte(int(v)) & 0xf)
	}
	bits, _ := rounded(v, f)
	return bits
}

// fit is what the codes of a block share.
type fit struct{ scale, zero, minimum float64 }

// ends are the least and the greatest number that a code stands for, as a writer uses them.
func ends(s element.Scheme) (least, most float64) {
	switch s.Codes {
	case element.I8:
		least, most = -128, 127
	case element.U8:
		least, most = 0, 255
	case element.I4:
		least, most = -8, 7
	case element.U4:
		least, most = 0, 15
	case element.NF4:
		least, most = -1, 1
	}
	if s.Zeros == 0 && s.Minimums == 0 {
		least = -most
	}
	return least, most
}

func fitOf(s element.Scheme, lo, hi float64) fit {
	least, most := ends(s)
	scale := func(v float64) float64 {
		if s.Scales == element.E8M0 {
			for k := -127; ; k++ {
				if p := math.Ldexp(1, k); p >= v {
					return p
				}
			}
		}
		_, y := rounded(v, s.Scales)
		if y == 0 {
			y = map[element.Format]float64{element.F32: 0x1p-149, element.F16: 0x1p-24, element.BF16: 0x1p-133}[s.Scales]
		}
		return y
	}
	switch {
	case s.Zeros != 0:
		lo, hi = math.Min(lo, 0), math.Max(hi, 0)
		if lo == hi {
			return fit{scale: 1, zero: math.Max(least, 0)}
		}
		f := fit{scale: scale((hi - lo) / (most - least))}
		f.zero = math.Max(least, math.Min(most, math.RoundToEven(least-lo/f.scale)))
		return f
	case s.Minimums != 0:
		_, minimum := rounded(lo, s.Minimums)
		v := (hi - minimum) / most
		if hi == lo || v <= 0 {
			return fit{scale: 1, minimum: minimum}
		}
		return fit{scale: scale(v), minimum: minimum}
	}
	if a := math.Max(math.Abs(lo), math.Abs(hi)); a > 0 {
		return fit{scale: scale(a / most)}
	}
	return fit{scale: 1}
}

// nf4 is FORMAT.md's table.
var nf4 = [16]float64{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

// codeOf gives the code of x and the value that it stands for.
func codeOf(s element.Scheme, f fit, x float64) (bits uint64, y float64) {
	least, most := ends(s)
	if s.Codes == element.NF4 {
		v, code := x/f.scale, 0
		for i := range 15 {
			if middle := (nf4[i] + nf4[i+1]) / 2; v > middle || v == middle && i%2 == 1 {
				code = i + 1
			}
		}
		return uint64(code), nf4[code] * f.scale
	}
	q := math.RoundToEven((x - f.minimum) / f.scale)
	q = math.Max(least, math.Min(most, q+f.zero))
	return numberBits(q, s.Codes), float64((q-f.zero)*f.scale) + f.minimum
}

// check compares an operand of an artifact with what it must be, and the values read from it.
func (r *reference) check(t *testing.T, f *artifact.File) {
	t.Helper()
	o := f.Operand(r.operand.Name)
	if got := operandBytes(t, f, o); !slices.Equal(got, r.bytes) {
		at := 0
		for at < min(len(got), len(r.bytes)) && got[at] == r.bytes[at] {
			at++
		}
		t.Errorf("%s: the first byte of %d that differs is %d: %#x, expected %#x", o.Name, len(got), at, got[at], r.bytes[at])
	}
	if !sameStats(o.Statistics, r.stats) {
		t.Errorf("%s: statistics %+v, expected %+v", o.Name, o.Statistics, r.stats)
	}
	v, err := f.OperandValues(o.Name)
	if err != nil {
		t.Error(err)
		return
	}
	compare(t, v, r.y)
}
