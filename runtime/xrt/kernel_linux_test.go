package xrt

import (
	"errors"
	"os"
	"testing"

	"npuw/artifact"
	"npuw/runtime/device"
	"npuw/schema/pyreader"
)

// Instructions are read from mapped pages, which are gone where the file was cut since.
func TestInstructionsOfACutFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 1, nil, small)
	file, err := artifact.Open(f.path)
	check(t, err)
	pages, err := file.Map()
	check(t, err)
	pyreader.Damage(t, f.path)
	check(t, os.Truncate(f.path, page))
	if _, err := copied(pages[2*page:]); !errors.Is(err, device.ErrFault) {
		t.Errorf("a cut file: %v", err)
	}
	check(t, file.Close())
}
