/* html_run.c - the steps of a monitor on the page: what they were, their alarms, and each layer's lines over them.
 *
 * A line is drawn once, in the table, and used again in the layer's own figures. Where there are more steps than a line has
 * pixels, each stretch of steps shows its least and its largest value, so that no peak is lost. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "report/html.h"
#include "report/run.h"

#define ALARMS_SHOWN 12
#define WARNINGS_SHOWN 10
#define X_SPAN 1000 /* of a line's own coordinates; both ends have a margin */
#define Y_SPAN 200
#define POINTS 24000 /* of a figure over all layers, so that a page of many layers stays small */
#define MOST_COLUMNS 180 /* of the layers' map over the steps */

/* ---- The top ----------------------------------------------------------------------------------------------------- */

static char *when(char *text, size_t size, double seconds, const char *format) {
  time_t t = (time_t)seconds;
  struct tm utc;
  *text = 0;
  if (isfinite(seconds) && fabs(seconds) < 1e11 && gmtime_r(&t, &utc)) strftime(text, size, format, &utc);
  return text;
}

static void tile(report_sink *sink, const char *kind, const char *value, const char *what) {
  report_print(sink, "<li%s><b>%s</b><span>%s</span></li>\n", kind, value, what);
}

void report_html_run_header(report_sink *sink, const report_document *document) {
  const report_run *run = document->run;
  char text[64], more[64];
  const char *slash = strrchr(run->path, '/');
  report_print(sink, "<header>\n<h1>What flowed through the network</h1>\n<p class=\"soft\">actscope %s, steps %lld to %lld of ",
               actscope_version(), (long long)run->steps[0], (long long)run->steps[run->count - 1]);
  report_html_text(sink, slash && slash[1] ? slash + 1 : run->path);
  if (*when(text, sizeof text, run->began, "%Y-%m-%d %H:%M")) report_print(sink, ", %s", text);
  if (*when(more, sizeof more, run->ended, "%Y-%m-%d %H:%M")) report_print(sink, " to %s UTC", more);
  report_put(sink, "</p>\n<ul class=\"tiles\">\n");
  snprintf(text, sizeof text, "%zu", run->last_count);
  tile(sink, "", text, "layers at the last step");
  snprintf(text, sizeof text, "%zu", run->count);
  tile(sink, "", text, run->count == 1 ? "measured step" : "measured steps");
  snprintf(text, sizeof text, "%lld", (long long)run->steps[run->count - 1]);
  tile(sink, "", text, "last step");
  snprintf(text, sizeof text, "%zu", run->alarm_count);
  tile(sink, run->alarm_count ? " class=\"alarm\"" : "", text, run->alarm_count == 1 ? "step with a NaN or an infinity" : "steps with a NaN or an infinity");
  report_put(sink, "</ul>\n</header>\n");
}

static void put_how_many(report_sink *sink, double value) {
  if (isfinite(value)) {
    report_print(sink, "<td>%.0f</td>", value);
  } else {
    report_put(sink, "<td>-</td>");
  }
}

