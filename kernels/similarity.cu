// similarity.cu - the mean cosine between samples of all layers: their norms, then the sum of the samples divided by them.
//
// Contents   cuts · norms · sums · launching · entry points
//
// norms      A block takes a group of samples over a slice of the features; a thread adds up its squares in doubles, the
//            block adds its threads up in order, and the last of the blocks that share samples adds up the slices in order
//            and leaves 1/|x|: 0 for a sample that is all zero, -1 for one that is not finite.
// sums       The same for groups of features over slices of the samples, weighted by that. The last block of a group
//            squares its sums, and the last group of a layer adds the squares up and counts the samples.
//
// Which of the two a warp runs along depends on which lie side by side, as in standardise.cu. All orders are fixed by the
// shape, so results are the same bits from run to run.
#include "core/similarity.h"
#include "gpu.cuh"
#include "kernels.h"
#include "sides.cuh"
#include "tuning.h"

namespace {
constexpr int kThreads = 256;

// ---- Cuts --------------------------------------------------------------------------------------------------------------
// A stage's view of a layer: sums over its inner side for each index of its outer one.
struct Cut {
  uint64_t outer, inner;    // how many
  uint32_t across, groups, slices; // outer indices of a block; blocks
};
// `adjacent`: the outer indices lie side by side.
__host__ __device__ inline Cut cut_of(uint64_t outer, uint64_t inner, bool adjacent) {
  Cut c = {outer, inner, adjacent ? 32u : 8u, 0, 1};
  c.groups = (uint32_t)((outer + c.across - 1) / c.across);
  const uint64_t most = (inner + TUNE_COLUMNS_SLICE - 1) / TUNE_COLUMNS_SLICE;
  const uint64_t fair = c.groups < TUNE_COLUMNS_BLOCKS ? TUNE_COLUMNS_BLOCKS / (c.groups > 0 ? c.groups : 1) : 1;
  const uint64_t slices = most < fair ? most : fair;
  c.slices = (uint32_t)(slices > 0 ? slices : 1);
  return c;
}
__host__ __device__ inline Cut norms_cut(const cuda_layer &l) { return cut_of(l.samples, l.features, !l.features_adjacent); }
__host__ __device__ inline Cut sums_cut(const cuda_layer &l) { return cut_of(l.features, l.samples, l.features_adjacent != 0); }

// Where a thread of a block is: its outer index, and the inner ones first, first + step, ... below stop.
struct Place {
  uint32_t group, slice;
  int outer, lane, lanes;
  uint64_t index, first, stop;
  bool real;
};
__device__ __forceinline__ Place place_of(const Cut &c, uint32_t block) {
  Place p;
  p.group = block % c.groups, p.slice = block / c.groups;
  p.lanes = kThreads / (int)c.across;
  p.outer = c.across == 32 ? (int)threadIdx.x % 32 : (int)threadIdx.x / 32;
  p.lane = c.across == 32 ? (int)threadIdx.x / 32 : (int)threadIdx.x % 32;
  p.index = (uint64_t)p.group * c.across + (uint64_t)p.outer;
  p.real = p.index < c.outer;
  p.first = c.inner * p.slice / c.slices, p.stop = c.inner * (p.slice + 1) / c.slices;
  return p;
}
// The sum of the lanes of each outer index, in order; valid in lane 0. A barrier must lie between two calls.
__device__ __forceinline__ double merge_lanes(double mine, const Cut &c, const Place &p, double *shared) {
  shared[p.lane * (int)c.across + p.outer] = mine;
  __syncthreads();
  if (p.lane == 0)
    for (int s = 1; s < p.lanes; ++s) mine += shared[s * (int)c.across + p.outer];
  return mine;
}
// The sum of the slices of each outer index, in order, by the last block that has one of them; valid in lane 0. False in
// the other blocks.
__device__ __forceinline__ bool merge_slices(double &mine, const Cut &c, const Place &p, double *partial, unsigned *counter) {
  if (c.slices == 1) return true;
  if (p.lane == 0 && p.real) partial[(uint64_t)p.slice * c.outer + p.index] = mine;
  if (!last_block(counter + p.group, c.slices)) return false;
  mine = 0;
  if (p.lane == 0 && p.real)
    for (uint32_t s = 0; s < c.slices; ++s) mine += partial[(uint64_t)s * c.outer + p.index];
  return true;
}

// ---- Norms -------------------------------------------------------------------------------------------------------------
template <actscope_dtype kType>
__global__ void __launch_bounds__(kThreads, 2) norms_kernel(GRID_CONSTANT(cuda_layers) t, double *partial, unsigned *done) {
  __shared__ double shared[kThreads];
  const cuda_layer &layer = t.layer[layer_of(t, blockIdx.x)];
  const Sides sides{t, layer};
  const Cut c = norms_cut(layer);
  const Place p = place_of(c, blockIdx.x - layer.first_block);
  double square = 0;
  if (p.real) {
    const int64_t base = sides.sample(p.index);
#pragma unroll 4
    for (uint64_t f = p.first + (uint64_t)p.lane; f < p.stop; f += (uint64_t)p.lanes) {
      const double x = dtype_load(kType, layer.data, base + sides.feature(f));
      square = fma(x, x, square);
    }
  }
  square = merge_lanes(square, c, p, shared);
  if (!merge_slices(square, c, p, partial + layer.first_partial, done + layer.first_counter)) return;
  if (p.lane == 0 && p.real) {
    const double w = similarity_weight(square);
    layer.unit[p.index] = w > 0 || similarity_zero(square) ? w : -1;
  }
}

// ---- Sums --------------------------------------------------------------------------------------------------------------
template <actscope_dtype kType>
__global__ void __launch_bounds__(kThreads, 2) sums_kernel(GRID_CONSTANT(cuda_layers) t, double *partial, unsigned *done) {
  __shared__ double shared[kThreads];
  __shared__ double total[kThreads / 32 + 1];
  __shared__ unsigned long long counts[2 * (kThreads / 32 + 1)];
  const cuda_layer &layer = t.layer[layer_of(t, blockIdx.x)];
  const Sides sides{t, layer};
  const Cut c = sums_cut(layer);
  const Place p = place_of(c, blockIdx.x - layer.first_block);
  double *group_square = partial + layer.first_partial + (c.slices > 1 ? c.slices * c.outer : 0);
  double sum = 0;
  if (p.real) {
    const int64_t base = sides.feature(p.index);
#pragma unroll 4
    for (uint64_t s = p.first + (uint64_t)p.lane; s < p.stop; s += (uint64_t)p.lanes) {
      const double w = layer.unit[s];
      if (w > 0) sum = fma(w, dtype_load(kType, layer.data, base + sides.sample(s)), sum);
    }
  }
  sum = merge_lanes(sum, c, p, shared);
  if (!merge_slices(sum, c, p, partial + layer.first_partial, done + layer.first_counter)) return;
  double square[1] = {p.lane == 0 && p.real ? sum * sum : 0};
  block_sum<kThreads>(square, total);
  if (threadIdx.x == 0) group_square[p.group] = square[0];
  if (!last_block(done + layer.first_counter + c.groups, c.groups)) return;
  square[0] = 0;
  for (uint32_t g = threadIdx.x; g < c.groups; g += kThreads) square[0] += group_square[g];
  unsigned long long found[2] = {0, 0};  // used, zero
  for (uint64_t s = threadIdx.x; s < layer.samples; s += kThreads) {
    const double w = layer.unit[s];
    found[0] += w > 0, found[1] += w == 0;
  }
  block_sum<kThreads>(square, total);
  block_sum<kThreads>(found, counts);
  if (threadIdx.x == 0) *layer.similarity = {square[0], found[0], found[1]};
}

// ---- Launching ---------------------------------------------------------------------------------------------------------
// Lays the blocks, partials and counters of the layers of a dtype (all when it is below 0) end to end.
uint32_t lay_out(cuda_layers *t, int dtype, bool sums, uint64_t *partial, uint64_t *counter) {
  uint64_t b = 0;
  *partial = *counter = 0;
  for (int l = 0; l < t->layers; ++l) {
    cuda_layer &layer = t->layer[l];
    layer.first_block = (uint32_t)b, layer.first_partial = *partial, layer.first_counter = (uint32_t)*counter;
    if ((dtype >= 0 && layer.dtype != dtype) || layer.features == 0 || layer.samples == 0) continue;
    const Cut c = sums ? sums_cut(layer) : norms_cut(layer);
    b += (uint64_t)c.groups * c.slices;
    *partial += (c.slices > 1 ? c.slices * c.outer : 0) + (sums ? c.groups : 0);
    *counter += c.groups + (sums ? 1 : 0);
  }
  return (uint32_t)b;
}
template <actscope_dtype kType>
cudaError_t launch(const cuda_layers &layers, double *scratch, unsigned *counters, cudaStream_t stream) {
  cuda_layers t = layers;
  uint64_t partial, counter;
  uint32_t blocks = lay_out(&t, kType, false, &partial, &counter);
  if (blocks == 0) return cudaSuccess;
  const cudaError_t e = gpu_launch(norms_kernel<kType>, dim3(blocks), dim3(kThreads), 0, stream, t, scratch, counters);
  if (e != cudaSuccess) return e;
  blocks = lay_out(&t, kType, true, &partial, &counter);
  return gpu_launch(sums_kernel<kType>, dim3(blocks), dim3(kThreads), 0, stream, t, scratch, counters);
}
}  // namespace

