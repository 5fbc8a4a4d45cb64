package xrt

import (
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
	"npuw/runtime/xrt/teststream"
	"npuw/schema/pyreader"
)

// gemm is a GEMM on a kernel of mlir-aie, with its weights in an artifact.
type gemm struct {
	m, k, n uint64
	a, b, c string // layouts
	format  element.Format
	bias    bool
	xclbin  int // which of the fixture's
}

var small = gemm{m: 13, k: 40, n: 24, a: "M* K*", b: "N* K* K8 N8", c: "M* N*", format: element.BF16}

// fixture is an artifact with GEMMs, each with a weight operand and instructions, and the folder of its xclbins.
type fixture struct {
	path, folder string
}

// xclbinSpec is one of several xclbins that differ in their timestamp only.
func xclbinSpec(i int) xclbintest.Spec {
	s := xclbintest.MLIRAIE()
	s.Timestamp += uint64(i)
	return s
}

const page = 4096

// newFixture writes an artifact, after edit has been at its index, and its xclbins.
func newFixture(t testing.TB, xclbins int, edit func(*artifact.Index), gemms ...gemm) fixture {
	t.Helper()
	dir := pyreader.TempDir(t)
	f := fixture{filepath.Join(dir, "model.npuw"), filepath.Join(dir, "kernels")}
	if err := os.Mkdir(f.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	x := &artifact.Index{Producer: artifact.Producer{Name: "test", Recipe: "test"}, Model: artifact.Model{Family: "test"}}
	b := builder{t: t, index: x, random: rand.New(rand.NewPCG(1, 2))}
	for i := range xclbins {
		b.addXclbin(f.folder, i)
	}
	for i, g := range gemms {
		b.add(i, g)
	}
	if edit != nil {
		edit(x)
	}
	b.write(f.path)
	return f
}

// builder collects what an artifact has.
type builder struct {
	t        testing.TB
	index    *artifact.Index
	random   *rand.Rand
	segments [][]byte
}

// addXclbin writes xclbin i to a folder and adds it to the index.
func (b *builder) addXclbin(folder string, i int) {
	data, err := xclbintest.Encode(xclbinSpec(i))
	check(b.t, err)
	name := fmt.Sprintf("gemm%d.xclbin", i)
	check(b.t, os.WriteFile(filepath.Join(folder, name), data, 0o644))
	b.index.Xclbins = append(b.index.Xclbins, artifact.Xclbin{Name: name, UUID: [16]byte(data[416:432]), Bytes: uint64(len(data)), Digest: artifact.Sum(data)})
}

func (b *builder) add(i int, g gemm) {
	c := g.contract(b.t, fmt.Sprintf("gemm%d", i))
	for j := range c.Arguments {
		a := &c.Arguments[j]
		if a.Role != kernel.Weight {
			continue
		}
		name := fmt.Sprintf("%s%d", a.Name, i)
		parameter := artifact.Parameter{Name: name}
		place := artifact.Placement{Parameter: len(b.index.Parameters), Scale: 1, To: make([]uint64, len(a.Layout.Axes))}
		for j, axis := range a.Layout.Axes {
			parameter.Axes += string(axis.Name)
			parameter.Shape = append(parameter.Shape, axis.Extent)
			place.From = append(place.From, artifact.PlacedAxis{Size: axis.Extent, Step: 1, Axis: j})
		}
		b.index.Parameters = append(b.index.Parameters, parameter)
		b.index.Operands = append(b.index.Operands, artifact.Operand{
			Name: name, Segment: len(b.segments), Bytes: a.Bytes, Format: a.Format, Layout: a.Layout,
			PadBits: padBits(a.Format), Placements: []artifact.Placement{place}, Statistics: element.Stats{Elements: extents(a.Layout)},
		})
		b.index.Bindings = append(b.index.Bindings, artifact.Binding{Operand: len(b.index.Operands) - 1, Contract: len(b.index.Contracts), Argument: j})
		b.segment(name, artifact.Weights, 0, b.weight(a))
	}
	stream, err := teststream.Encode(c)
	if err != nil {
		b.t.Fatal(err)
	}
	c.Arguments[0].Bytes = uint64(len(stream))
	c.Instructions = len(b.segments)
	b.segment(c.Name+".instructions", artifact.Instructions, 1, stream)
	b.index.Contracts = append(b.index.Contracts, *c)
}

// padBits are what padding of weights holds: a number that would be seen in a result.
func padBits(f element.Format) uint64 { return 0xbfc0 << (8*f.Size() - 16) }

// weight makes the elements of a weight.
func (b *builder) weight(a *kernel.Argument) []byte {
	data, size := random(b.random, a), a.Format.Size()
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
	if err != nil {
		b.t.Fatal(err)
	}
	defer w.Abort()
	for i, data := range b.segments {
		if _, err := w.WriteAt(data, int64(b.index.Segments[i].Offset)); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		b.t.Fatal(err)
	}
}

// contract is the contract of a GEMM, without instructions yet.
func (g gemm) contract(t testing.TB, name string) *kernel.Contract {
	t.Helper()
	axis := func(name byte, extent uint64) layout.Axis {
		return layout.Axis{Name: name, Extent: extent, Padded: extent}
	}
	m, k, n := axis('M', g.m), axis('K', g.k), axis('N', g.n)
	argument := func(name string, index uint32, role kernel.ArgumentRole, f element.Format, notation string, axes ...layout.Axis) kernel.Argument {
		a := kernel.Buffer(name, index, role, f, resolved(t, notation, axes))
		a.MemoryGroup = 0
		return a
	}
	c := &kernel.Contract{
		Name: name, Operation: kernel.GEMM, Kernel: "MLIR_AIE", Xclbin: g.xclbin, Instructions: kernel.None, Shape: []layout.Axis{m, k, n},
		Arguments: []kernel.Argument{
			{Name: "instructions", Index: 1, Role: kernel.Instructions, MemoryGroup: 1},
			argument("a", 3, kernel.Activation, g.format, g.a, m, k),
			argument("b", 4, kernel.Weight, g.format, g.b, k, n),
		},
	}
	next := uint32(5)
	if g.bias {
		c.Arguments = append(c.Arguments, argument("bias", next, kernel.Weight, element.F32, "N*", n))
		next++
	}
	c.Arguments = append(c.Arguments, argument("c", next, kernel.Output, element.F32, g.c, m, n))
	return c
}

func resolved(t testing.TB, notation string, axes []layout.Axis) layout.Layout {
	t.Helper()
	spec, err := layout.Parse(notation)
	if err != nil {
		t.Fatal(err)
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func extents(l layout.Layout) uint64 {
	n := uint64(1)
	for _, a := range l.Axes {
		n *= a.Extent
	}
	return n
}

// random makes elements for an argument; its padding, too, holds numbers.
func random(r *rand.Rand, a *kernel.Argument) []byte {
	values := make([]float32, a.Layout.Elements())
	for i := range values {
		values[i] = float32(r.NormFloat64())
	}
	data := make([]byte, a.Bytes)
	if err := element.Encode(data, values, a.Format); err != nil {
		panic(err)
	}
	return data
}

// arguments allocates the activations of contract i on d, gives `a` random values, and takes the weights from m.
func arguments(t testing.TB, d device.Device, m *device.Model, i int, seed uint64) device.Arguments {
	t.Helper()
	args := device.Arguments{}
	c := &m.Index.Contracts[i]
	for j := range c.Arguments {
		a := &c.Arguments[j]
		switch a.Role {
		case kernel.Instructions:
		case kernel.Weight:
			b, _, err := m.Operand(fmt.Sprintf("%s%d", a.Name, i))
			if err != nil {
				t.Fatal(err)
			}
			args[a.Name] = device.Value{Buffer: b}
		default:
			args[a.Name] = device.Value{Buffer: allocated(t, d, a, seed)}
		}
	}
	return args
}

// allocated is a buffer with random values for an argument; what is written to it shows.
func allocated(t testing.TB, d device.Device, a *kernel.Argument, seed uint64) device.Buffer {
	t.Helper()
	b, err := d.Allocate(int64(a.Bytes), a.MemoryGroup)
	if err != nil {
		t.Fatal(err)
	}
	host, err := b.Host()
	if err != nil {
		t.Fatal(err)
	}
	copy(host, random(rand.New(rand.NewPCG(seed, 3)), a))
	if err := b.ToDevice(); err != nil {
		t.Fatal(err)
	}
	return b
}

// closeActivations closes what arguments allocated.
func closeActivations(t testing.TB, c *kernel.Contract, args device.Arguments) {
	t.Helper()
	for name, v := range args {
		if c.Argument(name).Role != kernel.Weight {
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
