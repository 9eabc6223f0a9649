/* backend.c - the plan on the CPU: which stages measure a layer, in which part of the workspace, and which layers run
 * beside each other.
 *
 * Workspace  What windows keep of all layers (window.h), and what is told of single features and pairs; then scratch. A layer's profile and similarity stages have all of it;
 *            then the feature states (32 B a feature) lie at its start and the column, pair and Gram stages share the
 *            rest, one after the other.
 * Threads    Large layers run one after the other, with all threads. Small ones, in which threads would wait for each
 *            other more than they work, run beside each other, one thread each in its own slice of the scratch, the
 *            longest first. Results do not depend on threads, so both give the same. */
#include <omp.h>
#include <stdio.h>
#include <time.h>

#include "core/cka.h"
#include "core/gram.h"
#include "core/pairs.h"
#include "cpu/cpu.h"
#include "error.h"
#include "memory.h"
#include "plan.h"

/* Beyond this side the eigenvalues take minutes: 4/3 n^3 operations, 9e10 at 4096. */
enum { RANK_SIDE_MAX = 4096 };

struct stages {
  int profile, columns, pairs, gram, gram_required, similarity, cka, halves, shift;
  int states; /* of features are kept for what follows; for CKA where there is room for it */
  struct cpu_profile_request profile_request;
  struct cpu_pairs_request pairs_request;
};

/* A layer of less modelled time than this is small. Two threads take 20 microseconds a layer to meet at barriers. */
static const double small_seconds = 4e-4;

static uint64_t round_up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

static struct stages stages_of(const actscope_options *o, const struct plan_layer *l, int threads) {
  struct stages s = {0};
  uint32_t want = o->statistics;
  s.profile = (want & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT)) != 0;
  s.pairs = (want & ACTSCOPE_CORRELATION) && l->correlation != ACTSCOPE_CORRELATION_GRAM;
  s.gram_required = (want & ACTSCOPE_CORRELATION) && l->correlation == ACTSCOPE_CORRELATION_GRAM;
  s.gram = s.gram_required || (want & ACTSCOPE_RANK);
  s.cka = actscope_plan_wants_cka(l);
  s.halves = (want & ACTSCOPE_CORRELATION) && (o->pair_functionals & ACTSCOPE_PAIRS_SPLIT_HALF);
  s.shift = (want & ACTSCOPE_CORRELATION) && (o->pair_functionals & ACTSCOPE_PAIRS_SHIFT);
  s.columns = (want & ACTSCOPE_HEALTH) || s.pairs || s.gram || s.cka;
  s.states = s.pairs || s.gram || o->window != 1;
  s.similarity = (want & ACTSCOPE_SIMILARITY) != 0;
  s.profile_request = (struct cpu_profile_request){want, l->distinct, o->sketch_bits, threads, 0, o->window != 1};
  s.pairs_request = (struct cpu_pairs_request){l->correlation, o->pair_functionals, l->pairs, o->seed, threads, 0,
                                               .precision = o->precision, .same_pairs = o->same_pairs != 0,
                                               .top_most = (uint64_t)o->top_pairs, .top_above = o->pairs_above};
  return s;
}

static uint64_t columns_bytes(const struct plan_layer *l) { return round_up(l->features * sizeof(struct column)); }

static void widen(struct cpu_need *need, struct cpu_need stage, int required, uint64_t base) {
  if (required && base + stage.least > need->least) need->least = base + stage.least;
  if (base + stage.best > need->best) need->best = base + stage.best;
}

