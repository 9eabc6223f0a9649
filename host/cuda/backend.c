/* backend.c - the plan on a GPU: where every state lies, and which launches measure which layers.
 *
 * Workspace  One arena. Layers are taken in waves: as many at a time as the arena holds, in the plan's order. A wave's part
 *            of it is  counters | states, all zeroed by one memset | z-scores and the like | scratch.  Sets of distinct
 *            values lie where the last two do, and are done with before those are needed. Offsets are decided when the
 *            plan is made, so a wave is the same launches every time and can be captured in a graph.
 * Strips     A layer whose z-scores do not fit is a wave of its own: its features are taken in strips, two of which are in
 *            the arena at a time, and every two strips are multiplied. Same integers, more launches.
 * Launches   All layers of a wave share a launch where they can (kernels.h: a table a stage, launched when it is full):
 *            profile and distinct once a dtype; similarity, columns, select, standardise, correlation, Gram, eigenvalues; then finish,
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
#include <stdio.h>
#include <string.h>

#include "cuda/runtime.h"
#include "error.h"
#include "kernels.h"
#include "memory.h"
#include "plan.h"
#include "cuda/ranges.h" /* after kernels.h, whose launches it wraps */

enum { WAVE_LAYERS = CUDA_LAYERS };
_Static_assert((int)CUDA_FINISH_LAYERS >= (int)WAVE_LAYERS, "a wave's reports are one launch");
/* More at a time than this gains nothing: a launch is long against its start by then, and z-scores should stay in the L2
 * cache. Not measured on a device yet. */
static const uint64_t wave_bytes = 32ull << 20;

static uint64_t up(uint64_t bytes) { return (bytes + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT; }

/* ---- Memory ---------------------------------------------------------------------------------------------------------- */

/* How a layer's features are taken, which the plan chooses by the memory there is: `rows` of them at a time. */
struct way {
  uint64_t rows, strips; /* rows: all, or a multiple of CUDA_STRIP */
  int eigenvalues;       /* wanted ones are found */
};
static struct way way_of(const struct plan_layer *l, uint64_t rows, int eigenvalues) {
  const uint64_t d = l->features;
  if (rows >= d) rows = d;
  return (struct way){rows, rows > 0 ? (d + rows - 1) / rows : 1, eigenvalues};
}
/* The shortest strips: launches grow with the square of their number. */
enum { STRIPS_MAX = 256 };
static uint64_t rows_least(const struct plan_layer *l) {
  const uint64_t rows = (l->features + STRIPS_MAX - 1) / STRIPS_MAX;
  return (rows + CUDA_STRIP - 1) / CUDA_STRIP * CUDA_STRIP;
}

/* What is done for a layer beyond the profile. */
struct stages {
  int features, pairs, all_pairs, gram, sample_side, eigenvalues; /* all_pairs: beside sampled ones, for the norm */
  uint64_t side; /* of the matrix whose eigenvalues are wanted: samples, or features where they are fewer */
};
static struct stages stages_of(const actscope_options *o, const struct plan_layer *l, int eigenvalues) {
  struct stages s = {0, 0, 0, 0, 0, 0, 0};
  const int correlation = (o->statistics & ACTSCOPE_CORRELATION) != 0, rank = (o->statistics & ACTSCOPE_RANK) != 0;
  const int pairs = correlation && l->correlation != ACTSCOPE_CORRELATION_GRAM;
  const int exact = pairs && l->correlation == ACTSCOPE_CORRELATION_EXACT;
  if (l->elements == 0) return s;
  s.sample_side = l->samples <= l->features;
  s.side = s.sample_side ? l->samples : l->features;
  /* A matrix that costs more than AUTO would spend on exact pairs is left alone where only the rank asks for it. */
  const int fair = (double)l->samples * (double)l->features * (double)s.side <= 1e13;
  s.features = correlation || rank || (o->statistics & ACTSCOPE_HEALTH);
  s.eigenvalues = rank && fair && eigenvalues && s.side <= CUDA_EIGEN_SIDE;
  /* The norm of the matrix of r follows from all pairs, else from the samples' side. */
  const int norm = (rank && (fair || exact)) || (correlation && !pairs);
  s.gram = s.sample_side && ((norm && !exact) || s.eigenvalues);
  s.pairs = pairs || (norm && !s.sample_side);
  s.all_pairs = pairs && !exact && norm && !s.sample_side;
  return s;
}

/* Widens scratch memory and counters to what the similarity of a layer takes in either order of its axes. */
static void similarity_scratch(const actscope_options *o, const struct plan_layer *l, uint64_t *scratch, uint64_t *counters) {
  for (int adjacent = 0; adjacent < 2; ++adjacent) {
    struct cuda_layers t;
    struct view v;
    uint64_t bytes, words;
    const actscope_tensor tensor = {NULL, l->dtype, l->ndim, l->shape, NULL};
    view_init(&v, &tensor, o->channels);
    actscope_cuda_layers_begin(&t);
    actscope_cuda_layers_add(&t, &v)->features_adjacent = adjacent;
    actscope_cuda_similarity_scratch(&t, &bytes, &words);
    if (up(bytes) > *scratch) *scratch = up(bytes);
    if (words > *counters) *counters = words;
  }
}

/* Bytes of a layer's areas; 0 where one is not there. */
struct areas {
  uint64_t moments, sketch, histogram, pair_state, all_pairs, distinct;        /* start zeroed */
  uint64_t found, columns, list, order, high, low, weight, parts, gram, norm, rank, unit, similarity; /* as they are */
  uint64_t zeroed, plain, scratch, counters;                             /* sums; counters in words */
  uint64_t set;                                                          /* of distinct values, zeroed, before the plain ones */
};
static int counts_exactly(const actscope_options *o, const struct plan_layer *l) {
  return (o->statistics & ACTSCOPE_DISTINCT) && l->distinct == ACTSCOPE_DISTINCT_EXACT && !dtype_is_narrow(l->dtype);
}
static struct areas areas_of(const actscope_options *o, const struct plan_layer *l, struct way way) {
  struct areas a;
  const struct stages s = stages_of(o, l, way.eigenvalues);
  const int narrow = dtype_is_narrow(l->dtype);
  memset(&a, 0, sizeof a);
  if (l->elements == 0) return a;
  if (narrow ? o->statistics & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT) : o->statistics & ACTSCOPE_QUANTILES)
    a.histogram = up(cuda_histogram_bytes(l->dtype, l->elements));
  if (!narrow && (o->statistics & ACTSCOPE_PROFILE)) a.moments = up(sizeof(struct moments));
  if (counts_exactly(o, l)) {
    a.distinct = up(sizeof(struct cuda_distinct));
    a.set = up(actscope_cuda_distinct_best(l->dtype, l->elements));
  } else if (!narrow && (o->statistics & ACTSCOPE_DISTINCT)) {
    a.sketch = up(4ull << o->sketch_bits);
  }
  if (s.features) {
    const uint64_t d = l->features, slots = way.strips > 1 && s.pairs ? 2 : 1;
    const uint64_t z = up(way.rows * actscope_cuda_pitch(l->samples) * 2) * slots;
    a.found = up(sizeof(struct cuda_features));
    a.columns = up(d * sizeof(struct column));
    a.list = up(d * 4);
    if (s.pairs || s.gram) a.high = z, a.low = o->precision == ACTSCOPE_PRECISION_FP32 ? z : 0, a.weight = up(way.rows * 4) * slots;
    if (s.pairs) a.pair_state = up(sizeof(struct pairs));
    if (s.all_pairs) a.all_pairs = up(sizeof(struct pairs));
    if (s.pairs && l->correlation == ACTSCOPE_CORRELATION_SAMPLED) a.order = up(d * 4);
    if (s.gram) a.norm = up(sizeof(double));
    if (s.eigenvalues) {
      a.gram = up(s.side * s.side * sizeof(float)), a.rank = up(sizeof(double));
      if (actscope_cuda_eigen_scratch(s.side, &a.scratch)) a.scratch = s.side * s.side * sizeof(double); /* the launch will say */
    }
    for (int adjacent = 0; adjacent < 2; ++adjacent) { /* strides are not known yet: the larger of both ways */
      struct cuda_layers t;
      struct view v;
      uint64_t bytes = 0, words = 0;
      const actscope_tensor tensor = {NULL, l->dtype, l->ndim, l->shape, NULL};
      view_init(&v, &tensor, o->channels);
      actscope_cuda_layers_begin(&t);
      struct cuda_layer *one = actscope_cuda_layers_add(&t, &v);
      one->features_adjacent = adjacent;
      one->rows = way.rows;
      if (s.gram && way.strips > 1) {
        a.parts = up(actscope_cuda_gram_parts(one));
        one->gram_parts = (float *)&t; /* not in scratch */
      }
      actscope_cuda_standardise_scratch(&t, &bytes, &words);
      if (bytes > a.scratch) a.scratch = bytes;
      if (words > a.counters) a.counters = words;
      if (s.gram) actscope_cuda_gram_scratch(&t, &bytes, &words);
      if (bytes > a.scratch) a.scratch = bytes;
      if (words > a.counters) a.counters = words;
    }
    a.scratch = up(a.scratch);
  }
  if (o->statistics & ACTSCOPE_SIMILARITY) {
    a.unit = up(l->samples * sizeof(double)), a.similarity = up(sizeof(struct cuda_similarity));
    similarity_scratch(o, l, &a.scratch, &a.counters);
  }
  a.zeroed = a.moments + a.sketch + a.histogram + a.pair_state + a.all_pairs + a.distinct;
  a.plain = a.found + a.columns + a.list + a.order + a.high + a.low + a.weight + a.parts + a.gram + a.norm + a.rank +
            a.unit + a.similarity;
  return a;
}

