// profile.cuh - what the two kernels of profile.cu share: element types, loading, counters, and who takes which units.
#pragma once
#include "gpu.cuh"
#include "kernels.h"
#include "tuning.h"

namespace {
constexpr int kThreads = TUNE_PROFILE_THREADS, kWarps = kThreads / 32, kBatch = TUNE_PROFILE_BATCH;

// ---- Element types ---------------------------------------------------------------------------------------------------
template <actscope_dtype kType>
struct Traits {
  static constexpr int kSize = kType == ACTSCOPE_FLOAT64 ? 8 : kType == ACTSCOPE_FLOAT32 ? 4 : (kType == ACTSCOPE_FLOAT16 || kType == ACTSCOPE_BFLOAT16) ? 2 : 1;
  static constexpr int kVector = 16 / kSize;  // elements
};
template <int kSize> struct Word { using type = uint32_t; };
template <> struct Word<1> { using type = uint8_t; };
template <> struct Word<2> { using type = uint16_t; };
template <> struct Word<8> { using type = uint64_t; };

__device__ __forceinline__ float as_value(uint32_t w) { return core_f32(w); }
__device__ __forceinline__ double as_value(uint64_t w) { return core_f64(w); }

// ---- Loading ---------------------------------------------------------------------------------------------------------
// Element i of the stream, of any layout.
template <int kSize>
__device__ __forceinline__ typename Word<kSize>::type load_element(const cuda_profile_table &t,
                                                                   const cuda_profile_layer &layer, uint64_t i) {
  int64_t offset = (int64_t)i;
  if (layer.dims) {
    offset = 0;
#pragma unroll 1
    for (int d = layer.dims - 1; d >= 0; --d) {
      uint64_t extent = (uint64_t)t.axis[layer.axis + d].extent;
      offset += (int64_t)(i % extent) * t.axis[layer.axis + d].stride;
      i /= extent;
    }
  }
  return __ldg(static_cast<const typename Word<kSize>::type *>(layer.data) + offset);
}
// Aligned vector v of a compact layer.
template <int kSize>
__device__ __forceinline__ uint4 load_vector(const cuda_profile_layer &layer, uint64_t v) {
  return __ldg(reinterpret_cast<const uint4 *>(static_cast<const char *>(layer.data) + layer.head * kSize) + v);
}

// ---- Counters -------------------------------------------------------------------------------------------------------
__device__ __forceinline__ void count_global(uint32_t *histogram, uint32_t bins, bool wide, uint32_t bin, uint32_t n) {
  uint32_t old = atomicAdd(histogram + bin, n);
  if (wide && old + n < old) atomicAdd(histogram + bins + bin, 1u);
}

// Counters in shared memory are 16 bits wide, two to a word. Places 2i and 2i + 1 share word i: the low half counts both,
// the upper half the odd one, so that what to add needs no choice. No half is ever above 65,535: a sweep takes out what
// reached kSwept, and between two sweeps come at most TUNE_PROFILE_SWEEP.
constexpr uint32_t kSwept = 0x4000;
static_assert(kSwept - 1 + TUNE_PROFILE_SWEEP <= 65535, "the counters must not overflow");
__device__ __forceinline__ uint32_t counter_step(uint32_t place) { return mask_and_set<0x10000u, 1u>(place << 16); }

// Which of the 65,536 keys have a counter, and at what place. float32 and pairs of bytes: all, at their own number. 16-bit
// types: those of the window, the sign in the lowest bit, so that -0 is beside +0. With kFull the window holds all.
// Where shared memory is short, it holds the middle half of the exponents.
template <actscope_dtype kType, bool kFull>
struct Place {
  static constexpr bool kOwn = kFull && kType != ACTSCOPE_FLOAT16 && kType != ACTSCOPE_BFLOAT16;
  static constexpr uint32_t kWindow = kFull ? 65536 : TUNE_PROFILE_WINDOW;
  static __device__ __forceinline__ uint32_t base() { return kFull ? 0 : kType == ACTSCOPE_FLOAT16 ? 0x1000u : 0x2000u; }
  static __device__ __forceinline__ uint32_t of(uint32_t key) {
    return kOwn ? key : (((key & 0x7FFFu) - base()) << 1 | key >> 15);
  }
  static __device__ __forceinline__ uint32_t key(uint32_t place) {
    return kOwn ? place : (place >> 1) + base() + (place << 15 & 0x8000u);
  }
};

// Calls f(place, n) for what every counter holds, where its word counts kFloor or more, and takes it out. Of kPlaces
// places. Between barriers.
template <uint32_t kPlaces, uint32_t kFloor, class F>
__device__ __forceinline__ void drain(uint32_t *shared, F f) {
  static_assert(kPlaces % 8 == 0 && (kFloor == 1 || kFloor == kSwept), "four words are tested at once");
  constexpr uint32_t kTest = kFloor == 1 ? 0xFFFFu : 0xFFFFu & ~(kFloor - 1);
  uint4 *words = reinterpret_cast<uint4 *>(shared);
  auto holds = [](const uint4 &q) { return q.x | q.y | q.z | q.w; };
  auto take = [&](uint32_t i) {
    uint4 q = words[i];
    if ((holds(q) & kTest) == 0) return;
    uint32_t w[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint32_t both = w[k] & 0xFFFFu, odd = w[k] >> 16, place = i * 8 + (uint32_t)k * 2;
      if (both < kFloor) continue;
      if (both > odd) f(place, both - odd);
      if (odd > 0) f(place + 1, odd);
      w[k] = 0;
    }
    words[i] = make_uint4(w[0], w[1], w[2], w[3]);
  };
  uint32_t i = threadIdx.x;
  for (; i + 3 * kThreads < kPlaces / 8; i += 4 * kThreads) {  // mostly nothing: one test for 16 words
    uint32_t any = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) any |= holds(words[i + k * kThreads]);
    if ((any & kTest) == 0) continue;
#pragma unroll 1
    for (int k = 0; k < 4; ++k) take(i + k * kThreads);
  }
#pragma unroll 1
  for (; i < kPlaces / 8; i += kThreads) take(i);
}
__device__ __forceinline__ void clear(uint32_t *shared, uint32_t places) {
  for (uint32_t i = threadIdx.x; i < places / 8; i += kThreads)
    reinterpret_cast<uint4 *>(shared)[i] = make_uint4(0, 0, 0, 0);
}

// ---- Which units a block takes -----------------------------------------------------------------------------------------
__host__ __device__ inline uint64_t units_of(const cuda_profile_layer &layer) {
  uint64_t u = (layer.vectors + kThreads - 1) / kThreads;
  return u > 0 ? u : 1;
}
__device__ __forceinline__ uint64_t first_unit(uint64_t units, unsigned block, unsigned blocks) {
  return units / blocks * block + units % blocks * block / blocks;
}
__device__ __forceinline__ unsigned block_of(uint64_t units, uint64_t unit, unsigned blocks) {
  unsigned low = 0, high = blocks - 1;  // the last block whose first unit is not beyond
  while (low < high) {
    unsigned middle = (low + high + 1) / 2;
    if (first_unit(units, middle, blocks) <= unit) low = middle; else high = middle - 1;
  }
  return low;
}
}  // namespace
