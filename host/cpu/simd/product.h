/* product.h - products of z-score panels: what correlation.c and gram.c are made of.
 *
 * Panels: z-scores lie in panels of `lanes` positions (features, or samples for the Gram matrix): value k (a sample, or
 * a feature) of position p is panel[(p / lanes) * stride + k * lanes + p % lanes]. Positions beyond the last are zero,
 * up to a multiple of `columns`. In panels of 16-bit integers values come in pairs: value k of position p is
 * panel[(p / lanes) * stride + (k & ~1) * lanes + 2 * (p % lanes) + (k & 1)], and one without a partner has a zero.
 * A register tile is `rows` x `columns` products; both divide PRODUCT_BLOCK. Sums over more values than
 * product_chunk() are added up in double, chunk by chunk in order, so that they do not depend on how memory was shared out. */
#ifndef ACTSCOPE_CPU_SIMD_PRODUCT_H
#define ACTSCOPE_CPU_SIMD_PRODUCT_H

#include "core/pairs.h"
#include "cpu/dispatch.h"

#define PRODUCT_BLOCK 192 /* positions on each side of a block: two panels blocks and their sums stay in L2 */
/* Values summed in the panels' precision. Equal products (zeros of a ReLU, signs) round alike as long as the sum stays in
 * one binade, so that errors add up instead of averaging out: to at most CHUNK / 2 times 3e-8 of |r|, 1.9e-6. */
#define PRODUCT_CHUNK 128
#define PRODUCT_INT16_CHUNK 256 /* sums of integers are exact: as many as leave the columns of a tile in the L1 cache */
static inline uint64_t product_chunk(uint64_t size) { return size == 2 ? PRODUCT_INT16_CHUNK : PRODUCT_CHUNK; }
#define PRODUCT_ROUND 48  /* a multiple of every register tile's sides */
#define PRODUCT_INT16_ONE 32766 /* units of a 16-bit z-score of norm 1; half a unit more rounds to no more than 32767 */

/* Which ordered pairs (i, j) of positions count: (j - i - 1) mod v < width, and one more for i < extra; without wrap no
 * j below i counts. Each unordered pair comes once. */
struct product_band {
  uint64_t v, width, extra;
  int wrap;
};

/* What is wanted of a part beside functionals of |r| over all its pairs. */
struct product_features { /* of its rows (0) and columns (1) */
  uint64_t sum[2][PRODUCT_BLOCK]; /* of |r|, in 2^-32 */
  uint32_t max[2][PRODUCT_BLOCK]; /* bits of the largest |r| as float32 */
};
struct product_top {
  double low; /* found() is called for every |r| from here on, also outside the band; it may move this */
  void (*found)(struct product_top *top, uint64_t i, uint64_t j, double r);
};
struct product_beyond {
  int signs;                         /* the sum of r itself */
  struct product_features *features; /* added to; NULL: not wanted */
  struct product_top *top;           /* NULL: not wanted */
};

/* A part of the product matrix: `rows` positions from i0 on by `columns` from j0 on (multiples of the register tile;
 * what lies beyond band->v is zero). */
struct product_part {
  const void *a, *b; /* panels of position i0, j0 */
  const void *next_a, *next_b; /* the same of the next chunk, to be fetched ahead; NULL: there is none */
  int64_t stride;    /* values from one panel to the next */
  uint64_t k;        /* values summed */
  uint64_t i0, j0, rows, columns;
  const struct product_band *band;
  uint32_t functionals; /* of |r|: ABOVE, HISTOGRAM */
  const struct product_beyond *beyond; /* NULL: nothing */
  double *sum; /* of position (i0, j0), where sums are kept in memory */
  int64_t sum_ld;
};

#define PRODUCT_TALLY_LANES 6144
/* What a thread gathers. */
struct product_tally {
  struct pairs pairs;
  uint64_t cells, tiles; /* products looked at, also those that do not count; since the lanes were emptied */
  uint64_t signed_tiles; /* of those, with a sum of r */
  _Alignas(64) unsigned char lanes[PRODUCT_TALLY_LANES];
};

struct product_kernels {
  int lanes, rows, columns, size; /* size: bytes of a value */
  /* Standardises and packs. x: one row for each position when by_position, else one row for each value; `along`: mean
   * and scale belong to positions, else to values. Positions are filled up with zeros to a multiple of `columns`.
   * position, value: how many lie before the first ones in their block and chunk. */
  void (*pack)(const void *x, int64_t ld, uint64_t positions, uint64_t values, int by_position, int along,
               const double *mean, const double *scale, void *panels, int64_t stride, uint64_t position, uint64_t value);
  /* k <= product_chunk(): products straight into the tally. */
  void (*direct)(const struct product_part *p, struct product_tally *t);
  /* k <= product_chunk(): adds to sums. Tiles wholly outside the band are left out; when the band does not wrap, the
   * diagonal is summed as well. */
  void (*add)(const struct product_part *p);
  /* Sums into the tally. */
  void (*take)(const struct product_part *p, struct product_tally *t);
};
struct product_table {
  struct product_kernels single, wide, int16; /* panels of float, of double, of 16-bit integers from tiles of float */
  int int16_is_fast;                          /* faster than float: the set multiplies pairs of 16-bit integers at once */
  void (*tally_init)(struct product_tally *t);
  /* Moves what is in the lanes to t->pairs; the count of bin 0 then still holds the cells that do not count. */
  void (*tally_empty)(struct product_tally *t);
  /* The largest |r| as float32 since the last call, or since the lanes were emptied. */
  float (*tally_largest)(struct product_tally *t);
};
SIMD_FAMILY_VNNI(struct product_table, product)

/* How a rectangle [i0, i0 + rows) x [j0, j0 + columns) lies to the band: 0 outside, 1 partly inside, 2 wholly. */
static inline int product_band_meets(const struct product_band *b, uint64_t i0, uint64_t rows, uint64_t j0,
                                     uint64_t columns) {
  uint64_t i1 = i0 + rows - 1, j1 = j0 + columns - 1;
  if (j0 > i1 && j1 - i0 <= b->width) return 2;
  if (b->wrap && j1 < i0 && i1 < b->v && j1 + b->v - i0 <= b->width) return 2;
  uint64_t reach = i1 + b->width + (b->extra > 0);
  if (j1 > i0 && j0 <= reach) return 1;
  return b->wrap && reach >= b->v && j0 <= reach - b->v;
}

#endif
