/* actscope_dlpack.h - a DLTensor (DLPack) as an actscope_tensor: one function, nothing to link.
 *
 *   #include <dlpack/dlpack.h>     or a copy of it, such as PyTorch's <ATen/dlpack.h>; without one before it, it is looked for
 *   #include <actscope_dlpack.h>
 *   if (actscope_from_dlpack(&managed->dl_tensor, &tensor, NULL, NULL) == ACTSCOPE_OK) actscope_analyze(&tensor, ...);
 *
 * Compiles as C99, C11 and C++11. */
#ifndef ACTSCOPE_DLPACK_H
#define ACTSCOPE_DLPACK_H

#include "actscope.h"

#ifndef DLPACK_DLPACK_H_ /* the guard of DLPack's own header and of its copies */
#include <dlpack/dlpack.h>
#endif

/* Describes `from` in *tensor, which shares its data, shape and strides: nothing is copied, and `from` must outlive it. The
 * data must be ready: streams are between the caller and the producer. *device is where the data are: CPU for host memory,
 * pinned or not, else CUDA, then with *index the GPU's number, else 0; either may be NULL. Fails without touching them or
 * actscope_last_error():
 *   INVALID_ARGUMENT  from or tensor is NULL, the number of dimensions is outside 0 .. ACTSCOPE_MAX_DIMS, or shape is missing
 *   UNSUPPORTED       a type that actscope_dtype has no name for, vectors of elements, or a device that is neither host nor CUDA
 * Extents, alignment and strides are checked by the call that the tensor is given to. */
static inline actscope_status actscope_from_dlpack(const DLTensor *from, actscope_tensor *tensor, actscope_device *device,
                                                   int32_t *index) {
  /* By number: older DLPack headers do not name them all. Code 8, e4m3 with infinities, is another type than 10, e4m3fn. */
  static const struct { int code, bits; actscope_dtype dtype; } known[] = {
      {2, 32, ACTSCOPE_FLOAT32},  {2, 16, ACTSCOPE_FLOAT16},      {2, 64, ACTSCOPE_FLOAT64},
      {4, 16, ACTSCOPE_BFLOAT16}, {10, 8, ACTSCOPE_FLOAT8_E4M3}, {12, 8, ACTSCOPE_FLOAT8_E5M2}};
  enum { KNOWN = sizeof known / sizeof *known, HOST = 1, CUDA = 2, CUDA_PINNED = 3, CUDA_MANAGED = 13 };
  int kind, type = 0;
  if (!from || !tensor || from->ndim < 0 || from->ndim > ACTSCOPE_MAX_DIMS || (from->ndim > 0 && !from->shape))
    return ACTSCOPE_INVALID_ARGUMENT;
  kind = (int)from->device.device_type;
  while (type < KNOWN && (known[type].code != from->dtype.code || known[type].bits != from->dtype.bits)) ++type;
  if (type == KNOWN || from->dtype.lanes != 1) return ACTSCOPE_UNSUPPORTED;
  if (kind != HOST && kind != CUDA && kind != CUDA_PINNED && kind != CUDA_MANAGED) return ACTSCOPE_UNSUPPORTED;
  tensor->data = from->data ? (const char *)from->data + from->byte_offset : NULL;
  tensor->dtype = known[type].dtype;
  tensor->ndim = from->ndim;
  tensor->shape = from->shape;
  tensor->strides = from->strides;
  if (device) *device = kind == HOST || kind == CUDA_PINNED ? ACTSCOPE_DEVICE_CPU : ACTSCOPE_DEVICE_CUDA;
  if (index) *index = kind == HOST || kind == CUDA_PINNED ? 0 : from->device.device_id;
  return ACTSCOPE_OK;
}

#endif /* ACTSCOPE_DLPACK_H */
