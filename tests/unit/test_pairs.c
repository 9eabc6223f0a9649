/* test_pairs.c - |r| over pairs against textbook loops: which pairs, and what is made of them. */
#include "stages.h"

TestSuite(pairs, .timeout = 240);

static void check(struct stage_input *in, const struct column *columns, struct cpu_pairs_request q, int64_t bytes) {
  struct compare c;
  struct ref_correlation ref;
  struct stage_pairs got = stage_pairs(&in->v, columns, q, bytes);
  ref_correlate(&in->m, compare_r_slack(in->m.samples), NULL, 0, &ref);
  compare_begin(&c, "%s, %d threads, memory %lld", in->name, q.threads, (long long)bytes);
  compare_correlation(&c, &got.out, &ref, q.functionals);
  compare_value(&c, "square sum", got.square_sum, ref.square_sum, 1e-7, 1e-6);
  if (ref.value.pairs > 0 && in->m.samples > 2) { /* tighter than the table: what this backend promises */
    compare_value(&c, "mean |r|", got.out.mean_abs, ref.value.mean_abs, 1e-7, 1e-6);
    compare_value(&c, "mean r^2", got.out.mean_square, ref.value.mean_square, 1e-8, 1e-6);
    compare_value(&c, "max |r|", got.out.max_abs, ref.value.max_abs, 1e-7, 2e-6);
    if (q.functionals & ACTSCOPE_PAIRS_SIGNED) compare_value(&c, "mean r", got.out.mean, ref.value.mean, 1e-7, 1e-6);
  }
  cr_assert_eq(compare_end(&c), 0, "%s", c.text);
}

static void run(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features) {
  struct stage_input in;
  stage_input(&in, kind, samples * 31 + features, dtype, layout, samples, features);
  struct column *columns = stage_columns(&in.v, 1);
  check(&in, columns, exact_request(1), BEST);
  check(&in, columns, exact_request(1), LEAST);
  free(columns);
  stage_input_free(&in);
}

ParameterizedTestParameters(pairs, every_type_and_layout) { return instruction_sets(); }
ParameterizedTest(int *isa, pairs, every_type_and_layout) {
  USE_INSTRUCTION_SET(*isa);
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int layout = 0; layout < LAYOUTS; ++layout) {
      run(DATA_NORMAL, (actscope_dtype)dtype, (enum data_layout)layout, 70, 90);
      run(DATA_CONSTANT_COLUMNS, (actscope_dtype)dtype, (enum data_layout)layout, 33, 57);
    }
}

ParameterizedTestParameters(pairs, every_content) { return instruction_sets(); }
ParameterizedTest(int *isa, pairs, every_content) {
  USE_INSTRUCTION_SET(*isa);
  for (int kind = 0; kind < DATA_KINDS; ++kind) {
    run((enum data_kind)kind, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 128, 101);
    run((enum data_kind)kind, ACTSCOPE_FLOAT64, LAYOUT_ROWS, 600, 60);
    run((enum data_kind)kind, ACTSCOPE_BFLOAT16, LAYOUT_COLUMNS, 300, 60);
  }
}

ParameterizedTestParameters(pairs, every_size) { return instruction_sets(); }
ParameterizedTest(int *isa, pairs, every_size) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t samples[] = {0, 1, 2, 3, 4, 31, 32, 33, 255, 256, 257, 511, 513, 1000};
  static const uint64_t features[] = {0, 1, 2, 3, 7, 8, 9, 15, 17, 47, 48, 49, 97, 191, 192, 193, 389};
  for (int a = 0; a < 14; ++a)
    for (int b = 0; b < 17; ++b) {
      if (samples[a] * features[b] * features[b] > 4000000) continue;
      run(DATA_NORMAL, ACTSCOPE_FLOAT32, LAYOUT_ROWS, samples[a], features[b]);
      if (b % 3 == 0) run(DATA_FACTORS, ACTSCOPE_FLOAT64, LAYOUT_COLUMNS, samples[a], features[b]);
    }
}

