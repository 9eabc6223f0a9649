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

/* Replays count, also for what comes after a change of shapes: no sample is seen twice, no number given twice. */
void test_replays_count(void) {
  struct network *n[2] = {network_new(), network_new()};
  struct CUstream_st *stream = hook_stream(0);
  for (int k = 0; k < 2; ++k) network_add(n[k], DATA_FACTORS, ACTSCOPE_FLOAT32, (uint64_t)(12 + k), 30, LAYOUT_ROWS);
  actscope_options o = cuda_options();
  actscope_layer_report r;
  actscope_plan *p = own_plan_of(n[0], &o);
  CHECK_STATUS(actscope_plan_enqueue(p, n[0]->there, 1, stream), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  CHECK(hook_capture_begin(stream) == 0);
  CHECK_STATUS(actscope_plan_enqueue(p, n[0]->there, 1, stream), ACTSCOPE_OK);
  CHECK(hook_capture_end(stream) == 0);
  for (int k = 0; k < 4; ++k) CHECK(hook_replay() == 0);
  CHECK_STATUS(actscope_plan_reshape(p, n[1]->layers, 1), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_enqueue(p, n[1]->there, 1, stream), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_report(p, 0, &r), ACTSCOPE_OK);
  note(r.sequence == 6, __LINE__, "number %llu after one enqueue and four replays", (unsigned long long)r.sequence);
  plan_end(p);
  network_free(n[0]), network_free(n[1]);
}

/* Every way to enqueue can be captured, and a replay of it is the enqueue again, bit for bit. */
enum { ALL_LAYERS, ONE_BY_ONE, SOME, WINDOWS_OF_TWO, WINDOWS_UNTIL_RESET, OWN_GRAPH, LEAST_MEMORY, WAYS_TO_ENQUEUE };
static void enqueue_by(int way, actscope_plan *p, const struct network *n, int line) {
  struct CUstream_st *stream = hook_stream(0);
  actscope_tensor some[MOST];
  for (size_t i = 0; i < n->count; ++i) {
    some[i] = n->there[i];
    if (way == SOME && i % 3 == 1) some[i].data = NULL;
    if (way == ONE_BY_ONE) { /* in another order than the plan's */
      const size_t k = n->count - 1 - i;
      note(actscope_plan_enqueue_layer(p, k, &n->there[k], stream) == ACTSCOPE_OK, line, "%s: %s", n->names[k], actscope_last_error());
    }
  }
  if (way != ONE_BY_ONE) note(actscope_plan_enqueue(p, some, n->count, stream) == ACTSCOPE_OK, line, "%s", actscope_last_error());
}
void test_captured_ways(void) {
  enum { MADE = 4 };
  static const actscope_dtype some[] = {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT16};
  struct network *n = network_new();
  for (int i = 0; i < 6; ++i)
    network_add(n, i % 2 ? DATA_FACTORS : DATA_SPECIALS, some[i % 3], (uint64_t)(8 + 3 * i), (uint64_t)(30 - 4 * i), (enum data_layout)(i % LAYOUTS));
  struct CUstream_st *stream = hook_stream(0);
  for (int way = 0; way < WAYS_TO_ENQUEUE; ++way) {
    actscope_options o = cuda_options();
    o.statistics = ACTSCOPE_ALL;
    o.correlation = way % 2 ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, o.pairs = 90;
    o.window = way == WINDOWS_OF_TWO ? 2 : way == WINDOWS_UNTIL_RESET ? 0 : 1, o.graph = way == OWN_GRAPH;
    if (way == LEAST_MEMORY) CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &o.memory_budget), ACTSCOPE_OK);
    actscope_plan *p = plan_of(n, &o), *direct = plan_of(n, &o);
    for (int k = 0; k < MADE; ++k) {
      enqueue_by(way, direct, n, __LINE__);
      if (k == 1) {
        CHECK(hook_capture_begin(stream) == 0);
        const unsigned long before = hook_synchronous();
        enqueue_by(way, p, n, __LINE__);
        note(hook_synchronous() == before, __LINE__, "way %d: %lu allocations and waits", way, hook_synchronous() - before);
        CHECK(hook_capture_end(stream) == 0);
      }
      if (k == 0) enqueue_by(way, p, n, __LINE__); else CHECK(hook_replay() == 0);
      CHECK_STATUS(actscope_plan_wait(direct), ACTSCOPE_OK);
      CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
      for (size_t i = 0; i < n->count; ++i) {
        actscope_layer_report got, want;
        if (way == SOME && i % 3 == 1) continue;
        CHECK_STATUS(actscope_plan_report(direct, i, &want), ACTSCOPE_OK);
        CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
        note(memcmp(&got, &want, sizeof got) == 0 && got.sequence == (uint64_t)k + 1, __LINE__, "%s: way %d, number %llu: other bits than the enqueue's",
             n->names[i], way, (unsigned long long)got.sequence);
      }
    }
    /* host memory cannot be captured, by no way */
    CHECK(hook_capture_begin(stream) == 0);
    CHECK_STATUS(actscope_plan_enqueue_layer(p, 2, &n->here[2], stream), ACTSCOPE_INVALID_ARGUMENT);
    CHECK_STATUS(actscope_plan_enqueue(p, n->here, n->count, stream), ACTSCOPE_INVALID_ARGUMENT);
    CHECK(hook_capture_end(stream) == 0);
    plan_end(p), plan_end(direct);
  }
  network_free(n);
}
