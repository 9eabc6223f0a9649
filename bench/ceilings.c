/* ceilings.c - what the processor can do at most: read bandwidth from memory and the fp32 multiply-add rate.
 *
 * Both are taken in the same run as the cases, with the same threads: best of several, because a ceiling is what the
 * machine reached, not what it reached on average. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

double bench_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* XOR of a stretch: reads everything and costs a fraction of a cycle a vector. */
#define READ_BODY(width)                                                                                    \
  typedef uint64_t v __attribute__((vector_size(width)));                                                   \
  const v *x = (const v *)data;                                                                             \
  v a = {0}, b = {0}, c = {0}, d = {0};                                                                     \
  for (size_t i = 0; i + 4 <= bytes / width; i += 4) a ^= x[i], b ^= x[i + 1], c ^= x[i + 2], d ^= x[i + 3]; \
  a ^= b ^ c ^ d;                                                                                           \
  return a[0] ^ a[1];

#define FMA_BODY(width, lanes)                                                        \
  typedef float v __attribute__((vector_size(width)));                                \
  v a[12], x, y;                                                                      \
  for (int k = 0; k < lanes; ++k) x[k] = 0.999f, y[k] = 1e-3f;                        \
  for (int i = 0; i < 12; ++i) a[i] = x;                                              \
  for (long r = 0; r < rounds; ++r)                                                   \
    for (int i = 0; i < 12; ++i) a[i] = a[i] * x + y;                                 \
  for (int i = 1; i < 12; ++i) a[0] += a[i];                                          \
  *sink = a[0][0];                                                                    \
  return 12.0 * lanes * 2 * (double)rounds;

#pragma GCC push_options
#pragma GCC optimize("O3", "fp-contract=fast")
#if defined(__x86_64__)
#define V4 __attribute__((target("arch=x86-64-v4,prefer-vector-width=512")))
#define V3 __attribute__((target("arch=x86-64-v3")))
V4 static double fma_v4(long rounds, float *sink) { FMA_BODY(64, 16) }
V3 static double fma_v3(long rounds, float *sink) { FMA_BODY(32, 8) }
V4 static uint64_t read_v4(const void *data, size_t bytes) { READ_BODY(64) }
V3 static uint64_t read_v3(const void *data, size_t bytes) { READ_BODY(32) }
#endif
static double fma_v1(long rounds, float *sink) { FMA_BODY(16, 4) }
static uint64_t read_v1(const void *data, size_t bytes) { READ_BODY(16) }
#pragma GCC pop_options

void bench_cpu_ceilings(struct bench_ceilings *out, int threads) {
  double (*fma_run)(long, float *) = fma_v1;
  uint64_t (*read_run)(const void *, size_t) = read_v1;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) fma_run = fma_v4, read_run = read_v4;
  else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) fma_run = fma_v3, read_run = read_v3;
#endif
  size_t bytes = (size_t)512 << 20;
  char *x = aligned_alloc(4096, bytes);
  out->read_gbs = out->fma_gflops = 0;
  if (x) {
    memset(x, 1, bytes);
    for (int repeat = 0; repeat < 9; ++repeat) {
      uint64_t sink = 0;
      double start = bench_now();
#pragma omp parallel num_threads(threads) reduction(^ : sink)
      {
        size_t parts = (size_t)omp_get_num_threads(), k = (size_t)omp_get_thread_num(), pages = bytes / 4096;
        sink ^= read_run(x + pages * k / parts * 4096, (pages * (k + 1) / parts - pages * k / parts) * 4096);
      }
      double gbs = (double)bytes / (bench_now() - start) / 1e9;
      __asm__ volatile("" ::"r"(sink));
      if (gbs > out->read_gbs) out->read_gbs = gbs;
    }
    free(x);
  }
  for (int repeat = 0; repeat < 9; ++repeat) {
    double flops = 0, start = bench_now();
#pragma omp parallel num_threads(threads) reduction(+ : flops)
    {
      float result;
      flops += fma_run(3000000, &result);
      __asm__ volatile("" ::"m"(result));
    }
    double rate = flops / (bench_now() - start) / 1e9;
    if (rate > out->fma_gflops) out->fma_gflops = rate;
  }
}
