/* progress.c - one line that is drawn over itself. */
#include "report/progress.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "report/format.h"

#define INTERVAL 0.1 /* seconds between two drawings */
#define BAR 24       /* columns of the bar itself */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int terminal_width(FILE *stream) {
  struct winsize size;
  return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void progress_begin(progress *p, FILE *stream, size_t total, int wanted) {
  const char *term = getenv("TERM");
  memset(p, 0, sizeof *p);
  p->stream = stream;
  p->total = total;
  p->live = wanted && total && isatty(fileno(stream)) && term && *term && strcmp(term, "dumb") != 0;
  p->last_drawn = -1;
}

static void erase(progress *p) {
  if (p->drawn) fputs("\r\033[K", p->stream);
  p->drawn = 0;
}

/* One column stays free at the right: some terminals wrap when it is written. */
static void draw(progress *p) {
  int width = terminal_width(p->stream) - 1;
  char counts[64], label[sizeof p->what], line[1024];
  snprintf(counts, sizeof counts, "%zu/%zu", p->done, p->total);
  int filled = (int)((double)p->done / (double)p->total * BAR + 0.5);
  size_t used = 0;
  if (width >= BAR + (int)strlen(counts) + 4) {
    used += (size_t)snprintf(line, sizeof line, "[");
    for (int i = 0; i < BAR; i++) line[used++] = i < filled ? '#' : '.';
    used += (size_t)snprintf(line + used, sizeof line - used, "] ");
  }
  snprintf(line + used, sizeof line - used, "%s", counts);
  int room = width - report_columns(line) - 2;
  if (room >= 8 && p->what[0]) {
    report_fit(label, sizeof label, p->what, room);
    used = strlen(line);
    snprintf(line + used, sizeof line - used, "  %s", label);
  }
  /* One write a drawing: nothing of another program comes between. */
  fprintf(p->stream, "\r\033[K%s", line);
  fflush(p->stream);
  p->drawn = 1;
  p->last_drawn = now();
}

void progress_step(progress *p, size_t done, const char *what) {
  if (!p->live) return;
  p->done = done < p->total ? done : p->total;
  if (what) report_fit(p->what, sizeof p->what, what, 60);
  if (p->last_drawn < 0 || now() - p->last_drawn >= INTERVAL) draw(p);
}

void progress_log(progress *p, const char *line) {
  int again = p->drawn;
  erase(p);
  fprintf(p->stream, "%s\n", line);
  if (again) {
    draw(p);
  } else {
    fflush(p->stream);
  }
}

void progress_end(progress *p) {
  if (!p->drawn) return;
  erase(p);
  fflush(p->stream);
}
