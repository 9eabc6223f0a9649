/* stress_command.c - `actscope stress`: the workload that was killed for memory, round after round under a cap.
 *
 * Half the layers are fp32 [128, 512, 4, 4], half fp32 [128, 1024], or other shapes; everything is measured. The layers of
 * a shape share one buffer that is filled anew each round, so that the input itself stays at 4.5 MiB. What the library holds must
 * never exceed the cap: its own count is exact. The process is looked at every 10 ms and after every round: it must not exceed
 * what it held before the plan by more than the cap (and what the C library and the threads' stacks take), and after the first
 * round it must not grow. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

enum { SLACK = 4 << 20 }; /* stacks of the worker threads and what the C library keeps */

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
  fputs(
      "usage: actscope stress [options]\n"
      "\n"
      "Measures everything of made-up fp32 layers, round after round, and looks at the\n"
      "memory of the process and of the device every 10 ms and after each. Fails where\n"
      "working memory exceeds the cap or grows between rounds.\n"
      "\n"
      "  --layers COUNT        how many (24)\n"
      "  --shapes LIST         as many layers of each (128x512x4x4,128x1024)\n"
      "  --seconds S           how long (10)\n"
      "  --rounds R            and at least so many (3)\n"
      "  --device DEVICE       auto, cpu, cuda or cuda:K (auto: usable GPU, else CPU)\n"
      "  --memory SIZE         hard cap on working memory beside the input (256MiB)\n"
      "  --threads T           CPU threads (as many as there are)\n"
      "\n"
      "Exit status: 0 the cap held; 1 wrong usage; 3 it did not, memory grew, or the\n"
      "cap holds no method (says which would); 4 device failure; 5 output not written.\n",
      stdout);
}

/* ---- The workload --------------------------------------------------------------------------------------------------------- */

enum { SHAPES = 8, DIMS = 8 };
struct kind { /* layers of one shape share one buffer */
  int32_t ndim;
  int64_t shape[DIMS], features;
  uint64_t bytes;
  float *data;
};
struct workload {
  struct kind kind[SHAPES];
  int kinds;
  uint64_t layers;
  actscope_layer *list;
  actscope_tensor *tensors;
};

/* "128x512x4x4,128x1024" */
static int parse_shapes(const char *option, const char *text, struct workload *w) {
  const char *at = text;
  w->kinds = 0;
  while (w->kinds < SHAPES) {
    struct kind *k = &w->kind[w->kinds++];
    double elements = 1;
    k->ndim = 0;
    while (k->ndim < DIMS) {
      char *end;
      long long extent = strtoll(at, &end, 10);
      if (end == at || extent < 1 || extent > 1 << 30) goto wrong;
      k->shape[k->ndim++] = extent;
      elements *= (double)extent;
      at = end;
      if (*at != 'x') break;
      ++at;
    }
    if (k->ndim < 2 || elements > 1e9) goto wrong;
    k->features = (int64_t)elements / k->shape[0];
    if (*at == 0) return 0;
    if (*at++ != ',') goto wrong;
  }
wrong:
  complain("%s wants up to %d shapes of two or more extents, such as 128x512x4x4,128x1024, not '%s'", option, SHAPES, text);
  return -1;
}

static int workload_make(struct workload *w) {
  w->list = calloc(w->layers, sizeof *w->list);
  w->tensors = calloc(w->layers, sizeof *w->tensors);
  if (!w->list || !w->tensors) return -1;
  for (int k = 0; k < w->kinds; ++k) {
    w->kind[k].bytes = (uint64_t)(w->kind[k].shape[0] * w->kind[k].features) * sizeof(float);
    w->kind[k].data = malloc((size_t)w->kind[k].bytes);
    if (!w->kind[k].data) return -1;
  }
  for (uint64_t i = 0; i < w->layers; ++i) {
    const struct kind *k = &w->kind[i * (uint64_t)w->kinds / w->layers];
    w->list[i] = (actscope_layer){.dtype = ACTSCOPE_FLOAT32, .ndim = k->ndim, .shape = k->shape};
    w->tensors[i] = (actscope_tensor){k->data, ACTSCOPE_FLOAT32, k->ndim, k->shape, NULL};
  }
  return 0;
}
static void workload_fill(struct workload *w, uint64_t round) {
  for (int k = 0; k < w->kinds; ++k) fill(w->kind[k].data, w->kind[k].shape[0], w->kind[k].features, round);
}
static void workload_free(struct workload *w) {
  free(w->list);
  free(w->tensors);
  for (int k = 0; k < w->kinds; ++k) free(w->kind[k].data);
}

