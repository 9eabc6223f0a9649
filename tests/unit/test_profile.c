/* test_profile.c - the CPU backend's profile stage against the oracle and against naive loops. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/distinct.h"
#include "core/histogram.h"
#include "cpu/cpu.h"
#include "cpu/dispatch.h"
#include "reference/data.h"
#include "reference/reference.h"

TestSuite(profile, .timeout = 240);

extern uint64_t actscope_profile_wide_from;

static const actscope_dtype all_dtypes[] = {ACTSCOPE_FLOAT32,     ACTSCOPE_FLOAT16,     ACTSCOPE_BFLOAT16,
                                            ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_FLOAT64};
enum { DTYPES = 6 };
enum scratch { LEAST, MIDDLE, BEST };

struct result {
  actscope_profile profile;
  actscope_distinct distinct;
  uint32_t warnings;
};

/* Runs the stage with poisoned, guarded memory of exactly the size it asked for. */
static struct result measure_with(const actscope_tensor *t, const struct cpu_profile_request *q, enum scratch size,
                                  uint64_t bytes) {
  struct view v;
  struct result r;
  struct guarded memory;
  memset(&r, 0, sizeof r);
  view_init(&v, t, 0);
  struct cpu_need need = actscope_cpu_profile_need(q, t->dtype, v.elements);
  cr_assert_leq(need.least, need.best);
  if (bytes == 0) bytes = size == LEAST ? need.least : size == BEST ? need.best : (need.least + need.best) / 2;
  guard_alloc(&memory, bytes, 64, 0, POISON_ODD);
  actscope_status status = actscope_cpu_profile(&v, q, memory.data, bytes, &r.profile, &r.distinct, &r.warnings);
  cr_assert_eq(status, ACTSCOPE_OK, "status %d", status);
  cr_assert_eq(guard_damage(&memory), 0, "wrote outside its %llu bytes", (unsigned long long)bytes);
  guard_free(&memory);
  return r;
}

static struct cpu_profile_request request(uint32_t statistics, actscope_distinct_method method, int threads) {
  struct cpu_profile_request q = {statistics, method, 12, threads};
  return q;
}

static actscope_tensor vector_of(const void *data, actscope_dtype dtype, const int64_t *n) {
  actscope_tensor t = {data, dtype, 1, n, NULL};
  return t;
}

static struct result measure(const actscope_tensor *t, uint32_t statistics, int threads, enum scratch size) {
  struct cpu_profile_request q = request(statistics, ACTSCOPE_DISTINCT_EXACT, threads);
  return measure_with(t, &q, size, 0);
}

/* One tensor against the oracle. */
static void check(const actscope_tensor *t, int threads, enum scratch size, const char *title) {
  struct ref_matrix m;
  actscope_profile ref;
  struct compare c;
  ref_matrix_load(&m, t, 0);
  ref_profile(&m, &ref);
  uint64_t distinct = ref_distinct(&m);
  struct result r = measure(t, ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT, threads, size);
  compare_begin(&c, "%s", title);
  compare_profile(&c, &r.profile, &ref, t->dtype, ACTSCOPE_PROFILE);
  compare_count(&c, "distinct", r.distinct.count, distinct);
  compare_count(&c, "nonfinite warning", !!(r.warnings & ACTSCOPE_WARN_NONFINITE), ref.finite < ref.count);
  cr_expect_eq(compare_end(&c), 0, "%s", c.text);
  if (t->dtype != ACTSCOPE_FLOAT32 && t->dtype != ACTSCOPE_FLOAT64) { /* moments alone may take another way */
    r = measure(t, ACTSCOPE_MOMENTS, threads, size);
    compare_begin(&c, "moments of %s", title);
    compare_profile(&c, &r.profile, &ref, t->dtype, ACTSCOPE_MOMENTS);
    compare_count(&c, "nonfinite warning", !!(r.warnings & ACTSCOPE_WARN_NONFINITE), ref.finite < ref.count);
    cr_expect_eq(compare_end(&c), 0, "%s", c.text);
  }
  ref_matrix_free(&m);
}

static void check_kind(enum data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features,
                       enum data_layout layout, int threads, enum scratch size) {
  char title[160];
  struct laid_out t;
  double *x = malloc(sizeof *x * (samples * features + 1));
  data_fill(kind, 11, dtype, x, samples, features);
  data_lay_out(&t, x, dtype, samples, features, layout);
  snprintf(title, sizeof title, "%s %s %s [%llu, %llu] %s threads %d scratch %d", actscope_cpu_isa_name(actscope_cpu_isa()),
           data_kind_name(kind), data_dtype_name(dtype), (unsigned long long)samples, (unsigned long long)features,
           data_layout_name(layout), threads, size);
  check(&t.tensor, threads, size, title);
  data_free(&t);
  free(x);
}

static void every_kind(const char *isa) {
  setenv("ACTSCOPE_ISA", isa, 1);
  if (strcmp(actscope_cpu_isa_name(actscope_cpu_isa()), isa)) cr_skip_test("this processor has no %s", isa);
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    for (int d = 0; d < DTYPES; ++d) {
      check_kind(kind, all_dtypes[d], 290, 207, LAYOUT_ROWS, 1 + (kind + d) % 3, (kind + d) % 2 ? BEST : LEAST);
      for (int layout = 0; layout < LAYOUTS; ++layout) check_kind(kind, all_dtypes[d], 41, 74, layout, 2, BEST);
    }
}
Test(profile, every_kind_baseline) { every_kind("baseline"); }
Test(profile, every_kind_avx2) { every_kind("avx2"); }
Test(profile, every_kind_avx512) { every_kind("avx512"); }

