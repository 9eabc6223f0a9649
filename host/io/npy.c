/* npy.c - the .npy format, versions 1.0 to 3.0: a magic, a version, the length of the header, the header (the text of
 * a Python dict with the keys descr, fortran_order and shape), then the data.
 *
 * The dict is parsed as the small language that it is; nothing in it is evaluated. Beyond what numpy writes, any order
 * of the keys, any white space, a missing or present trailing comma, both quotes and Python 2's 1L are understood. */
#include <stdio.h>
#include <string.h>

#include "io/internal.h"

#define HEADER_LIMIT ((size_t)1 << 20) /* numpy itself stops at 10,000 bytes unless told otherwise */
#define DEPTH_LIMIT 32                 /* of the nested lists that describe structured types */

/* ---- Python literals --------------------------------------------------------------------------------------------- */

typedef struct cursor {
  const char *p, *end;
} cursor;

typedef struct span {
  const char *text;
  size_t length;
} span;

static int peek(cursor *c) {
  while (c->p < c->end && memchr(" \t\r\n\f\v", *c->p, 6)) c->p++;
  return c->p < c->end ? (unsigned char)*c->p : -1;
}

static int take(cursor *c, char wanted) {
  if (peek(c) != (unsigned char)wanted) return 0;
  c->p++;
  return 1;
}

