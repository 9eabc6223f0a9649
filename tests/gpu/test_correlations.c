/* test_correlations.c - what a plan on a GPU tells of single features and pairs, against the plan on the CPU. */
#include "gpu/plan_tests.h"

struct told { float *mean, *max; };
static struct told told_new(uint64_t features) {
  struct told t = {malloc((features + 1) * sizeof(float)), malloc((features + 1) * sizeof(float))};
  memset(t.mean, POISON_ODD, (features + 1) * sizeof(float));
  memset(t.max, POISON_ODD, (features + 1) * sizeof(float));
  return t;
}
static void told_free(struct told t) { free(t.mean), free(t.max); }
static uint64_t features_of(const struct network *n, size_t i) {
  uint64_t features = 1;
  for (int d = 1; d < n->there[i].ndim; ++d) features *= (uint64_t)n->there[i].shape[d];
  return features;
}
static struct told told_by(actscope_plan *p, const struct network *n, size_t i, int line) {
  const uint64_t features = features_of(n, i);
  struct told t = told_new(features);
  const actscope_status status = actscope_plan_feature_correlations(p, i, t.mean, t.max, features);
  note(status == ACTSCOPE_OK, line, "%s: %s", n->names[i], actscope_last_error());
  return t;
}
static void compare_told(const struct network *n, size_t i, struct told got, struct told want, int line) {
  const double slack = 2 * compare_r_slack((uint64_t)(n->there[i].ndim > 0 ? n->there[i].shape[0] : 1));
  struct compare c;
  compare_begin(&c, "%s", n->names[i]);
  for (uint64_t f = 0; f < features_of(n, i); ++f) {
    compare_value(&c, "mean_abs", got.mean[f], want.mean[f], slack, 0);
    compare_value(&c, "max_abs", got.max[f], want.max[f], slack, 0);
  }
  note(features_of(n, i) == 0 || compare_end(&c) == 0, line, "%s", c.text);
}

/* Every content and type; exact and sampled; the least memory gives the same bits, in strips where there are many features. */
void test_told(void) {
  struct network *n = feature_network();
  network_add(n, DATA_HUBS, ACTSCOPE_FLOAT32, 12, small ? 300 : 700, LAYOUT_ROWS);
  network_add(n, DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, 530, 290, LAYOUT_COLUMNS);
  for (int sampled = 0; sampled < 2; ++sampled)
    for (int single = 0; single < 2; ++single) {
      struct told first[MOST];
      actscope_options o = cuda_options(), cpu = options_of(ACTSCOPE_DEVICE_CPU);
      o.statistics = ACTSCOPE_CORRELATION | (single ? 0 : ACTSCOPE_RANK);
      o.pair_functionals = ACTSCOPE_PAIRS_FEATURES;
      o.precision = single ? ACTSCOPE_PRECISION_FP16 : ACTSCOPE_PRECISION_FP32;
      o.correlation = sampled ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, o.pairs = 1500, o.same_pairs = 1;
      cpu.statistics = o.statistics, cpu.pair_functionals = o.pair_functionals, cpu.correlation = o.correlation, cpu.pairs = o.pairs;
      cpu.memory_budget = 1ull << 30;
      actscope_plan *q = plan_of(n, &cpu);
      CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
      for (int least = 0; least < 2; ++least) {
        if (least) CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &o.memory_budget), ACTSCOPE_OK);
        actscope_plan *p = plan_of(n, &o);
        CHECK_STATUS(actscope_plan_feature_correlations(p, 0, NULL, NULL, features_of(n, 0)), ACTSCOPE_NOT_READY);
        for (int round = 0; round < 2; ++round) {
          CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
          CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
        }
        for (size_t i = 0; i < n->count; ++i) {
          const struct told got = told_by(p, n, i, __LINE__), want = told_by(q, n, i, __LINE__);
          const size_t bytes = features_of(n, i) * sizeof(float);
          if (!single) compare_told(n, i, got, want, __LINE__);
          for (uint64_t f = 0; single && f < features_of(n, i); ++f) /* one product of binary16: r by some 2^-12 / sqrt(N) */
            note(isnan(got.mean[f]) ? isnan(want.mean[f]) : fabs(got.mean[f] - want.mean[f]) < 2e-3, __LINE__, "%s, %llu: %g, want %g",
                 n->names[i], (unsigned long long)f, got.mean[f], want.mean[f]);
          if (least)
            note(memcmp(got.mean, first[i].mean, bytes) == 0 && memcmp(got.max, first[i].max, bytes) == 0, __LINE__,
                 "%s: other bits in the least memory", n->names[i]);
          told_free(want);
          if (least) told_free(got), told_free(first[i]); else first[i] = got;
        }
        plan_end(p);
      }
      plan_end(q);
    }
  network_free(n);
}

