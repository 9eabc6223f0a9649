/* test_core.c - types, moments, columns, histograms and views of host/core against the oracle. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/columns.h"
#include "core/histogram.h"
#include "core/view.h"
#include "reference/data.h"
#include "reference/reference.h"

TestSuite(core, .timeout = 60);

#define CHECK(c) cr_assert_eq(compare_end(&(c)), 0, "%s", (c).text)

static const actscope_dtype dtypes[] = {ACTSCOPE_FLOAT32,     ACTSCOPE_FLOAT16,     ACTSCOPE_BFLOAT16,
                                        ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_FLOAT64};

/* ---- Types ---------------------------------------------------------------------------------------------------------- */

Test(core, decodes_every_narrow_pattern) {
  for (int t = 1; t < 5; ++t) {
    struct compare c;
    compare_begin(&c, "%s", data_dtype_name(dtypes[t]));
    for (uint32_t bits = 0; bits < (ref_size(dtypes[t]) == 1 ? 256u : 65536u); ++bits) {
      unsigned char memory[8];
      ref_store(dtypes[t], memory, 0, bits);
      double got = dtype_load(dtypes[t], memory, 0), want = ref_decode(dtypes[t], bits);
      compare_value(&c, "value", got, want, 0, 0);
      if (!isnan(want)) compare_count(&c, "sign", signbit(got) != 0, signbit(want) != 0);
    }
    CHECK(c);
  }
}

Test(core, knows_sizes_and_smallest_normals) {
  for (int t = 0; t < 6; ++t) {
    cr_assert_eq(dtype_smallest_normal(dtypes[t]), ref_smallest_normal(dtypes[t]), "%s", data_dtype_name(dtypes[t]));
    cr_assert_eq(dtype_is_narrow(dtypes[t]), ref_size(dtypes[t]) < 4);
  }
}

/* A bin's value is exact for narrow types, else within 2^-8 of both ends of the bin, or half a bin among subnormals. */
Test(core, bins_hold_their_values) {
  for (int t = 0; t < 6; ++t) {
    actscope_dtype dtype = dtypes[t];
    uint32_t bins = dtype_bins(dtype);
    int below = dtype == ACTSCOPE_FLOAT32 ? 16 : dtype == ACTSCOPE_FLOAT64 ? 45 : 0; /* bits that a bin joins */
    double zeros = ldexp(ref_smallest_normal(dtype), -7);                            /* the width of subnormal bins */
    struct compare c;
    compare_begin(&c, "%s", data_dtype_name(dtype));
    compare_count(&c, "bins", (uint64_t)bins << below, ref_size(dtype) == 8 ? 0 : 1ull << 8 * ref_size(dtype));
    for (uint32_t bin = 0; bin < bins; ++bin) {
      double first = ref_decode(dtype, (uint64_t)bin << below),
             last = ref_decode(dtype, ((uint64_t)bin << below) + ((1ull << below) - 1)), value = dtype_bin_value(dtype, bin);
      if (!isfinite(first)) compare_value(&c, "not finite", value, NAN, 0, 0);
      else if (below == 0) compare_value(&c, "exact", value, first, 0, 0);
      else {
        compare_value(&c, "first", value, first, fabs(first) < ref_smallest_normal(dtype) ? zeros : 0, 1.0 / 256);
        compare_value(&c, "last", value, last, fabs(first) < ref_smallest_normal(dtype) ? zeros : 0, 1.0 / 256);
      }
    }
    CHECK(c);
  }
}

Test(core, bins_ascend) {
  for (int t = 0; t < 6; ++t) {
    uint32_t bins = dtype_bins(dtypes[t]);
    double previous = -INFINITY;
    unsigned char *seen = calloc(bins, 1);
    for (uint32_t k = 0; k < bins; ++k) {
      uint32_t bin = histogram_ascending(bins, k);
      double value = dtype_bin_value(dtypes[t], bin);
      cr_assert(bin < bins && !seen[bin], "%s: bin %u twice", data_dtype_name(dtypes[t]), bin);
      seen[bin] = 1;
      if (isnan(value)) continue;
      cr_assert(value >= previous, "%s: bin %u falls", data_dtype_name(dtypes[t]), bin);
      previous = value;
    }
    free(seen);
  }
}

