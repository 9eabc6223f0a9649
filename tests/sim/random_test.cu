// random_test.cu - the words of Philox in a kernel: the core's, the oracle's, and cuRAND's own header where it is at hand.
#include "core/random.h"
#include "gpu.cuh"
#include "reference/reference.h"
#include "test.h"
#if SIM_CURAND
#define QUALIFIERS static inline
#include <curand_philox4x32_x.h>
#endif

namespace {
constexpr int kThreads = 64;
__global__ void words(const uint32_t *in, uint32_t *out, int n) {  // in: counter and key of each, 6 words
  int i = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (i < n) random_philox(in + i * 6, in + i * 6 + 4, out + i * 4);
}
}  // namespace

TEST(random_philox_words) {
  const int n = test_small ? 500 : 20000;
  std::vector<uint32_t> in(size_t(n) * 6);
  Random r(11);
  for (auto &w : in) w = uint32_t(r.word());
  for (int i = 0; i < 64; ++i)  // all zeros, all ones, and a single bit anywhere
    for (int k = 0; k < 6; ++k) in[size_t(i) * 6 + k] = i == 0 ? 0 : i == 1 ? ~0u : k == i % 6 ? 1u << i / 2 : 0;
  Device<uint32_t> from(in), out(size_t(n) * 4);
  CHECK_LAUNCH(gpu_launch(words, dim3(unsigned((n + kThreads - 1) / kThreads)), dim3(kThreads), 0, 0, from.p, out.p, n));
  int other = 0, curand = 0;
  for (int i = 0; i < n; ++i) {
    const uint32_t *c = &in[size_t(i) * 6], *got = out.p + i * 4;
    uint32_t want[4];
    ref_philox(c, c + 4, want);
    other += memcmp(got, want, sizeof want) != 0;
#if SIM_CURAND
    const uint4 w = curand_Philox4x32_10(uint4{c[0], c[1], c[2], c[3]}, uint2{c[4], c[5]});
    curand += w.x != got[0] || w.y != got[1] || w.z != got[2] || w.w != got[3];
#endif
  }
  CHECK(other == 0);
  CHECK(curand == 0);
#if !SIM_CURAND
  printf("    *** no cuRAND header: its words were not compared ***\n");
#endif
}
