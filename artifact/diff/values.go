package diff

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"

	"npuw/artifact"
)

// Values says by how much the values of an operand or a parameter differ. Pairs of which one is not finite are counted, and left out
// of the other figures unless they are the same.
type Values struct {
	Elements   uint64  `json:"elements"` // that were compared
	Same       bool    `json:"same"`
	Different  uint64  `json:"different"`     // elements; 0 and -0 are the same, and NaN is NaN
	NotFinite  uint64  `json:"not_finite"`    // of those that are different: with NaN or an infinity in one
	MaxAbs     float64 `json:"max_abs"`       // the largest |A - B|
	RelativeL2 float64 `json:"relative_l2"`   // the L2 norm of A - B relative to that of A; -1 where A is all zeros and B is not
	Cosine     float64 `json:"cosine"`        // of the angle between A and B; 1 for two of zeros
	Why        string  `json:"why,omitempty"` // they were not compared
}

// values compares two streams of values. One that cannot be decoded is no error, but values that are not known to be the same.
func (c *comparer) values(a, b *artifact.Values, errA, errB error) (*Values, error) {
	for _, err := range []error{errA, errB} {
		if errors.Is(err, artifact.ErrUnsupported) {
			return &Values{Why: err.Error()}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if !slices.Equal(a.Shape, b.Shape) {
		return &Values{Why: "of different shapes"}, nil
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	ra, rb := stream(ctx, a), stream(ctx, b)
	defer ra.Close()
	defer rb.Close()
	var sums sums
	most := min(product(a.Shape), 1<<14)
	bytesA, bytesB := make([]byte, 4*most), make([]byte, 4*most)
	for left := product(a.Shape); left > 0; {
		n := min(left, most)
		if _, err := io.ReadFull(ra, bytesA[:4*n]); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(rb, bytesB[:4*n]); err != nil {
			return nil, err
		}
		sums.add(bytesA[:4*n], bytesB[:4*n])
		left -= n
	}
	return sums.figures(), nil
}

// stream gives values as they are asked for. Closing it ends the work.
func stream(ctx context.Context, v *artifact.Values) *io.PipeReader {
	r, w := io.Pipe()
	go func() { w.CloseWithError(v.WriteFloat32(&stoppable{ctx, w})) }()
	return r
}

// stoppable is a writer that fails once its context is done.
type stoppable struct {
	ctx context.Context
	w   io.Writer
}

func (s *stoppable) Write(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(b)
}

// sums is what is known of two streams.
type sums struct {
	elements, different, notFinite uint64
	max, aa, bb, ab, dd            float64
}

// add counts elements, little-endian float32.
func (s *sums) add(a, b []byte) {
	for i := 0; i < len(a); i += 4 {
		x := float64(math.Float32frombits(binary.LittleEndian.Uint32(a[i:])))
		y := float64(math.Float32frombits(binary.LittleEndian.Uint32(b[i:])))
		d := x - y
		if x == y || x != x && y != y {
			d = 0
		} else {
			s.different++
		}
		if math.IsNaN(x-y) || math.IsInf(x-y, 0) {
			if d != 0 {
				s.notFinite++
			}
			continue
		}
		s.max = max(s.max, math.Abs(d))
		s.aa, s.bb, s.ab, s.dd = s.aa+x*x, s.bb+y*y, s.ab+x*y, s.dd+d*d
	}
	s.elements += uint64(len(a) / 4)
}

func (s *sums) figures() *Values {
	v := &Values{Elements: s.elements, Same: s.different == 0, Different: s.different, NotFinite: s.notFinite, MaxAbs: s.max}
	switch {
	case s.dd == 0:
	case s.aa == 0:
		v.RelativeL2 = -1
	default:
		v.RelativeL2 = math.Sqrt(s.dd / s.aa)
	}
	switch {
	case s.dd == 0:
		v.Cosine = 1
	case s.aa > 0 && s.bb > 0:
		v.Cosine = s.ab / math.Sqrt(s.aa) / math.Sqrt(s.bb)
	}
	return v
}
