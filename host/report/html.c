/* html.c - the page. */
#include <errno.h>

#include "report/format.h"

int report_write_html(report_sink *sink, const report_document *document) {
  (void)sink, (void)document;
  errno = ENOSYS;
  return -1;
}
