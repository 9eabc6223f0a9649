/* product_real.h - the kernels of product.c for one type; included twice.
 *
 * REAL, VEC, WIDTH, LOAD, STORE, ALL, ADD_TO, NAME as in columns_real.h; ROWS x (VECTORS * WIDTH) is the register tile,
 * ROWS divides WIDTH; ABS, MAX; MULTIPLY_ADD(c, y, x): c += y x; the rest as in product_pack.h. */

#define COLUMNS (VECTORS * WIDTH)

LANE_FN void NAME(dot_step)(const REAL *a, const REAL *b, int64_t stride, VEC c[ROWS][VECTORS]) {
  VEC x[VECTORS];
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; ++v) x[v] = LOAD(b + v * stride);
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
    VEC y = ALL(a[i]);
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) MULTIPLY_ADD(c[i][v], y, x[v]);
  }
}

/* c = sum over k values of a (ROWS of a panel) times b (VECTORS panels). */
LANE_FN void NAME(dot)(const REAL *a, const REAL *b, int64_t stride, uint64_t k, VEC c[ROWS][VECTORS]) {
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) c[i][v] = (VEC){0};
  for (; k >= UNROLL; k -= UNROLL, a += UNROLL * WIDTH, b += UNROLL * WIDTH)
#pragma GCC unroll 4
    for (int u = 0; u < UNROLL; ++u) NAME(dot_step)(a + u * WIDTH, b + u * WIDTH, stride, c);
  for (; k > 0; --k, a += WIDTH, b += WIDTH) NAME(dot_step)(a, b, stride, c);
}

/* Zero where (i, j) does not count. */
static __attribute__((noinline)) void NAME(mask)(const struct product_band *band, uint64_t i0, uint64_t j0,
                                                 REAL c[ROWS][COLUMNS]) {
  for (uint64_t r = 0; r < ROWS; ++r) {
    uint64_t i = i0 + r, width = band->width + (i < band->extra);
    for (uint64_t l = 0; l < COLUMNS; ++l) {
      uint64_t j = j0 + l;
      int in = j > i ? j - i <= width : band->wrap && j + band->v - i <= width;
      if (!in) c[r][l] = 0;
    }
  }
}

/* Each feature's |r| of a tile: rows from i on, columns from j on. */
static __attribute__((noinline)) void NAME(features)(const VEC *c, uint64_t i, uint64_t j, struct product_features *f) {
  VEC sum[VECTORS], top[VECTORS];
  for (int v = 0; v < VECTORS; ++v) sum[v] = top[v] = (VEC){0};
  for (int r = 0; r < ROWS; ++r) {
    VEC across = {0}, high = {0};
    for (int v = 0; v < VECTORS; ++v) {
      VEC a = c[r * VECTORS + v];
      sum[v] += a;
      across += a;
      top[v] = MAX(a, top[v]);
      high = MAX(a, high);
    }
    double total = 0;
    REAL most = 0;
    for (int l = 0; l < WIDTH; ++l) {
      total += (double)across[l];
      most = high[l] > most ? high[l] : most;
    }
    feature_add(f, 0, i + (uint64_t)r, total, (float)most);
  }
  for (int v = 0; v < VECTORS; ++v)
    for (int l = 0; l < WIDTH; ++l) feature_add(f, 1, j + (uint64_t)(v * WIDTH + l), (double)sum[v][l], (float)top[v][l]);
}

/* The largest |r| of a tile. */
static __attribute__((noinline)) void NAME(top)(const struct product_part *p, const VEC *c, uint64_t i, uint64_t j,
                                                struct product_top *top) {
  REAL r[ROWS][COLUMNS];
  VEC high = c[0];
  int any = 0;
  for (int q = 1; q < ROWS * VECTORS; ++q) high = MAX(c[q], high);
  for (int l = 0; l < WIDTH; ++l) any |= (double)high[l] >= top->low;
  if (!any) return;
  memcpy(r, c, sizeof r);
  for (uint64_t k = 0; k < ROWS; ++k)
    for (uint64_t l = 0; l < COLUMNS; ++l)
      if ((double)r[k][l] >= top->low) top->found(top, p->i0 + i + k, p->j0 + j + l, (double)r[k][l]);
}

/* From r to |r| where that is not all: what lies outside the band is cleared, and what is wanted beyond is taken. */
static __attribute__((noinline)) void NAME(close)(const struct product_part *p, uint64_t i, uint64_t j, int whole, VEC *c,
                                                  struct product_tally *t) {
  if (!whole) {
    REAL copy[ROWS][COLUMNS];
    memcpy(copy, c, sizeof copy);
    NAME(mask)(p->band, p->i0 + i, p->j0 + j, copy);
    memcpy(c, copy, sizeof copy);
  }
  if (p->beyond && p->beyond->signs) NAME(plain)(c, t);
  for (int q = 0; q < ROWS * VECTORS; ++q) c[q] = ABS(c[q]);
  if (p->beyond && p->beyond->features) NAME(features)(c, i, j, p->beyond->features);
  if (p->beyond && p->beyond->top) NAME(top)(p, c, i, j, p->beyond->top);
}

#define PANEL REAL
#define PAIR 1
#define GATHER NAME(gather)
#define CLOSE NAME(close)
#define KEEP(panel, k, z, dither, carry) STORE((panel) + (k) * WIDTH, z)
#define KEEP_ONE(panel, k, p, z, dither, carry) ((panel)[(k) * WIDTH + (p)] = (REAL)(z))
#include "cpu/simd/product_tile.h"
#include "cpu/simd/product_pack.h"
#undef PANEL
#undef PAIR
#undef GATHER
#undef CLOSE
#undef KEEP
#undef KEEP_ONE
#undef COLUMNS
