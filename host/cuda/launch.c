/* launch.c - which launches measure the layers of a wave, stage after stage. */
#include <stdio.h>
#include <string.h>

#include "cuda/runtime.h"
#include "cuda/state.h"
#include "error.h"
#include "cuda/ranges.h" /* after kernels.h, whose launches it wraps */

const char *actscope_cuda_group_name(const actscope_plan *p, struct group g, char *text, size_t size) {
  const char *a = p->layers[g.first].name, *b = p->layers[g.last].name;
  snprintf(text, size, g.first == g.last ? "%.90s" : "%.90s .. %.90s", a, b);
  return text;
}

actscope_status actscope_cuda_launch_failed(const struct job *j, int error, size_t first, size_t last, const char *stage) {
  char name[200];
  return actscope_cuda_fail(error, "%s: %s", actscope_cuda_group_name(j->plan, (struct group){first, last}, name, sizeof name), stage);
}

int actscope_cuda_active(const struct job *j, size_t layer) {
  return j->plan->layers[layer].elements > 0 && j->tensors[layer - j->first].data != NULL;
}

static char *arena(const struct job *j) { return (char *)j->plan->workspace + j->state->kept; }

struct chain actscope_cuda_behind(const struct job *j, const struct chain *c, size_t first, size_t last) {
  struct chain rest = *c;
  for (size_t i = first; i <= last; ++i)
    if (actscope_cuda_active(j, i)) rest.scratch = (char *)rest.scratch + j->state->places[i].areas.own;
  return rest;
}
struct pointers actscope_cuda_pointers_of(const struct job *j, size_t layer) {
  const struct areas a = j->state->places[layer].areas;
  struct pointers p;
  char *at = arena(j) + j->state->places[layer].zeroed;
  p.moments = take(&at, a.moments), p.sketch = take(&at, a.sketch), p.histogram = take(&at, a.histogram);
  p.pairs = take(&at, a.pair_state), p.all_pairs = take(&at, a.all_pairs), p.distinct = take(&at, a.distinct);
  p.feature_sum = take(&at, a.feature_sum), p.feature_max = take(&at, a.feature_max);
  p.halves = take(&at, a.halves), p.shift = take(&at, a.shift);
  at = arena(j) + j->state->places[layer].plain;
  p.top = take(&at, a.top);
  p.found = take(&at, a.found), p.columns = take(&at, a.columns), p.list = take(&at, a.list), p.order = take(&at, a.order);
  p.square = take(&at, a.square);
  p.high = take(&at, a.high), p.low = take(&at, a.low), p.weight = take(&at, a.weight);
  p.parts = take(&at, a.parts);
  p.gram = take(&at, a.gram), p.norm = take(&at, a.norm), p.rank = take(&at, a.rank);
  p.unit = take(&at, a.unit), p.similarity = take(&at, a.similarity);
  return p;
}

/* What the profile stage does for a layer: its sketch is not wanted where values are counted exactly. */
static uint32_t profile_wants(const struct plan_layer *l) {
  return l->options.statistics & (uint32_t)(ACTSCOPE_PROFILE | (actscope_cuda_counts_exactly(l) ? 0 : ACTSCOPE_DISTINCT));
}

/* Layers that share a profile launch. */
static int same_profile(const struct plan_layer *a, const struct plan_layer *b) {
  return a->dtype == b->dtype && profile_wants(a) == profile_wants(b) && a->options.sketch_bits == b->options.sketch_bits;
}

