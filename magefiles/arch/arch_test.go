package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// builds are the kinds of builds whose imports are looked at together: build tags and a system that is not this one bring
// other files in.
var builds = []struct{ tags, system string }{{"", ""}, {"noasm", ""}, {"xrt", ""}, {"", "windows"}, {"", "darwin"}}

// load asks the go command for the packages of npuw and all that they depend on, in every build.
func load(t *testing.T) graph {
	t.Helper()
	touchSources(t)
	g := graph{}
	for _, build := range builds {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags="+build.tags,
			"-json=ImportPath,Name,Dir,Standard,Imports,TestImports,XTestImports", "./...")
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // to list cgo's files, which takes no C compiler
		if build.system != "" {
			cmd.Env = append(cmd.Env, "GOOS="+build.system)
		}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, &errs)
		}
		for dec := json.NewDecoder(bytes.NewReader(out)); ; {
			var p pkg
			if err := dec.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			before := g[p.ImportPath]
			p.Imports = union(p.Imports, before.Imports)
			p.TestImports = union(p.TestImports, before.TestImports, p.XTestImports)
			g[p.ImportPath] = p
		}
	}
	return g
}

func union(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// touchSources looks at every Go file of the repository. The go command repeats a test's last result until a file changes that
// the test itself looked at, and it does not see what go list reads.
func touchSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == ".git" {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".go" || entry.Name() == "go.mod" {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestArrows(t *testing.T) {
	t.Parallel()
	g := load(t)
	if _, ok := g["npuw/artifact"]; !ok {
		t.Fatal("go list does not know npuw/artifact: these rules would hold of nothing")
	}
	for _, r := range rules {
		for _, breach := range g.breaches(r) {
			t.Error(breach)
		}
	}
	for _, breach := range slices.Concat(g.leaves(), g.badNames(), g.strayFolders()) {
		t.Error(breach)
	}
}

func TestTopLevel(t *testing.T) {
	t.Parallel()
	ignore, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !allowedAtTop(entry.Name(), strings.Fields(string(ignore))) {
			t.Errorf("%s does not belong at the top of the repository", entry.Name())
		}
	}
}

func allowedAtTop(name string, ignored []string) bool {
	if strings.HasPrefix(name, ".") || slices.Contains(topLevel, name) {
		return true
	}
	return slices.ContainsFunc(ignored, func(pattern string) bool {
		ok, _ := path.Match(strings.Trim(pattern, "/"), name)
		return ok
	})
}

// made is a made-up tree that keeps every rule.
func made() graph {
	g := graph{}
	for path, imports := range map[string][]string{
		"fmt":                              {"runtime"},
		"runtime":                          nil,
		"github.com/google/flatbuffers/go": {"fmt"},
		"github.com/zeebo/xxh3":            {"github.com/klauspost/cpuid/v2"},
		"github.com/klauspost/cpuid/v2":    nil,
		"github.com/spf13/cobra":           {"fmt"},
		"github.com/x/through":             {"google.golang.org/protobuf/proto"},
		"google.golang.org/protobuf/proto": {"fmt"},
		"npuw/schema/npuwfb":               {"github.com/google/flatbuffers/go"},
		"npuw/schema/onnxpb":               {"google.golang.org/protobuf/proto"},
		"npuw/schema/releasepb":            {"google.golang.org/protobuf/proto"},
		"npuw/artifact":                    {"npuw/artifact/layout", "npuw/schema/npuwfb", "github.com/zeebo/xxh3"},
		"npuw/artifact/layout":             {"fmt"},
		"npuw/artifact/cmd/npuw":           {"npuw/artifact/cmd/npuw/cli"},
		"npuw/artifact/cmd/npuw/cli":       {"npuw/pipeline", "npuw/artifact", "github.com/spf13/cobra"},
		"npuw/pipeline":                    {"npuw/artifact", "npuw/pipeline/recipe"},
		"npuw/pipeline/recipe":             {"npuw/schema/releasepb"},
		"npuw/pipeline/internal/fixture":   {"npuw/schema/onnxpb"},
		"npuw/runtime/device":              {"npuw/artifact"},
		"npuw/runtime/whisper":             {"npuw/runtime/device"},
		"npuw/runtime/xrt":                 {"npuw/runtime/device", "C"},
		"npuw/magefiles/targets":           {"npuw/pipeline"},
	} {
		standard := !strings.Contains(strings.Split(path, "/")[0], ".") && !strings.HasPrefix(path, "npuw/")
		g[path] = pkg{ImportPath: path, Name: path[strings.LastIndex(path, "/")+1:], Standard: standard, Imports: imports}
	}
	return g
}

func (g graph) all() []string {
	var found []string
	for _, r := range rules {
		found = append(found, g.breaches(r)...)
	}
	return slices.Concat(found, g.leaves(), g.badNames())
}

func TestRulesHoldOfGoodTree(t *testing.T) {
	t.Parallel()
	for _, breach := range made().all() {
		t.Error(breach)
	}
}

func TestRulesFindBreach(t *testing.T) {
	t.Parallel()
	tests := []struct{ from, to, want string }{
		{"npuw/schema/npuwfb", "npuw/artifact/layout", "schema depends on no other"},
		{"npuw/artifact/layout", "npuw/pipeline/recipe", "the artifact library"},
		{"npuw/artifact/layout", "npuw/runtime/whisper", "the artifact library"},
		{"npuw/artifact/layout", "google.golang.org/protobuf/proto", "the artifact library"},
		{"npuw/artifact/layout", "github.com/x/through", "the artifact library"},
		{"npuw/artifact", "github.com/spf13/cobra", "the artifact library"},
		{"npuw/artifact", "github.com/magefile/mage/mg", "the artifact library"},
		{"npuw/artifact", "github.com/klauspost/compress/zstd", "the artifact library"},
		{"npuw/artifact", "github.com/schollz/progressbar/v3", "the artifact library"},
		{"npuw/pipeline", "npuw/runtime/whisper", "pipeline depends on"},
		{"npuw/pipeline/recipe", "npuw/magefiles/targets", "pipeline depends on"},
		{"npuw/pipeline/recipe", "npuw/schema/onnxpb", "the ONNX message types"},
		{"npuw/artifact/cmd/npuw", "npuw/schema/releasepb", "protobuf text is read"},
		{"npuw/runtime/whisper", "npuw/pipeline", "runtime never depends on pipeline"},
		{"npuw/runtime/whisper", "github.com/x/through", "npuw/runtime/whisper imports github.com/x/through imports google.golang.org/protobuf/proto"},
		{"npuw/runtime/whisper", "github.com/klauspost/compress", "runtime never depends on pipeline"},
		{"npuw/runtime/whisper", "github.com/schollz/progressbar/v3", "runtime never depends on pipeline"},
		{"npuw/runtime/device", "npuw/runtime/whisper", "what a device program needs"},
		{"npuw/runtime/xrt", "github.com/x/more", "what a device program needs"},
		{"npuw/pipeline", "npuw/artifact/cmd/npuw/cli", "packages under a cmd/ are leaves"},
		{"npuw/artifact", "npuw/artifact/cmd/npuw/cli", "packages under a cmd/ are leaves"},
	}
	for _, test := range tests {
		t.Run(test.from+"->"+test.to, func(t *testing.T) {
			t.Parallel()
			g := made()
			p := g[test.from]
			p.Imports = append(slices.Clone(p.Imports), test.to)
			g[test.from] = p
			if _, ok := g[test.to]; !ok {
				g[test.to] = pkg{ImportPath: test.to}
			}
			found := g.all()
			if !slices.ContainsFunc(found, func(breach string) bool { return strings.Contains(breach, test.want) }) {
				t.Errorf("no breach with %q in it, got %q", test.want, found)
			}
		})
	}
}

func TestBadNames(t *testing.T) {
	t.Parallel()
	g := made()
	g["npuw/runtime"] = pkg{ImportPath: "npuw/runtime", Name: "runtime"}
	if found := g.badNames(); len(found) != 1 || !strings.HasPrefix(found[0], "npuw/runtime: ") {
		t.Errorf("got %q, want one breach, of npuw/runtime", found)
	}
}

func TestAllowedAtTop(t *testing.T) {
	t.Parallel()
	ignored := []string{"/dist/", "*.test"}
	for name, want := range map[string]bool{
		"go.mod": true, ".gitignore": true, "dist": true, "npuw.test": true, "testdata": true,
		"Makefile": false, "internal": false, "dist2": false, "DESIGN.md": false,
	} {
		if got := allowedAtTop(name, ignored); got != want {
			t.Errorf("%s: allowed is %t, want %t", name, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, path string
		want          bool
	}{
		{"npuw/artifact", "npuw/artifact", true},
		{"npuw/artifact", "npuw/artifact/layout", false},
		{"npuw/artifact/...", "npuw/artifact", true},
		{"npuw/artifact/...", "npuw/artifact/layout", true},
		{"npuw/artifact/...", "npuw/artifacts", false},
		{"npuw/.../cmd/...", "npuw/artifact/cmd/npuw", true},
		{"npuw/.../cmd/...", "npuw/artifact/command", false},
		{"github.com/zeebo/xxh3", "githubXcom/zeebo/xxh3", false},
	}
	for _, test := range tests {
		if got := match(test.path, []string{test.pattern}); got != test.want {
			t.Errorf("%s of %s: got %t, want %t", test.pattern, test.path, got, test.want)
		}
	}
}
