// profile_wide.cuh - the kernel of float32 and float64: see profile.cu.
//
// Contents   sketch · what a thread has seen · a batch · merging the threads of a block · the kernel
#pragma once
#include "profile.cuh"

namespace {
// ---- Sketch ----------------------------------------------------------------------------------------------------------
enum Sketch { kNone, kShared, kGlobal };  // where its words are; known at compile time, for generic addresses are slow

// Reads first: an atomic only for a bit that is new, and those become rare soon.
__device__ __forceinline__ void sketch_add(uint32_t *words, int p, uint32_t hash) {
  uint32_t *word = words + distinct_word(hash, p), bit = distinct_bit(hash, p);
  if ((load_relaxed(word) & bit) == 0) atomicOr(word, bit);
}

// Exchanges bits with the layer's sketch: this block's go in, those of the blocks that came by before come back. Returns
// the ranks that every word now has, from the lowest on without a gap, as a mask of the hash's lower bits: a hash with one
// of these bits set has such a rank and adds nothing any more. With lambda distinct values a word all words have the ranks
// up to about log2(lambda / ln m): the more blocks share a sketch, the sooner most hashes are through after one test.
// All threads call it; what they have put into `words` is in, and the mask is the same in all.
__device__ __forceinline__ uint32_t sketch_exchange(uint32_t *words, uint32_t *sketch, int p, uint32_t *everywhere) {
  uint32_t all = 0xFFFFFFFFu;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < 1u << p; i += kThreads) {
    uint32_t own = words[i], others = load_relaxed(sketch + i);
    if (own & ~others) atomicOr(sketch + i, own);
    words[i] = own |= others;
    all &= own;
  }
#pragma unroll
  for (int s = 16; s > 0; s >>= 1) all &= __shfl_xor_sync(kFullMask, all, s);
  if (threadIdx.x % 32 == 0) everywhere[threadIdx.x / 32] = all;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) all &= everywhere[w];
  return (all ^ (all + 1)) >> 1 & 0xFFFFFFFFu >> p;
}

// float32, zeros in batches: a ReLU makes half of the elements zeros, which would meet on one counter and whose hash, 0,
// no mask lets through. They are counted apart, and stood in for by NaN patterns that no batch has, one a lane: counters
// are at hand for them that nobody reads, in 31 words, and their hashes have one of the lowest four bits set.
constexpr uint32_t kStandIn = 0xFF820000u, kStandInBits = 0xEu;
static_assert(TUNE_SKETCH_SPARSE >= 15, "no stand-in may look like news to the sketch");
__device__ __forceinline__ uint32_t stand_in() { return (kStandIn + (threadIdx.x % 31 << 17)) | kStandInBits; }
__device__ __forceinline__ bool stood_in_for(uint32_t key) { return key - (kStandIn >> 16) < 62u; }

// ---- What a thread has seen ----------------------------------------------------------------------------------------------
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
// e of the power of two 2^-e.
__device__ __forceinline__ int log2_inverse(double power) { return 1023 - (int)(core_bits64(power) >> 52); }

// What a thread has seen of a layer. In float64 powers of elements may leave the range, and |x| log |x| too: the sums of
// |x| are then in units of 1 / scale like the others, and `before` has an exponent.
template <class Real>
struct Seen {
  static constexpr bool kScaled = sizeof(Real) == 8;
  Real pivot, scale, shift;  // elements enter the sums as d = x scale - shift, shift = pivot scale
  double s1, s2, s3, s4;     // of the n elements since the pivot was set
  uint32_t n;
  Real min, max;
  double abs, log;           // sum |x|, sum |x| log2 |x|; kScaled: of |x| scale, since the pivot was set
  uint32_t zero, negative, subnormal;
  struct moments before;     // n, mean, m2 .. m4 of what came before the pivot was set; kScaled: abs_sum, abs_log_sum too

