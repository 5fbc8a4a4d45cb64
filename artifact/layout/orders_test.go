package layout

import (
	"bytes"
	"fmt"
	"testing"
)

// order is an order that a kernel reads: the notation, and the position of every element written out by hand from the padded
// extents p and the index i, one value an axis.
type order struct {
	name     string
	notation string
	axes     []Axis
	resolved string
	position func(p, i []uint64) uint64
}

// kn are the axes of a weight B[K, N] of sizes that are no multiple of anything.
func kn(k, n uint64) []Axis { return []Axis{{Name: 'K', Extent: k}, {Name: 'N', Extent: n}} }

var orders = []order{
	{
		"row-major, padded to 64 and 128", "K* N*",
		[]Axis{{Name: 'K', Extent: 75, Padded: 128}, {Name: 'N', Extent: 53, Padded: 128}},
		"K128 N128",
		func(p, i []uint64) uint64 { return i[0]*p[1] + i[1] },
	},
	{
		"column-major", "N* K*", kn(75, 53), "N53 K75",
		func(p, i []uint64) uint64 { return i[1]*p[0] + i[0] },
	},
	{
		"mlir-aie mm.cc, row-major B in L1", "K* N* K8 N4", kn(75, 53), "K10 N14 K8 N4",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (k/8*(p[1]/4)+n/4)*32 + k%8*4 + n%4
		},
	},
	{
		"mlir-aie b_col_maj", "N* K* N4 K8", kn(75, 53), "N14 K10 N4 K8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/4*(p[0]/8)+k/8)*32 + n%4*8 + k%8
		},
	},
	{
		"IREE-AMD-AIE, mlir-air attention V", "N* K* K8 N4", kn(75, 53), "N14 K10 K8 N4",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/4*(p[0]/8)+k/8)*32 + k%8*4 + n%4
		},
	},
	{
		"mlir-air attention K", "K* N* N4 K8", kn(75, 53), "K10 N14 N4 K8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (k/8*(p[1]/4)+n/4)*32 + n%4*8 + k%8
		},
	},
	{
		"mlir-aie mm_bfp", "N* K* N8 K8", kn(75, 53), "N7 K10 N8 K8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/8*(p[0]/8)+k/8)*64 + n%8*8 + k%8
		},
	},
	{
		"AMD DynamicDispatch, Ksv 16, Nsv 32", "N* K* N4 K16 N8", kn(75, 53), "N2 K5 N4 K16 N8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/32*(p[0]/16)+k/16)*512 + n%32/8*128 + k%16*8 + n%8
		},
	},
	{
		"panels of 32, tiles of 64, micro tiles of 8x4", "N* K* K8 N8 K8 N4", kn(139, 75), "N3 K3 K8 N8 K8 N4",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/32*(p[0]/64)+k/64)*2048 + k%64/8*256 + n%32/4*32 + k%8*4 + n%4
		},
	},
	{
		"panels interleaved over 4 columns", "N4@32 N*@128 K* K8 N8@4 K8 N4@1", kn(75, 300), "N4@32 N3@128 K2 K8 N8@4 K8 N4@1",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			column, panel := n/32%4, n/128
			return ((column*(p[1]/128)+panel)*(p[0]/64)+k/64)*2048 + k%64/8*256 + n%32/4*32 + k%8*4 + n%4
		},
	},
	{
		"panels split over 4 columns, each contiguous", "N4@*32 N*@32 K* K8 N8@4 K8 N4@1", kn(75, 300), "N4 N3 K2 K8 N8 K8 N4",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			share := p[1] / 4
			column, panel := n/share, n%share/32
			return ((column*(share/32)+panel)*(p[0]/64)+k/64)*2048 + k%64/8*256 + n%32/4*32 + k%8*4 + n%4
		},
	},
	{
		"innermost digit is not the lowest", "K* N4@1 N*@4", kn(9, 50), "K9 N4@1 N13@4",
		func(p, i []uint64) uint64 { return i[0]*p[1] + i[1]%4*(p[1]/4) + i[1]/4 },
	},
	{
		"conv2d int8", "O* I* Y* X* I8 O8",
		[]Axis{{Name: 'O', Extent: 21}, {Name: 'I', Extent: 13}, {Name: 'Y', Extent: 3}, {Name: 'X', Extent: 5}},
		"O3 I2 Y3 X5 I8 O8",
		func(p, i []uint64) uint64 {
			o, c, y, x := i[0], i[1], i[2], i[3]
			return (((o/8*(p[1]/8)+c/8)*p[2]+y)*p[3]+x)*64 + c%8*8 + o%8
		},
	},
	{
		"vector padded to 32", "N* N32",
		[]Axis{{Name: 'N', Extent: 77}},
		"N3 N32",
		func(_, i []uint64) uint64 { return i[0] },
	},
}

func (o order) layout(t testing.TB) Layout {
	t.Helper()
	return resolve(t, o.notation, o.axes...)
}

