/* What Go needs of XRT, in C: XRT itself is C++ and throws. Every function returns 0, or -1 with the reason in *fault; none throws
 * and none keeps a pointer that it was given, except npuw_bo_user its pages. Handles are closed once, by the function that says so, after
 * all that was made from them, and a run or list never before it has ended: XRT would abort the process. */
//go:build xrt

#ifndef NPUW_RUNTIME_XRT_SHIM_H
#define NPUW_RUNTIME_XRT_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  int code;        /* errno, 0 where XRT gave none */
  char text[508];  /* what XRT said, cut to fit, NUL at its end */
} npuw_fault;

typedef struct npuw_device npuw_device;
typedef struct npuw_context npuw_context;
typedef struct npuw_kernel npuw_kernel;
typedef struct npuw_bo npuw_bo;
typedef struct npuw_run npuw_run;
typedef struct npuw_list npuw_list;

/* The version of the XRT that is loaded. */
void npuw_version(unsigned *major, unsigned *minor, unsigned *patch);

/* How many devices XRT sees. */
int npuw_count(unsigned *count, npuw_fault *fault);

int npuw_device_open(unsigned index, npuw_device **out, npuw_fault *fault);
void npuw_device_close(npuw_device *device);

/* Facts of a device, as text that is cut to fit size bytes with its NUL. */
enum npuw_fact { NPUW_NAME, NPUW_BDF, NPUW_HOST, NPUW_PLATFORM };
int npuw_device_fact(npuw_device *device, enum npuw_fact fact, char *text, size_t size, npuw_fault *fault);

/* Makes an xclbin known to the device, for as long as that is open, and gives its uuid. */
int npuw_device_register(npuw_device *device, const void *xclbin, size_t size, uint8_t uuid[16], npuw_fault *fault);

int npuw_context_open(npuw_device *device, const uint8_t uuid[16], npuw_context **out, npuw_fault *fault);
void npuw_context_close(npuw_context *context);

int npuw_kernel_open(npuw_context *context, const char *name, npuw_kernel **out, npuw_fault *fault);
void npuw_kernel_close(npuw_kernel *kernel);

/* The memory group of a buffer argument; the bits from 16 on are the context's. The index must be one of a buffer argument. */
int npuw_kernel_group(npuw_kernel *kernel, int index, uint32_t *group, npuw_fault *fault);

/* Buffers: of the host's memory that the device reads and writes (cacheable 0), or in the device's heap, for instructions
 * (cacheable 1); over pages of the caller's; or a part of another buffer, which must outlive it. */
int npuw_bo_make(npuw_device *device, size_t size, int cacheable, uint32_t group, npuw_bo **out, npuw_fault *fault);
int npuw_bo_user(npuw_device *device, const void *pages, size_t size, uint32_t group, npuw_bo **out, npuw_fault *fault);
int npuw_bo_part(npuw_bo *parent, size_t offset, size_t size, npuw_bo **out, npuw_fault *fault);
int npuw_bo_map(npuw_bo *bo, void **out, npuw_fault *fault);
int npuw_bo_sync(npuw_bo *bo, int to_device, size_t offset, size_t size, npuw_fault *fault);
void npuw_bo_close(npuw_bo *bo);

/* A run needs every argument that its kernel reads; XRT does not notice one that is missing, and faults on an index that is wrong. */
int npuw_run_open(npuw_kernel *kernel, npuw_run **out, npuw_fault *fault);
int npuw_run_scalar(npuw_run *run, int index, uint64_t value, size_t size, npuw_fault *fault);
int npuw_run_bo(npuw_run *run, int index, npuw_bo *bo, npuw_fault *fault);
int npuw_run_start(npuw_run *run, npuw_fault *fault);
int npuw_run_state(npuw_run *run, int *state, npuw_fault *fault); /* an ert_cmd_state */
void npuw_run_close(npuw_run *run);

/* Runs of one context that are submitted at once and done in order. */
int npuw_list_open(npuw_context *context, npuw_list **out, npuw_fault *fault);
int npuw_list_add(npuw_list *list, npuw_run *run, npuw_fault *fault);
int npuw_list_start(npuw_list *list, npuw_fault *fault);
int npuw_list_state(npuw_list *list, int *state, npuw_fault *fault);
void npuw_list_close(npuw_list *list);

#ifdef __cplusplus
}
#endif

#endif
