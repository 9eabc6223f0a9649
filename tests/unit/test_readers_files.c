/* test_readers_files.c - the readers on files, on what is no file, and on standard input. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "unit/reader_files.h"

TestSuite(readers_files, .timeout = 60);

static const float six[] = {1, 2, 3, 4, 5, 6};

static const char *temporary(const char *name) {
  static char path[256];
  const char *where = getenv("TMPDIR");
  char folder[200];
  snprintf(folder, sizeof folder, "%s/actscope-test-XXXXXX", where ? where : "/tmp");
  cr_assert_neq(mkdtemp(folder), NULL, "%s: %s", folder, strerror(errno));
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void drop(const char *path) {
  char folder[256];
  snprintf(folder, sizeof folder, "%s", path);
  *strrchr(folder, '/') = 0;
  unlink(path);
  rmdir(folder);
}

static void write_file(const char *path, bytes b) {
  FILE *f = fopen(path, "wb");
  cr_assert(f && (!b.size || fwrite(b.data, b.size, 1, f) == 1) && fclose(f) == 0, "%s: %s", path, strerror(errno));
}

Test(readers_files, are_loaded_again_after_release) {
  static const char *const orders[] = {"<f4", ">f4"};
  char error[READER_ERROR_SIZE];
  float *values = malloc(1 << 20);
  for (int i = 0; i < 1 << 18; i++) values[i] = (float)i;
  for (int big = 0; big < 2; big++) {
    const char *path = temporary("layer.npy");
    bytes b = npy(orders[big], "False", "(512, 512)", values, 1 << 20);
    for (unsigned char *p = b.data + b.size - (1 << 20); big && p < b.data + b.size; p += 4) {
      uint32_t x;
      memcpy(&x, p, 4), x = __builtin_bswap32(x), memcpy(p, &x, 4);
    }
    write_file(path, b);
    reader *r;
    actscope_tensor t;
    cr_assert_eq(reader_open(&r, path, error), 0, "%s", error);
    cr_assert_eq(reader_get(r, 0)->copied, big);
    cr_assert_str_eq(reader_get(r, 0)->name, "layer");
    for (int round = 0; round < 3; round++) {
      cr_assert_eq(reader_load(r, 0, &t, error), 0, "%s", error);
      cr_assert_eq(memcmp(t.data, values, 1 << 20), 0, "round %d: other data", round);
      reader_release(r, 0);
    }
    reader_close(r);
    drop(path);
    free(b.data);
  }
}

/* Pages of this process that a file backs, from the kernel's own accounts. */
static long resident_file_kib(void) {
  char line[256];
  long kib = -1;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "RssFile: %ld", &kib) == 1) break;
  if (f) fclose(f);
  return kib;
}

Test(readers_files, leave_the_resident_set_when_released) {
  enum { MIB = 32 };
  char error[READER_ERROR_SIZE];
  const char *path = temporary("large.npy");
  bytes b = npy("<f4", "False", "(8388608,)", calloc(MIB, 1 << 20), (size_t)MIB << 20);
  write_file(path, b);
  reader *r;
  actscope_tensor t;
  cr_assert_eq(reader_open(&r, path, error), 0, "%s", error);
  long before = resident_file_kib();
  if (before < 0) cr_skip("this system keeps no account of resident file pages");
  cr_assert_eq(reader_load(r, 0, &t, error), 0);
  touch(reader_get(r, 0), &t);
  long loaded = resident_file_kib();
  reader_release(r, 0);
  long released = resident_file_kib();
  cr_assert_gt(loaded - before, MIB * 512, "%ld KiB became resident", loaded - before);
  cr_assert_lt(released - before, 1024, "%ld KiB stayed resident", released - before);
  reader_close(r);
  drop(path);
}

Test(readers_files, what_is_no_file_is_refused) {
  char error[READER_ERROR_SIZE];
  reader *r;
  const char *path = temporary("x.npy");
  cr_assert_eq(reader_open(&r, path, error), -1);
  cr_assert_eq(r, NULL);
  cr_assert_str_eq(error, "No such file or directory");
  cr_assert_eq(mkdir(path, 0700), 0);
  cr_assert_eq(reader_open(&r, path, error), -1);
  cr_assert_str_eq(error, "is a directory");
  rmdir(path);
  cr_assert_eq(mkfifo(path, 0600), 0);
  cr_assert_eq(reader_open(&r, path, error), -1, "a pipe without a writer must not hang");
  cr_assert_str_eq(error, "is a pipe, not a file; \"-\" reads one .npy from standard input");
  unlink(path);
  write_file(path, (bytes){0});
  cr_assert_eq(reader_open(&r, path, error), -1);
  cr_assert_str_eq(error, "the file is empty");
  drop(path);
  cr_assert_eq(reader_open(&r, "/dev/null", error), -1);
  cr_assert(strstr(error, "is a device"), "%s", error);
}

Test(readers_files, safetensors_header_above_the_limit) {
  char error[READER_ERROR_SIZE];
  const char *path = temporary("x.safetensors");
  bytes b = {0};
  put_le(&b, 100000001, 8);
  put_text(&b, "{");
  write_file(path, b);
  cr_assert_eq(truncate(path, 100000100), 0); /* sparse: takes no space */
  reader *r;
  cr_assert_eq(reader_open(&r, path, error), -1);
  cr_assert_str_eq(error, "its header is 100000001 bytes long; at most 100000000 are allowed");
  drop(path);
}

