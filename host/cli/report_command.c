/* report_command.c - `actscope report`: files in, one document out. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "analysis/compat.h"
#include "cli/inputs.h"
#include "plan.h"
#include "report/format.h"
#include "report/progress.h"

static void help(void) {
  fputs(
      "usage: actscope report [options] FILE...\n"
      "\n"
      "Reads .npy, .npz and .safetensors (every tensor is one layer; '-' is one .npy on\n"
      "standard input) and reports what flows through each layer. Axis 0 is the\n"
      "samples; the other axes are the features.\n"
      "\n",
      stdout);
  fputs(settings_help, stdout);
  fputs(
      "Output\n"
      "  --format FORMAT       table, json, jsonl, csv or html (table)\n"
      "  -o, --output FILE     where to, replaced atomically (standard output)\n"
      "  -v, --verbose         log on standard error what is done; -vv: and why\n"
      "  -q, --quiet           no progress, no notes\n"
      "  --log-level LEVEL     error, warning, info (as -v) or debug (as -vv) (error)\n"
      "\n"
      "Exit status: 0 all layers analysed; 1 wrong usage; 2 an input is malformed (the\n"
      "good ones are still reported); 3 the memory cap holds no method (says which\n"
      "would); 4 device failure; 5 output not written.\n",
      stdout);
}

/* Log lines go to standard error, between two drawings of the progress bar. */
static void log_line(void *user, actscope_log_level level, const char *message) {
  static const char *const names[] = {"error: ", "warning: ", "", ""};
  char line[640];
  snprintf(line, sizeof line, "actscope: %s%s", names[level], message);
  progress_log(user, line);
}

/* One layer's problem; the bar makes room for it. */
static void complain_layer(progress *bar, const report_layer *l, const char *problem) {
  progress_end(bar);
  complain("%s: %s: %s", l->source, l->name, problem);
}

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

_Static_assert(COMPAT_COUNT <= COMPAT_MAX, "report_compat holds every score");

/* Scores that need the gradient come when all layers are known. A gradient or a weight has none. */
static actscope_status add_compat(struct compat_network *network, const actscope_tensor *tensor, int channels,
                                  uint64_t weights, report_layer *l) {
  struct compat_input input = {.report = &l->report, .tensor = tensor, .channels = channels, .weights = weights};
  l->compat.count = COMPAT_COUNT;
  for (int i = 0; i < COMPAT_COUNT; ++i) l->compat.name[i] = actscope_compat_names[i], l->compat.value[i] = NAN;
  return l->role == ACTSCOPE_ROLE_ACTIVATION ? actscope_compat_layer(network, &input, l->compat.value) : ACTSCOPE_OK;
}

/* Elements of the layer's weight; 0: none is known. */
static uint64_t weights_of(const struct inputs *in, size_t layer) {
  uint64_t count = 1;
  if (in->links[layer].weight == ACTSCOPE_NO_LAYER) return 0;
  const report_layer *w = &in->layers[in->links[layer].weight];
  for (int d = 0; d < w->ndim; ++d) count *= (uint64_t)w->shape[d];
  return count;
}

/* Runs the plan layer by layer, so that inflated data is held one layer at a time. Returns an exit status. */
static int run(const struct settings *s, struct inputs *in, actscope_plan *plan, progress *bar) {
  struct compat_network network = {0};
  size_t chain = 0;
  int result = EXIT_ALL_ANALYSED;
  for (size_t i = 0; i < in->count; ++i) {
    report_layer *l = &in->layers[i];
    struct item *item = &in->items[i];
    char error[READER_ERROR_SIZE];
    actscope_tensor tensor;
    progress_step(bar, i, l->name);
    if (reader_load(item->file, item->entry, &tensor, error)) {
      complain_layer(bar, l, error);
      l->error = "unreadable";
      in->bad = 1;
      continue;
    }
    actscope_status status = actscope_plan_enqueue_layer(plan, i, &tensor, NULL);
    if (!status) status = actscope_plan_wait(plan);
    if (!status) status = actscope_plan_report(plan, i, &l->report);
    if (l->role == ACTSCOPE_ROLE_ACTIVATION && in->links[i].chain != chain) { /* another network begins */
      memset(&network, 0, sizeof network);
      chain = in->links[i].chain;
    }
    if (!status) status = lists_take(s, plan, i, l);
    if (!status && s->compat) status = add_compat(&network, &tensor, s->options.channels, weights_of(in, i), l);
    if (status) {
      lists_free(l);
      progress_end(bar);
      complain("%s", actscope_last_error()); /* begins with the plan's name of the layer */
      l->error = "not measured";
      result = exit_status_of(status);
    }
    reader_release(item->file, item->entry);
  }
  progress_end(bar);
  return result;
}

