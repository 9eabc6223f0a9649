/* layout.c - where every state of a CUDA plan lies, and in which way each layer is taken: decided when the plan is made. */
#include <string.h>

#include "cuda/runtime.h"
#include "cuda/state.h"
#include "error.h"

_Static_assert((int)CUDA_FINISH_LAYERS >= (int)WAVE_LAYERS && (int)CUDA_WINDOW_LAYERS >= (int)WAVE_LAYERS,
               "a wave's clocks and its reports are one launch each");
/* More at a time than this gains nothing: a launch is long against its start by then, and z-scores should stay in the L2
 * cache. Not measured on a device yet. */
static const uint64_t wave_bytes = 32ull << 20;

/* ---- Memory ---------------------------------------------------------------------------------------------------------- */

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

static struct stages stages_of(const actscope_options *o, const struct plan_layer *l, int eigenvalues) {
  struct stages s = {0};
  const int correlation = (o->statistics & ACTSCOPE_CORRELATION) != 0, rank = (o->statistics & ACTSCOPE_RANK) != 0;
  const int pairs = correlation && l->correlation != ACTSCOPE_CORRELATION_GRAM;
  const int exact = pairs && l->correlation == ACTSCOPE_CORRELATION_EXACT;
  if (l->elements == 0) return s;
  s.sample_side = l->samples <= l->features;
  s.side = s.sample_side ? l->samples : l->features;
  /* A matrix that costs more than AUTO would spend on exact pairs is left alone where only the rank asks for it. */
  const int fair = (double)l->samples * (double)l->features * (double)s.side <= 1e13;
  s.features = correlation || rank || (o->statistics & ACTSCOPE_HEALTH) || actscope_plan_wants_cka(l);
  const int wanted = rank && fair && s.side <= CUDA_EIGEN_SIDE;
  s.eigenvalues = wanted && eigenvalues;
  s.matrix = wanted && !s.sample_side;
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

int actscope_cuda_counts_exactly(const struct plan_layer *l) {
  return (l->options.statistics & ACTSCOPE_DISTINCT) && l->distinct == ACTSCOPE_DISTINCT_EXACT && !dtype_is_narrow(l->dtype);
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
  if (actscope_cuda_counts_exactly(l)) {
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
    if (actscope_plan_wants_top(l)) a.top = up(cuda_top_bytes(d));
    if (actscope_plan_wants_correlations(l) || a.top) a.feature_sum = up(d * 8), a.feature_max = up(d * 4);
    if (s.all_pairs) a.all_pairs = up(sizeof(struct pairs));
    if (s.pairs && l->correlation == ACTSCOPE_CORRELATION_SAMPLED) a.order = up(d * 4), a.square = up(SPREAD_SIDE * SPREAD_SIDE * sizeof(float));
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
    const struct extra extras[] = {actscope_cuda_halves_need(l), actscope_cuda_shift_need(l), actscope_cuda_cka_need(l)};
    if (extras[0].own) a.halves = up(sizeof(struct cuda_halves));
    if (extras[1].own) a.shift = up(sizeof(struct cuda_shift));
    for (size_t k = 0; k < sizeof extras / sizeof *extras; ++k) {
      if (extras[k].own > a.own) a.own = extras[k].own;
      if (extras[k].counters > a.counters) a.counters = extras[k].counters;
    }
    for (size_t k = 0; k < sizeof extras / sizeof *extras; ++k)
      if (a.own + extras[k].shared > a.scratch) a.scratch = a.own + extras[k].shared;
    a.scratch = up(a.scratch);
  }
  if (o->statistics & ACTSCOPE_SIMILARITY) {
    a.unit = up(l->samples * sizeof(double)), a.similarity = up(sizeof(struct cuda_similarity));
    similarity_scratch(o, l, &a.side_scratch, &a.side_counters);
  }
  a.zeroed = a.moments + a.sketch + a.histogram + a.pair_state + a.all_pairs + a.distinct + a.feature_sum + a.feature_max +
             a.halves + a.shift;
  a.plain = a.top + a.found + a.columns + a.list + a.order + a.square + a.high + a.low + a.weight + a.parts + a.gram + a.norm + a.rank +
            a.unit + a.similarity;
  return a;
}

/* The sums over the layers of a wave, and the bytes of the arena that they take. */
static void areas_add(struct areas *sum, const struct areas *one) {
  sum->zeroed += one->zeroed, sum->plain += one->plain, sum->scratch += one->scratch, sum->counters += one->counters;
  sum->set += one->set, sum->side_scratch += one->side_scratch, sum->side_counters += one->side_counters;
}
static uint64_t most_of(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t side_counters_bytes(const struct areas *a) { return up(4 * most_of(a->side_counters, CUDA_PROFILE_LAYERS)); }
static uint64_t counters_bytes(const struct areas *a) { return most_of(up(4 * a->counters), side_counters_bytes(a)); }
static uint64_t wave_total(const struct areas *a, uint64_t profile_scratch) {
  const uint64_t rest = a->plain + most_of(a->scratch, most_of(a->side_scratch, profile_scratch));
  return counters_bytes(a) + a->zeroed + most_of(a->set, rest);
}
/* Where both chains run at once, which it takes layers for either. */
static uint64_t forked_total(const struct areas *a, uint64_t profile_scratch) {
  return up(4 * a->counters) + side_counters_bytes(a) + a->zeroed + a->plain + a->scratch + most_of(a->side_scratch, profile_scratch) + a->set;
}
/* A layer of its own in an arena of so many bytes: its set takes what there is, which is the least it needs or more. */
static void fit_set(struct areas *a, const struct plan_layer *l, uint64_t bytes) {
  const uint64_t around = counters_bytes(a) + a->zeroed, least = a->set ? up(actscope_cuda_distinct_least(l->dtype, l->elements)) : 0;
  uint64_t most = bytes > around ? (bytes - around) / PLAN_ALIGNMENT * PLAN_ALIGNMENT : 0;
  if (most < least) most = least;
  if (a->set > most) a->set = most;
}

/* Which chains a layer has stages of: 1 reads elements, 2 looks at features. */
static int chains_of(const actscope_options *o, const struct plan_layer *l) {
  const uint32_t elements = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT | ACTSCOPE_SIMILARITY;
  if (l->elements == 0) return 0;
  return ((o->statistics & elements) != 0) + 2 * ((o->statistics & ~elements) != 0);
}
enum { CHAINS_BOTH = 3 };

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

/* ---- Windows ----------------------------------------------------------------------------------------------------------- */

struct kept actscope_cuda_kept_of(const actscope_options *o, const struct plan_layer *l) {
  struct kept k = {0, 0, 0, 0, 0, 0};
  const int narrow = dtype_is_narrow(l->dtype);
  if (actscope_plan_wants_correlations(l)) k.all = k.correlations = up(l->features * sizeof(struct pairs_feature));
  if (o->window == 1 || l->elements == 0) return k;
  k.state = up(sizeof(struct cuda_window_state));
  if (narrow ? o->statistics & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT) : o->statistics & ACTSCOPE_QUANTILES)
    k.counts = up((uint64_t)dtype_bins(l->dtype) * 8);
  if (!narrow && (o->statistics & ACTSCOPE_DISTINCT)) k.words = up(4ull << o->sketch_bits);
  if (o->statistics & ACTSCOPE_HEALTH) k.columns = up(l->features * sizeof(struct column));
  k.all = k.state + k.counts + k.words + k.columns + k.correlations;
  return k;
}
static uint64_t kept_sum(const actscope_plan *p) {
  uint64_t sum = 0;
  for (size_t i = 0; i < p->count; ++i) sum += p->layers[i].kept_bytes;
  return sum;
}

/* ---- The plan's own memory ------------------------------------------------------------------------------------------------ */

uint64_t actscope_cuda_state_bytes(const actscope_plan *p) {
  return up(sizeof(struct cuda_state)) + up(p->count * sizeof(struct place)) + up(p->count * sizeof(struct wave)) +
         up(p->count * sizeof(struct group)) + (p->options.graph ? up(p->count * sizeof(struct moved)) : 0);
}
struct told actscope_cuda_told_of(const struct plan_layer *l) {
  return (struct told){actscope_plan_wants_correlations(l) ? up(cuda_correlations_bytes(l->features)) : 0,
                       actscope_plan_wants_top(l) ? up(cuda_top_told_bytes(l->features)) : 0};
}
static uint64_t compared(const actscope_plan *p) {
  uint64_t layers = 0;
  for (size_t i = 0; i < p->count; ++i) layers += (uint64_t)p->layers[i].cka;
  return layers;
}
static uint64_t told_cka_bytes(uint64_t layers) { return layers ? up(cuda_cka_told_bytes(layers)) : 0; }
static uint64_t words_cka_bytes(uint64_t layers) { return layers ? up(cuda_cka_words_bytes(layers)) : 0; }
uint64_t actscope_cuda_cka_beside(uint64_t layers) { return told_cka_bytes(layers) + words_cka_bytes(layers); }

uint64_t actscope_cuda_pinned_bytes(const actscope_plan *p) {
  uint64_t told = 0;
  for (size_t i = 0; i < p->count; ++i) {
    const struct told t = actscope_cuda_told_of(&p->layers[i]);
    told += t.correlations + t.top;
  }
  told += told_cka_bytes(compared(p));
  return told + up(p->count * (uint64_t)p->options.history * sizeof(struct cuda_report)) + up(p->count * sizeof(uint64_t)) +
         up(sizeof(struct cuda_report_header));
}
uint64_t actscope_cuda_words_bytes(const actscope_plan *p) {
  return up(sizeof(struct cuda_finish_words)) + up(p->count * sizeof(struct cuda_clock)) + words_cka_bytes(compared(p));
}

static uint64_t scratch_of(const actscope_options *o, actscope_dtype dtype, int *error) {
  uint64_t bytes = 0;
  uint32_t want = o->statistics & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT);
  uint64_t others = 0; /* of layers whose distinct values are counted apart */
  if (want && !*error) *error = actscope_cuda_profile_scratch(dtype, want, o->sketch_bits, &bytes);
  if (want && !*error) *error = actscope_cuda_profile_scratch(dtype, want & ~(uint32_t)ACTSCOPE_DISTINCT, o->sketch_bits, &others);
  return up(bytes > others ? bytes : others);
}

