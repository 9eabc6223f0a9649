/* format.c - numbers that people and programs can read, and text that nobody vouches for. */
#include "report/format.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- The stream -------------------------------------------------------------------------------------------------- */

void report_put(report_sink *sink, const char *text) {
  if (sink->error) return;
  errno = 0;
  if (fputs(text, sink->stream) < 0) sink->error = errno ? errno : EIO;
}

void report_print(report_sink *sink, const char *format, ...) {
  if (sink->error) return;
  va_list arguments;
  va_start(arguments, format);
  errno = 0;
  if (vfprintf(sink->stream, format, arguments) < 0) sink->error = errno ? errno : EIO;
  va_end(arguments);
}

void report_repeat(report_sink *sink, const char *text, int times) {
  for (int i = 0; i < times; i++) report_put(sink, text);
}

/* ---- Numbers ----------------------------------------------------------------------------------------------------- */

/* "1.5e-05" to "1.5e-5": the exponent without its plus sign and leading zeros. */
static char *trim_exponent(char *text) {
  char *e = strchr(text, 'e');
  if (!e) return text;
  char *to = e + 1;
  const char *from = e + 1;
  if (*from == '-') *to++ = *from++;
  while (*from == '+' || (*from == '0' && from[1])) from++;
  memmove(to, from, strlen(from) + 1);
  return text;
}

char *report_real(char *text, double value) {
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, REPORT_TEXT, "%.*g", digits, value);
    if (digits == 17 || strtod(text, NULL) == value) break;
  }
  return trim_exponent(text);
}

char *report_number(char *text, double value) {
  if (isnan(value)) return strcpy(text, "-");
  if (isinf(value)) return strcpy(text, value > 0 ? "inf" : "-inf");
  double size = fabs(value);
  if (size == 0) return strcpy(text, "0");
  if (size < 9.995e-4 || size >= 99999.5) {
    snprintf(text, REPORT_TEXT, "%.2e", value);
    char *e = strchr(text, 'e'); /* 1.00e-04 to 1e-4, 1.50e-04 to 1.5e-4 */
    char *end = e;
    while (end[-1] == '0') end--;
    if (end[-1] == '.') end--;
    memmove(end, e, strlen(e) + 1);
    return trim_exponent(text);
  }
  int decimals = size < 9.995e-3   ? 5
                 : size < 9.995e-2 ? 4
                 : size < 0.9995   ? 3
                 : size < 9.995    ? 2
                 : size < 99.95    ? 1
                                   : 0;
  snprintf(text, REPORT_TEXT, "%.*f", decimals, value);
  return text;
}

char *report_fixed(char *text, double value) {
  if (!isfinite(value)) return strcpy(text, "-");
  snprintf(text, REPORT_TEXT, "%.3f", fabs(value) < 0.0005 ? 0 : value); /* no "-0.000" */
  return text;
}

char *report_percent(char *text, double share) {
  double percent = 100 * share;
  if (!isfinite(share)) return strcpy(text, "-");
  if (percent == 0 || percent == 100) {
    snprintf(text, REPORT_TEXT, "%.0f%%", fabs(percent));
  } else if (percent > 0 && percent < 0.05) {
    strcpy(text, "<0.1%");
  } else if (percent < 100 && percent >= 99.95) {
    strcpy(text, ">99.9%");
  } else {
    snprintf(text, REPORT_TEXT, "%.1f%%", percent);
  }
  return text;
}

/* value in steps of `step` with three significant digits; the last unit takes whatever is left. */
static char *scaled(char *text, double value, double step, const char *const *units, int count) {
  int unit = 0;
  while (unit + 1 < count && value >= step * (1 - 5e-4)) { /* 999,600 is 1.00M, not 1000k */
    value /= step;
    unit++;
  }
  int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  snprintf(text, REPORT_TEXT, "%.*f%s", decimals, value, units[unit]);
  return text;
}

