/* plan.c - decides, before anything runs, what is measured and in how much memory: options, creation, workspace, change
 * of shapes. Methods are choice.c's, running is running.c's.
 *
 * Budget: the plan's own memory (layers, names, reports) plus one workspace: what layers leave there between enqueues,
 * then scratch that they use in turn. A backend's stages work with anything between their least and their best size, so
 * the ladder is simple: every layer gets min(best, what is left), and a budget below some layer's least is refused with
 * the size that would do. */
#include "plan.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/cka.h"
#include "core/dtype.h"
#include "core/top.h"
#include "error.h"
#include "memory.h"

void actscope_plan_log(const actscope_options *o, actscope_log_level level, const char *format, ...) {
  if (!o->log || level > o->log_level) return;
  char line[512];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  o->log(o->log_user, level, line);
}

const char *actscope_plan_size_text(char text[32], uint64_t bytes) {
  if (bytes < 10 * 1024) snprintf(text, 32, "%llu B", (unsigned long long)bytes);
  else if (bytes < 10ull << 20) snprintf(text, 32, "%.1f KiB", (double)bytes / 1024);
  else snprintf(text, 32, "%.1f MiB", (double)bytes / 1048576);
  return text;
}

/* ---- Options --------------------------------------------------------------------------------------------------------- */

void actscope_options_init(actscope_options *o) {
  if (!o) return;
  memset(o, 0, sizeof *o);
  o->size = sizeof *o;
  o->memory_budget = 256ull << 20;
  o->statistics = ACTSCOPE_ALL;
  o->pair_functionals = ACTSCOPE_PAIRS_DEFAULT;
  o->sketch_bits = 12;
  o->large_tensor = 10000000;
  o->window = 1;
  o->history = 1;
  o->log_level = ACTSCOPE_LOG_INFO;
}

/* Copies the caller's options with all but the device resolved. */
static actscope_status options_resolve(const actscope_options *in, actscope_options *o) {
  if (in && in->size != sizeof *in)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "options.size is %zu, not %zu: call actscope_options_init()",
                         in->size, sizeof *in);
  if (in) *o = *in; else actscope_options_init(o);
#define RANGE(ok, text) if (!(ok)) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "options." text)
  RANGE(o->device >= ACTSCOPE_DEVICE_AUTO && o->device <= ACTSCOPE_DEVICE_CUDA, "device is not a device kind");
  RANGE(o->device_index >= 0, "device_index is negative");
  RANGE(o->threads >= 0 && o->threads <= 4096, "threads is outside 0 .. 4096");
  RANGE((o->statistics & ~(uint32_t)(ACTSCOPE_ALL | ACTSCOPE_CKA)) == 0 && o->statistics != 0, "statistics is empty or has unknown bits");
  RANGE((o->pair_functionals & ~(uint32_t)(ACTSCOPE_PAIRS_ALL | ACTSCOPE_PAIRS_SPLIT_HALF | ACTSCOPE_PAIRS_SHIFT)) == 0, "pair_functionals has unknown bits");
  RANGE(o->correlation >= ACTSCOPE_CORRELATION_AUTO && o->correlation <= ACTSCOPE_CORRELATION_GRAM,
        "correlation is not a method");
  RANGE(o->precision == ACTSCOPE_PRECISION_FP32 || o->precision == ACTSCOPE_PRECISION_FP16,
        "precision is neither FP32 nor FP16");
  RANGE(o->distinct >= ACTSCOPE_DISTINCT_AUTO && o->distinct <= ACTSCOPE_DISTINCT_SKETCH, "distinct is not a method");
  RANGE(o->sketch_bits >= 4 && o->sketch_bits <= 18, "sketch_bits is outside 4 .. 18");
  RANGE(o->window >= 0, "window is negative");
  RANGE(o->history >= 1 && o->history <= 1024, "history is outside 1 .. 1024");
  RANGE(o->top_pairs >= 0 && o->top_pairs <= TOP_PAIRS_MOST, "top_pairs is outside 0 .. 65536");
  RANGE(o->pairs_above >= 0 && o->pairs_above <= 1, "pairs_above is outside 0 .. 1");
  RANGE(o->pairs_above == 0 || o->top_pairs > 0, "pairs_above is for top_pairs, which is 0");
  RANGE(o->time_budget >= 0, "time_budget is negative or not a number");
