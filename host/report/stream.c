/* stream.c - lines of a monitor to steps: the fields of fields.c, in the other direction. */
#include "report/stream.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/fields.h"
#include "report/format.h"

#define SCHEMA "actscope-monitor/1"
#define MOST_LAYERS 1000000 /* of one step: a file that claims more is not one of ours */

struct stream {
  stream_step made, last; /* under way, and whole */
  stream_cka cka;         /* the newest; count is 0 before the first */
  size_t room, last_room; /* entries of layers and places of each */
  int begun, have;        /* made holds layers; last is there */
};

/* ---- Values ------------------------------------------------------------------------------------------------------ */

static double real(const cJSON *object, const char *name) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
  return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

/* A number as a count: what is none, or negative, is 0. */
static uint64_t whole(double value) {
  return !(value >= 1) ? 0 : value >= 18446744073709549568.0 ? UINT64_MAX : (uint64_t)value;
}

static int64_t number(double value) {
  return !isfinite(value) ? 0 : value <= -9e15 ? -9000000000000000 : value >= 9e15 ? 9000000000000000 : (int64_t)value;
}

static const char *text(const cJSON *object, const char *name) {
  return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* The items of an array that are texts, copied; NULL without memory. The list ends in a NULL. */
static char **texts(const cJSON *array, size_t *count) {
  size_t n = 0;
  const cJSON *item;
  char **list = calloc((size_t)cJSON_GetArraySize(array) + 1, sizeof *list);
  cJSON_ArrayForEach(item, array) {
    if (!list || !cJSON_IsString(item)) continue;
    if (!(list[n] = strdup(item->valuestring))) {
      while (n) free(list[--n]);
      free(list);
      return NULL;
    }
    n++;
  }
  *count = n;
  return list;
}

static void free_texts(char **list) {
  for (char **t = list; t && *t; t++) free(*t);
  free(list);
}

/* ---- A layer ----------------------------------------------------------------------------------------------------- */

static void by_level(const cJSON *item, const double *levels, double *values, int n) {
  char key[REPORT_TEXT];
  for (int i = 0; i < n; i++) values[i] = real(item, report_real(key, levels[i]));
}

/* One field of a section out of its JSON value. */
static void read_field(const cJSON *section, const report_field *field, void *value) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(section, field->name);
  const char *method = cJSON_GetStringValue(item);
  switch (field->kind) {
    case REPORT_COUNT:
      *(uint64_t *)value = whole(real(section, field->name));
      break;
    case REPORT_REAL:
    case REPORT_ASKED:
      *(double *)value = real(section, field->name);
      break;
    case REPORT_DISTINCT_METHOD:
      for (int m = 0; method && report_distinct_method((actscope_distinct_method)m); m++)
        if (strcmp(method, report_distinct_method((actscope_distinct_method)m)) == 0)
          *(actscope_distinct_method *)value = (actscope_distinct_method)m;
      break;
    case REPORT_CORRELATION_METHOD:
      for (int m = 0; method && report_correlation_method((actscope_correlation_method)m); m++)
        if (strcmp(method, report_correlation_method((actscope_correlation_method)m)) == 0)
          *(actscope_correlation_method *)value = (actscope_correlation_method)m;
      break;
    case REPORT_INTERVAL:
      for (int i = 0; i < 2; i++) {
        const cJSON *end = cJSON_GetArrayItem(item, i);
        ((double *)value)[i] = cJSON_IsNumber(end) ? end->valuedouble : NAN;
      }
      break;
    case REPORT_QUANTILES:
      by_level(item, actscope_quantile_levels, value, ACTSCOPE_QUANTILE_COUNT);
      break;
    case REPORT_BUCKETS: {
      const double first = real(item, "first");
      const cJSON *counts = cJSON_GetObjectItemCaseSensitive(item, "counts"), *bucket = cJSON_IsArray(counts) ? counts->child : NULL;
      if (!(fabs(first) <= ACTSCOPE_VALUE_BUCKETS / 2)) break;
      for (int i = (int)first + ACTSCOPE_VALUE_BUCKETS / 2; i < ACTSCOPE_VALUE_BUCKETS && bucket; i++, bucket = bucket->next)
        ((uint64_t *)value)[i] = cJSON_IsNumber(bucket) ? whole(bucket->valuedouble) : 0;
      break;
    }
    case REPORT_ABOVE:
      by_level(item, actscope_pair_thresholds, value, ACTSCOPE_THRESHOLD_COUNT);
      break;
    case REPORT_HISTOGRAM: {
      const cJSON *bin = cJSON_IsArray(item) ? item->child : NULL;
      for (int i = 0; i < ACTSCOPE_PAIR_BINS && bin; i++, bin = bin->next)
        ((uint64_t *)value)[i] = cJSON_IsNumber(bin) ? whole(bin->valuedouble) : 0;
      break;
    }
  }
}

