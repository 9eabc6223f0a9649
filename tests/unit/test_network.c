/* test_network.c - the five families of scores: healthy networks read near 0, each fault alone is seen, and the faults
 * of the formulas they correct are not there. Reports are measured naively from data made here. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "analysis/network.h"
#include "naive_report.h"

TestSuite(network, .timeout = 240);

#define INGREDIENT(name) s.ingredient[ACTSCOPE_INGREDIENT_##name]
#define SCORE(name) s.score[ACTSCOPE_SCORE_##name]
#define NEAR(got, want, bound) cr_expect(fabs((got) - (want)) <= (bound), #got ": %g, want %g", (double)(got), (double)(want))

static actscope_network_scores alone(const actscope_layer_report *r) {
  actscope_network_scores s;
  size_t n = 99;
  cr_assert_eq(actscope_network_analyze(r, NULL, NULL, 1, &s, &n), ACTSCOPE_OK);
  cr_assert_eq(n, 1);
  return s;
}

/* A layer with its gradient. */
static actscope_network_scores with_gradient(const actscope_layer_report *a, const actscope_layer_report *g) {
  actscope_layer_report r[2] = {*a, *g};
  const actscope_role roles[2] = {ACTSCOPE_ROLE_ACTIVATION, ACTSCOPE_ROLE_GRADIENT};
  const char *names[2] = {"x", "x"};
  actscope_network_scores s;
  size_t n;
  cr_assert_eq(actscope_network_analyze(r, roles, names, 2, &s, &n), ACTSCOPE_OK);
  cr_assert(n == 1 && s.gradient == 1);
  return s;
}

enum { N = 64, D = 40 };
static double x[N * D];
static actscope_layer_report make(double (*element)(void)) {
  for (int i = 0; i < N * D; ++i) x[i] = element();
  return measure(ACTSCOPE_FLOAT32, x, N, D);
}
static double relu(void) { double v = normal(); return v > 0 ? v : 0; }
static double gelu(void) { double v = normal(); return v * 0.5 * (1 + erf(v * M_SQRT1_2)); }
static double leaky(void) { double v = normal(); return v > 0 ? v : 0.01 * v; }
static double elu(void) { double v = normal(); return v > 0 ? v : expm1(v); }
static double relu6(void) { double v = normal(); return v > 0 ? fmin(v, 6) : 0; }
static double tanh1(void) { return tanh(normal()); }
static double tanh3(void) { return tanh(3 * normal()); }
static double tanh10(void) { return tanh(10 * normal()); }
static double sigmoid(void) { return 1 / (1 + exp(-normal())); }
static double softplus(void) { return log1p(exp(normal())); }
static double uniform2(void) { return 2 * uniform() - 1; }
static double offset(void) { return 100 + normal(); }
static double sign(void) { return normal() > 0 ? 1 : -1; }
static double laplace(void) { double v = log(uniform()); return uniform() < 0.5 ? v : -v; }
static double zero(void) { return 0; }
static double five(void) { return 5; }
static double hard(void) { return fmax(-1, fmin(1, 2 * normal())); } /* 62 % at the ends */

/* ---- Healthy layers ---------------------------------------------------------------------------------------------- */

Test(network, healthy_layers_score_near_zero_without_reasons) {
  struct { const char *name; double (*make)(void); } kinds[] = {
      {"normal", normal}, {"relu", relu}, {"gelu", gelu}, {"leaky relu", leaky}, {"elu", elu}, {"relu6", relu6}, {"tanh", tanh1},
      {"sigmoid", sigmoid}, {"softplus", softplus}, {"uniform", uniform2}, {"offset", offset}, {"laplace", laplace}};
  state = 1;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; ++k) {
    actscope_layer_report r = make(kinds[k].make);
    actscope_network_scores s = alone(&r);
    cr_expect_eq(s.reasons, 0, "%s: reasons %x", kinds[k].name, s.reasons);
    for (int f = 0; f < ACTSCOPE_SCORE_COUNT; ++f)
      if (f == ACTSCOPE_SCORE_GRADIENT_FLOW || (f == ACTSCOPE_SCORE_DEPTH && kinds[k].make == offset))
        cr_expect(isnan(s.score[f]), "%s", kinds[k].name); /* quantiles of float32 do not resolve the offset one's ends */
      else cr_expect(s.score[f] >= 0 && s.score[f] <= 0.06, "%s: %s %g", kinds[k].name, actscope_score_name(f), s.score[f]);
  }
}

