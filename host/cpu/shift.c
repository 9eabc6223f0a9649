/* shift.c - mean |r| of features whose samples are rotated (core/shift.h): a copy of each group, measured as any tensor. */
#include "core/shift.h"

#include "cpu/cpu.h"
#include "cpu/tile.h"
#include "cpu/zscores.h"
#include "error.h"

static uint64_t round_up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }
static uint64_t fixed_bytes(actscope_dtype dtype, uint64_t samples, uint64_t features) {
  const uint64_t group = shift_group(features, samples);
  return round_up(features * sizeof(uint32_t)) + round_up(group * sizeof(struct column)) +
         round_up(group * samples * actscope_tile_size(dtype));
}
static struct cpu_pairs_request request(int threads) {
  return (struct cpu_pairs_request){.method = ACTSCOPE_CORRELATION_EXACT, .threads = threads, .precision = ACTSCOPE_PRECISION_FP32};
}

struct cpu_need actscope_cpu_shift_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  const struct cpu_pairs_request q = request(threads);
  const uint64_t group = shift_group(features, samples), fixed = fixed_bytes(dtype, samples, features);
  if (group < 2) return (struct cpu_need){0, 0};
  struct cpu_need need = actscope_cpu_pairs_need(&q, dtype == ACTSCOPE_FLOAT64 ? dtype : ACTSCOPE_FLOAT32, samples, group);
  return (struct cpu_need){fixed + need.least, fixed + need.best};
}

actscope_status actscope_cpu_shift(const struct view *v, const struct column *columns, uint64_t seed, int threads, void *scratch,
                                   uint64_t bytes, double *floor) {
  const uint64_t n = v->samples, fixed = fixed_bytes(v->dtype, n, v->features);
  const int wide = v->dtype == ACTSCOPE_FLOAT64;
  *floor = core_nan();
  if (n < 3 || shift_group(v->features, n) < 2) return ACTSCOPE_OK;
  if (bytes < fixed) goto small;
  uint32_t *list = scratch;
  const uint64_t valid = actscope_zscores_list(columns, v->features, list), group = shift_group(valid, n);
  const uint64_t groups = shift_groups(valid, group);
  if (groups == 0) return ACTSCOPE_OK;
  struct column *some = (struct column *)((char *)scratch + round_up(v->features * sizeof *list));
  char *copy = (char *)some + round_up(shift_group(v->features, n) * sizeof *some);
  double sum = 0;
  for (uint64_t g = 0; g < groups; ++g) {
    struct random_permutation members, offsets;
    shift_choose(&members, &offsets, valid, n, seed, g);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (uint64_t k = 0; k < group; ++k) {
      const uint32_t f = list[random_permute(&members, g * group + k)];
      const uint64_t offset = random_permute(&offsets, k);
      const int64_t base = view_offset(&v->feature, f);
      some[k] = columns[f];
      for (uint64_t s = 0; s < n; ++s) {
        const double x = dtype_load(v->dtype, v->data, base + view_offset(&v->sample, s));
        const uint64_t to = k * n + (s + offset < n ? s + offset : s + offset - n);
        if (wide) ((double *)copy)[to] = x; else ((float *)copy)[to] = (float)x;
      }
    }
    const int64_t shape[2] = {(int64_t)n, (int64_t)group}, strides[2] = {1, (int64_t)n};
    const actscope_tensor t = {copy, wide ? ACTSCOPE_FLOAT64 : ACTSCOPE_FLOAT32, 2, shape, strides};
    const struct cpu_pairs_request q = request(threads);
    struct view view;
    actscope_correlation c;
    double square;
    uint32_t warnings = 0; /* strips of a sample of features are nobody's concern */
    view_init(&view, &t, 0);
    actscope_status status = actscope_cpu_pairs(&view, some, &q, (char *)scratch + fixed, bytes - fixed, &c, &square, &warnings);
    if (status) return status;
    sum += c.mean_abs;
  }
  *floor = sum / (double)groups;
  return ACTSCOPE_OK;
small:
  return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "shifted features: %llu bytes of scratch memory are too few",
                       (unsigned long long)bytes);
}
