/* words.c - warnings and reasons as one line each, with the numbers of the report. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "analysis/bottleneck.h"
#include "core/core.h"

/* 1 and the text, cut to size; a text of size 0 is left alone. */
static int say(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int say(char *text, size_t size, const char *format, ...) {
  if (text == NULL || size == 0) return 1;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, size, format, arguments);
  va_end(arguments);
  return 1;
}

static int nothing(char *text, size_t size) {
  if (text != NULL && size > 0) text[0] = 0;
  return 0;
}

static int say_nonfinite(const actscope_layer_report *r, char *text, size_t size) {
  const actscope_profile *p = &r->profile;
  int moments = (r->statistics & ACTSCOPE_MOMENTS) != 0, health = (r->statistics & ACTSCOPE_HEALTH) != 0;
  uint64_t infinite = p->positive_inf + p->negative_inf;
  const char *plural = infinite == 1 ? "infinity" : "infinities";
  if (moments && health)
    return say(text, size, "%" PRIu64 " NaN and %" PRIu64 " %s, in %" PRIu64 " of %" PRIu64 " features", p->nan,
               infinite, plural, r->health.nonfinite, r->features);
  if (moments)
    return say(text, size, "%" PRIu64 " NaN and %" PRIu64 " %s among %" PRIu64 " elements", p->nan, infinite, plural,
               r->elements);
  if (health)
    return say(text, size, "NaN or infinities in %" PRIu64 " of %" PRIu64 " features", r->health.nonfinite,
               r->features);
  return say(text, size, "NaN or infinities among the values");
}

int actscope_warning_text(const actscope_layer_report *r, int bit, char *text, size_t size) {
  if (r == NULL || bit < 0 || bit >= ACTSCOPE_WARN_COUNT || !(r->warnings >> bit & 1u)) return nothing(text, size);
  switch (1u << bit) {
    case ACTSCOPE_WARN_LARGE_TENSOR: return say(text, size, "large tensor: %" PRIu64 " elements", r->elements);
    case ACTSCOPE_WARN_NONFINITE: return say_nonfinite(r, text, size);
    case ACTSCOPE_WARN_STRIPS:
      return say(text, size, "standardised features do not fit the memory budget: %" PRIu64
                 " features were taken in strips, which is slower with the same result", r->features);
    case ACTSCOPE_WARN_SAMPLED:
      return say(text, size, "%" PRIu64 " of %" PRIu64 " pairs of features were sampled: all pairs would take too long",
                 r->correlation.pairs, r->correlation.pairs_total);
    case ACTSCOPE_WARN_DISTINCT_PASSES:
      return say(text, size, "exact distinct values needed several reads of %" PRIu64
                 " elements to fit the memory budget", r->elements);
    case ACTSCOPE_WARN_NO_EFFECTIVE_RANK:
      return say(text, size, "eigenvalues of %" PRIu64 " samples by %" PRIu64
                 " features do not fit the memory budget: no effective rank", r->samples, r->features);
    case ACTSCOPE_WARN_FEW_SAMPLES:
      return say(text, size, "%" PRIu64 " sample%s: correlations %s", r->samples, r->samples == 1 ? "" : "s",
                 r->samples == 2 ? "are all +1 or -1" : "do not exist");
    default:
      if (r->statistics & ACTSCOPE_CORRELATION)
        return say(text, size, "%" PRIu64 " of %" PRIu64 " features vary and are finite: no pair to correlate",
                   r->correlation.valid_features, r->features);
      return say(text, size, "fewer than two of %" PRIu64 " features vary and are finite: no pair to correlate",
                 r->features);
  }
}

int actscope_reason_text(const actscope_bottleneck *bottleneck, const actscope_layer_report *r, int bit, char *text,
                         size_t size) {
  if (bottleneck == NULL || r == NULL || bit < 0 || bit >= ACTSCOPE_REASON_COUNT || !(bottleneck->reasons >> bit & 1u))
    return nothing(text, size);
  struct ingredients in;
  actscope_ingredients(r, &in);
  const actscope_correlation *c = &r->correlation;
  switch (bit) {
    case REASON_CORRELATED:
      if (c->mean_abs == c->mean_abs)
        return say(text, size,
                   "features repeat each other: adjusted rms r %.2f, mean |r| %.2f over a noise floor of %.2f",
                   c->adjusted_rms, c->mean_abs, c->noise_floor);
      return say(text, size, "features repeat each other: adjusted rms r %.2f", c->adjusted_rms);
    case REASON_LOW_RANK:
      return say(text, size, "low rank: effective rank %.1f, independent features of this size would have %.1f",
                 r->rank.effective_rank, in.independent_rank);
    case REASON_REDUNDANT:
      return say(text, size, "values repeat: %.0f distinct beside 0, %s would show about %.0f", in.distinct_values,
                 actscope_dtype_name(r->dtype), in.expected_values);
    case REASON_DEAD:
      return say(text, size, "dead features: %" PRIu64 " of %" PRIu64 " never exceed 1e-6", r->health.dead,
                 r->features);
    case REASON_CONSTANT:
      return say(text, size, "constant features: %.0f of %" PRIu64 " never change", in.constant_features, r->features);
    case REASON_LOW_ENTROPY:
      return say(text, size, "few elements carry the magnitude: as if %.2g %% of the non-zero ones did, entropy %.2f",
                 100 * in.magnitude_share, r->profile.entropy);
    default: return say_nonfinite(r, text, size);
  }
}
