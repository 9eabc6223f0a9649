/* gram.h - products of samples or of features, as z-scores or only centred, for the stages that look at them. */
#ifndef ACTSCOPE_CPU_GRAM_H
#define ACTSCOPE_CPU_GRAM_H

#include "cpu/cpu.h"

struct gram_request {
  const struct view *view[2]; /* the second: NULL, or further samples of the same features; only by_sample */
  const struct column *columns[2]; /* that standardise them */
  const uint32_t *list;       /* the features taken */
  uint64_t valid;             /* how many; above 0 */
  int by_sample, threads;     /* by_sample: products of samples over features; else the other way round */
  double unscaled;            /* 0; else values are (x - mean) times this, not z-scores */
};
struct gram_matrix {
  double *at;      /* n x n, its upper triangle, in scratch; 3 n doubles are free behind it */
  uint64_t n, second; /* where the second samples begin; between the first and these may lie rows of zeros */
};

/* Of n samples or features (of both views) over so many values each. */
struct cpu_need actscope_gram_matrix_need(actscope_dtype dtype, uint64_t n, uint64_t values, int threads);
/* 0 when scratch is too small. The same bits for any number of threads and any scratch. */
int actscope_gram_matrix(const struct gram_request *q, void *scratch, uint64_t bytes, struct gram_matrix *out);

/* Bytes of a list of features in scratch. */
static inline uint64_t gram_list_bytes(uint64_t features) { return (features * 4 + 63) / 64 * 64 + 64; }

#endif
