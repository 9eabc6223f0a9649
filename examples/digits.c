/* digits.c - trains a small network on handwritten digits, with actscope inside the training loop.
 *
 *   digits [options] [DATA]        DATA: examples/data/digits-8x8.bin
 *     --device D   cpu, or cuda: cuBLAS and a graph of the whole step, measurement included (cpu)
 *     --epochs E   passes over the training images (12)
 *     --steps S    end after S steps, 0 never (0)
 *     --every K    measure at every K-th step, 0 never (11: once an epoch)
 *     --rate R     learning rate (0.05); at 0.2 half of conv1 dies and the accuracy does not show it, at 0.3 the
 *                  network collapses
 *     --dump DIR   afterwards, write what the network makes of the first 128 held-out images into DIR
 *
 * The network, 8x8 grey images in, ten classes out:
 *   conv1 3x3, 16 channels -> conv2 3x3, 32 channels, every second pixel -> fc1 256 -> fc2 64 -> fc3 10, each but the
 *   last with a ReLU; softmax cross-entropy; gradient descent with momentum 0.9, batches of 128.
 * digits_cpu.c and digits_cuda.cu compute it, from the same weights, on the same batches.
 *
 * What to look at for actscope is `monitor` below: the plan is made once, before the first step; a measured step costs one
 * call; nothing is copied, and nobody waits for the numbers. Feature maps lie channels-last in memory and are shown to
 * actscope as [N, C, H, W] by their strides. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "digits.h"
#include "write_tensor.h"

enum { RECORD = PIXELS + 1, HELD_OUT = 360 };

static const engine *run = &digits_cpu;
static struct CUstream_st *stream;

void die(const char *what, const char *why) {
  fprintf(stderr, "digits: %s: %s\n", what, why);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* SplitMix64: uniform in [0, 1), the same everywhere. */
static uint64_t state = 20240607;
static double uniform(void) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* ---- The network ------------------------------------------------------------------------------------------------- */

static layer net[LAYERS] = {
    {.name = "conv1", .channels = 1, .side = 8, .stride = 1, .out = 16, .relu = 1},
    {.name = "conv2", .channels = 16, .side = 8, .stride = 2, .out = 32, .relu = 1},
    {.name = "fc1", .in = 32 * 16, .out = 256, .relu = 1},
    {.name = "fc2", .in = 256, .out = 64, .relu = 1},
    {.name = "fc3", .in = 64, .out = CLASSES},
};

static void make_network(void) {
  for (layer *l = net; l < net + LAYERS; l++) {
    if (l->side) l->in = 9 * l->channels;
    l->rows = l->side ? (l->side / l->stride) * (l->side / l->stride) : 1;
    size_t weights = (size_t)l->in * l->out, outputs = (size_t)BATCH * l->rows * l->out;
    l->x = l->side ? run->zeros((size_t)BATCH * l->rows * l->in) : l[-1].y;
    l->y = run->zeros(outputs);
    l->dy = run->zeros(outputs);
    l->w = run->zeros(weights), l->gw = run->zeros(weights), l->vw = run->zeros(weights);
    l->b = run->zeros(l->out), l->gb = run->zeros(l->out), l->vb = run->zeros(l->out);
    float bound = (float)sqrt(6.0 / l->in), *values = malloc(weights * sizeof *values); /* He's, for ReLU */
    if (!values) die("memory", "not enough");
    for (size_t k = 0; k < weights; k++) values[k] = bound * (float)(2 * uniform() - 1);
    run->put(l->w, values, weights);
    free(values);
  }
}

/* ---- The data ---------------------------------------------------------------------------------------------------- */

typedef struct data {
  unsigned char *records; /* RECORD bytes each: pixels 0..16, label */
  int count, *order;      /* shuffled once; the last HELD_OUT are never trained on */
} data;

static void shuffle(int *order, int count) {
  for (int k = count - 1; k > 0; k--) {
    int other = (int)(uniform() * (k + 1)), keep = order[k];
    order[k] = order[other], order[other] = keep;
  }
}

