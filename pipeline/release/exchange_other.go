//go:build !linux

package release

import "errors"

// exchange: two names cannot be exchanged at once here.
func exchange(string, string) error { return errors.ErrUnsupported }
