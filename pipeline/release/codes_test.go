package release

import (
	"fmt"
	"path/filepath"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline"
	"npuw/pipeline/source"
)

// scaled gives blocks whose scales are factor and up.
type scaled struct{ factor float64 }

func (s scaled) ReadBlocks(_ *source.Catalogue, dst []element.Block, first, count []uint64) error {
	for i := range dst {
		dst[i] = element.Block{Scale: s.factor + float64((first[0]+uint64(i)/count[1])*1000+first[1]+uint64(i)%count[1])}
	}
	return nil
}

// Values that are made of codes are the same only if what the codes share is.
func TestDigestOfCodes(t *testing.T) {
	t.Parallel()
	b, err := pipeline.Prepare(filepath.Join("..", "..", "testdata", "whisper-tiny", "whisper-tiny-encoder.onnx"), "")
	must(t, err)
	defer b.Close()
	p := b.Model.Parameters[0]
	for _, q := range b.Model.Parameters {
		if len(q.Shape) == 2 {
			p = q
		}
	}
	digest := func(c *source.Codes) Digest {
		q := p
		q.Tensor.Codes = c
		d, err := parameterDigest(t.Context(), b.Catalogue, &q)
		must(t, err)
		return d
	}
	scheme := element.Scheme{Codes: element.I8, Scales: element.F32}
	seen := map[Digest]string{digest(nil): "no codes"}
	for name, c := range map[string]*source.Codes{
		"codes":               {Scheme: scheme, Block: []uint64{1, 32}, Blocks: scaled{1}},
		"codes, other scales": {Scheme: scheme, Block: []uint64{1, 32}, Blocks: scaled{2}},
		"codes, other blocks": {Scheme: scheme, Block: []uint64{32, 1}, Blocks: scaled{1}},
		"other codes":         {Scheme: element.Scheme{Codes: element.I4, Scales: element.F32}, Block: []uint64{1, 32}, Blocks: scaled{1}},
	} {
		d := digest(c)
		if other, taken := seen[d]; taken {
			t.Errorf("%s have the digest of %s", name, other)
		}
		if seen[d] = name; digest(c) != d {
			t.Errorf("%s have two digests", name)
		}
	}
}

// Quantized sources make sets, and are not made again without a reason.
func TestQuantizedSources(t *testing.T) {
	t.Parallel()
	o := folder(t, "")
	text := ""
	for i, name := range []string{"q4asym", "int8pc", "fp16", "q4asym"} {
		path, err := filepath.Abs(filepath.Join("..", "..", "testdata", "whisper-tiny", "whisper-tiny-encoder-"+name+".onnx"))
		must(t, err)
		recipe := "whisper-encoder/npu1-tiled"
		if i == 3 {
			name, recipe = "kept", "whisper-encoder/npu1-source"
		}
		text += fmt.Sprintf("artifact { source: %q recipe: %q output: \"%s.npuw\" }\n", filepath.ToSlash(path), recipe, name)
	}
	write(t, o.Manifest, text)
	if packed := mustBuild(t, o); packed != "q4asym.npuw int8pc.npuw fp16.npuw kept.npuw" {
		t.Errorf("packed %s", packed)
	}
	if packed := mustBuild(t, o); packed != "" {
		t.Errorf("packed %s again", packed)
	}
}
