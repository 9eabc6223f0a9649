/* html.c - one page that needs nothing else: no network, no fonts, no libraries; its figures are inline SVG. */
#include "report/html.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/fields.h"

#define REASONS_SHOWN 5
#define OPEN_LAYERS 3
#define HAS(layer, bits) ((layer)->report.statistics & (bits))

void report_html_text(report_sink *sink, const char *text) {
  char piece[REPORT_PIECE];
  while (text && report_piece(&text, piece) >= 0) {
    const char *escaped = piece;
    if (!piece[1]) {
      switch (piece[0]) {
        case '&':
          escaped = "&amp;";
          break;
        case '<':
          escaped = "&lt;";
          break;
        case '>':
          escaped = "&gt;";
          break;
        case '"':
          escaped = "&quot;";
          break;
        case '\'':
          escaped = "&#39;";
          break;
        default:
          break;
      }
    }
    report_put(sink, escaped);
  }
}

void report_html_name(report_sink *sink, const report_layer *layer, int columns) {
  const char *name = layer->name && *layer->name ? layer->name : "(unnamed)";
  char fitted[1024];
  if (columns > 0) {
    report_fit(fitted, sizeof fitted, name, columns);
    name = fitted;
  }
  report_html_text(sink, name);
}

/* The file in grey, where several files make names ambiguous. */
static void put_source(report_sink *sink, const report_document *document, const report_layer *layer) {
  char fitted[256];
  if (!layer->source || !report_several_sources(document)) return;
  report_fit(fitted, sizeof fitted, report_short_source(layer), 28);
  report_put(sink, " <span class=\"file\">");
  report_html_text(sink, fitted);
  report_put(sink, "</span>");
}

static const char *score_class(double score) { return score >= 0.5 ? "high" : score >= 0.25 ? "mid" : "low"; }

/* ---- The top of the page
 * --------------------------------------------------------------------------------------------- */

static void put_tile(report_sink *sink, const char *value, const char *what) {
  report_put(sink, "<li><b>");
  report_html_text(sink, value);
  report_put(sink, "</b><span>");
  report_html_text(sink, what);
  report_put(sink, "</span></li>\n");
}

static void put_header(report_sink *sink, const report_document *document) {
  size_t layers = 0, left_out = 0;
  uint64_t elements = 0;
  char text[REPORT_TEXT], what[256];
  const char *dtype = NULL;
  for (size_t i = 0; i < document->count; i++) {
    const report_layer *layer = &document->layers[i];
    if (!report_has_numbers(layer)) {
      left_out++;
      continue;
    }
    const char *own = actscope_dtype_name(layer->report.dtype);
    dtype = !dtype || strcmp(dtype, own) == 0 ? own : "mixed types";
    layers++;
    elements += layer->report.elements;
  }
  report_put(sink, "<header>\n<h1>What flows through the network</h1>\n<p class=\"soft\">actscope ");
  report_html_text(sink, actscope_version());
  report_put(sink, " on ");
  report_html_text(sink, document->backend);
  report_put(sink, document->device && *document->device ? ": " : "");
  report_html_text(sink, document->device);
  report_put(sink, "</p>\n<ul class=\"tiles\">\n");
  snprintf(text, sizeof text, "%zu", layers);
  snprintf(what, sizeof what, left_out ? "layers (%zu more without numbers)" : "layers", left_out);
  put_tile(sink, text, what);
  snprintf(what, sizeof what, "elements%s%s", dtype ? ", " : "", dtype ? dtype : "");
  put_tile(sink, report_count(text, elements), what);
  put_tile(sink, report_seconds(text, document->seconds), "reading and analysis");
  put_tile(sink, report_bytes(text, document->workspace_bytes), "working memory");
  put_tile(sink, report_bytes(text, document->budget_bytes), "cap on it");
  report_put(sink, "</ul>\n</header>\n");
}

