/* streams.c - a GPU, two streams, and memory that the caller owns: measuring beside the training, not in its way.
 *
 * The training works on one stream and measures on another. An event hands a step's activations over; a second one says
 * when they may be overwritten, so that only a training two steps ahead would ever wait. Activations and
 * actscope's workspace lie in one arena that is taken before the first step. Reports are read when they are there: the
 * loop asks, and does not wait. Here the host computes the "activations"; in a training a forward pass does. */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

#include "actscope.h"

enum { N = 64, D = 384, LAYERS = 3, STEPS = 8, BUFFERS = 2 };

static void check(int error, const char *what) {
  if (error == 0) return;
  fprintf(stderr, "streams: %s: %s\n", what, cudaGetErrorString((cudaError_t)error));
  exit(1);
}
static void check_actscope(actscope_status status, const char *call) {
  if (status == ACTSCOPE_OK) return;
  fprintf(stderr, "streams: %s: %s: %s\n", call, actscope_status_name(status), actscope_last_error());
  exit(1);
}

/* Noise that the features of a layer share more and more from step to step; an infinity in "fc 2" at step 5. */
static void activations(float *x, int layer, int step) {
  for (int n = 0; n < N; n++) {
    float common = (float)rand() / (float)RAND_MAX, shared = 0.1f * (float)step;
    for (int d = 0; d < D; d++) x[n * D + d] = shared * common + (1 - shared) * (float)rand() / (float)RAND_MAX;
  }
  if (layer == 2 && step == 5) x[17] = 1 / (x[17] * 0);
}

int main(void) {
  if (*actscope_no_gpu_reason()) {
    fprintf(stderr, "streams: no GPU to run on: %s\n", actscope_no_gpu_reason());
    return 1;
  }
  const int64_t shape[] = {N, D};
  const char *const names[LAYERS] = {"fc 0", "fc 1", "fc 2"};
  actscope_layer layers[LAYERS];
  for (int k = 0; k < LAYERS; k++) layers[k] = (actscope_layer){names[k], ACTSCOPE_FLOAT32, 2, shape};
  actscope_options options;
  actscope_options_init(&options);
  options.device = ACTSCOPE_DEVICE_CUDA;
  options.memory_budget = 8 << 20;
  options.history = 4; /* the loop may be that many steps late with reading */
  actscope_plan *plan;
  check_actscope(actscope_plan_create(&plan, layers, LAYERS, &options), "plan_create");

  /* 1. One arena: the layers' activations, twice, and what the plan asks for. */
  size_t bytes, alignment, layer_bytes = sizeof(float) * N * D, at = BUFFERS * LAYERS * layer_bytes;
  check_actscope(actscope_plan_workspace(plan, &bytes, &alignment), "plan_workspace");
  at = (at + alignment - 1) / alignment * alignment;
  char *arena;
  float *staging;
  check(cudaMalloc((void **)&arena, at + bytes), "arena");
  check(cudaHostAlloc((void **)&staging, BUFFERS * LAYERS * layer_bytes, 0), "pinned memory");
  check_actscope(actscope_plan_bind(plan, arena + at, bytes), "plan_bind");
  printf("an arena of %.0f KiB, of which %.0f KiB are lent to the plan\n", (double)(at + bytes) / 1024, (double)bytes / 1024);

  /* 2. Streams and events. */
  cudaStream_t train, measure;
  cudaEvent_t ready[BUFFERS], free_again[BUFFERS];
  check(cudaStreamCreateWithFlags(&train, cudaStreamNonBlocking), "stream");
  check(cudaStreamCreateWithFlags(&measure, cudaStreamNonBlocking), "stream");
  for (int b = 0; b < BUFFERS; b++) {
    check(cudaEventCreateWithFlags(&ready[b], cudaEventDisableTiming), "event");
    check(cudaEventCreateWithFlags(&free_again[b], cudaEventDisableTiming), "event");
  }

  /* 3. The loop. `told` steps have been printed. */
  uint64_t told = 0;
  for (int step = 0; step < STEPS || told < STEPS; step++) {
    if (step < STEPS) {
      const int b = step % BUFFERS;
      actscope_tensor tensors[LAYERS];
      check(cudaStreamWaitEvent(train, free_again[b], 0), "event"); /* the step before the last has been measured */
      check(cudaEventSynchronize(ready[b]), "step");                /* and copied: the host writes here again */
      for (int k = 0; k < LAYERS; k++) {
        float *host = staging + (b * LAYERS + k) * N * D, *device = (float *)(arena + (b * LAYERS + k) * layer_bytes);
        activations(host, k, step);
        check(cudaMemcpyAsync(device, host, layer_bytes, cudaMemcpyHostToDevice, train), "copy");
        tensors[k] = (actscope_tensor){device, ACTSCOPE_FLOAT32, 2, shape, NULL};
      }
      check(cudaEventRecord(ready[b], train), "event");
      check(cudaStreamWaitEvent(measure, ready[b], 0), "event");
      check_actscope(actscope_plan_enqueue(plan, tensors, LAYERS, measure), "plan_enqueue");
      check(cudaEventRecord(free_again[b], measure), "event");
    } else {
      check_actscope(actscope_plan_wait(plan), "plan_wait"); /* the end: nothing else is left to do */
    }
    /* What has arrived is printed, in order; what has not comes at a later step. */
    while (told < STEPS) {
      actscope_layer_report report[LAYERS];
      actscope_status status = ACTSCOPE_OK;
      for (int k = 0; k < LAYERS && status == ACTSCOPE_OK; k++)
        status = actscope_plan_report_at(plan, (size_t)k, told + 1, &report[k]);
      if (status == ACTSCOPE_NOT_READY) break;
      check_actscope(status, "plan_report_at");
      printf("step %llu ", (unsigned long long)told++);
      for (int k = 0; k < LAYERS; k++)
        printf(" %s: mean |r| %.3f (floor %.3f)%s", names[k], report[k].correlation.mean_abs,
               report[k].correlation.noise_floor, k + 1 < LAYERS ? "," : "\n");
    }
  }

  /* 4. The alarm is a flag: reading it waits for nothing either. */
  size_t bad;
  uint64_t sequence;
  check_actscope(actscope_plan_alarm(plan, &bad, &sequence), "plan_alarm");
  if (bad != SIZE_MAX) printf("first NaN or infinity: %s, step %llu\n", names[bad], (unsigned long long)sequence - 1);

  /* 5. The plan goes first, then the memory it was lent. */
  actscope_plan_destroy(plan);
  for (int b = 0; b < BUFFERS; b++) {
    cudaEventDestroy(ready[b]);
    cudaEventDestroy(free_again[b]);
  }
  cudaStreamDestroy(train);
  cudaStreamDestroy(measure);
  cudaFreeHost(staging);
  cudaFree(arena);
  return 0;
}
