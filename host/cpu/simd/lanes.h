/* lanes.h - vectors as wide as the instruction set of this build, and the few operations the language has not.
 *
 * vf, vi, vd: LANES floats, LANES 32-bit integers, LANES / 2 doubles. Comparisons give -1 and 0 a lane. */
#ifndef ACTSCOPE_CPU_SIMD_LANES_H
#define ACTSCOPE_CPU_SIMD_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef double vd __attribute__((vector_size(4 * LANES)));
typedef float vf_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef double vd_any __attribute__((vector_size(4 * LANES), aligned(8), may_alias));
typedef int32_t vi_loose __attribute__((vector_size(4 * LANES), aligned(2), may_alias));

#define LANE_FN static inline __attribute__((always_inline))

LANE_FN vf vf_load(const float *p) { return *(const vf_any *)p; }
LANE_FN void vf_store(float *p, vf v) { *(vf_any *)p = v; }
LANE_FN vd vd_load(const double *p) { return *(const vd_any *)p; }
LANE_FN void vd_store(double *p, vd v) { *(vd_any *)p = v; }
LANE_FN vi vi_load(const void *p) { return *(const vi_loose *)p; }
LANE_FN void vi_store(void *p, vi v) { *(vi_loose *)p = v; }
/* Values of 16-bit types as floats, at any address; LANES_F16: float16 has instructions. */
#if defined(__AVX512F__)
#define LANES_F16
LANE_FN vf vf_from_bf16(const void *p) {
  return (vf)((vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)) << 16);
}
LANE_FN vf vf_from_f16(const void *p) { return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
#elif defined(__AVX2__) && defined(__F16C__)
#define LANES_F16
LANE_FN vf vf_from_bf16(const void *p) {
  return (vf)((vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)) << 16);
}
LANE_FN vf vf_from_f16(const void *p) { return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
#else
LANE_FN vf vf_from_bf16(const void *p) {
  typedef uint16_t half __attribute__((vector_size(2 * LANES)));
  half v;
  memcpy(&v, p, sizeof v);
  return (vf)(__builtin_convertvector(v, vu) << 16);
}
#endif
/* x - 0 is x to the compiler; x + 0 is an addition. */
LANE_FN vf vf_all(float x) { return x - (vf){0}; }
LANE_FN vd vd_all(double x) { return x - (vd){0}; }

LANE_FN vf vf_abs(vf v) { return (vf)((vi)v & 0x7FFFFFFF); }
LANE_FN vd vd_abs(vd v) {
  typedef int64_t vl __attribute__((vector_size(4 * LANES)));
  return (vd)((vl)v & 0x7FFFFFFFFFFFFFFFll);
}

/* The smaller and the larger; b where a is NaN. */
#if defined(__AVX512F__)
LANE_FN vf vf_min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
LANE_FN vf vf_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
LANE_FN vd vd_min(vd a, vd b) { return (vd)_mm512_min_pd((__m512d)a, (__m512d)b); }
LANE_FN vd vd_max(vd a, vd b) { return (vd)_mm512_max_pd((__m512d)a, (__m512d)b); }
#elif defined(__AVX2__)
LANE_FN vf vf_min(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
LANE_FN vf vf_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
LANE_FN vd vd_min(vd a, vd b) { return (vd)_mm256_min_pd((__m256d)a, (__m256d)b); }
LANE_FN vd vd_max(vd a, vd b) { return (vd)_mm256_max_pd((__m256d)a, (__m256d)b); }
#elif defined(__x86_64__)
LANE_FN vf vf_min(vf a, vf b) { return (vf)_mm_min_ps((__m128)a, (__m128)b); }
LANE_FN vf vf_max(vf a, vf b) { return (vf)_mm_max_ps((__m128)a, (__m128)b); }
LANE_FN vd vd_min(vd a, vd b) { return (vd)_mm_min_pd((__m128d)a, (__m128d)b); }
LANE_FN vd vd_max(vd a, vd b) { return (vd)_mm_max_pd((__m128d)a, (__m128d)b); }
#else
LANE_FN vf vf_min(vf a, vf b) { vi m = a < b; return (vf)(((vi)a & m) | ((vi)b & ~m)); }
LANE_FN vf vf_max(vf a, vf b) { vi m = a > b; return (vf)(((vi)a & m) | ((vi)b & ~m)); }
LANE_FN vd vd_min(vd a, vd b) { vd r; for (int i = 0; i < LANES / 2; ++i) r[i] = a[i] < b[i] ? a[i] : b[i]; return r; }
LANE_FN vd vd_max(vd a, vd b) { vd r; for (int i = 0; i < LANES / 2; ++i) r[i] = a[i] > b[i] ? a[i] : b[i]; return r; }
#endif

/* The lower and the upper half of the lanes as doubles, and back. */
#if defined(__AVX512F__)
LANE_FN vd vd_low(vf v) { return (vd)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)v)); }
LANE_FN vd vd_high(vf v) { return (vd)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)v, 1)); }
LANE_FN vf vf_join(vd low, vd high) {
  return (vf)_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps((__m512d)low)), _mm512_cvtpd_ps((__m512d)high), 1);
}
#elif defined(__AVX2__)
LANE_FN vd vd_low(vf v) { return (vd)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)v)); }
LANE_FN vd vd_high(vf v) { return (vd)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)v, 1)); }
LANE_FN vf vf_join(vd low, vd high) {
  return (vf)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps((__m256d)low)), _mm256_cvtpd_ps((__m256d)high), 1);
}
#elif defined(__x86_64__)
LANE_FN vd vd_low(vf v) { return (vd)_mm_cvtps_pd((__m128)v); }
LANE_FN vd vd_high(vf v) { return (vd)_mm_cvtps_pd(_mm_movehl_ps((__m128)v, (__m128)v)); }
LANE_FN vf vf_join(vd low, vd high) {
  return (vf)_mm_movelh_ps(_mm_cvtpd_ps((__m128d)low), _mm_cvtpd_ps((__m128d)high));
}
#else
LANE_FN vd vd_low(vf v) { return (vd){v[0], v[1]}; }
LANE_FN vd vd_high(vf v) { return (vd){v[2], v[3]}; }
LANE_FN vf vf_join(vd low, vd high) { return (vf){(float)low[0], (float)low[1], (float)high[0], (float)high[1]}; }
#endif

