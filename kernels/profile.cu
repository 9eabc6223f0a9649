// profile.cu - one read of all layers: moments and special values, value histogram, sketch of distinct values.
//
// Contents   tables · element types · loading · shared counters · sketch · accumulation · the two kernels · entry points
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
//            an outlier moves the pivot. float64 takes that way always.
// Histogram  Narrow types: the bits are the bin, and moments, quantiles and distinct count follow from the counts alone,
//            exactly. Counters are 16 bits wide in shared memory, two to a word; a sweep moves what reached 32,768 on.
//            8-bit types count pairs of neighbours, two elements an atomic, and split them in the end.
//            Zeros stay in registers: after a ReLU they would all meet on one counter.
// Cost       float32, everything: 6 moments, 2 extrema, 1 |x|, 2 entropy, 4 signs and zeros, 5 histogram, 16 sketch;
//            docs/performance.md has the counts read from machine code.
#include "gpu.cuh"
#include "kernels.h"
#include "tuning.h"

namespace {
constexpr int kThreads = TUNE_PROFILE_THREADS, kWarps = kThreads / 32, kBatch = TUNE_PROFILE_BATCH;
constexpr uint32_t kWords = 32768;  // of all 65,536 counters

// ---- Element types ---------------------------------------------------------------------------------------------------
template <actscope_dtype kType>
struct Traits {
  static constexpr int kSize = kType == ACTSCOPE_FLOAT64 ? 8 : kType == ACTSCOPE_FLOAT32 ? 4 : (kType == ACTSCOPE_FLOAT16 || kType == ACTSCOPE_BFLOAT16) ? 2 : 1;
  static constexpr int kVector = 16 / kSize;  // elements
};
template <int kSize> struct Word { using type = uint32_t; };
template <> struct Word<1> { using type = uint8_t; };
template <> struct Word<2> { using type = uint16_t; };
template <> struct Word<8> { using type = uint64_t; };

__device__ __forceinline__ float as_value(uint32_t w) { return core_f32(w); }
__device__ __forceinline__ double as_value(uint64_t w) { return core_f64(w); }

// ---- Loading ---------------------------------------------------------------------------------------------------------
// Element i of the stream, of any layout.
template <int kSize>
__device__ __forceinline__ typename Word<kSize>::type load_element(const cuda_profile_table &t,
                                                                   const cuda_profile_layer &layer, uint64_t i) {
  int64_t offset = (int64_t)i;
  if (layer.dims) {
    offset = 0;
#pragma unroll 1
    for (int d = layer.dims - 1; d >= 0; --d) {
      uint64_t extent = (uint64_t)t.axis[layer.axis + d].extent;
      offset += (int64_t)(i % extent) * t.axis[layer.axis + d].stride;
      i /= extent;
    }
  }
  return __ldg(static_cast<const typename Word<kSize>::type *>(layer.data) + offset);
}
// Aligned vector v of a compact layer.
template <int kSize>
__device__ __forceinline__ uint4 load_vector(const cuda_profile_layer &layer, uint64_t v) {
  return __ldg(reinterpret_cast<const uint4 *>(static_cast<const char *>(layer.data) + layer.head * kSize) + v);
}

// ---- Counters --------------------------------------------------------------------------------------------------------
__device__ __forceinline__ void count_global(uint32_t *histogram, uint32_t bins, bool wide, uint32_t bin, uint32_t n) {
  uint32_t old = atomicAdd(histogram + bin, n);
  if (wide && old + n < old) atomicAdd(histogram + bins + bin, 1u);
}

// Which of the 65,536 keys have a counter in shared memory, and where. With kFull all have: the key is the place.
// Otherwise those whose magnitude lies in the middle half of the exponents, sign in the lowest bit.
template <actscope_dtype kType, bool kFull>
struct Place {
  static constexpr uint32_t kWindow = kFull ? 65536 : TUNE_PROFILE_WINDOW;
  static __device__ __forceinline__ uint32_t base() { return kType == ACTSCOPE_FLOAT16 ? 0x1000u : 0x2000u; }
  static __device__ __forceinline__ uint32_t of(uint32_t key) {
    return kFull ? key : (((key & 0x7FFFu) - base()) << 1 | key >> 15);
  }
  static __device__ __forceinline__ uint32_t key(uint32_t place) {
    return kFull ? place : (place >> 1) + base() + (place << 15 & 0x8000u);
  }
};

// One more of `key`, if `go`.
template <actscope_dtype kType, bool kFull>
__device__ __forceinline__ void count(bool go, uint32_t *shared, uint32_t *histogram, bool wide, uint32_t key) {
  uint32_t place = Place<kType, kFull>::of(key);
  if (!kFull && place >= Place<kType, kFull>::kWindow) {
    if (go) count_global(histogram, 65536, wide, key, 1);
    return;
  }
  shared_add_if(go, shared + (place >> 1), place & 1u ? 0x10000u : 1u);
}

// Calls f(place, n) for what every counter holds, from kFloor up, and takes it out. Between barriers.
template <uint32_t kWindow, uint32_t kFloor, class F>
__device__ __forceinline__ void drain(uint32_t *shared, F f) {
  constexpr uint32_t kTest = kFloor == 0x8000u ? 0x80008000u : 0xFFFFFFFFu;
  uint4 *words = reinterpret_cast<uint4 *>(shared);
  for (uint32_t i = threadIdx.x; i < kWindow / 8; i += kThreads) {
    uint4 q = words[i];
    if (((q.x | q.y | q.z | q.w) & kTest) == 0) continue;
    uint32_t w[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t low = w[k] & 0xFFFFu, high = w[k] >> 16;
      if (low >= kFloor && low > 0) f(i * 8 + (uint32_t)k * 2, low), w[k] -= low;
      if (high >= kFloor && high > 0) f(i * 8 + (uint32_t)k * 2 + 1, high), w[k] -= high << 16;
    }
    words[i] = make_uint4(w[0], w[1], w[2], w[3]);
  }
}

// ---- Sketch ----------------------------------------------------------------------------------------------------------
// Reads first: an atomic only for a bit that is new, and those become rare soon.
__device__ __forceinline__ void sketch_add(uint32_t *words, int p, uint32_t hash) {
  uint32_t *word = words + distinct_word(hash, p), bit = distinct_bit(hash, p);
  if ((load_relaxed(word) & bit) == 0) atomicOr(word, bit);
}
__device__ __forceinline__ void sketch_add_shared(uint32_t *words, int p, uint32_t hash) {
  uint32_t *word = words + distinct_word(hash, p), bit = distinct_bit(hash, p);
  shared_or_if((load_relaxed(word) & bit) == 0, word, bit);
}
enum Sketch { kNone, kShared, kGlobal };  // where its words are; known at compile time, for generic addresses are slow

// ---- Accumulation of wide types --------------------------------------------------------------------------------------
__device__ __forceinline__ uint32_t hash_of(float x) { return distinct_hash32(x); }
__device__ __forceinline__ uint32_t hash_of(double x) { return distinct_hash64(x); }
__device__ __forceinline__ uint32_t bin_of(float x) { return core_bits32(x) >> 16; }
__device__ __forceinline__ uint32_t bin_of(double x) { return (uint32_t)(core_bits64(x) >> 45); }

// A power of two near 1 / spread; never 0 or infinite.
__device__ __forceinline__ float inverse_power(float spread) {
  uint32_t e = core_bits32(spread) >> 23 & 0xFFu;
  return core_f32((e > 253u ? 1u : 254u - e) << 23);
}
__device__ __forceinline__ double inverse_power(double spread) {
  uint64_t e = core_bits64(spread) >> 52 & 0x7FFu;
  return core_f64((e > 2045u ? 1ull : 2046u - e) << 52);
}

// What a thread has seen of a layer.
template <class Real>
struct Seen {
  Real pivot, scale, shift;  // elements enter the sums as d = x scale - shift, shift = pivot scale
  double s1, s2, s3, s4;     // of the n elements since the pivot was set
  uint32_t n;
  Real min, max;
  double abs, log;           // sum |x|, sum |x| log2 |x|
  uint32_t zero, negative, subnormal;
  struct moments before;     // n, mean, m2 .. m4 of what came before the pivot was set

