/* state.h - what the files of the CUDA backend share: how a layer is taken, where everything of it lies, and an enqueue under
 * way. layout.c decides it, launch.c launches by it, backend.c runs it.
 *
 * Workspace  One arena. Layers are taken in waves: as many at a time as the arena holds, in the plan's order. A wave's part
 *            of it is  counters | states, all zeroed by one memset | z-scores and the like | scratch.  Offsets are decided
 *            when the plan is made, so a wave is the same launches every time and can be captured in a graph.
 * Branches   Two chains of stages know nothing of each other: profile, distinct and similarity read the elements; columns to
 *            eigenvalues look at features. Where a wave has both, and the arena holds counters, scratch and sets of distinct
 *            values for both at once, the first chain runs on a side stream of the plan's own, forked from the caller's
 *            behind window_begin and joined before the window is merged. Reading is bound by memory where products are bound
 *            by arithmetic; chains of small layers are launches that wait for each other; eigenvalues leave nearly all
 *            multiprocessors idle for milliseconds. Else one chain follows the other in the same memory: sets of distinct
 *            values then lie where z-scores and scratch do, and are done with before those are needed.
 * Strips     A layer whose z-scores do not fit is a wave of its own: its features are taken in strips, two of which are in
 *            the arena at a time, and every two strips are multiplied. Same integers, more launches.
 * Launches   All layers of a wave share a launch where they can (kernels.h: a table a stage, launched when it is full):
 *            profile and distinct once a dtype; similarity, columns, select, standardise, correlation (twice where the
 *            largest pairs are wanted), Gram, eigenvalues; before them what takes its features from the same tensor in other
 *            ways: halves and rotated samples (nulls.c), CKA (cka.c); then finish,
 *            which leaves a report a layer in pinned host memory and adds 1 to the sequence number behind them.
 * Steps      Clocks in device memory say which step of which window this is, so that replays count as enqueues do: every
 *            wave begins by moving them on and ends by merging what a window keeps (window.cu). What windows keep of all
 *            layers lies at the start of the workspace; the arena is the rest.
 * Graph      With options.graph an enqueue of all layers is recorded once on a stream of the plan's own and launched as one
 *            graph; where tensors have moved, it is recorded anew and the graph updated in place.
 * Results    Each layer has a ring of reports in pinned memory. The host looks at sequence numbers and never waits, unless
 *            asked to.
 * Host data  Tensors in host memory are copied to a buffer of the plan's first, layer by layer. That alone may allocate
 *            after the first enqueue, and cannot be captured. */
#ifndef ACTSCOPE_CUDA_STATE_H
#define ACTSCOPE_CUDA_STATE_H

#include "kernels.h"
#include "plan.h"

enum { WAVE_LAYERS = CUDA_LAYERS };

