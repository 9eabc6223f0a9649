/* product_real.h - the kernels of product.c for one type; included twice.
 *
 * REAL, VEC, WIDTH, LOAD, STORE, ALL, ADD_TO, NAME as in columns_real.h; ROWS x (VECTORS * WIDTH) is the register tile,
 * ROWS divides WIDTH; MEANS, MEANS_LOAD, MEANS_ALL, STANDARDISE: means and scales of a vector's lanes, (x - mean) scale
 * in double; TRANSPOSE. */

#define COLUMNS (VECTORS * WIDTH)

/* c = sum over k values of a (ROWS of a panel) times b (VECTORS panels). */
LANE_FN void NAME(dot)(const REAL *a, const REAL *b, int64_t stride, uint64_t k, VEC c[ROWS][VECTORS]) {
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) c[i][v] = (VEC){0};
  for (; k > 0; --k, a += WIDTH, b += WIDTH) {
    VEC x[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) x[v] = LOAD(b + v * stride);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      VEC y = ALL(a[i]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) c[i][v] += y * x[v];
    }
  }
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

LANE_FN const REAL *NAME(panel)(const void *base, int64_t stride, uint64_t at) {
  return (const REAL *)base + (int64_t)(at / WIDTH) * stride + at % WIDTH;
}

/* Fetches a share of the panels after b, for row i of `rows`: they are next. */
LANE_FN void NAME(ahead)(const REAL *b, int64_t stride, uint64_t k, uint64_t i, uint64_t rows) {
  uint64_t tiles = (rows + ROWS - 1) / ROWS, share = (k + tiles - 1) / tiles, from = i / ROWS * share;
  const REAL *next = b + VECTORS * stride + from * WIDTH;
  for (uint64_t l = 0; l < share; ++l, next += WIDTH)
    for (int v = 0; v < VECTORS; ++v) __builtin_prefetch(next + v * stride, 0, 2);
}

static void NAME(direct)(const struct product_part *p, struct product_tally *t) {
  for (uint64_t j = 0; j < p->columns; j += COLUMNS) {
    if (p->j0 + j >= p->band->v) break;
    const REAL *b = NAME(panel)(p->b, p->stride, j);
    for (uint64_t i = 0; i < p->rows; i += ROWS) {
      if (p->i0 + i >= p->band->v) break;
      int meets = product_band_meets(p->band, p->i0 + i, ROWS, p->j0 + j, COLUMNS);
      if (meets == 0) continue;
      NAME(ahead)(b, p->stride, p->k, i, p->rows);
      VEC c[ROWS][VECTORS];
      NAME(dot)(NAME(panel)(p->a, p->stride, i), b, p->stride, p->k, c);
      if (meets == 1) {
        REAL copy[ROWS][COLUMNS];
        memcpy(copy, c, sizeof copy);
        NAME(mask)(p->band, p->i0 + i, p->j0 + j, copy);
        memcpy(c, copy, sizeof copy);
      }
      NAME(gather)(c, p->functionals, t);
    }
  }
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
      if (meets == 1) NAME(mask)(p->band, p->i0 + i, p->j0 + j, copy);
      memcpy(c, copy, sizeof copy);
      NAME(gather)(c, p->functionals, t);
    }
  }
}

/* ---- Packing --------------------------------------------------------------------------------------------------------- */

/* One panel of `positions` features (or samples); x is that of its first. */
LANE_FN void NAME(pack_panel)(const REAL *x, int64_t ld, uint64_t positions, uint64_t values, int by_position, int along,
                              const double *mean, const double *scale, REAL *out) {
  uint64_t k = 0;
  if (positions == WIDTH && !by_position) {
    if (along) {
      MEANS m = MEANS_LOAD(mean, scale);
      for (; k < values; ++k) STORE(out + k * WIDTH, STANDARDISE(LOAD(x + (int64_t)k * ld), m));
    } else {
      for (; k < values; ++k) {
        MEANS m = MEANS_ALL(mean[k], scale[k]);
        STORE(out + k * WIDTH, STANDARDISE(LOAD(x + (int64_t)k * ld), m));
      }
    }
  } else if (positions == WIDTH) {
    for (; k + WIDTH <= values; k += WIDTH) {
      VEC t[WIDTH];
#pragma GCC unroll 16
      for (int l = 0; l < WIDTH; ++l) {
        MEANS m = along ? MEANS_ALL(mean[l], scale[l]) : MEANS_LOAD(mean + k, scale + k);
        t[l] = STANDARDISE(LOAD(x + (int64_t)l * ld + (int64_t)k), m);
      }
      TRANSPOSE(t);
#pragma GCC unroll 16
      for (int l = 0; l < WIDTH; ++l) STORE(out + (k + (uint64_t)l) * WIDTH, t[l]);
    }
  }
  for (; k < values; ++k)
    for (uint64_t l = 0; l < WIDTH; ++l) {
      if (l >= positions) {
        out[k * WIDTH + l] = 0;
        continue;
      }
      double v = (double)(by_position ? x[(int64_t)l * ld + (int64_t)k] : x[(int64_t)k * ld + (int64_t)l]);
      uint64_t f = along ? l : k;
      out[k * WIDTH + l] = (REAL)((v - mean[f]) * scale[f]);
    }
}

static void NAME(pack)(const void *data, int64_t ld, uint64_t positions, uint64_t values, int by_position, int along,
                       const double *mean, const double *scale, void *panels, int64_t stride) {
  const REAL *x = data;
  REAL *out = panels;
  uint64_t padded = (positions + COLUMNS - 1) / COLUMNS * COLUMNS;
  for (uint64_t p = 0; p < padded; p += WIDTH, out += stride) {
    uint64_t left = p >= positions ? 0 : positions - p < WIDTH ? positions - p : WIDTH;
    const REAL *from = left == 0 ? x : by_position ? x + (int64_t)p * ld : x + p;
    const double *m = along ? mean + p : mean, *s = along ? scale + p : scale;
    if (!by_position && along) NAME(pack_panel)(from, ld, left, values, 0, 1, m, s, out);
    else if (!by_position) NAME(pack_panel)(from, ld, left, values, 0, 0, m, s, out);
    else if (along) NAME(pack_panel)(from, ld, left, values, 1, 1, m, s, out);
    else NAME(pack_panel)(from, ld, left, values, 1, 0, m, s, out);
  }
}

#undef COLUMNS
