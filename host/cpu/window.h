/* window.h - what the CPU backend keeps of a layer between the enqueues of a window: the states that merge.
 *
 * Its memory lies in the plan's workspace: this struct, then the counters of the value histogram, the words of the
 * sketch and the feature states, as far as the layer's statistics need them. */
#ifndef ACTSCOPE_CPU_WINDOW_H
#define ACTSCOPE_CPU_WINDOW_H

#include "core/columns.h"
#include "core/histogram.h"
#include "core/pairs.h"

struct cpu_window {
  uint64_t steps;           /* this one included */
  struct moments moments;   /* of wide types; those of narrow ones follow from the counts */
  struct pairs pairs;       /* sums over the steps */
  uint64_t pairs_total;
  double square_mean;       /* sums over the steps, for their mean */
  double participation_sum, effective_sum, cosine_sum, half_sum, half_rms_sum, shift_sum;
  uint64_t square_steps, participation_steps, effective_steps, cosine_steps, half_steps, half_rms_steps, shift_steps; /* steps that had one */
  uint64_t zero_samples, nonfinite_samples; /* of similarity */
  uint64_t samples;         /* in columns so far */
  uint64_t *counts;         /* dtype_bins(); NULL: not kept */
  uint32_t *words;          /* 2^sketch_bits; NULL: not kept */
  struct column *columns;   /* one a feature; NULL: not kept */
};

#endif
