/* plan.h - what the plan knows of each layer, and what a backend must offer.
 *
 * choice.c decides on methods, plan.c on memory, running.c drives a backend, which measures: host/cpu/backend.c with
 * threads, host/cuda/backend.c with kernels. A build without CUDA has host/no_cuda.c in place of the latter. */
#ifndef ACTSCOPE_PLAN_H
#define ACTSCOPE_PLAN_H

#include "core/view.h"
#include "cpu/cpu.h"

/* One layer, everything resolved: no AUTO is left. */
struct plan_layer {
  char *name;
  actscope_role role;
  int own_options;
  actscope_options options; /* the layer's own; device, threads and what else the whole plan shares are the plan's */
  actscope_dtype dtype;
  int32_t ndim;
  int64_t shape[ACTSCOPE_MAX_DIMS];
  uint64_t elements, samples, features;
  actscope_distinct_method distinct;
  actscope_correlation_method correlation;
  uint64_t pairs;    /* that SAMPLED looks at, if there are so many */
  uint32_t warnings; /* those that the plan alone decides */
  const char *reason; /* why this correlation method */
  double seconds;    /* modelled (choice.c) */
  /* set by the backend: workspace bytes of this layer alone, and what it leaves there between enqueues */
  struct cpu_need need;
  uint64_t kept_bytes, kept_offset;
  uint64_t cka_bytes, cka_least; /* what CKA would keep besides, 0 for nothing, and its least scratch */
  int cka;           /* it is kept: at the end of kept_bytes */
  uint64_t cka_samples; /* of what is there; 0: nothing yet */
  int told;          /* the CPU backend's: of single features and pairs, what was asked for is there */
  int small;         /* the CPU backend's: measured beside others, a thread each .. */
  uint64_t alone_bytes; /* .. in so many bytes of its own */
  uint64_t sequence, steps; /* enqueues ever, and of the window */
  actscope_layer_report report;
  int reported;
};

struct actscope_plan {
  actscope_options options; /* device and threads resolved */
  const struct plan_backend *backend;
  void *state;              /* the backend's own, between open and close */
  size_t count;
  struct plan_layer *layers;
  uint32_t *order;          /* the layers by falling modelled time */
  actscope_layer_report *history; /* options.history of each layer; NULL when that is 1 or the backend keeps its own */
  uint64_t own_bytes;       /* the plan itself, and what its backend holds beside the workspace */
  uint64_t workspace_bytes; /* what it wants to be lent */
  void *workspace;          /* NULL until bound or allocated */
  uint64_t held_bytes;      /* its size */
  int owns_workspace;
  int enqueued;             /* something was, ever */
  int closed;               /* a change of shapes ended without the backend's memory: only another, or the end, is left */
  size_t alarm_layer;       /* SIZE_MAX: none */
  uint64_t alarm_sequence;
};

enum { PLAN_ALIGNMENT = 256 };

/* ---- plan.c ------------------------------------------------------------------------------------------------------- */

