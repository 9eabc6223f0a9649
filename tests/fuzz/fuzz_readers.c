/* fuzz_readers.c - any bytes at all, through every reader, with what must hold for each entry (libFuzzer). */
#include <stdlib.h>
#include <string.h>

#include "io/reader.h"

#define REQUIRE(condition) \
  if (!(condition)) abort()

/* One line of printable text, or a name: no control bytes. */
static void check_text(const char *text) {
  REQUIRE(text);
  for (; *text; text++) REQUIRE((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void check_entry(reader *r, size_t index) {
  const reader_entry *e = reader_get(r, index);
  char error[READER_ERROR_SIZE];
  actscope_tensor t;
  check_text(e->name);
  int status = reader_load(r, index, &t, error);
  if (status != 0) {
    check_text(error);
    REQUIRE(error[0] && (!e->problem || strcmp(error, e->problem) == 0));
    return;
  }
  REQUIRE(!e->problem && t.dtype == e->dtype && t.ndim == e->ndim && t.ndim >= 0 && t.ndim <= ACTSCOPE_MAX_DIMS);
  uint64_t bytes = actscope_dtype_size(t.dtype), last = 0;
  for (int i = 0; i < t.ndim; i++) {
    REQUIRE(t.shape[i] >= 0 && t.strides[i] > 0);
    if (t.shape[i]) last += (uint64_t)(t.shape[i] - 1) * (uint64_t)t.strides[i];
    bytes *= (uint64_t)t.shape[i];
  }
  REQUIRE(bytes == e->bytes && (bytes == 0) == (t.data == NULL));
  if (bytes == 0) return;
  REQUIRE((last + 1) * actscope_dtype_size(t.dtype) == bytes && (uintptr_t)t.data % actscope_dtype_size(t.dtype) == 0);
  unsigned sum = 0;
  for (uint64_t i = 0; i < bytes; i++) sum += ((const volatile unsigned char *)t.data)[i];
  (void)sum;
  if (index % 2) reader_release(r, index);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  static const char *const names[] = {"a.npz", "a.safetensors"};
  char error[READER_ERROR_SIZE];
  for (int i = 0; i < 2; i++) {
    reader *r;
    if (reader_open_memory(&r, data, size, names[i], error) != 0) {
      check_text(error);
      REQUIRE(error[0] && !r);
    } else {
      for (size_t k = 0; k < reader_count(r); k++) check_entry(r, k);
      reader_close(r);
    }
  }
  return 0;
}
