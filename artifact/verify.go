package artifact

import (
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"
)

// pieceBytes is how much of a file is read at a time.
const pieceBytes = 1 << 20

// Verify proves that every byte of the file is what it should be (FORMAT.md, section 9): the zeros after the header, the digest of
// each segment, zeros between operands, padding, and that the index accounts for every element. Header and index have been
// checked by Open. It reads the whole file with pread, several segments at once, and returns the first fault in the file.
func (a *File) Verify() error {
	gap := make([]byte, a.Header.PageBytes-HeaderBytes)
	if err := readFull(a, gap, HeaderBytes, "gap"); err != nil {
		return inFile(err, a.Path)
	}
	if i := firstNonZero(gap); i >= 0 {
		return &Error{File: a.Path, Offset: HeaderBytes + int64(i), Thing: "gap after the header", Detail: fmt.Sprintf("byte %#02x, must be zero", gap[i]), Err: ErrCorrupt}
	}
	if err := a.Index.checkCoverage(); err != nil {
		return inFile(err, a.Path)
	}
	faults := make([]error, len(a.Index.Segments))
	first := 0 // the operands of a segment follow those of the one before
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range a.Index.Segments {
		operands := a.Index.Operands[first:]
		n := 0
		for n < len(operands) && operands[n].Segment == i {
			n++
		}
		first += n
		g.Go(func() error {
			faults[i] = verifySegment(a, &a.Index.Segments[i], operands[:n])
			return nil
		})
	}
	_ = g.Wait() // the goroutines report in faults
	for _, err := range faults {
		if err != nil {
			return inFile(err, a.Path)
		}
	}
	return nil
}

// verifySegment checks the bytes of one segment, which holds the operands given.
func verifySegment(r io.ReaderAt, s *Segment, operands []Operand) error {
	var at uint64 // in the segment
	var walk *paddingWalk
	digest, err := sumSegment(r, s, func(piece []byte) error {
		for len(piece) > 0 {
			var n uint64
			switch {
			case s.Kind != Weights: // an instruction stream is opaque to its end
				n = uint64(len(piece))
			case len(operands) == 0 || at < operands[0].Offset:
				n = uint64(len(piece))
				if len(operands) > 0 {
					n = min(n, operands[0].Offset-at)
				}
				if i := firstNonZero(piece[:n]); i >= 0 {
					return &Error{Offset: int64(s.Offset + at + uint64(i)), Thing: fmt.Sprintf("segment %q", s.Name), Detail: fmt.Sprintf("byte %#02x between operands, must be zero", piece[i]), Err: ErrCorrupt}
				}
			default:
				o := &operands[0]
				n = min(uint64(len(piece)), o.Offset+o.Bytes-at)
				if at == o.Offset {
					walk = newPaddingWalk(o)
				}
				if i := walk.check(piece[:n]); i >= 0 {
					return &Error{Offset: int64(s.Offset + at + uint64(i)), Thing: fmt.Sprintf("operand %q", o.Name), Detail: fmt.Sprintf("padding other than the recorded %#x", o.PadBits), Err: ErrCorrupt}
				}
				if at+n == o.Offset+o.Bytes {
					operands = operands[1:]
				}
			}
			at += n
			piece = piece[n:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	if digest != s.Digest {
		return &Error{Offset: int64(s.Offset), Thing: fmt.Sprintf("segment %q", s.Name), Detail: fmt.Sprintf("digest %v, recorded %v; copy or build the file again", digest, s.Digest), Err: ErrCorrupt}
	}
	return nil
}

var pieces = sync.Pool{New: func() any { return new([pieceBytes]byte) }}

// sumSegment digests the bytes of a segment, each piece after look has seen it. Pieces are a whole number of pages.
func sumSegment(r io.ReaderAt, s *Segment, look func(piece []byte) error) (Digest, error) {
	buffer := pieces.Get().(*[pieceBytes]byte)
	defer pieces.Put(buffer)
	h := xxh3.New()
	for at := uint64(0); at < s.Bytes; {
		piece := buffer[:min(pieceBytes, s.Bytes-at)]
		if err := readFull(r, piece, int64(s.Offset+at), fmt.Sprintf("segment %q", s.Name)); err != nil {
			return Digest{}, err
		}
		if err := look(piece); err != nil {
			return Digest{}, err
		}
		_, _ = h.Write(piece)
		at += uint64(len(piece))
	}
	u := h.Sum128()
	return Digest{u.Lo, u.Hi}, nil
}

// paddingWalk goes through the elements of an operand in memory order and checks those that are padding.
type paddingWalk struct {
	o      *Operand
	pad    []byte
	digits []uint64 // the value of each digit at the current element
	index  []uint64 // its index on each axis
	beyond int      // on how many axes the index is at or beyond the extent
}

// newPaddingWalk is nil for an operand that has no padding, or that this version cannot read.
func newPaddingWalk(o *Operand) *paddingWalk {
	if !o.Supported() || o.Elements() == o.Layout.Elements() {
		return nil
	}
	return &paddingWalk{o: o, pad: o.padBytes(), digits: make([]uint64, len(o.Layout.Digits)), index: make([]uint64, len(o.Layout.Axes))}
}

// check looks at the next whole elements, and returns the position of the first byte of padding that is wrong, -1 when all is
// well. Operands begin at multiples of 256 and pieces at pages, so no element is cut in two.
func (w *paddingWalk) check(b []byte) int {
	if w == nil {
		return -1
	}
	for i := 0; i < len(b); i += len(w.pad) {
		if w.beyond > 0 {
			for j, v := range w.pad {
				if b[i+j] != v {
					return i + j
				}
			}
		}
		w.next()
	}
	return -1
}

func (w *paddingWalk) next() {
	for d := len(w.digits) - 1; d >= 0; d-- {
		digit := &w.o.Layout.Digits[d]
		if w.digits[d]++; w.digits[d] < digit.Size {
			w.move(digit.Axis, digit.Stride)
			return
		}
		w.move(digit.Axis, -(digit.Size-1)*digit.Stride)
		w.digits[d] = 0
	}
}

// move adds way, which may have wrapped around zero, to the index on an axis.
func (w *paddingWalk) move(axis int, way uint64) {
	extent := w.o.Layout.Axes[axis].Extent
	before := w.index[axis] >= extent
	w.index[axis] += way
	if after := w.index[axis] >= extent; after != before {
		if after {
			w.beyond++
		} else {
			w.beyond--
		}
	}
}
