// correlation_wgmma.cu - what correlation.cu computes, by the warpgroup products and tensor copies of sm_90a.
//
// Contents   what is launched · jobs · the producer · waiting · sums · the epilogue · of each feature · a consumer's way ·
//            the kernel · launching
//
// No device has run this yet: it is never chosen by itself (docs/performance.md). Tiles, pairs and integers are those of
// schedule.cuh and pairs.h, so that both kernels count the same. The matrix of r itself (feature_gram) and the largest pairs
// (top) are the other one's.
//
// Roles      A block of three warpgroups, one block a multiprocessor: two consume, one thread of the third produces. It walks
//            the schedule, writes down jobs (a tile or two) and has boxes of 128 features by 64 samples copied into shared
//            memory, 16 KiB each; all that passes between them is barriers of hopper.cuh. The third gives up registers.
// Operands   z is features by samples, so both operands lie along the summed index, as wgmma takes them by default, and a tile
//            turned round (schedule.cuh) is the same two boxes in exchanged roles. Boxes end in zeros beyond the pitch.
// Feed       A multiprocessor multiplies 2,048 binary16 pairs a cycle. The L2 cache delivers some 5.5 TB/s: 23 bytes a cycle
//            and multiprocessor at 1.83 GHz. Two fresh panels for each tile of 128 x 128 would be 64 bytes a cycle. So a
//            panel of rows stays while panels of columns pass by; a sample of theirs costs
//              one product, up to 256 samples     256 rows stay:  128 columns x 2 bytes in 16 cycles   16 bytes a cycle
//              three products, up to 192 samples  128 rows stay:  128 columns x 4 bytes in 24 cycles   21 bytes a cycle
//              more samples                       both pass:      256 rows x 2 bytes in 8 cycles       64 bytes a cycle
//                                                 three products: 256 rows x 4 bytes in 24 cycles      43 bytes a cycle
//            The sums of 256 rows take all registers and leave none to promote into, and 14 boxes are all of shared memory:
//            beyond that the L2 cache bounds the kernel. Clusters of two blocks that share a panel (multicast) would take
//            48 and 32 bytes there; that waits for a measurement.
// Turns      Where rows stay, the consumers take turns: one's products run while the other is in its epilogue. Each has
//            128 x 128 outputs of its own (64 x 128 with three products). Where both panels pass, they share every box and a
//            tile, 64 rows each, and the epilogue is a small part.
// Order      Products of 16 samples are added one after the other, three products as hi hi, then hi lo and lo hi into sums of
//            their own; every TUNE_PAIRS_PROMOTE samples the sums are added to float32 registers: as correlation.cu does.
// Sums       A thread's sums over 64 outputs of a tile are rounded once to 2^-40 and added as integers: same bits on any grid
//            and in strips. The groups of 64 are others than in correlation.cu, so sums agree to rounding between the two;
//            counts, histogram and maximum do wherever r does.
// Epilogue   An output costs two weights, |r|, r^2, two sums and the maximum: some 6 lane-instructions, where there is time for
//            8 at 128 samples; counts and the sum of r itself as in correlation.cu. Outputs that are no pairs become 0.
// Features   Kernels of their own also add up |r| of each row and each column of a tile, where a layer asks: 7 to 9 more. A
//            consumer's warp has a row whole, and 16 rows of a column, or 32 where two units share it: lanes of the same row
//            by a butterfly, those of the same column by one that halves the columns at each step. Each part is rounded once,
//            to 2^-32, and goes to the layer's sums by itself: an atomic instruction is 32 columns in a row.
#include "gpu.cuh"
#include "hopper.cuh"
#include "kernels.h"
#include "schedule.cuh"
#include "tuning.h"

