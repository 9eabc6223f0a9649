/* fields.h - the fields of a layer's sections in the order they are written: the one list behind JSON and CSV. */
#ifndef ACTSCOPE_REPORT_FIELDS_H
#define ACTSCOPE_REPORT_FIELDS_H

#include "report.h"

typedef enum report_kind {
  REPORT_COUNT, /* uint64_t */
  REPORT_REAL,  /* double, null when not finite */
  REPORT_ASKED, /* the same, of a number that only an option of its own asks for */
  REPORT_DISTINCT_METHOD,
  REPORT_CORRELATION_METHOD,
  REPORT_INTERVAL,  /* two doubles */
  REPORT_QUANTILES, /* a double for each level */
  REPORT_BUCKETS,   /* ACTSCOPE_VALUE_BUCKETS counts */
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

/* The names of methods and statistics, for every format and the command line. */
#define REPORT_DISTINCT_METHODS 3
#define REPORT_CORRELATION_METHODS 4
extern const char *const report_distinct_methods[REPORT_DISTINCT_METHODS]; /* in the order of their numbers */
extern const char *const report_correlation_methods[REPORT_CORRELATION_METHODS];
const char *report_distinct_method(actscope_distinct_method method); /* NULL if unknown */
const char *report_correlation_method(actscope_correlation_method method);
/* The name of the method that a field holds; NULL where it is unknown, or where the field is of another kind. */
const char *report_method(report_kind kind, const void *value);

typedef struct report_statistic {
  const char *name;
  uint32_t bits;
} report_statistic;
extern const report_statistic report_statistics[]; /* what can be asked for by name */
extern const size_t report_statistic_count;

#endif
