/* dtype.h - the element types: their bits, their values, and the bin of the value histogram each falls into.
 *
 * Every conversion is unconditional integer work: gcc 12 miscompiles a conditional truncation of a float's bits. */
#ifndef ACTSCOPE_CORE_DTYPE_H
#define ACTSCOPE_CORE_DTYPE_H

#include "core/core.h"

ACTSCOPE_FN float dtype_bf16(uint16_t h) { return core_f32((uint32_t)h << 16); }

/* IEEE binary16. Subnormals are scaled by an exact multiplication: 2^-24 times the mantissa. */
ACTSCOPE_FN float dtype_f16(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7FFFu;
  uint32_t normal = (magnitude << 13) + 0x38000000u;             /* rebias the exponent by 112 */
  uint32_t special = 0x7F800000u | (magnitude << 13);            /* infinity, NaN with its payload */
  uint32_t small = core_bits32((float)magnitude * 5.9604644775390625e-8f);
  uint32_t bits = magnitude >= 0x7C00u ? special : magnitude >= 0x0400u ? normal : small;
  return core_f32(sign | bits);
}

/* OCP e4m3fn: bias 7, no infinities, NaN is 0x7f and 0xff, largest 448. */
ACTSCOPE_FN float dtype_e4m3(uint8_t b) {
  uint32_t sign = (uint32_t)(b & 0x80u) << 24, magnitude = b & 0x7Fu;
  uint32_t normal = (magnitude << 20) + 0x3C000000u;             /* rebias the exponent by 120 */
  uint32_t small = core_bits32((float)magnitude * 0.001953125f); /* 2^-9 */
  uint32_t bits = magnitude == 0x7Fu ? 0x7FC00000u : magnitude >= 8u ? normal : small;
  return core_f32(sign | bits);
}

/* e5m2 is the upper byte of binary16. */
ACTSCOPE_FN float dtype_e5m2(uint8_t b) { return dtype_f16((uint16_t)(b << 8)); }

/* Element i of an array of any type, exactly. */
ACTSCOPE_FN double dtype_load(actscope_dtype dtype, const void *data, int64_t i) {
  switch (dtype) {
    case ACTSCOPE_FLOAT32: return ((const float *)data)[i];
    case ACTSCOPE_FLOAT16: return dtype_f16(((const uint16_t *)data)[i]);
    case ACTSCOPE_BFLOAT16: return dtype_bf16(((const uint16_t *)data)[i]);
    case ACTSCOPE_FLOAT8_E4M3: return dtype_e4m3(((const uint8_t *)data)[i]);
    case ACTSCOPE_FLOAT8_E5M2: return dtype_e5m2(((const uint8_t *)data)[i]);
    default: return ((const double *)data)[i];
  }
}

ACTSCOPE_FN int dtype_is_narrow(actscope_dtype dtype) { return dtype != ACTSCOPE_FLOAT32 && dtype != ACTSCOPE_FLOAT64; }
ACTSCOPE_FN int64_t dtype_bytes(actscope_dtype dtype) { /* of an element */
  const int narrowest = dtype == ACTSCOPE_FLOAT8_E4M3 || dtype == ACTSCOPE_FLOAT8_E5M2;
  return dtype == ACTSCOPE_FLOAT64 ? 8 : dtype == ACTSCOPE_FLOAT32 ? 4 : narrowest ? 1 : 2;
}

/* ---- Bins of the value histogram ---------------------------------------------------------------------------------
 * 16- and 8-bit types: the bits themselves, so the histogram is the complete distribution. float32: the upper 16 bits
 * (sign, exponent, 7 mantissa bits). float64: the upper 19 bits (sign, 11 exponent, 7 mantissa bits), for the same
 * relative width of 2^-7. */
ACTSCOPE_FN uint32_t dtype_bins(actscope_dtype dtype) {
  switch (dtype) {
    case ACTSCOPE_FLOAT8_E4M3:
    case ACTSCOPE_FLOAT8_E5M2: return 256;
    case ACTSCOPE_FLOAT64: return 524288;
    default: return 65536;
  }
}

/* Finite values have the bins [0, n) where they are positive, and those half of all bins further where negative. */
ACTSCOPE_FN uint32_t dtype_finite_bins(actscope_dtype dtype) {
  switch (dtype) {
    case ACTSCOPE_FLOAT16: return 0x7C00;
    case ACTSCOPE_FLOAT8_E4M3: return 0x7F;
    case ACTSCOPE_FLOAT8_E5M2: return 0x7C;
    case ACTSCOPE_FLOAT64: return 0x3FF80;
    default: return 0x7F80; /* float32, bfloat16 */
  }
}

/* The bin's value: exact for narrow types; else its midpoint, within 2^-8 of every value in the bin; the two bins that
 * hold the zeros answer 0 (absolute error below 2^-133 in float32). NaN for bins of non-finite values. */
ACTSCOPE_FN double dtype_bin_value(actscope_dtype dtype, uint32_t bin) {
  switch (dtype) {
    case ACTSCOPE_FLOAT16: return (bin & 0x7C00u) == 0x7C00u ? core_nan() : (double)dtype_f16((uint16_t)bin);
    case ACTSCOPE_BFLOAT16: return (bin & 0x7F80u) == 0x7F80u ? core_nan() : (double)dtype_bf16((uint16_t)bin);
    case ACTSCOPE_FLOAT8_E4M3: return dtype_e4m3((uint8_t)bin);
    case ACTSCOPE_FLOAT8_E5M2: return (bin & 0x7Cu) == 0x7Cu ? core_nan() : (double)dtype_e5m2((uint8_t)bin);
    case ACTSCOPE_FLOAT32:
      if ((bin & 0x7F80u) == 0x7F80u) return core_nan();
      return (bin & 0x7FFFu) == 0 ? 0.0 : (double)core_f32(bin << 16 | 0x8000u);
    default:
      if ((bin & 0x3FF80u) == 0x3FF80u) return core_nan();
      return (bin & 0x3FFFFu) == 0 ? 0.0 : core_f64((uint64_t)bin << 45 | 1ull << 44);
  }
}

#endif
