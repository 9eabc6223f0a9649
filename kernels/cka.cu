// cka.cu - CKA between layers: what a layer keeps of the products of its samples, and the sums over those of two layers.
//
// Contents   begin · sums · square and keep · pairs · entry points
//
// Keeping    gram.cu leaves the products k_ij, i < j, of the centred features where a layer keeps its triangle, row after
//            row in float32; begin says by what factor features are multiplied for that, so that nothing leaves binary16.
//            Three passes then centre them in place (core/cka.h): sums of the rows, the sum of squares of what centring
//            leaves, and the entries over its root. 32 rows a block; a warp reads a row's own part along it, and of the
//            rows above it 32 neighbours at a time. At 4096 samples the passes move 128 MiB, 40 microseconds of bandwidth.
// Pairs      Every layer that was just measured with every other one. A block takes 4 layers by 4 over its part of the
//            entries: 8 loads for 16 products, in doubles. Up to 64 blocks share that, each leaves 16 sums, and the last
//            one adds them up in order. Layers of other numbers of samples, or that were not measured since the last
//            reset, are left out; the host knows which from their marks.
// Marks      A layer's mark is 1 + the number of the reset that it comes after, or 0 where it keeps nothing. begun and
//            done are equal in pinned memory while nothing is being written.
// Order      Everything is added up in an order that the shapes and the layers of the launch decide.
#include "gpu.cuh"
#include "kernels.h"

namespace {
constexpr int kThreads = 256, kWarps = kThreads / 32, kRows = 32, kEach = kRows / kWarps;
constexpr int kSide = CUDA_CKA_SIDE, kTile = kSide * kSide;

__host__ __device__ inline unsigned blocks_of(uint64_t samples) { return (unsigned)((samples + kRows - 1) / kRows); }

// ---- Begin ----------------------------------------------------------------------------------------------------------
__global__ void __launch_bounds__(kThreads) begin_kernel(GRID_CONSTANT(cuda_cka_table) t) {
  __shared__ double most[kWarps];
  const cuda_cka_layer &layer = t.layer[blockIdx.x];
  double m2 = 0;
  for (uint64_t f = threadIdx.x; f < layer.features; f += kThreads) {
    const struct column c = layer.columns[f];
    if (column_valid(&c)) m2 = fmax(m2, c.m2);
  }
  for (int d = 16; d > 0; d >>= 1) m2 = fmax(m2, __shfl_xor_sync(kFullMask, m2, d));
  if (threadIdx.x % 32 == 0) most[threadIdx.x / 32] = m2;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int w = 1; w < kWarps; ++w) m2 = fmax(m2, most[w]);
  *layer.unscaled = m2 > 0 ? 1 / sqrt(m2) : 0;
  *layer.mark = 0;
  if (blockIdx.x > 0) return;
  *const_cast<volatile uint64_t *>(&t.told->begun) = ++t.words->begun;
  __threadfence_system();
}

// ---- Sums -----------------------------------------------------------------------------------------------------------
__global__ void __launch_bounds__(kThreads) sums_kernel(GRID_CONSTANT(cuda_cka_table) t, unsigned *done) {
  __shared__ double above[kWarps][kRows], beside[kRows], shared[2 * (kWarps + 1)];
  const cuda_cka_layer &layer = t.layer[blockIdx.y];
  const uint64_t n = layer.samples, first = (uint64_t)blockIdx.x * kRows;
  const int lane = (int)(threadIdx.x % 32), warp = (int)(threadIdx.x / 32);
  if (first >= n) return;
  const uint64_t column = first + (uint64_t)lane;
  double sum[2] = {0, 0};  // of a row; of squares
  for (uint64_t j = (uint64_t)warp; j < first + kRows - 1; j += kWarps)
    if (column < n && j < column) sum[0] += (double)layer.kept[cka_row(n, j) + column - j - 1];
  above[warp][lane] = sum[0];
  for (int r = warp * kEach; r < (warp + 1) * kEach; ++r) {
    const uint64_t i = first + (uint64_t)r;
    sum[0] = 0;
    for (uint64_t j = i + 1 + (uint64_t)lane; j < n; j += 32) {
      const double k = (double)layer.kept[cka_row(n, i) + j - i - 1];
      sum[0] += k, sum[1] = fma(k, k, sum[1]);
    }
    sum[0] = warp_sum(sum[0]);
    if (lane == 0) beside[r] = sum[0];
  }
  __syncthreads();
  if (warp == 0 && column < n) {
    double all = beside[lane];
    for (int w = 0; w < kWarps; ++w) all += above[w][lane];
    layer.sums[column] = all;
  }
  sum[0] = 0;
  block_sum<kThreads>(sum, shared);
  if (threadIdx.x == 0) layer.partial[blockIdx.x] = sum[1];
  if (!last_block(done + blockIdx.y, blocks_of(n))) return;
  sum[0] = sum[1] = 0;
  for (uint64_t i = threadIdx.x; i < n; i += kThreads) sum[0] += layer.sums[i];
  for (uint64_t b = threadIdx.x; b < blocks_of(n); b += kThreads) sum[1] += layer.partial[b];
  block_sum<kThreads>(sum, shared);
  if (threadIdx.x == 0) layer.totals->total = sum[0], layer.totals->before = sum[1];
}

