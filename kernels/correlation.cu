// correlation.cu - functionals of r over pairs of features, without the matrix: a tile's products die in registers.
//
// Contents   loading · the product · the epilogue · the kernel · entry points
//
// Layout     z is features by samples, a feature a row of binary16 (standardise.cu). A block of 256 threads multiplies 128
//            rows by 128 rows: 8 warps as 2 x 4, each 64 x 32 outputs in 64 registers a thread; 32 samples a step come
//            through a ring of stages filled by cp.async. At N = 128 a tile is 4.2 MFLOP for 64 KiB read: 64 FLOP a byte
//            from the L2 cache, which holds z at the sizes that matter (2 MiB at [128, 8192]).
// Precision  Three products: z = hi + lo 2^-11, and hi hi + (hi lo + lo hi) 2^-11 is good to 5e-7 in r. The second sum has
//            accumulators of its own, so that 2^-11 is applied once. Beyond TUNE_PAIRS_PROMOTE samples the accumulators
//            are added to float32 registers now and then, because tensor cores truncate as they add.
// Schedule   That of schedule.cuh: blocks take tiles b, b + G, ... of all layers in turn.
// Sums       A thread's sum over its 64 outputs of a tile is rounded once to 2^-40 and added as an integer: which outputs a
//            thread has depends on the tile alone, so the total has the same bits on any grid. The maximum is an atomicMax
//            on the bits of |r|, which order as the values do.
// Epilogue   an output costs 2 weights, |r|, r^2, maximum (5 lane-instructions); the thresholds only where a thread's maximum
//            passes the first of them; the histogram 6 more, in 16-bit counters private to a thread, 64 bins by 256 threads;
//            the sum of r itself 1 more, in kernels of their own.
// Small      80 to 152 KiB of shared memory. Where a block may have 99 (8.6, 8.9, 12.0) other instantiations have two stages for
//            three products, and counters of 8 bits, four bins of a thread to a word: a bank for each lane. The same integers.
// Largest    those kernels also leave the pairs that may be among the largest (top.cu).
// Features   those kernels also add up |r| of each row and each column of a tile, and take the largest, where a layer asks:
//            a thread's part in registers, lanes of the same row or column by a butterfly, warps through the ring once it
//            is free; then one atomic addition and one atomic maximum a row and a column. A warp's part is rounded once,
//            to 2^-32, so that the sums have the same bits on any grid.
#include "gpu.cuh"
#include "kernels.h"
#include "schedule.cuh"
#include "tuning.h"