/* The sums over the layers of a wave, and the bytes of the arena that they take. */
static void areas_add(struct areas *sum, const struct areas *one) {
  sum->zeroed += one->zeroed, sum->plain += one->plain, sum->scratch += one->scratch, sum->counters += one->counters;
  sum->set += one->set;
}
static uint64_t counters_bytes(const struct areas *a) {
  return up(4 * (a->counters > CUDA_PROFILE_LAYERS ? a->counters : CUDA_PROFILE_LAYERS));
}
static uint64_t wave_total(const struct areas *a, uint64_t profile_scratch) {
  const uint64_t rest = a->plain + (a->scratch > profile_scratch ? a->scratch : profile_scratch);
  return counters_bytes(a) + a->zeroed + (a->set > rest ? a->set : rest);
}
/* A layer of its own in an arena of so many bytes: its set takes what there is, which is the least it needs or more. */
static void fit_set(struct areas *a, const struct plan_layer *l, uint64_t bytes) {
  const uint64_t around = counters_bytes(a) + a->zeroed, least = a->set ? up(actscope_cuda_distinct_least(l->dtype, l->elements)) : 0;
  uint64_t most = bytes > around ? (bytes - around) / PLAN_ALIGNMENT * PLAN_ALIGNMENT : 0;
  if (most < least) most = least;
  if (a->set > most) a->set = most;
}

/* ---- The ways of a layer ------------------------------------------------------------------------------------------------ */

/* What a way takes of an arena of so many bytes, which a set of distinct values fills as far as it helps. */
static uint64_t way_bytes(const actscope_options *o, const struct plan_layer *l, struct way way, uint64_t profile_scratch, uint64_t bytes) {
  struct areas a = areas_of(o, l, way);
  fit_set(&a, l, bytes);
  return l->elements == 0 ? 0 : wave_total(&a, profile_scratch);
}
static struct way way_whole(const struct plan_layer *l) { return way_of(l, l->features, 1); }
/* The way that takes the least memory. */
static struct way way_least(const actscope_options *o, const struct plan_layer *l, uint64_t profile_scratch) {
  const struct way whole = way_of(l, l->features, 0), strips = way_of(l, rows_least(l), 0);
  return way_bytes(o, l, strips, profile_scratch, 0) < way_bytes(o, l, whole, profile_scratch, 0) ? strips : whole;
}
/* The first of: all at once; the longest strips; the same without eigenvalues. bytes are at least those of way_least(). */
static struct way way_choose(const actscope_options *o, const struct plan_layer *l, uint64_t profile_scratch, uint64_t bytes) {
  for (int eigenvalues = 1; eigenvalues >= 0; --eigenvalues) {
    const struct way whole = way_of(l, l->features, eigenvalues);
    if (way_bytes(o, l, whole, profile_scratch, bytes) <= bytes) return whole;
    uint64_t low = rows_least(l), high = (l->features + CUDA_STRIP - 1) / CUDA_STRIP * CUDA_STRIP;
    if (low >= high || way_bytes(o, l, way_of(l, low, eigenvalues), profile_scratch, bytes) > bytes) continue;
    while (high - low > CUDA_STRIP) { /* low fits, high does not */
      const uint64_t middle = (low + high) / 2 / CUDA_STRIP * CUDA_STRIP;
      if (way_bytes(o, l, way_of(l, middle, eigenvalues), profile_scratch, bytes) <= bytes) low = middle; else high = middle;
    }
    return way_of(l, low, eigenvalues);
  }
  return way_least(o, l, profile_scratch);
}

struct place { /* of a layer, as far as the plan decides it */
  struct way way;
  struct areas areas;
  struct stages stages;
  size_t wave;
  uint64_t zeroed, plain, set; /* offsets in the arena */
  uint64_t sequence;   /* of the report that l->report shows; 0: none yet */
};
struct moved { /* a tensor as the graph was recorded with */
  const void *data;
  int compact;
  int64_t strides[ACTSCOPE_MAX_DIMS];
};
struct wave {
  size_t first, count; /* layers */
  uint64_t zeroed, scratch; /* bytes from the arena's start; where its scratch begins */
};
struct group { size_t first, last; }; /* the layers of one finish launch */

struct cuda_state {
  struct place *places;
  struct wave *waves;
  struct group *groups;    /* of the last enqueue */
  size_t wave_count, group_count;
  uint64_t kept;                      /* bytes of the workspace before the arena */
  struct cuda_report *reports;        /* pinned: report h of layer i is [h * count + i] */
  uint64_t *newest;                   /* pinned: of each layer, the sequence of its newest report */
  struct cuda_report_header *header;  /* pinned, behind them */
  struct cuda_finish_words *words;    /* on the device */
  struct cuda_clock *clocks;          /* on the device, behind them */
  struct CUstream_st *recorder;       /* with options.graph: where the graph is recorded */
  void *exec;                         /* NULL: not yet recorded */
  int exec_holds;                     /* it is the last enqueue, of the tensors in `moved` */
  struct moved *moved;
  uint64_t base, target;   /* the sequence number before the last enqueue, and when that has finished */
  void *event;
  int recorded;            /* the event marks the end of the last enqueue; not so when it was captured */
  actscope_status failed;  /* why the last enqueue did not go through */
  char failure[256];
  void *staging;           /* for a tensor in host memory */
  uint64_t staging_bytes;
  struct cuda_profile_table profile;
  struct cuda_distinct_table distinct;
  struct cuda_layers features, some;
  struct cuda_finish_table finish;
  struct cuda_window_table window;
};

/* ---- Windows ----------------------------------------------------------------------------------------------------------- */

