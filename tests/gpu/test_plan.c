/* test_plan.c - the plan on a GPU against the plan on the CPU. The same source runs on a device and under sim:
 *
 *   test_plan [SCHEDULE]     last line: N passed, M failed; with ACTSCOPE_REQUIRE_GPU=1 a missing GPU is a failure
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/runtime.h"
#include "gpu/hooks.h"
#include "cuda/state.h"
#include "memory.h"
#include "reference/data.h"

static int failures, small; /* small: under the slowest sanitizer */

static void note(int ok, int line, const char *format, ...) {
  if (ok || ++failures > 12) return;
  va_list args;
  va_start(args, format);
  printf("    %s:%d: ", __FILE__, line);
  vprintf(format, args);
  printf("\n");
  va_end(args);
}
#define CHECK(condition) note((condition), __LINE__, "%s", #condition)
#define CHECK_STATUS(call, want)                                                                             \
  do {                                                                                                       \
    actscope_status s_ = (call);                                                                             \
    note(s_ == (want), __LINE__, "%s is %s: %s", #call, actscope_status_name(s_), actscope_last_error());    \
  } while (0)

/* ---- Networks ---------------------------------------------------------------------------------------------------------- */

enum { MOST = 160, GUARD = 4096 };
static const actscope_dtype types[] = {ACTSCOPE_FLOAT32, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT8_E4M3,
                                       ACTSCOPE_FLOAT16, ACTSCOPE_FLOAT64,  ACTSCOPE_FLOAT8_E5M2};
struct network {
  size_t count;
  actscope_layer layers[MOST];
  struct laid_out host[MOST];
  void *device[MOST];
  actscope_tensor there[MOST]; /* on the device */
  actscope_tensor here[MOST];
  char names[MOST][96];
};

/* Values of the caller's. */
static void network_add_values(struct network *n, const char *name, const double *x, actscope_dtype dtype, uint64_t samples,
                               uint64_t features, enum data_layout layout) {
  size_t k = n->count++;
  data_lay_out(&n->host[k], x, dtype, samples, features, layout);
  snprintf(n->names[k], sizeof n->names[k], "%s-%s-%s", name, data_dtype_name(dtype), data_layout_name(layout));
  n->here[k] = n->there[k] = n->host[k].tensor;
  const actscope_tensor *t = &n->here[k];
  n->layers[k] = (actscope_layer){n->names[k], dtype, t->ndim, t->shape};
  const struct guarded *g = &n->host[k].memory;
  size_t offset = (uintptr_t)g->data % 256;
  CHECK(actscope_cuda_allocate(&n->device[k], g->bytes + offset) == 0);
  CHECK(actscope_cuda_upload((char *)n->device[k] + offset, g->data, g->bytes, NULL) == 0);
  n->there[k].data = (char *)n->device[k] + offset + ((const char *)t->data - (const char *)g->data);
}
static void network_add(struct network *n, enum data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features,
                        enum data_layout layout) {
  double *x = calloc(samples * features + 1, sizeof *x);
  data_fill(kind, n->count + 1, dtype, x, samples, features);
  network_add_values(n, data_kind_name(kind), x, dtype, samples, features, layout);
  free(x);
}
static uint64_t g_bytes(const struct network *n, size_t k) { /* of its copy on the device */
  const struct guarded *g = &n->host[k].memory;
  return g->bytes + (uintptr_t)g->data % 256;
}
static void network_free(struct network *n) {
  for (size_t k = 0; k < n->count; ++k) {
    note(guard_damage(&n->host[k].memory) == 0, __LINE__, "%s: bytes around the input were written", n->names[k]);
    actscope_cuda_release(n->device[k], g_bytes(n, k));
    data_free(&n->host[k]);
  }
  free(n);
}
static struct network *network_new(void) { return calloc(1, sizeof(struct network)); }

static actscope_options options_of(actscope_device device) {
  actscope_options o;
  actscope_options_init(&o);
  o.device = device;
  o.threads = 1;
  o.statistics = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
  o.distinct = ACTSCOPE_DISTINCT_SKETCH;
  o.sketch_bits = 6;
  return o;
}
static actscope_options cuda_options(void) { return options_of(ACTSCOPE_DEVICE_CUDA); }

static actscope_plan *plan_of(const struct network *n, const actscope_options *o) {
  actscope_plan *p = NULL;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, n->count, o), ACTSCOPE_OK);
  return p;
}

/* ---- Comparing --------------------------------------------------------------------------------------------------------- */

/* Against the CPU's: both are within compare_r_slack() of |r|; a count near a limit may fall on either side, so shares
 * and counts are held together as distributions. */
