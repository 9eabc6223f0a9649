/* histogram.h - the value histogram: one counter a bin of dtype.h; merging is adding.
 *
 * For 16- and 8-bit types it is the complete distribution, and the whole profile follows from it. */
#ifndef ACTSCOPE_CORE_HISTOGRAM_H
#define ACTSCOPE_CORE_HISTOGRAM_H

#include "core/moments.h"

/* The k-th bin in ascending order of value, k = 0 .. bins-1: from the largest negative magnitude through both zeros. */
ACTSCOPE_FN uint32_t histogram_ascending(uint32_t bins, uint32_t k) {
  return k < bins / 2 ? bins - 1 - k : k - bins / 2;
}

/* The counters of one histogram, 32 or 64 bits wide: counters below 2^32 need half the memory. */
struct histogram_counts {
  const uint32_t *narrow; /* NULL: wide is meant */
  const uint64_t *wide;
};
ACTSCOPE_FN struct histogram_counts histogram_of32(const uint32_t *counts) { struct histogram_counts c = {counts, 0}; return c; }
ACTSCOPE_FN struct histogram_counts histogram_of64(const uint64_t *counts) { struct histogram_counts c = {0, counts}; return c; }
ACTSCOPE_FN uint64_t histogram_at(struct histogram_counts c, uint32_t bin) { return c.narrow ? c.narrow[bin] : c.wide[bin]; }
/* 1 when the 8 bins from `bin` (a multiple of 8) on are empty: most bins of most tensors are. */
ACTSCOPE_FN int histogram_empty8(struct histogram_counts c, uint32_t bin) {
  uint64_t any = 0;
  if (c.narrow) for (int i = 0; i < 8; ++i) any |= c.narrow[bin + i];
  else for (int i = 0; i < 8; ++i) any |= c.wide[bin + i];
  return any == 0;
}

/* Quantiles at actscope_quantile_levels, which are whole percents: the smallest v with at least q n finite values <= v.
 * Kept inside [min, max], which makes them exact for constants. NaN when n is 0. counts: dtype_bins(dtype) counters;
 * n: how many of them are finite values. */
ACTSCOPE_FN void histogram_quantiles_of(actscope_dtype dtype, struct histogram_counts counts, uint64_t n, double min,
                                        double max, double out[ACTSCOPE_QUANTILE_COUNT]) {
  const uint32_t percent[ACTSCOPE_QUANTILE_COUNT] = {1, 5, 25, 50, 75, 95, 99};
  uint32_t bins = dtype_bins(dtype), k = 0;
  uint64_t below = 0;
  double value = core_nan();
  for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT; ++q) {
    out[q] = core_nan();
    if (n == 0) continue;
    /* ceil(n percent / 100) without overflow or rounding */
    uint64_t target = n / 100 * percent[q] + (n % 100 * percent[q] + 99) / 100;
    if (target == 0) target = 1;
    while (below < target && k < bins) {
      uint32_t bin = histogram_ascending(bins, k);
      if (k % 8 == 0 && histogram_empty8(counts, bin & ~7u)) { k += 8; continue; }
      ++k;
      uint64_t c = histogram_at(counts, bin);
      if (c == 0) continue;
      double v = dtype_bin_value(dtype, bin);
      if (v != v) continue; /* not finite */
      below += c;
      value = v + 0.0; /* -0 reads as 0 */
    }
    out[q] = value < min ? min : value > max ? max : value;
  }
}

ACTSCOPE_FN void histogram_quantiles(actscope_dtype dtype, const uint64_t *counts, uint64_t n, double min, double max,
                                     double out[ACTSCOPE_QUANTILE_COUNT]) {
  histogram_quantiles_of(dtype, histogram_of64(counts), n, min, max, out);
}