/* r is known: features are +-1 patterns whose products are small integers over N = 64. */
ParameterizedTestParameters(pairs, predictable) { return instruction_sets(); }
ParameterizedTest(int *isa, pairs, predictable) {
  USE_INSTRUCTION_SET(*isa);
  enum { N = 64, D = 63 * 4 };
  double x[N * D];
  /* Walsh functions 1 .. 63: mean 0, orthogonal; each four times, the copies turned, scaled and shifted */
  for (int s = 0; s < N; ++s)
    for (int f = 0; f < D; ++f) {
      int sign = __builtin_parity((unsigned)(s & (1 + f / 4))) ? -1 : 1;
      x[s * D + f] = f % 4 == 0 ? sign : f % 4 == 1 ? -2 * sign : f % 4 == 2 ? 4 * sign + 3 : 0.5 * sign - 1;
    }
  static const int dtypes[] = {ACTSCOPE_FLOAT32, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT64};
  for (int k = 0; k < 4; ++k) {
    struct stage_input in;
    data_lay_out(&in.t, x, (actscope_dtype)dtypes[k], N, D, LAYOUT_ROWS);
    view_init(&in.v, &in.t.tensor, 0);
    struct column *columns = stage_columns(&in.v, 2);
    struct stage_pairs got = stage_pairs(&in.v, columns, exact_request(2), BEST);
    struct compare c;
    double ones = 63 * 6, pairs = D * (D - 1) / 2; /* six pairs among four copies */
    compare_begin(&c, "Walsh functions");
    compare_count(&c, "pairs", got.out.pairs, (uint64_t)pairs);
    compare_value(&c, "mean_abs", got.out.mean_abs, ones / pairs, 1e-9, 1e-7);
    compare_value(&c, "mean_square", got.out.mean_square, ones / pairs, 1e-9, 1e-7);
    compare_value(&c, "max_abs", got.out.max_abs, 1, 2e-7, 0);
    compare_value(&c, "mean", got.out.mean, 0, 1e-9, 0); /* of four copies one is turned: three pairs at 1, three at -1 */
    for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t) compare_value(&c, "above", got.out.above[t], ones / pairs, 0, 1e-15);
    for (int b = 0; b < ACTSCOPE_PAIR_BINS; ++b)
      compare_count(&c, "histogram", got.out.histogram[b], b == 0 ? (uint64_t)(pairs - ones) : b == 63 ? (uint64_t)ones : 0);
    cr_assert_eq(compare_end(&c), 0, "%s", c.text);
    free(columns);
    data_free(&in.t);
  }
}

/* Every bin and threshold from its own side: two features, r = k/64 exactly or a little off. */
ParameterizedTestParameters(pairs, bins_and_thresholds) { return instruction_sets(); }
ParameterizedTest(int *isa, pairs, bins_and_thresholds) {
  USE_INSTRUCTION_SET(*isa);
  enum { N = 512 };
  for (int equal = 0; equal < N / 2; ++equal) { /* signs agree in `equal` places more: r = 2 (256 - e) / 512 */
    double x[N * 2];
    for (int s = 0; s < N; ++s) {
      x[s * 2] = s % 2 ? 1 : -1;
      x[s * 2 + 1] = (s / 2) % 256 < equal ? (s % 4 < 2 ? 1 : -1) : x[s * 2];
    }
    struct stage_input in;
    data_lay_out(&in.t, x, ACTSCOPE_FLOAT32, N, 2, LAYOUT_ROWS);
    view_init(&in.v, &in.t.tensor, 0);
    ref_matrix_load(&in.m, &in.t.tensor, 0);
    snprintf(in.name, sizeof in.name, "%d places differ", equal);
    struct column *columns = stage_columns(&in.v, 1);
    check(&in, columns, exact_request(1), BEST);
    free(columns);
    stage_input_free(&in);
  }
}

/* z-scores of 16 bits: r is off by 1.2e-5 (standard deviation), eight of which are allowed; means by a fifth of that where
 * there are pairs enough. ReLUs and constants with an outlier round many samples alike. */
