// Buffer objects. Those that the host maps lie in the device's file, where the mapping of libc finds them; those of type BO_DEV are
// parts of the heap; those of a user pointer are the user's own memory.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "swnpu.h"

enum {
	HEAP_ADDRESS = 0x4000000,
	HEAP_BYTES = 64 << 20,  // a multiple of it
	HEAP_ALIGNMENT = 32 << 10,
	OFFSET_STEP = 64 << 10, // between buffers in the device's file
};

static uint64_t round_up(uint64_t bytes, uint64_t to) {
	return (bytes + to - 1) / to * to;
}

struct bo *find_bo(struct device *device, uint32_t handle) {
	return handle < MAX_BOS ? device->bos[handle] : NULL;
}

// new_bo makes a buffer object with the lowest free handle; NULL if there is no room for another. 0 is no handle.
static struct bo *new_bo(struct device *device, uint32_t type, uint64_t bytes) {
	uint32_t handle = 1;
	while (handle < MAX_BOS && device->bos[handle] != NULL) {
		handle++;
	}
	struct bo *bo = handle < MAX_BOS ? calloc(1, sizeof *bo) : NULL;
	if (bo != NULL) {
		*bo = (struct bo){.handle = handle, .type = type, .bytes = bytes, .offset = NO_ADDRESS, .references = 1};
		device->bos[handle] = bo;
	}
	return bo;
}

// lock_pages counts bytes as locked, as long as the limit allows.
static bool lock_pages(struct device *device, struct bo *bo, uint64_t bytes) {
	uint64_t limit = device->modes.memlock;
	if (device->locked > limit || bytes > limit - device->locked) {
		return false;
	}
	device->locked += bytes;
	bo->locked += bytes;
	return true;
}

// place gives a buffer an address, with a page that belongs to none after it.
static void place(struct device *device, struct bo *bo) {
	bo->address = device->next_address;
	device->next_address += bo->bytes + PAGE;
}

// make_shadow gives the device a memory of its own in mode shadow. What it sees there is garbage until the first sync.
static int make_shadow(struct device *device, struct bo *bo) {
	if (!device->modes.shadow) {
		return 0;
	}
	bo->shadow = malloc(bo->bytes);
	if (bo->shadow == NULL) {
		return ENOMEM;
	}
	memset(bo->shadow, 0xa5, bo->bytes);
	return 0;
}

// create_file_bo makes a buffer object in the device's file; its bytes are zeros.
static int create_file_bo(struct device *device, uint32_t type, uint64_t bytes, struct bo **made) {
	struct bo *bo = *made = new_bo(device, type, round_up(bytes, PAGE));
	if (bo == NULL) {
		return ENOMEM;
	}
	bo->offset = device->next_offset;
	device->next_offset += round_up(bo->bytes, OFFSET_STEP);
	void *host = libc_mmap(NULL, bo->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd, (off_t)bo->offset);
	if (host == MAP_FAILED) {
		return ENOMEM;
	}
	bo->host = host;
	if (type == BO_DEV_HEAP) {
		bo->address = HEAP_ADDRESS;
		device->heap = bo;
	} else {
		place(device, bo);
		device->host_bytes += bo->bytes;
	}
	return type == BO_CMD ? 0 : make_shadow(device, bo);
}

// create_heap_bo makes a buffer object at the first gap of the heap that is large enough.
static int create_heap_bo(struct device *device, uint64_t bytes, struct bo **made) {
	struct bo *heap = device->heap;
	if (heap == NULL) {
		return EINVAL;
	}
	uint64_t begin = 0, room = round_up(bytes, HEAP_ALIGNMENT);
	for (uint32_t i = 1; i < MAX_BOS; i++) {
		const struct bo *other = device->bos[i];
		if (other == NULL || other->type != BO_DEV) {
			continue;
		}
		uint64_t taken = other->address - heap->address, end = taken + round_up(other->bytes, HEAP_ALIGNMENT);
		if (begin < end && taken < begin + room) {
			begin = end;
			i = 0; // an earlier one may be in the way now
		}
	}
	if (begin + room > heap->bytes) {
		return ENOMEM;
	}
	struct bo *bo = *made = new_bo(device, BO_DEV, round_up(bytes, PAGE));
	if (bo == NULL) {
		return ENOMEM;
	}
	bo->address = heap->address + begin;
	bo->host = heap->host + begin;
	bo->shadow = heap->shadow == NULL ? NULL : heap->shadow + begin;
	return 0;
}

// pinnable reports whether the driver could pin the pages from begin to end: one mapping holds them all, and it is either read only
// and shared, as of a file opened for reading, or it is writable and its pages belong to no file on a disk.
static bool pinnable(uint64_t begin, uint64_t end, bool *read_only) {
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	bool found = false, allowed = false;
	while (maps != NULL && !found && fgets(line, sizeof line, maps) != NULL) {
		uint64_t first, last;
		char access[5], path[256] = "";
		int fields = sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s %255s", &first, &last, access, path);
		found = fields >= 3 && first <= begin && begin < last;
		if (!found) {
			continue;
		}
		bool shared = access[3] == 's', writable = access[1] == 'w';
		bool memory = strncmp(path, "/memfd:", 7) == 0 || strncmp(path, "/dev/", 5) == 0;
		*read_only = !writable;
		allowed = end <= last && access[0] == 'r' && (writable ? !shared || memory : shared);
	}
	if (maps != NULL) {
		fclose(maps);
	}
	return allowed;
}

