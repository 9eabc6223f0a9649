/* table_scores.c - the scores of the network's layers under the rows: the families of ours, and another analyser's. */
#include <math.h>
#include <string.h>

#include "report/table.h"

/* The families of scores, a row an activation, when they say more than the ranking: with the reasons that it lacks. */
void table_put_scores(const page *p) {
  static const char *const heads[ACTSCOPE_SCORE_COUNT] = {"depth", "width", "flow", "gradient", "capacity"};
  const report_document *document = p->document;
  int name = (int)strlen("layer"), most = p->width >= 100 ? 32 : p->width / 4;
  if (!report_scores_matter(document)) return;
  for (size_t i = 0; i < document->scored; i++) {
    int columns = report_columns(name_of(&document->layers[document->scores[i].layer]));
    if (columns > name) name = columns;
  }
  if (name > most) name = most;
  table_put_heading(p, "Network, with gradients and weights where they are given (0 healthy, 1 not)");
  painted(p, BOLD, "layer");
  pad(p->sink, name - (int)strlen("layer"));
  for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) report_put(p->sink, "  "), painted(p, BOLD, heads[k]);
  report_put(p->sink, "\n");
  const char *source = NULL;
  for (size_t i = 0; i < document->scored && !p->sink->error; i++) {
    const actscope_network_scores *s = &document->scores[i];
    const report_layer *layer = &document->layers[s->layer];
    char label[1024], sentences[REPORT_SENTENCES];
    int column = name;
    if (!report_has_numbers(layer)) continue;
    table_put_source(p, layer, &source);
    report_fit_name(label, sizeof label, name_of(layer), name);
    report_put(p->sink, label);
    pad(p->sink, name - report_columns(label));
    for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) {
      char number[REPORT_TEXT] = "-";
      double v = s->score[k];
      int width = (int)strlen(heads[k]);
      if (isfinite(v)) snprintf(number, sizeof number, "%.2f", v);
      pad(p->sink, 2 + width - (int)strlen(number));
      painted(p, !isfinite(v) ? DIM : v >= 0.5 ? RED : v >= 0.25 ? YELLOW : PLAIN, number);
      column += 2 + width;
    }
    if (*report_score_reasons(sentences, document, s)) {
      report_put(p->sink, "  ");
      table_put_wrapped(p, sentences, column + 2);
    } else {
      report_put(p->sink, "\n");
    }
  }
}

/* ---- The other analyser's ------------------------------------------------------------------------------------------ */

static double compat_value(const report_layer *layer, const char *name) {
  for (int c = 0; c < layer->compat.count && c < COMPAT_MAX; c++)
    if (strcmp(layer->compat.name[c], name) == 0) return layer->compat.value[c];
  return NAN;
}

/* A gradient or a weight has no score at all. */
static int has_compat(const report_layer *layer) {
  int any = 0;
  for (int c = 0; report_has_numbers(layer) && c < layer->compat.count && c < COMPAT_MAX; c++)
    any |= isfinite(layer->compat.value[c]) != 0;
  return any;
}

static int compat_width(const char *head) { return report_columns(head) > 7 ? report_columns(head) : 7; }

/* The scores from `first` to before `end`, a row a layer. */
static void put_compat_block(const page *p, const report_compat *like, int first, int end, int name) {
  painted(p, BOLD, "layer");
  pad(p->sink, name - (int)strlen("layer"));
  for (int k = first; k < end; k++) {
    pad(p->sink, 2 + compat_width(like->name[k]) - report_columns(like->name[k]));
    painted(p, BOLD, like->name[k]);
  }
  report_put(p->sink, "\n");
  const char *source = NULL;
  for (size_t i = 0; i < p->document->count && !p->sink->error; i++) {
    const report_layer *layer = &p->document->layers[i];
    char label[1024], number[REPORT_TEXT];
    if (!has_compat(layer)) continue;
    table_put_source(p, layer, &source);
    report_fit_name(label, sizeof label, name_of(layer), name);
    report_put(p->sink, label);
    pad(p->sink, name - report_columns(label));
    for (int k = first; k < end; k++) {
      report_number(number, compat_value(layer, like->name[k]));
      pad(p->sink, 2 + compat_width(like->name[k]) - report_columns(number));
      report_put(p->sink, number);
    }
    report_put(p->sink, "\n");
  }
}

/* In columns named after them, as many beside each other as the width holds. */
void table_put_compat(const page *p) {
  const report_document *document = p->document;
  const report_compat *like = NULL;
  int name = (int)strlen("layer"), most = p->width >= 100 ? 32 : p->width / 4;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    if (!has_compat(layer)) continue;
    if (!like || layer->compat.count > like->count) like = &layer->compat;
    int columns = report_columns(name_of(layer));
    if (columns > name) name = columns;
  }
  if (!like) return;
  if (name > most) name = most;
  table_put_heading(p, "Scores by the formulas of neuroexapt (for comparison only)");
  int count = like->count < COMPAT_MAX ? like->count : COMPAT_MAX;
  for (int first = 0, end; first < count; first = end) {
    int total = name;
    for (end = first; end < count; end++) {
      total += 2 + compat_width(like->name[end]);
      if (end > first && total > p->width) break;
    }
    if (first) report_put(p->sink, "\n");
    put_compat_block(p, like, first, end, name);
  }
}
