/* cases.c - the one list of cases: what is measured, on which device, at which size.
 *
 * Names are what result files and their readers know rows by; those of the first four families are fixed:
 *   profile/<dtype>/<moments|all>/<size>[/variant]     all: moments, entropy, quantiles, distinct values
 *   distinct/<dtype>/<data>/<size>
 *   correlation/<exact|gram|sampled>/<fp16|fp32>/<N>x<D>[/mean]   /mean: without thresholds and histogram
 *   24-layer/<direct|graph>
 *   columns/<dtype>/<N>x<D>                            feature moments: constant, dead, non-finite features
 *   standardise/<dtype>/<N>x<D>                        the same, and z-scores in the type that is multiplied: no plan ends there
 *   layers/<count>x<N>x<D>/<direct|graph>              everything, for so many equal layers */
#include <string.h>

#include "bench.h"

static const struct {
  const char *name;
  actscope_dtype dtype;
} dtypes[] = {{"f32", ACTSCOPE_FLOAT32},   {"f64", ACTSCOPE_FLOAT64},        {"f16", ACTSCOPE_FLOAT16},
              {"bf16", ACTSCOPE_BFLOAT16}, {"f8e4m3", ACTSCOPE_FLOAT8_E4M3}, {"f8e5m2", ACTSCOPE_FLOAT8_E5M2}};
enum { DTYPES = sizeof dtypes / sizeof *dtypes, MAX_CASES = 160, COLUMNS = 1024 };

const char *bench_dtype_name(actscope_dtype dtype) {
  for (size_t d = 0; d < DTYPES; ++d)
    if (dtypes[d].dtype == dtype) return dtypes[d].name;
  return "unknown";
}

static struct bench_case list[MAX_CASES];
static size_t listed;
static unsigned wanted; /* the device the list is for */
static int tiny;

static struct bench_case start(enum case_kind kind, unsigned devices, actscope_dtype dtype, uint64_t samples, uint64_t features) {
  return (struct bench_case){.kind = kind, .devices = devices, .dtype = dtype, .layers = 1, .samples = samples,
                             .features = features, .contents = DATA_NORMAL, .precision = ACTSCOPE_PRECISION_FP32,
                             .pairs = tiny ? 1000 : 1 << 24};
}

/* Sweeps fall together where sizes are cut: the first of a name stays. */
static void keep(struct bench_case c) {
  if (!(c.devices & wanted) || listed == MAX_CASES) return;
  for (size_t i = 0; i < listed; ++i)
    if (strcmp(list[i].name, c.name) == 0) return;
  list[listed++] = c;
}

static void size_name(char *out, size_t size, uint64_t bytes) {
  if (bytes >= 1 << 20) snprintf(out, size, "%lluMiB", (unsigned long long)(bytes >> 20));
  else snprintf(out, size, "%lluKiB", (unsigned long long)(bytes >> 10));
}

static void profile(unsigned devices, size_t d, const char *what, uint32_t statistics, uint64_t mib, int contents,
                    int misaligned, const char *variant) {
  uint64_t size = ref_size(dtypes[d].dtype), elements = tiny ? 16384 : (mib << 20) / size, columns = tiny ? 64 : COLUMNS;
  struct bench_case c = start(CASE_PROFILE, devices, dtypes[d].dtype, elements / columns, columns);
  char bytes[24];
  size_name(bytes, sizeof bytes, elements * size);
  snprintf(c.name, sizeof c.name, "profile/%s/%s/%s%s", dtypes[d].name, what, bytes, variant);
  c.statistics = statistics;
  c.contents = contents;
  c.misaligned = misaligned;
  c.block = tiny ? 4096 : 1 << 22;
  if (c.block >= elements) c.block = 0;
  if (contents == DATA_NORMAL && !misaligned)
    c.peer = statistics == ACTSCOPE_MOMENTS ? "moments" : statistics == ACTSCOPE_PROFILE ? "quantiles"
             : statistics & ACTSCOPE_DISTINCT ? "profile" : NULL;
  keep(c);
}

