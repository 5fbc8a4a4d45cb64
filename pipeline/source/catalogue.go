package source

import (
	"errors"
	"fmt"
	"io"
	"math"

	"npuw/artifact/element"
)

// Catalogue is an open source file, its external data files, and what they hold. It may be read from several goroutines.
type Catalogue struct {
	Kind    string   // "onnx", "safetensors", "torch"
	Path    string   // of the main file, as it was given
	Tensors []Tensor // in the order of the file; names are unique
	Files   []*File  // Files[0] is the main file, the others hold external data
	// Sizes are numbers that the file states beside its tensors, under its own names ("dims.n_audio_head"); nil where it states none.
	Sizes map[string]int64
	// Others are the tensors that hold no floats, and so no weights, and the names of their types as the file has them ("I64"); nil where
	// there are none.
	Others map[string]string
}

// ReadAt fills dst with the bytes of t from byte offset of its data. It fails, naming file, tensor and offset, if the
// file has become shorter since it was catalogued, and if the bytes asked for are not all of t.
func (c *Catalogue) ReadAt(dst []byte, t *Tensor, offset int64) error {
	d := &t.Data
	size := d.Size
	if d.Inline != nil {
		size = int64(len(d.Inline))
	}
	if d.File < 0 || d.File >= len(c.Files) {
		return &Error{
			File: c.Path, Offset: -1, Thing: thing(t), Err: ErrMisuse,
			Problem: fmt.Sprintf("file %d of a catalogue of %d", d.File, len(c.Files)),
		}
	}
	f := c.Files[d.File]
	if offset < 0 || offset > size || int64(len(dst)) > size-offset {
		return &Error{
			File: f.Path, Offset: -1, Thing: thing(t), Err: ErrMisuse,
			Problem: fmt.Sprintf("read of %d bytes at %d of a tensor of %d bytes", len(dst), offset, size),
		}
	}
	switch {
	case d.Inline != nil:
		copy(dst, d.Inline[offset:])
		return nil
	case d.Decoder != nil:
		if n := int64(t.Type.Size()); offset%n != 0 || int64(len(dst))%n != 0 {
			return &Error{
				File: f.Path, Offset: -1, Thing: thing(t), Err: ErrMisuse,
				Problem: fmt.Sprintf("read of %d bytes at %d of a tensor in %v that is computed; whole elements were expected", len(dst), offset, t.Type),
			}
		}
		return d.Decoder.Decode(c, dst, offset)
	}
	for len(dst) > 0 {
		at, n := d.Offset+offset, int64(len(dst))
		if d.Run > 0 {
			at = d.Offset + offset/d.Run*d.Apart + offset%d.Run
			n = min(n, d.Run-offset%d.Run)
		}
		if got, err := f.ReadAt(dst[:n], at); int64(got) < n {
			return readError(f, t, at+int64(got), err)
		}
		dst, offset = dst[n:], offset+n
	}
	return nil
}

// readError tells a file that became shorter from one that cannot be read.
func readError(f *File, t *Tensor, offset int64, err error) *Error {
	e := &Error{File: f.Path, Offset: offset, Thing: thing(t)}
	if errors.Is(err, io.EOF) {
		e.Err = ErrTruncated
		e.Problem = fmt.Sprintf("the file ends here; it had %d bytes when it was opened", f.Size)
		e.Next = "something truncated it meanwhile: restore it and run again"
		return e
	}
	e.Err = err
	e.Problem = "cannot be read: " + cause(err).Error()
	e.Next = "check the disk, or copy the file elsewhere"
	return e
}

// Tensor gives the tensor called name, nil if there is none.
func (c *Catalogue) Tensor(name string) *Tensor {
	for i := range c.Tensors {
		if c.Tensors[i].Name == name {
			return &c.Tensors[i]
		}
	}
	return nil
}

// Unchanged fails when a file has been written to since it was opened.
func (c *Catalogue) Unchanged() error {
	for _, f := range c.Files {
		if err := f.Unchanged(); err != nil {
			return err
		}
	}
	return nil
}

// Close closes all files. The catalogue's facts stay readable; its tensors do not.
func (c *Catalogue) Close() error {
	var errs []error
	for _, f := range c.Files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Elements gives the number of elements of shape, 1 for a scalar; false if it is past 2^63-1.
func Elements(shape []uint64) (uint64, bool) {
	n := uint64(1)
	for _, d := range shape {
		if d == 0 {
			return 0, true
		}
	}
	for _, d := range shape {
		if d > math.MaxInt64/n {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// Bytes gives the size of a dense tensor of the given shape; false if it is past 2^63-1 or f has no size.
func Bytes(shape []uint64, f element.Format) (int64, bool) {
	n, ok := Elements(shape)
	size := uint64(f.Size())
	if !ok || size == 0 || n > math.MaxInt64/size {
		return 0, false
	}
	return int64(n * size), true
}

func thing(t *Tensor) string { return fmt.Sprintf("tensor %.200q", t.Name) }
