/* bench.h - the benchmark: what a case is, what a row says, and where each part is.
 *
 *   main.c      options, the order of work, table and JSON
 *   cases.c     the list of cases; inputs; one measured call
 *   ceilings.c  what the machine can do: read bandwidth, FMA rate
 *   check.c     #wrong: each row's report held against the oracle (tests/reference)
 *   peer.c      a Python process beside ours that runs the NumPy way on the same data, sample by sample */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>

#include "actscope.h"
#include "reference/data.h"
#include "reference/reference.h"

enum case_kind { CASE_PROFILE, CASE_DISTINCT, CASE_CORRELATION, CASE_NETWORK };

struct bench_case {
  char name[64]; /* profile/f32/all/64MiB, correlation/exact/fp32/128x8192, 24-layer/direct, ... */
  enum case_kind kind;
  actscope_dtype dtype;
  uint64_t samples, features;
  uint32_t statistics, functionals;
  actscope_correlation_method method;
  int contents;     /* enum data_kind; for DISTINCT enum data_floats */
  const char *peer; /* function of peers.py, or NULL */
};

/* The list for the CPU; static storage. */
const struct bench_case *bench_cases(size_t *count);
/* The floating-point work of a case, 0 where bytes are what counts. */
double bench_flops(const struct bench_case *c);

/* Inputs, plan and workspace of a case while it is measured. */
struct bench_input {
  const struct bench_case *c;
  size_t layers, copies, next; /* copies of the input rotate, so that no run finds its data in a cache */
  actscope_tensor *tensors;    /* copies * layers */
  actscope_layer *shapes;
  void **memory;
  size_t blocks;
  uint64_t bytes; /* of one copy of all layers */
  actscope_plan *plan;
  void *workspace;
  size_t workspace_bytes;
};
/* Returns 0, or -1 after a line on standard error. */
int bench_input_open(struct bench_input *in, const struct bench_case *c, int threads, uint64_t memory);
/* One call of everything the case measures. */
actscope_status bench_input_run(struct bench_input *in);
void bench_input_close(struct bench_input *in);
/* Writes layer `layer` of the first copy as .npy for the peer; -1 when NumPy has no such dtype. */
int bench_input_save(const struct bench_input *in, size_t layer, const char *path);

struct bench_ceilings {
  double read_gbs;   /* GB/s from memory, all threads */
  double fma_gflops; /* fp32, all threads */
};
void bench_ceilings(struct bench_ceilings *out, int threads);

/* Numbers of the last run's reports that are outside their bounds. */
uint64_t bench_check(struct bench_input *in);

struct peer;
/* Starts the worker; NULL when there is no Python with NumPy (said once on standard error). */
struct peer *peer_start(const char *script);
/* Loads files for a peer function; then each peer_run() is one call: seconds, negative when it failed. */
int peer_load(struct peer *p, const char *function, char paths[][256], size_t count);
double peer_run(struct peer *p);
/* Highest memory of that process above what it held after loading, bytes; negative when unknown. */
double peer_peak(struct peer *p);
const char *peer_version(const struct peer *p); /* "NumPy 1.24.2" */
void peer_stop(struct peer *p);

double bench_now(void);

#endif
