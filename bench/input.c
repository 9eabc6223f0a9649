/* input.c - a case's tensors, plan and workspace, and one call of what is measured. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "gpu.h"
#include "scores.h"

enum { ROTATE_BYTES = 256 << 20, ROTATE_MOST = 64 };

static void *must(void *p) {
  if (!p) abort();
  return p;
}

uint64_t bench_layer_samples(const struct bench_input *in, size_t layer) { return (uint64_t)in->shapes[layer].shape[0]; }
uint64_t bench_layer_features(const struct bench_input *in, size_t layer) {
  uint64_t features = 1;
  for (int k = 1; k < in->shapes[layer].ndim; ++k) features *= (uint64_t)in->shapes[layer].shape[k];
  return features;
}

int bench_layer_contents(const struct bench_case *c, size_t layer) {
  return c->kind == CASE_NETWORK && layer % 2 ? DATA_RELU : c->contents;
}

static void fill(const struct bench_case *c, int contents, void *data, uint64_t samples, uint64_t features) {
  double *x = must(malloc(samples * features * sizeof *x));
  if (c->kind == CASE_DISTINCT)
    for (uint64_t i = 0; i < samples * features; ++i) x[i] = data_float((enum data_floats)contents, i, BENCH_SEED);
  else data_fill((enum data_kind)contents, BENCH_SEED, c->dtype, x, samples, features);
  for (uint64_t i = 0; i < samples * features; ++i) {
    if (c->dtype == ACTSCOPE_FLOAT32) ((float *)data)[i] = (float)x[i];
    else if (c->dtype == ACTSCOPE_FLOAT64) ((double *)data)[i] = x[i];
    else ref_store(c->dtype, data, (int64_t)i, ref_encode(c->dtype, x[i]));
  }
  free(x);
}

/* The values of a layer, or of the block it repeats: made once while cases ask for the same. */
static const void *values_of(const struct bench_case *c, int contents, uint64_t samples, uint64_t features, size_t bytes) {
  struct made {
    int distinct, contents;
    actscope_dtype dtype;
    uint64_t samples, features;
    void *data;
  } want = {c->kind == CASE_DISTINCT, contents, c->dtype, samples, features, NULL};
  static struct made made[4];
  static int next;
  for (int k = 0; k < 4; ++k)
    if (made[k].data && made[k].distinct == want.distinct && made[k].contents == contents && made[k].dtype == want.dtype &&
        made[k].samples == samples && made[k].features == features)
      return made[k].data;
  next = (next + 1) % 4;
  free(made[next].data);
  want.data = must(aligned_alloc(64, (bytes + 63) / 64 * 64));
  fill(c, contents, want.data, samples, features);
  made[next] = want;
  return want.data;
}

static void shape_layers(struct bench_input *in) {
  const struct bench_case *c = in->c;
  int64_t *e = in->extents = must(calloc(c->layers * 4, sizeof *e));
  for (size_t l = 0; l < c->layers; ++l, e += 4) {
    const int wide = c->mixed && l < c->layers / 2;
    e[0] = (int64_t)c->samples, e[1] = (int64_t)c->features;
    if (wide) e[1] = (int64_t)c->features / 16, e[2] = e[3] = 4;
    else if (c->mixed) e[1] = (int64_t)c->features / 8;
    in->shapes[l].dtype = c->dtype;
    in->shapes[l].ndim = wide ? 4 : 2;
    in->shapes[l].shape = e;
    in->bytes += bench_layer_samples(in, l) * bench_layer_features(in, l) * ref_size(c->dtype);
  }
}

