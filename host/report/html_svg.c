/* html_svg.c - the figures of the page. Coordinates are pixels of the figure's own viewBox; every figure says in words
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

#define CELL 48.0 /* the width of a bar in a table cell */

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

static void diamond(report_sink *sink, double x, double y, double r) {
  report_print(sink, "<path class=\"adjusted\" d=\"M%.1f %.1fl%.1f %.1fl%.1f %.1fl%.1f %.1fz\"/>", x - r, y, r, -r, r,
               r, -r, r);
}

void report_svg_pairs(report_sink *sink, const report_layer *layer, double top) {
  const actscope_correlation *c = &layer->report.correlation;
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

static double redundancy(const report_layer *layer) {
  return HAS(layer, ACTSCOPE_DISTINCT) ? layer->report.distinct.redundancy : NAN;
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
    double x = NET_LEFT + band * ((double)k++ + 0.5), value = layer->report.correlation.adjusted_rms;
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
    const actscope_correlation *c = &layer->report.correlation;
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

/* Over each layer's columns of all panels, a field to point at: name and numbers as a tooltip, a link to the details.
 */
static void targets(report_sink *sink, const report_document *document, double band, double y, double height) {
  size_t k = 0;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    char text[REPORT_TEXT];
    if (!report_has_numbers(layer)) continue;
    report_print(
        sink,
        "<a href=\"#layer-%zu\"><rect class=\"target\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>", i,
        NET_LEFT + band * (double)k++, y, band, height);
    report_html_name(sink, layer, 0);
    if (HAS(layer, ACTSCOPE_CORRELATION)) {
      report_print(sink, "\nmean |r| %s", report_fixed(text, layer->report.correlation.mean_abs));
      report_print(sink, ", floor %s", report_fixed(text, layer->report.correlation.noise_floor));
      report_print(sink, ", adjusted rms %s", report_fixed(text, layer->report.correlation.adjusted_rms));
    }
    if (HAS(layer, ACTSCOPE_DISTINCT)) report_print(sink, "\nredundancy %s", report_percent(text, redundancy(layer)));
    if (HAS(layer, ACTSCOPE_HEALTH)) report_print(sink, "\ndead features %s", report_percent(text, dead_share(layer)));
    report_put(sink, "</title></rect></a>");
  }
}

/* The bytes that all names begin with, up to a dot or slash: "encoder.layers." says nothing below an axis. */
static size_t common_prefix(const report_document *document) {
  const char *first = NULL;
  size_t common = 0;
  for (size_t i = 0; i < document->count; i++) {
    const char *name = document->layers[i].name;
    if (!report_has_numbers(&document->layers[i])) continue;
    if (!name) return 0;
    if (!first) {
      first = name;
      common = strlen(name);
    } else {
      size_t same = 0;
      while (same < common && name[same] == first[same]) same++;
      common = same;
    }
  }
  while (common > 0 && first[common - 1] != '.' && first[common - 1] != '/') common--;
  return first && first[common] ? common : 0;
}

/* Names below the last panel: level where there is room, slanted otherwise, and not all of several hundred. */
static void names(report_sink *sink, const report_document *document, double band, double y, int level) {
  size_t every = band >= 10.5 ? 1 : (size_t)(10.5 / band) + 1, k = 0, prefix = common_prefix(document);
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
  int longest = 0, prefix = (int)common_prefix(document);
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
  report_print(sink,
               "<svg class=\"wide\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"Along the network, layer "
               "after layer (%zu): mean |r| and adjusted rms against the noise floor, redundancy, dead features. "
               "The same numbers are in the table below.\">",
               NET_WIDTH, height + below, layers);
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
    panel(sink, dead_at, BAR_HEIGHT, 1, 2, 1, "dead features");
    bars(sink, document, band, dead_at, dead_share, "dead");
  }
  if (several) sources(sink, document, band, height);
  names(sink, document, band, height, level);
  targets(sink, document, band, first, height - first);
  report_put(sink, "</svg>\n");
}

