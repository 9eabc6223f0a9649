/* no_cuda.c - in place of host/cuda in a build without CUDA. */
#include "plan.h"

const char *actscope_no_gpu_reason(void) { return "built without CUDA"; }
int actscope_cuda_built(void) { return 0; }
const struct plan_backend *actscope_cuda_backend(void) { return NULL; }
int actscope_cuda_count(void) { return 0; }
int actscope_cuda_has(int ordinal) { (void)ordinal; return 0; }
void actscope_cuda_info(int i, actscope_device_info *info) { (void)i, (void)info; }
void actscope_cuda_memory(int index, actscope_memory *memory) { (void)index, (void)memory; }
