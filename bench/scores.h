/* scores.h - feature moments and z-scores alone, which no plan stops at: what standardise rows call. scores.c has the CPU's,
 * gpu.c the GPU's. */
#ifndef BENCH_SCORES_H
#define BENCH_SCORES_H

#include "bench.h"

/* The stage of a case with one layer, and its memory; NULL after a line on standard error. *bytes: how much that is. */
struct bench_scores;
struct bench_scores *bench_scores_open(const struct bench_case *c, struct gpu *gpu, int threads, size_t *bytes);
void bench_scores_close(struct bench_scores *s);
/* Moments of the tensor's features, which of them are valid, and their z-scores in the type that is multiplied. */
actscope_status bench_scores_run(struct bench_scores *s, const actscope_tensor *tensor, struct CUstream_st *stream);
/* What the last call left: list (features entries) of valid ones, whose number is returned, and z, of norm 1: z[k * samples + s]
 * is that of feature list[k]. */
uint64_t bench_scores_read(struct bench_scores *s, uint32_t *list, double *z);

#endif
