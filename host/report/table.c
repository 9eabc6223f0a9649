/* table.c - what a person sees: the answer first (what was read, which layers constrain the network and why), then a
 * row a layer, then the warnings.
 *
 * The rows fit the terminal: layer names are shortened in the middle, and when that is not enough the columns that say
 * least are left out. The cells are made twice, once to measure and once to print, so nothing is kept in memory. */
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

/* Text of any origin in words, broken at blanks (and within a word that is longer than a line) so that no line passes
 * the width; the cursor is at column `indent`. */
static void wrapped(const page *p, const char *text, int indent) {
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

/* ---- Columns --------------------------------------------------------------------------------------------------------
 * A cell is at most REPORT_TEXT bytes; "-" is a number that does not exist, "" a statistic that was not measured. */

#define HAS(layer, bits) ((layer)->report.statistics & (bits))
typedef paint cell(char *text, const report_layer *layer);

static paint cell_type(char *text, const report_layer *layer) {
  static const char *const names[] = {"f32", "f16", "bf16", "e4m3", "e5m2", "f64"};
  unsigned dtype = (unsigned)layer->report.dtype;
  strcpy(text, dtype < sizeof names / sizeof *names ? names[dtype] : "?");
  return PLAIN;
}

static paint cell_shape(char *text, const report_layer *layer) {
  char shape[REPORT_SHAPE];
  report_shape(shape, sizeof shape, layer, "\xc3\x97");
  report_fit(text, REPORT_TEXT, shape, 19);
  return PLAIN;
}

static paint cell_mean(char *text, const report_layer *layer) {
  if (HAS(layer, ACTSCOPE_MOMENTS)) report_number(text, layer->report.profile.mean);
  return PLAIN;
}

static paint cell_std(char *text, const report_layer *layer) {
  if (HAS(layer, ACTSCOPE_MOMENTS)) report_number(text, layer->report.profile.std);
  return layer->report.profile.std == 0 ? YELLOW : PLAIN;
}

static paint cell_range(char *text, const report_layer *layer) {
  char low[REPORT_TEXT], high[REPORT_TEXT];
  const actscope_profile *profile = &layer->report.profile;
  if (!HAS(layer, ACTSCOPE_MOMENTS)) return PLAIN;
  if (isnan(profile->min)) {
    strcpy(text, "-");
  } else {
    snprintf(text, REPORT_TEXT, "%.20s..%.20s", report_number(low, profile->min), report_number(high, profile->max));
  }
  return PLAIN;
}

static paint share_of(char *text, uint64_t part, uint64_t whole, paint ink) {
  report_percent(text, whole ? (double)part / (double)whole : NAN);
  return part ? ink : PLAIN;
}

static paint cell_zero(char *text, const report_layer *layer) {
  const actscope_profile *profile = &layer->report.profile;
  return HAS(layer, ACTSCOPE_MOMENTS) ? share_of(text, profile->zero, profile->count, PLAIN) : PLAIN;
}

static paint cell_nonfinite(char *text, const report_layer *layer) {
  const actscope_profile *profile = &layer->report.profile;
  uint64_t bad = profile->nan + profile->positive_inf + profile->negative_inf;
  if (HAS(layer, ACTSCOPE_MOMENTS)) report_count(text, bad);
  return bad ? RED : PLAIN;
}

static paint cell_distinct(char *text, const report_layer *layer) {
  char number[REPORT_TEXT];
  const actscope_distinct *distinct = &layer->report.distinct;
  if (HAS(layer, ACTSCOPE_DISTINCT))
    snprintf(text, REPORT_TEXT, "%s%.40s", distinct->method == ACTSCOPE_DISTINCT_SKETCH ? "\xe2\x89\x88" : "",
             report_count(number, distinct->count));
  return PLAIN;
}

static paint cell_redundancy(char *text, const report_layer *layer) {
  if (HAS(layer, ACTSCOPE_DISTINCT)) report_percent(text, layer->report.distinct.redundancy);
  return PLAIN;
}

static paint cell_dead(char *text, const report_layer *layer) {
  if (HAS(layer, ACTSCOPE_HEALTH)) report_count(text, layer->report.health.dead);
  return layer->report.health.dead ? YELLOW : PLAIN;
}

static paint cell_constant(char *text, const report_layer *layer) {
  if (HAS(layer, ACTSCOPE_HEALTH)) report_count(text, layer->report.health.constant);
  return layer->report.health.constant ? YELLOW : PLAIN;
}

static paint pair_cell(char *text, const report_layer *layer, double value, paint ink) {
  if (HAS(layer, ACTSCOPE_CORRELATION)) report_fixed(text, value);
  return ink;
}

static paint cell_mean_abs(char *text, const report_layer *layer) {
  return pair_cell(text, layer, layer->report.correlation.mean_abs, PLAIN);
}

static paint cell_mean_r(char *text, const report_layer *layer) {
  return pair_cell(text, layer, layer->report.correlation.mean, PLAIN);
}

static paint cell_floor(char *text, const report_layer *layer) {
  return pair_cell(text, layer, layer->report.correlation.noise_floor, DIM);
}

static paint cell_adjusted(char *text, const report_layer *layer) {
  double value = layer->report.correlation.adjusted_rms;
  return pair_cell(text, layer, value, value >= 0.5 ? RED : value >= 0.25 ? YELLOW : PLAIN);
}

static paint cell_max_abs(char *text, const report_layer *layer) {
  return pair_cell(text, layer, layer->report.correlation.max_abs, PLAIN);
}

/* The effective rank beside the most it could be: samples are centred, which takes one dimension. */
static paint cell_rank(char *text, const report_layer *layer) {
  char rank[REPORT_TEXT], most[REPORT_TEXT];
  const actscope_layer_report *report = &layer->report;
  if (!HAS(layer, ACTSCOPE_RANK)) return PLAIN;
  uint64_t limit = report->samples ? report->samples - 1 : 0;
  if (report->features < limit) limit = report->features;
  double value = report->rank.effective_rank;
  if (isfinite(value)) {
    if (value < 9.95) {
      snprintf(rank, sizeof rank, "%.1f", value);
    } else {
      report_count(rank, (uint64_t)(value + 0.5));
    }
    snprintf(text, REPORT_TEXT, "%.20s/%.20s", rank, report_count(most, limit));
  } else {
    strcpy(text, "-");
  }
  return value < 0.25 * (double)limit ? YELLOW : PLAIN;
}

/* In order from left to right. Columns of one group stand closer together; `keep` is the order of importance, 1 first:
 * columns with a large number are left out first. `quiet` columns are shown only where a layer has more than 0. */
typedef struct column {
  const char *head;
  cell *make;
  int group, left, quiet, keep;
  int width, used; /* found by measuring */
} column;

static const column all_columns[] = {
    {"shape", cell_shape, 1, 1, 0, 10, 0, 0},       {"type", cell_type, 2, 1, 0, 15, 0, 0},
    {"mean", cell_mean, 3, 0, 0, 7, 0, 0},          {"std", cell_std, 3, 0, 0, 6, 0, 0},
    {"range", cell_range, 3, 0, 0, 16, 0, 0},       {"zero", cell_zero, 3, 0, 0, 9, 0, 0},
    {"nan/inf", cell_nonfinite, 3, 0, 1, 4, 0, 0},  {"distinct", cell_distinct, 4, 0, 0, 13, 0, 0},
    {"redund.", cell_redundancy, 4, 0, 0, 3, 0, 0}, {"dead", cell_dead, 5, 0, 0, 5, 0, 0},
    {"const.", cell_constant, 5, 0, 0, 14, 0, 0},   {"|r|", cell_mean_abs, 6, 0, 0, 2, 0, 0},
    {"r", cell_mean_r, 6, 0, 0, 17, 0, 0},
    {"floor", cell_floor, 6, 0, 0, 11, 0, 0},       {"adj.", cell_adjusted, 6, 0, 0, 1, 0, 0},
    {"max", cell_max_abs, 6, 0, 0, 12, 0, 0},       {"rank", cell_rank, 7, 0, 0, 8, 0, 0},
};
#define COLUMNS ((int)(sizeof all_columns / sizeof *all_columns))

/* Widths, and which columns say anything at all: not those that are empty or "-" everywhere. Returns the columns the
 * longest name takes. */
static int measure(const page *p, column columns[COLUMNS]) {
  int name = report_columns("layer"), same_type = 1;
  int first = -1;
  for (size_t i = 0; i < p->document->count; i++) {
    const report_layer *layer = &p->document->layers[i];
    if (!report_has_numbers(layer)) continue;
    if (first < 0) first = (int)layer->report.dtype;
    same_type &= first == (int)layer->report.dtype;
    int columns_of_name = report_columns(name_of(layer));
    if (columns_of_name > name) name = columns_of_name;
    for (int c = 0; c < COLUMNS; c++) {
      char text[REPORT_TEXT] = "";
      columns[c].make(text, layer);
      int width = report_columns(text);
      if (width > columns[c].width) columns[c].width = width;
      if (*text && strcmp(text, "-") != 0 && !(columns[c].quiet && strcmp(text, "0") == 0)) columns[c].used = 1;
    }
  }
  for (int c = 0; c < COLUMNS; c++) {
    int head = report_columns(columns[c].head);
    if (columns[c].make == cell_type && same_type) columns[c].used = 0; /* the summary names it */
    if (head > columns[c].width) columns[c].width = head;
  }
  return name;
}

static int total_width(const column columns[COLUMNS], int name, int gap) {
  int total = name;
  int group = 0;
  for (int c = 0; c < COLUMNS; c++) {
    if (!columns[c].used) continue;
    total += columns[c].width + (group == columns[c].group ? gap : 2);
    group = columns[c].group;
  }
  return total;
}

/* One line: the heads of the columns when layer is NULL. The last column is not padded. */
static void put_row(const page *p, const column columns[COLUMNS], int name, int gap, const report_layer *layer) {
  char label[1024];
  int last = -1;
  int group = 0;
  for (int c = 0; c < COLUMNS; c++)
    if (columns[c].used) last = c;
  report_fit(label, sizeof label, layer ? name_of(layer) : "layer", name);
  painted(p, layer ? PLAIN : BOLD, label);
  pad(p->sink, last < 0 ? 0 : name - report_columns(label));
  for (int c = 0; c <= last; c++) {
    char text[REPORT_TEXT] = "";
    if (!columns[c].used) continue;
    paint ink = layer ? columns[c].make(text, layer) : BOLD;
    if (!layer) snprintf(text, sizeof text, "%s", columns[c].head);
    int space = columns[c].width - report_columns(text);
    pad(p->sink, (group == columns[c].group ? gap : 2) + (columns[c].left ? 0 : space));
    painted(p, strcmp(text, "-") == 0 ? DIM : ink, text);
    if (columns[c].left && c != last) pad(p->sink, space);
    group = columns[c].group;
  }
  report_put(p->sink, "\n");
}

/* The file of the rows that follow. */
static void put_source(const page *p, const char *source) {
  char label[1024];
  report_fit(label, sizeof label, source, p->width - 1);
  painted(p, DIM, label);
  painted(p, DIM, ":\n");
}

static void put_layers(const page *p) {
  column columns[COLUMNS];
  memcpy(columns, all_columns, sizeof columns);
  int natural = measure(p, columns), gap = 2;
  /* A name keeps at least a fifth of the line; before a column goes, the gaps do. */
  int least = p->width / 5 > 16 ? p->width / 5 : 16;
  if (least > natural) least = natural;
  if (total_width(columns, least, gap) > p->width) gap = 1;
  while (total_width(columns, least, gap) > p->width) {
    int worst = -1;
    for (int c = 0; c < COLUMNS; c++)
      if (columns[c].used && (worst < 0 || columns[c].keep > columns[worst].keep)) worst = c;
    if (worst < 0) break;
    columns[worst].used = 0;
  }
  int name = p->width - total_width(columns, 0, gap);
  if (name > natural) name = natural;
  report_put(p->sink, "\n");
  put_row(p, columns, name, gap, NULL);
  int sources = report_several_sources(p->document);
  const char *source = "";
  for (size_t i = 0; i < p->document->count && !p->sink->error; i++) {
    const report_layer *layer = &p->document->layers[i];
    if (!report_has_numbers(layer)) continue;
    if (sources && layer->source && strcmp(source, layer->source) != 0) put_source(p, source = layer->source);
    put_row(p, columns, name, gap, layer);
  }
}

/* ---- Before and after the rows -------------------------------------------------------------------------------------
 */

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
  wrapped(p, line, (int)strlen("actscope   ") + report_columns(actscope_version()));
  char cap[REPORT_TEXT];
  snprintf(line, sizeof line, "%s, %s of working memory (cap %s)", report_seconds(number, document->seconds),
           report_bytes(more, document->workspace_bytes), report_bytes(cap, document->budget_bytes));
  wrapped(p, line, 0);
  if (broken) {
    snprintf(line, sizeof line, "%zu layer%s left out: no numbers, see the messages on standard error", broken,
             broken == 1 ? " is" : "s are");
    wrapped(p, line, 0);
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
    heading(p, "No layer stands out as a bottleneck.");
    return;
  }
  int bars = p->width >= 100;
  int most = p->width >= 100 ? 32 : p->width / 4;
  if (name > most) name = most;
  heading(p, "Most constrained layers (score: 0 to 1)");
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
    report_fit(label, sizeof label, name_of(layer), name);
    painted(p, BOLD, label);
    pad(p->sink, name - report_columns(label) + 2);
    report_reasons(sentences, entry, layer);
    size_t length = strlen(sentences);
    short_source(document, layer, sentences + length, sizeof sentences - length);
    wrapped(p, sentences, 3 + 2 + 4 + 2 + (bars ? 12 : 0) + name + 2);
  }
  if (with_reason > row) report_print(p->sink, "     and %zu more with a reason\n", with_reason - row);
}

