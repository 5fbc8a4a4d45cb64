package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact/xclbin/xclbintest"
	"npuw/schema/pyreader"
)

// Any flipped bit of any file is found; of the artifacts, whose every byte their own tests flip, those of some bytes.
func TestFlips(t *testing.T) {
	t.Parallel()
	o := bound(t)
	mustBuild(t, o)
	places := 40
	if testing.Short() {
		places = 4
	}
	for _, name := range files(t, o.Out) {
		path := filepath.Join(o.Out, filepath.FromSlash(name))
		pyreader.Damage(t, path)
		good, err := os.ReadFile(path)
		must(t, err)
		step := max(len(good)/places, 1)
		if len(good) > 100_000 {
			step = len(good) / min(places, 7)
		}
		for at := 0; at < len(good); at += step {
			bad := append([]byte{}, good...)
			bad[at] ^= 1 << (at % 8)
			write(t, path, string(bad))
			if err := Verify(t.Context(), o.Out); !errors.Is(err, ErrNotSound) || !strings.Contains(err.Error(), o.Out) {
				t.Errorf("%s: byte %d is flipped: %v", name, at, err)
			}
		}
		for _, bad := range []string{"", string(good[:len(good)-1]), string(good) + "\n"} {
			write(t, path, bad)
			if err := Verify(t.Context(), o.Out); err == nil {
				t.Errorf("%s: %d bytes of %d: no fault", name, len(bad), len(good))
			}
		}
		write(t, path, string(good))
	}
	must(t, Verify(t.Context(), o.Out))
}

// What is wrong with a set is named.
func TestVerifyFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		says  []string
	}{
		{"a file too many", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "models", "notes.txt"), "x") }, []string{"models/notes.txt: is not of the set"}},
		{"a file is missing", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "c.npuw"))) }, []string{"c.npuw: is missing"}},
		{"no digests", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, SumsName))) }, []string{"SHA256SUMS", "no such file"}},
		{"no listing", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, ListingName))) }, []string{"no set of a release is there"}},
		{"a link for a file", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "c.npuw"), filepath.Join(dir, "..", "c.npuw")))
			must(t, os.Symlink("../c.npuw", filepath.Join(dir, "c.npuw")))
		}, []string{"c.npuw: is neither a file nor a folder", "c.npuw: is missing"}},
		{"a link for a folder", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "models"), filepath.Join(dir, "..", "models")))
			must(t, os.Symlink("../models", filepath.Join(dir, "models")))
		}, []string{"models: is neither a file nor a folder", "models/b.npuw: is missing"}},
		{"two artifacts exchanged, and listed so", func(t *testing.T, dir string) {
			forge(t, dir, func(l *Listing) {
				a, c := l.Artifacts[0].File, l.Artifacts[1].File
				l.Artifacts[0].Bytes, l.Artifacts[0].SHA256 = c.Bytes, c.SHA256
				l.Artifacts[1].Bytes, l.Artifacts[1].SHA256 = a.Bytes, a.SHA256
			})
			for _, step := range [][2]string{{"a.npuw", "x"}, {"c.npuw", "a.npuw"}, {"x", "c.npuw"}} {
				must(t, os.Rename(filepath.Join(dir, step[0]), filepath.Join(dir, step[1])))
			}
		}, []string{"a.npuw: release.json does not say of it", "c.npuw: release.json does not say of it"}},
		{"another xclbin, listed so", func(t *testing.T, dir string) {
			s := xclbintest.MLIRAIE()
			s.UUID[0]++
			x, err := xclbintest.Encode(s)
			must(t, err)
			replaceKernel(t, dir, "kernels/gemm.xclbin", x)
		}, []string{`a.npuw: contract "fc1"`, "is not the xclbin that it is bound to"}},
		{"other instructions, listed so", func(t *testing.T, dir string) {
			replaceKernel(t, dir, "kernels/gemm.bin", []byte("12345679"))
		}, []string{`models/b.npuw: contract "fc1": kernels/gemm.bin: its instructions are not`}},
		{"another binding", func(t *testing.T, dir string) {
			forge(t, dir, func(l *Listing) { l.Artifacts[0].Kernels[0].Bindings[0].Index++ })
		}, []string{"a.npuw: release.json does not say of it"}},
		{"another revision", func(t *testing.T, dir string) { forge(t, dir, func(l *Listing) { l.Producer.Revision++ }) }, []string{"a.npuw: it was made by revision"}},
		{"another key", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, ListingName), `"key": "`, `"key": "0`)
		}, []string{"release.json: at byte"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := bound(t)
			mustBuild(t, o)
			test.spoil(t, o.Out)
			err := Verify(t.Context(), o.Out)
			if err == nil {
				t.Fatal("no fault")
			}
			for _, want := range test.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nexpected %q in it", err, want)
				}
			}
		})
	}
}

