/* network.c - the five families. Definitions and reasons: docs/analysis.md. */
#include "analysis/network.h"

#include "core/core.h"
#include "error.h"

static double unit(double v) { return v < 0 ? 0 : v > 1 ? 1 : v; } /* NaN stays NaN */
static int measured(const actscope_layer_report *r, uint32_t bits) {
  return r->status == ACTSCOPE_OK && r->elements > 0 && (r->statistics & bits) == bits;
}

/* ---- Of an activation alone ------------------------------------------------------------------------------------------ */

enum { POINTS = ACTSCOPE_QUANTILE_COUNT + 2 };

/* Share of the values within 5 % of the range from its upper end, from the quantiles: linear between two of them, and
 * half way where the upper one lies at the end itself, for then a jump is somewhere between them. */
static double share_at_end(const double *level, const double *value) {
  double end = value[POINTS - 1], range = end - value[0], at = end - 0.05 * range;
  for (int k = POINTS - 1; k > 0; --k)
    if (value[k - 1] < at) {
      double step = value[k] - value[k - 1], part = step > 0 ? (at - value[k - 1]) / step : 0;
      if (k < POINTS - 1 && end - value[k] <= 0.01 * range) part = 0.5;
      return 1 - (level[k - 1] + (level[k] - level[k - 1]) * unit(part));
    }
  return 1;
}

/* An end counts when it reaches 0.9 of the largest magnitude: next to 0 is where rectifiers put what they let not pass. */
double actscope_saturated_share(const actscope_layer_report *r) {
  const actscope_profile *p = &r->profile;
  if (!measured(r, ACTSCOPE_MOMENTS | ACTSCOPE_QUANTILES) || p->finite == 0) return core_nan();
  double range = p->max - p->min, top = fmax(fabs(p->max), fabs(p->min)), share = 0;
  if (p->min == p->max) return r->samples < 3 ? core_nan() : 1; /* all values are one, of too many to be chance */
  if (!core_finite(range)) return core_nan();
  int narrow = r->dtype != ACTSCOPE_FLOAT32 && r->dtype != ACTSCOPE_FLOAT64; /* quantiles are exact, else to 2^-8 */
  if (!narrow && 0.05 * range < top / 128) return core_nan();
  double level[POINTS], value[POINTS], negated[POINTS];
  for (int k = 0; k < POINTS; ++k) {
    level[k] = k == 0 ? 0 : k == POINTS - 1 ? 1 : actscope_quantile_levels[k - 1];
    value[k] = k == 0 ? p->min : k == POINTS - 1 ? p->max : p->quantiles[k - 1];
  }
  for (int k = 0; k < POINTS; ++k) negated[k] = -value[POINTS - 1 - k]; /* the levels lie symmetrically */
  if (fabs(p->max) >= 0.9 * top) share += share_at_end(level, value);
  if (fabs(p->min) >= 0.9 * top) share += share_at_end(level, negated);
  return unit(share * (double)p->finite / (double)(p->finite - p->zero));
}

/* Of a uniform distribution 10 % lie in the two ends, of tanh of a standard normal one 14 %. */
static double saturation(const actscope_layer_report *r) { return unit((actscope_saturated_share(r) - 0.15) / 0.85); }

double actscope_offset_cosine(const actscope_layer_report *r) {
  const actscope_profile *p = &r->profile;
  double square = p->mean * p->mean, all = square + p->variance;
  return measured(r, ACTSCOPE_MOMENTS) && all > 0 ? square / all : core_nan();
}

/* Up to half of what is left, samples share what the features' own means make of them. */
static double similarity(const actscope_layer_report *r) {
  if (!measured(r, ACTSCOPE_SIMILARITY)) return core_nan();
  double offset = actscope_offset_cosine(r);
  if (!(offset < 1)) return core_nan(); /* one value: not two samples differ, but neither do two features */
  return unit(2 * (r->similarity.mean_cosine - offset) / (1 - offset) - 1);
}

