package artifact

import (
	"fmt"
	"math"

	"npuw/artifact/element"
	"npuw/artifact/plane"
)

// verifyPlanes checks what the bytes of an operand must be whose elements are not each a value by itself: padding, what lies between
// elements, and that scales and minimums are numbers.
func (a *File) verifyPlanes(s *Segment, o *Operand) error {
	storage := o.Storage()
	v := planeWalk{file: a, operand: o, base: int64(s.Offset + o.Offset)}
	var err error
	storage.Gaps(func(at, n, apart, count uint64) bool {
		for i := range count {
			if err = v.zeros(at+i*apart, n); err != nil {
				return false
			}
		}
		return true
	})
	for i := range storage.Planes {
		v.plane = &storage.Planes[i]
		if err == nil {
			err = v.padding()
		}
		if err == nil && v.plane.Role != plane.Values {
			err = v.numbers()
		}
	}
	return err
}

// planeWalk goes through the elements of a plane in memory order.
type planeWalk struct {
	file    *File
	operand *Operand
	base    int64 // of the operand, in the file
	plane   *plane.Plane
	buffer  []byte
}

func (v *planeWalk) fault(at uint64, format string, args ...any) error {
	return &Error{Offset: v.base + int64(at), Thing: fmt.Sprintf("operand %q", v.operand.Name), Detail: fmt.Sprintf(format, args...), Err: ErrCorrupt}
}

// read reads n bytes from at on of the operand.
func (v *planeWalk) read(at, n uint64) ([]byte, error) {
	v.buffer = resize(v.buffer, n)
	return v.buffer, readFull(v.file, v.buffer, v.base+int64(at), fmt.Sprintf("operand %q", v.operand.Name))
}

func (v *planeWalk) zeros(at, n uint64) error {
	for n > 0 {
		b, err := v.read(at, min(n, pieceBytes))
		if err != nil {
			return err
		}
		if i := firstNonZero(b); i >= 0 {
			return v.fault(at+uint64(i), "byte %#02x between planes, must be zero", b[i])
		}
		at, n = at+uint64(len(b)), n-uint64(len(b))
	}
	return nil
}

// elements calls do with the bytes of elements from first on, whole pieces of whole bytes: of 4-bit elements both of a byte.
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
	all := p.Layout.Elements()
	for from := uint64(0); ; {
		begin, end := runs.next(from)
		if begin >= all {
			return nil
		}
		if err := v.paddingRun(begin, end); err != nil {
			return err
		}
		from = end
	}
}

// paddingRun checks the padding from value begin to end of the plane.
func (v *planeWalk) paddingRun(begin, end uint64) error {
	p := v.plane
	if per := uint64(p.Format.Values()); per > 1 {
		first := begin / per
		return v.elements(first, (end+per-1)/per-first, func(at, number uint64, b []byte) error {
			size := uint64(p.Format.Size())
			for i := range b {
				e, inside := number+uint64(i)/size, uint64(i)%size // mantissa inside-1; the exponent is padding where all of them are
				exponent := inside == 0 && e*per >= begin && (e+1)*per <= end
				mantissa := inside > 0 && e*per+inside-1 >= begin && e*per+inside-1 < end
				if (exponent || mantissa) && b[i] != 0 {
					return v.fault(at+uint64(i), "padding of %v that is not zero", p.Format)
				}
			}
			return nil
		})
	}
	if p.Format.Size() == 0 {
		return v.elements(begin, end-begin, func(at, number uint64, b []byte) error {
			codes := make([]byte, 2*len(b))
			if err := element.Unpack4(codes, b, p.HighFirst); err != nil {
				return err
			}
			first := number % 2
			for i := first; i < uint64(len(codes)) && number+i-first < end; i++ {
				if uint64(codes[i]) != p.PadBits {
					return v.fault(at+i/2, "padding %#x, recorded is %#x", codes[i], p.PadBits)
				}
			}
			return nil
		})
	}
	want := elementBytes(p.PadBits, p.Format.Size())
	return v.elements(begin, end-begin, func(at, _ uint64, b []byte) error {
		for i := range b {
			if b[i] != want[i%len(want)] {
				return v.fault(at+uint64(i), "padding other than the recorded %#x", p.PadBits)
			}
		}
		return nil
	})
}

// numbers checks that scales are finite and greater than 0 and minimums finite, where they are not padding.
func (v *planeWalk) numbers() error {
	p := v.plane
	if p.Role == plane.Zeros {
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
			if !math.IsNaN(x) && !math.IsInf(x, 0) && (x > 0 || p.Role == plane.Minimums) {
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
