/* table_lists.c - single pairs and features under the table: those with the largest |r|, and those without a pair. */
#include <math.h>
#include <string.h>

#include "report/table.h"

#define NAME_COLUMNS 24

/* The names' width over the layers that have a list. */
static int names_width(const page *p, int features) {
  int most = (int)strlen("layer");
  for (size_t i = 0; i < p->document->count; i++) {
    const report_layer *layer = &p->document->layers[i];
    if (!report_has_numbers(layer) || !(features ? layer->top_features != NULL : layer->top != NULL)) continue;
    int columns = report_columns(name_of(layer));
    if (columns > most) most = columns;
  }
  return most < NAME_COLUMNS ? most : NAME_COLUMNS;
}

/* The layer's name on its first line, blanks on the others. */
static void put_name(const page *p, const report_layer *layer, size_t row, int width) {
  char label[256] = "";
  if (row == 0) report_fit_name(label, sizeof label, name_of(layer), width);
  report_put(p->sink, label);
  pad(p->sink, width - report_columns(label) + 2);
}

static void put_heads(const page *p, const char *title, int name, const char *heads) {
  table_put_heading(p, title);
  painted(p, BOLD, "layer");
  pad(p->sink, name - (int)strlen("layer") + 2);
  painted(p, BOLD, heads);
  report_put(p->sink, "\n");
}

static void put_pairs(const page *p) {
  char a[REPORT_SHAPE], b[REPORT_SHAPE], number[REPORT_TEXT];
  const double limit = p->document->options.pairs_above;
  int any = 0, name = names_width(p, 0), first = (int)strlen("features");
  const char *source = NULL;
  for (size_t i = 0; i < p->document->count; i++) {
    const report_layer *layer = &p->document->layers[i];
    if (!report_has_numbers(layer) || !layer->top) continue;
    any = 1;
    for (size_t k = 0; k < layer->top_count; k++) {
      int columns = report_columns(report_feature_index(a, sizeof a, layer, layer->top[k].i));
      if (columns > first) first = columns;
    }
  }
  if (!any) return;
  put_heads(p, "Pairs of features with the largest |r|", name, "      r  features");
  for (size_t i = 0; i < p->document->count && !p->sink->error; i++) {
    const report_layer *layer = &p->document->layers[i];
    if (!report_has_numbers(layer) || !layer->top) continue;
    table_put_source(p, layer, &source);
    for (size_t k = 0; k < layer->top_count; k++) {
      put_name(p, layer, k, name);
      report_print(p->sink, "%7.4f  ", layer->top[k].r);
      report_put(p->sink, report_feature_index(a, sizeof a, layer, layer->top[k].i));
      pad(p->sink, first - report_columns(a) + 2);
      report_put(p->sink, report_feature_index(b, sizeof b, layer, layer->top[k].j));
      report_put(p->sink, "\n");
    }
    if (layer->top_count == 0 || (limit > 0 && layer->top_above > layer->top_count)) {
      put_name(p, layer, layer->top_count, name);
      if (layer->top_count == 0 && limit > 0) report_print(p->sink, "no pair above %g\n", limit);
      else if (layer->top_count == 0) report_put(p->sink, "no pair\n");
      else
        report_print(p->sink, "and %s more above %g\n", report_count(number, layer->top_above - layer->top_count), limit);
    }
  }
}

static void put_features(const page *p) {
  char text[REPORT_SHAPE];
  int any = 0, name = names_width(p, 1);
  const char *source = NULL;
  for (size_t i = 0; i < p->document->count; i++)
    any |= report_has_numbers(&p->document->layers[i]) && p->document->layers[i].top_features;
  if (!any) return;
  put_heads(p, "Features that are most correlated with the others", name, "mean |r|    max  feature");
  for (size_t i = 0; i < p->document->count && !p->sink->error; i++) {
    const report_layer *layer = &p->document->layers[i];
    if (!report_has_numbers(layer) || !layer->top_features) continue;
    table_put_source(p, layer, &source);
    for (size_t k = 0; k < layer->top_feature_count; k++) {
      const report_feature *f = &layer->top_features[k];
      put_name(p, layer, k, name);
      report_print(p->sink, "%8.3f  %5.3f  %s\n", (double)f->mean_abs, (double)f->max_abs,
                   report_feature_index(text, sizeof text, layer, f->feature));
    }
    char sentence[REPORT_SENTENCE];
    if (*report_pairless(sentence, layer)) {
      put_name(p, layer, layer->top_feature_count, name);
      table_put_wrapped(p, sentence, name + 2);
    }
  }
}

void table_put_lists(const page *p) {
  put_pairs(p);
  put_features(p);
}
