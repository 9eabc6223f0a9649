/* plan.h - what the plan knows of each layer, and what a backend must offer.
 *
 * plan.c decides (methods, memory), a backend measures. The CPU backend is host/cpu/backend.c. */
#ifndef ACTSCOPE_PLAN_H
#define ACTSCOPE_PLAN_H

#include "core/view.h"
#include "cpu/cpu.h"

/* One layer, everything resolved: no AUTO is left. */
struct plan_layer {
  char *name;
  actscope_dtype dtype;
  int32_t ndim;
  int64_t shape[ACTSCOPE_MAX_DIMS];
  uint64_t elements, samples, features;
  actscope_distinct_method distinct;
  actscope_correlation_method correlation;
  uint32_t warnings; /* those that the plan alone decides */
  struct cpu_need need; /* scratch bytes on the plan's backend */
  actscope_layer_report report;
  int reported;
};

struct actscope_plan {
  actscope_options options; /* device and threads resolved */
  size_t count;
  struct plan_layer *layers;
  uint64_t own_bytes;       /* the plan itself */
  uint64_t workspace_bytes; /* what it wants to be lent */
  void *workspace;          /* NULL until bound or allocated */
  uint64_t bound_bytes;
  int owns_workspace;
  int enqueued;             /* something was, ever */
};

enum { PLAN_ALIGNMENT = 256 };

/* A line to the caller's log, if its level wants it. */
void actscope_plan_log(const actscope_options *options, actscope_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- What a backend offers ------------------------------------------------------------------------------------------ */

/* Scratch for this layer under these options. */
struct cpu_need actscope_cpu_layer_need(const actscope_options *options, const struct plan_layer *layer);
/* Measures one tensor into layer->report, with scratch bytes >= need.least. */
actscope_status actscope_cpu_layer_run(const actscope_options *options, struct plan_layer *layer,
                                       const actscope_tensor *tensor, void *scratch, uint64_t bytes);

#endif
