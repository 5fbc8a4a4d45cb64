// The open device and its ioctls.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "swnpu.h"

enum { MAX_DEVICES = 64 };

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed;

static struct device *devices[MAX_DEVICES]; // those that are open
static pthread_once_t started = PTHREAD_ONCE_INIT;

static void start(void) {
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); // the clock of deadlines in ioctls
	pthread_cond_init(&changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

struct device *device_of(int fd) {
	struct device *found = NULL;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAX_DEVICES && fd >= 0; i++) {
		if (devices[i] != NULL && devices[i]->fd == fd) {
			found = devices[i];
		}
	}
	pthread_mutex_unlock(&lock);
	return found;
}

// new_device makes a device with its file; NULL and errno if it cannot.
static struct device *new_device(void) {
	struct device *device = calloc(1, sizeof *device);
	if (device == NULL) {
		return NULL;
	}
	const char *text = getenv("SWNPU_MODE");
	if (!read_modes(&device->modes, text)) {
		fprintf(stderr, "software NPU: wrong SWNPU_MODE=%s\n", text);
		free(device);
		errno = EINVAL;
		return NULL;
	}
	device->fd = device->modes.absent ? (errno = ENOENT, -1) : memfd_create("software-npu", MFD_CLOEXEC);
	if (device->fd < 0 || ftruncate(device->fd, (off_t)1 << 50) != 0) { // it takes memory only where buffers are
		free(device);
		return NULL;
	}
	device->log = log_open();
	device->next_offset = (uint64_t)1 << 32;
	device->next_address = (uint64_t)1 << 39;
	return device;
}

int device_open(void) {
	pthread_once(&started, start);
	struct device *device = new_device();
	if (device == NULL) {
		return -1;
	}
	pthread_mutex_lock(&lock);
	int slot = 0;
	while (slot < MAX_DEVICES && devices[slot] != NULL) {
		slot++;
	}
	if (slot < MAX_DEVICES) {
		devices[slot] = device;
	}
	pthread_mutex_unlock(&lock);
	int fd = device->fd;
	log_line(device, "open: software NPU");
	if (slot == MAX_DEVICES) {
		device_close(device);
		libc_close(fd);
		errno = EMFILE;
		return -1;
	}
	return fd;
}

// report logs what was done on the device and what is left open on it.
static void report(const struct device *device) {
	unsigned bos = 0, contexts = 0, timelines = 0;
	for (int i = 0; i < MAX_BOS; i++) {
		bos += device->bos[i] != NULL;
	}
	for (int i = 0; i <= MAX_CONTEXTS; i++) {
		contexts += device->contexts[i] != NULL;
		timelines += device->timelines[i].open;
	}
	log_line(device, "closed: commands=%" PRIu64 " errors=%" PRIu64 " userptr_bos=%" PRIu64 " userptr_bytes=%" PRIu64 " host_bytes=%" PRIu64 " syncs=%" PRIu64,
	         device->commands, device->errors, device->userptr_bos, device->userptr_bytes, device->host_bytes, device->syncs);
	log_line(device, "leaks: bos=%u contexts=%u syncobjs=%u", bos, contexts, timelines);
}

void device_close(struct device *device) {
	pthread_mutex_lock(&lock);
	report(device);
	for (uint32_t i = 1; i <= MAX_CONTEXTS; i++) {
		if (device->contexts[i] != NULL) {
			destroy_context(device, i);
		}
	}
	for (uint32_t i = 1; i < MAX_BOS; i++) {
		if (device->bos[i] != NULL) {
			close_bo(device, i);
		}
	}
	for (int i = 0; i < MAX_DEVICES; i++) {
		if (devices[i] == device) {
			devices[i] = NULL;
		}
	}
	pthread_mutex_unlock(&lock);
	if (device->log >= 0) {
		libc_close(device->log);
	}
	free(device);
}

