/* correlation.c - correlations by the textbook: means, deviations, one dot product a pair; and their eigenvalues. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/reference.h"

uint64_t ref_valid_features(const struct ref_matrix *m, uint64_t *list) {
  uint64_t count = 0;
  for (uint64_t f = 0; f < m->features; ++f) {
    int finite = 1, equal = 1;
    for (uint64_t s = 0; s < m->samples; ++s) {
      double x = m->x[s * m->features + f];
      if (!isfinite(x)) finite = 0;
      if (x != m->x[f]) equal = 0;
    }
    if (finite && !equal) list[count++] = f;
  }
  return count;
}

/* Deviations of the valid features divided by the root of their sum of squares: z[v * samples + s]. */
static double *standardise(const struct ref_matrix *m, const uint64_t *list, uint64_t valid) {
  uint64_t n = m->samples;
  double *z = malloc((valid * n + 1) * sizeof *z);
  if (z == NULL) abort();
  for (uint64_t v = 0; v < valid; ++v) {
    long double sum = 0, squares = 0;
    for (uint64_t s = 0; s < n; ++s) sum += m->x[s * m->features + list[v]];
    for (uint64_t s = 0; s < n; ++s) {
      long double d = m->x[s * m->features + list[v]] - sum / n;
      squares += d * d;
    }
    long double root = sqrtl(squares);
    for (uint64_t s = 0; s < n; ++s) z[v * n + s] = (double)((m->x[s * m->features + list[v]] - sum / n) / root);
  }
  return z;
}

static double dot(const double *a, const double *b, uint64_t n) {
  double even = 0, odd = 0; /* two sums: the processor adds them side by side */
  for (uint64_t s = 0; s + 1 < n; s += 2) {
    even += a[s] * b[s];
    odd += a[s + 1] * b[s + 1];
  }
  return even + odd + (n & 1 ? a[n - 1] * b[n - 1] : 0);
}

double ref_noise_floor(uint64_t samples) {
  if (samples < 2) return NAN;
  /* 1 for N = 2, 2/pi for N = 3; G(x + 1) = x G(x) gives f(N + 2) = f(N) (N - 1)/N */
  long double f = samples % 2 ? 2 / 3.141592653589793238462643383279503L : 1;
  for (uint64_t n = samples % 2 ? 3 : 2; n < samples; n += 2) f = f * (long double)(n - 1) / (long double)n;
  return (double)f;
}

/* What one r adds. */
struct tally {
  long double abs, square, plain;
  double max;
  uint64_t above[3][ACTSCOPE_THRESHOLD_COUNT], below[3][ACTSCOPE_PAIR_BINS + 1]; /* at the limit, slack before, after */
};

static void tally_add(struct tally *t, double r, double slack) {
  static const double threshold[ACTSCOPE_THRESHOLD_COUNT] = {0.5, 0.7, 0.9, 0.95, 0.99};
  t->plain += r;
  r = fabs(r);
  t->abs += r;
  t->square += (long double)r * r;
  if (r > t->max) t->max = r;
  for (int k = 0; k < ACTSCOPE_THRESHOLD_COUNT; ++k) {
    t->above[0][k] += r > threshold[k];
    t->above[1][k] += r > threshold[k] + slack;
    t->above[2][k] += r > threshold[k] - slack;
  }
  /* Counts by bin now, sums over the bins below at the end. */
  for (int side = 0; side < 3; ++side) {
    double at = side == 0 ? r : side == 1 ? r + slack : r - slack;
    int bin = 1 + (int)floor(at * ACTSCOPE_PAIR_BINS); /* at < k/64 from this k on */
    ++t->below[side][bin < 0 ? 0 : bin > ACTSCOPE_PAIR_BINS ? ACTSCOPE_PAIR_BINS : bin]; /* 1 is in the last bin */
  }
}

static void tally_merge(struct tally *a, const struct tally *b) {
  a->abs += b->abs;
  a->square += b->square;
  a->plain += b->plain;
  if (b->max > a->max) a->max = b->max;
  for (int side = 0; side < 3; ++side) {
    for (int k = 0; k < ACTSCOPE_THRESHOLD_COUNT; ++k) a->above[side][k] += b->above[side][k];
    for (int k = 0; k <= ACTSCOPE_PAIR_BINS; ++k) a->below[side][k] += b->below[side][k];
  }
}

