/* spread.c - how much of the spread of |r| is the features' own: a small square of pairs, one after the other. */
#include "core/spread.h"

#include "cpu/cpu.h"
#include "cpu/zscores.h"

enum { SIDE = SPREAD_SIDE, CHUNK = 64 }; /* samples at once */

double actscope_cpu_spread(const struct view *v, const struct column *columns, const uint32_t *list, uint64_t valid,
                           uint64_t pairs, const struct random_permutation *order) {
  const uint64_t side = spread_side(valid, pairs);
  float z[CHUNK][2 * SIDE];
  double r[SIDE][SIDE], mean[2 * SIDE], scale[2 * SIDE];
  int64_t at[2 * SIDE];
  if (side < 2) return 0;
  memset(z, 0, sizeof z);
  for (uint64_t q = 0; q < 2 * side; ++q) { /* rows, then columns from SIDE on */
    const uint32_t f = list[random_permute(order, q)];
    const uint64_t p = q < side ? q : q - side + SIDE;
    at[p] = view_offset(&v->feature, f), mean[p] = columns[f].mean, scale[p] = column_scale(&columns[f]);
  }
  memset(r, 0, sizeof r);
  for (uint64_t k0 = 0; k0 < v->samples; k0 += CHUNK) {
    const uint64_t values = v->samples - k0 < CHUNK ? v->samples - k0 : CHUNK;
    for (uint64_t k = 0; k < values; ++k) {
      const int64_t sample = view_offset(&v->sample, k0 + k);
      for (uint64_t p = 0; p < SIDE + side; p = p + 1 == side ? SIDE : p + 1)
        z[k][p] = (float)((dtype_load(v->dtype, v->data, sample + at[p]) - mean[p]) * scale[p]);
    }
    for (uint64_t i = 0; i < side; ++i) {
      float sum[SIDE] = {0};
      for (uint64_t k = 0; k < values; ++k)
        for (int j = 0; j < SIDE; ++j) sum[j] += z[k][i] * z[k][SIDE + j];
      for (uint64_t j = 0; j < side; ++j) r[i][j] += (double)sum[j];
    }
  }
  double row[SIDE] = {0}, column[SIDE] = {0}, middle = 0, rows = 0, across = 0, all = 0, n = (double)side;
  for (uint64_t i = 0; i < side; ++i)
    for (uint64_t j = 0; j < side; ++j) r[i][j] = fabs(r[i][j]), row[i] += r[i][j] / n, column[j] += r[i][j] / n;
  for (uint64_t i = 0; i < side; ++i) middle += row[i] / n;
  for (uint64_t i = 0; i < side; ++i) {
    rows += (row[i] - middle) * (row[i] - middle), across += (column[i] - middle) * (column[i] - middle);
    for (uint64_t j = 0; j < side; ++j) all += (r[i][j] - middle) * (r[i][j] - middle);
  }
  return spread_share(rows, across, all, side);
}
