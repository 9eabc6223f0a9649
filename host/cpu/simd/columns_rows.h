/* columns_rows.h - rows of features of one type in memory; included once for each, inside what columns_real.h is given.
 *
 * SOURCE: the type; FROM(p): WIDTH of it as a VEC; ROWS(x): x_bf16 and so on. */

/* The pivot of a feature's first group of rows is their mean; eighths of equal values add up to that value exactly. */
LANE_FN VEC ROWS(pivot)(const SOURCE *p, int64_t step, uint64_t rows) {
  VEC sum = {0}, share = ALL((REAL)1 / (REAL)rows);
  for (uint64_t g = 0; g < rows; ++g) sum += FROM(p + (int64_t)g * step) * share;
  return sum;
}

/* Adds `rows` values of WIDTH features from i on; next is the same place a group later, step values from row to row. */
LANE_FN void ROWS(group)(const SOURCE *p, int64_t step, uint64_t rows, const SOURCE *next, int64_t next_step, uint64_t i,
                         const struct columns_state *s) {
  REAL *low = (REAL *)s->min + i, *high = (REAL *)s->max + i;
  VEC at = LOAD((REAL *)s->pivot + i), a = LOAD(low), b = LOAD(high), s1 = {0}, s2 = {0};
#pragma GCC unroll 8
  for (uint64_t g = 0; g < rows; ++g, p += step, next += next_step) {
    __builtin_prefetch(next, 0, 2);
    VEC v = FROM(p), d = v - at;
    s1 += d;
    s2 += d * d;
    a = MIN(v, a);
    b = MAX(v, b);
  }
  STORE(low, a);
  STORE(high, b);
  ADD_TO(s->s1 + i, s1);
  ADD_TO(s->s2 + i, s2);
}

static void ROWS(rows)(const void *data, int64_t ld, uint64_t rows, uint64_t n, const struct columns_state *s, int first) {
  const SOURCE *x = data;
  uint64_t full = n / WIDTH * WIDTH;
  /* Fetched ahead: a later group, also beyond these rows, where the next ones are likely. */
  int64_t ahead = (int64_t)(1 + COLUMNS_AHEAD / (COLUMNS_GROUP * sizeof(SOURCE) * (n + 1))) * COLUMNS_GROUP * ld;
  for (uint64_t r = 0; r < rows; r += COLUMNS_GROUP, x += COLUMNS_GROUP * ld) {
    uint64_t left = rows - r, group = left < COLUMNS_GROUP ? left : COLUMNS_GROUP;
    const SOURCE *next = x + ahead;
    if (first && r == 0)
      for (uint64_t i = 0; i < full; i += WIDTH) STORE((REAL *)s->pivot + i, ROWS(pivot)(x + i, ld, group));
    if (group == COLUMNS_GROUP)
      for (uint64_t i = 0; i < full; i += WIDTH) ROWS(group)(x + i, ld, COLUMNS_GROUP, next + i, ld, i, s);
    else
      for (uint64_t i = 0; i < full; i += WIDTH) ROWS(group)(x + i, ld, group, x + i, ld, i, s);
    if (full < n) { /* the last lanes repeat the last feature */
      SOURCE tail[COLUMNS_GROUP][WIDTH];
      for (uint64_t g = 0; g < group; ++g)
        for (uint64_t l = 0; l < WIDTH; ++l) tail[g][l] = x[(int64_t)g * ld + (int64_t)(full + l < n ? full + l : n - 1)];
      if (first && r == 0) STORE((REAL *)s->pivot + full, ROWS(pivot)(tail[0], WIDTH, group));
      ROWS(group)(tail[0], WIDTH, group, tail[0], WIDTH, full, s);
    }
  }
}
