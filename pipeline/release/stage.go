package release

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"npuw/pipeline"
	"npuw/pipeline/plan"
	"npuw/pipeline/source"
)

// makeFolders makes dir, which is root or below it.
func makeFolders(root, dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	// Nothing there was a link when the build began; see that nothing is.
	for at := dir; len(at) >= len(root); at = filepath.Dir(at) {
		if info, err := os.Lstat(at); err != nil || !info.IsDir() {
			return errors.Join(err, fmt.Errorf("%s: is not a folder", at))
		}
	}
	return nil
}

// finish completes the set and puts it in place, unless it is there already.
func (b *builder) finish(ctx context.Context) error {
	list := make([]Artifact, len(b.parts))
	for i := range b.parts {
		list[i] = b.parts[i].Artifact
	}
	kernels, err := placeKernels(b.files)
	if err != nil {
		return err
	}
	l := assemble(list, kernels, producer(plan.Revision))
	text, err := l.encode()
	if err != nil {
		return err
	}
	if _, err := ParseListing(text); err != nil { // what release:verify would say
		return fmt.Errorf("%s: %w; give the files other names", b.manifest.path, err)
	}
	files, err := l.files()
	if err != nil {
		return err
	}
	sumsText := sums(withListing(files, text))
	if b.inPlace(ctx, files, text, sumsText) {
		b.tell("%s: nothing has changed since the set was made", b.Out)
		return nil
	}
	if err := b.stage(ctx, files, kernels); err != nil {
		return err
	}
	b.reached("staged")
	for _, f := range []struct {
		name string
		text []byte
	}{{ListingName, text}, {SumsName, sumsText}} {
		if err := writeFile(filepath.Join(b.work.set, f.name), f.text); err != nil {
			return err
		}
		b.reached("written " + f.name)
	}
	if err := b.work.publish(b.last, b.manifest.outputs(), &b.Options); err != nil {
		return err
	}
	b.tell("%s: a set of %d files, %d of them made anew", b.Out, len(files)+2, b.made)
	return nil
}

// inPlace reports whether the set is in its folder already, all of it and nothing else.
func (b *builder) inPlace(ctx context.Context, files []File, listing, sums []byte) bool {
	if b.made > 0 || !sameContent(b.last.dir, ListingName, listing) || !sameContent(b.last.dir, SumsName, sums) {
		return false
	}
	there := 0
	err := walk(b.last.dir, func(string, bool) error { there++; return nil })
	if err != nil || there != len(files)+2 {
		return false
	}
	for _, f := range files {
		path, err := plainFile(b.last.dir, f.Path)
		if err != nil {
			return false
		}
		if got, err := b.cache.fileDigest(ctx, path); err != nil || got.Bytes != f.Bytes || got.SHA256 != f.SHA256 {
			return false
		}
	}
	return true
}

// stage brings into the work folder what is missing there, and removes what is too much.
func (b *builder) stage(ctx context.Context, files []File, kernels map[string]kernelSource) error {
	for i := range b.parts {
		p := &b.parts[i]
		if p.from != "" {
			if err := b.link(ctx, p.from, p.File); err != nil {
				return err
			}
		}
		if p.compressedFrom != "" {
			if err := b.link(ctx, p.compressedFrom, *p.Compressed); err != nil {
				return err
			}
		}
	}
	for _, f := range files {
		if k, ok := kernels[f.Path]; ok {
			if err := b.copy(ctx, k.path, f); err != nil {
				return err
			}
		}
	}
	wanted := map[string]bool{}
	for _, f := range files {
		wanted[f.Path] = true
	}
	if _, err := prune(b.work.set, func(name string, plain bool) bool { return plain && wanted[name] }); err != nil {
		return err
	}
	return b.checkKernels(kernels)
}

// checkKernels holds the contracts of all artifacts against the xclbins of the set.
func (b *builder) checkKernels(kernels map[string]kernelSource) error {
	var paths []string
	for name := range kernels {
		paths = append(paths, filepath.Join(b.work.set, filepath.FromSlash(name)))
	}
	for i := range b.parts {
		if err := pipeline.VerifyKernels(filepath.Join(b.work.set, filepath.FromSlash(b.parts[i].Path)), paths); err != nil {
			return err
		}
	}
	return nil
}

// link gives a file of the last set a second name in the next, or copies it where that cannot be done.
func (b *builder) link(ctx context.Context, from string, f File) error {
	to := filepath.Join(b.work.set, filepath.FromSlash(f.Path))
	if err := makeFolders(b.work.set, filepath.Dir(to)); err != nil {
		return err
	}
	if err := removeIfThere(to); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	return b.copy(ctx, from, f)
}

// copy copies a file into the next set, to the disk. It must have the digest that it had when it was listed.
func (b *builder) copy(ctx context.Context, from string, f File) error {
	to := filepath.Join(b.work.set, filepath.FromSlash(f.Path))
	if err := makeFolders(b.work.set, filepath.Dir(to)); err != nil {
		return err
	}
	if err := removeIfThere(to); err != nil {
		return err
	}
	r, err := source.OpenFile(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	h := sha256.New()
	err = copyAll(ctx, io.MultiWriter(w, h), io.NewSectionReader(r, 0, f.Bytes+1))
	if err == nil {
		err = w.Sync()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	if Digest(h.Sum(nil)) != f.SHA256 {
		return fmt.Errorf("%s: was changed while the set was made; run again when nothing writes to it", from)
	}
	return nil
}
