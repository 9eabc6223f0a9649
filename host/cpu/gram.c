/* gram.c - the smaller of K = Z Z^T and R = Z^T Z, its Frobenius norm and its eigenvalues; and K = X X^T of centred
 * features, for CKA.
 *
 * Groups of values (features for K, samples for R) are packed by all threads, then multiplied tile by tile into the
 * matrix, each tile by one thread and chunk by chunk in order: the same bits for any number of threads. */
#include <omp.h>

#include "core/cka.h"
#include "cpu/cpu.h"
#include "cpu/simd/gram.h"
#include "cpu/zscores.h"
#include "error.h"

enum {
  BLOCK = PRODUCT_BLOCK,
  CHUNK = PRODUCT_CHUNK,
  UNIT_TILES = 8,        /* register tiles multiplied one after the other: their columns stay in the first-level cache */
  GROUPS_MAX = 64,       /* chunks packed at once */
  GROUP_BYTES = 1 << 23  /* and bytes, about */
};

static uint64_t ceil_to(uint64_t a, uint64_t unit) { return (a + unit - 1) / unit * unit; }
static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t list_bytes(uint64_t features) { return ceil_to(features * 4, 64) + 64; }
static uint64_t matrix_bytes(uint64_t n) { return ceil_to((n * n + 3 * n) * 8, 64); }
static uint64_t chunk_bytes(uint64_t n, uint64_t size) { return ceil_to(n, PRODUCT_ROUND) * CHUNK * size; }
static uint64_t chunks_useful(uint64_t n, uint64_t values, uint64_t size) {
  uint64_t all = (values + CHUNK - 1) / CHUNK, chunks = n > 0 ? GROUP_BYTES / chunk_bytes(n, size) : 1;
  if (chunks > GROUPS_MAX) chunks = GROUPS_MAX;
  if (chunks > all) chunks = all;
  return chunks > 0 ? chunks : 1;
}

/* Of a matrix of n x n over so many values. */
static struct cpu_need need_of(actscope_dtype dtype, uint64_t n, uint64_t values, uint64_t features, int threads) {
  uint64_t size = actscope_tile_size(dtype), chunk = chunk_bytes(n, size);
  uint64_t fixed = list_bytes(features) + matrix_bytes(n) + (uint64_t)threads * ZSCORES_BUFFER;
  return (struct cpu_need){fixed + chunk, fixed + chunk * chunks_useful(n, values, size)};
}
struct cpu_need actscope_cpu_gram_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  return need_of(dtype, least_of(samples, features), samples < features ? features : samples, features, threads);
}
struct cpu_need actscope_cpu_cka_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  return need_of(dtype, samples, features, features, threads);
}

struct run {
  struct zscores z;
  struct product_band band;
  const struct product_kernels *kernels;
  uint64_t n, values, size, group;
  double *matrix;
  char *panels, *buffers;
  uint64_t next;
};

static uint64_t task(struct run *r) { return __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED); }
static void tasks_begin(struct run *r) {
#pragma omp barrier
#pragma omp master
  r->next = 0;
#pragma omp barrier
}

static char *panels_at(const struct run *r, uint64_t k, uint64_t length, uint64_t position) {
  return r->panels + (k * ceil_to(r->n, PRODUCT_ROUND) + position * length) * r->size;
}

