// eigen.cu - effective rank on the device: the spectrum of each layer's smaller matrix, all layers in one launch.
//
// Contents   tridiagonal form · spectrum · the kernel · entry points
//
// Layout     A block of 512 threads a matrix, in doubles: in shared memory where it fits (side 167 on sm_90, 128 KiB at 128
//            samples), else in scratch, which the L2 cache holds. Full storage; a warp has rows warp, warp + 16, ...
// Tridiagonal  Householder's reduction (Golub and Van Loan, section 8.3.1), with the rank-2 update of a step postponed into
//            the product of the next: the matrix is read and written once a step, and two barriers are all. What a step needs
//            of vectors every warp sums for itself, in the same order, so all have the same bits.
// Spectrum   Bisection by Sturm counts on the matrix over its trace: p = l / trace is in [0, 1], and 2^-37 there is 1e-8 of
//            the entropy. As many threads as there are share an eigenvalue. The number of steps is fixed: nothing to converge.
//            The recurrence is the one without divisions, rescaled; squares of off-diagonals stay above 1e-32, so that it
//            never dies out.
// Cost       4/3 n^3 multiply-adds and n (36 n^2 / 512) steps of bisection: about 0.1 ms at n = 128, 7 ms at 512 where one
//            multiprocessor's share of the L2 cache is the limit. By arithmetic; not yet measured.
#include "core/gram.h"
#include "gpu.cuh"
#include "kernels.h"

namespace {
constexpr int kThreads = 512, kWarps = kThreads / 32, kRows = 8, kBits = 36;

__host__ __device__ inline uint64_t side_of(const cuda_layer &layer) { return layer.gram ? layer.samples : layer.features; }
size_t vectors_bytes(uint64_t side) { return (size_t)(6 * side) * sizeof(double); }
size_t matrix_bytes(uint64_t side) { return (size_t)(side * side) * sizeof(double); }

// What a block works on; n doubles each.
struct Vectors {
  double *diagonal, *square;  // of the tridiagonal matrix: the diagonal, the squares beside it
  double *v[2], *w, *y;
};

// ---- Tridiagonal form ------------------------------------------------------------------------------------------------
// Sums of eight values over the warp: lane l receives that of value l / 4.
__device__ __forceinline__ double sum_eight(double (&s)[kRows], int lane) {
#pragma unroll
  for (int half = 4, d = 16; half > 0; half /= 2, d /= 2) {
#pragma unroll
    for (int q = 0; q < half; ++q) {
      const double mine = lane & d ? s[q + half] : s[q], other = lane & d ? s[q] : s[q + half];
      s[q] = mine + __shfl_xor_sync(kFullMask, other, d);
    }
  }
  s[0] += __shfl_xor_sync(kFullMask, s[0], 2);
  return s[0] + __shfl_xor_sync(kFullMask, s[0], 1);
}

// The factor of v in w = y - half v, of the reflector before; 0 where there is none.
__device__ __forceinline__ double half_of(const Vectors &s, const double *v, uint32_t from, uint32_t n, double h, int lane) {
  double dot = 0;
  for (uint32_t j = from + (uint32_t)lane; j < n; j += 32) dot = fma(s.y[j], v[j], dot);
  dot = warp_sum(dot);
  return h > 0 ? dot / (2 * h) : 0;
}

// a, n x n, is destroyed; ends without a barrier.
__device__ __forceinline__ void tridiagonal(double *a, uint32_t n, const Vectors &s) {
  const int tid = (int)threadIdx.x, lane = tid % 32, warp = tid / 32;
  for (uint32_t j = (uint32_t)tid; j < n; j += kThreads) s.v[1][j] = s.y[j] = 0;
  __syncthreads();
  double h = 0;
  for (uint32_t k = 0; k + 2 < n; ++k) {
    const double *before = s.v[~k & 1];
    double *v = s.v[k & 1];
    // Row k beyond its diagonal, brought up to date, is what the reflector takes to one element.
    const double half = half_of(s, before, k, n, h, lane), vk = before[k], wk = s.y[k] - half * vk;
    const double *row = a + (uint64_t)k * n;
    double norm = 0;
    for (uint32_t j = k / 32 * 32 + (uint32_t)lane, part = 0; j < n; j += 32, ++part) {
      if (j < k) continue;
      const double wj = s.y[j] - half * before[j], x = row[j] - (vk * wj + wk * before[j]);
      if ((int)(part % kWarps) == warp) {
        s.w[j] = wj;
        if (j == k) s.diagonal[k] = x; else if (j > k + 1) v[j] = x;
      }
      if (j > k) norm = fma(x, x, norm);
    }
    norm = warp_sum(norm);
    const double w1 = s.y[k + 1] - half * before[k + 1], x1 = row[k + 1] - (vk * w1 + wk * before[k + 1]);
    const double alpha = x1 > 0 ? -sqrt(norm) : sqrt(norm), v1 = x1 - alpha;
    h = norm - x1 * alpha;
    if (tid == 0) s.square[k] = norm, v[k + 1] = v1;
    __syncthreads();
    // The rest of the matrix, brought up to date, times v.
    const double scale = h > 0 ? 1 / h : 0;
    for (uint32_t base = 0; base < n; base += kWarps * kRows) {
      if (base + kWarps * kRows <= k + 1) continue;
      double vi[kRows], wi[kRows], sum[kRows];
      bool on[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const uint32_t i = base + (uint32_t)(warp + kWarps * r);
        on[r] = i > k && i < n;
        vi[r] = on[r] ? before[i] : 0, wi[r] = on[r] ? s.w[i] : 0, sum[r] = 0;
      }
      for (uint32_t j = (k + 1) / 32 * 32 + (uint32_t)lane; j < n; j += 32) {
        if (j <= k) continue;
        const double vp = before[j], wp = s.w[j], vj = v[j];
        double *at = a + (uint64_t)(base + (uint32_t)warp) * n + j;
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          if (!on[r]) continue;
          const double x = at[(uint64_t)(kWarps * r) * n] - (vi[r] * wp + wi[r] * vp);
          at[(uint64_t)(kWarps * r) * n] = x;
          sum[r] = fma(x, vj, sum[r]);
        }
      }
      const double total = sum_eight(sum, lane);
      const uint32_t i = base + (uint32_t)(warp + kWarps * (lane / 4));
      if (lane % 4 == 0 && i > k && i < n) s.y[i] = total * scale;
    }
    __syncthreads();
  }
  if (n >= 2) {  // the last two rows
    const uint32_t k = n - 2;
    const double *before = s.v[~k & 1];
    const double half = half_of(s, before, k, n, h, lane), vk = before[k], wk = s.y[k] - half * vk;
    if (tid == 0) {
      const double v1 = before[k + 1], w1 = s.y[k + 1] - half * v1, x = a[(uint64_t)k * n + k + 1] - (vk * w1 + wk * v1);
      s.diagonal[k] = a[(uint64_t)k * n + k] - 2 * vk * wk;
      s.diagonal[k + 1] = a[(uint64_t)(k + 1) * n + k + 1] - 2 * v1 * w1;
      s.square[k] = x * x;
    }
  } else if (tid == 0 && n == 1) {
    s.diagonal[0] = a[0];
  }
}

