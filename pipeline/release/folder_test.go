package release

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A folder in which something would be lost is not replaced.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		make func(t *testing.T, o *Options)
		says []string // empty: it is replaced
	}{
		{
			"a file beside a set", func(t *testing.T, o *Options) { mustBuild(t, *o); write(t, filepath.Join(o.Out, "notes.txt"), "x") },
			[]string{"notes.txt: is not of the set in", "move it elsewhere", "-out"},
		},
		{"a file in a folder of a set", func(t *testing.T, o *Options) { mustBuild(t, *o); write(t, filepath.Join(o.Out, "models", "x"), "x") }, []string{filepath.Join("models", "x")}},
		{"a link in a set", func(t *testing.T, o *Options) {
			mustBuild(t, *o)
			must(t, os.Symlink("..", filepath.Join(o.Out, "up")))
		}, []string{"up: is neither a file nor a folder"}},
		{"somebody's folder", func(t *testing.T, o *Options) { o.Out = filepath.Dir(o.Manifest) }, []string{"a.onnx: is not of the set in"}},
		{"artifacts of an older npuw", func(t *testing.T, o *Options) {
			must(t, os.MkdirAll(filepath.Join(o.Out, "models"), 0o777))
			write(t, filepath.Join(o.Out, "models", "b.npuw"), "x")
			write(t, filepath.Join(o.Out, ".c.npuw.npuw-tmp-1a2b"), "x")
		}, nil},
		{"other artifacts", func(t *testing.T, o *Options) {
			must(t, os.MkdirAll(o.Out, 0o777))
			write(t, filepath.Join(o.Out, "mine.npuw"), "x")
		}, []string{"mine.npuw: is not of the set", "mage clean"}},
		{"a file", func(t *testing.T, o *Options) { write(t, o.Out, "x") }, []string{"is not a folder"}},
		{"an empty folder", func(t *testing.T, o *Options) { must(t, os.MkdirAll(filepath.Join(o.Out, "deep"), 0o777)) }, nil},
		{"a link to a folder", func(t *testing.T, o *Options) {
			must(t, os.Mkdir(o.Out+"-real", 0o777))
			must(t, os.Symlink(filepath.Base(o.Out)+"-real", o.Out))
		}, nil},
		{"a link to nothing", func(t *testing.T, o *Options) { must(t, os.Symlink("nothing", o.Out)) }, []string{"a symbolic link to nothing"}},
		{"a link to itself", func(t *testing.T, o *Options) { must(t, os.Symlink(filepath.Base(o.Out), o.Out)) }, []string{"dist: cannot be followed"}},
		{"no folder", func(_ *testing.T, o *Options) { o.Out = "" }, []string{"no folder is named"}},
		{"the root", func(_ *testing.T, o *Options) { o.Out = string(filepath.Separator) }, []string{"the root of a file system"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := bound(t)
			test.make(t, &o)
			before := ""
			if info, err := os.Stat(o.Out); err == nil && info.IsDir() && len(o.Out) > 1 {
				before = snapshotNames(t, o.Out)
			}
			if len(test.says) == 0 {
				mustBuild(t, o)
				return
			}
			_, err := build(t, o)
			_, planned := Changes(t.Context(), o)
			for _, want := range test.says {
				if err == nil || !strings.Contains(err.Error(), want) || planned == nil || !strings.Contains(planned.Error(), want) {
					t.Errorf("%v, %v; expected %q in both", err, planned, want)
				}
			}
			if before != "" && snapshotNames(t, o.Out) != before {
				t.Error("something has changed")
			}
		})
	}
}

func snapshotNames(t *testing.T, dir string) string {
	t.Helper()
	return strings.Join(files(t, dir), " ")
}

// What comes into the folder at the last moment is not lost, either.
func TestForeignFileAtTheLastMoment(t *testing.T) {
	t.Parallel()
	for _, inTwo := range []bool{false, true} {
		o := bound(t)
		mustBuild(t, o)
		setValue(t, filepath.Join(filepath.Dir(o.Manifest), "a.onnx"), "encoder.conv1.bias", 0, 0.25)
		before, err := os.ReadFile(filepath.Join(o.Out, "a.npuw"))
		must(t, err)
		real, err := filepath.EvalSymlinks(o.Out)
		must(t, err)
		o.inTwo = inTwo
		o.at = func(point string) {
			switch point {
			case "exchanged":
				write(t, filepath.Join(WorkFolder(real), "set", "notes.txt"), "x")
			case "moved away":
				write(t, filepath.Join(WorkFolder(real), "old", "notes.txt"), "x")
			}
		}
		if err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "notes.txt: is not of the set") {
			t.Errorf("in two %t: %v", inTwo, err)
		}
		after, err := os.ReadFile(filepath.Join(o.Out, "a.npuw"))
		must(t, err)
		if string(before) != string(after) || !sameContent(o.Out, "notes.txt", []byte("x")) {
			t.Errorf("in two %t: the last set is not as it was", inTwo)
		}
	}
}

