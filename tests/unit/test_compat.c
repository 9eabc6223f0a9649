/* test_compat.c - the other analyser's scores: its formulas written once more over plain arrays, and its faults. */
#include <criterion/criterion.h>

#include "analysis/compat.h"
#include "memory.h"
#include "naive_report.h"

TestSuite(compat, .timeout = 120);

/* ---- Its formulas, over x[n][d] of a tensor with two axes or more ---------------------------------------------------
 */

static double formula_saturation(const double *x, size_t n) {
  size_t non_negative = 0, zero = 0, high = 0;
  for (size_t i = 0; i < n; ++i) non_negative += x[i] >= 0, zero += x[i] == 0, high += fabs(x[i]) > 0.9;
  return (double)(non_negative == n ? zero : high) / (double)n;
}
static double formula_entropy(const double *x, size_t n) {
  double sum = 0, h = 0;
  for (size_t i = 0; i < n; ++i) sum += fabs(x[i]) + 1e-8;
  for (size_t i = 0; i < n; ++i) h -= (fabs(x[i]) + 1e-8) / sum * log((fabs(x[i]) + 1e-8) / sum + 1e-8);
  return h;
}
static double formula_utilization(const double *x, size_t n, size_t d) {
  size_t used = 0;
  for (size_t f = 0; f < d; ++f) {
    int any = 0;
    for (size_t s = 0; s < n; ++s) any |= x[s * d + f] > 1e-6;
    used += (size_t)any;
  }
  return (double)used / (double)d;
}
static double formula_diversity(const double *x, size_t n, size_t d) {
  if (n < 2) return 0;
  double sum = 0, pairs = 0;
  for (size_t i = 0; i < n && i < 10; ++i)
    for (size_t j = i + 1; j < n && j < 10; ++j, ++pairs) {
      double dot = 0, a = 0, b = 0;
      for (size_t f = 0; f < d; ++f) {
        dot += x[i * d + f] * x[j * d + f];
        a += x[i * d + f] * x[i * d + f];
        b += x[j * d + f] * x[j * d + f];
      }
      sum += dot / (fmax(sqrt(a), 1e-8) * fmax(sqrt(b), 1e-8));
    }
  return 1 - sum / pairs > 0 ? 1 - sum / pairs : 0;
}
static double formula_actual_capacity(const double *x, size_t n) {
  size_t active = 0;
  for (size_t i = 0; i < n; ++i) active += fabs(x[i]) > 1e-6;
  return (double)active;
}

/* ---- Tensors of any type and layout, and what their elements are worth ----------------------------------------------
 */

static double decode(uint64_t bits, int exponent_bits, int mantissa_bits, int infinities) {
  int64_t bias = (1ll << (exponent_bits - 1)) - 1, top = (1ll << exponent_bits) - 1;
  uint64_t mantissa = bits & ((1ull << mantissa_bits) - 1);
  int64_t exponent = (int64_t)(bits >> mantissa_bits) & top;
  double sign = bits >> (exponent_bits + mantissa_bits) & 1 ? -1 : 1;
  if (infinities && exponent == top) return mantissa ? NAN : sign * INFINITY;
  if (!infinities && exponent == top && mantissa + 1 == 1ull << mantissa_bits) return NAN;
  if (exponent == 0) return sign * ldexp((double)mantissa, (int)(1 - bias - mantissa_bits));
  return sign * ldexp((double)(mantissa + (1ull << mantissa_bits)), (int)(exponent - bias - mantissa_bits));
}
static double decode_type(actscope_dtype dtype, uint64_t bits) {
  switch (dtype) {
    case ACTSCOPE_FLOAT32: return decode(bits, 8, 23, 1);
    case ACTSCOPE_FLOAT16: return decode(bits, 5, 10, 1);
    case ACTSCOPE_BFLOAT16: return decode(bits, 8, 7, 1);
    case ACTSCOPE_FLOAT8_E4M3: return decode(bits, 4, 3, 0);
    case ACTSCOPE_FLOAT8_E5M2: return decode(bits, 5, 2, 1);
    default: return decode(bits, 11, 52, 1);
  }
}
static size_t width(actscope_dtype dtype) {
  return dtype == ACTSCOPE_FLOAT64                                 ? 8
         : dtype == ACTSCOPE_FLOAT32                               ? 4
         : dtype == ACTSCOPE_FLOAT16 || dtype == ACTSCOPE_BFLOAT16 ? 2
                                                                   : 1;
}
static const int mantissas[] = {23, 10, 7, 3, 2, 52}, exponents[] = {8, 5, 8, 4, 5, 11};