char *report_count(char *text, uint64_t count) {
  static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
  if (count < 100000) {
    snprintf(text, REPORT_TEXT, "%llu", (unsigned long long)count);
    return text;
  }
  return scaled(text, (double)count, 1000, units, 7);
}

char *report_bytes(char *text, uint64_t bytes) {
  static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
  if (bytes < 1024) {
    snprintf(text, REPORT_TEXT, "%llu B", (unsigned long long)bytes);
    return text;
  }
  scaled(text, (double)bytes, 1024, units, 7);
  char *dot = strchr(text, '.'); /* 64.0 MiB to 64 MiB */
  if (dot) {
    char *space = strchr(dot, ' '), *end = space;
    while (end[-1] == '0') end--;
    if (end[-1] == '.') end--;
    memmove(end, space, strlen(space) + 1);
  }
  return text;
}

char *report_seconds(char *text, double seconds) {
  if (!isfinite(seconds) || seconds < 0) return strcpy(text, "-");
  if (seconds >= 119.5) {
    unsigned long long whole = seconds < 1e15 ? (unsigned long long)(seconds + 0.5) : 1000000000000000ull;
    if (whole >= 7200) {
      snprintf(text, REPORT_TEXT, "%llu h %llu min", whole / 3600, whole / 60 % 60);
    } else {
      snprintf(text, REPORT_TEXT, "%llu min %llu s", whole / 60, whole % 60);
    }
    return text;
  }
  char number[REPORT_TEXT];
  const char *unit = seconds >= 0.9995 || seconds == 0 ? "s" : seconds >= 9.995e-4 ? "ms" : "\xc2\xb5s";
  double scale = *unit == 's' ? 1 : *unit == 'm' ? 1e3 : 1e6;
  snprintf(text, REPORT_TEXT, "%s %s", report_number(number, seconds * scale), unit);
  return text;
}

char *report_shape(char *text, size_t size, const report_layer *layer, const char *times) {
  size_t used = (size_t)snprintf(text, size, "%s", layer->ndim > 0 ? "" : "scalar");
  for (int i = 0; i < layer->ndim && i < ACTSCOPE_MAX_DIMS && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? times : "", (long long)layer->shape[i]);
  return text;
}

char *report_feature_index(char *text, size_t size, const report_layer *layer, uint64_t feature) {
  uint64_t at[ACTSCOPE_MAX_DIMS], all = 1;
  const int axes = layer->ndim - 1;
  for (int d = 1; d <= axes; d++) all *= (uint64_t)layer->shape[d];
  if (axes < 2 || all != layer->report.features) { /* the features are one axis, the others are samples */
    snprintf(text, size, "%llu", (unsigned long long)feature);
    return text;
  }
  for (int d = axes - 1; d >= 0; d--) {
    const uint64_t extent = layer->shape[d + 1] > 0 ? (uint64_t)layer->shape[d + 1] : 1;
    at[d] = feature % extent;
    feature /= extent;
  }
  size_t used = 0;
  for (int d = 0; d < axes && used < size; d++)
    used += (size_t)snprintf(text + used, size - used, "%s%llu%s", d ? "," : "(", (unsigned long long)at[d], d + 1 < axes ? "" : ")");
  return text;
}

char *report_pairless(char *text, const report_layer *layer) {
  char number[REPORT_TEXT], feature[REPORT_SHAPE];
  uint64_t listed = layer->pairless_count < REPORT_PAIRLESS ? layer->pairless_count : REPORT_PAIRLESS;
  *text = 0;
  if (!listed) return text;
  /* Of sampled pairs none may have met a feature; one that varies alone has nobody to pair with. */
  int told = layer->report.correlation.method != ACTSCOPE_CORRELATION_SAMPLED && layer->report.correlation.valid_features != 1;
  int used = snprintf(text, REPORT_SENTENCE, "%s without a pair%s: ", report_count(number, layer->pairless_count),
                      told ? " (constant or not finite)" : "");
  for (uint64_t k = 0; k < listed && used < REPORT_SENTENCE; k++)
    used += snprintf(text + used, (size_t)(REPORT_SENTENCE - used), "%s%s", k ? ", " : "",
                     report_feature_index(feature, sizeof feature, layer, layer->pairless[k]));
  if (listed < layer->pairless_count && used < REPORT_SENTENCE) snprintf(text + used, (size_t)(REPORT_SENTENCE - used), ", ...");
  return text;
}

