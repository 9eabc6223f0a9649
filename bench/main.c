/* main.c - `actscope-bench`: rows that are also proofs.
 *
 * Order of work: ceilings first; then each case with its peers in turn; then the check of its last report. */
#include <math.h>
#include <omp.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "gpu.h"
#include "peers.h"

struct options {
  const char *json, *filter;
  int list, small, no_peers, all_peers, device, index; /* device: ON_CPU, ON_CUDA, or 0 for auto */
  double limit;
  struct bench_settings settings;
};

static void help(void) {
  puts("usage: actscope-bench [options]\n\n"
       "  --device auto|cpu|cuda[:K]   where (auto: a usable GPU, else the CPU)\n"
       "  --filter RE        cases whose name matches this extended regular expression\n"
       "  --list             names of the cases\n"
       "  --json FILE        the same numbers as JSON\n"
       "  --seconds S        time for our samples of a case (0.4)\n"
       "  --peer-seconds S   time for the samples of each peer of a case (0.3); each gets one sample at least\n"
       "  --limit S          no further case after so many seconds; those left out are named\n"
       "  --threads T        CPU threads (as many as there are)\n"
       "  --no-peers         without peers\n"
       "  --all-peers        on a CPU too those that take long: PyTorch by the formulas of neuroexapt\n"
       "  --check            correctness alone: each case once, no ceilings, no peers, no times\n"
       "  --smoke            the same at sizes of milliseconds; last line: N passed, M failed\n"
       "  --profile          each case once, nothing around it: for a profiler; NVTX ranges on a GPU\n\n"
       "A row: case, dtype, shape, bytes of input, median time of cold samples, noise, samples, GB/s or GFLOP/s, share of\n"
       "the ceiling measured in the same run, the fastest peer's time, ratio, and #wrong, the numbers that differ from the\n"
       "oracle (N/A: not checked). Exit 1 when any #wrong is above 0 or a case could not run, 2 for wrong usage.");
}

static void usage(const char *format, const char *what) {
  fprintf(stderr, "actscope-bench: ");
  fprintf(stderr, format, what);
  fprintf(stderr, "\n");
  exit(2);
}

static const char *value_of(int argc, char **argv, int *i, const char *name) {
  size_t n = strlen(name);
  if (strncmp(argv[*i], name, n) == 0 && argv[*i][n] == '=') return argv[*i] + n + 1;
  if (strcmp(argv[*i], name) != 0) return NULL;
  if (*i + 1 >= argc) usage("%s wants a value", name);
  return argv[++*i];
}

static double seconds_of(const char *v, const char *name) {
  char *end;
  double s = strtod(v, &end);
  if (*end || end == v || !(s >= 0)) usage("%s wants a number of seconds", name);
  return s;
}

static void device_of(const char *v, struct options *o) {
  char *end = NULL;
  if (strcmp(v, "auto") == 0) o->device = 0;
  else if (strcmp(v, "cpu") == 0) o->device = ON_CPU;
  else if (strcmp(v, "cuda") == 0) o->device = ON_CUDA;
  else if (strncmp(v, "cuda:", 5) == 0 && v[5] && (o->index = (int)strtol(v + 5, &end, 10)) >= 0 && !*end) o->device = ON_CUDA;
  else usage("--device is auto, cpu, cuda or cuda:K, not '%s'", v);
}

static void parse(int argc, char **argv, struct options *o) {
  *o = (struct options){.limit = INFINITY, .settings = {.threads = omp_get_max_threads(), .seconds = 0.4, .peer_seconds = 0.3}};
  struct bench_settings *s = &o->settings;
  for (int i = 1; i < argc; ++i) {
    const char *v;
    char *end;
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
      help();
      exit(0);
    } else if (strcmp(argv[i], "--list") == 0) o->list = 1;
    else if (strcmp(argv[i], "--profile") == 0) s->profile = 1;
    else if (strcmp(argv[i], "--no-peers") == 0) o->no_peers = 1;
    else if (strcmp(argv[i], "--all-peers") == 0) o->all_peers = 1;
    else if (strcmp(argv[i], "--check") == 0) s->check_only = 1;
    else if (strcmp(argv[i], "--smoke") == 0) s->check_only = o->small = 1;
    else if ((v = value_of(argc, argv, &i, "--json"))) o->json = v;
    else if ((v = value_of(argc, argv, &i, "--filter"))) o->filter = v;
    else if ((v = value_of(argc, argv, &i, "--device"))) device_of(v, o);
    else if ((v = value_of(argc, argv, &i, "--threads"))) {
      s->threads = (int)strtol(v, &end, 10);
      if (*end || s->threads < 1) usage("%s wants a number from 1 on", "--threads");
    } else if ((v = value_of(argc, argv, &i, "--limit"))) o->limit = seconds_of(v, "--limit");
    else if ((v = value_of(argc, argv, &i, "--seconds"))) s->seconds = seconds_of(v, "--seconds");
    else if ((v = value_of(argc, argv, &i, "--peer-seconds"))) s->peer_seconds = seconds_of(v, "--peer-seconds");
    else usage("unknown option '%s'; try --help", argv[i]);
  }
}

