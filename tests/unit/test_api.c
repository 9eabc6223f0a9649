/* test_api.c - the public contract of include/actscope.h: what is refused, with which words, and what is promised about
 * memory, threads and bits. Numbers are test_report_numbers.c's. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/api_calls.h"

TestSuite(api, .timeout = 120);

/* ---- Names ---------------------------------------------------------------------------------------------------------- */

Test(api, status_numbers_and_names_are_pinned) {
  static const char *const names[] = {"ACTSCOPE_OK", "ACTSCOPE_INVALID_ARGUMENT", "ACTSCOPE_UNSUPPORTED",
                                      "ACTSCOPE_OUT_OF_MEMORY", "ACTSCOPE_BUDGET_TOO_SMALL",
                                      "ACTSCOPE_WORKSPACE_TOO_SMALL", "ACTSCOPE_NOT_READY", "ACTSCOPE_NO_DEVICE",
                                      "ACTSCOPE_DEVICE_ERROR", "ACTSCOPE_INTERNAL"};
  for (int k = 0; k < 10; ++k) cr_assert_str_eq(actscope_status_name((actscope_status)k), names[k]);
  cr_assert_str_eq(actscope_status_name((actscope_status)10), "ACTSCOPE_STATUS_UNKNOWN");
  cr_assert_str_eq(actscope_status_name((actscope_status)-1), "ACTSCOPE_STATUS_UNKNOWN");
}

Test(api, dtypes_have_names_and_sizes) {
  static const struct { actscope_dtype dtype; const char *name; size_t size; } known[] = {
      {ACTSCOPE_FLOAT32, "float32", 4},         {ACTSCOPE_FLOAT16, "float16", 2},
      {ACTSCOPE_BFLOAT16, "bfloat16", 2},       {ACTSCOPE_FLOAT8_E4M3, "float8_e4m3", 1},
      {ACTSCOPE_FLOAT8_E5M2, "float8_e5m2", 1}, {ACTSCOPE_FLOAT64, "float64", 8}};
  for (int k = 0; k < 6; ++k) {
    cr_assert_eq((int)known[k].dtype, k);
    cr_assert_str_eq(actscope_dtype_name(known[k].dtype), known[k].name);
    cr_assert_eq(actscope_dtype_size(known[k].dtype), known[k].size);
  }
  cr_assert_str_eq(actscope_dtype_name((actscope_dtype)6), "unknown");
  cr_assert_str_eq(actscope_dtype_name((actscope_dtype)-1), "unknown");
  cr_assert_eq(actscope_dtype_size((actscope_dtype)6), 0);
  cr_assert_eq(actscope_dtype_size((actscope_dtype)-1), 0);
}

Test(api, version_is_the_headers) {
  char text[32];
  snprintf(text, sizeof text, "%d.%d.%d", ACTSCOPE_VERSION_MAJOR, ACTSCOPE_VERSION_MINOR, ACTSCOPE_VERSION_PATCH);
  cr_assert_str_eq(actscope_version(), text);
  cr_assert_str_eq(ACTSCOPE_VERSION_STRING, text);
}

Test(api, levels_and_thresholds_are_published) {
  static const double levels[] = {0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99}, thresholds[] = {0.5, 0.7, 0.9, 0.95, 0.99};
  cr_assert_eq(memcmp(actscope_quantile_levels, levels, sizeof levels), 0);
  cr_assert_eq(memcmp(actscope_pair_thresholds, thresholds, sizeof thresholds), 0);
}

/* Each bucket begins at its edge and ends below the next; the ends are open. */
Test(api, value_edges_are_those_of_the_buckets) {
  enum { SIDE = ACTSCOPE_VALUE_BUCKETS / 2 };
  double x[2 * (2 * SIDE + 3)];
  int64_t n = 0;
  cr_assert_eq(actscope_value_edge(0), 0);
  cr_assert(isinf(actscope_value_edge(SIDE + 2)));
  cr_assert_eq(actscope_value_edge(1), ldexp(1, -40));
  cr_assert_eq(actscope_value_edge(SIDE + 1), 65536);
  for (int k = 1; k <= SIDE; ++k) {
    cr_assert_eq(actscope_value_edge(k + 1) / actscope_value_edge(k), k % 2 ? 1.5 : 4.0 / 3, "%d", k);
    for (int sign = -1; sign <= 1; sign += 2)
      x[n++] = sign * actscope_value_edge(k), x[n++] = sign * nextafter(actscope_value_edge(k + 1), 0);
  }
  x[n++] = 1e300, x[n++] = -1e-300, x[n++] = -0.0, x[n++] = 0, x[n++] = 5e-324, x[n++] = NAN;
  actscope_tensor t = {x, ACTSCOPE_FLOAT64, 1, &n, NULL};
  actscope_options o;
  actscope_layer_report r;
  actscope_options_init(&o);
  o.device = ACTSCOPE_DEVICE_CPU, o.statistics = ACTSCOPE_QUANTILES;
  cr_assert_eq(actscope_analyze(&t, &o, &r), ACTSCOPE_OK);
  for (int k = 0; k < ACTSCOPE_VALUE_BUCKETS; ++k)
    cr_assert_eq(r.profile.buckets[k], 2u + (k == SIDE + 1 || k == SIDE - 1 || k == 2 * SIDE), "bucket %d holds %llu", k,
                 (unsigned long long)r.profile.buckets[k]);
}

