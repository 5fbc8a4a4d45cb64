package report

import (
	"bytes"
	"errors"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
)

// TestPage holds the facts of the sample against its page.
func TestPage(t *testing.T) {
	t.Parallel()
	a := open(t, sampleIndex(t))
	page := write(t, "sample.npuw", a.Header, a.Index)
	text := words(page)
	for _, want := range []string{
		// The head.
		"npuw report sample.npuw whisper-encoder layers 3 eps 1e-05 note evil", "recipe whisper-encoder/mixed written by npuw, revision 3 digest " + a.Header.Digest.String(),
		"236 kB file 236,384 bytes, pages of 4,096", "185,384 parameters in 18 tensors", "31.9 % of the source as FP32 which has 742 kB, 3.14 times as much",
		"4.6 % padding 10.9 kB in and between operands", "17 operands in 6 segments", "∞ worst relative L2 error evil", "2 not finite values, in 1 operand",
		// The map.
		"source as FP32 742 kB this file 236 kB values 210 kB 88.9 % padding in operands 4.10 kB 1.7 % zeros between operands 6.83 kB 2.9 % instructions 4.10 kB 1.7 % " +
			"header and index 11.1 kB 4.7 %",
		"header 256 bytes at 0, then zeros", "layers.1 encoder.layers.1 45,056 bytes at 131,072 memory group 1 4 operands",
		"fc1 instructions 4,096 bytes at 225,280 no memory group instructions", "index 7,008 bytes at 229,376, to the end of the file",
		"encoder.layers.2 45.1 kB at 176,128 group 1",
		"out_proj encoder.layers.0.self_attn.out_proj.weight 9,472 bytes at 102,912 (+16,896) u4*bf16-zero N4 K2 K8 N8 K8 N4 K=128 N=128 relative L2 error 8.00e-2",
		// Errors.
		"2.00e-4 0.112 encoder.layers 0 1 2 q_proj.weight 7.00e-3 8.40e-3 9.80e-3 out_proj.weight 8.00e-2 9.60e-2 0.112 fc1.weight 4.50e-3 5.40e-3 6.30e-3 fc1.bias",
		"outside of layers encoder.conv1.weight 1.66e-3 encoder.conv1.bias 0 encoder.embed_positions.weight 1.31e-3 encoder.layer_norm.weight 1.70e-3 evil",
		"i8*f32 3 operands, 49,152 values, 8.25 bits each with padding bytes 50.7 kB 23.6 % relative L2 8.40e-3 mean 9.80e-3 worst",
		"bf16 4 operands, 37,288 values, 16.88 bits each with padding bytes 78.7 kB 36.7 % relative L2 ∞ mean ∞ worst",
		// Layouts.
		"N* K* K8 N8 K8 N4 7 operands, 139 kB, 65.0 % of all operands", "Drawn: N4 K4 K8 N8 K8 N4 for K=240→256 N=128 position = n/32*8192 + k/64*2048 + k/8%8*256 + n/4%8*32 + k%8*4 + n%4",
		"K=128 N=128 N4 K2 K8 N8 K8 N4 i8 3 49.2 kB encoder.layers.{0–2}.self_attn.q_proj.weight", "Order of the tiles of K8 N4 (K down, N across; the first of them)",
		"K* N* scales zeros 9 planes, 5.38 kB", "K=4 N=128 K4 N128 u4 zeros 3 768 B encoder.layers.{0–2}.self_attn.out_proj.weight", "N* 6 operands, 1.62 kB, 0.75 % of all operands position = n",
		// Contracts.
		"fc1 GEMM GELU shape M=50→64 K=128 N=128 kernel MLIR_AIE xclbin fc1.xclbin instructions segment fc1 instructions",
		"4 b weight bfp16 K=128 N=128 N16 K16 N8 K8 18.4 kB 1 encoder.layers.{0–2}.fc1.weight", "0 opcode scalar", "1 instr instructions 700 B none",
		"fc1.xclbin 6.68 kB 67690000000000000000000000000000 00000000000000020000000000000001", "encoder.final.gamma encoder.layers.0.fc1.weight",
		// The table.
		"outside of layers 5 operands 79.2 kB worst relative L2 ∞ encoder.conv1.weight K=240→256 N=128 bf16 N4 K4 K8 N8 K8 N4 65,536 8.30e-4 1.66e-3 0.99999862 99.8 %",
		"encoder.conv1.bias N=128 f32 N128 512 0 0 1 0 %", "encoder.layers.1. self_attn.out_proj.weight K=128 N=128 u4*bf16-zero N4 K2 K8 N8 K8 N4 9,472 4.80e-2 9.60e-2 0.99539200",
		"100 % 2 not finite",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(text, "left out") {
		t.Error("something was left out of a small artifact")
	}
	if again := write(t, "sample.npuw", a.Header, a.Index); again != page {
		t.Error("the same artifact gives another page")
	}
}

var (
	scripts = regexp.MustCompile(`(?s)<(script|style|svg)\b.*?</(script|style|svg)>`)
	texts   = regexp.MustCompile(`(title|content|class)="[^"]*"`)
	tags    = regexp.MustCompile(`<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:[^>"]|"[^"]*")*)>`)
)

// words is what a page says, without its pictures.
func words(page string) string {
	text := tags.ReplaceAllString(scripts.ReplaceAllString(page, " "), " ")
	for entity, r := range map[string]string{"&#43;": "+", "&#39;": "'", "&#34;": `"`, "&lt;": "<", "&gt;": ">", "&amp;": "&"} {
		text = strings.ReplaceAll(text, entity, r)
	}
	return strings.Join(strings.Fields(text), " ")
}

// checkMarkup wants every element to be closed where it should be, one script, and nothing that asks for more than the page.
func checkMarkup(t testing.TB, page string) {
	t.Helper()
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}
	var open []string
	for _, tag := range tags.FindAllStringSubmatch(scripts.ReplaceAllString(page, ""), -1) {
		name, attributes := strings.ToLower(tag[2]), texts.ReplaceAllString(tag[3], "")
		switch {
		case tag[1] == "/" && (len(open) == 0 || open[len(open)-1] != name):
			t.Fatalf("</%s> in %q", name, open)
		case tag[1] == "/":
			open = open[:len(open)-1]
		case !slices.Contains([]string{"meta", "br", "wbr", "input"}, name) && !strings.HasPrefix(tag[0], "<!"):
			open = append(open, name)
		}
		for _, bad := range []string{" src=", " on", "javascript:", "href=\"h", "ZgotmplZ", "url("} {
			if strings.Contains(attributes, bad) {
				t.Errorf("%s", tag[0])
			}
		}
	}
	if len(open) > 0 {
		t.Errorf("not closed: %q", open)
	}
	style := strings.Join(regexp.MustCompile(`(?s)<style>.*?</style>`).FindAllString(page, -1), "")
	if strings.Contains(style, "url(") || strings.Contains(style, "@import") || style == "" {
		t.Error("a style that asks for more")
	}
	if n := strings.Count(page, "://") - strings.Count(page, `xmlns="http://www.w3.org/2000/svg"`); n != 0 {
		t.Errorf("%d addresses", n)
	}
}