static void put_bottlenecks(report_sink *sink, const report_document *document) {
  size_t shown = 0, more = 0, scored = 0;
  if (!document->ranking) return;
  for (size_t i = 0; i < document->count; i++) {
    if (!report_has_score(document, &document->ranking[i])) continue;
    scored++;
    if (document->ranking[i].reasons) more++;
  }
  if (!scored) return;
  report_put(sink, "<section aria-labelledby=\"why\">\n<h2 id=\"why\">Most constrained layers</h2>\n");
  report_put(sink, more ? "<p class=\"soft\">The score goes from 0 (free) to 1 (constrained).</p>\n<ol class=\"why\">\n"
                        : "<p>No layer stands out as a bottleneck.</p>\n");
  for (size_t i = 0; i < document->count && shown < REASONS_SHOWN; i++) {
    const actscope_bottleneck *entry = &document->ranking[i];
    char sentence[REPORT_SENTENCE];
    if (!report_has_score(document, entry) || !entry->reasons) continue;
    const report_layer *layer = &document->layers[entry->layer];
    report_print(sink, "<li><span class=\"score\">%.2f</span>", entry->score);
    report_svg_bar(sink, entry->score, score_class(entry->score));
    report_print(sink, "<b><a href=\"#layer-%zu\">", entry->layer);
    report_html_name(sink, layer, 90);
    report_put(sink, "</a>");
    put_source(sink, document, layer);
    report_put(sink, "</b><ul>");
    for (int bit = 0; bit < ACTSCOPE_REASON_COUNT; bit++) {
      if (!actscope_reason_text(entry, &layer->report, bit, sentence, sizeof sentence)) continue;
      report_put(sink, "<li>");
      report_html_text(sink, sentence);
      report_put(sink, "</li>");
    }
    report_put(sink, "</ul></li>\n");
    shown++;
  }
  if (more) report_put(sink, "</ol>\n");
  if (more > shown)
    report_print(sink, "<p class=\"soft\">and %zu more with a reason: see the table.</p>\n", more - shown);
  report_put(sink, "</section>\n");
}

static void put_network(report_sink *sink, const report_document *document, uint32_t there) {
  if (!(there & (ACTSCOPE_CORRELATION | ACTSCOPE_DISTINCT | ACTSCOPE_HEALTH))) return;
  report_put(sink, "<section aria-labelledby=\"along\">\n<h2 id=\"along\">Along the network</h2>\n");
  if (there & ACTSCOPE_CORRELATION)
    report_put(sink,
               "<ul class=\"legend\">"
               "<li><svg width=\"12\" height=\"12\" aria-hidden=\"true\"><circle class=\"mean\" cx=\"6\" cy=\"6\" "
               "r=\"4\"/></svg>"
               "mean |r|</li>"
               "<li><svg width=\"16\" height=\"12\" aria-hidden=\"true\"><path class=\"floor\" d=\"M0 6h16\"/></svg>"
               "noise floor: what independent features would show with as few samples</li>"
               "<li><svg width=\"12\" height=\"12\" aria-hidden=\"true\"><path class=\"adjusted\" d=\"M1 6l5 -5l5 5l-5 "
               "5z\"/></svg>"
               "adjusted rms: r beyond that floor</li></ul>\n");
  report_put(sink, "<div class=\"scroll\">");
  report_svg_network(sink, document);
  report_put(sink, "</div></section>\n");
}

