package pack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/pipeline/recipe"
)

// random makes operands of all kinds.
type random struct {
	*rand.Rand
	list []*stored // parameters so far
}

// TestRandomOperands packs operands at random: joined, sliced, reordered, scaled, filled and folded, in every element format, by
// layouts with digits in any order.
func TestRandomOperands(t *testing.T) {
	t.Parallel()
	count := 400
	if testing.Short() {
		count = 24
	}
	if n, err := strconv.Atoi(os.Getenv("NPUW_TEST_OPERANDS")); err == nil {
		count = n
	}
	for shard := range 4 {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			for seed := shard; seed < count; seed += 4 {
				r := &random{Rand: rand.New(rand.NewPCG(uint64(seed), 7))}
				var operands []recipe.Operand
				for i := range 1 + r.IntN(2) {
					o := r.operand()
					o.Name = fmt.Sprintf("o%d", i)
					operands = append(operands, o)
				}
				checkAssembled(t, r.list, operands, windowElements, 1, uint64(1+r.IntN(20000)), 8000)
				if t.Failed() {
					t.Fatalf("seed %d: %+v", seed, operands)
				}
			}
		})
	}
}

// operand makes one, and the parameters that it holds.
func (r *random) operand() recipe.Operand {
	o := recipe.Operand{Segment: "s"}
	if r.IntN(4) == 0 {
		r.folded(&o)
	} else {
		rank := []int{1, 2, 2, 2, 2, 3, 4}[r.IntN(7)]
		most := []int{3000, 170, 30, 11}[rank-1]
		box := region{make([]int, rank), nil}
		for range rank {
			box.size = append(box.size, 1+r.IntN(most))
		}
		r.divide(&o, box, 1+r.IntN(5))
		r.axes(&o, box.size)
	}
	for !r.encoding(&o) { // at random: not all go together
	}
	return o
}

func (r *random) axes(o *recipe.Operand, size []int) {
	o.Layout.Axes = nil
	for a, n := range size {
		o.Layout.Axes = append(o.Layout.Axes, layout.Axis{Name: byte('A' + a), Extent: uint64(n)})
	}
}

// region is a box of an operand.
type region struct{ begin, size []int }

// divide cuts a region into n, and fills each with something.
func (r *random) divide(o *recipe.Operand, box region, n int) {
	axis := r.IntN(len(box.size))
	if n > 1 && box.size[axis] > 1 {
		at := 1 + r.IntN(box.size[axis]-1)
		low, high := region{box.begin, slices.Clone(box.size)}, region{slices.Clone(box.begin), slices.Clone(box.size)}
		low.size[axis], high.begin[axis], high.size[axis] = at, box.begin[axis]+at, box.size[axis]-at
		r.divide(o, low, n/2)
		r.divide(o, high, n-n/2)
		return
	}
	if r.IntN(5) == 0 {
		value := []float64{0, 1, -0.5, 0.1, math.Pi}[r.IntN(5)]
		o.Fills = append(o.Fills, artifact.Fill{Begin: wide(box.begin), Size: wide(box.size), Value: value})
		return
	}
	r.parameter(o, box)
}

func wide(list []int) []uint64 {
	out := make([]uint64, len(list))
	for i, v := range list {
		out[i] = uint64(v)
	}
	return out
}

// scale is 1 as often as not.
func (r *random) scale() float64 { return []float64{1, 1, 1, 0.125, 0.3, -1.7}[r.IntN(6)] }

// parameter makes one that fills a region: whole, or its two halves in turned order; perhaps an axis of the operand is made of two.
func (r *random) parameter(o *recipe.Operand, box region) {
	s := &stored{name: fmt.Sprintf("p%d", len(r.list))}
	var from []artifact.PlacedAxis
	add := func(axis, size, step int) {
		from = append(from, artifact.PlacedAxis{Size: uint64(size), Step: uint64(step), Axis: axis})
	}
	for a, n := range box.size {
		if inner := divisor(r.Rand, n); r.IntN(3) == 0 {
			add(a, n/inner, inner)
			add(a, inner, 1)
		} else if n > 1 || r.IntN(2) == 0 {
			add(a, n, 1)
		}
	}
	r.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	for j := range from {
		s.axes += string(byte('A' + j))
		s.shape = append(s.shape, int(from[j].Size))
	}
	r.fill(s)
	p := artifact.Placement{Parameter: len(r.list) - 1, Scale: r.scale(), From: from, To: wide(box.begin)}
	j := -1
	for i, f := range from { // one that is alone on its axis can be cut
		alone := 0
		for _, g := range from {
			if g.Axis == f.Axis {
				alone++
			}
		}
		if alone == 1 && f.Size > 1 {
			j = i
		}
	}
	if j < 0 || r.IntN(3) > 0 {
		o.Placements = append(o.Placements, p)
		return
	}
	at := 1 + uint64(r.IntN(int(from[j].Size)-1))
	low, high := p, p
	low.From, high.From, low.To = slices.Clone(from), slices.Clone(from), slices.Clone(p.To)
	low.From[j].Size = at
	high.From[j].Begin, high.From[j].Size = at, from[j].Size-at
	low.To[from[j].Axis] += from[j].Size - at // behind the other
	o.Placements = append(o.Placements, low, high)
}