static struct cpu_need need_of(const actscope_options *o, const struct plan_layer *l, int threads) {
  struct stages s = stages_of(o, l, threads);
  struct cpu_need need = {0, 0};
  if (l->elements == 0) return need;
  if (s.profile) widen(&need, actscope_cpu_profile_need(&s.profile_request, l->dtype, l->elements), 1, 0);
  if (s.similarity) widen(&need, actscope_cpu_similarity_need(l->dtype, l->samples, l->features, threads), 1, 0);
  if (s.halves) widen(&need, actscope_cpu_halves_need(l->dtype, l->samples, l->features, threads), 1, 0);
  if (!s.columns) return need;
  uint64_t base = s.states ? columns_bytes(l) : 0;
  struct cpu_need columns = actscope_cpu_columns_need(l->dtype, l->samples, l->features, threads);
  widen(&need, columns, 1, base);
  if (s.pairs) widen(&need, actscope_cpu_pairs_need(&s.pairs_request, l->dtype, l->samples, l->features), 1, base);
  if (s.gram) {
    uint64_t side = l->samples < l->features ? l->samples : l->features;
    struct cpu_need gram = actscope_cpu_gram_need(l->dtype, l->samples, l->features, threads);
    if (s.gram_required || side <= RANK_SIDE_MAX) widen(&need, gram, s.gram_required, base);
  }
  if (s.shift) widen(&need, actscope_cpu_shift_need(l->dtype, l->samples, l->features, threads), 1, base);
  if (s.cka) {
    widen(&need, columns, 0, columns_bytes(l));
    widen(&need, actscope_cpu_cka_need(l->dtype, l->samples, l->features, threads), 0, columns_bytes(l));
  }
  if (need.best < need.least) need.best = need.least;
  return need;
}

/* ---- Windows ---------------------------------------------------------------------------------------------------------- */

/* Bytes of a layer's kept states, by part. */
struct kept { uint64_t counts, words, columns, window, correlations, top, all; };
static struct kept kept_of(const actscope_options *o, const struct plan_layer *l) {
  struct kept k = {0, 0, 0, 0, 0, 0, 0};
  if (l->elements == 0) return k;
  if (actscope_plan_wants_correlations(l)) k.correlations = round_up(l->features * sizeof(struct pairs_feature));
  if (actscope_plan_wants_top(l)) k.top = round_up(top_bytes((uint64_t)o->top_pairs));
  k.all = k.correlations + k.top;
  if (o->window == 1) return k;
  const int narrow = dtype_is_narrow(l->dtype);
  if (narrow ? o->statistics & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT) : o->statistics & ACTSCOPE_QUANTILES)
    k.counts = round_up(dtype_bins(l->dtype) * sizeof(uint64_t));
  if (!narrow && (o->statistics & ACTSCOPE_DISTINCT)) k.words = round_up(sizeof(uint32_t) << o->sketch_bits);
  if (o->statistics & ACTSCOPE_HEALTH) k.columns = columns_bytes(l);
  k.window = round_up(sizeof(struct cpu_window)) + k.counts + k.words + k.columns;
  k.all += k.window;
  return k;
}

/* The layer's window for this step; NULL where a report covers one step. */
static struct cpu_window *window_of(const actscope_plan *p, const struct plan_layer *l) {
  const struct kept k = kept_of(&l->options, l);
  if (k.window == 0) return NULL;
  char *at = (char *)p->workspace + l->kept_offset;
  struct cpu_window *w = (struct cpu_window *)at;
  if (l->steps == 1) {
    memset(w, 0, k.window);
    moments_init(&w->moments);
    pairs_init(&w->pairs);
    at += round_up(sizeof *w);
    if (k.counts) w->counts = (uint64_t *)at;
    if (k.words) w->words = (uint32_t *)(at + k.counts);
    if (k.columns) w->columns = (struct column *)(at + k.counts + k.words);
    for (uint64_t i = 0; k.columns && i < l->features; ++i) column_init(&w->columns[i]);
  }
  w->steps = l->steps;
  return w;
}

/* What is told of each feature's correlations, behind the window; NULL where nobody asked. */
static struct pairs_feature *correlations_of(const actscope_plan *p, const struct plan_layer *l) {
  const struct kept k = kept_of(&l->options, l);
  return k.correlations ? (struct pairs_feature *)((char *)p->workspace + l->kept_offset + k.window) : NULL;
}

/* The pairs with the largest |r|, behind them; NULL as well. */
static struct top_pairs *top_of(const actscope_plan *p, const struct plan_layer *l) {
  const struct kept k = kept_of(&l->options, l);
  return k.top ? (struct top_pairs *)((char *)p->workspace + l->kept_offset + k.window + k.correlations) : NULL;
}

/* Health of the window. */
static void window_health(struct cpu_window *w, const struct plan_layer *l, const struct column *columns,
                          actscope_health *out) {
  for (uint64_t i = 0; i < l->features; ++i)
    column_merge(&w->columns[i], (double)w->samples, &columns[i], (double)l->samples);
  w->samples += l->samples;
  columns_health(w->columns, l->features, out);
}

