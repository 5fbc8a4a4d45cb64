package recipe

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const twoArtifacts = `# The release.
artifact {
  source: "../models/base.onnx"
  output: "whisper/./base.npuw"
}
artifact: <source: '/tiny.onnx'; recipe: "whisper-encoder/f32", output: "tiny" ".npuw">
artifact { source: "m" source: "n/d.onnx" recipe: "../mine.txtpb" output: "whisper/small.npuw" compress: true }
`

func TestParseRelease(t *testing.T) {
	t.Parallel()
	r, err := ParseRelease("release.txtpb", []byte(twoArtifacts))
	if err != nil {
		t.Fatal(err)
	}
	want := []ReleaseArtifact{
		{Sources: []string{"../models/base.onnx"}, Output: "whisper/base.npuw", Line: 2},
		{Sources: []string{"/tiny.onnx"}, Recipe: "whisper-encoder/f32", Output: "tiny.npuw", Line: 6},
		{Sources: []string{"m", "n/d.onnx"}, Recipe: "../mine.txtpb", Output: "whisper/small.npuw", Compress: true, Line: 7},
	}
	if diff := cmp.Diff(want, r.Artifacts); diff != "" {
		t.Error(diff)
	}
}

// two is a release of two artifacts, with the outputs in lines 1 and 2.
func two(first, second string) string {
	return "artifact { source: 'm' output: '" + first + "' }\nartifact { source: 'm' output: '" + second + "' }"
}

var releaseErrors = []struct{ name, text, want string }{
	{"empty", "\n", `r.txtpb:2: the release has no artifacts; write artifact { source: "MODEL.onnx" output: "NAME.npuw" }`},
	{"unknown field", "artifact {\n  sauce: 'm'\n}", `r.txtpb:2: unknown field: sauce; near: source`},
	{"no source", "\nartifact { output: 'a.npuw' }", `r.txtpb:2: the artifact has no source; write source: "MODEL.onnx"`},
	{"an empty source", "artifact {\nsource: 'a'\nsource: '' output: 'a.npuw' }", `r.txtpb:3: the source is empty; write source: "MODEL.onnx"`},
	{"a source twice", "artifact {\nsource: 'a'\nsource: './a' output: 'a.npuw' }", `r.txtpb:3: the source "./a" is there already; write the encoder's file and the decoder's`},
	{"three sources", "artifact {\nsource: ['a', 'b',\n'c'] output: 'a.npuw' }", `r.txtpb:3: 3 sources; a model is one file, or two: its encoder and its decoder`},
	{"source with a NUL", "artifact {\nsource: 'a\\0' output: 'a.npuw' }", `r.txtpb:2: the source "a\x00" has a control character; write source: "MODEL.onnx"`},
	{
		"unknown recipe", "artifact { source: 'm'\n recipe: 'whisper-encoder/npu1_tiled' output: 'a.npuw' }",
		`r.txtpb:2: no built-in recipe is named "whisper-encoder/npu1_tiled"; there are whisper-encoder/npu1-tiled, whisper-encoder/npu2-tiled, ` +
			`whisper-decoder/npu1-tiled, whisper-encoder/npu1-int4, whisper-encoder/npu1-int8, whisper-encoder/npu1-source, whisper-encoder/npu2-bfp16, whisper-encoder/npu1-rowmajor, ` +
			`whisper/npu1-tiled, whisper-encoder/f32, whisper-decoder/f32, whisper-decoder-with-past/npu1-tiled, generic/npu1-tiled, whisper-encoder/npu1-rowmajor-bias, whisper-decoder-with-past/f32, whisper/f32, generic/f32; the path of a recipe file ends in .txtpb`,
	},
	{"recipe with a newline", "artifact { source: 'm' recipe: 'a\\n.txtpb' output: 'a.npuw' }", `r.txtpb:1: the recipe "a\n.txtpb" has a control character`},
	{"no output", "artifact { source: 'm' }", `r.txtpb:1: the output is empty; write output: "NAME.npuw"`},
	{"absolute output", two("a.npuw", "/a.npuw"), `r.txtpb:2: the output "/a.npuw" is not a path below the output folder`},
	{"output outside", two("a.npuw", "b/../../a.npuw"), `r.txtpb:2: the output "b/../../a.npuw" is not a path below the output folder`},
	{"a device of Windows", two("a.npuw", "b/con.npuw"), `r.txtpb:2: the output "b/con.npuw" has the name "con.npuw", which is a device to Windows; give it a name that every system takes`},
	{"a trailing space", two("a.npuw", "b /c.npuw"), `r.txtpb:2: the output "b /c.npuw" has the name "b ", which ends in a dot or a space: Windows drops it; give it a name that every system takes`},
	{"a temporary file", two("a.npuw", "b/.a.npuw.npuw-tmp-1.npuw"), `r.txtpb:2: the output "b/.a.npuw.npuw-tmp-1.npuw" has ".npuw-tmp-" in its name, as files have that are not finished; give it another`},
	{"a drive", two("a.npuw", "c:a.npuw"), `r.txtpb:2: the output "c:a.npuw" has ':' in a name, which not every system takes; give it a name that every system takes`},
	{"a backslash", two("a.npuw", `b\\\\a.npuw`), `r.txtpb:2: the output "b\\\\a.npuw" has '\\' in a name, which not every system takes; give it a name that every system takes`},
	{"another extension", two("a.npuw", "a.bin"), `r.txtpb:2: the output "a.bin" is not NAME.npuw`},
	{"no name", two("a.npuw", "b/.npuw"), `r.txtpb:2: the output "b/.npuw" is not NAME.npuw`},
	{"a folder", two("a.npuw", "b.npuw/"), `r.txtpb:2: the output "b.npuw/" is not NAME.npuw`},
	{"output twice", two("a.npuw", "A.npuw"), `r.txtpb:2: the output "A.npuw" is that of the artifact in line 1 too`},
	{"output twice by another path", two("b/a.npuw", "b/c/../a.npuw"), `r.txtpb:2: the output "b/a.npuw" is that of the artifact in line 1 too`},
	{"output that is a folder", two("B.npuw/c/a.npuw", "b.npuw"), `r.txtpb:2: the output "b.npuw" is a folder for the artifact in line 1`},
	{"folder that is an output", two("b.npuw", "b.npuw/c/a.npuw"), `r.txtpb:2: the output "b.npuw/c/a.npuw" has as a folder the output of the artifact in line 1`},
	{"too long", strings.Repeat(" ", 1<<20+1), `r.txtpb: the file has 1048577 bytes, at most 1048576 are allowed`},
}

func TestParseReleaseErrors(t *testing.T) {
	t.Parallel()
	for _, c := range releaseErrors {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := ParseRelease("r.txtpb", []byte(c.text))
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
