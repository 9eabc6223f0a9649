/* pairs.h - functionals of r over pairs of features: which pairs, what is kept of them, the numbers in the end.
 *
 * Sums are integers: |r| <= 1, and a tile's sum is rounded once to 2^-40 and added to a 128-bit total held as two
 * 64-bit words, so that any order of tiles gives the same bits. A signed sum is in two's complement. */
#ifndef ACTSCOPE_CORE_PAIRS_H
#define ACTSCOPE_CORE_PAIRS_H

#include "core/random.h"
#include "core/spread.h"

/* ---- The schedule --------------------------------------------------------------------------------------------------
 * Pair k of the circulant order over d >= 2 features, k = 0 .. d(d-1)/2 - 1: i = k mod d, j = (i + 1 + k / d) mod d.
 * Each unordered pair comes once, for odd and even d. A prefix of M pairs gives every feature 2M/d partners, give or
 * take one: over randomly permuted features that is an equireplicate sample without replacement. */
ACTSCOPE_FN void pairs_index(uint64_t k, uint64_t d, uint64_t *i, uint64_t *j) {
  uint64_t a = k % d, b = a + 1 + k / d;
  *i = a;
  *j = b >= d ? b - d : b;
}
/* SAMPLED: position p of the circulant order is feature list[random_permute(order, p)] of the valid ones. step is
 * the number of the layer's enqueues before this one: every enqueue samples afresh, and every backend, replays of a graph
 * included, looks at the same pairs at the same step. */
ACTSCOPE_FN void pairs_permutation(struct random_permutation *order, uint64_t valid, uint64_t seed, uint64_t step) {
  random_permutation_init(order, valid, seed, step);
}
ACTSCOPE_FN uint64_t pairs_total(uint64_t d) { return d < 2 ? 0 : (d & 1) ? (d - 1) / 2 * d : d / 2 * (d - 1); }

/* ---- The state ---------------------------------------------------------------------------------------------------- */
struct pairs_sum { /* value = (high * 2^32 + low) * 2^-40; low gathers the lower 32 bits of each part */
  uint64_t low, high;
};
struct pairs {
  struct pairs_sum abs, square; /* sum |r|, sum r^2 */
  struct pairs_sum plain;       /* sum r; 0 unless asked for */
  uint32_t max_bits;            /* bits of the largest |r| as float32: they order as it does */
  uint32_t reserved;
  double max;                   /* the same as double, where the backend computes in double */
  uint64_t count;
  uint64_t above[ACTSCOPE_THRESHOLD_COUNT];
  uint64_t histogram[ACTSCOPE_PAIR_BINS];
  double feature_share;         /* of samples: the sum over the steps of what spread.h estimates, .. */
  uint64_t shares;              /* .. and over how many */
};

ACTSCOPE_FN void pairs_init(struct pairs *p) { memset(p, 0, sizeof *p); }

/* A tile's sum, 0 <= sum < 2^22, to fixed point. */
ACTSCOPE_FN uint64_t pairs_fixed(double sum) { return (uint64_t)(sum * 1099511627776.0 + 0.5); }
ACTSCOPE_FN void pairs_add(struct pairs_sum *s, uint64_t fixed) {
  s->low += fixed & 0xFFFFFFFFu;
  s->high += fixed >> 32;
}
ACTSCOPE_FN double pairs_value(const struct pairs_sum *s) {
  uint64_t high = s->high + (s->low >> 32);
  return ldexp((double)high, -8) + ldexp((double)(s->low & 0xFFFFFFFFu), -40);
}
/* The same of a tile's sum of r, |sum| < 2^22. */
ACTSCOPE_FN int64_t pairs_fixed_signed(double sum) { return (int64_t)floor(sum * 1099511627776.0 + 0.5); }
ACTSCOPE_FN void pairs_add_signed(struct pairs_sum *s, int64_t fixed) {
  s->low += (uint64_t)fixed & 0xFFFFFFFFu;
  s->high += (uint64_t)(fixed >> 32);
}
ACTSCOPE_FN double pairs_value_signed(const struct pairs_sum *s) {
  int64_t high = (int64_t)(s->high + (s->low >> 32));
  return ldexp((double)high, -8) + ldexp((double)(s->low & 0xFFFFFFFFu), -40);
}
ACTSCOPE_FN uint32_t pairs_bin(double r) {
  double b = r * ACTSCOPE_PAIR_BINS;
  return b >= ACTSCOPE_PAIR_BINS - 1 ? ACTSCOPE_PAIR_BINS - 1 : (uint32_t)b;
}

