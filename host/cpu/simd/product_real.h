/* product_real.h - the kernels of product.c for one type; included twice.
 *
 * REAL, VEC, WIDTH, LOAD, STORE, ALL, ADD_TO, NAME as in columns_real.h; ROWS x (VECTORS * WIDTH) is the register tile,
 * ROWS divides WIDTH; ABS; MULTIPLY_ADD(c, y, x): c += y x; MEANS, MEANS_LOAD, MEANS_ALL, STANDARDISE: means and scales of a vector's lanes, (x - mean) scale
 * in double; TRANSPOSE. */

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

/* From r to |r| where that is not all: what lies outside the band is cleared, and r itself is looked at. */
static __attribute__((noinline)) void NAME(close)(const struct product_part *p, uint64_t i, uint64_t j, int whole, VEC *c,
                                                  struct product_tally *t) {
  if (!whole) {
    REAL copy[ROWS][COLUMNS];
    memcpy(copy, c, sizeof copy);
    NAME(mask)(p->band, p->i0 + i, p->j0 + j, copy);
    memcpy(c, copy, sizeof copy);
  }
  if (p->signs) NAME(plain)(c, t);
  for (int q = 0; q < ROWS * VECTORS; ++q) c[q] = ABS(c[q]);
}

LANE_FN const REAL *NAME(panel)(const void *base, int64_t stride, uint64_t at) {
  return (const REAL *)base + (int64_t)(at / WIDTH) * stride + at % WIDTH;
}

/* Fetches `share` values of the panels after b, from value `from` on: they are next. */
LANE_FN void NAME(ahead)(const REAL *b, int64_t stride, uint64_t from, uint64_t share) {
  const REAL *next = b + VECTORS * stride + from * WIDTH;
  for (uint64_t l = 0; l < share; ++l, next += WIDTH)
    for (int v = 0; v < VECTORS; ++v) __builtin_prefetch(next + v * stride, 0, 2);
}

/* A tile is gathered after the products of the next: its operations wait for nothing and fill the gaps that those of the
 * multipliers leave while they come to their end. */
static void NAME(direct)(const struct product_part *p, struct product_tally *t) {
  VEC c[2][ROWS][VECTORS];
  int at = 0, held = 0;
  uint64_t down = (p->rows + ROWS - 1) / ROWS, across = (p->columns + COLUMNS - 1) / COLUMNS, share = (p->k + down - 1) / down;
  int whole = product_band_meets(p->band, p->i0, down * ROWS, p->j0, across * COLUMNS) == 2;
  for (uint64_t j = 0; j < p->columns; j += COLUMNS) {
    if (p->j0 + j >= p->band->v) break;
    const REAL *b = NAME(panel)(p->b, p->stride, j);
    for (uint64_t i = 0, from = 0; i < p->rows; i += ROWS, from += share) {
      if (p->i0 + i >= p->band->v) break;
      int meets = whole ? 2 : product_band_meets(p->band, p->i0 + i, ROWS, p->j0 + j, COLUMNS);
      if (meets == 0) continue;
      NAME(ahead)(b, p->stride, from, share);
      VEC now[ROWS][VECTORS];
      NAME(dot)(NAME(panel)(p->a, p->stride, i), b, p->stride, p->k, now);
      if (meets == 2 && !p->signs) {
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
          for (int v = 0; v < VECTORS; ++v) c[at][r][v] = ABS(now[r][v]);
      } else {
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
          for (int v = 0; v < VECTORS; ++v) c[at][r][v] = now[r][v];
        NAME(close)(p, i, j, meets == 2, c[at][0], t);
      }
      at = !at;
      if (held) NAME(gather)(c[at][0], p->functionals, t);
      held = 1;
    }
  }
  if (held) NAME(gather)(c[!at][0], p->functionals, t);
}

