/* halves.h - do the correlations of one half of the samples show in the other?
 *
 * Halves that are independent of each other share nothing but what is there: E r1 r2 = E r1 E r2, where r^2 of one sample has
 * the noise of 1/(N-1) in it, whatever the marginals. Over the pairs of features i < j
 *   split_half_rms = sqrt(max(0, mean r1 r2)), a root mean square without a noise floor (a cross-validated product, as of
 *                    distances in Walther et al. 2016), and
 *   split_half     = sum r1 r2 / sqrt(sum r1^2 sum r2^2), Tucker's congruence (1951): 0 for noise, 1 for a pattern that is
 *                    the same in both halves.
 * Without any pair, with Z of either half: sum over all i, j of r1 r2 = ||Z1 Z2^T||_F^2, of r1^2 = ||Z1 Z1^T||_F^2; the
 * diagonal is the number of features. */
#ifndef ACTSCOPE_CORE_HALVES_H
#define ACTSCOPE_CORE_HALVES_H

#include "core/view.h"

#define HALVES_LEAST 3   /* samples of a half: of two, every r is +-1 */
#define HALVES_SIDE 4096 /* samples or features, the fewer: beyond it matrices are too large, whatever the budget */

/* Splits axis 0 of a tensor, the second half being the longer one; 0 when there is no half. */
ACTSCOPE_FN int halves_split(const actscope_tensor *t, int channels, struct view v[2]) {
  int64_t shape[ACTSCOPE_MAX_DIMS], inner = 1;
  actscope_tensor half = *t;
  if (t->ndim < 1 || t->shape[0] < 2) return 0;
  for (int d = 0; d < t->ndim; ++d) shape[d] = t->shape[d];
  for (int d = 1; d < t->ndim; ++d) inner *= shape[d];
  half.shape = shape;
  shape[0] = t->shape[0] / 2;
  view_init(&v[0], &half, channels);
  if (t->data) half.data = (const char *)t->data + shape[0] * (t->strides ? t->strides[0] : inner) * dtype_bytes(t->dtype);
  shape[0] = t->shape[0] - shape[0];
  view_init(&v[1], &half, channels);
  return v[0].samples >= HALVES_LEAST;
}

/* Sums over the ordered pairs i != j. */
ACTSCOPE_FN void halves_finish(double product, double first, double second, uint64_t valid, double *congruence, double *rms) {
  double pairs = (double)valid * ((double)valid - 1), mean = product / pairs, c = product / sqrt(first * second);
  *congruence = *rms = core_nan();
  if (valid < 2) return;
  *rms = mean > 0 ? sqrt(mean > 1 ? 1 : mean) : 0;
  if (first > 0 && second > 0) *congruence = c > 1 ? 1 : c < -1 ? -1 : c;
}

#endif
