package report

import (
	"math/bits"

	"npuw/artifact"
	"npuw/artifact/plane"
)

// sizes is where the bytes of a file go. All but source are parts of the file.
type sizes struct {
	file, source           uint64 // source: the parameters as FP32
	parameters             uint64 // their elements
	values, padding, gaps  uint64 // of operands: inside their extents and beyond; around operands, up to the end of their segment
	instructions, overhead uint64 // segments of other kinds; header page and index
}

func measure(h artifact.Header, x *artifact.Index) sizes {
	s := sizes{file: h.FileBytes, overhead: add(h.PageBytes, h.IndexBytes)}
	for i := range x.Parameters {
		s.parameters = add(s.parameters, x.Parameters[i].Elements())
	}
	s.source = times(s.parameters, 4)
	for i := range x.Segments {
		if g := &x.Segments[i]; g.Kind == artifact.Weights {
			s.gaps = add(s.gaps, g.Bytes)
		} else {
			s.instructions = add(s.instructions, g.Bytes)
		}
	}
	for i := range x.Operands {
		o := &x.Operands[i]
		used := valueBytes(o)
		s.values = add(s.values, used)
		s.padding = add(s.padding, o.Bytes-used)
		s.gaps -= min(s.gaps, o.Bytes)
	}
	return s
}

// valueBytes is how many bytes of an operand hold the elements of its planes that are not padding; all where that cannot be known.
func valueBytes(o *artifact.Operand) uint64 {
	if !o.Supported() {
		return o.Bytes
	}
	storage := o.Storage()
	total := uint64(0)
	for i := range storage.Planes {
		p := &storage.Planes[i]
		total = add(total, planeBytes(p))
	}
	return min(total, o.Bytes)
}

// planeBytes is how many bytes the elements of a plane take that are not padding.
func planeBytes(p *plane.Plane) uint64 {
	n := uint64(1)
	for _, a := range p.Layout.Axes {
		n = times(n, a.Extent)
	}
	per := uint64(max(p.Format.Values(), 1))
	return add(times(n/per, uint64(p.Format.Bits())), n%per*uint64(p.Format.Bits())/per) / 8
}

// times multiplies without going beyond what can be counted.
func times(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 {
		return 1<<64 - 1
	}
	return lo
}
