// Package planetest makes operands of every encoding for tests: how they lie, their bytes, and what these mean. Values are decoded by
// the formulas of schema/FORMAT.md, section 6, one by one, apart from the code that is tested with them.
package planetest

import (
	"fmt"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// Form says how an operand is to lie.
type Form struct {
	Format element.Format // of values, or codes
	Layout string         // of these, in FORMAT.md's notation
	Pad    uint64         // bits of values or codes that are padding

	Scales    element.Format // 0: encoding Plain
	Zeros     bool
	Minimums  element.Format
	Group     map[byte]uint64 // how many indices of an axis share a scale; all of an axis that is missing
	Shared    string          // the layout of scales, zeros and minimums over groups; empty: row-major
	HighFirst bool
	Record    uint64 // codes in a record; 0: planes lie one behind the other
	Align     uint64 // of records, or of the beginning of planes, in bytes; 0: 1
	Swapped   bool   // zeros or minimums lie before the scales
}

// Axes are axes with their extents, a letter each.
func Axes(names string, extents ...uint64) []layout.Axis {
	list := make([]layout.Axis, len(names))
	for i := range list {
		list[i] = layout.Axis{Name: names[i], Extent: extents[i]}
	}
	return list
}

// Storage lays values over axes, padded as the layout asks.
func (f *Form) Storage(axes []layout.Axis) (plane.Storage, error) {
	spec, err := layout.Parse(f.Layout)
	if err != nil {
		return plane.Storage{}, err
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		return plane.Storage{}, err
	}
	return f.Over(l)
}

// Over lays values as l does, and what belongs to them around them.
func (f *Form) Over(l layout.Layout) (plane.Storage, error) {
	s := plane.Storage{Axes: l.Axes, Planes: []plane.Plane{{Format: f.Format, HighFirst: f.HighFirst, PadBits: f.Pad, Layout: l}}}
	if f.Scales != 0 {
		s.Encoding = plane.Scaled
		if err := f.share(&s, plane.Scales, f.Scales); err != nil {
			return s, err
		}
	}
	if f.Zeros {
		if err := f.share(&s, plane.Zeros, f.Format); err != nil {
			return s, err
		}
	}
	if f.Minimums != 0 {
		if err := f.share(&s, plane.Minimums, f.Minimums); err != nil {
			return s, err
		}
	}
	if err := f.place(&s); err != nil {
		return s, err
	}
	return s, s.Validate()
}

// share adds a plane of what groups share.
func (f *Form) share(s *plane.Storage, role plane.Role, format element.Format) error {
	p := plane.Plane{Role: role, Format: format, HighFirst: f.HighFirst && format.Bits() == 4, Block: make([]uint64, len(s.Axes))}
	for a, axis := range s.Axes {
		if p.Block[a] = f.Group[axis.Name]; p.Block[a] == 0 {
			p.Block[a] = axis.Padded
		}
	}
	grid := plane.Grid(s.Axes, p.Block)
	if f.Shared == "" {
		p.Layout.Axes = grid
		for a, axis := range grid {
			p.Layout.Digits = append(p.Layout.Digits, layout.Digit{Axis: a, Size: axis.Padded, Stride: 1})
		}
	} else {
		spec, err := layout.Parse(f.Shared)
		if err != nil {
			return err
		}
		if p.Layout, err = spec.Resolve(grid); err != nil {
			return err
		}
	}
	s.Planes = append(s.Planes, p)
	return nil
}

// place gives planes their places.
func (f *Form) place(s *plane.Storage) error {
	records, align := uint64(1), max(f.Align, 1)
	if f.Record != 0 {
		n := count(&s.Planes[0])
		if n%f.Record != 0 {
			return fmt.Errorf("%d codes in records of %d", n, f.Record)
		}
		records = n / f.Record
	}
	order := []int{0, 1, 2}[:len(s.Planes)]
	if f.Swapped && len(order) == 3 {
		order[1], order[2] = 2, 1
	}
	at := uint64(0)
	for i, next := range order {
		p := &s.Planes[next]
		n := count(p)
		if n%records != 0 {
			return fmt.Errorf("%d %v in %d records", n, p.Role, records)
		}
		p.Offset, p.Bytes = at, (n/records*uint64(p.Format.Bits())+7)/8
		if at += p.Bytes; f.Record == 0 && i+1 < len(s.Planes) {
			at = (at + align - 1) / align * align
		}
		if f.Record != 0 {
			p.RecordElements = n / records
		}
	}
	if s.Bytes = at; f.Record == 0 {
		return nil
	}
	r := (at + align - 1) / align * align
	for i := range s.Planes {
		p := &s.Planes[i]
		p.RecordBytes = r
		p.Bytes += (records - 1) * r
	}
	s.Bytes = records * r
	return nil
}

// count is the number of a plane's elements.
func count(p *plane.Plane) uint64 {
	n := uint64(1)
	for _, a := range p.Layout.Axes {
		n *= a.Padded
	}
	if p.Format == element.BFP16 {
		n /= 8
	}
	return n
}
