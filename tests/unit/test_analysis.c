/* test_analysis.c - bottleneck scores, reasons and warnings.
 *
 * Data are made here and measured here, naively and in double precision, so that these tests say whether the scores
 * make sense, whatever the backends do. */
#include <criterion/criterion.h>

#include "analysis/bottleneck.h"
#include "naive_report.h"

TestSuite(analysis, .timeout = 120);

/* ---- Data -------------------------------------------------------------------------------------------------------- */

/* Nearest value of the type, by search in no type's own arithmetic: spacing 2^(e - bits) at exponent e. */
static double rounded(actscope_dtype dtype, double x) {
  int bits = dtype == ACTSCOPE_FLOAT32 ? 23 : dtype == ACTSCOPE_FLOAT16 ? 10 : dtype == ACTSCOPE_BFLOAT16 ? 7
             : dtype == ACTSCOPE_FLOAT8_E4M3 ? 3 : dtype == ACTSCOPE_FLOAT8_E5M2 ? 2 : 52;
  int least = dtype == ACTSCOPE_FLOAT8_E4M3 ? -6 : dtype == ACTSCOPE_FLOAT16 || dtype == ACTSCOPE_FLOAT8_E5M2 ? -14
              : dtype == ACTSCOPE_FLOAT64 ? -1022 : -126;
  int e;
  if (x == 0 || !isfinite(x)) return x;
  frexp(x, &e);
  double spacing = ldexp(1, (e - 1 < least ? least : e - 1) - bits);
  return nearbyint(x / spacing) * spacing;
}

static double *fill(actscope_dtype dtype, size_t n, double (*make)(void)) {
  double *x = malloc((n + !n) * sizeof *x);
  for (size_t i = 0; i < n; ++i) x[i] = rounded(dtype, make());
  return x;
}
static double relu60(void) { double v = normal() - 0.2533471; return v > 0 ? v : 0; } /* 60 % zeros */
static double gelu(void) { double v = normal(); return v * 0.5 * (1 + erf(v * M_SQRT1_2)); }
static double offset(void) { return 100 + normal(); }
static double laplace(void) { double v = log(uniform()); return uniform() < 0.5 ? v : -v; }

static actscope_bottleneck judge(const actscope_layer_report *r) {
  actscope_bottleneck b;
  cr_assert_eq(actscope_rank_bottlenecks(r, NULL, 1, &b), ACTSCOPE_OK);
  return b;
}

/* Measures and frees x, and checks that the reasons are exactly these and the score lies within the bounds. */
static void expect(const char *what, actscope_dtype dtype, double *x, size_t n, size_t d, uint32_t reasons, double low,
                   double high) {
  actscope_layer_report r = measure(dtype, x, n, d);
  actscope_bottleneck b = judge(&r);
  struct ingredients in;
  actscope_ingredients(&r, &in);
  cr_expect(b.reasons == reasons && b.score >= low && b.score <= high,
            "%s %s [%zu, %zu]: score %g (wanted %g .. %g), reasons %u (wanted %u); severities %g %g %g %g %g %g %g",
            what, actscope_dtype_name(dtype), n, d, b.score, low, high, b.reasons, reasons, in.severity[0],
            in.severity[1], in.severity[2], in.severity[3], in.severity[4], in.severity[5], in.severity[6]);
  free(x);
}

/* ---- Scores that make sense -------------------------------------------------------------------------------------- */

static const actscope_dtype all_types[] = {ACTSCOPE_FLOAT32,     ACTSCOPE_FLOAT16,     ACTSCOPE_BFLOAT16,
                                           ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_FLOAT64};