/* ---- Moments -------------------------------------------------------------------------------------------------------- */

/* A run of values summed about a pivot, as the backends do it. */
static void run_state(struct moments *m, actscope_dtype dtype, const double *x, uint64_t n) {
  struct moments counts, central;
  uint64_t finite = 0;
  double pivot = 0, s[4] = {0};
  moments_init(m);
  for (uint64_t i = 0; i < n; ++i) {
    struct moments one;
    moments_init(&one);
    moments_update(&one, x[i], 1, dtype_smallest_normal(dtype));
    counts = one;
    counts.n = 0; /* everything but the central moments */
    counts.mean = counts.m2 = counts.m3 = counts.m4 = 0;
    moments_merge(m, &counts);
    if (!isfinite(x[i])) continue;
    if (finite++ == 0) pivot = x[i];
    double d = x[i] - pivot;
    s[0] += d, s[1] += d * d, s[2] += d * d * d, s[3] += d * d * d * d;
  }
  if (finite == 0) return;
  memset(&central, 0, sizeof central);
  moments_from_shifted(&central, finite, pivot, s[0], s[1], s[2], s[3]);
  moments_merge_central(m, &central);
}

static void tree(struct moments *runs, uint64_t n) { /* into runs[0] */
  if (n < 2) return;
  tree(runs, n / 2);
  tree(runs + n / 2, n - n / 2);
  moments_merge(runs, runs + n / 2);
}

enum order { ELEMENTS, FORWARDS, BACKWARDS, TREE, SHUFFLED, ORDERS };

static void in_order(struct moments *m, enum order order, actscope_dtype dtype, const double *x, uint64_t n) {
  uint64_t runs = (n + 63) / 64;
  struct moments *run = malloc((runs + 1) * sizeof *run);
  struct random_state r = {11};
  moments_init(m);
  if (order == ELEMENTS) {
    for (uint64_t i = 0; i < n; ++i) moments_update(m, x[i], 1, dtype_smallest_normal(dtype));
    free(run);
    return;
  }
  for (uint64_t k = 0; k < runs; ++k) run_state(&run[k], dtype, x + 64 * k, k + 1 < runs ? 64 : n - 64 * k);
  if (order == SHUFFLED)
    for (uint64_t k = runs; k > 1; --k) {
      uint64_t other = random_below(&r, k);
      struct moments swap = run[k - 1];
      run[k - 1] = run[other], run[other] = swap;
    }
  if (order == TREE && runs) {
    tree(run, runs);
    *m = run[0];
  } else {
    for (uint64_t k = 0; k < runs; ++k) moments_merge(m, &run[order == BACKWARDS ? runs - 1 - k : k]);
  }
  free(run);
}

