/* gram.c - products of samples or of features (gram.h); of the smaller of K = Z Z^T and R = Z^T Z, the Frobenius norm and the
 * eigenvalues.
 *
 * Groups of values (features for K, samples for R) are packed by all threads, then multiplied tile by tile into the
 * matrix, each tile by one thread and chunk by chunk in order: the same bits for any number of threads. */
#include <omp.h>

#include "cpu/gram.h"

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

static uint64_t matrix_bytes(uint64_t n) { return ceil_to((n * n + 3 * n) * 8, 64); }
static uint64_t chunk_bytes(uint64_t n, uint64_t size) { return ceil_to(n, PRODUCT_ROUND) * CHUNK * size; }
static uint64_t chunks_useful(uint64_t n, uint64_t values, uint64_t size) {
  uint64_t all = (values + CHUNK - 1) / CHUNK, chunks = n > 0 ? GROUP_BYTES / chunk_bytes(n, size) : 1;
  if (chunks > GROUPS_MAX) chunks = GROUPS_MAX;
  if (chunks > all) chunks = all;
  return chunks > 0 ? chunks : 1;
}

struct cpu_need actscope_gram_matrix_need(actscope_dtype dtype, uint64_t n, uint64_t values, int threads) {
  uint64_t size = actscope_tile_size(dtype), chunk = chunk_bytes(n, size);
  uint64_t fixed = matrix_bytes(n) + (uint64_t)threads * ZSCORES_BUFFER;
  return (struct cpu_need){fixed + chunk, fixed + chunk * chunks_useful(n, values, size)};
}
struct cpu_need actscope_cpu_gram_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  uint64_t n = least_of(samples, features), list = gram_list_bytes(features);
  struct cpu_need need = actscope_gram_matrix_need(dtype, n, samples < features ? features : samples, threads);
  return (struct cpu_need){list + need.least, list + need.best};
}

struct run {
  struct zscores z[2];
  uint64_t positions[2], second; /* of each; where the second's begin */
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
  uint64_t blocks[2] = {(r->positions[0] + BLOCK - 1) / BLOCK, (r->positions[1] + BLOCK - 1) / BLOCK};
  uint64_t all = blocks[0] + blocks[1], across = (r->n + columns - 1) / columns, down = (r->n + rows - 1) / rows;
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
      for (uint64_t t = task(r); t < all * chunks; t = task(r)) {
        int part = t % all >= blocks[0];
        uint64_t at = (t % all - (part ? blocks[0] : 0)) * BLOCK, c = t / all * CHUNK, values = least_of(CHUNK, k - c);
        actscope_zscores_pack(&r->z[part], at, least_of(BLOCK, r->positions[part] - at), k0 + c, values,
                              panels_at(r, c, values, part ? r->second + at : at),
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

int actscope_gram_matrix(const struct gram_request *q, void *scratch, uint64_t bytes, struct gram_matrix *out) {
  const struct product_kernels *kernels = zscores_kernels(q->view[0]->dtype, ACTSCOPE_PRECISION_FP32);
  struct run r;
  memset(&r, 0, sizeof r);
  for (int k = 0; k < 2 && q->view[k]; ++k) {
    actscope_zscores_init(&r.z[k], q->view[k], q->columns[k], q->list, q->valid, 0, q->by_sample, kernels);
    r.z[k].unscaled = q->unscaled;
    r.positions[k] = q->by_sample ? q->view[k]->samples : q->valid;
  }
  r.second = q->view[1] ? ceil_to(r.positions[0], (uint64_t)kernels->columns) : r.positions[0];
  r.n = r.second + r.positions[1];
  r.values = q->by_sample ? q->valid : q->view[0]->samples;
  r.size = actscope_tile_size(q->view[0]->dtype);
  uint64_t fixed = matrix_bytes(r.n) + (uint64_t)q->threads * ZSCORES_BUFFER;
  uint64_t chunk = chunk_bytes(r.n, r.size), chunks = chunks_useful(r.n, r.values, r.size);
  if (bytes < fixed + chunk) return 0;
  if (chunks > (bytes - fixed) / chunk) chunks = (bytes - fixed) / chunk;
  r.kernels = kernels;
  r.band = (struct product_band){r.n, r.n, 0, 0};
  r.group = chunks * CHUNK;
  r.matrix = scratch;
  r.buffers = (char *)r.matrix + matrix_bytes(r.n);
  r.panels = r.buffers + (uint64_t)q->threads * ZSCORES_BUFFER;
  multiply(&r, q->threads);
  *out = (struct gram_matrix){r.matrix, r.n, r.second};
  return 1;
}

actscope_status actscope_cpu_gram(const struct view *v, const struct column *columns, int threads, void *scratch,
                                  uint64_t bytes, double *frobenius_square, double *effective_rank) {
  struct gram_matrix m;
  const uint64_t list = gram_list_bytes(v->features);
  *frobenius_square = 0;
  if (effective_rank) *effective_rank = core_nan();
  if (v->features >> 32) return actscope_fail(ACTSCOPE_UNSUPPORTED, "Gram matrix: 2^32 features or more");
  if (bytes < list) goto small;
  uint64_t valid = actscope_zscores_list(columns, v->features, scratch);
  int by_sample = v->samples <= valid;
  if (v->samples == 0 || valid == 0) return ACTSCOPE_OK;
  const struct gram_request q = {{v}, {columns}, scratch, valid, by_sample, threads, 0};
  if (!actscope_gram_matrix(&q, (char *)scratch + list, bytes - list, &m)) goto small;

  double diagonal = 0, above = 0;
  for (uint64_t i = 0; i < m.n; ++i) {
    const double *row = m.at + i * m.n;
    double sum = 0;
    if (by_sample) {
      for (uint64_t j = i + 1; j < m.n; ++j) sum += row[j] * row[j];
      diagonal += row[i] * row[i];
    } else { /* correlations: what rounding left of the z-scores' norms, and of r_ii = 1, is taken out */
      for (uint64_t j = i + 1; j < m.n; ++j) sum += row[j] * row[j] / (row[i] * m.at[j * m.n + j]);
      diagonal += 1;
    }
    above += sum;
  }
  *frobenius_square = diagonal + 2 * above;
  if (!effective_rank) return ACTSCOPE_OK;
  for (uint64_t i = 0; i < m.n; ++i)
    for (uint64_t j = 0; j < i; ++j) m.at[i * m.n + j] = m.at[j * m.n + i];
  double *eigenvalues = m.at + m.n * m.n;
  if (actscope_simd_gram()->eigenvalues(m.at, m.n, eigenvalues, eigenvalues + m.n, eigenvalues + 2 * m.n) == 0)
    *effective_rank = gram_effective_rank(eigenvalues, m.n);
  return ACTSCOPE_OK;
small:
  return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "Gram matrix: %llu bytes of scratch memory are too few",
                       (unsigned long long)bytes);
}
