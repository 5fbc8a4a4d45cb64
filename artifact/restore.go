package artifact

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"npuw/artifact/internal/whole"
)

// Restore begins the artifact at path that has this header and this index, byte for byte: one that was taken apart and is put
// together again. Its segments are to be written; CommitIf with File.Verify proves that they are those of the index. Header and index
// are checked as Open does, before anything is written; offsets in errors are those of the artifact. As for the path, see Create.
func Restore(path string, header, index []byte, sync bool) (*Writer, error) {
	return restore(whole.OS{}, path, header, index, sync)
}

func restore(system whole.System, path string, header, index []byte, sync bool) (*Writer, error) {
	a, err := Ends(header, index)
	if err != nil {
		return nil, inFile(err, path)
	}
	if err := checkOutput(system.Stat, path); err != nil {
		return nil, err
	}
	f, err := whole.Create(system, path)
	if err != nil {
		return nil, osError(path, -1, "create", err)
	}
	w := &Writer{path: path, index: a.Index, header: a.Header, sync: sync, f: f, stored: &parts{header: header, index: index}}
	if err := f.Reserve(int64(a.Header.FileBytes)); err != nil {
		w.Abort()
		return nil, osError(path, -1, fmt.Sprintf("reserve %d bytes", a.Header.FileBytes), err)
	}
	return w, nil
}

// Ends is NewFile for an artifact of which nothing but header and index are there.
func Ends(header, index []byte) (*File, error) {
	h, err := HeaderOf(header)
	switch {
	case err != nil:
		return nil, err
	case len(header) != HeaderBytes || uint64(len(index)) != h.IndexBytes:
		return nil, &Error{Offset: int64(h.IndexOffset), Thing: "index", Detail: fmt.Sprintf("%d bytes, and a header of %d, where the header says %d", len(index), len(header), h.IndexBytes), Err: ErrCorrupt}
	}
	return NewFile(parts{header, index, int64(h.IndexOffset)}, int64(h.FileBytes))
}

// HeaderOf reads a header by itself, and checks all of it but that a file is as long as it says.
func HeaderOf(header []byte) (Header, error) {
	size := uint64(len(header))
	if size >= HeaderBytes {
		size = min(binary.LittleEndian.Uint64(header[atFileBytes:]), maxFileBytes)
	}
	return decodeHeader(header, size)
}

// parts reads as an artifact that has nothing between header and index.
type parts struct {
	header, index []byte
	at            int64 // where the index is
}

func (p parts) ReadAt(b []byte, off int64) (int, error) {
	if off < p.at {
		return bytes.NewReader(p.header).ReadAt(b, off)
	}
	return bytes.NewReader(p.index).ReadAt(b, off-p.at)
}

// WriteWhole puts a file of any kind at path, whole or not at all, as Writer does with artifacts. What write writes is its content; with
// sync it is on the disk when WriteWhole returns. An error of write is that of WriteWhole.
func WriteWhole(path string, sync bool, write func(io.Writer) error) error {
	f, err := whole.Create(whole.OS{}, path)
	if err != nil {
		return osError(path, -1, "", err)
	}
	defer f.Abort()
	if err := write(wholeWriter{path, io.NewOffsetWriter(f, 0)}); err != nil {
		return err
	}
	if err := f.Commit(sync); err != nil {
		return osError(path, -1, "", err)
	}
	return nil
}

// wholeWriter names the file in errors.
type wholeWriter struct {
	path string
	w    io.Writer
}

func (w wholeWriter) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	if err != nil {
		err = osError(w.path, -1, "", err)
	}
	return n, err
}