/* The two layers that are most alike. */
static void put_cka(const page *p) {
  const report_document *document = p->document;
  const report_layer *best[2] = {NULL, NULL};
  double most = -INFINITY;
  char labels[2][256], line[640], value[REPORT_TEXT];
  for (size_t i = 0; i < document->count; i++)
    for (size_t j = i + 1; j < document->count && report_has_cka(&document->layers[i]); j++) {
      double cka = document->cka[i * document->count + j];
      if (report_has_cka(&document->layers[j]) && cka > most) /* not for NaN */
        most = cka, best[0] = &document->layers[i], best[1] = &document->layers[j];
    }
  report_put(p->sink, "\n");
  if (!best[0]) {
    wrapped(p, "CKA: no two layers can be compared.", 0);
    return;
  }
  for (int k = 0; k < 2; k++) {
    char source[256];
    report_fit(labels[k], sizeof labels[k] / 2, name_of(best[k]), 32);
    short_source(document, best[k], source, sizeof source / 2);
    strcat(labels[k], source);
  }
  snprintf(value, sizeof value, "%.2f", most);
  snprintf(line, sizeof line, "Most alike by CKA (1: the same up to rotation and scale): %s and %s, %s", labels[0], labels[1], value);
  wrapped(p, line, 0);
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
      if (!any++) heading(p, "Warnings");
      report_fit(label, sizeof label, name_of(layer), p->width / 3);
      report_put(p->sink, "  ");
      painted(p, YELLOW, label);
      report_put(p->sink, ": ");
      size_t length = strlen(sentence);
      short_source(document, layer, sentence + length, sizeof sentence - length);
      wrapped(p, sentence, 4 + report_columns(label));
    }
    if (seen > WARNING_ROWS) report_print(p->sink, "  and %zu more layers with this warning\n", seen - WARNING_ROWS);
  }
}

