/* product.c - register tiles of z-score products, and what is kept of each |r|.
 *
 * Counting 64 bins one |r| at a time would cost as much as the products of 64 samples. Here |r| becomes the 32-bit
 * word 1 << bin, and words are added up bit by bit: a carry-save adder takes three words of one weight to two, so that
 * slice[l] holds bit l of 32 * LANES counters, at 2 to 5 logic operations for LANES values. Bins from 1/2 on, and the
 * thresholds, which start there, are looked at only where a tile reaches them. */
#include "cpu/simd/product.h"

#include "cpu/simd/lanes.h"

#define SLICES 32
#define PACK_ROWS 16
#define TILES_MAX (1u << 26) /* tiles of up to 24 vectors before a counter of SLICES bits could run over */

/* What product_tally.lanes holds. */
struct lanes {
  vf max;
  vd max_wide;
  vi above[ACTSCOPE_THRESHOLD_COUNT];
#if LANES >= 8
  vi slice[2][SLICES]; /* bins 0 .. 31, 32 .. 63 */
#else
  uint64_t bin[2][ACTSCOPE_PAIR_BINS]; /* two tables: neighbours often share a bin */
#endif
};
_Static_assert(sizeof(struct lanes) <= PRODUCT_TALLY_LANES, "a tally holds the vectors");

static void tally_init(struct product_tally *t) { memset(t, 0, sizeof *t); }

static void tally_empty(struct product_tally *t) {
  struct lanes *s = (struct lanes *)t->lanes;
  struct pairs *p = &t->pairs;
#if LANES >= 8
  for (int half = 0; half < 2; ++half)
    for (int l = 0; l < SLICES; ++l)
      for (int i = 0; i < LANES; ++i)
        for (uint32_t word = (uint32_t)s->slice[half][l][i]; word != 0; word &= word - 1)
          p->histogram[32 * half + __builtin_ctz(word)] += 1ull << l;
#else
  for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) p->histogram[k] += s->bin[0][k] + s->bin[1][k];
#endif
  for (int k = 0; k < ACTSCOPE_THRESHOLD_COUNT; ++k)
    for (int i = 0; i < LANES; ++i) p->above[k] += (uint32_t)s->above[k][i];
  uint32_t top = core_bits32(vf_top(s->max));
  if (top > p->max_bits) p->max_bits = top;
  for (int i = 0; i < LANES / 2; ++i)
    if (s->max_wide[i] > p->max) p->max = s->max_wide[i];
  memset(s, 0, sizeof *s);
  t->tiles = 0;
}

/* ---- Counting -------------------------------------------------------------------------------------------------------- */

#if LANES >= 8
#if defined(__AVX512F__)
LANE_FN vi add3(vi a, vi b, vi c) { return (vi)_mm512_ternarylogic_epi32((__m512i)a, (__m512i)b, (__m512i)c, 0x96); }
LANE_FN vi carry3(vi a, vi b, vi c) { return (vi)_mm512_ternarylogic_epi32((__m512i)a, (__m512i)b, (__m512i)c, 0xE8); }
/* 1 << (bin of r mod 32). Adding 2^17, rounded towards zero, leaves the bin in the lowest bits; rotation takes them
 * modulo 32. */
