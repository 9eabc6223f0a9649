/* cka.c - CKA on a device (core/cka.h, kernels/cka.cu): what a layer keeps of the products of its samples, CKA of each
 * two layers behind every step, and the host's look at it.
 *
 * Products   Of features that are only centred, by the Gram kernel, in strips where z_way() says so, into what the layer
 *            keeps at the end of its part of the workspace.
 * Pairs      At the end of a part of a wave its layers are compared with all others of the plan, those of later waves
 *            included, which compare again when it is their turn. So the numbers are there when the reports are, replays of
 *            a graph or not, and nobody has to wait.
 * Budget     A layer's products count in the workspace, its row of numbers beside it (plan.c: cka_fit). */
#include <string.h>

#include "cuda/state.h"
#include "error.h"

#include "cuda/ranges.h" /* after kernels.h, whose launches it wraps */

struct cka_way {
  struct way way;
  uint64_t weight, z, parts, sums, partial, totals, unscaled; /* bytes; z twice */
};
static struct cka_way cka_way(const struct plan_layer *l) {
  const uint64_t pitch = actscope_cuda_pitch(l->samples);
  const struct cuda_layer whole = {.samples = l->samples, .features = l->features};
  struct cka_way w;
  w.way = z_way(l->features, pitch);
  w.weight = up(w.way.rows * 4), w.z = up(w.way.rows * pitch * 2);
  w.parts = w.way.strips > 1 ? up(actscope_cuda_gram_parts(&whole)) : 0;
  w.sums = up(l->samples * sizeof(double)), w.partial = up(actscope_cuda_cka_partial(l->samples) * sizeof(double));
  w.totals = up(sizeof(struct cuda_cka_totals)), w.unscaled = up(sizeof(double));
  return w;
}

/* The layer f, as select left it, made one whose products are the triangle of `keeps`; its areas begin at `at`. */
static void products_make(struct cuda_layer *f, const struct cka_way *w, char *at, struct cuda_cka_layer *keeps) {
  keeps->sums = take(&at, w->sums), keeps->partial = take(&at, w->partial), keeps->totals = take(&at, w->totals);
  f->unscaled = keeps->unscaled = take(&at, w->unscaled);
  f->weight = take(&at, w->weight), f->z_hi = take(&at, w->z), f->z_lo = take(&at, w->z);
  f->gram_parts = take(&at, w->parts);
  f->list = f->pairs_wanted ? f->order : f->list, f->pairs_wanted = 0;
  f->triangle = keeps->kept, f->gram = NULL, f->frobenius_square = NULL;
  f->rows = w->way.rows;
}

struct extra actscope_cuda_cka_need(const struct plan_layer *l) {
  const actscope_tensor tensor = {NULL, l->dtype, l->ndim, l->shape, NULL};
  struct extra e = {0, 0, 0};
  struct cuda_cka_layer keeps = {.kept = NULL};
  struct cuda_layers t;
  struct view v;
  uint64_t bytes, words;
  if (!l->cka) return e;
  const struct cka_way w = cka_way(l);
  e.own = w.weight + 2 * w.z + w.parts + w.sums + w.partial + w.totals + w.unscaled;
  view_init(&v, &tensor, l->options.channels);
  actscope_cuda_layers_begin(&t);
  products_make(actscope_cuda_layers_add(&t, &v), &w, (char *)&t, &keeps);
  actscope_cuda_scores_scratch(&t, &bytes, &words);
  extra_widen(&e, up(bytes), words);
  actscope_cuda_gram_scratch(&t, &bytes, &words);
  extra_widen(&e, up(bytes), words);
  actscope_cuda_cka_scratch(l->samples, &bytes, &words);
  extra_widen(&e, up(bytes), words);
  return e;
}

static float *kept_of(const struct job *j, const struct plan_layer *l) {
  return (float *)((char *)j->plan->workspace + l->kept_offset + l->kept_bytes - l->cka_bytes);
}

