/* write_tensor.c - see write_tensor.h. */
#include "write_tensor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t elements(const actscope_tensor *t) {
  int64_t n = 1;
  for (int d = 0; d < t->ndim; d++) n *= t->shape[d];
  return n;
}

static uint16_t to_bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40); /* NaN stays NaN */
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t to_float16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return sign | 0x7e00;
  if (bits >= 0x477ff000) return sign | 0x7c00; /* 65520 and more round to infinity */
  if (bits < 0x38800000) {                      /* subnormal: the addition aligns and rounds the significand */
    float aligned;
    memcpy(&aligned, &bits, 4);
    aligned += 0.5f;
    memcpy(&bits, &aligned, 4);
    return sign | (uint16_t)(bits - 0x3f000000);
  }
  return sign | (uint16_t)((bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13);
}

/* Writes the elements in row-major order, whatever the strides. Returns 0, or -1. */
static int write_elements(FILE *file, const named_tensor *named) {
  const actscope_tensor *t = &named->tensor;
  int64_t n = elements(t), index[ACTSCOPE_MAX_DIMS] = {0};
  for (int64_t k = 0; k < n; k++) {
    int64_t at = k;
    if (t->strides) {
      at = 0;
      for (int d = 0; d < t->ndim; d++) at += index[d] * t->strides[d];
    }
    float value = ((const float *)t->data)[at];
    uint16_t half = named->stored == ACTSCOPE_FLOAT16 ? to_float16(value) : to_bfloat16(value);
    const void *bytes = named->stored == ACTSCOPE_FLOAT32 ? (const void *)&value : &half;
    if (fwrite(bytes, actscope_dtype_size(named->stored), 1, file) != 1) return -1;
    for (int d = t->ndim - 1; d >= 0 && ++index[d] == t->shape[d]; d--) index[d] = 0;
  }
  return 0;
}

static int finish(FILE *file, int failed) {
  int bad = failed | ferror(file);
  return (fclose(file) != 0) | (bad != 0) ? -1 : 0;
}

/* .npy: magic, version, length of a header padded with spaces so that the data begins at a multiple of 64, the header
 * as a Python dictionary, the data. */
int write_npy(const char *path, const named_tensor *named) {
  const actscope_tensor *t = &named->tensor;
  if (t->dtype != ACTSCOPE_FLOAT32 || (named->stored != ACTSCOPE_FLOAT32 && named->stored != ACTSCOPE_FLOAT16)) {
    errno = EINVAL;
    return -1;
  }
  char header[512];
  int used = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                      named->stored == ACTSCOPE_FLOAT32 ? "<f4" : "<f2");
  for (int d = 0; d < t->ndim; d++)
    used += snprintf(header + used, sizeof header - used, "%lld%s", (long long)t->shape[d],
                     t->ndim == 1      ? ","
                     : d + 1 < t->ndim ? ", "
                                       : "");
  used += snprintf(header + used, sizeof header - used, "), }");
  while ((10 + used + 1) % 64) header[used++] = ' ';
  header[used++] = '\n';
  FILE *file = fopen(path, "wb");
  if (!file) return -1;
  unsigned char lead[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)used, (unsigned char)(used >> 8)};
  return finish(file, fwrite(lead, sizeof lead, 1, file) != 1 || fwrite(header, used, 1, file) != 1 ||
                          write_elements(file, named));
}

/* .safetensors: length of the header as 64 bits, the header as JSON (name: dtype, shape, place of the data behind the
 * header), padded with spaces to a multiple of 8, the data of all tensors without gaps. */
int write_safetensors(const char *path, const named_tensor *tensors, int count) {
  char *header = NULL;
  size_t size = 0;
  FILE *text = open_memstream(&header, &size);
  if (!text) return -1;
  unsigned long long place = 0;
  fputc('{', text);
  for (int i = 0; i < count; i++) {
    const actscope_tensor *t = &tensors[i].tensor;
    actscope_dtype stored = tensors[i].stored;
    if (t->dtype != ACTSCOPE_FLOAT32 || stored > ACTSCOPE_BFLOAT16) {
      fclose(text);
      free(header);
      errno = EINVAL;
      return -1;
    }
    fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", tensors[i].name,
            stored == ACTSCOPE_FLOAT32   ? "F32"
            : stored == ACTSCOPE_FLOAT16 ? "F16"
                                         : "BF16");
    for (int d = 0; d < t->ndim; d++) fprintf(text, "%s%lld", d ? "," : "", (long long)t->shape[d]);
    unsigned long long end = place + (unsigned long long)elements(t) * actscope_dtype_size(stored);
    fprintf(text, "],\"data_offsets\":[%llu,%llu]}", place, end);
    place = end;
  }
  fputc('}', text);
  for (long at = ftell(text); at % 8; at++) fputc(' ', text);
  FILE *file = fclose(text) == 0 ? fopen(path, "wb") : NULL;
  if (!file) {
    free(header);
    return -1;
  }
  uint64_t length = size;
  int failed = fwrite(&length, 8, 1, file) != 1 || fwrite(header, size, 1, file) != 1;
  free(header);
  for (int i = 0; i < count && !failed; i++) failed = write_elements(file, &tensors[i]);
  return finish(file, failed);
}