#undef RANGE
  if (o->threads == 0) o->threads = omp_get_max_threads();
  return ACTSCOPE_OK;
}

/* The backend that the options ask for; AUTO takes a GPU where there is one. NULL when it is not there. */
static const struct plan_backend *backend_choose(const actscope_options *o) {
  if (o->device == ACTSCOPE_DEVICE_CPU) return &actscope_cpu_backend;
  const struct plan_backend *cuda = actscope_cuda_backend();
  if (cuda && actscope_cuda_has(o->device_index)) return cuda;
  if (o->device == ACTSCOPE_DEVICE_AUTO) return &actscope_cpu_backend;
  if (!cuda) actscope_fail(ACTSCOPE_NO_DEVICE, "no usable GPU: %s", actscope_no_gpu_reason());
  else actscope_fail(ACTSCOPE_NO_DEVICE, "GPU %d is not among the %d that can be used", (int)o->device_index, actscope_cuda_count());
  return NULL;
}

/* ---- Creation -------------------------------------------------------------------------------------------------------- */

/* The layer's own options: what it may set itself, the rest from the plan's. */
static actscope_status layer_options(const actscope_options *plan, const actscope_options *own, actscope_options *o) {
  *o = *plan;
  if (!own) return ACTSCOPE_OK;
  actscope_status status = options_resolve(own, o);
  if (status) return status;
  o->device = plan->device, o->device_index = plan->device_index, o->threads = plan->threads;
  o->memory_budget = plan->memory_budget;
  o->window = plan->window, o->history = plan->history;
  o->log = plan->log, o->log_user = plan->log_user, o->log_level = plan->log_level;
  return ACTSCOPE_OK;
}

/* Shape, methods and needs of one layer. */
static actscope_status layer_resolve(const struct plan_backend *backend, const actscope_options *plan,
                                     const actscope_layer *in, size_t index, struct plan_layer *l) {
  char unnamed[32];
  snprintf(unnamed, sizeof unnamed, "layer %zu", index);
  const char *name = in->name && *in->name ? in->name : unnamed;
  const char *bad = view_check(in->dtype, in->ndim, in->shape, &l->elements);
  if (bad) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: %s", name, bad);
  actscope_options *o = &l->options;
  l->own_options = in->options != NULL;
  if (layer_options(plan, in->options, o)) {
    char text[300];
    snprintf(text, sizeof text, "%.299s", actscope_last_error());
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: %s", name, text);
  }
  if (o->channels && in->ndim < 2)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: channels need two dimensions or more", name);
  if (in->role < ACTSCOPE_ROLE_ACTIVATION || in->role > ACTSCOPE_ROLE_WEIGHT)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: role is not a role", name);
  l->role = in->role;
  l->dtype = in->dtype;
  l->ndim = in->ndim;
  for (int d = 0; d < in->ndim; ++d) l->shape[d] = in->shape[d];
  actscope_tensor t = {NULL, l->dtype, l->ndim, l->shape, NULL};
  struct view v;
  view_init(&v, &t, o->channels);
  l->samples = v.samples;
  l->features = v.features;
  actscope_plan_choose(backend->device, l);
  if (l->distinct == ACTSCOPE_DISTINCT_EXACT && o->window != 1 && !dtype_is_narrow(l->dtype) && (o->statistics & ACTSCOPE_DISTINCT))
    return actscope_fail(ACTSCOPE_UNSUPPORTED, "%s: exact distinct values of %s cannot be carried from step to step: window must be 1",
                         name, actscope_dtype_name(l->dtype));
  if (l->features >> 32 && (o->statistics & (ACTSCOPE_CORRELATION | ACTSCOPE_RANK)))
    return actscope_fail(ACTSCOPE_UNSUPPORTED, "%s: 2^32 features or more", name);
  if (o->top_pairs > 0 && (o->statistics & ACTSCOPE_CORRELATION) && l->correlation == ACTSCOPE_CORRELATION_GRAM)
    return actscope_fail(ACTSCOPE_UNSUPPORTED, "%s: top_pairs: GRAM correlations look at no single pair", name);
  if (actscope_plan_wants_cka(l) && l->samples > CKA_SAMPLES_MOST)
    return actscope_fail(ACTSCOPE_UNSUPPORTED, "%s: CKA of %llu samples: there may be %d at most", name,
                         (unsigned long long)l->samples, CKA_SAMPLES_MOST);
  if (l->elements >= o->large_tensor) l->warnings |= ACTSCOPE_WARN_LARGE_TENSOR;
  return backend->layer_need(o, l);
}