  __device__ __forceinline__ void start() {
    pivot = shift = 0, scale = 0;  // no pivot yet
    s1 = s2 = s3 = s4 = abs = log = 0;
    n = zero = negative = subnormal = 0;
    min = (Real)core_infinity(), max = -min;
    moments_init(&before);
  }
  // A new pivot, from a mean and the largest distance to it. Without a spread: one that sees the smallest difference.
  __device__ __forceinline__ void set_pivot(Real mean, Real spread) {
    const Real two24 = (Real)16777216.0;
    pivot = mean;
    scale = spread > 0 ? inverse_power(spread)
            : mean != 0 ? inverse_power((Real)fabs((double)mean) / two24 > 0 ? (Real)fabs((double)mean) / two24 : (Real)fabs((double)mean))
                        : (Real)1.2676506002282294e30;  // 2^100
    shift = pivot * scale;
  }
  // Folds the sums into `before`.
  __device__ __forceinline__ void close() {
    if (n == 0) return;
    struct moments m;
    moments_from_shifted(&m, n, 0.0, s1, s2, s3, s4);
    double unit = 1.0 / (double)scale, square = unit * unit;
    m.mean = (double)pivot + m.mean * unit;
    m.m2 *= square, m.m3 *= square * unit, m.m4 *= square * square;
    moments_merge_central(&before, &m);
    s1 = s2 = s3 = s4 = 0, n = 0;
  }
};

struct Specials {  // of a block
  unsigned long long nan, positive_inf, negative_inf;
};

template <actscope_dtype kType, bool kMoments, bool kHistogram, Sketch kSketch, bool kFull>
struct Wide {
  using T = Traits<kType>;
  using W = typename Word<T::kSize>::type;
  using Real = decltype(as_value(W()));
  static constexpr bool kSharedCounters = kHistogram && kType == ACTSCOPE_FLOAT32;
  static constexpr bool kCountersKnowSigns = kSharedCounters && kFull;  // all elements but zeros pass through them

