package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/artifact/xclbin"
	"npuw/pipeline"
	"npuw/pipeline/check"
	"npuw/pipeline/source"
)

// maxFaults is how many faults Verify names.
const maxFaults = 20

// ErrNotSound is what Verify's error unwraps to when something is wrong with the set.
var ErrNotSound = errors.New("the set is not sound")

// maxTries is how often Verify begins anew because another set has taken the place of the one that it was reading.
const maxTries = 10

// Verify checks the set in a folder, from its files alone: that all are there and no others, their digests, that release.json says of each
// artifact what the artifact says of itself, every byte of the artifacts, and that their contracts fit the xclbins and
// instruction streams. If another set takes its place meanwhile, that one is checked. The error names all faults, up to twenty.
func Verify(ctx context.Context, dir string) error {
	for try := 1; ; try++ {
		replaced, err := verifyOnce(ctx, dir)
		if err == nil || !replaced || ctx.Err() != nil {
			return err
		}
		if try == maxTries {
			return fmt.Errorf("%w\n%s: sets took each other's place while it was read, %d times; run again when no build does", err, dir, maxTries)
		}
	}
}

// verifyOnce is Verify, which may have read some files of one set and some of another: replaced says so.
func verifyOnce(ctx context.Context, dir string) (replaced bool, err error) {
	real, err := filepath.EvalSymlinks(dir) // a link to the folder is followed, those in it are not
	if err != nil {
		return false, err
	}
	before, err := os.Lstat(real)
	if err != nil {
		return false, err
	}
	if !before.IsDir() {
		return false, fmt.Errorf("%s: is not a folder", dir)
	}
	held, err := os.Open(real) // so that no folder made meanwhile gets its number
	if err != nil {
		return false, err
	}
	defer held.Close()
	v := &verifier{dir: real}
	err = v.run(ctx)
	if err == nil {
		err = v.verdict(dir)
	}
	now, gone := os.Lstat(real)
	return gone != nil || !os.SameFile(before, now), err
}

// verdict is the error that names the faults; nil if there are none.
func (v *verifier) verdict(dir string) error {
	if len(v.faults) == 0 {
		return nil
	}
	count, more := len(v.faults), ""
	if count > maxFaults {
		more = fmt.Sprintf("\nand %d more", count-maxFaults)
		v.faults = v.faults[:maxFaults]
	}
	return fmt.Errorf("%s%s\n%s: %w (faults: %d); copy it anew, or build it again", strings.Join(v.faults, "\n"), more, dir, ErrNotSound, count)
}

type verifier struct {
	dir     string
	listing *Listing
	faults  []string
}

func (v *verifier) fault(name, format string, args ...any) {
	v.faults = append(v.faults, fmt.Sprintf("%s: %s", filepath.Join(v.dir, filepath.FromSlash(name)), fmt.Sprintf(format, args...)))
}

