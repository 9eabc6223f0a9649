/* test_plan.c - what the plan promises: names, workspace, budget, threads and bits, the log. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "unit/api_calls.h"

TestSuite(plan, .timeout = 120);

/* ---- The plan ------------------------------------------------------------------------------------------------------- */

enum { LAYERS = 3 };
static const int64_t plan_shapes[LAYERS][3] = {{40, 6, 10}, {17, 33, 1}, {5, 0, 4}};
static const actscope_dtype plan_dtypes[LAYERS] = {ACTSCOPE_FLOAT32, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT32};

struct network {
  actscope_layer layers[LAYERS];
  actscope_tensor tensors[LAYERS];
  struct laid_out data[LAYERS];
};
static void network_make(struct network *n, uint64_t seed) {
  for (int k = 0; k < LAYERS; ++k) {
    uint64_t samples = (uint64_t)plan_shapes[k][0], features = (uint64_t)(plan_shapes[k][1] * plan_shapes[k][2]);
    double *x = malloc((samples * features + 1) * sizeof *x);
    data_fill(k ? DATA_RELU : DATA_FACTORS, seed + (uint64_t)k, plan_dtypes[k], x, samples, features);
    data_lay_out(&n->data[k], x, plan_dtypes[k], samples, features, LAYOUT_ROWS);
    n->layers[k] = (actscope_layer){k == 1 ? NULL : k ? "empty" : "conv.0", plan_dtypes[k], 3, plan_shapes[k]};
    n->tensors[k] = (actscope_tensor){n->data[k].tensor.data, plan_dtypes[k], 3, plan_shapes[k], NULL};
    free(x);
  }
}
static void network_free(struct network *n) {
  for (int k = 0; k < LAYERS; ++k) data_free(&n->data[k]);
}

Test(plan, names_are_copied) {
  char name[] = "before";
  int64_t shape[1] = {3};
  actscope_layer layers[2] = {{name, ACTSCOPE_FLOAT32, 1, shape}, {NULL, ACTSCOPE_FLOAT32, 1, shape}};
  actscope_options o = cpu_options();
  actscope_plan *plan;
  ACCEPTED(actscope_plan_create(&plan, layers, 2, &o));
  strcpy(name, "after");
  shape[0] = 77;
  cr_assert_str_eq(actscope_plan_layer_name(plan, 0), "before");
  cr_assert_str_eq(actscope_plan_layer_name(plan, 1), "layer 1");
  cr_assert_null(actscope_plan_layer_name(plan, 2));
  cr_assert_eq(actscope_plan_device(plan), ACTSCOPE_DEVICE_CPU);
  float x[3] = {1, 2, 3};
  int64_t three[1] = {3};
  actscope_tensor t = {x, ACTSCOPE_FLOAT32, 1, three, NULL};
  ACCEPTED(actscope_plan_enqueue_layer(plan, 1, &t, NULL));
  actscope_plan_destroy(plan);
}

Test(plan, a_plan_of_nothing) {
  actscope_options o = cpu_options();
  actscope_plan *plan;
  ACCEPTED(actscope_plan_create(&plan, NULL, 0, &o));
  REFUSED(actscope_plan_poll(plan), ACTSCOPE_NOT_READY, "enqueued");
  ACCEPTED(actscope_plan_enqueue(plan, NULL, 0, NULL));
  ACCEPTED(actscope_plan_wait(plan));
  actscope_plan_destroy(plan);
}

