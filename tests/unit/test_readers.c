/* test_readers.c - .npy and .safetensors, and what they share; test_readers_files.c has files and standard input,
 * test_readers_npz.c has .npz. */
#include <criterion/criterion.h>

#include "unit/reader_files.h"

TestSuite(readers, .timeout = 60);

static const float six[] = {1, 2, 3, 4, 5, 6};

/* ---- .npy ------------------------------------------------------------------------------------------------------------ */

Test(readers, npy_headers_in_every_spelling) {
  static const struct {
    const char *header;
    int ndim;
    int64_t shape[2], strides[2];
  } rows[] = {
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }     \n", 2, {2, 3}, {3, 1}},
      {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", 2, {2, 3}, {1, 2}},
      {"{'shape':(2,3),'fortran_order':False,'descr':'<f4'}", 2, {2, 3}, {3, 1}},
      {"{\"shape\" : ( 2 , 3 , ) , \"descr\" : \"<f4\" , \"fortran_order\" : False }", 2, {2, 3}, {3, 1}},
      {"{\n\t'descr'\n:\r'<f4', 'fortran_order':\tFalse, 'shape': (\n2L, 3L),}\n\n", 2, {2, 3}, {3, 1}},
      {"{u'descr': u'<f4', b'fortran_order': False, 'shape': (6,)}", 1, {6}, {1}},
      {"{'descr': '=f4', 'fortran_order': False, 'shape': (6l,)}", 1, {6}, {1}},
      {"{'descr': 'f4', 'fortran_order': False, 'shape': ( 6, )}", 1, {6}, {1}},
      {"{'descr': '|f4', 'fortran_order': True, 'shape': ()}", 0, {0}, {0}},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3)}", 2, {0, 3}, {3, 1}},
      {"{'descr': '<f4', 'fortran_order': True, 'shape': (0, 3)}", 2, {0, 3}, {1, 1}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int version = 1; version <= 3; version++) {
      char error[READER_ERROR_SIZE];
      bytes b = npy_raw(version, rows[i].header, six, sizeof six);
      reader *r;
      actscope_tensor t;
      SAYS(b, "a.npy", "", rows[i].header);
      cr_assert_eq(reader_open_memory(&r, b.data, b.size, "dir/a.npy", error), 0, "%s", error);
      cr_assert_eq(reader_count(r), 1);
      cr_assert_eq(reader_get(r, 1), NULL);
      const reader_entry *e = reader_get(r, 0);
      cr_assert_str_eq(e->name, "a");
      cr_assert_eq(e->dtype, ACTSCOPE_FLOAT32);
      cr_assert_eq(e->ndim, rows[i].ndim, "%s: %d dimensions", rows[i].header, e->ndim);
      for (int k = 0; k < e->ndim; k++)
        cr_assert(e->shape[k] == rows[i].shape[k] && e->strides[k] == rows[i].strides[k], "%s: axis %d is %lld by %lld",
                  rows[i].header, k, (long long)e->shape[k], (long long)e->strides[k]);
      cr_assert_eq(reader_load(r, 0, &t, error), 0, "%s", error);
      cr_assert_eq(t.ndim, rows[i].ndim);
      cr_assert_eq(t.dtype, ACTSCOPE_FLOAT32);
      if (e->bytes) cr_assert_eq(memcmp(t.data, six, e->bytes), 0, "%s: other data", rows[i].header);
      else cr_assert_eq(t.data, NULL);
      reader_close(r);
      free(b.data);
    }
}

#define D "'descr': '<f4', "
#define O "'fortran_order': False, "
#define S "'shape': (2, 3), "

