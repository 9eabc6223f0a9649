/* sample.c - the random choices, from the descriptions in host/core/random.h and host/core/pairs.h. */
#include "reference/reference.h"

/* Salmon et al. 2011, section 3.3: ten rounds; each multiplies the even words by constants, swaps the upper halves
 * across, and adds the Weyl sequence of the key. */
void ref_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  static const uint32_t multiplier[2] = {3528531795u, 3449720151u}, weyl[2] = {2654435769u, 3144134277u};
  uint32_t x[4] = {counter[0], counter[1], counter[2], counter[3]};
  for (uint32_t round = 0; round < 10; ++round) {
    uint32_t high[2], low[2];
    for (int h = 0; h < 2; ++h) {
      unsigned long long product = (unsigned long long)multiplier[h] * x[2 * h];
      high[h] = (uint32_t)(product / 4294967296ull);
      low[h] = (uint32_t)(product % 4294967296ull);
    }
    uint32_t y[4] = {high[1] ^ x[1] ^ (key[0] + round * weyl[0]), low[1], high[0] ^ x[3] ^ (key[1] + round * weyl[1]),
                     low[0]};
    for (int i = 0; i < 4; ++i) x[i] = y[i];
  }
  for (int i = 0; i < 4; ++i) out[i] = x[i];
}

static uint32_t mix(uint32_t x) {
  x = (x ^ x / 65536u) * 569420461u;
  x = (x ^ x / 32768u) * 3545902487u;
  return x ^ x / 32768u;
}

/* A Feistel network of eight rounds over 2h bits, 4^h the first power of four that holds n; the key of round r is word
 * r mod 4 of philox(counter {4 (r / 4), stream (64 bits), 0}, key = seed). A value outside 0 .. n-1 goes through again. */
uint64_t ref_permute(uint64_t n, uint64_t seed, uint64_t stream, uint64_t i) {
  uint64_t side = 2; /* 2^h */
  while (side < 1ull << 31 && side * side < n) side *= 2;
  do {
    uint64_t left = i / side, right = i % side;
    for (uint32_t round = 0; round < 8; ++round) {
      uint32_t counter[4] = {round / 4 * 4, (uint32_t)(stream % 4294967296ull), (uint32_t)(stream / 4294967296ull), 0};
      uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, words[4];
      ref_philox(counter, key, words);
      uint64_t next = left ^ mix((uint32_t)right + words[round % 4]) % side;
      left = right;
      right = next;
    }
    i = left * side + right;
  } while (i >= n);
  return i;
}

void ref_sampled_pairs(uint64_t valid, uint64_t count, uint64_t seed, uint64_t step, struct ref_pair *pairs) {
  uint64_t k = 0;
  for (uint64_t distance = 1; k < count; ++distance)
    for (uint64_t a = 0; a < valid && k < count; ++a) {
      pairs[k].i = ref_permute(valid, seed, step, a);
      pairs[k++].j = ref_permute(valid, seed, step, (a + distance) % valid);
    }
}