Test(plan, reports_come_after_enqueue) {
  struct network n, later;
  actscope_options o = cpu_options();
  actscope_layer_report r, first[LAYERS], alone;
  actscope_plan *plan;
  network_make(&n, 1);
  network_make(&later, 100);
  ACCEPTED(actscope_plan_create(&plan, n.layers, LAYERS, &o));
  REFUSED(actscope_plan_poll(plan), ACTSCOPE_NOT_READY, "");
  REFUSED(actscope_plan_wait(plan), ACTSCOPE_NOT_READY, "");
  REFUSED(actscope_plan_report(plan, 0, &r), ACTSCOPE_NOT_READY, "conv.0");
  REFUSED(actscope_plan_report(plan, LAYERS, &r), ACTSCOPE_INVALID_ARGUMENT, "layer 3");
  ACCEPTED(actscope_plan_enqueue_layer(plan, 1, &n.tensors[1], NULL));
  ACCEPTED(actscope_plan_poll(plan));
  REFUSED(actscope_plan_report(plan, 0, &r), ACTSCOPE_NOT_READY, "conv.0");
  ACCEPTED(actscope_plan_report(plan, 1, &r));
  ACCEPTED(actscope_plan_enqueue(plan, n.tensors, LAYERS, NULL));
  ACCEPTED(actscope_plan_wait(plan));
  for (int k = 0; k < LAYERS; ++k) {
    memset(&first[k], POISON_ODD, sizeof first[k]);
    ACCEPTED(actscope_plan_report(plan, (size_t)k, &first[k]));
    ACCEPTED(actscope_analyze(&n.tensors[k], &o, &alone));
    cr_assert(same_report(&first[k], &alone), "layer %d: plan and simple call differ", k);
  }
  cr_assert(same_report(&first[1], &r));

  /* what is wrong changes nothing */
  actscope_tensor bad[LAYERS];
  int64_t other[3] = {40, 10, 6};
  memcpy(bad, later.tensors, sizeof bad);
  bad[1].dtype = ACTSCOPE_FLOAT16;
  REFUSED(actscope_plan_enqueue(plan, bad, LAYERS, NULL), ACTSCOPE_INVALID_ARGUMENT, "layer 1");
  bad[1] = later.tensors[1], bad[0].shape = other;
  REFUSED(actscope_plan_enqueue(plan, bad, LAYERS, NULL), ACTSCOPE_INVALID_ARGUMENT, "conv.0");
  bad[0] = later.tensors[0], bad[0].ndim = 2;
  REFUSED(actscope_plan_enqueue(plan, bad, LAYERS, NULL), ACTSCOPE_INVALID_ARGUMENT, "conv.0");
  bad[0] = later.tensors[0], bad[1].data = (const char *)bad[1].data + 1;
  REFUSED(actscope_plan_enqueue(plan, bad, LAYERS, NULL), ACTSCOPE_INVALID_ARGUMENT, "layer 1");
  REFUSED(actscope_plan_enqueue(plan, later.tensors, LAYERS - 1, NULL), ACTSCOPE_INVALID_ARGUMENT, "tensors");
  REFUSED(actscope_plan_enqueue_layer(plan, LAYERS, &later.tensors[0], NULL), ACTSCOPE_INVALID_ARGUMENT, "layer 3");
  bad[0].data = NULL;
  REFUSED(actscope_plan_enqueue_layer(plan, 0, &bad[0], NULL), ACTSCOPE_INVALID_ARGUMENT, "NULL");
  for (int k = 0; k < LAYERS; ++k) {
    ACCEPTED(actscope_plan_report(plan, (size_t)k, &r));
    cr_assert(same_report(&first[k], &r), "layer %d changed by a call that failed", k);
  }

  /* a layer without data is skipped, and keeps its report */
  memcpy(bad, later.tensors, sizeof bad);
  bad[0].data = NULL;
  ACCEPTED(actscope_plan_enqueue(plan, bad, LAYERS, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &r));
  cr_assert(same_report(&first[0], &r), "a skipped layer changed");
  ACCEPTED(actscope_plan_report(plan, 1, &r));
  ACCEPTED(actscope_analyze(&later.tensors[1], &o, &alone));
  cr_assert(same_report(&alone, &r) && !same_report(&first[1], &r), "its neighbour did not");
  actscope_plan_destroy(plan);
  network_free(&n);
  network_free(&later);
}

