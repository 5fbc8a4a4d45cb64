package lanes

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/magefile/mage/sh"
)

// arm64Packages are those whose results must be the same bits on every machine: what golden digests are of, and the reference device.
var arm64Packages = []string{"./artifact/element", "./artifact/layout", "./artifact", "./pipeline/pack", "./pipeline/npuwz", "./runtime/cpu"}

// arm64Skipped are tests that an emulator runs for too long (they go through every input, in plain Go on either machine), those that
// start a program of their own, which is none of this machine's, and those of pages that a mapped file has lost: qemu does not say
// which one a program missed, as Linux does.
const arm64Skipped = "^(TestDequantizeEveryCode|TestQuantizeExtremeBlocks|TestNF4Nearest|TestQuantizeTies|TestIsControl|TestWords|TestMemory" +
	"|TestWriteError|TestKilledAtEveryCall|TestEveryCallFails|TestTruncatedFile|TestTruncatedVectors)$"

// Arm64 tests that linux/arm64 gives the same bits: element formats, layouts, artifacts and packed models, by their golden digests.
// On other machines it needs Debian's qemu-user-static.
func (Test) Arm64(_ context.Context) error {
	args := []string{"test", "-short", "-skip=" + arm64Skipped}
	if runtime.GOOS != "linux" || runtime.GOARCH != "arm64" {
		emulator, err := findEmulator()
		if err != nil {
			return err
		}
		args = append(args, "-exec="+emulator)
	}
	return sh.RunWithV(map[string]string{"GOOS": "linux", "GOARCH": "arm64", "CGO_ENABLED": "0"}, "go", append(args, arm64Packages...)...)
}

// findEmulator finds the program that runs those of linux/arm64.
func findEmulator() (string, error) {
	if runtime.GOOS != "linux" {
		return "", errors.New("test:arm64 needs Linux, for qemu's emulation of its programs")
	}
	for _, name := range []string{"qemu-aarch64-static", "qemu-aarch64"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("test:arm64 needs qemu-aarch64, which is not here: apt-get install qemu-user-static")
}