/* Over the pairs of all steps of a window, by enqueues, by the plan's own graph and by replays. */
void test_told_windows(void) {
  struct network *steps[3];
  for (int k = 0; k < 3; ++k) {
    steps[k] = network_new();
    network_add(steps[k], k == 1 ? DATA_CONSTANT_COLUMNS : DATA_FACTORS, ACTSCOPE_FLOAT32, 15, 40, LAYOUT_ROWS);
    network_add(steps[k], DATA_NORMAL, ACTSCOPE_BFLOAT16, 20, 33, LAYOUT_COLUMNS);
  }
  for (int way = 0; way < 3; ++way)
    for (int window = 0; window < 3; ++window)
      for (int sampled = 0; sampled < 2; ++sampled) {
        actscope_options o = cuda_options();
        o.statistics = ACTSCOPE_CORRELATION, o.pair_functionals = ACTSCOPE_PAIRS_ALL, o.window = window, o.graph = way == 1;
        o.correlation = sampled ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, o.pairs = 100;
        actscope_options cpu = o;
        cpu.device = ACTSCOPE_DEVICE_CPU, cpu.graph = 0;
        actscope_plan *p = plan_of(steps[0], &o), *q = plan_of(steps[0], &cpu);
        for (int k = 0; k < 5; ++k) {
          struct network *n = steps[way == 2 ? 0 : k % 3];
          if (way == 2 && k > 1) {
            CHECK(hook_replay() == 0);
          } else {
            if (way == 2 && k == 1) CHECK(hook_capture_begin(hook_stream(0)) == 0);
            CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
            if (way == 2 && k == 1) CHECK(hook_capture_end(hook_stream(0)) == 0 && hook_replay() == 0);
          }
          CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
          CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
          for (size_t i = 0; i < n->count; ++i) {
            const struct told got = told_by(p, n, i, __LINE__), want = told_by(q, n, i, __LINE__);
            compare_told(n, i, got, want, __LINE__);
            told_free(got), told_free(want);
          }
        }
        plan_end(p);
        plan_end(q);
      }
  for (int k = 0; k < 3; ++k) network_free(steps[k]);
}

/* ---- The pairs with the largest |r| -------------------------------------------------------------------------------------- */