namespace {
constexpr int kThreads = 256, kStep = TUNE_PAIRS_STEP, kPad = kStep + 8;
// Tiles between flushes: 64 outputs each still fit the counters of 16 or 8 bits, the sum of 8-bit ones over all threads 16,
// and 2^46 units 64.
template <bool kSmall> constexpr uint32_t kHold = kSmall ? 3 : 1000;
static_assert(kHold<true> * 64 <= 255 && kHold<true> * 64 * kThreads <= 65535, "counters");
constexpr int kTileHalves = kTile * kPad;  // of one operand of one stage

// Whether the pair of positions (i, j), in this order, is among the first w.pairs of the circulant order.
__device__ __forceinline__ bool in_band(const Work &w, uint64_t i, uint64_t j) {
  const uint64_t distance = j > i ? j - i : j + w.valid - i;
  return j != i && (distance - 1) * w.valid + i < w.pairs;
}

// Whether (row, col) of the tile is a pair of this layer. Stores r where the matrix itself is wanted.
__device__ __forceinline__ bool is_pair(const cuda_layer &layer, const Work &w, const Tile &tile, uint32_t row, uint32_t col, bool store, float r) {
  if (row >= tile.rows[0] || col >= tile.rows[1]) return false;
  const uint64_t i = (uint64_t)tile.first[0] + row, j = (uint64_t)tile.first[1] + col;
  if (store && (!tile.diagonal || row <= col)) layer.feature_gram[i * w.valid + j] = layer.feature_gram[j * w.valid + i] = i == j ? 1.0f : r;
  return w.sampled ? in_band(w, i, j) : !tile.diagonal || row < col;
}

// ---- Loading ---------------------------------------------------------------------------------------------------------
// 128 rows by kStep samples from z and s0 on; rows beyond `rows` are zeros.
__device__ __forceinline__ void load_panel(uint16_t *shared, const uint16_t *z, uint32_t rows, uint32_t pitch, uint32_t s0) {
#pragma unroll
  for (int i = (int)threadIdx.x; i < kTile * kStep / 8; i += kThreads) {
    const uint32_t row = (uint32_t)i / (kStep / 8), s = (uint32_t)i % (kStep / 8) * 8;
    uint16_t *to = shared + row * kPad + s;
    if (row < rows) cp_async16(to, z + (uint64_t)row * pitch + s0 + s);
    else *reinterpret_cast<uint4 *>(to) = make_uint4(0, 0, 0, 0);
  }
}

// ---- The kernel ------------------------------------------------------------------------------------------------------
// What the warps of a block have of a tile's rows and columns, before they are put together: in the ring.
template <int kHalves> struct Sides {
  float row_sum[kHalves][4][kTile], row_high[4][kTile]; // of each warp across
  float column_sum[2][kTile], column_high[2][kTile];    // of each warp down
};
template <bool kThree, bool kSmall> constexpr int kStagesOf = !kThree ? TUNE_PAIRS_STAGES_ONE : kSmall ? 2 : TUNE_PAIRS_STAGES_THREE;
template <bool kThree, bool kSmall> constexpr size_t shared_bytes(bool counts) {
  return (size_t)kStagesOf<kThree, kSmall> * (kThree ? 4 : 2) * kTileHalves * 2 +
         (counts ? (size_t)ACTSCOPE_PAIR_BINS * kThreads * (kSmall ? 1 : 2) : 0);
}
constexpr size_t kDeclared = 1024;  // and what the kernel declares itself, at most
static_assert(sizeof(Work) + sizeof(Tile) <= kDeclared, "declared");
// Whether every device has what the large instantiation takes, so that there is no small one.
template <bool kThree> constexpr bool fits_all(bool counts) { return shared_bytes<kThree, false>(counts) + kDeclared <= kLeastShared; }

// kWanted: beyond |r|, r^2 and the maximum, nothing (0), what is counted (1), or that and r itself (2). kSmall: for devices
// with little shared memory.
template <bool kThree, bool kPromote, int kWanted, bool kSmall>
__global__ void __launch_bounds__(kThreads, kThree || kPromote || kWanted == 2 ? 1 : 2) correlation_kernel(GRID_CONSTANT(cuda_layers) t) {
  GPU_NOT_FOR_90A(kSmall)
  constexpr bool kCounts = kWanted >= 1, kMore = kWanted == 2;
  constexpr int kStages = kStagesOf<kThree, kSmall>, kOperands = kThree ? 4 : 2;  // a hi, b hi, a lo, b lo
  // Three sets of 64 accumulators do not fit the registers: half of the columns at a time then.
  constexpr int kCols = kThree && kPromote ? 2 : 4, kPasses = 4 / kCols;
  constexpr int kHalves = kThree && !kPromote ? 2 : 1;  // sums of half the columns too, so that both round alike
  uint16_t *shared = reinterpret_cast<uint16_t *>(dynamic_shared());
  uint16_t *bins = shared + kStages * kOperands * kTileHalves;  // [bin][thread]; small: 8 bits, [bin / 4][thread][bin % 4]
  __shared__ Work w;
  __shared__ Tile tile;
  const int tid = (int)threadIdx.x, warp = tid / 32, lane = tid % 32;
  const int row_w = warp / 4 * 64, col_w = warp % 4 * 32;

  uint64_t before = 0;  // tiles of earlier layers, modulo the grid
  for (int l = 0; l < t.layers; ++l) {
    const cuda_layer &layer = t.layer[l];
    __syncthreads();  // nobody reads the layer before any more
    if (tid == 0) set_work(layer, w);
    __syncthreads();
    const uint64_t mine = (blockIdx.x + gridDim.x - before % gridDim.x) % gridDim.x;
    before += w.count;
    if (mine >= w.count) continue;
    const uint32_t steps = layer.pitch / kStep;
    const bool three = kThree && layer.z_lo != nullptr;

    uint64_t sum_abs = 0, sum_square = 0, sum_plain = 0;  // in units of 2^-40, of at most kHold tiles
    float highest = 0;
    uint32_t held = 0;  // tiles since the last flush
    if (kCounts && kSmall)
      for (int k = 0; k < ACTSCOPE_PAIR_BINS / 4; ++k) reinterpret_cast<uint32_t *>(bins)[k * kThreads + tid] = 0;
    else if (kCounts)
      for (int k = 0; k < ACTSCOPE_PAIR_BINS; ++k) bins[k * kThreads + tid] = 0;
    // The block's totals into the layer's state: integers, in any order. Counters are another thread's from here on: every
    // tile ends with a barrier, and the next one, and the next layer, begins with one.
    auto flush = [&] {
      uint64_t parts[6] = {sum_abs & 0xFFFFFFFFu, sum_abs >> 32, sum_square & 0xFFFFFFFFu, sum_square >> 32,
                           sum_plain & 0xFFFFFFFFu, (uint64_t)((int64_t)sum_plain >> 32)};
      uint64_t *to[6] = {&layer.pairs->abs.low, &layer.pairs->abs.high, &layer.pairs->square.low, &layer.pairs->square.high,
                         &layer.pairs->plain.low, &layer.pairs->plain.high};
#pragma unroll
      for (int k = 0; k < (kMore ? 6 : 4); ++k) {
        const unsigned long long sum = warp_sum((unsigned long long)parts[k]);
        if (lane == 0) atomicAdd((unsigned long long *)to[k], sum);
      }
      sum_abs = sum_square = sum_plain = 0, held = 0;
      if (!kCounts) return;
      if constexpr (kSmall) {
        uint32_t *words = reinterpret_cast<uint32_t *>(bins);
        for (int k = warp; k < ACTSCOPE_PAIR_BINS / 4; k += kThreads / 32) {  // a warp adds up four bins, as two pairs of 16 bits
          uint32_t even = 0, odd = 0;
          for (int i = lane; i < kThreads; i += 32) {
            const uint32_t four = words[k * kThreads + i];
            words[k * kThreads + i] = 0, even += four & 0xFF00FFu, odd += four >> 8 & 0xFF00FFu;
          }
          even = warp_sum(even), odd = warp_sum(odd);
          const uint32_t sum = (lane & 1 ? odd : even) >> (lane & 2 ? 16 : 0) & 0xFFFFu;
          if (lane < 4 && sum) atomicAdd((unsigned long long *)&layer.pairs->histogram[k * 4 + lane], (unsigned long long)sum);
        }
      } else {
        for (int k = warp; k < ACTSCOPE_PAIR_BINS; k += kThreads / 32) {  // a warp adds up a bin of all threads
          uint32_t sum = 0;
          for (int i = lane; i < kThreads; i += 32) sum += bins[k * kThreads + i], bins[k * kThreads + i] = 0;
          sum = warp_sum(sum);
          if (lane == 0 && sum) atomicAdd((unsigned long long *)&layer.pairs->histogram[k], (unsigned long long)sum);
        }
      }
    };

    for (uint64_t k = mine; k < w.count; k += gridDim.x) {
      __syncthreads();  // nobody reads the tile before any more
      if (tid == 0) set_tile(w, layer.pitch, k, tile);
      __syncthreads();
      if (!tile.there) continue;
      auto load = [&](uint32_t s) {
        if (s < steps) {
          uint16_t *stage = shared + (int)(s % kStages) * kOperands * kTileHalves;
#pragma unroll
          for (int p = 0; p < 2; ++p) {
            load_panel(stage + p * kTileHalves, tile.hi[p], tile.rows[p], layer.pitch, s * kStep);
            if (three) load_panel(stage + (2 + p) * kTileHalves, tile.lo[p], tile.rows[p], layer.pitch, s * kStep);
          }
        }
        cp_async_commit();
      };

      for (int pass = 0; pass < kPasses; ++pass) {
        const int col_p = col_w + pass * kCols * 8;
        // The product.
        float acc[4][kCols][4] = {}, small[kThree ? 4 : 1][kCols][4] = {}, total[kPromote ? 4 : 1][kCols][4] = {};
        for (int s = 0; s < kStages - 1; ++s) load((uint32_t)s);
        for (uint32_t s = 0; s < steps; ++s) {
          cp_async_wait<kStages - 2>();
          __syncthreads();
          load(s + kStages - 1);
          const uint16_t *a = shared + (int)(s % kStages) * kOperands * kTileHalves, *b = a + kTileHalves;
#pragma unroll
          for (int x = 0; x < kStep; x += 16) {
            const int a_at = (row_w + lane % 16) * kPad + x + lane / 16 * 8;
            const int b_at = (col_p + lane / 16 * 8 + lane % 8) * kPad + x + lane / 8 % 2 * 8;
            uint32_t bh[kCols / 2][4], bl[kThree ? kCols / 2 : 1][4];
#pragma unroll
            for (int j = 0; j < kCols / 2; ++j) {
              ldmatrix_x4<false>(bh[j], b + b_at + j * 16 * kPad);
              if (kThree && three) ldmatrix_x4<false>(bl[kThree ? j : 0], b + 2 * kTileHalves + b_at + j * 16 * kPad);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              uint32_t ah[4], al[4];
              ldmatrix_x4<false>(ah, a + a_at + i * 16 * kPad);
#pragma unroll
              for (int j = 0; j < kCols; ++j) mma_f16(acc[i][j], ah, bh[j / 2][j % 2 * 2], bh[j / 2][j % 2 * 2 + 1]);
              if (kThree && three) {
                ldmatrix_x4<false>(al, a + 2 * kTileHalves + a_at + i * 16 * kPad);
#pragma unroll
                for (int j = 0; j < kCols; ++j) {
                  float(&d)[4] = small[kThree ? i : 0][j];
                  mma_f16(d, ah, bl[kThree ? j / 2 : 0][j % 2 * 2], bl[kThree ? j / 2 : 0][j % 2 * 2 + 1]);
                  mma_f16(d, al, bh[j / 2][j % 2 * 2], bh[j / 2][j % 2 * 2 + 1]);
                }
              }
            }
          }
          if (kPromote && (s + 1) % (TUNE_PAIRS_PROMOTE / kStep) == 0) {
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
              for (int j = 0; j < kCols; ++j)
#pragma unroll
                for (int e = 0; e < 4; ++e) total[kPromote ? i : 0][j][e] += acc[i][j][e], acc[i][j][e] = 0;
          }
        }

        // The epilogue. Output (i, j, e) of a lane is row lane / 4 + 8 (e / 2), column lane % 4 * 2 + e % 2 of its 16 x 8.
        // First r, signed, in place of the sums.
        const uint32_t row_0 = (uint32_t)(row_w + lane / 4), col_0 = (uint32_t)(col_p + lane % 4 * 2);
        {
          float wj[kCols][2];
#pragma unroll
          for (int j = 0; j < kCols; ++j)
#pragma unroll
            for (int e = 0; e < 2; ++e)
              wj[j][e] = col_0 + (uint32_t)(j * 8 + e) < tile.rows[1] ? __ldg(tile.weight[1] + (col_0 + (uint32_t)(j * 8 + e))) : 0;
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int h = 0; h < 2; ++h) {
              const uint32_t row = row_0 + (uint32_t)(i * 16 + h * 8);
              const float wi = row < tile.rows[0] ? __ldg(tile.weight[0] + row) : 0;
#pragma unroll
              for (int j = 0; j < kCols; ++j)
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                  float r = acc[i][j][h * 2 + e];
                  if (kPromote) r += total[kPromote ? i : 0][j][h * 2 + e];
                  if (kThree) r = fmaf(small[kThree ? i : 0][j][h * 2 + e], 4.8828125e-4f, r);
                  acc[i][j][h * 2 + e] = r * (wi * wj[j][e]);
                }
            }
        }
        // Then the functionals. Tiles with pairs that do not count (edges, the diagonal, samples) go through shared memory
        // and a loop: unrolled, the masks would take the registers of the tiles that matter.
        const bool store = layer.feature_gram != nullptr;
        constexpr float kThreshold[ACTSCOPE_THRESHOLD_COUNT] = {0.5f, 0.7f, 0.9f, 0.95f, 0.99f};
        float sum[kHalves] = {}, square[kHalves] = {}, plain[kHalves] = {}, high = 0;
        uint32_t above[kCounts ? ACTSCOPE_THRESHOLD_COUNT : 1] = {};
        auto bin_up = [&](float r) {
          const int bin = r >= 1.0f ? ACTSCOPE_PAIR_BINS - 1 : (int)(r * ACTSCOPE_PAIR_BINS);
          if (kSmall) ++reinterpret_cast<uint8_t *>(bins)[(bin / 4 * kThreads + tid) * 4 + bin % 4];
          else bins[bin * kThreads + tid] = (uint16_t)(bins[bin * kThreads + tid] + 1);
        };
        const bool single = !tile.whole || tile.diagonal || w.sampled || store;
        if (single) {
          __syncthreads();  // all warps are through with the ring, and no copy is under way: the last steps issued none
          float *outputs = reinterpret_cast<float *>(shared);
#pragma unroll
          for (int o = 0; o < 16 * kCols; ++o) outputs[o * kThreads + tid] = acc[o / (4 * kCols)][o / 4 % kCols][o % 4];
#pragma unroll 1
          for (int o = 0; o < 16 * kCols; ++o) {
            const uint32_t row = row_0 + (uint32_t)(o / (4 * kCols) * 16 + o / 2 % 2 * 8);
            const uint32_t col = col_0 + (uint32_t)(o / 4 % kCols * 8 + o % 2);
            float r = outputs[o * kThreads + tid];
            if (!is_pair(layer, w, tile, row, col, store, r)) {
              if (kMore) outputs[o * kThreads + tid] = 0;
              continue;
            }
            const float whole = fmaxf(fminf(r, 1.0f), -1.0f);
            r = fabsf(whole);
            if (kMore) outputs[o * kThreads + tid] = r;
            high = fmaxf(high, r);
#pragma unroll
            for (int h = 0; h < kHalves; ++h) {
              const bool here = kHalves == 1 || o / 4 % kCols / (kCols / kHalves) == h;
              const float part = here ? r : 0.0f;
              if (kMore) plain[h] += here ? whole : 0.0f;
              sum[h] += part, square[h] = fmaf(part, part, square[h]);
            }
            if (kCounts) {
              bin_up(r);
#pragma unroll
              for (int h = 0; h < ACTSCOPE_THRESHOLD_COUNT; ++h) above[kCounts ? h : 0] += r > kThreshold[h];
            }
          }
        } else {
#pragma unroll
          for (int o = 0; o < 16 * kCols; ++o) {
            float &r = acc[o / (4 * kCols)][o / 4 % kCols][o % 4];
            const int h = o / 4 % kCols / (kCols / kHalves);
            if (kMore) plain[h] += fmaxf(fminf(r, 1.0f), -1.0f);
            r = fminf(fabsf(r), 1.0f);
            sum[h] += r, square[h] = fmaf(r, r, square[h]), high = fmaxf(high, r);
            if (kCounts) bin_up(r);
          }
          if (kCounts && high > kThreshold[0]) {
#pragma unroll
            for (int h = 0; h < ACTSCOPE_THRESHOLD_COUNT; ++h)
#pragma unroll
              for (int o = 0; o < 16 * kCols; ++o)
                above[kCounts ? h : 0] += acc[o / (4 * kCols)][o / 4 % kCols][o % 4] > kThreshold[h];
          }
        }
#pragma unroll
        for (int h = 0; h < kHalves; ++h) {
          sum_abs += pairs_fixed((double)sum[h]), sum_square += pairs_fixed((double)square[h]);
          if (kMore) sum_plain += (uint64_t)pairs_fixed_signed((double)plain[h]);
        }
        highest = fmaxf(highest, high);
        if (kCounts && __any_sync(kFullMask, high > kThreshold[0]))
#pragma unroll
          for (int h = 0; h < ACTSCOPE_THRESHOLD_COUNT; ++h) {
            const uint32_t n = warp_sum(above[kCounts ? h : 0]);
            if (lane == 0 && n) atomicAdd((unsigned long long *)&layer.pairs->above[h], (unsigned long long)n);
          }
        if (kMore && (layer.feature_sum || layer.top_emits) && single) {
          const float *outputs = reinterpret_cast<const float *>(shared);  // a thread's own
#pragma unroll
          for (int o = 0; o < 16 * kCols; ++o) acc[o / (4 * kCols)][o / 4 % kCols][o % 4] = outputs[o * kThreads + tid];
        }
        if (kMore && layer.top_emits) {
          struct cuda_top *top = layer.top;
          const float low = top->low, near_low = top->near_low, near_high = top->near_high;
          if (high >= fminf(low, near_low)) {
            uint32_t above = 0;
#pragma unroll
            for (int o = 0; o < 16 * kCols; ++o) {
              const float r = acc[o / (4 * kCols)][o / 4 % kCols][o % 4];
              above += r > near_high;
              if (r < low && !(r >= near_low && r <= near_high)) continue;
              const uint32_t row = row_0 + (uint32_t)(o / (4 * kCols) * 16 + o / 2 % 2 * 8);
              const uint32_t col = col_0 + (uint32_t)(o / 4 % kCols * 8 + o % 2);
              if (single && !is_pair(layer, w, tile, row, col, false, r)) continue;
              const unsigned long long at = atomicAdd(&top->count, 1ull);
              if (at < cuda_top_room(layer.features)) top->candidate[at] = {tile.first[0] + row, tile.first[1] + col, r};
            }
            if (above) atomicAdd(&top->above, (unsigned long long)above);
          }
        }
        __syncthreads();  // the ring is free again
        if (kMore && layer.feature_sum) {
          Sides<kHalves> &sides = *reinterpret_cast<Sides<kHalves> *>(shared);
          const int across = warp % 4, down = warp / 4;
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int h = 0; h < 2; ++h) {
              float part[kHalves] = {}, top = 0;
#pragma unroll
              for (int j = 0; j < kCols; ++j)
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                  const float r = acc[i][j][h * 2 + e];
                  part[j / (kCols / kHalves)] += r, top = fmaxf(top, r);
                }
#pragma unroll
              for (int d = 1; d < 4; d <<= 1) {
#pragma unroll
                for (int q = 0; q < kHalves; ++q) part[q] += __shfl_xor_sync(kFullMask, part[q], d);
                top = fmaxf(top, __shfl_xor_sync(kFullMask, top, d));
              }
              if (lane % 4 == 0) {
                const uint32_t row = row_0 + (uint32_t)(i * 16 + h * 8);
#pragma unroll
                for (int q = 0; q < kHalves; ++q) sides.row_sum[q][across][row] = part[q];
                sides.row_high[across][row] = top;
              }
            }
#pragma unroll
          for (int j = 0; j < kCols; ++j)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              float part = 0, top = 0;
#pragma unroll
              for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int h = 0; h < 2; ++h) part += acc[i][j][h * 2 + e], top = fmaxf(top, acc[i][j][h * 2 + e]);
#pragma unroll
              for (int d = 4; d < 32; d <<= 1) {
                part += __shfl_xor_sync(kFullMask, part, d);
                top = fmaxf(top, __shfl_xor_sync(kFullMask, top, d));
              }
              if (lane < 4) {
                const uint32_t col = col_0 + (uint32_t)(j * 8 + e);
                sides.column_sum[down][col] = part, sides.column_high[down][col] = top;
              }
            }
          __syncthreads();
          const int side = tid / kTile, at = tid % kTile;
          // In a pass over half of the columns the others have nothing.
          const bool there = (uint32_t)at < tile.rows[side] && (side == 0 || at % 32 / (kCols * 8) == pass);
          if (there) {
            unsigned long long sum = 0;
            float top = 0;
            if (side == 0) {
#pragma unroll
              for (int k = 0; k < 4; ++k) {
#pragma unroll
                for (int q = 0; q < kHalves; ++q) sum += pairs_fixed32((double)sides.row_sum[q][k][at]);
                top = fmaxf(top, sides.row_high[k][at]);
              }
            } else {
#pragma unroll
              for (int k = 0; k < 2; ++k) sum += pairs_fixed32((double)sides.column_sum[k][at]), top = fmaxf(top, sides.column_high[k][at]);
            }
            const uint64_t position = (uint64_t)tile.first[side] + (uint32_t)at;
            if (sum) atomicAdd(&layer.feature_sum[position], sum);
            if (top > 0) atomicMax(&layer.feature_max[position], core_bits32(top));
          }
          __syncthreads();
        }
      }
      if (++held == kHold<kSmall>) flush();
    }
    flush();
    for (int d = 16; d > 0; d >>= 1) highest = fmaxf(highest, __shfl_xor_sync(kFullMask, highest, d));
    if (lane == 0) atomicMax(&layer.pairs->max_bits, core_bits32(highest));
  }
}