/* One copy of a layer, `tiles` times the block. */
static const void *place(struct bench_input *in, const void *block, size_t block_bytes, uint64_t tiles) {
  const size_t offset = in->c->misaligned ? ref_size(in->c->dtype) : 0, bytes = block_bytes * tiles + offset;
  if (in->gpu) {
    char *data = gpu_allocate(in->gpu, bytes);
    if (!data) return NULL;
    in->device[in->device_blocks++] = data;
    data += offset;
    if (gpu_upload(data, block, block_bytes)) return NULL;
    for (uint64_t t = 1; t < tiles; t *= 2) /* doubles what is there */
      if (gpu_copy(data + t * block_bytes, data, (tiles - t < t ? tiles - t : t) * block_bytes)) return NULL;
    return data;
  }
  char *data = must(aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  in->memory[in->blocks++] = data;
  data += offset;
  for (uint64_t t = 0; t < tiles; ++t) memcpy(data + t * block_bytes, block, block_bytes);
  return data;
}

static int place_layers(struct bench_input *in) {
  const struct bench_case *c = in->c;
  for (size_t l = 0; l < c->layers; ++l) {
    uint64_t samples = bench_layer_samples(in, l), features = bench_layer_features(in, l), tiles = 1;
    if (c->block) tiles = samples * features / c->block, samples = c->block / features;
    size_t bytes = (size_t)(samples * features * ref_size(c->dtype));
    void *kept = must(aligned_alloc(64, (bytes + 63) / 64 * 64));
    in->memory[in->blocks++] = kept;
    in->host[l] = memcpy(kept, values_of(c, bench_layer_contents(c, l), samples, features, bytes), bytes);
    for (size_t k = 0; k < in->copies; ++k) {
      const actscope_layer *s = &in->shapes[l];
      const void *data = place(in, kept, bytes, tiles);
      if (!data) return -1;
      in->tensors[k * c->layers + l] = (actscope_tensor){.data = data, .dtype = s->dtype, .ndim = s->ndim, .shape = s->shape};
    }
  }
  return 0;
}

static actscope_status make_plan(struct bench_input *in, int threads) {
  const struct bench_case *c = in->c;
  actscope_options o;
  if (c->kind == CASE_STANDARDISE) {
    in->scores = bench_scores_open(c, in->gpu, threads, &in->workspace_bytes);
    return in->scores ? ACTSCOPE_OK : ACTSCOPE_OUT_OF_MEMORY;
  }
  actscope_options_init(&o);
  o.device = in->gpu ? ACTSCOPE_DEVICE_CUDA : ACTSCOPE_DEVICE_CPU;
  if (in->gpu) o.device_index = gpu_index(in->gpu);
  o.threads = threads;
  o.statistics = c->statistics;
  o.pair_functionals = c->functionals;
  o.correlation = c->method;
  o.precision = c->precision;
  o.pairs = c->pairs;
  o.same_pairs = 1; /* check.c knows those of the first step */
  o.distinct = ACTSCOPE_DISTINCT_SKETCH;
  if (c->samples * c->features >= 1 << 26) o.memory_budget = 768ull << 20;
  actscope_status status = actscope_plan_create(&in->plan, in->shapes, c->layers, &o);
  if (status) return status;
  actscope_plan_workspace(in->plan, &in->workspace_bytes, NULL);
  if (in->workspace_bytes == 0) return ACTSCOPE_OK;
  /* Poison: a number that nobody wrote is a NaN. */
  if (in->gpu) {
    in->workspace = gpu_allocate(in->gpu, in->workspace_bytes);
    if (!in->workspace) return ACTSCOPE_OUT_OF_MEMORY;
    in->device[in->device_blocks++] = in->workspace;
    if (gpu_poison(in->workspace, in->workspace_bytes)) return ACTSCOPE_DEVICE_ERROR;
  } else {
    in->workspace = must(aligned_alloc(4096, (in->workspace_bytes + 4095) / 4096 * 4096));
    in->memory[in->blocks++] = in->workspace;
    memset(in->workspace, 0xFF, in->workspace_bytes);
  }
  return actscope_plan_bind(in->plan, in->workspace, in->workspace_bytes);
}

int bench_input_open(struct bench_input *in, const struct bench_case *c, struct gpu *gpu, int threads, int rotate) {
  memset(in, 0, sizeof *in);
  in->c = c;
  in->gpu = gpu;
  in->shapes = must(calloc(c->layers, sizeof *in->shapes));
  in->host = must(calloc(c->layers, sizeof *in->host));
  shape_layers(in);
  in->copies = rotate && !gpu && in->bytes < ROTATE_BYTES ? (ROTATE_BYTES + in->bytes - 1) / in->bytes : 1;
  if (in->copies > ROTATE_MOST) in->copies = ROTATE_MOST;
  size_t blocks = (in->copies + 1) * c->layers + 1;
  in->tensors = must(calloc(in->copies * c->layers, sizeof *in->tensors));
  in->memory = must(calloc(blocks, sizeof *in->memory));
  in->device = must(calloc(blocks, sizeof *in->device));
  actscope_status status;
  if (place_layers(in)) fprintf(stderr, "actscope-bench: %s: the GPU has no memory for its input\n", c->name);
  else if ((status = make_plan(in, threads)))
    fprintf(stderr, "actscope-bench: %s: %s: %s\n", c->name, actscope_status_name(status), actscope_last_error());
  else return 0;
  bench_input_close(in);
  return -1;
}

actscope_status bench_input_enqueue(struct bench_input *in, int rotate, struct CUstream_st *stream) {
  if (rotate) in->next = (in->next + 1) % in->copies;
  const actscope_tensor *tensors = in->tensors + in->next * in->c->layers;
  return in->scores ? bench_scores_run(in->scores, tensors, stream) : actscope_plan_enqueue(in->plan, tensors, in->c->layers, stream);
}

actscope_status bench_input_wait(struct bench_input *in) {
  if (!in->scores) return actscope_plan_wait(in->plan);
  return in->gpu && gpu_wait(in->gpu) ? ACTSCOPE_DEVICE_ERROR : ACTSCOPE_OK;
}

void bench_input_close(struct bench_input *in) {
  actscope_plan_destroy(in->plan);
  bench_scores_close(in->scores);
  for (size_t i = 0; i < in->blocks; ++i) free(in->memory[i]);
  for (size_t i = 0; i < in->device_blocks; ++i) gpu_release(in->device[i]);
  free(in->memory);
  free(in->device);
  free(in->tensors);
  free(in->shapes);
  free(in->extents);
  free(in->host);
  memset(in, 0, sizeof *in);
}