static void profiles(void) {
  const uint32_t all = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
  static const uint64_t cpu_mib[DTYPES] = {64, 64, 32, 32, 16, 16};
  profile(ON_BOTH, 0, "moments", ACTSCOPE_MOMENTS, 64, DATA_NORMAL, 0, "");
  profile(ON_BOTH, 0, "moments", ACTSCOPE_MOMENTS | ACTSCOPE_ENTROPY, 64, DATA_NORMAL, 0, "/entropy");
  profile(ON_BOTH, 0, "moments", ACTSCOPE_PROFILE, 64, DATA_NORMAL, 0, "/quantiles");
  profile(ON_BOTH, 0, "all", all, 64, DATA_NORMAL, 0, "");
  profile(ON_BOTH, 0, "all", all, 64, DATA_NORMAL, 1, "/misaligned");
  profile(ON_BOTH, 0, "all", all, 64, DATA_RELU, 0, "/relu");
  profile(ON_BOTH, 0, "all", all, 1, DATA_NORMAL, 0, "");
  profile(ON_BOTH, 0, "all", all, 16, DATA_NORMAL, 0, "");
  for (size_t d = 1; d < DTYPES; ++d) {
    profile(ON_CPU, d, "moments", ACTSCOPE_MOMENTS, cpu_mib[d], DATA_NORMAL, 0, "");
    profile(ON_CPU, d, "all", all, cpu_mib[d], DATA_NORMAL, 0, "");
  }
  profile(ON_CPU, 3, "all", all, 32, DATA_NORMAL, 1, "/misaligned");
  profile(ON_CPU, 3, "all", all, 32, DATA_RELU, 0, "/relu");
  for (size_t d = 0; d < DTYPES; ++d) { /* well beyond the L2 cache */
    profile(ON_CUDA, d, "moments", ACTSCOPE_MOMENTS, 256, DATA_NORMAL, 0, "");
    profile(ON_CUDA, d, "all", all, 256, DATA_NORMAL, 0, "");
  }
  profile(ON_CUDA, 0, "all", all, 1024, DATA_NORMAL, 0, "");
  profile(ON_CUDA, 3, "all", all, 256, DATA_NORMAL, 1, "/misaligned");
  profile(ON_CUDA, 3, "all", all, 256, DATA_RELU, 0, "/relu");
}

static void distinct(actscope_dtype dtype, int floats, uint64_t mib) {
  uint64_t size = ref_size(dtype), elements = tiny ? 16384 : (mib << 20) / size, columns = tiny ? 64 : COLUMNS;
  struct bench_case c = start(CASE_DISTINCT, ON_BOTH, dtype, elements / columns, columns);
  char bytes[24];
  size_name(bytes, sizeof bytes, elements * size);
  snprintf(c.name, sizeof c.name, "distinct/%s/%s/%s", bench_dtype_name(dtype), data_floats_name((enum data_floats)floats), bytes);
  for (char *at = c.name; *at; ++at)
    if (*at == ' ') *at = '-';
  c.statistics = ACTSCOPE_DISTINCT;
  c.contents = floats;
  c.peer = "distinct";
  keep(c);
}

static void columns(actscope_dtype dtype, uint64_t n, uint64_t d) {
  struct bench_case c = start(CASE_COLUMNS, ON_BOTH, dtype, tiny && n > 40 ? 40 : n, tiny && d > 72 ? 72 : d);
  snprintf(c.name, sizeof c.name, "columns/%s/%llux%llu", bench_dtype_name(dtype), (unsigned long long)c.samples,
           (unsigned long long)c.features);
  c.statistics = ACTSCOPE_HEALTH;
  c.contents = DATA_CONSTANT_COLUMNS;
  c.peer = "columns";
  keep(c);
}

static void standardise(actscope_dtype dtype, uint64_t n, uint64_t d) {
  struct bench_case c = start(CASE_STANDARDISE, ON_BOTH, dtype, tiny ? n > d ? 300 : 40 : n, tiny ? n > d ? 53 : 200 : d);
  snprintf(c.name, sizeof c.name, "standardise/%s/%llux%llu", bench_dtype_name(dtype), (unsigned long long)c.samples,
           (unsigned long long)c.features);
  c.contents = DATA_CONSTANT_COLUMNS;
  keep(c);
}

static void correlation(unsigned devices, actscope_correlation_method m, actscope_precision precision, uint64_t n, uint64_t d,
                        uint32_t functionals, const char *variant) {
  static const char *const methods[] = {"auto", "exact", "sampled", "gram"};
  struct bench_case c = start(CASE_CORRELATION, devices, ACTSCOPE_FLOAT32, n, d);
  if (tiny) c.samples = n > d ? 80 : n > 40 ? 40 : n, c.features = n > d ? 24 : d > 2000 ? 96 : 72;
  snprintf(c.name, sizeof c.name, "correlation/%s/%s/%llux%llu%s", methods[m],
           precision == ACTSCOPE_PRECISION_FP16 ? "fp16" : "fp32", (unsigned long long)c.samples,
           (unsigned long long)c.features, variant);
  c.statistics = ACTSCOPE_CORRELATION;
  c.method = m;
  c.precision = precision;
  c.functionals = functionals;
  c.contents = n * d > 1 << 25 ? DATA_HUBS : DATA_FACTORS; /* a fifth of the random numbers */
  c.peer = m == ACTSCOPE_CORRELATION_GRAM ? "mean_square" : m == ACTSCOPE_CORRELATION_EXACT && d <= 8192 ? "correlation" : NULL;
  keep(c);
}

