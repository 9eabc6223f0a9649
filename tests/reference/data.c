/* data.c - deterministic inputs in every type and layout. */
#include "reference/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/reference.h"

uint64_t random_next(struct random_state *r) { /* SplitMix64 */
  uint64_t x = r->state += 0x9E3779B97F4A7C15ull;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ x >> 27) * 0x94D049BB133111EBull;
  return x ^ x >> 31;
}
double random_uniform(struct random_state *r) { return ldexp((double)(random_next(r) >> 11), -53); }
double random_normal(struct random_state *r) {
  double radius = sqrt(-2 * log(1 - random_uniform(r)));
  return radius * cos(6.283185307179586 * random_uniform(r));
}
uint64_t random_below(struct random_state *r, uint64_t n) { return (uint64_t)(random_uniform(r) * (double)n); }

const char *data_dtype_name(actscope_dtype dtype) {
  static const char *const names[] = {"f32", "f16", "bf16", "e4m3", "e5m2", "f64"};
  return names[dtype];
}

const char *data_kind_name(enum data_kind kind) {
  static const char *const names[DATA_KINDS] = {
      "normal",   "relu",            "integers",        "offset",  "steps", "drift",    "outliers", "zeros, then normal",
      "constant", "constant columns", "near-duplicates", "factors", "hubs",  "specials", "tiny",     "all NaN", "scales"};
  return names[kind];
}

static double special(uint64_t which, actscope_dtype dtype) {
  double normal = ref_smallest_normal(dtype);
  switch (which) {
    case 0: return NAN;
    case 1: return INFINITY;
    case 2: return -INFINITY;
    case 3: return 0.0;
    case 4: return -0.0;
    case 5: return dtype == ACTSCOPE_FLOAT64 ? 1e-310 : normal / 4;
    case 6: return -normal;
    default: return 7;
  }
}

void data_fill(enum data_kind kind, uint64_t seed, actscope_dtype dtype, double *x, uint64_t samples, uint64_t features) {
  struct random_state r = {seed * 1000003 + (uint64_t)kind};
  uint64_t n = samples * features;
  double factors[4];
  int reach = dtype == ACTSCOPE_FLOAT8_E4M3 ? 5 : dtype == ACTSCOPE_FLOAT16 || dtype == ACTSCOPE_FLOAT8_E5M2 ? 12 : 120;
  for (uint64_t s = 0, i = 0; s < samples; ++s) {
    for (int k = 0; k < 4; ++k) factors[k] = random_normal(&r);
    for (uint64_t f = 0; f < features; ++f, ++i) {
      double v = random_normal(&r), previous = f > 0 ? x[i - 1] : 0;
      switch (kind) {
        case DATA_RELU: v = v > 0 ? v : 0; break;
        case DATA_INTEGERS: v = (double)random_below(&r, 17) - 8; break;
        case DATA_OFFSET: v += 1000; break;
        case DATA_STEPS: v = v * 0.01 + 1000 * (double)(i * 7 / (n + 1)) * (i * 7 / (n + 1) % 2 ? 1 : -1); break;
        case DATA_DRIFT: v += 5000 * (double)i / (double)n; break;
        case DATA_OUTLIERS: v *= i % 997 == 5 ? 1e4 : 1; break;
        case DATA_ZEROS_THEN: v = i < n - n / 8 ? 0 : v + 3; break;
        case DATA_CONSTANT: v = 0.1; break;
        case DATA_CONSTANT_COLUMNS: v = f % 5 == 4 ? 1e-7 * v : f % 3 == 1 ? (double)f * 0.37 + 0.1 : v; break;
        case DATA_NEAR_DUPLICATES: v = f % 4 == 0 ? v : f % 4 == 3 ? -previous : previous + 1e-3 * v; break;
        case DATA_FACTORS: {
          struct random_state loading = {seed + 77 * f};
          v *= 0.5;
          for (int k = 0; k < 4; ++k) v += factors[k] * random_normal(&loading);
          break;
        }
        case DATA_HUBS: v = f % 64 < 2 ? factors[f % 64] : f % 2 ? factors[(f / 64) % 2] + 0.3 * v : v; break;
        case DATA_SPECIALS: v = random_below(&r, 23) == 0 ? special(random_below(&r, 8), dtype) : v; break;
        case DATA_TINY: v *= dtype == ACTSCOPE_FLOAT64 ? 1e-60 : ref_smallest_normal(dtype); break;
        case DATA_ALL_NAN: v = NAN; break;
        case DATA_SCALES: v = ldexp(v, (int)(f * 37 % (2 * reach + 1)) - reach); break;
        default: break;
      }
      x[i] = v;
    }
  }
}