/* Bits of a random value: sign, some 8 binades below 2 and now and then a zero or a subnormal. */
static uint64_t random_bits(actscope_dtype dtype, int negative) {
  int m = mantissas[dtype], e = exponents[dtype];
  uint64_t bias = (1ull << (e - 1)) - 1, mantissa = (uint64_t)(uniform() * 4503599627370496.0) & ((1ull << m) - 1);
  uint64_t exponent = bias > 6 ? bias - (uint64_t)(uniform() * 6) : 1;
  double u = uniform();
  if (u < 0.2) return 0;
  if (u < 0.22) return mantissa;
  return (negative && uniform() < 0.4 ? 1ull << (e + m) : 0) | exponent << m | mantissa;
}

static actscope_tensor plain(actscope_dtype dtype, const void *data, int ndim, const int64_t *shape) {
  return (actscope_tensor){data, dtype, ndim, shape, NULL};
}
/* A float64 matrix: report and scores. */
static actscope_layer_report score(const double *x, size_t n, size_t d, double *value) {
  int64_t shape[2] = {(int64_t)n, (int64_t)d};
  actscope_tensor t = plain(ACTSCOPE_FLOAT64, x, 2, shape);
  actscope_layer_report r = measure(ACTSCOPE_FLOAT64, x, n, d);
  struct compat_network network = {0};
  struct compat_input in = {.report = &r, .tensor = &t};
  cr_assert_eq(actscope_compat_layer(&network, &in, value), ACTSCOPE_OK);
  return r;
}

#define NEAR(got, wanted, ...) \
  cr_expect(fabs((got) - (wanted)) <= 1e-11 * fmax(1, fabs(wanted)), __VA_ARGS__)

/* ---- Agreement
 * -------------------------------------------------------------------------------------------------------- */

/* shape [n, c, h] in several layouts; the data outside the view are NaN, so that reading them shows. */
static void check_layout(actscope_dtype dtype, int64_t n, int64_t c, int64_t h, const int64_t *strides, int64_t origin,
                         size_t room, int channels, int negative, const char *what) {
  size_t size = width(dtype), elements = (size_t)(n * c * h);
  unsigned char *memory = malloc(room * size);
  memset(memory, 0xFF, room * size); /* a NaN in every type */
  double *x = malloc(elements * sizeof *x);
  size_t samples = (size_t)(channels ? n * h : n), features = elements / samples;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < c; ++j)
      for (int64_t k = 0; k < h; ++k) {
        uint64_t bits = random_bits(dtype, negative);
        memcpy(memory + (size_t)(origin + i * strides[0] + j * strides[1] + k * strides[2]) * size, &bits, size);
        x[channels ? (i * h + k) * c + j : (i * c + j) * h + k] = decode_type(dtype, bits);
      }
  actscope_tensor t = {memory + (size_t)origin * size, dtype, 3, (int64_t[]){n, c, h}, strides};
  actscope_layer_report r = measure(dtype, x, samples, features);
  for (int with_moments = 1; with_moments >= 0; --with_moments) {
    if (!with_moments) r.statistics &= ~(uint32_t)ACTSCOPE_MOMENTS, memset(&r.profile, 0xFF, sizeof r.profile);
    struct compat_network network = {0};
    struct compat_input in = {.report = &r, .tensor = &t, .channels = channels};
    double v[COMPAT_COUNT];
    cr_assert_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_OK);
    struct { int score; double wanted;
    } all[] = {{COMPAT_SATURATION, formula_saturation(x, elements)},
               {COMPAT_ENTROPY, formula_entropy(x, elements)},
               {COMPAT_UTILIZATION, formula_utilization(x, samples, features)},
               {COMPAT_DIVERSITY, formula_diversity(x, samples, features)},
               {COMPAT_ACTUAL_CAPACITY, formula_actual_capacity(x, elements)},
               {COMPAT_REDUNDANCY, r.distinct.redundancy},
               {COMPAT_CORRELATION, r.correlation.valid_features < features ? 0 : r.correlation.mean_abs}};
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
      NEAR(v[all[i].score], all[i].wanted, "%s, type %d, moments %d: %s is %.17g, wanted %.17g", what, dtype,
           with_moments, actscope_compat_names[all[i].score], v[all[i].score], all[i].wanted);
    NEAR(v[COMPAT_INFORMATION_FLOW],
         0.3 * (1 - v[COMPAT_ENTROPY]) + 0.4 * v[COMPAT_CORRELATION] + 0.3 * v[COMPAT_REDUNDANCY], "flow");
  }
  free(x);
  free(memory);
}

