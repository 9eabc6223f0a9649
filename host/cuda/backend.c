/* backend.c - a CUDA plan from its opening to its reports: memory, enqueues, the plan's own graph, results. state.h draws the
 * whole. */
#include <stdio.h>
#include <string.h>

#include "cuda/runtime.h"
#include "cuda/state.h"
#include "error.h"
#include "memory.h"

static uint64_t sequence_of(const struct cuda_state *s) { return *(const volatile uint64_t *)&s->header->sequence; }

/* ---- Opening and closing ------------------------------------------------------------------------------------------------ */

/* Replays were no calls: a plan that changes its shapes counts on from them. */
static void catch_up(actscope_plan *p) {
  const struct cuda_state *s = p->state;
  for (size_t i = 0; s->newest && i < p->count; ++i)
    if (p->layers[i].sequence < s->newest[i]) p->layers[i].sequence = s->newest[i];
}

static void close_state(actscope_plan *p) {
  struct cuda_state *s = p->state;
  int before;
  if (!s) return;
  catch_up(p);
  if (!actscope_cuda_enter(p->options.device_index, &before)) {
    if (s->recorded) actscope_cuda_event_wait(s->event); /* reports and staging are still being used */
    if (s->event) actscope_cuda_event_destroy(s->event);
    if (s->fork) actscope_cuda_event_destroy(s->fork);
    if (s->join) actscope_cuda_event_destroy(s->join);
    if (s->side) actscope_cuda_stream_destroy(s->side);
    if (s->reports) actscope_cuda_pinned_release(s->reports);
    if (s->words) actscope_cuda_release(s->words, s->words_bytes);
    if (s->staging) actscope_cuda_release(s->staging, s->staging_bytes);
    if (s->exec) actscope_cuda_exec_destroy(s->exec);
    if (s->own) actscope_cuda_stream_destroy(s->own);
    actscope_cuda_leave(before);
  }
  actscope_memory_free(s);
  p->state = NULL;
}

/* What lies behind each other in pinned memory, and in the words on the device. */
static void point(const actscope_plan *p, struct cuda_state *s) {
  s->clocks = (struct cuda_clock *)((char *)s->words + up(sizeof(struct cuda_finish_words)));
  s->compared = 0;
  for (size_t i = 0; i < p->count; ++i)
    if (p->layers[i].cka) s->places[i].compared = s->compared++;
  s->cka_words = s->compared ? (struct cuda_cka_words *)((char *)s->clocks + up(p->count * sizeof *s->clocks)) : NULL;
  s->cka_told = s->compared ? (struct cuda_cka_told *)((char *)s->reports + s->pinned_bytes - up(cuda_cka_told_bytes(s->compared))) : NULL;
  s->newest = (uint64_t *)((char *)s->reports + up(p->count * (uint64_t)p->options.history * sizeof *s->reports));
  s->header = (struct cuda_report_header *)((char *)s->newest + up(p->count * sizeof *s->newest));
  s->header->alarm = ~0ull;
  char *at = (char *)s->header + up(sizeof *s->header);
  for (size_t i = 0; i < p->count; ++i) {
    const struct told t = actscope_cuda_told_of(&p->layers[i]);
    s->places[i].correlations = t.correlations ? (struct cuda_correlations *)at : NULL, at += t.correlations;
    s->places[i].top = t.top ? (struct cuda_top_told *)at : NULL, at += t.top;
  }
}

/* The words on the device as they start; a plan that changed its shapes counts on. By a stream that waits for no other, so that
 * this waits for nothing of the caller's. */
static int start(const actscope_plan *p, const struct cuda_state *s) {
  const struct cuda_finish_words words = {.alarm = ~0ull};
  int error = actscope_cuda_upload(s->words, &words, sizeof words, s->own);
  for (size_t i = 0; i < p->count && !error; ++i) {
    const struct cuda_clock clock = {p->layers[i].sequence, 0, 0};
    error = actscope_cuda_upload(&s->clocks[i], &clock, sizeof clock, s->own);
  }
  if (!error && s->compared) error = actscope_cuda_zero(s->cka_words, cuda_cka_words_bytes(s->compared), s->own);
  return error ? error : actscope_cuda_stream_finish(s->own);
}

