// SWNPU_MODE: how the device is to behave, as a list of words with commas between.
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "swnpu.h"

static const struct {
	unsigned nr;
	const char *name;
} ioctls[] = {
	{NR_CREATE_HWCTX, "CREATE_HWCTX"},
	{NR_DESTROY_HWCTX, "DESTROY_HWCTX"},
	{NR_CONFIG_HWCTX, "CONFIG_HWCTX"},
	{NR_CREATE_BO, "CREATE_BO"},
	{NR_GET_BO_INFO, "GET_BO_INFO"},
	{NR_SYNC_BO, "SYNC_BO"},
	{NR_EXEC_CMD, "EXEC_CMD"},
	{NR_GET_INFO, "GET_INFO"},
	{NR_GEM_CLOSE, "GEM_CLOSE"},
	{NR_SYNCOBJ_DESTROY, "SYNCOBJ_DESTROY"},
	{NR_SYNCOBJ_TIMELINE_WAIT, "SYNCOBJ_TIMELINE_WAIT"},
	{USER_POINTER, "USERPTR"},
	{ANY_IOCTL, "ANY"},
};

const char *ioctl_name(unsigned nr) {
	for (size_t i = 0; i < sizeof ioctls / sizeof *ioctls; i++) {
		if (ioctls[i].nr == nr) {
			return ioctls[i].name;
		}
	}
	return "?";
}

static bool parse_number(const char *text, uint64_t *number) {
	char *end;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == 0 && errno == 0;
}

// parse_errno takes a number or a name such as EIO.
static int parse_errno(const char *text) {
	uint64_t number;
	if (parse_number(text, &number)) {
		return number < 4096 ? (int)number : 0;
	}
	for (int error = 1; error < 134; error++) {
		const char *name = strerrorname_np(error);
		if (name != NULL && strcmp(name, text) == 0) {
			return error;
		}
	}
	return 0;
}

// parse_failure reads IOCTL:ERRNO[:CALL], which it takes apart.
static bool parse_failure(struct modes *modes, char *text) {
	if (modes->failures == MAX_FAILURES) {
		return false;
	}
	struct failure *failure = &modes->failure[modes->failures++];
	char *rest, *name = strtok_r(text, ":", &rest), *error = strtok_r(NULL, ":", &rest), *call = strtok_r(NULL, ":", &rest);
	if (name == NULL || error == NULL) {
		return false;
	}
	bool known = false;
	for (size_t i = 0; i < sizeof ioctls / sizeof *ioctls; i++) {
		if (strcmp(ioctls[i].name, name) == 0) {
			failure->nr = ioctls[i].nr;
			known = true;
		}
	}
	failure->error = parse_errno(error);
	return known && failure->error != 0 && (call == NULL || (parse_number(call, &failure->call) && failure->call > 0));
}

// parse_command takes ":N", which names one command, off the end of text; 0 where it is not there: every command.
static bool parse_command(char *text, uint64_t *command) {
	char *number = strrchr(text, ':');
	*command = 0;
	if (number == NULL) {
		return true;
	}
	*number++ = 0;
	return parse_number(number, command) && *command > 0;
}

// parse_hold reads FILE[:N].
static bool parse_hold(struct modes *modes, char *text) {
	bool known = parse_command(text, &modes->hold_command);
	size_t length = strlen(text);
	if (!known || length == 0 || length >= sizeof modes->hold) {
		return false;
	}
	memcpy(modes->hold, text, length + 1);
	return true;
}

// parse_state reads STATE[:N].
static bool parse_state(struct modes *modes, char *text) {
	uint64_t state;
	if (!parse_command(text, &modes->state_command) || !parse_number(text, &state) || state == 0 || state > STATE_MASK) {
		return false;
	}
	modes->state = (unsigned)state;
	return true;
}

// parse_mode reads one word.
static bool parse_mode(struct modes *modes, char *name) {
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{"absent", &modes->absent},
		{"shadow", &modes->shadow},
		{"trace", &modes->trace},
		{"hang", &modes->hang},
		{"no-userptr", &modes->no_userptr},
		{"no-readonly-pin", &modes->no_readonly_pin},
	};
	char *value = strchr(name, '=');
	if (value == NULL) {
		for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
			if (strcmp(flags[i].name, name) == 0) {
				return *flags[i].flag = true;
			}
		}
		return false;
	}
	*value++ = 0;
	if (strcmp(name, "fail") == 0) {
		return parse_failure(modes, value);
	}
	if (strcmp(name, "hold") == 0) {
		return parse_hold(modes, value);
	}
	if (strcmp(name, "state") == 0) {
		return parse_state(modes, value);
	}
	uint64_t number;
	if (!parse_number(value, &number)) {
		return false;
	}
	if (strcmp(name, "memlock") == 0) {
		modes->memlock = number;
	} else if (strcmp(name, "hang") == 0 && number > 0) {
		modes->hang_command = number;
	} else if (strcmp(name, "gone") == 0 && number > 0) {
		modes->gone_command = number;
	} else if (strcmp(name, "latency") == 0 && number <= 60000000) {
		modes->latency = (unsigned)number;
	} else if (strcmp(name, "contexts") == 0 && number <= MAX_CONTEXTS) {
		modes->contexts = (unsigned)number;
	} else if (strcmp(name, "npus") == 0 && number >= 1 && number <= MAX_NPUS) {
		modes->npus = (unsigned)number;
	} else {
		return false;
	}
	return true;
}

bool read_modes(struct modes *modes, const char *text) {
	char copy[1024], *rest;
	*modes = (struct modes){.contexts = 6, .npus = 1, .memlock = UINT64_MAX};
	if (text == NULL) {
		return true;
	}
	if (strlen(text) >= sizeof copy) {
		return false;
	}
	strcpy(copy, text);
	bool known = true;
	for (char *word = strtok_r(copy, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
		known = parse_mode(modes, word) && known;
	}
	return known;
}

int injected_failure(struct modes *modes, unsigned nr, bool user_pointer) {
	int error = 0;
	for (int i = 0; i < modes->failures; i++) {
		struct failure *failure = &modes->failure[i];
		if (failure->nr != nr && failure->nr != ANY_IOCTL && !(failure->nr == USER_POINTER && user_pointer)) {
			continue;
		}
		failure->calls++;
		if (failure->call == 0 || failure->call == failure->calls) {
			error = failure->error;
		}
	}
	return error;
}
