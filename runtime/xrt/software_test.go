//go:build xrt

package xrt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"npuw/artifact/element"
	"npuw/runtime/device"
	"npuw/runtime/xrt/gemmtest"
	"npuw/schema/pyreader"
)

// These tests run on the real XRT. Below it is the software NPU, which LD_PRELOAD puts in the place of the driver: see swnpu. It reads
// its settings when the device is opened, so tests that have some are not parallel.

// softwareNPU is the device that XRT sees, with what is below it.
type softwareNPU struct {
	*Device
	log string // path
}

// software opens the software NPU in the given modes. After the test it must have leaked nothing and understood everything.
func software(t testing.TB, mode string, opts Options) softwareNPU {
	t.Helper()
	s := softwareNPU{log: filepath.Join(pyreader.TempDir(t), "npu.log")}
	t.Setenv("SWNPU_MODE", mode)
	t.Setenv("SWNPU_LOG", s.log)
	d, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Device = d
	return s
}

// done closes the device, and fails the test where something was leaked. It gives the log.
func (s softwareNPU) done(t testing.TB) string {
	t.Helper()
	check(t, s.Close())
	log, err := os.ReadFile(s.log)
	check(t, err)
	unhandled := strings.Contains(string(log), "unhandled") && os.Getenv("SWNPU_MODE") != "no-userptr" // which knows no such ioctl
	if !strings.Contains(string(log), "leaks: bos=0 contexts=0 syncobjs=0") || unhandled {
		t.Errorf("the software NPU says:\n%s", log)
	}
	return string(log)
}

func TestSoftwareGEMM(t *testing.T) {
	gemms := []gemm{small}
	for _, g := range []gemmtest.GEMM{
		{M: 13, K: 40, N: 24, A: "M* K*", B: "K* N*", C: "M* N*", Format: element.F32},
		{M: 13, K: 40, N: 24, A: "M* K* M4 K8", B: "N* K* K8 N8 K8 N4", C: "N* M* M4 N4", Format: element.BF16, Bias: true},
		{M: 1, K: 1, N: 1, A: "M* K*", B: "K* N*", C: "M* N*", Format: element.F16},
		{M: 65, K: 129, N: 33, A: "K* M*", B: "K* N* N32", C: "M* N*", Format: element.F32, Bias: true},
	} {
		gemms = append(gemms, gemm{GEMM: g})
	}
	f := newFixture(t, gemms...)
	for _, mode := range []string{"", "shadow", "no-userptr", "latency=500"} {
		d := software(t, mode, Options{Xclbins: Folder(f.folder)})
		for i := range gemms {
			s := newSession(t, d, f, i)
			for range 3 {
				s.mustRun()
			}
			if !bytes.Equal(s.output(), reference(t, f, i)) {
				t.Errorf("mode %q, GEMM %d: other bits than the reference device", mode, i)
			}
			s.close()
		}
		d.done(t)
	}
}

// What the host wrote and did not sync, the device must not see: this is what shows that syncs are there where they must be.
func TestSoftwareForgottenSync(t *testing.T) {
	f := newFixture(t, small)
	d := software(t, "shadow", Options{Xclbins: Folder(f.folder)})
	s := newSession(t, d, f, 0)
	host, err := s.args["a"].Buffer.Host()
	check(t, err)
	clear(host)
	s.mustRun()
	want := reference(t, f, 0)
	host, err = s.args["c"].Buffer.Host()
	check(t, err)
	if bytes.Equal(host, want) {
		t.Error("the output is seen before it was synced")
	}
	if !bytes.Equal(s.output(), want) {
		t.Error("the cleared input was seen without a sync")
	}
	s.close()
	d.done(t)
}

// Weights lie in the artifact's own pages, or in a copy where the driver takes none, and the report says which.
func TestSoftwareZeroCopy(t *testing.T) {
	f := newFixture(t, small)
	for mode, why := range map[string]string{
		"":                "",
		"no-userptr":      "older than June 2025",
		"no-readonly-pin": "older than March 2026",
	} {
		d := software(t, mode, Options{Xclbins: Folder(f.folder)})
		s := newSession(t, d, f, 0)
		bytes := uint64(0)
		for _, r := range s.model.Report.Segments {
			bytes += r.Bytes
			if r.Mapped != (why == "") || !strings.Contains(r.Why, why) {
				t.Errorf("mode %q: segment %s, mapped %v: %s", mode, r.Name, r.Mapped, r.Why)
			}
		}
		s.mustRun()
		s.close()
		log := d.done(t)
		if got := strings.Contains(log, fmt.Sprintf("userptr_bytes=%d ", bytes)); got != (why == "") {
			t.Errorf("mode %q: the software NPU says:\n%s", mode, log)
		}
		if why == "" && (!strings.Contains(log, "read_only=1") || strings.Contains(log, "read_only=0")) {
			t.Errorf("pages were not pinned read-only:\n%s", log)
		}
	}
}

