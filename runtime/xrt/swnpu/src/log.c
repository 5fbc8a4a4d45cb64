// The log: a line for whatever a test may want to know, appended to the file that SWNPU_LOG names.
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "swnpu.h"

int log_open(void) {
	const char *path = getenv("SWNPU_LOG");
	if (path == NULL || *path == 0) {
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
}

void log_line(const struct device *device, const char *format, ...) {
	if (device->log < 0) {
		return;
	}
	char line[512];
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(line, sizeof line - 1, format, arguments);
	va_end(arguments);
	if (length < 0) {
		return;
	}
	if (length > (int)sizeof line - 2) {
		length = sizeof line - 2;
	}
	line[length++] = '\n';
	// One write a line: lines of several processes do not mix. A log that cannot be written is no reason to stop.
	ssize_t written = write(device->log, line, (size_t)length);
	(void)written;
}
