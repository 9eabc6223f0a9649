/* check.c - holds a row's reports against the oracle: how many of their numbers are outside their bounds.
 *
 * Bounds are those of the tests (tests/reference/compare.c); what only the benchmark needs (one fp16 product, samples,
 * matrices too large for all pairs) stands here with its reason. What the oracle finds is kept: rows share inputs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "scores.h"

/* ---- What the oracle says of an input --------------------------------------------------------------------------------- */

struct oracle {
  struct oracle *next;
  int distinct_input, contents;
  actscope_dtype dtype;
  uint64_t samples, features; /* of the block, where one is repeated */
  int has_profile, has_distinct, has_health, has_pairs, has_rank, has_similarity, has_fp16, has_large;
  actscope_profile profile;
  uint64_t distinct;
  actscope_health health;
  struct ref_correlation pairs, fp16; /* with the slack of either precision */
  struct {
    uint64_t valid;
    double square_sum; /* of K: NaN where it would take too long */
    double mean_abs, mean_square, abs_error, square_error; /* of a random sample of pairs, with standard errors */
  } large;
  actscope_rank rank;
  actscope_similarity similarity;
};
static struct oracle *known;

void bench_check_close(void) {
  while (known) {
    struct oracle *o = known;
    known = o->next;
    free(o);
  }
}

static struct oracle *oracle_of(const struct bench_case *c, int contents, uint64_t samples, uint64_t features) {
  const int floats = c->kind == CASE_DISTINCT;
  for (struct oracle *o = known; o; o = o->next)
    if (o->distinct_input == floats && o->contents == contents && o->dtype == c->dtype && o->samples == samples &&
        o->features == features)
      return o;
  struct oracle *o = calloc(1, sizeof *o);
  if (!o) abort();
  o->next = known, known = o;
  o->distinct_input = floats, o->contents = contents, o->dtype = c->dtype, o->samples = samples, o->features = features;
  return o;
}

/* The same numbers of the block repeated k times. */
static actscope_profile repeated(actscope_profile p, uint64_t k) {
  const double n = (double)p.finite, t = (double)k;
  p.count *= k, p.finite *= k, p.nan *= k, p.positive_inf *= k, p.negative_inf *= k;
  p.zero *= k, p.negative *= k, p.subnormal *= k;
  for (int b = 0; b < ACTSCOPE_VALUE_BUCKETS; ++b) p.buckets[b] *= k;
  p.variance *= (n - 1) / n * (t * n) / (t * n - 1); /* n - 1 below the line */
  p.std = sqrt(p.variance);
  p.l2_norm *= sqrt(t);
  p.entropy = (p.entropy * log(n) + log(t)) / log(t * n); /* p becomes p / k, k times */
  return p;
}

/* One fp16 product: both z are rounded to 11 bits, so by Cauchy-Schwarz |r| is off by at most 2 x 2^-11. Errors of single
 * r have either sign: their mean is within a quarter of that. */
static const double fp16_slack = 1.0 / 1024, fp16_mean = 1.0 / 4096;

/* ---- Matrices too large for all pairs: mean r^2 by ||K||_F^2, mean |r| by a sample ---------------------------------------- */

enum { LARGE_SAMPLE = 1 << 17 };
static int is_large(const struct ref_matrix *m) {
  return (double)m->samples * (double)m->features * (double)m->features > 4e10;
}

static double *standardised(const struct ref_matrix *m, const uint64_t *list, uint64_t valid) { /* z[s * valid + v] */
  const uint64_t n = m->samples;
  double *z = malloc((valid * n + 1) * sizeof *z);
  if (!z) abort();
#pragma omp parallel for schedule(static)
  for (uint64_t v = 0; v < valid; ++v) {
    double mean = 0, norm = 0;
    for (uint64_t s = 0; s < n; ++s) mean += m->x[s * m->features + list[v]] / (double)n;
    for (uint64_t s = 0; s < n; ++s) norm += pow(m->x[s * m->features + list[v]] - mean, 2);
    for (uint64_t s = 0; s < n; ++s) z[s * valid + v] = (m->x[s * m->features + list[v]] - mean) / sqrt(norm);
  }
  return z;
}