/* What only a plan with a forked wave has. */
static int fork_make(struct cuda_state *s) {
  int error = s->forked && !s->side ? actscope_cuda_stream_create(&s->side) : 0;
  if (!error && s->forked && !s->fork) error = actscope_cuda_event_create(&s->fork);
  if (!error && s->forked && !s->join) error = actscope_cuda_event_create(&s->join);
  return error;
}

static actscope_status opened(actscope_plan *p, int error) {
  if (!error) return ACTSCOPE_OK;
  actscope_status status = actscope_cuda_fail(error, "the plan's own memory on GPU %d", (int)p->options.device_index);
  close_state(p);
  return status;
}
/* The end of either way to open, where all else is there. */
static actscope_status begun(actscope_plan *p, int error, int before) {
  struct cuda_state *s = p->state;
  if (!error) error = fork_make(s);
  if (!error) {
    point(p, s);
    error = start(p, s);
  }
  actscope_cuda_leave(before);
  return opened(p, error);
}

static actscope_status open_state(actscope_plan *p) {
  struct cuda_state *s = actscope_memory_allocate(actscope_cuda_state_bytes(p));
  if (!s) return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the system refused %llu bytes", (unsigned long long)actscope_cuda_state_bytes(p));
  char *at = (char *)s + up(sizeof *s);
  int wgmma = 0;
  actscope_status asked = actscope_cuda_wants_wgmma(p->options.device_index, &wgmma);
  if (asked) return actscope_memory_free(s), asked;
  p->state = s;
  s->wgmma = wgmma;
  s->places = (struct place *)at, at += up(p->count * sizeof *s->places);
  s->waves = (struct wave *)at, at += up(p->count * sizeof *s->waves);
  s->groups = (struct group *)at, at += up(p->count * sizeof *s->groups);
  s->moved = (struct moved *)at;
  s->pinned_bytes = actscope_cuda_pinned_bytes(p), s->words_bytes = actscope_cuda_words_bytes(p);
  int before, error = actscope_cuda_enter(p->options.device_index, &before);
  if (error) return opened(p, error);
  void *pinned = NULL, *words = NULL;
  actscope_cuda_place_layers(p, s);
  error = actscope_cuda_pinned_allocate(&pinned, s->pinned_bytes);
  s->reports = pinned;
  if (!error) error = actscope_cuda_allocate(&words, s->words_bytes);
  s->words = words;
  if (!error) error = actscope_cuda_stream_create(&s->own);
  if (!error) error = actscope_cuda_event_create(&s->event);
  return begun(p, error, before);
}

/* The layers have other shapes. What the plan holds serves again when it has the size that they need, which it has unless what is
 * told of single features, or CKA, asks for more or less: memory of its own is part of the budget. A graph is updated when it is
 * recorded next. */
static actscope_status reopen_state(actscope_plan *p) {
  struct cuda_state *s = p->state;
  int before;
  if (!s || s->pinned_bytes != actscope_cuda_pinned_bytes(p) || s->words_bytes != actscope_cuda_words_bytes(p)) {
    close_state(p);
    return open_state(p);
  }
  catch_up(p);
  int error = actscope_cuda_enter(p->options.device_index, &before);
  if (error) return opened(p, error);
  if (s->recorded) error = actscope_cuda_event_wait(s->event);
  s->recorded = 0, s->last = NULL;
  s->failed = ACTSCOPE_OK;
  s->base = s->target = 0;
  s->exec_holds = 0;
  s->group_count = s->wave_count = 0;
  s->forked = 0;
  memset(s->places, 0, p->count * sizeof *s->places);
  memset(s->waves, 0, p->count * sizeof *s->waves);
  memset(s->reports, 0, s->pinned_bytes);
  actscope_cuda_place_layers(p, s);
  return begun(p, error, before);
}

