package pack

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/plan"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew; refused where digests changed and plan.Revision did not")

const golden = "testdata/golden.txt"

// models are exports of two encoders, one of them in float32 and float16.
var models = []string{"whisper-tiny-encoder.onnx", "whisper-tiny-encoder-fp16.onnx", "whisper-tiny-dflt-encoder.onnx"}

// The bytes of real models' operands are those of the last revision. plan.Revision must rise with them: it is how a build
// knows that what it made before is out of date.
func TestGolden(t *testing.T) {
	t.Parallel()
	revision, want := readGolden(t)
	keys, got := digests(t)
	changed := 0
	for _, key := range keys {
		switch {
		case want[key] == "" && !*update:
			t.Errorf("%s: not in %s; run this test with -update", key, golden)
		case want[key] != "" && want[key] != got[key]:
			if changed++; changed <= 5 && !*update {
				t.Errorf("%s: digest %s, revision %d has %s", key, got[key], revision, want[key])
			}
		}
	}
	for key := range want {
		if got[key] == "" && !*update {
			t.Errorf("%s: in %s, and no longer made; run this test with -update", key, golden)
		}
	}
	switch {
	case changed > 0 && revision == plan.Revision:
		t.Fatalf("%d of %d digests are not those of revision %d: the same model and recipe give other bytes. If that is meant, raise plan.Revision, then run this test with -update",
			changed, len(keys), revision)
	case revision != plan.Revision && !*update:
		t.Fatalf("plan.Revision is %d, %s is of %d; run this test with -update", plan.Revision, golden, revision)
	case *update:
		writeGolden(t, keys, got)
	}
}

// digests packs the models by every built-in recipe, and gives the digest of each operand, and the one that names the whole
// file, the index included.
func digests(t *testing.T) (keys []string, byKey map[string]string) {
	t.Helper()
	byKey = map[string]string{}
	for _, name := range models {
		c, m := open(t, "../../testdata/whisper-tiny/"+name)
		for _, recipe := range recipes {
			f := verified(t, packed(t, c, planned(t, m, recipe), 2, windowElements))
			add := func(what string, d artifact.Digest) {
				key := fmt.Sprintf("%s %s %s", name, recipe, what)
				keys = append(keys, key)
				byKey[key] = d.String()
			}
			for i := range f.Index.Operands {
				o := &f.Index.Operands[i]
				add(o.Name, artifact.Sum(operandBytes(t, f, o)))
			}
			add("file", f.Header.Digest)
		}
	}
	return keys, byKey
}

func readGolden(t *testing.T) (revision int, byKey map[string]string) {
	t.Helper()
	byKey = map[string]string{}
	b, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if n, err := fmt.Sscanf(lines.Text(), "revision %d", &revision); n == 1 && err == nil {
			continue
		}
		if key, digest, ok := cutLast(lines.Text(), " "); ok {
			byKey[key] = digest
		}
	}
	return revision, byKey
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func writeGolden(t *testing.T, keys []string, byKey map[string]string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d\n", plan.Revision)
	for _, key := range keys {
		fmt.Fprintf(&b, "%s %s\n", key, byKey[key])
	}
	if err := os.WriteFile(golden, []byte(b.String()), 0o666); err != nil {
		t.Fatal(err)
	}
}

// Where an export keeps its weights, and of which opset it is, does not matter to the artifact.
func TestExportsOfOneModel(t *testing.T) {
	t.Parallel()
	for _, recipe := range recipes {
		var want []byte
		for _, name := range []string{"whisper-tiny-encoder.onnx", "whisper-tiny-encoder-ext.onnx", "whisper-tiny-op17-encoder.onnx"} {
			c, m := open(t, "../../testdata/whisper-tiny/"+name)
			got := read(t, packed(t, c, planned(t, m, recipe), 2, windowElements))
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: %s gives other bytes", recipe, name)
			}
		}
	}
}
