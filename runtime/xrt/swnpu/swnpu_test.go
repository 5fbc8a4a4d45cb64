//go:build xrt

// Package swnpu tests the software NPU under the real XRT.
package swnpu

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/runtime/xrt/gemmtest"
)

const noLeaks = "leaks: bos=0 contexts=0 syncobjs=0\n"

const pinned = "userptr: bytes=4096 read_only=1\n" // a user pointer over a page

// modes are runs of drive, and what must come of them.
var modes = []struct {
	name, mode string
	options    string
	printed    string // a regular expression, as the next two
	log        string
	notInLog   string
	differs    bool // the result is not what the reference device gives
}{
	{name: "one run", printed: "^state 4\n$", log: "commands=1 errors=0 userptr_bos=0 .*\n" + noLeaks, notInLog: "unhandled|ioctl"},
	{name: "user pointer", options: "--user", printed: "^state 4\n$", log: pinned + "closed: .* userptr_bos=1 userptr_bytes=4096 .*\n" + noLeaks},
	{name: "run list", options: "--list=3", printed: "^state 4\n$", log: "commands=1 errors=0 .*\n" + noLeaks},
	{name: "again and again", options: "--user --cycles=20", printed: "^(state 4\n){20}$", log: "(?s)^(open.*?" + noLeaks + "){20}$"},
	{name: "trace", mode: "trace", printed: "^state 4\n$", log: "ioctl CREATE_HWCTX = 0\n(?s:.*)arguments: context=1 sequence=0 bytes=60 0300000000000000[0-9a-f]{104}\n"},
	{name: "shadow", mode: "shadow", options: "--user", printed: "^state 4\n$", log: pinned},
	{name: "shadow, a sync missing", mode: "shadow", options: "--no-sync", printed: "^state 4\n$", differs: true},
	{name: "no shadow, a sync missing", options: "--no-sync", printed: "^state 4\n$"},
	{name: "latency", mode: "latency=60000000", options: "--deadline=20", printed: "^deadline\n$"},
	{name: "less latency", mode: "latency=1000", printed: "^state 4\n$"},
	{name: "hang", mode: "hang", options: "--deadline=50", printed: "^deadline\n$", log: "command 1 hangs\n", notInLog: "leaks"},
	{name: "this one hangs", mode: "hang=1", options: "--deadline=50", printed: "^deadline\n$", log: "command 1 hangs\n"},
	{name: "another hangs", mode: "hang=2", printed: "^state 4\n$"},
	{name: "held", mode: "hold=/dev/null", options: "--deadline=50", printed: "^deadline\n$", notInLog: "leaks"},
	{name: "this one is held", mode: "hold=/dev/null:1", options: "--deadline=50", printed: "^deadline\n$"},
	{name: "another is held", mode: "hold=/dev/null:2", printed: "^state 4\n$", log: noLeaks},
	{name: "no file to hold", mode: "hold=/nowhere/file", printed: "^state 4\n$", log: noLeaks},
	{name: "ends in another state", mode: "state=6", printed: "^state 6\n$", log: "commands=1 errors=0 .*\n" + noLeaks},
	{name: "this one ends in another state", mode: "state=5:1", printed: "^state 5\n$", log: "commands=1 errors=1 .*\n" + noLeaks},
	{name: "another ends in another state", mode: "state=8:2", printed: "^state 4\n$", log: noLeaks},
	{name: "ioctl fails", mode: "fail=EXEC_CMD:EIO", printed: "^error 5 ", log: "injected: ioctl EXEC_CMD errno=5\n(?s:.*)" + noLeaks},
	{name: "second call fails", mode: "fail=CREATE_HWCTX:12:2", options: "--contexts=1", printed: "^error 12 ", log: noLeaks},
	{name: "third call would", mode: "fail=CREATE_HWCTX:12:3", options: "--contexts=1", printed: "^state 4\n$"},
	{name: "several modes", mode: "shadow,fail=SYNC_BO:EIO,fail=EXEC_CMD:EINVAL", printed: "^error 5 "},
	{name: "gone", mode: "gone=1", printed: "(?m)^error 19 ", log: "gone: .*\ninjected: ioctl EXEC_CMD errno=19\n"},
	{name: "user pointer refused", mode: "no-userptr", options: "--user", printed: "^error 95 ", log: noLeaks},
	{name: "read-only pin refused", mode: "no-readonly-pin", options: "--user", printed: "^error 12 ", log: "userptr: bytes=4096 refused\n(?s:.*)" + noLeaks},
	{name: "user pointer fails", mode: "fail=USERPTR:EPERM", options: "--user", printed: "^error 1 ", log: "injected: ioctl CREATE_BO errno=1\n(?s:.*)" + noLeaks},
	{name: "no copy fails", mode: "fail=USERPTR:EPERM", printed: "^state 4\n$", log: noLeaks},
	{name: "no copy is refused", mode: "no-userptr,no-readonly-pin", printed: "^state 4\n$"},
	{name: "memlock too small to open", mode: "memlock=8388608", printed: "^error 11 "},
	{name: "memlock too small for weights", mode: "memlock=67120000", options: "--user", printed: "^error 1[12] "},
	{name: "memlock large enough", mode: "memlock=68000000", options: "--user", printed: "^state 4\n$"},
	{name: "six contexts", options: "--contexts=5", printed: "^state 4\n$"},
	{name: "seven contexts", options: "--contexts=6", printed: "^error 22 ", log: noLeaks},
	{name: "fewer contexts", mode: "contexts=1", options: "--contexts=1", printed: "^error 22 ", log: noLeaks},
	{name: "two NPUs", mode: "npus=2", options: "--npu=1", printed: "^state 4\n$", log: noLeaks},
	{name: "one NPU", options: "--npu=1", printed: "^error 0 .*No such device"},
	{name: "absent", mode: "absent", printed: "^error 0 .*No such device"},
	{name: "no such mode", mode: "shadows", printed: "^error 22 "},
	{name: "no such errno", mode: "fail=EXEC_CMD:EWHAT", printed: "^error 22 "},
	{name: "no such ioctl", mode: "fail=EXEC:EIO", printed: "^error 22 "},
	{name: "no such command", mode: "hold=/dev/null:0", printed: "^error 22 "},
	{name: "no such state", mode: "state=16", printed: "^error 22 "},
	{name: "no such NPUs", mode: "npus=3", printed: "^error 0 .*No such device|^error 22 "},
	{name: "no such number", mode: "latency=-1", printed: "^error 22 "},
}