LANE_FN double vd_sum(vd v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_pd((__m512d)v);
#elif defined(__AVX2__)
  __m128d h = _mm256_castpd256_pd128((__m256d)v) + _mm256_extractf128_pd((__m256d)v, 1);
  return h[0] + h[1];
#else
  return v[0] + v[1];
#endif
}
/* The smallest and the largest lane; none is NaN. */
#if defined(__AVX512F__)
LANE_FN float vf_low_of(vf v) { return _mm512_reduce_min_ps((__m512)v); }
LANE_FN float vf_top(vf v) { return _mm512_reduce_max_ps((__m512)v); }
LANE_FN double vd_low_of(vd v) { return _mm512_reduce_min_pd((__m512d)v); }
LANE_FN double vd_top(vd v) { return _mm512_reduce_max_pd((__m512d)v); }
#else
#define LANES_EXTREME(name, type, vector, lanes, less)   \
  LANE_FN type name(vector v) {                          \
    type m = v[0];                                       \
    for (int i = 1; i < lanes; ++i) m = v[i] less m ? v[i] : m; \
    return m;                                            \
  }
LANES_EXTREME(vf_low_of, float, vf, LANES, <)
LANES_EXTREME(vf_top, float, vf, LANES, >)
LANES_EXTREME(vd_low_of, double, vd, LANES / 2, <)
LANES_EXTREME(vd_top, double, vd, LANES / 2, >)
#endif
/* 1 when any bit is set. */
LANE_FN int vi_any(vi v) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)v, (__m512i)v) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256((__m256i)v, (__m256i)v);
#elif defined(__x86_64__)
  return _mm_movemask_epi8(_mm_cmpeq_epi8((__m128i)v, _mm_setzero_si128())) != 0xFFFF;
