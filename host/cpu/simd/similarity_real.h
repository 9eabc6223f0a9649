/* similarity_real.h - the kernels of similarity.c for one type; included twice.
 *
 * REAL: the type; NAME(x): x_single or x_wide; NAME(load): LANES values as two vectors of doubles. */

static void NAME(squares_along)(const void *data, int64_t ld, uint64_t rows, uint64_t n, double *out) {
  const REAL *x = data;
  uint64_t full = n / LANES * LANES;
  for (uint64_t r = 0; r < rows; ++r, x += ld) {
    vd a = {0}, b = {0}, v[2];
    for (uint64_t i = 0; i < full; i += LANES) {
      NAME(load)(x + i, v);
      a += v[0] * v[0];
      b += v[1] * v[1];
    }
    double sum = vd_sum(a + b);
    for (uint64_t i = full; i < n; ++i) sum += (double)x[i] * (double)x[i];
    out[r] += sum;
  }
}

static void NAME(squares_across)(const void *data, int64_t ld, uint64_t rows, uint64_t n, double *out) {
  const REAL *x = data;
  uint64_t full = n / LANES * LANES;
  for (uint64_t r = 0; r < rows; ++r, x += ld) {
    vd v[2];
    for (uint64_t i = 0; i < full; i += LANES) {
      NAME(load)(x + i, v);
      vd_store(out + i, vd_load(out + i) + v[0] * v[0]);
      vd_store(out + i + LANES / 2, vd_load(out + i + LANES / 2) + v[1] * v[1]);
    }
    for (uint64_t i = full; i < n; ++i) out[i] += (double)x[i] * (double)x[i];
  }
}

static void NAME(weighted_along)(const void *data, int64_t ld, uint64_t rows, uint64_t n, const double *weight,
                                 double *out) {
  const REAL *x = data;
  uint64_t full = n / LANES * LANES;
  for (uint64_t r = 0; r < rows; ++r, x += ld) {
    vd a = {0}, b = {0}, v[2];
    for (uint64_t i = 0; i < full; i += LANES) {
      vd w0 = vd_load(weight + i), w1 = vd_load(weight + i + LANES / 2);
      NAME(load)(x + i, v);
      a += w0 * counted(v[0], w0);
      b += w1 * counted(v[1], w1);
    }
    double sum = vd_sum(a + b);
    for (uint64_t i = full; i < n; ++i)
      if (weight[i] != 0) sum += weight[i] * (double)x[i];
    out[r] += sum;
  }
}

/* Adds `count` <= 4 rows at once: out is read and written once for all of them. */
LANE_FN void NAME(weighted_rows)(const REAL *const *x, const double *w, int count, uint64_t n, double *out) {
  uint64_t full = n / LANES * LANES;
  for (uint64_t i = 0; i < full; i += LANES) {
    vd a = vd_load(out + i), b = vd_load(out + i + LANES / 2), v[2];
#pragma GCC unroll 4
    for (int g = 0; g < count; ++g) {
      NAME(load)(x[g] + i, v);
      a += v[0] * w[g];
      b += v[1] * w[g];
    }
    vd_store(out + i, a);
    vd_store(out + i + LANES / 2, b);
  }
  for (uint64_t i = full; i < n; ++i)
    for (int g = 0; g < count; ++g) out[i] += w[g] * (double)x[g][i];
}

static void NAME(weighted_across)(const void *data, int64_t ld, uint64_t rows, uint64_t n, const double *weight,
                                  double *out) {
  const REAL *x = data, *row[4];
  double w[4];
  int held = 0;
  for (uint64_t r = 0; r < rows; ++r, x += ld) {
    if (weight[r] == 0) continue;
    row[held] = x;
    w[held++] = weight[r];
    if (held < 4) continue;
    NAME(weighted_rows)(row, w, 4, n, out);
    held = 0;
  }
  if (held > 0) NAME(weighted_rows)(row, w, held, n, out);
}
