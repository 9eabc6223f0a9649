/* product.c - register tiles of z-score products, and what is kept of each r.
 *
 * Counting 64 bins one |r| at a time would cost as much as the products of 64 samples. Here |r| becomes the 32-bit
 * word 1 << bin, and words are added up bit by bit: a carry-save adder takes three words of one weight to two, so that
 * slice[l] holds bit l of 32 * LANES counters, at 2 to 5 logic operations for LANES values. Bins from 1/2 on, and the
 * thresholds, which start there, are looked at only where a tile reaches them. */
#include "cpu/simd/product.h"

#include "cpu/simd/lanes.h"

#define SLICES 24
#if LANES == 8
#define UNROLL 4 /* values multiplied in a round */
#else
#define UNROLL 1
#endif
#define QUEUE 8 /* carries of as many tiles are added up at once */
#define PACK_ROWS 16
#define PACK_POSITIONS (PRODUCT_BLOCK + PRODUCT_ROUND) /* and what fills them up */
#define TILES_MAX (1u << 17) /* tiles of up to 24 vectors before a counter of SLICES bits could run over, or a sum */

typedef uint64_t vq __attribute__((vector_size(4 * LANES)));

/* What product_tally.lanes holds. */
struct lanes {
  vf max;
  vd max_wide;
  vq abs, square; /* sums of |r| and r^2 in 2^-40, each tile with the bits of FIXED */
  vq plain;       /* the same of r, from the tiles of which it is wanted */
  vi above[ACTSCOPE_THRESHOLD_COUNT];
#if LANES >= 8
  vi slice[2][SLICES]; /* bins 0 .. 31, 32 .. 63 */
  vi queue[2][QUEUE];  /* carries for slice[][queue_level] */
  int queued[2], queue_level;
#else
  uint64_t bin[2][ACTSCOPE_PAIR_BINS]; /* two tables: neighbours often share a bin */
#endif
};
_Static_assert(sizeof(struct lanes) <= PRODUCT_TALLY_LANES, "a tally holds the vectors");

/* A double from -2^11 to 2^11 plus this has its multiple of 2^-40 in the lowest bits. */
#define FIXED 6144.0

static void tally_init(struct product_tally *t) { memset(t, 0, sizeof *t); }

#if LANES >= 8
static void queue_empty(struct lanes *s, int half);
#endif

static void tally_empty(struct product_tally *t) {
  struct lanes *s = (struct lanes *)t->lanes;
  struct pairs *p = &t->pairs;
#if LANES >= 8
  for (int half = 0; half < 2; ++half) {
    queue_empty(s, half);
    for (int l = 0; l < SLICES; ++l)
      for (int i = 0; i < LANES; ++i)
        for (uint32_t word = (uint32_t)s->slice[half][l][i]; word != 0; word &= word - 1)
          p->histogram[32 * half + __builtin_ctz(word)] += 1ull << l;
  }
#else
  for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) p->histogram[k] += s->bin[0][k] + s->bin[1][k];
#endif
  for (int k = 0; k < ACTSCOPE_THRESHOLD_COUNT; ++k)
    for (int i = 0; i < LANES; ++i) p->above[k] += (uint32_t)s->above[k][i];
  uint32_t top = core_bits32(vf_top(s->max));
  if (top > p->max_bits) p->max_bits = top;
  for (int i = 0; i < LANES / 2; ++i) {
    if (s->max_wide[i] > p->max) p->max = s->max_wide[i];
    pairs_add(&p->abs, s->abs[i] - t->tiles * core_bits64(FIXED));
    pairs_add(&p->square, s->square[i] - t->tiles * core_bits64(FIXED));
    pairs_add_signed(&p->plain, (int64_t)(s->plain[i] - t->signed_tiles * core_bits64(FIXED)));
  }
  memset(s, 0, sizeof *s);
  t->tiles = t->signed_tiles = 0;
}