// divisor is one of n, at random.
func divisor(r *rand.Rand, n int) int {
	for {
		if d := 1 + r.IntN(n); n%d == 0 {
			return d
		}
	}
}

// fill gives a parameter a type, an order and values, and adds it to the list.
func (r *random) fill(s *stored) {
	s.format = []element.Format{element.F32, element.F32, element.F32, element.F16, element.BF16, element.F64}[r.IntN(6)]
	s.perm = r.Perm(len(s.shape))
	for range s.elements() {
		x := r.NormFloat64() * math.Ldexp(1, -r.IntN(6))
		switch k := r.IntN(40); {
		case k == 0:
			x = 0
		case k == 1:
			x = math.Ldexp(x, -r.IntN(20))
		}
		if s.format != element.F64 {
			_, x = rounded(x, s.format)
		}
		s.values = append(s.values, x)
	}
	r.list = append(r.list, s)
}

// fold is an operand in work with a LayerNorm folded in: weights side by side, [N,K] or [K,N], each with its bias behind the last k.
type fold struct {
	*recipe.Operand
	k           int // the operand's axis of K
	keys, rows  int // K, and N so far
	gamma, beta int
}

// index is that of k and n in the operand.
func (f *fold) index(k, n int) []uint64 {
	at := []uint64{uint64(n), uint64(n)}
	at[f.k] = uint64(k)
	return at
}

// vector makes a parameter of one axis.
func (r *random) vector(n int) int {
	r.fill(&stored{name: fmt.Sprintf("p%d", len(r.list)), axes: "A", shape: []int{n}})
	return len(r.list) - 1
}

func (r *random) folded(o *recipe.Operand) {
	f := &fold{Operand: o, k: r.IntN(2), keys: 1 + r.IntN(150)}
	f.gamma, f.beta = r.vector(f.keys), r.vector(f.keys)
	for range 1 + r.IntN(3) {
		r.linear(f, 1+r.IntN(90))
	}
	size := f.index(f.keys+1, max(f.rows, f.keys))
	if rest := f.keys - f.rows; rest > 0 {
		o.Fills = append(o.Fills, artifact.Fill{Begin: f.index(0, f.rows), Size: f.index(f.keys+1, rest), Value: 0.25})
	}
	// A parameter that is folded nowhere must be somewhere: it has a row of its own.
	for _, i := range []int{f.gamma, f.beta} {
		if slices.ContainsFunc(o.Folds, func(f recipe.Fold) bool { return f.Gamma == i || f.Beta == i }) {
			continue
		}
		row := int(size[f.k])
		o.Placements = append(o.Placements, artifact.Placement{
			Parameter: i, Scale: 1, To: f.index(row, 0), From: []artifact.PlacedAxis{{Size: uint64(f.keys), Step: 1, Axis: 1 - f.k}},
		})
		if rest := int(size[1-f.k]) - f.keys; rest > 0 {
			o.Fills = append(o.Fills, artifact.Fill{Begin: f.index(row, f.keys), Size: f.index(1, rest), Value: 0.25})
		}
		size[f.k]++
	}
	r.axes(o, ints(size))
}

