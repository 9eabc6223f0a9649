/* test_report_output.c - where reports go: files that are replaced as a whole or not at all, and the progress bar. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report/format.h"
#include "report/progress.h"
#include "report_documents.h"

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static char folder[64];

static void make_folder(void) {
  strcpy(folder, "/tmp/actscope-report-XXXXXX");
  cr_assert_not_null(mkdtemp(folder));
}

static int entries(void) {
  int count = 0;
  DIR *dir = opendir(folder);
  cr_assert_not_null(dir);
  for (struct dirent *entry; (entry = readdir(dir));)
    count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  closedir(dir);
  return count;
}

static void remove_folder(void) {
  char path[512];
  DIR *dir = opendir(folder);
  for (struct dirent *entry; dir && (entry = readdir(dir));) {
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    unlink(path);
  }
  if (dir) closedir(dir);
  rmdir(folder);
}

TestSuite(report_file, .timeout = 60, .init = make_folder, .fini = remove_folder);

static const char *in_folder(const char *name) {
  static char paths[4][128];
  static int k;
  snprintf(paths[k = (k + 1) % 4], sizeof *paths, "%s/%s", folder, name);
  return paths[k];
}

static void put_file(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  cr_assert_not_null(file);
  fputs(text, file);
  fclose(file);
}

static char *get_file(const char *path) {
  char *text = calloc(1, 1 << 20);
  FILE *file = fopen(path, "r");
  cr_assert_not_null(file, "%s: %s", path, strerror(errno));
  cr_assert_lt(fread(text, 1, 1 << 20, file), 1u << 20);
  fclose(file);
  return text;
}

static char *json(const report_document *document) {
  char *text = NULL;
  size_t size = 0;
  FILE *stream = open_memstream(&text, &size);
  cr_assert_eq(report_write(stream, REPORT_JSON, document, 0, 0), 0);
  fclose(stream);
  return text;
}

Test(report_file, is_replaced_as_a_whole) {
  report_document *document = sample_document(3);
  struct stat before, after;
  umask(027);
  cr_assert_eq(report_write_file(in_folder("new"), REPORT_JSON, document), 0, "%s", strerror(errno));
  cr_assert_eq(stat(in_folder("new"), &after), 0);
  cr_expect_eq(after.st_mode & 07777, 0640, "a new file follows the umask: %o", after.st_mode & 07777);
  cr_expect_str_eq(get_file(in_folder("new")), json(document));

  put_file(in_folder("old"), "old text");
  cr_assert_eq(chmod(in_folder("old"), 0604), 0);
  cr_assert_eq(stat(in_folder("old"), &before), 0);
  int reader = open(in_folder("old"), O_RDONLY);
  cr_assert_eq(report_write_file(in_folder("old"), REPORT_CSV, document), 0);
  cr_assert_eq(stat(in_folder("old"), &after), 0);
  cr_expect_eq(after.st_mode & 07777, 0604, "the mode is kept: %o", after.st_mode & 07777);
  cr_expect_neq(after.st_ino, before.st_ino, "written into the old file");
  char text[16] = "";
  cr_expect_eq(read(reader, text, 15), 8, "who had the old file open still reads it");
  cr_expect_str_eq(text, "old text");
  cr_expect_eq(entries(), 2, "something was left behind");
}

/* The disk runs full in the middle of writing: a limit on the size of files plays that part. */
Test(report_file, stays_whole_when_writing_fails) {
  report_document *document = sample_document(100);
  put_file(in_folder("old"), "old text");
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit limit = {10000, RLIM_INFINITY};
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  int result = report_write_file(in_folder("old"), REPORT_JSON, document), error = errno;
  int created = report_write_file(in_folder("fresh"), REPORT_JSON, document), why = errno;
  limit.rlim_cur = RLIM_INFINITY;
  setrlimit(RLIMIT_FSIZE, &limit);
  cr_expect_eq(result, -1);
  cr_expect_eq(error, EFBIG, "%s", strerror(error));
  cr_expect_eq(created, -1);
  cr_expect_eq(why, EFBIG, "%s", strerror(why));
  cr_expect_str_eq(get_file(in_folder("old")), "old text");
  cr_expect_eq(entries(), 1, "a part of the failed file was left behind");
}

