// finish.cu - from states to reports, on the device: one block a layer, all layers in one launch.
//
// Contents   histogram to quantiles · histogram to buckets · histogram to moments (narrow types) · sketch to a count · the kernel · entry point
//
// Layout     A block of 256 threads reads the layer's histogram (256 KiB at most twice, from the L2 cache), its sketch
//            and its small states, and builds the report in shared memory; all threads then copy it to the host's pinned
//            memory, where a layer has a ring of reports: the slot's own sequence number is 0 while it is being written.
//            Every report is fenced before its block counts itself in; the last block writes the header, the sequence
//            number last of all: a host that sees the number sees the reports.
// Windows    Where a layer has one, its counters, sketch and feature states here are the window's (window.cu); moments, pairs
//            and what is averaged over steps join the window's here, by one thread.
// Agreement  Everything that is not a loop over thousands of bins is core/: the same formulas as the CPU backend's. The loops
//            here add the same terms in another order; quantiles and counts are integers and come out the same.
#include <stddef.h>

#include "core/similarity.h"
#include "gpu.cuh"
#include "kernels.h"

namespace {
constexpr int kThreads = 256, kWarps = kThreads / 32;

struct Space {
  unsigned long long integers[8 * (kWarps + 1)], scan[kWarps];
  double reals[4 * (kWarps + 1)], low[kWarps], high[kWarps];
  unsigned columns[33];
  struct cuda_report report;
};

__device__ __forceinline__ uint64_t counter(const cuda_finish_layer &layer, uint32_t bin) {
  uint64_t n = layer.histogram[bin];
  if (layer.wide) n += (uint64_t)layer.histogram[dtype_bins(layer.dtype) + bin] << 32;
  return n;
}
// Calls f(bin, count) for the bins that are not empty in groups of four: group, group + step, ... below stop. Eight groups
// are loaded at a time: most bins of most layers are empty, and the loop is bound by the latency of the L2 cache.
template <class F>
__device__ __forceinline__ void each_bin(const cuda_finish_layer &layer, uint32_t group, uint32_t stop, uint32_t step, F f) {
  const uint4 *low = reinterpret_cast<const uint4 *>(layer.histogram);
  const bool wide = layer.wide != 0;
  for (; group < stop; group += 8 * step) {
    uint32_t hits = 0;
#pragma unroll
    for (uint32_t j = 0; j < 8; ++j) {
      if (group + j * step >= stop) break;
      const uint4 q = low[group + j * step];
      hits |= (uint32_t)((q.x != 0) | (q.y != 0) << 1 | (q.z != 0) << 2 | (q.w != 0) << 3) << 4 * j;
      if (wide) hits |= 15u << 4 * j;
    }
    for (; hits; hits &= hits - 1) {
      const uint32_t b = (uint32_t)__ffs((int)hits) - 1, bin = (group + b / 4 * step) * 4 + b % 4;
      const uint64_t n = counter(layer, bin);
      if (n) f(bin, n);
    }
  }
}
// The value of a bin of a narrow type, infinities and NaN included.
__device__ __forceinline__ double narrow_value(actscope_dtype dtype, uint32_t bin) {
  switch (dtype) {
    case ACTSCOPE_FLOAT16: return (double)dtype_f16((uint16_t)bin);
    case ACTSCOPE_BFLOAT16: return (double)dtype_bf16((uint16_t)bin);
    case ACTSCOPE_FLOAT8_E4M3: return (double)dtype_e4m3((uint8_t)bin);
    default: return (double)dtype_e5m2((uint8_t)bin);
  }
}

// ---- Histogram to quantiles ------------------------------------------------------------------------------------------
// As histogram_quantiles(): thread t counts its run of bins, in ascending order of value; the thread in whose run a level
// is reached looks for the bin there. Ends without a barrier.
__device__ GPU_NOINLINE void quantiles(const cuda_finish_layer &layer, uint64_t n, double min, double max, Space &space) {
  const uint32_t bins = dtype_bins(layer.dtype), share = bins / kThreads, each = share < 4 ? 4 : share;
  const uint32_t first = threadIdx.x * each;  // a run lies in one half of the bins, whose order is turned round in the first
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  unsigned long long mine = 0;
  if (first < bins) {
    const uint32_t group = (first < bins / 2 ? bins - first - each : first - bins / 2) / 4;
    each_bin(layer, group, group + each / 4, 1, [&](uint32_t bin, uint64_t c) {
      const double v = dtype_bin_value(layer.dtype, bin);
      if (v == v) mine += c;
    });
  }
  unsigned long long upto = mine;  // of the warp, this thread included
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) {
    const unsigned long long below = __shfl_up_sync(kFullMask, upto, (unsigned)d);
    if (lane >= d) upto += below;
  }
  if (lane == 31) space.scan[warp] = upto;
  __syncthreads();
  uint64_t below = upto - mine;
  for (int w = 0; w < warp; ++w) below += space.scan[w];
  const uint32_t percent[ACTSCOPE_QUANTILE_COUNT] = {1, 5, 25, 50, 75, 95, 99};
#pragma unroll 1
  for (int q = 0; q < ACTSCOPE_QUANTILE_COUNT; ++q) {
    if (n == 0) {
      if (threadIdx.x == 0) space.report.profile.quantiles[q] = core_nan();
      continue;
    }
    uint64_t target = n / 100 * percent[q] + (n % 100 * percent[q] + 99) / 100;
    if (target == 0) target = 1;
    if (!(below < target && target <= below + mine)) continue;
    uint64_t seen = below;
    for (uint32_t k = first; k < first + each; ++k) {
      const uint32_t bin = histogram_ascending(bins, k);
      const uint64_t c = counter(layer, bin);
      const double v = dtype_bin_value(layer.dtype, bin);
      if (c == 0 || v != v) continue;
      seen += c;
      if (seen < target) continue;
      const double value = v + 0.0;
      space.report.profile.quantiles[q] = value < min ? min : value > max ? max : value;
      break;
    }
  }
}

