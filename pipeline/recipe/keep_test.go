package recipe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// noBlocks reads no block: nothing here packs.
type noBlocks struct{ source.BlockReader }

// coded is a parameter whose tensor, stored in the order of perm, is of codes in blocks along the tensor's axes.
func coded(name, axes string, shape []uint64, perm []int, s element.Scheme, block ...uint64) model.Parameter {
	stored := make([]uint64, len(shape))
	for i, t := range perm {
		stored[t] = shape[i]
	}
	return model.Parameter{Name: name, Axes: axes, Shape: shape, Perm: perm, Tensor: source.Tensor{
		Type: element.F32, Shape: stored, Stored: "codes", Codes: &source.Codes{Scheme: s, Block: block, Blocks: noBlocks{}},
	}}
}

var (
	u4  = element.Scheme{Codes: element.U4, Scales: element.F32, Zeros: element.U4}
	i8  = element.Scheme{Codes: element.I8, Scales: element.F16}
	nf4 = element.Scheme{Codes: element.NF4, Scales: element.F32}
)

// keepModel has those parameters that a text names, of every way in which a source holds values.
func keepModel(text string) *model.Model {
	plain := func(name string, f element.Format, stored string) model.Parameter {
		return model.Parameter{Name: name, Axes: "NK", Shape: []uint64{20, 36}, Perm: []int{0, 1}, Tensor: source.Tensor{
			Type: f, Shape: []uint64{20, 36}, Stored: stored,
		}}
	}
	linear := []uint64{20, 36}
	rounded := coded("rounded", "NK", linear, []int{0, 1}, u4, 1, 12)
	rounded.Tensor.Type = element.F16
	summed := u4
	summed.Zeros, summed.Minimums = 0, element.F32
	all := []model.Parameter{
		plain("f32", element.F32, ""), plain("f16", element.F16, ""), plain("bf16", element.BF16, ""), plain("f64", element.F64, ""),
		plain("fp4", element.F32, "FP4 codes in blocks of 64"),
		coded("grouped", "NK", linear, []int{0, 1}, u4, 1, 12),
		coded("turned", "NK", linear, []int{1, 0}, u4, 12, 1),
		coded("whole", "NK", linear, []int{0, 1}, i8, 99, 99),
		coded("columns", "NK", linear, []int{0, 1}, i8, 1, 36),
		coded("nf4", "NK", linear, []int{0, 1}, nf4, 2, 36),
		coded("conv", "NCX", []uint64{20, 4, 3}, []int{0, 1, 2}, i8, 1, 4, 3),
		coded("taps", "NCX", []uint64{20, 4, 3}, []int{0, 1, 2}, i8, 20, 4, 1),
		coded("pairs", "NCX", []uint64{20, 4, 3}, []int{0, 1, 2}, i8, 20, 2, 3),
		coded("apart", "NCX", []uint64{20, 4, 3}, []int{0, 1, 2}, i8, 20, 4, 2),
		coded("wide", "NK", []uint64{20, 36}, []int{0, 1}, u4, 1, 18),
		coded("ragged", "NK", linear, []int{0, 1}, u4, 1, 24),
		rounded,
		coded("summed", "NK", linear, []int{0, 1}, summed, 1, 12),
		coded("flat", "NK", linear, []int{0, 1}, u4, 12),
		coded("empty", "NK", linear, []int{0, 1}, u4, 0, 12),
	}
	unnamed := func(p model.Parameter) bool { return !strings.Contains(text, strconv.Quote(p.Name)) }
	return &model.Model{Family: "test", Parameters: slices.DeleteFunc(all, unnamed)}
}

