/* html_cka.c - how alike the layers are, each with each: a map of CKA, and its numbers where they fit a table. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/html.h"

#define NUMBERS_UP_TO 60 /* layers; a larger table nobody reads */

typedef struct grid {
  const report_document *document;
  const size_t *of; /* the layer of each row */
  size_t prefix;
} grid;

static double cka(const void *user, size_t row, size_t column) {
  const grid *g = user;
  return g->document->cka[g->of[row] * g->document->count + g->of[column]];
}

static void name(const void *user, size_t row, char *text, size_t size) {
  const grid *g = user;
  const report_layer *layer = &g->document->layers[g->of[row]];
  const char *own = layer->name && *layer->name ? layer->name + g->prefix : "(unnamed)";
  if (report_several_sources(g->document)) {
    char fitted[64];
    report_fit_name(fitted, sizeof fitted, own, 14);
    snprintf(text, size, "%s ", fitted);
    report_fit(text + strlen(text), size - strlen(text), report_short_source(layer), 11);
  } else {
    report_fit_name(text, size, own, 26);
  }
}

static void put_numbers(report_sink *sink, const grid *g, size_t count) {
  char text[128];
  report_put(sink,
             "<details><summary>The numbers</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"CKA in "
             "numbers\"><table>\n<caption>CKA of each layer with each; - where it does not exist</caption>\n<thead><tr><th "
             "scope=\"col\" class=\"name\">layer</th>");
  for (size_t i = 0; i < count; i++) {
    name(g, i, text, sizeof text);
    report_put(sink, "<th scope=\"col\">");
    report_html_text(sink, text);
    report_put(sink, "</th>");
  }
  report_put(sink, "</tr></thead>\n<tbody>\n");
  for (size_t i = 0; i < count; i++) {
    report_print(sink, "<tr data-i=\"%zu\"><th scope=\"row\"><a href=\"#layer-%zu\">", g->of[i], g->of[i]);
    name(g, i, text, sizeof text);
    report_html_text(sink, text);
    report_put(sink, "</a></th>");
    for (size_t j = 0; j < count; j++) report_print(sink, "<td>%s</td>", report_fixed(text, cka(g, i, j)));
    report_put(sink, "</tr>\n");
  }
  report_put(sink, "</tbody>\n</table></div></details>\n");
}

void report_html_cka(report_sink *sink, const report_document *document) {
  size_t count = 0, known = 0, *of = document->cka ? malloc((document->count + 1) * sizeof *of) : NULL;
  if (!of) return;
  for (size_t i = 0; i < document->count; i++)
    if (report_has_cka(&document->layers[i])) of[count++] = i;
  grid g = {document, of, report_common_prefix(document)};
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < i; j++) known += isfinite(cka(&g, i, j));
  if (count > 1) {
    report_heat heat = {count, count, 0, 1, cka, name, name, &g, 1, NULL};
    char words[256];
    snprintf(words, sizeof words,
             "%zu layers from top to bottom and from left to right; 1 is the same up to rotation and scale. %zu of %zu pairs can "
             "be compared.",
             count, known, count * (count - 1) / 2);
    report_put(sink,
               "<section aria-labelledby=\"alike\">\n<h2 id=\"alike\">How alike the layers are</h2>\n<p class=\"soft\">CKA of the "
               "samples' places in each layer with those in each other");
    if (document->run) report_print(sink, " at step %lld", (long long)document->cka_step);
    report_put(sink,
               ": 0 nothing in common, 1 the same up to rotation and scale; another colour where it does not exist.</p>\n<div "
               "class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Map of CKA\">");
    report_svg_heat(sink, &heat, "cka", "CKA between the layers", words);
    report_put(sink, "</div>\n");
    if (count <= NUMBERS_UP_TO) put_numbers(sink, &g, count);
    report_put(sink, "</section>\n");
  }
  free(of);
}
