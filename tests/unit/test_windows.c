/* test_windows.c - reports of several steps: states that merge, the last reports, the alarm. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "unit/api_calls.h"

TestSuite(windows, .timeout = 120);

enum { STEPS = 3, N = 24, D = 37 };

/* One tensor of STEPS * N samples, and its thirds. */
struct cut {
  struct laid_out whole;
  int64_t part_shape[2];
  actscope_tensor part[STEPS];
  actscope_layer layer;
};
static void cut_make(struct cut *c, enum data_kind kind, actscope_dtype dtype) {
  double *x = malloc(sizeof *x * STEPS * N * D);
  data_fill(kind, 5, dtype, x, STEPS * N, D);
  for (int s = 0; s < STEPS * N; ++s) /* a feature that is constant in each step, but not over all; one that always is */
    x[s * D + 1] = s / N, x[s * D + 2] = 0.5;
  data_lay_out(&c->whole, x, dtype, STEPS * N, D, LAYOUT_ROWS);
  free(x);
  c->part_shape[0] = N, c->part_shape[1] = D;
  for (int k = 0; k < STEPS; ++k)
    c->part[k] = (actscope_tensor){(const char *)c->whole.tensor.data + (size_t)k * N * D * actscope_dtype_size(dtype), dtype, 2,
                                   c->part_shape, NULL};
  c->layer = (actscope_layer){.name = "cut", .dtype = dtype, .ndim = 2, .shape = c->part_shape};
}

static actscope_options sketch_options(int window) {
  actscope_options o = cpu_options();
  o.window = window;
  o.distinct = ACTSCOPE_DISTINCT_SKETCH;
  o.pair_functionals = ACTSCOPE_PAIRS_ALL;
  return o;
}

/* A window's report against one of all its samples, and the pairs and rank against the steps one by one. */
static void check_window(const struct cut *c, const actscope_layer_report *got, const actscope_layer_report *whole,
                         const actscope_layer_report *step, int steps, const char *what) {
  struct compare q;
  compare_begin(&q, "%s, %d steps of %s", what, steps, data_dtype_name(c->layer.dtype));
  compare_count(&q, "steps", got->steps, (uint64_t)steps);
  compare_count(&q, "elements", got->elements, whole->elements);
  compare_count(&q, "samples", got->samples, N);
  compare_profile(&q, &got->profile, &whole->profile, c->layer.dtype, ACTSCOPE_PROFILE);
  compare_array(&q, "quantiles", got->profile.quantiles, whole->profile.quantiles, ACTSCOPE_QUANTILE_COUNT, 0, 0);
  compare_bytes(&q, "distinct", &got->distinct, &whole->distinct, sizeof got->distinct);
  compare_health(&q, &got->health, &whole->health);
  double abs = 0, square = 0, plain = 0, participation = 0, effective = 0, largest = 0, cosine = 0;
  uint64_t pairs = 0, bins[ACTSCOPE_PAIR_BINS] = {0};
  for (int k = 0; k < steps; ++k) {
    const actscope_correlation *r = &step[k].correlation;
    abs += r->mean_abs * (double)r->pairs, square += r->mean_square * (double)r->pairs, pairs += r->pairs;
    plain += r->mean * (double)r->pairs;
    if (r->max_abs > largest) largest = r->max_abs;
    for (int b = 0; b < ACTSCOPE_PAIR_BINS; ++b) bins[b] += r->histogram[b];
    participation += step[k].rank.participation_ratio / steps, effective += step[k].rank.effective_rank / steps;
    cosine += step[k].similarity.mean_cosine / steps;
  }
  compare_count(&q, "pairs", got->correlation.pairs, pairs);
  compare_count(&q, "pairs_total", got->correlation.pairs_total, pairs);
  compare_value(&q, "mean_abs", got->correlation.mean_abs, abs / (double)pairs, 0, 1e-12);
  compare_value(&q, "mean_square", got->correlation.mean_square, square / (double)pairs, 0, 1e-12);
  compare_value(&q, "mean", got->correlation.mean, plain / (double)pairs, 1e-15, 1e-12);
  compare_value(&q, "max_abs", got->correlation.max_abs, pairs ? largest : NAN, 0, 0);
  compare_counts(&q, "histogram", got->correlation.histogram, bins, ACTSCOPE_PAIR_BINS);
  compare_value(&q, "noise_floor", got->correlation.noise_floor, step[0].correlation.noise_floor, 0, 0);
  compare_value(&q, "participation_ratio", got->rank.participation_ratio, participation, 0, 1e-12);
  compare_value(&q, "effective_rank", got->rank.effective_rank, effective, 0, 1e-12);
  compare_value(&q, "mean_cosine", got->similarity.mean_cosine, cosine, 0, 1e-12);
  CHECK(q);
}

