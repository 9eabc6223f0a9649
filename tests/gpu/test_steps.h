/* test_steps.h - part of test_plan.c: windows, the last reports, the alarm, the plan's own graph, options of a layer's own
 * and change of shapes on a GPU, against the CPU's. */

/* Three networks of the same shapes with other contents: three steps. */
enum { STEPS = 3 };
static struct network *step_of(int step) {
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
static actscope_layer_report *cpu_windows(struct network **steps, int count, actscope_options o) {
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
static void check_steps(actscope_plan *p, const struct network *n, const actscope_layer_report *want, int line) {
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

static void test_windows(void) {
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
      actscope_plan_destroy(p);
      free(want);
    }
  for (int k = 0; k < STEPS; ++k) network_free(steps[k]);
}

/* Sampled pairs, step by step: those of the CPU at that step, and the same bits whether a step is an enqueue, a launch of the
 * plan's own graph or a replay of the caller's. */
static void test_samples(void) {
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
        actscope_plan_destroy(p);
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
      actscope_plan_destroy(p);
    }
  network_free(n);
}

static void test_history(void) {
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
  actscope_plan_destroy(p);
  free(want);
  for (int k = 0; k < STEPS; ++k) network_free(steps[k]);
}

static void test_alarm(void) {
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
  actscope_plan_destroy(p);
  network_free(n);
}

static void test_graph(void) { /* one graph: the same reports; moved tensors, skipped ones, windows, other enqueues between */
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
    actscope_plan_destroy(p);
  }
  for (int k = 0; k < STEPS; ++k) network_free(steps[k]);
}

static void test_graph_failures(void) { /* every call fails once while a graph is recorded, updated and launched */
  struct network *a = step_of(0), *b = step_of(1);
  actscope_options o = cuda_options();
  o.graph = 1;
  actscope_layer_report *want = cpu_reports(a, o);
  actscope_plan *p = plan_of(a, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, a->there, a->count, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  int went = 0;
  for (long fail = 1; fail < 400 && !went; ++fail) {
    hook_fail(fail, 2);
    actscope_status status = actscope_plan_enqueue(p, fail % 2 ? b->there : a->there, a->count, NULL);
    hook_fail(0, 0);
    went = status == ACTSCOPE_OK;
    note(status == ACTSCOPE_OK || status == ACTSCOPE_OUT_OF_MEMORY, __LINE__, "call %ld: %s: %s", fail, actscope_status_name(status), actscope_last_error());
    CHECK_STATUS(actscope_plan_enqueue(p, a->there, a->count, NULL), ACTSCOPE_OK);
    check_all(p, a, want);
  }
  CHECK(went);
  actscope_plan_destroy(p);
  free(want);
  network_free(a), network_free(b);
  CHECK(hook_held() == 0);
}

static void test_own_options(void) {
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
  actscope_plan *p = plan_of(n, &o);
  CHECK(actscope_plan_device(p) == ACTSCOPE_DEVICE_CUDA);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  for (size_t i = 0; i < n->count; ++i) {
    actscope_layer_report got;
    CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
    if (i % 5 == 1) continue; /* one fp16 product is coarser than the comparison: its other numbers are below */
    compare_reports(n->names[i], &got, &want[i]);
  }
  actscope_plan_destroy(p);
  free(want);
  network_free(n);
}

static void test_reshape(void) {
  struct network *n[2] = {network_new(), network_new()};
  for (int i = 0; i < 8; ++i) {
    network_add(n[0], DATA_RELU, types[i % 6], 20, (uint64_t)(5 + i), LAYOUT_ROWS);
    network_add(n[1], DATA_FACTORS, types[i % 6], (uint64_t)(7 + i % 3), (uint64_t)(5 + i), LAYOUT_ROWS);
  }
  actscope_options o = cuda_options();
  o.graph = 1;
  actscope_layer_report *want[2] = {cpu_reports(n[0], o), cpu_reports(n[1], o)}, r;
  actscope_plan *p = plan_of(n[0], &o);
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
  actscope_plan_destroy(p);
  free(want[0]), free(want[1]);
  network_free(n[0]), network_free(n[1]);
}

static void test_memory(void) { /* what the library says it holds is what it allocated */
  struct network *n = step_of(0);
  actscope_options o = cuda_options();
  actscope_memory before, during, after;
  CHECK_STATUS(actscope_memory_usage(0, &before), ACTSCOPE_OK);
  actscope_plan *p = plan_of(n, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, NULL), ACTSCOPE_OK);
  CHECK_STATUS(actscope_memory_usage(0, &during), ACTSCOPE_OK);
  size_t bytes;
  CHECK_STATUS(actscope_plan_workspace(p, &bytes, NULL), ACTSCOPE_OK);
  note(during.device_held_bytes >= before.device_held_bytes + bytes && during.device_held_bytes <= before.device_held_bytes + o.memory_budget,
       __LINE__, "%llu bytes held", (unsigned long long)(during.device_held_bytes - before.device_held_bytes));
  note(during.device_total_bytes >= during.device_used_bytes && during.device_used_bytes >= during.device_held_bytes, __LINE__,
       "%llu bytes held, %llu used, %llu there", (unsigned long long)during.device_held_bytes,
       (unsigned long long)during.device_used_bytes, (unsigned long long)during.device_total_bytes);
  CHECK(during.device_held_peak_bytes >= during.device_held_bytes);
  actscope_plan_destroy(p);
  CHECK_STATUS(actscope_memory_usage(0, &after), ACTSCOPE_OK);
  CHECK(after.device_held_bytes == before.device_held_bytes);
  network_free(n);
}
