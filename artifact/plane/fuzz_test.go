package plane

import (
	"errors"
	"math/rand/v2"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
)

// drawn takes numbers from fuzzed bytes, 0 when there are no more.
type drawn []byte

func (d *drawn) byte() byte {
	if len(*d) == 0 {
		return 0
	}
	b := (*d)[0]
	*d = (*d)[1:]
	return b
}

// number is small; but for the bytes that stand for numbers around the limits.
func (d *drawn) number() uint64 {
	b := d.byte()
	if b < 0xf0 {
		return uint64(b)
	}
	return uint64(d.byte()) << (4 * (b & 0xf))
}

// storage reads a storage: encoding, bytes, axes, planes.
func (d *drawn) storage() *Storage {
	s := &Storage{Encoding: Encoding(d.byte()), Bytes: d.number()}
	for range d.byte() % 4 {
		s.Axes = append(s.Axes, layout.Axis{Name: 'A' + d.byte(), Extent: d.number(), Padded: d.number()})
	}
	for range d.byte() % 5 {
		p := Plane{
			Role: Role(d.byte()), Format: element.Format(d.byte()), HighFirst: d.byte() == 1, Offset: d.number(), Bytes: d.number(),
			PadBits: d.number(), RecordElements: d.number(), RecordBytes: d.number(),
		}
		sound := true
		for range d.byte() % 4 {
			b := d.number()
			p.Block, sound = append(p.Block, b), sound && b > 0
		}
		p.Layout.Axes = s.Axes
		if sound && len(p.Block) == len(s.Axes) {
			p.Layout.Axes = Grid(s.Axes, p.Block)
		}
		for range d.byte() % 8 {
			p.Layout.Digits = append(p.Layout.Digits, layout.Digit{Axis: int(d.byte()), Size: d.number(), Stride: d.number()})
		}
		s.Planes = append(s.Planes, p)
	}
	return s
}

// written is what storage reads as s, if its numbers are small.
func written(s *Storage) []byte {
	b := []byte{byte(s.Encoding), byte(s.Bytes), byte(len(s.Axes))}
	for _, a := range s.Axes {
		b = append(b, a.Name-'A', byte(a.Extent), byte(a.Padded))
	}
	b = append(b, byte(len(s.Planes)))
	for _, p := range s.Planes {
		first := byte(0)
		if p.HighFirst {
			first = 1
		}
		b = append(b, byte(p.Role), byte(p.Format), first, byte(p.Offset), byte(p.Bytes), byte(p.PadBits), byte(p.RecordElements), byte(p.RecordBytes))
		b = append(b, byte(len(p.Block)))
		for _, n := range p.Block {
			b = append(b, byte(n))
		}
		b = append(b, byte(len(p.Layout.Digits)))
		for _, d := range p.Layout.Digits {
			b = append(b, byte(d.Axis), byte(d.Size), byte(d.Stride))
		}
	}
	return b
}

// FuzzStorage validates storages that anybody may have described. Where one is sound, everything that is said of its places must lie
// inside its bytes, and all values are read.
func FuzzStorage(f *testing.F) {
	for _, s := range []Storage{contiguous(), records(), plainStorage(element.BFP16), plainStorage(element.F32)} {
		f.Add(written(&s))
	}
	for seed := range uint64(40) {
		if s := randomStorage(rand.New(rand.NewPCG(seed, 7))); s != nil && s.Bytes < 0xf0 {
			f.Add(written(s))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := (*drawn)(&b).storage()
		_ = s.String()
		if s.Validate() != nil || s.Bytes > 1<<16 {
			return
		}
		covered := uint64(0) // bits
		s.Gaps(func(at, n, apart, count uint64) bool {
			if n == 0 || at+(count-1)*apart+n > s.Bytes {
				t.Errorf("a gap of %d bytes at %d, %d times, in %d", n, at, count, s.Bytes)
			}
			covered += 8 * n * count
			return true
		})
		for i := range s.Planes {
			p := &s.Planes[i]
			p.Runs(0, p.elements(), func(at, _, n uint64) bool {
				size, _ := BytesOf(p.Format, n)
				if at+size > s.Bytes {
					t.Errorf("%d bytes at %d of %d", size, at, s.Bytes)
				}
				covered += n * uint64(p.Format.Bits())
				return true
			})
		}
		if covered != 8*s.Bytes {
			t.Errorf("%d bits belong to elements or lie between them, there are %d", covered, 8*s.Bytes)
		}
		readAll(t, s)
	})
}

// readAll reads a box of each corner, and all values.
func readAll(t *testing.T, s *Storage) {
	reader := NewReader(s, func(b []byte, off uint64) error {
		if off+uint64(len(b)) > s.Bytes {
			return errors.New("outside the operand")
		}
		clear(b)
		return nil
	})
	first, size, last := make([]uint64, len(s.Axes)), make([]uint64, len(s.Axes)), make([]uint64, len(s.Axes))
	half := make([]uint64, len(s.Axes))
	for a, axis := range s.Axes {
		last[a], size[a], half[a] = axis.Padded/2, axis.Padded-axis.Padded/2, axis.Padded/2+axis.Padded%2
	}
	for _, box := range [][2][]uint64{{last, size}, {first, half}, {first, paddedOf(s.Axes)}} {
		n, err := reader.Elements(box[0], box[1])
		if err != nil {
			t.Error(err)
		}
		if err := reader.Float64(make([]float64, volume(box[1])), box[0], box[1]); err != nil && n <= maxWindow {
			t.Error(err)
		}
	}
}
