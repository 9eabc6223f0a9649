/* halves.c - correlations of the two halves of the samples, against each other (core/halves.h).
 *
 * By the smaller side: products of the samples of both halves, each standardised by its own half; or the correlations of the
 * features in either. */
#include "core/halves.h"

#include "cpu/cpu.h"
#include "cpu/gram.h"
#include "cpu/zscores.h"
#include "error.h"

static uint64_t columns_bytes(uint64_t features) { return (2 * features * sizeof(struct column) + 63) / 64 * 64; }
static uint64_t square_bytes(uint64_t n) { return (n * n * sizeof(double) + 63) / 64 * 64; }
static void widen(struct cpu_need *need, struct cpu_need stage, uint64_t base) {
  if (base + stage.least > need->least) need->least = base + stage.least;
  if (base + stage.best > need->best) need->best = base + stage.best;
}

struct cpu_need actscope_cpu_halves_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  const uint64_t base = columns_bytes(features), behind = base + gram_list_bytes(features);
  const uint64_t few = features < samples ? features : samples; /* valid features that are taken by features */
  struct cpu_need need = {0, 0};
  if (few > HALVES_SIDE) return need;
  widen(&need, actscope_cpu_columns_need(dtype, samples, features, threads), base);
  if (samples <= features) widen(&need, actscope_gram_matrix_need(dtype, samples + PRODUCT_ROUND, features, threads), behind);
  widen(&need, actscope_gram_matrix_need(dtype, few, samples, threads), behind + square_bytes(few));
  return need;
}

actscope_status actscope_cpu_halves(const actscope_tensor *t, int channels, int threads, void *scratch, uint64_t bytes,
                                    double *congruence, double *rms) {
  struct view v[2];
  struct column *columns[2];
  struct gram_matrix m;
  double first = 0, second = 0, product = 0;
  *congruence = *rms = core_nan();
  if (!halves_split(t, channels, v)) return ACTSCOPE_OK;
  const uint64_t features = v[0].features, samples = v[0].samples + v[1].samples, list_bytes = gram_list_bytes(features);
  if ((features < samples ? features : samples) > HALVES_SIDE) return ACTSCOPE_OK;
  if (bytes < columns_bytes(features) + list_bytes) goto small;
  char *at = (char *)scratch + columns_bytes(features);
  uint64_t left = bytes - columns_bytes(features), valid = 0;
  columns[0] = scratch, columns[1] = columns[0] + features;
  for (int k = 0; k < 2; ++k) {
    actscope_health health;
    actscope_status status = actscope_cpu_columns(&v[k], threads, at, left, columns[k], &health);
    if (status) return status;
  }
  uint32_t *list = (uint32_t *)at;
  for (uint64_t f = 0; f < features; ++f)
    if (column_valid(&columns[0][f]) && column_valid(&columns[1][f])) list[valid++] = (uint32_t)f;
  at += list_bytes, left -= list_bytes;
  if (valid < 2) return ACTSCOPE_OK;
  const double n = (double)valid;
  if (samples <= valid) {
    const struct gram_request q = {{&v[0], &v[1]}, {columns[0], columns[1]}, list, valid, 1, threads, 0};
    if (!actscope_gram_matrix(&q, at, left, &m)) goto small;
    for (uint64_t i = 0; i < m.n; ++i)
      for (uint64_t j = i; j < m.n; ++j) {
        const double k = m.at[i * m.n + j], square = k * k;
        if (i < m.second && j >= m.second) product += square;
        else *(i < m.second ? &first : &second) += i == j ? square : 2 * square;
      }
    first -= n, second -= n, product -= n; /* r_ii */
  } else {
    double *other = (double *)at;
    if (left < square_bytes(valid)) goto small;
    at += square_bytes(valid), left -= square_bytes(valid);
    for (int k = 0; k < 2; ++k) {
      const struct gram_request q = {{&v[k]}, {columns[k]}, list, valid, 0, threads, 0};
      if (!actscope_gram_matrix(&q, at, left, &m)) goto small;
      for (uint64_t i = 0; i < valid; ++i)
        for (uint64_t j = i + 1; j < valid; ++j) {
          const double r = m.at[i * valid + j] / sqrt(m.at[i * valid + i] * m.at[j * valid + j]); /* norms are 1 but for rounding */
          *(k == 0 ? &first : &second) += 2 * r * r;
          if (k == 0) other[i * valid + j] = r; else product += 2 * r * other[i * valid + j];
        }
    }
  }
  halves_finish(product, first, second, valid, congruence, rms);
  return ACTSCOPE_OK;
small:
  return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "halves: %llu bytes of scratch memory are too few", (unsigned long long)bytes);
}
