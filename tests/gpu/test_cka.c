/* test_cka.c - CKA between the layers of a plan on a GPU, against a plan on the CPU. */
#include "gpu/plan_tests.h"

enum { CKA_LAYERS = 9 };

/* Layers of as many samples and of others, one of which is no activation, one of few samples, one without a valid
 * feature. */
static struct network *compared(int step) {
  struct network *n = network_new();
  network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT32, 60, 300, LAYOUT_ROWS);
  network_add(n, DATA_SPECIALS, ACTSCOPE_FLOAT32, 60, 70, LAYOUT_COLUMNS);
  network_add(n, step ? DATA_NORMAL : DATA_HUBS, ACTSCOPE_BFLOAT16, 40, 70, LAYOUT_ROWS);
  network_add(n, step ? DATA_RELU : DATA_FACTORS, ACTSCOPE_FLOAT64, 60, 11, LAYOUT_PADDED);
  network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT32, 60, 30, LAYOUT_ROWS);
  network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT32, 3, 50, LAYOUT_ROWS);
  network_add(n, DATA_CONSTANT, ACTSCOPE_FLOAT32, 60, 20, LAYOUT_ROWS);
  network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT16, 40, 500, LAYOUT_ROWS);
  network_add(n, DATA_RELU, ACTSCOPE_FLOAT8_E4M3, 4, 33, LAYOUT_ROWS);
  n->layers[4].role = ACTSCOPE_ROLE_GRADIENT;
  return n;
}

static actscope_options cka_options(void) {
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_HEALTH | ACTSCOPE_CKA;
  return o;
}
static actscope_plan *cpu_plan_of(const struct network *n, actscope_options o) {
  o.device = ACTSCOPE_DEVICE_CPU, o.memory_budget = 1ull << 30, o.graph = 0;
  return plan_of(n, &o);
}

/* Both keep float32 products; 1e-5 is what include/actscope.h says. NaN where the CPU has it. `out` marks layers that
 * are not there. */
static void compare_cka(actscope_plan *p, actscope_plan *q, const struct network *n, const unsigned char *out,
                        const char *what, int line) {
  const size_t count = n->count;
  double *got = malloc(count * count * sizeof *got), *want = malloc(count * count * sizeof *want);
  struct compare c;
  memset(got, POISON_ODD, count * count * sizeof *got);
  const actscope_status status = actscope_plan_cka(p, got, count);
  note(status == ACTSCOPE_OK, line, "%s: %s", what, actscope_last_error());
  CHECK_STATUS(actscope_plan_cka(q, want, count), ACTSCOPE_OK);
  compare_begin(&c, "%s", what);
  for (size_t i = 0; i < count; ++i)
    for (size_t k = 0; k < count; ++k)
      compare_value(&c, "CKA", got[i * count + k], out && (out[i] || out[k]) ? NAN : want[i * count + k],
                    i == k ? 0 : 1e-5, 0);
  note(compare_end(&c) == 0, line, "%s", c.text);
  free(got), free(want);
}

