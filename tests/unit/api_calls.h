/* api_calls.h - what tests of the public API share: calls that must be accepted or refused, and reports that are equal. */
#ifndef ACTSCOPE_TESTS_API_CALLS_H
#define ACTSCOPE_TESTS_API_CALLS_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "reference/data.h"
#include "reference/reference.h"

#define CHECK(c) cr_assert_eq(compare_end(&(c)), 0, "%s", (c).text)
/* A call fails with this status and one line of text that holds `words`. */
#define REFUSED(call, expected, words)                                                                              \
  do {                                                                                                              \
    actscope_status status_ = (call);                                                                               \
    cr_assert_eq(status_, expected, "%s: %s, not %s (%s)", #call, actscope_status_name(status_), #expected,         \
                 actscope_last_error());                                                                            \
    cr_assert(strlen(actscope_last_error()) > 0 && !strchr(actscope_last_error(), '\n'), "%s: no line of text", #call); \
    cr_assert(strstr(actscope_last_error(), words), "%s: '%s' not in: %s", #call, words, actscope_last_error());    \
  } while (0)
#define ACCEPTED(call)                                                                                         \
  do {                                                                                                         \
    actscope_status status_ = (call);                                                                          \
    cr_assert_eq(status_, ACTSCOPE_OK, "%s: %s: %s", #call, actscope_status_name(status_), actscope_last_error()); \
  } while (0)

static inline actscope_options cpu_options(void) {
  actscope_options o;
  actscope_options_init(&o);
  o.device = ACTSCOPE_DEVICE_CPU;
  o.threads = 2;
  return o;
}

/* Equal to the bit, time aside. */
static inline int same_report(const actscope_layer_report *a, const actscope_layer_report *b) {
  actscope_layer_report x = *a, y = *b;
  x.seconds = y.seconds = 0;
  x.sequence = y.sequence = 0; /* how often its plan was enqueued */
  return memcmp(&x, &y, sizeof x) == 0;
}

#endif
