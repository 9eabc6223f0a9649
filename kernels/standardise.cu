// standardise.cu - feature moments, which features take part in correlations, and their z-scores in binary16.
//
// Contents   layers · columns · select · standardise · entry points
//
// columns      One thread sums its samples of one feature in doubles about its first sample (3 operations an element,
//              bound by memory where double runs at half the rate of float32), the block merges threads in order, and the
//              last of the blocks that share features merges those. Which of features and samples a warp runs along
//              depends on which lie side by side: any strides, channels included, without a transposed copy.
// select       One block a layer: the valid features in order (the list), their number, and the health counts. Sampled
//              correlations shuffle the list by core/pairs.h, by the layer's clock: the pairs are those of every other
//              backend at this step, and other ones at each replay of a graph.
// standardise  Row k of z is feature list[k]: (x - mean) sqrt(N / m2) rounded to binary16, which |z| <= sqrt(N - 1) never
//              leaves; `lo` holds what the rounding lost, times 2^11. Rows end in zeros up to a multiple of 32 samples.
//              weight[k] = 1 / ||row||, of the row as rounded, so that r = weight_i weight_j <row_i, row_j> is 1 for a
//              feature and itself. Tiles of 32 features by 64 samples turn in shared memory. Where features are rotated
//              (nulls.cu) a sample is read from another place, and nothing else changes; for CKA (cka.cu) all features are
//              multiplied by the same number.
#include "gpu.cuh"
#include "kernels.h"
#include "sides.cuh"
#include "tuning.h"

