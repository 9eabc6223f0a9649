// stream.cuh - the elements of many layers as one stream of work, for the stages whose result does not depend on order.
//
// Contents   element types · loading · units · tables
// A layer is cut into 16-byte vectors, kUnitVectors of them make a unit, and block b of G takes the units
// [b U / G, (b+1) U / G) of all layers together: equal work, no matter how layers differ in size. What precedes the first
// aligned vector and what follows the last is added element by element, with the layer's first unit. Strided layers
// gather their elements into the same vectors, and cost more.
// A table is any structure with `layers`, `axes`, `units`, layer[] and axis[]; a layer in it any with `data` (the lowest
// address), `elements`, `vectors`, `first_unit` (units of the layers before), `head` (elements before the first vector),
// `axis` and `dims` (strided layers: their axes in the table; dims 0: compact).
#pragma once
#include "core/view.h"
#include "gpu.cuh"

constexpr int kUnitVectors = 512;

// ---- Element types ---------------------------------------------------------------------------------------------------
template <int kSize> struct Word { using type = uint32_t; };
template <> struct Word<1> { using type = uint8_t; };
template <> struct Word<2> { using type = uint16_t; };
template <> struct Word<8> { using type = uint64_t; };

// ---- Loading ---------------------------------------------------------------------------------------------------------
// Element i of the stream, of any layout.
template <int kSize, class Table, class Layer>
__device__ __forceinline__ typename Word<kSize>::type load_element(const Table &t, const Layer &layer, uint64_t i) {
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
template <int kSize, class Layer>
__device__ __forceinline__ uint4 load_vector(const Layer &layer, uint64_t v) {
  return __ldg(reinterpret_cast<const uint4 *>(static_cast<const char *>(layer.data) + layer.head * kSize) + v);
}

// ---- Units -----------------------------------------------------------------------------------------------------------
template <class Layer>
__host__ __device__ inline uint64_t units_of(const Layer &layer) {
  uint64_t u = (layer.vectors + kUnitVectors - 1) / kUnitVectors;
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

// The layer that has the unit.
template <class Table>
__device__ __forceinline__ int layer_of_unit(const Table &t, uint64_t unit) {
  int l = 0;
  while (l + 1 < t.layers && t.layer[l + 1].first_unit <= unit) ++l;
  return l;
}

// ---- Tables ----------------------------------------------------------------------------------------------------------
// Adds a layer's place to a table; NULL when the table is full. Data is aligned to its elements' size.
template <class Table>
inline auto stream_add(Table *table, const struct view *v) -> decltype(&table->layer[0]) {
  struct view_side side;
  const void *data;
  if (table->layers == (int)(sizeof table->layer / sizeof *table->layer)) return nullptr;
  view_stream(v, &data, &side);
  const bool compact = v->elements <= 1 || (side.dims == 1 && side.axis[0].stride == 1);
  if (!compact && table->axes + side.dims > (int)(sizeof table->axis / sizeof *table->axis)) return nullptr;
  const uint64_t size = actscope_dtype_size(v->dtype), each = 16 / size;
  auto *layer = &table->layer[table->layers++];
  layer->data = data;
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
  return layer;
}