#else
  int64_t halves[LANES / 2], any = 0;
  memcpy(halves, &v, sizeof halves);
  for (int i = 0; i < LANES / 2; ++i) any |= halves[i];
  return any != 0;
#endif
}

/* Row i, lane j becomes row j, lane i: halves, quarters, ... of pairs of rows are swapped. */
#if defined(__AVX512F__)
#define LANES_SWAP(type, rows, s, shuffle)                             \
  _Pragma("GCC unroll 16") for (int i = 0; i < rows; ++i) if (!(i & s)) { \
    type a = (type)t[i], b = (type)t[i + s];                           \
    t[i] = shuffle(a, low, b);                                         \
    t[i + s] = shuffle(a, high, b);                                    \
  }
LANE_FN void vf_transpose(vf t[16]) {
#pragma GCC unroll 4
  for (int s = 1; s < 16; s *= 2) {
    vi l = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, up = (l & s) != 0;
    __m512i low = (__m512i)((up & (l - s + 16)) | (~up & l)), high = (__m512i)((up & (l + 16)) | (~up & (l + s)));
    LANES_SWAP(__m512, 16, s, (vf)_mm512_permutex2var_ps)
  }
}
LANE_FN void vd_transpose(vd t[8]) {
  typedef int64_t vl __attribute__((vector_size(64)));
#pragma GCC unroll 3
  for (int s = 1; s < 8; s *= 2) {
    vl l = {0, 1, 2, 3, 4, 5, 6, 7}, up = (l & s) != 0;
    __m512i low = (__m512i)((up & (l - s + 8)) | (~up & l)), high = (__m512i)((up & (l + 8)) | (~up & (l + s)));
    LANES_SWAP(__m512d, 8, s, (vd)_mm512_permutex2var_pd)
  }
}
#elif defined(__AVX2__)
LANE_FN void vf_transpose(vf t[8]) {
  __m256 u[8], w[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    u[i] = _mm256_unpacklo_ps((__m256)t[i], (__m256)t[i + 1]);
    u[i + 1] = _mm256_unpackhi_ps((__m256)t[i], (__m256)t[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    w[i] = _mm256_shuffle_ps(u[i], u[i + 2], 0x44);
    w[i + 1] = _mm256_shuffle_ps(u[i], u[i + 2], 0xEE);
    w[i + 2] = _mm256_shuffle_ps(u[i + 1], u[i + 3], 0x44);
    w[i + 3] = _mm256_shuffle_ps(u[i + 1], u[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = (vf)_mm256_permute2f128_ps(w[i], w[i + 4], 0x20);
    t[i + 4] = (vf)_mm256_permute2f128_ps(w[i], w[i + 4], 0x31);
  }
}
LANE_FN void vd_transpose(vd t[4]) {
  __m256d a = _mm256_unpacklo_pd((__m256d)t[0], (__m256d)t[1]), b = _mm256_unpackhi_pd((__m256d)t[0], (__m256d)t[1]);
  __m256d c = _mm256_unpacklo_pd((__m256d)t[2], (__m256d)t[3]), d = _mm256_unpackhi_pd((__m256d)t[2], (__m256d)t[3]);
  t[0] = (vd)_mm256_permute2f128_pd(a, c, 0x20);
  t[1] = (vd)_mm256_permute2f128_pd(b, d, 0x20);
  t[2] = (vd)_mm256_permute2f128_pd(a, c, 0x31);
  t[3] = (vd)_mm256_permute2f128_pd(b, d, 0x31);
}
#else
LANE_FN void vf_transpose(vf t[4]) {
  vf a = t[0], b = t[1], c = t[2], d = t[3];
  for (int i = 0; i < 4; ++i) t[i] = (vf){a[i], b[i], c[i], d[i]};
}
LANE_FN void vd_transpose(vd t[2]) {
  vd a = t[0], b = t[1];
  t[0] = (vd){a[0], b[0]};
  t[1] = (vd){a[1], b[1]};
}
#endif

#endif
