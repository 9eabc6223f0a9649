/* table.c - what a person sees: the answer first (what was read, which layers constrain the network and why), then a
 * row a layer, then what was asked for beside, then the warnings. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/format.h"
#include "report/table.h"

#define DEFAULT_WIDTH 120
#define NARROWEST 40
#define RANKING_ROWS 5
#define WARNING_ROWS 4 /* of one kind, before the rest is counted */

void table_put_wrapped(const page *p, const char *text, int indent) {
  int column = indent;
  char piece[REPORT_PIECE];
  while (*text) {
    int columns = 0, width;
    for (const char *word = text; *word && *word != ' ' && (width = report_piece(&word, piece)) >= 0;) columns += width;
    if (column > indent && column + 1 + columns > p->width) {
      report_print(p->sink, "\n%*s", indent, "");
      column = indent;
    }
    if (column > indent) report_put(p->sink, " "), column++;
    while (*text && *text != ' ' && (width = report_piece(&text, piece)) >= 0) {
      if (column > indent && column + width > p->width) {
        report_print(p->sink, "\n%*s", indent, "");
        column = indent;
      }
      report_put(p->sink, piece);
      column += width;
    }
    text += strspn(text, " ");
  }
  report_put(p->sink, "\n");
}

static void put_in(const page *p, const char *code, const char *text) {
  if (p->colour) report_put(p->sink, code);
  table_put_wrapped(p, text, 0);
  if (p->colour) report_put(p->sink, "\033[0m");
}

void table_put_heading(const page *p, const char *text) {
  report_put(p->sink, "\n");
  put_in(p, "\033[1m", text);
}

void table_put_dim(const page *p, const char *text) { put_in(p, "\033[2m", text); }

void table_put_source(const page *p, const report_layer *layer, const char **source) {
  char label[1024];
  if (!layer->source || (*source && strcmp(*source, layer->source) == 0)) return;
  *source = layer->source;
  if (!report_several_sources(p->document)) return;
  report_fit(label, sizeof label, layer->source, p->width - 1);
  painted(p, DIM, label);
  painted(p, DIM, ":\n");
}

static size_t put_summary(const page *p) {
  const report_document *document = p->document;
  char number[REPORT_TEXT], more[REPORT_TEXT], line[512];
  size_t layers = 0, broken = 0;
  uint64_t elements = 0;
  const char *dtype = NULL;
  int same = 1;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    if (!report_has_numbers(layer)) {
      broken++;
      continue;
    }
    layers++;
    elements += layer->report.elements;
    const char *own = actscope_dtype_name(layer->report.dtype);
    if (dtype && strcmp(dtype, own) != 0) same = 0;
    dtype = own;
  }
  painted(p, BOLD, "actscope ");
  painted(p, BOLD, actscope_version());
  report_put(p->sink, "  ");
  const char *device = document->device ? document->device : "";
  snprintf(line, sizeof line, "%zu layer%s, %s%s%s element%s, on %s%s%s", layers, layers == 1 ? "" : "s",
           report_count(number, elements), dtype ? " " : "",
           !dtype ? ""
           : same ? dtype
                  : "mixed-type",
           elements == 1 ? "" : "s", document->backend ? document->backend : "?", *device ? ": " : "", device);
  table_put_wrapped(p, line, (int)strlen("actscope   ") + report_columns(actscope_version()));
  char cap[REPORT_TEXT];
  snprintf(line, sizeof line, "%s, %s of working memory (cap %s)", report_seconds(number, document->seconds),
           report_bytes(more, document->workspace_bytes), report_bytes(cap, document->budget_bytes));
  table_put_wrapped(p, line, 0);
  if (broken) {
    snprintf(line, sizeof line, "%zu layer%s left out: no numbers, see the messages on standard error", broken,
             broken == 1 ? " is" : "s are");
    table_put_wrapped(p, line, 0);
  }
  return layers;
}

/* Ten blocks, in eighths: a score as a bar. */
static void bar(char out[40], double score) {
  static const char *const eighths[] = {"",
                                        "\xe2\x96\x8f",
                                        "\xe2\x96\x8e",
                                        "\xe2\x96\x8d",
                                        "\xe2\x96\x8c",
                                        "\xe2\x96\x8b",
                                        "\xe2\x96\x8a",
                                        "\xe2\x96\x89"};
  int left = (int)(fmin(fmax(score, 0), 1) * 80 + 0.5), used = 0;
  char *to = out;
  for (; left >= 8; left -= 8, used++) to = stpcpy(to, "\xe2\x96\x88");
  if (left) to = stpcpy(to, eighths[left]), used++;
  while (used++ < 10) to = stpcpy(to, " ");
}

