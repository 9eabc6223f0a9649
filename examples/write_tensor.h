/* write_tensor.h - writes actscope's tensors as .npy and .safetensors, in under 200 lines: enough for an example to
 * keep what it measured, and a description of both formats by doing. Little-endian machines. */
#ifndef WRITE_TENSOR_H
#define WRITE_TENSOR_H

#include "actscope.h"

/* A fp32 tensor (any strides), its name, and the type its elements are rounded to in the file: FLOAT32, FLOAT16 or
 * BFLOAT16, to nearest, ties to even. The name goes into a JSON header as it is: no quotes, no backslashes. */
typedef struct named_tensor {
  const char *name;
  actscope_tensor tensor;
  actscope_dtype stored;
} named_tensor;

/* Both return 0, or -1 with errno. NumPy knows no bfloat16: write_npy refuses it with EINVAL. */
int write_npy(const char *path, const named_tensor *tensor);
int write_safetensors(const char *path, const named_tensor *tensors, int count);

#endif
