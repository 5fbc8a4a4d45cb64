//go:build !unix && !windows

package release

import "os"

// lock does nothing: there are no locks here, and who builds must see to it that one build makes a set at a time.
func lock(*os.File) error { return nil }

func syncFolder(string) error { return nil }
