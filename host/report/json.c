/* json.c - the schema actscope-report/1, indented for people (json) or an object a line (jsonl).
 *
 * A layer becomes a cJSON tree, is written and freed before the next: memory does not grow with the number of layers.
 * Every number is a raw item: cJSON's own are doubles, which cannot hold counts above 2^53. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/fields.h"
#include "report/format.h"

#define SCHEMA "actscope-report/1"
#define LINE 100 /* an array of scalars stays on one line up to here */

/* ---- Building ------------------------------------------------------------------------------------------------------
 * Items are built completely, then added to their parent. `failed` is set once memory was short and stays set; NULL
 * items and parents pass through every function, so that `failed` is checked once, at the end. */

typedef struct builder {
  int failed;
} builder;

/* Adds to an object, or to an array when key is NULL. Takes the item over in every case. Every item but a tree's root
 * comes through here, and a root gets members: so this alone sees every allocation that failed. */
static void add(builder *b, cJSON *parent, const char *key, cJSON *item) {
  if (item && parent && (key ? cJSON_AddItemToObject(parent, key, item) : cJSON_AddItemToArray(parent, item))) return;
  b->failed = 1;
  cJSON_Delete(item);
}

static cJSON *text(const char *string) {
  char *clean = report_clean(string);
  cJSON *item = clean ? cJSON_CreateString(clean) : NULL;
  free(clean);
  return item;
}

static cJSON *text_or_null(const char *string) { return string ? text(string) : cJSON_CreateNull(); }

static cJSON *count(uint64_t value) {
  char digits[24];
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
  return cJSON_CreateRaw(digits);
}

static cJSON *real(double value) {
  char digits[REPORT_TEXT];
  return isfinite(value) ? cJSON_CreateRaw(report_real(digits, value)) : cJSON_CreateNull();
}

static cJSON *reals_by_level(builder *b, const double *levels, const double *values, int n) {
  cJSON *item = cJSON_CreateObject();
  char key[REPORT_TEXT];
  for (int i = 0; i < n; i++) add(b, item, report_real(key, levels[i]), real(values[i]));
  return item;
}

/* From the first bucket that holds a value to the last; the first is numbered from that of the zeros. */
static cJSON *buckets_of(builder *b, const uint64_t *buckets) {
  cJSON *item = cJSON_CreateObject(), *counts = cJSON_CreateArray();
  int first = 0, last = ACTSCOPE_VALUE_BUCKETS - 1;
  while (first <= last && !buckets[first]) first++;
  while (last > first && !buckets[last]) last--;
  add(b, item, "first", cJSON_CreateNumber(first <= last ? first - ACTSCOPE_VALUE_BUCKETS / 2 : 0));
  for (int i = first; i <= last; i++) add(b, counts, NULL, count(buckets[i]));
  add(b, item, "counts", counts);
  return item;
}

static cJSON *field(builder *b, report_kind kind, const void *value) {
  const double *reals = value;
  cJSON *item;
  if (!value) return cJSON_CreateNull();
  switch (kind) {
    case REPORT_COUNT:
      return count(*(const uint64_t *)value);
    case REPORT_REAL:
    case REPORT_ASKED:
      return real(*reals);
    case REPORT_DISTINCT_METHOD:
    case REPORT_CORRELATION_METHOD:
      return text_or_null(report_method(kind, value));
    case REPORT_QUANTILES:
      return reals_by_level(b, actscope_quantile_levels, reals, ACTSCOPE_QUANTILE_COUNT);
    case REPORT_BUCKETS:
      return buckets_of(b, value);
    case REPORT_ABOVE:
      return reals_by_level(b, actscope_pair_thresholds, reals, ACTSCOPE_THRESHOLD_COUNT);
    case REPORT_INTERVAL:
      item = cJSON_CreateArray();
      for (int i = 0; i < 2; i++) add(b, item, NULL, real(reals[i]));
      return item;
    case REPORT_HISTOGRAM:
      item = cJSON_CreateArray();
      for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++) add(b, item, NULL, count(((const uint64_t *)value)[i]));
      return item;
  }
  return cJSON_CreateNull();
}