LANE_FN vi bin_word(vf r) {
  __m512 bin = _mm512_add_round_ps((__m512)r, _mm512_set1_ps(131072), _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  return (vi)_mm512_rolv_epi32(_mm512_set1_epi32(1), (__m512i)bin);
}
#else
LANE_FN vi add3(vi a, vi b, vi c) { return a ^ b ^ c; }
LANE_FN vi carry3(vi a, vi b, vi c) { return (a & b) | (c & (a ^ b)); }
LANE_FN vi bin_word(vf r) {
  vi bin = __builtin_convertvector(r * (float)ACTSCOPE_PAIR_BINS, vi) & 31;
  return (vi)_mm256_sllv_epi32(_mm256_set1_epi32(1), (__m256i)bin);
}
#endif

/* Adds n words a lane to the counters from this slice on; n is a constant of the caller. */
LANE_FN void slices_add(vi *slice, vi *x, int n) {
#pragma GCC unroll 4
  while (n > 1) {
    vi s = *slice;
    int m = 0;
#pragma GCC unroll 6
    for (int q = 0; q + 1 < n; q += 2) {
      vi carry = carry3(s, x[q], x[q + 1]);
      s = add3(s, x[q], x[q + 1]);
      x[m++] = carry;
    }
    if (n & 1) {
      vi carry = s & x[n - 1];
      s ^= x[n - 1];
      x[m++] = carry;
    }
    *slice++ = s;
    n = m;
  }
  vi carry = x[0];
  while (vi_any(carry)) {
    vi s = *slice;
    *slice++ = s ^ carry;
    carry = s & carry;
  }
}

/* n vectors of |r|, an even number, of which only lanes with bit `half` of their bin's bit 5 count (half -1: all, and
 * all bins are below 32). Four words at a time leave one carry for the third slice. */
LANE_FN void count_half(const vf *r, int n, int half, vi *slice) {
  vi ones = slice[0], twos = slice[1], fours[6];
#pragma GCC unroll 6
  for (int q = 0; q < n; q += 4) {
    vi x[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      x[i] = (vi){0};
      if (q + i >= n) continue;
      vf v = r[q + i];
      if (half == 1) v = vf_min(v, vf_all((ACTSCOPE_PAIR_BINS - 0.5f) / ACTSCOPE_PAIR_BINS)); /* 1 is in the last bin */
      x[i] = bin_word(v);
      if (half == 0) x[i] &= v < 0.5f;
      if (half == 1) x[i] &= v >= 0.5f;
    }
    vi a = carry3(ones, x[0], x[1]);
    ones = add3(ones, x[0], x[1]);
    vi b = {0};
    if (q + 2 < n) {
      b = carry3(ones, x[2], x[3]);
      ones = add3(ones, x[2], x[3]);
    }
    fours[q / 4] = carry3(twos, a, b);
    twos = add3(twos, a, b);
  }
  slice[0] = ones;
  slice[1] = twos;
  slices_add(slice + 2, fours, (n + 3) / 4);
}

LANE_FN void count_bins(const vf *r, int n, int upper, struct lanes *s) {
  if (!upper) {
    count_half(r, n, -1, s->slice[0]);
  } else {
    count_half(r, n, 0, s->slice[0]);
    count_half(r, n, 1, s->slice[1]);
  }
}
#else
LANE_FN void count_bins(const vf *r, int n, int upper, struct lanes *s) {
  (void)upper;
  for (int q = 0; q < n; ++q) {
    vi bin = __builtin_convertvector(vf_min(r[q] * (float)ACTSCOPE_PAIR_BINS, vf_all(ACTSCOPE_PAIR_BINS - 1)), vi);
    for (int l = 0; l < LANES; ++l) ++s->bin[l & 1][bin[l]];
  }
}
#endif

/* n vectors of |r| whose largest lanes are in top. */
LANE_FN void count_all(const vf *r, int n, vf top, uint32_t functionals, struct lanes *s) {
  /* the largest floats that are not above the thresholds */
  static const float threshold[ACTSCOPE_THRESHOLD_COUNT] = {0.5f, 0.7f, 0.9f, 0.95f, 0.98999995f};
  int upper = vi_any(top >= 0.5f);
  if (functionals & ACTSCOPE_PAIRS_HISTOGRAM) count_bins(r, n, upper, s);
  if (upper && (functionals & ACTSCOPE_PAIRS_ABOVE))
    for (int k = 0; k < ACTSCOPE_THRESHOLD_COUNT && vi_any(top > threshold[k]); ++k) {
      vi count = s->above[k];
      vf limit = vf_all(threshold[k]);
#pragma GCC unroll 24
      for (int q = 0; q < n; ++q) count -= r[q] > limit;
      s->above[k] = count;
    }
}

LANE_FN void tally_tile(struct product_tally *t, vd sum, vd square, uint64_t cells) {
  pairs_add(&t->pairs.abs, pairs_fixed(vd_sum(sum)));
  pairs_add(&t->pairs.square, pairs_fixed(vd_sum(square)));
  t->cells += cells;
  if (++t->tiles >= TILES_MAX) tally_empty(t);
}

/* ---- float ----------------------------------------------------------------------------------------------------------- */

LANE_FN void to_doubles_single(double *p, vf v) {
  vd_store(p, vd_load(p) + vd_low(v));
  vd_store(p + LANES / 2, vd_load(p + LANES / 2) + vd_high(v));
}
struct means_single { vd mean[2], scale[2]; };
LANE_FN struct means_single means_load_single(const double *mean, const double *scale) {
  return (struct means_single){{vd_load(mean), vd_load(mean + LANES / 2)}, {vd_load(scale), vd_load(scale + LANES / 2)}};
}
LANE_FN struct means_single means_all_single(double mean, double scale) {
  return (struct means_single){{vd_all(mean), vd_all(mean)}, {vd_all(scale), vd_all(scale)}};
}
LANE_FN vf standardise_single(vf x, struct means_single m) {
  return vf_join((vd_low(x) - m.mean[0]) * m.scale[0], (vd_high(x) - m.mean[1]) * m.scale[1]);
}

#if LANES == 4
#define ROWS 4
#else
#define ROWS (LANES / 2)
#endif
#define VECTORS 3

LANE_FN void gather_single(vf (*c)[VECTORS], uint32_t functionals, struct product_tally *t) {
  struct lanes *s = (struct lanes *)t->lanes;
  vf sum[VECTORS], square[VECTORS], top[VECTORS], r[ROWS * VECTORS];
#pragma GCC unroll 3
  for (int v = 0; v < VECTORS; ++v) sum[v] = square[v] = top[v] = (vf){0};
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < VECTORS; ++v) {
      vf a = vf_abs(c[i][v]);
      sum[v] += a;
      square[v] += a * a;
      top[v] = vf_max(a, top[v]);
      r[i * VECTORS + v] = a;
    }
  vf tops = vf_max(vf_max(top[0], top[1]), top[2]);
  s->max = vf_max(tops, s->max);
  if (functionals) count_all(r, ROWS * VECTORS, tops, functionals, s);
  vf all = sum[0] + sum[1] + sum[2], all2 = square[0] + square[1] + square[2];
  tally_tile(t, vd_low(all) + vd_high(all), vd_low(all2) + vd_high(all2), ROWS * VECTORS * LANES);
}

