package shards

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/source"
)

// list is a state dict of five tensors, each with bytes of its own.
func list() []checkpoints.Tensor {
	var all []checkpoints.Tensor
	for i := range 5 {
		all = append(all, checkpoints.Tensor{
			Name: string(rune('a' + i)), Type: element.F32, Shape: []int{i + 1}, Bytes: bytes.Repeat([]byte{byte(i), 1, 2, 3}, i+1),
		})
	}
	return all
}

func read(t *testing.T, c *source.Catalogue) {
	t.Helper()
	if len(c.Tensors) != 5 {
		t.Errorf("%d tensors", len(c.Tensors))
	}
	for i, x := range list() {
		b := make([]byte, len(x.Bytes))
		if err := c.ReadAt(b, c.Tensor(x.Name), 0); err != nil || !bytes.Equal(b, x.Bytes) {
			t.Errorf("%d: %v, %v", i, b, err)
		}
	}
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, err := checkpoints.WriteShards(dir, list(), 2)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	read(t, c)
	if c.Kind != "safetensors" || c.Path != path || len(c.Files) != 3 || c.Files[2].Path != filepath.Join(dir, "model-00002-of-00002.safetensors") {
		t.Errorf("%+v", c)
	}
	if index, ok := IndexOf(c.Files[1].Path); !ok || index != path {
		t.Errorf("%s, %v", index, ok)
	}
	fraction := strings.Replace(string(contents(t, path)), `"total_size": 60`, `"total_size": 60.0`, 1)
	if err := os.WriteFile(path, []byte(fraction), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, ok := IndexOf(path); ok {
		t.Error("an index has no index")
	}
}

// Shards may be pickles; strides and shared storages are read from the file in which they are.
func TestOpenTorch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	views := checkpoints.Views(list())
	square := checkpoints.Transposed(checkpoints.View{Name: "f", Of: &checkpoints.Storage{Class: "FloatStorage", Elements: 4, Bytes: []byte("aaaabbbbccccdddd")}, Shape: []int{2, 2}, Stride: []int{2, 1}}, 4)
	for name, file := range map[string][]byte{
		"pytorch_model.fp32-00001-of-00002.bin": checkpoints.TorchZip(checkpoints.Saved{Views: views[:3]}),
		"pytorch_model.fp32-00002-of-00002.bin": checkpoints.TorchLegacy(checkpoints.Saved{Views: append(views[3:], square)}),
		"pytorch_model.bin.index.fp32.json": []byte(`{"metadata": {"total_size": 1}, "weight_map": {"a": "pytorch_model.fp32-00001-of-00002.bin", "b": "pytorch_model.fp32-00001-of-00002.bin",
			"c": "pytorch_model.fp32-00001-of-00002.bin", "d": "pytorch_model.fp32-00002-of-00002.bin", "e": "pytorch_model.fp32-00002-of-00002.bin", "f": "pytorch_model.fp32-00002-of-00002.bin"}}`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	index, ok := IndexOf(filepath.Join(dir, "pytorch_model.fp32-00002-of-00002.bin"))
	if !ok || !IsIndex(filepath.Base(index)) {
		t.Fatalf("%s, %v", index, ok)
	}
	c, err := Open(index)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, 16)
	if err := c.ReadAt(got, c.Tensor("f"), 0); err != nil || string(got) != "aaaabbbbccccdddd" {
		t.Errorf("%q, %v", got, err)
	}
	c.Tensors = c.Tensors[:5]
	read(t, c)
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]bool{ // an index, a shard
		"model.safetensors.index.json": {true, false}, "model.safetensors.index.fp32.json": {true, false}, "pytorch_model.bin.index.json": {true, false},
		"config.json": {}, "index.json": {}, "model.safetensors": {}, "model-00001-of-00003.safetensors": {false, true}, "model-1-of-3.safetensors": {},
	} {
		if got := [2]bool{IsIndex(name), IsShard(name)}; got != want {
			t.Errorf("%s: %v, expected %v", name, got, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	const first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	edit := func(from, to string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, "model.safetensors.index.json")
			text := contents(t, path)
			if !strings.Contains(string(text), from) {
				t.Fatalf("%q is not in %s", from, text)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, x := range map[string]struct {
		change func(t *testing.T, dir string)
		want   error
		says   string
	}{
		"a file is missing": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, second)); err != nil {
				t.Fatal(err)
			}
		}, os.ErrNotExist, "the index names it"},
		"a file above the folder":     {edit(first, "../"+first), source.ErrUnsafePath, `".."`},
		"an absolute path":            {edit(first, "/etc/passwd"), source.ErrUnsafePath, `index.json: the file "/etc/passwd": location is an absolute path; download the index again`},
		"a file that is none":         {replace(first, "# nothing"), source.ErrNotRecognised, "neither safetensors nor"},
		"an empty file":               {replace(first, ""), source.ErrNotRecognised, "neither safetensors nor"},
		"a file cut":                  {replace(first, "\x03\x00\x00\x00\x00\x00\x00\x00{"), source.ErrTruncated, first},
		"a tensor in another file":    {edit(`"a": "`+first, `"a": "`+second), source.ErrMismatch, `tensor "a": the index model.safetensors.index.json does not have it in this file`},
		"a tensor that is not listed": {edit(`"b": "`+first+`",`, ""), source.ErrMismatch, `tensor "b": the index`},
		"a tensor that no file has":   {edit(`"b":`, `"bb": "`+first+`", "b":`), source.ErrMismatch, `tensor "bb": is to be in ` + first},
		"another total":               {edit(`"total_size": 60`, `"total_size": 64`), source.ErrMismatch, "total_size: says 64 bytes, the files have 60"},
		"a total that is none":        {edit(`"total_size": 60`, `"total_size": "60"`), source.ErrCorrupt, "expected a number"},
		"no map":                      {edit("weight_map", "weights"), source.ErrNotRecognised, "weight_map"},
		"a map of numbers":            {edit(`"a": "`+first+`"`, `"a": 1`), source.ErrCorrupt, "expected a string"},
		"a tensor twice":              {edit(`"a":`, `"a": "x", "a":`), source.ErrCorrupt, `"a" stands there twice`},
		"JSON that is cut":            {replace("model.safetensors.index.json", `{"weight_map": {`), source.ErrCorrupt, "ends here"},
		"JSON that is deep":           {replace("model.safetensors.index.json", `{"x": `+strings.Repeat("[", 1<<20)), source.ErrCorrupt, ""},
		"something behind":            {replace("model.safetensors.index.json", `{"weight_map": {}} {}`), source.ErrCorrupt, "behind the JSON"},
		"no UTF-8":                    {replace("model.safetensors.index.json", "{\"\xff\": 1}"), source.ErrCorrupt, "UTF-8"},
		"a long name":                 {edit(`"a":`, `"`+strings.Repeat("n", maxName+1)+`":`), source.ErrLimit, "limit 4096"},
		"an index over the limit": {func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "model.safetensors.index.json"), maxIndex+1); err != nil {
				t.Fatal(err)
			}
		}, source.ErrLimit, "limit 33554432"},
		"more tensors than the limit": {func(t *testing.T, dir string) {
			var b strings.Builder
			for i := range maxTensors + 1 {
				fmt.Fprintf(&b, `,"%d": "f"`, i)
			}
			replace("model.safetensors.index.json", `{"weight_map": {`+b.String()[1:]+`}}`)(t, dir)
		}, source.ErrLimit, "more than 131072 tensors"},
		"more files than the limit": {func(t *testing.T, dir string) {
			var b strings.Builder
			for i := range maxFiles + 1 {
				b.WriteString(`,"` + strings.Repeat("t", i+1) + `": "` + strings.Repeat("f", i+1) + `"`)
			}
			replace("model.safetensors.index.json", `{"weight_map": {`+b.String()[1:]+`}}`)(t, dir)
		}, source.ErrLimit, "more than 1024 files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path, err := checkpoints.WriteShards(dir, list(), 2)
			if err != nil {
				t.Fatal(err)
			}
			x.change(t, dir)
			c, err := Open(path)
			if c != nil || !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.says) {
				t.Errorf("%v, expected %v with %q", err, x.want, x.says)
			}
		})
	}
}

