/* compare.c - element by element, in one message. */
#include "reference/compare.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference/reference.h"

void compare_begin(struct compare *c, const char *title, ...) {
  va_list list;
  memset(c, 0, sizeof *c);
  c->worst = -1;
  va_start(list, title);
  vsnprintf(c->title, sizeof c->title, title, list);
  va_end(list);
}

static void wrong(struct compare *c, const char *name, uint64_t index, uint64_t n, double got, double ref,
                  double allowed, double badness) {
  ++c->wrong;
  if (!(badness > c->worst)) return;
  c->worst = badness;
  c->got = got;
  c->ref = ref;
  c->allowed = allowed;
  if (n == 1) snprintf(c->worst_at, sizeof c->worst_at, "%s", name);
  else snprintf(c->worst_at, sizeof c->worst_at, "%s[%llu]", name, (unsigned long long)index);
}

static void element(struct compare *c, const char *name, uint64_t index, uint64_t n, double got, double ref,
                    double atol, double rtol) {
  double allowed = atol + rtol * fabs(ref), error = fabs(got - ref);
  ++c->count;
  if (isnan(ref) ? isnan(got) : isinf(ref) ? got == ref : error <= allowed) return;
  wrong(c, name, index, n, got, ref, allowed, isfinite(got) && isfinite(ref) ? error / fmax(allowed, DBL_MIN) : INFINITY);
}

void compare_array(struct compare *c, const char *name, const double *got, const double *ref, uint64_t n, double atol,
                   double rtol) {
  for (uint64_t i = 0; i < n; ++i) element(c, name, i, n, got[i], ref[i], atol, rtol);
}

void compare_floats(struct compare *c, const char *name, const float *got, const double *ref, uint64_t n, double atol,
                    double rtol) {
  for (uint64_t i = 0; i < n; ++i) element(c, name, i, n, got[i], ref[i], atol, rtol);
}

void compare_value(struct compare *c, const char *name, double got, double ref, double atol, double rtol) {
  element(c, name, 0, 1, got, ref, atol, rtol);
}

void compare_counts(struct compare *c, const char *name, const uint64_t *got, const uint64_t *ref, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) {
    ++c->count;
    if (got[i] == ref[i]) continue;
    double difference = got[i] > ref[i] ? (double)(got[i] - ref[i]) : (double)(ref[i] - got[i]);
    wrong(c, name, i, n, (double)got[i], (double)ref[i], 0, 1e300 * (1 - 1 / (1 + difference)));
  }
}

void compare_count(struct compare *c, const char *name, uint64_t got, uint64_t ref) {
  compare_counts(c, name, &got, &ref, 1);
}

void compare_between(struct compare *c, const char *name, double got, double low, double high) {
  element(c, name, 0, 1, got, 0.5 * (low + high), 0.5 * (high - low), 4 * DBL_EPSILON);
}

void compare_bytes(struct compare *c, const char *name, const void *got, const void *ref, size_t n) {
  const unsigned char *a = got, *b = ref;
  ++c->count;
  for (size_t i = 0; i < n; ++i)
    if (a[i] != b[i]) {
      wrong(c, name, i, n, a[i], b[i], 0, INFINITY);
      return;
    }
}

uint64_t compare_end(struct compare *c) {
  if (c->count == 0) {
    c->wrong = 1;
    snprintf(c->text, sizeof c->text, "%s: nothing was compared", c->title);
  } else if (c->wrong == 0) {
    snprintf(c->text, sizeof c->text, "%s: %llu right", c->title, (unsigned long long)c->count);
  } else {
    snprintf(c->text, sizeof c->text, "%s: %llu of %llu wrong, worst %s: got %.17g, want %.17g, error %.3g, allowed %.3g",
             c->title, (unsigned long long)c->wrong, (unsigned long long)c->count, c->worst_at, c->got, c->ref,
             fabs(c->got - c->ref), c->allowed);
  }
  return c->wrong;
}

/* ---- Reports --------------------------------------------------------------------------------------------------------- */

/* rtol of the number itself; atol as a multiple of the natural scale beside it. Every reason is a property of the
 * method; single precision is what the vector paths accumulate runs of 64 in. */
