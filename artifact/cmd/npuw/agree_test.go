package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/pipeline"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
	"npuw/schema/pyreader"
)

// models are the files in testdata that can be packed, by their names without .onnx.
var models = []string{"whisper-tiny-encoder", "whisper-tiny-encoder-ext", "whisper-tiny-encoder-fp16", "whisper-tiny-op17-encoder", "whisper-tiny-dflt-encoder"}

const testdata = "../../../testdata/whisper-tiny"

// variants are recipes of a user's own: a built-in one with some of its text replaced.
var variants = []struct{ name, base, old, new string }{
	{"pages-16k", "whisper-encoder/npu1-tiled", "\nname:", "\npage_bytes: 16384\nname:"},
	{"pages-64k", "whisper-encoder/f32", "\nname:", "\npage_bytes: 65536\nname:"},
	{"pad-value", "whisper-encoder/npu1-rowmajor", "format: BF16", "format: BF16\n  pad_value: -1.5"},
	{"f16", "whisper-encoder/npu1-tiled", "format: BF16", "format: F16"},
	{"marked-strides", "whisper-encoder/npu1-tiled", `"N* K* K8 N8 K8 N4"`, `"K8@* N4 K*@1 N*"`},
}

// TestPythonAgrees packs each model by each recipe. That npuw verify, inspect and extract agree with npuw.py on what it makes, as on
// every artifact of these tests, is seen by TestMain.
func TestPythonAgrees(t *testing.T) {
	t.Parallel()
	packed := models
	if testing.Short() { // the others differ in how the model was exported
		packed = models[:1]
	}
	for _, model := range packed {
		for _, r := range recipe.BuiltinsFor("whisper-encoder") {
			t.Run(model+"/"+r.Name, func(t *testing.T) {
				t.Parallel()
				packTest(t, model, r.Name)
			})
		}
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			text, err := recipe.BuiltinText(v.base)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.ReplaceAll(string(text), v.old, v.new)
			if changed == string(text) {
				t.Fatalf("%s has no %q", v.base, v.old)
			}
			file := filepath.Join(pyreader.TempDir(t), v.name+".txtpb")
			if err := os.WriteFile(file, []byte(changed), 0o666); err != nil {
				t.Fatal(err)
			}
			packTest(t, "whisper-tiny-encoder", file)
		})
	}
}

// TestExtractMarksRounded: both readers say so where a scale that is no power of two had to be undone, and not otherwise.
func TestExtractMarksRounded(t *testing.T) {
	t.Parallel()
	text, err := recipe.BuiltinText("whisper-encoder/f32")
	if err != nil {
		t.Fatal(err)
	}
	for scale, rounded := range map[string]bool{"1/3": true, "1/4": false} {
		file := filepath.Join(pyreader.TempDir(t), "scaled.txtpb")
		scaled := strings.ReplaceAll(string(text), "format: F32", "format: F32\n  scale: \""+scale+"\"")
		if err := os.WriteFile(file, []byte(scaled), 0o666); err != nil {
			t.Fatal(err)
		}
		path := packTest(t, "whisper-tiny-encoder", file)
		const name = "encoder.conv1.weight"
		const mark = name + ": divided by a scale and rounded"
		var values bytes.Buffer
		var complaint strings.Builder
		if status := run([]string{"extract", path, name}, &values, &complaint); status != 0 || strings.Contains(complaint.String(), mark) != rounded {
			t.Errorf("scale %s: exit status %d, npuw says %q", scale, status, complaint.String())
		}
		if python, said := pyreader.Extract(t, path, name); !bytes.Equal(python, values.Bytes()) || strings.Contains(said, mark) != rounded {
			t.Errorf("scale %s: npuw.py gives the same values: %v; it says %q", scale, bytes.Equal(python, values.Bytes()), said)
		}
	}
}

