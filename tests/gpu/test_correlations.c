/* test_correlations.c - what a plan on a GPU tells of single features, against the plan on the CPU. */
#include "gpu/plan_tests.h"

struct told { float *mean, *max; };
static struct told told_new(uint64_t features) {
  struct told t = {malloc((features + 1) * sizeof(float)), malloc((features + 1) * sizeof(float))};
  memset(t.mean, POISON_ODD, (features + 1) * sizeof(float));
  memset(t.max, POISON_ODD, (features + 1) * sizeof(float));
  return t;
}
static void told_free(struct told t) { free(t.mean), free(t.max); }
static uint64_t features_of(const struct network *n, size_t i) {
  uint64_t features = 1;
  for (int d = 1; d < n->there[i].ndim; ++d) features *= (uint64_t)n->there[i].shape[d];
  return features;
}
static struct told told_by(actscope_plan *p, const struct network *n, size_t i, int line) {
  const uint64_t features = features_of(n, i);
  struct told t = told_new(features);
  const actscope_status status = actscope_plan_feature_correlations(p, i, t.mean, t.max, features);
  note(status == ACTSCOPE_OK, line, "%s: %s", n->names[i], actscope_last_error());
  return t;
}
static void compare_told(const struct network *n, size_t i, struct told got, struct told want, int line) {
  const double slack = 2 * compare_r_slack((uint64_t)(n->there[i].ndim > 0 ? n->there[i].shape[0] : 1));
  struct compare c;
  compare_begin(&c, "%s", n->names[i]);
  for (uint64_t f = 0; f < features_of(n, i); ++f) {
    compare_value(&c, "mean_abs", got.mean[f], want.mean[f], slack, 0);
    compare_value(&c, "max_abs", got.max[f], want.max[f], slack, 0);
  }
  note(features_of(n, i) == 0 || compare_end(&c) == 0, line, "%s", c.text);
}

/* Every content and type; exact and sampled; the least memory gives the same bits, in strips where there are many features. */
void test_told(void) {
  struct network *n = feature_network();
  network_add(n, DATA_HUBS, ACTSCOPE_FLOAT32, 12, small ? 300 : 700, LAYOUT_ROWS);
  network_add(n, DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, 530, 290, LAYOUT_COLUMNS);
  for (int sampled = 0; sampled < 2; ++sampled)
    for (int single = 0; single < 2; ++single) {
      struct told first[MOST];
      actscope_options o = cuda_options(), cpu = options_of(ACTSCOPE_DEVICE_CPU);
      o.statistics = ACTSCOPE_CORRELATION | (single ? 0 : ACTSCOPE_RANK);
      o.pair_functionals = ACTSCOPE_PAIRS_FEATURES;
      o.precision = single ? ACTSCOPE_PRECISION_FP16 : ACTSCOPE_PRECISION_FP32;
      o.correlation = sampled ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, o.pairs = 1500, o.same_pairs = 1;
      cpu.statistics = o.statistics, cpu.pair_functionals = o.pair_functionals, cpu.correlation = o.correlation, cpu.pairs = o.pairs;
      cpu.memory_budget = 1ull << 30;
      actscope_plan *q = plan_of(n, &cpu);
      CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
      for (int least = 0; least < 2; ++least) {
        if (least) CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &o.memory_budget), ACTSCOPE_OK);
        actscope_plan *p = plan_of(n, &o);
        CHECK_STATUS(actscope_plan_feature_correlations(p, 0, NULL, NULL, features_of(n, 0)), ACTSCOPE_NOT_READY);
        for (int round = 0; round < 2; ++round) {
          CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
          CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
        }
        for (size_t i = 0; i < n->count; ++i) {
          const struct told got = told_by(p, n, i, __LINE__), want = told_by(q, n, i, __LINE__);
          const size_t bytes = features_of(n, i) * sizeof(float);
          if (!single) compare_told(n, i, got, want, __LINE__);
          for (uint64_t f = 0; single && f < features_of(n, i); ++f) /* one product of binary16: r by some 2^-12 / sqrt(N) */
            note(isnan(got.mean[f]) ? isnan(want.mean[f]) : fabs(got.mean[f] - want.mean[f]) < 2e-3, __LINE__, "%s, %llu: %g, want %g",
                 n->names[i], (unsigned long long)f, got.mean[f], want.mean[f]);
          if (least)
            note(memcmp(got.mean, first[i].mean, bytes) == 0 && memcmp(got.max, first[i].max, bytes) == 0, __LINE__,
                 "%s: other bits in the least memory", n->names[i]);
          told_free(want);
          if (least) told_free(got), told_free(first[i]); else first[i] = got;
        }
        plan_end(p);
      }
      plan_end(q);
    }
  network_free(n);
}

/* Over the pairs of all steps of a window, by enqueues, by the plan's own graph and by replays. */
void test_told_windows(void) {
  struct network *steps[3];
  for (int k = 0; k < 3; ++k) {
    steps[k] = network_new();
    network_add(steps[k], k == 1 ? DATA_CONSTANT_COLUMNS : DATA_FACTORS, ACTSCOPE_FLOAT32, 15, 40, LAYOUT_ROWS);
    network_add(steps[k], DATA_NORMAL, ACTSCOPE_BFLOAT16, 20, 33, LAYOUT_COLUMNS);
  }
  for (int way = 0; way < 3; ++way)
    for (int window = 0; window < 3; ++window)
      for (int sampled = 0; sampled < 2; ++sampled) {
        actscope_options o = cuda_options();
        o.statistics = ACTSCOPE_CORRELATION, o.pair_functionals = ACTSCOPE_PAIRS_ALL, o.window = window, o.graph = way == 1;
        o.correlation = sampled ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, o.pairs = 100;
        actscope_options cpu = o;
        cpu.device = ACTSCOPE_DEVICE_CPU, cpu.graph = 0;
        actscope_plan *p = plan_of(steps[0], &o), *q = plan_of(steps[0], &cpu);
        for (int k = 0; k < 5; ++k) {
          struct network *n = steps[way == 2 ? 0 : k % 3];
          if (way == 2 && k > 1) {
            CHECK(hook_replay() == 0);
          } else {
            if (way == 2 && k == 1) CHECK(hook_capture_begin(hook_stream(0)) == 0);
            CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
            if (way == 2 && k == 1) CHECK(hook_capture_end(hook_stream(0)) == 0 && hook_replay() == 0);
          }
          CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
          CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
          for (size_t i = 0; i < n->count; ++i) {
            const struct told got = told_by(p, n, i, __LINE__), want = told_by(q, n, i, __LINE__);
            compare_told(n, i, got, want, __LINE__);
            told_free(got), told_free(want);
          }
        }
        plan_end(p);
        plan_end(q);
      }
  for (int k = 0; k < 3; ++k) network_free(steps[k]);
}