// TestHostileTexts: names from files are texts, wherever they stand.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	x := sampleIndex(t)
	x.Producer.Name, x.Producer.Recipe, x.Model.Family, x.Segments[0].Name = hostile, hostile, hostile, hostile
	x.Xclbins[0].Name, x.Contracts[0].Name, x.Contracts[0].Kernel, x.Contracts[0].Arguments[0].Name = hostile, hostile, hostile, hostile
	x.Model.Attributes[0].Name, x.Parameters[0].Name = hostile, hostile
	for i, kind := range []string{".1.", "."} {
		o := x.Operands[3+i]
		o.Name = hostile + kind + hostile
		x.Operands[3+i] = o
	}
	page := write(t, hostile+"\x1b[2J\u202e\xff.npuw", artifact.Header{PageBytes: 4096}, x)
	checkMarkup(t, page)
	checkMarkup(t, samplePage(t))
	if strings.Contains(page, "<img") || strings.ContainsAny(page, "\x1b\u202e") || !utf8.ValidString(page) {
		t.Error("a name has become more than a text")
	}
	if n := strings.Count(page, "evil&#34;&#39;&gt;&lt;script&gt;"); n < 20 {
		t.Errorf("the name is there %d times", n)
	}
}

// TestEmpty: an artifact without anything has a page.
func TestEmpty(t *testing.T) {
	t.Parallel()
	page := write(t, "empty.npuw", artifact.Header{FileBytes: 8192, PageBytes: 4096, IndexOffset: 4096, IndexBytes: 4096}, &artifact.Index{})
	checkMarkup(t, page)
	text := words(page)
	if !strings.Contains(text, "0 operands in 0 segments") || strings.Contains(text, "Operands") || strings.Contains(text, "NaN") {
		t.Error(text)
	}
	checkMarkup(t, write(t, "", artifact.Header{}, &artifact.Index{}))
}

