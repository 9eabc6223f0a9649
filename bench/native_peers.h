/* native_peers.h - peers on the GPU in this process: CUB's reductions, CUB's sort with run lengths, a cuBLAS product with a
 * reduction of the stored matrix. */
#ifndef BENCH_NATIVE_PEERS_H
#define BENCH_NATIVE_PEERS_H

#include <stddef.h>
#include <stdint.h>

#include "actscope.h"

#ifdef __cplusplus
extern "C" {
#endif

struct native_peer {
  const char *name, *operation; /* the operation of a bench_case.peer */
  actscope_dtype dtype;
  /* Bytes of device memory beside the input; 0: it cannot do this shape. */
  uint64_t (*scratch)(uint64_t samples, uint64_t features);
  /* One call on x, samples x features in device memory; 0 or failure. */
  int (*run)(const void *x, uint64_t samples, uint64_t features, void *scratch, uint64_t bytes, struct CUstream_st *stream);
};
/* The list. A program without native_peers.cu has none: the symbol is weak. */
const struct native_peer *bench_native_peers(size_t *count) __attribute__((weak));

/* Fixed work of one warp, as a gpu_work: its time says what the clock is. Weak, as above. */
int bench_native_gauge(void *nothing, struct CUstream_st *stream) __attribute__((weak));

#ifdef __cplusplus
}
#endif
#endif
