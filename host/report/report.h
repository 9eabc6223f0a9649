/* report.h - an analysed network as table, JSON, JSON lines, CSV or a self-contained page.
 *
 * The formats are described in docs/report-format.md. Whoever fills the document owns everything in it; writing changes
 * nothing. Every format leaves out layers that have no numbers (`error` set, or report.status not ACTSCOPE_OK), and
 * every number is written the same way whatever the locale. Text may be any bytes: broken UTF-8 becomes U+FFFD, and
 * control characters never reach a terminal or a page as such.
 *
 *   report.c  names of formats, the one entry           format.c  numbers and text for people and programs
 *   fields.c  which fields a section has, and where     file.c    atomic replacement of a file
 *   json.c    json and jsonl                            csv.c     csv
 *   table*.c  what a person sees first                  html*.c   the page, its parts and its figures
 *   stream.c  what a monitor wrote, read back            run.c     its numbers over the steps, for the page */
#ifndef ACTSCOPE_REPORT_H
#define ACTSCOPE_REPORT_H

#include <stdio.h>

#include "actscope.h"

/* The scores of the analyser "neuroexapt" by its own formulas, added by --compat; NaN where one does not exist. */
#define COMPAT_MAX 16
typedef struct report_compat {
  int count;
  const char *name[COMPAT_MAX];
  double value[COMPAT_MAX];
} report_compat;

/* A feature by its correlations with the others, as of actscope_plan_feature_correlations(). */
typedef struct report_feature {
  uint64_t feature; /* in the order of the axes, flattened */
  float mean_abs, max_abs;
} report_feature;

#define REPORT_PAIRLESS 8 /* features without a pair that are named; the rest is counted */

typedef struct report_layer {
  const char *name;   /* UTF-8; NULL is an empty name */
  const char *source; /* the file */
  const char *error;  /* NULL, or why there are no numbers: such a layer is not written, only reported on stderr */
  int32_t ndim;
  int64_t shape[ACTSCOPE_MAX_DIMS];
  actscope_role role;
  actscope_layer_report report;
  report_compat compat;
  actscope_pair *top;            /* as of actscope_plan_top_pairs(), with how many are above; NULL: not asked for */
  size_t top_count;
  uint64_t top_above;
  report_feature *top_features;  /* those with the largest mean |r|; NULL: not asked for */
  size_t top_feature_count;
  uint64_t pairless[REPORT_PAIRLESS], pairless_count; /* with top_features: those without a pair, the first of them */
  char **warnings; /* sentences up to a NULL, in place of report.warnings; NULL: the report's own */
} report_layer;

typedef struct report_document {
  const char *backend;     /* "cpu" or "cuda" */
  const char *device;      /* "AMD EPYC, 2 threads, avx512" */
  actscope_options options;
  uint64_t budget_bytes, workspace_bytes;
  actscope_memory memory;  /* at the end of the analysis; 0 where unknown */
  double seconds;          /* wall time of the analysis, reading included */
  size_t count;
  report_layer *layers;
  actscope_bottleneck *ranking; /* count entries, most constrained first; NULL: no ranking was made */
  actscope_network_scores *scores; /* one an activation, in the order of the layers, which they index; or NULL */
  actscope_layer_report *reports;  /* of the layers, as the scores index them; NULL without scores */
  size_t scored;
  const double *cka;       /* actscope_plan_cka() of the layers, count x count; NULL: not asked for */
  int64_t cka_step;        /* where there is a run: the step that it is of */
  int compat;              /* layers carry compat scores */
  const struct report_run *run; /* the steps of a monitor, the last of which this is; NULL: none. For the page alone */
} report_document;

typedef enum report_format { REPORT_TABLE, REPORT_JSON, REPORT_JSONL, REPORT_CSV, REPORT_HTML } report_format;

/* Name to format and back; -1 / NULL if unknown. */
int report_format_from_name(const char *name, report_format *format);
const char *report_format_name(report_format format);

/* Writes the document and flushes the stream. colour: ANSI colours in the table; width: columns of the terminal, 0 if
 * there is none (120 are used). Returns 0, or -1 with errno (ENOMEM, EINVAL for an unknown format, or the stream's). */
int report_write(FILE *stream, report_format format, const report_document *document, int colour, int width);

/* The same into a file that is replaced atomically: written beside it, synced, renamed. The old file stays whole when
 * anything fails and its mode is kept; the target of a symbolic link is replaced, not the link. A path that is a device
 * or a pipe, or lies in /dev or /proc, is written directly. Returns 0, or -1 with errno. */
int report_write_file(const char *path, report_format format, const report_document *document);

#endif
