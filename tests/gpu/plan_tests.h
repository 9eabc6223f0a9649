/* plan_tests.h - what the tests of the plan on a GPU share: networks there and here, plans in lent memory, reports against the
 * CPU's. */
#ifndef GPU_PLAN_TESTS_H
#define GPU_PLAN_TESTS_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda/runtime.h"
#include "gpu/hooks.h"
#include "kernels.h"
#include "memory.h"
#include "reference/data.h"

/* The tests, which test_plan.c runs. */
void test_alarm(void);
void test_broken_device(void);
void test_budgets(void);
void test_capture(void);
void test_captured_ways(void);
void test_replays_count(void);
void test_chains_apart(void);
void test_cka(void);
void test_cka_budgets(void);
void test_cka_sizes(void);
void test_cka_steps(void);
void test_distinct(void);
void test_errors(void);
void test_errors_wgmma(void);
void test_failing_calls(void);
void test_feature_parts(void);
void test_features(void);
void test_graph(void);
void test_graph_failures(void);
void test_history(void);
void test_host_data(void);
void test_large_plans(void);
void test_large_tensor(void);
void test_memory(void);
void test_no_driver(void);
void test_nulls(void);
void test_nulls_alone(void);
void test_nulls_strips(void);
void test_nulls_windows(void);
void test_other_stream(void);
void test_order_of_pairs(void);
void test_own_options(void);
void test_pairs_kernel(void);
void test_refusals(void);
void test_reports(void);
void test_reshape(void);
void test_reshape_in_place(void);
void test_reshape_told(void);
void test_running(void);
void test_samples(void);
void test_skipping(void);
void test_statistics(void);
void test_streams(void);
void test_strips(void);
void test_told(void);
void test_told_windows(void);
void test_top(void);
void test_top_room(void);
void test_top_strips(void);
void test_two_plans(void);
void test_windows(void);
void test_workspace(void);

extern int failures; /* of the running test */
extern int small;    /* under the slowest sanitizer */

static inline void note(int ok, int line, const char *format, ...) {
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
static inline void network_add_values(struct network *n, const char *name, const double *x, actscope_dtype dtype, uint64_t samples,
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
  hook_upload((char *)n->device[k] + offset, g->data, g->bytes);
  n->there[k].data = (char *)n->device[k] + offset + ((const char *)t->data - (const char *)g->data);
}
static inline void network_add(struct network *n, enum data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features,
                        enum data_layout layout) {
  double *x = calloc(samples * features + 1, sizeof *x);
  data_fill(kind, n->count + 1, dtype, x, samples, features);
  network_add_values(n, data_kind_name(kind), x, dtype, samples, features, layout);
  free(x);
}
static inline uint64_t g_bytes(const struct network *n, size_t k) { /* of its copy on the device */
  const struct guarded *g = &n->host[k].memory;
  return g->bytes + (uintptr_t)g->data % 256;
}
static inline void network_free(struct network *n) {
  for (size_t k = 0; k < n->count; ++k) {
    note(guard_damage(&n->host[k].memory) == 0, __LINE__, "%s: bytes around the input were written", n->names[k]);
    actscope_cuda_release(n->device[k], g_bytes(n, k));
    data_free(&n->host[k]);
  }
  free(n);
}
static inline struct network *network_new(void) { return calloc(1, sizeof(struct network)); }

static inline actscope_options options_of(actscope_device device) {
  actscope_options o;
  actscope_options_init(&o);
  o.device = device;
  o.threads = 1;
  o.statistics = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
  o.distinct = ACTSCOPE_DISTINCT_SKETCH;
  o.sketch_bits = 6;
  return o;
}
static inline actscope_options cuda_options(void) { return options_of(ACTSCOPE_DEVICE_CUDA); }

/* A plan in memory of its own. */
static inline actscope_plan *own_plan_of(const struct network *n, const actscope_options *o) {
  actscope_plan *p = NULL;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, n->count, o), ACTSCOPE_OK);
  return p;
}
/* A plan that is lent exactly the memory it wants, poisoned and between guards, where it is on a GPU. plan_end() takes any
 * plan, looks at the guards, and frees all. */
actscope_plan *plan_of(const struct network *n, const actscope_options *o);
void plan_end(actscope_plan *p);

/* ---- Comparing --------------------------------------------------------------------------------------------------------- */

/* Against the CPU's: both are within compare_r_slack() of |r|; a count near a limit may fall on either side, so shares
 * and counts are held together as distributions. */
