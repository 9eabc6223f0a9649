/* test_streams.c - the side stream of a plan, in every order that a device may take (sim alone can choose
 * it), by every way to enqueue; and enqueues on different streams. */
#include "gpu/plan_tests.h"

#include "cuda/state.h"

/* Layers with work for both chains. In so much more than the least memory they are several waves, forked ones among them. */
enum { BEYOND_LEAST = 600000 };
static struct network *branching(void) {
  struct network *n = network_new();
  static const actscope_dtype some[] = {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_BFLOAT16};
  for (int i = 0; i < 9; ++i)
    network_add(n, i % 3 ? DATA_FACTORS : DATA_RELU, some[i % 4], (uint64_t)(9 + i % 14), (uint64_t)(12 + i * 5 % 23), (enum data_layout)(i % LAYOUTS));
  return n;
}

enum { DIRECT, CAPTURED, GRAPH, BY_LAYER, FROM_HOST, PATHS };
/* Two steps by one of the paths, each against the CPU's. */
static void steps_by(int path, const struct network *n, actscope_options o, const actscope_layer_report *want) {
  struct CUstream_st *stream = hook_stream(0);
  uint64_t least = 0;
  CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &least), ACTSCOPE_OK);
  o.graph = path == GRAPH, o.memory_budget = least + BEYOND_LEAST;
  actscope_plan *p = plan_of(n, &o);
  for (int step = 0; step < 2; ++step) {
    const actscope_tensor *from = path == FROM_HOST ? n->here : n->there;
    const int record = path == CAPTURED && step == 1;
    if (record) CHECK(hook_capture_begin(stream) == 0);
    for (size_t i = 0; path == BY_LAYER && i < n->count; ++i) CHECK_STATUS(actscope_plan_enqueue_layer(p, i, &from[i], stream), ACTSCOPE_OK);
    if (path != BY_LAYER) CHECK_STATUS(actscope_plan_enqueue(p, from, n->count, stream), ACTSCOPE_OK);
    if (record) CHECK(hook_capture_end(stream) == 0 && hook_replay() == 0);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    for (size_t i = 0; i < n->count; ++i) {
      actscope_layer_report got;
      CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
      note(got.sequence == (uint64_t)step + 1, __LINE__, "%s: path %d, number %llu", n->names[i], path, (unsigned long long)got.sequence);
      compare_reports(n->names[i], &got, &want[step * MOST + i]);
    }
  }
  plan_end(p);
}

