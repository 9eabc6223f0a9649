/* error.h - the thread's last error text. */
#ifndef ACTSCOPE_ERROR_H
#define ACTSCOPE_ERROR_H

#include "actscope.h"

/* Sets the thread's text (one line) and returns status, so that `return actscope_fail(...)` reads well. */
actscope_status actscope_fail(actscope_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
