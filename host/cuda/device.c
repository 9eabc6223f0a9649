/* device.c - which GPUs this build can use, asked once a process. Nothing here creates a context. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/runtime.h"
#include "error.h"
#include "plan.h"

enum { DEVICES = 64 };
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct cuda_device devices[DEVICES];
static int ordinals[DEVICES], usable; /* of the usable ones */
static char reason[256];

/* Do the kernels of this build run on compute capability major.minor? The list is that of CUDA_ARCHS: "90a" is 9.0
 * alone, "80" is 8.0 and later minors, "PTX NN" is everything from NN on. */
static int kernels_fit(int major, int minor) {
  const char *at = ACTSCOPE_CUDA_ARCHS;
  int have = major * 10 + minor;
  while (*at) {
    int ptx = strncmp(at, "PTX ", 4) == 0;
    char *end;
    long built = strtol(at + (ptx ? 4 : 0), &end, 10);
    int exact = *end == 'a';
    if (ptx ? have >= built : exact ? have == built : built / 10 == major && have >= built) return 1;
    while (*end && *end != ' ') ++end;
    while (*end == ' ') ++end;
    if (end == at) break;
    at = end;
  }
  return 0;
}

static void look(void) {
  int count = 0, error = actscope_cuda_devices(&count);
  if (error || count == 0) {
    snprintf(reason, sizeof reason, "%s", error ? actscope_cuda_no_device_text(error) : "no NVIDIA GPU");
    return;
  }
  for (int i = 0; i < count && usable < DEVICES; ++i) {
    struct cuda_device *d = &devices[usable];
    error = actscope_cuda_describe(i, d);
    if (error) snprintf(reason, sizeof reason, "GPU %d: %s", i, actscope_cuda_no_device_text(error));
    else if (!kernels_fit(d->major, d->minor))
      snprintf(reason, sizeof reason, "%s is sm_%d%d; the kernels of this build are for sm %s", d->name, d->major, d->minor,
               ACTSCOPE_CUDA_ARCHS);
    else ordinals[usable++] = i;
  }
  if (usable > 0) reason[0] = 0;
}

const char *actscope_no_gpu_reason(void) {
  pthread_once(&once, look);
  return reason;
}

int actscope_cuda_built(void) { return 1; }

/* Is there machine code for exactly sm_<arch>, "90a"? */
static int built_for(const char *arch) {
  const size_t length = strlen(arch);
  for (const char *at = ACTSCOPE_CUDA_ARCHS; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
    if (strncmp(at, "PTX ", 4) == 0) at += 4;
    else if (strncmp(at, arch, length) == 0 && (at[length] == 0 || at[length] == ' ')) return 1;
  }
  return 0;
}

actscope_status actscope_cuda_wants_wgmma(int ordinal, int *wgmma) {
  const char *name = "ACTSCOPE_CORRELATION_KERNEL", *text = getenv(name);
  *wgmma = 0;
  if (!text || !*text || strcmp(text, "auto") == 0 || strcmp(text, "mma") == 0) return ACTSCOPE_OK;
  if (strcmp(text, "wgmma") != 0) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s=%.40s: auto, mma or wgmma", name, text);
  if (!built_for("90a"))
    return actscope_fail(ACTSCOPE_UNSUPPORTED, "%s=wgmma: this build has kernels for sm %s, not for sm_90a", name, ACTSCOPE_CUDA_ARCHS);
  struct cuda_device d;
  int error = actscope_cuda_describe(ordinal, &d);
  if (error) return actscope_cuda_fail(error, "GPU %d", ordinal);
  if (d.major != 9 || d.minor != 0)
    return actscope_fail(ACTSCOPE_UNSUPPORTED, "%s=wgmma: %s is sm_%d%d, and that kernel for sm_90 alone", name, d.name, d.major, d.minor);
  *wgmma = 1;
  return ACTSCOPE_OK;
}

int actscope_cuda_count(void) {
  pthread_once(&once, look);
  return usable;
}

int actscope_cuda_has(int ordinal) {
  for (int i = 0; i < actscope_cuda_count(); ++i)
    if (ordinals[i] == ordinal) return 1;
  return 0;
}

void actscope_cuda_info(int i, actscope_device_info *info) {
  const struct cuda_device *d = &devices[i];
  info->device = ACTSCOPE_DEVICE_CUDA;
  info->index = ordinals[i];
  snprintf(info->name, sizeof info->name, "%s", d->name);
  snprintf(info->backend, sizeof info->backend, "sm_%d%d", d->major, d->minor);
  info->units = d->units;
  info->memory_bytes = d->memory;
}

void actscope_cuda_memory(int index, actscope_memory *memory) {
  if (!actscope_cuda_has(index)) return;
  actscope_cuda_memory_info(index, memory);
}
