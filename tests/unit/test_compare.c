/* test_compare.c - the tests' own instruments: a comparer that passes everything proves nothing. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference/data.h"
#include "reference/reference.h"

TestSuite(compare, .timeout = 30);

enum { ROWS = 24, COLUMNS = 40, COUNT = ROWS * COLUMNS };

/* A reference and an output that is right to rounding. */
static void fill(double *ref, double *got) {
  struct random_state r = {7};
  for (int i = 0; i < COUNT; ++i) {
    ref[i] = random_normal(&r);
    got[i] = ref[i] * (1 + 1e-9 * random_normal(&r));
  }
}

static uint64_t verdict(struct compare *c, const double *got, const double *ref) {
  compare_begin(c, "output");
  compare_array(c, "x", got, ref, COUNT, 1e-12, 1e-6);
  return compare_end(c);
}

Test(compare, passes_what_is_right) {
  double ref[COUNT], got[COUNT];
  struct compare c;
  fill(ref, got);
  cr_assert_eq(verdict(&c, got, ref), 0, "%s", c.text);
  ref[3] = got[3] = NAN;
  ref[4] = got[4] = -INFINITY;
  cr_assert_eq(verdict(&c, got, ref), 0, "%s", c.text);
  ref[5] = 0.0, got[5] = -0.0;
  cr_assert_eq(verdict(&c, got, ref), 0, "%s", c.text);
}

Test(compare, fails_on_a_nan_at_any_place) {
  double ref[COUNT], got[COUNT];
  struct compare c;
  for (int i = 0; i < COUNT; ++i) {
    fill(ref, got);
    got[i] = NAN;
    cr_assert_eq(verdict(&c, got, ref), 1, "NaN at %d: %s", i, c.text);
    char place[32];
    snprintf(place, sizeof place, "x[%d]", i);
    cr_assert(strstr(c.text, place), "%s not in: %s", place, c.text);
    fill(ref, got);
    ref[i] = NAN; /* a number where there should be none */
    cr_assert_eq(verdict(&c, got, ref), 1, "NaN wanted at %d: %s", i, c.text);
  }
}

Test(compare, fails_on_the_wrong_infinity) {
  double ref[COUNT], got[COUNT];
  struct compare c;
  fill(ref, got);
  ref[9] = INFINITY, got[9] = -INFINITY;
  cr_assert_eq(verdict(&c, got, ref), 1, "%s", c.text);
  got[9] = 1e308;
  cr_assert_eq(verdict(&c, got, ref), 1, "%s", c.text);
  got[9] = NAN;
  cr_assert_eq(verdict(&c, got, ref), 1, "%s", c.text);
  fill(ref, got);
  got[9] = INFINITY;
  cr_assert_eq(verdict(&c, got, ref), 1, "%s", c.text);
}

Test(compare, fails_on_a_zeroed_tile) {
  double ref[COUNT], got[COUNT];
  struct compare c;
  fill(ref, got);
  for (int i = 8; i < 16; ++i) memset(got + i * COLUMNS + 8, 0, 8 * sizeof *got);
  cr_assert_eq(verdict(&c, got, ref), 64, "%s", c.text);
}

Test(compare, fails_on_a_shifted_row) {
  double ref[COUNT], got[COUNT];
  struct compare c;
  fill(ref, got);
  memmove(got + 5 * COLUMNS + 1, got + 5 * COLUMNS, (COLUMNS - 1) * sizeof *got);
  cr_assert_eq(verdict(&c, got, ref), COLUMNS - 1, "%s", c.text);
}

Test(compare, fails_on_an_untouched_output) {
  double ref[COUNT], got[COUNT];
  struct compare c;
  for (int poison = 0; poison < 2; ++poison) {
    fill(ref, got);
    memset(got, poison ? POISON_ODD : POISON_NAN, sizeof got);
    cr_assert_eq(verdict(&c, got, ref), COUNT, "%s", c.text);
  }
  for (int i = 0; i < COUNT; ++i) ref[i] = NAN; /* NaN poison would pass here, which is why the other exists */
  cr_assert_eq(verdict(&c, got, ref), COUNT, "%s", c.text);
}