/* The first `steps` parts as one tensor. */
static void analyze_first(const struct cut *c, int from, int steps, actscope_layer_report *r) {
  actscope_options o = sketch_options(1);
  int64_t shape[2] = {steps * N, D};
  actscope_tensor t = {c->part[from].data, c->layer.dtype, 2, shape, NULL};
  ACCEPTED(actscope_analyze(&t, &o, r));
}

static void run_windows(enum data_kind kind, actscope_dtype dtype) {
  struct cut c;
  actscope_plan *plan;
  actscope_layer_report step[STEPS], whole, got;
  cut_make(&c, kind, dtype);
  actscope_options alone = sketch_options(1), o = sketch_options(0);
  for (int k = 0; k < STEPS; ++k) ACCEPTED(actscope_analyze(&c.part[k], &alone, &step[k]));
  ACCEPTED(actscope_plan_create(&plan, &c.layer, 1, &o));
  for (int k = 0; k < STEPS; ++k) {
    ACCEPTED(actscope_plan_enqueue(plan, &c.part[k], 1, NULL));
    ACCEPTED(actscope_plan_report(plan, 0, &got));
    analyze_first(&c, 0, k + 1, &whole);
    cr_assert_eq(got.sequence, (uint64_t)k + 1);
    check_window(&c, &got, &whole, step, k + 1, "without end");
  }
  ACCEPTED(actscope_plan_reset(plan));
  ACCEPTED(actscope_plan_enqueue(plan, &c.part[1], 1, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &got));
  analyze_first(&c, 1, 1, &whole);
  check_window(&c, &got, &whole, &step[1], 1, "after reset");
  cr_assert_eq(got.sequence, STEPS + 1u);
  actscope_plan_destroy(plan);

  o.window = 2; /* the third step begins a window */
  ACCEPTED(actscope_plan_create(&plan, &c.layer, 1, &o));
  for (int k = 0; k < STEPS; ++k) {
    ACCEPTED(actscope_plan_enqueue(plan, &c.part[k], 1, NULL));
    ACCEPTED(actscope_plan_report(plan, 0, &got));
    int from = k / 2 * 2;
    analyze_first(&c, from, k - from + 1, &whole);
    check_window(&c, &got, &whole, step + from, k - from + 1, "of two");
  }
  actscope_plan_destroy(plan);
  data_free(&c.whole);
  cr_assert_eq(actscope_memory_held(), 0);
}

/* Alone, moments of 16-bit types may need no histogram; a window keeps one all the same. */
Test(windows, moments_alone) {
  for (int dtype = ACTSCOPE_FLOAT16; dtype <= ACTSCOPE_FLOAT8_E5M2; ++dtype) {
    struct cut c;
    struct compare q;
    actscope_plan *plan;
    actscope_layer_report whole, got;
    cut_make(&c, DATA_NORMAL, (actscope_dtype)dtype);
    actscope_options o = sketch_options(0);
    o.statistics = ACTSCOPE_MOMENTS;
    ACCEPTED(actscope_plan_create(&plan, &c.layer, 1, &o));
    for (int k = 0; k < STEPS; ++k) ACCEPTED(actscope_plan_enqueue(plan, &c.part[k], 1, NULL));
    ACCEPTED(actscope_plan_report(plan, 0, &got));
    o.window = 1;
    ACCEPTED(actscope_analyze(&c.whole.tensor, &o, &whole));
    compare_begin(&q, "moments alone, %s", data_dtype_name(c.layer.dtype));
    compare_profile(&q, &got.profile, &whole.profile, c.layer.dtype, ACTSCOPE_MOMENTS);
    CHECK(q);
    actscope_plan_destroy(plan);
    data_free(&c.whole);
  }
}