static data load(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) die(path, "cannot be opened");
  data d = {malloc(1 << 20), 0, NULL};
  d.count = d.records ? (int)(fread(d.records, 1, 1 << 20, file) / RECORD) : 0;
  fclose(file);
  if (d.count < HELD_OUT + BATCH) die(path, "too few images of 65 bytes");
  for (int k = 0; k < d.count * RECORD; k++)
    if (d.records[k] > (k % RECORD == PIXELS ? CLASSES - 1 : 16))
      die(path, "not images of 8x8 pixels 0..16 with a label");
  d.order = malloc(d.count * sizeof *d.order);
  if (!d.order) die("memory", "not enough");
  for (int k = 0; k < d.count; k++) d.order[k] = k;
  shuffle(d.order, d.count);
  return d;
}

static float images[BATCH * PIXELS];

/* Images order[first ..] as the batch; beyond `end` the last one again. */
static void take(const data *d, int first, int end) {
  static int labels[BATCH];
  for (int n = 0; n < BATCH; n++) {
    int k = first + n < end ? first + n : end - 1;
    const unsigned char *record = d->records + d->order[k] * RECORD;
    for (int p = 0; p < PIXELS; p++) images[n * PIXELS + p] = record[p] / 16.0f;
    labels[n] = record[PIXELS];
  }
  run->batch(images, labels);
}

static outcome evaluate(int count) {
  run->forward();
  run->loss(count);
  run->keep_result();
  run->finish();
  return run->result();
}

static double held_out_accuracy(const data *d) {
  int all = 0;
  for (int first = d->count - HELD_OUT; first < d->count; first += BATCH) {
    take(d, first, d->count);
    all += evaluate(d->count - first < BATCH ? d->count - first : BATCH).hits;
  }
  return (double)all / HELD_OUT;
}

/* ---- actscope in the loop ---------------------------------------------------------------------------------------- */

/* What a layer's y or dy is to actscope: [N, C, H, W] over channels-last memory, or [N, D]. */
typedef struct view {
  int64_t shape[4], strides[4];
  actscope_tensor tensor;
} view;

static void look(view *v, const layer *l, const float *values) {
  int side = l->side / (l->stride ? l->stride : 1);
  int64_t shape[4] = {BATCH, l->out, side, side};
  int64_t strides[4] = {(int64_t)l->rows * l->out, 1, (int64_t)side * l->out, l->out};
  memcpy(v->shape, shape, sizeof shape);
  memcpy(v->strides, strides, sizeof strides);
  v->tensor = (actscope_tensor){values, ACTSCOPE_FLOAT32, l->side ? 4 : 2, v->shape, v->strides};
}

typedef struct monitor {
  actscope_plan *plan;
  view views[2 * LAYERS]; /* the layers' outputs, then their gradients */
  actscope_tensor tensors[2 * LAYERS];
  int times, told; /* measured, and printed */
  char step[16];   /* of the one not yet printed */
  double seconds;  /* within the calls */
} monitor;

static void check(actscope_status status, const char *what) {
  if (status != ACTSCOPE_OK) {
    fprintf(stderr, "digits: %s: %s: %s\n", what, actscope_status_name(status), actscope_last_error());
    exit(1);
  }
}

/* Before the first step: shapes and options in, a plan out. The arrays are the network's own and stay where they are,
 * so the tensors too are described once. Its memory comes from the engine, which has taken all there is in one piece. */
static void monitor_start(monitor *m) {
  actscope_layer layers[2 * LAYERS];
  for (int k = 0; k < 2 * LAYERS; k++) {
    const layer *l = &net[k % LAYERS];
    look(&m->views[k], l, k < LAYERS ? l->y : l->dy);
    m->tensors[k] = m->views[k].tensor;
    layers[k] = (actscope_layer){l->name, ACTSCOPE_FLOAT32, m->tensors[k].ndim, m->views[k].shape};
  }
  actscope_options options;
  actscope_options_init(&options);
  options.device = run->device; /* where the arrays are */
  options.memory_budget = 16 << 20;
  options.statistics = ACTSCOPE_MOMENTS | ACTSCOPE_HEALTH | ACTSCOPE_CORRELATION;
  check(actscope_plan_create(&m->plan, layers, 2 * LAYERS, &options), "plan");
  size_t bytes, alignment;
  check(actscope_plan_workspace(m->plan, &bytes, &alignment), "workspace");
  if (run->workspace) check(actscope_plan_bind(m->plan, run->workspace(bytes, alignment), bytes), "workspace");
  printf("actscope %s: %d tensors, %.0f KiB of workspace, ", actscope_version(), 2 * LAYERS, bytes / 1024.0);
}

