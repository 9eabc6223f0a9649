/* report_sample.c - writes a made-up document, for tests of the formats and for a look at them.
 *
 *   report_sample NUMBER|troubles|none FORMAT [WIDTH [COLOUR]] */
#include "report_documents.h"

int main(int argc, char **argv) {
  report_format format;
  if (argc < 3 || report_format_from_name(argv[2], &format) != 0) {
    fprintf(stderr, "usage: %s NUMBER|troubles|none FORMAT [WIDTH [COLOUR]]\n", argv[0]);
    return 1;
  }
  report_document *document =
      strcmp(argv[1], "troubles") == 0 ? sample_troubles() : sample_document((size_t)atol(argv[1]));
  if (report_write(stdout, format, document, argc > 4 ? atoi(argv[4]) : 0, argc > 3 ? atoi(argv[3]) : 0) != 0) {
    perror("report_sample");
    return 5;
  }
  return 0;
}