Test(analysis, healthy_layers_score_near_zero_without_reasons) {
  static const size_t shapes[][2] = {{64, 100}, {40, 40}, {41, 40}, {100, 10}, {1000, 2}, {12, 300}, {3, 200}, {30, 1},
                                     {9, 8}, {5, 3}}; /* less than 100 elements prove little: a wider bound */
  struct { const char *name; double (*make)(void); } kinds[] = {
      {"normal", normal}, {"uniform", uniform}, {"laplace", laplace}, {"relu60", relu60}, {"gelu", gelu}};
  state = 1;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; ++k)
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; ++s)
      for (int repeat = 0; repeat < 4; ++repeat) {
        size_t n = shapes[s][0], d = shapes[s][1];
        double *x = fill(ACTSCOPE_FLOAT32, n * d, kinds[k].make);
        expect(kinds[k].name, ACTSCOPE_FLOAT32, x, n, d, 0, 0, n * d < 100 ? 0.15 : 0.03);
      }
  for (int t = 0; t < 6; ++t) {
    expect("normal", all_types[t], fill(all_types[t], 64 * 100, normal), 64, 100, 0, 0, 0.03);
    expect("relu60", all_types[t], fill(all_types[t], 64 * 100, relu60), 64, 100, 0, 0, 0.03);
  }
  expect("mean/std 100", ACTSCOPE_BFLOAT16, fill(ACTSCOPE_BFLOAT16, 64 * 100, offset), 64, 100, 0, 0, 0.03);
}

Test(analysis, one_factor_is_correlated_and_low_rank) {
  double scores[3];
  static const double loading[3] = {0.5, 0.8, 0.99};
  for (int l = 0; l < 3; ++l) {
    size_t n = 64, d = 96;
    double *x = malloc(n * d * sizeof *x);
    state = 2;
    for (size_t s = 0; s < n; ++s) {
      double factor = normal();
      for (size_t f = 0; f < d; ++f) x[s * d + f] = sqrt(loading[l]) * factor + sqrt(1 - loading[l]) * normal();
    }
    actscope_layer_report r = measure(ACTSCOPE_FLOAT64, x, n, d);
    scores[l] = judge(&r).score;
    expect("one factor", ACTSCOPE_FLOAT64, x, n, d, ACTSCOPE_REASON_CORRELATED | ACTSCOPE_REASON_LOW_RANK, 0.25, 0.75);
  }
  cr_expect(scores[0] < scores[1] && scores[1] < scores[2], "scores %g %g %g", scores[0], scores[1], scores[2]);
}

Test(analysis, gone_features_count_in_full) {
  size_t n = 32, d = 80;
  state = 3;
  expect("all dead", ACTSCOPE_FLOAT32, calloc(n * d, sizeof(double)), n, d, ACTSCOPE_REASON_DEAD, 1, 1);
  for (int gone = 0; gone < 3; ++gone) { /* a quarter: constant, dead, half and half */
    double *x = fill(ACTSCOPE_FLOAT32, n * d, normal);
    for (size_t s = 0; s < n; ++s)
      for (size_t f = 0; f < d / 4; ++f) x[s * d + f] = gone == 1 || (gone == 2 && f % 2) ? 0 : 0.5 + (double)f / 20;
    expect(gone == 0 ? "constant" : gone == 1 ? "dead" : "both", ACTSCOPE_FLOAT32, x, n, d,
           (gone != 1 ? ACTSCOPE_REASON_CONSTANT : 0) | (gone != 0 ? ACTSCOPE_REASON_DEAD : 0), 0.2499, 0.27);
  }
  double *x = malloc(n * d * sizeof *x);
  for (size_t i = 0; i < n * d; ++i) x[i] = 7;
  expect("all constant", ACTSCOPE_FLOAT32, x, n, d, ACTSCOPE_REASON_CONSTANT, 1, 1);
}

Test(analysis, zeros_by_chance_are_not_dead_features) {
  for (size_t n = 1; n <= 4; ++n) { /* with 60 % zeros a feature is all zero by chance with 0.6^n */
    state = 4 + n;
    double *x = fill(ACTSCOPE_FLOAT32, n * 4000, relu60);
    actscope_layer_report r = measure(ACTSCOPE_FLOAT32, x, n, 4000 / n > 500 ? 500 : 4000 / n);
    cr_expect(r.health.dead >= 50, "%lu dead", (unsigned long)r.health.dead);
    cr_expect_eq(judge(&r).reasons & (ACTSCOPE_REASON_DEAD | ACTSCOPE_REASON_CONSTANT), 0, "n %zu: reasons %u", n,
                 judge(&r).reasons);
    free(x);
  }
  state = 9;
  double *x = fill(ACTSCOPE_FLOAT32, 2 * 500, relu60); /* but features that are dead beyond that show */
  for (size_t i = 0; i < 1000; ++i)
    if (i % 500 < 250) x[i] = 0;
  actscope_layer_report r = measure(ACTSCOPE_FLOAT32, x, 2, 500);
  cr_expect(judge(&r).reasons & ACTSCOPE_REASON_DEAD);
  free(x);
}

