/* watch_command.c - `actscope watch`: follows what a monitor writes, as a table in a terminal or as lines.
 *
 * The file is read again from the end of its last whole step whenever it has changed: so it may grow by half a line, lose
 * what a killed writer left (the sink cuts that off when it goes on), be emptied, or be replaced by another file. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "report/format.h"
#include "report/stream.h"

#define INTERVAL_S 1.0
#define REASONS 3                /* layers named above the table */
#define TAIL_BYTES (64l << 20)   /* of a file that is longer, a table shows the last step of this much */
#define RED "\033[31m"
#define YELLOW "\033[33m"
#define GREEN "\033[32m"
#define BOLD "\033[1m"
#define NORMAL "\033[0m"

struct watch {
  const char *path;
  int once, terminal, colour;
  double interval;
  FILE *file;
  struct stat seen;    /* the file when it was last read */
  off_t whole;         /* the end of the last whole step */
  off_t complained;    /* bad lines before it have been named */
  int tail, partly;    /* reading began in the middle; no whole step has come yet: bad lines are none of our business */
  stream *stream;
  size_t steps, alarms; /* seen so far */
  int64_t alarm_step;   /* the last one, and what it was */
  char alarm[512];
  int lines;           /* of the table on the screen, which the next one replaces */
  int shown, width, height; /* the last step is on the screen, in a window of this size, .. */
  char age[32];             /* .. with this age */
};

static volatile sig_atomic_t ended;

static void end(int signal) {
  (void)signal;
  ended = 1;
}

static void help(void) {
  fputs(
      "usage: actscope watch [options] FILE.jsonl\n"
      "\n"
      "Follows what a monitor writes with its JSONL sink (docs/pytorch.md). In a\n"
      "terminal: a table of the last step, made anew in place, the most constrained\n"
      "layers where not all fit. Otherwise: a line a step, of all steps, beginning with\n"
      "whether a NaN or an infinity was seen. The file may come later, be cut off,\n"
      "emptied or replaced. Ctrl-C ends.\n"
      "\n"
      "  --once                what is there now, then end\n"
      "  --interval S          seconds between looks at the file (1)\n"
      "\n"
      "Colours appear in a terminal only, and not where NO_COLOR is set.\n"
      "Exit status: 0 ended by --once or Ctrl-C; 1 wrong usage; 2 with --once: the file\n"
      "is unreadable, has no whole step, or has lines that are none of a monitor; 3 out\n"
      "of memory; 5 output not written.\n",
      stdout);
}

/* ---- Sentences ---------------------------------------------------------------------------------------------------- */

/* Text of any origin, fit to be shown. */
static char *clean(char *out, size_t size, const char *text) {
  report_fit(out, size, text, (int)size / 4);
  return out;
}

static void alarm_text(const stream_step *step, char *text, size_t size) {
  char place[256];
  int used = snprintf(text, size, "NaN or infinity in %s (%s)", clean(place, sizeof place, step->alarm_place),
                      report_role(step->alarm_role));
  if (used > 0 && (size_t)used < size && isfinite(step->alarm_nan) && isfinite(step->alarm_inf))
    snprintf(text + used, size - (size_t)used, ": %.0f NaN, %.0f infinite", step->alarm_nan, step->alarm_inf);
}

/* "NAME SCORE: reasons" of a ranking entry; 0 when it has no score. */
static int reason_text(const report_document *d, const actscope_bottleneck *entry, char *text, size_t size) {
  char name[512], reasons[REPORT_SENTENCES];
  if (!report_has_score(d, entry)) return 0;
  const report_layer *layer = &d->layers[entry->layer];
  report_reasons(reasons, entry, layer);
  snprintf(text, size, "%s %.2f%s%s", clean(name, sizeof name, layer->name), entry->score, *reasons ? ": " : "", reasons);
  return 1;
}

/* "most alike A and B, CKA 0.98" of the step's own matrix; 0 when it has none. */
static int alike_text(const stream_step *step, const report_document *d, char *text, size_t size) {
  char names[2][256];
  const report_layer *pair[2];
  double cka;
  if (!step->alike || !report_most_alike(d, pair, &cka)) return 0;
  snprintf(text, size, "most alike %s and %s, CKA %.2f", clean(names[0], sizeof names[0], pair[0]->name),
           clean(names[1], sizeof names[1], pair[1]->name), cka);
  return 1;
}

/* ---- Lines ------------------------------------------------------------------------------------------------------- */

