/* choice.c - which method measures a layer, by a model of what each costs, and why, in words.
 *
 * The model is arithmetic over bytes and multiply-adds at the rates below; docs/architecture.md has it in full. It is the
 * same on every machine with the same device kind, instruction set and thread count, so that a plan is reproducible; it
 * orders layers and methods, and is no measurement. */
#include <stdio.h>

#include "core/gram.h"
#include "core/pairs.h"
#include "cpu/dispatch.h"
#include "cpu/largest.h"
#include "error.h"
#include "plan.h"

/* AUTO samples beyond this N*D^2 whatever the device: 5e12 multiply-adds. */
static const double exact_cost_max = 1e13;

/* What a second does. */
struct rates {
  double bytes;    /* read, with the profile's sums */
  double counted;  /* the same with the value histogram or the sketch besides */
  double fma;      /* multiply-adds of the Gram matrix */
  double pairs;    /* and of the pair products, at the precision asked for */
  double pairs64;  /* the same of float64 */
  double eigen;    /* operations of the eigenvalues, one thread */
  double start;    /* seconds a layer, whatever its size */
};

/* CPU: a thread of the machines in docs/performance.md. GPU: the ceilings that the kernels were designed for, 4.3 TB/s and
 * 790 TFLOP/s on 132 multiprocessors, at the shares that are their targets; not yet measured. */
static struct rates rates_of(actscope_device device, const struct plan_layer *l, actscope_correlation_method method) {
  const actscope_options *o = &l->options;
  if (device == ACTSCOPE_DEVICE_CUDA) {
    const double products = o->precision == ACTSCOPE_PRECISION_FP32 ? 3 : 1;
    return (struct rates){3.8e12, 2.4e12, 2.7e14 / products, 2.7e14 / products, 1.35e14 / products, 2e9, 5e-6};
  }
  static const double fma[] = {1.1e10, 2.9e10, 5.2e10, 5.2e10}; /* baseline, AVX2, AVX-512, and with VNNI */
  static const double in_integers[] = {1.6, 1.5, 1.3, 1.9};     /* times as many products of 16-bit integers */
  const double t = o->threads, memory = t < 4 ? t : 4;  /* more threads than that do not read faster */
  const struct cpu_pairs_request q = {.method = method, .functionals = o->pair_functionals, .precision = o->precision,
                                      .top_most = (uint64_t)o->top_pairs};
  const int integers = o->precision == ACTSCOPE_PRECISION_FP16 || actscope_cpu_largest_serves(&q, l->dtype, l->samples, l->features);
  const double all = fma[actscope_cpu_isa()] * t;
  return (struct rates){9e9 * memory, 3.5e9 * memory, all, integers ? all * in_integers[actscope_cpu_isa()] : all, all / 2, 2e9, 2e-5};
}

static double pairs_seconds(const struct rates *r, const struct plan_layer *l, double pairs) {
  return (double)l->samples * pairs / (l->dtype == ACTSCOPE_FLOAT64 ? r->pairs64 : r->pairs);
}

static double all_pairs(const struct plan_layer *l) {
  return l->features < 2 ? 0 : 0.5 * (double)l->features * ((double)l->features - 1);
}

static double layer_seconds(const struct rates *r, const struct plan_layer *l) {
  const actscope_options *o = &l->options;
  const double bytes = (double)l->elements * (double)actscope_dtype_size(l->dtype), n = (double)l->samples,
               d = (double)l->features, side = n < d ? n : d;
  double seconds = r->start;
  if (o->statistics & (ACTSCOPE_QUANTILES | ACTSCOPE_DISTINCT)) seconds += bytes / r->counted;
  else if (o->statistics & ACTSCOPE_PROFILE) seconds += bytes / r->bytes;
  if (o->statistics & (ACTSCOPE_HEALTH | ACTSCOPE_CORRELATION | ACTSCOPE_RANK | ACTSCOPE_CKA)) seconds += bytes / r->bytes;
  if ((o->statistics & ACTSCOPE_CORRELATION) && l->correlation != ACTSCOPE_CORRELATION_GRAM) {
    double pairs = all_pairs(l);
    if (l->correlation == ACTSCOPE_CORRELATION_SAMPLED && (double)o->pairs < pairs) pairs = (double)o->pairs;
    seconds += pairs_seconds(r, l, pairs);
  }
  if ((o->statistics & ACTSCOPE_RANK) || l->correlation == ACTSCOPE_CORRELATION_GRAM)
    seconds += 0.5 * side * n * d / r->fma;
  if ((o->statistics & ACTSCOPE_CORRELATION) && (o->pair_functionals & ACTSCOPE_PAIRS_SPLIT_HALF))
    seconds += 0.5 * side * n * d / r->fma;
  if ((o->statistics & ACTSCOPE_CORRELATION) && (o->pair_functionals & ACTSCOPE_PAIRS_SHIFT))
    seconds += 0.5 * n * (d < 1024 ? d : 1024) * (side < 1024 ? side : 1024) / r->fma;
  if (actscope_plan_wants_cka(l)) seconds += 0.5 * n * n * d / r->fma;
  if (o->statistics & ACTSCOPE_RANK) seconds += 4.0 / 3 * side * side * side / r->eigen;
  return seconds;
}