static void look_large(const struct ref_matrix *m, struct oracle *o) {
  const uint64_t n = m->samples;
  uint64_t *list = malloc((m->features + 1) * sizeof *list);
  if (!list) abort();
  const uint64_t valid = o->large.valid = ref_valid_features(m, list);
  double *z = standardised(m, list, valid), total = 0, sums[4] = {0, 0, 0, 0};
  o->large.square_sum = NAN;
  if ((double)n * (double)n * (double)valid < 4e10) {
#pragma omp parallel for schedule(dynamic) reduction(+ : total)
    for (uint64_t a = 0; a < n; ++a)
      for (uint64_t b = 0; b <= a; ++b) {
        double part[8] = {0}, k = 0;
        for (uint64_t v = 0; v < valid; ++v) part[v % 8] += z[a * valid + v] * z[b * valid + v];
        for (int i = 0; i < 8; ++i) k += part[i];
        total += (a == b ? 1 : 2) * k * k;
      }
    o->large.square_sum = total;
  }
  struct random_state r = {20260101};
  for (uint64_t k = 0; k < LARGE_SAMPLE; ++k) {
    uint64_t i = random_below(&r, valid), j = random_below(&r, valid - 1);
    double dot = 0;
    j += j >= i;
    for (uint64_t s = 0; s < n; ++s) dot += z[s * valid + i] * z[s * valid + j];
    const double square = dot * dot;
    sums[0] += fabs(dot), sums[1] += square, sums[2] += square, sums[3] += square * square;
  }
  const double count = LARGE_SAMPLE;
  o->large.mean_abs = sums[0] / count, o->large.mean_square = sums[2] / count;
  o->large.abs_error = sqrt((sums[1] / count - pow(sums[0] / count, 2)) / count);
  o->large.square_error = sqrt((sums[3] / count - pow(sums[2] / count, 2)) / count);
  free(z);
  free(list);
}

/* Looks at what a case needs and was not looked at before. */
static void look(struct oracle *o, const struct bench_case *c, const struct ref_matrix *m, int gpu) {
  const uint32_t s = c->statistics;
  if ((s & ACTSCOPE_PROFILE) && !o->has_profile) ref_profile(m, &o->profile), o->has_profile = 1;
  if ((s & ACTSCOPE_DISTINCT) && !o->has_distinct) o->distinct = ref_distinct(m), o->has_distinct = 1;
  if ((s & ACTSCOPE_HEALTH) && !o->has_health) ref_health(m, &o->health), o->has_health = 1;
  if ((s & ACTSCOPE_RANK) && !o->has_rank) ref_rank(m, &o->rank), o->has_rank = 1;
  if ((s & ACTSCOPE_SIMILARITY) && !o->has_similarity) ref_similarity(m, &o->similarity), o->has_similarity = 1;
  if (!(s & ACTSCOPE_CORRELATION) || c->method == ACTSCOPE_CORRELATION_SAMPLED) return;
  if (is_large(m)) {
    if (!o->has_large) look_large(m, o), o->has_large = 1;
  } else if (c->precision == ACTSCOPE_PRECISION_FP16) {
    if (!o->has_fp16) ref_correlate(m, fp16_slack, NULL, 0, &o->fp16), o->has_fp16 = 1;
  } else if (!o->has_pairs) {
    uint64_t *list = malloc((m->features + 1) * sizeof *list);
    if (!list) abort();
    const double slack = gpu ? compare_r_slack(m->samples) : compare_count_slack(m->samples, ref_valid_features(m, list));
    ref_correlate(m, slack, NULL, 0, &o->pairs), o->has_pairs = 1;
    free(list);
  }
}

static int looked(const struct oracle *o, const struct bench_case *c) {
  const uint32_t s = c->statistics;
  if (((s & ACTSCOPE_PROFILE) && !o->has_profile) || ((s & ACTSCOPE_DISTINCT) && !o->has_distinct) ||
      ((s & ACTSCOPE_HEALTH) && !o->has_health) || ((s & ACTSCOPE_RANK) && !o->has_rank) ||
      ((s & ACTSCOPE_SIMILARITY) && !o->has_similarity))
    return 0;
  if (!(s & ACTSCOPE_CORRELATION)) return 1;
  if (c->method == ACTSCOPE_CORRELATION_SAMPLED) return 0; /* its pairs are the case's own */
  return o->has_large || (c->precision == ACTSCOPE_PRECISION_FP16 ? o->has_fp16 : o->has_pairs);
}

