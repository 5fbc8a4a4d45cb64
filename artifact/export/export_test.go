package export

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
	"npuw/schema/pyreader"
)

const fixture = "../../testdata/whisper-tiny/whisper-tiny-encoder"

// array is what a reader finds in a file.
type array struct {
	name   string
	shape  []uint64
	values []byte // little-endian float32
}

func (a array) String() string {
	return fmt.Sprintf("%s %v of %d bytes", a.name, a.shape, len(a.values))
}

// recovered packs the fixture by a recipe and gives what can be recovered.
func recovered(t *testing.T, recipeName string) *Set {
	t.Helper()
	b, err := pipeline.Prepare(fixture+".onnx", recipeName)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(pyreader.TempDir(t), "model.npuw")
	if _, err := b.Pack(t.Context(), path, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	a, err := artifact.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	s, err := Recover(a)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// expected is what a file of the set must hold.
func expected(t *testing.T, s *Set, prefix string) []array {
	t.Helper()
	var list []array
	for _, v := range s.Parameters {
		var b bytes.Buffer
		if err := v.WriteFloat32(&b); err != nil {
			t.Fatal(err)
		}
		list = append(list, array{prefix + v.Name, v.Shape, b.Bytes()})
	}
	return list
}

func written(t *testing.T, write func(io.Writer, string) error, prefix string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, prefix); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compare(t *testing.T, what string, got, want []array) {
	t.Helper()
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%s: %d arrays, want %d", what, len(got), len(want))
	}
	for i := range want {
		if got[i].name != want[i].name || !slices.Equal(got[i].shape, want[i].shape) || !bytes.Equal(got[i].values, want[i].values) {
			t.Errorf("%s: array %d is %v, want %v, or other values", what, i, got[i], want[i])
		}
	}
}

// TestNumPy: what NumPy reads are the names, shapes and values of the artifact's parameters, for each built-in recipe.
func TestNumPy(t *testing.T) {
	t.Parallel()
	read := numpy(t)
	for _, r := range recipe.BuiltinsFor("whisper-encoder") {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			s := recovered(t, r.Name)
			if len(s.Missing) > 0 {
				t.Fatalf("missing: %v", s.Missing)
			}
			compare(t, "safetensors", read(t, "m.safetensors", written(t, s.WriteSafetensors, "")), expected(t, s, ""))
			compare(t, "npz", read(t, "m.npz", written(t, s.WriteNPZ, "model.")), expected(t, s, "model."))
		})
	}
}

// TestSource: from an artifact of unrounded values, NumPy reads what PyTorch had, parameter by parameter.
func TestSource(t *testing.T) {
	t.Parallel()
	read := numpy(t)
	table, err := os.ReadFile(fixture + ".params.tsv")
	if err != nil {
		t.Fatal(err)
	}
	values, err := os.ReadFile(fixture + ".params.f32")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]array{}
	for line := range strings.Lines(string(table)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		var shape []uint64
		if err := json.Unmarshal([]byte(fields[1]), &shape); err != nil {
			t.Fatal(err)
		}
		n := 4
		for _, s := range shape {
			n *= int(s)
		}
		want["encoder."+fields[0]] = array{"encoder." + fields[0], shape, values[:n]}
		values = values[n:]
	}
	got := read(t, "m.safetensors", written(t, recovered(t, "whisper-encoder/f32").WriteSafetensors, ""))
	var inOrder []array
	for _, a := range got {
		inOrder = append(inOrder, want[a.name])
	}
	if len(want) != len(got) {
		t.Errorf("%d parameters, PyTorch had %d", len(got), len(want))
	}
	compare(t, "safetensors", got, inOrder)
}

