package target

// stack is what a core's stack takes of its memory at least: the default of mlir-aie (aie.core, stack_size) and IREE-AMD-AIE.
// mlir-aie's matrix multiplications ask for 3328. So a tile that would fill the memory to the last byte, such as 64x64x64
// from BF16 to F32 with every buffer twice, does not fit.
const stack = 1024

// core is the tile DMA's memory module of AIE2 and AIE2P. Sources: AM025, MEMORY_MODULE DMA_BDx_0 (Buffer_Length 13:0), _2 and _3
// (D0_Stepsize 12:0, D0_Wrap 20:13, D1_Wrap 28:21), _4 (Iteration_Wrap 18:13); mlir-aie, AIEXDialect.cpp,
// verifyStridesWraps, which has the same widths for every AIE2 target, npu2 among them.
func core() Level {
	return Level{Name: "core", Bytes: 64 << 10, Reserved: stack, DMA: DMA{
		Dimensions: 3, WrapBits: 8, StepBits: 13, IterationBits: 6, LengthBits: 14, Descriptors: 16, Reachable: 16,
	}}
}

// memtile: AM025, MEMORY_TILE_MODULE DMA_BDx_0 (Buffer_Length 16:0), _4 (D2_Wrap 26:17, D2_Stepsize 16:0). Channels of even
// number reach descriptors 0 to 23, those of odd number 24 to 47 (AMD XD100, "Buffer Descriptors overview"; mlir-aie,
// isBdChannelAccessible).
func memtile() Level {
	return Level{Name: "memtile", Bytes: 512 << 10, DMA: DMA{
		Dimensions: 4, WrapBits: 10, StepBits: 17, IterationBits: 6, LengthBits: 17, Descriptors: 48, Reachable: 24,
	}}
}

// shim: the NOC module's widths in mlir-aie, verifyStridesWraps, and in aie-rt, xaiemlgbl_params.h (BUFFER_LENGTH has 32 bits).
// Bursts are those of mlir-aie, getShimBurstEncodingsAndLengths.
func shim(bursts ...int) Level {
	return Level{Name: "shim", DMA: DMA{
		Dimensions: 3, WrapBits: 10, StepBits: 20, IterationBits: 6, LengthBits: 32, Descriptors: 16, Reachable: 16, Bursts: bursts,
	}}
}

// npu1 has five columns, of which one has no shim and programs get four (mlir-aie, BaseNPU1TargetModel).
func npu1() Target {
	return Target{
		Name: "npu1", Arch: "AIE2", Chips: "Phoenix, Hawk Point", Columns: 4, Rows: 4,
		Core: core(), Memtile: memtile(), Shim: shim(64, 128, 256),
		Tiles: []MicroTiles{
			{BF16, BF16, []MicroTile{
				inUse(4, 8, 4, 4, 4), tile(4, 8, 8), tile(8, 8, 8), tile(8, 8, 4), doubtful(4, 16, 4, sparse), tile(4, 16, 8),
			}},
			{Int8, Int8, []MicroTile{inUse(4, 8, 8, 4, 2), tile(8, 8, 8), tile(4, 8, 4), tile(4, 16, 8)}},
			{Int8, Int4, []MicroTile{tile(4, 16, 8), tile(8, 16, 8), tile(4, 32, 8)}},
			{Int16, Int16, []MicroTile{inUse(4, 4, 4, 2, 2), tile(4, 4, 8)}},
		},
	}
}

// npu2: mlir-aie, BaseNPU2TargetModel. The tiles of BF16 other than 4x8x8 and 8x8x4 are emulated, 8x8x8 by BFP16
// (AIE_API_EMULATE_BFLOAT16_MMUL_WITH_BFP16).
func npu2() Target {
	return Target{
		Name: "npu2", Arch: "AIE2P", Chips: "Strix, Krackan", Columns: 8, Rows: 4,
		Core: core(), Memtile: memtile(), Shim: shim(64, 128, 256, 512),
		Tiles: []MicroTiles{
			{BF16, BF16, []MicroTile{inUse(4, 8, 8, 2, 2), tile(8, 8, 8), tile(8, 8, 4), tile(4, 8, 4)}},
			{Int8, Int8, []MicroTile{inUse(8, 8, 8, 2, 2), tile(4, 8, 8), doubtful(8, 16, 8, sparse)}},
			{Int8, Int4, []MicroTile{tile(4, 16, 16), doubtful(8, 8, 8, "aie_api has it for AIE-ML v2 only")}},
			{Int16, Int16, []MicroTile{inUse(4, 4, 8, 2, 2)}},
			{BFP16, BFP16, []MicroTile{known(8, 8, 8, 2, 2), tile(8, 8, 16)}},
			{BF16, BFP16, []MicroTile{tile(8, 8, 8)}},
		},
	}
}

const sparse = "aie_api has it for a sparse B only"

// inUse is a micro tile of mlir-aie's matrix multiplications, of which the kernel works on m by n at once (aie_kernels/aie2/mm.cc
// and aie2p/mm.cc: its static_asserts).
func inUse(r, s, t, m, n int) MicroTile {
	return MicroTile{R: r, S: s, T: t, AcrossM: m, AcrossN: n, InUse: true}
}

// known is a micro tile of which a kernel works on m by n at once (aie_kernels/aie2p/mm_bfp.cc).
func known(r, s, t, m, n int) MicroTile { return MicroTile{R: r, S: s, T: t, AcrossM: m, AcrossN: n} }

// tile is a micro tile of aie::mmul (aie_api, "Matrix Multiplication Modes").
func tile(r, s, t int) MicroTile { return known(r, s, t, 1, 1) }

// doubtful is a micro tile that is said to exist, where aie_api's own text does not bear it out for dense operands.
func doubtful(r, s, t int, doubt string) MicroTile {
	return MicroTile{R: r, S: s, T: t, AcrossM: 1, AcrossN: 1, Doubt: doubt}
}
