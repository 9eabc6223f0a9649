/* digits.c - trains a small network on handwritten digits, with actscope inside the training loop.
 *
 *   digits [options] [DATA]        DATA: examples/data/digits-8x8.bin
 *     --epochs E   passes over the training images (12)
 *     --every K    measure at every K-th step, 0 never (11: once an epoch)
 *     --rate R     learning rate (0.05); at 0.2 half of conv1 dies and the accuracy does not show it, at 0.3 the
 *                  network collapses
 *     --dump DIR   afterwards, write what the network makes of the first 128 held-out images into DIR
 *
 * The network, 8x8 grey images in, ten classes out; plain C, one thread, every run the same:
 *   conv1 3x3, 16 channels -> conv2 3x3, 32 channels, every second pixel -> fc1 256 -> fc2 64 -> fc3 10, each but the
 *   last with a ReLU; softmax cross-entropy; gradient descent with momentum 0.9, batches of 128.
 *
 * What to look at for actscope is `monitor` below: the plan is made once, before the first step; a step costs one
 * call; nothing is copied. Feature maps lie channels-last in memory and are shown to actscope as [N, C, H, W] by their
 * strides. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "actscope.h"
#include "write_tensor.h"

enum { SIDE = 8, PIXELS = SIDE * SIDE, RECORD = PIXELS + 1, CLASSES = 10, BATCH = 128, HELD_OUT = 360 };

static void die(const char *what, const char *why) {
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

static float *zeros(size_t count) {
  float *p = calloc(count, sizeof *p);
  if (!p) die("memory", "not enough");
  return p;
}

/* ---- The network ------------------------------------------------------------------------------------------------- */

/* y[rows, out] = relu(x[rows, in] w[in, out] + b). For a convolution a row is one output pixel and x holds its 3x3
 * patches; for a full connection a row is one image and x is the previous layer's y. */
typedef struct layer {
  const char *name;
  int channels, side, stride; /* of the input feature map and the step over it; side 0: full connection */
  int in, out, rows;          /* rows an image */
  int relu;
  float *x, *y, *dy; /* dy: gradient of each image's own loss by what enters the ReLU */
  float *w, *b, *gw, *gb, *vw, *vb;
} layer;

enum { CONV1, CONV2, FC1, FC2, FC3, LAYERS };
static layer net[LAYERS] = {
    {.name = "conv1", .channels = 1, .side = 8, .stride = 1, .out = 16, .relu = 1},
    {.name = "conv2", .channels = 16, .side = 8, .stride = 2, .out = 32, .relu = 1},
    {.name = "fc1", .in = 32 * 16, .out = 256, .relu = 1},
    {.name = "fc2", .in = 256, .out = 64, .relu = 1},
    {.name = "fc3", .in = 64, .out = CLASSES},
};
static float input[BATCH * PIXELS];
static int label[BATCH];

static void make_network(void) {
  for (layer *l = net; l < net + LAYERS; l++) {
    if (l->side) l->in = 9 * l->channels;
    l->rows = l->side ? (l->side / l->stride) * (l->side / l->stride) : 1;
    size_t weights = (size_t)l->in * l->out, outputs = (size_t)BATCH * l->rows * l->out;
    l->x = l->side ? zeros((size_t)BATCH * l->rows * l->in) : l[-1].y;
    l->y = zeros(outputs);
    l->dy = zeros(outputs);
    l->w = zeros(weights), l->gw = zeros(weights), l->vw = zeros(weights);
    l->b = zeros(l->out), l->gb = zeros(l->out), l->vb = zeros(l->out);
    float bound = (float)sqrt(6.0 / l->in); /* He's, for ReLU */
    for (size_t k = 0; k < weights; k++) l->w[k] = bound * (float)(2 * uniform() - 1);
  }
}

/* Between a channels-last feature map [N, side, side, channels] and its 3x3 patches [N * rows, 9 * channels]; outside
 * the map lies zero. `back` adds the patches' gradients into the map's. */
