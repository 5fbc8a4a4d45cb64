package source_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"npuw/artifact/element"
	"npuw/pipeline/internal/fifo"
	"npuw/pipeline/source"
)

// catalogue makes one of a file holding 0..n-1, with two tensors in it and one inline.
func catalogue(t *testing.T, n int) (*source.Catalogue, string) {
	t.Helper()
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := source.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &source.Catalogue{Kind: "test", Path: path, Files: []*source.File{f}, Tensors: []source.Tensor{
		{Name: "a", Type: element.F32, Shape: []uint64{2}, Data: source.Data{Offset: 4, Size: 8}},
		{Name: "b", Type: element.F16, Shape: []uint64{3}, Data: source.Data{Offset: int64(n) - 6, Size: 6}},
		{Name: "c", Type: element.BF16, Shape: []uint64{1}, Data: source.Data{Size: 2, Inline: []byte{7, 8}}},
		{Name: "elsewhere", Type: element.BF16, Shape: []uint64{1}, Data: source.Data{File: 1, Size: 2}},
	}}
	t.Cleanup(func() { c.Close() })
	return c, path
}

func TestReadAt(t *testing.T) {
	t.Parallel()
	c, _ := catalogue(t, 64)
	for _, x := range []struct {
		tensor string
		offset int64
		n      int
		want   []byte // nil: an error
	}{
		{"a", 0, 8, []byte{4, 5, 6, 7, 8, 9, 10, 11}},
		{"a", 7, 1, []byte{11}},
		{"a", 8, 0, []byte{}},
		{"a", 7, 2, nil},
		{"a", 9, 0, nil},
		{"a", -1, 1, nil},
		{"a", 1 << 62, 8, nil},
		{"b", 2, 4, []byte{60, 61, 62, 63}},
		{"c", 1, 1, []byte{8}},
		{"c", 1, 2, nil},
		{"elsewhere", 0, 2, nil},
	} {
		got := make([]byte, x.n)
		err := c.ReadAt(got, c.Tensor(x.tensor), x.offset)
		if x.want == nil {
			if !errors.Is(err, source.ErrMisuse) || !strings.Contains(err.Error(), x.tensor) {
				t.Errorf("%d bytes of %s at %d: %v, expected ErrMisuse naming the tensor", x.n, x.tensor, x.offset, err)
			}
		} else if err != nil || !bytes.Equal(got, x.want) {
			t.Errorf("%d bytes of %s at %d: %v, %v; expected %v", x.n, x.tensor, x.offset, got, err, x.want)
		}
	}
	if c.Tensor("none") != nil {
		t.Error("found a tensor that is not there")
	}
}

func TestReadAtFromManyGoroutines(t *testing.T) {
	t.Parallel()
	c, _ := catalogue(t, 64)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range int64(100) {
				got := make([]byte, 1)
				if err := c.ReadAt(got, &c.Tensors[0], i%8); err != nil || got[0] != byte(4+i%8) {
					t.Errorf("byte %d: %d, %v", i%8, got[0], err)
				}
			}
		})
	}
	group.Wait()
}

func TestReadAtShrunkFile(t *testing.T) {
	t.Parallel()
	c, path := catalogue(t, 64)
	if err := os.Truncate(path, 60); err != nil {
		t.Fatal(err)
	}
	err := c.ReadAt(make([]byte, 6), c.Tensor("b"), 0)
	var e *source.Error
	if !errors.As(err, &e) || !errors.Is(err, source.ErrTruncated) {
		t.Fatalf("%v, expected ErrTruncated", err)
	}
	if e.File != path || e.Offset != 60 || !strings.Contains(e.Thing, `"b"`) {
		t.Errorf("%+v, expected file %s, offset 60, tensor b", e, path)
	}
	if err := c.ReadAt(make([]byte, 8), c.Tensor("a"), 0); err != nil {
		t.Errorf("a tensor before the cut: %v", err)
	}
}

