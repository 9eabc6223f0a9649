/* nulls.c - split halves and rotated samples on a device (core/halves.h, core/shift.h): their memory, and their launches.
 *
 * Both are other features of the same tensor, which the kernels of the correlations take as layers of their own, in a part
 * of the scratch memory that is a layer's own.
 * Halves     Each half of axis 0 is a view with feature moments of its own; features are valid in both. Where samples are
 *            no more than features, z-scores of both lie side by side in one row and the Gram matrix of the rows has all
 *            three sums; else the pairs of each half leave their matrix. Features in strips where z_way() says so: what this
 *            takes does not depend on the budget.
 * Shift      Groups of rotated features are layers that add to one sum: as many at a time as SHIFT_ELEMENTS hold. */
#include <string.h>

#include "cuda/state.h"

#include "cuda/ranges.h" /* after kernels.h, whose launches it wraps */

/* ---- Halves ------------------------------------------------------------------------------------------------------ */

/* How a layer's halves are taken, and bytes of its areas in scratch. */
struct halves_way {
  int there, by_sample;
  uint32_t samples[2], pitch[2], stride; /* stride: by_sample, of rows of both; else of the longer half's */
  struct way way;
  uint64_t columns, found, list, weight, z, parts, matrix; /* columns, z and matrix twice each */
};

static struct halves_way halves_way(const struct plan_layer *l) {
  const actscope_options *o = &l->options;
  const actscope_tensor tensor = {NULL, l->dtype, l->ndim, l->shape, NULL};
  const uint64_t d = l->features, few = l->samples < d ? l->samples : d;
  struct halves_way w;
  struct view v[2];
  memset(&w, 0, sizeof w);
  if (!(o->statistics & ACTSCOPE_CORRELATION) || !(o->pair_functionals & ACTSCOPE_PAIRS_SPLIT_HALF) || l->elements == 0)
    return w;
  if (few > HALVES_SIDE || l->samples >> 32 || !halves_split(&tensor, o->channels, v)) return w;
  w.there = 1, w.by_sample = l->samples <= d;
  for (int k = 0; k < 2; ++k) w.samples[k] = (uint32_t)v[k].samples, w.pitch[k] = actscope_cuda_pitch(v[k].samples);
  w.stride = w.by_sample ? w.pitch[0] + w.pitch[1] : w.pitch[1];
  w.way = z_way(d, w.stride);
  const uint64_t slots = !w.by_sample && w.way.strips > 1 ? 2 : 1;
  w.columns = up(d * sizeof(struct column)), w.found = up(sizeof(struct cuda_features)), w.list = up(d * 4);
  w.weight = up(w.way.rows * 4) * slots, w.z = up(w.way.rows * w.stride * 2) * slots;
  const struct cuda_layer whole = {.samples = w.stride, .features = d};
  w.parts = w.by_sample && w.way.strips > 1 ? up(actscope_cuda_gram_parts(&whole)) : 0;
  w.matrix = w.by_sample ? 0 : up(d * d * sizeof(float));
  return w;
}

/* Half k of the layer, whose areas begin at `at`, as a layer for columns, select, standardise and correlation; *both,
 * if wanted, is then the one that gram takes. The table has room. */