  const cuda_profile_table &table;
  const cuda_profile_layer &layer;
  uint32_t *counters, *words;  // in shared memory
  Specials *specials;
  Seen<Real> seen;
  bool wide;

  __device__ __forceinline__ void sketch(uint32_t hash) {
    if (kSketch == kShared) sketch_add_shared(words, table.sketch_bits, hash);
    if (kSketch == kGlobal) sketch_add(layer.sketch, table.sketch_bits, hash);
  }

  // One element, in doubles.
  __device__ __forceinline__ void add(Real x) {
    if (kSharedCounters) count<kType, kFull>(x != 0, counters, layer.histogram, wide, bin_of((float)x));
    else if (kHistogram && x != 0) count_global(layer.histogram, dtype_bins(kType), wide, bin_of(x), 1);
    sketch(hash_of(x));
    if (!kMoments) return;
    if (!core_finite((double)x)) {
      atomicAdd(x != x ? &specials->nan : x > 0 ? &specials->positive_inf : &specials->negative_inf, 1ull);
      return;
    }
    if (seen.scale == 0) seen.set_pivot(x, 0);
    // The scaled distance is exact enough in double; float64 multiplies first so that huge values do not overflow.
    double d = T::kSize == 8 ? ((double)x * (double)seen.scale - (double)seen.shift)
                             : ((double)x - (double)seen.pivot) * (double)seen.scale;
    if (fabs(d) > 1048576.0) {  // far outside the spread so far: its fourth power would drown the rest
      seen.close();
      seen.set_pivot(x, (Real)fabs((double)x - (double)seen.pivot));
      d = T::kSize == 8 ? ((double)x * (double)seen.scale - (double)seen.shift) : 0.0;
    }
    double d2 = d * d, a = fabs((double)x);
    ++seen.n;
    seen.s1 += d, seen.s2 += d2, seen.s3 += d2 * d, seen.s4 += d2 * d2;
    if (x < seen.min) seen.min = x;
    if (x > seen.max) seen.max = x;
    if (a == 0) {
      ++seen.zero;
    } else {
      seen.abs += a;
      seen.log += a * (T::kSize == 8 ? log2(a) : (double)log2f((float)a));
      if (a < dtype_smallest_normal(kType)) ++seen.subnormal;
    }
    if (x < 0) ++seen.negative;
  }

  __device__ __forceinline__ Real element(uint64_t i) const {
    return as_value(load_element<T::kSize>(table, layer, i));
  }

  // Element e of the `vectors` vectors that this thread holds from v on, kThreads apart.
  __device__ __forceinline__ Real element_of(uint64_t v, int e) const {
    return element(layer.head + (v + (uint64_t)(e / T::kVector) * kThreads) * T::kVector + (uint64_t)(e % T::kVector));
  }

  // The first pivot: the mean of the finite ones of these vectors, and their largest distance from it.
  __device__ __forceinline__ void find_pivot(uint64_t v, int vectors) {
    double sum = 0, far = 0;
    int n = 0;
#pragma unroll 1
    for (int e = 0; e < vectors * T::kVector; ++e) {
      double x = (double)element_of(v, e);
      if (core_finite(x)) sum += x * 0x1p-16, ++n;
    }
    if (n == 0) return;
    Real mean = (Real)(sum / n * 65536.0);
#pragma unroll 1
    for (int e = 0; e < vectors * T::kVector; ++e) {
      double x = (double)element_of(v, e), d = fabs(x * 0.5 - (double)mean * 0.5);
      if (core_finite(x) && d > far) far = d;
    }
    seen.set_pivot(mean, (Real)far);
  }

