/* running.c - drives a plan's backend: checks tensors, counts steps, hands out reports and the alarm; and the call that
 * does it all for one tensor. */
#include <stdio.h>

#include "core/distinct.h"
#include "core/moments.h"
#include "core/pairs.h"
#include "error.h"
#include "plan.h"

static actscope_status tensor_check(const struct plan_layer *l, const actscope_tensor *t) {
  if (t->dtype != l->dtype || t->ndim != l->ndim)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: dtype or number of dimensions differs from the plan's", l->name);
  for (int d = 0; d < l->ndim; ++d)
    if (!t->shape || t->shape[d] != l->shape[d])
      return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: shape differs from the plan's at axis %d", l->name, d);
  size_t size = actscope_dtype_size(l->dtype);
  if ((uintptr_t)t->data % size)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: data is not aligned to its element size of %zu", l->name, size);
  /* the furthest element's offset must be an int64 number of bytes */
  uint64_t reach = 0, limit = (uint64_t)INT64_MAX / size;
  for (int d = 0; t->strides && l->elements && d < l->ndim; ++d) {
    uint64_t stride = t->strides[d] < 0 ? 0 - (uint64_t)t->strides[d] : (uint64_t)t->strides[d];
    uint64_t steps = (uint64_t)l->shape[d] - 1;
    if (stride && steps && (stride > limit / steps || reach > limit - stride * steps))
      return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: strides reach beyond 2^63 bytes", l->name);
    reach += stride * steps;
  }
  return ACTSCOPE_OK;
}

void actscope_plan_step(const actscope_plan *p, struct plan_layer *l) {
  ++l->sequence;
  if (p->options.window && l->steps >= (uint64_t)p->options.window) l->steps = 0;
  ++l->steps;
}

void actscope_plan_report_begin(struct plan_layer *l) {
  memset(&l->report, 0, sizeof l->report);
  l->report.sequence = l->sequence;
  l->report.steps = l->steps;
  l->report.statistics = l->options.statistics;
  l->report.warnings = l->warnings;
  l->report.dtype = l->dtype;
  l->report.elements = l->elements * (l->steps ? l->steps : 1);
  l->report.samples = l->samples;
  l->report.features = l->features;
}

void actscope_plan_note_samples(struct plan_layer *l, uint64_t valid) {
  if (l->samples < 3) l->report.warnings |= ACTSCOPE_WARN_FEW_SAMPLES;
  if (valid < 2) l->report.warnings |= ACTSCOPE_WARN_NO_VALID_PAIR;
}

void actscope_plan_report_empty(struct plan_layer *l) {
  actscope_layer_report *r = &l->report;
  const actscope_options *o = &l->options;
  double none = core_nan();
  struct moments m;
  moments_init(&m);
  if (o->statistics & ACTSCOPE_PROFILE) {
    moments_finish(&m, o->statistics, &r->profile);
    for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT; ++q) r->profile.quantiles[q] = none;
  }
  if (o->statistics & ACTSCOPE_DISTINCT) distinct_finish_exact(0, 0, &r->distinct);
  if (o->statistics & ACTSCOPE_HEALTH) {
    /* without samples every feature is vacuously dead and none is anything else; say nothing instead */
    memset(&r->health, 0, sizeof r->health);
    r->health.active_fraction = none;
  }
  if (o->statistics & ACTSCOPE_CORRELATION) {
    pairs_report_init(l->samples, 0, &r->correlation);
    r->correlation.method = l->correlation;
    actscope_plan_note_samples(l, 0);
  }
  if (o->statistics & ACTSCOPE_RANK) r->rank.participation_ratio = r->rank.effective_rank = none;
  if (o->statistics & ACTSCOPE_SIMILARITY) r->similarity.mean_cosine = none;
}

void actscope_plan_log_warnings(const actscope_options *o, const struct plan_layer *l) {
  char text[256];
  for (int bit = 0; bit < ACTSCOPE_WARN_COUNT; ++bit)
    if (o->log && actscope_warning_text(&l->report, bit, text, sizeof text))
      actscope_plan_log(o, ACTSCOPE_LOG_WARNING, "%s: %s", l->name, text);
}

actscope_status actscope_plan_enqueue_layer(actscope_plan *p, size_t layer, const actscope_tensor *t,
                                            struct CUstream_st *stream) {
  if (!p || !t) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "tensor" : "plan");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  struct plan_layer *l = &p->layers[layer];
  actscope_status status = tensor_check(l, t);
  if (status) return status;
  if (!t->data && l->elements)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: data is NULL", l->name);
  status = actscope_plan_ensure_workspace(p);
  if (status) return status;
  p->enqueued = 1;
  return p->backend->run(p, layer, t, 1, stream);
}

actscope_status actscope_plan_enqueue(actscope_plan *p, const actscope_tensor *tensors, size_t count,
                                      struct CUstream_st *stream) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  if (count != p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%zu tensors for a plan of %zu layers", count, p->count);
  if (!tensors && count) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "tensors is NULL");
  /* check everything before anything runs, so that a wrong call changes nothing */
  for (size_t i = 0; i < count; ++i) {
    if (!tensors[i].data && p->layers[i].elements) continue;
    actscope_status status = tensor_check(&p->layers[i], &tensors[i]);
    if (status) return status;
  }
  actscope_status status = actscope_plan_ensure_workspace(p);
  if (status) return status;
  p->enqueued = 1;
  return p->backend->run(p, 0, tensors, count, stream);
}