/* The families of scores, a row an activation, when they say more than the ranking: with the reasons that it lacks. */
static void put_scores(const page *p) {
  static const char *const heads[ACTSCOPE_SCORE_COUNT] = {"depth", "width", "flow", "gradient", "capacity"};
  const report_document *document = p->document;
  int name = (int)strlen("layer"), most = p->width >= 100 ? 32 : p->width / 4;
  if (!report_scores_matter(document)) return;
  for (size_t i = 0; i < document->scored; i++) {
    int columns = report_columns(name_of(&document->layers[document->scores[i].layer]));
    if (columns > name) name = columns;
  }
  if (name > most) name = most;
  heading(p, "Network, with gradients and weights where they are given (0 healthy, 1 not)");
  painted(p, BOLD, "layer");
  pad(p->sink, name - (int)strlen("layer"));
  for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) report_put(p->sink, "  "), painted(p, BOLD, heads[k]);
  report_put(p->sink, "\n");
  int sources = report_several_sources(document);
  const char *source = "";
  for (size_t i = 0; i < document->scored && !p->sink->error; i++) {
    const actscope_network_scores *s = &document->scores[i];
    const report_layer *layer = &document->layers[s->layer];
    char label[1024], sentences[REPORT_SENTENCES];
    int column = name;
    if (!report_has_numbers(layer)) continue;
    if (sources && layer->source && strcmp(source, layer->source) != 0) put_source(p, source = layer->source);
    report_fit(label, sizeof label, name_of(layer), name);
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
      wrapped(p, sentences, column + 2);
    } else {
      report_put(p->sink, "\n");
    }
  }
}