static void check_int16(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features) {
  struct stage_input in;
  struct compare c;
  struct ref_correlation ref;
  stage_input(&in, kind, samples * 31 + features, dtype, layout, samples, features);
  struct column *columns = stage_columns(&in.v, 1);
  struct cpu_pairs_request q = exact_request(2);
  q.precision = ACTSCOPE_PRECISION_FP16;
  ref_correlate(&in.m, 1e-4, NULL, 0, &ref);
  struct stage_pairs best = stage_pairs(&in.v, columns, q, BEST), least = stage_pairs(&in.v, columns, q, LEAST);
  compare_begin(&c, "%s in 16 bits", in.name);
  compare_count(&c, "pairs", best.out.pairs, ref.value.pairs);
  const double many = ref.value.pairs > 1000 ? 0.2 : 1;
  if (ref.value.pairs > 0 && samples > 2) {
    compare_value(&c, "mean |r|", best.out.mean_abs, ref.value.mean_abs, many * 5e-5, 0);
    compare_value(&c, "mean r^2", best.out.mean_square, ref.value.mean_square, many * 5e-5, 0);
    compare_value(&c, "max |r|", best.out.max_abs, ref.value.max_abs, 1e-4, 0);
    uint64_t all = 0;
    for (int b = 0; b < ACTSCOPE_PAIR_BINS; ++b) all += best.out.histogram[b];
    compare_count(&c, "sum of the histogram", all, ref.value.pairs);
    for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t)
      compare_between(&c, "above", best.out.above[t], (double)ref.above_least[t] / (double)ref.value.pairs,
                      (double)ref.above_most[t] / (double)ref.value.pairs);
  }
  cr_assert_eq(compare_end(&c), 0, "%s", c.text);
  cr_assert_eq(memcmp(&best.out, &least.out, sizeof best.out), 0, "%s: memory changed a bit", in.name);
  free(columns);
  stage_input_free(&in);
}

ParameterizedTestParameters(pairs, sixteen_bits) { return instruction_sets(); }
ParameterizedTest(int *isa, pairs, sixteen_bits) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t samples[] = {2, 3, 4, 5, 31, 64, 127, 128, 129, 130, 255, 1001};
  static const uint64_t features[] = {2, 3, 8, 17, 48, 49, 193, 389};
  for (int a = 0; a < 12; ++a)
    for (int b = 0; b < 8; ++b)
      if (samples[a] * features[b] * features[b] < 8000000)
        check_int16(DATA_NORMAL, ACTSCOPE_FLOAT32, LAYOUT_ROWS, samples[a], features[b]);
  for (int kind = 0; kind < DATA_KINDS; ++kind) {
    check_int16((enum data_kind)kind, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 127, 101);
    check_int16((enum data_kind)kind, ACTSCOPE_BFLOAT16, LAYOUT_COLUMNS, 301, 60);
  }
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int layout = 0; layout < LAYOUTS; ++layout)
      check_int16(DATA_NORMAL, (actscope_dtype)dtype, (enum data_layout)layout, 71, 90);
}

Test(pairs, sixteen_bits_take_half_the_memory) {
  struct cpu_pairs_request q = exact_request(1), half = q;
  half.precision = ACTSCOPE_PRECISION_FP16;
  uint64_t buffers = actscope_cpu_pairs_need(&q, ACTSCOPE_FLOAT32, 128, 0).best + 4000 * 4;
  uint64_t whole = actscope_cpu_pairs_need(&q, ACTSCOPE_FLOAT32, 128, 4000).best - buffers;
  cr_assert_leq(actscope_cpu_pairs_need(&half, ACTSCOPE_FLOAT32, 128, 4000).best - buffers, whole / 2 + 4096);
  cr_assert_eq(actscope_cpu_pairs_need(&half, ACTSCOPE_FLOAT64, 128, 8192).best,
               actscope_cpu_pairs_need(&q, ACTSCOPE_FLOAT64, 128, 8192).best);
}

