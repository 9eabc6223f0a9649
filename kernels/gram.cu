// gram.cu - the Gram matrix of the samples, K = Z^T Z / N summed over the valid features, and its squared Frobenius norm.
//
// Contents   work of a block · loading · the kernel · entry points
//
// Layout     z is features by samples (standardise.cu), so both operands of K lie with the summed index outermost; ldmatrix
//            turns them on the way into registers. Tiles of 128 by 128 samples on and above the diagonal; up to 32 blocks
//            share a tile, each over its part of the features, and leave it in scratch; the last one adds the parts in
//            order, so the result does not depend on timing. Features that come in strips are added to the same parts, a launch
//            a strip. At [128, 8192] that is one tile, 32 blocks of 256 features,
//            0.27 GFLOP a product and 2 MiB of parts: less time than reading z takes.
// Ring       Three stages take 102 KiB; a device that allows a block less has two, 68 KiB, and the same sums.
// Halves     The same matrix of two halves of the samples, their z-scores side by side in the rows of z, each of its own: the
//            three blocks' norms say how the correlations of one half show in the other (core/halves.h).
// CKA        The same matrix of features that are only centred; of it the entries above the diagonal (cka.cu).
// Precision  As correlation.cu: hi hi + (hi lo + lo hi) 2^-11 where there is a low part, accumulators added to float32
//            registers every TUNE_PAIRS_PROMOTE features. With the low part a feature's norm is 1 to 1e-7; without it to 1e-4.
#include "gpu.cuh"
#include "kernels.h"
#include "sides.cuh"
#include "tuning.h"