const char *data_hard_name(enum data_hard kind) {
  static const char *const names[HARD_KINDS] = {
      "normal",    "near-duplicates", "mean/std 1000", "20 % dead", "rectified", "one in 997 larger by 10^4", "two-valued"};
  return names[kind];
}
void data_fill_hard(enum data_hard kind, uint64_t seed, double *x, uint64_t samples, uint64_t features) {
  static const enum data_kind like[HARD_KINDS] = {DATA_NORMAL, DATA_NEAR_DUPLICATES, DATA_OFFSET,  DATA_NORMAL,
                                                  DATA_RELU,   DATA_OUTLIERS,        DATA_INTEGERS};
  static const uint64_t one_in[] = {2, 10, 100};
  struct random_state r = {seed};
  data_fill(like[kind], seed, ACTSCOPE_FLOAT32, x, samples, features);
  for (uint64_t s = 0; s < samples; ++s)
    for (uint64_t f = 0; f < features; ++f) {
      double *v = x + s * features + f;
      if (kind == HARD_DEAD && f % 5 == 0) *v = 0;
      if (kind != HARD_TWO_VALUED) continue;
      const int other = s == samples / 3 || (f % 4 < 3 && random_below(&r, one_in[f % 4]) == 0);
      *v = f / 4 % 2 ? (other ? -3 : 1000.5) : other;
    }
}

const char *data_floats_name(enum data_floats kind) {
  static const char *const names[FLOATS_KINDS] = {"consecutive",   "integers",         "256ths",      "2048ths",
                                                  "bf16-valued",   "reversed counter", "signed grid", "normal"};
  return names[kind];
}

float data_float(enum data_floats kind, uint64_t i, uint64_t seed) {
  uint32_t bits = 0;
  float v;
  struct random_state r = {seed * 0x9E3779B97F4A7C15ull + i * 0xD1B54A32D192ED03ull};
  switch (kind) {
    case FLOATS_CONSECUTIVE: bits = 0x3F800000u + (uint32_t)i + (uint32_t)seed * 7919; break;
    case FLOATS_INTEGERS: return (float)(i + seed * 1009);
    case FLOATS_256THS: return (float)(i + seed * 1009) / 256;
    case FLOATS_2048THS: return (float)(i + seed * 1009) / 2048;
    case FLOATS_BF16: bits = (uint32_t)i << 16; break;
    case FLOATS_LOW_BITS:
      for (int b = 0; b < 23; ++b) bits |= (uint32_t)((i + seed * 1009) >> b & 1) << (22 - b);
      bits |= 0x3F800000u;
      break;
    case FLOATS_SIGNED_GRID: return (float)((double)(i / 2 + 1 + seed * 1009) / 64 * (i & 1 ? -1 : 1));
    default: return (float)random_normal(&r);
  }
  memcpy(&v, &bits, sizeof v);
  return v;
}

const char *data_layout_name(enum data_layout layout) {
  static const char *const names[LAYOUTS] = {"rows",     "flat",        "columns",   "padded",
                                             "negative", "every other", "broadcast", "misaligned"};
  return names[layout];
}

void data_lay_out(struct laid_out *t, const double *x, actscope_dtype dtype, uint64_t samples, uint64_t features,
                  enum data_layout layout) {
  int64_t n = (int64_t)samples, d = (int64_t)features, row = d, column = 1, factor = 1;
  if (layout == LAYOUT_BROADCAST && d % 2) layout = LAYOUT_ROWS;
  if (layout == LAYOUT_COLUMNS) row = 1, column = n;
  if (layout == LAYOUT_PADDED) row = d + 3;
  if (layout == LAYOUT_NEGATIVE) row = -d, column = -1;
  if (layout == LAYOUT_EVERY_OTHER) row = 2 * d, column = 2;
  memset(t, 0, sizeof *t);
  t->tensor.dtype = dtype;
  t->tensor.shape = t->shape;
  t->tensor.strides = t->strides;
  t->tensor.ndim = 2;
  t->shape[0] = n, t->shape[1] = d;
  t->strides[0] = row, t->strides[1] = column;
  if (layout == LAYOUT_ROWS || layout == LAYOUT_MISALIGNED) t->tensor.strides = NULL;
  if (layout == LAYOUT_FLAT) {
    for (int64_t k = 2; k * k <= d; ++k)
      if (d % k == 0) factor = k;
    t->tensor.ndim = 3;
    t->shape[1] = factor, t->shape[2] = d / factor;
    t->tensor.strides = NULL;
  }
  if (layout == LAYOUT_BROADCAST) { /* every feature twice */
    t->tensor.ndim = 3;
    t->shape[1] = 2, t->shape[2] = d /= 2;
    t->strides[1] = 0, t->strides[2] = 1;
  }
  /* The elements reach from `low` to `high` about element (0, 0). */
  int64_t low = 0, high = 0;
  if (n > 0 && d > 0) {
    int64_t far[2] = {(n - 1) * row, (d - 1) * column};
    for (int k = 0; k < 2; ++k) *(far[k] < 0 ? &low : &high) += far[k];
    high += 1;
  }
  size_t size = ref_size(dtype), offset = layout == LAYOUT_MISALIGNED ? size : 0;
  guard_alloc(&t->memory, (size_t)(high - low) * size, 64, offset, POISON_NAN);
  unsigned char *origin = t->memory.data - low * (int64_t)size;
  t->tensor.data = origin;
  for (int64_t s = 0; s < n; ++s)
    for (int64_t f = 0; f < d; ++f)
      ref_store(dtype, origin, s * row + f * column, ref_encode(dtype, x[s * (int64_t)features + f]));
}

void data_free(struct laid_out *t) { guard_free(&t->memory); }