static float tally_largest(struct product_tally *t) {
  struct lanes *s = (struct lanes *)t->lanes;
  float top = vf_top(s->max);
  if (core_bits32(top) > t->pairs.max_bits) t->pairs.max_bits = core_bits32(top);
  s->max = (vf){0};
  return top;
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
LANE_FN vi bin_word_of(vf r, int half) {
  vi x = bin_word(r);
  return half < 0 ? x : half ? x & (r >= 0.5f) : x & (r < 0.5f);
}
#else
LANE_FN vi add3(vi a, vi b, vi c) { return a ^ b ^ c; }
LANE_FN vi carry3(vi a, vi b, vi c) { return (a & b) | (c & (a ^ b)); }
/* 1 << (bin of r, less 32 in the upper half); what is then not in 0 .. 31 is shifted out. Adding to the exponent
 * multiplies by 64 and leaves the multipliers to the products. */
LANE_FN vi bin_word_of(vf r, int half) {
  vi bin = __builtin_convertvector((vf)((vi)r + (6 << 23)), vi);
  if (half == 1) bin -= 32;
  return (vi)_mm256_sllv_epi32(_mm256_set1_epi32(1), (__m256i)bin);
}
#endif

/* Adds n words a lane to the counters of a slice: their carries take the words' place; returns how many. */
LANE_FN int slice_add(vi *slice, vi *x, int n) {
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
  *slice = s;
  return m;
}
/* The same for the slices from *at on until one word is left: the carry for the slice that *at then points to. n is a
 * constant of the caller, at most 8. */
LANE_FN vi slices_add(vi **at, vi *x, int n) {
  if (n > 1) n = slice_add((*at)++, x, n);
  if (n > 1) n = slice_add((*at)++, x, n);
  if (n > 1) n = slice_add((*at)++, x, n);
  return x[0];
}

/* How far a carry ripples is not to be foretold, so that only the carry of many tiles does. */
static __attribute__((noinline)) void queue_empty(struct lanes *s, int half) {
  vi x[QUEUE], *slice = s->slice[half] + s->queue_level;
  memcpy(x, s->queue[half], sizeof x);
  memset(s->queue[half], 0, sizeof x);
  s->queued[half] = 0;
  vi carry = slices_add(&slice, x, QUEUE);
  while (vi_any(carry)) {
    vi sum = *slice;
    *slice++ = sum ^ carry;
    carry = sum & carry;
  }
}

/* n vectors of |r|, an even number, of which only lanes with bit `half` of their bin's bit 5 count (half -1: all, and
 * all bins are below 32). Four words at a time leave one carry for the third slice. */
LANE_FN void count_half(const vf *r, int n, int half, struct lanes *s) {
  vi *slice = s->slice[half == 1];
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
      x[i] = bin_word_of(v, half);
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
  slice += 2;
  s->queue[half == 1][s->queued[half == 1]] = slices_add(&slice, fours, (n + 3) / 4);
  s->queue_level = (int)(slice - s->slice[half == 1]);
  if (++s->queued[half == 1] == QUEUE) queue_empty(s, half == 1);
}

LANE_FN void count_bins(const vf *r, int n, int upper, struct lanes *s) {
  if (!upper) {
    count_half(r, n, -1, s);
  } else {
    count_half(r, n, 0, s);
    count_half(r, n, 1, s);
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

/* Sums of a tile, by lanes: rounded here, they are the same whatever comes before and after. */
LANE_FN void tally_tile(struct product_tally *t, vd sum, vd square, uint64_t cells) {
  struct lanes *s = (struct lanes *)t->lanes;
  s->abs += (vq)(sum + FIXED);
  s->square += (vq)(square + FIXED);
  t->cells += cells;
  if (++t->tiles >= TILES_MAX) tally_empty(t);
}

/* The same of r itself, before its tile's other sums. */
LANE_FN void tally_plain(struct product_tally *t, vd sum) {
  ((struct lanes *)t->lanes)->plain += (vq)(sum + FIXED);
  ++t->signed_tiles;
}

/* c += y x. With AVX2 the sums of a tile and the factors fill all registers, which the compiler only manages when told
 * which form of the instruction to take, and to load a factor once: else up to a fifth is lost to moves and loads. */
#if defined(__AVX2__) && !defined(__AVX512F__)
#define MULTIPLY_ADD_SINGLE(c, y, x) __asm__("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(y), "x"(x))
#define MULTIPLY_ADD_WIDE(c, y, x) __asm__("vfmadd231pd %2, %1, %0" : "+x"(c) : "x"(y), "x"(x))
#else
#define MULTIPLY_ADD_SINGLE(c, y, x) ((c) += (y) * (x))
#define MULTIPLY_ADD_WIDE(c, y, x) ((c) += (y) * (x))
#endif

#define DITHER_POSITION 2447445414u /* 2^32 / 1.3247^2 and 2^32 / 1.3247, whose cube is itself plus 1 */
#define DITHER_VALUE 3242174889u
#define DITHER(position, value) ((uint32_t)(position) * DITHER_POSITION + (uint32_t)(value) * DITHER_VALUE)

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

/* One |r|'s worth, or a sum's, for feature `at` of a side. */
LANE_FN void feature_add(struct product_features *f, int side, uint64_t at, double sum, float top) {
  uint32_t bits = core_bits32(top);
  f->sum[side][at] += pairs_fixed32(sum);
  if (bits > f->max[side][at]) f->max[side][at] = bits;
}

LANE_FN void plain_single(const vf *r, struct product_tally *t) {
  vf sum[VECTORS];
  for (int v = 0; v < VECTORS; ++v) sum[v] = (vf){0};
  for (int i = 0; i < ROWS; ++i)
    for (int v = 0; v < VECTORS; ++v) sum[v] += r[i * VECTORS + v];
  vf all = sum[0] + sum[1] + sum[2];
  tally_plain(t, vd_low(all) + vd_high(all));
}

static __attribute__((noinline)) void gather_single(const vf *r, uint32_t functionals, struct product_tally *t) {
  struct lanes *s = (struct lanes *)t->lanes;
  vf sum[VECTORS], square[VECTORS], top[VECTORS];
#pragma GCC unroll 3
  for (int v = 0; v < VECTORS; ++v) sum[v] = square[v] = top[v] = (vf){0};
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < VECTORS; ++v) {
      vf a = r[i * VECTORS + v];
      sum[v] += a;
      square[v] += a * a;
      top[v] = vf_max(a, top[v]);
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
#define ABS vf_abs
#define MAX vf_max
#define MULTIPLY_ADD MULTIPLY_ADD_SINGLE
#define ADD_TO to_doubles_single
#define MEANS struct means_single
#define MEANS_LOAD means_load_single
#define MEANS_ALL means_all_single
#define STANDARDISE standardise_single
#define TRANSPOSE vf_transpose
#include "cpu/simd/product_real.h"
#undef NAME
#undef ADD_TO

/* ---- 16 bits ----------------------------------------------------------------------------------------------------------
 * z-scores in units of 1/INT16_ONE, two samples of a feature side by side: the multipliers take twice as many at once. A
 * sum needs no more than 32 bits: it is at most the product of two norms, INT16_ONE^2, and so is each part of it.
 *
 * Where a feature has few values (zeros of a ReLU, steps), rounding to nearest would move many samples, and samples of many
 * features, alike. A value is rounded up as often as its fraction says instead: where fraction + dither reaches 1, the dither
 * running evenly over 0 .. 1 along samples and features (the R2 sequence of M. Roberts). Means of r are then as good as
 * unbiased; single r are off by 1.8e-5 (standard deviation), whatever the number of samples. */

#define INT16_ONE PRODUCT_INT16_ONE

/* c += products of two samples */
#if defined(__AVX512F__)
LANE_FN vi add_products(vi c, vi y, vi x) {
#if defined(__AVX512VNNI__)
  return (vi)_mm512_dpwssd_epi32((__m512i)c, (__m512i)y, (__m512i)x);
#endif
  return (vi)_mm512_add_epi32((__m512i)c, _mm512_madd_epi16((__m512i)y, (__m512i)x));
}
LANE_FN vi rounded(vf x) { return (vi)_mm512_cvtps_epi32((__m512)x); }
#elif defined(__AVX2__)
LANE_FN vi add_products(vi c, vi y, vi x) {
  return (vi)_mm256_add_epi32((__m256i)c, _mm256_madd_epi16((__m256i)y, (__m256i)x));
}
LANE_FN vi rounded(vf x) { return (vi)_mm256_cvtps_epi32((__m256)x); }
#elif defined(__x86_64__)
LANE_FN vi add_products(vi c, vi y, vi x) { return (vi)_mm_add_epi32((__m128i)c, _mm_madd_epi16((__m128i)y, (__m128i)x)); }
LANE_FN vi rounded(vf x) { return (vi)_mm_cvtps_epi32((__m128)x); }
#else
LANE_FN vi add_products(vi c, vi y, vi x) {
  return c + (y >> 16) * (x >> 16) + ((vi)((vu)y << 16) >> 16) * ((vi)((vu)x << 16) >> 16);
}
LANE_FN vi rounded(vf x) {
  vi r;
  for (int l = 0; l < LANES; ++l) r[l] = (int32_t)lrintf(x[l]);
  return r;
}
#endif

typedef int32_t int32_alias __attribute__((aligned(2), may_alias));

/* The dither, moved against the sum so far of errors times z-scores: what a feature's error has in common with the feature,
 * and so with all that correlate with it, is kept near zero (as in error feedback of noise shaping). */
#define FEEDBACK 4.0f

LANE_FN void keep_int16(int16_t *panel, uint64_t k, vf z, uint32_t dither, float *carry) {
  vu at;
#pragma GCC unroll 16
  for (int l = 0; l < LANES; ++l) at[l] = (uint32_t)l * DITHER_POSITION;
  at += dither + (uint32_t)k * DITHER_VALUE;
  vf up = __builtin_convertvector((vi)(at >> 8), vf) * 0x1p-24f - 0.5f, x = z * (float)INT16_ONE, left = vf_load(carry);
  vf back = vf_max(vf_min(left * FEEDBACK, vf_all(0.5f)), vf_all(-0.5f));
  int16_t *to = panel + (k & ~1ull) * LANES;
  vi q = rounded(x + up - (vf)((vi)back ^ ((vi)z & INT32_MIN)));
  vf_store(carry, left + (__builtin_convertvector(q, vf) - x) * z);
  vi_store(to, k & 1 ? vi_load(to) | (vi)((vu)q << 16) : q & 0xFFFF);
}
LANE_FN void keep_one_int16(int16_t *panel, uint64_t k, uint64_t p, double wide, uint32_t dither, float *carry) {
  uint32_t at = dither + (uint32_t)k * DITHER_VALUE + (uint32_t)p * DITHER_POSITION;
  float up = (float)(int32_t)(at >> 8) * 0x1p-24f - 0.5f, z = (float)wide, x = z * (float)INT16_ONE;
  float back = carry[p] * FEEDBACK;
  back = back > 0.5f ? 0.5f : back < -0.5f ? -0.5f : back;
  int16_t *to = panel + (k & ~1ull) * LANES + 2 * p;
  to[k & 1] = (int16_t)lrintf(x + up - (z < 0 ? -back : back));
  carry[p] += ((float)to[k & 1] - x) * z;
  if (!(k & 1)) to[1] = 0;
}

LANE_FN void dot_step_int16(const int16_t *a, const int16_t *b, int64_t stride, vi c[ROWS][VECTORS]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  /* 12 sums, a factor, two of the others and a product fill all registers; the compiler would keep products instead. */
  vi x0 = vi_load(b), x1 = vi_load(b + stride), t;
#pragma GCC unroll 4
  for (int i = 0; i < ROWS; ++i) {
    vi y = (vi)_mm256_set1_epi32(((const int32_alias *)a)[i]);
    __asm__("vpmaddwd %5, %4, %3\n\tvpaddd %3, %0, %0\n\tvpmaddwd %6, %4, %3\n\tvpaddd %3, %1, %1\n\t"
            "vpmaddwd %7, %4, %3\n\tvpaddd %3, %2, %2"
            : "+x"(c[i][0]), "+x"(c[i][1]), "+x"(c[i][2]), "=&x"(t)
            : "x"(y), "x"(x0), "x"(x1), "m"(*(const vi_loose *)(b + 2 * stride)));
  }
#else
  vi x[VECTORS];
#pragma GCC unroll 3
  for (int v = 0; v < VECTORS; ++v) x[v] = vi_load(b + v * stride);
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
    vi y = ((const int32_alias *)a)[i] - (vi){0};
#pragma GCC unroll 3
    for (int v = 0; v < VECTORS; ++v) c[i][v] = add_products(c[i][v], y, x[v]);
  }
#endif
}
LANE_FN void dot_int16(const int16_t *a, const int16_t *b, int64_t stride, uint64_t k, vf r[ROWS][VECTORS]) {
  vi c[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < VECTORS; ++v) c[i][v] = (vi){0};
  uint64_t left = (k + 1) / 2; /* the partner of an odd last value is 0 */
  for (; left >= 2; left -= 2, a += 4 * LANES, b += 4 * LANES) {
    dot_step_int16(a, b, stride, c);
    dot_step_int16(a + 2 * LANES, b + 2 * LANES, stride, c);
  }
  if (left > 0) dot_step_int16(a, b, stride, c);
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < VECTORS; ++v) r[i][v] = __builtin_convertvector(c[i][v], vf) * (float)(1.0 / INT16_ONE / INT16_ONE);
}

#define NAME(x) x##_int16
#define COLUMNS (VECTORS * WIDTH)
#define PANEL int16_t
#define PAIR 2
#define GATHER gather_single
#define CLOSE close_single
#define ADD_TO to_doubles_single
#define KEEP keep_int16
#define KEEP_ONE keep_one_int16
#include "cpu/simd/product_tile.h"
#include "cpu/simd/product_pack.h"
#undef PANEL
#undef PAIR
#undef GATHER
#undef CLOSE
#undef KEEP
#undef KEEP_ONE
#undef COLUMNS

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
#undef ABS
#undef MAX
#undef MULTIPLY_ADD
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

LANE_FN void plain_wide(const vd *r, struct product_tally *t) {
  vd sum = {0};
  for (int q = 0; q < ROWS * VECTORS; ++q) sum += r[q];
  tally_plain(t, sum);
}

static __attribute__((noinline)) void gather_wide(const vd *r, uint32_t functionals, struct product_tally *t) {
  struct lanes *s = (struct lanes *)t->lanes;
  vd sum[VECTORS], square[VECTORS], top = {0};
  vf narrow[ROWS * VECTORS / 2], tops = {0};
  for (int v = 0; v < VECTORS; ++v) sum[v] = square[v] = (vd){0};
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i += 2)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      vd a = r[i * VECTORS + v], b = r[(i + 1) * VECTORS + v];
      sum[v] += a + b;
      square[v] += a * a;
      square[v] += b * b;
      top = vd_max(vd_max(a, b), top);
      narrow[i / 2 * VECTORS + v] = vf_join(a, b);
    }
  s->max_wide = vd_max(top, s->max_wide);
  if (functionals) {
    for (int q = 0; q < ROWS * VECTORS / 2; ++q) tops = vf_max(narrow[q], tops);
    count_all(narrow, ROWS * VECTORS / 2, tops, functionals, s);
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
#define ABS vd_abs
#define MAX vd_max
#define MULTIPLY_ADD MULTIPLY_ADD_WIDE
#define ADD_TO to_doubles_wide
#define MEANS struct means_wide
#define MEANS_LOAD means_load_wide
#define MEANS_ALL means_all_wide
#define STANDARDISE standardise_wide
#define TRANSPOSE vd_transpose
#include "cpu/simd/product_real.h"

const struct product_table SIMD_TABLE(product) = {
    {LANES, ROWS_SINGLE, COLUMNS_SINGLE, sizeof(float), pack_single, direct_single, add_single, take_single},
    {LANES / 2, ROWS, VECTORS * LANES / 2, sizeof(double), pack_wide, direct_wide, add_wide, take_wide},
    {LANES, ROWS_SINGLE, COLUMNS_SINGLE, sizeof(int16_t), pack_int16, direct_int16, add_int16, take_int16},
#if defined(__x86_64__)
    1,
#else
    0,
#endif
    tally_init,
    tally_empty,
    tally_largest};
