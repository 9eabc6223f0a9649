/* format.h - what the writers share: a stream that remembers its first error, numbers, and text of unknown origin. */
#ifndef ACTSCOPE_REPORT_FORMAT_H
#define ACTSCOPE_REPORT_FORMAT_H

#include "report.h"

/* A stream and the first errno met on it; once set, nothing more is written. */
typedef struct report_sink {
  FILE *stream;
  int error;
} report_sink;

void report_put(report_sink *sink, const char *text);
void report_print(report_sink *sink, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_repeat(report_sink *sink, const char *text, int times);

/* ---- Numbers ----------------------------------------------------------------------------------------------------
 * Each fills a buffer of REPORT_TEXT bytes and returns it. They use printf and therefore the C locale, which
 * report_write() sets for its thread. */
#define REPORT_TEXT 48
char *report_real(char *text, double value);      /* for programs: the shortest text that reads back the same bits */
char *report_number(char *text, double value);    /* for people: three significant digits; "-" if there is none */
char *report_fixed(char *text, double value);     /* a share or |r|: three decimals; "-" */
char *report_percent(char *text, double share);   /* "12.3%"; "0%" and "100%" only when exact; "-" */
char *report_count(char *text, uint64_t count);   /* exact below 100,000, then 1.05M */
char *report_bytes(char *text, uint64_t bytes);   /* "15.9 MiB" */
char *report_seconds(char *text, double seconds); /* "1.23 s"; "-" */
char *report_shape(char *text, size_t size, const report_layer *layer, const char *times); /* "128x512"; "scalar" */
/* A feature's place on the layer's axes but the samples': "17", or "(17,2,3)" where there are several. */
char *report_feature_index(char *text, size_t size, const report_layer *layer, uint64_t feature);
/* "87 without a pair (constant or not finite): (0,0,1), (0,0,2), ..." of a layer whose features are listed; "" where there is
 * none. Fills REPORT_SENTENCE bytes. */
char *report_pairless(char *text, const report_layer *layer);
#define REPORT_SHAPE (ACTSCOPE_MAX_DIMS * 24) /* bytes for report_shape() */

/* ---- Text of unknown origin -------------------------------------------------------------------------------------- */

/* The next character of *text as something safe to show, and *text moved behind it: itself, U+FFFD where the UTF-8 is
 * broken, or an escape such as \n or \u202e for controls. Returns the columns it takes, -1 at the end. */
#define REPORT_PIECE 12
int report_piece(const char **text, char piece[REPORT_PIECE]);

int report_columns(const char *text); /* columns of the whole text, shown that way */

/* The text in at most `columns` columns, shortened in the middle, its tail longer than its head. */
void report_fit(char *out, size_t size, const char *text, int columns);

/* The same of a layer's name: before anything is cut out of the middle, the parts between its dots and slashes become their
 * first letter, from the left, with the number that they end in: "encoder.layer.4.output.dense" is "e.l.4.output.dense". */
void report_fit_name(char *out, size_t size, const char *name, int columns);

/* A copy with every broken byte replaced by U+FFFD and nothing else changed; NULL when memory is short. */
char *report_clean(const char *text);

/* ---- The document --------------------------------------------------------------------------------------------------
 */

/* 1 when the layer is one of the document's matrix of CKA: an activation with numbers. */
int report_has_cka(const report_layer *layer);
/* The two layers with the largest CKA, and it; 0 when no two can be compared. */
int report_most_alike(const report_document *document, const report_layer *pair[2], double *cka);
int report_has_numbers(const report_layer *layer);

/* Whether the layers come from more than one file, so that names alone may not tell them apart. */
int report_several_sources(const report_document *document);
/* The layer's file without its folders; "" if unknown. */
const char *report_short_source(const report_layer *layer);

/* The bytes that all names begin with, up to a dot or slash: "encoder.layers." says nothing beside an axis. */
size_t report_common_prefix(const report_document *document);

/* The entry of the ranking for every layer, or NULL entries where there is none or no score; free() it. */
const actscope_bottleneck **report_scores(const report_document *document);

/* A ranking entry that is worth writing: a layer with numbers and a score. */
int report_has_score(const report_document *document, const actscope_bottleneck *entry);

/* All reasons of a ranking entry, or all warnings of a layer, joined by "; "; "" if there are none. Fills and returns
 * REPORT_SENTENCES bytes; what does not fit is cut. */
#define REPORT_SENTENCES 4096
#define REPORT_SENTENCE 512 /* bytes for one of them */
char *report_reasons(char *text, const actscope_bottleneck *entry, const report_layer *layer);
char *report_warnings(char *text, const report_layer *layer);

/* The same of an activation's scores, without the reasons that the ranking gives. */
char *report_score_reasons(char *text, const report_document *document, const actscope_network_scores *scores);

/* "activation", "gradient", "weight"; NULL if unknown. */
const char *report_role(actscope_role role);
/* Whether the scores say more than the ranking: a gradient or a weight took part, or an ingredient that only they have is
 * a reason. */
int report_scores_matter(const report_document *document);
/* Those ingredients that the ranking does not give reasons for. */
#define REPORT_OWN_INGREDIENTS                                                                                    \
  (~(1u << ACTSCOPE_INGREDIENT_UNUSED | 1u << ACTSCOPE_INGREDIENT_CORRELATION | 1u << ACTSCOPE_INGREDIENT_LOW_RANK | \
     1u << ACTSCOPE_INGREDIENT_LOW_ENTROPY | 1u << ACTSCOPE_INGREDIENT_REDUNDANCY | 1u << ACTSCOPE_INGREDIENT_NONFINITE))

/* The writers: 0, or -1 with errno for what is not a stream error; those are in the sink. */
int report_write_table(report_sink *sink, const report_document *document, int colour, int width);
/* The rows of the table alone: a blank line, the heads of the columns, a line a layer. */
void report_write_rows(report_sink *sink, const report_document *document, int colour, int width);
int report_write_json(report_sink *sink, const report_document *document);
int report_write_jsonl(report_sink *sink, const report_document *document);
int report_write_csv(report_sink *sink, const report_document *document);
int report_write_html(report_sink *sink, const report_document *document);

#endif