// ---- Histogram to buckets --------------------------------------------------------------------------------------------
// As histogram_buckets_of(). The report is 0 there before. Ends without a barrier.
__device__ GPU_NOINLINE void value_buckets(const cuda_finish_layer &layer, uint64_t zero, uint64_t negative, Space &space) {
  const uint32_t bins = dtype_bins(layer.dtype), half = bins / 2;
  const int middle = ACTSCOPE_VALUE_BUCKETS / 2;
  each_bin(layer, threadIdx.x, bins / 4, kThreads, [&](uint32_t bin, uint64_t c) {
    const double v = dtype_bin_value(layer.dtype, bin);
    if (v != v) return;
    const int k = bin % half == 0 ? 0 : histogram_bucket(fabs(v));
    atomicAdd(reinterpret_cast<unsigned long long *>(&space.report.profile.buckets[bin < half ? middle + k : middle - k]), c);
  });
  __syncthreads();
  if (threadIdx.x == 0) histogram_buckets_finish(zero, negative, space.report.profile.buckets);
}

// ---- Histogram to moments (narrow types) -----------------------------------------------------------------------------
// As histogram_moments() and histogram_distinct(), in all threads. Bins go round the threads: those that are hit lie
// close together.
__device__ GPU_NOINLINE void narrow_moments(const cuda_finish_layer &layer, struct moments &m, uint64_t &distinct, Space &space) {
  const actscope_dtype dtype = layer.dtype;
  const uint32_t bins = dtype_bins(dtype);
  const double normal = dtype_smallest_normal(dtype);
  unsigned long long counts[8] = {0, 0, 0, 0, 0, 0, 0, 0};  // n, nan, +inf, -inf, zero, negative, subnormal, values but NaN
  double sums[3] = {0, 0, 0}, low = core_infinity(), high = -core_infinity();
  each_bin(layer, threadIdx.x, bins / 4, kThreads, [&](uint32_t bin, uint64_t c) {
    const double v = narrow_value(dtype, bin), a = fabs(v), w = (double)c;
    if (v != v) {
      counts[1] += c;
      return;
    }
    if (!(bin == bins / 2 && counter(layer, 0) > 0)) ++counts[7];  // -0 beside +0 is the same value
    if (!core_finite(v)) {
      if (v > 0) counts[2] += c; else counts[3] += c;
      return;
    }
    counts[0] += c;
    sums[0] += w * v, sums[1] += w * a;
    low = v < low ? v + 0.0 : low, high = v > high ? v + 0.0 : high;
    if (a > 0) sums[2] += w * a * log(a); else counts[4] += c;
    if (v < 0) counts[5] += c;
    if (a > 0 && a < normal) counts[6] += c;
  });
  block_sum<kThreads>(counts, space.integers);
  block_sum<kThreads>(sums, space.reals);
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) {
    low = fmin(low, __shfl_xor_sync(kFullMask, low, d));
    high = fmax(high, __shfl_xor_sync(kFullMask, high, d));
  }
  if (threadIdx.x % 32 == 0) space.low[threadIdx.x / 32] = low, space.high[threadIdx.x / 32] = high;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) low = fmin(low, space.low[w]), high = fmax(high, space.high[w]);
  moments_init(&m);
  m.n = counts[0], m.nan = counts[1], m.positive_inf = counts[2], m.negative_inf = counts[3];
  m.zero = counts[4], m.negative = counts[5], m.subnormal = counts[6];
  m.min = low, m.max = high, m.abs_sum = sums[1], m.abs_log_sum = sums[2];
  distinct = counts[7] + (counts[1] > 0 ? 1 : 0);
  const double mean = m.n > 0 ? sums[0] / (double)m.n : 0;
  double central[4] = {0, 0, 0, 0};
  each_bin(layer, threadIdx.x, bins / 4, kThreads, [&](uint32_t bin, uint64_t c) {
    const double v = narrow_value(dtype, bin);
    if (!core_finite(v)) return;
    const double d = v - mean, d2 = d * d, w = (double)c;
    central[0] += w * d, central[1] += w * d2, central[2] += w * d2 * d, central[3] += w * d2 * d2;
  });
  block_sum<kThreads>(central, space.reals);  // the sums before it were read before the barrier above
  if (m.n > 0) m.mean = mean + central[0] / (double)m.n;
  m.m2 = central[1], m.m3 = central[2], m.m4 = central[3];
}

