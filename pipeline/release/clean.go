package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Clean removes the set in a folder, artifacts that are there otherwise, finished or not, what a failed build has kept beside it, and
// folders that are empty then. Other files stay; links are not followed.
func Clean(dir string) error {
	out, err := resolve(dir)
	if err != nil {
		return err
	}
	if err := cleanWork(out); err != nil {
		return err
	}
	last, err := readPublished(out)
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, name := range last.listed {
		ours[name] = true
	}
	if len(ours) > 0 {
		ours[ListingName], ours[SumsName] = true, true
	}
	left, err := prune(out, func(name string, plain bool) bool {
		return !plain || !ours[name] && !strings.HasSuffix(name, ".npuw") && !stale(name)
	})
	if err != nil || left {
		return err
	}
	if err := os.Remove(out); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// cleanWork removes the work folder of out, unless a build has it.
func cleanWork(out string) error {
	if _, err := os.Lstat(WorkFolder(out)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	w, err := begin(out)
	if err != nil {
		return fmt.Errorf("%w; nothing was removed", err)
	}
	err = w.recover(out) // the last set, if that is what is there
	w.end(false)
	return err
}
