/* top.h - the pairs with the largest |r|, exactly: products that may be among them are computed again from the tensor. */
#ifndef ACTSCOPE_CPU_TOP_H
#define ACTSCOPE_CPU_TOP_H

#include "core/top.h"
#include "cpu/zscores.h"

/* r of two features in float64, in two passes over the tensor: means, then sums of squares and products. */
double actscope_cpu_r(const struct view *v, uint64_t f, uint64_t g);

/* How far |r| of the products may be from actscope_cpu_r(). */
double actscope_cpu_r_error(const struct product_kernels *kernels, actscope_dtype dtype, uint64_t samples);

/* What all threads share. */
struct top_shared {
  const struct zscores *z;
  const struct product_band *band;
  struct top_pairs *top;
  uint64_t most;
  double limit, error; /* only |r| above limit, 0: any; of the products */
  double worst;        /* the last |r| that is kept, once the set is full; below every |r| before */
  uint64_t last;       /* and its features, i 2^32 + j */
};
/* A thread's own. */
struct top_search {
  struct product_top product; /* first */
  struct top_shared *shared;
  uint64_t above;
};
void actscope_cpu_top_begin(struct top_search *s, struct top_shared *shared);

#endif
