package accidents

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// denial is a system call that the kernel refuses to a program: every one of the number, or those whose argument at Argument is at
// least Least (of 32 bits) or has a bit of Bits.
type denial struct {
	Call     uintptr
	Argument int
	Least    uint32
	Bits     uint32
	Err      syscall.Errno
}

// filter is the denial as a program for the kernel's seccomp: see Linux's Documentation/userspace-api/seccomp_filter.rst.
func (d *denial) filter() []unix.SockFilter {
	const number, arguments = 0, 16 // where struct seccomp_data has them
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	jump := func(code uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | code, Jt: yes, Jf: no, K: k}
	}
	give := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	test := jump(unix.BPF_JGE, d.Least, 0, 1)
	if d.Bits != 0 {
		test = jump(unix.BPF_JSET, d.Bits, 0, 1)
	}
	return []unix.SockFilter{
		load(number),
		jump(unix.BPF_JEQ, uint32(d.Call), 0, 3),
		load(arguments + 8*uint32(d.Argument)), // the lower half: these machines are little-endian
		test,
		give(unix.SECCOMP_RET_ERRNO | uint32(d.Err)),
		give(unix.SECCOMP_RET_ALLOW),
	}
}

// TestDenied runs the command where the kernel denies it one kind of system call.
func TestDenied(t *testing.T) {
	t.Parallel()
	source, golden := model(t, whisperonnx.Tiny)
	external := whisperonnx.Tiny
	external.External = true
	split, _ := model(t, external)
	info, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	size := uint32(info.Size())
	for _, x := range []struct {
		name   string
		deny   denial
		source string
		words  string // in what it says; empty: it comes to its end
	}{
		{"the model cannot be read", denial{Call: unix.SYS_PREAD64, Argument: 3, Err: syscall.EIO}, source, "model.onnx: |input/output error"},
		{"read error at 1000", denial{Call: unix.SYS_PREAD64, Argument: 3, Least: 1000, Err: syscall.EIO}, source, "model.onnx: |input/output error|check the disk"},
		{"read error in the middle", denial{Call: unix.SYS_PREAD64, Argument: 3, Least: size / 2, Err: syscall.EIO}, source, "model.onnx: at byte |cannot be read: input/output error; check the disk"},
		{"read error in large pieces", denial{Call: unix.SYS_PREAD64, Argument: 2, Least: 30_000, Err: syscall.EIO}, source, "model.onnx: tensor |at byte |input/output error|check the disk"},
		{"read error near the end", denial{Call: unix.SYS_PREAD64, Argument: 3, Least: size - size/8, Err: syscall.EIO}, source, "model.onnx: |input/output error"},
		{"read error in external data", denial{Call: unix.SYS_PREAD64, Argument: 3, Least: size / 2, Err: syscall.EIO}, split, "model.onnx_data: tensor |input/output error|check the disk"},
		{"write error at 0", denial{Call: unix.SYS_PWRITE64, Argument: 3, Err: syscall.EIO}, source, "x.npuw: at byte |write|input/output error"},
		{"disk full on the way", denial{Call: unix.SYS_PWRITE64, Argument: 3, Least: 50_000, Err: syscall.ENOSPC}, source, "x.npuw: at byte |write|no space left on device"},
		{"no room to reserve", denial{Call: unix.SYS_FALLOCATE, Err: syscall.ENOSPC}, source, "x.npuw: reserve |no space left on device"},
		{"quota", denial{Call: unix.SYS_FALLOCATE, Err: syscall.EDQUOT}, source, "x.npuw: reserve |disk quota exceeded"},
		{"sync fails", denial{Call: unix.SYS_FSYNC, Err: syscall.EIO}, source, "x.npuw: put in place: input/output error"},
		{"rename fails", denial{Call: unix.SYS_RENAMEAT, Err: syscall.EACCES}, source, "x.npuw: put in place: permission denied"},
		{"nothing can be reserved", denial{Call: unix.SYS_FALLOCATE, Err: syscall.EOPNOTSUPP}, source, ""},
		{"no locks", denial{Call: unix.SYS_FLOCK, Err: syscall.ENOLCK}, source, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			dir := pyreader.TempDir(t)
			out := filepath.Join(dir, "x.npuw")
			put(t, out)
			status, said := denied(t, x.deny, "pack", x.source, "-q", "-o", out)
			want, there := 0, golden.String()
			if x.words != "" {
				want, there = 1, "before"
			}
			if status != want || state(out) != there || names(t, dir) != "x.npuw" {
				t.Errorf("exit status %d, at the path %s, in the folder %s; want %d, %s\n%s", status, state(out), names(t, dir), want, there, said)
			}
			for word := range strings.SplitSeq(x.words, "|") {
				if !strings.Contains(said, word) {
					t.Errorf("%q is not in: %s", word, said)
				}
			}
		})
	}
}

// TestMappingDenied loads an artifact where the kernel maps no files: it is copied.
func TestMappingDenied(t *testing.T) {
	t.Parallel()
	source, _ := model(t, whisperonnx.Tiny)
	out := filepath.Join(pyreader.TempDir(t), "x.npuw")
	if said, err := exec.CommandContext(t.Context(), npuw, "pack", source, "-q", "-o", out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	status, said := denied(t, denial{Call: unix.SYS_MMAP, Argument: 3, Bits: unix.MAP_SHARED, Err: syscall.ENODEV}, "bench", out, "--runs", "1")
	if status != 0 || !strings.Contains(said, " on cpu: 0 bytes mapped, ") {
		t.Errorf("exit status %d\n%s", status, said)
	}
}

// The environment of a process that becomes the command, with a call denied.
const (
	denialVariable    = "NPUW_TEST_DENIAL"
	argumentsVariable = "NPUW_TEST_ARGUMENTS"
)

// denied runs the command where the kernel denies it a call.
func denied(t *testing.T, d denial, args ...string) (status int, said string) {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBecome$")
	cmd.Env = append(os.Environ(), denialVariable+"="+string(text), argumentsVariable+"="+strings.Join(args, "\n"), "NPUW_TEST_COMMAND="+npuw)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || strings.Contains(string(out), "seccomp: ") {
		unable(t, "system calls denied", fmt.Errorf("%v: %s", err, out))
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// TestBecome is no test, but what denied starts.
func TestBecome(t *testing.T) {
	if text := os.Getenv(denialVariable); text != "" {
		become(t, text, strings.Split(os.Getenv(argumentsVariable), "\n"))
	}
}

// become makes this process the command, to which the kernel denies a call.
func become(t *testing.T, text string, args []string) {
	t.Helper()
	var d denial
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	filter := d.filter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // filters are a thread's, and go with the one that becomes the command
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	}
	if err != nil {
		t.Fatalf("seccomp: %v", err)
	}
	t.Fatal(syscall.Exec(npuw, append([]string{npuw}, args...), os.Environ()))
}
