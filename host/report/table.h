/* table.h - what the files of the table share. */
#ifndef ACTSCOPE_REPORT_TABLE_H
#define ACTSCOPE_REPORT_TABLE_H

#include "report/format.h"

typedef enum paint { PLAIN, BOLD, DIM, RED, YELLOW, GREEN } paint;

typedef struct page {
  report_sink *sink;
  const report_document *document;
  int colour, width;
} page;

static inline void painted(const page *p, paint ink, const char *text) {
  static const char *const codes[] = {"", "\033[1m", "\033[2m", "\033[31m", "\033[33m", "\033[32m"};
  int on = p->colour && ink != PLAIN;
  if (on) report_put(p->sink, codes[ink]);
  report_put(p->sink, text);
  if (on) report_put(p->sink, "\033[0m");
}

static inline const char *name_of(const report_layer *layer) {
  return layer->name && *layer->name ? layer->name : "(unnamed)";
}

/* " (file)" behind a layer's name; "" where one file is all there is. */
static inline const char *short_source(const report_document *document, const report_layer *layer, char *text, size_t size) {
  *text = 0;
  if (layer->source && report_several_sources(document)) snprintf(text, size, " (%s)", report_short_source(layer));
  return text;
}

static inline void pad(report_sink *sink, int columns) { report_print(sink, "%*s", columns > 0 ? columns : 0, ""); }

/* ---- table.c ---- */

/* Text of any origin in words, broken at blanks (and within a word that is longer than a line) so that no line passes
 * the width; the cursor is at column `indent`. Ends the line. */
void table_put_wrapped(const page *p, const char *text, int indent);
/* The same in another ink, as the heading of a part with a blank line above, or as words that say less. */
void table_put_heading(const page *p, const char *text);
void table_put_dim(const page *p, const char *text);
/* Where there are several files: the name of this layer's on a line of its own, unless it is *source, which it then is. */
void table_put_source(const page *p, const report_layer *layer, const char **source);

/* ---- Parts ---- */

/* table_rows.c: a row a layer; and words for the columns of these rows. */
void table_put_rows(const page *p);
void table_put_legend(const page *p);
/* table_scores.c: the families of scores, a row an activation, when they say more than the ranking; and --compat's. */
void table_put_scores(const page *p);
void table_put_compat(const page *p);
/* table_lists.c: the pairs and the features that are most correlated, layer by layer, where they were asked for. */
void table_put_lists(const page *p);

#endif