Test(report_file, follows_a_symbolic_link) {
  report_document *document = sample_document(1);
  put_file(in_folder("target"), "old text");
  cr_assert_eq(symlink("target", in_folder("link")), 0);
  cr_assert_eq(symlink("missing", in_folder("dangling")), 0);
  cr_assert_eq(symlink("loop", in_folder("loop")), 0);
  cr_expect_eq(report_write_file(in_folder("link"), REPORT_JSON, document), 0, "%s", strerror(errno));
  cr_expect_eq(report_write_file(in_folder("dangling"), REPORT_JSON, document), 0, "%s", strerror(errno));
  struct stat info;
  cr_expect(lstat(in_folder("link"), &info) == 0 && S_ISLNK(info.st_mode), "the link itself was replaced");
  cr_expect(lstat(in_folder("dangling"), &info) == 0 && S_ISLNK(info.st_mode));
  cr_expect(lstat(in_folder("target"), &info) == 0 && S_ISREG(info.st_mode));
  cr_expect_eq(*get_file(in_folder("target")), '{');
  cr_expect_eq(*get_file(in_folder("missing")), '{');
  cr_expect_eq(report_write_file(in_folder("loop"), REPORT_JSON, document), -1);
  cr_expect_eq(errno, ELOOP);
  cr_expect_eq(entries(), 5);
}

Test(report_file, says_why_it_cannot_be_written) {
  report_document *document = sample_document(1);
  cr_expect_eq(report_write_file("/dev/full", REPORT_JSON, document), -1);
  cr_expect_eq(errno, ENOSPC);
  cr_expect_eq(report_write_file("/dev/null", REPORT_JSON, document), 0);
  cr_expect_eq(report_write_file(folder, REPORT_JSON, document), -1);
  cr_expect_eq(errno, EISDIR);
  cr_expect_eq(report_write_file(in_folder("no/such/folder"), REPORT_JSON, document), -1);
  cr_expect_eq(errno, ENOENT);
  cr_expect_eq(report_write_file("", REPORT_JSON, document), -1);
  cr_expect_eq(errno, ENOENT);
  cr_expect_eq(entries(), 0);
  for (int format = REPORT_TABLE; format <= REPORT_HTML; format++) {
    FILE *full = fopen("/dev/full", "w");
    const char *name = report_format_name((report_format)format);
    cr_expect_eq(report_write(full, (report_format)format, document, 0, 0), -1, "%s", name);
    cr_expect_eq(errno, ENOSPC, "%s: %s", name, strerror(errno));
    fclose(full);
  }
}

static int writes_until_failure;
static ssize_t fail_once(void *cookie, const char *text, size_t size) {
  (void)cookie, (void)text;
  if (writes_until_failure-- != 0) return (ssize_t)size;
  errno = EIO;
  return 0;
}

/* A stream that fails in the middle and then works again has a hole: that is a failure, whatever the last flush says.
 */
Test(report_file, a_failure_in_the_middle_is_remembered) {
  report_document *document = sample_document(40);
  for (int format = REPORT_TABLE; format <= REPORT_HTML; format++) {
    FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = fail_once});
    char buffer[256];
    setvbuf(stream, buffer, _IOFBF, sizeof buffer);
    writes_until_failure = 3;
    errno = 0;
    cr_expect_eq(report_write(stream, (report_format)format, document, 0, 0), -1, "%s",
                 report_format_name((report_format)format));
    cr_expect_eq(errno, EIO);
    fclose(stream);
  }
}

