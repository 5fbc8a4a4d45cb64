// Package release builds the artifacts that a release manifest lists, and verifies each.
package release

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"npuw/pipeline"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
)

// Options say what to build.
type Options struct {
	Manifest string    // path of the release manifest (protobuf text; schema/release.proto)
	Out      string    // the folder to build into
	Progress io.Writer // told what is going on, line by line; nil: nobody
}

// Build makes every artifact of a release: each is packed, read back and verified before the next. It stops at the first that
// fails.
func Build(ctx context.Context, opts Options) error {
	return each(opts, func(b *pipeline.Build, output string) error {
		path := filepath.Join(opts.Out, output)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if _, err := b.Pack(ctx, path, pack.Options{}); err != nil {
			return err
		}
		if opts.Progress != nil {
			fmt.Fprintf(opts.Progress, "%s: %d operands in %d segments, %d bytes of data, verified (%s, from %s)\n",
				path, len(b.Plan.Operands), len(b.Plan.Index.Segments), b.Plan.DataBytes(), b.Recipe.Name, b.Catalogue.Path)
		}
		return nil
	})
}

// Plan writes what Build would make, and makes nothing.
func Plan(_ context.Context, opts Options, w io.Writer) error {
	return each(opts, func(b *pipeline.Build, output string) error {
		fmt.Fprintf(w, "%s (%s, from %s)\n", filepath.Join(opts.Out, output), b.Recipe.Name, b.Catalogue.Path)
		return b.Plan.Print(w)
	})
}

// PlanJSON writes the same for programs: an object for each artifact, one a line.
func PlanJSON(opts Options, w io.Writer) error {
	return each(opts, func(b *pipeline.Build, output string) error {
		return json.NewEncoder(w).Encode(map[string]any{
			"output": filepath.Join(opts.Out, output), "source": b.Catalogue.Path, "recipe": b.Recipe.Name, "plan": b.Plan.Index.List(false),
		})
	})
}

// each prepares the artifacts of a manifest one after another, and names the one that fails.
func each(opts Options, do func(b *pipeline.Build, output string) error) error {
	text, err := pipeline.ReadText(opts.Manifest)
	if err != nil {
		return err
	}
	r, err := recipe.ParseRelease(opts.Manifest, text)
	if err != nil {
		return err
	}
	beside := func(path string) string {
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(filepath.Dir(opts.Manifest), path)
	}
	for _, a := range r.Artifacts {
		name := a.Recipe
		if recipe.IsPath(name) {
			name = beside(name)
		}
		sources := make([]string, len(a.Sources))
		for i, source := range a.Sources {
			sources[i] = beside(source)
		}
		err := func() error {
			b, err := pipeline.PrepareFiles(sources, name)
			if err != nil {
				return err
			}
			defer b.Close()
			if a.Kernels != "" {
				if err := b.BindKernels(beside(a.Kernels)); err != nil {
					return err
				}
			}
			return do(b, a.Output)
		}()
		if err != nil {
			return fmt.Errorf("%s:%d: %s: %w", opts.Manifest, a.Line, a.Output, err)
		}
	}
	return nil
}