Test(windows, are_the_union_of_their_steps) {
  static const enum data_kind kinds[] = {DATA_NORMAL, DATA_RELU, DATA_OFFSET, DATA_SCALES};
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int k = 0; k < 4; ++k) run_windows(kinds[k], (actscope_dtype)dtype);
}

Test(windows, count_special_values_of_every_step) {
  struct cut c;
  actscope_plan *plan;
  actscope_layer_report whole, got;
  cut_make(&c, DATA_SPECIALS, ACTSCOPE_FLOAT32);
  actscope_options o = sketch_options(STEPS), alone = sketch_options(1);
  ACCEPTED(actscope_plan_create(&plan, &c.layer, 1, &o));
  for (int k = 0; k < STEPS; ++k) ACCEPTED(actscope_plan_enqueue(plan, &c.part[k], 1, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &got));
  ACCEPTED(actscope_analyze(&c.whole.tensor, &alone, &whole));
  struct compare q;
  compare_begin(&q, "specials");
  compare_profile(&q, &got.profile, &whole.profile, ACTSCOPE_FLOAT32, ACTSCOPE_PROFILE);
  compare_health(&q, &got.health, &whole.health);
  compare_bytes(&q, "distinct", &got.distinct, &whole.distinct, sizeof got.distinct);
  CHECK(q);
  actscope_plan_destroy(plan);
  data_free(&c.whole);
}

Test(windows, of_gram_are_means) {
  struct cut c;
  actscope_plan *plan;
  actscope_layer_report got, one;
  cut_make(&c, DATA_FACTORS, ACTSCOPE_FLOAT32);
  actscope_options o = sketch_options(0), alone = sketch_options(1);
  o.correlation = alone.correlation = ACTSCOPE_CORRELATION_GRAM;
  double sum = 0;
  uint64_t total = 0;
  ACCEPTED(actscope_plan_create(&plan, &c.layer, 1, &o));
  for (int k = 0; k < STEPS; ++k) {
    ACCEPTED(actscope_plan_enqueue(plan, &c.part[k], 1, NULL));
    ACCEPTED(actscope_analyze(&c.part[k], &alone, &one));
    sum += one.correlation.mean_square, total += one.correlation.pairs_total;
  }
  ACCEPTED(actscope_plan_report(plan, 0, &got));
  cr_assert(fabs(got.correlation.mean_square - sum / STEPS) <= 1e-14, "%.17g, not %.17g", got.correlation.mean_square, sum / STEPS);
  cr_assert_eq(got.correlation.pairs_total, total);
  cr_assert_eq(got.correlation.pairs, total);
  cr_assert(isnan(got.correlation.mean_abs));
  actscope_plan_destroy(plan);
  data_free(&c.whole);
}

/* The sample of step k against the oracle's, or that of the first step where the same pairs are asked for; a window adds them
 * up. A change of shapes and back counts on. */
