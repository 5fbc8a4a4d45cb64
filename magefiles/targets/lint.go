package targets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tagSets are the build tags to check the code with, each by itself; the first is none.
//
//	noasm       plain Go in place of assembly
//	exhaustive  tests over every input, where they take minutes
//	nommap      files are not mapped, as on systems that cannot
var tagSets = []string{"", "noasm", "exhaustive", "nommap"}

// withTag returns the name of a step with its build tag.
func withTag(name, tag string) string {
	if tag == "" {
		return name
	}
	return name + " -tags " + tag
}

// lintSteps are the checks that run no code of the project.
func (p *project) lintSteps() []step {
	var steps []step
	for _, tag := range tagSets {
		steps = append(steps,
			step{withTag("vet", tag), func(ctx context.Context) error {
				return p.run(ctx, nil, "go", "vet", "-tags="+tag, "./...")
			}},
			step{withTag("staticcheck", tag), func(ctx context.Context) error {
				return p.tool(ctx, p.stdout, "staticcheck", "-tags="+tag, "./...")
			}})
	}
	return append(steps,
		step{"gofumpt", p.gofumpt},
		step{"go mod tidy", func(ctx context.Context) error {
			return errors.Join(
				p.run(ctx, nil, "go", "mod", "tidy", "-diff"),
				p.run(ctx, nil, "go", "mod", "tidy", "-C", filepath.Join("schema", "_gen"), "-diff"))
		}},
		step{"go mod verify", func(ctx context.Context) error {
			return p.run(ctx, nil, "go", "mod", "verify")
		}})
}

// gofumpt fails if a Go file that is not generated is formatted otherwise than gofumpt does.
func (p *project) gofumpt(ctx context.Context) error {
	files, err := p.writtenGoFiles(ctx)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := p.tool(ctx, &out, "gofumpt", append([]string{"-l"}, files...)...); err != nil {
		return err
	}
	if names := strings.Fields(out.String()); len(names) > 0 {
		return fmt.Errorf("not formatted: run `go tool -modfile=magefiles/tools.mod gofumpt -w %s`", strings.Join(names, " "))
	}
	return nil
}

// writtenGoFiles returns the Go files below the root that git does not ignore and that people write, by slash-separated path.
func (p *project) writtenGoFiles(ctx context.Context) ([]string, error) {
	out, err := p.output(ctx, nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.go")
	if err != nil {
		return nil, err
	}
	var files []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(p.root, filepath.FromSlash(name)))
		if errors.Is(err, os.ErrNotExist) { // deleted, and git not told yet
			continue
		}
		if err != nil {
			return nil, err
		}
		if !isGenerated(text) {
			files = append(files, name)
		}
	}
	return files, nil
}
