/* columns.h - feature moments: one small state a feature (column), over the samples.
 *
 * A constant feature is found by min == max, never by its variance: a two-pass variance in float32 misses 57 to 94 % of
 * constants, and each missed one pollutes mean |r|. */
#ifndef ACTSCOPE_CORE_COLUMNS_H
#define ACTSCOPE_CORE_COLUMNS_H

#include "core/core.h"

#define COLUMNS_DEAD 1e-6 /* a feature is dead when no |x| is above this */

/* 32 bytes. Over the finite samples; when a sample is not finite, min is NaN and max is the largest |x| that is not NaN
 * (or -1 when all are NaN), and mean and m2 mean nothing. The number of samples is the caller's. */
struct column {
  double mean, m2; /* m2 = sum (x - mean)^2 */
  double min, max; /* +inf, -inf before the first sample */
};

ACTSCOPE_FN void column_init(struct column *c) {
  c->mean = c->m2 = 0;
  c->min = core_infinity();
  c->max = -core_infinity();
}
ACTSCOPE_FN int column_nonfinite(const struct column *c) { return c->min != c->min; }
ACTSCOPE_FN double column_abs_max(const struct column *c) {
  double a = fabs(c->min), b = fabs(c->max);
  return column_nonfinite(c) ? c->max : a > b ? a : b;
}
ACTSCOPE_FN int column_dead(const struct column *c) { return !(column_abs_max(c) > COLUMNS_DEAD); }
/* m2 that under- or overflows (float64 spreads beyond about 1e+-150) counts with the constants. */
ACTSCOPE_FN int column_constant(const struct column *c) {
  return !column_nonfinite(c) && (c->min == c->max || !(c->m2 > 0) || !core_finite(c->m2));
}
ACTSCOPE_FN int column_valid(const struct column *c) { return !column_nonfinite(c) && !column_constant(c); }
/* z = (x - mean) * column_scale makes sum z^2 = 1, so that r_ij = sum z_i z_j. 0 for features that are left out. */
ACTSCOPE_FN double column_scale(const struct column *c) { return column_valid(c) ? 1 / sqrt(c->m2) : 0; }

/* a (over na samples) becomes the union with b (over nb samples). */
ACTSCOPE_FN void column_merge(struct column *a, double na, const struct column *b, double nb) {
  if (nb == 0) return;
  if (na == 0) { *a = *b; return; }
  int bad_a = column_nonfinite(a), bad_b = column_nonfinite(b);
  if (bad_a || bad_b) {
    double top = fmax(column_abs_max(a), column_abs_max(b));
    a->min = core_nan();
    a->max = top;
    return;
  }
  double d = b->mean - a->mean, n = na + nb;
  a->m2 += b->m2 + d * d * (na * nb / n);
  a->mean += d * (nb / n);
  if (b->min < a->min) a->min = b->min;
  if (b->max > a->max) a->max = b->max;
}

/* Adds the counts over some features to *out. */
ACTSCOPE_FN void columns_count(const struct column *columns, uint64_t features, actscope_health *out) {
  for (uint64_t i = 0; i < features; ++i) {
    out->constant += (uint64_t)column_constant(&columns[i]);
    out->nonfinite += (uint64_t)column_nonfinite(&columns[i]);
    out->dead += (uint64_t)column_dead(&columns[i]);
  }
}
/* What follows from those over all. */
ACTSCOPE_FN void columns_counted(uint64_t features, actscope_health *out) {
  out->active_fraction = features > 0 ? 1 - (double)out->dead / (double)features : core_nan();
}
ACTSCOPE_FN void columns_health(const struct column *columns, uint64_t features, actscope_health *out) {
  out->constant = out->nonfinite = out->dead = 0;
  columns_count(columns, features, out);
  columns_counted(features, out);
}

#endif