  __device__ __forceinline__ void start() {
    pivot = shift = 0, scale = 0;  // no pivot yet
    s1 = s2 = s3 = s4 = abs = log = 0;
    n = zero = negative = subnormal = 0;
    min = (Real)core_infinity(), max = -min;
    moments_init(&before);
  }
  // A new pivot, from a mean and the largest distance to it. Without a spread: one that sees the smallest difference; about
  // 0 the largest there is, so that whatever is not 0 moves the pivot or is seen.
  __device__ __forceinline__ void set_pivot(Real mean, Real spread) {
    const Real size = (Real)fabs((double)mean), digit = size / (Real)16777216.0;
    pivot = mean;
    scale = inverse_power(spread > 0 ? spread : digit > 0 ? digit : size);
    shift = pivot * scale;
  }
  // Folds the sums into `before`.
  __device__ __forceinline__ void close() {
    if (n == 0) return;
    struct moments m;
    if constexpr (kScaled) {
      moments_init(&m);
      m.exponent = log2_inverse(scale);
      moments_from_shifted(&m, n, shift, s1, s2, s3, s4);
      m.abs_sum = abs, m.abs_log_sum = log * 0.69314718055994530942;
      moments_rescale(&m, moments_exponent((int)m.exponent));
      moments_merge(&before, &m);
      abs = log = 0;
    } else {
      moments_from_shifted(&m, n, 0.0, s1, s2, s3, s4);
      double unit = 1.0 / (double)scale, square = unit * unit;
      m.mean = (double)pivot + m.mean * unit;
      m.m2 *= square, m.m3 *= square * unit, m.m4 *= square * square;
      moments_merge_central(&before, &m);
    }
    s1 = s2 = s3 = s4 = 0, n = 0;
  }
};

struct Specials {  // of a block
  unsigned long long nan, positive_inf, negative_inf;
  unsigned long long beside;  // counted beside the counters: NaN whose counters stand in for zeros
};

// ---- A batch -----------------------------------------------------------------------------------------------------------
template <actscope_dtype kType, bool kMoments, bool kHistogram, Sketch kSketch, bool kFull>
struct Wide {
  using T = Traits<kType>;
  using W = typename Word<T::kSize>::type;
  using Real = decltype(as_value(W()));
  static constexpr bool kSharedCounters = kHistogram && kType == ACTSCOPE_FLOAT32;
  static constexpr bool kCountersKnowSigns = kSharedCounters && kFull;  // all elements but zeros pass through them
  static constexpr bool kFilters = kMoments && kSketch == kShared && kType == ACTSCOPE_FLOAT32;

  const cuda_profile_table &table;
  const cuda_profile_layer &layer;
  uint32_t *counters, *words;  // in shared memory
  Specials *specials;
  Seen<Real> seen;
  bool wide;

  __device__ __forceinline__ void sketch(uint32_t hash) {
    if (kSketch != kNone) sketch_add(kSketch == kShared ? words : layer.sketch, table.sketch_bits, hash);
  }

  // One more of a key that is not 0. With kFull those of a batch all have a counter, and so has what stands in for a zero.
  template <bool kBatched>
  __device__ __forceinline__ void count(uint32_t key) {
    using At = Place<kType, kFull>;
    const uint32_t place = At::of(key);
    if (kSharedCounters && (kFull ? kBatched || !stood_in_for(key) : place < At::kWindow))
      shared_add(counters, place / 2 * 4, counter_step(place));
    else
      count_global(layer.histogram, dtype_bins(kType), wide, key, 1);
  }

  // One element, in doubles. counted: as one of a batch.
  __device__ __forceinline__ void add(Real x, bool counted) {
    const uint32_t bin = bin_of(x);
    if (kHistogram && x != 0) {
      const bool beside = kCountersKnowSigns && stood_in_for(bin);
      if (!counted || beside) count<false>(bin);
      if (beside) atomicAdd(&specials->beside, 1ull);
    }
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
    if (a == 0) ++seen.zero;
    else if (a < dtype_smallest_normal(kType)) ++seen.subnormal;
    if (seen.kScaled) a *= (double)seen.scale;
    if (a > 0) {
      seen.abs += a;
      seen.log += a * (T::kSize == 8 ? log2(a) : (double)log2f((float)a));
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
      if (core_finite(x)) sum += x, ++n;
    }
    if (n == 0 || !core_finite(sum)) return;  // of the largest float64: the first element will do
    Real mean = (Real)(sum / n);
#pragma unroll 1
    for (int e = 0; e < vectors * T::kVector; ++e) {
      double x = (double)element_of(v, e), d = fabs(x * 0.5 - (double)mean * 0.5);
      if (core_finite(x) && d > far) far = d;
    }
    seen.set_pivot(mean, (Real)far);
  }

