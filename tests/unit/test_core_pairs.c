/* test_core_pairs.c - random choices, the schedule of pairs, functionals of |r| and the spectrum against the oracle. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/gram.h"
#include "core/random.h"
#include "reference/data.h"
#include "reference/reference.h"

TestSuite(core_pairs, .timeout = 60);

#define CHECK(c) cr_assert_eq(compare_end(&(c)), 0, "%s", (c).text)

/* ---- Random choices -------------------------------------------------------------------------------------------------- */

/* The known answers that Random123 publishes for philox4x32-10. */
Test(core_pairs, philox_known_answers) {
  static const struct { uint32_t counter[4], key[2], words[4]; } known[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (int k = 0; k < 3; ++k) {
    uint32_t core[4], reference[4];
    random_philox(known[k].counter, known[k].key, core);
    ref_philox(known[k].counter, known[k].key, reference);
    cr_assert_eq(memcmp(core, known[k].words, sizeof core), 0, "vector %d", k);
    cr_assert_eq(memcmp(reference, known[k].words, sizeof core), 0, "the oracle, vector %d", k);
  }
}

Test(core_pairs, permutations_are_bijections) {
  static const uint64_t large[] = {1000, 1023, 1024, 1025, 4096, 4097, 65535, 65536, 65537, 262145, 1048577};
  unsigned char *seen = malloc(1048577);
  for (uint64_t k = 1; k <= 300 + sizeof large / sizeof *large; ++k) {
    uint64_t n = k <= 300 ? k : large[k - 301];
    for (uint64_t seed = 0; seed < (k <= 300 ? 4 : 1); ++seed) {
      struct random_permutation p;
      random_permutation_init(&p, n, seed << 30, seed << 31);
      memset(seen, 0, n);
      for (uint64_t i = 0; i < n; ++i) {
        uint64_t image = random_permute(&p, i);
        cr_assert(image < n && !seen[image], "n = %llu: %llu twice or outside", (unsigned long long)n,
                  (unsigned long long)image);
        seen[image] = 1;
      }
    }
  }
  free(seen);
}

Test(core_pairs, permutations_follow_their_description) {
  static const uint64_t sizes[] = {1, 2, 3, 4, 5, 63, 64, 65, 300, 8192, 65536, 65537, 1000003, 1ull << 40, (1ull << 62) - 1};
  struct compare c;
  compare_begin(&c, "permutation");
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; ++k)
    for (uint64_t seed = 0; seed < 3; ++seed)
      for (int w = 0; w < 4; ++w) {
        static const uint64_t streams[] = {0, 1, 1ull << 32, ~0ull - 3};
        const uint64_t stream = streams[w];
        struct random_permutation p;
        random_permutation_init(&p, sizes[k], seed * 0x100000001ull, stream);
        for (uint64_t i = 0; i < sizes[k] && i < 200; ++i) {
          uint64_t at = i % 2 ? sizes[k] - 1 - i : i;
          if (at >= sizes[k]) continue;
          compare_count(&c, "image", random_permute(&p, at), ref_permute(sizes[k], seed * 0x100000001ull, stream, at));
        }
      }
  CHECK(c);
}

/* Neighbours part, and seeds and streams are told apart: each place of 64 gets each value equally often. */
Test(core_pairs, permutations_are_random) {
  enum { N = 64, SEEDS = 6400 };
  static uint32_t hits[N][N];
  double worst = 0, chi = 0;
  uint64_t close = 0;
  for (uint64_t seed = 0; seed < SEEDS; ++seed) {
    struct random_permutation p, other;
    random_permutation_init(&p, N, seed, 0);
    random_permutation_init(&other, N, seed, 1);
    uint64_t same = 0;
    for (uint64_t i = 0; i < N; ++i) {
      uint64_t image = random_permute(&p, i);
      ++hits[i][image];
      if (i && (image == random_permute(&p, i - 1) + 1)) ++close;
      same += image == random_permute(&other, i);
    }
    cr_assert(same < 12, "streams 0 and 1 of seed %llu agree at %llu places", (unsigned long long)seed,
              (unsigned long long)same);
  }
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j) {
      double d = hits[i][j] - SEEDS / (double)N;
      chi += d * d / (SEEDS / (double)N);
      worst = fmax(worst, fabs(d) / 10); /* standard deviation 10 */
    }
  cr_assert(worst < 5.5, "a cell is %.1f standard deviations off", worst);
  cr_assert(fabs(chi - (N - 1) * (N - 1)) < 5 * sqrt(2.0 * (N - 1) * (N - 1)), "chi squared %.0f of %d", chi, (N - 1) * (N - 1));
  cr_assert(fabs((double)close - SEEDS * (N - 1) / (double)N) < 5 * sqrt(SEEDS), "%llu neighbours stay",
            (unsigned long long)close);
}