static cJSON *warnings_of(builder *b, const report_layer *layer) {
  cJSON *item = cJSON_CreateArray();
  char sentence[REPORT_SENTENCE];
  for (int bit = 0; bit < ACTSCOPE_WARN_COUNT; bit++)
    if (actscope_warning_text(&layer->report, bit, sentence, sizeof sentence)) add(b, item, NULL, text(sentence));
  return item;
}

/* Single pairs and features, where they were asked for, added to the section of correlations. */
static void add_lists(builder *b, cJSON *section, const report_document *document, const report_layer *layer) {
  if (layer->top) {
    cJSON *list = cJSON_CreateArray();
    for (size_t k = 0; k < layer->top_count; k++) {
      cJSON *pair = cJSON_CreateObject();
      add(b, pair, "i", count(layer->top[k].i));
      add(b, pair, "j", count(layer->top[k].j));
      add(b, pair, "r", real(layer->top[k].r));
      add(b, list, NULL, pair);
    }
    add(b, section, "top_pairs", list);
    if (document->options.pairs_above > 0) add(b, section, "pairs_above", count(layer->top_above));
  }
  if (layer->top_features) {
    cJSON *list = cJSON_CreateArray();
    for (size_t k = 0; k < layer->top_feature_count; k++) {
      cJSON *feature = cJSON_CreateObject();
      add(b, feature, "feature", count(layer->top_features[k].feature));
      add(b, feature, "mean_abs", real((double)layer->top_features[k].mean_abs));
      add(b, feature, "max_abs", real((double)layer->top_features[k].max_abs));
      add(b, list, NULL, feature);
    }
    add(b, section, "top_features", list);
    cJSON *pairless = cJSON_CreateObject(), *first = cJSON_CreateArray();
    for (uint64_t k = 0; k < layer->pairless_count && k < REPORT_PAIRLESS; k++) add(b, first, NULL, count(layer->pairless[k]));
    add(b, pairless, "count", count(layer->pairless_count));
    add(b, pairless, "first", first);
    add(b, section, "pairless_features", pairless);
  }
}

/* The members of one layer, added to `item`. */
static void add_layer(builder *b, cJSON *item, const report_document *document, const report_layer *layer) {
  const actscope_layer_report *report = &layer->report;
  add(b, item, "name", text(layer->name));
  add(b, item, "source", text(layer->source));
  add(b, item, "role", text_or_null(report_role(layer->role)));
  add(b, item, "dtype", text(actscope_dtype_name(report->dtype)));
  cJSON *shape = cJSON_CreateArray();
  for (int i = 0; i < layer->ndim && i < ACTSCOPE_MAX_DIMS; i++) add(b, shape, NULL, count((uint64_t)layer->shape[i]));
  add(b, item, "shape", shape);
  add(b, item, "samples", count(report->samples));
  add(b, item, "features", count(report->features));
  add(b, item, "seconds", real(report->seconds));
  add(b, item, "warnings", warnings_of(b, layer));
  for (size_t f = 0; f < report_field_count;) {
    const report_field *first = &report_fields[f];
    int there = (report->statistics & first->any) != 0;
    cJSON *section = there ? cJSON_CreateObject() : NULL;
    for (; f < report_field_count && strcmp(report_fields[f].section, first->section) == 0; f++)
      if (there)
        add(b, section, report_fields[f].name,
            field(b, report_fields[f].kind, report_value(document, layer, &report_fields[f])));
    if (there && strcmp(first->section, "correlation") == 0) add_lists(b, section, document, layer);
    if (there) add(b, item, first->section, section);
  }
  if (document->compat) {
    cJSON *compat = cJSON_CreateObject();
    for (int i = 0; i < layer->compat.count && i < COMPAT_MAX; i++)
      add(b, compat, layer->compat.name[i], real(layer->compat.value[i]));
    add(b, item, "compat", compat);
  }
}

