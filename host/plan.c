/* plan.c - decides, before anything runs, what is measured how and in how much memory; then drives the backend.
 *
 * Budget: the plan's own memory (layers, names, reports) plus one workspace that layers use in turn. A backend's stages
 * work with anything between their least and their best size, so the ladder is simple: every layer gets
 * min(best, what is left), and a budget below some layer's least is refused with the size that would do. */
#include "plan.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/distinct.h"
#include "core/moments.h"
#include "core/pairs.h"
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

/* "12.3 MiB" into a buffer of the caller's. */
static const char *size_text(char text[32], uint64_t bytes) {
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
  o->pair_functionals = ACTSCOPE_PAIRS_ALL;
  o->sketch_bits = 12;
  o->large_tensor = 10000000;
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
  RANGE((o->statistics & ~(uint32_t)ACTSCOPE_ALL) == 0 && o->statistics != 0, "statistics is empty or has unknown bits");
  RANGE((o->pair_functionals & ~(uint32_t)ACTSCOPE_PAIRS_ALL) == 0, "pair_functionals has unknown bits");
  RANGE(o->correlation >= ACTSCOPE_CORRELATION_AUTO && o->correlation <= ACTSCOPE_CORRELATION_GRAM,
        "correlation is not a method");
  RANGE(o->precision == ACTSCOPE_PRECISION_FP32 || o->precision == ACTSCOPE_PRECISION_FP16,
        "precision is neither FP32 nor FP16");
  RANGE(o->distinct >= ACTSCOPE_DISTINCT_AUTO && o->distinct <= ACTSCOPE_DISTINCT_SKETCH, "distinct is not a method");
  RANGE(o->sketch_bits >= 4 && o->sketch_bits <= 18, "sketch_bits is outside 4 .. 18");
#undef RANGE
  if (o->threads == 0) o->threads = omp_get_max_threads();
  if (o->pairs == 0) o->pairs = 1ull << 24;
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

/* Shape, methods and needs of one layer. */
static actscope_status layer_resolve(const struct plan_backend *backend, const actscope_options *o,
                                     const actscope_layer *in, size_t index, struct plan_layer *l) {
  const char *name = in->name ? in->name : "";
  const char *bad = view_check(in->dtype, in->ndim, in->shape, &l->elements);
  if (bad) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu %s: %s", index, name, bad);
  if (o->channels && in->ndim < 2)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu %s: channels need two dimensions or more", index, name);
  if (in->role < ACTSCOPE_ROLE_ACTIVATION || in->role > ACTSCOPE_ROLE_WEIGHT)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu %s: role is not a role", index, name);
  l->role = in->role;
  l->dtype = in->dtype;
  l->ndim = in->ndim;
  for (int d = 0; d < in->ndim; ++d) l->shape[d] = in->shape[d];
  actscope_tensor t = {NULL, l->dtype, l->ndim, l->shape, NULL};
  struct view v;
  view_init(&v, &t, o->channels);
  l->samples = v.samples;
  l->features = v.features;

  int narrow = dtype_is_narrow(l->dtype);
  l->distinct = narrow || o->distinct == ACTSCOPE_DISTINCT_EXACT ||
                        (o->distinct == ACTSCOPE_DISTINCT_AUTO && l->elements <= 65536)
                    ? ACTSCOPE_DISTINCT_EXACT
                    : ACTSCOPE_DISTINCT_SKETCH;
  l->correlation = o->correlation;
  if (l->correlation == ACTSCOPE_CORRELATION_AUTO) {
    double cost = (double)l->samples * (double)l->features * (double)l->features;
    l->correlation = cost <= 1e13 ? ACTSCOPE_CORRELATION_EXACT : ACTSCOPE_CORRELATION_SAMPLED;
    if (l->correlation == ACTSCOPE_CORRELATION_SAMPLED && (o->statistics & ACTSCOPE_CORRELATION))
      l->warnings |= ACTSCOPE_WARN_SAMPLED;
  }
  if (l->features >> 32 && (o->statistics & (ACTSCOPE_CORRELATION | ACTSCOPE_RANK)))
    return actscope_fail(ACTSCOPE_UNSUPPORTED, "layer %zu %s: 2^32 features or more", index, name);
  if (l->elements >= o->large_tensor) l->warnings |= ACTSCOPE_WARN_LARGE_TENSOR;
  return backend->layer_need(o, l);
}

static uint64_t name_bytes(const actscope_layer *layer) { return layer->name ? strlen(layer->name) + 1 : 32; }

/* Everything but the check against the budget, on one backend. On failure *out is NULL. */
static actscope_status plan_build_on(const struct plan_backend *backend, const actscope_options *o, actscope_plan **out,
                                     const actscope_layer *layers, size_t count, struct plan_need *need) {
  uint64_t bytes = sizeof(actscope_plan) + count * sizeof(struct plan_layer);
  for (size_t i = 0; i < count; ++i) bytes += name_bytes(&layers[i]);
  actscope_plan *p = actscope_memory_allocate(bytes);
  if (!p) return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the system refused %llu bytes", (unsigned long long)bytes);
  p->options = *o;
  p->options.device = backend->device;
  p->backend = backend;
  p->count = count;
  p->layers = (struct plan_layer *)(p + 1);
  char *names = (char *)(p->layers + count);
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
  memset(need, 0, sizeof *need);
  backend->plan_need(p, need);
  p->own_bytes = bytes + need->beside;
  p->workspace_bytes = need->best;
  *out = p;
  return ACTSCOPE_OK;
}

/* The same on the backend that the options ask for; what AUTO's GPU cannot do, the CPU does. */
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
  status = plan_build_on(backend, &o, out, layers, count, need);
  if (status == ACTSCOPE_UNSUPPORTED && o.device == ACTSCOPE_DEVICE_AUTO && backend != &actscope_cpu_backend) {
    actscope_plan_log(&o, ACTSCOPE_LOG_INFO, "plan: on the CPU: %s", actscope_last_error());
    status = plan_build_on(&actscope_cpu_backend, &o, out, layers, count, need);
  }
  return status;
}

