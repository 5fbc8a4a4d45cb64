//go:build xrt

package xrt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"npuw/artifact/element"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
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

// session is a kernel of an artifact that is loaded.
type session struct {
	t      testing.TB
	model  *device.Model
	kernel device.Kernel
	args   device.Arguments
}

// alone runs a test in a process of its own, and reports whether this is it: what a test leaves open in XRT stays so.
func alone(t *testing.T) bool {
	t.Helper()
	const mark = "NPUW_TEST_ALONE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func newSession(t testing.TB, d device.Device, f fixture, contract int) *session {
	t.Helper()
	m := load(t, d, f)
	return &session{t, m, openKernel(t, d, m, contract), arguments(t, d, m, contract, 7)}
}

func (s *session) run(ctx context.Context) error {
	_, err := s.kernel.Run(ctx, s.args)
	return err
}

func (s *session) output() []byte { return output(s.t, s.args, "c") }

func (s *session) close() {
	s.t.Helper()
	check(s.t, s.kernel.Close())
	closeActivations(s.t, s.kernel.Contract(), s.args)
	check(s.t, s.model.Close())
}

// output reads an argument back.
func output(t testing.TB, args device.Arguments, name string) []byte {
	t.Helper()
	b := args[name].Buffer
	check(t, b.FromDevice())
	host, err := b.Host()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(host)
}

// reference is what the reference device gives for contract i of an artifact.
func reference(t testing.TB, path string, i int, seed uint64) []byte {
	t.Helper()
	d := cpu.New(cpu.Options{})
	m, err := device.Load(context.Background(), d, path, device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := d.Open(&m.Index.Contracts[i])
	if err != nil {
		t.Fatal(err)
	}
	args := arguments(t, d, m, i, seed)
	if _, err := k.Run(context.Background(), args); err != nil {
		t.Fatal(err)
	}
	got := output(t, args, "c")
	check(t, k.Close())
	closeActivations(t, k.Contract(), args)
	check(t, m.Close())
	check(t, d.Close())
	return got
}

func TestSoftwareGEMM(t *testing.T) {
	gemms := []gemm{
		small,
		{m: 13, k: 40, n: 24, a: "M* K*", b: "K* N*", c: "M* N*", format: element.F32},
		{m: 13, k: 40, n: 24, a: "M* K* M4 K8", b: "N* K* K8 N8 K8 N4", c: "N* M* M4 N4", format: element.BF16, bias: true},
		{m: 1, k: 1, n: 1, a: "M* K*", b: "K* N*", c: "M* N*", format: element.F16},
		{m: 65, k: 129, n: 33, a: "K* M*", b: "K* N* N32", c: "M* N*", format: element.F32, bias: true},
	}
	f := newFixture(t, 1, nil, gemms...)
	for _, mode := range []string{"", "shadow", "no-userptr", "latency=500"} {
		d := software(t, mode, Options{Xclbins: Folder(f.folder)})
		for i := range gemms {
			s := newSession(t, d, f, i)
			for range 3 {
				check(t, s.run(context.Background()))
			}
			if !bytes.Equal(s.output(), reference(t, f.path, i, 7)) {
				t.Errorf("mode %q, GEMM %d: other bits than the reference device", mode, i)
			}
			s.close()
		}
		d.done(t)
	}
}

// What the host wrote and did not sync, the device must not see: this is what shows that syncs are there where they must be.
func TestSoftwareForgottenSync(t *testing.T) {
	f := newFixture(t, 1, nil, small)
	d := software(t, "shadow", Options{Xclbins: Folder(f.folder)})
	s := newSession(t, d, f, 0)
	host, err := s.args["a"].Buffer.Host()
	check(t, err)
	clear(host)
	check(t, s.run(context.Background()))
	want := reference(t, f.path, 0, 7)
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
	f := newFixture(t, 1, nil, small)
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
		check(t, s.run(context.Background()))
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

// More xclbins than contexts: each is configured when its kernel runs, and none is lost.
func TestSoftwareEviction(t *testing.T) {
	gemms := make([]gemm, 9)
	for i := range gemms {
		gemms[i] = small
		gemms[i].xclbin = i
	}
	f := newFixture(t, len(gemms), nil, gemms...)
	want := reference(t, f.path, 3, 7)
	for mode, limit := range map[string]int{"": 0, "contexts=2": 2, "contexts=3": 6} {
		d := software(t, mode, Options{Xclbins: Folder(f.folder), Contexts: limit})
		m := load(t, d, f)
		for range 2 {
			for i := range gemms {
				k := openKernel(t, d, m, i)
				args := arguments(t, d, m, i, 7)
				if _, err := k.Run(context.Background(), args); err != nil {
					t.Fatal(err)
				}
				if i == 3 && !bytes.Equal(output(t, args, "c"), want) {
					t.Error("other bits")
				}
				closeActivations(t, k.Contract(), args)
				check(t, k.Close())
			}
		}
		check(t, m.Close())
		d.done(t)
	}
}

// A command that hangs is left alone; its kernel takes no more runs, another one runs beside it.
func TestSoftwareHang(t *testing.T) {
	if !alone(t) {
		return
	}
	f := newFixture(t, 1, nil, small, small)
	d := software(t, "hang=2", Options{Xclbins: Folder(f.folder)})
	s := newSession(t, d, f, 0)
	check(t, s.run(context.Background()))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.run(ctx); !errors.Is(err, ErrBroken) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a command that hangs: %v", err)
	}
	if err := s.run(context.Background()); !errors.Is(err, ErrBroken) {
		t.Errorf("a broken kernel: %v", err)
	}
	again := newSession(t, d, f, 1)
	check(t, again.run(context.Background()))
	if !bytes.Equal(again.output(), reference(t, f.path, 1, 7)) {
		t.Error("other bits after a command that hangs")
	}
	again.close()
	check(t, s.kernel.Close())
	closeActivations(t, s.kernel.Contract(), s.args)
	if err := s.model.Close(); err == nil || !strings.Contains(err.Error(), "must stay mapped") {
		t.Errorf("Close of a model whose weights are in use: %v", err)
	}
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "did not end in their time") {
		t.Errorf("Close: %v", err)
	}
}

