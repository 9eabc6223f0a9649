/* peers.c - the Python side of a comparison: one process, spoken to line by line, so that samples interleave with ours. */
#include "peers.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct peers {
  pid_t pid;
  FILE *to, *from;
};

/* The answer to a line; -1 when there is none, or it begins with "error". Between questions the process is stopped: idle
 * threads of a BLAS spin for a tenth of a second, on the processors that our next sample is timed on. */
static int ask(struct peers *p, const char *line, char *answer, size_t size) {
  answer[0] = 0;
  kill(p->pid, SIGCONT);
  int failed = fprintf(p->to, "%s\n", line) < 0 || fflush(p->to) || !fgets(answer, (int)size, p->from);
  kill(p->pid, SIGSTOP);
  if (failed) return -1;
  answer[strcspn(answer, "\n")] = 0;
  return strncmp(answer, "error", 5) == 0 ? -1 : 0;
}

static struct peers *spawn(const char *python, const char *script, const char *device, int all) {
  int in[2], out[2];
  char answer[256];
  if (pipe(in)) return NULL;
  if (pipe(out)) {
    close(in[0]), close(in[1]);
    return NULL;
  }
  pid_t pid = fork();
  if (pid == 0) {
    dup2(in[0], 0);
    dup2(out[1], 1);
    close(in[0]), close(in[1]), close(out[0]), close(out[1]);
    if (!freopen("/dev/null", "w", stderr)) _exit(127);
    execlp(python, python, "-B", script, device, all ? "all" : (char *)NULL, (char *)NULL);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  struct peers *p = pid > 0 ? calloc(1, sizeof *p) : NULL;
  if (!p) {
    close(in[1]), close(out[0]);
    return NULL;
  }
  p->pid = pid;
  p->to = fdopen(in[1], "w");
  p->from = fdopen(out[0], "r");
  if (p->to && p->from && ask(p, "ping", answer, sizeof answer) == 0) return p;
  peers_stop(p);
  return NULL;
}

struct peers *peers_start(const char *script, const char *device, int all, char *present, char *absent, size_t size) {
  const char *wish = getenv("PYTHON");
  char own[4096];
  snprintf(own, sizeof own, "%.*s../build/peers/bin/python", (int)(strrchr(script, '/') ? strrchr(script, '/') - script + 1 : 0), script);
  const char *const interpreters[] = {wish && *wish ? wish : own, own, "python3", "/usr/bin/python3"};
  struct peers *p = NULL;
  void (*before)(int) = signal(SIGPIPE, SIG_IGN); /* a worker that ends early is an answer, not an end */
  for (size_t i = 0; !p && i < sizeof interpreters / sizeof *interpreters; ++i)
    if (access(interpreters[i], X_OK) == 0 || !strchr(interpreters[i], '/')) p = spawn(interpreters[i], script, device, all);
  if (!p) {
    signal(SIGPIPE, before);
    snprintf(absent, size, "Python with NumPy");
    present[0] = 0;
    return NULL;
  }
  ask(p, "present", present, size);
  ask(p, "absent", absent, size);
  return p;
}

/* The values of a layer go over as raw bytes in a file of a folder that is gone again afterwards. A repeated block is
 * written once, and repeated by the reader. */
static int save(const struct bench_input *in, size_t layer, const char *path) {
  uint64_t elements = bench_layer_samples(in, layer) * bench_layer_features(in, layer);
  if (in->c->block) elements = in->c->block;
  const size_t bytes = (size_t)(elements * ref_size(in->c->dtype));
  FILE *f = fopen(path, "wb");
  if (!f) return -1;
  int failed = fwrite(in->host[layer], 1, bytes, f) != bytes;
  return fclose(f) || failed ? -1 : 0;
}

int peers_load(struct peers *p, const struct bench_input *in, char names[][48], int room) {
  char folder[] = "/tmp/actscope-bench-XXXXXX", answer[PEERS_MAX * 48 + 16], path[128];
  size_t size = 256 + in->c->layers * 192;
  char *line = malloc(size);
  int count = 0;
  if (!line) return 0;
  /* Does it know the operation on this type at all? Nothing is written if not. */
  snprintf(line, size, "knows\t%s\t%s", in->c->peer, bench_dtype_name(in->c->dtype));
  if (ask(p, line, answer, sizeof answer) || strcmp(answer, "yes") != 0 || !mkdtemp(folder)) {
    free(line);
    return 0;
  }
  snprintf(line, size, "load\t%s\t%s", in->c->peer, bench_dtype_name(in->c->dtype));
  int failed = 0;
  for (size_t l = 0; l < in->c->layers; ++l) {
    snprintf(path, sizeof path, "%s/%zu", folder, l);
    failed |= save(in, l, path);
    snprintf(line + strlen(line), size - strlen(line), "\t%s\t%llux%llu", path,
             (unsigned long long)bench_layer_samples(in, l), (unsigned long long)bench_layer_features(in, l));
  }
  if (!failed) failed = ask(p, line, answer, sizeof answer);
  for (size_t l = 0; l < in->c->layers; ++l) {
    snprintf(path, sizeof path, "%s/%zu", folder, l);
    unlink(path);
  }
  rmdir(folder);
  free(line);
  if (failed) return 0;
  for (char *save_at, *name = strtok_r(answer, "\t", &save_at); name && count < room; name = strtok_r(NULL, "\t", &save_at))
    snprintf(names[count++], 48, "%s", name);
  return count;
}

static double ask_number(struct peers *p, const char *word, int k) {
  char line[64], answer[256], *end;
  snprintf(line, sizeof line, "%s\t%d", word, k);
  if (ask(p, line, answer, sizeof answer)) return -1;
  double v = strtod(answer, &end);
  return end == answer ? -1 : v;
}
double peers_run(struct peers *p, int k) { return ask_number(p, "run", k); }
double peers_peak(struct peers *p, int k) { return ask_number(p, "peak", k); }

void peers_unload(struct peers *p) {
  char answer[256];
  ask(p, "unload", answer, sizeof answer);
}

void peers_stop(struct peers *p) {
  if (!p) return;
  if (p->to) fclose(p->to);
  if (p->from) fclose(p->from);
  kill(p->pid, SIGTERM);
  kill(p->pid, SIGCONT); /* to hear of it */
  waitpid(p->pid, NULL, 0);
  free(p);
}
