/* zscores.h - z-scores of valid features, packed into panels (simd/product.h) straight from the tensor. */
#ifndef ACTSCOPE_CPU_ZSCORES_H
#define ACTSCOPE_CPU_ZSCORES_H

#include "core/columns.h"
#include "core/random.h"
#include "cpu/simd/product.h"
#include "cpu/tile.h"

#define ZSCORES_BUFFER 49152 /* bytes of converted values of one thread */

struct zscores {
  const struct view *view;
  const struct column *columns;
  const uint32_t *list;                   /* the valid features */
  uint64_t valid;
  const struct random_permutation *order; /* of the valid features; NULL: as they come */
  int by_sample;                          /* positions are samples and values features, else the other way round */
  int samples_inner;
  double unscaled;                        /* 0; else values are (x - mean) times this, not z-scores */
  const struct product_kernels *kernels;
};

/* Fills list (room for all features) with the valid ones and returns how many. */
uint64_t actscope_zscores_list(const struct column *columns, uint64_t features, uint32_t *list);

/* Panels of the type that z-scores of this dtype are multiplied in; of 16-bit integers where they do and may be. */
static inline const struct product_kernels *zscores_kernels(actscope_dtype dtype, actscope_precision precision) {
  const struct product_table *table = actscope_simd_product();
  return dtype == ACTSCOPE_FLOAT64 ? &table->wide : precision == ACTSCOPE_PRECISION_FP16 ? &table->int16 : &table->single;
}

void actscope_zscores_init(struct zscores *z, const struct view *v, const struct column *columns, const uint32_t *list,
                           uint64_t valid, const struct random_permutation *order, int by_sample,
                           const struct product_kernels *kernels);

/* Values [k0, k0 + values) of positions [p0, p0 + positions): at most product_chunk() of PRODUCT_BLOCK; panels is where
 * value k0 of position p0 goes. Fills up with zeros to a multiple of the register tile. */
void actscope_zscores_pack(const struct zscores *z, uint64_t p0, uint64_t positions, uint64_t k0, uint64_t values,
                           void *panels, int64_t stride, void *buffer);

#endif