// create_user_bo makes a buffer object of the user's own memory.
static int create_user_bo(struct device *device, const struct user_table *table, struct bo **made) {
	if (device->modes.no_userptr || table->dma_buf != -1 || table->count != 1) {
		return EOPNOTSUPP;
	}
	uint64_t begin = table->ranges[0].address, bytes = table->ranges[0].bytes, end;
	if (begin % PAGE != 0 || bytes % PAGE != 0 || bytes == 0 || __builtin_add_overflow(begin, bytes, &end)) {
		return EINVAL;
	}
	bool read_only;
	if (!pinnable(begin, end, &read_only) || (read_only && device->modes.no_readonly_pin)) {
		log_line(device, "userptr: bytes=%" PRIu64 " refused", bytes);
		return ENOMEM;
	}
	struct bo *bo = *made = new_bo(device, BO_SHARE, bytes);
	if (bo == NULL || !lock_pages(device, bo, bytes)) {
		return ENOMEM;
	}
	bo->user = true;
	bo->read_only = read_only;
	bo->host = (uint8_t *)begin;
	bo->offset = device->next_offset;
	device->next_offset += round_up(bytes, OFFSET_STEP);
	place(device, bo);
	device->userptr_bos++;
	device->userptr_bytes += bytes;
	log_line(device, "userptr: bytes=%" PRIu64 " read_only=%d", bytes, read_only);
	return make_shadow(device, bo);
}

int create_bo(struct device *device, struct args_create_bo *arguments) {
	struct bo *bo = NULL;
	int error = EINVAL;
	if (arguments->user_table != 0) {
		error = create_user_bo(device, (const struct user_table *)arguments->user_table, &bo);
	} else if (arguments->bytes != 0 && arguments->bytes <= (uint64_t)1 << 40) {
		switch (arguments->type) {
		case BO_DEV_HEAP:
			if (device->heap != NULL) {
				error = EBUSY;
			} else if (arguments->bytes % HEAP_BYTES == 0) {
				error = create_file_bo(device, arguments->type, arguments->bytes, &bo);
			}
			break;
		case BO_SHARE:
		case BO_CMD:
			error = create_file_bo(device, arguments->type, arguments->bytes, &bo);
			break;
		case BO_DEV:
			error = create_heap_bo(device, arguments->bytes, &bo);
			break;
		}
	}
	if (error != 0) {
		if (bo != NULL) {
			close_bo(device, bo->handle);
		}
		return error;
	}
	arguments->handle = bo->handle;
	return 0;
}

int get_bo_info(struct device *device, struct args_get_bo_info *arguments) {
	struct bo *bo = find_bo(device, arguments->handle);
	if (bo == NULL) {
		return ENOENT;
	}
	if (arguments->extension != 0 || arguments->extension_flags != 0) {
		return EINVAL;
	}
	arguments->map_offset = bo->offset;
	arguments->host_address = bo->user ? (uint64_t)bo->host : NO_ADDRESS;
	arguments->device_address = bo->address;
	return 0;
}

int sync_bo(struct device *device, const struct args_sync_bo *arguments) {
	struct bo *bo = find_bo(device, arguments->handle);
	if (bo == NULL) {
		return ENOENT;
	}
	uint64_t offset = arguments->offset, bytes = arguments->bytes;
	if (offset > bo->bytes || bytes > bo->bytes - offset || arguments->direction > SYNC_FROM_DEVICE) {
		return EINVAL;
	}
	device->syncs++;
	if (bo->shadow == NULL) {
		return 0;
	}
	if (arguments->direction == SYNC_TO_DEVICE) {
		memcpy(bo->shadow + offset, bo->host + offset, bytes);
	} else if (!bo->read_only) {
		memcpy(bo->host + offset, bo->shadow + offset, bytes);
	}
	return 0;
}

uint8_t *device_memory(struct bo *bo) {
	return bo->shadow != NULL ? bo->shadow : bo->host;
}

int close_bo(struct device *device, uint32_t handle) {
	struct bo *bo = find_bo(device, handle);
	if (bo == NULL) {
		return EINVAL;
	}
	device->bos[handle] = NULL;
	if (device->heap == bo) {
		device->heap = NULL;
	}
	release_bo(device, bo);
	return 0;
}

void release_bo(struct device *device, struct bo *bo) {
	if (--bo->references > 0) {
		return;
	}
	device->locked -= bo->locked;
	if (bo->type != BO_DEV) { // whose memory is the heap's
		free(bo->shadow);
		if (!bo->user && bo->host != NULL) {
			munmap(bo->host, bo->bytes);
			// The memory goes back; XRT ends its own mapping by itself.
			fallocate(device->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)bo->offset, (off_t)bo->bytes);
		}
	}
	free(bo);
}

int map_bo(struct device *device, void **address, size_t bytes, int protection, int flags, uint64_t offset) {
	struct bo *bo = NULL;
	for (uint32_t i = 1; i < MAX_BOS && bo == NULL; i++) {
		if (device->bos[i] != NULL && device->bos[i]->offset == offset && offset != NO_ADDRESS) {
			bo = device->bos[i];
		}
	}
	if (bo == NULL || bytes > bo->bytes) {
		return EINVAL;
	}
	// Locking is only counted, so that no limit of this machine decides what a test finds.
	if ((flags & MAP_LOCKED) != 0 && !lock_pages(device, bo, round_up(bytes, PAGE))) {
		return EAGAIN;
	}
	void *mapped = libc_mmap(*address, bytes, protection, flags & ~MAP_LOCKED, device->fd, (off_t)offset);
	if (mapped == MAP_FAILED) {
		return errno;
	}
	*address = mapped;
	return 0;
}