namespace {
constexpr int kThreads = 256, kTileFeatures = 32, kTileSamples = 64;

// ---- Layers ----------------------------------------------------------------------------------------------------------
__host__ __device__ inline uint64_t groups_of(const cuda_layer &layer) {
  const uint64_t each = layer.features_adjacent ? 32 : 8;
  return (layer.features + each - 1) / each;
}
__host__ __device__ inline uint64_t slices_of(const cuda_layer &layer) {
  uint64_t most = (layer.samples + TUNE_COLUMNS_SLICE - 1) / TUNE_COLUMNS_SLICE, groups = groups_of(layer);
  uint64_t fair = groups < TUNE_COLUMNS_BLOCKS ? TUNE_COLUMNS_BLOCKS / (groups > 0 ? groups : 1) : 1;
  uint64_t slices = most < fair ? most : fair;
  return slices > 0 ? slices : 1;
}

// ---- Columns ---------------------------------------------------------------------------------------------------------
// Merges the sample lanes of each feature of the block, in order; valid in the threads of the first sample lane. A barrier
// must lie between two calls.
__device__ __forceinline__ struct column merge_lanes(struct column mine, double n, int feature, int sample, int features,
                                                     int samples, struct column *shared, double *counts) {
  shared[sample * features + feature] = mine, counts[sample * features + feature] = n;
  __syncthreads();
  if (sample == 0)
    for (int s = 1; s < samples; ++s) {
      column_merge(&mine, n, &shared[s * features + feature], counts[s * features + feature]);
      n += counts[s * features + feature];
    }
  return mine;
}

template <actscope_dtype kType>
__global__ void __launch_bounds__(kThreads, 2) columns_kernel(GRID_CONSTANT(cuda_layers) t, struct column *partial, unsigned *done) {
  __shared__ struct column shared[kThreads];
  __shared__ double counts[kThreads];
  const cuda_layer &layer = t.layer[layer_of(t, blockIdx.x)];
  const Sides sides{t, layer};
  const uint32_t block = blockIdx.x - layer.first_block, groups = (uint32_t)groups_of(layer), slices = (uint32_t)slices_of(layer);
  const uint32_t group = block % groups, slice = block / groups;
  const int across = layer.features_adjacent ? 32 : 8, lanes = kThreads / across;
  const int feature = layer.features_adjacent ? threadIdx.x % 32 : threadIdx.x / 32;
  const int sample = layer.features_adjacent ? threadIdx.x / 32 : threadIdx.x % 32;
  const uint64_t f = (uint64_t)group * across + (uint64_t)feature;
  const bool real = f < layer.features;
  const uint64_t first = layer.samples * slice / slices, stop = layer.samples * (slice + 1) / slices;

  struct column mine;
  column_init(&mine);
  double n = 0;
  if (real) {
    const int64_t base = sides.feature(f);
    double pivot = 0, s1 = 0, s2 = 0, low = mine.min, high = mine.max, top = -1;
    bool bad = false;
#pragma unroll 4
    for (uint64_t s = first + (uint64_t)sample; s < stop; s += (uint64_t)lanes) {
      double x = dtype_load(kType, layer.data, base + sides.sample(s));
      if (n == 0) pivot = x;
      double d = x - pivot;
      s1 += d, s2 = fma(d, d, s2);
      low = x < low ? x : low, high = x > high ? x : high;
      bad |= !core_finite(x);
      top = fabs(x) > top ? fabs(x) : top;
      n += 1;
    }
    if (n > 0) {
      double e = s1 / n;
      mine.mean = pivot + e, mine.m2 = s2 - s1 * e, mine.min = low, mine.max = high;
      if (mine.m2 < 0) mine.m2 = 0;
      if (bad) mine.min = core_nan(), mine.max = top;
    }
  }
  mine = merge_lanes(mine, n, feature, sample, across, lanes, shared, counts);
  if (slices == 1) {
    if (sample == 0 && real) layer.columns[f] = mine;
    return;
  }
  if (sample == 0 && real) partial[layer.first_partial + (uint64_t)slice * layer.features + f] = mine;
  if (!last_block(done + layer.first_counter + group, slices)) return;
  // Each sample lane merges a run of slices, then the lanes in order: the order is that of the slices.
  column_init(&mine);
  n = 0;
  if (real)
    for (uint32_t s = slices * (uint32_t)sample / (uint32_t)lanes; s < slices * (uint32_t)(sample + 1) / (uint32_t)lanes; ++s) {
      double m = (double)(layer.samples * (s + 1) / slices - layer.samples * s / slices);
      struct column part = partial[layer.first_partial + (uint64_t)s * layer.features + f];
      column_merge(&mine, n, &part, m);
      n += m;
    }
  mine = merge_lanes(mine, n, feature, sample, across, lanes, shared, counts);
  if (sample == 0 && real) layer.columns[f] = mine;
}

// ---- Select ----------------------------------------------------------------------------------------------------------
constexpr int kSelectThreads = 1024;
__global__ void __launch_bounds__(kSelectThreads) select_kernel(GRID_CONSTANT(cuda_layers) t) {
  __shared__ uint32_t warps[32], base;
  __shared__ unsigned long long sums[3 * 33];
  const cuda_layer &layer = t.layer[blockIdx.x];
  const int tid = (int)threadIdx.x, lane = tid % 32, warp = tid / 32;
  uint32_t *ordered = layer.pairs_wanted ? layer.order : layer.list;
  unsigned long long health[3] = {0, 0, 0};  // constant, non-finite, dead
  if (tid == 0) base = 0;
  for (uint64_t from = 0; from < layer.features; from += kSelectThreads) {
    const uint64_t f = from + (uint64_t)tid;
    bool valid = false;
    if (f < layer.features) {
      struct column c = layer.columns[f];
      valid = column_valid(&c) != 0;
      if (layer.other_columns) {
        struct column other = layer.other_columns[f];
        valid = valid && column_valid(&other) != 0;
      }
      health[0] += (unsigned long long)column_constant(&c);
      health[1] += (unsigned long long)column_nonfinite(&c);
      health[2] += (unsigned long long)column_dead(&c);
    }
    const unsigned ballot = __ballot_sync(kFullMask, valid);
    if (lane == 0) warps[warp] = (uint32_t)__popc(ballot);
    __syncthreads();
    uint32_t at = base;
    for (int w = 0; w < warp; ++w) at += warps[w];
    if (valid) ordered[at + (uint32_t)__popc(ballot & ((1u << lane) - 1))] = (uint32_t)f;
    __syncthreads();
    if (tid == kSelectThreads - 1) base = at + (uint32_t)__popc(ballot);  // warps[] may be written again
  }
  block_sum<kSelectThreads>(health, sums);
  const uint64_t valid = base;
  if (tid == 0) {
    layer.features_out->valid = valid;
    layer.features_out->constant = health[0], layer.features_out->nonfinite = health[1], layer.features_out->dead = health[2];
  }
  if (layer.pairs_wanted == 0 || valid == 0) return;
  struct random_permutation order;
  pairs_permutation(&order, valid, layer.seed, layer.clock ? layer.clock->sequence - 1 : 0);
  for (uint64_t k = (uint64_t)tid; k < valid; k += kSelectThreads) layer.list[k] = ordered[random_permute(&order, k)];
}

// ---- Standardise -----------------------------------------------------------------------------------------------------
// Slices of samples follow from the samples alone, so that a norm has the same bits in a strip of any length.
__host__ __device__ inline uint64_t z_slices(const cuda_layer &layer) {
  const uint64_t slices = (layer.pitch + TUNE_SCORES_SLICE - 1) / TUNE_SCORES_SLICE;
  return slices < 1 ? 1 : slices < TUNE_SCORES_SLICES ? slices : TUNE_SCORES_SLICES;
}

template <actscope_dtype kType>
__global__ void __launch_bounds__(kThreads, 2) standardise_kernel(GRID_CONSTANT(cuda_layers) t, double *partial, unsigned *done) {
  __shared__ float tile[kTileFeatures][kTileSamples + 1];
  __shared__ double mean[kTileFeatures], scale[kTileFeatures];
  __shared__ int64_t base[kTileFeatures];
  __shared__ uint32_t rotation[kTileFeatures];
  const cuda_layer &layer = t.layer[layer_of(t, blockIdx.x)];
  const Sides sides{t, layer};
  const int tid = (int)threadIdx.x, lane = tid % 32, warp = tid / 32;
  const uint32_t block = blockIdx.x - layer.first_block;
  const uint32_t groups = (uint32_t)((layer.rows + kTileFeatures - 1) / kTileFeatures), slices = (uint32_t)z_slices(layer);
  const uint32_t group = block % groups, slice = block / groups;
  const uint64_t valid = layer.features_out->valid, row0 = (uint64_t)group * kTileFeatures;
  if (layer.first_row + row0 >= valid) return;  // all slices of the group alike
  if (tid < kTileFeatures) {
    const uint64_t k = layer.first_row + row0 + (uint64_t)tid;
    mean[tid] = scale[tid] = 0, base[tid] = 0, rotation[tid] = 0;
    if (k < valid && row0 + (uint64_t)tid < layer.rows) {
      const uint32_t f = layer.list[k];
      struct column c = layer.columns[f];
      mean[tid] = c.mean, scale[tid] = (layer.unscaled ? *layer.unscaled : column_scale(&c)) * sqrt((double)layer.samples);
      base[tid] = sides.feature(f);
      if (layer.rotation) rotation[tid] = layer.rotation[k];
    }
  }
  __syncthreads();
  // A warp writes rows warp, warp + 8, ...: lane holds two neighbouring samples, and their squares' sum goes with it.
  double squares[kTileFeatures / 8] = {0, 0, 0, 0};
  const uint32_t tiles = (layer.pitch + kTileSamples - 1) / kTileSamples;
  for (uint32_t at = tiles * slice / slices; at < tiles * (slice + 1) / slices; ++at) {
    const uint64_t s0 = (uint64_t)at * kTileSamples;
#pragma unroll 4
    for (int i = tid; i < kTileFeatures * kTileSamples; i += kThreads) {
      const int feature = layer.features_adjacent ? i % kTileFeatures : i / kTileSamples;
      const int sample = layer.features_adjacent ? i / kTileFeatures : i % kTileSamples;
      float z = 0;
      uint64_t from = s0 + (uint64_t)sample;
      if (from < layer.samples && scale[feature] != 0) {
        from = from >= rotation[feature] ? from - rotation[feature] : from + layer.samples - rotation[feature];
        z = (float)((dtype_load(kType, layer.data, base[feature] + sides.sample(from)) - mean[feature]) * scale[feature]);
      }
      tile[feature][sample] = z;
    }
    __syncthreads();
    const uint64_t s = s0 + 2 * (uint64_t)lane;
#pragma unroll
    for (int j = 0; j < kTileFeatures / 8; ++j) {
      const int feature = warp + 8 * j;
      if (row0 + (uint64_t)feature >= layer.rows || s >= layer.pitch) continue;
      const float a = tile[feature][2 * lane], b = tile[feature][2 * lane + 1];
      const uint16_t ah = f16_bits(a), bh = f16_bits(b);
      const uint64_t word = ((row0 + (uint64_t)feature) * layer.stride + s) / 2;
      float av = f16_value(ah), bv = f16_value(bh);
      reinterpret_cast<uint32_t *>(layer.z_hi)[word] = (uint32_t)ah | (uint32_t)bh << 16;
      if (layer.z_lo) {
        const uint16_t al = f16_bits((a - av) * 2048.0f), bl = f16_bits((b - bv) * 2048.0f);
        reinterpret_cast<uint32_t *>(layer.z_lo)[word] = (uint32_t)al | (uint32_t)bl << 16;
        av += f16_value(al) * 4.8828125e-4f, bv += f16_value(bl) * 4.8828125e-4f;
      }
      squares[j] += (double)av * av + (double)bv * bv;
    }
    __syncthreads();
  }
  // The norms: lanes, then slices, in order.
#pragma unroll
  for (int j = 0; j < kTileFeatures / 8; ++j) {
    squares[j] = warp_sum(squares[j]);
    const uint64_t row = row0 + (uint64_t)(warp + 8 * j);
    if (lane == 0 && row < layer.rows) {
      if (slices == 1) layer.weight[row] = squares[j] > 0 ? (float)(1 / sqrt(squares[j])) : 0;
      else partial[layer.first_partial + (uint64_t)slice * layer.rows + row] = squares[j];
    }
  }
  if (slices == 1 || !last_block(done + layer.first_counter + group, slices)) return;
  const uint64_t row = row0 + (uint64_t)tid;
  if (tid < kTileFeatures && row < layer.rows) {
    double sum = 0;
    for (uint32_t s = 0; s < slices; ++s) sum += partial[layer.first_partial + (uint64_t)s * layer.rows + row];
    layer.weight[row] = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
  }
}

// ---- Launching -------------------------------------------------------------------------------------------------------
// Lays the blocks, partials and counters of all layers of a dtype end to end; the others get none.
template <class Blocks, class Partials, class Counters>
uint32_t lay_out(cuda_layers *t, int dtype, Blocks blocks, Partials partials, Counters counters, uint64_t *partial, uint64_t *counter) {
  uint64_t b = 0;
  *partial = *counter = 0;
  for (int l = 0; l < t->layers; ++l) {
    cuda_layer &layer = t->layer[l];
    const bool in = (dtype < 0 || layer.dtype == dtype) && layer.features > 0;
    layer.first_block = (uint32_t)b, layer.first_partial = *partial, layer.first_counter = (uint32_t)*counter;
    if (!in) continue;
    b += blocks(layer), *partial += partials(layer), *counter += counters(layer);
  }
  return (uint32_t)b;
}
uint64_t column_blocks(const cuda_layer &l) { return groups_of(l) * slices_of(l); }
uint64_t column_partials(const cuda_layer &l) { return slices_of(l) > 1 ? slices_of(l) * l.features : 0; }
uint64_t column_counters(const cuda_layer &l) { return groups_of(l); }
uint64_t z_groups(const cuda_layer &l) { return (l.rows + kTileFeatures - 1) / kTileFeatures; }
uint64_t z_blocks(const cuda_layer &l) { return z_groups(l) * z_slices(l); }
uint64_t z_partials(const cuda_layer &l) { return z_slices(l) > 1 ? z_slices(l) * l.rows : 0; }

template <template <actscope_dtype> class Launch>
int for_each_dtype(const struct cuda_layers *layers, void *scratch, unsigned *counters, cudaStream_t stream) {
  cudaError_t e = cudaSuccess;
  if (e == cudaSuccess) e = Launch<ACTSCOPE_FLOAT32>::run(*layers, scratch, counters, stream);
  if (e == cudaSuccess) e = Launch<ACTSCOPE_FLOAT16>::run(*layers, scratch, counters, stream);
  if (e == cudaSuccess) e = Launch<ACTSCOPE_BFLOAT16>::run(*layers, scratch, counters, stream);
  if (e == cudaSuccess) e = Launch<ACTSCOPE_FLOAT8_E4M3>::run(*layers, scratch, counters, stream);
  if (e == cudaSuccess) e = Launch<ACTSCOPE_FLOAT8_E5M2>::run(*layers, scratch, counters, stream);
  if (e == cudaSuccess) e = Launch<ACTSCOPE_FLOAT64>::run(*layers, scratch, counters, stream);
  return (int)e;
}
template <actscope_dtype kType>
struct Columns {
  static cudaError_t run(cuda_layers t, void *scratch, unsigned *counters, cudaStream_t stream) {
    uint64_t partial, counter;
    uint32_t blocks = lay_out(&t, kType, column_blocks, column_partials, column_counters, &partial, &counter);
    if (blocks == 0) return cudaSuccess;
    return gpu_launch(columns_kernel<kType>, dim3(blocks), dim3(kThreads), 0, stream, t, static_cast<struct column *>(scratch), counters);
  }
};
template <actscope_dtype kType>
struct Standardise {
  static cudaError_t run(cuda_layers t, void *scratch, unsigned *counters, cudaStream_t stream) {
    uint64_t partial, counter;
    uint32_t blocks = lay_out(&t, kType, z_blocks, z_partials, z_groups, &partial, &counter);
    if (blocks == 0) return cudaSuccess;
    return gpu_launch(standardise_kernel<kType>, dim3(blocks), dim3(kThreads), 0, stream, t, static_cast<double *>(scratch), counters);
  }
};
}  // namespace

