/* bottleneck.c - severities, score and ranking. Definitions and reasons: docs/analysis.md. */
#include "analysis/bottleneck.h"

#include <stdlib.h>

#include "core/core.h"
#include "error.h"

/* Weights of the ingredients that grade the features a layer has; they count by their share among those measured. The
 * others (dead, constant, non-finite) say how much of the layer is gone and need no weight. */
static const double weights[ACTSCOPE_REASON_COUNT] = {
    [REASON_CORRELATED] = 0.4, [REASON_LOW_RANK] = 0.35, [REASON_REDUNDANT] = 0.1, [REASON_LOW_ENTROPY] = 0.15};

/* A severity from here on is a reason. */
static const double thresholds[ACTSCOPE_REASON_COUNT] = {
    [REASON_CORRELATED] = 0.3, [REASON_LOW_RANK] = 0.3,    [REASON_REDUNDANT] = 0.3, [REASON_DEAD] = 0.05,
    [REASON_CONSTANT] = 0.05,  [REASON_LOW_ENTROPY] = 0.3, [REASON_NONFINITE] = 0.5};

static double unit(double v) { return v < 0 ? 0 : v > 1 ? 1 : v; } /* NaN stays NaN */

/* Root mean square of r beyond what independent features show by chance and three standard deviations of it: under
 * independence r^2 has mean 1/(N-1) and variance 2(N-2) / ((N-1)^2 (N+1)), and pairs are uncorrelated. */
static double correlated(const actscope_correlation *c, double samples) {
  if (samples < 3 || c->pairs == 0) return core_nan();
  double floor = 1 / (samples - 1);
  double deviation = floor * sqrt(2 * (samples - 2) / (samples + 1) / (double)c->pairs);
  double excess = c->mean_square - floor - 3 * deviation;
  return excess != excess ? excess : sqrt(unit(excess * (samples - 1) / (samples - 2)));
}

/* Share of the spectrum's entropy that is missing. Independent features reach ln m - m/2n (Page) within 1/n. */
static double low_rank(double effective_rank, double valid_features, double samples, double *independent) {
  double m = fmin(samples - 1, valid_features), n = fmax(samples - 1, valid_features), bits = log(m) - m / (2 * n);
  if (!(m >= 2) || !(bits - 1 / n >= 0.5 * log(m)) || !(effective_rank > 0)) return core_nan();
  *independent = exp(bits);
  return unit(1 - log(effective_rank) / (bits - 1 / n));
}

/* Share of the values that repeat beyond what the dtype explains. Zeros, NaN, infinities and constant features, which
 * have causes of their own, are left out; so is the uncertainty of a sketch and of the expectation. */
static double redundant(const actscope_layer_report *r, double constant_features, struct ingredients *out) {
  const actscope_profile *p = &r->profile;
  double nonzero = (double)(p->finite - p->zero);
  double share = nonzero > 0 ? unit(1 - constant_features * ((double)r->elements / (double)r->features) / nonzero) : 0;
  double expected = actscope_expected_distinct(r->dtype, p, share);
  if (expected != expected) return expected;
  int others = (p->zero > 0) + (p->nan > 0) + (p->positive_inf > 0) + (p->negative_inf > 0);
  out->expected_values = expected;
  out->distinct_values = fmax(0, (double)r->distinct.count - others);
  double upper = fmax(out->distinct_values, (double)r->distinct.upper - others);
  return unit(1 - (upper + 2 * sqrt(expected)) / expected);
}

/* A feature whose samples are 0 with probability p is all 0 by chance with probability p^N: that share of the features,
 * and three of its standard deviations, do not count. p is what the features that live show: their share of zeros is
 * (p - p^N) / (1 - p^N), for those with zeros only are not among them. */
double actscope_zero_features(const actscope_layer_report *r, uint64_t count) {
  double features = (double)r->features, n = (double)r->elements / features, share = unit((double)count / features);
  if (share == 0 || share == 1) return share;
  if (r->samples < 2 || !(r->statistics & ACTSCOPE_MOMENTS)) return r->samples < 3 ? core_nan() : share;
  double zeros = ((double)r->profile.zero - share * features * n) / ((1 - share) * features * n), low = 0, high = 1;
  for (int step = 0; step < 50; ++step) {
    double p = 0.5 * (low + high), all = pow(p, n);
    if ((p - all) / (1 - all) < zeros) low = p; else high = p;
  }
  double chance = pow(low, n);
  chance += 3 * sqrt(chance * (1 - chance) / features);
  return chance < 1 ? unit((share - chance) / (1 - chance)) : 0;
}

