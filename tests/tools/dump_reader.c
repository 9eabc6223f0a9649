/* dump_reader.c - what the readers see in a file, for tests that are not written in C.
 *
 *   dump_reader FILE...
 *
 * One JSON object a line and entry: name, then either problem, or dtype, shape, strides, bytes, copied, aligned and
 * crc32 (the CRC of zip and zlib over the elements' bytes in row-major order). A file that cannot be opened gives an
 * object with its error. Exit status 0 when everything was read, 2 otherwise. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/reader.h"

static uint32_t crc32_update(uint32_t crc, const unsigned char *p, size_t size) {
  static uint32_t table[256];
  if (!table[1])
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t c = i;
      for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
      table[i] = c;
    }
  for (crc = ~crc; size--; p++) crc = table[(crc ^ *p) & 255] ^ crc >> 8;
  return ~crc;
}

/* Over the elements of axes axis.. at p, the last axis fastest. */
static uint32_t walk(uint32_t crc, const actscope_tensor *t, int axis, size_t element, const unsigned char *p) {
  if (axis == t->ndim) return crc32_update(crc, p, element);
  for (int64_t i = 0; i < t->shape[axis]; i++)
    crc = walk(crc, t, axis + 1, element, p + i * t->strides[axis] * (int64_t)element);
  return crc;
}

static void add_counts(cJSON *object, const char *name, const int64_t *values, int count) {
  cJSON *array = cJSON_AddArrayToObject(object, name);
  for (int i = 0; i < count; i++) cJSON_AddItemToArray(array, cJSON_CreateNumber((double)values[i]));
}

static void print_and_delete(cJSON *object) {
  char *text = cJSON_PrintUnformatted(object);
  puts(text);
  free(text);
  cJSON_Delete(object);
}

static int dump_entry(reader *r, size_t index) {
  const reader_entry *e = reader_get(r, index);
  char error[READER_ERROR_SIZE];
  actscope_tensor t;
  cJSON *object = cJSON_CreateObject();
  cJSON_AddStringToObject(object, "name", e->name);
  int bad = reader_load(r, index, &t, error);
  if (bad) {
    cJSON_AddStringToObject(object, "problem", error);
  } else {
    size_t element = actscope_dtype_size(t.dtype);
    cJSON_AddStringToObject(object, "dtype", actscope_dtype_name(t.dtype));
    add_counts(object, "shape", t.shape, t.ndim);
    add_counts(object, "strides", t.strides, t.ndim);
    cJSON_AddNumberToObject(object, "bytes", (double)e->bytes);
    cJSON_AddBoolToObject(object, "copied", e->copied);
    cJSON_AddBoolToObject(object, "aligned", (uintptr_t)t.data % element == 0);
    cJSON_AddNumberToObject(object, "crc32", e->bytes ? walk(0, &t, 0, element, t.data) : 0);
    reader_release(r, index);
  }
  print_and_delete(object);
  return bad;
}

int main(int argc, char **argv) {
  int bad = 0;
  for (int i = 1; i < argc; i++) {
    char error[READER_ERROR_SIZE];
    reader *r;
    if (reader_open(&r, argv[i], error) != 0) {
      cJSON *object = cJSON_CreateObject();
      cJSON_AddStringToObject(object, "error", error);
      print_and_delete(object);
      bad = 1;
      continue;
    }
    for (size_t k = 0; k < reader_count(r); k++) bad |= dump_entry(r, k) != 0;
    reader_close(r);
  }
  return bad ? 2 : 0;
}