/* ---- The schedule ---------------------------------------------------------------------------------------------------- */

Test(core_pairs, every_pair_once) {
  unsigned char *seen = malloc(300 * 300);
  uint32_t *partners = malloc(300 * sizeof *partners);
  for (uint64_t d = 2; d <= 300; ++d) {
    memset(seen, 0, d * d);
    memset(partners, 0, d * sizeof *partners);
    cr_assert_eq(pairs_total(d), d * (d - 1) / 2);
    for (uint64_t k = 0; k < d * (d - 1) / 2; ++k) {
      uint64_t i, j;
      pairs_index(k, d, &i, &j);
      cr_assert(i < d && j < d && i != j && !seen[i * d + j] && !seen[j * d + i], "d = %llu, pair %llu: (%llu, %llu)",
                (unsigned long long)d, (unsigned long long)k, (unsigned long long)i, (unsigned long long)j);
      seen[i * d + j] = 1;
      ++partners[i], ++partners[j];
      if (d < 40 || k % 97 == 0) /* any prefix is balanced, but for the two sides of a started round */
        for (uint64_t f = 0; f < d; ++f)
          cr_assert(fabs(partners[f] - 2.0 * (double)(k + 1) / (double)d) <= 2, "d = %llu, prefix %llu, feature %llu",
                    (unsigned long long)d, (unsigned long long)k, (unsigned long long)f);
    }
  }
  free(partners);
  free(seen);
}

Test(core_pairs, partners_are_counted) {
  uint64_t partners[40];
  for (uint64_t d = 2; d <= 40; ++d) {
    memset(partners, 0, sizeof partners);
    for (uint64_t count = 1; count <= d * (d - 1) / 2; ++count) {
      uint64_t i, j;
      pairs_index(count - 1, d, &i, &j);
      ++partners[i], ++partners[j];
      for (uint64_t p = 0; p < d; ++p)
        cr_assert_eq(pairs_partners(p, d, count), partners[p], "d = %llu, %llu pairs, position %llu", (unsigned long long)d,
                     (unsigned long long)count, (unsigned long long)p);
    }
  }
}

Test(core_pairs, totals_do_not_overflow) {
  cr_assert_eq(pairs_total(0), 0);
  cr_assert_eq(pairs_total(1), 0);
  cr_assert_eq(pairs_total(1ull << 32), (1ull << 31) * ((1ull << 32) - 1));
  cr_assert_eq(pairs_total((1ull << 32) + 1), (1ull << 31) * ((1ull << 32) + 1));
  uint64_t d = (1ull << 32) + 1, i, j;
  pairs_index(pairs_total(d) - 1, d, &i, &j);
  cr_assert(i == d - 1 && j == (d - 1 + d / 2) % d, "the last pair of 2^32 + 1 features");
}

Test(core_pairs, sampled_prefix_is_the_oracles) {
  static const uint64_t sizes[][2] = {{2, 1}, {3, 2}, {10, 45}, {11, 20}, {64, 777}, {8192, 5000}};
  struct compare c;
  compare_begin(&c, "sampled pairs");
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; ++k) {
    uint64_t d = sizes[k][0], count = sizes[k][1];
    struct ref_pair *want = malloc(count * sizeof *want);
    struct random_permutation p;
    ref_sampled_pairs(d, count, 42 + k, k % 2, want);
    pairs_permutation(&p, d, 42 + k, k % 2);
    for (uint64_t m = 0; m < count; ++m) {
      uint64_t i, j;
      pairs_index(m, d, &i, &j);
      compare_count(&c, "i", random_permute(&p, i), want[m].i);
      compare_count(&c, "j", random_permute(&p, j), want[m].j);
    }
    free(want);
  }
  CHECK(c);
}

