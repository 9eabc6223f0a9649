/* product_pack.h - from rows of a tensor to panels of z-scores, for one kind of panels; included three times.
 *
 * The names of product_tile.h, and LOAD, MEANS, MEANS_LOAD, MEANS_ALL, STANDARDISE: means and scales of a vector's lanes,
 * (x - mean) scale in double; TRANSPOSE; KEEP(panel, k, z, dither, carry): value k of a panel's positions, after value k - 1;
 * KEEP_ONE(panel, k, p, z, dither, carry): that of position p alone. dither: DITHER(position, value) of the panel's first ones;
 * carry: what rounding leaves to the next value, a number of each of the panel's positions. */

/* One panel of WIDTH positions; x is that of its first, `values` from k on. A tile has a row for each value. */
LANE_FN void NAME(pack_across)(const REAL *x, int64_t ld, uint64_t k, uint64_t values, int along, const double *mean,
                               const double *scale, PANEL *out, uint32_t dither, float *carry) {
  (void)dither, (void)carry;
  MEANS m;
  if (along) m = MEANS_LOAD(mean, scale);
  for (uint64_t end = k + values; k < end; ++k) {
    __builtin_prefetch(x + (int64_t)(k + PACK_ROWS) * ld, 0, 2);
    if (!along) m = MEANS_ALL(mean[k], scale[k]);
    KEEP(out, k, STANDARDISE(LOAD(x + (int64_t)k * ld), m), dither, carry);
  }
}

/* The same where a tile has a row for each position: squares of WIDTH x WIDTH are turned. */
LANE_FN void NAME(pack_turned)(const REAL *x, int64_t ld, uint64_t values, int along, const double *mean,
                               const double *scale, PANEL *out, uint32_t dither, float *carry) {
  (void)dither, (void)carry;
  for (uint64_t k = 0; k + WIDTH <= values; k += WIDTH) {
    VEC t[WIDTH];
#pragma GCC unroll 16
    for (int l = 0; l < WIDTH; ++l) {
      __builtin_prefetch(x + (int64_t)(l + WIDTH) * ld + (int64_t)k, 0, 2);
      MEANS m = along ? MEANS_ALL(mean[l], scale[l]) : MEANS_LOAD(mean + k, scale + k);
      t[l] = STANDARDISE(LOAD(x + (int64_t)l * ld + (int64_t)k), m);
    }
    TRANSPOSE(t);
#pragma GCC unroll 16
    for (int l = 0; l < WIDTH; ++l) KEEP(out, k + (uint64_t)l, t[l], dither, carry);
  }
}

/* One by one: values from k on of a panel that may have fewer than WIDTH positions. */
static void NAME(pack_rest)(const REAL *x, int64_t ld, uint64_t positions, uint64_t k, uint64_t values, int by_position,
                            int along, const double *mean, const double *scale, PANEL *out, uint32_t dither, float *carry) {
  (void)dither, (void)carry;
  for (; k < values; ++k)
    for (uint64_t l = 0; l < WIDTH; ++l) {
      double z = 0;
      if (l < positions) {
        double v = (double)(by_position ? x[(int64_t)l * ld + (int64_t)k] : x[(int64_t)k * ld + (int64_t)l]);
        z = (v - mean[along ? l : k]) * scale[along ? l : k];
      }
      KEEP_ONE(out, k, l, z, dither, carry);
    }
}

static void NAME(pack)(const void *data, int64_t ld, uint64_t positions, uint64_t values, int by_position, int along,
                       const double *mean, const double *scale, void *panels, int64_t stride, uint64_t position, uint64_t value) {
  const REAL *x = data;
  PANEL *out = panels;
  float carry[PACK_POSITIONS] = {0};
  uint64_t full = positions / WIDTH, padded = (positions + COLUMNS - 1) / COLUMNS * COLUMNS;
  int64_t step = by_position ? ld * WIDTH : WIDTH; /* from panel to panel */
  if (!by_position) {
    for (uint64_t k = 0; k < values; k += PACK_ROWS) { /* rows of the tensor, a few at a time, over all panels */
      uint64_t rows = values - k < PACK_ROWS ? values - k : PACK_ROWS;
      for (uint64_t p = 0; p < full; ++p) {
        const REAL *from = x + (int64_t)p * step;
        PANEL *to = out + (int64_t)p * stride;
        uint32_t dither = DITHER(position + p * WIDTH, value);
        if (along) NAME(pack_across)(from, ld, k, rows, 1, mean + p * WIDTH, scale + p * WIDTH, to, dither, carry + p * WIDTH);
        else NAME(pack_across)(from, ld, k, rows, 0, mean, scale, to, dither, carry + p * WIDTH);
      }
    }
  } else {
    for (uint64_t p = 0; p < full; ++p) {
      const REAL *from = x + (int64_t)p * step;
      PANEL *to = out + (int64_t)p * stride;
      uint32_t dither = DITHER(position + p * WIDTH, value);
      if (along) NAME(pack_turned)(from, ld, values, 1, mean + p * WIDTH, scale + p * WIDTH, to, dither, carry + p * WIDTH);
      else NAME(pack_turned)(from, ld, values, 0, mean, scale, to, dither, carry + p * WIDTH);
      if (values % WIDTH)
        NAME(pack_rest)(from, ld, WIDTH, values / WIDTH * WIDTH, values, 1, along, along ? mean + p * WIDTH : mean,
                        along ? scale + p * WIDTH : scale, to, dither, carry + p * WIDTH);
    }
  }
  for (uint64_t p = full; p < padded / WIDTH; ++p) {
    uint64_t left = p * WIDTH < positions ? positions - p * WIDTH : 0, at = along && left > 0 ? p * WIDTH : 0;
    NAME(pack_rest)(left > 0 ? x + (int64_t)p * step : x, ld, left, 0, values, by_position, along, mean + at, scale + at,
                    out + (int64_t)p * stride, DITHER(position + p * WIDTH, value), carry + p * WIDTH);
  }
}
