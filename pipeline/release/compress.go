package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"npuw/pipeline/npuwz"
	"npuw/pipeline/plan"
)

// compressedPath is where the compressed form of an artifact is: NAME.npuwz beside NAME.npuw.
func compressedPath(path string) string { return path + "z" }

// compressed is the compressed form of an artifact that has been made already, with the path of its file. Kept says that it is in the work
// folder.
func (b *builder) compressed(ctx context.Context, p *part) (f *File, from string, kept bool) {
	sound := func(dir string, a *Artifact) (*File, string) {
		if a.Compressed == nil || a.SHA256 != p.SHA256 {
			return nil, ""
		}
		path, err := plainFile(dir, a.Compressed.Path)
		if err != nil {
			return nil, ""
		}
		got, err := b.cache.fileDigest(ctx, path)
		if err != nil || got.Bytes != a.Compressed.Bytes || got.SHA256 != a.Compressed.SHA256 {
			return nil, ""
		}
		got.Path = compressedPath(p.Path)
		return &got, path
	}
	for i := range b.work.kept {
		if a := &b.work.kept[i]; a.Key == p.Key && a.Path == p.Path {
			if f, path := sound(b.work.set, a); f != nil {
				return f, path, true
			}
		}
	}
	if a := b.last.find(p.Key, p.Path); a != nil {
		f, from = sound(b.last.dir, a)
	}
	return f, from, false
}

// compress adds the compressed form to an artifact, made anew if need be.
func (b *builder) compress(ctx context.Context, p *part) error {
	f, from, kept := b.compressed(ctx, p)
	if f != nil {
		p.Compressed = f
		if !kept {
			p.compressedFrom = from
		}
		return nil
	}
	in := p.from
	if in == "" {
		in = filepath.Join(b.work.set, filepath.FromSlash(p.Path))
	}
	out := filepath.Join(b.work.set, filepath.FromSlash(compressedPath(p.Path)))
	if err := makeFolders(b.work.set, filepath.Dir(out)); err != nil {
		return err
	}
	if _, err := npuwz.Compress(ctx, in, out, npuwz.Options{Jobs: b.Jobs}); err != nil {
		return err
	}
	if err := b.tryCompressed(ctx, out, p.SHA256); err != nil {
		return err
	}
	got, err := b.cache.fileDigest(ctx, out)
	if err != nil {
		return err
	}
	got.Path = compressedPath(p.Path)
	p.Compressed = &got
	b.made++
	b.reached("compressed " + p.Path)
	b.tell("%s: %d of %d bytes", filepath.Join(b.Out, filepath.FromSlash(got.Path)), got.Bytes, p.Bytes)
	if p.from != "" {
		return nil
	}
	return b.work.keep(p.Artifact, producer(plan.Revision))
}

// tryCompressed makes the artifact again of its compressed form, to see that it is the same.
func (b *builder) tryCompressed(ctx context.Context, path string, want Digest) error {
	if err := os.Mkdir(b.work.again, 0o777); err != nil {
		return err
	}
	defer os.RemoveAll(b.work.again)
	again := filepath.Join(b.work.again, "x.npuw")
	if _, err := npuwz.Decompress(ctx, path, again, npuwz.Options{Jobs: b.Jobs, NoSync: true}); err != nil {
		return err
	}
	got, err := (*cache)(nil).fileDigest(ctx, again)
	if err == nil && got.SHA256 != want {
		err = fmt.Errorf("%s: the artifact that it gives is another one; the machine's memory or disk, or npuw, is at fault: build again, and report it if it stays", path)
	}
	return err
}

// checkCompressed checks that the compressed form of an artifact, if it has one, says that it holds this one.
func checkCompressed(dir string, a *Artifact, sound map[string]bool, content fmt.Stringer) error {
	if a.Compressed == nil || !sound[a.Compressed.Path] {
		return nil
	}
	path := filepath.Join(dir, filepath.FromSlash(a.Compressed.Path))
	h, err := npuwz.Header(path)
	if err != nil {
		return err
	}
	if h.Digest.String() != content.String() {
		return fmt.Errorf("%s: it holds the artifact %v, not %s, which is %v", path, h.Digest, a.Path, content)
	}
	return nil
}

// removeIfThere removes a file that need not be there.
func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