static void *allocate(actscope_plan *p, uint64_t bytes) {
  void *pointer = NULL;
  int before;
  if (actscope_cuda_enter(p->options.device_index, &before)) return NULL;
  if (actscope_cuda_allocate(&pointer, bytes)) pointer = NULL;
  actscope_cuda_leave(before);
  return pointer;
}
static void free_workspace(actscope_plan *p, void *workspace) {
  int before;
  if (actscope_cuda_enter(p->options.device_index, &before)) return;
  actscope_cuda_release(workspace, p->held_bytes);
  actscope_cuda_leave(before);
}

/* ---- Tensors in host memory ---------------------------------------------------------------------------------------------- */

/* Copies the layer's tensor to the device; *out is it there. */
static actscope_status stage(const struct job *j, size_t layer, const actscope_tensor *t, actscope_tensor *out) {
  struct cuda_state *s = j->state;
  const struct plan_layer *l = &j->plan->layers[layer];
  const int64_t size = (int64_t)actscope_dtype_size(t->dtype);
  int64_t low = 0, high = 0;
  for (int d = 0; t->strides && d < t->ndim; ++d) {
    int64_t reach = t->strides[d] * (t->shape[d] - 1);
    if (reach < 0) low += reach; else high += reach;
  }
  if (!t->strides) high = (int64_t)l->elements - 1;
  uint64_t bytes = (uint64_t)(high - low + 1) * (uint64_t)size;
  if (bytes > s->staging_bytes) {
    if (s->staging) actscope_cuda_release(s->staging, s->staging_bytes);
    s->staging = NULL;
    s->staging_bytes = 0;
    int error = actscope_cuda_allocate(&s->staging, bytes);
    if (error) return actscope_cuda_fail(error, "%s: %llu bytes on the GPU for its data", l->name, (unsigned long long)bytes);
    s->staging_bytes = bytes;
  }
  int error = actscope_cuda_upload(s->staging, (const char *)t->data + low * size, bytes, j->stream);
  if (error) return actscope_cuda_fail(error, "%s: copying its data to the GPU", l->name);
  *out = *t;
  out->data = (char *)s->staging - low * size;
  return ACTSCOPE_OK;
}

/* Layers first .. last of one wave, some of them in host memory: one after the other, through the staging buffer. */
static actscope_status run_staged(const struct job *j, const struct wave *w, size_t first, size_t last) {
  for (size_t i = first; i <= last; ++i) {
    const actscope_tensor *t = &j->tensors[i - j->first];
    actscope_tensor there = *t;
    int device;
    if (!actscope_cuda_active(j, i)) continue;
    int error = actscope_cuda_is_device(t->data, &device);
    if (error) return actscope_cuda_launch_failed(j, error, i, i, "its data");
    actscope_status status = device ? ACTSCOPE_OK : stage(j, i, t, &there);
    struct job one = {j->plan, j->state, &there, i, j->stream};
    if (!status) status = actscope_cuda_run_part(&one, w, i, i);
    if (status) return status;
  }
  return ACTSCOPE_OK;
}

static actscope_status run_waves(const struct job *j, size_t count, int capturing) {
  struct cuda_state *s = j->state;
  size_t end = j->first + count;
  for (size_t k = count ? s->places[j->first].wave : s->wave_count; k < s->wave_count && s->waves[k].first < end; ++k) {
    const struct wave *w = &s->waves[k];
    size_t first = w->first > j->first ? w->first : j->first;
    size_t last = (w->first + w->count < end ? w->first + w->count : end) - 1;
    int staged = 0;
    for (size_t i = first; i <= last; ++i) {
      int device = 1, error = actscope_cuda_active(j, i) ? actscope_cuda_is_device(j->tensors[i - j->first].data, &device) : 0;
      if (error) return actscope_cuda_launch_failed(j, error, i, i, "its data");
      if (!device && capturing)
        return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: data is in host memory, which cannot be captured in a graph",
                             j->plan->layers[i].name);
      staged |= !device;
    }
    actscope_status status = staged ? run_staged(j, w, first, last) : actscope_cuda_run_part(j, w, first, last);
    if (status) return status;
  }
  return ACTSCOPE_OK;
}