/* What a layer's window keeps, in bytes; all 0 where reports are of one step. */
struct kept { uint64_t state, counts, words, columns, all; };
static struct kept kept_of(const actscope_options *o, const struct plan_layer *l) {
  struct kept k = {0, 0, 0, 0, 0};
  const int narrow = dtype_is_narrow(l->dtype);
  if (o->window == 1 || l->elements == 0) return k;
  k.state = up(sizeof(struct cuda_window_state));
  if (narrow ? o->statistics & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT) : o->statistics & ACTSCOPE_QUANTILES)
    k.counts = up((uint64_t)dtype_bins(l->dtype) * 8);
  if (!narrow && (o->statistics & ACTSCOPE_DISTINCT)) k.words = up(4ull << o->sketch_bits);
  if (o->statistics & ACTSCOPE_HEALTH) k.columns = up(l->features * sizeof(struct column));
  k.all = k.state + k.counts + k.words + k.columns;
  return k;
}
static uint64_t kept_sum(const actscope_plan *p) {
  uint64_t sum = 0;
  for (size_t i = 0; i < p->count; ++i) sum += p->layers[i].kept_bytes;
  return sum;
}

/* ---- The plan's own memory ------------------------------------------------------------------------------------------------ */

static uint64_t state_bytes(const actscope_plan *p) {
  return up(sizeof(struct cuda_state)) + up(p->count * sizeof(struct place)) + up(p->count * sizeof(struct wave)) +
         up(p->count * sizeof(struct group)) + (p->options.graph ? up(p->count * sizeof(struct moved)) : 0);
}
static uint64_t pinned_bytes(const actscope_plan *p) {
  return up(p->count * (uint64_t)p->options.history * sizeof(struct cuda_report)) + up(p->count * sizeof(uint64_t)) +
         up(sizeof(struct cuda_report_header));
}
static uint64_t words_bytes(const actscope_plan *p) {
  return up(sizeof(struct cuda_finish_words)) + up(p->count * sizeof(struct cuda_clock));
}

static uint64_t sequence_of(const struct cuda_state *s) { return *(const volatile uint64_t *)&s->header->sequence; }

static uint64_t scratch_of(const actscope_options *o, actscope_dtype dtype, int *error) {
  uint64_t bytes = 0;
  uint32_t want = o->statistics & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT);
  uint64_t others = 0; /* of layers whose distinct values are counted apart */
  if (want && !*error) *error = actscope_cuda_profile_scratch(dtype, want, o->sketch_bits, &bytes);
  if (want && !*error) *error = actscope_cuda_profile_scratch(dtype, want & ~(uint32_t)ACTSCOPE_DISTINCT, o->sketch_bits, &others);
  return up(bytes > others ? bytes : others);
}

/* ---- Needs ------------------------------------------------------------------------------------------------------------ */

static actscope_status layer_need(const actscope_options *o, struct plan_layer *l) {
  int before, error = actscope_cuda_enter(o->device_index, &before);
  if (error) return actscope_cuda_fail(error, "GPU %d", (int)o->device_index);
  const uint64_t profile = scratch_of(o, l->dtype, &error);
  l->kept_bytes = kept_of(o, l).all;
  l->need = (struct cpu_need){way_bytes(o, l, way_least(o, l, profile), profile, 0), way_bytes(o, l, way_whole(l), profile, ~0ull)};
  actscope_cuda_leave(before);
  if (error) return actscope_cuda_fail(error, "%s", l->name);
  return ACTSCOPE_OK;
}

/* The largest profile scratch among the layers. layer_need() has asked for each before, so there is no error here. */
static uint64_t profile_scratch(const actscope_plan *p) {
  uint64_t most = 0;
  int error = 0, seen[16] = {0};
  for (size_t i = 0; i < p->count; ++i) {
    const struct plan_layer *l = &p->layers[i];
    if (l->elements == 0 || (!l->own_options && seen[(unsigned)l->dtype % 16]++)) continue;
    uint64_t bytes = scratch_of(&l->options, l->dtype, &error);
    if (bytes > most) most = bytes;
  }
  return most;
}

static void plan_need(const actscope_plan *p, struct plan_need *need) {
  struct areas all;
  int before, entered = actscope_cuda_enter(p->options.device_index, &before) == 0;
  const uint64_t shared = profile_scratch(p);
  if (entered) actscope_cuda_leave(before);
  memset(&all, 0, sizeof all);
  for (size_t i = 0; i < p->count; ++i) {
    if (p->layers[i].elements == 0) continue;
    const struct plan_layer *l = &p->layers[i];
    const struct areas a = areas_of(&l->options, l, way_whole(l));
    const uint64_t alone = wave_total(&a, shared), least = way_bytes(&l->options, l, way_least(&l->options, l, shared), shared, 0);
    if (least > need->least) need->least = least, need->worst = i;
    if (alone > need->best) need->best = alone;
    areas_add(&all, &a);
  }
  const uint64_t together = wave_total(&all, shared);
  if (need->least && need->best < wave_bytes) need->best = together < wave_bytes ? together : wave_bytes;
  need->least += kept_sum(p), need->best += kept_sum(p);
  need->beside = state_bytes(p) + pinned_bytes(p) + words_bytes(p);
}

/* ---- Opening and closing ------------------------------------------------------------------------------------------------ */

/* Packs the layers into waves. */
static void place_layers(actscope_plan *p, struct cuda_state *s, uint64_t shared) {
  struct areas sum;
  struct wave *w = NULL;
  s->kept = kept_sum(p);
  const uint64_t arena_bytes = p->workspace_bytes - s->kept;
  memset(&sum, 0, sizeof sum);
  for (size_t i = 0; i < p->count; ++i) {
    struct plan_layer *l = &p->layers[i];
    const struct way way = s->places[i].way = way_choose(&l->options, l, shared, arena_bytes);
    struct areas a = areas_of(&l->options, l, way);
    fit_set(&a, l, arena_bytes);
    s->places[i].areas = a;
    s->places[i].stages = stages_of(&l->options, l, way.eigenvalues);
    if (a.set && actscope_cuda_distinct_shape(l->dtype, l->elements, a.set).passes > 1) l->warnings |= ACTSCOPE_WARN_DISTINCT_PASSES;
    const int alone = way.strips > 1 || (i > 0 && s->places[i - 1].way.strips > 1);
    struct areas with = sum;
    areas_add(&with, &a);
    if (way.strips > 1) l->warnings |= ACTSCOPE_WARN_STRIPS;
    if (!w || alone || wave_total(&with, shared) > arena_bytes || w->count == WAVE_LAYERS) {
      w = &s->waves[s->wave_count++];
      w->first = i;
      with = a;
    }
    sum = with;
    ++w->count;
    s->places[i].wave = s->wave_count - 1;
    w->zeroed = counters_bytes(&sum) + sum.zeroed;
    w->scratch = w->zeroed + sum.plain;
  }
  for (size_t k = 0; k < s->wave_count; ++k) {
    const struct wave *v = &s->waves[k];
    uint64_t zeroed = v->zeroed, plain = v->zeroed, set = v->zeroed;
    for (size_t i = v->first; i < v->first + v->count; ++i) zeroed -= s->places[i].areas.zeroed;
    for (size_t i = v->first; i < v->first + v->count; ++i) {
      s->places[i].zeroed = zeroed, s->places[i].plain = plain, s->places[i].set = set;
      zeroed += s->places[i].areas.zeroed, plain += s->places[i].areas.plain, set += s->places[i].areas.set;
    }
  }
}

static void close_state(actscope_plan *p) {
  struct cuda_state *s = p->state;
  int before;
  if (!s) return;
  if (!actscope_cuda_enter(p->options.device_index, &before)) {
    if (s->recorded) actscope_cuda_event_wait(s->event); /* reports and staging are still being used */
    if (s->event) actscope_cuda_event_destroy(s->event);
    if (s->reports) actscope_cuda_pinned_release(s->reports);
    if (s->words) actscope_cuda_release(s->words, words_bytes(p));
    if (s->staging) actscope_cuda_release(s->staging, s->staging_bytes);
    if (s->exec) actscope_cuda_exec_destroy(s->exec);
    if (s->recorder) actscope_cuda_stream_destroy(s->recorder);
    actscope_cuda_leave(before);
  }
  actscope_memory_free(s);
  p->state = NULL;
}

