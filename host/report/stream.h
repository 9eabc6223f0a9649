/* stream.h - what a monitor's JSONL sink wrote (schema actscope-monitor/1, docs/pytorch.md), read back line by line.
 *
 * A step counts when all of it is there: a line for each layer, then the step's own. What a killed process left behind the
 * last whole step is not seen. Numbers that are null, absent or no numbers do not exist (NaN), as in a report. */
#ifndef ACTSCOPE_REPORT_STREAM_H
#define ACTSCOPE_REPORT_STREAM_H

#include "report/report.h"

/* CKA of the layers of one step, each with each. */
typedef struct stream_cka {
  int64_t step;
  size_t count;
  char **names;   /* activations, up to a NULL */
  double *matrix; /* count x count; NaN where it does not exist */
} stream_cka;

typedef struct stream_step {
  int64_t step, rank;
  double time;    /* seconds since 1970 */
  double seconds; /* that the analysis took */
  size_t count;
  report_layer *layers; /* in the order of the calls; a gradient is called NAME.gradient, as in files */
  char **places;        /* the name of each without that ending: what a gradient and its activation share */
  int alarmed;          /* a NaN or an infinity; the first layer that showed one: */
  char *alarm_place;
  actscope_role alarm_role;
  double alarm_nan, alarm_inf; /* how many */
  size_t warned;
  char **warnings; /* sentences */
  const stream_cka *cka; /* of this step or, where it has none, of the last one that had; NULL: none had */
  int alike;             /* it is this step's */
} stream_step;

typedef struct stream stream;

typedef enum stream_result {
  STREAM_MORE,     /* the step goes on */
  STREAM_STEP,     /* a step is whole: stream_last() */
  STREAM_BAD,      /* no line of a monitor, or a step that lacks layers; it is left out */
  STREAM_NO_MEMORY
} stream_result;
#define STREAM_ERROR_SIZE 160

stream *stream_new(void); /* NULL without memory */
void stream_free(stream *s); /* NULL is allowed */

/* One line, without its line end; an empty one is nothing. error: what is wrong with a bad one. */
stream_result stream_line(stream *s, const char *text, size_t length, char error[STREAM_ERROR_SIZE]);

/* The last whole step, until the next one; NULL before the first. Its texts and layers are the stream's. */
const stream_step *stream_last(const stream *s);

/* Forgets the lines of a step that is not whole. */
void stream_reset(stream *s);

/* The step as a document, with ranking and scores; layers and texts stay the step's. 0, or -1 without memory.
 * stream_document_free() releases what was made here. */
int stream_document(const stream_step *step, report_document *document);
void stream_document_free(report_document *document);

#endif
