/* moments.h - the profile of a stream of values: counts, extrema, central moments, sums of |x| and |x| ln |x|.
 *
 * Merging follows Pebay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
 * statistical moments", SAND2008-6212. Unshifted sums lose the variance at mean/std = 1000 and the kurtosis at 700;
 * callers accumulate short runs about a pivot near their mean and merge those. */
#ifndef ACTSCOPE_CORE_MOMENTS_H
#define ACTSCOPE_CORE_MOMENTS_H

#include "core/dtype.h"

/* 128 bytes. n counts the finite values; zero, negative and subnormal are among them.
 * Mean and sums are of y = x 2^-exponent, extrema of x itself. The exponent is 0 in every state but those of float64 values
 * so large or so small (moments_exponent) that a fourth power would leave the range of double. */
struct moments {
  uint64_t n;
  double mean, m2, m3, m4;     /* of y; sums of powers of (y - mean) */
  double min, max;             /* +inf, -inf when n is 0 */
  double abs_sum, abs_log_sum; /* sum |y|, sum |y| ln |y| */
  uint64_t nan, positive_inf, negative_inf, zero, negative, subnormal;
  int64_t exponent;
};

ACTSCOPE_FN void moments_init(struct moments *m) {
  memset(m, 0, sizeof *m);
  m->min = core_infinity();
  m->max = -core_infinity();
}

/* Central sums from sums about a pivot: s1..s4 = sum (x - pivot)^k over n > 0 values. Sets n, mean, m2..m4 alone. */
ACTSCOPE_FN void moments_from_shifted(struct moments *m, uint64_t n, double pivot, double s1, double s2, double s3,
                                      double s4) {
  double k = (double)n, e = s1 / k, e2 = e * e;
  m->n = n;
  m->mean = pivot + e;
  m->m2 = s2 - k * e2;
  m->m3 = s3 - 3 * e * s2 + 2 * k * e2 * e;
  m->m4 = s4 - 4 * e * s3 + 6 * e2 * s2 - 3 * k * e2 * e2;
  if (m->m2 < 0) m->m2 = 0;
  if (m->m4 < 0) m->m4 = 0;
}

/* The exponent of a state whose values spread over about 2^scale. A mean may be 2^53 spreads away from zeros in another
 * state: the fourth power of that, times 2^43 values, is still a double. */
ACTSCOPE_FN int64_t moments_exponent(int scale) { return scale > 192 || scale < -192 ? scale : 0; }

/* The same state with another exponent. */
ACTSCOPE_FN void moments_rescale(struct moments *m, int64_t exponent) {
  int64_t by = m->exponent - exponent;
  int shift = by > 10000 ? 10000 : by < -10000 ? -10000 : (int)by;
  m->exponent = exponent;
  if (shift == 0) return;
  m->mean = ldexp(m->mean, shift);
  m->m2 = ldexp(m->m2, 2 * shift);
  m->m3 = ldexp(m->m3, 3 * shift);
  m->m4 = ldexp(m->m4, 4 * shift);
  m->abs_log_sum = ldexp(m->abs_log_sum + 0.6931471805599453 * shift * m->abs_sum, shift);
  m->abs_sum = ldexp(m->abs_sum, shift);
}

/* n, mean, m2..m4 of the union of two states with one exponent. */
ACTSCOPE_FN void moments_merge_central(struct moments *a, const struct moments *b) {
  if (b->n == 0) return;
  if (a->n == 0) {
    a->n = b->n, a->mean = b->mean, a->m2 = b->m2, a->m3 = b->m3, a->m4 = b->m4;
    return;
  }
  double na = (double)a->n, nb = (double)b->n, n = na + nb, d = b->mean - a->mean, dn;
  dn = d / n;
  double cross = d * dn * na * nb; /* d^2 na nb / n */
  a->m4 += b->m4 + cross * dn * dn * (na * na - na * nb + nb * nb) + 6 * dn * dn * (na * na * b->m2 + nb * nb * a->m2) +
           4 * dn * (na * b->m3 - nb * a->m3);
  a->m3 += b->m3 + cross * dn * (na - nb) + 3 * dn * (na * b->m2 - nb * a->m2);
  a->m2 += b->m2 + cross;
  a->mean += dn * nb;
  a->n += b->n;
}

