/* stress_command.c - `actscope stress`: the workload that was killed for memory, round after round under a cap.
 *
 * Half the layers are fp32 [128, 512, 4, 4], half fp32 [128, 1024], everything measured. The layers of a kind share one
 * buffer that is filled anew each round, so that the input itself stays at 4.5 MiB. Memory is sampled after every
 * round: the process must not exceed what it held before the first round by more than the cap (and the page the
 * allocator rounds to), and after the first round it must not grow. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

enum { SLACK = 4 << 20 }; /* stacks of the worker threads and what the C library keeps */

static uint64_t resident_now(void) {
  actscope_memory m;
  actscope_memory_usage(0, &m);
  return m.resident_bytes;
}

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Smooth factors plus noise, rectified: some correlation, some zeros, never the same twice. */
static void fill(float *x, int64_t samples, int64_t features, uint64_t round) {
  uint64_t state = 0x9E3779B97F4A7C15ull * (round + 1);
  for (int64_t s = 0; s < samples; ++s) {
    float factor = sinf((float)s * 0.7f + (float)round);
    for (int64_t f = 0; f < features; ++f) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      float v = (float)(int32_t)(state >> 32) * 4.656613e-10f + 0.3f * factor * (float)((f & 7) - 3);
      x[s * features + f] = v > 0 ? v : 0;
    }
  }
}

static void help(void) {
  puts("usage: actscope stress [--layers 24] [--memory SIZE] [--device DEVICE] [--seconds S] [--threads T]\n\n"
       "Half the layers are fp32 [128,512,4,4], half fp32 [128,1024]; everything is measured, round after round, for S\n"
       "seconds (10) and at least 3 rounds. Fails (exit 3) when working memory exceeds the cap or grows between rounds.");
}

int command_stress(int argc, char **argv) {
  struct arguments a = {argc, argv, 1, NULL, NULL};
  actscope_options o;
  uint64_t layers = 24, seconds = 10, number;
  actscope_options_init(&o);
  while (a.next < argc) {
    const char *value;
    if (arguments_take(&a, "--help", "-h")) {
      help();
      return EXIT_ALL_ANALYSED;
    } else if (arguments_take(&a, "--layers", NULL)) {
      if (!(value = arguments_value(&a)) || parse_count(a.option, value, 1, 1 << 20, &layers)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--memory", NULL)) {
      if (!(value = arguments_value(&a)) || parse_size(a.option, value, &o.memory_budget)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--device", NULL)) {
      if (!(value = arguments_value(&a)) || parse_device(a.option, value, &o)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--seconds", NULL)) {
      if (!(value = arguments_value(&a)) || parse_count(a.option, value, 0, 1000000, &seconds)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--threads", NULL)) {
      if (!(value = arguments_value(&a)) || parse_count(a.option, value, 1, 4096, &number)) return EXIT_USAGE;
      o.threads = (int32_t)number;
    } else {
      complain("unknown option '%s'; try actscope stress --help", argv[a.next]);
      return EXIT_USAGE;
    }
  }
  static const int64_t wide[] = {128, 512, 4, 4}, narrow[] = {128, 1024};
  actscope_layer *list = calloc(layers, sizeof *list);
  actscope_tensor *tensors = calloc(layers, sizeof *tensors);
  float *wide_data = malloc(128 * 8192 * sizeof(float)), *narrow_data = malloc(128 * 1024 * sizeof(float));
  actscope_plan *plan = NULL;
  int result = EXIT_ALL_ANALYSED;
  if (!list || !tensors || !wide_data || !narrow_data) {
    complain("out of memory for the input");
    result = EXIT_MEMORY_CAP;
    goto done;
  }
  for (uint64_t i = 0; i < layers; ++i) {
    int is_wide = i < (layers + 1) / 2;
    list[i] = (actscope_layer){NULL, ACTSCOPE_FLOAT32, is_wide ? 4 : 2, is_wide ? wide : narrow};
    tensors[i] = (actscope_tensor){is_wide ? wide_data : narrow_data, ACTSCOPE_FLOAT32, list[i].ndim, list[i].shape, NULL};
  }
  fill(wide_data, 128, 8192, 0);
  fill(narrow_data, 128, 1024, 0);
  uint64_t before = resident_now();
  actscope_status status = actscope_plan_create(&plan, list, layers, &o);
  if (status) {
    complain("%s", actscope_last_error());
    result = exit_status_of(status);
    goto done;
  }
  char device[256];
  size_t workspace = 0;
  actscope_plan_workspace(plan, &workspace, NULL);
  describe_device(actscope_plan_device(plan), o.device_index, o.threads, device, sizeof device);
  printf("%llu layers on %s; cap %.1f MiB, workspace %.1f MiB\n\n%8s %10s %12s %12s\n", (unsigned long long)layers, device,
         (double)o.memory_budget / 1048576, (double)workspace / 1048576, "round", "seconds", "resident", "beside input");
  double begin = seconds_now(), best = INFINITY;
  uint64_t first = 0, peak = 0, rounds = 0, shown = 1;
  while (rounds < 3 || seconds_now() - begin < (double)seconds) {
    fill(wide_data, 128, 8192, rounds);
    fill(narrow_data, 128, 1024, rounds);
    double start = seconds_now();
    status = actscope_plan_enqueue(plan, tensors, layers, NULL);
    if (!status) status = actscope_plan_wait(plan);
    if (status) {
      complain("round %llu: %s", (unsigned long long)rounds, actscope_last_error());
      result = exit_status_of(status);
      goto done;
    }
    double took = seconds_now() - start;
    uint64_t now = resident_now();
    if (took < best) best = took;
    if (now > peak) peak = now;
    if (++rounds == 2) first = now; /* the first round touches every page there is to touch */
    if (rounds == shown) {
      printf("%8llu %10.3f %8.1f MiB %8.1f MiB\n", (unsigned long long)rounds, took, (double)now / 1048576,
             ((double)now - (double)before) / 1048576);
      fflush(stdout);
      shown *= 2;
    }
    if (now > before + o.memory_budget + SLACK) {
      complain("the cap of %.1f MiB is exceeded: %.1f MiB beside the input", (double)o.memory_budget / 1048576,
               (double)(now - before) / 1048576);
      result = EXIT_MEMORY_CAP;
    }
    if (first && now > first + (1 << 20)) {
      complain("memory grows: %.1f MiB after round 2, %.1f MiB after round %llu", (double)first / 1048576,
               (double)now / 1048576, (unsigned long long)rounds);
      result = EXIT_MEMORY_CAP;
    }
    if (result) goto done;
  }
  printf("\n%llu rounds, best %.3f s; most resident %.1f MiB, %.1f MiB beside the input; no growth\n",
         (unsigned long long)rounds, best, (double)peak / 1048576, ((double)peak - (double)before) / 1048576);
  if (fflush(stdout)) result = EXIT_OUTPUT;
done:
  actscope_plan_destroy(plan);
  free(list);
  free(tensors);
  free(wide_data);
  free(narrow_data);
  return result;
}