static void compare_pairs(struct compare *c, const actscope_correlation *got, const actscope_correlation *want, uint64_t samples) {
  const double slack = 2 * compare_r_slack(samples), pairs = (double)want->pairs;
  compare_count(c, "correlation.method", got->method, want->method);
  compare_count(c, "correlation.pairs", got->pairs, want->pairs);
  compare_count(c, "correlation.pairs_total", got->pairs_total, want->pairs_total);
  compare_count(c, "correlation.valid_features", got->valid_features, want->valid_features);
  compare_value(c, "mean_abs", got->mean_abs, want->mean_abs, slack, 0);
  compare_value(c, "ci95[0]", got->mean_abs_ci95[0], want->mean_abs_ci95[0], 2 * slack, 0);
  compare_value(c, "ci95[1]", got->mean_abs_ci95[1], want->mean_abs_ci95[1], 2 * slack, 0);
  compare_value(c, "mean_square", got->mean_square, want->mean_square, 2 * slack, 0);
  compare_value(c, "max_abs", got->max_abs, want->max_abs, slack, 0);
  compare_value(c, "noise_floor", got->noise_floor, want->noise_floor, 0, 1e-13);
  compare_value(c, "adjusted_rms^2", got->adjusted_rms * got->adjusted_rms, want->adjusted_rms * want->adjusted_rms, 4 * slack, 0);
  for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t) compare_value(c, "above", got->above[t], want->above[t], pairs > 0 ? 0.02 + 2 / pairs : 0, 0);
  uint64_t total = 0;
  double apart = 0;
  for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) {
    total += got->histogram[k];
    apart += fabs((double)got->histogram[k] - (double)want->histogram[k]);
  }
  uint64_t all = 0;
  for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) all += want->histogram[k];
  compare_count(c, "histogram, all of it", total, all);
  compare_between(c, "histogram, moved", apart, 0, 4 + 0.04 * pairs);
}

static void compare_reports(const char *name, const actscope_layer_report *got, const actscope_layer_report *want) {
  struct compare c;
  compare_begin(&c, "%s", name);
  compare_count(&c, "status", got->status, want->status);
  compare_count(&c, "statistics", got->statistics, want->statistics);
  compare_count(&c, "warnings", got->warnings, want->warnings);
  compare_count(&c, "dtype", got->dtype, want->dtype);
  compare_count(&c, "elements", got->elements, want->elements);
  compare_count(&c, "samples", got->samples, want->samples);
  compare_count(&c, "features", got->features, want->features);
  if (want->elements) {
    if (want->statistics & ACTSCOPE_PROFILE) compare_profile(&c, &got->profile, &want->profile, want->dtype, want->statistics);
    /* integers and what is a function of integers alone: the same bits */
    compare_bytes(&c, "quantiles", got->profile.quantiles, want->profile.quantiles, sizeof got->profile.quantiles);
    compare_count(&c, "distinct.method", got->distinct.method, want->distinct.method);
    compare_count(&c, "distinct.count", got->distinct.count, want->distinct.count);
    compare_count(&c, "distinct.lower", got->distinct.lower, want->distinct.lower);
    compare_count(&c, "distinct.upper", got->distinct.upper, want->distinct.upper);
    compare_value(&c, "distinct.error", got->distinct.relative_standard_error, want->distinct.relative_standard_error, 1e-9, 1e-9);
    compare_value(&c, "distinct.redundancy", got->distinct.redundancy, want->distinct.redundancy, 1e-15, 0);
    compare_bytes(&c, "health", &got->health, &want->health, sizeof got->health);
    if (want->statistics & ACTSCOPE_CORRELATION) compare_pairs(&c, &got->correlation, &want->correlation, want->samples);
    if (want->statistics & ACTSCOPE_RANK) compare_rank(&c, &got->rank, &want->rank);
    if (want->statistics & ACTSCOPE_SIMILARITY) compare_similarity(&c, &got->similarity, &want->similarity);
  } else {
    compare_bytes(&c, "profile", &got->profile, &want->profile, sizeof got->profile);
    compare_bytes(&c, "distinct", &got->distinct, &want->distinct, sizeof got->distinct);
  }
  note(compare_end(&c) == 0, __LINE__, "%s", c.text);
}

/* The reports of the CPU, layer by layer, for the same options. */
static actscope_layer_report *cpu_reports(const struct network *n, actscope_options o) {
  actscope_layer_report *r = calloc(n->count + 1, sizeof *r);
  o.device = ACTSCOPE_DEVICE_CPU;
  o.memory_budget = 1ull << 30;
  actscope_plan *p = plan_of(n, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, n->here, n->count, NULL), ACTSCOPE_OK);
  for (size_t i = 0; p && i < n->count; ++i) CHECK_STATUS(actscope_plan_report(p, i, &r[i]), ACTSCOPE_OK);
  actscope_plan_destroy(p);
  return r;
}

static void check_all(actscope_plan *p, const struct network *n, const actscope_layer_report *want) {
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  for (size_t i = 0; i < n->count; ++i) {
    actscope_layer_report got;
    CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
    note(isnan(got.seconds), __LINE__, "%s: seconds %g", n->names[i], got.seconds);
    compare_reports(n->names[i], &got, &want[i]);
  }
}

/* Every content, type and layout, more layers than one table takes, empty ones among them. */
static struct network *everything(void) {
  struct network *n = network_new();
  for (int i = 0; i < (small ? 24 : 60); ++i)
    network_add(n, (enum data_kind)(i % DATA_KINDS), types[i % 6], i % 29 == 28 ? 0 : (uint64_t)(5 + i % 25),
                (uint64_t)(1 + i * 7 % 41), (enum data_layout)(i / 3 % LAYOUTS));
  return n;
}

/* ---- Tests ------------------------------------------------------------------------------------------------------------- */

static void test_reports(void) {
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_plan *p = plan_of(n, &o);
  CHECK(actscope_plan_device(p) == ACTSCOPE_DEVICE_CUDA);
  CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_NOT_READY);
  for (int round = 0; round < 2; ++round) {
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    check_all(p, n, want);
  }
  actscope_plan_destroy(p);
  free(want);
  network_free(n);
}

