/* test_plan_layers.c - a plan's layers: options of their own, other shapes, small ones beside each other, why each is
 * measured as it is, and what happens when memory is refused. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "unit/api_calls.h"

TestSuite(plan_layers, .timeout = 120);

enum { MOST = 40 };
struct net {
  int count;
  char name[MOST][16];
  int64_t shape[MOST][2];
  actscope_layer layers[MOST];
  actscope_tensor tensors[MOST];
  struct laid_out data[MOST];
};
static void net_add(struct net *n, actscope_dtype dtype, uint64_t samples, uint64_t features, enum data_kind kind) {
  int k = n->count++;
  double *x = malloc((samples * features + 1) * sizeof *x);
  data_fill(kind, 11 + (uint64_t)k, dtype, x, samples, features);
  data_lay_out(&n->data[k], x, dtype, samples, features, LAYOUT_ROWS);
  free(x);
  snprintf(n->name[k], sizeof n->name[k], "l%d", k);
  n->shape[k][0] = (int64_t)samples, n->shape[k][1] = (int64_t)features;
  n->layers[k] = (actscope_layer){.name = n->name[k], .dtype = dtype, .ndim = 2, .shape = n->shape[k]};
  n->tensors[k] = (actscope_tensor){n->data[k].tensor.data, dtype, 2, n->shape[k], NULL};
}
static void net_free(struct net *n) {
  for (int k = 0; k < n->count; ++k) data_free(&n->data[k]);
}

/* ---- Options of a layer's own ------------------------------------------------------------------------------------------ */

Test(plan_layers, have_options_of_their_own) {
  struct net n = {.count = 0};
  for (int k = 0; k < 4; ++k) net_add(&n, ACTSCOPE_FLOAT32, 30, 50, DATA_FACTORS);
  actscope_options o = cpu_options(), own[4];
  for (int k = 0; k < 4; ++k) own[k] = o;
  own[1].statistics = ACTSCOPE_MOMENTS | ACTSCOPE_RANK;
  own[2].correlation = ACTSCOPE_CORRELATION_SAMPLED, own[2].pairs = 400, own[2].seed = 9, own[2].sketch_bits = 6;
  own[2].distinct = ACTSCOPE_DISTINCT_SKETCH;
  own[3].pair_functionals = 0, own[3].large_tensor = 10, own[3].channels = 1;
  own[3].memory_budget = 1, own[3].threads = 4000; /* not a layer's to say */
  for (int k = 1; k < 4; ++k) n.layers[k].options = &own[k];
  actscope_plan *plan;
  actscope_layer_report got, want;
  ACCEPTED(actscope_plan_create(&plan, n.layers, 4, &o));
  own[3].memory_budget = o.memory_budget, own[3].threads = o.threads;
  ACCEPTED(actscope_plan_enqueue(plan, n.tensors, 4, NULL));
  for (int k = 0; k < 4; ++k) {
    ACCEPTED(actscope_plan_report(plan, (size_t)k, &got));
    ACCEPTED(actscope_analyze(&n.tensors[k], &own[k], &want));
    cr_assert(same_report(&got, &want), "layer %d", k);
  }
  actscope_plan_destroy(plan);
  own[1].sketch_bits = 99;
  REFUSED(actscope_plan_create(&plan, n.layers, 4, &o), ACTSCOPE_INVALID_ARGUMENT, "l1: options.sketch_bits");
  own[1].sketch_bits = 12;
  own[2].size = 3;
  REFUSED(actscope_plan_create(&plan, n.layers, 4, &o), ACTSCOPE_INVALID_ARGUMENT, "l2");
  n.layers[2].role = (actscope_role)3;
  own[2].size = sizeof own[2];
  REFUSED(actscope_plan_create(&plan, n.layers, 4, &o), ACTSCOPE_INVALID_ARGUMENT, "l2: role");
  net_free(&n);
}

/* ---- Small layers beside each other --------------------------------------------------------------------------------------- */