/* Against min(N - 1, D) directions, of which independent features fill ln m - m/2n within 1/n (Page). */
double actscope_rank_fill(const actscope_layer_report *r) {
  if (!measured(r, ACTSCOPE_RANK)) return core_nan();
  double n = (double)r->samples - 1, d = (double)r->features, m = fmin(n, d), full;
  n = fmax(n, d);
  full = log(m) - m / (2 * n) - 1 / n;
  if (!(m >= 2) || !(full >= 0.5 * log(m))) return core_nan();
  double rank = r->rank.effective_rank;
  if (rank != rank && measured(r, ACTSCOPE_HEALTH) && r->health.constant == r->features) return 0; /* nothing is left */
  return rank > 0 ? unit(log(rank) / full) : core_nan();
}

static double either(double a, double b) { return a != a ? b : b != b ? a : unit(a + b); }

static void of_activation(const actscope_layer_report *r, double *s) {
  struct ingredients in;
  actscope_ingredients(r, &in);
  s[ACTSCOPE_INGREDIENT_SATURATION] = saturation(r);
  s[ACTSCOPE_INGREDIENT_UNUSED] = either(in.severity[REASON_DEAD], in.severity[REASON_CONSTANT]);
  s[ACTSCOPE_INGREDIENT_SIMILARITY] = similarity(r);
  s[ACTSCOPE_INGREDIENT_CORRELATION] = in.severity[REASON_CORRELATED];
  s[ACTSCOPE_INGREDIENT_LOW_RANK] = in.severity[REASON_LOW_RANK];
  s[ACTSCOPE_INGREDIENT_LOW_ENTROPY] = in.severity[REASON_LOW_ENTROPY];
  s[ACTSCOPE_INGREDIENT_REDUNDANCY] = in.severity[REASON_REDUNDANT];
  s[ACTSCOPE_INGREDIENT_NONFINITE] = in.severity[REASON_NONFINITE];
  s[ACTSCOPE_INGREDIENT_RANK_DEFICIT] = 1 - actscope_rank_fill(r);
}

/* ---- Of gradients ------------------------------------------------------------------------------------------------------ */

double actscope_gradient_norm(const actscope_layer_report *g) {
  if (!measured(g, ACTSCOPE_MOMENTS) || g->profile.finite == 0) return core_nan();
  return g->profile.l2_norm / sqrt((double)g->elements / (double)g->features); /* of all steps */
}

/* Three ways to lose a gradient, each a share of it: what is left of one is what the next can take. A feature whose
 * gradient is the same for all samples is one that none reaches; 1e-6 is no measure here. */
double actscope_gradient_fault(const actscope_layer_report *g) {
  const actscope_profile *p = &g->profile;
  struct ingredients in;
  actscope_ingredients(g, &in);
  double broken = in.severity[REASON_NONFINITE], absent = core_nan(), under = core_nan();
  if (measured(g, ACTSCOPE_HEALTH) && g->samples >= 3) absent = actscope_zero_features(g, g->health.constant);
  if (measured(g, ACTSCOPE_MOMENTS) && p->finite > 0) {
    if (p->zero == p->finite) absent = 1;
    else under = (double)p->subnormal / (double)(p->finite - p->zero);
  }
  if (broken != broken && absent != absent && under != under) return core_nan();
  double left = 1;
  if (broken == broken) left *= 1 - broken;
  if (absent == absent) left *= 1 - absent;
  if (under == under) left *= 1 - under;
  return unit(1 - left);
}

/* With unit gradients of mean cosine c, the square of their mean over n samples is c + (1 - c)/n, and (1 - c)/n of it is
 * noise: B/(B + n), B = (1 - c)/c being the noise scale of McCandlish et al. (arXiv 1812.06162). */
