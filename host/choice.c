/* choice.c - which method measures a layer, by a model of what each costs, and why, in words.
 *
 * The model is arithmetic over bytes and multiply-adds at the rates below; docs/architecture.md has it in full. It is the
 * same on every machine with the same device kind, instruction set and thread count, so that a plan is reproducible; it
 * orders layers and methods, and is no measurement. */
#include <math.h>
#include <stdio.h>

#include "core/gram.h"
#include "core/pairs.h"
#include "cpu/dispatch.h"
#include "cpu/largest.h"
#include "error.h"
#include "plan.h"

/* AUTO samples beyond this N*D^2 whatever the device: 5e12 multiply-adds. */
static const double exact_cost_max = 1e13;

enum {
  PAIRS_DEFAULT = 1 << 24, /* of SAMPLED, where the caller names no number .. */
  PAIRS_LEAST = 1 << 16,   /* .. and as few as a time budget makes of them: with 128 samples mean |r| of independent features to 4e-4 (95 %) */
  SAMPLES_LEAST = 24       /* a pair costs as much as the products of so many samples: its functionals */
};

/* What a second does. */
struct rates {
  double bytes, values;   /* read, with the profile's sums; whichever takes longer */
  double counted_bytes, counted_values; /* the same with the value histogram, and the sketch with it or not */
  double sorted;          /* values of a wide type whose distinct ones are counted exactly */
  double bins;            /* of the value histogram made into quantiles */
  double gram;            /* multiply-adds of the Gram matrix, and of what is made like it */
  double pairs;           /* and of the pair products, at the precision asked for */
  double gathered;        /* values of features that are taken in a random order, as SAMPLED does */
  double eigen;           /* operations of the eigenvalues, one thread */
  double start;           /* seconds a layer, whatever its size */
};

/* CPU: a thread of the machines in docs/performance.md. GPU: the ceilings that the kernels were designed for, 4.3 TB/s and
 * 790 TFLOP/s on 132 multiprocessors, at the shares that are their targets, not yet measured; what has none is left out. */
static struct rates rates_of(actscope_device device, const struct plan_layer *l, actscope_correlation_method method) {
  const actscope_options *o = &l->options;
  const double halved = l->dtype == ACTSCOPE_FLOAT64 ? 2 : 1; /* float64 products */
  if (device == ACTSCOPE_DEVICE_CUDA) {
    const double products = 2.7e14 / (o->precision == ACTSCOPE_PRECISION_FP32 ? 3 : 1), none = HUGE_VAL;
    return (struct rates){.bytes = 3.8e12, .values = none, .counted_bytes = 2.4e12, .counted_values = none, .sorted = none,
                          .bins = none, .gram = products, .pairs = products / halved, .gathered = none, .eigen = 2e9, .start = 5e-6};
  }
  static const double fma[] = {1.1e10, 2.9e10, 5.2e10, 5.2e10}; /* baseline, AVX2, AVX-512, and with VNNI */
  static const double in_integers[] = {1.6, 1.5, 1.3, 1.9};     /* times as many products of 16-bit integers */
  static const double gram[] = {1.3e10, 2.9e10, 2.7e10, 2.7e10};
  const int isa = actscope_cpu_isa();
  const double t = o->threads, memory = t < 4 ? t : 4;  /* more threads than that do not read faster */
  const struct cpu_pairs_request q = {.method = method, .functionals = o->pair_functionals, .precision = o->precision,
                                      .top_most = (uint64_t)o->top_pairs};
  const int integers = o->precision == ACTSCOPE_PRECISION_FP16 || actscope_cpu_largest_serves(&q, l->dtype, l->samples, l->features);
  const double products = fma[isa] * t * (integers && halved == 1 ? in_integers[isa] : 1);
  /* A random feature's value is in a cache line of its own, and where samples are long in a page of its own. */
  const int far = l->features * actscope_dtype_size(l->dtype) > 65536;
  return (struct rates){.bytes = 1.6e10 * memory, .values = 4.5e9 * memory, .counted_bytes = 6e9 * memory, .counted_values = 3.2e9 * memory,
                        .sorted = 1e8 * t, .bins = 1.6e9, .gram = gram[isa] * t, .pairs = products / halved,
                        .gathered = (far ? 1e8 : 2.2e8) * memory, .eigen = 6e9, .start = 2e-5};
}

static double longer_of(double a, double b) { return a > b ? a : b; }

/* Of the products of so many pairs, and of what a sample takes beside them. */
static double pairs_seconds(const struct rates *r, const struct plan_layer *l, double pairs) {
  return pairs * longer_of((double)l->samples, SAMPLES_LEAST) / r->pairs;
}
static double sample_seconds(const struct rates *r, const struct plan_layer *l, double pairs) {
  return (double)l->elements / r->gathered + pairs_seconds(r, l, pairs);
}

static double all_pairs(const struct plan_layer *l) {
  return l->features < 2 ? 0 : 0.5 * (double)l->features * ((double)l->features - 1);
}

static double correlation_seconds(const struct rates *r, const struct plan_layer *l) {
  const double all = all_pairs(l);
  if (l->correlation == ACTSCOPE_CORRELATION_GRAM) return 0;
  if (l->correlation == ACTSCOPE_CORRELATION_SAMPLED) return sample_seconds(r, l, (double)l->pairs < all ? (double)l->pairs : all);
  return pairs_seconds(r, l, all);
}

