// streams runs test instruction streams on buffers that are exactly as long as each says, without an NPU around it, so that a sanitizer
// sees whatever goes beyond them. Standard input is streams, each a 32-bit number of words and then as many words. It prints a line for
// each: "ok", or what is wrong with it.
#include <stdio.h>
#include <stdlib.h>

#include "../src/stream.h"

enum { MAX_BYTES = 1 << 20 }; // of a buffer

static const char *run(const struct stream *stream) {
	uint8_t *memory[ROLES] = {NULL};
	const char *wrong = NULL;
	for (int role = 0; role < ROLES; role++) {
		const struct operand *operand = &stream->operands[role];
		if (!operand->present) {
			continue;
		}
		if (operand->bytes > MAX_BYTES) {
			wrong = "too large to try";
			continue;
		}
		memory[role] = calloc(1, operand->bytes);
	}
	if (wrong == NULL) {
		wrong = run_gemm(stream, memory);
	}
	for (int role = 0; role < ROLES; role++) {
		free(memory[role]);
	}
	return wrong;
}

int main(void) {
	uint32_t count;
	while (fread(&count, sizeof count, 1, stdin) == 1) {
		uint32_t *words = malloc(4 * (size_t)count);
		if (words == NULL || fread(words, 4, count, stdin) != count) {
			fputs("standard input ends within a stream\n", stderr);
			return 1;
		}
		struct stream stream;
		const char *wrong = read_stream(&stream, words, count);
		free(words);
		if (wrong == NULL) {
			wrong = run(&stream);
		}
		puts(wrong == NULL ? "ok" : wrong);
	}
	return 0;
}
