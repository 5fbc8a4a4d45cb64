package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"npuw/pipeline/internal/portable"
)

// workFolder is the folder beside a set in which the next one is made. One build at a time has it.
//
//	.NAME.npuw-build/   beside the folder NAME, which is to hold the set
//	  lock              held while a build runs
//	  set/              the next set; then, for a moment, the last one
//	  old/              the last set, on systems that cannot exchange two folders
//	  again/            what a compressed artifact gives, while it is tried
//	  kept.json         what is finished in set/: artifacts that the next try takes over if this one fails
//
// It stays when a build fails or is killed, and is removed by the one that ends well.
type workFolder struct {
	dir, set, old, again string
	lock                 *os.File
	kept                 []Artifact
}

const (
	keptName = "kept.json"
	lockName = "lock"
)

// WorkFolder is the folder in which a set that is to be in the folder out is made: what a failed build has finished is there.
func WorkFolder(out string) string {
	return filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+".npuw-build")
}

// resolve gives the folder that a set is to be in: what a symbolic link leads to, not the link, is replaced. It need not exist.
func resolve(out string) (string, error) {
	if out == "" {
		return "", errors.New("no folder is named for the set")
	}
	abs, err := filepath.Abs(out)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(abs); err == nil {
			return "", fmt.Errorf("%s: is a symbolic link to nothing; remove it", out)
		}
		real = abs
	case err != nil:
		return "", fmt.Errorf("%s: cannot be followed: %w; name another folder (-out)", out, err)
	}
	if filepath.Dir(real) == real {
		return "", fmt.Errorf("%s: is the root of a file system; name a folder in it", out)
	}
	return real, nil
}

// begin takes the work folder of out, which is resolved.
func begin(out string) (*workFolder, error) {
	w := &workFolder{dir: WorkFolder(out)}
	w.set, w.old, w.again = filepath.Join(w.dir, "set"), filepath.Join(w.dir, "old"), filepath.Join(w.dir, "again")
	name := filepath.Join(w.dir, lockName)
	for range 100 {
		if err := os.MkdirAll(w.dir, 0o777); err != nil {
			return nil, fmt.Errorf("a set is made beside its folder: %w", err)
		}
		if info, err := os.Lstat(w.dir); err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s: is not a folder; remove it", w.dir)
		}
		if err := w.refuseLinks(); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a build that came to its end has removed the folder
		}
		if err != nil {
			return nil, err
		}
		if err := lock(f); err != nil {
			f.Close()
			if errors.Is(err, errHeld) {
				return nil, fmt.Errorf("%s: another build makes this set; wait for its end and run again", out)
			}
			return nil, err
		}
		if sameFile(f, name) {
			w.lock, w.kept = f, readKept(filepath.Join(w.dir, keptName))
			return w, nil
		}
		f.Close() // it was removed between the opening and the lock
	}
	return nil, fmt.Errorf("%s: other builds remove it as soon as it is made", w.dir)
}

// refuseLinks refuses a work folder that leads elsewhere, as one that came with a download may: what lies in set/ is removed, old/ is put in
// the place of a set, and the lock is made if it is not there.
func (w *workFolder) refuseLinks() error {
	for _, path := range []string{w.set, w.old, w.again, filepath.Join(w.dir, lockName)} {
		info, err := os.Lstat(path)
		if err != nil {
			continue // it is not there, or whoever uses it says why not
		}
		if folder := filepath.Base(path) != lockName; folder != info.IsDir() || info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s: no build has made it so; remove it", path)
		}
	}
	return nil
}

func sameFile(f *os.File, name string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Lstat(name)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// end gives the work folder back. All of it is removed unless something in it is to be kept.
func (w *workFolder) end(keep bool) {
	if keep {
		w.lock.Close()
		return
	}
	_ = os.RemoveAll(w.set)
	_ = os.RemoveAll(w.again)
	_ = os.Remove(filepath.Join(w.dir, keptName))
	_ = os.Remove(filepath.Join(w.dir, keptName+".new"))
	_ = os.Remove(w.lock.Name()) // while it is locked, if the system lets us: who opens it later finds it gone
	w.lock.Close()
	_ = os.Remove(w.lock.Name())
	_ = os.Remove(w.dir)
}

// recover puts back a set that a build was killed over, between moving it away and putting the next in its place.
func (w *workFolder) recover(out string) error {
	if _, err := os.Lstat(w.old); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(w.old) // the next set was in place: only the removal was missing
	}
	return os.Rename(w.old, out)
}

