/* test_steps.c - windows, the last reports, the alarm, options of a layer's own and change of shapes on a GPU, against the CPU's. */
#include "gpu/plan_tests.h"

void test_windows(void) {
  struct network *steps[STEPS];
  for (int k = 0; k < STEPS; ++k) steps[k] = step_of(k);
  for (int window = 0; window <= 2; window += 2)
    for (int part = 0; part < 2; ++part) {
      actscope_options o = cuda_options();
      o.window = window;
      if (part) o.statistics = ACTSCOPE_HEALTH | ACTSCOPE_CORRELATION;
      else o.statistics = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
      actscope_layer_report *want = cpu_windows(steps, STEPS, o);
      actscope_plan *p = plan_of(steps[0], &o);
      for (int k = 0; k < STEPS; ++k) {
        CHECK_STATUS(actscope_plan_enqueue(p, steps[k]->there, steps[0]->count, NULL), ACTSCOPE_OK);
        check_steps(p, steps[0], want + (size_t)k * MOST, __LINE__);
      }
      /* a reset: the next step is the first of a window, and counts on */
      CHECK_STATUS(actscope_plan_reset(p), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_enqueue(p, steps[0]->there, steps[0]->count, NULL), ACTSCOPE_OK);
      for (size_t i = 0; i < steps[0]->count; ++i) want[i].sequence = STEPS + 1;
      check_steps(p, steps[0], want, __LINE__);
      plan_end(p);
      free(want);
    }
  for (int k = 0; k < STEPS; ++k) network_free(steps[k]);
}