static uint64_t name_bytes(const actscope_layer *layer) { return layer->name ? strlen(layer->name) + 1 : 32; }

/* Where the layers' kept states lie, and the layers by falling modelled time. */
static void layers_arrange(actscope_plan *p) {
  uint64_t kept = 0;
  for (size_t i = 0; i < p->count; ++i) {
    p->layers[i].kept_offset = kept;
    kept += p->layers[i].kept_bytes;
  }
  for (size_t i = 0; i < p->count; ++i) p->order[i] = (uint32_t)i;
  for (size_t gap = p->count / 2; gap > 0; gap /= 2) /* Shell's sort; ties by index, so that the order is one */
    for (size_t i = gap; i < p->count; ++i)
      for (size_t j = i; j >= gap; j -= gap) {
        uint32_t a = p->order[j - gap], b = p->order[j];
        double sa = p->layers[a].seconds, sb = p->layers[b].seconds;
        if (sa > sb || (sa == sb && a < b)) break;
        p->order[j - gap] = b, p->order[j] = a;
      }
}

/* Everything but the check against the budget, on one backend. On failure *out is NULL. */
static actscope_status plan_build_on(const struct plan_backend *backend, const actscope_options *o, actscope_plan **out,
                                     const actscope_layer *layers, size_t count, struct plan_need *need) {
  uint64_t history = o->history > 1 && !backend->report_at ? count * (uint64_t)o->history * sizeof(actscope_layer_report) : 0;
  uint64_t bytes = sizeof(actscope_plan) + count * (sizeof(struct plan_layer) + sizeof(uint32_t)) + history;
  for (size_t i = 0; i < count; ++i) bytes += name_bytes(&layers[i]);
  actscope_plan *p = actscope_memory_allocate(bytes);
  if (!p) return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the system refused %llu bytes", (unsigned long long)bytes);
  p->options = *o;
  p->options.device = backend->device;
  p->backend = backend;
  p->count = count;
  p->alarm_layer = SIZE_MAX;
  p->layers = (struct plan_layer *)(p + 1);
  p->history = history ? (actscope_layer_report *)(p->layers + count) : NULL;
  p->order = (uint32_t *)((char *)(p->layers + count) + history);
  char *names = (char *)(p->order + count);
  for (size_t i = 0; i < count; ++i) {
    struct plan_layer *l = &p->layers[i];
    l->name = names;
    if (layers[i].name) strcpy(names, layers[i].name); else snprintf(names, 32, "layer %zu", i);
    names += name_bytes(&layers[i]);
    actscope_status status = layer_resolve(backend, &p->options, &layers[i], i, l);
    if (status) {
      actscope_memory_free(p);
      return status;
    }
  }
  layers_arrange(p);
  memset(need, 0, sizeof *need);
  backend->plan_need(p, need);
  p->own_bytes = bytes + need->beside;
  p->workspace_bytes = need->best;
  *out = p;
  return ACTSCOPE_OK;
}

