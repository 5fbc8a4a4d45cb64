package whisper

import (
	"strings"

	"npuw/pipeline/source"
)

// projOut is the projection to logits. It is the embedding of tokens again, in every Whisper that is published.
const projOut = "proj_out.weight"

// wrappers are what stands before names: Hugging Face's module, that of torch.nn.DataParallel, that of torch.compile, that of
// traced modules.
var wrappers = []string{"model.", "module.", "_orig_mod.", "self."}

// modules are other names of modules, and the canonical ones. Names stand behind "encoder." or "decoder.", and behind
// "layers.N." where that is before them.
var modules = map[string]string{
	// OpenAI's whisper/model.py; whisper.cpp has the same.
	"attn.query":           "self_attn.q_proj",
	"attn.key":             "self_attn.k_proj",
	"attn.value":           "self_attn.v_proj",
	"attn.out":             "self_attn.out_proj",
	"attn_ln":              "self_attn_layer_norm",
	"cross_attn.query":     "encoder_attn.q_proj",
	"cross_attn.key":       "encoder_attn.k_proj",
	"cross_attn.value":     "encoder_attn.v_proj",
	"cross_attn.out":       "encoder_attn.out_proj",
	"cross_attn_ln":        "encoder_attn_layer_norm",
	"mlp.0":                "fc1",
	"mlp.2":                "fc2",
	"mlp_ln":               "final_layer_norm",
	"ln_post":              "layer_norm",
	"ln":                   "layer_norm",
	"token_embedding":      "embed_tokens",
	"positional_embedding": "embed_positions.weight", // a tensor, not a module
}

// layerLists are what a list of layers is called.
var layerLists = []string{"layers", "blocks"}

// stateName gives the canonical name for a name of a state dict. bare is the prefix for names that say neither encoder nor decoder.
// A name that no Whisper has comes out as something that no Whisper has either.
func stateName(name, bare string) string {
	name = unwrapped(name)
	if name == projOut {
		return name
	}
	side := bare
	for _, p := range []string{prefix, decoderPrefix} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			side, name = p, rest
		}
	}
	layer := ""
	for _, list := range layerLists {
		if rest, ok := strings.CutPrefix(name, list+"."); ok {
			index, module, _ := strings.Cut(rest, ".")
			layer, name = "layers."+index+".", module
			break
		}
	}
	return side + layer + moduleName(name)
}

// moduleName gives the canonical name of a module's tensor.
func moduleName(name string) string {
	if to, ok := modules[name]; ok {
		return to
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		if to, ok := modules[name[:i]]; ok {
			return to + name[i:]
		}
	}
	return name
}

func unwrapped(name string) string {
	for i := 0; i < len(wrappers); i++ {
		if rest, ok := strings.CutPrefix(name, wrappers[i]); ok {
			name, i = rest, -1
		}
	}
	return name
}

// bareSide is the prefix that belongs before names which say neither encoder nor decoder: a file may hold one of the two alone.
func bareSide(c *source.Catalogue) string {
	for i := range c.Tensors {
		switch unwrapped(c.Tensors[i].Name) {
		case "embed_tokens.weight", "token_embedding.weight":
			return decoderPrefix
		}
	}
	return prefix
}