/* ---- One layer
 * ------------------------------------------------------------------------------------------------------- */

/* For each bin, the share of pairs that independent normal features of N samples would put there: the density
 * (1 - r^2)^((N-4)/2), summed by 16 midpoints a bin and made to sum to 1. */
static void independent(double share[ACTSCOPE_PAIR_BINS], uint64_t samples) {
  double total = 0, power = 0.5 * ((double)samples - 4);
  for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++) {
    share[i] = 0;
    for (int j = 0; j < 16; j++) {
      double r = (i + (j + 0.5) / 16) / ACTSCOPE_PAIR_BINS;
      share[i] += exp(power * log1p(-r * r));
    }
    total += share[i];
  }
  for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++) share[i] /= total;
}

/* A round step that cuts 0 .. top into two to five parts. */
static double round_step(double top) {
  double unit = pow(10, floor(log10(top)));
  double parts = top / unit;
  return unit * (parts <= 1.5 ? 0.5 : parts <= 4 ? 1 : 2);
}

#define HIST_WIDTH 560.0
#define HIST_LEFT 44.0
#define HIST_TOP 34.0
#define HIST_HEIGHT 150.0
#define HIST_SPAN (HIST_WIDTH - HIST_LEFT - 12)

/* A vertical line at a value of |r| with its name; names stand on two rows so that close ones do not collide. */
static void marker(report_sink *sink, const char *kind, const char *name, double value, int row) {
  char text[REPORT_TEXT];
  if (!isfinite(value) || value > 1) return;
  double x = HIST_LEFT + value * HIST_SPAN, y = 12 + 13 * row;
  report_print(sink, "<path class=\"%s\" d=\"M%.1f %.1fV%.0f\"/>", kind, x, y - 8, HIST_TOP + HIST_HEIGHT);
  report_print(sink, "<text class=\"%s-text\" x=\"%.1f\" y=\"%.1f\">%s %s</text>", kind, x + 4, y, name,
               report_fixed(text, value));
}

void report_svg_histogram(report_sink *sink, const report_layer *layer) {
  const actscope_correlation *c = &layer->report.correlation;
  double expected[ACTSCOPE_PAIR_BINS], top = 0, total = 0, width = HIST_SPAN / ACTSCOPE_PAIR_BINS;
  double bottom = HIST_TOP + HIST_HEIGHT;
  int curve = layer->report.samples > 4;
  for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++) total += (double)c->histogram[i];
  if (!(total > 0)) return;
  if (curve) independent(expected, layer->report.samples);
  for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++) {
    top = fmax(top, (double)c->histogram[i] / total);
    if (curve) top = fmax(top, expected[i]);
  }
  double step = round_step(top), scale = HIST_HEIGHT / top;
  char text[REPORT_TEXT];
  report_print(sink,
               "<svg class=\"figure\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"Histogram of |r| over the "
               "pairs of features, mean %s",
               HIST_WIDTH, bottom + 36, report_fixed(text, c->mean_abs));
  report_print(sink, ", noise floor %s\">", report_fixed(text, c->noise_floor));
  for (double value = 0; value <= top * 1.0001; value += step) {
    report_print(sink, "<path class=\"grid\" d=\"M%.0f %.1fh%.0f\"/>", HIST_LEFT, bottom - value * scale, HIST_SPAN);
    report_print(sink, "<text class=\"end\" x=\"%.0f\" y=\"%.1f\">%.*f%%</text>", HIST_LEFT - 5,
                 bottom - value * scale + 3.5, step < 0.01 ? 1 : 0, value * 100);
  }
  for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++) {
    if (!c->histogram[i]) continue;
    double share = (double)c->histogram[i] / total, height = fmax(share * scale, 0.6);
    report_print(sink,
                 "<rect class=\"bin\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>|r| %.3f to %.3f: ",
                 HIST_LEFT + i * width, bottom - height, width - 1, height, i / 64.0, (i + 1) / 64.0);
    report_print(sink, "%s pair%s", report_count(text, c->histogram[i]), c->histogram[i] == 1 ? "" : "s");
    report_print(sink, " (%s)</title></rect>", report_percent(text, share));
  }
  if (curve) {
    report_put(sink, "<path class=\"expected\" d=\"");
    for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++)
      report_print(sink, "%c%.1f %.1f", i ? 'L' : 'M', HIST_LEFT + (i + 0.5) * width, bottom - expected[i] * scale);
    report_put(sink, "\"/>");
  }
  marker(sink, "floor", "noise floor", c->noise_floor, 0);
  marker(sink, "meanline", "mean", c->mean_abs, 1);
  for (int i = 0; i <= 4; i++)
    report_print(sink, "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">%.2g</text>", HIST_LEFT + HIST_SPAN * i / 4,
                 bottom + 15, i / 4.0);
  report_print(
      sink,
      "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">share of the pairs of features by |r|; dashed: if features "
      "were independent</text></svg>\n",
      HIST_LEFT + HIST_SPAN / 2, bottom + 31);
}

