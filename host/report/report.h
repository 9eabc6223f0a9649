/* report.h - an analysed network as table, JSON, JSON lines, CSV or a self-contained page. */
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

typedef struct report_layer {
  const char *name;   /* UTF-8 */
  const char *source; /* the file */
  const char *error;  /* NULL, or why there are no numbers: such a layer is not written, only reported on stderr */
  int32_t ndim;
  int64_t shape[ACTSCOPE_MAX_DIMS];
  actscope_layer_report report;
  report_compat compat;
} report_layer;

typedef struct report_document {
  const char *backend;     /* "cpu" or "cuda" */
  const char *device;      /* "AMD EPYC, 2 threads, avx512" */
  actscope_options options;
  uint64_t budget_bytes, workspace_bytes;
  double seconds;          /* wall time of the analysis, reading included */
  size_t count;
  report_layer *layers;
  actscope_bottleneck *ranking; /* count entries, most constrained first */
  int compat;              /* layers carry compat scores */
} report_document;

typedef enum report_format { REPORT_TABLE, REPORT_JSON, REPORT_JSONL, REPORT_CSV, REPORT_HTML } report_format;

/* Name to format and back; -1 / NULL if unknown. */
int report_format_from_name(const char *name, report_format *format);

/* Writes the document. colour: ANSI colours in the table; width: columns of the terminal, 0 if none.
 * Returns 0, or -1 with errno when the stream failed. */
int report_write(FILE *stream, report_format format, const report_document *document, int colour, int width);

/* The same into a file that is replaced atomically: written beside it, synced, renamed. The old file stays whole when
 * anything fails; a path that is a device or a pipe is written directly. Returns 0, or -1 with errno. */
int report_write_file(const char *path, report_format format, const report_document *document);

#endif
