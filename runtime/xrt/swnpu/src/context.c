// Hardware contexts: each has a queue of commands and a thread that works on them in order, as the columns of an NPU would.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "swnpu.h"

static struct context *find_context(struct device *device, uint32_t handle) {
	return handle <= MAX_CONTEXTS ? device->contexts[handle] : NULL;
}

static void free_job(struct device *device, struct job *job) {
	release_bo(device, job->command);
	for (uint32_t i = 0; i < job->arguments; i++) {
		release_bo(device, job->argument[i]);
	}
	free(job);
}

// held reports whether a job waits for the end of a file, which a test removes when it has seen what it wanted to see meanwhile.
static bool held(const struct modes *modes, const struct job *job) {
	return modes->hold[0] != 0 && (modes->hold_command == 0 || modes->hold_command == job->number) && access(modes->hold, F_OK) == 0;
}

// look_again waits for a change, or for long enough that a file can have come to its end.
static void look_again(void) {
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&changed, &lock, &until);
}

// take_job waits for the next job that neither hangs nor is held, and as long as the device is there. NULL when the context stops.
static struct job *take_job(struct context *context) {
	const struct device *device = context->device;
	while (!context->stopping) {
		struct job *job = context->jobs;
		if (job == NULL || job->hangs || device->gone) {
			pthread_cond_wait(&changed, &lock);
		} else if (held(&device->modes, job)) {
			look_again();
		} else {
			return job;
		}
	}
	return NULL;
}

// carry_out gives the state in which a job ends.
static enum command_state carry_out(struct context *context, struct job *job) {
	const struct modes *modes = &context->device->modes;
	if (modes->state != 0 && (modes->state_command == 0 || modes->state_command == job->number)) {
		return modes->state;
	}
	return run_command(context, job);
}

