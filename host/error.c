/* error.c - the thread's last error text. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char text[512];

actscope_status actscope_fail(actscope_status status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return status;
}

const char *actscope_last_error(void) { return text; }

const char *actscope_status_name(actscope_status status) {
  switch (status) {
#define NAME(s) case s: return #s
    NAME(ACTSCOPE_OK);
    NAME(ACTSCOPE_INVALID_ARGUMENT);
    NAME(ACTSCOPE_UNSUPPORTED);
    NAME(ACTSCOPE_OUT_OF_MEMORY);
    NAME(ACTSCOPE_BUDGET_TOO_SMALL);
    NAME(ACTSCOPE_WORKSPACE_TOO_SMALL);
    NAME(ACTSCOPE_NOT_READY);
    NAME(ACTSCOPE_NO_DEVICE);
    NAME(ACTSCOPE_DEVICE_ERROR);
    NAME(ACTSCOPE_INTERNAL);
#undef NAME
  }
  return "ACTSCOPE_STATUS_UNKNOWN";
}
