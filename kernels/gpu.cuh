// gpu.cuh - what the kernels share: launching, block-wide helpers, and the few instructions that C++ has no name for.
//
// Contents   launch · dynamic shared memory · last block · relaxed loads · atomics on shared memory · integers · sums ·
//            asynchronous copies · binary16 · matrix fragments and products · logarithm
// The same source compiles for the GPU with nvcc and for the CPU with tests/sim (SIMT is defined there): every PTX
// instruction stands here behind a small function with a plain twin, and nowhere else.
#pragma once
#ifndef SIMT
#include <cuda_runtime.h>
#endif
#include <stdint.h>

#include <utility>

#include "core/dtype.h"

constexpr unsigned kFullMask = 0xFFFFFFFFu;

// A kernel's argument that is a table of several kilobytes. Sim passes a reference, or every thread would copy it.
#ifdef SIMT
#define GRID_CONSTANT(T) const T &
#else
#define GRID_CONSTANT(T) const __grid_constant__ T
#endif

// A function of its own: keeps what runs once from taking the registers of what runs always.
#ifdef SIMT
#define GPU_NOINLINE __attribute__((noinline))
#else
#define GPU_NOINLINE __noinline__
#endif

// ---- Launch ----------------------------------------------------------------------------------------------------------
// Asks for dynamic shared memory beyond the 48 KiB that every kernel may have.
template <class... P>
cudaError_t gpu_allow_dynamic(void (*kernel)(P...), size_t dynamic) {
  if (dynamic <= (48u << 10)) return cudaSuccess;
  return cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)dynamic);
}

// The dynamic and static shared memory that a block may have on the current device. Compute capabilities 8.6, 8.9 and 12.0
// have the least, 99 KiB; 8.0 has 163, 9.0 and 10.0 have 227.
constexpr size_t kLeastShared = 99u << 10;
// In a kernel for devices with less than 9.0 has: not compiled into machine code for 9.0 alone, where the host never picks it.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define GPU_NOT_FOR_90A(small) \
  if constexpr (small) {       \
    __trap();                  \
    return;                    \
  }
#else
#define GPU_NOT_FOR_90A(small)
#endif
inline cudaError_t gpu_shared_limit(size_t *bytes) {
  int device = 0, limit = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  *bytes = (size_t)limit;
  return e;
}

// Queues kernel(args...) on the stream and returns the error instead of leaving it behind. Neither waits nor allocates,
// so it may be captured in a graph.
template <class... P, class... A>
cudaError_t gpu_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t dynamic, cudaStream_t stream, A &&...args) {
  cudaError_t e = gpu_allow_dynamic(kernel, dynamic);
  if (e != cudaSuccess) return e;
#ifdef SIMT
  return simt::launch(kernel, grid, block, dynamic, stream, std::forward<A>(args)...);
#else
  cudaLaunchConfig_t c = {};
  c.gridDim = grid, c.blockDim = block, c.dynamicSmemBytes = dynamic, c.stream = stream;
  return cudaLaunchKernelEx(&c, kernel, std::forward<A>(args)...);
#endif
}

// Blocks of a persistent grid: as many as the device holds at once, at most `work`, at least 1.
template <class... P>
cudaError_t gpu_resident_blocks(void (*kernel)(P...), int threads, size_t dynamic, uint64_t work, unsigned *blocks) {
  int device = 0, units = 0, each = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount, device);
  if (e == cudaSuccess) e = gpu_allow_dynamic(kernel, dynamic);
  if (e == cudaSuccess)
    e = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, (const void *)kernel, threads, dynamic);
  if (e != cudaSuccess) return e;
  uint64_t most = (uint64_t)units * (uint64_t)(each > 0 ? each : 1);
  *blocks = (unsigned)(work < 1 ? 1 : work < most ? work : most);
  return cudaSuccess;
}

// ---- Blocks ----------------------------------------------------------------------------------------------------------
// The block's dynamic shared memory, aligned to 128 bytes.
__device__ __forceinline__ unsigned char *dynamic_shared() {
#ifdef SIMT
  return simt::self->block->dynamic;
#else
  extern __shared__ __align__(128) unsigned char gpu_dynamic_shared[];
  return gpu_dynamic_shared;
#endif
}

// True in all threads of the block that arrives last of `blocks`; what any of them wrote before its call is then
// visible. The counter is left at 0, ready for the next round. The fence of thread 0 comes after the barrier, so that
// it covers what the other threads wrote.
__device__ __forceinline__ bool last_block(unsigned *counter, unsigned blocks) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicInc(counter, blocks - 1) == blocks - 1;
    __threadfence();
  }
  __syncthreads();
  return last;
}

// A load that may race with atomics on the same word: it sees some value the word had.
template <class T>
__device__ __forceinline__ T load_relaxed(const T *p) {
#ifdef SIMT
  return __atomic_load_n(p, __ATOMIC_RELAXED);
#else
  return *const_cast<const volatile T *>(p);
#endif
}

