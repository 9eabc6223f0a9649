// hopper.cuh - the instructions that sm_90a adds: barriers in shared memory that count bytes, copies of boxes of a tensor, and
// products of warpgroups. Behind small functions, as in gpu.cuh; their twins are tests/sim/hopper.cpp, written from PTX ISA.
//
// Contents   addresses · registers · barriers · copies · products
// No device has run these yet.
#pragma once
#include "gpu.cuh"
#ifndef SIMT
#include <cuda.h>
#endif

// Machine code of these exists for sm_90a alone; elsewhere a kernel made of them is empty.
#if defined(SIMT) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GPU_HAS_HOPPER 1
#else
#define GPU_HAS_HOPPER 0
#endif

// ---- Copies: the host's part -----------------------------------------------------------------------------------------
constexpr int kBoxColumns = 64, kBoxRows = 128, kBoxBytes = kBoxColumns * kBoxRows * 2;

// Describes rows x pitch of binary16 for copies of boxes of 128 rows by 64 columns. A box lies in shared memory row by row,
// 128 bytes each, the eight 16-byte pieces of a row exchanged by its number modulo 8 (the 128-byte swizzle), from a multiple
// of 1024 bytes on. What lies outside the tensor is zeros. z is aligned to 16 bytes, pitch a multiple of 8, neither empty.
// The driver's function is found at run time, so that programs start where there is no driver.
static inline cudaError_t box_map(CUtensorMap *map, const uint16_t *z, uint64_t rows, uint32_t pitch) {
  using Encode = CUresult (*)(CUtensorMap *, CUtensorMapDataType, uint32_t, void *, const uint64_t *, const uint64_t *, const uint32_t *,
                              const uint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  static void *cached = nullptr;
  void *function = __atomic_load_n(&cached, __ATOMIC_ACQUIRE);
  if (!function) {
    cudaDriverEntryPointQueryResult found;
#if defined(SIMT) || CUDART_VERSION >= 12050
    const cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
#else
    const cudaError_t e = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
    if (e != cudaSuccess) return e;
    if (found != cudaDriverEntryPointSuccess || !function) return cudaErrorSymbolNotFound;
    __atomic_store_n(&cached, function, __ATOMIC_RELEASE);
  }
  const uint64_t extent[2] = {pitch, rows}, stride[1] = {(uint64_t)pitch * 2};
  const uint32_t box[2] = {kBoxColumns, kBoxRows}, step[2] = {1, 1};
  const CUresult r = reinterpret_cast<Encode>(function)(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, const_cast<uint16_t *>(z), extent, stride,
                                                        box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                                        CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return r == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

#if GPU_HAS_HOPPER
#ifdef SIMT
#define HOPPER_SITE , SIMT_SITE
#define HOPPER_SITE_ALONE SIMT_SITE
#else
#define HOPPER_SITE
#define HOPPER_SITE_ALONE
#endif

// ---- Addresses -------------------------------------------------------------------------------------------------------
__device__ __forceinline__ uint32_t shared_address(const void *p) {
#ifdef SIMT
  return simt::shared_address(p);
#else
  return (uint32_t)__cvta_generic_to_shared(p);
#endif
}

// ---- Registers -------------------------------------------------------------------------------------------------------
// By all warps of a warpgroup: each of their threads has N registers from here on, a multiple of 8. What some give up others
// may take; a kernel that does needs its launch bounds, and the roles in the branches of one if.
template <int N>
__device__ __forceinline__ void registers_down() {
#ifndef SIMT
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
#endif
}
template <int N>
__device__ __forceinline__ void registers_up() {
#ifndef SIMT
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
#endif
}

// ---- Barriers --------------------------------------------------------------------------------------------------------
// 8 bytes of shared memory. A phase ends when `count` arrivals have come and as many bytes as were announced. Phase k has
// parity k % 2; waiting for parity 1 before any phase has ended returns at once. Whoever waits must not fall two phases back.
__device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t count HOPPER_SITE) {
#ifdef SIMT
  simt::barrier_init(barrier, count, site);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
#endif
}
// By who initialised them, before a __syncthreads: copies see the barriers too.
__device__ __forceinline__ void barrier_init_fence() {
#ifndef SIMT
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier HOPPER_SITE) {
#ifdef SIMT
  simt::barrier_arrive(barrier, 0, site);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#endif
}
// Arrives, and announces so many bytes.
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes HOPPER_SITE) {
#ifdef SIMT
  simt::barrier_arrive(barrier, bytes, site);
#else
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
#endif
}
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity HOPPER_SITE) {
#ifdef SIMT
  simt::barrier_wait(barrier, parity, site);
#else
  uint32_t over;
  do
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p;}"
                 : "=r"(over) : "r"(barrier), "r"(parity) : "memory");
  while (!over);
#endif
}

// ---- Copies ----------------------------------------------------------------------------------------------------------
// The box whose first column and row are x and y, to shared memory; kBoxBytes count against the barrier when they are there.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap *map, int32_t x, int32_t y, uint32_t barrier HOPPER_SITE) {
#ifdef SIMT
  simt::copy_box(to, map, x, y, barrier, site);
#else
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
               "l"(map), "r"(x), "r"(y), "r"(barrier) : "memory");
#endif
}

// ---- Products --------------------------------------------------------------------------------------------------------
// An operand in shared memory, rows along the summed index, as copy_box leaves it: address of the first row's 16 columns (a
// multiple of 32 bytes into a row of a box), groups of 8 rows 1024 bytes apart, 128-byte swizzle.
__device__ __forceinline__ uint64_t product_operand(uint32_t address) {
  return (uint64_t)((address & 0x3FFFFu) >> 4) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}
// Before the first product, and after registers were touched that the next one adds to.
__device__ __forceinline__ void product_fence(HOPPER_SITE_ALONE) {
#ifdef SIMT
  simt::product_fence(site);
#else
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
// To the compiler, registers get their values here: before product_fence, so that it computes them before it, and after
// product_wait, so that it reads them after it.
__device__ __forceinline__ void product_hold(float (&d)[64]) {
#ifdef SIMT
  (void)d;
#else
#pragma unroll
  for (int i = 0; i < 64; ++i) asm volatile("" : "+f"(d[i])::"memory");
#endif
}
// d = a b^T (accumulate: d += a b^T): 64 x 16 times (128 x 16)^T of binary16, sums in float32, by the 4 warps of a warpgroup.
// It runs on; d may not be touched before product_wait. Lane l of warp w holds in d[4 j + 2 h + e] row 16 w + 8 h + l / 4 and
// column 8 j + l % 4 * 2 + e.
__device__ __forceinline__ void product_64x128x16(float (&d)[64], uint64_t a, uint64_t b, bool accumulate HOPPER_SITE) {
#ifdef SIMT
  simt::product_64x128x16(d, a, b, accumulate, site);
#else
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %66, 0;"
      " wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16"
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
      " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
      " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
      " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63},"
      " %64, %65, p, 1, 1, 0, 0;}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]),
        "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]),
        "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
        "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]),
        "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]),
        "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a), "l"(b), "r"((int)accumulate));
#endif
}
// The products since the last commit become a group.
__device__ __forceinline__ void product_commit(HOPPER_SITE_ALONE) {
#ifdef SIMT
  simt::product_commit(site);
#else
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
// Until at most N groups, the newest ones, are still under way: their operands and registers are in use.
template <int N>
__device__ __forceinline__ void product_wait(HOPPER_SITE_ALONE) {
#ifdef SIMT
  simt::product_wait(N, site);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
#endif
}
#undef HOPPER_SITE
#undef HOPPER_SITE_ALONE
#endif
