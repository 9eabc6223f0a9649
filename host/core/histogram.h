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

/* How many values the 8 bins from `bin` (a multiple of 8) on hold. */
ACTSCOPE_FN uint64_t histogram_sum8(struct histogram_counts c, uint32_t bin) {
  uint64_t sum = 0;
  if (c.narrow) for (int i = 0; i < 8; ++i) sum += c.narrow[bin + i];
  else for (int i = 0; i < 8; ++i) sum += c.wide[bin + i];
  return sum;
}

/* Bins that are few and far between mispredict branches, each as dear as ten additions: where one of 8 bins is hit, the
 * functions below treat all 8 as if they were. */

/* Quantiles at actscope_quantile_levels, which are whole percents: the smallest v with at least q n finite values <= v.
 * Kept inside [min, max], which makes them exact for constants. NaN when n is 0. counts: dtype_bins(dtype) counters;
 * n: how many of them are finite values. */
ACTSCOPE_FN void histogram_quantiles_of(actscope_dtype dtype, struct histogram_counts counts, uint64_t n, double min,
                                        double max, double out[ACTSCOPE_QUANTILE_COUNT]) {
  const uint32_t percent[ACTSCOPE_QUANTILE_COUNT] = {1, 5, 25, 50, 75, 95, 99};
  uint32_t bins = dtype_bins(dtype), finite = dtype_finite_bins(dtype), k = bins / 2 - finite, end = bins / 2 + finite;
  uint64_t below = 0;
  double value = core_nan();
  for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT; ++q) {
    out[q] = core_nan();
    if (n == 0) continue;
    /* ceil(n percent / 100) without overflow or rounding */
    uint64_t target = n / 100 * percent[q] + (n % 100 * percent[q] + 99) / 100;
    if (target == 0) target = 1;
    while (below < target && k < end) {
      uint32_t bin = histogram_ascending(bins, k);
      if (k % 8 == 0 && k + 8 <= end) {
        uint64_t sum = histogram_sum8(counts, bin & ~7u);
        if (below + sum < target) { below += sum, k += 8; continue; }
      }
      ++k;
      below += histogram_at(counts, bin);
      if (below >= target) value = dtype_bin_value(dtype, bin) + 0.0; /* -0 reads as 0 */
    }
    out[q] = value < min ? min : value > max ? max : value;
  }
}

ACTSCOPE_FN void histogram_quantiles(actscope_dtype dtype, const uint64_t *counts, uint64_t n, double min, double max,
                                     double out[ACTSCOPE_QUANTILE_COUNT]) {
  histogram_quantiles_of(dtype, histogram_of64(counts), n, min, max, out);
}

/* The bucket of a magnitude a > 0 among those of its sign, 1 .. 112: see actscope_value_edge(). */
ACTSCOPE_FN int histogram_bucket(double a) {
  const uint64_t bits = core_bits64(a);
  const int k = 2 * ((int)(bits >> 52 & 2047) - 1023 + 40) + (int)(bits >> 51 & 1) + 1;
  return k < 1 ? 1 : k > ACTSCOPE_VALUE_BUCKETS / 2 ? ACTSCOPE_VALUE_BUCKETS / 2 : k;
}

/* Bins 0 of both signs hold the zeros, and of the wide types what is smaller than any bin tells: all of them stand in
 * buckets[middle] so far. How many are zeros and how many values are negative the moments know. */
ACTSCOPE_FN void histogram_buckets_finish(uint64_t zero, uint64_t negative, uint64_t buckets[ACTSCOPE_VALUE_BUCKETS]) {
  const int middle = ACTSCOPE_VALUE_BUCKETS / 2;
  for (int k = 0; k < middle; ++k) negative -= buckets[k];
  buckets[middle + 1] += buckets[middle] - zero - negative;
  buckets[middle - 1] += negative;
  buckets[middle] = zero;
}

/* The finite values by magnitude, from the counters and what the moments say of the same values. Half an octave is a whole
 * number of bins in every type. */