  // The first `vectors` of q (all of them with kAll), from vector v on, in float32. False where that will not do: then the
  // histogram has them, and nothing else. kSparse: hashes with a bit of `full` set need not enter the sketch, and others
  // are rare enough to be looked up again in the end.
  template <bool kAll, bool kSparse>
  __device__ __forceinline__ bool batch(const uint4 (&q)[kBatch], int vectors, uint64_t v, uint32_t full) {
    uint32_t marks = 0;  // pairs of elements that may change the sketch
    if (kMoments) {
      float s1 = 0, s2 = 0, s3 = 0, s4 = 0, abs = 0, log = 0;
      uint32_t zero = 0, negative = 0;
      int most = INT32_MIN;      // as integers the largest is the greatest value, where one is not negative,
      uint32_t most_bits = 0;    // and without a sign the least value, where one is negative
      const float scale = (float)seen.scale, shift = (float)seen.shift;
      const uint32_t stands_in = stand_in();
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        if (!kAll && k >= vectors) break;
        const uint32_t w[4] = {q[k].x, q[k].y, q[k].z, q[k].w};
        uint32_t stirred[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float x = core_f32(w[e]), d = fmaf(x, scale, -shift), d2 = d * d;
          s1 += d, s2 += d2, s3 = fmaf(d2, d, s3), s4 = fmaf(d2, d2, s4);
          abs += fabsf(x);
          const bool some = x != 0;
          if (some) log = fmaf(fabsf(x), fast_log2_abs(x), log);
          if (!kCountersKnowSigns) zero += !some, negative += x < 0;
          const uint32_t nonzero = kCountersKnowSigns || kSparse ? choose_word(some, w[e], stands_in) : w[e];
          if (kCountersKnowSigns) shared_add(counters, nonzero >> 15 & 0x1FFFCu, mask_and_set<0x10000u, 1u>(nonzero));
          else if (kHistogram && some) count<true>(w[e] >> 16);
          if (kSparse) stirred[e] = distinct_stir32(nonzero);
        }
        most = largest(largest(most, (int)w[0], (int)w[1]), (int)w[2], (int)w[3]);
        most_bits = largest(largest(most_bits, w[0], w[1]), w[2], w[3]);
        if (kSparse) {
          mark_unless_both(marks, 1u << k * 2, stirred[0], stirred[1], full);
          mark_unless_both(marks, 2u << k * 2, stirred[2], stirred[3], full);
        }
      }
      // Infinite or NaN where any element, logarithm or power was.
      if (!(scale > 0 && fabsf(log) < INFINITY && s4 < INFINITY)) return false;
      if ((most ^ (int)most_bits) >= 0) {  // all of one sign: the nearest to 0 is the least or the greatest
        uint32_t least_bits = 0xFFFFFFFFu;
#pragma unroll
        for (int k = 0; k < kBatch; ++k) {
          if (!kAll && k >= vectors) break;
          least_bits = smallest(smallest(least_bits, q[k].x, q[k].y), q[k].z, q[k].w);
        }
        if (most >= 0) most_bits = least_bits; else most = (int)least_bits;
      }
      if (kAll || vectors > 0) {
        seen.min = fminf((float)seen.min, core_f32(most_bits));
        seen.max = fmaxf((float)seen.max, core_f32((uint32_t)most));
      }
      seen.n += (uint32_t)(kAll ? kBatch : vectors) * 4;
      seen.s1 += s1, seen.s2 += s2, seen.s3 += s3, seen.s4 += s4, seen.abs += abs, seen.log += log;
      seen.zero += zero, seen.negative += negative;
    }
    if (kSparse) {
#pragma unroll 1
      while (marks) {
        const int pair = __ffs((int)marks) - 1;
        marks &= marks - 1;
        uint4 again = load_vector<4>(layer, v + (uint64_t)(pair / 2) * kThreads);
        const uint32_t w0 = pair % 2 ? again.z : again.x, w1 = pair % 2 ? again.w : again.y;
        if (w0 << 1) sketch(distinct_mix32(w0));  // not NaN, and zeros enter in the end
        if (w1 << 1) sketch(distinct_mix32(w1));
      }
    } else if (kSketch != kNone) {
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        if (!kAll && k >= vectors) break;
        const uint32_t w[4] = {q[k].x, q[k].y, q[k].z, q[k].w};
#pragma unroll
        for (int e = 0; e < 4; ++e)  // beside moments, values that came this far are not NaN, and adding 0 makes -0 canonical
          sketch(distinct_mix32(kMoments ? core_bits32(core_f32(w[e]) + 0.0f) : distinct_canonical32(w[e])));
      }
    }
    return true;
  }
};

