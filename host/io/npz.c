/* npz.c - the .npz format: a zip archive whose entries are .npy files, stored or deflated.
 *
 * libzip lists the entries, unpacks them and checks their checksums. It reads the archive from the mapping, through a
 * source that notes where an entry's first byte was read from: that is how a stored entry is found in the mapping
 * and used in place. An entry is unpacked no further than its own .npy header says, into memory whose pages the
 * kernel hands out as data arrive, so that sizes that lie (in the header, in the directory, or in both) cost nothing
 * but an error line. */
#include "io/internal.h"

#ifndef ACTSCOPE_HAVE_ZIP

int npz_open(reader *r, char error[READER_ERROR_SIZE]) {
  (void)r;
  return reader_fail(error, "this build cannot read .npz: libzip was not there when it was made");
}
int npz_load(reader *r, reader_slot *slot, char error[READER_ERROR_SIZE]) {
  (void)slot;
  return npz_open(r, error);
}
void npz_close(reader *r) { (void)r; }

#else

#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define CHUNK ((size_t)1 << 18)
#define DEFLATE_RATIO 1032 /* no deflate stream grows by more: 258 bytes from two bits */

/* ---- The archive as a source: the mapped bytes, and where the last reading began --------------------------------- */

typedef struct npz {
  const unsigned char *bytes;
  size_t size;
  uint64_t position;
  uint64_t first_read; /* position of the first read since it was set to NOWHERE */
  zip_error_t error;
  zip_t *archive;
} npz;

#define NOWHERE UINT64_MAX

static zip_int64_t source(void *user, void *data, zip_uint64_t length, zip_source_cmd_t command) {
  npz *z = user;
  switch (command) {
    case ZIP_SOURCE_OPEN:
      z->position = 0;
      return 0;
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
      return 0;
    case ZIP_SOURCE_READ: {
      uint64_t left = z->size - z->position, n = length < left ? length : left;
      if (z->first_read == NOWHERE) z->first_read = z->position;
      memcpy(data, z->bytes + z->position, n);
      z->position += n;
      return (zip_int64_t)n;
    }
    case ZIP_SOURCE_SEEK: {
      zip_int64_t to = zip_source_seek_compute_offset(z->position, z->size, data, length, &z->error);
      if (to < 0 || (uint64_t)to > z->size) return -1;
      z->position = (uint64_t)to;
      return 0;
    }
    case ZIP_SOURCE_TELL:
      return (zip_int64_t)z->position;
    case ZIP_SOURCE_STAT: {
      zip_stat_t *st = data;
      if (length < sizeof *st) return -1;
      zip_stat_init(st);
      st->size = z->size;
      st->valid = ZIP_STAT_SIZE;
      return sizeof *st;
    }
    case ZIP_SOURCE_ERROR:
      return zip_error_to_data(&z->error, data, length);
    case ZIP_SOURCE_SUPPORTS:
      return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                            ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
                                            ZIP_SOURCE_SUPPORTS, -1);
    default:
      zip_error_set(&z->error, ZIP_ER_OPNOTSUPP, 0);
      return -1;
  }
}

void npz_close(reader *r) {
  if (!r->npz) return;
  if (r->npz->archive) zip_discard(r->npz->archive);
  zip_error_fini(&r->npz->error);
  free(r->npz);
  r->npz = NULL;
}

/* ---- Listing ----------------------------------------------------------------------------------------------------- */

static int damaged(zip_file_t *file, char error[READER_ERROR_SIZE]) {
  return reader_fail(error, "its data are damaged: %s", zip_file_strerror(file));
}

static zip_file_t *open_entry(reader *r, uint64_t index, char error[READER_ERROR_SIZE]) {
  zip_file_t *file = zip_fopen_index(r->npz->archive, index, 0);
  if (!file) reader_fail(error, "cannot be unpacked: %s", zip_strerror(r->npz->archive));
  return file;
}

/* Reads exactly `size` bytes, or as many as there are. -1: the stream is damaged. */
static int64_t read_fully(zip_file_t *file, unsigned char *to, size_t size) {
  size_t got = 0;
  while (got < size) {
    zip_int64_t n = zip_fread(file, to + got, size - got);
    if (n < 0) return -1;
    if (n == 0) break;
    got += (size_t)n;
  }
  return (int64_t)got;
}

