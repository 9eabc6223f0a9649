/* reader.h - tensors out of .npy, .npz and .safetensors files, nothing loaded before it is asked for.
 *
 * A file is opened, its entries are listed with dtype and shape, and each is loaded and released on its own. A bad
 * entry does not spoil its neighbours: it is listed with a `problem`, one line without file or layer name.
 * Uncompressed data is mapped, never copied; big-endian data is swapped in a private mapping; a deflated .npz entry is
 * inflated into memory that reader_release() frees. */
#ifndef ACTSCOPE_IO_READER_H
#define ACTSCOPE_IO_READER_H

#include "actscope.h"

typedef struct reader reader;

typedef struct reader_entry {
  const char *name;    /* .npy: the file's base name without ".npy" ("stdin" for "-"); .npz: entry without ".npy";
                          .safetensors: the tensor's name. Valid UTF-8 (broken bytes become U+FFFD), no control bytes */
  const char *problem; /* NULL: good. Else why it cannot be read: "dtype int64 is not a floating-point type" */
  actscope_dtype dtype;
  int32_t ndim;
  int64_t shape[ACTSCOPE_MAX_DIMS];
  int64_t strides[ACTSCOPE_MAX_DIMS]; /* in elements; Fortran order shows here */
} reader_entry;

#define READER_ERROR_SIZE 512

/* Opens path ("-": one .npy from standard input, held in memory). Returns 0, or -1 with one line in error (no path in
 * it, no newline) when the file as a whole is unreadable. The format is told by content, then by name. */
int reader_open(reader **out, const char *path, char error[READER_ERROR_SIZE]);

size_t reader_count(const reader *r);
const reader_entry *reader_get(const reader *r, size_t index);

/* Makes the entry's data available; *tensor then views it until reader_release(). Returns 0, or -1 with one line. */
int reader_load(reader *r, size_t index, actscope_tensor *tensor, char error[READER_ERROR_SIZE]);
void reader_release(reader *r, size_t index);

/* Closes and frees; NULL is allowed. */
void reader_close(reader *r);

#endif