// sideshow is a context that does something when it is asked for the n-th time whether it is over, and every n times from then on.
type sideshow struct {
	context.Context
	n, asked int
	again    bool
	do       func()
}

func (s *sideshow) Err() error {
	if s.asked++; s.asked == s.n || s.again && s.asked%s.n == 0 {
		s.do()
	}
	return s.Context.Err()
}

// A set that is replaced while it is read is no fault: the one that takes its place is checked.
func TestVerifyWhileReplaced(t *testing.T) {
	t.Parallel()
	o, other := bound(t), folder(t, two)
	mustBuild(t, o)
	mustBuild(t, other)
	swap := func() {
		for _, step := range [][2]string{{o.Out, o.Out + "-x"}, {other.Out, o.Out}, {o.Out + "-x", other.Out}} {
			must(t, os.Rename(step[0], step[1]))
		}
	}
	for n := 1; ; n++ {
		ctx := &sideshow{Context: t.Context(), n: n, do: swap}
		if err := Verify(ctx, o.Out); err != nil {
			t.Fatalf("replaced at point %d: %v", n, err)
		}
		if ctx.asked < n {
			if n < 6 {
				t.Errorf("there were %d points", n)
			}
			break
		}
	}
	write(t, filepath.Join(o.Out, "x"), "not of the set")
	write(t, filepath.Join(other.Out, "x"), "not of the set")
	err := Verify(&sideshow{Context: t.Context(), n: 3, again: true, do: swap}, o.Out)
	if !strings.Contains(fmt.Sprint(err), "10 times; run again when no build does") {
		t.Errorf("replaced all the time: %v", err)
	}
	if err := Verify(t.Context(), filepath.Join(o.Out, ListingName)); err == nil || !strings.Contains(err.Error(), "is not a folder") {
		t.Errorf("a file: %v", err)
	}
}

// replaceKernel puts other bytes in place of a kernel's file, in all that the set says of it.
func replaceKernel(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	write(t, path, string(b))
	f, err := (*cache)(nil).fileDigest(t.Context(), path)
	must(t, err)
	forge(t, dir, func(l *Listing) {
		for i := range l.Kernels {
			if l.Kernels[i].Path == name {
				l.Kernels[i].Bytes, l.Kernels[i].SHA256 = f.Bytes, f.SHA256
			}
		}
		for _, a := range l.Artifacts {
			for _, k := range a.Kernels {
				for _, f2 := range []*KernelFile{k.Xclbin, k.Instructions} {
					if f2.Path == name {
						f2.SHA256 = f.SHA256
					}
				}
			}
		}
	})
}