Test(plan_layers, beside_each_other_give_the_same_bits) {
  struct net n = {.count = 0};
  for (int k = 0; k < MOST; ++k)
    net_add(&n, k % 3 ? ACTSCOPE_FLOAT32 : ACTSCOPE_BFLOAT16, 3 + (uint64_t)k, k % 7 == 0 ? 900 : 20 + 3 * (uint64_t)k, k % 2 ? DATA_RELU : DATA_FACTORS);
  actscope_layer_report one[MOST], r;
  for (int threads = 1; threads <= 5; threads += 2) {
    actscope_options o = cpu_options();
    actscope_plan *plan;
    o.threads = threads;
    ACCEPTED(actscope_plan_create(&plan, n.layers, MOST, &o));
    ACCEPTED(actscope_plan_enqueue(plan, n.tensors, MOST, NULL));
    int small = 0;
    for (int k = 0; k < MOST; ++k) {
      actscope_choice c;
      ACCEPTED(actscope_plan_choice(plan, (size_t)k, &c));
      small += strstr(c.reason, "small") != NULL;
      ACCEPTED(actscope_plan_report(plan, (size_t)k, &r));
      if (threads == 1) one[k] = r;
      else cr_assert(same_report(&r, &one[k]), "%d threads: layer %d", threads, k);
    }
    cr_assert(threads == 1 ? small == 0 : small > 10, "%d threads: %d small layers", threads, small);
    actscope_plan_destroy(plan);
  }
  net_free(&n);
}

static void gather_log(void *user, actscope_log_level level, const char *message) {
  char *text = user;
  (void)level;
  size_t at = strlen(text);
  snprintf(text + at, 8192 - at, "%s\n", message);
}

Test(plan_layers, beside_each_other_are_logged_in_call_order) {
  struct net n = {.count = 0};
  for (int k = 0; k < 8; ++k) net_add(&n, ACTSCOPE_FLOAT32, 20, 30 + 8 * (uint64_t)(k % 3), DATA_NORMAL);
  static char text[8192];
  actscope_options o = cpu_options();
  actscope_plan *plan;
  o.log = gather_log, o.log_user = text;
  ACCEPTED(actscope_plan_create(&plan, n.layers, 8, &o));
  text[0] = 0;
  ACCEPTED(actscope_plan_enqueue(plan, n.tensors, 8, NULL));
  const char *at = text;
  for (int k = 0; k < 8; ++k) {
    char begin[24];
    snprintf(begin, sizeof begin, "l%d: 20 x ", k);
    cr_assert(strncmp(at, begin, strlen(begin)) == 0, "line %d: %s", k, at);
    at = strchr(at, '\n') + 1;
  }
  actscope_plan_destroy(plan);
  net_free(&n);
}

/* ---- Other shapes ------------------------------------------------------------------------------------------------------- */

Test(plan_layers, change_their_shapes) {
  struct net full = {.count = 0}, last = {.count = 0};
  for (int k = 0; k < 3; ++k) net_add(&full, ACTSCOPE_FLOAT32, 64, 40 + 30 * (uint64_t)k, DATA_RELU);
  for (int k = 0; k < 3; ++k) net_add(&last, k ? ACTSCOPE_FLOAT32 : ACTSCOPE_FLOAT16, 17, 40 + 30 * (uint64_t)k, DATA_FACTORS);
  actscope_options o = cpu_options();
  actscope_plan *plan;
  actscope_layer_report got, want;
  ACCEPTED(actscope_plan_create(&plan, full.layers, 3, &o));
  for (int round = 0; round < 4; ++round) {
    struct net *n = round % 2 ? &last : &full;
    ACCEPTED(actscope_plan_reshape(plan, n->layers, 3));
    if (round > 0) REFUSED(actscope_plan_report(plan, 0, &got), ACTSCOPE_NOT_READY, "l0");
    ACCEPTED(actscope_plan_enqueue(plan, n->tensors, 3, NULL));
    uint64_t before = actscope_memory_allocations();
    ACCEPTED(actscope_plan_reshape(plan, n->layers, 3)); /* nothing to do */
    cr_assert_eq(actscope_memory_allocations(), before);
    for (int k = 0; k < 3; ++k) {
      ACCEPTED(actscope_plan_report(plan, (size_t)k, &got));
      cr_assert_eq(got.sequence, (uint64_t)round + 1);
      ACCEPTED(actscope_analyze(&n->tensors[k], &o, &want));
      cr_assert(same_report(&got, &want), "round %d, layer %d", round, k);
    }
    REFUSED(actscope_plan_enqueue(plan, (round % 2 ? &full : &last)->tensors, 3, NULL), ACTSCOPE_INVALID_ARGUMENT, "l0");
  }
  actscope_plan_destroy(plan);
  cr_assert_eq(actscope_memory_held(), 0);
  net_free(&full);
  net_free(&last);
}

