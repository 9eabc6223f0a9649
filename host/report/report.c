/* report.c - names of the formats, and the one entry to the writers. */
#include "report/report.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/format.h"

static const char *const names[] = {"table", "json", "jsonl", "csv", "html"};

int report_format_from_name(const char *name, report_format *format) {
  for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
    if (strcmp(name, names[i]) == 0) {
      *format = (report_format)i;
      return 0;
    }
  }
  return -1;
}

const char *report_format_name(report_format format) {
  return (size_t)format < sizeof names / sizeof *names ? names[format] : NULL;
}

int report_has_numbers(const report_layer *layer) {
  return layer->error == NULL && layer->report.status == ACTSCOPE_OK;
}

int report_has_cka(const report_layer *layer) {
  return report_has_numbers(layer) && layer->role == ACTSCOPE_ROLE_ACTIVATION;
}

int report_most_alike(const report_document *document, const report_layer *pair[2], double *cka) {
  *cka = -INFINITY;
  for (size_t i = 0; document->cka && i < document->count; i++)
    for (size_t j = i + 1; j < document->count && report_has_cka(&document->layers[i]); j++) {
      double value = document->cka[i * document->count + j];
      if (report_has_cka(&document->layers[j]) && value > *cka) /* not for NaN */
        *cka = value, pair[0] = &document->layers[i], pair[1] = &document->layers[j];
    }
  return isfinite(*cka);
}

int report_has_score(const report_document *document, const actscope_bottleneck *entry) {
  return entry->layer < document->count && isfinite(entry->score) &&
         report_has_numbers(&document->layers[entry->layer]);
}

int report_several_sources(const report_document *document) {
  const char *first = NULL;
  for (size_t i = 0; i < document->count; i++) {
    const char *source = document->layers[i].source;
    if (!report_has_numbers(&document->layers[i]) || !source) continue;
    if (first && strcmp(first, source) != 0) return 1;
    first = source;
  }
  return 0;
}

const char *report_short_source(const report_layer *layer) {
  if (!layer->source) return "";
  const char *slash = strrchr(layer->source, '/');
  return slash && slash[1] ? slash + 1 : layer->source;
}

const actscope_bottleneck **report_scores(const report_document *document) {
  const actscope_bottleneck **scores = calloc(document->count + 1, sizeof *scores);
  for (size_t i = 0; scores && document->ranking && i < document->count; i++) {
    const actscope_bottleneck *entry = &document->ranking[i];
    if (report_has_score(document, entry)) scores[entry->layer] = entry;
  }
  return scores;
}

size_t report_common_prefix(const report_document *document) {
  const char *first = NULL;
  size_t common = 0;
  for (size_t i = 0; i < document->count; i++) {
    const char *name = document->layers[i].name;
    if (!report_has_numbers(&document->layers[i])) continue;
    if (!name) return 0;
    if (!first) {
      first = name;
      common = strlen(name);
    } else {
      size_t same = 0;
      while (same < common && name[same] == first[same]) same++;
      common = same;
    }
  }
  while (common > 0 && first[common - 1] != '.' && first[common - 1] != '/') common--;
  return first && first[common] ? common : 0;
}

static size_t join(char *text, size_t used, const char *sentence) {
  size_t left = REPORT_SENTENCES - used;
  int wrote = snprintf(text + used, left, "%s%s", used ? "; " : "", sentence);
  return used + (wrote < 0 ? 0 : (size_t)wrote < left ? (size_t)wrote : left - 1);
}

char *report_reasons(char *text, const actscope_bottleneck *entry, const report_layer *layer) {
  char sentence[REPORT_SENTENCE];
  size_t used = 0;
  *text = 0;
  for (int bit = 0; bit < ACTSCOPE_REASON_COUNT; bit++)
    if (actscope_reason_text(entry, &layer->report, bit, sentence, sizeof sentence)) used = join(text, used, sentence);
  return text;
}

char *report_warnings(char *text, const report_layer *layer) {
  char sentence[REPORT_SENTENCE];
  size_t used = 0;
  *text = 0;
  for (int bit = 0; bit < ACTSCOPE_WARN_COUNT; bit++)
    if (actscope_warning_text(&layer->report, bit, sentence, sizeof sentence)) used = join(text, used, sentence);
  return text;
}

char *report_score_reasons(char *text, const report_document *document, const actscope_network_scores *scores) {
  char sentence[REPORT_SENTENCE];
  size_t used = 0;
  *text = 0;
  for (int k = 0; k < ACTSCOPE_INGREDIENT_COUNT; k++)
    if (REPORT_OWN_INGREDIENTS >> k & 1u &&
        actscope_ingredient_text(scores, document->reports, k, sentence, sizeof sentence))
      used = join(text, used, sentence);
  return text;
}

static int dispatch(report_sink *sink, report_format format, const report_document *document, int colour, int width) {
  switch (format) {
    case REPORT_TABLE:
      return report_write_table(sink, document, colour, width);
    case REPORT_JSON:
      return report_write_json(sink, document);
    case REPORT_JSONL:
      return report_write_jsonl(sink, document);
    case REPORT_CSV:
      return report_write_csv(sink, document);
    case REPORT_HTML:
      return report_write_html(sink, document);
  }
  errno = EINVAL;
  return -1;
}

int report_write(FILE *stream, report_format format, const report_document *document, int colour, int width) {
  /* The thread, not the process: other threads keep their locale. */
  locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (!plain) return -1;
  locale_t before = uselocale(plain);
  report_sink sink = {stream, 0};
  int error = dispatch(&sink, format, document, colour, width) == 0 ? 0 : errno ? errno : EIO;
  if (!error && !sink.error && fflush(stream) != 0) sink.error = errno ? errno : EIO;
  uselocale(before);
  freelocale(plain);
  if (sink.error) error = sink.error;
  errno = error;
  return error ? -1 : 0;
}