#define Q_WIDTH 560.0
#define Q_LEFT 44.0

void report_svg_quantiles(report_sink *sink, const report_layer *layer) {
  const actscope_profile *p = &layer->report.profile;
  const double *q = p->quantiles;
  if (!isfinite(p->min) || !isfinite(p->max) || !(p->max > p->min) || !isfinite(p->max - p->min)) return;
  double scale = (Q_WIDTH - Q_LEFT - 12) / (p->max - p->min);
#define X(value) (Q_LEFT + ((value)-p->min) * scale)
  char text[REPORT_TEXT], more[REPORT_TEXT];
  report_print(sink, "<svg class=\"figure\" viewBox=\"0 0 %.0f 66\" role=\"img\" aria-label=\"Values from %s to %s",
               Q_WIDTH, report_number(text, p->min), report_number(more, p->max));
  report_print(sink, ", half of them between %s and %s\">", report_number(text, q[2]), report_number(more, q[4]));
  report_print(sink, "<path class=\"range\" d=\"M%.1f 20H%.1f\"/>", X(p->min), X(p->max));
  static const struct {
    int low, high;
    double half;
    const char *kind, *what;
  } boxes[] = {{0, 6, 4, "box98", "98 %"}, {1, 5, 7, "box90", "90 %"}, {2, 4, 10, "box50", "50 %"}};
  for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++) {
    double low = q[boxes[i].low], high = q[boxes[i].high];
    if (!isfinite(low) || !isfinite(high)) continue;
    report_print(
        sink, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>%s of the values: ",
        boxes[i].kind, X(low), 20 - boxes[i].half, fmax((high - low) * scale, 1), 2 * boxes[i].half, boxes[i].what);
    report_print(sink, "%s to %s</title></rect>", report_number(text, low), report_number(more, high));
  }
  if (isfinite(q[3])) report_print(sink, "<path class=\"median\" d=\"M%.1f 8V32\"/>", X(q[3]));
  if (p->min < 0 && p->max > 0) report_print(sink, "<path class=\"floor\" d=\"M%.1f 4V36\"/>", X(0));
#undef X
  report_print(sink, "<text x=\"%.0f\" y=\"47\">%s</text>", Q_LEFT, report_number(text, p->min));
  report_print(sink, "<text class=\"end\" x=\"%.0f\" y=\"47\">%s</text>", Q_WIDTH - 12, report_number(text, p->max));
  report_print(sink,
               "<text class=\"middle\" x=\"%.0f\" y=\"61\">values: median, and the middle 50, 90 and 98 %% between "
               "minimum and maximum</text></svg>\n",
               (Q_WIDTH + Q_LEFT) / 2);
}
