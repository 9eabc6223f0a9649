/* gpu.c - gpu.h on CUDA's runtime, or on the one of tests/sim. */
#include "gpu.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "reference/data.h"
#include "reference/reference.h"

/* A flush writes so much that what was in the L2 cache (60 MB at most today) is gone, and that the host has time to queue
 * some dozens of launches behind it: 512 MiB take more than 100 us on any GPU. */
enum { FLUSH_BYTES = 512 << 20 };

struct gpu {
  int index;
  char name[128];
  cudaStream_t stream;
  cudaEvent_t start, stop;
  void *flush; /* made when it is first needed */
};

struct gpu *gpu_open(int index) {
  struct gpu *g = calloc(1, sizeof *g);
  struct cudaDeviceProp p;
  if (!g) return NULL;
  g->index = index;
  if (cudaSetDevice(index) == cudaSuccess && cudaGetDeviceProperties(&p, index) == cudaSuccess &&
      cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking) == cudaSuccess &&
      cudaEventCreateWithFlags(&g->start, cudaEventDefault) == cudaSuccess &&
      cudaEventCreateWithFlags(&g->stop, cudaEventDefault) == cudaSuccess) {
    snprintf(g->name, sizeof g->name, "%.127s", p.name);
    return g;
  }
  fprintf(stderr, "actscope-bench: GPU %d: %s\n", index, cudaGetErrorString(cudaGetLastError()));
  gpu_close(g);
  return NULL;
}

void gpu_close(struct gpu *g) {
  if (!g) return;
  if (g->flush) cudaFree(g->flush);
  if (g->start) cudaEventDestroy(g->start);
  if (g->stop) cudaEventDestroy(g->stop);
  if (g->stream) cudaStreamDestroy(g->stream);
  free(g);
}

const char *gpu_name(const struct gpu *g) { return g->name; }
int gpu_index(const struct gpu *g) { return g->index; }
struct CUstream_st *gpu_stream(const struct gpu *g) { return g->stream; }

void *gpu_allocate(struct gpu *g, uint64_t bytes) {
  void *p = NULL;
  (void)g;
  if (cudaMalloc(&p, bytes ? bytes : 1) == cudaSuccess) return p;
  cudaGetLastError();
  return NULL;
}
void gpu_release(void *pointer) {
  if (pointer) cudaFree(pointer);
}
/* The three below run on the default stream, which ours does not wait for: they have ended when they return. */
static int ended(cudaError_t e) { return (int)(e == cudaSuccess ? cudaDeviceSynchronize() : e); }
int gpu_upload(void *device, const void *host, uint64_t bytes) {
  return ended(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
}
int gpu_poison(void *device, uint64_t bytes) { return ended(cudaMemset(device, 0xFF, bytes)); }
int gpu_copy(void *to, const void *from, uint64_t bytes) { return ended(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToDevice)); }
int gpu_wait(struct gpu *g) { return (int)cudaStreamSynchronize(g->stream); }

double gpu_time(struct gpu *g, gpu_work work, void *user, int batch, int cold) {
  float milliseconds = 0;
  if (cold && !g->flush && !(g->flush = gpu_allocate(g, FLUSH_BYTES))) return -1;
  if (cold && cudaMemsetAsync(g->flush, 1, FLUSH_BYTES, g->stream) != cudaSuccess) return -1;
  if (cudaEventRecord(g->start, g->stream) != cudaSuccess) return -1;
  for (int k = 0; k < batch; ++k)
    if (work(user, g->stream)) return -1;
  if (cudaEventRecord(g->stop, g->stream) != cudaSuccess || cudaEventSynchronize(g->stop) != cudaSuccess) return -1;
  if (cudaEventElapsedTime(&milliseconds, g->start, g->stop) != cudaSuccess) return -1;
  return 1e-3 * (double)milliseconds / batch;
}

/* ---- Graphs -------------------------------------------------------------------------------------------------------------- */