// answer copies what was asked for, as much as there is room for.
static int answer(struct args_get_info *arguments, const void *data, uint32_t bytes) {
	memcpy((void *)arguments->buffer, data, arguments->bytes < bytes ? arguments->bytes : bytes);
	arguments->bytes = bytes;
	return 0;
}

static int get_info(struct args_get_info *arguments) {
	static const struct aie_metadata metadata = {
		.column_bytes = 32 << 20,
		.columns = COLUMNS,
		.rows = 1 + 1 + ROWS,
		.major = 2,
		.core = {.rows = ROWS, .first_row = 2, .dma_channels = 4, .locks = 16, .event_registers = 32},
		.memory = {.rows = 1, .first_row = 1, .dma_channels = 12, .locks = 64, .event_registers = 16},
		.shim = {.rows = 1, .first_row = 0, .dma_channels = 4, .locks = 16, .event_registers = 16},
	};
	static const struct firmware_version firmware = {.major = 0};
	static const uint64_t default_power = 0;
	switch (arguments->what) {
	case INFO_AIE_METADATA:
		return answer(arguments, &metadata, sizeof metadata);
	case INFO_SENSORS: // there are none
		arguments->bytes = 0;
		return 0;
	case INFO_FIRMWARE_VERSION:
		return answer(arguments, &firmware, sizeof firmware);
	case INFO_POWER_MODE:
		return answer(arguments, &default_power, sizeof default_power);
	}
	return EOPNOTSUPP;
}

static int dispatch(struct device *device, unsigned nr, void *arguments) {
	switch (nr) {
	case NR_CREATE_BO:
		return create_bo(device, arguments);
	case NR_GET_BO_INFO:
		return get_bo_info(device, arguments);
	case NR_SYNC_BO:
		return sync_bo(device, arguments);
	case NR_GEM_CLOSE:
		return close_bo(device, ((const struct args_close_handle *)arguments)->handle);
	case NR_CREATE_HWCTX:
		return create_context(device, arguments);
	case NR_CONFIG_HWCTX:
		return configure_context(device, arguments);
	case NR_DESTROY_HWCTX:
		return destroy_context(device, ((const struct args_destroy_hwctx *)arguments)->handle);
	case NR_EXEC_CMD:
		return submit(device, arguments);
	case NR_GET_INFO:
		return get_info(arguments);
	case NR_SYNCOBJ_DESTROY:
		return destroy_timeline(device, ((const struct args_close_handle *)arguments)->handle);
	case NR_SYNCOBJ_TIMELINE_WAIT: {
		const struct args_timeline_wait *wait = arguments;
		return wait_timelines(device, (const uint32_t *)wait->handles, (const uint64_t *)wait->points, wait->count, wait->deadline);
	}
	}
	return EOPNOTSUPP;
}

int device_ioctl(struct device *device, unsigned long request, void *arguments) {
	unsigned nr = _IOC_NR(request);
	pthread_mutex_lock(&lock);
	if (nr == NR_EXEC_CMD && device->modes.gone_command != 0 && device->commands + 1 >= device->modes.gone_command && !device->gone) {
		device->gone = true;
		log_line(device, "gone: the device is not there any more");
		pthread_cond_broadcast(&changed);
	}
	bool user_pointer = nr == NR_CREATE_BO && ((const struct args_create_bo *)arguments)->user_table != 0;
	int error = device->gone ? ENODEV : injected_failure(&device->modes, nr, user_pointer);
	if (error != 0) {
		log_line(device, "injected: ioctl %s errno=%d", ioctl_name(nr), error);
	} else {
		error = dispatch(device, nr, arguments);
		if (error == EOPNOTSUPP) {
			log_line(device, "unhandled ioctl %s nr=%#x first_word=%" PRIu32, ioctl_name(nr), nr, *(const uint32_t *)arguments);
		}
	}
	if (device->modes.trace) {
		log_line(device, "ioctl %s = %d", ioctl_name(nr), error);
	}
	pthread_mutex_unlock(&lock);
	return error;
}