/* ---- Each ingredient ---------------------------------------------------------------------------------------------- */

Test(network, saturation_is_the_share_at_the_largest_magnitude) {
  struct { double (*make)(void); double low, high; } cases[] = {
      {tanh1, 0, 0.02}, {tanh3, 0.4, 0.65}, {tanh10, 0.65, 0.95}, {hard, 0.45, 0.75}, {sign, 1, 1}, {five, 1, 1}, {zero, 1, 1},
      {relu, 0, 0}, {gelu, 0, 0}, {leaky, 0, 0}, {uniform2, 0, 0.02}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k) {
    state = 2;
    actscope_layer_report r = make(cases[k].make);
    actscope_network_scores s = alone(&r);
    cr_expect(INGREDIENT(SATURATION) >= cases[k].low && INGREDIENT(SATURATION) <= cases[k].high, "case %zu: %g", k,
              INGREDIENT(SATURATION));
    cr_expect_eq(s.reasons >> ACTSCOPE_INGREDIENT_SATURATION & 1, cases[k].low >= 0.3);
  }
  state = 3; /* one negative value among a ReLU's, or the scale, changes nothing */
  actscope_layer_report r = make(tanh3);
  double before = alone(&r).ingredient[ACTSCOPE_INGREDIENT_SATURATION];
  for (int i = 0; i < N * D; ++i) x[i] *= 1e-3;
  r = measure(ACTSCOPE_FLOAT32, x, N, D);
  NEAR(alone(&r).ingredient[ACTSCOPE_INGREDIENT_SATURATION], before, 1e-12);
  r = make(relu);
  x[7] = -0.001;
  r = measure(ACTSCOPE_FLOAT32, x, N, D);
  cr_expect_eq(alone(&r).ingredient[ACTSCOPE_INGREDIENT_SATURATION], 0);
  for (int i = 0; i < N * D; ++i) x[i] = 1e4 + (i % 7) * 0.1; /* float32 quantiles do not tell these apart */
  r = measure(ACTSCOPE_FLOAT32, x, N, D);
  cr_expect(isnan(alone(&r).ingredient[ACTSCOPE_INGREDIENT_SATURATION]));
}

Test(network, similarity_takes_all_samples_and_leaves_a_common_offset_out) {
  state = 4;
  actscope_layer_report r = make(sigmoid); /* mean cosine 0.86 by the offset alone */
  cr_expect(r.similarity.mean_cosine > 0.8);
  NEAR(alone(&r).ingredient[ACTSCOPE_INGREDIENT_SIMILARITY], 0, 1e-9);
  double last = -1;
  for (int k = 0; k <= 4; ++k) { /* the same sample with noise; only the samples after the tenth are alike */
    static const double noise[] = {1, 0.5, 0.25, 0.1, 0};
    double common[D];
    for (int f = 0; f < D; ++f) common[f] = normal();
    for (int s = 0; s < N; ++s)
      for (int f = 0; f < D; ++f) x[s * D + f] = s < 10 ? normal() : common[f] + noise[k] * normal();
    r = measure(ACTSCOPE_FLOAT32, x, N, D);
    actscope_network_scores s = alone(&r);
    cr_expect(INGREDIENT(SIMILARITY) >= last, "noise %g: %g after %g", noise[k], INGREDIENT(SIMILARITY), last);
    last = INGREDIENT(SIMILARITY);
  }
  cr_expect(last > 0.35 && last < 0.55, "54 of 64 samples are one: %g", last);
  double row[D];
  for (int f = 0; f < D; ++f) row[f] = normal();
  for (int i = 0; i < N * D; ++i) x[i] = row[i % D] * (1 + i / D); /* one direction */
  r = measure(ACTSCOPE_FLOAT32, x, N, D);
  actscope_network_scores s = alone(&r);
  NEAR(INGREDIENT(SIMILARITY), 1, 1e-9);
  cr_expect(s.reasons & 1u << ACTSCOPE_INGREDIENT_SIMILARITY);
  cr_expect(SCORE(WIDTH) >= 0.49, "%g", SCORE(WIDTH));
  r = make(zero); /* samples of zeros are not diverse: nothing is known of them, and the layer is unused */
  s = alone(&r);
  cr_expect(isnan(INGREDIENT(SIMILARITY)));
  NEAR(SCORE(WIDTH), 1, 0);
}

