package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// errHeld is the error of a lock that another program has.
var errHeld = errors.New("locked by another program")

// published is the set that is in a folder now.
type published struct {
	dir     string
	listing *Listing // nil: none that can be read
	listed  []string // the files that its release.json or SHA256SUMS name
}

// readPublished reads what is in a folder. That nothing is there, or no set, is no error.
func readPublished(dir string) (*published, error) {
	p := &published{dir: dir}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: is not a folder; give the set another one", dir)
	}
	if text, err := readSmall(dir, ListingName); err == nil {
		if l, err := ParseListing(text); err == nil {
			p.listing = l
			files, _ := l.files() // which ParseListing has checked
			for _, f := range files {
				p.listed = append(p.listed, f.Path)
			}
		}
	}
	if text, err := readSmall(dir, SumsName); err == nil {
		if files, err := parseSums(text); err == nil {
			for _, f := range files {
				p.listed = append(p.listed, f.Path)
			}
		}
	}
	return p, nil
}

// readSmall reads a plain file of a set that is not large.
func readSmall(dir, name string) ([]byte, error) {
	path, err := plainFile(dir, name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxListing {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are allowed", path, info.Size(), maxListing)
	}
	return os.ReadFile(path)
}

// checkOurs refuses a folder in which something would be lost if a set took its place: what no listing there names. In a folder without a
// listing, as older npuws left it, the outputs of the release may be replaced.
func (p *published) checkOurs(outputs []string) error {
	ours := map[string]bool{ListingName: true, SumsName: true}
	for _, name := range p.listed {
		ours[name] = true
	}
	for _, name := range outputs {
		ours[name] = ours[name] || len(p.listed) == 0
	}
	err := walk(p.dir, func(name string, plain bool) error {
		path := filepath.Join(p.dir, filepath.FromSlash(name))
		if !plain {
			return fmt.Errorf("%s: is neither a file nor a folder, and no part of a set; remove it, or give the set another folder (-out)", path)
		}
		if ours[name] || stale(name) {
			return nil
		}
		next := "move it elsewhere"
		if len(p.listed) == 0 && strings.HasSuffix(name, ".npuw") {
			next = "move it elsewhere or remove it (`mage clean` does)"
		}
		return fmt.Errorf("%s: is not of the set in %s, and would be lost when the new one takes its place; %s, or give the set another folder (-out)", path, p.dir, next)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// stale says that a file is the temporary file of a build of an artifact that was killed.
func stale(name string) bool {
	base := name[strings.LastIndex(name, "/")+1:]
	return strings.HasPrefix(base, ".") && strings.Contains(base, ".npuw-tmp-")
}

// find looks for an artifact by its key: the one at path, else one that was made under another name.
func (p *published) find(key Digest, path string) *Artifact {
	if p.listing == nil {
		return nil
	}
	var found *Artifact
	for i := range p.listing.Artifacts {
		if a := &p.listing.Artifacts[i]; a.Key == key && (found == nil || a.Path == path) {
			found = a
		}
	}
	return found
}

// publish puts the finished set in place of the last one. After an error the last one is in its place, unless the error is an
// *unsyncedError.
func (w *workFolder) publish(last *published, outputs []string, opts *Options) error {
	if err := syncTree(w.set); err != nil {
		return err
	}
	opts.reached("synced")
	made, err := os.Lstat(w.set)
	if err != nil {
		return err
	}
	if err := w.swap(last, outputs, opts); err != nil {
		_ = os.Chmod(w.set, made.Mode().Perm()) // with those of the last set the next build might not be able to work in it
		return placeError(last.dir, err)
	}
	err = syncFolder(filepath.Dir(last.dir))
	// The last set. What cannot be removed now, the next build will try to.
	_ = os.RemoveAll(w.set)
	_ = os.RemoveAll(w.old)
	if err != nil {
		return &unsyncedError{err}
	}
	return nil
}

// unsyncedError is of a set that is in its place, and may not be there after a loss of power.
type unsyncedError struct{ error }

func (e *unsyncedError) Unwrap() error { return e.error }

// swap puts the set in place.
func (w *workFolder) swap(last *published, outputs []string, opts *Options) error {
	out := last.dir
	info, err := os.Lstat(out)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Rename(w.set, out)
	}
	if err != nil {
		return err
	}
	_ = os.Chmod(w.set, info.Mode().Perm()) // as the folder was; whoever may replace it may not always do this
	if err := last.checkOurs(outputs); err != nil {
		return err
	}
	err = errors.ErrUnsupported
	if !opts.inTwo {
		err = exchange(w.set, out)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return w.swapInTwo(last, outputs, opts)
	}
	if err != nil {
		return err
	}
	opts.reached("exchanged")
	if err := last.at(w.set).checkOurs(outputs); err != nil { // it came at the last moment
		return errors.Join(err, exchange(w.set, out))
	}
	return nil
}

// at is what was published, in another folder.
func (p *published) at(dir string) *published {
	moved := *p
	moved.dir = dir
	return &moved
}

// swapInTwo does with two renames what cannot be done with one here. Between them nothing is at out; a build that is killed there leaves
// the last set in the work folder, from where the next build puts it back.
func (w *workFolder) swapInTwo(last *published, outputs []string, opts *Options) error {
	if err := os.Rename(last.dir, w.old); err != nil {
		return err
	}
	opts.reached("moved away")
	err := last.at(w.old).checkOurs(outputs)
	if err == nil {
		err = os.Rename(w.set, last.dir)
	}
	if err != nil {
		return errors.Join(err, os.Rename(w.old, last.dir))
	}
	return nil
}

// placeError says what to do where a folder cannot be replaced.
func placeError(out string, err error) error {
	var link *os.LinkError
	if !errors.As(err, &link) {
		return err
	}
	next := mountAdvice
	switch {
	case errors.Is(err, syscall.EXDEV): // no mount point, or checkMount would have said so
		next = "a folder that the image of a container has cannot be replaced: remove it first, or give the set another folder (-out)"
	case errors.Is(err, fs.ErrPermission):
		next = fmt.Sprintf("allow writing to it and to %s, or give the set another folder (-out)", filepath.Dir(out))
	}
	return fmt.Errorf("%s: the set cannot be put in its place: %w; %s", out, link.Err, next)
}

const mountAdvice = "a folder that is a mount point cannot be replaced: name one in it (-out)"

// checkMount refuses a folder that is another file system than the one around it, as far as that can be told before the work is done.
func checkMount(out string) error {
	in, err := os.Lstat(out)
	if err != nil {
		return nil // it is not there
	}
	around, err := os.Lstat(filepath.Dir(out))
	if err != nil {
		return err
	}
	a, known := identityOf(in)
	if b, _ := identityOf(around); known && a.device != b.device {
		return fmt.Errorf("%s: lies on another file system than %s; %s", out, filepath.Dir(out), mountAdvice)
	}
	return nil
}

// syncTree makes the names in a folder, and in those below, durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncFolder(path)
	})
}
