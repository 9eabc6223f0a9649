// runtime.cpp - the CUDA runtime of sim: memory and one device. Streams, events and graphs are streams.cpp's.
#include <map>
#include <mutex>

#include "simt.h"

namespace simt {
static std::mutex lock;
static std::map<const char *, std::pair<size_t, cudaMemoryType>> memory;

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kGuard = 0;  // ASan sees more
#else
constexpr size_t kGuard = 256;
#endif

static cudaError_t allocate(void **p, size_t bytes, cudaMemoryType type) {
  cudaError_t e = forbidden();
  if (e != cudaSuccess) return e;
  if (posix_memalign(p, 256, (bytes ? bytes : 1) + kGuard)) return cudaErrorMemoryAllocation;
  memset(*p, options.poison, bytes);
  memset(static_cast<char *>(*p) + (bytes ? bytes : 1), 0xA5, kGuard);
  std::lock_guard<std::mutex> guard(lock);
  memory[static_cast<char *>(*p)] = {bytes ? bytes : 1, type};
  runtime.held += bytes;
  ++runtime.allocations;
  return cudaSuccess;
}
static cudaError_t release(void *p) {
  if (runtime.captures) return cudaErrorStreamCaptureUnsupported;
  drain();  // as the real one: it waits
  ++runtime.allocations;
  {
    std::lock_guard<std::mutex> guard(lock);
    auto at = memory.find(static_cast<char *>(p));
    if (p && at == memory.end()) return cudaErrorInvalidValue;
    if (p) {
      for (size_t i = 0; i < kGuard; ++i)
        if (static_cast<unsigned char *>(p)[at->second.first + i] != 0xA5) {
          ++runtime.damaged;
          break;
        }
      runtime.held -= at->second.first, memory.erase(at);
    }
  }
  free(p);
  return cudaSuccess;
}
}  // namespace simt
using namespace simt;

extern "C" {
cudaError_t cudaMalloc(void **p, size_t bytes) { return allocate(p, bytes, cudaMemoryTypeDevice); }
cudaError_t cudaFree(void *p) { return release(p); }
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) { return allocate(p, bytes, cudaMemoryTypeHost); }
cudaError_t cudaFreeHost(void *p) { return release(p); }
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind) {
  cudaError_t e = cudaStreamSynchronize(nullptr);  // other streams are not waited for
  if (e == cudaSuccess) memcpy(to, from, n);
  return e;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind == cudaMemcpyDeviceToHost) return submit(stream, [=] { return memcpy(to, from, n), cudaSuccess; });
  std::vector<char> bytes(static_cast<const char *>(from), static_cast<const char *>(from) + n);  // pageable: read now
  return submit(stream, [=] { return memcpy(to, bytes.data(), n), cudaSuccess; });
}
cudaError_t cudaMemset(void *to, int v, size_t n) { return memset(to, v, n), cudaSuccess; }
cudaError_t cudaMemsetAsync(void *to, int v, size_t n, cudaStream_t stream) {
  return submit(stream, [=] { return memset(to, v, n), cudaSuccess; });
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  *total = size_t(1) << 30;
  return *free_bytes = *total - runtime.held, cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p) {
  std::lock_guard<std::mutex> guard(lock);
  auto at = memory.upper_bound(static_cast<const char *>(p));
  a->type = cudaMemoryTypeUnregistered;
  if (at == memory.begin()) return cudaSuccess;
  --at;
  if (static_cast<const char *>(p) < at->first + at->second.first) a->type = at->second.second;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
  if (runtime.no_driver) return cudaErrorInsufficientDriver;
  return *count = 1, cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "sim");
  p->totalGlobalMem = size_t(1) << 30, p->major = 9, p->minor = 0;
  if (options.shared_limit < 227 << 10) p->major = 8, p->minor = 6;
  p->multiProcessorCount = options.multiprocessors;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr a, int) {
  *value = a == cudaDevAttrMultiProcessorCount ? options.multiprocessors : options.shared_limit;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute, int value) {
  if (value > options.shared_limit) return cudaErrorInvalidValue;
  allow_dynamic(kernel, value);
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int, size_t dynamic) {
  *blocks = dynamic > size_t(options.shared_limit) / 2 ? 1 : 2;
  return cudaSuccess;
}
cudaError_t cudaGetLastError(void) { return cudaSuccess; }
const char *cudaGetErrorString(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    default: return "an error of sim's runtime";
  }
}
}