static void test_statistics(void) { /* each part alone; what was not asked for is as the CPU leaves it */
  static const uint32_t parts[] = {ACTSCOPE_MOMENTS, ACTSCOPE_ENTROPY, ACTSCOPE_QUANTILES, ACTSCOPE_DISTINCT,
                                   ACTSCOPE_MOMENTS | ACTSCOPE_DISTINCT};
  struct network *n = network_new();
  for (int i = 0; i < 12; ++i)
    network_add(n, i % 2 ? DATA_SPECIALS : DATA_RELU, types[i % 6], 23, 17, LAYOUT_ROWS);
  for (size_t k = 0; k < sizeof parts / sizeof *parts; ++k) {
    actscope_options o = cuda_options();
    o.statistics = parts[k];
    actscope_layer_report *want = cpu_reports(n, o);
    actscope_plan *p = plan_of(n, &o);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    check_all(p, n, want);
    actscope_plan_destroy(p);
    free(want);
  }
  network_free(n);
}

/* Features: more samples than features and fewer, every method, both orders of strides. */
static struct network *feature_network(void) {
  static const enum data_kind kinds[] = {DATA_NORMAL, DATA_FACTORS, DATA_CONSTANT_COLUMNS, DATA_SPECIALS, DATA_CONSTANT, DATA_INTEGERS};
  struct network *n = network_new();
  for (int i = 0; i < (small ? 6 : 18); ++i)
    network_add(n, kinds[i % 6], types[i % 6], (uint64_t)(i % 4 == 3 ? 60 : 9 + i % 7), (uint64_t)(i % 4 == 3 ? 7 : 20 + i * 11 % 90),
                (enum data_layout)(i * 5 % LAYOUTS));
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 2, 5, LAYOUT_ROWS);
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 1, 5, LAYOUT_ROWS);
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 11, 1, LAYOUT_ROWS);
  return n;
}
/* Steps down the ladder that `may` allows are taken out of a report, once what they say is true. */
static void step_up(const char *name, actscope_layer_report *got, const actscope_layer_report *want, uint32_t may) {
  const uint32_t more = got->warnings & ~want->warnings & may;
  got->warnings &= ~more;
  if (!(more & ACTSCOPE_WARN_NO_EFFECTIVE_RANK)) return;
  note(isnan(got->rank.effective_rank), __LINE__, "%s: effective rank %g in spite of the warning", name, got->rank.effective_rank);
  got->rank.effective_rank = want->rank.effective_rank;
}
static void features_with(actscope_options o, const struct network *n, uint32_t may) {
  o.same_pairs = 1; /* in both rounds */
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_plan *p = plan_of(n, &o);
  for (int round = 0; round < 2; ++round) {
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    for (size_t i = 0; i < n->count; ++i) {
      actscope_layer_report got;
      CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
      step_up(n->names[i], &got, &want[i], may);
      compare_reports(n->names[i], &got, &want[i]);
    }
  }
  actscope_plan_destroy(p);
  free(want);
}
static void test_features(void) {
  struct network *n = feature_network();
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_ALL;
  features_with(o, n, 0);
  uint64_t least;
  CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &least), ACTSCOPE_OK);
  o.memory_budget = least; /* a layer at a time */
  features_with(o, n, ACTSCOPE_WARN_NO_EFFECTIVE_RANK);
  network_free(n);
}
static void test_feature_parts(void) { /* each part alone, each method */
  struct network *n = feature_network();
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_HEALTH;
  features_with(o, n, 0);
  o.statistics = ACTSCOPE_RANK;
  features_with(o, n, 0);
  o.statistics = ACTSCOPE_SIMILARITY;
  features_with(o, n, 0);
  o.statistics = ACTSCOPE_CORRELATION;
  o.correlation = ACTSCOPE_CORRELATION_GRAM;
  features_with(o, n, 0);
  o.correlation = ACTSCOPE_CORRELATION_SAMPLED;
  o.pairs = 150;
  o.seed = 12345;
  features_with(o, n, 0);
  o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_RANK; /* all pairs as well, for the rank of few features */
  features_with(o, n, 0);
  o.pair_functionals = ACTSCOPE_PAIRS_ABOVE;
  o.pairs = 1000000;
  o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_HEALTH;
  features_with(o, n, 0);
  network_free(n);
}

