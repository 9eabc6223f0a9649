/* test_feature_correlations.c - mean |r| and the largest |r| of each feature against textbook loops over its pairs. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "cpu/dispatch.h"
#include "unit/api_calls.h"

TestSuite(feature_correlations, .timeout = 240);

static actscope_options feature_options(void) {
  actscope_options o = cpu_options();
  o.statistics = ACTSCOPE_CORRELATION;
  o.pair_functionals = ACTSCOPE_PAIRS_FEATURES;
  o.memory_budget = 1ull << 30;
  return o;
}

struct numbers { float *mean, *max; };
static struct numbers numbers_of(uint64_t features) {
  struct numbers n = {malloc((features + 1) * sizeof(float)), malloc((features + 1) * sizeof(float))};
  memset(n.mean, POISON_ODD, (features + 1) * sizeof(float));
  memset(n.max, POISON_ODD, (features + 1) * sizeof(float));
  return n;
}
static void numbers_free(struct numbers n) { free(n.mean), free(n.max); }

/* The plan's numbers after one enqueue. */
static struct numbers measure(const struct laid_out *t, const actscope_options *o) {
  actscope_plan *plan;
  actscope_layer layer = {"x", t->tensor.dtype, t->tensor.ndim, t->tensor.shape};
  actscope_layer_report r;
  ACCEPTED(actscope_plan_create(&plan, &layer, 1, o));
  ACCEPTED(actscope_plan_enqueue(plan, &t->tensor, 1, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &r));
  struct numbers n = numbers_of(r.features);
  ACCEPTED(actscope_plan_feature_correlations(plan, 0, n.mean, n.max, r.features));
  actscope_plan_destroy(plan);
  return n;
}

/* single: by one product of 16 bits, r off by 2e-5. */
static void compare_numbers(struct compare *c, struct numbers got, const struct ref_feature *want, uint64_t features, int single) {
  for (uint64_t f = 0; f < features; ++f) {
    double mean = want[f].pairs ? (double)(want[f].sum / want[f].pairs) : NAN;
    compare_value(c, "mean_abs", got.mean[f], mean, single ? 1e-4 : 2e-7, 1e-6);
    compare_value(c, "max_abs", got.max[f], want[f].pairs ? want[f].max : NAN, single ? 2e-4 : 2e-6, 0);
  }
}

/* One matrix by the best memory, one and three threads, and the least memory: right, and the same bits. */
static void run_with(actscope_precision precision, enum data_kind kind, actscope_dtype dtype, enum data_layout layout,
                     uint64_t samples, uint64_t features, uint64_t pairs) {
  struct laid_out t;
  struct ref_matrix m;
  struct compare c;
  double *x = malloc((samples * features + 1) * sizeof *x);
  data_fill(kind, samples * 7 + features, dtype, x, samples, features);
  data_lay_out(&t, x, dtype, samples, features, layout);
  ref_matrix_load(&m, &t.tensor, 0);
  actscope_options o = feature_options();
  o.precision = precision;
  struct ref_feature *want = calloc(features + 1, sizeof *want);
  uint64_t *list = malloc((features + 1) * sizeof *list), valid = ref_valid_features(&m, list);
  if (pairs) {
    o.correlation = ACTSCOPE_CORRELATION_SAMPLED, o.pairs = pairs, o.seed = 77;
    uint64_t all = valid * (valid - (valid > 0)) / 2, count = pairs < all ? pairs : all;
    struct ref_pair *looked = malloc((count + 1) * sizeof *looked);
    ref_sampled_pairs(valid, count, o.seed, 0, looked);
    ref_feature_correlations(&m, looked, count, want);
    free(looked);
  } else {
    ref_feature_correlations(&m, NULL, 0, want);
  }
  compare_begin(&c, "%s %s %s [%llu, %llu], %llu pairs, on %s", data_kind_name(kind), data_dtype_name(dtype), data_layout_name(layout),
                (unsigned long long)samples, (unsigned long long)features, (unsigned long long)pairs, actscope_cpu_isa_name(actscope_cpu_isa()));
  struct numbers first = measure(&t, &o);
  compare_numbers(&c, first, want, features, precision == ACTSCOPE_PRECISION_FP16);
  for (int other = 0; other < 2; ++other) {
    actscope_layer layer = {"x", dtype, t.tensor.ndim, t.tensor.shape};
    o.threads = other ? 3 : 1;
    if (other) ACCEPTED(actscope_minimum_budget(&layer, 1, &o, &o.memory_budget));
    struct numbers again = measure(&t, &o);
    compare_bytes(&c, other ? "least memory" : "one thread", again.mean, first.mean, features * sizeof(float));
    compare_bytes(&c, "largest", again.max, first.max, features * sizeof(float));
    numbers_free(again);
  }
  CHECK(c);
  numbers_free(first);
  free(want), free(list), free(x);
  ref_matrix_free(&m);
  data_free(&t);
  cr_assert_eq(actscope_memory_held(), 0);
}