/* The same on the backend that the options ask for. */
static actscope_status plan_build(actscope_plan **out, const actscope_layer *layers, size_t count,
                                  const actscope_options *options, struct plan_need *need) {
  actscope_options o;
  *out = NULL;
  if (!layers && count) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layers is NULL");
  if (count > 1u << 24) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "more than 2^24 layers");
  actscope_status status = options_resolve(options, &o);
  if (status) return status;
  const struct plan_backend *backend = backend_choose(&o);
  if (!backend) return ACTSCOPE_NO_DEVICE;
  return plan_build_on(backend, &o, out, layers, count, need);
}

int actscope_plan_wants_cka(const struct plan_layer *l) {
  return (l->options.statistics & ACTSCOPE_CKA) && l->role == ACTSCOPE_ROLE_ACTIVATION && l->elements > 0 &&
         cka_entries(l->samples) > 0;
}

int actscope_plan_wants_correlations(const struct plan_layer *l) {
  return (l->options.statistics & ACTSCOPE_CORRELATION) && (l->options.pair_functionals & ACTSCOPE_PAIRS_FEATURES) &&
         l->correlation != ACTSCOPE_CORRELATION_GRAM && l->elements > 0;
}

int actscope_plan_wants_top(const struct plan_layer *l) {
  return l->options.top_pairs > 0 && (l->options.statistics & ACTSCOPE_CORRELATION) &&
         l->correlation != ACTSCOPE_CORRELATION_GRAM && l->elements > 0;
}

/* Layers keep what CKA takes in their order, as far as the budget goes beside the least scratch; *need is then with it. */
static void cka_fit(actscope_plan *p, struct plan_need *need) {
  const uint64_t left = p->options.memory_budget - p->own_bytes, beside = need->beside;
  uint64_t kept = 0, any = 0, layers = 0;
  for (size_t i = 0; i < p->count; ++i) kept += p->layers[i].kept_bytes, any |= p->layers[i].cka_bytes;
  uint64_t scratch = need->least - kept;
  if (!any) return;
  for (size_t i = 0; i < p->count; ++i) {
    struct plan_layer *l = &p->layers[i];
    const uint64_t with = l->cka_least > scratch ? l->cka_least : scratch;
    if (l->cka_bytes == 0) continue;
    const uint64_t more = p->backend->cka_beside ? p->backend->cka_beside(layers + 1) : 0;
    l->cka = kept + l->cka_bytes + with + more <= left;
    if (!l->cka) l->warnings |= ACTSCOPE_WARN_NO_CKA;
    else l->kept_bytes += l->cka_bytes, kept += l->cka_bytes, scratch = with, ++layers;
  }
  layers_arrange(p);
  memset(need, 0, sizeof *need);
  p->backend->plan_need(p, need);
  p->own_bytes += need->beside - beside;
}

/* Cuts the workspace to what the budget leaves, or refuses. */
static actscope_status plan_fit(actscope_plan *p, struct plan_need *need) {
  char a[32], b[32];
  uint64_t least = p->own_bytes + need->least;
  if (least > p->options.memory_budget)
    return actscope_fail(ACTSCOPE_BUDGET_TOO_SMALL, "%s: a memory budget of %s holds no method; the smallest that would is %llu bytes (%s)",
                         p->count ? p->layers[need->worst].name : "plan", actscope_plan_size_text(a, p->options.memory_budget),
                         (unsigned long long)least, actscope_plan_size_text(b, least));
  cka_fit(p, need);
  p->workspace_bytes = need->best;
  uint64_t left = p->options.memory_budget - p->own_bytes;
  if (p->workspace_bytes > left) p->workspace_bytes = left / 64 * 64;
  return ACTSCOPE_OK;
}

