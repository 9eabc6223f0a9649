/* cka.c - what a layer keeps for CKA (core/cka.h), and CKA of two layers by it. */
#include "core/cka.h"

#include "cpu/cpu.h"
#include "cpu/gram.h"
#include "cpu/zscores.h"
#include "error.h"

struct cpu_need actscope_cpu_cka_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  uint64_t list = gram_list_bytes(features);
  struct cpu_need need = actscope_gram_matrix_need(dtype, samples, features, threads);
  return (struct cpu_need){list + need.least, list + need.best};
}

actscope_status actscope_cpu_cka(const struct view *v, const struct column *columns, int threads, void *scratch,
                                 uint64_t bytes, float *kept, int *there) {
  struct gram_matrix m;
  const uint64_t list = gram_list_bytes(v->features);
  *there = 0;
  if (v->features >> 32) return actscope_fail(ACTSCOPE_UNSUPPORTED, "CKA: 2^32 features or more");
  if (bytes < list) goto small;
  uint64_t valid = actscope_zscores_list(columns, v->features, scratch), n = v->samples;
  if (valid == 0 || cka_entries(n) == 0) return ACTSCOPE_OK;
  double most = 0; /* CKA does not depend on a common factor: with this one nothing overflows */
  for (uint64_t i = 0; i < v->features; ++i)
    if (column_valid(&columns[i]) && columns[i].m2 > most) most = columns[i].m2;
  const struct gram_request q = {{v}, {columns}, scratch, valid, 1, threads, 1 / sqrt(most)};
  if (!actscope_gram_matrix(&q, (char *)scratch + list, bytes - list, &m)) goto small;
  double *sum = m.at + n * n, total = 0, before = 0, square = 0;
  memset(sum, 0, n * sizeof *sum);
  for (uint64_t i = 0; i < n; ++i)
    for (uint64_t j = i + 1; j < n; ++j) {
      double k = m.at[i * n + j];
      sum[i] += k, sum[j] += k;
      before += k * k;
    }
  for (uint64_t i = 0; i < n; ++i) total += sum[i];
  for (uint64_t i = 0; i < n; ++i)
    for (uint64_t j = i + 1; j < n; ++j) {
      double a = m.at[i * n + j] = cka_centred(m.at[i * n + j], sum[i], sum[j], total, n);
      square += a * a;
    }
  double scale = cka_scale(square, before);
  for (uint64_t i = 0; i < n; ++i)
    for (uint64_t j = i + 1; j < n; ++j) kept[cka_row(n, i) + j - i - 1] = (float)(m.at[i * n + j] * scale);
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
