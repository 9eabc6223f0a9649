/* digits_cuda.cu - the digits network on a GPU: products by cuBLAS, the rest in the kernels below.
 *
 * Memory is one arena: the network's arrays, cuBLAS's workspace and actscope's lie in it, and nothing is allocated after the
 * first step. All work is on one stream of our own. The second step of a kind, with and without measurement, is recorded
 * as a graph, actscope_plan_enqueue() with it; the steps after it cost the host one copy of a batch and one launch. Every
 * sum has a fixed order: each run prints the same. */
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <string.h>

#include "digits.h"

enum { THREADS = 256, ARENA = 32 << 20, CUBLAS_BYTES = 8 << 20, UPLOADS = 2 };

static layer *net;
static cudaStream_t stream;
static cublasHandle_t handle;
static int units; /* multiprocessors */
static char *arena;
static size_t used;

struct upload { /* a batch in pinned host memory, and when it may be written again */
  float images[BATCH * PIXELS];
  int labels[BATCH];
};
static upload *uploads;
static cudaEvent_t uploaded[UPLOADS];
static int turn;
static float *input;
static int *label;
static outcome *last, *kept; /* on the device, in pinned host memory */

static struct {
  int seen;
  cudaGraphExec_t graph;
} steps[KINDS];

static void check(cudaError_t error, const char *what) {
  if (error != cudaSuccess) die(what, cudaGetErrorString(error));
}
static void check_cublas(cublasStatus_t status, const char *what) {
  if (status != CUBLAS_STATUS_SUCCESS) die(what, "cuBLAS refused it");
}

static void *take(size_t bytes, size_t alignment) {
  size_t at = (used + alignment - 1) / alignment * alignment;
  if (at + bytes > ARENA) die("arena", "too small");
  used = at + bytes;
  return arena + at;
}

/* ---- Kernels ----------------------------------------------------------------------------------------------------- */

#define EACH(i, count) \
  for (int i = (int)(blockIdx.x * blockDim.x + threadIdx.x); i < (count); i += (int)(gridDim.x * blockDim.x))

template <class... P, class... A>
static void launch(void (*kernel)(P...), int count, A... arguments) {
  int blocks = (count + THREADS - 1) / THREADS;
  cudaLaunchConfig_t c = {dim3((unsigned)(blocks < 8 * units ? blocks : 8 * units)), dim3(THREADS), 0, stream};
  check(cudaLaunchKernelEx(&c, kernel, P(arguments)...), "launch");
}

/* The 3x3 patches of a channels-last feature map; outside the map lies zero. */
__global__ void patches(int side, int stride, int channels, const float *map, float *rows, int count) {
  int reach = side / stride;
  EACH(i, count) {
    int c = i % channels, k = i / channels % 9, pixel = i / channels / 9;
    int n = pixel / (reach * reach), y = pixel / reach % reach * stride + k / 3 - 1, x = pixel % reach * stride + k % 3 - 1;
    bool inside = y >= 0 && y < side && x >= 0 && x < side;
    rows[i] = inside ? map[((n * side + y) * side + x) * channels + c] : 0;
  }
}

/* The gradient of a map from those of its patches: an element gathers from those it is in. */
__global__ void patches_back(int side, int stride, int channels, const float *rows, float *map, int count) {
  int reach = side / stride;
  EACH(i, count) {
    int c = i % channels, x = i / channels % side, y = i / channels / side % side, n = i / channels / side / side;
    float sum = 0;
    for (int k = 0; k < 9; ++k) {
      int from_y = y + 1 - k / 3, from_x = x + 1 - k % 3;
      if (from_y < 0 || from_x < 0 || from_y % stride || from_x % stride) continue;
      from_y /= stride, from_x /= stride;
      if (from_y < reach && from_x < reach) sum += rows[(((n * reach + from_y) * reach + from_x) * 9 + k) * channels + c];
    }
    map[i] = sum;
  }
}

