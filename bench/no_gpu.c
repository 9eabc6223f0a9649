/* no_gpu.c - gpu.h where there is no CUDA: no GPU is ever opened, so nothing else is ever called. */
#include "gpu.h"

#include <math.h>
#include <stddef.h>

struct gpu *gpu_open(int index) { return (void)index, NULL; }
void gpu_close(struct gpu *g) { (void)g; }
const char *gpu_name(const struct gpu *g) { return (void)g, ""; }
int gpu_index(const struct gpu *g) { return (void)g, 0; }
struct CUstream_st *gpu_stream(const struct gpu *g) { return (void)g, NULL; }
void *gpu_allocate(struct gpu *g, uint64_t bytes) { return (void)g, (void)bytes, NULL; }
void gpu_release(void *pointer) { (void)pointer; }
int gpu_upload(void *device, const void *host, uint64_t bytes) { return (void)device, (void)host, (void)bytes, -1; }
int gpu_poison(void *device, uint64_t bytes) { return (void)device, (void)bytes, -1; }
int gpu_copy(void *to, const void *from, uint64_t bytes) { return (void)to, (void)from, (void)bytes, -1; }
int gpu_wait(struct gpu *g) { return (void)g, -1; }
double gpu_time(struct gpu *g, gpu_work work, void *user, int batch, int cold) {
  return (void)g, (void)work, (void)user, (void)batch, (void)cold, -1;
}
struct gpu_graph *gpu_record(struct gpu *g, gpu_work work, void *user) { return (void)g, (void)work, (void)user, NULL; }
int gpu_replay(void *graph, struct CUstream_st *stream) { return (void)graph, (void)stream, -1; }
void gpu_forget(struct gpu_graph *graph) { (void)graph; }
struct gpu_scores *gpu_scores_open(struct gpu *g, int dtype, uint64_t samples, uint64_t features, size_t *bytes) {
  return (void)g, (void)dtype, (void)samples, (void)features, (void)bytes, NULL;
}
int gpu_scores_run(struct gpu_scores *s, const void *data, struct CUstream_st *stream) { return (void)s, (void)data, (void)stream, -1; }
uint64_t gpu_scores_read(struct gpu_scores *s, uint32_t *list, double *z) { return (void)s, (void)list, (void)z, 0; }
void gpu_scores_close(struct gpu_scores *s) { (void)s; }
void gpu_count_start(void) {}
struct gpu_counts gpu_count_stop(void) { return (struct gpu_counts){0, 0, 0}; }
void gpu_ceilings(struct gpu *g, double *copy_gbs, double *fp16_tflops) { (void)g, *copy_gbs = *fp16_tflops = NAN; }
int gpu_product(const void *a, const void *b, float *c, int m, int n, int k, struct CUstream_st *stream) {
  return (void)a, (void)b, (void)c, (void)m, (void)n, (void)k, (void)stream, -1;
}
