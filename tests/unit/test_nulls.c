/* test_nulls.c - correlations beyond noise: halves of the samples against each other, and the floor of rotated samples;
 * each against the pairs one by one, and for what it is meant to say. */
#include "api_calls.h"
#include "stages.h"

TestSuite(nulls, .timeout = 240);

/* As of |r| (compare.h): products of float32 z-scores. */
static const double bound = 5e-6;

static void check_halves(struct stage_input *in, int threads, int64_t bytes) {
  struct stage_memory m;
  struct compare c;
  double got[2] = {7, 7}, want[2];
  stage_memory(&m, actscope_cpu_halves_need(in->v.dtype, in->v.samples, in->v.features, threads), bytes);
  actscope_status status = actscope_cpu_halves(&in->t.tensor, 0, threads, m.g.data, m.bytes, &got[0], &got[1]);
  cr_assert_eq(status, ACTSCOPE_OK, "%s: %s", in->name, actscope_last_error());
  stage_memory_check(&m, "halves");
  ref_split_half(&in->m, in->m.samples / 2, &want[0], &want[1]);
  compare_begin(&c, "%s, %d threads", in->name, threads);
  compare_value(&c, "split_half", got[0], want[0], 2 * bound, 0);
  /* a root: near 0 it has half the digits */
  compare_value(&c, "split_half_rms squared", got[1] * got[1], want[1] * want[1], bound, 0);
  CHECK(c);
}
static void check_shift(struct stage_input *in, int threads, int64_t bytes, uint64_t seed) {
  struct stage_memory m;
  struct compare c;
  double got = 7;
  struct column *columns = stage_columns(&in->v, threads);
  stage_memory(&m, actscope_cpu_shift_need(in->v.dtype, in->v.samples, in->v.features, threads), bytes);
  actscope_status status = actscope_cpu_shift(&in->v, columns, seed, threads, m.g.data, m.bytes, &got);
  cr_assert_eq(status, ACTSCOPE_OK, "%s: %s", in->name, actscope_last_error());
  stage_memory_check(&m, "shift");
  compare_begin(&c, "%s, %d threads", in->name, threads);
  compare_value(&c, "noise_floor_shift", got, ref_shift(&in->m, seed), bound, 0);
  CHECK(c);
  free(columns);
}
static void run(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features) {
  struct stage_input in;
  stage_input(&in, kind, samples * 31 + features, dtype, layout, samples, features);
  const int odd = (samples ^ features) & 1;
  check_halves(&in, 1 + odd, odd ? BEST : LEAST);
  check_shift(&in, 1 + odd, odd ? BEST : LEAST, samples);
  stage_input_free(&in);
}

ParameterizedTestParameters(nulls, every_type_and_layout) { return instruction_sets(); }
ParameterizedTest(int *isa, nulls, every_type_and_layout) {
  USE_INSTRUCTION_SET(*isa);
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int layout = 0; layout < LAYOUTS; ++layout) {
      run(DATA_FACTORS, (actscope_dtype)dtype, (enum data_layout)layout, 41, 90);
      run(DATA_CONSTANT_COLUMNS, (actscope_dtype)dtype, (enum data_layout)layout, 91, 40);
    }
}

ParameterizedTestParameters(nulls, every_content) { return instruction_sets(); }
ParameterizedTest(int *isa, nulls, every_content) {
  USE_INSTRUCTION_SET(*isa);
  for (int kind = 0; kind < DATA_KINDS; ++kind) {
    run((enum data_kind)kind, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 50, 1300);
    run((enum data_kind)kind, ACTSCOPE_BFLOAT16, LAYOUT_ROWS, 700, 50);
    run((enum data_kind)kind, ACTSCOPE_FLOAT64, LAYOUT_COLUMNS, 70, 75);
  }
}

ParameterizedTestParameters(nulls, every_size) { return instruction_sets(); }
ParameterizedTest(int *isa, nulls, every_size) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t sizes[] = {1, 2, 3, 5, 6, 7, 8, 9, 31, 33, 49, 97, 130, 193, 257};
  for (int a = 0; a < 15; ++a)
    for (int b = 0; b < 15; ++b)
      if (sizes[a] * sizes[b] < 30000)
        run(DATA_FACTORS, ACTSCOPE_FLOAT32, (a + b) % 2 ? LAYOUT_COLUMNS : LAYOUT_ROWS, sizes[a], sizes[b]);
}

/* Noise says nothing of itself in another half; a pattern says all. */
Test(nulls, halves_tell_noise_from_structure) {
  static const struct { enum data_kind kind; double least, most, rms_least, rms_most; } cases[] = {
      {DATA_NORMAL, -0.03, 0.03, 0, 0.03}, {DATA_FACTORS, 0.85, 1, 0.2, 1}};
  for (int k = 0; k < 2; ++k) {
    struct stage_input in;
    struct stage_memory m;
    double congruence, rms;
    stage_input(&in, cases[k].kind, 12, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 128, 400);
    stage_memory(&m, actscope_cpu_halves_need(in.v.dtype, 128, 400, 2), BEST);
    cr_assert_eq(actscope_cpu_halves(&in.t.tensor, 0, 2, m.g.data, m.bytes, &congruence, &rms), ACTSCOPE_OK);
    cr_assert(congruence >= cases[k].least && congruence <= cases[k].most, "%s: %g", in.name, congruence);
    cr_assert(rms >= cases[k].rms_least && rms <= cases[k].rms_most, "%s: rms %g", in.name, rms);
    stage_memory_check(&m, "halves");
    stage_input_free(&in);
  }
}