/* ---- The state ------------------------------------------------------------------------------------------------------- */

/* Tiles in any order and any grouping give the same bits; the value is within half a unit of 2^-40 a tile. */
Test(core_pairs, sums_do_not_depend_on_order) {
  enum { TILES = 5000 };
  struct pairs_sum forwards = {0, 0}, backwards = {0, 0}, halves[2] = {{0, 0}, {0, 0}};
  double tile[TILES];
  long double exact = 0;
  struct random_state r = {1};
  for (int k = 0; k < TILES; ++k) {
    tile[k] = random_uniform(&r) * (k % 3 ? 4194303 : 1e-3);
    exact += tile[k];
  }
  for (int k = 0; k < TILES; ++k) {
    pairs_add(&forwards, pairs_fixed(tile[k]));
    pairs_add(&backwards, pairs_fixed(tile[TILES - 1 - k]));
    pairs_add(&halves[k & 1], pairs_fixed(tile[k]));
  }
  halves[0].low += halves[1].low, halves[0].high += halves[1].high;
  cr_assert(pairs_value(&forwards) == pairs_value(&backwards) && pairs_value(&forwards) == pairs_value(&halves[0]));
  cr_assert_eq(memcmp(&forwards, &halves[0], sizeof forwards), 0);
  cr_assert_float_eq(pairs_value(&forwards), (double)exact, TILES * 0x1p-41 + (double)exact * 3e-16);
}

/* The same of signed sums, whose total changes its sign on the way and ends below or above zero. */
Test(core_pairs, signed_sums_do_not_depend_on_order) {
  enum { TILES = 5000 };
  double tile[TILES];
  struct random_state r = {7};
  for (int k = 0; k < TILES; ++k) tile[k] = (2 * random_uniform(&r) - 1) * (k % 3 ? 4194303 : 1e-3);
  for (int side = -1; side <= 1; ++side) {
    struct pairs_sum forwards = {0, 0}, backwards = {0, 0};
    long double exact = 0;
    for (int k = 0; k < TILES; ++k) {
      double value = side < 0 ? -fabs(tile[k]) : side > 0 ? fabs(tile[k]) : tile[k], last = tile[TILES - 1 - k];
      exact += value;
      pairs_add_signed(&forwards, pairs_fixed_signed(value));
      pairs_add_signed(&backwards, pairs_fixed_signed(side < 0 ? -fabs(last) : side > 0 ? fabs(last) : last));
    }
    cr_assert(pairs_value_signed(&forwards) == pairs_value_signed(&backwards));
    cr_assert_float_eq(pairs_value_signed(&forwards), (double)exact, TILES * 0x1p-41 + fabs((double)exact) * 3e-16);
  }
}

Test(core_pairs, bins_are_half_open) {
  for (int k = 0; k < 64; ++k) {
    cr_assert_eq(pairs_bin(k / 64.0), (uint32_t)k);
    cr_assert_eq(pairs_bin(nextafter((k + 1) / 64.0, 0)), (uint32_t)k);
  }
  cr_assert_eq(pairs_bin(1), 63);
  cr_assert_eq(pairs_bin(1.0000002), 63);
}

static struct pairs state_of(const double *r, uint64_t n) {
  struct pairs p;
  pairs_init(&p);
  for (uint64_t k = 0; k < n; ++k) {
    double a = fabs(r[k]);
    pairs_add_signed(&p.plain, pairs_fixed_signed(r[k]));
    pairs_add(&p.abs, pairs_fixed(a));
    pairs_add(&p.square, pairs_fixed(a * a));
    p.max = fmax(p.max, a);
    ++p.count;
    for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t) p.above[t] += a > actscope_pair_thresholds[t];
    ++p.histogram[pairs_bin(a)];
  }
  return p;
}

