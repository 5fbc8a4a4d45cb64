package onnx

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/pipeline/internal/fifo"
	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// outside adds external_data entries to t; those that are "" are left out.
func outside(t *pb.TensorProto, location, offset, length string) *pb.TensorProto {
	t.DataLocation = pb.TensorProto_EXTERNAL.Enum()
	for _, e := range [][2]string{{"location", location}, {"offset", offset}, {"length", length}} {
		if e[1] != "" {
			t.ExternalData = append(t.ExternalData, &pb.StringStringEntryProto{Key: proto.String(e[0]), Value: proto.String(e[1])})
		}
	}
	return t
}

// outsideOnly is a FLOAT tensor of two elements.
func outsideOnly(name, location, offset, length string) *pb.TensorProto {
	t := floatTensor(name, 2)
	t.RawData = nil
	return outside(t, location, offset, length)
}

func TestExternalData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "sub"), 0o700),
		os.WriteFile(filepath.Join(dir, "a"), []byte("abcdefghijklmnop"), 0o600),
		os.WriteFile(filepath.Join(dir, "sub", "b"), []byte("01234567"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	ints := intTensor("ints", 0)
	ints.Int64Data = nil
	constant := node("Constant", "", "", "k", tensorAttr("value", outsideOnly("", "a", "1", "8")))
	m, err := openIn(t, dir, model([]*pb.TensorProto{
		outsideOnly("first", "a", "0", "8"), outsideOnly("last", "./a", "8", ""), outsideOnly("below", "sub/b", "", "8"), outside(ints, "sub/b", "0", "8"),
	}, constant))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 3 {
		t.Errorf("%d files, expected the model's and two more", len(m.Files))
	}
	for name, want := range map[string]string{"first": "abcdefgh", "last": "ijklmnop", "below": "01234567", "k": "bcdefghi"} {
		got := make([]byte, 8)
		if err := m.ReadAt(got, m.Tensor(name), 0); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; expected %q", name, got, err, want)
		}
	}
	if got := m.Graph.Value("ints").Ints(); len(got) != 1 || got[0] != 0x3736353433323130 {
		t.Errorf("ints %x", got)
	}
	if err := os.Truncate(filepath.Join(dir, "a"), 12); err != nil {
		t.Fatal(err)
	}
	wantError(t, m.ReadAt(make([]byte, 8), m.Tensor("last"), 0), source.ErrTruncated, filepath.Join(dir, "a"), `"last"`, "at byte 12")
}

func TestExternalDataRefused(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	dir := filepath.Join(outer, "model")
	if err := errors.Join(
		os.Mkdir(dir, 0o700),
		os.WriteFile(filepath.Join(outer, "secret"), make([]byte, 8), 0o600),
		os.WriteFile(filepath.Join(dir, "f"), make([]byte, 8), 0o600),
		os.Symlink("../secret", filepath.Join(dir, "link")),
		fifo.Make(filepath.Join(dir, "fifo")),
	); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		location, offset, length string
		want                     error
		part                     string
	}{
		{"../secret", "", "", source.ErrUnsafePath, ".."},
		{filepath.Join(outer, "secret"), "", "", source.ErrUnsafePath, "absolute"},
		{"link", "", "", source.ErrUnsafePath, "link"},
		{"fifo", "", "", source.ErrUnsafePath, "fifo"},
		{".", "", "", source.ErrUnsafePath, "regular"},
		{"absent", "", "", fs.ErrNotExist, "absent"},
		{"f", "1", "", source.ErrTruncated, "has 8 bytes"},
		{"f", "9", "", source.ErrTruncated, "has 8 bytes"},
		{"f", "9223372036854775807", "", source.ErrTruncated, "has 8 bytes"},
		{"f", "0", "7", source.ErrCorrupt, "7 bytes, expected 8"},
		{"f", "0", "9223372036854775807", source.ErrCorrupt, "expected 8"},
	} {
		_, err := openIn(t, dir, model([]*pb.TensorProto{outsideOnly("w", x.location, x.offset, x.length)}))
		wantError(t, err, x.want, x.part, `tensor "w"`)
	}
	twice := outsideOnly("w", "f", "0", "8")
	outside(twice, "f", "", "")
	_, err := openIn(t, dir, model([]*pb.TensorProto{twice}))
	wantError(t, err, source.ErrCorrupt, "location", "twice")
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	_, err := Open(t.TempDir())
	wantError(t, err, source.ErrUnsafePath)
	_, err = Open(filepath.Join(t.TempDir(), "absent.onnx"))
	wantError(t, err, fs.ErrNotExist, "absent.onnx")
}

// Sparse data of 3 GiB, beyond what an int32 can address.
func TestExternalDataPastTwoGiB(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := []byte("the last")
	if _, err := f.WriteAt(want, 3<<30); err != nil {
		t.Fatal(err)
	}
	m, err := openIn(t, dir, model([]*pb.TensorProto{outsideOnly("w", "data", "3221225472", "8")}))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if err := m.ReadAt(got, m.Tensor("w"), 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
