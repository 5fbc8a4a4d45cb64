package xclbin_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"npuw/artifact"
	"npuw/artifact/xclbin"
	"npuw/artifact/xclbin/xclbintest"
	"npuw/schema/pyreader"
)

var update = flag.Bool("update", false, "rewrite golden files")

// fixture was made by XRT's own xclbinutil.
const fixture = "../../testdata/xclbin/mlir_aie.xclbin"

func readFixture(tb testing.TB) []byte {
	tb.Helper()
	b, err := os.ReadFile(fixture)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func encode(tb testing.TB, s xclbintest.Spec) []byte {
	tb.Helper()
	b, err := xclbintest.Encode(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func read(b []byte) (*xclbin.File, error) {
	return xclbin.NewFile(bytes.NewReader(b), int64(len(b)))
}

func mustRead(tb testing.TB, b []byte) *xclbin.File {
	tb.Helper()
	f, err := read(b)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func TestOpenFixture(t *testing.T) {
	t.Parallel()
	f, err := xclbin.Open(fixture)
	if err != nil {
		t.Fatal(err)
	}
	if want := artifact.Sum(readFixture(t)); f.Digest != want {
		t.Errorf("digest %v, want %v", f.Digest, want)
	}
	var b strings.Builder
	list(&b, f)
	golden := filepath.Join("testdata", "mlir_aie.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// list writes all that a file says.
func list(b *strings.Builder, f *xclbin.File) {
	fmt.Fprintf(b, "%s %d bytes\ndigest %v\nuuid %v\ninterface %v\nvbnv %q version %s timestamp %d mode %v\n",
		filepath.Base(f.Path), f.Size, f.Digest, f.UUID, f.InterfaceUUID, f.VBNV, f.Version, f.Timestamp, f.Mode)
	for _, s := range f.Sections {
		fmt.Fprintf(b, "section %+v\n", s)
	}
	for _, m := range f.Memories {
		fmt.Fprintf(b, "memory %+v\n", m)
	}
	for _, m := range f.Groups {
		fmt.Fprintf(b, "group %+v\n", m)
	}
	for _, ip := range f.IPs {
		fmt.Fprintf(b, "ip %+v\n", ip)
	}
	for _, k := range f.Kernels {
		fmt.Fprintf(b, "kernel %s type %s functional %d id %#x instances %v\n", k.Name, k.Type, k.Functional, k.ID, k.Instances)
		for _, a := range k.Arguments {
			fmt.Fprintf(b, "  %+v\n", a)
		}
	}
	if f.Partition != nil {
		fmt.Fprintf(b, "partition %+v\n", *f.Partition)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	k := mustRead(t, readFixture(t)).Kernel("MLIR_AIE")
	if k == nil || !k.DPU() {
		t.Fatalf("kernel %+v, want one on the NPU", k)
	}
	for i, want := range []struct {
		name   string
		offset uint64
		size   uint64
		buffer bool
		group  int32
		id     uint32 // what XRT 2.25 was seen to give
	}{
		{"opcode", 0x00, 8, false, xclbin.NoGroup, 0x1ffff},
		{"instr", 0x08, 8, true, 1, 0x10001},
		{"ninstr", 0x10, 4, false, xclbin.NoGroup, 0x1ffff},
		{"bo0", 0x14, 8, true, 0, 0x10000},
		{"bo1", 0x1c, 8, true, 0, 0x10000},
		{"bo2", 0x24, 8, true, 0, 0x10000},
		{"bo3", 0x2c, 8, true, 0, 0x10000},
		{"bo4", 0x34, 8, true, 0, 0x10000},
	} {
		a := k.Argument(want.name)
		if a == nil || a != k.ArgumentAt(i) {
			t.Fatalf("argument %q is not at %d", want.name, i)
		}
		if a.Offset != want.offset || a.Size != want.size || a.Buffer() != want.buffer || a.MemoryGroup != want.group {
			t.Errorf("argument %+v, want %+v", a, want)
		}
		if id := xclbin.GroupID(1, a.MemoryGroup); id != want.id {
			t.Errorf("%s: group id %#x, want %#x", a.Name, id, want.id)
		}
		if slot, group := xclbin.SplitGroupID(want.id); slot != 1 || group != want.group {
			t.Errorf("%s: group id %#x is slot %d, group %d, want 1, %d", a.Name, want.id, slot, group, want.group)
		}
	}
	if k.Argument("bo5") != nil || k.ArgumentAt(8) != nil || k.ArgumentAt(-1) != nil {
		t.Error("there are arguments that there are not")
	}
}

// What the writer writes is, byte for byte, what xclbinutil wrote, once times, uuid and mirror data are the same.
func TestWriterAgreesWithXclbinutil(t *testing.T) {
	t.Parallel()
	want := readFixture(t)
	f := mustRead(t, want)
	s := xclbintest.MLIRAIE()
	s.UUID, s.Timestamp = f.UUID, f.Timestamp
	s.Tail = want[bytes.Index(want, []byte("XCLBIN_MIRROR_DATA_START")):]
	if got := encode(t, s); !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%d bytes, %d were expected; they differ from byte %d on", len(got), len(want), at)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	folder := pyreader.TempDir(t)
	short := filepath.Join(folder, "short.xclbin")
	if err := os.WriteFile(short, readFixture(t)[:1000], 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		is   error
		says string
	}{
		{filepath.Join(folder, "nothing.xclbin"), os.ErrNotExist, "open: no such file"},
		{folder, xclbin.ErrNotXclbin, "not a regular file"},
		{short, artifact.ErrTruncated, "at byte 304: header: the length is 6685, the file has 1000 bytes"},
	} {
		_, err := xclbin.Open(c.path)
		var e *artifact.Error
		if !errors.Is(err, c.is) || !errors.As(err, &e) || e.File != c.path || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: error %v, want %q (%v)", c.path, err, c.says, c.is)
		}
	}
}

// failing is a file whose medium fails.
type failing struct{ bytes.Reader }

var errMedium = errors.New("the medium failed")

func (f *failing) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > 1000 {
		return 0, errMedium
	}
	return f.Reader.ReadAt(b, at)
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	b := readFixture(t)
	if _, err := xclbin.NewFile(&failing{*bytes.NewReader(b)}, int64(len(b))); !errors.Is(err, errMedium) {
		t.Errorf("error %v, want %v", err, errMedium)
	}
	if _, err := xclbin.NewFile(bytes.NewReader(b[:2000]), int64(len(b))); !errors.Is(err, artifact.ErrTruncated) {
		t.Errorf("error %v, want %v", err, artifact.ErrTruncated)
	}
	if _, err := xclbin.NewFile(bytes.NewReader(b[:len(b)-1]), int64(len(b))); !errors.Is(err, artifact.ErrTruncated) {
		t.Errorf("error %v, want %v", err, artifact.ErrTruncated)
	}
}

// A file that is cut anywhere is refused, wherever the cut is, and whether or not the length knows of it. One of no bytes is of no kind.
func TestTruncated(t *testing.T) {
	t.Parallel()
	whole := encode(t, xclbintest.MLIRAIE()) // without a tail: every byte counts
	if _, err := read(nil); !errors.Is(err, xclbin.ErrNotXclbin) {
		t.Errorf("an empty file: error %v, want %v", err, xclbin.ErrNotXclbin)
	}
	for n := 1; n < len(whole); n++ {
		if _, err := read(whole[:n]); !errors.Is(err, artifact.ErrTruncated) {
			t.Fatalf("of %d bytes: error %v, want %v", n, err, artifact.ErrTruncated)
		}
		if n < 456 {
			continue
		}
		cut := bytes.Clone(whole[:n])
		binary.LittleEndian.PutUint64(cut[304:], uint64(n))
		if _, err := read(cut); !errors.Is(err, artifact.ErrCorrupt) {
			t.Fatalf("of %d bytes, with that length: error %v, want %v", n, err, artifact.ErrCorrupt)
		}
	}
}

// No change of a byte makes the reader panic, and what it refuses it refuses with a place in the file.
func TestChangedBytes(t *testing.T) {
	t.Parallel()
	whole := encode(t, xclbintest.MLIRAIE())
	refused := 0
	for i := range whole {
		for _, change := range []byte{0x01, 0xff} {
			b := bytes.Clone(whole)
			b[i] ^= change
			_, err := read(b)
			if err == nil {
				continue
			}
			refused++
			checkError(t, err, int64(len(b)))
		}
	}
	if refused < 1000 {
		t.Errorf("%d changes were refused, so the changes do not reach what is checked", refused)
	}
}

func checkError(tb testing.TB, err error, size int64) {
	tb.Helper()
	var e *artifact.Error
	switch {
	case !errors.As(err, &e):
		tb.Fatalf("error %v is no *artifact.Error", err)
	case e.Offset < 0 || e.Offset > size || e.Thing == "" || e.Detail == "":
		tb.Fatalf("error %v has no place in %d bytes", err, size)
	case !errors.Is(err, xclbin.ErrNotXclbin) && !errors.Is(err, artifact.ErrTruncated) &&
		!errors.Is(err, artifact.ErrCorrupt) && !errors.Is(err, artifact.ErrUnsupported):
		tb.Fatalf("error %v unwraps to none that is documented", err)
	}
}

func FuzzNewFile(f *testing.F) {
	f.Add(readFixture(f))
	for _, s := range variants() {
		f.Add(encode(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := read(b)
		if err != nil {
			checkError(t, err, int64(len(b)))
			return
		}
		for i := range file.Kernels {
			k := &file.Kernels[i]
			if file.Kernel(k.Name) != k {
				t.Fatalf("kernel %q is not found by its name", k.Name)
			}
			for j := range k.Arguments {
				a := &k.Arguments[j]
				if a.Index != xclbin.NoIndex && k.ArgumentAt(a.Index) != a {
					t.Fatalf("argument %d of %q is not found by its index", a.Index, k.Name)
				}
				if int(a.MemoryGroup) >= len(file.Groups) {
					t.Fatalf("argument %q has memory group %d of %d", a.Name, a.MemoryGroup, len(file.Groups))
				}
			}
			for _, instance := range k.Instances {
				if instance.IP >= len(file.IPs) {
					t.Fatalf("instance %q is IP %d of %d", instance.Name, instance.IP, len(file.IPs))
				}
			}
		}
	})
}