// packTest packs a model from testdata and gives the artifact's path.
func packTest(t *testing.T, model, recipeName string) string {
	t.Helper()
	b, err := pipeline.Prepare(filepath.Join(testdata, model+".onnx"), recipeName)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(pyreader.TempDir(t), "made.npuw")
	if _, err := b.Pack(t.Context(), path, pack.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	return path
}

// commanded is an artifact as the command line reads it.
type commanded struct {
	extractor
	listing jsonText
}

func openWithCommand(path string) (commanded, error) {
	var listing bytes.Buffer
	err := command(&listing, "inspect", "--json", path)
	return commanded{extractor(path), listing.Bytes()}, err
}

func (c commanded) Verify() error  { return command(io.Discard, "verify", string(c.extractor)) }
func (c commanded) List() jsonText { return c.listing }
func (c commanded) Close() error   { return nil }

type jsonText []byte

func (j jsonText) MarshalJSON() ([]byte, error) { return j, nil }

// command runs the command line.
func command(stdout io.Writer, args ...string) error {
	var complaint strings.Builder
	if status := run(args, stdout, &complaint); status != 0 {
		return fmt.Errorf("exit status %d: %s", status, complaint.String())
	}
	return nil
}

// extractor reads values from the artifact of that path with npuw extract.
type extractor string

func (e extractor) OperandValues(name string) (extracted, error) {
	return extracted{string(e), name, "--operand"}, nil
}

func (e extractor) ParameterValues(name string) (extracted, error) {
	return extracted{string(e), name}, nil
}

// extracted are the arguments of npuw extract but for the format.
type extracted []string

func (e extracted) WriteFloat32(w io.Writer) error {
	return command(w, append([]string{"extract", "--format=f32"}, e...)...)
}

func (e extracted) WriteRaw(w io.Writer) error {
	return command(w, append([]string{"extract", "--format=raw"}, e...)...)
}

// TestPythonRefuses damages an artifact in many places and wants both readers to refuse each.
func TestPythonRefuses(t *testing.T) {
	t.Parallel()
	path := packTest(t, "whisper-tiny-encoder", "whisper-encoder/npu1-tiled")
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := len(sound)
	flip := func(at int, bits byte) []byte {
		b := bytes.Clone(sound)
		b[at] ^= bits
		return b
	}
	damaged := map[string][]byte{
		"empty":                {},
		"half a header":        sound[:128],
		"no index":             sound[:4096],
		"last byte missing":    sound[:n-1],
		"a byte more":          append(bytes.Clone(sound), 0),
		"another magic":        flip(0, 1),
		"a later version":      flip(8, 3),
		"an unknown feature":   flip(16, 1),
		"other file_bytes":     flip(33, 1),
		"other header digest":  flip(255, 0x80),
		"gap after the header": flip(300, 1),
		"first weight":         flip(4096, 1),
		"last data byte":       flip(4096*((n-1)/4096)-1, 1), // the index begins at a page
		"middle":               flip(n/2, 0x10),
		"index":                flip(n-100, 4),
		"last byte":            flip(n-1, 1),
	}
	var names, paths []string
	for name, b := range damaged {
		file := filepath.Join(pyreader.TempDir(t), "damaged.npuw")
		pyreader.Damage(t, file)
		if err := os.WriteFile(file, b, 0o666); err != nil {
			t.Fatal(err)
		}
		names, paths = append(names, name), append(paths, file)
	}
	faults := pyreader.Verify(t, append(paths, path)...)
	for i, name := range names {
		if faults[i] == "" {
			t.Errorf("%s: npuw.py finds nothing wrong", name)
		}
		if err := command(io.Discard, "verify", paths[i]); err == nil || !strings.HasPrefix(err.Error(), "exit status 1: npuw: "+paths[i]+": ") {
			t.Errorf("%s: npuw verify says: %v", name, err)
		}
	}
	if last := faults[len(paths)]; last != "" {
		t.Errorf("npuw.py refuses the sound file: %s", last)
	}
}

// TestDisagreement proves that what is compared would be noticed: it alters each side of a comparison that holds.
func TestDisagreement(t *testing.T) {
	t.Parallel()
	path := packTest(t, "whisper-tiny-encoder", "whisper-encoder/npu1-tiled")
	var listing bytes.Buffer
	if err := command(&listing, "inspect", "--json", path); err != nil {
		t.Fatal(err)
	}
	answer := pyreader.Read(t, path)
	for _, test := range []struct {
		old, new string // in the listing
		values   pyreader.Reader[altered]
		want     string
	}{
		{`"name": "encoder.conv1.bias"`, `"name": "encoder.conv1.Bias"`, alter(path, "", nil), "listings differ"},
		{`"offset": 8192`, `"offset": 8191`, alter(path, "", nil), "listings differ"},
		{`"extent": 48`, `"extent": 49`, alter(path, "", nil), "listings differ"},
		{`"layout": "N2 K2 K8 N8 K8 N4"`, `"layout": "N2 K2 K8 N8 N4 K8"`, alter(path, "", nil), "listings differ"},
		{`"relative_l2": 0.001`, `"relative_l2": 0.002`, alter(path, "", nil), "listings differ"},
		{`"page_bytes": 4096`, `"page_bytes": 4095`, alter(path, "", nil), "listings differ"},
		{"", "", alter(path, "encoder.conv1.bias", func(b []byte) []byte { b[9] ^= 1; return b }), "encoder.conv1.bias as f32: npuw.py has 256 bytes, Go 256, the same up to byte 9"},
		{"", "", alter(path, "encoder.conv1.bias", func(b []byte) []byte { return b[1:] }), "encoder.conv1.bias raw"},
		{"", "", alter(path, "", nil), ""},
	} {
		if !strings.Contains(listing.String(), test.old) {
			t.Errorf("the listing has no %s", test.old)
		}
		o := &overheard{TB: t}
		pyreader.CompareAnswer(o, path, answer, test.values, jsonText(strings.ReplaceAll(listing.String(), test.old, test.new)))
		if all := strings.Join(o.errors, "\n"); !strings.Contains(all, test.want) || test.want == "" && all != "" {
			t.Errorf("%s altered: %q, want %q", test.old, all, test.want)
		}
	}
}

// overheard is a test whose errors are noted and do not fail it.
type overheard struct {
	testing.TB
	errors []string
}

func (o *overheard) Errorf(format string, args ...any) {
	o.errors = append(o.errors, fmt.Sprintf(format, args...))
}

// altered are values of which those called name are changed.
type altered struct {
	extracted
	name   string
	change func([]byte) []byte
}

func alter(path, name string, change func([]byte) []byte) pyreader.Reader[altered] {
	return alterer{altered{extracted{path}, name, change}}
}

type alterer struct{ altered }

func (a alterer) OperandValues(name string) (altered, error) {
	v, err := extractor(a.extracted[0]).OperandValues(name)
	return altered{v, a.name, a.change}, err
}

func (a alterer) ParameterValues(name string) (altered, error) {
	v, err := extractor(a.extracted[0]).ParameterValues(name)
	return altered{v, a.name, a.change}, err
}

func (a altered) WriteFloat32(w io.Writer) error { return a.write(w, a.extracted.WriteFloat32) }
func (a altered) WriteRaw(w io.Writer) error     { return a.write(w, a.extracted.WriteRaw) }

func (a altered) write(w io.Writer, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil || a.extracted[1] != a.name {
		_, err = w.Write(b.Bytes())
		return err
	}
	_, err := w.Write(a.change(b.Bytes()))
	return err
}