Test(analysis, nonfinite_values_weigh_at_least_half) {
  size_t n = 32, d = 50;
  state = 5;
  double *x = fill(ACTSCOPE_FLOAT32, n * d, normal);
  x[77] = NAN;
  expect("one NaN", ACTSCOPE_FLOAT32, x, n, d, ACTSCOPE_REASON_NONFINITE, 0.5, 0.55);
  x = fill(ACTSCOPE_FLOAT32, n * d, normal);
  for (size_t f = 0; f < d; ++f) x[5 * d + f] = -INFINITY;
  expect("a sample of -inf", ACTSCOPE_FLOAT32, x, n, d, ACTSCOPE_REASON_NONFINITE, 1, 1);
  x = malloc(n * d * sizeof *x);
  for (size_t i = 0; i < n * d; ++i) x[i] = NAN;
  expect("all NaN", ACTSCOPE_FLOAT32, x, n, d, ACTSCOPE_REASON_NONFINITE | ACTSCOPE_REASON_DEAD, 1, 1);
  actscope_layer_report r; /* known from the profile alone */
  memset(&r, 0, sizeof r);
  r.statistics = ACTSCOPE_MOMENTS;
  r.elements = r.profile.count = 100, r.profile.finite = 99, r.profile.nan = 1, r.samples = 10, r.features = 10;
  cr_expect(fabs(judge(&r).score - 0.505) < 1e-12 && judge(&r).reasons == ACTSCOPE_REASON_NONFINITE);
}

Test(analysis, few_samples_and_one_feature) {
  state = 6;
  for (size_t n = 1; n <= 2; ++n)
    for (int t = 0; t < 6; ++t)
      expect("few samples", all_types[t], fill(all_types[t], n * 300, normal), n, 300, 0, 0, 0.03);
  double *x = malloc(40 * sizeof *x);
  for (int i = 0; i < 40; ++i) x[i] = -3;
  expect("one constant feature", ACTSCOPE_FLOAT32, x, 40, 1, ACTSCOPE_REASON_CONSTANT, 1, 1);
  x = malloc(sizeof *x), x[0] = 2;
  expect("one element", ACTSCOPE_FLOAT32, x, 1, 1, 0, 0, 0);
}

Test(analysis, repetition_beyond_the_dtype_is_redundant) {
  size_t n = 64, d = 100;
  state = 7;
  double *x = fill(ACTSCOPE_FLOAT32, n * d, normal);
  for (size_t i = 0; i < n * d; ++i) x[i] = nearbyint(x[i] * 16) / 16;
  expect("steps of 1/16", ACTSCOPE_FLOAT32, x, n, d, ACTSCOPE_REASON_REDUNDANT, 0.08, 0.12);
  x = fill(ACTSCOPE_FLOAT32, n * d, normal);
  for (size_t i = 0; i < n * d; ++i) x[i] = fmin(x[i], 0.1); /* clipped: 46 % of the values are one */
  expect("clipped", ACTSCOPE_FLOAT32, x, n, d, ACTSCOPE_REASON_REDUNDANT, 0.02, 0.12);
  expect("bfloat16 in float32", ACTSCOPE_FLOAT32, fill(ACTSCOPE_BFLOAT16, n * d, normal), n, d,
         ACTSCOPE_REASON_REDUNDANT, 0.02, 0.12);
  x = fill(ACTSCOPE_FLOAT32, n * d, normal); /* repeats inside constant features are those features' */
  for (size_t s = 0; s < n; ++s)
    for (size_t f = 0; f < 60; ++f) x[s * d + f] = 1 + (double)f;
  expect("60 % constant", ACTSCOPE_FLOAT32, x, n, d, ACTSCOPE_REASON_CONSTANT, 0.6, 0.61);
}

