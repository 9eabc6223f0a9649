/* columns.h - feature moments by vectors: sums about a pivot over a run of samples.
 *
 * Groups of up to 8 samples are summed in the tensor's precision and added to doubles: a group's rounding is 1e-7 of
 * itself, and groups average out. Minimum and maximum skip NaN; a sum that is not finite tells that one was there. */
#ifndef ACTSCOPE_CPU_SIMD_COLUMNS_H
#define ACTSCOPE_CPU_SIMD_COLUMNS_H

#include <stdint.h>

#include "cpu/dispatch.h"

#define COLUMNS_GROUP 8    /* rows summed in single precision */
#define COLUMNS_FEATURES 512 /* features of one task */

/* Arrays of COLUMNS_FEATURES; pivot, min and max are float or double, as the tile. */
struct columns_state {
  void *pivot, *min, *max;
  double *s1, *s2; /* sum (x - pivot), sum (x - pivot)^2 of this run */
  double *mean, *m2;
};

struct columns_kernels {
  /* Rows of features: adds rows x n values. */
  void (*rows)(const void *x, int64_t ld, uint64_t rows, uint64_t n, const struct columns_state *s);
  /* One feature's samples side by side: the same for entry f. */
  void (*samples)(const void *x, uint64_t n, const struct columns_state *s, uint64_t f);
  /* pivot = mean of the first rows of all n features, or of one feature's n samples. */
  void (*pivot_rows)(const void *x, int64_t ld, uint64_t rows, uint64_t n, const struct columns_state *s);
  void (*pivot_samples)(const void *x, uint64_t n, const struct columns_state *s, uint64_t f);
  /* Ends a run of k samples after `before` others: merges it into mean and m2 and moves the pivot there. Features
   * [from, to) with sums that prove nothing are left as they are and listed: their number is returned. */
  uint64_t (*merge)(const struct columns_state *s, uint64_t from, uint64_t to, double k, double before, uint16_t *odd);
};
struct columns_table {
  struct columns_kernels single, wide; /* float tiles, double tiles */
};
SIMD_FAMILY(struct columns_table, columns)

#endif
