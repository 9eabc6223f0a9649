/* convert.c - loops that the compiler turns into vectors: conversions are unconditional integer work. */
#include "cpu/simd/convert.h"

#include "core/dtype.h"

#define CONVERT(name, from_type, to_type, expression)                                                       \
  static void run_##name(const void *from, void *to, uint64_t n) {                                          \
    const from_type *restrict x = from;                                                                     \
    to_type *restrict y = to;                                                                               \
    for (uint64_t i = 0; i < n; ++i) y[i] = expression(x[i]);                                               \
  }                                                                                                         \
  static void gather_##name(const void *from, const int64_t *restrict offset, void *to, uint64_t n) {       \
    const from_type *restrict x = from;                                                                     \
    to_type *restrict y = to;                                                                               \
    for (uint64_t i = 0; i < n; ++i) y[i] = expression(x[offset[i]]);                                       \
  }

CONVERT(f32, float, float, )
CONVERT(f16, uint16_t, float, dtype_f16)
CONVERT(bf16, uint16_t, float, dtype_bf16)
CONVERT(e4m3, uint8_t, float, dtype_e4m3)
CONVERT(e5m2, uint8_t, float, dtype_e5m2)
CONVERT(f64, double, double, )

const struct convert_table SIMD_TABLE(convert) = {
    {run_f32, run_f16, run_bf16, run_e4m3, run_e5m2, run_f64},
    {gather_f32, gather_f16, gather_bf16, gather_e4m3, gather_e5m2, gather_f64}};
