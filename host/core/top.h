/* top.h - the pairs with the largest |r|: the order they are in, and a bounded set that keeps the first of them.
 *
 * The order is total (falling |r|, then the features), so that whoever offers pairs, and when, the set is the same. */
#ifndef ACTSCOPE_CORE_TOP_H
#define ACTSCOPE_CORE_TOP_H

#include "core/core.h"

#define TOP_PAIRS_MOST 65536

struct top_pair {
  uint32_t i, j; /* features, i < j */
  double r;
};
/* A heap whose root comes last, until top_sort(); then a list. */
struct top_pairs {
  uint64_t count, above; /* kept; with |r| above the limit that was asked for, kept or not */
  struct top_pair pair[];
};
ACTSCOPE_FN uint64_t top_bytes(uint64_t most) { return sizeof(struct top_pairs) + most * sizeof(struct top_pair); }

ACTSCOPE_FN int top_before(const struct top_pair *a, const struct top_pair *b) {
  double x = fabs(a->r), y = fabs(b->r);
  if (x != y) return x > y;
  return a->i != b->i ? a->i < b->i : a->j < b->j;
}

/* r from sums over n samples of two features less their means: x, y, squares and products. The means may be off a little. */
ACTSCOPE_FN double top_r(double n, double x, double y, double xx, double yy, double xy) {
  double product, norm, r;
  xx -= x * x / n, yy -= y * y / n, xy -= x * y / n;
  product = xx * yy;
  norm = product > 1e-280 && product < 1e280 ? sqrt(product) : sqrt(xx) * sqrt(yy);
  r = norm > 0 ? xy / norm : 0;
  return r > 1 ? 1 : r < -1 ? -1 : r;
}

/* Moves the pair at k down to where it belongs. */
ACTSCOPE_FN void top_sink(struct top_pair *heap, uint64_t count, uint64_t k) {
  struct top_pair moved = heap[k];
  for (uint64_t child; (child = 2 * k + 1) < count; k = child) {
    if (child + 1 < count && top_before(&heap[child], &heap[child + 1])) ++child;
    if (!top_before(&moved, &heap[child])) break;
    heap[k] = heap[child];
  }
  heap[k] = moved;
}
/* Keeps the pair if it is among the first `most`. */
ACTSCOPE_FN void top_offer(struct top_pairs *t, uint64_t most, struct top_pair p) {
  if (t->count < most) {
    uint64_t k = t->count++;
    for (; k > 0 && top_before(&t->pair[(k - 1) / 2], &p); k = (k - 1) / 2) t->pair[k] = t->pair[(k - 1) / 2];
    t->pair[k] = p;
  } else if (most > 0 && top_before(&p, &t->pair[0])) {
    t->pair[0] = p;
    top_sink(t->pair, t->count, 0);
  }
}
/* The heap becomes a list in order. */
ACTSCOPE_FN void top_sort(struct top_pairs *t) {
  for (uint64_t n = t->count; n > 1; --n) {
    struct top_pair last = t->pair[0];
    t->pair[0] = t->pair[n - 1];
    t->pair[n - 1] = last;
    top_sink(t->pair, n - 1, 0);
  }
}

#endif
