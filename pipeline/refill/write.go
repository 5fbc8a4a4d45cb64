package refill

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// copyBytes is how much of a file is copied, or read back, at a time.
const copyBytes = 1 << 20

// File is a file under construction: it is at its path when Commit has returned without an error, and after Abort nothing of it is left.
type File interface {
	io.WriterAt
	Name() string          // where it can be read meanwhile
	Reserve(n int64) error // makes it n zero bytes long
	Commit(sync bool) error
	Abort()
}

// Options are what Write works with.
type Options struct {
	Create   func(path string) (File, error)
	Progress func(bytes int64) // if not nil, called as work goes on; it adds up to Bytes
}

// Result says what has been written.
type Result struct {
	Paths []string // the model's first
	// Rounded counts the values that the types of their tensors cannot hold, and so were rounded again, to nearest, ties to even.
	Rounded int64
}

// Write writes the copy of the model to path, and its data files, if it has any, beside that. Nothing is at any of the paths before all
// of it has been written and read back: data files get their names first, the model last. Paths at which something would be lost, such as
// those of the files that are read, or data files without a model at path, are refused. It is not for several goroutines at once. Memory
// does not grow with the model: buffers are less than 96 MiB.
func (r *Model) Write(ctx context.Context, path string, opts Options) (*Result, error) {
	paths, err := r.paths(path)
	if err != nil {
		return nil, err
	}
	if err := r.checkOutputs(paths); err != nil {
		return nil, err
	}
	w := &writer{Model: r, ctx: ctx, progress: opts.Progress}
	if w.progress == nil {
		w.progress = func(int64) {}
	}
	for i, path := range paths {
		f, err := opts.Create(path)
		if err != nil {
			return nil, fault(path, err)
		}
		defer f.Abort()
		w.files = append(w.files, f)
		if err := w.copy(i, path); err != nil {
			return nil, err
		}
	}
	if err := r.source.Unchanged(); err != nil {
		return nil, err
	}
	if err := w.patch(paths); err != nil {
		return nil, err
	}
	if err := w.readBack(paths); err != nil {
		return nil, err
	}
	for i := range slices.Backward(paths) {
		if err := w.files[i].Commit(true); err != nil {
			return nil, fault(paths[i], err)
		}
	}
	return &Result{paths, w.rounded}, nil
}

// checkOutputs refuses paths at which something would be lost: of data files, which nobody has named, also those of another model.
func (r *Model) checkOutputs(paths []string) error {
	there := func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}
	again := there(paths[0])
	for i, path := range paths {
		err := artifact.CheckOutput(path, r.inputs()...)
		if err == nil && i > 0 && !again && there(path) {
			err = fmt.Errorf("%s: is there already, without %s, so of another model perhaps (%w)", path, paths[0], fs.ErrExist)
		}
		switch {
		case err != nil && i > 0:
			return fmt.Errorf("%w; data files keep the names that the model gives: write it into a folder of its own", err)
		case err != nil:
			return err
		}
	}
	return nil
}

// writer is the state of a Write.
type writer struct {
	*Model
	ctx      context.Context
	progress func(int64)
	files    []File // one for each of the source
	rounded  int64

	raw, got []byte // what the tensor is to hold, and what it does; their memory is used again for the next
}

// copy copies file i of the source.
func (w *writer) copy(i int, path string) error {
	from, to := w.source.Files[i], w.files[i]
	if err := to.Reserve(from.Size); err != nil {
		return fault(path, err)
	}
	b := make([]byte, min(copyBytes, from.Size))
	for at := int64(0); at < from.Size; at += int64(len(b)) {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		b = b[:min(int64(len(b)), from.Size-at)]
		if n, err := from.ReadAt(b, at); n < len(b) {
			if errors.Is(err, io.EOF) {
				err = source.ErrTruncated
			}
			return &source.Error{File: from.Path, Offset: at + int64(n), Problem: "cannot be read: " + err.Error(), Next: "run again when nothing writes to it", Err: err}
		}
		if _, err := to.WriteAt(b, at); err != nil {
			return fault(path, err)
		}
		w.progress(int64(len(b)))
	}
	return nil
}

