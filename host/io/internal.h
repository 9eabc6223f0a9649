/* internal.h - what the files of host/io share: the reader itself, and helpers that every format needs. */
#ifndef ACTSCOPE_IO_INTERNAL_H
#define ACTSCOPE_IO_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "io/reader.h"

#define HOST_IS_BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

/* One entry and where its data come from: the bytes of the file at `offset`, or a zip entry to be unpacked. */
typedef struct reader_slot {
  reader_entry entry;
  char *name, *problem; /* own what entry.name and entry.problem point at */
  size_t offset;        /* of the data in reader.bytes; NOT_MAPPED if they are not there as they must be read */
  int swap;             /* the file's byte order is not this machine's */
  uint64_t zip_index;   /* .npz: which entry */
  size_t zip_header;    /* .npz: bytes of the entry before its data */
  void *owned;          /* the loaded copy */
  int loaded;
} reader_slot;

#define NOT_MAPPED SIZE_MAX

struct reader {
  const unsigned char *bytes; /* the whole file */
  size_t size;
  enum { BYTES_BORROWED, BYTES_MAPPED, BYTES_OWNED } origin;
  reader_slot *slots;
  size_t count, capacity;
  struct npz *npz; /* NULL unless the file is an open .npz */
};

/* ---- text.c: text out of files ----------------------------------------------------------------------------------- */

/* Formats one line into error, control bytes and broken UTF-8 replaced by '?'. Always returns -1. */
int reader_fail(char error[READER_ERROR_SIZE], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A copy as reader_entry.name promises it: valid UTF-8, U+FFFD for broken and control bytes. NULL: out of memory. */
char *reader_clean_name(const char *text, size_t length);

/* ---- slots.c: the list of entries -------------------------------------------------------------------------------- */

/* Appends an entry with this name (cleaned). NULL: out of memory. Slots move when the list grows. */
reader_slot *reader_add(reader *r, const char *name, size_t length);

/* Marks the slot bad with this line, once: a first problem stays. Returns 0, or -1 when out of memory. */
int reader_set_problem(reader_slot *slot, const char *line);

/* Gives every entry whose name an earlier one has already a problem. Returns 0, or -1 when out of memory. */
int reader_mark_duplicates(reader *r);

/* Fills dtype, shape, strides and bytes of *entry. fortran: the first axis is the fastest. Refuses extents that are
 * negative and products (of the non-zero extents, so that strides fit too) that reach 2^62 elements or bytes. */
int reader_set_layout(reader_entry *entry, actscope_dtype dtype, int ndim, const int64_t *shape, int fortran,
                      char error[READER_ERROR_SIZE]);

/* malloc() for an entry's data, with large pages where they help: the kernel's handing out of small ones is more than
 * half the time of a copy (262 MB swapped: 130 ms, and 55 ms with them). Untouched pages cost nothing. */
void *reader_allocate(size_t bytes);

/* Decides whether the slot's data, at slot->offset, are used in place; sets entry.copied. */
void reader_settle(const reader *r, reader_slot *slot);

/* ---- source.c: bytes in ------------------------------------------------------------------------------------------ */

/* Maps a regular file; directories, pipes and devices are refused. */
int source_map(reader *r, const char *path, char error[READER_ERROR_SIZE]);

/* Reads one .npy, and no further than its end, from standard input into memory. */
int source_read_stdin(reader *r, char error[READER_ERROR_SIZE]);

/* ---- npy.c ------------------------------------------------------------------------------------------------------- */

#define NPY_MAGIC "\x93NUMPY"
#define NPY_MAGIC_SIZE 6
#define NPY_PREFIX_SIZE 12 /* enough of a file to know how long its header is */

typedef struct npy_header {
  reader_entry layout; /* dtype, ndim, shape, strides, bytes */
  size_t size;         /* bytes before the data */
  int swap;
} npy_header;

/* From the first `available` bytes of a .npy (NPY_PREFIX_SIZE of them where there are as many): the bytes that its
 * header takes, this prefix included. */
int npy_header_size(const unsigned char *bytes, size_t available, size_t *size, char error[READER_ERROR_SIZE]);

/* Reads the header of `available` bytes, at least npy_header_size() of them. Data need not be there. */
int npy_parse_header(npy_header *header, const unsigned char *bytes, size_t available, char error[READER_ERROR_SIZE]);

/* Lists r->bytes as one .npy. Each *_open returns 0, or -1 with a line when the file as a whole is unreadable. */
int npy_open(reader *r, const char *path, char error[READER_ERROR_SIZE]);

/* ---- npz.c ------------------------------------------------------------------------------------------------------- */

int npz_open(reader *r, char error[READER_ERROR_SIZE]);
int npz_load(reader *r, reader_slot *slot, char error[READER_ERROR_SIZE]); /* sets slot->owned, or verifies the map */
void npz_close(reader *r);

/* ---- safetensors.c ----------------------------------------------------------------------------------------------- */

/* 1 when the bytes begin as a .safetensors does: a header length within the file, then '{'. */
int safetensors_recognised(const unsigned char *bytes, size_t size);
int safetensors_open(reader *r, char error[READER_ERROR_SIZE]);

#endif