/* In double, from any merge order, everything but cancelling means and thin higher moments holds to 1e-9. */
Test(core, moments_merge_in_any_order) {
  static const uint64_t sizes[] = {0, 1, 2, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1000, 4095, 4097, 20001};
  static const char *const names[ORDERS] = {"elements", "forwards", "backwards", "tree", "shuffled"};
  double *x = malloc(20001 * sizeof *x);
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; ++k)
      for (int t = 0; t < 6; t += 5) {
        uint64_t n = sizes[k];
        actscope_dtype dtype = dtypes[t];
        data_fill(kind, k, dtype, x, n, 1);
        if (dtype == ACTSCOPE_FLOAT32)
          for (uint64_t i = 0; i < n; ++i) x[i] = (float)x[i];
        struct ref_matrix m = {dtype, n, 1, n, x};
        actscope_profile want, got;
        ref_profile(&m, &want);
        for (enum order order = 0; order < ORDERS; ++order) {
          struct moments state;
          struct compare c;
          in_order(&state, order, dtype, x, n);
          memset(&got, POISON_ODD, sizeof got);
          moments_finish(&state, ACTSCOPE_PROFILE, &got);
          compare_begin(&c, "%s %s n=%llu %s", data_dtype_name(dtype), data_kind_name(kind), (unsigned long long)n,
                        names[order]);
          compare_profile(&c, &got, &want, dtype, ACTSCOPE_MOMENTS | ACTSCOPE_ENTROPY);
          compare_value(&c, "mean (double)", got.mean, want.mean, n ? 1e-13 * want.abs_mean : 0, 0);
          compare_value(&c, "variance (double)", got.variance, want.variance, 0, 1e-9);
          compare_value(&c, "skewness (double)", got.skewness, want.skewness, 1e-8, 1e-8);
          compare_value(&c, "kurtosis (double)", got.kurtosis, want.kurtosis, 1e-8, 1e-8);
          compare_value(&c, "abs_mean (double)", got.abs_mean, want.abs_mean, 0, 1e-12);
          compare_value(&c, "l2_norm (double)", got.l2_norm, want.l2_norm, 0, 1e-12);
          compare_value(&c, "entropy (double)", got.entropy, want.entropy, 1e-11, 0);
          CHECK(c);
        }
      }
  free(x);
}

Test(core, moments_of_repeated_values) {
  double x[3000];
  struct random_state r = {5};
  struct moments weighted;
  struct compare c;
  uint64_t n = 0;
  moments_init(&weighted);
  while (n < 2900) {
    double v = (double)random_below(&r, 50) * 0.37 - 5;
    uint64_t times = 1 + random_below(&r, 90);
    moments_update(&weighted, v, times, ref_smallest_normal(ACTSCOPE_FLOAT32));
    for (uint64_t k = 0; k < times; ++k) x[n++] = v;
  }
  struct ref_matrix m = {ACTSCOPE_FLOAT32, n, 1, n, x};
  actscope_profile want, got;
  ref_profile(&m, &want);
  moments_finish(&weighted, ACTSCOPE_PROFILE, &got);
  compare_begin(&c, "weighted");
  compare_profile(&c, &got, &want, ACTSCOPE_FLOAT32, ACTSCOPE_MOMENTS | ACTSCOPE_ENTROPY);
  compare_value(&c, "kurtosis (double)", got.kurtosis, want.kurtosis, 1e-11, 0);
  CHECK(c);
}

/* The empty state changes nothing, on either side, to the bit. */
Test(core, moments_have_a_neutral_element) {
  double x[100];
  struct moments some, empty, left, right;
  data_fill(DATA_SPECIALS, 4, ACTSCOPE_FLOAT32, x, 100, 1);
  in_order(&some, ELEMENTS, ACTSCOPE_FLOAT32, x, 100);
  moments_init(&empty);
  left = empty, right = some;
  moments_merge(&left, &some);
  moments_merge(&right, &empty);
  cr_assert_eq(memcmp(&left, &some, sizeof some), 0);
  cr_assert_eq(memcmp(&right, &some, sizeof some), 0);
  cr_assert_eq(sizeof some, 128);
}

Test(core, moments_not_asked_for_are_nan) {
  struct moments m;
  actscope_profile p;
  moments_init(&m);
  moments_update(&m, 1, 1, 1e-38);
  moments_update(&m, 2, 1, 1e-38);
  moments_finish(&m, ACTSCOPE_MOMENTS, &p);
  cr_assert(isnan(p.entropy) && p.mean == 1.5);
  moments_finish(&m, ACTSCOPE_MOMENTS | ACTSCOPE_ENTROPY, &p);
  cr_assert_float_eq(p.entropy, (log(3) - 2.0 / 3 * log(2)) / log(2), 1e-15);
}

/* ---- Histogram ------------------------------------------------------------------------------------------------------ */