Test(compat, scores_follow_the_formulas_for_every_type_and_layout) {
  state = 20;
  for (actscope_dtype t = ACTSCOPE_FLOAT32; t <= ACTSCOPE_FLOAT64; ++t)
    for (int negative = 0; negative < 2; ++negative)
      for (int channels = 0; channels < 2; ++channels) {
        check_layout(t, 12, 7, 5, (int64_t[]){35, 5, 1}, 0, 420, channels, negative, "compact");
        check_layout(t, 12, 7, 5, (int64_t[]){35, 1, 7}, 0, 420, channels, negative, "channels last");
        check_layout(t, 12, 7, 5, (int64_t[]){1, 12, 84}, 0, 420, channels, negative, "samples innermost");
        check_layout(t, 12, 7, 5, (int64_t[]){-80, 11, -2}, 900, 1000, channels, negative, "padded, turned round");
      }
  for (actscope_dtype t = ACTSCOPE_FLOAT32; t <= ACTSCOPE_FLOAT64; ++t) { /* around strips of 256 features */
    check_layout(t, 3, 255, 1, (int64_t[]){255, 1, 1}, 0, 765, 0, 1, "255");
    check_layout(t, 3, 256, 1, (int64_t[]){256, 1, 1}, 0, 768, 0, 1, "256");
    check_layout(t, 3, 257, 1, (int64_t[]){257, 1, 1}, 0, 771, 0, 1, "257");
    check_layout(t, 3, 23, 25, (int64_t[]){575, 1, 23}, 0, 1725, 0, 0, "575 in runs");
    check_layout(t, 2, 1300, 2, (int64_t[]){1, 2, 2600}, 0, 5200, 0, 1, "2600 in runs");
  }
}

Test(compat, without_the_tensor_the_report_gives_what_it_can) {
  size_t n = 20, d = 30;
  double x[600], with[COMPAT_COUNT], without[COMPAT_COUNT];
  state = 21;
  for (int negative = 0; negative < 2; ++negative) {
    for (size_t i = 0; i < n * d; ++i) x[i] = negative ? normal() : fmax(0, normal());
    actscope_layer_report r = score(x, n, d, with);
    struct compat_network network = {0};
    struct compat_input in = {.report = &r, .weights = 100};
    cr_assert_eq(actscope_compat_layer(&network, &in, without), ACTSCOPE_OK);
    for (int i = 0; i < COMPAT_COUNT; ++i) {
      int given = i == COMPAT_CORRELATION || i == COMPAT_REDUNDANCY || i == COMPAT_INFORMATION_LOSS ||
                  i == COMPAT_ENTROPY || i == COMPAT_INFORMATION_FLOW ||
                  (!negative && (i == COMPAT_SATURATION || i == COMPAT_UTILIZATION));
      cr_expect_eq(!isnan(without[i]), given, "%s is %g", actscope_compat_names[i], without[i]);
      /* the entropy lacks two offsets of 1e-8, which matter by less than n times that */
      if (given)
        cr_expect(fabs(with[i] - without[i]) < 1e-5, "%s: %g and %g", actscope_compat_names[i], with[i], without[i]);
    }
  }
}

