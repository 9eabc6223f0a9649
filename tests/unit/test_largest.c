/* test_largest.c - fp32 quality from products of 16-bit integers (cpu/largest.h): the means, the largest |r|, and when. */
#include "stages.h"

#include "cpu/largest.h"

TestSuite(largest, .timeout = 240);

enum { D = LARGEST_VALID_LEAST + 100 };

static struct cpu_pairs_request floats_request(int threads) { /* what asks for single features is multiplied in fp32 */
  struct cpu_pairs_request q = exact_request(threads);
  q.top_most = 1;
  return q;
}

/* Binary features, each with a share of ones of its own. */
static void binary(double *x, uint64_t n, uint64_t d) {
  data_fill(DATA_NORMAL, 8, ACTSCOPE_FLOAT32, x, n, d);
  for (uint64_t s = 0; s < n; ++s)
    for (uint64_t f = 0; f < d; ++f) x[s * d + f] = x[s * d + f] > -1.5 + 3.0 * (double)f / (double)d;
}
/* All features follow one: every r is large, and a feature's pairs err alike. */
static void one_factor(double *x, uint64_t n, uint64_t d) {
  data_fill(DATA_NORMAL, 9, ACTSCOPE_FLOAT32, x, n, d);
  for (uint64_t s = 0; s < n; ++s)
    for (uint64_t f = 1; f < d; ++f) x[s * d + f] = (float)(x[s * d] * (f % 2 ? 3 : -3) + x[s * d + f]);
}
/* 20 % of the features dead, half of the elements of the others zero. */
static void sparse(double *x, uint64_t n, uint64_t d) {
  data_fill(DATA_RELU, 7, ACTSCOPE_FLOAT32, x, n, d);
  for (uint64_t s = 0; s < n; ++s)
    for (uint64_t f = 0; f < d; f += 5) x[s * d + f] = 0;
}

/* The bounds of every correlation of fp32 quality: 1e-6 of the means, 2e-6 of the largest. */
static void check(const char *name, void (*fill)(double *, uint64_t, uint64_t), int kind, uint64_t n, uint64_t d, int channels_last) {
  double *x = malloc(n * d * sizeof *x);
  struct stage_input in;
  struct compare c;
  struct ref_correlation ref;
  if (fill) fill(x, n, d); else data_fill((enum data_kind)kind, 3, ACTSCOPE_FLOAT32, x, n, d);
  data_lay_out(&in.t, x, ACTSCOPE_FLOAT32, n, d, channels_last ? LAYOUT_COLUMNS : LAYOUT_ROWS);
  view_init(&in.v, &in.t.tensor, 0);
  ref_matrix_load(&in.m, &in.t.tensor, 0);
  struct column *columns = stage_columns(&in.v, 2);
  uint32_t *list = malloc(d * sizeof *list);
  const uint64_t valid = actscope_zscores_list(columns, d, list);
  const struct cpu_pairs_request q = exact_request(2);
  cr_assert(valid >= LARGEST_VALID_LEAST, "%s: %llu valid features", name, (unsigned long long)valid);
  cr_assert_eq(actscope_cpu_largest_serves(&q, ACTSCOPE_FLOAT32, n, valid), actscope_simd_product()->int16_is_fast);
  ref_correlate(&in.m, compare_count_slack(n, valid), NULL, 0, &ref);
  const struct stage_pairs got = stage_pairs(&in.v, columns, q, BEST);
  compare_begin(&c, "%s [%llu, %llu] on %s", name, (unsigned long long)n, (unsigned long long)d, actscope_cpu_isa_name(actscope_cpu_isa()));
  compare_correlation(&c, &got.out, &ref, q.functionals);
  compare_value(&c, "mean |r|", got.out.mean_abs, ref.value.mean_abs, 1e-6, 0);
  compare_value(&c, "mean r^2", got.out.mean_square, ref.value.mean_square, 1e-6, 0);
  compare_value(&c, "mean r", got.out.mean, ref.value.mean, 1e-6, 0);
  compare_value(&c, "max |r|", got.out.max_abs, ref.value.max_abs, 2e-6, 0);
  cr_log_info("%s: mean |r| off by %.1e, mean r^2 by %.1e, max |r| by %.1e", c.title, fabs(got.out.mean_abs - ref.value.mean_abs),
              fabs(got.out.mean_square - ref.value.mean_square), fabs(got.out.max_abs - ref.value.max_abs));
  cr_assert_eq(compare_end(&c), 0, "%s", c.text);
  free(list);
  free(columns);
  free(x);
  data_free(&in.t);
  ref_matrix_free(&in.m);
}