static uint64_t *histogram_of(actscope_dtype dtype, const double *x, uint64_t n) {
  uint64_t *counts = calloc(dtype_bins(dtype), sizeof *counts);
  int below = dtype == ACTSCOPE_FLOAT32 ? 16 : dtype == ACTSCOPE_FLOAT64 ? 45 : 0;
  for (uint64_t i = 0; i < n; ++i) ++counts[ref_encode(dtype, x[i]) >> below];
  return counts;
}

/* Narrow types: the whole profile and the distinct count follow; wide ones: the quantiles. */
Test(core, histogram_gives_the_profile) {
  static const uint64_t sizes[] = {0, 1, 2, 33, 99, 100, 101, 257, 10007};
  double *x = malloc(10007 * sizeof *x);
  for (int t = 0; t < 6; ++t)
    for (int kind = 0; kind < DATA_KINDS; ++kind)
      for (size_t k = 0; k < sizeof sizes / sizeof *sizes; ++k) {
        actscope_dtype dtype = dtypes[t];
        uint64_t n = sizes[k];
        if (ref_size(dtype) == 8 && n > 257) continue; /* 4 MiB of counters each */
        data_fill(kind, k + 100, dtype, x, n, 1);
        for (uint64_t i = 0; i < n; ++i) x[i] = ref_decode(dtype, ref_encode(dtype, x[i]));
        struct ref_matrix m = {dtype, n, 1, n, x};
        actscope_profile want, got;
        struct compare c;
        uint64_t *counts = histogram_of(dtype, x, n);
        ref_profile(&m, &want);
        memset(&got, POISON_ODD, sizeof got);
        compare_begin(&c, "%s %s n=%llu", data_dtype_name(dtype), data_kind_name(kind), (unsigned long long)n);
        histogram_quantiles(dtype, counts, want.finite, want.min, want.max, got.quantiles);
        histogram_buckets(dtype, counts, want.zero, want.negative, got.buckets);
        if (dtype_is_narrow(dtype)) {
          struct moments state;
          histogram_moments(dtype, counts, &state);
          moments_finish(&state, ACTSCOPE_PROFILE, &got);
          compare_profile(&c, &got, &want, dtype, ACTSCOPE_PROFILE);
          compare_value(&c, "mean (double)", got.mean, want.mean, n ? 1e-13 * want.abs_mean : 0, 0);
          compare_value(&c, "variance (double)", got.variance, want.variance, 0, 1e-12);
          compare_value(&c, "kurtosis (double)", got.kurtosis, want.kurtosis, 1e-9, 1e-9);
          compare_value(&c, "entropy (double)", got.entropy, want.entropy, 1e-11, 0);
          compare_count(&c, "distinct", histogram_distinct(dtype, counts), ref_distinct(&m));
        } else {
          compare_profile(&c, &got, &want, dtype, ACTSCOPE_QUANTILES);
        }
        for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT && want.finite; ++q) /* exact for constants, and never outside */
          compare_between(&c, "quantile between min and max", got.quantiles[q], want.min, want.max);
        CHECK(c);
        free(counts);
      }
  free(x);
}

/* Targets are whole numbers: 2^62 values do not overflow them or round them. */
Test(core, quantiles_of_huge_counts) {
  uint64_t *counts = calloc(256, sizeof *counts);
  double q[ACTSCOPE_QUANTILE_COUNT];
  uint64_t n = (1ull << 62) / 100 * 100 + 37, half = n / 2 + 1; /* ceil(n/2) values are enough for the median */
  counts[0x38] = half; /* 1 */
  counts[0x40] = n - half; /* 2 */
  histogram_quantiles(ACTSCOPE_FLOAT8_E4M3, counts, n, 1, 2, q);
  cr_assert(q[0] == 1 && q[2] == 1 && q[3] == 1 && q[4] == 2 && q[6] == 2);
  counts[0x38] = half - 1, counts[0x40] = n - half + 1;
  histogram_quantiles(ACTSCOPE_FLOAT8_E4M3, counts, n, 1, 2, q);
  cr_assert(q[3] == 2, "one less than half: the median is the next value");
  free(counts);
}