static double r_of(const double *z, uint64_t n, uint64_t i, uint64_t j) {
  double r = dot(z + i * n, z + j * n, n);
  return r > 1 ? 1 : r < -1 ? -1 : r;
}

/* What the features have of the variance of |r|: expected mean squares of a square of pairs, 64 x 64 where there are as many,
 * between the first positions of the circle and those behind them. */
static double feature_share(const double *z, uint64_t n, const struct ref_pair *pairs, uint64_t m, uint64_t valid) {
  uint64_t position[128], side = (m < valid ? m + 1 : valid) / 2;
  long double h[64][64], mean = 0, between[2] = {0, 0}, within = 0;
  if (side > 64) side = 64;
  if (side < 2) return 0;
  for (uint64_t p = 0; p < 2 * side; ++p) position[p] = p < m ? pairs[p].i : pairs[p - 1].j;
  for (uint64_t i = 0; i < side; ++i)
    for (uint64_t j = 0; j < side; ++j) mean += h[i][j] = fabs(r_of(z, n, position[i], position[side + j]));
  mean /= side * side;
  long double row[64] = {0}, column[64] = {0};
  for (uint64_t i = 0; i < side; ++i)
    for (uint64_t j = 0; j < side; ++j) row[i] += h[i][j], column[j] += h[i][j];
  for (uint64_t i = 0; i < side; ++i) {
    row[i] = row[i] / side - mean, column[i] = column[i] / side - mean;
    between[0] += row[i] * row[i], between[1] += column[i] * column[i];
  }
  for (uint64_t i = 0; i < side; ++i)
    for (uint64_t j = 0; j < side; ++j) {
      long double residual = h[i][j] - mean - row[i] - column[j];
      within += residual * residual;
    }
  within /= (side - 1) * (side - 1); /* E = var e */
  long double both = 0;
  for (int k = 0; k < 2; ++k) both += between[k] / (side - 1) - within / side; /* E = var a of each */
  return both > 0 ? (double)(both / (both + within)) : 0;
}

/* The interval of a sample of m pairs out of `total`: 1.96 standard errors. How often each feature stands in the sample is
 * counted: what features have of the variance goes with the spread of those counts, the rest with m. */
static double half_width(const double *z, uint64_t n, const struct ref_pair *pairs, uint64_t m, uint64_t valid, double total,
                         long double mean, double share) {
  long double squares = 0, spread = 0;
  if ((double)m >= total) return 0;
  if (m < 2) return 1;
  uint64_t *times = calloc(valid, sizeof *times);
  if (times == NULL) abort();
  for (uint64_t k = 0; k < m; ++k) {
    long double d = fabs(r_of(z, n, pairs[k].i, pairs[k].j)) - mean;
    squares += d * d;
    ++times[pairs[k].i], ++times[pairs[k].j];
  }
  for (uint64_t i = 0; i < valid; ++i) {
    long double d = times[i] - 2 * (long double)m / valid;
    spread += d * d;
  }
  free(times);
  long double v = squares / (m - 1);
  return 1.959963984540054 *
         (double)sqrtl(v * (1 - share) / m * (1 - m / (long double)total) + v * share / 2 * spread / m / m);
}