void actscope_ingredients(const actscope_layer_report *r, struct ingredients *out) {
  double none = core_nan(), samples = (double)r->samples, features = (double)r->features;
  double *s = out->severity;
  for (int i = 0; i < ACTSCOPE_REASON_COUNT; ++i) s[i] = none;
  out->independent_rank = out->distinct_values = out->expected_values = out->magnitude_share = none;
  out->constant_features = none;
  if (r->status != ACTSCOPE_OK || r->elements == 0 || r->samples == 0 || r->features == 0) return;
  int moments = (r->statistics & ACTSCOPE_MOMENTS) != 0;
  const actscope_profile *p = &r->profile;

  double constant = 0;
  if (r->statistics & ACTSCOPE_HEALTH) {
    const actscope_health *h = &r->health;
    s[REASON_DEAD] = actscope_zero_features(r, h->dead);
    constant = h->constant > h->dead ? (double)(h->constant - h->dead) : 0;
    if (r->samples >= 3) { /* one sample is always constant, two are so by chance */
      out->constant_features = constant;
      s[REASON_CONSTANT] = unit(constant / features);
    }
    s[REASON_NONFINITE] = h->nonfinite > 0 ? 0.5 + 0.5 * unit((double)h->nonfinite / features) : 0;
  } else if (moments) {
    double bad = (double)(p->nan + p->positive_inf + p->negative_inf);
    s[REASON_NONFINITE] = bad > 0 ? 0.5 + 0.5 * unit(bad / (double)r->elements) : 0;
  }
  if (r->statistics & ACTSCOPE_CORRELATION) s[REASON_CORRELATED] = correlated(&r->correlation, samples);
  if (r->statistics & ACTSCOPE_RANK) {
    double valid = r->statistics & ACTSCOPE_CORRELATION ? (double)r->correlation.valid_features
                   : r->statistics & ACTSCOPE_HEALTH
                       ? features - (double)r->health.constant - (double)r->health.nonfinite
                       : features;
    s[REASON_LOW_RANK] = low_rank(r->rank.effective_rank, valid, samples, &out->independent_rank);
  }
  if (moments && (r->statistics & ACTSCOPE_DISTINCT)) s[REASON_REDUNDANT] = redundant(r, constant, out);
  if (moments && (r->statistics & ACTSCOPE_ENTROPY)) {
    /* exp of the entropy is a number of elements; half of the non-zero ones is healthy (normal values: 0.75). */
    double share = exp(p->entropy * log((double)p->finite)) / (double)(p->finite - p->zero);
    if (share == share) out->magnitude_share = fmin(share, 1);
    s[REASON_LOW_ENTROPY] = unit(1 - 2 * share);
  }
}

double actscope_bottleneck_score(const struct ingredients *in) {
  const double *s = in->severity;
  double weight = 0, grade = 0, gone = 0, free_share = 1;
  int measured = 0;
  for (int i = 0; i < ACTSCOPE_REASON_COUNT; ++i) {
    if (s[i] != s[i]) continue;
    ++measured;
    weight += weights[i];
    if (weights[i] > 0) grade += weights[i] * s[i];
    if (i == REASON_DEAD || i == REASON_CONSTANT) gone += s[i];
    if (i == REASON_NONFINITE) free_share *= 1 - s[i];
  }
  if (measured == 0) return core_nan();
  free_share *= 1 - unit(gone);
  if (weight > 0) free_share *= 1 - grade / weight;
  return unit(1 - free_share);
}

uint32_t actscope_bottleneck_reasons(const struct ingredients *in) {
  uint32_t reasons = 0;
  for (int i = 0; i < ACTSCOPE_REASON_COUNT; ++i)
    if (in->severity[i] >= thresholds[i]) reasons |= 1u << i;
  return reasons;
}

/* Highest score first, layers without one last, ties in layer order. */
static int by_score(const void *left, const void *right) {
  const actscope_bottleneck *a = left, *b = right;
  int a_none = a->score != a->score, b_none = b->score != b->score;
  if (a_none != b_none) return a_none - b_none;
  if (!a_none && a->score != b->score) return a->score > b->score ? -1 : 1;
  return a->layer < b->layer ? -1 : a->layer > b->layer;
}

actscope_status actscope_rank_bottlenecks(const actscope_layer_report *reports, const actscope_role *roles, size_t count,
                                          actscope_bottleneck *ranking) {
  if (count == 0) return ACTSCOPE_OK;
  if (reports == NULL || ranking == NULL)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "rank_bottlenecks: reports and ranking must not be NULL");
  for (size_t i = 0; i < count; ++i) {
    struct ingredients parts;
    ranking[i] = (actscope_bottleneck){i, core_nan(), 0};
    if (roles && roles[i] != ACTSCOPE_ROLE_ACTIVATION) continue;
    actscope_ingredients(&reports[i], &parts);
    ranking[i].score = actscope_bottleneck_score(&parts);
    ranking[i].reasons = actscope_bottleneck_reasons(&parts);
  }
  qsort(ranking, count, sizeof *ranking, by_score);
  return ACTSCOPE_OK;
}
