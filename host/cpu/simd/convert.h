/* convert.h - runs of any element type to float (float64: to double). */
#ifndef ACTSCOPE_CPU_SIMD_CONVERT_H
#define ACTSCOPE_CPU_SIMD_CONVERT_H

#include <stdint.h>

#include "cpu/dispatch.h"

struct convert_table { /* by actscope_dtype */
  void (*run[6])(const void *from, void *to, uint64_t n);
  void (*gather[6])(const void *from, const int64_t *offset, void *to, uint64_t n);
};
SIMD_FAMILY(struct convert_table, convert)

#endif
