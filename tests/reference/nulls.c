/* nulls.c - what is there beyond noise, pair by pair: correlations of two halves of the samples, and of rotated samples. */
#include <math.h>
#include <stdlib.h>

#include "reference/reference.h"

/* Samples [from, to) of the features in the list, standardised: z[v * (to - from) + s]. */
static double *scores(const struct ref_matrix *m, const uint64_t *list, uint64_t valid, uint64_t from, uint64_t to) {
  uint64_t n = to - from;
  double *z = malloc((valid * n + 1) * sizeof *z);
  if (z == NULL) abort();
  for (uint64_t v = 0; v < valid; ++v) {
    long double mean = 0, square = 0;
    for (uint64_t s = from; s < to; ++s) mean += m->x[s * m->features + list[v]];
    mean /= n;
    for (uint64_t s = from; s < to; ++s) square += (m->x[s * m->features + list[v]] - mean) * (m->x[s * m->features + list[v]] - mean);
    for (uint64_t s = from; s < to; ++s) z[v * n + s - from] = (double)((m->x[s * m->features + list[v]] - mean) / sqrtl(square));
  }
  return z;
}
static double product(const double *a, const double *b, uint64_t n) {
  double sum = 0;
  for (uint64_t s = 0; s < n; ++s) sum += a[s] * b[s];
  return sum;
}

void ref_split_half(const struct ref_matrix *m, uint64_t first, double *congruence, double *rms) {
  const uint64_t n[2] = {first, m->samples - first};
  uint64_t *list = malloc((m->features + 1) * sizeof *list), valid = 0;
  long double both = 0, own[2] = {0, 0}, pairs = 0;
  if (list == NULL) abort();
  *congruence = *rms = NAN;
  for (uint64_t f = 0; f < m->features; ++f) {
    int good = 1;
    for (int k = 0; k < 2; ++k) { /* finite, and not constant, in either half */
      int moves = 0;
      for (uint64_t s = k ? first : 0; s < (k ? m->samples : first); ++s) {
        if (!isfinite(m->x[s * m->features + f])) good = 0;
        moves |= m->x[s * m->features + f] != m->x[(k ? first : 0) * m->features + f];
      }
      good &= moves;
    }
    if (good) list[valid++] = f;
  }
  if (n[0] >= 3 && n[1] >= 3 && valid >= 2) {
    double *z[2] = {scores(m, list, valid, 0, first), scores(m, list, valid, first, m->samples)};
    for (uint64_t i = 0; i < valid; ++i)
      for (uint64_t j = 0; j < i; ++j) {
        double r[2];
        for (int k = 0; k < 2; ++k) r[k] = product(z[k] + i * n[k], z[k] + j * n[k], n[k]), own[k] += r[k] * r[k];
        both += r[0] * r[1], pairs += 1;
      }
    *congruence = (double)(both / sqrtl(own[0] * own[1]));
    *rms = (double)sqrtl(both > 0 ? both / pairs : 0);
    free(z[0]);
    free(z[1]);
  }
  free(list);
}

double ref_shift(const struct ref_matrix *m, uint64_t seed) {
  const uint64_t n = m->samples, stream = 1ull << 63;
  uint64_t *list = malloc((m->features + 1) * sizeof *list), valid = ref_valid_features(m, list);
  uint64_t group = valid < n ? valid : n, drawn = valid < 1024 ? valid : 1024;
  if (group > 1024) group = 1024;
  if (n && group > 2097152 / n) group = 2097152 / n;
  long double sum = 0;
  uint64_t pairs = 0;
  if (n >= 3 && group >= 2) {
    double *z = scores(m, list, valid, 0, n), *turned = malloc(group * n * sizeof *turned);
    if (turned == NULL) abort();
    for (uint64_t g = 0; g < drawn / group; ++g) {
      for (uint64_t k = 0; k < group; ++k) {
        uint64_t member = ref_permute(valid, seed, stream, g * group + k), offset = ref_permute(n, seed, stream + 1 + g, k);
        for (uint64_t s = 0; s < n; ++s) turned[k * n + (s + offset) % n] = z[member * n + s];
      }
      for (uint64_t i = 0; i < group; ++i)
        for (uint64_t j = 0; j < i; ++j) sum += fabs(product(turned + i * n, turned + j * n, n)), ++pairs;
    }
    free(turned);
    free(z);
  }
  free(list);
  return pairs ? (double)(sum / pairs) : NAN;
}