static void correlations(void) {
  const actscope_correlation_method exact = ACTSCOPE_CORRELATION_EXACT;
  const actscope_precision fp16 = ACTSCOPE_PRECISION_FP16, fp32 = ACTSCOPE_PRECISION_FP32;
  const uint32_t all = ACTSCOPE_PAIRS_DEFAULT;
  for (uint64_t d = 1024; d <= 8192; d *= 2) correlation(ON_BOTH, exact, fp32, 128, d, all, ""); /* growth with D */
  correlation(ON_BOTH, exact, fp32, 128, 8192, 0, "/mean");
  correlation(ON_BOTH, exact, fp16, 128, 1024, all, "");
  correlation(ON_CUDA, exact, fp16, 128, 8192, all, ""); /* the CPU multiplies the same integers for both */
  correlation(ON_CUDA, exact, fp16, 128, 8192, 0, "/mean");
  correlation(ON_BOTH, ACTSCOPE_CORRELATION_GRAM, fp32, 128, 8192, 0, "");
  for (uint64_t n = 32; n <= 8192; n *= 4) correlation(ON_BOTH, exact, fp32, n, 1024, all, ""); /* growth with N */
  correlation(ON_CPU, exact, fp32, 1024, 2048, all, "");
  correlation(ON_BOTH, exact, fp32, 16384, 256, all, "");
  correlation(ON_BOTH, ACTSCOPE_CORRELATION_SAMPLED, fp32, 128, 65536, all, "");
  correlation(ON_BOTH, ACTSCOPE_CORRELATION_GRAM, fp32, 128, 65536, 0, "");
}

/* Minutes of the oracle's time stand behind these: they come last. */
static void large_correlations(void) {
  const actscope_correlation_method exact = ACTSCOPE_CORRELATION_EXACT;
  const actscope_precision fp16 = ACTSCOPE_PRECISION_FP16, fp32 = ACTSCOPE_PRECISION_FP32;
  correlation(ON_CUDA, exact, fp16, 128, 65536, 0, "/mean");
  correlation(ON_CUDA, exact, fp32, 128, 65536, 0, "/mean");
  correlation(ON_CUDA, exact, fp16, 8192, 8192, 0, "/mean");
  correlation(ON_CUDA, exact, fp16, 128, 1048576, 0, "/mean");
  correlation(ON_CUDA, ACTSCOPE_CORRELATION_GRAM, fp32, 128, 1048576, 0, "");
  correlation(ON_CUDA, ACTSCOPE_CORRELATION_SAMPLED, fp32, 128, 1048576, ACTSCOPE_PAIRS_DEFAULT, "");
}

/* Every statistic of every layer in one plan. count 0: the 24-layer workload, 12 x [128, 512, 4, 4] and 12 x [128, 1024]. */
static void network(unsigned devices, size_t count, uint64_t n, uint64_t d, int graph) {
  struct bench_case c = start(CASE_NETWORK, devices, ACTSCOPE_FLOAT32, tiny && n > 24 ? 24 : n, d);
  const char *how = graph ? "graph" : "direct";
  if (tiny) c.features = count ? 40 : 320, c.layers = count > 6 ? 6 : count;
  else c.layers = count;
  if (count == 0) {
    c.mixed = 1, c.layers = 24;
    snprintf(c.name, sizeof c.name, "24-layer/%s", how);
    c.peer = "network";
  } else {
    snprintf(c.name, sizeof c.name, "layers/%zux%llux%llu/%s", c.layers, (unsigned long long)c.samples,
             (unsigned long long)c.features, how);
  }
  c.statistics = ACTSCOPE_ALL;
  c.functionals = ACTSCOPE_PAIRS_DEFAULT;
  c.contents = DATA_FACTORS;
  c.graph = graph;
  keep(c);
}

const struct bench_case *bench_cases(unsigned device, int small, size_t *count) {
  listed = 0;
  wanted = device;
  tiny = small;
  for (int graph = 0; graph < 2; ++graph) network(graph ? ON_CUDA : ON_BOTH, 0, 128, 8192, graph);
  profiles();
  for (int k = 0; k < FLOATS_KINDS; ++k) distinct(ACTSCOPE_FLOAT32, k, 16);
  distinct(ACTSCOPE_BFLOAT16, FLOATS_NORMAL, 16);
  columns(ACTSCOPE_FLOAT32, 128, 65536);
  columns(ACTSCOPE_BFLOAT16, 128, 65536);
  columns(ACTSCOPE_FLOAT32, 32768, 256);
  standardise(ACTSCOPE_FLOAT32, 128, 8192);
  for (size_t d = 0; d < DTYPES; ++d) standardise(dtypes[d].dtype, 128, 65536);
  standardise(ACTSCOPE_FLOAT32, 32768, 256);
  correlations();
  for (int graph = 0; graph < 2; ++graph) {
    for (size_t layers = 6; layers <= 96; layers *= 4) network(graph ? ON_CUDA : ON_BOTH, layers, 128, 1024, graph);
    network(graph ? ON_CUDA : ON_BOTH, 48, 32, 64, graph); /* bound by launches */
  }
  large_correlations();
  *count = listed;
  return list;
}

double bench_flops(const struct bench_case *c) {
  double n = (double)c->samples, d = (double)c->features;
  if (c->kind != CASE_CORRELATION) return 0;
  switch (c->method) { /* a multiplication and an addition a sample */
    case ACTSCOPE_CORRELATION_EXACT: return n * d * (d - 1);
    case ACTSCOPE_CORRELATION_GRAM: return n < d ? d * n * (n + 1) : n * d * (d + 1);
    default: return 2 * n * (double)(c->pairs < (uint64_t)(d * (d - 1) / 2) ? (double)c->pairs : d * (d - 1) / 2);
  }
}
