/* test_plan.c - the plan on a GPU against the plan on the CPU. The same source runs on a device and under sim:
 *
 *   test_plan [SCHEDULE [NAME]]   last line: N passed, M failed; with ACTSCOPE_REQUIRE_GPU=1 a missing GPU is a failure
 */
#include "gpu/plan_tests.h"

int failures, small;

/* ---- Plans in lent memory ------------------------------------------------------------------------------------------------ */

enum { LENT = 8 };
static struct lent {
  actscope_plan *plan;
  unsigned char *memory, poison;
  size_t bytes; /* without the guards */
} lent[LENT];

actscope_plan *plan_of(const struct network *n, const actscope_options *o) {
  static int plans;
  actscope_plan *p = own_plan_of(n, o);
  struct lent *l = lent;
  size_t bytes = 0;
  if (!p || actscope_plan_device(p) != ACTSCOPE_DEVICE_CUDA) return p;
  if (getenv("ACTSCOPE_TEST_OWN_MEMORY")) return p; /* poison is written memory to a tool that looks for reads before writes */
  CHECK_STATUS(actscope_plan_workspace(p, &bytes, NULL), ACTSCOPE_OK);
  while (l->plan) CHECK(++l < lent + LENT);
  *l = (struct lent){p, NULL, ++plans % 2 ? POISON_NAN : POISON_ODD, bytes};
  void *memory = NULL;
  unsigned char *pattern = malloc(bytes + 2 * GUARD);
  memset(pattern, l->poison, bytes + 2 * GUARD);
  CHECK(actscope_cuda_allocate(&memory, bytes + 2 * GUARD) == 0);
  hook_upload(memory, pattern, bytes + 2 * GUARD);
  free(pattern);
  l->memory = memory;
  if (bytes) CHECK_STATUS(actscope_plan_bind(p, l->memory + GUARD, bytes), ACTSCOPE_OK);
  return p;
}

void plan_end(actscope_plan *p) {
  actscope_plan_destroy(p);
  for (struct lent *l = lent; p && l < lent + LENT; ++l) {
    if (l->plan != p) continue;
    unsigned char *seen = malloc(l->bytes + 2 * GUARD);
    size_t damaged = 0;
    hook_download(seen, l->memory, l->bytes + 2 * GUARD);
    for (size_t i = 0; i < GUARD; ++i) damaged += (seen[i] != l->poison) + (seen[GUARD + l->bytes + i] != l->poison);
    note(damaged == 0, __LINE__, "%zu bytes around a workspace of %zu were written", damaged, l->bytes);
    free(seen);
    actscope_cuda_release(l->memory, l->bytes + 2 * GUARD);
    l->plan = NULL;
  }
}

/* ---- Tests ----------------------------------------------------------------------------------------------------------------- */

void test_reports(void) {
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_plan *p = plan_of(n, &o);
  CHECK(actscope_plan_device(p) == ACTSCOPE_DEVICE_CUDA);
  CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_NOT_READY);
  for (int round = 0; round < 2; ++round) {
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    check_all(p, n, want);
  }
  plan_end(p);
  free(want);
  network_free(n);
}

void test_statistics(void) { /* each part alone; what was not asked for is as the CPU leaves it */
  static const uint32_t parts[] = {ACTSCOPE_MOMENTS, ACTSCOPE_ENTROPY, ACTSCOPE_QUANTILES, ACTSCOPE_DISTINCT,
                                   ACTSCOPE_MOMENTS | ACTSCOPE_DISTINCT};
  struct network *n = network_new();
  for (int i = 0; i < 12; ++i)
    network_add(n, i % 2 ? DATA_SPECIALS : DATA_RELU, types[i % 6], 23, 17, LAYOUT_ROWS);
  for (size_t k = 0; k < sizeof parts / sizeof *parts; ++k) {
    actscope_options o = cuda_options();
    o.statistics = parts[k];
    actscope_layer_report *want = cpu_reports(n, o);
    actscope_plan *p = plan_of(n, &o);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    check_all(p, n, want);
    plan_end(p);
    free(want);
  }
  network_free(n);
}

