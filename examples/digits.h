/* digits.h - what the trainer of digits.c is made of: the network's arrays, and the engine that computes with them. */
#ifndef DIGITS_H
#define DIGITS_H

#include <stddef.h>

#include "actscope.h"

enum { SIDE = 8, PIXELS = SIDE * SIDE, CLASSES = 10, BATCH = 128 };

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

typedef struct outcome { /* of a batch */
  float loss;           /* mean */
  int hits;
} outcome;

/* The arrays are where the engine works; only put, fetch and batch cross over. Calls take effect in their order, and need
 * not have finished when they return. */
enum { STEP, MEASURED_STEP, KINDS };
typedef struct engine {
  actscope_device device;
  struct CUstream_st *(*start)(layer *net);            /* once, before all others; the stream it works on, NULL on the CPU */
  float *(*zeros)(size_t count);                       /* an array of the network */
  void *(*workspace)(size_t bytes, size_t alignment);  /* for actscope, from the same memory; NULL: it takes its own */
  void (*put)(float *to, const float *from, size_t count);
  void (*fetch)(float *to, const float *from, size_t count);
  void (*batch)(const float *images, const int *labels);
  int (*begin)(int kind);             /* of a step; 0: leave out what it is made of, the engine repeats an earlier one */
  void (*forward)(void);
  void (*loss)(int count);            /* of the first `count` images; its gradient by the logits of all */
  void (*keep_result)(void);          /* of the last loss, for result() */
  void (*backward)(void);
  void (*update)(float rate);
  void (*end)(int kind);
  void (*finish)(void);               /* waits for all */
  outcome (*result)(void);            /* what was kept, when that has finished */
} engine;

#ifdef __cplusplus
extern "C" {
#endif
extern const engine digits_cpu, digits_cuda;
/* Says on standard error what is wrong with what, and ends the program. */
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void die(const char *what, const char *why);
#ifdef __cplusplus
}
#endif
#endif
