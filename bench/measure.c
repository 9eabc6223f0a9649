/* measure.c - one row: samples of ours and of the peers' in turn, then the check of the last report.
 *
 * A cold sample does not find its input in a cache: on the CPU the copies of the input rotate through 256 MiB, on a GPU the
 * L2 cache is flushed. A hot sample repeats the call on the data of the one before. Times are medians; the noise of a row
 * is half the distance between its quartiles, over its median. A sample that the processor was slowed for, by heat or by
 * somebody else's work, is thrown away: a gauge of fixed work stands on both sides of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "gpu.h"
#include "memory.h"
#include "native_peers.h"
#include "peers.h"

enum { SAMPLES_MIN = 5, SAMPLES_QUIET = 11, SAMPLES_MAX = 61, HOT_SAMPLES = 5, PEER_SAMPLES = 9, THROTTLED_MAX = 30,
       LOOKS = 16 };
static const double throttled = 1.1; /* times the quickest gauge of the row: a sample beside one this slow is discarded */
static const double quiet = 0.002; /* noise that further samples need not lower */
static const double hot_seconds = 0.1; /* calls longer than this are not repeated hot */

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
/* Sorts. */
static double median(double *t, int n) {
  qsort(t, (size_t)n, sizeof *t, ascending);
  return n == 0 ? NAN : n % 2 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2;
}
/* Of sorted samples. */
static double noise_of(const double *t, int n) {
  double at = t[n / 2];
  return n < 2 || !(at > 0) ? NAN : (t[(int)(0.75 * (n - 1) + 0.5)] - t[(int)(0.25 * (n - 1) + 0.5)]) / 2 / at;
}

/* ---- One call ----------------------------------------------------------------------------------------------------------- */

struct call {
  struct bench_input *in;
  struct gpu_graph *graph;
};
static int enqueue(void *user, struct CUstream_st *stream) { return (int)bench_input_enqueue(user, 0, stream); }

static double one_sample(struct call *k, int cold) {
  struct bench_input *in = k->in;
  double t;
  if (in->gpu) t = gpu_time(in->gpu, k->graph ? gpu_replay : enqueue, k->graph ? (void *)k->graph : (void *)in, cold ? 1 : 10, cold);
  else {
    double begin = bench_now();
    if (bench_input_enqueue(in, cold, NULL)) return -1;
    t = bench_now() - begin;
  }
  return t;
}

/* The first call: threads start, pages are touched; the reports of all layers must come. */
static int first_call(struct call *k) {
  struct bench_input *in = k->in;
  actscope_status status = bench_input_enqueue(in, 0, in->gpu ? gpu_stream(in->gpu) : NULL);
  if (!status) status = bench_input_wait(in);
  if (status) {
    fprintf(stderr, "actscope-bench: %s: %s: %s\n", in->c->name, actscope_status_name(status), actscope_last_error());
    return -1;
  }
  if (!in->gpu || !in->c->graph) return 0;
  k->graph = gpu_record(in->gpu, enqueue, in);
  if (!k->graph || gpu_time(in->gpu, gpu_replay, k->graph, 1, 0) < 0) {
    fprintf(stderr, "actscope-bench: %s: the call cannot be recorded in a graph: %s\n", in->c->name, actscope_last_error());
    return -1;
  }
  return 0;
}

/* What one call asks of the system and of the runtime. */
static void count(struct call *k, struct row *row) {
  const uint64_t before = actscope_memory_allocations();
  gpu_count_start();
  int failed = k->graph ? gpu_replay(k->graph, gpu_stream(k->in->gpu))
                        : (int)bench_input_enqueue(k->in, 0, k->in->gpu ? gpu_stream(k->in->gpu) : NULL);
  const struct gpu_counts n = gpu_count_stop();
  if (failed) return;
  row->allocations = (double)(actscope_memory_allocations() - before + n.allocations);
  if (!k->in->gpu) return;
  row->synchronisations = (double)n.synchronisations;
  row->launches = (double)n.launches;
  gpu_wait(k->in->gpu);
}

/* ---- Throttling ---------------------------------------------------------------------------------------------------------- */

/* Multiply-adds that wait for each other: the same number of cycles every time, some 10 microseconds, so that its time says
 * what the clock is. On a GPU native_peers.cu has one; without it nothing is known, which is NAN. */
