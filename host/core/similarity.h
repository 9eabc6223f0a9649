/* similarity.h - how alike the samples are: the mean cosine over all pairs of samples, without any pair.
 *
 * With u_i = x_i / |x_i| for the n samples that have a direction,
 *   sum over i != j of cos(x_i, x_j) = |sum_i u_i|^2 - sum_i |u_i|^2 = |sum_i u_i|^2 - n
 * so one vector of D sums is all the state there is. It merges by addition. */
#ifndef ACTSCOPE_CORE_SIMILARITY_H
#define ACTSCOPE_CORE_SIMILARITY_H

#include "core/core.h"

/* Sums of squares below this have lost digits to the subnormal numbers: such a sample counts as zero. */
#define SIMILARITY_LEAST 1e-290

/* 1 / |x| of a sample whose elements' squares sum to `square`; 0 for one without a direction: all zero, or not finite
 * (also when only the square is not: norms of float64 beyond about 1e154). */
ACTSCOPE_FN double similarity_weight(double square) {
  return square >= SIMILARITY_LEAST && core_finite(square) ? 1 / sqrt(square) : 0;
}
ACTSCOPE_FN int similarity_zero(double square) { return square < SIMILARITY_LEAST; } /* not for NaN */

/* square: |sum of u|^2 over `used` samples. Rounding may leave the range of a mean cosine by an ulp or so. */
ACTSCOPE_FN double similarity_mean_cosine(double square, uint64_t used) {
  if (used < 2) return core_nan();
  double n = (double)used, mean = (square / n - 1) / (n - 1), least = -1 / (n - 1);
  return mean < least ? least : mean > 1 ? 1 : mean;
}

ACTSCOPE_FN void similarity_finish(double square, uint64_t used, uint64_t zero, uint64_t samples,
                                   actscope_similarity *out) {
  out->mean_cosine = similarity_mean_cosine(square, used);
  out->zero_samples = zero;
  out->nonfinite_samples = samples - used - zero;
}

#endif