func TestSoftwareRunList(t *testing.T) {
	f := newFixture(t, 1, nil, small, gemm{m: 13, k: 24, n: 8, a: "M* K*", b: "K* N*", c: "M* N*", format: element.F32})
	d := software(t, "", Options{Xclbins: Folder(f.folder)})
	first, second := newSession(t, d, f, 0), newSession(t, d, f, 1)
	chained := device.Arguments{"a": first.args["c"], "b": second.args["b"], "c": second.args["c"]}
	for range 3 {
		if _, err := d.RunList(context.Background(), []Call{{first.kernel, first.args}, {second.kernel, chained}}); err != nil {
			t.Fatal(err)
		}
	}
	got := second.output()
	check(t, first.run(context.Background()))
	_, err := second.kernel.Run(context.Background(), chained)
	check(t, err)
	if !bytes.Equal(got, second.output()) {
		t.Error("a list gives other bits than its runs one by one")
	}
	second.close()
	first.close()
	d.done(t)
}

// Whatever the driver refuses is an error, and the process goes on.
func TestSoftwareErrors(t *testing.T) {
	f := newFixture(t, 1, nil, small)
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
	f := newFixture(t, 1, nil, small)
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

func TestSoftwareAbsent(t *testing.T) {
	if !alone(t) { // XRT looks for devices once
		return
	}
	t.Setenv("SWNPU_MODE", "absent")
	if _, err := Open(Options{}); !errors.Is(err, device.ErrUnsupported) || !strings.Contains(err.Error(), "sees 0") {
		t.Errorf("without an NPU: %v", err)
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
	f := newFixture(t, 1, nil, small)
	t.Setenv("SWNPU_MODE", fmt.Sprintf("memlock=%d", heapBytes+1<<20))
	check(t, tryRuns(f, 1))
	t.Setenv("SWNPU_MODE", fmt.Sprintf("memlock=%d", heapBytes))
	if err := tryRuns(f, 1); !errors.Is(err, syscall.EAGAIN) || !strings.Contains(err.Error(), raiseMemlock) {
		t.Errorf("no memory left to lock: %v", err)
	}
}

// The standard output is the program's: what XRT prints does not get there.
func TestSoftwareKeepsOutputClean(t *testing.T) {
	f := newFixture(t, 1, nil, small)
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

func TestSoftwareList(t *testing.T) {
	for mode, maps := range map[string]bool{"": true, "no-readonly-pin": false} {
		t.Setenv("SWNPU_MODE", mode)
		list, err := List()
		check(t, err)
		if i := list[0]; len(list) != 1 || i.Name != "software NPU" || i.Columns != 5 || i.Maps != maps || !strings.HasPrefix(i.XRT, "2.") || !strings.HasPrefix(i.Driver, "amdxdna ") {
			t.Errorf("mode %q: %+v", mode, list)
		}
	}
}
