// The test instruction stream: what a software NPU is told to compute, in the place of real NPU instructions. It lies in the
// instruction buffer of a kernel with the signature of mlir-aie's designs:
//
//	argument  0 opcode  1 instructions  2 instruction words  3 bo0  4 bo1 ...
//	type      u64, 3    u64 address     u32                  u64    u64
//	offset    0x00      0x08            0x10                 0x14   0x1c
//
// A stream is little-endian 32-bit words:
//
//	0  magic 0x5755504e ("NPUW" in memory)
//	1  version: 1
//	2  operation: 1 GEMM
//	3  epilogue: 0 none
//	4  number of buffers: 3 or 4
//	then each buffer:
//	   role           0 a[M,K], 1 b[K,N], 2 bias[N] (may be left out), 3 c[M,N]
//	   argument       in the kernel's signature, from 3
//	   format         of the elements: 1 binary32, 2 binary16, 3 bfloat16
//	   axes, digits   how many of each follow
//	   an axis        letter in ASCII, extent, padded extent; the axes of a role in any order
//	   a digit        position of its axis, size, stride; from outermost to innermost
//
// A digit counts index / stride % size of its axis, and the digits, read as a number in that mixed radix, are the element's position.
// GEMM: c = a*b [+ bias]. Products and sums are binary32, rounded each; K ascends, each output has one accumulator; bias is added to the
// finished sum; the result is rounded to nearest even. Padding is neither read nor written.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STREAM_MAGIC = 0x5755504e, STREAM_VERSION = 1, STREAM_GEMM = 1, STREAM_NO_EPILOGUE = 0 };

enum role { ROLE_A, ROLE_B, ROLE_BIAS, ROLE_C, ROLES };

enum format { FORMAT_F32 = 1, FORMAT_F16 = 2, FORMAT_BF16 = 3 };

// The kernel's signature.
enum {
	SIGNATURE_OPCODE = 3,
	OPCODE_OFFSET = 0x00,
	INSTRUCTIONS_OFFSET = 0x08,
	WORDS_OFFSET = 0x10,
	BUFFERS_OFFSET = 0x14,
	FIRST_BUFFER = 3, // argument at BUFFERS_OFFSET
};

enum { MAX_AXES = 2, MAX_DIGITS = 32 };

struct axis {
	char letter;
	uint32_t extent, padded;
};

struct digit {
	uint32_t axis, size, stride;
};

// operand is a buffer as a matrix, or a vector of one axis.
struct operand {
	bool present;
	uint32_t argument;
	enum format format;
	uint32_t axes, digits;
	struct axis axis[MAX_AXES];
	struct digit digit[MAX_DIGITS];
	uint64_t bytes; // all elements with their padding
};

struct stream {
	struct operand operands[ROLES];
	uint32_t m, k, n;
};

// read_stream reads a stream and checks all of it. It returns NULL, or what is wrong with it.
const char *read_stream(struct stream *stream, const uint32_t *words, size_t count);

// element_bytes is the size of an element of a known format.
size_t element_bytes(enum format format);

// run_gemm computes what a stream says on memory by role; what it touches there is within operands[role].bytes. It returns NULL, or what
// is wrong.
const char *run_gemm(const struct stream *stream, uint8_t *const memory[ROLES]);
