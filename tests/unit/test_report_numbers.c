/* test_report_numbers.c - whole reports against the oracle: shapes x types x layouts x contents, and the stated bounds.
 *
 * What each number may be off by stands in one table, in tests/reference/compare.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference/data.h"
#include "reference/reference.h"

TestSuite(numbers, .timeout = 240);

#define CHECK(c) cr_assert_eq(compare_end(&(c)), 0, "%s", (c).text)

static const actscope_dtype dtypes[] = {ACTSCOPE_FLOAT32,     ACTSCOPE_FLOAT16,     ACTSCOPE_BFLOAT16,
                                        ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_FLOAT64};

static actscope_options cpu_options(void) {
  actscope_options o;
  actscope_options_init(&o);
  o.device = ACTSCOPE_DEVICE_CPU;
  o.threads = 2;
  return o;
}

static void analyze(const actscope_tensor *t, const actscope_options *o, actscope_layer_report *r, const char *title) {
  memset(r, POISON_ODD, sizeof *r);
  actscope_status status = actscope_analyze(t, o, r);
  cr_assert_eq(status, ACTSCOPE_OK, "%s: %s: %s", title, actscope_status_name(status), actscope_last_error());
}

/* Everything in a report about a tensor that is not empty. */
static void compare_report(struct compare *c, const actscope_layer_report *r, const actscope_tensor *t,
                           const actscope_options *o) {
  struct ref_matrix m;
  actscope_profile profile;
  actscope_health health;
  actscope_rank rank;
  actscope_similarity similarity;
  struct ref_correlation correlation;
  uint64_t nonfinite, distinct;
  ref_matrix_load(&m, t, o->channels);
  ref_profile(&m, &profile);
  nonfinite = profile.count - profile.finite;
  compare_count(c, "elements", r->elements, m.elements);
  compare_count(c, "samples", r->samples, m.samples);
  compare_count(c, "features", r->features, m.features);
  compare_profile(c, &r->profile, &profile, t->dtype, o->statistics);
  if (o->statistics & ACTSCOPE_DISTINCT) {
    distinct = ref_distinct(&m);
    int sketch = ref_size(t->dtype) > 2 && (o->distinct == ACTSCOPE_DISTINCT_SKETCH ||
                                            (o->distinct == ACTSCOPE_DISTINCT_AUTO && m.elements > 65536));
    compare_count(c, "distinct.method", (uint64_t)r->distinct.method, sketch ? ACTSCOPE_DISTINCT_SKETCH : ACTSCOPE_DISTINCT_EXACT);
    /* 4.5 standard errors of a sketch, and half a count of rounding */
    double loose = sketch ? 4.5 * r->distinct.relative_standard_error * (double)distinct + 0.5 : 0;
    compare_value(c, "distinct.count", (double)r->distinct.count, (double)distinct, loose, 0);
    compare_between(c, "distinct.count in its interval", (double)r->distinct.count, (double)r->distinct.lower,
                    (double)r->distinct.upper);
    compare_value(c, "redundancy", r->distinct.redundancy, 1 - (double)r->distinct.count / (double)m.elements, 1e-15, 0);
    if (!sketch) {
      compare_count(c, "distinct.lower", r->distinct.lower, distinct);
      compare_count(c, "distinct.upper", r->distinct.upper, distinct);
      compare_value(c, "distinct.relative_standard_error", r->distinct.relative_standard_error, 0, 0, 0);
    }
  }
  if (o->statistics & ACTSCOPE_HEALTH) {
    ref_health(&m, &health);
    compare_health(c, &r->health, &health);
  }
  uint64_t *list = malloc((m.features + 1) * sizeof *list), valid = ref_valid_features(&m, list);
  if (o->statistics & ACTSCOPE_CORRELATION) {
    ref_correlate(&m, compare_count_slack(m.samples, valid), NULL, 0, &correlation);
    compare_correlation(c, &r->correlation, &correlation, o->pair_functionals);
  }
  if (o->statistics & ACTSCOPE_RANK) {
    ref_rank(&m, &rank);
    compare_rank(c, &r->rank, &rank);
  }
  if (o->statistics & ACTSCOPE_SIMILARITY) {
    ref_similarity(&m, &similarity);
    compare_similarity(c, &r->similarity, &similarity);
  }
  uint32_t seen = ~0u; /* whether values are finite is looked at for the moments' sake */
  if (!(o->statistics & ACTSCOPE_MOMENTS)) seen = ~(uint32_t)ACTSCOPE_WARN_NONFINITE;
  uint32_t warnings = (nonfinite ? ACTSCOPE_WARN_NONFINITE : 0) | (m.elements >= o->large_tensor ? ACTSCOPE_WARN_LARGE_TENSOR : 0);
  if (o->statistics & ACTSCOPE_CORRELATION)
    warnings |= (m.samples < 3 ? ACTSCOPE_WARN_FEW_SAMPLES : 0) | (valid < 2 ? ACTSCOPE_WARN_NO_VALID_PAIR : 0);
  compare_count(c, "warnings", r->warnings & seen, warnings & seen);
  free(list);
  ref_matrix_free(&m);
}