static void run(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features,
                uint64_t pairs) {
  run_with(ACTSCOPE_PRECISION_FP32, kind, dtype, layout, samples, features, pairs);
}

Test(feature_correlations, every_type_and_layout) {
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int layout = 0; layout < LAYOUTS; ++layout)
      run(layout % 2 ? DATA_CONSTANT_COLUMNS : DATA_FACTORS, (actscope_dtype)dtype, (enum data_layout)layout, 40, 61, 0);
}

Test(feature_correlations, every_content) {
  for (int kind = 0; kind < DATA_KINDS; ++kind) {
    run((enum data_kind)kind, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 90, 70, 0);
    run((enum data_kind)kind, ACTSCOPE_FLOAT64, LAYOUT_ROWS, 30, 50, 400);
  }
}

/* Few samples, few features, one block and several, sums over many samples, strips. */
Test(feature_correlations, every_size) {
  static const uint64_t shapes[][2] = {{2, 5}, {3, 1}, {3, 2}, {9, 48}, {9, 49}, {64, 191}, {64, 193}, {300, 60}, {700, 210}, {20, 600}, {1, 6}};
  for (int isa = actscope_cpu_isa(); isa >= 0; --isa) {
    setenv("ACTSCOPE_ISA", actscope_cpu_isa_name(isa), 1);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k) {
      run(DATA_HUBS, k % 3 ? ACTSCOPE_FLOAT32 : ACTSCOPE_FLOAT64, LAYOUT_ROWS, shapes[k][0], shapes[k][1], 0);
      run(DATA_NORMAL, ACTSCOPE_FLOAT32, LAYOUT_COLUMNS, shapes[k][0], shapes[k][1], 1 + shapes[k][1] * 3 / 2);
    }
  }
}

Test(feature_correlations, of_16_bit_products) {
  static const enum data_kind kinds[] = {DATA_NORMAL, DATA_FACTORS, DATA_RELU, DATA_CONSTANT_COLUMNS};
  for (int k = 0; k < 4; ++k) {
    run_with(ACTSCOPE_PRECISION_FP16, kinds[k], ACTSCOPE_FLOAT32, LAYOUT_ROWS, 65, 250, 0);
    run_with(ACTSCOPE_PRECISION_FP16, kinds[k], ACTSCOPE_BFLOAT16, LAYOUT_COLUMNS, 300, 90, 700);
  }
}

/* Duplicates have a largest |r| of 1, and a feature that repeats all others stands out. */
Test(feature_correlations, duplicates) {
  enum { N = 64, D = 5 };
  double x[N * D];
  struct laid_out t;
  for (int s = 0; s < N; ++s)
    for (int f = 0; f < D; ++f) {
      int sign = __builtin_parity((unsigned)(s & (f < 3 ? 1 : f))) ? -1 : 1; /* 0, 1, 2 are one Walsh function */
      x[s * D + f] = f == 1 ? -3 * sign : sign;
    }
  data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  actscope_options o = feature_options();
  struct numbers n = measure(&t, &o);
  struct compare c;
  compare_begin(&c, "Walsh functions");
  for (int f = 0; f < D; ++f) {
    compare_value(&c, "mean_abs", n.mean[f], f < 3 ? 0.5 : 0, 1e-7, 0);
    compare_value(&c, "max_abs", n.max[f], f < 3 ? 1 : 0, 2e-7, 0);
  }
  CHECK(c);
  numbers_free(n);
  data_free(&t);
}