actscope_status actscope_plan_create(actscope_plan **plan, const actscope_layer *layers, size_t count,
                                     const actscope_options *options) {
  if (!plan) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  struct plan_need need;
  actscope_plan *p;
  actscope_status status = plan_build(&p, layers, count, options, &need);
  *plan = NULL;
  if (status) return status;
  char a[32], b[32];
  uint64_t least = p->own_bytes + need.least;
  if (least > p->options.memory_budget) {
    actscope_fail(ACTSCOPE_BUDGET_TOO_SMALL, "%s: a memory budget of %s holds no method; the smallest that would is %llu bytes (%s)",
                  count ? p->layers[need.worst].name : "plan", size_text(a, p->options.memory_budget),
                  (unsigned long long)least, size_text(b, least));
    actscope_memory_free(p);
    return ACTSCOPE_BUDGET_TOO_SMALL;
  }
  uint64_t left = p->options.memory_budget - p->own_bytes;
  if (p->workspace_bytes > left) p->workspace_bytes = left / 64 * 64;
  status = p->backend->open(p);
  if (status) {
    actscope_memory_free(p);
    return status;
  }
  for (size_t i = 0; i < count; ++i) {
    const struct plan_layer *l = &p->layers[i];
    static const char *const methods[] = {"auto", "exact", "sampled", "gram"};
    actscope_plan_log(&p->options, ACTSCOPE_LOG_DEBUG, "plan: %s: %llu x %llu %s, correlation %s, distinct %s, scratch %s of %s",
                      l->name, (unsigned long long)l->samples, (unsigned long long)l->features,
                      actscope_dtype_name(l->dtype), methods[l->correlation],
                      l->distinct == ACTSCOPE_DISTINCT_EXACT ? "exact" : "sketch",
                      size_text(a, l->need.best < p->workspace_bytes ? l->need.best : p->workspace_bytes),
                      size_text(b, l->need.best));
  }
  actscope_plan_log(&p->options, ACTSCOPE_LOG_INFO, "plan: %zu layers, workspace %s, plan itself %s", count,
                    size_text(a, p->workspace_bytes), size_text(b, p->own_bytes));
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
  return ACTSCOPE_OK;
}