/* Within a measured step: one call. Where a graph repeats the step, it repeats this as well. */
static void monitor_enqueue(monitor *m) {
  double started = now();
  check(actscope_plan_enqueue(m->plan, m->tensors, 2 * LAYERS, stream), "enqueue");
  m->seconds += now() - started;
}

/* The last measured step's line, if all its reports are there; the CPU has them at once, a GPU some steps later. */
static void monitor_tell(monitor *m) {
  actscope_layer_report y[LAYERS], dy[LAYERS];
  if (m->told == m->times) return;
  for (int k = 0; k < 2 * LAYERS; k++) {
    actscope_status status = actscope_plan_report_at(m->plan, k, m->times, k < LAYERS ? &y[k] : &dy[k - LAYERS]);
    if (status == ACTSCOPE_NOT_READY) return;
    check(status, net[k % LAYERS].name);
  }
  if (m->told == 0) {
    printf("mean |r| of %d samples of unrelated features would be %.3f\n%20s", BATCH, y[0].correlation.noise_floor, "");
    for (int k = 0; k < LAYERS - 1; k++) printf("| %-12s %6llu  ", net[k].name, (unsigned long long)y[k].features);
    printf("\n  step   loss     acc ");
    for (int k = 0; k < LAYERS - 1; k++) printf("|   |r| dead gradient ");
    printf("\n");
  }
  m->told = m->times;
  printf("%6s %6.3f %5.1f %% ", m->step, run->result().loss, 100.0 * run->result().hits / BATCH);
  for (int k = 0; k < LAYERS - 1; k++)
    printf("| %5.3f %4llu %8.3f ", y[k].correlation.mean_abs, (unsigned long long)y[k].health.dead,
           dy[k].profile.l2_norm);
  printf("\n");
}

/* Before the next measurement: the last one's line. */
static void monitor_ready(monitor *m, const char *step) {
  if (m->told < m->times) {
    run->finish();
    monitor_tell(m);
  }
  m->times++;
  snprintf(m->step, sizeof m->step, "%s", step);
}

/* ---- Training ---------------------------------------------------------------------------------------------------- */

static void train_step(monitor *m, int step, int every, float rate) {
  int measured = every && step % every == 0, kind = measured ? MEASURED_STEP : STEP;
  if (measured) {
    char text[16];
    snprintf(text, sizeof text, "%d", step);
    monitor_ready(m, text);
  }
  if (run->begin(kind)) {
    run->forward();
    run->loss(BATCH);
    run->backward();
    if (measured) {
      run->keep_result();
      monitor_enqueue(m);
    }
    run->update(rate);
  }
  run->end(kind);
  monitor_tell(m);
}

/* ---- Keeping what was seen --------------------------------------------------------------------------------------- */

static void keep(int failed, const char *path) {
  if (failed) die(path, "cannot be written");
  printf("wrote %s\n", path);
}

static const float *fetched(const float *values, size_t count) {
  float *copy = malloc(count * sizeof *copy);
  if (!copy) die("memory", "not enough");
  run->fetch(copy, values, count);
  return copy;
}

/* The input, outputs and gradients of the batch at hand: the activations together as .safetensors, in three types, and
 * each alone as .npy. */
