/* plan.c - decides, before anything runs, what is measured how and in how much memory; then drives the backend.
 *
 * Budget: the plan's own memory (layers, names, reports) plus one workspace that layers use in turn. A backend's stages
 * work with anything between their least and their best size, so the ladder is simple: every layer gets
 * min(best, what is left), and a budget below some layer's least is refused with the size that would do. */
#include "plan.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

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

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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

/* Copies the caller's options with AUTO device and threads resolved. */
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
  if (o->device == ACTSCOPE_DEVICE_CUDA)
    return actscope_fail(ACTSCOPE_NO_DEVICE, "no usable GPU: %s", actscope_no_gpu_reason());
  o->device = ACTSCOPE_DEVICE_CPU;
  if (o->threads == 0) o->threads = omp_get_max_threads();
  if (o->pairs == 0) o->pairs = 1ull << 24;
  return ACTSCOPE_OK;
}

/* ---- Creation -------------------------------------------------------------------------------------------------------- */

/* Shape, methods and needs of one layer. */
static actscope_status layer_resolve(const actscope_options *o, const actscope_layer *in, size_t index,
                                     struct plan_layer *l) {
  const char *name = in->name ? in->name : "";
  const char *bad = view_check(in->dtype, in->ndim, in->shape, &l->elements);
  if (bad) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu %s: %s", index, name, bad);
  if (o->channels && in->ndim < 2)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu %s: channels need two dimensions or more", index, name);
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
  l->need = actscope_cpu_layer_need(o, l);
  return ACTSCOPE_OK;
}

static uint64_t name_bytes(const actscope_layer *layer) { return layer->name ? strlen(layer->name) + 1 : 32; }

/* Everything but the check against the budget. On failure *out is NULL. */
static actscope_status plan_build(actscope_plan **out, const actscope_layer *layers, size_t count,
                                  const actscope_options *options, uint64_t *least) {
  actscope_options o;
  *out = NULL;
  if (!layers && count) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layers is NULL");
  if (count > 1u << 24) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "more than 2^24 layers");
  actscope_status status = options_resolve(options, &o);
  if (status) return status;
  uint64_t bytes = sizeof(actscope_plan) + count * sizeof(struct plan_layer);
  for (size_t i = 0; i < count; ++i) bytes += name_bytes(&layers[i]);
  actscope_plan *p = actscope_memory_allocate(bytes);
  if (!p) return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the system refused %llu bytes", (unsigned long long)bytes);
  p->options = o;
  p->count = count;
  p->own_bytes = bytes;
  p->layers = (struct plan_layer *)(p + 1);
  char *names = (char *)(p->layers + count);
  uint64_t need = 0;
  for (size_t i = 0; i < count; ++i) {
    struct plan_layer *l = &p->layers[i];
    l->name = names;
    if (layers[i].name) strcpy(names, layers[i].name); else snprintf(names, 32, "layer %zu", i);
    names += name_bytes(&layers[i]);
    status = layer_resolve(&o, &layers[i], i, l);
    if (status) {
      actscope_memory_free(p);
      return status;
    }
    if (l->need.least > need) need = l->need.least;
    if (l->need.best > p->workspace_bytes) p->workspace_bytes = l->need.best;
  }
  *least = bytes + need;
  *out = p;
  return ACTSCOPE_OK;
}