static actscope_status workspace_ensure(actscope_plan *p) {
  if (p->workspace || p->workspace_bytes == 0) return ACTSCOPE_OK;
  p->workspace = p->backend->allocate(p, p->workspace_bytes);
  if (!p->workspace)
    return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the %s refused a workspace of %llu bytes",
                         p->options.device == ACTSCOPE_DEVICE_CPU ? "system" : "GPU", (unsigned long long)p->workspace_bytes);
  p->owns_workspace = 1;
  return ACTSCOPE_OK;
}

/* ---- Running ---------------------------------------------------------------------------------------------------------- */

static actscope_status tensor_check(const struct plan_layer *l, const actscope_tensor *t) {
  if (t->dtype != l->dtype || t->ndim != l->ndim)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: dtype or number of dimensions differs from the plan's", l->name);
  for (int d = 0; d < l->ndim; ++d)
    if (!t->shape || t->shape[d] != l->shape[d])
      return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: shape differs from the plan's at axis %d", l->name, d);
  size_t size = actscope_dtype_size(l->dtype);
  if ((uintptr_t)t->data % size)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: data is not aligned to its element size of %zu", l->name, size);
  /* the furthest element's offset must be an int64 number of bytes */
  uint64_t reach = 0, limit = (uint64_t)INT64_MAX / size;
  for (int d = 0; t->strides && l->elements && d < l->ndim; ++d) {
    uint64_t stride = t->strides[d] < 0 ? 0 - (uint64_t)t->strides[d] : (uint64_t)t->strides[d];
    uint64_t steps = (uint64_t)l->shape[d] - 1;
    if (stride && steps && (stride > limit / steps || reach > limit - stride * steps))
      return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: strides reach beyond 2^63 bytes", l->name);
    reach += stride * steps;
  }
  return ACTSCOPE_OK;
}

void actscope_plan_report_begin(const actscope_options *o, struct plan_layer *l) {
  memset(&l->report, 0, sizeof l->report);
  l->report.statistics = o->statistics;
  l->report.warnings = l->warnings;
  l->report.dtype = l->dtype;
  l->report.elements = l->elements;
  l->report.samples = l->samples;
  l->report.features = l->features;
}

void actscope_plan_note_samples(struct plan_layer *l, uint64_t valid) {
  if (l->samples < 3) l->report.warnings |= ACTSCOPE_WARN_FEW_SAMPLES;
  if (valid < 2) l->report.warnings |= ACTSCOPE_WARN_NO_VALID_PAIR;
}

void actscope_plan_report_empty(const actscope_options *o, struct plan_layer *l) {
  actscope_layer_report *r = &l->report;
  double none = core_nan();
  struct moments m;
  moments_init(&m);
  if (o->statistics & ACTSCOPE_PROFILE) {
    moments_finish(&m, o->statistics, &r->profile);
    for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT; ++q) r->profile.quantiles[q] = none;
  }
  if (o->statistics & ACTSCOPE_DISTINCT) distinct_finish_exact(0, 0, &r->distinct);
  if (o->statistics & ACTSCOPE_HEALTH) {
    /* without samples every feature is vacuously dead and none is anything else; say nothing instead */
    memset(&r->health, 0, sizeof r->health);
    r->health.active_fraction = none;
  }
  if (o->statistics & ACTSCOPE_CORRELATION) {
    pairs_report_init(l->samples, 0, &r->correlation);
    r->correlation.method = l->correlation;
    actscope_plan_note_samples(l, 0);
  }
  if (o->statistics & ACTSCOPE_RANK) r->rank.participation_ratio = r->rank.effective_rank = none;
  if (o->statistics & ACTSCOPE_SIMILARITY) r->similarity.mean_cosine = none;
}