ACTSCOPE_FN void histogram_buckets_of(actscope_dtype dtype, struct histogram_counts counts, uint64_t zero, uint64_t negative,
                                      uint64_t buckets[ACTSCOPE_VALUE_BUCKETS]) {
  const uint32_t half = dtype_bins(dtype) / 2, finite = dtype_finite_bins(dtype);
  const int middle = ACTSCOPE_VALUE_BUCKETS / 2;
  for (int k = 0; k < ACTSCOPE_VALUE_BUCKETS; ++k) buckets[k] = 0;
  buckets[middle] = histogram_at(counts, 0) + histogram_at(counts, half);
  for (int sign = -1; sign <= 1; sign += 2)
    for (uint32_t from = 0; from < finite; from += 8) {
      const uint32_t first = sign < 0 ? half : 0, last = (from + 8 < finite ? from + 8 : finite) - 1;
      if (histogram_empty8(counts, first + from)) continue;
      const int upto = histogram_bucket(dtype_bin_value(dtype, last));
      if (last == from + 7 && from > 0 && histogram_bucket(dtype_bin_value(dtype, from)) == upto) {
        buckets[middle + sign * upto] += histogram_sum8(counts, first + from);
        continue;
      }
      for (uint32_t bin = from > 0 ? from : 1; bin <= last; ++bin)
        buckets[middle + sign * histogram_bucket(dtype_bin_value(dtype, bin))] += histogram_at(counts, first + bin);
    }
  histogram_buckets_finish(zero, negative, buckets);
}

ACTSCOPE_FN void histogram_buckets(actscope_dtype dtype, const uint64_t *counts, uint64_t zero, uint64_t negative,
                                   uint64_t buckets[ACTSCOPE_VALUE_BUCKETS]) {
  histogram_buckets_of(dtype, histogram_of64(counts), zero, negative, buckets);
}

/* ln a for a > 0 with at most 10 bits of mantissa; logs: those of the mantissas, -1 where not known yet. */
ACTSCOPE_FN double histogram_log(double a, double logs[1024]) {
  const uint64_t bits = core_bits64(a);
  const uint32_t mantissa = bits >> 42 & 1023;
  if (logs[mantissa] < 0) logs[mantissa] = log(1 + mantissa / 1024.0);
  return logs[mantissa] + ((double)(int)(bits >> 52) - 1023) * 0.6931471805599453;
}

/* The first bin that is hit from the k-th on, in ascending (step 1) or descending order (-1) of value; there is one. */
ACTSCOPE_FN uint32_t histogram_extreme(actscope_dtype dtype, struct histogram_counts counts, uint32_t k, int step) {
  for (;;) {
    const uint32_t bin = histogram_ascending(dtype_bins(dtype), k);
    if (histogram_at(counts, bin) != 0) return bin;
    k += (uint32_t)(k % 8 == (step > 0 ? 0 : 7) && histogram_empty8(counts, bin & ~7u) ? 8 * step : step);
  }
}

/* The moments of a narrow type from its complete distribution: two passes over the bins, in double. The bins of v and -v
 * are looked at together. */
