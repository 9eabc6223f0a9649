/* test_readers_npz.c - .npz: archives whole, damaged, and lying about their sizes. */
#include <criterion/criterion.h>

#include "io/internal.h"
#include "unit/reader_files.h"

TestSuite(readers_npz, .timeout = 60);

static const float six[] = {1, 2, 3, 4, 5, 6};

static bytes array(void) { return npy("<f4", "False", "(2, 3)", six, sizeof six); }

#ifndef ACTSCOPE_HAVE_ZIP

Test(readers_npz, are_refused_without_libzip) {
  bytes b = zip_file((zip_entry[]){{.name = "a.npy", .content = array()}}, 1);
  SAYS(b, "a.npz", "file: this build cannot read .npz: libzip was not there when it was made", "an archive");
}

#else

static bytes one(zip_entry entry) {
  if (!entry.name) entry.name = "a.npy";
  if (!entry.content.data) entry.content = array();
  return zip_file(&entry, 1);
}

static reader *open_bytes(bytes b) {
  char error[READER_ERROR_SIZE];
  reader *r;
  cr_assert_eq(reader_open_memory(&r, b.data, b.size, "a.npz", error), 0, "%s", error);
  return r;
}

Test(readers_npz, stored_and_deflated) {
  bytes big = {0};
  put(&big, (const unsigned char[]){0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0}, 16); /* 1.5, -2 */
  bytes swapped = npy(">f8", "False", "(2,)", big.data, 16), half = npy("<f2", "True", "(3, 2)", six, 12);
  bytes none = npy("<f4", "False", "(0, 5)", NULL, 0), scalar = npy("<f4", "False", "()", six, 4);
  zip_entry entries[] = {{.name = "stored.npy", .content = array()},
                         {.name = "deflated.npy", .content = array(), .deflate = 1},
                         {.name = "folder/", .content = {0}},
                         {.name = "folder/big.npy", .content = swapped},
                         {.name = "big deflated.npy", .content = swapped, .deflate = 1},
                         {.name = "half", .content = half},
                         {.name = "none.npy", .content = none, .deflate = 1},
                         {.name = "none stored.npy", .content = none},
                         {.name = "scalar.npy", .content = scalar}};
  static const struct {
    const char *name;
    actscope_dtype dtype;
    int ndim, bytes;
  } rows[] = {{"stored", ACTSCOPE_FLOAT32, 2, 24},       {"deflated", ACTSCOPE_FLOAT32, 2, 24},
              {"folder/big", ACTSCOPE_FLOAT64, 1, 16},   {"big deflated", ACTSCOPE_FLOAT64, 1, 16},
              {"half", ACTSCOPE_FLOAT16, 2, 12},         {"none", ACTSCOPE_FLOAT32, 2, 0},
              {"none stored", ACTSCOPE_FLOAT32, 2, 0},   {"scalar", ACTSCOPE_FLOAT32, 0, 4}};
  const double doubles[] = {1.5, -2};
  bytes b = zip_file(entries, 9);
  SAYS(b, "a.npz", "", "all");
  reader *r = open_bytes(b);
  cr_assert_eq(reader_count(r), 8);
  for (int round = 0; round < 2; round++)
    for (size_t i = 0; i < 8; i++) {
      const reader_entry *e = reader_get(r, i);
      char error[READER_ERROR_SIZE];
      actscope_tensor t, again;
      cr_assert_str_eq(e->name, rows[i].name);
      cr_assert_eq(e->problem, NULL, "%s: %s", e->name, e->problem);
      cr_assert_eq(e->dtype, rows[i].dtype);
      cr_assert_eq(e->ndim, rows[i].ndim);
      cr_assert_eq(e->bytes, (uint64_t)rows[i].bytes);
      cr_assert_eq(reader_load(r, i, &t, error), 0, "%s: %s", e->name, error);
      cr_assert_eq(reader_load(r, i, &again, error), 0);
      cr_assert_eq(t.data, again.data);
      const void *wanted = rows[i].dtype == ACTSCOPE_FLOAT64 ? (const void *)doubles : six;
      if (e->bytes) cr_assert_eq(memcmp(t.data, wanted, e->bytes), 0, "%s: other data, round %d", e->name, round);
      if (i % 2) reader_release(r, i); /* the others are left for the next round or for close */
    }
  cr_assert_eq(reader_get(r, 4)->strides[0], 1);
  cr_assert_eq(reader_get(r, 4)->strides[1], 3);
  reader_close(r);
}

