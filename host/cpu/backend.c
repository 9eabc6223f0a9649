/* backend.c - one layer on the CPU: which stages run, in which part of the workspace.
 *
 * Workspace of a layer: the profile and similarity stages have all of it; then the feature states (32 B a feature) lie at its start and
 * the column, pair and Gram stages share the rest, one after the other. */
#include <time.h>

#include "core/gram.h"
#include "core/pairs.h"
#include "cpu/cpu.h"
#include "error.h"
#include "memory.h"
#include "plan.h"

/* Beyond this side the eigenvalues take minutes: 4/3 n^3 operations, 9e10 at 4096. */
enum { RANK_SIDE_MAX = 4096 };

struct stages {
  int profile, columns, pairs, gram, gram_required, similarity;
  struct cpu_profile_request profile_request;
  struct cpu_pairs_request pairs_request;
};

static uint64_t round_up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

static struct stages stages_of(const actscope_options *o, const struct plan_layer *l) {
  struct stages s = {0};
  uint32_t want = o->statistics;
  s.profile = (want & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT)) != 0;
  s.pairs = (want & ACTSCOPE_CORRELATION) && l->correlation != ACTSCOPE_CORRELATION_GRAM;
  s.gram_required = (want & ACTSCOPE_CORRELATION) && l->correlation == ACTSCOPE_CORRELATION_GRAM;
  s.gram = s.gram_required || (want & ACTSCOPE_RANK);
  s.columns = (want & ACTSCOPE_HEALTH) || s.pairs || s.gram;
  s.similarity = (want & ACTSCOPE_SIMILARITY) != 0;
  s.profile_request = (struct cpu_profile_request){want, l->distinct, o->sketch_bits, o->threads};
  s.pairs_request = (struct cpu_pairs_request){l->correlation, o->pair_functionals, o->pairs, o->seed, o->threads};
  return s;
}

static uint64_t columns_bytes(const struct plan_layer *l) { return round_up(l->features * sizeof(struct column)); }

static void widen(struct cpu_need *need, struct cpu_need stage, int required, uint64_t base) {
  if (required && base + stage.least > need->least) need->least = base + stage.least;
  if (base + stage.best > need->best) need->best = base + stage.best;
}

static struct cpu_need need_of(const actscope_options *o, const struct plan_layer *l) {
  struct stages s = stages_of(o, l);
  struct cpu_need need = {0, 0};
  if (l->elements == 0) return need;
  if (s.profile) widen(&need, actscope_cpu_profile_need(&s.profile_request, l->dtype, l->elements), 1, 0);
  if (s.similarity) widen(&need, actscope_cpu_similarity_need(l->dtype, l->samples, l->features, o->threads), 1, 0);
  if (!s.columns) return need;
  uint64_t base = columns_bytes(l);
  widen(&need, actscope_cpu_columns_need(l->dtype, l->samples, l->features, o->threads), 1, base);
  if (s.pairs) widen(&need, actscope_cpu_pairs_need(&s.pairs_request, l->dtype, l->samples, l->features), 1, base);
  if (s.gram) {
    uint64_t side = l->samples < l->features ? l->samples : l->features;
    struct cpu_need gram = actscope_cpu_gram_need(l->dtype, l->samples, l->features, o->threads);
    if (s.gram_required || side <= RANK_SIDE_MAX) widen(&need, gram, s.gram_required, base);
  }
  if (need.best < need.least) need.best = need.least;
  return need;
}