static cJSON *options_of(builder *b, const actscope_options *options) {
  char device[32];
  cJSON *item = cJSON_CreateObject(), *list = cJSON_CreateArray();
  if (options->device == ACTSCOPE_DEVICE_CUDA) {
    snprintf(device, sizeof device, "cuda:%d", (int)options->device_index);
  } else {
    strcpy(device, options->device == ACTSCOPE_DEVICE_CPU ? "cpu" : "auto");
  }
  for (size_t i = 0; i < report_statistic_count; i++)
    if (options->statistics & report_statistics[i].bits) add(b, list, NULL, text(report_statistics[i].name));
  add(b, item, "device", text(device));
  add(b, item, "memory", count(options->memory_budget));
  add(b, item, "statistics", list);
  add(b, item, "correlation", text_or_null(report_correlation_method(options->correlation)));
  add(b, item, "pairs", count(options->pairs));
  add(b, item, "seed", count(options->seed));
  add(b, item, "precision", text(options->precision == ACTSCOPE_PRECISION_FP16 ? "fp16" : "fp32"));
  add(b, item, "distinct", text_or_null(report_distinct_method(options->distinct)));
  add(b, item, "sketch_bits", real(options->sketch_bits));
  add(b, item, "channels", cJSON_CreateBool(options->channels != 0));
  add(b, item, "large_tensor", count(options->large_tensor));
  add(b, item, "top_pairs", count((uint64_t)options->top_pairs));
  add(b, item, "pairs_above", real(options->pairs_above));
  add(b, item, "split_half", cJSON_CreateBool((options->pair_functionals & ACTSCOPE_PAIRS_SPLIT_HALF) != 0));
  add(b, item, "null", text(options->pair_functionals & ACTSCOPE_PAIRS_SHIFT ? "shift" : "formula"));
  add(b, item, "signed", cJSON_CreateBool((options->pair_functionals & ACTSCOPE_PAIRS_SIGNED) != 0));
  return item;
}

/* What holds for the document as a whole, added to `item`. */
static void add_head(builder *b, cJSON *item, const report_document *document) {
  add(b, item, "version", text(actscope_version()));
  add(b, item, "backend", text_or_null(document->backend));
  add(b, item, "device", text_or_null(document->device));
  add(b, item, "options", options_of(b, &document->options));
  cJSON *memory = cJSON_CreateObject();
  add(b, memory, "budget_bytes", count(document->budget_bytes));
  add(b, memory, "workspace_bytes", count(document->workspace_bytes));
  add(b, memory, "held_peak_bytes", count(document->memory.held_peak_bytes));
  add(b, memory, "resident_bytes", count(document->memory.resident_bytes));
  add(b, memory, "resident_peak_bytes", count(document->memory.resident_peak_bytes));
  add(b, memory, "device_held_peak_bytes", count(document->memory.device_held_peak_bytes));
  add(b, item, "memory", memory);
  add(b, item, "seconds", real(document->seconds));
}

/* The activations that have numbers, and CKA of each with each. */
static cJSON *cka_of(builder *b, const report_document *document) {
  cJSON *item = cJSON_CreateObject(), *layers = cJSON_CreateArray(), *sources = cJSON_CreateArray();
  cJSON *matrix = cJSON_CreateArray();
  for (size_t i = 0; i < document->count; i++) {
    if (!report_has_cka(&document->layers[i])) continue;
    cJSON *row = cJSON_CreateArray();
    add(b, layers, NULL, text(document->layers[i].name));
    add(b, sources, NULL, text(document->layers[i].source));
    for (size_t j = 0; j < document->count; j++)
      if (report_has_cka(&document->layers[j])) add(b, row, NULL, real(document->cka[i * document->count + j]));
    add(b, matrix, NULL, row);
  }
  add(b, item, "layers", layers);
  add(b, item, "sources", sources);
  add(b, item, "matrix", matrix);
  return item;
}

