// profile_narrow.cuh - the kernel of 16- and 8-bit types, which only counts: see profile.cu.
#pragma once
#include "profile.cuh"

namespace {
// Zeros would meet on one counter after a ReLU: every lane has a word of its own for them, behind the counters.
constexpr uint32_t kZeroPlaces = 64;

// kFull: all 65,536 counters stand in shared memory, and 8-bit types are counted as pairs of neighbours.
template <actscope_dtype kType, bool kFull>
struct Narrow {
  using At = Place<kType, kFull>;
  static constexpr bool kBytes = Traits<kType>::kSize == 1, kPairs = kBytes && kFull;
  static constexpr uint32_t kPlaces = At::kWindow + kZeroPlaces;

  const cuda_profile_layer &layer;
  uint32_t *counters, *bytes;  // in shared memory
  uint32_t own_zero;           // this lane's word for zeros, in bytes from the first counter
  bool wide;
  uint32_t zeros;              // of single bytes

  // One more of the key in the upper or the lower half of w.
  template <bool kUpper>
  __device__ __forceinline__ void key(uint32_t w) {
    if (kPairs) {
      const bool zero = (w & (kUpper ? 0xFFFF0000u : 0xFFFFu)) == 0;
      const uint32_t offset = (kUpper ? w >> 15 : w << 1) & 0x1FFFCu;
      shared_add(counters, choose_word(zero, own_zero, offset), mask_and_set<0x10000u, 1u>(kUpper ? w : w << 16));
      return;
    }
    const bool zero = (w & (kUpper ? 0x7FFF0000u : 0x7FFFu)) == 0;
    uint32_t offset = (kUpper ? w >> 14 : w << 2) & 0x1FFFCu;
    if (!kFull) {
      const uint32_t bits = kUpper ? w >> 16 : w & 0xFFFFu, place = At::of(bits);
      if (!zero && place >= At::kWindow) {
        count_global(layer.histogram, 65536, wide, bits, 1);
        return;
      }
      offset = place / 2 * 4;
    }
    shared_add(counters, choose_word(zero, own_zero, offset), mask_and_set<0x10000u, 1u>(kUpper ? w >> 15 : w << 1));
  }
  __device__ __forceinline__ void byte(uint32_t b) {
    if (b == 0) ++zeros; else atomicAdd(bytes + b, 1u);
  }
  __device__ __forceinline__ void vector(const uint4 &q) {
    const uint32_t w[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (kBytes && !kPairs) byte(w[k] & 0xFFu), byte(w[k] >> 8 & 0xFFu), byte(w[k] >> 16 & 0xFFu), byte(w[k] >> 24);
      else key<false>(w[k]), key<true>(w[k]);
    }
  }
  // Element after element.
  __device__ __forceinline__ void strided(const cuda_profile_table &table, uint64_t first) {
#pragma unroll 1
    for (int e = 0; e < Traits<kType>::kVector; e += kPairs ? 2 : 1) {
      uint32_t b = load_element<Traits<kType>::kSize>(table, layer, first + (uint64_t)e);
      if (kPairs) b |= (uint32_t)load_element<1>(table, layer, first + (uint64_t)e + 1) << 8;
      if (kBytes && !kPairs) byte(b); else key<false>(b);
    }
  }
  // n of what is counted at a place go to the layer's histogram.
  __device__ __forceinline__ void spill(uint32_t place, uint32_t n) const {
    uint32_t key = place >= At::kWindow ? (kBytes ? 0 : place << 15 & 0x8000u) : At::key(place);
    if (kBytes) {
      count_global(layer.histogram, 256, wide, key & 0xFFu, n);
      count_global(layer.histogram, 256, wide, key >> 8, n);
    } else {
      count_global(layer.histogram, 65536, wide, key, n);
    }
  }
};

template <actscope_dtype kType, bool kFull>
__global__ void __launch_bounds__(kThreads, 1) profile_narrow(GRID_CONSTANT(cuda_profile_table) table) {
  using T = Traits<kType>;
  using Part = Narrow<kType, kFull>;
  constexpr bool kBytes = Part::kBytes, kPairs = Part::kPairs, kSweeps = !kBytes || kPairs;
  constexpr uint32_t kPlaces = Part::kPlaces, kZeros = Part::At::kWindow / 2;
  constexpr int kLoads = TUNE_PROFILE_NARROW_BATCH;
  constexpr uint32_t kSweep = TUNE_PROFILE_SWEEP / (kThreads * 8);  // units of 8 keys a vector
  static_assert(kSweep >= kLoads && kSweep % kLoads == 0, "a batch must not pass a sweep");
  uint32_t *counters = reinterpret_cast<uint32_t *>(dynamic_shared());
  __shared__ uint32_t bytes[256];
  const int tid = (int)threadIdx.x;

  uint64_t unit = first_unit(table.units, blockIdx.x, gridDim.x);
  const uint64_t end = first_unit(table.units, blockIdx.x + 1, gridDim.x);

  for (int l = layer_of_unit(table, unit); unit < end; ++l) {
    const cuda_profile_layer &layer = table.layer[l];
    const uint64_t stop_all = layer.first_unit + units_of(layer), whole = layer.vectors / kThreads;
    uint64_t u = unit - layer.first_unit, stop = (stop_all < end ? stop_all : end) - layer.first_unit;
    const bool holds_first = u == 0;
    unit = stop + layer.first_unit;

    clear(counters, kPlaces);
    if (tid < 256) bytes[tid] = 0;
    __syncthreads();

    Part part{layer, counters, bytes, (kZeros + (uint32_t)tid % 32) * 4, cuda_histogram_wide(layer.elements) != 0, 0};
    auto spill = [&](uint32_t place, uint32_t n) { part.spill(place, n); };
    uint32_t fresh = 0;  // units since the last sweep
    while (u < stop) {
      if (kSweeps && fresh + kLoads > kSweep) {
        __syncthreads();
        drain<kPlaces, kSwept>(counters, spill);
        __syncthreads();
        fresh = 0;
      }
      uint64_t v = u * kThreads + (uint64_t)tid;
      if (layer.dims == 0 && u + kLoads <= stop && u + kLoads <= whole) {
        uint4 q[kLoads];
#pragma unroll
        for (int k = 0; k < kLoads; ++k) q[k] = load_vector<T::kSize>(layer, v + (uint64_t)k * kThreads);
#pragma unroll
        for (int k = 0; k < kLoads; ++k) part.vector(q[k]);
        u += kLoads, fresh += kLoads;
      } else {
        if (v < layer.vectors) {
          if (layer.dims == 0) part.vector(load_vector<T::kSize>(layer, v)); else part.strided(table, v * T::kVector);
        }
        ++u, ++fresh;
      }
    }
    if (holds_first) {
      uint64_t covered = layer.vectors * T::kVector, rest = layer.elements - covered;
      if ((uint64_t)tid < rest) {
        uint64_t i = (uint64_t)tid < layer.head ? (uint64_t)tid : covered + (uint64_t)tid;
        count_global(layer.histogram, dtype_bins(kType), part.wide, load_element<T::kSize>(table, layer, i), 1);
      }
    }

    // The block's counts of this layer.
    if (kBytes && !kPairs) {
      uint32_t zeros = warp_sum(part.zeros);
      if (tid % 32 == 0 && zeros) atomicAdd(bytes, zeros);
    }
    __syncthreads();
    if (!kBytes) {
      drain<kPlaces, 1u>(counters, spill);
    } else {
      if (kPairs) {
        // Counter (high byte h, low byte b) is half of word h * 128 + b / 2: columns of words make the low bytes,
        // rows of 128 words the high ones, read from a different column in every lane so that banks do not clash.
        uint32_t both = 0, odd = 0;
        for (int h = tid / 128; h < 256; h += kThreads / 128) {
          uint32_t w = counters[h * 128 + tid % 128];
          both += w & 0xFFFFu, odd += w >> 16;
        }
        if (both > odd) atomicAdd(bytes + tid % 128 * 2, both - odd);
        if (odd) atomicAdd(bytes + tid % 128 * 2 + 1, odd);
        uint32_t row = 0;
        for (int k = 0; k < 64; ++k) row += counters[tid / 2 * 128 + tid % 2 * 64 + (k + tid / 2) % 64] & 0xFFFFu;
        if (row) atomicAdd(bytes + tid / 2, row);
        if (tid < 32) atomicAdd(bytes, 2 * (counters[kZeros + tid] & 0xFFFFu));
        __syncthreads();
      }
      if (tid < 256 && bytes[tid]) count_global(layer.histogram, 256, part.wide, (uint32_t)tid, bytes[tid]);
    }
    // What the next layer clears before its first barrier, each thread was the last to read itself.
  }
}

static_assert(kThreads == 512, "the split of byte pairs takes two threads a row and four a column");
}  // namespace