/* ---- Columns -------------------------------------------------------------------------------------------------------- */

static void column_of(struct column *c, const double *x, uint64_t first, uint64_t last, uint64_t stride) {
  column_init(c);
  for (uint64_t s = first; s < last; ++s) {
    double v = x[s * stride];
    struct column one = {v, 0, isfinite(v) ? v : NAN, isfinite(v) ? v : isnan(v) ? -1 : fabs(v)};
    if (!isfinite(v)) one.mean = 0;
    column_merge(c, (double)(s - first), &one, 1);
  }
}

Test(core, columns_merge_and_count) {
  static const uint64_t shapes[][2] = {{1, 5}, {2, 7}, {3, 31}, {17, 64}, {128, 33}, {257, 10}};
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k)
      for (int parts = 1; parts <= 5; parts += 2) {
        uint64_t n = shapes[k][0], d = shapes[k][1], valid = 0;
        double *x = malloc(n * d * sizeof *x);
        struct column *columns = malloc(d * sizeof *columns);
        uint64_t *list = malloc(d * sizeof *list);
        struct ref_matrix m = {ACTSCOPE_FLOAT32, n, d, n * d, x};
        actscope_health want, got;
        struct compare c;
        data_fill(kind, 31 * k, m.dtype, x, n, d);
        compare_begin(&c, "%s [%llu, %llu] in %d parts", data_kind_name(kind), (unsigned long long)n,
                      (unsigned long long)d, parts);
        for (uint64_t f = 0; f < d; ++f) {
          uint64_t done = 0;
          column_init(&columns[f]);
          for (int p = 0; p < parts; ++p) {
            uint64_t next = n * (uint64_t)(p + 1) / (uint64_t)parts;
            struct column part;
            column_of(&part, x + f, done, next, d);
            column_merge(&columns[f], (double)done, &part, (double)(next - done));
            done = next;
          }
        }
        ref_health(&m, &want);
        columns_health(columns, d, &got);
        compare_health(&c, &got, &want);
        uint64_t count = ref_valid_features(&m, list);
        for (uint64_t f = 0; f < d; ++f) {
          long double sum = 0, squares = 0, size = 0;
          int is_valid = valid < count && list[valid] == f;
          compare_count(&c, "valid", (uint64_t)column_valid(&columns[f]), (uint64_t)is_valid);
          if (!is_valid) {
            compare_value(&c, "scale of what is left out", column_scale(&columns[f]), 0, 0, 0);
            continue;
          }
          ++valid;
          for (uint64_t s = 0; s < n; ++s) sum += x[s * d + f], size += fabsl(x[s * d + f]);
          for (uint64_t s = 0; s < n; ++s) squares += (x[s * d + f] - sum / n) * (x[s * d + f] - sum / n);
          compare_value(&c, "mean", columns[f].mean, (double)(sum / n), 1e-14 * (double)(size / n), 0);
          compare_value(&c, "m2", columns[f].m2, (double)squares, 0, 1e-9);
          compare_value(&c, "scale", column_scale(&columns[f]), (double)(1 / sqrtl(squares)), 0, 1e-9);
        }
        CHECK(c);
        free(list);
        free(columns);
        free(x);
      }
}

/* No spread survives in a constant column, however its samples were cut; -0 and +0 are equal. */
Test(core, constants_stay_constant) {
  struct random_state r = {9};
  for (int round = 0; round < 2000; ++round) {
    struct column all;
    double v = random_normal(&r) * 1e3;
    uint64_t done = 0;
    column_init(&all);
    for (int p = 0; p < 6; ++p) {
      uint64_t n = 1 + random_below(&r, 40);
      struct column part = {v * (1 + 1e-16 * (double)p), 1e-30, v, v}; /* rounding left in mean and m2 */
      column_merge(&all, (double)done, &part, (double)n);
      done += n;
    }
    cr_assert(column_constant(&all) && !column_valid(&all) && column_scale(&all) == 0);
  }
  struct column zero = {0, 0, 0.0, 0.0}, minus = {-0.0, 0, -0.0, -0.0};
  column_merge(&zero, 1, &minus, 1);
  cr_assert(column_constant(&zero) && column_dead(&zero));
}