/* ---- Text of unknown origin -------------------------------------------------------------------------------------- */

/* The character at `text`, and in *length the bytes it takes; U+FFFD and 1 where it is not well-formed UTF-8
 * (overlong forms, surrogates and code points beyond U+10FFFF included). */
static uint32_t decode(const char *text, int *length) {
  const unsigned char *s = (const unsigned char *)text;
  *length = 1;
  if (s[0] < 0x80) return s[0];
  int more = s[0] >= 0xc2 && s[0] < 0xe0 ? 1 : s[0] >= 0xe0 && s[0] < 0xf0 ? 2 : s[0] >= 0xf0 && s[0] < 0xf5 ? 3 : 0;
  if (!more) return 0xfffd;
  uint32_t code = s[0] & (0x3fu >> more);
  for (int i = 1; i <= more; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0xfffd;
    code = code << 6 | (s[i] & 0x3fu);
  }
  if ((more == 2 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) ||
      (more == 3 && (code < 0x10000 || code > 0x10ffff)))
    return 0xfffd;
  *length = more + 1;
  return code;
}

typedef struct range {
  uint32_t first, last;
} range;

static int within(const range *ranges, size_t count, uint32_t code) {
  for (size_t i = 0; i < count && ranges[i].first <= code; i++)
    if (code <= ranges[i].last) return 1;
  return 0;
}
#define WITHIN(ranges, code) within(ranges, sizeof(ranges) / sizeof *(ranges), code)

/* C0 and C1 controls, line and paragraph separators, and the marks that reverse what a reader sees. */
static const range unsafe[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x200e, 0x200f},
                               {0x2028, 0x202e}, {0x2066, 0x206f}, {0xfeff, 0xfeff}};
/* Combining marks, joiners and variation selectors: the common ones take no column. */
static const range zero_width[] = {
    {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},   {0x64b, 0x65f},   {0x93c, 0x93c},
    {0x94d, 0x94d},   {0xe31, 0xe31},   {0xe34, 0xe3a},   {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200d},
    {0x2060, 0x2064}, {0x20d0, 0x20f0}, {0x3099, 0x309a}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xe0001, 0xe01ef}};
/* East Asian wide and fullwidth, and emoji. */
static const range wide[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x23e9, 0x23ec},   {0x2614, 0x2615},   {0x26a1, 0x26a1},
    {0x2705, 0x2705},   {0x274c, 0x274c},   {0x2b1b, 0x2b1c},   {0x2b50, 0x2b50},   {0x2e80, 0x303e},
    {0x3041, 0x3247},   {0x3250, 0x4dbf},   {0x4e00, 0xa4c6},   {0xa960, 0xa97c},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe10, 0xfe19},   {0xfe30, 0xfe6b},   {0xff01, 0xff60},   {0xffe0, 0xffe6},
    {0x16fe0, 0x18cd5}, {0x1b000, 0x1b2fb}, {0x1f18e, 0x1f19a}, {0x1f200, 0x1f320}, {0x1f32d, 0x1f64f},
    {0x1f680, 0x1f6fc}, {0x1f7e0, 0x1f7eb}, {0x1f90c, 0x1fa7c}, {0x1fa80, 0x1faff}, {0x20000, 0x3fffd}};

