// runtime.cpp - the CUDA runtime of sim: memory, one device, one stream.
//
// What is put on a stream runs at once, unless a test asks for more of a GPU's ways (simt.h, "Queued work"): work that
// waits until the host does (deferred), that is recorded to be run again (capture), that fails, that is forbidden.
#include <map>
#include <mutex>

#include "simt.h"

namespace simt {
Runtime runtime;
static std::vector<std::function<cudaError_t()>> queue;
static std::mutex lock;
static std::map<const char *, std::pair<size_t, cudaMemoryType>> memory;

// An error of the device stays: everything after it fails alike.
static cudaError_t entered() {
  if (runtime.sticky != cudaSuccess) return runtime.sticky;
  if (runtime.fail_at > 0 && --runtime.fail_at == 0) return runtime.fail_with;
  return cudaSuccess;
}
// The same for calls that a capture forbids, counted.
static cudaError_t forbidden() {
  ++runtime.synchronous;
  return runtime.capturing ? cudaErrorStreamCaptureUnsupported : entered();
}

cudaError_t submit(std::function<cudaError_t()> work) {
  cudaError_t e = entered();
  if (e != cudaSuccess) return e;
  if (!runtime.capturing && !runtime.deferred) return work();
  queue.push_back(std::move(work));
  return cudaSuccess;
}
cudaError_t drain() {
  auto work = std::move(queue);
  queue.clear();
  for (auto &w : work) {
    cudaError_t e = runtime.sticky != cudaSuccess ? runtime.sticky : w();
    if (e != cudaSuccess) runtime.sticky = e;
  }
  return runtime.sticky;
}
std::vector<std::function<cudaError_t()>> captured() { return std::move(queue); }

static cudaError_t allocate(void **p, size_t bytes, cudaMemoryType type) {
  cudaError_t e = forbidden();
  if (e != cudaSuccess) return e;
  if (posix_memalign(p, 256, bytes ? bytes : 1)) return cudaErrorMemoryAllocation;
  memset(*p, options.poison, bytes);
  std::lock_guard<std::mutex> guard(lock);
  memory[static_cast<char *>(*p)] = {bytes ? bytes : 1, type};
  runtime.held += bytes;
  return cudaSuccess;
}
static cudaError_t release(void *p) {
  if (runtime.capturing) return cudaErrorStreamCaptureUnsupported;
  if (runtime.deferred) drain();  // as the real one: it waits
  {
    std::lock_guard<std::mutex> guard(lock);
    auto at = memory.find(static_cast<char *>(p));
    if (p && at == memory.end()) return cudaErrorInvalidValue;
    if (p) runtime.held -= at->second.first, memory.erase(at);
  }
  free(p);
  return cudaSuccess;
}
}  // namespace simt
using namespace simt;

// A graph is what was recorded; an executable one may take over another of as many steps, as the real one takes over the
// same nodes with other parameters.
struct CUgraph_st { std::vector<std::function<cudaError_t()>> work; };
struct CUgraphExec_st : CUgraph_st {};
static cudaStream_t capture_of;  // the stream whose capture cudaStreamBeginCapture began

extern "C" {
cudaError_t cudaMalloc(void **p, size_t bytes) { return allocate(p, bytes, cudaMemoryTypeDevice); }
cudaError_t cudaFree(void *p) { return release(p); }
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) { return allocate(p, bytes, cudaMemoryTypeHost); }
cudaError_t cudaFreeHost(void *p) { return release(p); }
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind) {
  cudaError_t e = forbidden();
  if (e == cudaSuccess) drain(), memcpy(to, from, n);
  return e;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind, cudaStream_t) {
  if (kind == cudaMemcpyDeviceToHost) return submit([=] { return memcpy(to, from, n), cudaSuccess; });
  std::vector<char> bytes(static_cast<const char *>(from), static_cast<const char *>(from) + n);  // pageable: read now
  return submit([=] { return memcpy(to, bytes.data(), n), cudaSuccess; });
}
cudaError_t cudaMemset(void *to, int v, size_t n) { return memset(to, v, n), cudaSuccess; }
cudaError_t cudaMemsetAsync(void *to, int v, size_t n, cudaStream_t) {
  return submit([=] { return memset(to, v, n), cudaSuccess; });
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
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus *status) {
  *status = runtime.capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return runtime.sticky;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  cudaError_t e = forbidden();
  if (e == cudaSuccess) *stream = reinterpret_cast<cudaStream_t>(new char);
  return e;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return delete reinterpret_cast<char *>(stream), cudaSuccess; }
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  cudaError_t e = entered();
  if (e != cudaSuccess) return e;
  if (stream == nullptr || runtime.capturing) return cudaErrorStreamCaptureUnsupported;
  if (runtime.deferred) drain();  // what waits must not become part of the graph
  return capture_of = stream, runtime.capturing = true, cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  if (!runtime.capturing || stream != capture_of) return cudaErrorStreamCaptureUnsupported;
  runtime.capturing = false;
  auto work = captured();
  *graph = nullptr;
  cudaError_t e = entered();
  if (e == cudaSuccess) *graph = new CUgraph_st{std::move(work)};
  return e;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  cudaError_t e = forbidden();
  if (e == cudaSuccess) (*exec = new CUgraphExec_st)->work = graph->work;
  return e;
}
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info) {
  cudaError_t e = entered();
  if (e != cudaSuccess) return e;
  bool same = exec->work.size() == graph->work.size();
  info->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
  if (!same) return cudaErrorGraphExecUpdateFailure;
  return exec->work = graph->work, cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  auto work = exec->work;
  return submit([work] {
    for (auto &w : work) {
      cudaError_t e = w();
      if (e != cudaSuccess) return e;
    }
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return delete exec, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  cudaError_t e = forbidden();
  return e == cudaSuccess ? drain() : e;
}
cudaError_t cudaDeviceSynchronize(void) { return cudaStreamSynchronize(nullptr); }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t, cudaEvent_t) { return *milliseconds = 1, cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  cudaError_t e = entered();
  if (e == cudaSuccess) *event = reinterpret_cast<cudaEvent_t>(new char);
  return e;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete reinterpret_cast<char *>(event), cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
  return runtime.capturing ? cudaErrorStreamCaptureUnsupported : entered();  // a query would be illegal afterwards
}
cudaError_t cudaEventQuery(cudaEvent_t) {
  if (runtime.capturing) return cudaErrorStreamCaptureUnsupported;
  if (runtime.sticky != cudaSuccess) return runtime.sticky;
  return queue.empty() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  cudaError_t e = forbidden();
  return e == cudaSuccess ? drain() : e;
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
