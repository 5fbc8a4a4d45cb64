package recipe

import (
	"strings"
	"testing"

	"npuw/artifact"
)

// scaledText is a contract of a GEMM over fc1 of a model of oddSizes, whose b has more fields.
func scaledText(b string) string {
	return `contract {
  name: "fc1" operation: "GEMM"
  shape { axis: "M" extent: 11 padded: 64 }
  shape { axis: "K" extent: 36 padded: 64 }
  shape { axis: "N" extent: 100 padded: 128 }
  argument { name: "a" index: 3 role: ACTIVATION format: BF16 axes: "MK" layout: "M* K*" }
  argument { name: "b" index: 4 role: WEIGHT axes: "KN" operand: "encoder.layers.{i}.fc1.weight" ` + b + ` }
  argument { name: "c" index: 5 role: OUTPUT format: F32 axes: "MN" layout: "M* N*" }
}`
}

// TestBindScaled binds what built-in recipes make to kernels that read it, and to some that read it otherwise.
func TestBindScaled(t *testing.T) {
	t.Parallel()
	const (
		int8s  = `format: I8 layout: "N* K* K8 N4 K8 N8" scales { group { axis: "N" size: 1 } }`
		int4s  = `format: U4 layout: "N* K* K4 N8 K8 N4" scales { format: BF16 zeros: true group { axis: "K" size: 32 } group { axis: "N" size: 1 } } `
		record = `record { codes: 1024 align: 64 planes: ["codes", "zeros", "scales"] }`
	)
	for _, c := range []struct{ recipe, b, want string }{
		{"npu1-int8", int8s, ""},
		{"npu2-bfp16", `format: BFP16 layout: "N* K* N4 K8 N8 K8"`, ""},
		{"npu1-int4", int4s + record, ""},
		{"npu1-int8", strings.Replace(int8s, "I8", "U8", 1), `k.txtpb:7: codes in u8 without zeros or minimums hold no negative value`},
		{"npu1-int8", `format: I8 layout: "N* K* K8 N4 K8 N8"`, `k.txtpb:7: elements of i8 are codes, which scales make values of`},
		{"npu1-int8", strings.Replace(int8s, "scales {", "scales { format: F16", 1), `scales f16 by [64 1] in K1 N128 at 8192 of 8448 bytes, the operand is values i8 in N4 K1 K8 N4 K8 N8 at 0, scales f32`},
		{"npu1-int8", strings.Replace(int8s, "scales {", `scales { layout: "N* N64@2 N2@1"`, 1), `k.txtpb:7: layout "N* N64@2 N2@1": column 7`},
		{"npu1-int8", strings.Replace(int8s, "scales {", `scales { layout: "N64@1 N2@64"`, 1), `argument "b" reads values i8 in N4 K1 K8 N4 K8 N8 at 0, scales f32 by [64 1] in N64@1 N2@64 K1 at 8192 of 8704 bytes, ` +
			`the operand is values i8 in N4 K1 K8 N4 K8 N8 at 0, scales f32 by [64 1] in K1 N128 at 8192 of 8704`},
		{"npu1-int4", int4s + strings.Replace(record, `"codes", "zeros", "scales"`, `"codes", "scales", "zeros"`, 1), `scales bf16 by [32 1] in N4 K2 N8 N4 at 512 of records of 640 bytes`},
		{"npu1-int4", int4s + record + " high_half_first: true", `reads values u4 high half first in`},
		{"npu1-int4", int4s, `zeros u4 by [32 1] in K2 N128 at 4608 of 4736 bytes, the operand is values u4 in N4 K2 K4 N8 K8 N4 at 0 of records of 640 bytes`},
		{"npu2-bfp16", `format: BFP16 layout: "N* K* K8 N4 K8 N8"`, `argument "b" reads layout N4 K1 K8 N4 K8 N8, the operand is in N4 K1 N4 K8 N8 K8`},
	} {
		r, err := Builtin("whisper-encoder/" + c.recipe)
		if err != nil {
			t.Fatal(err)
		}
		operands, err := r.Expand(encoder(oddSizes))
		if err != nil {
			t.Fatal(err)
		}
		x := &artifact.Index{Segments: []artifact.Segment{{Name: "s", MemoryGroup: artifact.NoGroup}}}
		for _, o := range operands {
			x.Operands = append(x.Operands, artifact.Operand{
				Name: o.Name, Encoding: o.Encoding, Format: o.Format, Layout: o.Layout, Bytes: o.Bytes, Planes: o.Planes,
			})
		}
		k, err := ParseKernels("k.txtpb", []byte(scaledText(c.b)))
		if err == nil {
			err = k.Bind(x)
		}
		if c.want == "" && (err != nil || len(x.Bindings) != 2) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s with %s:\n got %v\nwant %s", c.recipe, c.b, err, c.want)
		}
	}
}

// TestCodesAreWeights: activations have no scales.
func TestCodesAreWeights(t *testing.T) {
	t.Parallel()
	for change, want := range map[string]string{
		`role: ACTIVATION format: I8`:                         `k.txtpb:6: I8 is no format of argument "a"; write F32, F16, BF16 or BFP16`,
		`role: ACTIVATION format: I32`:                        `k.txtpb:6: I32 is no format of argument "a"; write F32, F16, BF16 or BFP16`,
		`role: ACTIVATION format: BF16 scales { }`:            `k.txtpb:6: scales make values of codes; bf16 holds values by itself`,
		`role: ACTIVATION format: BFP16`:                      `k.txtpb:6: layout M64 K8@1 K8@8 for argument "a": in bfp16`,
		`role: ACTIVATION format: BF16 high_half_first: true`: `k.txtpb:6: high_half_first is for codes of 4 bits; the format is bf16`,
	} {
		text := strings.Replace(scaledText(`format: BF16 layout: "K* N*"`), `role: ACTIVATION format: BF16`, change, 1)
		if change == `role: ACTIVATION format: BFP16` {
			text = strings.Replace(text, `"M* K*"`, `"M* K*@1 K8@8"`, 1)
		}
		_, err := ParseKernels("k.txtpb", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", change, err, want)
		}
	}
}
