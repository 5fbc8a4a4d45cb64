package artifact

import (
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"npuw/artifact/element"
)

// pieceBytes is how much of a file is read at a time.
const pieceBytes = 1 << 20

// Verify proves that every byte of the file is what it should be (FORMAT.md, section 9): the zeros after the header, the digest of
// each segment, zeros between operands, padding, fills, and that the index accounts for every element. Header and index
// have been checked by Open. It reads the whole file with pread, several segments at once, and returns the first fault in
// the file.
func (a *File) Verify() error {
	return inFile(a.verify(), a.Path)
}

func (a *File) verify() error {
	gap := make([]byte, a.Header.PageBytes-HeaderBytes)
	if err := readFull(a, gap, HeaderBytes, "gap after the header"); err != nil {
		return err
	}
	if err := checkZero(gap, HeaderBytes, "gap after the header"); err != nil {
		return err
	}
	if err := a.Index.checkCoverage(); err != nil {
		return err
	}
	faults := make([]error, len(a.Index.Segments))
	rest := a.Index.Operands // those of a segment follow those of the one before
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range a.Index.Segments {
		n := 0
		for n < len(rest) && rest[n].Segment == i {
			n++
		}
		operands := rest[:n]
		rest = rest[n:]
		g.Go(func() error {
			faults[i] = a.verifySegment(&a.Index.Segments[i], operands)
			return nil
		})
	}
	_ = g.Wait() // the goroutines report in faults
	for _, err := range faults {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkZero(b []byte, off int64, thing string) error {
	if i := firstNonZero(b); i >= 0 {
		return &Error{Offset: off + int64(i), Thing: thing, Detail: fmt.Sprintf("byte %#02x, must be zero", b[i]), Err: ErrCorrupt}
	}
	return nil
}

// verifySegment checks the bytes of one segment, which holds the operands given.
func (a *File) verifySegment(s *Segment, operands []Operand) error {
	look := func([]byte) error { return nil } // what is in other segments is not known
	if s.Kind == Weights {
		look = (&segmentWalk{s: s, operands: operands}).look
	}
	digest, err := sumSegment(a, s, look)
	if err == nil {
		err = s.matches(digest)
	}
	if err != nil {
		return err
	}
	for i := range operands {
		o := &operands[i]
		var err error
		switch {
		case o.single():
			err = a.verifyFills(s, o)
		case o.Supported():
			err = a.verifyPlanes(s, o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// segmentWalk goes through the bytes of a segment of weights.
type segmentWalk struct {
	s        *Segment
	at       uint64    // in the segment: what comes next
	operands []Operand // of which nothing or only the first part has been seen
	padding  *padding  // of the first of them
}

// look checks the bytes that come next, whole pages.
func (w *segmentWalk) look(piece []byte) error {
	for len(piece) > 0 {
		n := uint64(len(piece))
		var err error
		if len(w.operands) > 0 && w.at >= w.operands[0].Offset {
			o := &w.operands[0]
			n = min(n, o.Offset+o.Bytes-w.at)
			err = w.lookAt(o, piece[:n])
		} else {
			if len(w.operands) > 0 {
				n = min(n, w.operands[0].Offset-w.at)
			}
			err = checkZero(piece[:n], int64(w.s.Offset+w.at), fmt.Sprintf("segment %q outside operands", w.s.Name))
		}
		if err != nil {
			return err
		}
		w.at += n
		piece = piece[n:]
	}
	return nil
}

// lookAt checks the bytes of the first operand that come next. Operands begin at multiples of 256 and pieces at pages, so no
// element is cut in two.
func (w *segmentWalk) lookAt(o *Operand, b []byte) error {
	if w.at == o.Offset {
		w.padding = nil // of other operands verifyPlanes looks for it
		if o.single() {
			w.padding = newPadding(o.Layout, elementBytes(o.PadBits, o.Format.Size()))
		}
	}
	if w.at+uint64(len(b)) == o.Offset+o.Bytes {
		w.operands = w.operands[1:]
	}
	if w.padding == nil {
		return nil
	}
	if i := w.padding.check((w.at-o.Offset)/uint64(o.Format.Size()), b); i >= 0 {
		return &Error{Offset: int64(w.s.Offset + w.at + uint64(i)), Thing: fmt.Sprintf("operand %q", o.Name), Detail: fmt.Sprintf("padding other than the recorded %#x", o.PadBits), Err: ErrCorrupt}
	}
	return nil
}

var pieces = sync.Pool{New: func() any { return new([pieceBytes]byte) }}

// sumSegment digests the bytes of a segment, each piece after look has seen it. Pieces are a whole number of pages.
func sumSegment(r io.ReaderAt, s *Segment, look func(piece []byte) error) (Digest, error) {
	buffer := pieces.Get().(*[pieceBytes]byte)
	defer pieces.Put(buffer)
	thing := fmt.Sprintf("segment %q", s.Name)
	h := xxh3.New()
	for at := uint64(0); at < s.Bytes; {
		piece := buffer[:min(pieceBytes, s.Bytes-at)]
		if err := readFull(r, piece, int64(s.Offset+at), thing); err != nil {
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

// verifyFills checks that the fills of an operand hold their values.
func (a *File) verifyFills(s *Segment, o *Operand) error {
	for i := range o.Fills {
		f := &o.Fills[i]
		want := make([]byte, o.Format.Size())
		if err := element.Encode(want, []float64{f.Value}, o.Format); err != nil {
			return err
		}
		box := Placement{Scale: 1, To: f.Begin}
		for axis, n := range f.Size {
			box.From = append(box.From, PlacedAxis{Size: n, Step: 1, Axis: axis})
		}
		v := Values{Name: o.Name, Shape: f.Size, file: a, pieces: []piece{{o, box}}, limits: usualLimits}
		if err := v.write(&fillCheck{s: s, o: o, f: f, want: want}, o.Format, true); err != nil {
			return err
		}
	}
	return nil
}

// fillCheck is a writer to which the elements of a fill are written, row-major.
type fillCheck struct {
	s    *Segment
	o    *Operand
	f    *Fill
	want []byte
	seen uint64 // elements
}

func (c *fillCheck) Write(b []byte) (int, error) {
	size := len(c.want)
	for i := 0; i < len(b); i += size {
		if string(b[i:i+size]) != string(c.want) {
			return 0, c.fault(c.seen + uint64(i/size))
		}
	}
	c.seen += uint64(len(b) / size)
	return len(b), nil
}

func (c *fillCheck) fault(n uint64) error {
	index := make([]uint64, len(c.f.Size))
	for a := len(index) - 1; a >= 0; a-- {
		index[a] = c.f.Begin[a] + n%c.f.Size[a]
		n /= c.f.Size[a]
	}
	at := c.s.Offset + c.o.Offset + c.o.Layout.Offset(index)*uint64(len(c.want))
	return &Error{Offset: int64(at), Thing: fmt.Sprintf("operand %q", c.o.Name), Detail: fmt.Sprintf("an element of a fill is not %v", c.f.Value), Err: ErrCorrupt}
}
