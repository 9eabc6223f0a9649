/* dispatch.h - which instruction set the CPU backend uses.
 *
 * Files in host/cpu/simd are compiled once for each instruction set (ACTSCOPE_ISA names it); each such file defines one
 * table of functions, SIMD_TABLE(name), and the dispatcher of its family picks the table of the best set this
 * processor has. A set that few files gain by is built for those alone: elsewhere the next lower one serves. The environment
 * variable ACTSCOPE_ISA (baseline, avx2, avx512, avx512vnni) lowers the choice, for tests. */
#ifndef ACTSCOPE_CPU_DISPATCH_H
#define ACTSCOPE_CPU_DISPATCH_H

enum { ISA_BASELINE = 0, ISA_AVX2 = 1, ISA_AVX512 = 2, ISA_AVX512VNNI = 3 };

/* The set in use; constant for the life of the process. */
int actscope_cpu_isa(void);
/* "baseline", "avx2", "avx512", "avx512vnni". */
const char *actscope_cpu_isa_name(int isa);

/* SIMD_TABLE(profile) is actscope_profile_avx2 in the AVX2 build of a file, and so on. */
#define SIMD_JOIN2(a, b, c) a##b##_##c
#define SIMD_JOIN(a, b, c) SIMD_JOIN2(a, b, c)
#define SIMD_TABLE(name) SIMD_JOIN(actscope_simd_, name, ACTSCOPE_ISA)

/* Declares the tables of a family and a function that picks: SIMD_FAMILY(struct profile_table, profile) gives
 * `const struct profile_table *actscope_simd_profile(void)`. */
#if defined(__x86_64__)
#define SIMD_PICK(type, name, last)                                                                              \
  extern const type actscope_simd_##name##_baseline, actscope_simd_##name##_avx2, actscope_simd_##name##_avx512, \
      actscope_simd_##name##_##last;                                                                             \
  static inline const type *actscope_simd_##name(void) {                                                         \
    int isa = actscope_cpu_isa();                                                                                \
    return isa == ISA_AVX512VNNI ? &actscope_simd_##name##_##last                                                \
           : isa == ISA_AVX512   ? &actscope_simd_##name##_avx512                                                \
           : isa == ISA_AVX2     ? &actscope_simd_##name##_avx2                                                  \
                                 : &actscope_simd_##name##_baseline;                                             \
  }
#else
#define SIMD_PICK(type, name, last)                  \
  extern const type actscope_simd_##name##_baseline; \
  static inline const type *actscope_simd_##name(void) { return &actscope_simd_##name##_baseline; }
#endif
#define SIMD_FAMILY(type, name) SIMD_PICK(type, name, avx512)
/* The same for files that are built for AVX512-VNNI too. */
#define SIMD_FAMILY_VNNI(type, name) SIMD_PICK(type, name, avx512vnni)

#endif
