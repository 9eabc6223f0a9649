/* settings.c - options of the commands that read files. */
#include <stdlib.h>
#include <string.h>

#include "cli/inputs.h"
#include "report/fields.h"

const char settings_help[] =
    "What to measure\n"
    "  --statistics LIST     of profile,distinct,health,correlation,rank,similarity\n"
    "                        (all of them), and cka: how alike the layers are\n"
    "  --correlation METHOD  auto, exact, sampled or gram\n"
    "                        (auto: exact while N*D^2 <= 1e13)\n"
    "  --time-budget S       seconds that a layer's correlations may take by the\n"
    "                        plan's model: beyond them auto samples, as many pairs\n"
    "                        as they allow, 65536 or more (0: no limit)\n"
    "  --pairs M             pairs that sampled looks at (16777216, or what the\n"
    "                        time budget allows)\n"
    "  --signed              the mean of r too, beside that of |r|\n"
    "  --top-pairs K         list the K pairs of features with the largest |r|,\n"
    "                        exactly, up to 65536\n"
    "  --pairs-above R       of those, only pairs with |r| above R; counts them all\n"
    "  --top-features K      list the K features with the largest mean |r| to the\n"
    "                        others, and those that have no pair\n"
    "  --split-half          do the correlations of the first half of the samples\n"
    "                        show in the second?\n"
    "  --null NULL           formula, or shift: the noise floor of rotated samples\n"
    "                        too, for heavy tails (formula)\n"
    "  --seed S              every random choice derives from it (0)\n"
    "  --distinct METHOD     auto, exact or sketch (auto)\n"
    "  --sketch-bits P       4 to 18: a sketch of 2^P words of 4 bytes (12)\n"
    "  --channels            features = axis 1, samples = all other axes together\n"
    "  --layers GLOB         only layers whose name matches; repeatable\n"
    "  --compat neuroexapt   the scores of that analyser too, by its own formulas\n"
    "\n"
    "Where and how much\n"
    "  --device DEVICE       auto, cpu, cuda or cuda:K (auto: usable GPU, else CPU)\n"
    "  --memory SIZE         hard cap on working memory beside the input (256MiB)\n"
    "  --precision KIND      fp16 or fp32: the quality of correlations (fp32)\n"
    "  --threads T           CPU threads (as many as there are)\n"
    "  --large-tensor COUNT  warn of layers of so many elements or more (10000000)\n"
    "\n";

int settings_parse(const char *command, int argc, char **argv, void (*help)(void), struct settings *s) {
  static const char *const precisions[] = {"fp32", "fp16"}, *const levels[] = {"error", "warning", "info", "debug"},
                           *const analysers[] = {"neuroexapt"}, *const nulls[] = {"formula", "shift"};
  struct arguments a = {argc, argv, 1, NULL, NULL};
  actscope_options *o = &s->options;
  int only_files = 0, level = -1;
  uint64_t number;
  memset(s, 0, sizeof *s);
  s->command = command;
  s->files = calloc((size_t)argc + 1, sizeof *s->files);
  s->globs = calloc((size_t)argc + 1, sizeof *s->globs);
  if (!s->files || !s->globs) {
    complain("out of memory");
    return EXIT_MEMORY_CAP;
  }
  actscope_options_init(o);
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
      if (parse_choice(a.option, value, report_correlation_methods, REPORT_CORRELATION_METHODS, &choice)) return EXIT_USAGE;
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
      if (parse_choice(a.option, value, report_distinct_methods, REPORT_DISTINCT_METHODS, &choice)) return EXIT_USAGE;
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
    } else if (arguments_take(&a, "--top-pairs", NULL)) {
      VALUE();
      if (parse_count(a.option, value, 1, 65536, &number)) return EXIT_USAGE;
      o->top_pairs = (int32_t)number;
    } else if (arguments_take(&a, "--pairs-above", NULL)) {
      VALUE();
      if (parse_share(a.option, value, &o->pairs_above)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--top-features", NULL)) {
      VALUE();
      if (parse_count(a.option, value, 1, UINT64_MAX, &s->top_features)) return EXIT_USAGE;
      o->pair_functionals |= ACTSCOPE_PAIRS_FEATURES;
    } else if (arguments_take(&a, "--signed", NULL)) {
      o->pair_functionals |= ACTSCOPE_PAIRS_SIGNED;
    } else if (arguments_take(&a, "--split-half", NULL)) {
      o->pair_functionals |= ACTSCOPE_PAIRS_SPLIT_HALF;
    } else if (arguments_take(&a, "--null", NULL)) {
      VALUE();
      if (parse_choice(a.option, value, nulls, 2, &choice)) return EXIT_USAGE;
      o->pair_functionals = (o->pair_functionals & ~(uint32_t)ACTSCOPE_PAIRS_SHIFT) | (choice ? ACTSCOPE_PAIRS_SHIFT : 0u);
    } else if (arguments_take(&a, "--layers", NULL)) {
      VALUE();
      s->globs[s->glob_count++] = value;
    } else if (arguments_take(&a, "--time-budget", NULL)) {
      VALUE();
      if (parse_seconds(a.option, value, &o->time_budget)) return EXIT_USAGE;
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
      complain("unknown option '%s'; try actscope %s --help", word, command);
      return EXIT_USAGE;
    }
    if (a.inline_value && !value) {
      complain("%s takes no value", a.option);
      return EXIT_USAGE;
    }
#undef VALUE
  }
  if (s->file_count == 0) {
    complain("no files; try actscope %s --help", command);
    return EXIT_USAGE;
  }
  if (o->pairs_above > 0 && o->top_pairs == 0) {
    complain("--pairs-above is for --top-pairs");
    return EXIT_USAGE;
  }
  if (o->top_pairs > 0 && o->correlation == ACTSCOPE_CORRELATION_GRAM) {
    complain("--top-pairs looks at single pairs, which --correlation gram does not");
    return EXIT_USAGE;
  }
  o->log_level = level >= 0 ? (actscope_log_level)level
                 : s->verbose > 1 ? ACTSCOPE_LOG_DEBUG : s->verbose ? ACTSCOPE_LOG_INFO : ACTSCOPE_LOG_ERROR;
  return -1;
}

void settings_free(struct settings *s) {
  free(s->files);
  free(s->globs);
}