namespace {
constexpr int kThreads = 256, kTile = 128, kStep = 32, kPad = kTile + 8;
constexpr int kPanel = kStep * kPad;  // halves of one operand of one stage
constexpr size_t shared_bytes(int stages) { return (size_t)stages * 4 * kPanel * 2; }
constexpr size_t kDeclared = 1024;    // and what the kernel declares itself, at most
static_assert(shared_bytes(2) + kDeclared <= kLeastShared, "two stages run on every device");

// ---- Work of a block -------------------------------------------------------------------------------------------------
__host__ __device__ inline uint32_t side_of(const cuda_layer &layer) { return (uint32_t)((layer.samples + kTile - 1) / kTile); }
__host__ __device__ inline uint32_t tiles_of(const cuda_layer &layer) { return side_of(layer) * (side_of(layer) + 1) / 2; }
__host__ __device__ inline uint32_t splits_of(const cuda_layer &layer) {
  const uint64_t tiles = tiles_of(layer), s = (layer.features + kTile - 1) / kTile;
  uint64_t most = tiles < TUNE_GRAM_BLOCKS ? TUNE_GRAM_BLOCKS / (tiles > 0 ? tiles : 1) : 1;
  if (most > TUNE_GRAM_SPLITS) most = TUNE_GRAM_SPLITS;
  return (uint32_t)(s < 1 ? 1 : s < most ? s : most);
}
// Whether the parts lie in memory: where one block has a tile to itself, and all rows, they stay in its shared memory.
__host__ __device__ inline bool has_parts(const cuda_layer &layer) { return splits_of(layer) > 1 || layer.gram_parts; }
constexpr uint32_t kOutputs = kTile * kTile;
static_assert(kOutputs * sizeof(float) <= shared_bytes(2), "a part fits the ring");

// ---- Loading ---------------------------------------------------------------------------------------------------------
// kStep rows (features) by 128 samples; what lies outside is zero.
__device__ __forceinline__ void load_panel(uint16_t *shared, const uint16_t *z, uint64_t row0, uint64_t stop, uint32_t s0, uint32_t pitch) {
#pragma unroll
  for (int i = (int)threadIdx.x; i < kStep * kTile / 8; i += kThreads) {
    const int row = i / (kTile / 8), s = i % (kTile / 8) * 8;
    uint16_t *to = shared + row * kPad + s;
    if (row0 + (uint64_t)row < stop && s0 + (uint32_t)s < pitch) cp_async16(to, z + (row0 + (uint64_t)row) * pitch + s0 + (uint32_t)s);
    else *reinterpret_cast<uint4 *>(to) = make_uint4(0, 0, 0, 0);
  }
}

// ---- The kernel ------------------------------------------------------------------------------------------------------
template <int kStages>
__global__ void __launch_bounds__(kThreads, 1) gram_kernel(GRID_CONSTANT(cuda_layers) t, float *partial, double *squares, unsigned *done) {
  GPU_NOT_FOR_90A(kStages == 2)
  uint16_t *shared = reinterpret_cast<uint16_t *>(dynamic_shared());
  __shared__ double sums[3 * (kThreads / 32 + 1)];
  const int tid = (int)threadIdx.x, warp = tid / 32, lane = tid % 32;
  const int row_w = warp / 4 * 64, col_w = warp % 4 * 32;
  const cuda_layer &layer = t.layer[layer_of(t, blockIdx.x)];
  const uint32_t splits = splits_of(layer), tiles = tiles_of(layer), block = blockIdx.x - layer.first_block;
  const uint32_t tile = block / splits, split = block % splits;
  uint32_t ti = 0, tj = tile;
  while (tj >= side_of(layer) - ti) tj -= side_of(layer) - ti, ++ti;
  tj += ti;
  const bool three = layer.z_lo != nullptr;
  const uint64_t found = layer.features_out->valid, left = found > layer.first_row ? found - layer.first_row : 0;
  const uint64_t valid = left < layer.rows ? left : layer.rows, groups = (valid + kStep - 1) / kStep;  // of the strip
  const uint64_t first = groups * split / splits * kStep;
  uint64_t stop = groups * (split + 1) / splits * kStep;
  if (stop > valid) stop = valid;
  const uint32_t steps = first < stop ? (uint32_t)((stop - first + kStep - 1) / kStep) : 0;
  auto load = [&](uint32_t s) {
    if (s < steps) {
      uint16_t *stage = shared + (int)(s % kStages) * 4 * kPanel;
      const uint64_t row = first + (uint64_t)s * kStep;
      load_panel(stage, layer.z_hi, row, stop, ti * kTile, layer.pitch);
      load_panel(stage + kPanel, layer.z_hi, row, stop, tj * kTile, layer.pitch);
      if (three) {
        load_panel(stage + 2 * kPanel, layer.z_lo, row, stop, ti * kTile, layer.pitch);
        load_panel(stage + 3 * kPanel, layer.z_lo, row, stop, tj * kTile, layer.pitch);
      }
    }
    cp_async_commit();
  };

  float acc[4][4][4] = {}, small[4][4][4] = {}, total[4][4][4] = {};
  for (int s = 0; s < kStages - 1; ++s) load((uint32_t)s);
  for (uint32_t s = 0; s < steps; ++s) {
    cp_async_wait<kStages - 2>();
    __syncthreads();
    load(s + kStages - 1);
    const uint16_t *a = shared + (int)(s % kStages) * 4 * kPanel, *b = a + kPanel;
#pragma unroll
    for (int x = 0; x < kStep; x += 16) {
      // Transposed matrices: lane l points at a row of features. a: samples 0-7 and 8-15, then features 8-15 of both.
      const int a_at = (x + lane / 16 * 8 + lane % 8) * kPad + row_w + lane / 8 % 2 * 8;
      const int b_at = (x + lane / 8 % 2 * 8 + lane % 8) * kPad + col_w + lane / 16 * 8;
      uint32_t bh[2][4], bl[2][4];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        ldmatrix_x4<true>(bh[j], b + b_at + j * 16);
        if (three) ldmatrix_x4<true>(bl[j], b + 2 * kPanel + b_at + j * 16);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        uint32_t ah[4], al[4];
        ldmatrix_x4<true>(ah, a + a_at + i * 16);
#pragma unroll
        for (int j = 0; j < 4; ++j) mma_f16(acc[i][j], ah, bh[j / 2][j % 2 * 2], bh[j / 2][j % 2 * 2 + 1]);
        if (three) {
          ldmatrix_x4<true>(al, a + 2 * kPanel + a_at + i * 16);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            mma_f16(small[i][j], ah, bl[j / 2][j % 2 * 2], bl[j / 2][j % 2 * 2 + 1]);
            mma_f16(small[i][j], al, bh[j / 2][j % 2 * 2], bh[j / 2][j % 2 * 2 + 1]);
          }
        }
      }
    }
    if ((s + 1) % (TUNE_PAIRS_PROMOTE / kStep) == 0 || s + 1 == steps) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) total[i][j][e] += acc[i][j][e], acc[i][j][e] = 0;
    }
  }

  // The part, in the order (register, thread): neighbours write neighbours. Strips add to it, in their order.
  __syncthreads();  // the ring is free, and no copy is under way: the last steps issued none
  const bool stays = has_parts(layer), adds = layer.gram_parts && !layer.gram_begins;
  float *parts = !stays ? reinterpret_cast<float *>(shared)
                        : (layer.gram_parts ? layer.gram_parts : partial + layer.first_partial * kOutputs) + (uint64_t)tile * splits * kOutputs;
  if (!adds || steps > 0) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float *to = parts + (uint64_t)split * kOutputs + (uint32_t)((i * 4 + j) * 4 + e) * kThreads + tid;
          const float k = total[i][j][e] + small[i][j][e] * 4.8828125e-4f;
          *to = adds ? *to + k : k;
        }
  }
  if (layer.gram_parts && !layer.gram_ends) return;
  if (!last_block(done + layer.first_counter + 1 + tile, splits)) return;

  double square[3] = {0, 0, 0};  // of all; or of the first half, of the second, and of both
  const double scale = layer.halves ? 1 : 1 / (double)layer.samples;
