/* fields.c - the fields of a layer's sections. Adding a number to every format for programs is one line here. */
#include "report/fields.h"

#define FIELD(section, any, all, name, kind) \
  { #section, #name, any, all, kind, offsetof(actscope_layer_report, section) + offsetof(actscope_##section, name) }
#define MOMENT(name, kind) FIELD(profile, ACTSCOPE_PROFILE, ACTSCOPE_MOMENTS, name, kind)
#define DISTINCT(name, kind) FIELD(distinct, ACTSCOPE_DISTINCT, ACTSCOPE_DISTINCT, name, kind)
#define HEALTH(name, kind) FIELD(health, ACTSCOPE_HEALTH, ACTSCOPE_HEALTH, name, kind)
#define PAIRS(name, kind) FIELD(correlation, ACTSCOPE_CORRELATION, ACTSCOPE_CORRELATION, name, kind)
#define RANK(name, kind) FIELD(rank, ACTSCOPE_RANK, ACTSCOPE_RANK, name, kind)
#define SAMPLES(name, kind) FIELD(similarity, ACTSCOPE_SIMILARITY, ACTSCOPE_SIMILARITY, name, kind)

const report_field report_fields[] = {
    MOMENT(count, REPORT_COUNT),
    MOMENT(finite, REPORT_COUNT),
    MOMENT(nan, REPORT_COUNT),
    MOMENT(positive_inf, REPORT_COUNT),
    MOMENT(negative_inf, REPORT_COUNT),
    MOMENT(zero, REPORT_COUNT),
    MOMENT(negative, REPORT_COUNT),
    MOMENT(subnormal, REPORT_COUNT),
    MOMENT(min, REPORT_REAL),
    MOMENT(max, REPORT_REAL),
    MOMENT(mean, REPORT_REAL),
    MOMENT(variance, REPORT_REAL),
    MOMENT(std, REPORT_REAL),
    MOMENT(skewness, REPORT_REAL),
    MOMENT(kurtosis, REPORT_REAL),
    MOMENT(abs_mean, REPORT_REAL),
    MOMENT(abs_max, REPORT_REAL),
    MOMENT(l2_norm, REPORT_REAL),
    FIELD(profile, ACTSCOPE_PROFILE, ACTSCOPE_ENTROPY, entropy, REPORT_REAL),
    FIELD(profile, ACTSCOPE_PROFILE, ACTSCOPE_QUANTILES, quantiles, REPORT_QUANTILES),
    FIELD(profile, ACTSCOPE_PROFILE, ACTSCOPE_QUANTILES, buckets, REPORT_BUCKETS),
    DISTINCT(count, REPORT_COUNT),
    DISTINCT(method, REPORT_DISTINCT_METHOD),
    DISTINCT(relative_standard_error, REPORT_REAL),
    DISTINCT(lower, REPORT_COUNT),
    DISTINCT(upper, REPORT_COUNT),
    DISTINCT(redundancy, REPORT_REAL),
    HEALTH(constant, REPORT_COUNT),
    HEALTH(nonfinite, REPORT_COUNT),
    HEALTH(dead, REPORT_COUNT),
    HEALTH(active_fraction, REPORT_REAL),
    PAIRS(method, REPORT_CORRELATION_METHOD),
    PAIRS(pairs, REPORT_COUNT),
    PAIRS(pairs_total, REPORT_COUNT),
    PAIRS(valid_features, REPORT_COUNT),
    PAIRS(mean_abs, REPORT_REAL),
    PAIRS(mean_abs_ci95, REPORT_INTERVAL),
    PAIRS(mean_square, REPORT_REAL),
    PAIRS(max_abs, REPORT_REAL),
    PAIRS(above, REPORT_ABOVE),
    PAIRS(histogram, REPORT_HISTOGRAM),
    PAIRS(noise_floor, REPORT_REAL),
    PAIRS(adjusted_rms, REPORT_REAL),
    PAIRS(mean, REPORT_ASKED),
    PAIRS(split_half, REPORT_ASKED),
    PAIRS(split_half_rms, REPORT_ASKED),
    PAIRS(noise_floor_shift, REPORT_ASKED),
    RANK(participation_ratio, REPORT_REAL),
    RANK(effective_rank, REPORT_REAL),
    SAMPLES(mean_cosine, REPORT_REAL),
    SAMPLES(zero_samples, REPORT_COUNT),
    SAMPLES(nonfinite_samples, REPORT_COUNT),
};
const size_t report_field_count = sizeof report_fields / sizeof *report_fields;

const void *report_value(const report_document *document, const report_layer *layer, const report_field *field) {
  const actscope_layer_report *report = &layer->report;
  if ((report->statistics & field->all) != field->all) return NULL;
  if (field->kind == REPORT_ABOVE && !(document->options.pair_functionals & ACTSCOPE_PAIRS_ABOVE)) return NULL;
  if (field->kind == REPORT_HISTOGRAM && (!(document->options.pair_functionals & ACTSCOPE_PAIRS_HISTOGRAM) ||
                                          report->correlation.method == ACTSCOPE_CORRELATION_GRAM))
    return NULL;
  return (const char *)report + field->offset;
}

const char *const report_distinct_methods[REPORT_DISTINCT_METHODS] = {"auto", "exact", "sketch"};
const char *const report_correlation_methods[REPORT_CORRELATION_METHODS] = {"auto", "exact", "sampled", "gram"};

const char *report_distinct_method(actscope_distinct_method method) {
  return (size_t)method < REPORT_DISTINCT_METHODS ? report_distinct_methods[method] : NULL;
}

const char *report_correlation_method(actscope_correlation_method method) {
  return (size_t)method < REPORT_CORRELATION_METHODS ? report_correlation_methods[method] : NULL;
}

const char *report_method(report_kind kind, const void *value) {
  return kind == REPORT_DISTINCT_METHOD      ? report_distinct_method(*(const actscope_distinct_method *)value)
         : kind == REPORT_CORRELATION_METHOD ? report_correlation_method(*(const actscope_correlation_method *)value)
                                             : NULL;
}

const report_statistic report_statistics[] = {
    {"profile", ACTSCOPE_PROFILE}, {"distinct", ACTSCOPE_DISTINCT},     {"health", ACTSCOPE_HEALTH}, {"correlation", ACTSCOPE_CORRELATION},
    {"rank", ACTSCOPE_RANK},       {"similarity", ACTSCOPE_SIMILARITY}, {"cka", ACTSCOPE_CKA},
};
const size_t report_statistic_count = sizeof report_statistics / sizeof *report_statistics;