Test(network, information_loss_does_not_depend_on_size) {
  static double big[64 * 400];
  actscope_layer_report r[4];
  actscope_network_scores all[4];
  size_t n;
  state = 5;
  for (int i = 0; i < 64 * 400; ++i) big[i] = normal();
  r[0] = measure(ACTSCOPE_FLOAT32, big, 64, 400); /* 400 features, then 40, then 8: nothing but the size changes */
  r[1] = measure(ACTSCOPE_FLOAT32, big, 64, 40);
  r[2] = measure(ACTSCOPE_FLOAT32, big, 64, 8);
  for (int s = 0; s < 64; ++s) { /* 40 mixtures of two */
    double a = normal(), b = normal();
    for (int f = 0; f < 40; ++f) big[s * 40 + f] = a * sin(f) + b * cos(f) + 0.01 * normal();
  }
  r[3] = measure(ACTSCOPE_FLOAT32, big, 64, 40);
  cr_assert_eq(actscope_network_analyze(r, NULL, NULL, 4, all, &n), ACTSCOPE_OK);
  cr_assert_eq(n, 4);
  cr_expect(isnan(all[0].ingredient[ACTSCOPE_INGREDIENT_INFORMATION_LOSS]) && all[0].before == ACTSCOPE_NO_LAYER);
  for (int k = 1; k < 3; ++k) {
    cr_expect_eq(all[k].before, (size_t)k - 1);
    cr_expect(all[k].ingredient[ACTSCOPE_INGREDIENT_INFORMATION_LOSS] < 0.03, "%d: %g", k,
              all[k].ingredient[ACTSCOPE_INGREDIENT_INFORMATION_LOSS]);
  }
  double loss = all[3].ingredient[ACTSCOPE_INGREDIENT_INFORMATION_LOSS];
  cr_expect(loss > 0.7 && loss < 0.9, "%g", loss);
  cr_expect(all[3].reasons & 1u << ACTSCOPE_INGREDIENT_INFORMATION_LOSS);
  r[1].statistics &= ~(uint32_t)ACTSCOPE_RANK; /* a layer that does not say is stepped over */
  cr_assert_eq(actscope_network_analyze(r, NULL, NULL, 4, all, &n), ACTSCOPE_OK);
  cr_expect(isnan(all[1].ingredient[ACTSCOPE_INGREDIENT_INFORMATION_LOSS]) && all[2].before == 0);
  memset(big, 0, sizeof big);
  r[1] = measure(ACTSCOPE_FLOAT32, big, 64, 40); /* a dead layer loses all; what comes after it has nothing to lose */
  r[2] = r[1];
  cr_assert_eq(actscope_network_analyze(r, NULL, NULL, 3, all, &n), ACTSCOPE_OK);
  NEAR(all[1].ingredient[ACTSCOPE_INGREDIENT_INFORMATION_LOSS], 1, 0);
  NEAR(all[2].ingredient[ACTSCOPE_INGREDIENT_INFORMATION_LOSS], 0, 0);
  NEAR(all[1].score[ACTSCOPE_SCORE_CAPACITY], 1, 0);
  NEAR(all[1].score[ACTSCOPE_SCORE_DEPTH], 1, 0);
}

