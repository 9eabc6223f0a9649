/* backend.c - the plan on a GPU: where every state lies, and which launches measure which layers.
 *
 * Workspace  One arena. Layers are taken in waves: as many at a time as the arena holds, in the plan's order. A wave's part
 *            of it is  counters | states, all zeroed by one memset | z-scores and the like | scratch.  Sets of distinct
 *            values lie where the last two do, and are done with before those are needed. Offsets are decided when the
 *            plan is made, so a wave is the same launches every time and can be captured in a graph.
 * Strips     A layer whose z-scores do not fit is a wave of its own: its features are taken in strips, two of which are in
 *            the arena at a time, and every two strips are multiplied. Same integers, more launches.
 * Launches   All layers of a wave share a launch where they can (kernels.h: a table a stage, launched when it is full):
 *            profile and distinct once a dtype; columns, select, standardise, correlation, Gram, eigenvalues; then finish,
 *            which leaves a report a layer in pinned host memory and adds 1 to the sequence number behind them.
 * Results    The host looks at the sequence number and never waits, unless asked to.
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

/* Bytes of a layer's areas; 0 where one is not there. */
struct areas {
  uint64_t moments, sketch, histogram, pair_state, all_pairs, distinct;        /* start zeroed */
  uint64_t found, columns, list, order, high, low, weight, parts, gram, norm, rank; /* start as they are */
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
  a.zeroed = a.moments + a.sketch + a.histogram + a.pair_state + a.all_pairs + a.distinct;
  a.plain = a.found + a.columns + a.list + a.order + a.high + a.low + a.weight + a.parts + a.gram + a.norm + a.rank;
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
  uint64_t sequence;   /* with which its report was made; 0: not yet */
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
  struct cuda_report *reports;        /* pinned, one a layer */
  struct cuda_report_header *header;  /* pinned, behind them */
  struct cuda_finish_words *words;    /* on the device */
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
};

static uint64_t state_bytes(const actscope_plan *p) {
  return up(sizeof(struct cuda_state)) + up(p->count * sizeof(struct place)) + up(p->count * sizeof(struct wave)) +
         up(p->count * sizeof(struct group));
}
static uint64_t pinned_bytes(const actscope_plan *p) {
  return up(p->count * sizeof(struct cuda_report)) + up(sizeof(struct cuda_report_header));
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
  if (o->window != 1 || o->history != 1 || l->own_options)
    return actscope_fail(ACTSCOPE_UNSUPPORTED, "%s: windows, a history and options of a layer's own are the CPU's in this build", l->name);
  int before, error = actscope_cuda_enter(o->device_index, &before);
  if (error) return actscope_cuda_fail(error, "GPU %d", (int)o->device_index);
  const uint64_t profile = scratch_of(o, l->dtype, &error);
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
    if (l->elements == 0 || seen[(unsigned)l->dtype % 16]++) continue;
    uint64_t bytes = scratch_of(&p->options, l->dtype, &error);
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
    const struct areas a = areas_of(&p->options, l, way_whole(l));
    const uint64_t alone = wave_total(&a, shared), least = way_bytes(&p->options, l, way_least(&p->options, l, shared), shared, 0);
    if (least > need->least) need->least = least, need->worst = i;
    if (alone > need->best) need->best = alone;
    areas_add(&all, &a);
  }
  const uint64_t together = wave_total(&all, shared);
  if (need->least && need->best < wave_bytes) need->best = together < wave_bytes ? together : wave_bytes;
  need->beside = state_bytes(p) + pinned_bytes(p) + up(sizeof(struct cuda_finish_words));
}

/* ---- Opening and closing ------------------------------------------------------------------------------------------------ */

