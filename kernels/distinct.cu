// distinct.cu - how many distinct values float32 and float64 layers hold, exactly.
//
// Contents   keys · hash set · bit map · the kernel of a pass · passes that overflowed · entry points
//
// Keys       A value's bits are made canonical and mixed by the bijection of core/distinct.h: distinct values are distinct
//            keys, spread evenly. Zero is the key 0, which an empty slot is too: it is noted apart.
// Set        Open addressing with linear probing, a slot a key. A slot is read first, and claimed by compare-and-swap only
//            where it is empty; who claims it counts it, so the count is there when the last block is. A key's place is
//            its share of the pass's range times the number of slots, so neighbouring keys have neighbouring places.
// Map        float32 has 2^32 keys: a bit for each is 512 MiB. From some 10^8 elements on, that takes less memory, or fewer
//            passes, than a set does, and nothing can overflow.
// Passes     Where memory is short, the range of keys is cut into equal parts, and the elements are read once for each. How
//            many is decided when the plan is made, from the number of elements alone: nothing is asked of the host, and
//            the launches of a pass are the same every time. One pass has more slots than elements. Several have slots
//            for 5/3 of what evenly spread keys would bring if all elements differed; chance does not fill that. Values
//            chosen to have neighbouring keys could: a key that finds no slot within reach marks its pass, and settle()
//            counts the marked ones again, each block a part of the range in a part of the memory, halving its part
//            until it fits. It is slow, ends always, and costs an empty launch otherwise.
// Not sorted CUB's device-wide radix sort would need three times the elements' bytes (a set needs two, a map less, and both
//            make do with a 64th), would move each key eight times or more, and says nothing about layers that repeat few
//            values, which a set answers from the cache.
#include "gpu.cuh"
#include "kernels.h"
#include "stream.cuh"
#include "tuning.h"

namespace {
constexpr int kThreads = kUnitVectors, kBatch = TUNE_DISTINCT_BATCH;
constexpr uint64_t kOverflow = 1ull << 63;
constexpr uint64_t kKeys32 = 1ull << 32;

// ---- Keys ------------------------------------------------------------------------------------------------------------
template <int kSize>
struct Keys;
template <>
struct Keys<4> {
  using Key = uint32_t;  // as the atomics name it
  static __device__ __forceinline__ Key of(uint32_t bits) { return distinct_mix32(distinct_canonical32(bits)); }
  static __device__ __forceinline__ Key word(const uint4 &q, int e) { return e == 0 ? q.x : e == 1 ? q.y : e == 2 ? q.z : q.w; }
  // The pass out of `passes` that a key belongs to; *place: its share of that pass's range, of `slots`.
  static __device__ __forceinline__ uint32_t split(Key key, uint32_t passes, uint64_t slots, uint64_t *place) {
    const uint64_t x = (uint64_t)key * passes;
    *place = (uint64_t)(uint32_t)x * slots >> 32;
    return (uint32_t)(x >> 32);
  }
  // The first key of a pass.
  static __device__ __forceinline__ uint64_t first(uint32_t pass, uint32_t passes) {
    return (((uint64_t)pass << 32) + passes - 1) / passes;
  }
  static __device__ __forceinline__ uint64_t last(uint32_t pass, uint32_t passes) { return first(pass + 1, passes) - 1; }
};
template <>
struct Keys<8> {
  using Key = unsigned long long;
  static __device__ __forceinline__ Key of(uint64_t bits) { return distinct_mix64(distinct_canonical64(bits)); }
  static __device__ __forceinline__ Key word(const uint4 &q, int e) {
    return e == 0 ? (Key)q.y << 32 | q.x : (Key)q.w << 32 | q.z;
  }
  static __device__ __forceinline__ uint32_t split(Key key, uint32_t passes, uint64_t slots, uint64_t *place) {
    *place = __umul64hi(key * passes, slots);
    return (uint32_t)__umul64hi(key, passes);
  }
  // pass 2^64 / passes, rounded up: 2^64 is q passes + r.
  static __device__ __forceinline__ uint64_t first(uint32_t pass, uint32_t passes) {
    const uint64_t q = (0 - (uint64_t)passes) / passes + 1, r = 0 - q * passes;
    return q * pass + (r * pass + passes - 1) / passes;
  }
  static __device__ __forceinline__ uint64_t last(uint32_t pass, uint32_t passes) {
    return pass + 1 == passes ? ~0ull : first(pass + 1, passes) - 1;
  }
};

// ---- Hash set, bit map -----------------------------------------------------------------------------------------------
// 1 when the key is new. Gives up after `reach` slots, and sets *over.
template <class Key>
__device__ __forceinline__ uint32_t set_insert(Key *set, uint64_t slots, uint64_t place, uint64_t reach, Key key, bool *over) {
  for (uint64_t probe = 0; probe < reach; ++probe) {
    Key there = load_relaxed(set + place);
    if (there == 0) {
      there = atomicCAS(set + place, (Key)0, key);
      if (there == 0) return 1;
    }
    if (there == key) return 0;
    if (++place == slots) place = 0;
  }
  *over = true;
  return 0;
}
__device__ __forceinline__ uint32_t map_insert(uint32_t *map, uint64_t index) {
  uint32_t *word = map + index / 32, bit = 1u << index % 32;
  return (load_relaxed(word) & bit) == 0 && (atomicOr(word, bit) & bit) == 0;
}

// ---- The kernel of a pass --------------------------------------------------------------------------------------------
// What a thread has found of a layer, in one pass.
template <int kSize>
struct Part {
  using K = Keys<kSize>;
  using Key = typename K::Key;
  const cuda_distinct_layer &layer;
  uint32_t pass;
  uint64_t reach, first;
  unsigned long long found;
  bool zero, over;