// A file that is written to while it is read is told, whatever of it changed; one that is only read, or renamed, is not.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		change func(path string) error
		want   error
	}{
		"nothing":  {func(path string) error { _, err := os.ReadFile(path); return err }, nil},
		"longer":   {func(path string) error { return os.Truncate(path, 65) }, source.ErrChanged},
		"its time": {func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) }, source.ErrChanged},
		"the same size and time": {func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Chtimes(path, time.Time{}, info.ModTime())
		}, nil},
	} {
		c, path := catalogue(t, 64)
		if err := x.change(path); err != nil {
			t.Fatal(err)
		}
		err := c.Unchanged()
		if !errors.Is(err, x.want) || x.want != nil && !strings.Contains(err.Error(), path+": was changed while it was read") {
			t.Errorf("%s: %v, expected %v", name, err, x.want)
		}
	}
	c, path := catalogue(t, 64)
	c.Close()
	if err := c.Unchanged(); !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), path) {
		t.Errorf("closed: %v", err)
	}
}

// A disk that fails is no file that was cut.
func TestReadAtFails(t *testing.T) {
	t.Parallel()
	c, path := catalogue(t, 64)
	c.Close()
	err := c.ReadAt(make([]byte, 8), c.Tensor("a"), 0)
	var e *source.Error
	if !errors.As(err, &e) || !errors.Is(err, os.ErrClosed) || e.File != path || e.Offset != 4 || !strings.Contains(e.Problem, "cannot be read") {
		t.Errorf("%v, expected the error of the system, at byte 4 of %s", err, path)
	}
}

func TestOpenFileWantsAPlainFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "fifo")
	if err := fifo.Make(pipe); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		pipe:                         source.ErrUnsafePath,
		dir:                          source.ErrUnsafePath,
		"/dev/null":                  source.ErrUnsafePath,
		filepath.Join(dir, "absent"): fs.ErrNotExist,
	} {
		if _, err := source.OpenFile(path); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, expected %v", path, err, want)
		}
	}
}

func TestOpenBeside(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	dir := filepath.Join(outer, "model")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "sub"), 0o700),
		os.WriteFile(filepath.Join(outer, "secret"), []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(dir, "data"), []byte("data"), 0o600),
		os.WriteFile(filepath.Join(dir, "sub", "data"), []byte("below"), 0o600),
		os.Symlink("data", filepath.Join(dir, "inside")),
		os.Symlink("../secret", filepath.Join(dir, "outside")),
		os.Symlink(filepath.Join(outer, "secret"), filepath.Join(dir, "absolute")),
		os.Symlink("..", filepath.Join(dir, "up")),
		os.Symlink("loop", filepath.Join(dir, "loop")),
		fifo.Make(filepath.Join(dir, "fifo")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	for _, x := range []struct {
		name string
		size int64 // of the file that opens
		want error // else
	}{
		{"data", 4, nil},
		{"./data", 4, nil},
		{"sub/data", 5, nil},
		{"inside", 4, nil},
		{"", 0, source.ErrUnsafePath},
		{"../secret", 0, source.ErrUnsafePath},
		{"sub/../data", 0, source.ErrUnsafePath},
		{"..", 0, source.ErrUnsafePath},
		{filepath.Join(dir, "data"), 0, source.ErrUnsafePath},
		{"/dev/null", 0, source.ErrUnsafePath},
		{"outside", 0, source.ErrUnsafePath},
		{"absolute", 0, source.ErrUnsafePath},
		{"up/secret", 0, source.ErrUnsafePath},
		{"fifo", 0, source.ErrUnsafePath},
		{"sub", 0, source.ErrUnsafePath},
		{".", 0, source.ErrUnsafePath},
		{"da\x00ta", 0, source.ErrUnsafePath},
		{strings.Repeat("a/", 3000), 0, source.ErrUnsafePath},
		{"loop", 0, syscall.ELOOP},
		{"absent", 0, fs.ErrNotExist},
		{"data/x", 0, syscall.ENOTDIR},
	} {
		f, err := source.OpenBeside(root, x.name)
		switch {
		case !errors.Is(err, x.want):
			t.Errorf("%.20q: %v, expected %v", x.name, err, x.want)
		case err == nil:
			if f.Size != x.size {
				t.Errorf("%q: %d bytes, expected %d", x.name, f.Size, x.size)
			}
			f.Close()
		}
	}
}

