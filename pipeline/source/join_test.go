package source_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// reversed decodes a tensor that is its file's bytes backwards, and gives blocks whose scale is the file's first byte.
type reversed struct{ size int64 }

func (r reversed) Decode(c *source.Catalogue, dst []byte, offset int64) error {
	for i := range dst {
		if _, err := c.Files[0].ReadAt(dst[i:i+1], r.size-1-offset-int64(i)); err != nil {
			return err
		}
	}
	return nil
}

func (r reversed) ReadBlocks(c *source.Catalogue, dst []element.Block, _, _ []uint64) error {
	var b [1]byte
	_, err := c.Files[0].ReadAt(b[:], 0)
	dst[0].Scale = float64(b[0])
	return err
}

// part is a catalogue of one file, with a plain tensor, a part of it, and one that is computed.
func part(t *testing.T, text string) *source.Catalogue {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := source.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tensor := func(name string, d source.Data, codes *source.Codes) source.Tensor {
		return source.Tensor{Name: name, Type: element.I8, Shape: []uint64{4}, Data: d, Codes: codes}
	}
	return &source.Catalogue{Kind: "k", Path: path, Files: []*source.File{f}, Tensors: []source.Tensor{
		tensor("plain", source.Data{Size: 4}, nil),
		tensor("computed", source.Data{Size: 4, Decoder: reversed{4}}, &source.Codes{Blocks: reversed{4}}),
		tensor("plain (2)", source.Data{Inline: []byte(text)}, nil),
	}}
}

// Tensors of a joined catalogue have names of their own, and the bytes that they have in their part.
func TestJoin(t *testing.T) {
	t.Parallel()
	parts := []*source.Catalogue{part(t, "abcd"), part(t, "efgh"), part(t, "ijkl")}
	parts[2].Kind = "other"
	j := source.Join(parts)
	if want := parts[0].Path + " + " + parts[1].Path + " + " + parts[2].Path; j.Path != want || j.Kind != "k + k + other" || len(j.Files) != 3 {
		t.Errorf("%s, %s, %d files", j.Kind, j.Path, len(j.Files))
	}
	for i, want := range []struct{ name, bytes string }{
		{"plain", "abcd"},
		{"computed", "dcba"},
		{"plain (2)", "abcd"},
		{"plain (3)", "efgh"},
		{"computed (2)", "hgfe"},
		{"plain (2) (2)", "efgh"},
		{"plain (4)", "ijkl"},
		{"computed (3)", "lkji"},
		{"plain (2) (3)", "ijkl"},
	} {
		x := &j.Tensors[i]
		got := make([]byte, 4)
		if err := j.ReadAt(got, x, 0); err != nil {
			t.Fatal(err)
		}
		if x.Name != want.name || !bytes.Equal(got, []byte(want.bytes)) {
			t.Errorf("tensor %d is %s with %s, expected %s with %s", i, x.Name, got, want.name, want.bytes)
		}
		if x.Codes == nil {
			continue
		}
		var block [1]element.Block
		if err := x.Codes.Blocks.ReadBlocks(j.Catalogue, block[:], nil, nil); err != nil || block[0].Scale != float64(want.bytes[3]) {
			t.Errorf("%s: %+v, %v", x.Name, block, err)
		}
	}
	if parts[1].Tensors[0].Data.File != 0 || parts[1].Tensors[0].Name != "plain" {
		t.Error("a part was changed")
	}
	if err := j.Unchanged(); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if err := parts[2].Close(); err == nil {
		t.Error("a part is still open")
	}
}
