/* profile.c - the kernels of the profile stage, plain. */
#include "cpu/profile.h"

#define LOAD(type, x, i) ({ type v_; memcpy(&v_, (const char *)(x) + (size_t)(i) * sizeof(type), sizeof(type)); v_; })

static void count_one(const struct profile_counts *c, uint32_t i, uint32_t bin) { ++c->table[i & 1][bin]; }

#define SUMS(NAME, TYPE, NORMAL, BIN)                                                                            \
  static void NAME(const void *x, uint32_t n, const struct profile_frame *frame, int flags,                      \
                   const struct profile_counts *counts, struct profile_sums *out) {                              \
    memset(out, 0, sizeof *out);                                                                                 \
    out->min = core_infinity(), out->max = -core_infinity();                                                     \
    for (uint32_t i = 0; i < n; ++i) {                                                                           \
      TYPE value = LOAD(TYPE, x, i);                                                                             \
      if (counts) count_one(counts, i, BIN(value));                                                              \
      double v = value, a = fabs(v);                                                                             \
      if ((flags & PROFILE_MASKED) && !core_finite(v)) {                                                         \
        if (v != v) ++out->nan;                                                                                  \
        else if (v > 0) ++out->positive_inf;                                                                     \
        else ++out->negative_inf;                                                                                \
        continue;                                                                                                \
      }                                                                                                          \
      double d = v * frame->scale - frame->pivot * frame->scale, d2 = d * d;                                     \
      ++out->n;                                                                                                  \
      out->s1 += d, out->s2 += d2, out->s3 += d2 * d, out->s4 += d2 * d2;                                        \
      if (v < out->min) out->min = v;                                                                            \
      if (v > out->max) out->max = v;                                                                            \
      out->zero += a == 0, out->negative += v < 0, out->subnormal += a > 0 && a < NORMAL;                        \
      a *= frame->abs_scale;                                                                                     \
      out->abs += a;                                                                                             \
      if ((flags & PROFILE_ENTROPY) && a > 0) out->abs_log2 += a * log2(a);                                      \
    }                                                                                                            \
  }
#define BIN32(v) (core_bits32(v) >> 16)
#define BIN64(v) ((uint32_t)(core_bits64(v) >> 45))
SUMS(sums32, float, 1.1754943508222875e-38, BIN32)
SUMS(sums64, double, 2.2250738585072014e-308, BIN64)

static void count16(const void *x, uint64_t n, const struct profile_counts *counts) {
  for (uint64_t i = 0; i < n; ++i) count_one(counts, (uint32_t)i, LOAD(uint16_t, x, i));
}
static void count8(const void *x, uint64_t n, const struct profile_counts *counts) {
  for (uint64_t i = 0; i < n; ++i) count_one(counts, (uint32_t)i, ((const uint8_t *)x)[i]);
}
static void sketch32(const void *x, uint32_t n, struct profile_sketch *sketch) {
  for (uint32_t i = 0; i < n; ++i) distinct_update(sketch->words, sketch->bits, distinct_hash32(LOAD(float, x, i)));
}
static void sketch64(const void *x, uint32_t n, struct profile_sketch *sketch) {
  for (uint32_t i = 0; i < n; ++i) distinct_update(sketch->words, sketch->bits, distinct_hash64(LOAD(double, x, i)));
}
static void keys32(const void *x, uint32_t n, uint32_t *keys) {
  for (uint32_t i = 0; i < n; ++i) keys[i] = distinct_mix32(distinct_canonical32(LOAD(uint32_t, x, i)));
}
static void keys64(const void *x, uint32_t n, uint64_t *keys) {
  for (uint32_t i = 0; i < n; ++i) keys[i] = distinct_mix64(distinct_canonical64(LOAD(uint64_t, x, i)));
}

const struct profile_table SIMD_TABLE(profile) = {
    .sums32 = sums32, .sums64 = sums64, .count16 = count16, .count8 = count8,
    .sketch32 = sketch32, .sketch64 = sketch64, .keys32 = keys32, .keys64 = keys64,
};