Test(compare, names_the_worst) {
  double ref[COUNT], got[COUNT];
  struct compare c;
  fill(ref, got);
  for (int i = 0; i < COUNT; ++i) ref[i] = got[i] = 1;
  got[17] = 1 + 3e-6;
  got[501] = 1 - 5e-6;
  got[700] = 1 + 4e-6;
  cr_assert_eq(verdict(&c, got, ref), 3, "%s", c.text);
  cr_assert(strstr(c.text, "3 of 960 wrong, worst x[501]"), "%s", c.text);
}

Test(compare, counts_are_equal_or_wrong) {
  struct compare c;
  uint64_t a[3] = {1, 1ull << 60, 3}, b[3] = {1, (1ull << 60) + 1, 3};
  compare_begin(&c, "counts");
  compare_counts(&c, "n", a, b, 3); /* the same double: 2^60 + 1 is not one */
  cr_assert_eq(compare_end(&c), 1, "%s", c.text);
  cr_assert(strstr(c.text, "n[1]"), "%s", c.text);
  compare_begin(&c, "between");
  compare_between(&c, "x", 2, 1, 2);
  compare_between(&c, "x", 2, 2, 2);
  cr_assert_eq(compare_end(&c), 0, "%s", c.text);
  compare_between(&c, "x", 2.001, 1, 2);
  compare_between(&c, "x", NAN, 1, 2);
  cr_assert_eq(compare_end(&c), 2, "%s", c.text);
}

Test(compare, nothing_compared_is_a_failure) {
  struct compare c;
  compare_begin(&c, "empty");
  cr_assert_eq(compare_end(&c), 1, "%s", c.text);
}

