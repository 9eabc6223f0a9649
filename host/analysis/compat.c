/* compat.c - another analyser's scores, by its formulas. Definitions and faults: docs/analysis.md. */
#include "analysis/compat.h"

#include "core/view.h"
#include "error.h"

const char *const actscope_compat_names[COMPAT_COUNT] = {
    [COMPAT_DEPTH] = "depth_bottlenecks",
    [COMPAT_WIDTH] = "width_bottlenecks",
    [COMPAT_INFORMATION_FLOW] = "information_flow_bottlenecks",
    [COMPAT_GRADIENT_FLOW] = "gradient_flow_bottlenecks",
    [COMPAT_CAPACITY] = "capacity_bottlenecks",
    [COMPAT_SATURATION] = "activation_saturation",
    [COMPAT_GRADIENT_HEALTH] = "gradient_health",
    [COMPAT_INFORMATION_LOSS] = "information_loss",
    [COMPAT_ENTROPY] = "entropy",
    [COMPAT_UTILIZATION] = "neuron_utilization",
    [COMPAT_GRADIENT_VARIANCE] = "gradient_variance",
    [COMPAT_DIVERSITY] = "activation_diversity",
    [COMPAT_CORRELATION] = "feature_correlation",
    [COMPAT_REDUNDANCY] = "information_redundancy",
    [COMPAT_ACTUAL_CAPACITY] = "actual_capacity",
    [COMPAT_GRADIENT_NORM] = "gradient_norm",
};

#define OFFSET 1e-8     /* added to |x|, and again inside the logarithm */
#define ACTIVE 1e-6     /* above it an element counts as active */
#define SATURATED 0.9   /* above it an element of a tensor with negative values counts as saturated */
#define FIRST_SAMPLES 10 /* diversity compares these alone */
#define STRIP 256        /* features taken at a time: 23 KiB of stack for all of it */

/* What a plain read of the elements gives; taken from the report where it has it. */
struct totals {
  int known;
  double count, abs_sum; /* abs_sum over the finite values */
  uint64_t zero, negative, nan, infinite; /* negative counts -infinity too */
};

struct scratch {
  double x[STRIP];
  double first[FIRST_SAMPLES][STRIP]; /* the strip of the first samples */
  unsigned char positive[STRIP];      /* feature was above ACTIVE */
  double dot[FIRST_SAMPLES][FIRST_SAMPLES];
};
_Static_assert(sizeof(struct scratch) <= 24 * 1024, "what the header promises");

/* n elements from offset on, `stride` apart. */
static void load(const struct view *v, int64_t offset, int64_t stride, uint64_t n, double *x) {
#define EACH(type, convert)                                                        \
  do {                                                                             \
    const type *from = (const type *)v->data + offset;                             \
    if (stride == 1) for (uint64_t i = 0; i < n; ++i) x[i] = (double)convert(from[i]); \
    else for (uint64_t i = 0; i < n; ++i) x[i] = (double)convert(from[(int64_t)i * stride]); \
  } while (0)
  switch (v->dtype) {
    case ACTSCOPE_FLOAT32: EACH(float, ); break;
    case ACTSCOPE_FLOAT16: EACH(uint16_t, dtype_f16); break;
    case ACTSCOPE_BFLOAT16: EACH(uint16_t, dtype_bf16); break;
    case ACTSCOPE_FLOAT8_E4M3: EACH(uint8_t, dtype_e4m3); break;
    case ACTSCOPE_FLOAT8_E5M2: EACH(uint8_t, dtype_e5m2); break;
    default: EACH(double, ); break;
  }
#undef EACH
}

/* Features from .. from+n-1 of sample s. */
static void load_row(const struct view *v, uint64_t s, uint64_t from, uint64_t n, double *x) {
  int64_t base = view_offset(&v->sample, s), stride;
  for (uint64_t done = 0; done < n;) {
    uint64_t run = view_run(&v->feature, from + done, &stride);
    if (run > n - done) run = n - done;
    load(v, base + view_offset(&v->feature, from + done), stride, run, x + done);
    done += run;
  }
}

static uint64_t strip_of(const struct view *v, uint64_t from) {
  return v->features - from < STRIP ? v->features - from : STRIP;
}

static struct totals totals_of_report(const actscope_layer_report *r) {
  const actscope_profile *p = &r->profile;
  struct totals t = {0};
  if (!(r->statistics & ACTSCOPE_MOMENTS)) return t;
  t.known = 1;
  t.count = (double)p->count;
  t.abs_sum = p->finite > 0 ? p->abs_mean * (double)p->finite : 0;
  t.zero = p->zero;
  t.negative = p->negative + p->negative_inf;
  t.nan = p->nan;
  t.infinite = p->positive_inf + p->negative_inf;
  return t;
}

