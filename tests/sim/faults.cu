// faults.cu - tests of the engine itself: small kernels, most with one fault, and which build must notice each.
//
//   faults             runs every case in processes of its own (plain: four schedules), compares with the table
//   faults NAME SEED   runs one case and prints its outcome
#include <sys/wait.h>
#include <unistd.h>

#include "gpu.cuh"
#include "hopper.cuh"

namespace {
// ---- Sound kernels ---------------------------------------------------------------------------------------------------
__global__ void good(float *x) {
  __shared__ float t[256];
  t[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = t[255 - threadIdx.x];
}
__global__ void good_warp(float *x) {
  __shared__ float t[256];
  t[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  x[threadIdx.x] = t[threadIdx.x ^ 1];
}
__global__ void good_mask(float *x) {
  if (threadIdx.x % 32 < 16) x[threadIdx.x] = __shfl_xor_sync(0xFFFFu, x[threadIdx.x], 1);
}
__global__ void good_or(float *x) {
  int a = __syncthreads_or(threadIdx.x == 77), b = __syncthreads_or(threadIdx.x == 300), c = __syncthreads_or(1);
  x[threadIdx.x] = float(a * 4 + b * 2 + c);
}
__global__ void good_relaxed(float *x) {
  unsigned *u = (unsigned *)x + 1;
  if (threadIdx.x < load_relaxed(u)) atomicMin(u, threadIdx.x);
}

// ---- Barriers --------------------------------------------------------------------------------------------------------
__global__ void no_barrier(float *x) {  // other warps' sums are read before they are written
  __shared__ float part[8];
  float v = warp_sum(x[threadIdx.x]);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  float s = 0;
  for (unsigned w = 0; w < 8; ++w) s += part[w];
  x[threadIdx.x] = s;
}
__global__ void no_second_barrier(float *x) {  // the next round writes what this one still reads
  __shared__ float t[256];
  for (int i = 0; i < 3; ++i) {
    t[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] += t[(threadIdx.x + 1) % 256];
  }
}
__global__ void no_warp_barrier(float *x) {
  __shared__ float t[256];
  t[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = t[threadIdx.x ^ 1];
}
__global__ void shuffle_is_no_fence(float *x) {
  __shared__ float t[256];
  t[threadIdx.x] = x[threadIdx.x];
  __shfl_sync(~0u, 1, 0);
  x[threadIdx.x] = t[threadIdx.x ^ 1];
}
__global__ void early_exit(float *x) {
  if (threadIdx.x > 200) return;
  __syncthreads();
  x[threadIdx.x] = 0;
}
__global__ void divergent_barrier(float *x) {
  if (threadIdx.x & 1) {
    __syncthreads();
    x[threadIdx.x] = 1;
  } else {
    x[threadIdx.x] = 2;
    __syncthreads();
  }
}
__global__ void barrier_count(float *x) {
  for (unsigned i = 0; i < 1 + threadIdx.x / 128; ++i) __syncthreads();
  x[threadIdx.x] = 0;
}

// ---- Collectives -----------------------------------------------------------------------------------------------------
__global__ void missing_lanes(float *x) {
  if (threadIdx.x % 32 < 16) x[threadIdx.x] = __shfl_xor_sync(~0u, x[threadIdx.x], 1);
}
__global__ void mask_without_self(float *x) { x[threadIdx.x] = __shfl_xor_sync(0xFFFFu, x[threadIdx.x], 1); }
__global__ void different_collectives(float *x) {
  x[threadIdx.x] = threadIdx.x & 1 ? __shfl_sync(~0u, 1.f, 0) : (float)__ballot_sync(~0u, 1);
}

// ---- Memory ----------------------------------------------------------------------------------------------------------
__global__ void read_beyond(float *x) { x[threadIdx.x] = x[threadIdx.x + 65]; }
__global__ void write_beyond(float *x) { x[threadIdx.x + 65] = 0; }
__global__ void beyond_shared(float *x) {
  __shared__ float t[256];
  t[threadIdx.x + 1] = 1;
  __syncthreads();
  x[threadIdx.x] = t[threadIdx.x];
}
__global__ void beyond_dynamic(float *x) {
  float *t = (float *)dynamic_shared();
  t[threadIdx.x + 1] = 1;
  __syncthreads();
  x[threadIdx.x] = t[threadIdx.x];
}
__global__ void never_written(float *x) {
  __shared__ float t[256];
  if (threadIdx.x < 255) t[threadIdx.x] = 1;
  __syncthreads();
  x[threadIdx.x] = t[threadIdx.x];
}
__global__ void misaligned(float *x) {
  float4 v = *(float4 *)(x + 1);
  x[threadIdx.x] = v.x;
}
__global__ void no_copy_wait(float *x) {
  float *t = (float *)dynamic_shared();
  if (threadIdx.x < 64) cp_async16(t + threadIdx.x * 4, x + threadIdx.x * 4);
  cp_async_commit();
  __syncthreads();
  x[threadIdx.x] = t[255 - threadIdx.x];
}
__global__ void misaligned_copy(float *x) { cp_async16(dynamic_shared(), x + 1); }

// ---- Races -----------------------------------------------------------------------------------------------------------
__global__ void lost_update(float *x) { x[0] = x[0] + 1; }
__global__ void between_blocks(float *x) {
  if (threadIdx.x == 0) x[0] = (float)blockIdx.x;
}
__global__ void plain_beside_atomic(float *x) {
  unsigned *u = (unsigned *)x + 1;
  if (threadIdx.x < u[0]) atomicMin(u, threadIdx.x);
}
__device__ void sum_in_last_block(float *x, bool release, bool acquire) {
  float *part = x + 256;
  unsigned *counter = (unsigned *)(x + 300);
  __shared__ bool last;
  if (threadIdx.x == 0) {
    part[blockIdx.x] = 1;
    if (release) __threadfence();
    last = atomicAdd(counter, 1u) == gridDim.x - 1;
    if (acquire) __threadfence();
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  float s = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) s += part[b];
  x[0] = s;
}
__global__ void both_fences(float *x) { sum_in_last_block(x, true, true); }
__global__ void no_fence(float *x) { sum_in_last_block(x, false, false); }
__global__ void no_acquire(float *x) { sum_in_last_block(x, true, false); }

// ---- Instructions of sm_90a ------------------------------------------------------------------------------------------
__device__ uint32_t begin_barrier(uint32_t count) {  // behind 1 KiB of dynamic shared memory
  const uint32_t barrier = shared_address(dynamic_shared()) + 1024;
  if (threadIdx.x == 0) barrier_init(barrier, count);
  __syncthreads();
  return barrier;
}
__device__ void exchange(float *x, uint32_t count, bool wait) {
  float *t = (float *)dynamic_shared();
  const uint32_t barrier = begin_barrier(count);
  for (uint32_t round = 0; round < 3; ++round) {
    t[threadIdx.x] = x[threadIdx.x];
    barrier_arrive(barrier);
    if (wait) barrier_wait(barrier, round % 2);
    x[threadIdx.x] = t[255 - threadIdx.x] + 1;
    __syncthreads();
  }
}
__global__ void good_barrier(float *x) { exchange(x, 256, true); }
__global__ void no_barrier_wait(float *x) { exchange(x, 256, false); }
__global__ void waits_for_more(float *x) { exchange(x, 257, true); }
__global__ void old_parity(float *x) {  // nobody waits the second time, and who is slow finds two phases gone
  float *t = (float *)dynamic_shared();
  const uint32_t barrier = begin_barrier(256);
  barrier_arrive(barrier), barrier_wait(barrier, 0);
  t[threadIdx.x] = x[threadIdx.x];
  barrier_arrive(barrier), barrier_wait(barrier, 0);
  x[threadIdx.x] = t[255 - threadIdx.x];
}
__global__ void no_barrier_init(float *) { barrier_arrive(shared_address(dynamic_shared())); }
__global__ void too_many_arrivals(float *) {
  const uint32_t barrier = begin_barrier(255);
  barrier_expect(barrier, 16);
}
__global__ void ahead_of_its_phase(float *) {  // the phase would end without the last thread
  const uint32_t barrier = begin_barrier(256);
  if (threadIdx.x < 255) barrier_arrive(barrier);
  if (threadIdx.x == 0) barrier_arrive(barrier);
}
__device__ void multiply(float *x, bool fence, bool wait, uint32_t at) {  // of nothing but zeros
  float d[64];
  uint4 *t = (uint4 *)dynamic_shared();
  const uint32_t begin = shared_address(t), from = (begin + 1023) / 1024 * 1024;
  for (unsigned i = threadIdx.x; i < (20u << 10) / 16; i += 256) t[i] = make_uint4(0, 0, 0, 0);
  __syncthreads();
  if (fence) product_fence();
  product_64x128x16(d, product_operand(from + at), product_operand(from), false);
  product_commit();
  if (wait) product_wait<0>();
  x[threadIdx.x] += d[threadIdx.x % 64];
  if (!wait) product_wait<0>();
}
__global__ void good_product(float *x) { multiply(x, true, true, 0); }
__global__ void no_product_fence(float *x) { multiply(x, false, true, 0); }
__global__ void no_product_wait(float *x) { multiply(x, true, false, 0); }
__global__ void operand_between(float *x) { multiply(x, true, true, 128); }
__global__ void products_differ(float *x) { multiply(x, true, true, threadIdx.x / 32 == 2 ? 32 : 0); }

struct Case {
  const char *name;
  void (*kernel)(float *);
  unsigned grid;
  size_t dynamic;
  const char *expect;  // plain, ASan, TSan: '-' silent, 'e' launch error, 'd' wrong or varying, 's' sanitizer report
};
#define K(name) #name, name
const Case cases[] = {
    {K(good), 1, 0, "---"},
    {K(good_warp), 1, 0, "---"},
    {K(good_mask), 1, 0, "---"},
    {K(good_or), 1, 0, "---"},
    {K(good_relaxed), 2, 0, "---"},
    {K(both_fences), 8, 0, "---"},
    {K(no_barrier), 1, 0, "d*s"},
    {K(no_second_barrier), 1, 0, "d*s"},
    {K(no_warp_barrier), 1, 0, "d*s"},
    {K(shuffle_is_no_fence), 1, 0, "--s"},
    {K(early_exit), 1, 0, "eee"},
    {K(divergent_barrier), 1, 0, "eee"},
    {K(barrier_count), 1, 0, "eee"},
    {K(missing_lanes), 1, 0, "eee"},
    {K(mask_without_self), 1, 0, "eee"},
    {K(different_collectives), 1, 0, "eee"},
    {K(read_beyond), 1, 0, "*s*"},
    {K(write_beyond), 1, 0, "*s*"},
    {K(beyond_shared), 1, 0, "*s*"},
    {K(beyond_dynamic), 1, 1024, "ese"},
    {K(never_written), 1, 0, "d*d"},
    {K(misaligned), 1, 0, "*s*"},
    {K(no_copy_wait), 1, 1024, "ddd"},
    {K(misaligned_copy), 1, 1024, "eee"},
    {K(lost_update), 1, 0, "**s"},
    {K(between_blocks), 8, 0, "d*s"},
    {K(plain_beside_atomic), 1, 0, "**s"},
    {K(no_fence), 8, 0, "**s"},
    {K(no_acquire), 8, 0, "**s"},
    {K(good_barrier), 1, 2048, "---"},
    {K(no_barrier_wait), 1, 2048, "d*s"},
    {K(waits_for_more), 1, 2048, "eee"},
    {K(old_parity), 1, 2048, "e**"},
    {K(no_barrier_init), 1, 2048, "eee"},
    {K(too_many_arrivals), 1, 2048, "eee"},
    {K(ahead_of_its_phase), 1, 2048, "eee"},
    {K(good_product), 1, 24 << 10, "---"},
    {K(no_product_fence), 1, 24 << 10, "eee"},
    {K(no_product_wait), 1, 24 << 10, "d*d"},
    {K(operand_between), 1, 24 << 10, "eee"},
    {K(products_differ), 1, 24 << 10, "eee"},
    {"too_much_shared", good, 1, (48u << 10) + 1, "eee"},
    {"no_blocks", good, 0, 0, "eee"},
};

int run(const Case &c) {
  constexpr size_t kCount = 320;
  float *x, host[kCount];
  if (cudaMalloc((void **)&x, sizeof host)) return 3;
  for (size_t i = 0; i < kCount; ++i) host[i] = float(i % 7);
  host[300] = 0;
  cudaMemcpy(x, host, sizeof host, cudaMemcpyHostToDevice);
  cudaError_t e = c.dynamic > 48 << 10 ? simt::launch(c.kernel, dim3(c.grid), dim3(256), c.dynamic, nullptr, x)
                                       : gpu_launch(c.kernel, dim3(c.grid), dim3(256), c.dynamic, 0, x);
  cudaMemcpy(host, x, sizeof host, cudaMemcpyDeviceToHost);
  double sum = 0;
  for (size_t i = 0; i < 256; ++i) sum += host[i] * double(i + 1);
  printf("outcome %d %.9g\n", int(e), sum);
  cudaFree(x);
  return 0;
}

std::pair<int, char[4096]> *output(const char *program, const char *name, const char *seed) {
  static std::pair<int, char[4096]> result;
  int pipes[2];
  if (pipe(pipes)) abort();
  pid_t child = fork();
  if (child == 0) {
    dup2(pipes[1], 1), dup2(pipes[1], 2), close(pipes[0]);
    execl(program, program, name, seed, (char *)nullptr);
    _exit(127);
  }
  close(pipes[1]);
  size_t used = 0;
  char drop[4096];
  for (;;) {
    bool room = used + 1 < sizeof result.second;
    ssize_t n = read(pipes[0], room ? result.second + used : drop, room ? sizeof result.second - 1 - used : sizeof drop);
    if (n <= 0) break;
    if (room) used += size_t(n);
  }
  close(pipes[0]);
  result.second[used] = 0;
  waitpid(child, &result.first, 0);
  return &result;
}
}  // namespace

int main(int argc, char **argv) {
#if defined(__SANITIZE_ADDRESS__)
  const int column = 1;
#elif defined(__SANITIZE_THREAD__)
  const int column = 2;
  setenv("SIMT_WORKERS", "2", 0), setenv("TSAN_OPTIONS", "atexit_sleep_ms=0", 0);
#else
  const int column = 0;
#endif
  if (argc > 2) {
    simt::options.seed = strtoull(argv[2], nullptr, 10);
    for (auto &c : cases)
      if (!strcmp(c.name, argv[1])) return run(c);
    return 2;
  }
  int passed = 0, failed = 0;
  for (auto &c : cases) {
    char seen = '-', first[64] = "";
    for (int seed = 0; seed < (column == 0 ? 4 : 1); ++seed) {
      char text[8];
      snprintf(text, sizeof text, "%d", seed);
      auto *r = output("/proc/self/exe", c.name, text);
      const char *line = strstr(r->second, "outcome ");
      if (strstr(r->second, "Sanitizer") || strstr(r->second, "runtime error")) seen = 's';
      else if (!line || r->first) seen = 'c';  // crashed without a word
      else if (line[8] != '0') seen = 'e';
      else if (strstr(line, "nan") || (*first && strcmp(first, line))) seen = 'd';
      if (line && !*first) snprintf(first, sizeof first, "%s", line);
    }
    bool ok = c.expect[column] == seen || (c.expect[column] == '*' && seen != 'c');
    if (!ok) printf("  FAILED fault %s: saw '%c', expected '%c'\n", c.name, seen, c.expect[column]);
    (ok ? passed : failed)++;
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