// ---- Entry points --------------------------------------------------------------------------------------------------------
extern "C" void actscope_cuda_similarity_scratch(const struct cuda_layers *layers, uint64_t *bytes, uint64_t *counters) {
  cuda_layers t = *layers;
  uint64_t partial, counter, more, words;
  lay_out(&t, -1, false, &partial, &counter);
  lay_out(&t, -1, true, &more, &words);
  *bytes = (partial > more ? partial : more) * sizeof(double);
  *counters = counter > words ? counter : words;
}

extern "C" int actscope_cuda_similarity(const struct cuda_layers *layers, void *scratch, unsigned *counters, struct CUstream_st *stream) {
  double *space = static_cast<double *>(scratch);
  cudaError_t e = launch<ACTSCOPE_FLOAT32>(*layers, space, counters, stream);
  if (e == cudaSuccess) e = launch<ACTSCOPE_FLOAT16>(*layers, space, counters, stream);
  if (e == cudaSuccess) e = launch<ACTSCOPE_BFLOAT16>(*layers, space, counters, stream);
  if (e == cudaSuccess) e = launch<ACTSCOPE_FLOAT8_E4M3>(*layers, space, counters, stream);
  if (e == cudaSuccess) e = launch<ACTSCOPE_FLOAT8_E5M2>(*layers, space, counters, stream);
  if (e == cudaSuccess) e = launch<ACTSCOPE_FLOAT64>(*layers, space, counters, stream);
  return (int)e;
}