static struct totals totals_of_tensor(const struct view *v, double *x) {
  struct totals t = {.known = 1, .count = (double)v->elements};
  for (uint64_t from = 0; from < v->features; from += STRIP)
    for (uint64_t s = 0, n = strip_of(v, from); s < v->samples; ++s) {
      load_row(v, s, from, n, x);
      for (uint64_t i = 0; i < n; ++i) {
        t.zero += x[i] == 0;
        t.negative += x[i] < 0;
        t.nan += x[i] != x[i];
        t.infinite += fabs(x[i]) == HUGE_VAL;
        t.abs_sum += core_finite(x[i]) ? fabs(x[i]) : 0;
      }
    }
  return t;
}

/* Mean cosine of all pairs of the first samples, from their dot products; a norm counts as at least 1e-8. */
static double diversity(double dot[FIRST_SAMPLES][FIRST_SAMPLES], uint64_t samples) {
  if (samples < 2) return 0;
  int n = samples < FIRST_SAMPLES ? (int)samples : FIRST_SAMPLES;
  double sum = 0;
  for (int i = 0; i < n; ++i)
    for (int j = i + 1; j < n; ++j) sum += dot[i][j] / (fmax(sqrt(dot[i][i]), 1e-8) * fmax(sqrt(dot[j][j]), 1e-8));
  double mean = sum / (n * (n - 1) / 2);
  return 1 - mean > 0 ? 1 - mean : 0; /* 0 when not a number */
}

/* The one read of the tensor: entropy, actual capacity, diversity, and what tensors with negative values need. */
static void read_tensor(const struct view *v, const struct totals *t, struct scratch *w, int two_axes, double *value) {
  const double total = t->abs_sum + t->count * OFFSET;
  double entropy = 0;
  uint64_t active = 0, saturated = 0, used = 0;
  memset(w->dot, 0, sizeof w->dot);
  for (uint64_t from = 0; from < v->features; from += STRIP) {
    uint64_t n = strip_of(v, from);
    memset(w->positive, 0, sizeof w->positive);
    for (uint64_t s = 0; s < v->samples; ++s) {
      double *x = s < FIRST_SAMPLES ? w->first[s] : w->x, sum = 0;
      load_row(v, s, from, n, x);
      for (uint64_t i = 0; i < n; ++i) {
        double size = fabs(x[i]);
        active += size > ACTIVE;
        saturated += size > SATURATED;
        w->positive[i] |= x[i] > ACTIVE;
      }
      for (uint64_t i = 0; i < n; ++i) {
        double p = (fabs(x[i]) + OFFSET) / total;
        sum -= p * log(p + OFFSET);
      }
      entropy += sum;
    }
    for (uint64_t i = 0; i < n; ++i) used += w->positive[i];
    uint64_t rows = v->samples < FIRST_SAMPLES ? v->samples : FIRST_SAMPLES;
    for (uint64_t a = 0; a < rows; ++a)
      for (uint64_t b = a; b < rows; ++b)
        for (uint64_t i = 0; i < n; ++i) w->dot[a][b] += w->first[a][i] * w->first[b][i];
  }
  value[COMPAT_ENTROPY] = t->nan || t->infinite ? core_nan() : entropy;
  value[COMPAT_ACTUAL_CAPACITY] = (double)active;
  value[COMPAT_DIVERSITY] = two_axes ? diversity(w->dot, v->samples) : 0;
  value[COMPAT_UTILIZATION] = two_axes ? (double)used / (double)v->features : 1;
  if (t->negative || t->nan) value[COMPAT_SATURATION] = (double)saturated / t->count;
}

/* What the report alone gives. */
static void read_report(const actscope_layer_report *r, const struct totals *t, double *value) {
  int non_negative = t->known && t->negative == 0 && t->nan == 0;
  if (non_negative) value[COMPAT_SATURATION] = (double)t->zero / t->count;
  if (non_negative && (r->statistics & ACTSCOPE_HEALTH)) /* above 1e-6 is above it in absolute value */
    value[COMPAT_UTILIZATION] = 1 - (double)r->health.dead / (double)r->features;
  if (t->known && (t->nan || t->infinite)) {
    value[COMPAT_ENTROPY] = core_nan();
  } else if ((r->statistics & ACTSCOPE_ENTROPY) && r->elements > 1) {
    value[COMPAT_ENTROPY] = r->profile.entropy * log((double)r->elements); /* without its two offsets of 1e-8 */
  }
  if ((r->statistics & ACTSCOPE_DISTINCT) && t->known) { /* it counts each NaN as a value of its own */
    double distinct = (double)r->distinct.count + (t->nan > 1 ? (double)(t->nan - 1) : 0);
    value[COMPAT_REDUNDANCY] = 1 - distinct / (double)r->elements;
  }
  if (r->features < 2 || r->samples < 2) {
    value[COMPAT_CORRELATION] = 0;
  } else if (r->statistics & ACTSCOPE_CORRELATION) { /* one constant or non-finite feature makes it 0 */
    value[COMPAT_CORRELATION] = r->correlation.valid_features < r->features ? 0 : r->correlation.mean_abs;
  }
}