Test(readers, npy_headers_that_are_refused) {
  static const char *const rows[][2] = {
      {"", "not a Python dict"},
      {"   ", "not a Python dict"},
      {"[]", "not a Python dict"},
      {"{", "a key was expected"},
      {"{}", "has no \"descr\""},
      {"{" D O "}", "has no \"shape\""},
      {"{" D S "}", "has no \"fortran_order\""},
      {"{" D O S, "a key was expected"},
      {"{" D O S "} x", "text after the dict"},
      {"{" D O S "'more': 1}", "unknown key \"more\""},
      {"{" D O S D "}", "\"descr\" twice"},
      {"{" O S "'descr': '<f4' 'fortran_order': True}", "comma"},
      {"{" O S "'descr' '<f4'}", "a key was expected"},
      {"{" O S "'descr': '<f4}", "descr cannot be read"},
      {"{" O S "'descr': '<f4\\", "descr cannot be read"},
      {"{" O S "'descr': '<f\n4'}", "descr cannot be read"},
      {"{" O S "'descr': 7}", "descr cannot be read"},
      {"{" O S "'descr': u", "descr cannot be read"},
      {"{" D S "'fortran_order': 0}", "neither True nor False"},
      {"{" D S "'fortran_order': Falsehood}", "neither True nor False"},
      {"{" D S "'fortran_order': }", "neither True nor False"},
      {"{" D O "'shape': [2, 3]}", "not a tuple"},
      {"{" D O "'shape': 6}", "not a tuple"},
      {"{" D O "'shape': (6)}", "not a tuple"},
      {"{" D O "'shape': (2 3)}", "not a tuple"},
      {"{" D O "'shape': (2, 3", "not a tuple"},
      {"{" D O "'shape': (,)}", "not an integer"},
      {"{" D O "'shape': (2,,3)}", "not an integer"},
      {"{" D O "'shape': (2, True)}", "not an integer"},
      {"{" D O "'shape': (2, 3.0)}", "not a tuple"},
      {"{" D O "'shape': (2, 0x3)}", "not an integer"},
      {"{" D O "'shape': (2, 03)}", "not an integer"},
      {"{" D O "'shape': (2, 3_0)}", "not an integer"},
      {"{" D O "'shape': (2, L)}", "not an integer"},
      {"{" D O "'shape': (2, '3')}", "not an integer"},
      {"{" D O "'shape': (__import__('os').abort(),)}", "not an integer"},
      {"{" D O "'shape': (2, -3)}", "negative extent -3"},
      {"{" D O "'shape': (-1,)}", "negative extent -1"},
      {"{" D O "'shape': (99999999999999999999,)}", "too large"},
      {"{" D O "'shape': (-99999999999999999999,)}", "too large"},
      {"{" D O "'shape': (9223372036854775807,)}", "too large"},
      {"{" D O "'shape': (4611686018427387904,)}", "too large"},
      {"{" D O "'shape': (1152921504606846976,)}", "too large"},
      {"{" D O "'shape': (4294967296, 4294967296)}", "too large"},
      {"{" D O "'shape': (0, 4294967296, 4294967296)}", "too large"},
      {"{" D O "'shape': (4294967296, 4294967296, 0)}", "too large"},
      {"{" D O "'shape': (1152921504606846975,)}", "truncated: 24 of 4611686018427387900 bytes"},
      {"{" D O "'shape': (2, 4)}", "truncated: 24 of 32 bytes"},
      {"{" D O "'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)}", "more than 16 dimensions"},
      {"{" D O "'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,6)}", ""},
      {"{\xff" D O S "}", "a key was expected"},
      {"{'\xff\n", "a key was expected"},
      {"{'\xff\x01': 3}", "unknown key \"??\""},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int version = 1; version <= 3; version++) {
      bytes b = npy_raw(version, rows[i][0], six, sizeof six);
      SAYS(b, "a.npy", rows[i][1], rows[i][0]);
      if (rows[i][1][0]) SAYS(b, "a.npy", "entry: ", rows[i][0]);
      free(b.data);
    }
}