/* The GPU that was asked for, or that auto finds; NULL: the CPU. */
static struct gpu *open_gpu(const struct options *o) {
  actscope_device_info info[64];
  size_t count = 0;
  if (o->device == ON_CPU) return NULL;
  actscope_devices(info, 64, &count);
  if (count < 2) {
    if (o->device == ON_CUDA) usage("no usable GPU: %s", actscope_no_gpu_reason());
    return NULL;
  }
  struct gpu *g = gpu_open(o->device == ON_CUDA ? o->index : info[1].index);
  if (!g) usage("%s cannot be opened", info[1].name);
  return g;
}

/* peers.py lies beside the source; the binary is build/actscope-bench. */
static const char *peer_script(const char *self, char *path, size_t size) {
  static const char *const places[] = {"bench/peers.py", "../bench/peers.py", "../../../bench/peers.py"};
  const char *slash = strrchr(self, '/');
  for (size_t i = 0; i < sizeof places / sizeof *places; ++i) {
    snprintf(path, size, "%.*s%s", slash ? (int)(slash - self + 1) : 0, self, places[i]);
    if (access(path, R_OK) == 0) return path;
  }
  return "bench/peers.py";
}

static void describe(struct bench_run *run, const struct options *o, char *name, size_t size) {
  actscope_device_info info[64];
  size_t count = 0, at = 0;
  actscope_devices(info, 64, &count);
  run->gpu = o->settings.gpu != NULL;
  for (size_t i = 1; run->gpu && i < count && i < 64; ++i)
    if (info[i].index == gpu_index(o->settings.gpu)) at = i;
  snprintf(name, size, "%s\n%s", info[at].name, info[at].backend);
  run->device = name;
  char *end = strchr(name, '\n');
  *end = 0;
  run->backend = end + 1;
}

static void print_settings(const struct options *o, const struct bench_run *run, const struct bench_ceilings *top, const char *absent) {
  const struct bench_settings *s = &o->settings;
  printf("# actscope %s on %s, %s, %d threads\n", actscope_version(), run->device, run->backend, s->threads);
  if (s->profile || s->check_only) {
    printf("# each case once%s\n", s->profile ? ", not checked" : ", checked, not timed");
    return;
  }
  if (s->gpu) {
    if (isnan(top->fp16_tflops)) printf("# ceilings: copy %.1f GB/s (read + write); no cuBLAS here: no fp16 product\n", top->copy_gbs);
    else printf("# ceilings: copy %.1f GB/s (read + write), cuBLAS fp16 product %.1f TFLOP/s\n", top->copy_gbs, top->fp16_tflops);
  } else printf("# ceilings: read %.1f GB/s, fp32 multiply-add %.1f GFLOP/s\n", top->read_gbs, top->fma_gflops);
  if (run->peers[0]) printf("# peers, in turn with our samples: %s\n", run->peers);
  if (absent[0]) printf("# absent peers, whose rows are missing: %s\n", absent);
  printf("# cold samples (%s) until %.2g s, or noise below 0.2 %%; median, noise = half the quartiles' distance\n",
         s->gpu ? "L2 cache flushed" : "inputs rotate through 256 MiB", s->seconds);
}

/* A call may neither allocate nor wait: a row that did says so. */
static int costs(const struct row *r) {
  if (!(r->allocations > 0) && !(r->synchronisations > 0)) return 0;
  printf("# %s: one call allocates %.0f times and waits %.0f times\n", r->c->name, r->allocations,
         isnan(r->synchronisations) ? 0 : r->synchronisations);
  return 1;
}

