package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/source"
)

// file gives a file of a header and as many bytes behind it.
func file(header string, data int) []byte {
	b := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	for i := range data {
		b = append(b, byte(i))
	}
	return b
}

func write(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen(t *testing.T) {
	t.Parallel()
	const header = `{"b": {"data_offsets": [16, 20], "shape": [2, 1], "dtype": "BF16"}, "__metadata__": {"format": "pt"},
		"a": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}, "step": {"dtype":"I64","shape":[],"data_offsets":[20,28]},
		"none": {"dtype":"F32","shape":[0, 3],"data_offsets":[28,28]}, "e": {"dtype":"F8_E5M2","shape":[3],"data_offsets":[28,31]},
		"mask": {"dtype":"BOOL","shape":[1],"data_offsets":[31,32]}}   `
	c, err := Open(write(t, file(header, 32)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := int64(8 + len(header))
	want := []string{
		fmt.Sprintf("a f64 [2] at %d of 16", begin), fmt.Sprintf("b bf16 [2 1] at %d of 4", begin+16),
		fmt.Sprintf("none f32 [0 3] at %d of 0", begin+28), fmt.Sprintf("e f16 [3] at %d of 6", begin+28),
	}
	for i, tensor := range c.Tensors {
		got := fmt.Sprintf("%s %v %v at %d of %d", tensor.Name, tensor.Type, tensor.Shape, tensor.Data.Offset, tensor.Data.Size)
		if i >= len(want) || got != want[i] {
			t.Errorf("%s, expected it to be one of %v", got, want)
		}
	}
	if len(c.Tensors) != len(want) || c.Kind != "safetensors" || len(c.Others) != 2 || c.Others["step"] != "I64" || c.Others["mask"] != "BOOL" {
		t.Errorf("%+v", c)
	}
	b := make([]byte, 4)
	if err := c.ReadAt(b, c.Tensor("b"), 0); err != nil || !bytes.Equal(b, []byte{16, 17, 18, 19}) {
		t.Errorf("%v, %v", b, err)
	}
	if err := c.ReadAt(b, c.Tensor("e"), 2); err != nil || !bytes.Equal(b, []byte{0, 29, 0, 30}) {
		t.Errorf("%v, %v", b, err)
	}
}

// Offsets are 64 bits wide. The file has holes where the file system has them.
func TestPast4GiB(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("writes a file of 5 GiB, most of which is a hole on Linux")
	}
	t.Parallel()
	const big = 5 << 30
	header := fmt.Sprintf(`{"w": {"dtype": "F32", "shape": [%d, 1024], "data_offsets": [0, %d]}, "v": {"dtype": "F32", "shape": [1], "data_offsets": [%d, %d]}}`, big/4096, big, big, big+4)
	path := write(t, file(header, 0))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteAt([]byte("last"), int64(8+len(header))+big); errors.Join(err, f.Close()) != nil {
		t.Fatal(err)
	}
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 4)
	if err := c.ReadAt(b, c.Tensor("v"), 0); err != nil || string(b) != "last" {
		t.Errorf("%q, %v", b, err)
	}
	if err := c.ReadAt(b, c.Tensor("w"), big-4); err != nil || string(b) != "\x00\x00\x00\x00" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		string(file("{}", 0)): true, string(file(" {}", 0)): false, "": false, "PK\x03\x04": false, "\x02\x00\x00\x00\x00\x00\x00\x01{}": false,
		"\x08\x08\x12\x07pytorch{": false,
	} {
		if got := Recognise([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	one := func(text string) []byte { return file(`{"w": `+text+`}`, 8) }
	const good = `{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}`
	var many []string
	for i := range maxTensors + 1 {
		many = append(many, fmt.Sprintf(`"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`, i))
	}
	huge := binary.LittleEndian.AppendUint64(nil, maxHeader+1)
	for name, x := range map[string]struct {
		file []byte
		want error
		says string
	}{
		"empty":                  {nil, source.ErrTruncated, "0 bytes"},
		"a length alone":         {file("{}", 0)[:8], source.ErrTruncated, "a header of 2 bytes in a file of 8"},
		"a length of 2^64-1":     {append(bytes.Repeat([]byte{255}, 8), '{'), source.ErrLimit, "limit 33554432"},
		"over the limit":         {append(huge, '{'), source.ErrLimit, "limit 33554432"},
		"no JSON":                {file("[]", 0), source.ErrCorrupt, "no JSON object"},
		"no UTF-8":               {file("{\"\xff\": 1}", 0), source.ErrCorrupt, "UTF-8"},
		"a header of nothing":    {file("", 0), source.ErrCorrupt, "no JSON object"},
		"cut":                    {file(`{"w": `, 0), source.ErrCorrupt, "the JSON ends here"},
		"a comma too many":       {file(`{"w": `+good+`,}`, 8), source.ErrCorrupt, "no JSON"},
		"something behind":       {file(`{"w": `+good+`}{}`, 8), source.ErrCorrupt, "behind the JSON"},
		"twice":                  {file(`{"w": `+good+`, "w": `+good+`}`, 8), source.ErrCorrupt, `"w" stands there twice`},
		"twice, escaped":         {file(`{"w": `+good+`, "\u0077": `+good+`}`, 8), source.ErrCorrupt, `"w" stands there twice`},
		"metadata of numbers":    {file(`{"__metadata__": {"a": 1}}`, 0), source.ErrCorrupt, "expected a string"},
		"metadata of nothing":    {file(`{"__metadata__": null}`, 0), source.ErrCorrupt, "expected {"},
		"a number":               {one(`1`), source.ErrCorrupt, "expected {"},
		"no dtype":               {one(`{"shape": [2], "data_offsets": [0, 8]}`), source.ErrCorrupt, "does not have all"},
		"dtype twice":            {one(`{"dtype": "F32", "dtype": "F32", "data_offsets": [0, 8]}`), source.ErrCorrupt, "twice"},
		"another field":          {one(`{"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "scale": 1}`), source.ErrUnsupported, `"scale"`},
		"an upper-case field":    {one(`{"DTYPE": "F32", "shape": [2], "data_offsets": [0, 8]}`), source.ErrUnsupported, `"DTYPE"`},
		"an unknown dtype":       {one(`{"dtype": "F31", "shape": [2], "data_offsets": [0, 8]}`), source.ErrUnsupported, `"F31"`},
		"a negative size":        {one(`{"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}`), source.ErrCorrupt, `"-2"`},
		"a fraction":             {one(`{"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}`), source.ErrCorrupt, `"2.0"`},
		"a text for a size":      {one(`{"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}`), source.ErrCorrupt, "expected a number"},
		"sizes past 2^63":        {one(`{"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 8]}`), source.ErrCorrupt, "more elements"},
		"bits past 2^64":         {one(`{"dtype": "F64", "shape": [4611686018427387904], "data_offsets": [0, 8]}`), source.ErrCorrupt, "more elements"},
		"half a byte":            {one(`{"dtype": "F4", "shape": [15], "data_offsets": [0, 8]}`), source.ErrCorrupt, "no whole number of bytes"},
		"a rank of 33":           {one(`{"dtype": "F32", "shape": [` + strings.Repeat("1,", 32) + `1], "data_offsets": [0, 8]}`), source.ErrLimit, "more than 32"},
		"one offset":             {one(`{"dtype": "F32", "shape": [2], "data_offsets": [0]}`), source.ErrCorrupt, "expected begin and end"},
		"offsets against shape":  {one(`{"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}`), source.ErrCorrupt, "[3] has 12 bytes"},
		"offsets backwards":      {one(`{"dtype": "F32", "shape": [2], "data_offsets": [0, 0]}`), source.ErrCorrupt, "[2] has 8 bytes"},
		"a gap at the beginning": {file(`{"w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}`, 12), source.ErrCorrupt, "nothing has the bytes from 0 on"},
		"past the end":           {file(`{"w": `+good+`}`, 7), source.ErrTruncated, "7 bytes are behind the header"},
		"bytes too many":         {file(`{"w": `+good+`}`, 9), source.ErrCorrupt, "1 bytes behind the last tensor"},
		"an overlap": {
			file(`{"w": `+good+`, "v": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}`, 12), source.ErrCorrupt, "within the tensor before it",
		},
		"the same bytes twice": {file(`{"w": `+good+`, "v": `+good+`}`, 8), source.ErrCorrupt, "within the tensor before it"},
		"a gap": {
			file(`{"w": `+good+`, "v": {"dtype": "F32", "shape": [2], "data_offsets": [12, 20]}}`, 20), source.ErrCorrupt, "nothing has the bytes from 8 on",
		},
		"a long name":            {file(`{"`+strings.Repeat("n", maxName+1)+`": `+good+`}`, 8), source.ErrLimit, "limit 4096"},
		"tensors over the limit": {file("{"+strings.Join(many, ",")+"}", 0), source.ErrLimit, "more than 131072 tensors"},
		"very deep":              {file(`{"w": `+strings.Repeat("[", 1<<20), 0), source.ErrCorrupt, "expected {"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, x.file)
			c, err := Open(path)
			if c != nil || !errors.Is(err, x.want) || !strings.Contains(fmt.Sprint(err), x.says) || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("%v, expected %v with %q", err, x.want, x.says)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// FuzzOpen reads headers. Whatever they say, what is catalogued lies in the file, none of it twice.
func FuzzOpen(f *testing.F) {
	f.Add(file(`{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}`, 8))
	f.Add(file(`{"__metadata__": {"a": "b"}, "v": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [0, 3]}, "w": {"dtype": "I8", "shape": [], "data_offsets": [3, 4]}}`, 4))
	f.Add(checkpoints.Safetensors([]checkpoints.Tensor{{Name: "a", Type: element.F16, Shape: []int{1, 2}, Bytes: make([]byte, 4)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHeader(bytes.NewReader(b), int64(len(b)), "f")
		if err != nil {
			if e := (*source.Error)(nil); !errors.As(err, &e) || e.Problem == "" || e.Err == nil {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		c := &source.Catalogue{Path: "f"}
		h.addTo(c, 0)
		at := h.data
		for _, x := range h.tensors {
			if h.data+int64(x.begin) != at || x.end < x.begin {
				t.Fatalf("%+v, expected it to begin at %d", x, at)
			}
			at = h.data + int64(x.end)
		}
		if at != int64(len(b)) || len(c.Tensors)+len(c.Others) != len(h.tensors) {
			t.Fatalf("%d bytes of %d, %d tensors", at, len(b), len(h.tensors))
		}
	})
}