/* Lengths around vectors, blocks and chunks, at every byte offset. */
static void every_length(const char *isa) {
  static const int64_t lengths[] = {1,   2,   3,    15,   16,   17,   31,   32,   33,    63,    64,   65,
                                    255, 256, 257,  511,  512,  513,  1023, 1025, 2047,  2048,  2049, 4095,
                                    4096, 4097, 8191, 8193, 16383, 16384, 16385, 32769, 65537};
  setenv("ACTSCOPE_ISA", isa, 1);
  if (strcmp(actscope_cpu_isa_name(actscope_cpu_isa()), isa)) cr_skip_test("this processor has no %s", isa);
  for (int d = 0; d < DTYPES; ++d)
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; ++k) {
      int64_t n = lengths[k];
      size_t size = ref_size(all_dtypes[d]), offset = k % (size + 1);
      char title[160];
      struct guarded g;
      double *x = malloc(sizeof *x * (size_t)n);
      guard_alloc(&g, (size_t)n * size, 64, offset, POISON_NAN);
      data_fill(k % 3 == 2 ? DATA_SPECIALS : DATA_NORMAL, k, all_dtypes[d], x, (uint64_t)n, 1);
      for (int64_t i = 0; i < n; ++i) ref_store(all_dtypes[d], g.data, i, ref_encode(all_dtypes[d], x[i]));
      actscope_tensor t = vector_of(g.data, all_dtypes[d], &n);
      snprintf(title, sizeof title, "%s %s n %lld offset %zu", isa, data_dtype_name(all_dtypes[d]), (long long)n, offset);
      check(&t, 1 + (int)(k % 3), k % 2 ? BEST : LEAST, title);
      guard_free(&g);
      free(x);
    }
}
Test(profile, every_length_baseline) { every_length("baseline"); }
Test(profile, every_length_avx2) { every_length("avx2"); }
Test(profile, every_length_avx512) { every_length("avx512"); }

/* Four axes in odd orders: gathering, joining, turning round. */
Test(profile, any_strides) {
  enum { TOTAL = 9 * 10 * 11 * 130 };
  static float data[TOTAL];
  struct random_state r = {3};
  for (int i = 0; i < TOTAL; ++i) data[i] = (float)random_normal(&r);
  static const struct {
    int64_t shape[4], strides[4], origin;
  } cases[] = {
      {{9, 10, 11, 130}, {14300, 1430, 130, 1}, 0},
      {{9, 10, 11, 65}, {14300, 1430, 130, 2}, 1},
      {{130, 9, 11, 10}, {1, 14300, 130, 1430}, 0},
      {{9, 10, 11, 130}, {-14300, 1430, -130, 1}, 8 * 14300 + 10 * 130},
      {{9, 10, 11, 130}, {14300, 0, 130, 1}, 0},
      {{9, 3, 11, 130}, {14300, 1430, 0, 0}, 7},
      {{9, 10, 11, 4}, {14300, 1430, 130, 1}, 3},      /* short runs with gaps */
      {{1, 10, 1, 127}, {999999, 1430, -777777, 1}, 5}, /* strides of extents 1 mean nothing */
      {{300, 20, 1, 600}, {3, 2, 1, 1}, 0},            /* overlapping windows, gathered and in place */
      {{2, 1, 5, 9000}, {70000, 1, 9001, 1}, 1},
  };
  for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k) {
    char title[64];
    actscope_tensor t = {data + cases[k].origin, ACTSCOPE_FLOAT32, 4, cases[k].shape, cases[k].strides};
    snprintf(title, sizeof title, "strides, case %zu", k);
    check(&t, 2, BEST, title);
  }
}

/* Counting changes tables where values begin to repeat and where they cease. */
Test(profile, values_that_repeat_in_stretches) {
  enum { N = 230000, STRETCH = 45000 };
  static double x[N];
  struct random_state r = {4};
  for (int i = 0; i < N; ++i) {
    double normal = random_normal(&r);
    x[i] = i / STRETCH % 2 == 0 ? normal : i / STRETCH == 1 ? 0.5 : fmax(normal, 0);
  }
  for (int d = 0; d < DTYPES; ++d) {
    struct laid_out t;
    data_lay_out(&t, x, all_dtypes[d], N, 1, LAYOUT_ROWS);
    for (int k = 0; k < 6; ++k) {
      char title[96];
      snprintf(title, sizeof title, "stretches, %s, %d threads, scratch %d", data_dtype_name(all_dtypes[d]), 1 + k % 2, k / 2);
      check(&t.tensor, 1 + k % 2, (enum scratch)(k / 2), title);
    }
    data_free(&t);
  }
}

/* ---- Determinism ------------------------------------------------------------------------------------------------------ */