// keepExamples are rules of format SOURCE: what they make, or the fault.
var keepExamples = []struct{ name, fields, want string }{
	{"f32", `parameter: "f32" axes: "KN" layout: "K* N*"`, "2880 bytes: values f32 in K36 N20"},
	{"f16, non-finite or not", `parameter: "f16" keep_non_finite: true layout: "N* K*"`, "1440 bytes: values f16 in N20 K36"},
	{"what is said of codes counts for nothing", `parameter: "bf16" layout: "N* K*" high_half_first: true scales { format: E8M0 group { axis: "M" size: 3 } } record { codes: 7 }`, "1440 bytes: values bf16 in N20 K36"},
	{"groups along K", `parameter: "grouped" axes: "KN" layout: "N* K* N4"`, "670 bytes: values u4 in N5 K36 N4 at 0, scales f32 by [12 1] in K3 N20 at 384, zeros u4 by [12 1] in K3 N20 at 640"},
	{"the other way round", `parameter: "turned" axes: "KN" layout: "N* K* N4"`, ""}, // as above
	{"one scale", `parameter: "whole" axes: "KN" layout: "K* N*"`, "770 bytes: values i8 in K36 N20 at 0, scales f16 by [36 20] in K1 N1 at 768"},
	{"one scale a column, padded", `parameter: "columns" axes: "KN" layout: "K* N*" pad { axis: "K" to: 40 } pad { axis: "N" to: 24 }`, "1008 bytes: values i8 in K40 N24 at 0, scales f16 by [40 1] in K1 N24 at 960"},
	{"smaller groups, wider scales, high half first", `parameter: "grouped" axes: "KN" layout: "N* K* N4" high_half_first: true scales { format: F32 layout: "N* K*" group { axis: "K" size: 6 } group { axis: "N" size: 1 } }`, "956 bytes: values u4 high half first in N5 K36 N4 at 0, scales f32 by [6 1] in N20 K6 at 384, zeros u4 high half first by [6 1] in N20 K6 at 896"},
	{"groups where the source has one for all", `parameter: "whole" layout: "N* K*" scales { format: F32 group { axis: "N" size: 4 } }`, "788 bytes: values i8 in N20 K36 at 0, scales f32 by [4 36] in N5 K1 at 768"},
	{"records", `parameter: "grouped" axes: "KN" layout: "N* K* K12 N4" record { codes: 48 align: 32 planes: ["codes", "zeros", "scales"] }`, "960 bytes: values u4 in N5 K3 K12 N4 at 0 of records of 64 bytes, 48 in each, scales f32 by [12 1] in N5 K3 N4 at 26 of records of 64 bytes, 4 in each, zeros u4 by [12 1] in N5 K3 N4 at 24 of records of 64 bytes, 4 in each"},
	{"records without zeros", `parameter: "columns" axes: "KN" layout: "N* K*" record { codes: 36 planes: ["scales", "zeros", "codes"] }`, "760 bytes: values i8 in N20 K36 at 2 of records of 38 bytes, 36 in each, scales f16 by [36 1] in N20 K1 at 0 of records of 38 bytes, 1 in each"},
	{"a convolution, a scale a channel", `parameter: "conv" axes: "KN" merge { axis: "K" of: "CX" } layout: "K* N*"`, "296 bytes: values i8 in K12 N20 at 0, scales f16 by [12 1] in K1 N20 at 256"},
	{"merged: blocks of the outer axis", `parameter: "pairs" axes: "KN" merge { axis: "K" of: "CX" } layout: "K* N*"`, "260 bytes: values i8 in K12 N20 at 0, scales f16 by [6 20] in K2 N1 at 256"},
	{"merged: blocks of the inner axis", `parameter: "taps" axes: "KN" merge { axis: "K" of: "XC" } layout: "K* N*"`, "262 bytes: values i8 in K12 N20 at 0, scales f16 by [4 20] in K3 N1 at 256"},
	{"side by side", `name: "j" along: "N" axes: "KN" layout: "N* K* N4" part { parameter: "grouped" } part { parameter: "turned" }`, "1340 bytes: values u4 in N10 K36 N4 at 0, scales f32 by [12 1] in K3 N40 at 768, zeros u4 by [12 1] in K3 N40 at 1280"},
	{"one scale each, side by side", `name: "j" along: "N" axes: "KN" layout: "K* N*" part { parameter: "whole" repeat: 2 }`, "1476 bytes: values i8 in K36 N40 at 0, scales f16 by [36 20] in K1 N2 at 1472"},
	{"and zeros behind them", `name: "j" along: "N" axes: "KN" layout: "K* N*" part { parameter: "whole" repeat: 2 } part { zeros: "5*3" }`, "1990 bytes: values i8 in K36 N55 at 0, scales f16 by [36 20] in K1 N3 at 1984"},
	{"sliced by groups", `name: "j" along: "K" axes: "KN" layout: "N* K* N4" part { parameter: "grouped" slice { axis: "K" begin: 12 } } part { parameter: "grouped" slice { axis: "K" end: 12 } }`, "670 bytes: values u4 in N5 K36 N4 at 0, scales f32 by [12 1] in K3 N20 at 384, zeros u4 by [12 1] in K3 N20 at 640"},
	{"cut where all share a scale", `name: "j" along: "N" axes: "KN" layout: "N* K*" part { parameter: "whole" slice { axis: "N" begin: 8 } } part { parameter: "whole" slice { axis: "N" end: 8 } }`, "772 bytes: values i8 in N20 K36 at 0, scales f16 by [36 12] in K1 N2 at 768"},
	{"ordered by groups", `parameter: "nf4" layout: "N* K* K2" order { axis: "N" index: [2, 3, 0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19] }`, "424 bytes: values nf4 in N20 K18 K2 at 0, scales f32 by [2 36] in N10 K1 at 384"},

	{"f64", `parameter: "f64" layout: "N* K*"`, `r.txtpb:4: f64 is held in f64, which is no format of an operand; write a rule for it that states a format`},
	{"what no operand holds", `parameter: "fp4" layout: "N* K*"`, `r.txtpb:4: fp4 is held as FP4 codes in blocks of 64, which no operand can hold as it is; write a rule for it that states a format: F32 holds its values exactly`},
	{"values that are rounded", `parameter: "rounded" layout: "N* K*"`, `r.txtpb:4: rounded is held as codes whose values are in f16, where those of an operand are in f32; write a rule for it that states a format: F16 holds its values exactly`},
	{"minimums in the source", `parameter: "summed" layout: "N* K*"`, `r.txtpb:4: summed is held as codes in u4*f32+f32, which are not kept; write a rule for it that states a format: F32 holds its values exactly`},
	{"blocks of fewer axes", `parameter: "flat" layout: "N* K*"`, `r.txtpb:4: flat is held as codes in blocks of [12], which are none of a tensor of shape [20 36]; write a rule for it that states a format: F32 holds its values exactly`},
	{"blocks of nothing", `parameter: "empty" layout: "N* K*"`, `r.txtpb:4: empty is held as codes in blocks of [0 12], which are none of a tensor of shape [20 36]; write a rule for it that states a format: F32 holds its values exactly`},

	{"padding of a value", `parameter: "f32" layout: "N* K*" pad_value: 0`, `r.txtpb:5: pad_value stands beside format: SOURCE, which keeps what the source has; state a format to compute anything`},
	{"rounding", `parameter: "f32" layout: "N* K*" rounding: FLOOR`, `r.txtpb:5: rounding stands beside format: SOURCE, which keeps what the source has; state a format to compute anything`},
	{"a bias", `name: "j" along: "N" axes: "KN" layout: "N* K*" bias_row: "K" part { parameter: "f32" }`, `r.txtpb:5: bias_row stands beside format: SOURCE, which keeps what the source has; state a format to compute anything`},
	{"scaled", `parameter: "f32" layout: "N* K*" scale: "2"`, `r.txtpb:5: scale would round what format: SOURCE keeps as it is; state a format to compute anything`},
	{"a scaled part", `name: "j" along: "N" layout: "N* K*" part { parameter: "f32" } part { parameter: "f32" scale: "1" }`, `r.txtpb:5: scale would round what format: SOURCE keeps as it is; state a format to compute anything`},
	{"folded", `name: "j" along: "N" layout: "N* K*" part { parameter: "f32" fold { gamma: "f16" } }`, `r.txtpb:5: fold would round what format: SOURCE keeps as it is; state a format to compute anything`},
	{"zeros", `parameter: "grouped" layout: "N* K* K2" scales { zeros: true }`, `r.txtpb:5: with format: SOURCE there are zeros where the source has some; leave them out here`},
	{"minimums", `parameter: "grouped" layout: "N* K* K2" scales { minimums: F32 }`, `r.txtpb:5: with format: SOURCE codes have scales and zeros as the source has them, never minimums`},
	{"scales in integers", `parameter: "grouped" layout: "N* K* K2" scales { format: I8 }`, `r.txtpb:5: scales in I8; write F32, F16, BF16 or E8M0, or leave it to the source`},
	{"scales as the source", `parameter: "grouped" layout: "N* K* K2" scales { format: SOURCE }`, `r.txtpb:5: scales in SOURCE; write F32, F16, BF16 or E8M0, or leave it to the source`},
	{"two groups along an axis", `parameter: "grouped" layout: "N* K* K2" scales { group { axis: "K" size: 4 } group { axis: "K" size: 4 } }`, `r.txtpb:5: two groups along axis K`},
	{"a record without zeros", `parameter: "grouped" layout: "N* K* K2" record { codes: 72 planes: ["codes", "scales"] }`, `r.txtpb:5: planes ["codes" "scales"]; each of "codes", "scales", "zeros" once was expected`},

	{"scales in another format", `parameter: "whole" layout: "N* K*" scales { format: BF16 }`, `r.txtpb:5: scales in bf16, those of whole are in f16; write that, or F32, or leave it to the source`},
	{"other groups", `parameter: "grouped" layout: "N* K* K2" scales { group { axis: "K" size: 32 } group { axis: "N" size: 1 } }`, `r.txtpb:5: groups of 32 along axis K, the source of grouped has groups of 12; write that, or a divisor of it, or leave groups to the source`},
	{"a group left out", `parameter: "grouped" layout: "N* K* K2" scales { group { axis: "K" size: 12 } }`, `r.txtpb:5: no group along axis N, the source of grouped has groups of 1; write group { axis: "N" size: 1 }, or leave all groups to the source`},
	{"a group of another axis", `parameter: "grouped" layout: "N* K* K2" scales { group { axis: "M" size: 12 } }`, `r.txtpb:5: a group along axis M, which grouped has not; its axes are "NK"`},
	{"a record of an odd number", `parameter: "grouped" layout: "N* K* K2" record { codes: 3 }`, `r.txtpb:5: a record of 3 codes; two of u4 share a byte, so an even number was expected`},
	{"an odd number of zeros", `parameter: "grouped" layout: "N* K* K2" slice { axis: "K" end: 12 } slice { axis: "N" end: 3 }`, `r.txtpb:5: 3 zeros in u4 for grouped: two share a byte, so an even number was expected; pad an axis, or make smaller groups`},
	{"codes beside values", `name: "j" along: "N" layout: "N* K*" part { parameter: "f32" } part { parameter: "columns" }`, `r.txtpb:4: the source has values in f32 of f32, and codes in i8*f16 of columns; parts that are kept as they are should be alike`},
	{"values in two formats", `name: "j" along: "N" layout: "N* K*" part { parameter: "f32" } part { parameter: "f16" }`, `r.txtpb:4: the source has values in f32 of f32, and values in f16 of f16; parts that are kept as they are should be alike`},
	{"codes in two schemes", `name: "j" along: "N" layout: "N* K*" part { parameter: "grouped" } part { parameter: "nf4" }`, `r.txtpb:4: the source has codes in u4*f32-zero of grouped, and codes in nf4*f32 of nf4; parts`},
	{"two sizes of groups", `name: "j" along: "N" layout: "N* K* K2" part { parameter: "grouped" } part { parameter: "wide" }`, `r.txtpb:5: along axis K, the source has groups of 12 of grouped, and of 18 of wide; parts that are kept as they are should be alike`},
	{"a slice that cuts groups", `parameter: "grouped" layout: "N* K* K2" slice { axis: "K" begin: 6 }`, `r.txtpb:5: along axis K, indices 6 to 35 of K cut the source's groups of 12 of grouped`},
	{"a slice that ends inside a group", `parameter: "grouped" layout: "N* K* K2" slice { axis: "K" end: 30 }`, `r.txtpb:5: along axis K, indices 0 to 29 of K cut the source's groups of 12 of grouped`},
	{"a part inside a group", `name: "j" along: "K" layout: "N* K* K2" part { parameter: "ragged" repeat: 2 }`, `r.txtpb:5: ragged begins at index 36 of axis K, inside a group of 24; what is kept as it is should begin with a group`},
	{"zeros inside a group", `name: "j" along: "K" layout: "N* K* K2" part { parameter: "ragged" } part { zeros: "18" }`, `r.txtpb:3: zeros begin at index 36 of axis K, inside a group of 24; what is kept as it is should begin with a group`},
	{"an order that cuts groups", `parameter: "nf4" layout: "N* K* K2" slice { axis: "N" end: 4 } order { axis: "N" index: [3, 2, 1, 0] }`, `r.txtpb:5: along axis N, indices 0 to 0 of N cut the source's groups of 2 of nf4`},
	{"merged: blocks that lie apart", `parameter: "taps" axes: "KN" merge { axis: "K" of: "CX" } layout: "K* N*"`, `r.txtpb:5: along axis K, the source's groups of 4 along C lie apart, inside an axis that has several of taps`},
	{"merged: blocks that are not whole", `parameter: "apart" axes: "KN" merge { axis: "K" of: "CX" } layout: "K* N*"`, `r.txtpb:5: along axis K, indices 0 to 2 of X cut the source's groups of 2 of apart`},
}