Test(network, capacity_is_bounded_and_counts_dead_features) {
  static double wide[16 * 2000];
  state = 6; /* many more elements than weights, which read as -226 */
  for (int i = 0; i < 16 * 2000; ++i) wide[i] = normal();
  actscope_layer_report r[2] = {measure(ACTSCOPE_FLOAT32, wide, 16, 2000), measure(ACTSCOPE_FLOAT32, wide, 30, 9)};
  const actscope_role roles[2] = {ACTSCOPE_ROLE_ACTIVATION, ACTSCOPE_ROLE_WEIGHT};
  const char *names[2] = {"conv", "conv"};
  actscope_network_scores s;
  size_t n;
  cr_assert_eq(actscope_network_analyze(r, roles, names, 2, &s, &n), ACTSCOPE_OK);
  cr_expect(n == 1 && s.weight == 1 && s.gradient == ACTSCOPE_NO_LAYER);
  cr_expect(SCORE(CAPACITY) >= 0 && SCORE(CAPACITY) < 0.05, "%g", SCORE(CAPACITY));
  for (int o = 0; o < 30; ++o) /* a weight of rank 2 */
    for (int i = 0; i < 9; ++i) wide[o * 9 + i] = sin(o) * i + cos(o) * (9 - i);
  r[1] = measure(ACTSCOPE_FLOAT32, wide, 30, 9);
  cr_assert_eq(actscope_network_analyze(r, roles, names, 2, &s, &n), ACTSCOPE_OK);
  cr_expect(INGREDIENT(WEIGHT_RANK_DEFICIT) > 0.6 && SCORE(CAPACITY) > 0.25 && SCORE(CAPACITY) < 0.4, "%g, %g",
            INGREDIENT(WEIGHT_RANK_DEFICIT), SCORE(CAPACITY));
  for (int s1 = 0; s1 < N; ++s1) /* half the features dead */
    for (int f = 0; f < D; ++f) x[s1 * D + f] = f % 2 ? 0 : normal();
  actscope_layer_report half = measure(ACTSCOPE_FLOAT32, x, N, D);
  s = alone(&half);
  NEAR(INGREDIENT(UNUSED), 0.5, 1e-12);
  cr_expect(SCORE(CAPACITY) > 0.5 && SCORE(CAPACITY) < 0.7, "%g", SCORE(CAPACITY));
  for (int i = 0; i < N * D; ++i) x[i] = -1 - uniform(); /* features that are always negative are used */
  half = measure(ACTSCOPE_FLOAT32, x, N, D);
  NEAR(alone(&half).ingredient[ACTSCOPE_INGREDIENT_UNUSED], 0, 0);
}

/* ---- Gradients ------------------------------------------------------------------------------------------------------ */

Test(network, gradient_fault_knows_no_scale) {
  state = 7;
  actscope_layer_report a = make(normal);
  for (int scale = -30; scale <= 6; scale += 6) { /* 1e-30 .. 1e6: a sound gradient */
    for (int i = 0; i < N * D; ++i) x[i] = pow(10, scale) * normal();
    actscope_layer_report g = measure(ACTSCOPE_FLOAT64, x, N, D);
    actscope_network_scores s = with_gradient(&a, &g);
    NEAR(INGREDIENT(GRADIENT_FAULT), 0, 0);
    NEAR(SCORE(GRADIENT_FLOW), 0, 0);
  }
  actscope_layer_report g = make(normal); /* one NaN is neither health nor the end of everything */
  x[3] = NAN;
  g = measure(ACTSCOPE_FLOAT32, x, N, D);
  actscope_network_scores s = with_gradient(&a, &g);
  NEAR(INGREDIENT(GRADIENT_FAULT), 0.5 + 0.5 / D, 1e-12);
  g = make(zero);
  s = with_gradient(&a, &g);
  NEAR(INGREDIENT(GRADIENT_FAULT), 1, 0);
  cr_expect(isnan(INGREDIENT(GRADIENT_NOISE)) && SCORE(GRADIENT_FLOW) == 1);
  for (int i = 0; i < N * D; ++i) x[i] = i % D < 10 ? 0 : normal(); /* a quarter of the features has none */
  g = measure(ACTSCOPE_FLOAT32, x, N, D);
  s = with_gradient(&a, &g);
  NEAR(INGREDIENT(GRADIENT_FAULT), 0.25, 1e-12);
  char text[200];
  actscope_layer_report pair[2] = {a, g};
  cr_expect(actscope_ingredient_text(&s, pair, ACTSCOPE_INGREDIENT_GRADIENT_FAULT, text, sizeof text) && strstr(text, "10 of 40"),
            "%s", text);
  g = make(relu); /* the zeros that a pooling layer and a ReLU leave are none */
  g.profile.subnormal = 0;
  NEAR(with_gradient(&a, &g).ingredient[ACTSCOPE_INGREDIENT_GRADIENT_FAULT], 0, 0);
  g.profile.subnormal = (g.profile.finite - g.profile.zero) / 5; /* a fifth has underflowed */
  s = with_gradient(&a, &g);
  NEAR(INGREDIENT(GRADIENT_FAULT), 0.2, 1e-3);
  pair[1] = g;
  cr_expect(actscope_ingredient_text(&s, pair, ACTSCOPE_INGREDIENT_GRADIENT_FAULT, text, sizeof text) && strstr(text, "20 %"), "%s",
            text);
}

