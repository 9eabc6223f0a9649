/* html_figures.c - the figures of one layer: how |r| is spread over the pairs of features, how the values are spread, and
 * how many features carry nothing. */
#include <math.h>
#include <string.h>

#include "report/html.h"

#define HAS(layer, bits) ((layer)->report.statistics & (bits))
#define WIDTH 560.0
#define LEFT 44.0
#define SPAN (WIDTH - LEFT - 12)

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

/* ---- Pairs of features ------------------------------------------------------------------------------------------- */

#define HIST_TOP 34.0
#define HIST_HEIGHT 150.0

/* A vertical line at a value of |r| with its name; names stand on two rows so that close ones do not collide, and left of
 * the line where there is no room on its right. */
static void marker(report_sink *sink, const char *kind, const char *name, double value, int row) {
  char text[REPORT_TEXT];
  if (!isfinite(value) || value > 1) return;
  double x = LEFT + value * SPAN, y = 12 + 13 * row;
  int left = value > 0.75;
  report_print(sink, "<path class=\"%s\" d=\"M%.1f %.1fV%.0f\"/>", kind, x, y - 8, HIST_TOP + HIST_HEIGHT);
  report_print(sink, "<text class=\"%s-text%s\" x=\"%.1f\" y=\"%.1f\">%s %s</text>", kind, left ? " end" : "",
               left ? x - 4 : x + 4, y, name, report_fixed(text, value));
}

/* The bars: each with its numbers as a tooltip, or all of them as one outline, which is a sixth of the bytes. */
static void bins(report_sink *sink, const actscope_correlation *c, double total, double scale, int tooltips) {
  double width = SPAN / ACTSCOPE_PAIR_BINS, bottom = HIST_TOP + HIST_HEIGHT;
  char text[REPORT_TEXT];
  if (!tooltips) report_put(sink, "<path class=\"bin\" d=\"");
  for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++) {
    if (!c->histogram[i]) continue;
    double share = (double)c->histogram[i] / total, height = fmax(share * scale, 0.6);
    if (!tooltips) {
      report_print(sink, "M%.1f %.0fv-%.1fh%.1fV%.0f", LEFT + i * width, bottom, height, width - 1, bottom);
      continue;
    }
    report_print(sink,
                 "<rect class=\"bin\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>|r| %.3f to %.3f: ",
                 LEFT + i * width, bottom - height, width - 1, height, i / 64.0, (i + 1) / 64.0);
    report_print(sink, "%s pair%s", report_count(text, c->histogram[i]), c->histogram[i] == 1 ? "" : "s");
    report_print(sink, " (%s)</title></rect>", report_percent(text, share));
  }
  if (!tooltips) report_put(sink, "\"/>");
}

void report_svg_histogram(report_sink *sink, const report_layer *layer, size_t index, int tooltips) {
  const actscope_correlation *c = &layer->report.correlation;
  double expected[ACTSCOPE_PAIR_BINS], top = 0, total = 0, width = SPAN / ACTSCOPE_PAIR_BINS;
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
  char text[REPORT_TEXT], more[REPORT_TEXT], most[REPORT_TEXT];
  report_svg_open(sink, "figure", WIDTH, bottom + 36, "pairs", index, "Histogram of |r| over the pairs of features");
  report_print(sink, "Mean %s, noise floor %s, largest %s. ", report_fixed(text, c->mean_abs),
               report_fixed(more, c->noise_floor), report_fixed(most, c->max_abs));
  report_put(sink, "The dashed line is what independent features would show.</desc>");
  for (double value = 0; value <= top * 1.0001; value += step) {
    report_print(sink, "<path class=\"grid\" d=\"M%.0f %.1fh%.0f\"/>", LEFT, bottom - value * scale, SPAN);
    report_print(sink, "<text class=\"end\" x=\"%.0f\" y=\"%.1f\">%.*f%%</text>", LEFT - 5, bottom - value * scale + 3.5,
                 step < 0.01 ? 1 : 0, value * 100);
  }
  bins(sink, c, total, scale, tooltips);
  if (curve) {
    report_put(sink, "<path class=\"expected\" d=\"");
    for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++)
      report_print(sink, "%c%.1f %.1f", i ? 'L' : 'M', LEFT + (i + 0.5) * width, bottom - expected[i] * scale);
    report_put(sink, "\"/>");
  }
  marker(sink, "floor", "noise floor", c->noise_floor, 0);
  marker(sink, "meanline", "mean", c->mean_abs, 1);
  for (int i = 0; i <= 4; i++)
    report_print(sink, "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">%.2g</text>", LEFT + SPAN * i / 4, bottom + 15,
                 i / 4.0);
  report_print(sink,
               "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">share of the pairs of features by |r|; dashed: if features "
               "were independent</text></svg>\n",
               LEFT + SPAN / 2, bottom + 31);
}

