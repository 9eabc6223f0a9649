/* info.c - names, version, and what this build and machine can do. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cpu/dispatch.h"
#include "error.h"
#include "memory.h"
#include "plan.h"

double actscope_value_edge(int k) {
  if (k < 1) return 0;
  return k > ACTSCOPE_VALUE_BUCKETS / 2 + 1 ? INFINITY : ldexp(k % 2 ? 1 : 1.5, (k - 1) / 2 - 40);
}

const double actscope_quantile_levels[ACTSCOPE_QUANTILE_COUNT] = {0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99};
const double actscope_pair_thresholds[ACTSCOPE_THRESHOLD_COUNT] = {0.5, 0.7, 0.9, 0.95, 0.99};

const char *actscope_version(void) { return ACTSCOPE_VERSION_STRING; }

static const struct {
  const char *name;
  size_t size;
} dtypes[] = {[ACTSCOPE_FLOAT32] = {"float32", 4},           [ACTSCOPE_FLOAT16] = {"float16", 2},
              [ACTSCOPE_BFLOAT16] = {"bfloat16", 2},         [ACTSCOPE_FLOAT8_E4M3] = {"float8_e4m3", 1},
              [ACTSCOPE_FLOAT8_E5M2] = {"float8_e5m2", 1},   [ACTSCOPE_FLOAT64] = {"float64", 8}};

const char *actscope_dtype_name(actscope_dtype dtype) {
  return (unsigned)dtype < sizeof dtypes / sizeof *dtypes ? dtypes[dtype].name : "unknown";
}
size_t actscope_dtype_size(actscope_dtype dtype) {
  return (unsigned)dtype < sizeof dtypes / sizeof *dtypes ? dtypes[dtype].size : 0;
}

/* The processor's own name, from the kernel's list; the machine's architecture where it has none. */
static void cpu_name(char *out, size_t size) {
  snprintf(out, size, "CPU");
  FILE *f = fopen("/proc/cpuinfo", "r");
  if (!f) return;
  char line[256];
  while (fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (!colon || strncmp(line, "model name", 10) != 0) continue;
    colon += 1 + strspn(colon + 1, " ");
    colon[strcspn(colon, "\n")] = 0;
    snprintf(out, size, "%s", colon);
    break;
  }
  fclose(f);
}

actscope_status actscope_devices(actscope_device_info *devices, size_t capacity, size_t *count) {
  if (!count || (!devices && capacity))
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "%s is NULL", count ? "devices" : "count");
  int gpus = actscope_cuda_count();
  *count = 1 + (size_t)gpus;
  if (capacity == 0) return ACTSCOPE_OK;
  memset(&devices[0], 0, sizeof devices[0]);
  devices[0].device = ACTSCOPE_DEVICE_CPU;
  cpu_name(devices[0].name, sizeof devices[0].name);
  snprintf(devices[0].backend, sizeof devices[0].backend, "%s", actscope_cpu_isa_name(actscope_cpu_isa()));
  devices[0].units = omp_get_max_threads();
  devices[0].memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGE_SIZE);
  for (int i = 0; i < gpus && (size_t)i + 1 < capacity; ++i) {
    memset(&devices[i + 1], 0, sizeof devices[i + 1]);
    actscope_cuda_info(i, &devices[i + 1]);
  }
  return ACTSCOPE_OK;
}

/* A line of /proc/self/status, in bytes; 0 where the system has none. */
static uint64_t status_bytes(const char *key) {
  FILE *f = fopen("/proc/self/status", "r");
  char line[256];
  unsigned long long kib = 0;
  while (f && fgets(line, sizeof line, f))
    if (strncmp(line, key, strlen(key)) == 0) {
      sscanf(line + strlen(key), " %llu", &kib);
      break;
    }
  if (f) fclose(f);
  return kib * 1024;
}

actscope_status actscope_memory_usage(int32_t index, actscope_memory *memory) {
  if (!memory) return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "memory is NULL");
  memset(memory, 0, sizeof *memory);
  memory->held_bytes = actscope_memory_held();
  memory->held_peak_bytes = actscope_memory_peak();
  memory->resident_bytes = status_bytes("VmRSS:");
  memory->resident_peak_bytes = status_bytes("VmHWM:");
  actscope_cuda_memory(index, memory);
  return ACTSCOPE_OK;
}
