/* memory.c - counted allocations: a 64-byte header before each block holds its size. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER = 64 };
static uint64_t held, peak, allocations, fail_at;

void *actscope_memory_allocate_raw(uint64_t bytes) {
  if (bytes > SIZE_MAX - 2 * HEADER) return NULL;
  if (__atomic_load_n(&fail_at, __ATOMIC_RELAXED) && __atomic_fetch_sub(&fail_at, 1, __ATOMIC_RELAXED) == 1) return NULL;
  char *block = aligned_alloc(HEADER, (size_t)(HEADER + (bytes + HEADER - 1) / HEADER * HEADER));
  if (!block) return NULL;
  memcpy(block, &bytes, sizeof bytes);
  __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
  uint64_t now = __atomic_add_fetch(&held, bytes, __ATOMIC_RELAXED), top = __atomic_load_n(&peak, __ATOMIC_RELAXED);
  while (now > top && !__atomic_compare_exchange_n(&peak, &top, now, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return block + HEADER;
}

void *actscope_memory_allocate(uint64_t bytes) {
  void *pointer = actscope_memory_allocate_raw(bytes);
  if (pointer) memset(pointer, 0, (size_t)bytes);
  return pointer;
}

void actscope_memory_free(void *pointer) {
  if (!pointer) return;
  uint64_t bytes;
  char *block = (char *)pointer - HEADER;
  memcpy(&bytes, block, sizeof bytes);
  __atomic_sub_fetch(&held, bytes, __ATOMIC_RELAXED);
  free(block);
}

uint64_t actscope_memory_held(void) { return __atomic_load_n(&held, __ATOMIC_RELAXED); }
uint64_t actscope_memory_peak(void) { return __atomic_load_n(&peak, __ATOMIC_RELAXED); }
uint64_t actscope_memory_allocations(void) { return __atomic_load_n(&allocations, __ATOMIC_RELAXED); }
void actscope_memory_fail_at(uint64_t n) { __atomic_store_n(&fail_at, n, __ATOMIC_RELAXED); }
