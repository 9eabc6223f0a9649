/* slots.c - the list of entries, and the arithmetic of their shapes. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/internal.h"

reader_slot *reader_add(reader *r, const char *name, size_t length) {
  if (r->count == r->capacity) {
    size_t capacity = r->capacity ? 2 * r->capacity : 16;
    reader_slot *slots = realloc(r->slots, capacity * sizeof *slots);
    if (!slots) return NULL;
    r->slots = slots, r->capacity = capacity;
  }
  reader_slot *slot = &r->slots[r->count];
  memset(slot, 0, sizeof *slot);
  slot->offset = NOT_MAPPED;
  slot->name = reader_clean_name(name, length);
  if (!slot->name) return NULL;
  slot->entry.name = slot->name;
  r->count++;
  return slot;
}

int reader_set_problem(reader_slot *slot, const char *line) {
  if (slot->problem) return 0;
  if (!(slot->problem = strdup(line))) return -1;
  slot->entry = (reader_entry){.name = slot->name, .problem = slot->problem};
  return 0;
}

static int by_name(const void *a, const void *b) {
  const reader_slot *x = *(reader_slot *const *)a, *y = *(reader_slot *const *)b;
  int order = strcmp(x->name, y->name);
  return order ? order : (x > y) - (x < y); /* equal names in file order */
}

int reader_mark_duplicates(reader *r) {
  if (r->count < 2) return 0;
  reader_slot **sorted = malloc(r->count * sizeof *sorted);
  if (!sorted) return -1;
  for (size_t i = 0; i < r->count; i++) sorted[i] = &r->slots[i];
  qsort(sorted, r->count, sizeof *sorted, by_name);
  int status = 0;
  for (size_t i = 1; i < r->count && status == 0; i++)
    if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
      status = reader_set_problem(sorted[i], "an earlier tensor of this file has the same name");
  free(sorted);
  return status;
}

void *reader_allocate(size_t bytes) {
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  void *memory = malloc(bytes);
  if (memory && bytes >= (size_t)4 << 20) {
    uintptr_t first = ((uintptr_t)memory + page - 1) / page * page, last = ((uintptr_t)memory + bytes) / page * page;
    madvise((void *)first, last - first, MADV_HUGEPAGE);
  }
  return memory;
}

int reader_set_layout(reader_entry *entry, actscope_dtype dtype, int ndim, const int64_t *shape, int fortran,
                      char error[READER_ERROR_SIZE]) {
  const int64_t limit = INT64_C(1) << 62;
  int64_t element = (int64_t)actscope_dtype_size(dtype), product = 1;
  int empty = 0;
  if (ndim < 0 || ndim > ACTSCOPE_MAX_DIMS)
    return reader_fail(error, "%d dimensions; at most %d are supported", ndim, ACTSCOPE_MAX_DIMS);
  for (int i = 0; i < ndim; i++) {
    int axis = fortran ? i : ndim - 1 - i;
    if (shape[axis] < 0) return reader_fail(error, "negative extent %lld in its shape", (long long)shape[axis]);
    entry->shape[axis] = shape[axis];
    entry->strides[axis] = product;
    if (shape[axis] == 0) {
      empty = 1;
    } else if (__builtin_mul_overflow(product, shape[axis], &product) || product >= limit / element) {
      return reader_fail(error, "its shape is too large: 2^62 bytes or more");
    }
  }
  entry->dtype = dtype;
  entry->ndim = ndim;
  entry->bytes = empty ? 0 : (uint64_t)(product * element);
  return 0;
}

void reader_settle(const reader *r, reader_slot *slot) {
  slot->entry.copied =
      slot->entry.bytes > 0 && (slot->offset == NOT_MAPPED || slot->swap ||
                                (uintptr_t)(r->bytes + slot->offset) % actscope_dtype_size(slot->entry.dtype) != 0);
}
