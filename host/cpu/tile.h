/* tile.h - rectangles of a view as plain rows of floats (doubles when the tensor is float64).
 *
 * A tile's rows run along the side whose neighbours lie closer in memory: its inner side. Whatever the dtype, strides
 * and choice of features, what comes out is row o, element i at data[o * ld + i]; the tensor's own memory where it
 * already looks like that, else a converted copy in the caller's buffer. */
#ifndef ACTSCOPE_CPU_TILE_H
#define ACTSCOPE_CPU_TILE_H

#include "core/view.h"

#define TILE_INNER_MAX 512 /* inner indices a tile may have; any number where they are neighbours in memory */

struct tile {
  const void *data; /* float, or double when the tensor is float64 */
  int64_t ld;       /* elements from one row to the next; may be negative or 0 */
};

/* `count` indices of one side: list[start + i], or start + i when list is NULL. */
struct tile_indices {
  const uint32_t *list;
  uint64_t start, count;
};

/* The inner indices, looked up once for all rows. */
struct tile_reader {
  const struct view *view;
  int inner_is_sample;
  int inner, runs, gather;             /* how many; runs of neighbours at stride 1; runs are short */
  int64_t offset[TILE_INNER_MAX];      /* of each inner index; where runs are long, of their first alone */
  struct { int at, length; } run[TILE_INNER_MAX];
};

/* 1 when all indices of the inner side are neighbours in memory, at stride 1. */
static inline int actscope_tile_neighbours(const struct view_side *inner) {
  int64_t stride;
  return view_is_linear(inner, &stride) && (stride == 1 || inner->dims == 0);
}

/* 1 when samples lie closer together than features. */
int actscope_tile_samples_inner(const struct view *v);

/* The bytes of one value in a tile: 4 or 8. */
static inline size_t actscope_tile_size(actscope_dtype dtype) { return dtype == ACTSCOPE_FLOAT64 ? 8 : 4; }

void actscope_tile_open(struct tile_reader *r, const struct view *v, int inner_is_sample, struct tile_indices inner);

/* 1 when the rows are whole runs at one distance: *t is where, in the tensor's own type. */
int actscope_tile_raw(const struct tile_reader *r, struct tile_indices outer, struct tile *t);

/* The same where that type is a tile's too: rows need no copy. */
int actscope_tile_in_place(const struct tile_reader *r, struct tile_indices outer);

/* Rows `outer`; buffer holds outer.count * inner values. */
struct tile actscope_tile_read(const struct tile_reader *r, struct tile_indices outer, void *buffer);

#endif
