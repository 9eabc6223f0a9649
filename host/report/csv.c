/* csv.c - one row a layer, the same columns whatever was measured, so that files of several runs can be joined. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/fields.h"
#include "report/format.h"

/* RFC 4180: quoted where it must be, quotes doubled. */
static void put_text(report_sink *sink, const char *text) {
  if (!text[strcspn(text, ",\"\r\n")] && text[0] != ' ' && (!*text || text[strlen(text) - 1] != ' ')) {
    report_put(sink, text);
    return;
  }
  report_put(sink, "\"");
  for (size_t run; *text; text += run) {
    run = strcspn(text, "\"");
    report_print(sink, "%.*s", (int)run, text);
    if (text[run] == '"') report_put(sink, "\"\""), run++;
  }
  report_put(sink, "\"");
}

static int put_clean(report_sink *sink, const char *text) {
  char *clean = report_clean(text);
  if (!clean) return -1;
  put_text(sink, clean);
  free(clean);
  return 0;
}

static void put_count(report_sink *sink, uint64_t count) { report_print(sink, "%llu", (unsigned long long)count); }

static void put_real(report_sink *sink, double value) {
  char text[REPORT_TEXT];
  if (isfinite(value)) report_put(sink, report_real(text, value));
}

/* How many columns a field takes, and the name of each. */
static int columns_of(report_kind kind) {
  switch (kind) {
    case REPORT_INTERVAL:
      return 2;
    case REPORT_QUANTILES:
      return ACTSCOPE_QUANTILE_COUNT;
    case REPORT_BUCKETS:
      return 0; /* 225 columns, most of them 0 */
    case REPORT_ABOVE:
      return ACTSCOPE_THRESHOLD_COUNT;
    case REPORT_HISTOGRAM:
      return ACTSCOPE_PAIR_BINS;
    default:
      return 1;
  }
}

static void put_header(report_sink *sink, const report_field *field, int k) {
  char text[REPORT_TEXT];
  report_print(sink, ",%s.%s", field->section, field->name);
  switch (field->kind) {
    case REPORT_INTERVAL:
      report_put(sink, k ? ".hi" : ".lo");
      break;
    case REPORT_QUANTILES:
      report_print(sink, ".%s", report_real(text, actscope_quantile_levels[k]));
      break;
    case REPORT_ABOVE:
      report_print(sink, ".%s", report_real(text, actscope_pair_thresholds[k]));
      break;
    case REPORT_HISTOGRAM:
      report_print(sink, ".%d", k);
      break;
    default:
      break;
  }
}

static void put_value(report_sink *sink, const report_field *field, const void *value, int k) {
  const char *method = report_method(field->kind, value);
  switch (field->kind) {
    case REPORT_COUNT:
    case REPORT_HISTOGRAM:
      put_count(sink, ((const uint64_t *)value)[k]);
      break;
    case REPORT_DISTINCT_METHOD:
    case REPORT_CORRELATION_METHOD:
      report_put(sink, method ? method : "");
      break;
    default:
      put_real(sink, ((const double *)value)[k]);
      break;
  }
}

/* The names of all compat scores, in the order in which the layers bring them. */
static int compat_names(const report_document *document, const char *names[COMPAT_MAX]) {
  int count = 0;
  for (size_t i = 0; document->compat && i < document->count; i++) {
    const report_compat *compat = &document->layers[i].compat;
    for (int k = 0; k < compat->count && k < COMPAT_MAX; k++) {
      int known = 0;
      while (known < count && strcmp(names[known], compat->name[k]) != 0) known++;
      if (known == count && count < COMPAT_MAX) names[count++] = compat->name[k];
    }
  }
  return count;
}

int report_write_csv(report_sink *sink, const report_document *document) {
  const char *names[COMPAT_MAX];
  int compat = compat_names(document, names);
  const actscope_bottleneck **scores = report_scores(document);
  if (!scores) return -1;

  report_put(sink, "name,source,dtype,shape,samples,features,seconds,score,reasons,warnings");
  for (size_t f = 0; f < report_field_count; f++)
    for (int k = 0; k < columns_of(report_fields[f].kind); k++) put_header(sink, &report_fields[f], k);
  report_put(sink, ",role");
  for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) report_print(sink, ",network.%s", actscope_score_name(k));
  for (int k = 0; k < compat; k++) {
    char head[REPORT_SENTENCE];
    snprintf(head, sizeof head, "compat.%s", names[k]);
    report_put(sink, ",");
    if (put_clean(sink, head) != 0) goto memory;
  }
  report_put(sink, "\n");

  for (size_t i = 0; i < document->count && !sink->error; i++) {
    const report_layer *layer = &document->layers[i];
    const actscope_layer_report *report = &layer->report;
    char shape[REPORT_SHAPE], sentences[REPORT_SENTENCES];
    if (!report_has_numbers(layer)) continue;
    if (put_clean(sink, layer->name) != 0) goto memory;
    report_put(sink, ",");
    if (put_clean(sink, layer->source) != 0) goto memory;
    report_print(sink, ",%s,%s,", actscope_dtype_name(report->dtype),
                 layer->ndim ? report_shape(shape, sizeof shape, layer, "x") : "");
    put_count(sink, report->samples), report_put(sink, ",");
    put_count(sink, report->features), report_put(sink, ",");
    put_real(sink, report->seconds), report_put(sink, ",");
    if (scores[i]) put_real(sink, scores[i]->score);
    report_put(sink, ",");
    if (scores[i] && put_clean(sink, report_reasons(sentences, scores[i], layer)) != 0) goto memory;
    report_put(sink, ",");
    if (put_clean(sink, report_warnings(sentences, layer)) != 0) goto memory;
    for (size_t f = 0; f < report_field_count; f++) {
      const void *value = report_value(document, layer, &report_fields[f]);
      for (int k = 0; k < columns_of(report_fields[f].kind); k++) {
        report_put(sink, ",");
        if (value) put_value(sink, &report_fields[f], value, k);
      }
    }
    report_print(sink, ",%s", report_role(layer->role) ? report_role(layer->role) : "");
    const actscope_network_scores *network = NULL;
    for (size_t k = 0; document->scores && k < document->scored; k++)
      if (document->scores[k].layer == i) network = &document->scores[k];
    for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) {
      report_put(sink, ",");
      if (network) put_real(sink, network->score[k]);
    }
    for (int k = 0; k < compat; k++) {
      report_put(sink, ",");
      for (int c = 0; c < layer->compat.count && c < COMPAT_MAX; c++)
        if (strcmp(layer->compat.name[c], names[k]) == 0) put_real(sink, layer->compat.value[c]);
    }
    report_put(sink, "\n");
  }
  free(scores);
  return 0;

memory:
  free(scores);
  errno = ENOMEM;
  return -1;
}
