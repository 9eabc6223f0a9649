/* reference.h - the oracle: every number of a report from its definition, slowly.
 *
 * Naive loops in double and long double, by other algorithms than the library uses: values decoded by ldexp from their
 * fields, two passes instead of one, entropy from p, sorting instead of histograms and sketches, all pairs one by one,
 * products instead of gamma functions, Jacobi rotations instead of Householder. It takes nothing from host/: only the
 * public structures. Inputs may be anything; time and memory do not matter up to some 10^7 elements. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include "actscope.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Element types (decode.c) --------------------------------------------------------------------------------------- */

/* The value of a bit pattern. */
double ref_decode(actscope_dtype dtype, uint64_t bits);
/* The pattern of the nearest value, ties to even; too large becomes infinity (NaN in e4m3, which has none). */
uint64_t ref_encode(actscope_dtype dtype, double value);
/* Reads and writes element i of an array in memory. */
uint64_t ref_bits(actscope_dtype dtype, const void *data, int64_t i);
void ref_store(actscope_dtype dtype, void *data, int64_t i, uint64_t bits);
/* The smallest normal magnitude. */
double ref_smallest_normal(actscope_dtype dtype);
size_t ref_size(actscope_dtype dtype);

/* A tensor decoded: x[s * features + f]. */
struct ref_matrix {
  actscope_dtype dtype;
  uint64_t samples, features, elements;
  double *x;
};
/* Copies any tensor out, one index tuple after the other. ref_matrix_free() releases it. */
void ref_matrix_load(struct ref_matrix *m, const actscope_tensor *tensor, int channels);
void ref_matrix_free(struct ref_matrix *m);

/* ---- Statistics (profile.c, correlation.c) -------------------------------------------------------------------------- */

void ref_profile(const struct ref_matrix *m, actscope_profile *out);
uint64_t ref_distinct(const struct ref_matrix *m);
void ref_health(const struct ref_matrix *m, actscope_health *out);

/* The features that take part in correlations, ascending; returns how many. list: m->features entries. */
uint64_t ref_valid_features(const struct ref_matrix *m, uint64_t *list);

struct ref_pair {
  uint64_t i, j; /* indices into the list of valid features */
};

/* The textbook numbers, and what a computation whose |r| are off by up to `slack` may count instead: shares above a
 * threshold and histograms jump there. below[k] counts |r| < k/64. */
struct ref_correlation {
  actscope_correlation value;
  uint64_t above_least[ACTSCOPE_THRESHOLD_COUNT], above_most[ACTSCOPE_THRESHOLD_COUNT];
  uint64_t below_least[ACTSCOPE_PAIR_BINS + 1], below_most[ACTSCOPE_PAIR_BINS + 1];
  double square_sum;
  double feature_share; /* of the pairs' variance, over a square of them (host/core/spread.h); 0 unless pairs are given */
};
/* Over the given pairs, of ref_sampled_pairs(); pairs NULL: over all of them, method EXACT. */
void ref_correlate(const struct ref_matrix *m, double slack, const struct ref_pair *pairs, uint64_t count,
                   struct ref_correlation *out);

/* Adds to each feature of the matrix what the pairs that it takes part in say of it; all is 0 before the first call. pairs
 * NULL: all of them. */
struct ref_feature {
  long double sum; /* of |r| */
  double max;
  uint64_t pairs;
};
void ref_feature_correlations(const struct ref_matrix *m, const struct ref_pair *pairs, uint64_t count,
                              struct ref_feature *features);

/* r of two valid features of the matrix, in long double. */
double ref_r(const struct ref_matrix *m, uint64_t f, uint64_t g);

/* E|r| of independent normal features, by its recurrence in n. */
double ref_noise_floor(uint64_t samples);

/* Participation ratio and effective rank from all eigenvalues of the smaller of R and K. NaN without valid features. */
void ref_rank(const struct ref_matrix *m, actscope_rank *out);
/* The mean cosine over all pairs of samples, one pair after the other, and which samples have no direction. */
void ref_similarity(const struct ref_matrix *m, actscope_similarity *out);
/* Of the correlations in the first `first` samples and in the others (nulls.c): Tucker's congruence, and the root of their
 * products' mean. NaN where they do not exist. */
void ref_split_half(const struct ref_matrix *m, uint64_t first, double *congruence, double *rms);
/* The mean |r| of rotated samples, by the choices that host/core/shift.h describes. */
double ref_shift(const struct ref_matrix *m, uint64_t seed);
/* Debiased linear CKA of two layers (cka.c); NaN where it does not exist. */
double ref_cka(const struct ref_matrix *a, const struct ref_matrix *b);
/* Eigenvalues of a symmetric n x n matrix (destroyed) by cyclic Jacobi rotations, unordered. */
void ref_eigenvalues(double *a, uint64_t n, double *eigenvalues);

/* ---- Random choices (sample.c) -------------------------------------------------------------------------------------- */

/* Philox4x32-10 as its paper states it. */
void ref_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* The image of i under the permutation of 0 .. n-1 that host/core/random.h describes. */
uint64_t ref_permute(uint64_t n, uint64_t seed, uint64_t stream, uint64_t i);
/* The `count` pairs that SAMPLED looks at, count <= valid (valid - 1) / 2: neighbours at distance 1, 2, ... on a circle
 * of the valid features in permuted order, whose stream is the number of enqueues before. */
void ref_sampled_pairs(uint64_t valid, uint64_t count, uint64_t seed, uint64_t step, struct ref_pair *pairs);

#ifdef __cplusplus
}
#endif
#endif
