package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/internal/whole"
	"npuw/schema/pyreader"
)

// entries are the names in a folder.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func begin(t *testing.T, path string, s *sample) *Writer {
	t.Helper()
	w, err := Create(path, s.index, s.page, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Abort)
	return w
}

func TestAbortLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "a.npuw")
	s := newSmallSample()
	w := begin(t, path, s)
	if _, err := w.WriteAt([]byte{1, 2}, 4096); err != nil {
		t.Fatal(err)
	}
	if names := entries(t, dir); len(names) != 1 || !strings.HasPrefix(names[0], whole.Prefix("a.npuw")) {
		t.Errorf("while it is written there are %q", names)
	}
	w.Abort()
	w.Abort()
	if names := entries(t, dir); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
	if err := w.Commit(); err == nil {
		t.Error("commit after abort: no error")
	}
	if err := w.Seal(0); err == nil {
		t.Error("seal after abort: no error")
	}
	if _, err := w.WriteAt([]byte{1}, 4096); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after abort: %v", err)
	}
	if names := entries(t, dir); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

// TestFailedCommit makes what is measured wrong at the last moment.
func TestFailedCommit(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "a.npuw")
	if err := os.WriteFile(path, []byte("before"), 0o666); err != nil {
		t.Fatal(err)
	}
	s := newSmallSample()
	w := begin(t, path, s)
	s.index.Operands[0].Statistics.Elements++
	err := w.Commit()
	wantFault(t, err, ErrInvalid, "statistics of another number of elements")
	if names := entries(t, dir); !slices.Equal(names, []string{"a.npuw"}) || string(readFile(t, path)) != "before" {
		t.Errorf("after a failure there are %q", names)
	}
}

// TestCommitIf refuses the finished file, and takes it: whoever checks it sees all of it before it has its name.
func TestCommitIf(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "a.npuw")
	if err := os.WriteFile(path, []byte("before"), 0o666); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for _, want := range []error{refused, nil} {
		seen := false
		err := begin(t, path, newSmallSample()).CommitIf(func(f *File) error {
			seen = true
			if f.Path != path || string(readFile(t, path)) != "before" {
				t.Errorf("shown %s, the path has %q", f.Path, readFile(t, path))
			}
			return errors.Join(want, f.Verify())
		})
		if !errors.Is(err, want) || !seen {
			t.Errorf("%v, want %v; shown: %t", err, want, seen)
		}
		if names := entries(t, dir); !slices.Equal(names, []string{"a.npuw"}) || (string(readFile(t, path)) == "before") != (want != nil) {
			t.Errorf("after %v there are %q", want, names)
		}
	}
}