/* Every number of a report is looked at: changing any one field fails. */
Test(compare, reports_leave_no_field_out) {
  struct ref_matrix m = {ACTSCOPE_FLOAT32, 20, 9, 180, NULL};
  double x[180];
  data_fill(DATA_NEAR_DUPLICATES, 1, m.dtype, x, 20, 9);
  m.x = x;
  actscope_profile profile, other_profile;
  actscope_health health, other_health;
  actscope_rank rank, other_rank;
  actscope_similarity similarity, other_similarity;
  struct ref_correlation correlation;
  struct compare c;
  ref_profile(&m, &profile);
  ref_health(&m, &health);
  ref_correlate(&m, 1e-9, NULL, 0, &correlation);
  ref_rank(&m, &rank);
  ref_similarity(&m, &similarity);
#define EACH_FIELD(type, value, other, call)                                            \
  for (size_t at = 0; at <= sizeof(type) / 8; ++at) {                                   \
    other = value;                                                                      \
    if (at < sizeof(type) / 8) {                                                        \
      uint64_t word;                                                                    \
      memcpy(&word, (char *)&other + 8 * at, 8);                                        \
      word += word >> 52 ? 1ull << 46 : 2; /* a double by some percent, or a count */   \
      memcpy((char *)&other + 8 * at, &word, 8);                                        \
    }                                                                                   \
    compare_begin(&c, #type);                                                           \
    call;                                                                               \
    compare_end(&c);                                                                    \
    if (at < sizeof(type) / 8) cr_assert(c.wrong > 0, #type " word %zu is not compared", at); \
    else cr_assert(c.wrong == 0, "%s", c.text);                                         \
  }
  EACH_FIELD(actscope_profile, profile, other_profile,
             compare_profile(&c, &other_profile, &profile, m.dtype, ACTSCOPE_PROFILE))
  EACH_FIELD(actscope_health, health, other_health, compare_health(&c, &other_health, &health))
  EACH_FIELD(actscope_rank, rank, other_rank, compare_rank(&c, &other_rank, &rank))
  EACH_FIELD(actscope_similarity, similarity, other_similarity, compare_similarity(&c, &other_similarity, &similarity))
  actscope_correlation other;
  correlation.value.split_half = 0.5, correlation.value.split_half_rms = 0.25, correlation.value.noise_floor_shift = 0.1;
  EACH_FIELD(actscope_correlation, correlation.value, other,
             compare_correlation(&c, &other, &correlation,
                                 ACTSCOPE_PAIRS_ALL | ACTSCOPE_PAIRS_SPLIT_HALF | ACTSCOPE_PAIRS_SHIFT))
}

Test(guard, sees_single_bytes_on_both_sides) {
  for (size_t bytes = 0; bytes < 70; bytes += 23)
    for (size_t offset = 0; offset < 9; offset += 4) {
      struct guarded g;
      guard_alloc(&g, bytes, 64, offset, POISON_ODD);
      cr_assert_eq((uintptr_t)g.data % 64, offset);
      cr_assert(guard_untouched(&g, POISON_ODD));
      memset(g.data, 0, bytes);
      cr_assert_eq(guard_damage(&g), 0);
      cr_assert(bytes == 0 || !guard_untouched(&g, POISON_ODD));
      const ptrdiff_t places[] = {-1, -256, (ptrdiff_t)bytes, (ptrdiff_t)bytes + 255};
      for (int k = 0; k < 4; ++k) {
        g.data[places[k]] ^= 1;
        cr_assert_eq(guard_damage(&g), 1, "byte %td beside %zu bytes", places[k], bytes);
        g.data[places[k]] ^= 1;
      }
      guard_free(&g);
    }
}

static const actscope_dtype dtypes[] = {ACTSCOPE_FLOAT32,     ACTSCOPE_FLOAT16,     ACTSCOPE_BFLOAT16,
                                        ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_FLOAT64};

Test(decode, encodes_back_to_the_same_bits) {
  for (int t = 0; t < 6; ++t) {
    actscope_dtype dtype = dtypes[t];
    size_t bits = 8 * ref_size(dtype);
    struct random_state r = {3};
    for (uint64_t k = 0; k < 65536; ++k) {
      uint64_t pattern = bits <= 16 ? k & ((1ull << bits) - 1) : bits == 32 ? random_next(&r) >> 32 : random_next(&r);
      double v = ref_decode(dtype, pattern);
      if (isnan(v)) continue;
      cr_assert_eq(ref_encode(dtype, v), pattern, "%s %llx", data_dtype_name(dtype), (unsigned long long)pattern);
    }
  }
}

/* The compiler's own types are a second opinion on decoding and rounding. */
Test(decode, agrees_with_the_compilers_types) {
  struct random_state r = {5};
  for (int k = 0; k < 200000; ++k) {
    double v = ldexp(random_normal(&r), (int)random_below(&r, 300) - 160);
    float f = (float)v;
    double d;
    uint32_t f_bits;
    uint64_t d_bits = random_next(&r);
    memcpy(&f_bits, &f, 4);
    memcpy(&d, &d_bits, 8);
    cr_assert_eq(ref_encode(ACTSCOPE_FLOAT32, v), f_bits, "float of %a", v);
    cr_assert_eq(ref_decode(ACTSCOPE_FLOAT32, f_bits), (double)f);
    if (!isnan(d)) cr_assert_eq(ref_decode(ACTSCOPE_FLOAT64, d_bits), d);
#ifdef __FLT16_MAX__
    double w = ldexp(random_normal(&r), (int)random_below(&r, 50) - 30);
    _Float16 h = (_Float16)w;
    uint16_t h_bits;
    memcpy(&h_bits, &h, 2);
    cr_assert_eq(ref_encode(ACTSCOPE_FLOAT16, w), h_bits, "half of %a", w);
    cr_assert_eq(ref_decode(ACTSCOPE_FLOAT16, h_bits), (double)h);
#endif
  }
}

/* Rounding: no pattern of the type is nearer, and at a tie the even one is taken. */
Test(decode, rounds_to_the_nearest) {
  for (int t = 1; t < 5; ++t) {
    actscope_dtype dtype = dtypes[t];
    uint64_t patterns = 1ull << (8 * ref_size(dtype) - 1);
    for (uint64_t k = 0; k + 1 < patterns; k += ref_size(dtype) == 1 ? 1 : 13) {
      double low = ref_decode(dtype, k), high = ref_decode(dtype, k + 1), middle = 0.5 * (low + high);
      if (!isfinite(low) || !isfinite(high)) continue;
      cr_assert_eq(ref_encode(dtype, nextafter(middle, low)), k);
      cr_assert_eq(ref_encode(dtype, nextafter(middle, high)), k + 1);
      cr_assert_eq(ref_encode(dtype, middle), k & 1 ? k + 1 : k);
      cr_assert_eq(ref_encode(dtype, -middle), (k & 1 ? k + 1 : k) | patterns);
    }
  }
}

Test(decode, known_values) {
  static const struct { actscope_dtype dtype; uint32_t bits; double value; } known[] = {
      {ACTSCOPE_FLOAT8_E4M3, 0x7E, 448},  {ACTSCOPE_FLOAT8_E4M3, 0x01, 0.001953125}, {ACTSCOPE_FLOAT8_E4M3, 0x38, 1},
      {ACTSCOPE_FLOAT8_E5M2, 0x7B, 57344}, {ACTSCOPE_FLOAT8_E5M2, 0x3C, 1},          {ACTSCOPE_FLOAT8_E5M2, 0x7C, INFINITY},
      {ACTSCOPE_FLOAT16, 0x3555, 0.333251953125}, {ACTSCOPE_FLOAT16, 0x7BFF, 65504}, {ACTSCOPE_FLOAT16, 0xFC00, -INFINITY},
      {ACTSCOPE_BFLOAT16, 0x4049, 3.140625}, {ACTSCOPE_BFLOAT16, 0xC2F7, -123.5},    {ACTSCOPE_FLOAT32, 0x00000001, 0x1p-149}};
  for (size_t k = 0; k < sizeof known / sizeof *known; ++k)
    cr_assert_eq(ref_decode(known[k].dtype, known[k].bits), known[k].value, "case %zu", k);
  cr_assert(isnan(ref_decode(ACTSCOPE_FLOAT8_E4M3, 0x7F)) && isnan(ref_decode(ACTSCOPE_FLOAT8_E4M3, 0xFF)));
  cr_assert(isnan(ref_decode(ACTSCOPE_FLOAT8_E5M2, 0x7D)) && isnan(ref_decode(ACTSCOPE_FLOAT16, 0x7C01)));
}

/* The oracle on cases worked by hand. */
Test(oracle, by_hand) {
  double x[] = {1, 2, 4, 1, 3, 8, 1, 4, 12, 1, 7, 12}; /* four samples of three features */
  struct ref_matrix m = {ACTSCOPE_FLOAT32, 4, 3, 12, x};
  actscope_profile p;
  actscope_health h;
  struct ref_correlation c;
  struct compare check;
  ref_profile(&m, &p);
  ref_health(&m, &h);
  ref_correlate(&m, 1e-9, NULL, 0, &c);
  compare_begin(&check, "by hand");
  compare_value(&check, "mean", p.mean, 56.0 / 12, 0, 1e-15);
  compare_value(&check, "variance", p.variance, (450 - 56.0 * 56 / 12) / 11, 0, 1e-15);
  compare_value(&check, "median", p.quantiles[3], 3, 0, 0);
  compare_value(&check, "0.99", p.quantiles[6], 12, 0, 0);
  compare_count(&check, "constant", h.constant, 1);
  compare_count(&check, "pairs", c.value.pairs, 1);
  /* deviations -2 -1 0 3 and -5 -1 3 3: 20 / sqrt(14 * 44) */
  compare_value(&check, "r", c.value.mean_abs, 20 / sqrt(14 * 44.0), 0, 1e-15);
  compare_count(&check, "distinct", ref_distinct(&m), 7);
  compare_value(&check, "noise floor of 3", ref_noise_floor(3), 2 / 3.14159265358979323846, 0, 1e-15);
  compare_value(&check, "noise floor of 64", ref_noise_floor(64), 0.1009, 5e-5, 0);
  compare_value(&check, "noise floor of 128", ref_noise_floor(128), 0.0709, 5e-5, 0);
  cr_assert_eq(compare_end(&check), 0, "%s", check.text);
}

Test(oracle, eigenvalues_of_a_known_matrix) {
  enum { N = 24 };
  double a[N * N] = {0}, l[N], trace = 0;
  struct compare c;
  for (int i = 0; i < N; ++i) { /* second difference: 2 - 2 cos(pi k / (n + 1)) */
    a[i * N + i] = 2;
    if (i) a[i * N + i - 1] = a[(i - 1) * N + i] = -1;
  }
  ref_eigenvalues(a, N, l);
  compare_begin(&c, "eigenvalues");
  for (int k = 1; k <= N; ++k) {
    double want = 2 - 2 * cos(3.14159265358979323846 * k / (N + 1)), best = INFINITY;
    for (int i = 0; i < N; ++i) best = fabs(l[i] - want) < fabs(best - want) ? l[i] : best;
    compare_value(&c, "nearest", best, want, 1e-13, 0);
    trace += l[k - 1];
  }
  compare_value(&c, "trace", trace, 2 * N, 1e-12, 0);
  cr_assert_eq(compare_end(&c), 0, "%s", c.text);
}
