package check

import (
	"encoding/binary"
	"math"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/pipeline/internal/boxes"
)

// walk goes through a box of a parameter row by row, in the order of the source.
type walk struct {
	placement *artifact.Placement
	box       boxes.Box
	order     []int    // the axes of the parameter, outermost in the source first
	first     []uint64 // the operand's index of the box's first element
}

// row is a run of elements along the innermost axis of the source.
type row struct {
	begin  uint64 // of its elements, among those of the box
	index  []uint64
	base   uint64   // what all other axes of the operand add to the place of an element
	places []uint64 // element i is at base + places[i*step]
	step   uint64
}

// rows calls do for each row, until it gives an error. tables give, for each axis of the operand, what an index adds to the place of an
// element, from that of first - shift on.
func (w *walk) rows(tables [][]uint64, shift []uint64, do func(r *row) error) error {
	last := len(w.order) - 1
	innerAxis, innerSize, step := 0, uint64(1), uint64(1)
	if last >= 0 {
		f := w.placement.From[w.order[last]]
		innerAxis, innerSize, step = f.Axis, w.box.Size[w.order[last]], f.Step
	}
	counter := make([]uint64, max(last, 0))
	at := make([]uint64, len(w.first))
	r := row{index: make([]uint64, len(w.order)), step: step}
	for {
		copy(at, shift)
		copy(r.index, w.box.Begin)
		for i, n := range counter {
			f := w.placement.From[w.order[i]]
			at[f.Axis] += n * f.Step
			r.index[w.order[i]] += n
		}
		r.base = 0
		for a := range at {
			if a != innerAxis {
				r.base += tables[a][at[a]]
			}
		}
		r.places = tables[innerAxis][at[innerAxis]:]
		if err := do(&r); err != nil {
			return err
		}
		r.begin += innerSize
		i := last - 1
		for ; i >= 0; i-- {
			if counter[i]++; counter[i] < w.box.Size[w.order[i]] {
				break
			}
			counter[i] = 0
		}
		if i < 0 {
			return nil
		}
	}
}

// inner is the innermost axis of the source, and the length of rows.
func (w *walk) inner() (axis int, size uint64) {
	if len(w.order) == 0 {
		return 0, 1
	}
	axis = w.order[len(w.order)-1]
	return axis, w.box.Size[axis]
}

// equal checks that the elements of a box are those that its values are encoded to.
func (k *checker) equal(v *values, w *walk, window *layout.Window) error {
	if err := k.encode(v, w.box); err != nil {
		return err
	}
	elem := uint64(k.plan.Format.Size())
	k.packed = resize(k.packed, window.Layout.Elements()*elem)
	var err error
	window.Runs(func(at, there, n uint64) bool {
		_, err = k.file.ReadAt(k.packed[at*elem:(at+n)*elem], k.base+int64(there*elem))
		return err == nil
	})
	if err != nil {
		return err
	}
	tables, shift := make([][]uint64, len(w.first)), make([]uint64, len(w.first))
	for a := range tables {
		tables[a] = window.Layout.AxisOffsets(a, 0, window.Size[a])
		shift[a] = w.first[a] - window.Begin[a]
	}
	axis, n := w.inner()
	same := sameElements4
	if elem == 2 {
		same = sameElements2
	}
	return w.rows(tables, shift, func(r *row) error {
		want := k.encoded[r.begin*elem : (r.begin+n)*elem]
		if i := same(k.packed, want, r); i >= 0 {
			if len(r.index) > 0 {
				r.index[axis] += uint64(i)
			}
			return k.fault("what stands for parameter %q at %d is not what the model has there", v.parameter.Name, r.index)
		}
		return nil
	})
}