Test(plan_layers, that_do_not_change_stay_as_they_were) {
  struct net n = {.count = 0}, big = {.count = 0};
  net_add(&n, ACTSCOPE_FLOAT32, 20, 30, DATA_NORMAL);
  net_add(&big, ACTSCOPE_FLOAT32, 20, 4000, DATA_NORMAL);
  actscope_options o = cpu_options();
  actscope_plan *plan;
  actscope_layer_report first, again;
  size_t bytes;
  ACCEPTED(actscope_minimum_budget(n.layers, 1, &o, &o.memory_budget));
  o.memory_budget += 16384;
  ACCEPTED(actscope_plan_create(&plan, n.layers, 1, &o));
  ACCEPTED(actscope_plan_enqueue(plan, n.tensors, 1, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &first));
  ACCEPTED(actscope_plan_workspace(plan, &bytes, NULL));
  REFUSED(actscope_plan_reshape(plan, big.layers, 1), ACTSCOPE_BUDGET_TOO_SMALL, "l0");
  REFUSED(actscope_plan_reshape(plan, big.layers, 2), ACTSCOPE_INVALID_ARGUMENT, "2 layers");
  REFUSED(actscope_plan_reshape(plan, NULL, 1), ACTSCOPE_INVALID_ARGUMENT, "layers");
  REFUSED(actscope_plan_reshape(NULL, big.layers, 1), ACTSCOPE_INVALID_ARGUMENT, "plan");
  int64_t negative[] = {-1, 3};
  big.layers[0].shape = negative;
  REFUSED(actscope_plan_reshape(plan, big.layers, 1), ACTSCOPE_INVALID_ARGUMENT, "negative");
  big.layers[0].shape = big.shape[0];
  actscope_memory_fail_at(1);
  REFUSED(actscope_plan_reshape(plan, big.layers, 1), ACTSCOPE_OUT_OF_MEMORY, "refused");
  actscope_memory_fail_at(0);
  size_t same;
  ACCEPTED(actscope_plan_workspace(plan, &same, NULL));
  cr_assert_eq(same, bytes);
  ACCEPTED(actscope_plan_report(plan, 0, &again));
  cr_assert(same_report(&first, &again));
  ACCEPTED(actscope_plan_enqueue(plan, n.tensors, 1, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &again));
  cr_assert(same_report(&first, &again));
  actscope_plan_destroy(plan);
  net_free(&n);
  net_free(&big);
}

Test(plan_layers, grow_only_as_far_as_a_lent_workspace) {
  struct net n = {.count = 0}, big = {.count = 0};
  net_add(&n, ACTSCOPE_FLOAT32, 40, 300, DATA_NORMAL);
  net_add(&big, ACTSCOPE_FLOAT32, 40, 9000, DATA_NORMAL);
  actscope_options o = cpu_options();
  actscope_plan *plan;
  size_t bytes, alignment;
  struct guarded g;
  ACCEPTED(actscope_plan_create(&plan, n.layers, 1, &o));
  ACCEPTED(actscope_plan_workspace(plan, &bytes, &alignment));
  guard_alloc(&g, bytes, alignment, 0, POISON_ODD);
  ACCEPTED(actscope_plan_bind(plan, g.data, bytes));
  n.shape[0][0] = 39;
  ACCEPTED(actscope_plan_reshape(plan, n.layers, 1));
  n.tensors[0].shape = n.shape[0];
  ACCEPTED(actscope_plan_enqueue(plan, n.tensors, 1, NULL));
  int64_t wide[] = {2, 1000000};
  big.layers[0].shape = wide;
  REFUSED(actscope_plan_reshape(plan, big.layers, 1), ACTSCOPE_WORKSPACE_TOO_SMALL, "workspace");
  ACCEPTED(actscope_plan_enqueue(plan, n.tensors, 1, NULL));
  cr_assert_eq(guard_damage(&g), 0);
  actscope_plan_destroy(plan);
  guard_free(&g);
  net_free(&n);
  net_free(&big);
}

