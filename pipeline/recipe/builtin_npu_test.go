package recipe

import (
	"strings"
	"testing"
)

// described are operands of built-in recipes, on a model of oddSizes: d_model 36, 3 heads, ffn 100, mels 7, positions 11.
var describedBuiltins = map[string]map[string]string{
	"whisper-encoder/npu1-rowmajor-bias": {
		"encoder.layers.1.self_attn.qkv_proj.weight": `in encoder.layers.1: K=37→64 N=108→128, values bf16 in K64 N128
  encoder.layers.1.self_attn.q_proj.weight N[0:36]>N K[0:36]>K at 0,0 times 0.2886751345948129
  encoder.layers.1.self_attn.q_proj.bias N[0:36]>N at 36,0 times 0.2886751345948129
  encoder.layers.1.self_attn.k_proj.weight N[0:36]>N K[0:36]>K at 0,36
  encoder.layers.1.self_attn.v_proj.weight N[0:36]>N K[0:36]>K at 0,72
  encoder.layers.1.self_attn.v_proj.bias N[0:36]>N at 36,72
  0 at 36,36 of 1,36`,
		"encoder.layers.0.fc2.weight": `in encoder.layers.0: K=101→128 N=36→128, values bf16 in K128 N128
  encoder.layers.0.fc2.weight N[0:36]>N K[0:100]>K at 0,0
  encoder.layers.0.fc2.bias N[0:36]>N at 100,0`,
		"encoder.conv1.weight": `in encoder.stem: K=22→64 N=36→128, values bf16 in K64 N128
  encoder.conv1.weight N[0:36]>N C[0:7]>K*3 X[0:3]>K at 0,0
  encoder.conv1.bias N[0:36]>N at 21,0`,
		"encoder.layers.0.final_layer_norm.weight": `in encoder.layers.0: N=36→64, values bf16 in N64
  encoder.layers.0.final_layer_norm.weight N[0:36]>N at 0`,
	},
	"whisper-encoder/npu2-tiled": {
		"encoder.layers.0.fc1.weight": `in encoder.layers.0: K=36→64 N=100→128, values bf16 in N4 K1 K8 N4 K8 N8
  encoder.layers.0.fc1.weight N[0:100]>N K[0:36]>K at 0,0`,
		"encoder.conv2.weight": `in encoder.stem: K=108→128 N=36→64, values bf16 in N2 K2 K8 N4 K8 N8
  encoder.conv2.weight N[0:36]>N C[0:36]>K*3 X[0:3]>K at 0,0`,
	},
	"whisper-encoder/npu2-bfp16": {
		"encoder.layers.0.fc1.weight": `in encoder.layers.0: K=36→64 N=100→128, values bfp16 in N4 K1 N4 K8 N8 K8
  encoder.layers.0.fc1.weight N[0:100]>N K[0:36]>K at 0,0`,
		"encoder.layers.0.fc1.bias": `in encoder.layers.0: N=100→128, values bf16 in N128
  encoder.layers.0.fc1.bias N[0:100]>N at 0`,
	},
	"whisper-encoder/npu1-int8": {
		"encoder.layers.0.fc1.weight": `in encoder.layers.0: K=36→64 N=100→128, ` +
			`values i8 in N4 K1 K8 N4 K8 N8 at 0, scales f32 by [64 1] in K1 N128 at 8192
  encoder.layers.0.fc1.weight N[0:100]>N K[0:36]>K at 0,0`,
		"encoder.conv1.weight": `in encoder.stem: K=21→64 N=36→64, values i8 in N2 K1 K8 N4 K8 N8 at 0, scales f32 by [64 1] in K1 N64 at 4096
  encoder.conv1.weight N[0:36]>N C[0:7]>K*3 X[0:3]>K at 0,0`,
	},
	"whisper-encoder/npu1-source": { // of F32, which stays so
		"encoder.layers.0.fc2.weight": `in encoder.layers.0: K=100→128 N=36→64, values f32 in N2 K2 K8 N8 K8 N4
  encoder.layers.0.fc2.weight N[0:36]>N K[0:100]>K at 0,0`,
		"encoder.conv2.weight": `in encoder.stem: K=108→128 N=36→64, values bf16 in N2 K2 K8 N8 K8 N4
  encoder.conv2.weight N[0:36]>N C[0:36]>K*3 X[0:3]>K at 0,0`,
	},
	"whisper-encoder/npu1-int4": {
		"encoder.layers.0.fc2.weight": `in encoder.layers.0: K=100→128 N=36→64, values u4 in N2 K4 K4 N8 K8 N4 at 0 of records of 640 bytes, 1024 in each, ` +
			`scales bf16 by [32 1] in N2 K4 N8 N4 at 528 of records of 640 bytes, 32 in each, ` +
			`zeros u4 by [32 1] in N2 K4 N8 N4 at 512 of records of 640 bytes, 32 in each
  encoder.layers.0.fc2.weight N[0:36]>N K[0:100]>K at 0,0`,
		"encoder.conv2.weight": `in encoder.stem: K=108→128 N=36→64, values bf16 in N2 K2 K8 N8 K8 N4
  encoder.conv2.weight N[0:36]>N C[0:36]>K*3 X[0:3]>K at 0,0`,
	},
}

func TestBuiltinsDescribed(t *testing.T) {
	t.Parallel()
	m := encoder(oddSizes)
	for name, wanted := range describedBuiltins {
		r, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		operands, err := r.Expand(m)
		if err != nil {
			t.Fatal(err)
		}
		for operand, want := range wanted {
			got := described(operands, operand, m)
			if got = strings.TrimPrefix(got, operand+" "); got != want {
				t.Errorf("%s: %s\n got %s\nwant %s", name, operand, got, want)
			}
		}
	}
}