// linear adds a weight and its bias.
func (r *random) linear(f *fold, rows int) {
	r.fill(&stored{name: fmt.Sprintf("p%d", len(r.list)), axes: "AB", shape: []int{rows, f.keys}})
	weight, scale := len(r.list)-1, r.scale()
	gamma := recipe.Fold{Gamma: f.gamma, Axis: 1, Beta: -1, Weight: -1}
	beta := recipe.Fold{Gamma: -1, Beta: f.beta, Weight: weight}
	p := artifact.Placement{Parameter: weight, Scale: scale, To: f.index(0, f.rows), From: []artifact.PlacedAxis{
		{Size: uint64(rows), Step: 1, Axis: 1 - f.k}, {Size: uint64(f.keys), Step: 1, Axis: f.k},
	}}
	r.placeFolded(f, p, r.IntN(2), gamma)
	switch r.IntN(3) {
	case 0:
		beta.Placement, beta.At, beta.Along, beta.Scale = -1, f.index(f.keys, f.rows), 1-f.k, scale
		f.Folds = append(f.Folds, beta)
	default:
		p := artifact.Placement{Parameter: r.vector(rows), Scale: scale, To: f.index(f.keys, f.rows), From: []artifact.PlacedAxis{
			{Size: uint64(rows), Step: 1, Axis: 1 - f.k},
		}}
		r.placeFolded(f, p, 0, beta)
	}
	f.rows += rows
}

// placeFolded places a parameter, perhaps in two parts along an axis, most with a fold.
func (r *random) placeFolded(f *fold, p artifact.Placement, axis int, with recipe.Fold) {
	parts := []artifact.Placement{p}
	if n := p.From[axis].Size; n > 1 && r.IntN(2) == 0 {
		at := 1 + uint64(r.IntN(int(n)-1))
		low, high := p, p
		low.From, high.From, high.To = slices.Clone(p.From), slices.Clone(p.From), slices.Clone(p.To)
		low.From[axis].Size, high.From[axis].Begin, high.From[axis].Size = at, at, n-at
		high.To[p.From[axis].Axis] += at
		parts = []artifact.Placement{low, high}
	}
	fold := r.IntN(5) > 0
	for _, p := range parts {
		f.Placements = append(f.Placements, p)
		if fold {
			with.Placement = len(f.Placements) - 1
			with.Scale = p.Scale * float64(r.IntN(2)) // the placement's may be left out
			f.Folds = append(f.Folds, with)
		}
	}
}

// encoding gives an operand of known axes an encoding, planes and layouts. It reports whether they go together.
func (r *random) encoding(o *recipe.Operand) bool {
	multiple := 1
	o.Encoding, o.Planes, o.PadBits = plane.Plain, nil, 0
	var scheme element.Scheme
	switch r.IntN(5) {
	case 0, 1:
		o.Format = []element.Format{element.F32, element.F16, element.BF16}[r.IntN(3)]
	case 2:
		o.Format, o.Rounding, multiple = element.BFP16, element.Rounding(r.IntN(2)), 8
	default:
		o.Encoding = plane.Scaled
		scheme = r.scheme()
		if o.Format = scheme.Codes; o.Format.Size() == 0 {
			multiple = 2
		}
	}
	if r.IntN(3) > 0 && o.Format != element.BFP16 {
		o.PadBits = r.Uint64() & (1<<o.Format.Bits() - 1)
	}
	o.Layout = r.layout(o.Layout.Axes, multiple)
	if o.Layout.Elements() > 1<<18 || o.Format == element.BFP16 && !blocksFit(o.Layout) {
		return false
	}
	if o.Encoding == plane.Plain {
		o.Bytes, _ = plane.BytesOf(o.Format, plane.Elements(o.Format, o.Layout))
		return true
	}
	r.planes(o, scheme)
	s := o.Storage()
	return s.Validate() == nil
}

// blocksFit reports whether blocks of bfp16 are along the columns or the rows of the matrix.
func blocksFit(l layout.Layout) bool {
	last, axis := len(l.Axes)-1, l.Digits[len(l.Digits)-1].Axis
	rest := uint64(1)
	for a := range last {
		if a != axis {
			rest *= l.Axes[a].Extent
		}
	}
	return axis == last || rest == 1
}

func (r *random) scheme() element.Scheme {
	for {
		s := element.Scheme{
			Codes:  element.I8 + element.Format(r.IntN(5)),
			Scales: []element.Format{element.F32, element.F16, element.BF16, element.E8M0}[r.IntN(4)],
		}
		switch r.IntN(3) {
		case 1:
			s.Zeros = s.Codes
		case 2:
			s.Minimums = []element.Format{element.F32, element.F16, element.BF16}[r.IntN(3)]
		}
		if s.Validate() == nil {
			return s
		}
	}
}

