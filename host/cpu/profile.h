/* profile.h - what profile.c asks of its vector kernels (simd/profile.c), and the set that counts exactly (distinct.c).
 *
 * A kernel sees one block of elements that lie side by side, at any address, and knows nothing of threads, strides,
 * chunks or memory. profile.c cuts the tensor into blocks and puts the results together. */
#ifndef ACTSCOPE_CPU_PROFILE_H
#define ACTSCOPE_CPU_PROFILE_H

#include "core/distinct.h"
#include "core/histogram.h"
#include "cpu/dispatch.h"

#define PROFILE_BLOCK 4096 /* elements a kernel is given at the most, where a limit is stated */

/* ---- Sums of a block ------------------------------------------------------------------------------------------------
 * d = (x - pivot) * scale and a = |x| * abs_scale, with scales that are powers of two, so that both are near 1 whatever
 * the size of x: fourth powers neither overflow nor vanish. The caller finds out whether pivot and scales were any good
 * from the sums, and asks again with better ones if not. */
struct profile_sums {
  double s1, s2, s3, s4;  /* sums of d^k; not finite when the block holds special values or d^4 overflowed */
  double abs, abs_log2;   /* sum a, sum a log2 a (0 unless PROFILE_ENTROPY) */
  double min, max;        /* +inf, -inf when n is 0 */
  uint32_t n, zero, negative, subnormal;   /* n: finite values */
  uint32_t nan, positive_inf, negative_inf; /* 0 unless PROFILE_MASKED */
};
struct profile_frame {
  double pivot, scale, abs_scale; /* exact in the type of the elements */
};
enum {
  PROFILE_ENTROPY = 1,
  PROFILE_MASKED = 2 /* leave NaN and infinities out; without it they are taken for numbers and spoil s4 or abs */
};

/* A thread's share of the value histogram: counters of dtype_bins() each. Neighbouring elements go to different tables
 * where there are two, so that repeated values do not wait for one counter. table[1] may equal table[0]. */
struct profile_counts {
  uint32_t *table[2];
};

/* A thread's sketch. Bits below `full` are set in all words, so that hashes whose rank is there change nothing. */
struct profile_sketch {
  uint32_t *words;
  int bits;       /* p */
  uint32_t full;  /* mask of ranks */
  uint32_t fresh; /* values hashed since `full` was found */
};

struct profile_table {
  /* float32 and float64: up to PROFILE_BLOCK elements. counts may be NULL: no histogram. */
  void (*sums32)(const void *x, uint32_t n, const struct profile_frame *frame, int flags,
                 const struct profile_counts *counts, struct profile_sums *out);
  void (*sums64)(const void *x, uint32_t n, const struct profile_frame *frame, int flags,
                 const struct profile_counts *counts, struct profile_sums *out);
  /* Histograms of narrow types: any number of elements below 2^31. */
  void (*count16)(const void *x, uint64_t n, const struct profile_counts *counts);
  void (*count8)(const void *x, uint64_t n, const struct profile_counts *counts);
  /* Up to PROFILE_BLOCK elements. */
  void (*sketch32)(const void *x, uint32_t n, struct profile_sketch *sketch);
  void (*sketch64)(const void *x, uint32_t n, struct profile_sketch *sketch);
  /* The mixed canonical bits: equal keys, equal values. */
  void (*keys32)(const void *x, uint32_t n, uint32_t *keys);
  void (*keys64)(const void *x, uint32_t n, uint64_t *keys);
};
SIMD_FAMILY(struct profile_table, profile)

/* ---- A set of keys (distinct.c) --------------------------------------------------------------------------------------
 * Open addressing over keys that are mixed already, or a bit a key; filled by several threads at once. Holds the keys
 * whose upper 32 bits lie in [low, low + range): a set too small for all is filled for one range after the other. */
struct distinct_set {
  void *slots;
  uint64_t capacity;   /* keys, or bits */
  int wide;            /* 64-bit keys */
  int bitmap;          /* 32-bit keys only: one bit for each of the range */
  int bounded;         /* more keys may come than fit: watch `count` */
  uint64_t low, range; /* range > 0 */
  uint64_t scale;      /* maps the range to the slots */
  uint32_t margin;     /* keys that may be under way in all threads together */
  uint64_t count;      /* keys in it, without key 0; atomic */
  uint32_t zero;       /* key 0 was there; atomic */
  uint32_t overflow;   /* it is too full: start again with a smaller range; atomic */
};
/* Prepares an empty set over [low, low + range); slots are cleared by actscope_distinct_clear, in `parts` parts. */
void actscope_distinct_open(struct distinct_set *set, uint64_t low, uint64_t range);
void actscope_distinct_clear(const struct distinct_set *set, uint64_t part, uint64_t parts);
/* Adds those of n keys (uint32_t or, when wide, uint64_t) that are in the range. */
void actscope_distinct_insert(struct distinct_set *set, const void *keys, uint32_t n);

#endif