Test(analysis, one_outlier_is_low_entropy) {
  state = 8;
  double *x = fill(ACTSCOPE_FLOAT32, 64 * 100, normal);
  x[1234] = 1e6;
  expect("outlier", ACTSCOPE_FLOAT32, x, 64, 100, ACTSCOPE_REASON_LOW_ENTROPY, 0.1, 0.2);
}

/* ---- Ingredients ------------------------------------------------------------------------------------------------- */

Test(analysis, expected_distinct_matches_rounded_data) {
  struct { const char *name; double (*make)(void); double low, high;
  } kinds[] = {/* bounds of counted / expected; above 1 is harmless, below 0.75 would be half way to a reason */
               {"normal", normal, 0.97, 1.35},
               {"relu60", relu60, 0.97, 1.45},
               {"uniform", uniform, 0.97, 1.45},
               {"offset", offset, 0.9, 2.5}};
  for (int k = 0; k < 4; ++k)
    for (int t = 0; t < 6; ++t)
      for (size_t n = 500; n <= 200000; n *= 20) {
        state = 10;
        double *x = fill(all_types[t], n, kinds[k].make);
        actscope_layer_report r = measure(all_types[t], x, n, 1);
        double expected = actscope_expected_distinct(all_types[t], &r.profile, 1);
        double ratio = (double)(r.distinct.count - (r.profile.zero > 0)) / expected;
        cr_expect(ratio >= kinds[k].low && ratio <= kinds[k].high, "%s %s %zu: %g expected, ratio %g", kinds[k].name,
                  actscope_dtype_name(all_types[t]), n, expected, ratio);
        free(x);
      }
}

Test(analysis, expected_distinct_of_corner_cases) {
  actscope_profile p;
  memset(&p, 0, sizeof p);
  p.count = p.finite = p.zero = 100;
  cr_expect(isnan(actscope_expected_distinct(ACTSCOPE_FLOAT32, &p, 1)), "all zero");
  p.zero = 0, p.min = p.max = p.abs_mean = 5e-324, p.l2_norm = 0;
  cr_expect_eq(actscope_expected_distinct(ACTSCOPE_FLOAT64, &p, 1), 1, "one denormal value");
  p.min = p.max = p.abs_mean = 3, p.l2_norm = 30;
  cr_expect_eq(actscope_expected_distinct(ACTSCOPE_FLOAT32, &p, 1), 1, "one value");
  p.negative = 50, p.min = -3;
  cr_expect_eq(actscope_expected_distinct(ACTSCOPE_FLOAT32, &p, 1), 2, "one magnitude, two signs");
  p.min = -1.7e308, p.max = 1.7e308, p.abs_mean = 1e308, p.l2_norm = INFINITY;
  cr_expect(isnan(actscope_expected_distinct(ACTSCOPE_FLOAT64, &p, 1)), "no scale");
  p.min = -2, p.max = 3, p.abs_mean = 1, p.l2_norm = 12;
  double all = actscope_expected_distinct(ACTSCOPE_FLOAT64, &p, 1),
         half = actscope_expected_distinct(ACTSCOPE_FLOAT64, &p, 0.5);
  cr_expect(all > 99 && all <= 100 && half > 49 && half <= 50, "%g, half %g", all, half);
  cr_expect(isnan(actscope_expected_distinct(ACTSCOPE_FLOAT64, &p, 0)));
  p.negative = 10, p.min = -1e-3, p.max = 103, p.abs_mean = 99, p.l2_norm = 10 * sqrt(99 * 99 + 1);
  double few = actscope_expected_distinct(ACTSCOPE_FLOAT32, &p, 1); /* ten values where the fit has no mass at all */
  cr_expect(few > 99 && few <= 100, "%g", few);
}