static void dump(const char *folder) {
  static const actscope_dtype stored[LAYERS] = {ACTSCOPE_FLOAT32, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT16};
  static const int64_t image[4] = {BATCH, 1, SIDE, SIDE};
  char path[4096];
  view views[2 * LAYERS];
  named_tensor tensors[1 + LAYERS] = {{"input", {images, ACTSCOPE_FLOAT32, 4, image, NULL}, ACTSCOPE_FLOAT32}};
  for (int k = 0; k < 2 * LAYERS; k++) {
    const layer *l = &net[k % LAYERS];
    look(&views[k], l, fetched(k < LAYERS ? l->y : l->dy, (size_t)BATCH * l->rows * l->out));
    named_tensor one = {l->name, views[k].tensor, ACTSCOPE_FLOAT32};
    snprintf(path, sizeof path, "%s/%s%s.npy", folder, l->name, k < LAYERS ? "" : ".gradient");
    keep(write_npy(path, &one), path);
    if (k < LAYERS) tensors[1 + k] = (named_tensor){l->name, views[k].tensor, stored[k]};
  }
  snprintf(path, sizeof path, "%s/activations.safetensors", folder);
  keep(write_safetensors(path, tensors, 1 + LAYERS), path);
}

static double number(const char *option, const char *text, double low, double high) {
  char *end = NULL;
  double value = text ? strtod(text, &end) : 0;
  if (!text || end == text || *end || !(value >= low && value <= high)) die(option, "needs a number within its range");
  return value;
}

int main(int argc, char **argv) {
  const char *path = "examples/data/digits-8x8.bin", *folder = NULL;
  int epochs = 12, steps = 0, every = 11;
  int cuda = 0;
  float rate = 0.05f;
  for (int k = 1; k < argc; k++) {
    const char *value = k + 1 < argc ? argv[k + 1] : NULL;
    if (!strcmp(argv[k], "--epochs"))
      epochs = (int)number(argv[k++], value, 0, 10000);
    else if (!strcmp(argv[k], "--steps"))
      steps = (int)number(argv[k++], value, 0, 1e9);
    else if (!strcmp(argv[k], "--every"))
      every = (int)number(argv[k++], value, 0, 1e6);
    else if (!strcmp(argv[k], "--rate"))
      rate = (float)number(argv[k++], value, 0, 100);
    else if (!strcmp(argv[k], "--device") && value && (!strcmp(value, "cpu") || !strcmp(value, "cuda")))
      cuda = !strcmp(argv[++k], "cuda");
    else if (!strcmp(argv[k], "--dump") && value)
      folder = argv[++k];
    else if (argv[k][0] == '-')
      die(argv[k], "usage: digits [--device cpu|cuda] [--epochs E] [--steps S] [--every K] [--rate R] [--dump DIR] [DATA]");
    else
      path = argv[k];
  }
  if (cuda) {
#if DIGITS_CUDA
    if (*actscope_no_gpu_reason()) die("--device cuda", actscope_no_gpu_reason());
    run = &digits_cuda;
#else
    die("--device cuda", "built without CUDA");
#endif
  }
  data d = load(path);
  stream = run->start(net);
  make_network();
  int training = d.count - HELD_OUT, step = 0;
  printf("digits: %d images to train on, %d held out, batches of %d\n", training, HELD_OUT, BATCH);
  monitor m = {0};
  if (every) monitor_start(&m);
  double started = now();
  for (int epoch = 0; epoch < epochs; epoch++) {
    shuffle(d.order, training);
    for (int first = 0; first + BATCH <= training && (steps == 0 || step < steps); first += BATCH, step++) {
      take(&d, first, training);
      train_step(&m, step, every, rate);
    }
  }
  run->finish();
  monitor_tell(&m);
  double seconds = now() - started;
  double accuracy = held_out_accuracy(&d);
  take(&d, training, d.count);
  evaluate(BATCH);
  run->backward();
  if (every) {
    monitor_ready(&m, "unseen");
    monitor_enqueue(&m);
    run->finish();
    monitor_tell(&m);
  }
  printf("\n%d steps in %.2f s", step, seconds);
  if (m.times) printf("; %d measurements of %d tensors", m.times, 2 * LAYERS);
  if (m.times && run == &digits_cpu) printf(" in %.3f s", m.seconds);
  printf("\nheld-out accuracy %.1f %%\n", 100 * accuracy);
  actscope_plan_destroy(m.plan);
  if (folder) dump(folder);
  return 0;
}