void actscope_plan_log_warnings(const actscope_options *o, const struct plan_layer *l) {
  char text[256];
  for (int bit = 0; bit < ACTSCOPE_WARN_COUNT; ++bit)
    if (o->log && actscope_warning_text(&l->report, bit, text, sizeof text))
      actscope_plan_log(o, ACTSCOPE_LOG_WARNING, "%s: %s", l->name, text);
}

actscope_status actscope_plan_enqueue_layer(actscope_plan *p, size_t layer, const actscope_tensor *t,
                                            struct CUstream_st *stream) {
  if (!p || !t) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "tensor" : "plan");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  struct plan_layer *l = &p->layers[layer];
  actscope_status status = tensor_check(l, t);
  if (status) return status;
  if (!t->data && l->elements)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: data is NULL", l->name);
  status = workspace_ensure(p);
  if (status) return status;
  p->enqueued = 1;
  return p->backend->run(p, layer, t, 1, stream);
}

actscope_status actscope_plan_enqueue(actscope_plan *p, const actscope_tensor *tensors, size_t count,
                                      struct CUstream_st *stream) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  if (count != p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%zu tensors for a plan of %zu layers", count, p->count);
  if (!tensors && count) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "tensors is NULL");
  /* check everything before anything runs, so that a wrong call changes nothing */
  for (size_t i = 0; i < count; ++i) {
    if (!tensors[i].data && p->layers[i].elements) continue;
    actscope_status status = tensor_check(&p->layers[i], &tensors[i]);
    if (status) return status;
  }
  actscope_status status = workspace_ensure(p);
  if (status) return status;
  p->enqueued = 1;
  return p->backend->run(p, 0, tensors, count, stream);
}

static actscope_status poll(actscope_plan *p, int wait) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  if (!p->enqueued) return actscope_fail(ACTSCOPE_NOT_READY, "nothing was enqueued");
  return p->backend->poll(p, wait);
}

actscope_status actscope_plan_poll(actscope_plan *p) { return poll(p, 0); }
actscope_status actscope_plan_wait(actscope_plan *p) { return poll(p, 1); }

actscope_status actscope_plan_report(actscope_plan *p, size_t layer, actscope_layer_report *report) {
  if (!p || !report) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "report" : "plan");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  if (!p->layers[layer].reported)
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: nothing was enqueued", p->layers[layer].name);
  actscope_status status = p->backend->report(p, &p->layers[layer]);
  if (!status) *report = p->layers[layer].report;
  return status;
}

const char *actscope_plan_layer_name(const actscope_plan *p, size_t layer) {
  return p && layer < p->count ? p->layers[layer].name : NULL;
}

void actscope_plan_destroy(actscope_plan *p) {
  if (!p) return;
  workspace_drop(p);
  p->backend->close(p);
  actscope_memory_free(p);
}

/* ---- The simple call --------------------------------------------------------------------------------------------------- */

actscope_status actscope_analyze(const actscope_tensor *tensor, const actscope_options *options,
                                 actscope_layer_report *report) {
  if (!tensor || !report) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", tensor ? "report" : "tensor");
  actscope_layer layer = {"tensor", tensor->dtype, tensor->ndim, tensor->shape};
  actscope_plan *p;
  actscope_status status = actscope_plan_create(&p, &layer, 1, options);
  if (status) return status;
  status = actscope_plan_enqueue_layer(p, 0, tensor, NULL);
  if (!status) status = actscope_plan_wait(p);
  if (!status) status = actscope_plan_report(p, 0, report);
  actscope_plan_destroy(p);
  return status;
}
