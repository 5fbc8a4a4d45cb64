package recipe

import (
	"strings"
	"testing"

	"npuw/pipeline/model"
)

func TestTileOfOtherAxes(t *testing.T) {
	t.Parallel()
	// A rule without axes has those of each parameter, which are known late.
	const text = "name: 'test/a' target: 'npu1'\noperand { parameter: 'w' segment: 's' format: BF16 layout: 'P* N*'\ntile { m: 64 k: 64 n: 32 a: BF16 c: F32 } }"
	r, err := Parse("r.txtpb", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Expand(&model.Model{Family: "test", Parameters: []model.Parameter{{Name: "w", Axes: "PN", Shape: []uint64{64, 64}}}})
	checkError(t, err, text, `r.txtpb:3: a tile is of axes K and N, w has "PN"`)
}

// TestTiles has weights [N, K] in recipes for a target. The tile stands in line 4.
func TestTiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, target, fields, tile string
		n, k                       uint64
		want                       string
	}{
		{"in panels", "npu1", "format: BF16 layout: 'N* K* K8 N8 K8 N4'", "m: 64 k: 64 n: 32 a: BF16 c: F32", 2048, 512, ""},
		{"row-major", "npu1", "format: BF16 layout: 'K* N*' pad { axis: 'K' multiple: 64 }", "m: 64 k: 64 n: 32 a: BF16 c: F32", 2048, 513, ""},
		{"int8", "npu1", "format: I8 scales { } layout: 'N* K* K8 N4 K8 N8'", "m: 64 k: 64 n: 32 a: I8 c: I32", 64, 64, ""},
		{"codes made BF16", "npu1", "format: NF4 scales { } layout: 'N* K* K8 N8 K8 N4'", "m: 64 k: 64 n: 32 a: BF16 b: BF16 c: F32", 64, 64, ""},
		{"bfp16", "npu2", "format: BFP16 layout: 'N* K* N4 K8 N8 K8'", "m: 64 k: 64 n: 32 a: BFP16 c: BF16 r: 8 s: 8 t: 8", 64, 64, ""},
		{"no target", "", "format: BFP16 layout: 'N* K8'", "m: 1", 64, 8, ""},

		{"an unknown target", "npu3", "format: BF16 layout: 'N* K*'", "", 8, 8, `r.txtpb:1: no target is named "npu3"; there are npu1, npu2`},
		{"no format of A", "npu1", "format: BF16 layout: 'N* K*'", "m: 64 k: 64 n: 32 c: F32", 64, 64, `r.txtpb:4: a of the tile is in NONE; write a: BF16 or the like, what the kernel multiplies or yields`},
		{"powers of two as a result", "npu1", "format: BF16 layout: 'N* K*'", "m: 64 k: 64 n: 32 a: BF16 c: E8M0", 64, 64, `r.txtpb:4: c of the tile is in E8M0; write c: BF16 or the like, what the kernel multiplies or yields`},
		{"too large", "npu1", "format: BF16 layout: 'N* K*'", "m: 64 k: 64 n: 64 a: BF16 c: F32", 64, 64, `r.txtpb:4: the tile does not fit the target npu1: ` +
			`two buffers each of A (8192 bytes), B (8192) and C (16384) and the stack (1024) take 66560 bytes, a core has 65536`},
		{"no such product", "npu1", "format: BFP16 layout: 'N* K8'", "m: 64 k: 64 n: 32 a: BFP16 c: F32", 64, 8, `r.txtpb:4: the tile does not fit the target npu1: ` +
			`it does not multiply bfp16 by bfp16; it does bf16 by bf16, int8 by int8, int8 by int4, int16 by int16`},
		{"no such micro tile", "npu1", "format: BF16 layout: 'N* K*'", "m: 64 k: 64 n: 32 a: BF16 c: F32 r: 2 s: 8 t: 8", 64, 8, `r.txtpb:4: the tile does not fit the target npu1: ` +
			`it has no micro tile 2x8x8 for bf16 by bf16; it has 4x8x4, 4x8x8, 8x8x8, 8x8x4, 4x16x4, 4x16x8`},
		{"no multiple of the micro tile", "npu1", "format: BF16 layout: 'N* K*'", "m: 64 k: 60 n: 32 a: BF16 c: F32", 64, 60, `r.txtpb:4: the tile does not fit the target npu1: ` +
			`k=60 is no multiple of 8 (micro tiles of 4x8x4)`},
		{"no multiple of the tile", "npu1", "format: BF16 layout: 'K* N*'", "m: 64 k: 64 n: 32 a: BF16 c: F32", 64, 65, `r.txtpb:4: axis K of w is 65 long with its padding, ` +
			`which is no multiple of the tile's 64; write pad { axis: "K" multiple: 64 }`},
		{"no multiple of the tile's N", "npu1", "format: BF16 layout: 'K* N*'", "m: 64 k: 64 n: 32 a: BF16 c: F32", 40, 64, `r.txtpb:4: axis N of w is 40 long with its padding, ` +
			`which is no multiple of the tile's 32; write pad { axis: "N" multiple: 32 }`},
		{"f16, which no target multiplies", "npu1", "format: BF16 layout: 'N* K*'", "m: 64 k: 64 n: 32 a: F16 c: F32", 64, 64, `r.txtpb:4: the tile does not fit the target npu1: ` +
			`it does not multiply f16 by bf16; it does bf16 by bf16, int8 by int8, int8 by int4, int16 by int16`},
		{"a side left out", "npu1", "format: BF16 layout: 'N* K*'", "k: 64 n: 32 a: BF16 c: F32", 64, 64, `r.txtpb:4: the tile is 0 x 64 x 32; ` +
			`write m, k and n: the rows and columns of A, and the columns of B, that a core works on at a time`},
		{"other axes", "npu1", "format: BF16 layout: 'K* M*' axes: 'KM' merge { axis: 'M' of: 'N' }", "m: 64 k: 64 n: 32 a: BF16 c: F32", 64, 64, `r.txtpb:4: a tile is of axes K and N, the operand has "KM"`},
		{"panels that a column cannot reach", "npu1", "format: BF16 layout: 'N* K* K8 N8 K8 N4'", "m: 64 k: 64 n: 32 a: BF16 c: F32", 256, 1 << 15, `r.txtpb:4: of w, the panel that a column of npu1 ` +
			`takes after its first lies 8388608 bytes on (4 columns with panels of 32), and its shim steps by 4194304 at most; make panels smaller in the layout and the tile`},
		{"long panels, one for each column", "npu1", "format: BF16 layout: 'N* K* K8 N8 K8 N4'", "m: 64 k: 64 n: 32 a: BF16 c: F32", 128, 1 << 15, ""},
		{
			"the same as codes in records", "npu2", "format: U4 scales { format: BF16 zeros: true group { axis: 'K' size: 32 } group { axis: 'N' size: 1 } } record { codes: 1024 align: 64 } layout: 'N* K* K4 N8 K8 N4'",
			"m: 64 k: 64 n: 32 a: BF16 b: BF16 c: F32", 512, 1 << 15, `r.txtpb:4: of w, the panel that a column of npu2 ` +
				`takes after its first lies 5242880 bytes on (8 columns with panels of 32), and its shim steps by 4194304 at most; make panels smaller in the layout and the tile`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := "name: 'test/a' target: '" + c.target + "'\noperand { parameter: 'w' segment: 's'\n" + c.fields + "\ntile { " + c.tile + " } }"
			if !strings.Contains(c.fields, "axes:") {
				text = strings.Replace(text, "segment:", "axes: 'KN' segment:", 1)
			}
			m := &model.Model{Family: "test", Parameters: []model.Parameter{{Name: "w", Axes: "NK", Shape: []uint64{c.n, c.k}}}}
			r, err := Parse("r.txtpb", []byte(text))
			if err == nil {
				_, err = r.Expand(m)
			}
			if c.want != "" {
				checkError(t, err, text, c.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