// ---- Launching -------------------------------------------------------------------------------------------------------
template <bool kThree, bool kPromote, int kWanted, bool kSmall>
cudaError_t launch_as(const cuda_layers &t, uint64_t tiles, cudaStream_t stream) {
  unsigned blocks;
  const size_t bytes = shared_bytes<kThree, kSmall>(kWanted > 0);
  cudaError_t e = gpu_resident_blocks(correlation_kernel<kThree, kPromote, kWanted, kSmall>, kThreads, bytes, tiles, &blocks);
  if (e != cudaSuccess) return e;
  return gpu_launch(correlation_kernel<kThree, kPromote, kWanted, kSmall>, dim3(blocks), dim3(kThreads), bytes, stream, t);
}
template <bool kThree, bool kPromote, int kWanted>
cudaError_t launch(const cuda_layers &t, uint64_t tiles, cudaStream_t stream) {
  if constexpr (!fits_all<kThree>(kWanted > 0)) {
    static_assert(shared_bytes<kThree, true>(kWanted > 0) + kDeclared <= kLeastShared, "runs on every device");
    size_t limit;
    const cudaError_t e = gpu_shared_limit(&limit);
    if (e != cudaSuccess) return e;
    if (shared_bytes<kThree, false>(kWanted > 0) + kDeclared > limit) return launch_as<kThree, kPromote, kWanted, true>(t, tiles, stream);
  }
  return launch_as<kThree, kPromote, kWanted, false>(t, tiles, stream);
}
}  // namespace

