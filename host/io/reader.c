/* reader.c - open, load, release, close: the same for every format. */
#include "io/reader.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/internal.h"

static int ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

static int begins_with(const reader *r, const char *magic, size_t length) {
  return r->size >= length && memcmp(r->bytes, magic, length) == 0;
}

static int open_bytes(reader *r, const char *path, char error[READER_ERROR_SIZE]) {
  if (r->size == 0) return reader_fail(error, "the file is empty");
  if (begins_with(r, NPY_MAGIC, NPY_MAGIC_SIZE)) return npy_open(r, path, error);
  if (begins_with(r, "PK\3\4", 4) || begins_with(r, "PK\5\6", 4)) return npz_open(r, error);
  if (safetensors_recognised(r->bytes, r->size)) return safetensors_open(r, error);
  if (begins_with(r, "version https://git-lfs", 23))
    return reader_fail(error, "is a Git LFS pointer, not the data; \"git lfs pull\" fetches them");
  if (ends_with(path, ".npy")) return reader_fail(error, "not a .npy: it does not begin with \\x93NUMPY");
  if (ends_with(path, ".npz")) return npz_open(r, error);
  if (ends_with(path, ".safetensors")) return safetensors_open(r, error);
  return reader_fail(error, "not a .npy, .npz or .safetensors file");
}

static int new_reader(reader **out, char error[READER_ERROR_SIZE]) {
  *out = calloc(1, sizeof **out);
  return *out ? 0 : reader_fail(error, "out of memory");
}

static int close_if(int status, reader **out) {
  if (status != 0) {
    reader_close(*out);
    *out = NULL;
  }
  return status;
}

int reader_open(reader **out, const char *path, char error[READER_ERROR_SIZE]) {
  error[0] = 0;
  if (new_reader(out, error) != 0) return -1;
  int status = strcmp(path, "-") == 0 ? source_read_stdin(*out, error) : source_map(*out, path, error);
  return close_if(status == 0 ? open_bytes(*out, path, error) : status, out);
}

int reader_open_memory(reader **out, const void *bytes, size_t size, const char *path, char error[READER_ERROR_SIZE]) {
  error[0] = 0;
  if (new_reader(out, error) != 0) return -1;
  (*out)->bytes = bytes, (*out)->size = size, (*out)->origin = BYTES_BORROWED;
  return close_if(open_bytes(*out, path, error), out);
}

size_t reader_count(const reader *r) { return r->count; }

const reader_entry *reader_get(const reader *r, size_t index) {
  return index < r->count ? &r->slots[index].entry : NULL;
}

/* Copies elements to where they are aligned, reversing the bytes of each where asked. Neither side needs alignment. */
static void copy_elements(unsigned char *to, const unsigned char *from, size_t bytes, size_t element, int swap) {
#define COPY_SWAPPED(type, reverse)                  \
  for (size_t i = 0; i < bytes; i += sizeof(type)) { \
    type x;                                          \
    memcpy(&x, from + i, sizeof x);                  \
    x = reverse(x);                                  \
    memcpy(to + i, &x, sizeof x);                    \
  }
  if (!swap || element == 1) {
    if (to != from) memcpy(to, from, bytes);
  } else if (element == 2) {
    COPY_SWAPPED(uint16_t, __builtin_bswap16)
  } else if (element == 4) {
    COPY_SWAPPED(uint32_t, __builtin_bswap32)
  } else {
    COPY_SWAPPED(uint64_t, __builtin_bswap64)
  }
#undef COPY_SWAPPED
}

/* Lets pages of the mapped file leave the resident set; whoever still reads them faults them in again. */
static void drop_pages(const reader *r, size_t offset, size_t bytes) {
  if (r->origin != BYTES_MAPPED || bytes == 0) return;
  size_t first = offset - offset % (size_t)sysconf(_SC_PAGESIZE);
  madvise((void *)(r->bytes + first), offset + bytes - first, MADV_DONTNEED);
}

static int load(reader *r, reader_slot *slot, char error[READER_ERROR_SIZE]) {
  size_t bytes = (size_t)slot->entry.bytes, element = actscope_dtype_size(slot->entry.dtype);
  if (slot->entry.problem) return reader_fail(error, "%s", slot->entry.problem);
  if (r->npz) {
    if (npz_load(r, slot, error) != 0) return -1;
    if (slot->owned && slot->swap) copy_elements(slot->owned, slot->owned, bytes, element, 1);
    if (slot->owned) drop_pages(r, 0, r->size);
  } else if (slot->entry.copied) {
    if (!(slot->owned = reader_allocate(bytes))) return reader_fail(error, "out of memory: %zu bytes", bytes);
    copy_elements(slot->owned, r->bytes + slot->offset, bytes, element, slot->swap);
    drop_pages(r, slot->offset, bytes);
  }
  slot->loaded = 1;
  return 0;
}

int reader_load(reader *r, size_t index, actscope_tensor *tensor, char error[READER_ERROR_SIZE]) {
  memset(tensor, 0, sizeof *tensor);
  error[0] = 0;
  if (index >= r->count) return reader_fail(error, "there is no entry %zu", index);
  reader_slot *slot = &r->slots[index];
  if (!slot->loaded && load(r, slot, error) != 0) return -1;
  tensor->data = slot->entry.bytes == 0 ? NULL : slot->owned ? slot->owned : r->bytes + slot->offset;
  tensor->dtype = slot->entry.dtype;
  tensor->ndim = slot->entry.ndim;
  tensor->shape = slot->entry.shape;
  tensor->strides = slot->entry.strides;
  return 0;
}

void reader_release(reader *r, size_t index) {
  if (index >= r->count || !r->slots[index].loaded) return;
  reader_slot *slot = &r->slots[index];
  slot->loaded = 0;
  free(slot->owned);
  slot->owned = NULL;
  if (slot->offset != NOT_MAPPED) drop_pages(r, slot->offset, (size_t)slot->entry.bytes);
}

void reader_close(reader *r) {
  if (!r) return;
  for (size_t i = 0; i < r->count; i++) {
    free(r->slots[i].owned);
    free(r->slots[i].name);
    free(r->slots[i].problem);
  }
  free(r->slots);
  npz_close(r);
  if (r->origin == BYTES_MAPPED) munmap((void *)r->bytes, r->size);
  if (r->origin == BYTES_OWNED) free((void *)r->bytes);
  free(r);
}
