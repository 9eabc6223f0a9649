/* segment.c - what segment.h says. */
#include "cpu/segment.h"

enum { FIRST = 32, /* elements that frame the first segment of a chunk */
       FEW = 64    /* elements whose logarithms are taken in double */ };

void actscope_segment_close(struct segment *g) {
  if (g->n > 0) {
    struct moments m;
    moments_init(&m);
    m.exponent = moments_exponent(g->scale_log);
    int e = (int)m.exponent, r = g->abs_log - e;
    double f = ldexp(1, g->scale_log - e);
    moments_from_shifted(&m, (uint64_t)g->n, ldexp(g->frame.pivot, -e), g->s1 * f, g->s2 * f * f, g->s3 * f * f * f,
                         g->s4 * (f * f) * (f * f));
    m.abs_sum = ldexp(g->abs, r);
    m.abs_log_sum = ldexp(0.6931471805599453 * (g->abs_log2 + r * g->abs), r);
    moments_merge(&g->closed, &m);
  }
  g->n = g->s1 = g->s2 = g->s3 = g->s4 = g->abs = g->abs_log2 = 0;
}

/* Elements may lie at any address. */
static double load(const void *x, uint32_t i, actscope_dtype dtype) {
  double v;
  const size_t size = (size_t)dtype_bytes(dtype);
  memcpy(&v, (const char *)x + i * size, size);
  return dtype_load(dtype, &v, 0);
}

static int clamp(int v, int limit) { return v > limit ? limit : v < -limit ? -limit : v; }

static void segment_frame(struct segment *g, double pivot, int scale_log, int abs_log) {
  int wide = g->dtype == ACTSCOPE_FLOAT64, limit = wide ? 1000 : 126, e = (int)g->closed.exponent;
  g->frame.pivot = wide ? pivot : (double)(float)pivot;
  g->scale_log = clamp(scale_log, limit);
  g->abs_log = clamp(abs_log, limit);
  g->frame.scale = ldexp(1, -g->scale_log);
  g->frame.abs_scale = ldexp(1, -g->abs_log);
  g->closed_n = (double)g->closed.n;
  g->closed_mean = ldexp(g->closed.mean, e - g->scale_log) - ldexp(g->frame.pivot, -g->scale_log);
  g->closed_m2 = ldexp(g->closed.m2, 2 * (e - g->scale_log));
  g->closed_abs = ldexp(g->closed.abs_sum, e - g->abs_log);
}

/* A new segment, framed by the finite ones of n elements. */
static void segment_open(struct segment *g, const void *x, uint32_t n) {
  double top = 0, sum = 0, abs = 0, square = 0, k = 0;
  actscope_segment_close(g);
  for (uint32_t i = 0; i < n; ++i) {
    double v = load(x, i, g->dtype);
    if (core_finite(v) && fabs(v) > top) top = fabs(v);
  }
  int t = top > 0 ? clamp(ilogb(top), 1000) : 0;
  double unit = ldexp(1, -t);
  for (uint32_t i = 0; i < n; ++i) {
    double v = load(x, i, g->dtype);
    if (!core_finite(v)) continue;
    k += 1, sum += v * unit, abs += fabs(v * unit);
  }
  double pivot = k > 0 ? ldexp(sum / k, t) : 0;
  if (g->dtype != ACTSCOPE_FLOAT64) pivot = (float)pivot;
  for (uint32_t i = 0; i < n; ++i) {
    double v = load(x, i, g->dtype), d = v * unit - pivot * unit;
    if (core_finite(v)) square += d * d;
  }
  segment_frame(g, pivot, square > 0 ? ilogb(sqrt(square / k)) + t : t, abs > 0 ? ilogb(abs / k) + t : t);
}