/* ---- Values ------------------------------------------------------------------------------------------------------ */

/* The axis of the values: linear, or logarithmic to both sides of 0 where the extremes lie so far out that everything
 * else would be a line: asinh(v / unit), which is v / unit near 0 and a logarithm beyond. */
typedef struct axis {
  double low, scale; /* in transformed values */
  double unit;       /* 0: linear */
} axis;

#define FAR 8.0 /* extremes beyond this many times the middle 98 % make the axis logarithmic */

static double transformed(double unit, double value) {
  if (!(unit > 0)) return value;
  double ratio = value / unit;
  return isfinite(ratio) ? asinh(ratio) : copysign(log(fabs(value)) - log(unit) + log(2), value);
}

/* A file may claim a quantile beyond its extremes: it stays beside the axis. */
static double place(const axis *a, double value) {
  return fmin(fmax(LEFT + (transformed(a->unit, value) - a->low) * a->scale, LEFT - 8), WIDTH - 4);
}

static axis axis_of(const actscope_profile *p) {
  const double *q = p->quantiles;
  double most = fmax(fabs(p->min), fabs(p->max));
  double most98 = fmax(isfinite(q[0]) ? fabs(q[0]) : 0, isfinite(q[6]) ? fabs(q[6]) : 0);
  axis a = {0, 1, 0};
  if (most98 > 0 && most > FAR * most98) {
    a.unit = most98; /* the least quantile that is not 0 would stretch the axis over values nobody has */
    for (int i = 0; i < ACTSCOPE_QUANTILE_COUNT; i++)
      if (fabs(q[i]) > most98 / 100) a.unit = fmin(a.unit, fabs(q[i]));
  }
  a.low = transformed(a.unit, p->min);
  a.scale = SPAN / (transformed(a.unit, p->max) - a.low);
  return a;
}

/* Numbers below the axis: the two ends, 0, and on a logarithmic axis powers of ten where there is room. */
static void ticks(report_sink *sink, const actscope_profile *p, const axis *a, double y) {
  char text[REPORT_TEXT];
  double left = LEFT, right = WIDTH - 12;
  report_print(sink, "<text x=\"%.0f\" y=\"%.0f\">%s</text>", left, y, report_number(text, p->min));
  left += 7.0 * report_columns(text) + 8;
  report_print(sink, "<text class=\"end\" x=\"%.0f\" y=\"%.0f\">%s</text>", right, y, report_number(text, p->max));
  right -= 7.0 * report_columns(text) + 8;
  if (p->min < 0 && p->max > 0) report_print(sink, "<path class=\"zero\" d=\"M%.1f %.0fv-42\"/>", place(a, 0), y - 11);
  if (!(a->unit > 0)) return;
  /* From the smallest magnitudes outwards on the right of 0, then on its left. */
  double taken = left;
  for (int side = -1; side <= 1; side += 2) {
    int first = (int)ceil(log10(a->unit)), last = (int)floor(log10(fmax(fabs(p->min), fabs(p->max))));
    for (int k = 0; k <= last - first; k++) {
      int power = side < 0 ? last - k : first + k;
      double value = side * pow(10, power), x = place(a, value);
      if (value < p->min || value > p->max || x - 16 < taken || x + 16 > right) continue;
      report_print(sink, "<path class=\"grid\" d=\"M%.1f %.0fv-34\"/><text class=\"middle\" x=\"%.1f\" y=\"%.0f\">%s</text>", x,
                   y - 14, x, y, report_number(text, value));
      taken = x + 3.5 * report_columns(text) + 18;
    }
  }
}