/* Fetches a share of the next chunk's panels: those of rows while the first columns are worked on, and so on. */
LANE_FN void NAME(ahead_chunk)(const struct product_part *p, uint64_t i, uint64_t j) {
  const REAL *a = NAME(panel)(p->next_a, p->stride, i), *b = NAME(panel)(p->next_b, p->stride, j);
  uint64_t tiles = (p->rows + ROWS - 1) / ROWS, share = (p->k + tiles - 1) / tiles, from = i / ROWS * share;
  b += from * WIDTH;
  for (uint64_t l = 0; l < share; ++l, b += WIDTH)
    for (int v = 0; v < VECTORS; ++v) __builtin_prefetch(b + v * p->stride, 0, 2);
  if (j == 0)
    for (uint64_t l = 0; l < p->k; ++l) __builtin_prefetch(a + l * WIDTH, 0, 2);
}

static void NAME(add)(const struct product_part *p) {
  for (uint64_t j = 0; j < p->columns; j += COLUMNS) {
    if (p->j0 + j >= p->band->v) break;
    const REAL *b = NAME(panel)(p->b, p->stride, j);
    for (uint64_t i = 0; i < p->rows; i += ROWS) {
      if (p->i0 + i >= p->band->v) break;
      if (p->band->wrap ? product_band_meets(p->band, p->i0 + i, ROWS, p->j0 + j, COLUMNS) == 0
                        : p->j0 + j + COLUMNS - 1 < p->i0 + i)
        continue;
      double *sum = p->sum + (int64_t)i * p->sum_ld + (int64_t)j;
      if (p->next_a) NAME(ahead_chunk)(p, i, j);
      VEC c[ROWS][VECTORS];
      NAME(dot)(NAME(panel)(p->a, p->stride, i), b, p->stride, p->k, c);
      if (p->rows - i >= ROWS && p->columns - j >= COLUMNS) {
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
          for (int v = 0; v < VECTORS; ++v) ADD_TO(sum + r * p->sum_ld + v * WIDTH, c[r][v]);
      } else {
        REAL copy[ROWS][COLUMNS];
        memcpy(copy, c, sizeof copy);
        for (uint64_t r = 0; r < ROWS && r < p->rows - i; ++r)
          for (uint64_t l = 0; l < COLUMNS && l < p->columns - j; ++l)
            sum[(int64_t)r * p->sum_ld + (int64_t)l] += (double)copy[r][l];
      }
    }
  }
}

static void NAME(take)(const struct product_part *p, struct product_tally *t) {
  for (uint64_t j = 0; j < p->columns; j += COLUMNS) {
    if (p->j0 + j >= p->band->v) break;
    for (uint64_t i = 0; i < p->rows; i += ROWS) {
      if (p->i0 + i >= p->band->v) break;
      int meets = product_band_meets(p->band, p->i0 + i, ROWS, p->j0 + j, COLUMNS);
      if (meets == 0) continue;
      REAL copy[ROWS][COLUMNS];
      VEC c[ROWS][VECTORS];
      for (int r = 0; r < ROWS; ++r)
        for (int l = 0; l < COLUMNS; ++l) copy[r][l] = (REAL)p->sum[(int64_t)(i + (uint64_t)r) * p->sum_ld + (int64_t)j + l];
      memcpy(c, copy, sizeof copy);
      NAME(close)(p, i, j, meets == 2, c[0], t);
      NAME(gather)(c[0], p->functionals, t);
    }
  }
}

/* ---- Packing --------------------------------------------------------------------------------------------------------- */

/* One panel of WIDTH positions; x is that of its first, `values` from k on. A tile has a row for each value. */
LANE_FN void NAME(pack_across)(const REAL *x, int64_t ld, uint64_t k, uint64_t values, int along, const double *mean,
                               const double *scale, REAL *out) {
  MEANS m;
  if (along) m = MEANS_LOAD(mean, scale);
  for (uint64_t end = k + values; k < end; ++k) {
    __builtin_prefetch(x + (int64_t)(k + PACK_ROWS) * ld, 0, 2);
    if (!along) m = MEANS_ALL(mean[k], scale[k]);
    STORE(out + k * WIDTH, STANDARDISE(LOAD(x + (int64_t)k * ld), m));
  }
}