Test(api, devices_begin_with_the_cpu) {
  actscope_device_info info[4];
  size_t count = 99;
  memset(info, POISON_ODD, sizeof info);
  ACCEPTED(actscope_devices(NULL, 0, &count));
  cr_assert(count >= 1 && count < 99);
  ACCEPTED(actscope_devices(info, 4, &count));
  cr_assert_eq(info[0].device, ACTSCOPE_DEVICE_CPU);
  cr_assert(memchr(info[0].name, 0, sizeof info[0].name) && info[0].name[0] && info[0].units >= 1 && info[0].memory_bytes > 1 << 20);
  REFUSED(actscope_devices(info, 4, NULL), ACTSCOPE_INVALID_ARGUMENT, "count");
  REFUSED(actscope_devices(NULL, 4, &count), ACTSCOPE_INVALID_ARGUMENT, "devices");
  cr_assert_not_null(actscope_no_gpu_reason());
  ACCEPTED(actscope_devices(NULL, 0, &count));
  cr_assert(count > 1 || strlen(actscope_no_gpu_reason()) > 0, "no GPU, and no reason");
}

Test(api, defaults_are_the_headers) {
  actscope_options o;
  memset(&o, POISON_ODD, sizeof o);
  actscope_options_init(&o);
  cr_assert(o.size == sizeof o && o.device == ACTSCOPE_DEVICE_AUTO && o.device_index == 0 && o.threads == 0 &&
            o.memory_budget == 268435456 && o.statistics == ACTSCOPE_ALL && o.pair_functionals == ACTSCOPE_PAIRS_DEFAULT &&
            o.correlation == ACTSCOPE_CORRELATION_AUTO && o.pairs == 0 && o.seed == 0 && o.same_pairs == 0 &&
            o.precision == ACTSCOPE_PRECISION_FP32 && o.distinct == ACTSCOPE_DISTINCT_AUTO && o.sketch_bits == 12 &&
            o.channels == 0 && o.large_tensor == 10000000 && o.top_pairs == 0 && o.pairs_above == 0 && o.log == NULL && o.log_user == NULL &&
            o.log_level == ACTSCOPE_LOG_INFO);
}

/* ---- What is refused -------------------------------------------------------------------------------------------------- */

