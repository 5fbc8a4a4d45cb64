package targets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"regexp"
	"time"
)

// fuzzTarget is one FuzzXxx function.
type fuzzTarget struct {
	pkg  string // import path
	name string
}

// fuzzBudget is how long the targets run in CI, all together. A new target takes its time from the others, not from who waits; what
// starts one comes on top, about 2 s each.
const fuzzBudget = 3 * time.Minute

// leastFuzzTime is enough for any target to go through its seeds and try inputs of its own.
const leastFuzzTime = 3 * time.Second

// fuzzShare is how long each of n targets runs in CI, in whole seconds.
func fuzzShare(n int) time.Duration {
	return max(leastFuzzTime, (fuzzBudget / time.Duration(max(n, 1))).Truncate(time.Second))
}

// fuzz runs fuzz targets for d each. An input that fails is kept by the go command under the package's testdata/fuzz.
func (p *project) fuzz(ctx context.Context, targets []fuzzTarget, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("fuzz time is %v: want more than 0", d)
	}
	if len(targets) == 0 {
		return errors.New("no fuzz target found")
	}
	fmt.Fprintf(p.stdout, "%d fuzz targets, %v each\n", len(targets), d)
	var failed []error
	for _, t := range targets {
		if err := ctx.Err(); err != nil {
			return err
		}
		fmt.Fprintf(p.stdout, "%s.%s\n", t.pkg, t.name)
		var out bytes.Buffer
		err := p.runTo(ctx, io.MultiWriter(p.stdout, &out), nil,
			"go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", d.String(), "-fuzzminimizetime", "20x", t.pkg)
		if err != nil && stoppedByClock(out.Bytes()) {
			fmt.Fprintln(p.stdout, "no input failed: the time ran out while one was being tried (go.dev/issue/75804)")
			err = nil
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// clockOnly matches a fuzz target's whole failure when its only fault is the end of -fuzztime.
var clockOnly = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \([0-9.]+s\)\n {4}context deadline exceeded\n(FAIL|exit status)`)

// stoppedByClock reports whether go test -fuzz failed for no other reason than that the end of -fuzztime reached its
// coordinator before its workers, which versions of Go before 1.27 take for a failure (go.dev/issue/75804).
func stoppedByClock(output []byte) bool {
	return clockOnly.Match(output) && !bytes.Contains(output, []byte("Failing input written"))
}

// fuzzTargets finds the fuzz targets of all packages, in the order of go list and, within a package, of its files.
func (p *project) fuzzTargets(ctx context.Context) ([]fuzzTarget, error) {
	out, err := p.output(ctx, nil, "go", "list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles", "./...")
	if err != nil {
		return nil, err
	}
	var targets []fuzzTarget
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			Dir, ImportPath           string
			TestGoFiles, XTestGoFiles []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			return targets, nil
		} else if err != nil {
			return nil, fmt.Errorf("output of go list: %w", err)
		}
		for _, file := range append(pkg.TestGoFiles, pkg.XTestGoFiles...) {
			names, err := fuzzNames(filepath.Join(pkg.Dir, file))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				targets = append(targets, fuzzTarget{pkg.ImportPath, name})
			}
		}
	}
}

// fuzzNames returns the names of the functions FuzzXxx(f *testing.F) of a Go file.
func fuzzNames(file string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && isFuzzTarget(fn) {
			names = append(names, fn.Name.Name)
		}
	}
	return names, nil
}

var fuzzName = regexp.MustCompile(`^Fuzz($|\P{Ll})`)

func isFuzzTarget(fn *ast.FuncDecl) bool {
	if fn.Recv != nil || !fuzzName.MatchString(fn.Name.Name) || len(fn.Type.Params.List) != 1 {
		return false
	}
	ptr, ok := fn.Type.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	sel, ok := ptr.X.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "F"
}
