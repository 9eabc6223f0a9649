/* file.c - a file is replaced as a whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "report/report.h"

/* Where a chain of symbolic links ends, whether or not something is there: realpath() would refuse a link that points
 * to a file still to be made. Returns memory, or NULL with errno. */
static char *follow(const char *path) {
  char *here = strdup(path);
  for (int depth = 0; here; depth++) {
    char target[PATH_MAX];
    ssize_t length = readlink(here, target, sizeof target);
    if (length < 0) return here; /* not a link, or not there */
    if (length == (ssize_t)sizeof target || depth == 40) {
      free(here);
      errno = depth == 40 ? ELOOP : ENAMETOOLONG;
      return NULL;
    }
    target[length] = 0;
    const char *slash = strrchr(here, '/');
    char *next = NULL;
    if (target[0] == '/' || !slash) {
      next = strdup(target);
    } else if (asprintf(&next, "%.*s/%s", (int)(slash - here), here, target) < 0) {
      next = NULL;
    }
    free(here);
    here = next;
  }
  errno = ENOMEM;
  return NULL;
}

static int write_through(const char *path, report_format format, const report_document *document) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  FILE *stream = fd < 0 ? NULL : fdopen(fd, "w");
  if (!stream) {
    int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return -1;
  }
  int error = report_write(stream, format, document, 0, 0) == 0 ? 0 : errno;
  if (fclose(stream) != 0 && !error) error = errno;
  errno = error;
  return error ? -1 : 0;
}

/* A new file in the directory of `path`, empty, under a name nobody has; its mode follows the umask. */
static int open_beside(const char *path, char **name) {
  const char *slash = strrchr(path, '/');
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  unsigned long salt = (unsigned long)now.tv_nsec ^ (unsigned long)getpid() << 32 ^ (unsigned long)now.tv_sec << 8;
  for (int attempt = 0; attempt < 100; attempt++) {
    salt = salt * 6364136223846793005ul + 1442695040888963407ul;
    if (asprintf(name, "%.*s.actscope-%08lx.tmp", slash ? (int)(slash - path) + 1 : 0, path,
                 (salt >> 32) & 0xfffffffful) < 0) {
      *name = NULL;
      errno = ENOMEM;
      return -1;
    }
    int fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) return fd;
    int error = errno;
    free(*name);
    *name = NULL;
    errno = error;
    if (error != EEXIST) return -1;
  }
  return -1;
}

/* The rename itself must survive a crash too; not every file system can sync a directory, and the data is safe. */
static void sync_directory(const char *path) {
  const char *slash = strrchr(path, '/');
  char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    (void)!fsync(fd);
    close(fd);
  }
  free(directory);
}

static int replace(const char *path, const struct stat *old, report_format format, const report_document *document) {
  char *name = NULL;
  int fd = open_beside(path, &name);
  if (fd < 0) return -1;
  int error = 0;
  if (old) {
    /* The owner first: chown clears the set-id bits. Only the mode is a promise. */
    if (old->st_uid != geteuid() || old->st_gid != getegid()) (void)!fchown(fd, old->st_uid, old->st_gid);
    if (fchmod(fd, old->st_mode & 07777) != 0) error = errno;
  }
  FILE *stream = error ? NULL : fdopen(fd, "w");
  if (!stream) {
    if (!error) error = errno;
    close(fd);
  } else {
    if (report_write(stream, format, document, 0, 0) != 0) error = errno;
    if (!error && fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) error = errno;
    if (fclose(stream) != 0 && !error) error = errno;
  }
  if (!error && rename(name, path) != 0) error = errno;
  if (error) {
    unlink(name);
  } else {
    sync_directory(path);
  }
  free(name);
  errno = error;
  return error ? -1 : 0;
}

int report_write_file(const char *path, report_format format, const report_document *document) {
  struct stat old;
  int exists = stat(path, &old) == 0;
  if (!exists && errno != ENOENT) return -1;
  if (exists && S_ISDIR(old.st_mode)) {
    errno = EISDIR;
    return -1;
  }
  if ((exists && !S_ISREG(old.st_mode)) || strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0)
    return write_through(path, format, document);
  /* rename() would not ask: a file its owner made read-only is not replaced. */
  if (exists && access(path, W_OK) != 0) return -1;
  char *target = follow(path);
  if (!target) return -1;
  int result = replace(target, exists ? &old : NULL, format, document);
  int error = errno;
  free(target);
  errno = error;
  return result;
}
