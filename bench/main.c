/* main.c - `actscope-bench`: rows that are also proofs.
 *
 * Order of work: ceilings first; then each case with its peer, a sample of ours and a sample of theirs in turn, so that
 * both see the same machine; then the check of the last report. Times are medians; noise is half the distance between
 * the quartiles, over the median. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <omp.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "memory.h"

struct options {
  const char *json, *filter;
  int list, profile, threads, peers, check_only;
  double seconds; /* of our samples, a case */
};

struct row {
  const struct bench_case *c;
  uint64_t bytes, wrong, allocations;
  double time, noise, rate, share; /* seconds; GB/s or GFLOP/s */
  int samples, peer_samples, in_flops;
  const char *stop; /* why sampling ended */
  size_t workspace;
  double peer_time, peer_peak, ratio; /* NaN without a peer */
};

enum { SAMPLES_MIN = 5, SAMPLES_MAX = 31 };
#define PEER_SECONDS 12.0

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static double quantile(const double *sorted, int n, double q) { return sorted[(int)(q * (n - 1) + 0.5)]; }

static void help(void) {
  puts("usage: actscope-bench [options]\n\n"
       "  --device cpu       where (cpu; auto is the same where there is no GPU)\n"
       "  --filter RE        cases whose name matches this extended regular expression\n"
       "  --list             names of the cases\n"
       "  --json FILE        the same numbers as JSON\n"
       "  --seconds S        time for our samples of a case (1.0)\n"
       "  --threads T        CPU threads (as many as there are)\n"
       "  --no-peers         without the NumPy rows\n"
       "  --check            correctness alone: each case once, no ceilings, no peers\n"
       "  --profile          each case once, nothing around it: for a profiler\n\n"
       "A row: case, bytes of input, median time, noise, samples, GB/s or GFLOP/s, share of the ceiling measured in the\n"
       "same run, peer's time, ratio, and #wrong, the numbers that differ from the oracle (N/A: not checked).\n"
       "Exit 1 when any #wrong is above 0.");
}

static const char *value_of(int argc, char **argv, int *i, const char *name) {
  size_t n = strlen(name);
  if (strncmp(argv[*i], name, n) == 0 && argv[*i][n] == '=') return argv[*i] + n + 1;
  if (strcmp(argv[*i], name) != 0) return NULL;
  if (*i + 1 < argc) return argv[++*i];
  fprintf(stderr, "actscope-bench: %s wants a value\n", name);
  exit(2);
}

static void parse(int argc, char **argv, struct options *o) {
  *o = (struct options){.threads = omp_get_max_threads(), .peers = 1, .seconds = 1.0};
  for (int i = 1; i < argc; ++i) {
    const char *v;
    char *end;
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
      help();
      exit(0);
    } else if (strcmp(argv[i], "--list") == 0) o->list = 1;
    else if (strcmp(argv[i], "--profile") == 0) o->profile = 1;
    else if (strcmp(argv[i], "--no-peers") == 0) o->peers = 0;
    else if (strcmp(argv[i], "--check") == 0) o->check_only = 1;
    else if ((v = value_of(argc, argv, &i, "--json"))) o->json = v;
    else if ((v = value_of(argc, argv, &i, "--filter"))) o->filter = v;
    else if ((v = value_of(argc, argv, &i, "--device"))) {
      if (strcmp(v, "cpu") != 0 && strcmp(v, "auto") != 0) {
        fprintf(stderr, "actscope-bench: no usable GPU for --device %s: %s\n", v, actscope_no_gpu_reason());
        exit(2);
      }
    } else if ((v = value_of(argc, argv, &i, "--threads"))) {
      o->threads = (int)strtol(v, &end, 10);
      if (*end || o->threads < 1) exit((fprintf(stderr, "actscope-bench: --threads wants a number from 1 on\n"), 2));
    } else if ((v = value_of(argc, argv, &i, "--seconds"))) {
      o->seconds = strtod(v, &end);
      if (*end || !(o->seconds >= 0)) exit((fprintf(stderr, "actscope-bench: --seconds wants a number\n"), 2));
    } else {
      fprintf(stderr, "actscope-bench: unknown option '%s'; try --help\n", argv[i]);
      exit(2);
    }
  }
}

/* Hands the case's input to the peer through files in a folder of its own. */
static int load_peer(struct peer *p, const struct bench_input *in) {
  char folder[] = "/tmp/actscope-bench-XXXXXX", (*paths)[256] = calloc(in->layers, sizeof *paths);
  if (!paths || !mkdtemp(folder)) {
    free(paths);
    return -1;
  }
  int failed = 0;
  for (size_t l = 0; l < in->layers; ++l) {
    snprintf(paths[l], sizeof paths[l], "%s/%zu.npy", folder, l);
    failed |= bench_input_save(in, l, paths[l]);
  }
  if (!failed) failed = peer_load(p, in->c->peer, paths, in->layers);
  for (size_t l = 0; l < in->layers; ++l) unlink(paths[l]);
  rmdir(folder);
  free(paths);
  return failed;
}

