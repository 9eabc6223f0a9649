// sides.cuh - which layer of a table a block belongs to, and where its elements lie: of kernels that look at features.
#pragma once
#include "gpu.cuh"
#include "kernels.h"

namespace {
// A layer's first block is layer.first_block.
__device__ __forceinline__ int layer_of(const cuda_layers &t, uint32_t block) {
  int l = 0;
  while (l + 1 < t.layers && t.layer[l + 1].first_block <= block) ++l;
  return l;
}

struct Sides {
  const cuda_layers &t;
  const cuda_layer &layer;
  __device__ __forceinline__ int64_t offset(int first, int dims, uint64_t i) const {
    if (dims == 1) return (int64_t)i * t.axis[first].stride;
    int64_t at = 0;
#pragma unroll 1
    for (int d = dims - 1; d >= 0; --d) {
      uint64_t extent = (uint64_t)t.axis[first + d].extent;
      at += (int64_t)(i % extent) * t.axis[first + d].stride;
      i /= extent;
    }
    return at;
  }
  __device__ __forceinline__ int64_t sample(uint64_t s) const { return offset(layer.sample_axis, layer.sample_dims, s); }
  __device__ __forceinline__ int64_t feature(uint64_t f) const { return offset(layer.feature_axis, layer.feature_dims, f); }
};
}  // namespace