void ref_correlate(const struct ref_matrix *m, double slack, const struct ref_pair *pairs, uint64_t count,
                   struct ref_correlation *out) {
  uint64_t n = m->samples, *list = malloc((m->features + 1) * sizeof *list), valid = ref_valid_features(m, list);
  double *z = standardise(m, list, valid);
  struct tally all;
  memset(&all, 0, sizeof all);
  memset(out, 0, sizeof *out);
  actscope_correlation *c = &out->value;
  c->valid_features = valid;
  c->pairs_total = valid * (valid - (valid > 0)) / 2;
  c->pairs = pairs ? count : c->pairs_total;
  c->method = pairs ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT;
  if (pairs) {
    for (uint64_t k = 0; k < count; ++k) tally_add(&all, r_of(z, n, pairs[k].i, pairs[k].j), slack);
  } else {
#pragma omp parallel for schedule(dynamic, 16) if (valid > 1000)
    for (uint64_t i = 0; i < valid; ++i) {
      struct tally row;
      memset(&row, 0, sizeof row);
      for (uint64_t j = i + 1; j < valid; ++j) tally_add(&row, r_of(z, n, i, j), slack);
#pragma omp critical
      tally_merge(&all, &row);
    }
  }
  for (int side = 0; side < 3; ++side)
    for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) all.below[side][k + 1] += all.below[side][k];
  memcpy(out->above_least, all.above[1], sizeof out->above_least);
  memcpy(out->above_most, all.above[2], sizeof out->above_most);
  memcpy(out->below_least, all.below[1], sizeof out->below_least);
  memcpy(out->below_most, all.below[2], sizeof out->below_most);
  out->square_sum = (double)all.square;
  c->mean_abs = c->mean_abs_ci95[0] = c->mean_abs_ci95[1] = c->mean_square = c->max_abs = c->adjusted_rms = c->mean = NAN;
  for (int k = 0; k < ACTSCOPE_THRESHOLD_COUNT; ++k) c->above[k] = NAN;
  c->noise_floor = ref_noise_floor(n);
  if (c->pairs > 0) {
    double k = (double)c->pairs, half = 0;
    c->mean_abs = (double)(all.abs / c->pairs);
    c->mean_square = (double)(all.square / c->pairs);
    c->max_abs = all.max;
    c->mean = (double)(all.plain / c->pairs);
    if (pairs && count < c->pairs_total) out->feature_share = feature_share(z, n, pairs, count, valid);
    if (pairs) half = half_width(z, n, pairs, count, valid, (double)c->pairs_total, all.abs / c->pairs, out->feature_share);
    c->mean_abs_ci95[0] = fmax(0, c->mean_abs - half);
    c->mean_abs_ci95[1] = fmin(1, c->mean_abs + half);
    for (int t = 0; t < ACTSCOPE_THRESHOLD_COUNT; ++t) c->above[t] = (double)all.above[0][t] / k;
    for (int b = 0; b < ACTSCOPE_PAIR_BINS; ++b) c->histogram[b] = all.below[0][b + 1] - all.below[0][b];
    if (n >= 3) {
      double excess = (c->mean_square - 1.0 / ((double)n - 1)) * ((double)n - 1) / ((double)n - 2);
      c->adjusted_rms = sqrt(fmax(0, excess));
    }
  }
  free(z);
  free(list);
}

double ref_r(const struct ref_matrix *m, uint64_t f, uint64_t g) {
  long double mean[2] = {0, 0}, xx = 0, yy = 0, xy = 0;
  for (uint64_t s = 0; s < m->samples; ++s) mean[0] += m->x[s * m->features + f], mean[1] += m->x[s * m->features + g];
  for (uint64_t s = 0; s < m->samples; ++s) {
    long double x = m->x[s * m->features + f] - mean[0] / m->samples, y = m->x[s * m->features + g] - mean[1] / m->samples;
    xx += x * x, yy += y * y, xy += x * y;
  }
  return (double)(xy / (sqrtl(xx) * sqrtl(yy)));
}

void ref_feature_correlations(const struct ref_matrix *m, const struct ref_pair *pairs, uint64_t count,
                              struct ref_feature *features) {
  uint64_t n = m->samples, *list = malloc((m->features + 1) * sizeof *list), valid = ref_valid_features(m, list);
  double *z = standardise(m, list, valid);
  for (uint64_t i = 0; i < valid; ++i)
    for (uint64_t j = i + 1; j < valid; ++j) {
      int looked = pairs == NULL;
      for (uint64_t k = 0; k < count && !looked; ++k)
        looked = (pairs[k].i == i && pairs[k].j == j) || (pairs[k].i == j && pairs[k].j == i);
      if (!looked) continue;
      double r = fabs(r_of(z, n, i, j));
      struct ref_feature *both[2] = {&features[list[i]], &features[list[j]]};
      for (int k = 0; k < 2; ++k) {
        both[k]->sum += r;
        ++both[k]->pairs;
        if (r > both[k]->max) both[k]->max = r;
      }
    }
  free(z);
  free(list);
}

