/* columns_real.h - the kernels of columns.c for one type; included twice.
 *
 * REAL, VEC, WIDTH: the type, its vector and lanes; LOAD, ALL, MIN, MAX: its operations; NAME(x): x_single or x_wide;
 * ADD_TO(p, v): adds a vector to WIDTH doubles; SMALL, LARGE: outside them a run's sum of squares may have under- or
 * overflowed. */

static void NAME(rows)(const void *data, int64_t ld, uint64_t rows, uint64_t n, const struct columns_state *s) {
  const REAL *x = data;
  REAL *pivot = s->pivot, *low = s->min, *high = s->max;
  REAL tail[COLUMNS_GROUP][WIDTH];
  for (uint64_t r = 0; r < rows; r += COLUMNS_GROUP, x += COLUMNS_GROUP * ld) {
    uint64_t group = rows - r < COLUMNS_GROUP ? rows - r : COLUMNS_GROUP;
    const REAL *next = rows - r > COLUMNS_GROUP ? x + COLUMNS_GROUP * ld : x;
    for (uint64_t i = 0; i < n; i += WIDTH) {
      const REAL *p = x + i;
      int64_t step = ld;
      if (i + WIDTH > n) { /* the last lanes repeat the last feature */
        for (uint64_t g = 0; g < group; ++g)
          for (uint64_t l = 0; l < WIDTH; ++l) tail[g][l] = x[(int64_t)g * ld + (int64_t)(i + l < n ? i + l : n - 1)];
        p = tail[0];
        step = WIDTH;
      }
      VEC at = LOAD(pivot + i), a = LOAD(low + i), b = LOAD(high + i), s1 = {0}, s2 = {0};
      if (group == COLUMNS_GROUP) {
#pragma GCC unroll 8
        for (int g = 0; g < COLUMNS_GROUP; ++g) {
          __builtin_prefetch(next + g * ld + (int64_t)i, 0, 2);
          VEC v = LOAD(p + g * step), d = v - at;
          s1 += d;
          s2 += d * d;
          a = MIN(v, a);
          b = MAX(v, b);
        }
      } else {
        for (uint64_t g = 0; g < group; ++g) {
          VEC v = LOAD(p + (int64_t)g * step), d = v - at;
          s1 += d;
          s2 += d * d;
          a = MIN(v, a);
          b = MAX(v, b);
        }
      }
      STORE(low + i, a);
      STORE(high + i, b);
      ADD_TO(s->s1 + i, s1);
      ADD_TO(s->s2 + i, s2);
    }
  }
}

static void NAME(samples)(const void *data, uint64_t n, const struct columns_state *s, uint64_t f) {
  const REAL *x = data;
  REAL pivot = ((REAL *)s->pivot)[f], low = ((REAL *)s->min)[f], high = ((REAL *)s->max)[f];
  VEC at = ALL(pivot), a = ALL(low), b = ALL(high), a2 = a, b2 = b;
  double w1[WIDTH], w2[WIDTH], sum1 = 0, sum2 = 0;
  memset(w1, 0, sizeof w1);
  memset(w2, 0, sizeof w2);
  uint64_t i = 0;
  while (i + WIDTH <= n) {
    VEC s1 = {0}, s2 = {0}, t1 = {0}, t2 = {0};
    int g = 0;
    for (; g < COLUMNS_GROUP && i + 2 * WIDTH <= n; ++g, i += 2 * WIDTH) {
      VEC v = LOAD(x + i), w = LOAD(x + i + WIDTH), d = v - at, e = w - at;
      s1 += d;
      s2 += d * d;
      t1 += e;
      t2 += e * e;
      a = MIN(v, a);
      b = MAX(v, b);
      a2 = MIN(w, a2);
      b2 = MAX(w, b2);
    }
    if (g == 0) {
      VEC v = LOAD(x + i), d = v - at;
      s1 += d;
      s2 += d * d;
      a = MIN(v, a);
      b = MAX(v, b);
      i += WIDTH;
    }
    ADD_TO(w1, s1 + t1);
    ADD_TO(w2, s2 + t2);
  }
  for (int l = 0; l < WIDTH; ++l) { /* a lane's extrema never are NaN: they start at infinity and skip it */
    sum1 += w1[l];
    sum2 += w2[l];
    low = a[l] < low ? a[l] : low;
    low = a2[l] < low ? a2[l] : low;
    high = b[l] > high ? b[l] : high;
    high = b2[l] > high ? b2[l] : high;
  }
  for (; i < n; ++i) {
    REAL v = x[i], d = v - pivot;
    sum1 += d;
    sum2 += d * d;
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  ((REAL *)s->min)[f] = low;
  ((REAL *)s->max)[f] = high;
  s->s1[f] += sum1;
  s->s2[f] += sum2;
}

static void NAME(pivot_rows)(const void *data, int64_t ld, uint64_t rows, uint64_t n, const struct columns_state *s) {
  const REAL *x = data;
  REAL *restrict pivot = s->pivot;
  double *restrict sum = s->s1;
  for (uint64_t i = 0; i < n; ++i) sum[i] = 0;
  for (uint64_t r = 0; r < rows; ++r, x += ld)
    for (uint64_t i = 0; i < n; ++i) sum[i] += x[i];
  for (uint64_t i = 0; i < n; ++i) {
    pivot[i] = (REAL)(sum[i] / (double)rows);
    sum[i] = 0;
  }
}

static void NAME(pivot_samples)(const void *data, uint64_t n, const struct columns_state *s, uint64_t f) {
  const REAL *x = data;
  double sum = 0;
  for (uint64_t i = 0; i < n; ++i) sum += x[i];
  ((REAL *)s->pivot)[f] = (REAL)(sum / (double)n);
}

static uint64_t NAME(merge)(const struct columns_state *s, uint64_t from, uint64_t to, double k, double before,
                            uint16_t *odd) {
  REAL *restrict pivot = s->pivot;
  const REAL *restrict low = s->min, *restrict high = s->max;
  double *restrict s1 = s->s1, *restrict s2 = s->s2, *restrict mean = s->mean, *restrict m2 = s->m2;
  double n = before + k, share = k / n, cross = before * k / n, per = 1 / k;
  uint64_t count = 0;
  for (uint64_t i = from; i < to; i += 64) {
    uint64_t end = to - i < 64 ? to : i + 64;
    int sound = 1;
    for (uint64_t j = i; j < end; ++j) sound &= (s2[j] <= LARGE) & ((s2[j] >= SMALL) | (low[j] == high[j]));
    if (sound) {
      for (uint64_t j = i; j < end; ++j) {
        double e = s1[j] * per, run = s2[j] - s1[j] * e, d = (double)pivot[j] + e - mean[j];
        m2[j] += (run > 0 ? run : 0) + d * d * cross;
        mean[j] += d * share;
        pivot[j] = (REAL)mean[j];
        s1[j] = s2[j] = 0;
      }
    } else {
      for (uint64_t j = i; j < end; ++j) {
        if (!(s2[j] <= LARGE && (s2[j] >= SMALL || low[j] == high[j]))) {
          odd[count++] = (uint16_t)j;
          continue;
        }
        double e = s1[j] * per, run = s2[j] - s1[j] * e, d = (double)pivot[j] + e - mean[j];
        m2[j] += (run > 0 ? run : 0) + d * d * cross;
        mean[j] += d * share;
        pivot[j] = (REAL)mean[j];
        s1[j] = s2[j] = 0;
      }
    }
  }
  return count;
}
