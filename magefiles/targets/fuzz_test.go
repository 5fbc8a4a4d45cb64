package targets

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFuzzTargets(t *testing.T) {
	t.Parallel()
	p, _ := newProject(t, map[string]string{
		"a/a.go": "package a\n\nfunc FuzzNotATest() {}\n",
		"a/a_test.go": `package a

import "testing"

func FuzzRead(f *testing.F)           {}
func Fuzzy(f *testing.F)              {}
func FuzzHelper(t *testing.T)         {}
func FuzzTwo(f *testing.F, extra int) {}
func (reader) FuzzMethod(f *testing.F) {}
func TestRead(t *testing.T)           {}

type reader struct{}
`,
		"a/x_test.go":        "package a_test\n\nimport \"testing\"\n\nfunc FuzzÉtat(f *testing.F) {}\nfunc Fuzz(f *testing.F) {}\n",
		"b/b_test.go":        "package b\n\nimport \"testing\"\n\nfunc Fuzz_Write(f *testing.F) {}\n",
		"b/testdata/no.go":   "package no\n",
		"c/plan9_test.go":    "//go:build plan9\n\npackage c\n\nimport \"testing\"\n\nfunc FuzzElsewhere(f *testing.F) {}\n",
		"c/c.go":             "package c\n",
		"_skipped/s_test.go": "package s\n\nimport \"testing\"\n\nfunc FuzzSkipped(f *testing.F) {}\n",
	})
	got, err := p.fuzzTargets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []fuzzTarget{
		{"example.test/m/a", "FuzzRead"},
		{"example.test/m/a", "FuzzÉtat"},
		{"example.test/m/a", "Fuzz"},
		{"example.test/m/b", "Fuzz_Write"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestFuzzRunsTargets(t *testing.T) {
	t.Parallel()
	const good = `package m

import (
	"testing"
	"time"
)

func FuzzGood(f *testing.F) { f.Fuzz(func(t *testing.T, n int) { time.Sleep(10 * time.Millisecond) }) }
`
	const bad = `package m

import "testing"

func FuzzBad(f *testing.F) {
	f.Add(1)
	f.Fuzz(func(t *testing.T, n int) {
		if n == 1 {
			t.Fatal("one is bad")
		}
	})
}
`
	p, stdout := newProject(t, map[string]string{"bad_test.go": bad, "good_test.go": good})
	targets, err := p.fuzzTargets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = p.fuzz(t.Context(), targets, 3*time.Second)
	if err == nil || !strings.Contains(err.Error(), "^FuzzBad$") || strings.Contains(err.Error(), "^FuzzGood$") {
		t.Errorf("got %v, want an error that names FuzzBad alone", err)
	}
	for _, want := range []string{"example.test/m.FuzzBad\n", "one is bad", "example.test/m.FuzzGood\n", "PASS"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, stdout)
		}
	}
}

func TestFuzzShare(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{0: 3 * time.Minute, 1: 3 * time.Minute, 32: 5 * time.Second, 60: 3 * time.Second, 1000: 3 * time.Second} {
		if got := fuzzShare(n); got != want {
			t.Errorf("%d targets: %v each, want %v", n, got, want)
		}
	}
}

func TestFuzzRefuses(t *testing.T) {
	t.Parallel()
	p, _ := newProject(t, map[string]string{"m.go": "package m\n"})
	for _, d := range []time.Duration{0, -time.Second} { // 0 would fuzz for ever
		if err := p.fuzz(t.Context(), []fuzzTarget{{"example.test/m", "FuzzGood"}}, d); err == nil || !strings.Contains(err.Error(), "want more than 0") {
			t.Errorf("time %v: got %v", d, err)
		}
	}
	if err := p.fuzz(t.Context(), nil, time.Second); err == nil || !strings.Contains(err.Error(), "no fuzz target") {
		t.Errorf("without targets: got %v", err)
	}
}

func TestStoppedByClock(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		output string
		want   bool
	}{
		{"the clock alone", `fuzz: elapsed: 20s, execs: 3112 (0/sec), new interesting: 4 (total: 9)
--- FAIL: FuzzOpen (20.09s)
    context deadline exceeded
FAIL
exit status 1
FAIL	npuw/artifact	20.101s
`, true},
		{"a failing input", `--- FAIL: FuzzOpen (0.09s)
    --- FAIL: FuzzOpen (0.00s)
        open_test.go:12: context deadline exceeded

    Failing input written to testdata/fuzz/FuzzOpen/582528ddfad69eb5
FAIL
exit status 1
`, false},
		{"a failing seed", `--- FAIL: FuzzOpen (0.00s)
    --- FAIL: FuzzOpen/seed#0 (0.00s)
        open_test.go:12: context deadline exceeded
FAIL
`, false},
		{"more than the clock", `--- FAIL: FuzzOpen (20.09s)
    context deadline exceeded
    fuzzing process hung or terminated unexpectedly
FAIL
`, false},
		{"a pass", "PASS\nok  	npuw/artifact	20.1s\n", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := stoppedByClock([]byte(test.output)); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