// keepRecipe is a recipe of one rule.
func keepRecipe(fields string) string {
	return "name: 'test/a'\n\noperand { segment: 's'\nformat: SOURCE\n" + fields + "\n}"
}

func TestKeep(t *testing.T) {
	t.Parallel()
	before := ""
	for _, c := range keepExamples {
		if c.want == "" {
			c.want = before
		}
		before = c.want
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := keepRecipe(c.fields)
			m := keepModel(c.fields)
			r, err := Parse("r.txtpb", []byte(text))
			var operands []Operand
			if err == nil {
				operands, err = r.Expand(m)
			}
			if strings.HasPrefix(c.want, "r.txtpb") {
				if err == nil || !strings.HasPrefix(err.Error(), c.want) {
					t.Errorf("\n got %v\nwant %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s := operands[0].Storage()
			if got := fmt.Sprintf("%d bytes: %s", s.Bytes, s.String()); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
			if operands[0].Kept != strings.Contains(c.want, "scales") {
				t.Errorf("kept: %v", operands[0].Kept)
			}
			if wrong := wrongOperands(operands, m); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// SOURCE is the format of an operand, and of nothing else.
func TestSourceIsNoOtherFormat(t *testing.T) {
	t.Parallel()
	operand := func(fields string) string {
		return "name: 'test/a' target: 'npu1'\noperand { segment: 's' parameter: 'grouped' axes: 'KN' layout: 'N* K* N2' " + fields + " }"
	}
	for text, want := range map[string]string{
		operand("format: U4 scales { format: SOURCE zeros: true }"):         `r.txtpb:2: scales in SOURCE; write F32, F16, BF16 or E8M0`,
		operand("format: U4 scales { minimums: SOURCE }"):                   `r.txtpb:2: minimums in SOURCE; write F32, F16 or BF16`,
		operand("format: BF16 tile { m: 64 k: 64 n: 32 a: SOURCE }"):        `r.txtpb:2: a of the tile is in SOURCE; write a: BF16 or the like, what the kernel multiplies or yields`,
		operand("format: SOURCE tile { m: 64 k: 64 n: 32 a: BF16 c: F32 }"): `r.txtpb:2: b of the tile is in NONE; write b: BF16 or the like, what the kernel multiplies or yields`,
	} {
		_, err := Parse("r.txtpb", []byte(text))
		checkError(t, err, text, want)
	}
	_, err := ParseKernels("k.txtpb", []byte(`contract { name: "c" operation: "GEMM" shape { axis: "K" extent: 8 } shape { axis: "N" extent: 8 }
		argument { name: "b" index: 1 role: WEIGHT format: SOURCE axes: "KN" layout: "K* N*" } }`))
	if err == nil || !strings.Contains(err.Error(), `SOURCE is no format of argument "b"`) {
		t.Error(err)
	}
}
