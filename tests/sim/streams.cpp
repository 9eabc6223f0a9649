// streams.cpp - streams, events, captures and graphs of sim's runtime.
//
// Contents   work · streams and events · captures and graphs
//
// Work is what is put on a stream, and what it has to wait for: the work before it on the stream, and that before the events
// that the stream waits for. Any order that keeps to this is one that a GPU may take; runtime.order (simt.h) says which is
// taken. A join that is missing shows when side streams run late, a fork that is missing when they run early, and memory that
// two branches share in a random order. A graph holds the same for what a capture recorded, and is launched as one piece of
// work.
#include <algorithm>
#include <memory>

#include "simt.h"

namespace simt {
static Runtime from_environment() {
  Runtime r;
  if (const char *order = getenv("SIMT_ORDER")) r.order = Order(atoi(order));
  return r;
}
Runtime runtime = from_environment();

// An error of the device stays: everything after it fails alike.
cudaError_t entered() {
  if (runtime.sticky != cudaSuccess) return runtime.sticky;
  if (runtime.fail_at > 0 && --runtime.fail_at == 0) return runtime.fail_with;
  return cudaSuccess;
}
cudaError_t forbidden() {
  ++runtime.synchronous;
  return runtime.captures ? cudaErrorStreamCaptureUnsupported : entered();
}

// ---- Work ------------------------------------------------------------------------------------------------------------
struct Work {
  std::function<cudaError_t()> go;
  std::vector<std::shared_ptr<Work>> after;
  bool side, done = false, wanted = false;
  bool ready() const {
    return std::all_of(after.begin(), after.end(), [](const std::shared_ptr<Work> &w) { return w->done; });
  }
};
using Works = std::vector<std::shared_ptr<Work>>;
static Works pending;  // in the order of the program

static uint64_t draw() {
  static uint64_t state;
  uint64_t z = (state += 0x9E3779B97F4A7C15ull) + options.seed;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}
// One of those that may run, as the order has it; NULL when none may.
static std::shared_ptr<Work> choose(const Works &from, bool wanted) {
  Works may;
  for (auto &w : from)
    if (!w->done && (w->wanted || !wanted) && w->ready()) may.push_back(w);
  if (may.empty()) return nullptr;
  if (runtime.order == Order::random) return may[draw() % may.size()];
  for (auto &w : may)
    if (runtime.order != Order::program && w->side == (runtime.order == Order::early)) return w;
  return may[0];
}
static cudaError_t run(const std::shared_ptr<Work> &w) {
  cudaError_t e = runtime.sticky != cudaSuccess ? runtime.sticky : w->go();
  w->done = true, w->after.clear(), w->go = nullptr;
  return e;
}
static void run_pending(const std::shared_ptr<Work> &w) {
  cudaError_t e = run(w);
  if (e != cudaSuccess) runtime.sticky = e;
  pending.erase(std::find(pending.begin(), pending.end(), w));
}
static bool done(const Works &works) {
  return std::all_of(works.begin(), works.end(), [](const std::shared_ptr<Work> &w) { return w->done; });
}
static void want(const Works &works) {
  for (auto &w : works)
    if (!w->done && !w->wanted) w->wanted = true, want(w->after);
}
static cudaError_t wait_for(const Works &works) {
  want(works);
  while (!done(works)) run_pending(choose(pending, runtime.order == Order::late));
  return runtime.sticky;
}
cudaError_t drain() {
  while (!pending.empty()) run_pending(choose(pending, false));
  return runtime.sticky;
}

// ---- Streams and events ----------------------------------------------------------------------------------------------
struct Capture {  // what is recorded: a node waits for earlier ones
  struct Node {
    std::function<cudaError_t()> go;
    std::vector<size_t> after;
    bool side;
  };
  std::vector<Node> nodes;
  struct Stream *origin;
  std::vector<struct Stream *> streams;
  bool over = false;
};
struct Stream {
  bool side = false;
  Works last;                        // what comes next waits for these
  std::shared_ptr<Capture> capture;  // NULL: runs
  std::vector<size_t> last_nodes;
};
struct Event {
  Works last;
  std::shared_ptr<Capture> capture;
  std::vector<size_t> last_nodes;
};
static Stream &of(cudaStream_t stream) {
  static Stream standard;
  return stream ? *reinterpret_cast<Stream *>(stream) : standard;
}
static Event &of(cudaEvent_t event) { return *reinterpret_cast<Event *>(event); }
void callers_stream(cudaStream_t stream) { of(stream).side = false; }

bool is_side(cudaStream_t stream) {
  const Stream &s = of(stream);
  return s.capture ? &s != s.capture->origin : s.side;
}

cudaError_t submit(cudaStream_t stream, std::function<cudaError_t()> go) {
  cudaError_t e = entered();
  if (e != cudaSuccess) return e;
  Stream &s = of(stream);
  if (s.capture) {
    s.capture->nodes.push_back({std::move(go), s.last_nodes, &s != s.capture->origin});
    s.last_nodes = {s.capture->nodes.size() - 1};
    return cudaSuccess;
  }
  auto w = std::make_shared<Work>();
  w->go = std::move(go), w->after = s.last, w->side = s.side;
  s.last = {w};
  if (runtime.order == Order::program) return run(w);
  pending.push_back(w);
  if (runtime.order == Order::early && w->side) wait_for({w});
  while (runtime.order == Order::random && draw() % 2 && !pending.empty()) run_pending(choose(pending, false));
  return cudaSuccess;
}
template <class T>
static void unite(std::vector<T> &a, const std::vector<T> &b) {
  for (auto &x : b)
    if (std::find(a.begin(), a.end(), x) == a.end()) a.push_back(x);
}
}  // namespace simt
using namespace simt;