Test(pairs, threads_and_memory_do_not_change_a_bit) {
  static const uint64_t shapes[][2] = {{128, 1100}, {256, 500}, {700, 700}, {3000, 260}, {1500, 900}, {40, 2500}, {127, 1100}, {1501, 900}};
  for (int k = 0; k < 8; ++k)
    for (int sampled = 0; sampled < 2; ++sampled) {
      struct stage_input in;
      stage_input(&in, DATA_FACTORS, 3, ACTSCOPE_FLOAT32, LAYOUT_ROWS, shapes[k][0], shapes[k][1]);
      struct column *columns = stage_columns(&in.v, 2);
      struct cpu_pairs_request q = exact_request(1);
      if (k >= 6) q.precision = ACTSCOPE_PRECISION_FP16;
      if (sampled) q.method = ACTSCOPE_CORRELATION_SAMPLED, q.pairs = shapes[k][1] * 37 + 11, q.seed = 5;
      struct stage_pairs first = stage_pairs(&in.v, columns, q, BEST);
      uint32_t strips = 0;
      cr_assert_eq(first.warnings, 0, "%s: strips with the best memory", in.name);
      for (q.threads = 1; q.threads <= 4; ++q.threads) {
        struct cpu_need need = actscope_cpu_pairs_need(&q, in.v.dtype, in.v.samples, in.v.features);
        for (int step = 0; step <= 6; ++step) {
          struct stage_pairs other = stage_pairs(&in.v, columns, q, (int64_t)(need.least + (need.best - need.least) * (uint64_t)step / 6));
          strips |= other.warnings;
          cr_assert_eq(memcmp(&first.out, &other.out, sizeof first.out), 0, "%s: %d threads, memory %d/6%s", in.name,
                       q.threads, step, sampled ? ", sampled" : "");
          cr_assert_eq(memcmp(&first.square_sum, &other.square_sum, 8), 0, "%s", in.name);
        }
      }
      if (shapes[k][1] > 400) cr_assert_eq(strips, ACTSCOPE_WARN_STRIPS, "%s: no strips with the least memory", in.name);
      free(columns);
      stage_input_free(&in);
    }
}

/* Strips of a sample are no worse than all z-scores at once: only less memory than it likes is told. */
Test(pairs, a_sample_takes_strips_unwarned) {
  struct stage_input in;
  stage_input(&in, DATA_NORMAL, 3, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 5, 50000);
  struct column *columns = stage_columns(&in.v, 2);
  struct cpu_pairs_request q = {ACTSCOPE_CORRELATION_SAMPLED, 0, 100000, 5, 2};
  const struct cpu_pairs_request exact = exact_request(2);
  const struct cpu_need need = actscope_cpu_pairs_need(&q, ACTSCOPE_FLOAT32, 5, 50000);
  cr_assert_lt(need.best, actscope_cpu_pairs_need(&exact, ACTSCOPE_FLOAT32, 5, 50000).best);
  cr_assert_eq(stage_pairs(&in.v, columns, q, BEST).warnings, 0);
  cr_assert_eq(stage_pairs(&in.v, columns, q, (int64_t)need.best - 4096).warnings, ACTSCOPE_WARN_STRIPS);
  free(columns);
  stage_input_free(&in);
}

Test(pairs, memory_needs_are_small) {
  struct cpu_pairs_request q = exact_request(2);
  cr_assert_leq(actscope_cpu_pairs_need(&q, ACTSCOPE_FLOAT32, 128, 8192).best, 5u << 20);
  cr_assert_leq(actscope_cpu_pairs_need(&q, ACTSCOPE_FLOAT32, 128, 65536).least, 1u << 20);
  cr_assert_leq(actscope_cpu_pairs_need(&q, ACTSCOPE_FLOAT32, 10000000, 64).best, 4u << 20);
  cr_assert_leq(actscope_cpu_pairs_need(&q, ACTSCOPE_FLOAT32, 10000000, 65536).least, 2u << 20);
  cr_assert_leq(actscope_cpu_pairs_need(&q, ACTSCOPE_FLOAT64, 10000000, 65536).least, 2u << 20);
}

Test(pairs, too_little_memory_is_an_error) {
  struct stage_input in;
  stage_input(&in, DATA_NORMAL, 3, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 40, 400);
  struct column *columns = stage_columns(&in.v, 2);
  struct cpu_pairs_request q = exact_request(2);
  struct stage_pairs p;
  static _Alignas(64) char scratch[1 << 20];
  uint64_t least = actscope_cpu_pairs_need(&q, in.v.dtype, 40, 400).least;
  for (uint64_t bytes = 0; bytes < least - 64; bytes += 4096) {
    memset(scratch, POISON_ODD, sizeof scratch);
    actscope_status status = actscope_cpu_pairs(&in.v, columns, &q, scratch, bytes, &p.out, &p.square_sum, &p.warnings);
    cr_assert_eq(status, ACTSCOPE_WORKSPACE_TOO_SMALL, "%llu of %llu bytes", (unsigned long long)bytes, (unsigned long long)least);
    for (uint64_t i = bytes; i < sizeof scratch; ++i) cr_assert_eq((unsigned char)scratch[i], POISON_ODD);
  }
  free(columns);
  stage_input_free(&in);
}

/* ---- Samples --------------------------------------------------------------------------------------------------------- */

