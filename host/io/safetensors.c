/* safetensors.c - the .safetensors format: eight bytes of header length (little-endian), a JSON object that gives each
 * tensor's dtype, shape and byte range, then the data.
 *
 * JSON goes through cJSON, which is lenient: what it would let pass and JSON forbids (control bytes in strings, a NUL
 * in a name) is refused before. Numbers arrive as doubles, exact for every offset a file of this world can have. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "io/internal.h"

#define PREFIX 8
#define HEADER_LIMIT 100000000u /* the format's own limit */

static uint64_t header_length(const unsigned char *bytes) {
  uint64_t length = 0;
  for (int i = PREFIX - 1; i >= 0; i--) length = length << 8 | bytes[i];
  return length;
}

int safetensors_recognised(const unsigned char *bytes, size_t size) {
  return size > PREFIX && header_length(bytes) <= size - PREFIX && bytes[PREFIX] == '{';
}

/* ---- One tensor -------------------------------------------------------------------------------------------------- */

static const struct {
  const char *name;
  actscope_dtype dtype;
} dtypes[] = {{"F32", ACTSCOPE_FLOAT32},         {"F16", ACTSCOPE_FLOAT16},         {"BF16", ACTSCOPE_BFLOAT16},
              {"F8_E4M3", ACTSCOPE_FLOAT8_E4M3}, {"F8_E5M2", ACTSCOPE_FLOAT8_E5M2}, {"F64", ACTSCOPE_FLOAT64}};

static const char *const not_floating[][2] = {
    {"BOOL", "bool"}, {"I8", "int8"},    {"U8", "uint8"},  {"I16", "int16"},  {"U16", "uint16"},
    {"I32", "int32"}, {"U32", "uint32"}, {"I64", "int64"}, {"U64", "uint64"}, {"C64", "complex64"}};

static int parse_dtype(const cJSON *tensor, actscope_dtype *dtype, char error[READER_ERROR_SIZE]) {
  const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tensor, "dtype"));
  if (!name) return reader_fail(error, "malformed header: it has no dtype");
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
    if (strcmp(name, dtypes[i].name) == 0) {
      *dtype = dtypes[i].dtype;
      return 0;
    }
  for (size_t i = 0; i < sizeof not_floating / sizeof *not_floating; i++)
    if (strcmp(name, not_floating[i][0]) == 0)
      return reader_fail(error, "dtype %s is not a floating-point type", not_floating[i][1]);
  return reader_fail(error, "dtype \"%.40s\" is not supported", name);
}

/* A count in JSON: an integer from 0 that a double holds exactly. */
static int parse_count(const cJSON *item, int64_t *count) {
  double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
  if (!(value >= 0 && value < 9007199254740992.0) || value != (double)(int64_t)value) return -1;
  *count = (int64_t)value;
  return 0;
}

/* Reads dtype, shape and data_offsets. data: where offsets count from; size: bytes from there to the end of the file.
 */
static int parse_tensor(reader_slot *slot, const cJSON *tensor, size_t data, size_t size,
                        char error[READER_ERROR_SIZE]) {
  actscope_dtype dtype = ACTSCOPE_FLOAT32;
  int64_t shape[ACTSCOPE_MAX_DIMS], offset[2];
  int ndim = 0, n = 0;
  if (!cJSON_IsObject(tensor)) return reader_fail(error, "malformed header: not an object");
  if (parse_dtype(tensor, &dtype, error) != 0) return -1;
  const cJSON *extents = cJSON_GetObjectItemCaseSensitive(tensor, "shape"), *item;
  if (!cJSON_IsArray(extents)) return reader_fail(error, "malformed header: it has no shape");
  for (item = extents->child; item; item = item->next) {
    if (ndim == ACTSCOPE_MAX_DIMS) return reader_fail(error, "more than %d dimensions", ACTSCOPE_MAX_DIMS);
    if (parse_count(item, &shape[ndim++]) != 0)
      return reader_fail(error, "malformed header: an extent of the shape is not an integer from 0 to 2^53");
  }
  const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(tensor, "data_offsets");
  for (item = cJSON_IsArray(offsets) ? offsets->child : NULL; item; item = item->next, n++)
    if (n == 2 || parse_count(item, &offset[n]) != 0) break;
  if (item || n != 2) return reader_fail(error, "malformed header: data_offsets are not two integers from 0 to 2^53");
  if (reader_set_layout(&slot->entry, dtype, ndim, shape, 0, error) != 0) return -1;
  if (offset[0] > offset[1]) return reader_fail(error, "its data end before they begin");
  if ((uint64_t)(offset[1] - offset[0]) != slot->entry.bytes)
    return reader_fail(error, "its shape takes %llu bytes, its data_offsets %llu",
                       (unsigned long long)slot->entry.bytes, (unsigned long long)(offset[1] - offset[0]));
  if ((uint64_t)offset[1] > size)
    return reader_fail(error, "truncated: its data end %llu bytes after the end of the file",
                       (unsigned long long)((uint64_t)offset[1] - size));
  slot->offset = data + (size_t)offset[0];
  slot->swap = HOST_IS_BIG_ENDIAN;
  return 0;
}