static void patches(const layer *l, float *map, float *rows, int back) {
  int reach = l->side / l->stride, bytes = l->channels * (int)sizeof(float);
  for (int n = 0; n < BATCH; n++)
    for (int i = 0; i < reach; i++)
      for (int j = 0; j < reach; j++)
        for (int k = 0; k < 9; k++, rows += l->channels) {
          int y = i * l->stride + k / 3 - 1, x = j * l->stride + k % 3 - 1;
          int inside = y >= 0 && y < l->side && x >= 0 && x < l->side;
          float *pixel = map + ((n * l->side + (inside ? y : 0)) * l->side + (inside ? x : 0)) * l->channels;
          if (!back) {
            if (inside)
              memcpy(rows, pixel, bytes);
            else
              memset(rows, 0, bytes);
          } else if (inside) {
            for (int c = 0; c < l->channels; c++) pixel[c] += rows[c];
          }
        }
}

/* c[m, n] += a[m, k] b[k, n]; a zero in a, common behind a ReLU, costs nothing. */
static void product(float *restrict c, const float *a, const float *b, int m, int k, int n) {
  for (int i = 0; i < m; i++)
    for (int p = 0; p < k; p++) {
      float f = a[(size_t)i * k + p];
      if (f == 0) continue;
      for (int j = 0; j < n; j++) c[(size_t)i * n + j] += f * b[(size_t)p * n + j];
    }
}

/* c[k, n] += a[m, k]' b[m, n] */
static void product_transposed(float *restrict c, const float *a, const float *b, int m, int k, int n) {
  for (int i = 0; i < m; i++) product(c, a + (size_t)i * k, b + (size_t)i * n, k, 1, n);
}

static void forward(void) {
  for (layer *l = net; l < net + LAYERS; l++) {
    int m = BATCH * l->rows;
    if (l->side) patches(l, l == net ? input : l[-1].y, l->x, 0);
    for (int i = 0; i < m; i++) memcpy(l->y + (size_t)i * l->out, l->b, l->out * sizeof(float));
    product(l->y, l->x, l->w, m, l->in, l->out);
    if (l->relu)
      for (size_t k = 0; k < (size_t)m * l->out; k++) l->y[k] = l->y[k] > 0 ? l->y[k] : 0;
  }
}

/* Softmax cross-entropy of the first `count` images: mean loss, hits, and the gradient by the logits. */
static double loss(int count, int *hits) {
  double total = 0;
  *hits = 0;
  for (int n = 0; n < count; n++) {
    const float *y = net[FC3].y + n * CLASSES;
    double top = y[0], sum = 0, e[CLASSES];
    int best = 0;
    for (int c = 1; c < CLASSES; c++)
      if (y[c] > top) top = y[c], best = c;
    for (int c = 0; c < CLASSES; c++) sum += e[c] = exp(y[c] - top);
    for (int c = 0; c < CLASSES; c++) net[FC3].dy[n * CLASSES + c] = (float)(e[c] / sum - (c == label[n]));
    total += log(sum) + top - y[label[n]];
    *hits += best == label[n];
  }
  return total / count;
}

static void backward(void) {
  static float *flipped, *gradient; /* w transposed; patches' gradients */
  if (!flipped) flipped = zeros(512 * 256), gradient = zeros((size_t)BATCH * 64 * 9 * 16);
  for (layer *l = net + LAYERS - 1; l >= net; l--) {
    int m = BATCH * l->rows;
    memset(l->gw, 0, (size_t)l->in * l->out * sizeof(float));
    memset(l->gb, 0, l->out * sizeof(float));
    product_transposed(l->gw, l->x, l->dy, m, l->in, l->out);
    for (int i = 0; i < m; i++)
      for (int j = 0; j < l->out; j++) l->gb[j] += l->dy[(size_t)i * l->out + j];
    if (l == net) break;
    for (int i = 0; i < l->in; i++)
      for (int j = 0; j < l->out; j++) flipped[j * l->in + i] = l->w[i * l->out + j];
    layer *before = l - 1;
    size_t outputs = (size_t)BATCH * before->rows * before->out;
    float *dx = l->side ? gradient : before->dy;
    memset(before->dy, 0, outputs * sizeof(float));
    if (l->side) memset(gradient, 0, (size_t)m * l->in * sizeof(float));
    product(dx, l->dy, flipped, m, l->out, l->in);
    if (l->side) patches(l, before->dy, gradient, 1);
    for (size_t k = 0; k < outputs; k++)
      if (before->y[k] <= 0) before->dy[k] = 0;
  }
}