/* The profile stage of layers first .. last: a launch for each dtype among them, and for layers that want other things. */
static actscope_status run_profile(const struct job *j, const struct chain *c, size_t first, size_t last) {
  const struct plan_layer *layers = j->plan->layers;
  struct cuda_profile_table *t = &j->state->profile;
  for (size_t head = first; head <= last; ++head) {
    size_t from = head, earlier = first;
    if (!actscope_cuda_active(j, head) || !profile_wants(&layers[head])) continue;
    while (earlier < head && !(actscope_cuda_active(j, earlier) && same_profile(&layers[earlier], &layers[head]))) ++earlier;
    if (earlier < head) continue; /* went with that one */
    const uint32_t want = profile_wants(&layers[head]);
    actscope_cuda_profile_begin(t, layers[head].dtype, want, layers[head].options.sketch_bits);
    for (size_t i = head; i <= last; ++i) {
      struct view v;
      if (!actscope_cuda_active(j, i) || !same_profile(&layers[i], &layers[head])) continue;
      view_init(&v, &j->tensors[i - j->first], layers[i].options.channels);
      const struct pointers p = actscope_cuda_pointers_of(j, i);
      if (actscope_cuda_profile_add(t, &v, p.moments, p.histogram, p.sketch)) continue;
      int error = actscope_cuda_profile(t, c->scratch, c->counters, c->stream);
      if (error) return actscope_cuda_launch_failed(j, error, from, i - 1, "profile");
      actscope_cuda_profile_begin(t, layers[head].dtype, want, layers[head].options.sketch_bits);
      actscope_cuda_profile_add(t, &v, p.moments, p.histogram, p.sketch);
      from = i;
    }
    int error = actscope_cuda_profile(t, c->scratch, c->counters, c->stream);
    if (error) return actscope_cuda_launch_failed(j, error, from, last, "profile");
  }
  return ACTSCOPE_OK;
}

/* Launches a table, which may be reordered: layers that the kernel of sm_90a does not know go by the other one. */
int actscope_cuda_run_pairs(const struct job *j, const struct chain *c, struct cuda_layers *t) {
  const int all = t->layers;
  int error = 0, known = 0;
  for (int k = 0; j->state->wgmma && k < all; ++k) {
    if (t->layer[k].matrix_wanted || t->layer[k].top) continue;
    const struct cuda_layer layer = t->layer[k];
    t->layer[k] = t->layer[known], t->layer[known++] = layer;
  }
  t->layers = known;
  if (known > 0) error = actscope_cuda_correlation_wgmma(t, c->stream);
  t->layers = all - known;
  for (int k = 0; known > 0 && k < t->layers; ++k) t->layer[k] = t->layer[known + k];
  return error ? error : actscope_cuda_correlation(t, c->stream);
}