func TestCommitReplaces(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "a.npuw")
	if err := os.WriteFile(path, []byte("before"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, sync := range []bool{false, true} {
		s := newSmallSample()
		w, err := Create(path, s.index, s.page, sync)
		if err != nil {
			t.Fatal(err)
		}
		if sync == false && string(readFile(t, path)) != "before" {
			t.Error("the file is touched before Commit")
		}
		if _, err := w.WriteAt(s.operands[0].bytes(), 4096); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		w.Abort() // as by a defer
		if err := w.Commit(); err == nil {
			t.Error("a second commit: no error")
		}
		if names := entries(t, dir); !slices.Equal(names, []string{"a.npuw"}) {
			t.Errorf("sync %v: there are %q", sync, names)
		}
		if err := check(readFile(t, path)); err != nil {
			t.Errorf("sync %v: %v", sync, err)
		}
	}
}

// TestOpenWhileReplaced reads from a file in whose place another is put.
func TestOpenWhileReplaced(t *testing.T) {
	t.Parallel()
	s := newSample(4096)
	path := filepath.Join(pyreader.TempDir(t), "a.npuw")
	s.write(t, path)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	newSmallSample().write(t, path)
	if err := f.Verify(); err != nil {
		t.Errorf("the file that was open: %v", err)
	}
	if err := check(readFile(t, path)); err != nil {
		t.Error(err)
	}
}

func TestStaleTemporaries(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "a.npuw")
	stale := filepath.Join(dir, whole.Prefix("a.npuw")+"dead")
	others := []string{
		whole.Prefix("b.npuw") + "dead", "a.npuw.npuw-tmp-1", "." + "a.npuw", whole.Prefix("xa.npuw") + "1",
	}
	for _, name := range append([]string{filepath.Base(stale)}, others...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder := whole.Prefix("a.npuw") + "folder"
	if err := os.Mkdir(filepath.Join(dir, folder), 0o777); err != nil {
		t.Fatal(err)
	}
	alive := begin(t, path, newSmallSample())
	living := filepath.Base(alive.f.Name())
	second := begin(t, path, newSmallSample())
	names := entries(t, dir)
	for _, name := range append(others, folder, living, filepath.Base(second.f.Name())) {
		if !slices.Contains(names, name) {
			t.Errorf("%s has been removed", name)
		}
	}
	if slices.Contains(names, filepath.Base(stale)) {
		t.Error("a stale temporary file is still there")
	}
	if err := alive.Commit(); err != nil {
		t.Error(err)
	}
	if err := second.Commit(); err != nil {
		t.Error(err)
	}
}

// TestTwoWriters writes to one path from several goroutines at once: one of them wins, whole.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "a.npuw")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := newSmallSample()
			s.index.Producer.Recipe = fmt.Sprint(i)
			w, err := Create(path, s.index, s.page, false)
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Abort()
			b := s.operands[0].bytes()
			b[0] = byte(i)
			if _, err := w.WriteAt(b, 4096); err != nil {
				t.Error(err)
			}
			if err := w.Commit(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Verify(); err != nil {
		t.Error(err)
	}
	first := make([]byte, 1)
	if _, err := f.ReadAt(first, 4096); err != nil || fmt.Sprint(first[0]) != f.Index.Producer.Recipe {
		t.Errorf("data of writer %d, index of writer %s: %v", first[0], f.Index.Producer.Recipe, err)
	}
	if names := entries(t, dir); !slices.Equal(names, []string{"a.npuw"}) {
		t.Errorf("there are %q", names)
	}
}

// TestManyGoroutines writes and seals from several goroutines: the bytes are the same.
func TestManyGoroutines(t *testing.T) {
	t.Parallel()
	s := newSample(4096)
	path := filepath.Join(pyreader.TempDir(t), "a.npuw")
	w := begin(t, path, s)
	data := s.data()
	var wg sync.WaitGroup
	for i := range s.index.Segments {
		wg.Go(func() {
			g := &s.index.Segments[i]
			for at := g.Offset; at < g.Offset+g.Bytes; at += 1000 {
				n := min(1000, g.Offset+g.Bytes-at)
				if _, err := w.WriteAt(data[at-4096:][:n], int64(at)); err != nil {
					t.Error(err)
				}
			}
			if i%2 == 0 {
				if err := w.Seal(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, path), newSample(4096).damaged().bytes()) {
		t.Error("other bytes than one goroutine writes")
	}
}

func TestWriteOutside(t *testing.T) {
	t.Parallel()
	s := newSmallSample() // segments from 4096 to 8192
	w := begin(t, filepath.Join(pyreader.TempDir(t), "a.npuw"), s)
	for _, r := range []struct {
		off int64
		n   int
		ok  bool
	}{
		{4096, 4096, true},
		{8191, 1, true},
		{8192, 0, true},
		{4096, 0, true},
		{4095, 1, false},
		{0, 256, false},
		{-1, 1, false},
		{8191, 2, false},
		{8192, 1, false},
		{4096, 4097, false},
		{math.MaxInt64, 1, false},
		{math.MinInt64, 1, false},
	} {
		n, err := w.WriteAt(make([]byte, r.n), r.off)
		if r.ok {
			if err != nil || n != r.n {
				t.Errorf("%d bytes at %d: wrote %d, %v", r.n, r.off, n, err)
			}
			continue
		}
		wantFault(t, err, ErrInvalid, fmt.Sprintf("%d bytes at %d", r.n, r.off))
	}
	wantFault(t, w.Seal(1), ErrInvalid, "seal a segment that is not there")
	wantFault(t, w.Seal(-1), ErrInvalid, "seal segment -1")
}

func TestCreateRefusesPaths(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		path string
		want error
	}{
		{dir, fs.ErrExist},
		{filepath.Join(dir, "none", "a.npuw"), fs.ErrNotExist},
		{dir + "/none/", fs.ErrInvalid},
		{"", fs.ErrInvalid},
		{filepath.Join(file, "a.npuw"), nil},
		{filepath.Join(dir, strings.Repeat("x", 255)), nil},
	} {
		_, err := Create(r.path, newSmallSample().index, 4096, false)
		var e *Error
		if !errors.As(err, &e) || e.File != r.path || r.want != nil && !errors.Is(err, r.want) {
			t.Errorf("%q: %v, want %v", r.path, err, r.want)
		}
	}
	if names := entries(t, dir); !slices.Equal(names, []string{"file"}) {
		t.Errorf("left behind: %q", names)
	}
}

func TestCreateInReadOnlyFolder(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("the superuser may write everywhere")
	}
	dir := pyreader.TempDir(t)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	_, err := Create(filepath.Join(dir, "a.npuw"), newSmallSample().index, 4096, false)
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a folder that cannot be written: %v", err)
	}
}

// share puts an operand behind the sample's last that shares planes with mx, changed.
func share(x *Index, change func(o *Operand)) {
	o := x.Operands[mx]
	last := &x.Segments[len(x.Segments)-1]
	o.Name, o.Segment, o.Offset = "mx again", len(x.Segments)-1, last.Bytes
	last.Bytes += 4096
	change(&o)
	x.Operands = append(x.Operands, o)
}

// TestSharedPlanes takes two operands whose planes are the same in memory.
func TestSharedPlanes(t *testing.T) {
	t.Parallel()
	s := newSample(4096)
	share(s.index, func(*Operand) {})
	w, err := Create(filepath.Join(pyreader.TempDir(t), "a.npuw"), s.index, 4096, false)
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
}

// TestIndexChangedBeforeCommit gives Create an index that is right, and Commit one that is not.
func TestIndexChangedBeforeCommit(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	path := filepath.Join(dir, "a.npuw")
	s := newSmallSample()
	w := begin(t, path, s)
	s.index.Producer.Recipe = "a\nb"
	err := w.Commit()
	wantFault(t, err, ErrInvalid, "commit")
	if err != nil && (!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), `the text "a\nb"`)) {
		t.Error(err)
	}
	if names := entries(t, dir); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