/* The feature side: health, pairs, Gram. */
static actscope_status run_features(const actscope_options *o, struct plan_layer *l, const struct stages *s,
                                    const struct view *v, char *scratch, uint64_t bytes) {
  actscope_layer_report *r = &l->report;
  struct column *columns = (struct column *)scratch;
  uint64_t base = columns_bytes(l), rest = bytes - base, valid = 0;
  actscope_status status = actscope_cpu_columns(v, o->threads, scratch + base, rest, columns);
  if (status) return status;
  for (uint64_t i = 0; i < l->features; ++i) valid += (uint64_t)column_valid(&columns[i]);
  if (o->statistics & ACTSCOPE_HEALTH) columns_health(columns, l->features, &r->health);

  double square_sum = 0, frobenius = core_nan(), effective = core_nan();
  int exact = 0;
  if (s->pairs) {
    status = actscope_cpu_pairs(v, columns, &s->pairs_request, scratch + base, rest, &r->correlation, &square_sum,
                                &r->warnings);
    if (status) return status;
    exact = r->correlation.pairs == r->correlation.pairs_total;
    actscope_plan_note_samples(l, valid);
  }
  if (s->gram && valid > 0) {
    uint64_t side = l->samples < l->features ? l->samples : l->features;
    struct cpu_need need = actscope_cpu_gram_need(l->dtype, l->samples, l->features, o->threads);
    int eigenvalues = (o->statistics & ACTSCOPE_RANK) && side <= RANK_SIDE_MAX;
    if (need.least <= rest && (s->gram_required || eigenvalues)) {
      status = actscope_cpu_gram(v, columns, o->threads, scratch + base, rest, &frobenius,
                                 eigenvalues ? &effective : NULL);
      if (status) return status;
    }
    if (exact) frobenius = (double)valid + 2 * square_sum; /* the pairs have it already, and more exactly */
  }
  if (s->gram_required) {
    pairs_report_init(l->samples, valid, &r->correlation);
    r->correlation.method = ACTSCOPE_CORRELATION_GRAM;
    r->correlation.pairs = r->correlation.pairs_total;
    r->correlation.mean_square = gram_mean_square(frobenius, valid);
    r->correlation.adjusted_rms = pairs_adjusted_rms(r->correlation.mean_square, l->samples);
    actscope_plan_note_samples(l, valid);
  }
  if (o->statistics & ACTSCOPE_RANK) {
    r->rank.participation_ratio = valid > 0 ? gram_participation_ratio(frobenius, valid) : core_nan();
    r->rank.effective_rank = effective;
    if (valid > 0 && effective != effective) r->warnings |= ACTSCOPE_WARN_NO_EFFECTIVE_RANK;
  }
  return ACTSCOPE_OK;
}

static actscope_status measure(const actscope_options *o, struct plan_layer *l, const actscope_tensor *tensor,
                               void *scratch, uint64_t bytes) {
  struct stages s = stages_of(o, l);
  actscope_layer_report *r = &l->report;
  if (l->elements == 0) {
    actscope_plan_report_empty(o, l);
    return ACTSCOPE_OK;
  }
  struct view v;
  view_init(&v, tensor, o->channels);
  if (s.profile) {
    actscope_status status =
        actscope_cpu_profile(&v, &s.profile_request, scratch, bytes, &r->profile, &r->distinct, &r->warnings);
    if (status) return status;
  }
  if (s.similarity) {
    actscope_status status = actscope_cpu_similarity(&v, o->threads, scratch, bytes, &r->similarity);
    if (status) return status;
  }
  return s.columns ? run_features(o, l, &s, &v, scratch, bytes) : ACTSCOPE_OK;
}

/* ---- What the plan calls ---------------------------------------------------------------------------------------------- */

static actscope_status layer_need(const actscope_options *o, struct plan_layer *l) {
  l->need = need_of(o, l);
  return ACTSCOPE_OK;
}

/* Layers run one after the other in the same workspace. */
static void plan_need(const actscope_plan *p, struct plan_need *need) {
  for (size_t i = 0; i < p->count; ++i) {
    const struct cpu_need *n = &p->layers[i].need;
    if (n->least > need->least) need->least = n->least, need->worst = i;
    if (n->best > need->best) need->best = n->best;
  }
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

static actscope_status run_layer(actscope_plan *p, struct plan_layer *l, const actscope_tensor *t) {
  double start = seconds_now();
  actscope_plan_report_begin(&p->options, l);
  actscope_plan_log(&p->options, ACTSCOPE_LOG_DEBUG, "%s: begins", l->name);
  actscope_status status = measure(&p->options, l, t, p->workspace, p->workspace_bytes);
  l->report.status = status;
  l->report.seconds = seconds_now() - start;
  l->reported = 1;
  actscope_plan_log(&p->options, ACTSCOPE_LOG_INFO, "%s: %llu x %llu %s in %.1f ms", l->name,
                    (unsigned long long)l->samples, (unsigned long long)l->features, actscope_dtype_name(l->dtype),
                    1e3 * l->report.seconds);
  actscope_plan_log_warnings(&p->options, l);
  return status;
}

static actscope_status run(actscope_plan *p, size_t first, const actscope_tensor *tensors, size_t count,
                           struct CUstream_st *stream) {
  actscope_status result = ACTSCOPE_OK;
  (void)stream;
  for (size_t i = 0; i < count; ++i) {
    if (!tensors[i].data && p->layers[first + i].elements) continue;
    actscope_status status = run_layer(p, &p->layers[first + i], &tensors[i]);
    if (status && !result) result = status;
  }
  return result;
}

/* run has finished when it returns. */
static actscope_status poll(actscope_plan *p, int wait) { (void)p, (void)wait; return ACTSCOPE_OK; }
static actscope_status report(actscope_plan *p, struct plan_layer *l) { (void)p, (void)l; return ACTSCOPE_OK; }

const struct plan_backend actscope_cpu_backend = {ACTSCOPE_DEVICE_CPU, layer_need, plan_need, open_nothing, close_nothing,
                                                  allocate, free_workspace, run, poll, report};