/* The families of scores, when they say more than the ranking. */
static void put_scores(report_sink *sink, const report_document *document) {
  if (!report_scores_matter(document)) return;
  report_put(sink,
             "<section aria-labelledby=\"families\">\n<h2 id=\"families\">Families of scores</h2>\n<p class=\"soft\">With "
             "gradients and weights where they are given; 0 is healthy.</p>\n<div class=\"scroll\"><table>\n<thead><tr>"
             "<th scope=\"col\" class=\"name\">layer</th>");
  for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) {
    report_put(sink, "<th scope=\"col\" class=\"left\">");
    for (const char *c = actscope_score_name(k); *c; c++) report_print(sink, "%c", *c == '_' ? ' ' : *c);
    report_put(sink, "</th>");
  }
  report_put(sink, "<th scope=\"col\" class=\"left\">reasons</th></tr></thead>\n<tbody>\n");
  for (size_t i = 0; i < document->scored; i++) {
    const actscope_network_scores *s = &document->scores[i];
    const report_layer *layer = &document->layers[s->layer];
    char sentences[REPORT_SENTENCES];
    if (!report_has_numbers(layer)) continue;
    report_print(sink, "<tr><td><a href=\"#layer-%zu\">", s->layer);
    report_html_name(sink, layer, 30);
    report_put(sink, "</a>");
    put_source(sink, document, layer);
    report_put(sink, "</td>");
    for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) {
      report_put(sink, "<td class=\"left\">");
      if (isfinite(s->score[k])) {
        report_svg_bar(sink, s->score[k], score_class(s->score[k]));
        report_print(sink, "%.2f", s->score[k]);
      } else {
        report_put(sink, "-");
      }
      report_put(sink, "</td>");
    }
    report_put(sink, "<td class=\"left\">");
    report_html_text(sink, report_score_reasons(sentences, document, s));
    report_put(sink, "</td></tr>\n");
  }
  report_put(sink, "</tbody>\n</table></div>\n</section>\n");
}

/* ---- The table
 * ------------------------------------------------------------------------------------------------------- */

static void put_head(report_sink *sink, uint32_t there, int scored) {
  report_put(sink, "<thead><tr>");
  if (scored) report_put(sink, "<th scope=\"col\" class=\"left\">score</th>");
  report_put(sink, "<th scope=\"col\" class=\"name\">layer</th><th scope=\"col\" class=\"left\">shape</th>");
  if (there & ACTSCOPE_CORRELATION)
    report_put(sink,
               "<th scope=\"col\" class=\"left\">|r| and floor</th><th scope=\"col\">mean |r|</th>"
               "<th scope=\"col\">adj. rms</th>");
  if (there & ACTSCOPE_RANK)
    report_put(sink,
               "<th scope=\"col\"><abbr title=\"effective rank of the correlations, of the "
               "most that the samples allow\">eff. rank</abbr></th>");
  if (there & ACTSCOPE_DISTINCT) report_put(sink, "<th scope=\"col\" class=\"left\">redundancy</th>");
  if (there & ACTSCOPE_HEALTH) report_put(sink, "<th scope=\"col\" class=\"left\">dead</th>");
  if (there & ACTSCOPE_MOMENTS) report_put(sink, "<th scope=\"col\">std</th><th scope=\"col\">zero</th>");
  report_put(sink, "</tr></thead>\n");
}