ACTSCOPE_FN void pairs_merge(struct pairs *a, const struct pairs *b) {
  a->abs.low += b->abs.low;
  a->abs.high += b->abs.high;
  a->square.low += b->square.low;
  a->square.high += b->square.high;
  a->plain.low += b->plain.low;
  a->plain.high += b->plain.high;
  if (b->max_bits > a->max_bits) a->max_bits = b->max_bits;
  if (b->max > a->max) a->max = b->max;
  a->count += b->count;
  for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t) a->above[t] += b->above[t];
  for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) a->histogram[k] += b->histogram[k];
  a->feature_share += b->feature_share;
  a->shares += b->shares;
}

/* ---- Of each feature ----------------------------------------------------------------------------------------------
 * A step's sum of |r| over the pairs of a feature is an integer of 2^-32: 2^32 pairs fit. Each register tile's part of it
 * is rounded once. Steps are added up in their order. */
ACTSCOPE_FN uint64_t pairs_fixed32(double sum) { return (uint64_t)(sum * 4294967296.0 + 0.5); }
struct pairs_feature {
  double sum;     /* of |r| */
  uint64_t pairs;
  float max;
  uint32_t reserved;
};
ACTSCOPE_FN void pairs_feature_add(struct pairs_feature *f, uint64_t fixed, uint32_t max_bits, uint64_t pairs) {
  float max = core_f32(max_bits);
  f->sum += (double)fixed * (1 / 4294967296.0);
  f->pairs += pairs;
  if (max > f->max) f->max = max;
}
ACTSCOPE_FN void pairs_feature_finish(const struct pairs_feature *f, float *mean, float *max) {
  double m = f->pairs > 0 ? f->sum / (double)f->pairs : core_nan();
  *mean = m > 1 ? 1 : (float)m;
  *max = f->pairs == 0 ? (float)core_nan() : f->max > 1 ? 1 : f->max;
}
/* How many of the first `count` pairs of the circulant order over d features the one at this position takes part in. */
ACTSCOPE_FN uint64_t pairs_partners(uint64_t position, uint64_t d, uint64_t count) {
  uint64_t width = count / d, extra = count % d, back = (position + 2 * d - 1 - width) % d;
  return 2 * width + (position < extra) + (back < extra);
}

/* ---- The numbers --------------------------------------------------------------------------------------------------- */

/* E|r| of two independent normal features over n samples, G((n-1)/2) / (sqrt(pi) G(n/2)); NaN below 2. From n = 2, 3 by
 * f(n+2) = f(n) (n-1)/n; from 128 on by the expansion of G(x+1/2)/G(x) = sqrt(x) (1 - 1/(8x) + ...) at x = (n-1)/2, whose
 * next term is below 1e-13. lgamma would write the global signgam from every thread. */
ACTSCOPE_FN double pairs_noise_floor(uint64_t n) {
  if (n < 2) return core_nan();
  if (n < 128) {
    double f = (n & 1) ? 0.63661977236758134308 : 1; /* 2/pi at n = 3; 1 at n = 2 */
    for (uint64_t k = (n & 1) ? 3 : 2; k < n; k += 2) f *= (double)(k - 1) / (double)k;
    return f;
  }
  double x = 0.5 * ((double)n - 1), y = 1 / x;
  double series = 1 + y * (-0.125 + y * (0.0078125 + y * (5.0 / 1024 + y * (-21.0 / 32768 + y * (-399.0 / 262144)))));
  return 0.56418958354775628695 / (sqrt(x) * series); /* 1/sqrt(pi) */
}