static int is_digit(int c) { return c >= '0' && c <= '9'; }
static int is_word(int c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/* A word such as True, or a number, or nothing: as far as letters, digits and underscores go. */
static span take_word(cursor *c) {
  peek(c);
  span s = {c->p, 0};
  while (c->p < c->end && is_word((unsigned char)*c->p)) c->p++, s.length++;
  return s;
}

static int equals(span s, const char *text) { return s.length == strlen(text) && memcmp(s.text, text, s.length) == 0; }

/* 'text', "text", and either with the prefix u or b; escapes stay as they are written. */
static int take_string(cursor *c, span *s) {
  int quote = peek(c);
  if ((quote == 'u' || quote == 'b') && c->end - c->p > 1) quote = (unsigned char)*++c->p;
  if (quote != '\'' && quote != '"') return 0;
  s->text = ++c->p;
  for (; c->p < c->end && (unsigned char)*c->p != quote; c->p++)
    if (*c->p == '\n' || (*c->p == '\\' && ++c->p == c->end)) return 0;
  if (c->p == c->end) return 0;
  s->length = (size_t)(c->p++ - s->text);
  return 1;
}

/* Steps over a list or tuple of anything: the field list of a structured type, whose content does not matter. */
static int skip_sequence(cursor *c, int depth) {
  char closing = take(c, '[') ? ']' : take(c, '(') ? ')' : 0;
  span ignored;
  if (!closing || depth == DEPTH_LIMIT) return 0;
  while (!take(c, closing)) {
    int next = peek(c);
    if (next == '[' || next == '(') {
      if (!skip_sequence(c, depth + 1)) return 0;
    } else if (!take_string(c, &ignored) && take_word(c).length == 0) {
      return 0;
    }
    if (!take(c, ',') && peek(c) != closing) return 0;
  }
  return 1;
}

/* ---- The three keys ---------------------------------------------------------------------------------------------- */

/* Two digits and up, the size in bytes behind the kind: "8" of "<f8". -1 when it is none. */
static long descr_size(span s) {
  long size = 0;
  for (size_t i = 0; i < s.length; i++) {
    if (!is_digit((unsigned char)s.text[i]) || size > 1000000000L) return -1;
    size = 10 * size + (s.text[i] - '0');
  }
  return s.length ? size : -1;
}

static int parse_descr(npy_header *h, span descr, char error[READER_ERROR_SIZE]) {
  span s = descr;
  int quoted = (int)(descr.length < 40 ? descr.length : 40);
  int big = HOST_IS_BIG_ENDIAN;
  if (s.length && memchr("<>=|", *s.text, 4)) {
    big = *s.text == '<' ? 0 : *s.text == '>' ? 1 : big;
    s.text++, s.length--;
  }
  char kind = s.length ? *s.text : 0;
  long size = s.length ? descr_size((span){s.text + 1, s.length - 1}) : -1;
  const char *name = NULL;
  switch (kind) {
    case 'f':
      h->layout.dtype = size == 2 ? ACTSCOPE_FLOAT16 : size == 4 ? ACTSCOPE_FLOAT32 : ACTSCOPE_FLOAT64;
      h->swap = big != HOST_IS_BIG_ENDIAN;
      if (size == 2 || size == 4 || size == 8) return 0;
      if (size == 1)
        return reader_fail(error, "dtype \"%.*s\" does not say which 8-bit float it is; .safetensors does", quoted,
                           descr.text);
      if (size > 8) return reader_fail(error, "dtype float%ld is not supported; float64 is the widest", 8 * size);
      break;
    case 'b':
      name = size == 1 ? "bool" : NULL;
      break;
    case 'i':
      name = "int";
      break;
    case 'u':
      name = "uint";
      break;
    case 'c':
      name = "complex";
      break;
    case 'O':
      return reader_fail(error, "dtype object is not a floating-point type");
    case 'S':
    case 'a':
    case 'U':
    case 'T':
      return reader_fail(error, "dtype string (\"%.*s\") is not a floating-point type", quoted, descr.text);
    case 'M':
      return reader_fail(error, "dtype datetime64 is not a floating-point type");
    case 'm':
      return reader_fail(error, "dtype timedelta64 is not a floating-point type");
    case 'V':
      return reader_fail(error,
                         size == 1 || size == 2 ? "dtype \"%.*s\" does not say what its elements are (bfloat16 and "
                                                  "8-bit floats lose their name in .npy; .safetensors keeps it)"
                                                : "dtype void (\"%.*s\") is not a floating-point type",
                         quoted, descr.text);
  }
  if (name && kind == 'b') return reader_fail(error, "dtype bool is not a floating-point type");
  if (name && size > 0 && size <= 64)
    return reader_fail(error, "dtype %s%ld is not a floating-point type", name, 8 * size);
  return reader_fail(error, "dtype \"%.*s\" is not known", quoted, descr.text);
}

static int parse_extent(cursor *c, int64_t *extent, char error[READER_ERROR_SIZE]) {
  int negative = take(c, '-');
  span s = take_word(c);
  if (s.length > 1 && (s.text[s.length - 1] | 0x20) == 'l') s.length--;
  if (s.length == 0 || (s.length > 1 && *s.text == '0'))
    return reader_fail(error, "malformed header: an extent of the shape is not an integer");
  *extent = 0;
  for (size_t i = 0; i < s.length; i++) {
    if (!is_digit((unsigned char)s.text[i]))
      return reader_fail(error, "malformed header: an extent of the shape is not an integer");
    if (__builtin_mul_overflow(*extent, 10, extent) || __builtin_add_overflow(*extent, s.text[i] - '0', extent))
      return reader_fail(error, "its shape is too large: 2^62 bytes or more");
  }
  if (negative) *extent = -*extent; /* for reader_set_layout() to refuse */
  return 0;
}

static int parse_shape(cursor *c, int *ndim, int64_t shape[ACTSCOPE_MAX_DIMS], char error[READER_ERROR_SIZE]) {
  *ndim = 0;
  if (!take(c, '(')) return reader_fail(error, "malformed header: shape is not a tuple");
  while (!take(c, ')')) {
    int64_t extent = 0;
    if (parse_extent(c, &extent, error) != 0) return -1;
    if (*ndim == ACTSCOPE_MAX_DIMS) return reader_fail(error, "more than %d dimensions", ACTSCOPE_MAX_DIMS);
    shape[(*ndim)++] = extent;
    int comma = take(c, ',');
    if (!comma && (peek(c) != ')' || *ndim == 1)) /* (3) is a number, (3,) a tuple */
      return reader_fail(error, "malformed header: shape is not a tuple");
  }
  return 0;
}

static int parse_dict(npy_header *h, cursor *c, char error[READER_ERROR_SIZE]) {
  enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
  int seen = 0, structured = 0, fortran = 0, ndim = 0;
  int64_t shape[ACTSCOPE_MAX_DIMS];
  span key, descr = {0};
  if (!take(c, '{')) return reader_fail(error, "malformed header: not a Python dict");
  while (!take(c, '}')) {
    if (!take_string(c, &key) || !take(c, ':')) return reader_fail(error, "malformed header: a key was expected");
    int bit = equals(key, "descr") ? DESCR : equals(key, "fortran_order") ? ORDER : equals(key, "shape") ? SHAPE : 0;
    if (!bit)
      return reader_fail(error, "malformed header: unknown key \"%.*s\"", (int)(key.length < 40 ? key.length : 40),
                         key.text);
    if (seen & bit) return reader_fail(error, "malformed header: \"%.*s\" twice", (int)key.length, key.text);
    seen |= bit;
    if (bit == SHAPE) {
      if (parse_shape(c, &ndim, shape, error) != 0) return -1;
    } else if (bit == ORDER) {
      span word = take_word(c);
      fortran = equals(word, "True");
      if (!fortran && !equals(word, "False"))
        return reader_fail(error, "malformed header: fortran_order is neither True nor False");
    } else if (peek(c) == '[' || peek(c) == '(') {
      structured = 1;
      if (!skip_sequence(c, 0)) return reader_fail(error, "malformed header: descr cannot be read");
    } else if (!take_string(c, &descr)) {
      return reader_fail(error, "malformed header: descr cannot be read");
    }
    if (!take(c, ',') && peek(c) != '}') return reader_fail(error, "malformed header: a comma or } was expected");
  }
  if (peek(c) != -1) return reader_fail(error, "malformed header: text after the dict");
  if (seen != (DESCR | ORDER | SHAPE))
    return reader_fail(error, "malformed header: it has no \"%s\"",
                       !(seen & DESCR)   ? "descr"
                       : !(seen & ORDER) ? "fortran_order"
                                         : "shape");
  if (structured) return reader_fail(error, "a structured dtype is not a floating-point type");
  if (parse_descr(h, descr, error) != 0) return -1;
  return reader_set_layout(&h->layout, h->layout.dtype, ndim, shape, fortran, error);
}

/* ---- The file ---------------------------------------------------------------------------------------------------- */

int npy_header_size(const unsigned char *bytes, size_t available, size_t *size, char error[READER_ERROR_SIZE]) {
  if (available < NPY_MAGIC_SIZE || memcmp(bytes, NPY_MAGIC, NPY_MAGIC_SIZE) != 0)
    return reader_fail(error, "not a .npy: it does not begin with \\x93NUMPY");
  if (available < 8) return reader_fail(error, "truncated in its header");
  if (bytes[6] < 1 || bytes[6] > 3 || bytes[7] != 0)
    return reader_fail(error, ".npy version %d.%d is not known; 1.0, 2.0 and 3.0 are", bytes[6], bytes[7]);
  size_t prefix = bytes[6] == 1 ? 10 : 12;
  if (available < prefix) return reader_fail(error, "truncated in its header");
  size_t length = bytes[8] | (size_t)bytes[9] << 8;
  if (prefix == 12) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
  if (length > HEADER_LIMIT)
    return reader_fail(error, "its header is %zu bytes long; at most %zu are read", length, HEADER_LIMIT);
  *size = prefix + length;
  return 0;
}

int npy_parse_header(npy_header *header, const unsigned char *bytes, size_t available, char error[READER_ERROR_SIZE]) {
  size_t size;
  memset(header, 0, sizeof *header);
  if (npy_header_size(bytes, available, &size, error) != 0) return -1;
  if (size > available) return reader_fail(error, "truncated in its header");
  size_t prefix = bytes[6] == 1 ? 10 : 12;
  cursor c = {(const char *)bytes + prefix, (const char *)bytes + size};
  header->size = size;
  return parse_dict(header, &c, error);
}

int npy_open(reader *r, const char *path, char error[READER_ERROR_SIZE]) {
  char problem[READER_ERROR_SIZE];
  npy_header header;
  const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
  size_t length = strlen(base);
  if (strcmp(path, "-") == 0) base = "stdin", length = 5;
  if (length > 4 && strcmp(base + length - 4, ".npy") == 0) length -= 4;
  reader_slot *slot = reader_add(r, base, length);
  if (!slot) return reader_fail(error, "out of memory");
  int status = npy_parse_header(&header, r->bytes, r->size, problem);
  if (status == 0 && header.layout.bytes > r->size - header.size)
    status = reader_fail(problem, "truncated: %zu of %llu bytes of data are there", r->size - header.size,
                         (unsigned long long)header.layout.bytes);
  if (status != 0) return reader_set_problem(slot, problem) == 0 ? 0 : reader_fail(error, "out of memory");
  header.layout.name = slot->name;
  slot->entry = header.layout;
  slot->offset = header.size;
  slot->swap = header.swap;
  reader_settle(r, slot);
  return 0;
}