/* ---- Why ------------------------------------------------------------------------------------------------------------------ */

Test(plan_layers, say_why) {
  int64_t shape[] = {128, 8192}, huge[] = {128, 1048576}, none[] = {0, 5};
  actscope_layer layers[] = {{"a", ACTSCOPE_FLOAT32, 2, shape}, {"h", ACTSCOPE_FLOAT32, 2, huge}, {"e", ACTSCOPE_FLOAT32, 2, none}};
  actscope_options o = cpu_options();
  actscope_plan *plan;
  actscope_choice c;
  o.memory_budget = 1ull << 40;
  ACCEPTED(actscope_plan_create(&plan, layers, 3, &o));
  ACCEPTED(actscope_plan_choice(plan, 0, &c));
  cr_assert(c.correlation == ACTSCOPE_CORRELATION_EXACT && c.pairs == 33550336 && strstr(c.reason, "exact: every pair"), "%s", c.reason);
  cr_assert(c.seconds > 1e-3 && c.seconds < 10 && c.best_bytes >= c.least_bytes && c.workspace_bytes == c.best_bytes);
  ACCEPTED(actscope_plan_choice(plan, 1, &c));
  cr_assert(c.correlation == ACTSCOPE_CORRELATION_SAMPLED && c.pairs == 1 << 24 && strstr(c.reason, "1e13"), "%s", c.reason);
  ACCEPTED(actscope_plan_choice(plan, 2, &c));
  cr_assert(c.seconds == 0 && strstr(c.reason, "no elements"), "%s", c.reason);
  REFUSED(actscope_plan_choice(plan, 3, &c), ACTSCOPE_INVALID_ARGUMENT, "layer 3");
  REFUSED(actscope_plan_choice(plan, 0, NULL), ACTSCOPE_INVALID_ARGUMENT, "choice");
  actscope_plan_destroy(plan);

  uint64_t least;
  o.statistics = ACTSCOPE_CORRELATION;
  ACCEPTED(actscope_minimum_budget(layers, 1, &o, &least));
  o.memory_budget = least;
  ACCEPTED(actscope_plan_create(&plan, layers, 1, &o));
  ACCEPTED(actscope_plan_choice(plan, 0, &c));
  cr_assert(c.workspace_bytes < c.best_bytes && c.workspace_bytes >= c.least_bytes && strstr(c.reason, "memory is short"), "%s", c.reason);
  actscope_plan_destroy(plan);

  o.memory_budget = 1 << 28, o.time_budget = 1e-4;
  ACCEPTED(actscope_plan_create(&plan, layers, 1, &o));
  ACCEPTED(actscope_plan_choice(plan, 0, &c));
  cr_assert(c.correlation == ACTSCOPE_CORRELATION_SAMPLED && strstr(c.reason, "time budget"), "%s", c.reason);
  actscope_plan_destroy(plan);
  o.time_budget = NAN;
  REFUSED(actscope_plan_create(&plan, layers, 1, &o), ACTSCOPE_INVALID_ARGUMENT, "time_budget");
  o.time_budget = 0, o.statistics = ACTSCOPE_MOMENTS;
  ACCEPTED(actscope_plan_create(&plan, layers, 1, &o));
  ACCEPTED(actscope_plan_choice(plan, 0, &c));
  cr_assert(c.pairs == 0 && strstr(c.reason, "no correlations"), "%s", c.reason);
  actscope_plan_destroy(plan);
}

