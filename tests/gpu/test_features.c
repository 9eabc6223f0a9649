/* test_features.c - the stages that look at features, on a GPU against the CPU: every method, all at once and in strips. */
#include "gpu/plan_tests.h"

/* Steps down the ladder that `may` allows are taken out of a report, once what they say is true. */
static void step_up(const char *name, actscope_layer_report *got, const actscope_layer_report *want, uint32_t may) {
  const uint32_t more = got->warnings & ~want->warnings & may;
  got->warnings &= ~more;
  if (!(more & ACTSCOPE_WARN_NO_EFFECTIVE_RANK)) return;
  note(isnan(got->rank.effective_rank), __LINE__, "%s: effective rank %g in spite of the warning", name, got->rank.effective_rank);
  got->rank.effective_rank = want->rank.effective_rank;
}

static void features_with(actscope_options o, const struct network *n, uint32_t may) {
  o.same_pairs = 1; /* in both rounds */
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_plan *p = plan_of(n, &o);
  for (int round = 0; round < 2; ++round) {
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    for (size_t i = 0; i < n->count; ++i) {
      actscope_layer_report got;
      CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
      step_up(n->names[i], &got, &want[i], may);
      compare_reports(n->names[i], &got, &want[i]);
    }
  }
  plan_end(p);
  free(want);
}

void test_features(void) {
  struct network *n = feature_network();
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_ALL;
  features_with(o, n, 0);
  uint64_t least;
  CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &least), ACTSCOPE_OK);
  o.memory_budget = least; /* a layer at a time */
  features_with(o, n, ACTSCOPE_WARN_NO_EFFECTIVE_RANK);
  network_free(n);
}

void test_feature_parts(void) { /* each part alone, each method */
  struct network *n = feature_network();
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_HEALTH;
  features_with(o, n, 0);
  o.statistics = ACTSCOPE_RANK;
  features_with(o, n, 0);
  o.statistics = ACTSCOPE_SIMILARITY;
  features_with(o, n, 0);
  o.statistics = ACTSCOPE_CORRELATION;
  o.correlation = ACTSCOPE_CORRELATION_GRAM;
  features_with(o, n, 0);
  o.correlation = ACTSCOPE_CORRELATION_SAMPLED;
  o.pairs = 150;
  o.seed = 12345;
  features_with(o, n, 0);
  o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_RANK; /* all pairs as well, for the rank of few features */
  features_with(o, n, 0);
  o.pair_functionals = ACTSCOPE_PAIRS_ABOVE;
  o.pairs = 1000000;
  o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_HEALTH;
  features_with(o, n, 0);
  network_free(n);
}

/* Too little memory for all z-scores: strips, which change no bit of what single pairs say. */
void test_strips(void) {
  static const struct {
    uint64_t samples, features, pairs;
    actscope_correlation_method method;
    uint32_t statistics;
  } cases[] = {{12, 700, 0, ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_ALL},
               {12, 700, 20000, ACTSCOPE_CORRELATION_SAMPLED, ACTSCOPE_ALL},
               {40, 650, 0, ACTSCOPE_CORRELATION_GRAM, ACTSCOPE_CORRELATION | ACTSCOPE_RANK},
               {40, 650, 0, ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_RANK},
               {450, 400, 0, ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_ALL},
               {450, 400, 1000, ACTSCOPE_CORRELATION_SAMPLED, ACTSCOPE_ALL},
               {450, 400, 0, ACTSCOPE_CORRELATION_GRAM, ACTSCOPE_CORRELATION | ACTSCOPE_RANK}};
  const uint32_t ladder = ACTSCOPE_WARN_STRIPS | ACTSCOPE_WARN_NO_EFFECTIVE_RANK;
  for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k) {
    if (small && k % 3) continue;
    struct network *n = network_new();
    network_add(n, DATA_HUBS, ACTSCOPE_FLOAT32, cases[k].samples, cases[k].features, LAYOUT_ROWS);
    network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 9, 20, LAYOUT_ROWS);
    network_add(n, DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, cases[k].samples, cases[k].features - 19, LAYOUT_COLUMNS);
    actscope_options o = cuda_options();
    o.statistics = cases[k].statistics, o.correlation = cases[k].method, o.pairs = cases[k].pairs, o.same_pairs = 1, o.precision = k % 2 ? ACTSCOPE_PRECISION_FP32 : o.precision;
    actscope_layer_report *want = cpu_reports(n, o), whole[3];
    uint64_t least = 0;
    CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &least), ACTSCOPE_OK);
    for (int step = 0; step < 4; ++step) { /* all at once; the shortest strips twice, recorded the second time; longer ones */
      o.memory_budget = step == 0 ? 256ull << 20 : step < 3 ? least : least + 50000;
      actscope_plan *p = plan_of(n, &o);
      size_t bytes = 0;
      CHECK_STATUS(actscope_plan_workspace(p, &bytes, NULL), ACTSCOPE_OK);
      note(bytes <= o.memory_budget, __LINE__, "workspace of %zu bytes, budget %llu", bytes, (unsigned long long)o.memory_budget);
      if (step == 2) {
        CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
        CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
        CHECK(hook_capture_begin(hook_stream(0)) == 0);
      }
      CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      if (step == 2) {
        CHECK(hook_capture_end(hook_stream(0)) == 0);
        CHECK(hook_replay() == 0);
      }
      CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
      for (size_t i = 0; i < n->count; ++i) {
        actscope_layer_report got;
        CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
        note(step == 3 || !(got.warnings & ACTSCOPE_WARN_STRIPS) == (step == 0 || i == 1), __LINE__, "case %zu, step %d, %s: warnings %x", k, step,
             n->names[i], got.warnings);
        step_up(n->names[i], &got, &want[i], step ? ladder : 0);
        compare_reports(n->names[i], &got, &want[i]);
        if (step == 0) whole[i] = got;
        else if (cases[k].method != ACTSCOPE_CORRELATION_GRAM)
          note(memcmp(&got.correlation, &whole[i].correlation, sizeof got.correlation) == 0, __LINE__,
               "case %zu, step %d, %s: other bits in strips", k, step, n->names[i]);
      }
      plan_end(p);
    }
    free(want);
    network_free(n);
  }
}
