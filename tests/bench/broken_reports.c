/* broken_reports.c - linked into build/tests/bench-broken alone: the library's reports with one number wrong, a different
 * one each time, as a broken kernel would leave it. The linker sends the benchmark's calls here. */
#include <math.h>
#include <string.h>

#include "actscope.h"

actscope_status __real_actscope_plan_report(actscope_plan *plan, size_t layer, actscope_layer_report *report);
actscope_status __wrap_actscope_plan_report(actscope_plan *plan, size_t layer, actscope_layer_report *report);

static void wrong_moment(actscope_profile *p, unsigned k) {
  switch (k % 12) {
    case 0: p->mean += 1e-3 * p->std; break;
    case 1: p->variance *= 1 + 1e-5; break;
    case 2: p->skewness += 1e-3; break;
    case 3: p->kurtosis += 1e-3; break;
    case 4: p->zero += 1; break;
    case 5: p->negative -= 1; break;
    case 6: p->max = nextafter(p->max, INFINITY); break;
    case 7: p->l2_norm = NAN; break;
    case 8: p->abs_mean *= 1 + 1e-5; break;
    case 9: p->finite -= 1; break;
    case 10: p->min = 0; break;
    default: p->std *= 1 - 1e-5; break;
  }
}

static void wrong_pairs(actscope_correlation *c, unsigned k) {
  const int gram = c->method == ACTSCOPE_CORRELATION_GRAM;
  switch (gram ? k % 3 : k % 6) {
    case 0: c->mean_square += 1e-3; break;
    case 1: c->valid_features -= 1; break;
    case 2: c->pairs += 1; break;
    case 3: c->mean_abs -= 0.02; break;
    case 4: c->max_abs = 1.5; break;
    default: c->noise_floor *= 1.001; break;
  }
}

actscope_status __wrap_actscope_plan_report(actscope_plan *plan, size_t layer, actscope_layer_report *report) {
  static unsigned count;
  actscope_status status = __real_actscope_plan_report(plan, layer, report);
  const unsigned k = count++;
  if (status) return status;
  const uint32_t s = report->statistics;
  /* Of the sections that are there, one in turn. */
  for (unsigned turn = k;; ++turn) switch (turn % 7) {
      case 0:
        if (!(s & ACTSCOPE_MOMENTS)) continue;
        return wrong_moment(&report->profile, k / 6), ACTSCOPE_OK;
      case 1:
        if (!(s & ACTSCOPE_QUANTILES)) continue;
        if (k % 2) report->profile.quantiles[k / 2 % ACTSCOPE_QUANTILE_COUNT] += 0.5;
        else report->profile.entropy += 1e-4;
        return ACTSCOPE_OK;
      case 2:
        if (!(s & ACTSCOPE_DISTINCT)) continue;
        report->distinct.count += 1 + report->distinct.count / 8;
        return ACTSCOPE_OK;
      case 3:
        if (!(s & ACTSCOPE_HEALTH)) continue;
        if (k % 2) report->health.dead += 1; else report->health.constant += 1;
        return ACTSCOPE_OK;
      case 4:
        if (!(s & ACTSCOPE_CORRELATION)) continue;
        return wrong_pairs(&report->correlation, k / 6), ACTSCOPE_OK;
      case 5:
        if (!(s & ACTSCOPE_SIMILARITY)) continue;
        report->similarity.mean_cosine += 1e-6;
        return ACTSCOPE_OK;
      default:
        if (!(s & ACTSCOPE_RANK)) continue;
        if (k % 2) report->rank.effective_rank *= 1.001; else report->rank.participation_ratio = NAN;
        return ACTSCOPE_OK;
    }
}
