/* similarity.h - sums of squares and weighted sums over rows of a tile, in double precision whatever the tile is. */
#ifndef ACTSCOPE_CPU_SIMD_SIMILARITY_H
#define ACTSCOPE_CPU_SIMD_SIMILARITY_H

#include <stdint.h>

#include "cpu/dispatch.h"

/* A tile of `rows` rows of n values, ld values apart; everything is added to what `out` holds. A weight of 0 leaves its
 * values out, whatever they are: 0 times NaN does not count. */
struct similarity_kernels {
  void (*squares_along)(const void *x, int64_t ld, uint64_t rows, uint64_t n, double *out);  /* one sum a row */
  void (*squares_across)(const void *x, int64_t ld, uint64_t rows, uint64_t n, double *out); /* one sum a position */
  void (*weighted_along)(const void *x, int64_t ld, uint64_t rows, uint64_t n, const double *weight, double *out);
  void (*weighted_across)(const void *x, int64_t ld, uint64_t rows, uint64_t n, const double *weight, double *out);
};
struct similarity_table {
  struct similarity_kernels single, wide; /* float tiles, double tiles */
};
SIMD_FAMILY(struct similarity_table, similarity)

#endif