Test(readers, npy_dtypes) {
  static const char *const rows[][2] = {
      {"'<f4'", ""},
      {"'>f4'", ""},
      {"'<f8'", ""},
      {"'>f8'", ""},
      {"'<f2'", ""},
      {"'>f2'", ""},
      {"'<f16'", "dtype float128 is not supported; float64 is the widest"},
      {"'<f1'", "does not say which 8-bit float"},
      {"'<f3'", "dtype \"<f3\" is not known"},
      {"'|b1'", "dtype bool is not a floating-point type"},
      {"'|i1'", "dtype int8 is not a floating-point type"},
      {"'<i8'", "dtype int64 is not a floating-point type"},
      {"'>u2'", "dtype uint16 is not a floating-point type"},
      {"'<c8'", "dtype complex64 is not a floating-point type"},
      {"'<c16'", "dtype complex128 is not a floating-point type"},
      {"'|O'", "dtype object is not a floating-point type"},
      {"'|S5'", "dtype string (\"|S5\") is not a floating-point type"},
      {"'<U5'", "dtype string (\"<U5\") is not a floating-point type"},
      {"'<M8[ns]'", "dtype datetime64 is not a floating-point type"},
      {"'<m8[ns]'", "dtype timedelta64 is not a floating-point type"},
      {"'|V2'", "dtype \"|V2\" does not say what its elements are"},
      {"'<V2'", "dtype \"<V2\" does not say what its elements are"},
      {"'<V1'", "dtype \"<V1\" does not say what its elements are"},
      {"'|V16'", "dtype void (\"|V16\") is not a floating-point type"},
      {"[('x', '<f4'), ('y', '<f4')]", "structured dtype is not a floating-point type"},
      {"[('x', [('z', '<f4', (3,))]), (('t', 'n\\'a'), '|V5')]", "structured dtype is not a floating-point type"},
      {"('<f4', (3,))", "structured dtype is not a floating-point type"},
      {"[('x', '<f4')", "descr cannot be read"},
      {"[('x' '<f4')]", "descr cannot be read"},
      {"''", "dtype \"\" is not known"},
      {"'<'", "dtype \"<\" is not known"},
      {"'<f'", "dtype \"<f\" is not known"},
      {"'<f4x'", "dtype \"<f4x\" is not known"},
      {"'<f99999999999999999999'", "is not known"},
      {"'<i99999999999999999999'", "is not known"},
      {"'<q8'", "dtype \"<q8\" is not known"},
      {"'<<f4'", "is not known"},
      {"'float32'", "dtype \"float32\" is not known"},
      {"'\x01\xff'", "dtype \"??\" is not known"},
  };
  const double data[6] = {0};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char header[256];
    snprintf(header, sizeof header, "{'descr': %s, " O S "}", rows[i][0]);
    bytes b = npy_raw(1, header, data, sizeof data);
    SAYS(b, "a.npy", rows[i][1], rows[i][0]);
    free(b.data);
  }
}

Test(readers, npy_structured_nesting_is_bounded) {
  char header[6000] = "{" O S "'descr': ";
  size_t n = strlen(header);
  memset(header + n, '[', 2000), memset(header + n + 2000, ']', 2000), header[n + 4000] = '}';
  bytes b = npy_raw(1, header, six, sizeof six);
  SAYS(b, "a.npy", "entry: malformed header: descr cannot be read", "2000 brackets");
}