static double layer_seconds(const struct rates *r, const struct plan_layer *l) {
  const actscope_options *o = &l->options;
  const double values = (double)l->elements, bytes = values * (double)actscope_dtype_size(l->dtype), n = (double)l->samples,
               d = (double)l->features, side = n < d ? n : d, read = longer_of(bytes / r->bytes, values / r->values);
  const int narrow = dtype_is_narrow(l->dtype), distinct = (o->statistics & ACTSCOPE_DISTINCT) != 0;
  double seconds = r->start;
  if ((o->statistics & ACTSCOPE_QUANTILES) || (distinct && narrow)) {
    seconds += longer_of(bytes / r->counted_bytes, values / r->counted_values) + (double)dtype_bins(l->dtype) / r->bins;
  } else {
    if (o->statistics & ACTSCOPE_PROFILE) seconds += read;
    if (distinct && l->distinct == ACTSCOPE_DISTINCT_SKETCH) seconds += read;
  }
  if (distinct && !narrow && l->distinct == ACTSCOPE_DISTINCT_EXACT) seconds += values / r->sorted;
  if (o->statistics & ACTSCOPE_SIMILARITY) seconds += 2 * read;
  if (o->statistics & (ACTSCOPE_HEALTH | ACTSCOPE_CORRELATION | ACTSCOPE_RANK | ACTSCOPE_CKA)) seconds += read;
  if (o->statistics & ACTSCOPE_CORRELATION) seconds += correlation_seconds(r, l);
  if ((o->statistics & ACTSCOPE_RANK) || ((o->statistics & ACTSCOPE_CORRELATION) && l->correlation == ACTSCOPE_CORRELATION_GRAM))
    seconds += 0.5 * side * n * d / r->gram;
  if ((o->statistics & ACTSCOPE_CORRELATION) && (o->pair_functionals & ACTSCOPE_PAIRS_SPLIT_HALF))
    seconds += 0.5 * side * n * d / r->gram;
  if ((o->statistics & ACTSCOPE_CORRELATION) && (o->pair_functionals & ACTSCOPE_PAIRS_SHIFT))
    seconds += 0.5 * n * (d < 1024 ? d : 1024) * (side < 1024 ? side : 1024) / r->gram;
  if (actscope_plan_wants_cka(l)) seconds += 0.5 * n * n * d / r->gram;
  if (o->statistics & ACTSCOPE_RANK) seconds += 4.0 / 3 * side * side * side / r->eigen;
  return seconds;
}

/* Pairs that a sample may look at in `seconds`, of those that are affordable at all. */
static uint64_t pairs_within(const struct rates *r, const struct plan_layer *l, double seconds) {
  const double left = seconds - sample_seconds(r, l, 0), pairs = left / pairs_seconds(r, l, 1);
  return pairs < PAIRS_LEAST ? PAIRS_LEAST : pairs > PAIRS_DEFAULT ? PAIRS_DEFAULT : (uint64_t)pairs;
}

/* AUTO: every pair, unless that costs too much and a sample less. */
static void correlation_choose(actscope_device device, struct plan_layer *l) {
  const actscope_options *o = &l->options;
  const double n = (double)l->samples, d = (double)l->features;
  struct rates r = rates_of(device, l, ACTSCOPE_CORRELATION_EXACT);
  const double exact = pairs_seconds(&r, l, all_pairs(l));
  const int costly = n * d * d > exact_cost_max, slow = o->time_budget > 0 && exact > o->time_budget;
  l->correlation = ACTSCOPE_CORRELATION_EXACT;
  l->reason = "every pair is affordable";
  if (!costly && !slow) return;
  r = rates_of(device, l, ACTSCOPE_CORRELATION_SAMPLED);
  if (o->time_budget > 0 && o->pairs == 0) l->pairs = pairs_within(&r, l, o->time_budget);
  const double sample = sample_seconds(&r, l, (double)l->pairs);
  if ((double)l->pairs >= all_pairs(l) || (!costly && sample >= exact)) {
    l->reason = costly ? "a sample would be every pair" : "a sample would take no less time than every pair";
  } else {
    l->correlation = ACTSCOPE_CORRELATION_SAMPLED;
    l->reason = costly ? "N*D^2 is above 1e13" : "every pair would take longer than the time budget";
  }
  if (!(o->statistics & ACTSCOPE_CORRELATION)) return;
  if (l->correlation == ACTSCOPE_CORRELATION_SAMPLED) l->warnings |= ACTSCOPE_WARN_SAMPLED;
  if (o->time_budget > 0 && (l->correlation == ACTSCOPE_CORRELATION_SAMPLED ? sample : exact) > o->time_budget)
    l->warnings |= ACTSCOPE_WARN_TIME_BUDGET;
}

void actscope_plan_choose(actscope_device device, struct plan_layer *l) {
  const actscope_options *o = &l->options;
  l->distinct = dtype_is_narrow(l->dtype) || o->distinct == ACTSCOPE_DISTINCT_EXACT ||
                        (o->distinct == ACTSCOPE_DISTINCT_AUTO && l->elements <= 65536 && o->window == 1)
                    ? ACTSCOPE_DISTINCT_EXACT
                    : ACTSCOPE_DISTINCT_SKETCH;
  l->correlation = o->correlation;
  l->reason = "as asked for";
  l->pairs = o->pairs ? o->pairs : PAIRS_DEFAULT;
  if (l->correlation == ACTSCOPE_CORRELATION_AUTO) correlation_choose(device, l);
  const struct rates r = rates_of(device, l, l->correlation);
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
    if (l->correlation == ACTSCOPE_CORRELATION_SAMPLED && l->pairs < c->pairs) c->pairs = l->pairs;
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
  if (l->warnings & ACTSCOPE_WARN_TIME_BUDGET) SAY("; beyond the time budget");
  if (l->elements && c->workspace_bytes < l->need.best)
    SAY("; memory is short: strips or further reads in %.0f %% of the best", 100.0 * (double)c->workspace_bytes / (double)l->need.best);
  if (l->small) SAY("; small: beside others, one thread");
#undef SAY
  return ACTSCOPE_OK;
}
