package pyreader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// WholeBytes is the size up to which an artifact is compared whole: every digest, operand and parameter. npuw.py reads a few megabytes
// a second. Of a larger one, header, index and listing are compared, and the values of its smallest operands and parameters,
// SampleElements in all. With -short both bounds are divided by ShortDivisor, and hardly any artifact is compared whole.
const (
	WholeBytes     = 4 << 20
	SampleElements = 1 << 20
	ShortDivisor   = 1024
)

// processBytes is how many bytes of artifacts make another process worth its start.
const processBytes = 1 << 20

// An Opened artifact is one that a reader in Go has opened; *artifact.File is one. List gives artifact.FileListing or its JSON.
type Opened[V Writer, L any] interface {
	Reader[V]
	Verify() error
	List() L
	Close() error
}

// Tests are those of a package, with the comparison at their end.
type Tests struct {
	run     func() int
	compare func(path string, a *Answer) []string
	kept    *collection
}

// Compared gives the tests of a package; Run runs them, and then compares what they have made, as open reads it, with npuw.py.
func Compared[A Opened[V, L], V Writer, L any](m *testing.M, open func(path string) (A, error)) *Tests {
	collected = &collection{seen: map[digest]bool{}, damaged: map[string]bool{}}
	collected.verify = func(path string) error {
		a, err := open(path)
		if err != nil {
			return err
		}
		return errors.Join(a.Verify(), a.Close())
	}
	compare := func(path string, answer *Answer) []string {
		a, err := open(path)
		if err != nil {
			return []string{err.Error()}
		}
		defer a.Close()
		return differences(answer, a, a.List())
	}
	return &Tests{m.Run, compare, collected}
}

// Run gives the exit status.
func (x *Tests) Run() int {
	code := x.run()
	if code == 0 && !x.compareKept(os.Stdout) {
		code = 1
	}
	if x.kept.folder != "" {
		os.RemoveAll(x.kept.folder)
	}
	return code
}

// compareKept writes a line or, for each artifact on which there is no agreement, what differs. It is false if that fails the run.
func (x *Tests) compareKept(w io.Writer) bool {
	k := x.kept
	switch {
	case len(k.kept) == 0:
		return true
	case errors.Is(k.missing, errNoPython) && !required():
		fmt.Fprintf(w, "%v: %d artifacts are not compared with schema/npuw.py\n", k.missing, len(k.kept))
		return true
	case k.missing != nil:
		fmt.Fprintf(w, "--- FAIL: schema/npuw.py is needed to check %d artifacts: %v\n", len(k.kept), k.missing)
		return false
	}
	start := time.Now()
	bounds := limits{WholeBytes, SampleElements}
	if testing.Short() {
		bounds = limits{WholeBytes / ShortDivisor, SampleElements / ShortDivisor}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var faults []string
	for _, share := range shares(k.kept, bounds.whole) {
		wg.Go(func() {
			found := x.compareShare(share, bounds)
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, found...)
		})
	}
	wg.Wait()
	for _, f := range faults {
		fmt.Fprintf(w, "--- FAIL: %s\n", f)
	}
	if len(faults) == 0 {
		fmt.Fprintf(w, "%s\n", summary(k.kept, bounds, time.Since(start)))
	}
	return len(faults) == 0
}

// compareShare compares artifacts in one process, and gives what to print of those on which there is no agreement.
func (x *Tests) compareShare(share []artifact, bounds limits) []string {
	var paths, faults []string
	from := map[string]artifact{}
	for _, a := range share {
		paths = append(paths, a.path)
		from[a.path] = a
	}
	err := x.kept.python.read(context.Background(), bounds, paths, func(path string, a *Answer, fault string) {
		found := []string{"npuw.py finds it faulty: " + fault}
		if fault == "" {
			found = x.compare(path, a)
		}
		if len(found) > 0 {
			faults = append(faults, from[path].report(found))
		}
	})
	if err != nil {
		faults = append(faults, err.Error())
	}
	return faults
}

// report says where there is no agreement on an artifact, and moves it to where it can be looked at.
func (a artifact) report(found []string) string {
	place := "it could not be kept"
	if f, err := os.CreateTemp("", "npuw-differs-*.npuw"); err == nil && errors.Join(f.Close(), copyFile(a.path, f.Name())) == nil {
		place = "it is now " + f.Name()
	}
	text := strings.ReplaceAll(strings.Join(found, "\n"), "\n", "\n        ")
	return fmt.Sprintf("npuw.py and the reader in Go disagree on an artifact of %s; %s\n        %s", a.from, place, text)
}

// shares divides artifacts among processes.
func shares(kept []artifact, whole int64) [][]artifact {
	total := int64(0)
	for _, a := range kept {
		total += min(a.bytes, whole)
	}
	n := min(1+int(total/processBytes), runtime.GOMAXPROCS(0), len(kept))
	list, bytes := make([][]artifact, n), make([]int64, n)
	for _, a := range slices.SortedFunc(slices.Values(kept), func(a, b artifact) int { return cmp.Compare(b.bytes, a.bytes) }) {
		i := slices.Index(bytes, slices.Min(bytes))
		list[i] = append(list[i], a)
		bytes[i] += min(a.bytes, whole)
	}
	return list
}

func summary(kept []artifact, bounds limits, took time.Duration) string {
	total, large := int64(0), 0
	for _, a := range kept {
		total += a.bytes
		if a.bytes > bounds.whole {
			large++
		}
	}
	return fmt.Sprintf("npuw.py agrees on %d artifacts, %d bytes, %d of them larger than %d bytes and compared in part, in %.1f s",
		len(kept), total, large, bounds.whole, took.Seconds())
}