void ref_rank(const struct ref_matrix *m, actscope_rank *out) {
  uint64_t n = m->samples, *list = malloc((m->features + 1) * sizeof *list), valid = ref_valid_features(m, list);
  double *z = standardise(m, list, valid);
  uint64_t size = valid <= n ? valid : n;
  double *a = calloc(size * size + 1, sizeof *a), *eigenvalues = malloc((size + 1) * sizeof *eigenvalues);
  if (a == NULL || eigenvalues == NULL) abort();
  out->participation_ratio = out->effective_rank = NAN;
  for (uint64_t i = 0; i < size; ++i)
    for (uint64_t j = 0; j < size; ++j) {
      if (valid <= n) a[i * size + j] = dot(z + i * n, z + j * n, n); /* R, the correlations */
      else /* K = Z Z^T, which has the same non-zero eigenvalues */
        for (uint64_t v = 0; v < valid; ++v) a[i * size + j] += z[v * n + i] * z[v * n + j];
    }
  ref_eigenvalues(a, size, eigenvalues);
  long double sum = 0, squares = 0, entropy = 0;
  for (uint64_t i = 0; i < size; ++i) sum += eigenvalues[i] > 0 ? eigenvalues[i] : 0;
  for (uint64_t i = 0; i < size; ++i) {
    long double p = eigenvalues[i] > 0 ? eigenvalues[i] / sum : 0;
    squares += p * p;
    if (p > 0) entropy -= p * logl(p);
  }
  if (valid > 0) {
    out->participation_ratio = (double)(1 / squares);
    out->effective_rank = (double)expl(entropy);
  }
  free(eigenvalues);
  free(a);
  free(z);
  free(list);
}

void ref_eigenvalues(double *a, uint64_t n, double *eigenvalues) {
  for (int sweep = 0; sweep < 60; ++sweep) {
    double off = 0, all = 0;
    for (uint64_t p = 0; p < n; ++p)
      for (uint64_t q = 0; q < n; ++q) {
        all += a[p * n + q] * a[p * n + q];
        if (p != q) off += a[p * n + q] * a[p * n + q];
      }
    if (off <= 1e-32 * all) break;
    for (uint64_t p = 0; p < n; ++p)
      for (uint64_t q = p + 1; q < n; ++q) {
        double apq = a[p * n + q];
        if (apq == 0) continue;
        double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
        double t = (theta >= 0 ? 1.0 : -1.0) / (fabs(theta) + sqrt(theta * theta + 1));
        double c = 1 / sqrt(t * t + 1), s = t * c;
        double app = a[p * n + p], aqq = a[q * n + q];
        for (uint64_t k = 0; k < n; ++k) { /* rows p and q, and their mirror images */
          double x = a[p * n + k], y = a[q * n + k];
          a[k * n + p] = a[p * n + k] = c * x - s * y;
          a[k * n + q] = a[q * n + k] = s * x + c * y;
        }
        a[p * n + p] = app - t * apq;
        a[q * n + q] = aqq + t * apq;
        a[p * n + q] = a[q * n + p] = 0;
      }
  }
  for (uint64_t i = 0; i < n; ++i) eigenvalues[i] = a[i * n + i];
}

void ref_similarity(const struct ref_matrix *m, actscope_similarity *out) {
  long double *norm = calloc(m->samples + 1, sizeof *norm), sum = 0;
  long double *unit = malloc((m->samples * m->features + 1) * sizeof *unit);
  long double *before = calloc(m->features + 1, sizeof *before);
  uint64_t pairs = 0;
  if (norm == NULL || unit == NULL || before == NULL) abort();
  memset(out, 0, sizeof *out);
  for (uint64_t i = 0; i < m->samples; ++i) {
    int finite = 1;
    for (uint64_t f = 0; f < m->features; ++f) {
      double x = m->x[i * m->features + f];
      if (isfinite(x)) norm[i] += (long double)x * x; else finite = 0;
    }
    norm[i] = sqrtl(norm[i]);
    /* float64 alone has norms whose squares a double does not hold: documented to have no direction */
    if (m->dtype == ACTSCOPE_FLOAT64 && norm[i] > 1.3e154L) finite = 0;
    if (!finite) ++out->nonfinite_samples;
    else if (norm[i] < 1e-145L) ++out->zero_samples;
    if (!finite || norm[i] < 1e-145L) norm[i] = 0;
    for (uint64_t f = 0; norm[i] != 0 && f < m->features; ++f) unit[i * m->features + f] = m->x[i * m->features + f] / norm[i];
  }
  /* each direction with the sum of those before it: all pairs once, by linearity */
  for (uint64_t i = 0, directions = 0; i < m->samples; ++i) {
    if (norm[i] == 0) continue;
    for (uint64_t f = 0; f < m->features; ++f) {
      sum += unit[i * m->features + f] * before[f];
      before[f] += unit[i * m->features + f];
    }
    pairs += directions++;
  }
  out->mean_cosine = pairs > 0 ? (double)(sum / pairs) : NAN;
  free(norm);
  free(unit);
  free(before);
}