Test(network, gradient_noise_is_not_always_one) {
  state = 8;
  actscope_layer_report a = make(normal);
  double last = 2;
  for (int k = 0; k < 5; ++k) { /* gradients of mean 0 with a common direction of growing strength */
    static const double common[] = {0, 0.1, 0.3, 1, 3};
    for (int i = 0; i < N * D; ++i) x[i] = common[k] * (i % D % 2 ? 1 : -1) + normal();
    actscope_layer_report g = measure(ACTSCOPE_FLOAT64, x, N, D);
    double noise = with_gradient(&a, &g).ingredient[ACTSCOPE_INGREDIENT_GRADIENT_NOISE];
    double square = common[k] * common[k]; /* a share s^2/(1 + s^2) of a sample's energy is signal */
    double c = square / (1 + square), want = (1 - c) / (c * N + 1 - c);
    cr_expect(fabs(noise - want) < (k < 2 ? 0.35 : 0.03), "strength %g: %g, want about %g", common[k], noise, want);
    cr_expect(noise < last && noise >= 0 && noise <= 1);
    last = noise;
  }
  cr_expect(last < 0.01);
}

/* Gradients of a network, from the loss backwards, each `factor` times the one after it; widths differ. */
static void backwards(double factor, int layers, actscope_network_scores *s, actscope_layer_report *r) {
  static actscope_role roles[200];
  static const char *names[200];
  static char text[100][16];
  double scale = 1;
  size_t n;
  for (int k = layers; k-- > 0; scale *= factor) {
    int d = k % 3 == 0 ? 40 : k % 3 == 1 ? 10 : 20; /* the same norm a sample, whatever the width */
    for (int i = 0; i < 16 * d; ++i) x[i] = scale * normal() / sqrt(d);
    r[layers + k] = measure(ACTSCOPE_FLOAT64, x, 16, (size_t)d);
    for (int i = 0; i < 16 * d; ++i) x[i] = normal();
    r[k] = measure(ACTSCOPE_FLOAT32, x, 16, (size_t)d);
    snprintf(text[k], sizeof text[k], "%d", k);
    names[k] = names[layers + k] = text[k];
    roles[k] = ACTSCOPE_ROLE_ACTIVATION, roles[layers + k] = ACTSCOPE_ROLE_GRADIENT;
  }
  cr_assert_eq(actscope_network_analyze(r, roles, names, (size_t)(2 * layers), s, &n), ACTSCOPE_OK);
  cr_assert_eq(n, (size_t)layers);
}

