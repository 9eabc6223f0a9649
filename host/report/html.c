/* html.c - one page that needs nothing else: no network, no fonts, no libraries; its figures are inline SVG. */
#include "report/html.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/fields.h"

#define REASONS_SHOWN 5
#define LABEL 30 /* columns of a name in a table */
#define FILTER_FROM 10 /* fewer layers need no filter */
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
    report_fit_name(fitted, sizeof fitted, name, columns);
    name = fitted;
  }
  report_html_text(sink, name);
}

/* The bytes of every name that labels leave out: what all begin with, where one is too long with it. */
static size_t label_prefix(const report_document *document) {
  for (size_t i = 0; i < document->count; i++)
    if (report_has_numbers(&document->layers[i]) && document->layers[i].name && report_columns(document->layers[i].name) > LABEL)
      return report_common_prefix(document);
  return 0;
}

void report_html_label(report_sink *sink, const report_document *document, const report_layer *layer) {
  report_layer rest = *layer;
  if (layer->name && report_has_numbers(layer)) rest.name = layer->name + label_prefix(document);
  report_html_name(sink, &rest, LABEL);
}

void report_html_source(report_sink *sink, const report_document *document, const report_layer *layer) {
  char fitted[256];
  if (!layer->source || !report_several_sources(document)) return;
  report_fit(fitted, sizeof fitted, report_short_source(layer), 28);
  report_put(sink, " <span class=\"file\">");
  report_html_text(sink, fitted);
  report_put(sink, "</span>");
}

const char *report_score_class(double score) { return score >= 0.5 ? "high" : score >= 0.25 ? "mid" : "low"; }

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
  report_print(sink, "<p class=\"soft\">%s", document->run ? "At the last step. " : "");
  report_put(sink, more ? "The score goes from 0 (free) to 1 (constrained).</p>\n<ol class=\"why\">\n"
                        : "No layer stands out as a bottleneck.</p>\n");
  for (size_t i = 0; i < document->count && shown < REASONS_SHOWN; i++) {
    const actscope_bottleneck *entry = &document->ranking[i];
    char sentence[REPORT_SENTENCE];
    if (!report_has_score(document, entry) || !entry->reasons) continue;
    const report_layer *layer = &document->layers[entry->layer];
    report_print(sink, "<li><span class=\"score\">%.2f</span>", entry->score);
    report_svg_bar(sink, entry->score, report_score_class(entry->score));
    report_print(sink, "<b><a href=\"#layer-%zu\">", entry->layer);
    report_html_name(sink, layer, 90);
    report_put(sink, "</a>");
    report_html_source(sink, document, layer);
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
  if (document->run) report_put(sink, "<p class=\"soft\">At the last step.</p>\n");
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
  report_put(sink, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Along the network\">");
  report_svg_network(sink, document);
  report_put(sink, "</div></section>\n");
}

/* The families of scores, when they say more than the ranking. */
static void put_scores(report_sink *sink, const report_document *document) {
  if (!report_scores_matter(document)) return;
  report_put(sink,
             "<section aria-labelledby=\"families\">\n<h2 id=\"families\">Families of scores</h2>\n<p class=\"soft\">With "
             "gradients and weights where they are given; 0 is healthy.</p>\n<div class=\"scroll\" tabindex=\"0\" "
             "role=\"region\" aria-label=\"Families of scores\"><table>\n<caption>In the order of the network</caption>\n<thead><tr>"
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
    report_print(sink, "<tr data-i=\"%zu\"><th scope=\"row\"><a href=\"#layer-%zu\">", s->layer, s->layer);
    report_html_label(sink, document, layer);
    report_put(sink, "</a>");
    report_html_source(sink, document, layer);
    report_put(sink, "</th>");
    for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) {
      report_put(sink, "<td class=\"left\">");
      if (isfinite(s->score[k])) {
        report_svg_bar(sink, s->score[k], report_score_class(s->score[k]));
        report_print(sink, "%.2f", s->score[k]);
      } else {
        report_put(sink, "-");
      }
      report_put(sink, "</td>");
    }
    report_put(sink, "<td class=\"left words\">");
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
  if (there & ACTSCOPE_HEALTH) report_put(sink, "<th scope=\"col\" class=\"left\">dead</th><th scope=\"col\">const.</th>");
  if (there & ACTSCOPE_MOMENTS) report_put(sink, "<th scope=\"col\">std</th><th scope=\"col\">zero</th>");
  report_put(sink, "</tr></thead>\n");
}