Test(readers_files, memory_that_is_refused_is_an_error_line) {
#ifdef __SANITIZE_ADDRESS__
  cr_skip("the sanitizer's allocator ends the program instead");
#endif
  enum { MIB = 64 };
  char error[READER_ERROR_SIZE];
  const char *path = temporary("x.npy");
  bytes b = npy(">f4", "False", "(16777216,)", NULL, 0);
  write_file(path, b);
  cr_assert_eq(truncate(path, (off_t)(b.size + ((size_t)MIB << 20))), 0);
  reader *r;
  actscope_tensor t;
  cr_assert_eq(reader_open(&r, path, error), 0, "%s", error);
  long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%ld", &pages) != 1) cr_skip("this system does not tell the size of a process");
  rlim_t now = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
  struct rlimit limit = {now + (MIB / 2 << 20), RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
  cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
  int status = reader_load(r, 0, &t, error);
  setrlimit(RLIMIT_AS, &none);
  cr_assert_eq(status, -1, "64 MiB were found under a limit of 32");
  cr_assert_str_eq(error, "out of memory: 67108864 bytes");
  cr_assert_eq(reader_load(r, 0, &t, error), 0, "with memory there, it loads: %s", error);
  reader_close(r);
  drop(path);
}

/* Standard input becomes a pipe that another process fills in small pieces. */
static void feed_stdin(bytes b) {
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    for (size_t at = 0; at < b.size;) {
      size_t n = b.size - at < 1000 ? b.size - at : 1000;
      ssize_t done = write(ends[1], b.data + at, n);
      if (done < 0) break;
      at += (size_t)done;
    }
    _exit(0);
  }
  close(ends[1]);
  cr_assert_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
  close(ends[0]);
}

Test(readers_files, standard_input) {
  char error[READER_ERROR_SIZE];
  float *values = malloc(400000);
  for (int i = 0; i < 100000; i++) values[i] = (float)i;
  bytes b = npy("<f4", "False", "(1000, 100)", values, 400000), second = npy("<f4", "False", "()", six, 4);
  size_t whole = b.size;
  put(&b, second.data, second.size);
  feed_stdin(b);
  reader *r;
  actscope_tensor t;
  cr_assert_eq(reader_open(&r, "-", error), 0, "%s", error);
  const reader_entry *e = reader_get(r, 0);
  cr_assert_eq(e->problem, NULL, "%s", e->problem);
  cr_assert_str_eq(e->name, "stdin");
  cr_assert(e->ndim == 2 && e->shape[0] == 1000 && e->shape[1] == 100);
  cr_assert_eq(reader_load(r, 0, &t, error), 0);
  cr_assert_eq(memcmp(t.data, values, 400000), 0);
  reader_close(r);
  cr_assert_eq(reader_open(&r, "-", error), 0, "what follows the first array was not left: %s", error);
  cr_assert_eq(reader_get(r, 0)->problem, NULL, "%s", reader_get(r, 0)->problem);
  cr_assert_eq(reader_get(r, 0)->ndim, 0);
  reader_close(r);
  b.size = whole - 1;
  feed_stdin(b);
  cr_assert_eq(reader_open(&r, "-", error), 0, "%s", error);
  cr_assert_str_eq(reader_get(r, 0)->problem, "truncated: 399999 of 400000 bytes of data are there");
  reader_close(r);
}

Test(readers_files, standard_input_refused) {
  bytes lie = npy("<f8", "False", "(500000000000000000,)", six, sizeof six); /* 4 EB: no memory for it is asked */
  bytes integers = npy("<i8", "False", "(3,)", six, sizeof six), empty = {0}, text = {0};
  bytes s = safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", six, sizeof six);
  bytes head = npy("<f4", "False", "(6,)", NULL, 0);
  head.size = 9;
  put_text(&text, "PK\3\4 and so on, long enough");
  const struct {
    bytes b;
    const char *error, *problem;
  } rows[] = {{empty, "standard input is empty", NULL},
              {text, "standard input is not a .npy; other formats are read from files", NULL},
              {s, "standard input is not a .npy; other formats are read from files", NULL},
              {integers, NULL, "dtype int64 is not a floating-point type"},
              {head, NULL, "truncated in its header"},
              {lie, NULL, "truncated: 24 of 4000000000000000000 bytes of data are there"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char error[READER_ERROR_SIZE];
    reader *r;
    feed_stdin(rows[i].b);
    int status = reader_open(&r, "-", error);
    cr_assert_eq(status, rows[i].error ? -1 : 0, "row %zu: %s", i, error);
    if (rows[i].error) {
      cr_assert_str_eq(error, rows[i].error, "row %zu: %s", i, error);
    } else {
      const char *problem = reader_get(r, 0)->problem;
      cr_assert(problem && strcmp(problem, rows[i].problem) == 0, "row %zu: %s", i, problem);
    }
    reader_close(r);
  }
}

Test(readers_files, standard_input_that_does_not_block_or_cannot_be_read) {
  char error[READER_ERROR_SIZE];
  float *values = calloc(100000, sizeof *values);
  reader *r;
  feed_stdin(npy("<f4", "False", "(100000,)", values, 400000));
  cr_assert_eq(fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK), 0);
  cr_assert_eq(reader_open(&r, "-", error), 0, "%s", error);
  cr_assert_eq(reader_get(r, 0)->problem, NULL, "%s", reader_get(r, 0)->problem);
  reader_close(r);
  close(STDIN_FILENO);
  cr_assert_eq(reader_open(&r, "-", error), -1);
  cr_assert_str_eq(error, "standard input: Bad file descriptor");
}
