/* columns.c - feature moments, plainly: two passes in double, features shared out among the threads. */
#include "cpu/cpu.h"

struct cpu_need actscope_cpu_columns_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  (void)dtype, (void)samples, (void)features, (void)threads;
  return (struct cpu_need){64, 64};
}

actscope_status actscope_cpu_columns(const struct view *v, int threads, void *scratch, uint64_t bytes,
                                     struct column *columns) {
  (void)scratch, (void)bytes;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (uint64_t f = 0; f < v->features; ++f) {
    struct column *c = &columns[f];
    int64_t base = view_offset(&v->feature, f);
    double sum = 0, top = -1;
    int bad = 0;
    column_init(c);
    for (uint64_t s = 0; s < v->samples; ++s) {
      double x = dtype_load(v->dtype, v->data, base + view_offset(&v->sample, s));
      if (!core_finite(x)) bad = 1;
      if (fabs(x) > top) top = fabs(x);
      if (x < c->min) c->min = x;
      if (x > c->max) c->max = x;
      sum += x;
    }
    if (bad) {
      c->min = core_nan();
      c->max = top;
      continue;
    }
    c->mean = v->samples > 0 ? sum / (double)v->samples : 0;
    for (uint64_t s = 0; s < v->samples; ++s) {
      double d = dtype_load(v->dtype, v->data, base + view_offset(&v->sample, s)) - c->mean;
      c->m2 += d * d;
    }
  }
  return ACTSCOPE_OK;
}
