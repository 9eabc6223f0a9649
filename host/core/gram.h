/* gram.h - what the Gram matrix of the z-scores says without any pair: mean r^2, participation ratio, effective rank.
 *
 * With Z (samples x valid features, each feature of unit norm), K = Z Z^T and R = Z^T Z share their non-zero
 * eigenvalues, so the smaller of the two is enough: trace = V, ||K||_F^2 = ||R||_F^2 = sum_ij r_ij^2.
 * Participation ratio = V^2 / ||K||_F^2; effective rank = exp(-sum p ln p), p = l / V (Roy and Vetterli 2007). */
#ifndef ACTSCOPE_CORE_GRAM_H
#define ACTSCOPE_CORE_GRAM_H

#include "core/pairs.h"

/* Mean r^2 over pairs i < j from the squared Frobenius norm. */
ACTSCOPE_FN double gram_mean_square(double frobenius_square, uint64_t valid) {
  if (valid < 2) return core_nan();
  double v = (double)valid, s = (frobenius_square - v) / (v * (v - 1));
  return s < 0 ? 0 : s > 1 ? 1 : s;
}

ACTSCOPE_FN double gram_participation_ratio(double frobenius_square, uint64_t valid) {
  return valid == 0 ? core_nan() : (double)valid * (double)valid / frobenius_square;
}

/* exp of the entropy of n eigenvalues, which may carry rounding noise around 0. */
ACTSCOPE_FN double gram_effective_rank(const double *eigenvalues, uint64_t n) {
  double sum = 0, entropy = 0;
  for (uint64_t i = 0; i < n; ++i) sum += eigenvalues[i] > 0 ? eigenvalues[i] : 0;
  if (!(sum > 0)) return core_nan();
  for (uint64_t i = 0; i < n; ++i) {
    double p = eigenvalues[i] / sum;
    if (p > 0) entropy -= p * log(p);
  }
  return exp(entropy);
}

/* sqrt(a^2 + b^2); C++ has no hypot that nvcc takes on the device. */
ACTSCOPE_FN double gram_hypot(double a, double b) {
  double x = fabs(a), y = fabs(b), big = x > y ? x : y, small = x > y ? y : x, q;
  if (big == 0) return 0;
  q = small / big;
  return big * sqrt(1 + q * q);
}

/* Eigenvalues of a symmetric matrix (full storage, n x n, row-major, destroyed): Householder reduction to tridiagonal
 * form by rows, which compilers vectorise, then implicit QL (Golub and Van Loan, sections 8.3.1 and 8.3.3).
 * diagonal receives them, unordered; off and work are n doubles each. Returns 0, or -1 if QL does not converge. */
ACTSCOPE_FN int gram_eigenvalues(double *a, uint64_t n, double *diagonal, double *off, double *work) {
  for (uint64_t k = 0; k + 2 < n; ++k) { /* annihilate row k beyond its first off-diagonal */
    double *v = a + k * n + k + 1, scale = 0, norm = 0;
    uint64_t m = n - k - 1;
    diagonal[k] = a[k * n + k];
    for (uint64_t i = 0; i < m; ++i) scale = fmax(scale, fabs(v[i]));
    if (scale == 0) { off[k] = 0; continue; }
    for (uint64_t i = 0; i < m; ++i) { v[i] /= scale; norm += v[i] * v[i]; }
    double alpha = v[0] > 0 ? -sqrt(norm) : sqrt(norm), h = norm - v[0] * alpha; /* v^T v / 2 of the reflector */
    off[k] = alpha * scale;
    v[0] -= alpha;
    if (!(h > 0)) continue;
    double dot = 0;
    for (uint64_t i = 0; i < m; ++i) { /* work = A v / h */
      const double *row = a + (k + 1 + i) * n + k + 1;
      double s = 0;
      for (uint64_t j = 0; j < m; ++j) s += row[j] * v[j];
      work[i] = s / h;
      dot += work[i] * v[i];
    }
    double half = dot / (2 * h);
    for (uint64_t i = 0; i < m; ++i) work[i] -= half * v[i];
    for (uint64_t i = 0; i < m; ++i) { /* A -= v w^T + w v^T */
      double *row = a + (k + 1 + i) * n + k + 1, vi = v[i], wi = work[i];
      for (uint64_t j = 0; j < m; ++j) row[j] -= vi * work[j] + wi * v[j];
    }
  }
  if (n >= 2) {
    diagonal[n - 2] = a[(n - 2) * n + n - 2];
    off[n - 2] = a[(n - 2) * n + n - 1];
  }
  if (n >= 1) {
    diagonal[n - 1] = a[n * n - 1];
    off[n - 1] = 0;
  }
  /* What is below the rounding of the largest entry couples nothing. Against its two neighbours alone, the block of
   * rounding noise that stands for the zero eigenvalues of a matrix of low rank would be iterated on without end. */
  double least = 0;
  for (uint64_t i = 0; i < n; ++i) least = fmax(least, 1.1e-16 * (fabs(diagonal[i]) + fabs(off[i])));
  for (uint64_t l = 0; l < n; ++l) {
    for (int iteration = 0;; ++iteration) {
      uint64_t m = l;
      while (m + 1 < n && fabs(off[m]) > least) ++m;
      if (m == l) break;
      if (iteration == 60) return -1;
      double g = (diagonal[l + 1] - diagonal[l]) / (2 * off[l]), r = gram_hypot(g, 1);
      g = diagonal[m] - diagonal[l] + off[l] / (g + (g >= 0 ? r : -r));
      double s = 1, c = 1, p = 0;
      uint64_t i = m;
      int split = 0;
      while (i-- > l) {
        double f = s * off[i], b = c * off[i];
        r = gram_hypot(f, g);
        off[i + 1] = r;
        if (r == 0) { /* recover from underflow */
          diagonal[i + 1] -= p;
          off[m] = 0;
          split = 1;
          break;
        }
        s = f / r;
        c = g / r;
        g = diagonal[i + 1] - p;
        r = (diagonal[i] - g) * s + 2 * c * b;
        p = s * r;
        diagonal[i + 1] = g + p;
        g = c * r - b;
      }
      if (split) continue;
      diagonal[l] -= p;
      off[l] = g;
      off[m] = 0;
    }
  }
  return 0;
}

#endif