enum { TOP_MOST = 400 };
struct top_list { size_t count; uint64_t above; uint32_t warnings; actscope_pair pair[TOP_MOST]; };
static struct top_list top_list_by(actscope_plan *p, const struct network *n, size_t i, int line) {
  static struct top_list t;
  actscope_layer_report r;
  memset(&t, POISON_ODD, sizeof t);
  const actscope_status status = actscope_plan_top_pairs(p, i, t.pair, TOP_MOST, &t.count, &t.above);
  note(status == ACTSCOPE_OK, line, "%s: %s", n->names[i], actscope_last_error());
  CHECK_STATUS(actscope_plan_report(p, i, &r), ACTSCOPE_OK);
  t.warnings = r.warnings;
  return t;
}
/* Both r are of float64, summed in another order: the same pairs but for ties, each with its r. */
static void compare_top(const struct network *n, size_t i, const struct top_list *got, const struct top_list *want, int line) {
  struct compare c;
  compare_begin(&c, "%s", n->names[i]);
  compare_count(&c, "count", got->count, want->count);
  compare_count(&c, "above", got->above, want->above);
  compare_count(&c, "warning", got->warnings & ACTSCOPE_WARN_TOP_PAIRS, want->warnings & ACTSCOPE_WARN_TOP_PAIRS);
  for (size_t k = 0; k < got->count && k < want->count && k < TOP_MOST; ++k) {
    compare_value(&c, "|r| in its place", fabs(got->pair[k].r), fabs(want->pair[k].r), 1e-12, 0);
    size_t same = 0;
    while (same < want->count && (want->pair[same].i != got->pair[k].i || want->pair[same].j != got->pair[k].j)) ++same;
    if (same < want->count) compare_value(&c, "r", got->pair[k].r, want->pair[same].r, 1e-12, 0);
    else compare_value(&c, "a tie with the last", fabs(got->pair[k].r), fabs(want->pair[want->count - 1].r), 1e-12, 0);
  }
  note(compare_end(&c) == 0, line, "%s", c.text);
}

void test_top(void) {
  struct network *n = feature_network();
  network_add(n, DATA_HUBS, ACTSCOPE_FLOAT32, 30, small ? 150 : 300, LAYOUT_ROWS);
  network_add(n, DATA_NEAR_DUPLICATES, ACTSCOPE_BFLOAT16, 530, 90, LAYOUT_COLUMNS);
  static const struct { int most; double above; } wants[] = {{1, 0}, {7, 0}, {40, 0.5}, {400, 0.2}, {60, 0}};
  /* the kernel of sm_90a leaves these layers to the other one, whose tiles are rounded elsewhere */
  const char *kernel = getenv("ACTSCOPE_CORRELATION_KERNEL");
  const int other_kernel = kernel && strcmp(kernel, "wgmma") == 0;
  for (int sampled = 0; sampled < 2; ++sampled)
    for (size_t k = sampled; k < (sampled ? 4 : sizeof wants / sizeof *wants); ++k) {
      actscope_options o = cuda_options();
      o.statistics = ACTSCOPE_CORRELATION | (k % 2 ? ACTSCOPE_RANK : 0);
      o.pair_functionals = k % 2 ? ACTSCOPE_PAIRS_ALL : 0;
      o.precision = k % 3 ? ACTSCOPE_PRECISION_FP32 : ACTSCOPE_PRECISION_FP16;
      o.correlation = sampled ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, o.pairs = 600, o.same_pairs = 1;
      o.top_pairs = wants[k].most, o.pairs_above = wants[k].above;
      o.graph = k == 1;
      actscope_options cpu = o, least = o, without = o;
      cpu.device = ACTSCOPE_DEVICE_CPU, cpu.memory_budget = 1ull << 30, cpu.graph = 0, cpu.precision = ACTSCOPE_PRECISION_FP32;
      without.top_pairs = 0, without.pairs_above = 0;
      actscope_plan *q = plan_of(n, &cpu), *w = plan_of(n, &without);
      CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_enqueue(w, n->there, n->count, NULL), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_wait(w), ACTSCOPE_OK);
      CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &least.memory_budget), ACTSCOPE_OK);
      for (int way = 0; way < 2; ++way) {
        actscope_plan *p = plan_of(n, way ? &least : &o);
        for (int round = 0; round < 2 - way; ++round) {
          CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
          CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
        }
        for (size_t i = 0; i < n->count; ++i) {
          const struct top_list got = top_list_by(p, n, i, __LINE__), want = top_list_by(q, n, i, __LINE__);
          compare_top(n, i, &got, &want, __LINE__);
          actscope_layer_report with, plain; /* what is said of all pairs stays */
          CHECK_STATUS(actscope_plan_report(p, i, &with), ACTSCOPE_OK);
          CHECK_STATUS(actscope_plan_report(w, i, &plain), ACTSCOPE_OK);
          note(other_kernel || memcmp(&with.correlation, &plain.correlation, sizeof with.correlation) == 0, __LINE__, "%s: other numbers with top_pairs", n->names[i]);
        }
        plan_end(p);
      }
      plan_end(q);
      plan_end(w);
    }
  network_free(n);
}

