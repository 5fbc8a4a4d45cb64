//go:build amd64 && !noasm

#include "textflag.h"

// ROW adds the products of one value of a, at ADDR, and sixteen of b, in Y8 and Y9, to sixteen sums. Product and sum are
// rounded each: fused multiply-add would give other bits than plain Go.
#define ROW(ADDR, LOW, HIGH, T0, T1, T2) \
	VBROADCASTSS ADDR, T0; \
	VMULPS Y8, T0, T1; \
	VMULPS Y9, T0, T2; \
	VADDPS T1, LOW, LOW; \
	VADDPS T2, HIGH, HIGH

// func accumulateAVX(c *float32, cStride int, a *float32, aStride int, b *float32, depth, groups int)
//
// Y0 to Y7: the sums of four rows, sixteen columns each. DI c, R8 its stride, R9 three strides. SI a, at the end of its
// first row of depth values, R10 its stride, R11 three strides. BX counts k from -depth to 0. DX b at k.
TEXT ·accumulateAVX(SB), NOSPLIT, $0-56
	MOVQ c+0(FP), DI
	MOVQ cStride+8(FP), R8
	MOVQ a+16(FP), SI
	MOVQ aStride+24(FP), R10
	MOVQ b+32(FP), R12
	MOVQ depth+40(FP), R13
	MOVQ groups+48(FP), CX
	LEAQ (R8)(R8*2), R9
	LEAQ (R10)(R10*2), R11
	LEAQ (SI)(R13*4), SI
	NEGQ R13

group:
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VMOVUPS (DI)(R8*1), Y2
	VMOVUPS 32(DI)(R8*1), Y3
	VMOVUPS (DI)(R8*2), Y4
	VMOVUPS 32(DI)(R8*2), Y5
	VMOVUPS (DI)(R9*1), Y6
	VMOVUPS 32(DI)(R9*1), Y7
	MOVQ R12, DX
	MOVQ R13, BX
	LEAQ (SI)(R10*1), R14
	LEAQ (SI)(R10*2), AX
	LEAQ (SI)(R11*1), R15

step:
	VMOVUPS (DX), Y8
	VMOVUPS 32(DX), Y9
	ROW((SI)(BX*4), Y0, Y1, Y10, Y11, Y12)
	ROW((R14)(BX*4), Y2, Y3, Y13, Y14, Y15)
	ROW((AX)(BX*4), Y4, Y5, Y10, Y11, Y12)
	ROW((R15)(BX*4), Y6, Y7, Y13, Y14, Y15)
	ADDQ $64, DX
	INCQ BX
	JNZ step

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, (DI)(R8*1)
	VMOVUPS Y3, 32(DI)(R8*1)
	VMOVUPS Y4, (DI)(R8*2)
	VMOVUPS Y5, 32(DI)(R8*2)
	VMOVUPS Y6, (DI)(R9*1)
	VMOVUPS Y7, 32(DI)(R9*1)
	LEAQ (DI)(R8*4), DI
	LEAQ (SI)(R10*4), SI
	DECQ CX
	JNZ group

	VZEROUPPER
	RET
