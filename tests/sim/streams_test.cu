// streams_test.cu - sim's streams and events: what is joined is right in every order, what is not is noticed in one of them.
#include "gpu.cuh"
#include "test.h"

namespace {
__global__ void set(int *x, int v) {
  if (threadIdx.x == 0) *x = v;
}
__global__ void append(int *x, int digit) {
  if (threadIdx.x == 0) *x = *x * 10 + digit;
}

struct Streams {
  cudaStream_t main, side;
  cudaEvent_t fork, join;
  simt::Order before = simt::runtime.order;
  Streams() {
    CHECK(cudaStreamCreateWithFlags(&main, cudaStreamNonBlocking) == 0 && cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking) == 0);
    CHECK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming) == 0 && cudaEventCreateWithFlags(&join, cudaEventDisableTiming) == 0);
    simt::callers_stream(main);
  }
  ~Streams() {
    simt::drain();
    simt::runtime.order = before;
    cudaStreamDestroy(main), cudaStreamDestroy(side), cudaEventDestroy(fork), cudaEventDestroy(join);
  }
  // x: 1 on main; 2 on the side; y: 5 on main meanwhile; then x: 3 on main.
  int work(int *x, int *y, bool forks, bool joins) {
    int e = gpu_launch(set, dim3(1), dim3(32), 0, main, x, 1);
    e |= cudaEventRecord(fork, main);
    if (forks) e |= cudaStreamWaitEvent(side, fork, 0);
    e |= gpu_launch(append, dim3(1), dim3(32), 0, side, x, 2);
    e |= cudaEventRecord(join, side);
    e |= gpu_launch(set, dim3(1), dim3(32), 0, main, y, 5);
    if (joins) e |= cudaStreamWaitEvent(main, join, 0);
    e |= gpu_launch(append, dim3(1), dim3(32), 0, main, x, 3);
    return e;
  }
};
constexpr int kRounds = 50;
const simt::Order orders[] = {simt::Order::program, simt::Order::late, simt::Order::early, simt::Order::random};

// How many of some rounds end as they should, in an order.
int right(simt::Order order, bool forks, bool joins) {
  Streams s;
  Device<int> x(1), y(1);
  int n = 0;
  for (int k = 0; k < kRounds; ++k) {
    x.zero();
    simt::runtime.order = order;
    CHECK(s.work(x.p, y.p, forks, joins) == 0);
    CHECK(cudaStreamSynchronize(s.main) == 0);
    n += x[0] == 123 && y[0] == 5;
    simt::drain();
  }
  return n;
}
}  // namespace

TEST(streams_orders) {
  for (simt::Order order : orders) {
    SHAPE("order %d", int(order));
    CHECK(right(order, true, true) == kRounds);
  }
  CHECK(right(simt::Order::late, true, false) == 0);
  CHECK(right(simt::Order::early, false, true) == 0);
  CHECK(right(simt::Order::random, true, false) < kRounds);
  CHECK(right(simt::Order::random, false, true) < kRounds);
  CHECK(right(simt::Order::program, false, false) == kRounds);
}

TEST(streams_wait_for_no_more_than_asked) {
  Streams s;
  Device<int> x(2);
  x.zero();
  simt::runtime.order = simt::Order::late;
  CHECK(gpu_launch(set, dim3(1), dim3(32), 0, s.main, x.p, 1) == 0);
  CHECK(cudaEventRecord(s.fork, s.main) == 0);
  CHECK(gpu_launch(set, dim3(1), dim3(32), 0, s.main, x.p + 1, 1) == 0);
  CHECK(cudaEventQuery(s.fork) == cudaErrorNotReady);
  CHECK(cudaEventSynchronize(s.fork) == 0 && cudaEventQuery(s.fork) == cudaSuccess);
  CHECK(x[0] == 1 && x[1] == 0);
}

TEST(streams_capture) {
  Streams s;
  Device<int> x(1), y(1);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  cudaStreamCaptureStatus status;
  CHECK(cudaStreamBeginCapture(s.main, cudaStreamCaptureModeGlobal) == 0);
  CHECK(s.work(x.p, y.p, true, true) == 0);
  CHECK(cudaStreamIsCapturing(s.side, &status) == 0 && status == cudaStreamCaptureStatusActive);
  CHECK(cudaEventQuery(s.join) == cudaErrorCapturedEvent);
  CHECK(cudaStreamEndCapture(s.main, &graph) == 0 && graph);
  CHECK(cudaStreamIsCapturing(s.side, &status) == 0 && status == cudaStreamCaptureStatusNone);
  if (!graph) return;
  CHECK(cudaGraphInstantiate(&exec, graph, 0) == 0);
  for (simt::Order order : orders) {
    x.zero(), y.zero();
    simt::runtime.order = order;
    CHECK(cudaGraphLaunch(exec, s.main) == 0 && cudaStreamSynchronize(s.main) == 0);
    CHECK(x[0] == 123 && y[0] == 5);
  }
  cudaGraphDestroy(graph), cudaGraphExecDestroy(exec);
  // what a device refuses: a branch that does not come back, an event of outside
  CHECK(cudaStreamBeginCapture(s.main, cudaStreamCaptureModeGlobal) == 0);
  CHECK(s.work(x.p, y.p, true, false) == 0);
  CHECK(cudaStreamEndCapture(s.main, &graph) == cudaErrorStreamCaptureUnjoined && !graph);
  CHECK(cudaStreamWaitEvent(s.side, s.join, 0) == cudaErrorCapturedEvent);
  CHECK(cudaEventRecord(s.join, s.side) == 0);
  CHECK(cudaStreamBeginCapture(s.main, cudaStreamCaptureModeGlobal) == 0);
  CHECK(cudaStreamWaitEvent(s.main, s.join, 0) == cudaErrorStreamCaptureIsolation);
  CHECK(cudaStreamEndCapture(s.main, &graph) == 0);
  cudaGraphDestroy(graph);
}