  __device__ __forceinline__ void add(Key bits) {
    const Key key = K::of(bits);
    uint64_t place;
    if (key == 0) zero = true;
    else if (K::split(key, layer.shape.passes, layer.shape.slots, &place) != pass) return;
    else if (layer.shape.map) found += map_insert(static_cast<uint32_t *>(layer.memory), (uint64_t)key - first);
    else found += set_insert(static_cast<Key *>(layer.memory), layer.shape.slots, place, reach, key, &over);
  }
};

__device__ __forceinline__ bool may_overflow(const cuda_distinct_layer &layer) {
  return layer.shape.passes > 1 && !layer.shape.map;
}

template <int kSize>
__global__ void __launch_bounds__(kThreads, 2)
distinct_pass(GRID_CONSTANT(cuda_distinct_table) table, uint32_t pass) {
  constexpr int kVector = 16 / kSize;
  __shared__ unsigned long long sums[kThreads / 32 + 1];
  const int tid = (int)threadIdx.x;
  uint64_t unit = first_unit(table.units, blockIdx.x, gridDim.x);
  const uint64_t end = first_unit(table.units, blockIdx.x + 1, gridDim.x);

  for (int l = layer_of_unit(table, unit); unit < end; ++l) {
    const cuda_distinct_layer &layer = table.layer[l];
    const uint64_t stop_all = layer.first_unit + units_of(layer);
    uint64_t u = unit - layer.first_unit, stop = (stop_all < end ? stop_all : end) - layer.first_unit;
    const bool holds_first = u == 0, marks = may_overflow(layer);
    unsigned long long *sum = marks ? &layer.state->part[pass] : &layer.state->count;
    unit = stop + layer.first_unit;

    Part<kSize> part{layer, pass, marks && layer.shape.slots > TUNE_DISTINCT_REACH ? TUNE_DISTINCT_REACH : layer.shape.slots,
                     Keys<kSize>::first(pass, layer.shape.passes), 0, false, false};
    for (; u < stop; u += kBatch) {
      if (marks && (part.over || (load_relaxed(sum) & kOverflow))) break;
      const uint64_t v = u * kThreads + (uint64_t)tid;
      int vectors = 0;
#pragma unroll
      for (int k = 0; k < kBatch; ++k) vectors += u + k < stop && v + (uint64_t)k * kThreads < layer.vectors;
      if (layer.dims == 0) {
        uint4 q[kBatch];
#pragma unroll
        for (int k = 0; k < kBatch; ++k)
          q[k] = k < vectors ? load_vector<kSize>(layer, v + (uint64_t)k * kThreads) : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int k = 0; k < kBatch; ++k)
#pragma unroll
          for (int e = 0; e < kVector; ++e)
            if (k < vectors) part.add(Keys<kSize>::word(q[k], e));
      } else {
#pragma unroll 1
        for (int e = 0; e < vectors * kVector; ++e)
          part.add(load_element<kSize>(table, layer, (v + (uint64_t)(e / kVector) * kThreads) * kVector + (uint64_t)(e % kVector)));
      }
    }
    if (holds_first) {
      const uint64_t covered = layer.vectors * kVector, rest = layer.elements - covered;
      if ((uint64_t)tid < rest)
        part.add(load_element<kSize>(table, layer, (uint64_t)tid < layer.head ? (uint64_t)tid : covered + (uint64_t)tid));
    }

    const int zero = __syncthreads_or(part.zero), over = __syncthreads_or(part.over);
    unsigned long long found[1] = {part.found};
    block_sum<kThreads>(found, sums);
    if (tid == 0) {
      if (found[0]) atomicAdd(sum, found[0]);
      if (over) atomicOr(sum, (unsigned long long)kOverflow);
      if (zero && atomicExch(&layer.state->zero, 1ull) == 0) atomicAdd(&layer.state->count, 1ull);
    }
  }
}

