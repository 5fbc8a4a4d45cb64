package xrt

import (
	"errors"
	"os"
	"testing"

	"npuw/runtime/device"
	"npuw/schema/pyreader"
)

// Instructions are read from mapped pages, which are gone where the file was cut since.
func TestInstructionsOfACutFile(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		f := newFixture(t, small)
		d := r.device(f)
		m := load(t, d, f)
		pyreader.Damage(t, f.path)
		check(t, os.Truncate(f.path, page))
		if _, err := d.Open(&m.Index.Contracts[0]); !errors.Is(err, device.ErrFault) {
			t.Errorf("a cut file: %v", err)
		}
		check(t, m.Close())
		check(t, d.Close())
		r.hasNone()
	})
}