/* From single correlations through merged states to the numbers, for all pairs and for samples of them. */
Test(core_pairs, functionals_follow_their_definitions) {
  static const uint64_t shapes[][2] = {{2, 9}, {3, 12}, {16, 40}, {33, 23}};
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k)
      for (int sampled = 0; sampled < 2; ++sampled) {
        uint64_t n = shapes[k][0], d = shapes[k][1], *list = malloc(d * sizeof *list);
        double *x = malloc(n * d * sizeof *x);
        struct ref_matrix m = {ACTSCOPE_FLOAT32, n, d, n * d, x};
        data_fill(kind, k, m.dtype, x, n, d);
        uint64_t valid = ref_valid_features(&m, list), total = pairs_total(valid), count = sampled ? total / 3 : total;
        struct ref_pair *pairs = malloc((total + 1) * sizeof *pairs);
        double *r = malloc((total + 1) * sizeof *r);
        ref_sampled_pairs(valid, total, 5, 0, pairs);
        for (uint64_t p = 0; p < count; ++p) {
          struct ref_correlation one;
          ref_correlate(&m, 0, pairs + p, 1, &one);
          r[p] = one.value.mean;
        }
        struct ref_correlation want;
        actscope_correlation got;
        struct compare c;
        ref_correlate(&m, 1e-12, sampled ? pairs : NULL, count, &want);
        struct pairs left = state_of(r, count / 2), right = state_of(r + count / 2, count - count / 2);
        left.feature_share = want.feature_share, left.shares = 1;
        pairs_merge(&left, &right);
        memset(&got, POISON_ODD, sizeof got);
        pairs_finish(&left, sampled ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_PAIRS_ALL, n,
                     valid, &got);
        compare_begin(&c, "%s [%llu, %llu]%s", data_kind_name(kind), (unsigned long long)n, (unsigned long long)d,
                      sampled ? " sampled" : "");
        compare_correlation(&c, &got, &want, ACTSCOPE_PAIRS_ALL);
        compare_value(&c, "mean_abs (double)", got.mean_abs, want.value.mean_abs, 1e-12, 0);
        compare_value(&c, "mean_square (double)", got.mean_square, want.value.mean_square, 1e-12, 0);
        compare_value(&c, "max_abs (double)", got.max_abs, want.value.max_abs, 1e-15, 0);
        compare_value(&c, "mean (double)", got.mean, want.value.mean, 1e-12, 0);
        if (count > 2) /* a difference of squares */
          compare_value(&c, "interval (double)", got.mean_abs_ci95[0], want.value.mean_abs_ci95[0], 1e-7, 0);
        CHECK(c);
        free(r);
        free(pairs);
        free(x);
        free(list);
      }
}

Test(core_pairs, what_is_not_asked_for_is_absent) {
  double r[3] = {0.2, 0.6, -1};
  struct pairs p = state_of(r, 3);
  actscope_correlation got;
  pairs_finish(&p, ACTSCOPE_CORRELATION_EXACT, 0, 10, 3, &got);
  cr_assert(isnan(got.mean));
  for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t) cr_assert(isnan(got.above[t]));
  for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) cr_assert_eq(got.histogram[k], 0);
  pairs_finish(&p, ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_PAIRS_ALL, 10, 3, &got);
  cr_assert(got.above[0] == 2.0 / 3 && got.above[4] == 1.0 / 3 && got.histogram[63] == 1);
  cr_assert_float_eq(got.mean, -0.2 / 3, 1e-12);
  pairs_init(&p);
  pairs_finish(&p, ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_PAIRS_ALL, 10, 1, &got);
  cr_assert(isnan(got.mean_abs) && isnan(got.mean_square) && isnan(got.max_abs) && isnan(got.above[0]) && got.pairs == 0);
}