/* sqrt(max(0, (mean r^2 - 1/(N-1)) (N-1)/(N-2))): E r^2 = 1/(N-1) holds for independent features of any marginals.
 * NaN below 3 samples. */
ACTSCOPE_FN double pairs_adjusted_rms(double mean_square, uint64_t n) {
  if (n < 3 || mean_square != mean_square) return core_nan();
  double k = (double)n - 1, v = (mean_square - 1 / k) * k / (k - 1);
  return v > 0 ? sqrt(v > 1 ? 1 : v) : 0;
}

/* What does not need pairs: counts, floor, and NaN for the rest. */
ACTSCOPE_FN void pairs_report_init(uint64_t samples, uint64_t valid, actscope_correlation *out) {
  double none = core_nan();
  memset(out, 0, sizeof *out);
  out->valid_features = valid;
  out->pairs_total = pairs_total(valid);
  out->mean_abs = out->mean_abs_ci95[0] = out->mean_abs_ci95[1] = out->mean_square = out->max_abs = none;
  for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t) out->above[t] = none;
  out->noise_floor = pairs_noise_floor(samples);
  out->adjusted_rms = out->mean = out->split_half = out->split_half_rms = out->noise_floor_shift = none;
}

/* EXACT and SAMPLED. The interval of a sample is 1.96 times the root of spread.h's variance. Steps that look at other pairs each
 * time are independent of each other; of the same pairs, the mean over steps deviates at most as a single step does
 * (Cauchy and Schwarz), and as much where the correlations stay what they were. */
ACTSCOPE_FN void pairs_finish_of(const struct pairs *p, actscope_correlation_method method, uint32_t functionals, int same_pairs,
                                 uint64_t samples, uint64_t valid, uint64_t total_pairs, actscope_correlation *out) {
  pairs_report_init(samples, valid, out);
  out->pairs_total = total_pairs; /* of all steps, where the state covers several */
  out->method = method;
  out->pairs = p->count;
  if (p->count == 0) return;
  double m = (double)p->count;
  out->mean_abs = pairs_value(&p->abs) / m;
  out->mean_square = pairs_value(&p->square) / m;
  out->max_abs = p->max > 0 ? p->max : (double)core_f32(p->max_bits);
  if (out->mean_abs > 1) out->mean_abs = 1;
  if (out->mean_square > 1) out->mean_square = 1;
  if (out->max_abs > 1) out->max_abs = 1;
  double half = 0;
  if (p->count < out->pairs_total) {
    double steps = p->shares ? (double)p->shares : 1, draws = same_pairs ? 1 : steps, share = p->feature_share / steps;
    double drawn = m / steps * draws, v = drawn > 1 ? (out->mean_square - out->mean_abs * out->mean_abs) * drawn / (drawn - 1) : 1;
    if (v > 0) half = 1.959963984540054 * sqrt(spread_variance(v, share, m / steps, (double)valid) / draws);
  }
  out->mean_abs_ci95[0] = out->mean_abs - half < 0 ? 0 : out->mean_abs - half;
  out->mean_abs_ci95[1] = out->mean_abs + half > 1 ? 1 : out->mean_abs + half;
  if (functionals & ACTSCOPE_PAIRS_ABOVE)
    for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t) out->above[t] = (double)p->above[t] / m;
  if (functionals & ACTSCOPE_PAIRS_HISTOGRAM)
    for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) out->histogram[k] = p->histogram[k];
  if (functionals & ACTSCOPE_PAIRS_SIGNED) {
    double mean = pairs_value_signed(&p->plain) / m;
    out->mean = mean > 1 ? 1 : mean < -1 ? -1 : mean;
  }
  out->adjusted_rms = pairs_adjusted_rms(out->mean_square, samples);
}
ACTSCOPE_FN void pairs_finish(const struct pairs *p, actscope_correlation_method method, uint32_t functionals,
                              uint64_t samples, uint64_t valid, actscope_correlation *out) {
  pairs_finish_of(p, method, functionals, 0, samples, valid, pairs_total(valid), out);
}

#endif