/* z-scores that do not fit: products of strips, twice. The same numbers, by an enqueue and by a replay. */
void test_top_strips(void) {
  const uint64_t features = 700;
  struct network *n = network_new();
  network_add(n, DATA_HUBS, ACTSCOPE_FLOAT32, 12, features, LAYOUT_ROWS);
  network_add(n, DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, 40, features - 19, LAYOUT_COLUMNS);
  for (int sampled = 0; sampled < 2; ++sampled) {
    actscope_options o = cuda_options();
    o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_RANK, o.same_pairs = 1;
    o.correlation = sampled ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, o.pairs = 20000;
    o.top_pairs = sampled ? 50 : 9, o.pairs_above = sampled ? 0.5 : 0;
    actscope_options cpu = o;
    cpu.device = ACTSCOPE_DEVICE_CPU;
    actscope_plan *whole = plan_of(n, &o), *q = plan_of(n, &cpu);
    CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &o.memory_budget), ACTSCOPE_OK);
    actscope_plan *p = plan_of(n, &o);
    CHECK_STATUS(actscope_plan_enqueue(whole, n->there, n->count, NULL), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(whole), ACTSCOPE_OK);
    for (int round = 0; round < 2; ++round) {
      if (round) CHECK(hook_capture_begin(hook_stream(0)) == 0);
      CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      if (round) CHECK(hook_capture_end(hook_stream(0)) == 0 && hook_replay() == 0);
      CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
      for (size_t i = 0; i < n->count; ++i) {
        const struct top_list got = top_list_by(p, n, i, __LINE__), want = top_list_by(q, n, i, __LINE__);
        actscope_layer_report strips, once;
        compare_top(n, i, &got, &want, __LINE__);
        CHECK_STATUS(actscope_plan_report(p, i, &strips), ACTSCOPE_OK);
        CHECK_STATUS(actscope_plan_report(whole, i, &once), ACTSCOPE_OK);
        CHECK((strips.warnings & ACTSCOPE_WARN_STRIPS) && !(once.warnings & ACTSCOPE_WARN_STRIPS));
        note(memcmp(&strips.correlation, &once.correlation, sizeof once.correlation) == 0, __LINE__, "%s: other bits in strips", n->names[i]);
      }
    }
    plan_end(p);
    plan_end(q);
    plan_end(whole);
  }
  network_free(n);
}

/* More candidates than a GPU has room for: a refusal, and no list that is cut; the next step is as ever. */
void test_top_room(void) {
  enum { N = 4, D = 600 };
  struct network *n = network_new(), *few = network_new();
  double *x = calloc(N * D, sizeof *x);
  actscope_options o = cuda_options();
  actscope_pair pair[3];
  size_t count = 0;
  for (int k = 0; k < N * D; ++k) x[k] = k / D % 2 ? 1 : -1;
  network_add_values(n, "alike", x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  for (int k = 0; k < N * D; ++k) x[k] = k % D < 5 ? (k * 7) % 11 : 1;
  network_add_values(few, "few", x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  o.statistics = ACTSCOPE_CORRELATION, o.top_pairs = 3;
  actscope_plan *p = plan_of(n, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, 1, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_top_pairs(p, 0, pair, 3, &count, NULL), ACTSCOPE_UNSUPPORTED);
  CHECK_STATUS(actscope_plan_enqueue(p, few->there, 1, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_top_pairs(p, 0, pair, 3, &count, NULL), ACTSCOPE_OK);
  CHECK(count == 3 && pair[0].j < 5);
  plan_end(p);
  free(x);
  network_free(n);
  network_free(few);
}
