/* view.h - a tensor seen as samples x features, with any strides, and as a plain stream of elements.
 *
 * Neither view copies. Extents of 1 are dropped and neighbouring axes that lie compactly are joined, so the common
 * layouts end up with one axis a side. */
#ifndef ACTSCOPE_CORE_VIEW_H
#define ACTSCOPE_CORE_VIEW_H

#include "core/dtype.h"

struct view_axis {
  int64_t extent, stride; /* stride in elements */
};

/* The element of sample s and feature f lies at view_offset(sample side, s) + view_offset(feature side, f). */
struct view_side {
  int dims; /* 0: one index, offset 0 */
  struct view_axis axis[ACTSCOPE_MAX_DIMS]; /* outermost first */
};
struct view {
  const void *data;
  actscope_dtype dtype;
  uint64_t samples, features, elements;
  struct view_side sample, feature;
};

/* Appends an axis as the new innermost one, joining it with the one before where they lie compactly. */
ACTSCOPE_FN void view_side_append(struct view_side *side, int64_t extent, int64_t stride) {
  if (extent == 1) return;
  if (side->dims > 0) {
    struct view_axis *last = &side->axis[side->dims - 1];
    if (last->stride == stride * extent) {
      last->extent *= extent;
      last->stride = stride;
      return;
    }
  }
  side->axis[side->dims].extent = extent;
  side->axis[side->dims].stride = stride;
  ++side->dims;
}

ACTSCOPE_FN int64_t view_offset(const struct view_side *side, uint64_t index) {
  int64_t offset = 0;
  if (side->dims == 1) return (int64_t)index * side->axis[0].stride;
  for (int d = side->dims - 1; d >= 0; --d) {
    uint64_t extent = (uint64_t)side->axis[d].extent;
    offset += (int64_t)(index % extent) * side->axis[d].stride;
    index /= extent;
  }
  return offset;
}

/* How many indices from `index` on lie at a constant stride, which is *stride: the rest of the innermost axis. */
ACTSCOPE_FN uint64_t view_run(const struct view_side *side, uint64_t index, int64_t *stride) {
  if (side->dims == 0) { *stride = 0; return 1; }
  const struct view_axis *inner = &side->axis[side->dims - 1];
  *stride = inner->stride;
  return (uint64_t)inner->extent - index % (uint64_t)inner->extent;
}

/* 1 when all indices of the side lie at one stride, which is *stride (0 for a single index). */
ACTSCOPE_FN int view_is_linear(const struct view_side *side, int64_t *stride) {
  *stride = side->dims == 0 ? 0 : side->axis[0].stride;
  return side->dims <= 1;
}

/* Builds the view of a tensor whose shape was checked (view_check). */
ACTSCOPE_FN void view_init(struct view *v, const actscope_tensor *t, int channels) {
  int64_t compact[ACTSCOPE_MAX_DIMS], step = 1;
  const int64_t *strides = t->strides;
  if (strides == 0) {
    for (int d = t->ndim - 1; d >= 0; --d) {
      compact[d] = step;
      step *= t->shape[d] > 1 ? t->shape[d] : 1;
    }
    strides = compact;
  }
  v->data = t->data;
  v->dtype = t->dtype;
  v->samples = v->features = 1;
  v->sample.dims = v->feature.dims = 0;
  for (int d = 0; d < t->ndim; ++d) {
    int is_feature = channels ? d == 1 : d >= 1;
    if (is_feature) {
      v->features *= (uint64_t)t->shape[d];
      view_side_append(&v->feature, t->shape[d], strides[d]);
    } else {
      v->samples *= (uint64_t)t->shape[d];
      view_side_append(&v->sample, t->shape[d], strides[d]);
    }
  }
  v->elements = v->samples * v->features;
}

/* 0 when the shape is valid: dtype known, 0 <= ndim <= ACTSCOPE_MAX_DIMS, extents >= 0, product below 2^62 (taken over
 * the non-zero extents, so that an empty tensor cannot hide a huge one). Else a text. *elements is the product. */
ACTSCOPE_FN const char *view_check(actscope_dtype dtype, int32_t ndim, const int64_t *shape, uint64_t *elements) {
  uint64_t product = 1, zero = 0;
  if ((int)dtype < ACTSCOPE_FLOAT32 || (int)dtype > ACTSCOPE_FLOAT64) return "unknown dtype";
  if (ndim < 0 || ndim > ACTSCOPE_MAX_DIMS) return "number of dimensions outside 0 .. 16";
  if (ndim > 0 && shape == 0) return "shape is NULL";
  for (int d = 0; d < ndim; ++d) {
    if (shape[d] < 0) return "negative extent in the shape";
    if (shape[d] == 0) { zero = 1; continue; }
    if (product > (1ull << 62) / (uint64_t)shape[d]) return "shape holds 2^62 elements or more";
    product *= (uint64_t)shape[d];
  }
  if (product >= 1ull << 62) return "shape holds 2^62 elements or more";
  *elements = zero ? 0 : product;
  return 0;
}

/* The elements as a stream whose order does not matter: axes by falling stride, so that memory is read forwards.
 * side has the axes (negative strides turned round); data is moved to the lowest address. */
ACTSCOPE_FN void view_stream(const struct view *v, const void **data, struct view_side *side) {
  struct view_axis axes[2 * ACTSCOPE_MAX_DIMS];
  int n = 0;
  int64_t offset = 0;
  for (int s = 0; s < 2; ++s) {
    const struct view_side *from = s == 0 ? &v->sample : &v->feature;
    for (int d = 0; d < from->dims; ++d) {
      struct view_axis a = from->axis[d];
      if (a.stride < 0) {
        offset += a.stride * (a.extent - 1);
        a.stride = -a.stride;
      }
      int at = n++;
      while (at > 0 && axes[at - 1].stride < a.stride) { axes[at] = axes[at - 1]; --at; }
      axes[at] = a;
    }
  }
  side->dims = 0;
  for (int i = 0; i < n; ++i) view_side_append(side, axes[i].extent, axes[i].stride);
  *data = v->data == 0 || v->elements == 0 ? v->data
                                           : (const void *)((const char *)v->data + offset * dtype_bytes(v->dtype));
}

#endif