static const struct bound {
  double rtol, atol;
} bound_mean = {1e-6, 1e-6},  /* atol x mean |x|: where positive and negative cancel, the error is that of sum |x| */
  bound_variance = {2e-6, 0}, /* runs of 64 about a pivot near their mean: 5e-7 measured on the worst inputs */
  bound_std = {1e-6, 0},      /* half of the variance's */
  bound_skewness = {1e-5, 1e-5}, /* atol x 1: third and fourth powers of the same rounding */
  bound_kurtosis = {1e-5, 2e-5}, /* atol x (kurtosis + 3) */
  bound_abs_mean = {1e-6, 0}, /* all terms have one sign */
  bound_l2 = {1e-6, 0},
  bound_entropy = {0, 2e-6},  /* atol x 1: the logarithm's polynomial is good to 2e-6 */
  bound_quantile = {1.0 / 256, 9.2e-41}, /* a bin's midpoint; atol: 2^-133, the width of the subnormals' bins */
  bound_mean_r = {1e-6, 1e-7}, /* mean |r|, mean r^2: errors of single |r| cancel */
  bound_max_r = {0, 2e-6},     /* one |r| of standardised features in single precision */
  bound_adjusted = {1e-5, 2e-4}, /* a square root near 0: sqrt of the mean square's 4e-8 */
  bound_rank = {1e-5, 0},        /* second moments of the spectrum */
  bound_cosine = {0, 1e-12};     /* sums in double; where directions cancel, of n unit vectors divided by n^2 */

double compare_r_slack(uint64_t samples) { return 2e-7 * sqrt((double)samples + 16) + 4e-7; }
double compare_count_slack(uint64_t samples, uint64_t valid) {
  return valid >= 4096 && valid <= 131072 && samples >= 64 ? 1e-4 : compare_r_slack(samples);
}

#define VALUE(field, bound, scale) \
  compare_value(c, #field, got->field, ref->field, (bound).atol * (scale), (bound).rtol)
#define COUNT(field) compare_count(c, #field, got->field, ref->field)

void compare_profile(struct compare *c, const actscope_profile *got, const actscope_profile *ref, actscope_dtype dtype,
                     uint32_t statistics) {
  int exact = dtype != ACTSCOPE_FLOAT32 && dtype != ACTSCOPE_FLOAT64;
  struct bound quantile = bound_quantile, none = {0, 0};
  if (statistics & ACTSCOPE_MOMENTS) {
    COUNT(count);
    COUNT(finite);
    COUNT(nan);
    COUNT(positive_inf);
    COUNT(negative_inf);
    COUNT(zero);
    COUNT(negative);
    COUNT(subnormal);
    VALUE(min, none, 0);
    VALUE(max, none, 0);
    VALUE(abs_max, none, 0);
    VALUE(mean, bound_mean, ref->finite ? ref->abs_mean : 0);
    VALUE(variance, bound_variance, 0);
    VALUE(std, bound_std, 0);
    VALUE(skewness, bound_skewness, 1);
    VALUE(kurtosis, bound_kurtosis, isnan(ref->kurtosis) ? 0 : ref->kurtosis + 3);
    VALUE(abs_mean, bound_abs_mean, 0);
    VALUE(l2_norm, bound_l2, 0);
  }
  if (statistics & ACTSCOPE_ENTROPY) VALUE(entropy, bound_entropy, 1);
  if (statistics & ACTSCOPE_QUANTILES) {
    if (exact) quantile = none;
    for (int k = 0; k < ACTSCOPE_VALUE_BUCKETS; ++k) compare_count(c, "a bucket of values", got->buckets[k], ref->buckets[k]);
    compare_array(c, "quantiles", got->quantiles, ref->quantiles, ACTSCOPE_QUANTILE_COUNT, quantile.atol, quantile.rtol);
  }
}

void compare_health(struct compare *c, const actscope_health *got, const actscope_health *ref) {
  struct bound rounding = {4 * DBL_EPSILON, 0};
  COUNT(constant);
  COUNT(nonfinite);
  COUNT(dead);
  VALUE(active_fraction, rounding, 0);
}

void compare_correlation(struct compare *c, const actscope_correlation *got, const struct ref_correlation *bounds,
                         uint32_t functionals) {
  const actscope_correlation *ref = &bounds->value;
  struct bound floor_bound = {3e-12, 0}; /* differences of log-gammas; the recurrence itself rounds n times */
  double m = (double)ref->pairs;
  compare_count(c, "correlation.method", (uint64_t)got->method, (uint64_t)ref->method);
  COUNT(pairs);
  COUNT(pairs_total);
  COUNT(valid_features);
  VALUE(noise_floor, floor_bound, 0);
  VALUE(mean_square, bound_mean_r, 1);
  VALUE(adjusted_rms, bound_adjusted, 1);
  VALUE(mean_abs, bound_mean_r, 1);
  VALUE(max_abs, bound_max_r, 1);
  if (functionals & ACTSCOPE_PAIRS_SIGNED) VALUE(mean, bound_mean_r, 1);
  else compare_value(c, "mean", got->mean, NAN, 0, 0);
  const double *halves[][2] = {{&got->split_half, &ref->split_half}, {&got->split_half_rms, &ref->split_half_rms}};
  for (int k = 0; k < 2; ++k)
    compare_value(c, k ? "split_half_rms" : "split_half", *halves[k][0], functionals & ACTSCOPE_PAIRS_SPLIT_HALF ? *halves[k][1] : NAN,
                  bound_mean_r.atol, bound_mean_r.rtol);
  compare_value(c, "noise_floor_shift", got->noise_floor_shift, functionals & ACTSCOPE_PAIRS_SHIFT ? ref->noise_floor_shift : NAN,
                bound_mean_r.atol, bound_mean_r.rtol);
  /* The interval is mean |r| and a multiple of sqrt(variance / m), variance = mean r^2 - (mean |r|)^2: where all |r| are
   * alike, what the means may be off by is all of it. */
  double a = ref->mean_abs, v = ref->mean_square - a * a, off = bound_mean_r.rtol * a + bound_mean_r.atol;
  double variance_off = bound_mean_r.rtol * ref->mean_square + bound_mean_r.atol + 2 * a * off;
  v = v > 0 ? v : 0;
  double half_off = m > 0 && ref->pairs < ref->pairs_total ? 1.96 * (sqrt((v + variance_off) / m) - sqrt(v / m)) : 0;
  compare_array(c, "mean_abs_ci95", got->mean_abs_ci95, ref->mean_abs_ci95, 2, off + half_off, 0);
  uint64_t below = 0;
  for (int k = 0; k < ACTSCOPE_THRESHOLD_COUNT; ++k) {
    double none = NAN;
    if (!(functionals & ACTSCOPE_PAIRS_ABOVE) || ref->pairs == 0)
      compare_value(c, "above", got->above[k], none, 0, 0);
    else
      compare_between(c, "above", got->above[k], (double)bounds->above_least[k] / m, (double)bounds->above_most[k] / m);
  }
  for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) {
    if (!(functionals & ACTSCOPE_PAIRS_HISTOGRAM)) {
      compare_count(c, "histogram", got->histogram[k], 0);
      continue;
    }
    below += got->histogram[k];
    char name[40];
    snprintf(name, sizeof name, "sum of histogram[0..%d]", k);
    compare_between(c, name, (double)below, (double)bounds->below_least[k + 1], (double)bounds->below_most[k + 1]);
  }
}

