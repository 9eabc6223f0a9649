/* test_pairs_kernel.c - the kernels of pairs against each other: that of sm_90a, asked for by the environment, and the other one. */
#include "gpu/plan_tests.h"

enum { MOST_FEATURES = 515 };

/* Pairs by the kernel of sm_90a, when asked for: the pairs of the other one, and its numbers to rounding. */
void test_pairs_kernel(void) {
  const char *name = "ACTSCOPE_CORRELATION_KERNEL", *was = getenv(name);
  char *before = was ? strdup(was) : NULL;
  static const struct { uint64_t samples, features; } shapes[] = {{128, 300}, {64, 515}, {200, 257}, {600, 140}, {33, 129}, {1100, 40}};
  struct network *n = network_new();
  for (int i = 0; i < (small ? 4 : 6); ++i)
    network_add(n, i % 2 ? DATA_CONSTANT_COLUMNS : DATA_FACTORS, types[i % 3], shapes[i].samples, shapes[i].features, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_HEALTH;
  o.correlation = ACTSCOPE_CORRELATION_EXACT;
  o.pair_functionals = ACTSCOPE_PAIRS_ALL;
  actscope_plan *p = NULL;
  setenv(name, "wgmm", 1);
  CHECK_STATUS(actscope_plan_create(&p, n->layers, n->count, &o), ACTSCOPE_INVALID_ARGUMENT);
  CHECK(p == NULL && strstr(actscope_last_error(), "ACTSCOPE_CORRELATION_KERNEL=wgmm: auto, mma or wgmma") != NULL);
  setenv(name, "wgmma", 1);
  const actscope_status can = actscope_plan_create(&p, n->layers, n->count, &o);
  actscope_plan_destroy(p);
  if (can != ACTSCOPE_OK) { /* another architecture, or a build without sm_90a: said, not passed over */
    CHECK(can == ACTSCOPE_UNSUPPORTED && strstr(actscope_last_error(), "wgmma") != NULL);
    CHECK(!hook_sim() || getenv("SIMT_SHARED")); /* sim is an sm_90, but where it is asked for less shared memory */
  }
  for (int round = 0; can == ACTSCOPE_OK && round < 3; ++round) {
    actscope_layer_report *reports[2];
    float *told[2]; /* of every feature of every layer: the mean, then the largest */
    o.precision = round == 0 ? ACTSCOPE_PRECISION_FP16 : ACTSCOPE_PRECISION_FP32;
    o.correlation = round == 2 ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, o.pairs = 3000;
    for (int k = 0; k < 2; ++k) {
      setenv(name, k ? "wgmma" : "mma", 1);
      p = plan_of(n, &o);
      reports[k] = calloc(n->count, sizeof *reports[k]);
      told[k] = calloc(n->count * 2 * MOST_FEATURES, sizeof *told[k]);
      CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
      for (size_t i = 0; i < n->count; ++i) {
        float *of = told[k] + i * 2 * MOST_FEATURES;
        CHECK_STATUS(actscope_plan_report(p, i, &reports[k][i]), ACTSCOPE_OK);
        CHECK_STATUS(actscope_plan_feature_correlations(p, i, of, of + MOST_FEATURES, shapes[i].features), ACTSCOPE_OK);
      }
      plan_end(p);
    }
    for (size_t i = 0; i < n->count; ++i) {
      const actscope_correlation *a = &reports[0][i].correlation, *b = &reports[1][i].correlation;
      compare_reports(n->names[i], &reports[1][i], &reports[0][i]);
      note(fabs(a->mean_abs - b->mean_abs) <= 2e-6 && fabs(a->mean_square - b->mean_square) <= 2e-6 && fabs(a->mean - b->mean) <= 2e-6, __LINE__,
           "%s: mean |r| %.9g and %.9g, mean r^2 %.9g and %.9g, mean r %.9g and %.9g", n->names[i], a->mean_abs, b->mean_abs, a->mean_square,
           b->mean_square, a->mean, b->mean);
      note(a->max_abs > 0 && b->pairs > 0, __LINE__, "%s: no pairs", n->names[i]);
      double high = 0;
      for (uint64_t f = 0; f < shapes[i].features; ++f) {
        const float *x = told[0] + i * 2 * MOST_FEATURES + f, *y = told[1] + i * 2 * MOST_FEATURES + f;
        for (int m = 0; m < 2 * MOST_FEATURES; m += MOST_FEATURES)
          note(isnan(x[m]) ? isnan(y[m]) : fabs(x[m] - y[m]) <= 3e-6, __LINE__, "%s, %s |r| of %llu: %.9g and %.9g",
               n->names[i], m ? "largest" : "mean", (unsigned long long)f, x[m], y[m]);
        if (y[MOST_FEATURES] > high) high = y[MOST_FEATURES];
      }
      note(fabs(high - b->max_abs) <= 1e-7, __LINE__, "%s: the largest |r| of a feature is %.9g, of all %.9g", n->names[i],
           high, b->max_abs);
    }
    for (int k = 0; k < 2; ++k) free(reports[k]), free(told[k]);
  }
  if (before) setenv(name, before, 1); else unsetenv(name);
  free(before);
  network_free(n);
}
