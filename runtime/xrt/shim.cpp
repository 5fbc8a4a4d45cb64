//go:build xrt

#include "shim.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <mutex>
#include <string>
#include <system_error>
#include <vector>

#include <xrt/experimental/xrt_kernel.h>
#include <xrt/experimental/xrt_system.h>
#include <xrt/experimental/xrt_version.h>
#include <xrt/experimental/xrt_xclbin.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_hw_context.h>
#include <xrt/xrt_kernel.h>
#include <xrt/xrt_uuid.h>

struct npuw_device { xrt::device value; };
struct npuw_context { xrt::hw_context value; };
struct npuw_kernel { xrt::kernel value; };
struct npuw_bo { xrt::bo value; };
struct npuw_run { xrt::run value; };
struct npuw_list { xrt::runlist value; };

namespace {

void copy_text(char *to, size_t size, const char *from) noexcept {
  const size_t n = std::min(size - 1, std::strlen(from));
  std::memcpy(to, from, n);
  to[n] = 0;
}

int fail(npuw_fault *fault, int code, const char *text) noexcept {
  fault->code = std::abs(code);
  copy_text(fault->text, sizeof fault->text, text);
  return -1;
}

// Does what may throw.
template <class Action> int guarded(npuw_fault *fault, Action action) noexcept {
  try {
    action();
    return 0;
  } catch (const std::system_error &e) {
    return fail(fault, e.code().value(), e.what());
  } catch (const std::exception &e) {
    return fail(fault, 0, e.what());
  } catch (...) {
    return fail(fault, 0, "an exception without a text");
  }
}

// Ends a handle. What cannot be freed is leaked: there is nobody who could do something about it.
template <class Handle> void close(Handle *handle) noexcept {
  npuw_fault ignored;
  guarded(&ignored, [&] { delete handle; });
}

// XRT's driver library prints to the standard output, where a program's results go: let it use the standard error.
void keep_output_clean() {
  static std::once_flag once;
  std::call_once(once, [] { std::cout.rdbuf(std::cerr.rdbuf()); });
}

}  // namespace