  // The first `vectors` of q (all of them with kAll), in float32. False, and nothing done, where that will not do.
  template <bool kAll>
  __device__ __forceinline__ bool batch(const uint4 (&q)[kBatch], int vectors) {
    if (kMoments) {
      float s1 = 0, s2 = 0, s3 = 0, s4 = 0, abs = 0, log = 0, low = (float)seen.min, high = (float)seen.max;
      uint32_t zero = 0, negative = 0;
      const float scale = (float)seen.scale, shift = (float)seen.shift;
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        if (!kAll && k >= vectors) break;
        const uint32_t w[4] = {q[k].x, q[k].y, q[k].z, q[k].w};
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float x = core_f32(w[e]), d = fmaf(x, scale, -shift), d2 = d * d;
          s1 += d, s2 += d2, s3 = fmaf(d2, d, s3), s4 = fmaf(d2, d2, s4);
          low = fminf(low, x), high = fmaxf(high, x);
          abs += fabsf(x);
          if (x != 0) log = fmaf(fabsf(x), fast_log2_abs(x), log);
          else if (!kCountersKnowSigns) ++zero;
          if (!kCountersKnowSigns) negative += x < 0;
        }
      }
      // Infinite or NaN where any element, logarithm or power was.
      if (!(scale > 0 && fabsf(log) < INFINITY && s4 < INFINITY)) return false;
      seen.n += (uint32_t)(kAll ? kBatch : vectors) * 4;
      seen.s1 += s1, seen.s2 += s2, seen.s3 += s3, seen.s4 += s4, seen.abs += abs, seen.log += log;
      seen.min = low, seen.max = high;
      seen.zero += zero, seen.negative += negative;
    }
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if ((!kHistogram && kSketch == kNone) || (!kAll && k >= vectors)) break;
      const uint32_t w[4] = {q[k].x, q[k].y, q[k].z, q[k].w};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float x = core_f32(w[e]);
        if (kHistogram) count<kType, kFull>(x != 0, counters, layer.histogram, wide, w[e] >> 16);
        // Beside moments, values that came this far are not NaN, and adding 0 makes -0 canonical.
        if (kSketch != kNone) sketch(distinct_mix32(kMoments ? core_bits32(x + 0.0f) : distinct_canonical32(w[e])));
      }
    }
    return true;
  }
};

// ---- Merging the threads of a block ------------------------------------------------------------------------------------
// Sums about one common pivot, the block's mean: adding them needs no Pebay term, so a block merges in a handful of
// plain sums. The result is right in thread 0.
struct MergeSpace {
  double a[2 * (kWarps + 1)], b[6 * (kWarps + 1)], low[kWarps], high[kWarps];
  unsigned long long counts[7 * (kWarps + 1)];
};
__device__ __forceinline__ void merge_block(struct moments &m, MergeSpace &space) {
  double first[2] = {(double)m.n, m.n ? (double)m.n * 0x1p-62 * m.mean : 0.0};
  block_sum<kThreads>(first, space.a);
  const double total = first[0];
  double c = total > 0 ? first[1] / (total * 0x1p-62) : 0.0;
  if (!core_finite(c)) c = 0;
  double d = m.n ? m.mean - c : 0.0, n = (double)m.n, d2 = d * d;
  double sums[6] = {n * d,
                    m.m2 + n * d2,
                    m.m3 + 3 * d * m.m2 + n * d2 * d,
                    m.m4 + 4 * d * m.m3 + 6 * d2 * m.m2 + n * d2 * d2,
                    m.abs_sum,
                    m.abs_log_sum};
  block_sum<kThreads>(sums, space.b);
  unsigned long long counts[7] = {m.n, m.nan, m.positive_inf, m.negative_inf, m.zero, m.negative, m.subnormal};
  block_sum<kThreads>(counts, space.counts);
  double low = m.min, high = m.max;
#pragma unroll
  for (int s = 16; s > 0; s >>= 1) {
    low = fmin(low, __shfl_xor_sync(kFullMask, low, s));
    high = fmax(high, __shfl_xor_sync(kFullMask, high, s));
  }
  if (threadIdx.x % 32 == 0) space.low[threadIdx.x / 32] = low, space.high[threadIdx.x / 32] = high;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) low = fmin(low, space.low[w]), high = fmax(high, space.high[w]);
  moments_init(&m);
  if (counts[0] > 0) moments_from_shifted(&m, counts[0], c, sums[0], sums[1], sums[2], sums[3]);
  m.min = low, m.max = high, m.abs_sum = sums[4], m.abs_log_sum = sums[5];
  m.nan = counts[1], m.positive_inf = counts[2], m.negative_inf = counts[3];
  m.zero = counts[4], m.negative = counts[5], m.subnormal = counts[6];
}