/* ---- Needs ------------------------------------------------------------------------------------------------------------ */

actscope_status actscope_cuda_layer_need(const actscope_options *o, struct plan_layer *l) {
  int before, error = actscope_cuda_enter(o->device_index, &before);
  if (error) return actscope_cuda_fail(error, "GPU %d", (int)o->device_index);
  const uint64_t profile = scratch_of(o, l->dtype, &error);
  l->kept_bytes = actscope_cuda_kept_of(o, l).all;
  struct plan_layer with = *l; /* CKA, which the plan decides when it knows all layers */
  with.cka = actscope_plan_wants_cka(l);
  l->need = (struct cpu_need){way_bytes(o, l, way_least(o, l, profile), profile, 0), way_bytes(o, &with, way_whole(l), profile, ~0ull)};
  l->cka_bytes = with.cka ? up(cka_entries(l->samples) * sizeof(float)) : 0;
  l->cka_least = with.cka ? way_bytes(o, &with, way_least(o, &with, profile), profile, 0) : 0;
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

void actscope_cuda_plan_need(const actscope_plan *p, struct plan_need *need) {
  struct areas all;
  int chains = 0, before, entered = actscope_cuda_enter(p->options.device_index, &before) == 0;
  const uint64_t shared = profile_scratch(p);
  if (entered) actscope_cuda_leave(before);
  memset(&all, 0, sizeof all);
  for (size_t i = 0; i < p->count; ++i) {
    if (p->layers[i].elements == 0) continue;
    const struct plan_layer *l = &p->layers[i];
    const struct areas a = areas_of(&l->options, l, way_whole(l));
    const int own = chains_of(&l->options, l);
    const uint64_t alone = own == CHAINS_BOTH ? forked_total(&a, shared) : wave_total(&a, shared), least = way_bytes(&l->options, l, way_least(&l->options, l, shared), shared, 0);
    if (least > need->least) need->least = least, need->worst = i;
    if (alone > need->best) need->best = alone;
    areas_add(&all, &a);
    chains |= own;
  }
  const uint64_t together = chains == CHAINS_BOTH ? forked_total(&all, shared) : wave_total(&all, shared);
  if (need->least && need->best < wave_bytes) need->best = together < wave_bytes ? together : wave_bytes;
  need->least += kept_sum(p), need->best += kept_sum(p);
  need->beside = actscope_cuda_state_bytes(p) + actscope_cuda_pinned_bytes(p) + actscope_cuda_words_bytes(p);
}

/* ---- Waves ---------------------------------------------------------------------------------------------------------------- */

/* Where the wave's parts lie, whose layers take `sum`. */
static void place_wave(struct wave *w, const struct areas *sum, uint64_t profile_scratch) {
  const uint64_t side = most_of(sum->side_scratch, profile_scratch), counters = up(4 * sum->counters);
  w->side_counters = w->forked ? counters : 0;
  w->zeroed = (w->forked ? counters + side_counters_bytes(sum) : counters_bytes(sum)) + sum->zeroed;
  w->scratch = w->zeroed + sum->plain;
  w->side_scratch = w->scratch + (w->forked ? sum->scratch : 0);
  w->sets = w->forked ? w->side_scratch + side : w->zeroed;
}

/* Packs the layers into waves. */
void actscope_cuda_place_layers(actscope_plan *p, struct cuda_state *s) {
  const uint64_t shared = profile_scratch(p);
  struct areas sum;
  struct wave *w = NULL;
  int chains = 0;
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
    const int alone = way.strips > 1 || (i > 0 && s->places[i - 1].way.strips > 1), own = chains_of(&l->options, l);
    struct areas with = sum;
    areas_add(&with, &a);
    if (way.strips > 1) l->warnings |= ACTSCOPE_WARN_STRIPS;
    /* A wave that is forked stays so: its next layer waits for the next wave where there is no room for that. */
    if (!w || alone || (w->forked ? forked_total(&with, shared) : wave_total(&with, shared)) > arena_bytes || w->count == WAVE_LAYERS) {
      w = &s->waves[s->wave_count++];
      w->first = i;
      with = a, chains = 0;
    }
    sum = with, chains |= own;
    w->forked = chains == CHAINS_BOTH && forked_total(&sum, shared) <= arena_bytes;
    s->forked |= w->forked;
    ++w->count;
    s->places[i].wave = s->wave_count - 1;
    place_wave(w, &sum, shared);
  }
  for (size_t k = 0; k < s->wave_count; ++k) {
    const struct wave *v = &s->waves[k];
    uint64_t zeroed = v->zeroed, plain = v->zeroed, set = v->sets;
    for (size_t i = v->first; i < v->first + v->count; ++i) zeroed -= s->places[i].areas.zeroed;
    for (size_t i = v->first; i < v->first + v->count; ++i) {
      s->places[i].zeroed = zeroed, s->places[i].plain = plain, s->places[i].set = set;
      zeroed += s->places[i].areas.zeroed, plain += s->places[i].areas.plain, set += s->places[i].areas.set;
    }
  }
}
