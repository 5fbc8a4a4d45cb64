//go:build !unix && !windows

package whole

import (
	"errors"
	"os"
)

// lock fails: there are no locks here, and nothing tells a stale temporary file from one that a builder writes to.
func lock(*os.File) error { return errors.ErrUnsupported }

// removesOpenFiles: an open file can be removed and renamed.
const removesOpenFiles = false

func syncFolder(string) error { return nil }