// A listing that lies about paths, sizes or itself is refused before any file is looked at.
func TestHostileListing(t *testing.T) {
	t.Parallel()
	o := bound(t)
	mustBuild(t, o)
	text, err := os.ReadFile(filepath.Join(o.Out, ListingName))
	must(t, err)
	good := string(text)
	for _, test := range []struct{ from, to, want string }{
		{`"path": "a.npuw"`, `"path": "../a.npuw"`, "not a clean path"},
		{`"path": "a.npuw"`, `"path": "/etc/passwd"`, "not a clean path"},
		{`"path": "a.npuw"`, `"path": "C:a"`, "not every system"},
		{`"path": "a.npuw"`, `"path": "aux.npuw"`, "a device"},
		{`"path": "a.npuw"`, `"path": "SHA256SUMS"`, "one file to some systems"},
		{`"path": "a.npuw"`, `"path": "C.NPUW"`, "one file to some systems"},
		{`"path": "a.npuw"`, `"path": "MODELS"`, "is a file, and a folder"},
		{`"path": "a.npuw"`, `"path": "z.npuw"`, "sorted"},
		{`"bytes": `, `"bytes": -`, "bytes"},
		{`"bytes": `, `"bytes": 1e99, "x": `, "cannot unmarshal"},
		{`"format":`, `"extra": 1, "format":`, "unknown field"},
		{`"format":`, `"format": "x", "format":`, "not written as npuw writes it"},
		{"\n", "\n\n", "not written as npuw writes it"},
		{`"version": 1`, `"version": 2`, "this npuw reads"},
		{`"sha256": "`, `"sha256": "A`, "is no SHA-256"},
		{`"axes": "NCX"`, `"axes": "NXC"`, "its source is"},
		{`"operation": "GEMM"`, `"operation": null`, "not written as npuw writes it"},
		{`"path": "kernels/gemm.bin"`, `"path": "kernels/x.bin"`, "not among the kernels"},
	} {
		if !strings.Contains(good, test.from) {
			t.Fatalf("no %q in the listing", test.from)
		}
		if _, err := ParseListing([]byte(strings.Replace(good, test.from, test.to, 1))); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, expected %q", test.to, err, test.want)
		}
	}
	for what, bad := range map[string]string{
		"objects": strings.Replace(good, `"artifacts": [`, `"artifacts": [`+strings.Repeat("{},", maxObjects), 1),
		"values":  strings.Replace(good, `"artifacts": [`, `"artifacts": [{"parameters": [{"shape": [`+strings.Repeat("1,", maxCommas)+`1]}]}, `, 1),
	} {
		if _, err := ParseListing([]byte(bad)); err == nil || !strings.Contains(err.Error(), "more than 131072 objects, or 1048576 values") {
			t.Errorf("many %s: %v", what, err)
		}
	}
	if err := checkCounts([]byte(`{"a": "` + strings.Repeat(`{,\"`, maxCommas+1) + `"}`)); err != nil {
		t.Errorf("in a text: %v", err)
	}
	for _, bad := range []string{"", "{}", "null", "[]", good + "{}", good + "x", strings.Repeat("[", 1<<20)} {
		if _, err := ParseListing([]byte(bad)); err == nil {
			t.Errorf("%.20q was taken", bad)
		}
	}
}

func FuzzParseListing(f *testing.F) {
	a := Artifact{
		File: File{Path: "a.npuw", Bytes: 5}, Recipe: Recipe{Name: "r"}, Parameters: []Parameter{{Name: "w", Axes: "N", Shape: []uint64{2}, Type: "f32"}},
		Kernels: []Kernel{{Contract: "c", Xclbin: &KernelFile{Path: "kernels/x"}, Bindings: []Binding{{"w", "b", 1}}}},
	}
	p := producer(1)
	a.Source = a.sourceDigest()
	a.Key = a.key(p)
	l := Listing{Format: format, Version: formatVersion, Producer: p, Artifacts: []Artifact{a}, Kernels: []File{{Path: "kernels/x"}}}
	text, err := l.encode()
	if err != nil {
		f.Fatal(err)
	}
	if _, err := ParseListing(text); err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":"npuw-release","version":1,"artifacts":[{"path":"../x","kernels":[{"xclbin":{}}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseListing(text)
		if err != nil {
			return
		}
		again, err := l.encode()
		if err != nil || string(again) != string(text) {
			t.Errorf("it is written as %q (%v)", again, err)
		}
		files, err := l.files()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
				t.Errorf("the path %q was taken", f.Path)
			}
		}
		if back, err := parseSums(sums(files)); err != nil || fmt.Sprint(names(back)) != fmt.Sprint(names(files)) {
			t.Errorf("SHA256SUMS of %v is read as %v (%v)", files, back, err)
		}
	})
}

func names(files []File) (list []string) {
	for _, f := range files {
		list = append(list, f.Path)
	}
	return list
}

func FuzzParseSums(f *testing.F) {
	f.Add([]byte(strings.Repeat("0", 64) + "  a/b.npuw\n"))
	f.Add([]byte(strings.Repeat("0", 64) + " *../x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		files, err := parseSums(text)
		if err == nil && string(sums(files)) != string(text) {
			t.Errorf("%q was read as %v", text, files)
		}
	})
}