/* Too little memory for all z-scores: strips, which change no bit of what single pairs say. */
static void test_strips(void) {
  static const struct {
    uint64_t samples, features, pairs;
    actscope_correlation_method method;
    uint32_t statistics;
  } cases[] = {{12, 700, 0, ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_ALL},
               {12, 700, 20000, ACTSCOPE_CORRELATION_SAMPLED, ACTSCOPE_ALL},
               {40, 650, 0, ACTSCOPE_CORRELATION_GRAM, ACTSCOPE_CORRELATION | ACTSCOPE_RANK},
               {40, 650, 0, ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_RANK},
               {450, 400, 0, ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_ALL},
               {450, 400, 1000, ACTSCOPE_CORRELATION_SAMPLED, ACTSCOPE_ALL},
               {450, 400, 0, ACTSCOPE_CORRELATION_GRAM, ACTSCOPE_CORRELATION | ACTSCOPE_RANK}};
  const uint32_t ladder = ACTSCOPE_WARN_STRIPS | ACTSCOPE_WARN_NO_EFFECTIVE_RANK;
  for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k) {
    if (small && k % 3) continue;
    struct network *n = network_new();
    network_add(n, DATA_HUBS, ACTSCOPE_FLOAT32, cases[k].samples, cases[k].features, LAYOUT_ROWS);
    network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 9, 20, LAYOUT_ROWS);
    network_add(n, DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, cases[k].samples, cases[k].features - 19, LAYOUT_COLUMNS);
    actscope_options o = cuda_options();
    o.statistics = cases[k].statistics, o.correlation = cases[k].method, o.pairs = cases[k].pairs, o.same_pairs = 1, o.precision = k % 2 ? ACTSCOPE_PRECISION_FP32 : o.precision;
    actscope_layer_report *want = cpu_reports(n, o), whole[3];
    uint64_t least = 0;
    CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &least), ACTSCOPE_OK);
    for (int step = 0; step < 4; ++step) { /* all at once; the shortest strips twice, recorded the second time; longer ones */
      o.memory_budget = step == 0 ? 256ull << 20 : step < 3 ? least : least + 50000;
      actscope_plan *p = plan_of(n, &o);
      size_t bytes = 0;
      CHECK_STATUS(actscope_plan_workspace(p, &bytes, NULL), ACTSCOPE_OK);
      note(bytes <= o.memory_budget, __LINE__, "workspace of %zu bytes, budget %llu", bytes, (unsigned long long)o.memory_budget);
      if (step == 2) {
        CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
        CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
        CHECK(hook_capture_begin(hook_stream(0)) == 0);
      }
      CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      if (step == 2) {
        CHECK(hook_capture_end(hook_stream(0)) == 0);
        CHECK(hook_replay() == 0);
      }
      CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
      for (size_t i = 0; i < n->count; ++i) {
        actscope_layer_report got;
        CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
        note(step == 3 || !(got.warnings & ACTSCOPE_WARN_STRIPS) == (step == 0 || i == 1), __LINE__, "case %zu, step %d, %s: warnings %x", k, step,
             n->names[i], got.warnings);
        step_up(n->names[i], &got, &want[i], step ? ladder : 0);
        compare_reports(n->names[i], &got, &want[i]);
        if (step == 0) whole[i] = got;
        else if (cases[k].method != ACTSCOPE_CORRELATION_GRAM)
          note(memcmp(&got.correlation, &whole[i].correlation, sizeof got.correlation) == 0, __LINE__,
               "case %zu, step %d, %s: other bits in strips", k, step, n->names[i]);
      }
      actscope_plan_destroy(p);
    }
    free(want);
    network_free(n);
  }
}

static void test_large_plans(void) { /* wide layers in little memory: planned, not run */
  static const struct {
    int64_t features;
    uint64_t budget;
    int strips;
  } cases[] = {{1048576, 768ull << 20, 0}, {1048576, 64ull << 20, 1}, {65536, 64ull << 20, 0}, {65536, 8ull << 20, 1}, {8192, 8ull << 20, 0},
               {8192, 3ull << 20, 1}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k)
    for (int method = ACTSCOPE_CORRELATION_AUTO; method <= ACTSCOPE_CORRELATION_GRAM; ++method) {
      actscope_options o;
      actscope_options_init(&o);
      o.device = ACTSCOPE_DEVICE_CUDA;
      o.distinct = ACTSCOPE_DISTINCT_SKETCH;
      o.correlation = (actscope_correlation_method)method;
      o.memory_budget = cases[k].budget;
      const int64_t shape[] = {128, cases[k].features};
      const actscope_layer layer = {.name = "wide", .dtype = ACTSCOPE_FLOAT32, .ndim = 2, .shape = shape};
      actscope_plan *p = NULL;
      size_t bytes = 0;
      uint64_t least = 0;
      CHECK_STATUS(actscope_plan_create(&p, &layer, 1, &o), ACTSCOPE_OK);
      if (!p) continue;
      CHECK_STATUS(actscope_plan_workspace(p, &bytes, NULL), ACTSCOPE_OK);
      note(bytes <= cases[k].budget, __LINE__, "128 x %lld: %zu bytes", (long long)cases[k].features, bytes);
      CHECK_STATUS(actscope_minimum_budget(&layer, 1, &o, &least), ACTSCOPE_OK);
      note(least <= cases[k].budget, __LINE__, "128 x %lld: at least %llu bytes", (long long)cases[k].features, (unsigned long long)least);
      if (cases[k].strips) CHECK(bytes < 128ull * (uint64_t)cases[k].features * 4); /* of the z-scores alone */
      actscope_plan_destroy(p);
    }
}

