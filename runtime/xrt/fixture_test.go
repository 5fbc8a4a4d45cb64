package xrt

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/xclbin/xclbintest"
	"npuw/runtime/device"
	"npuw/runtime/xrt/gemmtest"
	"npuw/runtime/xrt/teststream"
	"npuw/schema/pyreader"
)

// gemm is a GEMM with its weights in an artifact.
type gemm struct {
	gemmtest.GEMM
	xclbin int // which of the fixture's
}

var small = gemm{GEMM: gemmtest.Small}

// apart are n small GEMMs, each in an xclbin of its own.
func apart(n int) []gemm {
	list := make([]gemm, n)
	for i := range list {
		list[i] = gemm{gemmtest.Small, i}
	}
	return list
}

// fixture is an artifact with GEMMs, each with a weight operand and instructions, and the folder of its xclbins.
type fixture struct {
	path, folder string
}

// edits are changes of a fixture before it is written. Each may be nil.
type edits struct {
	contract func(*kernel.Contract) // each, after its instructions have been made
	index    func(*artifact.Index)
	xclbin   func(*xclbinSpec)
}

// xclbinSpec is what an xclbin is written from.
type xclbinSpec = xclbintest.Spec

// aged is an xclbin of another time, which makes it another one.
func aged(s *xclbinSpec) { s.Timestamp += 100 }

const page = 4096

// newFixture writes an artifact and the xclbins that its GEMMs are in, one at least.
func newFixture(t testing.TB, gemms ...gemm) fixture {
	t.Helper()
	return newEdited(t, edits{}, gemms...)
}

// newEdited is newFixture with edits.
func newEdited(t testing.TB, e edits, gemms ...gemm) fixture {
	t.Helper()
	dir := pyreader.TempDir(t)
	f := fixture{filepath.Join(dir, "model.npuw"), filepath.Join(dir, "kernels")}
	check(t, os.Mkdir(f.folder, 0o755))
	x := &artifact.Index{Producer: artifact.Producer{Name: "test", Recipe: "test"}, Model: artifact.Model{Family: "test"}}
	b := builder{t: t, edits: e, index: x, random: rand.New(rand.NewPCG(1, 2))}
	b.addXclbin(f.folder)
	for i, g := range gemms {
		for len(x.Xclbins) <= g.xclbin {
			b.addXclbin(f.folder)
		}
		b.add(i, g)
	}
	if e.index != nil {
		e.index(x)
	}
	b.write(f.path)
	return f
}

// builder collects what an artifact has.
type builder struct {
	t        testing.TB
	edits    edits
	index    *artifact.Index
	random   *rand.Rand
	segments [][]byte
}

// addXclbin writes an xclbin to a folder, which differs from others in its timestamp, and adds it to the index.
func (b *builder) addXclbin(folder string) {
	i := len(b.index.Xclbins)
	s := xclbintest.MLIRAIE()
	s.Timestamp += uint64(i)
	if b.edits.xclbin != nil {
		b.edits.xclbin(&s)
	}
	data, err := xclbintest.Encode(s)
	check(b.t, err)
	name := fmt.Sprintf("gemm%d.xclbin", i)
	check(b.t, os.WriteFile(filepath.Join(folder, name), data, 0o644))
	b.index.Xclbins = append(b.index.Xclbins, artifact.Xclbin{Name: name, UUID: [16]byte(data[416:432]), Bytes: uint64(len(data)), Digest: artifact.Sum(data)})
}

// add adds a GEMM: its contract, weights and instructions.
func (b *builder) add(i int, g gemm) {
	c := g.Contract(b.t, fmt.Sprintf("gemm%d", i))
	c.Xclbin = g.xclbin
	stream, err := teststream.Encode(c)
	check(b.t, err)
	for j := range c.Arguments {
		if c.Arguments[j].Role == kernel.Weight {
			b.addWeights(fmt.Sprintf("%s%d", c.Arguments[j].Name, i), &c.Arguments[j])
			b.index.Bindings = append(b.index.Bindings, artifact.Binding{Operand: len(b.index.Operands) - 1, Contract: len(b.index.Contracts), Argument: j})
		}
	}
	c.Arguments[0].Bytes = uint64(len(stream))
	c.Instructions = len(b.segments)
	b.segment(c.Name+".instructions", artifact.Instructions, xclbintest.SRAM, stream)
	if b.edits.contract != nil {
		b.edits.contract(c)
	}
	b.index.Contracts = append(b.index.Contracts, *c)
}