void report_html_run_alarms(report_sink *sink, const report_run *run) {
  if (run->alarm_count) {
    report_put(sink,
               "<section aria-labelledby=\"alarms\">\n<h2 id=\"alarms\">NaN and infinities</h2>\n<div class=\"scroll\" "
               "tabindex=\"0\" role=\"region\" aria-label=\"NaN and infinities\"><table class=\"alarms\">\n");
    report_print(sink, "<caption>%zu of %zu steps; the first layer that showed one</caption>\n", run->alarm_count, run->count);
    report_put(sink,
               "<thead><tr><th scope=\"col\" class=\"left\">step</th><th scope=\"col\" class=\"name\">first layer</th><th scope=\"col\" "
               "class=\"left\">kind</th><th scope=\"col\">NaN</th><th scope=\"col\">infinite</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < run->alarm_count && i < ALARMS_SHOWN; i++) {
      const run_alarm *alarm = &run->alarms[i];
      report_print(sink, "<tr><th scope=\"row\">%lld</th><td class=\"left\">", (long long)run->steps[alarm->at]);
      report_html_text(sink, alarm->place);
      report_print(sink, "</td><td class=\"left\">%s</td>", report_role(alarm->role));
      put_how_many(sink, alarm->nan);
      put_how_many(sink, alarm->inf);
      report_put(sink, "</tr>\n");
    }
    report_put(sink, "</tbody>\n</table></div>\n");
    if (run->alarm_count > ALARMS_SHOWN)
      report_print(sink, "<p class=\"soft\">and %zu more: red marks below.</p>\n", run->alarm_count - ALARMS_SHOWN);
    report_put(sink, "</section>\n");
  }
  if (!run->warning_count) return;
  report_put(sink, "<section aria-labelledby=\"warnings\">\n<h2 id=\"warnings\">Warnings of the monitor</h2>\n<ul class=\"warn\">");
  for (size_t i = 0; i < run->warning_count && i < WARNINGS_SHOWN; i++) {
    report_put(sink, "<li>");
    report_html_text(sink, run->warnings[i].text);
    if (run->warnings[i].times > 1) report_print(sink, " (%zu times)", run->warnings[i].times);
    report_put(sink, "</li>");
  }
  report_put(sink, "</ul>\n");
  if (run->warning_count > WARNINGS_SHOWN)
    report_print(sink, "<p class=\"soft\">and %zu more.</p>\n", run->warning_count - WARNINGS_SHOWN);
  report_put(sink, "</section>\n");
}

/* ---- Lines ------------------------------------------------------------------------------------------------------- */

/* The figures over the steps: which numbers, in which classes, and how the axis goes. */
typedef struct figure {
  const char *name, *what; /* the head of the column; of the layer's own figure */
  enum { PLAIN, SHARE, LOGARITHMIC } axis;
  struct {
    run_number number;
    const char *kind, *what;
  } lines[3];
  int count, said; /* lines; the one whose last value stands beside the line */
} figure;

static const figure figures[] = {
    {"|r| and floor", "|r| of features", PLAIN,
     {{RUN_FLOOR, "l-floor", "floor"}, {RUN_MEAN_ABS, "l-mean", "mean"}, {RUN_ADJUSTED, "l-adjusted", "adjusted rms"}},
     3, 2},
    {"dead", "dead features", SHARE, {{RUN_DEAD, "l-dead", "dead"}}, 1, 0},
    {"|x| max, std", "size of the values", LOGARITHMIC, {{RUN_ABS_MAX, "l-mean", "largest |x|"}, {RUN_STD, "l-floor", "std"}}, 2, 1},
    {"redundancy", "redundancy", SHARE, {{RUN_REDUNDANCY, "l-redundancy", "redundancy"}}, 1, 0},
    {"eff. rank", "effective rank", PLAIN, {{RUN_RANK, "l-mean", "effective rank"}}, 1, 0},
};
#define FIGURES (sizeof figures / sizeof *figures)

/* The least and the largest of a figure's numbers, over the steps of one layer; 0 when there are none. */
static int extent(const figure *f, const run_layer *layer, double *low, double *high) {
  *low = INFINITY, *high = -INFINITY;
  for (size_t i = 0; i < layer->count; i++)
    for (int k = 0; k < f->count; k++) {
      double v = layer->points[i].value[f->lines[k].number];
      if (isfinite(v)) *low = fmin(*low, v), *high = fmax(*high, v);
    }
  return *high >= *low;
}

/* The smallest of 1, 2, 5 times a power of ten that is at least `value`. */
static double round_top(double value) {
  if (!(value > 0)) return 1;
  double unit = pow(10, floor(log10(value)));
  static const double steps[] = {1, 2, 5, 10};
  for (int i = 0; i < 4; i++)
    if (value <= steps[i] * unit * (1 + 1e-12)) return steps[i] * unit;
  return value;
}

