/* html.h - the parts of the page: text that is safe in it, its style and script, its figures. */
#ifndef ACTSCOPE_REPORT_HTML_H
#define ACTSCOPE_REPORT_HTML_H

#include "report/format.h"

/* Text of any origin, escaped for elements and attributes; controls are spelled out. */
void report_html_text(report_sink *sink, const char *text);
/* A layer's name, "(unnamed)" where there is none; shortened in the middle unless columns is 0. */
void report_html_name(report_sink *sink, const report_layer *layer, int columns);
/* The name for a row of a table: without what all names begin with where one of them is long, then shortened in the middle. */
void report_html_label(report_sink *sink, const report_document *document, const report_layer *layer);
/* The file in grey, where several files make names ambiguous. */
void report_html_source(report_sink *sink, const report_document *document, const report_layer *layer);

extern const char report_html_style[], report_html_script[];

/* From this many layers on the page leaves out what would make it large: tooltips of the bars of a histogram. */
#define REPORT_HTML_MANY 60

/* ---- Sections ---------------------------------------------------------------------------------------------------- */

/* html_layers.c: the layers one by one; those that constrain the network most are open. */
void report_html_layers(report_sink *sink, const report_document *document, const actscope_bottleneck **scores);

/* html_lists.c: single pairs and features of a layer, where they were asked for. */
void report_html_lists(report_sink *sink, const report_document *document, const report_layer *layer);

/* html_cka.c: the map of CKA between the layers, where document->cka is there. */
void report_html_cka(report_sink *sink, const report_document *document);

/* html_run.c, where document->run is there: the top of the page, alarms and warnings, all layers over the steps, and the lines
 * of the layer of this index. */
struct report_run;
void report_html_run_header(report_sink *sink, const report_document *document);
void report_html_run_alarms(report_sink *sink, const struct report_run *run);
void report_html_run(report_sink *sink, const report_document *document);
void report_html_run_layer(report_sink *sink, const report_document *document, size_t index);

/* ---- Figures: inline SVG that takes its colours from the page's style ----------------------------------------------- */

/* Opens a figure that says in words what it shows: <title>, then <desc>, which the caller fills and closes. Its ids are
 * kind and index. */
void report_svg_open(report_sink *sink, const char *style, double width, double height, const char *kind, size_t index,
                     const char *title);

/* Along the network, layer after layer: |r| against its floor, redundancy, dead features. */
void report_svg_network(report_sink *sink, const report_document *document);
/* A share as a bar of one table cell; `kind` is the class that colours it. NaN is an empty bar. */
void report_svg_bar(report_sink *sink, double share, const char *kind);
/* Mean |r| (dot), its floor (tick) and adjusted rms (diamond) on a scale from 0 to `top`, in one table cell. */
void report_svg_pairs(report_sink *sink, const report_layer *layer, double top);

/* html_figures.c, of the layer of this index. The histogram of |r|, with the floor, the mean, and what independent
 * features would show. */
void report_svg_histogram(report_sink *sink, const report_layer *layer, size_t index, int tooltips);
/* Minimum, quantiles and maximum on one axis, and the shares of negative, zero and positive values. */
void report_svg_values(report_sink *sink, const report_layer *layer, size_t index);
/* The share of the values in each half octave of either sign; nothing where the report has no buckets. tooltips as above. */
void report_svg_buckets(report_sink *sink, const report_layer *layer, size_t index, int tooltips);
/* Dead, constant and non-finite features, where there are any. */
void report_svg_features(report_sink *sink, const report_layer *layer, size_t index);

/* html_heat.c: a matrix as colours from `low` to `high`, NaN as nothing, infinities as something bad. */
typedef struct report_heat {
  size_t rows, columns;
  double low, high;
  double (*value)(const void *user, size_t row, size_t column);
  void (*row_name)(const void *user, size_t row, char *text, size_t size);
  void (*column_name)(const void *user, size_t column, char *text, size_t size);
  const void *user;
  int slanted;     /* names of columns stand below on a slant, and cells are square */
  const char *bad; /* what an infinite value means; NULL: there is none */
} report_heat;
void report_svg_heat(report_sink *sink, const report_heat *heat, const char *kind, const char *title, const char *words);

/* The smallest round number that is at least `value`, for the top of a scale of |r|. */
double report_svg_top(double value);

/* The class of the colour of a score: high, mid or low. */
const char *report_score_class(double score);

#endif