// addWeights adds an operand with random elements, in a segment of its own, and the parameter that it holds.
func (b *builder) addWeights(name string, a *kernel.Argument) {
	parameter := artifact.Parameter{Name: name}
	place := artifact.Placement{Parameter: len(b.index.Parameters), Scale: 1, To: make([]uint64, len(a.Layout.Axes))}
	for i, axis := range a.Layout.Axes {
		parameter.Axes += string(axis.Name)
		parameter.Shape = append(parameter.Shape, axis.Extent)
		place.From = append(place.From, artifact.PlacedAxis{Size: axis.Extent, Step: 1, Axis: i})
	}
	b.index.Parameters = append(b.index.Parameters, parameter)
	b.index.Operands = append(b.index.Operands, artifact.Operand{
		Name: name, Segment: len(b.segments), Bytes: a.Bytes, Format: a.Format, Layout: a.Layout,
		PadBits: padBits(a.Format), Placements: []artifact.Placement{place}, Statistics: element.Stats{Elements: extents(a.Layout)},
	})
	b.segment(name, artifact.Weights, a.MemoryGroup, b.weight(a))
}

// padBits are what padding of weights holds: a number that would be seen in a result.
func padBits(f element.Format) uint64 { return 0xbfc0 << (8*f.Size() - 16) }

// weight makes the elements of a weight.
func (b *builder) weight(a *kernel.Argument) []byte {
	data, size := gemmtest.Elements(b.random, a), a.Format.Size()
	strides, elements := make([]int64, len(a.Layout.Axes)), int64(1)
	for i := len(strides) - 1; i >= 0; i-- {
		strides[i] = elements
		elements *= int64(a.Layout.Axes[i].Extent)
	}
	plain, pad := make([]byte, elements*int64(size)), binary.LittleEndian.AppendUint64(nil, padBits(a.Format))[:size]
	check(b.t, a.Layout.Unpack(plain, data, strides, size))
	check(b.t, a.Layout.Pack(data, plain, strides, size, pad))
	return data
}

func extents(l layout.Layout) uint64 {
	n := uint64(1)
	for _, a := range l.Axes {
		n *= a.Extent
	}
	return n
}

// segment adds a segment that begins with data.
func (b *builder) segment(name string, kind artifact.SegmentKind, group int32, data []byte) {
	bytes := (len(data) + page - 1) / page * page
	at := uint64(page)
	if n := len(b.segments); n > 0 {
		at = b.index.Segments[n-1].Offset + b.index.Segments[n-1].Bytes
	}
	b.index.Segments = append(b.index.Segments, artifact.Segment{Name: name, Kind: kind, MemoryGroup: group, Offset: at, Bytes: uint64(bytes)})
	b.segments = append(b.segments, data)
}

func (b *builder) write(path string) {
	w, err := artifact.Create(path, b.index, page, false)
	check(b.t, err)
	defer w.Abort()
	for i, data := range b.segments {
		_, err := w.WriteAt(data, int64(b.index.Segments[i].Offset))
		check(b.t, err)
	}
	check(b.t, w.Commit())
}

// load loads a fixture.
func load(t testing.TB, d device.Device, f fixture) *device.Model {
	t.Helper()
	m, err := device.Load(context.Background(), d, f.path, device.LoadOptions{})
	check(t, err)
	return m
}

// openKernel opens contract i of a model.
func openKernel(t testing.TB, d device.Device, m *device.Model, i int) device.Kernel {
	t.Helper()
	k, err := d.Open(&m.Index.Contracts[i])
	check(t, err)
	return k
}

// arguments allocates the activations of contract i on d, gives `a` random values, and takes the weights from m.
func arguments(t testing.TB, d device.Device, m *device.Model, i int) device.Arguments {
	t.Helper()
	args := device.Arguments{}
	c := &m.Index.Contracts[i]
	for j := range c.Arguments {
		a := &c.Arguments[j]
		switch a.Role {
		case kernel.Instructions, kernel.Constant:
		case kernel.Weight:
			b, _, err := m.Operand(fmt.Sprintf("%s%d", a.Name, i))
			check(t, err)
			args[a.Name] = device.Value{Buffer: b}
		default:
			args[a.Name] = device.Value{Buffer: allocated(t, d, a)}
		}
	}
	return args
}

// allocated is a buffer with random values for an argument; what is written to it shows.
func allocated(t testing.TB, d device.Device, a *kernel.Argument) device.Buffer {
	t.Helper()
	b, err := d.Allocate(int64(a.Bytes), a.MemoryGroup)
	check(t, err)
	host, err := b.Host()
	check(t, err)
	copy(host, gemmtest.Elements(rand.New(rand.NewPCG(7, 3)), a))
	check(t, b.ToDevice())
	return b
}

// closeActivations closes what arguments allocated.
func closeActivations(t testing.TB, c *kernel.Contract, args device.Arguments) {
	t.Helper()
	for name, v := range args {
		if a := c.Argument(name); a.Kind == kernel.BufferArgument && a.Role != kernel.Weight {
			check(t, v.Buffer.Close())
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