Test(readers, npy_byte_orders_and_alignments) {
  /* 1.5, -2 and NaN with a payload, in the bits of each type, written in both byte orders at eight alignments */
  static const struct {
    const char *descr;
    int size;
    uint64_t bits[3];
  } rows[] = {{"f2", 2, {0x3e00, 0xc000, 0x7e01}},
              {"f4", 4, {0x3fc00000, 0xc0000000, 0x7fc00001}},
              {"f8", 8, {0x3ff8000000000000, 0xc000000000000000, 0x7ff8000000000001}}};
  for (size_t i = 0; i < 3; i++)
    for (int big = 0; big < 2; big++)
      for (int shift = 0; shift < 8; shift++) {
        char header[128], error[READER_ERROR_SIZE], label[64];
        unsigned char data[24], native[24];
        int size = rows[i].size;
        for (int k = 0; k < 3 * size; k++) {
          unsigned char byte = rows[i].bits[k / size] >> 8 * (k % size) & 255;
          native[k] = byte;
          data[big ? k / size * size + size - 1 - k % size : k] = byte;
        }
        int n = snprintf(header, 100, "{'descr': '%c%s', " O "'shape': (3,)}", big ? '>' : '<', rows[i].descr);
        while ((10 + n) % 8 != shift) header[n++] = ' ';
        header[n] = 0;
        snprintf(label, sizeof label, "%c%s shifted by %d", big ? '>' : '<', rows[i].descr, shift);
        bytes b = npy_raw(1, header, data, (size_t)(3 * size));
        unsigned char before[256];
        memcpy(before, b.data, b.size);
        reader *r;
        actscope_tensor t, again;
        cr_assert_eq(reader_open_memory(&r, b.data, b.size, "a.npy", error), 0, "%s: %s", label, error);
        const reader_entry *e = reader_get(r, 0);
        cr_assert_eq(e->copied, big || shift % size != 0, "%s: copied is %d", label, e->copied);
        cr_assert_eq(e->bytes, (uint64_t)(3 * size));
        for (int round = 0; round < 2; round++) {
          cr_assert_eq(reader_load(r, 0, &t, error), 0, "%s: %s", label, error);
          cr_assert_eq((uintptr_t)t.data % (unsigned)size, 0, "%s: misaligned", label);
          cr_assert_eq(memcmp(t.data, native, e->bytes), 0, "%s: other bits in round %d", label, round);
          cr_assert_eq((const unsigned char *)t.data == b.data + 10 + n, !e->copied, "%s: elsewhere", label);
          cr_assert_eq(reader_load(r, 0, &again, error), 0);
          cr_assert_eq(again.data, t.data, "%s: loaded twice, two views", label);
          reader_release(r, 0);
          reader_release(r, 0);
        }
        cr_assert_eq(memcmp(before, b.data, b.size), 0, "%s: the caller's bytes were changed", label);
        reader_close(r);
        free(b.data);
      }
}

Test(readers, npy_every_truncation_is_refused) {
  for (int version = 1; version <= 3; version++) {
    bytes b = npy_raw(version, "{" D O S "}", six, sizeof six);
    size_t whole = b.size;
    SAYS(b, "a.npy", "", "whole");
    for (b.size = 0; b.size < whole; b.size++)
      cr_assert_neq(verdict(b, "a.npy")[0], 0, "version %d, the first %zu of %zu bytes were taken", version, b.size,
                    whole);
    free(b.data);
  }
}

Test(readers, npy_oddities) {
  char error[READER_ERROR_SIZE];
  reader *r;
  bytes b = npy("<f4", "False", "(2, 3)", six, sizeof six);
  bytes two = npy("<f4", "False", "(2, 3)", six, sizeof six);
  put(&two, b.data, b.size);
  SAYS(two, "a.npy", "", "bytes after the array");
  cr_assert_eq(reader_open_memory(&r, two.data, two.size, "x/.npy", error), 0);
  cr_assert_eq(reader_count(r), 1);
  cr_assert_str_eq(reader_get(r, 0)->name, ".npy", "a file named only by its suffix keeps it");
  actscope_tensor t;
  cr_assert_eq(reader_load(r, 1, &t, error), -1);
  cr_assert_str_eq(error, "there is no entry 1");
  reader_release(r, 1);
  reader_close(r);
  reader_close(NULL);

  cr_assert_eq(reader_open_memory(&r, b.data, b.size, "a\n\xff\xc3\xa9.npy", error), 0);
  cr_assert_str_eq(reader_get(r, 0)->name, "a\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9");
  reader_close(r);

  b.data[6] = 4;
  SAYS(b, "a.npy", "entry: .npy version 4.0 is not known", "version 4.0");
  b.data[6] = 1, b.data[7] = 9;
  SAYS(b, "a.npy", "version 1.9 is not known", "version 1.9");
  bytes big = npy_raw(2, "{" D O S "}", six, sizeof six);
  memset(big.data + 8, 0xff, 4);
  SAYS(big, "a.npy", "entry: its header is 4294967295 bytes long", "a header of 4 GiB");
  bytes empty = {0};
  SAYS(empty, "a.npy", "file: the file is empty", "nothing");
}