// ---- Spectrum --------------------------------------------------------------------------------------------------------
// Eigenvalues below x: sign changes of the leading minors of T - x.
__device__ __forceinline__ uint32_t count_below(const Vectors &s, uint32_t n, double x) {
  double before = 1, minor = s.diagonal[0] - x;
  uint32_t count = minor < 0;
  for (uint32_t i = 1; i < n;) {
    const uint32_t stop = i + 8 < n ? i + 8 : n;  // a step doubles at most, and keeps 1e-32 at least
    for (; i < stop; ++i) {
      const double next = fma(s.diagonal[i] - x, minor, -s.square[i - 1] * before);
      count += (uint32_t)((core_bits64(next) ^ core_bits64(minor)) >> 63);
      before = minor, minor = next;
    }
    const uint64_t exponent = core_bits64(fmax(fabs(before), fabs(minor))) >> 52;
    const double rescale = core_f64((2046 - exponent) << 52);
    before *= rescale, minor *= rescale;
  }
  return count;
}

// exp of the entropy of the eigenvalues over their sum; the same in every thread.
__device__ __forceinline__ double spectrum_rank(const Vectors &s, uint32_t n, double *sums) {
  const int tid = (int)threadIdx.x, lane = tid % 32;
  __syncthreads();
  double trace[1] = {0};
  for (uint32_t i = (uint32_t)tid; i < n; i += kThreads) trace[0] += s.diagonal[i];
  block_sum<kThreads>(trace, sums);
  if (!(trace[0] > 0)) return core_nan();
  for (uint32_t i = (uint32_t)tid; i < n; i += kThreads) {
    s.diagonal[i] /= trace[0];
    if (i + 1 < n) s.square[i] = fmax(s.square[i] / (trace[0] * trace[0]), 1e-32);
  }
  __syncthreads();
  uint32_t share = 1, steps = 0;  // threads of an eigenvalue, next to each other; steps until 2^-kBits is reached
  while (share < 32 && 2 * share * n <= (uint32_t)kThreads) share *= 2;
  for (double width = 1; width > 1.0 / (double)(1ull << kBits); width /= (double)(share + 1)) ++steps;
  const uint32_t place = (uint32_t)tid % share, base = (uint32_t)lane / share * share;
  double total[2] = {0, 0};  // sum p, sum p ln p
  for (uint32_t first = 0; first < n; first += (uint32_t)kThreads / share) {
    const uint32_t i = first + (uint32_t)tid / share;
    double low = 0, high = 1;
    for (uint32_t step = 0; step < steps; ++step) {
      const double part = (high - low) / (double)(share + 1);
      const bool above = count_below(s, n, low + part * (double)(place + 1)) > i;
      const unsigned all = __ballot_sync(kFullMask, above) >> base & (share == 32 ? kFullMask : (1u << share) - 1);
      const double at = all ? (double)(__ffs((int)all) - 1) : (double)share;  // points that lie below the eigenvalue
      if (all) high = low + part * (at + 1);
      low += part * at;
    }
    const double p = 0.5 * (low + high);
    if (place == 0 && i < n && p > 0) total[0] += p, total[1] += p * log(p);
  }
  block_sum<kThreads>(total, sums);
  return exp(log(total[0]) - total[1] / total[0]);
}

