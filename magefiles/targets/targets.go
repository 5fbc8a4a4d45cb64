// Package targets holds the mage targets for work on npuw itself; those that make weights are in package weights, which other
// projects import. `go tool mage -l` lists both. Under `mage -v` every command is printed before it runs.
package targets

import (
	"context"
	"path/filepath"
	"strconv"
	"time"

	"npuw/magefiles/internal/call"
	"npuw/magefiles/weights"
	"npuw/pipeline/release"
)

const defaultFuzzTime = 20 * time.Second

// Generate writes the Go code of the schemas anew. With -check it writes nothing, and fails if the code in the tree differs.
func Generate(ctx context.Context, check *bool) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	if call.Given(check, false) {
		return p.checkGenerated(ctx)
	}
	return p.generate(ctx)
}

// Test runs all tests.
func Test(ctx context.Context) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return p.test(ctx)
}

// Bench runs the benchmarks on 2 processors. -pattern=REGEXP picks some (default all), -count=N repeats each (default 1).
func Bench(ctx context.Context, pattern *string, count *int) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return p.run(ctx, nil, "go", "test", "-run", "^$", "-bench", call.Given(pattern, "."), "-benchmem", "-cpu", "2",
		"-count", strconv.Itoa(call.Given(count, 1)), "-timeout", "1h", "./...")
}

// Fuzz runs every fuzz target of the tree, one after the other. -time=DURATION says how long each (default 20s).
func Fuzz(ctx context.Context, time *time.Duration) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	targets, err := p.fuzzTargets(ctx)
	if err != nil {
		return err
	}
	return p.fuzz(ctx, targets, call.Given(time, defaultFuzzTime))
}

// Lint checks the code without running it: vet and staticcheck with each build tag, gofumpt, and the module files.
func Lint(ctx context.Context) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return runSteps(ctx, p.stdout, p.lintSteps())
}

// CI runs every check there is. They are the tests (again, in short, with the race detector, without assembly and without mmap), lint,
// the generated code, builds for other machines, artifacts made twice, and each fuzz target for -fuzztime=DURATION (default: its share of
// 3m, at least 3s).
func CI(ctx context.Context, fuzztime *time.Duration) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return runSteps(ctx, p.stdout, p.ciSteps(fuzztime))
}

// Clean removes what build:weights has made in and beside dist, and folders that are empty then. Other files in dist stay.
func Clean() error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return release.Clean(filepath.Join(p.root, weights.DefaultOut))
}