// clean removes from the set all that is not a finished artifact of an earlier try.
func (w *workFolder) clean() error {
	names := map[string]bool{}
	w.kept = slices.DeleteFunc(w.kept, func(a Artifact) bool {
		_, err := plainFile(w.set, a.Path)
		names[a.Path] = err == nil
		if a.Compressed != nil {
			names[a.Compressed.Path] = err == nil
		}
		return err != nil
	})
	if err := errors.Join(os.RemoveAll(w.again), os.MkdirAll(w.set, 0o777)); err != nil {
		return err
	}
	_, err := prune(w.set, func(name string, plain bool) bool { return plain && names[name] })
	return err
}

// keptList is what kept.json holds.
type keptList struct {
	Producer  Producer   `json:"producer"`
	Artifacts []Artifact `json:"artifacts"`
}

// readKept reads the list of finished artifacts; what cannot be read is not finished.
func readKept(path string) []Artifact {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxListing {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var l keptList
	if checkCounts(text) != nil || json.Unmarshal(text, &l) != nil {
		return nil
	}
	return slices.DeleteFunc(l.Artifacts, func(a Artifact) bool {
		return portable.Check(a.Path) != nil || a.key(l.Producer) != a.Key || a.Compressed != nil && a.Compressed.Path != compressedPath(a.Path)
	})
}

// keep notes that an artifact is finished, in place of any that was at its path.
func (w *workFolder) keep(a Artifact, p Producer) error {
	w.forget(a.Path)
	w.kept = append(w.kept, a)
	return w.writeKept(p)
}

func (w *workFolder) forget(path string) {
	w.kept = slices.DeleteFunc(w.kept, func(b Artifact) bool { return b.Path == path })
}

func (w *workFolder) writeKept(p Producer) error {
	b, err := json.Marshal(keptList{p, w.kept})
	if err != nil {
		return err
	}
	temporary := filepath.Join(w.dir, keptName+".new")
	if err := writeFile(temporary, b); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(w.dir, keptName))
}

// prune removes everything from a folder and those below but the files that are wanted, by slash-separated path, and folders that lead
// to them. plain tells files from links and the like, which are never followed. It reports whether anything is left.
func prune(dir string, wanted func(name string, plain bool) bool) (left bool, err error) {
	return pruneFolder(dir, "", wanted)
}

func pruneFolder(dir, below string, wanted func(name string, plain bool) bool) (left bool, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(below)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		name := strings.TrimPrefix(below+"/"+e.Name(), "/")
		var stays bool
		if e.IsDir() {
			stays, err = pruneFolder(dir, name, wanted)
		} else {
			stays = wanted(name, e.Type().IsRegular())
		}
		if err == nil && !stays {
			err = os.Remove(filepath.Join(dir, filepath.FromSlash(name)))
		}
		if err != nil {
			return false, err
		}
		left = left || stays
	}
	return left, nil
}

// writeFile writes a whole new file, in place of any other, to the disk.
func writeFile(path string, b []byte) error {
	if err := removeIfThere(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// sameContent reports whether a plain file of a set holds these bytes.
func sameContent(dir, name string, want []byte) bool {
	path, err := plainFile(dir, name)
	if err != nil {
		return false
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != int64(len(want)) {
		return false
	}
	got, err := os.ReadFile(path)
	return err == nil && bytes.Equal(got, want)
}

// walk calls do for all that is in a folder and those below but folders, by slash-separated path, until it gives an error. plain tells
// files from links and the like, which are not followed.
func walk(dir string, do func(name string, plain bool) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return do(filepath.ToSlash(name), d.Type().IsRegular())
	})
}