// ---- Captures and graphs ---------------------------------------------------------------------------------------------
// An executable graph may take over another whose nodes depend on each other alike, as the real one takes over the same nodes
// with other parameters.
struct CUgraph_st { std::vector<Capture::Node> nodes; };
struct CUgraphExec_st : CUgraph_st {};

extern "C" {
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  cudaError_t e = forbidden();
  if (e != cudaSuccess) return e;
  auto *s = new Stream;
  s->side = true;
  return *stream = reinterpret_cast<cudaStream_t>(s), cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return delete &of(stream), cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  cudaError_t e = forbidden();
  return e == cudaSuccess ? wait_for(of(stream).last) : e;
}
cudaError_t cudaDeviceSynchronize(void) {
  cudaError_t e = forbidden();
  return e == cudaSuccess ? drain() : e;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
  *status = of(stream).capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return runtime.sticky;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  cudaError_t e = entered();
  if (e == cudaSuccess) *event = reinterpret_cast<cudaEvent_t>(new Event);
  return e;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete &of(event), cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  cudaError_t e = entered();
  if (e != cudaSuccess) return e;
  const Stream &s = of(stream);
  of(event) = {s.capture ? Works() : s.last, s.capture, s.last_nodes};
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  cudaError_t e = entered();
  if (e != cudaSuccess) return e;
  Stream &s = of(stream);
  const Event &v = of(event);
  if (!v.capture) {
    if (s.capture) return cudaErrorStreamCaptureIsolation;
    return unite(s.last, v.last), cudaSuccess;
  }
  if (v.capture->over || stream == nullptr) return cudaErrorCapturedEvent;
  if (s.capture && s.capture != v.capture) return cudaErrorStreamCaptureIsolation;
  if (!s.capture) s.capture = v.capture, s.last_nodes.clear(), v.capture->streams.push_back(&s);
  return unite(s.last_nodes, v.last_nodes), cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (of(event).capture) return cudaErrorCapturedEvent;
  if (runtime.sticky != cudaSuccess) return runtime.sticky;
  return done(of(event).last) ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (of(event).capture) return cudaErrorCapturedEvent;
  cudaError_t e = forbidden();
  return e == cudaSuccess ? wait_for(of(event).last) : e;
}
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t, cudaEvent_t) { return *milliseconds = 1, cudaSuccess; }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  cudaError_t e = entered();
  if (e != cudaSuccess) return e;
  Stream &s = of(stream);
  if (stream == nullptr || s.capture) return cudaErrorStreamCaptureUnsupported;
  s.capture = std::make_shared<Capture>();
  s.capture->origin = &s, s.capture->streams = {&s}, s.last_nodes.clear();
  return ++runtime.captures, cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  *graph = nullptr;
  auto c = of(stream).capture;
  if (!c || c->origin != &of(stream)) return cudaErrorStreamCaptureUnsupported;
  std::vector<bool> joined(c->nodes.size());
  for (size_t k : of(stream).last_nodes) joined[k] = true;
  for (size_t k = c->nodes.size(); k-- > 0;)
    for (size_t before : c->nodes[k].after)
      if (joined[k]) joined[before] = true;
  for (Stream *s : c->streams) s->capture = nullptr, s->last_nodes.clear();
  c->over = true, --runtime.captures;
  cudaError_t e = entered();
  if (e != cudaSuccess) return e;
  if (std::find(joined.begin(), joined.end(), false) != joined.end()) return cudaErrorStreamCaptureUnjoined;
  return *graph = new CUgraph_st{c->nodes}, cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  cudaError_t e = forbidden();
  if (e == cudaSuccess) (*exec = new CUgraphExec_st)->nodes = graph->nodes;
  return e;
}
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info) {
  cudaError_t e = entered();
  if (e != cudaSuccess) return e;
  const auto &a = exec->nodes, &b = graph->nodes;
  const bool same = std::equal(a.begin(), a.end(), b.begin(), b.end(),
                               [](const Capture::Node &x, const Capture::Node &y) { return x.after == y.after; });
  info->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
  if (!same) return cudaErrorGraphExecUpdateFailure;
  return exec->nodes = graph->nodes, cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  auto nodes = exec->nodes;
  return submit(stream, [nodes] {
    Works works;
    for (auto &n : nodes) {
      works.push_back(std::make_shared<Work>());
      works.back()->go = n.go, works.back()->side = n.side;
      for (size_t k : n.after) works.back()->after.push_back(works[k]);
    }
    while (auto w = choose(works, false)) {
      cudaError_t e = run(w);
      if (e != cudaSuccess) return e;
    }
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return delete exec, cudaSuccess; }
}
