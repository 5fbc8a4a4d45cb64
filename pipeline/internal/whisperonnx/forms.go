package whisperonnx

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"npuw/artifact/element"
)

// sizes are those of the encoders of the published models (their config.json on huggingface.co/openai and /distil-whisper).
// Distilled models have the encoder of their teacher.
var sizes = map[string]Config{
	"tiny":     {DModel: 384, Layers: 4, Heads: 6, FFN: 1536, Mels: 80, Positions: 1500},
	"base":     Base,
	"small":    {DModel: 768, Layers: 12, Heads: 12, FFN: 3072, Mels: 80, Positions: 1500},
	"medium":   {DModel: 1024, Layers: 24, Heads: 16, FFN: 4096, Mels: 80, Positions: 1500},
	"large-v2": {DModel: 1280, Layers: 32, Heads: 20, FFN: 5120, Mels: 80, Positions: 1500},
	"large-v3": {DModel: 1280, Layers: 32, Heads: 20, FFN: 5120, Mels: 128, Positions: 1500},
	"fixture":  Tiny,
	"odd":      Odd,
}

// teachers are the models whose encoder another one has.
var teachers = map[string]string{
	"large": "large-v2", "large-v1": "large-v2", "large-v3-turbo": "large-v3", "distil-small.en": "small", "distil-medium.en": "medium",
	"distil-large-v2": "large-v2", "distil-large-v3": "large-v3", "distil-large-v3.5": "large-v3",
}

// Size gives the sizes of a published model, "base" or "large-v3", or of those that tests use, "fixture" and "odd".
func Size(name string) (Config, error) {
	if teacher := teachers[name]; teacher != "" {
		name = teacher
	}
	c, ok := sizes[strings.TrimSuffix(name, ".en")]
	if !ok {
		return Config{}, fmt.Errorf("no size %q; there are %s", name, strings.Join(Sizes(), ", "))
	}
	return c, nil
}

// decoderLayers are those of models whose decoder has fewer layers than their encoder: OpenAI's turbo, and distilled ones.
var decoderLayers = map[string]int{
	"large-v3-turbo": 4, "distil-small.en": 4, "distil-medium.en": 2, "distil-large-v2": 2, "distil-large-v3": 2, "distil-large-v3.5": 2,
}

// DecoderSize gives the sizes of a published model's decoder, or of those that tests use, by the names that Size knows.
func DecoderSize(name string) (Decoder, error) {
	c, err := Size(name)
	switch {
	case err != nil:
		return Decoder{}, err
	case name == "fixture":
		return TinyDecoder, nil
	case name == "odd":
		return OddDecoder, nil
	}
	d := Decoder{Layers: c.Layers, FFN: c.FFN, Positions: 448, Vocab: 51865}
	if n := decoderLayers[name]; n > 0 {
		d.Layers = n
	}
	switch {
	case strings.HasSuffix(name, ".en"):
		d.Vocab = 51864
	case c.Mels == 128: // large-v3, and what is made of it
		d.Vocab = 51866
	}
	return d, nil
}

// Sizes lists the names that Size knows.
func Sizes() []string {
	return slices.Sorted(slices.Values(slices.AppendSeq(slices.Collect(maps.Keys(sizes)), maps.Keys(teachers))))
}

// forms are the forms of a file, by name.
var forms = map[string]func(*Config){
	"f16":  func(c *Config) { c.Type = element.F16 },
	"bf16": func(c *Config) { c.Type = element.BF16 },
	"f64":  func(c *Config) { c.Type = element.F64 },

	"opset17":     func(c *Config) { c.Opset = 17 },
	"gemm":        func(c *Config) { c.Gemm = true },
	"fusedmatmul": func(c *Config) { c.FusedMatMul = true },
	"gelu":        func(c *Config) { c.FusedGelu = true },
	"fastgelu":    func(c *Config) { c.FastGelu = true },
	"skipnorm":    func(c *Config) { c.SkipNorm = true },

	"gather": func(c *Config) { c.Gather = true },

	string(ThreeAxes):     func(c *Config) { c.Attention = ThreeAxes },
	string(SDPA):          func(c *Config) { c.Attention = SDPA },
	string(Split):         func(c *Config) { c.Attention = Split },
	string(Operator):      func(c *Config) { c.Attention = Operator },
	string(Fused):         func(c *Config) { c.Attention = Fused },
	string(MultiHead):     func(c *Config) { c.Attention = MultiHead },
	string(MultiHeadPack): func(c *Config) { c.Attention = MultiHeadPack },
	string(MultiHeadCut):  func(c *Config) { c.Attention = MultiHeadCut },

	string(NBits4):     func(c *Config) { c.Quantized = NBits4 },
	string(NBits4Zero): func(c *Config) { c.Quantized = NBits4Zero },
	string(NBits8):     func(c *Config) { c.Quantized = NBits8 },
	string(NF4):        func(c *Config) { c.Quantized = NF4 },
	string(Dynamic):    func(c *Config) { c.Quantized = Dynamic },
	string(Fused8):     func(c *Config) { c.Quantized = Fused8 },
	string(QDQ):        func(c *Config) { c.Quantized = QDQ },
	string(QDQBlocks):  func(c *Config) { c.Quantized = QDQBlocks },
	"dequantized":      func(c *Config) { c.Dequantized = true },

	"constants": func(c *Config) { c.ConstantNodes = true },
	"tied":      func(c *Config) { c.Tied = true },
	"nested":    func(c *Config) { c.Nested = true },
	"stripped":  func(c *Config) { c.Stripped = true },
	"external":  func(c *Config) { c.External = true },

	// What ONNX Runtime's Python optimizer for transformers makes of it.
	"optimized": func(c *Config) { c.FusedGelu, c.SkipNorm, c.Attention = true, true, Fused },
}

// With gives c in the forms of that name, several of them separated by commas: "attention,stripped".
func (c Config) With(names string) (Config, error) {
	for name := range strings.SplitSeq(names, ",") {
		if name == "" {
			continue
		}
		change := forms[name]
		if change == nil {
			return c, fmt.Errorf("no form %q; there are %s", name, strings.Join(Forms(), ", "))
		}
		change(&c)
	}
	return c, nil
}

// Forms lists the names that With knows.
func Forms() []string { return slices.Sorted(maps.Keys(forms)) }