/* The first `count` pairs of the circulant order over permuted features, from the documents' words. */
static struct ref_pair *sample(uint64_t valid, uint64_t seed, uint64_t step, uint64_t count) {
  struct ref_pair *p = malloc((count + 1) * sizeof *p);
  for (uint64_t k = 0; k < count; ++k) {
    p[k].i = ref_permute(valid, seed, step, k % valid);
    p[k].j = ref_permute(valid, seed, step, (k % valid + 1 + k / valid) % valid);
  }
  return p;
}

static void check_sample(struct stage_input *in, const struct column *columns, uint64_t valid, uint64_t count,
                         uint64_t seed, int64_t bytes) {
  uint64_t total = pairs_total(valid), taken = count < total ? count : total;
  struct cpu_pairs_request q = {ACTSCOPE_CORRELATION_SAMPLED, OVER_ALL_PAIRS, count, seed, 1, .step = count % 3};
  struct stage_pairs got = stage_pairs(&in->v, columns, q, bytes);
  struct ref_pair *list = sample(valid, seed, q.step, taken);
  struct ref_correlation ref;
  struct compare c;
  ref_correlate(&in->m, compare_r_slack(in->m.samples), list, taken, &ref);
  ref.value.method = ACTSCOPE_CORRELATION_SAMPLED;
  compare_begin(&c, "%s: %llu of %llu pairs, seed %llu, memory %lld", in->name, (unsigned long long)taken,
                (unsigned long long)total, (unsigned long long)seed, (long long)bytes);
  compare_correlation(&c, &got.out, &ref, q.functionals);
  compare_value(&c, "square sum", got.square_sum, ref.square_sum, 1e-7, 1e-6);
  cr_assert_eq(compare_end(&c), 0, "%s", c.text);
  free(list);
}

/* Which pairs were taken, one by one: with features 2^-k apart in some direction each pair has an r of its own, so a sum
 * over the wrong pairs cannot agree. All D and all M of a small range. */
ParameterizedTestParameters(pairs, sampled_pairs_are_those_of_the_order) { return instruction_sets(); }
ParameterizedTest(int *isa, pairs, sampled_pairs_are_those_of_the_order) {
  USE_INSTRUCTION_SET(*isa);
  for (uint64_t d = 2; d <= 14; ++d) {
    struct stage_input in;
    stage_input(&in, DATA_FACTORS, d, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 12, d);
    struct column *columns = stage_columns(&in.v, 2);
    for (uint64_t count = 1; count <= pairs_total(d) + 1; ++count) check_sample(&in, columns, d, count, d + count, BEST);
    free(columns);
    stage_input_free(&in);
  }
  static const uint64_t large[] = {47, 48, 49, 95, 97, 191, 192, 193, 200, 385, 577};
  for (int k = 0; k < 11; ++k) {
    uint64_t d = large[k], total = pairs_total(d);
    struct stage_input in;
    stage_input(&in, DATA_FACTORS, d, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 12, d);
    struct column *columns = stage_columns(&in.v, 2);
    uint64_t counts[] = {1, d - 1, d, d + 1, 7 * d + 5, d * (d / 4), total - d, total - 1, total, total + 5};
    for (int i = 0; i < 10; ++i) {
      check_sample(&in, columns, d, counts[i], 3, BEST);
      check_sample(&in, columns, d, counts[i], 4, LEAST);
    }
    free(columns);
    stage_input_free(&in);
  }
}

Test(pairs, sampled_leaves_out_invalid_features) {
  struct stage_input in;
  stage_input(&in, DATA_CONSTANT_COLUMNS, 9, ACTSCOPE_FLOAT16, LAYOUT_PADDED, 40, 333);
  struct column *columns = stage_columns(&in.v, 2);
  uint64_t *list = malloc(334 * sizeof *list), valid = ref_valid_features(&in.m, list);
  cr_assert(valid > 100 && valid < 333);
  check_sample(&in, columns, valid, 5000, 77, BEST);
  check_sample(&in, columns, valid, 5000, 77, LEAST);
  free(list);
  free(columns);
  stage_input_free(&in);
}

Test(pairs, sampled_beyond_one_chunk) {
  struct stage_input in;
  stage_input(&in, DATA_HUBS, 9, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 900, 450);
  struct column *columns = stage_columns(&in.v, 2);
  check_sample(&in, columns, 450, 20000, 1, BEST);
  check_sample(&in, columns, 450, 20000, 1, LEAST);
  free(columns);
  stage_input_free(&in);
}