/* ---- The plan's own graph --------------------------------------------------------------------------------------------- */

static int same_tensor(const struct moved *m, const actscope_tensor *t) {
  if (m->data != t->data || m->compact != (t->strides == NULL)) return 0;
  return m->compact || t->ndim == 0 || memcmp(m->strides, t->strides, (size_t)t->ndim * sizeof *t->strides) == 0;
}
static void remember(struct moved *m, const actscope_tensor *t) {
  memset(m, 0, sizeof *m);
  m->data = t->data, m->compact = t->strides == NULL;
  if (t->strides && t->ndim > 0) memcpy(m->strides, t->strides, (size_t)t->ndim * sizeof *t->strides);
}

/* 1 when all tensors are on the device, or skipped; -1 - error on an error. */
static int all_on_device(const struct job *j, size_t count) {
  for (size_t i = j->first; i < j->first + count; ++i) {
    int device = 1, error = actscope_cuda_active(j, i) ? actscope_cuda_is_device(j->tensors[i - j->first].data, &device) : 0;
    if (error) return -1 - error;
    if (!device) return 0;
  }
  return 1;
}

/* Records the work of all layers, and makes the executable graph do it. */
static actscope_status record(const struct job *j, size_t count) {
  struct cuda_state *s = j->state;
  struct job own = *j;
  void *graph = NULL;
  own.stream = s->own;
  int error = actscope_cuda_record_begin(s->own);
  if (error) return actscope_cuda_fail(error, "recording a graph");
  actscope_status status = run_waves(&own, count, 1);
  error = actscope_cuda_record_end(s->own, &graph); /* in any case */
  if (!status && error) status = actscope_cuda_fail(error, "recording a graph");
  if (!status) {
    error = actscope_cuda_exec_set(&s->exec, graph);
    if (error) status = actscope_cuda_fail(error, "making a graph");
  }
  if (graph) actscope_cuda_graph_destroy(graph);
  return status;
}

/* The work as one graph: what was recorded last, if the tensors are where they were. */
static actscope_status run_graph(const struct job *j, size_t count) {
  struct cuda_state *s = j->state;
  int same = s->exec_holds;
  for (size_t i = 0; same && i < count; ++i) same = same_tensor(&s->moved[i], &j->tensors[i]);
  if (!same) {
    s->exec_holds = 0;
    s->group_count = 0;
    actscope_status status = record(j, count);
    if (status) return status;
    for (size_t i = 0; i < count; ++i) remember(&s->moved[i], &j->tensors[i]);
    s->exec_holds = 1;
  }
  int error = s->group_count ? actscope_cuda_exec_launch(s->exec, j->stream) : 0;
  return error ? actscope_cuda_fail(error, "the graph") : ACTSCOPE_OK;
}