// ---- Which units a block takes -----------------------------------------------------------------------------------------
__host__ __device__ inline uint64_t units_of(const cuda_profile_layer &layer) {
  uint64_t u = (layer.vectors + kThreads - 1) / kThreads;
  return u > 0 ? u : 1;
}
__device__ __forceinline__ uint64_t first_unit(uint64_t units, unsigned block, unsigned blocks) {
  return units / blocks * block + units % blocks * block / blocks;
}
__device__ __forceinline__ unsigned block_of(uint64_t units, uint64_t unit, unsigned blocks) {
  unsigned low = 0, high = blocks - 1;  // the last block whose first unit is not beyond
  while (low < high) {
    unsigned middle = (low + high + 1) / 2;
    if (first_unit(units, middle, blocks) <= unit) low = middle; else high = middle - 1;
  }
  return low;
}

// Elements of the units [from, stop) of a float32 layer; those around the vectors go with the first unit.
__device__ __forceinline__ uint64_t elements_of(const cuda_profile_layer &layer, uint64_t from, uint64_t stop) {
  const uint64_t first = from * kThreads < layer.vectors ? from * kThreads : layer.vectors;
  const uint64_t last = stop * kThreads < layer.vectors ? stop * kThreads : layer.vectors;
  const uint64_t each = 4, around = from == 0 ? layer.elements - layer.vectors * each : 0;
  return (last - first) * each + around;
}