static struct cuda_layer *half_add(struct cuda_layers *t, const struct halves_way *w, const struct view *v, char *at,
                                   int k, struct cuda_halves *state) {
  struct cuda_layer *f = actscope_cuda_layers_add(t, v);
  struct column *columns[2];
  columns[0] = take(&at, w->columns), columns[1] = take(&at, w->columns);
  f->columns = columns[k], f->other_columns = columns[1 - k];
  f->features_out = take(&at, w->found), f->list = take(&at, w->list);
  f->weight = take(&at, w->weight);
  f->z_hi = take(&at, w->z), f->z_lo = take(&at, w->z);
  f->gram_parts = take(&at, w->parts);
  f->rows = w->way.rows;
  if (w->by_sample) {
    f->stride = w->stride;
    if (k == 1) f->z_hi += w->pitch[0], f->z_lo += w->pitch[0];
  } else {
    at += (uint64_t)k * w->matrix;
    f->feature_gram = (float *)at, f->matrix_wanted = 1;
    f->pairs = &state->spare;
  }
  return f;
}
/* Both halves of a by_sample layer, from the entry of the first. */
static void halves_join(struct cuda_layer *f, const struct halves_way *w, struct cuda_halves *state) {
  f->samples = f->pitch = w->stride;
  f->second_half = w->pitch[0], f->half_samples[0] = w->samples[0], f->half_samples[1] = w->samples[1];
  f->halves = state;
}
struct extra actscope_cuda_halves_need(const struct plan_layer *l) {
  const struct halves_way w = halves_way(l);
  const actscope_tensor tensor = {NULL, l->dtype, l->ndim, l->shape, NULL};
  struct extra e = {0, 0, 0};
  struct cuda_layers t;
  struct view v[2];
  uint64_t bytes, words;
  if (!w.there) return e;
  halves_split(&tensor, l->options.channels, v);
  e.own = 2 * w.columns + w.found + w.list + w.weight + 2 * w.z + w.parts + 2 * w.matrix;
  extra_widen(&e, up(actscope_cuda_halves_scratch(1)), 1);
  for (int k = 0; k < 2; ++k)
    for (int adjacent = 0; adjacent < 2; ++adjacent) { /* strides are not known yet */
      actscope_cuda_layers_begin(&t);
      struct cuda_layer *f = half_add(&t, &w, &v[k], (char *)&t, k, NULL);
      f->features_adjacent = adjacent;
      actscope_cuda_standardise_scratch(&t, &bytes, &words);
      extra_widen(&e, up(bytes), words);
      if (!w.by_sample) continue;
      halves_join(f, &w, NULL);
      actscope_cuda_gram_scratch(&t, &bytes, &words);
      extra_widen(&e, up(bytes), words);
    }
  return e;
}

/* Which layers of a table are wanted. */
enum { ALL_WAYS, BY_SAMPLE, BY_FEATURE };
static void halves_fill(const struct job *j, char *at, size_t first, size_t last, int k, int ways, uint64_t strip) {
  struct cuda_layers *t = &j->state->extra;
  actscope_cuda_layers_begin(t);
  for (size_t i = first; i <= last; ++i) {
    const struct plan_layer *l = &j->plan->layers[i];
    char *here = at;
    struct view v[2];
    if (!actscope_cuda_active(j, i)) continue;
    at += j->state->places[i].areas.own;
    if (!j->state->places[i].areas.halves) continue;
    const struct halves_way w = halves_way(l);
    if ((ways == BY_SAMPLE && (!w.by_sample || strip >= w.way.strips)) ||
        (ways == BY_FEATURE && (w.by_sample || w.way.strips > 1)))
      continue;
    halves_split(&j->tensors[i - j->first], l->options.channels, v);
    struct cuda_halves *state = actscope_cuda_pointers_of(j, i).halves;
    struct cuda_layer *f = half_add(t, &w, &v[k], here, k, state);
    if (ways == BY_SAMPLE) z_strip(f, w.way, strip);
  }
}
/* The first half's entries become those of both. */
static void halves_fill_both(const struct job *j, char *at, size_t first, size_t last, uint64_t strip) {
  struct cuda_layers *t = &j->state->extra;
  int k = 0;
  halves_fill(j, at, first, last, 0, BY_SAMPLE, strip);
  for (size_t i = first; i <= last; ++i) {
    if (!actscope_cuda_active(j, i) || !j->state->places[i].areas.halves) continue;
    const struct halves_way w = halves_way(&j->plan->layers[i]);
    if (w.by_sample && strip < w.way.strips) halves_join(&t->layer[k++], &w, actscope_cuda_pointers_of(j, i).halves);
  }
}