func TestModes(t *testing.T) {
	t.Parallel()
	for _, test := range modes {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProblem(t, rand.New(rand.NewPCG(1, 2)), gemmtest.Small.Contract(t, "gemm"))
			got := p.drive(t, built.library, test.mode, strings.Fields(test.options)...)
			matches(t, "printed", test.printed, got.printed)
			matches(t, "log", test.log, got.log)
			if test.notInLog != "" && regexp.MustCompile(test.notInLog).MatchString(got.log) {
				t.Errorf("log has %q:\n%s", test.notInLog, got.log)
			}
			if finished := strings.HasPrefix(got.printed, "state 4"); finished && bytes.Equal(got.result, p.want) == test.differs {
				t.Errorf("the result is right: %v; want %v", !test.differs, test.differs)
			}
		})
	}
}

func matches(t *testing.T, what, pattern, text string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(text) {
		t.Errorf("%s does not match %q:\n%s", what, pattern, text)
	}
}

// TestReference compares with the reference device, bit for bit, over element formats and layouts.
func TestReference(t *testing.T) {
	t.Parallel()
	formats := []element.Format{element.F32, element.F16, element.BF16}
	layoutsA := []string{"M* K*", "K* M*", "M* K* M4 K8", "K* M* K2 M3 K4"}
	layoutsB := []string{"K* N*", "N* K*", "N* K* K8 N4", "N* K* K8 N8 K8 N4", "K* N4@1 N*@4 K2"}
	layoutsC := []string{"M* N*", "N* M*", "M* N* M4 N4"}
	for i := range 16 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(i), 1))
			pick := func(list []string) string { return list[r.IntN(len(list))] }
			format := func() element.Format { return formats[r.IntN(len(formats))] }
			g := gemmtest.Small
			g.M, g.K, g.N = 1+r.Uint64N(40), 1+r.Uint64N(200), 1+r.Uint64N(60)
			c := g.Contract(t, "gemm")
			m, k, n := g.Axes()
			c.Arguments = []kernel.Argument{
				gemmtest.Buffer(t, "a", 3, kernel.Activation, format(), pick(layoutsA), m, k),
				gemmtest.Buffer(t, "b", 4, kernel.Weight, format(), pick(layoutsB), k, n),
			}
			if i%2 == 1 {
				c.Arguments = append(c.Arguments, gemmtest.Buffer(t, "bias", 5, kernel.Weight, format(), "N*", n))
			}
			c.Arguments = append(c.Arguments, gemmtest.Buffer(t, "c", uint32(3+len(c.Arguments)), kernel.Output, format(), pick(layoutsC), m, n))
			p := newProblem(t, r, c)
			got := p.drive(t, built.library, "shadow")
			if got.printed != "state 4\n" || !bytes.Equal(got.result, p.want) {
				t.Errorf("%s%snot the bits of the reference device, for %v", got.printed, got.log, c.Arguments)
			}
		})
	}
}