/* The axis of a figure for one layer. `log`: from a power of ten to a power of ten. */
typedef struct scale {
  double low, high;
  int log;
} scale;

static scale scale_of(const figure *f, const run_layer *layer) {
  double low, high;
  scale s = {0, 1, 0};
  if (!extent(f, layer, &low, &high)) return s;
  if (f->axis == LOGARITHMIC && low > 0 && high > 20 * low) {
    s.log = 1;
    s.low = pow(10, floor(log10(low)));
    s.high = pow(10, ceil(log10(high)));
  } else {
    s.low = low < 0 ? -round_top(-low) : 0;
    s.high = round_top(high);
    if (f->axis == SHARE) s.high = fmin(s.high, 1);
  }
  return s;
}

static int height_of(const scale *s, double value) {
  double part = s->log ? log(fmax(value, s->low) / s->low) / log(s->high / s->low) : (value - s->low) / (s->high - s->low);
  return (int)lround(Y_SPAN - 4 - fmin(fmax(part, 0), 1) * (Y_SPAN - 8));
}

static int place_of(const report_run *run, size_t at) {
  double first = (double)run->steps[0], last = (double)run->steps[run->count - 1];
  return last > first ? (int)lround(4 + ((double)run->steps[at] - first) / (last - first) * (X_SPAN - 8)) : X_SPAN / 2;
}

/* One line as a path: relative moves, a new piece behind a gap, a dot where a piece is one point. */
static void put_line(report_sink *sink, const report_run *run, const run_layer *layer, run_number number, const scale *s,
                     const char *kind, size_t stretches) {
  size_t stretch = run->count / stretches + 1;
  int x = 0, y = 0, open = 0, dot = 0;
  report_print(sink, "<path class=\"%s\" d=\"", kind);
  for (size_t i = 0; i < layer->count;) {
    /* The points of one stretch of steps without a gap; of them the least and the largest, in their order. */
    size_t end = i, least = i, most = i;
    double value = layer->points[i].value[number];
    if (!isfinite(value)) {
      open = 0, i++;
      continue;
    }
    if (i && layer->points[i].at != layer->points[i - 1].at + 1) open = 0; /* it was not measured in between */
    while (end < layer->count && layer->points[end].at / stretch == layer->points[i].at / stretch &&
           (end == i || layer->points[end].at == layer->points[end - 1].at + 1)) {
      double v = layer->points[end].value[number];
      if (!isfinite(v)) break;
      if (v < layer->points[least].value[number]) least = end;
      if (v > layer->points[most].value[number]) most = end;
      end++;
    }
    size_t picked[2] = {least < most ? least : most, least < most ? most : least};
    for (int k = 0; k < 2; k++) {
      if (k && picked[0] == picked[1]) break;
      int to_x = place_of(run, layer->points[picked[k]].at), to_y = height_of(s, layer->points[picked[k]].value[number]);
      if (!open) {
        if (dot) report_put(sink, "h0");
        report_print(sink, "M%d %d", to_x, to_y);
        dot = open = 1;
      } else {
        report_print(sink, "%s%d %d", dot ? "l" : " ", to_x - x, to_y - y);
        dot = 0;
      }
      x = to_x, y = to_y;
    }
    i = end;
  }
  report_put(sink, dot ? "h0\"/>" : "\"/>");
}

/* Marks at the steps at which this layer had values that are not finite. */
static void put_marks(report_sink *sink, const report_run *run, const run_layer *layer) {
  int open = 0, before = -1;
  for (size_t i = 0; i < layer->count; i++) {
    int x = place_of(run, layer->points[i].at);
    if (!(layer->points[i].value[RUN_BAD] > 0) || x == before) continue;
    report_print(sink, open++ ? "M%d 0v%d" : "<path class=\"l-bad\" d=\"M%d 0v%d", x, Y_SPAN);
    before = x;
  }
  if (open) report_put(sink, "\"/>");
}

