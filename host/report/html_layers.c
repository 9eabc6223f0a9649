/* html_layers.c - the part of the page that goes layer by layer: a layer's warnings, figures, and every number of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/fields.h"
#include "report/html.h"

#define OPEN_LAYERS 3
#define HAS(layer, bits) ((layer)->report.statistics & (bits))

/* 1048576 as "1 048 576", with narrow spaces that do not break. */
static void put_grouped(report_sink *sink, uint64_t count) {
  char digits[24];
  int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
  for (int i = 0; i < length; i++) {
    if (i && (length - i) % 3 == 0) report_put(sink, "\xe2\x80\xaf");
    report_print(sink, "%c", digits[i]);
  }
}

static void put_precise(report_sink *sink, double value) {
  if (isfinite(value)) {
    report_print(sink, "%.6g", value);
  } else {
    report_put(sink, "-");
  }
}

static void put_entry(report_sink *sink, const char *name, const char *suffix) {
  report_put(sink, "<dt>");
  for (; *name; name++) report_print(sink, "%c", *name == '_' ? ' ' : *name);
  report_print(sink, "%s</dt><dd>", suffix);
}

/* One number as a row of its section's list. */
static void put_field(report_sink *sink, const report_field *field, const void *value) {
  const double *reals = value;
  if (field->kind == REPORT_ASKED && !isfinite(*reals)) return;
  const char *method = report_method(field->kind, value);
  if (field->kind == REPORT_INTERVAL && !(reals[1] > reals[0])) return; /* exact: the mean says it all */
  put_entry(sink, field->name, "");
  switch (field->kind) {
    case REPORT_COUNT:
      put_grouped(sink, *(const uint64_t *)value);
      break;
    case REPORT_INTERVAL:
      put_precise(sink, reals[0]);
      report_put(sink, " to ");
      put_precise(sink, reals[1]);
      break;
    case REPORT_DISTINCT_METHOD:
    case REPORT_CORRELATION_METHOD:
      report_put(sink, method ? method : "-");
      break;
    default:
      put_precise(sink, *reals);
      break;
  }
  report_put(sink, "</dd>");
}

/* A field of several numbers as a list of its own. */
static void put_list(report_sink *sink, const char *title, const char *name, const double *levels, const double *values,
                     int n) {
  char suffix[REPORT_TEXT + 1], level[REPORT_TEXT];
  report_print(sink, "<div><h3>%s</h3><dl>", title);
  for (int i = 0; i < n; i++) {
    snprintf(suffix, sizeof suffix, " %s", report_real(level, levels[i]));
    put_entry(sink, name, suffix);
    put_precise(sink, values[i]);
    report_put(sink, "</dd>");
  }
  report_put(sink, "</dl></div>\n");
}

static int is_list(report_kind kind) {
  return kind == REPORT_QUANTILES || kind == REPORT_BUCKETS || kind == REPORT_ABOVE || kind == REPORT_HISTOGRAM;
}

static void put_numbers(report_sink *sink, const report_document *document, const report_layer *layer) {
  const void *value;
  report_put(sink, "<div class=\"numbers\">\n");
  for (size_t f = 0; f < report_field_count;) {
    const report_field *first = &report_fields[f];
    int there = HAS(layer, first->any) != 0;
    if (there) report_print(sink, "<div><h3>%s</h3><dl>", first->section);
    for (; f < report_field_count && strcmp(report_fields[f].section, first->section) == 0; f++)
      if (there && (value = report_value(document, layer, &report_fields[f])) && !is_list(report_fields[f].kind))
        put_field(sink, &report_fields[f], value);
    if (there) report_put(sink, "</dl></div>\n");
  }
  for (size_t f = 0; f < report_field_count; f++) {
    value = HAS(layer, report_fields[f].any) ? report_value(document, layer, &report_fields[f]) : NULL;
    if (value && report_fields[f].kind == REPORT_QUANTILES)
      put_list(sink, "quantiles", "", actscope_quantile_levels, value, ACTSCOPE_QUANTILE_COUNT);
    if (value && report_fields[f].kind == REPORT_ABOVE)
      put_list(sink, "share of pairs with |r|", "above", actscope_pair_thresholds, value, ACTSCOPE_THRESHOLD_COUNT);
  }
  if (document->compat && layer->compat.count) {
    report_put(sink, "<div><h3>by the formulas of neuroexapt</h3><dl>");
    for (int i = 0; i < layer->compat.count && i < COMPAT_MAX; i++) {
      report_put(sink, "<dt>");
      for (const char *c = layer->compat.name[i], *end; *c; c = end) { /* words that a line can be broken between */
        char word[REPORT_SENTENCE];
        end = c + strcspn(c, "_");
        snprintf(word, sizeof word, "%.*s", (int)(end - c), c);
        report_html_text(sink, word);
        if (*end) report_put(sink, " "), end++;
      }
      report_put(sink, "</dt><dd>");
      put_precise(sink, layer->compat.value[i]);
      report_put(sink, "</dd>");
    }
    report_put(sink, "</dl></div>\n");
  }
  report_put(sink, "</div>\n");
}

