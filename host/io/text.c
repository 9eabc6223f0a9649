/* text.c - names and messages fit to be printed, whatever bytes the file holds. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/internal.h"

/* Bytes of the well-formed, printable UTF-8 character at p, or 0: broken, overlong, a surrogate, or a control. */
static size_t printable(const unsigned char *p, size_t left) {
  size_t length = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : 4;
  if (length == 1) return p[0] >= 0x20 && p[0] != 0x7f;
  if (length > left || p[0] < 0xc2 || p[0] > 0xf4) return 0;
  uint32_t code = p[0] & (0x7f >> length);
  for (size_t i = 1; i < length; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
    code = code << 6 | (p[i] & 0x3f);
  }
  static const uint32_t least[5] = {0, 0, 0xa0, 0x800, 0x10000}; /* U+0080..U+009F are controls */
  return code >= least[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? length : 0;
}

int reader_fail(char error[READER_ERROR_SIZE], const char *format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(error, READER_ERROR_SIZE, format, list);
  va_end(list);
  size_t size = strlen(error);
  for (size_t i = 0, n; i < size; i += n) {
    n = printable((unsigned char *)error + i, size - i);
    if (n == 0) error[i] = '?', n = 1;
  }
  return -1;
}

char *reader_clean_name(const char *text, size_t length) {
  const unsigned char *p = (const unsigned char *)text;
  size_t size = 0;
  for (size_t i = 0, n; i < length; i += n ? n : 1) size += (n = printable(p + i, length - i)) ? n : 3;
  char *clean = malloc(size + 1), *to = clean;
  if (!clean) return NULL;
  for (size_t i = 0, n; i < length; i += n ? n : 1) {
    n = printable(p + i, length - i);
    memcpy(to, n ? (const char *)p + i : "\xef\xbf\xbd", n ? n : 3);
    to += n ? n : 3;
  }
  *to = 0;
  return clean;
}
