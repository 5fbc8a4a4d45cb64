package release

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"npuw/artifact"
	"npuw/artifact/xclbin/xclbintest"
	"npuw/pipeline"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/plan"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// little is a model that is packed in no time.
var little = whisperonnx.Config{DModel: 8, Layers: 1, Heads: 2, FFN: 9, Mels: 3, Positions: 4}

// build builds, and gives the paths of the artifacts that were packed.
func build(t *testing.T, o Options) (packed []string, err error) {
	t.Helper()
	o.at = func(point string) {
		if name, ok := strings.CutPrefix(point, "packed "); ok {
			packed = append(packed, name)
		}
	}
	err = Build(context.Background(), o)
	return packed, err
}

// mustBuild builds, checks the set, and gives what was packed.
func mustBuild(t *testing.T, o Options) string {
	t.Helper()
	packed, err := build(t, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), o.Out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(WorkFolder(o.Out)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the work folder is still there (%v)", err)
	}
	return strings.Join(packed, " ")
}

// setValue sets one value of a parameter in a model's file.
func setValue(t *testing.T, path, parameter string, at int64, value float32) {
	t.Helper()
	b, err := pipeline.Prepare(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	i := slices.IndexFunc(b.Plan.Index.Parameters, func(p artifact.Parameter) bool { return p.Name == parameter })
	d := b.Model.Parameters[i].Tensor.Data
	f, err := os.OpenFile(b.Catalogue.Files[d.File].Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint32(nil, math.Float32bits(value)), d.Offset+4*at); err != nil {
		t.Fatal(err)
	}
}

// Of ten models the seventh fails: nothing is published, six are kept, and the next try makes the other four.
func TestSeventhOfTen(t *testing.T) {
	t.Parallel()
	dir := pyreader.TempDir(t)
	o := Options{Manifest: filepath.Join(dir, "r.txtpb"), Out: filepath.Join(dir, "dist"), Cache: filepath.Join(dir, "cache")}
	text := ""
	for i := 1; i <= 10; i++ {
		c := little
		c.Seed = uint64(i)
		if err := whisperonnx.Write(filepath.Join(dir, fmt.Sprintf("%02d.onnx", i)), c); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("artifact { source: \"%02d.onnx\" output: \"sub/%02d.npuw\" }\n", i, i)
	}
	write(t, o.Manifest, text)
	if packed := mustBuild(t, o); strings.Count(packed, "npuw") != 10 {
		t.Fatalf("packed %s", packed)
	}
	before := snapshot(t, o.Out)

	for i := 1; i <= 10; i++ { // other values everywhere, and in the seventh one that is none
		setValue(t, filepath.Join(dir, fmt.Sprintf("%02d.onnx", i)), "encoder.conv1.bias", 0, 0.25)
	}
	setValue(t, filepath.Join(dir, "07.onnx"), "encoder.conv1.bias", 1, float32(math.NaN()))
	for range 2 {
		packed, err := build(t, o)
		for _, want := range []string{"r.txtpb:7: sub/07.npuw: ", "conv1.bias", "NaN", "nothing was published", "6 of 10 artifacts are finished and kept"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v, expected %q in it", err, want)
			}
		}
		if !errors.Is(err, source.ErrNotFinite) {
			t.Errorf("%v is not an ErrNotFinite", err)
		}
		if after := snapshot(t, o.Out); after != before {
			t.Error("the last set is not as it was")
		}
		if len(packed) != 6 && len(packed) != 0 {
			t.Errorf("packed %v", packed)
		}
		if kept := files(t, filepath.Join(WorkFolder(o.Out), "set")); len(kept) != 6 {
			t.Errorf("kept %v", kept)
		}
	}
	if err := Verify(t.Context(), o.Out); err != nil {
		t.Error(err)
	}
	list, err := Changes(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range list {
		if want := map[bool]State{true: Finished, false: Rebuild}[i < 6]; c.State != want {
			t.Errorf("%s: %s, expected %s", c.Path, c.State, want)
		}
	}
	setValue(t, filepath.Join(dir, "07.onnx"), "encoder.conv1.bias", 1, 0.5)
	if packed := mustBuild(t, o); packed != "sub/07.npuw sub/08.npuw sub/09.npuw sub/10.npuw" {
		t.Errorf("packed %s", packed)
	}
	if snapshot(t, o.Out) == before {
		t.Error("the new set is the old one")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// snapshot is the names and bytes of a folder.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range files(t, dir) {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %q\n", name, text)
	}
	return b.String()
}

// bound is a release of two models bound to a kernel, and one that is not.
func bound(t *testing.T) Options {
	t.Helper()
	dir := pyreader.TempDir(t)
	x, err := xclbintest.Encode(xclbintest.MLIRAIE())
	if err != nil {
		t.Fatal(err)
	}
	contracts := strings.Replace(fmt.Sprintf(kernelsText, 100), "\n  operation", "\n  xclbin: \"gemm.xclbin\" instructions: \"gemm.bin\"\n  operation", 1)
	contracts = strings.Replace(contracts, "  argument", "  argument { name: \"instr\" index: 1 role: INSTRUCTIONS }\n  argument", 1)
	other := whisperonnx.Odd
	other.Seed = 3
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "in"), 0o777),
		whisperonnx.Write(filepath.Join(dir, "in", "a.onnx"), whisperonnx.Odd),
		whisperonnx.Write(filepath.Join(dir, "in", "b.onnx"), other),
		whisperonnx.Write(filepath.Join(dir, "in", "c.onnx"), little),
		os.WriteFile(filepath.Join(dir, "in", "own.txtpb"), ownRecipe(t), 0o666),
		os.WriteFile(filepath.Join(dir, "in", "gemm.xclbin"), x, 0o666),
		os.WriteFile(filepath.Join(dir, "in", "gemm.bin"), []byte("12345678"), 0o666),
		os.WriteFile(filepath.Join(dir, "in", "kernels.txtpb"), []byte(contracts), 0o666),
		os.WriteFile(filepath.Join(dir, "in", "r.txtpb"), []byte(boundManifest), 0o666),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return Options{Manifest: filepath.Join(dir, "in", "r.txtpb"), Out: filepath.Join(dir, "dist"), Cache: filepath.Join(dir, "cache")}
}