static void put_layer(report_sink *sink, const report_document *document, size_t index, const actscope_bottleneck *entry,
                      int open) {
  const report_layer *layer = &document->layers[index];
  char shape[REPORT_SHAPE], text[REPORT_TEXT], sentence[REPORT_SENTENCE];
  int warned = 0, marked = (entry && entry->reasons) || (layer->warnings ? *layer->warnings != NULL : layer->report.warnings != 0);
  report_print(sink, "<details id=\"layer-%zu\"%s%s><summary><b>", index, marked ? " data-why" : "", open ? " open" : "");
  report_html_name(sink, layer, 0);
  report_print(sink, "</b><span class=\"soft\">%s %s", report_shape(shape, sizeof shape, layer, "\xc3\x97"),
               actscope_dtype_name(layer->report.dtype));
  if (entry) report_print(sink, ", score %.2f", entry->score);
  if (isfinite(layer->report.seconds)) report_print(sink, ", %s", report_seconds(text, layer->report.seconds));
  if (layer->source) report_put(sink, ", "), report_html_text(sink, layer->source);
  report_put(sink, "</span></summary>\n");
  for (int bit = 0; layer->warnings ? layer->warnings[bit] != NULL : bit < ACTSCOPE_WARN_COUNT; bit++) {
    if (!layer->warnings && !actscope_warning_text(&layer->report, bit, sentence, sizeof sentence)) continue;
    report_put(sink, warned++ ? "<li>" : "<ul class=\"warn\"><li>");
    report_html_text(sink, layer->warnings ? layer->warnings[bit] : sentence);
    report_put(sink, "</li>");
  }
  if (warned) report_put(sink, "</ul>\n");
  if (document->run) report_html_run_layer(sink, document, index);
  report_put(sink, "<div class=\"figures\">\n");
  if (HAS(layer, ACTSCOPE_CORRELATION))
    report_svg_histogram(sink, layer, index, document->count < REPORT_HTML_MANY);
  report_put(sink, "<div>");
  if (HAS(layer, ACTSCOPE_MOMENTS) && HAS(layer, ACTSCOPE_QUANTILES)) report_svg_values(sink, layer, index);
  if (HAS(layer, ACTSCOPE_MOMENTS) && HAS(layer, ACTSCOPE_QUANTILES))
    report_svg_buckets(sink, layer, index, document->count < REPORT_HTML_MANY);
  if (HAS(layer, ACTSCOPE_HEALTH)) report_svg_features(sink, layer, index);
  report_put(sink, "</div></div>\n");
  report_html_lists(sink, document, layer);
  put_numbers(sink, document, layer);
  report_put(sink, "</details>\n");
}

void report_html_layers(report_sink *sink, const report_document *document, const actscope_bottleneck **scores) {
  report_put(sink,
             "<section aria-labelledby=\"each\">\n<h2 id=\"each\">Layer by layer</h2>\n"
             "<p class=\"soft\">In the order of the network; the most constrained are open.</p>\n");
  for (size_t i = 0; i < document->count && !sink->error; i++) {
    int open = 0;
    if (!report_has_numbers(&document->layers[i])) continue;
    for (size_t k = 0; document->ranking && k < document->count && k < OPEN_LAYERS; k++)
      open |= document->ranking[k].layer == i && report_has_score(document, &document->ranking[k]);
    put_layer(sink, document, i, scores[i], open);
  }
  report_put(sink, "</section>\n");
}