// ---- The kernel ------------------------------------------------------------------------------------------------------
// kShared: of the layers up to `side_shared`, in shared memory; else of those beyond it, in scratch.
template <bool kShared>
__global__ void __launch_bounds__(kThreads, 1) eigen_kernel(GRID_CONSTANT(cuda_layers) t, double *scratch, uint32_t side_shared, uint32_t side_most) {
  __shared__ double sums[2 * (kWarps + 1)];
  const cuda_layer &layer = t.layer[blockIdx.x];
  if (!layer.effective_rank || (side_of(layer) <= side_shared) != kShared) return;
  double *dynamic = reinterpret_cast<double *>(dynamic_shared());
  const uint64_t m = side_most;
  const Vectors s = {dynamic, dynamic + m, {dynamic + 2 * m, dynamic + 3 * m}, dynamic + 4 * m, dynamic + 5 * m};
  double *a = kShared ? dynamic + 6 * m : scratch + layer.first_partial;
  const uint32_t n = (uint32_t)(layer.gram ? layer.samples : layer.features_out->valid);
  const float *from = layer.gram ? layer.gram : layer.feature_gram;
  double rank = core_nan();
  if (n > 0) {
    for (uint32_t i = threadIdx.x; i < n * n; i += kThreads) a[i] = (double)from[i];
    tridiagonal(a, n, s);
    rank = spectrum_rank(s, n, sums);
  }
  if (threadIdx.x == 0) *layer.effective_rank = rank;
}

// ---- Launching -------------------------------------------------------------------------------------------------------
// The largest side whose matrix fits a block's shared memory on the current device.
cudaError_t shared_side(uint32_t *side) {
  size_t limit;
  const cudaError_t e = gpu_shared_limit(&limit);
  *side = 0;
  if (e != cudaSuccess) return e;
  while (matrix_bytes(*side + 1) + vectors_bytes(*side + 1) + 2048 <= limit) ++*side;
  return e;
}

template <bool kShared>
cudaError_t launch(const cuda_layers &t, void *scratch, uint32_t side, uint32_t most, cudaStream_t stream) {
  if (most == 0) return cudaSuccess;
  const size_t bytes = vectors_bytes(most) + (kShared ? matrix_bytes(most) : 0);
  return gpu_launch(eigen_kernel<kShared>, dim3((unsigned)t.layers), dim3(kThreads), bytes, stream, t, static_cast<double *>(scratch), side, most);
}
}  // namespace

extern "C" int actscope_cuda_eigen_scratch(uint64_t side, uint64_t *bytes) {
  uint32_t fits;
  const cudaError_t e = shared_side(&fits);
  *bytes = side <= fits ? 0 : matrix_bytes(side);
  return (int)e;
}

extern "C" int actscope_cuda_eigen(const struct cuda_layers *layers, void *scratch, struct CUstream_st *stream) {
  cuda_layers t = *layers;
  uint32_t fits, most[2] = {0, 0};
  uint64_t at = 0;
  cudaError_t e = shared_side(&fits);
  for (int l = 0; l < t.layers; ++l) {
    cuda_layer &layer = t.layer[l];
    const uint64_t side = side_of(layer);
    if (!layer.effective_rank) continue;
    if (side > CUDA_EIGEN_SIDE) return (int)cudaErrorInvalidValue;
    uint32_t &largest = most[side > fits];
    if (side > largest) largest = (uint32_t)side;
    layer.first_partial = at;
    if (side > fits) at += side * side;
  }
  if (e == cudaSuccess) e = launch<true>(t, scratch, fits, most[0], stream);
  if (e == cudaSuccess) e = launch<false>(t, scratch, fits, most[1], stream);
  return (int)e;
}
