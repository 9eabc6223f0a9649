/* cases.c - the cases, their inputs, and one measured call. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const struct {
  const char *name;
  actscope_dtype dtype;
} dtypes[] = {{"f32", ACTSCOPE_FLOAT32},   {"f64", ACTSCOPE_FLOAT64},         {"f16", ACTSCOPE_FLOAT16},
              {"bf16", ACTSCOPE_BFLOAT16}, {"f8e4m3", ACTSCOPE_FLOAT8_E4M3}, {"f8e5m2", ACTSCOPE_FLOAT8_E5M2}};

enum { MAX_CASES = 96, ROTATE_BYTES = 256 << 20 };

static struct bench_case list[MAX_CASES];
static size_t listed;

static struct bench_case *add(enum case_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features) {
  struct bench_case *c = &list[listed++];
  memset(c, 0, sizeof *c);
  c->kind = kind;
  c->dtype = dtype;
  c->samples = samples;
  c->features = features;
  c->contents = DATA_NORMAL;
  return c;
}

static void add_profile(size_t d, const char *what, uint32_t statistics, uint64_t mib, int contents, const char *suffix) {
  uint64_t elements = (mib << 20) / ref_size(dtypes[d].dtype);
  struct bench_case *c = add(CASE_PROFILE, dtypes[d].dtype, elements / 1024, 1024);
  snprintf(c->name, sizeof c->name, "profile/%s/%s/%lluMiB%s", dtypes[d].name, what, (unsigned long long)mib, suffix);
  c->statistics = statistics;
  c->contents = contents;
  if (dtypes[d].dtype == ACTSCOPE_FLOAT32 && contents == DATA_NORMAL)
    c->peer = statistics == ACTSCOPE_MOMENTS ? "profile_moments" : statistics & ACTSCOPE_DISTINCT ? "profile_all" : NULL;
}

static void add_correlation(const char *method, actscope_correlation_method m, uint64_t n, uint64_t d,
                            uint32_t functionals, const char *suffix, const char *peer) {
  struct bench_case *c = add(CASE_CORRELATION, ACTSCOPE_FLOAT32, n, d);
  snprintf(c->name, sizeof c->name, "correlation/%s/fp32/%llux%llu%s", method, (unsigned long long)n,
           (unsigned long long)d, suffix);
  c->statistics = ACTSCOPE_CORRELATION;
  c->method = m;
  c->functionals = functionals;
  c->contents = DATA_FACTORS;
  c->peer = peer;
}

const struct bench_case *bench_cases(size_t *count) {
  const uint32_t all = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
  if (listed == 0) {
    add_profile(0, "moments", ACTSCOPE_MOMENTS, 64, DATA_NORMAL, "");
    add_profile(0, "entropy", ACTSCOPE_MOMENTS | ACTSCOPE_ENTROPY, 64, DATA_NORMAL, "");
    add_profile(0, "quantiles", ACTSCOPE_PROFILE, 64, DATA_NORMAL, "");
    add_profile(0, "all", all, 64, DATA_NORMAL, "");
    add_profile(0, "all", all, 64, DATA_RELU, "/relu");
    add_profile(1, "moments", ACTSCOPE_MOMENTS, 64, DATA_NORMAL, "");
    for (size_t d = 1; d < sizeof dtypes / sizeof *dtypes; ++d)
      add_profile(d, "all", all, d == 1 ? 64 : d < 4 ? 32 : 16, DATA_NORMAL, "");
    add_profile(3, "all", all, 32, DATA_RELU, "/relu");
    for (int k = 0; k < FLOATS_KINDS; ++k) {
      struct bench_case *c = add(CASE_DISTINCT, ACTSCOPE_FLOAT32, 4096, 1024);
      snprintf(c->name, sizeof c->name, "distinct/f32/%s/16MiB", data_floats_name((enum data_floats)k));
      c->statistics = ACTSCOPE_DISTINCT;
      c->contents = k;
      c->peer = k == FLOATS_NORMAL ? "distinct" : NULL;
    }
    add_correlation("exact", ACTSCOPE_CORRELATION_EXACT, 128, 1024, ACTSCOPE_PAIRS_ALL, "", "correlation");
    add_correlation("exact", ACTSCOPE_CORRELATION_EXACT, 128, 8192, 0, "/mean", NULL);
    add_correlation("exact", ACTSCOPE_CORRELATION_EXACT, 128, 8192, ACTSCOPE_PAIRS_ALL, "", "correlation");
    add_correlation("exact", ACTSCOPE_CORRELATION_EXACT, 1024, 2048, ACTSCOPE_PAIRS_ALL, "", "correlation");
    add_correlation("exact", ACTSCOPE_CORRELATION_EXACT, 16384, 256, ACTSCOPE_PAIRS_ALL, "", "correlation");
    add_correlation("gram", ACTSCOPE_CORRELATION_GRAM, 128, 8192, 0, "", NULL);
    add_correlation("sampled", ACTSCOPE_CORRELATION_SAMPLED, 128, 65536, ACTSCOPE_PAIRS_ALL, "", NULL);
    struct bench_case *c = add(CASE_NETWORK, ACTSCOPE_FLOAT32, 128, 8192);
    snprintf(c->name, sizeof c->name, "24-layer/direct");
    c->statistics = ACTSCOPE_ALL;
    c->functionals = ACTSCOPE_PAIRS_ALL;
    c->contents = DATA_RELU;
    c->peer = "network";
  }
  *count = listed;
  return list;
}

double bench_flops(const struct bench_case *c) {
  double n = (double)c->samples, d = (double)c->features;
  if (c->kind != CASE_CORRELATION) return 0;
  switch (c->method) { /* a multiplication and an addition a sample */
    case ACTSCOPE_CORRELATION_EXACT: return n * d * (d - 1);
    case ACTSCOPE_CORRELATION_GRAM: return n < d ? d * n * (n + 1) : n * d * (d + 1);
    default: return 2 * n * 16777216.0;
  }
}