extern "C" int actscope_cuda_correlation(const struct cuda_layers *layers, struct CUstream_st *stream) {
  bool three = false, promote = false;
  int wanted = 0;
  uint64_t tiles = 0;
  for (int l = 0; l < layers->layers; ++l) {
    const cuda_layer &layer = layers->layer[l];
    three |= layer.z_lo != nullptr, promote |= layer.pitch > TUNE_PAIRS_PROMOTE;
    const int own = layer.functionals & (ACTSCOPE_PAIRS_SIGNED | ACTSCOPE_PAIRS_FEATURES) ? 2 : layer.functionals != 0;
    if (own > wanted) wanted = own;
    const uint64_t a = (layer.rows + kTile - 1) / kTile, b = layer.other_hi ? (layer.other_rows + kTile - 1) / kTile : a;
    tiles += a * b;
  }
  if (layers->layers == 0) return (int)cudaSuccess;
  const cuda_layers &t = *layers;
  switch (three * 6 + promote * 3 + wanted) {
    case 0: return (int)launch<false, false, 0>(t, tiles, stream);
    case 1: return (int)launch<false, false, 1>(t, tiles, stream);
    case 2: return (int)launch<false, false, 2>(t, tiles, stream);
    case 3: return (int)launch<false, true, 0>(t, tiles, stream);
    case 4: return (int)launch<false, true, 1>(t, tiles, stream);
    case 5: return (int)launch<false, true, 2>(t, tiles, stream);
    case 6: return (int)launch<true, false, 0>(t, tiles, stream);
    case 7: return (int)launch<true, false, 1>(t, tiles, stream);
    case 8: return (int)launch<true, false, 2>(t, tiles, stream);
    case 9: return (int)launch<true, true, 0>(t, tiles, stream);
    case 10: return (int)launch<true, true, 1>(t, tiles, stream);
    default: return (int)launch<true, true, 2>(t, tiles, stream);
  }
}