/* ---- Comparing --------------------------------------------------------------------------------------------------------- */

static void check_distinct(struct compare *c, const actscope_distinct *g, uint64_t want, uint64_t elements, actscope_dtype dtype) {
  const int wide = dtype == ACTSCOPE_FLOAT32 || dtype == ACTSCOPE_FLOAT64;
  if (!wide) {
    compare_count(c, "distinct.count", g->count, want);
    return;
  }
  /* 0.65 / sqrt(4096) is 1.02 %; five of them. The claimed error may not be the excuse. */
  compare_between(c, "distinct.relative_standard_error", g->relative_standard_error, 0, 0.0125);
  compare_value(c, "distinct.count", (double)g->count, (double)want, 1, 5 * 0.0102);
  compare_between(c, "distinct.count in its interval", (double)g->count, (double)g->lower, (double)g->upper);
  compare_value(c, "distinct.redundancy", g->redundancy, 1 - (double)g->count / (double)elements, 1e-12, 0);
}

/* The numbers that every method gives about which pairs it looked at. */
static void check_which(struct compare *c, const actscope_correlation *g, actscope_correlation_method method, uint64_t valid,
                        uint64_t pairs, uint64_t samples) {
  compare_count(c, "correlation.method", g->method, method);
  compare_count(c, "correlation.valid_features", g->valid_features, valid);
  compare_count(c, "correlation.pairs_total", g->pairs_total, valid * (valid - (valid > 0)) / 2);
  compare_count(c, "correlation.pairs", g->pairs, pairs);
  compare_value(c, "noise_floor", g->noise_floor, ref_noise_floor(samples), 0, 3e-12);
}

static void check_mean_square(struct compare *c, const actscope_correlation *g, double want, double bound, uint64_t samples) {
  const double n = (double)samples;
  compare_value(c, "mean_square", g->mean_square, want, bound, 0);
  compare_value(c, "adjusted_rms", g->adjusted_rms, sqrt(fmax(0, (g->mean_square - 1 / (n - 1)) * (n - 1) / (n - 2))), 1e-9, 0);
}

static void check_large(struct compare *c, const struct bench_case *k, const actscope_correlation *g, const struct oracle *o) {
  const double pairs = (double)o->large.valid * ((double)o->large.valid - 1) / 2;
  const double bound = k->precision == ACTSCOPE_PRECISION_FP16 ? fp16_mean : 2e-6;
  check_which(c, g, k->method, o->large.valid, (uint64_t)pairs, o->samples);
  if (!isnan(o->large.square_sum))
    check_mean_square(c, g, (o->large.square_sum - (double)o->large.valid) / 2 / pairs, bound, o->samples);
  compare_value(c, "mean_square against a sample", g->mean_square, o->large.mean_square, bound + 5 * o->large.square_error, 0);
  if (k->method == ACTSCOPE_CORRELATION_GRAM) return;
  compare_value(c, "mean_abs against a sample", g->mean_abs, o->large.mean_abs, bound + 5 * o->large.abs_error, 0);
  compare_between(c, "max_abs", g->max_abs, g->mean_abs, 1);
}

/* A sample is known from its definition: all of its pairs where they are few, else one in `step`, within five standard
 * errors of their mean. */
