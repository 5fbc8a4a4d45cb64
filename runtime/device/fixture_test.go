package device_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/schema/pyreader"
)

// Sizes of the sample's matrices, [K,N] in float32, and of what they are multiplied with, [M,K].
const (
	sizeM, sizeK, sizeN = 4, 128, 64
	pageBytes           = 4096
)

// The sample's segments.
const (
	plainSegment = iota // operands "first" and "second"
	groupSegment        // operand "third", in memory group 3
	codeSegment         // the instruction stream of contract "gemm"
	segments
)

var codeBytes = []byte("instructions")

// matrix is [rows, cols], row-major.
func matrix(axes string, rows, cols uint64) layout.Layout {
	return layout.Layout{
		Axes:   []layout.Axis{{Name: axes[0], Extent: rows, Padded: rows}, {Name: axes[1], Extent: cols, Padded: cols}},
		Digits: []layout.Digit{{Axis: 0, Size: rows, Stride: 1}, {Axis: 1, Size: cols, Stride: 1}},
	}
}

// gemm is the contract by which the sample's operands are read.
func gemm(name string) *kernel.Contract {
	return &kernel.Contract{
		Name: name, Operation: kernel.GEMM, Xclbin: kernel.None, Instructions: kernel.None,
		Shape: []layout.Axis{
			{Name: 'M', Extent: sizeM, Padded: sizeM}, {Name: 'K', Extent: sizeK, Padded: sizeK}, {Name: 'N', Extent: sizeN, Padded: sizeN},
		},
		Arguments: []kernel.Argument{
			kernel.Buffer("a", 0, kernel.Activation, element.F32, matrix("MK", sizeM, sizeK)),
			kernel.Buffer("b", 1, kernel.Weight, element.F32, matrix("KN", sizeK, sizeN)),
			kernel.Buffer("c", 2, kernel.Output, element.F32, matrix("MN", sizeM, sizeN)),
		},
	}
}

// gelu is a contract of another operation: y = GELU(x), [M,N].
func gelu() *kernel.Contract {
	return &kernel.Contract{
		Name: "gelu", Operation: kernel.GELU, Xclbin: kernel.None, Instructions: kernel.None, Shape: gemm("").Arguments[2].Layout.Axes,
		Arguments: []kernel.Argument{
			kernel.Buffer("x", 0, kernel.Activation, element.F32, matrix("MN", sizeM, sizeN)),
			kernel.Buffer("y", 1, kernel.Output, element.F32, matrix("MN", sizeM, sizeN)),
		},
	}
}

// sample is an artifact and what its segments hold.
type sample struct {
	path  string
	index *artifact.Index
	data  [segments][]byte
}

// newSample packs random weights. edit may change the index.
func newSample(t testing.TB, edit func(*artifact.Index)) *sample {
	t.Helper()
	const bytes = sizeK * sizeN * 4
	s := &sample{path: filepath.Join(pyreader.TempDir(t), "sample.npuw"), index: &artifact.Index{
		Producer: artifact.Producer{Name: "test", Recipe: "sample"},
		Model:    artifact.Model{Family: "sample"},
		Segments: []artifact.Segment{
			{Name: "plain", MemoryGroup: artifact.NoGroup, Offset: pageBytes, Bytes: 2 * bytes},
			{Name: "group", MemoryGroup: 3, Offset: pageBytes + 2*bytes, Bytes: bytes},
			{Name: "code", Kind: artifact.Instructions, MemoryGroup: 1, Offset: pageBytes + 3*bytes, Bytes: pageBytes},
		},
	}}
	random := rand.New(rand.NewPCG(1, 2))
	add := func(name string, segment int) {
		values := make([]float32, sizeK*sizeN)
		for i := range values {
			values[i] = float32(random.NormFloat64())
		}
		encoded := make([]byte, bytes)
		check(t, element.Encode(encoded, values, element.F32))
		o := artifact.Operand{
			Name: name, Segment: segment, Offset: uint64(len(s.data[segment])), Bytes: bytes, Format: element.F32, Layout: matrix("KN", sizeK, sizeN),
			Placements: []artifact.Placement{{
				Parameter: len(s.index.Parameters), Scale: 1, To: []uint64{0, 0},
				From: []artifact.PlacedAxis{{Size: sizeN, Step: 1, Axis: 1}, {Size: sizeK, Step: 1, Axis: 0}},
			}},
		}
		o.Statistics.Elements = sizeK * sizeN
		s.index.Parameters = append(s.index.Parameters, artifact.Parameter{Name: name, Axes: "NK", Shape: []uint64{sizeN, sizeK}})
		s.index.Operands = append(s.index.Operands, o)
		s.data[segment] = append(s.data[segment], encoded...)
	}
	add("first", plainSegment)
	add("second", plainSegment)
	add("third", groupSegment)
	s.data[codeSegment] = append(codeBytes, make([]byte, pageBytes-len(codeBytes))...)
	if edit != nil {
		edit(s.index)
	}
	w := must(artifact.Create(s.path, s.index, pageBytes, false))
	defer w.Abort()
	for i, b := range s.data {
		must(w.WriteAt(b, int64(s.index.Segments[i].Offset)))
	}
	check(t, w.Commit())
	return s
}

