// Package plane says how the numbers of an operand lie in memory: in one plane of elements, or in several that are joined (codes with
// their scales, zero points or minimums), each in a layout of its own, one behind the other or interleaved in records. It proves
// such a description, and reads values by it. schema/FORMAT.md, section 6, defines all of it.
//
//	contiguous   | codes ............ | scales .... | zeros .... |
//	in records   | codes | scales | 0 | codes | scales | 0 | ...      R bytes each
//
// In either, planes lie in any order: AMD's W4 has codes, zeros, scales.
package plane

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

// Encoding says which planes there are and how a value is made of their elements. The numbers are FORMAT.md's.
type Encoding uint8

// The encodings.
const (
	Plain  Encoding = 0 // one plane of values
	Scaled Encoding = 1 // (code - zero) * scale, or code * scale + minimum
)

// Known reports whether this version can read values of the encoding.
func (e Encoding) Known() bool { return e <= Scaled }

// Role says what the elements of a plane are.
type Role uint8

// The roles, in the order of Storage.Planes.
const (
	Values   Role = 0 // of encoding Plain; codes in others
	Scales   Role = 1
	Zeros    Role = 2
	Minimums Role = 3
)

func (r Role) String() string {
	names := [...]string{"values", "scales", "zeros", "minimums"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Plane is an array of elements over the grid that blocks make of an operand's padded box.
type Plane struct {
	Role          Role
	Format        element.Format
	HighFirst     bool   // of two 4-bit elements in a byte, the first is in the high half
	Offset, Bytes uint64 // from the operand's first byte; from the first byte to the end of the last element
	PadBits       uint64 // the bits of an element that is padding
	// RecordElements of the elements lie in each record of RecordBytes bytes; 0: the plane is contiguous.
	RecordElements, RecordBytes uint64
	Block                       []uint64      // how many indices of each axis an element spans; nil: 1 each
	Layout                      layout.Layout // of the grid: its extents are those of the blocks that hold values
}

// Storage is how the numbers of an operand, or of a kernel's argument, lie in Bytes bytes.
type Storage struct {
	Encoding Encoding
	Axes     []layout.Axis
	Planes   []Plane
	Bytes    uint64
}

// Of is the storage of an operand or argument: of planes, or without any (encoding Plain) of values that fill its bytes.
func Of(e Encoding, f element.Format, l layout.Layout, padBits, bytes uint64, planes []Plane) Storage {
	s := Storage{Encoding: e, Axes: l.Axes, Planes: planes, Bytes: bytes}
	if len(planes) == 0 {
		s.Planes = []Plane{{Format: f, PadBits: padBits, Bytes: bytes, Layout: l}}
	}
	return s
}

// Elements is how many elements a layout of values takes in a format: one each, or one for eight.
func Elements(f element.Format, l layout.Layout) uint64 {
	return l.Elements() / uint64(max(f.Values(), 1))
}

// BytesOf is how many bytes n elements take, one behind the other; false when they are more than 2^62.
func BytesOf(f element.Format, n uint64) (uint64, bool) {
	hi, eights := bits.Mul64(n/8, uint64(f.Bits()))
	if hi != 0 || eights > 1<<62 {
		return 0, false
	}
	all := eights + (n%8*uint64(f.Bits())+7)/8
	return all, all <= 1<<62
}

// byteOf is the byte in which element number n begins, where elements lie one behind the other.
func byteOf(f element.Format, n uint64) uint64 {
	w := uint64(f.Bits())
	return n/8*w + n%8*w/8
}

// Grid gives the axes of the grid that blocks, none of them 0, make of axes: where each is one index, the axes themselves.
func Grid(axes []layout.Axis, block []uint64) []layout.Axis {
	if ones(block) {
		return axes
	}
	grid := slices.Clone(axes)
	for a := range grid {
		grid[a].Extent = quotientUp(grid[a].Extent, block[a])
		grid[a].Padded = quotientUp(grid[a].Padded, block[a])
	}
	return grid
}

// quotientUp is n/d, rounded up.
func quotientUp(n, d uint64) uint64 {
	if n%d != 0 {
		return n/d + 1
	}
	return n / d
}

// elements is the number of a plane's elements.
func (p *Plane) elements() uint64 { return Elements(p.Format, p.Layout) }

// Equal reports whether two storages lie alike: all that a kernel sees, but for the value of padding.
func (s *Storage) Equal(t *Storage) bool {
	return s.Encoding == t.Encoding && s.Bytes == t.Bytes && slices.Equal(s.Axes, t.Axes) && slices.EqualFunc(s.Planes, t.Planes, func(p, q Plane) bool {
		return p.Role == q.Role && p.Format == q.Format && p.HighFirst == q.HighFirst && p.Offset == q.Offset && p.Bytes == q.Bytes &&
			p.RecordElements == q.RecordElements && p.RecordBytes == q.RecordBytes && sameBlocks(p.Block, q.Block) && p.Layout.Equal(q.Layout)
	})
}

// sameBlocks compares blocks, of which none means 1 each.
func sameBlocks(a, b []uint64) bool { return slices.Equal(a, b) || ones(a) && ones(b) }

// ones reports whether blocks are 1 each.
func ones(block []uint64) bool {
	return !slices.ContainsFunc(block, func(v uint64) bool { return v != 1 })
}

// String names encoding and planes, each with element format, blocks, layout and place.
func (s *Storage) String() string {
	var b strings.Builder
	for i := range s.Planes {
		p := &s.Planes[i]
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%v %v", p.Role, p.Format)
		if p.HighFirst {
			b.WriteString(" high half first")
		}
		if p.Block != nil {
			fmt.Fprintf(&b, " by %d", p.Block)
		}
		fmt.Fprintf(&b, " in %v", p.Layout)
		if s.Encoding != Plain {
			fmt.Fprintf(&b, " at %d", p.Offset)
		}
		if p.RecordElements != 0 {
			fmt.Fprintf(&b, " of records of %d bytes, %d in each", p.RecordBytes, p.RecordElements)
		}
	}
	return b.String()
}

// Validate proves a storage: roles, element formats, blocks, layouts, and where planes lie. Memory and time do not depend on sizes.
func (s *Storage) Validate() error {
	if err := s.validateRoles(); err != nil {
		return err
	}
	for i := range s.Planes {
		if err := s.Planes[i].validate(s.Axes); err != nil {
			return fmt.Errorf("%v: %w", s.Planes[i].Role, err)
		}
	}
	switch {
	case s.Planes[0].RecordElements != 0 && s.Encoding != Plain:
		return s.validateRecords()
	case s.Encoding == Plain && (s.Planes[0].Offset != 0 || s.Planes[0].Bytes != s.Bytes):
		return fmt.Errorf("values: %d bytes at %d of %d; all of them were expected", s.Planes[0].Bytes, s.Planes[0].Offset, s.Bytes)
	}
	return s.validateContiguous()
}

// validateRoles checks which planes there are, and their element formats.
func (s *Storage) validateRoles() error {
	roles := make([]Role, len(s.Planes))
	for i := range s.Planes {
		if roles[i] = s.Planes[i].Role; !s.Planes[i].Format.Known() {
			return fmt.Errorf("%v in %v, which is no element format", roles[i], s.Planes[i].Format)
		}
	}
	switch s.Encoding {
	case Plain:
		if !slices.Equal(roles, []Role{Values}) {
			return fmt.Errorf("planes %v; encoding 0 has one of values", roles)
		}
		if f := s.Planes[0].Format; !f.Plain() && f != element.BFP16 {
			return fmt.Errorf("values in %v, which is no format of values by themselves", f)
		}
		return nil
	case Scaled:
		switch {
		case slices.Equal(roles, []Role{Values, Scales}):
		case slices.Equal(roles, []Role{Values, Scales, Zeros}):
		case slices.Equal(roles, []Role{Values, Scales, Minimums}):
		default:
			return fmt.Errorf("planes %v; encoding 1 has codes, scales, and zeros or minimums or neither", roles)
		}
		scheme := s.Scheme()
		return scheme.Validate()
	}
	return fmt.Errorf("encoding %d is not known", s.Encoding)
}

// Scheme is how values of encoding Scaled are made of their elements.
func (s *Storage) Scheme() element.Scheme {
	scheme := element.Scheme{}
	for i := range s.Planes {
		switch p := &s.Planes[i]; p.Role {
		case Values:
			scheme.Codes = p.Format
		case Scales:
			scheme.Scales = p.Format
		case Zeros:
			scheme.Zeros = p.Format
		case Minimums:
			scheme.Minimums = p.Format
		}
	}
	return scheme
}

// validate proves a plane by itself, of an operand with the axes given.
func (p *Plane) validate(axes []layout.Axis) error {
	if p.Block != nil && len(p.Block) != len(axes) {
		return fmt.Errorf("blocks of %d axes, there are %d", len(p.Block), len(axes))
	}
	for _, b := range p.Block {
		if b == 0 || b > layout.MaxElements || p.Role == Values && b != 1 {
			return fmt.Errorf("blocks of %d", p.Block)
		}
	}
	if !slices.Equal(p.Layout.Axes, Grid(axes, p.Block)) {
		return fmt.Errorf("its axes are not the grid of the operand's")
	}
	if err := p.Layout.Validate(); err != nil {
		return err
	}
	bitsOf, values := uint64(p.Format.Bits()), uint64(p.Format.Values())
	if values > 1 {
		if d, ok := innermost(p.Layout); !ok || d.Stride != 1 || d.Size%values != 0 {
			return fmt.Errorf("layout %v: in %v the innermost digit is a multiple of %d neighbours", p.Layout, p.Format, values)
		}
	}
	n := p.elements()
	if bitsOf%8 != 0 && (n%2 != 0 || p.RecordElements%2 != 0) {
		return fmt.Errorf("%d elements of %v, in records of %d: pairs were expected", n, p.Format, p.RecordElements)
	}
	if p.HighFirst && bitsOf%8 == 0 {
		return fmt.Errorf("an order of halves for %v", p.Format)
	}
	if bitsOf < 64 && p.PadBits>>bitsOf != 0 || values > 1 && p.PadBits != 0 {
		return fmt.Errorf("pad_bits %#x for %v", p.PadBits, p.Format)
	}
	if _, ok := BytesOf(p.Format, n); !ok || p.Offset > 1<<62 || p.Bytes > 1<<62 {
		return fmt.Errorf("%d elements of %v at %d", n, p.Format, p.Offset)
	}
	return nil
}

// innermost is the last digit of a size other than 1.
func innermost(l layout.Layout) (layout.Digit, bool) {
	for i := len(l.Digits) - 1; i >= 0; i-- {
		if l.Digits[i].Size > 1 {
			return l.Digits[i], true
		}
	}
	return layout.Digit{}, false
}

// byOffset gives the planes in the order in which they lie, which need not be that of their roles.
func (s *Storage) byOffset() []*Plane {
	order := make([]*Plane, len(s.Planes))
	for i := range s.Planes {
		order[i] = &s.Planes[i]
	}
	slices.SortStableFunc(order, func(a, b *Plane) int { return cmp.Compare(a.Offset, b.Offset) })
	return order
}

// validateContiguous checks that planes lie beside each other, in any order.
func (s *Storage) validateContiguous() error {
	end := uint64(0)
	for _, p := range s.byOffset() {
		n, _ := BytesOf(p.Format, p.elements())
		if p.RecordElements != 0 || p.RecordBytes != 0 {
			return fmt.Errorf("%v: %d elements in records of %d bytes, without records", p.Role, p.RecordElements, p.RecordBytes)
		}
		if p.Bytes != n {
			return fmt.Errorf("%v: %d bytes for %d elements of %v", p.Role, p.Bytes, p.elements(), p.Format)
		}
		if p.Offset < end || p.Offset > s.Bytes || n > s.Bytes-p.Offset {
			return fmt.Errorf("%v: %d bytes at %d of %d, where planes before end at %d", p.Role, n, p.Offset, s.Bytes, end)
		}
		end = p.Offset + n
	}
	return nil
}

// validateRecords checks that planes share records, in each of which their parts lie beside each other, in any order.
func (s *Storage) validateRecords() error {
	first := &s.Planes[0]
	r, e := first.RecordBytes, first.RecordElements
	n := first.elements()
	if n%e != 0 {
		return fmt.Errorf("%d codes in records of %d", n, e)
	}
	records := n / e
	if hi, all := bits.Mul64(records, r); hi != 0 || all != s.Bytes {
		return fmt.Errorf("%d bytes for %d records of %d", s.Bytes, records, r)
	}
	end := uint64(0)
	for _, p := range s.byOffset() {
		part, ok := BytesOf(p.Format, p.RecordElements)
		hi, all := bits.Mul64(records, p.RecordElements)
		if p.RecordElements == 0 || p.RecordBytes != r || hi != 0 || all != p.elements() || !ok {
			return fmt.Errorf("%v: %d elements, %d in each record of %d bytes; there are %d records of %d", p.Role, p.elements(), p.RecordElements, p.RecordBytes, records, r)
		}
		if p.Offset < end || p.Offset > r || part > r-p.Offset || p.Bytes != (records-1)*r+part {
			return fmt.Errorf("%v: %d bytes at %d of records of %d, of which %d are taken", p.Role, p.Bytes, p.Offset, r, end)
		}
		end = p.Offset + part
	}
	return nil
}

// Runs calls yield for the contiguous pieces in which the n elements from first on lie: at is the byte, from the operand's first, in
// which element number of them begins. It stops when yield returns false.
func (p *Plane) Runs(first, n uint64, yield func(at, number, count uint64) bool) {
	if p.RecordElements == 0 {
		if n > 0 {
			yield(p.Offset+byteOf(p.Format, first), first, n)
		}
		return
	}
	for n > 0 {
		inside := first % p.RecordElements
		count := min(n, p.RecordElements-inside)
		if !yield(p.Offset+first/p.RecordElements*p.RecordBytes+byteOf(p.Format, inside), first, count) {
			return
		}
		first, n = first+count, n-count
	}
}

// Gaps calls yield for the bytes of an operand that belong to no element: count pieces of n bytes from at on, apart bytes from each
// to the next.
func (s *Storage) Gaps(yield func(at, n, apart, count uint64) bool) {
	end, limit, apart, count := uint64(0), s.Bytes, uint64(0), uint64(1)
	records := s.Planes[0].RecordElements != 0
	if records {
		limit, apart = s.Planes[0].RecordBytes, s.Planes[0].RecordBytes
		count = s.Bytes / apart
	}
	for _, p := range s.byOffset() {
		if p.Offset > end && !yield(end, p.Offset-end, apart, count) {
			return
		}
		n := p.Bytes
		if records {
			n, _ = BytesOf(p.Format, p.RecordElements)
		}
		end = p.Offset + n
	}
	if end < limit {
		yield(end, limit-end, apart, count)
	}
}