void compare_rank(struct compare *c, const actscope_rank *got, const actscope_rank *ref) {
  VALUE(participation_ratio, bound_rank, 0);
  VALUE(effective_rank, bound_rank, 0);
}

void compare_similarity(struct compare *c, const actscope_similarity *got, const actscope_similarity *ref) {
  VALUE(mean_cosine, bound_cosine, 1);
  COUNT(zero_samples);
  COUNT(nonfinite_samples);
}

/* ---- Guarded buffers ------------------------------------------------------------------------------------------------- */

enum { GUARD = 256 }; /* bytes on each side */

/* Depends on the place, so that copying guards about is seen too. */
static unsigned char guard_byte(const unsigned char *at) { return (unsigned char)(0x5B ^ ((uintptr_t)at * 29)); }

void guard_alloc(struct guarded *g, size_t bytes, size_t alignment, size_t offset, int poison) {
  g->bytes = bytes;
  g->block_bytes = bytes + 2 * GUARD + 2 * 4096;
  g->block = malloc(g->block_bytes);
  if (g->block == NULL) abort();
  uintptr_t at = (uintptr_t)g->block + GUARD;
  g->data = (unsigned char *)((at + alignment - 1) / alignment * alignment + offset % 4096);
  for (unsigned char *p = g->block; p < g->data; ++p) *p = guard_byte(p);
  for (unsigned char *p = g->data + bytes; p < g->block + g->block_bytes; ++p) *p = guard_byte(p);
  guard_poison(g, poison);
}

void guard_poison(struct guarded *g, int poison) { memset(g->data, poison, g->bytes); }

size_t guard_damage(const struct guarded *g) {
  size_t damaged = 0;
  for (const unsigned char *p = g->block; p < g->data; ++p) damaged += *p != guard_byte(p);
  for (const unsigned char *p = g->data + g->bytes; p < g->block + g->block_bytes; ++p) damaged += *p != guard_byte(p);
  return damaged;
}

int guard_untouched(const struct guarded *g, int poison) {
  for (size_t i = 0; i < g->bytes; ++i)
    if (g->data[i] != (unsigned char)poison) return 0;
  return 1;
}

void guard_free(struct guarded *g) {
  free(g->block);
  g->block = g->data = NULL;
}
