/* report_render.h - a document as a format's text, for the tests of the writers. */
#ifndef ACTSCOPE_TESTS_REPORT_RENDER_H
#define ACTSCOPE_TESTS_REPORT_RENDER_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "report/format.h"
#include "report_documents.h"

static char *render(const report_document *document, report_format format, int colour, int width) {
  char *text = NULL;
  size_t size = 0;
  FILE *stream = open_memstream(&text, &size);
  cr_assert_not_null(stream);
  int result = report_write(stream, format, document, colour, width);
  cr_assert_eq(result, 0, "%s: %s", report_format_name(format), strerror(errno));
  fclose(stream);
  cr_assert_eq(strlen(text), size, "%s holds a zero byte", report_format_name(format));
  return text;
}

#endif
