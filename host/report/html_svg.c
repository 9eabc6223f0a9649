/* html_svg.c - the figures of the network and of table cells. Coordinates are pixels of the figure's own viewBox; every figure says in words
 * what it shows, and every mark has its numbers as a tooltip. */
#include <math.h>
#include <string.h>

#include "report/html.h"

#define HAS(layer, bits) ((layer)->report.statistics & (bits))

double report_svg_top(double value) {
  static const double tops[] = {0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8};
  for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
    if (value <= tops[i]) return tops[i];
  return 1;
}

void report_svg_open(report_sink *sink, const char *style, double width, double height, const char *kind, size_t index,
                     const char *title) {
  report_print(sink,
               "<svg class=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-labelledby=\"%s-%zu-t %s-%zu-d\">"
               "<title id=\"%s-%zu-t\">%s</title><desc id=\"%s-%zu-d\">",
               style, width, height, kind, index, kind, index, kind, index, title, kind, index);
}

#define CELL 36.0 /* the width of a bar in a table cell */

void report_svg_bar(report_sink *sink, double share, const char *kind) {
  double width = isfinite(share) ? CELL * fmin(fmax(share, 0), 1) : 0;
  if (width > 0 && width < 1) width = 1; /* a little is not nothing */
  report_print(sink,
               "<svg class=\"cell\" viewBox=\"0 0 %.0f 10\" width=\"%.0f\" height=\"10\" aria-hidden=\"true\">"
               "<rect class=\"rail\" width=\"%.0f\" height=\"10\" rx=\"2\"/>",
               CELL, CELL, CELL);
  if (width > 0) report_print(sink, "<rect class=\"%s\" width=\"%.1f\" height=\"10\" rx=\"2\"/>", kind, width);
  report_put(sink, "</svg>");
}

/* What is drawn of a layer's pairs: a damaged file may hold an |r| beyond 1, which would leave the figure. */
static actscope_correlation drawn(const report_layer *layer) {
  actscope_correlation c = layer->report.correlation;
  double *values[] = {&c.mean_abs, &c.mean_abs_ci95[0], &c.mean_abs_ci95[1], &c.noise_floor, &c.adjusted_rms};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    if (*values[i] > 1) *values[i] = 1;
    if (*values[i] < 0) *values[i] = 0;
  }
  return c;
}

static void diamond(report_sink *sink, double x, double y, double r) {
  report_print(sink, "<path class=\"adjusted\" d=\"M%.1f %.1fl%.1f %.1fl%.1f %.1fl%.1f %.1fz\"/>", x - r, y, r, -r, r,
               r, -r, r);
}

void report_svg_pairs(report_sink *sink, const report_layer *layer, double top) {
  const actscope_correlation own = drawn(layer), *c = &own;
  double scale = 84 / top;
  report_put(sink,
             "<svg class=\"cell\" viewBox=\"0 0 96 14\" width=\"96\" height=\"14\" aria-hidden=\"true\">"
             "<path class=\"grid\" d=\"M6 7h84\"/>");
  if (isfinite(c->mean_abs)) {
    double x = 6 + c->mean_abs * scale;
    if (isfinite(c->noise_floor))
      report_print(sink, "<path class=\"stem\" d=\"M%.1f 7H%.1f\"/>", 6 + fmin(c->noise_floor, top) * scale, x);
    report_print(sink, "<circle class=\"mean\" cx=\"%.1f\" cy=\"7\" r=\"3.5\"/>", x);
  }
  if (isfinite(c->noise_floor) && c->noise_floor <= top)
    report_print(sink, "<path class=\"floor\" d=\"M%.1f 1v12\"/>", 6 + c->noise_floor * scale);
  if (isfinite(c->adjusted_rms)) diamond(sink, 6 + fmin(c->adjusted_rms, top) * scale, 7, 3.5);
  report_put(sink, "</svg>");
}

/* ---- Along the network
 * ----------------------------------------------------------------------------------------------- */

#define NET_WIDTH 1160.0
#define NET_LEFT 48.0
#define NET_TOP 18.0
#define PAIR_HEIGHT 190.0
#define BAR_HEIGHT 64.0
#define PANEL_GAP 30.0