/* ---- A look every 10 ms -------------------------------------------------------------------------------------------------------- */

struct sampler {
  pthread_t thread;
  int index;                /* of the GPU */
  atomic_int stop;
  _Atomic uint64_t resident, device; /* the most seen; device: used of the GPU, by everybody */
};
static void look(struct sampler *s) {
  actscope_memory m;
  actscope_memory_usage(s->index, &m);
  if (m.resident_bytes > s->resident) s->resident = m.resident_bytes;
  if (m.device_used_bytes > s->device) s->device = m.device_used_bytes;
}
static void *watch(void *user) {
  struct sampler *s = user;
  const struct timespec pause = {0, 10000000};
  while (!s->stop) {
    look(s);
    nanosleep(&pause, NULL);
  }
  return NULL;
}

/* ---- Rounds ------------------------------------------------------------------------------------------------------------------ */

static double mib(double bytes) { return bytes / 1048576; }

static int rounds(struct workload *w, actscope_plan *plan, uint64_t budget, double seconds, uint64_t least_rounds,
                  const actscope_memory *begun, struct sampler *sampler) {
  double begin = seconds_now(), best = INFINITY;
  const uint64_t before = begun->resident_bytes;
  uint64_t first = 0, done = 0, shown = 1, device = 0, staged = 0;
  if (actscope_plan_device(plan) == ACTSCOPE_DEVICE_CUDA) /* host tensors are copied there, which is input */
    for (uint64_t i = 0; i < w->layers; ++i) staged += w->kind[i * (uint64_t)w->kinds / w->layers].bytes;
  printf("%8s %10s %12s %12s %12s\n", "round", "seconds", "resident", "beside input", "on device");
  while (done < least_rounds || seconds_now() - begin < seconds) {
    workload_fill(w, done);
    double start = seconds_now();
    actscope_status status = actscope_plan_enqueue(plan, w->tensors, w->layers, NULL);
    if (!status) status = actscope_plan_wait(plan);
    if (status) {
      complain("round %llu: %s", (unsigned long long)done, actscope_last_error());
      return exit_status_of(status);
    }
    double took = seconds_now() - start;
    actscope_memory m;
    actscope_memory_usage(sampler->index, &m);
    uint64_t now = m.resident_bytes;
    if (took < best) best = took;
    look(sampler);
    const uint64_t peak = sampler->resident, held = m.held_peak_bytes - begun->held_bytes;
    if (++done == 2) first = now, device = m.device_held_bytes; /* the first round touches every page there is to touch */
    if (done == shown) {
      printf("%8llu %10.3f %8.1f MiB %8.1f MiB %8.1f MiB\n", (unsigned long long)done, took, mib((double)now),
             mib((double)now - (double)before), mib((double)m.device_held_bytes));
      fflush(stdout);
      shown *= 2;
    }
    if (held > budget || peak > before + budget + SLACK || m.device_held_peak_bytes > budget + staged) {
      complain("the cap of %.1f MiB is exceeded: %.1f MiB held, %.1f MiB resident beside the input, %.1f MiB on the device",
               mib((double)budget), mib((double)held), mib((double)peak - (double)before), mib((double)m.device_held_peak_bytes));
      return EXIT_MEMORY_CAP;
    }
    if (first && (now > first + (1 << 20) || m.device_held_bytes > device)) {
      complain("memory grows: %.1f MiB after round 2, %.1f MiB after round %llu", mib((double)first), mib((double)now),
               (unsigned long long)done);
      return EXIT_MEMORY_CAP;
    }
  }
  actscope_memory m;
  actscope_memory_usage(sampler->index, &m);
  printf("\n%llu rounds, best %.3f s; most held %.1f MiB, resident %.1f MiB, %.1f MiB beside the input; no growth\n",
         (unsigned long long)done, best, mib((double)(m.held_peak_bytes - begun->held_bytes)), mib((double)sampler->resident),
         mib((double)sampler->resident - (double)before));
  if (staged) printf("%.1f MiB of the GPU in use at most, by everybody\n", mib((double)sampler->device));
  return EXIT_ALL_ANALYSED;
}