const boundManifest = `artifact { source: "a.onnx" kernels: "kernels.txtpb" output: "a.npuw" }
artifact { source: "b.onnx" kernels: "kernels.txtpb" output: "models/b.npuw" }
artifact { source: "c.onnx" recipe: "own.txtpb" output: "c.npuw" }
`

// edit replaces a text in a file.
func edit(t *testing.T, path, from, to string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(from)) {
		t.Fatalf("%s has no %q", path, from)
	}
	write(t, path, strings.Replace(string(text), from, to, 1))
}

// A change of anything that an artifact is made of makes it, and no other, anew; what is no change does not.
func TestWhatIsRebuilt(t *testing.T) {
	t.Parallel()
	const all = "a.npuw models/b.npuw c.npuw"
	for _, test := range []struct {
		name   string
		change func(t *testing.T, o *Options, in string)
		packed string
		why    []string // of the first that is rebuilt
	}{
		{"nothing", func(*testing.T, *Options, string) {}, "", nil},
		{"the cache is gone", func(t *testing.T, o *Options, _ string) { must(t, os.RemoveAll(o.Cache)) }, "", nil},
		{"the cache is damaged", func(t *testing.T, o *Options, _ string) { write(t, o.Cache, cacheFirst+"x\n{}") }, "", nil},
		{"a file is touched", func(t *testing.T, _ *Options, in string) {
			text, err := os.ReadFile(filepath.Join(in, "a.onnx"))
			must(t, err)
			must(t, os.Remove(filepath.Join(in, "a.onnx")))
			write(t, filepath.Join(in, "a.onnx"), string(text))
		}, "", nil},
		{"the folder is moved", func(t *testing.T, o *Options, in string) {
			must(t, os.Rename(in, in+"-moved"))
			o.Manifest = filepath.Join(in+"-moved", "r.txtpb")
		}, "", nil},
		{"a source is renamed", func(t *testing.T, o *Options, in string) {
			must(t, os.Rename(filepath.Join(in, "a.onnx"), filepath.Join(in, "z.onnx")))
			edit(t, o.Manifest, "a.onnx", "z.onnx")
		}, "", nil},
		{"the same weights in another form", func(t *testing.T, _ *Options, in string) {
			c, err := whisperonnx.Odd.With("gemm,external")
			must(t, err)
			must(t, whisperonnx.Write(filepath.Join(in, "a.onnx"), c))
		}, "", nil},
		{"the same weights as a checkpoint", func(t *testing.T, o *Options, in string) {
			b := checkpoints.Safetensors(checkpoints.Whisper(whisperonnx.Odd, checkpoints.Odd))
			must(t, os.Mkdir(filepath.Join(in, "hf"), 0o777))
			write(t, filepath.Join(in, "hf", "a.safetensors"), string(b))
			write(t, filepath.Join(in, "hf", "config.json"), `{"encoder_attention_heads": 3, "decoder_attention_heads": 3}`)
			edit(t, o.Manifest, "a.onnx", "hf/a.safetensors")
		}, "", nil},
		{"an output is renamed", func(t *testing.T, o *Options, _ string) { edit(t, o.Manifest, "models/b.npuw", "y/x.npuw") }, "", nil},
		{"a comment in a recipe", func(t *testing.T, _ *Options, in string) {
			edit(t, filepath.Join(in, "own.txtpb"), "name:", "# said\nname:")
		}, "", nil},
		{"one weight", func(t *testing.T, _ *Options, in string) {
			setValue(t, filepath.Join(in, "b.onnx"), "encoder.layers.1.fc1.weight", 77, 0.125)
		}, "models/b.npuw", []string{"parameter encoder.layers.1.fc1.weight has other values"}},
		{"a recipe", func(t *testing.T, _ *Options, in string) {
			edit(t, filepath.Join(in, "own.txtpb"), `description: "`, `page_bytes: 16384 description: "`)
		}, "c.npuw", []string{"recipe whisper-encoder/own has changed"}},
		{"another recipe", func(t *testing.T, o *Options, _ string) { edit(t, o.Manifest, `"own.txtpb"`, `"whisper-encoder/f32"`) }, "c.npuw", []string{"the recipe is whisper-encoder/f32, it was whisper-encoder/own"}},
		{"a contract", func(t *testing.T, _ *Options, in string) {
			edit(t, filepath.Join(in, "kernels.txtpb"), `extent: 11`, `extent: 11 padded: 12`)
		}, "a.npuw models/b.npuw", []string{"the kernel contracts have changed"}},
		{"an xclbin", func(t *testing.T, _ *Options, in string) {
			s := xclbintest.MLIRAIE()
			s.UUID[0]++
			x, err := xclbintest.Encode(s)
			must(t, err)
			write(t, filepath.Join(in, "gemm.xclbin"), string(x))
		}, "a.npuw models/b.npuw", []string{`the xclbin of contract "fc1" has changed`}},
		{"instructions", func(t *testing.T, _ *Options, in string) {
			write(t, filepath.Join(in, "gemm.bin"), "12345679")
		}, "a.npuw models/b.npuw", []string{`the instructions of contract "fc1" have changed`}},
		{
			"the revision", func(t *testing.T, o *Options, _ string) { forge(t, o.Out, func(l *Listing) { l.Producer.Revision-- }) }, all,
			[]string{fmt.Sprintf("npuw's revision is %d, it was %d", plan.Revision, plan.Revision-1)},
		},
		{"a file of the set is damaged", func(t *testing.T, o *Options, _ string) { flip(t, filepath.Join(o.Out, "c.npuw"), 5000) }, "c.npuw", []string{"its file is damaged"}},
		{"a file of the set is gone", func(t *testing.T, o *Options, _ string) { must(t, os.Remove(filepath.Join(o.Out, "c.npuw"))) }, "c.npuw", []string{"its file is missing"}},
		{"the listing is damaged", func(t *testing.T, o *Options, _ string) { flip(t, filepath.Join(o.Out, ListingName), 20) }, all, []string{"there is no set yet"}},
		{"compressed, too", func(t *testing.T, o *Options, _ string) { edit(t, o.Manifest, `"c.npuw"`, `"c.npuw" compress: true`) }, "", nil},
		{"one more artifact", func(t *testing.T, o *Options, _ string) {
			write(t, o.Manifest, boundManifest+`artifact { source: "c.onnx" output: "d.npuw" }`)
		}, "d.npuw", []string{"it is new"}},
		{"one less", func(t *testing.T, o *Options, _ string) {
			write(t, o.Manifest, strings.Join(strings.SplitAfter(boundManifest, "\n")[:2], ""))
		}, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := bound(t)
			if packed := mustBuild(t, o); packed != all {
				t.Fatalf("packed %s", packed)
			}
			test.change(t, &o, filepath.Dir(o.Manifest))
			list, err := Changes(t.Context(), o)
			must(t, err)
			var planned, why []string
			for _, c := range list {
				if c.State == Rebuild {
					if planned = append(planned, c.Path); len(planned) == 1 {
						why = c.Why
					}
				}
			}
			if got := strings.Join(planned, " "); got != test.packed || !slices.Equal(why, test.why) {
				t.Errorf("planned %q because of %q, expected %q and %q", got, why, test.packed, test.why)
			}
			if packed := mustBuild(t, o); packed != test.packed {
				t.Errorf("packed %q, expected %q", packed, test.packed)
			}
			if testing.Short() {
				return
			}
			// What is taken over gives the same set as what is made anew.
			set := snapshot(t, o.Out)
			o.Out = filepath.Join(pyreader.TempDir(t), "fresh")
			mustBuild(t, o)
			if snapshot(t, o.Out) != set {
				t.Error("a set made from nothing is another one")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flip changes a bit of a file.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	b[at] ^= 1
	must(t, os.Remove(path)) // it may have another name
	write(t, path, string(b))
	if strings.HasSuffix(path, ".npuw") {
		pyreader.Damage(t, path)
	}
}

// forge changes a set's listing, and what follows from that.
func forge(t *testing.T, dir string, change func(*Listing)) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, ListingName))
	must(t, err)
	l, err := ParseListing(text)
	must(t, err)
	change(l)
	for i := range l.Artifacts {
		a := &l.Artifacts[i]
		a.Source = a.sourceDigest()
		a.Key = a.key(l.Producer)
	}
	text, err = l.encode()
	must(t, err)
	write(t, filepath.Join(dir, ListingName), string(text))
	if files, err := l.files(); err == nil {
		write(t, filepath.Join(dir, SumsName), string(sums(withListing(files, text))))
	}
}

