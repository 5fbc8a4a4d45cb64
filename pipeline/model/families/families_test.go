package families_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/model/families"
	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

const testdata = "../../../testdata/whisper-tiny/whisper-tiny-"

func TestOpen(t *testing.T) {
	t.Parallel()
	c, models, err := families.Open(testdata + "encoder.onnx")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Kind != "onnx" || len(models) != 1 || models[0].Family != "whisper-encoder" {
		t.Fatalf("%s, %+v", c.Kind, models)
	}
	for _, p := range models[0].Parameters {
		if err := c.ReadAt(make([]byte, 2), &p.Tensor, 0); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
}

// A file in which nothing uses the tensors has no model, and still a catalogue.
func TestOpenUnknownFamily(t *testing.T) {
	t.Parallel()
	b, err := proto.Marshal(&pb.ModelProto{IrVersion: proto.Int64(8), Graph: &pb.GraphProto{Initializer: []*pb.TensorProto{
		{Name: proto.String("w"), DataType: proto.Int32(1), Dims: []int64{1}, RawData: []byte{1, 2, 3, 4}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	c, models, err := families.Open(write(t, b))
	if err != nil || len(models) != 0 {
		t.Fatalf("%+v, %v; expected no model and no error", models, err)
	}
	defer c.Close()
	if len(c.Tensors) != 1 || c.Tensors[0].Name != "w" {
		t.Errorf("%+v", c.Tensors)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]error{
		write(t, nil):                        source.ErrNotRecognised,
		write(t, []byte("PK\x03\x04")):       source.ErrTruncated,
		write(t, []byte("GIF89a")):           source.ErrNotRecognised,
		write(t, []byte("{}")):               source.ErrNotRecognised,
		write(t, []byte("\x80\x04N.")):       source.ErrUnsupported,
		write(t, []byte{8, 7}):               source.ErrNotRecognised,
		write(t, []byte{7<<3 | 2, 200}):      source.ErrTruncated,
		t.TempDir():                          source.ErrUnsafePath,
		filepath.Join(t.TempDir(), "absent"): fs.ErrNotExist,
	} {
		c, models, err := families.Open(path)
		if c != nil || models != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, expected %v", path, err, want)
		}
	}
}

func write(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every file is one of the generic family for whoever asks for that, and of no other for whoever asks for another.
func TestOpenAs(t *testing.T) {
	t.Parallel()
	path := write(t, checkpoints.Safetensors(state(element.F32)[:2]))
	for _, x := range []struct {
		path, family string
		want         []string
	}{
		{testdata + "encoder.onnx", "", []string{"whisper-encoder"}},
		{testdata + "encoder.onnx", "whisper-encoder", []string{"whisper-encoder"}},
		{testdata + "encoder.onnx", "generic", []string{"generic"}},
		{path, "", []string{"generic"}},
		{path, "generic", []string{"generic"}},
		{path, "whisper-encoder", nil},
	} {
		c, models, err := families.OpenAs(x.path, x.family)
		if err != nil {
			t.Errorf("%s as %q: %v", x.path, x.family, err)
			continue
		}
		var got []string
		for _, m := range models {
			got = append(got, m.Family)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s as %q: %v, expected %v", x.path, x.family, got, x.want)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
