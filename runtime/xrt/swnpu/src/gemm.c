// GEMM as the reference device computes it, bit for bit; compiled with -ffp-contract=off, so that products are rounded. Operands are
// unpacked to dense binary32 matrices first.
#include "stream.h"

#include <stdlib.h>
#include <string.h>

// positions says where the elements of an operand lie: the position of element (row, column) is row[row] + column[column].
struct positions {
	size_t *row, *column;
};

// axis_positions tabulates what each value of an axis adds to an element's position; NULL if there is no memory for it.
static size_t *axis_positions(const struct operand *operand, uint32_t axis) {
	uint32_t extent = operand->axis[axis].extent;
	size_t *table = calloc((size_t)extent + 1, sizeof *table);
	if (table == NULL) {
		return NULL;
	}
	size_t step = 1; // of the digit, in elements
	for (uint32_t i = operand->digits; i-- > 0;) {
		const struct digit *digit = &operand->digit[i];
		if (digit->axis == axis) {
			for (uint32_t value = 0; value < extent; value++) {
				table[value] += value / digit->stride % digit->size * step;
			}
		}
		step *= digit->size;
	}
	return table;
}

// find_axis gives the position of an axis in its operand.
static uint32_t find_axis(const struct operand *operand, char letter) {
	return operand->axis[0].letter == letter ? 0 : 1;
}

static bool make_positions(struct positions *positions, const struct operand *operand, char row, char column) {
	// A vector is a matrix of one row.
	positions->row = row == 0 ? calloc(1, sizeof(size_t)) : axis_positions(operand, find_axis(operand, row));
	positions->column = axis_positions(operand, find_axis(operand, column));
	return positions->row != NULL && positions->column != NULL;
}

static void free_positions(struct positions *positions) {
	free(positions->row);
	free(positions->column);
}

static float from_bits(uint32_t bits) {
	float value;
	memcpy(&value, &bits, sizeof value);
	return value;
}

static uint32_t to_bits(float value) {
	uint32_t bits;
	memcpy(&bits, &value, sizeof bits);
	return bits;
}

// widen_f16 is exact; a NaN becomes quiet.
static float widen_f16(uint16_t half) {
	uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
	if (exponent == 31) {
		return from_bits(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
	}
	if (exponent == 0) { // fraction * 2^-24, which is a normal binary32
		float value = (float)fraction * 0x1p-24f;
		return from_bits(sign | to_bits(value));
	}
	return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

// round_f16 rounds to nearest even; a NaN keeps its upper payload and becomes quiet.
static uint16_t round_f16(float value) {
	uint32_t bits = to_bits(value), magnitude = bits & 0x7fffffff;
	uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
	if (magnitude > 0x7f800000) {
		return sign | 0x7e00 | (magnitude >> 13 & 0x3ff);
	}
	if (magnitude >= 0x47800000) { // 2^16 and more
		return sign | 0x7c00;
	}
	if (magnitude < 0x38800000) { // below 2^-14: adding 1/2 leaves the fraction, rounded, in the lowest bits
		return sign | (uint16_t)(to_bits(from_bits(magnitude) + 0.5f) - to_bits(0.5f));
	}
	// A carry out of the fraction goes into the exponent, and from the largest value on to infinity.
	uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23);
	return sign | (uint16_t)(rounded >> 13);
}

// round_bf16 rounds to nearest even; a NaN keeps its upper payload and becomes quiet.
static uint16_t round_bf16(float value) {
	uint32_t bits = to_bits(value);
	if ((bits & 0x7fffffff) > 0x7f800000) {
		return (uint16_t)(bits >> 16) | 0x40;
	}
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float load(const uint8_t *memory, size_t position, enum format format) {
	if (format == FORMAT_F32) {
		float value;
		memcpy(&value, memory + 4 * position, sizeof value);
		return value;
	}
	uint16_t half;
	memcpy(&half, memory + 2 * position, sizeof half);
	return format == FORMAT_BF16 ? from_bits((uint32_t)half << 16) : widen_f16(half);
}

static void store(uint8_t *memory, size_t position, enum format format, float value) {
	if (format == FORMAT_F32) {
		memcpy(memory + 4 * position, &value, sizeof value);
		return;
	}
	uint16_t half = format == FORMAT_BF16 ? round_bf16(value) : round_f16(value);
	memcpy(memory + 2 * position, &half, sizeof half);
}

// unpack makes a dense matrix of an operand; row is 0 for a vector. NULL if there is no memory for it.
static float *unpack(const struct operand *operand, const uint8_t *memory, char row, uint32_t rows, char column, uint32_t columns) {
	struct positions at;
	float *dense = NULL;
	if (make_positions(&at, operand, row, column)) {
		dense = malloc(((size_t)rows * columns + 1) * sizeof *dense);
	}
	for (size_t i = 0; dense != NULL && i < rows; i++) {
		for (size_t j = 0; j < columns; j++) {
			dense[i * columns + j] = load(memory, at.row[i] + at.column[j], operand->format);
		}
	}
	free_positions(&at);
	return dense;
}

// WITH_AVX2 compiles a function twice, and calls the one that the processor has the instructions for. AVX2 has no fused multiply-add.
#if defined(__x86_64__)
#define WITH_AVX2 __attribute__((target_clones("avx2", "default")))
#else
#define WITH_AVX2
#endif

// multiply computes one row of c. Outputs do not depend on each other, so the compiler may compute several at once.
WITH_AVX2 static void multiply(float *restrict c, const float *restrict a, const float *restrict b, uint32_t k, uint32_t n) {
	memset(c, 0, n * sizeof *c);
	for (size_t i = 0; i < k; i++) {
		for (size_t j = 0; j < n; j++) {
			c[j] += a[i] * b[i * n + j];
		}
	}
}

const char *run_gemm(const struct stream *stream, uint8_t *const memory[ROLES]) {
	const struct operand *operands = stream->operands, *output = &operands[ROLE_C];
	uint32_t m = stream->m, k = stream->k, n = stream->n;
	float *a = unpack(&operands[ROLE_A], memory[ROLE_A], 'M', m, 'K', k);
	float *b = unpack(&operands[ROLE_B], memory[ROLE_B], 'K', k, 'N', n);
	float *bias = operands[ROLE_BIAS].present ? unpack(&operands[ROLE_BIAS], memory[ROLE_BIAS], 0, 1, 'N', n) : NULL;
	float *sums = malloc(((size_t)n + 1) * sizeof *sums);
	struct positions at;
	bool ready = make_positions(&at, output, 'M', 'N') && a && b && sums && (bias || !operands[ROLE_BIAS].present);
	for (size_t i = 0; ready && i < m; i++) {
		multiply(sums, a + i * k, b, k, n);
		for (size_t j = 0; j < n; j++) {
			store(memory[ROLE_C], at.row[i] + at.column[j], output->format, bias ? sums[j] + bias[j] : sums[j]);
		}
	}
	free_positions(&at);
	free(sums);
	free(bias);
	free(b);
	free(a);
	return ready ? NULL : "no memory to compute in";
}
