/* lists.c - single pairs and features of a layer, for the report: taken from the plan while its layer is the newest. */
#include <math.h>
#include <stdlib.h>

#include "cli/inputs.h"

/* The larger mean |r| first, then the larger of the largest; then as they come. */
static int by_mean(const void *a, const void *b) {
  const report_feature *x = a, *y = b;
  if (x->mean_abs != y->mean_abs) return x->mean_abs > y->mean_abs ? -1 : 1;
  if (x->max_abs != y->max_abs) return x->max_abs > y->max_abs ? -1 : 1;
  return x->feature < y->feature ? -1 : x->feature > y->feature;
}

static actscope_status take_features(uint64_t most, actscope_plan *plan, size_t layer, report_layer *l) {
  const uint64_t features = l->report.features;
  float *mean = calloc(features + 1, sizeof *mean), *max = calloc(features + 1, sizeof *max);
  report_feature *all = calloc(features + 1, sizeof *all);
  actscope_status status = ACTSCOPE_OUT_OF_MEMORY;
  size_t count = 0;
  if (mean && max && all) status = actscope_plan_feature_correlations(plan, layer, mean, max, features);
  for (uint64_t f = 0; !status && f < features; ++f)
    if (mean[f] == mean[f]) all[count++] = (report_feature){f, mean[f], max[f]};
    else if (l->pairless_count++ < REPORT_PAIRLESS) l->pairless[l->pairless_count - 1] = f;
  free(mean);
  free(max);
  if (status) {
    free(all);
    l->pairless_count = 0;
    return status;
  }
  qsort(all, count, sizeof *all, by_mean);
  if (count > most) count = most;
  report_feature *kept = realloc(all, (count + 1) * sizeof *all);
  l->top_features = kept ? kept : all;
  l->top_feature_count = count;
  return ACTSCOPE_OK;
}

actscope_status lists_take(const struct settings *s, actscope_plan *plan, size_t layer, report_layer *l) {
  actscope_status status = ACTSCOPE_OK;
  if (!(s->options.statistics & ACTSCOPE_CORRELATION)) return status;
  if (s->options.top_pairs > 0) {
    l->top = calloc((size_t)s->options.top_pairs, sizeof *l->top);
    status = !l->top ? ACTSCOPE_OUT_OF_MEMORY
                     : actscope_plan_top_pairs(plan, layer, l->top, (size_t)s->options.top_pairs, &l->top_count, &l->top_above);
  }
  if (!status && s->top_features > 0) status = take_features(s->top_features, plan, layer, l);
  return status;
}

void lists_free(report_layer *l) {
  free(l->top);
  free(l->top_features);
  l->top = NULL;
  l->top_features = NULL;
}