Test(profile, same_bits_whatever_threads_and_scratch) {
  static const enum data_kind kinds[] = {DATA_NORMAL, DATA_SPECIALS, DATA_STEPS, DATA_RELU};
  enum { SAMPLES = 1000, FEATURES = 333 };
  double *x = malloc(sizeof *x * SAMPLES * FEATURES);
  for (int d = 0; d < DTYPES; ++d)
    for (int k = 0; k < 4; ++k)
      for (int method = ACTSCOPE_DISTINCT_EXACT; method <= ACTSCOPE_DISTINCT_SKETCH; ++method) {
        struct laid_out t;
        data_fill(kinds[k], 5, all_dtypes[d], x, SAMPLES, FEATURES);
        data_lay_out(&t, x, all_dtypes[d], SAMPLES, FEATURES, k % 2 ? LAYOUT_PADDED : LAYOUT_ROWS);
        struct cpu_profile_request q = request(ACTSCOPE_ALL, method, 1);
        struct result one = measure_with(&t.tensor, &q, BEST, 0);
        one.warnings &= ~(uint32_t)ACTSCOPE_WARN_DISTINCT_PASSES;
        for (int threads = 1; threads <= 4; ++threads)
          for (int size = LEAST; size <= BEST; ++size) {
            q.threads = threads;
            struct result r = measure_with(&t.tensor, &q, size, 0);
            r.warnings &= ~(uint32_t)ACTSCOPE_WARN_DISTINCT_PASSES;
            cr_expect_eq(memcmp(&one, &r, sizeof r), 0, "%s %s method %d: %d threads, scratch %d give other bits",
                         data_kind_name(kinds[k]), data_dtype_name(all_dtypes[d]), method, threads, size);
          }
        data_free(&t);
      }
  free(x);
}

Test(profile, counters_of_64_bits) {
  enum { N = 300000 };
  static uint16_t half[N];
  static float wide[N];
  struct random_state r = {9};
  int64_t n = N;
  for (int i = 0; i < N; ++i) {
    wide[i] = (float)random_normal(&r);
    half[i] = (uint16_t)ref_encode(ACTSCOPE_FLOAT16, wide[i]);
  }
  actscope_tensor tensors[] = {vector_of(wide, ACTSCOPE_FLOAT32, &n), vector_of(half, ACTSCOPE_FLOAT16, &n)};
  for (int k = 0; k < 2; ++k) {
    struct result narrow = measure(&tensors[k], ACTSCOPE_ALL, 2, BEST), counted;
    for (int size = LEAST; size <= BEST; ++size) {
      actscope_profile_wide_from = 150001; /* emptied at least once */
      counted = measure(&tensors[k], ACTSCOPE_ALL, 2, size);
      actscope_profile_wide_from = 1ull << 32;
      narrow.warnings = counted.warnings = 0;
      cr_expect_eq(memcmp(&narrow, &counted, sizeof narrow), 0, "case %d, scratch %d", k, size);
    }
  }
}

/* ---- Moments ---------------------------------------------------------------------------------------------------------- */

/* Two passes in long double: variance and kurtosis to far better than is asked. */
static void naive_moments(const float *x, uint64_t n, double *mean, double *variance, double *skewness, double *kurtosis) {
  long double sum = 0, m2 = 0, m3 = 0, m4 = 0, k = (long double)n;
  for (uint64_t i = 0; i < n; ++i) sum += x[i];
  for (uint64_t i = 0; i < n; ++i) {
    long double d = x[i] - sum / k;
    m2 += d * d, m3 += d * d * d, m4 += d * d * d * d;
  }
  *mean = (double)(sum / k);
  *variance = (double)(m2 / (k - 1));
  *skewness = (double)(m3 / k / (m2 / k * sqrtl(m2 / k)));
  *kurtosis = (double)(m4 * k / (m2 * m2)) - 3;
}

enum shape { OFFSET, STEPS, STEP_ONCE, SPIKE, DRIFT, TWO_VALUES, ZEROS_THEN, ALTERNATING_BLOCKS, FALLING, GROWING, SPARSE, CREEP, SHAPES };

static float shaped(enum shape shape, double level, uint64_t i, uint64_t n, struct random_state *r) {
  double v = random_normal(r);
  switch (shape) {
    case OFFSET: return (float)(level + v);
    case STEPS: return (float)(v + level * (double)(i * 13 / n));
    case STEP_ONCE: return (float)(v + (i < n / 300 ? 0 : level)); /* nearly all of it far from where it starts */
    case SPIKE: return (float)(i == n / 2 ? level * level * 1e3 : v);
    case DRIFT: return (float)(v + level * (double)i / (double)n);
    case TWO_VALUES: return (float)(random_next(r) & 1 ? level + 1.1 : level - 1.3);
    case ZEROS_THEN: return (float)(i < n - n / 8 ? 0 : v + level);
    case ALTERNATING_BLOCKS: return (float)(v + (i / 4096 & 1 ? level : -level));
    case FALLING: return (float)(v * pow(10, -8.0 * (double)i / (double)n) + level);
    case GROWING: return (float)(v * pow(10, -8.0 + 8.0 * (double)i / (double)n));
    case SPARSE: return (float)(random_below(r, 5000) == 0 ? v * level : 0);
    default: return (float)(level * 1e3 + (double)(i / 64) * 0.25); /* CREEP: long equal runs */
  }
}

