/* top.c - candidates for the pairs with the largest |r|, and their r in float64. */
#include "cpu/top.h"

#include "core/dtype.h"

/* Calls f(k) with the element of sample k of a feature in x, and of another in y. */
#define EACH_SAMPLE(v, f, g, ...)                                                                       \
  do {                                                                                                  \
    const int64_t at_[2] = {view_offset(&(v)->feature, f), view_offset(&(v)->feature, g)};              \
    for (uint64_t s_ = 0; s_ < (v)->samples;) {                                                         \
      int64_t stride_, from_ = view_offset(&(v)->sample, s_);                                           \
      uint64_t run_ = view_run(&(v)->sample, s_, &stride_);                                             \
      for (uint64_t k_ = 0; k_ < run_; ++k_, from_ += stride_) {                                        \
        const double x = dtype_load((v)->dtype, (v)->data, from_ + at_[0]);                             \
        const double y = dtype_load((v)->dtype, (v)->data, from_ + at_[1]);                             \
        __VA_ARGS__;                                                                                    \
      }                                                                                                 \
      s_ += run_;                                                                                       \
    }                                                                                                   \
  } while (0)

double actscope_cpu_r(const struct view *v, uint64_t f, uint64_t g) {
  const double n = (double)v->samples;
  double a = 0, b = 0, sx = 0, sy = 0, xx = 0, yy = 0, xy = 0;
  EACH_SAMPLE(v, f, g, a += x / n, b += y / n);
  EACH_SAMPLE(v, f, g, {
    const double p = x - a, q = y - b;
    sx += p, sy += q, xx += p * p, yy += q * q, xy += p * q;
  });
  return top_r(n, sx, sy, xx, yy, xy);
}

/* float: each z is rounded once, a chunk's CHUNK products one after the other, and its sum once more: (CHUNK + 3) 2^-24 at
 * most, since sum |z_i z_j| <= 1; means and norms from the feature states are good to 5e-7. 16 bits: each z is off by up to
 * a unit of 1/32766, besides. double: the same of its own precision, and of the sums above over all samples. */
double actscope_cpu_r_error(const struct product_kernels *kernels, actscope_dtype dtype, uint64_t samples) {
  const double n = (double)samples, single = (PRODUCT_CHUNK + 3) * 0x1p-24 + 4e-6;
  const double own = 1e-12 + 8 * n * 0x1p-53; /* of actscope_cpu_r() */
  if (dtype == ACTSCOPE_FLOAT64) return 1e-10 + own;
  if (kernels->size == 2) return 2 * sqrt(n) / 32766 + n / 32766 / 32766 + single + own;
  return single + own;
}

static int in_band(const struct product_band *b, uint64_t i, uint64_t j) {
  if (i >= b->v || j >= b->v || i == j) return 0;
  const uint64_t width = b->width + (i < b->extra);
  return j > i ? j - i <= width : b->wrap && j + b->v - i <= width;
}

static double worst_of(struct top_shared *shared) {
  double worst;
  __atomic_load(&shared->worst, &worst, __ATOMIC_ACQUIRE);
  return worst;
}
static void offer(struct top_shared *shared, struct top_pair p) {
#pragma omp critical(actscope_top)
  {
    top_offer(shared->top, shared->most, p);
    if (shared->top->count == shared->most) {
      const struct top_pair root = shared->top->pair[0];
      double worst = fabs(root.r);
      __atomic_store_n(&shared->last, (uint64_t)root.i << 32 | root.j, __ATOMIC_RELAXED);
      __atomic_store(&shared->worst, &worst, __ATOMIC_RELEASE);
    }
  }
}
/* Whether the pair cannot be kept whatever its r: nothing is above 1, and where many pairs are at 1 the features decide. */
static int too_late(struct top_shared *shared, struct top_pair p) {
  return worst_of(shared) >= 1 && ((uint64_t)p.i << 32 | p.j) > __atomic_load_n(&shared->last, __ATOMIC_RELAXED);
}

/* The product of positions i and j is at least product->low. */
static void found(struct product_top *product, uint64_t i, uint64_t j, double a) {
  struct top_search *s = (struct top_search *)product;
  struct top_shared *shared = s->shared;
  const struct zscores *z = shared->z;
  if (!in_band(shared->band, i, j)) return;
  const uint32_t f = z->list[z->order ? random_permute(z->order, i) : i], g = z->list[z->order ? random_permute(z->order, j) : j];
  struct top_pair p = {f < g ? f : g, f < g ? g : f, 0};
  const int sure = a > shared->limit + shared->error;
  if (shared->limit > 0 && sure) ++s->above;
  if ((a + shared->error >= worst_of(shared) && !too_late(shared, p)) || (shared->limit > 0 && !sure)) {
    p.r = actscope_cpu_r(z->view, p.i, p.j);
    const int above = shared->limit == 0 || fabs(p.r) > shared->limit;
    if (shared->limit > 0 && !sure) s->above += (uint64_t)above;
    if (above && fabs(p.r) >= worst_of(shared)) offer(shared, p);
  }
  if (shared->limit == 0) product->low = worst_of(shared) - shared->error;
}

void actscope_cpu_top_begin(struct top_search *s, struct top_shared *shared) {
  s->product.found = found;
  s->product.low = shared->limit > 0 ? shared->limit - shared->error : worst_of(shared) - shared->error;
  s->shared = shared;
  s->above = 0;
}
