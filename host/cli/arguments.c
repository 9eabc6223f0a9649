/* arguments.c - options and their values, with messages that name the option. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "report/fields.h"

int arguments_take(struct arguments *a, const char *long_name, const char *short_name) {
  const char *word = a->argv[a->next];
  size_t n = strlen(long_name);
  a->inline_value = NULL;
  if (strncmp(word, long_name, n) == 0 && (word[n] == 0 || word[n] == '=')) {
    if (word[n] == '=') a->inline_value = word + n + 1;
    a->option = long_name;
  } else if (short_name && strcmp(word, short_name) == 0) {
    a->option = short_name;
  } else {
    return 0;
  }
  ++a->next;
  return 1;
}

const char *arguments_value(struct arguments *a) {
  if (a->inline_value) return a->inline_value;
  if (a->next < a->argc) return a->argv[a->next++];
  complain("%s wants a value", a->option);
  return NULL;
}

int parse_count(const char *option, const char *text, uint64_t low, uint64_t high, uint64_t *out) {
  char *end;
  errno = 0;
  unsigned long long v = strtoull(text, &end, 10);
  if (!isdigit((unsigned char)*text) || *end || errno || v < low || v > high) {
    if (high == UINT64_MAX) complain("%s wants a whole number from %llu on, not '%s'", option, (unsigned long long)low, text);
    else
      complain("%s wants a whole number from %llu to %llu, not '%s'", option, (unsigned long long)low,
               (unsigned long long)high, text);
    return -1;
  }
  *out = v;
  return 0;
}

int parse_seconds(const char *option, const char *text, double *seconds) {
  char *end;
  double v = strtod(text, &end);
  if (!(isdigit((unsigned char)*text) || *text == '.') || *end || !(v >= 0 && v <= 1e9)) {
    complain("%s wants seconds, such as 0.5, not '%s'", option, text);
    return -1;
  }
  *seconds = v;
  return 0;
}

int parse_share(const char *option, const char *text, double *share) {
  char *end;
  double v = strtod(text, &end);
  if (!(isdigit((unsigned char)*text) || *text == '.') || *end || !(v >= 0 && v <= 1)) {
    complain("%s wants a number from 0 to 1, not '%s'", option, text);
    return -1;
  }
  *share = v;
  return 0;
}

int parse_size(const char *option, const char *text, uint64_t *bytes) {
  static const struct {
    const char *suffix;
    double factor;
  } units[] = {{"", 1},       {"B", 1},         {"K", 1024},        {"KiB", 1024},         {"M", 1048576}, {"MiB", 1048576},
               {"kB", 1e3},   {"KB", 1e3},      {"MB", 1e6},        {"G", 1073741824},     {"GiB", 1073741824},
               {"GB", 1e9},   {"T", 1099511627776.0}, {"TiB", 1099511627776.0}, {"TB", 1e12}};
  char *end;
  double v = strtod(text, &end);
  if ((isdigit((unsigned char)*text) || *text == '.') && end != text) {
    while (*end == ' ') ++end;
    for (size_t i = 0; i < sizeof units / sizeof *units; ++i)
      if (strcasecmp(end, units[i].suffix) == 0 && v >= 0 && v * units[i].factor < 9e18) {
        *bytes = (uint64_t)(v * units[i].factor);
        return 0;
      }
  }
  complain("%s wants a size such as 64MiB or 1GiB, not '%s'", option, text);
  return -1;
}

int parse_choice(const char *option, const char *text, const char *const *names, int count, int *out) {
  char list[160] = "";
  for (int i = 0; i < count; ++i) {
    if (strcmp(text, names[i]) == 0) {
      *out = i;
      return 0;
    }
    if (i) strcat(list, i + 1 < count ? ", " : " or ");
    strcat(list, names[i]);
  }
  complain("%s wants %s, not '%s'", option, list, text);
  return -1;
}

int parse_device(const char *option, const char *text, actscope_options *o) {
  uint64_t index = 0;
  if (strcmp(text, "auto") == 0) o->device = ACTSCOPE_DEVICE_AUTO;
  else if (strcmp(text, "cpu") == 0) o->device = ACTSCOPE_DEVICE_CPU;
  else if (strcmp(text, "cuda") == 0) o->device = ACTSCOPE_DEVICE_CUDA;
  else if (strncmp(text, "cuda:", 5) == 0 && parse_count(option, text + 5, 0, 1023, &index) == 0)
    o->device = ACTSCOPE_DEVICE_CUDA;
  else {
    if (strncmp(text, "cuda:", 5) != 0) complain("%s wants auto, cpu, cuda or cuda:K, not '%s'", option, text);
    return -1;
  }
  o->device_index = (int32_t)index;
  return 0;
}

int parse_statistics(const char *option, const char *text, uint32_t *mask) {
  static const report_statistic all = {"all", ACTSCOPE_ALL};
  *mask = 0;
  for (const char *word = text; *word;) {
    size_t n = strcspn(word, ",");
    const report_statistic *found = NULL;
    for (size_t i = 0; i <= report_statistic_count && !found; ++i) {
      const report_statistic *known = i < report_statistic_count ? &report_statistics[i] : &all;
      if (strlen(known->name) == n && strncmp(known->name, word, n) == 0) found = known;
    }
    if (!found) {
      char list[160] = "";
      for (size_t i = 0; i < report_statistic_count; ++i) {
        if (i) strcat(list, ", ");
        strcat(list, report_statistics[i].name);
      }
      complain("%s knows %s and all, not '%.*s'", option, list, (int)n, word);
      return -1;
    }
    *mask |= found->bits;
    word += n;
    if (*word == ',') ++word;
  }
  if (*mask == 0) {
    complain("%s wants a list such as profile,correlation", option);
    return -1;
  }
  return 0;
}

int exit_status_of(actscope_status status) {
  switch (status) {
    case ACTSCOPE_OK: return EXIT_ALL_ANALYSED;
    case ACTSCOPE_INVALID_ARGUMENT: return EXIT_USAGE;
    case ACTSCOPE_UNSUPPORTED: return EXIT_BAD_INPUT;
    case ACTSCOPE_OUT_OF_MEMORY:
    case ACTSCOPE_BUDGET_TOO_SMALL:
    case ACTSCOPE_WORKSPACE_TOO_SMALL: return EXIT_MEMORY_CAP;
    default: return EXIT_DEVICE;
  }
}
