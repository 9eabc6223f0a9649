/* runtime.c - calls of the CUDA runtime. Compiles against the toolkit's header, and against the one of tests/sim. */
#include "cuda/runtime.h"

#include <cuda_runtime_api.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

actscope_status actscope_cuda_fail(int error, const char *format, ...) {
  char what[256];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  cudaError_t e = (cudaError_t)error;
  actscope_status status = e == cudaErrorMemoryAllocation ? ACTSCOPE_OUT_OF_MEMORY
                           : e == cudaErrorNoDevice || e == cudaErrorInsufficientDriver ? ACTSCOPE_NO_DEVICE
                                                                                        : ACTSCOPE_DEVICE_ERROR;
  cudaGetLastError(); /* what is reported does not stay behind for the caller's own next check */
  return actscope_fail(status, "%s: %s", what, cudaGetErrorString(e));
}

int actscope_cuda_devices(int *count) {
  int n = 0;
  cudaError_t e = cudaGetDeviceCount(&n);
  if (e == cudaSuccess) *count = n;
  else cudaGetLastError();
  return (int)e;
}

const char *actscope_cuda_no_device_text(int error) {
  switch ((cudaError_t)error) {
    case cudaErrorInsufficientDriver: return "no NVIDIA driver, or one too old for CUDA " ACTSCOPE_CUDA_VERSION;
    case cudaErrorNoDevice: return "no NVIDIA GPU";
    default: return cudaGetErrorString((cudaError_t)error);
  }
}

int actscope_cuda_describe(int index, struct cuda_device *device) {
  struct cudaDeviceProp p;
  cudaError_t e = cudaGetDeviceProperties(&p, index);
  memset(device, 0, sizeof *device);
  if (e != cudaSuccess) return (int)e;
  snprintf(device->name, sizeof device->name, "%.127s", p.name);
  device->major = p.major;
  device->minor = p.minor;
  device->units = p.multiProcessorCount;
  device->memory = p.totalGlobalMem;
  return 0;
}

int actscope_cuda_enter(int index, int *before) {
  cudaError_t e = cudaGetDevice(before);
  if (e == cudaSuccess && *before != index) e = cudaSetDevice(index);
  return (int)e;
}
void actscope_cuda_leave(int before) { cudaSetDevice(before); }

int actscope_cuda_allocate(void **pointer, uint64_t bytes) { return (int)cudaMalloc(pointer, bytes ? bytes : 1); }
void actscope_cuda_release(void *pointer) { cudaFree(pointer); }
int actscope_cuda_pinned_allocate(void **pointer, uint64_t bytes) {
  cudaError_t e = cudaHostAlloc(pointer, bytes ? bytes : 1, cudaHostAllocPortable | cudaHostAllocMapped);
  if (e == cudaSuccess) memset(*pointer, 0, bytes);
  return (int)e;
}
void actscope_cuda_pinned_release(void *pointer) { cudaFreeHost(pointer); }
int actscope_cuda_zero(void *pointer, uint64_t bytes, struct CUstream_st *stream) {
  return (int)cudaMemsetAsync(pointer, 0, bytes, stream);
}
int actscope_cuda_upload(void *device, const void *host, uint64_t bytes, struct CUstream_st *stream) {
  return (int)cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream);
}
int actscope_cuda_upload_now(void *device, const void *host, uint64_t bytes) {
  return (int)cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice);
}
void actscope_cuda_memory_info(int index, actscope_memory *memory) {
  int before;
  size_t free_bytes = 0, total = 0;
  if (actscope_cuda_enter(index, &before)) return;
  if (cudaMemGetInfo(&free_bytes, &total) == cudaSuccess) {
    memory->device_total_bytes = total;
    memory->device_used_bytes = total - free_bytes;
  }
  actscope_cuda_leave(before);
}
int actscope_cuda_is_device(const void *pointer, int *device) {
  struct cudaPointerAttributes a;
  memset(&a, 0, sizeof a);
  cudaError_t e = cudaPointerGetAttributes(&a, pointer);
  *device = e == cudaSuccess && (a.type == cudaMemoryTypeDevice || a.type == cudaMemoryTypeManaged);
  return (int)e;
}

int actscope_cuda_capturing(struct CUstream_st *stream, int *capturing) {
  enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cudaError_t e = cudaStreamIsCapturing(stream, &status);
  *capturing = status != cudaStreamCaptureStatusNone;
  return (int)e;
}
int actscope_cuda_event_create(void **event) {
  return (int)cudaEventCreateWithFlags((cudaEvent_t *)event, cudaEventDisableTiming);
}
void actscope_cuda_event_destroy(void *event) { cudaEventDestroy((cudaEvent_t)event); }
int actscope_cuda_event_record(void *event, struct CUstream_st *stream) {
  return (int)cudaEventRecord((cudaEvent_t)event, stream);
}
int actscope_cuda_event_query(void *event) {
  cudaError_t e = cudaEventQuery((cudaEvent_t)event);
  if (e == cudaErrorNotReady) cudaGetLastError();
  return e == cudaErrorNotReady ? -1 : (int)e;
}
int actscope_cuda_event_wait(void *event) { return (int)cudaEventSynchronize((cudaEvent_t)event); }