int actscope_cuda_run_halves(const struct job *j, const struct chain *c, size_t first, size_t last) {
  struct cuda_layers *t = &j->state->extra;
  char *own = c->scratch;
  const struct chain rest = actscope_cuda_behind(j, c, first, last);
  uint64_t strips = 0;
  int any = 0, error = 0;
  for (size_t i = first; i <= last; ++i) {
    if (!actscope_cuda_active(j, i) || !j->state->places[i].areas.halves) continue;
    const struct halves_way w = halves_way(&j->plan->layers[i]);
    if (w.by_sample && w.way.strips > strips) strips = w.way.strips;
    any = 1;
  }
  if (!any) return 0;
  for (int k = 0; k < 2 && !error; ++k) {
    halves_fill(j, own, first, last, k, ALL_WAYS, 0);
    error = actscope_cuda_columns(t, rest.scratch, rest.counters, rest.stream);
  }
  if (!error) error = actscope_cuda_select(t, rest.stream);
  for (uint64_t strip = 0; strip < strips && !error; ++strip) {
    for (int k = 0; k < 2 && !error; ++k) {
      halves_fill(j, own, first, last, k, BY_SAMPLE, strip);
      error = actscope_cuda_standardise(t, rest.scratch, rest.counters, rest.stream);
    }
    halves_fill_both(j, own, first, last, strip);
    if (!error) error = actscope_cuda_gram(t, rest.scratch, rest.counters, rest.stream);
  }
  for (int k = 0; k < 2 && !error; ++k) {
    halves_fill(j, own, first, last, k, BY_FEATURE, 0);
    error = actscope_cuda_standardise(t, rest.scratch, rest.counters, rest.stream);
    if (!error) error = actscope_cuda_run_pairs(j, &rest, t);
  }
  /* matrices in strips, one after the other; then the sums of all */
  struct cuda_halves_table *sums = &j->state->halves;
  sums->layers = 0;
  for (size_t i = first; i <= last && !error; ++i) {
    const struct plan_layer *l = &j->plan->layers[i];
    char *here = own;
    struct view v[2];
    if (!actscope_cuda_active(j, i)) continue;
    own += j->state->places[i].areas.own;
    const struct halves_way w = halves_way(l);
    if (!j->state->places[i].areas.halves || w.by_sample) continue;
    struct cuda_halves *state = actscope_cuda_pointers_of(j, i).halves;
    struct cuda_halves_layer *sum = &sums->layer[sums->layers++];
    halves_split(&j->tensors[i - j->first], l->options.channels, v);
    for (int k = 0; k < 2 && !error; ++k) {
      const char *stage;
      actscope_cuda_layers_begin(t);
      const struct cuda_layer *f = half_add(t, &w, &v[k], here, k, state);
      sum->r[k] = f->feature_gram, sum->features_out = f->features_out, sum->halves = state;
      if (w.way.strips > 1) error = actscope_cuda_run_strips(j, &rest, t, w.way, &stage);
    }
  }
  return error ? error : actscope_cuda_halves(sums, rest.scratch, rest.counters, rest.stream);
}

/* ---- Rotated samples --------------------------------------------------------------------------------------------- */

struct shift_way {
  uint64_t room, groups, batch;    /* rows of a group, groups there may be, and of those at a time */
  uint64_t list, found, weight, z; /* bytes; list and z twice each */
};
static struct shift_way shift_way(const struct plan_layer *l) {
  const actscope_options *o = &l->options;
  struct shift_way w;
  memset(&w, 0, sizeof w);
  if (!(o->statistics & ACTSCOPE_CORRELATION) || !(o->pair_functionals & ACTSCOPE_PAIRS_SHIFT) || l->elements == 0 ||
      l->samples < 3)
    return w;
  w.room = shift_group(l->features, l->samples), w.groups = shift_groups(l->features, w.room);
  if (w.groups == 0) return w;
  const uint64_t pitch = actscope_cuda_pitch(l->samples), batch = SHIFT_ELEMENTS / (w.room * pitch);
  w.batch = batch < 1 ? 1 : batch < w.groups ? batch : w.groups;
  if (w.batch > CUDA_LAYERS) w.batch = CUDA_LAYERS;
  w.list = up(w.groups * w.room * 4), w.found = up(w.groups * sizeof(struct cuda_features));
  w.weight = up(w.batch * w.room * 4), w.z = up(w.batch * w.room * pitch * 2);
  return w;
}

