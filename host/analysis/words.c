/* words.c - warnings and reasons as one line each, with the numbers of the report. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "analysis/network.h"
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
    case ACTSCOPE_WARN_TIME_BUDGET:
      return say(text, size, "correlations take longer than the time budget by the plan's model, and no cheaper way is left");
    case ACTSCOPE_WARN_TOP_PAIRS:
      return say(text, size, "more pairs of features are above the limit asked for than are listed");
    case ACTSCOPE_WARN_NO_CKA:
      return say(text, size, "the products of %" PRIu64 " samples do not fit the memory budget: no CKA", r->samples);
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

/* The reason of the bottleneck score that is the same number as this ingredient; -1: none. */
static int reason_of(int ingredient) {
  switch (ingredient) {
    case ACTSCOPE_INGREDIENT_CORRELATION: return REASON_CORRELATED;
    case ACTSCOPE_INGREDIENT_LOW_RANK: return REASON_LOW_RANK;
    case ACTSCOPE_INGREDIENT_LOW_ENTROPY: return REASON_LOW_ENTROPY;
    case ACTSCOPE_INGREDIENT_REDUNDANCY: return REASON_REDUNDANT;
    case ACTSCOPE_INGREDIENT_NONFINITE: return REASON_NONFINITE;
    default: return -1;
  }
}

static int say_fault(const actscope_layer_report *g, char *text, size_t size) {
  const actscope_profile *p = &g->profile;
  if ((g->statistics & ACTSCOPE_MOMENTS) && p->finite > 0 && p->zero == p->finite)
    return say(text, size, "gradient: all of it is 0");
  if (p->nan || p->positive_inf || p->negative_inf || g->health.nonfinite)
    return say(text, size, "gradient: %" PRIu64 " NaN and %" PRIu64 " infinities", p->nan, p->positive_inf + p->negative_inf);
  if ((g->statistics & ACTSCOPE_HEALTH) && actscope_zero_features(g, g->health.constant) >= 0.05)
    return say(text, size, "gradient: none, or always the same, in %" PRIu64 " of %" PRIu64 " features", g->health.constant,
               g->features);
  return say(text, size, "gradient: %.2g %% of it is below the normal range of %s",
             100 * (double)p->subnormal / (double)(p->finite - p->zero), actscope_dtype_name(g->dtype));
}

int actscope_ingredient_text(const actscope_network_scores *s, const actscope_layer_report *reports, int ingredient,
                             char *text, size_t size) {
  if (s == NULL || reports == NULL || ingredient < 0 || ingredient >= ACTSCOPE_INGREDIENT_COUNT ||
      !(s->reasons >> ingredient & 1u))
    return nothing(text, size);
  const actscope_layer_report *r = &reports[s->layer];
  const actscope_layer_report *g = s->gradient == ACTSCOPE_NO_LAYER ? NULL : &reports[s->gradient];
  actscope_bottleneck same = {s->layer, 0, reason_of(ingredient) >= 0 ? 1u << reason_of(ingredient) : 0};
  switch (ingredient) {
    case ACTSCOPE_INGREDIENT_SATURATION:
      if (r->profile.min == r->profile.max) return say(text, size, "saturated: all values are %.3g", r->profile.min);
      return say(text, size, "saturated: about %.0f %% of the values other than 0 lie at the end of the range %.3g .. %.3g",
                 100 * actscope_saturated_share(r), r->profile.min, r->profile.max);
    case ACTSCOPE_INGREDIENT_UNUSED: {
      struct ingredients in;
      actscope_ingredients(r, &in);
      return say(text, size, "unused: %" PRIu64 " of %" PRIu64 " features are dead and %.0f never change", r->health.dead,
                 r->features, in.constant_features == in.constant_features ? in.constant_features : 0);
    }
    case ACTSCOPE_INGREDIENT_SIMILARITY:
      return say(text, size, "samples point the same way: mean cosine %.2f, of which a common offset explains %.2f",
                 r->similarity.mean_cosine, actscope_offset_cosine(r));
    case ACTSCOPE_INGREDIENT_RANK_DEFICIT:
      return say(text, size, "capacity unused: effective rank %.1f, with %" PRIu64 " samples of %" PRIu64 " features",
                 r->rank.effective_rank == r->rank.effective_rank ? r->rank.effective_rank : 0, r->samples, r->features);
    case ACTSCOPE_INGREDIENT_INFORMATION_LOSS:
      if (s->before == ACTSCOPE_NO_LAYER) return nothing(text, size);
      return say(text, size, "information lost: fills %.0f %% of what its size can hold, the layer before %.0f %%",
                 100 * actscope_rank_fill(r), 100 * actscope_rank_fill(&reports[s->before]));
    case ACTSCOPE_INGREDIENT_WEIGHT_RANK_DEFICIT:
      if (s->weight == ACTSCOPE_NO_LAYER) return nothing(text, size);
      r = &reports[s->weight];
      return say(text, size, "weight: effective rank %.1f of %" PRIu64 " x %" PRIu64, r->rank.effective_rank, r->samples,
                 r->features);
    case ACTSCOPE_INGREDIENT_GRADIENT_FAULT: return g ? say_fault(g, text, size) : nothing(text, size);
    case ACTSCOPE_INGREDIENT_GRADIENT_STEP:
    case ACTSCOPE_INGREDIENT_GRADIENT_DRIFT: {
      size_t to = ingredient == ACTSCOPE_INGREDIENT_GRADIENT_STEP ? s->next : s->last;
      if (!g || to == ACTSCOPE_NO_LAYER) return nothing(text, size);
      double norm = actscope_gradient_norm(g), reference = actscope_gradient_norm(&reports[to]);
      return say(text, size, "gradient %s: norm %.3g a sample, %.3g at the %s layer", norm < reference ? "fades" : "grows",
                 norm, reference, ingredient == ACTSCOPE_INGREDIENT_GRADIENT_STEP ? "next" : "last");
    }
    default: return actscope_reason_text(&same, r, reason_of(ingredient), text, size);
  }
}