/* Over the pairs of all steps; a feature that is constant in a step has fewer; others at every step where sampled. */
static void windows(int window, int sampled) {
  enum { STEPS = 5, N = 12, D = 23, PAIRS = 80 };
  int64_t shape[] = {N, D};
  actscope_layer layer = {"x", ACTSCOPE_FLOAT32, 2, shape};
  actscope_options o = feature_options();
  struct ref_feature want[D];
  actscope_plan *plan;
  struct numbers got = numbers_of(D);
  o.window = window;
  if (sampled) o.correlation = ACTSCOPE_CORRELATION_SAMPLED, o.pairs = PAIRS, o.seed = 3;
  ACCEPTED(actscope_plan_create(&plan, &layer, 1, &o));
  for (int step = 0; step < STEPS; ++step) {
    double x[N * D];
    struct laid_out t;
    struct ref_matrix m;
    struct ref_pair looked[PAIRS];
    struct compare c;
    uint64_t list[D];
    data_fill(DATA_FACTORS, (uint64_t)step + 1, ACTSCOPE_FLOAT32, x, N, D);
    for (int s = 0; s < N; ++s) x[s * D + 4] = 2, x[s * D + 7] = step % 2 ? x[s * D + 7] : 0;
    data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
    ref_matrix_load(&m, &t.tensor, 0);
    if (step == 0 || (window && step % window == 0)) memset(want, 0, sizeof want);
    if (sampled) ref_sampled_pairs(ref_valid_features(&m, list), PAIRS, o.seed, (uint64_t)step, looked);
    ref_feature_correlations(&m, sampled ? looked : NULL, sampled ? PAIRS : 0, want);
    ACCEPTED(actscope_plan_enqueue(plan, &t.tensor, 1, NULL));
    ACCEPTED(actscope_plan_feature_correlations(plan, 0, got.mean, got.max, D));
    compare_begin(&c, "window %d, step %d%s", window, step, sampled ? ", sampled" : "");
    compare_numbers(&c, got, want, D, 0);
    CHECK(c);
    ref_matrix_free(&m);
    data_free(&t);
  }
  ACCEPTED(actscope_plan_reset(plan));
  struct numbers still = numbers_of(D);
  ACCEPTED(actscope_plan_feature_correlations(plan, 0, still.mean, still.max, D));
  cr_assert_eq(memcmp(still.mean, got.mean, sizeof(float) * D), 0, "a reset forgets windows, no report");
  numbers_free(still);
  actscope_plan_destroy(plan);
  numbers_free(got);
}

Test(feature_correlations, of_windows) {
  for (int window = 0; window < 3; ++window)
    for (int sampled = 0; sampled < 2; ++sampled) windows(window, sampled);
}