// A build of what has not changed leaves the set alone.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	o := bound(t)
	mustBuild(t, o)
	before, err := os.Stat(o.Out)
	must(t, err)
	var progress bytes.Buffer
	o.Progress = &progress
	mustBuild(t, o)
	after, err := os.Stat(o.Out)
	must(t, err)
	if !os.SameFile(before, after) || !strings.Contains(progress.String(), "nothing has changed") {
		t.Errorf("the set was put in place again:\n%s", &progress)
	}
}

// What a set says: which operand binds to which kernel of which files.
func TestListing(t *testing.T) {
	t.Parallel()
	o := bound(t)
	mustBuild(t, o)
	text, err := os.ReadFile(filepath.Join(o.Out, ListingName))
	must(t, err)
	l, err := ParseListing(text)
	must(t, err)
	if got := fmt.Sprint(files(t, o.Out)); got != "[SHA256SUMS a.npuw c.npuw kernels/gemm.bin kernels/gemm.xclbin models/b.npuw release.json]" {
		t.Errorf("files %s", got)
	}
	k := l.Artifacts[0].Kernels[0]
	want := []Binding{
		{"encoder.layers.0.fc1.weight", "b", 4},
		{"encoder.layers.1.fc1.weight", "b", 4},
		{"encoder.layers.0.fc1.bias", "bias", 5},
		{"encoder.layers.1.fc1.bias", "bias", 5},
	}
	slices.SortFunc(k.Bindings, func(a, b Binding) int { return strings.Compare(a.Argument+a.Operand, b.Argument+b.Operand) })
	if k.Xclbin.Path != "kernels/gemm.xclbin" || len(k.Xclbin.UUID) != 32 || k.Instructions.Path != "kernels/gemm.bin" || !slices.Equal(k.Bindings, want) {
		t.Errorf("%+v", k)
	}
	for _, secret := range []string{filepath.Dir(o.Manifest), "onnx", "txtpb"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%q is in the listing", secret)
		}
	}
	if tool, err := exec.LookPath("sha256sum"); err == nil {
		cmd := exec.CommandContext(t.Context(), tool, "--strict", "-c", SumsName)
		cmd.Dir = o.Out
		if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != 6 {
			t.Errorf("sha256sum: %v\n%s", err, out)
		}
	}
}

