package recipe

import (
	"errors"
	"strings"
	"testing"
)

// parseErrors are texts that Parse refuses, in the file "r.txtpb".
var parseErrors = []struct{ name, text, want string }{
	{"empty", "", `r.txtpb:1: the recipe's name is empty; write name: "FAMILY/NAME"`},
	{"name without a family", "\nname: 'tiled'\n", `r.txtpb:2: the recipe's name "tiled" is not FAMILY/NAME, both of letters, digits, dots, dashes and underscores`},
	{"description of two lines", "name: 'a/b'\ndescription: 'a\\nb'", `r.txtpb:2: the description "a\nb" has a control character; it is one line`},
	{"page size", "name: 'a/b'\npage_bytes: 8192", `r.txtpb:2: page_bytes is 8192, allowed are 4096, 16384 and 65536`},
	{"no rules", "name: 'a/b'\n# nothing\n", `r.txtpb:3: the recipe has no rules; write operand { ... }`},
	{"unknown field", "name: 'a/b'\noperand {\n  laout: 'N*'\n}", `r.txtpb:3: unknown field: laout; near: layout`},
	{"unknown field, unlike any", "name: 'a/b'\nxyzzy: 1", `r.txtpb:2: unknown field: xyzzy; there are name, description, page_bytes, operand, target`},
	{"unknown field of another kind of file", "contract { name: 'a' }", `r.txtpb:1: unknown field: contract; there are name, description, page_bytes, operand, target`},
	{"unknown field in a block", "name: 'a/b'\noperand {\n  name: 'é' pad { axis: 'K' xyzzy: 1 } }", `r.txtpb:3: unknown field: xyzzy; there are axis, multiple, to`},
	{"unknown field, near one of another block", "name: 'a/b'\noperand {\n  multipel: 3 }", `r.txtpb:3: unknown field: multipel; near: multiple`},
	{"unknown field in a list", "name: 'a/b'\noperand [{}, { pad [{ axis: 'K' }, {\n  tu: 3 }]", `r.txtpb:3: unknown field: tu; there are axis, multiple, to`},
	{"a number in quotes", "name: 'a/b'\npage_bytes: '4 K'\n# a comment\n", `r.txtpb:2: invalid value for uint64 type: '4 K'; write a whole number, without quotes`},
	{"a negative number", "name: 'a/b'\npage_bytes: -1\n", `r.txtpb:2: invalid value for uint64 type: -1; write a whole number`},
	{"a word for a number", weights("pad_value: none # or 0\nlayout: 'N*'"), `r.txtpb:6: invalid value for double type: none; write a number`},
	{"a word for yes", weights("keep_non_finite: yes"), `r.txtpb:6: invalid value for bool type: yes; write true or false`},
	{"text without quotes", "name: tiled\n", `r.txtpb:1: invalid value for string type: tiled; write text in double quotes`},
	{"text with a dot, without quotes", oneRule("segment: encoder.stem"), `r.txtpb:3: invalid scalar value: encoder.stem; text stands in double quotes`},
	{"a quote left open", oneRule("segment: 'stem\nformat: F32"), `r.txtpb:3: the text has no closing quote in its line`},
	{"a format in quotes", oneRule("format: 'BF16'  # 16 bits\nlayout: 'N*'"), `r.txtpb:3: invalid value for enum type: 'BF16'; write F32, F16, BF16 or BFP16, or with scales I8, U8, I4, U4 or NF4, without quotes`},
	{"unknown format", "name: 'a/b'\noperand {\n  format: BF61\n}", `r.txtpb:3: invalid value for enum type: BF61; write F32, F16, BF16 or BFP16, or with scales I8, U8, I4, U4 or NF4`},
	{"missing brace", "operand {\n  name: 'a'\noperand {}", `r.txtpb:3: unknown field: operand; it belongs elsewhere, or a brace before it is missing`},
	{"given twice", "name: 'a/b'\nname: 'a/c'", `r.txtpb:2: non-repeated field "name" is repeated`},
	{"wrong brace", "operand {\n>", `r.txtpb:2: mismatched close character '>'`},
	{"truncated", "operand {\n  name: 'a'\n\n", `r.txtpb:2: the file ends where a value, a brace or a bracket should follow`},
	{"not UTF-8", "name: 'a/\xff'", `r.txtpb:1: invalid UTF-8 detected`},
	{"terminal codes", "name: 'a/b'\n\x1b[2J", `r.txtpb:2: invalid field name: ?`},
	{"too long", strings.Repeat("#", 1<<20+1), `r.txtpb: the file has 1048577 bytes, at most 1048576 are allowed`},

	{"no parameter", oneRule(``), `r.txtpb:2: the operand takes no parameter; write parameter: "PATTERN"`},
	{"empty pattern", oneRule("parameter: 'a'\nparameter: ''"), `r.txtpb:4: the pattern is empty`},
	{"pattern with a newline", oneRule(`parameter: 'a\n'`), `r.txtpb:3: the pattern "a\n" has a control character`},
	{"long pattern", oneRule("parameter: '" + strings.Repeat("a", 1025) + "'"), `r.txtpb:3: the pattern has 1025 bytes, at most 1024 are allowed`},
	{"brace", oneRule("parameter: ['a',\n'a{0}']"), `r.txtpb:4: pattern "a{0}": a brace may only stand in {i} or {i:0-3}, where i is a word of lower-case letters`},
	{"open brace", oneRule(`parameter: 'a{i'`), `r.txtpb:3: pattern "a{i": a brace may only stand in {i} or {i:0-3}, where i is a word of lower-case letters`},
	{"adjacent wildcards", oneRule(`parameter: 'a*{i}'`), `r.txtpb:3: pattern "a*{i}": two wildcards must have something between them`},
	{"many wildcards", oneRule(`parameter: '*.*.*.*.*.*.*.*.*'`), `r.txtpb:3: pattern "*.*.*.*.*.*.*.*.*": it has 9 wildcards, at most 8 are allowed`},
	{"digits named twice", oneRule(`parameter: 'a{i}.{i}'`), `r.txtpb:3: pattern "a{i}.{i}": {i} stands in it twice; give each its own word`},
	{"many patterns", oneRule("parameter: ['a'" + strings.Repeat(",'a'", 4096) + "]"), `r.txtpb:2: more than 4096 patterns up to here`},

	{"no segment", oneRule(`parameter: 'a'`), `r.txtpb:2: the operand has no segment; write segment: "NAME"`},
	{"star in a segment", oneRule("parameter: 'a*'\nsegment: 's*'"), `r.txtpb:4: segment "s*": a * has no meaning here; name digits in the pattern, {i}, and repeat them`},
	{"control character in a segment", oneRule("parameter: 'a'\nsegment: 's\\x7f'"), `r.txtpb:4: the segment "s\x7f" has a control character`},
	{"long name", oneRule("parameter: 'a'\nsegment: 's'\nname: '" + strings.Repeat("n", 1025) + "'"), `r.txtpb:5: the name has 1025 bytes, at most 1024 are allowed`},
	{
		"word that a pattern has not", oneRule("parameter: 'a{i}'\nparameter: 'b'\nsegment: 's{i}'"),
		`r.txtpb:5: segment "s{i}" repeats {i}, which the pattern "b" in line 4 has not`,
	},

	{"no format", oneRule("parameter: 'a'\nsegment: 's'"), `r.txtpb:2: the operand has no element format; write format: F32, F16, BF16 or BFP16, or with scales I8, U8, I4, U4 or NF4, or SOURCE`},
	{"format NONE", oneRule("parameter: 'a'\nsegment: 's'\nformat: NONE"), `r.txtpb:5: the operand has no element format; write format: F32, F16, BF16 or BFP16, or with scales I8, U8, I4, U4 or NF4, or SOURCE`},
	{"format by number", oneRule("parameter: 'a'\nsegment: 's'\nformat: 4"), `r.txtpb:5: 4 is no element format of an operand; write format: F32, F16, BF16 or BFP16, or with scales I8, U8, I4, U4 or NF4, or SOURCE`},
	{"infinite padding", weights("pad_value: -inf"), `r.txtpb:6: pad_value is -Inf; padding must be finite`},
	{"NaN as padding", weights("pad_value: nan"), `r.txtpb:6: pad_value is NaN; padding must be finite`},
	{"padding beyond the format", weights("pad_value: 1e39"), `r.txtpb:6: pad_value 1e+39 is beyond the range of bf16`},
	{"padding beyond f16", strings.Replace(weights("pad_value: 65520"), "BF16", "F16", 1), `r.txtpb:6: pad_value 65520 is beyond the range of f16`},

	{"lower-case axes", weights("axes: 'kn'"), `r.txtpb:6: axes "kn" must be letters from A to Z`},
	{"repeated axis", weights("axes: 'KNK'"), `r.txtpb:6: axes "KNK" have K twice`},
	{"many axes", weights("axes: 'ABCDEFGHI'"), `r.txtpb:6: axes "ABCDEFGHI" are 9, at most 8 are allowed`},
	{"merge without axes", weights("merge { axis: 'K' of: 'CX' }"), `r.txtpb:6: a merge needs the operand's axes; write axes: "KN" or the like`},
	{"merge of an unknown axis", weights("axes: 'KN'\nmerge { axis: 'M' of: 'CX' }"), `r.txtpb:7: merge makes axis "M", which is not one of axes "KN"`},
	{"merge of two letters", weights("axes: 'KN'\nmerge { axis: 'KN' of: 'CX' }"), `r.txtpb:7: merge makes axis "KN", which is not one of axes "KN"`},
	{"merge twice", weights("axes: 'KN'\nmerge { axis: 'K' of: 'CX' }\nmerge { axis: 'K' of: 'N' }"), `r.txtpb:8: axis K is made by two merges`},
	{"merge of nothing", weights("axes: 'KN'\nmerge { axis: 'K' }"), `r.txtpb:7: merge makes axis K of nothing; write of: "CX" or the like`},
	{"merge that repeats", weights("axes: 'KN'\nmerge { axis: 'K' of: 'CXC' }"), `r.txtpb:7: merge of "CXC" have C twice`},
	{"axis in two merges", weights("axes: 'KN'\nmerge { axis: 'K' of: 'CX' }\nmerge { axis: 'N' of: 'NX' }"), `r.txtpb:8: axis X is in two merges`},

	{"no layout", weights("axes: 'KN'"), `r.txtpb:2: the operand has no layout; write layout: "K* N*" or the like`},
	{"layout that does not parse", weights("axes: 'KN'\nlayout: 'K* n*'"), `r.txtpb:7: layout "K* n*": column 4: found "n", expected an axis letter from A to Z`},
	{"layout of other axes", weights("axes: 'KN'\nlayout: 'K* C* N*'"), `r.txtpb:7: layout "K* C* N*" has digits of axis C, which is not one of axes "KN"`},
	{"layout without an axis", weights("axes: 'KN'\nlayout: 'K*'"), `r.txtpb:7: layout "K*" has no digit of axis N of axes "KN"; write N* where it belongs`},
	{"pad of an unknown axis", weights("layout: 'N*'\npad { axis: 'K' multiple: 64 }"), `r.txtpb:7: pad is for axis "K", which the layout "N*" has not`},
	{"pad to 0", weights("layout: 'N*'\npad { axis: 'N' }"), `r.txtpb:7: pad of axis N to a multiple of 0; allowed are 1 to 1048576`},
	{"pad to too many", weights("layout: 'N*'\npad { axis: 'N' multiple: 1048577 }"), `r.txtpb:7: pad of axis N to a multiple of 1048577; allowed are 1 to 1048576`},
	{"pad twice", weights("layout: 'N*'\npad { axis: 'N' multiple: 2 }\npad { axis: 'N' multiple: 2 }"), `r.txtpb:8: axis N is padded twice`},
}

