/* source.c - the bytes of a file, mapped, or of standard input, held in memory. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/internal.h"

static int map_descriptor(reader *r, int fd, char error[READER_ERROR_SIZE]) {
  struct stat st;
  if (fstat(fd, &st) != 0) return reader_fail(error, "%s", strerror(errno));
  if (S_ISDIR(st.st_mode)) return reader_fail(error, "is a directory");
  if (!S_ISREG(st.st_mode))
    return reader_fail(error, "is a %s, not a file; \"-\" reads one .npy from standard input",
                       S_ISFIFO(st.st_mode)   ? "pipe"
                       : S_ISSOCK(st.st_mode) ? "socket"
                                              : "device");
  if (st.st_size == 0) return reader_fail(error, "the file is empty");
  if ((uint64_t)st.st_size > SIZE_MAX / 2) return reader_fail(error, "the file does not fit this machine's memory");
  void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (map == MAP_FAILED) return reader_fail(error, "cannot be mapped: %s", strerror(errno));
  r->bytes = map, r->size = (size_t)st.st_size, r->origin = BYTES_MAPPED;
  return 0;
}

int source_map(reader *r, const char *path, char error[READER_ERROR_SIZE]) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe without a writer must not hang us */
  if (fd < 0) return reader_fail(error, "%s", strerror(errno));
  int status = map_descriptor(r, fd, error);
  close(fd); /* the mapping stays */
  return status;
}

typedef struct buffer {
  unsigned char *data;
  size_t size, capacity;
} buffer;

/* Reads until the buffer holds `wanted` bytes or the input ends. The buffer doubles as data arrive, so a header that
 * lies about its size costs nothing, but never beyond what is wanted: what follows stays in the pipe. */
static int fill(buffer *b, size_t wanted, char error[READER_ERROR_SIZE]) {
  while (b->size < wanted) {
    if (b->size == b->capacity) {
      size_t capacity = b->capacity < 1 << 15 ? 1 << 16 : 2 * b->capacity;
      if (capacity > wanted) capacity = wanted;
      unsigned char *data = realloc(b->data, capacity);
      if (!data) return reader_fail(error, "out of memory: %zu bytes for standard input", capacity);
      b->data = data, b->capacity = capacity;
    }
    ssize_t n = read(STDIN_FILENO, b->data + b->size, b->capacity - b->size);
    if (n == 0) break;
    if (n > 0) {
      b->size += (size_t)n;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      poll(&(struct pollfd){.fd = STDIN_FILENO, .events = POLLIN}, 1, -1);
    } else if (errno != EINTR) {
      return reader_fail(error, "standard input: %s", strerror(errno));
    }
  }
  return 0;
}

int source_read_stdin(reader *r, char error[READER_ERROR_SIZE]) {
  buffer b = {0};
  npy_header header;
  size_t head;
  char ignored[READER_ERROR_SIZE]; /* npy_open() will find and report the same */
  int status = -1;
  if (isatty(STDIN_FILENO)) return reader_fail(error, "standard input is a terminal, not a .npy");
  if (fill(&b, NPY_PREFIX_SIZE, error) != 0) goto done;
  if (b.size == 0) {
    reader_fail(error, "standard input is empty");
    goto done;
  }
  if (b.size < NPY_MAGIC_SIZE || memcmp(b.data, NPY_MAGIC, NPY_MAGIC_SIZE) != 0) {
    reader_fail(error, "standard input is not a .npy; other formats are read from files");
    goto done;
  }
  if (npy_header_size(b.data, b.size, &head, ignored) == 0) {
    if (fill(&b, head, error) != 0) goto done;
    if (b.size == head && npy_parse_header(&header, b.data, b.size, ignored) == 0 &&
        header.layout.bytes <= SIZE_MAX / 2 - head && fill(&b, head + (size_t)header.layout.bytes, error) != 0)
      goto done;
  }
  r->bytes = b.data, r->size = b.size, r->origin = BYTES_OWNED;
  return 0;
done:
  free(b.data);
  return status;
}