static void moments_accuracy(const char *isa) {
  enum { N = 700001 };
  static const double levels[] = {0.5, 10, 1000, 1e5};
  setenv("ACTSCOPE_ISA", isa, 1);
  if (strcmp(actscope_cpu_isa_name(actscope_cpu_isa()), isa)) cr_skip_test("this processor has no %s", isa);
  float *x = malloc(sizeof *x * N);
  for (int shape = 0; shape < SHAPES; ++shape)
    for (int level = 0; level < 4; ++level)
      for (int scale = -1; scale <= 1; ++scale) { /* values near 1e-30, 1, 1e25: sizes must not matter */
        double mean, variance, skewness, kurtosis, unit = scale < 0 ? 1e-30 : scale > 0 ? 1e25 : 1;
        if (shape == SPIKE && scale > 0) continue; /* leaves float32 */
        struct random_state r = {17};
        struct compare c;
        int64_t n = scale ? N / 7 : N;
        for (int64_t i = 0; i < n; ++i) x[i] = shaped(shape, levels[level], (uint64_t)i, (uint64_t)n, &r) * (float)unit;
        naive_moments(x, (uint64_t)n, &mean, &variance, &skewness, &kurtosis);
        actscope_tensor t = vector_of(x, ACTSCOPE_FLOAT32, &n);
        struct result got = measure(&t, ACTSCOPE_MOMENTS, 2, BEST);
        compare_begin(&c, "%s shape %d level %g unit %g", isa, shape, levels[level], unit);
        compare_value(&c, "mean", got.profile.mean, mean, 1e-6 * got.profile.abs_mean, 0);
        compare_value(&c, "variance", got.profile.variance, variance, 0, 2e-6);
        compare_value(&c, "skewness", got.profile.skewness, skewness, 1e-5, 1e-5);
        compare_value(&c, "kurtosis", got.profile.kurtosis, kurtosis, 1e-5 * (kurtosis + 3), 1e-5);
        cr_expect_eq(compare_end(&c), 0, "%s", c.text);
      }
  free(x);
}
Test(profile, moments_accuracy_baseline) { moments_accuracy("baseline"); }
Test(profile, moments_accuracy_avx2) { moments_accuracy("avx2"); }
Test(profile, moments_accuracy_avx512) { moments_accuracy("avx512"); }

/* Powers of two change no digit of a float64 profile but the exponents, up to the ends of the range. */
Test(profile, float64_of_any_size) {
  enum { N = 40000 };
  static double x[N], y[N];
  struct random_state r = {23};
  int64_t n = N;
  for (int i = 0; i < N; ++i) x[i] = random_normal(&r) + 2;
  actscope_tensor t = vector_of(x, ACTSCOPE_FLOAT64, &n), s = vector_of(y, ACTSCOPE_FLOAT64, &n);
  struct result a = measure(&t, ACTSCOPE_PROFILE, 2, BEST);
  for (int e = -960; e <= 1010; e += 197) {
    struct compare c;
    for (int i = 0; i < N; ++i) y[i] = ldexp(x[i], e);
    struct result b = measure(&s, ACTSCOPE_PROFILE, 2, BEST);
    compare_begin(&c, "times 2^%d", e);
    compare_value(&c, "mean", b.profile.mean, ldexp(a.profile.mean, e), 0, 1e-14);
    compare_value(&c, "std", b.profile.std, ldexp(a.profile.std, e), 0, 1e-14);
    compare_value(&c, "variance", b.profile.variance, ldexp(a.profile.variance, 2 * e), 0, 1e-13);
    compare_value(&c, "skewness", b.profile.skewness, a.profile.skewness, 1e-12, 0);
    compare_value(&c, "kurtosis", b.profile.kurtosis, a.profile.kurtosis, 1e-12, 0);
    compare_value(&c, "abs_mean", b.profile.abs_mean, ldexp(a.profile.abs_mean, e), 0, 1e-14);
    compare_value(&c, "l2_norm", b.profile.l2_norm, ldexp(a.profile.l2_norm, e), 0, 1e-14);
    compare_value(&c, "entropy", b.profile.entropy, a.profile.entropy, 1e-12, 0);
    cr_expect_eq(compare_end(&c), 0, "%s", c.text);
  }
  /* Small and large in one tensor: the large ones decide. */
  for (int i = 0; i < N; ++i) y[i] = i < N / 2 ? ldexp(x[i], -800) : ldexp(x[i], 900);
  struct ref_matrix m;
  actscope_profile ref;
  struct compare c;
  ref_matrix_load(&m, &s, 0);
  ref_profile(&m, &ref);
  struct result mixed = measure(&s, ACTSCOPE_PROFILE, 2, BEST);
  compare_begin(&c, "2^-800 and 2^900");
  compare_profile(&c, &mixed.profile, &ref, ACTSCOPE_FLOAT64, ACTSCOPE_PROFILE);
  cr_expect_eq(compare_end(&c), 0, "%s", c.text);
  ref_matrix_free(&m);
}

