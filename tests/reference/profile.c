/* profile.c - profile, distinct values and column health from their definitions: two passes in long double, sorting. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/reference.h"

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* The finite values in ascending order; the caller frees them. */
static double *sorted_finite(const struct ref_matrix *m, uint64_t *count) {
  double *v = malloc((m->elements + 1) * sizeof *v);
  if (v == NULL) abort();
  *count = 0;
  for (uint64_t i = 0; i < m->elements; ++i)
    if (isfinite(m->x[i])) v[(*count)++] = m->x[i];
  qsort(v, *count, sizeof *v, ascending);
  return v;
}

void ref_profile(const struct ref_matrix *m, actscope_profile *out) {
  static const unsigned percent[ACTSCOPE_QUANTILE_COUNT] = {1, 5, 25, 50, 75, 95, 99};
  uint64_t n;
  double *v = sorted_finite(m, &n), tiny = ref_smallest_normal(m->dtype);
  memset(out, 0, sizeof *out);
  out->count = m->elements;
  out->finite = n;
  for (uint64_t i = 0; i < m->elements; ++i) {
    if (isnan(m->x[i])) ++out->nan;
    if (isinf(m->x[i])) ++*(m->x[i] > 0 ? &out->positive_inf : &out->negative_inf);
  }
  for (uint64_t i = 0; i < n; ++i) {
    if (v[i] == 0) ++out->zero;
    if (v[i] < 0) ++out->negative;
    if (v[i] != 0 && fabs(v[i]) < tiny) ++out->subnormal;
  }
  out->min = out->max = out->mean = out->variance = out->std = out->skewness = out->kurtosis = NAN;
  out->abs_mean = out->abs_max = out->l2_norm = out->entropy = NAN;
  for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT; ++q) out->quantiles[q] = NAN;
  if (n == 0) {
    free(v);
    return;
  }
  long double sum = 0, absolute = 0, squares = 0, mean, rest = 0, m2 = 0, m3 = 0, m4 = 0, count = (long double)n;
  for (uint64_t i = 0; i < n; ++i) {
    sum += v[i];
    absolute += fabsl(v[i]);
    squares += (long double)v[i] * v[i];
  }
  mean = sum / count;
  for (uint64_t i = 0; i < n; ++i) rest += v[i] - mean;
  mean += rest / count;
  for (uint64_t i = 0; i < n; ++i) {
    long double d = v[i] - mean;
    m2 += d * d;
    m3 += d * d * d;
    m4 += d * d * d * d;
  }
  out->min = v[0];
  out->max = v[n - 1];
  out->mean = (double)mean;
  out->abs_mean = (double)(absolute / count);
  out->abs_max = fmax(fabs(v[0]), fabs(v[n - 1]));
  out->l2_norm = (double)sqrtl(squares);
  if (n > 1) {
    int constant = v[0] == v[n - 1];
    out->variance = constant ? 0 : (double)(m2 / (count - 1));
    out->std = constant ? 0 : (double)sqrtl(m2 / (count - 1));
    if (!constant) {
      long double spread = m2 / count;
      out->skewness = (double)(m3 / count / (spread * sqrtl(spread)));
      out->kurtosis = (double)(m4 / count / (spread * spread) - 3);
    }
    if (absolute > 0) {
      long double entropy = 0;
      for (uint64_t i = 0; i < n; ++i) {
        long double p = fabsl(v[i]) / absolute;
        if (p > 0) entropy -= p * logl(p);
      }
      out->entropy = (double)(entropy / logl(count));
    }
  }
  for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT; ++q) {
    uint64_t k = 0; /* v[k] is the smallest value with at least q n values up to it */
    while (100 * (k + 1) < percent[q] * n) ++k;
    out->quantiles[q] = v[k];
  }
  for (uint64_t i = 0; i < n; ++i) {
    int exponent, k;
    double f = frexp(fabs(v[i]), &exponent); /* |v| = f 2^exponent, 1/2 <= f < 1 */
    k = 1 + 2 * (exponent - 1 + 40) + (f >= 0.75);
    k = k < 1 ? 1 : k > 112 ? 112 : k;
    ++out->buckets[v[i] == 0 ? 112 : v[i] < 0 ? 112 - k : 112 + k];
  }
  free(v);
}

uint64_t ref_distinct(const struct ref_matrix *m) {
  uint64_t n = 0, count = 0, nan = 0;
  double *v = malloc((m->elements + 1) * sizeof *v);
  if (v == NULL) abort();
  for (uint64_t i = 0; i < m->elements; ++i) {
    if (isnan(m->x[i])) nan = 1;
    else v[n++] = m->x[i];
  }
  qsort(v, n, sizeof *v, ascending);
  for (uint64_t i = 0; i < n; ++i) count += i == 0 || v[i] != v[i - 1];
  free(v);
  return count + nan;
}

void ref_health(const struct ref_matrix *m, actscope_health *out) {
  memset(out, 0, sizeof *out);
  for (uint64_t f = 0; f < m->features; ++f) {
    int finite = 1, equal = 1, active = 0;
    for (uint64_t s = 0; s < m->samples; ++s) {
      double x = m->x[s * m->features + f];
      if (!isfinite(x)) finite = 0;
      if (x != m->x[f]) equal = 0;
      if (fabs(x) > 1e-6) active = 1;
    }
    out->constant += (uint64_t)(finite && equal);
    out->nonfinite += (uint64_t)!finite;
    out->dead += (uint64_t)!active;
  }
  out->active_fraction = m->features ? 1 - (double)out->dead / (double)m->features : NAN;
}
