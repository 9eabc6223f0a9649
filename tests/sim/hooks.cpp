// hooks.cpp - tests/gpu/hooks.h under sim.
#include "gpu/hooks.h"

#include "simt.h"

static std::vector<std::function<cudaError_t()>> graph;

extern "C" {
void hook_begin(const char *argument) {
  if (argument) simt::options.seed = strtoull(argument, nullptr, 10);
}
void hook_download(void *host, const void *device, size_t bytes) {
  simt::drain();
  memcpy(host, device, bytes);
}
cudaStream_t hook_stream(int) { return nullptr; }
int hook_capture_begin(cudaStream_t) { return simt::runtime.capturing = true, 0; }
int hook_capture_end(cudaStream_t) { return simt::runtime.capturing = false, graph = simt::captured(), 0; }
int hook_replay(void) {
  for (auto work : graph) {  // a copy: a launch may not change the record
    cudaError_t e = work();
    if (e != cudaSuccess) return e;
  }
  return 0;
}
int hook_sim(void) { return 1; }
void hook_defer(int on) { simt::runtime.deferred = on; }
void hook_drain(void) { simt::drain(); }
void hook_fail(long n, int error) { simt::runtime.fail_at = n, simt::runtime.fail_with = cudaError_t(error); }
void hook_no_driver(void) { simt::runtime.no_driver = true; }
void hook_break(int error) { simt::runtime.sticky = cudaError_t(error); }
unsigned long hook_synchronous(void) { return simt::runtime.synchronous; }
size_t hook_held(void) { return simt::runtime.held; }
}
