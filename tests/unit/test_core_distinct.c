/* test_core_distinct.c - the sketch of distinct values: its hash, its state, its estimate and its interval. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/distinct.h"
#include "reference/data.h"

TestSuite(core_distinct, .timeout = 60);

#define CHECK(c) cr_assert_eq(compare_end(&(c)), 0, "%s", (c).text)

/* ---- Hash ----------------------------------------------------------------------------------------------------------- */

static uint32_t odd_inverse(uint32_t a) { /* a b = 1 modulo 2^32 */
  uint32_t b = a;
  for (int k = 0; k < 5; ++k) b *= 2 - a * b;
  return b;
}
static uint32_t undo_shift(uint32_t y, int by) {
  uint32_t x = y;
  for (int k = 0; k < 32; k += by) x = y ^ x >> by;
  return x;
}

/* Each step is undone by another bijection, so the whole is one: only then may n = 2^32 (1 - exp(-l / 2^32)) be used. */
Test(core_distinct, mix_is_a_bijection) {
  uint32_t first = odd_inverse(0xD35A2D97u), second = odd_inverse(0x21F0AAADu);
  for (uint32_t k = 0; k < 1u << 22; ++k) {
    uint32_t x = k * 2654435761u ^ (k & 1 ? k : 0), y = distinct_mix32(x);
    y = undo_shift(undo_shift(undo_shift(y, 15) * first, 15) * second, 16);
    cr_assert_eq(x, y);
  }
}

Test(core_distinct, equal_values_hash_equally) {
  for (uint32_t k = 1; k < 0x00800000u; k += 4099) {
    cr_assert_eq(distinct_hash32(core_f32(0x7F800000u | k)), distinct_hash32(NAN), "NaN payload %x", k);
    cr_assert_eq(distinct_hash32(core_f32(0xFF800000u | k)), distinct_hash32(NAN), "NaN payload -%x", k);
    cr_assert_neq(distinct_hash32(core_f32(k)), distinct_hash32(core_f32(k | 0x80000000u)), "subnormal %x", k);
  }
  cr_assert_eq(distinct_hash32(-0.0f), distinct_hash32(0.0f));
  cr_assert_eq(distinct_hash64(-0.0), distinct_hash64(0.0));
  cr_assert_eq(distinct_hash64(core_f64(0xFFF0000000000123ull)), distinct_hash64(NAN));
  cr_assert_neq(distinct_hash32(INFINITY), distinct_hash32(NAN));
  cr_assert_neq(distinct_hash32(INFINITY), distinct_hash32(-INFINITY));
  cr_assert_neq(distinct_hash64(INFINITY), distinct_hash64(-INFINITY));
}

/* ---- State ---------------------------------------------------------------------------------------------------------- */

/* Words by the text: the upper p bits choose, the lowest set bit of the rest marks, the top one when there is none. */
static void naive_update(uint32_t *words, int p, uint32_t hash) {
  uint32_t word = 0;
  for (int b = 0; b < p; ++b) word = 2 * word + (hash >> (31 - b) & 1);
  int rank = 0;
  while (rank < 32 - p && !(hash >> rank & 1)) ++rank;
  words[word] |= 1u << rank;
}

Test(core_distinct, state_follows_its_definition) {
  for (int p = 4; p <= 18; ++p) {
    size_t bytes = (1u << p) * 4;
    uint32_t *got = calloc(bytes, 1), *want = calloc(bytes, 1);
    struct random_state r = {(uint64_t)p};
    uint64_t columns[33], naive[33] = {0};
    struct compare c;
    for (int k = 0; k < 30000; ++k) {
      uint32_t hash = k < 64 ? (k & 1 ? 0xFFFFFFFFu << (k / 2) : (uint32_t)k << 27) : (uint32_t)random_next(&r);
      distinct_update(got, p, hash);
      naive_update(want, p, hash);
    }
    compare_begin(&c, "p = %d", p);
    compare_bytes(&c, "words", got, want, bytes);
    distinct_columns(got, p, columns);
    for (uint32_t w = 0; w < 1u << p; ++w)
      for (int k = 0; k < 32; ++k) naive[k] += want[w] >> k & 1;
    compare_counts(&c, "columns", columns, naive, 33);
    CHECK(c);
    free(got);
    free(want);
  }
}