static int stress(struct workload *w, const actscope_options *o, uint64_t seconds, uint64_t least_rounds) {
  if (workload_make(w)) {
    complain("out of memory for the input");
    return EXIT_MEMORY_CAP;
  }
  workload_fill(w, 0);
  struct sampler sampler = {.index = o->device_index};
  actscope_memory m;
  actscope_plan *plan;
  if (pthread_create(&sampler.thread, NULL, watch, &sampler)) {
    complain("no thread to look at memory with");
    return EXIT_MEMORY_CAP;
  }
  actscope_memory_usage(o->device_index, &m);
  actscope_status status = actscope_plan_create(&plan, w->list, w->layers, o);
  if (status) {
    complain("%s", actscope_last_error());
    sampler.stop = 1;
    pthread_join(sampler.thread, NULL);
    return exit_status_of(status);
  }
  char device[256];
  size_t workspace = 0;
  actscope_plan_workspace(plan, &workspace, NULL);
  describe_device(actscope_plan_device(plan), o->device_index, o->threads, device, sizeof device);
  printf("%llu layers on %s; cap %.1f MiB, workspace %.1f MiB\n\n", (unsigned long long)w->layers, device,
         mib((double)o->memory_budget), mib((double)workspace));
  int result = rounds(w, plan, o->memory_budget, (double)seconds, least_rounds, &m, &sampler);
  sampler.stop = 1;
  pthread_join(sampler.thread, NULL);
  actscope_plan_destroy(plan);
  return result;
}

int command_stress(int argc, char **argv) {
  struct arguments a = {argc, argv, 1, NULL, NULL};
  struct workload w = {0};
  actscope_options o;
  uint64_t seconds = 10, least_rounds = 3, number;
  actscope_options_init(&o);
  w.layers = 24;
  parse_shapes("--shapes", "128x512x4x4,128x1024", &w);
  while (a.next < argc) {
    const char *value;
    if (arguments_take(&a, "--help", "-h")) {
      help();
      return EXIT_ALL_ANALYSED;
    } else if (arguments_take(&a, "--layers", NULL)) {
      if (!(value = arguments_value(&a)) || parse_count(a.option, value, 1, 1 << 20, &w.layers)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--shapes", NULL)) {
      if (!(value = arguments_value(&a)) || parse_shapes(a.option, value, &w)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--memory", NULL)) {
      if (!(value = arguments_value(&a)) || parse_size(a.option, value, &o.memory_budget)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--device", NULL)) {
      if (!(value = arguments_value(&a)) || parse_device(a.option, value, &o)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--seconds", NULL)) {
      if (!(value = arguments_value(&a)) || parse_count(a.option, value, 0, 1000000, &seconds)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--rounds", NULL)) {
      if (!(value = arguments_value(&a)) || parse_count(a.option, value, 1, 1000000, &least_rounds)) return EXIT_USAGE;
    } else if (arguments_take(&a, "--threads", NULL)) {
      if (!(value = arguments_value(&a)) || parse_count(a.option, value, 1, 4096, &number)) return EXIT_USAGE;
      o.threads = (int32_t)number;
    } else {
      complain("unknown option '%s'; try actscope stress --help", argv[a.next]);
      return EXIT_USAGE;
    }
  }
  int result = stress(&w, &o, seconds, least_rounds);
  workload_free(&w);
  return result;
}