/* n values that all belong to the first pass of what counts them in the least memory: it overflows. */
static void network_add_crowd(struct network *n, actscope_dtype dtype, uint64_t count, enum data_layout layout) {
  const uint32_t passes = actscope_cuda_distinct_shape(dtype, count, actscope_cuda_distinct_least(dtype, count)).passes;
  double *x = calloc(count, sizeof *x);
  struct random_state r = {count};
  CHECK(passes > 1);
  for (uint64_t i = 0; i < count;) {
    const uint64_t bits = random_next(&r);
    const double v = dtype == ACTSCOPE_FLOAT64 ? core_f64(bits) : (double)core_f32((uint32_t)bits);
    const uint32_t key = dtype == ACTSCOPE_FLOAT64 ? distinct_hash64(v) : distinct_hash32((float)v);
    if (fabs(v) < 1e18 && fabs(v) > 1e-18 && (uint64_t)key * passes >> 32 == 0) x[i++] = v;
  }
  x[7] = x[count - 1] = -0.0, x[count / 2] = NAN;
  network_add_values(n, "crowd", x, dtype, count / 4, 4, layout);
  free(x);
}
static void test_distinct(void) { /* exact counts: in one pass, in several, where passes overflow */
  static const actscope_dtype some[] = {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT64, ACTSCOPE_FLOAT8_E4M3};
  struct network *n = network_new(); /* without 16-bit types, whose histograms would set the least memory */
  for (int i = 0; i < (small ? 20 : 80); ++i)
    network_add(n, (enum data_kind)(i % DATA_KINDS), some[i % 7 % 3], i % 29 == 28 ? 0 : (uint64_t)(5 + i % 25),
                (uint64_t)(1 + i * 7 % 41), (enum data_layout)(i / 3 % LAYOUTS));
  const uint64_t count = small ? 16400 : 20000;
  network_add_crowd(n, ACTSCOPE_FLOAT32, count, LAYOUT_PADDED);
  network_add_crowd(n, ACTSCOPE_FLOAT64, count, LAYOUT_MISALIGNED);
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 16400, 4, LAYOUT_ROWS); /* AUTO: the sketch */
  for (int step = 0; step < 4; ++step) {
    actscope_options o = cuda_options();
    o.distinct = step ? ACTSCOPE_DISTINCT_EXACT : ACTSCOPE_DISTINCT_AUTO;
    if (step == 1) o.statistics = ACTSCOPE_DISTINCT;
    if (step == 2) o.statistics |= ACTSCOPE_HEALTH;
    actscope_layer_report *want = cpu_reports(n, o), got;
    if (step >= 1) CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &o.memory_budget), ACTSCOPE_OK);
    if (step == 3) o.memory_budget += 100000; /* a pass for most */
    actscope_plan *p = plan_of(n, &o);
    for (int round = 0; round < (step == 1 ? 2 : 1); ++round) {
      CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
      for (size_t i = 0; i < n->count; ++i) {
        CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
        const int passes = (got.warnings & ACTSCOPE_WARN_DISTINCT_PASSES) != 0;
        if (step < 2 && i + 3 >= n->count) note(passes == step, __LINE__, "%s: step %d, passes %d", n->names[i], step, passes);
        /* the CPU has more memory, and other values crowd its partitions */
        got.warnings &= ~(uint32_t)ACTSCOPE_WARN_DISTINCT_PASSES, want[i].warnings &= ~(uint32_t)ACTSCOPE_WARN_DISTINCT_PASSES;
        compare_reports(n->names[i], &got, &want[i]);
      }
    }
    actscope_plan_destroy(p);
    free(want);
  }
  network_free(n);
}

/* From everything at once to one layer at a time. Layers that share a launch share out its blocks, so sums may round
 * differently with another budget; with the same one the bits are the same. */
static void test_budgets(void) {
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o), *before = calloc(n->count, sizeof *before);
  uint64_t least = 0;
  CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &least), ACTSCOPE_OK);
  for (int step = 0; step < 4; ++step) {
    size_t bytes = 0;
    o.memory_budget = step < 2 ? least : step == 2 ? least + 700000 : 256ull << 20;
    actscope_plan *p = plan_of(n, &o);
    CHECK_STATUS(actscope_plan_workspace(p, &bytes, NULL), ACTSCOPE_OK);
    note(bytes <= o.memory_budget, __LINE__, "workspace of %zu bytes, budget %llu", bytes, (unsigned long long)o.memory_budget);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    check_all(p, n, want);
    for (size_t i = 0; i < n->count; ++i) {
      actscope_layer_report r;
      CHECK_STATUS(actscope_plan_report(p, i, &r), ACTSCOPE_OK);
      if (step == 1) note(memcmp(&before[i], &r, sizeof r) == 0, __LINE__, "%s: other bits the second time", n->names[i]);
      before[i] = r;
    }
    actscope_plan_destroy(p);
  }
  actscope_plan *p;
  o.memory_budget = least - 1;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, n->count, &o), ACTSCOPE_BUDGET_TOO_SMALL);
  char text[32];
  snprintf(text, sizeof text, "%llu bytes", (unsigned long long)least);
  note(strstr(actscope_last_error(), text) != NULL, __LINE__, "the text does not name %s: %s", text, actscope_last_error());
  free(before), free(want);
  network_free(n);
}