/* Order, repetition and cuts do not matter: merging parts by OR gives the state of the whole. */
Test(core_distinct, merging_is_union) {
  enum { P = 10, N = 20000 };
  uint32_t whole[1 << P] = {0}, left[1 << P] = {0}, right[1 << P] = {0};
  for (int k = 0; k < N; ++k) distinct_update(whole, P, distinct_hash32(data_float(FLOATS_256THS, (uint64_t)k, 0)));
  for (int k = N - 1; k >= 0; --k) {
    uint32_t hash = distinct_hash32(data_float(FLOATS_256THS, (uint64_t)k, 0));
    if (k < 2 * N / 3) distinct_update(left, P, hash);
    if (k > N / 3) distinct_update(right, P, hash), distinct_update(right, P, hash);
  }
  for (int w = 0; w < 1 << P; ++w) left[w] |= right[w];
  cr_assert_eq(memcmp(whole, left, sizeof whole), 0);
}

/* ---- Likelihood ------------------------------------------------------------------------------------------------------ */

static long double log_likelihood(const uint64_t c[33], int p, long double log_x) {
  long double x = expl(log_x), sum = 0;
  for (int k = 0; k <= 32 - p; ++k) {
    long double t = powl(2, -(k < 32 - p ? k + 1 : 32 - p));
    if (c[k]) sum += (long double)c[k] * logl(-expm1l(-t * x));
    sum -= (long double)((1u << p) - c[k]) * t * x;
  }
  return sum;
}

/* The maximum by golden section over ln x, and its curvature by second differences. */
static void naive_likelihood(const uint64_t c[33], int p, double *lambda, double *error) {
  long double low = -30, high = 30, golden = 0.6180339887498948482L, step = 1e-4L;
  while (high - low > 1e-10L) {
    long double a = high - golden * (high - low), b = low + golden * (high - low);
    if (log_likelihood(c, p, a) < log_likelihood(c, p, b)) low = a;
    else high = b;
  }
  long double at = 0.5L * (low + high);
  long double bend = log_likelihood(c, p, at + step) - 2 * log_likelihood(c, p, at) + log_likelihood(c, p, at - step);
  *lambda = (double)ldexpl(expl(at), p);
  *error = (double)(step / sqrtl(-bend));
}

Test(core_distinct, likelihood_finds_its_maximum) {
  static const uint64_t sizes[] = {1, 2, 5, 40, 300, 5000, 60000, 400000};
  for (int p = 4; p <= 18; p += 2)
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; ++k) {
      uint32_t *words = calloc(1u << p, 4);
      struct random_state r = {sizes[k] + (uint64_t)p};
      uint64_t columns[33];
      double got, got_error, want, want_error;
      struct compare c;
      for (uint64_t i = 0; i < sizes[k]; ++i) distinct_update(words, p, (uint32_t)(random_next(&r) >> 32));
      distinct_columns(words, p, columns);
      distinct_likelihood(columns, p, &got, &got_error);
      naive_likelihood(columns, p, &want, &want_error);
      compare_begin(&c, "p = %d, %llu values", p, (unsigned long long)sizes[k]);
      compare_value(&c, "lambda", got, want, 0, 1e-7);
      /* the curvature is that of a Poisson number of values, whose spread the estimate leaves out */
      compare_value(&c, "standard error", hypot(got_error, 1 / sqrt(got)), want_error, 0, 1e-4);
      CHECK(c);
      free(words);
    }
}

/* Column counts of a sketch over n of the 2^32 patterns. Bit k of a word stands for s = 2^(q-k-1) patterns (1 for the
 * last), all missed with probability (1 - n/2^32)^s: sampling without replacement. */
static void simulate(struct random_state *r, int p, double n, uint64_t c[33]) {
  int q = 32 - p;
  memset(c, 0, 33 * sizeof *c);
  for (int k = 0; k <= q; ++k) {
    double miss = exp(ldexp(1, k < q ? q - k - 1 : 0) * log1p(-n / 4294967296.0));
    for (uint32_t w = 0; w < 1u << p; ++w) c[k] += random_uniform(r) >= miss;
  }
}

