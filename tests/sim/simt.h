// simt.h - stands in for the CUDA toolkit, so that g++ compiles the kernels' own source and the CPU runs it: one fibre a
// CUDA thread. Force-included:  g++ -std=c++17 -fno-strict-aliasing -include simt.h -x c++ kernels/profile.cu
//
// Contents   types of the CUDA runtime · the engine's interface · instructions of sm_90a · thread indices · barriers and fences · warp
//            collectives · atomics · intrinsics
// Shown      barriers, shuffles, atomics, tails, indices, divergence, data races (TSan), out-of-range accesses (ASan)
// Not shown  the GPU's memory model, PTX, registers, speed
//
// Fibres switch at barriers, warp collectives and, in a random schedule, atomics: everything between runs undisturbed.
// Blocks run to completion one after another in each worker, so a kernel in which blocks wait for each other hangs.
#pragma once
#define SIMT 1

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

// ---- Types of the CUDA runtime -------------------------------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__  // kernels name it by GRID_CONSTANT (gpu.cuh)
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static  // red zones round every array; hence one worker only
#else
#define __shared__ thread_local  // a copy for each worker, filled with poison before every block
#endif

struct uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

#include "toolkit/cuda.h"
#include "toolkit/cuda_runtime_api.h"

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

// ---- The engine ----------------------------------------------------------------------------------------------------
// What stands for an instruction: it works on the arguments that lanes hand over, and not on the kernel's memory.
#define SIMT_UNCHECKED __attribute__((no_sanitize("thread", "address", "undefined")))

namespace simt {
struct Options {
  uint64_t seed;         // SIMT_SEED: 0 threads and blocks in order, 1 reversed, else pseudo-random
  int workers;           // SIMT_WORKERS: operating system threads, each runs its share of the blocks
  int multiprocessors;   // SIMT_MULTIPROCESSORS: sizes persistent grids
  int shared_limit;      // SIMT_SHARED: largest dynamic shared memory of a block
  unsigned char poison;  // fills shared memory and cudaMalloc: 0xFF.. is a NaN and -1
};
extern Options options;
const char *error();  // text of the last failed launch

// ---- Queued work (streams.cpp) and the rest of the runtime (runtime.cpp)
// When work on streams runs. A side stream is one that the library made, a recorded one any that a capture was not begun on.
enum class Order {
  program,  // as it is submitted
  late,     // when the host waits for it, and no more of it than it waits for; side streams last
  early,    // side streams at once, with what they wait for; the rest late
  random    // what may run is drawn, by options.seed
};
struct Runtime {
  bool no_driver = false;                 // there is no GPU
  Order order = Order::program;           // SIMT_ORDER
  int captures = 0;                       // under way: what a capture forbids fails
  unsigned long side_work = 0;            // launches on side streams so far
  long fail_at = 0;                       // the n-th call from now on fails ..
  cudaError_t fail_with = cudaSuccess;    // .. with this
  cudaError_t sticky = cudaSuccess;       // what a kernel broke
  unsigned long synchronous = 0;          // allocations and waits so far: what a capture forbids
  unsigned long allocations = 0;          // and their ends, so far
  size_t held = 0;                        // bytes allocated
  size_t damaged = 0;                     // allocations freed so far with bytes behind them that were written
};
extern Runtime runtime;
cudaError_t entered();                                       // every call of the runtime begins with this, or, where a
cudaError_t forbidden();                                     // capture forbids the call, with this
cudaError_t submit(cudaStream_t stream, std::function<cudaError_t()> work);
cudaError_t drain();                                         // all there is
void callers_stream(cudaStream_t stream);                    // no side stream
bool is_side(cudaStream_t stream);
void allow_dynamic(const void *kernel, int bytes);

struct Asynchronous;  // of a block: copies and products under way (hopper.cpp)
struct Block {
  dim3 size, grid;
  uint3 index;
  unsigned char *dynamic = nullptr;
  size_t dynamic_bytes = 0;
  Asynchronous *asynchronous = nullptr;
};
struct Site {
  const char *file;
  int line;
};
#define SIMT_SITE simt::Site site = {__builtin_FILE(), __builtin_LINE()}
using WarpFn = void (*)(void *const *arg, unsigned mask);  // run once, by the last lane to arrive

struct Lane {
  uint3 index;
  Block *block;
  unsigned thread, lane, warp;
  unsigned mask;  // mask, fn, arg, site: what the lane waits for
  WarpFn fn;
  void *arg;
  Site site;
  bool fenced;   // TSan: a fence came before
  char *loaded;  // TSan: tag of the last atomic, acquired by the next fence
  char *sp;
  void *fake, *fiber, *stack;
  size_t stack_size;
};
extern __thread Lane *self;

void warp_op(unsigned mask, WarpFn fn, void *arg, Site site);
void block_barrier(Site site);
int block_or(int p, Site site);  // a barrier that answers whether p held in any thread
void fence();
void preempt();                                        // a schedule point of random schedules
void before_atomic(const void *p);                     // one too, and what a fence before it releases (TSan)
void cp_async(void *to, const void *from, size_t n);   // the copy happens as late as allowed: at the wait
void cp_async_commit();
void cp_async_wait(unsigned pending);
[[noreturn]] void fail(Site site, const char *format, ...);  // ends the launch with cudaErrorLaunchFailure
cudaError_t run(const void *kernel, dim3 grid, dim3 block, size_t dynamic, void (*body)(void *), void *arg);
void sleep(Site site);  // until wake(), which lets all sleepers of the block look again
void wake();

// ---- Instructions of sm_90a (hopper.cpp), as PTX ISA describes them. Copies and products end as late as they may in schedule
// 0, at once in schedule 1, at random in others. Shared memory is addressed as on a GPU, by 18 bits.
uint32_t shared_address(const void *p);
void barrier_init(uint32_t barrier, uint32_t count, Site site);
void barrier_arrive(uint32_t barrier, uint32_t bytes, Site site);  // and expects so many bytes more in this phase
void barrier_wait(uint32_t barrier, uint32_t parity, Site site);   // until the phase of this parity is over
void copy_box(uint32_t to, const CUtensorMap *map, int32_t x, int32_t y, uint32_t barrier, Site site);
void product_fence(Site site);
void product_64x128x16(float (&d)[64], uint64_t a, uint64_t b, bool accumulate, Site site);  // whole warps, as all below
void product_commit(Site site);
void product_wait(unsigned pending, Site site);
// c[16][columns] = a b^T, sums in float32 in the order of k; columns are a multiple of 8, 128 at most.
void multiply_f16(const uint16_t (*a)[16], const uint16_t (*b)[16], float *c, int columns);
// The engine's side: a block begins; nothing else can run, so what is under way gets on, or is not there; a block ended.
Asynchronous *asynchronous_new();
void asynchronous_begin(Block *block);
bool asynchronous_step(Block *block);
const char *asynchronous_left(Block *block);  // what is wrong with the end, or NULL

template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t dynamic, cudaStream_t stream, A &&...a) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<std::decay_t<P>...> args;
  } call{kernel, {static_cast<P>(a)...}};
  auto go = [=]() mutable {
    return run(reinterpret_cast<const void *>(kernel), grid, block, dynamic,
               [](void *c) { std::apply(static_cast<Call *>(c)->kernel, static_cast<Call *>(c)->args); }, &call);
  };
  runtime.side_work += is_side(stream);
  return submit(stream, go);
}

