package device_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/schema/pyreader"
)

// kinds are devices on which loading must work.
var kinds = map[string]func(testing.TB) device.Device{
	"cpu":    func(t testing.TB) device.Device { t.Helper(); return newCPU(t, cpu.Options{}) },
	"shadow": func(t testing.TB) device.Device { t.Helper(); return newCPU(t, cpu.Options{Shadow: true}) },
	"copies": func(t testing.TB) device.Device {
		t.Helper()
		return &hooked{Device: newCPU(t, cpu.Options{Shadow: true}), mapping: refuse(errNoMap)}
	},
	"composite": func(t testing.TB) device.Device {
		t.Helper()
		first := &hooked{Device: cpu.New(cpu.Options{Shadow: true}), mapping: refuse(errNoMap), opening: only(kernel.GEMM)}
		return closing(t, device.NewComposite(device.Part{Device: first}, device.Part{Device: cpu.New(cpu.Options{})}))
	},
}

func TestLoad(t *testing.T) {
	needsMap(t)
	t.Parallel()
	s := newSample(t, nil)
	for kind, newDevice := range kinds {
		for _, opts := range []device.LoadOptions{{}, {SkipDigests: true}} {
			d := newDevice(t)
			m := must(device.Load(t.Context(), d, s.path, opts))
			r := m.Report
			if r.Path != s.path || r.Device != d.Name() || r.Checked == opts.SkipDigests || len(r.Unsupported) != 0 {
				t.Errorf("%s: report %+v", kind, r)
			}
			copied := kind == "copies" || kind == "composite"
			for i, g := range s.index.Segments {
				want := device.SegmentReport{Name: g.Name, Bytes: g.Bytes, Mapped: !copied}
				if copied {
					want.Why = errNoMap.Error()
				}
				if r.Segments[i] != want {
					t.Errorf("%s: segment %+v, want %+v", kind, r.Segments[i], want)
				}
				holds(t, kind+" segment", must(m.Segment(i)), s.data[i])
			}
			for i, o := range s.index.Operands {
				b, found, err := m.Operand(o.Name)
				check(t, err)
				if found != &m.Index.Operands[i] {
					t.Errorf("%s: operand %s is described as %+v", kind, o.Name, found)
				}
				holds(t, kind+" "+o.Name, b, s.operand(i))
			}
			check(t, errors.Join(m.Close(), m.Close()))
		}
	}
}

// holds checks what the device has of a buffer.
func holds(t *testing.T, what string, b device.Buffer, want []byte) {
	t.Helper()
	check(t, b.FromDevice())
	if !bytes.Equal(must(b.Host()), want) || b.Len() != int64(len(want)) {
		t.Errorf("%s: the buffer does not hold what the file does", what)
	}
}

// Segments lie in the memory group that the index gives.
func TestMemoryGroups(t *testing.T) {
	t.Parallel()
	s := newSample(t, nil)
	for _, mapping := range []error{nil, errNoMap} {
		g := &grouped{Device: newCPU(t, cpu.Options{}), mapping: mapping, bytes: map[int32]int{}}
		check(t, must(device.Load(t.Context(), g, s.path, device.LoadOptions{})).Close())
		for i, want := range map[int32]int{artifact.NoGroup: plainSegment, 3: groupSegment, 1: codeSegment} {
			if g.bytes[i] != len(s.data[want]) {
				t.Errorf("%d bytes in group %d, expected %d", g.bytes[i], i, len(s.data[want]))
			}
		}
	}
}

// grouped adds up bytes by memory group.
type grouped struct {
	device.Device
	mapping error
	mu      sync.Mutex
	bytes   map[int32]int
}

func (g *grouped) Map(pages []byte, group int32) (device.Buffer, error) {
	if g.mapping != nil {
		return nil, g.mapping
	}
	g.add(group, len(pages))
	return g.Device.Map(pages, group)
}