Test(api, null_arguments_are_refused) {
  float x[6] = {1, 2, 3, 4, 5, 6};
  int64_t shape[2] = {3, 2};
  actscope_tensor t = {x, ACTSCOPE_FLOAT32, 2, shape, NULL};
  actscope_layer layer = {"a", ACTSCOPE_FLOAT32, 2, shape};
  actscope_options o = cpu_options();
  actscope_layer_report report;
  actscope_plan *plan, *untouched = (actscope_plan *)x;
  uint64_t bytes;
  REFUSED(actscope_analyze(NULL, &o, &report), ACTSCOPE_INVALID_ARGUMENT, "tensor");
  REFUSED(actscope_analyze(&t, &o, NULL), ACTSCOPE_INVALID_ARGUMENT, "report");
  REFUSED(actscope_plan_create(NULL, &layer, 1, &o), ACTSCOPE_INVALID_ARGUMENT, "plan");
  plan = untouched;
  REFUSED(actscope_plan_create(&plan, NULL, 1, &o), ACTSCOPE_INVALID_ARGUMENT, "layers");
  cr_assert_null(plan, "*plan must be NULL after a failure");
  REFUSED(actscope_minimum_budget(&layer, 1, &o, NULL), ACTSCOPE_INVALID_ARGUMENT, "bytes");
  REFUSED(actscope_minimum_budget(NULL, 1, &o, &bytes), ACTSCOPE_INVALID_ARGUMENT, "layers");
  REFUSED(actscope_plan_workspace(NULL, NULL, NULL), ACTSCOPE_INVALID_ARGUMENT, "plan");
  REFUSED(actscope_plan_bind(NULL, x, 1), ACTSCOPE_INVALID_ARGUMENT, "plan");
  REFUSED(actscope_plan_enqueue(NULL, &t, 1, NULL), ACTSCOPE_INVALID_ARGUMENT, "plan");
  REFUSED(actscope_plan_enqueue_layer(NULL, 0, &t, NULL), ACTSCOPE_INVALID_ARGUMENT, "plan");
  REFUSED(actscope_plan_poll(NULL), ACTSCOPE_INVALID_ARGUMENT, "plan");
  REFUSED(actscope_plan_wait(NULL), ACTSCOPE_INVALID_ARGUMENT, "plan");
  REFUSED(actscope_plan_report(NULL, 0, &report), ACTSCOPE_INVALID_ARGUMENT, "plan");
  cr_assert_null(actscope_plan_layer_name(NULL, 0));
  actscope_plan_destroy(NULL);
  actscope_options_init(NULL);

  ACCEPTED(actscope_plan_create(&plan, &layer, 1, &o));
  ACCEPTED(actscope_plan_workspace(plan, NULL, NULL));
  REFUSED(actscope_plan_bind(plan, NULL, 1 << 20), ACTSCOPE_INVALID_ARGUMENT, "workspace");
  REFUSED(actscope_plan_enqueue(plan, NULL, 1, NULL), ACTSCOPE_INVALID_ARGUMENT, "tensors");
  REFUSED(actscope_plan_enqueue_layer(plan, 0, NULL, NULL), ACTSCOPE_INVALID_ARGUMENT, "tensor");
  REFUSED(actscope_plan_report(plan, 0, NULL), ACTSCOPE_INVALID_ARGUMENT, "report");
  actscope_plan_destroy(plan);
}

Test(api, bad_tensors_are_refused) {
  double x[4] = {1, 2, 3, 4};
  int64_t ones[17], good[2] = {2, 2}, negative[2] = {2, -1}, huge[2] = {1ll << 31, 1ll << 31}, hidden[3] = {0, 1ll << 40, 1ll << 40},
          far[2] = {1ll << 60, 1}, min_stride[2] = {INT64_MIN, 1};
  for (int i = 0; i < 17; ++i) ones[i] = 1;
  actscope_layer_report r;
  actscope_options o = cpu_options();
  actscope_tensor t = {x, ACTSCOPE_FLOAT64, 17, ones, NULL};
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "dimensions");
  t.ndim = -1;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "dimensions");
  t.ndim = 2, t.shape = NULL;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "shape is NULL");
  t.shape = negative;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "negative extent");
  t.shape = huge;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "2^62");
  t.ndim = 3, t.shape = hidden;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "2^62");
  t.ndim = 2, t.shape = good, t.data = NULL;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "NULL");
  t.data = (char *)x + 3;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "aligned");
  t.data = x, t.strides = far;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "strides");
  t.strides = min_stride;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "strides");
  t.strides = NULL, t.dtype = (actscope_dtype)6;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "dtype");
  t.dtype = (actscope_dtype)-1;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "dtype");
  t.dtype = ACTSCOPE_FLOAT64, t.ndim = 1, o.channels = 1;
  REFUSED(actscope_analyze(&t, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "channels");
  t.ndim = 2;
  ACCEPTED(actscope_analyze(&t, &o, &r));
}

