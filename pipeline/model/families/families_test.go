package families_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

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

// A model of no known family still has a catalogue.
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