// ---- Passes that overflowed --------------------------------------------------------------------------------------------
struct Attempt {  // of a block
  unsigned filled, over, zero;
};

// How many keys of [low, high] the layer has, counted by one block in `slots` slots of its own. The same in every thread.
// An attempt looks at [low, low + step]; while that fills three quarters of the slots, it is halved.
template <int kSize>
__device__ uint64_t count_alone(const cuda_distinct_table &table, const cuda_distinct_layer &layer,
                                typename Keys<kSize>::Key *set, uint32_t slots, uint64_t low, uint64_t high, Attempt &attempt) {
  using Key = typename Keys<kSize>::Key;
  uint64_t step = high - low, total = 0;
  for (;;) {
    const uint64_t top = low + step;
    for (uint32_t i = threadIdx.x; i < slots; i += kThreads) set[i] = 0;
    if (threadIdx.x == 0) attempt = {0, 0, 0};
    __syncthreads();
#pragma unroll 1
    for (uint64_t i = threadIdx.x; i < layer.elements; i += kThreads) {
      const Key key = Keys<kSize>::of(load_element<kSize>(table, layer, i));
      if (key < low || key > top) continue;
      if (load_relaxed(&attempt.over)) break;
      bool over = false;
      if (key == 0) {
        atomicOr(&attempt.zero, 1u);
        continue;
      }
      // Another place than in the passes: what met there shall not meet again.
      const uint32_t hash = distinct_mix32((uint32_t)key + (uint32_t)((uint64_t)key >> 32));
      if (set_insert(set, slots, (uint64_t)hash * slots >> 32, slots, key, &over))
        over = atomicAdd(&attempt.filled, 1u) >= slots / 4 * 3;
      if (over) atomicOr(&attempt.over, 1u);
    }
    __syncthreads();
    const Attempt now = attempt;
    __syncthreads();
    if (now.over) {
      step /= 2;  // a single key never fills the slots
      continue;
    }
    total += now.filled;
    if (now.zero && threadIdx.x == 0 && atomicExch(&layer.state->zero, 1ull) == 0) atomicAdd(&layer.state->count, 1ull);
    if (top == high) return total;
    low = top + 1;
    step = step < (high - low) / 2 ? 2 * step + 1 : high - low;
  }
}

// Adds up the passes of the layers that took several.
template <int kSize>
__global__ void __launch_bounds__(kThreads, 2) distinct_settle(GRID_CONSTANT(cuda_distinct_table) table) {
  using K = Keys<kSize>;
  using Key = typename K::Key;
  __shared__ Attempt attempt;
  for (int l = 0; l < table.layers; ++l) {
    const cuda_distinct_layer &layer = table.layer[l];
    const uint64_t most = layer.shape.slots / TUNE_DISTINCT_SLICE;
    const uint64_t slices = most < 1 ? 1 : most < gridDim.x ? most : gridDim.x;
    if (blockIdx.x >= slices) continue;
    const uint64_t each = layer.shape.slots / slices;
    const uint32_t slots = each < 1u << 31 ? (uint32_t)each : 1u << 31;
    unsigned long long total = 0;
    for (uint32_t pass = 0; pass < layer.shape.passes; ++pass) {
      const unsigned long long part = layer.state->part[pass];
      if ((part & kOverflow) == 0) {
        if (blockIdx.x == 0) total += part;
        continue;
      }
      const uint64_t first = K::first(pass, layer.shape.passes), span = K::last(pass, layer.shape.passes) - first;
      const uint64_t share = span / slices + 1, from = share * blockIdx.x;
      if (from > span) continue;
      const uint64_t to = span - from < share ? span : from + share - 1;
      total += count_alone<kSize>(table, layer, static_cast<Key *>(layer.memory) + blockIdx.x * each, slots, first + from, first + to, attempt);
    }
    if (threadIdx.x == 0 && total) atomicAdd(&layer.state->count, total);
  }
}