namespace {
// ---- What is launched ------------------------------------------------------------------------------------------------
constexpr int kConsumers = 2, kThreads = kConsumers * 128 + 128;
constexpr int kLayers = 24;            // of a launch: parameters are at most 32,764 bytes
constexpr int kBoxes = 14, kCountBoxes = 2;  // of shared memory; of those, taken by the histogram
constexpr int kJobs = 4, kStages = 12;

// Layers of one launch: all with one product or all with three; panels that stay are `steps` boxes long in all of them.
struct wgmma_layers {
  int32_t layers;
  uint32_t panels, stages;             // panels that stay, at a time: 0, 1 or 2; stages of the ring
  cuda_layer layer[kLayers];
  CUtensorMap map[kLayers][4];         // hi and lo of the strip, hi and lo of the other one
};
static_assert(sizeof(wgmma_layers) <= 32764, "kernel parameters");

template <bool kThree, bool kStays>
struct Form {
  static constexpr int kParts = kThree ? 2 : 1;               // hi; hi and lo
  static constexpr int kUnits = !kThree && kStays ? 2 : 1;    // of 64 rows, of a consumer; and tiles of a job
  static constexpr int kStage = kParts * (kStays ? 1 : 2);    // boxes of a stage of the ring
  // Registers of a producing and of a consuming thread: one and two of 512 in a quarter of a multiprocessor.
  static constexpr int kProducer = 40, kConsumer = 232;
};
__host__ __device__ inline uint32_t steps_of(uint32_t pitch) { return (pitch + kBoxColumns - 1) / kBoxColumns; }

// How shared memory is divided for panels of so many steps. Two panels stay where the ring still holds two passing ones, one
// where it holds one: the consumers take turns, so all of it must be there at once.
struct Division {
  uint32_t panels, stages;
};
inline Division divide(bool three, bool counts, uint32_t steps) {
  const uint32_t boxes = kBoxes - (counts ? kCountBoxes : 0), parts = three ? 2 : 1, tiles = three ? 1 : 2;
  for (uint32_t panels = 2; panels > 0; --panels) {
    const uint64_t held = (uint64_t)panels * tiles * parts * steps;
    if (held + (uint64_t)panels * steps * parts > boxes) continue;
    const uint32_t ring = (boxes - (uint32_t)held) / parts;
    return {panels, ring < kStages ? ring : kStages};
  }
  return {0, boxes / (2 * parts)};
}

// ---- Jobs ------------------------------------------------------------------------------------------------------------
// What a consumer needs to know of a step. Positions are below 2^32.
struct Job {
  int32_t layer;                // -1: no more
  bool fresh, sampled;          // fresh: the first one of another panel
  uint32_t valid, rounds, rest; // sampled: pairs = rounds valid + rest
  Tile tile[2];                 // of each consumer; of both where there is but one
};
struct Control {
  uint64_t full[kStages], empty[kStages];          // of the ring
  uint64_t panel_full[2], panel_empty[2];
  uint64_t job_full[kJobs], job_empty[kJobs];
  uint64_t turn[kConsumers];
  Job job[kJobs];
  Work work;                                       // the producer's, as the next
  uint32_t rounds, rest;
};
constexpr size_t kShared = 1024 + (size_t)kBoxes * kBoxBytes + sizeof(Control);  // 1024: to begin at a multiple of it
static_assert(kShared <= 227 << 10, "shared memory");

#if GPU_HAS_HOPPER
constexpr int kPromoteBoxes = TUNE_PAIRS_PROMOTE / kBoxColumns;
// A place in a ring of `size`, and the parity of its round.
struct Place {
  uint32_t at = 0, round = 0;
  __device__ __forceinline__ void next(uint32_t size) {
    if (++at == size) at = 0, round ^= 1;
  }
};
__device__ __forceinline__ uint32_t box_at(uint32_t boxes, uint32_t k) { return boxes + k * kBoxBytes; }

// ---- The producer ----------------------------------------------------------------------------------------------------
template <bool kThree, bool kStays>
__device__ __forceinline__ void produce(const wgmma_layers &t, Control &c, uint32_t boxes) {
  using F = Form<kThree, kStays>;
  constexpr uint32_t kParts = F::kParts, kTiles = F::kUnits, kStage = F::kStage;
  Place job, stage, panel;
  uint32_t before = 0;  // turns of earlier layers, modulo the grid
  for (int l = 0; l < t.layers; ++l) {
    const cuda_layer &layer = t.layer[l];
    Work &w = c.work;
    set_work(layer, w);
    const uint32_t steps = steps_of(layer.pitch), ring = t.panels * kTiles * kParts * steps;  // boxes before the ring
    // A panel holds kTiles tile rows; in turn s the row b of it meets its partner s - b, all of them the same panel of columns.
    const uint32_t rows = w.tiles[0], partners = rows ? (uint32_t)((w.count + rows - 1) / rows) : 0;
    const uint32_t across = w.strips || partners == 0 ? partners : partners + kTiles - 1;
    const uint64_t turns = (uint64_t)((rows + kTiles - 1) / kTiles) * across;
    const uint32_t mine = (blockIdx.x + before) % gridDim.x;
    before = (uint32_t)((before + turns) % gridDim.x);
    if (turns == 0) continue;
    c.rounds = (uint32_t)(w.pairs / w.valid), c.rest = (uint32_t)(w.pairs % w.valid);
    const uint64_t first = turns * mine / gridDim.x;
    uint64_t left = turns * (mine + 1) / gridDim.x - first;
    uint32_t p = (uint32_t)(first / across), s = (uint32_t)(first % across);
    bool held = false;
    for (; left > 0; --left, ++s) {
      if (s == across) s = 0, ++p, held = false;
      barrier_wait(shared_address(&c.job_empty[job.at]), job.round ^ 1);
      Job &j = c.job[job.at];
      bool any = false;
#pragma unroll 1
      for (uint32_t b = 0; b < kTiles; ++b) {
        const uint32_t row = p * kTiles + b, ahead = w.strips ? 0 : b;
        const bool is = row < rows && s >= ahead && (uint64_t)(s - ahead) * rows + row < w.count;
        if (is) set_tile(w, layer.pitch, row, s - ahead, j.tile[b]);
        j.tile[b].there = is && j.tile[b].there;
        any |= j.tile[b].there;
      }
      if (!any) continue;
      j.layer = l, j.fresh = kStays && !held, j.sampled = w.sampled;
      j.valid = (uint32_t)w.valid, j.rounds = c.rounds, j.rest = c.rest;
      barrier_arrive(shared_address(&c.job_full[job.at]));
      job.next(kJobs);
      if (kStays && !held) {
        held = true;
        const uint32_t full = shared_address(&c.panel_full[panel.at]);
        barrier_wait(shared_address(&c.panel_empty[panel.at]), panel.round ^ 1);
        barrier_expect(full, kTiles * kParts * steps * kBoxBytes);
        for (uint32_t x = 0; x < kTiles * kParts * steps; ++x)  // [step][part][tile]
          copy_box(box_at(boxes, panel.at * kTiles * kParts * steps + x), &t.map[l][x / kTiles % kParts],
                   (int32_t)(x / (kTiles * kParts) * kBoxColumns), (int32_t)((p * kTiles + x % kTiles) * kTile), full);
        panel.next(t.panels);
      }
      const uint32_t column = w.strips ? s % w.tiles[1] : (p * kTiles + s) % rows;
      for (uint32_t step = 0; step < steps; ++step) {
        const uint32_t full = shared_address(&c.full[stage.at]);
        barrier_wait(shared_address(&c.empty[stage.at]), stage.round ^ 1);
        barrier_expect(full, kStage * kBoxBytes);
        for (uint32_t x = 0; x < kParts; ++x) {  // columns, then rows
          const uint32_t to = box_at(boxes, ring + stage.at * kStage + x);
          copy_box(to, &t.map[l][(w.strips ? 2 : 0) + x], (int32_t)(step * kBoxColumns), (int32_t)(column * kTile), full);
          if (!kStays) copy_box(to + kParts * kBoxBytes, &t.map[l][x], (int32_t)(step * kBoxColumns), (int32_t)(p * kTile), full);
        }
        stage.next(t.stages);
      }
    }
  }
  barrier_wait(shared_address(&c.job_empty[job.at]), job.round ^ 1);
  c.job[job.at].layer = -1;
  barrier_arrive(shared_address(&c.job_full[job.at]));
}

// ---- Waiting ---------------------------------------------------------------------------------------------------------
__device__ __forceinline__ void await(const uint64_t *barrier, uint32_t parity) {
  barrier_wait(shared_address(barrier), parity);
  __syncwarp();  // products want all lanes of a warp
}
__device__ __forceinline__ void release(uint64_t *barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) barrier_arrive(shared_address(barrier));
}

