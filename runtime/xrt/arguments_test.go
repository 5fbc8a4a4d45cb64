package xrt

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// What XRT would crash on, or do silently, is refused before XRT sees it: the rig complains of whatever comes through.
func TestArgumentsAreChecked(t *testing.T) {
	onEach(t, conditions{}, testArguments)
}

func testArguments(t *testing.T, r *rig) {
	f := newFixture(t, small)
	d := r.device(f)
	s := newSession(t, d, f, 0)
	other := cpu.New(cpu.Options{})
	var made []device.Buffer
	allocate := func(d device.Device, bytes int64, group int32) device.Value {
		b, err := d.Allocate(bytes, group)
		check(t, err)
		made = append(made, b)
		return device.Value{Buffer: b}
	}
	size := func(name string) int64 { return s.args[name].Buffer.Len() }
	large := allocate(d, size("a")+size("c")+4096, 0).Buffer
	closed := viewOf(t, large, 0, size("a"))
	check(t, closed.Buffer.Close())
	for name, c := range map[string]struct {
		argument string
		value    device.Value
		message  string
	}{
		"scalar for a buffer":  {"a", device.Value{Scalar: 1}, `argument "a": wrong kernel argument: no buffer`},
		"too short":            {"a", allocate(d, size("a")-2, 0), "bytes; the contract says 1040"},
		"too long":             {"c", allocate(d, size("c")+2, 0), `argument "c": wrong kernel argument: a buffer of 1250 bytes`},
		"another memory group": {"a", allocate(d, size("a"), 1), "a buffer in memory group 1; the kernel reads it in 0"},
		"another device":       {"a", allocate(other, size("a"), 0), "a buffer of another device"},
		"mapped output":        {"c", viewOf(t, s.args["b"].Buffer, 0, size("c")), "a mapped buffer cannot be written"},
		"unaligned":            {"a", viewOf(t, large, 32, size("a")), "1040 bytes at 32; a multiple of 64 was expected"},
		"not an argument":      {"d", allocate(d, 64, 0), `argument "d": wrong kernel argument: not to be given`},
		"instructions":         {"instructions", allocate(d, 64, 1), "not to be given"},
		"closed view":          {"a", closed, "used after Close"},
	} {
		given := maps.Clone(s.args)
		given[c.argument] = c.value
		if _, err := s.kernel.Run(context.Background(), given); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v", name, err)
		} else if !errors.Is(err, device.ErrArgument) && !errors.Is(err, device.ErrClosed) {
			t.Errorf("%s: %v is no ErrArgument", name, err)
		}
	}
	given := maps.Clone(s.args)
	delete(given, "b")
	if _, err := s.kernel.Run(context.Background(), given); !errors.Is(err, device.ErrArgument) || !strings.Contains(err.Error(), `"b": wrong kernel argument: missing`) {
		t.Errorf("missing: %v", err)
	}
	testParts(t, r, s, large)
	for _, b := range made {
		check(t, b.Close())
	}
	s.close()
	check(t, errors.Join(other.Close(), d.Close()))
	r.hasNone()
}

// testParts gives a kernel parts of one buffer: those that overlap are refused.
func testParts(t *testing.T, r *rig, s *session, large device.Buffer) {
	t.Helper()
	a, c := s.args["a"].Buffer, s.args["c"].Buffer
	begin := (a.Len() + partAlign - 1) / partAlign * partAlign // of the first part beyond a
	given := maps.Clone(s.args)
	given["a"], given["c"] = viewOf(t, large, 0, a.Len()), viewOf(t, large, begin-partAlign, c.Len())
	if _, err := s.kernel.Run(context.Background(), given); !errors.Is(err, device.ErrArgument) || !strings.Contains(err.Error(), `it overlaps argument "a"`) {
		t.Errorf("overlap: %v", err)
	}
	if r.total("start") != 0 {
		t.Errorf("%d runs reached XRT", r.total("start"))
	}
	given["c"] = viewOf(t, large, begin, c.Len())
	from, err := a.Host()
	check(t, err)
	to, err := given["a"].Buffer.Host()
	check(t, err)
	copy(to, from)
	check(t, given["a"].Buffer.ToDevice())
	if _, err := s.kernel.Run(context.Background(), given); err != nil {
		t.Errorf("parts of one buffer: %v", err)
	}
	s.args = given
	s.right(r)
	s.args = device.Arguments{"a": {Buffer: a}, "b": given["b"], "c": {Buffer: c}}
}

func viewOf(t *testing.T, b device.Buffer, offset, bytes int64) device.Value {
	t.Helper()
	v, err := b.View(offset, bytes)
	check(t, err)
	return device.Value{Buffer: v}
}