// TestOddNumbers: what is measured may be any number, and an operand of a later version.
func TestOddNumbers(t *testing.T) {
	t.Parallel()
	x := sampleIndex(t)
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, 5e-324, math.MaxFloat64, math.Copysign(0, -1)}
	for i := range x.Operands {
		f := func(j int) float64 { return odd[(i*3+j*5+i/8)%len(odd)] }
		x.Operands[i].Statistics = element.Stats{
			Elements: 1, Inexact: math.MaxUint64, Underflowed: math.MaxUint64, NonFinite: math.MaxUint64,
			MaxAbsError: f(0), MaxAbsValue: f(1), SumXX: f(2), SumXD: f(3), SumDD: f(4),
		}
	}
	x.Operands[0].Encoding, x.Operands[1].Format = 200, 99
	x.Operands[2].Layout.Axes = []layout.Axis{{Name: 'A', Extent: 1 << 62, Padded: 1 << 62}}
	x.Operands[2].Layout.Digits = []layout.Digit{{Size: 1 << 31, Stride: 1 << 31}, {Size: 1 << 31, Stride: 1}}
	x.Parameters[0].Shape = []uint64{1 << 62}
	x.Parameters[1].Shape = []uint64{1 << 62}
	x.Contracts[0].Arguments[1].Format = 99
	page := write(t, "odd.npuw", artifact.Header{FileBytes: math.MaxUint64, PageBytes: 4096, RequiredFeatures: 6}, x)
	checkMarkup(t, page)
	for _, want := range []string{"format(99)", "not known to this version", "not a number", "A=4611686018427387904", "9.22 E parameters", "required 0x6"} {
		if !strings.Contains(words(page), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestWriterStops: what cannot be written is an error.
func TestWriterStops(t *testing.T) {
	t.Parallel()
	x, full := sampleIndex(t), errors.New("full")
	for _, left := range []int{0, 100, 50000} {
		if err := Write(&limited{left, full}, "x", artifact.Header{}, x); !errors.Is(err, full) {
			t.Errorf("after %d bytes: %v", left, err)
		}
	}
}

// limited fails after some bytes.
type limited struct {
	left int
	err  error
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, l.err
	}
	return len(b), nil
}

// TestPlanes: of an operand in records, what lies between them is no value.
func TestPlanes(t *testing.T) {
	t.Parallel()
	x := sampleIndex(t)
	a := open(t, x)
	s := measure(a.Header, a.Index)
	if all := s.values + s.padding + s.gaps + s.instructions + s.overhead; all != a.Header.FileBytes || s.file != all {
		t.Errorf("%+v: %d bytes of %d", s, all, a.Header.FileBytes)
	}
	for i := range a.Index.Operands {
		o := &a.Index.Operands[i]
		want := o.Bytes
		if o.Name == "encoder.conv1.weight" {
			want = 240 * 128 * 2
		}
		if got := valueBytes(o); got != want {
			t.Errorf("%s: %d bytes of values, want %d", o.Name, got, want)
		}
	}
	var b bytes.Buffer
	if err := Write(&b, "x", a.Header, a.Index); err != nil || b.Len() > 1<<20 {
		t.Errorf("%d bytes: %v", b.Len(), err)
	}
}

// TestHolds: a row names the parameters of an operand that is not one parameter under its own name.
func TestHolds(t *testing.T) {
	t.Parallel()
	x := &artifact.Index{}
	for _, name := range []string{"q", "k", "v", "out", "more", "most"} {
		x.Parameters = append(x.Parameters, artifact.Parameter{Name: "encoder.layers.0." + name})
	}
	for _, c := range []struct {
		name   string
		placed []int
		want   string
	}{
		{"encoder.layers.0.q", []int{0}, ""},
		{"encoder.layers.0.q", []int{0, 0}, ""},
		{"encoder.layers.0.q", []int{1}, "k"},
		{"encoder.layers.0.qkv", []int{0, 1, 1, 2}, "q, k, v"},
		{"joined", []int{0, 1}, "encoder.layers.0.q, encoder.layers.0.k"},
		{"encoder.layers.0.all", []int{0, 1, 2, 3, 4, 5}, "q, k, v, out, 2 more"},
		{"constant", nil, ""},
	} {
		o := artifact.Operand{Name: c.name}
		for _, p := range c.placed {
			o.Placements = append(o.Placements, artifact.Placement{Parameter: p})
		}
		if got := holds(x, &o); got != c.want {
			t.Errorf("%s of %v: %q, want %q", c.name, c.placed, got, c.want)
		}
	}
}