/* Sizes and offsets are multiples of the workspace's alignment. */
static inline uint64_t up(uint64_t bytes) { return (bytes + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT; }

/* How a layer's features are taken, which the plan chooses by the memory there is: `rows` of them at a time. */
struct way {
  uint64_t rows, strips; /* rows: all, or a multiple of CUDA_STRIP */
  int eigenvalues;       /* wanted ones are found */
};

/* What is done for a layer beyond the profile. */
struct stages {
  int features, pairs, all_pairs, gram, sample_side, eigenvalues; /* all_pairs: beside sampled ones, for the norm */
  int matrix;    /* eigenvalues of the matrix of r itself are wanted, whether or not there is memory for it */
  uint64_t side; /* of the matrix whose eigenvalues are wanted: samples, or features where they are fewer */
};

/* Bytes of a layer's areas; 0 where one is not there. */
struct areas {
  uint64_t moments, sketch, histogram, pair_state, all_pairs, distinct, feature_sum, feature_max, halves, shift; /* start zeroed */
  uint64_t top, found, columns, list, order, square, high, low, weight, parts, gram, norm, rank, unit, similarity; /* as they are */
  uint64_t zeroed, plain, scratch, counters;                             /* sums, then of the features' chain; in words */
  uint64_t own;                                                          /* of scratch: of a layer's own, in stages that want that */
  uint64_t side_scratch, side_counters;                                  /* of similarity */
  uint64_t set;                                                          /* of distinct values, zeroed, before the plain ones */
};

/* What a stage takes of a chain's scratch for a layer: of the layer's own, and what all of a launch share out. */
struct extra { uint64_t own, shared, counters; };

/* What a layer keeps, in bytes: its window, 0 where reports are of one step, and what is told of each feature. */
struct kept { uint64_t state, counts, words, columns, correlations, all; };

struct place { /* of a layer, as far as the plan decides it */
  struct way way;
  struct areas areas;
  struct stages stages;
  size_t wave;
  size_t compared;                 /* which of the layers that keep something for CKA it is */
  uint64_t zeroed, plain, set; /* offsets in the arena */
  struct cuda_correlations *correlations; /* pinned; NULL: not asked for */
  struct cuda_top_told *top;              /* the same */
  uint64_t sequence;   /* of the report that l->report shows; 0: none yet */
};
struct moved { /* a tensor as the graph was recorded with */
  const void *data;
  int compact;
  int64_t strides[ACTSCOPE_MAX_DIMS];
};
struct wave {
  size_t first, count; /* layers */
  int forked;                   /* into two chains */
  uint64_t zeroed;              /* bytes from the arena's start */
  uint64_t scratch, sets;       /* where they begin */
  uint64_t side_counters, side_scratch; /* those of the other chain; the same as the first's where it is not forked */
};
struct group { size_t first, last; }; /* the layers of one finish launch */

struct cuda_state {
  struct place *places;
  struct wave *waves;
  struct group *groups;    /* of the last enqueue */
  size_t wave_count, group_count;
  uint64_t kept;                      /* bytes of the workspace before the arena */
  int wgmma;                          /* pairs are looked at by correlation_wgmma.cu */
  uint64_t pinned_bytes, words_bytes; /* of the plan's own, held */
  struct cuda_report *reports;        /* pinned: report h of layer i is [h * count + i] */
  uint64_t *newest;                   /* pinned: of each layer, the sequence of its newest report */
  struct cuda_report_header *header;  /* pinned, behind them */
  struct cuda_finish_words *words;    /* on the device */
  struct cuda_clock *clocks;          /* on the device, behind them */
  size_t compared;                    /* layers that keep something for CKA; 0: there are none of the next two */
  struct cuda_cka_words *cka_words;   /* on the device */
  struct cuda_cka_told *cka_told;     /* pinned */
  struct CUstream_st *own;            /* waits for no other: where words are written at the start, and a graph is recorded */
  void *exec;                         /* NULL: not yet recorded */
  int exec_holds;                     /* it is the last enqueue, of the tensors in `moved` */
  struct moved *moved;
  uint64_t base, target;   /* the sequence number before the last enqueue, and when that has finished */
  void *event;
  struct CUstream_st *last;           /* the stream of that enqueue */
  int forked;                         /* a wave is; then there are: */
  struct CUstream_st *side;
  void *fork, *join;
  int recorded;            /* the event marks the end of the last enqueue; not so when it was captured */
  actscope_status failed;  /* why the last enqueue did not go through */
  char failure[256];
  void *staging;           /* for a tensor in host memory */
  uint64_t staging_bytes;
  struct cuda_profile_table profile;
  struct cuda_distinct_table distinct;
  struct cuda_layers features, some, extra;
  struct cuda_halves_table halves;
  struct cuda_shift_table shift;
  struct cuda_cka_table cka;
  struct cuda_cka_pairs cka_pairs;
  struct cuda_finish_table finish;
  struct cuda_window_table window;
};
/* One enqueue under way: layers first .. first + count - 1 of tensors. */
struct job {
  actscope_plan *plan;
  struct cuda_state *state;
  const actscope_tensor *tensors;
  size_t first;
  struct CUstream_st *stream;
};
/* A chain of its stages: one after the other on a stream, in memory of their own. */
struct chain {
  struct CUstream_st *stream;
  unsigned *counters;
  void *scratch;
};

/* ---- layout.c -------------------------------------------------------------------------------------------------------------- */

/* As plan.h says of a backend. */
actscope_status actscope_cuda_layer_need(const actscope_options *options, struct plan_layer *layer);
void actscope_cuda_plan_need(const actscope_plan *plan, struct plan_need *need);
/* Bytes of the plan's own: in host memory, pinned, and on the device. */
uint64_t actscope_cuda_state_bytes(const actscope_plan *plan);
uint64_t actscope_cuda_pinned_bytes(const actscope_plan *plan);
uint64_t actscope_cuda_words_bytes(const actscope_plan *plan);
/* Of both, what CKA between so many layers takes. */
uint64_t actscope_cuda_cka_beside(uint64_t layers);
/* Packs the layers into waves. The device is the current one. */
void actscope_cuda_place_layers(actscope_plan *plan, struct cuda_state *state);
/* Pinned bytes of what is told of each feature, and of single pairs; 0 where that was not asked for. */
struct told { uint64_t correlations, top; };
struct told actscope_cuda_told_of(const struct plan_layer *layer);
struct kept actscope_cuda_kept_of(const actscope_options *options, const struct plan_layer *layer);
/* Distinct values of a wide type, not by the sketch. */
int actscope_cuda_counts_exactly(const struct plan_layer *layer);

/* ---- launch.c --------------------------------------------------------------------------------------------------------------- */

/* "conv1" or "conv1 .. fc2". */
const char *actscope_cuda_group_name(const actscope_plan *plan, struct group group, char *text, size_t size);
actscope_status actscope_cuda_launch_failed(const struct job *job, int error, size_t first, size_t last, const char *stage);
/* The layer has elements, and a tensor this time. */
int actscope_cuda_active(const struct job *job, size_t layer);
/* All launches of layers first .. last of one wave. */
actscope_status actscope_cuda_run_part(const struct job *job, const struct wave *wave, size_t first, size_t last);

/* Where a layer's states and other areas lie; NULL where one is not there. */
struct pointers {
  struct moments *moments;
  uint32_t *sketch, *histogram, *list, *order, *feature_max;
  unsigned long long *feature_sum;
  struct cuda_top *top;
  struct pairs *pairs, *all_pairs;
  struct cuda_distinct *distinct;
  struct cuda_halves *halves;
  struct cuda_shift *shift;
  struct cuda_features *found;
  struct column *columns;
  uint16_t *high, *low;
  float *square, *weight, *parts, *gram;
  double *norm, *rank, *unit;
  struct cuda_similarity *similarity;
};
struct pointers actscope_cuda_pointers_of(const struct job *job, size_t layer);
/* Takes bytes from a pointer; NULL where none are wanted. */
static inline void *take(char **at, uint64_t bytes) {
  char *here = *at;
  *at += bytes;
  return bytes ? here : NULL;
}
/* The chain with the scratch behind what layers first .. last have of their own there. */
struct chain actscope_cuda_behind(const struct job *job, const struct chain *chain, size_t first, size_t last);
/* Pairs of the layers in the table, which may be reordered, by the kernel that knows them. */
int actscope_cuda_run_pairs(const struct job *job, const struct chain *chain, struct cuda_layers *table);
/* z-scores, pairs and Gram matrix of the one layer in the table, in strips. `stage` is what failed. */
int actscope_cuda_run_strips(const struct job *job, const struct chain *chain, struct cuda_layers *table, struct way way, const char **stage);

/* Features in strips, where all z-scores would be more than Z_ELEMENTS: for stages whose memory does not depend on the budget. */
enum { Z_ELEMENTS = 1 << 20 };
static inline struct way z_way(uint64_t features, uint64_t stride) {
  uint64_t rows = Z_ELEMENTS / stride / CUDA_STRIP * CUDA_STRIP;
  if (rows < CUDA_STRIP) rows = CUDA_STRIP;
  if (rows > features) rows = features;
  return (struct way){rows, (features + rows - 1) / rows, 0};
}
static inline void z_strip(struct cuda_layer *f, struct way way, uint64_t strip) {
  const uint64_t left = f->features - strip * way.rows;
  f->first_row = strip * way.rows, f->rows = left < way.rows ? left : way.rows;
  f->gram_begins = strip == 0, f->gram_ends = strip + 1 == way.strips;
}
static inline void extra_widen(struct extra *e, uint64_t shared, uint64_t counters) {
  if (shared > e->shared) e->shared = shared;
  if (counters > e->counters) e->counters = counters;
}

/* ---- nulls.c ---------------------------------------------------------------------------------------------------------------- */

struct extra actscope_cuda_halves_need(const struct plan_layer *layer);
struct extra actscope_cuda_shift_need(const struct plan_layer *layer);
/* Of layers first .. last, those of the table, whose valid features are selected. */
int actscope_cuda_run_halves(const struct job *job, const struct chain *chain, size_t first, size_t last);
int actscope_cuda_run_shift(const struct job *job, const struct chain *chain, const struct cuda_layers *all, size_t first, size_t last);

/* ---- cka.c -------------------------------------------------------------------------------------------------------------------- */

/* Of a layer that keeps something for CKA (layer->cka); zeros for the others. */
struct extra actscope_cuda_cka_need(const struct plan_layer *layer);
/* What the layers first .. last keep; then, when all of a part are done, CKA with all others. */
int actscope_cuda_run_cka(const struct job *job, const struct chain *chain, const struct cuda_layers *all, size_t first, size_t last);
int actscope_cuda_run_cka_pairs(const struct job *job, const struct chain *chain, size_t first, size_t last);
/* As plan.h says. */
actscope_status actscope_cuda_cka(actscope_plan *plan, double *matrix);

#endif