Test(readers_npz, stored_data_are_used_in_place_where_they_are_aligned) {
  for (int pad = 4; pad < 12; pad++) {
    bytes b = one((zip_entry){.pad = pad});
    unsigned char *at = aligned_alloc(64, (b.size + 63) / 64 * 64);
    memcpy(at, b.data, b.size);
    char error[READER_ERROR_SIZE];
    actscope_tensor t;
    reader *r;
    cr_assert_eq(reader_open_memory(&r, at, b.size, "a.npz", error), 0, "%s", error);
    const reader_entry *e = reader_get(r, 0);
    int misaligned = (30 + 5 + pad) % 4 != 0; /* the header of the archive's entry, its name, the extra field */
    cr_assert_eq(e->copied, misaligned, "pad %d: copied is %d", pad, e->copied);
    cr_assert_eq(reader_load(r, 0, &t, error), 0, "%s", error);
    int inside = (const unsigned char *)t.data >= at && (const unsigned char *)t.data < at + b.size;
    cr_assert_eq(inside, !misaligned, "pad %d", pad);
    cr_assert_eq(memcmp(t.data, six, sizeof six), 0, "pad %d: other data", pad);
    reader_close(r);
    free(at);
    free(b.data);
  }
}

Test(readers_npz, a_place_in_the_map_that_is_wrong_is_not_used) {
  bytes b = one((zip_entry){.pad = 5});
  reader *r = open_bytes(b);
  char error[READER_ERROR_SIZE];
  actscope_tensor t;
  cr_assert_eq(reader_get(r, 0)->copied, 0);
  r->slots[0].offset -= 4;
  cr_assert_eq(reader_load(r, 0, &t, error), 0, "%s", error);
  cr_assert_eq(memcmp(t.data, six, sizeof six), 0);
  cr_assert_eq(reader_get(r, 0)->copied, 1);
  reader_close(r);
}

Test(readers_npz, checksums_are_verified_mapped_or_not) {
  for (int deflate = 0; deflate < 2; deflate++)
    for (int pad = 4; pad < 8; pad++) {
      char label[64];
      snprintf(label, sizeof label, "deflate %d, pad %d", deflate, pad);
      bytes b = one((zip_entry){.deflate = deflate, .pad = pad});
      SAYS(b, "a.npz", "", label);
      b.data[30 + 5 + pad + 5 * deflate + 128] ^= 1; /* an element */
      SAYS(b, "a.npz", "load: its data are damaged: CRC error", label);
      b = one((zip_entry){.deflate = deflate, .pad = pad, .crc_xor = 1});
      SAYS(b, "a.npz", "load: its data are damaged: CRC error", label);
    }
}

Test(readers_npz, damage_spares_the_neighbours) {
  bytes integers = npy("<i8", "False", "(3,)", six, sizeof six), text = {0}, empty = {0};
  put_text(&text, "no array");
  zip_entry entries[] = {{.name = "first.npy", .content = array()},
                         {.name = "crc.npy", .content = array(), .crc_xor = 7},
                         {.name = "int.npy", .content = integers},
                         {.name = "text.npy", .content = text},
                         {.name = "empty.npy", .content = empty},
                         {.name = "first.npy", .content = array()},
                         {.name = "first", .content = array()},
                         {.name = "crypt.npy", .content = array(), .flags = 1},
                         {.name = "method.npy", .content = array(), .method = 97},
                         {.name = "last\n.npy", .content = array(), .deflate = 1}};
  static const char *const wanted[][2] = {{"first", NULL},
                                          {"crc", NULL},
                                          {"int", "dtype int64 is not a floating-point type"},
                                          {"text", "not a .npy"},
                                          {"empty", "not a .npy"},
                                          {"first", "an earlier tensor of this file has the same name"},
                                          {"first", "an earlier tensor of this file has the same name"},
                                          {"crypt", "is encrypted"},
                                          {"method", "cannot be unpacked: Compression method not supported"},
                                          {"last\xef\xbf\xbd", NULL}};
  reader *r = open_bytes(zip_file(entries, 10));
  cr_assert_eq(reader_count(r), 10);
  for (size_t i = 0; i < 10; i++) {
    char error[READER_ERROR_SIZE];
    actscope_tensor t;
    const reader_entry *e = reader_get(r, i);
    cr_assert_str_eq(e->name, wanted[i][0]);
    if (wanted[i][1]) cr_assert(e->problem && strstr(e->problem, wanted[i][1]), "%s: %s", e->name, e->problem);
    else cr_assert_eq(e->problem, NULL, "%s: %s", e->name, e->problem);
    int status = reader_load(r, i, &t, error);
    cr_assert_eq(status, wanted[i][1] || i == 1 ? -1 : 0, "%s: %s", e->name, error);
    if (status == 0) cr_assert_eq(memcmp(t.data, six, sizeof six), 0, "%s: other data", e->name);
  }
  reader_close(r);
}

