/* profile_sums.h - the sums of a block; included once for each type of elements.
 *
 * REAL, BITS, MAGNITUDE: what they are summed as, its width and the mask of its magnitude; SOURCE: what they are in
 * memory; FROM(at): a vector of them; WHOLE: 1 where histogram and entropy can be asked for; KIND: ends the names of what is
 * made here.
 *
 * Sums run over 16 vectors, those over 16 of the same, those in double: each lane adds at most 16 values of its kind
 * before they meet another level, which keeps single precision's error of a sum near 3e-8 however its values repeat.
 * The few bits of 16-bit types are summed before the pivot is subtracted: over many powers of two such sums are exact. */
#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define V JOIN(v, BITS)
#define I JOIN(i, BITS)
#define U JOIN(u, BITS)
#define M JOIN(m, BITS)
#define F(name) JOIN(name, BITS)
#define G(name) JOIN(name##_, KIND)

LANE_FN double G(lanes_sum)(V v) {
  double sum = 0;
  REAL lane[sizeof(V) / sizeof(REAL)];
  memcpy(lane, &v, sizeof v);
  for (unsigned i = 0; i < sizeof(V) / sizeof(REAL); ++i) sum += lane[i];
  return sum;
}
LANE_FN uint32_t G(lanes_count)(I v) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < sizeof(V) / sizeof(REAL); ++i) sum += (uint64_t)v[i];
  return (uint32_t)sum;
}

/* Counts elements [from, to) of a vector in the histogram; the limits are constants. */
#define COUNT_BINS(at, from, to)                                                    \
  _Pragma("GCC unroll 16") for (int k = (from); k < (to); ++k) {                    \
    uint32_t bin = F(bin_at)((at) + (size_t)k * sizeof(REAL));                      \
    ++(k % 4 == 0 ? table0 : k % 4 == 1 ? table1 : k % 4 == 2 ? table2 : table3)[bin]; \
  }

/* The sums of a and a log2 a, where they have a loop of their own: with 16 registers the constants of one loop for all
 * would be loaded for each vector. Each loop counts half of a vector in the histogram, as arithmetic hides one increment a
 * cycle. Fetches the next block meanwhile. */
LANE_FN void G(logs_run)(const char *x, uint32_t vectors, const struct profile_frame *frame, int histogram,
                         const struct profile_counts *counts, struct profile_sums *out) {
  enum { WIDTH = sizeof(V) / sizeof(REAL), LEVEL = 16 };
  const V abs_scale = F(spread)((REAL)frame->abs_scale);
  const U magnitude = (U){0} + MAGNITUDE;
  uint32_t *table0 = 0, *table1 = 0, *table2 = 0, *table3 = 0;
  if (histogram) table0 = counts->table[0], table1 = counts->table[1], table2 = counts->table[2], table3 = counts->table[3];
  for (uint32_t v = 0; v < vectors;) {
    V ta = {0}, tl = {0};
    uint32_t group = vectors - v < LEVEL * LEVEL ? vectors : v + LEVEL * LEVEL;
    while (v < group) {
      V sa = {0}, sl = {0};
      for (uint32_t end = group - v < LEVEL ? group : v + LEVEL; v < end; ++v) {
        const char *at = x + (size_t)v * WIDTH * sizeof(SOURCE);
        FETCH(at, PROFILE_BLOCK * sizeof(float));
        V a = (V)((U)FROM(at) & magnitude) * abs_scale;
        sa += a;
        sl = F(add_log)(sl, a);
        if (histogram) COUNT_BINS(at, WIDTH / 2, WIDTH)
      }
      ta += sa, tl += sl;
    }
    out->abs += G(lanes_sum)(ta);
    out->abs_log2 += G(lanes_sum)(tl);
  }
}

