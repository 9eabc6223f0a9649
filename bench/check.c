/* check.c - holds a row's report against the oracle: how many of its numbers are outside their bounds.
 *
 * Bounds are those of the tests: variance 2e-6, means and norms 1e-6, quantiles 2^-8 (exact for narrow types), mean |r|
 * and mean r^2 1e-6, max |r| 2e-6 absolute; sketches within 5 standard errors; counts exact. */
#include <math.h>
#include <stdlib.h>

#include "bench.h"

static uint64_t off(double got, double want, double absolute, double relative) {
  if (isnan(want)) return !isnan(got);
  return !(fabs(got - want) <= absolute + relative * fabs(want));
}

static uint64_t check_profile(const actscope_profile *g, const actscope_profile *w, uint32_t statistics, int narrow) {
  uint64_t wrong = 0;
  double spread = isnan(w->std) ? 0 : w->std;
  wrong += (g->count != w->count) + (g->finite != w->finite);
  if (statistics & ACTSCOPE_MOMENTS) {
    wrong += (g->nan != w->nan) + (g->positive_inf != w->positive_inf) + (g->negative_inf != w->negative_inf);
    wrong += (g->zero != w->zero) + (g->negative != w->negative) + (g->subnormal != w->subnormal);
    wrong += off(g->min, w->min, 0, 0) + off(g->max, w->max, 0, 0) + off(g->abs_max, w->abs_max, 0, 0);
    wrong += off(g->mean, w->mean, 1e-6 * spread, 1e-7) + off(g->abs_mean, w->abs_mean, 0, 1e-6);
    wrong += off(g->variance, w->variance, 0, 2e-6) + off(g->std, w->std, 0, 1e-6) + off(g->l2_norm, w->l2_norm, 0, 1e-6);
    wrong += off(g->skewness, w->skewness, 1e-5, 1e-5) + off(g->kurtosis, w->kurtosis, 1e-4, 1e-5);
  }
  if (statistics & ACTSCOPE_ENTROPY) wrong += off(g->entropy, w->entropy, 1e-6, 0);
  for (int q = 0; (statistics & ACTSCOPE_QUANTILES) && q < ACTSCOPE_QUANTILE_COUNT; ++q)
    wrong += off(g->quantiles[q], w->quantiles[q], narrow ? 0 : 1e-40, narrow ? 0 : 0.00390625);
  return wrong;
}

/* The sampled pairs, one in 1009 of them, taken from the definition of the sample. */
static uint64_t check_sampled(const struct ref_matrix *m, const actscope_correlation *g) {
  struct ref_correlation w;
  const uint64_t step = 1009;
  uint64_t *valid = malloc(m->features * sizeof *valid), v = ref_valid_features(m, valid), count = 0;
  struct ref_pair *pairs = malloc((g->pairs / step + 1) * sizeof *pairs);
  if (!valid || !pairs) abort();
  for (uint64_t k = 0; k < g->pairs; k += step) {
    uint64_t i = k % v, j = (i + 1 + k / v) % v;
    pairs[count++] = (struct ref_pair){ref_permute(v, 0, 0, i), ref_permute(v, 0, 0, j)};
  }
  ref_correlate(m, 1e-6, pairs, count, &w);
  free(valid);
  free(pairs);
  double error = sqrt((g->mean_square - g->mean_abs * g->mean_abs) / (double)count);
  return off(g->mean_abs, w.value.mean_abs, 5 * error, 0) + (g->pairs != 16777216) + (g->valid_features != v);
}

static uint64_t check_correlation(const struct ref_matrix *m, const struct bench_case *c, const actscope_correlation *g) {
  struct ref_correlation w;
  uint64_t wrong = 0, below = 0;
  if (c->method == ACTSCOPE_CORRELATION_SAMPLED) return check_sampled(m, g);
  ref_correlate(m, 2e-6, NULL, 0, &w);
  wrong += (g->pairs != w.value.pairs) + (g->valid_features != w.value.valid_features);
  wrong += off(g->mean_square, w.value.mean_square, 1e-6, 0) + off(g->adjusted_rms, w.value.adjusted_rms, 1e-5, 0);
  wrong += off(g->noise_floor, w.value.noise_floor, 1e-9, 0);
  if (c->method == ACTSCOPE_CORRELATION_GRAM) return wrong;
  wrong += off(g->mean_abs, w.value.mean_abs, 1e-6, 0) + off(g->max_abs, w.value.max_abs, 2e-6, 0);
  for (int t = 0; (c->functionals & ACTSCOPE_PAIRS_ABOVE) && t < ACTSCOPE_THRESHOLD_COUNT; ++t) {
    double above = round(g->above[t] * (double)g->pairs);
    wrong += !(above >= (double)w.above_least[t] && above <= (double)w.above_most[t]);
  }
  for (int k = 0; (c->functionals & ACTSCOPE_PAIRS_HISTOGRAM) && k < ACTSCOPE_PAIR_BINS; ++k) {
    wrong += !(below >= w.below_least[k] && below <= w.below_most[k]);
    below += g->histogram[k];
  }
  return wrong;
}

static uint64_t check_layer(const struct bench_case *c, const actscope_layer_report *r, const struct ref_matrix *m) {
  uint64_t wrong = 0;
  uint32_t s = c->statistics;
  if (s & ACTSCOPE_PROFILE) {
    actscope_profile w;
    ref_profile(m, &w);
    wrong += check_profile(&r->profile, &w, s, r->dtype != ACTSCOPE_FLOAT32 && r->dtype != ACTSCOPE_FLOAT64);
  }
  if (s & ACTSCOPE_DISTINCT)
    wrong += off((double)r->distinct.count, (double)ref_distinct(m), 0, 5 * r->distinct.relative_standard_error);
  if (s & ACTSCOPE_CORRELATION) wrong += check_correlation(m, c, &r->correlation);
  if (s & ACTSCOPE_HEALTH) {
    actscope_health w;
    ref_health(m, &w);
    wrong += (r->health.constant != w.constant) + (r->health.nonfinite != w.nonfinite) + (r->health.dead != w.dead);
  }
  if (s & ACTSCOPE_RANK) {
    actscope_rank w;
    ref_rank(m, &w);
    wrong += off(r->rank.participation_ratio, w.participation_ratio, 0, 1e-5) +
             off(r->rank.effective_rank, w.effective_rank, 0, 1e-5);
  }
  if (s & ACTSCOPE_SIMILARITY) {
    actscope_similarity w;
    ref_similarity(m, &w);
    wrong += off(r->similarity.mean_cosine, w.mean_cosine, 1e-12, 0) + (r->similarity.zero_samples != w.zero_samples) +
             (r->similarity.nonfinite_samples != w.nonfinite_samples);
  }
  return wrong;
}

uint64_t bench_check(struct bench_input *in) {
  uint64_t wrong = 0;
  for (size_t l = 0; l < in->layers; ++l) {
    actscope_layer_report r;
    if (actscope_plan_report(in->plan, l, &r)) {
      ++wrong;
      continue;
    }
    if (in->layers > 1 && l != 0 && l != 12) { /* one layer of each kind in full; of the others that they were measured */
      wrong += !(r.correlation.mean_abs > 0) + !(r.rank.effective_rank > 1) + (r.profile.count != r.elements);
      continue;
    }
    struct ref_matrix m;
    ref_matrix_load(&m, &in->tensors[l], 0);
    wrong += check_layer(in->c, &r, &m);
    ref_matrix_free(&m);
  }
  return wrong;
}
