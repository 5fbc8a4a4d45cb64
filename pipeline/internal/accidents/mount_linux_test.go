package accidents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"npuw/artifact"
	"npuw/pipeline/internal/whisperonnx"
	"npuw/pipeline/release"
	"npuw/schema/pyreader"
)

// inside runs a test again, in a process that has mounts of its own, and says whether this is that process.
func inside(t *testing.T) bool {
	t.Helper()
	const variable = "NPUW_TEST_INSIDE"
	if os.Getenv(variable) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"="+t.Name(), "NPUW_TEST_COMMAND="+npuw)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if uid := os.Geteuid(); uid != 0 { // then the process is root in a world of its own
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: uid, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Errorf("%v\n%s", err, out)
	case err != nil:
		unable(t, "a process with mounts of its own", err)
	default:
		t.Logf("\n%s", out)
	}
	return false
}

// unable skips a test that this machine cannot run; in CI that is a failure.
func unable(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("this machine does not let tests have %s: %v", what, err)
	}
	t.Skipf("this machine does not let tests have %s: %v", what, err)
}

// disk mounts a disk of its own, in memory, of so many bytes.
func disk(t *testing.T, bytes int64) string {
	t.Helper()
	dir := filepath.Join(pyreader.TempDir(t), "disk")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("npuw-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		unable(t, "a small disk", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// resize gives a disk another size, or makes it read-only with size 0.
func resize(t *testing.T, dir string, bytes int64) {
	t.Helper()
	flags, data := uintptr(syscall.MS_REMOUNT), fmt.Sprintf("size=%d", bytes)
	if bytes == 0 {
		flags, data = flags|syscall.MS_RDONLY, ""
	}
	if err := syscall.Mount("npuw-test", dir, "tmpfs", flags, data); err != nil {
		t.Fatal(err)
	}
}

// packFails runs `npuw pack`, which is to fail with status 1 and one line that has all the words.
func packFails(t *testing.T, source, out string, words ...string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), npuw, "pack", source, "-q", "-o", out)
	cmd.Stderr = &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("%v, expected exit status 1 and one line:\n%s", err, &stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr.String(), w) {
			t.Errorf("%q is not in %s", w, &stderr)
		}
	}
}

// TestFullDisk packs to disks of every size in pages from none free to enough. What was there stays as it was, and nothing else is
// there, until all of the artifact fits.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !inside(t) {
		return
	}
	const pageBytes = 4096
	source, golden := model(t, whisperonnx.Config{DModel: 8, Layers: 1, Heads: 2, FFN: 9, Mels: 3, Positions: 4})
	dir := disk(t, pageBytes)
	out := filepath.Join(dir, "x.npuw")
	put(t, out)
	failed := 0
	for pages := int64(1); ; pages++ {
		resize(t, dir, pages*pageBytes)
		if pages > 1 && exec.CommandContext(t.Context(), npuw, "pack", source, "-q", "-o", out).Run() == nil {
			break
		}
		failed++
		packFails(t, source, out, out, "no space left on device")
		if got := state(out); got != "before" || names(t, dir) != "x.npuw" {
			t.Fatalf("%d pages: %s, and in the folder %s", pages, got, names(t, dir))
		}
		if pages > 1000 {
			t.Fatal("it never fits")
		}
	}
	if got := state(out); got != golden.String() || names(t, dir) != "x.npuw" {
		t.Errorf("%s, and in the folder %s", got, names(t, dir))
	}
	t.Logf("%d sizes are too small", failed)
	if failed < 10 {
		t.Errorf("only %d sizes were too small", failed)
	}
}

// TestNoRoomForNames packs to a disk that has room, but for no further file.
func TestNoRoomForNames(t *testing.T) {
	t.Parallel()
	if !inside(t) {
		return
	}
	source, _ := model(t, whisperonnx.Odd)
	dir := disk(t, 1<<20)
	if err := syscall.Mount("npuw-test", dir, "tmpfs", syscall.MS_REMOUNT, "nr_inodes=2"); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "x.npuw")
	put(t, out)
	packFails(t, source, out, out, "create", "no space left on device")
	if got := state(out); got != "before" || names(t, dir) != "x.npuw" {
		t.Errorf("%s, and in the folder %s", got, names(t, dir))
	}
}

