// profile.cu - one read of all layers: moments and special values, value histogram, sketch of distinct values.
//
// Contents   how it works · choosing the kernel · entry points
//            profile.cuh: loading, counters   profile_narrow.cuh: 16- and 8-bit types   profile_wide.cuh: float32, float64
//
// Layout     All layers of one dtype go in one launch (registers and shared memory are set by the dtype, and a network
//            has one or two). A layer is cut into 16-byte vectors, 512 of them make a unit, and block b of G takes the
//            units [b U / G, (b+1) U / G) of all layers together: equal work, no matter how layers differ in size.
//            What precedes the first aligned vector and what follows the last is added element by element. Strided
//            layers gather their elements into the same vectors, and cost more.
// Merging    A block leaves one partial state for each layer it touched, at place b + (number of the layer): no two
//            blocks share one, and a layer's partials lie side by side. The last block of a layer merges them in that
//            order. Float results so depend on the device's size, and on nothing that changes from run to run.
// Moments    float32: a thread adds its elements of a batch (32) in float32 about a pivot of its own, the mean of its
//            first elements, times a power of two that brings their spread to about 1, so that fourth powers neither
//            overflow nor vanish; then flushes into doubles. 6 operations an element. A sum that is not finite in the
//            end (NaN, infinity, a subnormal's logarithm, an outlier) sends the batch through doubles one by one, and
//            an outlier moves the pivot. float64 takes that way always; values beyond 2^+-192 leave a state with an
//            exponent, as on the CPU (core/moments.h).
// Histogram  Narrow types: the bits are the bin, and moments, quantiles and distinct count follow from the counts alone,
//            exactly. Counters are 16 bits wide in shared memory, two to a word; a sweep moves what reached 16,384 on.
//            8-bit types count pairs of neighbours, two elements an atomic, and split them in the end.
//            Zeros have counters of their own for each lane: after a ReLU they would all meet on one.
// Sketch     Blocks exchange bits with the layer's sketch after 1, 2, 4 .. batches. Ranks that every word has by then filter
//            the hashes: one test an element for most, and a mark for a pair that may bring something new. What is marked
//            is read and hashed again when the batch is through. The state is the same, bit by bit, with and without.
// Cost       Instructions an element, float32, everything, once filtered: 6 moments, 1 extrema, 1 |x|, 2 entropy, 2 zeros,
//            4 histogram, 8.5 hash and filter, 3 loads, flush and loop; docs/performance.md has the counts read from machine
//            code.
#include "profile_narrow.cuh"
#include "profile_wide.cuh"

namespace {
// ---- Choosing the kernel -------------------------------------------------------------------------------------------------
// What a launch of this dtype and these statistics is made of, and calls f(kernel, dynamic shared memory).
template <actscope_dtype kType, class F>
cudaError_t choose_wide(uint32_t statistics, int sketch_bits, bool full, F f) {
  const bool moments = (statistics & ACTSCOPE_PROFILE) != 0, histogram = (statistics & ACTSCOPE_QUANTILES) != 0;
  const bool sketch = (statistics & ACTSCOPE_DISTINCT) != 0;
  const size_t window = full ? Place<kType, true>::kWindow : Place<kType, false>::kWindow;
  const size_t bytes = (histogram && kType == ACTSCOPE_FLOAT32 ? window * 2 : 0) +
                       (sketch && sketch_bits <= TUNE_SKETCH_SHARED_BITS ? (size_t)4 << sketch_bits : 0);
  if (!moments) return f(profile_wide<kType, false, false, kShared, true>, bytes);
  if (!histogram)
    return sketch ? f(profile_wide<kType, true, false, kShared, true>, bytes) : f(profile_wide<kType, true, false, kNone, true>, bytes);
  if (full || kType != ACTSCOPE_FLOAT32)
    return sketch ? f(profile_wide<kType, true, true, kShared, true>, bytes) : f(profile_wide<kType, true, true, kNone, true>, bytes);
  constexpr actscope_dtype kWindowed = ACTSCOPE_FLOAT32;
  return sketch ? f(profile_wide<kWindowed, true, true, kShared, false>, bytes) : f(profile_wide<kWindowed, true, true, kNone, false>, bytes);
}
template <class F>
cudaError_t choose(actscope_dtype dtype, uint32_t statistics, int sketch_bits, F f) {
  size_t limit;
  cudaError_t e = gpu_shared_limit(&limit);
  if (e != cudaSuccess) return e;
  // All counters, a sketch of up to 2^14 words beside them, and 8 KiB for what the kernels declare themselves.
  size_t sketch = dtype == ACTSCOPE_FLOAT32 && (statistics & ACTSCOPE_DISTINCT) && sketch_bits <= TUNE_SKETCH_SHARED_BITS ? (size_t)4 << sketch_bits : 0;
  bool full = limit >= 65536 * 2 + sketch + 8192;
  const size_t all = (65536 + kZeroPlaces) * 2, window = (TUNE_PROFILE_WINDOW + kZeroPlaces) * 2;
  switch (dtype) {
    case ACTSCOPE_FLOAT32: return choose_wide<ACTSCOPE_FLOAT32>(statistics, sketch_bits, full, f);
    case ACTSCOPE_FLOAT64: return choose_wide<ACTSCOPE_FLOAT64>(statistics, sketch_bits, true, f);
    case ACTSCOPE_FLOAT16:
      return full ? f(profile_narrow<ACTSCOPE_FLOAT16, true>, all) : f(profile_narrow<ACTSCOPE_FLOAT16, false>, window);
    case ACTSCOPE_BFLOAT16:
      return full ? f(profile_narrow<ACTSCOPE_BFLOAT16, true>, all) : f(profile_narrow<ACTSCOPE_BFLOAT16, false>, window);
    default:  // both 8-bit types: their bits are counted alike
      return full ? f(profile_narrow<ACTSCOPE_FLOAT8_E4M3, true>, all) : f(profile_narrow<ACTSCOPE_FLOAT8_E4M3, false>, window);
  }
}

// Runs f(kernel, dynamic shared memory, blocks) for the grid of `units` units.
struct Grid {
  uint64_t units;
  unsigned *blocks;
  template <class K>
  cudaError_t operator()(K kernel, size_t dynamic) const {
    return gpu_resident_blocks(kernel, kThreads, dynamic, units, blocks);
  }
};
struct Run {
  const cuda_profile_table *table;
  struct moments *partial;
  unsigned *done;
  cudaStream_t stream;
  template <class K>
  cudaError_t start(K kernel, size_t dynamic, unsigned blocks) const {
    return gpu_launch(kernel, dim3(blocks), dim3(kThreads), dynamic, stream, *table, partial, done);
  }
  template <class Table>
  cudaError_t start(void (*kernel)(Table), size_t dynamic, unsigned blocks) const {
    return gpu_launch(kernel, dim3(blocks), dim3(kThreads), dynamic, stream, *table);
  }
  template <class K>
  cudaError_t operator()(K kernel, size_t dynamic) const {
    unsigned blocks;
    cudaError_t e = gpu_resident_blocks(kernel, kThreads, dynamic, table->units, &blocks);
    return e != cudaSuccess ? e : start(kernel, dynamic, blocks);
  }
};
}  // namespace