// A link in the work folder is not followed, one that is a part of it is refused: what came with a download may have such.
func TestLinksInTheWorkFolder(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		filepath.Join("set", "models"): "",
		keptName:                       "",
		keptName + ".new":              "",
		"set":                          "no build has made it so; remove it",
		"old":                          "no build has made it so; remove it",
		"again":                        "no build has made it so; remove it",
		lockName:                       "no build has made it so; remove it",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := bound(t)
			elsewhere := o.Out + "-elsewhere"
			must(t, os.MkdirAll(elsewhere, 0o777))
			write(t, filepath.Join(elsewhere, "x"), "x")
			link := filepath.Join(WorkFolder(o.Out), name)
			must(t, os.MkdirAll(filepath.Dir(link), 0o777))
			target := elsewhere
			if strings.HasPrefix(name, keptName) || name == lockName {
				target = filepath.Join(elsewhere, "y")
			}
			must(t, os.Symlink(target, link))
			if says == "" {
				mustBuild(t, o)
			} else {
				for _, do := range []func() error{func() error { _, err := build(t, o); return err }, func() error { return Clean(o.Out) }} {
					if err := do(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), says) {
						t.Errorf("%v, expected %q", err, says)
					}
				}
				if _, err := os.Lstat(o.Out); !os.IsNotExist(err) {
					t.Errorf("a set is there (%v)", err)
				}
			}
			if got := snapshotNames(t, elsewhere); got != "x" {
				t.Errorf("elsewhere are %s", got)
			}
		})
	}
}

// A set that may not be written to is replaced by whoever may do so nevertheless, and by no one else; the next build works either way.
func TestReadOnlySet(t *testing.T) {
	t.Parallel()
	o := bound(t)
	mustBuild(t, o)
	setValue(t, filepath.Join(filepath.Dir(o.Manifest), "a.onnx"), "encoder.conv1.bias", 0, 0.25)
	must(t, os.Chmod(o.Out, 0o555))
	t.Cleanup(func() { _ = os.Chmod(o.Out, 0o777) })
	_, err := build(t, o)
	if err != nil && !strings.Contains(err.Error(), "allow writing to it and to") {
		t.Error(err)
	}
	if info, err := os.Lstat(o.Out); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	must(t, os.Chmod(o.Out, 0o777))
	mustBuild(t, o)
}

// What keeps a set from its place decides what is to be done about it.
func TestPlaceError(t *testing.T) {
	t.Parallel()
	other := errors.New("x")
	for _, test := range []struct {
		err  error
		says string
	}{
		{&os.LinkError{Op: "rename", Err: syscall.EBUSY}, "mount point"},
		{&os.LinkError{Op: "exchange", Err: syscall.EACCES}, "allow writing to it and to a, or"},
		{&os.LinkError{Op: "exchange", Err: syscall.EPERM}, "allow writing"},
		{&os.LinkError{Op: "exchange", Err: syscall.EXDEV}, "the image of a container"},
	} {
		if err := placeError(filepath.Join("a", "dist"), test.err); !strings.Contains(err.Error(), test.says) || !errors.Is(err, errors.Unwrap(test.err)) {
			t.Errorf("%v, expected %q", err, test.says)
		}
	}
	if err := placeError("dist", other); err != other {
		t.Error(err)
	}
}

// Clean removes a set, what a failed build has kept, and artifacts; nothing else.
func TestClean(t *testing.T) {
	t.Parallel()
	o := bound(t)
	mustBuild(t, o)
	setValue(t, filepath.Join(filepath.Dir(o.Manifest), "a.onnx"), "encoder.conv1.bias", 0, 0.25)
	must(t, os.Remove(filepath.Join(filepath.Dir(o.Manifest), "c.onnx")))
	if _, err := build(t, o); err == nil {
		t.Fatal("a model is gone")
	}
	if kept := files(t, WorkFolder(o.Out)); len(kept) == 0 {
		t.Fatal("nothing was kept")
	}
	write(t, filepath.Join(o.Out, "models", "notes.txt"), "x")
	write(t, filepath.Join(o.Out, "mine.npuw"), "x")
	elsewhere := filepath.Join(filepath.Dir(o.Out), "elsewhere.npuw")
	write(t, elsewhere, "x")
	must(t, os.Symlink(elsewhere, filepath.Join(o.Out, "link.npuw")))
	must(t, Clean(o.Out))
	if got := strings.Join(files(t, o.Out), " "); got != "link.npuw models/notes.txt" {
		t.Errorf("left are %s", got)
	}
	if got := files(t, WorkFolder(o.Out)); len(got) > 0 || !sameContent(filepath.Dir(elsewhere), "elsewhere.npuw", []byte("x")) {
		t.Errorf("left beside it are %v", got)
	}
	must(t, os.RemoveAll(o.Out))
	for range 2 {
		must(t, Clean(o.Out))
	}
	mustBuild(t, Options{Manifest: folder(t, two).Manifest, Out: o.Out})
	must(t, Clean(o.Out))
	if _, err := os.Lstat(o.Out); !os.IsNotExist(err) {
		t.Errorf("the folder is still there (%v)", err)
	}
}

// A file that is not a set's cannot be made to look like one by a listing that names files elsewhere.
func TestCleanBelievesNoPaths(t *testing.T) {
	t.Parallel()
	o := bound(t)
	mustBuild(t, o)
	outside := filepath.Join(filepath.Dir(o.Out), "outside")
	write(t, outside, "x")
	edit(t, filepath.Join(o.Out, ListingName), `"path": "a.npuw"`, `"path": "../outside"`)
	edit(t, filepath.Join(o.Out, SumsName), "  a.npuw", "  ../outside")
	must(t, Clean(o.Out))
	if !sameContent(filepath.Dir(outside), "outside", []byte("x")) {
		t.Error("a file outside was removed")
	}
}