/* ---- Formats --------------------------------------------------------------------------------------------------------- */

#define T(dtype, shape, from, to) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

Test(readers, content_decides_then_the_name) {
  bytes b = npy("<f4", "False", "(2, 3)", six, sizeof six);
  bytes s = safetensors("{\"a\":" T("F32", "[6]", 0, 24) "}", six, sizeof six);
  bytes x = {0}, lfs = {0};
  put_text(&x, "neither one nor the other, but long enough");
  put_text(&lfs, "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
  SAYS(b, "a.safetensors", "", "a .npy by another name");
  SAYS(s, "a.npy", "", "a .safetensors by another name");
  SAYS(s, "a", "", "a .safetensors without a suffix");
  SAYS(x, "a.npy", "file: not a .npy: it does not begin with", "text as .npy");
  SAYS(x, "a.npz", "file: ", "text as .npz");
  SAYS(x, "a.safetensors", "file: not a .safetensors", "text as .safetensors");
  SAYS(x, "a.txt", "file: not a .npy, .npz or .safetensors file", "text as text");
  SAYS(lfs, "a.safetensors", "file: is a Git LFS pointer", "a pointer file");
}

/* ---- .safetensors ---------------------------------------------------------------------------------------------------- */

Test(readers, safetensors_all_dtypes_in_header_order) {
  unsigned char data[64];
  for (int i = 0; i < 64; i++) data[i] = (unsigned char)i;
  bytes b = safetensors("{\"z\":" T("F32", "[2,2]", 8, 24) ",\"__metadata__\":{\"format\":\"pt\"},\"m.w\":"
                        T("F64", "[1]", 0, 8) ",\"a\":" T("BF16", "[3,1]", 24, 30) ",\"h\":" T("F16", "[1]", 30, 32)
                        ",\"e4\":" T("F8_E4M3", "[3]", 32, 35) ",\"e5\":" T("F8_E5M2", "[]", 35, 36)
                        ",\"none\":" T("F32", "[0,4]", 36, 36) "}   ", data, sizeof data);
  static const struct {
    const char *name;
    actscope_dtype dtype;
    int from, size, ndim, element;
  } rows[] = {{"z", ACTSCOPE_FLOAT32, 8, 16, 2, 4},      {"m.w", ACTSCOPE_FLOAT64, 0, 8, 1, 8},
              {"a", ACTSCOPE_BFLOAT16, 24, 6, 2, 2},     {"h", ACTSCOPE_FLOAT16, 30, 2, 1, 2},
              {"e4", ACTSCOPE_FLOAT8_E4M3, 32, 3, 1, 1}, {"e5", ACTSCOPE_FLOAT8_E5M2, 35, 1, 0, 1},
              {"none", ACTSCOPE_FLOAT32, 36, 0, 2, 4}};
  for (size_t shift = 0; shift < 8; shift++) { /* all eight alignments of the whole file */
    char error[READER_ERROR_SIZE];
    unsigned char *at = aligned_alloc(64, 1024);
    memcpy(at + shift, b.data, b.size);
    size_t start = shift + b.size - sizeof data;
    reader *r;
    cr_assert_eq(reader_open_memory(&r, at + shift, b.size, "a.safetensors", error), 0, "%s", error);
    cr_assert_eq(reader_count(r), 7);
    for (size_t i = 0; i < 7; i++) {
      const reader_entry *e = reader_get(r, i);
      actscope_tensor t;
      cr_assert_str_eq(e->name, rows[i].name);
      cr_assert_eq(e->problem, NULL, "%s: %s", e->name, e->problem);
      cr_assert_eq(e->dtype, rows[i].dtype, "%s: dtype %d", e->name, e->dtype);
      cr_assert_eq(e->ndim, rows[i].ndim);
      cr_assert_eq(e->bytes, (uint64_t)rows[i].size);
      int misaligned = e->bytes > 0 && (start + (size_t)rows[i].from) % (size_t)rows[i].element != 0;
      cr_assert_eq(e->copied, misaligned, "%s: shift %zu", e->name, shift);
      cr_assert_eq(reader_load(r, i, &t, error), 0);
      if (e->bytes) cr_assert_eq(memcmp(t.data, data + rows[i].from, e->bytes), 0, "%s: other data", e->name);
      cr_assert_eq((uintptr_t)t.data % (uintptr_t)rows[i].element, 0, "%s: misaligned", e->name);
    }
    reader_close(r);
    free(at);
  }
  free(b.data);
}

Test(readers, safetensors_one_bad_entry_spares_the_rest) {
  static const char *const rows[][2] = {
      {T("I64", "[3]", 0, 24), "dtype int64 is not a floating-point type"},
      {T("BOOL", "[24]", 0, 24), "dtype bool is not a floating-point type"},
      {T("C64", "[3]", 0, 24), "dtype complex64 is not a floating-point type"},
      {T("F8_E8M0", "[24]", 0, 24), "dtype \"F8_E8M0\" is not supported"},
      {T("f32", "[6]", 0, 24), "dtype \"f32\" is not supported"},
      {T("F32", "[7]", 0, 24), "its shape takes 28 bytes, its data_offsets 24"},
      {T("F32", "[]", 0, 24), "its shape takes 4 bytes, its data_offsets 24"},
      {T("F32", "[0]", 0, 24), "its shape takes 0 bytes, its data_offsets 24"},
      {T("F32", "[6]", 24, 0), "its data end before they begin"},
      {T("F32", "[6]", 24, 48), "truncated: its data end 20 bytes after the end of the file"},
      {T("F32", "[6]", 4503599627370496, 4503599627370520), "truncated: its data end 4503599627370492 bytes after"},
      {T("F32", "[0]", 29, 29), "truncated: its data end 1 bytes after"},
      {T("F32", "[6]", 0, 24.5), "data_offsets are not two integers"},
      {T("F32", "[6]", -24, 0), "data_offsets are not two integers"},
      {T("F32", "[6]", 0, 1e400), "data_offsets are not two integers"},
      {T("F32", "[6]", 0, 18446744073709551615), "data_offsets are not two integers"},
      {T("F32", "[6]", 9007199254740968, 9007199254740993), "data_offsets are not two integers"}, /* no double has it */
      {T("F32", "[6]", 0, null), "data_offsets are not two integers"},
      {"{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24,24]}", "data_offsets are not two integers"},
      {"{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0]}", "data_offsets are not two integers"},
      {"{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":\"0,24\"}", "data_offsets are not two integers"},
      {"{\"dtype\":\"F32\",\"shape\":[6]}", "data_offsets are not two integers"},
      {"{\"dtype\":\"F32\",\"data_offsets\":[0,24]}", "it has no shape"},
      {"{\"dtype\":\"F32\",\"shape\":6,\"data_offsets\":[0,24]}", "it has no shape"},
      {"{\"shape\":[6],\"data_offsets\":[0,24]}", "it has no dtype"},
      {"{\"dtype\":7,\"shape\":[6],\"data_offsets\":[0,24]}", "it has no dtype"},
      {T("F32", "[-6]", 0, 24), "an extent of the shape is not an integer"},
      {T("F32", "[1.5,4]", 0, 24), "an extent of the shape is not an integer"},
      {T("F32", "[\"6\"]", 0, 24), "an extent of the shape is not an integer"},
      {T("F32", "[[6]]", 0, 24), "an extent of the shape is not an integer"},
      {T("F32", "[1e300]", 0, 24), "an extent of the shape is not an integer"},
      {T("F32", "[4503599627370496,4503599627370496]", 0, 24), "too large"},
      {T("F32", "[0,4503599627370496,4503599627370496]", 0, 0), "too large"},
      {T("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,6]", 0, 24), "more than 16 dimensions"},
      {"[]", "not an object"},
      {"null", "not an object"},
      {"{}", "it has no dtype"},
  };
  unsigned char data[28] = {0};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char header[512], error[READER_ERROR_SIZE];
    snprintf(header, sizeof header, "{\"bad\":%s,\"good\":%s}", rows[i][0], T("F32", "[1]", 24, 28));
    bytes b = safetensors(header, data, sizeof data);
    SAYS(b, "a.safetensors", rows[i][1], rows[i][0]);
    SAYS(b, "a.safetensors", "entry: ", rows[i][0]);
    reader *r;
    actscope_tensor t;
    cr_assert_eq(reader_open_memory(&r, b.data, b.size, "a.safetensors", error), 0, "%s: %s", rows[i][0], error);
    cr_assert_eq(reader_count(r), 2, "%s: %zu entries", rows[i][0], reader_count(r));
    const reader_entry *bad = reader_get(r, 0), *good = reader_get(r, 1);
    cr_assert(bad->problem && !good->problem, "%s: %s", rows[i][0], good->problem);
    cr_assert(bad->ndim == 0 && bad->bytes == 0, "%s: a bad entry has a shape", rows[i][0]);
    cr_assert_eq(reader_load(r, 1, &t, error), 0, "%s: %s", rows[i][0], error);
    reader_close(r);
    free(b.data);
  }
}

