/* test_memory.c - memory of a plan on a GPU: budgets, lent workspaces, tensors in host memory, what is told of it. */
#include "gpu/plan_tests.h"

void test_large_plans(void) { /* wide layers in little memory: planned, not run */
  static const struct {
    int64_t features;
    uint64_t budget;
    int strips;
  } cases[] = {{1048576, 768ull << 20, 0}, {1048576, 64ull << 20, 1}, {65536, 64ull << 20, 0}, {65536, 8ull << 20, 1}, {8192, 8ull << 20, 0},
               {8192, 3ull << 20, 1}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k)
    for (int method = ACTSCOPE_CORRELATION_AUTO; method <= ACTSCOPE_CORRELATION_GRAM; ++method) {
      actscope_options o;
      actscope_options_init(&o);
      o.device = ACTSCOPE_DEVICE_CUDA;
      o.distinct = ACTSCOPE_DISTINCT_SKETCH;
      o.correlation = (actscope_correlation_method)method;
      o.memory_budget = cases[k].budget;
      const int64_t shape[] = {128, cases[k].features};
      const actscope_layer layer = {.name = "wide", .dtype = ACTSCOPE_FLOAT32, .ndim = 2, .shape = shape};
      actscope_plan *p = NULL;
      size_t bytes = 0;
      uint64_t least = 0;
      CHECK_STATUS(actscope_plan_create(&p, &layer, 1, &o), ACTSCOPE_OK);
      if (!p) continue;
      CHECK_STATUS(actscope_plan_workspace(p, &bytes, NULL), ACTSCOPE_OK);
      note(bytes <= cases[k].budget, __LINE__, "128 x %lld: %zu bytes", (long long)cases[k].features, bytes);
      CHECK_STATUS(actscope_minimum_budget(&layer, 1, &o, &least), ACTSCOPE_OK);
      note(least <= cases[k].budget, __LINE__, "128 x %lld: at least %llu bytes", (long long)cases[k].features, (unsigned long long)least);
      if (getenv("PLAN_SIZES"))
        printf("  128 x %lld, method %d, %llu MiB: %.1f MiB, at least %.1f\n", (long long)cases[k].features, method,
               (unsigned long long)cases[k].budget >> 20, (double)bytes / 1048576, (double)least / 1048576);
      if (cases[k].strips) CHECK(bytes < 128ull * (uint64_t)cases[k].features * 4); /* of the z-scores alone */
      plan_end(p);
    }
}

/* From everything at once to one layer at a time. Layers that share a launch share out its blocks, so sums may round
 * differently with another budget; with the same one the bits are the same. */
void test_budgets(void) {
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o), *before = calloc(n->count, sizeof *before);
  uint64_t least = 0;
  CHECK_STATUS(actscope_minimum_budget(n->layers, n->count, &o, &least), ACTSCOPE_OK);
  for (int step = 0; step < 4; ++step) {
    size_t bytes = 0;
    o.memory_budget = step < 2 ? least : step == 2 ? least + 700000 : 256ull << 20;
    actscope_plan *p = plan_of(n, &o);
    CHECK_STATUS(actscope_plan_workspace(p, &bytes, NULL), ACTSCOPE_OK);
    note(bytes <= o.memory_budget, __LINE__, "workspace of %zu bytes, budget %llu", bytes, (unsigned long long)o.memory_budget);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    check_all(p, n, want);
    for (size_t i = 0; i < n->count; ++i) {
      actscope_layer_report r;
      CHECK_STATUS(actscope_plan_report(p, i, &r), ACTSCOPE_OK);
      if (step == 1) note(memcmp(&before[i], &r, sizeof r) == 0, __LINE__, "%s: other bits the second time", n->names[i]);
      before[i] = r;
    }
    plan_end(p);
  }
  actscope_plan *p;
  o.memory_budget = least - 1;
  CHECK_STATUS(actscope_plan_create(&p, n->layers, n->count, &o), ACTSCOPE_BUDGET_TOO_SMALL);
  char text[32];
  snprintf(text, sizeof text, "%llu bytes", (unsigned long long)least);
  note(strstr(actscope_last_error(), text) != NULL, __LINE__, "the text does not name %s: %s", text, actscope_last_error());
  free(before), free(want);
  network_free(n);
}