static void check_sampled(struct compare *c, const struct bench_case *k, const actscope_correlation *g, const struct ref_matrix *m) {
  uint64_t *list = malloc((m->features + 1) * sizeof *list), v = ref_valid_features(m, list);
  const uint64_t all = v * (v - 1) / 2, wanted = k->pairs < all ? k->pairs : all, step = wanted > 100000 ? 509 : 1;
  struct ref_pair *pairs = malloc((wanted / step + 2) * sizeof *pairs);
  struct ref_correlation ref;
  uint64_t count = 0;
  if (!list || !pairs) abort();
  if (step == 1) ref_sampled_pairs(v, count = wanted, 0, 0, pairs);
  else
    for (uint64_t i = 0; i < wanted; i += step) {
      const uint64_t a = i % v, b = (a + 1 + i / v) % v;
      pairs[count++] = (struct ref_pair){ref_permute(v, 0, 0, a), ref_permute(v, 0, 0, b)};
    }
  ref_correlate(m, compare_r_slack(m->samples), pairs, count, &ref);
  if (step == 1) compare_correlation(c, g, &ref, k->functionals);
  else {
    check_which(c, g, ACTSCOPE_CORRELATION_SAMPLED, v, wanted, m->samples);
    compare_value(c, "mean_abs", g->mean_abs, ref.value.mean_abs,
                  5 * sqrt((ref.value.mean_square - pow(ref.value.mean_abs, 2)) / (double)count), 0);
    compare_between(c, "mean_abs in its interval", g->mean_abs, g->mean_abs_ci95[0], g->mean_abs_ci95[1]);
    compare_between(c, "half of the interval", (g->mean_abs_ci95[1] - g->mean_abs_ci95[0]) / 2, 0,
                    1.1 * 1.96 * sqrt((ref.value.mean_square - pow(ref.value.mean_abs, 2)) / (double)wanted));
    compare_between(c, "max_abs", g->max_abs, ref.value.max_abs - 1e-5, 1);
  }
  free(list);
  free(pairs);
}

static void check_fp16(struct compare *c, const struct bench_case *k, const actscope_correlation *g, const struct ref_correlation *w) {
  const double pairs = (double)w->value.pairs;
  uint64_t below = 0;
  check_which(c, g, ACTSCOPE_CORRELATION_EXACT, w->value.valid_features, w->value.pairs, k->samples);
  check_mean_square(c, g, w->value.mean_square, fp16_mean, k->samples);
  compare_value(c, "mean_abs", g->mean_abs, w->value.mean_abs, fp16_mean, 0);
  compare_value(c, "max_abs", g->max_abs, w->value.max_abs, fp16_slack, 0);
  for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT && (k->functionals & ACTSCOPE_PAIRS_ABOVE); ++t)
    compare_between(c, "above", g->above[t], (double)w->above_least[t] / pairs, (double)w->above_most[t] / pairs);
  for (int b = 0; b < ACTSCOPE_PAIR_BINS && (k->functionals & ACTSCOPE_PAIRS_HISTOGRAM); ++b) {
    below += g->histogram[b];
    compare_between(c, "sum of the histogram", (double)below, (double)w->below_least[b + 1], (double)w->below_most[b + 1]);
  }
}

static void check_correlation(struct compare *c, const struct bench_case *k, const actscope_correlation *g,
                              const struct ref_matrix *m, const struct oracle *o) {
  const struct ref_correlation *w = &o->pairs;
  if (k->method == ACTSCOPE_CORRELATION_SAMPLED) check_sampled(c, k, g, m);
  else if (o->has_large) check_large(c, k, g, o);
  else if (k->precision == ACTSCOPE_PRECISION_FP16) check_fp16(c, k, g, &o->fp16);
  else if (k->method == ACTSCOPE_CORRELATION_GRAM) {
    check_which(c, g, ACTSCOPE_CORRELATION_GRAM, w->value.valid_features, w->value.pairs, o->samples);
    check_mean_square(c, g, w->value.mean_square, 1e-6, o->samples);
  } else compare_correlation(c, g, w, k->functionals);
}