double actscope_gradient_noise(const actscope_layer_report *g) {
  if (!measured(g, ACTSCOPE_SIMILARITY)) return core_nan();
  double c = g->similarity.mean_cosine;
  double none = (double)(g->similarity.zero_samples + g->similarity.nonfinite_samples); /* of all steps */
  double n = (double)g->samples * (1 - none * (double)g->features / (double)g->elements);
  return c != c ? c : c <= 0 ? 1 : unit((1 - c) / (c * n + 1 - c));
}

/* A factor between two norms, either way, on a logarithmic scale: 0 up to `healthy`, 1 from `lost` on. */
static double change(double norm, double reference, double healthy, double lost) {
  if (norm != norm || reference != reference || (norm == 0 && reference == 0)) return core_nan();
  if (norm == 0 || reference == 0) return 1;
  return unit((fabs(log(norm / reference)) - log(healthy)) / (log(lost) - log(healthy)));
}

/* ---- The network ------------------------------------------------------------------------------------------------------- */

/* The share of the known ones, by weight. */
struct part { int ingredient; double weight; };
static double weighed(const double *s, const struct part *parts, int count) {
  double sum = 0, weight = 0;
  for (int i = 0; i < count; ++i) {
    double v = s[parts[i].ingredient];
    if (v == v) sum += parts[i].weight * v, weight += parts[i].weight;
  }
  return weight > 0 ? unit(sum / weight) : core_nan();
}

/* What is left of both losses; the other alone where one is not known. */
static double beyond(double a, double b) { return a != a ? b : b != b ? a : unit(1 - (1 - a) * (1 - b)); }

static void families(const actscope_layer_report *r, actscope_network_scores *out) {
  static const struct part depth[] = {{ACTSCOPE_INGREDIENT_SATURATION, 0.4}, {ACTSCOPE_INGREDIENT_GRADIENT_FAULT, 0.3},
                                      {ACTSCOPE_INGREDIENT_INFORMATION_LOSS, 0.3}},
                           width[] = {{ACTSCOPE_INGREDIENT_UNUSED, 0.4}, {ACTSCOPE_INGREDIENT_SIMILARITY, 0.4},
                                      {ACTSCOPE_INGREDIENT_GRADIENT_NOISE, 0.2}},
                           rank[] = {{ACTSCOPE_INGREDIENT_RANK_DEFICIT, 0.6}, {ACTSCOPE_INGREDIENT_WEIGHT_RANK_DEFICIT, 0.4}};
  struct ingredients in;
  const double *s = out->ingredient;
  double step = s[ACTSCOPE_INGREDIENT_GRADIENT_STEP], drift = s[ACTSCOPE_INGREDIENT_GRADIENT_DRIFT];
  actscope_ingredients(r, &in);
  out->score[ACTSCOPE_SCORE_DEPTH] = weighed(s, depth, 3);
  out->score[ACTSCOPE_SCORE_WIDTH] = weighed(s, width, 3);
  out->score[ACTSCOPE_SCORE_INFORMATION_FLOW] = actscope_bottleneck_score(&in);
  out->score[ACTSCOPE_SCORE_GRADIENT_FLOW] = beyond(s[ACTSCOPE_INGREDIENT_GRADIENT_FAULT], fmax(step, drift));
  out->score[ACTSCOPE_SCORE_CAPACITY] = beyond(s[ACTSCOPE_INGREDIENT_UNUSED], weighed(s, rank, 2));
}