static actscope_status run(actscope_plan *p, size_t first, const actscope_tensor *tensors, size_t count,
                           struct CUstream_st *stream) {
  struct cuda_state *s = p->state;
  struct job j = {p, s, tensors, first, stream};
  int before, capturing = 0, graph = 0, error = actscope_cuda_enter(p->options.device_index, &before);
  if (error) return actscope_cuda_fail(error, "GPU %d", (int)p->options.device_index);
  s->failed = ACTSCOPE_OK;
  s->base = sequence_of(s) > s->target ? sequence_of(s) : s->target;
  error = actscope_cuda_capturing(stream, &capturing);
  if (!error && !capturing && s->recorded && stream != s->last) error = actscope_cuda_stream_wait(stream, s->event);
  actscope_status status = error ? actscope_cuda_fail(error, "the stream") : ACTSCOPE_OK;
  if (!status && p->options.graph && !capturing && count == p->count) {
    graph = all_on_device(&j, count);
    if (graph < 0) status = actscope_cuda_fail(-1 - graph, "the tensors");
  }
  if (graph != 1) s->exec_holds = 0, s->group_count = 0;
  if (!status) status = graph ? run_graph(&j, count) : run_waves(&j, count, capturing);
  s->target = s->base + s->group_count;
  s->recorded = 0;
  if (!capturing && !error && s->group_count) {
    error = actscope_cuda_event_record(s->event, stream);
    s->recorded = !error, s->last = stream;
    if (error && !status) status = actscope_cuda_fail(error, "marking the end of the work");
  }
  actscope_cuda_leave(before);
  if (status) {
    s->failed = status;
    snprintf(s->failure, sizeof s->failure, "%.255s", actscope_last_error());
    if (graph == 1) s->exec_holds = 0, s->target = s->base; /* nothing of it was launched */
  }
  for (size_t i = first; i < first + count; ++i) {
    struct plan_layer *l = &p->layers[i];
    if (!tensors[i - first].data && l->elements) continue;
    actscope_plan_step(p, l);
    actscope_plan_report_begin(l);
    l->report.status = status;
    l->report.seconds = core_nan();
    if (l->elements == 0) actscope_plan_report_empty(l);
    l->reported = 1;
    s->places[i].sequence = 0;
  }
  actscope_plan_log(&p->options, ACTSCOPE_LOG_INFO, "%zu layers in %zu groups%s", count, s->group_count,
                    capturing ? ", captured" : graph == 1 ? ", one graph" : "");
  return status;
}

/* ---- Results ------------------------------------------------------------------------------------------------------------ */

static int arrived(const struct cuda_state *s) {
  int there = sequence_of(s) >= s->target;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return there;
}

static actscope_status poll(actscope_plan *p, int wait) {
  struct cuda_state *s = p->state;
  if (s->failed) return actscope_fail(s->failed, "%s", s->failure);
  if (arrived(s)) return ACTSCOPE_OK;
  if (!s->recorded)
    return actscope_fail(ACTSCOPE_NOT_READY, "the work was captured in a graph that has not run to its end yet");
  int before, error = actscope_cuda_enter(p->options.device_index, &before);
  if (!error) {
    error = wait ? actscope_cuda_event_wait(s->event) : actscope_cuda_event_query(s->event);
    actscope_cuda_leave(before);
  }
  if (error == -1) return actscope_fail(ACTSCOPE_NOT_READY, "the work is still running");
  if (!error) return arrived(s) ? ACTSCOPE_OK : actscope_fail(ACTSCOPE_INTERNAL, "the GPU finished without its reports");
  /* The launches finish in order, so the first group without its reports is where it happened. */
  char name[200];
  uint64_t done = sequence_of(s) > s->base ? sequence_of(s) - s->base : 0;
  struct group g = s->groups[done < s->group_count ? done : s->group_count - 1];
  s->failed = actscope_cuda_fail(error, "%s", actscope_cuda_group_name(p, g, name, sizeof name));
  snprintf(s->failure, sizeof s->failure, "%.255s", actscope_last_error());
  s->target = sequence_of(s); /* the rest of that work never comes */
  return s->failed;
}

