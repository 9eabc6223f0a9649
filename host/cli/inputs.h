/* inputs.h - what `actscope report` and `actscope plan` share: their options, and the layers out of the files. */
#ifndef ACTSCOPE_CLI_INPUTS_H
#define ACTSCOPE_CLI_INPUTS_H

#include "cli/cli.h"
#include "cli/network.h"
#include "io/reader.h"
#include "report/report.h"

/* ---- settings.c -------------------------------------------------------------------------------------------------------- */
struct settings {
  const char *command; /* "report" or "plan": for messages */
  actscope_options options;
  report_format format;
  const char *output; /* NULL: standard output */
  const char **globs;
  const char **files;
  int glob_count, file_count, verbose, quiet, compat;
  uint64_t top_features; /* so many features of each layer are listed */
};

/* Options that say what to measure, where and with how much memory, for --help. */
extern const char settings_help[];
/* Reads argv into *s; settings_free() releases what it holds. Returns -1 to go on, else an exit status. help: prints all
 * of a command's help. */
int settings_parse(const char *command, int argc, char **argv, void (*help)(void), struct settings *s);
void settings_free(struct settings *s);

/* ---- inputs.c ---------------------------------------------------------------------------------------------------------- */
struct item { /* a layer and where it comes from */
  reader *file;
  size_t entry;
};
struct inputs {
  reader **files;
  struct item *items;
  report_layer *layers;
  actscope_layer *plan_layers;
  struct network_link *links;
  size_t count, named; /* named: plan_layers that own their name */
  int bad;            /* something was refused */
};

/* Lists the layers of all files; what is wrong with a file or a layer goes to standard error, and it is left out. Returns
 * -1 to go on, else an exit status: nothing is left. inputs_close() releases. */
int inputs_open(const struct settings *s, struct inputs *in);
void inputs_close(const struct settings *s, struct inputs *in);

/* ---- lists.c ----------------------------------------------------------------------------------------------------------- */

/* The lists that the settings ask for, of a layer that was just measured. On an error without a text of the library's,
 * OUT_OF_MEMORY. */
actscope_status lists_take(const struct settings *s, actscope_plan *plan, size_t layer, report_layer *l);
void lists_free(report_layer *l);

#endif
