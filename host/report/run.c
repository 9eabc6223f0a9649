/* run.c - steps of a monitor, gathered layer by layer. */
#include "report/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_WARNINGS 100 /* different ones; the rest is not kept */

/* Room for one more entry of `size` bytes behind `count`. 0, or -1 without memory. */
static int grow(void *array, size_t count, size_t *room, size_t size) {
  void *old;
  memcpy(&old, array, sizeof old);
  if (count < *room) return 0;
  size_t more = *room ? 2 * *room : 16;
  void *bigger = reallocarray(old, more, size);
  if (!bigger) return -1;
  memcpy(array, &bigger, sizeof bigger);
  *room = more;
  return 0;
}

/* The layer of that name; the search begins where the order of the steps before says it is. NULL without memory. */
static run_layer *find(report_run *run, const char *name, size_t hint) {
  for (size_t k = 0; k < run->layer_count; k++) {
    run_layer *layer = &run->layers[(hint + k) % run->layer_count];
    if (strcmp(layer->name, name) == 0) return layer;
  }
  if (grow(&run->layers, run->layer_count, &run->layer_room, sizeof *run->layers)) return NULL;
  char *copy = strdup(name);
  if (!copy) return NULL;
  run->layers[run->layer_count] = (run_layer){.name = copy};
  return &run->layers[run->layer_count++];
}

static void take(double value[RUN_NUMBERS], const actscope_layer_report *r) {
  for (int k = 0; k < RUN_NUMBERS; k++) value[k] = NAN;
  if (r->statistics & ACTSCOPE_MOMENTS) {
    value[RUN_ABS_MAX] = r->profile.abs_max;
    value[RUN_STD] = r->profile.std;
    value[RUN_BAD] = (double)(r->profile.nan + r->profile.positive_inf + r->profile.negative_inf);
  } else if (r->statistics & ACTSCOPE_HEALTH) {
    value[RUN_BAD] = (double)r->health.nonfinite;
  }
  if (r->statistics & ACTSCOPE_DISTINCT) value[RUN_REDUNDANCY] = r->distinct.redundancy;
  if ((r->statistics & ACTSCOPE_HEALTH) && r->features) value[RUN_DEAD] = (double)r->health.dead / (double)r->features;
  if (r->statistics & ACTSCOPE_CORRELATION) {
    value[RUN_MEAN_ABS] = r->correlation.mean_abs;
    value[RUN_FLOOR] = r->correlation.noise_floor;
    value[RUN_ADJUSTED] = r->correlation.adjusted_rms;
  }
  if (r->statistics & ACTSCOPE_RANK) value[RUN_RANK] = r->rank.effective_rank;
}

/* Drops the steps from this number on. */
static void cut(report_run *run, int64_t step) {
  while (run->count && run->steps[run->count - 1] >= step) run->count--;
  for (size_t i = 0; i < run->layer_count; i++) {
    run_layer *layer = &run->layers[i];
    while (layer->count && layer->points[layer->count - 1].at >= run->count) layer->count--;
  }
  while (run->alarm_count && run->alarms[run->alarm_count - 1].at >= run->count) free(run->alarms[--run->alarm_count].place);
}

static int add_warning(report_run *run, const char *text) {
  for (size_t i = 0; i < run->warning_count; i++) {
    if (strcmp(run->warnings[i].text, text) != 0) continue;
    run->warnings[i].times++;
    return 0;
  }
  if (run->warning_count >= MOST_WARNINGS) return 0;
  if (grow(&run->warnings, run->warning_count, &run->warning_room, sizeof *run->warnings)) return -1;
  char *copy = strdup(text);
  if (!copy) return -1;
  run->warnings[run->warning_count++] = (run_warning){copy, 1};
  return 0;
}

int run_add(report_run *run, const stream_step *step) {
  cut(run, step->step);
  if (grow(&run->steps, run->count, &run->room, sizeof *run->steps)) return -1;
  size_t at = run->count, hint = 0;
  run->steps[run->count++] = step->step;
  if (at == 0) run->began = step->time;
  run->ended = step->time;
  run->last_count = 0;
  for (size_t i = 0; i < step->count; i++) {
    run_layer *layer = find(run, step->layers[i].name, hint);
    if (!layer || grow(&run->last, run->last_count, &run->last_room, sizeof *run->last)) return -1;
    run->last[run->last_count++] = (size_t)(layer - run->layers);
    hint = (size_t)(layer - run->layers) + 1;
    if (layer->count && layer->points[layer->count - 1].at == at) continue; /* a name twice: the first one counts */
    if (grow(&layer->points, layer->count, &layer->room, sizeof *layer->points)) return -1;
    layer->points[layer->count].at = at;
    take(layer->points[layer->count++].value, &step->layers[i].report);
  }
  if (step->alarmed) {
    if (grow(&run->alarms, run->alarm_count, &run->alarm_room, sizeof *run->alarms)) return -1;
    char *place = strdup(step->alarm_place);
    if (!place) return -1;
    run->alarms[run->alarm_count++] = (run_alarm){at, place, step->alarm_role, step->alarm_nan, step->alarm_inf};
  }
  for (size_t i = 0; i < step->warned; i++)
    if (add_warning(run, step->warnings[i])) return -1;
  return 0;
}

void run_free(report_run *run) {
  for (size_t i = 0; i < run->layer_count; i++) free(run->layers[i].name), free(run->layers[i].points);
  for (size_t i = 0; i < run->alarm_count; i++) free(run->alarms[i].place);
  for (size_t i = 0; i < run->warning_count; i++) free(run->warnings[i].text);
  free(run->layers);
  free(run->last);
  free(run->alarms);
  free(run->warnings);
  free(run->steps);
  memset(run, 0, sizeof *run);
}