static int run_case(const struct options *o, const struct bench_case *c, const struct bench_ceilings *top, struct peer *peer,
                    struct row *row) {
  struct bench_input in;
  double ours[SAMPLES_MAX], theirs[SAMPLES_MAX], spent = 0, peer_spent = 0;
  *row = (struct row){.c = c, .peer_time = NAN, .peer_peak = NAN, .ratio = NAN, .time = NAN, .noise = NAN, .rate = NAN,
                      .share = NAN};
  if (bench_input_open(&in, c, o->threads, 0)) return -1;
  row->bytes = in.bytes;
  row->workspace = in.workspace_bytes;
  if (bench_input_run(&in)) { /* warm-up: pages, threads */
    fprintf(stderr, "actscope-bench: %s: %s\n", c->name, actscope_last_error());
    bench_input_close(&in);
    return -1;
  }
  int timed = !o->profile && !o->check_only, with_peer = timed && peer && c->peer && load_peer(peer, &in) == 0;
  uint64_t before = actscope_memory_allocations();
  row->stop = "samples";
  while (timed && row->samples < SAMPLES_MAX) {
    double start = bench_now();
    bench_input_run(&in);
    spent += ours[row->samples++] = bench_now() - start;
    if (with_peer && peer_spent < PEER_SECONDS) {
      double t = peer_run(peer);
      if (t > 0) peer_spent += theirs[row->peer_samples++] = t;
      else with_peer = 0;
    }
    if (row->samples >= SAMPLES_MIN && spent >= o->seconds) {
      row->stop = "time";
      break;
    }
  }
  row->allocations = actscope_memory_allocations() - before;
  if (timed) {
    qsort(ours, (size_t)row->samples, sizeof *ours, ascending);
    row->time = quantile(ours, row->samples, 0.5);
    row->noise = (quantile(ours, row->samples, 0.75) - quantile(ours, row->samples, 0.25)) / 2 / row->time;
    double flops = bench_flops(c);
    row->in_flops = flops > 0;
    row->rate = (flops > 0 ? flops : (double)row->bytes) / row->time / 1e9;
    if (c->kind != CASE_NETWORK) row->share = row->rate / (flops > 0 ? top->fma_gflops : top->read_gbs);
    if (row->peer_samples > 0) {
      qsort(theirs, (size_t)row->peer_samples, sizeof *theirs, ascending);
      row->peer_time = quantile(theirs, row->peer_samples, 0.5);
      row->ratio = row->peer_time / row->time;
      double peak = peer_peak(peer);
      if (peak >= 0) row->peer_peak = peak;
    }
  }
  if (!o->profile) row->wrong = bench_check(&in);
  bench_input_close(&in);
  return 0;
}

static void print_time(double seconds) {
  if (isnan(seconds)) printf(" %11s", "-");
  else if (seconds < 1e-3) printf(" %8.1f us", seconds * 1e6);
  else if (seconds < 10) printf(" %8.2f ms", seconds * 1e3);
  else printf(" %8.2f s ", seconds);
}

static void print_row(const struct row *r, int checked) {
  printf("%-36s %8.1f MiB", r->c->name, (double)r->bytes / 1048576);
  print_time(r->time);
  if (isnan(r->time)) printf(" %7s %4s %14s %6s", "-", "-", "-", "-");
  else {
    printf(" %6.1f%% %4d %7.1f %-6s", 100 * r->noise, r->samples, r->rate, r->in_flops ? "GFLOP/s" : "GB/s");
    if (isnan(r->share)) printf(" %6s", "-"); else printf(" %5.0f%%", 100 * r->share);
  }
  print_time(r->peer_time);
  if (isnan(r->ratio)) printf(" %8s", "-"); else printf(" %7.1fx", r->ratio);
  if (checked) printf(" %6llu\n", (unsigned long long)r->wrong); else printf(" %6s\n", "N/A");
  fflush(stdout);
}

static void number(cJSON *object, const char *name, double v) {
  if (!isnan(v)) cJSON_AddNumberToObject(object, name, v);
}