/* What AUTO does with one layer of [samples, features]. */
static actscope_choice chosen(int64_t samples, int64_t features, uint64_t pairs, double budget) {
  int64_t shape[] = {samples, features};
  actscope_layer layer = {"a", ACTSCOPE_FLOAT32, 2, shape};
  actscope_options o = cpu_options();
  actscope_plan *plan;
  actscope_choice c;
  o.statistics = ACTSCOPE_CORRELATION, o.memory_budget = 1ull << 42, o.pairs = pairs, o.time_budget = budget;
  ACCEPTED(actscope_plan_create(&plan, &layer, 1, &o));
  ACCEPTED(actscope_plan_choice(plan, 0, &c));
  actscope_plan_destroy(plan);
  return c;
}
#define EXACT(c, why) cr_assert((c).correlation == ACTSCOPE_CORRELATION_EXACT && strstr((c).reason, why), "%d: %s", (int)(c).correlation, (c).reason)
#define SAMPLED(c, n, why) \
  cr_assert((c).correlation == ACTSCOPE_CORRELATION_SAMPLED && (c).pairs == (n) && strstr((c).reason, why), "%llu: %s", (unsigned long long)(c).pairs, (c).reason)

Test(plan_layers, never_sample_every_pair) {
  EXACT(chosen(30, 20, 0, 1e-9), "exact: a sample would take no less time than every pair; beyond the time budget");
  EXACT(chosen(30, 20, 189, 1e-9), "beyond");
  EXACT(chosen(128, 362, 0, 1e-9), "beyond"); /* 65,341 pairs */
  EXACT(chosen(128, 8192, 1ull << 25, 1e-3), "beyond");
  EXACT(chosen(1 << 30, 128, 0, 0), "exact: a sample would be every pair");
  cr_assert(!strstr(chosen(1 << 30, 128, 0, 0).reason, "beyond"));
  EXACT(chosen(1 << 30, 128, 0, 1), "beyond");
  SAMPLED(chosen(1 << 30, 128, 8127, 0), 8127, "1e13");
}

Test(plan_layers, sample_as_many_pairs_as_the_time_budget_allows) {
  const actscope_choice exact = chosen(128, 40000, 0, 0);
  EXACT(exact, "affordable");
  EXACT(chosen(128, 40000, 0, 2 * exact.seconds), "affordable");
  uint64_t before = UINT64_MAX;
  int cut = 0;
  for (double budget = exact.seconds / 2; budget > exact.seconds / 1e4; budget /= 1.1) {
    const actscope_choice c = chosen(128, 40000, 0, budget);
    SAMPLED(c, c.pairs, "longer than the time budget");
    cr_assert(c.pairs >= 65536 && c.pairs <= 1 << 24 && c.pairs <= before, "%llu after %llu", (unsigned long long)c.pairs, (unsigned long long)before);
    before = c.pairs;
    if (strstr(c.reason, "beyond")) {
      cr_assert_eq(c.pairs, 65536);
      continue;
    }
    /* beside the correlations there is the read of the features alone */
    cr_assert(c.seconds < 1.1 * budget + chosen(128, 40000, 1, budget / 1e9).seconds, "%g s for %g", c.seconds, budget);
    cut += c.pairs > 65536 && c.pairs < 1 << 24;
  }
  cr_assert_gt(cut, 3);
  SAMPLED(chosen(128, 40000, 0, 1e-9), 65536, "beyond the time budget");
  SAMPLED(chosen(128, 40000, 5000, 1e-9), 5000, "beyond the time budget");   /* as asked for: no fewer .. */
  SAMPLED(chosen(128, 40000, 5000, exact.seconds / 2), 5000, "longer than"); /* .. and no more */
  SAMPLED(chosen(128, 300000, 0, 0), 1 << 24, "1e13");
  SAMPLED(chosen(128, 300000, 0, 1e-9), 65536, "1e13; beyond");
}