struct gpu_graph {
  cudaGraphExec_t graph;
};
struct gpu_graph *gpu_record(struct gpu *g, gpu_work work, void *user) {
  cudaGraph_t recorded = NULL;
  struct gpu_graph *made = calloc(1, sizeof *made);
  if (!made || cudaStreamBeginCapture(g->stream, cudaStreamCaptureModeGlobal) != cudaSuccess) {
    free(made);
    return NULL;
  }
  int failed = work(user, g->stream);
  failed |= cudaStreamEndCapture(g->stream, &recorded) != cudaSuccess;
  if (!failed) failed = cudaGraphInstantiate(&made->graph, recorded, 0) != cudaSuccess;
  if (recorded) cudaGraphDestroy(recorded);
  if (!failed) return made;
  cudaGetLastError();
  free(made);
  return NULL;
}
int gpu_replay(void *graph, struct CUstream_st *stream) { return (int)cudaGraphLaunch(((struct gpu_graph *)graph)->graph, stream); }
void gpu_forget(struct gpu_graph *graph) {
  if (!graph) return;
  cudaGraphExecDestroy(graph->graph);
  free(graph);
}

/* ---- Counting: the linker sends every call of these names here (mk/bench.mk) ------------------------------------------------ */

static struct gpu_counts counts;
void gpu_count_start(void) { memset(&counts, 0, sizeof counts); }
struct gpu_counts gpu_count_stop(void) { return counts; }

#define COUNTED(what, name, parameters, arguments)                \
  cudaError_t __real_##name parameters __attribute__((weak));     \
  cudaError_t __wrap_##name parameters;                           \
  cudaError_t __wrap_##name parameters {                          \
    ++counts.what;                                                \
    return __real_##name arguments;                               \
  }
COUNTED(allocations, cudaMalloc, (void **p, size_t n), (p, n))
COUNTED(allocations, cudaHostAlloc, (void **p, size_t n, unsigned f), (p, n, f))
COUNTED(synchronisations, cudaFree, (void *p), (p)) /* waits for the device */
COUNTED(synchronisations, cudaFreeHost, (void *p), (p))
COUNTED(synchronisations, cudaMemcpy, (void *a, const void *b, size_t n, enum cudaMemcpyKind k), (a, b, n, k))
COUNTED(synchronisations, cudaDeviceSynchronize, (void), ())
COUNTED(synchronisations, cudaStreamSynchronize, (cudaStream_t s), (s))
COUNTED(synchronisations, cudaEventSynchronize, (cudaEvent_t e), (e))
COUNTED(launches, cudaGraphLaunch, (cudaGraphExec_t g, cudaStream_t s), (g, s))
#ifdef CUDART_VERSION /* the rest is beyond sim's runtime */
COUNTED(allocations, cudaMallocAsync, (void **p, size_t n, cudaStream_t s), (p, n, s))
COUNTED(allocations, cudaMallocManaged, (void **p, size_t n, unsigned f), (p, n, f))
COUNTED(allocations, cudaMallocHost, (void **p, size_t n), (p, n))
COUNTED(allocations, cudaFreeAsync, (void *p, cudaStream_t s), (p, s))
COUNTED(launches, cudaLaunchKernel, (const void *f, dim3 g, dim3 b, void **a, size_t n, cudaStream_t s), (f, g, b, a, n, s))
COUNTED(launches, cudaLaunchKernelExC, (const cudaLaunchConfig_t *c, const void *f, void **a), (c, f, a))
#endif

/* ---- Feature moments and z-scores -------------------------------------------------------------------------------------------- */

struct gpu_scores {
  struct gpu *gpu;
  struct view view;
  int64_t shape[2];
  struct cuda_layers layers;
  unsigned *counters;
  void *scratch;
  char *memory;
};