Test(largest, means_and_largest_of_hard_features) {
  check("normal", NULL, DATA_NORMAL, 64, D, 0);
  check("near-duplicates", NULL, DATA_NEAR_DUPLICATES, 96, D, 1);
  check("mean/std 1000", NULL, DATA_OFFSET, 65, D, 0);
  check("hubs", NULL, DATA_HUBS, 128, D, 0);
  check("outliers", NULL, DATA_OUTLIERS, 96, D, 0);
  check("one factor", one_factor, 0, 100, D, 0);
  check("binary", binary, 0, 128, D, 0);
  check("a fifth dead", sparse, 0, 72, LARGEST_VALID_LEAST * 5 / 4 + 3, 0);
  check("four factors", NULL, DATA_FACTORS, 257, D, 0);
}

/* The largest is what products of floats find, bit for bit, wherever it lies and however close others in other blocks come:
 * 16-bit products alone would be off by 1e-5, and take another pair for it. */
ParameterizedTestParameters(largest, the_same_as_of_floats) { return instruction_sets(); }
ParameterizedTest(int *isa, largest, the_same_as_of_floats) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t samples[] = {64, 300};
  static const uint64_t place[][2] = {{0, 1}, {5, D - 1}, {D - 2, D - 1}, {191, 192}, {1000, 3000}};
  int off = 0;
  for (int k = 0; k < 2; ++k)
    for (int p = 0; p < 5; ++p) {
      const uint64_t n = samples[k];
      double *x = malloc(n * D * sizeof *x);
      struct stage_input in;
      data_fill(DATA_NORMAL, 40 + (uint64_t)p, ACTSCOPE_FLOAT32, x, n, D);
      for (uint64_t s = 0; s < n; ++s)
        x[s * D + place[p][1]] = (float)(x[s * D + place[p][0]] + 0.5 * x[s * D + place[p][1]]);
      for (uint64_t s = 0; s < n; ++s)
        for (uint64_t e = 0; e < 12; ++e) { /* the same pair again, a little off, of samples in another order */
          const uint64_t i = 240 + 320 * e, j = i + 190 - 10 * e;
          const double *from = x + (s + 3 * e + 1) % n * D;
          double *row = x + s * D;
          row[i] = (float)(from[place[p][0]] + 1e-4 * row[i]), row[j] = (float)(from[place[p][1]] + 1e-4 * row[j]);
        }
      data_lay_out(&in.t, x, ACTSCOPE_FLOAT32, n, D, LAYOUT_ROWS);
      view_init(&in.v, &in.t.tensor, 0);
      struct column *columns = stage_columns(&in.v, 2);
      struct cpu_pairs_request half = exact_request(2);
      half.precision = ACTSCOPE_PRECISION_FP16;
      const double got = stage_pairs(&in.v, columns, exact_request(2), BEST).out.max_abs;
      const double want = stage_pairs(&in.v, columns, floats_request(2), BEST).out.max_abs;
      cr_assert_eq(got, want, "[%llu, %d], pair %d: %.9g, of floats %.9g", (unsigned long long)n, D, p, got, want);
      off += stage_pairs(&in.v, columns, half, BEST).out.max_abs != want;
      free(columns);
      free(x);
      data_free(&in.t);
    }
  cr_assert(off > 7, "products of 16 bits alone were right %d times", 10 - off);
}

