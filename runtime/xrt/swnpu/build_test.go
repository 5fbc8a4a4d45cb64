//go:build xrt

package swnpu

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"npuw/artifact/kernel"
	"npuw/artifact/xclbin/xclbintest"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/runtime/xrt/gemmtest"
	"npuw/runtime/xrt/teststream"
	"npuw/schema/pyreader"
)

const page = 4096

// built is what TestMain compiles.
var built struct {
	library   string // the software NPU
	sanitized string // the same with sanitizers
	drive     string // testdata/drive.cpp
	streams   string // testdata/streams.c, with sanitizers
	asan      string // the sanitizers' library, which comes before all others
}

const sanitizers = "-fsanitize=address,undefined"

func TestMain(m *testing.M) {
	os.Unsetenv("LD_PRELOAD") // each program that is started here gets a software NPU of its own
	dir, err := os.MkdirTemp("", "swnpu-")
	if err == nil {
		err = build(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) error {
	built.library = filepath.Join(dir, "plain", "libswnpu.so")
	built.sanitized = filepath.Join(dir, "sanitized", "libswnpu.so")
	built.drive = filepath.Join(dir, "drive")
	built.streams = filepath.Join(dir, "streams")
	xrt, err := output("pkg-config", "--cflags", "--libs", "xrt")
	if err != nil {
		return err
	}
	if built.asan, err = output("cc", "-print-file-name=libasan.so"); err != nil {
		return err
	}
	warnings := []string{"-O1", "-Wall", "-Wextra", "-Werror"}
	for _, command := range [][]string{
		{"sh", "build.sh", filepath.Dir(built.library)},
		{"sh", "build.sh", filepath.Dir(built.sanitized), sanitizers},
		append(append([]string{"c++", "-std=c++17", "-o", built.drive, "testdata/drive.cpp"}, warnings...), append(strings.Fields(xrt), "-luuid")...),
		append([]string{
			"cc", "-std=gnu11", "-ffp-contract=off", sanitizers, "-fno-sanitize-recover=all", "-o", built.streams,
			"testdata/streams.c", "src/stream.c", "src/gemm.c",
		}, warnings...),
	} {
		if _, err := output(command...); err != nil {
			return err
		}
	}
	return nil
}

// output runs a command and gives what it prints.
func output(command ...string) (string, error) {
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// problem is a GEMM with everything that drive needs for it, in files of a folder.
type problem struct {
	dir      string
	contract *kernel.Contract
	files    []string // XCLBIN STREAM OUTPUT BYTES INPUT...
	want     []byte   // what the reference device computes
}

func newProblem(t *testing.T, r *rand.Rand, c *kernel.Contract) *problem {
	t.Helper()
	p := &problem{dir: pyreader.TempDir(t), contract: c}
	xclbin, err := xclbintest.Encode(xclbintest.MLIRAIE())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := teststream.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	reference := cpu.New(cpu.Options{})
	args := device.Arguments{}
	var inputs []string
	for i := range c.Arguments {
		a := &c.Arguments[i]
		if a.Role == kernel.Instructions {
			continue
		}
		b, err := reference.Allocate(int64(a.Bytes), kernel.NoGroup)
		if err != nil {
			t.Fatal(err)
		}
		args[a.Name] = device.Value{Buffer: b}
		if a.Role == kernel.Output {
			continue
		}
		host, err := b.Host()
		if err != nil {
			t.Fatal(err)
		}
		copy(host, gemmtest.Elements(r, a))
		inputs = append(inputs, p.file(t, a.Name, append(bytes.Clone(host), make([]byte, -len(host)&(page-1))...)))
	}
	k, err := reference.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Run(context.Background(), args); err != nil {
		t.Fatal(err)
	}
	result, err := args["c"].Buffer.Host()
	if err != nil {
		t.Fatal(err)
	}
	p.want = bytes.Clone(result)
	p.files = append([]string{
		p.file(t, "xclbin", xclbin), p.file(t, "stream", stream), filepath.Join(p.dir, "result"), fmt.Sprint(len(p.want)),
	}, inputs...)
	return p
}

func (p *problem) file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// outcome is what became of a drive.
type outcome struct {
	printed string
	log     string
	result  []byte // nil where there is none
}

// drive runs a problem on the software NPU.
func (p *problem) drive(t *testing.T, library, mode string, options ...string) outcome {
	t.Helper()
	log := p.file(t, "log", nil)
	_ = os.Remove(p.files[2])
	cmd := exec.Command(built.drive, append(append([]string{}, p.files...), options...)...)
	preload := library
	if library == built.sanitized {
		preload = built.asan + ":" + library
	}
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+preload, "SWNPU_MODE="+mode, "SWNPU_LOG="+log,
		"ASAN_OPTIONS=detect_leaks=0", "UBSAN_OPTIONS=halt_on_error=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	printed, err := cmd.Output()
	if err != nil {
		t.Fatalf("drive: %v\n%s%s", err, printed, stderr.String())
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	result, _ := os.ReadFile(p.files[2])
	return outcome{printed: string(printed), log: string(text), result: result}
}