// ---- Merging the threads of a block ------------------------------------------------------------------------------------
// Sums about one common pivot, the block's mean: adding them needs no Pebay term, so a block merges in a handful of
// plain sums. kScaled: with one exponent for all, the largest of those that have values other than 0. The result is right
// in thread 0.
struct MergeSpace {
  double a[2 * (kWarps + 1)], b[6 * (kWarps + 1)], low[kWarps], high[kWarps];
  unsigned long long counts[7 * (kWarps + 1)];
  int exponent[kWarps];
};
template <bool kScaled>
__device__ __forceinline__ void merge_block(struct moments &m, MergeSpace &space) {
  double low = m.min, high = m.max;
  int exponent = m.abs_sum > 0 ? (int)m.exponent : INT32_MIN;
#pragma unroll
  for (int s = 16; s > 0; s >>= 1) {
    low = fmin(low, __shfl_xor_sync(kFullMask, low, s));
    high = fmax(high, __shfl_xor_sync(kFullMask, high, s));
    if (kScaled) exponent = max(exponent, __shfl_xor_sync(kFullMask, exponent, s));
  }
  if (threadIdx.x % 32 == 0) {
    space.low[threadIdx.x / 32] = low, space.high[threadIdx.x / 32] = high;
    if (kScaled) space.exponent[threadIdx.x / 32] = exponent;
  }
  if (kScaled) {
    __syncthreads();
    for (int w = 0; w < kWarps; ++w) exponent = max(exponent, space.exponent[w]);
    if (exponent == INT32_MIN) exponent = 0;
    moments_rescale(&m, exponent);
  }
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
  for (int w = 0; w < kWarps; ++w) low = fmin(low, space.low[w]), high = fmax(high, space.high[w]);  // barriers came in between
  moments_init(&m);
  if (counts[0] > 0) moments_from_shifted(&m, counts[0], c, sums[0], sums[1], sums[2], sums[3]);
  if (kScaled) m.exponent = exponent;
  m.min = low, m.max = high, m.abs_sum = sums[4], m.abs_log_sum = sums[5];
  m.nan = counts[1], m.positive_inf = counts[2], m.negative_inf = counts[3];
  m.zero = counts[4], m.negative = counts[5], m.subnormal = counts[6];
}

// Elements of the units [from, stop) of a float32 layer; those around the vectors go with the first unit.
__device__ __forceinline__ uint64_t elements_of(const cuda_profile_layer &layer, uint64_t from, uint64_t stop) {
  const uint64_t first = from * kThreads < layer.vectors ? from * kThreads : layer.vectors;
  const uint64_t last = stop * kThreads < layer.vectors ? stop * kThreads : layer.vectors;
  const uint64_t each = 4, around = from == 0 ? layer.elements - layer.vectors * each : 0;
  return (last - first) * each + around;
}

