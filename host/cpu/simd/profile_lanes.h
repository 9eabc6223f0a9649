/* profile_lanes.h - lanes.h for kernels that are written once for float and double: the same names, ending in 32 or 64.
 *
 * v32, i32, u32 are vectors of float, int32_t, uint32_t; v64, i64, u64 of double, int64_t, uint64_t: one register each.
 * Arithmetic is written with operators. Masks (m32, m64) are what comparisons give: predicate registers with AVX-512,
 * vectors of 0 and -1 elsewhere. Loads take any address. */
#ifndef ACTSCOPE_CPU_SIMD_PROFILE_LANES_H
#define ACTSCOPE_CPU_SIMD_PROFILE_LANES_H

#include "cpu/simd/lanes.h"

enum { LANES64 = LANES / 2, VECTOR = 4 * LANES /* bytes */ };

typedef vf v32;
typedef vi i32;
typedef vu u32;
typedef vd v64;
typedef int64_t i64 __attribute__((vector_size(4 * LANES)));
typedef uint64_t u64 __attribute__((vector_size(4 * LANES)));

#define LANE_LOAD(TYPE, NAME)                                                                                 \
  typedef TYPE NAME##_anywhere __attribute__((aligned(1), may_alias));                                                 \
  LANE_FN TYPE load_##NAME(const void *p) { return *(const NAME##_anywhere *)p; }                             \
  LANE_FN void store_##NAME(void *p, TYPE v) { *(NAME##_anywhere *)p = v; }
LANE_LOAD(v32, v32)
LANE_LOAD(v64, v64)
LANE_LOAD(u32, u32)
LANE_LOAD(u64, u64)

LANE_FN v32 spread32(float x) { return vf_all(x); }
LANE_FN v64 spread64(double x) { return vd_all(x); }
LANE_FN v32 min32(v32 a, v32 b) { return vf_min(a, b); }
LANE_FN v64 min64(v64 a, v64 b) { return vd_min(a, b); }
LANE_FN v32 max32(v32 a, v32 b) { return vf_max(a, b); }
LANE_FN v64 max64(v64 a, v64 b) { return vd_max(a, b); }

#if defined(__AVX512F__)
typedef __mmask16 m32;
typedef __mmask8 m64;
LANE_FN m32 less32(v32 a, v32 b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
LANE_FN m64 less64(v64 a, v64 b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ); }
LANE_FN m32 differ32(v32 a, v32 b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_NEQ_UQ); }
LANE_FN m64 differ64(v64 a, v64 b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_NEQ_UQ); }
/* By the bits, which leaves the multipliers alone: a magnitude below another, not 0; a value below 0 that is not -0. */
LANE_FN m32 below32(u32 a, u32 b) { return _mm512_cmplt_epu32_mask((__m512i)a, (__m512i)b); }
LANE_FN m64 below64(u64 a, u64 b) { return _mm512_cmplt_epu64_mask((__m512i)a, (__m512i)b); }
LANE_FN m32 some32(u32 a) { return _mm512_cmpneq_epu32_mask((__m512i)a, _mm512_setzero_si512()); }
LANE_FN m32 none32(u32 a) { return _mm512_testn_epi32_mask((__m512i)a, (__m512i)a); }
LANE_FN m64 some64(u64 a) { return _mm512_cmpneq_epu64_mask((__m512i)a, _mm512_setzero_si512()); }
LANE_FN m32 negative32(v32 a) { return _mm512_cmpgt_epu32_mask((__m512i)a, _mm512_set1_epi32(INT32_MIN)); }
LANE_FN m64 negative64(v64 a) { return _mm512_cmpgt_epu64_mask((__m512i)a, _mm512_set1_epi64(INT64_MIN)); }
LANE_FN v32 pick32(m32 m, v32 yes, v32 no) { return (v32)_mm512_mask_blend_ps(m, (__m512)no, (__m512)yes); }
LANE_FN v64 pick64(m64 m, v64 yes, v64 no) { return (v64)_mm512_mask_blend_pd(m, (__m512d)no, (__m512d)yes); }
LANE_FN int any32(m32 m) { return m != 0; }
LANE_FN i32 count32(i32 c, m32 m) { return (i32)_mm512_mask_sub_epi32((__m512i)c, m, (__m512i)c, _mm512_set1_epi32(-1)); }
LANE_FN i64 count64(i64 c, m64 m) { return (i64)_mm512_mask_sub_epi64((__m512i)c, m, (__m512i)c, _mm512_set1_epi64(-1)); }
#else
typedef i32 m32;
typedef i64 m64;
LANE_FN m32 less32(v32 a, v32 b) { return a < b; }
LANE_FN m64 less64(v64 a, v64 b) { return a < b; }
LANE_FN m32 differ32(v32 a, v32 b) { return a != b; }
LANE_FN m64 differ64(v64 a, v64 b) { return a != b; }
LANE_FN m32 below32(u32 a, u32 b) { return (i32)a < (i32)b; }
LANE_FN m64 below64(u64 a, u64 b) { return (i64)a < (i64)b; }
LANE_FN m32 some32(u32 a) { return a != 0; }
LANE_FN m32 none32(u32 a) { return a == 0; }
LANE_FN m64 some64(u64 a) { return a != 0; }
LANE_FN m32 negative32(v32 a) { return a < 0; }
LANE_FN m64 negative64(v64 a) { return a < 0; }
LANE_FN v32 pick32(m32 m, v32 yes, v32 no) { return (v32)(((i32)yes & m) | ((i32)no & ~m)); }
LANE_FN v64 pick64(m64 m, v64 yes, v64 no) { return (v64)(((i64)yes & m) | ((i64)no & ~m)); }
LANE_FN int any32(m32 m) {
#if defined(__AVX2__)
  return _mm256_movemask_ps((__m256)m) != 0;
#else
  int any = 0;
  for (int k = 0; k < LANES; ++k) any |= m[k];
  return any != 0;
#endif
}
LANE_FN i32 count32(i32 c, m32 m) { return c - m; }
LANE_FN i64 count64(i64 c, m64 m) { return c - m; }
#endif