Test(compat, gradients_and_neighbours) {
  size_t n = 16, d = 24;
  double x[384], g[384], v[3][COMPAT_COUNT], entropy[3], norm[3];
  struct compat_network network = {0};
  int64_t shape[2] = {16, 24};
  state = 22;
  for (int layer = 0; layer < 3; ++layer) {
    double mean = 0, square = 0, sum = 0;
    for (size_t i = 0; i < n * d; ++i) x[i] = layer == 1 && i % 5 ? 0 : normal();
    for (size_t i = 0; i < n * d; ++i) g[i] = (layer == 1 ? 0.3 : 1) * (0.01 + 0.002 * normal());
    actscope_layer_report r = measure(ACTSCOPE_FLOAT64, x, n, d), gr = measure(ACTSCOPE_FLOAT64, g, n, d);
    for (size_t i = 0; i < n * d; ++i) mean += fabs(g[i]) / 384, square += g[i] * g[i], sum += g[i] / 384;
    gr.profile.variance = (square - 384 * sum * sum) / 383;
    actscope_tensor t = plain(ACTSCOPE_FLOAT64, x, 2, shape);
    struct compat_input in = {.report = &r, .tensor = &t, .gradient = &gr, .weights = 1000};
    cr_assert_eq(actscope_compat_layer(&network, &in, v[layer]), ACTSCOPE_OK);
    double *o = v[layer], health = 1 / (1 + fabs(log10(mean + 1e-8))), variance = gr.profile.variance / (mean * mean);
    entropy[layer] = formula_entropy(x, n * d), norm[layer] = sqrt(square);
    double loss = layer == 0 ? 0 : fmax(0, (entropy[layer - 1] - entropy[layer]) / entropy[layer - 1]);
    double fall = layer == 0 ? 0 : fmax(0, (norm[layer - 1] - norm[layer]) / norm[layer - 1]);
    NEAR(o[COMPAT_GRADIENT_NORM], norm[layer], "norm");
    NEAR(o[COMPAT_GRADIENT_HEALTH], health, "health");
    cr_expect(variance < 0.1, "a gradient with a mean has a variance below 1: %g", variance);
    NEAR(o[COMPAT_GRADIENT_VARIANCE], variance, "variance");
    NEAR(o[COMPAT_INFORMATION_LOSS], loss, "loss of layer %d: %g", layer, o[COMPAT_INFORMATION_LOSS]);
    NEAR(o[COMPAT_GRADIENT_FLOW], fall, "fall of layer %d: %g", layer, o[COMPAT_GRADIENT_FLOW]);
    NEAR(o[COMPAT_CAPACITY], 1 - formula_actual_capacity(x, n * d) / 1000, "capacity");
    NEAR(o[COMPAT_DEPTH], 0.4 * formula_saturation(x, n * d) + 0.3 * (1 - health) + 0.3 * loss, "depth");
    NEAR(o[COMPAT_WIDTH],
         0.4 * (1 - formula_utilization(x, n, d)) + 0.3 * variance + 0.3 * (1 - formula_diversity(x, n, d)), "width");
  }
  cr_expect(v[1][COMPAT_INFORMATION_LOSS] > 0.1 && v[1][COMPAT_GRADIENT_FLOW] > 0.6 && v[2][COMPAT_GRADIENT_FLOW] == 0);
}

/* A layer without a gradient does not break the chain of norms; one without an entropy leaves the next without a loss.
 */
Test(compat, the_chain_skips_what_is_missing) {
  double x[40], v[COMPAT_COUNT];
  for (int i = 0; i < 40; ++i) x[i] = i % 7 - 2.5;
  actscope_layer_report r = measure(ACTSCOPE_FLOAT64, x, 8, 5), g = r, bare = r;
  bare.statistics = 0;
  struct compat_network network = {0};
  struct compat_input in = {.report = &r, .gradient = &g};
  actscope_compat_layer(&network, &in, v);
  in.gradient = NULL, in.report = &bare;
  actscope_compat_layer(&network, &in, v);
  cr_expect(isnan(v[COMPAT_GRADIENT_FLOW]) && isnan(v[COMPAT_INFORMATION_LOSS]) && isnan(v[COMPAT_DEPTH]));
  g.profile.l2_norm /= 4;
  in.gradient = &g, in.report = &r;
  actscope_compat_layer(&network, &in, v);
  NEAR(v[COMPAT_GRADIENT_FLOW], 0.75, "%g", v[COMPAT_GRADIENT_FLOW]);
  cr_expect(isnan(v[COMPAT_INFORMATION_LOSS]));
  actscope_compat_layer(&network, &in, v);
  cr_expect_eq(v[COMPAT_INFORMATION_LOSS], 0);
}

/* ---- Faults, reproduced
 * ------------------------------------------------------------------------------------------------ */

