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
  double pivot, scale, abs_scale; /* exact in the type of the sums */
  double normal;                  /* magnitudes below it are subnormal: the smallest normal one of the elements' type */
};
enum {
  PROFILE_ENTROPY = 1,
  PROFILE_MASKED = 2 /* leave NaN and infinities out; without it they are taken for numbers and spoil s4 or abs */
};

/* A thread's share of the value histogram: tables of dtype_bins() counters. Element i goes to table i mod 4, so that
 * repeated values do not wait for one counter: half zeros cost 0.33 ns an element with four tables, 0.50 with two, 0.90
 * with one. Pointers may be equal. */
struct profile_counts {
  uint32_t *table[4];
};

#define PROFILE_HASHES (1024 + 16)
/* A thread's sketch. Ranks in `full` are set in all words, so that hashes with such a rank change nothing. */
struct profile_sketch {
  uint32_t *words;
  int bits;         /* p */
  uint32_t full;    /* mask of ranks, the lowest ones */
  uint32_t fresh;   /* values hashed since `full` was found */
  uint32_t *hashes; /* PROFILE_HASHES: those of a part of a block that may change something */
};

typedef void profile_sums_function(const void *x, uint32_t n, const struct profile_frame *frame, int flags,
                                   const struct profile_counts *counts, struct profile_sums *out);
struct profile_table {
  /* By actscope_dtype, for up to PROFILE_BLOCK elements; counts may be NULL: no histogram. 16-bit types are summed as
   * floats, moments alone, where that is quicker than their histogram; NULL for others. */
  profile_sums_function *sums[6];
  /* Histograms of narrow types: any number of elements below 2^31. */
  void (*count16)(const void *x, uint64_t n, const struct profile_counts *counts);
  void (*count8)(const void *x, uint64_t n, const struct profile_counts *counts);
  /* Up to PROFILE_BLOCK elements. */
  void (*sketch32)(const void *x, uint32_t n, struct profile_sketch *sketch);
  void (*sketch64)(const void *x, uint32_t n, struct profile_sketch *sketch);
  /* The mixed canonical bits: equal keys, equal values. Key 0 is zero. */
  void (*keys32)(const void *x, uint32_t n, uint32_t *keys);
  void (*keys64)(const void *x, uint32_t n, uint64_t *keys);
};
SIMD_FAMILY(struct profile_table, profile)

/* ---- A set of keys (distinct.c) --------------------------------------------------------------------------------------
 * Keys are mixed already, so their upper bits deal them evenly to partitions, which threads fill together through small
 * stages of their own. A full partition is sorted and rid of repeats where it lies; what counts is distinct keys, not
 * elements. A set too small for all of them takes those whose upper 32 bits lie in [low, low + range), one range after
 * the other. */
struct distinct_partition {
  uint32_t lock, count; /* count: keys in it, repeats included */
};
struct distinct_set {
  struct distinct_partition *partition;
  char *keys;                    /* partitions * capacity keys of `size` bytes */
  uint32_t size, partitions, capacity; /* size: 4 or 8; partitions: a power of two */
  uint64_t low, range, scale;
  uint64_t next, count;          /* partition to be counted; distinct keys other than 0; atomic */
  uint32_t zero;                 /* key 0 was there, in any range; atomic */
  uint32_t overflow;             /* a partition is too full: start again with a smaller range; atomic */
};
/* A thread's part. */
struct distinct_stage {
  uint8_t *held;    /* for each partition, keys in its line */
  char *lines;      /* 64 bytes for each partition */
  char *recent;     /* DISTINCT_RECENT keys: repeats that follow soon go no further */
  char *sorted;     /* a partition */
  uint32_t *digits; /* DISTINCT_DIGITS counters */
};
enum { DISTINCT_RECENT = 1024, DISTINCT_DIGITS = 2 << 11, DISTINCT_LEAST = 8192 /* keys */ };

/* Divides `bytes` (at least DISTINCT_LEAST keys and their partitions) into partitions; what a stage then needs. */
void actscope_distinct_shape(struct distinct_set *set, uint32_t size, uint64_t bytes);
uint64_t actscope_distinct_stage_bytes(const struct distinct_set *set);
void actscope_distinct_place(struct distinct_set *set, void *memory);
void actscope_distinct_stage_init(const struct distinct_set *set, struct distinct_stage *stage, void *memory);

/* Empties the set for a range; by one thread, before any insert. */
void actscope_distinct_open(struct distinct_set *set, uint64_t low, uint64_t range);
/* Adds those of n keys (uint32_t or uint64_t) that are in the range; keys is overwritten. */
void actscope_distinct_insert(struct distinct_set *set, struct distinct_stage *stage, void *keys, uint32_t n);
/* What the stage still holds; by each thread after its last insert. */
void actscope_distinct_flush(struct distinct_set *set, struct distinct_stage *stage);
/* Counts partitions until there are none left; by any number of threads after all have flushed. */
void actscope_distinct_count(struct distinct_set *set, struct distinct_stage *stage);

#endif
