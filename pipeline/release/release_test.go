package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// folder makes the folder of a release: two models, one in a subfolder with a recipe of its own beside it, and the manifest.
// It returns the manifest's path and an empty output folder.
func folder(t *testing.T, manifest string) Options {
	t.Helper()
	dir := pyreader.TempDir(t)
	own := ownRecipe(t)
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "models"), 0o777),
		whisperonnx.Write(filepath.Join(dir, "a.onnx"), whisperonnx.Odd),
		whisperonnx.Write(filepath.Join(dir, "models", "b.onnx"), whisperonnx.Config{DModel: 8, Layers: 1, Heads: 2, FFN: 9, Mels: 3, Positions: 4}),
		os.WriteFile(filepath.Join(dir, "models", "own.txtpb"), own, 0o666),
		os.WriteFile(filepath.Join(dir, "models", "broken.onnx"), []byte("\x08\x07 no model"), 0o666),
		os.WriteFile(filepath.Join(dir, "release.txtpb"), []byte(manifest), 0o666),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return Options{Manifest: filepath.Join(dir, "release.txtpb"), Out: filepath.Join(pyreader.TempDir(t), "out")}
}

// ownRecipe is a recipe of somebody's own.
func ownRecipe(t *testing.T) []byte {
	t.Helper()
	text, err := recipe.BuiltinText("whisper-encoder/f32")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Replace(text, []byte(`name: "whisper-encoder/f32"`), []byte(`name: "whisper-encoder/own"`), 1)
}

const two = `
artifact { source: "a.onnx" output: "a.npuw" }
artifact {
  source: "models/b.onnx"
  recipe: "models/own.txtpb"
  output: "small/encoders/b.npuw"
}
`

// files lists a folder and all below it, as slash-separated paths.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		list = append(list, filepath.ToSlash(name))
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return list
}

func TestBuild(t *testing.T) {
	t.Parallel()
	o := folder(t, two)
	var progress bytes.Buffer
	o.Progress = &progress
	if err := Build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(files(t, o.Out)); got != "[SHA256SUMS a.npuw release.json small/encoders/b.npuw]" {
		t.Errorf("made %s", got)
	}
	for name, want := range map[string]struct {
		recipe  string
		dModel  int64
		mention []string
	}{
		"a.npuw":                {"whisper-encoder/npu1-tiled", 36, []string{"a.npuw", "a.onnx", "whisper-encoder/npu1-tiled", "verified"}},
		"small/encoders/b.npuw": {"whisper-encoder/own", 8, []string{"b.npuw", "b.onnx", "whisper-encoder/own", "verified"}},
	} {
		path := filepath.Join(o.Out, filepath.FromSlash(name))
		if err := pipeline.Verify(path); err != nil {
			t.Error(err)
		}
		f, err := artifact.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Index.Producer.Recipe != want.recipe || f.Index.Model.Attributes[1].Integer != want.dModel {
			t.Errorf("%s: recipe %s, model %+v", name, f.Index.Producer.Recipe, f.Index.Model)
		}
		line := ""
		for l := range strings.Lines(progress.String()) {
			if strings.HasPrefix(l, path+":") {
				line = l
			}
		}
		for _, part := range want.mention {
			if !strings.Contains(line, part) {
				t.Errorf("progress %q, expected %q in it", line, part)
			}
		}
	}
}

// A second build replaces what the first made, by the same bytes.
func TestBuildAgain(t *testing.T) {
	t.Parallel()
	o := folder(t, two)
	var made [2][]byte
	for i := range made {
		if err := Build(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(o.Out, "a.npuw"))
		if err != nil {
			t.Fatal(err)
		}
		made[i] = b
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("the second build gave other bytes")
	}
}