static void one_case(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features,
                     const actscope_options *o, uint64_t seed) {
  double *x = malloc((samples * features + 1) * sizeof *x);
  struct laid_out t;
  struct compare c;
  actscope_layer_report r;
  data_fill(kind, seed, dtype, x, samples, features);
  data_lay_out(&t, x, dtype, samples, features, layout);
  compare_begin(&c, "%s %s %s [%llu, %llu]%s", data_kind_name(kind), data_dtype_name(dtype), data_layout_name(layout),
                (unsigned long long)samples, (unsigned long long)features, o->channels ? " channels" : "");
  analyze(&t.tensor, o, &r, c.title);
  compare_report(&c, &r, &t.tensor, o);
  compare_count(&c, "bytes written beside the tensor", guard_damage(&t.memory), 0);
  CHECK(c);
  data_free(&t);
  free(x);
}

/* Small shapes: every content in every type, layouts in turn. */
static void small_shapes(const uint64_t (*shapes)[2], int count) {
  actscope_options o = cpu_options();
  unsigned turn = 0;
  for (int s = 0; s < count; ++s)
    for (int t = 0; t < 6; ++t)
      for (int kind = 0; kind < DATA_KINDS; ++kind, ++turn) {
        o.threads = turn % 8 ? 1 : 2;
        one_case(kind, dtypes[t], (enum data_layout)((turn + turn / 8) % LAYOUTS), shapes[s][0], shapes[s][1], &o, turn);
      }
}
Test(numbers, one_to_three_samples) {
  static const uint64_t shapes[][2] = {{1, 1}, {1, 31}, {2, 1}, {2, 16}, {3, 1}, {3, 11}, {1, 257}, {2, 129}, {3, 85}};
  small_shapes(shapes, sizeof shapes / sizeof *shapes);
}
Test(numbers, sizes_about_powers_of_two) {
  static const uint64_t shapes[][2] = {{31, 1}, {32, 1}, {33, 1}, {4, 8}, {3, 11}, {5, 51}, {16, 16}, {257, 1}, {7, 73}, {8, 64}, {27, 19}};
  small_shapes(shapes, sizeof shapes / sizeof *shapes);
}
Test(numbers, odd_and_prime_features) {
  static const uint64_t shapes[][2] = {{31, 33}, {33, 31}, {64, 17}, {65, 37}, {128, 13}, {12, 97}};
  small_shapes(shapes, sizeof shapes / sizeof *shapes);
}

/* Larger ones: contents, types and layouts in turn, so that each pair of them meets. */
Test(numbers, larger_shapes_in_turn) {
  static const uint64_t shapes[][2] = {{129, 255}, {64, 1023}, {127, 513}, {4097, 3}, {1000, 41}, {2, 2049}, {65537, 1}, {1, 65535}, {33, 1985}};
  actscope_options o = cpu_options();
  unsigned turn = 0;
  for (int s = 0; s < 9; ++s)
    for (int k = 0; k < 8; ++k, ++turn)
      one_case((enum data_kind)((7 * turn) % DATA_KINDS), dtypes[(turn + turn / 6) % 6], (enum data_layout)((turn + s) % LAYOUTS),
               shapes[s][0], shapes[s][1], &o, turn);
}

Test(numbers, spectrum_of_255_samples) {
  actscope_options o = cpu_options();
  one_case(DATA_FACTORS, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 255, 257, &o, 1);
}

/* Every layout of every type, on one shape. */
Test(numbers, every_layout) {
  actscope_options o = cpu_options();
  for (int t = 0; t < 6; ++t)
    for (enum data_layout layout = 0; layout < LAYOUTS; ++layout)
      for (int n = 0; n < 3; ++n)
        one_case(n ? DATA_SPECIALS : DATA_FACTORS, dtypes[t], layout, n == 2 ? 2 : 41, n == 2 ? 300 : 58, &o, 5 + (uint64_t)n);
}

