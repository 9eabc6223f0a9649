/* network.h - scores of a layer in five families, and the severities that each is made of.
 *
 * A severity is 0 (healthy) .. 1 and NaN where the reports do not say. Definitions, thresholds and their evidence:
 * docs/analysis.md. */
#ifndef ACTSCOPE_ANALYSIS_NETWORK_H
#define ACTSCOPE_ANALYSIS_NETWORK_H

#include "analysis/bottleneck.h"

/* Share of the finite values other than 0 that lie at the end of largest magnitude, within 5 % of the range. */
double actscope_saturated_share(const actscope_layer_report *activation);

/* ln(effective rank) over that of `features` independent ones: 1 (full) .. 0; NaN when too small to say. */
double actscope_rank_fill(const actscope_layer_report *report);

/* Mean cosine of samples that have nothing in common but the mean of all elements. */
double actscope_offset_cosine(const actscope_layer_report *activation);

/* Root mean square over the samples of a gradient's norm; NaN without moments or finite values. */
double actscope_gradient_norm(const actscope_layer_report *gradient);

/* The severities of gradients, 0 .. 1 or NaN. */
double actscope_gradient_fault(const actscope_layer_report *gradient);
double actscope_gradient_noise(const actscope_layer_report *gradient);

#endif
