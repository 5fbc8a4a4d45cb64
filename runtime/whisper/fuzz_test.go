package whisper

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// FuzzIndex holds that an encoder of an artifact whose index has been changed, within what artifact.Open lets pass, is refused or runs:
// nothing panics, and nothing is left open.
func FuzzIndex(f *testing.F) {
	n := newNetwork(Sizes{Layers: 1, DModel: 6, Heads: 3, FFN: 5, Mels: 2, Positions: 4, Eps: 1e-5}, 20)
	list := plain(n, element.F32)
	paths := []string{
		packNetwork(f, n, list, nil),
		packNetwork(f, n, foldAll(n, list), nil),
		packNetwork(f, n, joinQKV(n, stack(n, list), false, "qkv", 1, 1), nil),
		packNetwork(f, n, convRows(n, joinBiases(n, joinQKV(n, list, false, "qkv", 1, 1), "q", "v")), nil),
		packNetwork(f, n, foldNorms(n, list), nil),
		packNetwork(f, n, encoded(foldNorms(n, foldAll(n, list)), forms["u4 in records"]), nil),
		packNetwork(f, n, encoded(foldNorms(n, joinBiases(n, joinQKV(n, list, false, "qkv", 1, 1), "v", "q")), forms["bfp16 along K"]), nil),
	}
	for which := range paths {
		f.Add([]byte{byte(which)})
		for kind := range kinds {
			f.Add([]byte{byte(which), byte(kind), 3, 0, 1, 1, 0, 2})
			f.Add([]byte{byte(which), byte(kind), 9, 1, 200, 128, 3, 7, 250, 250})
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		which, _ := r.ReadByte()
		d := cpu.New(cpu.Options{Workers: 1})
		defer func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}()
		m, err := device.Load(t.Context(), d, paths[int(which)%len(paths)], device.LoadOptions{SkipDigests: true})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for r.Len() > 0 {
			editIndex(m.Index, r)
		}
		e, err := New(t.Context(), d, m, Options{})
		if err != nil {
			return
		}
		defer e.Close()
		y, err := e.Run(t.Context(), make([]float32, e.Sizes.Mels*2*e.Sizes.Positions))
		if err == nil && uint64(len(y)) != e.Sizes.Positions*e.Sizes.DModel {
			t.Errorf("%d values", len(y))
		}
	})
}

// kinds of changes that editIndex makes.
const kinds = 11

// editIndex makes one change that artifact.Open would let pass.
func editIndex(x *artifact.Index, r *bytes.Reader) {
	value := func() uint64 { v, _ := binary.ReadUvarint(r); return v }
	kind := value() % kinds
	o := &x.Operands[value()%uint64(len(x.Operands))]
	if kind == 0 {
		x.Model.Attributes[value()%6].Integer = int64(value())
		return
	}
	if kind == 1 {
		p := &x.Parameters[value()%uint64(len(x.Parameters))]
		p.Axes = p.Axes[1:] + string(rune('A'+value()%26))
		return
	}
	if kind == 8 {
		x.Notes = append(x.Notes, artifact.Note{
			Kind: artifact.Folded, Parameter: int(value() % uint64(len(x.Parameters))), Operand: int(value() % uint64(len(x.Operands))),
		})
		return
	}
	if kind == 9 && len(x.Notes) > 0 {
		i := int(value() % uint64(len(x.Notes)))
		x.Notes = slices.Delete(x.Notes, i, i+1)
		return
	}
	if len(o.Placements) == 0 {
		return
	}
	i := value() % uint64(len(o.Placements))
	p := o.Placements[i]
	p.From, p.To = slices.Clone(p.From), slices.Clone(p.To)
	from := &p.From[value()%uint64(len(p.From))]
	switch kind {
	case 2:
		p.To[from.Axis] = value()
	case 3:
		from.Step = value()
	case 4:
		from.Axis = int(value() % uint64(len(p.To)))
	case 5:
		p.Scale = math.Float64frombits(value())
	case 6:
		from.Begin, from.Size = value(), value()
	case 10:
		o.Placements = slices.Delete(slices.Clone(o.Placements), int(i), int(i)+1)
		return
	case 7:
		p.Parameter = int(value() % uint64(len(x.Parameters)))
	}
	if legal(x, o, &p) {
		o.Placements[i] = p
	}
}

// legal is what artifact.Open demands of a placement.
func legal(x *artifact.Index, o *artifact.Operand, p *artifact.Placement) bool {
	shape := x.Parameters[p.Parameter].Shape
	if len(shape) != len(p.From) || p.Scale == 0 || math.IsNaN(p.Scale) || math.IsInf(p.Scale, 0) {
		return false
	}
	const most = 1 << 20 // sums and products stay small
	last := slices.Clone(p.To)
	for j, f := range p.From {
		if f.Size == 0 || f.Begin > shape[j] || f.Size > shape[j]-f.Begin || f.Step == 0 || f.Step > most || p.To[f.Axis] > most {
			return false
		}
		last[f.Axis] += (f.Size - 1) * f.Step
	}
	for a, axis := range o.Layout.Axes {
		if last[a] >= axis.Extent {
			return false
		}
	}
	return true
}
