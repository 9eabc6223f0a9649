/* similarity.c - the kernels for float and for double tiles. */
#include "cpu/simd/similarity.h"

#include "cpu/simd/lanes.h"

/* x where the weight is not 0, else 0. */
LANE_FN vd counted(vd x, vd weight) {
  typedef int64_t vl __attribute__((vector_size(4 * LANES)));
  return (vd)((vl)x & (vl)(weight != (vd){0}));
}

#define NAME(x) x##_single
#define REAL float
LANE_FN void load_single(const float *p, vd x[2]) {
  vf v = vf_load(p);
  x[0] = vd_low(v);
  x[1] = vd_high(v);
}
#include "cpu/simd/similarity_real.h"
#undef NAME
#undef REAL

#define NAME(x) x##_wide
#define REAL double
LANE_FN void load_wide(const double *p, vd x[2]) {
  x[0] = vd_load(p);
  x[1] = vd_load(p + LANES / 2);
}
#include "cpu/simd/similarity_real.h"

const struct similarity_table SIMD_TABLE(similarity) = {
    {squares_along_single, squares_across_single, weighted_along_single, weighted_across_single},
    {squares_along_wide, squares_across_wide, weighted_along_wide, weighted_across_wide}};