/* n values that all belong to the first pass of what counts them in the least memory: it overflows. */
static void network_add_crowd(struct network *n, actscope_dtype dtype, uint64_t count, enum data_layout layout) {
  const uint32_t passes = actscope_cuda_distinct_shape(dtype, count, actscope_cuda_distinct_least(dtype, count)).passes;
  double *x = calloc(count, sizeof *x);
  struct random_state r = {count};
  CHECK(passes > 1);
  for (uint64_t i = 0; i < count;) {
    const uint64_t bits = random_next(&r);
    const double v = dtype == ACTSCOPE_FLOAT64 ? core_f64(bits) : (double)core_f32((uint32_t)bits);
    const uint32_t key = dtype == ACTSCOPE_FLOAT64 ? distinct_hash64(v) : distinct_hash32((float)v);
    if (fabs(v) < 1e18 && fabs(v) > 1e-18 && (uint64_t)key * passes >> 32 == 0) x[i++] = v;
  }
  x[7] = x[count - 1] = -0.0, x[count / 2] = NAN;
  network_add_values(n, "crowd", x, dtype, count / 4, 4, layout);
  free(x);
}

void test_distinct(void) { /* exact counts: in one pass, in several, where passes overflow */
  static const actscope_dtype some[] = {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT64, ACTSCOPE_FLOAT8_E4M3};
  struct network *n = network_new(); /* without 16-bit types, whose histograms would set the least memory */
  for (int i = 0; i < (small ? 20 : 80); ++i)
    network_add(n, (enum data_kind)(i % DATA_KINDS), some[i % 7 % 3], i % 29 == 28 ? 0 : (uint64_t)(5 + i % 25),
                (uint64_t)(1 + i * 7 % 41), (enum data_layout)(i / 3 % LAYOUTS));
  const uint64_t count = small ? 16400 : 20000;
  network_add_crowd(n, ACTSCOPE_FLOAT32, count, LAYOUT_PADDED);
  network_add_crowd(n, ACTSCOPE_FLOAT64, count, LAYOUT_MISALIGNED);
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 16400, 4, LAYOUT_ROWS); /* AUTO: the sketch */
  for (int step = 0; step < 4; ++step) {
    actscope_options o = cuda_options();
    o.distinct = step ? ACTSCOPE_DISTINCT_EXACT : ACTSCOPE_DISTINCT_AUTO;
    if (step == 1) o.statistics = ACTSCOPE_DISTINCT;
    if (step == 2) o.statistics |= ACTSCOPE_HEALTH;
    actscope_layer_report *want = cpu_reports(n, o), got;
    if (step >= 1) CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &o.memory_budget), ACTSCOPE_OK);
    if (step == 3) o.memory_budget += 100000; /* a pass for most */
    actscope_plan *p = plan_of(n, &o);
    for (int round = 0; round < (step == 1 ? 2 : 1); ++round) {
      CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
      for (size_t i = 0; i < n->count; ++i) {
        CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
        const int passes = (got.warnings & ACTSCOPE_WARN_DISTINCT_PASSES) != 0;
        if (step < 2 && i + 3 >= n->count) note(passes == step, __LINE__, "%s: step %d, passes %d", n->names[i], step, passes);
        /* the CPU has more memory, and other values crowd its partitions */
        got.warnings &= ~(uint32_t)ACTSCOPE_WARN_DISTINCT_PASSES, want[i].warnings &= ~(uint32_t)ACTSCOPE_WARN_DISTINCT_PASSES;
        compare_reports(n->names[i], &got, &want[i]);
      }
    }
    plan_end(p);
    free(want);
  }
  network_free(n);
}