Test(core_pairs, noise_floor_and_adjustment) {
  struct compare c;
  compare_begin(&c, "noise floor");
  for (uint64_t n = 0; n <= 3000; ++n) compare_value(&c, "floor", pairs_noise_floor(n), ref_noise_floor(n), 0, 3e-13);
  for (uint64_t n = 3000; n <= 30000000; n *= 10) /* as many factors in the oracle, each rounded to 5e-20 */
    compare_value(&c, "floor of many", pairs_noise_floor(n), ref_noise_floor(n), 0, 2e-12);
  compare_value(&c, "2 samples", pairs_adjusted_rms(1, 2), NAN, 0, 0);
  compare_value(&c, "below chance", pairs_adjusted_rms(0.005, 128), 0, 0, 0);
  compare_value(&c, "chance", pairs_adjusted_rms(1.0 / 127, 128), 0, 1e-8, 0);
  compare_value(&c, "all equal", pairs_adjusted_rms(1, 128), 1, 1e-15, 0);
  compare_value(&c, "half", pairs_adjusted_rms(0.5, 3), 0, 0, 0);
  compare_value(&c, "between", pairs_adjusted_rms(0.25, 11), sqrt(0.15 * 10 / 9), 1e-15, 0);
  compare_value(&c, "nothing", pairs_adjusted_rms(NAN, 128), NAN, 0, 0);
  CHECK(c);
}

/* Independent normal features do show the floor: 0.0709 at N = 128, with 1/(N-1) as mean square. */
Test(core_pairs, floor_is_what_noise_shows) {
  enum { N = 24, D = 400 };
  double *x = malloc(N * D * sizeof *x);
  struct ref_matrix m = {ACTSCOPE_FLOAT32, N, D, N * D, x};
  struct ref_correlation c;
  data_fill(DATA_NORMAL, 8, m.dtype, x, N, D);
  ref_correlate(&m, 0, NULL, 0, &c);
  cr_assert(fabs(c.value.mean_abs / pairs_noise_floor(N) - 1) < 0.02, "%g beside %g", c.value.mean_abs, pairs_noise_floor(N));
  cr_assert(fabs(c.value.mean_square * (N - 1) - 1) < 0.03, "%g", c.value.mean_square);
  free(x);
}

/* ---- The spectrum ---------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void check_spectrum(const char *name, const double *a, uint64_t n) {
  double *one = malloc(n * n * sizeof *one + 1), *two = malloc(n * n * sizeof *two + 1), scale = 0;
  struct guarded diagonal, off, work;
  double *want = malloc((n + 1) * sizeof *want);
  struct compare c;
  guard_alloc(&diagonal, n * sizeof(double), 8, 0, POISON_NAN);
  guard_alloc(&off, n * sizeof(double), 8, 0, POISON_NAN);
  guard_alloc(&work, n * sizeof(double), 8, 0, POISON_NAN);
  memcpy(one, a, n * n * sizeof *a);
  memcpy(two, a, n * n * sizeof *a);
  ref_eigenvalues(one, n, want);
  compare_begin(&c, "%s, n = %llu", name, (unsigned long long)n);
  compare_count(&c, "converges", (uint64_t)-gram_eigenvalues(two, n, (double *)diagonal.data, (double *)off.data, (double *)work.data), 0);
  qsort(want, n, sizeof *want, ascending);
  qsort(diagonal.data, n, sizeof *want, ascending);
  for (uint64_t i = 0; i < n; ++i) scale = fmax(scale, fabs(want[i]));
  compare_array(&c, "eigenvalue", (double *)diagonal.data, want, n, 1e-13 * scale, 0);
  compare_count(&c, "damage", guard_damage(&diagonal) + guard_damage(&off) + guard_damage(&work), 0);
  CHECK(c);
  guard_free(&diagonal);
  guard_free(&off);
  guard_free(&work);
  free(want);
  free(two);
  free(one);
}

Test(core_pairs, eigenvalues_are_jacobis) {
  static const uint64_t sizes[] = {0, 1, 2, 3, 4, 7, 16, 33, 64, 96};
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; ++k) {
    uint64_t n = sizes[k];
    double *a = calloc(n * n + 1, sizeof *a);
    struct random_state r = {k};
    check_spectrum("zero", a, n);
    for (uint64_t i = 0; i < n; ++i) a[i * n + i] = 1;
    check_spectrum("identity", a, n);
    for (uint64_t i = 0; i < n; ++i) a[i * n + i] = ldexp(1, -(int)i);
    check_spectrum("falling diagonal", a, n);
    for (uint64_t i = 0; i < n * n; ++i) a[i] = 1;
    check_spectrum("ones", a, n);
    for (uint64_t rank = 1; rank <= n && n > 1; rank += n > 8 ? n / 3 : 1) { /* Gram matrices of a few rows */
      memset(a, 0, n * n * sizeof *a);
      for (uint64_t row = 0; row < rank; ++row) {
        double v[96];
        for (uint64_t i = 0; i < n; ++i) v[i] = random_normal(&r) * ldexp(1, (int)(row % 7) * 3);
        for (uint64_t i = 0; i < n; ++i)
          for (uint64_t j = 0; j < n; ++j) a[i * n + j] += v[i] * v[j];
      }
      check_spectrum("Gram", a, n);
    }
    for (uint64_t i = 0; i < n; ++i)
      for (uint64_t j = 0; j <= i; ++j) a[i * n + j] = a[j * n + i] = random_normal(&r) * 1e-150;
    check_spectrum("tiny, indefinite", a, n);
    for (uint64_t i = 0; i < n * n; ++i) a[i] = (i / n + i % n) % 2 ? 0 : 1; /* two blocks */
    check_spectrum("blocks", a, n);
    free(a);
  }
}