/* Dead is never above 1e-6 in absolute value; NaN is above nothing. */
Test(core, dead_begins_at_its_limit) {
  static const struct { double min, max; int dead; } known[] = {
      {-1e-6, 1e-6, 1}, {0, 1.0000000000000002e-6, 0}, {-1.0000000000000002e-6, 0, 0}, {-1e-7, 1, 0}, {NAN, -1, 1},
      {NAN, 1e-6, 1},   {NAN, 2e-6, 0},                {NAN, INFINITY, 0},             {0, 0, 1}};
  for (size_t k = 0; k < sizeof known / sizeof *known; ++k) {
    struct column c = {0, 1, known[k].min, known[k].max};
    cr_assert_eq(column_dead(&c), known[k].dead, "case %zu", k);
  }
}

/* ---- Views ---------------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void check_view(const actscope_tensor *t, int channels, const char *name) {
  struct view v;
  struct ref_matrix m;
  struct compare c;
  uint64_t elements = 99;
  int64_t step;
  cr_assert_null(view_check(t->dtype, t->ndim, t->shape, &elements), "%s", name);
  view_init(&v, t, channels);
  ref_matrix_load(&m, t, channels);
  compare_begin(&c, "view of %s%s", name, channels ? ", channels" : "");
  compare_count(&c, "elements", elements, m.elements);
  compare_count(&c, "view elements", v.elements, m.elements);
  compare_count(&c, "samples", v.samples, m.samples);
  compare_count(&c, "features", v.features, m.features);
  for (uint64_t s = 0; s < m.samples; ++s)
    for (uint64_t f = 0; f < m.features; ++f)
      compare_value(&c, "x", dtype_load(t->dtype, t->data, view_offset(&v.sample, s) + view_offset(&v.feature, f)),
                    m.x[s * m.features + f], 0, 0);
  const struct view_side *sides[2] = {&v.sample, &v.feature};
  uint64_t extents[2] = {m.samples, m.features};
  for (int k = 0; k < 2 && m.elements; ++k) {
    for (uint64_t at = 0, run; at < extents[k]; at += run) {
      run = view_run(sides[k], at, &step);
      cr_assert(run >= 1 && at + run <= extents[k], "%s: run of %llu at %llu", name, (unsigned long long)run,
                (unsigned long long)at);
      for (uint64_t i = 0; i < run; ++i)
        compare_count(&c, "run", (uint64_t)(view_offset(sides[k], at) + (int64_t)i * step),
                      (uint64_t)view_offset(sides[k], at + i));
    }
    if (view_is_linear(sides[k], &step))
      for (uint64_t i = 0; i < extents[k]; ++i)
        compare_count(&c, "linear", (uint64_t)((int64_t)i * step), (uint64_t)view_offset(sides[k], i));
  }
  if (m.elements) { /* the stream: the same values in another order, forwards in memory */
    const void *data;
    struct view_side side;
    double *got = malloc(m.elements * sizeof *got);
    view_stream(&v, &data, &side);
    for (uint64_t i = 0; i < m.elements; ++i) got[i] = dtype_load(t->dtype, data, view_offset(&side, i));
    for (int d = 0; d < side.dims; ++d) compare_count(&c, "backwards", side.axis[d].stride < 0, 0);
    qsort(got, m.elements, sizeof *got, by_value);
    qsort(m.x, m.elements, sizeof *m.x, by_value);
    compare_array(&c, "stream", got, m.x, m.elements, 0, 0);
    free(got);
  }
  CHECK(c);
  ref_matrix_free(&m);
}