func TestErrorMessage(t *testing.T) {
	t.Parallel()
	e := &source.Error{File: "m.onnx", Offset: 12, Thing: `tensor "w"`, Problem: "3 bytes, expected 4", Next: "export it again", Err: source.ErrCorrupt}
	if got, want := e.Error(), `m.onnx: tensor "w": at byte 12: 3 bytes, expected 4; export it again`; got != want {
		t.Errorf("%s\nexpected\n%s", got, want)
	}
	e = &source.Error{File: "m.onnx", Offset: -1, Problem: "no graph in it"}
	if got, want := e.Error(), `m.onnx: no graph in it`; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		shape  []uint64
		format element.Format
		want   int64 // -1: too many
	}{
		{nil, element.F32, 4},
		{[]uint64{3, 5}, element.F16, 30},
		{[]uint64{1 << 63, 1 << 63, 0}, element.F64, 0},
		{[]uint64{1 << 32, 1 << 31}, element.F32, -1},
		{[]uint64{1 << 61}, element.F32, -1},
		{[]uint64{1<<61 - 1}, element.F32, 1<<63 - 4},
		{[]uint64{1 << 63}, element.BF16, -1},
		{[]uint64{^uint64(0), ^uint64(0)}, element.BF16, -1},
		{[]uint64{2}, 0, -1},
	} {
		got, ok := source.Bytes(x.shape, x.format)
		if ok != (x.want >= 0) || ok && got != x.want {
			t.Errorf("%v of %v: %d, %v; expected %d", x.shape, x.format, got, ok, x.want)
		}
	}
}

// A part of a tensor is read as a tensor of its own, wherever a read begins and ends.
func TestReadAtOfParts(t *testing.T) {
	t.Parallel()
	c, _ := catalogue(t, 64)
	whole := source.Data{Offset: 4, Size: 24}
	inline := whole
	for i := range 24 {
		inline.Inline = append(inline.Inline, byte(4+i))
	}
	for _, x := range []struct {
		name                     string
		first, run, apart, count int64
		want                     []byte
	}{
		{"one piece", 6, 4, 9, 1, []byte{10, 11, 12, 13}},
		{"pieces that follow each other", 2, 3, 3, 2, []byte{6, 7, 8, 9, 10, 11}},
		{"every third pair", 2, 2, 6, 4, []byte{6, 7, 12, 13, 18, 19, 24, 25}},
		{"the last bytes", 7, 1, 8, 3, []byte{11, 19, 27}},
	} {
		for kind, d := range map[string]source.Data{"in the file": whole, "inline": inline} {
			tensor := &source.Tensor{Name: "part", Type: element.F16, Data: d.Part(x.first, x.run, x.apart, x.count)}
			if tensor.Data.Size != int64(len(x.want)) {
				t.Errorf("%s, %s: %d bytes, expected %d", x.name, kind, tensor.Data.Size, len(x.want))
			}
			for from := range len(x.want) + 1 {
				for to := from; to <= len(x.want); to++ {
					got := make([]byte, to-from)
					if err := c.ReadAt(got, tensor, int64(from)); err != nil || !bytes.Equal(got, x.want[from:to]) {
						t.Errorf("%s, %s: bytes %d to %d are %v, %v; expected %v", x.name, kind, from, to, got, err, x.want[from:to])
					}
				}
			}
			if err := c.ReadAt(make([]byte, 2), tensor, int64(len(x.want))-1); !errors.Is(err, source.ErrMisuse) {
				t.Errorf("%s, %s: read past the end: %v", x.name, kind, err)
			}
		}
	}
}
