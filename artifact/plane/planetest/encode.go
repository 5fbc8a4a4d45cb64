package planetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// Encode gives bytes that lie as s and hold values, row-major over the extents, as near as it can easily be: what they hold exactly is
// what Decoded says. Padding is what s says, what belongs to no element zero.
func Encode(s *plane.Storage, values []float32) ([]byte, error) {
	data := make([]byte, s.Bytes)
	groups, err := fit(s, values)
	if err != nil {
		return nil, err
	}
	for i := range s.Planes[1:] {
		p := &s.Planes[1+i]
		Each(p.Layout.Axes, true, func(place []uint64) {
			e, v := position(p.Layout, place), p.PadBits
			if g, ok := groups[fmt.Sprint(place)]; ok {
				v = nearest([]float64{g.Scale, g.Zero, g.Minimum}[p.Role-plane.Scales], p.Format)
			}
			setBits(p, data, e, v)
		})
	}
	if s.Planes[0].Format == element.BFP16 {
		return data, encodeBlocks(&s.Planes[0], data, values)
	}
	p := &s.Planes[0]
	rest := values
	Each(s.Axes, true, func(index []uint64) {
		e := position(p.Layout, index)
		if !inside(s.Axes, index) {
			setBits(p, data, e, p.PadBits)
			return
		}
		x := float64(rest[0])
		rest = rest[1:]
		if s.Encoding == plane.Scaled {
			g := groups[fmt.Sprint(grid(&s.Planes[1], index))]
			x = (x-g.Minimum)/g.Scale + g.Zero
		}
		setBits(p, data, e, nearest(x, p.Format))
	})
	return data, nil
}

func inside(axes []layout.Axis, index []uint64) bool {
	for a, i := range index {
		if i >= axes[a].Extent {
			return false
		}
	}
	return true
}

// fit chooses scale, zero and minimum of each group, by its place in the grid.
func fit(s *plane.Storage, values []float32) (map[string]element.Block, error) {
	groups := map[string]element.Block{}
	if s.Encoding != plane.Scaled {
		return groups, nil
	}
	ranges := map[string]element.Range{}
	Each(s.Axes, false, func(index []uint64) {
		key, x := fmt.Sprint(grid(&s.Planes[1], index)), float64(values[0])
		values = values[1:]
		r := ranges[key]
		r.Join(element.Range{Lo: x, Hi: x, Any: true})
		ranges[key] = r
	})
	for key, r := range ranges {
		g, err := s.Scheme().Fit(r)
		if err != nil {
			return nil, err
		}
		groups[key] = g
	}
	return groups, nil
}

// nearest are the bits of the element nearest to x.
func nearest(x float64, f element.Format) uint64 {
	switch f {
	case element.F32, element.F16, element.BF16:
		var b [4]byte
		if err := element.Encode(b[:f.Size()], []float64{x}, f); err != nil {
			panic(err)
		}
		return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24
	case element.E8M0:
		return uint64(math.Round(math.Log2(x)) + 127)
	}
	best, least := uint64(0), math.Inf(1)
	for v := range uint64(1) << f.Bits() {
		if d := math.Abs(decoded(v, f) - x); d < least {
			best, least = v, d
		}
	}
	return best
}

// encodeBlocks writes values as bfp16.
func encodeBlocks(p *plane.Plane, data []byte, values []float32) error {
	elements := map[uint64]*[8]float32{}
	Each(p.Layout.Axes, false, func(index []uint64) {
		e := position(p.Layout, index)
		if elements[e/8] == nil {
			elements[e/8] = new([8]float32)
		}
		elements[e/8][e%8] = values[0]
		values = values[1:]
	})
	for e, v := range elements {
		_, _, err := element.EncodeBFP16Patch(data[e*9:], 9, v[:], 8, 1, 8, element.AlongRow, element.NearestEven)
		if err != nil {
			return err
		}
	}
	return nil
}

// Random gives bytes that lie as s, of random elements: any codes, and scales and minimums of sensible magnitude.
func Random(s *plane.Storage, r *rand.Rand) []byte {
	data := make([]byte, s.Bytes)
	for i := range s.Planes {
		p := &s.Planes[i]
		for e := range count(p) {
			switch {
			case p.Format == element.BFP16:
				b := data[e*9:][:9]
				for j := range b {
					b[j] = byte(r.Uint32())
				}
				b[0] = byte(120 + r.IntN(16))
			case p.Role == plane.Scales:
				setBits(p, data, e, nearest(math.Exp2(float64(r.IntN(9)-6)), p.Format)+r.Uint64N(2))
			case p.Format.Plain():
				setBits(p, data, e, nearest(r.NormFloat64(), p.Format))
			default:
				setBits(p, data, e, r.Uint64())
			}
		}
	}
	return data
}

// RandomLayout is an order of axes, given with their extents, whose sizes are split in digits at random.
func RandomLayout(r *rand.Rand, axes []layout.Axis) layout.Layout {
	l := layout.Layout{Axes: slices.Clone(axes)}
	for a := range axes {
		padded := uint64(1)
		for range r.IntN(3) {
			size := []uint64{2, 3, 4, 8, 8, 16}[r.IntN(6)]
			l.Digits = append(l.Digits, layout.Digit{Axis: a, Size: size, Stride: padded})
			padded *= size
		}
		rest := max((axes[a].Extent+padded-1)/padded, 1)
		l.Digits = append(l.Digits, layout.Digit{Axis: a, Size: rest, Stride: padded})
		l.Axes[a].Padded = rest * padded
	}
	r.Shuffle(len(l.Digits), func(i, j int) { l.Digits[i], l.Digits[j] = l.Digits[j], l.Digits[i] })
	return l
}

// RandomForm is a form that fits a layout: sometimes Over refuses it all the same.
func RandomForm(r *rand.Rand, l layout.Layout) Form {
	plain := []element.Format{element.F32, element.F16, element.BF16}
	f := Form{HighFirst: r.IntN(2) == 0, Swapped: r.IntN(3) == 0, Align: []uint64{0, 4, 64}[r.IntN(3)], Group: map[byte]uint64{}}
	switch r.IntN(8) {
	case 0:
		f.Format, f.HighFirst = plain[r.IntN(3)], false
		return f
	case 1:
		f.Format, f.HighFirst = element.BFP16, false
		return f
	case 2, 3:
		f.Format, f.Zeros = []element.Format{element.I8, element.U8, element.I4, element.U4}[r.IntN(4)], true
	case 4, 5:
		f.Format, f.Minimums = []element.Format{element.U8, element.U4}[r.IntN(2)], plain[r.IntN(3)]
	default:
		f.Format = []element.Format{element.I8, element.I4, element.NF4}[r.IntN(3)]
	}
	f.Scales = plain[r.IntN(3)]
	if !f.Zeros && f.Minimums == 0 && r.IntN(3) == 0 {
		f.Scales = element.E8M0
	}
	f.HighFirst = f.HighFirst && f.Format.Bits() == 4
	for _, a := range l.Axes {
		if g := []uint64{0, 1, 2, 3, 8, 32}[r.IntN(6)]; g != 0 {
			f.Group[a.Name] = g
		}
	}
	if r.IntN(2) == 0 {
		for _, n := range []uint64{2, 4, 6, 8, 16, 24, 64, 128, 512}[r.IntN(5):] {
			if l.Elements()%n == 0 {
				f.Record = n
				break
			}
		}
	}
	return f
}