static void put_row(report_sink *sink, const report_document *document, size_t index, const actscope_bottleneck *entry,
                    uint32_t there, int scored, double top) {
  const report_layer *layer = &document->layers[index];
  const actscope_layer_report *r = &layer->report;
  char text[REPORT_TEXT], more[REPORT_TEXT], shape[REPORT_SHAPE];
  report_put(sink, "<tr>");
  if (scored) {
    report_put(sink, "<td class=\"left\">");
    if (entry) {
      report_svg_bar(sink, entry->score, score_class(entry->score));
      report_print(sink, "%.2f", entry->score);
    } else {
      report_put(sink, "-");
    }
    report_put(sink, "</td>");
  }
  report_print(sink, "<th scope=\"row\"><a href=\"#layer-%zu\" title=\"", index);
  report_html_name(sink, layer, 0);
  report_put(sink, "\">");
  report_html_name(sink, layer, 30);
  report_put(sink, "</a>");
  put_source(sink, document, layer);
  report_print(sink, "</th><td class=\"left\">%s</td>", report_shape(shape, sizeof shape, layer, "\xc3\x97"));
  if (there & ACTSCOPE_CORRELATION) {
    report_put(sink, "<td class=\"left\">");
    if (HAS(layer, ACTSCOPE_CORRELATION)) report_svg_pairs(sink, layer, top);
    report_put(sink, "</td>");
    report_print(sink, "<td>%s</td>",
                 HAS(layer, ACTSCOPE_CORRELATION) ? report_fixed(text, r->correlation.mean_abs) : "");
    report_print(sink, "<td>%s</td>",
                 HAS(layer, ACTSCOPE_CORRELATION) ? report_fixed(text, r->correlation.adjusted_rms) : "");
  }
  if (there & ACTSCOPE_RANK) {
    uint64_t most = r->samples ? r->samples - 1 : 0;
    if (r->features < most) most = r->features;
    if (HAS(layer, ACTSCOPE_RANK) && isfinite(r->rank.effective_rank)) {
      report_print(sink, "<td>%.1f / %s</td>", r->rank.effective_rank, report_count(more, most));
    } else {
      report_put(sink, HAS(layer, ACTSCOPE_RANK) ? "<td>-</td>" : "<td></td>");
    }
  }
  if (there & ACTSCOPE_DISTINCT) {
    report_put(sink, "<td class=\"left\">");
    if (HAS(layer, ACTSCOPE_DISTINCT)) {
      report_svg_bar(sink, r->distinct.redundancy, "redundancy");
      report_put(sink, report_percent(text, r->distinct.redundancy));
    }
    report_put(sink, "</td>");
  }
  if (there & ACTSCOPE_HEALTH) {
    report_put(sink, "<td class=\"left\">");
    if (HAS(layer, ACTSCOPE_HEALTH)) {
      double share = r->features ? (double)r->health.dead / (double)r->features : NAN;
      report_svg_bar(sink, share, "dead");
      report_put(sink, report_percent(text, share));
    }
    report_put(sink, "</td>");
  }
  if (there & ACTSCOPE_MOMENTS) {
    int here = HAS(layer, ACTSCOPE_MOMENTS) != 0;
    double zero = r->profile.count ? (double)r->profile.zero / (double)r->profile.count : NAN;
    report_print(sink, "<td>%s</td>", here ? report_number(text, r->profile.std) : "");
    report_print(sink, "<td>%s</td>", here ? report_percent(text, zero) : "");
  }
  report_put(sink, "</tr>\n");
}

static void put_table(report_sink *sink, const report_document *document, const actscope_bottleneck **scores,
                      uint32_t there) {
  int scored = 0;
  double top = 0;
  for (size_t i = 0; i < document->count; i++) {
    const actscope_correlation *c = &document->layers[i].report.correlation;
    if (scores[i]) scored = 1;
    if (report_has_numbers(&document->layers[i]) && HAS(&document->layers[i], ACTSCOPE_CORRELATION))
      top = fmax(top, fmax(c->mean_abs, c->adjusted_rms));
  }
  top = report_svg_top(top);
  report_put(
      sink,
      "<section aria-labelledby=\"all\">\n<h2 id=\"all\">All layers</h2>\n<div class=\"scroll\"><table>\n<caption>");
  report_put(sink, scored ? "Most constrained first" : "In the order of the network");
  if (there & ACTSCOPE_CORRELATION) report_print(sink, "; |r| is drawn from 0 to %.2g", top);
  report_put(sink, "</caption>\n");
  put_head(sink, there, scored);
  report_put(sink, "<tbody>\n");
  for (size_t i = 0; scored && i < document->count; i++) {
    const actscope_bottleneck *entry = &document->ranking[i];
    if (report_has_score(document, entry)) put_row(sink, document, entry->layer, entry, there, scored, top);
  }
  for (size_t i = 0; i < document->count; i++)
    if (report_has_numbers(&document->layers[i]) && !scores[i]) put_row(sink, document, i, NULL, there, scored, top);
  report_put(sink, "</tbody>\n</table></div>\n</section>\n");
}

/* ---- The layers one by one
 * ------------------------------------------------------------------------------------------- */

/* 1048576 as "1 048 576", with narrow spaces that do not break. */
static void put_grouped(report_sink *sink, uint64_t count) {
  char digits[24];
  int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
  for (int i = 0; i < length; i++) {
    if (i && (length - i) % 3 == 0) report_put(sink, "\xe2\x80\xaf");
    report_print(sink, "%c", digits[i]);
  }
}

