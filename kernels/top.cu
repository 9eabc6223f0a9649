// top.cu - the pairs with the largest |r|, exactly: a limit before the products are made once more, r in float64 after.
//
// Contents   the limit · r of a candidate · entry points
//
// Limit      Of the features' largest |r|, the one in place 2 k is a limit that k pairs reach: each feature has a pair with
//            its largest, and a pair is that of two features at most. Products from that limit on, less twice their error,
//            are candidates: the k pairs that are wanted are among them. Where there are fewer than 2 k features, all are.
//            The same kernel that summed them then makes the products again and leaves the candidates (correlation.cu),
//            as many as there is room for; more are counted, and the host refuses.
// Exact      A warp a candidate, in two passes over the tensor like the CPU's: means, then sums of squares and products. Lanes
//            have every 32nd sample and are added up in one order, so that r has the same bits on any grid.
// Choice     The host's, from the candidates in pinned memory: their order there is any, that of the pairs is total.
#include "core/top.h"
#include "gpu.cuh"
#include "kernels.h"
#include "sides.cuh"

namespace {
constexpr int kThreads = 256;

// ---- The limit -------------------------------------------------------------------------------------------------------
__global__ void __launch_bounds__(kThreads)
limit_kernel(GRID_CONSTANT(cuda_layers) t) {
  __shared__ unsigned digits[256];
  __shared__ unsigned prefix;
  __shared__ uint64_t rank;
  const cuda_layer &layer = t.layer[blockIdx.x];
  const uint64_t valid = layer.features_out->valid, wanted = 2 * (uint64_t)layer.top_most;
  const int tid = (int)threadIdx.x;
  if (tid == 0) prefix = 0, rank = wanted;
  unsigned mask = 0;
  for (int shift = 24; shift >= 0 && valid >= wanted; shift -= 8) {  // the bits of |r| order as it does
    digits[tid] = 0;
    __syncthreads();
    for (uint64_t f = (uint64_t)tid; f < valid; f += kThreads) {
      const unsigned bits = layer.feature_max[f];
      if ((bits & mask) == prefix) atomicAdd(&digits[bits >> shift & 255u], 1u);
    }
    __syncthreads();
    if (tid == 0) {
      int d = 255;
      uint64_t left = rank;
      while (d > 0 && digits[d] < left) left -= digits[d--];
      prefix |= (unsigned)d << shift, rank = left;
    }
    mask |= 255u << shift;
    __syncthreads();
  }
  if (tid > 0) return;
  const double error = cuda_r_error(layer.z_lo != nullptr, layer.samples), limit = layer.top_above;
  double low = valid >= wanted ? (double)core_f32(prefix) - 2 * error : -1;
  if (limit > 0 && limit - error > low) low = limit - error;
  struct cuda_top *top = layer.top;
  pairs_init(&top->spare);
  top->count = top->above = 0;
  top->low = (float)low;
  top->near_low = limit > 0 ? (float)(limit - error) : 2, top->near_high = limit > 0 ? (float)(limit + error) : 2;
  *const_cast<volatile uint64_t *>(&layer.top_out->sequence) = 0;
  __threadfence_system();
}

// ---- r of a candidate ------------------------------------------------------------------------------------------------
__device__ __forceinline__ double exact_r(const Sides &sides, uint64_t f, uint64_t g, int lane) {
  const cuda_layer &layer = sides.layer;
  const actscope_dtype type = (actscope_dtype)layer.dtype;
  const int64_t at[2] = {sides.feature(f), sides.feature(g)};
  const double n = (double)layer.samples;
  double mean[2] = {0, 0}, x1 = 0, y1 = 0, xx = 0, yy = 0, xy = 0;
  for (uint64_t s = (uint64_t)lane; s < layer.samples; s += 32) {
    const int64_t from = sides.sample(s);
    mean[0] += dtype_load(type, layer.data, from + at[0]), mean[1] += dtype_load(type, layer.data, from + at[1]);
  }
  mean[0] = warp_sum(mean[0]) / n, mean[1] = warp_sum(mean[1]) / n;
  for (uint64_t s = (uint64_t)lane; s < layer.samples; s += 32) {
    const int64_t from = sides.sample(s);
    const double x = dtype_load(type, layer.data, from + at[0]) - mean[0], y = dtype_load(type, layer.data, from + at[1]) - mean[1];
    x1 += x, y1 += y, xx += x * x, yy += y * y, xy += x * y;
  }
  return top_r(n, warp_sum(x1), warp_sum(y1), warp_sum(xx), warp_sum(yy), warp_sum(xy));
}

__global__ void __launch_bounds__(kThreads)
exact_kernel(GRID_CONSTANT(cuda_layers) t) {
  const cuda_layer &layer = t.layer[blockIdx.y];
  const Sides sides{t, layer};
  struct cuda_top *top = layer.top;
  const uint64_t room = cuda_top_room(layer.features), count = top->count < room ? top->count : room;
  const int lane = (int)(threadIdx.x % 32);
  for (uint64_t c = blockIdx.x * (kThreads / 32) + threadIdx.x / 32; c < count; c += (uint64_t)gridDim.x * (kThreads / 32)) {
    const struct cuda_candidate p = top->candidate[c];
    const uint32_t a = layer.list[p.i], b = layer.list[p.j], f = a < b ? a : b, g = a < b ? b : a;
    const double r = exact_r(sides, f, g, lane);
    if (lane > 0) continue;
    if (layer.top_above > 0 && p.product <= top->near_high && fabs(r) > layer.top_above) atomicAdd(&top->above, 1ull);
    layer.top_out->pair[c] = {f, g, r};
  }
}
}  // namespace

extern "C" int actscope_cuda_top_limit(const struct cuda_layers *layers, struct CUstream_st *stream) {
  if (layers->layers == 0) return (int)cudaSuccess;
  return (int)gpu_launch(limit_kernel, dim3((unsigned)layers->layers), dim3(kThreads), 0, stream, *layers);
}

extern "C" int actscope_cuda_top_exact(const struct cuda_layers *layers, struct CUstream_st *stream) {
  if (layers->layers == 0) return (int)cudaSuccess;
  return (int)gpu_launch(exact_kernel, dim3(128, (unsigned)layers->layers), dim3(kThreads), 0, stream, *layers);
}