/* The layout of the result files under bench/results. */
static int write_json(const char *path, const struct options *o, const struct bench_ceilings *top, const char *device,
                      const char *peer, const struct row *rows, size_t count) {
  cJSON *doc = cJSON_CreateObject(), *ceilings, *list;
  char date[32];
  time_t now = time(NULL);
  struct tm utc;
  strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &utc));
  cJSON_AddStringToObject(doc, "device", device);
  cJSON_AddStringToObject(doc, "version", actscope_version());
  cJSON_AddStringToObject(doc, "date", date);
  cJSON_AddNumberToObject(doc, "threads", o->threads);
  ceilings = cJSON_AddObjectToObject(doc, "ceilings");
  cJSON_AddNumberToObject(ceilings, "read_gbs", top->read_gbs);
  cJSON_AddNumberToObject(ceilings, "fp32_gflops", top->fma_gflops);
  list = cJSON_AddArrayToObject(doc, "rows");
  for (size_t i = 0; i < count; ++i) {
    const struct row *r = &rows[i];
    cJSON *j = cJSON_CreateObject();
    cJSON_AddItemToArray(list, j);
    cJSON_AddStringToObject(j, "case", r->c->name);
    cJSON_AddNumberToObject(j, "bytes", (double)r->bytes);
    number(j, "time_us", r->time * 1e6);
    number(j, "noise", r->noise);
    cJSON_AddNumberToObject(j, "samples", r->samples);
    cJSON_AddStringToObject(j, "stop", r->stop);
    number(j, r->in_flops ? "tflops" : "gbs", r->in_flops ? r->rate / 1e3 : r->rate);
    number(j, "fraction_of_ceiling", r->share);
    cJSON_AddNumberToObject(j, "workspace_bytes", (double)r->workspace);
    cJSON_AddNumberToObject(j, "allocations", (double)r->allocations);
    if (!o->profile) cJSON_AddNumberToObject(j, "wrong", (double)r->wrong);
    if (!isnan(r->peer_time)) {
      cJSON *p = cJSON_AddObjectToObject(j, "peer");
      cJSON_AddStringToObject(p, "name", peer);
      cJSON_AddNumberToObject(p, "time_us", r->peer_time * 1e6);
      cJSON_AddNumberToObject(p, "samples", r->peer_samples);
      number(p, "peak_bytes", r->peer_peak);
      cJSON_AddNumberToObject(j, "ratio", r->ratio);
    }
  }
  char *text = cJSON_Print(doc);
  FILE *f = text ? fopen(path, "w") : NULL;
  int failed = !f || fprintf(f, "%s\n", text) < 0;
  if (f && fclose(f)) failed = 1;
  free(text);
  cJSON_Delete(doc);
  if (failed) fprintf(stderr, "actscope-bench: %s: %s\n", path, strerror(errno));
  return failed ? -1 : 0;
}

/* peers.py lies beside the source; the binary is build/actscope-bench. */
static const char *peer_script(const char *self, char *path, size_t size) {
  const char *slash = strrchr(self, '/');
  snprintf(path, size, "%.*sbench/peers.py", slash ? (int)(slash - self + 1) : 0, self);
  if (access(path, R_OK) == 0) return path;
  snprintf(path, size, "%.*s../bench/peers.py", slash ? (int)(slash - self + 1) : 0, self);
  return access(path, R_OK) == 0 ? path : "bench/peers.py";
}

int main(int argc, char **argv) {
  struct options o;
  regex_t filter;
  parse(argc, argv, &o);
  if (o.filter && regcomp(&filter, o.filter, REG_EXTENDED | REG_NOSUB)) {
    fprintf(stderr, "actscope-bench: --filter '%s' is not a regular expression\n", o.filter);
    return 2;
  }
  size_t count, done = 0;
  const struct bench_case *cases = bench_cases(&count);
  struct row *rows = calloc(count, sizeof *rows);
  if (!rows) return 2;
  struct bench_ceilings top = {NAN, NAN};
  struct peer *peer = NULL;
  char device[256] = "", path[4096];
  if (!o.list) {
    actscope_device_info info;
    size_t devices;
    actscope_devices(&info, 1, &devices);
    snprintf(device, sizeof device, "%s, %d threads, %s", info.name, o.threads, info.backend);
    if (!o.profile && !o.check_only) {
      if (o.peers) peer = peer_start(peer_script(argv[0], path, sizeof path));
      bench_ceilings(&top, o.threads);
    }
    printf("# actscope %s on %s\n", actscope_version(), device);
    if (!isnan(top.read_gbs)) printf("# ceilings: read %.1f GB/s, fp32 multiply-add %.1f GFLOP/s\n", top.read_gbs, top.fma_gflops);
    if (peer) printf("# peer: %s, in turn with our samples\n", peer_version(peer));
    printf("# at most %d samples or %.1f s a case, at least %d; inputs rotate through 256 MiB but for correlation\n#\n",
           SAMPLES_MAX, o.seconds, SAMPLES_MIN);
    printf("%-36s %12s %11s %7s %4s %14s %6s %11s %8s %6s\n", "# case", "input", "time", "noise", "n", "rate", "of max",
           "peer", "ratio", "#wrong");
  }
  int failed = 0;
  uint64_t wrong = 0;
  for (size_t i = 0; i < count; ++i) {
    if (o.filter && regexec(&filter, cases[i].name, 0, NULL, 0) != 0) continue;
    if (o.list) {
      puts(cases[i].name);
      continue;
    }
    if (run_case(&o, &cases[i], &top, peer, &rows[done])) {
      failed = 1;
      continue;
    }
    print_row(&rows[done], !o.profile);
    wrong += rows[done++].wrong;
  }
  peer_stop(peer);
  if (o.filter) regfree(&filter);
  if (!o.list) printf("#\n# %zu rows, %llu wrong\n", done, (unsigned long long)wrong);
  if (o.json && !o.list && write_json(o.json, &o, &top, device, "numpy", rows, done)) failed = 1;
  free(rows);
  if (fflush(stdout)) failed = 1;
  return wrong > 0 || failed ? 1 : 0;
}