/* A plan that changed its shapes counts on. Waits. */
static int upload_clocks(const actscope_plan *p, const struct cuda_state *s) {
  int error = 0;
  for (size_t i = 0; i < p->count && !error; ++i) {
    const struct cuda_clock start = {p->layers[i].sequence, 0, 0};
    error = actscope_cuda_upload_now(&s->clocks[i], &start, sizeof start);
  }
  return error;
}

static actscope_status open_state(actscope_plan *p) {
  struct cuda_state *s = actscope_memory_allocate(state_bytes(p));
  if (!s) return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the system refused %llu bytes", (unsigned long long)state_bytes(p));
  char *at = (char *)s + up(sizeof *s);
  p->state = s;
  s->places = (struct place *)at, at += up(p->count * sizeof *s->places);
  s->waves = (struct wave *)at, at += up(p->count * sizeof *s->waves);
  s->groups = (struct group *)at, at += up(p->count * sizeof *s->groups);
  s->moved = (struct moved *)at;
  int before, error = actscope_cuda_enter(p->options.device_index, &before);
  if (!error) {
    const struct cuda_finish_words start = {.alarm = ~0ull};
    void *pinned = NULL, *words = NULL;
    place_layers(p, s, profile_scratch(p));
    error = actscope_cuda_pinned_allocate(&pinned, pinned_bytes(p));
    s->reports = pinned;
    if (!error) error = actscope_cuda_allocate(&words, words_bytes(p));
    s->words = words;
    s->clocks = (struct cuda_clock *)((char *)words + up(sizeof start));
    if (!error) error = actscope_cuda_upload_now(words, &start, sizeof start);
    if (!error) error = upload_clocks(p, s);
    if (!error && p->options.graph) error = actscope_cuda_stream_create(&s->recorder);
    if (!error) error = actscope_cuda_event_create(&s->event);
    actscope_cuda_leave(before);
  }
  if (error) {
    actscope_status status = actscope_cuda_fail(error, "the plan's own memory on GPU %d", (int)p->options.device_index);
    close_state(p);
    return status;
  }
  s->newest = (uint64_t *)((char *)s->reports + up(p->count * (uint64_t)p->options.history * sizeof *s->reports));
  s->header = (struct cuda_report_header *)((char *)s->newest + up(p->count * sizeof *s->newest));
  s->header->alarm = ~0ull;
  return ACTSCOPE_OK;
}

static void *allocate(actscope_plan *p, uint64_t bytes) {
  void *pointer = NULL;
  int before;
  if (actscope_cuda_enter(p->options.device_index, &before)) return NULL;
  if (actscope_cuda_allocate(&pointer, bytes)) pointer = NULL;
  actscope_cuda_leave(before);
  return pointer;
}
static void free_workspace(actscope_plan *p, void *workspace) {
  int before;
  if (actscope_cuda_enter(p->options.device_index, &before)) return;
  actscope_cuda_release(workspace, p->held_bytes);
  actscope_cuda_leave(before);
}

/* ---- Running ---------------------------------------------------------------------------------------------------------- */

/* One enqueue under way: layers first .. first + count - 1 of tensors. */
struct job {
  actscope_plan *plan;
  struct cuda_state *state;
  const actscope_tensor *tensors;
  size_t first;
  struct CUstream_st *stream;
};

/* "conv1" or "conv1 .. fc2". */
static const char *group_name(const actscope_plan *p, struct group g, char *text, size_t size) {
  const char *a = p->layers[g.first].name, *b = p->layers[g.last].name;
  snprintf(text, size, g.first == g.last ? "%.90s" : "%.90s .. %.90s", a, b);
  return text;
}

static actscope_status launch_failed(const struct job *j, int error, size_t first, size_t last, const char *stage) {
  char name[200];
  return actscope_cuda_fail(error, "%s: %s", group_name(j->plan, (struct group){first, last}, name, sizeof name), stage);
}

static int active(const struct job *j, size_t layer) {
  return j->plan->layers[layer].elements > 0 && j->tensors[layer - j->first].data != NULL;
}

static char *arena(const struct job *j) { return (char *)j->plan->workspace + j->state->kept; }

/* Where a layer's states and other areas lie; NULL where one is not there. */
struct pointers {
  struct moments *moments;
  uint32_t *sketch, *histogram, *list, *order;
  struct pairs *pairs, *all_pairs;
  struct cuda_distinct *distinct;
  struct cuda_features *found;
  struct column *columns;
  uint16_t *high, *low;
  float *weight, *parts, *gram;
  double *norm, *rank, *unit;
  struct cuda_similarity *similarity;
};
static void *take(char **at, uint64_t bytes) {
  char *here = *at;
  *at += bytes;
  return bytes ? here : NULL;
}
static struct pointers pointers_of(const struct job *j, size_t layer) {
  const struct areas a = j->state->places[layer].areas;
  struct pointers p;
  char *at = arena(j) + j->state->places[layer].zeroed;
  p.moments = take(&at, a.moments), p.sketch = take(&at, a.sketch), p.histogram = take(&at, a.histogram);
  p.pairs = take(&at, a.pair_state), p.all_pairs = take(&at, a.all_pairs), p.distinct = take(&at, a.distinct);
  at = arena(j) + j->state->places[layer].plain;
  p.found = take(&at, a.found), p.columns = take(&at, a.columns), p.list = take(&at, a.list), p.order = take(&at, a.order);
  p.high = take(&at, a.high), p.low = take(&at, a.low), p.weight = take(&at, a.weight);
  p.parts = take(&at, a.parts);
  p.gram = take(&at, a.gram), p.norm = take(&at, a.norm), p.rank = take(&at, a.rank);
  p.unit = take(&at, a.unit), p.similarity = take(&at, a.similarity);
  return p;
}

static unsigned *counters(const struct job *j) { return (unsigned *)arena(j); }
static void *scratch(const struct job *j, const struct wave *w) { return arena(j) + w->scratch; }

/* What the profile stage does for a layer: its sketch is not wanted where values are counted exactly. */
static uint32_t profile_wants(const struct plan_layer *l) {
  return l->options.statistics & (uint32_t)(ACTSCOPE_PROFILE | (counts_exactly(&l->options, l) ? 0 : ACTSCOPE_DISTINCT));
}

/* Layers that share a profile launch. */
static int same_profile(const struct plan_layer *a, const struct plan_layer *b) {
  return a->dtype == b->dtype && profile_wants(a) == profile_wants(b) && a->options.sketch_bits == b->options.sketch_bits;
}

/* The profile stage of layers first .. last: a launch for each dtype among them, and for layers that want other things. */
static actscope_status run_profile(const struct job *j, const struct wave *w, size_t first, size_t last) {
  const struct plan_layer *layers = j->plan->layers;
  struct cuda_profile_table *t = &j->state->profile;
  for (size_t head = first; head <= last; ++head) {
    size_t from = head, earlier = first;
    if (!active(j, head) || !profile_wants(&layers[head])) continue;
    while (earlier < head && !(active(j, earlier) && same_profile(&layers[earlier], &layers[head]))) ++earlier;
    if (earlier < head) continue; /* went with that one */
    const uint32_t want = profile_wants(&layers[head]);
    actscope_cuda_profile_begin(t, layers[head].dtype, want, layers[head].options.sketch_bits);
    for (size_t i = head; i <= last; ++i) {
      struct view v;
      if (!active(j, i) || !same_profile(&layers[i], &layers[head])) continue;
      view_init(&v, &j->tensors[i - j->first], layers[i].options.channels);
      const struct pointers p = pointers_of(j, i);
      if (actscope_cuda_profile_add(t, &v, p.moments, p.histogram, p.sketch)) continue;
      int error = actscope_cuda_profile(t, scratch(j, w), counters(j), j->stream);
      if (error) return launch_failed(j, error, from, i - 1, "profile");
      actscope_cuda_profile_begin(t, layers[head].dtype, want, layers[head].options.sketch_bits);
      actscope_cuda_profile_add(t, &v, p.moments, p.histogram, p.sketch);
      from = i;
    }
    int error = actscope_cuda_profile(t, scratch(j, w), counters(j), j->stream);
    if (error) return launch_failed(j, error, from, last, "profile");
  }
  return ACTSCOPE_OK;
}

