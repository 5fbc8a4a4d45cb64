package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"npuw/schema/pyreader"
)

var sentinels = []error{ErrNotArtifact, ErrVersion, ErrTruncated, ErrCorrupt, ErrUnsupported, ErrNotFound, ErrInvalid}

// wantFault fails the test unless err is an *Error that unwraps to a sentinel of the package: to want, where that is not nil.
func wantFault(t *testing.T, err, want error, what string) {
	t.Helper()
	var e *Error
	switch {
	case err == nil:
		t.Errorf("%s: no error", what)
	case !errors.As(err, &e):
		t.Errorf("%s: %v is a %T, not an *Error", what, err, err)
	case want != nil && !errors.Is(err, want):
		t.Errorf("%s: %q does not unwrap to %q", what, err, want)
	case !slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) }):
		t.Errorf("%s: %q unwraps to no sentinel", what, err)
	}
}

// flipped is bytes of which one differs.
type flipped struct {
	b    []byte
	at   int64
	mask byte
}

func (f flipped) ReadAt(b []byte, off int64) (int, error) {
	n := copy(b, f.b[min(off, int64(len(f.b))):])
	if i := f.at - off; i >= 0 && i < int64(n) {
		b[i] ^= f.mask
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// TestEveryBit flips each bit of a small artifact; with -short, one of each byte.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	whole := newSmallSample().damaged().bytes()
	if err := check(whole); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 {
		t.Run(fmt.Sprint(bit), func(t *testing.T) {
			t.Parallel()
			for at := range whole {
				if testing.Short() && at%8 != bit {
					continue
				}
				f, err := NewFile(flipped{whole, int64(at), 1 << bit}, int64(len(whole)))
				if err == nil {
					err = f.Verify()
				}
				wantFault(t, err, nil, fmt.Sprintf("bit %d of byte %d flipped", bit, at))
			}
		})
	}
}

// TestEveryByteOfEverything changes one bit of each byte of a file with something of everything.
func TestEveryByteOfEverything(t *testing.T) {
	t.Parallel()
	whole := newSample(4096).damaged().bytes()
	if err := check(whole); err != nil {
		t.Fatal(err)
	}
	step := 7
	if testing.Short() {
		step = 211
	}
	for at := 0; at < len(whole); at += step {
		f, err := NewFile(flipped{whole, int64(at), 1 << (at % 8)}, int64(len(whole)))
		if err == nil {
			err = f.Verify()
		}
		wantFault(t, err, nil, fmt.Sprintf("byte %d of %d changed", at, len(whole)))
	}
}

func TestEveryLength(t *testing.T) {
	t.Parallel()
	whole := newSmallSample().damaged().bytes()
	for n := range whole {
		want := ErrTruncated
		if n < len(magic) {
			want = ErrNotArtifact
		}
		_, err := openBytes(whole[:n])
		wantFault(t, err, want, fmt.Sprintf("the first %d bytes", n))
		if n >= HeaderBytes { // cut while it is read
			_, err := NewFile(bytes.NewReader(whole[:n]), int64(len(whole)))
			wantFault(t, err, ErrTruncated, fmt.Sprintf("cut to %d bytes while it is opened", n))
		}
	}
	for _, more := range []int{1, 8, 4096} {
		_, err := openBytes(append(bytes.Clone(whole), make([]byte, more)...))
		wantFault(t, err, ErrCorrupt, fmt.Sprintf("%d bytes more", more))
	}
	if _, err := NewFile(bytes.NewReader(whole), -1); err == nil {
		t.Error("a negative size: no error")
	}
}

// TestCutAfterOpen truncates a file that is open.
func TestCutAfterOpen(t *testing.T) {
	t.Parallel()
	s := newSample(4096)
	path := filepath.Join(pyreader.TempDir(t), "a.npuw")
	s.write(t, path)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pyreader.Damage(t, path)
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	wantFault(t, f.Verify(), ErrTruncated, "verify")
	wantFault(t, f.CheckSegment(t.Context(), 0), ErrTruncated, "check a segment")
	v, err := f.OperandValues("linear")
	if err != nil {
		t.Fatal(err)
	}
	wantFault(t, v.WriteFloat32(io.Discard), ErrTruncated, "values")
}

// failing fails every read but those of header and index.
type failing struct {
	b    []byte
	from int64
}

var errDisk = errors.New("the disk is on fire")

func (f failing) ReadAt(b []byte, off int64) (int, error) {
	if off >= HeaderBytes && off < f.from {
		return 0, errDisk
	}
	return bytes.NewReader(f.b).ReadAt(b, off)
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	whole := newSmallSample().damaged().bytes()
	_, err := NewFile(failing{whole, 1 << 40}, int64(len(whole)))
	if !errors.Is(err, errDisk) {
		t.Errorf("open: %v", err)
	}
	f, err := NewFile(failing{whole, 8192}, int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(); !errors.Is(err, errDisk) {
		t.Errorf("verify: %v", err)
	}
	v, err := f.OperandValues("fc.weight")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.WriteRaw(io.Discard); !errors.Is(err, errDisk) {
		t.Errorf("values: %v", err)
	}
}

func TestNotArtifacts(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		pyreader.Damage(t, path)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rows := []struct {
		path string
		want error
	}{
		{write("empty", ""), ErrNotArtifact},
		{write("text", "a text that is longer than the magic"), ErrNotArtifact},
		{write("crlf", "\x89NPUW\n\x1a"+string(make([]byte, 300))), ErrNotArtifact},
		{write("short", magic+"\x01\x00\x00\x00"), ErrTruncated},
		{write("newer", magic+"\x02\x00\x00\x00"+string(make([]byte, 300))), ErrVersion},
		{dir, ErrNotArtifact},
		{"/dev/null", ErrNotArtifact},
		{filepath.Join(dir, "none"), os.ErrNotExist},
	}
	for _, r := range rows {
		_, err := Open(r.path)
		var e *Error
		if !errors.Is(err, r.want) || !errors.As(err, &e) || e.File != r.path {
			t.Errorf("%s: %v, want %v", r.path, err, r.want)
		}
		if err := Dump(io.Discard, r.path); !errors.Is(err, r.want) {
			t.Errorf("dump of %s: %v, want %v", r.path, err, r.want)
		}
	}
}
