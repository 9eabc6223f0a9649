/* runtime.h - the little of the CUDA runtime that the host side calls, without its types: errors are its numbers (0 is
 * success), and actscope_cuda_fail() makes them a status with a text. */
#ifndef ACTSCOPE_CUDA_RUNTIME_H
#define ACTSCOPE_CUDA_RUNTIME_H

#include "actscope.h"

/* "what: the runtime's own text", with the status that fits: OUT_OF_MEMORY, NO_DEVICE or DEVICE_ERROR. */
actscope_status actscope_cuda_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- Devices --------------------------------------------------------------------------------------------------------- */
/* *count is set on success alone: without a driver the runtime says so (35) and leaves it unwritten. */
int actscope_cuda_devices(int *count);
struct cuda_device {
  char name[128];
  int major, minor, units;
  uint64_t memory;
};
int actscope_cuda_describe(int index, struct cuda_device *device);
/* Whether the environment asks for the pairs kernel of sm_90a: ACTSCOPE_CORRELATION_KERNEL is wgmma; not so when it is auto,
 * mma, empty or not there. Anything else is INVALID_ARGUMENT, wgmma where it cannot run UNSUPPORTED. */
actscope_status actscope_cuda_wants_wgmma(int ordinal, int *wgmma);
/* Makes a device the thread's current one; *before is what actscope_cuda_leave() goes back to. */
int actscope_cuda_enter(int index, int *before);
void actscope_cuda_leave(int before);
/* In words why there is no device: from the error of actscope_cuda_devices(). */
const char *actscope_cuda_no_device_text(int error);

/* ---- Memory ---------------------------------------------------------------------------------------------------------- */
int actscope_cuda_allocate(void **pointer, uint64_t bytes);
void actscope_cuda_release(void *pointer, uint64_t bytes); /* as many as were allocated: they are counted */
int actscope_cuda_pinned_allocate(void **pointer, uint64_t bytes); /* host memory that the device can write, zeroed */
void actscope_cuda_pinned_release(void *pointer);
int actscope_cuda_zero(void *pointer, uint64_t bytes, struct CUstream_st *stream);
/* From pageable memory: it may be used again when the call returns. */
int actscope_cuda_upload(void *device, const void *host, uint64_t bytes, struct CUstream_st *stream);
/* Of everything allocated through the two functions above, on all GPUs, and of GPU `index` by everybody. */
void actscope_cuda_memory_info(int index, actscope_memory *memory);
/* *device is 1 when kernels on this device may read the memory where it is. */
int actscope_cuda_is_device(const void *pointer, int *device);

/* ---- Streams and events ----------------------------------------------------------------------------------------------- */
int actscope_cuda_capturing(struct CUstream_st *stream, int *capturing);
int actscope_cuda_event_create(void **event);
void actscope_cuda_event_destroy(void *event);
int actscope_cuda_event_record(void *event, struct CUstream_st *stream);
/* 0 when all before the record has finished, -1 while it runs, else the error. */
int actscope_cuda_event_query(void *event);
int actscope_cuda_event_wait(void *event);
/* What is put on the stream from now on waits for all before the record; the host does not. */
int actscope_cuda_stream_wait(struct CUstream_st *stream, void *event);
int actscope_cuda_stream_finish(struct CUstream_st *stream); /* waits for all that was put on it */
void actscope_cuda_stream_settle(struct CUstream_st *stream); /* waits, where something has failed already */

/* ---- Graphs --------------------------------------------------------------------------------------------------------------- */
int actscope_cuda_stream_create(struct CUstream_st **stream);
void actscope_cuda_stream_destroy(struct CUstream_st *stream);
/* Between these two, what this thread puts on the stream is recorded. *graph is NULL on an error. */
int actscope_cuda_record_begin(struct CUstream_st *stream);
int actscope_cuda_record_end(struct CUstream_st *stream, void **graph);
void actscope_cuda_graph_destroy(void *graph);
/* Makes *exec run this graph: updates it in place where that will do, else replaces it. */
int actscope_cuda_exec_set(void **exec, void *graph);
int actscope_cuda_exec_launch(void *exec, struct CUstream_st *stream);
void actscope_cuda_exec_destroy(void *exec);

#endif