static void multiply(struct run *r, int threads) {
  uint64_t rows = (uint64_t)r->kernels->rows, columns = (uint64_t)r->kernels->columns;
  uint64_t blocks = (r->n + BLOCK - 1) / BLOCK, across = (r->n + columns - 1) / columns, down = (r->n + rows - 1) / rows;
  uint64_t tiles = across * down / (16 * (uint64_t)threads); /* half of them lie below the diagonal */
  uint64_t unit = tiles < 2 ? rows : ceil_to(rows * least_of(tiles, UNIT_TILES), (uint64_t)r->kernels->lanes); /* whole panels */
  uint64_t units = (r->n + unit - 1) / unit;
#pragma omp parallel num_threads(threads)
  {
    void *buffer = r->buffers + (uint64_t)omp_get_thread_num() * ZSCORES_BUFFER;
#pragma omp for schedule(static) nowait
    for (uint64_t i = 0; i < r->n; ++i) memset(r->matrix + i * r->n, 0, r->n * sizeof *r->matrix);
    for (uint64_t k0 = 0; k0 < r->values; k0 += r->group) {
      uint64_t k = least_of(r->group, r->values - k0), chunks = (k + CHUNK - 1) / CHUNK;
      tasks_begin(r);
      for (uint64_t t = task(r); t < blocks * chunks; t = task(r)) {
        uint64_t at = t % blocks * BLOCK, c = t / blocks * CHUNK, values = least_of(CHUNK, k - c);
        actscope_zscores_pack(&r->z, at, least_of(BLOCK, r->n - at), k0 + c, values, panels_at(r, c, values, at),
                              (int64_t)(values * (uint64_t)r->kernels->lanes), buffer);
      }
      tasks_begin(r);
      for (uint64_t t = task(r); t < across * units; t = task(r)) {
        uint64_t i = t / across * unit, j = t % across * columns;
        if (j + columns - 1 < i) continue;
        struct product_part p = {0};
        p.i0 = i;
        p.j0 = j;
        p.rows = least_of(unit, r->n - i);
        p.columns = least_of(columns, r->n - j);
        p.band = &r->band;
        p.sum = r->matrix + i * r->n + j;
        p.sum_ld = (int64_t)r->n;
        for (uint64_t c = 0; c < k; c += CHUNK) {
          p.k = least_of(CHUNK, k - c);
          p.stride = (int64_t)(p.k * (uint64_t)r->kernels->lanes);
          uint64_t panel = i / (uint64_t)r->kernels->lanes * (uint64_t)r->kernels->lanes;
          p.a = panels_at(r, c, p.k, panel) + (i - panel) * r->size;
          p.b = panels_at(r, c, p.k, j);
          r->kernels->add(&p);
        }
      }
    }
  }
}

/* The matrix of a layer whose `valid` features are listed at the start of scratch; 0 when scratch is too small. r->n and
 * r->values are set, and are not 0. */
static int matrix_of(struct run *r, const struct view *v, const struct column *columns, uint64_t valid, int by_sample,
                     double unscaled, int threads, void *scratch, uint64_t bytes) {
  r->size = actscope_tile_size(v->dtype);
  uint64_t fixed = list_bytes(v->features) + matrix_bytes(r->n) + (uint64_t)threads * ZSCORES_BUFFER;
  uint64_t chunk = chunk_bytes(r->n, r->size), chunks = chunks_useful(r->n, r->values, r->size);
  if (bytes < fixed + chunk) return 0;
  if (chunks > (bytes - fixed) / chunk) chunks = (bytes - fixed) / chunk;
  actscope_zscores_init(&r->z, v, columns, scratch, valid, 0, by_sample,
                        zscores_kernels(v->dtype, ACTSCOPE_PRECISION_FP32));
  r->z.unscaled = unscaled;
  r->kernels = r->z.kernels;
  r->band = (struct product_band){r->n, r->n, 0, 0};
  r->group = chunks * CHUNK;
  r->matrix = (double *)((char *)scratch + list_bytes(v->features));
  r->buffers = (char *)r->matrix + matrix_bytes(r->n);
  r->panels = r->buffers + (uint64_t)threads * ZSCORES_BUFFER;
  multiply(r, threads);
  return 1;
}

