/* fields.h - the fields of a layer's sections in the order they are written: the one list behind JSON and CSV. */
#ifndef ACTSCOPE_REPORT_FIELDS_H
#define ACTSCOPE_REPORT_FIELDS_H

#include "report.h"

typedef enum report_kind {
  REPORT_COUNT, /* uint64_t */
  REPORT_REAL,  /* double, null when not finite */
  REPORT_DISTINCT_METHOD,
  REPORT_CORRELATION_METHOD,
  REPORT_INTERVAL,  /* two doubles */
  REPORT_QUANTILES, /* a double for each level */
  REPORT_ABOVE,     /* a double for each threshold */
  REPORT_HISTOGRAM  /* ACTSCOPE_PAIR_BINS counts */
} report_kind;

typedef struct report_field {
  const char *section; /* "profile", ... */
  const char *name;
  uint32_t any; /* the section is there when one of these statistics was measured */
  uint32_t all; /* the field has a value when these were; else it is null */
  report_kind kind;
  size_t offset; /* in actscope_layer_report */
} report_field;

extern const report_field report_fields[];
extern const size_t report_field_count;

/* The field's value; NULL when the field is null for this layer as a whole. */
const void *report_value(const report_document *document, const report_layer *layer, const report_field *field);

/* "exact", "sketch", "sampled", "gram", "auto"; NULL if unknown. */
const char *report_distinct_method(actscope_distinct_method method);
const char *report_correlation_method(actscope_correlation_method method);

#endif
