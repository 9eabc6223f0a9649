/* report_documents.h - made-up documents for the tests of the report writers: plausible networks, and everything that a
 * writer could stumble over. The numbers are fixed; nothing here is measured. */
#ifndef ACTSCOPE_TESTS_REPORT_DOCUMENTS_H
#define ACTSCOPE_TESTS_REPORT_DOCUMENTS_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/report.h"

/* A name with everything: quotes, markup, a newline, an escape sequence, a wide script, a combining mark, a broken
 * byte, a backslash, a comma, and a mark that would turn the line around. */
#define STRANGE_NAME                                                                                           \
  "a\"b'c<script>alert(1)</script>&amp;\n\033[31m,\\ \xe5\xb1\x82\xe5\x90\x8d e\xcc\x81 \xff\xc3 \xe2\x80\xae" \
  "end"

static double sample_unit(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) / 9007199254740992.0;
}

static void *sample_memory(size_t bytes) {
  void *memory = calloc(1, bytes ? bytes : 1);
  if (!memory) abort();
  return memory;
}

static char *sample_text(const char *format, size_t k) {
  char *text = sample_memory(128);
  snprintf(text, 128, format, k);
  return text;
}

/* Scores as a simple blend, sorted by insertion: the order matters to the writers, the formula does not. */
static void sample_ranking(report_document *document) {
  document->ranking = sample_memory(document->count * sizeof *document->ranking);
  for (size_t i = 0; i < document->count; i++) {
    const actscope_layer_report *report = &document->layers[i].report;
    actscope_bottleneck entry = {i, NAN, 0};
    if (report->statistics & ACTSCOPE_CORRELATION && report->features) {
      double dead = (double)report->health.dead / (double)report->features;
      entry.score = fmin(1, fmax(report->correlation.adjusted_rms, dead));
      if (report->correlation.adjusted_rms > 0.25) entry.reasons |= ACTSCOPE_REASON_CORRELATED;
      if (report->rank.effective_rank < 0.3 * (double)(report->samples - 1)) entry.reasons |= ACTSCOPE_REASON_LOW_RANK;
      if (dead > 0.1) entry.reasons |= ACTSCOPE_REASON_DEAD;
      if (report->profile.nan) entry.reasons |= ACTSCOPE_REASON_NONFINITE;
    }
    size_t at = i;
    for (; at > 0 && !(document->ranking[at - 1].score >= entry.score) && !isnan(entry.score); at--)
      document->ranking[at] = document->ranking[at - 1];
    document->ranking[at] = entry;
  }
}

