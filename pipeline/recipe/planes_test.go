package recipe

import (
	"strconv"
	"strings"
	"testing"

	"npuw/artifact/plane"
	"npuw/pipeline/model"
)

// planeExamples are how a weight [N=20, K=36] is held, as an operand with axes KN. Fields begin in line 3; what is wanted is the
// storage and its bytes, or an error in r.txtpb.
var planeExamples = []struct{ name, fields, want string }{
	{"values", `format: F16 layout: "N* K* K8 N4"`, `1600 bytes: values f16 in N5 K5 K8 N4`},
	{"bfp16: blocks of 8 along K", `format: BFP16 layout: "N* K* N8 K8" rounding: NEAREST`, `1080 bytes: values bfp16 in N3 K5 N8 K8`},
	{"int8, one scale for all", `format: I8 scales { } layout: "K* N*"`, `772 bytes: values i8 in K36 N20 at 0, scales f32 by [36 20] in K1 N1 at 768`},
	{
		"int8, a scale a column, behind padding too", `format: I8 scales { group { axis: "N" size: 1 } format: F16 } layout: "N* K* N8"`,
		`944 bytes: values i8 in N3 K36 N8 at 0, scales f16 by [36 1] in K1 N24 at 896`,
	},
	{
		"int8, powers of two", `format: I8 scales { format: E8M0 } layout: "K* N*"`,
		`769 bytes: values i8 in K36 N20 at 0, scales e8m0 by [36 20] in K1 N1 at 768`,
	},
	{
		"int8 with zero points in groups of 16, of which the last has 4", `format: U8 scales { zeros: true group { axis: "K" size: 16 } group { axis: "N" size: 1 } } layout: "K* N*"`,
		`1084 bytes: values u8 in K36 N20 at 0, scales f32 by [16 1] in K3 N20 at 768, zeros u8 by [16 1] in K3 N20 at 1024`,
	},
	{
		"int4 in groups, scales column by column, the first code in the high half",
		`format: I4 high_half_first: true scales { format: BF16 layout: "N* K*" group { axis: "K" size: 12 } group { axis: "N" size: 1 } } layout: "N* K*"`,
		`504 bytes: values i4 high half first in N20 K36 at 0, scales bf16 by [12 1] in N20 K3 at 384`,
	},
	{
		"scales in an order of their own", `format: I8 scales { layout: "N* K* N4" group { axis: "K" size: 12 } group { axis: "N" size: 1 } } layout: "K* N*"`,
		`1008 bytes: values i8 in K36 N20 at 0, scales f32 by [12 1] in N5 K3 N4 at 768`,
	},
	{
		"an order of scales that is no layout", `format: NF4 scales { layout: "N4@*" group { axis: "N" size: 5 } } layout: "K* N*"`,
		`r.txtpb:3: layout "N4@*": column 4: found "*", expected an integer: axis N has no * digit to take a stride from`,
	},
	{
		"an axis with one group needs no digit", `format: NF4 scales { layout: "N*" group { axis: "N" size: 5 } } layout: "K* N*"`,
		`400 bytes: values nf4 in K36 N20 at 0, scales f32 by [36 5] in N4 K1 at 384`,
	},
	{
		"minimums", `format: U4 scales { format: BF16 minimums: BF16 group { axis: "K" size: 36 } group { axis: "N" size: 1 } } layout: "K* N*"`,
		`488 bytes: values u4 in K36 N20 at 0, scales bf16 by [36 1] in K1 N20 at 384, minimums bf16 by [36 1] in K1 N20 at 448`,
	},
	{
		"records in AMD's order", `format: U4 pad { axis: "K" multiple: 32 }
			scales { format: BF16 zeros: true group { axis: "K" size: 32 } group { axis: "N" size: 1 } }
			record { codes: 128 align: 64 planes: "codes" planes: "zeros" planes: "scales" } layout: "N* K* K32 N4"`,
		`1280 bytes: values u4 in N5 K2 K32 N4 at 0 of records of 128 bytes, 128 in each, ` +
			`scales bf16 by [32 1] in N5 K2 N4 at 66 of records of 128 bytes, 4 in each, ` +
			`zeros u4 by [32 1] in N5 K2 N4 at 64 of records of 128 bytes, 4 in each`,
	},
	{ // one digit of K goes over groups and inside them
		"records of rows, each with the scales of its groups", `format: I8 scales { format: F16 group { axis: "K" size: 12 } group { axis: "N" size: 1 } } record { codes: 36 } layout: "N* K*"`,
		`840 bytes: values i8 in N20 K36 at 0 of records of 42 bytes, 36 in each, ` +
			`scales f16 by [12 1] in N20 K3 at 36 of records of 42 bytes, 3 in each`,
	},
	{
		"records as q4nx has them: 4 columns by 36, minimums", `format: U4
			scales { format: BF16 minimums: BF16 layout: "N*" group { axis: "N" size: 1 } } record { codes: 144 planes: ["scales", "minimums", "codes"] } layout: "N* K* N4"`,
		`440 bytes: values u4 in N5 K36 N4 at 16 of records of 88 bytes, 144 in each, ` +
			`scales bf16 by [36 1] in N20 K1 at 0 of records of 88 bytes, 4 in each, ` +
			`minimums bf16 by [36 1] in N20 K1 at 8 of records of 88 bytes, 4 in each`,
	},

	{"codes without scales", `format: I4 layout: "K* N*"`, `r.txtpb:3: elements of i4 are codes, which scales make values of; write scales { group { axis: "K" size: 32 } } or the like`},
	{"scales of values", `format: BF16 scales { } layout: "K* N*"`, `r.txtpb:3: scales make values of codes; bf16 holds values by itself`},
	{"records of values", `format: BFP16 record { codes: 8 } layout: "K* N*"`, `r.txtpb:3: a record holds codes and scales; bfp16 holds values by itself`},
	{"scales as an operand", `format: E8M0 layout: "K* N*"`, `r.txtpb:3: E8M0 is no element format of an operand; write format: F32, F16, BF16 or BFP16, or with scales I8, U8, I4, U4 or NF4, or SOURCE`},
	{"high half of bytes", `format: I8 high_half_first: true scales { }`, `r.txtpb:3: high_half_first is for codes of 4 bits; the format is i8`},
	{"no negative codes", "format: U4\nscales { }", `r.txtpb:4: codes in u4 without zeros or minimums hold no negative value`},
	{"zeros of NF4", "format: NF4\nscales { zeros: true }", `r.txtpb:4: zeros in nf4 of codes in nf4; both in the same integer format were expected`},
	{"zeros and minimums", "format: U8\nscales { zeros: true minimums: F32 }", `r.txtpb:4: both zeros (u8) and minimums (f32); one of them was expected`},
	{"powers of two with zeros", "format: U8\nscales { zeros: true format: E8M0 }", `r.txtpb:4: scales in e8m0 with zeros or minimums; f32, f16 or bf16 were expected`},
	{"scales in integers", "format: U8\nscales { zeros: true\nformat: I8 }", `r.txtpb:5: scales in I8; write F32, F16, BF16 or E8M0`},
	{"minimums in integers", "format: U8\nscales {\nminimums: I8 }", `r.txtpb:5: minimums in I8; write F32, F16 or BF16`},
	{"group of no axis", "format: I8 scales { group { size: 4 } }", `r.txtpb:3: the axis of a group is "", one letter from A to Z was expected`},
	{"group of nothing", "format: I8 scales { group { axis: 'K' } }", `r.txtpb:3: a group of 0 along axis K; 1 to 4294967296 were expected`},
	{"two groups", "format: I8 scales { group { axis: 'K' size: 4 }\ngroup { axis: 'K' size: 2 } }", `r.txtpb:4: two groups along axis K`},
	{"group of another axis", "format: I8 layout: 'K* N*' scales {\ngroup { axis: 'M' size: 4 } }", `r.txtpb:4: a group along axis M, which w has not; its axes are "KN"`},
	{"scales without an axis", "format: I8 layout: 'K* N*' scales { group { axis: 'K' size: 4 } group { axis: 'N' size: 4 }\nlayout: 'K*' }", `r.txtpb:4: layout "K*" of the scales of w: it has no digit of axis N, along which there are 5 groups`},
	{"scales of another axis", "format: I8 layout: 'K* N*' scales { group { axis: 'K' size: 4 }\nlayout: 'K* M*' }", `r.txtpb:4: layout "K* M*" of the scales of w: invalid layout: "K* M*" has digits of axis "M", which the operand has not`},
	{"scales that ask for more", "format: I8 layout: 'K* N*' scales { group { axis: 'K' size: 4 }\nlayout: 'K* K4' }", `r.txtpb:4: layout "K* K4" of the scales of w: it asks for 12 groups along axis K, there are 9; pad the axis of the operand`},
	{"an odd number of zeros", "format: U4 layout: 'K* N*' scales { zeros: true group { axis: 'K' size: 4 } }", `r.txtpb:3: 9 zeros in u4 for w: two share a byte, so an even number was expected; pad an axis, or make smaller groups`},

	{"codes that are no neighbours", "format: I4 scales { }\nlayout: 'N* K*@1 K2@18'", `r.txtpb:4: layout N20 K18@1 K2@18 for w: in i4, 2 neighbours share a byte: the innermost digit should have stride 1 and a size that is a multiple of 2; it is K2@18`},
	{"an odd number of codes", "format: I4 scales { }\nlayout: 'N* K* N5'", `r.txtpb:4: layout N4 K36 N5 for w: in i4, 2 neighbours share a byte: the innermost digit should have stride 1 and a size that is a multiple of 2; it is N5@1`},
	{"bfp16 row-major", "format: BFP16\nlayout: 'K* N*'", `r.txtpb:4: layout K36 N20 for w: in bfp16, 8 neighbours share an exponent: the innermost digit should have stride 1 and a size that is a multiple of 8; it is N20@1`},
	{"padding of codes", "format: I8 layout: 'K* N*' scales { }\npad_value: 1", `r.txtpb:4: pad_value is 1; padding of i8 is zero bits`},
	{"NaN in codes", "format: I8 layout: 'K* N*' scales { }\nkeep_non_finite: true", `r.txtpb:4: i8 has no infinities and no NaN to keep`},
	{"rounding of bf16", "format: BF16 layout: 'K* N*'\nrounding: FLOOR", `r.txtpb:4: rounding is for BFP16; bf16 rounds to nearest, ties to even`},
	{"rounding by number", "format: BFP16 layout: 'K* N*'\nrounding: 7", `r.txtpb:4: rounding 7 is not known; write FLOOR or NEAREST`},

	{"record of nothing", "format: I8 scales { } record {\n}", `r.txtpb:3: a record of 0 codes; 1 to 4294967296 were expected: codes: 1024`},
	{"record of an odd number", "format: I4 scales { } record {\ncodes: 7 }", `r.txtpb:4: a record of 7 codes; two of i4 share a byte, so an even number was expected`},
	{"record aligned to too much", "format: I8 scales { } record { codes: 8\nalign: 1048577 }", `r.txtpb:4: records of multiples of 1048577 bytes, at most 1048576 are allowed`},
	{"record of an unknown plane", "format: I8 scales { } record { codes: 8 planes: 'codes'\nplanes: 'scale' }", `r.txtpb:4: planes ["codes" "scale"]: "scale"; each of "codes", "scales" once was expected`},
	{"record with a plane twice", "format: I8 scales { } record { codes: 8 planes: 'codes'\nplanes: 'codes' }", `r.txtpb:4: planes ["codes" "codes"]: "codes"; each of "codes", "scales" once was expected`},
	{"record without a plane", "format: U8 scales { zeros: true } record { codes: 8\nplanes: ['codes', 'scales'] }", `r.txtpb:4: planes ["codes" "scales"]; each of "codes", "scales", "zeros" once was expected`},
	{"record that does not divide", "format: I8 layout: 'K* N*' scales { }\nrecord { codes: 7 }", `r.txtpb:4: records of 7 codes: w has 720, which is no multiple`},
	{"record across rows", "format: I8 layout: 'N* K*' scales { group { axis: 'N' size: 1 } }\nrecord { codes: 48 }", `r.txtpb:4: records of 48 codes: layout N20 K36 of w has no pieces of so many; as many as some of its innermost digits hold, all of them or whole parts of the outermost of these, were expected`},
	{"record of a part of a digit", "format: I8 layout: 'N* K*' scales { group { axis: 'N' size: 1 } }\nrecord { codes: 10 }", `r.txtpb:4: records of 10 codes: layout N20 K36 of w has no pieces of so many; as many as some of its innermost digits hold, all of them or whole parts of the outermost of these, were expected`},
	{"record of half a group", "format: I8 layout: 'N* K*' scales { group { axis: 'N' size: 1 } }\nrecord { codes: 18 }", `r.txtpb:4: records of 18 codes: those of w, in layout N20 K36, do not hold whole groups with their scales, which are 20 in layout N20 K1`},
	{
		"record with the scales of others", "format: I8 layout: 'N* K*' scales { layout: 'K* N*' group { axis: 'N' size: 1 } group { axis: 'K' size: 9 } }\nrecord { codes: 36 }",
		`r.txtpb:4: records of 36 codes: those of w, in layout N20 K36, do not hold whole groups with their scales, which are 80 in layout K4 N20`,
	},
	{"record of an odd number of zeros", "format: U4 layout: 'N* K*' scales { zeros: true group { axis: 'N' size: 1 } }\nrecord { codes: 36 }", `r.txtpb:4: records of 36 codes: 1 zeros in u4 in each of w, and two share a byte; larger records were expected`},
	{"groups that cut digits", "format: I8 layout: 'N* K* N4 K4'\nscales { group { axis: 'K' size: 6 } } record { codes: 16 }", `r.txtpb:4: groups of [6 20] cut layout N5 K9 N4 K4 of w where it has no digit: the order of its scales in records cannot be told; state their layout`},
}

