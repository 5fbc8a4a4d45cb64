// One command: the packet in its buffer, the kernel's arguments in it, the instructions they name, and what those tell to compute.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"
#include "swnpu.h"

enum { PACKET_WORDS = PAGE / 4 };

// run is one command being carried out.
struct run {
	struct device *device;
	struct context *context;
	struct job *job;
	uint32_t packet[PACKET_WORDS]; // a copy: the host can write the buffer at any time
};

// range is memory that the device may use, up to the end of its buffer.
struct range {
	uint8_t *memory;
	uint64_t bytes;
	bool read_only;
};

static enum command_state fail(const struct run *run, const char *what) {
	log_line(run->device, "command error: context=%" PRIu32 " sequence=%" PRIu64 ": %s", run->context->handle, run->job->sequence, what);
	return STATE_ERROR;
}

void set_state(struct bo *command, enum command_state state) {
	uint32_t *header = (uint32_t *)command->host;
	uint32_t old = __atomic_load_n(header, __ATOMIC_RELAXED);
	__atomic_store_n(header, (old & ~STATE_MASK) | state, __ATOMIC_RELEASE);
}

// find_address finds an address in the buffers of the command, the only ones that the device sees.
static bool find_address(const struct run *run, uint64_t address, struct range *range) {
	for (uint32_t i = 0; i < run->job->arguments; i++) {
		struct bo *bo = run->job->argument[i];
		if (address >= bo->address && address - bo->address < bo->bytes) {
			uint64_t offset = address - bo->address;
			*range = (struct range){.memory = device_memory(bo) + offset, .bytes = bo->bytes - offset, .read_only = bo->read_only};
			return true;
		}
	}
	return false;
}

// kernel_arguments gives the arguments of a packet, which follow the masks of compute units, and how many bytes they are.
static const uint8_t *kernel_arguments(const struct run *run, size_t *bytes) {
	uint32_t header = run->packet[0], masks = 1 + COMMAND_EXTRA_MASKS(header), words = COMMAND_WORDS(header);
	if (words < masks || words >= PACKET_WORDS) {
		return NULL;
	}
	*bytes = 4 * (size_t)(words - masks);
	return (const uint8_t *)(run->packet + 1 + masks);
}

// selected_kernel is the position of the kernel that the masks select: the lowest bit that is set.
static uint32_t selected_kernel(const struct run *run) {
	for (uint32_t i = 0; i <= COMMAND_EXTRA_MASKS(run->packet[0]); i++) {
		uint32_t mask = run->packet[1 + i];
		if (mask != 0) {
			return 32 * i + (uint32_t)__builtin_ctz(mask);
		}
	}
	return UINT32_MAX;
}

// read_instructions reads the stream that the arguments name.
static const char *read_instructions(const struct run *run, const uint8_t *arguments, size_t bytes, struct stream *stream) {
	if (bytes < BUFFERS_OFFSET) {
		return "fewer arguments than opcode, instructions and their number";
	}
	uint64_t opcode, address;
	uint32_t words;
	memcpy(&opcode, arguments + OPCODE_OFFSET, sizeof opcode);
	memcpy(&address, arguments + INSTRUCTIONS_OFFSET, sizeof address);
	memcpy(&words, arguments + WORDS_OFFSET, sizeof words);
	if (opcode != SIGNATURE_OPCODE) {
		return "the opcode is not 3";
	}
	struct range range;
	if (!find_address(run, address, &range)) {
		return "the instructions lie in no buffer of the command";
	}
	if (words > range.bytes / 4) {
		return "the instructions go beyond their buffer";
	}
	uint32_t *copy = malloc(4 * (size_t)words + 1);
	if (copy == NULL) {
		return "no memory for the instructions";
	}
	memcpy(copy, range.memory, 4 * (size_t)words);
	const char *wrong = read_stream(stream, copy, words);
	free(copy);
	return wrong;
}

