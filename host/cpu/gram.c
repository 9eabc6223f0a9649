/* gram.c - the Gram matrix of the z-scores, plainly, in double. */
#include "core/gram.h"

#include "cpu/cpu.h"

struct cpu_need actscope_cpu_gram_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  (void)dtype, (void)threads;
  uint64_t n = samples < features ? samples : features, need = n * n * 8 + 3 * n * 8 + features * 4 + 256;
  return (struct cpu_need){need, need};
}

actscope_status actscope_cpu_gram(const struct view *v, const struct column *columns, int threads, void *scratch,
                                  uint64_t bytes, double *frobenius_square, double *effective_rank) {
  (void)bytes;
  uint32_t *list = scratch;
  uint64_t valid = 0;
  for (uint64_t f = 0; f < v->features; ++f)
    if (column_valid(&columns[f])) list[valid++] = (uint32_t)f;
  int by_samples = v->samples <= valid;
  uint64_t n = by_samples ? v->samples : valid, inner = by_samples ? valid : v->samples;
  double *a = (double *)((char *)scratch + (v->features * 4 + 63) / 64 * 64), *work = a + n * n;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (uint64_t i = 0; i < n; ++i)
    for (uint64_t j = i; j < n; ++j) {
      double sum = 0;
      for (uint64_t k = 0; k < inner; ++k) {
        uint64_t f = list[by_samples ? k : i], g = list[by_samples ? k : j], s = by_samples ? i : k, t = by_samples ? j : k;
        const struct column *x = &columns[f], *y = &columns[g];
        sum += (dtype_load(v->dtype, v->data, view_offset(&v->feature, f) + view_offset(&v->sample, s)) - x->mean) *
               column_scale(x) *
               (dtype_load(v->dtype, v->data, view_offset(&v->feature, g) + view_offset(&v->sample, t)) - y->mean) *
               column_scale(y);
      }
      a[i * n + j] = a[j * n + i] = sum;
    }
  double square = 0;
  for (uint64_t i = 0; i < n * n; ++i) square += a[i] * a[i];
  *frobenius_square = square;
  if (effective_rank == 0) return ACTSCOPE_OK;
  *effective_rank = core_nan();
  if (n > 0 && gram_eigenvalues(a, n, work, work + n, work + 2 * n) == 0) *effective_rank = gram_effective_rank(work, n);
  return ACTSCOPE_OK;
}
