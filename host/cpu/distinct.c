/* distinct.c - a set of mixed keys that threads fill together, for exact counts of wide types.
 *
 * Keys are images under a bijection that spreads them evenly, so a slot is a linear function of the key and probing is
 * linear. Key 0 marks an empty slot; the value behind it (zero) is remembered apart. A slot is taken by compare and
 * exchange, and only the thread that took it counts the key: the count does not depend on the order. */
#include "cpu/profile.h"

enum { BATCH = 32 }; /* slots fetched ahead: enough to cover a miss, few enough for the line buffers to keep */

void actscope_distinct_open(struct distinct_set *set, uint64_t low, uint64_t range) {
  set->low = low;
  set->range = range;
  set->scale = set->bitmap ? 0 : (set->capacity << 32) / range; /* capacity <= 2^31 */
  set->count = 0;
  set->zero = 0;
  set->overflow = 0;
}

void actscope_distinct_clear(const struct distinct_set *set, uint64_t part, uint64_t parts) {
  uint64_t bytes = set->bitmap ? (set->range + 63) / 64 * 8 : set->capacity * (set->wide ? 8 : 4);
  uint64_t from = bytes / parts * part, to = part + 1 == parts ? bytes : bytes / parts * (part + 1);
  memset((char *)set->slots + from, 0, to - from);
}

#define INSERT(TYPE, TOP)                                                                                     \
  TYPE *slots = set->slots;                                                                                   \
  uint64_t low = set->low, range = set->range, scale = set->scale, capacity = set->capacity, added = 0;       \
  for (uint32_t i = 0; i < n;) {                                                                              \
    TYPE batch[BATCH];                                                                                        \
    uint64_t at[BATCH];                                                                                       \
    uint32_t kept = 0;                                                                                        \
    for (; i < n && kept < BATCH; ++i) {                                                                      \
      TYPE key = keys[i];                                                                                     \
      uint64_t offset = TOP(key) - low; /* wraps below low */                                                 \
      batch[kept] = key;                                                                                      \
      at[kept] = offset * scale >> 32;                                                                        \
      __builtin_prefetch(slots + (offset < range ? at[kept] : 0), 1);                                         \
      kept += offset < range;                                                                                 \
    }                                                                                                         \
    for (uint32_t k = 0; k < kept; ++k) {                                                                     \
      TYPE key = batch[k], there;                                                                             \
      uint64_t s = at[k];                                                                                     \
      if (key == 0) {                                                                                         \
        __atomic_store_n(&set->zero, 1, __ATOMIC_RELAXED);                                                    \
        continue;                                                                                             \
      }                                                                                                       \
      for (;; s = s + 1 < capacity ? s + 1 : 0) {                                                             \
        there = __atomic_load_n(&slots[s], __ATOMIC_RELAXED);                                                 \
        if (there == key) break;                                                                              \
        if (there != 0) continue;                                                                             \
        if (__atomic_compare_exchange_n(&slots[s], &there, key, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {     \
          ++added;                                                                                            \
          break;                                                                                              \
        }                                                                                                     \
        if (there == key) break;                                                                              \
      }                                                                                                       \
    }                                                                                                         \
  }                                                                                                           \
  if (added) __atomic_fetch_add(&set->count, added, __ATOMIC_RELAXED);

#define TOP32(key) ((uint64_t)(key))
#define TOP64(key) ((uint64_t)(key) >> 32)

static void insert32(struct distinct_set *set, const uint32_t *keys, uint32_t n) { INSERT(uint32_t, TOP32) }
static void insert64(struct distinct_set *set, const uint64_t *keys, uint32_t n) { INSERT(uint64_t, TOP64) }

static void insert_bits(struct distinct_set *set, const uint32_t *keys, uint32_t n) {
  uint64_t *words = set->slots, low = set->low, range = set->range, added = 0;
  for (uint32_t i = 0; i < n;) {
    uint64_t at[BATCH];
    uint32_t kept = 0;
    for (; i < n && kept < BATCH; ++i) {
      uint64_t offset = keys[i] - low;
      at[kept] = offset;
      __builtin_prefetch(words + (offset < range ? offset / 64 : 0), 1);
      kept += offset < range;
    }
    for (uint32_t k = 0; k < kept; ++k) {
      uint64_t *word = &words[at[k] / 64], bit = 1ull << at[k] % 64;
      if (__atomic_load_n(word, __ATOMIC_RELAXED) & bit) continue;
      added += (__atomic_fetch_or(word, bit, __ATOMIC_RELAXED) & bit) == 0;
    }
  }
  if (added) __atomic_fetch_add(&set->count, added, __ATOMIC_RELAXED);
}

void actscope_distinct_insert(struct distinct_set *set, const void *keys, uint32_t n) {
  if (set->bounded && !set->bitmap) {
    if (__atomic_load_n(&set->overflow, __ATOMIC_RELAXED)) return;
    uint64_t count = __atomic_load_n(&set->count, __ATOMIC_RELAXED);
    if (count + set->margin > set->capacity - set->capacity / 8) {
      __atomic_store_n(&set->overflow, 1, __ATOMIC_RELAXED);
      return;
    }
  }
  if (set->bitmap) insert_bits(set, keys, n);
  else if (set->wide) insert64(set, keys, n);
  else insert32(set, keys, n);
}