template <int kSize>
cudaError_t launch(const cuda_distinct_table &all, cudaStream_t stream) {
  cuda_distinct_table part = all;
  uint32_t most = 1;
  for (int l = 0; l < all.layers; ++l)
    if (all.layer[l].shape.passes > most) most = all.layer[l].shape.passes;
  cudaError_t e = cudaSuccess;
  for (uint32_t pass = 0; pass < most && e == cudaSuccess; ++pass) {
    unsigned blocks = 0;
    part.layers = 0, part.units = 0;
    for (int l = 0; l < all.layers && e == cudaSuccess; ++l) {
      cuda_distinct_layer *layer = &part.layer[part.layers];
      if (all.layer[l].shape.passes <= pass) continue;
      *layer = all.layer[l];
      layer->first_unit = part.units;
      part.units += units_of(*layer);
      ++part.layers;
      if (pass > 0) e = cudaMemsetAsync(layer->memory, 0, layer->shape.bytes, stream);
    }
    if (e == cudaSuccess) e = gpu_resident_blocks(distinct_pass<kSize>, kThreads, 0, part.units, &blocks);
    if (e == cudaSuccess) e = gpu_launch(distinct_pass<kSize>, dim3(blocks), dim3(kThreads), 0, stream, part, pass);
  }
  part.layers = 0;
  for (int l = 0; l < all.layers; ++l)
    if (all.layer[l].shape.passes > 1 && !all.layer[l].shape.map) part.layer[part.layers++] = all.layer[l];
  if (e != cudaSuccess || part.layers == 0) return e;
  unsigned blocks = 0;
  e = gpu_resident_blocks(distinct_settle<kSize>, kThreads, 0, ~0ull >> 8, &blocks);
  return e != cudaSuccess ? e : gpu_launch(distinct_settle<kSize>, dim3(blocks), dim3(kThreads), 0, stream, part);
}

// ---- How much memory, how many passes ----------------------------------------------------------------------------------
uint64_t ceiling(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }
uint64_t key_bytes(actscope_dtype dtype) { return dtype == ACTSCOPE_FLOAT64 ? 8 : 4; }
// Distinct values at most.
uint64_t most_keys(actscope_dtype dtype, uint64_t elements) {
  return dtype == ACTSCOPE_FLOAT32 && elements > kKeys32 ? kKeys32 : elements;
}
// Slots at half load; the 64 keep the smallest layers from probing.
uint64_t roomy(uint64_t keys) { return 2 * keys + 64; }
}  // namespace

// ---- Entry points --------------------------------------------------------------------------------------------------------
extern "C" uint64_t actscope_cuda_distinct_best(actscope_dtype dtype, uint64_t elements) {
  const uint64_t set = roomy(most_keys(dtype, elements)) * key_bytes(dtype);
  return dtype == ACTSCOPE_FLOAT32 && set > kKeys32 / 8 ? kKeys32 / 8 : set;
}

extern "C" uint64_t actscope_cuda_distinct_least(actscope_dtype dtype, uint64_t elements) {
  const uint64_t best = actscope_cuda_distinct_best(dtype, elements), floor = TUNE_DISTINCT_LEAST * key_bytes(dtype);
  const uint64_t set = (ceiling(most_keys(dtype, elements), 3ull * CUDA_DISTINCT_PASSES) * 5 + 1) * key_bytes(dtype);
  uint64_t least = dtype == ACTSCOPE_FLOAT32 && set > kKeys32 / 8 / CUDA_DISTINCT_PASSES ? kKeys32 / 8 / CUDA_DISTINCT_PASSES : set;
  if (least < floor) least = floor;
  return least < best ? least : best;
}

extern "C" struct cuda_distinct_shape actscope_cuda_distinct_shape(actscope_dtype dtype, uint64_t elements, uint64_t bytes) {
  const uint64_t keys = most_keys(dtype, elements), size = key_bytes(dtype);
  struct cuda_distinct_shape set = {bytes / size, 0, 1, 0};
  if (set.slots > roomy(keys)) set.slots = roomy(keys);
  if (set.slots / 5 * 4 < keys) set.passes = (uint32_t)ceiling(5 * ceiling(keys, 3), set.slots);
  set.bytes = set.slots * size;
  if (dtype == ACTSCOPE_FLOAT32) {
    const uint64_t passes = ceiling(kKeys32, bytes / 4 * 32), slots = ceiling(ceiling(kKeys32, passes), 32) * 32;
    if (passes < set.passes || (passes == set.passes && slots / 8 < set.bytes))
      set = {slots, slots / 8, (uint32_t)passes, 1};
  }
  return set;
}

extern "C" void actscope_cuda_distinct_begin(struct cuda_distinct_table *table, actscope_dtype dtype) {
  table->dtype = dtype;
  table->layers = table->axes = 0;
  table->units = 0;
}

extern "C" int actscope_cuda_distinct_add(struct cuda_distinct_table *table, const struct view *v,
                                          struct cuda_distinct_shape shape, void *memory, struct cuda_distinct *state) {
  struct cuda_distinct_layer *layer = stream_add(table, v);
  if (!layer) return 0;
  layer->shape = shape, layer->memory = memory, layer->state = state;
  return 1;
}

extern "C" int actscope_cuda_distinct(const struct cuda_distinct_table *table, struct CUstream_st *stream) {
  if (table->layers == 0) return (int)cudaSuccess;
  return (int)(table->dtype == ACTSCOPE_FLOAT64 ? launch<8>(*table, stream) : launch<4>(*table, stream));
}