static void check_samples(int same, int window) {
  struct cut c;
  actscope_plan *plan;
  actscope_layer_report got, before, first = {0};
  struct ref_correlation ref, all;
  uint64_t valid, list[D];
  enum { PAIRS = 100 };
  struct ref_pair pairs[PAIRS];
  cut_make(&c, DATA_FACTORS, ACTSCOPE_FLOAT32);
  actscope_options o = sketch_options(window);
  o.statistics = ACTSCOPE_CORRELATION;
  o.correlation = ACTSCOPE_CORRELATION_SAMPLED, o.pairs = PAIRS, o.seed = 11, o.same_pairs = same;
  struct ref_matrix m;
  ref_matrix_load(&m, &c.part[0], 0);
  valid = ref_valid_features(&m, list);
  memset(&all, 0, sizeof all);
  ACCEPTED(actscope_plan_create(&plan, &c.layer, 1, &o));
  for (int k = 0; k < 5; ++k) {
    struct compare q;
    compare_begin(&q, "step %d%s, window %d", k, same ? ", the same pairs" : "", window);
    if (k == 4) { /* elsewhere in between */
      int64_t other_shape[2] = {N - 1, D};
      actscope_layer other = c.layer;
      other.shape = other_shape;
      ACCEPTED(actscope_plan_reshape(plan, &other, 1));
      ACCEPTED(actscope_plan_reshape(plan, &c.layer, 1));
      memset(&all, 0, sizeof all);
    }
    ACCEPTED(actscope_plan_enqueue(plan, &c.part[0], 1, NULL));
    ACCEPTED(actscope_plan_report(plan, 0, &got));
    cr_assert_eq(got.sequence, k + 1);
    if (k == 0) first = got;
    { /* other pairs at every step make the interval narrower, the same do not; the activations are those of the first */
      const double *f = first.correlation.mean_abs_ci95, *g = got.correlation.mean_abs_ci95, steps = (double)got.steps;
      const double half = f[1] - f[0], want = same ? half : half / sqrt(steps);
      compare_value(&q, "width of the interval", g[1] - g[0], want, same ? 1e-9 : 0.3 * want, 0);
    }
    ref_sampled_pairs(valid, PAIRS, o.seed, same ? 0 : (uint64_t)k, pairs);
    ref_correlate(&m, compare_r_slack(N), pairs, PAIRS, &ref);
    ref.value.method = ACTSCOPE_CORRELATION_SAMPLED;
    if (window == 1) compare_correlation(&q, &got.correlation, &ref, o.pair_functionals);
    all.value.mean_abs += ref.value.mean_abs, all.value.mean_square += ref.value.mean_square;
    compare_value(&q, "mean_abs", got.correlation.mean_abs, window == 1 ? ref.value.mean_abs : all.value.mean_abs / (double)got.steps,
                  2 * compare_r_slack(N), 0);
    compare_value(&q, "mean_square", got.correlation.mean_square,
                  window == 1 ? ref.value.mean_square : all.value.mean_square / (double)got.steps, 4 * compare_r_slack(N), 0);
    CHECK(q);
    if (k > 0 && window == 1)
      cr_assert_eq(memcmp(&got.correlation, &before.correlation, sizeof got.correlation) == 0, same, "step %d%s", k, same ? "" : " repeats a sample");
    before = got;
  }
  actscope_plan_destroy(plan);
  ref_matrix_free(&m);
  data_free(&c.whole);
}
Test(windows, of_samples_look_at_other_pairs_each_step) {
  for (int window = 1; window >= 0; --window)
    for (int same = 0; same < 2; ++same) check_samples(same, window);
}

Test(windows, of_exact_distinct_values_are_refused_for_wide_types) {
  int64_t shape[] = {4, 4};
  actscope_plan *plan;
  actscope_options o = cpu_options();
  actscope_choice choice;
  o.window = 4;
  o.distinct = ACTSCOPE_DISTINCT_EXACT;
  actscope_layer wide = {"w", ACTSCOPE_FLOAT32, 2, shape}, narrow = {"n", ACTSCOPE_BFLOAT16, 2, shape};
  REFUSED(actscope_plan_create(&plan, &wide, 1, &o), ACTSCOPE_UNSUPPORTED, "window");
  ACCEPTED(actscope_plan_create(&plan, &narrow, 1, &o));
  actscope_plan_destroy(plan);
  o.distinct = ACTSCOPE_DISTINCT_AUTO;
  ACCEPTED(actscope_plan_create(&plan, &wide, 1, &o));
  ACCEPTED(actscope_plan_choice(plan, 0, &choice));
  cr_assert_eq(choice.distinct, ACTSCOPE_DISTINCT_SKETCH);
  cr_assert(choice.kept_bytes > 16384);
  actscope_plan_destroy(plan);
  o.window = -1;
  REFUSED(actscope_plan_create(&plan, &wide, 1, &o), ACTSCOPE_INVALID_ARGUMENT, "window");
  o.window = 1, o.history = 0;
  REFUSED(actscope_plan_create(&plan, &wide, 1, &o), ACTSCOPE_INVALID_ARGUMENT, "history");
  o.history = 1025;
  REFUSED(actscope_plan_create(&plan, &wide, 1, &o), ACTSCOPE_INVALID_ARGUMENT, "history");
}