static double last_value(const run_layer *layer, run_number number) {
  return layer->count ? layer->points[layer->count - 1].value[number] : NAN;
}

static char *value_text(char *text, const figure *f, run_number number, double value) {
  return f->axis == SHARE                             ? report_percent(text, value)
         : number == RUN_RANK && isfinite(value)      ? (snprintf(text, REPORT_TEXT, "%.1f", value), text)
         : number <= RUN_ADJUSTED                     ? report_fixed(text, value)
                                                      : report_number(text, value);
}

/* Which figures any layer has. */
static uint32_t figures_of(const report_run *run) {
  uint32_t there = 0;
  double low, high;
  for (size_t f = 0; f < FIGURES; f++)
    for (size_t i = 0; i < run->layer_count && !(there >> f & 1); i++)
      there |= (uint32_t)extent(&figures[f], &run->layers[i], &low, &high) << f;
  return there;
}

/* ---- The table --------------------------------------------------------------------------------------------------- */

static void put_row(report_sink *sink, const report_document *document, size_t index, size_t of, uint32_t there) {
  const report_run *run = document->run;
  const run_layer *layer = &run->layers[of];
  size_t stretches = run->layer_count ? POINTS / run->layer_count : POINTS, bad = 0;
  double low, high;
  char text[REPORT_TEXT];
  if (stretches < 30) stretches = 30;
  if (stretches > 250) stretches = 250;
  for (size_t i = 0; i < layer->count; i++) bad += layer->points[i].value[RUN_BAD] > 0;
  if (index < document->count) {
    report_print(sink, "<tr data-i=\"%zu\"><th scope=\"row\"><a href=\"#layer-%zu\" title=\"", index, index);
    report_html_text(sink, layer->name);
    report_put(sink, "\">");
    report_html_label(sink, document, &document->layers[index]);
    report_put(sink, "</a></th>");
  } else { /* not in the last step */
    char fitted[256];
    report_fit_name(fitted, sizeof fitted, layer->name, 30);
    report_put(sink, "<tr data-i=\"-\"><th scope=\"row\">");
    report_html_text(sink, fitted);
    report_put(sink, "</th>");
  }
  for (size_t f = 0; f < FIGURES; f++) {
    if (!(there >> f & 1)) continue;
    if (!extent(&figures[f], layer, &low, &high)) {
      report_put(sink, "<td></td>");
      continue;
    }
    scale s = scale_of(&figures[f], layer);
    report_print(sink,
                 "<td><svg class=\"spark\" viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><g "
                 "id=\"g%zu-%zu\">",
                 X_SPAN, Y_SPAN, of, f);
    if (bad) put_marks(sink, run, layer);
    for (int k = 0; k < figures[f].count; k++)
      put_line(sink, run, layer, figures[f].lines[k].number, &s, figures[f].lines[k].kind, stretches);
    run_number said = figures[f].lines[figures[f].said].number;
    if (said == RUN_ADJUSTED && !isfinite(last_value(layer, said))) said = RUN_MEAN_ABS;
    report_print(sink, "</g></svg><span class=\"last\">%s</span></td>",
                 value_text(text, &figures[f], said, last_value(layer, said)));
  }
  if (run->alarm_count) report_print(sink, bad ? "<td class=\"bad\">%zu</td>" : "<td></td>", bad);
  report_put(sink, "</tr>\n");
}

/* ---- The map: all layers over the steps -------------------------------------------------------------------------- */

typedef struct map {
  const report_document *document;
  run_number number;
  size_t stretch, prefix;
} map;

