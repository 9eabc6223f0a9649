/* reader.h - tensors out of .npy, .npz and .safetensors files, nothing loaded before it is asked for.
 *
 * A file is opened, its entries are listed with dtype and shape, and each is loaded and released on its own. A bad
 * entry does not spoil its neighbours: it is listed with a `problem`, one line without file or layer name.
 *
 * The file is mapped, and an entry whose bytes can be used as they lie is never copied. Copied into memory at load,
 * and freed at release, are: a deflated .npz entry, big-endian data, and data that do not lie at a multiple of their
 * element size (common in .npz, where the length of the entry's name decides). `copied` says so in advance. The
 * checksum of an .npz entry is verified at every load, mapped or not.
 *
 * Every size in a file is checked before it is used, so a malformed file costs an error line and no more memory than
 * it has data for. What is not covered: a file that another program shortens or rewrites between open and close. Its
 * mapping then changes underfoot, and reading past the new end raises SIGBUS.
 *
 * A reader belongs to one thread at a time. */
#ifndef ACTSCOPE_IO_READER_H
#define ACTSCOPE_IO_READER_H

#include "actscope.h"

typedef struct reader reader;

typedef struct reader_entry {
  const char *name;    /* .npy: the file's base name without ".npy" ("stdin" for "-"); .npz: entry without ".npy";
                          .safetensors: the tensor's name. Valid UTF-8 (broken bytes become U+FFFD), no control bytes */
  const char *problem; /* NULL: good. Else why it cannot be read: "dtype int64 is not a floating-point type"; the
                          fields below are then all zero */
  actscope_dtype dtype;
  int32_t ndim;
  int64_t shape[ACTSCOPE_MAX_DIMS];
  int64_t strides[ACTSCOPE_MAX_DIMS]; /* in elements; Fortran order shows here */
  uint64_t bytes;                     /* of data */
  int copied;                         /* 1: loading takes `bytes` of memory; 0: the mapped file is used as it is */
} reader_entry;

#define READER_ERROR_SIZE 512

/* Opens path ("-": one .npy from standard input, held in memory). Returns 0, or -1 with one line in error (no path in
 * it, no newline) when the file as a whole is unreadable. The format is told by content, then by name; entries come in
 * the order in which the file lists them. A well-formed file without any tensor opens with no entries. Bytes after the
 * array of a .npy are ignored, as numpy ignores them; of several arrays saved into one .npy, the first is read. */
int reader_open(reader **out, const char *path, char error[READER_ERROR_SIZE]);

/* The same for `size` bytes in memory, which stay the caller's and must outlive the reader; path only names them. */
int reader_open_memory(reader **out, const void *bytes, size_t size, const char *path, char error[READER_ERROR_SIZE]);

size_t reader_count(const reader *r);
const reader_entry *reader_get(const reader *r, size_t index); /* NULL when out of range; valid until close */

/* Makes the entry's data available; *tensor then views it until reader_release() or reader_close(). Loading what is
 * loaded gives the same view. Returns 0, or -1 with one line in error. */
int reader_load(reader *r, size_t index, actscope_tensor *tensor, char error[READER_ERROR_SIZE]);
void reader_release(reader *r, size_t index); /* what is not loaded is left alone */

/* Closes and frees; NULL is allowed. */
void reader_close(reader *r);

#endif
