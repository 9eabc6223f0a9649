/* expected.c - how many distinct values a tensor of this dtype would show if nothing repeated but by rounding.
 *
 * bfloat16 has 128 magnitudes in a factor of two: a million normal values land on about 3,600 of its 65,536, so
 * neither the element count nor the dtype's capacity is the measure. Here |x| is taken as folded normal with the
 * profile's mean |x| and root mean square, cut to the observed range of each sign; draws that fall into a stretch of
 * `cells` representable values with total mass `draws` are expected to hit cells * (1 - exp(-draws / cells)) of them.
 */
#include "analysis/bottleneck.h"
#include "core/core.h"

struct format { int mantissa, exponent; /* explicit bits; of the smallest normal number */ };

static struct format format_of(actscope_dtype dtype) {
  switch (dtype) {
    case ACTSCOPE_FLOAT16: return (struct format){10, -14};
    case ACTSCOPE_BFLOAT16: return (struct format){7, -126};
    case ACTSCOPE_FLOAT8_E4M3: return (struct format){3, -6};
    case ACTSCOPE_FLOAT8_E5M2: return (struct format){2, -14};
    case ACTSCOPE_FLOAT64: return (struct format){52, -1022};
    default: return (struct format){23, -126};
  }
}

/* Twice the share of a folded normal below v >= 0. */
static double below(double v, double mean, double sigma) {
  return erf((v - mean) / (M_SQRT2 * sigma)) + erf((v + mean) / (M_SQRT2 * sigma));
}

/* Expected distinct magnitudes of `draws` values of one sign that lie in [low, high], high > 0 (low 0: unknown). Walks
 * down from high until the rest is less than one draw, a 32nd of a binade at a time, or a quarter of sigma where a
 * narrow peak far from 0 needs it: some thousand stretches at the most. */
static double one_sign(struct format f, double draws, double low, double high, double mean, double sigma) {
  const double normal = ldexp(1, f.exponent), peak_low = mean - 6 * sigma, peak_high = mean + 6 * sigma;
  double base = low > 0 ? below(low, mean, sigma) : 0, total = below(high, mean, sigma) - base;
  double upper = high, left = 1, sum = 0; /* left: share of the draws below upper */
  for (;;) {
    int e;
    double binade = frexp(upper, &e) == 0.5 ? upper / 2 : ldexp(1, e - 1), lower = low, spacing;
    if (binade >= normal) { /* the stretch is (lower, upper], within (binade, 2 binade] */
      double step = ldexp(binade, f.mantissa < 5 ? -f.mantissa : -5);
      spacing = ldexp(binade, -f.mantissa);
      lower = fmax(low, binade + step * (ceil((upper - binade) / step) - 1));
      if (upper > peak_high) lower = fmax(lower, peak_high);
      else if (upper > peak_low) lower = fmax(lower, upper - fmax(sigma / 4, spacing));
    } else { /* all subnormal numbers, down to low */
      spacing = ldexp(normal, -f.mantissa);
    }
    double cells = (upper - lower) / spacing + (lower == low && low > 0);
    if (!(total > 1e-12)) return fmin(fmax(cells, 1), draws); /* the fit says nothing here: the topmost stretch */
    double rest = lower > low ? (below(lower, mean, sigma) - base) / total : 0, mass = draws * (left - rest);
    if (mass > 0) sum -= cells * expm1(-mass / cells);
    if (draws * rest < 1) return fmin(fmax(sum + draws * rest, 1), draws);
    upper = lower;
    left = rest;
  }
}

double actscope_expected_distinct(actscope_dtype dtype, const actscope_profile *p, double share) {
  double nonzero = (double)(p->finite - p->zero), negative = (double)p->negative, positive = nonzero - negative;
  if (!(nonzero * share >= 1)) return core_nan();
  double mean = p->abs_mean * (double)p->finite / nonzero, square = p->l2_norm * p->l2_norm / nonzero;
  double sigma = sqrt(fmax(square - mean * mean, 0));
  if (!(mean > 0) || !core_finite(mean) || !core_finite(sigma) || !core_finite(p->min) || !core_finite(p->max))
    return core_nan();
  sigma = fmax(sigma, 1e-9 * mean); /* below what the difference of two squares resolves */
  struct format f = format_of(dtype);
  double sum = 0;
  /* The end next to 0 is known only for the sign that does not reach it. */
  if (positive * share >= 1 && p->max > 0)
    sum += one_sign(f, positive * share, p->min > 0 ? p->min : 0, p->max, mean, sigma);
  if (negative * share >= 1 && p->min < 0)
    sum += one_sign(f, negative * share, p->max < 0 ? -p->max : 0, -p->min, mean, sigma);
  return sum > 0 ? sum : core_nan();
}
