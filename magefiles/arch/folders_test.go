package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Whoever depends on it can make artifacts.
const maker = "npuw/artifact"

// Where files of tests must not lie, by the names of the functions, when artifacts can be among them.
var otherFolders = []string{"TempDir", "MkdirTemp", "CreateTemp", "ArtifactDir"}

// strayFolders returns a sentence for every place where a test that can make artifacts may make them where pyreader does not look for
// them: npuw.py is compared on every one.
func (g graph) strayFolders() []string {
	tests := g.testsThatReach(maker)
	if !slices.Contains(tests, "npuw/pipeline/pack") {
		return []string{"the tests of npuw/pipeline/pack are not among those that can make artifacts: this would see nothing"}
	}
	var found []string
	for _, path := range tests {
		files, err := filepath.Glob(filepath.Join(g[path].Dir, "*_test.go"))
		if err != nil {
			return []string{err.Error()}
		}
		for _, file := range files {
			faults, err := strayIn(file, nil)
			if err != nil {
				faults = []string{err.Error()}
			}
			found = append(found, faults...)
		}
	}
	return found
}

// testsThatReach are the packages of npuw whose tests depend on a package, or are its own.
func (g graph) testsThatReach(target string) []string {
	var found []string
	for _, path := range g.paths() {
		if !match(path, []string{"npuw/..."}) {
			continue
		}
		seen := map[string]bool{}
		queue := slices.Concat([]string{path}, g[path].TestImports)
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			if !seen[at] && match(at, []string{"npuw/..."}) {
				seen[at] = true
				queue = append(queue, g[at].Imports...)
			}
		}
		if seen[target] {
			found = append(found, path)
		}
	}
	return found
}

// strayIn returns a sentence for every place where a test file asks for a folder otherwise than by pyreader.TempDir. TestMain may, as it
// is no test. src is nil, or what the file holds.
func strayIn(file string, src any) ([]string, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	add := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("%s: %s: use pyreader.TempDir(t), which has npuw.py compared on the artifacts in it", set.Position(n.Pos()), what))
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return n.Name.Name != "TestMain"
		case *ast.SelectorExpr:
			of, _ := n.X.(*ast.Ident)
			if slices.Contains(otherFolders, n.Sel.Name) && (of == nil || of.Name != "pyreader") {
				add(n, n.Sel.Name)
			}
		case *ast.CompositeLit:
			if isScripts(n) && !slices.ContainsFunc(n.Elts, setsWorkdirRoot) {
				add(n, "scripts without WorkdirRoot")
			}
		}
		return true
	})
	return found, nil
}

// isScripts says that a literal is one of testscript.Params, which makes folders of its own unless it has a WorkdirRoot.
func isScripts(c *ast.CompositeLit) bool {
	s, ok := c.Type.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	of, ok := s.X.(*ast.Ident)
	return ok && of.Name == "testscript" && s.Sel.Name == "Params"
}

func setsWorkdirRoot(e ast.Expr) bool {
	kv, ok := e.(*ast.KeyValueExpr)
	if !ok {
		return false
	}
	key, ok := kv.Key.(*ast.Ident)
	return ok && key.Name == "WorkdirRoot"
}

func TestStrayFolders(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		`func TestA(t *testing.T) { f(pyreader.TempDir(t)) }`:                               "",
		`func TestA(t *testing.T) { f(t.TempDir()) }`:                                       "a_test.go:2:30: TempDir",
		`func TestA(t *testing.T) { x.t.TempDir() }`:                                        "a_test.go:2:28: TempDir",
		`func BenchmarkA(b *testing.B) { make := b.TempDir; make() }`:                       "a_test.go:2:41: TempDir",
		`func TestA(t *testing.T) { os.MkdirTemp("", "a") }`:                                "a_test.go:2:28: MkdirTemp",
		`func TestMain(m *testing.M) { os.MkdirTemp("", "a") }`:                             "",
		`var p = testscript.Params{Dir: "script"}`:                                          "a_test.go:2:9: scripts without WorkdirRoot",
		`func f(t *testing.T) { run(testscript.Params{WorkdirRoot: pyreader.TempDir(t)}) }`: "",
	} {
		found, err := strayIn("a_test.go", "package a\n"+src)
		if err != nil {
			t.Error(err)
		}
		if got := strings.Join(found, "\n"); (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", src, got, want)
		}
	}
}

func TestTestsThatReach(t *testing.T) {
	t.Parallel()
	g := made()
	p := g["npuw/pipeline/internal/fixture"]
	p.TestImports = []string{"npuw/pipeline"}
	g[p.ImportPath] = p
	got := g.testsThatReach("npuw/pipeline")
	want := []string{"npuw/artifact/cmd/npuw", "npuw/artifact/cmd/npuw/cli", "npuw/magefiles/targets", "npuw/pipeline", "npuw/pipeline/internal/fixture"}
	if !slices.Equal(got, want) {
		t.Errorf("tests of %q reach it, want %q", got, want)
	}
}