// What fails is named with its line in the manifest. Nothing is published; artifacts before it are kept beside the output folder.
func TestBuildThatFails(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, manifest string
		line           int
		says           []string
		wraps          error
		kept           string
	}{
		{
			"a missing source", "artifact { source: \"a.onnx\" output: \"a.npuw\" }\n\nartifact {\n  source: \"absent.onnx\" output: \"x/b.npuw\" }\nartifact { source: \"a.onnx\" output: \"c.npuw\" }",
			3,
			[]string{"x/b.npuw", "absent.onnx"},
			fs.ErrNotExist, "[a.npuw]",
		},
		{
			"no model", "artifact { source: \"models/broken.onnx\" output: \"b.npuw\" }",
			1,
			[]string{"b.npuw", "broken.onnx"},
			source.ErrCorrupt, "[]",
		},
		{
			"a missing recipe", "artifact { source: \"a.onnx\" recipe: \"own.txtpb\" output: \"b.npuw\" }",
			1,
			[]string{"own.txtpb"},
			fs.ErrNotExist, "[]",
		},
		{
			"a recipe that is none", "# first\nartifact { source: \"a.onnx\" recipe: \"release.txtpb\" output: \"b.npuw\" }",
			2,
			[]string{"release.txtpb"},
			nil, "[]",
		},
		{
			"an unknown built-in recipe", "artifact { source: \"a.onnx\"\n recipe: \"whisper-encoder/npu9\" output: \"b.npuw\" }",
			2,
			[]string{"npu9"},
			nil, "[]",
		},
		{
			"an output elsewhere", "artifact { source: \"a.onnx\" output: \"a.npuw\" }\nartifact { source: \"a.onnx\" output: \"../b.npuw\" }",
			2,
			[]string{"../b.npuw"},
			nil, "[]",
		},
		{
			"no manifest", "artifact { sources: \"a.onnx\" output: \"a.npuw\" }",
			1,
			[]string{"sources"},
			nil, "[]",
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			o := folder(t, x.manifest)
			for what, try := range map[string]func() error{
				"plan":  func() error { return Plan(context.Background(), o, new(bytes.Buffer)) },
				"JSON":  func() error { return PlanJSON(o, new(bytes.Buffer)) },
				"build": func() error { return Build(context.Background(), o) },
			} {
				err := try()
				if err == nil {
					t.Fatalf("%s: no error", what)
				}
				for _, part := range append(x.says, fmt.Sprintf("%s:%d: ", o.Manifest, x.line)) {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%s: %v, expected %q in it", what, err, part)
					}
				}
				if x.wraps != nil && !errors.Is(err, x.wraps) {
					t.Errorf("%s: %v, expected %v", what, err, x.wraps)
				}
				if what == "build" {
					if got := files(t, o.Out); len(got) > 0 {
						t.Errorf("published %s", got)
					}
					if got := fmt.Sprint(files(t, filepath.Join(WorkFolder(o.Out), "set"))); got != x.kept {
						t.Errorf("kept %s, expected %s", got, x.kept)
					}
				}
			}
		})
	}
}

func TestBuildWithoutManifest(t *testing.T) {
	t.Parallel()
	o := Options{Manifest: filepath.Join(pyreader.TempDir(t), "release.txtpb"), Out: pyreader.TempDir(t)}
	if err := Build(context.Background(), o); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), o.Manifest) {
		t.Errorf("%v, expected that %s is not there", err, o.Manifest)
	}
}

func TestBuildCancelled(t *testing.T) {
	t.Parallel()
	o := folder(t, two)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Build(ctx, o); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), ": interrupted; nothing was published") {
		t.Errorf("%v, expected that it was cancelled", err)
	}
	if got := files(t, o.Out); len(got) > 0 {
		t.Errorf("made %v", got)
	}
}

// A plan says what a build makes, and makes nothing.
func TestPlan(t *testing.T) {
	t.Parallel()
	o := folder(t, two)
	var b bytes.Buffer
	if err := Plan(context.Background(), o, &b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		filepath.Join(o.Out, "a.npuw") + " (whisper-encoder/npu1-tiled", filepath.Join(o.Out, "small", "encoders", "b.npuw") + " (whisper-encoder/own",
		"encoder.layers.1.fc2.weight", "37 operands in", "22 operands in",
	} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%q is not in the plan:\n%s", part, &b)
		}
	}
	if got := files(t, o.Out); len(got) > 0 {
		t.Errorf("made %v", got)
	}
}

func TestPlanJSON(t *testing.T) {
	t.Parallel()
	o := folder(t, two)
	var b bytes.Buffer
	if err := PlanJSON(o, &b); err != nil {
		t.Fatal(err)
	}
	if err := Build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	count := 0
	for ; d.More(); count++ {
		var line struct {
			Output, Source, Recipe string
			Plan                   artifact.Listing
		}
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		f, err := artifact.Open(line.Output)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		want, err := json.Marshal(f.Index.List(false))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(line.Plan); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: planned %s, made %s (%v)", line.Output, got, want, err)
		}
		if line.Recipe != f.Index.Producer.Recipe || filepath.Ext(line.Source) != ".onnx" {
			t.Errorf("%+v", line)
		}
	}
	if count != 2 {
		t.Errorf("%d artifacts, expected 2", count)
	}
}
