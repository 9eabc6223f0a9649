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
      "Says for each layer which methods `actscope report` would use with the same options, the memory each has and\n"
      "would like to have, the time a model expects, and why. Reads the headers of the files alone.\n"
      "\n",
      stdout);
  fputs(settings_help, stdout);
  fputs(
      "Output\n"
      "  --format FORMAT       table or json (table)\n",
      stdout);
}

struct row {
  actscope_choice choice;
  const report_layer *layer;
};

static void name_of(const struct inputs *in, const report_layer *l, char *text, size_t size) {
  for (size_t i = 1; i < in->count; ++i)
    if (strcmp(in->layers[i].source, in->layers[0].source)) {
      const char *slash = strrchr(l->source, '/');
      snprintf(text, size, "%s: %s", slash ? slash + 1 : l->source, l->name);
      return;
    }
  snprintf(text, size, "%s", l->name);
}

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
  char *text = top ? cJSON_Print(top) : NULL;
  int failed = !text || puts(text) < 0 || fflush(stdout);
  free(text);
  cJSON_Delete(top);
  return failed ? EXIT_OUTPUT : EXIT_ALL_ANALYSED;
}

/* A number's text, flush right; what it takes on a screen, not in bytes, counts. */
static void right(const char *text, int columns) {
  printf(" %*s%s", columns - report_columns(text) > 0 ? columns - report_columns(text) : 0, "", text);
}

static int as_table(const struct settings *s, const struct inputs *in, const struct row *rows, const char *device,
                    uint64_t least, uint64_t workspace, double seconds) {
  char a[REPORT_TEXT], b[REPORT_TEXT], c[REPORT_TEXT], d[REPORT_TEXT];
  int wide = 5, shapes = 5;
  for (size_t i = 0; i < in->count; ++i) {
    char name[512], shape[REPORT_SHAPE];
    name_of(in, rows[i].layer, name, sizeof name);
    int columns = report_columns(name);
    if (columns > wide) wide = columns > 28 ? 28 : columns;
    columns = report_columns(report_shape(shape, sizeof shape, rows[i].layer, "×"));
    if (columns > shapes) shapes = columns;
  }
  printf("%zu layers on %s; about %s by the model\n%s of working memory under a cap of %s; the smallest cap that does: %s\n\n",
         in->count, device, report_seconds(a, seconds), report_bytes(b, workspace), report_bytes(c, s->options.memory_budget),
         report_bytes(d, least));
  printf("%-*s  %-*s  %-8s %-8s %9s %10s %10s %8s  why\n", wide, "layer", shapes, "shape", "pairs", "distinct", "looked at",
         "memory", "at best", "time");
  for (size_t i = 0; i < in->count; ++i) {
    const actscope_choice *q = &rows[i].choice;
    char name[512], fitted[512], shape[REPORT_SHAPE], pairs[REPORT_TEXT];
    name_of(in, rows[i].layer, name, sizeof name);
    report_fit(fitted, sizeof fitted, name, wide);
    report_shape(shape, sizeof shape, rows[i].layer, "×");
    printf("%s%*s  %s%*s  %-8s %-8s", fitted, wide - report_columns(fitted), "", shape, shapes - report_columns(shape), "",
           correlation_of(q), distinct_of(q));
    right(q->pairs ? report_count(pairs, q->pairs) : "-", 9);
    right(report_bytes(a, q->workspace_bytes), 10);
    right(report_bytes(b, q->best_bytes), 10);
    right(report_seconds(c, q->seconds), 8);
    printf("  %s\n", q->reason);
  }
  return fflush(stdout) ? EXIT_OUTPUT : EXIT_ALL_ANALYSED;
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
  if (result == EXIT_OUTPUT) complain("standard output could not be written");
  free(rows);
  actscope_plan_destroy(plan);
  return result ? result : in->bad ? EXIT_BAD_INPUT : EXIT_ALL_ANALYSED;
}

int command_plan(int argc, char **argv) {
  struct settings s;
  struct inputs in = {0};
  int result = settings_parse("plan", argc, argv, help, &s);
  if (result < 0 && s.format != REPORT_TABLE && s.format != REPORT_JSON) {
    complain("plan: --format wants table or json");
    result = EXIT_USAGE;
  }
  if (result < 0) {
    result = explain(&s, &in);
    inputs_close(&s, &in);
  }
  settings_free(&s);
  return result;
}
