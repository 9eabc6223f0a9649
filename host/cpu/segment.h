/* segment.h - the moments of a chunk, from sums of its blocks.
 *
 * Blocks are summed about a pivot; blocks with the same pivot form a segment, whose sums are added in double. A block
 * whose mean lies more than 1.5 standard deviations of all values of the chunk so far away from the pivot would lose
 * digits: it closes the segment and starts another, about the mean of all so far if that is near enough, else about its
 * own. Steps and drift widen that deviation, so that few blocks are summed twice. */
#ifndef ACTSCOPE_CPU_SEGMENT_H
#define ACTSCOPE_CPU_SEGMENT_H

#include "cpu/profile.h"

struct segment {
  struct moments closed; /* earlier segments; counts and extrema of all */
  struct profile_frame frame;
  actscope_dtype dtype;
  int scale_log, abs_log;      /* frame.scale is 2^-scale_log */
  double n, s1, s2, s3, s4, abs, abs_log2;
  double closed_n, closed_mean, closed_m2, closed_abs; /* `closed` in units of the frame, about its pivot */
};

/* A chunk begins: the first segment is framed by its first block of n elements, which are summed as double where they
 * are float64, else as float. */
void actscope_segment_begin(struct segment *g, const void *x, uint32_t n, actscope_dtype dtype);
/* Adds a block, of which `b` are the sums in g->frame. Where they prove no good, `sums` makes them again in another. */
void actscope_segment_add(struct segment *g, profile_sums_function *sums, int flags, const void *x, uint32_t n,
                          struct profile_sums *b);
/* The chunk ends: g->closed is its state. */
void actscope_segment_close(struct segment *g);

#endif
