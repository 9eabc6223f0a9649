/* html_lists.c - single pairs and features of a layer on the page: those with the largest |r|, and those without a pair. */
#include <math.h>

#include "report/html.h"

#define ROWS 20 /* of a list; the rest is counted */

/* A list's table; `head` is the rest of its first row. */
static void open_list(report_sink *sink, const char *title, const char *head) {
  report_print(sink,
               "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table>\n<caption>%s</caption>\n"
               "<thead><tr>%s</tr></thead>\n<tbody>\n",
               title, title, head);
}

/* How many of `all` are not among the rows, and where they are. */
static void close_list(report_sink *sink, size_t all) {
  char text[REPORT_TEXT];
  report_put(sink, "</tbody>\n</table>\n");
  if (all > ROWS) report_print(sink, "<p class=\"soft\">and %s more: see --format json.</p>\n", report_count(text, all - ROWS));
}

static void put_pairs(report_sink *sink, const report_layer *layer, double limit) {
  char text[REPORT_SHAPE];
  if (layer->top_count) {
    open_list(sink, "Pairs of features with the largest |r|",
              "<th scope=\"col\">r</th><th scope=\"col\" class=\"left\">feature</th><th scope=\"col\" class=\"left\">feature</th>");
    for (size_t k = 0; k < layer->top_count && k < ROWS; k++) {
      report_print(sink, isfinite(layer->top[k].r) ? "<tr><td>%.4f</td>" : "<tr><td>-</td>", layer->top[k].r);
      report_print(sink, "<td class=\"left\">%s</td>", report_feature_index(text, sizeof text, layer, layer->top[k].i));
      report_print(sink, "<td class=\"left\">%s</td></tr>\n", report_feature_index(text, sizeof text, layer, layer->top[k].j));
    }
    close_list(sink, layer->top_count);
  } else {
    report_put(sink, "<div>");
  }
  if (limit > 0) /* how many there are is known, whatever is listed */
    report_print(sink, "<p class=\"soft\">%s pair%s above %g.</p>\n", layer->top_above ? report_count(text, layer->top_above) : "No",
                 layer->top_above == 1 ? "" : "s", limit);
  else if (!layer->top_count) report_put(sink, "<p class=\"soft\">No pair of features.</p>\n");
  report_put(sink, "</div>\n");
}

static void put_features(report_sink *sink, const report_layer *layer) {
  char text[REPORT_SHAPE], sentence[REPORT_SENTENCE];
  if (layer->top_feature_count) {
    open_list(sink, "Features that are most correlated with the others",
              "<th scope=\"col\">mean |r|</th><th scope=\"col\">max |r|</th><th scope=\"col\" class=\"left\">feature</th>");
    for (size_t k = 0; k < layer->top_feature_count && k < ROWS; k++) {
      const report_feature *f = &layer->top_features[k];
      report_print(sink, "<tr><td>%s</td>", report_fixed(text, (double)f->mean_abs));
      report_print(sink, "<td>%s</td>", report_fixed(text, (double)f->max_abs));
      report_print(sink, "<td class=\"left\">%s</td></tr>\n", report_feature_index(text, sizeof text, layer, f->feature));
    }
    close_list(sink, layer->top_feature_count);
  } else {
    report_put(sink, "<div>");
  }
  if (*report_pairless(sentence, layer)) {
    report_put(sink, "<p class=\"soft\">Features: ");
    report_html_text(sink, sentence);
    report_put(sink, "</p>\n");
  }
  report_put(sink, "</div>\n");
}

void report_html_lists(report_sink *sink, const report_document *document, const report_layer *layer) {
  if (!layer->top && !layer->top_features) return;
  report_put(sink, "<div class=\"lists\">\n");
  if (layer->top) put_pairs(sink, layer, document->options.pairs_above);
  if (layer->top_features) put_features(sink, layer);
  report_put(sink, "</div>\n");
}