Test(analysis, uncertainty_of_a_sketch_is_not_redundancy) {
  actscope_layer_report r;
  memset(&r, 0, sizeof r);
  r.statistics = ACTSCOPE_MOMENTS | ACTSCOPE_DISTINCT;
  r.elements = r.profile.count = r.profile.finite = 100000, r.samples = 100, r.features = 1000;
  r.profile.zero = 50000, r.profile.max = 4, r.profile.abs_mean = 0.4, r.profile.l2_norm = sqrt(50000);
  struct ingredients in;
  for (int sketch = 0; sketch < 2; ++sketch) {
    r.distinct.count = r.distinct.upper = 40000;
    if (sketch) r.distinct.upper = 50500;
    actscope_ingredients(&r, &in);
    double wanted = sketch ? 0 : 0.2;
    cr_expect(fabs(in.severity[REASON_REDUNDANT] - wanted) < 0.02, "%g", in.severity[REASON_REDUNDANT]);
    cr_expect(in.distinct_values == 39999, "one of them is 0: %g", in.distinct_values);
  }
}

Test(analysis, unmeasured_ingredients_leave_the_score_to_the_others) {
  struct ingredients in;
  for (int i = 0; i < ACTSCOPE_REASON_COUNT; ++i) in.severity[i] = NAN;
  cr_expect(isnan(actscope_bottleneck_score(&in)) && actscope_bottleneck_reasons(&in) == 0);
  for (int i = 0; i < ACTSCOPE_REASON_COUNT; ++i) { /* alone, each is the score */
    in.severity[i] = 0.4;
    cr_expect(fabs(actscope_bottleneck_score(&in) - 0.4) < 1e-15, "%d: %g", i, actscope_bottleneck_score(&in));
    in.severity[i] = NAN;
  }
  in.severity[REASON_CORRELATED] = 0.5, in.severity[REASON_REDUNDANT] = 1; /* weights 0.4 and 0.1 */
  cr_expect(fabs(actscope_bottleneck_score(&in) - 0.6) < 1e-15);
  in.severity[REASON_DEAD] = 0.25, in.severity[REASON_CONSTANT] = 0.25, in.severity[REASON_NONFINITE] = 0.5;
  cr_expect(fabs(actscope_bottleneck_score(&in) - (1 - 0.4 * 0.5 * 0.5)) < 1e-15);
  state = 11;
  for (int k = 0; k < 20000; ++k) { /* bounded whatever is measured, and no ingredient lowers it by growing */
    for (int i = 0; i < ACTSCOPE_REASON_COUNT; ++i) {
      double u = uniform() * 1.5;
      in.severity[i] = u > 1.3 ? NAN : u > 1.2 ? 1 : u > 1.1 ? 0 : fmin(u, 1);
    }
    double before = actscope_bottleneck_score(&in);
    int i = (int)(uniform() * ACTSCOPE_REASON_COUNT);
    if (isnan(before) || isnan(in.severity[i])) continue;
    in.severity[i] = in.severity[i] + (1 - in.severity[i]) * uniform();
    double after = actscope_bottleneck_score(&in);
    cr_assert(before >= 0 && after <= 1 && after >= before - 1e-15, "%g then %g", before, after);
  }
}