// Two kernels of one name stand side by side.
func TestKernelsOfOneName(t *testing.T) {
	t.Parallel()
	o := bound(t)
	in := filepath.Dir(o.Manifest)
	must(t, os.MkdirAll(filepath.Join(in, "npu2"), 0o777))
	for _, name := range []string{"kernels.txtpb", "gemm.xclbin", "gemm.bin"} {
		text, err := os.ReadFile(filepath.Join(in, name))
		must(t, err)
		write(t, filepath.Join(in, "npu2", name), string(text))
	}
	write(t, filepath.Join(in, "npu2", "gemm.bin"), "abcdefgh")
	edit(t, o.Manifest, `kernels: "kernels.txtpb" output: "models`, `kernels: "npu2/kernels.txtpb" output: "models`)
	mustBuild(t, o)
	list := files(t, filepath.Join(o.Out, "kernels"))
	if len(list) != 3 || !strings.HasSuffix(list[0], "-gemm.bin") || !strings.HasSuffix(list[1], "-gemm.bin") || list[2] != "gemm.xclbin" {
		t.Errorf("kernels %v", list)
	}
}

// Two builds of one set at once: each comes to its end or says that the other is at work, and the set is whole.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	o := bound(t)
	for range 3 {
		var wg sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			wg.Go(func() { errs[i] = Build(context.Background(), o) })
		}
		wg.Wait()
		good := 0
		for _, err := range errs {
			if err == nil {
				good++
			} else if !strings.Contains(err.Error(), "another build makes this set") {
				t.Error(err)
			}
		}
		if good == 0 {
			t.Error("none came to its end")
		}
		must(t, Verify(t.Context(), o.Out))
		must(t, os.RemoveAll(o.Out))
	}
}