static void put_precise(report_sink *sink, double value) {
  if (isfinite(value)) {
    report_print(sink, "%.6g", value);
  } else {
    report_put(sink, "-");
  }
}

static void put_entry(report_sink *sink, const char *name, const char *suffix) {
  report_put(sink, "<dt>");
  for (; *name; name++) report_print(sink, "%c", *name == '_' ? ' ' : *name);
  report_print(sink, "%s</dt><dd>", suffix);
}

/* One number as a row of its section's list. */
static void put_field(report_sink *sink, const report_field *field, const void *value) {
  const double *reals = value;
  const char *method = NULL;
  if (field->kind == REPORT_INTERVAL && !(reals[1] > reals[0])) return; /* exact: the mean says it all */
  put_entry(sink, field->name, "");
  switch (field->kind) {
    case REPORT_COUNT:
      put_grouped(sink, *(const uint64_t *)value);
      break;
    case REPORT_INTERVAL:
      put_precise(sink, reals[0]);
      report_put(sink, " to ");
      put_precise(sink, reals[1]);
      break;
    case REPORT_DISTINCT_METHOD:
      method = report_distinct_method(*(const actscope_distinct_method *)value);
      break;
    case REPORT_CORRELATION_METHOD:
      method = report_correlation_method(*(const actscope_correlation_method *)value);
      break;
    default:
      put_precise(sink, *reals);
      break;
  }
  if (method) report_put(sink, method);
  report_put(sink, "</dd>");
}

/* A field of several numbers as a list of its own. */
static void put_list(report_sink *sink, const char *title, const char *name, const double *levels, const double *values,
                     int n) {
  char suffix[REPORT_TEXT + 1], level[REPORT_TEXT];
  report_print(sink, "<div><h3>%s</h3><dl>", title);
  for (int i = 0; i < n; i++) {
    snprintf(suffix, sizeof suffix, " %s", report_real(level, levels[i]));
    put_entry(sink, name, suffix);
    put_precise(sink, values[i]);
    report_put(sink, "</dd>");
  }
  report_put(sink, "</dl></div>\n");
}

static int is_list(report_kind kind) {
  return kind == REPORT_QUANTILES || kind == REPORT_ABOVE || kind == REPORT_HISTOGRAM;
}

static void put_numbers(report_sink *sink, const report_document *document, const report_layer *layer) {
  const void *value;
  report_put(sink, "<div class=\"numbers\">\n");
  for (size_t f = 0; f < report_field_count;) {
    const report_field *first = &report_fields[f];
    int there = HAS(layer, first->any) != 0;
    if (there) report_print(sink, "<div><h3>%s</h3><dl>", first->section);
    for (; f < report_field_count && strcmp(report_fields[f].section, first->section) == 0; f++)
      if (there && (value = report_value(document, layer, &report_fields[f])) && !is_list(report_fields[f].kind))
        put_field(sink, &report_fields[f], value);
    if (there) report_put(sink, "</dl></div>\n");
  }
  for (size_t f = 0; f < report_field_count; f++) {
    value = HAS(layer, report_fields[f].any) ? report_value(document, layer, &report_fields[f]) : NULL;
    if (value && report_fields[f].kind == REPORT_QUANTILES)
      put_list(sink, "quantiles", "", actscope_quantile_levels, value, ACTSCOPE_QUANTILE_COUNT);
    if (value && report_fields[f].kind == REPORT_ABOVE)
      put_list(sink, "share of pairs with |r|", "above", actscope_pair_thresholds, value, ACTSCOPE_THRESHOLD_COUNT);
  }
  if (document->compat && layer->compat.count) {
    report_put(sink, "<div><h3>by the formulas of neuroexapt</h3><dl>");
    for (int i = 0; i < layer->compat.count && i < COMPAT_MAX; i++) {
      report_put(sink, "<dt>");
      report_html_text(sink, layer->compat.name[i]);
      report_put(sink, "</dt><dd>");
      put_precise(sink, layer->compat.value[i]);
      report_put(sink, "</dd>");
    }
    report_put(sink, "</dl></div>\n");
  }
  report_put(sink, "</div>\n");
}