/* The sections that are there. A part of the profile that was not asked for is null as a whole. */
static void read_sections(const cJSON *line, actscope_layer_report *report) {
  for (size_t f = 0; f < report_field_count; f++) {
    const report_field *field = &report_fields[f];
    const cJSON *section = cJSON_GetObjectItemCaseSensitive(line, field->section);
    if (!cJSON_IsObject(section)) continue;
    int parts = field->any != field->all;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(section, field->name);
    if (!parts || (item && !cJSON_IsNull(item))) report->statistics |= field->all;
    read_field(section, field, (char *)report + field->offset);
  }
}

static int dtype_from_name(const char *name, actscope_dtype *dtype) {
  for (int d = 0; name && actscope_dtype_size((actscope_dtype)d); d++) {
    if (strcmp(name, actscope_dtype_name((actscope_dtype)d)) != 0) continue;
    *dtype = (actscope_dtype)d;
    return 0;
  }
  return -1;
}

/* A list of a layer's single pairs or features: memory for its entries; NULL where there is none, or no memory (*failed). */
static void *list_of(const cJSON *list, size_t size, size_t *count, int *failed) {
  *count = cJSON_IsArray(list) ? (size_t)cJSON_GetArraySize(list) : 0;
  void *entries = cJSON_IsArray(list) ? calloc(*count + 1, size) : NULL;
  if (cJSON_IsArray(list) && !entries) *failed = 1;
  return entries;
}

/* Single pairs and features; 0, or -1 without memory. */
static int read_lists(const cJSON *section, report_layer *layer) {
  const cJSON *pairs = cJSON_GetObjectItemCaseSensitive(section, "top_pairs"), *item;
  const cJSON *features = cJSON_GetObjectItemCaseSensitive(section, "top_features");
  const cJSON *pairless = cJSON_GetObjectItemCaseSensitive(section, "pairless_features");
  int failed = 0;
  size_t k = 0;
  layer->top = list_of(pairs, sizeof *layer->top, &layer->top_count, &failed);
  layer->top_features = list_of(features, sizeof *layer->top_features, &layer->top_feature_count, &failed);
  if (failed) return -1;
  if (layer->top) cJSON_ArrayForEach(item, pairs) layer->top[k++] = (actscope_pair){whole(real(item, "i")), whole(real(item, "j")), real(item, "r")};
  k = 0;
  if (layer->top_features)
    cJSON_ArrayForEach(item, features) layer->top_features[k++] =
        (report_feature){whole(real(item, "feature")), (float)real(item, "mean_abs"), (float)real(item, "max_abs")};
  layer->pairless_count = whole(real(pairless, "count"));
  k = 0;
  cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(pairless, "first"))
    if (k < REPORT_PAIRLESS && cJSON_IsNumber(item)) layer->pairless[k++] = whole(item->valuedouble);
  if (k < REPORT_PAIRLESS && k < layer->pairless_count) layer->pairless_count = k;
  return 0;
}

static void clear_layer(report_layer *layer, char *place) {
  if (layer->name != place) free((char *)layer->name);
  free(layer->top);
  free(layer->top_features);
  free_texts(layer->warnings);
  free(place);
}