void test_skipping(void) { /* a skipped layer keeps its report; layers alone, in any order */
  struct network *n = network_new();
  for (int i = 0; i < 70; ++i) network_add(n, DATA_NORMAL, types[i % 6], 20, 3 + (uint64_t)i % 5, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o), r;
  actscope_plan *p = plan_of(n, &o);
  actscope_tensor some[MOST];
  for (size_t i = 0; i < n->count; ++i) {
    some[i] = n->there[i];
    if (i % 2) some[i].data = NULL;
  }
  CHECK_STATUS(actscope_plan_enqueue(p, some, n->count, hook_stream(0)), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_report(p, 1, &r), ACTSCOPE_NOT_READY);
  for (size_t k = 0; k < n->count; ++k) {
    size_t i = k * 37 % n->count;
    if (i % 2) CHECK_STATUS(actscope_plan_enqueue_layer(p, i, &n->there[i], hook_stream(0)), ACTSCOPE_OK);
  }
  check_all(p, n, want);
  /* other data for the even ones alone: the odd ones stay */
  for (size_t i = 0; i < n->count; i += 2) some[i].data = n->there[i < 40 ? i + 30 : i - 30].data; /* of the same type and shape */
  CHECK_STATUS(actscope_plan_enqueue(p, some, n->count, hook_stream(0)), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  for (size_t i = 1; i < n->count; i += 2) {
    CHECK_STATUS(actscope_plan_report(p, i, &r), ACTSCOPE_OK);
    compare_reports(n->names[i], &r, &want[i]);
  }
  for (size_t i = 0; i < n->count; ++i) some[i].data = NULL;
  CHECK_STATUS(actscope_plan_enqueue(p, some, n->count, hook_stream(0)), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_OK);
  plan_end(p);
  free(want);
  network_free(n);
}

void test_two_plans(void) { /* on two streams, at once */
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_plan *p[2] = {plan_of(n, &o), plan_of(n, &o)};
  for (int round = 0; round < 2; ++round) {
    for (int k = 0; k < 2; ++k) CHECK_STATUS(actscope_plan_enqueue(p[k], n->there, n->count, hook_stream(k)), ACTSCOPE_OK);
    for (int k = 1; k >= 0; --k) check_all(p[k], n, want);
  }
  plan_end(p[0]);
  plan_end(p[1]);
  free(want);
  network_free(n);
}

void test_refusals(void) {
  struct network *n = network_new();
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 12, 9, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  actscope_plan *p = (actscope_plan *)n;
  o.device_index = 63;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, 1, &o), ACTSCOPE_NO_DEVICE);
  CHECK(p == NULL);
  o.device_index = 0;
  /* a set of distinct values cannot be carried from step to step: refused by the name of the layer */
  o.window = 4, o.distinct = ACTSCOPE_DISTINCT_EXACT;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, 1, &o), ACTSCOPE_UNSUPPORTED);
  CHECK(strstr(actscope_last_error(), n->names[0]) != NULL);
  o.device = ACTSCOPE_DEVICE_AUTO;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, 1, &o), ACTSCOPE_UNSUPPORTED);
  o.distinct = ACTSCOPE_DISTINCT_AUTO;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, 1, &o), ACTSCOPE_OK);
  CHECK(p && actscope_plan_device(p) == ACTSCOPE_DEVICE_CUDA);
  plan_end(p);
  actscope_device_info list[8];
  size_t count = 0;
  CHECK_STATUS(actscope_devices(list, 8, &count), ACTSCOPE_OK);
  CHECK(count >= 2 && list[1].device == ACTSCOPE_DEVICE_CUDA && list[1].units > 0 && list[1].name[0]);
  CHECK(actscope_no_gpu_reason()[0] == 0);
  network_free(n);
}

/* ---- Running them ---------------------------------------------------------------------------------------------------------- */