Test(core, views_find_every_element) {
  static const uint64_t shapes[][2] = {{0, 4}, {4, 0}, {1, 1}, {1, 12}, {7, 1}, {3, 5}, {6, 30}, {13, 36}};
  for (int t = 0; t < 6; ++t)
    for (enum data_layout layout = 0; layout < LAYOUTS; ++layout)
      for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k) {
        uint64_t n = shapes[k][0], d = shapes[k][1];
        double *x = malloc((n * d + 1) * sizeof *x);
        struct laid_out tensor;
        for (uint64_t i = 0; i < n * d; ++i) x[i] = (double)(i % 97); /* whole numbers that bf16 holds */
        data_lay_out(&tensor, x, dtypes[t], n, d, layout);
        check_view(&tensor.tensor, 0, data_layout_name(layout));
        check_view(&tensor.tensor, 1, data_layout_name(layout));
        cr_assert_eq(guard_damage(&tensor.memory), 0);
        data_free(&tensor);
        free(x);
      }
}

/* Axes that cannot be joined, up to the largest number of dimensions. */
Test(core, views_of_many_axes) {
  float data[4096];
  struct random_state r = {21};
  for (int i = 0; i < 4096; ++i) data[i] = (float)i;
  for (int round = 0; round < 400; ++round) {
    int64_t shape[ACTSCOPE_MAX_DIMS], strides[ACTSCOPE_MAX_DIMS], low = 0, high = 0, elements = 1;
    int dims = (int)random_below(&r, ACTSCOPE_MAX_DIMS + 1);
    for (int d = 0; d < dims; ++d) {
      shape[d] = (int64_t)random_below(&r, elements < 300 ? 4 : 2);
      if (shape[d] == 0 && random_below(&r, 4)) shape[d] = 1;
      elements *= shape[d] ? shape[d] : 1;
      strides[d] = (int64_t)random_below(&r, 41) - 20;
      *(strides[d] < 0 ? &low : &high) += strides[d] * (shape[d] ? shape[d] - 1 : 0);
    }
    cr_assert(high - low < 4096);
    actscope_tensor t = {data - low, ACTSCOPE_FLOAT32, dims, shape, strides};
    check_view(&t, 0, "random axes");
    check_view(&t, 1, "random axes");
    t.strides = NULL;
    if (elements <= 4096) t.data = data, check_view(&t, 0, "compact axes");
  }
}

Test(core, views_refuse_bad_shapes) {
  uint64_t elements = 7;
  int64_t negative[] = {3, -1}, huge[] = {1ll << 40, 1ll << 40}, hidden[] = {0, 1ll << 40, 1ll << 40},
          edge[] = {1ll << 31, 1ll << 31}, below[] = {1ll << 31, (1ll << 31) - 1}, ones[17];
  for (int i = 0; i < 17; ++i) ones[i] = 1;
  cr_assert_not_null(view_check(ACTSCOPE_FLOAT32, 2, negative, &elements));
  cr_assert_not_null(view_check(ACTSCOPE_FLOAT32, 2, huge, &elements));
  cr_assert_not_null(view_check(ACTSCOPE_FLOAT32, 3, hidden, &elements));
  cr_assert_not_null(view_check(ACTSCOPE_FLOAT32, 2, edge, &elements));
  cr_assert_not_null(view_check(ACTSCOPE_FLOAT32, 17, ones, &elements));
  cr_assert_not_null(view_check(ACTSCOPE_FLOAT32, -1, ones, &elements));
  cr_assert_not_null(view_check(ACTSCOPE_FLOAT32, 1, NULL, &elements));
  cr_assert_not_null(view_check((actscope_dtype)6, 1, ones, &elements));
  cr_assert_not_null(view_check((actscope_dtype)-1, 1, ones, &elements));
  cr_assert_null(view_check(ACTSCOPE_FLOAT32, 16, ones, &elements));
  cr_assert_eq(elements, 1);
  cr_assert_null(view_check(ACTSCOPE_FLOAT32, 2, below, &elements));
  cr_assert_eq(elements, (1ull << 62) - (1ull << 31));
  cr_assert_null(view_check(ACTSCOPE_FLOAT32, 0, NULL, &elements));
  cr_assert_eq(elements, 1);
}
