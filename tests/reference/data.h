/* data.h - inputs: what is in a tensor, and how it lies in memory. Everything is a function of a seed. */
#ifndef DATA_H
#define DATA_H

#include "reference/compare.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Numbers --------------------------------------------------------------------------------------------------------- */

struct random_state {
  uint64_t state;
};
uint64_t random_next(struct random_state *r);    /* 64 bits */
double random_uniform(struct random_state *r);   /* [0, 1) */
double random_normal(struct random_state *r);    /* mean 0, standard deviation 1 */
uint64_t random_below(struct random_state *r, uint64_t n);

/* ---- Contents -------------------------------------------------------------------------------------------------------- */

enum data_kind {
  DATA_NORMAL,
  DATA_RELU,            /* half zeros */
  DATA_INTEGERS,        /* -8 .. 8: sums are exact in single precision */
  DATA_OFFSET,          /* normal about 1000 */
  DATA_STEPS,           /* long runs at levels 0, 1000, -2000, ... with small noise */
  DATA_DRIFT,           /* a slow slope of 5000 standard deviations */
  DATA_OUTLIERS,        /* one element in 997 is 10^4 times larger */
  DATA_ZEROS_THEN,      /* zeros, then normal about 3 in the last eighth */
  DATA_CONSTANT,        /* everything 0.1 */
  DATA_CONSTANT_COLUMNS, /* every third feature constant, every fifth dead, the others normal */
  DATA_NEAR_DUPLICATES, /* features repeat the one before with noise of 1e-3, sign turned at times */
  DATA_FACTORS,         /* four common factors with loadings of their own */
  DATA_HUBS,            /* a few features that half of the others follow */
  DATA_SPECIALS,        /* NaN, infinities, both zeros, the smallest subnormal, the largest value among normals */
  DATA_TINY,            /* around the smallest normal magnitude: subnormals; float64: 1e-60, whose squares are normal */
  DATA_ALL_NAN,
  DATA_SCALES,          /* each feature at a power of two of its own, over most of the type's range */
  DATA_KINDS
};
const char *data_kind_name(enum data_kind kind);
/* x: samples x features, row-major; values fit the dtype where that matters (SPECIALS, TINY). */
void data_fill(enum data_kind kind, uint64_t seed, actscope_dtype dtype, double *x, uint64_t samples, uint64_t features);
/* Columns that are hard to correlate, for single r: the kinds above that are, and two more. */
enum data_hard { HARD_NORMAL, HARD_DUPLICATES, HARD_OFFSET, HARD_DEAD, HARD_RELU, HARD_OUTLIERS, HARD_TWO_VALUED, HARD_KINDS };
const char *data_hard_name(enum data_hard kind);
/* DEAD: every fifth feature is 0. TWO_VALUED: one sample in 2, in 10, in 100 and a single one have the other value. */
void data_fill_hard(enum data_hard kind, uint64_t seed, double *x, uint64_t samples, uint64_t features);

/* Floats whose bits have structure, for hashes: element i of the sequence; all differ while i < 2^16 at least. */
enum data_floats {
  FLOATS_CONSECUTIVE,   /* the patterns from 1.0 on */
  FLOATS_INTEGERS,      /* 0, 1, 2, ... (to 2^24) */
  FLOATS_256THS,
  FLOATS_2048THS,
  FLOATS_BF16,          /* 16 upper bits set alone (to 2^16) */
  FLOATS_LOW_BITS,      /* bit-reversed counter: few lower bits at first */
  FLOATS_SIGNED_GRID,   /* +-k/64 */
  FLOATS_NORMAL,        /* pseudo-random normal values, which may repeat */
  FLOATS_KINDS
};
const char *data_floats_name(enum data_floats kind);
float data_float(enum data_floats kind, uint64_t i, uint64_t seed);

/* ---- Layouts ---------------------------------------------------------------------------------------------------------- */

enum data_layout {
  LAYOUT_ROWS,       /* compact [N, D], strides NULL */
  LAYOUT_FLAT,       /* compact [N, a, b] with a b = D where D is not prime */
  LAYOUT_COLUMNS,    /* transposed: samples contiguous */
  LAYOUT_PADDED,     /* rows wider than D */
  LAYOUT_NEGATIVE,   /* both strides negative */
  LAYOUT_EVERY_OTHER, /* feature stride 2 */
  LAYOUT_BROADCAST,  /* [N, 2, D/2] with stride 0 in the middle: each feature twice; for odd D as ROWS */
  LAYOUT_MISALIGNED, /* compact, one element past an aligned address */
  LAYOUTS
};
const char *data_layout_name(enum data_layout layout);

/* A tensor in memory that ends exactly where a guard begins; the gaps of a layout hold poison. */
struct laid_out {
  actscope_tensor tensor;
  int64_t shape[ACTSCOPE_MAX_DIMS], strides[ACTSCOPE_MAX_DIMS];
  struct guarded memory;
};
/* Encodes x into `dtype` and lays it out. BROADCAST reads the first half of the features. */
void data_lay_out(struct laid_out *t, const double *x, actscope_dtype dtype, uint64_t samples, uint64_t features,
                  enum data_layout layout);
void data_free(struct laid_out *t);

const char *data_dtype_name(actscope_dtype dtype);

#ifdef __cplusplus
}
#endif
#endif