/* A panel's title, its horizontal grid from 0 to `top` in `steps`, and its numbers on the left. */
static void panel(report_sink *sink, double y, double height, double top, int steps, int percent, const char *title) {
  report_print(sink, "<text class=\"strong\" x=\"%.0f\" y=\"%.1f\">%s</text>", NET_LEFT, y - 7, title);
  for (int i = 0; i <= steps; i++) {
    double value = top * i / steps, at = y + height * (1 - (double)i / steps);
    report_print(sink, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>", NET_LEFT, at, NET_WIDTH);
    report_print(sink, "<text class=\"end\" x=\"%.0f\" y=\"%.1f\">%.*f%s</text>", NET_LEFT - 6, at + 3.5,
                 percent                              ? 0
                 : fmod(top / steps * 100, 10) > 0.01 ? 2
                                                      : 1,
                 percent ? value * 100 : value, percent ? "%" : "");
  }
}

/* Steps of the |r| axis that fall on round numbers. */
static int pair_steps(double top) {
  for (int steps = 4; steps > 1; steps--)
    if (fabs(top / steps * 20 - round(top / steps * 20)) < 1e-9) return steps;
  return 2;
}

static double dead_share(const report_layer *layer) {
  const actscope_layer_report *r = &layer->report;
  return HAS(layer, ACTSCOPE_HEALTH) && r->features ? (double)r->health.dead / (double)r->features : NAN;
}

static double constant_share(const report_layer *layer) {
  const actscope_layer_report *r = &layer->report;
  return HAS(layer, ACTSCOPE_HEALTH) && r->features ? (double)r->health.constant / (double)r->features : NAN;
}

static double redundancy(const report_layer *layer) {
  return HAS(layer, ACTSCOPE_DISTINCT) ? layer->report.distinct.redundancy : NAN;
}

/* Marks at the height of a share, over the bars of one panel: they may lie inside a bar or above it. */
static void ticks(report_sink *sink, const report_document *document, double band, double y,
                  double (*share)(const report_layer *)) {
  double width = fmin(band * 0.84, 52);
  size_t k = 0;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    if (!report_has_numbers(layer)) continue;
    double x = NET_LEFT + band * ((double)k++ + 0.5) - width / 2, value = share(layer);
    if (value > 0)
      report_print(sink, "<path class=\"tick\" d=\"M%.1f %.1fh%.1f\"/>", x, y + BAR_HEIGHT * (1 - fmin(value, 1)), width);
  }
}

/* Bars of one panel; kind is also their class. */
static void bars(report_sink *sink, const report_document *document, double band, double y,
                 double (*share)(const report_layer *), const char *kind) {
  double width = fmin(band * 0.7, 44);
  size_t k = 0;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    if (!report_has_numbers(layer)) continue;
    double x = NET_LEFT + band * ((double)k++ + 0.5) - width / 2, value = share(layer);
    if (!(value > 0)) continue;
    double height = fmax(BAR_HEIGHT * fmin(value, 1), 1);
    report_print(sink, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", kind, x,
                 y + BAR_HEIGHT - height, width, height);
  }
}

