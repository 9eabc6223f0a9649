/* cli.h - the commands of the program and what they share. */
#ifndef ACTSCOPE_CLI_H
#define ACTSCOPE_CLI_H

#include <stdio.h>

#include "actscope.h"

/* Exit statuses; scripts rely on them. */
enum {
  EXIT_ALL_ANALYSED = 0,
  EXIT_USAGE = 1,
  EXIT_BAD_INPUT = 2,  /* an input is malformed or unreadable; the good ones are still reported */
  EXIT_MEMORY_CAP = 3, /* the cap cannot hold even the smallest method */
  EXIT_DEVICE = 4,
  EXIT_OUTPUT = 5      /* output not written */
};

int command_report(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_page(int argc, char **argv);
int command_watch(int argc, char **argv);
int command_stress(int argc, char **argv);
int command_info(int argc, char **argv);

/* ---- arguments.c ----------------------------------------------------------------------------------------------------- */

/* An option's value while walking argv: "--name=value" or "--name value". */
struct arguments {
  int argc;
  char **argv;
  int next;           /* the next word to look at */
  const char *option; /* the option just taken, for messages: "--memory" */
  const char *inline_value;
};

/* 1 when the word at `next` is this option (long name, or short like "-o"); it is taken. */
int arguments_take(struct arguments *a, const char *long_name, const char *short_name);
/* The taken option's value; NULL after one line on standard error when there is none. */
const char *arguments_value(struct arguments *a);

/* Each parses text into *out and returns 0, or -1 after one line on standard error that names the option. */
int parse_size(const char *option, const char *text, uint64_t *bytes); /* 64MiB, 64M, 1GB, 4096 */
int parse_count(const char *option, const char *text, uint64_t low, uint64_t high, uint64_t *out);
int parse_seconds(const char *option, const char *text, double *seconds); /* 0.5, 3; at least 0 */
int parse_share(const char *option, const char *text, double *share); /* 0.9; from 0 to 1 */
int parse_device(const char *option, const char *text, actscope_options *options);
int parse_statistics(const char *option, const char *text, uint32_t *mask);
/* One of the names, comma-free; *out is its index. */
int parse_choice(const char *option, const char *text, const char *const *names, int count, int *out);

/* The exit status that goes with a library error. */
int exit_status_of(actscope_status status);

/* ---- output.c -------------------------------------------------------------------------------------------------------- */

/* One line on standard error: "actscope: " and the text. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* After everything else: this exit status, or EXIT_OUTPUT and a line where standard output did not take all of it. A command that
 * says so itself returns EXIT_OUTPUT. */
int output_end(int result);

/* Writes to standard output and frees. Returns an exit status. */
struct cJSON;
int put_json(struct cJSON *top);

/* Columns of the terminal that standard output is, and in *height (NULL: not wanted) its rows; 0 where it is none or does not
 * tell. */
int terminal_size(int *height);
int terminal_colour(void); /* may standard output have colours? */

/* "AMD EPYC 9124, 2 threads, avx512" for the device a plan runs on. */
void describe_device(actscope_device device, int index, int threads, char *text, size_t size);

#endif