/* Adds a number that may not exist, and gives the mean of those that did. */
static double window_mean(double *sum, uint64_t *steps, double value) {
  if (value == value) *sum += value, ++*steps;
  return *steps ? *sum / (double)*steps : core_nan();
}

static void window_similarity(struct cpu_window *w, actscope_similarity *s) {
  s->mean_cosine = window_mean(&w->cosine_sum, &w->cosine_steps, s->mean_cosine);
  s->zero_samples = w->zero_samples += s->zero_samples;
  s->nonfinite_samples = w->nonfinite_samples += s->nonfinite_samples;
}

/* ---- One layer ---------------------------------------------------------------------------------------------------------- */

/* What measures it: how many threads, where, into which window. */
struct place {
  char *scratch;
  uint64_t bytes;
  int threads;
  struct cpu_window *window;
  float *cka; /* NULL: nothing is kept */
  struct pairs_feature *correlations; /* NULL as well */
  struct top_pairs *top;
};

/* The feature side: health, pairs, Gram, CKA. */
static actscope_status run_features(struct plan_layer *l, const struct stages *s, const struct view *v,
                                    const struct place *at) {
  const actscope_options *o = &l->options;
  actscope_layer_report *r = &l->report;
  const int states = s->states || l->cka;
  struct column *columns = states ? (struct column *)at->scratch : NULL;
  struct cpu_window *w = at->window;
  uint64_t base = states ? columns_bytes(l) : 0, rest = at->bytes - base;
  actscope_health health; /* of this step alone */
  actscope_status status = actscope_cpu_columns(v, at->threads, at->scratch + base, rest, columns, &health);
  if (status) return status;
  const uint64_t valid = l->features - health.constant - health.nonfinite;
  if (health.nonfinite) r->warnings |= ACTSCOPE_WARN_NONFINITE;
  if (o->statistics & ACTSCOPE_HEALTH) {
    if (w) window_health(w, l, columns, &r->health);
    else r->health = health;
  }

  double square_sum = 0, frobenius = core_nan(), effective = core_nan();
  int exact = 0;
  if (s->pairs) {
    status = actscope_cpu_pairs(v, columns, &s->pairs_request, at->scratch + base, rest, &r->correlation, &square_sum,
                                &r->warnings);
    if (status) return status;
    exact = r->correlation.pairs == r->correlation.pairs_total;
    actscope_plan_note_samples(l, valid);
  }
  if (s->gram && valid > 0) {
    uint64_t side = l->samples < l->features ? l->samples : l->features;
    struct cpu_need need = actscope_cpu_gram_need(l->dtype, l->samples, l->features, at->threads);
    int eigenvalues = (o->statistics & ACTSCOPE_RANK) && side <= RANK_SIDE_MAX;
    if (need.least <= rest && (s->gram_required || eigenvalues)) {
      status = actscope_cpu_gram(v, columns, at->threads, at->scratch + base, rest, &frobenius,
                                 eigenvalues ? &effective : NULL);
      if (status) return status;
    }
    if (exact) frobenius = (double)valid + 2 * square_sum; /* the pairs have it already, and more exactly */
  }
  if (s->gram_required) {
    pairs_report_init(l->samples, valid, &r->correlation);
    r->correlation.method = ACTSCOPE_CORRELATION_GRAM;
    r->correlation.mean_square = gram_mean_square(frobenius, valid);
    if (w) {
      r->correlation.mean_square = window_mean(&w->square_mean, &w->square_steps, r->correlation.mean_square);
      r->correlation.pairs_total = w->pairs_total += r->correlation.pairs_total;
    }
    r->correlation.pairs = r->correlation.pairs_total;
    r->correlation.adjusted_rms = pairs_adjusted_rms(r->correlation.mean_square, l->samples);
    actscope_plan_note_samples(l, valid);
  }
  if (s->shift) {
    double floor;
    status = actscope_cpu_shift(v, columns, o->seed, at->threads, at->scratch + base, rest, &floor);
    if (status) return status;
    r->correlation.noise_floor_shift = w ? window_mean(&w->shift_sum, &w->shift_steps, floor) : floor;
  }
  if (l->cka) {
    int there;
    status = actscope_cpu_cka(v, columns, at->threads, at->scratch + base, rest, at->cka, &there);
    if (status) return status;
    if (there) l->cka_samples = l->samples;
  }
  if (o->statistics & ACTSCOPE_RANK) {
    double participation = valid > 0 ? gram_participation_ratio(frobenius, valid) : core_nan();
    if (valid > 0 && effective != effective) r->warnings |= ACTSCOPE_WARN_NO_EFFECTIVE_RANK;
    if (w) {
      participation = window_mean(&w->participation_sum, &w->participation_steps, participation);
      effective = window_mean(&w->effective_sum, &w->effective_steps, effective);
    }
    r->rank.participation_ratio = participation;
    r->rank.effective_rank = effective;
  }
  return ACTSCOPE_OK;
}

