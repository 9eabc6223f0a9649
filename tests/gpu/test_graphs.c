/* test_graphs.c - enqueues as graphs: the plan's own, the caller's, and fresh samples in each replay. */
#include "gpu/plan_tests.h"

/* Sampled pairs, step by step: those of the CPU at that step, and the same bits whether a step is an enqueue, a launch of the
 * plan's own graph or a replay of the caller's. */
void test_samples(void) {
  enum { ENQUEUED, GRAPH, REPLAYED, WAYS, MADE = 5 };
  struct network *n = network_new();
  struct CUstream_st *stream = hook_stream(0);
  for (int i = 0; i < 6; ++i) network_add(n, DATA_FACTORS, types[i], 19, (uint64_t)(33 + 5 * i), LAYOUT_ROWS);
  for (int window = 1; window >= 0; --window)
    for (int same = 0; same < 2; ++same) {
      actscope_options o = cuda_options(), cpu;
      o.statistics = ACTSCOPE_CORRELATION, o.correlation = ACTSCOPE_CORRELATION_SAMPLED, o.pairs = 150, o.seed = 8;
      o.same_pairs = same, o.window = window;
      static actscope_layer_report made[WAYS][MADE][MOST], want;
      for (int way = 0; way < WAYS; ++way) {
        o.graph = way == GRAPH;
        actscope_plan *p = plan_of(n, &o);
        for (int k = 0; k < MADE; ++k) {
          if (way == REPLAYED && k == 1) CHECK(hook_capture_begin(stream) == 0);
          if (way != REPLAYED || k < 2) CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, stream), ACTSCOPE_OK);
          if (way == REPLAYED && k == 1) CHECK(hook_capture_end(stream) == 0);
          if (way == REPLAYED && k > 0) CHECK(hook_replay() == 0);
          CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
          for (size_t i = 0; i < n->count; ++i) {
            actscope_layer_report *r = &made[way][k][i];
            CHECK_STATUS(actscope_plan_report(p, i, r), ACTSCOPE_OK);
            note(memcmp(&r->correlation, &made[0][k][i].correlation, sizeof r->correlation) == 0 && r->sequence == (uint64_t)k + 1, __LINE__,
                 "%s: way %d, step %d is number %llu or has other bits", n->names[i], way, k, (unsigned long long)r->sequence);
            if (k > 0 && window == 1)
              note((memcmp(&r->correlation, &made[way][k - 1][i].correlation, sizeof r->correlation) == 0) == same, __LINE__,
                   "%s: way %d, step %d against the one before", n->names[i], way, k);
          }
        }
        plan_end(p);
      }
      cpu = o, cpu.device = ACTSCOPE_DEVICE_CPU;
      actscope_plan *p = plan_of(n, &cpu);
      for (int k = 0; k < MADE; ++k) {
        CHECK_STATUS(actscope_plan_enqueue(p, n->here, n->count, NULL), ACTSCOPE_OK);
        for (size_t i = 0; i < n->count; ++i) {
          CHECK_STATUS(actscope_plan_report(p, i, &want), ACTSCOPE_OK);
          compare_reports(n->names[i], &made[0][k][i], &want);
        }
      }
      plan_end(p);
    }
  network_free(n);
}

void test_capture(void) { /* an enqueue becomes a graph: no allocation, no wait; each replay is a new report */
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
  plan_end(p);
  free(zeros), free(want);
  network_free(n);
}

void test_graph(void) { /* one graph: the same reports; moved tensors, skipped ones, windows, other enqueues between */
  struct network *steps[STEPS];
  for (int k = 0; k < STEPS; ++k) steps[k] = step_of(k);
  struct network *n = steps[0];
  for (int window = 1; window <= 2; ++window) {
    actscope_options o = cuda_options();
    o.graph = 1, o.window = window;
    actscope_layer_report *want = cpu_windows(steps, STEPS, o), r;
    actscope_plan *p = plan_of(n, &o);
    for (int k = 0; k < STEPS; ++k) {
      CHECK_STATUS(actscope_plan_enqueue(p, steps[k]->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      check_steps(p, n, want + (size_t)k * MOST, __LINE__);
    }
    free(want);
    if (window == 1) {
      unsigned long before = hook_synchronous();
      for (int k = 0; k < 3; ++k) CHECK_STATUS(actscope_plan_enqueue(p, steps[STEPS - 1]->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      CHECK(hook_synchronous() == before); /* replays neither wait nor allocate */
      want = cpu_reports(n, o);
      const actscope_tensor first = n->there[1];
      n->there[1].data = NULL; /* another graph: one layer less */
      CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_report(p, 1, &r), ACTSCOPE_OK);
      CHECK(r.sequence == STEPS + 3);
      CHECK_STATUS(actscope_plan_report(p, 0, &r), ACTSCOPE_OK);
      CHECK(r.sequence == STEPS + 4);
      compare_reports(n->names[0], &r, &want[0]);
      n->there[1] = first;
      CHECK_STATUS(actscope_plan_enqueue_layer(p, 2, &n->there[2], hook_stream(0)), ACTSCOPE_OK); /* beside the graph */
      CHECK_STATUS(actscope_plan_enqueue(p, n->here, n->count, hook_stream(0)), ACTSCOPE_OK);     /* host memory: no graph */
      check_all(p, n, want);
      free(want);
    }
    plan_end(p);
  }
  for (int k = 0; k < STEPS; ++k) network_free(steps[k]);
}