Test(network, gradient_flow_sees_steps_and_slow_decay_both_ways) {
  static actscope_network_scores all[20];
  static actscope_layer_report r[40];
  char text[200];
  state = 9;
  backwards(1, 20, all, r); /* a sound one, through layers of different width */
  for (int k = 0; k < 20; ++k) {
    actscope_network_scores s = all[k];
    cr_expect(SCORE(GRADIENT_FLOW) < 0.02, "layer %d: %g", k, SCORE(GRADIENT_FLOW));
    cr_expect_eq(s.gradient, (size_t)(20 + k));
  }
  for (int up = 0; up < 2; ++up) { /* 0.7 a layer: no step is a fault, but 0.7^19 = 1/877 is */
    backwards(up ? 1 / 0.7 : 0.7, 20, all, r);
    cr_expect(all[0].ingredient[ACTSCOPE_INGREDIENT_GRADIENT_STEP] < 0.1);
    cr_expect(all[0].score[ACTSCOPE_SCORE_GRADIENT_FLOW] > 0.85, "%g", all[0].score[ACTSCOPE_SCORE_GRADIENT_FLOW]);
    cr_expect(all[18].score[ACTSCOPE_SCORE_GRADIENT_FLOW] < 0.1);
    for (int k = 1; k < 20; ++k)
      cr_expect(all[k].score[ACTSCOPE_SCORE_GRADIENT_FLOW] <= all[k - 1].score[ACTSCOPE_SCORE_GRADIENT_FLOW] + 0.1);
    cr_expect(actscope_ingredient_text(&all[0], r, ACTSCOPE_INGREDIENT_GRADIENT_DRIFT, text, sizeof text) &&
                  strstr(text, up ? "grows" : "fades") && strstr(text, "last"), "%s", text);
  }
  backwards(0.05, 3, all, r); /* a step that loses a factor of 20 */
  NEAR(all[0].ingredient[ACTSCOPE_INGREDIENT_GRADIENT_STEP], 1, 0);
  cr_expect(actscope_ingredient_text(&all[0], r, ACTSCOPE_INGREDIENT_GRADIENT_STEP, text, sizeof text) && strstr(text, "next"));
  cr_expect(isnan(all[2].ingredient[ACTSCOPE_INGREDIENT_GRADIENT_STEP]) && all[2].score[ACTSCOPE_SCORE_GRADIENT_FLOW] == 0);
  for (int k = 0; k < 3; ++k) /* a gradient that ends in the middle */
    if (k == 0) r[3] = measure(ACTSCOPE_FLOAT64, (memset(x, 0, sizeof x), x), 16, 40);
  static const actscope_role roles[6] = {0, 0, 0, 1, 1, 1};
  const char *names[6] = {"a", "b", "c", "a", "b", "c"};
  size_t n;
  cr_assert_eq(actscope_network_analyze(r, roles, names, 6, all, &n), ACTSCOPE_OK);
  NEAR(all[0].score[ACTSCOPE_SCORE_GRADIENT_FLOW], 1, 0);
}

/* ---- The whole ----------------------------------------------------------------------------------------------------- */

Test(network, information_flow_is_the_bottleneck_score) {
  state = 10;
  double (*kinds[])(void) = {normal, relu, tanh10, zero, five};
  for (int k = 0; k < 5; ++k) {
    actscope_layer_report r = make(kinds[k]);
    actscope_bottleneck b;
    actscope_rank_bottlenecks(&r, NULL, 1, &b);
    actscope_network_scores s = alone(&r);
    cr_expect_eq(SCORE(INFORMATION_FLOW), b.score);
  }
}

/* The original reads one constant feature as no correlation, and a NaN as none or as no loss. */
Test(network, one_constant_feature_or_one_nan_hides_nothing) {
  actscope_layer_report r;
  for (int k = 0; k < 3; ++k) {
    state = 11;
    for (int i = 0; i < N; ++i) {
      double common = normal();
      for (int f = 0; f < D; ++f) x[i * D + f] = common + 0.1 * normal();
    }
    for (int i = 0; k == 1 && i < N; ++i) x[i * D] = 3;
    if (k == 2) x[5 * D] = NAN;
    r = measure(ACTSCOPE_FLOAT32, x, N, D);
    actscope_network_scores s = alone(&r);
    cr_expect(INGREDIENT(CORRELATION) > 0.9 && INGREDIENT(LOW_RANK) > 0.8, "%d: %g %g", k, INGREDIENT(CORRELATION),
              INGREDIENT(LOW_RANK));
    cr_expect(SCORE(INFORMATION_FLOW) > 0.5 && SCORE(CAPACITY) > 0.5, "%d: %g %g", k, SCORE(INFORMATION_FLOW), SCORE(CAPACITY));
    for (int f = 0; f < ACTSCOPE_SCORE_COUNT; ++f) cr_expect(isnan(s.score[f]) || (s.score[f] >= 0 && s.score[f] <= 1));
  }
}