/* The other analyser's scores, in columns named after them; a layer without one shows "-". */
static void put_compat(const page *p) {
  const report_document *document = p->document;
  const report_compat *like = NULL;
  int name = (int)strlen("layer");
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    if (!report_has_numbers(layer)) continue;
    if (!like || layer->compat.count > like->count) like = &layer->compat;
    int columns = report_columns(name_of(layer));
    if (columns > name) name = columns;
  }
  if (!like || !like->count) return;
  int total = 0;
  for (int k = 0; k < like->count && k < COMPAT_MAX; k++) {
    int columns = report_columns(like->name[k]);
    total += 2 + (columns > 7 ? columns : 7);
  }
  int most = p->width - total > 16 ? p->width - total : 16;
  if (name > most) name = most;
  heading(p, "Scores by the formulas of neuroexapt (for comparison only)");
  painted(p, BOLD, "layer");
  pad(p->sink, name - (int)strlen("layer"));
  for (int k = 0; k < like->count && k < COMPAT_MAX; k++) {
    int columns = report_columns(like->name[k]);
    pad(p->sink, 2 + (columns > 7 ? 0 : 7 - columns));
    painted(p, BOLD, like->name[k]);
  }
  report_put(p->sink, "\n");
  for (size_t i = 0; i < document->count && !p->sink->error; i++) {
    const report_layer *layer = &document->layers[i];
    char label[1024];
    if (!report_has_numbers(layer)) continue;
    report_fit(label, sizeof label, name_of(layer), name);
    report_put(p->sink, label);
    pad(p->sink, name - report_columns(label));
    for (int k = 0; k < like->count && k < COMPAT_MAX; k++) {
      char number[REPORT_TEXT] = "-";
      int columns = report_columns(like->name[k]);
      for (int c = 0; c < layer->compat.count && c < COMPAT_MAX; c++)
        if (strcmp(layer->compat.name[c], like->name[k]) == 0) report_number(number, layer->compat.value[c]);
      pad(p->sink, 2 + (columns > 7 ? columns : 7) - report_columns(number));
      report_put(p->sink, number);
    }
    report_put(p->sink, "\n");
  }
}

