/* bench.h - the benchmark: what a case is, what a row says, and where each part is.
 *
 *   main.c        options and the order of work
 *   cases.c       the one list of cases, for every device
 *   input.c       a case's tensors, plan and workspace, on the host or on a GPU; one call of what is measured
 *   scores.h      feature moments and z-scores alone: scores.c, gpu.c
 *   measure.c     samples of ours and of the peers' in turn; medians, noise, why sampling stopped
 *   ceilings.c    what the processor can do: read bandwidth, fp32 multiply-add rate
 *   gpu.h         what the benchmark needs of a GPU: gpu.c (CUDA), no_gpu.c
 *   peers.h       other ways to the same numbers: peers.c with peers.py (Python), native_peers.cu (CUB, cuBLAS)
 *   check.c       #wrong: every number of a row's reports held against the oracle (tests/reference)
 *   output.c      the table and the JSON */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>

#include "actscope.h"
#include "reference/data.h"
#include "reference/reference.h"

/* ---- Cases ----------------------------------------------------------------------------------------------------------- */

enum case_kind { CASE_PROFILE, CASE_DISTINCT, CASE_COLUMNS, CASE_CORRELATION, CASE_NETWORK, CASE_STANDARDISE };
enum { ON_CPU = 1, ON_CUDA = 2, ON_BOTH = 3 };

struct bench_case {
  char name[80]; /* profile/f32/all/64MiB, correlation/exact/fp32/128x8192, 24-layer/direct, ... */
  enum case_kind kind;
  unsigned devices;
  actscope_dtype dtype;
  size_t layers;
  uint64_t samples, features; /* of each layer; a 24-layer network: of its wide ones */
  int mixed;                  /* the 24-layer workload: the second half of the layers is narrow */
  uint32_t statistics, functionals;
  actscope_correlation_method method;
  actscope_precision precision;
  uint64_t pairs;   /* that SAMPLED looks at */
  uint64_t block;   /* the input repeats a block of so many elements, so that the oracle need only look at one; 0: it does not */
  int contents;     /* enum data_kind; for DISTINCT enum data_floats */
  int misaligned;   /* 1: data begins one element past an aligned address */
  int graph;        /* 1: recorded once, replayed */
  const char *peer; /* the operation of peers.py and native_peers.cu; NULL: nobody else has it */
};

/* The cases of a device (ON_CPU or ON_CUDA), static storage. small: the same kinds at sizes that take milliseconds. */
const struct bench_case *bench_cases(unsigned device, int small, size_t *count);
/* "f32", "bf16", "f8e4m3", ... as in the cases' names. */
const char *bench_dtype_name(actscope_dtype dtype);
/* The floating-point operations that the case's result takes by its definition; 0 where bytes are what counts. */
double bench_flops(const struct bench_case *c);

/* ---- Inputs ---------------------------------------------------------------------------------------------------------- */

struct gpu;
struct CUstream_st;

struct bench_input {
  const struct bench_case *c;
  struct gpu *gpu;             /* NULL: the CPU */
  size_t copies, next;         /* copies of the input rotate, so that no cold sample finds its data in a cache */
  actscope_layer *shapes;      /* layers */
  int64_t *extents;
  actscope_tensor *tensors;    /* copies x layers, where the plan reads them */
  const void **host;           /* layers: the same values on the host; of a repeated block, one */
  void **memory, **device;     /* what to give back */
  size_t blocks, device_blocks;
  uint64_t bytes;              /* of one copy of all layers */
  actscope_plan *plan;         /* NULL: */
  struct bench_scores *scores; /* of standardise rows */
  void *workspace;
  size_t workspace_bytes;
};
/* Returns 0, or -1 after a line on standard error. rotate 0: one copy will do. */
int bench_input_open(struct bench_input *in, const struct bench_case *c, struct gpu *gpu, int threads,
                     int rotate);
/* Puts one call of everything the case measures on the stream; the CPU has finished when it returns. rotate: the next copy. */
actscope_status bench_input_enqueue(struct bench_input *in, int rotate, struct CUstream_st *stream);
actscope_status bench_input_wait(struct bench_input *in);
void bench_input_close(struct bench_input *in);
uint64_t bench_layer_samples(const struct bench_input *in, size_t layer);
uint64_t bench_layer_features(const struct bench_input *in, size_t layer);
/* Networks hold two kinds of values in turn, so that a report of the wrong layer is seen; the oracle looks at each once. */
int bench_layer_contents(const struct bench_case *c, size_t layer);
enum { BENCH_SEED = 1 };

/* ---- Rows ------------------------------------------------------------------------------------------------------------ */

struct bench_settings {
  struct gpu *gpu;
  int threads, profile, check_only;
  double seconds, peer_seconds; /* of our samples, and of each peer's, a case */
  struct peers *peers;          /* NULL: none */
};

struct bench_ceilings { /* NaN where not measured */
  double read_gbs, fma_gflops;  /* CPU: the best that the run saw */
  double copy_gbs, fp16_tflops; /* GPU: bytes read and written; cuBLAS product */
};

enum { PEERS_MAX = 6 };
struct peer_result {
  char name[48];
  int samples;
  double time, peak; /* seconds (median); bytes, NaN when unknown */
};

struct row {
  const struct bench_case *c;
  uint64_t bytes, wrong, compared;
  double time, noise, hot;  /* median of the cold samples, s; half the quartiles' distance over it; median of the hot ones */
  double rate, share;       /* GB/s or GFLOP/s of the cold median; of the ceiling */
  double ceiling;           /* GB/s or GFLOP/s: the median of looks in turn with the samples (CPU), or the run's */
  int samples, in_flops;
  int throttled;            /* samples thrown away because the processor was slowed beside them */
  const char *stop;         /* why sampling ended: "time", "noise", "samples" */
  uint64_t workspace;
  double allocations, synchronisations, launches; /* of one call; NaN where nobody counts them */
  int peers;
  struct peer_result peer[PEERS_MAX]; /* ascending by time: the first is the row's */
  char worst[512];          /* what was wrong, one line; "" when nothing */
};
/* Measures one case into row; -1 when it could not run (a line on standard error says why). */
/* top rises where a look at a ceiling sees more. */
int bench_measure(const struct bench_settings *s, const struct bench_case *c, struct bench_ceilings *top, struct row *row);

/* Holds the last run's reports against the oracle: row->wrong of row->compared numbers are outside their bounds. */
void bench_check(struct bench_input *in, struct row *row);
/* Forgets what the oracle found for earlier inputs. */
void bench_check_close(void);

/* The best of 32 looks each; a look is 64 MiB or a millisecond. NaN without memory for it. */
void bench_cpu_ceilings(struct bench_ceilings *out, int threads);
double bench_cpu_read_gbs(int threads);
double bench_cpu_fma_gflops(int threads);
void bench_cpu_ceilings_close(void);
double bench_now(void);

/* ---- Output ---------------------------------------------------------------------------------------------------------- */

void bench_print_head(void);
void bench_print_row(const struct row *r, int checked);
struct bench_run { /* what the JSON says beside the rows */
  const char *device, *backend, *command;
  int threads, checked, gpu;
  double seconds; /* the run's own time */
  char peers[256];
};
/* -1 after a line on standard error when the file cannot be written. */
int bench_write_json(const char *path, const struct bench_run *run, const struct bench_ceilings *top, const struct row *rows,
                     size_t count);

#endif
