package pyreader

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const head = `{"listing": {"version": 1}, "values": [{"name": "a", "operand": true, "float32": 4, "raw": 2}, ` +
		`{"name": "b", "operand": false, "float32": 0, "raw": -1}]}` + "\n"
	got, fault, err := parse(bufio.NewReader(strings.NewReader(head + "abcdef")))
	if err != nil || fault != "" {
		t.Fatal(err, fault)
	}
	want := &Answer{
		Listing: []byte(`{"version": 1}`),
		Values:  []Values{{"a", true, []byte("abcd"), []byte("ef")}, {"b", false, []byte{}, nil}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, fault, err := parse(bufio.NewReader(strings.NewReader(`{"fault": "byte 0"}` + "\n"))); err != nil || fault != "byte 0" {
		t.Errorf("a fault is read as %q, %v", fault, err)
	}
	for _, short := range []string{"", "{}", "no JSON\n", head, head + "abcde"} {
		if a, _, err := parse(bufio.NewReader(strings.NewReader(short))); err == nil {
			t.Errorf("%q: %v, want an error", short, a)
		}
	}
}

// outcome is a test that notes how it ended.
type outcome struct {
	testing.TB
	skipped, failed string
}

func (o *outcome) Skipf(format string, args ...any) {
	o.skipped = fmt.Sprintf(format, args...)
	panic(o)
}

func (o *outcome) Errorf(format string, args ...any) {
	o.failed += fmt.Sprintf(format, args...)
}

func (o *outcome) Fatalf(format string, args ...any) {
	o.failed = fmt.Sprintf(format, args...)
	panic(o)
}

// ended runs what may end the test.
func (o *outcome) ended(run func(testing.TB)) (ended *outcome) {
	defer func() {
		ended = o
		if r := recover(); r != nil && r != any(o) {
			panic(r)
		}
	}()
	run(o)
	return
}

// TestNoPython wants a skip with a reason where there is no python3, and a failure in CI.
func TestNoPython(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	verify := func(t testing.TB) { Verify(t, "x.npuw") }
	t.Setenv("CI", "")
	if o := (&outcome{TB: t}).ended(verify); !strings.Contains(o.skipped, "python3 is not installed") || o.failed != "" {
		t.Errorf("skipped %q, failed %q", o.skipped, o.failed)
	}
	t.Setenv("CI", "true")
	if o := (&outcome{TB: t}).ended(verify); !strings.Contains(o.failed, "python3 is not installed") || o.skipped != "" {
		t.Errorf("in CI: skipped %q, failed %q", o.skipped, o.failed)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "no.npuw")
	if err := os.WriteFile(path, []byte("no artifact"), 0o666); err != nil {
		t.Fatal(err)
	}
	o := (&outcome{TB: t}).ended(func(t testing.TB) { Read(t, path) })
	if o.skipped != "" {
		t.Skip(o.skipped)
	}
	if want := "not an .npuw file"; !strings.Contains(o.failed, path) || !strings.Contains(o.failed, want) {
		t.Errorf("Read failed with %q, want %q", o.failed, want)
	}
	if faults := Verify(t, path, path+"x"); len(faults) != 2 || faults[0] == "" || faults[1] == "" {
		t.Errorf("Verify: %q, want two faults", faults)
	}
}
