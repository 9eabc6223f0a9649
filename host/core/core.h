/* core.h - what every file of the core shares.
 *
 * The core is the one definition of each statistic's state: update by elements, merge with another state, finish into
 * numbers. It is plain C that nvcc and a C++ compiler also take, so the CPU backend and the kernels cannot disagree. */
#ifndef ACTSCOPE_CORE_H
#define ACTSCOPE_CORE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "actscope.h"

#if defined(__CUDACC__)
#define ACTSCOPE_FN static __host__ __device__ __forceinline__
#else
#define ACTSCOPE_FN static inline
#endif

ACTSCOPE_FN float core_f32(uint32_t bits) { float v; memcpy(&v, &bits, 4); return v; }
ACTSCOPE_FN double core_f64(uint64_t bits) { double v; memcpy(&v, &bits, 8); return v; }
ACTSCOPE_FN uint32_t core_bits32(float v) { uint32_t b; memcpy(&b, &v, 4); return b; }
ACTSCOPE_FN uint64_t core_bits64(double v) { uint64_t b; memcpy(&b, &v, 8); return b; }
ACTSCOPE_FN double core_nan(void) { return core_f64(0x7FF8000000000000ull); }
ACTSCOPE_FN double core_infinity(void) { return core_f64(0x7FF0000000000000ull); }
/* By the bits, so that it holds under -ffast-math's relatives too. */
ACTSCOPE_FN int core_finite(double v) { return (core_bits64(v) >> 52 & 0x7FF) != 0x7FF; }

#endif