/* A line to the caller's log, if its level wants it. */
void actscope_plan_log(const actscope_options *options, actscope_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "12.3 MiB" into a buffer of the caller's. */
const char *actscope_plan_size_text(char text[32], uint64_t bytes);
/* Gives the plan a workspace if it has none; refuses a plan that is closed. */
actscope_status actscope_plan_ensure_workspace(actscope_plan *plan);
/* The layer is one that CKA was asked for and has. */
int actscope_plan_wants_cka(const struct plan_layer *layer);
/* The layer is one that correlations of each feature were asked for and has. */
int actscope_plan_wants_correlations(const struct plan_layer *layer);
/* The same of the pairs with the largest |r|. */
int actscope_plan_wants_top(const struct plan_layer *layer);
/* Every window begins anew, and nothing is kept for CKA. */
void actscope_plan_begin_windows(actscope_plan *plan);

/* ---- running.c ------------------------------------------------------------------------------------------------------ */

/* The warnings of a report, to the caller's log. */
void actscope_plan_log_warnings(const actscope_options *options, const struct plan_layer *layer);
/* Starts a layer's report afresh: what is known before anything is measured. */
void actscope_plan_report_begin(struct plan_layer *layer);
/* The report of a layer without elements: counts of 0, and no other number. */
void actscope_plan_report_empty(struct plan_layer *layer);
/* Marks layers of few samples or without a valid pair. */
void actscope_plan_note_samples(struct plan_layer *layer, uint64_t valid);
/* Counts an enqueue of the layer, and the steps of its window. */
void actscope_plan_step(const actscope_plan *plan, struct plan_layer *layer);

/* ---- choice.c ------------------------------------------------------------------------------------------------------- */

/* Decides layer->distinct, correlation, pairs, seconds, reason and the warnings that follow. Shape and options are set. */
void actscope_plan_choose(actscope_device device, struct plan_layer *layer);

/* ---- What a backend offers ------------------------------------------------------------------------------------------ */

/* Of a whole plan, in bytes: the least workspace that does, the most that helps, and what the backend holds beside it. */
struct plan_need {
  uint64_t least, best, beside;
  size_t worst; /* the layer that sets the least */
};

struct plan_backend {
  actscope_device device;
  /* Sets layer->need, kept_bytes, cka_bytes and cka_least, or refuses with ACTSCOPE_UNSUPPORTED what this backend cannot do. */
  actscope_status (*layer_need)(const actscope_options *options, struct plan_layer *layer);
  void (*plan_need)(const actscope_plan *plan, struct plan_need *need);
  /* Once workspace_bytes is decided; nothing is allocated after this but the workspace. close undoes it. */
  actscope_status (*open)(actscope_plan *plan);
  /* The same of an open plan whose layers have other shapes now, and whose work is done: what it holds serves again where it can.
   * On an error the plan is closed. */
  actscope_status (*reopen)(actscope_plan *plan);
  void (*close)(actscope_plan *plan);
  void *(*allocate)(actscope_plan *plan, uint64_t bytes); /* a workspace; NULL when refused */
  void (*free)(actscope_plan *plan, void *workspace);
  /* Measures layers first .. first + count - 1; a tensor with data NULL, and elements, skips its layer. The tensors were
   * checked. All layers are tried; the first failure is returned. */
  actscope_status (*run)(actscope_plan *plan, size_t first, const actscope_tensor *tensors, size_t count,
                         struct CUstream_st *stream);
  /* Something was enqueued: is it finished? A window begins anew with the next enqueue of a layer whose steps are 0. */
  actscope_status (*poll)(actscope_plan *plan, int wait);
  /* The layer was enqueued: completes layer->report. */
  actscope_status (*report)(actscope_plan *plan, struct plan_layer *layer);
  /* As actscope_plan_cka(), of a plan whose work is done. */
  actscope_status (*cka)(actscope_plan *plan, double *matrix);
  /* Bytes beside the workspace that comparing so many layers takes; NULL: none. plan_need's, of layers with `cka`, are with it. */
  uint64_t (*cka_beside)(uint64_t layers);
  /* As actscope_plan_feature_correlations(), of a layer that has them and whose work is done. */
  actscope_status (*correlations)(actscope_plan *plan, const struct plan_layer *layer, float *mean_abs, float *max_abs);
  /* As actscope_plan_top_pairs() in the same way. */
  actscope_status (*top)(actscope_plan *plan, const struct plan_layer *layer, actscope_pair *pairs, size_t capacity, size_t *count,
                         uint64_t *above);
  /* NULL where a plan's own alarm and history serve. */
  actscope_status (*reset)(actscope_plan *plan, int alarm); /* windows begin anew; with alarm it is forgotten, too */
  void (*alarm)(const actscope_plan *plan, size_t *layer, uint64_t *sequence);
  actscope_status (*report_at)(actscope_plan *plan, struct plan_layer *layer, uint64_t sequence, actscope_layer_report *report);
};

extern const struct plan_backend actscope_cpu_backend;
/* NULL when no GPU can be used, for the reason that actscope_no_gpu_reason() gives. */
const struct plan_backend *actscope_cuda_backend(void);
/* 1 when this build has kernels. */
int actscope_cuda_built(void);
/* GPUs that can be used: how many, whether the one with this number is among them, and what the i-th of them is. */
int actscope_cuda_count(void);
int actscope_cuda_has(int ordinal);
void actscope_cuda_info(int i, actscope_device_info *info);
/* Device memory: by this library on all GPUs, and of GPU `index` by everybody; what is not known stays as it is. */
void actscope_cuda_memory(int index, actscope_memory *memory);

#endif