/* Completes a layer's report from what the device wrote. */
static void report_from(actscope_plan *p, size_t layer, const struct cuda_report *from, actscope_layer_report *r) {
  struct plan_layer *l = &p->layers[layer];
  const actscope_options *o = &l->options;
  const uint64_t valid = from->correlation.valid_features;
  actscope_plan_report_begin(l);
  l->report.sequence = from->sequence, l->report.steps = from->steps;
  l->report.elements = l->elements * from->steps;
  l->report.seconds = core_nan();
  if (o->statistics & ACTSCOPE_PROFILE) l->report.profile = from->profile;
  if (o->statistics & ACTSCOPE_DISTINCT) l->report.distinct = from->distinct;
  if (o->statistics & ACTSCOPE_HEALTH) l->report.health = from->health;
  if (from->nonfinite) l->report.warnings |= ACTSCOPE_WARN_NONFINITE;
  if (o->statistics & ACTSCOPE_CORRELATION) {
    l->report.correlation = from->correlation;
    if (l->correlation == ACTSCOPE_CORRELATION_GRAM) { /* looked at pairs or not: what single pairs say was not asked for */
      actscope_correlation *c = &l->report.correlation;
      pairs_report_init(l->samples, valid, c);
      c->split_half = from->correlation.split_half, c->split_half_rms = from->correlation.split_half_rms;
      c->noise_floor_shift = from->correlation.noise_floor_shift;
      c->method = ACTSCOPE_CORRELATION_GRAM;
      c->pairs = c->pairs_total = from->correlation.pairs_total;
      c->mean_square = from->correlation.mean_square;
      c->adjusted_rms = from->correlation.adjusted_rms;
    }
    actscope_plan_note_samples(l, valid);
    const struct cuda_top_told *t = ((struct cuda_state *)p->state)->places[layer].top;
    if (t && t->sequence == from->sequence && t->above > (uint64_t)o->top_pairs) l->report.warnings |= ACTSCOPE_WARN_TOP_PAIRS;
  }
  if (o->statistics & ACTSCOPE_RANK) {
    l->report.rank.participation_ratio = from->rank.participation_ratio;
    l->report.rank.effective_rank = from->rank.effective_rank;
    if (valid > 0 && l->report.rank.effective_rank != l->report.rank.effective_rank) l->report.warnings |= ACTSCOPE_WARN_NO_EFFECTIVE_RANK;
  }
  if (o->statistics & ACTSCOPE_SIMILARITY) l->report.similarity = from->similarity;
  *r = l->report;
}

static uint64_t newest_of(const struct cuda_state *s, size_t layer) {
  const uint64_t n = *(const volatile uint64_t *)&s->newest[layer];
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return n;
}

/* The layer's report number `sequence`, if it is in the ring and stays there while it is read. */
static int read_ring(const actscope_plan *p, size_t layer, uint64_t sequence, struct cuda_report *out) {
  const struct cuda_state *s = p->state;
  const struct cuda_report *from = &s->reports[sequence % (uint64_t)p->options.history * p->count + layer];
  const volatile uint64_t *own = &from->sequence;
  if (*own != sequence) return 0;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  *out = *from;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  out->sequence = sequence;
  return *own == sequence;
}

static actscope_status report(actscope_plan *p, struct plan_layer *l) {
  struct cuda_state *s = p->state;
  const size_t i = (size_t)(l - p->layers);
  actscope_status status = poll(p, 0);
  if (status || l->elements == 0) return status;
  const uint64_t newest = newest_of(s, i);
  if (newest && s->places[i].sequence == newest) return ACTSCOPE_OK;
  const int first = s->places[i].sequence == 0; /* replays of a graph make further reports of one enqueue */
  struct cuda_report from;
  actscope_layer_report r;
  if (!newest || !read_ring(p, i, newest, &from))
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: its report is being written", l->name);
  report_from(p, i, &from, &r);
  s->places[i].sequence = newest;
  if (first) actscope_plan_log_warnings(&l->options, l);
  return ACTSCOPE_OK;
}

static actscope_status report_at(actscope_plan *p, struct plan_layer *l, uint64_t sequence, actscope_layer_report *r) {
  struct cuda_state *s = p->state;
  const size_t i = (size_t)(l - p->layers);
  const uint64_t newest = newest_of(s, i);
  struct cuda_report from;
  if (sequence > newest)
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: report %llu has not been made yet", l->name, (unsigned long long)sequence);
  if (sequence == 0 || !read_ring(p, i, sequence, &from))
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: report %llu is not among the last %d", l->name,
                         (unsigned long long)sequence, (int)p->options.history);
  const actscope_layer_report shown = l->report;
  report_from(p, i, &from, r);
  l->report = shown;
  return ACTSCOPE_OK;
}