static actscope_status measure(struct plan_layer *l, const actscope_tensor *tensor, const struct place *at) {
  struct stages s = stages_of(&l->options, l, at->threads);
  actscope_layer_report *r = &l->report;
  if (l->elements == 0) {
    actscope_plan_report_empty(l);
    return ACTSCOPE_OK;
  }
  s.profile_request.window = s.pairs_request.window = at->window;
  s.pairs_request.features = at->correlations;
  s.pairs_request.top = at->top;
  if (at->top) at->top->count = at->top->above = 0;
  if (at->correlations && l->steps == 1) memset(at->correlations, 0, l->features * sizeof *at->correlations);
  s.pairs_request.step = l->options.same_pairs ? 0 : l->sequence - 1;
  struct view v;
  view_init(&v, tensor, l->options.channels);
  if (s.profile) {
    actscope_status status =
        actscope_cpu_profile(&v, &s.profile_request, at->scratch, at->bytes, &r->profile, &r->distinct, &r->warnings);
    if (status) return status;
  }
  if (s.similarity) {
    actscope_status status = actscope_cpu_similarity(&v, at->threads, at->scratch, at->bytes, &r->similarity);
    if (status) return status;
    if (at->window) window_similarity(at->window, &r->similarity);
  }
  actscope_status status = s.columns ? run_features(l, &s, &v, at) : ACTSCOPE_OK;
  if (status || !s.halves) return status;
  actscope_correlation *c = &r->correlation;
  status = actscope_cpu_halves(tensor, l->options.channels, at->threads, at->scratch, at->bytes, &c->split_half, &c->split_half_rms);
  if (status || !at->window) return status;
  c->split_half = window_mean(&at->window->half_sum, &at->window->half_steps, c->split_half);
  c->split_half_rms = window_mean(&at->window->half_rms_sum, &at->window->half_rms_steps, c->split_half_rms);
  return ACTSCOPE_OK;
}

/* ---- What the plan calls ---------------------------------------------------------------------------------------------- */

static actscope_status layer_need(const actscope_options *o, struct plan_layer *l) {
  l->need = need_of(o, l, o->threads);
  l->kept_bytes = kept_of(o, l).all;
  l->cka_bytes = l->cka_least = 0;
  if (actscope_plan_wants_cka(l)) {
    l->cka_bytes = round_up(cka_entries(l->samples) * sizeof(float));
    const uint64_t states = actscope_cpu_columns_need(l->dtype, l->samples, l->features, o->threads).least,
                   products = actscope_cpu_cka_need(l->dtype, l->samples, l->features, o->threads).least;
    l->cka_least = columns_bytes(l) + (states > products ? states : products);
  }
  l->small = o->threads > 1 && l->elements > 0 && l->seconds < small_seconds;
  l->alone_bytes = l->small ? round_up(need_of(o, l, 1).best) : 0;
  return ACTSCOPE_OK;
}

static uint64_t kept_sum(const actscope_plan *p) {
  uint64_t sum = 0;
  for (size_t i = 0; i < p->count; ++i) sum += p->layers[i].kept_bytes;
  return sum;
}

