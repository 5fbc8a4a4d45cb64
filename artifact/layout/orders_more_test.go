package layout

import "testing"

// allOrders are all orders with a formula. Those here were added to show that digits say the orders of other micro tiles, of codes of
// 4 bits (where an element is a nibble, the low one first, and a byte two neighbours) and of their scales (where K counts
// groups).
func allOrders() []order { return append(append([]order{}, orders...), moreOrders...) }

var moreOrders = []order{
	{
		"mlir-aie mm.cc on npu2, and int8", "K* N* K8 N8", kn(75, 53), "K10 N7 K8 N8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (k/8*(p[1]/8)+n/8)*64 + k%8*8 + n%8
		},
	},
	{
		"mlir-aie mm.cc on npu1, int16", "K* N* K4 N4", kn(75, 53), "K19 N14 K4 N4",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (k/4*(p[1]/4)+n/4)*16 + k%4*4 + n%4
		},
	},
	{
		"int8 by int4, 4x16x8", "N* K* K16 N8", kn(75, 53), "N7 K5 K16 N8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/8*(p[0]/16)+k/16)*128 + k%16*8 + n%8
		},
	},
	{
		"panels of 32, tiles of 64, micro tiles of 8x8", "N* K* K8 N4 K8 N8", kn(139, 75), "N3 K3 K8 N4 K8 N8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/32*(p[0]/64)+k/64)*2048 + k%64/8*256 + n%32/8*64 + k%8*8 + n%8
		},
	},
	{
		"panels of 48, tiles of 64", "N* K* K8 N6 K8 N8", kn(139, 75), "N2 K3 K8 N6 K8 N8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/48*(p[0]/64)+k/64)*3072 + k%64/8*384 + n%48/8*64 + k%8*8 + n%8
		},
	},
	{
		"micro tiles of 8x8 with K innermost, tiles row by row", "K* N* N8 K8", kn(75, 53), "K10 N7 N8 K8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (k/8*(p[1]/8)+n/8)*64 + n%8*8 + k%8
		},
	},
	{
		"conv1d as a GEMM, channels before taps", "N* C* X* C8 N4",
		[]Axis{{Name: 'C', Extent: 21}, {Name: 'X', Extent: 3}, {Name: 'N', Extent: 13}},
		"N4 C3 X3 C8 N4",
		func(p, i []uint64) uint64 {
			c, x, n := i[0], i[1], i[2]
			return ((n/4*(p[0]/8)+c/8)*p[1]+x)*32 + c%8*4 + n%4
		},
	},
	{
		"both axes with digits out of radix order", "K2@4 N4@1 K4@1 N*@4 K*@8", kn(75, 53), "K2@4 N4@1 K4@1 N14@4 K10@8",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (((k/4%2*4+n%4)*4+k%4)*(p[1]/4)+n/4)*(p[0]/8) + k/8
		},
	},
	{
		"columns take every eighth panel (npu2)", "N8@32 N*@256 K* K8 N4@8 K8 N8@1", kn(20, 300), "N8@32 N2@256 K1 K8 N4@8 K8 N8@1",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			column, panel := n/32%8, n/256
			return (column*(p[1]/256)+panel)*p[0]*32 + k/64*2048 + k%64/8*256 + n%32/8*64 + k%8*8 + n%8
		},
	},
	{
		"codes row-major, two along N a byte", "K* N* N2", kn(75, 53), "K75 N27 N2",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (k*(p[1]/2)+n/2)*2 + n%2
		},
	},
	{
		"codes row-major, two along K a byte", "K* N* K2", kn(75, 53), "K38 N53 K2",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (k/2*p[1]+n)*2 + k%2
		},
	},
	{
		"codes column-major, two along K a byte", "N* K* K2", kn(75, 53), "N53 K38 K2",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n*(p[0]/2)+k/2)*2 + k%2
		},
	},
	{
		"codes in micro tiles of 16x8, two along K a byte", "N* K* K8 N8 K2", kn(75, 53), "N7 K5 K8 N8 K2",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/8*(p[0]/16)+k/16)*128 + (k%16/2*8+n%8)*2 + k%2
		},
	},
	// RyzenAI-SW, matrix_formatting.h (QuantMatrix: quant, zero, scale), K_SUBV 32, N_SUBV 128, group 32; the biases that it puts
	// before the first row of sub-volumes are left out. Sub-volumes stand four columns at a time (zig_zag_index).
	{
		"AMD W4, codes", "N* K* N4 K32 N128", kn(75, 300), "N1 K3 N4 K32 N128",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return zigzag(k/32, n/128, p[0]/32, 4)*32*128 + (k%32*64+n%128/2)*2 + n%2
		},
	},
	{
		"AMD W4, zeros and scales of groups of 32", "N* K* N4 N128", kn(3, 700), "N2 K3 N4 N128",
		func(p, i []uint64) uint64 {
			group, n := i[0], i[1]
			return zigzag(group, n/128, p[0], 4)*128 + n%128
		},
	},
	{
		"AMD W4, scales of groups of 32 in sub-volumes of 128", "N* K* N4 K4 N128", kn(11, 300), "N1 K3 N4 K4 N128",
		func(p, i []uint64) uint64 {
			group, n := i[0], i[1]
			return zigzag(group/4, n/128, p[0]/4, 4)*4*128 + group%4*128 + n%128
		},
	},
	// Tiles of 32 rows (N) by 256 of K, groups of 32. Packers of this format of FastFlowLM's, in public code, differ in the order of
	// scales.
	{
		"q4nx, codes", "N* K* N32 K256", kn(300, 53), "N2 K2 N32 K256",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return (n/32*(p[0]/256)+k/256)*8192 + (n%32*256+k%256)/2*2 + k%2
		},
	},
	{
		"q4nx, d and m, row by row", "N* K* N32 K8", kn(11, 53), "N2 K2 N32 K8",
		func(p, i []uint64) uint64 {
			group, n := i[0], i[1]
			return (n/32*(p[0]/8)+group/8)*256 + n%32*8 + group%8
		},
	},
	{
		"q4nx, d and m, group by group", "N* K* K8 N32", kn(11, 53), "N2 K2 K8 N32",
		func(p, i []uint64) uint64 {
			group, n := i[0], i[1]
			return (n/32*(p[0]/8)+group/8)*256 + group%8*32 + n%32
		},
	},
	{
		"q4nx, codes, two tiles of rows at a time", "N* K* N2 N32 K256", kn(300, 53), "N1 K2 N2 N32 K256",
		func(p, i []uint64) uint64 {
			k, n := i[0], i[1]
			return ((n/64*(p[0]/256)+k/256)*2+n/32%2)*8192 + n%32*256 + k%256
		},
	},
	{
		"scales of groups, row-major", "K* N*", kn(5, 53), "K5 N53",
		func(p, i []uint64) uint64 { return i[0]*p[1] + i[1] },
	},
	{
		"scales in panels of 32, as their codes", "N* K* N32", kn(5, 53), "N2 K5 N32",
		func(p, i []uint64) uint64 {
			group, n := i[0], i[1]
			return (n/32*p[0]+group)*32 + n%32
		},
	},
}