struct gpu_scores *gpu_scores_open(struct gpu *g, int dtype, uint64_t samples, uint64_t features, size_t *bytes) {
  struct gpu_scores *s = calloc(1, sizeof *s);
  uint64_t scratch, counters;
  if (!s) return NULL;
  s->gpu = g, s->shape[0] = (int64_t)samples, s->shape[1] = (int64_t)features;
  const actscope_tensor tensor = {NULL, (actscope_dtype)dtype, 2, s->shape, NULL};
  view_init(&s->view, &tensor, 0);
  actscope_cuda_layers_begin(&s->layers);
  struct cuda_layer *l = actscope_cuda_layers_add(&s->layers, &s->view);
  actscope_cuda_standardise_scratch(&s->layers, &scratch, &counters);
  const uint64_t z = features * actscope_cuda_pitch(samples) * 2;
  const uint64_t parts[] = {counters * 4, sizeof(struct cuda_features), features * sizeof(struct column), features * 4, z, z, features * 4, scratch};
  char *at[8];
  *bytes = 0;
  for (int k = 0; k < 8; ++k) *bytes += (parts[k] + 255) / 256 * 256;
  s->memory = gpu_allocate(g, *bytes);
  if (!s->memory || gpu_poison(s->memory, *bytes) || cudaMemset(s->memory, 0, parts[0]) != cudaSuccess || gpu_wait(g)) {
    gpu_scores_close(s);
    return NULL;
  }
  at[0] = s->memory;
  for (int k = 1; k < 8; ++k) at[k] = at[k - 1] + (parts[k - 1] + 255) / 256 * 256;
  s->counters = (unsigned *)at[0], s->scratch = at[7];
  l->features_out = (struct cuda_features *)at[1], l->columns = (struct column *)at[2], l->list = (uint32_t *)at[3];
  l->z_hi = (uint16_t *)at[4], l->z_lo = (uint16_t *)at[5], l->weight = (float *)at[6];
  return s;
}
void gpu_scores_close(struct gpu_scores *s) {
  if (!s) return;
  gpu_release(s->memory);
  free(s);
}

int gpu_scores_run(struct gpu_scores *s, const void *data, struct CUstream_st *stream) {
  s->layers.layer[0].data = data;
  int error = actscope_cuda_columns(&s->layers, s->scratch, s->counters, stream);
  if (!error) error = actscope_cuda_select(&s->layers, stream);
  return error ? error : actscope_cuda_standardise(&s->layers, s->scratch, s->counters, stream);
}

/* z = (high + low 2^-11) times its row's weight. */
uint64_t gpu_scores_read(struct gpu_scores *s, uint32_t *list, double *z) {
  const struct cuda_layer *l = &s->layers.layer[0];
  const uint64_t n = l->samples, d = l->features, pitch = l->pitch;
  struct cuda_features found = {0, 0, 0, 0};
  uint16_t *high = malloc(d * pitch * 2), *low = malloc(d * pitch * 2);
  float *weight = malloc(d * 4);
  if (!high || !low || !weight || gpu_wait(s->gpu) || cudaMemcpy(&found, l->features_out, sizeof found, cudaMemcpyDeviceToHost) != cudaSuccess ||
      cudaMemcpy(list, l->list, d * 4, cudaMemcpyDeviceToHost) != cudaSuccess || cudaMemcpy(weight, l->weight, d * 4, cudaMemcpyDeviceToHost) != cudaSuccess ||
      cudaMemcpy(high, l->z_hi, d * pitch * 2, cudaMemcpyDeviceToHost) != cudaSuccess ||
      cudaMemcpy(low, l->z_lo, d * pitch * 2, cudaMemcpyDeviceToHost) != cudaSuccess)
    found.valid = 0;
  for (uint64_t k = 0; k < found.valid; ++k)
    for (uint64_t i = 0; i < n; ++i)
      z[k * n + i] = ((double)dtype_f16(high[k * pitch + i]) + (double)dtype_f16(low[k * pitch + i]) / 2048) * (double)weight[k];
  free(high), free(low), free(weight);
  return found.valid;
}

/* ---- cuBLAS, where it is ------------------------------------------------------------------------------------------------------ */

typedef struct cublasContext *handle_type;
static handle_type handle;
static int (*set_stream)(handle_type, cudaStream_t);
static int (*product)(handle_type, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int,
                      const void *, void *, int, int, int, int);