// TestCommandErrors gives instructions that must not be executed.
func TestCommandErrors(t *testing.T) {
	t.Parallel()
	const (
		words = 5 // before the first buffer
		a     = words
		b     = a + 5 + 2*3 + 2*3
		c     = b + 5 + 2*3 + 4*3
	)
	tests := []struct {
		name   string
		edit   func(s stream) stream
		option string
		log    string
	}{
		{"no stream", func(stream) stream { return stream{1, 2, 3} }, "", "no magic"},
		{"version", func(s stream) stream { return s.set(1, 2) }, "", "an unknown version"},
		{"operation", func(s stream) stream { return s.set(2, 2) }, "", "an unknown operation"},
		{"epilogue", func(s stream) stream { return s.set(3, 1) }, "", "an unknown epilogue"},
		{"cut", func(s stream) stream { return s[:len(s)-1] }, "", "the stream ends within a buffer"},
		{"longer", func(s stream) stream { return append(s, 0) }, "", "words after its end"},
		{"two a", func(s stream) stream { return s.set(b, 0) }, "", "two buffers of one role"},
		{"scalar", func(s stream) stream { return s.set(a+1, 2) }, "", "an argument that the kernel does not have"},
		{"no argument", func(s stream) stream { return s.set(a+1, 8) }, "", "an argument that the kernel does not have"},
		{"argument not set", func(s stream) stream { return s.set(a+1, 7) }, "", "in no buffer of the command"},
		{"format", func(s stream) stream { return s.set(a+2, 4) }, "", "an unknown element format"},
		{"digits", func(s stream) stream { return s.set(a+5+6+1, 12) }, "", "digits that do not cover their axis"},
		{"extent", func(s stream) stream { return s.set(a+5+1, 12) }, "", "do not agree on an axis"},
		{"past the end", func(s stream) stream {
			return s.set(c+5+2, 4096).set(c+5+6+1, 4096)
		}, "", "an argument goes beyond its buffer"},
		{"writes weights", func(s stream) stream { return s.set(c+1, 4) }, "--user", "the output is read only"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProblem(t, rand.New(rand.NewPCG(1, 2)), gemmtest.Small.Contract(t, "gemm"))
			data, err := os.ReadFile(p.files[1])
			if err != nil {
				t.Fatal(err)
			}
			p.file(t, "stream", test.edit(decode(data)).encode())
			got := p.drive(t, built.library, "", strings.Fields(test.option)...)
			matches(t, "printed", "^state 5\n$", got.printed)
			matches(t, "log", "command error: .*"+regexp.QuoteMeta(test.log)+".*\nclosed: commands=1 errors=1 .*\n"+noLeaks, got.log)
		})
	}
}

// TestSanitized looks for memory errors in the software NPU itself.
func TestSanitized(t *testing.T) {
	t.Parallel()
	p := newProblem(t, rand.New(rand.NewPCG(1, 2)), gemmtest.Small.Contract(t, "gemm"))
	for _, mode := range []string{"", "shadow,trace", "fail=EXEC_CMD:EIO", "no-userptr"} {
		for _, options := range []string{"", "--user --contexts=3 --cycles=3", "--list=4"} {
			p.drive(t, built.sanitized, mode, strings.Fields(options)...)
		}
	}
	if got := p.drive(t, built.sanitized, "", "--user"); got.printed != "state 4\n" || !bytes.Equal(got.result, p.want) {
		t.Errorf("%s%swrong result", got.printed, got.log)
	}
}
