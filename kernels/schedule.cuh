// schedule.cuh - which tiles of 128 x 128 pairs a layer has, and in which order: of every kernel that looks at pairs.
//
// Tiles follow the circulant order of the pairs: tile row I meets tile row I + t mod T for t = 0 .. T/2, which takes every
// unordered pair of tiles once and gives every row panel equal work, for odd and even T. T follows from the number of valid
// features, which only the device knows. Sampled layers visit t = 0 .. the band of the first M pairs, and mask single pairs.
// Strips cut the rows at whole tiles and keep each tile's orientation (which of the two panels is the rows), so that the
// outputs of a thread, and with them every rounding, are those of the layer in one piece.
#pragma once
#include "gpu.cuh"
#include "kernels.h"

namespace {
constexpr int kTile = 128;

// What a layer's pairs are, once the number of valid features is known. Rows are positions in the pairs' order. Side 0 is
// the layer's strip, side 1 the other one, or the same again.
struct Work {
  uint64_t valid, pairs;         // pairs: how many of the circulant order are looked at
  const uint16_t *hi[2], *lo[2];
  const float *weight[2];
  uint32_t first[2], rows[2];    // of the two strips, cut to the valid ones
  uint32_t tiles[2];             // tile rows
  uint32_t all, reach;           // tile rows of the whole layer; how far the band goes, in tiles
  uint64_t count;                // tiles
  bool sampled, strips, part;    // part: the strips are not all there is
};
__device__ __forceinline__ void set_work(const cuda_layer &layer, Work &w) {
  w.valid = layer.features_out->valid;
  const uint64_t total = pairs_total(w.valid);
  w.sampled = layer.pairs_wanted != 0 && layer.pairs_wanted < total;
  w.pairs = w.sampled ? layer.pairs_wanted : total;
  w.strips = layer.other_hi != nullptr;
  for (int s = 0; s < 2; ++s) {
    const bool other = s == 1 && w.strips;
    const uint64_t first = other ? layer.other_first : layer.first_row, rows = other ? layer.other_rows : layer.rows;
    const uint64_t left = first < w.valid ? w.valid - first : 0;
    w.hi[s] = other ? layer.other_hi : layer.z_hi, w.lo[s] = other ? layer.other_lo : layer.z_lo;
    w.weight[s] = other ? layer.other_weight : layer.weight;
    w.first[s] = (uint32_t)first, w.rows[s] = (uint32_t)(rows < left ? rows : left);
    w.tiles[s] = (uint32_t)(((uint64_t)w.rows[s] + kTile - 1) / kTile);
  }
  w.all = (uint32_t)((w.valid + kTile - 1) / kTile);
  w.part = w.rows[0] != w.valid;
  // Distances j - i up to far; a wrapped distance can reach one tile further, for the last tile may be short.
  const uint64_t far = w.valid > 0 ? (w.pairs + w.valid - 1) / w.valid : 0, reach = (far + kTile - 2) / kTile + 1;
  w.reach = (uint32_t)(w.all > 0 && reach >= w.all ? w.all - 1 : reach);
  const uint64_t t = w.tiles[0];
  if (w.strips) w.count = t * w.tiles[1] * (w.sampled ? 2 : 1);
  else if (!w.sampled) w.count = t * (t + 1) / 2;
  else w.count = w.part ? t * t : t * (w.reach + 1);
}
// One tile: its panels of rows (0) and columns (1). In shared memory, where it takes no registers from the product.
struct Tile {
  const uint16_t *hi[2], *lo[2];  // the first row of the panel
  const float *weight[2];
  uint32_t first[2], rows[2];     // its position; rows there are, at most kTile
  bool there, diagonal, whole;    // there: holds pairs of the band
  bool turned;                    // rows are of the other strip, or of the later tile row
};
// The tile of row at_0 and its partner q: tile k of the layer where k = q tiles + at_0.
__device__ __forceinline__ void set_tile(const Work &w, uint32_t pitch, uint32_t at_0, uint32_t q, Tile &tile) {
  const uint32_t at_1 = w.strips ? q % w.tiles[1] : (at_0 + q) % w.tiles[0];
  const uint32_t a = w.first[0] / kTile + at_0, b = w.first[1] / kTile + at_1;
  const uint32_t ahead = b >= a ? b - a : b + w.all - a, behind = ahead == 0 ? 0 : w.all - ahead;
  bool turn = false;
  if (w.part && w.sampled) turn = w.strips && q >= w.tiles[1];  // both orders of every two tiles: the band's pairs are ordered
  else if (w.part) turn = ahead > behind || (ahead == behind && a > b);
  tile.there = !(w.part && w.sampled) || (turn ? behind : ahead) <= w.reach;
  tile.turned = turn, tile.whole = true, tile.diagonal = !w.strips && at_0 == at_1;
  for (int p = 0; p < 2; ++p) {
    const int side = p ^ (int)turn;
    const uint64_t row0 = (uint64_t)(side ? at_1 : at_0) * kTile;
    const uint32_t left = w.rows[side] - (uint32_t)row0;
    tile.hi[p] = w.hi[side] + row0 * pitch, tile.lo[p] = w.lo[side] ? w.lo[side] + row0 * pitch : nullptr;
    tile.weight[p] = w.weight[side] + row0;
    tile.first[p] = w.first[side] + (uint32_t)row0, tile.rows[p] = left < (uint32_t)kTile ? left : (uint32_t)kTile;
    tile.whole &= tile.rows[p] == (uint32_t)kTile;
  }
}
__device__ __forceinline__ void set_tile(const Work &w, uint32_t pitch, uint64_t k, Tile &tile) {
  set_tile(w, pitch, (uint32_t)(k % w.tiles[0]), (uint32_t)(k / w.tiles[0]), tile);
}
}  // namespace