/* Pairs of the layers in the table, between the strips that they point at; `chosen` is 0 where only all_pairs ask. */
static int correlate(const struct job *j, const struct cuda_layers *all, int chosen) {
  struct cuda_layers *t = &j->state->some;
  int error = 0;
  *t = *all;
  t->layers = 0;
  for (int k = 0; chosen && k < all->layers; ++k) {
    if (!all->layer[k].pairs) continue;
    struct cuda_layer *f = &t->layer[t->layers++];
    *f = all->layer[k];
    if (f->all_pairs) f->feature_gram = NULL;
  }
  error = actscope_cuda_correlation(t, j->stream);
  t->layers = 0;
  for (int k = 0; k < all->layers; ++k) {
    if (!all->layer[k].all_pairs) continue;
    struct cuda_layer *f = &t->layer[t->layers++];
    *f = all->layer[k];
    f->pairs = f->all_pairs, f->pairs_wanted = 0, f->functionals = 0;
  }
  return error ? error : actscope_cuda_correlation(t, j->stream);
}
static int gram(const struct job *j, const struct wave *w, const struct cuda_layers *all) {
  struct cuda_layers *t = &j->state->some;
  *t = *all;
  t->layers = 0;
  for (int k = 0; k < all->layers; ++k)
    if (all->layer[k].frobenius_square) t->layer[t->layers++] = all->layer[k];
  return actscope_cuda_gram(t, scratch(j, w), counters(j), j->stream);
}

/* Whether strips a < b can hold a pair that is wanted. The band of a sample reaches ceil(pairs / valid) positions ahead,
 * and round the end; how many features are valid only the device knows, but more than lie before strip b, or it is empty. */
static int strips_meet(const struct cuda_layer *f, uint64_t rows, uint64_t a, uint64_t b) {
  if (f->pairs_wanted == 0) return 1;
  const uint64_t far = (f->pairs_wanted + b * rows - 1) / (b * rows);
  return (b - a - 1) * rows < far || a * rows < far;
}

/* z-scores, pairs and Gram matrix of one layer in strips. Strip a stays in its slot while the others pass through the second
 * one, forwards and backwards in turn: the last of them is there already when the next a begins. */
static actscope_status launch_strips(const struct job *j, const struct wave *w, size_t layer) {
  struct cuda_layers *t = &j->state->features;
  struct cuda_layer *f = &t->layer[0];
  const struct way way = j->state->places[layer].way;
  const struct cuda_layer base = *f;
  const uint64_t z = up(way.rows * f->pitch * 2) / 2, weights = up(way.rows * 4) / 4, none = ~0ull;
  uint64_t held[2] = {none, none};
  for (uint64_t a = 0; a < way.strips; ++a) {
    const uint64_t next = a % 2 ? way.strips - 1 : a + 1;
    const int mine = held[1] == a || (held[0] != a && held[0] == next);
    for (uint64_t k = 0; k < way.strips - a; ++k) { /* a itself, then those behind it */
      const uint64_t b = k == 0 ? a : a % 2 ? way.strips - k : a + k;
      const int slot = k == 0 ? mine : !mine, meet = k == 0 || strips_meet(f, way.rows, a, b);
      const char *stage = "standardise";
      int error = 0;
      if (k > 0 && (!f->pairs || (!meet && !f->all_pairs))) continue;
#define POINT(strip, at)                                                                                              \
  (f->first_row = (strip) * way.rows,                                                                                 \
   f->rows = f->features - f->first_row < way.rows ? f->features - f->first_row : way.rows,                           \
   f->z_hi = base.z_hi + (uint64_t)(at) * z, f->z_lo = base.z_lo ? base.z_lo + (uint64_t)(at) * z : NULL,             \
   f->weight = base.weight + (uint64_t)(at) * weights)
      POINT(b, slot);
      f->other_hi = NULL;
      if (held[slot] != b) error = actscope_cuda_standardise(t, scratch(j, w), counters(j), j->stream);
      held[slot] = b;
      if (!error && k == 0 && f->frobenius_square) {
        stage = "Gram";
        f->gram_begins = a == 0, f->gram_ends = a + 1 == way.strips;
        error = gram(j, w, t);
      }
      if (!error && f->pairs) {
        stage = "correlation";
        if (k > 0) {
          f->other_first = f->first_row, f->other_rows = f->rows;
          f->other_hi = f->z_hi, f->other_lo = f->z_lo, f->other_weight = f->weight;
          POINT(a, mine);
        }
        error = correlate(j, t, meet);
      }
#undef POINT
      if (error) return launch_failed(j, error, layer, layer, stage);
    }
  }
  const int error = actscope_cuda_eigen(t, scratch(j, w), j->stream);
  return error ? launch_failed(j, error, layer, layer, "eigenvalues") : ACTSCOPE_OK;
}

/* Exact counts of distinct values of layers first .. last. */
static actscope_status run_distinct(const struct job *j, const struct wave *w, size_t first, size_t last) {
  struct cuda_distinct_table *t = &j->state->distinct;
  uint64_t bytes = 0;
  for (size_t i = first; i <= last; ++i)
    if (active(j, i) && j->state->places[i].areas.set)
      bytes = j->state->places[i].set + j->state->places[i].areas.set - w->zeroed;
  if (bytes == 0) return ACTSCOPE_OK;
  int error = actscope_cuda_zero(arena(j) + w->zeroed, bytes, j->stream);
  if (error) return launch_failed(j, error, first, last, "clearing the sets");
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype) {
    size_t from = first;
    actscope_cuda_distinct_begin(t, (actscope_dtype)dtype);
    for (size_t i = first; i <= last; ++i) {
      const struct place *at = &j->state->places[i];
      struct view v;
      if (!active(j, i) || j->plan->layers[i].dtype != (actscope_dtype)dtype || at->areas.set == 0) continue;
      view_init(&v, &j->tensors[i - j->first], j->plan->layers[i].options.channels);
      const struct cuda_distinct_shape shape = actscope_cuda_distinct_shape((actscope_dtype)dtype, v.elements, at->areas.set);
      void *set = arena(j) + at->set;
      struct cuda_distinct *state = pointers_of(j, i).distinct;
      if (actscope_cuda_distinct_add(t, &v, shape, set, state)) continue;
      error = actscope_cuda_distinct(t, j->stream);
      if (error) return launch_failed(j, error, from, i - 1, "distinct");
      actscope_cuda_distinct_begin(t, (actscope_dtype)dtype);
      actscope_cuda_distinct_add(t, &v, shape, set, state);
      from = i;
    }
    error = actscope_cuda_distinct(t, j->stream);
    if (error) return launch_failed(j, error, from, last, "distinct");
  }
  return ACTSCOPE_OK;
}

/* Launches what the features' table holds: layers first .. last. */
static actscope_status launch_features(const struct job *j, const struct wave *w, size_t first, size_t last) {
  struct cuda_layers *all = &j->state->features;
  void *space = scratch(j, w);
  if (all->layers == 0) return ACTSCOPE_OK;
  int error = actscope_cuda_columns(all, space, counters(j), j->stream);
  if (error) return launch_failed(j, error, first, last, "columns");
  error = actscope_cuda_select(all, j->stream);
  if (error) return launch_failed(j, error, first, last, "select");
  if (j->state->places[first].way.strips > 1) return launch_strips(j, w, first);
  int kept = 0; /* the others are done: their features are only looked at */
  for (int k = 0; k < all->layers; ++k)
    if (all->layer[k].z_hi) all->layer[kept++] = all->layer[k];
  all->layers = kept;
  if (kept == 0) return ACTSCOPE_OK;
  error = actscope_cuda_standardise(all, space, counters(j), j->stream);
  if (error) return launch_failed(j, error, first, last, "standardise");
  error = correlate(j, all, 1);
  if (error) return launch_failed(j, error, first, last, "correlation");
  error = gram(j, w, all);
  if (error) return launch_failed(j, error, first, last, "Gram");
  error = actscope_cuda_eigen(all, space, j->stream);
  return error ? launch_failed(j, error, first, last, "eigenvalues") : ACTSCOPE_OK;
}

