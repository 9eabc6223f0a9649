/* bottleneck.h - what constrains a layer: seven ingredients in 0..1, taken from its report alone.
 *
 * Each ingredient measures against what a healthy layer of the same size and dtype would show, not against an ideal:
 * independent features, normal values, zeros that fall by chance. What the sample is too small to prove counts as
 * healthy. docs/analysis.md gives every mapping and weight with its reason. */
#ifndef ACTSCOPE_ANALYSIS_BOTTLENECK_H
#define ACTSCOPE_ANALYSIS_BOTTLENECK_H

#include "actscope.h"

/* Numbers of the reasons, in the order of the ACTSCOPE_REASON_ bits. */
enum {
  REASON_CORRELATED,
  REASON_LOW_RANK,
  REASON_REDUNDANT,
  REASON_DEAD,
  REASON_CONSTANT,
  REASON_LOW_ENTROPY,
  REASON_NONFINITE
};

struct ingredients {
  double severity[ACTSCOPE_REASON_COUNT]; /* 0 (healthy) .. 1; NaN where the report does not say */
  /* What the severities were measured against; NaN where they were not. */
  double independent_rank;  /* effective rank of independent features of this size */
  double distinct_values;   /* distinct finite values other than 0 */
  double expected_values;   /* how many a normal distribution of this scale, count and dtype shows */
  double magnitude_share;   /* share of the non-zero elements that, were they equal, would have the same entropy */
  double constant_features; /* constant and not dead */
};

void actscope_ingredients(const actscope_layer_report *report, struct ingredients *out);

/* Share of the features, `count` of which are 0 in all samples, beyond what chance explains by the zeros of the others:
 * 0 .. 1; NaN when N is too small to say. */
double actscope_zero_features(const actscope_layer_report *report, uint64_t count);

/* 0 .. 1; NaN when no severity is a number. */
double actscope_bottleneck_score(const struct ingredients *in);

/* ACTSCOPE_REASON_ bits of the ingredients that are worth a person's attention. */
uint32_t actscope_bottleneck_reasons(const struct ingredients *in);

/* Distinct non-zero values among `share` (0..1) of the non-zero finite values of the profile, were they rounded to the
 * dtype from a normal distribution of the same mean |x| and root mean square. NaN when there is none, or no scale. */
double actscope_expected_distinct(actscope_dtype dtype, const actscope_profile *p, double share);

#endif