/* The same where a tile has a row for each position: squares of WIDTH x WIDTH are turned. */
LANE_FN void NAME(pack_turned)(const REAL *x, int64_t ld, uint64_t values, int along, const double *mean,
                               const double *scale, REAL *out) {
  for (uint64_t k = 0; k + WIDTH <= values; k += WIDTH) {
    VEC t[WIDTH];
#pragma GCC unroll 16
    for (int l = 0; l < WIDTH; ++l) {
      __builtin_prefetch(x + (int64_t)(l + WIDTH) * ld + (int64_t)k, 0, 2);
      MEANS m = along ? MEANS_ALL(mean[l], scale[l]) : MEANS_LOAD(mean + k, scale + k);
      t[l] = STANDARDISE(LOAD(x + (int64_t)l * ld + (int64_t)k), m);
    }
    TRANSPOSE(t);
#pragma GCC unroll 16
    for (int l = 0; l < WIDTH; ++l) STORE(out + (k + (uint64_t)l) * WIDTH, t[l]);
  }
}

/* One by one: values from k on of a panel that may have fewer than WIDTH positions. */
static void NAME(pack_rest)(const REAL *x, int64_t ld, uint64_t positions, uint64_t k, uint64_t values, int by_position,
                            int along, const double *mean, const double *scale, REAL *out) {
  for (; k < values; ++k)
    for (uint64_t l = 0; l < WIDTH; ++l) {
      double z = 0;
      if (l < positions) {
        double v = (double)(by_position ? x[(int64_t)l * ld + (int64_t)k] : x[(int64_t)k * ld + (int64_t)l]);
        z = (v - mean[along ? l : k]) * scale[along ? l : k];
      }
      out[k * WIDTH + l] = (REAL)z;
    }
}

static void NAME(pack)(const void *data, int64_t ld, uint64_t positions, uint64_t values, int by_position, int along,
                       const double *mean, const double *scale, void *panels, int64_t stride) {
  const REAL *x = data;
  REAL *out = panels;
  uint64_t full = positions / WIDTH, padded = (positions + COLUMNS - 1) / COLUMNS * COLUMNS;
  int64_t step = by_position ? ld * WIDTH : WIDTH; /* from panel to panel */
  if (!by_position) {
    for (uint64_t k = 0; k < values; k += PACK_ROWS) { /* rows of the tensor, a few at a time, over all panels */
      uint64_t rows = values - k < PACK_ROWS ? values - k : PACK_ROWS;
      for (uint64_t p = 0; p < full; ++p) {
        const REAL *from = x + (int64_t)p * step;
        REAL *to = out + (int64_t)p * stride;
        if (along) NAME(pack_across)(from, ld, k, rows, 1, mean + p * WIDTH, scale + p * WIDTH, to);
        else NAME(pack_across)(from, ld, k, rows, 0, mean, scale, to);
      }
    }
  } else {
    for (uint64_t p = 0; p < full; ++p) {
      const REAL *from = x + (int64_t)p * step;
      REAL *to = out + (int64_t)p * stride;
      if (along) NAME(pack_turned)(from, ld, values, 1, mean + p * WIDTH, scale + p * WIDTH, to);
      else NAME(pack_turned)(from, ld, values, 0, mean, scale, to);
      if (values % WIDTH)
        NAME(pack_rest)(from, ld, WIDTH, values / WIDTH * WIDTH, values, 1, along, along ? mean + p * WIDTH : mean,
                        along ? scale + p * WIDTH : scale, to);
    }
  }
  for (uint64_t p = full; p < padded / WIDTH; ++p) {
    uint64_t left = p * WIDTH < positions ? positions - p * WIDTH : 0, at = along && left > 0 ? p * WIDTH : 0;
    NAME(pack_rest)(left > 0 ? x + (int64_t)p * step : x, ld, left, 0, values, by_position, along, mean + at, scale + at,
                    out + (int64_t)p * stride);
  }
}

#undef COLUMNS