// Whatever the driver refuses is an error, and the process goes on.
func TestSoftwareErrors(t *testing.T) {
	f := newFixture(t, small)
	for mode, want := range map[string]error{
		"fail=CREATE_HWCTX:EIO":            syscall.EIO,
		"fail=CONFIG_HWCTX:EPERM":          syscall.EPERM,
		"fail=EXEC_CMD:EIO":                syscall.EIO,
		"fail=EXEC_CMD:ENODEV":             ErrGone,
		"gone=2":                           ErrGone,
		"fail=CREATE_BO:ENOMEM:2":          nil,            // of the first pages, which are copied then
		"fail=GET_BO_INFO:EIO":             syscall.EINVAL, // of XRT's own cleaning up
		"fail=SYNCOBJ_TIMELINE_WAIT:EINTR": nil,
		"fail=GEM_CLOSE:EIO":               nil,
		"fail=DESTROY_HWCTX:EIO":           nil,
	} {
		t.Setenv("SWNPU_MODE", mode)
		err := tryRuns(f, 3)
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", mode, err, want)
		}
	}
	t.Setenv("SWNPU_MODE", "")
	check(t, tryRuns(f, 3))
}

// Each call to the driver in turn fails once: the error says so or the load copies, and nothing is left open. But XRT itself loses a
// buffer that it has made and then cannot ask for its address.
func TestSoftwareErrorsInTurn(t *testing.T) {
	f := newFixture(t, small)
	for _, call := range []string{"CREATE_BO", "GET_BO_INFO", "CREATE_HWCTX", "CONFIG_HWCTX", "GET_INFO", "EXEC_CMD", "SYNC_BO"} {
		failed := 0
		t.Setenv("SWNPU_LOG", filepath.Join(pyreader.TempDir(t), "npu.log"))
		for n := range 16 {
			t.Setenv("SWNPU_MODE", fmt.Sprintf("fail=%s:EIO:%d", call, n+1))
			err := tryRuns(f, 2)
			if err == nil {
				continue
			}
			failed++
			var known *Error
			if !errors.As(err, &known) || errors.Is(err, ErrGone) || errors.Is(err, ErrBroken) {
				t.Errorf("%s %d: %v", call, n+1, err)
			}
		}
		if failed == 0 && call != "SYNC_BO" && call != "GET_INFO" { // which XRT can do without
			t.Errorf("%s: no failure of it is noticed", call)
		}
		log, err := os.ReadFile(os.Getenv("SWNPU_LOG"))
		check(t, err)
		for line := range strings.Lines(string(log)) {
			if strings.HasPrefix(line, "leaks:") && line != "leaks: bos=0 contexts=0 syncobjs=0\n" && call != "GET_BO_INFO" {
				t.Errorf("%s: the software NPU says: %s", call, line)
			}
		}
	}
}

// XRT before 2.21 is refused before the device is opened. It cannot be had beside 2.25: Debian has 2.13, which knows no hardware contexts,
// so that shim.cpp does not compile with it. So the XRT that is there is made to say that it is older.
func TestSoftwareOldXRT(t *testing.T) {
	library := filepath.Join(pyreader.TempDir(t), "oldxrt.so")
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", library, "testdata/oldxrt.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !alone(t, "LD_PRELOAD="+library+":"+os.Getenv("LD_PRELOAD")) {
		return
	}
	log := filepath.Join(pyreader.TempDir(t), "npu.log")
	t.Setenv("SWNPU_LOG", log)
	if _, err := Open(Options{}); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "XRT 2.20.9 is too old; 2.21.0 or later") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(log); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the device was opened nevertheless: %v", err)
	}
}

// tryRuns opens the software NPU and uses it.
func tryRuns(f fixture, runs int) error {
	d, err := Open(Options{Xclbins: Folder(f.folder)})
	if err != nil {
		return err
	}
	return useAll(d, f, runs)
}

// A small RLIMIT_MEMLOCK, which only the driver knows of here, is one error that names it.
func TestSoftwareMemlock(t *testing.T) {
	f := newFixture(t, small)
	t.Setenv("SWNPU_MODE", fmt.Sprintf("memlock=%d", heapBytes+1<<20))
	check(t, tryRuns(f, 1))
	t.Setenv("SWNPU_MODE", fmt.Sprintf("memlock=%d", heapBytes))
	needed := fmt.Sprintf(" %d bytes (65 MiB) are needed for the NPU's heap and buffers: %s", heapBytes+page, raiseMemlock)
	if err := tryRuns(f, 1); !errors.Is(err, syscall.EAGAIN) || !strings.Contains(err.Error(), needed) {
		t.Errorf("no memory left to lock: %v", err)
	}
	t.Setenv("SWNPU_MODE", "memlock=8388608")
	if _, err := Open(Options{NeedBytes: 1 << 20}); !errors.Is(err, syscall.EAGAIN) || !strings.Contains(err.Error(), fmt.Sprintf(" %d bytes (65 MiB) ", heapBytes+1<<20)) {
		t.Errorf("no memory to lock: %v", err)
	}
}

// The standard output is the program's: what XRT prints does not get there.
func TestSoftwareKeepsOutputClean(t *testing.T) {
	f := newFixture(t, small)
	path := filepath.Join(pyreader.TempDir(t), "stdout")
	file, err := os.Create(path)
	check(t, err)
	stdout, err := syscall.Dup(1)
	check(t, err)
	check(t, syscall.Dup2(int(file.Fd()), 1))
	for _, mode := range []string{"fail=GEM_CLOSE:EIO", "fail=DESTROY_HWCTX:EIO", "fail=EXEC_CMD:EIO", "gone=1"} {
		t.Setenv("SWNPU_MODE", mode)
		_ = tryRuns(f, 1)
	}
	check(t, syscall.Dup2(stdout, 1))
	check(t, syscall.Close(stdout))
	printed, err := os.ReadFile(path)
	check(t, err)
	if len(printed) > 0 {
		t.Errorf("on the standard output:\n%s", printed)
	}
	check(t, file.Close())
}
