/* scores.c - scores.h on the CPU, as correlation.c of the library makes and lays out z-scores that all fit: blocks of positions,
 * a panel of lanes each, chunk after chunk of samples. */
#include "scores.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/zscores.h"
#include "gpu.h"

struct bench_scores {
  const struct bench_case *c;
  struct gpu *gpu;
  struct gpu_scores *there; /* on a GPU; else the rest */
  int threads;
  struct column *columns;
  uint32_t *list;
  uint64_t valid, scratch_bytes;
  char *panels, *scratch;
  const struct product_kernels *kernels;
};

enum { BLOCK = PRODUCT_BLOCK, CHUNK = PRODUCT_CHUNK };
static uint64_t ceil_to(uint64_t a, uint64_t unit) { return (a + unit - 1) / unit * unit; }
static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void *take(uint64_t bytes, size_t *sum) {
  void *p = aligned_alloc(4096, ceil_to(bytes ? bytes : 1, 4096));
  if (p) memset(p, 0xFF, bytes); /* a number that nobody wrote is a NaN */
  *sum += bytes;
  return p;
}

struct bench_scores *bench_scores_open(const struct bench_case *c, struct gpu *gpu, int threads, size_t *bytes) {
  struct bench_scores *s = calloc(1, sizeof *s);
  if (!s) abort();
  *bytes = 0;
  s->c = c, s->gpu = gpu, s->threads = threads > 0 ? threads : omp_get_max_threads();
  if (gpu) {
    s->there = gpu_scores_open(gpu, c->dtype, c->samples, c->features, bytes);
    if (s->there) return s;
  } else {
    s->kernels = zscores_kernels(c->dtype, ACTSCOPE_PRECISION_FP32);
    s->scratch_bytes = actscope_cpu_columns_need(c->dtype, c->samples, c->features, s->threads).best;
    if (s->scratch_bytes < (uint64_t)s->threads * ZSCORES_BUFFER) s->scratch_bytes = (uint64_t)s->threads * ZSCORES_BUFFER;
    s->columns = take(c->features * sizeof *s->columns, bytes);
    s->list = take(c->features * sizeof *s->list, bytes);
    s->panels = take(ceil_to(c->features, PRODUCT_ROUND) * c->samples * (uint64_t)s->kernels->size, bytes);
    s->scratch = take(s->scratch_bytes, bytes);
    if (s->columns && s->list && s->panels && s->scratch) return s;
  }
  fprintf(stderr, "actscope-bench: %s: no memory for its z-scores\n", c->name);
  bench_scores_close(s);
  return NULL;
}

void bench_scores_close(struct bench_scores *s) {
  if (!s) return;
  gpu_scores_close(s->there);
  free(s->columns), free(s->list), free(s->panels), free(s->scratch);
  free(s);
}

/* Where the chunk from sample k on has its panels of the positions from `position` on. */
static uint64_t panels_at(const struct bench_scores *s, uint64_t k, uint64_t values, uint64_t position) {
  return k * ceil_to(s->valid, PRODUCT_ROUND) + position * values;
}

actscope_status bench_scores_run(struct bench_scores *s, const actscope_tensor *tensor, struct CUstream_st *stream) {
  struct view v;
  struct zscores z;
  if (s->gpu) return gpu_scores_run(s->there, tensor->data, stream) ? ACTSCOPE_DEVICE_ERROR : ACTSCOPE_OK;
  view_init(&v, tensor, 0);
  actscope_health health;
  actscope_status status = actscope_cpu_columns(&v, s->threads, s->scratch, s->scratch_bytes, s->columns, &health);
  if (status) return status;
  s->valid = actscope_zscores_list(s->columns, v.features, s->list);
  actscope_zscores_init(&z, &v, s->columns, s->list, s->valid, NULL, 0, s->kernels);
  const uint64_t blocks = (s->valid + BLOCK - 1) / BLOCK, chunks = (v.samples + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(s->threads) schedule(dynamic, 1)
  for (uint64_t t = 0; t < blocks * chunks; ++t) {
    const uint64_t at = t % blocks * BLOCK, k = t / blocks * CHUNK, values = least_of(CHUNK, v.samples - k);
    actscope_zscores_pack(&z, at, least_of(BLOCK, s->valid - at), k, values, s->panels + panels_at(s, k, values, at) * (uint64_t)s->kernels->size,
                          (int64_t)(values * (uint64_t)s->kernels->lanes), s->scratch + (uint64_t)omp_get_thread_num() * ZSCORES_BUFFER);
  }
  return ACTSCOPE_OK;
}

uint64_t bench_scores_read(struct bench_scores *s, uint32_t *list, double *z) {
  const uint64_t n = s->c->samples;
  if (s->gpu) return gpu_scores_read(s->there, list, z);
  const uint64_t lanes = (uint64_t)s->kernels->lanes;
  memcpy(list, s->list, s->valid * sizeof *list);
  for (uint64_t p = 0; p < s->valid; ++p)
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t k = i / CHUNK * CHUNK, values = least_of(CHUNK, n - k), block = p / BLOCK * BLOCK, in = p - block;
      const uint64_t at = panels_at(s, k, values, block) + in / lanes * values * lanes + (i - k) * lanes + in % lanes;
      z[p * n + i] = s->kernels->size == 8 ? ((const double *)s->panels)[at] : (double)((const float *)s->panels)[at];
    }
  return s->valid;
}
