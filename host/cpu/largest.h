/* largest.h - numbers of fp32 quality from products of 16-bit integers, which take half the time or less.
 *
 * With z-scores rounded by a dither (simd/product.c) an r is off by some 1.8e-5 (standard deviation), whatever the number of
 * samples. In means over pairs that averages out: a feature's error shows in its pairs alike, so that over v features a
 * mean's deviation is at most 1.25e-5 / sqrt(v) when all pairs of a feature err alike, 2e-7 from VALID_LEAST on, and some
 * 1e-8 where features are unlike each other. The largest |r| does not average: blocks of pairs that may hold it are
 * multiplied again in fp32. A pair closer than 1e-4 to a threshold or to an edge of the histogram may be counted beyond it. */
#ifndef ACTSCOPE_CPU_LARGEST_H
#define ACTSCOPE_CPU_LARGEST_H

#include "cpu/cpu.h"
#include "cpu/zscores.h"

enum {
  LARGEST_VALID_LEAST = 4096,  /* features */
  LARGEST_VALID_MOST = 131072, /* and 1 MiB of block maxima */
  LARGEST_SAMPLES_LEAST = 64   /* r of few samples has few values, which thresholds and edges may be among */
};

/* Whether a request is answered that way: every pair, and of no feature or pair its own r. */
int actscope_cpu_largest_serves(const struct cpu_pairs_request *q, actscope_dtype dtype, uint64_t samples, uint64_t valid);

/* Bits of the largest |r|, as float32, of each block of pairs (rows I, columns J >= I) at J (J + 1) / 2 + I. */
static inline uint64_t largest_blocks(uint64_t valid) {
  const uint64_t side = (valid + PRODUCT_BLOCK - 1) / PRODUCT_BLOCK;
  return side * (side + 1) / 2;
}
/* Joins |r| up to top, of pairs of the block at positions i, j: threads may come to one block. */
void actscope_cpu_largest_note(uint32_t *blocks, uint64_t i, uint64_t j, float top);

/* The scratch of one thread; more is used by more threads. */
uint64_t actscope_cpu_largest_bytes(uint64_t samples);
/* Bits of the largest |r|, in fp32; z is of 16-bit integers, blocks is written to. */
uint32_t actscope_cpu_largest(const struct zscores *z, const struct product_band *band, uint32_t *blocks, int threads, void *scratch,
                              uint64_t bytes);

#endif
