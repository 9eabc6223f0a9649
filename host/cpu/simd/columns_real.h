/* columns_real.h - the kernels of columns.c for one type of tile, but for rows; included twice.
 *
 * REAL, VEC, WIDTH: the type, its vector and lanes; LOAD, ALL, MIN, MAX: its operations; NAME(x): x_single or x_wide;
 * LOWEST, HIGHEST: of a vector's lanes; ADD_TO(p, v): adds a vector to WIDTH doubles; SMALL, LARGE: outside them a run's
 * sum of squares may have under- or overflowed. */

static void NAME(samples)(const void *data, uint64_t n, const struct columns_state *s, uint64_t f, int first) {
  const REAL *x = data;
  REAL *pivot = (REAL *)s->pivot + f;
  if (first) {
    uint64_t few = n < WIDTH ? n : WIDTH;
    double sum = 0;
    for (uint64_t i = 0; i < few; ++i) sum += x[i];
    *pivot = (REAL)(sum / (double)few);
  }
  REAL low = ((REAL *)s->min)[f], high = ((REAL *)s->max)[f];
  VEC at = ALL(*pivot), a = ALL(low), b = ALL(high), a2 = a, b2 = b;
  double w1[WIDTH] = {0}, w2[WIDTH] = {0}, sum1 = 0, sum2 = 0;
  uint64_t i = 0;
  while (i + 2 * WIDTH <= n) {
    VEC s1 = {0}, s2 = {0}, t1 = {0}, t2 = {0};
    uint64_t end = n - i < 2 * COLUMNS_GROUP * WIDTH ? n / (2 * WIDTH) * (2 * WIDTH) : i + 2 * COLUMNS_GROUP * WIDTH;
    for (; i + 2 * WIDTH <= end; i += 2 * WIDTH) {
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
    ADD_TO(w1, s1);
    ADD_TO(w1, t1);
    ADD_TO(w2, s2);
    ADD_TO(w2, t2);
  }
  for (int l = 0; l < WIDTH; ++l) {
    sum1 += w1[l];
    sum2 += w2[l];
  }
  low = LOWEST(MIN(a2, a)); /* no lane is NaN: they start at infinity and skip it */
  high = HIGHEST(MAX(b2, b));
  for (; i < n; ++i) {
    REAL v = x[i], d = v - *pivot;
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

static void NAME(init)(const struct columns_state *s, uint64_t n) {
  REAL *low = s->min, *high = s->max;
  for (uint64_t i = 0; i < n; ++i) low[i] = (REAL)core_infinity();
  for (uint64_t i = 0; i < n; ++i) high[i] = -(REAL)core_infinity();
  memset(s->pivot, 0, n * sizeof(REAL));
  memset(s->s1, 0, n * sizeof *s->s1);
  memset(s->s2, 0, n * sizeof *s->s2);
  memset(s->mean, 0, n * sizeof *s->mean);
  memset(s->m2, 0, n * sizeof *s->m2);
}

/* Two features at a time; the arrays have room for one more than n. */
static void NAME(finish)(const struct columns_state *s, uint64_t n, struct column *out) {
  typedef double pair __attribute__((vector_size(16)));
  typedef double place __attribute__((vector_size(16), aligned(8), may_alias));
  typedef int64_t mask __attribute__((vector_size(16)));
  const REAL *low = s->min, *high = s->max;
  const double *means = s->mean, *squares = s->m2;
  mask bad = {0, 0};
  for (uint64_t i = 0; i < n; i += 2) {
    pair a = {low[i], low[i + 1]}, b = {high[i], high[i + 1]};
    pair mean = *(const place *)(means + i), m2 = *(const place *)(squares + i);
    mask equal = a == b;
    bad |= mean != mean;
    mean = (pair)(((mask)a & equal) | ((mask)mean & ~equal));
    m2 = (pair)((mask)m2 & ~equal);
    *(place *)&out[i].mean = (pair){mean[0], m2[0]};
    *(place *)&out[i].min = (pair){a[0], b[0]};
    if (i + 1 == n) break;
    *(place *)&out[i + 1].mean = (pair){mean[1], m2[1]};
    *(place *)&out[i + 1].min = (pair){a[1], b[1]};
  }
  for (uint64_t i = 0; (bad[0] | bad[1]) && i < n; ++i) {
    double a = fabs((double)low[i]), b = fabs((double)high[i]);
    if (means[i] == means[i]) continue;
    out[i].mean = out[i].m2 = 0;
    out[i].min = core_nan();
    out[i].max = low[i] > high[i] ? -1 : a > b ? a : b;
  }
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