/* A layer of a convolutional network or a transformer block as one would see it. */
static void sample_layer(report_layer *layer, size_t k, size_t count) {
  uint64_t state = 88172645463325252u + 977 * k;
  for (int i = 0; i < 4; i++) sample_unit(&state);
  int conv = k % 2 == 0;
  double depth = count > 1 ? (double)k / (double)(count - 1) : 0, noise = sample_unit(&state);
  layer->name = sample_text(conv ? "encoder.layers.%zu.conv" : "encoder.layers.%zu.mlp.down_proj", k);
  layer->source = "activations.safetensors";
  layer->ndim = conv ? 4 : 2;
  const int64_t conv_shape[] = {128, 512, 4, 4}, mlp_shape[] = {128, 1024};
  memcpy(layer->shape, conv ? conv_shape : mlp_shape, conv ? sizeof conv_shape : sizeof mlp_shape);
  actscope_layer_report *r = &layer->report;
  r->statistics = ACTSCOPE_ALL;
  r->samples = 128;
  r->features = conv ? 8192 : 1024;
  r->elements = r->samples * r->features;
  r->seconds = 0.011 + 0.004 * noise;
  actscope_profile *p = &r->profile;
  p->count = r->elements;
  p->nan = k % 17 == 9 ? 12 : 0;
  p->finite = p->count - p->nan;
  p->zero = (uint64_t)((conv ? 0.5 : 0.001) * noise * (double)p->count);
  p->negative = p->count / 2 - p->zero / 2;
  p->min = -4.5 - noise, p->max = 4.9 + 3 * noise, p->mean = 0.05 * (noise - 0.5), p->std = 0.4 + 0.8 * noise;
  p->variance = p->std * p->std, p->skewness = noise - 0.5, p->kurtosis = 3 * noise;
  p->abs_mean = 0.8 * p->std, p->abs_max = p->max, p->l2_norm = p->std * sqrt((double)p->count), p->entropy = 0.93;
  for (int i = 0; i < ACTSCOPE_QUANTILE_COUNT; i++) p->quantiles[i] = p->mean + p->std * (-2.33 + 4.66 * i / 6.0);
  const int middle = ACTSCOPE_VALUE_BUCKETS / 2;
  for (int i = 1; i <= middle && actscope_value_edge(i) < p->max; i++) { /* as much of a normal distribution as is not 0 */
    double low = i > 1 ? erf(actscope_value_edge(i) / p->std / sqrt(2)) : 0, high = erf(actscope_value_edge(i + 1) / p->std / sqrt(2));
    p->buckets[middle + i] = p->buckets[middle - i] = (uint64_t)(0.5 * (high - low) * (double)(p->finite - p->zero));
  }
  p->buckets[middle] = p->zero;
  uint64_t held = 0;
  for (int i = 0; i < ACTSCOPE_VALUE_BUCKETS; i++) held += p->buckets[i];
  p->buckets[middle + 80] += p->finite - held; /* from 0.75 on: what rounding left */
  actscope_distinct *d = &r->distinct;
  d->method = conv ? ACTSCOPE_DISTINCT_SKETCH : ACTSCOPE_DISTINCT_EXACT;
  d->count = (uint64_t)((1 - 0.6 * depth * noise) * (double)r->elements);
  d->relative_standard_error = conv ? 0.0096 : 0;
  d->lower = d->count - (conv ? d->count / 53 : 0), d->upper = d->count + (conv ? d->count / 53 : 0);
  d->redundancy = 1 - (double)d->count / (double)r->elements;
  r->health.dead = (uint64_t)((k % 5 == 2 ? 0.3 : 0.01) * noise * depth * (double)r->features);
  r->health.constant = r->health.dead + (k % 7 == 3);
  r->health.nonfinite = p->nan ? 2 : 0;
  r->health.active_fraction = 1 - (double)r->health.dead / (double)r->features;
  actscope_correlation *c = &r->correlation;
  c->method = k % 6 == 4 ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT;
  c->valid_features = r->features - r->health.constant - r->health.nonfinite;
  c->pairs_total = c->valid_features * (c->valid_features - 1) / 2;
  c->pairs = c->method == ACTSCOPE_CORRELATION_SAMPLED ? 100000 : c->pairs_total;
  c->noise_floor = 0.07093;
  double strength = 0.02 + 0.6 * depth * noise, scale = 0.09 + strength, total = 0;
  c->adjusted_rms = strength;
  c->mean_square = 1.0 / 127 + strength * strength, c->mean_abs = fmax(0.0709, 0.8 * sqrt(c->mean_square));
  c->split_half = strength, c->split_half_rms = 0.9 * strength, c->noise_floor_shift = 0.0712;
  double margin = c->method == ACTSCOPE_CORRELATION_SAMPLED ? 0.004 : 0;
  c->mean_abs_ci95[0] = c->mean_abs - margin, c->mean_abs_ci95[1] = c->mean_abs + margin;
  c->max_abs = fmin(1, 0.4 + strength);
  double mass[ACTSCOPE_PAIR_BINS];
  for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++) total += mass[i] = exp(-0.5 * pow((i + 0.5) / 64 / scale, 2));
  for (int i = 0; i < ACTSCOPE_PAIR_BINS; i++) c->histogram[i] = (uint64_t)(mass[i] / total * (double)c->pairs);
  for (int i = 0; i < ACTSCOPE_THRESHOLD_COUNT; i++)
    c->above[i] = exp(-0.5 * pow(actscope_pair_thresholds[i] / scale, 2));
  r->rank.participation_ratio = 90 * (1 - strength), r->rank.effective_rank = 120 * (1 - strength * 1.2);
  r->similarity.mean_cosine = 0.3 + 0.6 * strength, r->similarity.zero_samples = k % 4 == 3;
  if (p->nan) r->warnings |= ACTSCOPE_WARN_NONFINITE;
  if (c->method == ACTSCOPE_CORRELATION_SAMPLED) r->warnings |= ACTSCOPE_WARN_SAMPLED;
}

static report_document *sample_document(size_t count) {
  report_document *document = sample_memory(sizeof *document);
  document->backend = "cpu";
  document->device = "AMD EPYC 9654, 2 threads, avx512";
  document->options = (actscope_options){.size = sizeof(actscope_options),
                                         .memory_budget = 256u << 20,
                                         .statistics = ACTSCOPE_ALL,
                                         .pair_functionals = ACTSCOPE_PAIRS_DEFAULT,
                                         .sketch_bits = 12,
                                         .large_tensor = 10000000};
  document->budget_bytes = 256u << 20;
  document->workspace_bytes = 16711680;
  document->seconds = 0.0123 * (double)count;
  document->count = count;
  document->layers = sample_memory(count * sizeof *document->layers);
  for (size_t i = 0; i < count; i++) sample_layer(&document->layers[i], i, count);
  sample_ranking(document);
  return document;
}