/* Layers use the same scratch in turn; small ones a slice for each thread, where that is affordable. */
static void plan_need(const actscope_plan *p, struct plan_need *need) {
  const int threads = p->options.threads;
  uint64_t small = 0, smalls = 0, kept = kept_sum(p);
  for (size_t i = 0; i < p->count; ++i) {
    const struct cpu_need *n = &p->layers[i].need;
    if (n->least > need->least) need->least = n->least, need->worst = i;
    if (n->best > need->best) need->best = n->best;
    if (p->layers[i].cka && p->layers[i].cka_least > need->least) need->least = p->layers[i].cka_least, need->worst = i;
    if (!p->layers[i].small) continue;
    ++smalls;
    if (p->layers[i].alone_bytes > small) small = p->layers[i].alone_bytes;
  }
  if (smalls > 1 && small * (uint64_t)threads > need->best) need->best = small * (uint64_t)threads;
  need->least += kept;
  need->best += kept;
}

static actscope_status open_nothing(actscope_plan *p) { (void)p; return ACTSCOPE_OK; }
static void close_nothing(actscope_plan *p) { (void)p; }
static void *allocate(actscope_plan *p, uint64_t bytes) { (void)p; return actscope_memory_allocate_raw(bytes); }
static void free_workspace(actscope_plan *p, void *workspace) { (void)p; actscope_memory_free(workspace); }

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A call of run: layers first .. first + count - 1. */
struct job {
  actscope_plan *plan;
  size_t first, count;
  const actscope_tensor *tensors;
};

static int active(const struct job *j, size_t layer) {
  return layer >= j->first && layer < j->first + j->count &&
         (j->tensors[layer - j->first].data || j->plan->layers[layer].elements == 0);
}

static float *cka_of(const actscope_plan *p, const struct plan_layer *l) {
  return l->cka ? (float *)((char *)p->workspace + l->kept_offset + l->kept_bytes - l->cka_bytes) : NULL;
}

static actscope_status run_layer(const struct job *j, size_t layer, char *scratch, uint64_t bytes, int threads) {
  struct plan_layer *l = &j->plan->layers[layer];
  double start = seconds_now();
  const struct place at = {scratch, bytes, threads, window_of(j->plan, l), cka_of(j->plan, l), correlations_of(j->plan, l),
                          top_of(j->plan, l)};
  l->cka_samples = 0;
  actscope_status status = measure(l, &j->tensors[layer - j->first], &at);
  l->told = (at.correlations || at.top) && status == ACTSCOPE_OK;
  if (at.top && at.top->above > (uint64_t)l->options.top_pairs) l->report.warnings |= ACTSCOPE_WARN_TOP_PAIRS;
  l->report.status = status;
  l->report.seconds = seconds_now() - start;
  return status;
}

/* The layers of a call that run beside each other: those whose best arrangement fits a thread's slice. */
static int beside(const struct job *j, size_t layer, uint64_t slice) {
  const struct plan_layer *l = &j->plan->layers[layer];
  return active(j, layer) && l->small && l->alone_bytes <= slice;
}

/* The first failure in call order, whichever thread met it. */
struct failure {
  size_t layer;
  actscope_status status;
  char text[256];
};
static void fail_first(struct failure *f, size_t layer, actscope_status status) {
  if (!status || (f->status && f->layer < layer)) return;
  f->layer = layer;
  f->status = status;
  snprintf(f->text, sizeof f->text, "%.255s", actscope_last_error());
}

static void run_small(const struct job *j, char *scratch, uint64_t slice, int threads, struct failure *failure) {
  const actscope_plan *p = j->plan;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (size_t k = 0; k < p->count; ++k) { /* longest first */
    size_t i = p->order[k];
    if (!beside(j, i, slice)) continue;
    actscope_status status = run_layer(j, i, scratch + slice * (uint64_t)omp_get_thread_num(), slice, 1);
    if (status) {
#pragma omp critical(actscope_failure)
      fail_first(failure, i, status);
    }
  }
}

/* After all have run, in call order: the alarm, the history, and what the log is told. */
static void conclude(actscope_plan *p, size_t layer) {
  struct plan_layer *l = &p->layers[layer];
  l->reported = 1;
  if ((l->report.warnings & ACTSCOPE_WARN_NONFINITE) && p->alarm_layer == SIZE_MAX)
    p->alarm_layer = layer, p->alarm_sequence = l->sequence;
  if (p->history) {
    const uint64_t kept = (uint64_t)p->options.history;
    p->history[layer * kept + l->sequence % kept] = l->report;
  }
  actscope_plan_log(&p->options, ACTSCOPE_LOG_INFO, "%s: %llu x %llu %s in %.1f ms", l->name,
                    (unsigned long long)l->samples, (unsigned long long)l->features, actscope_dtype_name(l->dtype),
                    1e3 * l->report.seconds);
  actscope_plan_log_warnings(&p->options, l);
}

