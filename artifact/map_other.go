//go:build !unix || nommap

package artifact

import "os"

func mapFile(*os.File, int) ([]byte, error) { return nil, ErrUnsupported }

func unmapFile([]byte) error { return nil }