/* Fills a layer and its place from a line. */
static stream_result read_layer(const cJSON *line, report_layer *layer, char **place, char *error) {
  const char *name = text(line, "name"), *kind = text(line, "kind");
  const cJSON *shape = cJSON_GetObjectItemCaseSensitive(line, "shape"), *axis;
  size_t warned;
  memset(layer, 0, sizeof *layer);
  if (!name || !kind || dtype_from_name(text(line, "dtype"), &layer->report.dtype) || !cJSON_IsArray(shape) ||
      cJSON_GetArraySize(shape) > ACTSCOPE_MAX_DIMS) {
    snprintf(error, STREAM_ERROR_SIZE, "a layer without name, kind, dtype or shape");
    return STREAM_BAD;
  }
  layer->role = strcmp(kind, "gradient") == 0 ? ACTSCOPE_ROLE_GRADIENT : ACTSCOPE_ROLE_ACTIVATION;
  double passes = real(line, "passes"), elements = passes >= 1 ? passes : 1;
  cJSON_ArrayForEach(axis, shape) {
    layer->shape[layer->ndim++] = cJSON_IsNumber(axis) ? (int64_t)(whole(axis->valuedouble) & INT64_MAX) : 0;
    elements *= (double)layer->shape[layer->ndim - 1];
  }
  actscope_layer_report *report = &layer->report;
  report->elements = whole(elements);
  report->steps = passes >= 1 ? whole(passes) : 1;
  report->samples = whole(real(line, "samples"));
  report->features = whole(real(line, "features"));
  report->seconds = real(line, "seconds");
  read_sections(line, report);
  int listed = read_lists(cJSON_GetObjectItemCaseSensitive(line, "correlation"), layer);
  layer->warnings = texts(cJSON_GetObjectItemCaseSensitive(line, "warnings"), &warned);
  char *shared = strdup(name), *called = shared;
  if (layer->role == ACTSCOPE_ROLE_GRADIENT && asprintf(&called, "%s.gradient", name) < 0) called = NULL;
  layer->name = called;
  *place = shared;
  if (layer->warnings && shared && called && !listed) return STREAM_MORE;
  clear_layer(layer, shared);
  return STREAM_NO_MEMORY;
}

/* ---- CKA --------------------------------------------------------------------------------------------------------- */

static void clear_cka(stream_cka *cka) {
  free_texts(cka->names);
  free(cka->matrix);
  *cka = (stream_cka){0};
}

/* Takes the place of *cka where a step's line has a matrix, a square of as many rows as names. Whether it has, or -1 without
 * memory. */
static int read_cka(const cJSON *line, int64_t step, stream_cka *cka) {
  const cJSON *object = cJSON_GetObjectItemCaseSensitive(line, "cka"), *row, *item;
  const cJSON *names = cJSON_GetObjectItemCaseSensitive(object, "layers");
  const cJSON *rows = cJSON_GetObjectItemCaseSensitive(object, "matrix");
  stream_cka made = {.step = step};
  const size_t n = cJSON_IsArray(names) && cJSON_IsArray(rows) ? (size_t)cJSON_GetArraySize(names) : 0;
  if (!n || (size_t)cJSON_GetArraySize(rows) != n) return 0;
  cJSON_ArrayForEach(row, rows) if ((size_t)cJSON_GetArraySize(row) != n) return 0;
  made.names = texts(names, &made.count);
  made.matrix = malloc(n * n * sizeof *made.matrix);
  if (!made.names || !made.matrix) {
    clear_cka(&made);
    return -1;
  }
  if (made.count != n) { /* a name that is no text */
    clear_cka(&made);
    return 0;
  }
  double *to = made.matrix;
  cJSON_ArrayForEach(row, rows) cJSON_ArrayForEach(item, row) *to++ = cJSON_IsNumber(item) ? item->valuedouble : NAN;
  clear_cka(cka);
  *cka = made;
  return 1;
}