/* Pairs of the layers in the table, between the strips that they point at; `chosen` is 0 where only all_pairs ask. */
static int correlate(const struct job *j, const struct chain *c, const struct cuda_layers *all, int chosen) {
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
  error = actscope_cuda_run_pairs(j, c, t);
  t->layers = 0;
  for (int k = 0; k < all->layers; ++k) {
    if (!all->layer[k].all_pairs) continue;
    struct cuda_layer *f = &t->layer[t->layers++];
    *f = all->layer[k];
    f->pairs = f->all_pairs, f->pairs_wanted = 0, f->functionals = 0;
    f->feature_sum = NULL, f->feature_max = NULL;
  }
  return error ? error : actscope_cuda_run_pairs(j, c, t);
}
/* Nothing of a layer's products is wanted any more but the candidates for the largest |r|. */
static void emit(struct cuda_layer *f) {
  f->pairs = &f->top->spare, f->all_pairs = NULL, f->feature_gram = NULL, f->feature_sum = NULL, f->feature_max = NULL;
  f->frobenius_square = f->effective_rank = NULL;
  f->top_emits = 1;
}
/* The pairs with the largest |r| of the layers that want them: their products once more, for the candidates. */
static int top_pairs(const struct job *j, const struct chain *c, const struct cuda_layers *all) {
  struct cuda_layers *t = &j->state->some;
  *t = *all;
  t->layers = 0;
  for (int k = 0; k < all->layers; ++k)
    if (all->layer[k].top) t->layer[t->layers++] = all->layer[k];
  int error = actscope_cuda_top_limit(t, c->stream);
  for (int k = 0; k < t->layers; ++k) emit(&t->layer[k]);
  if (!error) error = actscope_cuda_correlation(t, c->stream);
  return error ? error : actscope_cuda_top_exact(t, c->stream);
}
/* What the intervals of the sampled layers in the table need, once their first rows are there. */
static int spread(const struct job *j, const struct chain *c, const struct cuda_layers *all) {
  struct cuda_layers *t = &j->state->some;
  *t = *all;
  t->layers = 0;
  for (int k = 0; k < all->layers; ++k)
    if (all->layer[k].pairs && all->layer[k].pairs_wanted && all->layer[k].first_row == 0) t->layer[t->layers++] = all->layer[k];
  return actscope_cuda_spread(t, c->counters, c->stream);
}
static int gram(const struct job *j, const struct chain *c, const struct cuda_layers *all) {
  struct cuda_layers *t = &j->state->some;
  *t = *all;
  t->layers = 0;
  for (int k = 0; k < all->layers; ++k)
    if (all->layer[k].frobenius_square) t->layer[t->layers++] = all->layer[k];
  return actscope_cuda_gram(t, c->scratch, c->counters, c->stream);
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
int actscope_cuda_run_strips(const struct job *j, const struct chain *c, struct cuda_layers *t, struct way way, const char **stage) {
  struct cuda_layer *f = &t->layer[0];
  const struct cuda_layer base = *f;
  const uint64_t z = up(way.rows * f->pitch * 2) / 2, weights = up(way.rows * 4) / 4, none = ~0ull;
  uint64_t held[2] = {none, none};
  for (uint64_t a = 0; a < way.strips; ++a) {
    const uint64_t next = a % 2 ? way.strips - 1 : a + 1;
    const int mine = held[1] == a || (held[0] != a && held[0] == next);
    for (uint64_t k = 0; k < way.strips - a; ++k) { /* a itself, then those behind it */
      const uint64_t b = k == 0 ? a : a % 2 ? way.strips - k : a + k;
      const int slot = k == 0 ? mine : !mine, meet = k == 0 || strips_meet(f, way.rows, a, b);
      int error = 0;
      *stage = "standardise";
      if (k > 0 && (!f->pairs || (!meet && !f->all_pairs))) continue;
#define POINT(strip, at)                                                                                              \
  (f->first_row = (strip) * way.rows,                                                                                 \
   f->rows = f->features - f->first_row < way.rows ? f->features - f->first_row : way.rows,                           \
   f->z_hi = base.z_hi + (uint64_t)(at) * z, f->z_lo = base.z_lo ? base.z_lo + (uint64_t)(at) * z : NULL,             \
   f->weight = base.weight + (uint64_t)(at) * weights)
      POINT(b, slot);
      f->other_hi = NULL;
      if (held[slot] != b) error = actscope_cuda_standardise(t, c->scratch, c->counters, c->stream);
      held[slot] = b;
      if (!error && k == 0 && a == 0) error = spread(j, c, t);
      if (!error && k == 0 && f->frobenius_square) {
        *stage = "Gram";
        f->gram_begins = a == 0, f->gram_ends = a + 1 == way.strips;
        error = gram(j, c, t);
      }
      if (!error && f->pairs) {
        *stage = "correlation";
        if (k > 0) {
          f->other_first = f->first_row, f->other_rows = f->rows;
          f->other_hi = f->z_hi, f->other_lo = f->z_lo, f->other_weight = f->weight;
          POINT(a, mine);
        }
        error = correlate(j, c, t, meet);
      }
#undef POINT
      if (error) return error;
    }
  }
  *stage = "eigenvalues";
  return actscope_cuda_eigen(t, c->scratch, c->stream);
}

/* A layer in strips; its products once more where the largest pairs are wanted, as top_pairs() says. */
static int run_strips_twice(const struct job *j, const struct chain *c, struct cuda_layers *t, struct way way, const char **stage) {
  const struct cuda_layer again = t->layer[0];
  int error = actscope_cuda_run_strips(j, c, t, way, stage);
  if (error || !again.top) return error;
  *stage = "the largest pairs";
  t->layer[0] = again;
  error = actscope_cuda_top_limit(t, c->stream);
  emit(&t->layer[0]);
  if (!error) error = actscope_cuda_run_strips(j, c, t, way, stage);
  return error ? error : actscope_cuda_top_exact(t, c->stream);
}

/* Exact counts of distinct values of layers first .. last. */
static actscope_status run_distinct(const struct job *j, const struct chain *c, size_t first, size_t last) {
  struct cuda_distinct_table *t = &j->state->distinct;
  const struct place *places = j->state->places;
  uint64_t begin = ~0ull, end = 0;
  for (size_t i = first; i <= last; ++i) {
    if (!actscope_cuda_active(j, i) || !places[i].areas.set) continue;
    if (begin > places[i].set) begin = places[i].set;
    end = places[i].set + places[i].areas.set;
  }
  if (end == 0) return ACTSCOPE_OK;
  int error = actscope_cuda_zero(arena(j) + begin, end - begin, c->stream);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "clearing the sets");
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype) {
    size_t from = first;
    actscope_cuda_distinct_begin(t, (actscope_dtype)dtype);
    for (size_t i = first; i <= last; ++i) {
      const struct place *at = &j->state->places[i];
      struct view v;
      if (!actscope_cuda_active(j, i) || j->plan->layers[i].dtype != (actscope_dtype)dtype || at->areas.set == 0) continue;
      view_init(&v, &j->tensors[i - j->first], j->plan->layers[i].options.channels);
      const struct cuda_distinct_shape shape = actscope_cuda_distinct_shape((actscope_dtype)dtype, v.elements, at->areas.set);
      void *set = arena(j) + at->set;
      struct cuda_distinct *state = actscope_cuda_pointers_of(j, i).distinct;
      if (actscope_cuda_distinct_add(t, &v, shape, set, state)) continue;
      error = actscope_cuda_distinct(t, c->stream);
      if (error) return actscope_cuda_launch_failed(j, error, from, i - 1, "distinct");
      actscope_cuda_distinct_begin(t, (actscope_dtype)dtype);
      actscope_cuda_distinct_add(t, &v, shape, set, state);
      from = i;
    }
    error = actscope_cuda_distinct(t, c->stream);
    if (error) return actscope_cuda_launch_failed(j, error, from, last, "distinct");
  }
  return ACTSCOPE_OK;
}