/* Negative, zero, positive and not finite, as parts of one bar. */
static void signs(report_sink *sink, const actscope_profile *p, double y) {
  uint64_t bad = p->nan + p->positive_inf + p->negative_inf;
  const struct {
    const char *kind, *what;
    uint64_t count;
  } parts[] = {{"negative", "negative", p->negative},
               {"nothing", "zero", p->zero},
               {"positive", "positive", p->finite - p->zero - p->negative},
               {"high", "NaN or infinite", bad}};
  double x = LEFT;
  char text[REPORT_TEXT];
  if (!p->count) return;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    double share = (double)parts[i].count / (double)p->count, width = share * SPAN;
    if (!parts[i].count) continue;
    report_print(sink, "<rect class=\"%s\" x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"12\"/>", parts[i].kind, x, y,
                 fmax(width, 1));
    if (width >= 110)
      report_print(sink, "<text class=\"middle\" x=\"%.1f\" y=\"%.0f\">%s %s</text>", x + width / 2, y + 25, parts[i].what,
                   report_percent(text, share));
    x += width;
  }
}

void report_svg_values(report_sink *sink, const report_layer *layer, size_t index) {
  const actscope_profile *p = &layer->report.profile;
  const double *q = p->quantiles;
  if (!isfinite(p->min) || !isfinite(p->max) || !(p->max > p->min) || !isfinite(p->max - p->min)) return;
  axis a = axis_of(p);
  char text[REPORT_TEXT], more[REPORT_TEXT];
  double y = 24;
  report_svg_open(sink, "figure", WIDTH, 122, "values", index, "Spread of the values");
  report_print(sink, "From %s to %s", report_number(text, p->min), report_number(more, p->max));
  report_print(sink, ", median %s, half of them between %s", report_number(text, q[3]), report_number(more, q[2]));
  report_print(sink, " and %s; ", report_number(text, q[4]));
  report_print(sink, "%s are 0, ", report_percent(text, p->count ? (double)p->zero / (double)p->count : NAN));
  report_print(sink, "%s negative.</desc>", report_percent(text, p->count ? (double)p->negative / (double)p->count : NAN));
  ticks(sink, p, &a, y + 33);
  report_print(sink, "<path class=\"range\" d=\"M%.1f %.0fH%.1f\"/>", place(&a, p->min), y, place(&a, p->max));
  static const struct {
    int low, high;
    double half;
    const char *kind, *what;
  } boxes[] = {{0, 6, 5, "box98", "98 %"}, {1, 5, 9, "box90", "90 %"}, {2, 4, 13, "box50", "50 %"}};
  for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++) {
    double low = q[boxes[i].low], high = q[boxes[i].high];
    if (!isfinite(low) || !isfinite(high)) continue;
    report_print(sink, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>%s of the values: ",
                 boxes[i].kind, place(&a, low), y - boxes[i].half, fmax(place(&a, high) - place(&a, low), 1),
                 2 * boxes[i].half, boxes[i].what);
    report_print(sink, "%s to %s</title></rect>", report_number(text, low), report_number(more, high));
  }
  if (isfinite(q[3])) report_print(sink, "<path class=\"median\" d=\"M%.1f %.0fv30\"/>", place(&a, q[3]), y - 15);
  signs(sink, p, y + 46);
  report_print(sink,
               "<text class=\"middle\" x=\"%.0f\" y=\"%.0f\">values%s: median, middle 50, 90 and 98 %%, extremes; below, their "
               "signs</text></svg>\n",
               LEFT + SPAN / 2, y + 92, a.unit > 0 ? " on a logarithmic axis" : "");
}

/* ---- Magnitudes -------------------------------------------------------------------------------------------------- */

#define MIDDLE (ACTSCOPE_VALUE_BUCKETS / 2)
#define BUCKETS_TOP 20.0
#define BUCKETS_HEIGHT 90.0

/* The half octaves from `inner` on, of each sign; nearer to 0 lies at most one value in 200, which the middle takes with the
 * zeros: a normal distribution alone would reach 20 octaves down. */
typedef struct magnitudes {
  int inner, negative, positive; /* buckets; the outermost of each sign, inner - 1 where it has none */
  uint64_t near;                 /* values in the middle that are not 0 */
  double width;                  /* of a bar */
} magnitudes;

static magnitudes magnitudes_of(const actscope_profile *p) {
  magnitudes m = {1, 0, 0, 0, 0};
  while (m.inner < MIDDLE && m.near + p->buckets[MIDDLE + m.inner] + p->buckets[MIDDLE - m.inner] <= (p->finite - p->zero) / 200) {
    m.near += p->buckets[MIDDLE + m.inner] + p->buckets[MIDDLE - m.inner];
    m.inner++;
  }
  m.negative = m.positive = m.inner - 1;
  for (int k = m.inner; k <= MIDDLE; k++) {
    if (p->buckets[MIDDLE - k]) m.negative = k;
    if (p->buckets[MIDDLE + k]) m.positive = k;
  }
  m.width = SPAN / (m.negative + m.positive - 2 * (m.inner - 1) + 1);
  return m;
}