// work is the thread of a context. Jobs that are left when it stops are aborted.
static void *work(void *argument) {
	struct context *context = argument;
	struct device *device = context->device;
	struct job *job;
	pthread_mutex_lock(&lock);
	while ((job = take_job(context)) != NULL) {
		pthread_mutex_unlock(&lock);
		if (device->modes.latency > 0) {
			usleep(device->modes.latency);
		}
		enum command_state state = carry_out(context, job);
		pthread_mutex_lock(&lock);
		device->errors += state == STATE_ERROR;
		set_state(job->command, state);
		context->jobs = job->next;
		context->completed = job->sequence + 1;
		free_job(device, job);
		pthread_cond_broadcast(&changed);
	}
	while ((job = context->jobs) != NULL) {
		context->jobs = job->next;
		set_state(job->command, STATE_ABORTED);
		free_job(device, job);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

int create_context(struct device *device, struct args_create_hwctx *arguments) {
	uint32_t columns = arguments->tiles / ROWS;
	if (arguments->extension != 0 || arguments->extension_flags != 0 || arguments->tiles % ROWS != 0 || columns == 0 || columns > COLUMNS) {
		return EINVAL;
	}
	unsigned open = 0;
	uint32_t handle = 0; // the lowest that is free, with its timeline
	for (uint32_t i = MAX_CONTEXTS; i > 0; i--) {
		open += device->contexts[i] != NULL;
		if (device->contexts[i] == NULL && !device->timelines[i].open) {
			handle = i;
		}
	}
	if (open >= device->modes.contexts) {
		return EINVAL;
	}
	struct context *context = handle == 0 ? NULL : calloc(1, sizeof *context);
	if (context == NULL) {
		return ENOMEM;
	}
	context->device = device;
	context->handle = handle;
	if (pthread_create(&context->worker, NULL, work, context) != 0) {
		free(context);
		return ENOMEM;
	}
	device->contexts[handle] = context;
	device->timelines[handle] = (struct timeline){.open = true, .context = context};
	arguments->handle = arguments->syncobj = handle;
	arguments->doorbell = UINT32_MAX;
	return 0;
}

int configure_context(struct device *device, const struct args_config_hwctx *arguments) {
	struct context *context = find_context(device, arguments->handle);
	if (context == NULL || arguments->kind != CONFIG_KERNELS || arguments->value == 0) {
		return EINVAL;
	}
	const struct kernel_table *table = (const struct kernel_table *)arguments->value;
	if (arguments->value_bytes < sizeof *table || (arguments->value_bytes - sizeof *table) / sizeof *table->kernels < table->count) {
		return EINVAL;
	}
	for (uint32_t i = 0; i < table->count; i++) {
		const struct bo *pdi = find_bo(device, table->kernels[i].pdi_bo);
		if (pdi == NULL || pdi->type != BO_DEV) {
			return EINVAL;
		}
	}
	context->kernels = table->count;
	return 0;
}

int destroy_context(struct device *device, uint32_t handle) {
	struct context *context = find_context(device, handle);
	if (context == NULL || context->stopping) {
		return EINVAL;
	}
	context->stopping = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	pthread_join(context->worker, NULL);
	pthread_mutex_lock(&lock);
	device->contexts[handle] = NULL;
	device->timelines[handle].context = NULL;
	free(context);
	pthread_cond_broadcast(&changed);
	return 0;
}

// new_job checks a command and holds on to all its buffers.
static int new_job(struct device *device, const struct args_exec_cmd *arguments, struct job **made) {
	if (arguments->extension != 0 || arguments->extension_flags != 0 || arguments->type != 0 || arguments->command_count != 1) {
		return EINVAL;
	}
	struct bo *command = arguments->commands < MAX_BOS ? find_bo(device, (uint32_t)arguments->commands) : NULL;
	if (command == NULL || command->type != BO_CMD || arguments->argument_count >= MAX_BOS) {
		return EINVAL;
	}
	const uint32_t *handles = (const uint32_t *)arguments->arguments;
	struct job *job = calloc(1, sizeof *job + arguments->argument_count * sizeof *job->argument);
	if (job == NULL) {
		return ENOMEM;
	}
	job->command = command;
	command->references++;
	for (uint32_t i = 0; i < arguments->argument_count; i++) {
		struct bo *bo = find_bo(device, handles[i]);
		if (bo == NULL) {
			free_job(device, job);
			return ENOENT;
		}
		bo->references++;
		job->argument[job->arguments++] = bo;
	}
	*made = job;
	return 0;
}

int submit(struct device *device, struct args_exec_cmd *arguments) {
	struct context *context = find_context(device, arguments->context);
	if (context == NULL || context->stopping) {
		return EINVAL;
	}
	struct job *job;
	int error = new_job(device, arguments, &job);
	if (error != 0) {
		return error;
	}
	job->number = ++device->commands;
	job->hangs = device->modes.hang || job->number == device->modes.hang_command;
	if (job->hangs) {
		log_line(device, "command %" PRIu64 " hangs", job->number);
	}
	arguments->sequence = job->sequence = context->submitted++;
	struct job **last = &context->jobs;
	while (*last != NULL) {
		last = &(*last)->next;
	}
	*last = job;
	pthread_cond_broadcast(&changed);
	return 0;
}

int destroy_timeline(struct device *device, uint32_t handle) {
	if (handle > MAX_CONTEXTS || !device->timelines[handle].open) {
		return EINVAL;
	}
	device->timelines[handle].open = false;
	return 0;
}

static bool reached(const struct timeline *timeline, uint64_t point) {
	return !timeline->open || timeline->context == NULL || timeline->context->completed > point;
}

int wait_timelines(struct device *device, const uint32_t *handles, const uint64_t *points, uint32_t count, int64_t deadline) {
	struct timespec until = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
	for (uint32_t i = 0; i < count; i++) {
		if (handles[i] > MAX_CONTEXTS || !device->timelines[handles[i]].open) {
			return ENOENT;
		}
		const struct timeline *timeline = &device->timelines[handles[i]];
		while (!reached(timeline, points[i])) {
			if (device->gone) {
				return ENODEV;
			}
			if (deadline <= 0) {
				return ETIME;
			}
			int error = pthread_cond_timedwait(&changed, &lock, &until);
			if (error == ETIMEDOUT && !reached(timeline, points[i])) {
				return ETIME;
			}
		}
	}
	return 0;
}