// ---- Sums ------------------------------------------------------------------------------------------------------------
// Sums of a layer that a thread has not given away yet, in units of 2^-40, of at most kHold jobs: 128 outputs each still fit
// 16 bits, and 2^47 units 64 bits.
struct Sums {
  uint64_t abs, square, plain;
  float highest;
};
constexpr uint32_t kHold = 256;

template <int kWanted>
__device__ __forceinline__ void flush(const cuda_layer &layer, Sums &sums, uint16_t *bins) {
  const int lane = (int)threadIdx.x % 32;
  uint64_t parts[6] = {sums.abs & 0xFFFFFFFFu, sums.abs >> 32, sums.square & 0xFFFFFFFFu, sums.square >> 32,
                       sums.plain & 0xFFFFFFFFu, (uint64_t)((int64_t)sums.plain >> 32)};
  uint64_t *to[6] = {&layer.pairs->abs.low, &layer.pairs->abs.high, &layer.pairs->square.low, &layer.pairs->square.high,
                     &layer.pairs->plain.low, &layer.pairs->plain.high};
#pragma unroll
  for (int k = 0; k < (kWanted >= 2 ? 6 : 4); ++k) {
    const unsigned long long sum = warp_sum((unsigned long long)parts[k]);
    if (lane == 0) atomicAdd((unsigned long long *)to[k], sum);
  }
  sums.abs = sums.square = sums.plain = 0;
  for (int k = 0; kWanted > 0 && k < ACTSCOPE_PAIR_BINS; ++k) {
    const uint32_t sum = warp_sum((uint32_t)bins[k * 32]);
    bins[k * 32] = 0;
    if (lane == 0 && sum) atomicAdd((unsigned long long *)&layer.pairs->histogram[k], (unsigned long long)sum);
  }
}