Test(readers_npz, sizes_that_lie) {
  bytes lie = npy("<f8", "False", "(500000000000000000,)", six, sizeof six);
  bytes less = npy("<f4", "False", "(5,)", six, sizeof six), more = npy("<f4", "False", "(7,)", six, sizeof six);
  bytes head = npy("<f4", "False", "(6,)", NULL, 0);
  head.size = 9;
  /* a stream of 70,000 zeros behind a header that asks for 6 floats */
  bytes longer = array(), zeros = {calloc(1, 70000), 70000};
  put(&longer, zeros.data, zeros.size);
  const struct {
    const char *label;
    zip_entry entry;
    const char *wanted;
  } rows[] = {
      {"4 EB", {.content = lie}, "entry: its header asks for 4000000000000000000 bytes of data, the archive holds 24"},
      {"4 EB deflated", {.content = lie, .deflate = 1}, "entry: its header asks for 4000000000000000000 bytes"},
      {"one float less", {.content = less}, "entry: its header asks for 20 bytes of data, the archive holds 24"},
      {"one float more", {.content = more}, "entry: its header asks for 28 bytes of data, the archive holds 24"},
      {"cut in the header", {.content = head}, "entry: truncated in its header"},
      {"cut, deflated", {.content = head, .deflate = 1}, "entry: truncated in its header"},
      {"directory: 4 GB", {.size = 0xfffffffe, .deflate = 1}, "entry: declares 4294967294 bytes, more than its"},
      {"directory: 4 GB stored", {.size = 0xfffffffe}, "entry: is stored, yet 152 bytes are declared to be 4294967294"},
      {"directory: less", {.size = 100, .deflate = 1}, "entry: its header asks for 24 bytes of data, the archive holds 0"},
      {"compressed: 4 GB", {.compressed_size = 0xfffffffe}, "entry: truncated: declares 4294967294 packed bytes"},
      {"compressed: 4 GB, deflated", {.compressed_size = 0xfffffffe, .deflate = 1}, "entry: truncated: declares 4294967294 packed"},
      {"compressed: 9 bytes", {.compressed_size = 9, .deflate = 1}, "entry: "},
      {"compressed: no end", {.compressed_size = 150, .deflate = 1}, "load: "},
      {"goes on behind its size", {.content = longer, .deflate = 1, .size = 152}, "load: "},
      {"goes on, stored", {.content = longer, .size = 152, .compressed_size = 152}, "load: its data are damaged: CRC"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    bytes b = one(rows[i].entry);
    SAYS(b, "a.npz", rows[i].wanted, rows[i].label);
    free(b.data);
  }
  /* header and directory agree on 4 GB of a type that takes them, and the stream has 24 bytes */
  bytes giant = npy("<f4", "False", "(1000000000,)", zeros.data, 4100 * 4);
  SAYS(one((zip_entry){.content = giant, .size = 4000000128u, .compressed_size = 4000000128u}), "a.npz",
       "entry: truncated: declares 4000000128 packed bytes",
       "4 GB stored, and agreed");
  bytes half = npy("<f4", "False", "(3000000,)", calloc(1, 6000000), 6000000);
  SAYS(one((zip_entry){.content = half, .size = 12000128, .deflate = 1}), "a.npz",
       "load: truncated: 6000000 of 12000000 bytes", "12 MB deflated, and agreed");
}

Test(readers_npz, archives_that_are_refused) {
  bytes text = {0}, empty = {0}, nothing = zip_file(NULL, 0);
  put_text(&text, "not an array, but 8 bytes and more");
  SAYS(nothing, "a.npz", "", "an archive without entries");
  SAYS(one((zip_entry){.name = "a.txt", .content = text}), "a.npz", "file: a zip archive without a single .npy", "text");
  zip_entry torch[] = {{.name = "archive/data.pkl", .content = text}, {.name = "archive/data/0", .content = text}};
  SAYS(zip_file(torch, 2), "model.pt", "file: is a PyTorch checkpoint; save its tensors as .safetensors", "torch");
  put_text(&empty, "PK\5\6");
  SAYS(empty, "a.npz", "file: not a readable zip archive: ", "four bytes");
  SAYS(text, "a.npz", "file: not a readable zip archive: ", "text");
  bytes b = one((zip_entry){.deflate = 1});
  size_t whole = b.size;
  for (b.size = 0; b.size < whole; b.size++)
    cr_assert_neq(verdict(b, "a.npz")[0], 0, "the first %zu of %zu bytes were taken", b.size, whole);
}

Test(readers_npz, any_flipped_bit_is_harmless) {
  /* Every bit of a small archive once: it must be refused or give six floats; no crash, no other value. */
  for (int deflate = 0; deflate < 2; deflate++) {
    bytes b = one((zip_entry){.deflate = deflate, .pad = 5});
    int wrong = 0;
    for (size_t bit = 0; bit < 8 * b.size; bit++) {
      char error[READER_ERROR_SIZE];
      reader *r;
      b.data[bit / 8] ^= 1 << bit % 8;
      if (reader_open_memory(&r, b.data, b.size, "a.npz", error) == 0) {
        for (size_t i = 0; i < reader_count(r); i++) {
          actscope_tensor t;
          if (reader_load(r, i, &t, error) != 0) continue;
          const reader_entry *e = reader_get(r, i);
          if (e->bytes != 24 || memcmp(t.data, six, 24) != 0) wrong++;
        }
        reader_close(r);
      }
      b.data[bit / 8] ^= 1 << bit % 8;
    }
    cr_assert_eq(wrong, 0, "deflate %d: %d flipped bits went unseen into the data", deflate, wrong);
  }
}

#endif