void actscope_plan_choose(actscope_device device, struct plan_layer *l) {
  const actscope_options *o = &l->options;
  struct rates r = rates_of(device, l, ACTSCOPE_CORRELATION_EXACT);
  const int narrow = dtype_is_narrow(l->dtype);
  l->distinct = narrow || o->distinct == ACTSCOPE_DISTINCT_EXACT ||
                        (o->distinct == ACTSCOPE_DISTINCT_AUTO && l->elements <= 65536 && o->window == 1)
                    ? ACTSCOPE_DISTINCT_EXACT
                    : ACTSCOPE_DISTINCT_SKETCH;
  l->correlation = o->correlation;
  l->reason = "as asked for";
  if (l->correlation == ACTSCOPE_CORRELATION_AUTO) {
    const double cost = (double)l->samples * (double)l->features * (double)l->features;
    l->correlation = ACTSCOPE_CORRELATION_EXACT;
    l->reason = "every pair is affordable";
    if (cost > exact_cost_max) {
      l->correlation = ACTSCOPE_CORRELATION_SAMPLED;
      l->reason = "N*D^2 is above 1e13";
    } else if (o->time_budget > 0 && pairs_seconds(&r, l, all_pairs(l)) > o->time_budget) {
      l->correlation = ACTSCOPE_CORRELATION_SAMPLED;
      l->reason = "every pair would take longer than the time budget";
    }
    if (l->correlation == ACTSCOPE_CORRELATION_SAMPLED && (o->statistics & ACTSCOPE_CORRELATION))
      l->warnings |= ACTSCOPE_WARN_SAMPLED;
  }
  r = rates_of(device, l, l->correlation);
  l->seconds = l->elements ? layer_seconds(&r, l) : 0;
}

/* ---- In words ----------------------------------------------------------------------------------------------------------- */

actscope_status actscope_plan_choice(const actscope_plan *p, size_t layer, actscope_choice *c) {
  if (!p || !c) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", p ? "choice" : "plan");
  if (layer >= p->count)
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "layer %zu of a plan of %zu", layer, p->count);
  const struct plan_layer *l = &p->layers[layer];
  const actscope_options *o = &l->options;
  static const char *const methods[] = {"auto", "exact", "sampled", "gram"};
  uint64_t kept = 0;
  for (size_t i = 0; i < p->count; ++i) kept += p->layers[i].kept_bytes;
  const uint64_t room = p->workspace_bytes > kept ? p->workspace_bytes - kept : 0;
  memset(c, 0, sizeof *c);
  c->statistics = o->statistics;
  c->distinct = l->distinct;
  c->correlation = l->correlation;
  if ((o->statistics & ACTSCOPE_CORRELATION) && l->correlation != ACTSCOPE_CORRELATION_GRAM) {
    c->pairs = pairs_total(l->features);
    if (l->correlation == ACTSCOPE_CORRELATION_SAMPLED && o->pairs < c->pairs) c->pairs = o->pairs;
  }
  c->kept_bytes = l->kept_bytes;
  c->best_bytes = l->need.best;
  c->least_bytes = l->need.least;
  c->workspace_bytes = l->need.best < room ? l->need.best : room;
  c->seconds = l->seconds;
  char *at = c->reason;
  size_t left = sizeof c->reason;
#define SAY(...)                                             \
  do {                                                       \
    int n_ = snprintf(at, left, __VA_ARGS__);                \
    if (n_ > 0 && (size_t)n_ < left) at += n_, left -= (size_t)n_; \
  } while (0)
  if (l->elements == 0) SAY("no elements");
  else if (o->statistics & ACTSCOPE_CORRELATION) SAY("%s: %s", methods[l->correlation], l->reason);
  else SAY("no correlations asked for");
  if (l->elements && c->workspace_bytes < l->need.best)
    SAY("; memory is short: strips or further reads in %.0f %% of the best", 100.0 * (double)c->workspace_bytes / (double)l->need.best);
  if (l->small) SAY("; small: beside others, one thread");
#undef SAY
  return ACTSCOPE_OK;
}
