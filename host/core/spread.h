/* spread.h - how far the mean of |r| over a sample of pairs may be from that over all of them.
 *
 * Over random pairs, |r_ij| = mean + a_i + a_j + e_ij: what the features bring with them, and the rest; its variance is
 * v = 2 var a + var e. The circulant order of pairs.h gives every feature the same number of partners, so that of w whole
 * rounds of V pairs the a_i cancel, and the variance of the mean is var e / m, with the finite-population factor: where few
 * features carry the correlation, a quarter of v / m and less. Of a last round of which e pairs are looked at, features
 * e positions in a row stand at one end and as many, w + 1 further, at the other: they add
 *   var a (2 e + 2 (those at both) - 4 e^2 / V) / m^2,
 * which for m < V makes the mean vary up to twice as much as v / m.
 *
 * The share 2 var a / v is estimated on a square of pairs between the first positions and as many behind them, by the
 * analysis of variance of two crossed random factors (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4). */
#ifndef ACTSCOPE_CORE_SPREAD_H
#define ACTSCOPE_CORE_SPREAD_H

#include "core/core.h"

#define SPREAD_SIDE 64

/* Rows and columns of the square, positions 0 .. side-1 and side .. 2 side - 1; below 2 there is none. */
ACTSCOPE_FN uint64_t spread_side(uint64_t valid, uint64_t pairs) {
  uint64_t side = (pairs < valid ? pairs + 1 : valid) / 2;
  return side < SPREAD_SIDE ? side : SPREAD_SIDE;
}

/* The share from sums of squared deviations from the mean of the square: of the means of rows, of those of columns, of all. */
ACTSCOPE_FN double spread_share(double rows, double columns, double all, uint64_t side) {
  if (side < 2) return 0;
  double n = (double)side, rest = (all - n * (rows + columns)) / ((n - 1) * (n - 1));
  if (rest < 0) rest = 0;
  double both = (rows + columns) / (n - 1) - 2 * rest / n; /* 2 var a */
  return both > 0 ? both / (both + rest) : 0;
}

/* The variance of the mean over m of the pairs of `valid` features, where that of one pair is v. */
ACTSCOPE_FN double spread_variance(double v, double share, double m, double valid) {
  double all = valid * (valid - 1) / 2, w = floor(m / valid), e = m - w * valid, twice = e - (w + 1);
  if (!(m < all)) return 0;
  if (twice < 0) twice = 0;
  if (w + 1 + e > valid) twice += w + 1 + e - valid; /* round the end */
  double ends = 2 * e + 2 * twice - 4 * e * e / valid;
  return v * ((1 - share) * m * (1 - m / all) + 0.5 * share * (ends > 0 ? ends : 0)) / (m * m);
}

#endif
