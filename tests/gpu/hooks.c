/* hooks.c - tests/gpu/hooks.h on a device. */
#include "gpu/hooks.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(call)                                                                                  \
  do {                                                                                              \
    cudaError_t e_ = (call);                                                                        \
    if (e_ != cudaSuccess) fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(e_)), exit(3);     \
  } while (0)

static cudaGraphExec_t graph;
static cudaStream_t graph_stream;

void hook_begin(const char *argument) { (void)argument; }
void hook_upload(void *device, const void *host, size_t bytes) {
  MUST(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
  MUST(cudaDeviceSynchronize()); /* from pageable memory the copy may end after the call */
}
void hook_download(void *host, const void *device, size_t bytes) {
  MUST(cudaDeviceSynchronize());
  MUST(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
}
cudaStream_t hook_stream(int k) {
  static cudaStream_t streams[2];
  if (!streams[k]) MUST(cudaStreamCreateWithFlags(&streams[k], cudaStreamNonBlocking));
  return streams[k];
}
int hook_capture_begin(cudaStream_t stream) { return (int)cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal); }
int hook_capture_end(cudaStream_t stream) {
  cudaGraph_t recorded = NULL;
  cudaError_t e = cudaStreamEndCapture(stream, &recorded);
  if (e != cudaSuccess) return (int)e;
  if (graph) MUST(cudaGraphExecDestroy(graph));
  e = cudaGraphInstantiate(&graph, recorded, 0);
  cudaGraphDestroy(recorded);
  graph_stream = stream;
  return (int)e;
}
int hook_replay(void) {
  cudaError_t e = cudaGraphLaunch(graph, graph_stream);
  return (int)(e == cudaSuccess ? cudaStreamSynchronize(graph_stream) : e);
}
int hook_sim(void) { return 0; }
int hook_order(int order) { return order; }
void hook_drain(void) {}
void hook_fail(long n, int error) { (void)n, (void)error; }
void hook_no_driver(void) {}
void hook_break(int error) { (void)error; }
unsigned long hook_side_work(void) { return 0; }
unsigned long hook_synchronous(void) { return 0; }
unsigned long hook_allocations(void) { return 0; }
size_t hook_damage(void) { return 0; }
size_t hook_held(void) { return 0; }