/* The largest value of a stretch of steps; infinite where one of them had values that are not finite. */
static double map_value(const void *user, size_t row, size_t column) {
  const map *m = user;
  const report_run *run = m->document->run;
  const run_layer *layer = &run->layers[run->last[row]];
  double value = NAN;
  size_t low = 0, high = layer->count; /* the first point of the stretch */
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (layer->points[middle].at < column * m->stretch) low = middle + 1;
    else high = middle;
  }
  for (; low < layer->count && layer->points[low].at < (column + 1) * m->stretch; low++) {
    if (layer->points[low].value[RUN_BAD] > 0) return INFINITY;
    value = fmax(value, layer->points[low].value[m->number]);
  }
  return value;
}

static void map_row(const void *user, size_t row, char *text, size_t size) {
  const map *m = user;
  report_fit_name(text, size, m->document->layers[row].name + m->prefix, 28);
}

static void map_column(const void *user, size_t column, char *text, size_t size) {
  const map *m = user;
  snprintf(text, size, "%lld", (long long)m->document->run->steps[column * m->stretch]);
}

/* The number that says most of those that were measured. */
static void put_map(report_sink *sink, const report_document *document) {
  static const struct {
    run_number number;
    const char *title;
  } choices[] = {{RUN_ADJUSTED, "Adjusted rms of r"}, {RUN_REDUNDANCY, "Redundancy"}, {RUN_DEAD, "Share of dead features"}};
  const report_run *run = document->run;
  for (size_t c = 0; c < sizeof choices / sizeof *choices; c++) {
    double top = 0;
    int any = 0;
    for (size_t i = 0; i < run->layer_count; i++)
      for (size_t k = 0; k < run->layers[i].count; k++) {
        double v = run->layers[i].points[k].value[choices[c].number];
        if (isfinite(v)) any = 1, top = fmax(top, v);
      }
    if (!any || run->count < 2 || run->last_count < 2) continue;
    map m = {document, choices[c].number, (run->count + MOST_COLUMNS - 1) / MOST_COLUMNS, report_common_prefix(document)};
    report_heat heat = {run->last_count, (run->count + m.stretch - 1) / m.stretch, 0, fmin(round_top(top), 1), map_value, map_row,
                        map_column, &m, 0, run->alarm_count ? "NaN or infinite" : NULL};
    char words[256];
    snprintf(words, sizeof words, "%zu layers, a row each, over %zu steps from left to right; the lines below have the same numbers.",
             run->last_count, run->count);
    report_print(sink, "<p class=\"soft\">%s, layers from top to bottom, steps from left to right%s.</p>\n", choices[c].title,
                 m.stretch > 1 ? "; of neighbouring steps the largest" : "");
    report_put(sink, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"All layers over the steps\">");
    report_svg_heat(sink, &heat, "map", choices[c].title, words);
    report_put(sink, "</div>\n");
    return;
  }
}

void report_html_run(report_sink *sink, const report_document *document) {
  const report_run *run = document->run;
  uint32_t there = figures_of(run);
  if (!there) return;
  report_put(sink, "<section aria-labelledby=\"steps\">\n<h2 id=\"steps\">Over the steps</h2>\n");
  put_map(sink, document);
  report_put(sink,
             "<ul class=\"legend\"><li><svg width=\"18\" height=\"12\" aria-hidden=\"true\"><path class=\"l-mean\" "
             "d=\"M1 6h16\"/></svg>mean |r|, largest |x|</li><li><svg width=\"18\" height=\"12\" aria-hidden=\"true\"><path "
             "class=\"l-adjusted\" d=\"M1 6h16\"/></svg>adjusted rms</li><li><svg width=\"18\" height=\"12\" "
             "aria-hidden=\"true\"><path class=\"l-floor\" d=\"M1 6h16\"/></svg>noise floor, std</li>");
  if (run->alarm_count)
    report_put(sink,
               "<li><svg width=\"18\" height=\"12\" aria-hidden=\"true\"><path class=\"l-bad\" d=\"M9 0v12\"/></svg>NaN or "
               "infinite values</li>");
  report_put(sink,
             "</ul>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Each layer over the steps\"><table "
             "class=\"sparks\">\n");
  report_print(sink,
               "<caption>Steps %lld to %lld; each line on a scale of its own, with its last value; the layers below have them "
               "large</caption>\n<thead><tr><th scope=\"col\" class=\"name\">layer</th>",
               (long long)run->steps[0], (long long)run->steps[run->count - 1]);
  for (size_t f = 0; f < FIGURES; f++)
    if (there >> f & 1) report_print(sink, "<th scope=\"col\" class=\"left\">%s</th>", figures[f].name);
  if (run->alarm_count) report_put(sink, "<th scope=\"col\">bad steps</th>");
  report_put(sink, "</tr></thead>\n<tbody>\n");
  for (size_t i = 0; document->ranking && i < document->count; i++) {
    size_t index = document->ranking[i].layer;
    put_row(sink, document, index, run->last[index], there);
  }
  char *shown = calloc(run->layer_count + 1, 1);
  for (size_t i = 0; shown && i < run->last_count; i++) shown[run->last[i]] = 1;
  for (size_t i = 0; shown && i < run->layer_count; i++)
    if (!shown[i]) put_row(sink, document, document->count, i, there);
  free(shown);
  report_put(sink, "</tbody>\n</table></div>\n</section>\n");
}