// ---- Sketch to a count -------------------------------------------------------------------------------------------------
// Words with bit k set, for every k, into space.columns. All threads; ends with a barrier.
__device__ GPU_NOINLINE void sketch_columns(const cuda_finish_layer &layer, Space &space) {
  if (threadIdx.x < 33) space.columns[threadIdx.x] = 0;
  __syncthreads();
  const uint32_t words = 1u << layer.sketch_bits;
  for (uint32_t from = threadIdx.x / 32 * 32; from < words; from += kThreads) {
    const uint32_t i = from + threadIdx.x % 32, w = i < words ? layer.sketch[i] : 0;
    for (int k = 0; k <= 32 - layer.sketch_bits; ++k) {
      const int set = __popc(__ballot_sync(kFullMask, (int)(w >> k & 1u)));
      if (threadIdx.x % 32 == 0 && set) atomicAdd(&space.columns[k], (unsigned)set);
    }
  }
  __syncthreads();
}
// As distinct_likelihood(), a column a lane. The first warp calls it.
__device__ GPU_NOINLINE void warp_likelihood(const Space &space, int p, double *lambda, double *log_error) {
  const int k = (int)threadIdx.x, q = 32 - p;
  const double m = (double)(1u << p), t = k <= q ? ldexp(1.0, k < q ? -(k + 1) : -q) : 0;
  const double c = k <= q ? (double)space.columns[k] : 0;
  const double clear = warp_sum(k <= q ? (m - c) * t : 0.0), set = warp_sum(c);
  *lambda = *log_error = 0;
  if (set == 0) return;
  if (clear <= 0) {
    *lambda = core_infinity();
    return;
  }
  double low = -40, high = 40;  // ln x
  for (int step = 0; step < 100; ++step) {
    const double middle = 0.5 * (low + high), x = exp(middle);
    const double score = warp_sum(c > 0 ? c * t / expm1(t * x) : 0.0) - clear;
    if (score > 0) low = middle; else high = middle;
    if (high - low < 1e-13) break;
  }
  const double x = exp(0.5 * (low + high)), e = c > 0 ? expm1(t * x) : 0;
  const double information = warp_sum(c > 0 && e < 1e150 ? c * t * t * (e + 1) / (e * e) : 0.0);
  *lambda = m * x;
  const double spread = information > 0 ? 1 / (x * x * information) - 1 / (m * x) : 0;
  *log_error = spread > 0 ? sqrt(spread) : 0;
}