static void fill(const struct bench_case *c, void *data, uint64_t samples, uint64_t features, uint64_t seed) {
  if (c->kind == CASE_DISTINCT) {
    for (uint64_t i = 0; i < samples * features; ++i)
      ((float *)data)[i] = data_float((enum data_floats)c->contents, i, seed);
    return;
  }
  uint64_t rows = c->kind == CASE_PROFILE && samples > 4096 ? 4096 : samples; /* keeps the double copy small */
  double *x = malloc(rows * features * sizeof *x);
  if (!x) abort();
  for (uint64_t s = 0; s < samples; s += rows) {
    uint64_t now = samples - s < rows ? samples - s : rows;
    data_fill((enum data_kind)c->contents, seed + s, c->dtype, x, now, features);
    for (uint64_t i = 0; i < now * features; ++i) {
      int64_t at = (int64_t)(s * features + i);
      if (c->dtype == ACTSCOPE_FLOAT32) ((float *)data)[at] = (float)x[i];
      else if (c->dtype == ACTSCOPE_FLOAT64) ((double *)data)[at] = x[i];
      else ref_store(c->dtype, data, at, ref_encode(c->dtype, x[i]));
    }
  }
  free(x);
}

int bench_input_open(struct bench_input *in, const struct bench_case *c, int threads, uint64_t memory) {
  static const int64_t wide[] = {128, 512, 4, 4}, narrow[] = {128, 1024};
  memset(in, 0, sizeof *in);
  in->c = c;
  in->layers = c->kind == CASE_NETWORK ? 24 : 1;
  in->shapes = calloc(in->layers, sizeof *in->shapes);
  int64_t *own = malloc(2 * sizeof *own);
  if (!in->shapes || !own) abort();
  own[0] = (int64_t)c->samples, own[1] = (int64_t)c->features;
  for (size_t l = 0; l < in->layers; ++l) {
    int is_wide = l < 12;
    in->shapes[l] = c->kind == CASE_NETWORK
                        ? (actscope_layer){NULL, ACTSCOPE_FLOAT32, is_wide ? 4 : 2, is_wide ? wide : narrow}
                        : (actscope_layer){c->name, c->dtype, 2, own};
    uint64_t n = 1;
    for (int k = 0; k < in->shapes[l].ndim; ++k) n *= (uint64_t)in->shapes[l].shape[k];
    in->bytes += n * ref_size(in->shapes[l].dtype);
  }
  in->copies = c->kind == CASE_CORRELATION || in->bytes >= ROTATE_BYTES ? 1 : (ROTATE_BYTES + in->bytes - 1) / in->bytes;
  in->tensors = calloc(in->copies * in->layers, sizeof *in->tensors);
  in->memory = calloc(in->copies * in->layers + 1, sizeof *in->memory);
  if (!in->tensors || !in->memory) abort();
  in->memory[in->blocks++] = own;
  for (size_t k = 0; k < in->copies; ++k)
    for (size_t l = 0; l < in->layers; ++l) {
      const actscope_layer *s = &in->shapes[l];
      uint64_t features = 1, samples = (uint64_t)s->shape[0];
      for (int a = 1; a < s->ndim; ++a) features *= (uint64_t)s->shape[a];
      size_t bytes = (size_t)(samples * features * ref_size(s->dtype));
      void *data = aligned_alloc(64, (bytes + 63) / 64 * 64);
      if (!data) abort();
      if (k == 0) fill(c, data, samples, features, 1 + l);
      else memcpy(data, in->tensors[l].data, bytes); /* the same values elsewhere in memory */
      in->memory[in->blocks++] = data;
      in->tensors[k * in->layers + l] = (actscope_tensor){data, s->dtype, s->ndim, s->shape, NULL};
    }
  actscope_options o;
  actscope_options_init(&o);
  o.device = ACTSCOPE_DEVICE_CPU;
  o.threads = threads;
  o.statistics = c->statistics;
  o.pair_functionals = c->functionals;
  o.correlation = c->method;
  if (c->kind == CASE_PROFILE || c->kind == CASE_DISTINCT) o.distinct = ACTSCOPE_DISTINCT_SKETCH;
  if (memory) o.memory_budget = memory;
  if (actscope_plan_create(&in->plan, in->shapes, in->layers, &o)) {
    fprintf(stderr, "actscope-bench: %s: %s\n", c->name, actscope_last_error());
    bench_input_close(in);
    return -1;
  }
  actscope_plan_workspace(in->plan, &in->workspace_bytes, NULL);
  in->workspace = aligned_alloc(4096, (in->workspace_bytes + 4095) / 4096 * 4096 + 4096);
  if (!in->workspace) abort();
  if (in->workspace_bytes) actscope_plan_bind(in->plan, in->workspace, in->workspace_bytes);
  return 0;
}

