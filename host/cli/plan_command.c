/* plan_command.c - `actscope plan`: how each layer of the files would be measured, and why; nothing is measured. */
#include <cjson/cJSON.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/inputs.h"
#include "report/fields.h"
#include "report/format.h"

static void help(void) {
  fputs(
      "usage: actscope plan [options] FILE...\n"
      "\n"
      "Says for each layer which methods `actscope report` would use with the same\n"
      "options: for correlations and distinct values, how many pairs would be looked\n"
      "at, the memory it has and would have at best, the time that a model expects, and\n"
      "why. Reads the headers of the files alone.\n"
      "\n",
      stdout);
  fputs(settings_help, stdout);
  fputs(
      "Output\n"
      "  --format FORMAT       table or json (table)\n"
      "  -q, --quiet           no notes\n"
      "\n"
      "Exit status: 0 written; 1 wrong usage; 2 an input is malformed (the good ones\n"
      "are still planned); 3 the memory cap holds no method (says which would); 4\n"
      "device failure; 5 output not written.\n",
      stdout);
}

struct row {
  actscope_choice choice;
  const report_layer *layer;
};

static const char *correlation_of(const actscope_choice *c) {
  return c->statistics & ACTSCOPE_CORRELATION ? report_correlation_method(c->correlation) : "-";
}
static const char *distinct_of(const actscope_choice *c) {
  return c->statistics & ACTSCOPE_DISTINCT ? report_distinct_method(c->distinct) : "-";
}

static int as_json(const struct settings *s, const struct row *rows, size_t count, const char *device, uint64_t least,
                   uint64_t workspace, double seconds) {
  cJSON *top = cJSON_CreateObject(), *memory, *layers;
  cJSON_AddStringToObject(top, "schema", "actscope-plan/1");
  cJSON_AddStringToObject(top, "version", actscope_version());
  cJSON_AddStringToObject(top, "device", device);
  memory = cJSON_AddObjectToObject(top, "memory");
  cJSON_AddNumberToObject(memory, "budget_bytes", (double)s->options.memory_budget);
  cJSON_AddNumberToObject(memory, "least_budget_bytes", (double)least);
  cJSON_AddNumberToObject(memory, "workspace_bytes", (double)workspace);
  cJSON_AddNumberToObject(top, "modelled_seconds", seconds);
  layers = cJSON_AddArrayToObject(top, "layers");
  for (size_t i = 0; i < count; ++i) {
    const actscope_choice *c = &rows[i].choice;
    cJSON *l = cJSON_CreateObject();
    char *name = report_clean(rows[i].layer->name), *source = report_clean(rows[i].layer->source);
    cJSON_AddStringToObject(l, "name", name ? name : "");
    cJSON_AddStringToObject(l, "source", source ? source : "");
    free(name);
    free(source);
    if (c->statistics & ACTSCOPE_CORRELATION) cJSON_AddStringToObject(l, "correlation", report_correlation_method(c->correlation));
    if (c->statistics & ACTSCOPE_DISTINCT) cJSON_AddStringToObject(l, "distinct", report_distinct_method(c->distinct));
    cJSON_AddNumberToObject(l, "pairs", (double)c->pairs);
    cJSON_AddNumberToObject(l, "workspace_bytes", (double)c->workspace_bytes);
    cJSON_AddNumberToObject(l, "best_bytes", (double)c->best_bytes);
    cJSON_AddNumberToObject(l, "least_bytes", (double)c->least_bytes);
    cJSON_AddNumberToObject(l, "modelled_seconds", c->seconds);
    cJSON_AddStringToObject(l, "reason", c->reason);
    cJSON_AddItemToArray(layers, l);
  }
  return put_json(top);
}

/* A number's text, flush right; what it takes on a screen, not in bytes, counts. */
static void right(const char *text, int columns) {
  printf(" %*s%s", columns - report_columns(text) > 0 ? columns - report_columns(text) : 0, "", text);
}

/* Why, on lines of its own below the row. */
static void put_reason(const char *reason) {
  for (size_t length; *reason; reason += length + (reason[length] ? 1 : 0)) {
    while (*reason == ' ') reason++;
    length = strcspn(reason, ";");
    printf("    %.*s\n", (int)length, reason);
  }
}

#define NAME 28     /* columns of a layer's name at the most .. */
#define LEAST 12    /* .. and where the terminal is narrow */
#define NUMBERS 62  /* columns of a row behind the shape, without why */