// cut leaves the first n bytes of the file.
func (s *sample) cut(t testing.TB, n int64) error {
	t.Helper()
	pyreader.Damage(t, s.path)
	return os.Truncate(s.path, n)
}

// operand is what an operand holds.
func (s *sample) operand(i int) []byte {
	o := &s.index.Operands[i]
	return s.data[o.Segment][o.Offset:][:o.Bytes]
}

// patch changes bytes of the file, past all digests.
func (s *sample) patch(t testing.TB, off uint64, b ...byte) {
	t.Helper()
	pyreader.Damage(t, s.path)
	f := must(os.OpenFile(s.path, os.O_WRONLY, 0))
	defer f.Close()
	must(f.WriteAt(b, int64(off)))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants checks that err is one of a kind.
func wants(t testing.TB, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: error %v, expected %v", what, err, kind)
	}
}

// newCPU is a device that must have nothing open when the test ends.
func newCPU(t testing.TB, opts cpu.Options) device.Device {
	t.Helper()
	return closing(t, cpu.New(opts))
}

func closing(t testing.TB, d device.Device) device.Device {
	t.Helper()
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// hooked is a device with a mind of its own. Each hook may be nil.
type hooked struct {
	device.Device
	name       string                                           // instead of its own
	mapping    func() error                                     // before Map
	allocating func() error                                     // before Allocate
	opening    func(*kernel.Contract) error                     // before Open
	running    func(device.Arguments) (device.Arguments, error) // before Run, which gets what it returns
	buffer     func(device.Buffer) device.Buffer                // after Map and Allocate
	closing    func()                                           // before Close
}

func (h *hooked) Name() string {
	if h.name != "" {
		return h.name
	}
	return h.Device.Name()
}

func (h *hooked) Map(pages []byte, group int32) (device.Buffer, error) {
	if h.mapping != nil {
		if err := h.mapping(); err != nil {
			return nil, err
		}
	}
	return h.made(h.Device.Map(pages, group))
}

func (h *hooked) Allocate(bytes int64, group int32) (device.Buffer, error) {
	if h.allocating != nil {
		if err := h.allocating(); err != nil {
			return nil, err
		}
	}
	return h.made(h.Device.Allocate(bytes, group))
}

func (h *hooked) made(b device.Buffer, err error) (device.Buffer, error) {
	if err == nil && h.buffer != nil {
		b = h.buffer(b)
	}
	return b, err
}

func (h *hooked) Open(c *kernel.Contract) (device.Kernel, error) {
	if h.opening != nil {
		if err := h.opening(c); err != nil {
			return nil, err
		}
	}
	k, err := h.Device.Open(c)
	if err == nil && h.running != nil {
		k = hookedKernel{k, h}
	}
	return k, err
}

func (h *hooked) Close() error {
	if h.closing != nil {
		h.closing()
	}
	return h.Device.Close()
}

type hookedKernel struct {
	device.Kernel
	device *hooked
}

func (k hookedKernel) Run(ctx context.Context, args device.Arguments) (device.Result, error) {
	args, err := k.device.running(args)
	if err != nil {
		return device.Result{}, err
	}
	return k.Kernel.Run(ctx, args)
}

// brokenBuffer fails where it is told to.
type brokenBuffer struct {
	device.Buffer
	host, toDevice, close error
	short                 bool // Host gives less than it should
}

func (b *brokenBuffer) Host() ([]byte, error) {
	host, err := b.Buffer.Host()
	if b.short {
		host = host[1:]
	}
	return host, errors.Join(err, b.host)
}

func (b *brokenBuffer) ToDevice() error { return errors.Join(b.Buffer.ToDevice(), b.toDevice) }
func (b *brokenBuffer) Close() error    { return errors.Join(b.Buffer.Close(), b.close) }

// refuse is a hook that always fails.
func refuse(err error) func() error { return func() error { return err } }

// at is a hook that does something at its n-th call, counted from 1.
func at(n int64, do func() error) func() error {
	var calls atomic.Int64
	return func() error {
		if calls.Add(1) == n {
			return do()
		}
		return nil
	}
}

// only lets a device open kernels of one operation, without an epilogue.
func only(op kernel.Operation) func(*kernel.Contract) error {
	return func(c *kernel.Contract) error {
		if c.Operation != op || c.Epilogue != kernel.NoEpilogue {
			return errors.Join(device.ErrUnsupported, errors.New("only plain "+string(op)))
		}
		return nil
	}
}

var (
	errNoMap   = errors.Join(device.ErrUnsupported, errors.New("pins are refused"))
	errFailed  = errors.New("made to fail")
	errFailed2 = errors.New("made to fail as well")
)
