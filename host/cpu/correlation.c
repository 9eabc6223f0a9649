/* correlation.c - functionals of |r| over pairs, plainly: one dot product in double for each pair. */
#include "core/pairs.h"

#include "core/random.h"
#include "cpu/cpu.h"

struct cpu_need actscope_cpu_pairs_need(const struct cpu_pairs_request *q, actscope_dtype dtype, uint64_t samples,
                                        uint64_t features) {
  (void)q, (void)dtype;
  return (struct cpu_need){features * 4 + 64, features * 4 + 64 + features * samples * 4};
}

actscope_status actscope_cpu_pairs(const struct view *v, const struct column *columns,
                                   const struct cpu_pairs_request *q, void *scratch, uint64_t bytes,
                                   actscope_correlation *out, double *square_sum, uint32_t *warnings) {
  uint32_t *list = scratch;
  uint64_t valid = 0, n = v->samples;
  for (uint64_t f = 0; f < v->features; ++f)
    if (column_valid(&columns[f])) list[valid++] = (uint32_t)f;
  uint64_t total = pairs_total(valid), count = total;
  struct random_permutation order;
  random_permutation_init(&order, valid, q->seed, 0);
  if (q->method == ACTSCOPE_CORRELATION_SAMPLED && q->pairs < total) count = q->pairs;
  uint64_t used = (v->features * 4 + 63) / 64 * 64;
  float *z = bytes >= used + valid * n * 4 ? (float *)((char *)scratch + used) : 0;
  if (z == 0) *warnings |= ACTSCOPE_WARN_STRIPS;
  struct pairs all;
  pairs_init(&all);
#pragma omp parallel num_threads(q->threads)
  {
    struct pairs mine;
    pairs_init(&mine);
    if (z != 0)
#pragma omp for schedule(static)
      for (uint64_t p = 0; p < valid; ++p) {
        const struct column *c = &columns[list[p]];
        int64_t base = view_offset(&v->feature, list[p]);
        for (uint64_t s = 0; s < n; ++s)
          z[p * n + s] = (float)((dtype_load(v->dtype, v->data, base + view_offset(&v->sample, s)) - c->mean) * column_scale(c));
      }
#pragma omp for schedule(static)
    for (uint64_t k = 0; k < count; ++k) {
      uint64_t i, j;
      double r = 0;
      pairs_index(k, valid, &i, &j);
      if (count < total) i = random_permute(&order, i), j = random_permute(&order, j);
      if (z != 0) {
        for (uint64_t s = 0; s < n; ++s) r += (double)z[i * n + s] * (double)z[j * n + s];
      } else {
        const struct column *a = &columns[list[i]], *b = &columns[list[j]];
        int64_t base_a = view_offset(&v->feature, list[i]), base_b = view_offset(&v->feature, list[j]);
        for (uint64_t s = 0; s < n; ++s) {
          int64_t at = view_offset(&v->sample, s);
          r += (dtype_load(v->dtype, v->data, base_a + at) - a->mean) * (dtype_load(v->dtype, v->data, base_b + at) - b->mean);
        }
        r *= column_scale(a) * column_scale(b);
      }
      r = fabs(r);
      ++mine.count;
      pairs_add(&mine.abs, pairs_fixed(r));
      pairs_add(&mine.square, pairs_fixed(r * r));
      if (r > mine.max) mine.max = r;
      for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t) mine.above[t] += r > actscope_pair_thresholds[t];
      ++mine.histogram[pairs_bin(r)];
    }
#pragma omp critical(actscope_pairs)
    pairs_merge(&all, &mine);
  }
  pairs_finish(&all, q->method, q->functionals, n, valid, out);
  *square_sum = pairs_value(&all.square);
  return ACTSCOPE_OK;
}