actscope_status actscope_cpu_gram(const struct view *v, const struct column *columns, int threads, void *scratch,
                                  uint64_t bytes, double *frobenius_square, double *effective_rank) {
  struct run r;
  memset(&r, 0, sizeof r);
  *frobenius_square = 0;
  if (effective_rank) *effective_rank = core_nan();
  if (v->features >> 32) return actscope_fail(ACTSCOPE_UNSUPPORTED, "Gram matrix: 2^32 features or more");
  if (bytes < list_bytes(v->features)) goto small;
  uint64_t valid = actscope_zscores_list(columns, v->features, scratch);
  int by_sample = v->samples <= valid;
  r.n = by_sample ? v->samples : valid;
  r.values = by_sample ? valid : v->samples;
  if (r.n == 0 || valid == 0) return ACTSCOPE_OK;
  if (!matrix_of(&r, v, columns, valid, by_sample, 0, threads, scratch, bytes)) goto small;

  double diagonal = 0, above = 0;
  for (uint64_t i = 0; i < r.n; ++i) {
    const double *row = r.matrix + i * r.n;
    double sum = 0;
    if (by_sample) {
      for (uint64_t j = i + 1; j < r.n; ++j) sum += row[j] * row[j];
      diagonal += row[i] * row[i];
    } else { /* correlations: what rounding left of the z-scores' norms, and of r_ii = 1, is taken out */
      for (uint64_t j = i + 1; j < r.n; ++j) sum += row[j] * row[j] / (row[i] * r.matrix[j * r.n + j]);
      diagonal += 1;
    }
    above += sum;
  }
  *frobenius_square = diagonal + 2 * above;
  if (!effective_rank) return ACTSCOPE_OK;
  for (uint64_t i = 0; i < r.n; ++i)
    for (uint64_t j = 0; j < i; ++j) r.matrix[i * r.n + j] = r.matrix[j * r.n + i];
  double *eigenvalues = r.matrix + r.n * r.n;
  if (actscope_simd_gram()->eigenvalues(r.matrix, r.n, eigenvalues, eigenvalues + r.n, eigenvalues + 2 * r.n) == 0)
    *effective_rank = gram_effective_rank(eigenvalues, r.n);
  return ACTSCOPE_OK;
small:
  return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "Gram matrix: %llu bytes of scratch memory are too few",
                       (unsigned long long)bytes);
}

/* ---- CKA ---------------------------------------------------------------------------------------------------------------- */

actscope_status actscope_cpu_cka(const struct view *v, const struct column *columns, int threads, void *scratch,
                                 uint64_t bytes, float *kept, int *there) {
  struct run r;
  memset(&r, 0, sizeof r);
  *there = 0;
  if (v->features >> 32) return actscope_fail(ACTSCOPE_UNSUPPORTED, "CKA: 2^32 features or more");
  if (bytes < list_bytes(v->features)) goto small;
  uint64_t valid = actscope_zscores_list(columns, v->features, scratch), n = v->samples;
  if (valid == 0 || cka_entries(n) == 0) return ACTSCOPE_OK;
  double most = 0; /* CKA does not depend on a common factor: with this one nothing overflows */
  for (uint64_t i = 0; i < v->features; ++i)
    if (column_valid(&columns[i]) && columns[i].m2 > most) most = columns[i].m2;
  r.n = n, r.values = valid;
  if (!matrix_of(&r, v, columns, valid, 1, 1 / sqrt(most), threads, scratch, bytes)) goto small;
  double *sum = r.matrix + n * n, total = 0, before = 0, square = 0;
  memset(sum, 0, n * sizeof *sum);
  for (uint64_t i = 0; i < n; ++i)
    for (uint64_t j = i + 1; j < n; ++j) {
      double k = r.matrix[i * n + j];
      sum[i] += k, sum[j] += k;
      before += k * k;
    }
  for (uint64_t i = 0; i < n; ++i) total += sum[i];
  for (uint64_t i = 0; i < n; ++i)
    for (uint64_t j = i + 1; j < n; ++j) {
      double a = r.matrix[i * n + j] = cka_centred(r.matrix[i * n + j], sum[i], sum[j], total, n);
      square += a * a;
    }
  double scale = cka_scale(square, before);
  for (uint64_t i = 0; i < n; ++i)
    for (uint64_t j = i + 1; j < n; ++j) kept[cka_row(n, i) + j - i - 1] = (float)(r.matrix[i * n + j] * scale);
  *there = scale > 0;
  return ACTSCOPE_OK;
small:
  return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "CKA: %llu bytes of scratch memory are too few", (unsigned long long)bytes);
}

double actscope_cpu_cka_pair(const float *a, const float *b, uint64_t samples) {
  enum { LANES = 8 };
  double lane[LANES] = {0}, dot = 0;
  uint64_t count = cka_entries(samples), i = 0;
  for (; i + LANES <= count; i += LANES)
    for (int k = 0; k < LANES; ++k) lane[k] += (double)a[i + (uint64_t)k] * (double)b[i + (uint64_t)k];
  for (; i < count; ++i) dot += (double)a[i] * (double)b[i];
  for (int k = 0; k < LANES; ++k) dot += lane[k];
  return cka_value(dot);
}