/* The matrix in the order of a document's layers: NaN where one of two is not among its names. NULL without memory. */
static double *spread_cka(const stream_step *step) {
  const stream_cka *cka = step->cka;
  const size_t n = step->count;
  double *matrix = calloc(n ? n : 1, (n ? n : 1) * sizeof *matrix);
  size_t *at = calloc(n ? n : 1, sizeof *at); /* in the matrix, from 1 on; 0: it is not there */
  for (size_t i = 0; matrix && at && i < n; i++)
    for (size_t k = 0; step->layers[i].role == ACTSCOPE_ROLE_ACTIVATION && k < cka->count && !at[i]; k++)
      if (strcmp(cka->names[k], step->places[i]) == 0) at[i] = k + 1;
  for (size_t i = 0; matrix && at && i < n; i++)
    for (size_t j = 0; j < n; j++)
      matrix[i * n + j] = at[i] && at[j] ? cka->matrix[(at[i] - 1) * cka->count + at[j] - 1] : NAN;
  if (!at) free(matrix), matrix = NULL;
  free(at);
  return matrix;
}

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

static void clear_step(stream_step *step) {
  for (size_t i = 0; i < step->count; i++) clear_layer(&step->layers[i], step->places[i]);
  free_texts(step->warnings);
  free(step->alarm_place);
  step->count = step->warned = 0;
  step->warnings = NULL;
  step->alarm_place = NULL;
  step->alarmed = 0;
  step->cka = NULL;
  step->alike = 0;
}

stream *stream_new(void) { return calloc(1, sizeof(stream)); }

void stream_reset(stream *s) {
  clear_step(&s->made);
  s->begun = 0;
}

void stream_free(stream *s) {
  if (!s) return;
  stream_step *both[] = {&s->made, &s->last};
  for (int i = 0; i < 2; i++) {
    clear_step(both[i]);
    free(both[i]->layers);
    free(both[i]->places);
  }
  clear_cka(&s->cka);
  free(s);
}

const stream_step *stream_last(const stream *s) { return s->have ? &s->last : NULL; }

static stream_result add_layer(stream *s, const cJSON *line, char *error) {
  int64_t step = number(real(line, "step"));
  stream_step *made = &s->made;
  if (s->begun && made->step != step) stream_reset(s); /* that step was never finished */
  if (made->count >= MOST_LAYERS) {
    snprintf(error, STREAM_ERROR_SIZE, "more than %d layers in one step", MOST_LAYERS);
    return STREAM_BAD;
  }
  if (made->count == s->room) {
    size_t room = s->room ? 2 * s->room : 32;
    report_layer *layers = realloc(made->layers, room * sizeof *layers);
    if (layers) made->layers = layers;
    char **places = realloc(made->places, room * sizeof *places);
    if (places) made->places = places;
    if (!layers || !places) return STREAM_NO_MEMORY;
    s->room = room;
  }
  stream_result result = read_layer(line, &made->layers[made->count], &made->places[made->count], error);
  if (result != STREAM_MORE) return result;
  made->step = step;
  made->count++;
  s->begun = 1;
  return STREAM_MORE;
}