/* The least memory and somewhat more: strips, groups of samples and passes, against the oracle. Shapes lie about the
 * blocks, chunks and runs that the backend cuts by. */
static void tight(enum data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features, int method) {
  double *x = malloc(samples * features * sizeof *x);
  struct laid_out t;
  struct ref_matrix m;
  struct ref_correlation want;
  actscope_health health;
  actscope_options o = cpu_options();
  int64_t shape[2] = {(int64_t)samples, (int64_t)features};
  actscope_layer layer = {"tight", dtype, 2, shape};
  uint64_t least, *list = malloc(features * sizeof *list), valid, total, count;
  o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_HEALTH;
  o.correlation = (actscope_correlation_method)method;
  o.pairs = features * 5 + 3;
  o.seed = samples;
  data_fill(kind, 17, dtype, x, samples, features);
  data_lay_out(&t, x, dtype, samples, features, samples % 2 ? LAYOUT_ROWS : LAYOUT_COLUMNS);
  ref_matrix_load(&m, &t.tensor, 0);
  ref_health(&m, &health);
  valid = ref_valid_features(&m, list);
  total = valid * (valid - (valid > 0)) / 2;
  count = o.pairs < total ? o.pairs : total;
  struct ref_pair *pairs = malloc((count + 1) * sizeof *pairs);
  ref_sampled_pairs(valid, count, o.seed, 0, pairs);
  ref_correlate(&m, compare_r_slack(samples), method == ACTSCOPE_CORRELATION_SAMPLED ? pairs : NULL, count, &want);
  cr_assert_eq(actscope_minimum_budget(&layer, 1, &o, &least), ACTSCOPE_OK);
  for (int step = 0; step < 5; ++step) {
    struct compare c;
    actscope_layer_report r;
    o.memory_budget = step == 0 ? least : least + least * (1ull << (2 * step)) / 16;
    o.threads = 1 + step % 2;
    compare_begin(&c, "%s %s [%llu, %llu], method %d in %llu of %llu bytes", data_kind_name(kind), data_dtype_name(dtype),
                  (unsigned long long)samples, (unsigned long long)features, method,
                  (unsigned long long)o.memory_budget, (unsigned long long)least);
    /* threads share the memory: the least one is that of the call's own */
    if (step) cr_assert_eq(actscope_minimum_budget(&layer, 1, &o, &least), ACTSCOPE_OK);
    if (o.memory_budget < least) o.memory_budget = least;
    analyze(&t.tensor, &o, &r, c.title);
    compare_health(&c, &r.health, &health);
    if (method == ACTSCOPE_CORRELATION_GRAM) {
      compare_value(&c, "mean_square", r.correlation.mean_square, want.value.mean_square, 1e-6, 0);
      compare_count(&c, "valid", r.correlation.valid_features, valid);
    } else {
      compare_correlation(&c, &r.correlation, &want, ACTSCOPE_PAIRS_DEFAULT);
    }
    CHECK(c);
  }
  free(pairs);
  ref_matrix_free(&m);
  data_free(&t);
  free(list);
  free(x);
}
Test(numbers, tight_memory) {
  static const uint64_t shapes[][2] = {{5000, 40}, {300, 700}, {1025, 130}, {513, 257}, {64, 1301}, {256, 383}, {2049, 97}, {257, 640}};
  for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k)
    for (int method = 1; method < 4; ++method) {
      unsigned turn = (unsigned)(3 * k) + (unsigned)method;
      tight(turn % 3 == 0 ? DATA_SPECIALS : turn % 3 == 1 ? DATA_HUBS : DATA_SCALES, dtypes[turn % 6 == 3 || turn % 6 == 4 ? 0 : turn % 6],
            shapes[k][0], shapes[k][1], method);
    }
}

/* float64 over its whole range: powers of deviations overflow and underflow, and what exists is still found. */
Test(numbers, float64_at_the_ends_of_its_range) {
  static const double scales[] = {1e307, 1e200, 1e80, 1e-80, 1e-160, 1e-200, 1e-300, 1e-320};
  double x[2000];
  actscope_options o = cpu_options();
  o.statistics = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
  for (size_t k = 0; k < sizeof scales / sizeof *scales; ++k)
    for (int n = 1; n <= 2000; n = 3 * n + 2) {
      struct laid_out t;
      struct compare c;
      actscope_layer_report r;
      data_fill(DATA_NORMAL, (uint64_t)n, ACTSCOPE_FLOAT64, x, (uint64_t)n, 1);
      for (int i = 0; i < n; ++i) x[i] = (x[i] + 3 * (n % 2)) * scales[k];
      data_lay_out(&t, x, ACTSCOPE_FLOAT64, (uint64_t)n, 1, LAYOUT_ROWS);
      compare_begin(&c, "%d values about %g", n, scales[k]);
      analyze(&t.tensor, &o, &r, c.title);
      compare_report(&c, &r, &t.tensor, &o);
      CHECK(c);
      data_free(&t);
    }
}

