package release

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"npuw/artifact"
	"npuw/pipeline"
	"npuw/pipeline/check"
	"npuw/pipeline/pack"
	"npuw/pipeline/plan"
	"npuw/pipeline/recipe"
)

// Build makes the set of a release in the folder opts.Out. What has not changed since the last set there, or was finished by a try that
// failed, is taken over and not made again; all else is packed, read back, and held against its plan and the model's values. The set takes
// the place of the last one at once, when all of it is there and on the disk. After an error the last one is as it was, and what has been
// finished is kept for the next try.
func Build(ctx context.Context, opts Options) error {
	m, err := readManifest(opts.Manifest)
	if err != nil {
		return err
	}
	out, err := resolve(opts.Out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o777); err != nil {
		return err
	}
	w, err := begin(out)
	if err != nil {
		return err
	}
	b := &builder{Options: opts, manifest: m, work: w, cache: openCache(opts.Cache)}
	err = b.run(ctx, out)
	b.cache.save()
	w.end(err != nil && len(w.kept) > 0)
	return err
}

// builder makes a set.
type builder struct {
	Options
	manifest *manifest
	work     *workFolder
	last     *published
	cache    *cache

	parts []part
	files []kernelSource
	made  int // files that were made
}

// part is an artifact of the next set.
type part struct {
	Artifact
	// The paths of the file and of its compressed form where these are not in the work folder yet; "": they are there.
	from, compressedFrom string
}

func (b *builder) run(ctx context.Context, out string) error {
	if err := b.work.recover(out); err != nil {
		return err
	}
	if err := checkMount(out); err != nil {
		return err
	}
	var err error
	if b.last, err = readPublished(out); err != nil {
		return err
	}
	if err := b.last.checkOurs(b.manifest.outputs()); err != nil {
		return err
	}
	if err := b.work.clean(); err != nil {
		return err
	}
	// All entries stay where they are: b.files points into their kernels.
	for i := range b.manifest.Artifacts {
		a := &b.manifest.Artifacts[i]
		if err := b.artifact(ctx, a); err != nil {
			return fmt.Errorf("%w; nothing was published: %s is as it was, and %d of %d artifacts are finished and kept for the next try",
				b.manifest.fault(a, told(err)), b.Out, len(b.parts), len(b.manifest.Artifacts))
		}
	}
	if err := b.finish(ctx); err != nil {
		if unsynced := new(unsyncedError); errors.As(err, &unsynced) {
			return fmt.Errorf("%s: the new set is in place, but perhaps not on the disk yet: %w", b.Out, err)
		}
		return fmt.Errorf("%w; nothing was published: %s is as it was", told(err), b.Out)
	}
	return nil
}

// told is an error as a person is told of it: of what was cancelled not that a context was.
func told(err error) error {
	if errors.Is(err, context.Canceled) {
		return interrupted{err}
	}
	return err
}

type interrupted struct{ error }

func (interrupted) Error() string   { return "interrupted" }
func (e interrupted) Unwrap() error { return e.error }

// artifact finds one artifact, or makes it.
func (b *builder) artifact(ctx context.Context, a *recipe.ReleaseArtifact) error {
	build, err := b.manifest.prepare(a)
	if err != nil {
		return err
	}
	defer build.Close()
	entry, files, err := describeBuild(ctx, b.cache, build, a.Output)
	if err != nil {
		return err
	}
	b.files = append(b.files, files...)
	weights := sourceDigests{b.cache, build}
	digests, known := weights.cached()
	if !known && b.couldBe(&entry) {
		if digests, err = weights.all(ctx); err != nil {
			return err
		}
		known = true
	}
	if known {
		entry.setValues(digests)
		if p, found := b.reuse(ctx, entry); found {
			b.tell("%s: as it was", filepath.Join(b.Out, a.Output))
			return b.add(ctx, a, p)
		}
	}
	if err := b.pack(ctx, build, a.Output, &entry, weights, known); err != nil {
		return err
	}
	return b.add(ctx, a, part{Artifact: entry})
}

// add takes a finished artifact into the set.
func (b *builder) add(ctx context.Context, a *recipe.ReleaseArtifact, p part) error {
	if a.Compress {
		if err := b.compress(ctx, &p); err != nil {
			return err
		}
	}
	b.parts = append(b.parts, p)
	return nil
}