// TestCreateRefusesIndexes gives Create what Open would refuse.
func TestCreateRefusesIndexes(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		change func(x *Index)
		words  string
	}{
		{"segment not at its place", func(x *Index) { x.Segments[0].Offset = 8192 }, `segment "layer.0"`},
		{"segments of 2^63 bytes", func(x *Index) { x.Segments[0].Bytes = 1 << 63; x.Segments[1].Bytes = 1 << 63 }, `segment "layer.0"`},
		{"segments beyond the limit", func(x *Index) { x.Segments[0].Bytes = 1 << 62 }, `segment "layer.0"`},
		{"segment of unknown kind", func(x *Index) { x.Segments[1].Kind = 5 }, `segment "empty": kind 5`},
		{"encoding", func(x *Index) { x.Operands[0].Encoding = 1 }, `operand "linear": planes [values]; encoding 1 has codes`},
		{"format", func(x *Index) { x.Operands[0].Format = 77 }, `operand "linear": encoding 0 in format(77)`},
		{"f64", func(x *Index) { x.Operands[0].Format = element.F64 }, `operand "linear": encoding 0 in f64`},
		{"segment -1", func(x *Index) { x.Operands[0].Segment = -1 }, `operand "linear": segment -1`},
		{"parameter -1", func(x *Index) { x.Operands[0].Placements[0].Parameter = -1 }, `a placement of parameter -1`},
		{"axis -1", func(x *Index) { x.Operands[0].Placements[0].From[0].Axis = -1 }, `operand "linear": a placement`},
		{"digit of axis -1", func(x *Index) { x.Operands[0].Layout.Digits[0].Axis = -1 }, `operand "linear": invalid layout`},
		{"digits cut short", func(x *Index) { // in the memory of another operand's, which are right
			x.Operands[3].Layout = x.Operands[2].Layout
			x.Operands[3].Layout.Digits = x.Operands[2].Layout.Digits[:1]
		}, `operand "conv.outer"`},
		{"format other than the first plane's", func(x *Index) { x.Operands[i8].Format = element.U8 }, `operand "i8": Format, Layout and PadBits are not those of its first plane`},
		{"layout other than the first plane's", func(x *Index) { x.Operands[i8].Layout = x.Operands[u4].Layout }, `operand "i8": Format, Layout and PadBits are not`},
		{"padding other than the first plane's", func(x *Index) { x.Operands[i8].PadBits++ }, `operand "i8": Format, Layout and PadBits are not`},
		{"argument other than its first plane", func(x *Index) { x.Contracts[2].Arguments[0].Format = element.U8 }, `argument "b": Format and Layout are not those of its first plane`},
		// Planes that another operand has too, in the same memory, are proved once. What is not in them still counts.
		{"shared planes in other bytes", func(x *Index) { share(x, func(o *Operand) { o.Bytes += 33 }) }, `operand "mx again": 330 bytes for 9 records of 33`},
		{"not covered", func(x *Index) { x.Operands[0].Placements = nil }, `operand "linear": placements`},
		{"too many placements", func(x *Index) { x.Operands[0].Placements = make([]Placement, maxBoxes+1) }, `operand "linear": 4097 placements`},
		{"notes", func(x *Index) { x.Notes = []Note{{}} }, "notes"},
		{"binding -1", func(x *Index) { x.Bindings[0].Operand = -1 }, "binding"},
		{"binding to contract -1", func(x *Index) { x.Bindings[0].Contract = -1 }, "binding"},
		{"binding to argument -1", func(x *Index) { x.Bindings[0].Argument = -1 }, "binding"},
		{"xclbin -2", func(x *Index) { x.Contracts[0].Xclbin = -2 }, `contract "gemm": xclbin -2`},
		{"instructions -2", func(x *Index) { x.Contracts[0].Instructions = -2 }, `contract "gemm": segment -2`},
		{"digits without an element format", func(x *Index) { x.Contracts[0].Arguments[0].Layout.Digits = digits(0, 1, 1) }, `argument "opcode"`},
		{"recipe with a newline", func(x *Index) { x.Producer.Recipe = "a\nb" }, `the text "a\nb"`},
		{"kernel too long", func(x *Index) { x.Contracts[0].Kernel = strings.Repeat("k", 1025) }, "of 1025 bytes"},
		{"operation not UTF-8", func(x *Index) { x.Contracts[0].Operation = "\xff" }, `the text "\xff"`},
		{"too many attributes", func(x *Index) {
			x.Model.Attributes = nil
			for i := range maxEntries + 1 {
				x.Model.Attributes = append(x.Model.Attributes, Attribute{Name: fmt.Sprint(i)})
			}
		}, ""},
	}
	dir := pyreader.TempDir(t)
	for _, r := range rows {
		if testing.Short() && r.words == "" {
			continue // takes a second
		}
		s := newSample(4096)
		r.change(s.index)
		path := filepath.Join(dir, "a.npuw")
		_, err := Create(path, s.index, 4096, false)
		wantFault(t, err, ErrInvalid, r.name)
		if err != nil && (!strings.Contains(err.Error(), r.words) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: %q does not say %q", r.name, err, r.words)
		}
	}
	for _, page := range []uint64{0, 1, 4095, 8192, 1 << 20, 1 << 63} {
		_, err := Create(filepath.Join(dir, "a.npuw"), newSample(4096).index, page, false)
		wantFault(t, err, ErrInvalid, fmt.Sprintf("pages of %d", page))
	}
	if names := entries(t, dir); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}