template <class T>
struct Slot {
  T value, out;
  int from;
};
template <class T>
T shuffle(unsigned mask, T value, int from, Site site) {
  static_assert(std::is_trivially_copyable_v<T>);
  Slot<T> slot{value, value, from};
  warp_op(mask, [](void *const *a, unsigned m) SIMT_UNCHECKED {
    for (int l = 0; l < 32; ++l) {
      if (!(m >> l & 1)) continue;
      auto &s = *static_cast<Slot<T> *>(a[l]);
      if (m >> s.from & 1) s.out = static_cast<Slot<T> *>(a[s.from])->value;
      else memset(static_cast<void *>(&s.out), options.poison, sizeof(T));  // a lane outside the mask: undefined
    }
  }, &slot, site);
  return slot.out;
}
template <class T, class F>
T reduce(unsigned mask, T value, F f, Site site) {
  struct S {
    T value, out;
    F f;
  } s{value, value, f};
  warp_op(mask, [](void *const *a, unsigned m) SIMT_UNCHECKED {
    int first = __builtin_ctz(m);
    S *head = static_cast<S *>(a[first]);
    T total = head->value;
    for (int l = first + 1; l < 32; ++l)
      if (m >> l & 1) total = head->f(total, static_cast<S *>(a[l])->value);
    for (int l = 0; l < 32; ++l)
      if (m >> l & 1) static_cast<S *>(a[l])->out = total;
  }, &s, site);
  return s.out;
}
inline int within(int lane, int width) {
  int l = int(self->lane);
  return lane < (l & -width) + width ? lane : l;
}
template <class T, class F>
T modify(T *p, F f) {
  before_atomic(p);
  T old, next;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do next = f(old);
  while (!__atomic_compare_exchange(p, &old, &next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
template <class T> using Id = std::common_type_t<T>;
template <class To, class From>
To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace simt

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *c, void (*kernel)(P...), A &&...a) {
  auto [grid, block, dynamic, stream] = *c;  // gridDim and blockDim are macros in a kernel's file
  return simt::launch(kernel, grid, block, dynamic, stream, std::forward<A>(a)...);
}

// ---- Thread indices (macros: no members of these names) ----------------------------------------------------------
#define threadIdx (simt::self->index)
#define blockIdx (simt::self->block->index)
#define blockDim (simt::self->block->size)
#define gridDim (simt::self->block->grid)

// ---- Barriers and fences -------------------------------------------------------------------------------------------
inline void __syncthreads(SIMT_SITE) { simt::block_barrier(site); }
inline void __syncwarp(unsigned mask = ~0u, SIMT_SITE) { simt::warp_op(mask, nullptr, nullptr, site); }
inline void __threadfence() { simt::fence(); }
inline void __threadfence_block() { simt::fence(); }
inline void __threadfence_system() { simt::fence(); }
inline unsigned __activemask() { return 1u << simt::self->lane; }  // the least that a GPU may answer
inline void __trap(SIMT_SITE) { simt::fail(site, "__trap"); }
inline int __syncthreads_or(int p, SIMT_SITE) { return simt::block_or(p, site); }

// ---- Warp collectives ----------------------------------------------------------------------------------------------
template <class T>
T __shfl_sync(unsigned m, T v, int from, int width = 32, SIMT_SITE) {
  return simt::shuffle(m, v, (int(simt::self->lane) & -width) | (from & (width - 1)), site);
}
template <class T>
T __shfl_xor_sync(unsigned m, T v, int x, int width = 32, SIMT_SITE) {
  return simt::shuffle(m, v, simt::within(int(simt::self->lane) ^ x, width), site);
}
template <class T>
T __shfl_down_sync(unsigned m, T v, unsigned d, int width = 32, SIMT_SITE) {
  return simt::shuffle(m, v, simt::within(int(simt::self->lane + d), width), site);
}
template <class T>
T __shfl_up_sync(unsigned m, T v, unsigned d, int width = 32, SIMT_SITE) {
  int l = int(simt::self->lane), j = l - int(d);
  return simt::shuffle(m, v, j < (l & -width) ? l : j, site);
}
#define SIMT_REDUCE(name, T, expression)                                         \
  inline T name(unsigned m, T v, SIMT_SITE) {                                    \
    return simt::reduce(m, v, [](T a, T b) -> T { return expression; }, site);   \
  }
SIMT_REDUCE(__reduce_add_sync, unsigned, a + b)
SIMT_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
SIMT_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
SIMT_REDUCE(__reduce_or_sync, unsigned, a | b)
inline unsigned __ballot_sync(unsigned m, int p, SIMT_SITE) {
  return __reduce_or_sync(m, unsigned(!!p) << simt::self->lane, site);
}
inline int __any_sync(unsigned m, int p, SIMT_SITE) { return __ballot_sync(m, p, site) != 0; }
inline int __all_sync(unsigned m, int p, SIMT_SITE) { return __ballot_sync(m, p, site) == m; }

// ---- Atomics -------------------------------------------------------------------------------------------------------
#define SIMT_ATOMIC(name, expression)                                                 \
  template <class T>                                                                  \
  T name(T *p, simt::Id<T> v) {                                                       \
    return simt::modify(p, [v](T o) SIMT_UNCHECKED -> T { return expression; });        \
  }
SIMT_ATOMIC(atomicAdd, o + v)
SIMT_ATOMIC(atomicSub, o - v)
SIMT_ATOMIC(atomicMin, v < o ? v : o)
SIMT_ATOMIC(atomicMax, v > o ? v : o)
SIMT_ATOMIC(atomicAnd, o & v)
SIMT_ATOMIC(atomicOr, o | v)
SIMT_ATOMIC(atomicExch, ((void)o, v))
SIMT_ATOMIC(atomicInc, o >= v ? T(0) : T(o + 1))
template <class T>
T atomicCAS(T *p, simt::Id<T> expected, simt::Id<T> v) {
  simt::before_atomic(p);
  __atomic_compare_exchange(p, &expected, &v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

// ---- Intrinsics ----------------------------------------------------------------------------------------------------
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __float_as_uint(float f) { return simt::bits<unsigned>(f); }
inline float __uint_as_float(unsigned u) { return simt::bits<float>(u); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
#define SIMT_MINMAX(T)                             \
  inline T min(T a, T b) { return b < a ? b : a; } \
  inline T max(T a, T b) { return a < b ? b : a; }
SIMT_MINMAX(int)
SIMT_MINMAX(unsigned)
SIMT_MINMAX(long)
SIMT_MINMAX(unsigned long)
SIMT_MINMAX(long long)
SIMT_MINMAX(unsigned long long)
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
