/* progress.h - a progress bar on standard error while layers are analysed, and log lines that never collide with it.
 *
 * On a terminal the bar is the last line; a log line takes its place and the bar is drawn again below. Where the stream
 * is no terminal (a file, a pipe, TERM=dumb) there is no bar at all and log lines are written as they come. Not for
 * several threads at once: actscope calls its log function on the caller's thread only. */
#ifndef ACTSCOPE_REPORT_PROGRESS_H
#define ACTSCOPE_REPORT_PROGRESS_H

#include <stdio.h>

typedef struct progress {
  FILE *stream;
  int live;  /* a bar is wanted and possible */
  int drawn; /* the bar is on the screen now */
  size_t done, total;
  char what[256];    /* what is being worked on, safe to show */
  double last_drawn; /* seconds of the monotonic clock; below 0: never */
} progress;

/* Starts with nothing done; `wanted` 0 (as for -q) is silence. Nothing is written before the first step. */
void progress_begin(progress *p, FILE *stream, size_t total, int wanted);

/* `done` of the total are finished and `what` is next (any text, NULL keeps the last). Draws at most ten times a
 * second. */
void progress_step(progress *p, size_t done, const char *what);

/* One line, without its newline, above the bar. */
void progress_log(progress *p, const char *line);

/* Takes the bar off the screen. Call it before anything else writes to the terminal; may be called twice. */
void progress_end(progress *p);

#endif