/* All values so far, with a block, in the segment's units. */
struct so_far {
  double n, mean, variance, abs;
};
static struct so_far segment_with(const struct segment *g, const struct profile_sums *b) {
  double n = g->n + b->n, s1 = g->s1 + b->s1, mean = s1 / n, m2 = g->s2 + b->s2 - s1 * mean;
  struct so_far s = {n + g->closed_n, mean, 0, g->abs + b->abs + g->closed_abs};
  if (g->closed_n > 0) {
    double d = g->closed_mean - mean;
    m2 += g->closed_m2 + d * d * n * g->closed_n / s.n;
    s.mean += d * g->closed_n / s.n;
  }
  s.variance = m2 / s.n;
  return s;
}

static int near(double mean, double pivot, double variance) { return (mean - pivot) * (mean - pivot) <= 2.25 * variance; }

enum verdict { TAKEN, FAR, LOST };
/* TAKEN: the block's sums keep their digits. FAR: its mean is far from the pivot. LOST: its sums left the range. */
static enum verdict segment_judge(const struct segment *g, const struct profile_sums *b) {
  if (!core_finite(b->s4) || !core_finite(b->abs)) return LOST;
  if (b->n == 0 || (b->min == b->max && b->min == g->frame.pivot)) return TAKEN;
  struct so_far s = segment_with(g, b);
  if (!(s.variance >= 0x1p-40) || !(s.abs >= 0x1p-40 * s.n)) return LOST;
  return near(b->s1 / b->n, 0, s.variance) ? TAKEN : FAR;
}

/* A new segment for a block that is FAR, by its sums. */
static void segment_follow(struct segment *g, const struct profile_sums *b) {
  struct so_far s = segment_with(g, b);
  double mean = b->s1 / b->n, pivot = near(mean, s.mean, s.variance) ? s.mean : mean;
  int scale_log = g->scale_log, abs_log = g->abs_log;
  pivot = g->frame.pivot + ldexp(pivot, scale_log);
  actscope_segment_close(g);
  segment_frame(g, pivot, scale_log + ilogb(sqrt(s.variance)), abs_log + ilogb(s.abs / s.n));
}

/* The logarithms of a few values in double: an error of one logarithm is one of the entropy over ln n. */
static void log_exactly(const void *x, uint32_t n, actscope_dtype dtype, double scale, struct profile_sums *b) {
  b->abs = b->abs_log2 = 0;
  for (uint32_t i = 0; i < n; ++i) {
    double a = fabs(load(x, i, dtype)) * scale;
    if (!core_finite(a) || a == 0) continue;
    b->abs += a;
    b->abs_log2 += a * log2(a);
  }
}

void actscope_segment_begin(struct segment *g, const void *x, uint32_t n, actscope_dtype dtype) {
  memset(g, 0, sizeof *g);
  g->dtype = dtype;
  g->frame.normal = dtype_smallest_normal(dtype);
  moments_init(&g->closed);
  segment_open(g, x, n < FIRST ? n : FIRST);
}

void actscope_segment_add(struct segment *g, profile_sums_function *sums, int flags, const void *x, uint32_t n,
                          struct profile_sums *b) {
  struct moments *m = &g->closed;
  if (!core_finite(b->s4) || !core_finite(b->abs)) sums(x, n, &g->frame, flags |= PROFILE_MASKED, 0, b);
  enum verdict verdict = segment_judge(g, b);
  if (verdict == FAR) {
    segment_follow(g, b);
    sums(x, n, &g->frame, flags, 0, b);
    verdict = segment_judge(g, b);
  }
  if (verdict != TAKEN) {
    segment_open(g, x, n);
    sums(x, n, &g->frame, flags | PROFILE_MASKED, 0, b);
  }
  if ((flags & PROFILE_ENTROPY) && n <= FEW) log_exactly(x, n, g->dtype, g->frame.abs_scale, b);
  g->n += b->n;
  g->s1 += b->s1, g->s2 += b->s2, g->s3 += b->s3, g->s4 += b->s4;
  g->abs += b->abs, g->abs_log2 += b->abs_log2;
  if (b->min < m->min) m->min = b->min;
  if (b->max > m->max) m->max = b->max;
  m->zero += b->zero, m->negative += b->negative, m->subnormal += b->subnormal;
  m->nan += b->nan, m->positive_inf += b->positive_inf, m->negative_inf += b->negative_inf;
}