static stream_result end_step(stream *s, const cJSON *line, char *error) {
  int64_t step = number(real(line, "step"));
  double layers = real(line, "layers");
  stream_step *made = &s->made;
  if (s->begun && made->step != step) stream_reset(s);
  if (!isfinite(layers) || (double)made->count != layers) {
    snprintf(error, STREAM_ERROR_SIZE, "step %lld has %zu of its %.0f layers", (long long)step, made->count, layers);
    stream_reset(s);
    return STREAM_BAD;
  }
  made->step = step;
  made->rank = number(real(line, "rank"));
  made->time = real(line, "time");
  made->seconds = real(line, "seconds");
  made->warnings = texts(cJSON_GetObjectItemCaseSensitive(line, "warnings"), &made->warned);
  const cJSON *alarm = cJSON_GetObjectItemCaseSensitive(line, "alarm");
  if (cJSON_IsObject(alarm)) {
    const char *place = text(alarm, "layer"), *kind = text(alarm, "kind");
    made->alarmed = 1;
    made->alarm_place = strdup(place ? place : "");
    made->alarm_role = kind && strcmp(kind, "gradient") == 0 ? ACTSCOPE_ROLE_GRADIENT : ACTSCOPE_ROLE_ACTIVATION;
    made->alarm_nan = real(alarm, "nan");
    made->alarm_inf = real(alarm, "inf");
  }
  if (s->cka.step >= step) clear_cka(&s->cka); /* the run went back to a checkpoint: that step is none any more */
  made->alike = read_cka(line, step, &s->cka);
  if (!made->warnings || (made->alarmed && !made->alarm_place) || made->alike < 0) return STREAM_NO_MEMORY;
  /* What held the last step holds the next one. */
  clear_step(&s->last);
  stream_step spare = s->last;
  s->last = s->made;
  s->last.cka = s->cka.count ? &s->cka : NULL;
  s->made = (stream_step){.layers = spare.layers, .places = spare.places};
  size_t room = s->room;
  s->room = s->last_room;
  s->last_room = room;
  s->begun = 0;
  s->have = 1;
  return STREAM_STEP;
}

stream_result stream_line(stream *s, const char *line, size_t length, char error[STREAM_ERROR_SIZE]) {
  if (!length || strspn(line, " \t\r") >= length) return STREAM_MORE;
  cJSON *object = cJSON_ParseWithLength(line, length);
  const char *schema = text(object, "schema"), *type = text(object, "type");
  stream_result result = STREAM_BAD;
  if (!cJSON_IsObject(object)) {
    snprintf(error, STREAM_ERROR_SIZE, "not JSON");
  } else if (!schema || !type || strcmp(schema, SCHEMA) != 0) {
    int report = schema && strncmp(schema, "actscope-report/", 16) == 0;
    snprintf(error, STREAM_ERROR_SIZE, "no line of a monitor's stream (schema " SCHEMA ")%s",
             report ? ": of `actscope report`, whose page is --format html" : "");
  } else if (strcmp(type, "layer") == 0) {
    result = add_layer(s, object, error);
  } else if (strcmp(type, "step") == 0) {
    result = end_step(s, object, error);
  } else {
    result = STREAM_MORE; /* a newer writer may add lines of its own */
  }
  cJSON_Delete(object);
  return result;
}

/* ---- As a document ----------------------------------------------------------------------------------------------- */

int stream_document(const stream_step *step, report_document *document) {
  size_t n = step->count, room = n ? n : 1;
  memset(document, 0, sizeof *document);
  actscope_options_init(&document->options);
  document->seconds = step->seconds;
  document->count = n;
  document->layers = step->layers;
  document->ranking = calloc(room, sizeof *document->ranking);
  document->reports = calloc(room, sizeof *document->reports);
  document->scores = calloc(room, sizeof *document->scores);
  actscope_role *roles = calloc(room, sizeof *roles);
  int made = document->ranking && document->reports && document->scores && roles;
  for (size_t i = 0; made && i < n; i++) document->reports[i] = step->layers[i].report, roles[i] = step->layers[i].role;
  made = made && !actscope_rank_bottlenecks(document->reports, roles, n, document->ranking) &&
         !actscope_network_analyze(document->reports, roles, (const char *const *)step->places, n, document->scores,
                                   &document->scored);
  if (made && step->cka) {
    document->cka = spread_cka(step);
    document->cka_step = step->cka->step;
    made = document->cka != NULL;
  }
  free(roles);
  if (!made) stream_document_free(document);
  return made ? 0 : -1;
}

void stream_document_free(report_document *document) {
  free(document->ranking);
  free(document->reports);
  free(document->scores);
  free((double *)document->cka);
  document->cka = NULL;
  document->ranking = NULL;
  document->reports = NULL;
  document->scores = NULL;
}