static void plan_log(const actscope_plan *p) {
  char a[32], b[32];
  for (size_t i = 0; i < p->count; ++i) {
    actscope_choice c;
    if (!p->options.log || p->options.log_level < ACTSCOPE_LOG_DEBUG || actscope_plan_choice(p, i, &c)) continue;
    actscope_plan_log(&p->options, ACTSCOPE_LOG_DEBUG, "plan: %s: %llu x %llu %s, %s; scratch %s of %s", p->layers[i].name,
                      (unsigned long long)p->layers[i].samples, (unsigned long long)p->layers[i].features,
                      actscope_dtype_name(p->layers[i].dtype), c.reason, actscope_plan_size_text(a, c.workspace_bytes),
                      actscope_plan_size_text(b, c.best_bytes));
  }
  actscope_plan_log(&p->options, ACTSCOPE_LOG_INFO, "plan: %zu layers, workspace %s, plan itself %s", p->count,
                    actscope_plan_size_text(a, p->workspace_bytes), actscope_plan_size_text(b, p->own_bytes));
}

actscope_status actscope_plan_create(actscope_plan **plan, const actscope_layer *layers, size_t count,
                                     const actscope_options *options) {
  if (!plan) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  struct plan_need need;
  actscope_plan *p;
  actscope_status status = plan_build(&p, layers, count, options, &need);
  *plan = NULL;
  if (status) return status;
  status = plan_fit(p, &need);
  if (!status) status = p->backend->open(p);
  if (status) {
    actscope_memory_free(p);
    return status;
  }
  plan_log(p);
  *plan = p;
  return ACTSCOPE_OK;
}

actscope_status actscope_minimum_budget(const actscope_layer *layers, size_t count, const actscope_options *options,
                                        uint64_t *bytes) {
  if (!bytes) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "bytes is NULL");
  struct plan_need need;
  actscope_plan *p;
  actscope_status status = plan_build(&p, layers, count, options, &need);
  if (status) return status;
  *bytes = p->own_bytes + need.least;
  actscope_memory_free(p);
  return ACTSCOPE_OK;
}

/* ---- Workspace -------------------------------------------------------------------------------------------------------- */

actscope_device actscope_plan_device(const actscope_plan *p) { return p->options.device; }

actscope_status actscope_plan_workspace(const actscope_plan *p, size_t *bytes, size_t *alignment) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  if (bytes) *bytes = (size_t)p->workspace_bytes;
  if (alignment) *alignment = PLAN_ALIGNMENT;
  return ACTSCOPE_OK;
}

static void workspace_drop(actscope_plan *p) {
  if (p->owns_workspace) p->backend->free(p, p->workspace);
  p->workspace = NULL;
  p->owns_workspace = 0;
}

actscope_status actscope_plan_bind(actscope_plan *p, void *workspace, size_t bytes) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  if (!workspace) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "workspace is NULL");
  if ((uintptr_t)workspace % PLAN_ALIGNMENT)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "workspace is not aligned to %d bytes", PLAN_ALIGNMENT);
  if (bytes < p->workspace_bytes)
    return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "workspace holds %zu bytes, the plan needs %llu", bytes,
                         (unsigned long long)p->workspace_bytes);
  workspace_drop(p);
  p->workspace = workspace;
  p->held_bytes = bytes;
  actscope_plan_begin_windows(p);
  for (size_t i = 0; i < p->count; ++i) p->layers[i].told = 0;
  return p->backend->reset && !p->closed ? p->backend->reset(p, 0) : ACTSCOPE_OK;
}

actscope_status actscope_plan_ensure_workspace(actscope_plan *p) {
  if (p->closed)
    return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the plan's own memory was refused when its shapes changed");
  if (p->workspace || p->workspace_bytes == 0) return ACTSCOPE_OK;
  p->workspace = p->backend->allocate(p, p->workspace_bytes);
  if (!p->workspace)
    return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the %s refused a workspace of %llu bytes",
                         p->options.device == ACTSCOPE_DEVICE_CPU ? "system" : "GPU", (unsigned long long)p->workspace_bytes);
  p->owns_workspace = 1;
  p->held_bytes = p->workspace_bytes;
  return ACTSCOPE_OK;
}