/* The moments of a narrow type from its complete distribution: two passes over the bins, in double. */
ACTSCOPE_FN void histogram_moments_of(actscope_dtype dtype, struct histogram_counts counts, struct moments *m) {
  uint32_t bins = dtype_bins(dtype);
  double sum = 0, normal = dtype_smallest_normal(dtype);
  moments_init(m);
  for (uint32_t k = 0; k < bins; ++k) {
    uint32_t bin = histogram_ascending(bins, k);
    if (k % 8 == 0 && histogram_empty8(counts, bin & ~7u)) { k += 7; continue; }
    uint64_t c = histogram_at(counts, bin);
    if (c == 0) continue;
    double v = dtype_bin_value(dtype, bin), w = (double)c;
    if (v != v) { /* which kind of non-finite? */
      uint16_t word = (uint16_t)bin;
      double raw = dtype == ACTSCOPE_FLOAT16    ? (double)dtype_f16(word)
                   : dtype == ACTSCOPE_BFLOAT16 ? (double)dtype_bf16(word)
                   : dtype == ACTSCOPE_FLOAT8_E5M2 ? (double)dtype_e5m2((uint8_t)bin)
                                                   : v;
      if (raw != raw) m->nan += c;
      else if (raw > 0) m->positive_inf += c;
      else m->negative_inf += c;
      continue;
    }
    double a = fabs(v);
    m->n += c;
    sum += w * v;
    if (v < m->min) m->min = v + 0.0;
    if (v > m->max) m->max = v + 0.0;
    m->abs_sum += w * a;
    if (a > 0) m->abs_log_sum += w * a * log(a); else m->zero += c;
    if (v < 0) m->negative += c;
    if (a > 0 && a < normal) m->subnormal += c;
  }
  if (m->n == 0) return;
  m->mean = sum / (double)m->n;
  double residue = 0;
  for (uint32_t bin = 0; bin < bins; ++bin) {
    if (bin % 8 == 0 && histogram_empty8(counts, bin)) { bin += 7; continue; }
    uint64_t c = histogram_at(counts, bin);
    if (c == 0) continue;
    double v = dtype_bin_value(dtype, bin);
    if (v != v) continue;
    double d = v - m->mean, w = (double)c, d2 = d * d;
    residue += w * d;
    m->m2 += w * d2;
    m->m3 += w * d2 * d;
    m->m4 += w * d2 * d2;
  }
  m->mean += residue / (double)m->n; /* what the rounding of `sum` left over */
}

ACTSCOPE_FN void histogram_moments(actscope_dtype dtype, const uint64_t *counts, struct moments *m) {
  histogram_moments_of(dtype, histogram_of64(counts), m);
}

/* Distinct values of a narrow type: -0 and +0 are one, all NaN are one. */
ACTSCOPE_FN uint64_t histogram_distinct_of(actscope_dtype dtype, struct histogram_counts counts) {
  uint32_t bins = dtype_bins(dtype), half = bins / 2;
  uint64_t count = 0;
  int nan = 0;
  for (uint32_t bin = 0; bin < bins; ++bin) {
    if (bin % 8 == 0 && histogram_empty8(counts, bin)) { bin += 7; continue; }
    if (histogram_at(counts, bin) == 0) continue;
    if (bin == half && histogram_at(counts, 0) != 0) continue; /* -0 beside +0 */
    double v = bins == 256 ? (dtype == ACTSCOPE_FLOAT8_E4M3 ? (double)dtype_e4m3((uint8_t)bin) : (double)dtype_e5m2((uint8_t)bin))
                           : (dtype == ACTSCOPE_FLOAT16 ? (double)dtype_f16((uint16_t)bin) : (double)dtype_bf16((uint16_t)bin));
    if (v != v) nan = 1; else ++count;
  }
  return count + (uint64_t)nan;
}
ACTSCOPE_FN uint64_t histogram_distinct(actscope_dtype dtype, const uint64_t *counts) {
  return histogram_distinct_of(dtype, histogram_of64(counts));
}

#endif
