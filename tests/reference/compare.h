/* compare.h - comparisons that cannot lie, and buffers that notice.
 *
 * Every element is compared by itself, |got - ref| <= atol + rtol |ref|, written so that a NaN fails; NaN is equal to NaN
 * alone and infinity to the same infinity alone. A comparison gathers any number of values and arrays and ends in one
 * line: how many are wrong, and which is worst. No test framework is needed here. */
#ifndef COMPARE_H
#define COMPARE_H

#include "actscope.h"

#ifdef __cplusplus
extern "C" {
#endif

struct compare {
  char title[160];
  uint64_t count, wrong;
  double worst;      /* the largest error in units of its bound; infinite for a NaN, a count, a sign of infinity */
  char worst_at[96]; /* "name[index]" */
  double got, ref, allowed;
  char text[512];    /* filled by compare_end() */
};

/* title: printf's, names the case. */
void compare_begin(struct compare *c, const char *title, ...) __attribute__((format(printf, 2, 3)));
void compare_value(struct compare *c, const char *name, double got, double ref, double atol, double rtol);
void compare_array(struct compare *c, const char *name, const double *got, const double *ref, uint64_t n, double atol,
                   double rtol);
void compare_floats(struct compare *c, const char *name, const float *got, const double *ref, uint64_t n, double atol,
                    double rtol);
/* Integers are equal or wrong. */
void compare_count(struct compare *c, const char *name, uint64_t got, uint64_t ref);
void compare_counts(struct compare *c, const char *name, const uint64_t *got, const uint64_t *ref, uint64_t n);
void compare_between(struct compare *c, const char *name, double got, double low, double high);
/* Equal bytes; the index in the message is the first byte that differs. */
void compare_bytes(struct compare *c, const char *name, const void *got, const void *ref, size_t n);
/* How many are wrong; text is then "title: 3 of 29 wrong, worst mean[0]: got 1, want 2, error 1, allowed 1e-06". A
 * comparison of nothing counts as one wrong. */
uint64_t compare_end(struct compare *c);

/* ---- Reports against the oracle --------------------------------------------------------------------------------------
 * What each number may be off by, and why: one table, in compare.c. */
struct ref_correlation;
void compare_profile(struct compare *c, const actscope_profile *got, const actscope_profile *ref, actscope_dtype dtype,
                     uint32_t statistics);
void compare_health(struct compare *c, const actscope_health *got, const actscope_health *ref);
/* Counts of |r| near a threshold or a bin limit may fall on either side, as `ref` says. */
void compare_correlation(struct compare *c, const actscope_correlation *got, const struct ref_correlation *ref,
                         uint32_t functionals);
void compare_rank(struct compare *c, const actscope_rank *got, const actscope_rank *ref);
void compare_similarity(struct compare *c, const actscope_similarity *got, const actscope_similarity *ref);
/* The slack for ref_correlate(): how far one |r| of the backends may be off over so many samples. */
double compare_r_slack(uint64_t samples);
/* The same for counts of the CPU's exact correlations at fp32 quality, of 32 bits or fewer (ACTSCOPE_PRECISION_FP32). */
double compare_count_slack(uint64_t samples, uint64_t valid);

/* ---- Guarded buffers ------------------------------------------------------------------------------------------------- */

/* `bytes` bytes at an address that is `offset` past a multiple of `alignment` (a power of two <= 4096), filled with
 * `poison`, with guard bytes on both sides. 0xFF is NaN in every floating type; 0xA7 is an unlikely finite number. */
enum { POISON_NAN = 0xFF, POISON_ODD = 0xA7 };
struct guarded {
  unsigned char *data;
  size_t bytes;
  unsigned char *block; /* what was allocated */
  size_t block_bytes;
};
void guard_alloc(struct guarded *g, size_t bytes, size_t alignment, size_t offset, int poison);
void guard_poison(struct guarded *g, int poison);
/* Bytes outside `data` that were written to; 0 is well. */
size_t guard_damage(const struct guarded *g);
/* 1 when every byte of data still is `poison`: nobody wrote there. */
int guard_untouched(const struct guarded *g, int poison);
void guard_free(struct guarded *g);

#ifdef __cplusplus
}
#endif
#endif