// zigzag is the number of the tile in a row and a column of rows of tiles, where a few columns stand side by side.
func zigzag(row, column, rows, side uint64) uint64 {
	return row*side + column%side + column/side*rows*side
}

// TestRotationIsNoLayout shows what digits cannot say. In a layout each axis adds a term of its own to a position. Where XNNPACK
// packs with sr > 1, it rotates K by N (pack_f32_gemm_goi: kc_idx = round_down(k, sr*kr) + ((k + n*kr) & (sr*kr-1))), so the axes
// do not: such an order must be refused, or kept as opaque bytes.
func TestRotationIsNoLayout(t *testing.T) {
	t.Parallel()
	const kr, sr = 1, 4
	rotated := func(_, i []uint64) uint64 {
		k, n := i[0], i[1]
		return (k/(sr*kr)*sr*kr+(k+sr*kr-n*kr%(sr*kr))%(sr*kr))*8 + n
	}
	size := []uint64{16, 8}
	seen := map[uint64]bool{}
	eachIndex(size, func(i []uint64) { seen[rotated(nil, i)] = true })
	if len(seen) != 16*8 {
		t.Fatalf("the rotation takes %d positions, want %d: it is no bijection, so it shows nothing", len(seen), 16*8)
	}
	if addsUp(size, rotated) {
		t.Error("the axes of the rotation add up")
	}
	for _, o := range allOrders() {
		l := o.layout(t)
		if p := padded(l); !addsUp(p, func(_, i []uint64) uint64 { return o.position(p, i) }) {
			t.Errorf("%s: the axes do not add up", o.name)
		}
	}
}

// addsUp reports whether a position is the sum of one term an axis, and one for the origin.
func addsUp(size []uint64, position func(p, i []uint64) uint64) bool {
	origin := position(size, make([]uint64, len(size)))
	sums := true
	one := make([]uint64, len(size))
	eachIndex(size, func(i []uint64) {
		sum := origin
		for axis, v := range i {
			clear(one)
			one[axis] = v
			sum += position(size, one) - origin
		}
		sums = sums && sum == position(size, i)
	})
	return sums
}