static void check_layer(struct bench_input *in, size_t layer, struct compare *c) {
  const struct bench_case *k = in->c;
  uint64_t samples = bench_layer_samples(in, layer), features = bench_layer_features(in, layer), tiles = 1;
  const uint64_t elements = samples * features;
  actscope_layer_report r;
  memset(&r, 0xFF, sizeof r);
  actscope_status status = actscope_plan_report(in->plan, layer, &r);
  compare_count(c, "status", status ? status : r.status, ACTSCOPE_OK);
  if (status || r.status) return;
  compare_count(c, "elements", r.elements, elements);
  compare_count(c, "statistics", r.statistics, k->statistics);
  if (k->block) tiles = elements / k->block, samples = k->block / features;
  struct oracle *o = oracle_of(k, bench_layer_contents(k, layer), samples, features);
  struct ref_matrix m = {0};
  if (!looked(o, k)) {
    const int64_t shape[] = {(int64_t)samples, (int64_t)features};
    const actscope_tensor tensor = {.data = in->host[layer], .dtype = k->dtype, .ndim = 2, .shape = shape};
    ref_matrix_load(&m, &tensor, 0);
    look(o, k, &m, in->gpu != NULL);
  }
  if (k->statistics & ACTSCOPE_PROFILE) {
    const actscope_profile want = repeated(o->profile, tiles);
    compare_profile(c, &r.profile, &want, k->dtype, k->statistics);
  }
  if (k->statistics & ACTSCOPE_DISTINCT) check_distinct(c, &r.distinct, o->distinct, elements, k->dtype);
  if (k->statistics & ACTSCOPE_HEALTH) compare_health(c, &r.health, &o->health);
  if (k->statistics & ACTSCOPE_CORRELATION) check_correlation(c, k, &r.correlation, &m, o);
  if (k->statistics & ACTSCOPE_RANK) compare_rank(c, &r.rank, &o->rank);
  if (k->statistics & ACTSCOPE_SIMILARITY) compare_similarity(c, &r.similarity, &o->similarity);
  if (m.x) ref_matrix_free(&m);
}

/* Every z-score. On the CPU, where float64 is not the type, a feature's mean is within 3e-7 of its deviation and its m2 within
 * 6.6e-7, and a float is rounded once. A GPU has moments in double, and rounds to two halves of 11 bits and a weight of 24:
 * 2^-21, and some 2^-36 of the largest where the second half is subnormal. */
static void check_scores(struct bench_input *in, struct compare *c) {
  const struct bench_case *k = in->c;
  const int64_t shape[] = {(int64_t)k->samples, (int64_t)k->features};
  const actscope_tensor tensor = {.data = in->host[0], .dtype = k->dtype, .ndim = 2, .shape = shape};
  const uint64_t n = k->samples, d = k->features;
  const int wide = !in->gpu && k->dtype == ACTSCOPE_FLOAT64;
  const double relative = in->gpu ? 0x1p-21 : wide ? 1e-13 : 4e-7;
  const double absolute = in->gpu ? 1e-10 : wide ? 1e-13 : 3e-7 / sqrt((double)n);
  uint32_t *list = malloc(d * sizeof *list);
  double *z = malloc(n * d * sizeof *z), *want = malloc(n * sizeof *want);
  uint64_t *valid = malloc((d + 1) * sizeof *valid);
  struct ref_matrix m;
  if (!list || !z || !want || !valid) abort();
  ref_matrix_load(&m, &tensor, 0);
  const uint64_t count = ref_valid_features(&m, valid), got = bench_scores_read(in->scores, list, z);
  compare_count(c, "valid features", got, count);
  for (uint64_t v = 0; v < count && got == count; ++v) {
    double mean = 0, norm = 0;
    for (uint64_t s = 0; s < n; ++s) mean += m.x[s * d + valid[v]] / (double)n;
    for (uint64_t s = 0; s < n; ++s) norm += pow(m.x[s * d + valid[v]] - mean, 2);
    for (uint64_t s = 0; s < n; ++s) want[s] = (m.x[s * d + valid[v]] - mean) / sqrt(norm);
    compare_count(c, "feature", list[v], valid[v]);
    compare_array(c, "z", z + v * n, want, n, absolute, relative);
  }
  ref_matrix_free(&m);
  free(list), free(z), free(want), free(valid);
}

void bench_check(struct bench_input *in, struct row *row) {
  struct compare c;
  row->wrong = row->compared = 0;
  row->worst[0] = 0;
  for (size_t l = 0; l < in->c->layers; ++l) {
    compare_begin(&c, "%s, layer %zu", in->c->name, l);
    if (in->scores) check_scores(in, &c); else check_layer(in, l, &c);
    uint64_t wrong = compare_end(&c);
    if (wrong && row->wrong == 0) snprintf(row->worst, sizeof row->worst, "%s", c.text);
    row->wrong += wrong;
    row->compared += c.count;
  }
}