static int open_cublas(void) {
  static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so", BENCH_CUDA_LIB "/libcublas.so"};
  static int tried;
  if (tried++) return handle ? 0 : -1;
  void *library = NULL;
  for (size_t i = 0; !library && i < sizeof names / sizeof *names; ++i) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  if (!library) return -1;
  int (*create)(handle_type *);
  *(void **)&create = dlsym(library, "cublasCreate_v2");
  *(void **)&set_stream = dlsym(library, "cublasSetStream_v2");
  *(void **)&product = dlsym(library, "cublasGemmEx");
  if (!create || !set_stream || !product || create(&handle)) handle = NULL;
  return handle ? 0 : -1;
}

int gpu_product(const void *a, const void *b, float *c, int m, int n, int k, struct CUstream_st *stream) {
  /* cublas_api.h and library_types.h: CUBLAS_OP_N, CUBLAS_OP_T, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F, _GEMM_DEFAULT */
  enum { plain = 0, transposed = 1, half = 2, single = 0, compute_single = 68, any_algorithm = -1 };
  const float one = 1, zero = 0;
  if (open_cublas() || set_stream(handle, stream)) return -1;
  return product(handle, plain, transposed, m, n, k, &one, a, half, m, b, half, n, &zero, c, single, m, compute_single, any_algorithm);
}

/* ---- Ceilings ------------------------------------------------------------------------------------------------------------------ */

enum { COPY_BYTES = 1 << 30, SIDE = 8192, REPEATS = 10 };
struct buffers {
  char *a, *b, *c;
};
static int copy_all(void *user, struct CUstream_st *stream) {
  const struct buffers *x = user;
  return (int)cudaMemcpyAsync(x->b, x->a, COPY_BYTES, cudaMemcpyDeviceToDevice, stream);
}
static int multiply(void *user, struct CUstream_st *stream) {
  const struct buffers *x = user;
  return gpu_product(x->a, x->b, (float *)x->c, SIDE, SIDE, SIDE, stream);
}

/* Normal values: zeros would draw less power and so run faster. */
static int fill_random(char *device, uint64_t bytes) {
  enum { BLOCK = 1 << 20 };
  uint16_t *block = malloc(BLOCK * sizeof *block);
  struct random_state r = {(uint64_t)(uintptr_t)device};
  int failed = !block;
  for (int i = 0; block && i < BLOCK; ++i) block[i] = (uint16_t)ref_encode(ACTSCOPE_FLOAT16, random_normal(&r));
  for (uint64_t at = 0; !failed && at < bytes; at += BLOCK * sizeof *block) failed = gpu_upload(device + at, block, BLOCK * sizeof *block);
  free(block);
  return failed;
}

/* The best of several: a ceiling is what the machine reached, not what it reached on average. */
static double best(struct gpu *g, gpu_work work, struct buffers *x) {
  double least = NAN;
  for (int k = 0; k < REPEATS; ++k) {
    double t = gpu_time(g, work, x, 1, 0);
    if (t > 0 && k > 0 && !(t >= least)) least = t; /* the first warms up */
  }
  return least;
}

void gpu_ceilings(struct gpu *g, double *copy_gbs, double *fp16_tflops) {
  struct buffers x = {gpu_allocate(g, COPY_BYTES), gpu_allocate(g, COPY_BYTES), gpu_allocate(g, (uint64_t)SIDE * SIDE * 4)};
  *copy_gbs = *fp16_tflops = NAN;
  if (x.a && x.b && x.c && !fill_random(x.a, COPY_BYTES) && !fill_random(x.b, COPY_BYTES)) {
    *copy_gbs = 2.0 * COPY_BYTES / best(g, copy_all, &x) / 1e9;
    *fp16_tflops = 2.0 * SIDE * SIDE * SIDE / best(g, multiply, &x) / 1e12;
  }
  gpu_release(x.a);
  gpu_release(x.b);
  gpu_release(x.c);
}
