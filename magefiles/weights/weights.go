// Package weights holds the mage targets of a project that ships weights: all that another project wants of npuw's, and nothing
// else. They work on the module that the current folder belongs to. A magefile has them beside targets of its own with
//
//	import (
//		//mage:import
//		_ "npuw/magefiles/weights"
//	)
//
// and examples/ shows what to tell GitHub Actions or GitLab then. npuw's own magefile imports them in the same way.
package weights

import (
	"context"
	"os"

	"github.com/magefile/mage/mg"

	"npuw/magefiles/internal/call"
	"npuw/pipeline/release"
)

// Where things are in a project that does not say otherwise, below the folder of its go.mod.
const (
	DefaultRelease = "testdata/release.txtpb"
	DefaultOut     = "dist"
)

// Build makes what a release consists of.
type Build mg.Namespace

// Weights makes the set of files of a release, whole or not at all. -release=PATH names its manifest (default testdata/release.txtpb),
// -out=DIR the folder that is to hold the set (default dist).
func (Build) Weights(ctx context.Context, release, out *string) error {
	opts, err := releaseOptions(release, out)
	if err != nil {
		return err
	}
	return buildWeights(ctx, opts)
}

// Plan prints what build:weights would make, given the same flags, and writes nothing.
func (Build) Plan(ctx context.Context, release, out *string) error {
	opts, err := releaseOptions(release, out)
	if err != nil {
		return err
	}
	return planWeights(ctx, opts, os.Stdout)
}

// The flag -release hides the package of that name inside the targets.
var (
	buildWeights = release.Build
	planWeights  = release.Plan
)

// releaseOptions takes a path given on the command line as it is, from the current folder, and a default from the root.
func releaseOptions(manifest, out *string) (release.Options, error) {
	dir, err := os.Getwd()
	if err != nil {
		return release.Options{}, err
	}
	root, err := call.Root(dir)
	if err != nil {
		return release.Options{}, err
	}
	return release.Options{
		Manifest: call.Given(manifest, call.Path(root, DefaultRelease)),
		Out:      call.Given(out, call.Path(root, DefaultOut)),
		Progress: os.Stderr,
		Cache:    release.DefaultCache(),
	}, nil
}