Test(windows, begin_anew_in_another_workspace) {
  struct cut c;
  actscope_plan *plan;
  actscope_layer_report got;
  size_t bytes, alignment;
  cut_make(&c, DATA_NORMAL, ACTSCOPE_FLOAT32);
  actscope_options o = sketch_options(0);
  ACCEPTED(actscope_plan_create(&plan, &c.layer, 1, &o));
  ACCEPTED(actscope_plan_workspace(plan, &bytes, &alignment));
  struct guarded a, b;
  guard_alloc(&a, bytes, alignment, 0, POISON_NAN);
  guard_alloc(&b, bytes, alignment, 0, POISON_ODD);
  ACCEPTED(actscope_plan_bind(plan, a.data, bytes));
  ACCEPTED(actscope_plan_enqueue(plan, &c.part[0], 1, NULL));
  ACCEPTED(actscope_plan_enqueue(plan, &c.part[1], 1, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &got));
  cr_assert_eq(got.steps, 2);
  ACCEPTED(actscope_plan_bind(plan, b.data, bytes));
  ACCEPTED(actscope_plan_enqueue(plan, &c.part[2], 1, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &got));
  cr_assert_eq(got.steps, 1);
  cr_assert_eq(got.profile.count, N * D);
  actscope_plan_destroy(plan);
  cr_assert(guard_damage(&a) == 0 && guard_damage(&b) == 0, "written outside the workspace");
  guard_free(&a);
  guard_free(&b);
  data_free(&c.whole);
}

/* ---- The last reports --------------------------------------------------------------------------------------------------- */

Test(history, keeps_the_last_reports) {
  enum { KEPT = 3, RUNS = 8 };
  int64_t shape[] = {6, 5};
  float x[30];
  actscope_layer layers[] = {{"a", ACTSCOPE_FLOAT32, 2, shape}, {"b", ACTSCOPE_FLOAT32, 2, shape}};
  actscope_tensor t[] = {{x, ACTSCOPE_FLOAT32, 2, shape, NULL}, {x, ACTSCOPE_FLOAT32, 2, shape, NULL}};
  actscope_options o = cpu_options();
  actscope_layer_report r;
  actscope_plan *plan;
  o.history = KEPT;
  ACCEPTED(actscope_plan_create(&plan, layers, 2, &o));
  REFUSED(actscope_plan_report_at(plan, 0, 1, &r), ACTSCOPE_NOT_READY, "a:");
  for (int run = 1; run <= RUNS; ++run) {
    for (int k = 0; k < 30; ++k) x[k] = (float)(run * 100 + k * k % 7);
    if (run == 2) t[1].data = NULL; /* b is one behind from here on */
    else t[1].data = x;
    ACCEPTED(actscope_plan_enqueue(plan, t, 2, NULL));
    for (int layer = 0; layer < 2; ++layer) {
      int newest = layer && run > 1 ? run - 1 : run;
      for (int s = newest; s > newest - KEPT && s >= 1; --s) {
        ACCEPTED(actscope_plan_report_at(plan, (size_t)layer, (uint64_t)s, &r));
        int when = layer && s > 1 ? s + 1 : s;
        cr_assert(r.sequence == (uint64_t)s && r.profile.min == when * 100, "run %d, layer %d, report %d: min %g", run, layer, s, r.profile.min);
      }
      if (newest > KEPT)
        REFUSED(actscope_plan_report_at(plan, (size_t)layer, (uint64_t)(newest - KEPT), &r), ACTSCOPE_INVALID_ARGUMENT, "last 3");
      REFUSED(actscope_plan_report_at(plan, (size_t)layer, 0, &r), ACTSCOPE_INVALID_ARGUMENT, "report 0");
      REFUSED(actscope_plan_report_at(plan, (size_t)layer, (uint64_t)newest + 1, &r), ACTSCOPE_NOT_READY, "not been made");
    }
  }
  REFUSED(actscope_plan_report_at(plan, 2, 1, &r), ACTSCOPE_INVALID_ARGUMENT, "layer 2");
  REFUSED(actscope_plan_report_at(plan, 0, 1, NULL), ACTSCOPE_INVALID_ARGUMENT, "report");
  actscope_plan_destroy(plan);
  o.history = 1;
  ACCEPTED(actscope_plan_create(&plan, layers, 2, &o));
  t[1].data = x;
  ACCEPTED(actscope_plan_enqueue(plan, t, 2, NULL));
  ACCEPTED(actscope_plan_enqueue(plan, t, 2, NULL));
  ACCEPTED(actscope_plan_report_at(plan, 0, 2, &r));
  REFUSED(actscope_plan_report_at(plan, 0, 1, &r), ACTSCOPE_INVALID_ARGUMENT, "last 1");
  actscope_plan_destroy(plan);
}