int main(int argc, char **argv) {
  struct options o;
  regex_t filter;
  parse(argc, argv, &o);
  struct bench_settings *s = &o.settings;
  if (o.filter && regcomp(&filter, o.filter, REG_EXTENDED | REG_NOSUB)) usage("--filter '%s' is not a regular expression", o.filter);
  const double began = bench_now();
  size_t count, done = 0, failed = 0, bad = 0;
  if (o.list) { /* needs no device */
    const struct bench_case *c = bench_cases(o.device ? (unsigned)o.device : actscope_no_gpu_reason()[0] ? ON_CPU : ON_CUDA, o.small, &count);
    for (size_t i = 0; i < count; ++i)
      if (!o.filter || regexec(&filter, c[i].name, 0, NULL, 0) == 0) puts(c[i].name);
    return fflush(stdout) ? 1 : 0;
  }
  s->gpu = open_gpu(&o);
  const struct bench_case *cases = bench_cases(s->gpu ? ON_CUDA : ON_CPU, o.small, &count);
  size_t wanted = 0;
  for (size_t i = 0; i < count; ++i) wanted += !o.filter || regexec(&filter, cases[i].name, 0, NULL, 0) == 0;
  if (!wanted) usage("no case matches --filter '%s'; --list has the names", o.filter);
  struct row *rows = calloc(count + 1, sizeof *rows);
  if (!rows) return 2;
  struct bench_ceilings top = {NAN, NAN, NAN, NAN};
  struct bench_run run = {.threads = s->threads, .checked = !s->profile};
  char name[256], path[4096], command[512] = "actscope-bench", absent[256] = "";
  for (int i = 1; i < argc; ++i) { /* without the name of this very file */
    if (strncmp(argv[i], "--json", 6) != 0) snprintf(command + strlen(command), sizeof command - strlen(command), " %s", argv[i]);
    else if (!argv[i][6]) ++i;
  }
  run.command = command;
  describe(&run, &o, name, sizeof name);
  if (!s->profile && !s->check_only) {
    if (s->gpu) gpu_ceilings(s->gpu, &top.copy_gbs, &top.fp16_tflops);
    else bench_cpu_ceilings(&top, s->threads);
    if (!o.no_peers)
      s->peers = peers_start(peer_script(argv[0], path, sizeof path), s->gpu ? "cuda" : "cpu", o.all_peers, run.peers, absent,
                             sizeof absent);
  }
  print_settings(&o, &run, &top, absent);
  printf("#\n");
  bench_print_head();
  unsigned long long wrong = 0;
  for (size_t i = 0; i < count; ++i) {
    if (o.filter && regexec(&filter, cases[i].name, 0, NULL, 0) != 0) continue;
    if (bench_now() - began > o.limit) {
      printf("# not run, no time left: %s\n", cases[i].name);
      continue;
    }
    if (bench_measure(s, &cases[i], &top, &rows[done])) {
      ++failed;
      continue;
    }
    bench_print_row(&rows[done], run.checked);
    wrong += rows[done].wrong;
    bad += rows[done].wrong > 0 || (o.small && costs(&rows[done]));
    ++done;
    run.seconds = bench_now() - began;
    if (o.json && bench_write_json(o.json, &run, &top, rows, done)) ++failed; /* whatever comes later, these rows are safe */
  }
  peers_stop(s->peers);
  bench_check_close();
  bench_cpu_ceilings_close();
  gpu_close(s->gpu);
  if (o.filter) regfree(&filter);
  run.seconds = bench_now() - began;
  printf("#\n# %zu rows, %llu wrong, %zu could not run, %.0f s\n", done, wrong, failed, run.seconds);
  if (o.json && bench_write_json(o.json, &run, &top, rows, done)) ++failed; /* also where no case was run */
  free(rows);
  if (o.small) printf("%zu passed, %zu failed\n", done - bad, bad + failed);
  if (fflush(stdout) || ferror(stdout)) {
    fprintf(stderr, "actscope-bench: standard output: not all of it was written\n");
    ++failed;
  }
  return bad > 0 || failed ? 1 : 0;
}
