/* digits_cpu.c - the digits network in plain C, one thread, every run the same. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "digits.h"

static layer *net;
static float input[BATCH * PIXELS];
static int label[BATCH];
static outcome last, kept;

static struct CUstream_st *start(layer *layers) {
  net = layers;
  return NULL;
}

static float *zeros(size_t count) {
  float *p = calloc(count, sizeof *p);
  if (!p) die("memory", "not enough");
  return p;
}

static void copy(float *to, const float *from, size_t count) { memcpy(to, from, count * sizeof *to); }

static void batch(const float *images, const int *labels) {
  memcpy(input, images, sizeof input);
  memcpy(label, labels, sizeof label);
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

/* Softmax cross-entropy. */
static void loss(int count) {
  double total = 0;
  last.hits = 0;
  for (int n = 0; n < count; n++) {
    const float *y = net[FC3].y + n * CLASSES;
    double top = y[0], sum = 0, e[CLASSES];
    int best = 0;
    for (int c = 1; c < CLASSES; c++)
      if (y[c] > top) top = y[c], best = c;
    for (int c = 0; c < CLASSES; c++) sum += e[c] = exp(y[c] - top);
    for (int c = 0; c < CLASSES; c++) net[FC3].dy[n * CLASSES + c] = (float)(e[c] / sum - (c == label[n]));
    total += log(sum) + top - y[label[n]];
    last.hits += best == label[n];
  }
  last.loss = (float)(total / count);
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

static int begin(int kind) { return kind < KINDS; }
static void end(int kind) { (void)kind; }
static void keep_result(void) { kept = last; }
static outcome kept_result(void) { return kept; }
static void finish(void) {}

const engine digits_cpu = {ACTSCOPE_DEVICE_CPU, start,    zeros,  NULL, copy,   copy,       batch, begin, forward, loss,
                           keep_result,         backward, update, end,  finish, kept_result};