Test(core_pairs, rank_follows_from_the_spectrum) {
  static const uint64_t shapes[][2] = {{2, 5}, {5, 2}, {8, 30}, {30, 8}, {24, 24}};
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k) {
      uint64_t n = shapes[k][0], d = shapes[k][1], *list = malloc(d * sizeof *list);
      double *x = malloc(n * d * sizeof *x), frobenius = 0, *r = malloc((d * d + 1) * sizeof *r), *l = malloc((d + 1) * sizeof *l),
             off[64], work[64];
      struct ref_matrix m = {ACTSCOPE_FLOAT32, n, d, n * d, x};
      data_fill(kind, k + 3, m.dtype, x, n, d);
      actscope_rank want;
      struct ref_correlation correlation;
      struct compare c;
      uint64_t valid = ref_valid_features(&m, list);
      ref_rank(&m, &want);
      ref_correlate(&m, 0, NULL, 0, &correlation);
      frobenius = (double)valid + 2 * correlation.square_sum;
      compare_begin(&c, "%s [%llu, %llu]", data_kind_name(kind), (unsigned long long)n, (unsigned long long)d);
      compare_value(&c, "mean square", gram_mean_square(frobenius, valid), correlation.value.mean_square, 1e-14, 0);
      compare_value(&c, "participation", gram_participation_ratio(frobenius, valid), want.participation_ratio, 0, 1e-12);
      for (uint64_t i = 0; i < valid; ++i) /* R from single pairs */
        for (uint64_t j = 0; j < valid; ++j) {
          long double mi = 0, mj = 0, vi = 0, vj = 0, cov = 0;
          for (uint64_t s = 0; s < n; ++s) mi += x[s * d + list[i]] / (long double)n, mj += x[s * d + list[j]] / (long double)n;
          for (uint64_t s = 0; s < n; ++s) {
            long double a = x[s * d + list[i]] - mi, b = x[s * d + list[j]] - mj;
            cov += a * b, vi += a * a, vj += b * b;
          }
          r[i * valid + j] = (double)(cov / sqrtl(vi * vj));
        }
      cr_assert_eq(gram_eigenvalues(r, valid, l, off, work), 0);
      compare_value(&c, "effective rank", gram_effective_rank(l, valid), want.effective_rank, 0, 1e-11);
      CHECK(c);
      free(l);
      free(r);
      free(x);
      free(list);
    }
}