static void read_gradient(const actscope_layer_report *g, double *value) {
  const actscope_profile *p = &g->profile;
  int broken = p->nan > 0, infinite = p->positive_inf + p->negative_inf > 0;
  double norm = broken ? core_nan() : infinite ? HUGE_VAL : p->l2_norm, health, variance;
  double mean = broken ? core_nan() : infinite ? HUGE_VAL : p->abs_mean;
  if (p->count == 0) {
    norm = health = variance = 0;
  } else {
    health = norm < 1e-7 ? 0.1 : norm > 10 ? 0.2 : 1 / (1 + fabs(log10(mean + 1e-8)));
    if (health > 1) health = 1;
    variance = infinite ? core_nan() : p->variance / (mean * mean);
    variance = !(mean > 1e-8) ? 0 : variance > 1 ? 1 : variance;
  }
  value[COMPAT_GRADIENT_NORM] = norm;
  value[COMPAT_GRADIENT_HEALTH] = health;
  value[COMPAT_GRADIENT_VARIANCE] = variance;
}

void actscope_compat_gradient(struct compat_network *network, const actscope_layer_report *gradient, double *value) {
  if (gradient->status != ACTSCOPE_OK || !(gradient->statistics & ACTSCOPE_MOMENTS)) return;
  read_gradient(gradient, value);
  double norm = value[COMPAT_GRADIENT_NORM], last = network->gradient_norm;
  double fall = network->gradients > 0 && last > 1e-8 ? (last - norm) / last : 0;
  value[COMPAT_GRADIENT_FLOW] = fall > 0 ? fall : 0;
  value[COMPAT_DEPTH] = 0.4 * value[COMPAT_SATURATION] + 0.3 * (1 - value[COMPAT_GRADIENT_HEALTH]) +
                        0.3 * value[COMPAT_INFORMATION_LOSS];
  value[COMPAT_WIDTH] = 0.4 * (1 - value[COMPAT_UTILIZATION]) + 0.3 * value[COMPAT_GRADIENT_VARIANCE] +
                        0.3 * (1 - value[COMPAT_DIVERSITY]);
  network->gradient_norm = norm;
  ++network->gradients;
}

actscope_status actscope_compat_layer(struct compat_network *network, const struct compat_input *in, double *value) {
  const actscope_layer_report *r = in->report;
  const actscope_tensor *tensor = in->tensor;
  for (int i = 0; i < COMPAT_COUNT; ++i) value[i] = core_nan();
  if (tensor != NULL) {
    uint64_t elements;
    const char *wrong = view_check(tensor->dtype, tensor->ndim, tensor->shape, &elements);
    if (!wrong && elements != r->elements) wrong = "the tensor is not the one of the report";
    if (!wrong && elements > 0 && tensor->data == NULL) wrong = "the tensor has no data";
    if (wrong) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "compat: %s", wrong);
  }
  if (r->elements == 0) {
    static const int zero[] = {COMPAT_SATURATION, COMPAT_ENTROPY,    COMPAT_UTILIZATION,    COMPAT_DIVERSITY,
                               COMPAT_CORRELATION, COMPAT_REDUNDANCY, COMPAT_ACTUAL_CAPACITY};
    for (size_t i = 0; i < sizeof zero / sizeof *zero; ++i) value[zero[i]] = 0;
  } else {
    struct totals t = totals_of_report(r);
    if (tensor != NULL) {
      struct scratch w;
      struct view v;
      view_init(&v, tensor, in->channels);
      if (!t.known) t = totals_of_tensor(&v, w.x);
      read_report(r, &t, value);
      read_tensor(&v, &t, &w, tensor->ndim >= 2, value);
    } else {
      read_report(r, &t, value);
    }
  }
  if (in->weights > 0) value[COMPAT_CAPACITY] = 1 - value[COMPAT_ACTUAL_CAPACITY] / (double)in->weights;

  double now = value[COMPAT_ENTROPY], before = network->entropy;
  int known = now == now || (tensor != NULL); /* an entropy that is NaN because of NaN or infinities is known */
  if (network->layers == 0) {
    value[COMPAT_INFORMATION_LOSS] = 0;
  } else if (known && network->entropy_known) {
    double loss = before > 1e-8 ? (before - now) / before : 0;
    value[COMPAT_INFORMATION_LOSS] = !(loss > 0) ? 0 : loss > 1 ? 1 : loss; /* 0 when not a number */
  }
  value[COMPAT_INFORMATION_FLOW] =
      0.3 * (1 - now) + 0.4 * value[COMPAT_CORRELATION] + 0.3 * value[COMPAT_REDUNDANCY];
  if (in->gradient != NULL) actscope_compat_gradient(network, in->gradient, value);
  network->entropy = now;
  network->entropy_known = known;
  ++network->layers;
  return ACTSCOPE_OK;
}