Test(compat, one_constant_or_nonfinite_feature_makes_the_correlation_zero) {
  size_t n = 32, d = 10;
  double x[320], v[COMPAT_COUNT];
  state = 23;
  for (size_t s = 0; s < n; ++s)
    for (size_t f = 0, first = 1; f < d; ++f, first = 0) x[s * d + f] = first ? normal() : 2 * x[s * d] + (double)f;
  score(x, n, d, v);
  cr_expect(v[COMPAT_CORRELATION] > 0.999, "copies: %g", v[COMPAT_CORRELATION]);
  for (size_t s = 0; s < n; ++s) x[s * d + 7] = 3;
  score(x, n, d, v);
  cr_expect_eq(v[COMPAT_CORRELATION], 0, "one constant feature among copies: %g", v[COMPAT_CORRELATION]);
  for (size_t s = 0; s < n; ++s) x[s * d + 7] = s == 5 ? NAN : x[s * d];
  score(x, n, d, v);
  cr_expect_eq(v[COMPAT_CORRELATION], 0, "one NaN: %g", v[COMPAT_CORRELATION]);
}

Test(compat, the_flow_score_of_a_healthy_layer_is_far_below_zero) {
  enum { n = 64, d = 200 };
  double x[n * d], v[COMPAT_COUNT];
  state = 24;
  for (size_t i = 0; i < n * d; ++i) x[i] = normal();
  score(x, n, d, v);
  cr_expect(v[COMPAT_ENTROPY] > 9 && v[COMPAT_ENTROPY] < log(n * d), "%g", v[COMPAT_ENTROPY]);
  cr_expect(v[COMPAT_INFORMATION_FLOW] < -2, "%g", v[COMPAT_INFORMATION_FLOW]);
}

Test(compat, capacity_reaches_minus_226) {
  enum { n = 16, d = 65536 }; /* as many elements as [128, 512, 4, 4], after a 3x3 convolution from 1 to 512 channels */
  double v[COMPAT_COUNT];
  float *x = malloc(n * d * sizeof *x);
  for (size_t i = 0; i < n * d; ++i) x[i] = 1 + (float)(i % 100);
  actscope_layer_report r = {.elements = n * d, .samples = n, .features = d};
  actscope_tensor t = plain(ACTSCOPE_FLOAT32, x, 2, (int64_t[]){n, d});
  struct compat_network network = {0};
  struct compat_input in = {.report = &r, .tensor = &t, .weights = 9 * 512};
  cr_assert_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_OK);
  free(x);
  NEAR(v[COMPAT_CAPACITY], 1 - 1048576.0 / 4608, "%g", v[COMPAT_CAPACITY]);
  cr_expect(v[COMPAT_CAPACITY] < -226 && v[COMPAT_CAPACITY] > -227);
}

Test(compat, gradient_variance_of_a_zero_mean_gradient_is_always_one) {
  double g[400], v[COMPAT_COUNT];
  state = 25;
  for (int scale = -6; scale <= 3; ++scale) {
    for (int i = 0; i < 400; ++i) g[i] = ldexp(normal(), 3 * scale);
    actscope_layer_report r = measure(ACTSCOPE_FLOAT64, g, 20, 20), a = r;
    double mean = 0, square = 0;
    for (int i = 0; i < 400; ++i) mean += g[i] / 400, square += g[i] * g[i];
    r.profile.variance = (square - 400 * mean * mean) / 399;
    struct compat_network network = {0};
    struct compat_input in = {.report = &a, .gradient = &r};
    actscope_compat_layer(&network, &in, v);
    cr_expect_eq(v[COMPAT_GRADIENT_VARIANCE], 1, "scale 2^%d: %g", 3 * scale, v[COMPAT_GRADIENT_VARIANCE]);
  }
}