/* Every instruction set that this processor has, in processes of their own (the choice is made once). */
static void instruction_set(const char *name) {
  static const uint64_t shapes[][2] = {{128, 257}, {33, 131}, {600, 65}, {3, 1000}, {2100, 17}, {1, 333}};
  actscope_options o = cpu_options();
  unsigned turn = 0;
  setenv("ACTSCOPE_ISA", name, 1);
  for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k)
    for (int t = 0; t < 6; ++t)
      for (int round = 0; round < 3; ++round, ++turn)
        one_case((enum data_kind)(turn % DATA_KINDS), dtypes[t], (enum data_layout)((turn + turn / 8) % LAYOUTS), shapes[k][0], shapes[k][1], &o, turn);
}
Test(numbers, instruction_set_baseline) { instruction_set("baseline"); }
Test(numbers, instruction_set_avx2) { instruction_set("avx2"); }
Test(numbers, instruction_set_avx512) { instruction_set("avx512"); }
Test(numbers, instruction_set_avx512vnni) { instruction_set("avx512vnni"); }

/* Features = axis 1, from compact and from channels-last memory. */
Test(numbers, channels) {
  enum { N = 6, C = 10, H = 5, W = 7 };
  static const int64_t shape[4] = {N, C, H, W}, last[4] = {C * H * W, 1, W * C, C};
  actscope_options o = cpu_options();
  o.channels = 1;
  for (int t = 0; t < 6; ++t)
    for (int layout = 0; layout < 2; ++layout) {
      double x[N * C * H * W];
      struct laid_out flat;
      struct compare c;
      actscope_layer_report r;
      data_fill(t % 2 ? DATA_CONSTANT_COLUMNS : DATA_FACTORS, 3, dtypes[t], x, N * H * W, C);
      data_lay_out(&flat, x, dtypes[t], N, C * H * W, LAYOUT_ROWS);
      actscope_tensor tensor = {flat.tensor.data, dtypes[t], 4, shape, layout ? last : NULL};
      compare_begin(&c, "channels %s, %s", layout ? "last" : "first", data_dtype_name(dtypes[t]));
      analyze(&tensor, &o, &r, c.title);
      compare_count(&c, "features", r.features, C);
      compare_report(&c, &r, &tensor, &o);
      CHECK(c);
      data_free(&flat);
    }
}

/* One sample of storage under all: a stride of 0 over the samples makes constants, over everything one value. */
Test(numbers, broadcast_samples) {
  float x[5] = {1, -2, 0.1f, 4, 0};
  int64_t shape[2] = {100, 5}, strides[2] = {0, 1}, none[2] = {0, 0};
  actscope_options o = cpu_options();
  actscope_layer_report r;
  for (int k = 0; k < 2; ++k) {
    actscope_tensor t = {x, ACTSCOPE_FLOAT32, 2, shape, k ? none : strides};
    struct compare c;
    compare_begin(&c, "broadcast %d", k);
    analyze(&t, &o, &r, c.title);
    compare_report(&c, &r, &t, &o);
    compare_count(&c, "constant", r.health.constant, 5);
    CHECK(c);
  }
}

/* ---- The stated bounds ------------------------------------------------------------------------------------------------- */

/* [128, 8192]: mean |r| and mean r^2 within 1e-6, max |r| within 2e-6 of double. */
static void headline(enum data_kind kind) {
  enum { N = 128, D = 8192 };
  double *x = malloc(sizeof *x * N * D);
  struct laid_out t;
  actscope_options o = cpu_options();
  actscope_layer_report r;
  struct ref_matrix m;
  struct ref_correlation want;
  struct compare c;
  o.statistics = ACTSCOPE_CORRELATION;
  data_fill(kind, 2, ACTSCOPE_FLOAT32, x, N, D);
  data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_FLAT);
  compare_begin(&c, "[128, 8192] %s", data_kind_name(kind));
  analyze(&t.tensor, &o, &r, c.title);
  ref_matrix_load(&m, &t.tensor, 0);
  ref_correlate(&m, compare_count_slack(N, D), NULL, 0, &want);
  compare_correlation(&c, &r.correlation, &want, ACTSCOPE_PAIRS_DEFAULT);
  compare_value(&c, "mean_abs within 1e-6", r.correlation.mean_abs, want.value.mean_abs, 1e-6, 0);
  compare_value(&c, "mean_square within 1e-6", r.correlation.mean_square, want.value.mean_square, 1e-6, 0);
  compare_value(&c, "max_abs within 2e-6", r.correlation.max_abs, want.value.max_abs, 2e-6, 0);
  compare_count(&c, "pairs", r.correlation.pairs, 33550336);
  CHECK(c);
  ref_matrix_free(&m);
  data_free(&t);
  free(x);
}
Test(numbers, exact_correlation_of_8192_features) { headline(DATA_HUBS); }

