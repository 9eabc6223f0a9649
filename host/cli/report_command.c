/* report_command.c - `actscope report`: files in, one document out. */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "analysis/compat.h"
#include "cli/cli.h"
#include "io/reader.h"
#include "plan.h"
#include "report/progress.h"
#include "report/report.h"

struct settings {
  actscope_options options;
  report_format format;
  const char *output; /* NULL: standard output */
  const char **globs;
  const char **files;
  int glob_count, file_count, verbose, quiet, compat;
};

static void help(void) {
  fputs(
      "usage: actscope report [options] FILE...\n"
      "\n"
      "Reads .npy, .npz and .safetensors (every tensor is one layer; '-' is one .npy on standard input) and reports\n"
      "what flows through each layer. Axis 0 is the samples; the other axes are the features.\n"
      "\n"
      "What to measure\n"
      "  --statistics LIST     of profile,distinct,health,correlation,rank,similarity (all)\n"
      "  --correlation METHOD  auto, exact, sampled or gram (auto: exact while N*D^2 <= 1e13)\n"
      "  --pairs M             pair budget of sampled (16777216)\n"
      "  --seed S              every random choice derives from it (0)\n"
      "  --distinct METHOD     auto, exact or sketch (auto)\n"
      "  --sketch-bits P       4 to 18: 2^P words of 4 bytes (12)\n"
      "  --channels            features = axis 1, samples = all other axes together\n"
      "  --layers GLOB         keep layers whose name matches; repeatable\n"
      "  --compat neuroexapt   add the scores of that analyser by its own formulas\n"
      "\n"
      "Where and how much\n"
      "  --device DEVICE       auto, cpu, cuda or cuda:K (auto: a usable GPU, else the CPU)\n"
      "  --memory SIZE         hard cap on working memory beside the input (256MiB)\n"
      "  --precision KIND      fp16 or fp32: quality of the products on a GPU (fp32)\n"
      "  --threads T           CPU threads (as many as there are)\n"
      "  --large-tensor COUNT  warn from this many elements on (10000000)\n"
      "\n"
      "Output\n"
      "  --format FORMAT       table, json, jsonl, csv or html (table)\n"
      "  -o, --output FILE     replaced atomically (standard output)\n"
      "  -v, --verbose         log step by step on standard error; -vv also what the plan decided\n"
      "  -q, --quiet           no progress, no notes\n"
      "  --log-level LEVEL     error, warning, info or debug\n"
      "\n"
      "Exit status: 0 all layers analysed; 1 wrong usage; 2 an input is malformed (the good ones are still reported);\n"
      "3 the memory cap holds no method (says which would); 4 device failure; 5 output not written.\n",
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

/* Returns -1 to go on, else an exit status. */
static int parse(int argc, char **argv, struct settings *s) {
  static const char *const methods[] = {"auto", "exact", "sampled", "gram"}, *const distincts[] = {"auto", "exact", "sketch"},
                           *const precisions[] = {"fp32", "fp16"}, *const levels[] = {"error", "warning", "info", "debug"},
                           *const analysers[] = {"neuroexapt"};
  struct arguments a = {argc, argv, 1, NULL, NULL};
  actscope_options *o = &s->options;
  int only_files = 0, level = -1;
  uint64_t number;
  actscope_options_init(o);
  o->pairs = 1 << 24;
  s->format = REPORT_TABLE;
  while (a.next < argc) {
    const char *word = argv[a.next], *value = NULL;
    int choice = 0;
    if (only_files || word[0] != '-' || word[1] == 0) {
      s->files[s->file_count++] = word;
      ++a.next;
      continue;
    }
#define VALUE() if (!(value = arguments_value(&a))) return EXIT_USAGE
    if (strcmp(word, "--") == 0) {
      only_files = 1;
      ++a.next;
    } else if (arguments_take(&a, "--help", "-h")) {
      help();
      return EXIT_ALL_ANALYSED;
    } else if (arguments_take(&a, "--device", NULL)) {
      VALUE();
      if (parse_device(a.option, value, o)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--memory", NULL)) {
      VALUE();
      if (parse_size(a.option, value, &o->memory_budget)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--statistics", NULL)) {
      VALUE();
      if (parse_statistics(a.option, value, &o->statistics)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--correlation", NULL)) {
      VALUE();
      if (parse_choice(a.option, value, methods, 4, &choice)) return EXIT_USAGE;
      o->correlation = (actscope_correlation_method)choice;
    } else if (arguments_take(&a, "--pairs", NULL)) {
      VALUE();
      if (parse_count(a.option, value, 1, UINT64_MAX, &o->pairs)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--seed", NULL)) {
      VALUE();
      if (parse_count(a.option, value, 0, UINT64_MAX, &o->seed)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--precision", NULL)) {
      VALUE();
      if (parse_choice(a.option, value, precisions, 2, &choice)) return EXIT_USAGE;
      o->precision = (actscope_precision)choice;
    } else if (arguments_take(&a, "--distinct", NULL)) {
      VALUE();
      if (parse_choice(a.option, value, distincts, 3, &choice)) return EXIT_USAGE;
      o->distinct = (actscope_distinct_method)choice;
    } else if (arguments_take(&a, "--sketch-bits", NULL)) {
      VALUE();
      if (parse_count(a.option, value, 4, 18, &number)) return EXIT_USAGE;
      o->sketch_bits = (int32_t)number;
    } else if (arguments_take(&a, "--threads", NULL)) {
      VALUE();
      if (parse_count(a.option, value, 1, 4096, &number)) return EXIT_USAGE;
      o->threads = (int32_t)number;
    } else if (arguments_take(&a, "--channels", NULL)) {
      o->channels = 1;
    } else if (arguments_take(&a, "--layers", NULL)) {
      VALUE();
      s->globs[s->glob_count++] = value;
    } else if (arguments_take(&a, "--large-tensor", NULL)) {
      VALUE();
      if (parse_count(a.option, value, 0, UINT64_MAX, &o->large_tensor)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--format", NULL)) {
      VALUE();
      if (report_format_from_name(value, &s->format)) {
        complain("--format wants table, json, jsonl, csv or html, not '%s'", value);
        return EXIT_USAGE;
      }
    } else if (arguments_take(&a, "--output", "-o")) {
      VALUE();
      s->output = value;
    } else if (arguments_take(&a, "--compat", NULL)) {
      VALUE();
      if (parse_choice(a.option, value, analysers, 1, &choice)) return EXIT_USAGE;
      s->compat = 1;
    } else if (arguments_take(&a, "--log-level", NULL)) {
      VALUE();
      if (parse_choice(a.option, value, levels, 4, &level)) return EXIT_USAGE;
    } else if (arguments_take(&a, "-vv", NULL)) {
      s->verbose = 2;
    } else if (arguments_take(&a, "--verbose", "-v")) {
      ++s->verbose;
    } else if (arguments_take(&a, "--quiet", "-q")) {
      s->quiet = 1;
    } else {
      complain("unknown option '%s'; try actscope report --help", word);
      return EXIT_USAGE;
    }
    if (a.inline_value && !value) {
      complain("%s takes no value", a.option);
      return EXIT_USAGE;
    }
#undef VALUE
  }
  if (s->file_count == 0) {
    complain("no files; try actscope report --help");
    return EXIT_USAGE;
  }
  o->log_level = level >= 0 ? (actscope_log_level)level
                 : s->verbose > 1 ? ACTSCOPE_LOG_DEBUG : s->verbose ? ACTSCOPE_LOG_INFO : ACTSCOPE_LOG_ERROR;
  return -1;
}

/* ---- Layers out of files ------------------------------------------------------------------------------------------- */

struct item { /* a layer and where it comes from */
  reader *file;
  size_t entry;
};
struct inputs {
  reader **files;
  struct item *items;
  report_layer *layers;
  actscope_layer *plan_layers;
  size_t count, seen, named; /* seen: before the globs; named: plan_layers that own their name */
  int bad;            /* something was refused */
};

static int wanted(const struct settings *s, const char *name) {
  for (int i = 0; i < s->glob_count; ++i)
    if (fnmatch(s->globs[i], name, 0) == 0) return 1;
  return s->glob_count == 0;
}

static int grow(struct inputs *in, size_t more) {
  size_t n = in->count + more;
  struct item *items = realloc(in->items, n * sizeof *items);
  if (items) in->items = items;
  report_layer *layers = realloc(in->layers, n * sizeof *layers);
  if (layers) in->layers = layers;
  actscope_layer *plan_layers = realloc(in->plan_layers, n * sizeof *plan_layers);
  if (plan_layers) in->plan_layers = plan_layers;
  return items && layers && plan_layers ? 0 : -1;
}

static int open_inputs(const struct settings *s, struct inputs *in) {
  char error[READER_ERROR_SIZE];
  in->files = calloc((size_t)s->file_count, sizeof *in->files);
  if (!in->files) return -1;
  for (int f = 0; f < s->file_count; ++f) {
    if (reader_open(&in->files[f], s->files[f], error)) {
      complain("%s: %s", s->files[f], error);
      in->bad = 1;
      in->files[f] = NULL;
      continue;
    }
    size_t n = reader_count(in->files[f]);
    if (n && grow(in, n)) return -1;
    for (size_t i = 0; i < n; ++i) {
      const reader_entry *e = reader_get(in->files[f], i);
      ++in->seen;
      if (!wanted(s, e->name)) continue;
      const char *problem = e->problem;
      if (!problem && s->options.channels && e->ndim < 2) problem = "--channels needs two dimensions or more";
      if (problem) {
        complain("%s: %s: %s", s->files[f], e->name, problem);
        in->bad = 1;
        continue;
      }
      report_layer *l = &in->layers[in->count];
      memset(l, 0, sizeof *l);
      l->name = e->name;
      l->source = s->files[f];
      l->ndim = e->ndim;
      memcpy(l->shape, e->shape, sizeof l->shape);
      in->items[in->count].file = in->files[f];
      in->items[in->count++].entry = i;
    }
  }
  for (size_t i = 0; i < in->count; ++i) { /* the arrays do not move any more */
    const reader_entry *e = reader_get(in->items[i].file, in->items[i].entry);
    /* "FILE: LAYER", so that every line of the library names both */
    size_t size = strlen(in->layers[i].source) + strlen(e->name) + 3;
    char *name = malloc(size);
    if (!name) return -1;
    snprintf(name, size, "%s: %s", in->layers[i].source, e->name);
    in->plan_layers[i] = (actscope_layer){name, e->dtype, e->ndim, in->layers[i].shape};
    ++in->named;
  }
  return 0;
}

static void close_inputs(const struct settings *s, struct inputs *in) {
  for (int f = 0; in->files && f < s->file_count; ++f) reader_close(in->files[f]);
  free(in->files);
  for (size_t i = 0; i < in->named; ++i) free((char *)in->plan_layers[i].name);
  free(in->items);
  free(in->layers);
  free(in->plan_layers);
}

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

_Static_assert(COMPAT_COUNT <= COMPAT_MAX, "report_compat holds every score");

/* A file holds activations alone, so scores of gradients and weights stay NaN. */
static actscope_status add_compat(struct compat_network *network, const actscope_tensor *tensor, int channels,
                                  report_layer *l) {
  struct compat_input input = {.report = &l->report, .tensor = tensor, .channels = channels};
  l->compat.count = COMPAT_COUNT;
  for (int i = 0; i < COMPAT_COUNT; ++i) l->compat.name[i] = actscope_compat_names[i];
  return actscope_compat_layer(network, &input, l->compat.value);
}

/* Runs the plan layer by layer, so that inflated data is held one layer at a time. Returns an exit status. */
static int run(const struct settings *s, struct inputs *in, actscope_plan *plan, progress *bar) {
  struct compat_network network = {0};
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
    if (!status && s->compat) status = add_compat(&network, &tensor, s->options.channels, l);
    if (status) {
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

/* Drops the layers without numbers. */
static void keep_good(struct inputs *in) {
  size_t kept = 0;
  for (size_t i = 0; i < in->count; ++i)
    if (!in->layers[i].error) in->layers[kept++] = in->layers[i];
  in->count = kept;
}

/* Columns of the terminal; 0 when it does not tell. */
static int terminal_width(int descriptor) {
  struct winsize size;
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static int write_document(const struct settings *s, const report_document *d) {
  if (s->output) {
    if (report_write_file(s->output, s->format, d) == 0) return 0;
    complain("%s: %s", s->output, strerror(errno));
    return EXIT_OUTPUT;
  }
  int terminal = isatty(STDOUT_FILENO), width = terminal ? terminal_width(STDOUT_FILENO) : 0;
  const char *no_colour = getenv("NO_COLOR");
  if (report_write(stdout, s->format, d, terminal && !(no_colour && *no_colour), width) == 0 && fflush(stdout) == 0)
    return 0;
  complain("standard output: %s", strerror(errno));
  return EXIT_OUTPUT;
}

static int analyse(struct settings *s, struct inputs *in) {
  double start = seconds_now();
  progress bar;
  if (open_inputs(s, in)) {
    complain("out of memory while listing the layers");
    return EXIT_MEMORY_CAP;
  }
  if (in->count == 0) {
    if (in->bad) return EXIT_BAD_INPUT;
    if (in->seen) complain("no layer matches --layers");
    else complain("no layers in the files");
    return in->seen ? EXIT_USAGE : EXIT_BAD_INPUT;
  }
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
  actscope_device device = actscope_plan_device(plan);
  actscope_plan_destroy(plan);
  keep_good(in);
  char text[256];
  describe_device(device, s->options.device_index, s->options.threads, text, sizeof text);
  d.backend = device == ACTSCOPE_DEVICE_CUDA ? "cuda" : "cpu";
  d.device = text;
  d.options = s->options;
  d.budget_bytes = s->options.memory_budget;
  d.workspace_bytes = workspace;
  d.count = in->count;
  d.layers = in->layers;
  d.compat = s->compat;
  d.ranking = calloc(in->count ? in->count : 1, sizeof *d.ranking);
  actscope_layer_report *reports = calloc(in->count ? in->count : 1, sizeof *reports);
  if (!d.ranking || !reports) {
    complain("out of memory while ranking the layers");
    free(d.ranking);
    free(reports);
    return EXIT_MEMORY_CAP;
  }
  for (size_t i = 0; i < in->count; ++i) reports[i] = in->layers[i].report;
  actscope_rank_bottlenecks(reports, in->count, d.ranking);
  free(reports);
  d.seconds = seconds_now() - start;
  int written = in->count ? write_document(s, &d) : 0;
  free(d.ranking);
  return written ? written : result ? result : in->bad ? EXIT_BAD_INPUT : EXIT_ALL_ANALYSED;
}

int command_report(int argc, char **argv) {
  struct settings s = {0};
  struct inputs in = {0};
  s.files = calloc((size_t)argc + 1, sizeof *s.files);
  s.globs = calloc((size_t)argc + 1, sizeof *s.globs);
  int result = s.files && s.globs ? parse(argc, argv, &s) : EXIT_MEMORY_CAP;
  if (result < 0) {
    result = analyse(&s, &in);
    close_inputs(&s, &in);
  }
  free(s.files);
  free(s.globs);
  return result;
}