static void test_workspace(void) { /* the caller's, of exactly the size, poisoned and guarded */
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o);
  o.memory_budget = 4 << 20;
  actscope_plan *p = plan_of(n, &o);
  size_t bytes = 0, alignment = 0;
  CHECK_STATUS(actscope_plan_workspace(p, &bytes, &alignment), ACTSCOPE_OK);
  void *memory = NULL;
  CHECK(actscope_cuda_allocate(&memory, bytes + 2 * GUARD) == 0);
  unsigned char *pattern = malloc(bytes + 2 * GUARD), *seen = malloc(bytes + 2 * GUARD);
  memset(pattern, 0xFF, bytes + 2 * GUARD);
  CHECK_STATUS(actscope_plan_bind(p, (char *)memory + GUARD, bytes - 1), ACTSCOPE_WORKSPACE_TOO_SMALL);
  CHECK_STATUS(actscope_plan_bind(p, (char *)memory + GUARD + 64, bytes), ACTSCOPE_INVALID_ARGUMENT);
  for (int poison = 0; poison < 2; ++poison) {
    memset(pattern, poison ? POISON_ODD : POISON_NAN, bytes + 2 * GUARD);
    CHECK(actscope_cuda_upload(memory, pattern, bytes + 2 * GUARD, hook_stream(0)) == 0);
    CHECK_STATUS(actscope_plan_bind(p, (char *)memory + GUARD, bytes), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    check_all(p, n, want);
    hook_download(seen, memory, bytes + 2 * GUARD);
    CHECK(memcmp(seen, pattern, GUARD) == 0);
    CHECK(memcmp(seen + GUARD + bytes, pattern + GUARD + bytes, GUARD) == 0);
    CHECK(memcmp(seen + GUARD, pattern + GUARD, bytes) != 0);
  }
  actscope_plan_destroy(p);
  actscope_cuda_release(memory, bytes + 2 * GUARD);
  free(pattern), free(seen), free(want);
  network_free(n);
}

static void test_host_data(void) { /* tensors in host memory, some or all */
  struct network *n = network_new();
  for (int i = 0; i < 24; ++i)
    network_add(n, i % 3 ? DATA_NORMAL : DATA_OUTLIERS, types[i % 6], 9 + (uint64_t)i, 13, (enum data_layout)(i % LAYOUTS));
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_plan *p = plan_of(n, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, n->here, n->count, hook_stream(0)), ACTSCOPE_OK);
  check_all(p, n, want);
  actscope_tensor mixed[MOST];
  for (size_t i = 0; i < n->count; ++i) mixed[i] = i % 5 == 2 ? n->here[i] : n->there[i];
  CHECK_STATUS(actscope_plan_enqueue(p, mixed, n->count, hook_stream(0)), ACTSCOPE_OK);
  check_all(p, n, want);
  actscope_plan_destroy(p);
  for (size_t i = 0; i < n->count; i += 7) {
    actscope_layer_report r;
    CHECK_STATUS(actscope_analyze(&n->here[i], &o, &r), ACTSCOPE_OK);
    compare_reports(n->names[i], &r, &want[i]);
  }
  free(want);
  network_free(n);
}

static void test_skipping(void) { /* a skipped layer keeps its report; layers alone, in any order */
  struct network *n = network_new();
  for (int i = 0; i < 70; ++i) network_add(n, DATA_NORMAL, types[i % 6], 20, 3 + (uint64_t)i % 5, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o), r;
  actscope_plan *p = plan_of(n, &o);
  actscope_tensor some[MOST];
  for (size_t i = 0; i < n->count; ++i) {
    some[i] = n->there[i];
    if (i % 2) some[i].data = NULL;
  }
  CHECK_STATUS(actscope_plan_enqueue(p, some, n->count, hook_stream(0)), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_report(p, 1, &r), ACTSCOPE_NOT_READY);
  for (size_t k = 0; k < n->count; ++k) {
    size_t i = k * 37 % n->count;
    if (i % 2) CHECK_STATUS(actscope_plan_enqueue_layer(p, i, &n->there[i], hook_stream(0)), ACTSCOPE_OK);
  }
  check_all(p, n, want);
  /* other data for the even ones alone: the odd ones stay */
  for (size_t i = 0; i < n->count; i += 2) some[i].data = n->there[i % 6].data;
  CHECK_STATUS(actscope_plan_enqueue(p, some, n->count, hook_stream(0)), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  for (size_t i = 1; i < n->count; i += 2) {
    CHECK_STATUS(actscope_plan_report(p, i, &r), ACTSCOPE_OK);
    compare_reports(n->names[i], &r, &want[i]);
  }
  for (size_t i = 0; i < n->count; ++i) some[i].data = NULL;
  CHECK_STATUS(actscope_plan_enqueue(p, some, n->count, hook_stream(0)), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_OK);
  actscope_plan_destroy(p);
  free(want);
  network_free(n);
}

static void test_two_plans(void) { /* on two streams, at once */
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_plan *p[2] = {plan_of(n, &o), plan_of(n, &o)};
  for (int round = 0; round < 2; ++round) {
    for (int k = 0; k < 2; ++k) CHECK_STATUS(actscope_plan_enqueue(p[k], n->there, n->count, hook_stream(k)), ACTSCOPE_OK);
    for (int k = 1; k >= 0; --k) check_all(p[k], n, want);
  }
  actscope_plan_destroy(p[0]);
  actscope_plan_destroy(p[1]);
  free(want);
  network_free(n);
}

static void test_capture(void) { /* an enqueue becomes a graph: no allocation, no wait; each replay is a new report */
  struct network *n = everything();
  actscope_options o = cuda_options();
  o.memory_budget = 6 << 20; /* several waves */
  actscope_layer_report *want = cpu_reports(n, o), r;
  actscope_plan *p = plan_of(n, &o);
  struct CUstream_st *stream = hook_stream(0);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, stream), ACTSCOPE_OK);
  check_all(p, n, want);
  CHECK(hook_capture_begin(stream) == 0);
  unsigned long before = hook_synchronous();
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, stream), ACTSCOPE_OK);
  CHECK(hook_synchronous() == before);
  CHECK(hook_capture_end(stream) == 0);
  CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_NOT_READY);
  CHECK_STATUS(actscope_plan_report(p, 0, &r), ACTSCOPE_NOT_READY);
  CHECK(hook_replay() == 0);
  check_all(p, n, want);
  /* the first layer's data change under the graph */
  const struct guarded *g = &n->host[0].memory;
  char *zeros = calloc(1, g->bytes);
  CHECK(actscope_cuda_upload((char *)n->device[0] + (uintptr_t)g->data % 256, zeros, g->bytes, stream) == 0);
  CHECK(hook_replay() == 0);
  CHECK_STATUS(actscope_plan_report(p, 0, &r), ACTSCOPE_OK);
  note(r.profile.zero == r.elements && r.profile.max == 0, __LINE__, "a replay over zeros counts %llu of %llu",
       (unsigned long long)r.profile.zero, (unsigned long long)r.elements);
  CHECK_STATUS(actscope_plan_report(p, 1, &r), ACTSCOPE_OK);
  compare_reports(n->names[1], &r, &want[1]);
  CHECK(actscope_cuda_upload((char *)n->device[0] + (uintptr_t)g->data % 256, g->data, g->bytes, stream) == 0);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, stream), ACTSCOPE_OK);
  check_all(p, n, want);
  CHECK(hook_capture_begin(stream) == 0);
  CHECK_STATUS(actscope_plan_enqueue(p, n->here, n->count, stream), ACTSCOPE_INVALID_ARGUMENT);
  hook_capture_end(stream);
  actscope_plan_destroy(p);
  free(zeros), free(want);
  network_free(n);
}