// Adds v to the word at `offset` bytes from `base`, which is the same for the whole block, in shared memory. For every
// thread: round a predicated atomic on shared memory ptxas puts a branch, three instructions more. Threads with nothing to
// add better add to a word of their own that nobody reads.
__device__ __forceinline__ void shared_add(uint32_t *base, uint32_t offset, uint32_t v) {
#ifdef SIMT
  atomicAdd(base + offset / 4, v);
#else
  asm volatile("red.shared.add.u32 [%0], %1;" ::"r"((unsigned)__cvta_generic_to_shared(base) + offset), "r"(v) : "memory");
#endif
}

// ---- Integers ----------------------------------------------------------------------------------------------------------
// What the compiler makes two instructions of, left to itself.
__device__ __forceinline__ uint32_t choose_word(bool first, uint32_t a, uint32_t b) {  // first ? a : b
#ifdef SIMT
  return first ? a : b;
#else
  uint32_t r;
  asm("{.reg .pred p; setp.ne.u32 p, %3, 0; selp.b32 %0, %1, %2, p;}" : "=r"(r) : "r"(a), "r"(b), "r"((unsigned)first));
  return r;
#endif
}
template <uint32_t kMask, uint32_t kSet>
__device__ __forceinline__ uint32_t mask_and_set(uint32_t w) {  // (w & kMask) | kSet
#ifdef SIMT
  return (w & kMask) | kSet;
#else
  uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(r) : "r"(w), "r"(kMask), "r"(kSet));
  return r;
#endif
}
// The largest and the smallest of three: one instruction from sm_90 on, two before.
__device__ __forceinline__ int largest(int a, int b, int c) {
#ifdef SIMT
  return max(max(a, b), c);
#else
  return __vimax3_s32(a, b, c);
#endif
}
__device__ __forceinline__ uint32_t largest(uint32_t a, uint32_t b, uint32_t c) {
#ifdef SIMT
  return max(max(a, b), c);
#else
  return __vimax3_u32(a, b, c);
#endif
}
__device__ __forceinline__ uint32_t smallest(uint32_t a, uint32_t b, uint32_t c) {
#ifdef SIMT
  return min(min(a, b), c);
#else
  return __vimin3_u32(a, b, c);
#endif
}
// marks |= bit unless both (a ^ a >> 15) & mask and (b ^ b >> 15) & mask are something: two instructions beside the shifts,
// and half a one to mark.
__device__ __forceinline__ void mark_unless_both(uint32_t &marks, uint32_t bit, uint32_t a, uint32_t b, uint32_t mask) {
#ifdef SIMT
  if (((a ^ a >> 15) & mask) == 0 || ((b ^ b >> 15) & mask) == 0) marks |= bit;
#else
  asm("{.reg .pred p, q; setp.eq.u32 p, 0, 0; lop3.and.b32 _|q, %1, %2, %5, 0x28, p; lop3.and.b32 _|p, %3, %4, %5, 0x28, q;"
      " @!p or.b32 %0, %0, %6;}"
      : "+r"(marks) : "r"(a), "r"(a >> 15), "r"(b), "r"(b >> 15), "r"(mask), "r"(bit));
#endif
}

// ---- Sums --------------------------------------------------------------------------------------------------------------
// Sum over a warp in a fixed order; the same in every lane. All 32 lanes call it.
template <class T>
__device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(kFullMask, v, d);
  return v;
}

// Sums of K values over a block of kThreads in a fixed order; the same in every thread. `shared` holds
// K * (kThreads / 32 + 1) values and may be written again after the next barrier.
template <int kThreads, int K, class T>
__device__ __forceinline__ void block_sum(T (&v)[K], T *shared) {
  constexpr int kWarps = kThreads / 32;
  static_assert(K <= kThreads, "one thread adds up one value");
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    T sum = warp_sum(v[k]);
    if (lane == 0) shared[k * kWarps + warp] = sum;
  }
  __syncthreads();
  if (threadIdx.x < K) {
    const T *part = shared + threadIdx.x * kWarps;
    T total = part[0];
    for (int w = 1; w < kWarps; ++w) total += part[w];
    shared[K * kWarps + threadIdx.x] = total;
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < K; ++k) v[k] = shared[K * kWarps + k];
}

// ---- Asynchronous copies, global to shared -----------------------------------------------------------------------------
// 16 bytes; both addresses are multiples of 16. The copy has happened only after cp_async_wait and, for other threads
// to see it, a barrier.
__device__ __forceinline__ void cp_async16(void *shared, const void *global) {
#ifdef SIMT
  simt::cp_async(shared, global, 16);
#else
  unsigned s = (unsigned)__cvta_generic_to_shared(shared);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(s), "l"(global) : "memory");
