// Package release makes the set of files that a release consists of, from a manifest that names models, recipes, contracts and outputs,
// and says whether a set is whole.
//
//	dist/
//	  whisper/base.npuw ...   the artifacts, where the manifest wants them
//	  kernels/                the xclbins and instruction streams that their contracts name
//	  release.json            what goes with what, and what it was made of, by digest
//	  SHA256SUMS              of all other files, as `sha256sum -c` reads it
//
// A set is made in a folder beside the one that it is to be in (workfolder), and takes its place in one step: at any moment there is
// a whole set, the last or the next. Whether an artifact has to be made is decided by what it is made of (key), never by times.
package release

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"npuw/pipeline"
)

// Options say what to build.
type Options struct {
	Manifest string    // path of the release manifest (protobuf text; schema/release.proto)
	Out      string    // the folder that is to hold the set
	Progress io.Writer // told what is going on, line by line; nil: nobody
	Jobs     int       // workers; 0: one a processor
	// Cache is the path of a file that remembers digests of unchanged files, such as DefaultCache gives; empty: none. What is made does
	// not depend on it.
	Cache string

	// For tests: at, when not nil, is called at points of a build; inTwo puts the set in place as systems do that cannot exchange folders.
	at    func(point string)
	inTwo bool
}

func (o *Options) reached(point string) {
	if o.at != nil {
		o.at(point)
	}
}

// DefaultCache is where this user's programs keep what they can do without; empty where there is no such place.
func DefaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "npuw", "digests")
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
	m, err := readManifest(opts.Manifest)
	if err != nil {
		return err
	}
	for i := range m.Artifacts {
		a := &m.Artifacts[i]
		b, err := m.prepare(a)
		if err == nil {
			err = do(b, a.Output)
			b.Close()
		}
		if err != nil {
			return m.fault(a, err)
		}
	}
	return nil
}
