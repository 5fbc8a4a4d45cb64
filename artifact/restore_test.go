package artifact

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/internal/whole"
	"npuw/artifact/internal/whole/wholetest"
	"npuw/schema/pyreader"
)

// ends gives header and index of an artifact.
func ends(b []byte) (header, index []byte) {
	return b[:HeaderBytes], b[binary.LittleEndian.Uint64(b[atIndexOffset:]):]
}

// restoreOn puts an artifact together again on a file system, its segments in pieces.
func restoreOn(system whole.System, path string, b []byte) error {
	header, index := ends(b)
	w, err := restore(system, path, header, index, true)
	if err != nil {
		return err
	}
	defer w.Abort()
	for at := int64(w.header.PageBytes); at < int64(w.header.IndexOffset); at += 3000 {
		if _, err := w.WriteAt(b[at:min(at+3000, int64(w.header.IndexOffset))], at); err != nil {
			return err
		}
	}
	return w.CommitIf((*File).Verify)
}

// longer is an artifact whose index is longer than the writer here makes it, as another writer may.
func longer(b []byte) []byte {
	b = append(slices.Clone(b), make([]byte, 64)...)
	header, index := ends(b)
	binary.LittleEndian.PutUint64(header[atFileBytes:], uint64(len(b)))
	binary.LittleEndian.PutUint64(header[atIndexBytes:], uint64(len(index)))
	putDigest(header[atIndexDigest:], Sum(index))
	clear(header[atHeaderDigest:])
	putDigest(header[atHeaderDigest:], Sum(header))
	return b
}

// TestRestore wants the same bytes, whoever wrote them.
func TestRestore(t *testing.T) {
	t.Parallel()
	for _, page := range []uint64{4096, 16384} {
		dir := pyreader.TempDir(t)
		newSample(page).write(t, filepath.Join(dir, "a.npuw"))
		sample := readFile(t, filepath.Join(dir, "a.npuw"))
		for i, want := range [][]byte{sample, longer(sample)} {
			path := filepath.Join(dir, fmt.Sprintf("%d.npuw", i))
			if err := restoreOn(whole.OS{}, path, want); err != nil {
				t.Fatal(err)
			}
			if got := readFile(t, path); !bytes.Equal(got, want) {
				t.Errorf("pages of %d, artifact %d: %d bytes, or other ones, of %d", page, i, len(got), len(want))
			}
		}
	}
}

// TestRestoreRefuses has what is not a header with its index, and segments that are not those of the index.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	newSmallSample().write(t, filepath.Join(dir, "a.npuw"))
	b := readFile(t, filepath.Join(dir, "a.npuw"))
	path := filepath.Join(dir, "out.npuw")
	for name, change := range map[string]func(header, index []byte) ([]byte, []byte){
		"no header":      func(_, index []byte) ([]byte, []byte) { return nil, index },
		"half a header":  func(header, index []byte) ([]byte, []byte) { return header[:100], index },
		"a long header":  func(header, index []byte) ([]byte, []byte) { return append(header, 0), index },
		"another header": func(header, index []byte) ([]byte, []byte) { header[40]++; return header, index },
		"no index":       func(header, _ []byte) ([]byte, []byte) { return header, nil },
		"half an index":  func(header, index []byte) ([]byte, []byte) { return header, index[:len(index)/2] },
		"a long index":   func(header, index []byte) ([]byte, []byte) { return header, append(index, make([]byte, 8)...) },
		"another index":  func(header, index []byte) ([]byte, []byte) { index[9]++; return header, index },
	} {
		header, index := ends(slices.Clone(b))
		header, index = change(slices.Clone(header), index)
		var fault *Error
		if _, err := Restore(path, header, index, false); !errors.As(err, &fault) || fault.File != path || fault.Offset < 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := slices.Clone(b)
	other[4096]++
	if err := restoreOn(whole.OS{}, path, other); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another segment: %v", err)
	}
	if err := restoreOn(whole.OS{}, dir, b); !errors.Is(err, os.ErrExist) {
		t.Errorf("onto a folder: %v", err)
	}
	if left := entries(t, dir); !slices.Equal(left, []string{"a.npuw"}) {
		t.Errorf("left behind: %q", left)
	}
}

// TestRestoreEveryCallFails has each call of the writer fail in turn: all of the artifact is there, or nothing.
func TestRestoreEveryCallFails(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	newSmallSample().write(t, filepath.Join(dir, "a.npuw"))
	want := readFile(t, filepath.Join(dir, "a.npuw"))
	counted := &wholetest.Faulty{}
	if err := restoreOn(counted, filepath.Join(dir, "b.npuw"), want); err != nil {
		t.Fatal(err)
	}
	broken, failed := errors.New("broken"), 0
	for n := range counted.Calls() {
		folder := pyreader.TempDir(t)
		path, did := filepath.Join(folder, "a.npuw"), ""
		err := restoreOn(&wholetest.Faulty{At: n + 1, Fault: func(call string) error { did = call; return broken }}, path, want)
		if err != nil {
			failed++
			if !errors.Is(err, broken) || strings.Contains(err.Error(), "npuw-tmp") {
				t.Errorf("%s fails: %v", did, err)
			}
		}
		there, errRead := os.ReadFile(path)
		switch whole := errRead == nil && bytes.Equal(there, want); {
		case err == nil && !whole, err != nil && errRead == nil && !whole:
			t.Errorf("%s fails (%v): not all of the artifact is there", did, err)
		case err != nil && whole && !strings.HasPrefix(did, "sync "):
			t.Errorf("%s fails (%v): the artifact is there", did, err)
		}
		if left := entries(t, folder); len(left) > 1 || len(left) == 1 && left[0] != "a.npuw" && !strings.HasPrefix(did, "remove ") {
			t.Errorf("%s fails: left %q", did, left)
		}
	}
	if failed < 5 {
		t.Errorf("%d of %d failures were told", failed, len(counted.Calls()))
	}
}

// TestWriteWhole wants all of a file, or nothing.
func TestWriteWhole(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "file")
	two := func(w io.Writer) error {
		_, err1 := io.WriteString(w, "one ")
		_, err2 := io.WriteString(w, "two")
		return errors.Join(err1, err2)
	}
	if err := WriteWhole(path, true, two); err != nil || string(readFile(t, path)) != "one two" {
		t.Errorf("%v, or other bytes", err)
	}
	broken := errors.New("broken")
	if err := WriteWhole(path, false, func(w io.Writer) error { return errors.Join(two(w), broken) }); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	var fault *Error
	if err := WriteWhole(filepath.Join(dir, "none", "file"), false, two); !errors.Is(err, os.ErrNotExist) || !errors.As(err, &fault) {
		t.Errorf("no folder: %v", err)
	}
	if left := entries(t, dir); !slices.Equal(left, []string{"file"}) || string(readFile(t, path)) != "one two" {
		t.Errorf("left %q", left)
	}
}
