/* info_command.c - `actscope info`: what this build and this machine can do. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char *kind(actscope_device d) { return d == ACTSCOPE_DEVICE_CUDA ? "cuda" : "cpu"; }

static int as_json(const actscope_device_info *list, size_t count) {
  cJSON *top = cJSON_CreateObject(), *devices;
  cJSON_AddStringToObject(top, "schema", "actscope-info/1");
  devices = cJSON_AddArrayToObject(top, "devices");
  cJSON_AddStringToObject(top, "version", actscope_version());
  cJSON_AddStringToObject(top, "no_gpu_reason", actscope_no_gpu_reason());
#ifdef ACTSCOPE_HAVE_ZIP
  cJSON_AddStringToObject(top, "readers", "npy npz safetensors");
#else
  cJSON_AddStringToObject(top, "readers", "npy safetensors");
#endif
  for (size_t i = 0; i < count; ++i) {
    cJSON *d = cJSON_CreateObject();
    cJSON_AddStringToObject(d, "backend", kind(list[i].device));
    cJSON_AddNumberToObject(d, "index", list[i].index);
    cJSON_AddStringToObject(d, "name", list[i].name);
    cJSON_AddStringToObject(d, "code", list[i].backend);
    cJSON_AddNumberToObject(d, "units", list[i].units);
    cJSON_AddNumberToObject(d, "memory_bytes", (double)list[i].memory_bytes);
    cJSON_AddItemToArray(devices, d);
  }
  return put_json(top);
}

static void help(void) {
  fputs(
      "usage: actscope info [options]\n"
      "\n"
      "Says which version this is, on which devices it can measure here with which\n"
      "code, and where there is no GPU, why.\n"
      "\n"
      "  --format FORMAT       table or json (table)\n"
      "\n"
      "Exit status: 0 written; 1 wrong usage; 5 output not written.\n",
      stdout);
}

int command_info(int argc, char **argv) {
  struct arguments a = {argc, argv, 1, NULL, NULL};
  static const char *const formats[] = {"table", "json"};
  int format = 0;
  while (a.next < argc) {
    if (arguments_take(&a, "--help", "-h")) {
      help();
      return EXIT_ALL_ANALYSED;
    }
    if (!arguments_take(&a, "--format", NULL)) {
      complain("unknown option '%s'; try actscope info --help", argv[a.next]);
      return EXIT_USAGE;
    }
    const char *value = arguments_value(&a);
    if (!value || parse_choice(a.option, value, formats, 2, &format)) return EXIT_USAGE;
  }
  actscope_device_info list[16];
  size_t count = 0;
  actscope_devices(list, 16, &count);
  if (count > 16) count = 16;
  if (format == 1) return as_json(list, count);
  printf("actscope %s\n\n%-8s %-40s %-10s %6s %10s\n", actscope_version(), "device", "name", "code", "units", "memory");
  for (size_t i = 0; i < count; ++i) {
    char id[16];
    if (list[i].device == ACTSCOPE_DEVICE_CUDA) snprintf(id, sizeof id, "cuda:%d", list[i].index);
    else snprintf(id, sizeof id, "cpu");
    printf("%-8s %-40s %-10s %6d %6.1f GiB\n", id, list[i].name, list[i].backend, list[i].units,
           (double)list[i].memory_bytes / 1073741824.0);
  }
  const char *why = actscope_no_gpu_reason();
  if (*why) printf("\nno GPU: %s\n", why);
  return EXIT_ALL_ANALYSED;
}