Test(plan_layers, say_when_the_time_budget_is_not_met) {
  struct net n = {.count = 0};
  net_add(&n, ACTSCOPE_FLOAT32, 30, 20, DATA_FACTORS);
  net_add(&n, ACTSCOPE_FLOAT32, 40, 3000, DATA_FACTORS);
  actscope_options o = cpu_options(), none = o;
  actscope_plan *plan;
  actscope_layer_report r, want;
  char text[256];
  o.time_budget = 1e-9;
  n.layers[1].options = &o;
  ACCEPTED(actscope_plan_create(&plan, n.layers, 2, &o));
  for (int round = 0; round < 3; ++round) { /* what `pairs` 0 means is decided anew with every shape */
    ACCEPTED(actscope_plan_enqueue(plan, n.tensors, 2, NULL));
    ACCEPTED(actscope_plan_report(plan, 0, &r));
    cr_assert_eq(r.warnings, ACTSCOPE_WARN_TIME_BUDGET);
    cr_assert(actscope_warning_text(&r, 10, text, sizeof text) && strstr(text, "time budget"), "%s", text);
    r.warnings = 0;
    ACCEPTED(actscope_analyze(&n.tensors[0], &none, &want));
    cr_assert(same_report(&r, &want) || round > 0);
    ACCEPTED(actscope_plan_report(plan, 1, &r));
    cr_assert_eq(r.warnings, ACTSCOPE_WARN_TIME_BUDGET | ACTSCOPE_WARN_SAMPLED);
    cr_assert(r.correlation.method == ACTSCOPE_CORRELATION_SAMPLED && r.correlation.pairs == 65536);
    n.shape[1][0] = 79 - n.shape[1][0];
    ACCEPTED(actscope_plan_reshape(plan, n.layers, 2));
  }
  actscope_plan_destroy(plan);
  net_free(&n);
}

/* ---- When memory is refused ------------------------------------------------------------------------------------------------- */

/* Everything the host API does that allocates, with the n-th allocation failing. Returns 1 when none was left to fail. */
static int with_failure(const struct net *n, const struct net *other, uint64_t fail) {
  actscope_options o = cpu_options();
  actscope_plan *plan = NULL;
  actscope_layer_report r;
  o.window = 0, o.history = 3;
  actscope_memory_fail_at(fail);
  actscope_status status = actscope_plan_create(&plan, n->layers, (size_t)n->count, &o);
  cr_assert(!status == (plan != NULL));
  if (!status) status = actscope_plan_enqueue(plan, n->tensors, (size_t)n->count, NULL);
  if (!status) status = actscope_plan_reshape(plan, other->layers, (size_t)n->count);
  if (!status) status = actscope_plan_enqueue(plan, other->tensors, (size_t)n->count, NULL);
  if (!status) status = actscope_plan_report(plan, 0, &r);
  if (!status) status = actscope_analyze(&n->tensors[0], NULL, &r);
  actscope_memory_fail_at(0);
  cr_assert(!status || status == ACTSCOPE_OUT_OF_MEMORY, "allocation %llu: %s: %s", (unsigned long long)fail,
            actscope_status_name(status), actscope_last_error());
  actscope_plan_destroy(plan);
  cr_assert_eq(actscope_memory_held(), 0, "allocation %llu: %llu bytes are left", (unsigned long long)fail,
               (unsigned long long)actscope_memory_held());
  return !status;
}

Test(plan_layers, survive_every_refused_allocation) {
  struct net n = {.count = 0}, other = {.count = 0};
  for (int k = 0; k < 3; ++k) net_add(&n, ACTSCOPE_FLOAT32, 20, 30, DATA_NORMAL);
  for (int k = 0; k < 3; ++k) net_add(&other, ACTSCOPE_FLOAT32, 50, 300, DATA_NORMAL);
  uint64_t fail = 1;
  while (!with_failure(&n, &other, fail)) cr_assert(++fail < 100);
  cr_assert(fail >= 7, "only %llu allocations were made to fail", (unsigned long long)fail - 1);
  net_free(&n);
  net_free(&other);
}

Test(plan_layers, memory_is_told) {
  actscope_memory m;
  actscope_plan *plan;
  int64_t shape[] = {128, 512};
  actscope_layer layer = {"a", ACTSCOPE_FLOAT32, 2, shape};
  actscope_options o = cpu_options();
  ACCEPTED(actscope_memory_usage(0, &m));
  cr_assert_eq(m.held_bytes, 0);
  cr_assert(m.resident_bytes > 1 << 20 && m.resident_peak_bytes >= m.resident_bytes);
  ACCEPTED(actscope_plan_create(&plan, &layer, 1, &o));
  ACCEPTED(actscope_memory_usage(0, &m));
  cr_assert(m.held_bytes > 1000 && m.held_peak_bytes >= m.held_bytes);
  actscope_plan_destroy(plan);
  REFUSED(actscope_memory_usage(0, NULL), ACTSCOPE_INVALID_ARGUMENT, "memory");
}