actscope_status actscope_plan_create(actscope_plan **plan, const actscope_layer *layers, size_t count,
                                     const actscope_options *options) {
  if (!plan) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  uint64_t least = 0;
  actscope_plan *p;
  actscope_status status = plan_build(&p, layers, count, options, &least);
  *plan = NULL;
  if (status) return status;
  char a[32], b[32];
  if (least > p->options.memory_budget) {
    size_t worst = 0;
    for (size_t i = 1; i < count; ++i)
      if (p->layers[i].need.least > p->layers[worst].need.least) worst = i;
    actscope_fail(ACTSCOPE_BUDGET_TOO_SMALL, "%s: a memory budget of %s holds no method; the smallest that would is %llu bytes (%s)",
                  count ? p->layers[worst].name : "plan", size_text(a, p->options.memory_budget),
                  (unsigned long long)least, size_text(b, least));
    actscope_memory_free(p);
    return ACTSCOPE_BUDGET_TOO_SMALL;
  }
  uint64_t left = p->options.memory_budget - p->own_bytes;
  if (p->workspace_bytes > left) p->workspace_bytes = left / 64 * 64;
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
  actscope_plan *p;
  actscope_status status = plan_build(&p, layers, count, options, bytes);
  if (status) return status;
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
  if (p->owns_workspace) actscope_memory_free(p->workspace);
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
  p->workspace = actscope_memory_allocate_raw(p->workspace_bytes);
  if (!p->workspace)
    return actscope_fail(ACTSCOPE_OUT_OF_MEMORY, "the system refused a workspace of %llu bytes",
                         (unsigned long long)p->workspace_bytes);
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

static actscope_status run_layer(actscope_plan *p, struct plan_layer *l, const actscope_tensor *t) {
  double start = seconds_now();
  memset(&l->report, 0, sizeof l->report);
  l->report.statistics = p->options.statistics;
  l->report.warnings = l->warnings;
  l->report.dtype = l->dtype;
  l->report.elements = l->elements;
  l->report.samples = l->samples;
  l->report.features = l->features;
  actscope_plan_log(&p->options, ACTSCOPE_LOG_DEBUG, "%s: begins", l->name);
  actscope_status status = actscope_cpu_layer_run(&p->options, l, t, p->workspace, p->workspace_bytes);
  l->report.status = status;
  l->report.seconds = seconds_now() - start;
  l->reported = 1;
  p->enqueued = 1;
  actscope_plan_log(&p->options, ACTSCOPE_LOG_INFO, "%s: %llu x %llu %s in %.1f ms", l->name,
                    (unsigned long long)l->samples, (unsigned long long)l->features, actscope_dtype_name(l->dtype),
                    1e3 * l->report.seconds);
  for (int bit = 0; bit < ACTSCOPE_WARN_COUNT; ++bit) {
    char text[256];
    if (p->options.log && actscope_warning_text(&l->report, bit, text, sizeof text))
      actscope_plan_log(&p->options, ACTSCOPE_LOG_WARNING, "%s: %s", l->name, text);
  }
  return status;
}

actscope_status actscope_plan_enqueue_layer(actscope_plan *p, size_t layer, const actscope_tensor *t,
                                            struct CUstream_st *stream) {
  (void)stream;
  if (!p || !t) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "tensor" : "plan");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  struct plan_layer *l = &p->layers[layer];
  actscope_status status = tensor_check(l, t);
  if (status) return status;
  if (!t->data && l->elements)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s: data is NULL", l->name);
  status = workspace_ensure(p);
  return status ? status : run_layer(p, l, t);
}

actscope_status actscope_plan_enqueue(actscope_plan *p, const actscope_tensor *tensors, size_t count,
                                      struct CUstream_st *stream) {
  (void)stream;
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
  actscope_status first = workspace_ensure(p);
  if (first) return first;
  for (size_t i = 0; i < count; ++i) {
    if (!tensors[i].data && p->layers[i].elements) continue;
    actscope_status status = run_layer(p, &p->layers[i], &tensors[i]);
    if (status && !first) first = status;
  }
  p->enqueued = 1;
  return first;
}

actscope_status actscope_plan_poll(actscope_plan *p) {
  if (!p) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "plan is NULL");
  return p->enqueued ? ACTSCOPE_OK : actscope_fail(ACTSCOPE_NOT_READY, "nothing was enqueued");
}

actscope_status actscope_plan_wait(actscope_plan *p) { return actscope_plan_poll(p); }

actscope_status actscope_plan_report(actscope_plan *p, size_t layer, actscope_layer_report *report) {
  if (!p || !report) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "report" : "plan");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  if (!p->layers[layer].reported)
    return actscope_fail(ACTSCOPE_NOT_READY, "%s: nothing was enqueued", p->layers[layer].name);
  *report = p->layers[layer].report;
  return ACTSCOPE_OK;
}

const char *actscope_plan_layer_name(const actscope_plan *p, size_t layer) {
  return p && layer < p->count ? p->layers[layer].name : NULL;
}

void actscope_plan_destroy(actscope_plan *p) {
  if (!p) return;
  workspace_drop(p);
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