/* a becomes the union. Zeros alone have no size of their own: they take the other's exponent, else the larger wins. */
ACTSCOPE_FN void moments_merge(struct moments *a, const struct moments *b) {
  struct moments scaled;
  if (a->exponent != b->exponent) {
    int64_t to = a->abs_sum == 0 ? b->exponent : b->abs_sum == 0 ? a->exponent
                 : a->exponent > b->exponent ? a->exponent : b->exponent;
    scaled = *b;
    moments_rescale(a, to);
    moments_rescale(&scaled, to);
    b = &scaled;
  }
  moments_merge_central(a, b);
  if (b->min < a->min) a->min = b->min;
  if (b->max > a->max) a->max = b->max;
  a->abs_sum += b->abs_sum;
  a->abs_log_sum += b->abs_log_sum;
  a->nan += b->nan;
  a->positive_inf += b->positive_inf;
  a->negative_inf += b->negative_inf;
  a->zero += b->zero;
  a->negative += b->negative;
  a->subnormal += b->subnormal;
}

/* `count` times the value x (count > 0) into a state with exponent 0; `smallest_normal` is the dtype's. */
ACTSCOPE_FN void moments_update(struct moments *m, double x, uint64_t count, double smallest_normal) {
  if (x != x) { m->nan += count; return; }
  if (!core_finite(x)) {
    if (x > 0) m->positive_inf += count; else m->negative_inf += count;
    return;
  }
  struct moments one;
  memset(&one, 0, sizeof one);
  one.n = count;
  one.mean = x;
  moments_merge_central(m, &one);
  double a = fabs(x), k = (double)count;
  if (x < m->min) m->min = x;
  if (x > m->max) m->max = x;
  m->abs_sum += k * a;
  if (a > 0) m->abs_log_sum += k * a * log(a); else m->zero += count;
  if (x < 0) m->negative += count;
  if (a > 0 && a < smallest_normal) m->subnormal += count;
}

/* The smallest normal magnitude of a type. */
ACTSCOPE_FN double dtype_smallest_normal(actscope_dtype dtype) {
  switch (dtype) {
    case ACTSCOPE_FLOAT16:
    case ACTSCOPE_FLOAT8_E5M2: return 6.103515625e-05;   /* 2^-14 */
    case ACTSCOPE_FLOAT8_E4M3: return 0.015625;          /* 2^-6 */
    case ACTSCOPE_FLOAT64: return 2.2250738585072014e-308;
    default: return 1.1754943508222875e-38;              /* float32, bfloat16 */
  }
}

/* The numbers, quantiles aside. parts: ACTSCOPE_MOMENTS and ACTSCOPE_ENTROPY; what was not asked for is NaN, or 0 where it
 * is a count of special values; count and finite are always there. */
ACTSCOPE_FN void moments_finish(const struct moments *m, uint32_t parts, actscope_profile *out) {
  double none = core_nan(), n = (double)m->n;
  int exponent = (int)m->exponent;
  out->finite = m->n;
  out->count = m->n + m->nan + m->positive_inf + m->negative_inf;
  out->nan = out->positive_inf = out->negative_inf = out->zero = out->negative = out->subnormal = 0;
  out->min = out->max = out->mean = out->variance = out->std = out->skewness = out->kurtosis = none;
  out->abs_mean = out->abs_max = out->l2_norm = out->entropy = none;
  if (parts & ACTSCOPE_MOMENTS) {
    out->nan = m->nan;
    out->positive_inf = m->positive_inf;
    out->negative_inf = m->negative_inf;
    out->zero = m->zero;
    out->negative = m->negative;
    out->subnormal = m->subnormal;
  }
  if ((parts & ACTSCOPE_MOMENTS) && m->n > 0) {
    out->min = m->min + 0.0; /* -0 reads as 0 */
    out->max = m->max + 0.0;
    out->mean = ldexp(m->mean, exponent);
    out->abs_max = fmax(fabs(m->min), fabs(m->max));
    out->abs_mean = ldexp(m->abs_sum / n, exponent);
    out->l2_norm = ldexp(sqrt(m->m2 + n * m->mean * m->mean), exponent);
    if (m->min == m->max) { /* rounding must not give a constant a spread */
      out->mean = out->min;
      out->abs_mean = out->abs_max;
      out->l2_norm = sqrt(n) * out->abs_max;
      if (m->n > 1) out->variance = out->std = 0;
    } else if (m->n > 1) {
      out->variance = ldexp(m->m2 / (n - 1), 2 * exponent);
      out->std = ldexp(sqrt(m->m2 / (n - 1)), exponent);
      double v = m->m2 / n, skewness = m->m3 / n / (v * sqrt(v)), kurtosis = m->m4 / n / (v * v) - 3;
      if (core_finite(skewness)) out->skewness = skewness;
      if (core_finite(kurtosis)) out->kurtosis = kurtosis;
    }
  }
  if ((parts & ACTSCOPE_ENTROPY) && m->n > 1 && m->abs_sum > 0) {
    double h = (log(m->abs_sum) - m->abs_log_sum / m->abs_sum) / log(n);
    out->entropy = h < 0 ? 0 : h > 1 || m->min == m->max ? 1 : h;
  }
}

#endif