/* Reads the .npy header at the start of the entry. *bytes receives it, to be freed by the caller, even on failure;
 * *foreign is set when the entry is whole and simply no .npy. */
static int read_header(zip_file_t *file, npy_header *header, unsigned char **bytes, int *foreign,
                       char error[READER_ERROR_SIZE]) {
  size_t size;
  if (!(*bytes = malloc(NPY_PREFIX_SIZE))) return reader_fail(error, "out of memory");
  int64_t got = read_fully(file, *bytes, NPY_PREFIX_SIZE);
  if (got < 0) return damaged(file, error);
  *foreign = got < NPY_MAGIC_SIZE || memcmp(*bytes, NPY_MAGIC, NPY_MAGIC_SIZE) != 0;
  if (npy_header_size(*bytes, (size_t)got, &size, error) != 0) return -1;
  if (size > (size_t)got) {
    unsigned char *more = realloc(*bytes, size);
    if (!more) return reader_fail(error, "out of memory");
    *bytes = more;
    int64_t rest = read_fully(file, more + got, size - (size_t)got);
    if (rest < 0) return damaged(file, error);
    got += rest;
  }
  return npy_parse_header(header, *bytes, (size_t)got, error);
}

/* Fills the slot of one entry; a failure is the entry's own problem. */
static int list_entry(reader *r, reader_slot *slot, int *foreign, char problem[READER_ERROR_SIZE]) {
  npz *z = r->npz;
  zip_stat_t st;
  npy_header header;
  unsigned char *head = NULL;
  if (zip_stat_index(z->archive, slot->zip_index, 0, &st) != 0)
    return reader_fail(problem, "cannot be unpacked: %s", zip_strerror(z->archive));
  if (~st.valid & (ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD))
    return reader_fail(problem, "cannot be unpacked: the archive does not say its size");
  if (st.encryption_method != ZIP_EM_NONE) return reader_fail(problem, "is encrypted");
  if (st.comp_size > z->size)
    return reader_fail(problem, "truncated: declares %llu packed bytes in an archive of %zu",
                       (unsigned long long)st.comp_size, z->size);
  if (st.comp_method == ZIP_CM_STORE && st.comp_size != st.size)
    return reader_fail(problem, "is stored, yet %llu bytes are declared to be %llu", (unsigned long long)st.comp_size,
                       (unsigned long long)st.size);
  if (st.comp_method == ZIP_CM_DEFLATE && st.size / DEFLATE_RATIO > st.comp_size)
    return reader_fail(problem, "declares %llu bytes, more than its %llu deflated ones can hold",
                       (unsigned long long)st.size, (unsigned long long)st.comp_size);
  zip_file_t *file = open_entry(r, slot->zip_index, problem);
  if (!file) return -1;
  z->first_read = NOWHERE;
  int status = read_header(file, &header, &head, foreign, problem);
  zip_fclose(file);
  if (status == 0 && (st.size < header.size || st.size - header.size != header.layout.bytes))
    status = reader_fail(problem, "its header asks for %llu bytes of data, the archive holds %llu",
                         (unsigned long long)header.layout.bytes,
                         (unsigned long long)(st.size < header.size ? 0 : st.size - header.size));
  if (status == 0) {
    header.layout.name = slot->name;
    slot->entry = header.layout;
    slot->zip_header = header.size;
    slot->swap = header.swap;
    if (st.comp_method == ZIP_CM_STORE && z->first_read <= z->size && st.size <= z->size - z->first_read &&
        memcmp(head, z->bytes + z->first_read, header.size) == 0)
      slot->offset = (size_t)z->first_read + header.size;
    reader_settle(r, slot);
  }
  free(head);
  return status;
}