#define NAME(x) x##_single
#define REAL float
#define VEC vf
#define WIDTH LANES
#define LOAD vf_load
#define STORE vf_store
#define ALL vf_all
#define ADD_TO to_doubles_single
#define MEANS struct means_single
#define MEANS_LOAD means_load_single
#define MEANS_ALL means_all_single
#define STANDARDISE standardise_single
#define TRANSPOSE vf_transpose
#include "cpu/simd/product_real.h"
enum { ROWS_SINGLE = ROWS, COLUMNS_SINGLE = VECTORS * LANES };
#undef ROWS
#undef VECTORS
#undef NAME
#undef REAL
#undef VEC
#undef WIDTH
#undef LOAD
#undef STORE
#undef ALL
#undef ADD_TO
#undef MEANS
#undef MEANS_LOAD
#undef MEANS_ALL
#undef STANDARDISE
#undef TRANSPOSE

/* ---- double ---------------------------------------------------------------------------------------------------------- */

LANE_FN void to_doubles_wide(double *p, vd v) { vd_store(p, vd_load(p) + v); }
struct means_wide { vd mean, scale; };
LANE_FN struct means_wide means_load_wide(const double *mean, const double *scale) {
  return (struct means_wide){vd_load(mean), vd_load(scale)};
}
LANE_FN struct means_wide means_all_wide(double mean, double scale) {
  return (struct means_wide){vd_all(mean), vd_all(scale)};
}
LANE_FN vd standardise_wide(vd x, struct means_wide m) { return (x - m.mean) * m.scale; }

#define ROWS (LANES / 2)
#if LANES == 4
#define VECTORS 4
#else
#define VECTORS 3
#endif

LANE_FN void gather_wide(vd (*c)[VECTORS], uint32_t functionals, struct product_tally *t) {
  struct lanes *s = (struct lanes *)t->lanes;
  vd sum[VECTORS], square[VECTORS], top = {0};
  vf r[ROWS * VECTORS / 2], tops = {0};
  for (int v = 0; v < VECTORS; ++v) sum[v] = square[v] = (vd){0};
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i += 2)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      vd a = vd_abs(c[i][v]), b = vd_abs(c[i + 1][v]);
      sum[v] += a + b;
      square[v] += a * a;
      square[v] += b * b;
      top = vd_max(vd_max(a, b), top);
      r[i / 2 * VECTORS + v] = vf_join(a, b);
    }
  s->max_wide = vd_max(top, s->max_wide);
  if (functionals) {
    for (int q = 0; q < ROWS * VECTORS / 2; ++q) tops = vf_max(r[q], tops);
    count_all(r, ROWS * VECTORS / 2, tops, functionals, s);
  }
  for (int v = 1; v < VECTORS; ++v) {
    sum[0] += sum[v];
    square[0] += square[v];
  }
  tally_tile(t, sum[0], square[0], ROWS * VECTORS * LANES / 2);
}

#define NAME(x) x##_wide
#define REAL double
#define VEC vd
#define WIDTH (LANES / 2)
#define LOAD vd_load
#define STORE vd_store
#define ALL vd_all
#define ADD_TO to_doubles_wide
#define MEANS struct means_wide
#define MEANS_LOAD means_load_wide
#define MEANS_ALL means_all_wide
#define STANDARDISE standardise_wide
#define TRANSPOSE vd_transpose
#include "cpu/simd/product_real.h"

const struct product_table SIMD_TABLE(product) = {
    {LANES, ROWS_SINGLE, COLUMNS_SINGLE, pack_single, direct_single, add_single, take_single},
    {LANES / 2, ROWS, VECTORS * LANES / 2, pack_wide, direct_wide, add_wide, take_wide},
    tally_init,
    tally_empty};