/* One line, the answer first. 0, or an exit status. */
static int put_line(const stream_step *step) {
  char text[REPORT_SENTENCES + 1024];
  report_document d;
  printf("step %lld: ", (long long)step->step);
  if (step->alarmed) {
    alarm_text(step, text, sizeof text);
    fputs(text, stdout);
  } else {
    fputs("ok", stdout);
  }
  printf("; %zu layer%s", step->count, step->count == 1 ? "" : "s");
  if (stream_document(step, &d)) return EXIT_MEMORY_CAP;
  if (d.count && reason_text(&d, &d.ranking[0], text, sizeof text)) printf("; most constrained %s", text);
  if (alike_text(step, &d, text, sizeof text)) printf("; %s", text);
  stream_document_free(&d);
  for (size_t i = 0; i < step->warned; i++) printf("; warning: %s", clean(text, 512, step->warnings[i]));
  return putchar('\n') == EOF || fflush(stdout) ? EXIT_OUTPUT : EXIT_ALL_ANALYSED;
}

/* ---- The table --------------------------------------------------------------------------------------------------- */

/* "12 s ago", "3 min ago"; "" for times that make no sense. */
static char *age_text(char *text, size_t size, double then) {
  double age = difftime(time(NULL), 0) - then;
  *text = 0;
  if (!(age >= 0 && age < 1e8)) return text;
  if (age < 120) snprintf(text, size, "%.0f s ago", floor(age));
  else if (age < 7200) snprintf(text, size, "%.0f min ago", floor(age / 60));
  else if (age < 172800) snprintf(text, size, "%.0f h ago", floor(age / 3600));
  else snprintf(text, size, "%.0f days ago", floor(age / 86400));
  return text;
}

/* A line of the table in one colour, cut at the width. */
static void put_text(const struct watch *w, FILE *out, const char *colour, const char *text, int width) {
  char piece[REPORT_PIECE];
  int left = report_columns(text) > width ? width - 1 : width, columns;
  fputs(w->colour ? colour : "", out);
  for (const char *from = text; (columns = report_piece(&from, piece)) >= 0 && columns <= left; left -= columns) fputs(piece, out);
  fprintf(out, "%s%s\n", report_columns(text) > width ? "\xe2\x80\xa6" : "", w->colour && *colour ? NORMAL : "");
}

static void put_head(const struct watch *w, FILE *out, const stream_step *step, int width) {
  char text[1024], took[REPORT_TEXT];
  const char *slash = strrchr(w->path, '/'), *age = w->age;
  snprintf(text, sizeof text, "%.200s: step %lld, %zu layer%s%s%s%s%s", slash && slash[1] ? slash + 1 : w->path,
           (long long)step->step, step->count, step->count == 1 ? "" : "s", isfinite(step->seconds) ? ", measured in " : "",
           isfinite(step->seconds) ? report_seconds(took, step->seconds) : "", *age ? ", " : "", age);
  put_text(w, out, BOLD, text, width);
  if (step->alarmed) {
    snprintf(text, sizeof text, "%s", w->alarm);
  } else if (w->alarms) {
    snprintf(text, sizeof text, "finite; %zu of %zu steps were not, the last at %lld: %s", w->alarms, w->steps,
             (long long)w->alarm_step, w->alarm);
  } else {
    snprintf(text, sizeof text, "no NaN or infinity in %s%zu step%s", w->tail ? "the last " : "", w->steps, w->steps == 1 ? "" : "s");
  }
  put_text(w, out, step->alarmed ? RED : w->alarms ? YELLOW : GREEN, text, width);
  if (step->warned) {
    snprintf(text, sizeof text, "%zu warning%s, the last: %.600s", step->warned, step->warned == 1 ? "" : "s",
             step->warnings[step->warned - 1]);
    put_text(w, out, YELLOW, text, width);
  }
}

/* The rows that fit: all layers in the order of the network, or the most constrained ones. */
static int put_rows(const struct watch *w, FILE *out, const report_document *d, int width, size_t room) {
  report_layer *layers = calloc(d->count + 1, sizeof *layers);
  size_t fit = d->count <= room ? d->count : room > 1 ? room - 1 : 0;
  report_sink sink = {out, 0};
  report_document part = *d;
  char text[128];
  if (!layers) return -1;
  size_t prefix = report_common_prefix(d); /* says nothing, and leaves the rows less room */
  for (size_t i = 0; i < fit; i++) {
    layers[i] = d->layers[fit < d->count ? d->ranking[i].layer : i];
    layers[i].name += prefix;
  }
  part.layers = layers;
  part.count = fit;
  report_write_rows(&sink, &part, w->colour, width);
  if (fit < d->count) {
    snprintf(text, sizeof text, "and %zu more; the most constrained are shown", d->count - fit);
    put_text(w, out, "", text, width);
  }
  free(layers);
  return 0;
}

