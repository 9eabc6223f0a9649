/* compat.h - the scores of the bottleneck analyser of neuroexapt, by its own formulas, on all of the data.
 *
 * For people who have its numbers and want to compare. Where it takes a random sample (512 features, 64 samples,
 * 100,000 elements) the whole tensor is used; sums are in double precision; everything else is as it computes it,
 * faults included. docs/analysis.md has each formula and what is wrong with it.
 *
 * Layers are given in the order of the forward pass, because two of the scores look back one layer. */
#ifndef ACTSCOPE_ANALYSIS_COMPAT_H
#define ACTSCOPE_ANALYSIS_COMPAT_H

#include "actscope.h"

/* The first five are its families of scores; the others are what they are made of. */
enum {
  COMPAT_DEPTH,            /* 0.4 saturation + 0.3 (1 - gradient health) + 0.3 information loss */
  COMPAT_WIDTH,            /* 0.4 (1 - utilisation) + 0.3 gradient variance + 0.3 (1 - diversity) */
  COMPAT_INFORMATION_FLOW, /* 0.3 (1 - entropy) + 0.4 correlation + 0.3 redundancy */
  COMPAT_GRADIENT_FLOW,    /* fall of the gradient's norm since the layer before, as a share of it */
  COMPAT_CAPACITY,         /* 1 - actual capacity / weights */
  COMPAT_SATURATION,
  COMPAT_GRADIENT_HEALTH,
  COMPAT_INFORMATION_LOSS,
  COMPAT_ENTROPY,
  COMPAT_UTILIZATION,
  COMPAT_GRADIENT_VARIANCE,
  COMPAT_DIVERSITY,
  COMPAT_CORRELATION,
  COMPAT_REDUNDANCY,
  COMPAT_ACTUAL_CAPACITY, /* elements above 1e-6 in absolute value */
  COMPAT_GRADIENT_NORM,
  COMPAT_COUNT
};

/* The analyser's own names for them. */
extern const char *const actscope_compat_names[COMPAT_COUNT];

struct compat_input {
  const actscope_layer_report *report; /* of the activation; not NULL. Sections it lacks cost the scores made of them */
  const actscope_tensor *tensor;       /* the activation in host memory, or NULL: scores that need it are NaN */
  int channels;                        /* as in actscope_options, and the same the report was made with */
  const actscope_layer_report *gradient; /* of the activation's gradient, with ACTSCOPE_MOMENTS, or NULL: comes later */
  uint64_t weights;                    /* of a linear or convolution layer, without the bias; 0: unknown or neither */
};

/* What is carried from layer to layer; all zero before the first. */
struct compat_network {
  int layers, gradients; /* how many came before */
  int entropy_known;
  double entropy, gradient_norm; /* of the last layer, of the last with a gradient */
};

/* Fills value[COMPAT_COUNT]; NaN for a score that the input does not give. Reads the tensor once (twice when the report
 * lacks ACTSCOPE_MOMENTS), takes 24 KiB of stack and no other memory, whatever the tensor's size. Errors:
 * INVALID_ARGUMENT (a tensor that does not match its report); the network is then as before. */
actscope_status actscope_compat_layer(struct compat_network *network, const struct compat_input *in, double *value);

/* The same for a gradient that is known only now: completes value[] of its activation. Gradients are given in the order
 * of the forward pass too. Without ACTSCOPE_MOMENTS nothing is done. */
void actscope_compat_gradient(struct compat_network *network, const actscope_layer_report *gradient, double *value);

#endif
