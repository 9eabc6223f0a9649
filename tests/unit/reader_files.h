/* reader_files.h - files for the tests of the readers, built byte by byte, well-formed or not. */
#ifndef ACTSCOPE_TESTS_READER_FILES_H
#define ACTSCOPE_TESTS_READER_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/reader.h"

/* ---- Bytes ----------------------------------------------------------------------------------------------------------- */

typedef struct bytes {
  unsigned char *data;
  size_t size;
} bytes;

static inline void put(bytes *b, const void *data, size_t size) {
  b->data = realloc(b->data, b->size + size + 1);
  if (size) memcpy(b->data + b->size, data, size);
  b->size += size;
}
static inline void put_text(bytes *b, const char *text) { put(b, text, strlen(text)); }
static inline void put_le(bytes *b, uint64_t value, int size) {
  for (int i = 0; i < size; i++) put(b, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

/* ---- .npy ------------------------------------------------------------------------------------------------------------ */

/* The header text as it stands, then the data. */
static inline bytes npy_raw(int version, const char *header, const void *data, size_t size) {
  bytes b = {0};
  put_text(&b, "\x93NUMPY");
  put_le(&b, (uint64_t)version, 2);
  put_le(&b, strlen(header), version == 1 ? 2 : 4);
  put_text(&b, header);
  put(&b, data, size);
  return b;
}

/* As numpy writes it: the header padded so that the data begin at a multiple of 64. */
static inline bytes npy(const char *descr, const char *order, const char *shape, const void *data, size_t size) {
  char header[512];
  int n = snprintf(header, sizeof header - 64, "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, order, shape);
  while ((10 + n + 1) % 64) header[n++] = ' ';
  header[n++] = '\n', header[n] = 0;
  return npy_raw(1, header, data, size);
}

/* ---- .safetensors ---------------------------------------------------------------------------------------------------- */

static inline bytes safetensors(const char *header, const void *data, size_t size) {
  bytes b = {0};
  put_le(&b, strlen(header), 8);
  put_text(&b, header);
  put(&b, data, size);
  return b;
}

/* ---- .npz: a zip writer that can lie --------------------------------------------------------------------------------- */

static inline uint32_t zip_crc(const unsigned char *p, size_t size) {
  uint32_t crc = ~0u;
  for (; size--; p++) {
    crc ^= *p;
    for (int k = 0; k < 8; k++) crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
  }
  return ~crc;
}

typedef struct zip_entry {
  const char *name;
  bytes content;
  int deflate;              /* as a deflate stream of stored blocks */
  int method, flags;        /* in the directory, instead of the true ones when not zero */
  uint32_t crc_xor;         /* damages the checksum */
  uint32_t size;            /* the uncompressed size the directory declares, when not zero */
  uint32_t compressed_size; /* the same for the compressed size */
  int pad;                  /* bytes that move the data, from 4 up: an extra field of the local header */
} zip_entry;

static inline bytes zip_file(const zip_entry *entries, int count) {
  bytes b = {0}, directory = {0};
  for (int i = 0; i < count; i++) {
    const zip_entry *e = &entries[i];
    bytes packed = {0};
    if (e->deflate) {
      size_t at = 0;
      do {
        size_t left = e->content.size - at, n = left < 65535 ? left : 65535;
        put_le(&packed, at + n == e->content.size, 1);
        put_le(&packed, n, 2);
        put_le(&packed, ~n, 2);
        put(&packed, e->content.data + at, n);
        at += n;
      } while (at < e->content.size);
    } else {
      put(&packed, e->content.data, e->content.size);
    }
    uint32_t offset = (uint32_t)b.size;
    for (int central = 0; central < 2; central++) {
      bytes *to = central ? &directory : &b;
      put_text(to, central ? "PK\1\2" : "PK\3\4");
      if (central) put_le(to, 20, 2);
      put_le(to, 20, 2);
      put_le(to, (uint64_t)e->flags, 2);
      put_le(to, (uint64_t)(e->method ? e->method : e->deflate ? 8 : 0), 2);
      put_le(to, 0x58210000u, 4); /* the time */
      put_le(to, zip_crc(e->content.data, e->content.size) ^ e->crc_xor, 4);
      put_le(to, e->compressed_size ? e->compressed_size : packed.size, 4);
      put_le(to, e->size ? e->size : e->content.size, 4);
      put_le(to, strlen(e->name), 2);
      put_le(to, (uint64_t)(central ? 0 : e->pad), 2);
      if (central) put_le(to, 0, 2), put_le(to, 0, 2), put_le(to, 0, 2), put_le(to, 0, 4), put_le(to, offset, 4);
      put_text(to, e->name);
      if (e->pad && !central) {
        put_le(to, 0x7777, 2);
        put_le(to, (uint64_t)e->pad - 4, 2);
        for (int k = 4; k < e->pad; k++) put_le(to, 0, 1);
      }
    }
    put(&b, packed.data, packed.size);
    free(packed.data);
  }
  size_t start = b.size;
  put(&b, directory.data, directory.size);
  put_text(&b, "PK\5\6");
  put_le(&b, 0, 4);
  put_le(&b, (uint64_t)count, 2);
  put_le(&b, (uint64_t)count, 2);
  put_le(&b, directory.size, 4);
  put_le(&b, start, 4);
  put_le(&b, 0, 2);
  free(directory.data);
  return b;
}

/* ---- What the reader says -------------------------------------------------------------------------------------------- */

/* A copy that ends where unreadable memory begins, so that reading one byte too far crashes. */
typedef struct guarded {
  unsigned char *map, *data;
  size_t mapped;
} guarded;

static inline guarded guard(const void *data, size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (size + page - 1) / page * page;
  guarded g = {.mapped = body + page};
  g.map = mmap(NULL, g.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  g.data = g.map + body - size;
  if (size) memcpy(g.data, data, size);
  mprotect(g.map + body, page, PROT_NONE);
  return g;
}
static inline void unguard(guarded g) { munmap(g.map, g.mapped); }

/* Reads every byte that the entry's view covers. */
static inline unsigned touch(const reader_entry *e, const actscope_tensor *t) {
  unsigned sum = 0;
  for (uint64_t i = 0; i < e->bytes; i++) sum += ((const volatile unsigned char *)t->data)[i];
  return sum;
}

/* All that the reader has to say about a file: "" when every entry was read; else the first trouble, beginning with
 * "file: " (it could not be opened), "entry: " (it is listed as bad) or "load: " (it is listed as good, but cannot be
 * loaded). A message that is empty or not one line gives "bad message: ". */
static inline const char *verdict(bytes file, const char *path) {
  static char text[READER_ERROR_SIZE + 32];
  char error[READER_ERROR_SIZE];
  const char *stage = NULL;
  guarded g = guard(file.data, file.size);
  reader *r;
  text[0] = 0;
  if (reader_open_memory(&r, g.data, file.size, path, error) != 0) {
    stage = "file";
  } else {
    for (size_t i = 0; i < reader_count(r) && !stage; i++) {
      const reader_entry *e = reader_get(r, i);
      actscope_tensor t;
      int status = reader_load(r, i, &t, error);
      if (status != 0) stage = e->problem ? "entry" : "load";
      else touch(e, &t);
      reader_release(r, i);
    }
    reader_close(r);
  }
  if (stage) {
    if (!error[0] || strpbrk(error, "\n\r") || strlen(error) >= READER_ERROR_SIZE) stage = "bad message";
    snprintf(text, sizeof text, "%s: %s", stage, error);
  }
  unguard(g);
  return text;
}

/* Asserts that what the reader says is "" when nothing is wanted, or contains the wanted text. */
#define SAYS(file, path, wanted, label)                                                                                \
  do {                                                                                                                 \
    const char *said_ = verdict(file, path);                                                                           \
    cr_assert((wanted)[0] ? strstr(said_, wanted) != NULL : said_[0] == 0, "%s: wanted \"%s\", got \"%s\"", label,     \
              wanted, said_);                                                                                          \
  } while (0)

#endif