static void add_network(builder *b, cJSON *item, const report_document *document) {
  cJSON *bottlenecks = cJSON_CreateArray(), *large = cJSON_CreateArray();
  char sentence[REPORT_SENTENCE];
  for (size_t i = 0; document->ranking && i < document->count; i++) {
    const actscope_bottleneck *entry = &document->ranking[i];
    if (!report_has_score(document, entry)) continue;
    const report_layer *layer = &document->layers[entry->layer];
    cJSON *row = cJSON_CreateObject(), *reasons = cJSON_CreateArray();
    for (int bit = 0; bit < ACTSCOPE_REASON_COUNT; bit++)
      if (actscope_reason_text(entry, &layer->report, bit, sentence, sizeof sentence))
        add(b, reasons, NULL, text(sentence));
    add(b, row, "layer", text(layer->name));
    add(b, row, "source", text(layer->source));
    add(b, row, "score", real(entry->score));
    add(b, row, "reasons", reasons);
    add(b, bottlenecks, NULL, row);
  }
  for (size_t i = 0; i < document->count; i++)
    if (report_has_numbers(&document->layers[i]) && document->layers[i].report.warnings & ACTSCOPE_WARN_LARGE_TENSOR)
      add(b, large, NULL, text(document->layers[i].name));
  cJSON *scores = document->scores ? cJSON_CreateArray() : NULL;
  for (size_t i = 0; document->scores && i < document->scored; i++) {
    const actscope_network_scores *s = &document->scores[i];
    cJSON *row = cJSON_CreateObject(), *parts = cJSON_CreateObject(), *reasons = cJSON_CreateArray();
    add(b, row, "layer", text(document->layers[s->layer].name));
    add(b, row, "source", text(document->layers[s->layer].source));
    add(b, row, "gradient", text_or_null(s->gradient == ACTSCOPE_NO_LAYER ? NULL : document->layers[s->gradient].name));
    add(b, row, "weight", text_or_null(s->weight == ACTSCOPE_NO_LAYER ? NULL : document->layers[s->weight].name));
    for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) add(b, row, actscope_score_name(k), real(s->score[k]));
    for (int k = 0; k < ACTSCOPE_INGREDIENT_COUNT; k++)
      add(b, parts, actscope_ingredient_name(k), real(s->ingredient[k]));
    for (int k = 0; k < ACTSCOPE_INGREDIENT_COUNT; k++)
      if (actscope_ingredient_text(s, document->reports, k, sentence, sizeof sentence)) add(b, reasons, NULL, text(sentence));
    add(b, row, "ingredients", parts);
    add(b, row, "reasons", reasons);
    add(b, scores, NULL, row);
  }
  add(b, item, "bottlenecks", bottlenecks);
  if (document->scores) add(b, item, "scores", scores);
  add(b, item, "large_tensors", large);
  if (document->cka) add(b, item, "cka", cka_of(b, document));
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static int is_scalar(const cJSON *item) { return !cJSON_IsArray(item) && !cJSON_IsObject(item); }

/* One item as cJSON prints it, without a line break; -1 when memory is short. */
static int put_plain(report_sink *sink, const cJSON *item) {
  char *line = cJSON_PrintUnformatted(item);
  if (!line) return -1;
  report_put(sink, line);
  cJSON_free(line);
  return 0;
}

/* Scalars, as many on a line as fit. */
static int put_scalars(report_sink *sink, const cJSON *list, int indent) {
  int column = 0, lines = 0;
  size_t total = 0;
  const cJSON *item;
  for (int pass = 0; pass < 2; pass++) {
    cJSON_ArrayForEach(item, list) {
      char *word = cJSON_PrintUnformatted(item);
      if (!word) return -1;
      int length = report_columns(word);
      if (pass == 0) {
        total += (size_t)length + 2;
      } else {
        int fresh = total > LINE && (!lines || column + length + 2 > LINE);
        if (fresh) {
          report_print(sink, "%s\n%*s", lines++ ? "," : "", indent + 2, "");
          column = 0;
        } else if (item != list->child) {
          report_put(sink, ", ");
        }
        report_put(sink, word);
        column += length + 2;
      }
      cJSON_free(word);
    }
    if (pass == 0) report_put(sink, "[");
  }
  if (lines) report_print(sink, "\n%*s", indent, "");
  report_put(sink, "]");
  return 0;
}