static actscope_status poll(actscope_plan *p, int wait) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  if (!p->enqueued) return actscope_fail(ACTSCOPE_NOT_READY, "nothing was enqueued");
  return p->backend->poll(p, wait);
}

actscope_status actscope_plan_poll(actscope_plan *p) { return poll(p, 0); }
actscope_status actscope_plan_wait(actscope_plan *p) { return poll(p, 1); }

actscope_status actscope_plan_report(actscope_plan *p, size_t layer, actscope_layer_report *report) {
  if (!p || !report) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "report" : "plan");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  if (!p->layers[layer].reported)
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: nothing was enqueued", p->layers[layer].name);
  actscope_status status = p->backend->report(p, &p->layers[layer]);
  if (!status) *report = p->layers[layer].report;
  return status;
}

actscope_status actscope_plan_cka(actscope_plan *p, double *matrix, size_t count) {
  if (!p || !matrix) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "matrix" : "plan");
  if (count != p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%zu layers for a plan of %zu", count, p->count);
  actscope_status status = poll(p, 0);
  return status ? status : p->backend->cka(p, matrix);
}

actscope_status actscope_plan_feature_correlations(actscope_plan *p, size_t layer, float *mean_abs, float *max_abs, size_t count) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  const struct plan_layer *l = &p->layers[layer];
  const actscope_options *o = &l->options;
  if (!(o->statistics & ACTSCOPE_CORRELATION) || !(o->pair_functionals & ACTSCOPE_PAIRS_FEATURES))
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: correlations of single features were not asked for", l->name);
  if (count != l->features)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: %zu numbers for %llu features", l->name, count,
                         (unsigned long long)l->features);
  if (!l->reported) return actscope_fail(ACTSCOPE_NOT_READY, "%s: nothing was enqueued", l->name);
  actscope_status status = poll(p, 0);
  if (status) return status;
  if (actscope_plan_wants_correlations(l)) return p->backend->correlations(p, l, mean_abs, max_abs);
  for (size_t i = 0; i < count; ++i) {
    if (mean_abs) mean_abs[i] = (float)core_nan();
    if (max_abs) max_abs[i] = (float)core_nan();
  }
  return ACTSCOPE_OK;
}

actscope_status actscope_plan_top_pairs(actscope_plan *p, size_t layer, actscope_pair *pairs, size_t capacity, size_t *count,
                                        uint64_t *above) {
  size_t there = 0;
  uint64_t all = 0;
  if (!p || (!pairs && capacity)) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "pairs" : "plan");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  const struct plan_layer *l = &p->layers[layer];
  if (!(l->options.statistics & ACTSCOPE_CORRELATION) || l->options.top_pairs == 0)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: top_pairs were not asked for", l->name);
  if (!l->reported) return actscope_fail(ACTSCOPE_NOT_READY, "%s: nothing was enqueued", l->name);
  actscope_status status = poll(p, 0);
  if (!status && actscope_plan_wants_top(l)) status = p->backend->top(p, l, pairs, capacity, &there, &all);
  if (status) return status;
  if (count) *count = there;
  if (above) *above = all;
  return ACTSCOPE_OK;
}

actscope_status actscope_plan_report_at(actscope_plan *p, size_t layer, uint64_t sequence, actscope_layer_report *report) {
  if (!p || !report) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "report" : "plan");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  struct plan_layer *l = &p->layers[layer];
  if (!l->reported)
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: report %llu has not been made yet", l->name, (unsigned long long)sequence);
  if (p->backend->report_at) return p->backend->report_at(p, l, sequence, report);
  if (sequence > l->sequence)
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: report %llu has not been made yet", l->name, (unsigned long long)sequence);
  const uint64_t kept = (uint64_t)p->options.history;
  const actscope_layer_report *r = p->history ? &p->history[layer * kept + sequence % kept] : &l->report;
  if (sequence == 0 || r->sequence != sequence)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: report %llu is not among the last %llu", l->name,
                         (unsigned long long)sequence, (unsigned long long)kept);
  *report = *r;
  return ACTSCOPE_OK;
}

actscope_status actscope_plan_reset(actscope_plan *p) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  actscope_plan_begin_windows(p);
  p->alarm_layer = SIZE_MAX;
  p->alarm_sequence = 0;
  return p->backend->reset && !p->closed ? p->backend->reset(p, 1) : ACTSCOPE_OK;
}

actscope_status actscope_plan_alarm(const actscope_plan *p, size_t *layer, uint64_t *sequence) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  size_t first = p->alarm_layer;
  uint64_t when = p->alarm_sequence;
  if (p->backend->alarm && !p->closed) p->backend->alarm(p, &first, &when);
  if (layer) *layer = first;
  if (sequence) *sequence = when;
  return ACTSCOPE_OK;
}

/* ---- The simple call --------------------------------------------------------------------------------------------------- */

actscope_status actscope_analyze(const actscope_tensor *tensor, const actscope_options *options,
                                 actscope_layer_report *report) {
  if (!tensor || !report) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", tensor ? "report" : "tensor");
  actscope_layer layer = {"tensor", tensor->dtype, tensor->ndim, tensor->shape};
  actscope_plan *p;
  actscope_status status = actscope_plan_create(&p, &layer, 1, options);
  if (status) return status;
  status = actscope_plan_enqueue_layer(p, 0, tensor, NULL);
  if (!status) status = actscope_plan_wait(p);
  if (!status) status = actscope_plan_report(p, 0, report);
  actscope_plan_destroy(p);
  return status;
}