static void put_row(report_sink *sink, const report_document *document, size_t index, const actscope_bottleneck *entry,
                    uint32_t there, int scored, double top) {
  const report_layer *layer = &document->layers[index];
  const actscope_layer_report *r = &layer->report;
  char text[REPORT_TEXT], more[REPORT_TEXT], shape[REPORT_SHAPE];
  report_print(sink, "<tr data-i=\"%zu\">", index);
  if (scored) {
    report_put(sink, "<td class=\"left\">");
    if (entry) {
      report_svg_bar(sink, entry->score, report_score_class(entry->score));
      report_print(sink, "%.2f", entry->score);
    } else {
      report_put(sink, "-");
    }
    report_put(sink, "</td>");
  }
  report_print(sink, "<th scope=\"row\"><a href=\"#layer-%zu\" title=\"", index);
  report_html_name(sink, layer, 0);
  report_put(sink, "\">");
  report_html_label(sink, document, layer);
  report_put(sink, "</a>");
  report_html_source(sink, document, layer);
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
    double share = NAN;
    if (HAS(layer, ACTSCOPE_HEALTH)) {
      share = r->features ? (double)r->health.dead / (double)r->features : NAN;
      report_svg_bar(sink, share, "dead");
      report_put(sink, report_percent(text, share));
    }
    share = r->features ? (double)r->health.constant / (double)r->features : NAN;
    report_print(sink, "</td><td>%s</td>", HAS(layer, ACTSCOPE_HEALTH) ? report_percent(text, share) : "");
  }
  if (there & ACTSCOPE_MOMENTS) {
    int here = HAS(layer, ACTSCOPE_MOMENTS) != 0;
    double zero = r->profile.count ? (double)r->profile.zero / (double)r->profile.count : NAN;
    report_print(sink, "<td>%s</td>", here ? report_number(text, r->profile.std) : "");
    report_print(sink, "<td>%s</td>", here ? report_percent(text, zero) : "");
  }
  report_put(sink, "</tr>\n");
}

/* What the labels of a table leave out of the names. */
static void put_left_out(report_sink *sink, const report_document *document) {
  size_t bytes = label_prefix(document);
  for (size_t i = 0; bytes && i < document->count; i++) {
    if (!report_has_numbers(&document->layers[i])) continue;
    char *prefix = strndup(document->layers[i].name, bytes);
    report_put(sink, "; names without ");
    report_html_text(sink, prefix);
    free(prefix);
    return;
  }
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
      "<section aria-labelledby=\"all\">\n<h2 id=\"all\">All layers</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"All layers\"><table>\n<caption>");
  report_print(sink, "%s%s", document->run ? "At the last step; " : "", scored ? "most constrained first" : "in the order of the network");
  if (there & ACTSCOPE_CORRELATION) report_print(sink, "; |r| is drawn from 0 to %.2g", top);
  put_left_out(sink, document);
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

/* Narrows tables and details to the layers one looks for. It needs the script, which shows it. */
static void put_filter(report_sink *sink, size_t layers) {
  if (layers < FILTER_FROM) return;
  report_print(sink,
               "<form id=\"filter\" class=\"filter\" role=\"search\" hidden>\n<label for=\"words\">Layers</label>"
               "<input id=\"words\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" placeholder=\"part of a name, or "
               "*.mlp.*\" aria-describedby=\"found\">\n<label><input id=\"why-only\" type=\"checkbox\"> with a reason or a "
               "warning</label>\n<output id=\"found\" for=\"words why-only\" aria-live=\"polite\">%zu of %zu layers</output>\n"
               "<span class=\"push\"><button id=\"open\" type=\"button\">Open shown</button> <button id=\"close\" "
               "type=\"button\">Close all</button></span>\n</form>\n",
               layers, layers);
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
  report_put(sink, "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the layers</a>\n");
  if (document->run) {
    report_html_run_header(sink, document);
  } else {
    put_header(sink, document);
  }
  report_put(sink, "<main id=\"main\" tabindex=\"-1\">\n");
  if (layers) {
    put_filter(sink, layers);
    if (document->run) report_html_run_alarms(sink, document->run);
    put_bottlenecks(sink, document);
    if (document->run) report_html_run(sink, document);
    put_network(sink, document, there);
    put_table(sink, document, scores, there);
    put_scores(sink, document);
    report_html_cka(sink, document);
    report_html_layers(sink, document, scores);
  } else {
    report_put(sink, "<section><p>No layer has numbers.</p></section>\n");
  }
  report_put(sink, "</main>\n<footer><p>Made by actscope; this file needs nothing else.</p></footer>\n<script>\n");
  report_put(sink, report_html_script);
  report_put(sink, "</script>\n</body>\n</html>\n");
  free(scores);
  return 0;
}