// ---- The epilogue ----------------------------------------------------------------------------------------------------
// Of one unit: output 4 o + 2 h + e of a lane is row row_0 + 8 h, column col_0 + 8 o + e of the tile.

// Outputs that are no pairs become 0: beyond the edges, on and below the diagonal, outside a sample's band. Returns how many.
template <bool kSampled>
__device__ __forceinline__ uint32_t mask_outputs(const Job &j, const Tile &tile, float (&r)[64], uint32_t row_0, uint32_t col_0) {
  // Columns of a row that pair with it: least .. most - 1. Of a sample, those at distances 1 .. most from its position, counted
  // round the circle of valid ones (pairs.h): ahead is that of column 0, less 1. Where the tile is not on the diagonal all of
  // its columns lie on one side; where it is, those behind the row come out as 2^32 less a little, and go round by `round`.
  uint32_t masked = 0, least[2], most[2], ahead[2];
  const uint32_t edge = tile.rows[1], round = tile.diagonal ? j.valid : 0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint32_t row = row_0 + (uint32_t)h * 8, i = tile.first[0] + row;
    least[h] = !kSampled && tile.diagonal ? row + 1 : 0;
    most[h] = row >= tile.rows[0] ? 0 : kSampled ? j.rounds + (i < j.rest) : edge;
    ahead[h] = tile.first[1] - i - 1 + (tile.first[1] < tile.first[0] ? j.valid : 0);
  }
#pragma unroll
  for (int o = 0; o < 32; ++o) {
    const uint32_t col = col_0 + (uint32_t)(o / 2 * 8 + o % 2);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t distance = ahead[h] + col;
      const bool pair = kSampled ? col < edge && min(distance, distance + round) < most[h] : col >= least[h] && col < most[h];
      float &x = r[o / 2 * 4 + h * 2 + o % 2];
      x = pair ? x : 0.0f, masked += !pair;
    }
  }
  return masked;
}