/* ---- The alarm ----------------------------------------------------------------------------------------------------------- */

Test(alarm, names_the_first_bad_layer_in_call_order) {
  enum { LAYERS = 6 };
  int64_t shape[] = {64, 48}; /* small: these run beside each other */
  static float good[64 * 48], bad[64 * 48], infinite[64 * 48];
  actscope_layer layers[LAYERS];
  actscope_tensor t[LAYERS];
  for (int k = 0; k < 64 * 48; ++k) good[k] = bad[k] = infinite[k] = (float)(k * 37 % 101);
  bad[5] = NAN, infinite[7] = INFINITY;
  for (int k = 0; k < LAYERS; ++k) {
    layers[k] = (actscope_layer){NULL, ACTSCOPE_FLOAT32, 2, shape};
    t[k] = (actscope_tensor){good, ACTSCOPE_FLOAT32, 2, shape, NULL};
  }
  for (int part = 0; part < 3; ++part) {
    actscope_options o = cpu_options();
    actscope_plan *plan;
    size_t layer = 99;
    uint64_t when = 99;
    o.statistics = part == 0 ? ACTSCOPE_ALL : part == 1 ? ACTSCOPE_MOMENTS : ACTSCOPE_HEALTH;
    ACCEPTED(actscope_plan_create(&plan, layers, LAYERS, &o));
    ACCEPTED(actscope_plan_alarm(plan, &layer, &when));
    cr_assert(layer == SIZE_MAX && when == 0);
    ACCEPTED(actscope_plan_enqueue(plan, t, LAYERS, NULL));
    ACCEPTED(actscope_plan_alarm(plan, &layer, NULL));
    cr_assert_eq(layer, SIZE_MAX);
    t[2].data = infinite, t[4].data = bad;
    ACCEPTED(actscope_plan_enqueue(plan, t, LAYERS, NULL));
    t[1].data = bad; /* later, so not the first */
    ACCEPTED(actscope_plan_enqueue(plan, t, LAYERS, NULL));
    ACCEPTED(actscope_plan_alarm(plan, &layer, &when));
    cr_assert(layer == 2 && when == 2, "part %d: layer %zu at %llu", part, layer, (unsigned long long)when);
    ACCEPTED(actscope_plan_reset(plan));
    ACCEPTED(actscope_plan_alarm(plan, &layer, &when));
    cr_assert(layer == SIZE_MAX && when == 0);
    ACCEPTED(actscope_plan_enqueue(plan, t, LAYERS, NULL));
    ACCEPTED(actscope_plan_alarm(plan, &layer, &when));
    cr_assert(layer == 1 && when == 4);
    REFUSED(actscope_plan_alarm(NULL, &layer, &when), ACTSCOPE_INVALID_ARGUMENT, "plan");
    REFUSED(actscope_plan_reset(NULL), ACTSCOPE_INVALID_ARGUMENT, "plan");
    actscope_plan_destroy(plan);
    t[1].data = t[2].data = t[4].data = good;
  }
}
