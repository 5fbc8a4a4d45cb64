package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/pipeline/model"
	"npuw/pipeline/plan"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// planOf plans w by the fields of its operand.
func planOf(t testing.TB, m *model.Model, fields string) *plan.Plan {
	t.Helper()
	text := fmt.Sprintf("name: \"test/x\"\noperand { parameter: \"w\" segment: \"s\" %s }", fields)
	r, err := recipe.Parse("x.txtpb", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(m, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// order is a way to pack a matrix or box, and what it means.
type order struct {
	name   string
	source stored
	fields string // of the recipe's operand
	want   expectation
	cuts   []bool // whether windows of one element cut each axis of the operand
}

// Short names for the tables below.
const (
	f32, bf16, f16 = element.F32, element.BF16, element.F16

	kn = `format: BF16 axes: "KN" `
)

// matrices are layouts of vectors and matrices of every kind that windows have to cope with, each with an index formula.
func matrices() []order {
	return []order{
		{
			"a vector longer than a window",
			stored{axes: "N", shape: []int{1000}, format: f32},
			`format: BF16 layout: "N* N8" pad { axis: "N" multiple: 96 }`,
			expectation{bf16, 1056, func(i []int) (int, int, int) { return 0, i[0], i[0] }, 0},
			[]bool{true},
		},
		{
			"a row longer than a window",
			stored{axes: "NK", shape: []int{3, 9000}, format: f32},
			`format: F16 layout: "N* K*" pad_value: -2`,
			expectation{f16, 27000, func(i []int) (int, int, int) { return i[0], i[1], i[0]*9000 + i[1] }, 0xc000},
			[]bool{false, true},
		},
		{
			"a column longer than a window",
			stored{axes: "NK", shape: []int{9000, 3}, format: f32},
			kn + `layout: "K* N*" pad { axis: "K" multiple: 5 } pad_value: 1`,
			expectation{bf16, 45000, func(i []int) (int, int, int) { return i[1], i[0], i[1]*9000 + i[0] }, 0x3f80},
			[]bool{false, true},
		},
		{
			"tiles, [N,K]",
			stored{axes: "NK", shape: []int{200, 300}, format: f32},
			kn + `layout: "N* K* K8 N8 K8 N4"`,
			expectation{bf16, 224 * 320, func(i []int) (int, int, int) { return i[1], i[0], tiled(i[1], i[0], 320) }, 0},
			[]bool{true, true},
		},
		{
			"tiles, [K,N]",
			stored{axes: "NK", shape: []int{200, 300}, perm: []int{1, 0}, format: f32},
			kn + `layout: "N* K* K8 N8 K8 N4"`,
			expectation{bf16, 224 * 320, func(i []int) (int, int, int) { return i[1], i[0], tiled(i[1], i[0], 320) }, 0},
			[]bool{true, true},
		},
		{
			"windows that are all padding",
			stored{axes: "NK", shape: []int{70, 90}, format: f16},
			`format: F32 layout: "K* N*" axes: "KN" pad { axis: "K" multiple: 512 } pad { axis: "N" multiple: 256 } pad_value: 0.5`,
			expectation{f32, 512 * 256, func(i []int) (int, int, int) { return i[1], i[0], i[1]*256 + i[0] }, 0x3f000000},
			[]bool{true, true},
		},
		{
			// N is dealt to four columns of cores, a quarter each; neighbours in memory are quarters apart.
			"interleaved column split",
			stored{axes: "NK", shape: []int{300, 70}, format: f32},
			kn + `layout: "K* N*@1 N4@*" pad { axis: "N" multiple: 512 }`,
			expectation{bf16, 70 * 512, func(i []int) (int, int, int) {
				return i[1], i[0], i[1]*512 + i[0]%128*4 + i[0]/128
			}, 0},
			[]bool{true, true},
		},
		{
			// A quarter of N is 75: no multiple of 64 elements divides it, so N cannot be cut.
			"column split that cannot be cut",
			stored{axes: "NK", shape: []int{300, 130}, perm: []int{1, 0}, format: f32},
			kn + `layout: "N4@* K* N*@1"`,
			expectation{bf16, 130 * 300, func(i []int) (int, int, int) {
				return i[1], i[0], i[0]/75*75*130 + i[1]*75 + i[0]%75
			}, 0},
			[]bool{true, false},
		},
		{
			"tiles that 64 is no multiple of",
			stored{axes: "NK", shape: []int{330, 200}, format: element.F64},
			kn + `layout: "N* K* K12 N5"`,
			expectation{bf16, 330 * 204, func(i []int) (int, int, int) {
				n, k := i[0], i[1]
				return k, n, ((n/5*17+k/12)*12+k%12)*5 + n%5
			}, 0},
			[]bool{true, true},
		},
	}
}

// boxes are layouts of what has more axes, or had.
func boxes() []order {
	ncx := []int{150, 9, 3}
	return []order{
		{
			"a convolution as it is",
			stored{axes: "NCX", shape: ncx, format: f32},
			`format: BF16 layout: "N* C* X*"`,
			expectation{bf16, 150 * 27, func(i []int) (int, int, int) { return i[0]*9 + i[1], i[2], flat(i, ncx) }, 0},
			[]bool{true, false, false},
		},
		{
			"a convolution by taps",
			stored{axes: "NCX", shape: ncx, format: f32},
			`format: BF16 axes: "XCN" layout: "X* N* C* C8 N8"`,
			expectation{bf16, 3 * 16 * 152, func(i []int) (int, int, int) {
				n, c, x := i[0], i[1], i[2]
				return x*9 + c, n, (((x*19+n/8)*2+c/8)*8+c%8)*8 + n%8
			}, 0},
			[]bool{false, false, true},
		},
		{
			"a convolution stored [X,C,N]",
			stored{axes: "NCX", shape: ncx, perm: []int{2, 1, 0}, format: f32},
			`format: BF16 axes: "KN" merge { axis: "K" of: "CX" } layout: "N* K* K8 N8 K8 N4"`,
			expectation{bf16, 64 * 160, func(i []int) (int, int, int) {
				k := i[1]*3 + i[2]
				return k, i[0], tiled(k, i[0], 64)
			}, 0},
			[]bool{false, true},
		},
		{
			"a convolution with the taps outermost",
			stored{axes: "NCX", shape: []int{30, 100, 3}, format: element.BF16},
			`format: F32 axes: "NK" merge { axis: "K" of: "XC" } layout: "K* N*"`,
			expectation{f32, 9000, func(i []int) (int, int, int) {
				k := i[2]*100 + i[1]
				return i[0], k, k*30 + i[0]
			}, 0},
			[]bool{false, true},
		},
		{
			"two axes made one, the outer one inside",
			stored{axes: "NCX", shape: []int{30, 100, 3}, format: f32},
			`format: F32 axes: "KC" merge { axis: "K" of: "XN" } layout: "C* K*"`,
			expectation{f32, 9000, func(i []int) (int, int, int) {
				k := i[2]*30 + i[0]
				return k, i[1], i[1]*90 + k
			}, 0},
			[]bool{true, true},
		},
		{
			"four axes",
			stored{axes: "ABCD", shape: []int{20, 5, 7, 11}, perm: []int{3, 0, 2, 1}, format: f32},
			`format: F32 layout: "B* D* A* C*"`,
			expectation{f32, 7700, func(i []int) (int, int, int) {
				return (i[0]*5+i[1])*7 + i[2], i[3], ((i[1]*11+i[3])*20+i[0])*7 + i[2]
			}, 0},
			[]bool{false, false, false, false},
		},
	}
}

// Operands in every order come out right, whatever the size of the windows: whole, as small as can be, and between.
func TestOrders(t *testing.T) {
	t.Parallel()
	for i, o := range append(matrices(), boxes()...) {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			s := o.source.random(uint64(i))
			c, m := store(t, s)
			p := planOf(t, m, o.fields)
			x, err := newMatrix(&p.Operands[0], m, 1)
			if err != nil {
				t.Fatal(err)
			}
			var cuts []bool
			for _, n := range x.count {
				cuts = append(cuts, n > 1)
			}
			if !slices.Equal(cuts, o.cuts) {
				t.Errorf("%d windows, expected axes cut %v", x.count, o.cuts)
			}
			for _, window := range []uint64{1, 5000, 40000, windowElements} {
				f := verified(t, packed(t, c, p, 2, window))
				checkOperand(t, f, "w", s.shape, func(i int) float64 { return s.values[i] }, o.want)
			}
		})
	}
}

// Layouts at random, over axes at random, of sources stored at random: the bytes are those of layout.Offset.
func TestRandomOrders(t *testing.T) {
	t.Parallel()
	count := 150
	if testing.Short() {
		count = 30 // enough to see that nothing is broken outright
	}
	for seed := range uint64(count) {
		r := rand.New(rand.NewPCG(seed, 2))
		s := &stored{format: []element.Format{element.F32, element.F32, element.F16, element.BF16, element.F64}[r.IntN(5)]}
		rank := 1 + r.IntN(4)
		most := []int{5000, 300, 40, 14}[rank-1]
		for a := range rank {
			s.axes += string(rune('A' + a))
			s.shape = append(s.shape, 1+r.IntN(most))
		}
		s.perm = r.Perm(rank)
		s.random(seed)
		fields := randomFields(r, rank)
		c, m := store(t, s)
		p := planOf(t, m, fields)
		l, format := p.Operands[0].Layout, p.Operands[0].Format
		want := expectation{format: format, size: int(l.Elements()), place: placeByLayout(l, p.Operands[0].Placements[0].From)}
		f := verified(t, packed(t, c, p, 1+r.IntN(3), uint64(1+r.IntN(10000))))
		checkOperand(t, f, "w", s.shape, func(i int) float64 { return s.values[i] }, want)
		if t.Failed() {
			t.Fatalf("seed %d: %s, %v as %v, operand %s", seed, s.axes, s.shape, s.perm, fields)
		}
	}
}

// randomFields writes an operand of axes A, B...: perhaps in another order, with the last two made one, with digits at random.
func randomFields(r *rand.Rand, rank int) string {
	var axes, merge string
	for _, a := range r.Perm(rank) {
		axes += string(rune('A' + a))
	}
	if rank > 1 && r.IntN(3) == 0 { // Z is made of the last two
		merge = fmt.Sprintf("merge { axis: \"Z\" of: \"%s\" }", axes[rank-2:])
		axes = axes[:rank-2] + "Z"
	}
	var digits []string
	for _, a := range axes {
		digits = append(digits, string(a)+"*")
		for range r.IntN(3) {
			digits = append(digits, fmt.Sprintf("%c%d", a, 1+r.IntN(9)))
		}
	}
	r.Shuffle(len(digits), func(i, j int) { digits[i], digits[j] = digits[j], digits[i] })
	return fmt.Sprintf("axes: %q %s layout: %q format: %s", axes, merge, strings.Join(digits, " "), []string{"F32", "F16", "BF16", "BF16"}[r.IntN(4)])
}

// placeByLayout places by the operand's placement and layout.Offset.
func placeByLayout(l layout.Layout, from []artifact.PlacedAxis) func(i []int) (row, col, position int) {
	last := len(l.Axes) - 1
	index := make([]uint64, len(l.Axes))
	return func(i []int) (row, col, position int) {
		clear(index)
		for j, f := range from {
			index[f.Axis] += uint64(i[j]) * f.Step
		}
		for a := range last {
			row = row*int(l.Axes[a].Extent) + int(index[a])
		}
		return row, int(index[last]), int(l.Offset(index))
	}
}

// What would take more memory than packing may have is refused before it is taken. The files are holes.
func TestRefusesWhatCannotBeCut(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name   string
		axes   string
		shape  []uint64
		perm   []int
		fields string
		says   string
	}{
		{
			"a layout that must be held whole", "NK",
			[]uint64{4<<20 + 1, 4},
			[]int{0, 1},
			`format: BF16 layout: "K* N2@* N*@1"`, "cannot be cut", // half of N has no factor of 64
		},
		{
			"a source that must be held whole", "NCX",
			[]uint64{3000, 3000, 3},
			[]int{2, 1, 0},
			`format: BF16 axes: "KN" merge { axis: "K" of: "CX" } layout: "K* N*"`, "so far apart",
		},
		{
			"a table of an axis", "N",
			[]uint64{maxExtent + 1},
			[]int{0},
			`format: BF16 layout: "N*"`, "axis N of 16777217 indices",
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			n := int64(4)
			stored := make([]uint64, len(x.shape))
			for i, size := range x.shape {
				n *= int64(size)
				stored[x.perm[i]] = size
			}
			m := &model.Model{Family: "test", Parameters: []model.Parameter{{
				Name: "w", Axes: x.axes, Shape: x.shape, Perm: x.perm,
				Tensor: source.Tensor{Name: "tensor", Type: element.F32, Shape: stored, Data: source.Data{Size: n}},
			}}}
			path := filepath.Join(pyreader.TempDir(t), "weights")
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, n)); err != nil {
				t.Fatal(err)
			}
			f, err := source.OpenFile(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c := &source.Catalogue{Kind: "test", Path: path, Files: []*source.File{f}}
			dir := pyreader.TempDir(t)
			err = run(t.Context(), c, planOf(t, m, x.fields), filepath.Join(dir, "x.npuw"), Options{NoSync: true}, windowElements)
			if err == nil || !strings.Contains(err.Error(), `operand "w"`) || !strings.Contains(err.Error(), x.says) {
				t.Errorf("%v, expected a refusal of operand w: %s", err, x.says)
			}
			empty(t, dir)
		})
	}
}

