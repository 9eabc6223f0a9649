/* dispatch.c - chooses the instruction set once. */
#include "cpu/dispatch.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"baseline", "avx2", "avx512", "avx512vnni"};

const char *actscope_cpu_isa_name(int isa) { return isa >= 0 && isa <= ISA_AVX512VNNI ? names[isa] : "unknown"; }

static int detect(void) {
  int best = ISA_BASELINE;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    best = ISA_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
      best = __builtin_cpu_supports("avx512vnni") ? ISA_AVX512VNNI : ISA_AVX512;
  }
#endif
  const char *wish = getenv("ACTSCOPE_ISA");
  for (int i = 0; wish && i < best; ++i)
    if (strcmp(wish, names[i]) == 0) return i;
  return best;
}

int actscope_cpu_isa(void) {
  static int chosen = -1; /* racing threads store the same value */
  int isa = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
  if (isa < 0) {
    isa = detect();
    __atomic_store_n(&chosen, isa, __ATOMIC_RELAXED);
  }
  return isa;
}