/* Similarity of samples, of layers first .. last: a launch for each full table. */
static actscope_status run_similarity(const struct job *j, const struct wave *w, size_t first, size_t last) {
  struct cuda_layers *t = &j->state->features;
  int error = 0;
  actscope_cuda_layers_begin(t);
  for (size_t i = first; i <= last && !error; ++i) {
    struct view v;
    if (!active(j, i) || !j->state->places[i].areas.similarity) continue;
    view_init(&v, &j->tensors[i - j->first], j->plan->layers[i].options.channels);
    struct cuda_layer *f = actscope_cuda_layers_add(t, &v);
    if (!f) {
      error = actscope_cuda_similarity(t, scratch(j, w), counters(j), j->stream);
      actscope_cuda_layers_begin(t);
      f = actscope_cuda_layers_add(t, &v);
    }
    const struct pointers p = pointers_of(j, i);
    f->unit = p.unit, f->similarity = p.similarity;
  }
  if (!error) error = actscope_cuda_similarity(t, scratch(j, w), counters(j), j->stream);
  return error ? launch_failed(j, error, first, last, "similarity") : ACTSCOPE_OK;
}

/* The stages that look at features, of layers first .. last. */
static actscope_status run_features(const struct job *j, const struct wave *w, size_t first, size_t last) {
  struct cuda_layers *t = &j->state->features;
  size_t from = first;
  actscope_cuda_layers_begin(t);
  for (size_t i = first; i <= last; ++i) {
    const struct plan_layer *l = &j->plan->layers[i];
    const actscope_options *o = &l->options;
    struct view v;
    if (!active(j, i) || !j->state->places[i].stages.features) continue;
    view_init(&v, &j->tensors[i - j->first], o->channels);
    struct cuda_layer *f = actscope_cuda_layers_add(t, &v);
    if (!f) {
      actscope_status status = launch_features(j, w, from, i - 1);
      if (status) return status;
      actscope_cuda_layers_begin(t);
      f = actscope_cuda_layers_add(t, &v);
      from = i;
    }
    const struct pointers p = pointers_of(j, i);
    const struct stages s = j->state->places[i].stages;
    const int pairs = (o->statistics & ACTSCOPE_CORRELATION) && l->correlation != ACTSCOPE_CORRELATION_GRAM;
    f->columns = p.columns, f->features_out = p.found, f->list = p.list, f->order = p.order;
    f->pairs_wanted = pairs && l->correlation == ACTSCOPE_CORRELATION_SAMPLED ? o->pairs : 0, f->seed = o->seed;
    f->z_hi = p.high, f->z_lo = p.low, f->weight = p.weight;
    f->functionals = pairs ? o->pair_functionals : 0;
    f->pairs = p.pairs, f->all_pairs = p.all_pairs;
    f->frobenius_square = p.norm, f->gram_parts = p.parts, f->effective_rank = p.rank;
    if (s.sample_side) f->gram = p.gram; else f->feature_gram = p.gram;
  }
  return launch_features(j, w, from, last);
}

/* Clocks and windows of layers first .. last, which are one wave's and so fit one table. */
static void window_fill(const struct job *j, size_t first, size_t last) {
  struct cuda_state *s = j->state;
  struct cuda_window_table *t = &s->window;
  t->layers = 0, t->window = (uint64_t)j->plan->options.window;
  for (size_t i = first; i <= last; ++i) {
    const struct plan_layer *l = &j->plan->layers[i];
    if (!active(j, i)) continue;
    const struct pointers p = pointers_of(j, i);
    const struct kept k = kept_of(&l->options, l);
    struct cuda_window_layer *w = &t->layer[t->layers++];
    char *at = (char *)j->plan->workspace + l->kept_offset;
    memset(w, 0, sizeof *w);
    w->dtype = l->dtype, w->sketch_bits = l->options.sketch_bits, w->step_wide = cuda_histogram_wide(l->elements);
    w->samples = l->samples, w->features = l->features;
    w->clock = &s->clocks[i];
    w->kept = take(&at, k.state), w->counts = take(&at, k.counts), w->words = take(&at, k.words), w->columns = take(&at, k.columns);
    w->step_counts = p.histogram, w->step_words = p.sketch, w->step_columns = p.columns;
  }
}

/* The reports of the same layers: the window table still holds them. */
static actscope_status run_finish(const struct job *j, size_t first, size_t last) {
  struct cuda_state *s = j->state;
  const actscope_plan *plan = j->plan;
  struct cuda_finish_table *t = &s->finish;
  t->layers = 0, t->first_layer = first;
  t->history = (uint32_t)plan->options.history, t->stride = plan->count;
  for (size_t i = first; i <= last; ++i) {
    const struct plan_layer *l = &plan->layers[i];
    const actscope_options *o = &l->options;
    if (!active(j, i)) continue;
    const struct pointers p = pointers_of(j, i);
    const struct stages g = s->places[i].stages;
    const struct cuda_window_layer *w = &s->window.layer[t->layers];
    t->index[t->layers] = (uint32_t)(i - first);
    struct cuda_finish_layer *f = &t->layer[t->layers++];
    memset(f, 0, sizeof *f);
    f->dtype = l->dtype, f->statistics = o->statistics, f->sketch_bits = o->sketch_bits;
    f->elements = l->elements, f->samples = l->samples, f->features = l->features;
    f->moments = p.moments;
    f->histogram = w->counts ? w->counts : p.histogram, f->wide = w->counts ? 1 : cuda_histogram_wide(l->elements);
    f->sketch = w->words ? w->words : p.sketch, f->distinct_count = p.distinct ? &p.distinct->count : NULL;
    f->features_out = p.found, f->pairs = p.pairs, f->all_pairs = p.all_pairs, f->frobenius_square = p.norm;
    /* Where pairs are looked at for the norm alone, or not at all, report() below says which section is whole. */
    f->correlation = g.pairs ? l->correlation == ACTSCOPE_CORRELATION_SAMPLED ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT
                             : ACTSCOPE_CORRELATION_GRAM;
    f->functionals = o->pair_functionals;
    f->pairs_wanted = o->pairs;
    f->clock = &s->clocks[i], f->kept = w->kept;
    f->effective_rank = p.rank, f->similarity = p.similarity;
    f->report = &s->reports[i], f->newest = &s->newest[i];
  }
  const int error = actscope_cuda_finish(t, s->words, s->header, j->stream);
  if (error) return launch_failed(j, error, first, last, "finish");
  s->groups[s->group_count++] = (struct group){first, last};
  return ACTSCOPE_OK;
}

/* Layers first .. last of one wave. */
static actscope_status run_part(const struct job *j, const struct wave *w, size_t first, size_t last) {
  struct cuda_state *s = j->state;
  while (first < last && !active(j, first)) ++first;
  while (last > first && !active(j, last)) --last;
  if (!active(j, first)) return ACTSCOPE_OK;
  int error = actscope_cuda_zero(arena(j), w->zeroed, j->stream);
  if (error) return launch_failed(j, error, first, last, "clearing the workspace");
  char name[200];
  if (actscope_ranges_on()) actscope_range_begin(group_name(j->plan, (struct group){first, last}, name, sizeof name));
  window_fill(j, first, last);
  error = actscope_cuda_window_begin(&s->window, s->words, s->header, j->stream);
  actscope_status status = error ? launch_failed(j, error, first, last, "the step's begin") : ACTSCOPE_OK;
  if (!status) status = run_profile(j, w, first, last);
  if (!status) status = run_distinct(j, w, first, last);
  if (!status) status = run_similarity(j, w, first, last);
  if (!status) status = run_features(j, w, first, last);
  if (!status && j->plan->options.window != 1) {
    error = actscope_cuda_window_merge(&s->window, j->stream);
    if (error) status = launch_failed(j, error, first, last, "merging the window");
  }
  if (!status) status = run_finish(j, first, last);
  actscope_range_end();
  return status;
}