/* `vectors` whole vectors from x on. The flags are constants where this is called. */
LANE_FN void G(sums_run)(const char *x, uint32_t vectors, const struct profile_frame *frame, int entropy, int masked,
                         int histogram, const struct profile_counts *counts, struct profile_sums *out) {
  enum { WIDTH = sizeof(V) / sizeof(REAL), LEVEL = 16 };
  const int logs_apart = LANES < 16 && entropy && !masked;
  const V scale = F(spread)((REAL)frame->scale), start = F(spread)((REAL)(frame->pivot * frame->scale)),
          abs_scale = F(spread)((REAL)frame->abs_scale), pivot = F(spread)((REAL)frame->pivot),
          infinity = F(spread)((REAL)INFINITY), zeros = {0};
  const U magnitude = (U){0} + MAGNITUDE, normal = (U)F(spread)((REAL)frame->normal);
  V low = infinity, high = -infinity;
  I some = {0}, negative = {0}, tiny = {0}, finite = {0}, nan = {0}, rising = {0};
  uint32_t *table0 = 0, *table1 = 0, *table2 = 0, *table3 = 0;
  if (histogram) table0 = counts->table[0], table1 = counts->table[1], table2 = counts->table[2], table3 = counts->table[3];
  for (uint32_t v = 0; v < vectors;) {
    V t1 = {0}, t2 = {0}, t3 = {0}, t4 = {0}, ta = {0}, tl = {0};
    uint32_t from = v, group = vectors - v < LEVEL * LEVEL ? vectors : v + LEVEL * LEVEL;
    while (v < group) {
      V s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0}, sa = {0}, sl = {0};
      for (uint32_t end = group - v < LEVEL ? group : v + LEVEL; v < end; ++v) {
        const char *at = x + (size_t)v * WIDTH * sizeof(SOURCE);
        if (!logs_apart && (LANES == 8 || histogram || sizeof(SOURCE) == 2)) FETCH(at, AHEAD);
        V value = FROM(at), lower = value, upper = value, size = (V)((U)value & magnitude);
        if (masked) {
          M real = F(less)(size, infinity);
          finite = F(count)(finite, real);
          nan = F(count)(nan, F(differ)(value, value));
          rising = F(count)(rising, F(less)(-infinity, value)); /* not -inf, not NaN */
          lower = F(pick)(real, value, infinity);
          upper = F(pick)(real, value, -infinity);
          value = F(pick)(real, value, pivot);
          size = (V)((U)lower & magnitude); /* infinite where it does not count: neither zero nor tiny */
        }
        low = F(min)(lower, low);
        high = F(max)(upper, high);
        if (masked) some = F(count)(some, F(some)((U)size));
        tiny = F(count)(tiny, F(below)((U)size, normal));
        negative = F(count)(negative, F(negative)(lower));
        if (masked) size = (V)((U)F(pick)(F(less)(size, infinity), size, zeros));
        V d = value * scale - start, d2 = d * d;
        s1 += sizeof(SOURCE) == 2 ? value * scale : d;
        s2 += d2;
        s3 += d2 * d;
        s4 += d2 * d2;
        if (!logs_apart) {
          V a = size * abs_scale;
          sa += a;
          if (entropy) sl = F(add_log)(sl, a);
        }
        if (histogram && logs_apart) COUNT_BINS(at, 0, WIDTH / 2)
        if (histogram && !logs_apart) COUNT_BINS(at, 0, WIDTH)
      }
      t1 += s1, t2 += s2, t3 += s3, t4 += s4, ta += sa, tl += sl;
    }
    out->s1 += G(lanes_sum)(t1) - (sizeof(SOURCE) == 2 ? (group - from) * WIDTH * (double)start[0] : 0);
    out->s2 += G(lanes_sum)(t2);
    out->s3 += G(lanes_sum)(t3);
    out->s4 += G(lanes_sum)(t4);
    if (logs_apart) continue;
    out->abs += G(lanes_sum)(ta);
    if (entropy) out->abs_log2 += G(lanes_sum)(tl);
  }
  if (logs_apart) G(logs_run)(x, vectors, frame, histogram, counts, out);
  for (int k = 0; k < WIDTH; ++k) {
    if (low[k] < out->min) out->min = low[k];
    if (high[k] > out->max) out->max = high[k];
  }
  uint32_t all = vectors * WIDTH, n = masked ? G(lanes_count)(finite) : all, small = G(lanes_count)(tiny), zero = small;
  if (!masked && small > 0) { /* zeros and subnormals are told apart where there are any */
    for (uint32_t v = 0; v < vectors; ++v)
      some = F(count)(some, F(some)((U)FROM(x + (size_t)v * WIDTH * sizeof(SOURCE)) & magnitude));
  }
  if (small > 0) zero = all - G(lanes_count)(some);
  out->n += n;
  out->zero += zero;
  out->subnormal += small - zero;
  out->negative += G(lanes_count)(negative);
  if (masked) {
    uint32_t nans = G(lanes_count)(nan), positive = G(lanes_count)(rising) - n;
    out->nan += nans;
    out->positive_inf += positive;
    out->negative_inf += all - n - nans - positive;
  }
}

/* The rest of a vector is filled with NaN, which the masked sums leave out. */
LANE_FN void G(sums_block)(const void *x, uint32_t n, const struct profile_frame *frame, int entropy, int masked,
                           int histogram, const struct profile_counts *counts, struct profile_sums *out) {
  enum { WIDTH = sizeof(V) / sizeof(REAL) };
  uint32_t vectors = n / WIDTH, rest = n % WIDTH;
  const char *tail = (const char *)x + (size_t)vectors * WIDTH * sizeof(SOURCE);
  SOURCE padded[WIDTH];
  memset(out, 0, sizeof *out);
  out->min = INFINITY, out->max = -INFINITY;
  G(sums_run)(x, vectors, frame, entropy, masked, histogram, counts, out);
  if (rest == 0) return;
  memset(padded, 0xFF, sizeof padded);
  memcpy(padded, tail, rest * sizeof(SOURCE));
  G(sums_run)((const char *)padded, 1, frame, entropy, 1, 0, 0, out);
  out->nan -= WIDTH - rest;
  if (histogram)
    for (uint32_t k = 0; k < rest; ++k) ++counts->table[k % 4][F(bin_at)(tail + (size_t)k * sizeof(REAL))];
}

static void G(sums)(const void *x, uint32_t n, const struct profile_frame *frame, int flags,
                    const struct profile_counts *counts, struct profile_sums *out) {
  int entropy = WHOLE && (flags & PROFILE_ENTROPY);
  if (flags & PROFILE_MASKED) {
    if (entropy) G(sums_block)(x, n, frame, 1, 1, 0, 0, out);
    else G(sums_block)(x, n, frame, 0, 1, 0, 0, out);
    if (counts)
      for (uint32_t k = 0; k < n; ++k) ++counts->table[k % 4][F(bin_at)((const char *)x + (size_t)k * sizeof(REAL))];
  } else if (WHOLE && counts) {
    if (entropy) G(sums_block)(x, n, frame, 1, 0, WHOLE, counts, out);
    else G(sums_block)(x, n, frame, 0, 0, WHOLE, counts, out);
  } else if (entropy) {
    G(sums_block)(x, n, frame, 1, 0, 0, 0, out);
  } else {
    G(sums_block)(x, n, frame, 0, 0, 0, 0, out);
  }
}

#undef V
#undef I
#undef U
#undef M
#undef F
#undef G
#undef JOIN
#undef JOIN2
#undef COUNT_BINS