static void test_refusals(void) {
  struct network *n = network_new();
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 12, 9, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  actscope_plan *p = (actscope_plan *)n;
  o.device_index = 63;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, 1, &o), ACTSCOPE_NO_DEVICE);
  CHECK(p == NULL);
  o.device_index = 0;
  /* a set of distinct values cannot be carried from step to step: refused by the name of the layer */
  o.window = 4, o.distinct = ACTSCOPE_DISTINCT_EXACT;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, 1, &o), ACTSCOPE_UNSUPPORTED);
  CHECK(strstr(actscope_last_error(), n->names[0]) != NULL);
  o.device = ACTSCOPE_DEVICE_AUTO;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, 1, &o), ACTSCOPE_UNSUPPORTED);
  o.distinct = ACTSCOPE_DISTINCT_AUTO;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, 1, &o), ACTSCOPE_OK);
  CHECK(p && actscope_plan_device(p) == ACTSCOPE_DEVICE_CUDA);
  actscope_plan_destroy(p);
  actscope_device_info list[8];
  size_t count = 0;
  CHECK_STATUS(actscope_devices(list, 8, &count), ACTSCOPE_OK);
  CHECK(count >= 2 && list[1].device == ACTSCOPE_DEVICE_CUDA && list[1].units > 0 && list[1].name[0]);
  CHECK(actscope_no_gpu_reason()[0] == 0);
  network_free(n);
}

/* ---- Under sim alone ------------------------------------------------------------------------------------------------------ */

static void test_running(void) { /* work that has not run yet */
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o), r;
  actscope_plan *p = plan_of(n, &o);
  const int order = hook_order(HOOK_LATE);
  for (int round = 0; round < 3; ++round) {
    CHECK_STATUS(actscope_plan_enqueue(p, round == 1 ? n->here : n->there, n->count, NULL), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_NOT_READY);
    CHECK_STATUS(actscope_plan_report(p, 0, &r), ACTSCOPE_NOT_READY);
    if (round == 2) hook_drain();
    if (round == 2) CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_OK);
    check_all(p, n, want);
  }
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, NULL), ACTSCOPE_OK);
  actscope_plan_destroy(p); /* waits: the records are still to be written */
  hook_order(order);
  free(want);
  network_free(n);
}

static void test_failing_calls(void) { /* every call of the runtime fails once: an error, nothing lost, and on it goes */
  struct network *n = network_new();
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 12, 9, LAYOUT_ROWS);
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT16, 12, 9, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_tensor mixed[2] = {n->there[0], n->here[1]};
  const size_t held = hook_held();
  const uint64_t host = actscope_memory_held();
  int failed = 0;
  for (long k = 1; k < 100; ++k) {
    actscope_plan *p = NULL;
    hook_fail(k, k % 2 ? 2 : 719);
    actscope_status status = actscope_plan_create(&p, n->layers, 2, &o);
    if (!status) status = actscope_plan_enqueue(p, mixed, 2, NULL);
    if (!status) status = actscope_plan_wait(p);
    hook_fail(0, 0);
    failed += status != ACTSCOPE_OK;
    if (status) note(status == ACTSCOPE_OUT_OF_MEMORY || status == ACTSCOPE_DEVICE_ERROR, __LINE__, "call %ld fails as %s: %s", k,
                     actscope_status_name(status), actscope_last_error());
    if (p) {
      CHECK_STATUS(actscope_plan_enqueue(p, mixed, 2, NULL), ACTSCOPE_OK);
      check_all(p, n, want);
    }
    actscope_plan_destroy(p);
    note(hook_held() == held && actscope_memory_held() == host, __LINE__, "call %ld loses memory", k);
    if (status == ACTSCOPE_OK) break;
  }
  note(failed >= 8, __LINE__, "%d calls failed", failed);
  free(want);
  network_free(n);
}

