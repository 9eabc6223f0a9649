// nulls.cu - what there is beyond noise, where gram.cu and correlation.cu do not say it: sums over the correlations of two
// halves of the samples, and which features are rotated how far for a noise floor.
//
// Contents   halves · shift · entry points
//
// halves     Two matrices of r, V by V float32, which correlation.cu left: a warp a row, lanes along what is right of the
//            diagonal, so that either matrix is half read, once. 64 blocks a layer at most 4096 wide: 64 MiB at that side, 15
//            microseconds of bandwidth. Sums are doubles, added up in the order of lanes, warps and blocks.
// shift      core/shift.h draws features and offsets from the seed: a thread a feature, two permutations of their own. One
//            block a layer, 1024 features at most. The groups' rows lie `room` apart, whatever the number of valid features
//            is, so that the host can point at them.
#include "gpu.cuh"
#include "kernels.h"

namespace {
constexpr int kThreads = 256, kWarps = kThreads / 32, kBlocks = 64;

// ---- Halves ------------------------------------------------------------------------------------------------------------
__global__ void __launch_bounds__(kThreads) halves_kernel(GRID_CONSTANT(cuda_halves_table) t, double *partial, unsigned *done) {
  __shared__ double shared[3 * (kWarps + 1)];
  const cuda_halves_layer &layer = t.layer[blockIdx.y];
  const uint64_t valid = layer.features_out->valid;
  double *mine = partial + (uint64_t)blockIdx.y * kBlocks * 3, sum[3] = {0, 0, 0};
  for (uint64_t i = blockIdx.x * kWarps + threadIdx.x / 32; i < valid; i += kBlocks * kWarps) {
    const float *a = layer.r[0] + i * valid, *b = layer.r[1] + i * valid;
    for (uint64_t j = i + 1 + threadIdx.x % 32; j < valid; j += 32) {
      const double x = (double)a[j], y = (double)b[j];
      sum[0] = fma(x, y, sum[0]), sum[1] = fma(x, x, sum[1]), sum[2] = fma(y, y, sum[2]);
    }
  }
  block_sum<kThreads>(sum, shared);
  if (threadIdx.x == 0)
    for (int k = 0; k < 3; ++k) mine[blockIdx.x * 3 + k] = sum[k];
  if (!last_block(done + blockIdx.y, kBlocks)) return;
  if (threadIdx.x > 0) return;
  double all[3] = {0, 0, 0};
  for (int b = 0; b < kBlocks; ++b)
    for (int k = 0; k < 3; ++k) all[k] += mine[b * 3 + k];
  layer.halves->product = 2 * all[0], layer.halves->first = 2 * all[1], layer.halves->second = 2 * all[2];
  layer.halves->valid = valid;
}

// ---- Shift -------------------------------------------------------------------------------------------------------------
__global__ void __launch_bounds__(kThreads) shift_kernel(GRID_CONSTANT(cuda_shift_table) t) {
  const cuda_shift_layer &layer = t.layer[blockIdx.x];
  const uint64_t valid = layer.features_out->valid, group = shift_group(valid, layer.samples), groups = shift_groups(valid, group);
  for (uint64_t g = threadIdx.x; g < layer.groups; g += kThreads) layer.group_out[g].valid = g < groups ? group : 0;
  for (uint64_t r = threadIdx.x; r < groups * group; r += kThreads) {
    const uint64_t g = r / group, k = r % group, at = g * layer.room + k;
    struct random_permutation members, offsets;
    shift_choose(&members, &offsets, valid, layer.samples, layer.seed, g);
    layer.members[at] = layer.list[random_permute(&members, r)];
    layer.rotation[at] = (uint32_t)random_permute(&offsets, k);
  }
  if (threadIdx.x == 0) layer.shift->count = groups * pairs_total(group);
}
}  // namespace

// ---- Entry points ------------------------------------------------------------------------------------------------------
extern "C" uint64_t actscope_cuda_halves_scratch(int layers) { return (uint64_t)layers * kBlocks * 3 * sizeof(double); }

extern "C" int actscope_cuda_halves(const struct cuda_halves_table *table, void *scratch, unsigned *counters, struct CUstream_st *stream) {
  if (table->layers == 0) return (int)cudaSuccess;
  return (int)gpu_launch(halves_kernel, dim3(kBlocks, (unsigned)table->layers), dim3(kThreads), 0, stream, *table,
                         static_cast<double *>(scratch), counters);
}

extern "C" int actscope_cuda_shift_choose(const struct cuda_shift_table *table, struct CUstream_st *stream) {
  if (table->layers == 0) return (int)cudaSuccess;
  return (int)gpu_launch(shift_kernel, dim3((unsigned)table->layers), dim3(kThreads), 0, stream, *table);
}