template <int kWanted>
__device__ __forceinline__ void epilogue(const cuda_layer &layer, const Job &j, const Tile &tile, float (&r)[64], uint32_t row_0,
                                         uint16_t *bins, Sums &sums) {
  constexpr bool kCounts = kWanted >= 1, kSigned = kWanted >= 2;
  constexpr float kThreshold[ACTSCOPE_THRESHOLD_COUNT] = {0.5f, 0.7f, 0.9f, 0.95f, 0.99f};
  const uint32_t col_0 = threadIdx.x % 4 * 2;
  {
    float wi[2], wj[32];
#pragma unroll
    for (int h = 0; h < 2; ++h) wi[h] = row_0 + h * 8 < tile.rows[0] ? __ldg(tile.weight[0] + row_0 + h * 8) : 0;
    const float *weights = tile.weight[1] + col_0;
    if (tile.rows[1] == (uint32_t)kTile) {
#pragma unroll
      for (int o = 0; o < 32; ++o) wj[o] = __ldg(weights + o / 2 * 8 + o % 2);
    } else {  // whatever is there will do at the edge: those outputs are masked
#pragma unroll
      for (int o = 0; o < 32; ++o) wj[o] = __ldg(weights + min(o / 2 * 8 + o % 2, (int)(tile.rows[1] - 1) - (int)col_0));
    }
#pragma unroll
    for (int o = 0; o < 64; ++o) r[o] *= wi[o / 2 % 2] * wj[o / 4 * 2 + o % 2];
  }
  uint32_t masked = 0;
  if (j.sampled) masked = mask_outputs<true>(j, tile, r, row_0, col_0);
  else if (!tile.whole || tile.diagonal) masked = mask_outputs<false>(j, tile, r, row_0, col_0);

  float sum[2] = {}, square[2] = {}, plain[2] = {}, high = 0;
#pragma unroll
  for (int o = 0; o < 64; ++o) {
    float &x = r[o];
    if (kSigned) plain[o % 2] += fmaxf(fminf(x, 1.0f), -1.0f);
    x = fminf(fabsf(x), 1.0f);
    sum[o % 2] += x, square[o % 2] = fmaf(x, x, square[o % 2]), high = fmaxf(high, x);
    if (kCounts) {
      const int bin = x >= 1.0f ? ACTSCOPE_PAIR_BINS - 1 : (int)(x * ACTSCOPE_PAIR_BINS);
      bins[bin * 32] = (uint16_t)(bins[bin * 32] + 1);
    }
  }
  sums.abs += pairs_fixed((double)(sum[0] + sum[1])), sums.square += pairs_fixed((double)(square[0] + square[1]));
  if (kSigned) sums.plain += (uint64_t)pairs_fixed_signed((double)(plain[0] + plain[1]));
  sums.highest = fmaxf(sums.highest, high);
  if (!kCounts) return;
  bins[0] = (uint16_t)(bins[0] - masked);
  if (!__any_sync(kFullMask, high > kThreshold[0])) return;
#pragma unroll
  for (int h = 0; h < ACTSCOPE_THRESHOLD_COUNT; ++h) {
    uint32_t above = 0;
#pragma unroll
    for (int o = 0; o < 64; ++o) above += r[o] > kThreshold[h];
    above = warp_sum(above);
    if (threadIdx.x % 32 == 0 && above) atomicAdd((unsigned long long *)&layer.pairs->above[h], (unsigned long long)above);
  }
}

// ---- Of each feature -------------------------------------------------------------------------------------------------
__device__ __forceinline__ void add_feature(const cuda_layer &layer, uint64_t position, float sum, float high) {
  const unsigned long long fixed = pairs_fixed32((double)sum);
  if (fixed) atomicAdd(&layer.feature_sum[position], fixed);
  if (high > 0) atomicMax(&layer.feature_max[position], core_bits32(high));
}
// One step of the columns' butterfly: of two columns a lane keeps one, the lane across keeps the other.
__device__ __forceinline__ void halve(float &sum, float &high, float other_sum, float other_high, bool second,
                                      int across) {
  const float give_sum = second ? sum : other_sum, give_high = second ? high : other_high;
  sum = second ? other_sum : sum, high = second ? other_high : high;
  sum += __shfl_xor_sync(kFullMask, give_sum, across);
  high = fmaxf(high, __shfl_xor_sync(kFullMask, give_high, across));
}
// |r| of all units of a consumer, which the epilogue left, 0 where there is no pair: those add nothing, beyond the
// edges either.
template <int kUnits>
__device__ __forceinline__ void add_features(const cuda_layer &layer, const Tile &tile, const float (&r)[kUnits][64],
                                             uint32_t row_0) {
  const uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (int u = 0; u < kUnits; ++u)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum[2] = {}, high = 0;
#pragma unroll
      for (int o = 0; o < 32; ++o) {
        const float x = r[u][o / 2 * 4 + h * 2 + o % 2];
        sum[o % 2] += x, high = fmaxf(high, x);
      }
      sum[0] += sum[1];
#pragma unroll
      for (int d = 1; d < 4; d <<= 1) {
        sum[0] += __shfl_xor_sync(kFullMask, sum[0], d);
        high = fmaxf(high, __shfl_xor_sync(kFullMask, high, d));
      }
      if (lane % 4 == 0) add_feature(layer, (uint64_t)tile.first[0] + row_0 + (uint32_t)(u * 64 + h * 8), sum[0], high);
    }
  // Column o of a lane is 8 (o / 2) + o % 2 further than its first. The bits 0, 1 and 2 of o go to lanes.
  float sum[32], high[32];