static void test_broken_device(void) { /* the device fails while it runs: at the poll, with the layers' names */
  struct network *n = network_new();
  network_add(n, DATA_NORMAL, ACTSCOPE_FLOAT32, 12, 9, LAYOUT_ROWS);
  network_add(n, DATA_RELU, ACTSCOPE_FLOAT32, 12, 9, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o), r;
  actscope_plan *p = plan_of(n, &o);
  const int order = hook_order(HOOK_LATE);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, 2, NULL), ACTSCOPE_OK);
  hook_break(719);
  hook_drain();
  for (int again = 0; again < 2; ++again) {
    CHECK_STATUS(actscope_plan_poll(p), ACTSCOPE_DEVICE_ERROR);
    note(strstr(actscope_last_error(), n->names[0]) && strstr(actscope_last_error(), "launch failure"), __LINE__, "text: %s",
         actscope_last_error());
  }
  CHECK_STATUS(actscope_plan_report(p, 0, &r), ACTSCOPE_DEVICE_ERROR);
  hook_break(0);
  hook_order(order);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, 2, NULL), ACTSCOPE_OK);
  check_all(p, n, want);
  actscope_plan_destroy(p);
  free(want);
  network_free(n);
}

static void test_no_driver(void) { /* in a process of its own: what there is, is asked once */
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    actscope_options o = cuda_options();
    actscope_plan *p;
    int64_t shape[] = {4, 4};
    actscope_layer layer = {"x", ACTSCOPE_FLOAT32, 2, shape};
    size_t count = 0;
    failures = 0;
    hook_no_driver();
    CHECK_STATUS(actscope_plan_create(&p, &layer, 1, &o), ACTSCOPE_NO_DEVICE);
    CHECK(strstr(actscope_last_error(), "no NVIDIA driver") != NULL);
    o.device = ACTSCOPE_DEVICE_AUTO;
    CHECK_STATUS(actscope_plan_create(&p, &layer, 1, &o), ACTSCOPE_OK);
    CHECK(p && actscope_plan_device(p) == ACTSCOPE_DEVICE_CPU);
    actscope_plan_destroy(p);
    CHECK(strstr(actscope_no_gpu_reason(), "no NVIDIA driver") != NULL);
    CHECK_STATUS(actscope_devices(NULL, 0, &count), ACTSCOPE_OK);
    CHECK(count == 1);
    fflush(stdout);
    _exit(failures > 0);
  }
  int status = 1;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

/* ---- Running them ---------------------------------------------------------------------------------------------------------- */

#include "gpu/test_correlations.h"
#include "gpu/test_steps.h"
#include "gpu/test_streams.h"

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(void);
    int sim_alone;
  } tests[] = {{"no driver", test_no_driver, 1},       {"refusals", test_refusals, 0},
               {"reports", test_reports, 0},           {"statistics", test_statistics, 0},
               {"features", test_features, 0},         {"feature parts", test_feature_parts, 0},
               {"each feature", test_told, 0},         {"each feature in windows", test_told_windows, 0},
               {"distinct", test_distinct, 0},         {"strips", test_strips, 0},
               {"large plans", test_large_plans, 0},   {"budgets", test_budgets, 0},
               {"workspace", test_workspace, 0},       {"host data", test_host_data, 0},
               {"skipping", test_skipping, 0},
               {"two plans", test_two_plans, 0},       {"capture", test_capture, 0},
               {"samples", test_samples, 0},           {"streams", test_streams, 0},           {"other stream", test_other_stream, 0}, {"chains apart", test_chains_apart, 0},
               {"windows", test_windows, 0},           {"history", test_history, 0},
               {"alarm", test_alarm, 0},               {"graph", test_graph, 0},
               {"own options", test_own_options, 0},   {"reshape", test_reshape, 0},
               {"memory", test_memory, 0},             {"graph failures", test_graph_failures, 1},
               {"running", test_running, 1},           {"failing calls", test_failing_calls, 1},
               {"broken device", test_broken_device, 1}};
  int passed = 0, failed = 0;
  small = getenv("SIM_SMALL") != NULL || getenv("ACTSCOPE_TEST_SMALL") != NULL;
  hook_begin(argc > 1 ? argv[1] : NULL);
  for (size_t i = 0; i < sizeof tests / sizeof *tests; ++i) {
    if (tests[i].sim_alone && !hook_sim()) continue;
    if (argc > 2 && strcmp(argv[2], tests[i].name) != 0) continue;
    if (!tests[i].sim_alone && actscope_no_gpu_reason()[0]) { /* asked after the process without a driver was made */
      const char *must = getenv("ACTSCOPE_REQUIRE_GPU");
      printf("*** NO GPU: nothing was run on a device (%s) ***\n", actscope_no_gpu_reason());
      if (must && strcmp(must, "1") == 0) {
        printf("0 passed, 1 failed\n");
        return 1;
      }
      printf("0 passed, 0 failed, 1 skipped\n");
      return 77;
    }
    failures = 0;
    tests[i].run();
    if (failures) printf("  FAILED plan on a GPU: %s: %d checks\n", tests[i].name, failures), ++failed;
    else ++passed;
    fflush(stdout);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0;
}