/* Launches what the features' table holds: layers first .. last. */
static actscope_status launch_features(const struct job *j, const struct chain *c, size_t first, size_t last) {
  struct cuda_layers *all = &j->state->features;
  void *space = c->scratch;
  if (all->layers == 0) return ACTSCOPE_OK;
  int error = actscope_cuda_columns(all, space, c->counters, c->stream);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "columns");
  error = actscope_cuda_select(all, c->stream);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "select");
  error = actscope_cuda_run_halves(j, c, first, last);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "halves");
  error = actscope_cuda_run_shift(j, c, all, first, last);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "rotated samples");
  error = actscope_cuda_run_cka(j, c, all, first, last);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "CKA");
  if (j->state->places[first].way.strips > 1) {
    const char *stage = "";
    error = run_strips_twice(j, c, all, j->state->places[first].way, &stage);
    return error ? actscope_cuda_launch_failed(j, error, first, last, stage) : ACTSCOPE_OK;
  }
  int kept = 0; /* the others are done: their features are only looked at */
  for (int k = 0; k < all->layers; ++k)
    if (all->layer[k].z_hi) all->layer[kept++] = all->layer[k];
  all->layers = kept;
  if (kept == 0) return ACTSCOPE_OK;
  error = actscope_cuda_standardise(all, space, c->counters, c->stream);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "standardise");
  error = spread(j, c, all);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "spread");
  error = correlate(j, c, all, 1);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "correlation");
  error = top_pairs(j, c, all);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "the largest pairs");
  error = gram(j, c, all);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "Gram");
  error = actscope_cuda_eigen(all, space, c->stream);
  return error ? actscope_cuda_launch_failed(j, error, first, last, "eigenvalues") : ACTSCOPE_OK;
}

/* Similarity of samples, of layers first .. last: a launch for each full table. */
static actscope_status run_similarity(const struct job *j, const struct chain *c, size_t first, size_t last) {
  struct cuda_layers *t = &j->state->features;
  int error = 0;
  actscope_cuda_layers_begin(t);
  for (size_t i = first; i <= last && !error; ++i) {
    struct view v;
    if (!actscope_cuda_active(j, i) || !j->state->places[i].areas.similarity) continue;
    view_init(&v, &j->tensors[i - j->first], j->plan->layers[i].options.channels);
    struct cuda_layer *f = actscope_cuda_layers_add(t, &v);
    if (!f) {
      error = actscope_cuda_similarity(t, c->scratch, c->counters, c->stream);
      actscope_cuda_layers_begin(t);
      f = actscope_cuda_layers_add(t, &v);
    }
    const struct pointers p = actscope_cuda_pointers_of(j, i);
    f->unit = p.unit, f->similarity = p.similarity;
  }
  if (!error) error = actscope_cuda_similarity(t, c->scratch, c->counters, c->stream);
  return error ? actscope_cuda_launch_failed(j, error, first, last, "similarity") : ACTSCOPE_OK;
}