/* Group g of the layer f, made a layer of its own in the areas that begin at `at`. */
static void group_make(struct cuda_layer *f, const struct shift_way *w, char *at, uint64_t g,
                       struct cuda_shift *state) {
  const uint64_t row = g % w->batch * w->room;
  uint32_t *members = take(&at, w->list), *rotation = take(&at, w->list);
  struct cuda_features *found = take(&at, w->found);
  f->list = members + g * w->room, f->rotation = rotation + g * w->room, f->features_out = found + g;
  f->weight = (float *)take(&at, w->weight) + row;
  f->z_hi = (uint16_t *)take(&at, w->z) + row * f->pitch, f->z_lo = (uint16_t *)at + row * f->pitch;
  f->features = f->rows = w->room, f->first_row = 0;
  f->pairs_wanted = 0, f->functionals = 0;
  f->pairs = &state->pairs, f->all_pairs = NULL;
  f->feature_sum = NULL, f->feature_max = NULL, f->feature_gram = NULL, f->matrix_wanted = 0, f->top = NULL;
}

struct extra actscope_cuda_shift_need(const struct plan_layer *l) {
  const struct shift_way w = shift_way(l);
  const actscope_tensor tensor = {NULL, l->dtype, l->ndim, l->shape, NULL};
  struct extra e = {0, 0, 0};
  struct cuda_layers t;
  struct cuda_shift none;
  struct view v;
  if (w.groups == 0) return e;
  e.own = 2 * w.list + w.found + w.weight + 2 * w.z;
  view_init(&v, &tensor, l->options.channels);
  actscope_cuda_layers_begin(&t);
  const struct cuda_layer whole = *actscope_cuda_layers_add(&t, &v);
  for (t.layers = 0; (uint64_t)t.layers < w.batch; ++t.layers) {
    t.layer[t.layers] = whole;
    group_make(&t.layer[t.layers], &w, (char *)&t, (uint64_t)t.layers, &none);
  }
  actscope_cuda_scores_scratch(&t, &e.shared, &e.counters);
  e.shared = up(e.shared);
  return e;
}

static int shift_launch(const struct job *j, const struct chain *c, struct cuda_layers *t) {
  int error = t->layers ? actscope_cuda_standardise(t, c->scratch, c->counters, c->stream) : 0;
  if (!error && t->layers) error = actscope_cuda_run_pairs(j, c, t);
  t->layers = 0;
  return error;
}

int actscope_cuda_run_shift(const struct job *j, const struct chain *c, const struct cuda_layers *all, size_t first,
                            size_t last) {
  struct cuda_layers *t = &j->state->extra;
  struct cuda_shift_table *chosen = &j->state->shift;
  const struct chain rest = actscope_cuda_behind(j, c, first, last);
  for (int launching = 0; launching < 2; ++launching) { /* who is in which group; then their pairs */
    char *own = c->scratch;
    int k = 0, error = 0;
    chosen->layers = 0;
    if (launching) *t = *all, t->layers = 0;
    for (size_t i = first; i <= last && !error; ++i) {
      char *here = own;
      if (!actscope_cuda_active(j, i) || !j->state->places[i].stages.features) continue;
      const struct cuda_layer *f = &all->layer[k++];
      own += j->state->places[i].areas.own;
      if (!j->state->places[i].areas.shift) continue;
      const struct shift_way w = shift_way(&j->plan->layers[i]);
      struct cuda_shift *state = actscope_cuda_pointers_of(j, i).shift;
      if (!launching) {
        struct cuda_layer group = *f;
        group_make(&group, &w, here, 0, state);
        chosen->layer[chosen->layers++] = (struct cuda_shift_layer){f->features_out,
                                                                    f->pairs_wanted ? f->order : f->list,
                                                                    f->samples,
                                                                    f->seed,
                                                                    w.groups,
                                                                    w.room,
                                                                    group.features_out,
                                                                    group.list,
                                                                    (uint32_t *)(here + w.list),
                                                                    state};
      }
      for (uint64_t g = 0; launching && g < w.groups && !error; ++g) {
        if (t->layers == CUDA_LAYERS || (g > 0 && g % w.batch == 0)) error = shift_launch(j, &rest, t);
        t->layer[t->layers] = *f;
        group_make(&t->layer[t->layers++], &w, here, g, state);
      }
    }
    if (!error) error = launching ? shift_launch(j, &rest, t) : actscope_cuda_shift_choose(chosen, c->stream);
    if (error) return error;
  }
  return 0;
}