Test(report_file, a_pipe_is_written_directly) {
  report_document *document = sample_document(1);
  cr_assert_eq(mkfifo(in_folder("pipe"), 0600), 0);
  pid_t child = fork();
  if (child == 0) _exit(report_write_file(in_folder("pipe"), REPORT_JSON, document) == 0 ? 0 : 1);
  char *text = get_file(in_folder("pipe"));
  int status = -1;
  cr_expect_eq(waitpid(child, &status, 0), child);
  cr_expect_eq(status, 0);
  cr_expect_str_eq(text, json(document));
  struct stat info;
  cr_expect(stat(in_folder("pipe"), &info) == 0 && S_ISFIFO(info.st_mode), "the pipe was replaced by a file");
}

/* ---- Progress ---------------------------------------------------------------------------------------------------- */

TestSuite(progress, .timeout = 60);

Test(progress, is_silent_without_a_terminal) {
  char *text = NULL;
  size_t size = 0;
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  FILE *stream = fdopen(ends[1], "w");
  setenv("TERM", "xterm", 1);
  progress p;
  progress_begin(&p, stream, 3, 1);
  progress_step(&p, 1, "layer");
  progress_log(&p, "a line");
  progress_step(&p, 3, NULL);
  progress_end(&p);
  fclose(stream);
  FILE *reader = fdopen(ends[0], "r");
  cr_assert_gt(getdelim(&text, &size, 0, reader), 0);
  cr_expect_str_eq(text, "a line\n");
}

/* What a terminal would show: the lines that are finished, and the one the cursor is on. */
static void replay(const char *bytes, ssize_t length, char *finished, char *current) {
  size_t column = 0;
  *finished = *current = 0;
  for (ssize_t i = 0; i < length; i++) {
    if (bytes[i] == '\r') {
      column = 0;
    } else if (bytes[i] == '\n') {
      strcat(strcat(finished, current), "\n");
      *current = 0;
      column = 0;
    } else if (strncmp(bytes + i, "\033[K", 3) == 0) {
      current[column] = 0;
      i += 2;
    } else {
      if (!current[column]) current[column + 1] = 0;
      current[column++] = bytes[i];
    }
  }
}

static ssize_t get_bytes(int master, char *bytes, size_t size) {
  ssize_t length = 0;
  usleep(20000); /* a pseudo-terminal hands on what was written soon, not at once */
  for (ssize_t got; (got = read(master, bytes + length, size - (size_t)length)) > 0;) length += got;
  return length;
}

Test(progress, bar_and_log_lines_do_not_collide) {
  static const struct {
    const char *term;
    int wanted, bar;
  } cases[] = {{"xterm", 1, 1}, {"dumb", 1, 0}, {"xterm", 0, 0}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    cr_assert_geq(slave, 0);
    FILE *stream = fdopen(slave, "w");
    setvbuf(stream, NULL, _IONBF, 0);
    setenv("TERM", cases[k].term, 1);
    char bytes[8192], finished[8192], current[8192];
    progress p;
    progress_begin(&p, stream, 4, cases[k].wanted);
    progress_step(&p, 0, "a layer with a name that is much too long for the eighty columns of this terminal \033[31m");
    ssize_t length = get_bytes(master, bytes, sizeof bytes);
    replay(bytes, length, finished, current);
    cr_expect_eq(strstr(current, "0/4  a layer") != NULL, cases[k].bar, "case %zu: %s", k, current);
    cr_expect_leq(report_columns(current), 79);
    progress_log(&p, "first line");
    progress_step(&p, 2, "next");
    progress_log(&p, "second");
    progress_step(&p, 4, NULL);
    progress_end(&p);
    progress_end(&p);
    progress_log(&p, "after");
    length += get_bytes(master, bytes + length, sizeof bytes - (size_t)length);
    replay(bytes, length, finished, current);
    cr_expect_str_eq(finished, "first line\nsecond\nafter\n", "case %zu: %s", k, finished);
    cr_expect_str_eq(current, "", "the bar is still there: %s", current);
    fclose(stream);
    close(master);
  }
}
