/* html.h - the parts of the page: text that is safe in it, its style, its figures. */
#ifndef ACTSCOPE_REPORT_HTML_H
#define ACTSCOPE_REPORT_HTML_H

#include "report/format.h"

/* Text of any origin, escaped for elements and attributes; controls are spelled out. */
void report_html_text(report_sink *sink, const char *text);
/* A layer's name, "(unnamed)" where there is none; shortened in the middle unless columns is 0. */
void report_html_name(report_sink *sink, const report_layer *layer, int columns);

extern const char report_html_style[];

/* ---- Figures: inline SVG that takes its colours from the page's style
 * ------------------------------------------------ */

/* Along the network, layer after layer: |r| against its floor, redundancy, dead features. */
void report_svg_network(report_sink *sink, const report_document *document);
/* A share as a bar of one table cell; `kind` is the class that colours it. NaN is an empty bar. */
void report_svg_bar(report_sink *sink, double share, const char *kind);
/* Mean |r| (dot), its floor (tick) and adjusted rms (diamond) on a scale from 0 to `top`, in one table cell. */
void report_svg_pairs(report_sink *sink, const report_layer *layer, double top);
/* The histogram of |r|, with the floor, the mean, and what independent features would show. */
void report_svg_histogram(report_sink *sink, const report_layer *layer);
/* Minimum, quantiles and maximum on one axis. */
void report_svg_quantiles(report_sink *sink, const report_layer *layer);

/* The smallest round number that is at least `value`, for the top of a scale of |r|. */
double report_svg_top(double value);

#endif