/* Words for the heads of the columns, for who sees them for the first time. */
static void put_legend(const page *p) {
  uint32_t there = 0;
  for (size_t i = 0; i < p->document->count; i++)
    if (report_has_numbers(&p->document->layers[i])) there |= p->document->layers[i].report.statistics;
  if (!(there & (ACTSCOPE_CORRELATION | ACTSCOPE_DISTINCT | ACTSCOPE_RANK))) return;
  report_put(p->sink, "\n");
  if (p->colour) report_put(p->sink, "\033[2m");
  if (there & ACTSCOPE_CORRELATION)
    wrapped(p,
            "|r|: mean over pairs of features; floor: what independent features would show with as few samples; "
            "adj.: root mean square r beyond that floor, 0 for independent features; max: largest |r|.",
            0);
  if (there & ACTSCOPE_DISTINCT)
    wrapped(p, "redund.: share of elements that repeat another value; \xe2\x89\x88: an estimate.", 0);
  if (there & ACTSCOPE_RANK)
    wrapped(p, "rank: effective rank of the correlations, of the most that the samples allow.", 0);
  if (p->colour) report_put(p->sink, "\033[0m");
}

static page page_of(report_sink *sink, const report_document *document, int colour, int width) {
  return (page){sink, document, colour, width <= 0 ? DEFAULT_WIDTH : width < NARROWEST ? NARROWEST : width};
}

void report_write_rows(report_sink *sink, const report_document *document, int colour, int width) {
  page p = page_of(sink, document, colour, width);
  put_layers(&p);
}

int report_write_table(report_sink *sink, const report_document *document, int colour, int width) {
  page p = page_of(sink, document, colour, width);
  if (put_summary(&p) == 0) return 0;
  put_ranking(&p);
  put_layers(&p);
  put_scores(&p);
  table_put_lists(&p);
  if (document->cka) put_cka(&p);
  if (document->compat) put_compat(&p);
  put_legend(&p);
  put_warnings(&p);
  return 0;
}
