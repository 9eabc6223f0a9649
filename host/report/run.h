/* run.h - what a monitor recorded over the steps, a few numbers of each layer at each step: for the page. */
#ifndef ACTSCOPE_REPORT_RUN_H
#define ACTSCOPE_REPORT_RUN_H

#include "report/stream.h"

typedef enum run_number {
  RUN_MEAN_ABS,
  RUN_FLOOR,
  RUN_ADJUSTED,
  RUN_DEAD, /* share of the features */
  RUN_ABS_MAX,
  RUN_STD,
  RUN_REDUNDANCY,
  RUN_RANK, /* effective */
  RUN_BAD,  /* NaN and infinite values */
  RUN_NUMBERS
} run_number;

typedef struct run_point {
  size_t at; /* index of the step */
  double value[RUN_NUMBERS];
} run_point;

typedef struct run_layer {
  char *name;
  size_t count, room;
  run_point *points; /* in the order of the steps */
} run_layer;

typedef struct run_alarm {
  size_t at;
  char *place;
  actscope_role role;
  double nan, inf;
} run_alarm;

typedef struct run_warning {
  char *text;
  size_t times;
} run_warning;

typedef struct report_run {
  const char *path;   /* the file, the caller's */
  size_t count, room; /* steps */
  int64_t *steps;     /* rising */
  double began, ended; /* seconds since 1970, of the first and the last step */
  size_t layer_count, layer_room;
  run_layer *layers;  /* in the order they were first seen */
  size_t last_count, last_room;
  size_t *last;       /* for each layer of the last step, which of `layers` it is */
  size_t alarm_count, alarm_room;
  run_alarm *alarms;
  size_t warning_count, warning_room;
  run_warning *warnings; /* the different ones */
} report_run;

/* Adds a step. One whose number is not above the last one's continues from a checkpoint: what came at and behind that
 * number is dropped first. 0, or -1 without memory. */
int run_add(report_run *run, const stream_step *step);
void run_free(report_run *run);

#endif
