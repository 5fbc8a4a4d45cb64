package weights

import (
	"context"
	"fmt"
	"os"

	"github.com/magefile/mage/mg"

	"npuw/magefiles/internal/call"
	"npuw/pipeline/release"
)

// Release looks after the sets that build:weights makes.
type Release mg.Namespace

// Verify checks the set in the folder DIR, from its files alone.
func (Release) Verify(ctx context.Context, dir string) error {
	err := release.Verify(ctx, dir)
	if err == nil {
		fmt.Printf("%s: ok, a set\n", dir)
	}
	return err
}

// Plan says what build:weights would make anew, given the same flags, and why; -json says it for programs. It makes nothing.
func (Release) Plan(ctx context.Context, release, out *string, json *bool) error {
	opts, err := releaseOptions(release, out)
	if err != nil {
		return err
	}
	list, err := changes(ctx, opts)
	if err != nil {
		return err
	}
	return printChanges(os.Stdout, list, call.Given(json, false))
}

// The flag -release hides the package of that name inside the target.
var (
	changes      = release.Changes
	printChanges = release.PrintChanges
)
