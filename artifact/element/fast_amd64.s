//go:build amd64 && !noasm

#include "go_asm.h"
#include "textflag.h"

// Constants, one binary32 or 32-bit integer each; broadcast to the eight lanes of a register.
DATA one<>+0(SB)/4, $1
GLOBL one<>(SB), RODATA|NOPTR, $4

DATA half<>+0(SB)/4, $0x7fff
GLOBL half<>(SB), RODATA|NOPTR, $4

DATA quiet<>+0(SB)/4, $0x00400000
GLOBL quiet<>(SB), RODATA|NOPTR, $4

DATA magnitude<>+0(SB)/4, $0x7fffffff
GLOBL magnitude<>(SB), RODATA|NOPTR, $4

// ROUND leaves in the high 16 bits of each 32-bit lane of OUT the bfloat16 nearest to the binary32 in X, ties to even:
// (bits + 0x7fff + lowest kept bit) >> 16, the shift left to the caller. What it makes of NaN is meaningless.
// ONE and HALF hold their constants in every lane.
#define ROUND(X, OUT, ONE, HALF) \
	VPSRLD $16, X, OUT; \
	VPAND ONE, OUT, OUT; \
	VPADDD HALF, OUT, OUT; \
	VPADDD X, OUT, OUT

// QUIET replaces OUT by X with the quiet bit set, in the lanes where X is NaN. T is overwritten.
#define QUIET(X, OUT, BIT, T) \
	VCMPPS $3, X, X, T; \
	VORPS BIT, X, X; \
	VBLENDVPS T, X, OUT, OUT

// func encodeBF16AVX2(dst *byte, src *float32, blocks int)
//
// Y0, Y1: sixteen values x, in order. Y2, Y3: the same, rounded. Y4: NaN mask. Y10 one, Y11 half, Y12 quiet bit.
TEXT ·encodeBF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VPBROADCASTD one<>(SB), Y10
	VPBROADCASTD half<>(SB), Y11
	VPBROADCASTD quiet<>(SB), Y12

encodeBlock:
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	ROUND(Y0, Y2, Y10, Y11)
	ROUND(Y1, Y3, Y10, Y11)
	QUIET(Y0, Y2, Y12, Y4)
	QUIET(Y1, Y3, Y12, Y4)
	VPSRLD $16, Y2, Y2
	VPSRLD $16, Y3, Y3
	VPACKUSDW Y3, Y2, Y2     // quarters 0..3, 8..11, 4..7, 12..15: packing stays within 128 bits
	VPERMQ $0xd8, Y2, Y2     // in order
	VMOVDQU Y2, (DI)
	ADDQ $64, SI
	ADDQ $32, DI
	DECQ CX
	JNZ encodeBlock

	VZEROUPPER
	RET

// func widenF16F16C(dst *float32, src *byte, blocks int)
TEXT ·widenF16F16C(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX

widenBlock:
	VCVTPH2PS (SI), Y0
	VMOVUPS Y0, (DI)
	ADDQ $16, SI
	ADDQ $32, DI
	DECQ CX
	JNZ widenBlock

	VZEROUPPER
	RET

// func patchBF16AVX2(dst *byte, dstStride int, src *float32, srcStride, rows, groups int, sums *patchSums)
//
// A group is eight columns, one a lane. binary64 sums take two registers: lanes 0-3, then lanes 4-7.
//   Y0, Y1  sum x*x      Y6  max |x|, as integer     Y10  one
//   Y2, Y3  sum x*d      Y7  max |d|, as integer     Y11  half
//   Y4, Y5  sum d*d      Y8  min |x| - 1, unsigned   Y12  magnitude mask
//                        Y9  count of y == x
//   Y13  x, later four of them as binary64    Y14  rounded, y, d    Y15  scratch, later four d as binary64
// DI, SI: rows of dst and src. BX: byte within the row of dst, half of that in src; R11 its end.
TEXT ·patchBF16AVX2(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ dstStride+8(FP), R8
	MOVQ src+16(FP), SI
	MOVQ srcStride+24(FP), R9
	MOVQ rows+32(FP), CX
	MOVQ groups+40(FP), R11
	MOVQ sums+48(FP), AX
	SHLQ $4, R11
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
	VXORPD Y2, Y2, Y2
	VXORPD Y3, Y3, Y3
	VXORPD Y4, Y4, Y4
	VXORPD Y5, Y5, Y5
	VPXOR Y6, Y6, Y6
	VPXOR Y7, Y7, Y7
	VPCMPEQD Y8, Y8, Y8
	VPXOR Y9, Y9, Y9
	VPBROADCASTD one<>(SB), Y10
	VPBROADCASTD half<>(SB), Y11
	VPBROADCASTD magnitude<>(SB), Y12

patchRow:
	XORQ BX, BX

patchGroup:
	VMOVUPS (SI)(BX*2), Y13
	ROUND(Y13, Y14, Y10, Y11)
	VPSRLD $16, Y14, Y14
	VEXTRACTI128 $1, Y14, X15
	VPACKUSDW X15, X14, X15
	VMOVDQU X15, (DI)(BX*1)
	VPSLLD $16, Y14, Y14     // y

	VPCMPEQD Y13, Y14, Y15   // -1 where y == x
	VPSUBD Y15, Y9, Y9
	VPAND Y12, Y13, Y15      // |x|
	VPMAXUD Y15, Y6, Y6
	VPSUBD Y10, Y15, Y15     // less one: zero becomes the largest
	VPMINUD Y15, Y8, Y8
	VSUBPS Y14, Y13, Y14     // d = x - y
	VPAND Y12, Y14, Y15      // |d|
	VPMAXUD Y15, Y7, Y7

	VCVTPS2PD (SI)(BX*2), Y13 // lanes 0-3
	VCVTPS2PD X14, Y15
	VFMADD231PD Y13, Y13, Y0
	VFMADD231PD Y15, Y13, Y2
	VFMADD231PD Y15, Y15, Y4
	VEXTRACTF128 $1, Y14, X14
	VCVTPS2PD 16(SI)(BX*2), Y13 // lanes 4-7
	VCVTPS2PD X14, Y15
	VFMADD231PD Y13, Y13, Y1
	VFMADD231PD Y15, Y13, Y3
	VFMADD231PD Y15, Y15, Y5

	ADDQ $16, BX
	CMPQ BX, R11
	JNE patchGroup

	ADDQ R8, DI
	ADDQ R9, SI
	DECQ CX
	JNZ patchRow

	VMOVUPD Y0, patchSums_xx(AX)
	VMOVUPD Y1, (patchSums_xx+32)(AX)
	VMOVUPD Y2, patchSums_xd(AX)
	VMOVUPD Y3, (patchSums_xd+32)(AX)
	VMOVUPD Y4, patchSums_dd(AX)
	VMOVUPD Y5, (patchSums_dd+32)(AX)
	VMOVDQU Y7, patchSums_maxAbsError(AX)
	VMOVDQU Y6, patchSums_maxAbsValue(AX)
	VMOVDQU Y8, patchSums_minNonzero(AX)
	VMOVDQU Y9, patchSums_exact(AX)
	VZEROUPPER
	RET
