// What the parts of the software NPU share.
//
//	interpose.c   libc's functions for files: those of the NPU go to the software NPU, all others on to libc
//	device.c      the open device, its ioctls
//	memory.c      buffer objects and user pointers
//	context.c     hardware contexts, each with a queue and a thread that works on it
//	commands.c    one command: its buffers, its instructions
//	stream.c      the test instruction stream
//	gemm.c        what it tells the NPU to compute
//	modes.c       SWNPU_MODE
//	log.c         SWNPU_LOG
//
// Functions that fail return an errno, 0 for success. One lock guards everything; computing is done outside of it.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "uapi.h"

enum {
	PAGE = 4096,
	ROWS = 4,         // of compute tiles
	COLUMNS = 5,      // of npu1
	MAX_BOS = 65536,  // of a device, as handles below this
	MAX_CONTEXTS = 64,
	MAX_FAILURES = 8, // in one SWNPU_MODE
	MAX_NPUS = 2,
	MAX_HOLD = 512,   // bytes of the path of mode hold, with its NUL
};

// failure is an ioctl that is to fail.
struct failure {
	unsigned nr;   // ANY_IOCTL: every one
	int error;     // errno
	uint64_t call; // which call fails, from 1; 0: every one
	uint64_t calls; // until now
};
#define ANY_IOCTL UINT32_MAX
#define USER_POINTER (UINT32_MAX - 1) // CREATE_BO with a user pointer

// modes say how the device behaves; README.md describes each.
struct modes {
	bool absent, shadow, trace, no_userptr, no_readonly_pin;
	bool hang;             // every command
	uint64_t hang_command; // this command, from 1; 0: none
	uint64_t gone_command; // the device is gone at this command, from 1; 0: never
	char hold[MAX_HOLD];   // while there is a file of this name, commands do not begin; empty: they do
	uint64_t hold_command; // this one, from 1; 0: every one
	unsigned state;        // in which commands end that compute nothing; 0: they compute
	uint64_t state_command; // this one, from 1; 0: every one
	unsigned latency;      // of each command, in microseconds
	unsigned contexts;     // how many there can be
	unsigned npus;         // how many XRT finds
	uint64_t memlock;      // bytes that may be pinned and locked together
	int failures;
	struct failure failure[MAX_FAILURES];
};

// bo is a buffer object.
struct bo {
	uint32_t handle, type;
	uint64_t bytes;   // whole pages
	uint64_t address; // where the device sees it
	uint64_t offset;  // in the device's file, NO_ADDRESS where it cannot be mapped
	uint8_t *host;    // what the host sees
	uint8_t *shadow;  // what the device sees, NULL where that is the same memory
	bool user;        // host is the user's own memory
	bool read_only;
	uint64_t locked; // bytes of it that count as pinned or locked
	int references;  // one of its handle, one of each command that uses it
};

// job is a command that has been submitted.
struct job {
	struct job *next;
	uint64_t sequence;
	uint64_t number; // of those of the device, from 1
	bool hangs;
	struct bo *command;
	uint32_t arguments;
	struct bo *argument[];
};

// context is a hardware context. It outlives its handle as long as its syncobj.
struct context {
	struct device *device;
	uint32_t handle, kernels;
	uint64_t submitted, completed; // commands
	bool stopping;
	struct job *jobs; // the oldest first; it is being worked on
	pthread_t worker;
};

// timeline is a syncobj: the commands of a context that are completed.
struct timeline {
	bool open;
	struct context *context; // NULL when it has been destroyed: all is completed then
};

// device is one opened device.
struct device {
	int fd; // a file in memory; buffer objects lie in it one after another and never where another has been
	int log;
	bool gone;
	struct modes modes;
	struct bo *heap;
	struct bo *bos[MAX_BOS];                     // by handle
	struct context *contexts[MAX_CONTEXTS + 1];  // by handle
	struct timeline timelines[MAX_CONTEXTS + 1]; // by handle
	uint64_t next_offset, next_address;
	uint64_t locked; // bytes

	// For the report at the end.
	uint64_t commands, errors, userptr_bos, userptr_bytes, host_bytes, syncs;
};

// interpose.c: what lies below the functions that are taken over.
void *libc_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
int libc_close(int fd);

// device.c
extern pthread_mutex_t lock;
extern pthread_cond_t changed; // broadcast when a command is completed or a context stops
int device_open(void);         // a descriptor, or -1 and errno
struct device *device_of(int fd);
int device_ioctl(struct device *device, unsigned long request, void *arguments);
void device_close(struct device *device);

// memory.c
int create_bo(struct device *device, struct args_create_bo *arguments);
int get_bo_info(struct device *device, struct args_get_bo_info *arguments);
int sync_bo(struct device *device, const struct args_sync_bo *arguments);
int close_bo(struct device *device, uint32_t handle);
int map_bo(struct device *device, void **address, size_t bytes, int protection, int flags, uint64_t offset);
struct bo *find_bo(struct device *device, uint32_t handle); // NULL if there is none
void release_bo(struct device *device, struct bo *bo);      // gives up a reference
uint8_t *device_memory(struct bo *bo);

// context.c
int create_context(struct device *device, struct args_create_hwctx *arguments);
int configure_context(struct device *device, const struct args_config_hwctx *arguments);
int destroy_context(struct device *device, uint32_t handle);
int submit(struct device *device, struct args_exec_cmd *arguments);
int destroy_timeline(struct device *device, uint32_t handle);
int wait_timelines(struct device *device, const uint32_t *handles, const uint64_t *points, uint32_t count, int64_t deadline);

// commands.c
enum command_state run_command(struct context *context, struct job *job);
void set_state(struct bo *command, enum command_state state);

// modes.c
bool read_modes(struct modes *modes, const char *text); // false if it holds what is no mode
const char *ioctl_name(unsigned nr);
int injected_failure(struct modes *modes, unsigned nr, bool user_pointer); // an errno, 0 if the ioctl is not to fail

// log.c
int log_open(void); // the file that SWNPU_LOG names, -1 if it names none
void log_line(const struct device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));