/* Without the correction for the bijection these are 2 % too high at 2^27 and 15 % at 2^30. */
Test(core_distinct, huge_counts_are_unbiased) {
  static const int powers[] = {20, 24, 27, 28, 29, 30, 31};
  enum { P = 12, SEEDS = 100 };
  struct compare c;
  compare_begin(&c, "simulated columns");
  for (size_t k = 0; k < sizeof powers / sizeof *powers; ++k) {
    double n = ldexp(1, powers[k]), sum = 0, squares = 0, covered = 0, claimed = 0;
    struct random_state r = {77};
    char name[48];
    for (int seed = 0; seed < SEEDS; ++seed) {
      uint64_t columns[33];
      actscope_distinct d;
      simulate(&r, P, n, columns);
      distinct_finish(ACTSCOPE_FLOAT32, columns, P, 1ull << 33, &d);
      double error = ((double)d.count - n) / n;
      sum += error;
      squares += error * error;
      claimed += d.relative_standard_error;
      covered += (double)d.lower <= n && n <= (double)d.upper;
    }
    snprintf(name, sizeof name, "bias at 2^%d", powers[k]);
    compare_value(&c, name, sum / SEEDS, 0, 0.0035, 0); /* 3.5 standard errors of the mean of 100 */
    snprintf(name, sizeof name, "observed / claimed at 2^%d", powers[k]);
    compare_between(&c, name, sqrt(squares / SEEDS) / (claimed / SEEDS), 0.8, 1.2); /* 100 seeds: +- 7 % */
    snprintf(name, sizeof name, "standard error at 2^%d", powers[k]);
    compare_between(&c, name, claimed / SEEDS, 0, 0.0104);
    snprintf(name, sizeof name, "coverage at 2^%d", powers[k]);
    compare_between(&c, name, covered / SEEDS, 0.88, 1);
  }
  CHECK(c);
}

/* float64 samples hashes with replacement: no correction. */
Test(core_distinct, only_float32_is_corrected) {
  cr_assert_float_eq(distinct_count(ACTSCOPE_FLOAT32, 4294967296.0), 4294967296.0 * (1 - exp(-1)), 1);
  cr_assert_eq(distinct_count(ACTSCOPE_FLOAT64, 4294967296.0), 4294967296.0);
  cr_assert_float_eq(distinct_count(ACTSCOPE_FLOAT32, 10), 10, 1e-6);
}

/* 2^27 real values, one after the other through the real hash. */
Test(core_distinct, counts_2_to_the_27_floats) {
  enum { P = 12 };
  static uint32_t words[1 << P];
  uint64_t columns[33];
  actscope_distinct d;
  for (uint32_t k = 0; k < 1u << 27; ++k) distinct_update(words, P, distinct_mix32(0x3C000000u + k));
  distinct_columns(words, P, columns);
  distinct_finish(ACTSCOPE_FLOAT32, columns, P, 1u << 27, &d);
  cr_assert(d.lower <= 1u << 27 && d.upper >= 134e6, "%llu .. %llu", (unsigned long long)d.lower,
            (unsigned long long)d.upper);
  distinct_finish(ACTSCOPE_FLOAT32, columns, P, 1u << 30, &d);
  cr_assert(fabs((double)d.count / 134217728.0 - 1) < 3 * 0.0102, "%llu", (unsigned long long)d.count);
}

/* ---- Estimate -------------------------------------------------------------------------------------------------------- */

struct quality {
  double bias, error, covered, claimed;
};
/* kind FLOATS_KINDS: hashes at random. */
static struct quality measure(enum data_floats kind, int p, uint64_t n, int seeds) {
  struct quality q = {0, 0, 0, 0};
  uint32_t *words = malloc((size_t)4 << p);
  for (int seed = 0; seed < seeds; ++seed) {
    uint64_t columns[33];
    actscope_distinct d;
    memset(words, 0, (size_t)4 << p);
    struct random_state r = {(uint64_t)seed * 65537};
    for (uint64_t i = 0; i < n; ++i)
      distinct_update(words, p, kind == FLOATS_KINDS ? (uint32_t)(random_next(&r) >> 32)
                                                     : distinct_hash32(data_float(kind, (uint64_t)seed * n + i, 1)));
    distinct_columns(words, p, columns);
    distinct_finish(ACTSCOPE_FLOAT32, columns, p, 10 * n, &d);
    double error = ((double)d.count - (double)n) / (double)n;
    q.bias += error / seeds;
    q.error += error * error / seeds;
    q.covered += (d.lower <= n && n <= d.upper) / (double)seeds;
    q.claimed += d.relative_standard_error / seeds;
  }
  q.error = sqrt(q.error);
  free(words);
  return q;
}

/* Theory: 0.65 / sqrt(2^p) = 1.02 % at p = 12. Over structured floats, whose hashes are not independent, each seed takes
 * the next stretch of the sequence: relative standard error within 1.13 times theory plus what 100 seeds leave open (7 % each way, twice). */
