/* peer.c - the Python side of a comparison: one process, spoken to line by line, so that samples interleave with ours. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

struct peer {
  pid_t pid;
  FILE *to, *from;
  char version[64];
};

static int ask(struct peer *p, const char *line, char *answer, size_t size) {
  if (fprintf(p->to, "%s\n", line) < 0 || fflush(p->to) || !fgets(answer, (int)size, p->from)) return -1;
  answer[strcspn(answer, "\n")] = 0;
  return strncmp(answer, "error", 5) == 0 ? -1 : 0;
}

static struct peer *spawn(const char *python, const char *script) {
  int in[2], out[2];
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
    execlp(python, python, script, (char *)NULL);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  struct peer *p = calloc(1, sizeof *p);
  if (pid < 0 || !p) {
    close(in[1]), close(out[0]);
    free(p);
    return NULL;
  }
  p->pid = pid;
  p->to = fdopen(in[1], "w");
  p->from = fdopen(out[0], "r");
  if (ask(p, "version", p->version, sizeof p->version) == 0) return p;
  peer_stop(p);
  return NULL;
}

struct peer *peer_start(const char *script) {
  static const char *const interpreters[] = {"python3", "/usr/bin/python3", "python"};
  const char *wish = getenv("PYTHON");
  struct peer *p = wish && *wish ? spawn(wish, script) : NULL;
  for (size_t i = 0; !p && i < sizeof interpreters / sizeof *interpreters; ++i) p = spawn(interpreters[i], script);
  if (!p) fprintf(stderr, "actscope-bench: no Python with NumPy here: rows have no peers\n");
  return p;
}

int peer_load(struct peer *p, const char *function, char paths[][256], size_t count) {
  char answer[256];
  size_t size = 64 + count * 258;
  char *line = malloc(size);
  if (!line) return -1;
  snprintf(line, size, "load\t%s", function);
  for (size_t i = 0; i < count; ++i) {
    strcat(line, "\t");
    strcat(line, paths[i]);
  }
  int failed = ask(p, line, answer, sizeof answer);
  free(line);
  return failed;
}

double peer_run(struct peer *p) {
  char answer[256];
  return ask(p, "run", answer, sizeof answer) ? -1 : strtod(answer, NULL);
}

double peer_peak(struct peer *p) {
  char answer[256];
  return ask(p, "peak", answer, sizeof answer) ? -1 : strtod(answer, NULL);
}

const char *peer_version(const struct peer *p) { return p->version; }

void peer_stop(struct peer *p) {
  if (!p) return;
  if (p->to) fclose(p->to);
  if (p->from) fclose(p->from);
  kill(p->pid, SIGTERM);
  waitpid(p->pid, NULL, 0);
  free(p);
}
