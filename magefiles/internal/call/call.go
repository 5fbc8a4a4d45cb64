// Package call holds what the call of a mage target means: the module that it is for, the paths, the flags left out.
package call

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Root returns the nearest folder, from dir upwards, that holds a go.mod.
func Root(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		_, err := os.Stat(filepath.Join(at, "go.mod"))
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s: no go.mod here or above: run mage inside the project", dir)
		}
	}
}

// Path returns a slash-separated path below the root in the system's form: relative when the current folder is the root, so
// that messages stay short.
func Path(root, name string) string {
	if dir, err := os.Getwd(); err == nil && dir == root {
		return filepath.FromSlash(name)
	}
	return filepath.Join(root, filepath.FromSlash(name))
}

// Given returns what an optional flag points to, or fallback when the flag was left out.
func Given[T any](flag *T, fallback T) T {
	if flag == nil {
		return fallback
	}
	return *flag
}
