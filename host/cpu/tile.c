/* tile.c - reading rectangles of a tensor: finds the runs at stride 1 and converts each as a whole. */
#include "cpu/tile.h"

#include "cpu/simd/convert.h"

static uint64_t index_at(struct tile_indices t, uint64_t i) { return t.list ? t.list[t.start + i] : t.start + i; }

int actscope_tile_samples_inner(const struct view *v) {
  const struct view_side *s = &v->sample, *f = &v->feature;
  if (s->dims == 0) return 0;
  if (f->dims == 0) return 1;
  int64_t a = s->axis[s->dims - 1].stride, b = f->axis[f->dims - 1].stride;
  if (a == 1 || b == 1) return b != 1;
  return (a < 0 ? -a : a) < (b < 0 ? -b : b);
}

/* Appends `length` inner indices whose offsets are at, at + stride, ... */
static void append(struct tile_reader *r, int *n, int length, int64_t at, int64_t stride) {
  if (stride == 1 || length == 1) {
    int last = r->runs - 1;
    if (last >= 0 && r->offset[r->run[last].at] + r->run[last].length == at) {
      r->run[last].length += length;
    } else {
      r->offset[*n] = at;
      r->run[r->runs].at = *n;
      r->run[r->runs++].length = length;
    }
    *n += length;
  } else {
    for (int i = 0; i < length; ++i) append(r, n, 1, at + i * stride, 1);
  }
}

void actscope_tile_open(struct tile_reader *r, const struct view *v, int inner_is_sample, struct tile_indices inner) {
  const struct view_side *side = inner_is_sample ? &v->sample : &v->feature;
  r->view = v;
  r->inner_is_sample = inner_is_sample;
  r->inner = (int)inner.count;
  r->runs = 0;
  int n = 0;
  for (uint64_t i = 0; i < inner.count;) {
    uint64_t index = index_at(inner, i), left, length = 1;
    int64_t stride, at = view_offset(side, index);
    left = view_run(side, index, &stride);
    if (left > inner.count - i) left = inner.count - i;
    if (!inner.list) {
      length = left;
    } else {
      while (length < left && index_at(inner, i + length) == index + length) ++length;
    }
    append(r, &n, (int)length, at, stride);
    i += length;
  }
  r->gather = r->runs > 1 && r->runs * 8 > r->inner;
  if (r->gather) /* backwards: a run's own entry is its first */
    for (int k = r->runs; k-- > 0;)
      for (int l = r->run[k].length; l-- > 0;) r->offset[r->run[k].at + l] = r->offset[r->run[k].at] + l;
}

/* Offset of the first row, and the distance between rows where it is the same for all of them. */
static int rows_linear(const struct view_side *side, struct tile_indices outer, int64_t *first, int64_t *ld) {
  *first = outer.count > 0 ? view_offset(side, index_at(outer, 0)) : 0;
  *ld = 0;
  if (outer.count < 2) return 1;
  if (!outer.list) {
    uint64_t run = view_run(side, outer.start, ld);
    if (run >= outer.count) return 1;
  }
  *ld = view_offset(side, index_at(outer, 1)) - *first;
  int64_t at = *first;
  for (uint64_t o = 1; o < outer.count; ++o) {
    int64_t next = view_offset(side, index_at(outer, o));
    if (next != at + *ld) return 0;
    at = next;
  }
  return 1;
}

int actscope_tile_raw(const struct tile_reader *r, struct tile_indices outer, struct tile *t) {
  const struct view_side *side = r->inner_is_sample ? &r->view->feature : &r->view->sample;
  int64_t first;
  if (r->runs != 1 || !rows_linear(side, outer, &first, &t->ld)) return 0;
  t->data = (const char *)r->view->data + (first + r->offset[0]) * (int64_t)actscope_dtype_size(r->view->dtype);
  return 1;
}

static int in_place(const struct tile_reader *r, struct tile_indices outer, struct tile *t) {
  return !dtype_is_narrow(r->view->dtype) && actscope_tile_raw(r, outer, t);
}

int actscope_tile_in_place(const struct tile_reader *r, struct tile_indices outer) {
  struct tile t;
  return in_place(r, outer, &t);
}

struct tile actscope_tile_read(const struct tile_reader *r, struct tile_indices outer, void *buffer) {
  const struct view *v = r->view;
  const struct view_side *side = r->inner_is_sample ? &v->feature : &v->sample;
  struct tile there;
  size_t from = actscope_dtype_size(v->dtype), to = actscope_tile_size(v->dtype);
  const char *data = v->data;
  if (in_place(r, outer, &there)) return there;
  const struct convert_table *table = actscope_simd_convert();
  uint64_t last = 0, left = 0;
  int64_t at = 0, stride = 0;
  char *out = buffer;
  for (uint64_t o = 0; o < outer.count; ++o, out += (size_t)r->inner * to) {
    uint64_t index = index_at(outer, o);
    if (left > 0 && index == last + 1) {
      at += stride;
      --left;
    } else {
      at = view_offset(side, index);
      left = view_run(side, index, &stride) - 1;
    }
    last = index;
    const char *row = data + at * (int64_t)from;
    if (!r->gather) {
      for (int k = 0; k < r->runs; ++k)
        table->run[v->dtype](row + r->offset[r->run[k].at] * (int64_t)from, out + (size_t)r->run[k].at * to,
                             (uint64_t)r->run[k].length);
    } else {
      table->gather[v->dtype](row, r->offset, out, (uint64_t)r->inner);
    }
  }
  return (struct tile){buffer, r->inner};
}
