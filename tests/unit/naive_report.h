/* naive_report.h - the complete report of a small matrix, measured naively and in double precision, for tests of what
 * is made of reports. It shares nothing with the library. */
#ifndef ACTSCOPE_TESTS_NAIVE_REPORT_H
#define ACTSCOPE_TESTS_NAIVE_REPORT_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "actscope.h"

static uint64_t state; /* of uniform(): SplitMix64 */
static double uniform(void) { /* (0, 1) */
  uint64_t z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return ((double)((z ^ z >> 31) >> 12) + 0.5) / 4503599627370496.0;
}
static double normal(void) { return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform()); }


static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* Entropy of the eigenvalues of the symmetric a (n x n, destroyed) by Jacobi rotations. */
static double spectrum_entropy(double *a, int n) {
  for (int sweep = 0; sweep < 30; ++sweep) {
    double off = 0, diagonal = 0;
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) *(i == j ? &diagonal : &off) += a[i * n + j] * a[i * n + j];
    if (off <= 1e-18 * diagonal) break;
    for (int p = 0; p < n; ++p)
      for (int q = p + 1; q < n; ++q) {
        if (a[p * n + q] == 0) continue;
        double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
        double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
        for (int k = 0; k < n; ++k) {
          double u = a[k * n + p], v = a[k * n + q];
          a[k * n + p] = c * u - s * v;
          a[k * n + q] = s * u + c * v;
        }
        for (int k = 0; k < n; ++k) {
          double u = a[p * n + k], v = a[q * n + k];
          a[p * n + k] = c * u - s * v;
          a[q * n + k] = s * u + c * v;
        }
      }
  }
  double trace = 0, h = 0;
  for (int i = 0; i < n; ++i) trace += a[i * n + i];
  for (int i = 0; i < n; ++i)
    if (a[i * n + i] > 1e-14 * trace) h -= a[i * n + i] / trace * log(a[i * n + i] / trace);
  return h;
}

