/* test_device.c - what needs a device to mean anything: its Philox, and a tensor of more than 2^31 elements. The first runs under
 * sim too. */
#include "gpu/plan_tests.h"

/* The order of sampled pairs on the device is the host's, which follows from Philox words alone: one wrong bit, and it is
 * another order. */
void test_order_of_pairs(void) {
  static const uint64_t sizes[] = {1, 2, 3, 1000, 65537}, seeds[] = {0, 5, 1ull << 40 | 7, ~0ull};
  static const uint64_t sequences[] = {1, 2, 1ull << 32, (1ull << 33) + 5};
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; ++k) {
    const int64_t shape[2] = {4, (int64_t)sizes[k]};
    const uint64_t d = sizes[k], bytes = 4096 + d * (sizeof(struct column) + 8);
    const actscope_tensor tensor = {NULL, ACTSCOPE_FLOAT32, 2, shape, NULL};
    struct column *columns = malloc(d * sizeof *columns);
    uint32_t *list = malloc(d * sizeof *list);
    struct view v;
    struct cuda_layers t;
    void *memory = NULL;
    for (uint64_t i = 0; i < d; ++i) columns[i] = (struct column){0, 1, -1, 1}; /* valid ones */
    CHECK(actscope_cuda_allocate(&memory, bytes) == 0);
    char *at = memory;
    view_init(&v, &tensor, 0);
    actscope_cuda_layers_begin(&t);
    struct cuda_layer *layer = actscope_cuda_layers_add(&t, &v);
    layer->features_out = (struct cuda_features *)at;
    layer->clock = (struct cuda_clock *)(at + 1024);
    layer->columns = (struct column *)(at + 4096);
    layer->list = (uint32_t *)(layer->columns + d), layer->order = layer->list + d;
    layer->pairs_wanted = 1;
    hook_upload(layer->columns, columns, d * sizeof *columns);
    for (size_t s = 0; s < 4; ++s)
      for (size_t q = 0; q < 4; ++q) {
        const struct cuda_clock clock = {sequences[q], 1, 0};
        struct random_permutation order;
        uint64_t wrong = 0;
        layer->seed = seeds[s];
        hook_upload(at + 1024, &clock, sizeof clock);
        CHECK(actscope_cuda_select(&t, hook_stream(0)) == 0);
        hook_download(list, layer->list, d * sizeof *list);
        pairs_permutation(&order, d, seeds[s], sequences[q] - 1);
        for (uint64_t i = 0; i < d; ++i) wrong += list[i] != random_permute(&order, i);
        note(wrong == 0, __LINE__, "%llu features, seed %llu, step %llu: %llu of them elsewhere", (unsigned long long)d,
             (unsigned long long)seeds[s], (unsigned long long)sequences[q], (unsigned long long)wrong);
      }
    actscope_cuda_release(memory, bytes);
    free(columns), free(list);
  }
}

/* More elements than 32 bits count with a sign, against the CPU. Sim would take hours. */
void test_large_tensor(void) {
  const uint64_t features = 64, samples = (1ull << 25) + 3, bytes = samples * features;
  actscope_memory m;
  CHECK_STATUS(actscope_memory_usage(0, &m), ACTSCOPE_OK);
  unsigned char *host = hook_sim() || small ? NULL : malloc(bytes);
  if (hook_sim() || !host || m.device_total_bytes - m.device_used_bytes < bytes + (1ull << 30)) {
    printf("*** SKIPPED: a tensor of 2^31 elements and more: %s ***\n", hook_sim() ? "there is no device" : small ? "small sizes" : "memory is short");
    free(host);
    return;
  }
  struct random_state r = {3};
  for (uint64_t i = 0; i < bytes; ++i) host[i] = (unsigned char)(i < 1 << 20 ? random_next(&r) : host[i - (1 << 20)]);
  host[bytes - 1] = 0x7f; /* e4m3: a NaN, the last element of all */
  const int64_t shape[2] = {(int64_t)samples, (int64_t)features};
  const actscope_layer layer = {.name = "large", .dtype = ACTSCOPE_FLOAT8_E4M3, .ndim = 2, .shape = shape};
  actscope_tensor here = {host, ACTSCOPE_FLOAT8_E4M3, 2, shape, NULL}, there = here;
  actscope_layer_report got, want;
  void *device = NULL;
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT | ACTSCOPE_HEALTH, o.threads = 0;
  CHECK(actscope_cuda_allocate(&device, bytes) == 0);
  hook_upload(device, host, bytes);
  there.data = device;
  for (int k = 0; k < 2; ++k) {
    actscope_plan *p = NULL;
    o.device = k ? ACTSCOPE_DEVICE_CUDA : ACTSCOPE_DEVICE_CPU;
    CHECK_STATUS(actscope_plan_create(&p, &layer, 1, &o), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_enqueue(p, k ? &there : &here, 1, hook_stream(0)), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
    CHECK_STATUS(actscope_plan_report(p, 0, k ? &got : &want), ACTSCOPE_OK);
    plan_end(p);
  }
  CHECK(want.profile.nan > 0 && want.health.nonfinite > 0);
  compare_reports("large", &got, &want);
  actscope_cuda_release(device, bytes);
  free(host);
}
