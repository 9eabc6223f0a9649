// window.cu - steps and windows on the device: which step of which window this is, and states that outlive a step.
//
// Contents   begin · merge of arrays · entry points
//
// Clocks     Each layer has a clock in device memory: how often it was enqueued, and which step of its window this is.
//            window_begin moves the clocks of a wave's layers on, so that replays of a captured graph count as enqueues do.
//            The host begins windows anew by writing a number into pinned memory, which window_begin compares with the one
//            it saw last: no upload, no wait.
// Merging    Profile, sketch and feature states of a step lie where they always do; window_merge adds them to those that
//            are kept. Arrays are merged here, one block a stretch of kStretch entries; the few scalars are finish.cu's.
//            A window's first step overwrites, so that nothing has to be cleared. 65,536 counters are read and written
//            once, 768 KiB a layer: about a microsecond of bandwidth beside the profile's own read.
#include "gpu.cuh"
#include "kernels.h"

namespace {
constexpr int kThreads = 256;
constexpr uint64_t kStretch = 4096;  // entries of a block

__global__ void __launch_bounds__(kThreads)
window_begin(GRID_CONSTANT(cuda_window_table) t, struct cuda_finish_words *words, const struct cuda_report_header *header) {
  const unsigned long long windows = *const_cast<const volatile uint64_t *>(&header->windows);
  const unsigned long long alarms = *const_cast<const volatile uint64_t *>(&header->alarms);
  for (int k = (int)threadIdx.x; k < t.layers; k += kThreads) {
    const cuda_window_layer &layer = t.layer[k];
    struct cuda_clock c = *layer.clock;
    if (c.windows != windows) c.steps = 0, c.windows = windows;
    if (t.window && c.steps >= t.window) c.steps = 0;
    ++c.sequence, ++c.steps;
    *layer.clock = c;
    if (!layer.kept) continue;
    if (c.steps == 1) {
      *layer.kept = cuda_window_state();
      moments_init(&layer.kept->moments);
    }
    layer.kept->constant = layer.kept->nonfinite = layer.kept->dead = 0;
  }
  if (threadIdx.x == 0 && words->alarms != alarms) words->alarms = alarms, words->alarm = ~0ull;
}

__device__ __forceinline__ uint64_t blocks_of(uint64_t entries) { return (entries + kStretch - 1) / kStretch; }

__global__ void __launch_bounds__(kThreads)
window_merge(GRID_CONSTANT(cuda_window_table) t) {
  const cuda_window_layer &layer = t.layer[blockIdx.y];
  const bool first = layer.clock->steps == 1;
  const uint64_t bins = layer.counts ? dtype_bins(layer.dtype) : 0, words = layer.words ? 1ull << layer.sketch_bits : 0;
  const uint64_t features = layer.columns ? layer.features : 0;
  const uint64_t stretches[3] = {blocks_of(bins), blocks_of(words), blocks_of(features)};
  for (uint64_t b = blockIdx.x; b < stretches[0] + stretches[1] + stretches[2]; b += gridDim.x) {
    if (b < stretches[0]) {
      const uint64_t stop = (b + 1) * kStretch < bins ? (b + 1) * kStretch : bins;
      for (uint64_t i = b * kStretch + threadIdx.x; i < stop; i += kThreads) {
        uint64_t n = layer.step_counts[i];
        if (layer.step_wide) n += (uint64_t)layer.step_counts[bins + i] << 32;
        if (!first) n += layer.counts[i] + ((uint64_t)layer.counts[bins + i] << 32);
        layer.counts[i] = (uint32_t)n, layer.counts[bins + i] = (uint32_t)(n >> 32);
      }
    } else if (b < stretches[0] + stretches[1]) {
      const uint64_t from = (b - stretches[0]) * kStretch, stop = from + kStretch < words ? from + kStretch : words;
      for (uint64_t i = from + threadIdx.x; i < stop; i += kThreads)
        layer.words[i] = layer.step_words[i] | (first ? 0u : layer.words[i]);
    } else {
      const uint64_t from = (b - stretches[0] - stretches[1]) * kStretch, stop = from + kStretch < features ? from + kStretch : features;
      const double before = (double)(layer.clock->steps - 1) * (double)layer.samples;
      unsigned long long constant = 0, nonfinite = 0, dead = 0;
      for (uint64_t i = from + threadIdx.x; i < stop; i += kThreads) {
        struct column c;
        if (first) column_init(&c); else c = layer.columns[i];
        const struct column step = layer.step_columns[i];
        column_merge(&c, before, &step, (double)layer.samples);
        layer.columns[i] = c;
        constant += (unsigned long long)column_constant(&c), nonfinite += (unsigned long long)column_nonfinite(&c);
        dead += (unsigned long long)column_dead(&c);
      }
      constant = warp_sum(constant), nonfinite = warp_sum(nonfinite), dead = warp_sum(dead);
      if (threadIdx.x % 32 == 0) {
        if (constant) atomicAdd(&layer.kept->constant, constant);
        if (nonfinite) atomicAdd(&layer.kept->nonfinite, nonfinite);
        if (dead) atomicAdd(&layer.kept->dead, dead);
      }
    }
  }
}
}  // namespace

extern "C" int actscope_cuda_window_begin(const struct cuda_window_table *table, struct cuda_finish_words *words,
                                          const struct cuda_report_header *header, struct CUstream_st *stream) {
  if (table->layers == 0) return (int)cudaSuccess;
  return (int)gpu_launch(window_begin, dim3(1), dim3(kThreads), 0, stream, *table, words, header);
}

extern "C" int actscope_cuda_window_merge(const struct cuda_window_table *table, struct CUstream_st *stream) {
  uint64_t most = 0;
  for (int k = 0; k < table->layers; ++k) {
    const struct cuda_window_layer *l = &table->layer[k];
    const uint64_t bins = l->counts ? dtype_bins(l->dtype) : 0, words = l->words ? 1ull << l->sketch_bits : 0;
    const uint64_t features = l->columns ? l->features : 0;
    const uint64_t blocks = (bins + kStretch - 1) / kStretch + (words + kStretch - 1) / kStretch + (features + kStretch - 1) / kStretch;
    if (blocks > most) most = blocks;
  }
  if (most == 0) return (int)cudaSuccess;
  if (most > 1024) most = 1024;
  return (int)gpu_launch(window_merge, dim3((unsigned)most, (unsigned)table->layers), dim3(kThreads), 0, stream, *table);
}