__global__ void bias(float *y, const float *b, int out, int relu, int count) {
  EACH(i, count) {
    float v = y[i] + b[i % out];
    y[i] = relu && !(v > 0) ? 0 : v;
  }
}
__global__ void relu_back(float *dy, const float *y, int count) {
  EACH(i, count) if (y[i] <= 0) dy[i] = 0;
}
__global__ void column_sums(const float *x, float *sums, int rows, int columns) {
  EACH(j, columns) {
    float sum = 0;
    for (int i = 0; i < rows; ++i) sum += x[(size_t)i * columns + j];
    sums[j] = sum;
  }
}
__global__ void descend(float *w, float *v, const float *g, float rate, int count) {
  EACH(i, count) w[i] += v[i] = 0.9f * v[i] - rate / BATCH * g[i];
}

/* Softmax cross-entropy, a thread an image; one block. */
__global__ void softmax(const float *logits, const int *labels, float *gradient, int count, outcome *to) {
  __shared__ float each[BATCH];
  __shared__ int hit[BATCH];
  int n = (int)threadIdx.x;
  if (n < BATCH) {
    const float *y = logits + n * CLASSES;
    float sum = 0, e[CLASSES];
    int best = 0;
    for (int c = 1; c < CLASSES; ++c)
      if (y[c] > y[best]) best = c;
    for (int c = 0; c < CLASSES; ++c) sum += e[c] = expf(y[c] - y[best]);
    for (int c = 0; c < CLASSES; ++c) gradient[n * CLASSES + c] = e[c] / sum - (float)(c == labels[n]);
    each[n] = n < count ? logf(sum) + y[best] - y[labels[n]] : 0;
    hit[n] = n < count && best == labels[n];
  }
  __syncthreads();
  if (n == 0) {
    float total = 0;
    int hits = 0;
    for (int k = 0; k < BATCH; ++k) total += each[k], hits += hit[k];
    to->loss = total / (float)count;
    to->hits = hits;
  }
}

/* c[m, n] = a[m, k] b[k, n], all row-major, that is c' = b' a' to cuBLAS. a_turned: a is stored as [k, m]; b_turned: b as
 * [n, k]. */
static void product(float *c, const float *a, const float *b, int m, int k, int n, int a_turned, int b_turned) {
  const float one = 1, zero = 0;
  check_cublas(cublasSgemm(handle, b_turned ? CUBLAS_OP_T : CUBLAS_OP_N, a_turned ? CUBLAS_OP_T : CUBLAS_OP_N, n, m, k, &one,
                           b, b_turned ? k : n, a, a_turned ? m : k, &zero, c, n),
               "product");
}

/* ---- The engine -------------------------------------------------------------------------------------------------- */

static struct CUstream_st *start(layer *layers) {
  net = layers;
  int device;
  check(cudaGetDevice(&device), "device");
  check(cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount, device), "device");
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  check(cudaMalloc((void **)&arena, ARENA), "arena");
  check(cudaMemsetAsync(arena, 0, ARENA, stream), "arena");
  check_cublas(cublasCreate(&handle), "start");
  check_cublas(cublasSetStream(handle, stream), "stream");
  check_cublas(cublasSetWorkspace(handle, take(CUBLAS_BYTES, 256), CUBLAS_BYTES), "workspace");
  check(cudaHostAlloc((void **)&uploads, UPLOADS * sizeof *uploads, 0), "pinned memory");
  check(cudaHostAlloc((void **)&kept, sizeof *kept, 0), "pinned memory");
  for (int k = 0; k < UPLOADS; ++k) check(cudaEventCreateWithFlags(&uploaded[k], cudaEventDisableTiming), "event");
  input = (float *)take(sizeof uploads->images, 256);
  label = (int *)take(sizeof uploads->labels, 256);
  last = (outcome *)take(sizeof *last, 256);
  return stream;
}

static float *zeros(size_t count) { return (float *)take(count * sizeof(float), 256); }
static void finish(void) { check(cudaStreamSynchronize(stream), "training"); }