/* A million elements: moments at mean/std 1000, steps, drift, outliers, late normals; quantiles; distinct counts. */
static void million(actscope_dtype dtype, const enum data_kind *kinds, int count) {
  enum { N = 1 << 20 };
  double *x = malloc(sizeof *x * N);
  actscope_options o = cpu_options();
  o.statistics = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
  for (int k = 0; k < count; ++k) {
    struct laid_out t;
    struct compare c;
    actscope_layer_report r;
    data_fill(kinds[k], 6, dtype, x, 1024, N / 1024);
    data_lay_out(&t, x, dtype, 1024, N / 1024, LAYOUT_ROWS);
    compare_begin(&c, "2^20 %s %s", data_kind_name(kinds[k]), data_dtype_name(dtype));
    analyze(&t.tensor, &o, &r, c.title);
    compare_report(&c, &r, &t.tensor, &o);
    CHECK(c);
    data_free(&t);
  }
  free(x);
}
Test(numbers, a_million_float32) {
  static const enum data_kind kinds[] = {DATA_OFFSET, DATA_STEPS, DATA_DRIFT, DATA_OUTLIERS, DATA_ZEROS_THEN, DATA_RELU, DATA_SPECIALS};
  million(ACTSCOPE_FLOAT32, kinds, 7);
}
Test(numbers, a_million_of_the_others) {
  static const enum data_kind kinds[] = {DATA_NORMAL, DATA_OFFSET};
  for (int t = 1; t < 6; ++t) million(dtypes[t], kinds, ref_size(dtypes[t]) == 1 ? 1 : 2);
}

/* The sketch over many tensors: standard error at most 1.05 %, no bias, and the interval covers 95 %. */
Test(numbers, sketch_of_float32) {
  enum { N = 120000, ELEMENTS = N + N / 10, SEEDS = 160 }; /* some twice: a count is never above the elements */
  float *x = malloc(ELEMENTS * sizeof *x);
  double squares = 0, sum = 0, covered = 0, claimed = 0;
  int64_t shape[1] = {ELEMENTS};
  actscope_tensor t = {x, ACTSCOPE_FLOAT32, 1, shape, NULL};
  actscope_options o = cpu_options();
  o.statistics = ACTSCOPE_DISTINCT;
  for (int seed = 0; seed < SEEDS; ++seed) { /* structured sequences: the count is known without sorting */
    static const enum data_floats kinds[] = {FLOATS_CONSECUTIVE, FLOATS_INTEGERS, FLOATS_256THS, FLOATS_2048THS, FLOATS_LOW_BITS, FLOATS_SIGNED_GRID};
    actscope_layer_report r;
    for (uint64_t i = 0; i < ELEMENTS; ++i)
      x[i] = data_float(kinds[seed % 6], (uint64_t)(seed / 6) * N + (i * 77773) % N, 1);
    analyze(&t, &o, &r, "sketch");
    cr_assert_eq(r.distinct.method, ACTSCOPE_DISTINCT_SKETCH);
    double error = (double)r.distinct.count / N - 1;
    sum += error / SEEDS;
    squares += error * error / SEEDS;
    covered += (r.distinct.lower <= N && N <= r.distinct.upper) / (double)SEEDS;
    claimed += r.distinct.relative_standard_error / SEEDS;
  }
  cr_assert(sqrt(squares) <= 0.0105, "standard error %.3f %%", 100 * sqrt(squares));
  cr_assert(fabs(sum) < 0.0026, "bias %.3f %%", 100 * sum); /* 3.3 standard errors of the mean */
  cr_assert(covered >= 0.91, "covers %.1f %%", 100 * covered);
  cr_assert(claimed > 0.0095 && claimed < 0.0104, "claims %.3f %%", 100 * claimed);
  free(x);
}