#endif
}
__device__ __forceinline__ void cp_async_commit() {
#ifdef SIMT
  simt::cp_async_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until at most N of the newest groups of this thread are still under way.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
#ifdef SIMT
  simt::cp_async_wait(N);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// ---- binary16 ----------------------------------------------------------------------------------------------------------
__device__ __forceinline__ float f16_value(uint16_t h) {
#ifdef SIMT
  return dtype_f16(h);
#else
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
#endif
}
// Rounds to nearest, ties to even.
__device__ __forceinline__ uint16_t f16_bits(float f) {
#ifdef SIMT
  uint32_t b = core_bits32(f), sign = b >> 16 & 0x8000u, m = b & 0x7FFFFFFFu;
  if (m > 0x7F800000u) return (uint16_t)(sign | 0x7FFFu);
  if (m >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u);                           // 65520 and above
  if (m < 0x38800000u) return (uint16_t)(sign | (uint32_t)lrintf(core_f32(m) * 16777216.0f));  // units of 2^-24
  return (uint16_t)(sign | ((m + 0xFFFu + (m >> 13 & 1u) - 0x38000000u) >> 13));
#else
  uint16_t h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
#endif
}

// ---- Matrix fragments and products (whole warps) -----------------------------------------------------------------------
// Four 8x8 matrices of 16-bit elements from shared memory: lane l gives the address of row l % 8 of matrix l / 8, and
// receives in r[i] elements (l / 4, l % 4 * 2 ..+1) of matrix i; with kTranspose, of its transpose.
template <bool kTranspose>
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void *row) {
#ifdef SIMT
  struct Arg {
    uint16_t row[8];
    uint32_t out[4];
  } arg;
  memcpy(arg.row, row, sizeof arg.row);  // here, so that TSan and ASan see each lane read its row
  simt::warp_op(~0u, [](void *const *a, unsigned) SIMT_UNCHECKED {
    auto at = [&](int matrix, int y, int x) SIMT_UNCHECKED { return uint32_t(static_cast<Arg *>(a[matrix * 8 + y])->row[x]); };
    for (int l = 0; l < 32; ++l)
      for (int i = 0; i < 4; ++i) {
        int y = l / 4, x = l % 4 * 2;
        static_cast<Arg *>(a[l])->out[i] =
            kTranspose ? at(i, x, y) | at(i, x + 1, y) << 16 : at(i, y, x) | at(i, y, x + 1) << 16;
      }
  }, &arg, {__FILE__, __LINE__});
  for (int i = 0; i < 4; ++i) r[i] = arg.out[i];
#else
  unsigned s = (unsigned)__cvta_generic_to_shared(row);
  if (kTranspose)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(s) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(s) : "memory");
#endif
}

// d += a b: 16x16 times 16x8 of binary16, sums in float32. Lane l with g = l / 4, t = l % 4 * 2 holds
//   a[0..3]: rows g and g + 8 at columns t, t+1, then both rows at columns t+8, t+9
//   b0, b1:  column g at rows t, t+1, then t+8, t+9          d[0..3]: row g (two) and g + 8 (two) at columns t, t+1
__device__ __forceinline__ void mma_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef SIMT
  struct Arg {
    float *d;
    uint32_t a[4], b[2];
  } arg{d, {a[0], a[1], a[2], a[3]}, {b0, b1}};
  simt::warp_op(~0u, [](void *const *p, unsigned) SIMT_UNCHECKED {
    uint16_t A[16][16], B[8][16];
    float C[16][8];
    for (int l = 0; l < 32; ++l) {
      auto &x = *static_cast<Arg *>(p[l]);
      int g = l / 4, t = l % 4 * 2;
      for (int i = 0; i < 4; ++i) memcpy(&A[g + i % 2 * 8][t + i / 2 * 8], &x.a[i], 4);
      for (int i = 0; i < 2; ++i) memcpy(&B[g][t + i * 8], &x.b[i], 4);
    }
    simt::multiply_f16(A, B, C[0], 8);
    for (int l = 0; l < 32; ++l) {
      auto &x = *static_cast<Arg *>(p[l]);
      int g = l / 4, t = l % 4 * 2;
      for (int h = 0; h < 2; ++h) x.d[h] += C[g][t + h], x.d[2 + h] += C[g + 8][t + h];
    }
  }, &arg, {__FILE__, __LINE__});
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// ---- Logarithm ---------------------------------------------------------------------------------------------------------
// log2 |x| with subnormals taken as 0: -infinity for those and for 0. Within 2^-22 absolute near 1, else about 2 ulp.
__device__ __forceinline__ float fast_log2_abs(float x) {
#ifdef SIMT
  float a = fabsf(x);
  return a < 1.17549435e-38f ? -INFINITY : log2f(a);
#else
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(fabsf(x)));
  return y;
#endif
}