// ---- Features ----------------------------------------------------------------------------------------------------------
// Adds a number that may not exist, and gives the mean of those that did.
__device__ __forceinline__ double window_mean(double &sum, unsigned long long &steps, double value) {
  if (value == value) sum += value, ++steps;
  return steps ? sum / (double)steps : core_nan();
}

__device__ GPU_NOINLINE void finish_nulls(const cuda_finish_layer &layer, actscope_correlation &c) {
  struct cuda_window_state *w = layer.kept;
  if (layer.halves) {
    const struct cuda_halves *h = layer.halves;
    halves_finish(h->product, h->first, h->second, h->valid, &c.split_half, &c.split_half_rms);
    if (w) {
      c.split_half = window_mean(w->half_sum, w->half_steps, c.split_half);
      c.split_half_rms = window_mean(w->half_rms_sum, w->half_rms_steps, c.split_half_rms);
    }
  }
  if (layer.shift) {
    const uint64_t n = layer.shift->count;
    const double floor = n > 0 ? pairs_value(&layer.shift->pairs.abs) / (double)n : core_nan();
    c.noise_floor_shift = w ? window_mean(w->shift_sum, w->shift_steps, floor) : floor;
  }
}

__device__ GPU_NOINLINE void finish_features(const cuda_finish_layer &layer, struct cuda_report &r) {
  const struct cuda_features f = *layer.features_out;
  const uint64_t total = pairs_total(f.valid);
  struct cuda_window_state *w = layer.kept;
  if (f.nonfinite) r.nonfinite = 1;
  r.health.constant = w ? w->constant : f.constant, r.health.nonfinite = w ? w->nonfinite : f.nonfinite;
  r.health.dead = w ? w->dead : f.dead;
  r.health.active_fraction = layer.features > 0 ? 1 - (double)r.health.dead / (double)layer.features : core_nan();
  double frobenius = layer.frobenius_square && f.valid > 0 ? *layer.frobenius_square : core_nan();
  if (layer.correlation != ACTSCOPE_CORRELATION_GRAM && layer.pairs) {
    struct pairs p = *layer.pairs;
    uint64_t all = total;
    p.shares = 1;
    p.count = layer.correlation == ACTSCOPE_CORRELATION_SAMPLED && layer.pairs_wanted < total ? layer.pairs_wanted : total;
    if (p.count == total) frobenius = (double)f.valid + 2 * pairs_value(&p.square);
    else if (layer.all_pairs) frobenius = (double)f.valid + 2 * pairs_value(&layer.all_pairs->square);
    if (w) {
      pairs_merge(&w->pairs, &p);
      p = w->pairs;
      all = w->pairs_total += total;
    }
    pairs_finish_of(&p, layer.correlation, layer.functionals, layer.same_pairs, layer.samples, f.valid, all, &r.correlation);
  } else if (layer.correlation == ACTSCOPE_CORRELATION_GRAM) {
    pairs_report_init(layer.samples, f.valid, &r.correlation);
    r.correlation.method = ACTSCOPE_CORRELATION_GRAM;
    r.correlation.mean_square = gram_mean_square(frobenius, f.valid);
    if (w) {
      r.correlation.mean_square = window_mean(w->square_sum, w->square_steps, r.correlation.mean_square);
      r.correlation.pairs_total = w->pairs_total += total;
    }
    r.correlation.pairs = r.correlation.pairs_total;
    r.correlation.adjusted_rms = pairs_adjusted_rms(r.correlation.mean_square, layer.samples);
  }
  finish_nulls(layer, r.correlation);
  r.rank.participation_ratio = f.valid > 0 ? gram_participation_ratio(frobenius, f.valid) : core_nan();
  r.rank.effective_rank = layer.effective_rank && f.valid > 0 ? *layer.effective_rank : core_nan();
  if (w) {
    r.rank.participation_ratio = window_mean(w->participation_sum, w->participation_steps, r.rank.participation_ratio);
    r.rank.effective_rank = window_mean(w->effective_sum, w->effective_steps, r.rank.effective_rank);
  }
}

