/* cka.c - debiased linear CKA from the formula of HSIC_1, with the matrices and their traces written out. */
#include <math.h>
#include <stdlib.h>

#include "reference/reference.h"

/* K = X X^T of the centred valid features, its diagonal set to 0; NULL without a valid feature. */
static long double *products(const struct ref_matrix *m) {
  uint64_t n = m->samples, *list = malloc((m->features + 1) * sizeof *list), valid = ref_valid_features(m, list);
  long double *k = valid ? calloc(n * n + 1, sizeof *k) : NULL, *x = malloc((n + 1) * sizeof *x);
  if (list == NULL || x == NULL) abort();
  for (uint64_t v = 0; v < valid; ++v) {
    long double mean = 0;
    for (uint64_t i = 0; i < n; ++i) mean += m->x[i * m->features + list[v]];
    mean /= n;
    for (uint64_t i = 0; i < n; ++i) x[i] = m->x[i * m->features + list[v]] - mean;
    for (uint64_t i = 0; i < n; ++i)
      for (uint64_t j = 0; j < n; ++j)
        if (i != j) k[i * n + j] += x[i] * x[j];
  }
  free(list);
  free(x);
  return k;
}

static long double hsic(const long double *k, const long double *l, uint64_t samples) {
  long double n = samples, trace = 0, all_k = 0, all_l = 0, between = 0;
  for (uint64_t i = 0; i < samples; ++i) {
    long double row_k = 0, row_l = 0;
    for (uint64_t j = 0; j < samples; ++j) {
      trace += k[i * samples + j] * l[j * samples + i];
      row_k += k[j * samples + i]; /* (1'K)_i, and (L 1)_i */
      row_l += l[i * samples + j];
    }
    all_k += row_k, all_l += row_l;
    between += row_k * row_l;
  }
  return (trace + all_k * all_l / ((n - 1) * (n - 2)) - 2 / (n - 2) * between) / (n * (n - 3));
}

double ref_cka(const struct ref_matrix *a, const struct ref_matrix *b) {
  double cka = NAN;
  if (a->samples != b->samples || a->samples < 4) return cka;
  long double *k = products(a), *l = products(b);
  if (k && l) {
    long double own = hsic(k, k, a->samples), other = hsic(l, l, a->samples);
    if (own > 0 && other > 0) cka = (double)(hsic(k, l, a->samples) / (sqrtl(own) * sqrtl(other)));
  }
  free(k);
  free(l);
  return cka;
}
