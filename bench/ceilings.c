/* ceilings.c - what the processor can do at most: read bandwidth from memory and the fp32 multiply-add rate.
 *
 * Both are taken with the threads of the cases: for the run the best that was seen, because a ceiling is what the machine
 * reached; for a row again in turn with its samples, because memory that others share was seen to give 26 to 50 GB/s within
 * an hour, and a share of what it gave a minute ago says nothing. */
#include <math.h>
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

/* ---- Read bandwidth ------------------------------------------------------------------------------------------------------ */

enum { READ_BYTES = 512 << 20, READ_PART = 64 << 20 }; /* parts in turn: none finds itself in a cache */
static char *memory;
static size_t next_part;

double bench_cpu_read_gbs(int threads) {
  uint64_t (*run)(const void *, size_t) = read_v1;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) run = read_v4;
  else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) run = read_v3;
#endif
  if (!memory) {
    if (!(memory = aligned_alloc(4096, READ_BYTES))) return NAN;
    memset(memory, 1, READ_BYTES);
  }
  const char *x = memory + next_part;
  next_part = (next_part + READ_PART) % READ_BYTES;
  uint64_t sink = 0;
  const double start = bench_now();
#pragma omp parallel num_threads(threads) reduction(^ : sink)
  {
    size_t parts = (size_t)omp_get_num_threads(), k = (size_t)omp_get_thread_num(), pages = READ_PART / 4096;
    sink ^= run(x + pages * k / parts * 4096, (pages * (k + 1) / parts - pages * k / parts) * 4096);
  }
  const double t = bench_now() - start;
  __asm__ volatile("" ::"r"(sink));
  return READ_PART / t / 1e9;
}

/* ---- Multiply-adds ------------------------------------------------------------------------------------------------------- */

double bench_cpu_fma_gflops(int threads) {
  double (*run)(long, float *) = fma_v1;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) run = fma_v4;
  else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) run = fma_v3;
#endif
  double flops = 0;
  const double start = bench_now();
#pragma omp parallel num_threads(threads) reduction(+ : flops)
  {
    float result;
    flops += run(300000, &result); /* 1 ms */
    __asm__ volatile("" ::"m"(result));
  }
  return flops / (bench_now() - start) / 1e9;
}

/* ---- The run's ----------------------------------------------------------------------------------------------------------- */

void bench_cpu_ceilings(struct bench_ceilings *out, int threads) {
  out->read_gbs = out->fma_gflops = NAN; /* fmax leaves it out */
  for (int repeat = 0; repeat < 32; ++repeat) {
    out->read_gbs = fmax(out->read_gbs, bench_cpu_read_gbs(threads));
    out->fma_gflops = fmax(out->fma_gflops, bench_cpu_fma_gflops(threads));
  }
}

void bench_cpu_ceilings_close(void) {
  free(memory);
  memory = NULL;
}