// layout orders axes, padding them, with digits in any order; the innermost is a multiple of neighbours.
func (r *random) layout(axes []layout.Axis, multiple int) layout.Layout {
	l := layout.Layout{Axes: slices.Clone(axes)}
	inner := r.IntN(len(axes))
	var last layout.Digit
	for a := range l.Axes {
		x := &l.Axes[a]
		stride := uint64(1)
		if a == inner && multiple > 1 {
			last = layout.Digit{Axis: a, Size: uint64(multiple * (1 + r.IntN(3))), Stride: 1}
			stride = last.Size
		}
		if r.IntN(4) == 0 { // a digit that says nothing
			l.Digits = append(l.Digits, layout.Digit{Axis: a, Size: 1, Stride: uint64(1 + r.IntN(99))})
		}
		for range r.IntN(3) {
			d := layout.Digit{Axis: a, Size: uint64(1 + r.IntN(9)), Stride: stride}
			stride *= d.Size
			l.Digits = append(l.Digits, d)
		}
		rest := (x.Extent-1)/stride + 1
		if stride*rest < 64 {
			rest += uint64(r.IntN(3))
		}
		l.Digits = append(l.Digits, layout.Digit{Axis: a, Size: rest, Stride: stride})
		x.Padded = stride * rest
	}
	r.Shuffle(len(l.Digits), func(i, j int) { l.Digits[i], l.Digits[j] = l.Digits[j], l.Digits[i] })
	if multiple > 1 {
		l.Digits = append(l.Digits, last)
	}
	return l
}

// planes gives an operand of known codes the planes of a scheme, contiguous or in records.
func (r *random) planes(o *recipe.Operand, s element.Scheme) {
	block := make([]uint64, len(o.Layout.Axes))
	for a, axis := range o.Layout.Axes {
		switch r.IntN(4) {
		case 0:
			block[a] = 1
		case 1:
			block[a] = axis.Padded
		case 2:
			block[a] = 1 << r.IntN(7)
		default:
			block[a] = 1 + uint64(r.IntN(50))
		}
	}
	add := func(role plane.Role, f element.Format, l layout.Layout, block []uint64, pad uint64) {
		if f != 0 {
			o.Planes = append(o.Planes, plane.Plane{
				Role: role, Format: f, HighFirst: f.Size() == 0 && r.IntN(2) == 0, PadBits: pad, Block: block, Layout: l,
			})
		}
	}
	grid := func() layout.Layout { return r.gridLayout(plane.Grid(o.Layout.Axes, block)) }
	pad := func(f element.Format) uint64 { return r.Uint64() & (1<<f.Bits() - 1) * uint64(r.IntN(2)) }
	add(plane.Values, s.Codes, o.Layout, nil, o.PadBits)
	add(plane.Scales, s.Scales, grid(), block, pad(s.Scales))
	add(plane.Zeros, s.Zeros, grid(), block, pad(s.Zeros))
	add(plane.Minimums, s.Minimums, grid(), block, pad(s.Minimums))
	records := uint64(0)
	if r.IntN(2) == 0 {
		for i := range o.Planes {
			records = gcd(records, plane.Elements(o.Planes[i].Format, o.Planes[i].Layout))
		}
		records = uint64(divisor(r.Rand, int(records)))
	}
	order := r.Perm(len(o.Planes)) // in which they lie
	if r.IntN(2) == 0 {
		slices.Sort(order)
	}
	at := uint64(0)
	for _, i := range order {
		p := &o.Planes[i]
		n := plane.Elements(p.Format, p.Layout)
		p.Offset = at + uint64(r.IntN(3)*r.IntN(9))
		if records == 0 {
			p.Bytes, _ = plane.BytesOf(p.Format, n)
		} else {
			p.RecordElements = n / records
			p.Bytes, _ = plane.BytesOf(p.Format, p.RecordElements)
		}
		at = p.Offset + p.Bytes
	}
	o.Bytes = at + uint64(r.IntN(3)*r.IntN(9))
	if records != 0 {
		for i := range o.Planes {
			p := &o.Planes[i]
			p.RecordBytes = o.Bytes
			p.Bytes += (records - 1) * o.Bytes
		}
		o.Bytes *= records
	}
}

// gridLayout orders a grid, which has a padded size already.
func (r *random) gridLayout(axes []layout.Axis) layout.Layout {
	l := layout.Layout{Axes: axes}
	for a, axis := range axes {
		stride := uint64(1)
		for stride < axis.Padded {
			d := layout.Digit{Axis: a, Size: uint64(divisor(r.Rand, int(axis.Padded/stride))), Stride: stride}
			stride *= d.Size
			l.Digits = append(l.Digits, d)
		}
	}
	r.Shuffle(len(l.Digits), func(i, j int) { l.Digits[i], l.Digits[j] = l.Digits[j], l.Digits[i] })
	return l
}