func (g *grouped) Allocate(n int64, group int32) (device.Buffer, error) {
	g.add(group, int(n))
	return g.Device.Allocate(n, group)
}

func (g *grouped) add(group int32, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes[group] += n
}

// However loading fails, nothing is left open: the device of each case says so when it is closed.
func TestLoadFailures(t *testing.T) {
	needsMap(t)
	t.Parallel()
	for n := range int64(segments) {
		loadFails(t, fmt.Sprintf("allocation %d", n), &hooked{mapping: refuse(errNoMap), allocating: at(n+1, refuse(errFailed))}, errFailed)
		loadFails(t, fmt.Sprintf("mapping %d on a closed device", n), &hooked{mapping: at(n+1, refuse(device.ErrClosed))}, device.ErrClosed)
	}
	copying := func(b brokenBuffer) *hooked {
		return &hooked{mapping: refuse(errNoMap), buffer: func(inner device.Buffer) device.Buffer {
			broken := b
			broken.Buffer = inner
			return &broken
		}}
	}
	loadFails(t, "Host", copying(brokenBuffer{host: errFailed}), errFailed)
	loadFails(t, "ToDevice", copying(brokenBuffer{toDevice: errFailed}), errFailed)
	both := copying(brokenBuffer{toDevice: errFailed, close: errFailed2})
	loadFails(t, "ToDevice, then Close", both, errFailed)
	loadFails(t, "ToDevice, then Close", both, errFailed2)
	if err := loadFails(t, "a short buffer", copying(brokenBuffer{short: true}), nil); !strings.Contains(err.Error(), "the device gave a buffer of") {
		t.Errorf("a short buffer: error %v", err)
	}
	loadFails(t, "mismatch", &hooked{opening: func(*kernel.Contract) error { return device.ErrMismatch }}, device.ErrMismatch)
}