#pragma unroll
  for (int o = 0; o < 32; ++o) {
    sum[o] = high[o] = r[0][o / 2 * 4 + o % 2];
#pragma unroll
    for (int k = 1; k < kUnits * 2; ++k) {
      const float x = r[k / 2][o / 2 * 4 + k % 2 * 2 + o % 2];
      sum[o] += x, high[o] = fmaxf(high[o], x);
    }
  }
#pragma unroll
  for (int bit = 0; bit < 3; ++bit) {
#pragma unroll
    for (int o = 0; o < 32; o += 2 << bit)
      halve(sum[o], high[o], sum[o + (1 << bit)], high[o + (1 << bit)], lane & (4u << bit), 4 << bit);
  }
  const uint32_t col_0 = lane % 4 * 2 + lane / 4 % 2 + lane / 8 * 8;
#pragma unroll
  for (int o = 0; o < 32; o += 8) add_feature(layer, (uint64_t)tile.first[1] + col_0 + (uint32_t)(o * 4), sum[o], high[o]);
}

// ---- A consumer's way ------------------------------------------------------------------------------------------------
// kWanted as in correlation.cu, and 3: all of that and of each feature.
template <bool kThree, bool kStays, int kWanted>
__device__ __forceinline__ void consume(const wgmma_layers &t, Control &c, uint32_t boxes, uint16_t *bins) {
  using F = Form<kThree, kStays>;
  constexpr int kUnits = F::kUnits, kParts = F::kParts, kStage = F::kStage;
  constexpr bool kPromote = !kStays;
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, me = warp / 4;
  const uint32_t own = kUnits == 2 ? (uint32_t)me : 0;           // which tile of a job
  const uint32_t first = kUnits == 2 ? 0 : (uint32_t)me * 64;    // and its first row
  Place stage, panel;
  bool panels = false;
  int current = -1;
  Sums sums = {};

  for (uint32_t n = 0;; ++n) {
    const uint32_t slot = n % kJobs;
    await(&c.job_full[slot], n / kJobs % 2);
    const Job &j = c.job[slot];
    if (j.layer != current) {
      if (current >= 0) {
        const cuda_layer &layer = t.layer[current];
        flush<kWanted>(layer, sums, bins);
        for (int d = 16; d > 0; d >>= 1) sums.highest = fmaxf(sums.highest, __shfl_xor_sync(kFullMask, sums.highest, d));
        if (lane == 0) atomicMax(&layer.pairs->max_bits, core_bits32(sums.highest));
        sums.highest = 0;
      }
      current = j.layer;
    }
    if (current < 0) return;
    const cuda_layer &layer = t.layer[current];
    if (n % kHold == kHold - 1) flush<kWanted>(layer, sums, bins);
    const Tile &tile = j.tile[own];
    const uint32_t steps = steps_of(layer.pitch), ring = t.panels * kUnits * kParts * steps;
    if (kStays && j.fresh) {  // the panel before this one is done with
      if (panels) release(&c.panel_empty[panel.at]), panel.next(t.panels);
      panels = true;
      await(&c.panel_full[panel.at], panel.round);
    }
    if (kStays) await(&c.turn[me], (n + (me == 0)) % 2);  // the first consumer's comes first
    if (!tile.there) {  // the other one's alone
      for (uint32_t step = 0; step < steps; ++step, stage.next(t.stages)) await(&c.full[stage.at], stage.round), release(&c.empty[stage.at]);
      if (kStays) release(&c.turn[1 - me]);
      release(&c.job_empty[slot]);
      continue;
    }

    float acc[kUnits][64], small[64], total[64];
#pragma unroll
    for (int i = 0; kPromote && i < 64; ++i) total[i] = 0;
    const bool turned = tile.turned;
    uint32_t open = 0;  // the stage whose operands may still be read
#pragma unroll 1
    for (uint32_t step = 0; step < steps; ++step) {
      await(&c.full[stage.at], stage.round);
      // Boxes of the panel that passes, or of columns, and of the one that stays, or of rows. Its lo is one box further: there
      // is one tile then. Steps within a box: 16 columns, 64 rows.
      const uint32_t passing = box_at(boxes, ring + stage.at * kStage);
      const uint32_t staying = kStays ? box_at(boxes, (panel.at * steps + step) * kUnits * kParts + own) : box_at(passing, kParts);
      const uint64_t a = product_operand((turned ? passing : staying) + first * 128), b = product_operand(turned ? staying : passing);
      constexpr uint64_t kLow = kBoxBytes >> 4, kRows = 64 * 128 >> 4, kColumns = 16 * 2 >> 4;
      const bool add = step % (kPromote ? (uint32_t)kPromoteBoxes : ~0u) != 0;
#pragma unroll
      for (int u = 0; u < kUnits; ++u) product_hold(acc[u]);
      if (kThree) product_hold(small);
      product_fence();
#pragma unroll
      for (int x = 0; x < kBoxColumns / 16; ++x) {
#pragma unroll
        for (int u = 0; u < kUnits; ++u) product_64x128x16(acc[u], a + (uint64_t)u * kRows + (uint64_t)x * kColumns, b + (uint64_t)x * kColumns, x > 0 || add);
        if (kThree) {
          product_64x128x16(small, a + (uint64_t)x * kColumns, b + kLow + (uint64_t)x * kColumns, x > 0 || step > 0);
          product_64x128x16(small, a + kLow + (uint64_t)x * kColumns, b + (uint64_t)x * kColumns, true);
        }
      }
      product_commit();
      const bool promote = kPromote && (step + 1) % kPromoteBoxes == 0 && step + 1 < steps;
      if (add) product_wait<1>(), release(&c.empty[open]);
      open = stage.at;
      stage.next(t.stages);
      if (promote) {
        product_wait<0>();
        product_hold(acc[0]);
        release(&c.empty[open]);
#pragma unroll
        for (int i = 0; i < 64; ++i) total[i] += acc[0][i];
      }
    }
    if (kStays) release(&c.turn[1 - me]);
    product_wait<0>();
#pragma unroll
    for (int u = 0; u < kUnits; ++u) product_hold(acc[u]);
    if (kThree) product_hold(small);
    release(&c.empty[open]);
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      if (kPromote) acc[0][i] += total[i];
      if (kThree) acc[0][i] = fmaf(small[i], 4.8828125e-4f, acc[0][i]);
    }
#pragma unroll
    for (int u = 0; u < kUnits; ++u) epilogue<kWanted>(layer, j, tile, acc[u], first + (uint32_t)(u * 64 + warp % 4 * 16 + lane / 4), bins, sums);
    if (kWanted == 3 && layer.feature_sum)
      add_features<kUnits>(layer, tile, acc, first + (uint32_t)(warp % 4 * 16 + lane / 4));
    release(&c.job_empty[slot]);
  }
}
#endif