/* The upper 32 bits of the lanes of a and b, in some order. */
LANE_FN u32 upper_halves(u64 a, u64 b) {
  return (u32)((a & 0xFFFFFFFF00000000ull) | b >> 32);
}

/* Stores the lanes of v that have no bit of `filter` and are not in `out`, in order, and returns how many there are; a
 * whole vector is written. */
#if defined(__AVX512F__)
LANE_FN uint32_t keep32(uint32_t *to, u32 v, u32 filter, m32 out) {
  __mmask16 kept = _mm512_mask_testn_epi32_mask((__mmask16)~out, (__m512i)v, (__m512i)filter);
  store_u32(to, (u32)_mm512_maskz_compress_epi32(kept, (__m512i)v)); /* to memory directly it is microcode on some */
  return (uint32_t)__builtin_popcount(kept);
}
#elif defined(__AVX2__)
/* For each set of lanes a byte for each of them, in order, the lowest first. */
#define LANE(m, k, above) ((above) << 8 * ((m) >> (k) & 1) | (uint64_t)((m) >> (k) & 1) * (k))
#define FRONT(m) LANE(m, 0, LANE(m, 1, LANE(m, 2, LANE(m, 3, LANE(m, 4, LANE(m, 5, LANE(m, 6, LANE(m, 7, 0ull))))))))
#define FRONTS4(m) FRONT(m), FRONT(m + 1), FRONT(m + 2), FRONT(m + 3)
#define FRONTS16(m) FRONTS4(m), FRONTS4(m + 4), FRONTS4(m + 8), FRONTS4(m + 12)
#define FRONTS64(m) FRONTS16(m), FRONTS16(m + 16), FRONTS16(m + 32), FRONTS16(m + 48)
static const uint64_t lane_fronts[256] = {FRONTS64(0), FRONTS64(64), FRONTS64(128), FRONTS64(192)};
LANE_FN uint32_t keep32(uint32_t *to, u32 v, u32 filter, m32 out) {
  __m256i kept = _mm256_andnot_si256((__m256i)out, _mm256_cmpeq_epi32((__m256i)(v & filter), _mm256_setzero_si256()));
  unsigned set = (unsigned)_mm256_movemask_ps((__m256)kept);
  __m256i front = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)&lane_fronts[set]));
  store_u32(to, (u32)_mm256_permutevar8x32_epi32((__m256i)v, front));
  return (uint32_t)__builtin_popcount(set);
}
#else
LANE_FN uint32_t keep32(uint32_t *to, u32 v, u32 filter, m32 out) {
  uint32_t n = 0;
  for (int k = 0; k < LANES; ++k) {
    uint32_t lane = v[k];
    to[n] = lane;
    n += (uint32_t)(out[k] == 0) & ((lane & filter[0]) == 0);
  }
  return n;
}
#endif

#endif