// The independent rounding of these tests, against values that can be checked by eye.
func TestRounded(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		value  float64
		format element.Format
		bits   uint64
	}{
		{1, element.F32, 0x3f800000},
		{-1, element.BF16, 0xbf80},
		{1.00390625, element.BF16, 0x3f80},      // a tie, to even
		{1.01171875, element.BF16, 0x3f82},      // a tie, to even
		{1.003906250001, element.BF16, 0x3f81},  // just above a tie
		{0x1p-133, element.BF16, 1},             // the smallest subnormal
		{0x1p-134, element.BF16, 0},             // half of it: to even
		{math.MaxFloat32, element.BF16, 0x7f80}, // overflows
		{-65519, element.F16, 0xfbff},           // the largest that does not
		{65520, element.F16, 0x7c00},            // overflows
		{0x1p-24, element.F16, 1},               // the smallest subnormal
		{math.Inf(-1), element.F16, 0xfc00},     //
		{math.Copysign(0, -1), element.F32, 0x80000000},
		{float64(math.Float32frombits(0x7fa00001)), element.BF16, 0x7fe0}, // a NaN made quiet
	} {
		if bits, _ := rounded(x.value, x.format); bits != x.bits {
			t.Errorf("%v in %v: %#x, expected %#x", x.value, x.format, bits, x.bits)
		}
		if x.format == element.F32 {
			continue
		}
		b := make([]byte, 2)
		if err := element.Encode(b, []float64{x.value}, x.format); err != nil || uint64(binary.LittleEndian.Uint16(b)) != x.bits {
			t.Errorf("element.Encode(%v, %v) = %x, %v; expected %#x", x.value, x.format, b, err, x.bits)
		}
	}
}
