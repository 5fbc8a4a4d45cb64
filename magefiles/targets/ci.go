package targets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"npuw/magefiles/internal/call"
	"npuw/magefiles/weights"
	"npuw/pipeline/release"
)

// platforms are the machines that every package must build for, without cgo.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64", noMmap}

// noMmap is a platform that maps no files. What tests need is not there either: it is built for, and not vetted.
const noMmap = "wasip1/wasm"

// sampleModel is the model that is packed twice to compare the artifacts.
const sampleModel = "testdata/whisper-tiny/whisper-tiny-encoder.onnx"

// ciSteps are all checks, those that fail soonest first. What the first has run in full, the same tests built otherwise run with -short,
// but for those of packages with assembly: without that they test other code. fuzzTime is that of each target.
func (p *project) ciSteps(fuzzTime *time.Duration) []step {
	steps := append([]step{{"test", p.test}}, p.lintSteps()...)
	steps = append(steps, step{"generated code", p.checkGenerated})
	for _, platform := range platforms {
		steps = append(steps, step{"build for " + platform, func(ctx context.Context) error {
			return p.build(ctx, platform)
		}})
	}
	return append(steps,
		step{"test -tags noasm", func(ctx context.Context) error {
			err := p.run(ctx, nil, "go", "test", "-tags=noasm", "./artifact/element", "./runtime/cpu")
			return errors.Join(err, p.run(ctx, nil, "go", "test", "-tags=noasm", "-short", "./pipeline/..."))
		}},
		step{"test -tags nommap", func(ctx context.Context) error {
			return p.run(ctx, nil, "go", "test", "-tags=nommap", "-short", "./artifact", "./artifact/cmd/...", "./pipeline/...",
				"./runtime/cpu", "./runtime/device", "./runtime/whisper")
		}},
		step{"same artifact twice", p.sameArtifact},
		step{"same release twice", p.sameRelease},
		step{"test -race", func(ctx context.Context) error {
			env := []string{"GORACE=atexit_sleep_ms=50"} // instead of a second for each program
			return p.run(ctx, env, "go", "test", "-race", "-short", "./...")
		}},
		step{"fuzz", func(ctx context.Context) error {
			targets, err := p.fuzzTargets(ctx)
			if err != nil {
				return err
			}
			return p.fuzz(ctx, targets, call.Given(fuzzTime, fuzzShare(len(targets))))
		}})
}

func (p *project) test(ctx context.Context) error {
	return p.run(ctx, nil, "go", "test", "./...")
}

// build builds every package for a platform, GOOS/GOARCH, with each build tag, and vets it there: that compiles the tests and
// holds the assembly of that machine against its Go declarations.
func (p *project) build(ctx context.Context, platform string) error {
	system, machine, _ := strings.Cut(platform, "/")
	env := []string{"GOOS=" + system, "GOARCH=" + machine, "CGO_ENABLED=0"}
	for _, tag := range tagSets {
		if err := p.run(ctx, env, "go", "build", "-tags="+tag, "./..."); err != nil {
			return err
		}
	}
	if platform == noMmap {
		return nil
	}
	return p.run(ctx, env, "go", "vet", "./...")
}

// sameArtifact packs one model with 1 worker, with 4, and with 3 in plain Go, and compares the files byte for byte.
func (p *project) sameArtifact(ctx context.Context) error {
	tmp, err := os.MkdirTemp("", "npuw-same-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var first string
	for _, run := range []struct{ jobs, tag string }{{"1", ""}, {"4", ""}, {"3", "noasm"}} {
		name := "jobs" + run.jobs + run.tag
		program := filepath.Join(tmp, "npuw-"+name)
		err := p.run(ctx, nil, "go", "build", "-buildvcs=false", "-tags="+run.tag, "-o", program, "./artifact/cmd/npuw")
		if err != nil {
			return err
		}
		dir := filepath.Join(tmp, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		err = p.run(ctx, nil, program, "pack", filepath.FromSlash(sampleModel),
			"-o", filepath.Join(dir, "sample.npuw"), "--jobs", run.jobs, "--quiet")
		if err != nil {
			return err
		}
		if first == "" {
			first = dir
		} else if err := sameTree(first, dir); err != nil {
			return err
		}
	}
	return nil
}

// sameRelease makes the default release in two new folders and compares what is there, names and bytes.
func (p *project) sameRelease(ctx context.Context) error {
	tmp, err := os.MkdirTemp("", "npuw-same-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	dirs := []string{filepath.Join(tmp, "first"), filepath.Join(tmp, "second")}
	for _, dir := range dirs {
		err := release.Build(ctx, release.Options{Manifest: p.path(weights.DefaultRelease), Out: dir, Progress: io.Discard})
		if err != nil {
			return err
		}
	}
	return sameTree(dirs[0], dirs[1])
}

// sameTree fails unless two folders hold the same files, at least one, with the same bytes.
func sameTree(a, b string) error {
	inA, err := readTree(a)
	if err != nil {
		return err
	}
	inB, err := readTree(b)
	if err != nil {
		return err
	}
	if len(inA) == 0 {
		return fmt.Errorf("%s: no file to compare", a)
	}
	var errs []error
	for _, name := range differing(inA, inB) {
		errs = append(errs, fmt.Errorf("%s: not the same bytes in %s and %s", name, filepath.Base(a), filepath.Base(b)))
	}
	return errors.Join(errs...)
}