// ---- The kernels ---------------------------------------------------------------------------------------------------------
template <actscope_dtype kType, bool kMoments, bool kHistogram, Sketch kSketch, bool kFull>
__global__ void __launch_bounds__(kThreads, 1)
profile_wide(const __grid_constant__ cuda_profile_table table, struct moments *partial, unsigned *done) {
  using Part = Wide<kType, kMoments, kHistogram, kSketch, kFull>;
  using T = Traits<kType>;
  constexpr uint32_t kWindow = Place<kType, kFull>::kWindow;
  constexpr bool kSharedCounters = Part::kSharedCounters;
  // Units between two sweeps of the counters.
  constexpr uint32_t kSweep = TUNE_PROFILE_SWEEP / (kThreads * T::kVector);
  static_assert(kSweep >= kBatch && kSweep % kBatch == 0, "a batch must not pass a sweep");
  __shared__ MergeSpace space;
  __shared__ Specials specials;
  uint32_t *counters = reinterpret_cast<uint32_t *>(dynamic_shared());
  uint32_t *words = counters + (kSharedCounters ? kWindow / 2 : 0);
  const int tid = (int)threadIdx.x;

  uint64_t unit = first_unit(table.units, blockIdx.x, gridDim.x);
  const uint64_t end = first_unit(table.units, blockIdx.x + 1, gridDim.x);
  int l = 0;
  while (l + 1 < table.layers && table.layer[l + 1].first_unit <= unit) ++l;

  for (; unit < end; ++l) {
    const cuda_profile_layer &layer = table.layer[l];
    const uint64_t units = units_of(layer), stop_all = layer.first_unit + units;
    uint64_t u = unit - layer.first_unit, stop = (stop_all < end ? stop_all : end) - layer.first_unit;
    const bool holds_first = u == 0;
    const uint64_t units_from = u;
    unit = stop + layer.first_unit;

    if (kSharedCounters)
      for (uint32_t i = tid; i < kWindow / 8; i += kThreads)
        reinterpret_cast<uint4 *>(counters)[i] = make_uint4(0, 0, 0, 0);
    if (kSketch == kShared)
      for (uint32_t i = tid; i < 1u << table.sketch_bits; i += kThreads) words[i] = 0;
    if (tid == 0) specials = {0, 0, 0};
    __syncthreads();

    Part part{table, layer, counters, words, &specials, {}, cuda_histogram_wide(layer.elements) != 0};
    part.seen.start();
    const uint64_t whole = layer.vectors / kThreads;  // units without a missing vector
    uint32_t fresh = 0;                               // units since the last sweep
    uint64_t negatives = 0, counted = 0;              // found while counters were emptied
    auto spill = [&](uint32_t place, uint32_t n) {
      uint32_t key = Place<kType, kFull>::key(place);
      count_global(layer.histogram, 65536, part.wide, key, n);
      counted += n;
      if (key >= 0x8000u && key < 0xFF80u) negatives += n;  // no zeros among them
    };
    uint64_t rest = holds_first ? layer.elements - layer.vectors * T::kVector : 0;  // around the vectors
    while (u < stop || rest > 0) {
      if (kSharedCounters && fresh + kBatch > kSweep) {
        __syncthreads();
        drain<kWindow, 0x8000u>(counters, spill);
        __syncthreads();
        fresh = 0;
      }
      const uint64_t v = u * kThreads + (uint64_t)tid;
      int slow = 0, around = 0;  // elements to add one by one: of the vectors, around them
      if (u < stop) {
        int vectors = (int)(stop - u < kBatch ? stop - u : kBatch);
        if (u + kBatch > whole)
          while (vectors > 0 && v + (uint64_t)(vectors - 1) * kThreads >= layer.vectors) --vectors;
        if (T::kSize == 4 && layer.dims == 0) {
          if (kMoments && part.seen.scale == 0) part.find_pivot(v, vectors);
          uint4 q[kBatch];
          bool plain;
          if (vectors == kBatch) {
#pragma unroll
            for (int k = 0; k < kBatch; ++k) q[k] = load_vector<T::kSize>(layer, v + (uint64_t)k * kThreads);
            plain = part.template batch<true>(q, kBatch);
          } else {
#pragma unroll
            for (int k = 0; k < kBatch; ++k)
              q[k] = k < vectors ? load_vector<T::kSize>(layer, v + (uint64_t)k * kThreads) : make_uint4(0, 0, 0, 0);
            plain = part.template batch<false>(q, vectors);
          }
          slow = plain ? 0 : vectors * T::kVector;
        } else {
          if (kMoments && part.seen.scale == 0) part.find_pivot(v, vectors);
          slow = vectors * T::kVector;
        }
        u += kBatch, fresh += kBatch;
      } else {
        around = (uint64_t)tid < rest;
        rest = 0;
      }
      const uint64_t single = (uint64_t)tid < layer.head ? (uint64_t)tid : layer.vectors * T::kVector + (uint64_t)tid;
#pragma unroll 1
      for (int e = 0; e < slow + around; ++e) part.add(around ? part.element(single) : part.element_of(v, e));
    }

    // The block's state of this layer.
    if (kMoments) part.seen.close();
    __syncthreads();
    if (kSharedCounters) drain<kWindow, 1u>(counters, spill);
    if (kMoments) {
      struct moments m = part.seen.before;
      m.min = (double)part.seen.min, m.max = (double)part.seen.max;
      m.abs_sum = part.seen.abs, m.abs_log_sum = part.seen.log * 0.69314718055994530942;
      m.subnormal = part.seen.subnormal;
      // Every element but a zero went through the counters, so they know the negatives, and the zeros are the others: all
      // elements of the block less those counted, taken off in thread 0 and spread over the threads as they come.
      m.zero = part.seen.zero, m.negative = Part::kCountersKnowSigns ? negatives : part.seen.negative;
      if (Part::kCountersKnowSigns) m.zero = (tid == 0 ? elements_of(layer, units_from, stop) : 0) - counted;
      if (tid == 0) m.nan = specials.nan, m.positive_inf = specials.positive_inf, m.negative_inf = specials.negative_inf;
      merge_block(m, space);
      if (tid == 0) {
        partial[blockIdx.x + (unsigned)l] = m;
        for (uint64_t left = kHistogram ? m.zero : 0; left > 0;) {  // zeros of either sign count as +0
          uint32_t some = left > 0xFFFFFFFFu ? 0xFFFFFFFFu : (uint32_t)left;
          count_global(layer.histogram, dtype_bins(kType), part.wide, 0, some);
          left -= some;
        }
      }
    }
    if (kSketch == kShared) {
      for (uint32_t i = tid; i < 1u << table.sketch_bits; i += kThreads) {
        uint32_t w = words[i];
        if (w & ~load_relaxed(layer.sketch + i)) atomicOr(layer.sketch + i, w);
      }
    }
    if (kMoments) {
      const unsigned b0 = block_of(table.units, layer.first_unit, gridDim.x);
      const unsigned b1 = block_of(table.units, stop_all - 1, gridDim.x);
      if (last_block(done + l, b1 - b0 + 1)) {
        struct moments m;
        moments_init(&m);
        for (unsigned b = b0 + (unsigned)tid; b <= b1; b += kThreads) moments_merge(&m, partial + b + l);
        merge_block(m, space);
        if (tid == 0) *layer.moments = m;
      }
    }
    __syncthreads();
  }
}

