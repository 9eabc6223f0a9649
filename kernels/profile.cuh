// profile.cuh - what the two kernels of profile.cu share: element types and counters. Loading, and who takes which units, is
// stream.cuh's.
#pragma once
#include "gpu.cuh"
#include "kernels.h"
#include "stream.cuh"
#include "tuning.h"

namespace {
constexpr int kThreads = TUNE_PROFILE_THREADS, kWarps = kThreads / 32, kBatch = TUNE_PROFILE_BATCH;
static_assert(kThreads == kUnitVectors, "a unit is a vector for each thread");

// ---- Element types ---------------------------------------------------------------------------------------------------
template <actscope_dtype kType>
struct Traits {
  static constexpr int kSize = kType == ACTSCOPE_FLOAT64 ? 8 : kType == ACTSCOPE_FLOAT32 ? 4 : (kType == ACTSCOPE_FLOAT16 || kType == ACTSCOPE_BFLOAT16) ? 2 : 1;
  static constexpr int kVector = 16 / kSize;  // elements
};

__device__ __forceinline__ float as_value(uint32_t w) { return core_f32(w); }
__device__ __forceinline__ double as_value(uint64_t w) { return core_f64(w); }

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
}  // namespace