/* Exact counting of wide types, and sketches of every width, beside each other. */
Test(numbers, distinct_methods) {
  enum { N = 100000 };
  double *x = malloc(N * sizeof *x);
  actscope_options o = cpu_options();
  o.statistics = ACTSCOPE_DISTINCT;
  for (int t = 0; t < 6; t += 5)
    for (int kind = 0; kind < 3; ++kind)
      for (int p = 3; p <= 18; p += 5) { /* 3 stands for exact */
        struct laid_out data;
        struct compare c;
        actscope_layer_report r;
        data_fill(kind == 0 ? DATA_NORMAL : kind == 1 ? DATA_RELU : DATA_SPECIALS, 8, dtypes[t], x, N / 10, 10);
        if (kind == 1)
          for (int i = 0; i < N; ++i) x[i] = floor(x[i] * 1000); /* some thousand values, often */
        data_lay_out(&data, x, dtypes[t], N / 10, 10, LAYOUT_ROWS);
        o.distinct = p == 3 ? ACTSCOPE_DISTINCT_EXACT : ACTSCOPE_DISTINCT_SKETCH;
        o.sketch_bits = p == 3 ? 12 : p;
        compare_begin(&c, "distinct %s, contents %d, p = %d", data_dtype_name(dtypes[t]), kind, p);
        analyze(&data.tensor, &o, &r, c.title);
        compare_report(&c, &r, &data.tensor, &o);
        CHECK(c);
        data_free(&data);
      }
  free(x);
}

/* ---- Samples of pairs, Gram -------------------------------------------------------------------------------------------- */

/* The very pairs that the seed asks for, on any data. */
Test(numbers, sampled_pairs_are_the_oracles) {
  static const uint64_t shapes[][3] = {{16, 50, 300}, {33, 129, 1}, {64, 200, 7000}, {5, 77, 2925}, {3, 40, 39}, {128, 300, 12345}};
  struct ref_correlation want;
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k) {
      uint64_t n = shapes[k][0], d = shapes[k][1];
      actscope_dtype dtype = dtypes[(kind + (int)k) % 6];
      double *x = malloc(n * d * sizeof *x);
      uint64_t *list = malloc(d * sizeof *list);
      struct laid_out t;
      struct ref_matrix m;
      struct compare c;
      actscope_options o = cpu_options();
      actscope_layer_report r;
      o.statistics = ACTSCOPE_CORRELATION;
      o.correlation = ACTSCOPE_CORRELATION_SAMPLED;
      o.pairs = shapes[k][2];
      o.seed = 0xABCDEF0123ull * k;
      data_fill(kind, k, dtype, x, n, d);
      data_lay_out(&t, x, dtype, n, d, (enum data_layout)((size_t)kind % LAYOUTS));
      ref_matrix_load(&m, &t.tensor, 0);
      uint64_t valid = ref_valid_features(&m, list), total = valid * (valid - (valid > 0)) / 2, count = o.pairs < total ? o.pairs : total;
      struct ref_pair *pairs = malloc((count + 1) * sizeof *pairs);
      ref_sampled_pairs(valid, count, o.seed, 0, pairs);
      compare_begin(&c, "sampled: %s %s [%llu, %llu], %llu pairs", data_kind_name(kind), data_dtype_name(dtype),
                    (unsigned long long)n, (unsigned long long)d, (unsigned long long)count);
      analyze(&t.tensor, &o, &r, c.title);
      ref_correlate(&m, compare_r_slack(n), pairs, count, &want);
      compare_correlation(&c, &r.correlation, &want, ACTSCOPE_PAIRS_DEFAULT);
      CHECK(c);
      free(pairs);
      ref_matrix_free(&m);
      data_free(&t);
      free(list);
      free(x);
    }
}