// loadFails checks that the sample cannot be loaded on d, a device without one under it.
func loadFails(t *testing.T, what string, d *hooked, kind error) error {
	t.Helper()
	s := newSample(t, func(x *artifact.Index) { x.Contracts = []artifact.Contract{*gemm("gemm")} })
	inner := cpu.New(cpu.Options{})
	d.Device = inner
	m, err := device.Load(t.Context(), d, s.path, device.LoadOptions{})
	if m != nil || err == nil || kind != nil && !errors.Is(err, kind) {
		t.Errorf("%s: error %v, expected %v", what, err, kind)
	} else if !strings.Contains(err.Error(), s.path) {
		t.Errorf("%s: error %q does not name the file", what, err)
	}
	if err := inner.Close(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return err
}

func TestLoadRefusesOtherFiles(t *testing.T) {
	t.Parallel()
	d := newCPU(t, cpu.Options{})
	_, err := device.Load(t.Context(), d, pyreader.TempDir(t)+"/none.npuw", device.LoadOptions{})
	wants(t, "no file", err, os.ErrNotExist)
	s := newSample(t, nil)
	s.patch(t, 0, 'X')
	_, err = device.Load(t.Context(), d, s.path, device.LoadOptions{})
	wants(t, "another magic", err, artifact.ErrNotArtifact)
}

// A file of the right length with a wrong byte, in any segment, is refused; that its digests were left out is told.
func TestLoadCorrupt(t *testing.T) {
	t.Parallel()
	for i := range segments {
		s := newSample(t, nil)
		g := s.index.Segments[i]
		s.patch(t, g.Offset+g.Bytes-1, s.data[i][g.Bytes-1]^1)
		for kind, newDevice := range kinds {
			d := newDevice(t)
			_, err := device.Load(t.Context(), d, s.path, device.LoadOptions{})
			var fault *artifact.Error
			if !errors.As(err, &fault) || fault.Err != artifact.ErrCorrupt || fault.File != s.path || fault.Offset != int64(g.Offset) || fault.Thing != fmt.Sprintf("segment %q", g.Name) {
				t.Errorf("%s: segment %q: error %v", kind, g.Name, err)
			}
			m := must(device.Load(t.Context(), d, s.path, device.LoadOptions{SkipDigests: true}))
			if m.Report.Checked {
				t.Errorf("%s: the report says that digests were compared", kind)
			}
			check(t, m.Close())
		}
	}
}

// What is copied is read once and is what the digest is of: a file that changes in between cannot slip through.
func TestDigestIsOfTheCopy(t *testing.T) {
	t.Parallel()
	s := newSample(t, nil)
	d := &hooked{Device: newCPU(t, cpu.Options{}), mapping: refuse(errNoMap), allocating: func() error {
		s.patch(t, s.index.Segments[groupSegment].Offset, ^s.data[groupSegment][0])
		return nil
	}}
	_, err := device.Load(t.Context(), d, s.path, device.LoadOptions{})
	wants(t, "changed before it was read", err, artifact.ErrCorrupt)
}

func TestLoadTruncated(t *testing.T) {
	needsMap(t)
	t.Parallel()
	for _, opts := range []device.LoadOptions{{}, {SkipDigests: true}} {
		s := newSample(t, nil)
		d := &hooked{Device: newCPU(t, cpu.Options{}), mapping: refuse(errNoMap)}
		d.allocating = func() error { return s.cut(t, pageBytes+5) }
		_, err := device.Load(t.Context(), d, s.path, opts)
		wants(t, "truncated before it was copied", err, artifact.ErrTruncated)
	}
	s := newSample(t, nil)
	d := &hooked{Device: newCPU(t, cpu.Options{})}
	d.mapping = func() error { return s.cut(t, pageBytes+5) }
	_, err := device.Load(t.Context(), d, s.path, device.LoadOptions{})
	wants(t, "truncated before it was checked", err, artifact.ErrTruncated)
}

func TestLoadCancelled(t *testing.T) {
	needsMap(t)
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := newCPU(t, cpu.Options{})
	_, err := device.Load(ctx, d, newSample(t, nil).path, device.LoadOptions{})
	wants(t, "before the start", err, context.Canceled)
	s := newSample(t, func(x *artifact.Index) { x.Contracts = []artifact.Contract{*gemm("one"), *gemm("two")} })
	ctx, cancel = context.WithCancel(t.Context())
	_, err = device.Load(ctx, &hooked{Device: d, mapping: func() error { cancel(); return nil }}, s.path, device.LoadOptions{})
	wants(t, "in a segment", err, context.Canceled)
	ctx, cancel = context.WithCancel(t.Context())
	_, err = device.Load(ctx, &hooked{Device: d, opening: func(*kernel.Contract) error { cancel(); return nil }}, s.path, device.LoadOptions{})
	wants(t, "at a contract", err, context.Canceled)
	if err != nil && !strings.Contains(err.Error(), `contract "two"`) {
		t.Errorf("cancelled at the first contract: %v", err)
	}
}

// Contracts that the device has nothing for are reported; they may be for another program.
func TestLoadReportsContracts(t *testing.T) {
	t.Parallel()
	s := newSample(t, func(x *artifact.Index) {
		x.Contracts = []artifact.Contract{*gemm("gemm"), {Name: "other", Operation: "LOCAL", Xclbin: artifact.None, Instructions: codeSegment}}
		x.Bindings = []artifact.Binding{{Operand: 0, Contract: 0, Argument: 1}}
	})
	m := must(device.Load(t.Context(), newCPU(t, cpu.Options{}), s.path, device.LoadOptions{}))
	defer m.Close()
	if r := m.Report.Unsupported; len(r) != 1 || r[0].Name != "other" || !strings.Contains(r[0].Why, "LOCAL") {
		t.Errorf("unsupported contracts: %+v", r)
	}
	holds(t, "code", must(m.Segment(m.Index.Contracts[1].Instructions)), s.data[codeSegment])
}

func TestModelErrors(t *testing.T) {
	t.Parallel()
	s := newSample(t, nil)
	m := must(device.Load(t.Context(), newCPU(t, cpu.Options{}), s.path, device.LoadOptions{}))
	_, _, err := m.Operand("fourth")
	wants(t, "no such operand", err, artifact.ErrNotFound)
	for _, i := range []int{-1, segments} {
		_, err = m.Segment(i)
		wants(t, "no such segment", err, artifact.ErrNotFound)
	}
	// What a later version may write, and Open lets pass.
	m.Index.Operands[0].Format = 99
	m.Index.Operands[1].Encoding = 7
	m.Index.Segments[groupSegment].Kind = 9
	for name, part := range map[string]string{"first": "format(99)", "second": "encoding 7", "third": "kind 9"} {
		_, _, err := m.Operand(name)
		wants(t, name, err, artifact.ErrUnsupported)
		if err != nil && (!strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), name)) {
			t.Errorf("error %q does not say what is unsupported", err)
		}
	}
	m.Index.Operands[0].Format = s.index.Operands[0].Format
	view, _, err := m.Operand("first")
	check(t, errors.Join(err, m.Close(), m.Close()))
	_, _, err = m.Operand("first")
	wants(t, "operand of a closed model", err, device.ErrClosed)
	_, err = m.Segment(0)
	wants(t, "segment of a closed model", err, device.ErrClosed)
	_, err = view.Host()
	wants(t, "view of a closed model", err, device.ErrClosed)
}