int report_piece(const char **text, char piece[REPORT_PIECE]) {
  if (!**text) return -1;
  int length;
  uint32_t code = decode(*text, &length);
  const char *from = *text;
  *text += length;
  if (code == 0xfffd) {
    strcpy(piece, "\xef\xbf\xbd");
    return 1;
  }
  if (WITHIN(unsafe, code)) {
    if (code == '\n' || code == '\t' || code == '\r') {
      return snprintf(piece, REPORT_PIECE, "\\%c", code == '\n' ? 'n' : code == '\t' ? 't' : 'r');
    }
    return snprintf(piece, REPORT_PIECE, code < 0x100 ? "\\x%02x" : "\\u%04x", code);
  }
  memcpy(piece, from, (size_t)length);
  piece[length] = 0;
  return WITHIN(zero_width, code) ? 0 : WITHIN(wide, code) ? 2 : 1;
}

int report_columns(const char *text) {
  char piece[REPORT_PIECE];
  int total = 0;
  for (int columns; (columns = report_piece(&text, piece)) >= 0 && total < 1 << 20;) total += columns;
  return total;
}

void report_fit(char *out, size_t size, const char *text, int columns) {
  int total = report_columns(text);
  int head = total <= columns ? total : (columns - 1) * 2 / 5;
  int tail = total <= columns ? 0 : columns - 1 - head;
  int at = 0, tailing = 0, cut = 0;
  char piece[REPORT_PIECE];
  for (int width; (width = report_piece(&text, piece)) >= 0; at += width) {
    if (!tailing && at + width > head) {
      tailing = 1;
    }
    if (tailing && !cut) { /* the ellipsis, once; U+2026 */
      if (size > 3) memcpy(out, "\xe2\x80\xa6", 3), out += 3, size -= 3;
      cut = 1;
    }
    if (tailing) {
      if (tailing == 1 && (total - at > tail || width == 0)) continue; /* a mark whose letter is gone goes too */
      tailing = 2;
    }
    size_t bytes = strlen(piece);
    if (bytes >= size) break;
    memcpy(out, piece, bytes);
    out += bytes;
    size -= bytes;
  }
  if (size) *out = 0;
}

void report_fit_name(char *out, size_t size, const char *name, int columns) {
  char shorter[1024];
  if (strlen(name) >= sizeof shorter || report_columns(name) <= columns) {
    report_fit(out, size, name, columns);
    return;
  }
  strcpy(shorter, name);
  for (char *at = shorter; report_columns(shorter) > columns;) {
    char piece[REPORT_PIECE];
    const char *next = at;
    size_t length = strcspn(at, "./");
    if (!at[length]) break; /* the last part says most */
    size_t first = length && report_piece(&next, piece) >= 0 ? (size_t)(next - at) : 0, number = length;
    while (number > first && at[number - 1] >= '0' && at[number - 1] <= '9') number--;
    memmove(at + first, at + number, strlen(at + number) + 1);
    at += first + (length - number) + 1;
  }
  report_fit(out, size, shorter, columns);
}

char *report_clean(const char *text) {
  if (!text) text = "";
  char *copy = malloc(3 * strlen(text) + 1), *to = copy;
  if (!copy) return NULL;
  for (int length; *text; text += length) {
    if (decode(text, &length) == 0xfffd) {
      memcpy(to, "\xef\xbf\xbd", 3);
      to += 3;
      if (length == 3) continue; /* it was U+FFFD itself */
    } else {
      memcpy(to, text, (size_t)length);
      to += length;
    }
  }
  *to = 0;
  return copy;
}

const char *report_role(actscope_role role) {
  static const char *const names[] = {"activation", "gradient", "weight"};
  return (size_t)role < sizeof names / sizeof *names ? names[role] : NULL;
}

int report_scores_matter(const report_document *document) {
  for (size_t i = 0; document->scores && i < document->scored; i++) {
    const actscope_network_scores *s = &document->scores[i];
    if (s->gradient != ACTSCOPE_NO_LAYER || s->weight != ACTSCOPE_NO_LAYER || s->reasons & REPORT_OWN_INGREDIENTS) return 1;
  }
  return 0;
}
