/* output.c - what the commands write, and where to. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"

void complain(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("actscope: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
}

int put_json(cJSON *top) {
  char *text = top ? cJSON_Print(top) : NULL;
  if (text) puts(text);
  else complain("out of memory");
  const int made = text != NULL;
  cJSON_free(text);
  cJSON_Delete(top);
  return made ? EXIT_ALL_ANALYSED : EXIT_MEMORY_CAP;
}

int output_end(int result) {
  errno = 0;
  if (!fflush(stdout) && !ferror(stdout)) return result;
  if (result != EXIT_OUTPUT) complain("standard output: %s", errno ? strerror(errno) : "not all of it was written");
  return EXIT_OUTPUT;
}

int terminal_size(int *height) {
  struct winsize size = {0};
  if (isatty(STDOUT_FILENO)) ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
  if (height) *height = size.ws_row;
  return size.ws_col;
}

int terminal_colour(void) {
  const char *no_colour = getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) && !(no_colour && *no_colour);
}

void describe_device(actscope_device device, int index, int threads, char *text, size_t size) {
  actscope_device_info list[16];
  size_t count = 0;
  actscope_devices(list, 16, &count);
  snprintf(text, size, "unknown");
  for (size_t i = 0; i < count && i < 16; ++i) {
    if (list[i].device != device || (device == ACTSCOPE_DEVICE_CUDA && list[i].index != index)) continue;
    int units = threads > 0 && device == ACTSCOPE_DEVICE_CPU ? threads : list[i].units;
    snprintf(text, size, "%s, %d %s%s, %s", list[i].name, units,
             device == ACTSCOPE_DEVICE_CPU ? "thread" : "multiprocessor", units == 1 ? "" : "s", list[i].backend);
    return;
  }
}