Test(analysis, a_section_that_was_not_measured_is_not_read) {
  size_t n = 40, d = 30;
  state = 12;
  double *x = calloc(n * d, sizeof *x);
  for (size_t i = 0; i < n * d; ++i) x[i] = i % d < 15 ? 0 : i % d < 20 ? 4 : (double)(i / d) + 0.01 * normal();
  x[29] = NAN;
  actscope_layer_report full = measure(ACTSCOPE_FLOAT64, x, n, d), r;
  free(x);
  cr_expect_eq(judge(&full).reasons & ~(uint32_t)ACTSCOPE_REASON_LOW_ENTROPY,
               ACTSCOPE_REASON_CORRELATED | ACTSCOPE_REASON_LOW_RANK | ACTSCOPE_REASON_DEAD | ACTSCOPE_REASON_CONSTANT |
                   ACTSCOPE_REASON_NONFINITE, "%u", judge(&full).reasons);
  for (uint32_t statistics = 0; statistics <= ACTSCOPE_ALL; ++statistics) {
    r = full;
    r.statistics = statistics;
    struct ingredients in;
    actscope_ingredients(&r, &in);
    int moments = (statistics & ACTSCOPE_MOMENTS) != 0, health = (statistics & ACTSCOPE_HEALTH) != 0;
    cr_assert_eq(!isnan(in.severity[REASON_CORRELATED]), (statistics & ACTSCOPE_CORRELATION) != 0);
    cr_assert_eq(!isnan(in.severity[REASON_LOW_RANK]), (statistics & ACTSCOPE_RANK) != 0);
    cr_assert_eq(!isnan(in.severity[REASON_REDUNDANT]), moments && (statistics & ACTSCOPE_DISTINCT));
    cr_assert_eq(!isnan(in.severity[REASON_DEAD]), health);
    cr_assert_eq(!isnan(in.severity[REASON_CONSTANT]), health);
    cr_assert_eq(!isnan(in.severity[REASON_LOW_ENTROPY]), moments && (statistics & ACTSCOPE_ENTROPY));
    cr_assert_eq(!isnan(in.severity[REASON_NONFINITE]), health || moments);
    actscope_bottleneck b = judge(&r);
    cr_assert(isnan(b.score) ? b.reasons == 0 : b.score >= 0 && b.score <= 1, "statistics %u: %g", statistics, b.score);
  }
  r = full;
  r.status = ACTSCOPE_DEVICE_ERROR;
  cr_expect(isnan(judge(&r).score) && judge(&r).reasons == 0, "a failed layer has no score");
  r = full;
  r.elements = r.samples = 0;
  cr_expect(isnan(judge(&r).score), "an empty layer has no score");
}

/* Sampling noise of the mean of r^2 must not read as correlation, however few the pairs. */
Test(analysis, correlation_counts_only_what_the_pairs_prove) {
  actscope_layer_report r;
  memset(&r, 0, sizeof r);
  r.statistics = ACTSCOPE_CORRELATION;
  r.elements = 20, r.samples = 10, r.features = r.correlation.valid_features = 2;
  r.correlation.pairs = 1;
  r.correlation.mean_square = 0.3; /* 1/9 expected, deviation 0.13: within three of it */
  cr_expect_eq(judge(&r).score, 0);
  r.correlation.pairs = 1000000;
  double score = judge(&r).score;
  cr_expect(fabs(score - sqrt((0.3 - 1.0 / 9) * 9 / 8)) < 1e-3, "%g", score);
  r.correlation.mean_square = 1;
  cr_expect(judge(&r).score > 0.999 && judge(&r).score <= 1);
  r.correlation.pairs = 0;
  cr_expect(isnan(judge(&r).score));
  r.correlation.pairs = 1, r.samples = 2;
  cr_expect(isnan(judge(&r).score), "two samples: r is +-1 whatever the data");
}

/* ---- Ranking and words ------------------------------------------------------------------------------------------- */