/* From here on an ingredient is a reason; above 1 it never is one by itself. */
static const double thresholds[ACTSCOPE_INGREDIENT_COUNT] = {
    [ACTSCOPE_INGREDIENT_SATURATION] = 0.3,     [ACTSCOPE_INGREDIENT_UNUSED] = 0.05,
    [ACTSCOPE_INGREDIENT_SIMILARITY] = 0.3,     [ACTSCOPE_INGREDIENT_CORRELATION] = 0.3,
    [ACTSCOPE_INGREDIENT_LOW_RANK] = 0.3,       [ACTSCOPE_INGREDIENT_LOW_ENTROPY] = 0.3,
    [ACTSCOPE_INGREDIENT_REDUNDANCY] = 0.3,     [ACTSCOPE_INGREDIENT_NONFINITE] = 0.5,
    [ACTSCOPE_INGREDIENT_RANK_DEFICIT] = 0.5,   [ACTSCOPE_INGREDIENT_INFORMATION_LOSS] = 0.2,
    [ACTSCOPE_INGREDIENT_WEIGHT_RANK_DEFICIT] = 0.3, [ACTSCOPE_INGREDIENT_GRADIENT_FAULT] = 0.05,
    [ACTSCOPE_INGREDIENT_GRADIENT_NOISE] = 2,   [ACTSCOPE_INGREDIENT_GRADIENT_STEP] = 0.3,
    [ACTSCOPE_INGREDIENT_GRADIENT_DRIFT] = 0.3};

static int role_is(const actscope_role *roles, size_t i, actscope_role role) {
  return (roles ? roles[i] : ACTSCOPE_ROLE_ACTIVATION) == role;
}

/* The first report of a role that has the name of activation a, which is the first activation of that name. */
static size_t partner(const actscope_layer_report *reports, const actscope_role *roles, const char *const *names,
                      size_t count, size_t a, actscope_role role) {
  if (!roles || !names || !names[a]) return ACTSCOPE_NO_LAYER;
  for (size_t i = 0; i < a; ++i)
    if (role_is(roles, i, ACTSCOPE_ROLE_ACTIVATION) && names[i] && strcmp(names[i], names[a]) == 0) return ACTSCOPE_NO_LAYER;
  for (size_t i = 0; i < count; ++i) {
    if (!role_is(roles, i, role) || !names[i] || strcmp(names[i], names[a]) != 0) continue;
    if (role == ACTSCOPE_ROLE_GRADIENT &&
        (reports[i].elements != reports[a].elements || reports[i].samples != reports[a].samples))
      continue;
    return i;
  }
  return ACTSCOPE_NO_LAYER;
}