/* ---- A layer's own figures --------------------------------------------------------------------------------------- */

void report_html_run_layer(report_sink *sink, const report_document *document, size_t index) {
  const report_run *run = document->run;
  size_t of = run->last[index];
  const run_layer *layer = &run->layers[of];
  double low, high;
  char text[REPORT_TEXT], more[REPORT_TEXT];
  if (run->count < 2) return;
  report_put(sink, "<div class=\"lines\">\n");
  for (size_t f = 0; f < FIGURES; f++) {
    const figure *fig = &figures[f];
    if (!extent(fig, layer, &low, &high)) continue;
    scale s = scale_of(fig, layer);
    report_print(sink, "<figure><figcaption>%s", fig->what);
    for (int k = 0; k < fig->count; k++)
      if (fig->count > 1)
        report_print(sink, " <span class=\"%s\">%s %s</span>", fig->lines[k].kind, fig->lines[k].what,
                     value_text(text, fig, fig->lines[k].number, last_value(layer, fig->lines[k].number)));
      else
        report_print(sink, " <span class=\"%s\">%s</span>", fig->lines[k].kind,
                     value_text(text, fig, fig->lines[k].number, last_value(layer, fig->lines[k].number)));
    value_text(text, fig, fig->lines[0].number, s.high);
    if (fig->axis == PLAIN) report_number(text, s.high);
    value_text(more, fig, fig->lines[0].number, s.low);
    if (fig->axis == PLAIN) report_number(more, s.low);
    report_print(sink,
                 "</figcaption><div class=\"chart\"><span class=\"axis\">%s</span><span class=\"axis low\">%s</span><svg "
                 "viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"c%zu-%zu-t c%zu-%zu-d\">"
                 "<title id=\"c%zu-%zu-t\">%s over the steps</title><desc id=\"c%zu-%zu-d\">",
                 text, more, X_SPAN, Y_SPAN, index, f, index, f, index, f, fig->what, index, f);
    report_print(sink, "Between %s and ", value_text(text, fig, fig->lines[0].number, low));
    report_print(sink, "%s%s.</desc>", value_text(text, fig, fig->lines[0].number, high), s.log ? ", on a logarithmic axis" : "");
    report_print(sink, "<path class=\"l-grid\" d=\"M0 4H%d M0 %dH%d M0 %dH%d\"/><use href=\"#g%zu-%zu\"/></svg></div>", X_SPAN,
                 Y_SPAN / 2, X_SPAN, Y_SPAN - 4, X_SPAN, of, f);
    report_print(sink, "<div class=\"ends\"><span>step %lld</span><span>%lld</span></div></figure>\n", (long long)run->steps[0],
                 (long long)run->steps[run->count - 1]);
  }
  report_put(sink, "</div>\n");
}