static void put(float *to, const float *from, size_t count) {
  check(cudaMemcpyAsync(to, from, count * sizeof *to, cudaMemcpyHostToDevice, stream), "copy");
  finish();
}
static void fetch(float *to, const float *from, size_t count) {
  check(cudaMemcpyAsync(to, from, count * sizeof *to, cudaMemcpyDeviceToHost, stream), "copy");
  finish();
}

static void batch(const float *images, const int *labels) {
  upload *u = &uploads[turn];
  check(cudaEventSynchronize(uploaded[turn]), "upload"); /* of the batch before the last */
  memcpy(u->images, images, sizeof u->images);
  memcpy(u->labels, labels, sizeof u->labels);
  check(cudaMemcpyAsync(input, u->images, sizeof u->images, cudaMemcpyHostToDevice, stream), "upload");
  check(cudaMemcpyAsync(label, u->labels, sizeof u->labels, cudaMemcpyHostToDevice, stream), "upload");
  check(cudaEventRecord(uploaded[turn], stream), "upload");
  turn = (turn + 1) % UPLOADS;
}

static void forward(void) {
  for (layer *l = net; l < net + LAYERS; ++l) {
    int m = BATCH * l->rows;
    if (l->side) launch(patches, m * l->in, l->side, l->stride, l->channels, l == net ? input : l[-1].y, l->x, m * l->in);
    product(l->y, l->x, l->w, m, l->in, l->out, 0, 0);
    launch(bias, m * l->out, l->y, l->b, l->out, l->relu, m * l->out);
  }
}

static void loss(int count) { launch(softmax, 1, net[FC3].y, label, net[FC3].dy, count, last); }
static void keep_result(void) {
  check(cudaMemcpyAsync(kept, last, sizeof *kept, cudaMemcpyDeviceToHost, stream), "copy");
}

static void backward(void) {
  static float *gradient; /* of patches */
  if (!gradient) gradient = zeros((size_t)BATCH * 64 * 9 * 16);
  for (layer *l = net + LAYERS - 1; l >= net; --l) {
    int m = BATCH * l->rows;
    product(l->gw, l->x, l->dy, l->in, m, l->out, 1, 0);
    launch(column_sums, l->out, l->dy, l->gb, m, l->out);
    if (l == net) break;
    layer *before = l - 1;
    int outputs = BATCH * before->rows * before->out;
    product(l->side ? gradient : before->dy, l->dy, l->w, m, l->out, l->in, 0, 1);
    if (l->side) launch(patches_back, outputs, l->side, l->stride, l->channels, gradient, before->dy, outputs);
    launch(relu_back, outputs, before->dy, before->y, outputs);
  }
}

static void update(float rate) {
  for (layer *l = net; l < net + LAYERS; ++l) {
    launch(descend, l->in * l->out, l->w, l->vw, l->gw, rate, l->in * l->out);
    launch(descend, l->out, l->b, l->vb, l->gb, rate, l->out);
  }
}

/* The first step of a kind runs as it comes: whoever takes memory at first use has then taken it. The second is recorded. */
static int begin(int kind) {
  if (++steps[kind].seen == 2) check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording");
  return steps[kind].seen <= 2;
}
static void end(int kind) {
  if (steps[kind].seen == 2) {
    cudaGraph_t graph;
    check(cudaStreamEndCapture(stream, &graph), "recording");
    check(cudaGraphInstantiate(&steps[kind].graph, graph, 0), "graph");
    check(cudaGraphDestroy(graph), "graph");
  }
  if (steps[kind].seen >= 2) check(cudaGraphLaunch(steps[kind].graph, stream), "graph");
}

static outcome kept_result(void) { return *kept; }

const engine digits_cuda = {ACTSCOPE_DEVICE_CUDA, start,    zeros,  take, put,    fetch,      batch, begin, forward, loss,
                            keep_result,          backward, update, end,  finish, kept_result};