// ---- Entry points --------------------------------------------------------------------------------------------------------
extern "C" void actscope_cuda_profile_begin(struct cuda_profile_table *table, actscope_dtype dtype, uint32_t statistics,
                                            int sketch_bits) {
  table->dtype = dtype;
  table->statistics = statistics & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT);
  table->sketch_bits = sketch_bits;
  table->layers = table->axes = 0;
  table->units = 0;
}

extern "C" int actscope_cuda_profile_add(struct cuda_profile_table *table, const struct view *v, struct moments *moments,
                                         uint32_t *histogram, uint32_t *sketch) {
  struct cuda_profile_layer *layer = stream_add(table, v);
  if (!layer) return 0;
  layer->moments = moments, layer->histogram = histogram, layer->sketch = sketch;
  return 1;
}

// A sketch too large for shared memory is a launch of its own; the rest goes as if it had not been asked for.
static bool apart(actscope_dtype dtype, uint32_t statistics, int sketch_bits) {
  return !dtype_is_narrow(dtype) && (statistics & ACTSCOPE_DISTINCT) && sketch_bits > TUNE_SKETCH_SHARED_BITS;
}

extern "C" int actscope_cuda_profile_scratch(actscope_dtype dtype, uint32_t statistics, int sketch_bits, uint64_t *bytes) {
  unsigned blocks = 0;
  cudaError_t e = cudaSuccess;
  if (apart(dtype, statistics, sketch_bits)) statistics &= ~(uint32_t)ACTSCOPE_DISTINCT;
  if (statistics & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT)) e = choose(dtype, statistics, sketch_bits, Grid{~0ull >> 8, &blocks});
  *bytes = ((uint64_t)blocks + CUDA_PROFILE_LAYERS) * sizeof(struct moments);
  return (int)e;
}

extern "C" int actscope_cuda_profile(const struct cuda_profile_table *table, void *scratch, unsigned *counters,
                                     struct CUstream_st *stream) {
  if (table->layers == 0) return (int)cudaSuccess;
  Run run{table, static_cast<struct moments *>(scratch), counters, stream};
  uint32_t statistics = table->statistics;
  cudaError_t e = cudaSuccess;
  if (apart(table->dtype, statistics, table->sketch_bits)) {
    e = table->dtype == ACTSCOPE_FLOAT32 ? run(profile_wide<ACTSCOPE_FLOAT32, false, false, kGlobal, true>, 0)
                                         : run(profile_wide<ACTSCOPE_FLOAT64, false, false, kGlobal, true>, 0);
    statistics &= ~(uint32_t)ACTSCOPE_DISTINCT;
    if (e != cudaSuccess || statistics == 0) return (int)e;
  }
  return (int)choose(table->dtype, statistics, table->sketch_bits, run);
}