/* The stages that look at features, of layers first .. last. */
static actscope_status run_features(const struct job *j, const struct chain *c, size_t first, size_t last) {
  struct cuda_layers *t = &j->state->features;
  size_t from = first;
  actscope_cuda_layers_begin(t);
  for (size_t i = first; i <= last; ++i) {
    const struct plan_layer *l = &j->plan->layers[i];
    const actscope_options *o = &l->options;
    struct view v;
    if (!actscope_cuda_active(j, i) || !j->state->places[i].stages.features) continue;
    view_init(&v, &j->tensors[i - j->first], o->channels);
    struct cuda_layer *f = actscope_cuda_layers_add(t, &v);
    if (!f) {
      actscope_status status = launch_features(j, c, from, i - 1);
      if (status) return status;
      actscope_cuda_layers_begin(t);
      f = actscope_cuda_layers_add(t, &v);
      from = i;
    }
    const struct pointers p = actscope_cuda_pointers_of(j, i);
    const struct stages s = j->state->places[i].stages;
    const int pairs = (o->statistics & ACTSCOPE_CORRELATION) && l->correlation != ACTSCOPE_CORRELATION_GRAM;
    f->columns = p.columns, f->features_out = p.found, f->list = p.list, f->order = p.order, f->square = p.square;
    f->pairs_wanted = pairs && l->correlation == ACTSCOPE_CORRELATION_SAMPLED ? l->pairs : 0, f->seed = o->seed;
    f->clock = o->same_pairs ? NULL : &j->state->clocks[i];
    f->z_hi = p.high, f->z_lo = p.low, f->weight = p.weight;
    f->functionals = pairs ? o->pair_functionals : 0;
    f->pairs = p.pairs, f->all_pairs = p.all_pairs;
    f->feature_sum = p.feature_sum, f->feature_max = p.feature_max;
    f->top = p.top, f->top_out = j->state->places[i].top, f->top_emits = 0;
    f->top_most = (uint32_t)o->top_pairs, f->top_above = o->pairs_above;
    if (p.top) f->functionals |= ACTSCOPE_PAIRS_FEATURES;
    f->frobenius_square = p.norm, f->gram_parts = p.parts, f->effective_rank = p.rank;
    if (s.sample_side) f->gram = p.gram; else f->feature_gram = p.gram;
    f->matrix_wanted = s.matrix;
  }
  const actscope_status status = launch_features(j, c, from, last);
  if (status) return status;
  const int error = actscope_cuda_run_cka_pairs(j, c, first, last);
  return error ? actscope_cuda_launch_failed(j, error, first, last, "CKA") : ACTSCOPE_OK;
}

/* Clocks and windows of layers first .. last, which are one wave's and so fit one table. */
static void window_fill(const struct job *j, size_t first, size_t last) {
  struct cuda_state *s = j->state;
  struct cuda_window_table *t = &s->window;
  t->layers = 0, t->window = (uint64_t)j->plan->options.window;
  for (size_t i = first; i <= last; ++i) {
    const struct plan_layer *l = &j->plan->layers[i];
    if (!actscope_cuda_active(j, i)) continue;
    const struct pointers p = actscope_cuda_pointers_of(j, i);
    const struct kept k = actscope_cuda_kept_of(&l->options, l);
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
    if (!actscope_cuda_active(j, i)) continue;
    const struct pointers p = actscope_cuda_pointers_of(j, i);
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
    f->pairs_wanted = l->pairs, f->same_pairs = o->same_pairs;
    f->clock = &s->clocks[i], f->kept = w->kept;
    f->effective_rank = p.rank, f->similarity = p.similarity;
    f->halves = p.halves, f->shift = p.shift;
    f->top = p.top, f->top_out = s->places[i].top;
    if (s->places[i].correlations) {
      const struct kept k = actscope_cuda_kept_of(o, l);
      f->feature_sum = p.feature_sum, f->feature_max = p.feature_max, f->list = p.list;
      f->correlations = (struct pairs_feature *)((char *)plan->workspace + l->kept_offset + k.all - k.correlations);
      f->correlations_out = s->places[i].correlations;
    }
    f->report = &s->reports[i], f->newest = &s->newest[i];
  }
  const int error = actscope_cuda_finish(t, s->words, s->header, j->stream);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "finish");
  s->groups[s->group_count++] = (struct group){first, last};
  return ACTSCOPE_OK;
}

