// Package targets holds npuw's mage targets: what `go tool mage -l` lists. They work on the module that the current folder
// belongs to, so `build:weights` and `build:plan` serve any project. Another project's magefile imports them under a name of
// its own choice, and then has npuw:build:weights beside its own targets:
//
//	import (
//		//mage:import npuw
//		_ "npuw/magefiles/targets"
//	)
//
// Everything but the build targets is for work on npuw itself. Under `mage -v` every command is printed before it runs.
package targets

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/magefile/mage/mg"

	"npuw/pipeline/release"
)

const (
	defaultRelease  = "testdata/release.txtpb"
	defaultOut      = "dist"
	defaultFuzzTime = 20 * time.Second
)

// Build makes what a release consists of.
type Build mg.Namespace

// Weights makes the set of files of a release, whole or not at all. -release=PATH names its manifest (default testdata/release.txtpb),
// -out=DIR the folder that is to hold the set (default dist).
func (Build) Weights(ctx context.Context, release, out *string) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return buildWeights(ctx, releaseOptions(p, release, out))
}

// Plan prints what build:weights would make, given the same flags, and writes nothing.
func (Build) Plan(ctx context.Context, release, out *string) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return planWeights(ctx, releaseOptions(p, release, out), p.stdout)
}

// The flag -release hides the package of that name inside the targets.
var (
	buildWeights = release.Build
	planWeights  = release.Plan
)

// releaseOptions takes a path given on the command line as it is, from the current folder, and a default from the root.
func releaseOptions(p *project, manifest, out *string) release.Options {
	return release.Options{
		Manifest: given(manifest, p.path(defaultRelease)),
		Out:      given(out, p.path(defaultOut)),
		Progress: os.Stderr,
		Cache:    release.DefaultCache(),
	}
}

// Generate writes the Go code of the schemas anew. With -check it writes nothing, and fails if the code in the tree differs.
func Generate(ctx context.Context, check *bool) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	if given(check, false) {
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
	return p.run(ctx, nil, "go", "test", "-run", "^$", "-bench", given(pattern, "."), "-benchmem", "-cpu", "2",
		"-count", strconv.Itoa(given(count, 1)), "-timeout", "1h", "./...")
}

// Fuzz runs every fuzz target of the tree, one after the other. -time=DURATION says how long each (default 20s).
func Fuzz(ctx context.Context, time *time.Duration) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return p.fuzz(ctx, given(time, defaultFuzzTime))
}

// Lint checks the code without running it: vet and staticcheck with each build tag, gofumpt, and the module files.
func Lint(ctx context.Context) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return runSteps(ctx, p.stdout, p.lintSteps())
}

// CI runs every check there is. They are the tests (also with the race detector, and without assembly), lint, the generated
// code, builds for other machines, artifacts made twice, and each fuzz target for -fuzztime=DURATION (default 20s).
func CI(ctx context.Context, fuzztime *time.Duration) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return runSteps(ctx, p.stdout, p.ciSteps(given(fuzztime, defaultFuzzTime)))
}

// Clean removes what build:weights has made in and beside dist, and folders that are empty then. Other files in dist stay.
func Clean() error {
	p, err := openProject()
	if err != nil {
		return err
	}
	return release.Clean(filepath.Join(p.root, defaultOut))
}

// given returns what an optional flag points to, or fallback when the flag was left out.
func given[T any](flag *T, fallback T) T {
	if flag == nil {
		return fallback
	}
	return *flag
}