Test(analysis, ranking_is_by_score_then_layer_with_unscored_layers_last) {
  enum { count = 40 };
  actscope_layer_report r[count];
  actscope_bottleneck b[count];
  memset(r, 0, sizeof r);
  for (int i = 0; i < count; ++i) {
    r[i].elements = 100, r[i].samples = 10, r[i].features = 10;
    r[i].statistics = i % 4 == 1 ? 0 : ACTSCOPE_HEALTH;
    r[i].health.dead = r[i].health.constant = (uint64_t)(i * 7 % 5);
  }
  cr_assert_eq(actscope_rank_bottlenecks(r, NULL, count, b), ACTSCOPE_OK);
  int seen[count] = {0};
  for (int i = 0; i < count; ++i) {
    cr_assert(b[i].layer < count && !seen[b[i].layer]++);
    double wanted = r[b[i].layer].statistics ? (double)r[b[i].layer].health.dead / 10 : NAN;
    cr_expect(isnan(wanted) ? isnan(b[i].score) : fabs(b[i].score - wanted) < 1e-15);
    if (i == 0) continue;
    if (isnan(b[i - 1].score)) cr_expect(isnan(b[i].score) && b[i - 1].layer < b[i].layer);
    else cr_expect(isnan(b[i].score) || b[i - 1].score > b[i].score ||
                   (b[i - 1].score == b[i].score && b[i - 1].layer < b[i].layer));
  }
  actscope_role roles[count];
  for (int i = 0; i < count; ++i) roles[i] = (actscope_role)(i % 3);
  cr_assert_eq(actscope_rank_bottlenecks(r, roles, count, b), ACTSCOPE_OK);
  for (int i = 0; i < count; ++i) { /* gradients and weights have no score and come last, in order, as what was not measured */
    const size_t l = b[i].layer;
    cr_expect_eq(isnan(b[i].score), l % 3 != 0 || !r[l].statistics, "%zu", l);
    if (isnan(b[i].score)) cr_expect(b[i].reasons == 0 && (i == 0 || !isnan(b[i - 1].score) || b[i - 1].layer < l));
    else cr_expect(i == 0 || b[i - 1].score >= b[i].score);
  }
  cr_expect_eq(actscope_rank_bottlenecks(NULL, NULL, 0, NULL), ACTSCOPE_OK);
  cr_expect_eq(actscope_rank_bottlenecks(NULL, NULL, 1, b), ACTSCOPE_INVALID_ARGUMENT);
  cr_expect_eq(actscope_rank_bottlenecks(r, NULL, 1, NULL), ACTSCOPE_INVALID_ARGUMENT);
  cr_expect(strlen(actscope_last_error()) > 0);
}

Test(analysis, warnings_carry_their_numbers) {
  actscope_layer_report r;
  memset(&r, 0, sizeof r);
  r.statistics = ACTSCOPE_ALL;
  r.elements = 123456789, r.samples = 2, r.features = 4321;
  r.profile.nan = 17, r.profile.positive_inf = 1, r.health.nonfinite = 5;
  r.correlation.pairs = 777, r.correlation.pairs_total = 8888, r.correlation.valid_features = 1;
  static const char *const numbers[ACTSCOPE_WARN_COUNT][4] = {{"123456789"},
                                                              {"17 NaN", "1 infinity", "5 of 4321"},
                                                              {"4321", "strips"},
                                                              {"777 of 8888"},
                                                              {"123456789", "several"},
                                                              {"2 samples", "4321"},
                                                              {"2 samples", "+1"},
                                                              {"1 of 4321"}};
  char text[300];
  for (int set = 0; set < ACTSCOPE_WARN_COUNT; ++set) {
    r.warnings = 1u << set;
    for (int bit = 0; bit < ACTSCOPE_WARN_COUNT; ++bit) {
      strcpy(text, "untouched");
      int was = actscope_warning_text(&r, bit, text, sizeof text);
      cr_assert_eq(was, bit == set, "bit %d with %d set", bit, set);
      if (!was) cr_assert_str_empty(text);
      for (int k = 0; was && k < 4 && numbers[bit][k]; ++k)
        cr_expect(strstr(text, numbers[bit][k]), "\"%s\" lacks \"%s\"", text, numbers[bit][k]);
      if (was) cr_expect(strlen(text) < 160 && !strchr(text, '\n'), "%s", text);
    }
  }
  r.warnings = ~0u;
  cr_expect_eq(actscope_warning_text(&r, -1, text, sizeof text), 0);
  cr_expect_eq(actscope_warning_text(&r, ACTSCOPE_WARN_COUNT, text, sizeof text), 0);
  cr_expect_eq(actscope_warning_text(NULL, 0, text, sizeof text), 0);
  r.statistics = 0; /* sections that are not filled are not quoted */
  for (int bit = 0; bit < ACTSCOPE_WARN_COUNT; ++bit) {
    cr_expect_eq(actscope_warning_text(&r, bit, text, sizeof text), 1);
    cr_expect(!strstr(text, "17"), "%s", text);
  }
}