// find_operands finds the memory of each operand.
static const char *find_operands(const struct run *run, const uint8_t *arguments, size_t bytes, const struct stream *stream,
                                 uint8_t *memory[ROLES]) {
	for (int role = 0; role < ROLES; role++) {
		const struct operand *operand = &stream->operands[role];
		if (!operand->present) {
			continue;
		}
		uint32_t index = operand->argument - FIRST_BUFFER; // huge for those before the first
		if (operand->argument < FIRST_BUFFER || index >= (bytes - BUFFERS_OFFSET) / 8) {
			return "the stream names an argument that the kernel does not have";
		}
		uint64_t address;
		memcpy(&address, arguments + BUFFERS_OFFSET + 8 * (size_t)index, sizeof address);
		struct range range;
		if (!find_address(run, address, &range)) {
			return "an argument lies in no buffer of the command";
		}
		if (operand->bytes > range.bytes) {
			return "an argument goes beyond its buffer";
		}
		if (role == ROLE_C && range.read_only) {
			return "the output is read only";
		}
		memory[role] = range.memory;
	}
	return NULL;
}

// log_arguments shows what XRT made of the kernel's arguments, byte by byte, in mode trace.
static void log_arguments(const struct run *run, const uint8_t *arguments, size_t bytes) {
	char text[2 * 160 + 1] = "";
	for (size_t i = 0; i < bytes && 2 * i + 2 < sizeof text; i++) {
		snprintf(text + 2 * i, 3, "%02x", arguments[i]);
	}
	log_line(run->device, "arguments: context=%" PRIu32 " sequence=%" PRIu64 " bytes=%zu %s", run->context->handle, run->job->sequence, bytes, text);
}

// run_kernel carries out a command that starts a kernel.
static enum command_state run_kernel(const struct run *run) {
	if (selected_kernel(run) >= run->context->kernels) {
		return fail(run, "the context has no such kernel");
	}
	size_t bytes;
	const uint8_t *arguments = kernel_arguments(run, &bytes);
	if (arguments == NULL) {
		return fail(run, "a packet of a wrong length");
	}
	if (run->device->modes.trace) {
		log_arguments(run, arguments, bytes);
	}
	struct stream stream;
	uint8_t *memory[ROLES] = {NULL};
	const char *wrong = read_instructions(run, arguments, bytes, &stream);
	if (wrong == NULL) {
		wrong = find_operands(run, arguments, bytes, &stream, memory);
	}
	if (wrong == NULL) {
		wrong = run_gemm(&stream, memory);
	}
	return wrong == NULL ? STATE_COMPLETED : fail(run, wrong);
}

// hold_command finds a command of a chain and holds on to it; NULL if there is none.
static struct bo *hold_command(struct device *device, uint64_t handle) {
	pthread_mutex_lock(&lock);
	struct bo *command = handle < MAX_BOS ? find_bo(device, (uint32_t)handle) : NULL;
	if (command != NULL && command->type == BO_CMD) {
		command->references++;
	} else {
		command = NULL;
	}
	pthread_mutex_unlock(&lock);
	return command;
}

// run_chain carries out the commands of a run list in order, up to the first that fails.
static enum command_state run_chain(struct run *run) {
	uint32_t chain[PACKET_WORDS];
	memcpy(chain, run->packet, sizeof chain);
	uint32_t count = chain[CHAIN_COUNT];
	volatile uint32_t *host = (volatile uint32_t *)run->job->command->host;
	if (count > (PACKET_WORDS - CHAIN_HANDLES) / 2) {
		return fail(run, "a run list that goes beyond its buffer");
	}
	for (uint32_t i = 0; i < count; i++) {
		uint64_t handle;
		memcpy(&handle, &chain[CHAIN_HANDLES + 2 * i], sizeof handle);
		struct bo *command = hold_command(run->device, handle);
		enum command_state state = STATE_ERROR;
		host[CHAIN_SUBMITTED] = i;
		if (command == NULL) {
			fail(run, "a run list of what is no command");
		} else {
			memcpy(run->packet, command->host, sizeof run->packet);
			state = COMMAND_OPCODE(run->packet[0]) == OPCODE_START ? run_kernel(run) : fail(run, "a run list of other than runs");
			set_state(command, state);
			pthread_mutex_lock(&lock);
			release_bo(run->device, command);
			pthread_mutex_unlock(&lock);
		}
		if (state != STATE_COMPLETED) {
			host[CHAIN_FAILED] = i;
			return state;
		}
	}
	return STATE_COMPLETED;
}

enum command_state run_command(struct context *context, struct job *job) {
	struct run run = {.device = context->device, .context = context, .job = job};
	memcpy(run.packet, job->command->host, sizeof run.packet);
	switch (COMMAND_OPCODE(run.packet[0])) {
	case OPCODE_START:
		return run_kernel(&run);
	case OPCODE_CHAIN:
		return run_chain(&run);
	}
	return fail(&run, "an unknown opcode");
}