/* Merging the parts of a cut, wherever it is, is the same as not cutting. */
Test(profile, merge_of_moments) {
  enum { N = 400 };
  double x[N];
  struct random_state r = {31};
  struct moments whole, part[3];
  for (int size = 0; size < 3; ++size)
    for (int trial = 0; trial < 50; ++trial) {
      int cut[2] = {(int)random_below(&r, N + 1), (int)random_below(&r, N + 1)};
      double unit = size == 0 ? 1 : size == 1 ? 0x1p700 : 0x1p-700;
      for (int i = 0; i < N; ++i) x[i] = random_normal(&r) + (i % 3);
      moments_init(&whole);
      for (int k = 0; k < 3; ++k) moments_init(&part[k]);
      for (int i = 0; i < N; ++i) {
        moments_update(&whole, x[i], 1 + (uint64_t)i % 2, 1e-300);
        int k = (i >= cut[0]) + (i >= cut[1]);
        moments_update(&part[k], x[i], 1 + (uint64_t)i % 2, 1e-300);
      }
      if (size)
        for (int k = 0; k < 3; ++k) { /* the same values, `unit` times larger */
          part[k].exponent = size == 1 ? 700 : -700;
          part[k].min *= unit, part[k].max *= unit;
        }
      moments_merge(&part[1], &part[2]);
      moments_merge(&part[0], &part[1]);
      struct compare c;
      actscope_profile got, want;
      moments_finish(&whole, ACTSCOPE_PROFILE, &want);
      moments_finish(&part[0], ACTSCOPE_PROFILE, &got);
      compare_begin(&c, "cut at %d and %d, unit %g", cut[0], cut[1], unit);
      compare_value(&c, "mean", got.mean / unit, want.mean, 1e-13, 0);
      compare_value(&c, "std", got.std / unit, want.std, 0, 1e-13);
      compare_value(&c, "skewness", got.skewness, want.skewness, 1e-12, 0);
      compare_value(&c, "kurtosis", got.kurtosis, want.kurtosis, 1e-12, 0);
      compare_value(&c, "abs_mean", got.abs_mean / unit, want.abs_mean, 0, 1e-13);
      compare_value(&c, "entropy", got.entropy, want.entropy, 1e-12, 0);
      compare_count(&c, "finite", got.finite, want.finite);
      cr_expect_eq(compare_end(&c), 0, "%s", c.text);
    }
}

/* As many zeros as values 2^53 spreads away from them, wherever exponents begin. */
Test(profile, exponents_leave_room) {
  for (int scale = -1000; scale <= 970; ++scale) {
    struct moments zeros, m;
    struct compare c;
    actscope_profile got;
    const int e = (int)moments_exponent(scale);
    const uint64_t n = 1ull << 42;
    moments_init(&zeros), moments_init(&m);
    zeros.n = zeros.zero = m.n = n, zeros.min = zeros.max = 0;
    m.mean = ldexp(1, scale + 53 - e), m.m2 = (double)n * ldexp(1, 2 * (scale - e)), m.m4 = (double)n * ldexp(1, 4 * (scale - e));
    m.min = ldexp(1, scale + 52), m.max = ldexp(1, scale + 53);
    m.abs_sum = (double)n * m.mean, m.abs_log_sum = m.abs_sum * log(m.mean);
    m.exponent = e;
    moments_merge(&zeros, &m);
    moments_finish(&zeros, ACTSCOPE_MOMENTS, &got);
    compare_begin(&c, "spread 2^%d", scale);
    compare_value(&c, "mean", got.mean, ldexp(1, scale + 52), 0, 1e-15);
    compare_value(&c, "std", got.std, ldexp(1, scale + 52), 0, 1e-12);
    compare_value(&c, "skewness", got.skewness, 0, 1e-12, 0);
    compare_value(&c, "kurtosis", got.kurtosis, -2, 1e-12, 0);
    cr_expect_eq(compare_end(&c), 0, "%s", c.text);
  }
}

Test(profile, constants_are_exact) {
  static const float values[] = {0.1f, -3e38f, 1e-40f, 0.0f, -0.0f, 1e20f, 16777217.0f, 1e-30f};
  enum { N = 50021 };
  static float x[N];
  int64_t n = N;
  for (size_t k = 0; k < sizeof values / sizeof *values; ++k)
    for (int special = 0; special < 2; ++special) {
      for (int i = 0; i < N; ++i) x[i] = special && i % 1000 == 7 ? NAN : values[k];
      actscope_tensor t = vector_of(x, ACTSCOPE_FLOAT32, &n);
      struct result r = measure(&t, ACTSCOPE_ALL, 2, BEST);
      struct compare c;
      double v = values[k] + 0.0, finite = (double)r.profile.finite;
      compare_begin(&c, "constant %g", values[k]);
      compare_value(&c, "mean", r.profile.mean, v, 0, 0);
      compare_value(&c, "variance", r.profile.variance, 0, 0, 0);
      compare_value(&c, "std", r.profile.std, 0, 0, 0);
      compare_value(&c, "skewness", r.profile.skewness, NAN, 0, 0);
      compare_value(&c, "kurtosis", r.profile.kurtosis, NAN, 0, 0);
      compare_value(&c, "median", r.profile.quantiles[3], v, 0, 0);
      compare_value(&c, "abs_mean", r.profile.abs_mean, fabs(v), 0, 0);
      compare_value(&c, "l2_norm", r.profile.l2_norm, fabs(v) * sqrt(finite), 0, 1e-15);
      compare_value(&c, "entropy", r.profile.entropy, v == 0 ? NAN : 1, 0, 0);
      compare_count(&c, "distinct", r.distinct.count, 1 + (uint64_t)special);
      compare_count(&c, "sign of min", signbit(r.profile.min) != 0, v < 0);
      cr_expect_eq(compare_end(&c), 0, "%s", c.text);
    }
}

/* ---- What was not asked for, and what is not there ------------------------------------------------------------------ */