Test(analysis, texts_are_cut_to_size) {
  actscope_layer_report r;
  memset(&r, 0, sizeof r);
  r.warnings = ~0u, r.elements = 10;
  char text[24], whole[300];
  actscope_warning_text(&r, 0, whole, sizeof whole);
  for (size_t size = 0; size <= 20; ++size) {
    memset(text, '#', sizeof text);
    cr_expect_eq(actscope_warning_text(&r, 0, text, size), 1);
    if (size > 0) cr_expect(strlen(text) == size - 1 && memcmp(text, whole, size - 1) == 0, "size %zu: %s", size, text);
    for (size_t i = size; i < sizeof text; ++i) cr_assert_eq(text[i], '#', "size %zu wrote byte %zu", size, i);
  }
  cr_expect_eq(actscope_warning_text(&r, 0, NULL, 10), 1);
  r.warnings = 0;
  memset(text, '#', sizeof text);
  cr_expect_eq(actscope_warning_text(&r, 0, text, 0), 0);
  cr_expect_eq(text[0], '#');
  cr_expect_eq(actscope_reason_text(NULL, &r, 0, text, 1), 0);
  cr_expect_eq(text[0], 0);
}

Test(analysis, reasons_carry_their_numbers) {
  actscope_layer_report r;
  memset(&r, 0, sizeof r);
  r.statistics = ACTSCOPE_ALL, r.dtype = ACTSCOPE_FLOAT32;
  r.elements = 6400, r.samples = 64, r.features = 100;
  r.profile = (actscope_profile){.count = 6400,
                                 .finite = 6397,
                                 .nan = 3,
                                 .zero = 0,
                                 .min = 1e-5,
                                 .max = 4,
                                 .abs_mean = 0.8,
                                 .l2_norm = 80,
                                 .entropy = 0.25};
  r.distinct = (actscope_distinct){.count = 43, .lower = 43, .upper = 43};
  r.health = (actscope_health){.constant = 41, .nonfinite = 3, .dead = 18};
  r.correlation = (actscope_correlation){.pairs = 1596, .pairs_total = 1596, .valid_features = 56, .mean_abs = 0.5512,
                                         .mean_square = 0.4, .noise_floor = 0.1009, .adjusted_rms = 0.6277};
  r.rank.effective_rank = 4.56;
  static const char *const numbers[ACTSCOPE_REASON_COUNT][4] = {
      {"0.63", "0.55", "0.10"}, {"4.6", "35."}, {"42 distinct", "float32"}, {"18 of 100"}, {"23 of 100"}, {"0.25", "%"},
      {"3 NaN", "3 of 100"}};
  actscope_bottleneck b = judge(&r);
  cr_assert_eq(b.reasons, (1u << ACTSCOPE_REASON_COUNT) - 1, "reasons %u", b.reasons);
  char text[300];
  for (int bit = 0; bit < ACTSCOPE_REASON_COUNT; ++bit) {
    cr_expect_eq(actscope_reason_text(&b, &r, bit, text, sizeof text), 1);
    cr_expect(strlen(text) < 120 && !strchr(text, '\n'), "%s", text);
    for (int k = 0; k < 4 && numbers[bit][k]; ++k)
      cr_expect(strstr(text, numbers[bit][k]), "\"%s\" lacks \"%s\"", text, numbers[bit][k]);
    actscope_bottleneck other = b;
    other.reasons &= ~(1u << bit);
    cr_expect_eq(actscope_reason_text(&other, &r, bit, text, sizeof text), 0);
    cr_expect_str_empty(text);
  }
  cr_expect_eq(actscope_reason_text(&b, &r, -1, text, sizeof text), 0);
  cr_expect_eq(actscope_reason_text(&b, &r, ACTSCOPE_REASON_COUNT, text, sizeof text), 0);
  cr_expect_eq(actscope_reason_text(&b, NULL, 0, text, sizeof text), 0);
  r.correlation.mean_abs = NAN; /* the Gram method knows no mean |r| */
  cr_expect_eq(actscope_reason_text(&b, &r, REASON_CORRELATED, text, sizeof text), 1);
  cr_expect(!strstr(text, "nan") && strstr(text, "0.63"), "%s", text);
}