#pragma unroll 1
  for (int o = 0; o < 64; ++o) {
    const int i = o / 16, j = o / 4 % 4, e = o % 4;
    double k = 0;
    for (uint32_t s = 0; s < splits; ++s) k += (double)parts[(uint64_t)s * kOutputs + (uint32_t)o * kThreads + tid];
    k *= scale;
    const uint64_t row = (uint64_t)ti * kTile + (uint64_t)(row_w + i * 16 + e / 2 * 8 + lane / 4);
    const uint64_t col = (uint64_t)tj * kTile + (uint64_t)(col_w + j * 8 + lane % 4 * 2 + e % 2);
    if (row >= layer.samples || col >= layer.samples) continue;
    const double k2 = k * k, both = ti == tj ? k2 : 2 * k2;
    if (!layer.halves) {
      square[0] += both;
    } else if ((row < layer.second_half) == (col < layer.second_half)) {
      if (row < layer.second_half) square[0] += both; else square[1] += both;
    } else if (row < col) {
      square[2] += k2;
    }
    if (layer.gram) {
      layer.gram[row * layer.samples + col] = (float)k;
      if (ti != tj) layer.gram[col * layer.samples + row] = (float)k;
    }
    if (layer.triangle && row < col) layer.triangle[cka_row(layer.samples, row) + col - row - 1] = (float)k;
  }
  block_sum<kThreads>(square, sums);
  double *mine = squares + 3 * (uint64_t)(layer.first_counter + tile);
  if (tid == 0) mine[0] = square[0], mine[1] = square[1], mine[2] = square[2];
  if (!last_block(done + layer.first_counter, tiles)) return;
  if (tid == 0) {
    double sum[3] = {0, 0, 0};
    for (uint32_t i = 0; i < tiles; ++i)
      for (int k = 0; k < 3; ++k) sum[k] += squares[3 * (uint64_t)(layer.first_counter + i) + k];
    if (layer.halves) {  // less the features with themselves
      const double n = (double)found, a = (double)layer.half_samples[0], b = (double)layer.half_samples[1];
      layer.halves->first = sum[0] / (a * a) - n, layer.halves->second = sum[1] / (b * b) - n;
      layer.halves->product = sum[2] / (a * b) - n;
      layer.halves->valid = found;
    } else if (layer.frobenius_square) {
      *layer.frobenius_square = sum[0];
    }
  }
}

// ---- Launching -------------------------------------------------------------------------------------------------------
// Blocks, parts and counters (one a tile and one for the layer) of all layers end to end.
uint32_t lay_out(cuda_layers *t, uint64_t *parts, uint64_t *counters) {
  uint64_t blocks = 0;
  *parts = *counters = 0;
  for (int l = 0; l < t->layers; ++l) {
    cuda_layer &layer = t->layer[l];
    layer.first_block = (uint32_t)blocks, layer.first_partial = *parts, layer.first_counter = (uint32_t)*counters;
    const uint64_t each = (uint64_t)tiles_of(layer) * splits_of(layer);
    blocks += each, *parts += has_parts(layer) && !layer.gram_parts ? each : 0, *counters += tiles_of(layer) + 1;
  }
  return (uint32_t)blocks;
}
uint64_t parts_bytes(uint64_t parts) { return parts * kTile * kTile * sizeof(float); }
}  // namespace

extern "C" void actscope_cuda_gram_scratch(const struct cuda_layers *layers, uint64_t *bytes, uint64_t *counters) {
  cuda_layers t = *layers;
  uint64_t parts;
  lay_out(&t, &parts, counters);
  *bytes = parts_bytes(parts) + 3 * *counters * sizeof(double);
}

extern "C" uint64_t actscope_cuda_gram_parts(const struct cuda_layer *layer) {
  return parts_bytes((uint64_t)tiles_of(*layer) * splits_of(*layer));
}

extern "C" int actscope_cuda_gram(const struct cuda_layers *layers, void *scratch, unsigned *counters, struct CUstream_st *stream) {
  cuda_layers t = *layers;
  uint64_t parts, count;
  const uint32_t blocks = lay_out(&t, &parts, &count);
  if (blocks == 0) return (int)cudaSuccess;
  double *squares = reinterpret_cast<double *>(static_cast<char *>(scratch) + parts_bytes(parts));
  size_t limit;
  const cudaError_t e = gpu_shared_limit(&limit);
  if (e != cudaSuccess) return (int)e;
  const int stages = shared_bytes(3) + kDeclared <= limit ? 3 : 2;
  return (int)gpu_launch(stages == 3 ? gram_kernel<3> : gram_kernel<2>, dim3(blocks), dim3(kThreads), shared_bytes(stages), stream, t,
                         static_cast<float *>(scratch), squares, counters);
}