/* The interval of a sample holds the mean over all pairs at least as often as it says, on hubs as on noise. */
Test(numbers, sampled_intervals_cover) {
  static const enum data_kind kinds[] = {DATA_NORMAL, DATA_HUBS, DATA_FACTORS, DATA_NEAR_DUPLICATES};
  enum { N = 24, D = 256, SEEDS = 200, PAIRS = 2000 };
  double *x = malloc(N * D * sizeof *x);
  for (int k = 0; k < 4; ++k) {
    struct laid_out t;
    actscope_options o = cpu_options();
    actscope_layer_report all, r;
    int covered = 0;
    double squares = 0, half = 0;
    o.statistics = ACTSCOPE_CORRELATION;
    data_fill(kinds[k], 4, ACTSCOPE_FLOAT32, x, N, D);
    data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
    analyze(&t.tensor, &o, &all, "all pairs");
    o.correlation = ACTSCOPE_CORRELATION_SAMPLED;
    o.pairs = PAIRS;
    for (uint64_t seed = 0; seed < SEEDS; ++seed) {
      o.seed = seed;
      analyze(&t.tensor, &o, &r, "sampled pairs");
      const double *ci = r.correlation.mean_abs_ci95, truth = all.correlation.mean_abs;
      covered += ci[0] <= truth && truth <= ci[1];
      squares += (r.correlation.mean_abs - truth) * (r.correlation.mean_abs - truth) / SEEDS;
      half += (ci[1] - ci[0]) / 2 / SEEDS;
    }
    cr_assert(covered >= SEEDS * 92 / 100, "%s: %d of %d intervals cover", data_kind_name(kinds[k]), covered, SEEDS);
    cr_assert(squares > 0, "%s: the seed changes nothing", data_kind_name(kinds[k]));
    cr_assert(half < 8 * sqrt(squares), "%s: intervals of +-%g for errors of %g", data_kind_name(kinds[k]), half, sqrt(squares));
    data_free(&t);
  }
  free(x);
}

/* More pairs than there are: all of them, as EXACT has them. */
Test(numbers, a_sample_of_everything_is_exact) {
  enum { N = 30, D = 61 };
  double x[N * D];
  struct laid_out t;
  actscope_options o = cpu_options();
  actscope_layer_report all, r;
  struct compare c;
  data_fill(DATA_FACTORS, 4, ACTSCOPE_FLOAT32, x, N, D);
  data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  o.correlation = ACTSCOPE_CORRELATION_EXACT;
  analyze(&t.tensor, &o, &all, "exact");
  o.correlation = ACTSCOPE_CORRELATION_SAMPLED;
  o.pairs = D * (D - 1) / 2;
  analyze(&t.tensor, &o, &r, "sampled");
  compare_begin(&c, "all pairs, sampled");
  compare_count(&c, "method", (uint64_t)r.correlation.method, ACTSCOPE_CORRELATION_SAMPLED);
  r.correlation.method = all.correlation.method;
  compare_bytes(&c, "correlation", &r.correlation, &all.correlation, sizeof all.correlation);
  compare_value(&c, "low", r.correlation.mean_abs_ci95[0], r.correlation.mean_abs, 0, 0);
  CHECK(c);
  data_free(&t);
}

Test(numbers, gram_gives_the_mean_square_alone) {
  static const uint64_t shapes[][2] = {{2, 9}, {3, 40}, {40, 3}, {64, 300}, {100, 100}};
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    for (int k = 0; k < 5; ++k) {
      uint64_t n = shapes[k][0], d = shapes[k][1];
      double *x = malloc(n * d * sizeof *x);
      struct laid_out t;
      struct ref_matrix m;
      struct ref_correlation want;
      struct compare c;
      actscope_rank rank;
      actscope_options o = cpu_options();
      actscope_layer_report r;
      o.correlation = ACTSCOPE_CORRELATION_GRAM;
      o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_RANK;
      data_fill(kind, 40, dtypes[(kind + k) % 6], x, n, d);
      data_lay_out(&t, x, dtypes[(kind + k) % 6], n, d, (enum data_layout)(kind % LAYOUTS));
      ref_matrix_load(&m, &t.tensor, 0);
      ref_correlate(&m, 0, NULL, 0, &want);
      ref_rank(&m, &rank);
      compare_begin(&c, "gram: %s %s [%llu, %llu]", data_kind_name(kind), data_dtype_name(t.tensor.dtype),
                    (unsigned long long)n, (unsigned long long)d);
      analyze(&t.tensor, &o, &r, c.title);
      actscope_correlation *w = &want.value;
      w->method = ACTSCOPE_CORRELATION_GRAM;
      w->mean_abs = w->mean_abs_ci95[0] = w->mean_abs_ci95[1] = w->max_abs = NAN;
      for (int b = 0; b < ACTSCOPE_PAIR_BINS; ++b) compare_count(&c, "histogram", r.correlation.histogram[b], 0);
      for (int b = 0; b < ACTSCOPE_THRESHOLD_COUNT; ++b) compare_value(&c, "above", r.correlation.above[b], NAN, 0, 0);
      memcpy(r.correlation.histogram, w->histogram, sizeof w->histogram);
      memcpy(r.correlation.above, w->above, sizeof w->above);
      compare_correlation(&c, &r.correlation, &want, ACTSCOPE_PAIRS_DEFAULT);
      compare_rank(&c, &r.rank, &rank);
      CHECK(c);
      ref_matrix_free(&m);
      data_free(&t);
      free(x);
    }
}

