/* page_command.c - `actscope page`: what a monitor wrote over the steps, as one page. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "report/run.h"

#define COMPLAINTS 5 /* bad lines that are named; the rest is counted */

static void help(void) {
  fputs(
      "usage: actscope page [-o FILE] FILE.jsonl\n"
      "\n"
      "Makes one page of what a monitor wrote with its JSONL sink (docs/pytorch.md):\n"
      "each layer's numbers over the steps, the steps with a NaN or an infinity, and\n"
      "the last step as `actscope report --format html` has it. The page needs nothing\n"
      "else: no network, no other file. '-' reads standard input.\n"
      "\n"
      "  -o, --output FILE     where to, replaced atomically (standard output)\n"
      "\n"
      "Exit status: 0 the page is written; 1 wrong usage; 2 the file is unreadable, has\n"
      "no whole step, or has lines that are none of a monitor (a page of the others is\n"
      "still written); 3 out of memory; 5 output not written.\n",
      stdout);
}

/* Reads all steps of a file. Returns an exit status; EXIT_BAD_INPUT where run has steps all the same: some lines are bad. */
static int read_steps(const char *path, FILE *file, stream *s, report_run *run) {
  char *line = NULL, error[STREAM_ERROR_SIZE];
  size_t room = 0, number = 0, bad = 0;
  ssize_t length;
  int result = EXIT_ALL_ANALYSED;
  while (result == EXIT_ALL_ANALYSED && (length = getline(&line, &room, file)) >= 0) {
    number++;
    if (line[length - 1] != '\n') break; /* it is being written, or its writer was killed */
    stream_result got = stream_line(s, line, (size_t)length - 1, error);
    if (got == STREAM_BAD && ++bad <= COMPLAINTS) complain("%s: line %zu: %s", path, number, error);
    if (got == STREAM_NO_MEMORY || (got == STREAM_STEP && run_add(run, stream_last(s)))) {
      complain("%s: out of memory at line %zu", path, number);
      result = EXIT_MEMORY_CAP;
    }
  }
  if (result == EXIT_ALL_ANALYSED && ferror(file)) {
    complain("%s: %s", path, strerror(errno));
    result = EXIT_BAD_INPUT;
  }
  free(line);
  if (bad > COMPLAINTS) complain("%s: and %zu more bad lines", path, bad - COMPLAINTS);
  if (result == EXIT_ALL_ANALYSED && !run->count && !bad) complain("%s: there is no whole step in it", path);
  return result ? result : bad || !run->count ? EXIT_BAD_INPUT : EXIT_ALL_ANALYSED;
}

static int write_page(const char *output, const report_document *document) {
  if (output ? report_write_file(output, REPORT_HTML, document) == 0
             : report_write(stdout, REPORT_HTML, document, 0, 0) == 0)
    return EXIT_ALL_ANALYSED;
  complain("%s: %s", output ? output : "standard output", strerror(errno));
  return EXIT_OUTPUT;
}

static int make_page(const char *path, const char *output) {
  int standard = strcmp(path, "-") == 0;
  FILE *file = standard ? stdin : fopen(path, "re");
  if (!file) {
    complain("%s: %s", path, strerror(errno));
    return EXIT_BAD_INPUT;
  }
  report_run run = {.path = standard ? "standard input" : path};
  report_document document;
  stream *s = stream_new();
  int result = s ? read_steps(path, file, s, &run) : EXIT_MEMORY_CAP;
  if (!standard) fclose(file);
  if (run.count && (result == EXIT_ALL_ANALYSED || result == EXIT_BAD_INPUT)) {
    if (stream_document(stream_last(s), &document)) {
      complain("out of memory while ranking the layers");
      result = EXIT_MEMORY_CAP;
    } else {
      document.run = &run;
      int written = write_page(output, &document);
      if (written) result = written;
      stream_document_free(&document);
    }
  }
  run_free(&run);
  stream_free(s);
  return result;
}

int command_page(int argc, char **argv) {
  struct arguments a = {argc, argv, 1, NULL, NULL};
  const char *path = NULL, *output = NULL;
  int options = 1;
  while (a.next < argc) {
    const char *word = argv[a.next];
    if (options && strcmp(word, "--") == 0) {
      options = 0;
      a.next++;
    } else if (options && arguments_take(&a, "--help", "-h")) {
      help();
      return EXIT_ALL_ANALYSED;
    } else if (options && arguments_take(&a, "--output", "-o")) {
      if (!(output = arguments_value(&a))) return EXIT_USAGE;
    } else if (options && word[0] == '-' && word[1]) {
      complain("unknown option '%s'; try actscope page --help", word);
      return EXIT_USAGE;
    } else if (path) {
      complain("one file at a time, not also '%s'", word);
      return EXIT_USAGE;
    } else {
      path = word;
      a.next++;
    }
  }
  if (!path) {
    complain("no file; try actscope page --help");
    return EXIT_USAGE;
  }
  return make_page(path, output);
}
