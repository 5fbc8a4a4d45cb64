// libc's functions for files, as far as XRT uses them to find and to drive the NPU. They take the device and the files of sysfs that
// describe it from the folder that this library lies in, and pass everything else on to libc.
#define _GNU_SOURCE
#pragma GCC visibility push(default) // all else in this library is hidden
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// The names that some of these functions have in programs built with _FORTIFY_SOURCE.
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);
char *__realpath_chk(const char *path, char *resolved, size_t bytes);
ssize_t __readlink_chk(const char *path, char *target, size_t bytes, size_t room);
#pragma GCC visibility pop

#include "swnpu.h"

static const char *const device_paths[MAX_NPUS] = {"/dev/accel/accel0", "/dev/accel/accel1"};

// What is taken from the folder of this library.
static const char *const taken_over[] = {
	"/dev/accel",
	"/sys/bus/pci/devices/0000:c5:00.1",
	"/sys/bus/pci/devices/0000:c6:00.1",
	"/sys/bus/pci/drivers/amdxdna",
	"/sys/devices/pci0000:00/0000:c5:00.1",
	"/sys/devices/pci0000:00/0000:c6:00.1",
	"/sys/module/amdxdna",
};

// NEXT is libc's own function of a name.
#define NEXT(function)                                                                 \
	({                                                                                 \
		static __typeof__(&function) next;                                             \
		if (__atomic_load_n(&next, __ATOMIC_RELAXED) == NULL) {                        \
			__atomic_store_n(&next, dlsym(RTLD_NEXT, #function), __ATOMIC_RELAXED);    \
		}                                                                              \
		__atomic_load_n(&next, __ATOMIC_RELAXED);                                      \
	})

static char folder[PATH_MAX]; // of this library, without a slash at its end
static pthread_once_t folder_found = PTHREAD_ONCE_INIT;

// find_folder runs at the first use: XRT may look for files before the constructors of this library would run.
static void find_folder(void) {
	Dl_info library;
	if (dladdr((void *)find_folder, &library) == 0 || NEXT(realpath)(library.dli_fname, folder) == NULL) {
		fprintf(stderr, "software NPU: cannot find the folder that it lies in\n");
		abort();
	}
	*strrchr(folder, '/') = 0;
}

// is_ours reports whether the folder of this library holds what a path names.
static bool is_ours(const char *path) {
	for (size_t i = 0; i < sizeof taken_over / sizeof *taken_over; i++) {
		size_t length = strlen(taken_over[i]);
		if (strncmp(path, taken_over[i], length) == 0 && (path[length] == 0 || path[length] == '/')) {
			return true;
		}
	}
	return false;
}

// tree is the part of the folder that shows as many NPUs as there are to be.
static const char *tree(void) {
	struct modes modes;
	read_modes(&modes, getenv("SWNPU_MODE"));
	return modes.absent ? "/none" : modes.npus == 2 ? "/two" : "/one";
}

// located gives the path under which a file is found: another in buffer, or the same. Nobody writes to what is ours.
static const char *located(const char *path, char buffer[PATH_MAX]) {
	if (path == NULL) {
		return path;
	}
	pthread_once(&folder_found, find_folder);
	int length = 0;
	const char *name = strrchr(path, '/');
	if (name != NULL && strcmp(name, "/xrt.ini") == 0) {
		// XRT looks for its settings beside the program. By itself it flushes caches for a sync, which nothing here could notice; these
		// settings make it ask the driver.
		length = snprintf(buffer, PATH_MAX, "%s/xrt.ini", folder);
	} else if (is_ours(path)) {
		length = snprintf(buffer, PATH_MAX, "%s%s%s", folder, tree(), path);
	}
	return length > 0 && length < PATH_MAX ? buffer : path;
}

static bool is_device(const char *path) {
	return path != NULL && (strcmp(path, device_paths[0]) == 0 || strcmp(path, device_paths[1]) == 0);
}

// CREATION_MODE is the third argument of open, which is there only where a file may be created.
#define CREATION_MODE(mode, flags)                        \
	mode_t mode = 0;                                      \
	if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {         \
		va_list arguments;                                \
		va_start(arguments, flags);                       \
		mode = va_arg(arguments, mode_t);                 \
		va_end(arguments);                                \
	}

int openat(int dir, const char *path, int flags, ...) {
	CREATION_MODE(mode, flags)
	char buffer[PATH_MAX];
	if (is_device(path)) {
		return device_open();
	}
	return NEXT(openat)(dir, (flags & O_ACCMODE) == O_RDONLY ? located(path, buffer) : path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...) {
	CREATION_MODE(mode, flags)
	return openat(dir, path, flags | O_LARGEFILE, mode);
}

int open(const char *path, int flags, ...) {
	CREATION_MODE(mode, flags)
	return openat(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
	CREATION_MODE(mode, flags)
	return openat(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int __open_2(const char *path, int flags) {
	return openat(AT_FDCWD, path, flags);
}

int __open64_2(const char *path, int flags) {
	return openat(AT_FDCWD, path, flags | O_LARGEFILE);
}

int __openat_2(int dir, const char *path, int flags) {
	return openat(dir, path, flags);
}

int __openat64_2(int dir, const char *path, int flags) {
	return openat(dir, path, flags | O_LARGEFILE);
}

FILE *fopen(const char *path, const char *mode) {
	char buffer[PATH_MAX];
	return NEXT(fopen)(*mode == 'r' ? located(path, buffer) : path, mode);
}

FILE *fopen64(const char *path, const char *mode) {
	char buffer[PATH_MAX];
	return NEXT(fopen64)(*mode == 'r' ? located(path, buffer) : path, mode);
}

DIR *opendir(const char *path) {
	char buffer[PATH_MAX];
	return NEXT(opendir)(located(path, buffer));
}

int stat(const char *restrict path, struct stat *restrict status) {
	char buffer[PATH_MAX];
	return NEXT(stat)(located(path, buffer), status);
}

int lstat(const char *restrict path, struct stat *restrict status) {
	char buffer[PATH_MAX];
	return NEXT(lstat)(located(path, buffer), status);
}

ssize_t readlink(const char *restrict path, char *restrict target, size_t bytes) {
	char buffer[PATH_MAX];
	return NEXT(readlink)(located(path, buffer), target, bytes);
}

ssize_t __readlink_chk(const char *path, char *target, size_t bytes, size_t room) {
	return bytes > room ? (errno = EINVAL, -1) : readlink(path, target, bytes);
}

// realpath gives the paths that were taken over as they would be in a real sysfs.
char *realpath(const char *restrict path, char *restrict resolved) {
	char buffer[PATH_MAX];
	const char *at = located(path, buffer);
	char *real = NEXT(realpath)(at, resolved);
	size_t length = strlen(folder) + strlen(tree());
	if (real != NULL && at != path && strncmp(real, folder, strlen(folder)) == 0) {
		memmove(real, real + length, strlen(real + length) + 1);
	}
	return real;
}

char *__realpath_chk(const char *path, char *resolved, size_t bytes) {
	return bytes < PATH_MAX ? (errno = EINVAL, NULL) : realpath(path, resolved);
}

void *libc_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset) {
	return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset) {
	struct device *device = device_of(fd);
	if (device == NULL) {
		return libc_mmap(address, bytes, protection, flags, fd, offset);
	}
	pthread_mutex_lock(&lock);
	int error = map_bo(device, &address, bytes, protection, flags, (uint64_t)offset);
	pthread_mutex_unlock(&lock);
	return error == 0 ? address : (errno = error, MAP_FAILED);
}

void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off_t offset) {
	return mmap(address, bytes, protection, flags, fd, offset);
}

int ioctl(int fd, unsigned long request, ...) {
	va_list list;
	va_start(list, request);
	void *arguments = va_arg(list, void *);
	va_end(list);
	struct device *device = device_of(fd);
	if (device == NULL) {
		return NEXT(ioctl)(fd, request, arguments);
	}
	int error = device_ioctl(device, request, arguments);
	return error == 0 ? 0 : (errno = error, -1);
}

int libc_close(int fd) {
	return NEXT(close)(fd);
}

int close(int fd) {
	struct device *device = device_of(fd);
	if (device != NULL) {
		device_close(device);
	}
	return libc_close(fd);
}
