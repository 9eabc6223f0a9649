// hooks.cpp - tests/gpu/hooks.h under sim.
#include "gpu/hooks.h"

#include "simt.h"

static cudaGraphExec_t graph;
static cudaStream_t graph_stream;

extern "C" {
void hook_begin(const char *argument) {
  if (argument) simt::options.seed = strtoull(argument, nullptr, 10);
  if (simt::options.seed > 1) simt::runtime.order = simt::Order::random;
}
void hook_upload(void *device, const void *host, size_t bytes) {
  simt::drain();
  memcpy(device, host, bytes);
}
void hook_download(void *host, const void *device, size_t bytes) {
  simt::drain();
  memcpy(host, device, bytes);
}
cudaStream_t hook_stream(int k) {
  static cudaStream_t streams[2];
  if (!streams[k] && cudaStreamCreateWithFlags(&streams[k], cudaStreamNonBlocking) == cudaSuccess) simt::callers_stream(streams[k]);
  return streams[k];
}
int hook_capture_begin(cudaStream_t stream) { return cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal); }
int hook_capture_end(cudaStream_t stream) {
  cudaGraph_t recorded = nullptr;
  cudaError_t e = cudaStreamEndCapture(stream, &recorded);
  if (e != cudaSuccess) return e;
  if (graph) cudaGraphExecDestroy(graph);
  e = cudaGraphInstantiate(&graph, recorded, 0);
  cudaGraphDestroy(recorded);
  graph_stream = stream;
  return e;
}
int hook_replay(void) {
  cudaError_t e = cudaGraphLaunch(graph, graph_stream);
  return e == cudaSuccess ? cudaStreamSynchronize(graph_stream) : e;
}
int hook_sim(void) { return 1; }
int hook_order(int order) {
  simt::drain();
  simt::Order before = simt::runtime.order;
  simt::runtime.order = simt::Order(order);
  return int(before);
}
void hook_drain(void) { simt::drain(); }
void hook_fail(long n, int error) { simt::runtime.fail_at = n, simt::runtime.fail_with = cudaError_t(error); }
void hook_no_driver(void) { simt::runtime.no_driver = true; }
void hook_break(int error) { simt::runtime.sticky = cudaError_t(error); }
unsigned long hook_side_work(void) { return simt::runtime.side_work; }
unsigned long hook_synchronous(void) { return simt::runtime.synchronous; }
unsigned long hook_allocations(void) { return simt::runtime.allocations; }
size_t hook_damage(void) { return simt::runtime.damaged; }
size_t hook_held(void) { return simt::runtime.held; }
}