// ---- Entry points ----------------------------------------------------------------------------------------------------
extern "C" void actscope_cuda_layers_begin(struct cuda_layers *t) { t->layers = t->axes = 0; }

extern "C" struct cuda_layer *actscope_cuda_layers_add(struct cuda_layers *t, const struct view *v) {
  if (t->layers == CUDA_LAYERS || t->axes + v->sample.dims + v->feature.dims > CUDA_AXES) return nullptr;
  cuda_layer *layer = &t->layer[t->layers++];
  memset(layer, 0, sizeof *layer);
  layer->data = v->data, layer->dtype = v->dtype;
  layer->samples = v->samples, layer->features = v->features;
  layer->rows = layer->features;
  layer->pitch = layer->stride = actscope_cuda_pitch(v->samples);
  const view_side *sides[2] = {&v->sample, &v->feature};
  int16_t *first[2] = {&layer->sample_axis, &layer->feature_axis}, *dims[2] = {&layer->sample_dims, &layer->feature_dims};
  uint64_t inner[2];
  for (int s = 0; s < 2; ++s) {
    *first[s] = (int16_t)t->axes, *dims[s] = (int16_t)sides[s]->dims;
    for (int d = 0; d < sides[s]->dims; ++d) t->axis[t->axes++] = sides[s]->axis[d];
    int64_t stride = sides[s]->dims ? sides[s]->axis[sides[s]->dims - 1].stride : 0;
    inner[s] = sides[s]->dims ? (uint64_t)(stride < 0 ? -stride : stride) : ~0ull;
  }
  layer->features_adjacent = inner[1] <= inner[0];
  return layer;
}