// ---- The kernel ------------------------------------------------------------------------------------------------------
template <bool kThree, bool kStays, int kWanted>
__global__ void __launch_bounds__(kThreads, 1) correlation_wgmma_kernel(GRID_CONSTANT(wgmma_layers) t) {
#if GPU_HAS_HOPPER
  const uint32_t begin = shared_address(dynamic_shared()), boxes = (begin + 1023) / 1024 * 1024;
  unsigned char *memory = dynamic_shared() + (boxes - begin);
  Control &c = *reinterpret_cast<Control *>(memory + (size_t)kBoxes * kBoxBytes);
  if (threadIdx.x == 0) {
    const uint32_t warps = kConsumers * 4;
    for (int k = 0; k < kStages; ++k) barrier_init(shared_address(&c.full[k]), 1), barrier_init(shared_address(&c.empty[k]), warps);
    for (int k = 0; k < 2; ++k) barrier_init(shared_address(&c.panel_full[k]), 1), barrier_init(shared_address(&c.panel_empty[k]), warps);
    for (int k = 0; k < kJobs; ++k) barrier_init(shared_address(&c.job_full[k]), 1), barrier_init(shared_address(&c.job_empty[k]), warps);
    for (int k = 0; k < kConsumers; ++k) barrier_init(shared_address(&c.turn[k]), 4);
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x >= kConsumers * 128) {
    registers_down<Form<kThree, kStays>::kProducer>();
    if (threadIdx.x == kConsumers * 128) produce<kThree, kStays>(t, c, boxes);
  } else {
    registers_up<Form<kThree, kStays>::kConsumer>();
    // Counters of the histogram, 64 of each thread: [warp][bin][lane].
    uint16_t *bins = reinterpret_cast<uint16_t *>(memory + (size_t)(kBoxes - kCountBoxes) * kBoxBytes);
    bins += threadIdx.x / 32 * (ACTSCOPE_PAIR_BINS * 32) + threadIdx.x % 32;
    for (int k = 0; kWanted > 0 && k < ACTSCOPE_PAIR_BINS; ++k) bins[k * 32] = 0;
    consume<kThree, kStays, kWanted>(t, c, boxes, bins);
  }
#endif
}

