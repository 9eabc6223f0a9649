/* zscores.c - from a rectangle of the tensor to panels: reads tiles that fit the buffer, standardises, packs. */
#include "cpu/zscores.h"

uint64_t actscope_zscores_list(const struct column *columns, uint64_t features, uint32_t *list) {
  uint64_t valid = 0;
  for (uint64_t f = 0; f < features; ++f) {
    list[valid] = (uint32_t)f;
    valid += (uint64_t)column_valid(&columns[f]);
  }
  return valid;
}

void actscope_zscores_init(struct zscores *z, const struct view *v, const struct column *columns, const uint32_t *list,
                           uint64_t valid, const struct random_permutation *order, int by_sample,
                           const struct product_kernels *kernels) {
  z->view = v;
  z->columns = columns;
  z->list = list;
  z->valid = valid;
  z->order = order;
  z->by_sample = by_sample;
  z->unscaled = 0;
  z->samples_inner = actscope_tile_samples_inner(v);
  z->kernels = kernels;
}

void actscope_zscores_pack(const struct zscores *z, uint64_t p0, uint64_t positions, uint64_t k0, uint64_t values,
                           void *panels, int64_t stride, void *buffer) {
  enum { MOST = PRODUCT_BLOCK > PRODUCT_CHUNK ? PRODUCT_BLOCK : PRODUCT_CHUNK }; /* integers are never by_sample */
  uint32_t chosen[MOST];
  double mean[MOST], scale[MOST];
  uint64_t first = z->by_sample ? k0 : p0, features = z->by_sample ? values : positions;
  for (uint64_t i = 0; i < features; ++i) {
    chosen[i] = z->list[z->order ? random_permute(z->order, first + i) : first + i];
    mean[i] = z->columns[chosen[i]].mean;
    scale[i] = z->unscaled > 0 ? z->unscaled : column_scale(&z->columns[chosen[i]]);
  }
  struct tile_indices feature = {chosen, 0, features};
  struct tile_indices sample = {0, z->by_sample ? p0 : k0, z->by_sample ? positions : values};
  struct tile_indices inner = z->samples_inner ? sample : feature, outer = z->samples_inner ? feature : sample;
  int by_position = z->by_sample ? !z->samples_inner : z->samples_inner; /* a tile has a row for each position */
  struct tile_reader reader;
  actscope_tile_open(&reader, z->view, z->samples_inner, inner);
  size_t size = actscope_tile_size(z->view->dtype);
  uint64_t step = outer.count, unit = by_position ? (uint64_t)z->kernels->columns : 2; /* values of 16 bits come in pairs */
  if (!actscope_tile_in_place(&reader, outer)) {
    step = ZSCORES_BUFFER / (inner.count * size) / unit * unit;
    if (step > outer.count) step = outer.count;
  }
  for (uint64_t o = 0; o < outer.count; o += step) {
    struct tile_indices rows = outer;
    rows.start += o;
    rows.count = outer.count - o < step ? outer.count - o : step;
    struct tile t = actscope_tile_read(&reader, rows, buffer);
    char *to = (char *)panels;
    if (by_position) {
      int64_t panel = (int64_t)(o / (uint64_t)z->kernels->lanes);
      uint64_t at = z->by_sample ? 0 : o;
      z->kernels->pack(t.data, t.ld, rows.count, inner.count, 1, !z->by_sample, mean + at, scale + at,
                       to + panel * stride * z->kernels->size, stride, o, 0);
    } else {
      uint64_t at = z->by_sample ? o : 0;
      z->kernels->pack(t.data, t.ld, inner.count, rows.count, 0, !z->by_sample, mean + at, scale + at,
                       to + (int64_t)(o * (uint64_t)z->kernels->lanes) * z->kernels->size, stride, 0, o);
    }
  }
}