Test(profile, nothing_but_what_was_asked_for) {
  float x[100];
  int64_t n = 100;
  for (int i = 0; i < 100; ++i) x[i] = (float)(i % 10) - 4;
  actscope_tensor t = vector_of(x, ACTSCOPE_FLOAT32, &n);
  for (uint32_t statistics = 1; statistics < 16; ++statistics) {
    struct result r = measure(&t, statistics, 2, LEAST);
    const actscope_profile *p = &r.profile;
    if (statistics & ACTSCOPE_PROFILE) {
      cr_expect_eq(p->count, 100);
      cr_expect_eq(p->finite, 100);
      cr_expect_eq(p->zero, statistics & ACTSCOPE_MOMENTS ? 10 : 0);
      cr_expect_eq(!isnan(p->mean), (statistics & ACTSCOPE_MOMENTS) != 0);
      cr_expect_eq(!isnan(p->max), (statistics & ACTSCOPE_MOMENTS) != 0);
      cr_expect_eq(!isnan(p->l2_norm), (statistics & ACTSCOPE_MOMENTS) != 0);
      cr_expect_eq(!isnan(p->entropy), (statistics & ACTSCOPE_ENTROPY) != 0);
      cr_expect_eq(!isnan(p->quantiles[3]), (statistics & ACTSCOPE_QUANTILES) != 0);
    } else {
      cr_expect_eq(p->count, 0);
    }
    cr_expect_eq(r.distinct.count, statistics & ACTSCOPE_DISTINCT ? 10 : 0);
  }
}

Test(profile, empty_single_and_refused) {
  for (int d = 0; d < DTYPES; ++d) {
    int64_t shape[2] = {0, 5}, one = 1;
    actscope_tensor t = {NULL, all_dtypes[d], 2, shape, NULL};
    struct result r = measure(&t, ACTSCOPE_ALL, 2, LEAST);
    cr_expect_eq(r.profile.count, 0);
    cr_expect(isnan(r.profile.mean) && isnan(r.profile.entropy) && isnan(r.profile.quantiles[0]));
    cr_expect_eq(r.distinct.count, 0);
    cr_expect(isnan(r.distinct.redundancy));
    uint64_t bits = ref_encode(all_dtypes[d], -1.5);
    actscope_tensor scalar = {&bits, all_dtypes[d], 0, NULL, NULL}, single = vector_of(&bits, all_dtypes[d], &one);
    check(&scalar, 2, BEST, "ndim 0");
    check(&single, 2, LEAST, "one element");
    struct view v;
    struct cpu_profile_request q = request(ACTSCOPE_ALL, ACTSCOPE_DISTINCT_SKETCH, 2);
    uint64_t least = actscope_cpu_profile_need(&q, all_dtypes[d], 1).least;
    char *memory = aligned_alloc(64, least + 64);
    view_init(&v, &single, 0);
    cr_expect_eq(actscope_cpu_profile(&v, &q, memory, least - 1, &r.profile, &r.distinct, &r.warnings),
                 ACTSCOPE_WORKSPACE_TOO_SMALL);
    free(memory);
  }
}

Test(profile, least_memory_is_small) {
  struct cpu_profile_request q = request(ACTSCOPE_MOMENTS | ACTSCOPE_ENTROPY, ACTSCOPE_DISTINCT_SKETCH, 64);
  cr_expect_leq(actscope_cpu_profile_need(&q, ACTSCOPE_FLOAT32, 100000).least, 8 << 10);
  cr_expect_leq(actscope_cpu_profile_need(&q, ACTSCOPE_FLOAT32, 1ull << 40).least, 40 << 10);
  q.statistics = ACTSCOPE_ALL;
  cr_expect_leq(actscope_cpu_profile_need(&q, ACTSCOPE_FLOAT32, 1ull << 31).least, 320 << 10);
  cr_expect_leq(actscope_cpu_profile_need(&q, ACTSCOPE_BFLOAT16, 1ull << 31).least, 300 << 10);
}

/* ---- Conversions -------------------------------------------------------------------------------------------------------- */

/* Every pattern of every narrow type, in code compiled at each level: one compiler drops conditional truncations. */
#define AT_LEVEL(NAME, LEVEL)                                                                                      \
  __attribute__((optimize(LEVEL), noinline)) static uint64_t conversions_##NAME(actscope_dtype dtype, int odd) {   \
    uint64_t wrong = 0;                                                                                            \
    uint32_t patterns = ref_size(dtype) == 1 ? 256 : 65536;                                                        \
    for (uint32_t b = 0; b < patterns; ++b) {                                                                      \
      uint64_t cell = 0;                                                                                           \
      double got = 0, want = ref_decode(dtype, b);                                                                 \
      ref_store(dtype, &cell, 0, b);                                                                               \
      if (odd || b % 3) got = dtype_load(dtype, &cell, 0);                                                         \
      else got = dtype_load(dtype, &cell, 0);                                                                      \
      wrong += isnan(want) ? !isnan(got) : got != want || signbit(got) != signbit(want);                           \
      double bin = dtype_bin_value(dtype, b);                                                                      \
      wrong += isfinite(want) ? bin != want : !isnan(bin);                                                         \
    }                                                                                                              \
    return wrong;                                                                                                  \
  }
AT_LEVEL(O0, "O0")
AT_LEVEL(O1, "O1")
AT_LEVEL(O2, "O2")
AT_LEVEL(O3, "O3")