// ---- The kernel --------------------------------------------------------------------------------------------------------
template <actscope_dtype kType, bool kMoments, bool kHistogram, Sketch kSketch, bool kFull>
__global__ void __launch_bounds__(kThreads, 1)
profile_wide(GRID_CONSTANT(cuda_profile_table) table, struct moments *partial, unsigned *done) {
  using Part = Wide<kType, kMoments, kHistogram, kSketch, kFull>;
  using T = Traits<kType>;
  constexpr uint32_t kWindow = Place<kType, kFull>::kWindow;
  constexpr bool kSharedCounters = Part::kSharedCounters, kScaled = kType == ACTSCOPE_FLOAT64;
  // Units between two sweeps of the counters.
  constexpr uint32_t kSweep = TUNE_PROFILE_SWEEP / (kThreads * T::kVector);
  static_assert(kSweep >= kBatch && kSweep % kBatch == 0, "a batch must not pass a sweep");
  __shared__ MergeSpace space;
  __shared__ uint32_t everywhere[kWarps];
  __shared__ Specials specials;
  uint32_t *counters = reinterpret_cast<uint32_t *>(dynamic_shared());
  uint32_t *words = counters + (kSharedCounters ? kWindow / 2 : 0);
  const int tid = (int)threadIdx.x;

  uint64_t unit = first_unit(table.units, blockIdx.x, gridDim.x);
  const uint64_t end = first_unit(table.units, blockIdx.x + 1, gridDim.x);

  for (int l = layer_of_unit(table, unit); unit < end; ++l) {
    const cuda_profile_layer &layer = table.layer[l];
    const uint64_t units = units_of(layer), stop_all = layer.first_unit + units;
    uint64_t u = unit - layer.first_unit, stop = (stop_all < end ? stop_all : end) - layer.first_unit;
    const bool holds_first = u == 0;
    const uint64_t units_from = u;
    unit = stop + layer.first_unit;

    if (kSharedCounters) clear(counters, kWindow);
    if (kSketch == kShared)
      for (uint32_t i = tid; i < 1u << table.sketch_bits; i += kThreads) words[i] = 0;
    if (tid == 0) specials = {0, 0, 0, 0};
    __syncthreads();

    Part part{table, layer, counters, words, &specials, {}, cuda_histogram_wide(layer.elements) != 0};
    part.seen.start();
    const uint64_t whole = layer.vectors / kThreads, last_full = stop < whole ? stop : whole;  // units without a missing vector
    uint32_t fresh = 0;                               // units since the last sweep
    uint64_t negatives = 0, counted = 0;              // found while counters were emptied
    uint32_t full = 0;                                // ranks that every word of the sketch has
    uint64_t exchange = kBatch;                       // units of this layer until the next exchange: 1, 2, 4 .. batches
    auto spill = [&](uint32_t place, uint32_t n) {
      uint32_t key = Place<kType, kFull>::key(place);
      if (kFull && stood_in_for(key)) return;
      count_global(layer.histogram, 65536, part.wide, key, n);
      counted += n;
      if (key >= 0x8000u && key < 0xFF80u) negatives += n;  // no zeros among them
    };
    uint64_t rest = holds_first ? layer.elements - layer.vectors * T::kVector : 0;  // around the vectors
    while (u < stop || rest > 0) {
      if (kSharedCounters && fresh + kBatch > kSweep) {
        __syncthreads();
        drain<kWindow, kSwept>(counters, spill);
        __syncthreads();
        fresh = 0;
      }
      if (Part::kFilters && u < stop && u - units_from >= exchange) {
        full = sketch_exchange(words, layer.sketch, table.sketch_bits, everywhere);
        exchange *= 2;
      }
      uint64_t v = u * kThreads + (uint64_t)tid;
      int slow = 0, around = 0;  // elements to add one by one: of the vectors, around them
      // Full batches that follow each other without a look at anything else, in units.
      uint64_t run = T::kSize == 4 && layer.dims == 0 && u < last_full ? last_full - u : 0;
      if (kSharedCounters && run > kSweep - fresh) run = kSweep - fresh;
      if (Part::kFilters && run > exchange - (u - units_from)) run = exchange - (u - units_from);
      if (run >= kBatch) {
        if (kMoments && part.seen.scale == 0) part.find_pivot(v, kBatch);
        for (int left = (int)(run < 1u << 20 ? run : 1u << 20) / kBatch;;) {
          uint4 q[kBatch];
#pragma unroll
          for (int k = 0; k < kBatch; ++k) q[k] = load_vector<T::kSize>(layer, v + (uint64_t)k * kThreads);
          const bool plain = Part::kFilters && full >= TUNE_SKETCH_SPARSE ? part.template batch<true, Part::kFilters>(q, kBatch, v, full)
                                                                          : part.template batch<true, false>(q, kBatch, v, full);
          u += kBatch, fresh += kBatch;
          if (!plain) {  // leaves by itself: the units at which all meet are counted, not the turns
            slow = kBatch * T::kVector;
            break;
          }
          if (--left == 0) break;
          v += (uint64_t)kBatch * kThreads;
        }
      } else if (u < stop) {
        int vectors = (int)(stop - u < kBatch ? stop - u : kBatch);
        if (u + kBatch > whole)
          while (vectors > 0 && v + (uint64_t)(vectors - 1) * kThreads >= layer.vectors) --vectors;
        if (kMoments && part.seen.scale == 0) part.find_pivot(v, vectors);
        bool plain = false;
        if (T::kSize == 4 && layer.dims == 0) {
          uint4 q[kBatch];
#pragma unroll
          for (int k = 0; k < kBatch; ++k)
            q[k] = k < vectors ? load_vector<T::kSize>(layer, v + (uint64_t)k * kThreads) : make_uint4(0, 0, 0, 0);
          plain = part.template batch<false, false>(q, vectors, v, full);
        }
        slow = plain ? 0 : vectors * T::kVector;
        u += kBatch, fresh += kBatch;
      } else {
        around = (uint64_t)tid < rest;
        rest = 0;
      }
      const uint64_t single = (uint64_t)tid < layer.head ? (uint64_t)tid : layer.vectors * T::kVector + (uint64_t)tid;
#pragma unroll 1
      for (int e = 0; e < slow + around; ++e) part.add(around ? part.element(single) : part.element_of(v, e), T::kSize == 4 && layer.dims == 0 && !around);
    }

    // The block's state of this layer.
    if (kMoments) part.seen.close();
    __syncthreads();
    if (kSharedCounters) drain<kWindow, 1u>(counters, spill);
    if (kMoments) {
      struct moments m = part.seen.before;
      m.min = (double)part.seen.min + 0.0, m.max = (double)part.seen.max + 0.0;  // +0, not -0
      if (!kScaled) m.abs_sum = part.seen.abs, m.abs_log_sum = part.seen.log * 0.69314718055994530942;
      m.subnormal = part.seen.subnormal;
      // Every element but a zero went through the counters, so they know the negatives, and the zeros are the others: all
      // elements of the block less those counted, taken off in thread 0 and spread over the threads as they come.
      m.zero = part.seen.zero, m.negative = Part::kCountersKnowSigns ? negatives : part.seen.negative;
      if (Part::kCountersKnowSigns) m.zero = (tid == 0 ? elements_of(layer, units_from, stop) - specials.beside : 0) - counted;
      if (tid == 0) m.nan = specials.nan, m.positive_inf = specials.positive_inf, m.negative_inf = specials.negative_inf;
      merge_block<kScaled>(m, space);
      if (tid == 0) {
        partial[blockIdx.x + (unsigned)l] = m;
        if (Part::kFilters && m.zero) atomicOr(layer.sketch + distinct_word(0, table.sketch_bits), distinct_bit(0, table.sketch_bits));
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
        merge_block<kScaled>(m, space);
        if (tid == 0) *layer.moments = m;
      }
    }
    // What the next layer clears before its first barrier, each thread was the last to read itself.
  }
}
}  // namespace