/* The complete report of x[n][d]. */
static actscope_layer_report measure(actscope_dtype dtype, const double *x, size_t n, size_t d) {
  actscope_layer_report r;
  memset(&r, 0, sizeof r);
  r.statistics = ACTSCOPE_ALL;
  r.dtype = dtype;
  r.elements = n * d;
  r.samples = n;
  r.features = d;
  actscope_profile *p = &r.profile;
  double *sorted = malloc((n * d + 1) * sizeof *sorted), sum = 0, squares = 0;
  p->count = n * d;
  p->min = INFINITY, p->max = -INFINITY;
  for (size_t i = 0; i < n * d; ++i) {
    double v = x[i];
    if (isnan(v)) { ++p->nan; continue; }
    if (isinf(v)) { v > 0 ? ++p->positive_inf : ++p->negative_inf; continue; }
    sorted[p->finite++] = v == 0 ? 0 : v;
    p->zero += v == 0;
    p->negative += v < 0;
    p->min = fmin(p->min, v), p->max = fmax(p->max, v);
    sum += fabs(v), squares += v * v;
  }
  if (p->finite == 0) p->min = p->max = NAN;
  p->abs_mean = sum / (double)p->finite;
  p->l2_norm = sqrt(squares);
  p->mean = p->variance = 0;
  for (size_t i = 0; i < p->finite; ++i) p->mean += sorted[i] / (double)p->finite;
  for (size_t i = 0; i < p->finite; ++i) p->variance += pow(sorted[i] - p->mean, 2) / ((double)p->finite - 1);
  if (p->finite == 0) p->mean = NAN;
  if (p->finite < 2) p->variance = NAN;
  p->entropy = NAN;
  if (p->finite > 1 && sum > 0) {
    p->entropy = 0;
    for (size_t i = 0; i < p->finite; ++i)
      if (sorted[i] != 0) p->entropy -= fabs(sorted[i]) / sum * log(fabs(sorted[i]) / sum) / log((double)p->finite);
  }
  qsort(sorted, p->finite, sizeof *sorted, ascending);
  for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT; ++q) {
    size_t k = (size_t)ceil(actscope_quantile_levels[q] * (double)p->finite - 1e-9);
    p->quantiles[q] = p->finite > 0 ? sorted[k > 0 ? k - 1 : 0] : NAN;
  }
  uint64_t count = (p->nan > 0) + (p->positive_inf > 0) + (p->negative_inf > 0);
  for (size_t i = 0; i < p->finite; ++i) count += i == 0 || sorted[i] != sorted[i - 1];
  free(sorted);
  r.distinct =
      (actscope_distinct){ACTSCOPE_DISTINCT_EXACT, count, 0, count, count, 1 - (double)count / (double)(n * d)};

  double *z = malloc((n * d + 1) * sizeof *z); /* valid features, one a row */
  size_t valid = 0;
  for (size_t f = 0; f < d; ++f) {
    double low = INFINITY, high = -INFINITY, mean = 0, norm = 0, top = 0;
    int finite = 1;
    for (size_t s = 0; s < n; ++s) {
      double v = x[s * d + f];
      if (fabs(v) > top) top = fabs(v);
      if (!isfinite(v)) { finite = 0; continue; }
      low = fmin(low, v), high = fmax(high, v);
      mean += v / (double)n;
    }
    r.health.dead += !(top > 1e-6);
    r.health.nonfinite += !finite;
    for (size_t s = 0; s < n; ++s) norm += pow(x[s * d + f] - mean, 2);
    int constant = finite && (low == high || !(norm > 0)); /* a spread that underflows is none */
    r.health.constant += (uint64_t)constant;
    if (!finite || constant) continue;
    for (size_t s = 0; s < n; ++s) z[valid * n + s] = (x[s * d + f] - mean) / sqrt(norm);
    ++valid;
  }
  r.health.active_fraction = 1 - (double)r.health.dead / (double)d;
  actscope_correlation *c = &r.correlation;
  c->method = ACTSCOPE_CORRELATION_EXACT;
  c->valid_features = valid;
  double absolute = 0, square = 0;
  double *gram = calloc(valid < n ? valid * valid + 1 : n * n + 1, sizeof *gram);
  for (size_t i = 0; i < valid; ++i)
    for (size_t j = 0; j <= i; ++j) {
      double dot = 0;
      for (size_t s = 0; s < n; ++s) dot += z[i * n + s] * z[j * n + s];
      if (valid < n) gram[i * valid + j] = gram[j * valid + i] = dot;
      if (i == j) continue;
      ++c->pairs;
      absolute += fabs(dot), square += dot * dot;
    }
  if (valid >= n)
    for (size_t f = 0; f < valid; ++f)
      for (size_t s = 0; s < n; ++s)
        for (size_t t = 0; t < n; ++t) gram[s * n + t] += z[f * n + s] * z[f * n + t];
  double m = (double)n, pairs = (double)c->pairs;
  c->pairs_total = c->pairs;
  c->mean_abs = c->mean_abs_ci95[0] = c->mean_abs_ci95[1] = absolute / pairs;
  c->mean_square = square / pairs;
  c->noise_floor = n > 1 ? exp(lgamma((m - 1) / 2) - lgamma(m / 2)) / sqrt(M_PI) : NAN;
  double excess = (c->mean_square - 1 / (m - 1)) * (m - 1) / (m - 2);
  c->adjusted_rms = n < 3 || pairs == 0 ? NAN : sqrt(fmax(0, excess));
  r.rank.participation_ratio = (double)(valid * valid) / ((double)valid + 2 * square);
  r.rank.effective_rank = valid > 0 && n > 1 ? exp(spectrum_entropy(gram, (int)(valid < n ? valid : n))) : NAN;
  free(gram);
  free(z);
  double *mean = calloc(d + 1, sizeof *mean), used = 0, cosines = 0; /* of the samples' directions */
  for (size_t s = 0; s < n; ++s) {
    double norm = 0;
    for (size_t f = 0; f < d; ++f) norm += x[s * d + f] * x[s * d + f];
    if (!isfinite(norm)) ++r.similarity.nonfinite_samples;
    else if (norm == 0) ++r.similarity.zero_samples;
    else ++used;
    for (size_t f = 0; f < d && isfinite(norm) && norm > 0; ++f) mean[f] += x[s * d + f] / sqrt(norm);
  }
  for (size_t f = 0; f < d; ++f) cosines += mean[f] * mean[f];
  r.similarity.mean_cosine = used > 1 ? (cosines - used) / (used * (used - 1)) : NAN;
  free(mean);
  return r;
}

#endif