Test(feature_correlations, what_cannot_be_told) {
  int64_t shape[] = {6, 4}, nothing[] = {0, 4};
  float x[24], mean[4], max[4];
  for (int k = 0; k < 24; ++k) x[k] = (float)(k * k % 11);
  actscope_layer layers[] = {{"x", ACTSCOPE_FLOAT32, 2, shape}, {"empty", ACTSCOPE_FLOAT32, 2, nothing}};
  actscope_tensor t[] = {{x, ACTSCOPE_FLOAT32, 2, shape, NULL}, {NULL, ACTSCOPE_FLOAT32, 2, nothing, NULL}};
  actscope_options o = feature_options();
  actscope_plan *plan;
  ACCEPTED(actscope_plan_create(&plan, layers, 2, &o));
  REFUSED(actscope_plan_feature_correlations(NULL, 0, mean, max, 4), ACTSCOPE_INVALID_ARGUMENT, "plan");
  REFUSED(actscope_plan_feature_correlations(plan, 2, mean, max, 4), ACTSCOPE_INVALID_ARGUMENT, "layer 2");
  REFUSED(actscope_plan_feature_correlations(plan, 0, mean, max, 3), ACTSCOPE_INVALID_ARGUMENT, "4 features");
  REFUSED(actscope_plan_feature_correlations(plan, 0, mean, max, 4), ACTSCOPE_NOT_READY, "x:");
  ACCEPTED(actscope_plan_enqueue(plan, t, 2, NULL));
  ACCEPTED(actscope_plan_feature_correlations(plan, 0, mean, NULL, 4));
  ACCEPTED(actscope_plan_feature_correlations(plan, 0, NULL, max, 4));
  cr_assert(mean[0] > 0 && max[0] >= mean[0]);
  ACCEPTED(actscope_plan_feature_correlations(plan, 1, mean, max, 4));
  cr_assert(isnan(mean[0]) && isnan(max[3]));
  size_t bytes, alignment;
  ACCEPTED(actscope_plan_workspace(plan, &bytes, &alignment));
  struct guarded other;
  guard_alloc(&other, bytes, alignment, 0, POISON_NAN);
  ACCEPTED(actscope_plan_bind(plan, other.data, bytes));
  REFUSED(actscope_plan_feature_correlations(plan, 0, mean, max, 4), ACTSCOPE_NOT_READY, "workspace");
  ACCEPTED(actscope_plan_enqueue(plan, t, 2, NULL));
  ACCEPTED(actscope_plan_feature_correlations(plan, 0, mean, max, 4));
  cr_assert_eq(guard_damage(&other), 0);
  actscope_plan_destroy(plan);
  guard_free(&other);
  o.correlation = ACTSCOPE_CORRELATION_GRAM;
  ACCEPTED(actscope_plan_create(&plan, layers, 2, &o));
  ACCEPTED(actscope_plan_enqueue(plan, t, 2, NULL));
  ACCEPTED(actscope_plan_feature_correlations(plan, 0, mean, max, 4));
  cr_assert(isnan(mean[1]) && isnan(max[1]));
  actscope_plan_destroy(plan);
  o = feature_options();
  o.pair_functionals = ACTSCOPE_PAIRS_DEFAULT;
  ACCEPTED(actscope_plan_create(&plan, layers, 2, &o));
  ACCEPTED(actscope_plan_enqueue(plan, t, 2, NULL));
  REFUSED(actscope_plan_feature_correlations(plan, 0, mean, max, 4), ACTSCOPE_INVALID_ARGUMENT, "not asked for");
  actscope_plan_destroy(plan);
}

/* Their memory is the plan's: states that stay, and sums while a step runs. */
Test(feature_correlations, memory_counts_in_the_budget) {
  int64_t shape[] = {16, 1000};
  actscope_layer layer = {"x", ACTSCOPE_FLOAT32, 2, shape};
  actscope_options o = feature_options(), without = o;
  uint64_t least, least_without;
  actscope_choice choice;
  actscope_plan *plan;
  without.pair_functionals = 0;
  ACCEPTED(actscope_minimum_budget(&layer, 1, &o, &least));
  ACCEPTED(actscope_minimum_budget(&layer, 1, &without, &least_without));
  cr_assert(least >= least_without + 24 * 1000 && least < least_without + 37 * 1000, "%llu and %llu", (unsigned long long)least,
            (unsigned long long)least_without);
  ACCEPTED(actscope_plan_create(&plan, &layer, 1, &o));
  ACCEPTED(actscope_plan_choice(plan, 0, &choice));
  cr_assert(choice.kept_bytes >= 24000 && choice.kept_bytes < 24100);
  actscope_plan_destroy(plan);
}
