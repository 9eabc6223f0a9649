// native_peers.cu - peers of the kernels in this process: CUB's reductions, one after the other and in one; CUB's sort with
// run lengths; a cuBLAS product whose matrix is stored and then reduced. Their results stay in the scratch memory.
#include <stdio.h>

#include "native_peers.h"

#include <cuda_fp16.h>

#include <cub/cub.cuh>
#include <thrust/iterator/counting_iterator.h>

#include "gpu.h"

namespace {

uint64_t up(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

// ---- Moments: a reduction a number, as a chain of library calls does it ---------------------------------------------------

struct Power {
  int k;
  __device__ double operator()(float x) const {
    double v = x;
    return k == 1 ? v : k == 2 ? v * v : k == 3 ? v * v * v : v * v * v * v;
  }
};
struct Magnitude {
  __device__ double operator()(float x) const { return fabs(double(x)); }
};
struct Is {
  int what;
  __device__ unsigned long long operator()(float x) const { return what == 0 ? x == 0 : what == 1 ? x < 0 : what == 2 ? isnan(x) : isinf(x); }
};

// temp NULL: bytes of the largest temporary storage.
cudaError_t moments_chain(void *temp, size_t &bytes, const float *x, uint64_t n, double *out, cudaStream_t s) {
  size_t need = 0;
  cudaError_t e = cudaSuccess;
  auto each = [&](auto reduce) {
    size_t one = temp ? bytes : 0;
    if (e == cudaSuccess) e = reduce(one);
    if (one > need) need = one;
  };
  for (int k = 1; k <= 4; ++k)
    each([&](size_t &b) { return cub::DeviceReduce::TransformReduce(temp, b, x, out + k, n, cuda::std::plus<>{}, Power{k}, 0.0, s); });
  each([&](size_t &b) { return cub::DeviceReduce::TransformReduce(temp, b, x, out, n, cuda::std::plus<>{}, Magnitude{}, 0.0, s); });
  each([&](size_t &b) { return cub::DeviceReduce::Min(temp, b, x, reinterpret_cast<float *>(out + 5), n, s); });
  each([&](size_t &b) { return cub::DeviceReduce::Max(temp, b, x, reinterpret_cast<float *>(out + 6), n, s); });
  for (int k = 0; k < 4; ++k)
    each([&](size_t &b) {
      return cub::DeviceReduce::TransformReduce(temp, b, x, reinterpret_cast<unsigned long long *>(out + 7 + k), n,
                                                cuda::std::plus<>{}, Is{k}, 0ull, s);
    });
  bytes = need;
  return e;
}

// ---- Moments: everything in one reduction ------------------------------------------------------------------------------------

struct Sums {
  double power[4], magnitude;
  float low, high;
  unsigned long long zero, negative, nan, inf;
};
struct Merge {
  __device__ Sums operator()(Sums a, const Sums &b) const {
    for (int k = 0; k < 4; ++k) a.power[k] += b.power[k];
    a.magnitude += b.magnitude;
    a.low = fminf(a.low, b.low), a.high = fmaxf(a.high, b.high);
    a.zero += b.zero, a.negative += b.negative, a.nan += b.nan, a.inf += b.inf;
    return a;
  }
};
struct Single {
  __device__ Sums operator()(float x) const {
    const double v = x, v2 = v * v;
    return {{v, v2, v2 * v, v2 * v2}, fabs(v), x, x, x == 0, x < 0, isnan(x), isinf(x)};
  }
};
cudaError_t moments_fused(void *temp, size_t &bytes, const float *x, uint64_t n, double *out, cudaStream_t s) {
  const Sums none = {{0, 0, 0, 0}, 0, 3e38f, -3e38f, 0, 0, 0, 0};
  return cub::DeviceReduce::TransformReduce(temp, bytes, x, reinterpret_cast<Sums *>(out), n, Merge{}, Single{}, none, s);
}

enum { RESULTS = 1024 };  // bytes in front of the temporary storage
template <cudaError_t (*F)(void *, size_t &, const float *, uint64_t, double *, cudaStream_t)>
uint64_t moments_scratch(uint64_t samples, uint64_t features) {
  size_t bytes = 0;
  return F(nullptr, bytes, nullptr, samples * features, nullptr, nullptr) == cudaSuccess ? RESULTS + bytes + 1 : 0;
}
template <cudaError_t (*F)(void *, size_t &, const float *, uint64_t, double *, cudaStream_t)>
int moments_run(const void *x, uint64_t samples, uint64_t features, void *scratch, uint64_t bytes, CUstream_st *stream) {
  size_t temp = bytes - RESULTS;
  return F(static_cast<char *>(scratch) + RESULTS, temp, static_cast<const float *>(x), samples * features,
           static_cast<double *>(scratch), stream);
}

// ---- Distinct values: sort, then run lengths ------------------------------------------------------------------------------------

struct Distinct {  // of the scratch memory
  uint32_t *sorted, *values, *lengths;
  unsigned long long *runs;
  char *temp;
  uint64_t fixed;
  Distinct(void *scratch, uint64_t n) {
    char *at = static_cast<char *>(scratch);
    const uint64_t each = up(n * 4);
    sorted = reinterpret_cast<uint32_t *>(at), values = reinterpret_cast<uint32_t *>(at + each);
    lengths = reinterpret_cast<uint32_t *>(at + 2 * each), runs = reinterpret_cast<unsigned long long *>(at + 3 * each);
    fixed = 3 * each + 256;
    temp = at + fixed;
  }
};
cudaError_t distinct_steps(const Distinct &d, void *temp, size_t &bytes, const uint32_t *x, uint64_t n, cudaStream_t s) {
  size_t sort = temp ? bytes : 0, encode = sort;
  cudaError_t e = cub::DeviceRadixSort::SortKeys(temp, sort, x, d.sorted, n, 0, 32, s);
  if (e == cudaSuccess) e = cub::DeviceRunLengthEncode::Encode(temp, encode, d.sorted, d.values, d.lengths, d.runs, int(n), s);
  bytes = sort > encode ? sort : encode;
  return e;
}
uint64_t distinct_scratch(uint64_t samples, uint64_t features) {
  const uint64_t n = samples * features;
  const Distinct d(nullptr, n);
  size_t bytes = 0;
  if (n > 0x7fffffff || distinct_steps(d, nullptr, bytes, nullptr, n, nullptr) != cudaSuccess) return 0;
  return d.fixed + bytes + 1;
}
int distinct_run(const void *x, uint64_t samples, uint64_t features, void *scratch, uint64_t bytes, CUstream_st *stream) {
  const uint64_t n = samples * features;
  const Distinct d(scratch, n);
  size_t temp = bytes - d.fixed;
  return distinct_steps(d, d.temp, temp, static_cast<const uint32_t *>(x), n, stream);
}

// ---- Correlations: z-scores, the whole matrix by cuBLAS, then its sums ---------------------------------------------------------------

// One thread a feature; neighbours read neighbours.
__global__ void standardise(const float *x, uint32_t samples, uint32_t features, __half *z) {
  const uint32_t f = blockIdx.x * blockDim.x + threadIdx.x;
  if (f >= features) return;
  float mean = 0, norm = 0;
  for (uint32_t s = 0; s < samples; ++s) mean += x[uint64_t(s) * features + f];
  mean /= float(samples);
  for (uint32_t s = 0; s < samples; ++s) {
    const float d = x[uint64_t(s) * features + f] - mean;
    norm += d * d;
  }
  const float scale = rsqrtf(norm);
  for (uint32_t s = 0; s < samples; ++s) z[uint64_t(s) * features + f] = __float2half((x[uint64_t(s) * features + f] - mean) * scale);
}

struct PairSums {
  double absolute, square;
  float most;
};
struct MergePairs {
  __device__ PairSums operator()(const PairSums &a, const PairSums &b) const {
    return {a.absolute + b.absolute, a.square + b.square, fmaxf(a.most, b.most)};
  }
};
struct OffDiagonal {
  const float *r;
  uint32_t d;
  __device__ PairSums operator()(uint64_t i) const {
    if (i / d == i % d) return {0, 0, 0};
    const float v = fabsf(r[i]);
    return {v, double(v) * v, v};
  }
};
cudaError_t reduce_matrix(void *temp, size_t &bytes, const float *r, uint64_t d, PairSums *out, cudaStream_t s) {
  return cub::DeviceReduce::TransformReduce(temp, bytes, thrust::counting_iterator<uint64_t>(0), out, d * d, MergePairs{},
                                            OffDiagonal{r, uint32_t(d)}, PairSums{0, 0, 0}, s);
}
enum { MATRIX_SIDE = 16384 };  // 1 GiB of fp32
uint64_t product_scratch(uint64_t samples, uint64_t features) {
  size_t bytes = 0;
  if (features > MATRIX_SIDE || features % 8 || samples % 8) return 0;
  if (reduce_matrix(nullptr, bytes, nullptr, features, nullptr, nullptr) != cudaSuccess) return 0;
  return RESULTS + up(samples * features * 2) + up(features * features * 4) + bytes + 1;
}
int product_run(const void *x, uint64_t samples, uint64_t features, void *scratch, uint64_t bytes, CUstream_st *stream) {
  char *at = static_cast<char *>(scratch);
  auto *out = reinterpret_cast<PairSums *>(at);
  auto *z = reinterpret_cast<__half *>(at += RESULTS);
  auto *r = reinterpret_cast<float *>(at += up(samples * features * 2));
  at += up(features * features * 4);
  size_t temp = bytes - uint64_t(at - static_cast<char *>(scratch));
  standardise<<<unsigned((features + 127) / 128), 128, 0, stream>>>(static_cast<const float *>(x), uint32_t(samples), uint32_t(features), z);
  cudaError_t e = cudaGetLastError();
  if (e != cudaSuccess) return e;
  const int failed = gpu_product(z, z, r, int(features), int(features), int(samples), stream);
  return failed ? failed : int(reduce_matrix(at, temp, r, features, out, stream));
}

const native_peer peers[] = {
    {"CUB reductions", "moments", ACTSCOPE_FLOAT32, moments_scratch<moments_chain>, moments_run<moments_chain>},
    {"CUB one fused reduction", "moments", ACTSCOPE_FLOAT32, moments_scratch<moments_fused>, moments_run<moments_fused>},
    {"CUB sort, run lengths", "distinct", ACTSCOPE_FLOAT32, distinct_scratch, distinct_run},
    {"cuBLAS fp16 product, reduction", "correlation", ACTSCOPE_FLOAT32, product_scratch, product_run},
};

}  // namespace

// Multiply-adds that wait for each other.
static __global__ void gauge_kernel(float x) {
  for (int i = 0; i < 8192; ++i) x = x * 0.999f + 0.001f;
  if (x == 2.0f) printf("never\n");  // the loop stays
}
extern "C" int bench_native_gauge(void *, CUstream_st *stream) {
  gauge_kernel<<<1, 32, 0, stream>>>(0.5f);
  return (int)cudaGetLastError();
}

extern "C" const native_peer *bench_native_peers(size_t *count) {
  *count = sizeof peers / sizeof *peers;
  return peers;
}