// 16-bit types, and 8-bit types as pairs (kFull) or single bytes: nothing but counters.
template <actscope_dtype kType, bool kFull>
__global__ void __launch_bounds__(kThreads, 1) profile_narrow(const __grid_constant__ cuda_profile_table table) {
  using T = Traits<kType>;
  constexpr bool kBytes = T::kSize == 1, kPairs = kBytes && kFull;
  constexpr uint32_t kWindow = Place<kType, kFull>::kWindow;
  constexpr int kKeys = kBytes && !kPairs ? 16 : 8;  // of a vector
  constexpr uint32_t kSweep = TUNE_PROFILE_SWEEP / (kThreads * kKeys);
  constexpr int kLoads = kSweep < (uint32_t)kBatch ? (int)kSweep : kBatch;
  static_assert(kLoads > 0 && kSweep % kLoads == 0, "a batch must not pass a sweep");
  uint32_t *counters = reinterpret_cast<uint32_t *>(dynamic_shared());
  __shared__ unsigned zero[2];
  __shared__ uint32_t bytes[256];
  const int tid = (int)threadIdx.x;

  uint64_t unit = first_unit(table.units, blockIdx.x, gridDim.x);
  const uint64_t end = first_unit(table.units, blockIdx.x + 1, gridDim.x);
  int l = 0;
  while (l + 1 < table.layers && table.layer[l + 1].first_unit <= unit) ++l;

  for (; unit < end; ++l) {
    const cuda_profile_layer &layer = table.layer[l];
    const bool wide = cuda_histogram_wide(layer.elements) != 0;
    const uint64_t stop_all = layer.first_unit + units_of(layer), whole = layer.vectors / kThreads;
    uint64_t u = unit - layer.first_unit, stop = (stop_all < end ? stop_all : end) - layer.first_unit;
    const bool holds_first = u == 0;
    unit = stop + layer.first_unit;

    for (uint32_t i = tid; i < kWindow / 8; i += kThreads)
      reinterpret_cast<uint4 *>(counters)[i] = make_uint4(0, 0, 0, 0);
    if (tid < 256) bytes[tid] = 0;
    if (tid < 2) zero[tid] = 0;
    __syncthreads();

    uint32_t zeros = 0, minus = 0, fresh = 0;  // keys of value +0 and -0; a pair of +0 in zeros
    auto one = [&](uint32_t key) {
      if (kBytes) {
        zeros += key == 0;
        if (kPairs) shared_add_if(key != 0, counters + (key >> 1), key & 1u ? 0x10000u : 1u);
        else shared_add_if(key != 0, bytes + key, 1u);
      } else {
        const bool zero = (key & 0x7FFFu) == 0;
        if (zero) ++zeros, minus += key >> 15;
        count<kType, kFull>(!zero, counters, layer.histogram, wide, key);
      }
    };
    auto vector = [&](const uint4 &q) {
      const uint32_t w[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (kBytes && !kPairs) {
          one(w[k] & 0xFFu), one(w[k] >> 8 & 0xFFu), one(w[k] >> 16 & 0xFFu), one(w[k] >> 24);
        } else {
          one(w[k] & 0xFFFFu), one(w[k] >> 16);
        }
      }
    };
    auto spill = [&](uint32_t place, uint32_t n) {
      uint32_t key = Place<kType, kFull>::key(place);
      if (kBytes) {
        count_global(layer.histogram, 256, wide, key & 0xFFu, n);
        count_global(layer.histogram, 256, wide, key >> 8, n);
      } else {
        count_global(layer.histogram, 65536, wide, key, n);
      }
    };
    while (u < stop) {
      if ((kPairs || !kBytes) && fresh + kLoads > kSweep) {
        __syncthreads();
        drain<kWindow, 0x8000u>(counters, spill);
        __syncthreads();
        fresh = 0;
      }
      uint64_t v = u * kThreads + (uint64_t)tid;
      if (layer.dims == 0 && u + kLoads <= stop && u + kLoads <= whole) {
        uint4 q[kLoads];
#pragma unroll
        for (int k = 0; k < kLoads; ++k) q[k] = load_vector<T::kSize>(layer, v + (uint64_t)k * kThreads);
#pragma unroll
        for (int k = 0; k < kLoads; ++k) vector(q[k]);
        u += kLoads, fresh += kLoads;
      } else {
        if (v < layer.vectors) {
          if (layer.dims == 0) {
            vector(load_vector<T::kSize>(layer, v));
          } else {
#pragma unroll 1
            for (int e = 0; e < T::kVector; e += kPairs ? 2 : 1) {
              uint32_t key = load_element<T::kSize>(table, layer, v * T::kVector + (uint64_t)e);
              if (kPairs) key |= (uint32_t)load_element<T::kSize>(table, layer, v * T::kVector + (uint64_t)e + 1) << 8;
              one(key);
            }
          }
        }
        ++u, ++fresh;
      }
    }
    if (holds_first) {
      uint64_t covered = layer.vectors * T::kVector, rest = layer.elements - covered;
      if ((uint64_t)tid < rest) {
        uint64_t i = (uint64_t)tid < layer.head ? (uint64_t)tid : covered + (uint64_t)tid;
        count_global(layer.histogram, dtype_bins(kType), wide, load_element<T::kSize>(table, layer, i), 1);
      }
    }

    // Zeros, then the counters, into the layer's histogram.
    zeros = warp_sum(zeros), minus = warp_sum(minus);
    if (tid % 32 == 0) {
      if (zeros) atomicAdd(&zero[0], zeros);
      if (minus) atomicAdd(&zero[1], minus);
    }
    __syncthreads();
    if (tid == 0) {
      if (kBytes) {
        for (int k = 0; k < (kPairs ? 2 : 1); ++k)
          if (zero[0]) count_global(layer.histogram, 256, wide, 0, zero[0]);
      } else {
        if (zero[0] - zero[1]) count_global(layer.histogram, 65536, wide, 0, zero[0] - zero[1]);
        if (zero[1]) count_global(layer.histogram, 65536, wide, 0x8000u, zero[1]);
      }
    }
    if (!kBytes) {
      drain<kWindow, 1u>(counters, spill);
    } else {
      if (kPairs) {
        // Counter (high byte h, low byte b) is half of word h * 128 + b / 2: columns of words make the low bytes,
        // rows of 128 words the high ones, read from a different column in every lane so that banks do not clash.
        uint32_t even = 0, odd = 0;
        for (int h = tid / 128; h < 256; h += kThreads / 128) {
          uint32_t w = counters[h * 128 + tid % 128];
          even += w & 0xFFFFu, odd += w >> 16;
        }
        if (even) atomicAdd(bytes + tid % 128 * 2, even);
        if (odd) atomicAdd(bytes + tid % 128 * 2 + 1, odd);
        uint32_t row = 0;
        for (int k = 0; k < 64; ++k) {
          uint32_t w = counters[tid / 2 * 128 + tid % 2 * 64 + (k + tid / 2) % 64];
          row += (w & 0xFFFFu) + (w >> 16);
        }
        if (row) atomicAdd(bytes + tid / 2, row);
        __syncthreads();
      }
      if (tid < 256 && bytes[tid]) count_global(layer.histogram, 256, wide, (uint32_t)tid, bytes[tid]);
    }
    __syncthreads();
  }
}

