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

static uint64_t held, held_peak; /* on all GPUs */

int actscope_cuda_allocate(void **pointer, uint64_t bytes) {
  cudaError_t e = cudaMalloc(pointer, bytes ? bytes : 1);
  if (e != cudaSuccess) return (int)e;
  uint64_t now = __atomic_add_fetch(&held, bytes, __ATOMIC_RELAXED), top = __atomic_load_n(&held_peak, __ATOMIC_RELAXED);
  while (now > top && !__atomic_compare_exchange_n(&held_peak, &top, now, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return 0;
}
void actscope_cuda_release(void *pointer, uint64_t bytes) {
  if (!pointer) return;
  __atomic_sub_fetch(&held, bytes, __ATOMIC_RELAXED);
  cudaFree(pointer);
}
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
void actscope_cuda_memory_info(int index, actscope_memory *memory) {
  int before;
  size_t free_bytes = 0, total = 0;
  memory->device_held_bytes = __atomic_load_n(&held, __ATOMIC_RELAXED);
  memory->device_held_peak_bytes = __atomic_load_n(&held_peak, __ATOMIC_RELAXED);
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
int actscope_cuda_stream_wait(struct CUstream_st *stream, void *event) {
  return (int)cudaStreamWaitEvent((cudaStream_t)stream, (cudaEvent_t)event, 0);
}
int actscope_cuda_stream_finish(struct CUstream_st *stream) { return (int)cudaStreamSynchronize((cudaStream_t)stream); }
void actscope_cuda_stream_settle(struct CUstream_st *stream) {
  cudaStreamSynchronize((cudaStream_t)stream);
  cudaGetLastError();
}

int actscope_cuda_stream_create(struct CUstream_st **stream) {
  return (int)cudaStreamCreateWithFlags((cudaStream_t *)stream, cudaStreamNonBlocking);
}
void actscope_cuda_stream_destroy(struct CUstream_st *stream) { cudaStreamDestroy((cudaStream_t)stream); }
int actscope_cuda_record_begin(struct CUstream_st *stream) {
  return (int)cudaStreamBeginCapture((cudaStream_t)stream, cudaStreamCaptureModeThreadLocal);
}
int actscope_cuda_record_end(struct CUstream_st *stream, void **graph) {
  cudaGraph_t g = NULL;
  cudaError_t e = cudaStreamEndCapture((cudaStream_t)stream, &g);
  *graph = e == cudaSuccess ? (void *)g : NULL;
  return (int)e;
}
void actscope_cuda_graph_destroy(void *graph) { cudaGraphDestroy((cudaGraph_t)graph); }
int actscope_cuda_exec_set(void **exec, void *graph) {
  cudaGraphExecUpdateResultInfo info;
  memset(&info, 0, sizeof info);
  if (*exec) {
    cudaError_t e = cudaGraphExecUpdate((cudaGraphExec_t)*exec, (cudaGraph_t)graph, &info);
    if (e == cudaSuccess) return 0;
    if (e != cudaErrorGraphExecUpdateFailure) return (int)e;
    cudaGetLastError();
    cudaGraphExecDestroy((cudaGraphExec_t)*exec);
    *exec = NULL;
  }
  cudaGraphExec_t made = NULL;
  cudaError_t e = cudaGraphInstantiate(&made, (cudaGraph_t)graph, 0);
  if (e == cudaSuccess) *exec = made;
  return (int)e;
}
int actscope_cuda_exec_launch(void *exec, struct CUstream_st *stream) {
  return (int)cudaGraphLaunch((cudaGraphExec_t)exec, (cudaStream_t)stream);
}
void actscope_cuda_exec_destroy(void *exec) { cudaGraphExecDestroy((cudaGraphExec_t)exec); }