// patch writes the values of all weights to their places.
func (w *writer) patch(paths []string) error {
	for i := range w.weights {
		weight := &w.weights[i]
		data := &weight.parameter.Tensor.Data
		err := w.stream(weight, func(b []byte, at int64, rounded int) error {
			w.rounded += int64(rounded)
			return pieces(data, b, at, func(b []byte, at int64) error {
				_, err := w.files[data.File].WriteAt(b, at)
				return fault(paths[data.File], err)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readBack reads the new files as the model: it must be the same one, with the values of the artifact as its weights.
func (w *writer) readBack(paths []string) error {
	originals := w.source.Files
	w.source.Files = nil
	defer func() {
		_ = w.source.Close()
		w.source.Files = originals
	}()
	for _, f := range w.files {
		opened, err := source.OpenFile(f.Name())
		if err != nil {
			return err
		}
		w.source.Files = append(w.source.Files, opened)
	}
	for i := range w.weights {
		weight := &w.weights[i]
		err := w.stream(weight, func(want []byte, at int64, _ int) error {
			w.got = slices.Grow(w.got[:0], len(want))[:len(want)]
			if err := w.source.ReadAt(w.got, &weight.parameter.Tensor, at); err != nil {
				return err
			}
			if bytes.Equal(w.got, want) {
				return nil
			}
			return w.differs(weight, paths)
		})
		if err != nil {
			return err
		}
	}
	// A bias of keys is left out where it is 0; one that is tied to another parameter may be so no longer.
	if _, err := w.recognise(w.set.File.Index.Model.Family); err != nil {
		return w.mismatch("", "with the values of %s it is another model: %v", w.set.File.Path, err)
	}
	return nil
}

// differs says why a weight does not read back as it was written.
func (w *writer) differs(weight *weight, paths []string) error {
	p := weight.parameter
	if names := w.tied(weight); len(names) > 0 {
		return w.mismatch(p.Name, "one tensor, %.200q, holds it and %s; in %s their values differ", p.Tensor.Name, strings.Join(names, ", "), w.set.File.Path)
	}
	return &source.Error{
		File: paths[p.Tensor.Data.File], Offset: -1, Thing: fmt.Sprintf("tensor %.200q", p.Tensor.Name),
		Problem: "reads back otherwise than it was written", Next: "check the disk", Err: source.ErrCorrupt,
	}
}

// stream calls each with the bytes of a weight's tensor, in order, as they are to be: at says where in the tensor they stand, rounded
// how many of the values were rounded to its type.
func (w *writer) stream(weight *weight, each func(b []byte, at int64, rounded int) error) error {
	t := &weight.parameter.Tensor
	var at int64
	return weight.values.WriteFloat32(writerFunc(func(values []byte) error {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		size := len(values) / 4 * t.Type.Size()
		w.raw = slices.Grow(w.raw[:0], size)[:size]
		rounded, err := convert(w.raw, values, t.Type)
		if err != nil {
			return &source.Error{
				File: w.source.Path, Offset: -1, Thing: fmt.Sprintf("tensor %.200q", t.Name), Problem: err.Error(),
				Next: "give the model in float32", Err: source.ErrNotFinite,
			}
		}
		if err := each(w.raw, at, rounded); err != nil {
			return err
		}
		at += int64(size)
		w.progress(int64(size))
		return nil
	}))
}

// writerFunc takes bytes, all of them or with an error. Values gives it whole ones.
type writerFunc func([]byte) error

func (f writerFunc) Write(b []byte) (int, error) {
	if err := f(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// pieces calls write for each run of the bytes b, which stand at offset at of a tensor, with its place in the file.
func pieces(d *source.Data, b []byte, at int64, write func(b []byte, at int64) error) error {
	for len(b) > 0 {
		n, there := int64(len(b)), d.Offset+at
		if d.Run > 0 {
			n = min(n, d.Run-at%d.Run)
			there = d.Offset + at/d.Run*d.Apart + at%d.Run
		}
		if err := write(b[:n], there); err != nil {
			return err
		}
		b, at = b[n:], at+n
	}
	return nil
}

// encode64 writes values as little-endian float64.
func encode64(dst []byte, values []float32) {
	for i, x := range values {
		binary.LittleEndian.PutUint64(dst[i*element.F64.Size():], math.Float64bits(float64(x)))
	}
}

// fault names the output that the operating system refused, not the temporary file that it is until it is whole.
func fault(path string, err error) error {
	if err == nil {
		return nil
	}
	var inPath *fs.PathError
	var inLink *os.LinkError
	switch {
	case errors.As(err, &inPath):
		err = inPath.Err
	case errors.As(err, &inLink):
		err = inLink.Err
	}
	return &source.Error{File: path, Offset: -1, Problem: "cannot be written: " + err.Error(), Err: err}
}
