/* wide.c - a layer of 128 samples and 1,048,576 features in little memory: 5.5e11 pairs, whose matrix of r would be 4 TiB.
 * Planned within 768 MiB and in the least memory that will do, measured by samples of the pairs, and held against what is so of all of them.
 *
 * The features are 64 times the same 16,384, shuffled, each turned and scaled at random by a power of two, so that |r| of all
 * pairs follows exactly from |r| of the pairs of 16,384, which is computed in float64 by its definition: with C copies of B,
 *   sum |r| = C^2 (sum over pairs of the B) + B C (C - 1) / 2.
 *
 * Prints a table of Markdown; ends with 1 where
 *   a plan holds more than its budget, or the process grew by more than that and SLACK while it ran;
 *   the budgets give other numbers, the plan does not choose to sample, or warns of strips where there is memory;
 *   fewer than 17 of 20 samples' intervals hold the mean |r| (at 95 % that happens once in 400 times);
 *   the mean r^2 of the samples is off by 4 of their standard errors, or that of the Gram matrix by 1e-6 of itself. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actscope.h"
#include "reference/data.h"

enum { SAMPLES = 128, BASE = 16384, COPIES = 64, FEATURES = COPIES * BASE, STEPS = 20, BLOCK = 64, SLACK = 8 << 20 /* stacks, and what the C library keeps */ };

struct truth { double mean_abs, mean_square; };

static void stop_at(actscope_status status) {
  if (status == ACTSCOPE_OK) return;
  fprintf(stderr, "wide: %s\n", actscope_last_error());
  exit(2);
}
static void *allocate(size_t bytes) {
  void *p = malloc(bytes);
  if (!p) {
    fprintf(stderr, "wide: no memory for %zu bytes\n", bytes);
    exit(2);
  }
  return p;
}

/* One factor that the features follow more or less, and noise: base[s * BASE + f]. */
static void fill_base(float *base) {
  struct random_state random = {20};
  double factor[SAMPLES], *loading = allocate(BASE * sizeof *loading);
  for (int s = 0; s < SAMPLES; ++s) factor[s] = random_normal(&random);
  for (int f = 0; f < BASE; ++f) loading[f] = 1.5 * random_uniform(&random);
  for (int s = 0; s < SAMPLES; ++s)
    for (int f = 0; f < BASE; ++f) base[s * BASE + f] = (float)(loading[f] * factor[s] + random_normal(&random));
  free(loading);
}

/* All pairs of the base, and from them those of its copies. */
static struct truth truth_of(const float *base) {
  double *z = allocate(sizeof(double) * SAMPLES * BASE), abs = 0, square = 0;
  for (int f = 0; f < BASE; ++f) {
    double mean = 0, m2 = 0;
    for (int s = 0; s < SAMPLES; ++s) mean += base[s * BASE + f] / (double)SAMPLES;
    for (int s = 0; s < SAMPLES; ++s) m2 += (base[s * BASE + f] - mean) * (base[s * BASE + f] - mean);
    for (int s = 0; s < SAMPLES; ++s) z[s * BASE + f] = (base[s * BASE + f] - mean) / sqrt(m2);
  }
#pragma omp parallel for schedule(dynamic) reduction(+ : abs, square)
  for (int first = 0; first < BASE; first += BLOCK)
    for (int i = 0; i < first + BLOCK; ++i) {
      double r[BLOCK] = {0};
      for (int s = 0; s < SAMPLES; ++s) {
        const double zi = z[s * BASE + i], *zj = z + s * BASE + first;
#pragma omp simd
        for (int j = 0; j < BLOCK; ++j) r[j] += zi * zj[j];
      }
      for (int j = 0; j < BLOCK; ++j)
        if (first + j > i) abs += fabs(r[j]), square += r[j] * r[j];
    }
  free(z);
  const double c = COPIES, d = FEATURES, same = BASE * c * (c - 1) / 2, all = d * (d - 1) / 2;
  return (struct truth){(c * c * abs + same) / all, (c * c * square + same) / all};
}

/* Feature p of the layer is one of the base, turned and scaled, which changes no bit of what is left of it. */
static void fill_copies(float *x, const float *base) {
  struct random_state random = {21};
  uint32_t *of = allocate(FEATURES * sizeof *of);
  float *scale = allocate(FEATURES * sizeof *scale);
  for (uint64_t p = 0; p < FEATURES; ++p) {
    const uint64_t q = random_below(&random, p + 1); /* Fisher and Yates, from the inside out */
    of[p] = of[q], of[q] = (uint32_t)(p % BASE);
    scale[p] = ldexpf(random_below(&random, 2) ? 1 : -1, (int)random_below(&random, 9) - 4);
  }
#pragma omp parallel for
  for (int s = 0; s < SAMPLES; ++s)
    for (uint64_t p = 0; p < FEATURES; ++p) x[(uint64_t)s * FEATURES + p] = scale[p] * base[(uint64_t)s * BASE + of[p]];
  free(of);
  free(scale);
}

static uint64_t resident(int peak) {
  actscope_memory m;
  stop_at(actscope_memory_usage(0, &m));
  return peak ? m.resident_peak_bytes : m.resident_bytes;
}