Test(largest, threads_and_memory_do_not_change_a_bit) {
  static const uint64_t samples[] = {64, 257};
  for (int k = 0; k < 2; ++k) {
    struct stage_input in;
    stage_input(&in, DATA_FACTORS, 3, ACTSCOPE_FLOAT32, LAYOUT_ROWS, samples[k], D);
    struct column *columns = stage_columns(&in.v, 2);
    struct cpu_pairs_request q = exact_request(1);
    const struct stage_pairs first = stage_pairs(&in.v, columns, q, BEST);
    uint32_t strips = 0;
    cr_assert_eq(first.warnings, 0, "%s: strips with the best memory", in.name);
    for (q.threads = 1; q.threads <= 3; ++q.threads) {
      const struct cpu_need need = actscope_cpu_pairs_need(&q, in.v.dtype, in.v.samples, D);
      for (uint64_t step = 0; step <= 2; ++step) {
        const struct stage_pairs other = stage_pairs(&in.v, columns, q, (int64_t)(need.least + (need.best - need.least) * step / 2));
        strips |= other.warnings;
        cr_assert_eq(memcmp(&first.out, &other.out, sizeof first.out), 0, "%s: %d threads, memory %llu/2", in.name, q.threads,
                     (unsigned long long)step);
      }
    }
    cr_assert_eq(strips, ACTSCOPE_WARN_STRIPS, "%s: no strips with the least memory", in.name);
    free(columns);
    stage_input_free(&in);
  }
}

Test(largest, who_is_served) {
  struct cpu_pairs_request q = exact_request(1);
  const int fast = actscope_simd_product()->int16_is_fast;
#define SERVES(dtype, n, v) actscope_cpu_largest_serves(&q, ACTSCOPE_##dtype, n, v)
  cr_assert_eq(SERVES(FLOAT32, 64, 4096), fast);
  cr_assert_eq(SERVES(BFLOAT16, 1000, 131072), fast);
  cr_assert(!SERVES(FLOAT64, 64, 4096) && !SERVES(FLOAT32, 63, 4096) && !SERVES(FLOAT32, 64, 4095) && !SERVES(FLOAT32, 64, 131073));
  q.functionals |= ACTSCOPE_PAIRS_FEATURES;
  cr_assert(!SERVES(FLOAT32, 64, 4096));
  q = floats_request(1);
  cr_assert(!SERVES(FLOAT32, 64, 4096));
  q = exact_request(1), q.method = ACTSCOPE_CORRELATION_SAMPLED, q.pairs = UINT64_MAX;
  cr_assert(!SERVES(FLOAT32, 64, 4096));
  q = exact_request(1), q.precision = ACTSCOPE_PRECISION_FP16;
  cr_assert(!SERVES(FLOAT32, 64, 4096));
}

/* As many features as are served, of which fewer than that are valid: then floats, within the memory that was asked for. */
Test(largest, few_of_many_are_valid) {
  enum { N = 70 };
  double *x = calloc(N * D, sizeof *x);
  struct stage_input in;
  struct compare c;
  struct ref_correlation ref;
  for (uint64_t s = 0; s < N; ++s)
    for (uint64_t f = 0; f < 200; ++f) x[s * D + f * 20] = (float)(s * s % (f + 2));
  data_lay_out(&in.t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  view_init(&in.v, &in.t.tensor, 0);
  ref_matrix_load(&in.m, &in.t.tensor, 0);
  struct column *columns = stage_columns(&in.v, 2);
  ref_correlate(&in.m, compare_r_slack(N), NULL, 0, &ref);
  for (int k = 0; k < 2; ++k) {
    const struct stage_pairs got = stage_pairs(&in.v, columns, exact_request(2), k ? LEAST : BEST);
    compare_begin(&c, "200 of %d valid", D);
    compare_correlation(&c, &got.out, &ref, OVER_ALL_PAIRS);
    cr_assert_eq(compare_end(&c), 0, "%s", c.text);
  }
  free(columns);
  free(x);
  data_free(&in.t);
  ref_matrix_free(&in.m);
}