Test(profile, conversions_of_every_pattern) {
  for (int d = 0; d < DTYPES; ++d) {
    if (all_dtypes[d] == ACTSCOPE_FLOAT32 || all_dtypes[d] == ACTSCOPE_FLOAT64) continue;
    for (int odd = 0; odd < 2; ++odd) {
      cr_expect_eq(conversions_O0(all_dtypes[d], odd), 0, "%s at -O0", data_dtype_name(all_dtypes[d]));
      cr_expect_eq(conversions_O1(all_dtypes[d], odd), 0, "%s at -O1", data_dtype_name(all_dtypes[d]));
      cr_expect_eq(conversions_O2(all_dtypes[d], odd), 0, "%s at -O2", data_dtype_name(all_dtypes[d]));
      cr_expect_eq(conversions_O3(all_dtypes[d], odd), 0, "%s at -O3", data_dtype_name(all_dtypes[d]));
    }
    /* and a tensor that holds each pattern once */
    uint32_t patterns = ref_size(all_dtypes[d]) == 1 ? 256 : 65536;
    static uint8_t bytes[256];
    static uint16_t words[65536];
    int64_t n = patterns;
    for (uint32_t b = 0; b < patterns; ++b) bytes[b & 255] = (uint8_t)b, words[b] = (uint16_t)b;
    actscope_tensor t = vector_of(patterns == 256 ? (const void *)bytes : (const void *)words, all_dtypes[d], &n);
    check(&t, 2, BEST, data_dtype_name(all_dtypes[d]));
  }
}

/* ---- Distinct values ------------------------------------------------------------------------------------------------------ */

/* Five values, over and over: in whole vectors and in what is left of them. */
Test(profile, zeros_are_one_value_and_nans_are_one) {
  enum { N = 8 * 9 };
  float x[N] = {0.0f, -0.0f, NAN, -NAN, 1, INFINITY, -INFINITY, 1};
  double y[N] = {0.0, -0.0, NAN, -NAN, 1, INFINITY, -INFINITY, 1};
  uint32_t payload = 0x7FA00001u, negative = 0xFFFFFFFFu;
  uint64_t payload64 = 0x7FF0000000000001ull;
  memcpy(&x[2], &payload, 4);
  memcpy(&x[3], &negative, 4);
  memcpy(&y[3], &payload64, 8);
  for (int i = 8; i < N; ++i) memcpy(&x[i], &x[i - 8], 4), memcpy(&y[i], &y[i - 8], 8);
  for (int64_t n = 8; n <= N; n += 8) {
    actscope_tensor tensors[] = {vector_of(x, ACTSCOPE_FLOAT32, &n), vector_of(y, ACTSCOPE_FLOAT64, &n)};
    for (int k = 0; k < 2; ++k)
      for (int method = ACTSCOPE_DISTINCT_EXACT; method <= ACTSCOPE_DISTINCT_SKETCH; ++method)
        for (uint32_t statistics = ACTSCOPE_DISTINCT; statistics <= ACTSCOPE_ALL; statistics += ACTSCOPE_ALL - ACTSCOPE_DISTINCT) {
          struct cpu_profile_request q = request(statistics, method, 2);
          struct result r = measure_with(&tensors[k], &q, BEST, 0);
          cr_expect_eq(r.distinct.count, 5, "n %d case %d method %d: %llu", (int)n, k, method, (unsigned long long)r.distinct.count);
          cr_expect_eq(r.distinct.method, method);
          cr_expect_float_eq(r.distinct.redundancy, 1 - 5.0 / (double)n, 1e-15);
        }
  }
}

/* Exact counts in any memory: one pass, many, and by bits. */
Test(profile, exact_counts_in_any_memory) {
  enum { N = 400000 };
  float *x = malloc(sizeof *x * N);
  double *y = malloc(sizeof *y * N);
  int64_t n = N;
  for (int spread = 0; spread < 3; ++spread) { /* all different; many repeats; half zeros */
    struct random_state r = {41 + (uint64_t)spread};
    for (int i = 0; i < N; ++i) {
      uint32_t bits = (uint32_t)random_next(&r);
      y[i] = spread == 0 ? random_normal(&r) : spread == 1 ? (double)random_below(&r, 900) : fmax(0, random_normal(&r));
      x[i] = (float)y[i];
      if (spread == 0 && (bits & 0x7F800000u) != 0x7F800000u) memcpy(&x[i], &bits, 4);
    }
    actscope_tensor tensors[] = {vector_of(x, ACTSCOPE_FLOAT32, &n), vector_of(y, ACTSCOPE_FLOAT64, &n)};
    for (int k = 0; k < 2; ++k) {
      struct ref_matrix m;
      ref_matrix_load(&m, &tensors[k], 0);
      uint64_t want = ref_distinct(&m);
      ref_matrix_free(&m);
      struct cpu_profile_request q = request(ACTSCOPE_DISTINCT, ACTSCOPE_DISTINCT_EXACT, 2);
      struct cpu_need need = actscope_cpu_profile_need(&q, tensors[k].dtype, N);
      for (uint64_t bytes = need.least; bytes <= need.best; bytes += (need.best - need.least) / 5) {
        struct result r2 = measure_with(&tensors[k], &q, BEST, bytes);
        cr_expect_eq(r2.distinct.count, want, "spread %d case %d in %llu bytes: %llu, want %llu", spread, k,
                     (unsigned long long)bytes, (unsigned long long)r2.distinct.count, (unsigned long long)want);
        cr_expect_eq(r2.distinct.lower, want);
        cr_expect_eq(r2.distinct.upper, want);
        cr_expect_eq(r2.distinct.relative_standard_error, 0);
        if (spread == 0 && bytes == need.least) cr_expect(r2.warnings & ACTSCOPE_WARN_DISTINCT_PASSES);
        if (spread == 1 || bytes == need.best) cr_expect_not(r2.warnings & ACTSCOPE_WARN_DISTINCT_PASSES);
      }
    }
  }
  free(x);
  free(y);
}