/* Packs the layers into waves. */
static void place_layers(actscope_plan *p, struct cuda_state *s, uint64_t shared) {
  struct areas sum;
  struct wave *w = NULL;
  memset(&sum, 0, sizeof sum);
  for (size_t i = 0; i < p->count; ++i) {
    struct plan_layer *l = &p->layers[i];
    const struct way way = s->places[i].way = way_choose(&p->options, l, shared, p->workspace_bytes);
    struct areas a = areas_of(&p->options, l, way);
    fit_set(&a, l, p->workspace_bytes);
    s->places[i].areas = a;
    s->places[i].stages = stages_of(&p->options, l, way.eigenvalues);
    if (a.set && actscope_cuda_distinct_shape(l->dtype, l->elements, a.set).passes > 1) l->warnings |= ACTSCOPE_WARN_DISTINCT_PASSES;
    const int alone = way.strips > 1 || (i > 0 && s->places[i - 1].way.strips > 1);
    struct areas with = sum;
    areas_add(&with, &a);
    if (!w || alone || wave_total(&with, shared) > p->workspace_bytes || w->count == WAVE_LAYERS) {
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
    if (s->words) actscope_cuda_release(s->words);
    if (s->staging) actscope_cuda_release(s->staging);
    actscope_cuda_leave(before);
  }
  actscope_memory_free(s);
  p->state = NULL;
}

static actscope_status open_state(actscope_plan *p) {
  struct cuda_state *s = actscope_memory_allocate(state_bytes(p));
  if (!s) return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the system refused %llu bytes", (unsigned long long)state_bytes(p));
  char *at = (char *)s + up(sizeof *s);
  p->state = s;
  s->places = (struct place *)at, at += up(p->count * sizeof *s->places);
  s->waves = (struct wave *)at, at += up(p->count * sizeof *s->waves);
  s->groups = (struct group *)at;
  int before, error = actscope_cuda_enter(p->options.device_index, &before);
  if (!error) {
    const struct cuda_finish_words start = {.first_nonfinite = ~0ull};
    void *pinned = NULL, *words = NULL;
    place_layers(p, s, profile_scratch(p));
    error = actscope_cuda_pinned_allocate(&pinned, pinned_bytes(p));
    s->reports = pinned;
    if (!error) error = actscope_cuda_allocate(&words, sizeof start);
    s->words = words;
    if (!error) error = actscope_cuda_upload_now(words, &start, sizeof start);
    if (!error) error = actscope_cuda_event_create(&s->event);
    actscope_cuda_leave(before);
  }
  if (error) {
    actscope_status status = actscope_cuda_fail(error, "the plan's own memory on GPU %d", (int)p->options.device_index);
    close_state(p);
    return status;
  }
  s->header = (struct cuda_report_header *)((char *)s->reports + up(p->count * sizeof *s->reports));
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
  actscope_cuda_release(workspace);
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
  double *norm, *rank;
};
static void *take(char **at, uint64_t bytes) {
  char *here = *at;
  *at += bytes;
  return bytes ? here : NULL;
}
static struct pointers pointers_of(const struct job *j, size_t layer) {
  const struct areas a = j->state->places[layer].areas;
  struct pointers p;
  char *at = (char *)j->plan->workspace + j->state->places[layer].zeroed;
  p.moments = take(&at, a.moments), p.sketch = take(&at, a.sketch), p.histogram = take(&at, a.histogram);
  p.pairs = take(&at, a.pair_state), p.all_pairs = take(&at, a.all_pairs), p.distinct = take(&at, a.distinct);
  at = (char *)j->plan->workspace + j->state->places[layer].plain;
  p.found = take(&at, a.found), p.columns = take(&at, a.columns), p.list = take(&at, a.list), p.order = take(&at, a.order);
  p.high = take(&at, a.high), p.low = take(&at, a.low), p.weight = take(&at, a.weight);
  p.parts = take(&at, a.parts);
  p.gram = take(&at, a.gram), p.norm = take(&at, a.norm), p.rank = take(&at, a.rank);
  return p;
}

static unsigned *counters(const struct job *j) { return j->plan->workspace; }
static void *scratch(const struct job *j, const struct wave *w) { return (char *)j->plan->workspace + w->scratch; }

/* The profile stage of layers first .. last: a launch for each dtype among them, and one for those of its layers that
 * have no sketch though others do. */
static actscope_status run_profile(const struct job *j, const struct wave *w, size_t first, size_t last) {
  const actscope_options *o = &j->plan->options;
  struct cuda_profile_table *t = &j->state->profile;
  for (int kind = 2 * ACTSCOPE_FLOAT32; kind <= 2 * ACTSCOPE_FLOAT64 + 1; ++kind) {
    const actscope_dtype dtype = (actscope_dtype)(kind / 2);
    const int exactly = kind % 2;
    const uint32_t want = o->statistics & (uint32_t)(ACTSCOPE_PROFILE | (exactly ? 0 : ACTSCOPE_DISTINCT));
    size_t from = first;
    if (!want) continue;
    actscope_cuda_profile_begin(t, dtype, want, o->sketch_bits);
    for (size_t i = first; i <= last; ++i) {
      const struct plan_layer *l = &j->plan->layers[i];
      struct view v;
      if (!active(j, i) || l->dtype != dtype || counts_exactly(o, l) != exactly) continue;
      view_init(&v, &j->tensors[i - j->first], o->channels);
      const struct pointers p = pointers_of(j, i);
      if (actscope_cuda_profile_add(t, &v, p.moments, p.histogram, p.sketch)) continue;
      int error = actscope_cuda_profile(t, scratch(j, w), counters(j), j->stream);
      if (error) return launch_failed(j, error, from, i - 1, "profile");
      actscope_cuda_profile_begin(t, dtype, want, o->sketch_bits);
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
  const actscope_options *o = &j->plan->options;
  struct cuda_distinct_table *t = &j->state->distinct;
  uint64_t bytes = 0;
  for (size_t i = first; i <= last; ++i)
    if (active(j, i) && j->state->places[i].areas.set)
      bytes = j->state->places[i].set + j->state->places[i].areas.set - w->zeroed;
  if (bytes == 0) return ACTSCOPE_OK;
  int error = actscope_cuda_zero((char *)j->plan->workspace + w->zeroed, bytes, j->stream);
  if (error) return launch_failed(j, error, first, last, "clearing the sets");
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype) {
    size_t from = first;
    actscope_cuda_distinct_begin(t, (actscope_dtype)dtype);
    for (size_t i = first; i <= last; ++i) {
      const struct place *at = &j->state->places[i];
      struct view v;
      if (!active(j, i) || j->plan->layers[i].dtype != (actscope_dtype)dtype || at->areas.set == 0) continue;
      view_init(&v, &j->tensors[i - j->first], o->channels);
      const struct cuda_distinct_shape shape = actscope_cuda_distinct_shape((actscope_dtype)dtype, v.elements, at->areas.set);
      void *set = (char *)j->plan->workspace + at->set;
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
  const actscope_options *o = &j->plan->options;
  struct cuda_layers *all = &j->state->features;
  void *space = scratch(j, w);
  if (all->layers == 0) return ACTSCOPE_OK;
  int error = actscope_cuda_columns(all, space, counters(j), j->stream);
  if (error) return launch_failed(j, error, first, last, "columns");
  error = actscope_cuda_select(all, j->stream);
  if (error) return launch_failed(j, error, first, last, "select");
  if (!(o->statistics & (ACTSCOPE_CORRELATION | ACTSCOPE_RANK))) return ACTSCOPE_OK;
  if (j->state->places[first].way.strips > 1) return launch_strips(j, w, first);
  error = actscope_cuda_standardise(all, space, counters(j), j->stream);
  if (error) return launch_failed(j, error, first, last, "standardise");
  error = correlate(j, all, 1);
  if (error) return launch_failed(j, error, first, last, "correlation");
  error = gram(j, w, all);
  if (error) return launch_failed(j, error, first, last, "Gram");
  error = actscope_cuda_eigen(all, space, j->stream);
  return error ? launch_failed(j, error, first, last, "eigenvalues") : ACTSCOPE_OK;
}

/* The stages that look at features, of layers first .. last. */
static actscope_status run_features(const struct job *j, const struct wave *w, size_t first, size_t last) {
  const actscope_options *o = &j->plan->options;
  struct cuda_layers *t = &j->state->features;
  size_t from = first;
  if (!(o->statistics & (ACTSCOPE_HEALTH | ACTSCOPE_CORRELATION | ACTSCOPE_RANK))) return ACTSCOPE_OK;
  actscope_cuda_layers_begin(t);
  for (size_t i = first; i <= last; ++i) {
    const struct plan_layer *l = &j->plan->layers[i];
    struct view v;
    if (!active(j, i)) continue;
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

/* The reports of layers first .. last, which are one wave's and so fit one table. */
static actscope_status run_finish(const struct job *j, size_t first, size_t last) {
  struct cuda_state *s = j->state;
  const actscope_options *o = &j->plan->options;
  struct cuda_finish_table *t = &s->finish;
  t->layers = 0, t->last = 1, t->first_layer = first;
  for (size_t i = first; i <= last; ++i) {
    const struct plan_layer *l = &j->plan->layers[i];
    if (!active(j, i)) continue;
    const struct pointers p = pointers_of(j, i);
    const struct stages g = s->places[i].stages;
    struct cuda_finish_layer *f = &t->layer[t->layers++];
    memset(f, 0, sizeof *f);
    f->dtype = l->dtype, f->statistics = o->statistics, f->sketch_bits = o->sketch_bits;
    f->elements = l->elements, f->samples = l->samples, f->features = l->features;
    f->moments = p.moments, f->histogram = p.histogram, f->sketch = p.sketch;
    f->distinct_count = p.distinct ? &p.distinct->count : NULL;
    f->features_out = p.found, f->pairs = p.pairs, f->all_pairs = p.all_pairs, f->frobenius_square = p.norm;
    /* Where pairs are looked at for the norm alone, or not at all, report() below says which section is whole. */
    f->correlation = g.pairs ? l->correlation == ACTSCOPE_CORRELATION_SAMPLED ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT
                             : ACTSCOPE_CORRELATION_GRAM;
    f->functionals = o->pair_functionals;
    f->pairs_wanted = o->pairs;
    f->effective_rank = p.rank;
    f->report = &s->reports[i];
  }
  const int error = actscope_cuda_finish(t, s->words, s->header, j->stream);
  if (error) return launch_failed(j, error, first, last, "finish");
  s->groups[s->group_count++] = (struct group){first, last};
  return ACTSCOPE_OK;
}

/* Layers first .. last of one wave. */
static actscope_status run_part(const struct job *j, const struct wave *w, size_t first, size_t last) {
  while (first < last && !active(j, first)) ++first;
  while (last > first && !active(j, last)) --last;
  if (!active(j, first)) return ACTSCOPE_OK;
  int error = actscope_cuda_zero(j->plan->workspace, w->zeroed, j->stream);
  if (error) return launch_failed(j, error, first, last, "clearing the workspace");
  char name[200];
  if (actscope_ranges_on()) actscope_range_begin(group_name(j->plan, (struct group){first, last}, name, sizeof name));
  actscope_status status = run_profile(j, w, first, last);
  if (!status) status = run_distinct(j, w, first, last);
  if (!status) status = run_features(j, w, first, last);
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
    if (s->staging) actscope_cuda_release(s->staging);
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

static actscope_status run(actscope_plan *p, size_t first, const actscope_tensor *tensors, size_t count,
                           struct CUstream_st *stream) {
  struct cuda_state *s = p->state;
  struct job j = {p, s, tensors, first, stream};
  int before, capturing = 0, error = actscope_cuda_enter(p->options.device_index, &before);
  if (error) return actscope_cuda_fail(error, "GPU %d", (int)p->options.device_index);
  s->failed = ACTSCOPE_OK;
  s->group_count = 0;
  s->base = sequence_of(s) > s->target ? sequence_of(s) : s->target;
  error = actscope_cuda_capturing(stream, &capturing);
  actscope_status status = error ? actscope_cuda_fail(error, "the stream") : run_waves(&j, count, capturing);
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
                    capturing ? ", captured" : "");
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

static actscope_status report(actscope_plan *p, struct plan_layer *l) {
  struct cuda_state *s = p->state;
  const size_t i = (size_t)(l - p->layers);
  const actscope_options *o = &p->options;
  actscope_status status = poll(p, 0);
  if (status || l->elements == 0) return status;
  if (s->places[i].sequence == sequence_of(s)) return ACTSCOPE_OK;
  int first = s->places[i].sequence == 0; /* replays of a graph make further reports of one enqueue */
  s->places[i].sequence = sequence_of(s);
  actscope_plan_report_begin(l);
  actscope_layer_report *r = &l->report;
  const struct cuda_report *from = &s->reports[i];
  const uint64_t valid = from->correlation.valid_features;
  r->seconds = core_nan();
  if (o->statistics & ACTSCOPE_PROFILE) r->profile = from->profile;
  if (o->statistics & ACTSCOPE_DISTINCT) r->distinct = from->distinct;
  if (o->statistics & ACTSCOPE_HEALTH) r->health = from->health;
  if (from->nonfinite) r->warnings |= ACTSCOPE_WARN_NONFINITE;
  if (s->places[i].way.strips > 1) r->warnings |= ACTSCOPE_WARN_STRIPS;
  if (o->statistics & ACTSCOPE_CORRELATION) {
    r->correlation = from->correlation;
    if (l->correlation == ACTSCOPE_CORRELATION_GRAM) { /* looked at pairs or not: what single pairs say was not asked for */
      pairs_report_init(l->samples, valid, &r->correlation);
      r->correlation.method = ACTSCOPE_CORRELATION_GRAM;
      r->correlation.pairs = r->correlation.pairs_total;
      r->correlation.mean_square = from->correlation.mean_square;
      r->correlation.adjusted_rms = from->correlation.adjusted_rms;
    }
    actscope_plan_note_samples(l, valid);
  }
  if (o->statistics & ACTSCOPE_RANK) {
    r->rank = from->rank;
    if (valid > 0 && r->rank.effective_rank != r->rank.effective_rank) r->warnings |= ACTSCOPE_WARN_NO_EFFECTIVE_RANK;
  }
  r->similarity.mean_cosine = core_nan(); /* has no kernel yet */
  if (first) actscope_plan_log_warnings(o, l);
  return ACTSCOPE_OK;
}

static const struct plan_backend cuda_backend = {ACTSCOPE_DEVICE_CUDA, layer_need, plan_need, open_state, close_state,
                                                 allocate, free_workspace, run, poll, report, NULL, NULL, NULL};
const struct plan_backend *actscope_cuda_backend(void) { return actscope_cuda_count() > 0 ? &cuda_backend : NULL; }