static int put_item(report_sink *sink, const cJSON *item, int indent);

static int put_members(report_sink *sink, const cJSON *item, int indent) {
  const cJSON *child;
  cJSON_ArrayForEach(child, item) {
    if (child != item->child) report_put(sink, ",\n");
    report_print(sink, "%*s", indent, "");
    if (cJSON_IsObject(item)) {
      cJSON key = {.type = cJSON_String, .valuestring = child->string};
      if (put_plain(sink, &key) != 0) return -1;
      report_put(sink, ": ");
    }
    if (put_item(sink, child, indent) != 0) return -1;
  }
  return 0;
}

static int put_item(report_sink *sink, const cJSON *item, int indent) {
  if (is_scalar(item) || !item->child) return put_plain(sink, item);
  if (cJSON_IsArray(item)) {
    int scalars = 1;
    const cJSON *child;
    cJSON_ArrayForEach(child, item) scalars &= is_scalar(child);
    if (scalars) return put_scalars(sink, item, indent);
  }
  report_put(sink, cJSON_IsObject(item) ? "{\n" : "[\n");
  if (put_members(sink, item, indent + 2) != 0) return -1;
  report_print(sink, "\n%*s%s", indent, "", cJSON_IsObject(item) ? "}" : "]");
  return 0;
}

/* Hands a finished tree to `put`, unless building it failed, and frees it. */
static int finish(report_sink *sink, builder *b, cJSON *item, int (*put)(report_sink *, const cJSON *, int),
                  int indent) {
  int result = b->failed ? -1 : put(sink, item, indent);
  cJSON_Delete(item);
  if (result != 0) errno = ENOMEM;
  return result;
}

int report_write_json(report_sink *sink, const report_document *document) {
  builder b = {0};
  cJSON *item = cJSON_CreateObject();
  add(&b, item, "schema", text(SCHEMA));
  add_head(&b, item, document);
  report_put(sink, "{\n");
  if (finish(sink, &b, item, put_members, 2) != 0) return -1;

  const char *before = "\n    ";
  report_put(sink, ",\n  \"layers\": [");
  for (size_t i = 0; i < document->count && !sink->error; i++) {
    if (!report_has_numbers(&document->layers[i])) continue;
    item = cJSON_CreateObject();
    add_layer(&b, item, document, &document->layers[i]);
    report_put(sink, before);
    if (finish(sink, &b, item, put_item, 4) != 0) return -1;
    before = ",\n    ";
  }
  report_put(sink, *before == ',' ? "\n  ],\n  \"network\": " : "],\n  \"network\": ");
  item = cJSON_CreateObject();
  add_network(&b, item, document);
  if (finish(sink, &b, item, put_item, 2) != 0) return -1;
  report_put(sink, "\n}\n");
  return 0;
}

static int put_line(report_sink *sink, const cJSON *item, int indent) {
  (void)indent;
  if (put_plain(sink, item) != 0) return -1;
  report_put(sink, "\n");
  return 0;
}

int report_write_jsonl(report_sink *sink, const report_document *document) {
  builder b = {0};
  cJSON *item;
  for (size_t i = 0; i < document->count && !sink->error; i++) {
    if (!report_has_numbers(&document->layers[i])) continue;
    item = cJSON_CreateObject();
    add(&b, item, "schema", text(SCHEMA));
    add(&b, item, "type", text("layer"));
    add_layer(&b, item, document, &document->layers[i]);
    if (finish(sink, &b, item, put_line, 0) != 0) return -1;
  }
  item = cJSON_CreateObject();
  add(&b, item, "schema", text(SCHEMA));
  add(&b, item, "type", text("network"));
  add_head(&b, item, document);
  add_network(&b, item, document);
  return finish(sink, &b, item, put_line, 0);
}