Test(readers, safetensors_headers_that_are_refused) {
  static const char *const rows[][2] = {
      {"{", "JSON is broken at byte"},
      {"{\"a\":}", "JSON is broken at byte 13"},
      {"{\"a\":{}}x", "JSON is broken at byte"},
      {"{\"a\":1,}", "JSON is broken at byte"},
      {"{'a':1}", "JSON is broken at byte"},
      {"{\"a", "JSON is broken at byte"},
      {"{\"1\":1,", "JSON is broken at byte"},
      {"{\"a\\", "JSON is broken at byte"},
      {"{\"a\\u12", "JSON is broken at byte"},
      {"[]", "not a JSON object"},
      {"\"{}\"", "not a JSON object"},
      {"{\"a\x01\":{}}", "a control byte at byte 11"},
      {"{\"a\\u0000\":{}}", "a NUL character at byte 11"},
      {"", "JSON is broken at byte 8"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    bytes b = safetensors(rows[i][0], six, sizeof six);
    SAYS(b, "a.safetensors", rows[i][1], rows[i][0]);
    SAYS(b, "a.safetensors", "file: ", rows[i][0]);
    bytes bare = safetensors(rows[i][0], NULL, 0); /* the header ends where the file and its memory end */
    SAYS(bare, "a.safetensors", "file: ", rows[i][0]);
    free(b.data), free(bare.data);
  }
  char deep[5000] = "{\"a\":";
  memset(deep + 5, '[', 4000);
  bytes b = safetensors(deep, NULL, 0);
  SAYS(b, "a.safetensors", "file: malformed header: JSON is broken", "4000 brackets");
  b = safetensors("{\"a\\\\u0000\":" T("F32", "[6]", 0, 24) "}", six, sizeof six);
  SAYS(b, "a.safetensors", "", "a backslash before u0000 is no NUL");
  b = safetensors("{}", NULL, 0);
  SAYS(b, "a.safetensors", "", "no tensors");
}

Test(readers, safetensors_header_lengths) {
  bytes b = safetensors("{\"a\":" T("F32", "[6]", 0, 24) "}", six, sizeof six);
  uint64_t right = b.size - 8 - sizeof six;
  SAYS(b, "a.safetensors", "", "right");
  static const struct {
    uint64_t length;
    const char *wanted;
  } rows[] = {{0, "file: malformed header: JSON"},
              {5, "file: malformed header: JSON"},
              {4096, "file: truncated: its header of 4096"},
              {UINT64_MAX, "file: truncated"},
              {UINT64_C(1) << 63, "file: truncated"},
              {UINT64_MAX - 7, "file: truncated"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    for (int k = 0; k < 8; k++) b.data[k] = (unsigned char)(rows[i].length >> 8 * k);
    SAYS(b, "a.safetensors", rows[i].wanted, rows[i].wanted);
  }
  for (int k = 0; k < 8; k++) b.data[k] = (unsigned char)(right >> 8 * k);
  size_t whole = b.size;
  for (b.size = 0; b.size < whole; b.size++)
    cr_assert_neq(verdict(b, "a.safetensors")[0], 0, "the first %zu of %zu bytes were taken", b.size, whole);
}

Test(readers, safetensors_overlaps_and_duplicates) {
  char error[READER_ERROR_SIZE];
  unsigned char data[40] = {0};
  bytes b = safetensors("{\"a\":" T("F32", "[4]", 0, 16) ",\"in\":" T("F32", "[1]", 4, 8)
                        ",\"next\":" T("F32", "[1]", 16, 20) ",\"tail\":" T("F32", "[2]", 12, 20)
                        ",\"free\":" T("F32", "[1]", 20, 24) ",\"none\":" T("F32", "[0]", 4, 4)
                        ",\"free\":" T("F32", "[1]", 28, 32) "}", data, sizeof data);
  static const char *const wanted[] = {"overlap those of \"in\"", "overlap those of \"a\"", "overlap those of \"tail\"",
                                       "overlap those of \"a\"",  NULL,                     NULL,
                                       "an earlier tensor of this file has the same name"};
  reader *r;
  cr_assert_eq(reader_open_memory(&r, b.data, b.size, "a.safetensors", error), 0, "%s", error);
  cr_assert_eq(reader_count(r), 7);
  for (size_t i = 0; i < 7; i++) {
    const reader_entry *e = reader_get(r, i);
    if (wanted[i]) cr_assert(e->problem && strstr(e->problem, wanted[i]), "%s: %s", e->name, e->problem);
    else cr_assert_eq(e->problem, NULL, "%s: %s", e->name, e->problem);
  }
  reader_close(r);
}

Test(readers, safetensors_many_tensors_take_linear_time) {
  enum { COUNT = 200000 }; /* anything quadratic runs into the time limit */
  char *header = malloc(COUNT * 96), *to = header;
  *to++ = '{';
  for (int i = 0; i < COUNT; i++)
    to += sprintf(to, "%s\"t%d\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "", i, i,
                  i + 1);
  strcpy(to, "}");
  bytes b = safetensors(header, calloc(1, COUNT), COUNT);
  char error[READER_ERROR_SIZE];
  reader *r;
  cr_assert_eq(reader_open_memory(&r, b.data, b.size, "a.safetensors", error), 0, "%s", error);
  cr_assert_eq(reader_count(r), COUNT);
  for (size_t i = 0; i < COUNT; i++) cr_assert_eq(reader_get(r, i)->problem, NULL);
  reader_close(r);
}

/* ---- Names ----------------------------------------------------------------------------------------------------------- */

#define BAD "\xef\xbf\xbd"

Test(readers, names_are_valid_text_whatever_the_file_says) {
  static const char *const rows[][2] = {
      {"plain.weight", "plain.weight"},
      {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
      {"a\\nb\\u001b[31m", "a" BAD "b" BAD "[31m"},
      {"\x7f", BAD},
      {"\xc2\x85", BAD BAD}, /* a control of U+0080..U+009F */
      {"\xc0\xaf", BAD BAD}, /* overlong */
      {"\xe0\x80\xaf", BAD BAD BAD},
      {"\xed\xa0\x80", BAD BAD BAD}, /* a surrogate */
      {"\xf4\x90\x80\x80", BAD BAD BAD BAD},
      {"\xff" "a\xc3", BAD "a" BAD},
      {"\x80", BAD},
      {"", ""},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char header[256], error[READER_ERROR_SIZE];
    snprintf(header, sizeof header, "{\"%s\":%s}", rows[i][0], T("F32", "[6]", 0, 24));
    bytes b = safetensors(header, six, sizeof six);
    reader *r;
    cr_assert_eq(reader_open_memory(&r, b.data, b.size, "a.safetensors", error), 0, "row %zu: %s", i, error);
    cr_assert_str_eq(reader_get(r, 0)->name, rows[i][1], "row %zu: \"%s\"", i, reader_get(r, 0)->name);
    reader_close(r);
    free(b.data);
  }
}