/* The last step, over what was there, unless that is the same. 0, or an exit status. */
static int put_table(struct watch *w) {
  const stream_step *step = stream_last(w->stream);
  char *text = NULL, line[REPORT_SENTENCES + 1024];
  size_t size = 0, room, named = 0;
  report_document d;
  int height, width = terminal_size(&height);
  if (!width) width = 80;
  if (!height) height = 24;
  char age[sizeof w->age];
  age_text(age, sizeof age, step->time);
  if (w->shown && w->width == width && w->height == height && strcmp(age, w->age) == 0) return EXIT_ALL_ANALYSED;
  strcpy(w->age, age);
  w->width = width;
  w->height = height;
  FILE *out = open_memstream(&text, &size);
  if (!out || stream_document(step, &d)) {
    if (out) fclose(out), free(text);
    return EXIT_MEMORY_CAP;
  }
  put_head(w, out, step, width);
  int alike = height > 16 && alike_text(step, &d, line, sizeof line);
  if (alike) put_text(w, out, "", line, width);
  for (size_t i = 0; i < d.count && named < REASONS && height > 16; i++)
    if (d.ranking[i].reasons && reason_text(&d, &d.ranking[i], line, sizeof line)) {
      if (!named++) fputc('\n', out);
      put_text(w, out, "", line, width);
    }
  /* A line for the cursor, one for the table's head, one above it; what is written already. */
  int taken = 2 + (step->warned > 0) + alike + (named ? (int)named + 1 : 0) + 3;
  room = height > taken ? (size_t)(height - taken) : 0;
  int short_of_memory = put_rows(w, out, &d, width, room);
  stream_document_free(&d);
  if (fclose(out) || short_of_memory) {
    free(text);
    return EXIT_MEMORY_CAP;
  }
  if (w->lines) printf("\033[%dF\033[J", w->lines);
  fputs(text, stdout);
  w->lines = 0;
  for (const char *c = text; (c = strchr(c, '\n')) != NULL; c++) w->lines++;
  free(text);
  w->shown = 1;
  return fflush(stdout) ? EXIT_OUTPUT : EXIT_ALL_ANALYSED;
}

/* ---- The file ---------------------------------------------------------------------------------------------------- */

static int take_step(struct watch *w) {
  const stream_step *step = stream_last(w->stream);
  w->steps++;
  w->shown = 0;
  w->partly = 0;
  if (step->alarmed) {
    w->alarms++;
    w->alarm_step = step->step;
    alarm_text(step, w->alarm, sizeof w->alarm);
  }
  return w->terminal ? EXIT_ALL_ANALYSED : put_line(step);
}

/* Reads from the last whole step to the end. 0, or an exit status that ends the command; *bad counts lines named. */
static int read_steps(struct watch *w, size_t *bad) {
  char *line = NULL, error[STREAM_ERROR_SIZE];
  size_t room = 0;
  ssize_t length;
  off_t at = w->whole;
  int result = EXIT_ALL_ANALYSED;
  if (fseeko(w->file, at, SEEK_SET)) return EXIT_ALL_ANALYSED;
  stream_reset(w->stream);
  while (!result && !ended && (length = getline(&line, &room, w->file)) > 0 && line[length - 1] == '\n') {
    stream_result got = stream_line(w->stream, line, (size_t)length - 1, error);
    at += length;
    if (got == STREAM_BAD && !w->partly && at > w->complained) {
      complain("%s: the line that ends at byte %lld: %s", w->path, (long long)at, error);
      w->complained = at;
      w->lines = 0; /* it may stand below the table: the next one begins there */
      ++*bad;
    }
    if (got == STREAM_STEP) {
      w->whole = at;
      result = take_step(w);
    }
    if (got == STREAM_NO_MEMORY) result = EXIT_MEMORY_CAP;
  }
  free(line);
  clearerr(w->file);
  return result;
}

/* Where a long file is begun: what is shown is its end. */
static void skip(struct watch *w, off_t size) {
  int c;
  if (!w->terminal || size <= TAIL_BYTES || fseeko(w->file, size - TAIL_BYTES, SEEK_SET)) return;
  while ((c = getc(w->file)) != EOF && c != '\n') continue;
  w->whole = ftello(w->file);
  w->tail = w->partly = 1;
}

