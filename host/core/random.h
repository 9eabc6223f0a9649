/* random.h - random choices that are functions of a seed: the same on every backend, grid and thread count.
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), the words of
 * Random123 and cuRAND, and a permutation of 0 .. n-1 that needs no table: a Feistel network with cycle walking. */
#ifndef ACTSCOPE_CORE_RANDOM_H
#define ACTSCOPE_CORE_RANDOM_H

#include "core/distinct.h"

/* In kernels the rounds are cuRAND's, where the toolkit at hand has it: the same words, as tests/sim/random_test.cu shows. */
#if defined(__CUDACC__) && defined(__has_include)
#if __has_include(<curand_philox4x32_x.h>)
#include <curand_philox4x32_x.h>
#define RANDOM_CURAND 1
#endif
#endif

ACTSCOPE_FN void random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
#if defined(RANDOM_CURAND) && defined(__CUDA_ARCH__)
  const uint4 c = {counter[0], counter[1], counter[2], counter[3]};
  const uint2 k = {key[0], key[1]};
  const uint4 words = curand_Philox4x32_10(c, k);
  out[0] = words.x, out[1] = words.y, out[2] = words.z, out[3] = words.w;
#else
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
#endif
}

#define RANDOM_ROUNDS 8
/* A permutation of 0 .. n-1, n <= 2^62. */
struct random_permutation {
  uint64_t n;
  uint32_t half_bits; /* the network works on 2 * half_bits bits, fewer than 4n values: under 4 walks on average */
  uint32_t keys[RANDOM_ROUNDS];
};

/* stream tells independent permutations of one seed apart. */
ACTSCOPE_FN void random_permutation_init(struct random_permutation *p, uint64_t n, uint64_t seed, uint64_t stream) {
  uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, counter[4] = {0, (uint32_t)stream, (uint32_t)(stream >> 32), 0};
  p->n = n;
  p->half_bits = 1;
  while (2 * p->half_bits < 62 && (1ull << 2 * p->half_bits) < n) ++p->half_bits;
  for (int r = 0; r < RANDOM_ROUNDS; r += 4) {
    counter[0] = (uint32_t)r;
    random_philox(counter, key, p->keys + r);
  }
}

ACTSCOPE_FN uint64_t random_permute(const struct random_permutation *p, uint64_t i) {
  uint32_t mask = p->half_bits >= 32 ? 0xFFFFFFFFu : (1u << p->half_bits) - 1;
  do {
    uint32_t left = (uint32_t)(i >> p->half_bits), right = (uint32_t)i & mask;
    for (int r = 0; r < RANDOM_ROUNDS; ++r) {
      uint32_t next = left ^ (distinct_mix32(right + p->keys[r]) & mask);
      left = right;
      right = next;
    }
    i = (uint64_t)left << p->half_bits | right;
  } while (i >= p->n);
  return i;
}

#endif