/* ---- All tensors ------------------------------------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b) {
  const reader_slot *x = *(reader_slot *const *)a, *y = *(reader_slot *const *)b;
  return x->offset != y->offset ? (x->offset > y->offset) - (x->offset < y->offset) : (x > y) - (x < y);
}

static int mark_overlap(reader_slot *slot, const reader_slot *other) {
  char line[READER_ERROR_SIZE];
  reader_fail(line, "its data overlap those of \"%.200s\"", other->name);
  return reader_set_problem(slot, line);
}

/* Both of two good tensors that share bytes get a problem: nothing tells which of them is right. */
static int mark_overlaps(reader *r) {
  size_t n = 0;
  if (r->count == 0) return 0;
  reader_slot **sorted = malloc(r->count * sizeof *sorted);
  uint64_t *end = malloc(r->count * sizeof *end); /* in the order of sorted; a problem clears entry.bytes */
  int status = sorted && end ? 0 : -1;
  for (size_t i = 0; i < r->count && status == 0; i++)
    if (!r->slots[i].problem && r->slots[i].entry.bytes > 0) sorted[n++] = &r->slots[i];
  if (n > 0 && status == 0) qsort(sorted, n, sizeof *sorted, by_offset);
  for (size_t i = 0; i < n; i++) end[i] = sorted[i]->offset + sorted[i]->entry.bytes;
  for (size_t i = 1, furthest = 0; i < n && status == 0; i++) {
    if (sorted[i]->offset < end[furthest]) {
      status = mark_overlap(sorted[i], sorted[furthest]);
      if (status == 0) status = mark_overlap(sorted[furthest], sorted[i]);
    }
    if (end[i] > end[furthest]) furthest = i;
  }
  free(sorted);
  free(end);
  return status;
}

static int list(reader *r, const cJSON *root, size_t data, char error[READER_ERROR_SIZE]) {
  for (const cJSON *item = root->child; item; item = item->next) {
    char problem[READER_ERROR_SIZE];
    if (strcmp(item->string, "__metadata__") == 0) continue;
    reader_slot *slot = reader_add(r, item->string, strlen(item->string));
    if (!slot) return reader_fail(error, "out of memory");
    if (parse_tensor(slot, item, data, r->size - data, problem) != 0 && reader_set_problem(slot, problem) != 0)
      return reader_fail(error, "out of memory");
    reader_settle(r, slot);
  }
  return reader_mark_duplicates(r) == 0 && mark_overlaps(r) == 0 ? 0 : reader_fail(error, "out of memory");
}

/* What cJSON accepts and must not be: raw control bytes, and the escape \u0000, which would cut a name short. */
static int refuse_controls(const unsigned char *text, size_t length, char error[READER_ERROR_SIZE]) {
  for (size_t i = 0; i < length; i++) {
    if (text[i] < 0x20 && text[i] != '\t' && text[i] != '\n' && text[i] != '\r')
      return reader_fail(error, "malformed header: a control byte at byte %zu", i + PREFIX);
    if (text[i] == '\\') {
      if (length - i >= 6 && memcmp(text + i + 1, "u0000", 5) == 0)
        return reader_fail(error, "malformed header: a NUL character at byte %zu", i + PREFIX);
      i++; /* the escaped character, a backslash perhaps */
    }
  }
  return 0;
}

int safetensors_open(reader *r, char error[READER_ERROR_SIZE]) {
  if (r->size <= PREFIX) return reader_fail(error, "not a .safetensors: only %zu bytes long", r->size);
  uint64_t length = header_length(r->bytes);
  if (length > HEADER_LIMIT && r->bytes[PREFIX] != '{')
    return reader_fail(error, "not a .safetensors: it does not begin with the length of a JSON header");
  if (length > r->size - PREFIX)
    return reader_fail(error, "truncated: its header of %llu bytes ends after the end of the file",
                       (unsigned long long)length);
  if (length > HEADER_LIMIT)
    return reader_fail(error, "its header is %llu bytes long; at most %u are allowed", (unsigned long long)length,
                       HEADER_LIMIT);
  const unsigned char *text = r->bytes + PREFIX;
  if (refuse_controls(text, (size_t)length, error) != 0) return -1;
  char *copy = malloc((size_t)length + 1); /* cJSON reads past the end of what has no terminating zero */
  if (!copy) return reader_fail(error, "out of memory");
  memcpy(copy, text, (size_t)length);
  copy[length] = 0;
  const char *end = NULL;
  cJSON *root = cJSON_ParseWithOpts(copy, &end, 1);
  int status;
  if (!root)
    status =
        reader_fail(error, "malformed header: JSON is broken at byte %zu", (end ? (size_t)(end - copy) : 0) + PREFIX);
  else if (!cJSON_IsObject(root))
    status = reader_fail(error, "malformed header: not a JSON object");
  else
    status = list(r, root, PREFIX + (size_t)length, error);
  cJSON_Delete(root);
  free(copy);
  return status;
}