/* Rows as wide as they are where standard output is no terminal: one a layer. */
static int as_table(const struct settings *s, const struct inputs *in, const struct row *rows, const char *device,
                    uint64_t least, uint64_t workspace, double seconds) {
  char a[REPORT_TEXT], b[REPORT_TEXT], c[REPORT_TEXT], d[REPORT_TEXT], fitted[1024], shape[REPORT_SHAPE];
  int wide = 5, shapes = 5, reasons = 0, several = 0, width = terminal_size(NULL);
  for (size_t i = 0; i < in->count; ++i) {
    int columns = report_columns(rows[i].layer->name);
    if (columns > wide) wide = columns > NAME ? NAME : columns;
    columns = report_columns(report_shape(shape, sizeof shape, rows[i].layer, "×"));
    if (columns > shapes) shapes = columns;
    columns = report_columns(rows[i].choice.reason);
    if (columns > reasons) reasons = columns;
    several |= strcmp(rows[i].layer->source, rows[0].layer->source) != 0;
  }
  int below = width && wide + 2 + shapes + NUMBERS + 2 + reasons > width;
  if (below && wide + 2 + shapes + NUMBERS > width) wide = width - 2 - shapes - NUMBERS > LEAST ? width - 2 - shapes - NUMBERS : wide < LEAST ? wide : LEAST;
  printf("%zu layer%s on %s; about %s by the model\n", in->count, in->count == 1 ? "" : "s", device, report_seconds(a, seconds));
  printf("%s of working memory (cap %s); the smallest cap that does: %s\n\n", report_bytes(b, workspace),
         report_bytes(c, s->options.memory_budget), report_bytes(d, least));
  printf("%-*s  %-*s  %-7s  %-8s %8s %9s %9s %8s%s\n", wide, "layer", shapes, "shape", "method", "distinct", "pairs", "memory", "at best",
         "time", below ? "" : "  why");
  const char *source = "";
  for (size_t i = 0; i < in->count; ++i) {
    const actscope_choice *q = &rows[i].choice;
    if (several && strcmp(source, rows[i].layer->source) != 0) {
      report_fit(fitted, sizeof fitted, source = rows[i].layer->source, width ? width - 1 : 200);
      printf("%s:\n", fitted);
    }
    report_fit_name(fitted, sizeof fitted, rows[i].layer->name, wide);
    report_shape(shape, sizeof shape, rows[i].layer, "×");
    printf("%s%*s  %s%*s  %-7s  %-8s", fitted, wide - report_columns(fitted), "", shape, shapes - report_columns(shape), "",
           correlation_of(q), distinct_of(q));
    right(q->pairs ? report_count(a, q->pairs) : "-", 8);
    right(report_bytes(b, q->workspace_bytes), 9);
    right(report_bytes(c, q->best_bytes), 9);
    right(report_seconds(d, q->seconds), 8);
    if (!below) printf("  %s", q->reason);
    putchar('\n');
    if (below) put_reason(q->reason);
  }
  return EXIT_ALL_ANALYSED;
}

static int explain(struct settings *s, struct inputs *in) {
  int nothing = inputs_open(s, in);
  if (nothing >= 0) return nothing;
  actscope_plan *plan;
  uint64_t least = 0;
  size_t workspace = 0;
  actscope_status status = actscope_minimum_budget(in->plan_layers, in->count, &s->options, &least);
  if (!status) status = actscope_plan_create(&plan, in->plan_layers, in->count, &s->options);
  if (status) {
    complain("%s", actscope_last_error());
    return exit_status_of(status);
  }
  struct row *rows = calloc(in->count, sizeof *rows);
  double seconds = 0;
  char device[256];
  int result = EXIT_MEMORY_CAP;
  for (size_t i = 0; rows && i < in->count; ++i) {
    actscope_plan_choice(plan, i, &rows[i].choice);
    rows[i].layer = &in->layers[i];
    seconds += rows[i].choice.seconds;
  }
  actscope_plan_workspace(plan, &workspace, NULL);
  describe_device(actscope_plan_device(plan), s->options.device_index, s->options.threads, device, sizeof device);
  if (!rows) complain("out of memory");
  else if (s->format == REPORT_JSON) result = as_json(s, rows, in->count, device, least, workspace, seconds);
  else result = as_table(s, in, rows, device, least, workspace, seconds);
  free(rows);
  actscope_plan_destroy(plan);
  return result ? result : in->bad ? EXIT_BAD_INPUT : EXIT_ALL_ANALYSED;
}

int command_plan(int argc, char **argv) {
  struct settings s;
  struct inputs in = {0};
  int result = settings_parse("plan", argc, argv, help, &s);
  if (result < 0 && s.format != REPORT_TABLE && s.format != REPORT_JSON) {
    complain("--format wants table or json, not '%s'", report_format_name(s.format));
    result = EXIT_USAGE;
  }
  if (result < 0 && s.output) {
    complain("actscope plan writes to standard output: it takes no --output");
    result = EXIT_USAGE;
  }
  if (result < 0) {
    result = explain(&s, &in);
    inputs_close(&s, &in);
  }
  settings_free(&s);
  return result;
}
