/* distinct.c - exact counts of the distinct values of wide types: keys dealt to partitions, partitions sorted.
 *
 * Sorting a partition that fits the second-level cache by two digits costs 4 ns a key and no mispredicted branch; a hash
 * table of all keys costs a miss and a mispredicted branch each, 20 to 40 ns. */
#include <sched.h>

#include "cpu/profile.h"

enum { LINE = 64, DIGIT_BITS = 11, PARTITION_KEYS = 16384 };

void actscope_distinct_shape(struct distinct_set *set, uint32_t size, uint64_t bytes) {
  uint64_t keys = bytes / size, partitions = 16;
  while (partitions < 2048 && keys / partitions > PARTITION_KEYS) partitions *= 2;
  uint64_t capacity = (bytes - partitions * sizeof(struct distinct_partition)) / (partitions * size);
  memset(set, 0, sizeof *set);
  set->size = size;
  set->partitions = (uint32_t)partitions;
  set->capacity = capacity > 1u << 30 ? 1u << 30 : (uint32_t)capacity;
}

static uint64_t up64(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

uint64_t actscope_distinct_stage_bytes(const struct distinct_set *set) {
  return up64(set->partitions) + (uint64_t)set->partitions * LINE + DISTINCT_RECENT * set->size +
         up64((uint64_t)set->capacity * set->size) + DISTINCT_DIGITS * sizeof(uint32_t);
}

void actscope_distinct_place(struct distinct_set *set, void *memory) {
  set->partition = memory;
  set->keys = (char *)memory + set->partitions * sizeof(struct distinct_partition);
}

void actscope_distinct_stage_init(const struct distinct_set *set, struct distinct_stage *stage, void *memory) {
  char *at = memory;
  stage->held = (uint8_t *)at, at += up64(set->partitions);
  stage->lines = at, at += (uint64_t)set->partitions * LINE;
  stage->recent = at, at += DISTINCT_RECENT * set->size;
  stage->digits = (uint32_t *)at, at += DISTINCT_DIGITS * sizeof(uint32_t);
  stage->sorted = at;
  memset(stage->held, 0, set->partitions);
  memset(stage->recent, 0, DISTINCT_RECENT * set->size);
}

void actscope_distinct_open(struct distinct_set *set, uint64_t low, uint64_t range) {
  memset(set->partition, 0, set->partitions * sizeof *set->partition);
  set->low = low;
  set->range = range;
  set->scale = ((uint64_t)set->partitions << 32) / range;
  set->next = set->count = 0;
  set->overflow = 0;
}

/* Sorts n keys that lie in a window of 2^bits from `base` on, drops repeats, returns how many are left. The digits are
 * the upper 22 bits of the window; what they leave unsorted is close by and rare. */
#define SORT_UNIQUE(NAME, TYPE)                                                                        \
  static uint32_t NAME(TYPE *keys, TYPE *other, uint32_t n, TYPE base, int bits, uint32_t *digits) {   \
    const int shift = bits > 2 * DIGIT_BITS ? bits - 2 * DIGIT_BITS : 0;                               \
    const uint32_t mask = (1u << DIGIT_BITS) - 1;                                                      \
    uint32_t *low = digits, *high = digits + mask + 1, a = 0, b = 0, kept = 0;                         \
    if (n == 0) return 0;                                                                              \
    memset(digits, 0, DISTINCT_DIGITS * sizeof *digits);                                               \
    for (uint32_t i = 0; i < n; ++i) {                                                                 \
      uint32_t d = (uint32_t)((keys[i] - base) >> shift);                                              \
      ++low[d & mask], ++high[d >> DIGIT_BITS & mask];                                                 \
    }                                                                                                  \
    for (uint32_t d = 0; d <= mask; ++d) {                                                             \
      uint32_t la = low[d], lb = high[d];                                                              \
      low[d] = a, high[d] = b;                                                                         \
      a += la, b += lb;                                                                                \
    }                                                                                                  \
    for (uint32_t i = 0; i < n; ++i) other[low[(uint32_t)((keys[i] - base) >> shift) & mask]++] = keys[i]; \
    for (uint32_t i = 0; i < n; ++i)                                                                   \
      keys[high[(uint32_t)((other[i] - base) >> shift) >> DIGIT_BITS & mask]++] = other[i];            \
    if (shift > 0)                                                                                     \
      for (uint32_t i = 1; i < n; ++i) {                                                               \
        TYPE key = keys[i];                                                                            \
        uint32_t j = i;                                                                                \
        for (; j > 0 && keys[j - 1] > key; --j) keys[j] = keys[j - 1];                                 \
        keys[j] = key;                                                                                 \
      }                                                                                                \
    for (uint32_t i = 1; i < n; ++i) {                                                                 \
      kept += keys[i] != keys[kept];                                                                   \
      keys[kept] = keys[i];                                                                            \
    }                                                                                                  \
    return kept + 1;                                                                                   \
  }
SORT_UNIQUE(sort_unique32, uint32_t)
SORT_UNIQUE(sort_unique64, uint64_t)

static uint32_t unique(const struct distinct_set *set, struct distinct_stage *stage, uint32_t p) {
  struct distinct_partition *part = &set->partition[p];
  char *keys = set->keys + (uint64_t)p * set->capacity * set->size;
  /* The upper 32 bits o of keys in it, counted from `low`, have o * scale >> 32 == p. */
  uint64_t from = (((uint64_t)p << 32) + set->scale - 1) / set->scale, to = (((uint64_t)(p + 1) << 32) + set->scale - 1) / set->scale;
  int bits = 1;
  while (bits < 32 && (1ull << bits) < to - from) ++bits;
  uint64_t base = set->low + from;
  return set->size == 4 ? sort_unique32((uint32_t *)keys, (uint32_t *)stage->sorted, part->count, (uint32_t)base, bits, stage->digits)
                        : sort_unique64((uint64_t *)keys, (uint64_t *)stage->sorted, part->count, base << 32, bits + 32, stage->digits);
}

/* Moves n keys from the stage's line to the partition. */
static void deliver(struct distinct_set *set, struct distinct_stage *stage, uint32_t p, uint32_t n) {
  struct distinct_partition *part = &set->partition[p];
  for (int spins = 0; __atomic_exchange_n(&part->lock, 1, __ATOMIC_ACQUIRE);)
    if (++spins % 256 == 0) sched_yield(); /* its holder sorts, or is not running */
  if (part->count + n > set->capacity) {
    part->count = unique(set, stage, p);
    if (part->count > set->capacity - set->capacity / 8) __atomic_store_n(&set->overflow, 1, __ATOMIC_RELAXED);
  }
  if (part->count + n <= set->capacity) {
    memcpy(set->keys + ((uint64_t)p * set->capacity + part->count) * set->size, stage->lines + (uint64_t)p * LINE, n * set->size);
    part->count += n;
  }
  __atomic_store_n(&part->lock, 0, __ATOMIC_RELEASE);
}

#define INSERT(NAME, TYPE, TOP)                                                                           \
  static void NAME(struct distinct_set *set, struct distinct_stage *stage, TYPE *keys, uint32_t n) {      \
    const uint64_t low = set->low, range = set->range, scale = set->scale;                                \
    TYPE *recent = (TYPE *)stage->recent;                                                                 \
    uint32_t kept = 0, zeros = 0;                                                                         \
    for (uint32_t i = 0; i < n; ++i) {                                                                    \
      TYPE key = keys[i], *slot = &recent[key % DISTINCT_RECENT];                                         \
      keys[kept] = key;                                                                                   \
      zeros |= key == 0;                                                                                  \
      kept += (uint32_t)(key != *slot) & (key != 0) & (TOP(key) - low < range);                           \
      *slot = key;                                                                                        \
    }                                                                                                     \
    if (zeros) __atomic_store_n(&set->zero, 1, __ATOMIC_RELAXED);                                         \
    for (uint32_t i = 0; i < kept; ++i) {                                                                 \
      uint32_t p = (uint32_t)((TOP(keys[i]) - low) * scale >> 32);                                        \
      ((TYPE *)(stage->lines + (uint64_t)p * LINE))[stage->held[p]] = keys[i];                            \
      if (++stage->held[p] == LINE / sizeof(TYPE)) {                                                      \
        deliver(set, stage, p, LINE / sizeof(TYPE));                                                      \
        stage->held[p] = 0;                                                                               \
      }                                                                                                   \
    }                                                                                                     \
  }
#define TOP32(key) ((uint64_t)(key))
#define TOP64(key) ((uint64_t)(key) >> 32)
INSERT(insert32, uint32_t, TOP32)
INSERT(insert64, uint64_t, TOP64)

void actscope_distinct_insert(struct distinct_set *set, struct distinct_stage *stage, void *keys, uint32_t n) {
  if (__atomic_load_n(&set->overflow, __ATOMIC_RELAXED)) return;
  if (set->size == 4) insert32(set, stage, keys, n);
  else insert64(set, stage, keys, n);
}

void actscope_distinct_flush(struct distinct_set *set, struct distinct_stage *stage) {
  for (uint32_t p = 0; p < set->partitions; ++p) {
    if (stage->held[p]) deliver(set, stage, p, stage->held[p]);
    stage->held[p] = 0;
  }
}

void actscope_distinct_count(struct distinct_set *set, struct distinct_stage *stage) {
  uint64_t count = 0;
  if (__atomic_load_n(&set->overflow, __ATOMIC_RELAXED)) return;
  for (;;) {
    uint64_t p = __atomic_fetch_add(&set->next, 1, __ATOMIC_RELAXED);
    if (p >= set->partitions) break;
    count += unique(set, stage, (uint32_t)p);
  }
  __atomic_fetch_add(&set->count, count, __ATOMIC_RELAXED);
}