extern "C" {

void npuw_version(unsigned *major, unsigned *minor, unsigned *patch) {
  *major = xrt::version::major();
  *minor = xrt::version::minor();
  *patch = xrt::version::patch();
}

int npuw_count(unsigned *count, npuw_fault *fault) {
  return guarded(fault, [&] {
    keep_output_clean();
    *count = xrt::system::enumerate_devices();
  });
}

int npuw_device_open(unsigned index, npuw_device **out, npuw_fault *fault) {
  return guarded(fault, [&] {
    keep_output_clean();
    *out = new npuw_device{xrt::device(index)};
  });
}

void npuw_device_close(npuw_device *device) { close(device); }

int npuw_device_fact(npuw_device *device, enum npuw_fact fact, char *text, size_t size, npuw_fault *fault) {
  return guarded(fault, [&] {
    std::string value;
    switch (fact) {
      case NPUW_NAME: value = device->value.get_info<xrt::info::device::name>(); break;
      case NPUW_BDF: value = device->value.get_info<xrt::info::device::bdf>(); break;
      case NPUW_HOST: value = device->value.get_info<xrt::info::device::host>(); break;
      case NPUW_PLATFORM: value = device->value.get_info<xrt::info::device::platform>(); break;
    }
    copy_text(text, size, value.c_str());
  });
}

int npuw_device_register(npuw_device *device, const void *xclbin, size_t size, uint8_t uuid[16], npuw_fault *fault) {
  return guarded(fault, [&] {
    const auto *bytes = static_cast<const char *>(xclbin);
    const xrt::uuid id = device->value.register_xclbin(xrt::xclbin{std::vector<char>(bytes, bytes + size)});
    std::memcpy(uuid, id.get(), 16);
  });
}

int npuw_context_open(npuw_device *device, const uint8_t uuid[16], npuw_context **out, npuw_fault *fault) {
  return guarded(fault, [&] {
    xuid_t id;
    std::memcpy(id, uuid, sizeof id);
    *out = new npuw_context{xrt::hw_context(device->value, xrt::uuid(id))};
  });
}

void npuw_context_close(npuw_context *context) { close(context); }

int npuw_kernel_open(npuw_context *context, const char *name, npuw_kernel **out, npuw_fault *fault) {
  return guarded(fault, [&] { *out = new npuw_kernel{xrt::kernel(context->value, name)}; });
}

void npuw_kernel_close(npuw_kernel *kernel) { close(kernel); }

int npuw_kernel_group(npuw_kernel *kernel, int index, uint32_t *group, npuw_fault *fault) {
  return guarded(fault, [&] { *group = static_cast<uint32_t>(kernel->value.group_id(index)); });
}

int npuw_bo_make(npuw_device *device, size_t size, int cacheable, uint32_t group, npuw_bo **out, npuw_fault *fault) {
  return guarded(fault, [&] {
    const auto flags = cacheable ? xrt::bo::flags::cacheable : xrt::bo::flags::host_only;
    *out = new npuw_bo{xrt::bo(device->value, size, flags, group)};
  });
}

int npuw_bo_user(npuw_device *device, const void *pages, size_t size, uint32_t group, npuw_bo **out, npuw_fault *fault) {
  return guarded(fault, [&] {
    // XRT has no buffers of constant memory; the device is not given these pages as an output.
    *out = new npuw_bo{xrt::bo(device->value, const_cast<void *>(pages), size, xrt::bo::flags::host_only, group)};
  });
}

int npuw_bo_part(npuw_bo *parent, size_t offset, size_t size, npuw_bo **out, npuw_fault *fault) {
  return guarded(fault, [&] { *out = new npuw_bo{xrt::bo(parent->value, size, offset)}; });
}

int npuw_bo_map(npuw_bo *bo, void **out, npuw_fault *fault) {
  return guarded(fault, [&] { *out = bo->value.map<void *>(); });
}

int npuw_bo_sync(npuw_bo *bo, int to_device, size_t offset, size_t size, npuw_fault *fault) {
  return guarded(fault, [&] {
    bo->value.sync(to_device ? XCL_BO_SYNC_BO_TO_DEVICE : XCL_BO_SYNC_BO_FROM_DEVICE, size, offset);
  });
}

void npuw_bo_close(npuw_bo *bo) { close(bo); }

int npuw_run_open(npuw_kernel *kernel, npuw_run **out, npuw_fault *fault) {
  return guarded(fault, [&] { *out = new npuw_run{xrt::run(kernel->value)}; });
}

int npuw_run_scalar(npuw_run *run, int index, uint64_t value, size_t size, npuw_fault *fault) {
  return guarded(fault, [&] { run->value.set_arg(index, static_cast<const void *>(&value), size); });
}

int npuw_run_bo(npuw_run *run, int index, npuw_bo *bo, npuw_fault *fault) {
  return guarded(fault, [&] { run->value.set_arg(index, bo->value); });
}

int npuw_run_start(npuw_run *run, npuw_fault *fault) {
  return guarded(fault, [&] { run->value.start(); });
}

int npuw_run_state(npuw_run *run, int *state, npuw_fault *fault) {
  return guarded(fault, [&] { *state = run->value.state(); });
}

void npuw_run_close(npuw_run *run) { close(run); }

int npuw_list_open(npuw_context *context, npuw_list **out, npuw_fault *fault) {
  return guarded(fault, [&] { *out = new npuw_list{xrt::runlist(context->value)}; });
}

int npuw_list_add(npuw_list *list, npuw_run *run, npuw_fault *fault) {
  return guarded(fault, [&] { list->value.add(run->value); });
}

int npuw_list_start(npuw_list *list, npuw_fault *fault) {
  return guarded(fault, [&] { list->value.execute(); });
}

int npuw_list_state(npuw_list *list, int *state, npuw_fault *fault) {
  return guarded(fault, [&] { *state = list->value.state(); });
}

void npuw_list_close(npuw_list *list) { close(list); }

}  // extern "C"
