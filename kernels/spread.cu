// spread.cu - how much of the spread of |r| is the features' own (core/spread.h), of each sampled layer.
//
// Layout     Rows 0 .. 63 and 64 .. 127 of z make a square of 64 x 64 pairs, fewer where there are fewer features. 16 blocks a
//            layer, each with 4 rows of it: a thread one pair, along the samples. The last of them takes the sums. The rows lie
//            in the first strip of any plan.
// Cost       4096 pairs, where a sample has millions: nothing here is tuned.
#include "gpu.cuh"
#include "kernels.h"

namespace {
constexpr int kSide = SPREAD_SIDE, kThreads = 256, kRows = kThreads / kSide, kBlocks = kSide / kRows;
static_assert(2 * kSide <= CUDA_STRIP, "the square lies in the first strip");

__device__ __forceinline__ void unpack(const uint16_t *z, float (&x)[8]) {
  const uint4 q = *reinterpret_cast<const uint4 *>(z);
  const uint32_t w[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
  for (int k = 0; k < 4; ++k) x[2 * k] = f16_value((uint16_t)w[k]), x[2 * k + 1] = f16_value((uint16_t)(w[k] >> 16));
}

__global__ void __launch_bounds__(kThreads) spread_kernel(GRID_CONSTANT(cuda_layers) t, unsigned *done) {
  __shared__ double rows[kSide], columns[kSide], sums[kThreads / 32 + 1];
  const cuda_layer &layer = t.layer[blockIdx.y];
  const uint64_t valid = layer.features_out->valid;
  const uint32_t side = (uint32_t)spread_side(valid, layer.pairs_wanted), tid = threadIdx.x;
  if (side < 2 || layer.pairs_wanted == 0 || layer.pairs_wanted >= pairs_total(valid)) return;  // all blocks of the layer
  const uint32_t i = blockIdx.x * kRows + tid / kSide, j = tid % kSide;
  if (i < side && j < side) {
    const uint64_t a = (uint64_t)i * layer.pitch, b = (uint64_t)(side + j) * layer.pitch;
    double r = 0;
    for (uint32_t s = 0; s < layer.pitch; s += 8) {
      float x[8], y[8], sum = 0;
      unpack(layer.z_hi + a + s, x), unpack(layer.z_hi + b + s, y);
      if (layer.z_lo) {
        float low[8];
        unpack(layer.z_lo + a + s, low);
#pragma unroll
        for (int k = 0; k < 8; ++k) x[k] += low[k] * 4.8828125e-4f;
        unpack(layer.z_lo + b + s, low);
#pragma unroll
        for (int k = 0; k < 8; ++k) y[k] += low[k] * 4.8828125e-4f;
      }
#pragma unroll
      for (int k = 0; k < 8; ++k) sum = fmaf(x[k], y[k], sum);
      r += (double)sum;
    }
    layer.square[i * kSide + j] = fabsf((float)(r * layer.weight[i] * layer.weight[side + j]));
  }
  if (!last_block(done + blockIdx.y, kBlocks)) return;
  if (tid < 2 * kSide && tid % kSide < side) {
    double sum = 0;
    for (uint32_t k = 0; k < side; ++k) sum += (double)layer.square[tid < kSide ? tid * kSide + k : k * kSide + tid % kSide];
    (tid < kSide ? rows : columns)[tid % kSide] = sum / side;
  }
  __syncthreads();
  double middle = 0, all[1] = {0};
  for (uint32_t k = 0; k < side; ++k) middle += rows[k] / side;
  for (uint32_t k = tid; k < side * side; k += kThreads) {
    const double d = (double)layer.square[k / side * kSide + k % side] - middle;
    all[0] = fma(d, d, all[0]);
  }
  block_sum<kThreads>(all, sums);
  if (tid != 0) return;
  double of_rows = 0, of_columns = 0;
  for (uint32_t k = 0; k < side; ++k) {
    of_rows += (rows[k] - middle) * (rows[k] - middle);
    of_columns += (columns[k] - middle) * (columns[k] - middle);
  }
  layer.pairs->feature_share = spread_share(of_rows, of_columns, all[0], side);
}
}  // namespace

extern "C" int actscope_cuda_spread(const struct cuda_layers *layers, unsigned *counters, struct CUstream_st *stream) {
  if (layers->layers == 0) return (int)cudaSuccess;
  return (int)gpu_launch(spread_kernel, dim3(kBlocks, (unsigned)layers->layers), dim3(kThreads), 0, stream, *layers, counters);
}
