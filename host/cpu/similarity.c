/* similarity.c - the mean cosine between samples: their norms, then the sum of the samples divided by them.
 *
 * Samples are taken in groups; a group's norms, then its part of the sums, so that memory is O(D) and a group is still
 * in the cache when it is read again. Tasks are blocks of features over chunks of the group's samples, cut by the shape
 * alone; what several tasks add to one number is kept apart and added up in their order. */
#include "core/similarity.h"

#include <omp.h>

#include "cpu/cpu.h"
#include "cpu/simd/similarity.h"
#include "cpu/tile.h"
#include "error.h"

enum {
  GROUP = 16384,  /* samples at the most; */
  CACHED = 1 << 19, /* or so many values, which the cache holds between their two reads */
  BLOCK = 512,    /* inner indices of a tile */
  TASKS = 32,     /* a side is cut further only to reach that many */
  BUFFER = 65536  /* bytes of converted values at once */
};
_Static_assert((int)BLOCK <= (int)TILE_INNER_MAX, "a tile of any strides");

struct cut {
  uint64_t group;               /* samples */
  uint64_t chunk, chunks;       /* norms: samples of a task; */
  uint64_t part, parts;         /* and its features */
  uint64_t block, blocks;       /* sums: features of a task; */
  uint64_t stretch, stretches;  /* and its samples */
};

static uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
static uint64_t between(uint64_t low, uint64_t x, uint64_t high) { return x < low ? low : x > high ? high : x; }
/* A side of n cut into about `want` pieces of a multiple of `unit`; *pieces is how many it is. */
static uint64_t piece(uint64_t n, uint64_t want, uint64_t unit, uint64_t *pieces) {
  uint64_t size = ceil_div(ceil_div(n, want), unit) * unit;
  *pieces = ceil_div(n, size);
  return size;
}

static struct cut cut_for(int samples_inner, uint64_t samples, uint64_t features) {
  struct cut c;
  uint64_t unit = samples_inner ? BLOCK : 16;
  c.group = between(1, samples, between(unit, CACHED / features / unit * unit, GROUP));
  c.chunk = piece(c.group, TASKS, unit, &c.chunks);
  c.part = piece(features, ceil_div(TASKS, c.chunks), samples_inner ? 16 : BLOCK, &c.parts);
  c.block = samples_inner ? between(1, ceil_div(features, TASKS), 64) : BLOCK;
  c.blocks = ceil_div(features, c.block);
  c.stretch = piece(c.group, c.blocks < TASKS ? TASKS / c.blocks : 1, unit, &c.stretches);
  return c;
}

/* Doubles that all threads share: squares, a part after the other; sums, a stretch after the other; |sum|^2 by block. */
static uint64_t shared_values(const struct cut *c, uint64_t features) {
  return c->parts * c->group + c->stretches * features + c->blocks;
}

/* The order of the axes is not known here: the larger of both cuts. */
struct cpu_need actscope_cpu_similarity_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  (void)dtype;
  if (samples == 0 || features == 0) return (struct cpu_need){0, 0};
  struct cut rows = cut_for(0, samples, features), inner = cut_for(1, samples, features);
  uint64_t a = shared_values(&rows, features), b = shared_values(&inner, features);
  uint64_t bytes = (uint64_t)threads * BUFFER + (a > b ? a : b) * sizeof(double);
  return (struct cpu_need){bytes, bytes};
}

struct job {
  const struct view *view;
  const struct similarity_kernels *kernels;
  struct cut cut;
  int inner; /* samples are the inner side */
  double *square, *sum, *total; /* square[part * group + sample]: of part 0 the weights, later */
};

/* Samples [s0, s1) of the group that starts at g0, features [f0, f1): the squares (weights NULL), or the weighted sums.
 * out starts at s0 for squares, at f0 for sums. */
static void accumulate(const struct job *j, void *buffer, uint64_t g0, uint64_t s0, uint64_t s1, uint64_t f0, uint64_t f1,
                       const double *weights, double *out) {
  struct tile_reader reader;
  uint64_t i0 = j->inner ? s0 : f0, i1 = j->inner ? s1 : f1, o0 = j->inner ? f0 : s0, o1 = j->inner ? f1 : s1;
  uint64_t inner_base = j->inner ? g0 : 0, outer_base = j->inner ? 0 : g0;
  for (uint64_t i = i0; i < i1; i += BLOCK) {
    uint64_t n = i1 - i < BLOCK ? i1 - i : BLOCK, fit = BUFFER / (n * actscope_tile_size(j->view->dtype));
    actscope_tile_open(&reader, j->view, j->inner, (struct tile_indices){0, inner_base + i, n});
    struct tile_indices all = {0, outer_base + o0, o1 - o0};
    uint64_t step = actscope_tile_in_place(&reader, all) ? o1 - o0 : fit;
    for (uint64_t o = o0; o < o1; o += step) {
      uint64_t rows = o1 - o < step ? o1 - o : step;
      struct tile t = actscope_tile_read(&reader, (struct tile_indices){0, outer_base + o, rows}, buffer);
      const struct similarity_kernels *k = j->kernels;
      if (!weights && j->inner) k->squares_across(t.data, t.ld, rows, n, out + (i - i0));
      else if (!weights) k->squares_along(t.data, t.ld, rows, n, out + (o - o0));
      else if (j->inner) k->weighted_along(t.data, t.ld, rows, n, weights + (i - i0), out + (o - o0));
      else k->weighted_across(t.data, t.ld, rows, n, weights + (o - o0), out + (i - i0));
    }
  }
}