// sameElements2 compares a row of elements of 2 bytes with what they must be: the first that differs, or -1.
func sameElements2(packed, want []byte, r *row) int {
	n := uint64(len(want) / 2)
	if r.step == 1 { // nearly always
		for i, place := range r.places[:n] {
			at := 2 * (r.base + place)
			if binary.LittleEndian.Uint16(packed[at:at+2]) != binary.LittleEndian.Uint16(want[2*i:2*i+2]) {
				return i
			}
		}
		return -1
	}
	for i := range n {
		at := 2 * (r.base + r.places[i*r.step])
		if binary.LittleEndian.Uint16(packed[at:]) != binary.LittleEndian.Uint16(want[2*i:]) {
			return int(i)
		}
	}
	return -1
}

// sameElements4 does it for 4 bytes.
func sameElements4(packed, want []byte, r *row) int {
	for i := range uint64(len(want) / 4) {
		at := 4 * (r.base + r.places[i*r.step])
		if binary.LittleEndian.Uint32(packed[at:]) != binary.LittleEndian.Uint32(want[4*i:]) {
			return int(i)
		}
	}
	return -1
}

// near checks that the values of a box of the operand, of the given size around at, are within the recorded error of what they must be.
func (k *checker) near(v *values, w *walk, at, size []uint64) error {
	volume, strides := uint64(1), make([]uint64, len(size))
	for a := len(size) - 1; a >= 0; a-- {
		strides[a] = volume
		volume *= size[a]
	}
	k.decoded = resize(k.decoded, volume)
	if err := k.reader.Float64(k.decoded, at, size); err != nil {
		return err
	}
	if err := k.roundKept(v); err != nil {
		return err
	}
	if v.parameter != nil {
		k.double = resize(k.double, w.box.Volume())
		if err := k.float64s(k.double, v.parameter, w.box); err != nil {
			return err
		}
	}
	tables := make([][]uint64, len(size))
	for a, n := range size {
		for i := range n {
			tables[a] = append(tables[a], i*strides[a])
		}
	}
	axis, n := w.inner()
	plain := v.factor == nil && v.addend == nil
	most := k.made.Statistics.MaxAbsError*(1+1e-9) + 1e-12*k.made.Statistics.MaxAbsValue
	return w.rows(tables, make([]uint64, len(size)), func(r *row) error {
		for i := range n {
			x := v.constant
			if v.parameter != nil {
				x = k.double[r.begin+i]
			}
			want := v.scale * x
			if !plain {
				want = v.at(x, r.index, axis, i)
			}
			d := k.decoded[r.base+r.places[i*r.step]] - want
			finite := d-d == 0
			if finite && math.Abs(d) > most || !finite && want-want == 0 && !k.plan.KeepNonFinite {
				if len(r.index) > 0 {
					r.index[axis] += i
				}
				return k.fault("the value at %d of %s is %g away from what it must be, the largest error recorded is %g", r.index, v.name(), d, k.made.Statistics.MaxAbsError)
			}
			if finite {
				k.squares += d * d
			}
		}
		k.seen += n
		return nil
	})
}

// roundKept rounds what has been decoded to the type of the source, if the operand keeps its codes: source.Codes says that the source's
// values are rounded once, and then they are the same.
func (k *checker) roundKept(v *values) error {
	if !k.plan.Kept || v.parameter == nil || v.parameter.Tensor.Type == element.F64 {
		return nil
	}
	f := v.parameter.Tensor.Type
	k.encoded = resize(k.encoded, uint64(len(k.decoded)*f.Size()))
	if err := element.Encode(k.encoded, k.decoded, f); err != nil {
		return err
	}
	return element.ToFloat64(k.decoded, k.encoded, f)
}

// at is what must lie where the value x is, i elements along axis from index.
func (v *values) at(x float64, index []uint64, axis int, i uint64) float64 {
	along := func(list []float64, of int) float64 {
		if of == axis {
			return list[index[of]+i]
		}
		return list[index[of]]
	}
	if v.factor != nil {
		x = float64(x * along(v.factor, v.factorAxis))
	}
	if v.addend != nil {
		x = float64(x + along(v.addend, v.addendAxis))
	}
	return v.scale * x
}

func (v *values) name() string {
	if v.parameter == nil {
		return "what comes from no parameter"
	}
	return "parameter " + v.parameter.Name
}