// ---- Square and keep --------------------------------------------------------------------------------------------------
// Calls f(where it lies, the centred product) for the entries of the block's rows.
template <class F>
__device__ __forceinline__ void each_centred(const cuda_cka_layer &layer, F f) {
  const uint64_t n = layer.samples, first = (uint64_t)blockIdx.x * kRows;
  const int lane = (int)(threadIdx.x % 32), warp = (int)(threadIdx.x / 32);
  const double total = layer.totals->total;
  for (uint64_t i = first + (uint64_t)(warp * kEach); i < first + (uint64_t)((warp + 1) * kEach) && i < n; ++i) {
    const double own = layer.sums[i];
    for (uint64_t j = i + 1 + (uint64_t)lane; j < n; j += 32) {
      float *at = layer.kept + cka_row(n, i) + j - i - 1;
      f(at, cka_centred((double)*at, own, layer.sums[j], total, n));
    }
  }
}

__global__ void __launch_bounds__(kThreads) square_kernel(GRID_CONSTANT(cuda_cka_table) t, unsigned *done) {
  __shared__ double shared[kWarps + 1];
  const cuda_cka_layer &layer = t.layer[blockIdx.y];
  double square[1] = {0};
  if ((uint64_t)blockIdx.x * kRows >= layer.samples) return;
  each_centred(layer, [&](float *, double a) { square[0] = fma(a, a, square[0]); });
  block_sum<kThreads>(square, shared);
  if (threadIdx.x == 0) layer.partial[blockIdx.x] = square[0];
  if (!last_block(done + blockIdx.y, blocks_of(layer.samples))) return;
  square[0] = 0;
  for (uint64_t b = threadIdx.x; b < blocks_of(layer.samples); b += kThreads) square[0] += layer.partial[b];
  block_sum<kThreads>(square, shared);
  if (threadIdx.x > 0) return;
  layer.totals->scale = cka_scale(square[0], layer.totals->before);
  *layer.mark = layer.totals->scale > 0 ? layer.clock->windows + 1 : 0;
}

__global__ void __launch_bounds__(kThreads) keep_kernel(GRID_CONSTANT(cuda_cka_table) t) {
  const cuda_cka_layer &layer = t.layer[blockIdx.y];
  const double scale = layer.totals->scale;
  each_centred(layer, [&](float *at, double a) { *at = (float)(a * scale); });
}

// ---- Pairs ----------------------------------------------------------------------------------------------------------
__host__ __device__ inline uint32_t splits_of(uint64_t samples) {
  const uint64_t splits = (cka_entries(samples) + CUDA_CKA_PART - 1) / CUDA_CKA_PART;
  return (uint32_t)(splits < 1 ? 1 : splits < CUDA_CKA_SPLITS ? splits : CUDA_CKA_SPLITS);
}

__global__ void __launch_bounds__(kThreads)
    pairs_kernel(GRID_CONSTANT(cuda_cka_pairs) t, double *partial, unsigned *done) {
  __shared__ double shared[kTile * (kWarps + 1)];
  const uint32_t across = (uint32_t)(t.columns + kSide - 1) / kSide, ti = blockIdx.y / across, tj = blockIdx.y % across;
  const float *row[kSide], *column[kSide];
  uint64_t entries[2][kSide], most = 0;
  uint32_t samples = 0, wanted = 0;
#pragma unroll
  for (int k = 0; k < kSide; ++k) {
    row[k] = column[k] = nullptr, entries[0][k] = entries[1][k] = 0;
    if ((int)ti * kSide + k < t.rows && t.row[ti * kSide + k].samples > samples)
      samples = t.row[ti * kSide + k].samples;
  }
#pragma unroll
  for (int a = 0; a < kSide; ++a)
#pragma unroll
    for (int b = 0; b < kSide; ++b) {
      if ((int)ti * kSide + a >= t.rows || (int)tj * kSide + b >= t.columns) continue;
      const cuda_cka_side &x = t.row[ti * kSide + a], &y = t.column[tj * kSide + b];
      if (x.samples != y.samples || (y.measured && y.index <= x.index) || *x.mark == 0 || *y.mark != *x.mark) continue;
      wanted |= 1u << (a * kSide + b);
      row[a] = x.kept, column[b] = y.kept;
      entries[0][a] = entries[1][b] = cka_entries(x.samples);
      most = entries[0][a] > most ? entries[0][a] : most;
    }
  const uint32_t splits = splits_of(samples);
  if (wanted == 0 || blockIdx.x >= splits) return;  // all blocks of the tile alike
  double sum[kTile] = {};
  const uint64_t stop = most * (blockIdx.x + 1) / splits;
  for (uint64_t e = most * blockIdx.x / splits + threadIdx.x; e < stop; e += kThreads) {
    double x[kSide], y[kSide];
#pragma unroll
    for (int k = 0; k < kSide; ++k) {
      x[k] = e < entries[0][k] ? (double)row[k][e] : 0;
      y[k] = e < entries[1][k] ? (double)column[k][e] : 0;
    }
#pragma unroll
    for (int k = 0; k < kTile; ++k) sum[k] = fma(x[k / kSide], y[k % kSide], sum[k]);
  }
  block_sum<kThreads>(sum, shared);
  if (splits > 1) {
    double *mine = partial + (t.first_partial[ti] + (uint64_t)tj * splits) * kTile;
    if (threadIdx.x == 0)
#pragma unroll
      for (int k = 0; k < kTile; ++k) mine[blockIdx.x * kTile + k] = sum[k];
    if (!last_block(done + blockIdx.y, splits)) return;
    if (threadIdx.x < kTile) {
      double all = 0;
      for (uint32_t s = 0; s < splits; ++s) all += mine[s * kTile + threadIdx.x];
      shared[threadIdx.x] = all;
    }
  } else if (threadIdx.x == 0) {
#pragma unroll
    for (int k = 0; k < kTile; ++k) shared[k] = sum[k];
  }
  __syncthreads();
  if (threadIdx.x >= kTile || !(wanted >> threadIdx.x & 1u)) return;
  const uint32_t i = t.row[ti * kSide + threadIdx.x / kSide].index,
                 j = t.column[tj * kSide + threadIdx.x % kSide].index;
  cuda_cka_values(t.told, t.layers)[cuda_cka_at(i, j)] = (float)cka_value(shared[threadIdx.x]);
}