// numpy gives a function that has NumPy read a file of the given bytes. Where there is no NumPy, the test is skipped; where CI is set it
// fails.
func numpy(t *testing.T) func(t *testing.T, name string, file []byte) []array {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("testdata", "arrays.py"))
	if err != nil {
		t.Fatal(err)
	}
	python := ""
	for _, program := range []string{"python3", "/usr/bin/python3"} { // a Python of one's own may come before Debian's
		if python == "" && exec.Command(program, "-c", "import numpy").Run() == nil {
			python = program
		}
	}
	switch {
	case python == "" && os.Getenv("CI") != "":
		t.Fatal("CI needs NumPy (Debian: apt-get install --no-install-recommends python3-numpy)")
	case python == "":
		t.Skip("NumPy is missing (Debian: apt-get install --no-install-recommends python3-numpy)")
	}
	return func(t *testing.T, name string, file []byte) []array {
		t.Helper()
		path := filepath.Join(pyreader.TempDir(t), name)
		if err := os.WriteFile(path, file, 0o666); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), python, "-B", script, path)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, &complaint)
		}
		r := bufio.NewReader(bytes.NewReader(out))
		line, err := r.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var head []struct {
			Name  string
			Shape []uint64
			Bytes int
		}
		if err := json.Unmarshal(line, &head); err != nil {
			t.Fatal(err)
		}
		var list []array
		for _, h := range head {
			a := array{h.Name, h.Shape, make([]byte, h.Bytes)}
			if _, err := io.ReadFull(r, a.values); err != nil {
				t.Fatal(err)
			}
			list = append(list, a)
		}
		return list
	}
}

// TestBytes looks at the files themselves, where there is no NumPy too: what is before the data, where it begins, and that nothing in
// them changes from one time to the next.
func TestBytes(t *testing.T) {
	t.Parallel()
	s := recovered(t, "whisper-encoder/npu1-tiled")
	want := expected(t, s, "x.")
	var data []byte
	for _, a := range want {
		data = append(data, a.values...)
	}

	file := written(t, s.WriteSafetensors, "x.")
	n := binary.LittleEndian.Uint64(file)
	if !json.Valid(file[8:8+n]) || n%8 != 0 || !bytes.Equal(file[8+n:], data) {
		t.Errorf("a header of %d bytes, or not the data behind it", n)
	}
	if first := `{"__metadata__":{"format":"pt"},"x.encoder.conv1.weight":{"dtype":"F32","shape":[64,16,3],"data_offsets":[0,12288]},`; !strings.HasPrefix(string(file[8:]), first) {
		t.Errorf("the header begins %q, want %q", file[8:8+len(first)], first)
	}
	if !bytes.Equal(file, written(t, s.WriteSafetensors, "x.")) {
		t.Error("safetensors: other bytes the second time")
	}

	file = written(t, s.WriteNPZ, "x.")
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var got []array
	for i, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r) // checks the CRC
		if err != nil {
			t.Fatal(err)
		}
		if f.Method != zip.Store || !f.Modified.Equal(zipEpoch) {
			t.Errorf("%s: method %d, time %v", f.Name, f.Method, f.Modified)
		}
		header := len(b) - len(want[i].values)
		if header%64 != 0 || !strings.HasPrefix(string(b), "\x93NUMPY\x01\x00") {
			t.Errorf("%s: begins %q; %d bytes before the values", f.Name, b[:10], header)
		}
		got = append(got, array{strings.TrimSuffix(f.Name, ".npy"), want[i].shape, b[header:]})
	}
	compare(t, "npz", got, want)
	if !bytes.Equal(file, written(t, s.WriteNPZ, "x.")) {
		t.Error("npz: other bytes the second time")
	}
}

// TestHeadersOfShapes: the dictionary of a .npy, by shape.
func TestHeadersOfShapes(t *testing.T) {
	t.Parallel()
	s := &Set{File: &artifact.File{Path: "m.npuw"}}
	for want, shape := range map[string][]uint64{
		"()": nil, "(5, )": {5}, "(2, 3, )": {2, 3}, "(18446744073709551615, 1, )": {1<<64 - 1, 1},
	} {
		got, err := s.npyHeader(&artifact.Values{Shape: shape})
		text := "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': " + want + ", }"
		if want := text + strings.Repeat(" ", 127-len(text)) + "\n"; err != nil || string(got) != want {
			t.Errorf("%v: %q, %v; want %q", shape, got, err, want)
		}
	}
	if _, err := s.npyHeader(&artifact.Values{Name: "w", Shape: make([]uint64, 1<<15)}); !errors.Is(err, artifact.ErrUnsupported) {
		t.Errorf("an array of 32768 axes: %v", err)
	}
}