static actscope_status run(actscope_plan *p, size_t first, const actscope_tensor *tensors, size_t count,
                           struct CUstream_st *stream) {
  const struct job j = {p, first, count, tensors};
  const uint64_t kept = kept_sum(p), bytes = p->workspace_bytes - kept;
  char *scratch = (char *)p->workspace + kept;
  const int threads = p->options.threads;
  const uint64_t slice = bytes / (uint64_t)threads / 64 * 64;
  struct failure failure = {0, ACTSCOPE_OK, ""};
  size_t small = 0;
  (void)stream;
  for (size_t i = first; i < first + count; ++i) {
    if (!active(&j, i)) continue;
    actscope_plan_step(p, &p->layers[i]);
    actscope_plan_report_begin(&p->layers[i]);
    small += (size_t)beside(&j, i, slice);
  }
  if (small > 1) run_small(&j, scratch, slice, threads, &failure);
  for (size_t i = first; i < first + count; ++i) {
    if (!active(&j, i) || (small > 1 && beside(&j, i, slice))) continue;
    actscope_plan_log(&p->options, ACTSCOPE_LOG_DEBUG, "%s: begins", p->layers[i].name);
    fail_first(&failure, i, run_layer(&j, i, scratch, bytes, threads));
  }
  for (size_t i = first; i < first + count; ++i)
    if (active(&j, i)) conclude(p, i);
  return failure.status ? actscope_fail(failure.status, "%s", failure.text) : ACTSCOPE_OK;
}

/* run has finished when it returns. */
static actscope_status poll(actscope_plan *p, int wait) { (void)p, (void)wait; return ACTSCOPE_OK; }
static actscope_status report(actscope_plan *p, struct plan_layer *l) { (void)p, (void)l; return ACTSCOPE_OK; }

static actscope_status correlations(actscope_plan *p, const struct plan_layer *l, float *mean_abs, float *max_abs) {
  const struct pairs_feature *of = correlations_of(p, l);
  if (!l->told) return actscope_fail(ACTSCOPE_NOT_READY, "%s: nothing was measured in this workspace", l->name);
  for (uint64_t i = 0; i < l->features; ++i) {
    float mean, max;
    pairs_feature_finish(&of[i], &mean, &max);
    if (mean_abs) mean_abs[i] = mean;
    if (max_abs) max_abs[i] = max;
  }
  return ACTSCOPE_OK;
}

static actscope_status top(actscope_plan *p, const struct plan_layer *l, actscope_pair *pairs, size_t capacity, size_t *count,
                           uint64_t *above) {
  const struct top_pairs *of = top_of(p, l);
  if (!l->told) return actscope_fail(ACTSCOPE_NOT_READY, "%s: nothing was measured in this workspace", l->name);
  for (size_t k = 0; k < of->count && k < capacity; ++k)
    pairs[k] = (actscope_pair){of->pair[k].i, of->pair[k].j, of->pair[k].r};
  *count = of->count;
  *above = of->above;
  return ACTSCOPE_OK;
}

static actscope_status cka(actscope_plan *p, double *matrix) {
  const size_t n = p->count;
#pragma omp parallel for num_threads(p->options.threads) schedule(dynamic, 1)
  for (size_t i = 0; i < n; ++i)
    for (size_t j = i; j < n; ++j) {
      const struct plan_layer *a = &p->layers[i], *b = &p->layers[j];
      double value = core_nan();
      if (a->cka_samples && a->cka_samples == b->cka_samples)
        value = i == j ? 1 : actscope_cpu_cka_pair(cka_of(p, a), cka_of(p, b), a->cka_samples);
      matrix[i * n + j] = matrix[j * n + i] = value;
    }
  return ACTSCOPE_OK;
}

const struct plan_backend actscope_cpu_backend = {ACTSCOPE_DEVICE_CPU, layer_need, plan_need, open_nothing, open_nothing, close_nothing,
                                                  allocate, free_workspace, run, poll, report, cka, NULL, correlations, top, NULL, NULL, NULL};