// What the host may read is there when `done` is.
__global__ void __launch_bounds__(kThreads) tell_kernel(GRID_CONSTANT(cuda_cka_pairs) t) {
  for (int k = (int)threadIdx.x; k < t.rows; k += kThreads) cuda_cka_there(t.told)[t.row[k].index] = *t.row[k].mark;
  __threadfence_system();
  __syncthreads();  // all marks before the number
  if (threadIdx.x > 0) return;
  *const_cast<volatile uint64_t *>(&t.told->done) = t.words->begun;
  __threadfence_system();
}
}  // namespace

// ---- Entry points ---------------------------------------------------------------------------------------------------
extern "C" uint64_t actscope_cuda_cka_partial(uint64_t samples) { return blocks_of(samples); }

extern "C" int actscope_cuda_cka_begin(const struct cuda_cka_table *table, struct CUstream_st *stream) {
  if (table->layers == 0) return (int)cudaSuccess;
  return (int)gpu_launch(begin_kernel, dim3((unsigned)table->layers), dim3(kThreads), 0, stream, *table);
}

extern "C" int actscope_cuda_cka_keep(const struct cuda_cka_table *table, unsigned *counters,
                                      struct CUstream_st *stream) {
  if (table->layers == 0) return (int)cudaSuccess;
  unsigned most = 1;
  for (int k = 0; k < table->layers; ++k)
    if (blocks_of(table->layer[k].samples) > most) most = blocks_of(table->layer[k].samples);
  const dim3 grid(most, (unsigned)table->layers), block(kThreads);
  cudaError_t e = gpu_launch(sums_kernel, grid, block, 0, stream, *table, counters);
  if (e == cudaSuccess) e = gpu_launch(square_kernel, grid, block, 0, stream, *table, counters);
  if (e == cudaSuccess) e = gpu_launch(keep_kernel, grid, block, 0, stream, *table);
  return (int)e;
}

extern "C" void actscope_cuda_cka_scratch(uint64_t samples, uint64_t *bytes, uint64_t *counters) {
  const uint64_t tiles = CUDA_CKA_COLUMNS / kSide;
  *bytes = tiles * splits_of(samples) * kTile * sizeof(double), *counters = tiles;
}

extern "C" int actscope_cuda_cka_pairs(struct cuda_cka_pairs *table, void *scratch, unsigned *counters,
                                       struct CUstream_st *stream) {
  if (table->rows == 0 || table->columns == 0) return (int)cudaSuccess;
  const uint32_t down = (uint32_t)(table->rows + kSide - 1) / kSide,
                 across = (uint32_t)(table->columns + kSide - 1) / kSide;
  uint64_t at = 0;
  uint32_t most = 1;
  for (uint32_t i = 0; i < down; ++i) {
    uint32_t samples = 0;
    for (int k = (int)i * kSide; k < (int)(i + 1) * kSide && k < table->rows; ++k)
      if (table->row[k].samples > samples) samples = table->row[k].samples;
    const uint32_t splits = splits_of(samples);
    table->first_partial[i] = (uint32_t)at;
    at += (uint64_t)across * splits;
    if (splits > most) most = splits;
  }
  return (int)gpu_launch(pairs_kernel, dim3(most, down * across), dim3(kThreads), 0, stream, *table,
                         static_cast<double *>(scratch), counters);
}

extern "C" int actscope_cuda_cka_tell(const struct cuda_cka_pairs *table, struct CUstream_st *stream) {
  return (int)gpu_launch(tell_kernel, dim3(1), dim3(kThreads), 0, stream, *table);
}