actscope_status actscope_network_analyze(const actscope_layer_report *reports, const actscope_role *roles,
                                         const char *const *names, size_t count, actscope_network_scores *scores,
                                         size_t *scored) {
  if (!scored || (count && (!reports || !scores)))
    return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "network_analyze: reports, scores and scored must not be NULL");
  size_t n = *scored = 0, before = ACTSCOPE_NO_LAYER;
  for (size_t i = 0; roles && i < count; ++i)
    if (roles[i] < ACTSCOPE_ROLE_ACTIVATION || roles[i] > ACTSCOPE_ROLE_WEIGHT)
      return actscope_fail(ACTSCOPE_INVALID_ARGUMENT, "network_analyze: role of report %zu is not a role", i);
  for (size_t i = 0; i < count; ++i) { /* in the order of the forward pass */
    if (!role_is(roles, i, ACTSCOPE_ROLE_ACTIVATION)) continue;
    actscope_network_scores *out = &scores[n++];
    double *s = out->ingredient;
    out->layer = i;
    out->gradient = partner(reports, roles, names, count, i, ACTSCOPE_ROLE_GRADIENT);
    out->weight = partner(reports, roles, names, count, i, ACTSCOPE_ROLE_WEIGHT);
    out->before = out->next = out->last = ACTSCOPE_NO_LAYER;
    for (int k = 0; k < ACTSCOPE_INGREDIENT_COUNT; ++k) s[k] = core_nan();
    of_activation(&reports[i], s);
    double fill = actscope_rank_fill(&reports[i]);
    if (fill == fill) {
      if (before != ACTSCOPE_NO_LAYER) {
        double had = actscope_rank_fill(&reports[before]);
        out->before = before;
        s[ACTSCOPE_INGREDIENT_INFORMATION_LOSS] = had > 0 ? unit(1 - fill / had) : 0;
      }
      before = i;
    }
    if (out->weight != ACTSCOPE_NO_LAYER)
      s[ACTSCOPE_INGREDIENT_WEIGHT_RANK_DEFICIT] = 1 - actscope_rank_fill(&reports[out->weight]);
    if (out->gradient != ACTSCOPE_NO_LAYER) {
      s[ACTSCOPE_INGREDIENT_GRADIENT_FAULT] = actscope_gradient_fault(&reports[out->gradient]);
      s[ACTSCOPE_INGREDIENT_GRADIENT_NOISE] = actscope_gradient_noise(&reports[out->gradient]);
    }
  }
  size_t next = ACTSCOPE_NO_LAYER, last = ACTSCOPE_NO_LAYER;
  for (size_t k = n; k-- > 0;) { /* against it */
    actscope_network_scores *out = &scores[k];
    double norm = out->gradient == ACTSCOPE_NO_LAYER ? core_nan() : actscope_gradient_norm(&reports[out->gradient]);
    if (norm == norm) {
      if (next != ACTSCOPE_NO_LAYER) {
        out->next = next;
        out->last = last;
        out->ingredient[ACTSCOPE_INGREDIENT_GRADIENT_STEP] = change(norm, actscope_gradient_norm(&reports[next]), 2, 10);
        out->ingredient[ACTSCOPE_INGREDIENT_GRADIENT_DRIFT] = change(norm, actscope_gradient_norm(&reports[last]), 10, 1000);
      } else {
        last = out->gradient;
      }
      next = out->gradient;
    }
    families(&reports[out->layer], out);
    out->reasons = 0;
    for (int i = 0; i < ACTSCOPE_INGREDIENT_COUNT; ++i)
      if (out->ingredient[i] >= thresholds[i]) out->reasons |= 1u << i;
  }
  *scored = n;
  return ACTSCOPE_OK;
}

const char *actscope_score_name(int score) {
  static const char *const names[] = {"depth", "width", "information_flow", "gradient_flow", "capacity"};
  return score >= 0 && score < ACTSCOPE_SCORE_COUNT ? names[score] : "unknown";
}

const char *actscope_ingredient_name(int ingredient) {
  static const char *const names[ACTSCOPE_INGREDIENT_COUNT] = {
      [ACTSCOPE_INGREDIENT_SATURATION] = "saturation",
      [ACTSCOPE_INGREDIENT_UNUSED] = "unused",
      [ACTSCOPE_INGREDIENT_SIMILARITY] = "similarity",
      [ACTSCOPE_INGREDIENT_CORRELATION] = "correlation",
      [ACTSCOPE_INGREDIENT_LOW_RANK] = "low_rank",
      [ACTSCOPE_INGREDIENT_LOW_ENTROPY] = "low_entropy",
      [ACTSCOPE_INGREDIENT_REDUNDANCY] = "redundancy",
      [ACTSCOPE_INGREDIENT_NONFINITE] = "nonfinite",
      [ACTSCOPE_INGREDIENT_RANK_DEFICIT] = "rank_deficit",
      [ACTSCOPE_INGREDIENT_INFORMATION_LOSS] = "information_loss",
      [ACTSCOPE_INGREDIENT_WEIGHT_RANK_DEFICIT] = "weight_rank_deficit",
      [ACTSCOPE_INGREDIENT_GRADIENT_FAULT] = "gradient_fault",
      [ACTSCOPE_INGREDIENT_GRADIENT_NOISE] = "gradient_noise",
      [ACTSCOPE_INGREDIENT_GRADIENT_STEP] = "gradient_step",
      [ACTSCOPE_INGREDIENT_GRADIENT_DRIFT] = "gradient_drift"};
  return ingredient >= 0 && ingredient < ACTSCOPE_INGREDIENT_COUNT ? names[ingredient] : "unknown";
}