// ---- Launching -------------------------------------------------------------------------------------------------------
template <bool kThree, bool kStays, int kWanted>
cudaError_t launch(const wgmma_layers &t, uint64_t turns, cudaStream_t stream) {
  unsigned blocks;
  cudaError_t e = gpu_resident_blocks(correlation_wgmma_kernel<kThree, kStays, kWanted>, kThreads, kShared, turns, &blocks);
  if (e != cudaSuccess) return e;
  return gpu_launch(correlation_wgmma_kernel<kThree, kStays, kWanted>, dim3(blocks), dim3(kThreads), kShared, stream, t);
}
template <bool kThree, bool kStays>
cudaError_t launch_wanted(int wanted, const wgmma_layers &t, uint64_t turns, cudaStream_t stream) {
  return wanted == 0   ? launch<kThree, kStays, 0>(t, turns, stream)
         : wanted == 1 ? launch<kThree, kStays, 1>(t, turns, stream)
         : wanted == 2 ? launch<kThree, kStays, 2>(t, turns, stream)
                       : launch<kThree, kStays, 3>(t, turns, stream);
}

// Layers that share a launch: as many products, and panels that stay as long, or do not stay.
struct Kind {
  bool three;
  uint32_t steps;  // 0: panels pass
};
Kind kind_of(const cuda_layer &layer) {
  const bool three = layer.z_lo != nullptr;
  const uint32_t steps = steps_of(layer.pitch);
  return {three, divide(three, true, steps).panels ? steps : 0};
}

cudaError_t launch_kind(const cuda_layers &all, Kind kind, cudaStream_t stream) {
  wgmma_layers t = {};
  uint64_t turns = 0;
  int wanted = 0;
  for (int l = 0; l <= all.layers; ++l) {
    if (t.layers == kLayers || (l == all.layers && t.layers > 0)) {
      const Division d = divide(kind.three, wanted > 0, kind.steps ? kind.steps : ~0u);
      t.panels = d.panels, t.stages = d.stages;
      const cudaError_t e = kind.three ? d.panels ? launch_wanted<true, true>(wanted, t, turns, stream) : launch_wanted<true, false>(wanted, t, turns, stream)
                            : d.panels ? launch_wanted<false, true>(wanted, t, turns, stream) : launch_wanted<false, false>(wanted, t, turns, stream);
      if (e != cudaSuccess) return e;
      t.layers = 0, turns = 0, wanted = 0;
    }
    if (l == all.layers) break;
    const cuda_layer &layer = all.layer[l];
    const Kind k = kind_of(layer);
    if (k.three != kind.three || k.steps != kind.steps || layer.pitch == 0 || layer.rows == 0) continue;
    const uint16_t *z[4] = {layer.z_hi, layer.z_lo, layer.other_hi, layer.other_lo};
    for (int m = 0; m < 4; ++m) {
      const cudaError_t e = z[m] ? box_map(&t.map[t.layers][m], z[m], m < 2 ? layer.rows : layer.other_rows, layer.pitch) : cudaSuccess;
      if (e != cudaSuccess) return e;
    }
    const uint64_t a = (layer.rows + kTile - 1) / kTile, b = layer.other_hi ? (layer.other_rows + kTile - 1) / kTile : a;
    const int own = layer.functionals & ACTSCOPE_PAIRS_FEATURES ? 3
                    : layer.functionals & ACTSCOPE_PAIRS_SIGNED ? 2
                                                                : layer.functionals != 0;
    turns += a * b, wanted = own > wanted ? own : wanted;
    t.layer[t.layers++] = layer;
  }
  return cudaSuccess;
}
}  // namespace

extern "C" int actscope_cuda_correlation_wgmma(const struct cuda_layers *layers, struct CUstream_st *stream) {
  for (int l = 0; l < layers->layers; ++l) {
    const Kind mine = kind_of(layers->layer[l]);
    bool first = true;
    for (int k = 0; k < l; ++k) {
      const Kind other = kind_of(layers->layer[k]);
      first &= other.three != mine.three || other.steps != mine.steps;
    }
    const cudaError_t e = first ? launch_kind(*layers, mine, stream) : cudaSuccess;
    if (e != cudaSuccess) return (int)e;
  }
  return (int)cudaSuccess;
}
