/* test_nulls.c - split halves and the floor of rotated samples on a GPU, against the CPU's. */
#include "gpu/plan_tests.h"

enum { BOTH = ACTSCOPE_PAIRS_SPLIT_HALF | ACTSCOPE_PAIRS_SHIFT };

static actscope_options nulls_options(void) {
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_CORRELATION, o.pair_functionals = ACTSCOPE_PAIRS_DEFAULT | BOTH, o.seed = 77;
  return o;
}

/* So often, with the same bits. */
static void check_nulls(const struct network *n, actscope_options o, const actscope_layer_report *want, int rounds,
                        int line) {
  actscope_layer_report before[MOST], got;
  actscope_plan *p = plan_of(n, &o);
  size_t bytes = 0;
  CHECK_STATUS(actscope_plan_workspace(p, &bytes, NULL), ACTSCOPE_OK);
  note(bytes <= o.memory_budget, line, "workspace of %zu bytes, budget %llu", bytes,
       (unsigned long long)o.memory_budget);
  for (int round = 0; round < rounds; ++round) {
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    for (size_t i = 0; i < n->count; ++i) {
      CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
      if (round)
        note(memcmp(&got.correlation, &before[i].correlation, sizeof got.correlation) == 0, line,
             "%s: other bits the second time", n->names[i]);
      before[i] = got;
      got.warnings &= ~(uint32_t)ACTSCOPE_WARN_STRIPS;
      compare_reports(n->names[i], &got, &want[i]);
    }
  }
  plan_end(p);
}

/* Samples around the least that a half can have, every layout, each side the shorter one; every method. */
void test_nulls(void) {
  struct network *n = feature_network();
  for (int samples = 4; samples < 10; ++samples)
    network_add(n, DATA_FACTORS, types[samples % 6], (uint64_t)samples, 13, LAYOUT_ROWS);
  network_add(n, DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, 41, small ? 90 : 200, LAYOUT_COLUMNS);
  network_add(n, DATA_HUBS, ACTSCOPE_FLOAT32, 91, 40, LAYOUT_PADDED);
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 0, 40, LAYOUT_ROWS);
  if (!small) {
    network_add(n, DATA_FACTORS, ACTSCOPE_BFLOAT16, 150, 300, LAYOUT_ROWS); /* two tiles a side; three of the whole */
    network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT64, 300, 50, LAYOUT_ROWS);
    network_add(n, DATA_OUTLIERS, ACTSCOPE_FLOAT32, 24, 1300,
                LAYOUT_ROWS); /* more features than are drawn, in 42 groups */
  }
  for (int method = ACTSCOPE_CORRELATION_EXACT; method <= ACTSCOPE_CORRELATION_GRAM; ++method) {
    actscope_options o = nulls_options();
    o.correlation = (actscope_correlation_method)method, o.pairs = 100, o.same_pairs = 1;
    actscope_layer_report *want = cpu_reports(n, o);
    if (method != ACTSCOPE_CORRELATION_EXACT)
      CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &o.memory_budget), ACTSCOPE_OK);
    check_nulls(n, o, want, method == ACTSCOPE_CORRELATION_EXACT ? 2 : 1, __LINE__);
    free(want);
  }
  network_free(n);
}

/* Either alone, what was not asked for being NaN; halves of whole images where features are channels. */
void test_nulls_alone(void) {
  struct network *n = network_new();
  network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT32, 30, 50, LAYOUT_ROWS);
  network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT16, 70, 21, LAYOUT_ROWS);
  for (int k = 0; k < 3; ++k) {
    actscope_options o = nulls_options();
    o.pair_functionals = k == 0 ? ACTSCOPE_PAIRS_SPLIT_HALF : k == 1 ? ACTSCOPE_PAIRS_SHIFT : BOTH;
    actscope_layer_report *want = cpu_reports(n, o);
    CHECK(isnan(want[0].correlation.split_half) == (k == 1) &&
          isnan(want[1].correlation.noise_floor_shift) == (k == 0));
    check_nulls(n, o, want, 1, __LINE__);
    free(want);
  }
  const int64_t images[2][3] = {{7, 70, 3},
                                {7, 20, 10}}; /* of the first layer's 1500 values: the shorter side is either */
  for (int k = 0; k < 2; ++k) {
    actscope_tensor t[2] = {n->there[0], n->here[0]};
    actscope_options o = nulls_options();
    actscope_layer_report got, want;
    for (int m = 0; m < 2; ++m) t[m].ndim = 3, t[m].shape = images[k], t[m].strides = NULL;
    o.channels = 1;
    CHECK_STATUS(actscope_analyze(&t[0], &o, &got), ACTSCOPE_OK);
    o.device = ACTSCOPE_DEVICE_CPU;
    CHECK_STATUS(actscope_analyze(&t[1], &o, &want), ACTSCOPE_OK);
    CHECK(want.correlation.split_half == want.correlation.split_half);
    compare_reports("images", &got, &want);
  }
  network_free(n);
}

/* z-scores of halves that do not fit at once: features in strips on the samples' side, and on the features'. */
void test_nulls_strips(void) {
  if (small) return;
  struct network *n = network_new();
  network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT32, 60, 17000, LAYOUT_ROWS);
  network_add(n, DATA_HUBS, ACTSCOPE_FLOAT32, 8200, 130, LAYOUT_COLUMNS);
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 9, 20, LAYOUT_ROWS);
  actscope_options o = nulls_options();
  o.correlation = ACTSCOPE_CORRELATION_GRAM; /* the pairs themselves are other tests' */
  actscope_layer_report *want = cpu_reports(n, o);
  check_nulls(n, o, want, 1, __LINE__);
  free(want);
  network_free(n);
}

/* Over the steps of a window, by enqueues, by the plan's own graph and by replays of the caller's. */
void test_nulls_windows(void) {
  enum { MADE = 5 };
  struct network *steps[2];
  for (int k = 0; k < 2; ++k) {
    steps[k] = network_new();
    network_add(steps[k], k ? DATA_NORMAL : DATA_FACTORS, ACTSCOPE_FLOAT32, 15, 40, LAYOUT_ROWS);
    network_add(steps[k], k ? DATA_CONSTANT : DATA_HUBS, ACTSCOPE_BFLOAT16, 33, 20, LAYOUT_ROWS);
  }
  for (int way = 0; way < 3; ++way)
    for (int window = 0; window < 3; ++window) {
      actscope_options o = nulls_options(), cpu;
      o.window = window, o.graph = way == 1;
      cpu = o, cpu.device = ACTSCOPE_DEVICE_CPU, cpu.graph = 0;
      actscope_plan *p = plan_of(steps[0], &o), *q = plan_of(steps[0], &cpu);
      for (int k = 0; k < MADE; ++k) {
        const struct network *n = steps[way == 2 ? 0 : k % 2];
        actscope_layer_report got, want;
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
          CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
          CHECK_STATUS(actscope_plan_report(q, i, &want), ACTSCOPE_OK);
          compare_reports(n->names[i], &got, &want);
        }
      }
      plan_end(p);
      plan_end(q);
    }
  for (int k = 0; k < 2; ++k) network_free(steps[k]);
}