// TestReadOnly packs to a folder that cannot be written to, and from one.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	if !inside(t) {
		return
	}
	dir := disk(t, 1<<20)
	source, golden := model(t, whisperonnx.Odd)
	inDisk := filepath.Join(dir, "model.onnx")
	if err := whisperonnx.Write(inDisk, whisperonnx.Odd); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "x.npuw")
	put(t, out)
	resize(t, dir, 0)
	packFails(t, source, out, out, "create", "read-only file system")
	packFails(t, source, filepath.Join(dir, "new.npuw"), "new.npuw", "read-only file system")
	if got := state(out); got != "before" || names(t, dir) != "model.onnx x.npuw" {
		t.Errorf("%s, and in the folder %s", got, names(t, dir))
	}
	elsewhere := filepath.Join(pyreader.TempDir(t), "x.npuw")
	if msg, err := exec.CommandContext(t.Context(), npuw, "pack", inDisk, "-q", "-o", elsewhere).CombinedOutput(); err != nil || state(elsewhere) != golden.String() {
		t.Errorf("from a read-only disk: %v, %s\n%s", err, state(elsewhere), msg)
	}
}

// TestReleaseOnFullDisk builds a release of which the second artifact does not fit: nothing is published, and the first is kept, whole.
func TestReleaseOnFullDisk(t *testing.T) {
	t.Parallel()
	if !inside(t) {
		return
	}
	small, golden := model(t, whisperonnx.Odd)
	large, _ := model(t, whisperonnx.Tiny)
	dir := disk(t, 256<<10)
	manifest := filepath.Join(pyreader.TempDir(t), "release.txtpb")
	text := fmt.Sprintf("artifact { source: %q output: \"small.npuw\" }\nartifact { source: %q recipe: \"whisper-encoder/f32\" output: \"large.npuw\" }\n", small, large)
	if err := os.WriteFile(manifest, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	err := release.Build(context.Background(), release.Options{Manifest: manifest, Out: filepath.Join(dir, "out"), Progress: &progress})
	var fault *artifact.Error
	if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &fault) || !strings.HasPrefix(err.Error(), manifest+":2: large.npuw: ") {
		t.Errorf("%v, expected a full disk, of line 2", err)
	}
	kept := filepath.Join(release.WorkFolder(filepath.Join(dir, "out")), "set")
	if got := names(t, kept); got != "small.npuw" || state(filepath.Join(kept, "small.npuw")) != golden.String() {
		t.Errorf("kept: %s, %s", got, state(filepath.Join(kept, "small.npuw")))
	}
	if _, err := os.Lstat(filepath.Join(dir, "out")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was published (%v)", err)
	}
}

// TestReleaseOntoMountPoint builds a set into a folder that is a file system of its own: it cannot be replaced, which is said before the work.
func TestReleaseOntoMountPoint(t *testing.T) {
	t.Parallel()
	if !inside(t) {
		return
	}
	small, _ := model(t, whisperonnx.Odd)
	dir := disk(t, 1<<20)
	manifest := filepath.Join(pyreader.TempDir(t), "release.txtpb")
	if err := os.WriteFile(manifest, fmt.Appendf(nil, "artifact { source: %q output: \"small.npuw\" }\n", small), 0o666); err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	err := release.Build(context.Background(), release.Options{Manifest: manifest, Out: dir, Progress: &progress})
	if err == nil || !strings.Contains(err.Error(), "name one in it (-out)") || progress.Len() > 0 {
		t.Errorf("%v, after %q", err, &progress)
	}
	if got := names(t, dir); got != "" {
		t.Errorf("in the folder: %s", got)
	}
	if _, err := os.Lstat(release.WorkFolder(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a work folder was left (%v)", err)
	}
}
