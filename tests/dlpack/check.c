/* check.c - include/actscope_dlpack.h by DLTensors made by hand; compiled as C99, C11 and C++11 by tests/run. Prints what is
 * wrong and ends with 1. */
#include <stdio.h>
#include <string.h>

#include "actscope_dlpack.h"

static int wrong;
#define CHECK(ok) do { if (!(ok)) printf("line %d: %s\n", __LINE__, #ok), wrong = 1; } while (0)

static int64_t shape[17] = {3, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, strides[17] = {-1, 3};
static float data[12];

static DLTensor make(int device, int code, int bits) {
  DLTensor t;
  memset(&t, 0, sizeof t);
  t.data = data, t.ndim = 2, t.shape = shape;
  t.device.device_type = (DLDeviceType)device, t.device.device_id = 5;
  t.dtype.code = (uint8_t)code, t.dtype.bits = (uint8_t)bits, t.dtype.lanes = 1;
  return t;
}

/* Fails with the status and touches nothing. */
static int refused(const DLTensor *t, actscope_status with) {
  actscope_tensor out, before;
  actscope_device device = ACTSCOPE_DEVICE_AUTO;
  int32_t index = -7;
  memset(&out, 0x5a, sizeof out);
  before = out;
  return actscope_from_dlpack(t, &out, &device, &index) == with && !memcmp(&out, &before, sizeof out) &&
         device == ACTSCOPE_DEVICE_AUTO && index == -7;
}

static void check_types(void) {
  /* code, bits, what it is; -1: nothing of ours */
  static const int types[][3] = {{2, 32, ACTSCOPE_FLOAT32}, {2, 16, ACTSCOPE_FLOAT16}, {2, 64, ACTSCOPE_FLOAT64},
                                 {4, 16, ACTSCOPE_BFLOAT16}, {10, 8, ACTSCOPE_FLOAT8_E4M3}, {12, 8, ACTSCOPE_FLOAT8_E5M2},
                                 {0, 32, -1}, {1, 8, -1}, {2, 8, -1}, {2, 128, -1}, {3, 64, -1}, {4, 32, -1}, {5, 64, -1},
                                 {6, 8, -1}, {7, 8, -1}, {8, 8, -1}, {9, 8, -1}, {11, 8, -1}, {13, 8, -1}, {14, 8, -1},
                                 {10, 16, -1}, {17, 4, -1}};
  for (size_t k = 0; k < sizeof types / sizeof *types; ++k) {
    DLTensor t = make(1, types[k][0], types[k][1]);
    actscope_tensor out;
    if (types[k][2] < 0) CHECK(refused(&t, ACTSCOPE_UNSUPPORTED));
    else CHECK(actscope_from_dlpack(&t, &out, NULL, NULL) == ACTSCOPE_OK && (int)out.dtype == types[k][2]);
    t.dtype.lanes = 4;
    CHECK(refused(&t, ACTSCOPE_UNSUPPORTED));
  }
}

static void check_devices(void) {
  for (int kind = 0; kind < 20; ++kind) {
    const int host = kind == 1 || kind == 3, gpu = kind == 2 || kind == 13;
    DLTensor t = make(kind, 2, 32);
    actscope_tensor out;
    actscope_device device = ACTSCOPE_DEVICE_AUTO;
    int32_t index = -7;
    if (!host && !gpu) {
      CHECK(refused(&t, ACTSCOPE_UNSUPPORTED));
      continue;
    }
    CHECK(actscope_from_dlpack(&t, &out, &device, &index) == ACTSCOPE_OK);
    CHECK(device == (host ? ACTSCOPE_DEVICE_CPU : ACTSCOPE_DEVICE_CUDA) && index == (host ? 0 : 5));
  }
}

static void check_layout(void) {
  DLTensor t = make(1, 2, 32);
  actscope_tensor out;
  CHECK(actscope_from_dlpack(&t, &out, NULL, NULL) == ACTSCOPE_OK);
  CHECK(out.data == data && out.ndim == 2 && out.shape == shape && out.strides == NULL);
  t.byte_offset = 8, t.strides = strides;
  CHECK(actscope_from_dlpack(&t, &out, NULL, NULL) == ACTSCOPE_OK);
  CHECK(out.data == data + 2 && out.strides == strides);
  t.data = NULL; /* an empty tensor may have none, whatever its offset */
  CHECK(actscope_from_dlpack(&t, &out, NULL, NULL) == ACTSCOPE_OK && out.data == NULL);
  t = make(1, 2, 32);
  t.ndim = 0, t.shape = NULL;
  CHECK(actscope_from_dlpack(&t, &out, NULL, NULL) == ACTSCOPE_OK && out.ndim == 0);
  t.ndim = 1;
  CHECK(refused(&t, ACTSCOPE_INVALID_ARGUMENT));
  t.shape = shape, t.ndim = ACTSCOPE_MAX_DIMS;
  CHECK(actscope_from_dlpack(&t, &out, NULL, NULL) == ACTSCOPE_OK && out.ndim == ACTSCOPE_MAX_DIMS);
  t.ndim = ACTSCOPE_MAX_DIMS + 1;
  CHECK(refused(&t, ACTSCOPE_INVALID_ARGUMENT));
  t.ndim = -1;
  CHECK(refused(&t, ACTSCOPE_INVALID_ARGUMENT));
  CHECK(refused(NULL, ACTSCOPE_INVALID_ARGUMENT));
  t.ndim = 1;
  CHECK(actscope_from_dlpack(&t, NULL, NULL, NULL) == ACTSCOPE_INVALID_ARGUMENT);
}

int main(void) {
  check_types();
  check_devices();
  check_layout();
  return wrong;
}
