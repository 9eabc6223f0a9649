/* cka.h - how alike two layers place the same samples: debiased linear CKA.
 *
 * K = X X^T of a layer's centred features, unscaled (samples x samples). U-centred off its diagonal (Szekely and Rizzo 2014),
 *   A_ij = K_ij - (s_i + s_j) / (N-2) + S / ((N-1)(N-2)),  s_i = sum of K_ij over j != i,  S = sum of s_i,
 * sum_{i != j} A_ij B_ij / (N(N-3)) is HSIC_1, the unbiased estimate of Song et al. 2012, and
 *   CKA = sum A B / sqrt(sum A^2 sum B^2),
 * Kornblith et al. 2019 with HSIC_1 in place of HSIC (Nguyen, Raghu and Kornblith 2021): -1 .. 1, about 0 for independent
 * layers however many features they have, where the biased one goes to 1. A common offset of a feature changes A by nothing.
 *
 * A layer keeps the entries i < j of A over the root of their squares' sum, as float32, row after row: CKA of two layers is
 * the sum of the products of what they keep. */
#ifndef ACTSCOPE_CORE_CKA_H
#define ACTSCOPE_CORE_CKA_H

#include "core/core.h"

#define CKA_SAMPLES_LEAST 4    /* below, A is 0 whatever the samples */
#define CKA_SAMPLES_MOST 4096  /* 32 MiB a layer */

ACTSCOPE_FN uint64_t cka_entries(uint64_t n) { return n < CKA_SAMPLES_LEAST ? 0 : n * (n - 1) / 2; }
/* Where the entries (i, i + 1), (i, i + 2), ... lie. */
ACTSCOPE_FN uint64_t cka_row(uint64_t n, uint64_t i) { return i * (2 * n - i - 1) / 2; }

ACTSCOPE_FN double cka_centred(double k, double si, double sj, double total, uint64_t samples) {
  double n = (double)samples;
  return k - (si + sj) / (n - 2) + total / ((n - 1) * (n - 2));
}

/* 1 / root of sum A^2 over i < j; 0 where there is no direction: what centring left of sum K^2 (over i < j) is rounding of
 * float32. */
ACTSCOPE_FN double cka_scale(double square, double before) {
  return square > 1e-10 * before && core_finite(before) ? 1 / sqrt(square) : 0;
}

/* From the sum of the products. */
ACTSCOPE_FN double cka_value(double dot) { return dot < -1 ? -1 : dot > 1 ? 1 : dot; }

#endif
