/* columns.h - feature moments by vectors: sums about a pivot over a run of samples.
 *
 * Groups of up to 8 samples are summed in the tensor's precision and added to doubles: a group's rounding is 1e-7 of
 * itself, and groups average out. Minimum and maximum skip NaN; a sum that is not finite tells that one was there. */
#ifndef ACTSCOPE_CPU_SIMD_COLUMNS_H
#define ACTSCOPE_CPU_SIMD_COLUMNS_H

#include <stdint.h>

#include "core/columns.h"
#include "cpu/dispatch.h"

#define COLUMNS_GROUP 8    /* rows summed in single precision */
#define COLUMNS_FEATURES 2048 /* features of one task at the most */
#define COLUMNS_AHEAD 16384   /* bytes fetched ahead: measured, 6 to 24 KiB are alike; into L2, L1 is too small */

/* Arrays of COLUMNS_FEATURES; pivot, min and max are float or double, as the tile. */
struct columns_state {
  void *pivot, *min, *max;
  double *s1, *s2; /* sum (x - pivot), sum (x - pivot)^2 of this run */
  double *mean, *m2;
};

/* Rows of features: adds rows x n values. first: nothing came before, and the pivots are chosen. */
typedef void columns_rows(const void *x, int64_t ld, uint64_t rows, uint64_t n, const struct columns_state *s,
                          int first);

struct columns_kernels {
  void (*init)(const struct columns_state *s, uint64_t n);
  columns_rows *rows[6]; /* by the actscope_dtype in memory; NULL: only after conversion to float */
  /* One feature's samples side by side: the same for entry f. */
  void (*samples)(const void *x, uint64_t n, const struct columns_state *s, uint64_t f, int first);
  /* Ends a run of k samples after `before` others: merges it into mean and m2 and moves the pivot there. Features
   * [from, to) with sums that prove nothing are left as they are and listed: their number is returned. */
  uint64_t (*merge)(const struct columns_state *s, uint64_t from, uint64_t to, double k, double before, uint16_t *odd);
  /* mean NaN says that a sample was not finite. */
  void (*finish)(const struct columns_state *s, uint64_t n, struct column *out);
};
struct columns_table {
  struct columns_kernels single, wide; /* float tiles, double tiles */
};
SIMD_FAMILY(struct columns_table, columns)

#endif