actscope_status bench_input_run(struct bench_input *in) {
  actscope_status status = actscope_plan_enqueue(in->plan, in->tensors + in->next * in->layers, in->layers, NULL);
  in->next = (in->next + 1) % in->copies;
  return status ? status : actscope_plan_wait(in->plan);
}

void bench_input_close(struct bench_input *in) {
  actscope_plan_destroy(in->plan);
  for (size_t i = 0; i < in->blocks; ++i) free(in->memory[i]);
  free(in->memory);
  free(in->tensors);
  free(in->shapes);
  free(in->workspace);
}

int bench_input_save(const struct bench_input *in, size_t layer, const char *path) {
  const actscope_layer *s = &in->shapes[layer];
  const char *descr = s->dtype == ACTSCOPE_FLOAT32 ? "<f4" : s->dtype == ACTSCOPE_FLOAT64 ? "<f8"
                      : s->dtype == ACTSCOPE_FLOAT16 ? "<f2" : NULL;
  if (!descr) return -1;
  char shape[128] = "", header[256];
  uint64_t n = 1;
  for (int k = 0; k < s->ndim; ++k) {
    snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%lld,", (long long)s->shape[k]);
    n *= (uint64_t)s->shape[k];
  }
  int length = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
  while ((10 + length + 1) % 64) header[length++] = ' ';
  header[length++] = '\n';
  FILE *f = fopen(path, "wb");
  if (!f) return -1;
  unsigned char start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(length & 255), (unsigned char)(length >> 8)};
  size_t bytes = (size_t)(n * ref_size(s->dtype));
  int failed = fwrite(start, 1, 10, f) != 10 || fwrite(header, 1, (size_t)length, f) != (size_t)length ||
               fwrite(in->tensors[layer].data, 1, bytes, f) != bytes;
  return fclose(f) || failed ? -1 : 0;
}