/* Begins a file. 0 when there is none. */
static int open_file(struct watch *w) {
  w->file = fopen(w->path, "re");
  if (!w->file) return 0;
  memset(&w->seen, 0, sizeof w->seen);
  w->whole = w->complained = 0;
  struct stat now;
  if (fstat(fileno(w->file), &now) == 0) skip(w, now.st_size);
  return 1;
}

/* Looks whether there is something new. 0, or an exit status that ends the command. */
static int look(struct watch *w, size_t *bad) {
  struct stat there, now;
  if (!w->file && !open_file(w)) return EXIT_ALL_ANALYSED;
  for (int turn = 0; turn < 2; turn++) {
    int replaced = stat(w->path, &there) == 0 && fstat(fileno(w->file), &now) == 0 &&
                   (there.st_ino != now.st_ino || there.st_dev != now.st_dev);
    if (fstat(fileno(w->file), &now) == 0 &&
        (now.st_size != w->seen.st_size || memcmp(&now.st_mtim, &w->seen.st_mtim, sizeof now.st_mtim) != 0)) {
      if (now.st_size < w->whole) w->whole = w->complained = 0; /* emptied: it begins anew */
      w->seen = now;
      int result = read_steps(w, bad);
      if (result) return result;
    }
    if (!replaced) return EXIT_ALL_ANALYSED;
    fclose(w->file);
    if (!open_file(w)) return EXIT_ALL_ANALYSED;
  }
  return EXIT_ALL_ANALYSED;
}

static int watch(struct watch *w) {
  struct sigaction action = {.sa_handler = end};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  size_t bad = 0;
  int result = EXIT_ALL_ANALYSED, waiting = 0;
  while (!ended) {
    result = look(w, &bad);
    if (result) break;
    if (w->once) {
      if (!w->file) complain("%s: %s", w->path, strerror(errno));
      else if (!stream_last(w->stream) && !bad) complain("%s: there is no whole step in it", w->path);
      if (w->terminal && stream_last(w->stream)) result = put_table(w);
      return result ? result : bad || !stream_last(w->stream) ? EXIT_BAD_INPUT : EXIT_ALL_ANALYSED;
    }
    if (!stream_last(w->stream)) {
      if (!waiting++) complain("%s: waiting for the first step", w->path);
    } else if (w->terminal) {
      if ((result = put_table(w)) != 0) break; /* also for the age, and a window of another size */
    }
    poll(NULL, 0, (int)(w->interval * 1000));
  }
  if (result == EXIT_OUTPUT) complain("standard output: %s", strerror(errno));
  if (result == EXIT_MEMORY_CAP) complain("%s: out of memory", w->path);
  return result;
}

int command_watch(int argc, char **argv) {
  struct arguments a = {argc, argv, 1, NULL, NULL};
  struct watch w = {.interval = INTERVAL_S};
  int options = 1;
  while (a.next < argc) {
    const char *word = argv[a.next];
    if (options && strcmp(word, "--") == 0) {
      options = 0;
      a.next++;
    } else if (options && arguments_take(&a, "--help", "-h")) {
      help();
      return EXIT_ALL_ANALYSED;
    } else if (options && arguments_take(&a, "--once", NULL)) {
      w.once = 1;
    } else if (options && arguments_take(&a, "--interval", NULL)) {
      const char *value = arguments_value(&a);
      if (!value || parse_seconds(a.option, value, &w.interval)) return EXIT_USAGE;
      w.interval = fmin(fmax(w.interval, 0.01), 1e6);
    } else if (options && word[0] == '-') {
      complain(word[1] ? "unknown option '%s'; try actscope watch --help" : "'%s': only a file can be followed", word);
      return EXIT_USAGE;
    } else if (w.path) {
      complain("one file at a time, not also '%s'", word);
      return EXIT_USAGE;
    } else {
      w.path = word;
      a.next++;
    }
  }
  if (!w.path) {
    complain("no file; try actscope watch --help");
    return EXIT_USAGE;
  }
  w.terminal = isatty(STDOUT_FILENO);
  w.colour = terminal_colour();
  if (w.terminal) setvbuf(stdout, NULL, _IOFBF, 1 << 16); /* a table in one piece */
  w.stream = stream_new();
  int result = w.stream ? watch(&w) : EXIT_MEMORY_CAP;
  if (w.file) fclose(w.file);
  stream_free(w.stream);
  return result;
}
