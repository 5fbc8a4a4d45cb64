package artifact

import (
	"fmt"
	"math"

	"npuw/artifact/element"
	"npuw/artifact/plane"
)

// verifyPlanes checks what the bytes of an operand must be whose elements are not each a value by itself: padding, what lies between
// elements, that scales and minimums are numbers, and that elements of bfp16 hold some.
func (a *File) verifyPlanes(s *Segment, o *Operand) error {
	storage := o.Storage()
	v := planeWalk{file: a, operand: o, base: int64(s.Offset + o.Offset)}
	if err := v.gaps(&storage); err != nil {
		return err
	}
	for i := range storage.Planes {
		v.plane = &storage.Planes[i]
		if err := v.padding(); err != nil {
			return err
		}
		if err := v.numbers(); err != nil {
			return err
		}
	}
	return nil
}

// planeWalk goes through the elements of a plane in memory order.
type planeWalk struct {
	file    *File
	operand *Operand
	base    int64 // of the operand, in the file
	plane   *plane.Plane
	buffer  []byte // what was read last, and from where of the operand
	from    uint64
}

func (v *planeWalk) fault(at uint64, format string, args ...any) error {
	return &Error{Offset: v.base + int64(at), Thing: fmt.Sprintf("operand %q", v.operand.Name), Detail: fmt.Sprintf(format, args...), Err: ErrCorrupt}
}

// read gives n bytes from at on of the operand, no more than pieceBytes. It reads ahead: elements in records come by a few bytes.
func (v *planeWalk) read(at, n uint64) ([]byte, error) {
	if at < v.from || at+n > v.from+uint64(len(v.buffer)) {
		v.buffer, v.from = resize(v.buffer, min(pieceBytes, v.operand.Bytes-at)), at
		if err := readFull(v.file, v.buffer, v.base+int64(at), fmt.Sprintf("operand %q", v.operand.Name)); err != nil {
			return nil, err
		}
	}
	return v.buffer[at-v.from:][:n], nil
}

// gaps checks that the bytes that belong to no element are zero.
func (v *planeWalk) gaps(s *plane.Storage) error {
	var err error
	s.Gaps(func(at, n, apart, count uint64) bool {
		for i := range count {
			if err = v.zeros(at+i*apart, n); err != nil {
				break
			}
		}
		return err == nil
	})
	return err
}

func (v *planeWalk) zeros(at, n uint64) error {
	for n > 0 {
		b, err := v.read(at, min(n, pieceBytes))
		if err != nil {
			return err
		}
		if i := firstNonZero(b); i >= 0 {
			return v.fault(at+uint64(i), "byte %#02x between elements, must be zero", b[i])
		}
		at, n = at+uint64(len(b)), n-uint64(len(b))
	}
	return nil
}

// elements calls do with the bytes of n elements from first on, by pieces of whole bytes: of 4-bit elements both of a byte, the first of
// which may be the one before number.
func (v *planeWalk) elements(first, n uint64, do func(at, number uint64, b []byte) error) error {
	w := uint64(v.plane.Format.Bits())
	var err error
	v.plane.Runs(first, n, func(at, number, count uint64) bool {
		for count > 0 && err == nil {
			take := min(count, pieceBytes/16)
			var b []byte
			if b, err = v.read(at, (number%2*(w%8)+take*w+7)/8); err == nil {
				err = do(at, number, b)
			}
			at, number, count = at+take*w/8, number+take, count-take
		}
		return err == nil
	})
	return err
}

// padding checks the elements, or of bfp16 the mantissas, that are padding.
func (v *planeWalk) padding() error {
	p := v.plane
	runs := newPadding(p.Layout, nil)
	if runs == nil {
		return nil
	}
	check := v.paddingRun
	switch {
	case p.Format.Values() > 1:
		check = v.paddingBFP16
	case p.Format.Size() == 0:
		check = v.padding4
	}
	for all, from := p.Layout.Elements(), uint64(0); ; {
		begin, end := runs.run(from)
		if begin >= all {
			return nil
		}
		if err := check(begin, end); err != nil {
			return err
		}
		from = end
	}
}

// paddingRun checks the padding from element begin to end of the plane, of whole bytes.
func (v *planeWalk) paddingRun(begin, end uint64) error {
	want := elementBytes(v.plane.PadBits, v.plane.Format.Size())
	return v.elements(begin, end-begin, func(at, _ uint64, b []byte) error {
		for i := range b {
			if b[i] != want[i%len(want)] {
				return v.fault(at+uint64(i), "padding other than the recorded %#x", v.plane.PadBits)
			}
		}
		return nil
	})
}

// padding4 checks the padding from element begin to end of the plane, of 4 bits.
func (v *planeWalk) padding4(begin, end uint64) error {
	p := v.plane
	codes := make([]byte, 2*(pieceBytes/16+1))
	return v.elements(begin, end-begin, func(at, number uint64, b []byte) error {
		codes := codes[:2*len(b)]
		if err := element.Unpack4(codes, b, p.HighFirst); err != nil {
			return err
		}
		even := number - number%2 // the first of codes
		for e := number; e < min(end, even+uint64(len(codes))); e++ {
			if code := codes[e-even]; uint64(code) != p.PadBits {
				return v.fault(at+(e-even)/2, "padding %#x other than the recorded %#x", code, p.PadBits)
			}
		}
		return nil
	})
}

// paddingBFP16 checks the padding from value begin to end of the plane, eight of which make an element: mantissas, and the exponent where
// all of them are padding.
func (v *planeWalk) paddingBFP16(begin, end uint64) error {
	per, size := uint64(v.plane.Format.Values()), uint64(v.plane.Format.Size())
	first := begin / per
	return v.elements(first, (end+per-1)/per-first, func(at, number uint64, b []byte) error {
		for i, x := range b {
			value, inside := (number+uint64(i)/size)*per, uint64(i)%size // the element's first; 0 is the exponent
			padding := value >= begin && value+per <= end
			if inside > 0 {
				value += inside - 1
				padding = value >= begin && value < end
			}
			if padding && x != 0 {
				return v.fault(at+uint64(i), "padding of %v that is not zero", v.plane.Format)
			}
		}
		return nil
	})
}

// numbers checks that scales and minimums are finite, where they are not padding, and that elements of bfp16 are such as may stand in a
// file.
func (v *planeWalk) numbers() error {
	p := v.plane
	switch p.Role {
	case plane.Values:
		if p.Format != element.BFP16 {
			return nil
		}
		return v.elements(0, p.Layout.Elements()/uint64(p.Format.Values()), func(at, _ uint64, b []byte) error {
			if i := element.FirstInvalid(b, p.Format); i >= 0 {
				return v.fault(at+uint64(i*p.Format.Size()), "an element of %v with values beyond binary32", p.Format)
			}
			return nil
		})
	case plane.Zeros:
		return nil
	}
	runs := newPadding(p.Layout, nil)
	values := make([]float64, pieceBytes/16)
	return v.elements(0, p.Layout.Elements(), func(at, number uint64, b []byte) error {
		list := values[:len(b)/p.Format.Size()]
		if err := element.ToFloat64(list, b, p.Format); err != nil {
			return err
		}
		for i, x := range list {
			if !math.IsNaN(x) && !math.IsInf(x, 0) {
				continue
			}
			if runs != nil {
				if begin, _ := runs.next(number + uint64(i)); begin <= number+uint64(i) {
					continue
				}
			}
			return v.fault(at+uint64(i*p.Format.Size()), "%v: %v", p.Role, x)
		}
		return nil
	})
}