void test_cka(void) { /* all layers, some, one after the other, after a reset, in other memory */
  struct network *n = compared(0);
  actscope_options o = cka_options();
  double matrix[CKA_LAYERS * CKA_LAYERS], again[CKA_LAYERS * CKA_LAYERS];
  actscope_tensor some[2][MOST];
  for (int all = 0; all < 2; ++all) {
    if (all) o.statistics = ACTSCOPE_ALL | ACTSCOPE_CKA;
    actscope_layer_report *want = cpu_reports(n, o);
    actscope_plan *p = plan_of(n, &o), *q = cpu_plan_of(n, o);
    CHECK_STATUS(actscope_plan_cka(p, matrix, n->count), ACTSCOPE_NOT_READY);
    for (int i = 0; i < 4; i += 3) {
      CHECK_STATUS(actscope_plan_enqueue_layer(p, (size_t)i, &n->there[i], hook_stream(0)), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_enqueue_layer(q, (size_t)i, &n->here[i], NULL), ACTSCOPE_OK);
    }
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    compare_cka(p, q, n, NULL, "two layers", __LINE__);
    for (int round = 0; round < 2; ++round) {
      CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
      if (round) {
        CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
        continue; /* the numbers of layers follow from the enqueues */
      }
      check_all(p, n, want);
      compare_cka(p, q, n, NULL, "all layers", __LINE__);
      CHECK_STATUS(actscope_plan_cka(p, matrix, n->count), ACTSCOPE_OK);
      CHECK(matrix[1] > -1 && isnan(matrix[2]) && isnan(matrix[4]) && isnan(matrix[5]) && isnan(matrix[6]) &&
            matrix[2 * CKA_LAYERS + 7] < 1);
    }
    CHECK_STATUS(actscope_plan_cka(p, again, n->count), ACTSCOPE_OK);
    CHECK(memcmp(matrix, again, sizeof matrix) == 0);
    CHECK_STATUS(actscope_plan_reset(p), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_reset(q), ACTSCOPE_OK);
    compare_cka(p, q, n, NULL, "after a reset", __LINE__);
    for (size_t i = 0; i < n->count; ++i)
      for (int k = 0; k < 2; ++k) {
        some[k][i] = k ? n->here[i] : n->there[i];
        if (i % 3 == 0) some[k][i].data = NULL;
      }
    CHECK_STATUS(actscope_plan_enqueue(p, some[0], n->count, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(q, some[1], n->count, NULL), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    compare_cka(p, q, n, NULL, "some layers since", __LINE__);
    plan_end(p);
    plan_end(q);
    free(want);
  }
  network_free(n);
}

/* More layers than one launch compares, in several waves; strips; entries of several blocks; the least bits, twice. */
void test_cka_sizes(void) {
  struct network *n = network_new();
  for (int i = 0; i < (small ? 20 : 140); ++i)
    network_add(n, i % 3 ? DATA_FACTORS : DATA_RELU, types[i % 6], (uint64_t)(4 + i % 5), (uint64_t)(3 + i * 7 % 17),
                LAYOUT_ROWS);
  if (!small) network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT32, 60, 17000, LAYOUT_ROWS); /* features in two strips */
  network_add(n, DATA_HUBS, ACTSCOPE_FLOAT32, 60, 30, LAYOUT_ROWS);
  for (int i = 0; i < 5; ++i)
    network_add(n, DATA_FACTORS, ACTSCOPE_FLOAT32, 300, (uint64_t)(20 + i), LAYOUT_COLUMNS); /* three blocks */
  actscope_options o = cka_options();
  o.statistics = ACTSCOPE_CKA;
  actscope_plan *q = cpu_plan_of(n, o);
  CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
  for (int tight = 0; tight < 2; ++tight) {
    if (tight) {
      CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &o.memory_budget), ACTSCOPE_OK);
      o.memory_budget += 16 << 20;
    }
    actscope_plan *p = plan_of(n, &o);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    compare_cka(p, q, n, NULL, tight ? "tight" : "sizes", __LINE__);
    plan_end(p);
  }
  plan_end(q);
  network_free(n);
}

/* What is kept counts against the budget: as much as fits, in the order of the layers, and never a byte more. */
void test_cka_budgets(void) {
  struct network *n = compared(0);
  actscope_options o = cka_options();
  uint64_t least = 0, without = 0;
  actscope_plan *q = cpu_plan_of(n, o);
  CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &least), ACTSCOPE_OK);
  o.statistics = ACTSCOPE_HEALTH;
  CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &without), ACTSCOPE_OK);
  note(least == without, __LINE__, "CKA raises the least budget from %llu to %llu", (unsigned long long)without,
       (unsigned long long)least);
  o.statistics |= ACTSCOPE_CKA;
  int between = 0, missing = 1;
  for (o.memory_budget = least; missing; o.memory_budget += 65536) {
    unsigned char out[CKA_LAYERS] = {0};
    actscope_layer_report r;
    actscope_memory before, after;
    int there = 0;
    missing = 0;
    note(o.memory_budget < least + (64 << 20), __LINE__, "never all");
    if (o.memory_budget >= least + (64 << 20)) break;
    CHECK_STATUS(actscope_memory_usage(0, &before), ACTSCOPE_OK);
    const uint64_t held = hook_held() + actscope_memory_held();
    actscope_plan *p = own_plan_of(n, &o);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    CHECK_STATUS(actscope_memory_usage(0, &after), ACTSCOPE_OK);
    note(after.device_held_bytes - before.device_held_bytes <= o.memory_budget, __LINE__, "%llu bytes held of %llu",
         (unsigned long long)(after.device_held_bytes - before.device_held_bytes), (unsigned long long)o.memory_budget);
    if (hook_sim()) { /* of the host, of the device, and pinned */
      const uint64_t more = hook_held() + actscope_memory_held() - held;
      note(more <= o.memory_budget, __LINE__, "%llu bytes in all of %llu", (unsigned long long)more,
           (unsigned long long)o.memory_budget);
    }
    for (size_t i = 0; i < n->count; ++i) {
      CHECK_STATUS(actscope_plan_report(p, i, &r), ACTSCOPE_OK);
      out[i] = (r.warnings & ACTSCOPE_WARN_NO_CKA) != 0;
      missing += out[i], there += !out[i] && i < 4;
    }
    between += missing > 0 && there > 0;
    compare_cka(p, q, n, out, "a tight budget", __LINE__);
    plan_end(p);
  }
  CHECK(between > 0);
  plan_end(q);
  network_free(n);
}