/* Drops the layers without numbers; d->scores, d->reports and the entries of cka (NULL: none) follow. The links are of no use any more. */
static void keep_good(struct inputs *in, report_document *d, double *cka) {
  size_t kept = 0;
  for (size_t i = 0; cka && i < in->count; ++i)
    for (size_t j = 0; j < in->count && !in->layers[i].error; ++j)
      if (!in->layers[j].error) cka[kept++] = cka[i * in->count + j];
  kept = 0;
  for (size_t i = 0; i < in->count; ++i) {
    if (in->layers[i].error) continue;
    for (size_t k = 0; k < d->scored && kept != i; ++k) {
      actscope_network_scores *s = &d->scores[k];
      size_t *fields[] = {&s->layer, &s->gradient, &s->weight, &s->before, &s->next, &s->last};
      for (int f = 0; f < 6; ++f)
        if (*fields[f] == i) *fields[f] = kept;
    }
    in->layers[kept] = in->layers[i];
    d->reports[kept++] = d->reports[i];
  }
  in->count = kept;
}

static int write_document(const struct settings *s, const report_document *d) {
  if (s->output) {
    if (report_write_file(s->output, s->format, d) == 0) return 0;
    complain("%s: %s", s->output, strerror(errno));
    return EXIT_OUTPUT;
  }
  if (report_write(stdout, s->format, d, terminal_colour(), terminal_size(NULL)) == 0 && fflush(stdout) == 0) return 0;
  complain("standard output: %s", strerror(errno));
  return EXIT_OUTPUT;
}

static void log_memory(const struct settings *s, const actscope_memory *m) {
  char held[REPORT_TEXT], now[REPORT_TEXT], peak[REPORT_TEXT];
  if (s->options.log_level < ACTSCOPE_LOG_INFO) return;
  complain("memory: at most %s held by the library; %s of the process resident, %s at most",
           report_bytes(held, m->held_peak_bytes), report_bytes(now, m->resident_bytes), report_bytes(peak, m->resident_peak_bytes));
}

static int analyse(struct settings *s, struct inputs *in) {
  double start = seconds_now();
  progress bar;
  int nothing = inputs_open(s, in);
  if (nothing >= 0) return nothing;
  progress_begin(&bar, stderr, in->count, !s->quiet);
  s->options.log = log_line;
  s->options.log_user = &bar;
  actscope_plan *plan;
  actscope_status status = actscope_plan_create(&plan, in->plan_layers, in->count, &s->options);
  if (status) {
    complain("%s", actscope_last_error());
    return exit_status_of(status);
  }
  /* A build for GPUs that finds none says so; one without CUDA has nothing to say. */
  if (!s->quiet && s->options.device == ACTSCOPE_DEVICE_AUTO && actscope_cuda_built() && *actscope_no_gpu_reason())
    complain("no usable GPU (%s): on the CPU", actscope_no_gpu_reason());
  report_document d = {0};
  size_t workspace = 0;
  actscope_plan_workspace(plan, &workspace, NULL);
  int result = run(s, in, plan, &bar);
  double *cka = NULL;
  int compared = 0;
  if (s->options.statistics & ACTSCOPE_CKA) {
    cka = calloc(in->count * in->count, sizeof *cka);
    compared = cka && actscope_plan_cka(plan, cka, in->count) == ACTSCOPE_OK;
    if (!compared) complain("no CKA: %s", cka ? actscope_last_error() : "out of memory");
  }
  actscope_device device = actscope_plan_device(plan);
  actscope_memory_usage(s->options.device_index, &d.memory);
  log_memory(s, &d.memory);
  actscope_plan_destroy(plan);
  char text[256];
  describe_device(device, s->options.device_index, s->options.threads, text, sizeof text);
  d.backend = device == ACTSCOPE_DEVICE_CUDA ? "cuda" : "cpu";
  d.device = text;
  d.options = s->options;
  d.budget_bytes = s->options.memory_budget;
  d.workspace_bytes = workspace;
  d.layers = in->layers;
  d.compat = s->compat;
  d.cka = compared ? cka : NULL;
  d.ranking = calloc(in->count, sizeof *d.ranking);
  d.reports = calloc(in->count, sizeof *d.reports);
  d.scores = calloc(in->count, sizeof *d.scores);
  actscope_role *roles = calloc(in->count, sizeof *roles);
  int analysed = d.ranking && d.reports && d.scores && roles;
  for (size_t i = 0; analysed && i < in->count; ++i) d.reports[i] = in->layers[i].report;
  if (analysed)
    analysed = network_analyse(in->layers, in->count, in->links, s->compat, d.reports, d.scores, &d.scored) == 0;
  int written = EXIT_MEMORY_CAP;
  if (analysed) {
    keep_good(in, &d, cka);
    d.count = in->count;
    for (size_t i = 0; i < in->count; ++i) roles[i] = in->layers[i].role;
    actscope_rank_bottlenecks(d.reports, roles, in->count, d.ranking);
    d.seconds = seconds_now() - start;
    written = in->count ? write_document(s, &d) : 0;
  } else {
    complain("out of memory while ranking the layers");
  }
  free(cka);
  free(d.ranking);
  free(d.reports);
  free(d.scores);
  free(roles);
  return written ? written : result ? result : in->bad ? EXIT_BAD_INPUT : EXIT_ALL_ANALYSED;
}

int command_report(int argc, char **argv) {
  struct settings s;
  struct inputs in = {0};
  int result = settings_parse("report", argc, argv, help, &s);
  if (result < 0) {
    result = analyse(&s, &in);
    inputs_close(&s, &in);
  }
  settings_free(&s);
  return result;
}