static void zero(double *x, uint64_t n) { memset(x, 0, n * sizeof *x); }

/* The norms of task t. */
static void norms(const struct job *j, void *buffer, uint64_t g0, uint64_t n, uint64_t t) {
  const struct cut *c = &j->cut;
  uint64_t s0 = t / c->parts * c->chunk, p = t % c->parts, f0 = p * c->part;
  uint64_t s1 = n - s0 < c->chunk ? n : s0 + c->chunk;
  uint64_t f1 = j->view->features - f0 < c->part ? j->view->features : f0 + c->part;
  double *out = j->square + p * c->group + s0;
  zero(out, s1 - s0);
  accumulate(j, buffer, g0, s0, s1, f0, f1, NULL, out);
}

/* The sums of task t. */
static void sums(const struct job *j, void *buffer, uint64_t g0, uint64_t n, uint64_t t) {
  const struct cut *c = &j->cut;
  uint64_t k = t / c->blocks, s0 = k * c->stretch, f0 = t % c->blocks * c->block;
  uint64_t s1 = n - s0 < c->stretch ? n : s0 + c->stretch;
  uint64_t f1 = j->view->features - f0 < c->block ? j->view->features : f0 + c->block;
  double *out = j->sum + k * j->view->features + f0;
  if (g0 == 0) zero(out, f1 - f0);
  accumulate(j, buffer, g0, s0, s1, f0, f1, j->square + s0, out);
}

actscope_status actscope_cpu_similarity(const struct view *v, int threads, void *scratch, uint64_t bytes,
                                        actscope_similarity *out) {
  uint64_t samples = v->samples, features = v->features, used = 0, none = 0, next[2] = {0, 0};
  similarity_finish(0, 0, samples, samples, out); /* without features every sample is zero */
  if (samples == 0 || features == 0) return ACTSCOPE_OK;
  struct job j = {v, v->dtype == ACTSCOPE_FLOAT64 ? &actscope_simd_similarity()->wide : &actscope_simd_similarity()->single};
  j.inner = actscope_tile_samples_inner(v);
  j.cut = cut_for(j.inner, samples, features);
  const struct cut *c = &j.cut;
  if (bytes < (uint64_t)threads * BUFFER + shared_values(c, features) * sizeof(double))
    return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "similarity: %llu bytes of scratch memory are too few",
                         (unsigned long long)bytes);
  j.square = (double *)((char *)scratch + (uint64_t)threads * BUFFER);
  j.sum = j.square + c->parts * c->group;
  j.total = j.sum + c->stretches * features;
#pragma omp parallel num_threads(threads) default(shared)
  {
    void *buffer = (char *)scratch + (uint64_t)omp_get_thread_num() * BUFFER;
    for (uint64_t g0 = 0; g0 < samples; g0 += c->group) {
      uint64_t n = samples - g0 < c->group ? samples - g0 : c->group;
      uint64_t tasks = ceil_div(n, c->chunk) * c->parts, t;
      while ((t = __atomic_fetch_add(&next[0], 1, __ATOMIC_RELAXED)) < tasks) norms(&j, buffer, g0, n, t);
#pragma omp barrier
#pragma omp for schedule(static) reduction(+ : used, none)
      for (uint64_t i = 0; i < n; ++i) {
        double square = j.square[i];
        for (uint64_t p = 1; p < c->parts; ++p) square += j.square[p * c->group + i];
        j.square[i] = similarity_weight(square);
        used += j.square[i] != 0;
        none += (uint64_t)similarity_zero(square);
      }
#pragma omp single
      next[0] = 0; /* everyone is past it, and its barrier comes before the next group's */
      tasks = ceil_div(n, c->stretch) * c->blocks;
      while ((t = __atomic_fetch_add(&next[1], 1, __ATOMIC_RELAXED)) < tasks) sums(&j, buffer, g0, n, t);
#pragma omp barrier
#pragma omp single
      next[1] = 0;
    }
#pragma omp for schedule(static)
    for (uint64_t b = 0; b < c->blocks; ++b) {
      uint64_t f0 = b * c->block, f1 = features - f0 < c->block ? features : f0 + c->block;
      double square = 0;
      for (uint64_t f = f0; f < f1; ++f) {
        double x = j.sum[f];
        for (uint64_t k = 1; k < c->stretches; ++k) x += j.sum[k * features + f];
        square += x * x;
      }
      j.total[b] = square;
    }
  }
  double square = 0;
  for (uint64_t b = 0; b < c->blocks; ++b) square += j.total[b];
  similarity_finish(square, used, none, samples, out);
  return ACTSCOPE_OK;
}