int main(void) {
  float *base = allocate(sizeof(float) * SAMPLES * BASE);
  fill_base(base);
  const double start = omp_get_wtime();
  const struct truth truth = truth_of(base);
  const double took = omp_get_wtime() - start;
  float *x = allocate(sizeof(float) * SAMPLES * FEATURES);
  fill_copies(x, base);
  free(base);

  const int64_t shape[2] = {SAMPLES, FEATURES};
  const actscope_layer layer = {.name = "wide", .dtype = ACTSCOPE_FLOAT32, .ndim = 2, .shape = shape};
  const actscope_tensor tensor = {x, ACTSCOPE_FLOAT32, 2, shape, NULL};
  const double mib = 1048576;
  int bad = 0;
#define MUST(condition, ...) ((condition) ? (void)0 : (void)(++bad, fprintf(stderr, "wide: " __VA_ARGS__), fputc('\n', stderr)))
  printf("| [%d, %d], an input of %.0f MiB | budget | held | mean \\|r\\| | interval | mean r² | seconds |\n"
         "|---|---|---|---|---|---|---|\n", SAMPLES, FEATURES, sizeof(float) * SAMPLES * FEATURES / mib);
  printf("| every pair, float64, by definition | | | %.6f | | %.6f | %.1f |\n", truth.mean_abs, truth.mean_square, took);

  actscope_options o;
  actscope_options_init(&o);
  o.device = ACTSCOPE_DEVICE_CPU;
  actscope_layer_report first = {0};
  uint64_t least;
  stop_at(actscope_minimum_budget(&layer, 1, &o, &least));
  for (int k = 0; k < 2; ++k) { /* everything that there is to measure, methods chosen by the plan; the lower peak first */
    o.memory_budget = k ? 768ull << 20 : least;
    actscope_plan *p;
    actscope_layer_report r;
    const uint64_t before = resident(0), peak = resident(1);
    stop_at(actscope_plan_create(&p, &layer, 1, &o));
    stop_at(actscope_plan_enqueue(p, &tensor, 1, NULL));
    stop_at(actscope_plan_wait(p));
    stop_at(actscope_plan_report(p, 0, &r));
    actscope_memory m;
    stop_at(actscope_memory_usage(0, &m));
    const actscope_correlation *c = &r.correlation;
    printf("| everything; %llu pairs sampled | %.1f MiB | %.1f MiB | %.6f | %.6f .. %.6f | %.6f | %.1f |\n",
           (unsigned long long)c->pairs,
           (double)o.memory_budget / mib, (double)m.held_bytes / mib, c->mean_abs, c->mean_abs_ci95[0], c->mean_abs_ci95[1],
           c->mean_square, r.seconds);
    MUST(m.held_bytes <= o.memory_budget, "%llu bytes held of %llu", (unsigned long long)m.held_bytes, (unsigned long long)o.memory_budget);
    MUST(m.resident_peak_bytes <= before + o.memory_budget + SLACK || m.resident_peak_bytes == peak,
         "%llu bytes more resident than before", (unsigned long long)(m.resident_peak_bytes - before));
    MUST(c->method == ACTSCOPE_CORRELATION_SAMPLED, "method %d", (int)c->method);
    MUST(c->mean_abs_ci95[0] <= truth.mean_abs && truth.mean_abs <= c->mean_abs_ci95[1], "the interval does not hold the mean |r|");
    MUST(((r.warnings & ACTSCOPE_WARN_STRIPS) == 0) == k, "warnings %x", r.warnings);
    if (k == 0) first = r;
    MUST(memcmp(&first.correlation, c, sizeof *c) == 0, "other correlations within another budget");
    actscope_plan_destroy(p);
  }

  o.statistics = ACTSCOPE_CORRELATION, o.correlation = ACTSCOPE_CORRELATION_SAMPLED;
  actscope_plan *p;
  int inside = 0;
  double mean = 0, square = 0, squares[STEPS], spread = 0, seconds = 0;
  stop_at(actscope_plan_create(&p, &layer, 1, &o));
  for (int k = 0; k < STEPS; ++k) { /* other pairs at every enqueue */
    actscope_layer_report r;
    stop_at(actscope_plan_enqueue(p, &tensor, 1, NULL));
    stop_at(actscope_plan_report(p, 0, &r));
    const actscope_correlation *c = &r.correlation;
    inside += c->mean_abs_ci95[0] <= truth.mean_abs && truth.mean_abs <= c->mean_abs_ci95[1];
    mean += c->mean_abs / STEPS, square += c->mean_square / STEPS, squares[k] = c->mean_square, seconds += r.seconds / STEPS;
  }
  actscope_plan_destroy(p);
  for (int k = 0; k < STEPS; ++k) spread += (squares[k] - square) * (squares[k] - square) / (STEPS - 1);
  printf("| correlations; %d samples of as many, mean | 768 MiB | | %.6f | %d of %d hold it | %.6f | %.1f |\n", STEPS, mean,
         inside, STEPS, square, seconds);
  MUST(inside >= 17, "%d of %d intervals hold the mean |r|", inside, STEPS);
  MUST(fabs(square - truth.mean_square) <= 4 * sqrt(spread / STEPS), "mean r^2 of the samples is off by %g, standard error %g",
       square - truth.mean_square, sqrt(spread / STEPS));

  actscope_layer_report r;
  o.correlation = ACTSCOPE_CORRELATION_GRAM;
  stop_at(actscope_analyze(&tensor, &o, &r));
  printf("| `gram`, every pair | 768 MiB | | | | %.6f | %.1f |\n", r.correlation.mean_square, r.seconds);
  MUST(fabs(r.correlation.mean_square - truth.mean_square) <= 1e-6 * truth.mean_square, "mean r^2 of the Gram matrix is off by %g",
       r.correlation.mean_square - truth.mean_square);
  printf("\nResident at most: %.0f MiB, input included.\n", (double)resident(1) / mib);
  free(x);
  if (bad) fprintf(stderr, "wide: %d wrong\n", bad);
  return bad > 0;
}