static void put_layer(report_sink *sink, const report_document *document, size_t index, int open) {
  const report_layer *layer = &document->layers[index];
  char shape[REPORT_SHAPE], text[REPORT_TEXT], sentence[REPORT_SENTENCE];
  int warned = 0;
  report_print(sink, "<details id=\"layer-%zu\"%s><summary><b>", index, open ? " open" : "");
  report_html_name(sink, layer, 0);
  report_print(sink, "</b><span class=\"soft\">%s %s", report_shape(shape, sizeof shape, layer, "\xc3\x97"),
               actscope_dtype_name(layer->report.dtype));
  if (isfinite(layer->report.seconds)) report_print(sink, ", %s", report_seconds(text, layer->report.seconds));
  if (layer->source) report_put(sink, ", "), report_html_text(sink, layer->source);
  report_put(sink, "</span></summary>\n");
  for (int bit = 0; bit < ACTSCOPE_WARN_COUNT; bit++) {
    if (!actscope_warning_text(&layer->report, bit, sentence, sizeof sentence)) continue;
    report_put(sink, warned++ ? "<li>" : "<ul class=\"warn\"><li>");
    report_html_text(sink, sentence);
    report_put(sink, "</li>");
  }
  report_put(sink, warned ? "</ul>\n<div class=\"figures\">\n" : "<div class=\"figures\">\n");
  if (HAS(layer, ACTSCOPE_CORRELATION)) report_svg_histogram(sink, layer);
  if (HAS(layer, ACTSCOPE_MOMENTS) && HAS(layer, ACTSCOPE_QUANTILES)) report_svg_quantiles(sink, layer);
  report_put(sink, "</div>\n");
  put_numbers(sink, document, layer);
  report_put(sink, "</details>\n");
}

static void put_layers(report_sink *sink, const report_document *document) {
  report_put(sink,
             "<section aria-labelledby=\"each\">\n<h2 id=\"each\">Layer by layer</h2>\n"
             "<p class=\"soft\">In the order of the network; the most constrained are open.</p>\n");
  for (size_t i = 0; i < document->count && !sink->error; i++) {
    int open = 0;
    if (!report_has_numbers(&document->layers[i])) continue;
    for (size_t k = 0; document->ranking && k < document->count && k < OPEN_LAYERS; k++)
      open |= document->ranking[k].layer == i && report_has_score(document, &document->ranking[k]);
    put_layer(sink, document, i, open);
  }
  report_put(sink, "</section>\n");
}

int report_write_html(report_sink *sink, const report_document *document) {
  const actscope_bottleneck **scores = report_scores(document);
  uint32_t there = 0;
  size_t layers = 0;
  if (!scores) {
    errno = ENOMEM;
    return -1;
  }
  for (size_t i = 0; i < document->count; i++) {
    if (!report_has_numbers(&document->layers[i])) continue;
    there |= document->layers[i].report.statistics;
    layers++;
  }
  report_put(sink,
             "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<meta name=\"generator\" content=\"actscope\">\n<title>actscope report</title>\n<style>\n");
  report_put(sink, report_html_style);
  report_put(sink, "</style>\n</head>\n<body>\n");
  put_header(sink, document);
  report_put(sink, "<main>\n");
  if (layers) {
    put_bottlenecks(sink, document);
    put_network(sink, document, there);
    put_table(sink, document, scores, there);
    put_scores(sink, document);
    put_layers(sink, document);
  } else {
    report_put(sink, "<section><p>No layer has numbers.</p></section>\n");
  }
  /* A link to a layer opens it; without scripts the page only scrolls there. */
  report_put(sink,
             "</main>\n<footer><p>Made by actscope; this file needs nothing else.</p></footer>\n"
             "<script>function show(){var e=document.getElementById(location.hash.slice(1));"
             "if(e&&e.tagName=='DETAILS'){e.open=true;e.scrollIntoView()}}"
             "addEventListener('hashchange',show);show()</script>\n</body>\n</html>\n");
  free(scores);
  return 0;
}