// Of each feature, in all threads: the step joins the window, whose numbers go to the host. A single block, which is slow
// for millions of features, but they are told as the report is, and only where asked for.
__device__ GPU_NOINLINE void finish_correlations(const cuda_finish_layer &layer, unsigned long long steps, unsigned long long sequence) {
  const uint64_t valid = layer.features_out->valid, total = pairs_total(valid);
  const uint64_t count = layer.correlation == ACTSCOPE_CORRELATION_SAMPLED && layer.pairs_wanted < total ? layer.pairs_wanted : total;
  volatile uint64_t *own = &layer.correlations_out->sequence;
  if (threadIdx.x == 0) {
    *own = 0;
    __threadfence_system();
  }
  for (uint64_t i = threadIdx.x; steps == 1 && i < layer.features; i += kThreads) layer.correlations[i] = pairs_feature();
  __syncthreads();
  for (uint64_t p = threadIdx.x; count > 0 && p < valid; p += kThreads)
    pairs_feature_add(&layer.correlations[layer.list[p]], layer.feature_sum[p], layer.feature_max[p], pairs_partners(p, valid, count));
  __syncthreads();
  float *mean = layer.correlations_out->of, *max = mean + layer.features;
  for (uint64_t i = threadIdx.x; i < layer.features; i += kThreads) pairs_feature_finish(&layer.correlations[i], &mean[i], &max[i]);
  __threadfence_system();  // every thread its own numbers
  __syncthreads();
  if (threadIdx.x == 0) *own = sequence;
}

// ---- The kernel --------------------------------------------------------------------------------------------------------
__device__ GPU_NOINLINE void finish_similarity(const cuda_finish_layer &layer, struct cuda_report &r) {
  struct cuda_window_state *w = layer.kept;
  similarity_finish(layer.similarity->square, layer.similarity->used, layer.similarity->zero, layer.samples, &r.similarity);
  if (!w) return;
  r.similarity.mean_cosine = window_mean(w->cosine_sum, w->cosine_steps, r.similarity.mean_cosine);
  r.similarity.zero_samples = w->zero_samples += r.similarity.zero_samples;
  r.similarity.nonfinite_samples = w->nonfinite_samples += r.similarity.nonfinite_samples;
}