/* N D^2 above 1e13: AUTO samples, and says so. The tensor is a window sliding over 400,063 values. */
Test(numbers, auto_samples_what_is_too_dear) {
  enum { N = 64, D = 400000, PAIRS = 3000 };
  float *x = malloc((N + D) * sizeof *x);
  struct random_state random = {3};
  int64_t shape[2] = {N, D}, strides[2] = {1, 1};
  actscope_tensor t = {x, ACTSCOPE_FLOAT32, 2, shape, strides};
  actscope_options o = cpu_options();
  actscope_layer_report r;
  for (int i = 0; i < N + D; ++i) x[i] = (float)random_normal(&random);
  o.statistics = ACTSCOPE_CORRELATION;
  o.pairs = PAIRS;
  analyze(&t, &o, &r, "400,000 features");
  cr_assert(r.correlation.method == ACTSCOPE_CORRELATION_SAMPLED && r.correlation.pairs == PAIRS &&
            r.correlation.pairs_total == (uint64_t)D * (D - 1) / 2);
  cr_assert(r.warnings & ACTSCOPE_WARN_SAMPLED && r.warnings & ACTSCOPE_WARN_LARGE_TENSOR);
  /* neighbours in the window are far apart in a permuted sample: what is seen is the noise floor */
  cr_assert(fabs(r.correlation.mean_abs / r.correlation.noise_floor - 1) < 0.05, "%g", r.correlation.mean_abs);
  shape[1] = 390000; /* 9.7e12 */
  o.correlation = ACTSCOPE_CORRELATION_AUTO;
  actscope_layer layer = {"below", ACTSCOPE_FLOAT32, 2, shape};
  actscope_plan *plan;
  cr_assert_eq(actscope_plan_create(&plan, &layer, 1, &o), ACTSCOPE_OK, "%s", actscope_last_error());
  actscope_plan_destroy(plan);
  free(x);
}

/* More than 2^31 elements, from one row of storage: counts are exact, and moments are those of the row. */
Test(numbers, more_than_2_to_the_31_elements) {
  enum { N = 65537, D = 32771 };
  unsigned char *row = malloc(D);
  int64_t shape[2] = {N, D}, strides[2] = {0, 1}, alone[1] = {D};
  actscope_tensor t = {row, ACTSCOPE_FLOAT8_E4M3, 2, shape, strides}, one = {row, ACTSCOPE_FLOAT8_E4M3, 1, alone, NULL};
  actscope_options o = cpu_options();
  actscope_layer_report r;
  struct ref_matrix m;
  actscope_profile want;
  struct compare c;
  for (int i = 0; i < D; ++i) row[i] = (unsigned char)(i * 37 % 251);
  o.statistics = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
  analyze(&t, &o, &r, "2^31 elements");
  ref_matrix_load(&m, &one, 0);
  ref_profile(&m, &want);
  uint64_t *counts[] = {&want.count, &want.finite, &want.nan, &want.zero, &want.negative, &want.subnormal};
  for (int k = 0; k < 6; ++k) *counts[k] *= N;
  for (int k = 0; k < ACTSCOPE_VALUE_BUCKETS; ++k) want.buckets[k] *= N;
  double k = (double)want.finite, row_k = k / N;
  want.variance *= (row_k - 1) / row_k * (k / (k - 1));
  want.std = sqrt(want.variance);
  want.l2_norm *= sqrt(N);
  want.entropy = (want.entropy * log(row_k) + log(N)) / log(k);
  compare_begin(&c, "[65537, 32771]");
  compare_count(&c, "elements", r.elements, (uint64_t)N * D);
  compare_profile(&c, &r.profile, &want, ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_PROFILE);
  compare_count(&c, "distinct", r.distinct.count, ref_distinct(&m));
  CHECK(c);
  ref_matrix_free(&m);
  free(row);
}

/* What is not asked for of the pairs is absent, the rest unchanged. */
Test(numbers, pair_functionals) {
  actscope_options o = cpu_options();
  for (uint32_t mask = 0; mask <= ACTSCOPE_PAIRS_ALL; ++mask) {
    o.pair_functionals = mask;
    one_case(DATA_FACTORS, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 50, 83, &o, 2);
    one_case(DATA_NORMAL, ACTSCOPE_BFLOAT16, LAYOUT_ROWS, 5, 200, &o, 2);
  }
}