/* Where bucket k of a sign (0: the middle) begins on the left. */
static double bucket_at(const magnitudes *m, int sign, int k) {
  return LEFT + m->width * (sign < 0 ? m->negative - k : m->negative - m->inner + 1 + (sign > 0 ? k - m->inner + 1 : 0));
}

static void bucket_bar(report_sink *sink, double x, double width, double height, const char *kind) {
  report_print(sink, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">", kind, x,
               BUCKETS_TOP + BUCKETS_HEIGHT - height, fmax(width - 1, 0.6), height);
}

void report_svg_buckets(report_sink *sink, const report_layer *layer, size_t index, int tooltips) {
  const actscope_profile *p = &layer->report.profile;
  uint64_t held = 0, most = 0;
  for (int k = 0; k < ACTSCOPE_VALUE_BUCKETS; k++) held += p->buckets[k];
  if (!held || held != p->finite || held == p->zero) return; /* none, or a file that says two things */
  const magnitudes m = magnitudes_of(p);
  const double bottom = BUCKETS_TOP + BUCKETS_HEIGHT, all = (double)held;
  for (int k = m.inner; k <= MIDDLE; k++) {
    if (p->buckets[MIDDLE + k] > most) most = p->buckets[MIDDLE + k];
    if (p->buckets[MIDDLE - k] > most) most = p->buckets[MIDDLE - k];
  }
  const double scale = BUCKETS_HEIGHT / (double)most;
  char text[REPORT_TEXT], more[REPORT_TEXT];
  report_svg_open(sink, "figure", WIDTH, bottom + 36, "buckets", index, "Values by magnitude");
  report_print(sink, "Bars of half an octave, negative on the left, positive on the right; the highest holds %s of the values",
               report_percent(text, (double)most / all));
  report_print(sink, ", %s are 0 and %s nearer to 0 than any bar.</desc>", report_percent(text, (double)p->zero / all),
               report_percent(more, (double)m.near / all));
  report_print(sink, "<path class=\"grid\" d=\"M%.0f %.1fh%.0fM%.0f %.1fh%.0f\"/>", LEFT, bottom, SPAN, LEFT, BUCKETS_TOP, SPAN);
  report_print(sink, "<text class=\"end\" x=\"%.0f\" y=\"%.1f\">%s</text>", LEFT - 5, BUCKETS_TOP + 3.5,
               report_percent(text, (double)most / all));
  for (int sign = -1; sign <= 1; sign += 2) {
    const char *kind = sign < 0 ? "negative" : "positive";
    const int outer = sign < 0 ? m.negative : m.positive;
    if (!tooltips && outer >= m.inner) report_print(sink, "<path class=\"%s\" d=\"", kind);
    for (int k = m.inner; k <= outer; k++) {
      const uint64_t n = p->buckets[MIDDLE + sign * k];
      const double height = fmax((double)n * scale, 0.6), x = bucket_at(&m, sign, k);
      if (!n) continue;
      if (!tooltips) {
        report_print(sink, "M%.1f %.0fv-%.1fh%.1fV%.0f", x, bottom, height, fmax(m.width - 1, 0.6), bottom);
        continue;
      }
      bucket_bar(sink, x, m.width, height, kind);
      report_print(sink, "<title>%s%s", k == 1 || k == MIDDLE ? "about " : "", report_number(text, sign * actscope_value_edge(k)));
      report_print(sink, " to %s: ", report_number(text, sign * actscope_value_edge(k + 1)));
      report_print(sink, "%s value%s", report_count(text, n), n == 1 ? "" : "s");
      report_print(sink, " (%s)</title></rect>", report_percent(text, (double)n / all));
    }
    if (!tooltips && outer >= m.inner) report_put(sink, "\"/>");
  }
  if (p->zero + m.near) { /* as high as it is, or cut off and said in numbers */
    const double height = (double)(p->zero + m.near) * scale;
    bucket_bar(sink, bucket_at(&m, 0, 0), m.width, fmin(fmax(height, 0.6), BUCKETS_HEIGHT), "nothing");
    report_print(sink, "<title>%s are 0, ", report_count(text, p->zero));
    report_print(sink, "%s nearer to 0 than %s</title></rect>", report_count(text, m.near), report_number(more, actscope_value_edge(m.inner)));
    if (height > BUCKETS_HEIGHT)
      report_print(sink, "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">%s</text>",
                   fmin(fmax(bucket_at(&m, 0, 0) + m.width / 2, LEFT + 20), WIDTH - 32), BUCKETS_TOP - 6,
                   report_percent(text, (double)(p->zero + m.near) / all));
  }
  /* Powers of ten below, from the middle outwards on the right, then on the left. */
  report_print(sink, "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">0</text>", bucket_at(&m, 0, 0) + m.width / 2, bottom + 15);
  for (int sign = -1; sign <= 1; sign += 2) {
    const int outer = sign < 0 ? m.negative : m.positive;
    double taken = bucket_at(&m, 0, 0) + m.width / 2 + sign * 8;
    for (int power = -12; power <= 4; power++) {
      const double value = pow(10, power), octave = floor(log2(value));
      const double k = 1 + 2 * (octave + 40 + value / exp2(octave) - 1); /* linear within an octave, as edges are */
      if (k < m.inner || k > outer + 1) continue;
      const double x = bucket_at(&m, sign, m.inner) + (sign > 0 ? k - m.inner : 1 - (k - m.inner)) * m.width;
      const double half = 3.5 * report_columns(report_number(text, sign * value)) + 4;
      if (sign * (x - taken) < half || x < LEFT - 4 || x > WIDTH - 12) continue;
      report_print(sink, "<path class=\"grid\" d=\"M%.1f %.0fv4\"/><text class=\"middle\" x=\"%.1f\" y=\"%.1f\">%s</text>", x, bottom, x,
                   bottom + 15, text);
      taken = x + sign * half;
    }
  }
  report_print(sink, "<text class=\"middle\" x=\"%.0f\" y=\"%.0f\">share of the values in each half octave of magnitude, by sign</text></svg>\n",
               LEFT + SPAN / 2, bottom + 31);
}

/* ---- Features ---------------------------------------------------------------------------------------------------- */

void report_svg_features(report_sink *sink, const report_layer *layer, size_t index) {
  const actscope_health *h = &layer->report.health;
  const struct {
    const char *kind, *what;
    uint64_t count;
  } rows[] = {{"dead", "dead", h->dead}, {"constant", "constant", h->constant}, {"high", "not finite", h->nonfinite}};
  size_t used = 0;
  char text[REPORT_TEXT], all[REPORT_TEXT], share[REPORT_TEXT];
  double features = (double)layer->report.features;
  for (size_t i = 0; i < 3; i++) used += rows[i].count > 0;
  if (!used || !(features > 0)) return;
  report_svg_open(sink, "figure", WIDTH, 22 * (double)used + 22, "features", index, "Features that carry nothing");
  report_print(sink, "%s dead, %s constant", report_count(text, h->dead), report_count(all, h->constant));
  report_print(sink, ", %s not finite", report_count(text, h->nonfinite));
  report_print(sink, " of %s.</desc>", report_count(text, layer->report.features));
  double y = 6;
  for (size_t i = 0; i < 3; i++) {
    if (!rows[i].count) continue;
    double part = (double)rows[i].count / features, full = SPAN - 300;
    report_print(sink, "<text class=\"end\" x=\"%.0f\" y=\"%.0f\">%s</text>", LEFT + 60, y + 10, rows[i].what);
    report_print(sink, "<rect class=\"rail\" x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"12\" rx=\"2\"/>", LEFT + 68, y, full);
    report_print(sink, "<rect class=\"%s\" x=\"%.0f\" y=\"%.0f\" width=\"%.1f\" height=\"12\" rx=\"2\"/>", rows[i].kind,
                 LEFT + 68, y, fmax(part * full, 1));
    report_print(sink, "<text x=\"%.0f\" y=\"%.0f\">%s of %s (%s)</text>", LEFT + 76 + full, y + 10,
                 report_count(text, rows[i].count), report_count(all, layer->report.features), report_percent(share, part));
    y += 22;
  }
  report_print(sink, "<text class=\"middle\" x=\"%.0f\" y=\"%.0f\">features that carry nothing</text></svg>\n",
               LEFT + SPAN / 2, y + 11);
}
