// The interface of the amdxdna kernel driver, as far as XRT 2.21 to 2.25 uses it: ioctl numbers and the structs that they carry, from
// Linux's include/uapi/drm/amdxdna_accel.h, the common ones (GEM_CLOSE, SYNCOBJ_*) from drm.h beside it; then the packets that a command
// buffer holds, from XRT's ert.h. Everything is little-endian.
#pragma once

#include <stdint.h>

// Numbers of the driver's own ioctls.
enum {
	NR_CREATE_HWCTX = 0x40,
	NR_DESTROY_HWCTX = 0x41,
	NR_CONFIG_HWCTX = 0x42,
	NR_CREATE_BO = 0x43,
	NR_GET_BO_INFO = 0x44,
	NR_SYNC_BO = 0x45,
	NR_EXEC_CMD = 0x46,
	NR_GET_INFO = 0x47,
};

// Numbers of ioctls that all drivers of this kind have.
enum {
	NR_GEM_CLOSE = 0x09,
	NR_SYNCOBJ_DESTROY = 0xc0,
	NR_SYNCOBJ_TIMELINE_WAIT = 0xca,
};

// Types of buffer objects.
enum {
	BO_SHARE = 1,    // host memory that the device sees
	BO_DEV_HEAP = 2, // the memory that BO_DEV are parts of: 64 MiB, one a device
	BO_DEV = 3,      // instructions and configurations
	BO_CMD = 4,      // one command
};

// What stands for an address or an offset that there is none of.
#define NO_ADDRESS UINT64_MAX

struct args_create_hwctx {
	uint64_t extension, extension_flags;
	uint64_t qos; // pointer
	uint32_t queue_bo, log_bo;
	uint32_t max_opc;
	uint32_t tiles; // compute tiles: rows x columns
	uint32_t memory_size;
	uint32_t doorbell; // out
	uint32_t handle;   // out
	uint32_t syncobj;  // out: its timeline counts the finished commands
};

struct args_destroy_hwctx {
	uint32_t handle, padding;
};

enum { CONFIG_KERNELS = 0 };

struct args_config_hwctx {
	uint32_t handle;
	uint32_t kind;
	uint64_t value; // pointer to a kernel_table
	uint32_t value_bytes, padding;
};

struct kernel_table {
	uint16_t count, padding[3];
	struct {
		uint32_t pdi_bo; // a BO_DEV
		uint8_t function, padding[3];
	} kernels[];
};

// User pointers come in a table behind args_create_bo.user_table.
struct user_table {
	int32_t dma_buf; // -1
	uint32_t count;
	struct {
		uint64_t address, bytes;
	} ranges[];
};

struct args_create_bo {
	uint64_t flags;
	uint64_t user_table; // pointer, or 0
	uint64_t bytes;
	uint32_t type;
	uint32_t handle; // out
};

struct args_get_bo_info {
	uint64_t extension, extension_flags;
	uint32_t handle, padding;
	uint64_t map_offset;     // out: what mmap of the device's file is given
	uint64_t host_address;   // out: of a user pointer
	uint64_t device_address; // out
};

enum { SYNC_TO_DEVICE = 0, SYNC_FROM_DEVICE = 1 };

struct args_sync_bo {
	uint32_t handle, direction;
	uint64_t offset, bytes;
};

struct args_exec_cmd {
	uint64_t extension, extension_flags;
	uint32_t context, type;
	uint64_t commands;  // a handle, as there is one command
	uint64_t arguments; // pointer to handles
	uint32_t command_count, argument_count;
	uint64_t sequence; // out: the first of a context is 0
};

struct args_get_info {
	uint32_t what;
	uint32_t bytes; // in: room; out: what there is
	uint64_t buffer;
};

enum {
	INFO_AIE_METADATA = 1,
	INFO_SENSORS = 4,
	INFO_FIRMWARE_VERSION = 8,
	INFO_POWER_MODE = 9,
};

struct tile_metadata {
	uint16_t rows, first_row, dma_channels, locks, event_registers, padding[3];
};

struct aie_metadata {
	uint32_t column_bytes;
	uint16_t columns, rows;
	uint32_t major, minor;
	struct tile_metadata core, memory, shim;
};

struct firmware_version {
	uint32_t major, minor, patch, build;
};

// Both GEM_CLOSE and SYNCOBJ_DESTROY.
struct args_close_handle {
	uint32_t handle, padding;
};

struct args_timeline_wait {
	uint64_t handles; // pointer
	uint64_t points;  // pointer to as many
	int64_t deadline; // in nanoseconds of CLOCK_MONOTONIC
	uint32_t count, flags, first_signaled, padding;
};

// States of a command, in the lowest 4 bits of its header.
enum command_state {
	STATE_COMPLETED = 4,
	STATE_ERROR = 5,
	STATE_ABORTED = 6,
};
#define STATE_MASK 15u

// Header of a command: state 0-3, masks of compute units beyond the first 10-11, words that follow 12-22, opcode 23-27.
#define COMMAND_EXTRA_MASKS(header) ((header) >> 10 & 3)
#define COMMAND_WORDS(header) ((header) >> 12 & 0x7ff)
#define COMMAND_OPCODE(header) ((header) >> 23 & 31)

enum { OPCODE_START = 0, OPCODE_CHAIN = 19 };

// A chain of commands is {header, count, submitted, failed, reserved[3]} and then their handles, 64 bits each.
enum { CHAIN_COUNT = 1, CHAIN_SUBMITTED = 2, CHAIN_FAILED = 3, CHAIN_HANDLES = 7 };