static void update(float rate) {
  for (layer *l = net; l < net + LAYERS; l++)
    for (int part = 0; part < 2; part++) {
      float *w = part ? l->b : l->w, *g = part ? l->gb : l->gw, *v = part ? l->vb : l->vw;
      for (int k = 0; k < (part ? l->out : l->in * l->out); k++) {
        v[k] = 0.9f * v[k] - rate / BATCH * g[k];
        w[k] += v[k];
      }
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

/* Images order[first ..] as the batch; beyond `end` the last one again. */
static void take(const data *d, int first, int end) {
  for (int n = 0; n < BATCH; n++) {
    int k = first + n < end ? first + n : end - 1;
    const unsigned char *record = d->records + d->order[k] * RECORD;
    for (int p = 0; p < PIXELS; p++) input[n * PIXELS + p] = record[p] / 16.0f;
    label[n] = record[PIXELS];
  }
}

static double held_out_accuracy(const data *d) {
  int hits, all = 0;
  for (int first = d->count - HELD_OUT; first < d->count; first += BATCH) {
    take(d, first, d->count);
    forward();
    loss(d->count - first < BATCH ? d->count - first : BATCH, &hits);
    all += hits;
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
  int times;
  double seconds;
} monitor;

static void check(actscope_status status, const char *what) {
  if (status != ACTSCOPE_OK) {
    fprintf(stderr, "digits: %s: %s: %s\n", what, actscope_status_name(status), actscope_last_error());
    exit(1);
  }
}

/* Before the first step: shapes and options in, a plan out. The arrays are the network's own and stay where they are,
 * so the tensors too are described once. */
static void monitor_start(monitor *m) {
  memset(m, 0, sizeof *m);
  actscope_layer layers[2 * LAYERS];
  for (int k = 0; k < 2 * LAYERS; k++) {
    const layer *l = &net[k % LAYERS];
    look(&m->views[k], l, k < LAYERS ? l->y : l->dy);
    m->tensors[k] = m->views[k].tensor;
    layers[k] = (actscope_layer){l->name, ACTSCOPE_FLOAT32, m->tensors[k].ndim, m->views[k].shape};
  }
  actscope_options options;
  actscope_options_init(&options);
  options.device = ACTSCOPE_DEVICE_CPU; /* where the arrays are */
  options.memory_budget = 16 << 20;
  options.statistics = ACTSCOPE_MOMENTS | ACTSCOPE_HEALTH | ACTSCOPE_CORRELATION;
  check(actscope_plan_create(&m->plan, layers, 2 * LAYERS, &options), "plan");
  size_t bytes;
  check(actscope_plan_workspace(m->plan, &bytes, NULL), "workspace");
  printf("actscope %s: %d tensors, %.0f KiB of workspace, ", actscope_version(), 2 * LAYERS, bytes / 1024.0);
}

/* At a measured step: one call, and one line from the reports. The call on the CPU has finished when it returns; on a
 * GPU the reports of this step would be read at a later one, when actscope_plan_poll() says OK. */
static void monitor_step(monitor *m, const char *step, double batch_loss, int hits) {
  double started = now();
  check(actscope_plan_enqueue(m->plan, m->tensors, 2 * LAYERS, NULL), "enqueue");
  check(actscope_plan_wait(m->plan), "wait");
  m->seconds += now() - started;
  actscope_layer_report y[LAYERS], dy[LAYERS];
  for (int k = 0; k < LAYERS; k++) {
    check(actscope_plan_report(m->plan, k, &y[k]), net[k].name);
    check(actscope_plan_report(m->plan, LAYERS + k, &dy[k]), net[k].name);
  }
  if (m->times++ == 0) {
    printf("mean |r| of %d samples of unrelated features would be %.3f\n%20s", BATCH, y[0].correlation.noise_floor, "");
    for (int k = 0; k < LAYERS - 1; k++) printf("| %-12s %6llu  ", net[k].name, (unsigned long long)y[k].features);
    printf("\n  step   loss     acc ");
    for (int k = 0; k < LAYERS - 1; k++) printf("|   |r| dead gradient ");
    printf("\n");
  }
  printf("%6s %6.3f %5.1f %% ", step, batch_loss, 100.0 * hits / BATCH);
  for (int k = 0; k < LAYERS - 1; k++)
    printf("| %5.3f %4llu %8.3f ", y[k].correlation.mean_abs, (unsigned long long)y[k].health.dead,
           dy[k].profile.l2_norm);
  printf("\n");
}

/* ---- Keeping what was seen --------------------------------------------------------------------------------------- */

static void keep(int failed, const char *path) {
  if (failed) die(path, "cannot be written");
  printf("wrote %s\n", path);
}

/* The input, outputs and gradients of the batch at hand: the activations together as .safetensors, in three types, and
 * each alone as .npy. */
static void dump(const char *folder) {
  static const actscope_dtype stored[LAYERS] = {ACTSCOPE_FLOAT32, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT16};
  static const int64_t image[4] = {BATCH, 1, SIDE, SIDE};
  char path[4096];
  view views[2 * LAYERS];
  named_tensor tensors[1 + LAYERS] = {{"input", {input, ACTSCOPE_FLOAT32, 4, image, NULL}, ACTSCOPE_FLOAT32}};
  for (int k = 0; k < 2 * LAYERS; k++) {
    const layer *l = &net[k % LAYERS];
    look(&views[k], l, k < LAYERS ? l->y : l->dy);
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
  int epochs = 12, every = 11;
  float rate = 0.05f;
  for (int k = 1; k < argc; k++) {
    const char *value = k + 1 < argc ? argv[k + 1] : NULL;
    if (!strcmp(argv[k], "--epochs"))
      epochs = (int)number(argv[k++], value, 0, 10000);
    else if (!strcmp(argv[k], "--every"))
      every = (int)number(argv[k++], value, 0, 1e6);
    else if (!strcmp(argv[k], "--rate"))
      rate = (float)number(argv[k++], value, 0, 100);
    else if (!strcmp(argv[k], "--dump") && value)
      folder = argv[++k];
    else if (argv[k][0] == '-')
      die(argv[k], "usage: digits [--epochs E] [--every K] [--rate R] [--dump DIR] [DATA]");
    else
      path = argv[k];
  }
  data d = load(path);
  make_network();
  int training = d.count - HELD_OUT, step = 0, hits;
  printf("digits: %d images to train on, %d held out, batches of %d\n", training, HELD_OUT, BATCH);
  monitor m = {0};
  if (every) monitor_start(&m);
  double started = now();
  for (int epoch = 0; epoch < epochs; epoch++) {
    shuffle(d.order, training);
    for (int first = 0; first + BATCH <= training; first += BATCH, step++) {
      take(&d, first, training);
      forward();
      double batch_loss = loss(BATCH, &hits);
      backward();
      if (every && step % every == 0) {
        char text[16];
        snprintf(text, sizeof text, "%d", step);
        monitor_step(&m, text, batch_loss, hits);
      }
      update(rate);
    }
  }
  double seconds = now() - started;
  double accuracy = held_out_accuracy(&d);
  take(&d, training, d.count);
  forward();
  double unseen_loss = loss(BATCH, &hits);
  backward();
  if (every) monitor_step(&m, "unseen", unseen_loss, hits);
  printf("\n%d steps in %.2f s", step, seconds);
  if (m.times) printf("; %d measurements of %d tensors in %.3f s", m.times, 2 * LAYERS, m.seconds);
  printf("\nheld-out accuracy %.1f %%\n", 100 * accuracy);
  actscope_plan_destroy(m.plan);
  if (folder) dump(folder);
  return 0;
}