static double gauge_once(const struct call *k) {
  if (k->in->gpu) return bench_native_gauge ? gpu_time(k->in->gpu, bench_native_gauge, NULL, 1, 0) : NAN;
  volatile float from = 0.5f;
  float x = from;
  const double begin = bench_now();
  for (int i = 0; i < 4096; ++i) x = x * 0.999f + 0.001f;
  from = x;
  return bench_now() - begin;
}
/* The quickest of three: an interrupt does not count as a slow clock. */
static double gauge(const struct call *k) {
  double best = gauge_once(k);
  for (int i = 0; i < 2; ++i) {
    const double t = gauge_once(k);
    if (t < best) best = t;
  }
  return best;
}

/* ---- Peers --------------------------------------------------------------------------------------------------------------- */

struct rival {
  char name[48];
  const struct native_peer *native; /* NULL: way `way` of the Python process */
  int way, samples, failed;
  void *scratch;
  uint64_t bytes;
  double spent, times[PEER_SAMPLES];
};
struct rivals {
  int count;
  struct rival list[PEERS_MAX];
  struct bench_input *in;
  struct peers *python;
};

static void meet(struct rivals *r, const struct bench_settings *s, struct bench_input *in) {
  char names[PEERS_MAX][48];
  size_t natives = 0;
  memset(r, 0, sizeof *r);
  r->in = in;
  if (!in->c->peer || in->c->layers * in->bytes == 0) return;
  const struct native_peer *native = in->gpu && s->peers && bench_native_peers ? bench_native_peers(&natives) : NULL;
  for (size_t i = 0; i < natives && r->count < PEERS_MAX; ++i) {
    uint64_t bytes;
    if (strcmp(native[i].operation, in->c->peer) != 0 || native[i].dtype != in->c->dtype || in->c->layers != 1) continue;
    if (!(bytes = native[i].scratch(in->c->samples, in->c->features))) continue;
    struct rival *one = &r->list[r->count];
    if (!(one->scratch = gpu_allocate(in->gpu, bytes))) continue;
    one->native = &native[i];
    one->bytes = bytes;
    snprintf(one->name, sizeof one->name, "%s", native[i].name);
    ++r->count;
  }
  int ways = s->peers ? peers_load(s->peers, in, names, PEERS_MAX - r->count) : 0;
  if (ways > 0) r->python = s->peers;
  for (int k = 0; k < ways; ++k) {
    struct rival *one = &r->list[r->count++];
    one->way = k;
    snprintf(one->name, sizeof one->name, "%.47s", names[k]);
  }
}

struct native_call {
  const struct rival *rival;
  const struct bench_input *in;
};
static int run_native(void *user, struct CUstream_st *stream) {
  const struct native_call *n = user;
  return n->rival->native->run(n->in->tensors[0].data, n->in->c->samples, n->in->c->features, n->rival->scratch, n->rival->bytes,
                               stream);
}

/* A sample of each that still has time; the first of a native peer warms it up. */
static void one_round(struct rivals *r, double seconds) {
  for (int k = 0; k < r->count; ++k) {
    struct rival *one = &r->list[k];
    if (one->failed || one->samples == PEER_SAMPLES || (one->samples > 0 && one->spent > seconds)) continue;
    double t;
    if (one->native) {
      struct native_call n = {one, r->in};
      if (one->samples == 0) gpu_time(r->in->gpu, run_native, &n, 1, 0);
      t = gpu_time(r->in->gpu, run_native, &n, 1, 1);
    } else t = peers_run(r->python, one->way);
    if (t > 0) one->spent += one->times[one->samples++] = t;
    else one->failed = 1;
  }
}

static int faster(const void *a, const void *b) {
  return ascending(&((const struct peer_result *)a)->time, &((const struct peer_result *)b)->time);
}

static void part(struct rivals *r, struct row *row) {
  for (int k = 0; k < r->count; ++k) {
    struct rival *one = &r->list[k];
    if (one->samples > 0) {
      struct peer_result *p = &row->peer[row->peers++];
      double peak = one->native ? (double)one->bytes : peers_peak(r->python, one->way);
      *p = (struct peer_result){.samples = one->samples, .time = median(one->times, one->samples), .peak = peak >= 0 ? peak : NAN};
      snprintf(p->name, sizeof p->name, "%s", one->name);
    }
    gpu_release(one->scratch);
  }
  if (r->python) peers_unload(r->python);
  qsort(row->peer, (size_t)row->peers, sizeof *row->peer, faster);
}