int actscope_cuda_run_cka(const struct job *j, const struct chain *c, const struct cuda_layers *all, size_t first,
                          size_t last) {
  struct cuda_state *s = j->state;
  struct cuda_cka_table *keep = &s->cka;
  struct cuda_layers *t = &s->extra;
  const struct chain rest = actscope_cuda_behind(j, c, first, last);
  int error = 0;
  for (uint64_t strip = 0, strips = 1; strip < strips && !error; ++strip) {
    char *own = c->scratch;
    int k = 0;
    *t = *all, t->layers = keep->layers = 0;
    keep->words = s->cka_words, keep->told = s->cka_told;
    for (size_t i = first; i <= last; ++i) {
      const struct plan_layer *l = &j->plan->layers[i];
      char *here = own;
      if (!actscope_cuda_active(j, i) || !s->places[i].stages.features) continue;
      struct cuda_layer f = all->layer[k++];
      own += s->places[i].areas.own;
      if (!l->cka) continue;
      const struct cka_way w = cka_way(l);
      struct cuda_cka_layer *one = &keep->layer[keep->layers++];
      *one = (struct cuda_cka_layer){.samples = l->samples,
                                     .features = l->features,
                                     .columns = f.columns,
                                     .kept = kept_of(j, l),
                                     .clock = &s->clocks[i],
                                     .mark = &s->cka_words->mark[s->places[i].compared]};
      products_make(&f, &w, here, one);
      if (w.way.strips > strips) strips = w.way.strips;
      if (strip >= w.way.strips) continue;
      z_strip(&f, w.way, strip);
      t->layer[t->layers++] = f;
    }
    if (strip == 0) error = actscope_cuda_cka_begin(keep, c->stream);
    if (!error && t->layers) error = actscope_cuda_standardise(t, rest.scratch, rest.counters, rest.stream);
    if (!error && t->layers) error = actscope_cuda_gram(t, rest.scratch, rest.counters, rest.stream);
  }
  return error ? error : actscope_cuda_cka_keep(keep, rest.counters, rest.stream);
}

static struct cuda_cka_side side_of(const struct job *j, size_t i, int measured) {
  const struct plan_layer *l = &j->plan->layers[i];
  const size_t index = j->state->places[i].compared;
  return (struct cuda_cka_side){kept_of(j, l), &j->state->cka_words->mark[index], (uint32_t)index, (uint32_t)l->samples,
                                measured};
}

int actscope_cuda_run_cka_pairs(const struct job *j, const struct chain *c, size_t first, size_t last) {
  const struct cuda_state *s = j->state;
  struct cuda_cka_pairs *t = &j->state->cka_pairs;
  int error = 0;
  t->rows = t->columns = 0;
  t->layers = s->compared, t->words = s->cka_words, t->told = s->cka_told;
  for (size_t i = first; i <= last; ++i)
    if (actscope_cuda_active(j, i) && j->plan->layers[i].cka) t->row[t->rows++] = side_of(j, i, 1);
  if (t->rows == 0) return 0;
  for (size_t i = 0; i < j->plan->count && !error; ++i) {
    if (j->plan->layers[i].cka)
      t->column[t->columns++] = side_of(j, i, i >= first && i <= last && actscope_cuda_active(j, i));
    if (t->columns < CUDA_CKA_COLUMNS && i + 1 < j->plan->count) continue;
    error = actscope_cuda_cka_pairs(t, c->scratch, c->counters, c->stream);
    t->columns = 0;
  }
  return error ? error : actscope_cuda_cka_tell(t, c->stream);
}

actscope_status actscope_cuda_cka(actscope_plan *p, double *matrix) {
  const struct cuda_state *s = p->state;
  const size_t n = p->count;
  struct cuda_cka_told *told = s->cka_told;
  for (size_t k = 0; k < n * n; ++k) matrix[k] = core_nan();
  if (!told) return ACTSCOPE_OK;
  const uint64_t done = *(const volatile uint64_t *)&told->done, mark = s->header->windows + 1;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  const uint64_t *there = cuda_cka_there(told);
  const float *values = cuda_cka_values(told, s->compared);
  for (size_t i = 0; i < n; ++i)
    for (size_t k = 0; k <= i; ++k) {
      const struct plan_layer *a = &p->layers[i], *b = &p->layers[k];
      const size_t at = s->places[i].compared, other = s->places[k].compared;
      if (!a->cka || !b->cka || a->samples != b->samples || there[at] != mark || there[other] != mark) continue;
      matrix[i * n + k] = matrix[k * n + i] = i == k ? 1 : (double)values[cuda_cka_at(at, other)];
    }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (*(const volatile uint64_t *)&told->begun != done)
    return actscope_fail(ACTSCOPE_NOT_READY, "CKA is being written");
  return ACTSCOPE_OK;
}
