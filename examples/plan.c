/* plan.c - many layers, many steps, one workspace that the caller owns.
 *
 * The plan is made once, from shapes alone. It says how much memory it will use, the caller brings it, and from then on
 * a step allocates nothing. This program measures two layers for three steps, leaves one layer out at one of them, and
 * shows what a budget that is too small answers. */
#include <stdio.h>
#include <stdlib.h>

#include "actscope.h"

enum { N = 64, HIDDEN = 256, CHANNELS = 16, SIDE = 6 };

static void check(actscope_status status, const char *call) {
  if (status == ACTSCOPE_OK) return;
  fprintf(stderr, "plan: %s: %s: %s\n", call, actscope_status_name(status), actscope_last_error());
  exit(1);
}

/* Stands in for a forward pass: noise that all features share more and more from step to step. */
static void fill(float *x, int samples, int features, float shared) {
  for (int n = 0; n < samples; n++) {
    float common = (float)rand() / (float)RAND_MAX;
    for (int d = 0; d < features; d++)
      x[n * features + d] = shared * common + (1 - shared) * (float)rand() / (float)RAND_MAX;
  }
}

int main(void) {
  /* 1. What is known before the first step. Shapes and names are copied. */
  const int64_t hidden_shape[] = {N, HIDDEN}, map_shape[] = {N, CHANNELS, SIDE, SIDE};
  const actscope_layer layers[] = {{"hidden", ACTSCOPE_FLOAT32, 2, hidden_shape},
                                   {"feature map", ACTSCOPE_FLOAT32, 4, map_shape}};
  actscope_options options;
  actscope_options_init(&options);
  options.device = ACTSCOPE_DEVICE_CPU; /* where the arrays below are */
  options.statistics = ACTSCOPE_PROFILE | ACTSCOPE_HEALTH | ACTSCOPE_CORRELATION | ACTSCOPE_RANK;

  /* 2. The budget is hard: too small a one is refused, and the smallest that would do is a query. */
  uint64_t least;
  check(actscope_minimum_budget(layers, 2, &options, &least), "minimum_budget");
  actscope_plan *plan;
  options.memory_budget = least - 1;
  actscope_status refused = actscope_plan_create(&plan, layers, 2, &options);
  printf("with %llu bytes: %s\n", (unsigned long long)options.memory_budget, actscope_status_name(refused));
  options.memory_budget = 8 << 20;
  check(actscope_plan_create(&plan, layers, 2, &options), "plan_create");

  /* 3. The workspace: size and alignment are asked for, the memory is ours. */
  size_t bytes, alignment;
  check(actscope_plan_workspace(plan, &bytes, &alignment), "plan_workspace");
  void *workspace = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!workspace) return 1;
  check(actscope_plan_bind(plan, workspace, bytes), "plan_bind");
  printf("with %llu bytes: a workspace of %zu\n", (unsigned long long)options.memory_budget, bytes);

  /* 4. The loop. The feature map lies channels-last in memory, [N, SIDE, SIDE, CHANNELS], and is shown in the order
   * the plan knows by its strides. A tensor without data skips its layer: the last report stays. */
  static float hidden[N * HIDDEN], map[N * SIDE * SIDE * CHANNELS];
  const int64_t map_strides[] = {SIDE * SIDE * CHANNELS, 1, SIDE * CHANNELS, CHANNELS};
  for (int step = 0; step < 3; step++) {
    fill(hidden, N, HIDDEN, 0.25f * (float)step);
    fill(map, N, SIDE * SIDE * CHANNELS, 0.5f);
    const actscope_tensor tensors[] = {
        {hidden, ACTSCOPE_FLOAT32, 2, hidden_shape, NULL},
        {step == 1 ? NULL : map, ACTSCOPE_FLOAT32, 4, map_shape, map_strides},
    };
    check(actscope_plan_enqueue(plan, tensors, 2, NULL), "plan_enqueue");
    check(actscope_plan_wait(plan), "plan_wait");
    for (size_t k = 0; k < 2; k++) {
      actscope_layer_report report;
      check(actscope_plan_report(plan, k, &report), "plan_report");
      printf("step %d  %-12s mean %.3f, mean |r| %.3f (floor %.3f), participation ratio %.1f of %llu features\n", step,
             actscope_plan_layer_name(plan, k), report.profile.mean, report.correlation.mean_abs,
             report.correlation.noise_floor, report.rank.participation_ratio, (unsigned long long)report.features);
    }
  }

  /* 5. The plan goes first, then the memory it was lent. */
  actscope_plan_destroy(plan);
  free(workspace);
  return 0;
}
