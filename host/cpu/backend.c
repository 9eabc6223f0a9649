/* backend.c - one layer on the CPU: which stages run, in which part of the workspace.
 *
 * Workspace of a layer: the profile stage has all of it; then the feature states (32 B a feature) lie at its start and
 * the column, pair and Gram stages share the rest, one after the other. */
#include "core/distinct.h"
#include "core/gram.h"
#include "core/moments.h"
#include "core/pairs.h"
#include "cpu/cpu.h"
#include "error.h"
#include "plan.h"

/* Beyond this side the eigenvalues take minutes: 4/3 n^3 operations, 9e10 at 4096. */
enum { RANK_SIDE_MAX = 4096 };

struct stages {
  int profile, columns, pairs, gram, gram_required;
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
  s.profile_request = (struct cpu_profile_request){want, l->distinct, o->sketch_bits, o->threads};
  s.pairs_request = (struct cpu_pairs_request){l->correlation, o->pair_functionals, o->pairs, o->seed, o->threads};
  return s;
}

static uint64_t columns_bytes(const struct plan_layer *l) { return round_up(l->features * sizeof(struct column)); }

static void widen(struct cpu_need *need, struct cpu_need stage, int required, uint64_t base) {
  if (required && base + stage.least > need->least) need->least = base + stage.least;
  if (base + stage.best > need->best) need->best = base + stage.best;
}

struct cpu_need actscope_cpu_layer_need(const actscope_options *o, const struct plan_layer *l) {
  struct stages s = stages_of(o, l);
  struct cpu_need need = {0, 0};
  if (l->elements == 0) return need;
  if (s.profile) widen(&need, actscope_cpu_profile_need(&s.profile_request, l->dtype, l->elements), 1, 0);
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

static void note_samples(const struct plan_layer *l, uint64_t valid, actscope_layer_report *r) {
  if (l->samples < 3) r->warnings |= ACTSCOPE_WARN_FEW_SAMPLES;
  if (valid < 2) r->warnings |= ACTSCOPE_WARN_NO_VALID_PAIR;
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
    note_samples(l, valid, r);
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
    note_samples(l, valid, r);
  }
  if (o->statistics & ACTSCOPE_RANK) {
    r->rank.participation_ratio = valid > 0 ? gram_participation_ratio(frobenius, valid) : core_nan();
    r->rank.effective_rank = effective;
    if (valid > 0 && effective != effective) r->warnings |= ACTSCOPE_WARN_NO_EFFECTIVE_RANK;
  }
  return ACTSCOPE_OK;
}

/* An empty tensor has counts of 0 and no other number. */
static void report_empty(const actscope_options *o, struct plan_layer *l) {
  actscope_layer_report *r = &l->report;
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
    note_samples(l, 0, r);
  }
  if (o->statistics & ACTSCOPE_RANK) r->rank.participation_ratio = r->rank.effective_rank = none;
}

actscope_status actscope_cpu_layer_run(const actscope_options *o, struct plan_layer *l, const actscope_tensor *tensor,
                                       void *scratch, uint64_t bytes) {
  struct stages s = stages_of(o, l);
  actscope_layer_report *r = &l->report;
  if (l->elements == 0) {
    report_empty(o, l);
    return ACTSCOPE_OK;
  }
  struct view v;
  view_init(&v, tensor, o->channels);
  if (s.profile) {
    actscope_status status =
        actscope_cpu_profile(&v, &s.profile_request, scratch, bytes, &r->profile, &r->distinct, &r->warnings);
    if (status) return status;
  }
  return s.columns ? run_features(o, l, &s, &v, scratch, bytes) : ACTSCOPE_OK;
}