/* ---- Change of shapes ------------------------------------------------------------------------------------------------- */

void actscope_plan_begin_windows(actscope_plan *p) {
  for (size_t i = 0; i < p->count; ++i) p->layers[i].steps = p->layers[i].cka_samples = 0;
}

static int same_shape(const struct plan_layer *l, const actscope_layer *in) {
  if (l->dtype != in->dtype || l->ndim != in->ndim) return 0;
  for (int d = 0; d < l->ndim; ++d)
    if (!in->shape || l->shape[d] != in->shape[d]) return 0;
  return 1;
}

/* New layers in place of the old ones; sequence numbers go on. What the old ones were is in `old` afterwards. */
static void layers_exchange(actscope_plan *p, struct plan_layer *old) {
  for (size_t i = 0; i < p->count; ++i) {
    struct plan_layer l = p->layers[i];
    p->layers[i] = old[i];
    old[i] = l;
  }
  layers_arrange(p);
}

actscope_status actscope_plan_reshape(actscope_plan *p, const actscope_layer *layers, size_t count) {
  if (!p || (!layers && count)) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "layers" : "plan");
  if (count != p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%zu layers for a plan of %zu", count, p->count);
  size_t same = 0;
  while (same < count && same_shape(&p->layers[same], &layers[same])) ++same;
  if (same == count && !p->closed) return ACTSCOPE_OK;
  if (p->enqueued) p->backend->poll(p, 1); /* its own failure, if there was one, is no matter of shapes */
  struct plan_layer *other = actscope_memory_allocate(count * sizeof *other);
  if (!other) return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the system refused %zu bytes", count * sizeof *other);
  actscope_status status = ACTSCOPE_OK;
  for (size_t i = 0; i < count && !status; ++i) {
    actscope_layer in = layers[i];
    in.name = p->layers[i].name, in.role = p->layers[i].role;
    in.options = p->layers[i].own_options ? &p->layers[i].options : NULL;
    other[i].name = p->layers[i].name, other[i].sequence = p->layers[i].sequence;
    status = layer_resolve(p->backend, &p->options, &in, i, &other[i]);
  }
  if (!status) {
    struct plan_need need = {0, 0, 0, 0}, before = need;
    const uint64_t own = p->own_bytes, workspace = p->workspace_bytes;
    p->backend->plan_need(p, &before);
    layers_exchange(p, other);
    p->backend->plan_need(p, &need);
    p->own_bytes = own - before.beside + need.beside;
    status = plan_fit(p, &need);
    if (!status && p->workspace && p->held_bytes < p->workspace_bytes) {
      if (p->owns_workspace) workspace_drop(p);
      else if (p->held_bytes >= need.least) p->workspace_bytes = p->held_bytes;
      else status = actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "workspace holds %llu bytes, the plan needs %llu",
                                  (unsigned long long)p->held_bytes, (unsigned long long)need.least);
    }
    if (status) {
      layers_exchange(p, other);
      p->own_bytes = own, p->workspace_bytes = workspace;
    } else {
      status = p->closed ? p->backend->open(p) : p->backend->reopen(p);
      p->closed = status != ACTSCOPE_OK;
      p->enqueued = 0;
      if (!status) plan_log(p);
    }
  }
  actscope_memory_free(other);
  return status;
}

/* ---- The end ---------------------------------------------------------------------------------------------------------- */

const char *actscope_plan_layer_name(const actscope_plan *p, size_t layer) {
  return p && layer < p->count ? p->layers[layer].name : NULL;
}

void actscope_plan_destroy(actscope_plan *p) {
  if (!p) return;
  workspace_drop(p);
  if (!p->closed) p->backend->close(p);
  actscope_memory_free(p);
}