#define BAD_OPTION(field, value)                                                            \
  do {                                                                                      \
    actscope_options bad_ = o;                                                              \
    bad_.field = value;                                                                     \
    REFUSED(actscope_analyze(&t, &bad_, &r), ACTSCOPE_INVALID_ARGUMENT, #field);            \
    REFUSED(actscope_minimum_budget(&layer, 1, &bad_, &bytes), ACTSCOPE_INVALID_ARGUMENT, #field); \
  } while (0)
#define GOOD_OPTION(field, value)                 \
  do {                                            \
    actscope_options good_ = o;                   \
    good_.field = value;                          \
    ACCEPTED(actscope_analyze(&t, &good_, &r));   \
  } while (0)

Test(api, options_outside_their_range_are_refused) {
  float x[6] = {1, 2, 3, 4, 5, 7};
  int64_t shape[2] = {3, 2};
  actscope_tensor t = {x, ACTSCOPE_FLOAT32, 2, shape, NULL};
  actscope_layer layer = {"a", ACTSCOPE_FLOAT32, 2, shape};
  actscope_options o = cpu_options();
  actscope_layer_report r;
  uint64_t bytes;
  BAD_OPTION(size, 0);
  BAD_OPTION(size, sizeof o - 8);
  BAD_OPTION(size, sizeof o + 8);
  BAD_OPTION(device, (actscope_device)3);
  BAD_OPTION(device, (actscope_device)-1);
  BAD_OPTION(device_index, -1);
  BAD_OPTION(threads, -1);
  BAD_OPTION(threads, 1 << 20);
  BAD_OPTION(statistics, 0);
  BAD_OPTION(statistics, 512);
  BAD_OPTION(pair_functionals, ACTSCOPE_PAIRS_SHIFT << 1);
  BAD_OPTION(top_pairs, -1);
  BAD_OPTION(top_pairs, 65537);
  BAD_OPTION(pairs_above, 0.5);
  BAD_OPTION(pairs_above, 1.5);
  BAD_OPTION(pairs_above, NAN);
  GOOD_OPTION(top_pairs, 65536);
  BAD_OPTION(correlation, (actscope_correlation_method)4);
  BAD_OPTION(correlation, (actscope_correlation_method)-1);
  BAD_OPTION(precision, (actscope_precision)2);
  BAD_OPTION(distinct, (actscope_distinct_method)3);
  BAD_OPTION(sketch_bits, 3);
  BAD_OPTION(sketch_bits, 19);
  GOOD_OPTION(sketch_bits, 4);
  GOOD_OPTION(sketch_bits, 18);
  GOOD_OPTION(pair_functionals, 0);
  GOOD_OPTION(seed, UINT64_MAX);
  GOOD_OPTION(pairs, UINT64_MAX);
  GOOD_OPTION(memory_budget, UINT64_MAX);
  GOOD_OPTION(large_tensor, 0);
  GOOD_OPTION(precision, ACTSCOPE_PRECISION_FP16);
  ACCEPTED(actscope_analyze(&t, NULL, &r));
  if (strlen(actscope_no_gpu_reason()) > 0) {
    actscope_options cuda = o;
    cuda.device = ACTSCOPE_DEVICE_CUDA;
    REFUSED(actscope_analyze(&t, &cuda, &r), ACTSCOPE_NO_DEVICE, actscope_no_gpu_reason());
  }
}

/* Indices of features are 32 bits wide where pairs are looked at; without pairs there is no such limit. */
Test(api, two_to_the_32_features) {
  static const int64_t shape[2] = {2, 1ll << 32};
  actscope_layer layer = {"wide", ACTSCOPE_FLOAT16, 2, shape};
  actscope_options o = cpu_options();
  actscope_plan *plan;
  REFUSED(actscope_plan_create(&plan, &layer, 1, &o), ACTSCOPE_UNSUPPORTED, "wide");
  cr_assert_null(plan);
  o.statistics = ACTSCOPE_PROFILE;
  ACCEPTED(actscope_plan_create(&plan, &layer, 1, &o));
  actscope_plan_destroy(plan);
}

/* ---- Shapes at the edges ----------------------------------------------------------------------------------------------- */

Test(api, every_number_of_dimensions) {
  float x[48];
  actscope_layer_report r;
  actscope_options o = cpu_options();
  for (int i = 0; i < 48; ++i) x[i] = (float)((i * 29) % 31);
  for (int dims = 0; dims <= ACTSCOPE_MAX_DIMS; ++dims) {
    int64_t shape[ACTSCOPE_MAX_DIMS];
    uint64_t features = 1, elements = 1;
    for (int d = 0; d < dims; ++d) {
      shape[d] = d == 0 ? 6 : d == dims - 1 ? 2 : d == 1 ? 4 : 1;
      elements *= (uint64_t)shape[d];
      if (d) features *= (uint64_t)shape[d];
    }
    actscope_tensor t = {x, ACTSCOPE_FLOAT32, dims, dims ? shape : NULL, NULL};
    memset(&r, POISON_ODD, sizeof r);
    ACCEPTED(actscope_analyze(&t, &o, &r));
    cr_assert(r.status == ACTSCOPE_OK && r.statistics == ACTSCOPE_ALL && r.dtype == ACTSCOPE_FLOAT32, "%d dimensions", dims);
    cr_assert(r.elements == elements && r.features == features && r.samples == elements / features, "%d dimensions", dims);
    cr_assert(r.profile.count == elements && r.profile.max >= x[0]);
  }
}

Test(api, empty_tensors_have_counts_of_zero_and_no_numbers) {
  static const int64_t shapes[][3] = {{0, 1, 1}, {0, 5, 2}, {5, 0, 3}, {5, 3, 0}, {0, 0, 0}};
  for (int k = 0; k < 5; ++k)
    for (int dims = 1; dims <= 3; ++dims) {
      actscope_tensor t = {NULL, ACTSCOPE_FLOAT16, dims, shapes[k], NULL};
      uint64_t elements = 1;
      for (int d = 0; d < dims; ++d) elements *= (uint64_t)shapes[k][d];
      if (elements) continue;
      for (int method = 0; method < 4; ++method) {
        actscope_options o = cpu_options();
        actscope_layer_report r;
        o.correlation = (actscope_correlation_method)method;
        memset(&r, POISON_ODD, sizeof r);
        ACCEPTED(actscope_analyze(&t, &o, &r));
        cr_assert(r.status == ACTSCOPE_OK && r.elements == 0);
        const actscope_profile *p = &r.profile;
        cr_assert(p->count == 0 && p->finite == 0 && p->nan == 0 && p->zero == 0 && p->negative == 0 && p->subnormal == 0);
        cr_assert(isnan(p->min) && isnan(p->max) && isnan(p->mean) && isnan(p->variance) && isnan(p->std) &&
                  isnan(p->skewness) && isnan(p->kurtosis) && isnan(p->abs_mean) && isnan(p->abs_max) &&
                  isnan(p->l2_norm) && isnan(p->entropy));
        for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT; ++q) cr_assert(isnan(p->quantiles[q]));
        cr_assert(r.distinct.count == 0 && r.distinct.upper == 0 && isnan(r.distinct.redundancy));
        cr_assert(r.health.nonfinite == 0);
        cr_assert(r.correlation.pairs == 0 && isnan(r.correlation.mean_abs) && isnan(r.correlation.mean_square) &&
                  isnan(r.correlation.max_abs));
        cr_assert(isnan(r.rank.participation_ratio) && isnan(r.rank.effective_rank) && isnan(r.similarity.mean_cosine));
      }
    }
}

/* A section that was not asked for is zero; one that was has the same bits as in the complete report. */
Test(api, sections_stand_alone) {
  enum { N = 37, D = 23 };
  double x[N * D];
  struct laid_out t;
  actscope_options o = cpu_options();
  actscope_layer_report all, part, zero;
  data_fill(DATA_CONSTANT_COLUMNS, 3, ACTSCOPE_FLOAT32, x, N, D);
  data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  ACCEPTED(actscope_analyze(&t.tensor, &o, &all));
  memset(&zero, 0, sizeof zero);
  for (uint32_t mask = 1; mask <= ACTSCOPE_ALL; ++mask) {
    o.statistics = mask;
    memset(&part, POISON_ODD, sizeof part);
    ACCEPTED(actscope_analyze(&t.tensor, &o, &part));
    cr_assert_eq(part.statistics, mask);
    struct compare c;
    compare_begin(&c, "statistics %u", mask);
#define SECTION(field, bits) \
  compare_bytes(&c, #field, &part.field, mask & (bits) ? &all.field : &zero.field, sizeof part.field)
    SECTION(distinct, ACTSCOPE_DISTINCT);
    SECTION(health, ACTSCOPE_HEALTH);
    SECTION(correlation, ACTSCOPE_CORRELATION);
    SECTION(similarity, ACTSCOPE_SIMILARITY);
    if (mask & ACTSCOPE_RANK) { /* through the Gram matrix where no pairs are asked for */
      compare_value(&c, "participation", part.rank.participation_ratio, all.rank.participation_ratio, 0, 1e-6);
      compare_value(&c, "effective rank", part.rank.effective_rank, all.rank.effective_rank, 0, 1e-6);
    } else {
      SECTION(rank, 0);
    }
    if ((mask & ACTSCOPE_PROFILE) == ACTSCOPE_PROFILE || !(mask & ACTSCOPE_PROFILE)) SECTION(profile, ACTSCOPE_PROFILE);
    if (mask & ACTSCOPE_MOMENTS) compare_profile(&c, &part.profile, &all.profile, ACTSCOPE_FLOAT16, ACTSCOPE_MOMENTS);
    if (mask & ACTSCOPE_QUANTILES)
      compare_array(&c, "quantiles", part.profile.quantiles, all.profile.quantiles, ACTSCOPE_QUANTILE_COUNT, 0, 0);
    if (mask & ACTSCOPE_ENTROPY) compare_value(&c, "entropy", part.profile.entropy, all.profile.entropy, 1e-12, 0);
    CHECK(c);
  }
  data_free(&t);
}