// oneRule is a recipe with one rule, whose fields begin in line 3.
func oneRule(fields string) string { return "name: 'test/a'\noperand {\n" + fields + "\n}\n" }

// weights is a recipe with one rule, given fields from line 6 on.
func weights(fields string) string {
	return oneRule("parameter: '*.weight'\nsegment: 's'\nformat: BF16\n" + fields)
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, c := range parseErrors {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := Parse("r.txtpb", []byte(c.text))
			if err == nil {
				t.Fatalf("it was taken: %+v", r)
			}
			if err.Error() != c.want {
				t.Errorf("\n got %s\nwant %s", err, c.want)
			}
			if wrong := wrongError(err, []byte(c.text)); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	r, err := Parse("r.txtpb", []byte(weights("layout: 'N*'")))
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "test/a" || r.Family != "test" || r.PageBytes != 4096 || r.Description != "" {
		t.Errorf("%+v", r)
	}
	r, err = Parse("r.txtpb", []byte("page_bytes: 65536 description: '64K'\n"+weights("layout: 'N*'")))
	if err != nil || r.PageBytes != 65536 || r.Description != "64K" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestErrorColumn(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]int{
		"name: 'ä/b' colour: 1":     {1, 13}, // from the parser of the text
		"name: 'a/b' page_bytes: 5": {1, 13}, // from the check of what it says
	} {
		_, err := Parse("r.txtpb", []byte(text))
		var e *Error
		if !errors.As(err, &e) || [2]int{e.Line, e.Column} != want {
			t.Errorf("%q: %+v", text, e)
		}
	}
}

// A recipe's digest is that of what it says, not of how it is written.
func TestDigest(t *testing.T) {
	t.Parallel()
	digest := func(text string) [32]byte {
		r, err := Parse("r.txtpb", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return r.Digest
	}
	plain := `name: "f/n" operand { parameter: "a" parameter: "b" segment: "s" format: F32 layout: "N*" }`
	same := "# said\nname: 'f/n'\noperand: <\n  layout: 'N*' format: F32 # so\n  parameter: ['a', 'b'], segment: 's'\n>"
	if digest(plain) != digest(same) {
		t.Error("the same recipe, written otherwise, has another digest")
	}
	for _, edit := range [][2]string{{"f/n", "f/m"}, {"F32", "BF16"}, {`"a"`, `"c"`}} {
		if other := strings.Replace(plain, edit[0], edit[1], 1); digest(plain) == digest(other) {
			t.Errorf("%s has the digest of %s", other, plain)
		}
	}
}

// The built-in recipes that keep what a quantized source has say so.
func TestKeepsSource(t *testing.T) {
	t.Parallel()
	for _, r := range Builtins() {
		if want := strings.HasSuffix(r.Name, "-source"); r.KeepsSource() != want {
			t.Errorf("%s: %v", r.Name, r.KeepsSource())
		}
	}
}