extern "C" uint32_t actscope_cuda_pitch(uint64_t samples) { return (uint32_t)((samples + 31) / 32 * 32); }

extern "C" void actscope_cuda_standardise_scratch(const struct cuda_layers *layers, uint64_t *bytes, uint64_t *counters) {
  cuda_layers t = *layers;
  uint64_t partial, counter, scores, words;
  lay_out(&t, -1, column_blocks, column_partials, column_counters, &partial, &counter);
  actscope_cuda_scores_scratch(layers, &scores, &words);
  *bytes = partial * sizeof(struct column) > scores ? partial * sizeof(struct column) : scores;
  *counters = counter > words ? counter : words;
}

extern "C" void actscope_cuda_scores_scratch(const struct cuda_layers *layers, uint64_t *bytes, uint64_t *counters) {
  cuda_layers t = *layers;
  uint64_t partial;
  lay_out(&t, -1, z_blocks, z_partials, z_groups, &partial, counters);
  *bytes = partial * sizeof(double);
}

extern "C" int actscope_cuda_columns(const struct cuda_layers *layers, void *scratch, unsigned *counters, struct CUstream_st *stream) {
  return for_each_dtype<Columns>(layers, scratch, counters, stream);
}

extern "C" int actscope_cuda_select(const struct cuda_layers *layers, struct CUstream_st *stream) {
  if (layers->layers == 0) return (int)cudaSuccess;
  return (int)gpu_launch(select_kernel, dim3((unsigned)layers->layers), dim3(kSelectThreads), 0, stream, *layers);
}

extern "C" int actscope_cuda_standardise(const struct cuda_layers *layers, void *scratch, unsigned *counters, struct CUstream_st *stream) {
  return for_each_dtype<Standardise>(layers, scratch, counters, stream);
}