Test(plan, strides_are_free_from_call_to_call) {
  enum { N = 19, D = 30 };
  double x[N * D];
  struct laid_out rows, other;
  actscope_options o = cpu_options();
  actscope_layer_report r, again;
  actscope_plan *plan;
  data_fill(DATA_INTEGERS, 2, ACTSCOPE_FLOAT32, x, N, D); /* sums are exact in any order */
  data_lay_out(&rows, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  actscope_layer layer = {"x", ACTSCOPE_FLOAT32, 2, rows.shape};
  ACCEPTED(actscope_plan_create(&plan, &layer, 1, &o));
  ACCEPTED(actscope_plan_enqueue(plan, &rows.tensor, 1, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &r));
  for (enum data_layout layout = LAYOUT_COLUMNS; layout <= LAYOUT_EVERY_OTHER; ++layout) {
    struct compare c;
    data_lay_out(&other, x, ACTSCOPE_FLOAT32, N, D, layout);
    ACCEPTED(actscope_plan_enqueue(plan, &other.tensor, 1, NULL));
    ACCEPTED(actscope_plan_report(plan, 0, &again));
    compare_begin(&c, "%s", data_layout_name(layout));
    compare_profile(&c, &again.profile, &r.profile, ACTSCOPE_FLOAT16, ACTSCOPE_PROFILE);
    compare_bytes(&c, "distinct", &again.distinct, &r.distinct, sizeof r.distinct);
    compare_bytes(&c, "health", &again.health, &r.health, sizeof r.health);
    compare_value(&c, "mean |r|", again.correlation.mean_abs, r.correlation.mean_abs, 1e-7, 0);
    CHECK(c);
    data_free(&other);
  }
  data_free(&rows);
  actscope_plan_destroy(plan);
}

/* ---- Workspace and budget -------------------------------------------------------------------------------------------- */

Test(plan, the_callers_workspace) {
  struct network n;
  actscope_options o = cpu_options();
  actscope_layer_report own[LAYERS], lent;
  actscope_plan *plan;
  size_t bytes = 0, alignment = 0;
  network_make(&n, 7);
  ACCEPTED(actscope_plan_create(&plan, n.layers, LAYERS, &o));
  ACCEPTED(actscope_plan_workspace(plan, &bytes, &alignment));
  cr_assert(bytes > 0 && alignment >= 1 && (alignment & (alignment - 1)) == 0);
  uint64_t before = actscope_memory_allocations();
  ACCEPTED(actscope_plan_workspace(plan, &bytes, NULL));
  cr_assert_eq(actscope_memory_allocations(), before, "a query allocated");
  ACCEPTED(actscope_plan_enqueue(plan, n.tensors, LAYERS, NULL));
  for (int k = 0; k < LAYERS; ++k) ACCEPTED(actscope_plan_report(plan, (size_t)k, &own[k]));

  struct guarded w, shifted;
  guard_alloc(&w, bytes, alignment, 0, POISON_NAN);
  guard_alloc(&shifted, bytes, alignment, alignment / 2, POISON_NAN);
  REFUSED(actscope_plan_bind(plan, w.data, bytes - 1), ACTSCOPE_WORKSPACE_TOO_SMALL, "workspace");
  REFUSED(actscope_plan_bind(plan, shifted.data, bytes), ACTSCOPE_INVALID_ARGUMENT, "aligned");
  for (int poison = 0; poison < 2; ++poison) {
    uint64_t held = actscope_memory_held();
    guard_poison(&w, poison ? POISON_ODD : POISON_NAN);
    ACCEPTED(actscope_plan_bind(plan, w.data, bytes));
    cr_assert(poison || actscope_memory_held() + bytes <= held + alignment, "the plan's own workspace is still held");
    before = actscope_memory_allocations();
    ACCEPTED(actscope_plan_enqueue(plan, n.tensors, LAYERS, NULL));
    cr_assert_eq(actscope_memory_allocations(), before, "enqueue allocated although a workspace is bound");
    cr_assert_eq(guard_damage(&w), 0, "written outside the workspace");
    cr_assert(!guard_untouched(&w, poison ? POISON_ODD : POISON_NAN), "the workspace was not used");
    for (int k = 0; k < LAYERS; ++k) {
      ACCEPTED(actscope_plan_report(plan, (size_t)k, &lent));
      cr_assert(same_report(&own[k], &lent), "layer %d depends on what the workspace held", k);
    }
  }
  for (int k = 0; k < LAYERS; ++k) cr_assert_eq(guard_damage(&n.data[k].memory), 0);
  actscope_plan_destroy(plan);
  guard_free(&w);
  guard_free(&shifted);
  network_free(&n);
}

/* Layers and options whose least and best needs differ. */
struct budget_case {
  char name[24];
  actscope_dtype dtype;
  int64_t samples, features;
  uint32_t statistics;
  actscope_correlation_method correlation;
  actscope_distinct_method distinct;
};
static const struct budget_case budget_cases[] = {
    {"all", ACTSCOPE_FLOAT32, 64, 301, ACTSCOPE_ALL, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"tall", ACTSCOPE_FLOAT32, 5000, 7, ACTSCOPE_ALL, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"wide", ACTSCOPE_BFLOAT16, 4, 3001, ACTSCOPE_ALL, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"f64", ACTSCOPE_FLOAT64, 33, 129, ACTSCOPE_ALL, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"f8", ACTSCOPE_FLOAT8_E5M2, 127, 65, ACTSCOPE_ALL, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"profile", ACTSCOPE_FLOAT32, 64, 1000, ACTSCOPE_PROFILE, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"exact distinct", ACTSCOPE_FLOAT32, 300, 1000, ACTSCOPE_DISTINCT, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_EXACT},
    {"exact distinct f64", ACTSCOPE_FLOAT64, 100, 777, ACTSCOPE_DISTINCT, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_EXACT},
    {"sketch", ACTSCOPE_FLOAT32, 300, 1000, ACTSCOPE_DISTINCT, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_SKETCH},
    {"health", ACTSCOPE_FLOAT16, 64, 500, ACTSCOPE_HEALTH, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"exact", ACTSCOPE_FLOAT32, 130, 517, ACTSCOPE_CORRELATION, ACTSCOPE_CORRELATION_EXACT, ACTSCOPE_DISTINCT_AUTO},
    {"sampled", ACTSCOPE_FLOAT32, 130, 517, ACTSCOPE_CORRELATION, ACTSCOPE_CORRELATION_SAMPLED, ACTSCOPE_DISTINCT_AUTO},
    {"gram", ACTSCOPE_FLOAT32, 130, 517, ACTSCOPE_CORRELATION, ACTSCOPE_CORRELATION_GRAM, ACTSCOPE_DISTINCT_AUTO},
    {"rank", ACTSCOPE_FLOAT32, 60, 300, ACTSCOPE_RANK, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"similarity", ACTSCOPE_FLOAT16, 300, 900, ACTSCOPE_SIMILARITY, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"one", ACTSCOPE_FLOAT32, 1, 1, ACTSCOPE_ALL, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO},
    {"empty", ACTSCOPE_FLOAT32, 0, 9, ACTSCOPE_ALL, ACTSCOPE_CORRELATION_AUTO, ACTSCOPE_DISTINCT_AUTO}};

/* Whatever the budget: the numbers hold, memory stays below it, and the least one is the least. */
Test(plan, the_budget_is_hard) {
  for (size_t k = 0; k < sizeof budget_cases / sizeof *budget_cases; ++k) {
    const struct budget_case *b = &budget_cases[k];
    int64_t shape[2] = {b->samples, b->features};
    uint64_t elements = (uint64_t)(b->samples * b->features), least = 0;
    double *x = malloc((elements + 1) * sizeof *x);
    struct laid_out t;
    actscope_options o = cpu_options();
    actscope_layer layer = {b->name, b->dtype, 2, shape};
    actscope_layer_report full, r;
    actscope_plan *plan = NULL;
    char number[32];
    data_fill(DATA_FACTORS, k, b->dtype, x, (uint64_t)b->samples, (uint64_t)b->features);
    data_lay_out(&t, x, b->dtype, (uint64_t)b->samples, (uint64_t)b->features, LAYOUT_ROWS);
    o.statistics = b->statistics;
    o.correlation = b->correlation;
    o.distinct = b->distinct;
    o.pairs = 20000;
    o.threads = 1 + (int)(k % 2);
    o.memory_budget = 1ull << 30;
    ACCEPTED(actscope_analyze(&t.tensor, &o, &full));
    ACCEPTED(actscope_minimum_budget(&layer, 1, &o, &least));
    o.memory_budget = least - 1;
    REFUSED(actscope_plan_create(&plan, &layer, 1, &o), ACTSCOPE_BUDGET_TOO_SMALL, b->name);
    cr_assert_null(plan);
    snprintf(number, sizeof number, "%llu", (unsigned long long)least);
    cr_assert(strstr(actscope_last_error(), number), "%s not named: %s", number, actscope_last_error());
    o.memory_budget = 0;
    REFUSED(actscope_plan_create(&plan, &layer, 1, &o), ACTSCOPE_BUDGET_TOO_SMALL, number);
    for (int step = 0; step < 12; ++step) {
      struct compare c;
      size_t bytes, alignment;
      uint64_t again;
      o.memory_budget = step == 0 ? least : step < 4 ? least + (uint64_t)step * 37 : least + least * (1ull << step) / 64;
      ACCEPTED(actscope_minimum_budget(&layer, 1, &o, &again));
      cr_assert_eq(again, least, "the minimum depends on the budget");
      uint64_t held = actscope_memory_held();
      ACCEPTED(actscope_plan_create(&plan, &layer, 1, &o));
      ACCEPTED(actscope_plan_workspace(plan, &bytes, &alignment));
      uint64_t own = actscope_memory_held() - held;
      cr_assert(own + bytes <= o.memory_budget, "%s: %llu + %zu bytes of a budget of %llu", b->name,
                (unsigned long long)own, bytes, (unsigned long long)o.memory_budget);
      struct guarded w;
      guard_alloc(&w, bytes, alignment, 0, step % 2 ? POISON_NAN : POISON_ODD);
      if (bytes) ACCEPTED(actscope_plan_bind(plan, w.data, bytes));
      ACCEPTED(actscope_plan_enqueue(plan, &t.tensor, 1, NULL));
      ACCEPTED(actscope_plan_report(plan, 0, &r));
      compare_begin(&c, "%s in %llu of %llu bytes", b->name, (unsigned long long)o.memory_budget, (unsigned long long)least);
      compare_count(&c, "bytes written outside", guard_damage(&w), 0);
      compare_count(&c, "status", (uint64_t)r.status, ACTSCOPE_OK);
      if (b->statistics & ACTSCOPE_PROFILE) compare_profile(&c, &r.profile, &full.profile, b->dtype, b->statistics);
      compare_bytes(&c, "distinct", &r.distinct, &full.distinct, sizeof r.distinct);
      compare_bytes(&c, "health", &r.health, &full.health, sizeof r.health);
      compare_bytes(&c, "similarity", &r.similarity, &full.similarity, sizeof r.similarity);
      compare_count(&c, "pairs", r.correlation.pairs, full.correlation.pairs);
      compare_count(&c, "valid", r.correlation.valid_features, full.correlation.valid_features);
      compare_value(&c, "mean |r|", r.correlation.mean_abs, full.correlation.mean_abs, 1e-6, 0);
      compare_value(&c, "mean r^2", r.correlation.mean_square, full.correlation.mean_square, 1e-6, 0);
      compare_value(&c, "max |r|", r.correlation.max_abs, full.correlation.max_abs, 2e-6, 0);
      /* without effective rank there is a warning; the participation ratio then comes from all pairs or not at all */
      int rank = (b->statistics & ACTSCOPE_RANK) && !(r.warnings & ACTSCOPE_WARN_NO_EFFECTIVE_RANK);
      if (rank || (b->statistics & ACTSCOPE_CORRELATION))
        compare_value(&c, "participation", r.rank.participation_ratio, full.rank.participation_ratio, 0, 1e-5);
      compare_value(&c, "effective rank", r.rank.effective_rank,
                    rank || !(b->statistics & ACTSCOPE_RANK) ? full.rank.effective_rank : NAN, 0, 1e-5);
      CHECK(c);
      actscope_plan_destroy(plan);
      cr_assert_eq(actscope_memory_held(), held, "%s: %llu bytes left behind", b->name,
                   (unsigned long long)(actscope_memory_held() - held));
      guard_free(&w);
    }
    data_free(&t);
    free(x);
  }
}

/* One workspace for all: the plan needs what its neediest layer does, and names that one. */
Test(plan, layers_share_the_workspace) {
  int64_t small[2] = {10, 10}, large[2] = {100, 400};
  actscope_layer layers[3] = {{"small", ACTSCOPE_FLOAT32, 2, small}, {"large", ACTSCOPE_FLOAT32, 2, large},
                              {"small too", ACTSCOPE_FLOAT32, 2, small}};
  actscope_options o = cpu_options();
  uint64_t one, all, two;
  actscope_plan *plan;
  ACCEPTED(actscope_minimum_budget(&layers[1], 1, &o, &one));
  ACCEPTED(actscope_minimum_budget(layers, 3, &o, &all));
  ACCEPTED(actscope_minimum_budget(layers, 1, &o, &two));
  cr_assert(all >= one && all < one + 2 * two && all < one + 8192, "%llu beside %llu", (unsigned long long)all,
            (unsigned long long)one);
  o.memory_budget = all - 1;
  REFUSED(actscope_plan_create(&plan, layers, 3, &o), ACTSCOPE_BUDGET_TOO_SMALL, "large");
}

Test(plan, nothing_is_allocated_after_the_first_enqueue) {
  struct network n;
  actscope_options o = cpu_options();
  actscope_plan *plan;
  network_make(&n, 3);
  ACCEPTED(actscope_plan_create(&plan, n.layers, LAYERS, &o));
  ACCEPTED(actscope_plan_enqueue(plan, n.tensors, LAYERS, NULL));
  uint64_t count = actscope_memory_allocations(), peak = actscope_memory_peak();
  for (int k = 0; k < 5; ++k) ACCEPTED(actscope_plan_enqueue(plan, n.tensors, LAYERS, NULL));
  cr_assert_eq(actscope_memory_allocations(), count);
  cr_assert_eq(actscope_memory_peak(), peak);
  cr_assert(peak <= o.memory_budget);
  actscope_plan_destroy(plan);
  cr_assert_eq(actscope_memory_held(), 0);
  network_free(&n);
}

/* Every allocation may fail: the call says so, and nothing is lost. */
Test(plan, failing_allocations) {
  struct network n;
  actscope_options o = cpu_options();
  network_make(&n, 3);
  int finished = 0;
  for (uint64_t fail = 1; fail < 50 && !finished; ++fail) {
    actscope_plan *plan = NULL;
    actscope_memory_fail_at(fail);
    actscope_status status = actscope_plan_create(&plan, n.layers, LAYERS, &o);
    if (status == ACTSCOPE_OK) {
      status = actscope_plan_enqueue(plan, n.tensors, LAYERS, NULL);
      if (status == ACTSCOPE_OK) finished = 1;
    } else {
      cr_assert_null(plan);
    }
    actscope_memory_fail_at(0);
    if (!finished) {
      cr_assert_eq(status, ACTSCOPE_OUT_OF_MEMORY, "allocation %llu: %s", (unsigned long long)fail, actscope_last_error());
      if (plan) ACCEPTED(actscope_plan_enqueue(plan, n.tensors, LAYERS, NULL)); /* the next try works */
    } else {
      cr_assert(fail > 2, "no allocation was made to fail");
    }
    actscope_plan_destroy(plan);
    cr_assert_eq(actscope_memory_held(), 0);
  }
  cr_assert(finished);
  network_free(&n);
}

/* ---- Threads --------------------------------------------------------------------------------------------------------- */

/* The same bits from any number of threads. */
Test(plan, threads_do_not_change_a_bit) {
  static const int64_t shapes[][2] = {{64, 777}, {3000, 11}, {7, 2049}, {257, 255}};
  static const int threads[] = {2, 3, 5, 8};
  for (int kind = 0; kind < 3; ++kind)
    for (int k = 0; k < 4; ++k)
      for (int method = 1; method < 4; ++method) {
        uint64_t samples = (uint64_t)shapes[k][0], features = (uint64_t)shapes[k][1];
        double *x = malloc(samples * features * sizeof *x);
        struct laid_out t;
        actscope_options o = cpu_options();
        actscope_layer_report one, many;
        data_fill(kind == 0 ? DATA_OUTLIERS : kind == 1 ? DATA_SPECIALS : DATA_HUBS, 9, ACTSCOPE_FLOAT32, x, samples, features);
        data_lay_out(&t, x, kind == 2 ? ACTSCOPE_FLOAT16 : ACTSCOPE_FLOAT32, samples, features, LAYOUT_ROWS);
        o.correlation = (actscope_correlation_method)method;
        o.pairs = 5000;
        o.threads = 1;
        ACCEPTED(actscope_analyze(&t.tensor, &o, &one));
        for (int n = 0; n < 4; ++n) {
          o.threads = threads[n];
          ACCEPTED(actscope_analyze(&t.tensor, &o, &many));
          cr_assert(same_report(&one, &many), "%s [%llu, %llu], method %d: %d threads differ from one",
                    kind == 0 ? "outliers" : kind == 1 ? "specials" : "hubs", (unsigned long long)samples,
                    (unsigned long long)features, method, threads[n]);
        }
        data_free(&t);
        free(x);
      }
}

struct worker {
  struct network network;
  actscope_layer_report reports[LAYERS];
  char error[200];
  int failures, own_text;
  pthread_barrier_t *together;
};
static void *work(void *user) {
  struct worker *w = user;
  actscope_options o = cpu_options();
  actscope_plan *plan;
  pthread_barrier_wait(w->together);
  if (actscope_plan_create(&plan, w->network.layers, LAYERS, &o)) { ++w->failures; return NULL; }
  for (int round = 0; round < 20; ++round) {
    actscope_layer_report r[LAYERS];
    w->failures += actscope_plan_enqueue(plan, w->network.tensors, LAYERS, NULL) != ACTSCOPE_OK;
    for (int k = 0; k < LAYERS; ++k) {
      w->failures += actscope_plan_report(plan, (size_t)k, &r[k]) != ACTSCOPE_OK;
      w->failures += !same_report(&r[k], &w->reports[k]);
    }
    w->failures += actscope_plan_report(plan, 1000 + (size_t)w->own_text, &r[0]) != ACTSCOPE_INVALID_ARGUMENT;
    char expected[32];
    snprintf(expected, sizeof expected, "layer %d ", 1000 + w->own_text);
    w->failures += strstr(actscope_last_error(), expected) == NULL;
  }
  snprintf(w->error, sizeof w->error, "%s", actscope_last_error());
  actscope_plan_destroy(plan);
  return NULL;
}

Test(plan, plans_of_two_threads_do_not_meet) {
  struct worker *w = calloc(2, sizeof *w);
  pthread_barrier_t together;
  pthread_t thread[2];
  actscope_options o = cpu_options();
  actscope_layer_report r;
  pthread_barrier_init(&together, NULL, 2);
  REFUSED(actscope_analyze(NULL, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "tensor");
  for (int k = 0; k < 2; ++k) {
    network_make(&w[k].network, 50 + (uint64_t)k);
    w[k].together = &together;
    w[k].own_text = k;
    for (int l = 0; l < LAYERS; ++l) ACCEPTED(actscope_analyze(&w[k].network.tensors[l], &o, &w[k].reports[l]));
  }
  REFUSED(actscope_analyze(NULL, &o, &r), ACTSCOPE_INVALID_ARGUMENT, "tensor");
  char mine[200];
  snprintf(mine, sizeof mine, "%s", actscope_last_error());
  for (int k = 0; k < 2; ++k) pthread_create(&thread[k], NULL, work, &w[k]);
  for (int k = 0; k < 2; ++k) pthread_join(thread[k], NULL);
  for (int k = 0; k < 2; ++k) cr_assert_eq(w[k].failures, 0, "thread %d: %d failures, last text: %s", k, w[k].failures, w[k].error);
  cr_assert_str_eq(actscope_last_error(), mine, "another thread's failure is told here");
  for (int k = 0; k < 2; ++k) network_free(&w[k].network);
  free(w);
}

static void *read_error(void *user) {
  snprintf(user, 200, "%s", actscope_last_error());
  return NULL;
}
Test(plan, a_thread_without_failures_has_no_text) {
  pthread_t thread;
  char text[200] = "?";
  REFUSED(actscope_analyze(NULL, NULL, NULL), ACTSCOPE_INVALID_ARGUMENT, "");
  pthread_create(&thread, NULL, read_error, text);
  pthread_join(thread, NULL);
  cr_assert_str_eq(text, "");
}

/* ---- Log and warnings ------------------------------------------------------------------------------------------------- */

struct log_book {
  pthread_t thread;
  int lines[4], elsewhere, bad;
};
static void note(void *user, actscope_log_level level, const char *message) {
  struct log_book *b = user;
  ++b->lines[level];
  b->elsewhere += !pthread_equal(b->thread, pthread_self());
  b->bad += message == NULL || !*message || strchr(message, '\n') != NULL;
}

Test(plan, log_keeps_to_its_level_and_thread) {
  struct network n;
  int before = -1;
  network_make(&n, 3);
  for (int level = 0; level < 4; ++level) {
    struct log_book b = {.thread = pthread_self()};
    actscope_options o = cpu_options();
    actscope_plan *plan;
    o.log = note;
    o.log_user = &b;
    o.log_level = (actscope_log_level)level;
    o.large_tensor = 1;
    ACCEPTED(actscope_plan_create(&plan, n.layers, LAYERS, &o));
    ACCEPTED(actscope_plan_enqueue(plan, n.tensors, LAYERS, NULL));
    actscope_plan_destroy(plan);
    int lines = 0;
    for (int k = 0; k < 4; ++k) {
      lines += b.lines[k];
      cr_assert(k <= level || b.lines[k] == 0, "level %d: %d lines of level %d", level, b.lines[k], k);
    }
    cr_assert(b.elsewhere == 0 && b.bad == 0);
    cr_assert(level == 0 || b.lines[ACTSCOPE_LOG_WARNING] >= 2, "large tensors are warned about");
    cr_assert(lines > before, "level %d says no more than the one below", level);
    before = lines;
  }
  network_free(&n);
}

Test(plan, warnings_are_set_and_put_into_words) {
  float x[12] = {1, NAN, 3, 4, 5, 6, 7, INFINITY, 9, 1, 2, 3};
  int64_t shape[2] = {2, 6};
  actscope_tensor t = {x, ACTSCOPE_FLOAT32, 2, shape, NULL};
  actscope_options o = cpu_options();
  actscope_layer_report r;
  char text[256], tiny[8];
  o.large_tensor = 12;
  ACCEPTED(actscope_analyze(&t, &o, &r));
  cr_assert_eq(r.warnings, ACTSCOPE_WARN_LARGE_TENSOR | ACTSCOPE_WARN_NONFINITE | ACTSCOPE_WARN_FEW_SAMPLES, "%u", r.warnings);
  for (int bit = -1; bit <= 33; ++bit) {
    int set = bit >= 0 && bit < ACTSCOPE_WARN_COUNT && (r.warnings >> bit & 1);
    memset(text, 'x', sizeof text);
    cr_assert_eq(actscope_warning_text(&r, bit, text, sizeof text), set, "bit %d", bit);
    cr_assert(memchr(text, 0, sizeof text) && (strlen(text) > 0) == set && !strchr(text, '\n'), "bit %d", bit);
    memset(tiny, 'x', sizeof tiny);
    actscope_warning_text(&r, bit, tiny, 5);
    cr_assert(memchr(tiny, 0, 5) && tiny[5] == 'x' && tiny[6] == 'x', "bit %d overran its buffer", bit);
  }
  o.large_tensor = 13;
  shape[0] = 1, shape[1] = 1;
  ACCEPTED(actscope_analyze(&t, &o, &r));
  cr_assert_eq(r.warnings, ACTSCOPE_WARN_FEW_SAMPLES | ACTSCOPE_WARN_NO_VALID_PAIR, "%u", r.warnings);
}
