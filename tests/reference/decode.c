/* decode.c - element types from their fields, by ldexp. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/reference.h"

struct format {
  int exponent, mantissa; /* bits */
  int infinity;           /* the largest exponent holds infinities and NaN; else its last pattern alone is NaN */
};
static const struct format formats[] = {
    [ACTSCOPE_FLOAT32] = {8, 23, 1},    [ACTSCOPE_FLOAT16] = {5, 10, 1},    [ACTSCOPE_BFLOAT16] = {8, 7, 1},
    [ACTSCOPE_FLOAT8_E4M3] = {4, 3, 0}, [ACTSCOPE_FLOAT8_E5M2] = {5, 2, 1}, [ACTSCOPE_FLOAT64] = {11, 52, 1}};

size_t ref_size(actscope_dtype dtype) { return (size_t)(1 + formats[dtype].exponent + formats[dtype].mantissa) / 8; }

static int bias(struct format f) { return (1 << (f.exponent - 1)) - 1; }

double ref_decode(actscope_dtype dtype, uint64_t bits) {
  struct format f = formats[dtype];
  uint64_t fraction = bits & ((1ull << f.mantissa) - 1);
  int power = (int)(bits >> f.mantissa & ((1u << f.exponent) - 1)), top = (1 << f.exponent) - 1;
  double sign = bits >> (f.mantissa + f.exponent) & 1 ? -1.0 : 1.0;
  if (power == 0) return sign * ldexp((double)fraction, 1 - bias(f) - f.mantissa);
  if (power == top && f.infinity) return fraction ? NAN : sign * INFINITY;
  if (power == top && fraction == (1ull << f.mantissa) - 1) return NAN;
  return sign * ldexp((double)(fraction + (1ull << f.mantissa)), power - bias(f) - f.mantissa);
}

uint64_t ref_encode(actscope_dtype dtype, double value) {
  struct format f = formats[dtype];
  uint64_t top = (1ull << f.exponent) - 1, implied = 1ull << f.mantissa;
  uint64_t sign = (signbit(value) ? 1ull : 0ull) << (f.exponent + f.mantissa);
  uint64_t nan = top << f.mantissa | (f.infinity ? implied >> 1 : implied - 1);
  if (isnan(value)) return nan;
  double magnitude = fabs(value);
  if (isinf(magnitude)) return sign | (f.infinity ? top << f.mantissa : nan);
  if (magnitude == 0) return sign;
  int power;
  frexp(magnitude, &power); /* magnitude = m 2^power, m in [1/2, 1) */
  int lowest = 1 - bias(f);
  power = power - 1 < lowest ? lowest : power - 1;
  /* In units of the last place; rounding up to the next binade carries into the exponent by itself. */
  uint64_t units = (uint64_t)nearbyint(ldexp(magnitude, f.mantissa - power));
  uint64_t bits = units < implied ? units : ((uint64_t)(power - lowest) << f.mantissa) + units;
  uint64_t overflow = f.infinity ? top << f.mantissa : nan;
  return sign | (bits >= overflow ? overflow : bits);
}

uint64_t ref_bits(actscope_dtype dtype, const void *data, int64_t i) {
  const unsigned char *at = (const unsigned char *)data + i * (int64_t)ref_size(dtype);
  uint64_t bits = 0;
  for (size_t b = 0; b < ref_size(dtype); ++b) bits |= (uint64_t)at[b] << 8 * b;
  return bits;
}

void ref_store(actscope_dtype dtype, void *data, int64_t i, uint64_t bits) {
  unsigned char *at = (unsigned char *)data + i * (int64_t)ref_size(dtype);
  for (size_t b = 0; b < ref_size(dtype); ++b) at[b] = (unsigned char)(bits >> 8 * b);
}

double ref_smallest_normal(actscope_dtype dtype) { return ldexp(1.0, 1 - bias(formats[dtype])); }

void ref_matrix_load(struct ref_matrix *m, const actscope_tensor *t, int channels) {
  int64_t index[ACTSCOPE_MAX_DIMS] = {0}, stride[ACTSCOPE_MAX_DIMS], step = 1;
  for (int d = t->ndim - 1; d >= 0; --d) {
    stride[d] = t->strides ? t->strides[d] : step;
    step *= t->shape[d];
  }
  m->dtype = t->dtype;
  m->samples = m->features = m->elements = 1;
  for (int d = 0; d < t->ndim; ++d) {
    m->elements *= (uint64_t)t->shape[d];
    if (channels ? d == 1 : d >= 1) m->features *= (uint64_t)t->shape[d];
    else m->samples *= (uint64_t)t->shape[d];
  }
  m->x = malloc((m->elements + 1) * sizeof *m->x);
  if (m->x == NULL) abort();
  for (uint64_t e = 0; e < m->elements; ++e) {
    int64_t offset = 0;
    uint64_t sample = 0, feature = 0;
    for (int d = 0; d < t->ndim; ++d) {
      offset += index[d] * stride[d];
      uint64_t *side = (channels ? d == 1 : d >= 1) ? &feature : &sample;
      *side = *side * (uint64_t)t->shape[d] + (uint64_t)index[d];
    }
    m->x[sample * m->features + feature] = ref_decode(t->dtype, ref_bits(t->dtype, t->data, offset));
    for (int d = t->ndim - 1; d >= 0; --d) {
      if (++index[d] < t->shape[d]) break;
      index[d] = 0;
    }
  }
}

void ref_matrix_free(struct ref_matrix *m) {
  free(m->x);
  m->x = NULL;
}