/* Independent features of heavy tails: their mean |r| is far from the formula for normal ones, and the rotated floor is at it;
 * also where all features are the same one. */
Test(nulls, shift_knows_the_marginals) {
  enum { N = 128, D = 300 };
  double *x = malloc(N * D * sizeof *x);
  struct random_state r = {3};
  actscope_options o = cpu_options();
  o.statistics = ACTSCOPE_CORRELATION;
  o.pair_functionals |= ACTSCOPE_PAIRS_SHIFT;
  for (int same = 0; same < 2; ++same) {
    struct laid_out t;
    actscope_layer_report report;
    for (int f = 0; f < D; ++f)
      for (int s = 0; s < N; ++s) x[s * D + f] = same && f ? x[s * D] * (1 + f % 3) : pow(random_normal(&r), 7);
    data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
    ACCEPTED(actscope_analyze(&t.tensor, &o, &report));
    const actscope_correlation *c = &report.correlation;
    if (!same) {
      cr_assert(c->mean_abs < 0.8 * c->noise_floor, "%g, by the formula %g", c->mean_abs, c->noise_floor);
      cr_assert(fabs(c->noise_floor_shift / c->mean_abs - 1) < 0.03, "%g, independent %g", c->noise_floor_shift, c->mean_abs);
    } else {
      cr_assert(c->mean_abs > 0.999 && c->noise_floor_shift < 0.1, "%g, rotated %g", c->mean_abs, c->noise_floor_shift);
    }
    data_free(&t);
  }
  free(x);
}

/* In a plan: with every method, with channels, over windows, within the least budget, and not when not asked for. */
Test(nulls, in_a_plan) {
  struct stage_input in[2];
  actscope_options o = cpu_options();
  actscope_layer_report r;
  actscope_plan *p;
  double want[2][2];
  for (int k = 0; k < 2; ++k) {
    stage_input(&in[k], DATA_HUBS, 5 + (uint64_t)k, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 30, 200);
    ref_split_half(&in[k].m, 15, &want[k][0], &want[k][1]);
  }
  const actscope_layer layer = {"x", ACTSCOPE_FLOAT32, 2, in[0].t.tensor.shape};
  o.statistics = ACTSCOPE_CORRELATION;
  o.pair_functionals = ACTSCOPE_PAIRS_SPLIT_HALF | ACTSCOPE_PAIRS_SHIFT;
  o.seed = 9;
  ACCEPTED(actscope_minimum_budget(&layer, 1, &o, &o.memory_budget));
  for (int method = ACTSCOPE_CORRELATION_EXACT; method <= ACTSCOPE_CORRELATION_GRAM; ++method) {
    struct compare c;
    o.correlation = (actscope_correlation_method)method;
    o.pairs = 1000;
    ACCEPTED(actscope_minimum_budget(&layer, 1, &o, &o.memory_budget));
    o.window = 0;
    o.memory_budget += 65536; /* for the window */
    ACCEPTED(actscope_plan_create(&p, &layer, 1, &o));
    compare_begin(&c, "method %d", method);
    for (int k = 0; k < 2; ++k) {
      ACCEPTED(actscope_plan_enqueue(p, &in[k].t.tensor, 1, NULL));
      ACCEPTED(actscope_plan_report(p, 0, &r));
      compare_value(&c, "split_half", r.correlation.split_half, k ? (want[0][0] + want[1][0]) / 2 : want[0][0], 2 * bound, 0);
      compare_value(&c, "split_half_rms", r.correlation.split_half_rms, k ? (want[0][1] + want[1][1]) / 2 : want[0][1], 1e-4, 0);
      compare_value(&c, "noise_floor_shift", r.correlation.noise_floor_shift,
                    k ? (ref_shift(&in[0].m, 9) + ref_shift(&in[1].m, 9)) / 2 : ref_shift(&in[0].m, 9), bound, 0);
    }
    CHECK(c);
    o.window = 1;
    actscope_plan_destroy(p);
  }
  o.memory_budget = 1 << 28;
  o.pair_functionals = ACTSCOPE_PAIRS_ALL;
  o.correlation = ACTSCOPE_CORRELATION_EXACT;
  ACCEPTED(actscope_analyze(&in[0].t.tensor, &o, &r));
  cr_assert(isnan(r.correlation.split_half) && isnan(r.correlation.split_half_rms) && isnan(r.correlation.noise_floor_shift));
  /* channels: whole images go to a half */
  int64_t shape[3] = {7, 20, 10};
  const actscope_tensor images = {in[0].t.tensor.data, ACTSCOPE_FLOAT32, 3, shape, NULL};
  struct ref_matrix m;
  o.channels = 1;
  o.pair_functionals = ACTSCOPE_PAIRS_SPLIT_HALF;
  ACCEPTED(actscope_analyze(&images, &o, &r));
  ref_matrix_load(&m, &images, 1);
  ref_split_half(&m, 30, &want[0][0], &want[0][1]);
  cr_assert(fabs(r.correlation.split_half - want[0][0]) <= 2 * bound, "%g, want %g", r.correlation.split_half, want[0][0]);
  ref_matrix_free(&m);
  for (int k = 0; k < 2; ++k) stage_input_free(&in[k]);
}