void test_workspace(void) { /* the caller's, of exactly the size, poisoned and guarded */
  struct network *n = everything();
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o);
  o.memory_budget = 4 << 20;
  actscope_plan *p = own_plan_of(n, &o);
  size_t bytes = 0, alignment = 0;
  CHECK_STATUS(actscope_plan_workspace(p, &bytes, &alignment), ACTSCOPE_OK);
  void *memory = NULL;
  CHECK(actscope_cuda_allocate(&memory, bytes + 2 * GUARD) == 0);
  unsigned char *pattern = malloc(bytes + 2 * GUARD), *seen = malloc(bytes + 2 * GUARD);
  memset(pattern, 0xFF, bytes + 2 * GUARD);
  CHECK_STATUS(actscope_plan_bind(p, (char *)memory + GUARD, bytes - 1), ACTSCOPE_WORKSPACE_TOO_SMALL);
  CHECK_STATUS(actscope_plan_bind(p, (char *)memory + GUARD + 64, bytes), ACTSCOPE_INVALID_ARGUMENT);
  for (int poison = 0; poison < 2; ++poison) {
    memset(pattern, poison ? POISON_ODD : POISON_NAN, bytes + 2 * GUARD);
    CHECK(actscope_cuda_upload(memory, pattern, bytes + 2 * GUARD, hook_stream(0)) == 0);
    CHECK_STATUS(actscope_plan_bind(p, (char *)memory + GUARD, bytes), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
    check_all(p, n, want);
    hook_download(seen, memory, bytes + 2 * GUARD);
    CHECK(memcmp(seen, pattern, GUARD) == 0);
    CHECK(memcmp(seen + GUARD + bytes, pattern + GUARD + bytes, GUARD) == 0);
    CHECK(memcmp(seen + GUARD, pattern + GUARD, bytes) != 0);
  }
  plan_end(p);
  actscope_cuda_release(memory, bytes + 2 * GUARD);
  free(pattern), free(seen), free(want);
  network_free(n);
}

void test_host_data(void) { /* tensors in host memory, some or all */
  struct network *n = network_new();
  for (int i = 0; i < 24; ++i)
    network_add(n, i % 3 ? DATA_NORMAL : DATA_OUTLIERS, types[i % 6], 9 + (uint64_t)i, 13, (enum data_layout)(i % LAYOUTS));
  actscope_options o = cuda_options();
  actscope_layer_report *want = cpu_reports(n, o);
  actscope_plan *p = own_plan_of(n, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, n->here, n->count, hook_stream(0)), ACTSCOPE_OK);
  check_all(p, n, want);
  actscope_tensor mixed[MOST];
  for (size_t i = 0; i < n->count; ++i) mixed[i] = i % 5 == 2 ? n->here[i] : n->there[i];
  CHECK_STATUS(actscope_plan_enqueue(p, mixed, n->count, hook_stream(0)), ACTSCOPE_OK);
  check_all(p, n, want);
  plan_end(p);
  for (size_t i = 0; i < n->count; i += 7) {
    actscope_layer_report r;
    CHECK_STATUS(actscope_analyze(&n->here[i], &o, &r), ACTSCOPE_OK);
    compare_reports(n->names[i], &r, &want[i]);
  }
  free(want);
  network_free(n);
}

void test_memory(void) { /* what the library says it holds is what it allocated */
  struct network *n = step_of(0);
  actscope_options o = cuda_options();
  actscope_memory before, during, after;
  CHECK_STATUS(actscope_memory_usage(0, &before), ACTSCOPE_OK);
  actscope_plan *p = own_plan_of(n, &o);
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
  plan_end(p);
  CHECK_STATUS(actscope_memory_usage(0, &after), ACTSCOPE_OK);
  CHECK(after.device_held_bytes == before.device_held_bytes);
  network_free(n);
}