/* The interval holds the exact mean for nearly all seeds, also where a few hubs carry the correlation. */
Test(pairs, interval_covers) {
  enum { SEEDS = 200 };
  static const int kinds[] = {DATA_NORMAL, DATA_HUBS, DATA_FACTORS};
  for (int k = 0; k < 3; ++k) {
    struct stage_input in;
    stage_input(&in, (enum data_kind)kinds[k], 21, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 64, 400);
    struct column *columns = stage_columns(&in.v, 2);
    double exact = stage_pairs(&in.v, columns, exact_request(2), BEST).out.mean_abs;
    int inside = 0, distinct = 0;
    double last = -1;
    for (uint64_t seed = 0; seed < SEEDS; ++seed) {
      struct cpu_pairs_request q = {ACTSCOPE_CORRELATION_SAMPLED, 0, 4000, seed, 1};
      struct stage_pairs got = stage_pairs(&in.v, columns, q, BEST);
      inside += got.out.mean_abs_ci95[0] <= exact && exact <= got.out.mean_abs_ci95[1];
      distinct += got.out.mean_abs != last;
      last = got.out.mean_abs;
      cr_assert(got.out.mean_abs_ci95[0] < got.out.mean_abs && got.out.mean_abs < got.out.mean_abs_ci95[1]);
    }
    cr_assert_geq(inside, SEEDS * 90 / 100, "%s: %d of %d", in.name, inside, (int)SEEDS);
    cr_assert_leq(inside, SEEDS * 99 / 100, "%s: %d of %d, an interval too wide", in.name, inside, (int)SEEDS);
    cr_assert_eq(distinct, SEEDS, "%s: seeds repeat a sample", in.name);
    free(columns);
    stage_input_free(&in);
  }
}

/* Functionals that were not asked for cost nothing and say nothing. */
Test(pairs, functionals_not_asked_for_are_absent) {
  struct stage_input in;
  stage_input(&in, DATA_NEAR_DUPLICATES, 9, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 40, 130);
  struct column *columns = stage_columns(&in.v, 2);
  for (uint32_t f = 0; f <= ACTSCOPE_PAIRS_ALL; ++f) {
    struct cpu_pairs_request q = exact_request(2);
    q.functionals = f;
    check(&in, columns, q, BEST);
  }
  free(columns);
  stage_input_free(&in);
}

/* The worst |r| of any pair against double: both features of a pair are the tensor, so max_abs is that |r|. */
ParameterizedTestParameters(pairs, single_correlations) { return instruction_sets(); }
ParameterizedTest(int *isa, pairs, single_correlations) {
  USE_INSTRUCTION_SET(*isa);
  static const struct { uint64_t samples; double bound; } cases[] = {{128, 5e-7}, {4096, 2e-6}, {65536, 3e-6}};
  for (int k = 0; k < 3; ++k)
    for (int seed = 0; seed < (k == 2 ? 4 : 40); ++seed) {
      uint64_t n = cases[k].samples;
      double *x = malloc(2 * n * sizeof *x), mix = (double)seed / 40, offset = seed % 3 * 500;
      struct random_state r = {(uint64_t)seed};
      for (uint64_t s = 0; s < n; ++s) {
        x[2 * s] = offset + random_normal(&r);
        x[2 * s + 1] = mix * random_normal(&r) + (1 - mix) * x[2 * s];
      }
      struct stage_input in;
      struct ref_correlation ref;
      data_lay_out(&in.t, x, ACTSCOPE_FLOAT32, n, 2, LAYOUT_ROWS);
      view_init(&in.v, &in.t.tensor, 0);
      ref_matrix_load(&in.m, &in.t.tensor, 0);
      ref_correlate(&in.m, 0, NULL, 0, &ref);
      struct column *columns = stage_columns(&in.v, 1);
      double got = stage_pairs(&in.v, columns, exact_request(1), BEST).out.max_abs;
      cr_assert(fabs(got - ref.value.max_abs) <= cases[k].bound, "N = %llu, seed %d: |r| = %.9g, want %.9g",
                (unsigned long long)n, seed, got, ref.value.max_abs);
      free(x);
      free(columns);
      data_free(&in.t);
      ref_matrix_free(&in.m);
    }
}