/* ---- Ceilings ------------------------------------------------------------------------------------------------------------ */

/* The rate that binds the row, in its own unit, once more. On a GPU nobody shares the memory: the run's figure will do. */
static double look(const struct bench_settings *s, const struct row *row, struct bench_ceilings *top) {
  if (s->gpu) {
    if (!row->in_flops) return top->copy_gbs;
    return 1e3 * top->fp16_tflops / (row->c->precision == ACTSCOPE_PRECISION_FP32 ? 3 : 1); /* products to one of fp32 quality */
  }
  double *best = row->in_flops ? &top->fma_gflops : &top->read_gbs;
  const double now = row->in_flops ? bench_cpu_fma_gflops(s->threads) : bench_cpu_read_gbs(s->threads);
  *best = fmax(*best, now);
  return now;
}

/* ---- The row ------------------------------------------------------------------------------------------------------------- */

static void sample(const struct bench_settings *s, struct call *k, struct rivals *rivals, struct bench_ceilings *top,
                   struct row *row) {
  double cold[SAMPLES_MAX], sorted[SAMPLES_MAX], hot[HOT_SAMPLES], ceiling[LOOKS], spent = 0;
  double quickest = gauge(k), before = quickest;
  const double flops = bench_flops(row->c);
  const int bound = row->c->kind != CASE_NETWORK; /* by one ceiling; a network by both in turn */
  int hots = 0, looks = 0;
  row->in_flops = flops > 0;
  row->stop = "samples";
  while (row->samples < SAMPLES_MAX) {
    if (bound && looks < LOOKS && looks <= row->samples * LOOKS / SAMPLES_MAX) ceiling[looks++] = look(s, row, top);
    double t = one_sample(k, 1);
    if (t < 0) break;
    spent += t;
    const double after = gauge(k), slowest = before > after ? before : after;
    if (after < quickest) quickest = after;
    before = after;
    if (slowest > throttled * quickest && row->throttled < THROTTLED_MAX) { /* where all are, the row's noise tells */
      ++row->throttled;
      continue;
    }
    cold[row->samples++] = t;
    if (hots < HOT_SAMPLES && t < hot_seconds && (t = one_sample(k, 0)) >= 0) hot[hots++] = t;
    one_round(rivals, s->peer_seconds);
    if (row->samples < SAMPLES_MIN) continue;
    if (spent >= s->seconds) {
      row->stop = "time";
      break;
    }
    memcpy(sorted, cold, sizeof sorted);
    median(sorted, row->samples);
    if (row->samples >= SAMPLES_QUIET && noise_of(sorted, row->samples) < quiet) {
      row->stop = "noise";
      break;
    }
  }
  row->time = median(cold, row->samples);
  if (row->samples) row->noise = noise_of(cold, row->samples);
  row->hot = median(hot, hots);
  row->rate = (flops > 0 ? flops : (double)row->bytes) / row->time / 1e9;
  row->ceiling = median(ceiling, looks);
  row->share = row->rate / row->ceiling;
}

int bench_measure(const struct bench_settings *s, const struct bench_case *c, struct bench_ceilings *top, struct row *row) {
  struct bench_input in;
  struct rivals rivals;
  struct call call = {&in, NULL};
  const int timed = !s->profile && !s->check_only;
  *row = (struct row){.c = c, .time = NAN, .noise = NAN, .hot = NAN, .rate = NAN, .share = NAN, .ceiling = NAN, .allocations = NAN,
                      .synchronisations = NAN, .launches = NAN, .stop = ""};
  if (bench_input_open(&in, c, s->gpu, s->threads, timed)) return -1;
  row->bytes = in.bytes;
  row->workspace = in.workspace_bytes;
  int failed = first_call(&call);
  if (!failed && !s->profile) count(&call, row);
  if (!failed && timed) {
    meet(&rivals, s, &in);
    sample(s, &call, &rivals, top, row);
    part(&rivals, row);
    failed = row->samples == 0;
  }
  if (!failed && !s->profile) bench_check(&in, row);
  gpu_forget(call.graph);
  bench_input_close(&in);
  return failed ? -1 : 0;
}