Test(compat, gradient_health_jumps_with_the_norm) {
  actscope_layer_report a = {.elements = 0}, g = {.statistics = ACTSCOPE_MOMENTS};
  struct { double norm, abs_mean, variance; uint64_t count, nan, infinite; double health, spread; } cases[] = {
      {9.9e-8, 1e-9, 1, 100, 0, 0, 0.1, 0},        {1.1e-7, 1e-9, 1, 100, 0, 0, 1 / (1 + fabs(log10(1.1e-8))), 0},
      {10, 1, 0.25, 100, 0, 0, 1 / (1 + log10(1 + 1e-8)), 0.25}, {10.1, 1, 4, 100, 0, 0, 0.2, 1},
      {1, 1e-4, 1, 100, 1, 0, NAN, 0},             {1, 0.1, 1, 100, 0, 1, 0.2, NAN}, {0, 0, 0, 0, 0, 0, 0, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    double v[COMPAT_COUNT];
    g.profile = (actscope_profile){.count = cases[i].count,
                                   .nan = cases[i].nan,
                                   .negative_inf = cases[i].infinite,
                                   .l2_norm = cases[i].norm,
                                   .abs_mean = cases[i].abs_mean,
                                   .variance = cases[i].variance};
    struct compat_network network = {0};
    struct compat_input in = {.report = &a, .gradient = &g};
    actscope_compat_layer(&network, &in, v);
    double health = v[COMPAT_GRADIENT_HEALTH], spread = v[COMPAT_GRADIENT_VARIANCE];
    cr_expect(isnan(cases[i].health) ? isnan(health) : fabs(health - cases[i].health) < 1e-12, "%zu: %g", i, health);
    cr_expect(isnan(cases[i].spread) ? isnan(spread) : fabs(spread - cases[i].spread) < 1e-12, "%zu: %g", i, spread);
  }
}

Test(compat, saturation_and_utilisation_see_only_one_sign) {
  enum { n = 20, d = 10 };
  double x[n * d], v[COMPAT_COUNT];
  for (int i = 0; i < n * d; ++i) x[i] = i % 2 ? 0 : 0.5;
  score(x, n, d, v);
  cr_expect_eq(v[COMPAT_SATURATION], 0.5, "zeros are saturation while nothing is negative: %g", v[COMPAT_SATURATION]);
  x[4] = -0.001;
  score(x, n, d, v);
  cr_expect_eq(v[COMPAT_SATURATION], 0, "and one negative value ends that: %g", v[COMPAT_SATURATION]);
  x[4] = -INFINITY;
  score(x, n, d, v);
  NEAR(v[COMPAT_SATURATION], 1.0 / (n * d), "so does -infinity: %g", v[COMPAT_SATURATION]);
  x[4] = NAN;
  score(x, n, d, v);
  cr_expect_eq(v[COMPAT_SATURATION], 0, "or one NaN: %g", v[COMPAT_SATURATION]);
  for (int i = 0; i < n * d; ++i) x[i] = -1 - i;
  actscope_layer_report r = score(x, n, d, v);
  cr_expect(v[COMPAT_UTILIZATION] == 0 && r.health.dead == 0, "negative features count as unused: %g",
            v[COMPAT_UTILIZATION]);
}

Test(compat, diversity_sees_ten_samples) {
  enum { n = 40, d = 30 };
  double x[n * d], v[COMPAT_COUNT], before;
  state = 26;
  for (int i = 0; i < n * d; ++i) x[i] = normal();
  score(x, n, d, v);
  before = v[COMPAT_DIVERSITY];
  for (int i = 10 * d; i < n * d; ++i) x[i] = 5;
  score(x, n, d, v);
  cr_expect_eq(v[COMPAT_DIVERSITY], before);
  x[9 * d] += 1;
  score(x, n, d, v);
  cr_expect_neq(v[COMPAT_DIVERSITY], before);
  x[3] = NAN;
  score(x, n, d, v);
  cr_expect_eq(v[COMPAT_DIVERSITY], 0, "a NaN reads as no diversity at all: %g", v[COMPAT_DIVERSITY]);
  memset(x, 0, sizeof x);
  score(x, n, d, v);
  cr_expect_eq(v[COMPAT_DIVERSITY], 1, "samples of zeros read as the greatest diversity: %g", v[COMPAT_DIVERSITY]);
}

Test(compat, a_nan_is_a_value_of_its_own_each_time) {
  enum { n = 10, d = 10 };
  double x[n * d], v[COMPAT_COUNT];
  for (int i = 0; i < n * d; ++i) x[i] = i < 40 ? NAN : i % 2 ? -0.0 : 0.0;
  score(x, n, d, v);
  NEAR(v[COMPAT_REDUNDANCY], 1 - 41 / 100.0, "%g", v[COMPAT_REDUNDANCY]);
  cr_expect(isnan(v[COMPAT_ENTROPY]) && isnan(v[COMPAT_INFORMATION_FLOW]));
}

Test(compat, a_nan_reads_as_no_information_lost) {
  double x[40], v[COMPAT_COUNT];
  for (int i = 0; i < 40; ++i) x[i] = i % 7 - 2.5;
  actscope_layer_report r = measure(ACTSCOPE_FLOAT64, x, 8, 5);
  actscope_tensor t = plain(ACTSCOPE_FLOAT64, x, 2, (int64_t[]){8, 5});
  struct compat_network network = {0};
  struct compat_input in = {.report = &r, .tensor = &t};
  actscope_compat_layer(&network, &in, v);
  x[6] = NAN;
  r = measure(ACTSCOPE_FLOAT64, x, 8, 5);
  for (int k = 0; k < 2; ++k) {
    actscope_compat_layer(&network, &in, v);
    cr_expect(isnan(v[COMPAT_ENTROPY]) && v[COMPAT_INFORMATION_LOSS] == 0, "%g", v[COMPAT_INFORMATION_LOSS]);
  }
}

/* ---- Edges
 * ------------------------------------------------------------------------------------------------------------- */

Test(compat, small_and_empty_tensors) {
  double v[COMPAT_COUNT], x[6] = {1, -2, 3, -4, 5, -6};
  actscope_layer_report empty = {.statistics = ACTSCOPE_ALL, .samples = 4};
  actscope_tensor t = plain(ACTSCOPE_FLOAT16, NULL, 2, (int64_t[]){4, 0});
  struct compat_network network = {0};
  struct compat_input in = {.report = &empty, .tensor = &t};
  cr_assert_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_OK);
  for (int i = COMPAT_SATURATION; i < COMPAT_COUNT; ++i)
    if (i != COMPAT_GRADIENT_HEALTH && i != COMPAT_GRADIENT_VARIANCE && i != COMPAT_GRADIENT_NORM)
      cr_expect_eq(v[i], 0, "%s of an empty tensor is %g", actscope_compat_names[i], v[i]);
  NEAR(v[COMPAT_INFORMATION_FLOW], 0.3, "%g", v[COMPAT_INFORMATION_FLOW]);

  actscope_layer_report r = measure(ACTSCOPE_FLOAT64, x, 6, 1); /* one axis: no features to speak of */
  t = plain(ACTSCOPE_FLOAT64, x, 1, (int64_t[]){6});
  in.report = &r;
  cr_assert_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_OK);
  cr_expect(v[COMPAT_UTILIZATION] == 1 && v[COMPAT_DIVERSITY] == 0 && v[COMPAT_CORRELATION] == 0);
  t = plain(ACTSCOPE_FLOAT64, x, 2, (int64_t[]){6, 1}); /* two axes */
  cr_assert_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_OK);
  cr_expect(v[COMPAT_UTILIZATION] == 1 && v[COMPAT_DIVERSITY] > 1 && v[COMPAT_CORRELATION] == 0);
  r = measure(ACTSCOPE_FLOAT64, x, 1, 6); /* one sample */
  t = plain(ACTSCOPE_FLOAT64, x, 2, (int64_t[]){1, 6});
  cr_assert_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_OK);
  cr_expect(v[COMPAT_UTILIZATION] == 0.5 && v[COMPAT_DIVERSITY] == 0 && v[COMPAT_CORRELATION] == 0);
}

Test(compat, what_does_not_fit_together_is_refused) {
  double v[COMPAT_COUNT], x[6] = {1, 2, 3, 4, 5, 6};
  actscope_layer_report r = measure(ACTSCOPE_FLOAT64, x, 3, 2);
  struct compat_network network = {0};
  int64_t wrong[2] = {3, 3}, shape[2] = {3, 2};
  actscope_tensor t = plain(ACTSCOPE_FLOAT64, x, 2, wrong);
  struct compat_input in = {.report = &r, .tensor = &t};
  cr_expect_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_INVALID_ARGUMENT);
  cr_expect(strstr(actscope_last_error(), "compat"));
  t.shape = shape, t.data = NULL;
  cr_expect_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_INVALID_ARGUMENT);
  t.data = x, t.dtype = (actscope_dtype)9;
  cr_expect_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_INVALID_ARGUMENT);
  t.dtype = ACTSCOPE_FLOAT64;
  cr_expect_eq(network.layers, 0, "a refused layer leaves no trace");
  uint64_t peak = actscope_memory_peak();
  cr_expect_eq(actscope_compat_layer(&network, &in, v), ACTSCOPE_OK);
  cr_expect_eq(actscope_memory_peak(), peak, "it allocates nothing");
}