/* ---- Tensors in host memory ---------------------------------------------------------------------------------------------- */

/* Copies the layer's tensor to the device; *out is it there. */
static actscope_status stage(const struct job *j, size_t layer, const actscope_tensor *t, actscope_tensor *out) {
  struct cuda_state *s = j->state;
  const struct plan_layer *l = &j->plan->layers[layer];
  const int64_t size = (int64_t)actscope_dtype_size(t->dtype);
  int64_t low = 0, high = 0;
  for (int d = 0; t->strides && d < t->ndim; ++d) {
    int64_t reach = t->strides[d] * (t->shape[d] - 1);
    if (reach < 0) low += reach; else high += reach;
  }
  if (!t->strides) high = (int64_t)l->elements - 1;
  uint64_t bytes = (uint64_t)(high - low + 1) * (uint64_t)size;
  if (bytes > s->staging_bytes) {
    if (s->staging) actscope_cuda_release(s->staging, s->staging_bytes);
    s->staging = NULL;
    s->staging_bytes = 0;
    int error = actscope_cuda_allocate(&s->staging, bytes);
    if (error) return actscope_cuda_fail(error, "%s: %llu bytes on the GPU for its data", l->name, (unsigned long long)bytes);
    s->staging_bytes = bytes;
  }
  int error = actscope_cuda_upload(s->staging, (const char *)t->data + low * size, bytes, j->stream);
  if (error) return actscope_cuda_fail(error, "%s: copying its data to the GPU", l->name);
  *out = *t;
  out->data = (char *)s->staging - low * size;
  return ACTSCOPE_OK;
}

/* Layers first .. last of one wave, some of them in host memory: one after the other, through the staging buffer. */
static actscope_status run_staged(const struct job *j, const struct wave *w, size_t first, size_t last) {
  for (size_t i = first; i <= last; ++i) {
    const actscope_tensor *t = &j->tensors[i - j->first];
    actscope_tensor there = *t;
    int device;
    if (!active(j, i)) continue;
    int error = actscope_cuda_is_device(t->data, &device);
    if (error) return launch_failed(j, error, i, i, "its data");
    actscope_status status = device ? ACTSCOPE_OK : stage(j, i, t, &there);
    struct job one = {j->plan, j->state, &there, i, j->stream};
    if (!status) status = run_part(&one, w, i, i);
    if (status) return status;
  }
  return ACTSCOPE_OK;
}

static actscope_status run_waves(const struct job *j, size_t count, int capturing) {
  struct cuda_state *s = j->state;
  size_t end = j->first + count;
  for (size_t k = count ? s->places[j->first].wave : s->wave_count; k < s->wave_count && s->waves[k].first < end; ++k) {
    const struct wave *w = &s->waves[k];
    size_t first = w->first > j->first ? w->first : j->first;
    size_t last = (w->first + w->count < end ? w->first + w->count : end) - 1;
    int staged = 0;
    for (size_t i = first; i <= last; ++i) {
      int device = 1, error = active(j, i) ? actscope_cuda_is_device(j->tensors[i - j->first].data, &device) : 0;
      if (error) return launch_failed(j, error, i, i, "its data");
      if (!device && capturing)
        return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: data is in host memory, which cannot be captured in a graph",
                             j->plan->layers[i].name);
      staged |= !device;
    }
    actscope_status status = staged ? run_staged(j, w, first, last) : run_part(j, w, first, last);
    if (status) return status;
  }
  return ACTSCOPE_OK;
}

/* ---- The plan's own graph --------------------------------------------------------------------------------------------- */

static int same_tensor(const struct moved *m, const actscope_tensor *t) {
  if (m->data != t->data || m->compact != (t->strides == NULL)) return 0;
  return m->compact || t->ndim == 0 || memcmp(m->strides, t->strides, (size_t)t->ndim * sizeof *t->strides) == 0;
}
static void remember(struct moved *m, const actscope_tensor *t) {
  memset(m, 0, sizeof *m);
  m->data = t->data, m->compact = t->strides == NULL;
  if (t->strides && t->ndim > 0) memcpy(m->strides, t->strides, (size_t)t->ndim * sizeof *t->strides);
}

/* 1 when all tensors are on the device, or skipped; -1 - error on an error. */
static int all_on_device(const struct job *j, size_t count) {
  for (size_t i = j->first; i < j->first + count; ++i) {
    int device = 1, error = active(j, i) ? actscope_cuda_is_device(j->tensors[i - j->first].data, &device) : 0;
    if (error) return -1 - error;
    if (!device) return 0;
  }
  return 1;
}

/* Records the work of all layers, and makes the executable graph do it. */
static actscope_status record(const struct job *j, size_t count) {
  struct cuda_state *s = j->state;
  struct job own = *j;
  void *graph = NULL;
  own.stream = s->recorder;
  int error = actscope_cuda_record_begin(s->recorder);
  if (error) return actscope_cuda_fail(error, "recording a graph");
  actscope_status status = run_waves(&own, count, 1);
  error = actscope_cuda_record_end(s->recorder, &graph); /* in any case */
  if (!status && error) status = actscope_cuda_fail(error, "recording a graph");
  if (!status) {
    error = actscope_cuda_exec_set(&s->exec, graph);
    if (error) status = actscope_cuda_fail(error, "making a graph");
  }
  if (graph) actscope_cuda_graph_destroy(graph);
  return status;
}

/* The work as one graph: what was recorded last, if the tensors are where they were. */
static actscope_status run_graph(const struct job *j, size_t count) {
  struct cuda_state *s = j->state;
  int same = s->exec_holds;
  for (size_t i = 0; same && i < count; ++i) same = same_tensor(&s->moved[i], &j->tensors[i]);
  if (!same) {
    s->exec_holds = 0;
    s->group_count = 0;
    actscope_status status = record(j, count);
    if (status) return status;
    for (size_t i = 0; i < count; ++i) remember(&s->moved[i], &j->tensors[i]);
    s->exec_holds = 1;
  }
  int error = s->group_count ? actscope_cuda_exec_launch(s->exec, j->stream) : 0;
  return error ? actscope_cuda_fail(error, "the graph") : ACTSCOPE_OK;
}

static actscope_status run(actscope_plan *p, size_t first, const actscope_tensor *tensors, size_t count,
                           struct CUstream_st *stream) {
  struct cuda_state *s = p->state;
  struct job j = {p, s, tensors, first, stream};
  int before, capturing = 0, graph = 0, error = actscope_cuda_enter(p->options.device_index, &before);
  if (error) return actscope_cuda_fail(error, "GPU %d", (int)p->options.device_index);
  s->failed = ACTSCOPE_OK;
  s->base = sequence_of(s) > s->target ? sequence_of(s) : s->target;
  error = actscope_cuda_capturing(stream, &capturing);
  actscope_status status = error ? actscope_cuda_fail(error, "the stream") : ACTSCOPE_OK;
  if (!status && p->options.graph && !capturing && count == p->count) {
    graph = all_on_device(&j, count);
    if (graph < 0) status = actscope_cuda_fail(-1 - graph, "the tensors");
  }
  if (graph != 1) s->exec_holds = 0, s->group_count = 0;
  if (!status) status = graph ? run_graph(&j, count) : run_waves(&j, count, capturing);
  s->target = s->base + s->group_count;
  s->recorded = 0;
  if (!capturing && !error && s->group_count) {
    error = actscope_cuda_event_record(s->event, stream);
    s->recorded = !error;
    if (error && !status) status = actscope_cuda_fail(error, "marking the end of the work");
  }
  actscope_cuda_leave(before);
  if (status) {
    s->failed = status;
    snprintf(s->failure, sizeof s->failure, "%.255s", actscope_last_error());
    if (graph == 1) s->exec_holds = 0, s->target = s->base; /* nothing of it was launched */
  }
  for (size_t i = first; i < first + count; ++i) {
    struct plan_layer *l = &p->layers[i];
    if (!tensors[i - first].data && l->elements) continue;
    actscope_plan_step(p, l);
    actscope_plan_report_begin(l);
    l->report.status = status;
    l->report.seconds = core_nan();
    if (l->elements == 0) actscope_plan_report_empty(l);
    l->reported = 1;
    s->places[i].sequence = 0;
  }
  actscope_plan_log(&p->options, ACTSCOPE_LOG_INFO, "%zu layers in %zu groups%s", count, s->group_count,
                    capturing ? ", captured" : graph == 1 ? ", one graph" : "");
  return status;
}