void test_streams(void) {
  struct network *n = branching();
  actscope_layer_report *want = calloc(2 * MOST, sizeof *want);
  const int before = hook_order(HOOK_AT_ONCE);
  for (int window = 1; window >= (small ? 1 : 0); --window) {
    actscope_options o = cuda_options(), cpu;
    o.statistics = ACTSCOPE_ALL, o.window = window, o.same_pairs = 1;
    o.distinct = window ? ACTSCOPE_DISTINCT_EXACT : ACTSCOPE_DISTINCT_SKETCH;
    cpu = o, cpu.device = ACTSCOPE_DEVICE_CPU;
    actscope_plan *p = plan_of(n, &cpu);
    for (int step = 0; step < 2; ++step) {
      CHECK_STATUS(actscope_plan_enqueue(p, n->here, n->count, NULL), ACTSCOPE_OK);
      for (size_t i = 0; i < n->count; ++i) CHECK_STATUS(actscope_plan_report(p, i, &want[step * MOST + (int)i]), ACTSCOPE_OK);
    }
    plan_end(p);
    for (int order = 0; order < (hook_sim() ? HOOK_ORDERS : 1); ++order)
      for (int path = 0; path < PATHS; ++path) {
        const unsigned long side = hook_side_work();
        hook_order(order);
        steps_by(path, n, o, want);
        note(!hook_sim() || hook_side_work() > side, __LINE__, "path %d: nothing on the side stream", path);
      }
    hook_order(HOOK_RANDOM);
    for (int k = 0; hook_sim() && k < (small ? 2 : 5); ++k) steps_by(k % PATHS, n, o, want);
  }
  /* one chain, or memory for one at a time: no side stream */
  const unsigned long side = hook_side_work();
  actscope_options o = cuda_options();
  for (int k = 0; k < 3; ++k) {
    const size_t count = k < 2 ? n->count : 1;
    o.statistics = k == 0 ? ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT | ACTSCOPE_SIMILARITY : k == 1 ? ACTSCOPE_CORRELATION | ACTSCOPE_HEALTH : ACTSCOPE_ALL;
    if (k == 2) CHECK_STATUS(actscope_minimum_budget(n->layers, count, &o, &o.memory_budget), ACTSCOPE_OK);
    actscope_plan *p = NULL;
    CHECK_STATUS(actscope_plan_create(&p, n->layers, count, &o), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, count, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    plan_end(p);
  }
  note(hook_side_work() == side, __LINE__, "%lu launches on a side stream for one chain", hook_side_work() - side);
  hook_order(before);
  free(want);
  network_free(n);
}

/* What two chains use at once lies apart: sim runs a launch after the other, and would not notice. */
void test_chains_apart(void) {
  struct network *n = branching();
  int forked = 0;
  for (int k = 0; k < 12; ++k) {
    actscope_options o = cuda_options();
    o.statistics = ACTSCOPE_ALL, o.distinct = k % 2 ? ACTSCOPE_DISTINCT_EXACT : ACTSCOPE_DISTINCT_SKETCH;
    CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &o.memory_budget), ACTSCOPE_OK);
    o.memory_budget += (uint64_t)k * 150000;
    actscope_plan *p = own_plan_of(n, &o);
    if (!p) continue;
    const struct cuda_state *s = p->state;
    for (size_t w = 0; w < s->wave_count; ++w) {
      const struct wave *v = &s->waves[w];
      uint64_t counters = 0, scratch = 0, side_counters = CUDA_PROFILE_LAYERS, side_scratch = 0, words = 0, sets = 0;
      uint64_t plain = ~0ull, states = ~0ull, plain_bytes = 0;
      for (size_t i = v->first; i < v->first + v->count; ++i) {
        const struct areas a = s->places[i].areas;
        counters += a.counters * 4, scratch += a.scratch, words += a.side_counters, side_scratch += a.side_scratch, sets += a.set;
        plain_bytes += a.plain;
        if (s->places[i].plain < plain) plain = s->places[i].plain;
        if (s->places[i].zeroed < states) states = s->places[i].zeroed;
      }
      if (words > side_counters) side_counters = words;
      if (!v->forked) continue;
      ++forked;
      note(counters <= v->side_counters && v->side_counters + 4 * side_counters <= states && states <= v->zeroed && v->zeroed <= plain, __LINE__,
           "budget %d, wave %zu: counters up to %llu, then from %llu to %llu, states from %llu to %llu, then from %llu", k, w,
           (unsigned long long)counters, (unsigned long long)v->side_counters, (unsigned long long)(v->side_counters + 4 * side_counters),
           (unsigned long long)states, (unsigned long long)v->zeroed, (unsigned long long)plain);
      note(plain + plain_bytes <= v->scratch && v->scratch + scratch <= v->side_scratch && v->side_scratch + side_scratch <= v->sets &&
               s->kept + v->sets + sets <= p->workspace_bytes,
           __LINE__, "budget %d, wave %zu: scratch at %llu of %llu bytes, then at %llu, sets at %llu of %llu bytes, workspace %llu", k, w,
           (unsigned long long)v->scratch, (unsigned long long)scratch, (unsigned long long)v->side_scratch, (unsigned long long)v->sets,
           (unsigned long long)sets, (unsigned long long)p->workspace_bytes);
    }
    plan_end(p);
  }
  note(forked >= 8, __LINE__, "%d forked waves", forked);
  network_free(n);
}

/* Enqueues on different streams: the second one works in the memory of the first. */
void test_other_stream(void) {
  struct network *n = branching();
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_ALL, o.history = 4;
  actscope_layer_report *want = cpu_reports(n, o), got;
  const int before = hook_order(HOOK_AT_ONCE);
  for (int order = 0; order < (hook_sim() ? HOOK_ORDERS : 1); ++order) {
    hook_order(order);
    actscope_plan *p = own_plan_of(n, &o);
    for (int k = 0; k < 4; ++k) CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(k % 2)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    for (size_t i = 0; i < n->count; ++i)
      for (uint64_t k = 1; k <= 4; ++k) {
        CHECK_STATUS(actscope_plan_report_at(p, i, k, &got), ACTSCOPE_OK);
        compare_reports(n->names[i], &got, &want[i]);
      }
    plan_end(p);
  }
  hook_order(before);
  free(want);
  network_free(n);
}