Test(network, nothing_measured_is_nothing_known) {
  state = 12;
  actscope_layer_report full = make(normal), r[2];
  for (uint32_t mask = 0; mask <= ACTSCOPE_ALL; ++mask) {
    r[0] = r[1] = full;
    r[0].statistics = r[1].statistics = mask;
    actscope_network_scores s = with_gradient(&r[0], &r[1]), whole = with_gradient(&full, &full);
    for (int k = 0; k < ACTSCOPE_INGREDIENT_COUNT; ++k)
      cr_expect(isnan(s.ingredient[k]) || (s.ingredient[k] >= 0 && s.ingredient[k] <= 1), "%u %s", mask, actscope_ingredient_name(k));
    for (int f = 0; f < ACTSCOPE_SCORE_COUNT; ++f) {
      cr_expect(isnan(s.score[f]) || (s.score[f] >= 0 && s.score[f] <= 1), "%u %s", mask, actscope_score_name(f));
      if (mask == 0) cr_expect(isnan(s.score[f]));
      if (mask == ACTSCOPE_ALL) cr_expect(s.score[f] == whole.score[f] || (isnan(s.score[f]) && isnan(whole.score[f])));
    }
    if (!(mask & ACTSCOPE_RANK)) cr_expect(isnan(INGREDIENT(RANK_DEFICIT)));
    if (!(mask & ACTSCOPE_SIMILARITY)) cr_expect(isnan(INGREDIENT(SIMILARITY)) && isnan(INGREDIENT(GRADIENT_NOISE)));
    if (!(mask & ACTSCOPE_QUANTILES)) cr_expect(isnan(INGREDIENT(SATURATION)));
  }
  r[0] = full;
  r[0].status = ACTSCOPE_OUT_OF_MEMORY; /* a layer without numbers */
  actscope_network_scores s = alone(&r[0]);
  for (int f = 0; f < ACTSCOPE_SCORE_COUNT; ++f) cr_expect(isnan(s.score[f]));
  memset(&r[0], 0, sizeof r[0]);
  r[0].statistics = ACTSCOPE_ALL; /* an empty one */
  s = alone(&r[0]);
  for (int f = 0; f < ACTSCOPE_SCORE_COUNT; ++f) cr_expect(isnan(s.score[f]));
}

/* Any report whatever gives scores in 0 .. 1 or none. */
Test(network, bounded_whatever_the_report_says) {
  state = 13;
  actscope_layer_report base = make(relu), r[6];
  const actscope_role roles[6] = {0, 1, 2, 0, 1, 2};
  const char *names[6] = {"a", "a", "a", "b", "b", "b"};
  actscope_network_scores s[6];
  size_t n;
  for (int k = 0; k < 3000; ++k) {
    for (int i = 0; i < 6; ++i) {
      r[i] = base;
      double *fields[] = {&r[i].profile.min, &r[i].profile.max, &r[i].profile.mean, &r[i].profile.variance, &r[i].profile.l2_norm,
                          &r[i].profile.entropy, &r[i].correlation.mean_square, &r[i].rank.effective_rank,
                          &r[i].similarity.mean_cosine, &r[i].profile.quantiles[2], &r[i].profile.quantiles[5]};
      for (int t = 0; t < 3; ++t) {
        static const double odd[] = {NAN, INFINITY, -INFINITY, 0, -1, 1, 1e308, 1e-308, 0.5};
        *fields[(int)(uniform() * 11)] = odd[(int)(uniform() * 9)];
      }
      if (uniform() < 0.2) r[i].health.constant = (uint64_t)(uniform() * (D + 1));
      if (uniform() < 0.2) r[i].profile.zero = (uint64_t)(uniform() * (N * D + 1));
    }
    cr_assert_eq(actscope_network_analyze(r, roles, names, 6, s, &n), ACTSCOPE_OK);
    cr_assert_eq(n, 2);
    for (size_t i = 0; i < n; ++i) {
      char text[300];
      for (int f = 0; f < ACTSCOPE_SCORE_COUNT; ++f) cr_assert(isnan(s[i].score[f]) || (s[i].score[f] >= 0 && s[i].score[f] <= 1));
      for (int f = 0; f < ACTSCOPE_INGREDIENT_COUNT; ++f) {
        double v = s[i].ingredient[f];
        cr_assert(isnan(v) || (v >= 0 && v <= 1), "%s: %g", actscope_ingredient_name(f), v);
        actscope_ingredient_text(&s[i], r, f, text, sizeof text);
      }
    }
  }
}

