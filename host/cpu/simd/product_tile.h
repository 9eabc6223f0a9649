/* product_tile.h - register tiles over a part of the matrix, for one kind of panels; included three times.
 *
 * REAL, VEC, WIDTH, ADD_TO, ABS, NAME, ROWS, COLUMNS, VECTORS as in product_real.h; PANEL: the type of a panel's values, of
 * which PAIR of a position lie side by side; NAME(dot) gives a tile, GATHER and CLOSE take one. */

LANE_FN const PANEL *NAME(panel)(const void *base, int64_t stride, uint64_t at) {
  return (const PANEL *)base + (int64_t)(at / WIDTH) * stride + at % WIDTH * PAIR;
}

/* Fetches `share` values of the panels after b, from value `from` on: they are next. */
LANE_FN void NAME(ahead)(const PANEL *b, int64_t stride, uint64_t from, uint64_t share) {
  const PANEL *next = b + VECTORS * stride + from * WIDTH;
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
    const PANEL *b = NAME(panel)(p->b, p->stride, j);
    for (uint64_t i = 0, from = 0; i < p->rows; i += ROWS, from += share) {
      if (p->i0 + i >= p->band->v) break;
      int meets = whole ? 2 : product_band_meets(p->band, p->i0 + i, ROWS, p->j0 + j, COLUMNS);
      if (meets == 0) continue;
      NAME(ahead)(b, p->stride, from, share);
      VEC now[ROWS][VECTORS];
      NAME(dot)(NAME(panel)(p->a, p->stride, i), b, p->stride, p->k, now);
      if (meets == 2 && !p->beyond) {
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
          for (int v = 0; v < VECTORS; ++v) c[at][r][v] = ABS(now[r][v]);
      } else {
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
          for (int v = 0; v < VECTORS; ++v) c[at][r][v] = now[r][v];
        CLOSE(p, i, j, meets == 2, c[at][0], t);
      }
      at = !at;
      if (held) GATHER(c[at][0], p->functionals, t);
      held = 1;
    }
  }
  if (held) GATHER(c[!at][0], p->functionals, t);
}

/* Fetches a share of the next chunk's panels: those of rows while the first columns are worked on, and so on. */
LANE_FN void NAME(ahead_chunk)(const struct product_part *p, uint64_t i, uint64_t j) {
  const PANEL *a = NAME(panel)(p->next_a, p->stride, i), *b = NAME(panel)(p->next_b, p->stride, j);
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
    const PANEL *b = NAME(panel)(p->b, p->stride, j);
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
      CLOSE(p, i, j, meets == 2, c[0], t);
      GATHER(c[0], p->functionals, t);
    }
  }
}