/* ---- Chains --------------------------------------------------------------------------------------------------------------- */

static actscope_status run_elements(const struct job *j, const struct chain *c, size_t first, size_t last) {
  actscope_status status = run_profile(j, c, first, last);
  if (!status) status = run_distinct(j, c, first, last);
  if (!status) status = run_similarity(j, c, first, last);
  return status;
}

/* Whether layers first .. last of a wave that may be forked have work for both chains this time. */
static int both_chains(const struct job *j, size_t first, size_t last) {
  int elements = 0, features = 0;
  for (size_t i = first; i <= last; ++i) {
    const struct place *at = &j->state->places[i];
    if (!actscope_cuda_active(j, i)) continue;
    elements |= profile_wants(&j->plan->layers[i]) || at->areas.set || at->areas.similarity;
    features |= at->stages.features;
  }
  return elements && features;
}

/* Makes `later` go on only when all that `earlier` was given so far has finished. */
static int follow(struct CUstream_st *later, struct CUstream_st *earlier, void *event) {
  const int error = actscope_cuda_event_record(event, earlier);
  return error ? error : actscope_cuda_stream_wait(later, event);
}

/* Both chains of layers first .. last, beside each other where the wave is forked. */
static actscope_status run_chains(const struct job *j, const struct wave *w, size_t first, size_t last) {
  struct cuda_state *s = j->state;
  const struct chain features = {j->stream, (unsigned *)arena(j), arena(j) + w->scratch};
  struct chain elements = {j->stream, (unsigned *)(arena(j) + w->side_counters), arena(j) + w->side_scratch};
  if (!w->forked || !both_chains(j, first, last)) {
    actscope_status status = run_elements(j, &elements, first, last);
    return status ? status : run_features(j, &features, first, last);
  }
  elements.stream = s->side;
  int error = follow(s->side, j->stream, s->fork);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "forking the stream");
  actscope_status status = run_features(j, &features, first, last); /* the longer one first */
  if (!status) status = run_elements(j, &elements, first, last);
  error = follow(j->stream, s->side, s->join); /* in any case: a capture must not end, nor the memory be used again, before */
  if (error) {
    if (!status) status = actscope_cuda_launch_failed(j, error, first, last, "joining the streams");
    actscope_cuda_stream_settle(s->side);
  }
  return status;
}

/* Layers first .. last of one wave. */
actscope_status actscope_cuda_run_part(const struct job *j, const struct wave *w, size_t first, size_t last) {
  struct cuda_state *s = j->state;
  while (first < last && !actscope_cuda_active(j, first)) ++first;
  while (last > first && !actscope_cuda_active(j, last)) --last;
  if (!actscope_cuda_active(j, first)) return ACTSCOPE_OK;
  int error = actscope_cuda_zero(arena(j), w->zeroed, j->stream);
  if (error) return actscope_cuda_launch_failed(j, error, first, last, "clearing the workspace");
  char name[200];
  if (actscope_ranges_on()) actscope_range_begin(actscope_cuda_group_name(j->plan, (struct group){first, last}, name, sizeof name));
  window_fill(j, first, last);
  error = actscope_cuda_window_begin(&s->window, s->words, s->header, j->stream);
  actscope_status status = error ? actscope_cuda_launch_failed(j, error, first, last, "the step's begin") : ACTSCOPE_OK;
  if (!status) status = run_chains(j, w, first, last);
  if (!status && j->plan->options.window != 1) {
    error = actscope_cuda_window_merge(&s->window, j->stream);
    if (error) status = actscope_cuda_launch_failed(j, error, first, last, "merging the window");
  }
  if (!status) status = run_finish(j, first, last);
  actscope_range_end();
  return status;
}