/* Of the last step, in windows as well; by the plan's own graph, by replays of the caller's, and after a change of
 * shapes. */
void test_cka_steps(void) {
  struct network *steps[2] = {compared(0), compared(1)};
  for (int way = 0; way < 3; ++way) {
    actscope_options o = cka_options();
    o.window = way ? 2 : 0, o.graph = way == 1;
    if (way == 2) { /* pairs are other ones at each replay; what is kept has the same bits */
      o.statistics |= ACTSCOPE_CORRELATION;
      o.correlation = ACTSCOPE_CORRELATION_SAMPLED, o.pairs = 100;
    }
    actscope_plan *p = plan_of(steps[0], &o), *q = cpu_plan_of(steps[0], o);
    double matrix[2][CKA_LAYERS * CKA_LAYERS];
    for (int k = 0; k < 5; ++k) {
      const struct network *n = steps[way == 2 ? 0 : k % 2];
      if (way == 2 && k > 1) {
        CHECK(hook_replay() == 0);
      } else {
        const unsigned long before = hook_synchronous();
        if (way == 2 && k == 1) CHECK(hook_capture_begin(hook_stream(0)) == 0);
        CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
        if (k > 0 && way != 1) CHECK(hook_synchronous() == before);
        if (way == 2 && k == 1) CHECK(hook_capture_end(hook_stream(0)) == 0 && hook_replay() == 0);
      }
      CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_enqueue(q, n->here, n->count, NULL), ACTSCOPE_OK);
      compare_cka(p, q, n, NULL, "a step", __LINE__);
      CHECK_STATUS(actscope_plan_cka(p, matrix[k % 2], CKA_LAYERS), ACTSCOPE_OK);
      if (way == 2 && k > 0)
        note(memcmp(matrix[0], matrix[1], sizeof matrix[0]) == 0, __LINE__, "other bits at replay %d", k);
      if (k == 3) { /* what a replay leaves after a reset is there again */
        CHECK_STATUS(actscope_plan_reset(p), ACTSCOPE_OK);
        CHECK_STATUS(actscope_plan_reset(q), ACTSCOPE_OK);
        compare_cka(p, q, n, NULL, "after a reset", __LINE__);
      }
    }
    plan_end(p);
    plan_end(q);
  }
  struct network *other = network_new();
  for (int i = 0; i < CKA_LAYERS; ++i)
    network_add(other, DATA_FACTORS, steps[0]->layers[i].dtype, 20 + (uint64_t)(i % 2), 30, LAYOUT_ROWS);
  actscope_options o = cka_options();
  actscope_plan *p = own_plan_of(steps[0], &o), *q = cpu_plan_of(steps[0], o);
  CHECK_STATUS(actscope_plan_enqueue(p, steps[0]->there, CKA_LAYERS, NULL), ACTSCOPE_OK);
  for (int k = 0; k < 2; ++k) {
    const struct network *n = k ? steps[0] : other;
    CHECK_STATUS(actscope_plan_reshape(p, n->layers, CKA_LAYERS), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_reshape(q, n->layers, CKA_LAYERS), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, CKA_LAYERS, NULL), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(q, n->here, CKA_LAYERS, NULL), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    compare_cka(p, q, n, NULL, "other shapes", __LINE__);
  }
  plan_end(p);
  plan_end(q);
  network_free(other), network_free(steps[0]), network_free(steps[1]);
}