/* ---- Results ------------------------------------------------------------------------------------------------------------ */

static int arrived(const struct cuda_state *s) {
  int there = sequence_of(s) >= s->target;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return there;
}

static actscope_status poll(actscope_plan *p, int wait) {
  struct cuda_state *s = p->state;
  if (s->failed) return actscope_fail(s->failed, "%s", s->failure);
  if (arrived(s)) return ACTSCOPE_OK;
  if (!s->recorded)
    return actscope_fail(ACTSCOPE_NOT_READY, "the work was captured in a graph that has not run to its end yet");
  int before, error = actscope_cuda_enter(p->options.device_index, &before);
  if (!error) {
    error = wait ? actscope_cuda_event_wait(s->event) : actscope_cuda_event_query(s->event);
    actscope_cuda_leave(before);
  }
  if (error == -1) return actscope_fail(ACTSCOPE_NOT_READY, "the work is still running");
  if (!error) return arrived(s) ? ACTSCOPE_OK : actscope_fail(ACTSCOPE_INTERNAL, "the GPU finished without its reports");
  /* The launches finish in order, so the first group without its reports is where it happened. */
  char name[200];
  uint64_t done = sequence_of(s) > s->base ? sequence_of(s) - s->base : 0;
  struct group g = s->groups[done < s->group_count ? done : s->group_count - 1];
  s->failed = actscope_cuda_fail(error, "%s", group_name(p, g, name, sizeof name));
  snprintf(s->failure, sizeof s->failure, "%.255s", actscope_last_error());
  s->target = sequence_of(s); /* the rest of that work never comes */
  return s->failed;
}

/* Completes a layer's report from what the device wrote. */
static void report_from(actscope_plan *p, size_t layer, const struct cuda_report *from, actscope_layer_report *r) {
  struct plan_layer *l = &p->layers[layer];
  const actscope_options *o = &l->options;
  const uint64_t valid = from->correlation.valid_features;
  actscope_plan_report_begin(l);
  l->report.sequence = from->sequence, l->report.steps = from->steps;
  l->report.elements = l->elements * from->steps;
  l->report.seconds = core_nan();
  if (o->statistics & ACTSCOPE_PROFILE) l->report.profile = from->profile;
  if (o->statistics & ACTSCOPE_DISTINCT) l->report.distinct = from->distinct;
  if (o->statistics & ACTSCOPE_HEALTH) l->report.health = from->health;
  if (from->nonfinite) l->report.warnings |= ACTSCOPE_WARN_NONFINITE;
  if (o->statistics & ACTSCOPE_CORRELATION) {
    l->report.correlation = from->correlation;
    if (l->correlation == ACTSCOPE_CORRELATION_GRAM) { /* looked at pairs or not: what single pairs say was not asked for */
      actscope_correlation *c = &l->report.correlation;
      pairs_report_init(l->samples, valid, c);
      c->method = ACTSCOPE_CORRELATION_GRAM;
      c->pairs = c->pairs_total = from->correlation.pairs_total;
      c->mean_square = from->correlation.mean_square;
      c->adjusted_rms = from->correlation.adjusted_rms;
    }
    actscope_plan_note_samples(l, valid);
  }
  if (o->statistics & ACTSCOPE_RANK) {
    l->report.rank.participation_ratio = from->rank.participation_ratio;
    l->report.rank.effective_rank = from->rank.effective_rank;
    if (valid > 0 && l->report.rank.effective_rank != l->report.rank.effective_rank) l->report.warnings |= ACTSCOPE_WARN_NO_EFFECTIVE_RANK;
  }
  if (o->statistics & ACTSCOPE_SIMILARITY) l->report.similarity = from->similarity;
  *r = l->report;
}

static uint64_t newest_of(const struct cuda_state *s, size_t layer) {
  const uint64_t n = *(const volatile uint64_t *)&s->newest[layer];
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return n;
}

/* The layer's report number `sequence`, if it is in the ring and stays there while it is read. */
static int read_ring(const actscope_plan *p, size_t layer, uint64_t sequence, struct cuda_report *out) {
  const struct cuda_state *s = p->state;
  const struct cuda_report *from = &s->reports[sequence % (uint64_t)p->options.history * p->count + layer];
  const volatile uint64_t *own = &from->sequence;
  if (*own != sequence) return 0;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  *out = *from;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  out->sequence = sequence;
  return *own == sequence;
}

static actscope_status report(actscope_plan *p, struct plan_layer *l) {
  struct cuda_state *s = p->state;
  const size_t i = (size_t)(l - p->layers);
  actscope_status status = poll(p, 0);
  if (status || l->elements == 0) return status;
  const uint64_t newest = newest_of(s, i);
  if (newest && s->places[i].sequence == newest) return ACTSCOPE_OK;
  const int first = s->places[i].sequence == 0; /* replays of a graph make further reports of one enqueue */
  struct cuda_report from;
  actscope_layer_report r;
  if (!newest || !read_ring(p, i, newest, &from))
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: its report is being written", l->name);
  report_from(p, i, &from, &r);
  s->places[i].sequence = newest;
  if (first) actscope_plan_log_warnings(&l->options, l);
  return ACTSCOPE_OK;
}

static actscope_status report_at(actscope_plan *p, struct plan_layer *l, uint64_t sequence, actscope_layer_report *r) {
  struct cuda_state *s = p->state;
  const size_t i = (size_t)(l - p->layers);
  const uint64_t newest = newest_of(s, i);
  struct cuda_report from;
  if (sequence > newest)
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: report %llu has not been made yet", l->name, (unsigned long long)sequence);
  if (sequence == 0 || !read_ring(p, i, sequence, &from))
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: report %llu is not among the last %d", l->name,
                         (unsigned long long)sequence, (int)p->options.history);
  const actscope_layer_report shown = l->report;
  report_from(p, i, &from, r);
  l->report = shown;
  return ACTSCOPE_OK;
}

/* The device sees the new number when the next step begins. */
static actscope_status reset(actscope_plan *p, int alarm) {
  struct cuda_state *s = p->state;
  volatile struct cuda_report_header *h = s->header;
  h->windows = h->windows + 1;
  if (alarm) h->alarms = h->alarms + 1;
  return ACTSCOPE_OK;
}

static void alarm_of(const actscope_plan *p, size_t *layer, uint64_t *sequence) {
  const struct cuda_state *s = p->state;
  const volatile struct cuda_report_header *h = s->header;
  const uint64_t word = h->alarm;
  if (h->alarm_of != h->alarms || word == ~0ull) return; /* of before a reset, or none */
  *layer = (size_t)(word & 0xFFFFFF), *sequence = word >> 24;
}

static const struct plan_backend cuda_backend = {ACTSCOPE_DEVICE_CUDA, layer_need, plan_need, open_state, close_state,
                                                 allocate, free_workspace, run, poll, report, reset, alarm_of, report_at};
const struct plan_backend *actscope_cuda_backend(void) { return actscope_cuda_count() > 0 ? &cuda_backend : NULL; }