__global__ void __launch_bounds__(kThreads, 1)
finish_kernel(GRID_CONSTANT(cuda_finish_table) t, struct cuda_finish_words *words, struct cuda_report_header *header) {
  __shared__ Space space;
  const cuda_finish_layer &layer = t.layer[blockIdx.x];
  const int tid = (int)threadIdx.x;
  const bool narrow = dtype_is_narrow(layer.dtype) != 0;
  const bool profile = (layer.statistics & ACTSCOPE_PROFILE) != 0, distinct = (layer.statistics & ACTSCOPE_DISTINCT) != 0;
  const unsigned long long sequence = layer.clock->sequence, steps = layer.clock->steps;
  const uint64_t elements = layer.elements * steps;
  struct cuda_report &r = space.report;
  for (unsigned i = threadIdx.x; i < sizeof r / 4; i += kThreads) reinterpret_cast<uint32_t *>(&r)[i] = 0;
  __syncthreads();

  if (profile || distinct) {
    struct moments m;
    uint64_t values = 0;
    moments_init(&m);
    if (narrow) {
      narrow_moments(layer, m, values, space);
    } else if (profile) {
      m = *layer.moments;
      if (layer.kept) {
        if (tid == 0) moments_merge(&layer.kept->moments, &m);
        __syncthreads();
        m = layer.kept->moments;
      }
    }
    if (tid == 0 && profile) moments_finish(&m, layer.statistics, &r.profile);
    const bool asked = (layer.statistics & ACTSCOPE_QUANTILES) != 0;
    if (asked) {
      quantiles(layer, m.n, m.min, m.max, space);
      value_buckets(layer, m.zero, m.negative, space);
    } else if (tid < ACTSCOPE_QUANTILE_COUNT && profile) {
      r.profile.quantiles[tid] = core_nan();
    }
    if (distinct && !narrow && layer.sketch) {
      sketch_columns(layer, space);
      if (tid < 32) {
        double lambda, error;
        warp_likelihood(space, layer.sketch_bits, &lambda, &error);
        if (tid == 0) {
          uint64_t c[33];
          for (int k = 0; k < 33; ++k) c[k] = space.columns[k];
          distinct_report(layer.dtype, c, layer.sketch_bits, lambda, error, elements, &r.distinct);
        }
      }
    } else if (distinct && tid == 0) {
      distinct_finish_exact(narrow ? values : *layer.distinct_count, elements, &r.distinct);
    }
    if (tid == 0 && (m.nan || m.positive_inf || m.negative_inf)) r.nonfinite = 1;
  }
  if (tid == 0) {
    if (layer.features_out) finish_features(layer, r);
    if (layer.similarity) finish_similarity(layer, r);
    if (r.nonfinite) atomicMin(&words->alarm, sequence << 24 | (unsigned long long)(t.first_layer + t.index[blockIdx.x]));
    r.steps = steps;
  }

  if (layer.correlations) finish_correlations(layer, steps, sequence);
  if (layer.top && tid == 0) {
    layer.top_out->count = layer.top->count, layer.top_out->above = layer.top->above;
    __threadfence_system();
    *const_cast<volatile uint64_t *>(&layer.top_out->sequence) = sequence;
  }

  struct cuda_report *out = layer.report + sequence % t.history * t.stride;
  volatile uint64_t *own = &out->sequence;
  if (tid == 0) {
    *own = 0;
    __threadfence_system();
  }
  __syncthreads();
  uint32_t *to = reinterpret_cast<uint32_t *>(out);
  for (unsigned i = threadIdx.x; i < offsetof(struct cuda_report, sequence) / 4; i += kThreads)
    to[i] = reinterpret_cast<const uint32_t *>(&r)[i];
  __threadfence_system();  // every thread its own words, before the block counts itself in
  __syncthreads();
  if (tid == 0) {
    *own = sequence;
    *const_cast<volatile uint64_t *>(layer.newest) = sequence;
    __threadfence_system();
  }
  if (!last_block(&words->done, gridDim.x)) return;
  if (tid == 0) {
    *const_cast<volatile uint64_t *>(&header->alarm) = load_relaxed(&words->alarm);
    *const_cast<volatile uint64_t *>(&header->alarm_of) = words->alarms;
    const unsigned long long now = words->step + 1;
    words->step = now;
    __threadfence_system();
    *const_cast<volatile uint64_t *>(&header->sequence) = now;
  }
}
}  // namespace

extern "C" int actscope_cuda_finish(const struct cuda_finish_table *table, struct cuda_finish_words *words,
                                    struct cuda_report_header *header, struct CUstream_st *stream) {
  if (table->layers == 0) return (int)cudaSuccess;
  return (int)gpu_launch(finish_kernel, dim3((unsigned)table->layers), dim3(kThreads), 0, stream, *table, words, header);
}