Test(core_distinct, structured_floats_are_counted_as_well_as_random_ones) {
  static const enum data_floats kinds[] = {FLOATS_CONSECUTIVE, FLOATS_INTEGERS, FLOATS_256THS,
                                           FLOATS_2048THS,     FLOATS_LOW_BITS, FLOATS_SIGNED_GRID};
  static const uint64_t sizes[] = {3000, 30000, 100000};
  struct compare c;
  compare_begin(&c, "structured floats");
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; ++k)
    for (int s = 0; s < 3; ++s) {
      struct quality q = measure(kinds[k], 12, sizes[s], 100);
      char name[80];
      snprintf(name, sizeof name, "%s, n = %llu: error", data_floats_name(kinds[k]), (unsigned long long)sizes[s]);
      compare_between(&c, name, q.error, 0, 0.0102 * 1.13 * 1.14);
      snprintf(name, sizeof name, "%s, n = %llu: bias", data_floats_name(kinds[k]), (unsigned long long)sizes[s]);
      compare_between(&c, name, q.bias, -0.0035, 0.0035);
      snprintf(name, sizeof name, "%s, n = %llu: coverage", data_floats_name(kinds[k]), (unsigned long long)sizes[s]);
      compare_between(&c, name, q.covered, 0.87, 1);
    }
  CHECK(c);
}

/* The stated 0.65 / sqrt(4096) = 1.02 % with 300 seeds (+- 4 %), where the sketch is well filled. */
Test(core_distinct, standard_error_at_p_12) {
  struct quality q = measure(FLOATS_KINDS, 12, 200000, 300);
  cr_assert(q.error <= 0.0105 && q.error > 0.0085, "standard error %.4f %%", 100 * q.error);
  cr_assert(fabs(q.bias) < 0.002, "bias %.4f %%", 100 * q.bias);
  cr_assert(q.covered >= 0.92 && q.covered <= 0.985, "the 95 %% interval covers %.1f %%", 100 * q.covered);
}

/* The claimed error is the one observed, at every width and filling: 200 seeds leave 5 % open. Below p = 8 the estimate
 * is not yet normal: 16 words are off by 14 % more than the information says. */
Test(core_distinct, claimed_error_is_honest) {
  struct compare c;
  compare_begin(&c, "claims");
  for (int p = 4; p <= 14; p += 2)
    for (uint64_t n = 100; n <= 100000; n *= 10) {
      struct quality q = measure(FLOATS_KINDS, p, n, 200);
      double rounding = 0.29 / (double)n; /* counts are whole numbers */
      char name[64];
      snprintf(name, sizeof name, "p = %d, n = %llu: observed / claimed", p, (unsigned long long)n);
      compare_between(&c, name, q.error / hypot(q.claimed, rounding),
                      q.claimed * (double)n > 1 ? 0.85 : 0, p < 8 ? 1.25 : 1.15);
      snprintf(name, sizeof name, "p = %d, n = %llu: coverage", p, (unsigned long long)n);
      compare_between(&c, name, q.covered, p < 8 ? 0.86 : 0.9, 1);
      snprintf(name, sizeof name, "p = %d, n = %llu: claimed / theory", p, (unsigned long long)n);
      if (n >= 64ull << p) compare_between(&c, name, q.claimed / (0.65 / sqrt(1 << p)), 0.95, 1.05);
    }
  CHECK(c);
}

Test(core_distinct, the_ends_of_the_range) {
  uint32_t words[1 << 4] = {0};
  uint64_t columns[33];
  actscope_distinct d;
  distinct_columns(words, 4, columns);
  distinct_finish(ACTSCOPE_FLOAT32, columns, 4, 0, &d);
  cr_assert(d.count == 0 && d.lower == 0 && d.upper == 0 && isnan(d.redundancy), "nothing");
  distinct_update(words, 4, distinct_hash32(1));
  distinct_columns(words, 4, columns);
  distinct_finish(ACTSCOPE_FLOAT32, columns, 4, 1, &d);
  cr_assert(d.count == 1 && d.lower == 1 && d.upper == 1 && d.redundancy == 0, "one");
  distinct_finish(ACTSCOPE_FLOAT32, columns, 4, 1000, &d);
  cr_assert(d.count >= 1 && d.count < 10 && d.lower >= 1 && d.lower <= d.count && d.count <= d.upper, "one of 1000");
  memset(words, 0xFF, sizeof words);
  for (int w = 0; w < 16; ++w) words[w] = (1u << 29) - 1;
  distinct_columns(words, 4, columns);
  distinct_finish(ACTSCOPE_FLOAT32, columns, 4, 5000, &d);
  cr_assert(d.count == 5000 && d.upper == 5000, "a full sketch says: no fewer than the elements");
  distinct_finish_exact(7, 28, &d);
  cr_assert(d.method == ACTSCOPE_DISTINCT_EXACT && d.count == 7 && d.lower == 7 && d.upper == 7 &&
            d.relative_standard_error == 0 && d.redundancy == 0.75);
}
