// Reading a test instruction stream. Every number in it is checked before it is used.
#include "stream.h"

#include <string.h>

// The axes of each role.
static const char *const role_axes[ROLES] = {[ROLE_A] = "MK", [ROLE_B] = "KN", [ROLE_BIAS] = "N", [ROLE_C] = "MN"};

struct reader {
	const uint32_t *words;
	size_t left;
	bool ended; // more was read than there was
};

static uint32_t next_word(struct reader *reader) {
	if (reader->left == 0) {
		reader->ended = true;
		return 0;
	}
	reader->left--;
	return *reader->words++;
}

size_t element_bytes(enum format format) {
	return format == FORMAT_F32 ? 4 : 2;
}

// digits_cover checks that the digits of an axis count from 0 to its padded extent: by ascending stride, each begins where the one
// before ends. A digit of size 1 counts nothing.
static bool digits_cover(const struct operand *operand, uint32_t axis) {
	uint64_t covered = 1;
	bool found;
	do {
		found = false;
		for (uint32_t i = 0; i < operand->digits && !found; i++) {
			const struct digit *digit = &operand->digit[i];
			if (digit->axis == axis && digit->size > 1 && digit->stride == covered) {
				covered *= digit->size;
				found = true;
			}
		}
	} while (found && covered <= operand->axis[axis].padded);
	if (covered != operand->axis[axis].padded) {
		return false;
	}
	uint64_t product = 1; // of all its digits: none is left over
	for (uint32_t i = 0; i < operand->digits; i++) {
		if (operand->digit[i].axis == axis && product <= covered) {
			product *= operand->digit[i].size;
		}
	}
	return product == covered;
}

static const char *check_operand(struct operand *operand, const char *letters) {
	uint64_t bytes = element_bytes(operand->format);
	for (uint32_t i = 0; i < operand->axes; i++) {
		const struct axis *axis = &operand->axis[i];
		if (axis->letter == 0 || strchr(letters, axis->letter) == NULL || (i == 1 && axis->letter == operand->axis[0].letter)) {
			return "an axis that its role does not have";
		}
		if (axis->padded == 0 || axis->extent > axis->padded) {
			return "an axis that is longer than with its padding";
		}
		if (!digits_cover(operand, i)) {
			return "digits that do not cover their axis";
		}
		if (__builtin_mul_overflow(bytes, axis->padded, &bytes)) {
			return "a buffer beyond all memory";
		}
	}
	operand->bytes = bytes;
	return NULL;
}

static const char *read_operand(struct reader *reader, struct operand operands[ROLES]) {
	uint32_t role = next_word(reader);
	if (role >= ROLES) {
		return "an unknown role";
	}
	struct operand *operand = &operands[role];
	if (operand->present) {
		return "two buffers of one role";
	}
	operand->present = true;
	operand->argument = next_word(reader);
	operand->format = next_word(reader);
	operand->axes = next_word(reader);
	operand->digits = next_word(reader);
	if (operand->format < FORMAT_F32 || operand->format > FORMAT_BF16) {
		return "an unknown element format";
	}
	if (operand->axes != strlen(role_axes[role]) || operand->digits > MAX_DIGITS) {
		return "a wrong number of axes or digits";
	}
	for (uint32_t i = 0; i < operand->axes; i++) {
		uint32_t letter = next_word(reader);
		operand->axis[i].letter = letter < 128 ? (char)letter : 0;
		operand->axis[i].extent = next_word(reader);
		operand->axis[i].padded = next_word(reader);
	}
	for (uint32_t i = 0; i < operand->digits; i++) {
		struct digit *digit = &operand->digit[i];
		digit->axis = next_word(reader);
		digit->size = next_word(reader);
		digit->stride = next_word(reader);
		if (!reader->ended && (digit->axis >= operand->axes || digit->size == 0 || digit->stride == 0)) {
			return "a digit of no axis, no size or no stride";
		}
	}
	return reader->ended ? "the stream ends within a buffer" : check_operand(operand, role_axes[role]);
}

// agree finds the extent of an axis and reports whether all operands that have the axis agree on it.
static bool agree(const struct stream *stream, char letter, uint32_t *extent) {
	bool found = false;
	for (int role = 0; role < ROLES; role++) {
		const struct operand *operand = &stream->operands[role];
		for (uint32_t i = 0; operand->present && i < operand->axes; i++) {
			if (operand->axis[i].letter != letter) {
				continue;
			}
			if (found && *extent != operand->axis[i].extent) {
				return false;
			}
			*extent = operand->axis[i].extent;
			found = true;
		}
	}
	return found;
}

const char *read_stream(struct stream *stream, const uint32_t *words, size_t count) {
	memset(stream, 0, sizeof *stream);
	struct reader reader = {.words = words, .left = count};
	if (next_word(&reader) != STREAM_MAGIC) {
		return "no magic";
	}
	if (next_word(&reader) != STREAM_VERSION) {
		return "an unknown version";
	}
	if (next_word(&reader) != STREAM_GEMM) {
		return "an unknown operation";
	}
	if (next_word(&reader) != STREAM_NO_EPILOGUE) {
		return "an unknown epilogue";
	}
	uint32_t buffers = next_word(&reader);
	if (buffers < 3 || buffers > ROLES) {
		return "a wrong number of buffers";
	}
	for (uint32_t i = 0; i < buffers; i++) {
		const char *wrong = read_operand(&reader, stream->operands);
		if (wrong != NULL) {
			return wrong;
		}
	}
	if (reader.left != 0) {
		return "words after its end";
	}
	for (int role = 0; role < ROLES; role++) {
		if (!stream->operands[role].present && role != ROLE_BIAS) {
			return "a role is missing";
		}
	}
	if (!agree(stream, 'M', &stream->m) || !agree(stream, 'K', &stream->k) || !agree(stream, 'N', &stream->n)) {
		return "buffers that do not agree on an axis";
	}
	return NULL;
}