static_assert(kThreads == 512, "the split of byte pairs takes two threads a row and four a column");

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
  int device = 0, limit = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (e != cudaSuccess) return e;
  // All counters, a sketch of up to 2^14 words beside them, and 8 KiB for what the kernels declare themselves.
  size_t sketch = dtype == ACTSCOPE_FLOAT32 && (statistics & ACTSCOPE_DISTINCT) && sketch_bits <= TUNE_SKETCH_SHARED_BITS ? (size_t)4 << sketch_bits : 0;
  bool full = (size_t)limit >= kWords * 4 + sketch + 8192;
  const size_t all = kWords * 4, window = TUNE_PROFILE_WINDOW * 2;
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
  cudaError_t start(void (*kernel)(cuda_profile_table), size_t dynamic, unsigned blocks) const {
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
  struct view_side side;
  const void *data;
  if (table->layers == CUDA_PROFILE_LAYERS) return 0;
  view_stream(v, &data, &side);
  int compact = v->elements <= 1 || (side.dims == 1 && side.axis[0].stride == 1);
  if (!compact && table->axes + side.dims > CUDA_PROFILE_AXES) return 0;
  const uint64_t size = actscope_dtype_size(v->dtype), each = 16 / size;
  struct cuda_profile_layer *layer = &table->layer[table->layers++];
  layer->data = data;
  layer->moments = moments, layer->histogram = histogram, layer->sketch = sketch;
  layer->elements = v->elements;
  layer->first_unit = table->units;
  layer->head = 0;
  layer->axis = layer->dims = 0;
  if (compact) {
    uint64_t head = (16 - ((uintptr_t)data & 15)) % 16 / size;
    layer->head = (uint32_t)(head < v->elements ? head : v->elements);
  } else {
    layer->axis = (int16_t)table->axes, layer->dims = (int16_t)side.dims;
    for (int d = 0; d < side.dims; ++d) table->axis[table->axes++] = side.axis[d];
  }
  layer->vectors = (v->elements - layer->head) / each;
  table->units += units_of(*layer);
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
