package recipe_test

import (
	"path/filepath"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/model"
	"npuw/pipeline/model/families"
	"npuw/pipeline/plan"
	"npuw/pipeline/recipe"
	"npuw/schema/pyreader"
)

// opened is a model in a file.
func opened(t *testing.T, path string) *model.Model {
	t.Helper()
	c, models, err := families.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return models[0]
}

// TestArtifacts: what recipes make of models can be written as an artifact, whose index proves places, planes, bijections, placements
// and that every parameter is covered.
func TestArtifacts(t *testing.T) {
	t.Parallel()
	odd := filepath.Join(pyreader.TempDir(t), "odd.onnx")
	if err := whisperonnx.Write(odd, whisperonnx.Odd); err != nil {
		t.Fatal(err)
	}
	models := map[string]*model.Model{
		"tiny":     opened(t, "../../testdata/whisper-tiny/whisper-tiny-encoder.onnx"),
		"odd":      opened(t, odd),
		"odd made": recipe.Encoder(recipe.OddSizes),
		"base":     recipe.Encoder(recipe.BaseSizes),
	}
	for name, m := range models {
		for _, r := range recipe.BuiltinsFor("whisper-encoder") {
			t.Run(name+"/"+r.Name, func(t *testing.T) {
				t.Parallel()
				accepted(t, m, r)
			})
		}
	}
	for name, text := range recipe.PartExamples() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := recipe.Parse("r.txtpb", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			accepted(t, recipe.Attention(), r)
		})
	}
}

// accepted plans an artifact, which artifact.Create must take, and take alike when it reads its own index.
func accepted(t *testing.T, m *model.Model, r *recipe.Recipe) {
	t.Helper()
	p, err := plan.New(m, r)
	if err != nil {
		t.Fatal(err)
	}
	w, err := artifact.Create(filepath.Join(pyreader.TempDir(t), "made.npuw"), p.Index, p.PageBytes, false)
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
}