/* Of the newest report, unless the next is being made just now. */
static actscope_status correlations(actscope_plan *p, const struct plan_layer *l, float *mean_abs, float *max_abs) {
  const struct cuda_state *s = p->state;
  const size_t i = (size_t)(l - p->layers);
  const struct cuda_correlations *from = s->places[i].correlations;
  const volatile uint64_t *own = &from->sequence;
  const uint64_t newest = newest_of(s, i), before = *own;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (mean_abs) memcpy(mean_abs, from->of, l->features * sizeof(float));
  if (max_abs) memcpy(max_abs, from->of + l->features, l->features * sizeof(float));
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (newest == 0 || before != newest || *own != newest)
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: its numbers are being written", l->name);
  return ACTSCOPE_OK;
}

/* The same of the pairs with the largest |r|: the first of the candidates. */
static actscope_status top(actscope_plan *p, const struct plan_layer *l, actscope_pair *pairs, size_t capacity, size_t *count,
                           uint64_t *above) {
  const struct cuda_state *s = p->state;
  const size_t i = (size_t)(l - p->layers);
  const struct cuda_top_told *from = s->places[i].top;
  const volatile uint64_t *own = &from->sequence;
  const uint64_t newest = newest_of(s, i), before = *own, room = cuda_top_room(l->features), most = (uint64_t)l->options.top_pairs;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  const uint64_t candidates = from->count;
  if (newest && before == newest && candidates > room)
    return actscope_fail(ACTSCOPE_UNSUPPORTED, "%s: top_pairs: %llu pairs may be among them, and a GPU looks at %llu: ask for fewer, a "
                         "higher pairs_above, or the CPU", l->name, (unsigned long long)candidates, (unsigned long long)room);
  struct top_pairs *kept = actscope_memory_allocate(top_bytes(most));
  if (!kept) return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the system refused %llu bytes", (unsigned long long)top_bytes(most));
  for (uint64_t k = 0; k < candidates && k < room; ++k)
    if (l->options.pairs_above == 0 || fabs(from->pair[k].r) > l->options.pairs_above) top_offer(kept, most, from->pair[k]);
  top_sort(kept);
  for (size_t k = 0; k < kept->count && k < capacity; ++k) pairs[k] = (actscope_pair){kept->pair[k].i, kept->pair[k].j, kept->pair[k].r};
  *count = kept->count;
  *above = from->above;
  actscope_memory_free(kept);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (newest == 0 || before != newest || *own != newest)
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: its pairs are being written", l->name);
  return ACTSCOPE_OK;
}

/* The device sees the new number when the next step begins. */
static actscope_status reset(actscope_plan *p, int alarm) {
  struct cuda_state *s = p->state;
  volatile struct cuda_report_header *h = s->header;
  h->windows = h->windows + 1;
  if (alarm) h->alarms = h->alarms + 1;
  return ACTSCOPE_OK;
}

static void alarm_of(const actscope_plan *p, size_t *layer, uint64_t *sequence) {
  const struct cuda_state *s = p->state;
  const volatile struct cuda_report_header *h = s->header;
  const uint64_t word = h->alarm;
  if (h->alarm_of != h->alarms || word == ~0ull) return; /* of before a reset, or none */
  *layer = (size_t)(word & 0xFFFFFF), *sequence = word >> 24;
}

static const struct plan_backend cuda_backend = {ACTSCOPE_DEVICE_CUDA, actscope_cuda_layer_need, actscope_cuda_plan_need, open_state, reopen_state, close_state,
                                                 allocate, free_workspace, run, poll, report, actscope_cuda_cka, actscope_cuda_cka_beside, correlations, top, reset, alarm_of, report_at};
const struct plan_backend *actscope_cuda_backend(void) { return actscope_cuda_count() > 0 ? &cuda_backend : NULL; }