static void pairs_panel(report_sink *sink, const report_document *document, double band, double y, double top) {
  double scale = PAIR_HEIGHT / top, bottom = y + PAIR_HEIGHT, dot = fmin(fmax(band * 0.28, 1.5), 4.5);
  int open = 0;
  const char *source = NULL;
  size_t k = 0;
  report_put(sink, "<path class=\"trend\" d=\"");
  for (size_t i = 0; i < document->count;
       i++) { /* adjusted rms: a line, broken where it does not exist and between files */
    const report_layer *layer = &document->layers[i];
    if (!report_has_numbers(layer)) continue;
    double x = NET_LEFT + band * ((double)k++ + 0.5), value = drawn(layer).adjusted_rms;
    int there = HAS(layer, ACTSCOPE_CORRELATION) && isfinite(value);
    open = open && source && layer->source && strcmp(source, layer->source) == 0;
    source = layer->source;
    if (there) report_print(sink, "%c%.1f %.1f", open ? 'L' : 'M', x, bottom - value * scale);
    open = there;
  }
  report_put(sink, "\"/>");
  k = 0;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    const actscope_correlation own = drawn(layer), *c = &own;
    if (!report_has_numbers(layer)) continue;
    double x = NET_LEFT + band * ((double)k++ + 0.5);
    if (!HAS(layer, ACTSCOPE_CORRELATION)) continue;
    if (isfinite(c->noise_floor))
      report_print(sink, "<path class=\"floor\" d=\"M%.1f %.1fh%.1f\"/>", x - fmin(band * 0.42, 30),
                   bottom - c->noise_floor * scale, 2 * fmin(band * 0.42, 30));
    if (isfinite(c->mean_abs)) {
      if (isfinite(c->noise_floor))
        report_print(sink, "<path class=\"stem\" d=\"M%.1f %.1fV%.1f\"/>", x, bottom - c->noise_floor * scale,
                     bottom - c->mean_abs * scale);
      if (c->mean_abs_ci95[1] > c->mean_abs_ci95[0])
        report_print(sink, "<path class=\"whisker\" d=\"M%.1f %.1fV%.1f\"/>", x, bottom - c->mean_abs_ci95[0] * scale,
                     bottom - c->mean_abs_ci95[1] * scale);
      report_print(sink, "<circle class=\"mean\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>", x, bottom - c->mean_abs * scale,
                   dot);
    }
    if (isfinite(c->adjusted_rms)) diamond(sink, x, bottom - c->adjusted_rms * scale, dot);
  }
}

/* Over each layer's columns of all panels, a field to point at: name and numbers as a tooltip, a link to the details. Not
 * for the keyboard: the table has the same links, and a figure is one thing to a screen reader. */
static void targets(report_sink *sink, const report_document *document, double band, double y, double height) {
  size_t k = 0;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    char text[REPORT_TEXT];
    if (!report_has_numbers(layer)) continue;
    report_print(
        sink,
        "<a href=\"#layer-%zu\" tabindex=\"-1\"><rect class=\"target\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>", i,
        NET_LEFT + band * (double)k++, y, band, height);
    report_html_name(sink, layer, 0);
    if (HAS(layer, ACTSCOPE_CORRELATION)) {
      report_print(sink, "\nmean |r| %s", report_fixed(text, layer->report.correlation.mean_abs));
      report_print(sink, ", floor %s", report_fixed(text, layer->report.correlation.noise_floor));
      report_print(sink, ", adjusted rms %s", report_fixed(text, layer->report.correlation.adjusted_rms));
    }
    if (HAS(layer, ACTSCOPE_DISTINCT)) report_print(sink, "\nredundancy %s", report_percent(text, redundancy(layer)));
    if (HAS(layer, ACTSCOPE_HEALTH)) {
      report_print(sink, "\ndead features %s", report_percent(text, dead_share(layer)));
      report_print(sink, ", constant %s", report_percent(text, constant_share(layer)));
    }
    report_put(sink, "</title></rect></a>");
  }
}

/* Names below the last panel: level where there is room, slanted otherwise, and not all of several hundred. */
static void names(report_sink *sink, const report_document *document, double band, double y, int level) {
  size_t every = band >= 10.5 ? 1 : (size_t)(17 / band) + 1, k = 0, prefix = report_common_prefix(document);
  int columns = level ? (int)(band / 6.6) : 24;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    if (!report_has_numbers(layer)) continue;
    double x = NET_LEFT + band * ((double)k + 0.5);
    if (k++ % every) continue;
    if (level) {
      report_print(sink, "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">", x, y + 16);
    } else {
      report_print(sink, "<text class=\"end small\" transform=\"translate(%.1f %.1f) rotate(-60)\">", x + 4, y + 10);
    }
    report_layer rest = *layer;
    if (layer->name) rest.name = layer->name + prefix;
    report_html_name(sink, &rest, columns);
    report_put(sink, "</text>");
  }
}