int npz_open(reader *r, char error[READER_ERROR_SIZE]) {
  npz *z = r->npz = calloc(1, sizeof *z);
  if (!z) return reader_fail(error, "out of memory");
  z->bytes = r->bytes, z->size = r->size;
  zip_error_init(&z->error);
  zip_error_t failure;
  zip_error_init(&failure);
  zip_source_t *src = zip_source_function_create(source, z, &failure);
  if (src && !(z->archive = zip_open_from_source(src, ZIP_RDONLY, &failure))) zip_source_free(src);
  if (!z->archive) {
    reader_fail(error, "not a readable zip archive: %s", zip_error_strerror(&failure));
    zip_error_fini(&failure);
    return -1;
  }
  zip_error_fini(&failure);

  zip_int64_t count = zip_get_num_entries(z->archive, 0);
  size_t foreign = 0;
  int torch = 0;
  for (zip_int64_t i = 0; i < count; i++) {
    const char *name = zip_get_name(z->archive, (zip_uint64_t)i, ZIP_FL_ENC_GUESS);
    if (!name) name = "";
    size_t length = strlen(name);
    if (length && name[length - 1] == '/') continue; /* a directory */
    torch |= length >= 8 && strcmp(name + length - 8, "data.pkl") == 0;
    if (length > 4 && strcmp(name + length - 4, ".npy") == 0) length -= 4;
    reader_slot *slot = reader_add(r, name, length);
    if (!slot) return reader_fail(error, "out of memory");
    slot->zip_index = (uint64_t)i;
    int not_npy = 0;
    char problem[READER_ERROR_SIZE];
    if (list_entry(r, slot, &not_npy, problem) != 0 && reader_set_problem(slot, problem) != 0)
      return reader_fail(error, "out of memory");
    foreign += (size_t)not_npy;
  }
  if (torch) return reader_fail(error, "is a PyTorch checkpoint; save its tensors as .safetensors");
  if (r->count && foreign == r->count) return reader_fail(error, "a zip archive without a single .npy");
  return reader_mark_duplicates(r) == 0 ? 0 : reader_fail(error, "out of memory");
}

/* ---- Loading ----------------------------------------------------------------------------------------------------- */

/* Reads the entry's data to the end, which verifies the checksum: into memory that *copy then owns, or (copy NULL) past
 * a comparison with the mapping. Returns 0, -1 with an error, or 1 when the mapping differs. */
static int stream(reader *r, reader_slot *slot, zip_file_t *file, unsigned char **copy, char error[READER_ERROR_SIZE]) {
  size_t wanted = (size_t)slot->entry.bytes, got = 0;
  unsigned char *data = copy && wanted ? reader_allocate(wanted) : NULL, *scratch = malloc(CHUNK);
  int status = scratch && (data || !copy || !wanted) ? 0 : reader_fail(error, "out of memory: %zu bytes", wanted);
  for (size_t skip = slot->zip_header, n; skip > 0 && status == 0; skip -= n) {
    n = skip < CHUNK ? skip : CHUNK;
    int64_t read = read_fully(file, scratch, n);
    if (read < (int64_t)n) status = read < 0 ? damaged(file, error) : reader_fail(error, "truncated in its header");
  }
  while (got < wanted && status == 0) {
    size_t n = wanted - got < CHUNK ? wanted - got : CHUNK;
    unsigned char *to = copy ? data + got : scratch;
    int64_t read = read_fully(file, to, n);
    if (read < (int64_t)n)
      status = read < 0
                   ? damaged(file, error)
                   : reader_fail(error, "truncated: %zu of %zu bytes of data are there", got + (size_t)read, wanted);
    else if (!copy && memcmp(to, r->bytes + slot->offset + got, n) != 0)
      status = 1;
    got += n;
  }
  if (status == 0) { /* only the end of the stream brings the checksum's verdict */
    zip_int64_t n = zip_fread(file, scratch, 1);
    if (n != 0) status = n < 0 ? damaged(file, error) : reader_fail(error, "unpacks to more than its header asks for");
  }
  free(scratch);
  if (copy && status == 0)
    *copy = data;
  else
    free(data);
  return status;
}

int npz_load(reader *r, reader_slot *slot, char error[READER_ERROR_SIZE]) {
  for (;;) {
    int mapped = !slot->entry.copied;
    zip_file_t *file = open_entry(r, slot->zip_index, error);
    if (!file) return -1;
    int status = stream(r, slot, file, mapped ? NULL : (unsigned char **)&slot->owned, error);
    zip_fclose(file);
    if (status <= 0) return status;
    slot->entry.copied = 1; /* libzip did not read where we thought: take its word */
    slot->offset = NOT_MAPPED;
  }
}

#endif