// A device that is closed first takes the model's buffers with it.
func TestDeviceClosedUnderModel(t *testing.T) {
	t.Parallel()
	s := newSample(t, nil)
	d := cpu.New(cpu.Options{})
	m := must(device.Load(t.Context(), d, s.path, device.LoadOptions{}))
	var leak *device.LeakError
	if err := d.Close(); !errors.As(err, &leak) || leak.Buffers != segments || leak.Kernels != 0 {
		t.Errorf("close with a model on it: %v", err)
	}
	_, _, err := m.Operand("first")
	wants(t, "operand", err, device.ErrClosed)
	check(t, m.Close())
	_, err = device.Load(t.Context(), d, s.path, device.LoadOptions{})
	wants(t, "load on a closed device", err, device.ErrClosed)
}

func TestConcurrentLoads(t *testing.T) {
	t.Parallel()
	s := newSample(t, nil)
	for kind, newDevice := range kinds {
		d := newDevice(t)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				m, err := device.Load(t.Context(), d, s.path, device.LoadOptions{})
				if err != nil {
					t.Errorf("%s: %v", kind, err)
					return
				}
				for i, o := range s.index.Operands {
					b, _, err := m.Operand(o.Name)
					if err != nil || !bytes.Equal(must(b.Host()), s.operand(i)) {
						t.Errorf("%s: operand %s: error %v, or wrong bytes", kind, o.Name, err)
					}
				}
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
}

// Closing while others ask for operands gives them an operand or ErrClosed.
func TestCloseWhileUsed(t *testing.T) {
	t.Parallel()
	s := newSample(t, nil)
	for kind, newDevice := range kinds {
		m := must(device.Load(t.Context(), newDevice(t), s.path, device.LoadOptions{}))
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 20 {
					b, _, err := m.Operand("third")
					if err == nil {
						_, err = b.Host()
					}
					if err != nil && !errors.Is(err, device.ErrClosed) {
						t.Errorf("%s: %v", kind, err)
					}
				}
			})
		}
		group.Go(func() { check(t, m.Close()) })
		group.Wait()
	}
}

// needsMap skips a test of what a device makes of a mapped file, where no file can be mapped.
func needsMap(t *testing.T) {
	t.Helper()
	if !mapsFiles {
		t.Skip("this build maps no files")
	}
}