/* Where several files follow each other: a line between them, and each one's name above its layers. */
static void sources(report_sink *sink, const report_document *document, double band, double bottom) {
  const char *source = NULL;
  char fitted[256];
  size_t k = 0;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    if (!report_has_numbers(layer)) continue;
    double x = NET_LEFT + band * (double)k;
    if (layer->source && (!source || strcmp(source, layer->source) != 0)) {
      size_t run = 1; /* layers of this file that follow */
      for (size_t j = i + 1; j < document->count; j++) {
        if (!report_has_numbers(&document->layers[j])) continue;
        if (!document->layers[j].source || strcmp(document->layers[j].source, layer->source) != 0) break;
        run++;
      }
      source = layer->source;
      if (k) report_print(sink, "<path class=\"cut\" d=\"M%.1f 2V%.1f\"/>", x, bottom);
      report_fit(fitted, sizeof fitted, report_short_source(layer), (int)fmin(60, band * (double)run / 6.6));
      report_print(sink, "<text x=\"%.1f\" y=\"11\">", x + (k ? 4 : 0));
      report_html_text(sink, fitted);
      report_put(sink, "</text>");
    }
    k++;
  }
}

void report_svg_network(report_sink *sink, const report_document *document) {
  size_t layers = 0;
  double top = 0;
  uint32_t there = 0;
  int longest = 0, prefix = (int)report_common_prefix(document);
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    const actscope_correlation *c = &layer->report.correlation;
    if (!report_has_numbers(layer)) continue;
    layers++;
    there |= layer->report.statistics;
    int columns = layer->name ? report_columns(layer->name + prefix) : 9;
    if (columns > longest) longest = columns;
    if (HAS(layer, ACTSCOPE_CORRELATION)) top = fmax(top, fmax(fmax(c->mean_abs, c->adjusted_rms), c->noise_floor));
  }
  if (!layers || !(there & (ACTSCOPE_CORRELATION | ACTSCOPE_DISTINCT | ACTSCOPE_HEALTH))) return;
  double band = (NET_WIDTH - NET_LEFT) / (double)layers;
  int several = report_several_sources(document), level = longest * 6.6 <= band || band >= 130;
  double first = several ? NET_TOP + 16 : NET_TOP, height = first;
  double pairs_at = height, redundancy_at, dead_at;
  if (there & ACTSCOPE_CORRELATION) height += PAIR_HEIGHT + PANEL_GAP;
  redundancy_at = height;
  if (there & ACTSCOPE_DISTINCT) height += BAR_HEIGHT + PANEL_GAP;
  dead_at = height;
  if (there & ACTSCOPE_HEALTH) height += BAR_HEIGHT + PANEL_GAP;
  height -= PANEL_GAP;
  double below = level ? 26 : 14 + 5.0 * (longest < 24 ? longest : 24);
  report_svg_open(sink, "wide", NET_WIDTH + 6, height + below, "network", 0, "Along the network, layer after layer");
  report_print(sink,
               "%zu layers: mean |r| and adjusted rms against the noise floor, redundancy, dead and constant features. The "
               "same numbers are in the table below.</desc>",
               layers);
  if (there & ACTSCOPE_CORRELATION) {
    top = report_svg_top(top);
    panel(sink, pairs_at, PAIR_HEIGHT, top, pair_steps(top), 0, "|r| between features");
    pairs_panel(sink, document, band, pairs_at, top);
  }
  if (there & ACTSCOPE_DISTINCT) {
    panel(sink, redundancy_at, BAR_HEIGHT, 1, 2, 1, "redundancy: elements that repeat a value");
    bars(sink, document, band, redundancy_at, redundancy, "redundancy");
  }
  if (there & ACTSCOPE_HEALTH) {
    panel(sink, dead_at, BAR_HEIGHT, 1, 2, 1, "dead features (bars) and constant ones (ticks)");
    bars(sink, document, band, dead_at, dead_share, "dead");
    ticks(sink, document, band, dead_at, constant_share);
  }
  if (several) sources(sink, document, band, height);
  names(sink, document, band, height, level);
  targets(sink, document, band, first, height - first);
  report_put(sink, "</svg>\n");
}
