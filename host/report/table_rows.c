/* table_rows.c - a row a layer, and words for the columns that are there.
 *
 * The rows fit the terminal: layer names are shortened in the middle, and when that is not enough the columns that say
 * least are left out. The cells are made twice, once to measure and once to print, so nothing is kept in memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/table.h"

/* A cell is at most REPORT_TEXT bytes; "-" is a number that does not exist, "" a statistic that was not measured. */

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

static paint cell_split(char *text, const report_layer *layer) {
  return pair_cell(text, layer, layer->report.correlation.split_half, PLAIN);
}

static paint cell_shift(char *text, const report_layer *layer) {
  return pair_cell(text, layer, layer->report.correlation.noise_floor_shift, DIM);
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

static paint cell_cosine(char *text, const report_layer *layer) {
  if (HAS(layer, ACTSCOPE_SIMILARITY)) report_fixed(text, layer->report.similarity.mean_cosine);
  return PLAIN;
}

/* In order from left to right. Columns of one group stand closer together; `keep` is the order of importance, 1 first:
 * columns with a large number are left out first. `quiet` columns are shown only where a layer has more than 0. `means` is for
 * the legend, once for neighbours that share it. */
typedef struct column {
  const char *head;
  cell *make;
  int group, left, quiet, keep;
  const char *means;
  int width, used; /* found by measuring */
} column;

#define FINITE "of the finite elements"
static const column all_columns[] = {
    {"shape", cell_shape, 1, 1, 0, 10, NULL},
    {"type", cell_type, 2, 1, 0, 15, NULL},
    {"mean", cell_mean, 3, 0, 0, 7, FINITE},
    {"std", cell_std, 3, 0, 0, 6, FINITE},
    {"range", cell_range, 3, 0, 0, 16, FINITE},
    {"zero", cell_zero, 3, 0, 0, 9, "share of elements that are 0"},
    {"nan/inf", cell_nonfinite, 3, 0, 1, 4, "elements that are NaN or infinite"},
    {"distinct", cell_distinct, 4, 0, 0, 13, "different values, \xe2\x89\x88 an estimate"},
    {"redund.", cell_redundancy, 4, 0, 0, 3, "share of elements that repeat another value"},
    {"dead", cell_dead, 5, 0, 0, 5, "features that never exceed 1e-6 in absolute value"},
    {"const.", cell_constant, 5, 0, 0, 14, "features that never change"},
    {"|r|", cell_mean_abs, 6, 0, 0, 2, "mean over pairs of features"},
    {"r", cell_mean_r, 6, 0, 0, 4, "mean with its sign"},
    {"floor", cell_floor, 6, 0, 0, 11, "mean |r| that independent features would show with as few samples"},
    {"shift", cell_shift, 6, 0, 0, 4, "mean |r| of the same features with their samples rotated"},
    {"adj.", cell_adjusted, 6, 0, 0, 1, "root mean square r beyond the floor, 0 for independent features"},
    {"max", cell_max_abs, 6, 0, 0, 12, "largest |r|"},
    {"split", cell_split, 6, 0, 0, 4, "do both halves of the samples show the same correlations? 0 noise, 1 yes"},
    {"rank", cell_rank, 7, 0, 0, 8, "effective rank of the correlations, of the most that the samples allow"},
    {"cosine", cell_cosine, 8, 0, 0, 17, "mean cosine between samples"},
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
  report_fit_name(label, sizeof label, layer ? name_of(layer) : "layer", name);
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

/* The columns that there is room for, and in *name that of the names; returns the gap between columns of one group. */
static int fit(const page *p, column columns[COLUMNS], int *name) {
  memcpy(columns, all_columns, sizeof all_columns);
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
  *name = p->width - total_width(columns, 0, gap);
  if (*name > natural) *name = natural;
  return gap;
}

void table_put_rows(const page *p) {
  column columns[COLUMNS];
  int name, gap = fit(p, columns, &name);
  report_put(p->sink, "\n");
  put_row(p, columns, name, gap, NULL);
  const char *source = NULL;
  for (size_t i = 0; i < p->document->count && !p->sink->error; i++) {
    const report_layer *layer = &p->document->layers[i];
    if (!report_has_numbers(layer)) continue;
    table_put_source(p, layer, &source);
    put_row(p, columns, name, gap, layer);
  }
}

void table_put_legend(const page *p) {
  column columns[COLUMNS];
  char line[1024];
  size_t length = 0;
  int name, group = 0;
  fit(p, columns, &name);
  report_put(p->sink, "\n");
  for (int c = 0; c < COLUMNS; c++) {
    if (!columns[c].used || !columns[c].means) continue;
    if (length && columns[c].group != group) { /* a line a group */
      table_put_dim(p, line);
      length = 0;
    }
    group = columns[c].group;
    length += (size_t)snprintf(line + length, sizeof line - length, "%s%s", length ? "; " : "", columns[c].head);
    for (int next = c + 1; next < COLUMNS && columns[next].means == columns[c].means; next++)
      if (columns[next].used) {
        length += (size_t)snprintf(line + length, sizeof line - length, ", %s", columns[next].head);
        c = next;
      }
    length += (size_t)snprintf(line + length, sizeof line - length, ": %s", columns[c].means);
  }
  if (length) table_put_dim(p, line);
}