/* Every number of a report that can be missing is missing: what an empty tensor leaves. */
static void sample_nothing(report_layer *layer) {
  actscope_layer_report *r = &layer->report;
  memset(r, 0, sizeof *r);
  r->statistics = ACTSCOPE_ALL;
  r->seconds = NAN;
  double *reals[] = {&r->profile.min,
                     &r->profile.max,
                     &r->profile.mean,
                     &r->profile.variance,
                     &r->profile.std,
                     &r->profile.skewness,
                     &r->profile.kurtosis,
                     &r->profile.abs_mean,
                     &r->profile.abs_max,
                     &r->profile.l2_norm,
                     &r->profile.entropy,
                     &r->distinct.relative_standard_error,
                     &r->distinct.redundancy,
                     &r->health.active_fraction,
                     &r->correlation.mean_abs,
                     &r->correlation.mean_abs_ci95[0],
                     &r->correlation.mean_abs_ci95[1],
                     &r->correlation.mean_square,
                     &r->correlation.max_abs,
                     &r->correlation.noise_floor,
                     &r->correlation.adjusted_rms,
                     &r->correlation.split_half,
                     &r->correlation.split_half_rms,
                     &r->correlation.noise_floor_shift,
                     &r->correlation.mean,
                     &r->rank.participation_ratio,
                     &r->rank.effective_rank,
                     &r->similarity.mean_cosine};
  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) *reals[i] = NAN;
  for (int i = 0; i < ACTSCOPE_QUANTILE_COUNT; i++) r->profile.quantiles[i] = NAN;
  for (int i = 0; i < ACTSCOPE_THRESHOLD_COUNT; i++) r->correlation.above[i] = NAN;
  r->distinct.method = ACTSCOPE_DISTINCT_EXACT;
  r->correlation.method = ACTSCOPE_CORRELATION_EXACT;
}

/* One of each trouble: strange name, nothing measured, counts beyond 2^53, extreme reals, gram, one section only,
 * failed layers, a scalar, a very long name, compat scores. */
__attribute__((unused)) static report_document *sample_troubles(void) {
  report_document *document = sample_document(9);
  report_layer *layers = document->layers;
  document->compat = 1;
  for (size_t i = 0; i < document->count; i++)
    layers[i].compat =
        (report_compat){3, {"capacity", "entropy", "odd \"name\", <b>"}, {i == 1 ? NAN : -226.5, 0.1 + (double)i, NAN}};

  layers[0].name = STRANGE_NAME;
  layers[0].source = "dir/\"quoted\", <file>\xfe.npz";
  sample_nothing(&layers[1]);
  layers[1].name = "";
  layers[1].ndim = 2, layers[1].shape[0] = 0, layers[1].shape[1] = 7;
  actscope_layer_report *huge = &layers[2].report;
  huge->elements = huge->profile.count = huge->profile.finite = 9007199254740993u;
  huge->correlation.pairs = 9007199254740995u, huge->correlation.pairs_total = UINT64_MAX;
  huge->correlation.histogram[63] = 18014398509481985u;
  huge->distinct.count = huge->distinct.upper = 9007199254740993u;
  huge->warnings |= ACTSCOPE_WARN_LARGE_TENSOR;
  huge->profile.max = 1.7976931348623157e308, huge->profile.min = -5e-324, huge->profile.l2_norm = INFINITY;
  huge->profile.variance = 0.1, huge->profile.mean = 1.0 / 3, huge->profile.kurtosis = -0.0;
  actscope_correlation *gram = &layers[3].report.correlation;
  gram->method = ACTSCOPE_CORRELATION_GRAM;
  gram->mean = gram->mean_abs = gram->mean_abs_ci95[0] = gram->mean_abs_ci95[1] = gram->max_abs = NAN;
  for (int i = 0; i < ACTSCOPE_THRESHOLD_COUNT; i++) gram->above[i] = NAN;
  layers[4].report.statistics = ACTSCOPE_ENTROPY;
  layers[5].error = "dtype int64 is not a floating-point type";
  layers[6].report.status = ACTSCOPE_BUDGET_TOO_SMALL;
  layers[7].ndim = 0, layers[7].name = NULL, layers[7].source = NULL;
  char *name = sample_memory(4096);
  for (int i = 0; i < 300; i++) strcat(name, i % 7 ? "block." : "\xe5\xb1\x82.");
  layers[8].name = name;
  free(document->ranking);
  sample_ranking(document);
  return document;
}

#endif