func TestPlanes(t *testing.T) {
	t.Parallel()
	for _, c := range planeExamples {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := "name: 'test/a'\noperand { parameter: 'w' axes: 'KN' segment: 's'\n" + c.fields + "\n}"
			m := &model.Model{Family: "test", Parameters: []model.Parameter{{Name: "w", Axes: "NK", Shape: []uint64{20, 36}}}}
			r, err := Parse("r.txtpb", []byte(text))
			var operands []Operand
			if err == nil {
				operands, err = r.Expand(m)
			}
			if strings.HasPrefix(c.want, "r.txtpb") {
				checkError(t, err, text, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s := operands[0].Storage()
			bytes, planes, _ := strings.Cut(c.want, " bytes: ")
			if got := s.String(); got != planes || bytes != strconv.FormatUint(s.Bytes, 10) {
				t.Errorf("\n got %d bytes: %s\nwant %s", s.Bytes, got, c.want)
			}
			for _, p := range operands[0].Planes {
				if p.PadBits != 0 || s.Encoding == plane.Scaled && s.Planes[0].RecordElements == 0 && p.Offset%planeAlign != 0 {
					t.Errorf("%v: pad bits %d, at %d", p.Role, p.PadBits, p.Offset)
				}
			}
			if wrong := wrongOperands(operands, m); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}
