/* columns.c - feature moments by vectors, for float and for double tiles. */
#include "cpu/simd/columns.h"

#include "cpu/simd/lanes.h"

LANE_FN void add_single(double *p, vf v) {
  vd_store(p, vd_load(p) + vd_low(v));
  vd_store(p + LANES / 2, vd_load(p + LANES / 2) + vd_high(v));
}
LANE_FN void add_wide(double *p, vd v) { vd_store(p, vd_load(p) + v); }

#define NAME(x) x##_single
#define REAL float
#define VEC vf
#define WIDTH LANES
#define LOAD vf_load
#define STORE vf_store
#define ALL vf_all
#define MIN vf_min
#define MAX vf_max
#define LOWEST vf_low_of
#define HIGHEST vf_top
#define ADD_TO add_single
#define SMALL 1e-35 /* squares below 1e-38 lose digits; 256 of them come to 2e-7 of this */
#define LARGE 1e38
#include "cpu/simd/columns_real.h"

#define ROWS(x) x##_f32
#define SOURCE float
#define FROM vf_load
#include "cpu/simd/columns_rows.h"
#undef ROWS
#undef SOURCE
#undef FROM
#define ROWS(x) x##_bf16
#define SOURCE uint16_t
#define FROM vf_from_bf16
#include "cpu/simd/columns_rows.h"
#undef ROWS
#undef FROM
#if defined(LANES_F16)
#define ROWS(x) x##_f16
#define FROM vf_from_f16
#include "cpu/simd/columns_rows.h"
#undef ROWS
#undef FROM
#else
#define rows_f16 0
#endif
#undef SOURCE
#undef NAME
#undef REAL
#undef VEC
#undef WIDTH
#undef LOAD
#undef STORE
#undef ALL
#undef MIN
#undef MAX
#undef LOWEST
#undef HIGHEST
#undef ADD_TO
#undef SMALL
#undef LARGE

#define NAME(x) x##_wide
#define REAL double
#define VEC vd
#define WIDTH (LANES / 2)
#define LOAD vd_load
#define STORE vd_store
#define ALL vd_all
#define MIN vd_min
#define MAX vd_max
#define LOWEST vd_low_of
#define HIGHEST vd_top
#define ADD_TO add_wide
#define SMALL 1e-295
#define LARGE 1e307
#include "cpu/simd/columns_real.h"

#define ROWS(x) x##_f64
#define SOURCE double
#define FROM vd_load
#include "cpu/simd/columns_rows.h"

const struct columns_table SIMD_TABLE(columns) = {
    {init_single, {[ACTSCOPE_FLOAT32] = rows_f32, [ACTSCOPE_BFLOAT16] = rows_bf16, [ACTSCOPE_FLOAT16] = rows_f16},
     samples_single, merge_single, finish_single},
    {init_wide, {[ACTSCOPE_FLOAT64] = rows_f64}, samples_wide, merge_wide, finish_wide}};