/* Is the test among those that are asked for? In a name, _ stands for a space as well. */
static int named(const char *test, int count, char **names) {
  for (int i = 0; i < count; ++i) {
    size_t k = 0;
    while (test[k] && (test[k] == names[i][k] || (test[k] == ' ' && names[i][k] == '_'))) ++k;
    if (!test[k] && !names[i][k]) return 1;
  }
  return 0;
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(void);
    int sim_alone; /* 2: on a device where it is named, for its kernel may hang there */
  } tests[] = {{"no driver", test_no_driver, 1},       {"refusals", test_refusals, 0},
               {"reports", test_reports, 0},           {"statistics", test_statistics, 0},
               {"features", test_features, 0},         {"feature parts", test_feature_parts, 0},
               {"pairs kernel", test_pairs_kernel, 2}, {"errors of the pairs kernel", test_errors_wgmma, 2},
               {"errors", test_errors, 0},
               {"each feature", test_told, 0},         {"each feature in windows", test_told_windows, 0},
               {"largest pairs", test_top, 0},         {"more pairs than room", test_top_room, 0},
               {"largest pairs in strips", test_top_strips, 0},
               {"nulls", test_nulls, 0},               {"nulls in strips", test_nulls_strips, 0},
               {"nulls, each alone", test_nulls_alone, 0}, {"nulls in windows", test_nulls_windows, 0},
               {"CKA", test_cka, 0},                   {"CKA, sizes", test_cka_sizes, 0},
               {"CKA, budgets", test_cka_budgets, 0},  {"CKA, steps", test_cka_steps, 0},
               {"distinct", test_distinct, 0},         {"strips", test_strips, 0},
               {"large plans", test_large_plans, 0},   {"budgets", test_budgets, 0},
               {"workspace", test_workspace, 0},       {"host data", test_host_data, 0},
               {"skipping", test_skipping, 0},
               {"two plans", test_two_plans, 0},       {"capture", test_capture, 0},
               {"captured ways", test_captured_ways, 0}, {"replays count", test_replays_count, 0}, {"order of pairs", test_order_of_pairs, 0},
               {"large tensor", test_large_tensor, 0},
               {"samples", test_samples, 0},           {"streams", test_streams, 0},           {"other stream", test_other_stream, 0}, {"chains apart", test_chains_apart, 0},
               {"windows", test_windows, 0},           {"history", test_history, 0},
               {"alarm", test_alarm, 0},               {"graph", test_graph, 0},
               {"own options", test_own_options, 0},   {"reshape", test_reshape, 0},
               {"reshape in place", test_reshape_in_place, 0}, {"reshape, told", test_reshape_told, 0},
               {"memory", test_memory, 0},             {"graph failures", test_graph_failures, 1},
               {"running", test_running, 1},           {"failing calls", test_failing_calls, 1},
               {"broken device", test_broken_device, 1}};
  int passed = 0, failed = 0;
  small = getenv("SIM_SMALL") != NULL || getenv("ACTSCOPE_TEST_SMALL") != NULL;
  const int times = getenv("SIM_TIMES") != NULL; /* of the processor */
  hook_begin(argc > 1 ? argv[1] : NULL);
  for (size_t i = 0; i < sizeof tests / sizeof *tests; ++i) {
    if (tests[i].sim_alone == 1 && !hook_sim()) continue;
    if (tests[i].sim_alone == 2 && !hook_sim() && argc <= 2) continue;
    if (argc > 2 && !named(tests[i].name, argc - 2, argv + 2)) continue;
    if (tests[i].sim_alone != 1 && actscope_no_gpu_reason()[0]) { /* asked after the process without a driver was made */
      const char *must = getenv("ACTSCOPE_REQUIRE_GPU");
      printf("*** NO GPU: nothing was run on a device (%s) ***\n", actscope_no_gpu_reason());
      if (must && strcmp(must, "1") == 0) {
        printf("0 passed, 1 failed\n");
        return 1;
      }
      printf("0 passed, 0 failed, 1 skipped\n");
      return 77;
    }
    failures = 0;
    const clock_t began = clock();
    tests[i].run();
    if (times) printf("  %6.2f s  %s\n", (double)(clock() - began) / CLOCKS_PER_SEC, tests[i].name);
    note(hook_damage() == 0, __LINE__, "bytes behind an allocation were written");
    if (failures) printf("  FAILED plan on a GPU: %s: %d checks\n", tests[i].name, failures), ++failed;
    else ++passed;
    fflush(stdout);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0;
}
