/* gpu.h - what the benchmark needs of a GPU. gpu.c has it from CUDA's runtime; a build without CUDA has no_gpu.c. */
#ifndef BENCH_GPU_H
#define BENCH_GPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gpu;
struct gpu_graph;
struct CUstream_st;
/* Puts work on the stream; 0, or anything else for failure. */
typedef int (*gpu_work)(void *user, struct CUstream_st *stream);

/* The GPU with this number, with a stream and a buffer larger than its L2 cache. NULL when it cannot be used. */
struct gpu *gpu_open(int index);
void gpu_close(struct gpu *g);
const char *gpu_name(const struct gpu *g);
int gpu_index(const struct gpu *g);
struct CUstream_st *gpu_stream(const struct gpu *g);

void *gpu_allocate(struct gpu *g, uint64_t bytes); /* NULL when refused */
void gpu_release(void *pointer);
int gpu_upload(void *device, const void *host, uint64_t bytes);
int gpu_poison(void *device, uint64_t bytes); /* every byte 0xFF: NaN */
int gpu_copy(void *to, const void *from, uint64_t bytes); /* on the device; waits */

/* Waits for everything on its stream; 0, or the error of what ran. */
int gpu_wait(struct gpu *g);
/* Seconds a call by events round `batch` calls, waiting for them; negative on failure. cold: the L2 cache is flushed
 * first, by a write that lasts longer than it takes to queue the work, so that the latency of launches stays outside. */
double gpu_time(struct gpu *g, gpu_work work, void *user, int batch, int cold);
/* Records one call; NULL on failure. gpu_replay is a gpu_work whose user is the graph. */
struct gpu_graph *gpu_record(struct gpu *g, gpu_work work, void *user);
int gpu_replay(void *graph, struct CUstream_st *stream);
void gpu_forget(struct gpu_graph *graph);

/* Calls of the runtime that allocate, that wait, that launch, by anything in this process between start and stop: the
 * linker redirects them (-Wl,--wrap), so nobody counts by himself. */
struct gpu_counts {
  uint64_t allocations, synchronisations, launches;
};
void gpu_count_start(void);
struct gpu_counts gpu_count_stop(void);

/* Moments and z-scores of a compact [samples, features] tensor (scores.h), and the memory that they take, *bytes; NULL when
 * that is refused. gpu_scores_read waits. */
struct gpu_scores;
struct gpu_scores *gpu_scores_open(struct gpu *g, int dtype, uint64_t samples, uint64_t features, size_t *bytes);
int gpu_scores_run(struct gpu_scores *s, const void *data, struct CUstream_st *stream);
uint64_t gpu_scores_read(struct gpu_scores *s, uint32_t *list, double *z);
void gpu_scores_close(struct gpu_scores *s);

/* Large copy (bytes read and written, GB/s) and cuBLAS product of two 8192 x 8192 fp16 matrices of random values
 * (TFLOP/s); NaN where it could not be measured. cuBLAS is looked for when this is called: the program needs none. */
void gpu_ceilings(struct gpu *g, double *copy_gbs, double *fp16_tflops);

/* A cuBLAS product c = a b^T of m x k and n x k fp16 matrices, column-major, to an fp32 m x n one; 0 or failure. */
int gpu_product(const void *a, const void *b, float *c, int m, int n, int k, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif
#endif