func resolve(t testing.TB, notation string, axes ...Axis) Layout {
	t.Helper()
	spec, err := Parse(notation)
	if err != nil {
		t.Fatal(err)
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func padded(l Layout) []uint64 {
	var p []uint64
	for _, a := range l.Axes {
		p = append(p, a.Padded)
	}
	return p
}

// eachIndex calls do for every index below size, the last axis fastest.
func eachIndex(size []uint64, do func(index []uint64)) {
	for _, n := range size {
		if n == 0 {
			return
		}
	}
	index := make([]uint64, len(size))
	for {
		do(index)
		i := len(size) - 1
		for ; i >= 0; i-- {
			if index[i]++; index[i] < size[i] {
				break
			}
			index[i] = 0
		}
		if i < 0 {
			return
		}
	}
}

// logical reports whether an index is within the extents.
func logical(l Layout, index []uint64) bool {
	for i, a := range l.Axes {
		if index[i] >= a.Extent {
			return false
		}
	}
	return true
}

func TestOrdersMatchFormulas(t *testing.T) {
	t.Parallel()
	for _, o := range allOrders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			l := o.layout(t)
			if err := l.Validate(); err != nil {
				t.Fatal(err)
			}
			if got := l.String(); got != o.resolved {
				t.Errorf("resolved to %q, want %q", got, o.resolved)
			}
			p := padded(l)
			back := make([]uint64, len(p))
			eachIndex(p, func(index []uint64) {
				want := o.position(p, index)
				if got := l.Offset(index); got != want {
					t.Fatalf("element %v lies at %d, the formula says %d", index, got, want)
				}
				if l.Index(want, back); fmt.Sprint(back) != fmt.Sprint(index) {
					t.Fatalf("position %d holds %v, the formula says %v", want, back, index)
				}
			})
		})
	}
}

// dense returns the strides of a source whose axes lie in memory in the order given, the last fastest, with gap elements
// between its rows, and how many elements it has.
func dense(axes []Axis, inMemory []int, gap int64) ([]int64, int64) {
	strides := make([]int64, len(axes))
	n := int64(1)
	for i := len(inMemory) - 1; i >= 0; i-- {
		axis := inMemory[i]
		strides[axis] = n
		n *= int64(axes[axis].Extent)
		if i == len(inMemory)-1 {
			n += gap
		}
	}
	return strides, n
}

// sourceOrders returns every order in which up to four axes can lie in a source.
func sourceOrders(axes int) [][]int {
	if axes == 0 {
		return [][]int{{}}
	}
	var all [][]int
	for _, shorter := range sourceOrders(axes - 1) {
		for at := range axes {
			longer := append(append(append([]int{}, shorter[:at]...), axes-1), shorter[at:]...)
			all = append(all, longer)
		}
	}
	return all
}

// element writes a value that tells elements apart, whatever their size.
func element(b []byte, id uint64) {
	for i := range b {
		b[i] = byte((id + 1) * 0x9e3779b97f4a7c15 >> (56 - 8*(i%8)))
	}
}

func TestPackMatchesFormulas(t *testing.T) {
	t.Parallel()
	for _, o := range allOrders() {
		for _, inMemory := range sourceOrders(len(o.axes)) {
			for _, elem := range []int{1, 2, 3, 4, 8, 16} {
				t.Run(fmt.Sprintf("%s/source %v/%d bytes", o.name, inMemory, elem), func(t *testing.T) {
					t.Parallel()
					testPack(t, o.layout(t), o.position, inMemory, int64(elem%3), elem)
				})
			}
		}
	}
}

// testPack packs a source whose elements are all different, compares every element of the result, and unpacks it again.
func testPack(t *testing.T, l Layout, position func(p, i []uint64) uint64, inMemory []int, gap int64, elem int) {
	t.Helper()
	strides, n := dense(l.Axes, inMemory, gap)
	src := make([]byte, n*int64(elem))
	for i := range int(n) {
		element(src[i*elem:][:elem], uint64(i))
	}
	pad := bytes.Repeat([]byte{0xa5, 0x5a}, elem)[:elem]
	p := padded(l)
	want := make([]byte, int(l.Elements())*elem)
	lies := func(index []uint64) []byte {
		at := int64(0)
		for i, v := range index {
			at += int64(v) * strides[i]
		}
		return src[at*int64(elem):][:elem]
	}
	eachIndex(p, func(index []uint64) {
		value := pad
		if logical(l, index) {
			value = lies(index)
		}
		copy(want[position(p, index)*uint64(elem):][:elem], value)
	})
	const spare = 0xee
	dst := bytes.Repeat([]byte{spare}, len(want)+5)
	if err := l.Pack(dst, src, strides, elem, pad); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(dst[:len(want)], want) {
		t.Fatalf("%s: packed bytes differ from the formula's", l)
	}
	if !bytes.Equal(dst[len(want):], bytes.Repeat([]byte{spare}, 5)) {
		t.Fatal("bytes beyond the layout were written")
	}

	got := bytes.Repeat([]byte{spare}, len(src))
	if err := l.Unpack(got, dst, strides, elem); err != nil {
		t.Fatal(err)
	}
	wantBack := bytes.Repeat([]byte{spare}, len(src))
	var extents []uint64
	for _, a := range l.Axes {
		extents = append(extents, a.Extent)
	}
	eachIndex(extents, func(index []uint64) {
		at := int64(0)
		for i, v := range index {
			at += int64(v) * strides[i]
		}
		copy(wantBack[at*int64(elem):][:elem], lies(index))
	})
	if !bytes.Equal(got, wantBack) {
		t.Fatalf("%s: unpacking does not give the source back, gaps untouched", l)
	}
}