ACTSCOPE_FN void histogram_moments_of(actscope_dtype dtype, struct histogram_counts counts, struct moments *m) {
  const uint32_t bins = dtype_bins(dtype), half = bins / 2, finite = dtype_finite_bins(dtype);
  double sum = 0, normal = dtype_smallest_normal(dtype), logs[1024];
  for (int i = 0; i < 1024; ++i) logs[i] = -1;
  moments_init(m);
  for (uint32_t bin = finite; bin < half; ++bin) { /* which kind of non-finite? */
    uint16_t word = (uint16_t)bin;
    float raw = dtype == ACTSCOPE_FLOAT16    ? dtype_f16(word)
                : dtype == ACTSCOPE_BFLOAT16 ? dtype_bf16(word)
                : dtype == ACTSCOPE_FLOAT8_E5M2 ? dtype_e5m2((uint8_t)bin)
                                                : dtype_e4m3((uint8_t)bin);
    uint64_t positive = histogram_at(counts, bin), negative = histogram_at(counts, half + bin);
    if (raw != raw) m->nan += positive + negative;
    else m->positive_inf += positive, m->negative_inf += negative;
  }
  m->n = m->zero = histogram_at(counts, 0) + histogram_at(counts, half);
  for (uint32_t from = 0; from < finite; from += 8) {
    if (histogram_empty8(counts, from) && histogram_empty8(counts, half + from)) continue;
    for (uint32_t bin = from > 0 ? from : 1, end = from + 8 < finite ? from + 8 : finite; bin < end; ++bin) {
      const uint64_t positive = histogram_at(counts, bin), negative = histogram_at(counts, half + bin), c = positive + negative;
      const double a = dtype_bin_value(dtype, bin), w = (double)(int64_t)c * a;
      m->n += c;
      m->negative += negative;
      m->subnormal += a < normal ? c : 0;
      m->abs_sum += w;
      m->abs_log_sum += w * histogram_log(a, logs);
      sum += (double)((int64_t)positive - (int64_t)negative) * a;
    }
  }
  if (m->n == 0) return;
  m->min = dtype_bin_value(dtype, histogram_extreme(dtype, counts, half - finite, 1)) + 0.0;
  m->max = dtype_bin_value(dtype, histogram_extreme(dtype, counts, half + finite - 1, -1)) + 0.0;
  m->mean = sum / (double)m->n;
  double residue = 0;
  for (uint32_t from = 0; from < finite; from += 8) {
    if (histogram_empty8(counts, from) && histogram_empty8(counts, half + from)) continue;
    for (uint32_t bin = from, end = from + 8 < finite ? from + 8 : finite; bin < end; ++bin) {
      const double p = (double)(int64_t)histogram_at(counts, bin), q = (double)(int64_t)histogram_at(counts, half + bin);
      const double a = dtype_bin_value(dtype, bin), d = a - m->mean, e = -a - m->mean, d2 = d * d, e2 = e * e;
      residue += p * d + q * e;
      m->m2 += p * d2 + q * e2;
      m->m3 += p * d2 * d + q * e2 * e;
      m->m4 += p * d2 * d2 + q * e2 * e2;
    }
  }
  m->mean += residue / (double)m->n; /* what the rounding of `sum` left over */
}

ACTSCOPE_FN void histogram_moments(actscope_dtype dtype, const uint64_t *counts, struct moments *m) {
  histogram_moments_of(dtype, histogram_of64(counts), m);
}

/* Distinct values of a narrow type: -0 and +0 are one, all NaN are one; infinities are values. */
ACTSCOPE_FN uint64_t histogram_distinct_of(actscope_dtype dtype, struct histogram_counts counts) {
  const uint32_t bins = dtype_bins(dtype), half = bins / 2, finite = dtype_finite_bins(dtype);
  const uint32_t values = finite + (dtype != ACTSCOPE_FLOAT8_E4M3); /* infinity comes first of what is not finite */
  uint64_t count = 0;
  int nan = 0;
  for (uint32_t sign = 0; sign < bins; sign += half)
    for (uint32_t from = 0; from < half; from += 8) {
      if (histogram_empty8(counts, sign + from)) continue;
      for (uint32_t bin = from; bin < from + 8; ++bin) {
        const int hit = histogram_at(counts, sign + bin) != 0;
        count += (uint64_t)(hit & (bin < values));
        nan |= hit & (bin >= values);
      }
    }
  count -= histogram_at(counts, 0) != 0 && histogram_at(counts, half) != 0;
  return count + (uint64_t)nan;
}
ACTSCOPE_FN uint64_t histogram_distinct(actscope_dtype dtype, const uint64_t *counts) {
  return histogram_distinct_of(dtype, histogram_of64(counts));
}

#endif
