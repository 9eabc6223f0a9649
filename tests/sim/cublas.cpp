// cublas.cpp - toolkit/cublas_v2.h: column-major products by the textbook, as work on the handle's stream.
#include "toolkit/cublas_v2.h"

#include "simt.h"

struct cublasContext {
  cudaStream_t stream;
};

extern "C" {
cublasStatus_t cublasCreate(cublasHandle_t *handle) {
  static cublasContext one;
  *handle = &one;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *workspace, size_t) {
  return (uintptr_t)workspace % 256 ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,
                           const float *alpha, const float *a, int lda, const float *b, int ldb, const float *beta, float *c,
                           int ldc) {
  if (lda < (op_a ? k : m) || ldb < (op_b ? n : k) || ldc < m) return CUBLAS_STATUS_INVALID_VALUE;
  const float by = *alpha, old = *beta;
  cudaError_t e = simt::submit(handle->stream, [=] {
    for (int j = 0; j < n; ++j)
      for (int i = 0; i < m; ++i) {
        float sum = 0;
        for (int p = 0; p < k; ++p)
          sum += a[op_a ? (size_t)i * lda + p : (size_t)p * lda + i] * b[op_b ? (size_t)p * ldb + j : (size_t)j * ldb + p];
        float *to = c + (size_t)j * ldc + i;
        *to = by * sum + (old == 0 ? 0 : old * *to);
      }
    return cudaSuccess;
  });
  return e == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}
}