Test(network, names_pair_gradients_and_weights) {
  state = 14;
  actscope_layer_report a = make(normal), other = measure(ACTSCOPE_FLOAT32, x, N, D / 2), r[8] = {a, a, a, other, a, a, a, a};
  /*                               0    1    2: twice 0   3: of another shape   4        5: of nothing   6        7 */
  const actscope_role roles[8] = {0, 0, 0, 1, 1, 1, 2, 1};
  const char *names[8] = {"a", "b", "a", "a", "a", "c", "b", NULL};
  actscope_network_scores s[8];
  size_t n;
  cr_assert_eq(actscope_network_analyze(r, roles, names, 8, s, &n), ACTSCOPE_OK);
  cr_assert_eq(n, 3);
  cr_expect(s[0].layer == 0 && s[0].gradient == 4 && s[0].weight == ACTSCOPE_NO_LAYER);
  cr_expect(s[1].layer == 1 && s[1].gradient == ACTSCOPE_NO_LAYER && s[1].weight == 6);
  cr_expect(s[2].layer == 2 && s[2].gradient == ACTSCOPE_NO_LAYER && s[2].weight == ACTSCOPE_NO_LAYER);
  cr_assert_eq(actscope_network_analyze(r, roles, NULL, 8, s, &n), ACTSCOPE_OK);
  cr_expect(n == 3 && s[0].gradient == ACTSCOPE_NO_LAYER);
  cr_assert_eq(actscope_network_analyze(r, NULL, names, 8, s, &n), ACTSCOPE_OK);
  cr_expect(n == 8 && s[7].layer == 7);
  cr_assert_eq(actscope_network_analyze(NULL, NULL, NULL, 0, NULL, &n), ACTSCOPE_OK);
  cr_expect_eq(n, 0);
  cr_expect_eq(actscope_network_analyze(NULL, NULL, NULL, 1, s, &n), ACTSCOPE_INVALID_ARGUMENT);
  cr_expect_eq(actscope_network_analyze(r, NULL, NULL, 1, NULL, &n), ACTSCOPE_INVALID_ARGUMENT);
  cr_expect_eq(actscope_network_analyze(r, NULL, NULL, 1, s, NULL), ACTSCOPE_INVALID_ARGUMENT);
  const actscope_role wrong[1] = {(actscope_role)3};
  cr_expect_eq(actscope_network_analyze(r, wrong, NULL, 1, s, &n), ACTSCOPE_INVALID_ARGUMENT);
}

Test(network, names_and_texts) {
  for (int k = 0; k < ACTSCOPE_SCORE_COUNT; ++k) cr_expect_str_neq(actscope_score_name(k), "unknown");
  for (int k = 0; k < ACTSCOPE_INGREDIENT_COUNT; ++k) cr_expect_str_neq(actscope_ingredient_name(k), "unknown");
  cr_expect_str_eq(actscope_score_name(ACTSCOPE_SCORE_COUNT), "unknown");
  cr_expect_str_eq(actscope_ingredient_name(-1), "unknown");
  state = 15; /* every ingredient that can be a reason has words, and only when it is one */
  actscope_layer_report a = make(tanh10), r[5] = {a, a, a, a, a};
  const actscope_role roles[5] = {0, 0, 1, 1, 2};
  const char *names[5] = {"a", "b", "a", "b", "b"};
  actscope_network_scores s[5];
  size_t n;
  cr_assert_eq(actscope_network_analyze(r, roles, names, 5, s, &n), ACTSCOPE_OK);
  char text[300];
  for (int k = -1; k <= ACTSCOPE_INGREDIENT_COUNT; ++k) {
    s[1].reasons = 0;
    strcpy(text, "untouched");
    cr_expect_eq(actscope_ingredient_text(&s[1], r, k, text, sizeof text), 0);
    cr_expect_str_empty(text);
    if (k < 0 || k == ACTSCOPE_INGREDIENT_COUNT || k == ACTSCOPE_INGREDIENT_GRADIENT_NOISE) continue;
    s[1].reasons = 1u << k;
    s[1].next = s[1].last = 3;
    cr_expect_eq(actscope_ingredient_text(&s[1], r, k, text, sizeof text), 1, "%s", actscope_ingredient_name(k));
    cr_expect(strlen(text) > 10 && strlen(text) < 160 && !strchr(text, '\n'), "%s: %s", actscope_ingredient_name(k), text);
  }
  cr_expect_eq(actscope_ingredient_text(NULL, r, 0, text, sizeof text), 0);
  cr_expect_eq(actscope_ingredient_text(&s[0], NULL, 0, text, sizeof text), 0);
}