// A link that leads out of the folder is not followed.
func TestRefusesLinks(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	path, err := checkpoints.WriteShards(dir, list(), 1)
	if err != nil {
		t.Fatal(err)
	}
	shard := filepath.Join(dir, "model-00001-of-00001.safetensors")
	if err := os.Rename(shard, filepath.Join(other, "x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(other, "x"), shard); err != nil {
		t.Skip(err)
	}
	if _, err := Open(path); !errors.Is(err, source.ErrUnsafePath) || !strings.Contains(err.Error(), "copy the files out of it") {
		t.Error(err)
	}
}

// FuzzIndex reads indexes: what one gives is a map of names to files, none of them twice.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata": {"total_size": 8, "x": [1, {}]}, "weight_map": {"a": "f", "b": "g", "c": "f"}}`))
	f.Add([]byte(`{"weight_map": {"a": "../f"}, "other": null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := readIndex(bytes.NewReader(b), int64(len(b)), "f")
		if err != nil {
			if e := (*source.Error)(nil); !errors.As(err, &e) || e.Problem == "" || e.Err == nil {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		named := map[string]bool{}
		for _, file := range x.fileOf {
			named[file] = true
		}
		if len(x.names) != len(x.fileOf) || len(x.files) != len(named) {
			t.Fatalf("%+v", x)
		}
	})
}