// TestRefusedNames: an artifact may call its parameters as it likes, and a format may not take that.
func TestRefusedNames(t *testing.T) {
	t.Parallel()
	set := func(name string) *Set {
		return &Set{File: &artifact.File{Path: "m.npuw"}, Parameters: []*artifact.Values{{Name: name, Shape: []uint64{1}}}}
	}
	for name, write := range map[string]func(io.Writer, string) error{
		"__metadata__": set("__metadata__").WriteSafetensors,
		"data__":       func(w io.Writer, _ string) error { return set("data__").WriteSafetensors(w, "__meta") },
		"../w":         set("../w").WriteNPZ,
		"/w":           set("/w").WriteNPZ,
		`..\w`:         set(`..\w`).WriteNPZ,
		"a//b":         set("a//b").WriteNPZ,
		"long":         func(w io.Writer, _ string) error { return set("long").WriteNPZ(w, strings.Repeat("x", 1<<16)) },
	} {
		var b bytes.Buffer
		err := write(&b, "")
		if !errors.Is(err, artifact.ErrUnsupported) || !strings.HasPrefix(err.Error(), fmt.Sprintf("m.npuw: parameter %q: ", name)) || b.Len() > 0 {
			t.Errorf("%s: %d bytes, %v", name, b.Len(), err)
		}
	}
	if !testing.Short() {
		long := set(strings.Repeat("x", maxHeader))
		if _, err := long.safetensorsHeader(""); !errors.Is(err, artifact.ErrUnsupported) {
			t.Error("a header of more than 100 MB")
		}
	}
	header, err := set("a\"\u00e9<\u2028").safetensorsHeader("")
	var names map[string]any
	if err != nil || json.Unmarshal(header[8:], &names) != nil || names["a\"\u00e9<\u2028"] == nil {
		t.Errorf("%q, %v", header, err)
	}
}

// TestFullDisk: an error of the writer comes back.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := recovered(t, "whisper-encoder/npu2-tiled")
	for _, write := range []func(io.Writer, string) error{s.WriteSafetensors, s.WriteNPZ} {
		size := len(written(t, write, ""))
		for _, room := range []int{0, 100, size / 2, size - 1} {
			if err := write(&disk{room}, ""); !errors.Is(err, errFull) {
				t.Errorf("room for %d of %d bytes: %v", room, size, err)
			}
		}
		if err := write(&disk{size}, ""); err != nil {
			t.Error(err)
		}
	}
}

var errFull = errors.New("no space left")

// disk is a writer that has room for so many bytes.
type disk struct{ room int }

func (d *disk) Write(b []byte) (int, error) {
	if n := d.room; n < len(b) {
		d.room = 0
		return n, errFull
	}
	d.room -= len(b)
	return len(b), nil
}

// TestMissing: a folded LayerNorm, and what it is folded into, are not there any more; all else is.
func TestMissing(t *testing.T) {
	t.Parallel()
	text, err := recipe.BuiltinText("whisper-encoder/f32")
	if err != nil {
		t.Fatal(err)
	}
	const layer = `"encoder.layers.{i}.`
	folding := strings.NewReplacer(
		layer+`fc*.weight"`, layer+`fc2.weight"`,
		layer+`*_layer_norm.*"`, layer+`self_attn_layer_norm.*" parameter: `+layer+`final_layer_norm.bias"`,
	).Replace(string(text)) + `
		operand {
			parameter: ` + layer + `fc1.weight"  segment: ` + layer[:len(layer)-1] + `"  format: F32  layout: "N* K*"
			fold { gamma: ` + layer + `final_layer_norm.weight" }
		}`
	path := filepath.Join(pyreader.TempDir(t), "folding.txtpb")
	if err := os.WriteFile(path, []byte(folding), 0o666); err != nil {
		t.Fatal(err)
	}
	s := recovered(t, path)
	var names []string
	for _, m := range s.Missing {
		names = append(names, m.Name)
		if !strings.Contains(m.Err.Error(), "is folded into operand") {
			t.Errorf("%s: %v", m.Name, m.Err)
		}
	}
	var want []string
	for layer := range 2 {
		for _, name := range []string{"fc1.weight", "final_layer_norm.weight"} {
			want = append(want, fmt.Sprintf("encoder.layers.%d.%s", layer, name))
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, want) {
		t.Errorf("missing: %q, want %q", names, want)
	}
	if n := len(s.File.Index.Parameters); len(s.Parameters)+len(want) != n {
		t.Errorf("%d of %d parameters", len(s.Parameters), n)
	}
}
