/* kernels.h - the host's entry points to the CUDA kernels.
 *
 * Rules for every function: pointers are device memory unless they are named host or are tables; work is queued on
 * `stream`, nothing waits and nothing is allocated, so everything may be captured in a graph. A return value is a
 * cudaError_t as int, 0 for success. States and counters must be zero before the first launch (one cudaMemsetAsync over
 * all of them); counters are left at zero, states are not.
 *
 * A stage takes many layers in one launch: the caller fills a table, which travels by value. A table is full when
 * ..._add returns 0; the caller then launches it and goes on with an empty one. */
#ifndef ACTSCOPE_KERNELS_H
#define ACTSCOPE_KERNELS_H

#include "core/columns.h"
#include "core/gram.h"
#include "core/histogram.h"
#include "core/pairs.h"
#include "core/random.h"
#include "core/view.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- profile.cu: one read of all layers of one dtype ----------------------------------------------------------------
 * Counters of the value histogram are 32 bits wide; a layer of 2^32 elements or more has a second word a bin, behind
 * all the first ones, that counts their overflows. */
ACTSCOPE_FN int cuda_histogram_wide(uint64_t elements) { return elements >> 32 != 0; }
ACTSCOPE_FN uint64_t cuda_histogram_bytes(actscope_dtype dtype, uint64_t elements) {
  return (uint64_t)dtype_bins(dtype) * 4 * (cuda_histogram_wide(elements) ? 2 : 1);
}

#define CUDA_PROFILE_LAYERS 64
#define CUDA_PROFILE_AXES 128
struct cuda_profile_layer {
  const void *data;      /* lowest address */
  struct moments *moments; /* result; NULL for 8- and 16-bit types, whose histogram says everything */
  uint32_t *histogram;   /* NULL where neither quantiles nor a narrow type ask for it */
  uint32_t *sketch;      /* 2^sketch_bits words; NULL where not asked for */
  uint64_t elements, vectors, first_unit; /* 16-byte vectors; units of the layers before */
  uint32_t head;         /* elements before the first aligned vector */
  int16_t axis, dims;    /* strided layers: their axes in the table; dims 0: compact */
};
struct cuda_profile_table {
  actscope_dtype dtype;
  uint32_t statistics;   /* ACTSCOPE_MOMENTS | ENTROPY | QUANTILES | DISTINCT */
  int32_t sketch_bits, layers, axes;
  uint64_t units;        /* of all layers: 512 vectors each */
  struct cuda_profile_layer layer[CUDA_PROFILE_LAYERS];
  struct view_axis axis[CUDA_PROFILE_AXES];
};
/* An empty table. statistics: DISTINCT means the sketch; exact counts of wide types are distinct.cu's. */
void actscope_cuda_profile_begin(struct cuda_profile_table *table, actscope_dtype dtype, uint32_t statistics,
                                 int sketch_bits);
/* Adds a layer of the table's dtype, whose data is aligned to its elements' size; 0 when the table is full. */
int actscope_cuda_profile_add(struct cuda_profile_table *table, const struct view *v, struct moments *moments,
                              uint32_t *histogram, uint32_t *sketch);
/* Scratch of any table with these settings on the current device, in bytes. */
int actscope_cuda_profile_scratch(actscope_dtype dtype, uint32_t statistics, int sketch_bits, uint64_t *bytes);
/* counters: CUDA_PROFILE_LAYERS words. */
int actscope_cuda_profile(const struct cuda_profile_table *table, void *scratch, unsigned *counters,
                          struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif
#endif