static inline void compare_pairs(struct compare *c, const actscope_correlation *got, const actscope_correlation *want, uint64_t samples) {
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
  compare_value(c, "split_half", got->split_half, want->split_half, 2 * slack, 0);
  compare_value(c, "split_half_rms^2", got->split_half_rms * got->split_half_rms, want->split_half_rms * want->split_half_rms, slack, 0);
  compare_value(c, "noise_floor_shift", got->noise_floor_shift, want->noise_floor_shift, slack, 0);
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

static inline void compare_reports(const char *name, const actscope_layer_report *got, const actscope_layer_report *want) {
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
static inline actscope_layer_report *cpu_reports(const struct network *n, actscope_options o) {
  actscope_layer_report *r = calloc(n->count + 1, sizeof *r);
  o.device = ACTSCOPE_DEVICE_CPU;
  o.memory_budget = 1ull << 30;
  actscope_plan *p = plan_of(n, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, n->here, n->count, NULL), ACTSCOPE_OK);
  for (size_t i = 0; p && i < n->count; ++i) CHECK_STATUS(actscope_plan_report(p, i, &r[i]), ACTSCOPE_OK);
  actscope_plan_destroy(p);
  return r;
}

static inline void check_all(actscope_plan *p, const struct network *n, const actscope_layer_report *want) {
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  for (size_t i = 0; i < n->count; ++i) {
    actscope_layer_report got;
    CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
    note(isnan(got.seconds), __LINE__, "%s: seconds %g", n->names[i], got.seconds);
    compare_reports(n->names[i], &got, &want[i]);
  }
}

/* Every content, type and layout, more layers than one table takes, empty ones among them. */
static inline struct network *everything(void) {
  struct network *n = network_new();
  for (int i = 0; i < (small ? 24 : 60); ++i)
    network_add(n, (enum data_kind)(i % DATA_KINDS), types[i % 6], i % 29 == 28 ? 0 : (uint64_t)(5 + i % 25),
                (uint64_t)(1 + i * 7 % 41), (enum data_layout)(i / 3 % LAYOUTS));
  return n;
}

/* Features: more samples than features and fewer, every method, both orders of strides. */
static inline struct network *feature_network(void) {
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

/* Three networks of the same shapes with other contents: three steps. */
enum { STEPS = 3 };

static inline struct network *step_of(int step) {
  struct network *n = network_new();
  for (int i = 0; i < (small ? 12 : 40); ++i) {
    enum data_kind kind = (enum data_kind)((i + 5 * step) % DATA_KINDS);
    if (kind == DATA_OFFSET) kind = DATA_NORMAL; /* two or three values in 16 bits: many r lie on a bin's limit exactly */
    network_add(n, kind, types[i % 6], (uint64_t)(5 + i % 25), (uint64_t)(1 + i * 7 % 41),
                (enum data_layout)(i / 3 % LAYOUTS));
  }
  return n;
}

/* Strides are free, but shapes are not: layouts give the same shape for the same sizes. */
static inline actscope_layer_report *cpu_windows(struct network **steps, int count, actscope_options o) {
  actscope_layer_report *r = calloc((size_t)STEPS * MOST, sizeof *r);
  o.device = ACTSCOPE_DEVICE_CPU;
  o.memory_budget = 1ull << 30;
  actscope_plan *p = plan_of(steps[0], &o);
  for (int k = 0; k < count; ++k) {
    CHECK_STATUS(actscope_plan_enqueue(p, steps[k % STEPS]->here, steps[0]->count, NULL), ACTSCOPE_OK);
    for (size_t i = 0; p && i < steps[0]->count && k < STEPS; ++i) CHECK_STATUS(actscope_plan_report(p, i, &r[(size_t)k * MOST + i]), ACTSCOPE_OK);
  }
  actscope_plan_destroy(p);
  return r;
}

/* The device writes words that round differently in the last digit: the same comparison as for one step, and the steps. */
static inline void check_steps(actscope_plan *p, const struct network *n, const actscope_layer_report *want, int line) {
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  for (size_t i = 0; i < n->count; ++i) {
    actscope_layer_report got;
    CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
    note(got.steps == want[i].steps && got.sequence == want[i].sequence, line, "%s: step %llu of the window, number %llu; not %llu, %llu",
         n->names[i], (unsigned long long)got.steps, (unsigned long long)got.sequence, (unsigned long long)want[i].steps,
         (unsigned long long)want[i].sequence);
    compare_reports(n->names[i], &got, &want[i]);
  }
}

#endif