// couldBe reports whether an artifact that has been made already may be this one, if the values are the same. Only then it has to be known
// before the work begins whether they are.
func (b *builder) couldBe(entry *Artifact) bool {
	may := func(a Artifact) bool {
		return a.Plan == entry.Plan && a.Recipe == entry.Recipe && a.Contracts == entry.Contracts
	}
	return slices.ContainsFunc(b.work.kept, may) || b.last.listing != nil && slices.ContainsFunc(b.last.listing.Artifacts, may)
}

// reuse looks for an artifact that has been made already: the one in the last set or, of an earlier try, in the work folder.
func (b *builder) reuse(ctx context.Context, entry Artifact) (part, bool) {
	sound := func(dir string, a *Artifact) (string, bool) {
		path, err := plainFile(dir, a.Path)
		if err != nil {
			return "", false
		}
		f, err := b.cache.fileDigest(ctx, path)
		return path, err == nil && f.Bytes == a.Bytes && f.SHA256 == a.SHA256
	}
	for i := range b.work.kept {
		if a := &b.work.kept[i]; a.Key == entry.Key && a.Path == entry.Path {
			if _, ok := sound(b.work.set, a); ok {
				entry.Bytes, entry.SHA256 = a.Bytes, a.SHA256
				return part{Artifact: entry}, true
			}
		}
	}
	if a := b.last.find(entry.Key, entry.Path); a != nil {
		if path, ok := sound(b.last.dir, a); ok {
			entry.Bytes, entry.SHA256 = a.Bytes, a.SHA256
			return part{Artifact: entry, from: path}, true
		}
	}
	return part{}, false
}

// pack makes an artifact in the work folder. Beside it the source is digested, if its digests are not known.
func (b *builder) pack(ctx context.Context, build *pipeline.Build, output string, entry *Artifact, weights sourceDigests, known bool) error {
	path := filepath.Join(b.work.set, output)
	b.work.forget(entry.Path)
	if err := makeFolders(b.work.set, filepath.Dir(path)); err != nil {
		return err
	}
	beside, stop := context.WithCancel(ctx)
	defer stop()
	digested := make(chan error, 1)
	go func() {
		if known {
			digested <- nil
			return
		}
		digests, err := weights.all(beside)
		if err == nil {
			entry.setValues(digests)
		}
		digested <- err
	}()
	index, err := build.Pack(ctx, path, pack.Options{Jobs: b.Jobs, Check: func(f *artifact.File) error {
		return checkAndSum(beside, f, build, &entry.File)
	}})
	if err != nil {
		stop()
	}
	if other := <-digested; err == nil {
		err = other
	}
	if err == nil {
		err = build.Catalogue.Unchanged()
	}
	if err != nil {
		return err
	}
	b.reached("made " + entry.Path)
	if err := b.work.keep(*entry, producer(plan.Revision)); err != nil {
		return err
	}
	b.made++
	b.reached("packed " + entry.Path)
	b.tell("%s: %d operands in %d segments, %d bytes of data, verified (%s, from %s)",
		filepath.Join(b.Out, output), len(index.Operands), len(index.Segments), build.Plan.DataBytes(), build.Recipe.Name, build.Catalogue.Path)
	return nil
}

// checkAndSum holds a finished artifact against what it was made from, and digests it meanwhile.
func checkAndSum(ctx context.Context, f *artifact.File, build *pipeline.Build, file *File) error {
	summed := make(chan error, 1)
	h := sha256.New()
	size := int64(f.Header.FileBytes)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { summed <- copyAll(ctx, h, io.NewSectionReader(f, 0, size)) }()
	err := check.Artifact(ctx, f, build.Catalogue, build.Plan)
	if err != nil {
		stop()
	}
	if other := <-summed; err == nil {
		err = other
	}
	file.Bytes, file.SHA256 = size, Digest(h.Sum(nil))
	return err
}

// tell says what is going on.
func (b *builder) tell(format string, args ...any) {
	if b.Progress != nil {
		fmt.Fprintf(b.Progress, format+"\n", args...)
	}
}