/* The layers that have a reason, with the reasons in words. */
static void put_ranking(const page *p) {
  const report_document *document = p->document;
  size_t scored = 0, with_reason = 0;
  int name = 0;
  if (!document->ranking) return;
  for (size_t i = 0; i < document->count; i++) {
    const actscope_bottleneck *entry = &document->ranking[i];
    if (!report_has_score(document, entry)) continue;
    scored++;
    if (!entry->reasons || with_reason++ >= RANKING_ROWS) continue;
    int columns = report_columns(name_of(&document->layers[entry->layer]));
    if (columns > name) name = columns;
  }
  if (!scored) return;
  if (!with_reason) {
    table_put_heading(p, "No layer stands out as a bottleneck.");
    return;
  }
  int bars = p->width >= 100;
  int most = p->width >= 100 ? 32 : p->width / 4;
  if (name > most) name = most;
  table_put_heading(p, "Most constrained layers (score: 0 to 1)");
  size_t row = 0;
  for (size_t i = 0; i < document->count && row < RANKING_ROWS; i++) {
    const actscope_bottleneck *entry = &document->ranking[i];
    if (!report_has_score(document, entry) || !entry->reasons) continue;
    const report_layer *layer = &document->layers[entry->layer];
    char score[REPORT_TEXT], blocks[40], label[256], sentences[REPORT_SENTENCES];
    paint ink = entry->score >= 0.5 ? RED : entry->score >= 0.25 ? YELLOW : PLAIN;
    report_print(p->sink, "%3zu  ", ++row);
    snprintf(score, sizeof score, "%.2f", entry->score);
    painted(p, ink, score);
    report_put(p->sink, "  ");
    if (bars) {
      bar(blocks, entry->score);
      painted(p, ink, blocks);
      report_put(p->sink, "  ");
    }
    report_fit_name(label, sizeof label, name_of(layer), name);
    painted(p, BOLD, label);
    pad(p->sink, name - report_columns(label) + 2);
    report_reasons(sentences, entry, layer);
    size_t length = strlen(sentences);
    short_source(document, layer, sentences + length, sizeof sentences - length);
    table_put_wrapped(p, sentences, 3 + 2 + 4 + 2 + (bars ? 12 : 0) + name + 2);
  }
  if (with_reason > row) report_print(p->sink, "     and %zu more with a reason\n", with_reason - row);
}

/* The two layers that are most alike. */
static void put_cka(const page *p) {
  const report_document *document = p->document;
  const report_layer *best[2];
  double most;
  char labels[2][256], line[640], value[REPORT_TEXT];
  report_put(p->sink, "\n");
  if (!report_most_alike(document, best, &most)) {
    table_put_wrapped(p, "CKA: no two layers can be compared.", 0);
    return;
  }
  for (int k = 0; k < 2; k++) {
    char source[256];
    report_fit_name(labels[k], sizeof labels[k] / 2, name_of(best[k]), 32);
    short_source(document, best[k], source, sizeof source / 2);
    strcat(labels[k], source);
  }
  snprintf(value, sizeof value, "%.2f", most);
  snprintf(line, sizeof line, "Most alike by CKA (1: the same up to rotation and scale): %s and %s, %s", labels[0], labels[1], value);
  table_put_wrapped(p, line, 0);
}

static void put_warnings(const page *p) {
  const report_document *document = p->document;
  int any = 0;
  for (int bit = 0; bit < ACTSCOPE_WARN_COUNT; bit++) {
    size_t seen = 0;
    for (size_t i = 0; i < document->count && !p->sink->error; i++) {
      const report_layer *layer = &document->layers[i];
      char label[256], sentence[REPORT_SENTENCE];
      if (!report_has_numbers(layer) || !actscope_warning_text(&layer->report, bit, sentence, sizeof sentence))
        continue;
      if (seen++ >= WARNING_ROWS) continue;
      if (!any++) table_put_heading(p, "Warnings");
      report_fit_name(label, sizeof label, name_of(layer), p->width / 3);
      report_put(p->sink, "  ");
      painted(p, YELLOW, label);
      report_put(p->sink, ": ");
      size_t length = strlen(sentence);
      short_source(document, layer, sentence + length, sizeof sentence - length);
      table_put_wrapped(p, sentence, 4 + report_columns(label));
    }
    if (seen > WARNING_ROWS) report_print(p->sink, "  and %zu more layers with this warning\n", seen - WARNING_ROWS);
  }
}

static page page_of(report_sink *sink, const report_document *document, int colour, int width) {
  return (page){sink, document, colour, width <= 0 ? DEFAULT_WIDTH : width < NARROWEST ? NARROWEST : width};
}

void report_write_rows(report_sink *sink, const report_document *document, int colour, int width) {
  page p = page_of(sink, document, colour, width);
  table_put_rows(&p);
}

int report_write_table(report_sink *sink, const report_document *document, int colour, int width) {
  page p = page_of(sink, document, colour, width);
  if (put_summary(&p) == 0) return 0;
  put_ranking(&p);
  table_put_rows(&p);
  table_put_legend(&p);
  table_put_scores(&p);
  if (document->cka) put_cka(&p);
  table_put_lists(&p);
  if (document->compat) table_put_compat(&p);
  put_warnings(&p);
  return 0;
}