void test_history(void) {
  enum { KEPT = 2 };
  struct network *steps[STEPS];
  for (int k = 0; k < STEPS; ++k) steps[k] = step_of(k);
  actscope_options o = cuda_options();
  o.history = KEPT;
  actscope_layer_report *want = cpu_windows(steps, STEPS, o), r;
  actscope_plan *p = plan_of(steps[0], &o);
  CHECK_STATUS(actscope_plan_report_at(p, 0, 1, &r), ACTSCOPE_NOT_READY);
  for (int k = 0; k < STEPS; ++k) CHECK_STATUS(actscope_plan_enqueue(p, steps[k]->there, steps[0]->count, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  for (size_t i = 0; i < steps[0]->count; ++i) {
    for (int k = STEPS - KEPT; k < STEPS; ++k) {
      CHECK_STATUS(actscope_plan_report_at(p, i, (uint64_t)k + 1, &r), ACTSCOPE_OK);
      note(r.sequence == (uint64_t)k + 1, __LINE__, "%s: report %d is number %llu", steps[0]->names[i], k + 1, (unsigned long long)r.sequence);
      compare_reports(steps[k]->names[i], &r, &want[(size_t)k * MOST + i]);
    }
    CHECK_STATUS(actscope_plan_report_at(p, i, 1, &r), ACTSCOPE_INVALID_ARGUMENT);
    CHECK_STATUS(actscope_plan_report_at(p, i, 0, &r), ACTSCOPE_INVALID_ARGUMENT);
    CHECK_STATUS(actscope_plan_report_at(p, i, STEPS + 1, &r), ACTSCOPE_NOT_READY);
  }
  plan_end(p);
  free(want);
  for (int k = 0; k < STEPS; ++k) network_free(steps[k]);
}

void test_alarm(void) {
  struct network *n = network_new();
  for (int i = 0; i < 60; ++i) /* two waves */
    network_add(n, i == 40 || i == 57 ? DATA_SPECIALS : DATA_NORMAL, types[i % 6], 9, 4, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  actscope_plan *p = plan_of(n, &o);
  size_t layer = 1;
  uint64_t when = 1;
  CHECK_STATUS(actscope_plan_alarm(p, &layer, &when), ACTSCOPE_OK);
  CHECK(layer == SIZE_MAX && when == 0);
  const void *bad = n->there[40].data;
  n->there[40].data = n->there[34].data; /* the same type; good */
  for (int k = 0; k < 2; ++k) {
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, NULL), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  }
  CHECK_STATUS(actscope_plan_alarm(p, &layer, &when), ACTSCOPE_OK);
  note(layer == 57 && when == 1, __LINE__, "alarm: layer %zu at %llu", layer, (unsigned long long)when);
  CHECK_STATUS(actscope_plan_reset(p), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_alarm(p, &layer, &when), ACTSCOPE_OK);
  CHECK(layer == SIZE_MAX);
  n->there[40].data = bad;
  n->there[3].data = NULL; /* a skipped layer does not shift the count */
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_alarm(p, &layer, &when), ACTSCOPE_OK);
  note(layer == 40 && when == 3, __LINE__, "alarm: layer %zu at %llu", layer, (unsigned long long)when);
  plan_end(p);
  network_free(n);
}

void test_own_options(void) {
  struct network *n = step_of(1);
  actscope_options o = cuda_options(), own[4];
  for (int k = 0; k < 4; ++k) own[k] = o;
  own[0].statistics = ACTSCOPE_ALL, own[0].precision = ACTSCOPE_PRECISION_FP16;
  own[1].statistics = ACTSCOPE_MOMENTS | ACTSCOPE_HEALTH;
  own[2].statistics = ACTSCOPE_DISTINCT | ACTSCOPE_CORRELATION, own[2].sketch_bits = 9;
  own[2].correlation = ACTSCOPE_CORRELATION_SAMPLED, own[2].pairs = 60, own[2].seed = 4;
  own[3].statistics = ACTSCOPE_RANK, own[3].pair_functionals = 0;
  for (size_t i = 0; i < n->count; ++i)
    if (i % 5) n->layers[i].options = &own[i % 5 - 1];
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_plan *p = own_plan_of(n, &o);
  CHECK(actscope_plan_device(p) == ACTSCOPE_DEVICE_CUDA);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  for (size_t i = 0; i < n->count; ++i) {
    actscope_layer_report got;
    CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
    if (i % 5 == 1) continue; /* one fp16 product is coarser than the comparison: its other numbers are below */
    compare_reports(n->names[i], &got, &want[i]);
  }
  plan_end(p);
  free(want);
  network_free(n);
}

/* Once the workspace holds the larger shapes, a change of shapes allocates nothing and waits for nothing of the caller's. The other
 * shapes are those of a short batch, at the same addresses. */
void test_reshape_in_place(void) {
  struct network *whole = network_new(), *part = network_new(), *n[2] = {whole, part};
  int64_t shapes[8][2];
  for (int i = 0; i < 8; ++i) network_add(whole, DATA_FACTORS, types[i % 6], 20, (uint64_t)(5 + i), LAYOUT_ROWS);
  *part = *whole;
  for (int i = 0; i < 8; ++i) {
    shapes[i][0] = 7 + i % 3, shapes[i][1] = whole->here[i].shape[1];
    part->layers[i].shape = part->here[i].shape = part->there[i].shape = shapes[i];
  }
  for (int graph = 0; graph < 2; ++graph) {
    actscope_options o = cuda_options();
    o.statistics = ACTSCOPE_ALL, o.graph = graph;
    actscope_layer_report *want[2] = {cpu_reports(whole, o), cpu_reports(part, o)}, r;
    actscope_plan *p = own_plan_of(whole, &o), *other = own_plan_of(whole, &o);
    CHECK_STATUS(actscope_plan_enqueue(other, whole->there, 8, NULL), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(other), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(p, whole->there, 8, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    for (int round = 1; round < 5; ++round) {
      const int before = hook_order(HOOK_LATE), k = round % 2;
      CHECK_STATUS(actscope_plan_enqueue(other, whole->there, 8, NULL), ACTSCOPE_OK);
      const unsigned long allocations = hook_allocations();
      CHECK_STATUS(actscope_plan_reshape(p, n[k]->layers, 8), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_report(p, 0, &r), ACTSCOPE_NOT_READY);
      const int large = hook_sim() && round > 1; /* the workspace holds either */
      if (large) CHECK(actscope_plan_poll(other) == ACTSCOPE_NOT_READY && hook_allocations() == allocations);
      CHECK_STATUS(actscope_plan_enqueue(p, n[k]->there, 8, hook_stream(0)), ACTSCOPE_OK);
      if (large) CHECK(hook_allocations() == allocations);
      CHECK_STATUS(actscope_plan_wait(other), ACTSCOPE_OK);
      hook_order(before);
      check_all(p, n[k], want[k]);
      CHECK_STATUS(actscope_plan_report(p, 3, &r), ACTSCOPE_OK);
      CHECK(r.sequence == (uint64_t)round + 1);
    }
    plan_end(p);
    plan_end(other);
    free(want[0]), free(want[1]);
  }
  free(part); /* nothing in it is its own */
  network_free(whole);
}

/* What is told of single features, and CKA, are as large as the shapes: held in another size, and counted in that size. */
void test_reshape_told(void) {
  struct network *n[2] = {network_new(), network_new()};
  for (int i = 0; i < 5; ++i) {
    network_add(n[0], DATA_FACTORS, types[i], 12, (uint64_t)(15 + 30 * i), LAYOUT_ROWS);
    network_add(n[1], DATA_FACTORS, types[i], 3, (uint64_t)(40 + 3 * i), LAYOUT_ROWS); /* too few for CKA */
  }
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_CORRELATION | ACTSCOPE_CKA;
  o.correlation = ACTSCOPE_CORRELATION_EXACT, o.pair_functionals = ACTSCOPE_PAIRS_ALL;
  actscope_memory memory;
  CHECK_STATUS(actscope_memory_usage(0, &memory), ACTSCOPE_OK);
  const uint64_t held = memory.device_held_bytes;
  actscope_plan *p = own_plan_of(n[0], &o);
  for (int round = 0; round < 4; ++round) {
    const int k = round % 2;
    actscope_options here = o;
    here.device = ACTSCOPE_DEVICE_CPU;
    actscope_plan *q = own_plan_of(n[k], &here);
    CHECK_STATUS(actscope_plan_reshape(p, n[k]->layers, 5), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(p, n[k]->there, 5, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(q, n[k]->here, 5, NULL), ACTSCOPE_OK);
    for (size_t i = 0; i < 5; ++i) {
      const uint64_t features = k ? 40 + 3 * i : 15 + 30 * i;
      float got[200], want[200];
      CHECK_STATUS(actscope_plan_feature_correlations(p, i, got, NULL, features), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_feature_correlations(q, i, want, NULL, features), ACTSCOPE_OK);
      for (uint64_t f = 0; f < features; ++f)
        note(fabs(got[f] - want[f]) <= 4e-6 || (isnan(got[f]) && isnan(want[f])), __LINE__, "%s: feature %llu: %.9g, not %.9g", n[k]->names[i],
             (unsigned long long)f, got[f], want[f]);
    }
    double matrix[2][25];
    CHECK_STATUS(actscope_plan_cka(p, matrix[0], 5), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_cka(q, matrix[1], 5), ACTSCOPE_OK);
    for (int e = 0; e < 25; ++e)
      note(fabs(matrix[0][e] - matrix[1][e]) <= 1e-4 || (isnan(matrix[0][e]) && isnan(matrix[1][e])), __LINE__, "CKA %d: %.9g, not %.9g", e,
           matrix[0][e], matrix[1][e]);
    plan_end(q);
  }
  plan_end(p);
  CHECK_STATUS(actscope_memory_usage(0, &memory), ACTSCOPE_OK);
  note(memory.device_held_bytes == held, __LINE__, "%llu bytes of device memory are counted, not %llu", (unsigned long long)memory.device_held_bytes,
       (unsigned long long)held);
  network_free(n[0]), network_free(n[1]);
}

void test_reshape(void) {
  struct network *n[2] = {network_new(), network_new()};
  for (int i = 0; i < 8; ++i) {
    network_add(n[0], DATA_RELU, types[i % 6], 20, (uint64_t)(5 + i), LAYOUT_ROWS);
    network_add(n[1], DATA_FACTORS, types[i % 6], (uint64_t)(7 + i % 3), (uint64_t)(5 + i), LAYOUT_ROWS);
  }
  actscope_options o = cuda_options();
  o.graph = 1;
  actscope_layer_report *want[2] = {cpu_reports(n[0], o), cpu_reports(n[1], o)}, r;
  actscope_plan *p = own_plan_of(n[0], &o);
  for (int round = 0; round < 4; ++round) {
    CHECK_STATUS(actscope_plan_reshape(p, n[round % 2]->layers, 8), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(p, n[round % 2]->there, 8, NULL), ACTSCOPE_OK);
    check_all(p, n[round % 2], want[round % 2]);
    CHECK_STATUS(actscope_plan_report(p, 3, &r), ACTSCOPE_OK);
    CHECK(r.sequence == (uint64_t)round + 1);
  }
  if (hook_sim())
    for (long fail = 1, went = 0; fail < 60 && !went; ++fail) {
      hook_fail(fail, 2);
      actscope_status status = actscope_plan_reshape(p, n[fail % 2]->layers, 8);
      hook_fail(0, 0);
      went = status == ACTSCOPE_OK;
      if (!went) {
        CHECK_STATUS(status, ACTSCOPE_OUT_OF_MEMORY);
        CHECK_STATUS(actscope_plan_reshape(p, n[fail % 2]->layers, 8), ACTSCOPE_OK);
      }
      CHECK_STATUS(actscope_plan_enqueue(p, n[fail % 2]->there, 8, NULL), ACTSCOPE_OK);
      check_all(p, n[fail % 2], want[fail % 2]);
    }
  plan_end(p);
  free(want[0]), free(want[1]);
  network_free(n[0]), network_free(n[1]);
}
