/* coverage.c - does the 95 % interval of sampled pairs hold the mean |r| of all pairs 95 times in a hundred, and how far do
 * samples vary, against as many independent uniform pairs? On four kinds of networks, by repetition with other seeds.
 *
 * Prints a table of Markdown; ends with 1 where the coverage is outside 93 .. 99.5 %, or the design effect above 1.1. The
 * design effect is the variance of the sampled means over v / m (1 - m / M): v is the variance of one pair, M all pairs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actscope.h"
#include "reference/data.h"

enum { SAMPLES = 64, FEATURES = 600, CLUSTER = 20 };
static const char *const populations[] = {"independent", "one factor", "contiguous clusters", "10 % hubs"};

/* The values of a population, and all |r| of it by their definition: row after row of the triangle. */
static void fill(int population, float *x, double *r) {
  struct random_state random = {1000 + (uint64_t)population};
  double factor[SAMPLES], cluster[SAMPLES] = {0}, *z = malloc(SAMPLES * FEATURES * sizeof *z);
  if (!z) abort();
  for (int s = 0; s < SAMPLES; ++s) factor[s] = random_normal(&random);
  for (int f = 0; f < FEATURES; ++f) {
    double loading = 1.5 * random_uniform(&random), mean = 0, square = 0;
    for (int s = 0; s < SAMPLES && f % CLUSTER == 0; ++s) cluster[s] = random_normal(&random);
    for (int s = 0; s < SAMPLES; ++s) {
      double noise = random_normal(&random), v = noise;
      if (population == 1) v = loading * factor[s] + noise;
      if (population == 2) v = cluster[s] + 0.7 * noise;
      if (population == 3) v = (f % 10 == 0 ? 2 : 0.3) * factor[s] + noise;
      x[s * FEATURES + f] = (float)v;
      mean += x[s * FEATURES + f] / SAMPLES;
    }
    for (int s = 0; s < SAMPLES; ++s) square += pow(x[s * FEATURES + f] - mean, 2);
    for (int s = 0; s < SAMPLES; ++s) z[f * SAMPLES + s] = (x[s * FEATURES + f] - mean) / sqrt(square);
  }
  for (int i = 0, k = 0; i < FEATURES; ++i)
    for (int j = i + 1; j < FEATURES; ++j, ++k) {
      double sum = 0;
      for (int s = 0; s < SAMPLES; ++s) sum += z[i * SAMPLES + s] * z[j * SAMPLES + s];
      r[k] = fabs(sum);
    }
  free(z);
}

int main(int argc, char **argv) {
  static const uint64_t sizes[] = {FEATURES, 4 * FEATURES + FEATURES / 2, 60 * FEATURES};
  const int repetitions = argc > 1 ? atoi(argv[1]) : 2000, all = FEATURES * (FEATURES - 1) / 2;
  float *x = malloc(SAMPLES * FEATURES * sizeof *x);
  double *r = malloc((size_t)all * sizeof *r), *means = malloc((size_t)(repetitions > 0 ? repetitions : 1) * sizeof *means);
  int bad = 0;
  if (!x || !r || !means || repetitions < 2) {
    fprintf(stderr, "usage: coverage [REPETITIONS]\n");
    return 2;
  }
  printf("| %d samples, %d features | pairs | mean \\|r\\| | covered | half width | design effect |\n|---|---|---|---|---|---|\n",
         SAMPLES, FEATURES);
  for (int p = 0; p < 4; ++p) {
    fill(p, x, r);
    double truth = 0, variance = 0;
    for (int k = 0; k < all; ++k) truth += r[k] / all;
    for (int k = 0; k < all; ++k) variance += (r[k] - truth) * (r[k] - truth) / (all - 1);
    for (int size = 0; size < 3; ++size) {
      const int64_t shape[2] = {SAMPLES, FEATURES};
      const actscope_tensor t = {x, ACTSCOPE_FLOAT32, 2, shape, NULL};
      const double m = (double)sizes[size];
      int inside = 0;
      double mean = 0, spread = 0, half = 0;
      for (int i = 0; i < repetitions; ++i) {
        actscope_options o;
        actscope_layer_report report;
        actscope_options_init(&o);
        o.device = ACTSCOPE_DEVICE_CPU, o.threads = 1;
        o.statistics = ACTSCOPE_CORRELATION, o.pair_functionals = 0;
        o.correlation = ACTSCOPE_CORRELATION_SAMPLED, o.pairs = sizes[size], o.seed = 1 + (uint64_t)i;
        if (actscope_analyze(&t, &o, &report)) {
          fprintf(stderr, "coverage: %s\n", actscope_last_error());
          return 2;
        }
        const actscope_correlation *c = &report.correlation;
        inside += c->mean_abs_ci95[0] <= truth && truth <= c->mean_abs_ci95[1];
        half += (c->mean_abs_ci95[1] - c->mean_abs_ci95[0]) / 2 / repetitions;
        means[i] = c->mean_abs, mean += c->mean_abs / repetitions;
      }
      for (int i = 0; i < repetitions; ++i) spread += (means[i] - mean) * (means[i] - mean) / (repetitions - 1);
      const double covered = (double)inside / repetitions, effect = spread / (variance / m * (1 - m / all));
      const int wrong = !(covered >= 0.93 && covered <= 0.995 && effect <= 1.1);
      bad += wrong;
      printf("| %s | %llu | %.4f | %.1f %% | %.5f | %.2f |%s\n", populations[p], (unsigned long long)sizes[size], truth,
             100 * covered, half, effect, wrong ? " <- outside" : "");
      fflush(stdout);
    }
  }
  free(x);
  free(r);
  free(means);
  if (bad) fprintf(stderr, "coverage: %d of 12 are outside\n", bad);
  return bad > 0;
}