/* The sketch's words are those of the core, whatever the vectors, threads and blocks. */
static void sketch_state(const char *isa) {
  enum { N = 300000 };
  setenv("ACTSCOPE_ISA", isa, 1);
  if (strcmp(actscope_cpu_isa_name(actscope_cpu_isa()), isa)) cr_skip_test("this processor has no %s", isa);
  float *x = malloc(sizeof *x * N);
  double *y = malloc(sizeof *y * N);
  for (int kind = 0; kind < FLOATS_KINDS + 1; ++kind)
    for (int p = 4; p <= 18; p += 2) {
      struct random_state r = {(uint64_t)p};
      static uint32_t words[2][1 << 18];
      memset(words, 0, sizeof words);
      for (int i = 0; i < N; ++i) {
        x[i] = kind < FLOATS_KINDS ? data_float(kind, (uint64_t)i, 1) : random_below(&r, 9) ? (float)random_normal(&r) : NAN;
        y[i] = kind < FLOATS_KINDS ? x[i] * 1.1 : x[i];
        distinct_update(words[0], p, distinct_hash32(x[i]));
        distinct_update(words[1], p, distinct_hash64(y[i]));
      }
      for (int k = 0; k < 2; ++k) {
        int64_t n = N;
        uint64_t columns[33];
        actscope_distinct want;
        actscope_tensor t = k ? vector_of(y, ACTSCOPE_FLOAT64, &n) : vector_of(x, ACTSCOPE_FLOAT32, &n);
        distinct_columns(words[k], p, columns);
        distinct_finish(t.dtype, columns, p, N, &want);
        struct cpu_profile_request q = request(kind % 2 ? ACTSCOPE_DISTINCT : ACTSCOPE_ALL, ACTSCOPE_DISTINCT_SKETCH, 2);
        q.sketch_bits = p;
        struct result r2 = measure_with(&t, &q, BEST, 0);
        cr_expect_eq(r2.distinct.count, want.count, "%s, kind %d, p %d, case %d: %llu, want %llu", isa, kind, p, k,
                     (unsigned long long)r2.distinct.count, (unsigned long long)want.count);
        cr_expect_eq(r2.distinct.upper, want.upper);
      }
    }
  free(x);
  free(y);
}
Test(profile, sketch_state_baseline) { sketch_state("baseline"); }
Test(profile, sketch_state_avx2) { sketch_state("avx2"); }
Test(profile, sketch_state_avx512) { sketch_state("avx512"); }

/* Error against theory, 0.65 / sqrt(m), and cover of the 95 % interval, over structured inputs of many sizes. */
Test(profile, sketch_error_and_interval) {
  enum { P = 8, TRIALS = 400 };
  static uint32_t words[1 << P];
  static const uint64_t sizes[] = {1, 2, 5, 20, 100, 400, 1500, 6000, 25000};
  for (int kind = 0; kind < FLOATS_KINDS; ++kind) {
    if (kind == FLOATS_NORMAL || kind == FLOATS_BF16) continue; /* values repeat, or have no seed */
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; ++s) {
      double square = 0;
      int covered = 0;
      uint64_t n = sizes[s];
      int trials = n > 2000 ? TRIALS / 2 : TRIALS;
      for (int trial = 0; trial < trials; ++trial) {
        uint64_t columns[33];
        actscope_distinct d;
        memset(words, 0, sizeof words);
        for (uint64_t i = 0; i < n; ++i)
          distinct_update(words, P, distinct_hash32(data_float(kind, i, (uint64_t)trial * 31 + 1)));
        distinct_columns(words, P, columns);
        distinct_finish(ACTSCOPE_FLOAT32, columns, P, 10 * n, &d);
        double error = ((double)d.count - (double)n) / (double)n;
        square += error * error;
        covered += d.lower <= n && n <= d.upper;
        cr_assert(d.lower <= d.count && d.count <= d.upper);
      }
      double rms = sqrt(square / trials), theory = 0.70 / sqrt(1 << P);
      cr_expect_lt(rms, 1.2 * theory, "%s, n %llu: rms error %g, theory %g", data_floats_name(kind), (unsigned long long)n, rms,
                   theory);
      cr_expect_gt((double)covered / trials, 0.90, "%s, n %llu: interval covers %g", data_floats_name(kind),
                   (unsigned long long)n, (double)covered / trials);
    }
  }
}

/* Without replacement: float32 has 2^32 patterns, and half of them are counted as half of them. */
Test(profile, sketch_of_half_of_all_floats) {
  enum { P = 12 };
  static uint32_t words[1 << P];
  uint64_t columns[33];
  actscope_distinct d;
  for (uint64_t i = 0; i < 1ull << 31; i += 1) {
    uint32_t h = distinct_mix32((uint32_t)i);
    words[h >> (32 - P)] |= distinct_bit(h, P);
    if (i == 1u << 27) i = (1ull << 31) - (1u << 27); /* 2^28 of them are enough to see 3 % */
  }
  distinct_columns(words, P, columns);
  distinct_finish(ACTSCOPE_FLOAT32, columns, P, 1ull << 40, &d);
  cr_expect_float_eq((double)d.count / (1u << 28), 1, 0.03, "%g of 2^28", (double)d.count / (1u << 28));
}