// run collects faults. Its error is of reading, or that there is no set.
func (v *verifier) run(ctx context.Context) error {
	there := map[string]bool{} // files
	err := walk(v.dir, func(name string, plain bool) error {
		if plain {
			there[name] = true
		} else {
			v.fault(name, "is neither a file nor a folder")
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	listing, err := readSmall(v.dir, ListingName)
	if err != nil {
		return fmt.Errorf("%s: no set of a release is there: %w", v.dir, err)
	}
	if v.listing, err = ParseListing(listing); err != nil {
		v.fault(ListingName, "%v", err)
		return nil // all else is said there
	}
	files, err := v.listing.files()
	if err != nil {
		return err
	}
	sumsText, err := readSmall(v.dir, SumsName)
	if err != nil {
		v.fault(SumsName, "%v", err)
	} else if want := sums(withListing(files, listing)); string(sumsText) != string(want) {
		v.fault(SumsName, "is not of the files that %s names: from byte %d on it differs", ListingName, sameBytes(sumsText, want))
	}
	v.compareNames(files, there)
	sound, err := v.digests(ctx, files)
	if err != nil {
		return err
	}
	return v.artifacts(ctx, sound)
}

// compareNames holds the files that are there against those that are listed.
func (v *verifier) compareNames(files []File, there map[string]bool) {
	listed := map[string]bool{ListingName: true, SumsName: true}
	for _, f := range files {
		listed[f.Path] = true
		if !there[f.Path] {
			v.fault(f.Path, "is missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if !listed[name] {
			v.fault(name, "is not of the set")
		}
	}
}

// digests holds each file against its size and digest, and gives those that are as they should be.
func (v *verifier) digests(ctx context.Context, files []File) (map[string]bool, error) {
	wrong := make([]string, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range files {
		g.Go(func() error {
			path, err := plainFile(v.dir, f.Path)
			if err != nil {
				wrong[i] = "-" // it is missing, or a link: that is said already
				return ctx.Err()
			}
			got, err := (*cache)(nil).fileDigest(ctx, path)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				wrong[i] = err.Error()
			case got.Bytes != f.Bytes:
				wrong[i] = fmt.Sprintf("%d bytes, listed are %d", got.Bytes, f.Bytes)
			case got.SHA256 != f.SHA256:
				wrong[i] = fmt.Sprintf("its SHA-256 is %v, listed is %v", got.SHA256, f.SHA256)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sound := map[string]bool{}
	for i, f := range files {
		sound[f.Path] = wrong[i] == ""
		if len(wrong[i]) > 1 {
			v.fault(f.Path, "%s", wrong[i])
		}
	}
	return sound, nil
}

// artifacts holds the artifacts whose digest is right against the listing, and against the kernels whose digests are.
func (v *verifier) artifacts(ctx context.Context, sound map[string]bool) error {
	var kernels []string
	for _, f := range v.listing.Kernels {
		if sound[f.Path] {
			kernels = append(kernels, filepath.Join(v.dir, filepath.FromSlash(f.Path)))
		}
	}
	for i := range v.listing.Artifacts {
		a := &v.listing.Artifacts[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if !sound[a.Path] {
			continue
		}
		if err := v.artifact(a, kernels, sound); err != nil {
			v.faults = append(v.faults, err.Error()) // which names the file
		}
	}
	return nil
}

func (v *verifier) artifact(a *Artifact, kernels []string, sound map[string]bool) error {
	path := filepath.Join(v.dir, filepath.FromSlash(a.Path))
	f, err := artifact.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Verify(); err != nil {
		return err
	}
	d, err := describe(f.Index, f.Header.PageBytes)
	if err != nil {
		return err
	}
	if same, err := a.tells(&d); err != nil || !same {
		return errors.Join(err, fmt.Errorf("%s: %s does not say of it what it says of itself", path, ListingName))
	}
	if got := f.Index.Producer; got.Revision != v.listing.Producer.Revision || got.Name != v.listing.Producer.Name {
		return fmt.Errorf("%s: it was made by revision %d of %s, %s says %d of %s", path, got.Revision, got.Name,
			ListingName, v.listing.Producer.Revision, v.listing.Producer.Name)
	}
	for i := range a.Kernels {
		if err := v.kernel(f, i, &a.Kernels[i], sound); err != nil {
			return fmt.Errorf("%s: contract %q: %w", path, a.Kernels[i].Contract, err)
		}
	}
	if err := checkCompressed(v.dir, a, sound, f.Header.Digest); err != nil {
		return err
	}
	return pipeline.VerifyKernels(path, kernels)
}

// kernel holds the files of contract i against what the artifact has of them.
func (v *verifier) kernel(f *artifact.File, i int, k *Kernel, sound map[string]bool) error {
	c := &f.Index.Contracts[i]
	if k.Xclbin != nil && c.Xclbin != kernel.None && sound[k.Xclbin.Path] {
		x, err := xclbin.Open(filepath.Join(v.dir, filepath.FromSlash(k.Xclbin.Path)))
		if err != nil {
			return err
		}
		if want := &f.Index.Xclbins[c.Xclbin]; x.Digest != want.Digest || x.UUID != want.UUID {
			return fmt.Errorf("%s is not the xclbin that it is bound to", x.Path)
		}
	}
	if k.Instructions != nil && c.Instructions != kernel.None && sound[k.Instructions.Path] {
		stream, err := readStream(filepath.Join(v.dir, filepath.FromSlash(k.Instructions.Path)), f.Index.Segments[c.Instructions].Bytes)
		if err != nil {
			return err
		}
		if err := check.Stream(f, c.Instructions, stream); err != nil {
			return fmt.Errorf("%s: %w", k.Instructions.Path, err)
		}
	}
	return nil
}

// readStream reads a file of at most so many bytes.
func readStream(path string, most uint64) ([]byte, error) {
	r, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if uint64(r.Size) > most {
		return nil, fmt.Errorf("%s: %d bytes, the artifact has room for %d", path, r.Size, most)
	}
	b := make([]byte, r.Size)
	_, err = io.ReadFull(io.NewSectionReader(r, 0, r.Size), b)
	return b, err
}
