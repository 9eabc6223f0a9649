// gpu_test.cu - the helpers of kernels/gpu.cuh.
#include "gpu.cuh"
#include "test.h"

namespace {
__global__ void product(const uint16_t *a, const uint16_t *b, float *d, bool transpose) {
  __shared__ __align__(16) uint16_t as[16][24], bs[16][24];  // b as 8 columns of 16 (or 16 rows of 8)
  int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) as[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) {
    if (transpose) bs[i / 8][i % 8] = b[i];  // row k holds column values
    else bs[i % 8][i / 8] = b[i];            // row n holds k values
  }
  __syncwarp();
  uint32_t fa[4], fb[4];
  float c[4] = {1, 2, 3, 4};
  ldmatrix_x4<false>(fa, &as[lane % 16][lane / 16 * 8]);
  if (transpose) ldmatrix_x4<true>(fb, &bs[lane % 16][0]);
  else ldmatrix_x4<false>(fb, &bs[lane % 8][lane / 8 % 2 * 8]);
  mma_f16(c, fa, fb[0], fb[1]);
  for (int e = 0; e < 4; ++e) d[(lane / 4 + e / 2 * 8) * 8 + lane % 4 * 2 + e % 2] = c[e];
}
__global__ void __launch_bounds__(96) sums(const double *in, double *out) {
  __shared__ double shared[2 * 4];
  double v[2] = {in[threadIdx.x], 2 * in[threadIdx.x]};
  block_sum<96>(v, shared);
  out[2 * threadIdx.x] = v[0], out[2 * threadIdx.x + 1] = v[1];
}
}  // namespace

TEST(gpu_product) {
  Random random(3);
  for (int transpose = 0; transpose < 2; ++transpose) {
    std::vector<uint16_t> a(256), b(128);
    for (auto &v : a) v = f16_bits(float(random.normal()));
    for (auto &v : b) v = f16_bits(float(random.normal()));
    Device<uint16_t> da(a), db(b);
    Device<float> d(128);
    CHECK_LAUNCH(gpu_launch(product, dim3(1), dim3(32), 0, 0, da.p, db.p, d.p, transpose != 0));
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 8; ++j) {
        double want = 1 + i / 8 * 2 + j % 2;
        for (int k = 0; k < 16; ++k) want += double(f16_value(a[i * 16 + k])) * f16_value(b[k * 8 + j]);
        CHECK_NEAR(d[size_t(i * 8 + j)], want, 1e-5, 0);
      }
  }
}

TEST(gpu_f16) {
  for (uint32_t h = 0; h < 65536; ++h) {  // every value survives; halfway points go to the even neighbour
    float v = f16_value((uint16_t)h);
    if (v != v) {
      CHECK((f16_bits(v) & 0x7FFF) > 0x7C00);
      continue;
    }
    CHECK(f16_bits(v) == h);
    if ((h & 0x7FFF) >= 0x7BFF) continue;
    float next = f16_value((uint16_t)(h + 1)), middle = v + (next - v) / 2;
    CHECK(f16_bits(middle) == (h & 1 ? h + 1 : h));
    CHECK(f16_bits(nextafterf(middle, next)) == h + 1);
    CHECK(f16_bits(nextafterf(middle, v)) == h);
  }
  CHECK(f16_bits(65519.996f) == 0x7BFF && f16_bits(65520.0f) == 0x7C00 && f16_bits(-1e9f) == 0xFC00);
}

TEST(gpu_block_sum) {
  std::vector<double> in(96);
  for (size_t i = 0; i < 96; ++i) in[i] = double(i * i);
  Device<double> d(in), out(192);
  CHECK_LAUNCH(gpu_launch(sums, dim3(1), dim3(96), 0, 0, d.p, out.p));
  for (size_t i = 0; i < 96; ++i) CHECK(out[2 * i] == 290320 && out[2 * i + 1] == 2 * 290320);
}
