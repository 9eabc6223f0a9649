/* test_report.c - the report writers for programs, and what all formats have: what they promise, for documents made to trip
 * them. The table is in test_report_table.c, numbers and text in test_report_text.c. */
#include <cjson/cJSON.h>
#include <locale.h>

#include "report/fields.h"
#include "report_render.h"

TestSuite(report, .timeout = 60);

static cJSON *parse(const char *text) {
  const char *end = NULL;
  cJSON *root = cJSON_ParseWithOpts(text, &end, 1);
  cr_assert_not_null(root, "not JSON near: %.60s", end ? end : text);
  return root;
}

static cJSON *render_json(const report_document *document) {
  char *text = render(document, REPORT_JSON, 0, 0);
  cJSON *root = parse(text);
  free(text);
  return root;
}

static const cJSON *at(const cJSON *item, const char *key) { return cJSON_GetObjectItemCaseSensitive(item, key); }

static const cJSON *layer_at(const cJSON *root, int index) { return cJSON_GetArrayItem(at(root, "layers"), index); }

/* The keys of an object, joined by blanks, in their order. */
static const char *keys(const cJSON *object) {
  static char text[2048];
  const cJSON *item;
  *text = 0;
  cJSON_ArrayForEach(item, object) {
    if (*text) strcat(text, " ");
    strcat(text, item->string);
  }
  return text;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

Test(report, json_has_the_fields_of_the_schema) {
  report_document *document = sample_document(3);
  cJSON *root = render_json(document);
  cr_expect_str_eq(keys(root), "schema version backend device options memory seconds layers network");
  cr_expect_str_eq(at(root, "schema")->valuestring, "actscope-report/1");
  cr_expect_str_eq(keys(at(root, "memory")), "budget_bytes workspace_bytes held_peak_bytes resident_bytes resident_peak_bytes device_held_peak_bytes");
  cr_expect_str_eq(
      keys(at(root, "options")),
      "device memory statistics correlation pairs seed precision distinct sketch_bits channels large_tensor top_pairs pairs_above split_half null signed");
  cr_expect_str_eq(keys(at(root, "network")), "bottlenecks large_tensors");
  const cJSON *layer = layer_at(root, 0);
  cr_expect_str_eq(
      keys(layer),
      "name source role dtype shape samples features seconds warnings profile distinct health correlation rank "
      "similarity");
  cr_expect_str_eq(
      keys(at(layer, "profile")),
      "count finite nan positive_inf negative_inf zero negative subnormal min max mean variance std skewness "
      "kurtosis abs_mean abs_max l2_norm entropy quantiles buckets");
  cr_expect_str_eq(keys(at(at(layer, "profile"), "quantiles")), "0.01 0.05 0.25 0.5 0.75 0.95 0.99");
  cr_expect_str_eq(keys(at(layer, "distinct")), "count method relative_standard_error lower upper redundancy");
  cr_expect_str_eq(keys(at(layer, "health")), "constant nonfinite dead active_fraction");
  cr_expect_str_eq(keys(at(layer, "correlation")),
                   "method pairs pairs_total valid_features mean_abs mean_abs_ci95 mean_square max_abs above histogram "
                   "noise_floor adjusted_rms mean split_half split_half_rms noise_floor_shift");
  cr_expect_str_eq(keys(at(at(layer, "correlation"), "above")), "0.5 0.7 0.9 0.95 0.99");
  cr_expect_eq(cJSON_GetArraySize(at(at(layer, "correlation"), "histogram")), 64);
  cr_expect_eq(cJSON_GetArraySize(at(at(layer, "correlation"), "mean_abs_ci95")), 2);
  cr_expect_str_eq(keys(at(layer, "rank")), "participation_ratio effective_rank");
  cr_expect_str_eq(keys(at(layer, "similarity")), "mean_cosine zero_samples nonfinite_samples");
  cr_expect_str_eq(at(layer, "dtype")->valuestring, "float32");
  cr_expect_eq(cJSON_GetArrayItem(at(layer, "shape"), 1)->valueint, 512);
  cr_expect_eq(at(layer, "samples")->valueint, 128);
  cr_expect_eq(at(layer, "features")->valueint, 8192);
}

/* Single pairs and features, where there are lists of them. */
Test(report, lists) {
  report_document *document = sample_document(2);
  static actscope_pair pairs[] = {{3, 8191, -0.99996}, {17, 200, 0.5}};
  static report_feature features[] = {{8191, 0.25f, 1}};
  document->options.pairs_above = 0.4;
  document->layers[0].top = pairs, document->layers[0].top_count = 2, document->layers[0].top_above = 7;
  document->layers[1].top = pairs;
  report_layer *listed = &document->layers[0];
  listed->top_features = features, listed->top_feature_count = 1;
  for (int k = 0; k < REPORT_PAIRLESS; k++) listed->pairless[k] = 100 + (uint64_t)k;
  listed->pairless_count = 87;
  cJSON *root = render_json(document);
  const cJSON *section = at(layer_at(root, 0), "correlation"), *list = at(section, "top_pairs");
  cr_expect_eq(cJSON_GetArraySize(list), 2);
  cr_expect_str_eq(keys(cJSON_GetArrayItem(list, 0)), "i j r");
  cr_expect_eq(at(cJSON_GetArrayItem(list, 0), "j")->valueint, 8191);
  cr_expect_float_eq(at(cJSON_GetArrayItem(list, 0), "r")->valuedouble, -0.99996, 1e-15);
  cr_expect_eq(at(section, "pairs_above")->valueint, 7);
  cr_expect_str_eq(keys(cJSON_GetArrayItem(at(section, "top_features"), 0)), "feature mean_abs max_abs");
  cr_expect_eq(at(at(section, "pairless_features"), "count")->valueint, 87);
  cr_expect_eq(cJSON_GetArraySize(at(at(section, "pairless_features"), "first")), REPORT_PAIRLESS);
  section = at(layer_at(root, 1), "correlation");
  cr_expect_null(at(section, "pairless_features"));
  cr_expect_eq(cJSON_GetArraySize(at(section, "top_pairs")), 0);
  cr_expect_null(at(section, "top_features"));
  char *table = render(document, REPORT_TABLE, 0, 120), wanted[3][160];
  char a[REPORT_SHAPE], b[REPORT_SHAPE];
  const report_layer *first = &document->layers[0];
  snprintf(wanted[0], sizeof wanted[0], "-1.0000  %s", report_feature_index(a, sizeof a, first, 3));
  snprintf(wanted[1], sizeof wanted[1], "0.250  1.000  %s\n", report_feature_index(b, sizeof b, first, 8191));
  cr_expect(strstr(table, wanted[0]), "%s in %s", wanted[0], table);
  cr_expect(strstr(table, wanted[1]), "%s in %s", wanted[1], table);
  cr_expect(strstr(table, "and 5 more above 0.4") && strstr(table, "no pair above 0.4"));
  cr_expect(strstr(table, "87 without a pair (constant or not finite): (6,1,0), "), "%s", table);
  listed->pairless_count = 3;
  cr_expect(strstr(render(document, REPORT_TABLE, 0, 120), "3 without a pair (constant or not finite): (6,1,0), (6,1,1), (6,1,2)\n"));
  listed->report.correlation.method = ACTSCOPE_CORRELATION_SAMPLED;
  cr_expect(strstr(render(document, REPORT_TABLE, 0, 120), "3 without a pair: (6,1,0)"));
  /* Of two files: the name of each stands above its part. */
  document->layers[1].source = "other.npz";
  table = render(document, REPORT_TABLE, 0, 120);
  const char *part = strstr(table, "with the largest |r|");
  const char *own = strstr(part, "activations.safetensors:\n"), *other = strstr(part, "other.npz:\n"), *none = strstr(part, "no pair above");
  cr_expect(own && other && none && own < strstr(part, "-1.0000") && own < other && other < none, "%s", table);
}

Test(report, features_by_their_axes) {
  char text[REPORT_SHAPE];
  report_layer layer = {.ndim = 4, .shape = {128, 512, 4, 4}, .report.features = 8192};
  cr_expect_str_eq(report_feature_index(text, sizeof text, &layer, 0), "(0,0,0)");
  cr_expect_str_eq(report_feature_index(text, sizeof text, &layer, 17 * 16 + 2 * 4 + 3), "(17,2,3)");
  cr_expect_str_eq(report_feature_index(text, sizeof text, &layer, 8191), "(511,3,3)");
  layer.report.features = 512; /* channels: the other axes are samples */
  cr_expect_str_eq(report_feature_index(text, sizeof text, &layer, 17), "17");
  layer.ndim = 2;
  cr_expect_str_eq(report_feature_index(text, sizeof text, &layer, 500), "500");
}

/* Scores of the network, in every format: a layer with its gradient, and one without. */
Test(report, network_scores) {
  report_document *document = sample_document(3);
  document->layers[2].role = ACTSCOPE_ROLE_GRADIENT;
  document->layers[2].report = document->layers[0].report;
  actscope_layer_report reports[3];
  for (int i = 0; i < 3; i++) reports[i] = document->layers[i].report;
  const actscope_role roles[3] = {ACTSCOPE_ROLE_ACTIVATION, ACTSCOPE_ROLE_ACTIVATION, ACTSCOPE_ROLE_GRADIENT};
  const char *names[3] = {"a", "b", "a"};
  actscope_network_scores scores[3];
  reports[0].similarity.mean_cosine = 1; /* a reason, and a number that does not exist */
  reports[1].statistics &= ~(uint32_t)ACTSCOPE_QUANTILES;
  cr_assert_eq(actscope_network_analyze(reports, roles, names, 3, scores, &document->scored), ACTSCOPE_OK);
  document->scores = scores;
  document->reports = reports;
  cJSON *root = render_json(document);
  cr_expect_str_eq(keys(at(root, "network")), "bottlenecks scores large_tensors");
  cr_expect_str_eq(at(layer_at(root, 2), "role")->valuestring, "gradient");
  cr_assert_eq(cJSON_GetArraySize(at(at(root, "network"), "scores")), 2);
  for (int i = 0; i < 2; i++) {
    const cJSON *row = cJSON_GetArrayItem(at(at(root, "network"), "scores"), i), *parts = at(row, "ingredients");
    cr_expect_str_eq(keys(row), "layer source gradient weight depth width information_flow gradient_flow capacity "
                                "ingredients reasons");
    cr_expect_str_eq(at(row, "layer")->valuestring, document->layers[i].name);
    cr_expect(i == 0 ? strcmp(at(row, "gradient")->valuestring, document->layers[2].name) == 0 : cJSON_IsNull(at(row, "gradient")));
    cr_expect(cJSON_IsNull(at(row, "weight")));
    cr_expect_eq(cJSON_GetArraySize(parts), ACTSCOPE_INGREDIENT_COUNT);
    for (int k = 0; k < ACTSCOPE_INGREDIENT_COUNT; k++) {
      const cJSON *item = at(parts, actscope_ingredient_name(k));
      double v = scores[i].ingredient[k];
      cr_expect(isnan(v) ? cJSON_IsNull(item) : item->valuedouble == v, "%s", actscope_ingredient_name(k));
    }
    for (int k = 0; k < ACTSCOPE_SCORE_COUNT; k++) {
      const cJSON *item = at(row, actscope_score_name(k));
      cr_expect(isnan(scores[i].score[k]) ? cJSON_IsNull(item) : item->valuedouble == scores[i].score[k]);
    }
    cr_expect_eq(cJSON_GetArraySize(at(row, "reasons")), __builtin_popcount(scores[i].reasons));
  }
  cr_expect(cJSON_IsNull(at(at(cJSON_GetArrayItem(at(at(root, "network"), "scores"), 1), "ingredients"), "saturation")));
  for (report_format format = REPORT_TABLE; format <= REPORT_HTML; format++) {
    char *text = render(document, format, 0, 0);
    cr_expect(strstr(text, format == REPORT_CSV ? "network.gradient_flow" : format == REPORT_TABLE ? "Network, with gradients"
                           : format == REPORT_HTML ? "Families of scores" : "gradient_flow"), "format %d", (int)format);
    if (format != REPORT_CSV) cr_expect(strstr(text, "samples point the same way"), "format %d", (int)format);
    free(text);
  }
}

/* Every number of every layer reads back as the same bits, whatever digits were chosen. */
Test(report, json_numbers_read_back_exactly) {
  report_document *document = sample_document(4);
  document->layers[1].report.profile.mean = 1.0 / 3;
  document->layers[2].report.profile.mean = 5e-324;
  document->layers[3].report.profile.mean = -1.7976931348623157e308;
  cJSON *root = render_json(document);
  for (int i = 0; i < 4; i++) {
    const actscope_layer_report *report = &document->layers[i].report;
    for (size_t f = 0; f < report_field_count; f++) {
      const report_field *field = &report_fields[f];
      const cJSON *item = at(at(layer_at(root, i), field->section), field->name);
      cr_assert_not_null(item, "%s.%s", field->section, field->name);
      const void *value = (const char *)report + field->offset;
      if (field->kind == REPORT_REAL)
        cr_expect_eq(item->valuedouble, *(const double *)value, "layer %d %s.%s", i, field->section, field->name);
      if (field->kind == REPORT_COUNT)
        cr_expect_eq((uint64_t)item->valuedouble, *(const uint64_t *)value, "layer %d %s.%s", i, field->section,
                     field->name);
    }
    for (int k = 0; k < ACTSCOPE_PAIR_BINS; k++)
      cr_expect_eq((uint64_t)cJSON_GetArrayItem(at(at(layer_at(root, i), "correlation"), "histogram"), k)->valuedouble,
                   report->correlation.histogram[k]);
    for (int k = 0; k < ACTSCOPE_QUANTILE_COUNT; k++)
      cr_expect_eq(cJSON_GetArrayItem(at(at(layer_at(root, i), "profile"), "quantiles"), k)->valuedouble,
                   report->profile.quantiles[k]);
    const cJSON *buckets = at(at(layer_at(root, i), "profile"), "buckets"), *held = at(buckets, "counts");
    const int first = (int)at(buckets, "first")->valuedouble + ACTSCOPE_VALUE_BUCKETS / 2;
    uint64_t values = 0;
    for (int k = 0; k < cJSON_GetArraySize(held); k++) {
      const double n = cJSON_GetArrayItem(held, k)->valuedouble;
      cr_expect_eq((uint64_t)n, report->profile.buckets[first + k], "bucket %d", first + k);
      values += (uint64_t)n;
    }
    uint64_t all = 0;
    for (int k = 0; k < ACTSCOPE_VALUE_BUCKETS; k++) all += report->profile.buckets[k];
    cr_expect_eq(values, all);
    cr_expect(cJSON_GetArraySize(held) == 0 || (cJSON_GetArrayItem(held, 0)->valuedouble > 0 &&
                                                cJSON_GetArrayItem(held, cJSON_GetArraySize(held) - 1)->valuedouble > 0));
  }
}

Test(report, json_writes_null_for_what_does_not_exist) {
  cJSON *root = render_json(sample_troubles());
  const cJSON *empty = layer_at(root, 1);
  for (size_t f = 0; f < report_field_count; f++) {
    const cJSON *item = at(at(empty, report_fields[f].section), report_fields[f].name), *child;
    const char *name = report_fields[f].name;
    cr_assert_not_null(item, "%s.%s", report_fields[f].section, name);
    switch (report_fields[f].kind) {
      case REPORT_REAL:
        cr_expect(cJSON_IsNull(item), "%s is not null", name);
        break;
      case REPORT_COUNT:
        cr_expect(cJSON_IsNumber(item) && item->valuedouble == 0, "%s is not 0", name);
        break;
      case REPORT_QUANTILES:
      case REPORT_ABOVE:
      case REPORT_INTERVAL:
        cr_expect_gt(cJSON_GetArraySize(item), 1, "%s", name);
        cJSON_ArrayForEach(child, item) cr_expect(cJSON_IsNull(child), "in %s", name);
        break;
      default:
        break;
    }
  }
  cr_expect(cJSON_IsNull(at(empty, "seconds")));
  cr_expect(cJSON_IsNull(at(at(layer_at(root, 2), "profile"), "l2_norm")), "infinity is not JSON");
  const cJSON *gram = at(layer_at(root, 3), "correlation");
  cr_expect_str_eq(at(gram, "method")->valuestring, "gram");
  cr_expect(cJSON_IsNull(at(gram, "histogram")));
  cr_expect(cJSON_IsNull(at(gram, "mean_abs")) && cJSON_IsNull(at(gram, "max_abs")));
  cr_expect(cJSON_IsNull(at(at(gram, "above"), "0.9")));
  cr_expect(cJSON_IsNumber(at(gram, "mean_square")) && cJSON_IsNumber(at(gram, "adjusted_rms")));
}

Test(report, json_counts_are_exact_beyond_doubles) {
  char *text = render(sample_troubles(), REPORT_JSON, 0, 0);
  cr_expect_not_null(strstr(text, "\"count\": 9007199254740993,"));
  cr_expect_not_null(strstr(text, "\"pairs\": 9007199254740995,"));
  cr_expect_not_null(strstr(text, "\"pairs_total\": 18446744073709551615,"));
  cr_expect_not_null(strstr(text, " 18014398509481985\n"), "last bin of the histogram");
}

Test(report, json_has_only_the_sections_that_were_measured) {
  report_document *document = sample_document(1);
  actscope_layer_report *report = &document->layers[0].report;
  report->statistics = ACTSCOPE_QUANTILES | ACTSCOPE_HEALTH;
  cJSON *root = render_json(document);
  const cJSON *layer = layer_at(root, 0), *profile = at(layer, "profile");
  cr_expect_str_eq(keys(layer), "name source role dtype shape samples features seconds warnings profile health");
  cr_expect(cJSON_IsNull(at(profile, "mean")) && cJSON_IsNull(at(profile, "count")));
  cr_expect(cJSON_IsNull(at(profile, "entropy")));
  cr_expect_eq(cJSON_GetArraySize(at(profile, "quantiles")), ACTSCOPE_QUANTILE_COUNT);
  report->statistics = ACTSCOPE_MOMENTS | ACTSCOPE_CORRELATION;
  document->options.pair_functionals = 0;
  root = render_json(document);
  layer = layer_at(root, 0);
  cr_expect(cJSON_IsNull(at(at(layer, "profile"), "quantiles")) && cJSON_IsNull(at(at(layer, "profile"), "buckets")));
  cr_expect(cJSON_IsNull(at(at(layer, "correlation"), "above")));
  cr_expect(cJSON_IsNull(at(at(layer, "correlation"), "histogram")));
  cr_expect_null(at(layer, "distinct"));
  cr_expect_null(at(layer, "rank"));
}

Test(report, json_leaves_out_layers_without_numbers) {
  report_document *document = sample_troubles();
  cJSON *root = render_json(document);
  const cJSON *layers = at(root, "layers"), *bottlenecks = at(at(root, "network"), "bottlenecks"), *entry;
  cr_expect_eq(cJSON_GetArraySize(layers), 7);
  cr_expect_str_eq(at(layer_at(root, 0), "name")->valuestring,
                   "a\"b'c<script>alert(1)</script>&amp;\n\033[31m,\\ \xe5\xb1\x82\xe5\x90\x8d e\xcc\x81 "
                   "\xef\xbf\xbd\xef\xbf\xbd \xe2\x80\xae"
                   "end");
  cr_expect_eq(cJSON_GetArraySize(at(layer_at(root, 5), "shape")), 0);
  cr_expect_str_eq(at(layer_at(root, 5), "name")->valuestring, "");
  double last = INFINITY;
  cr_expect_eq(cJSON_GetArraySize(bottlenecks), 5, "of nine layers two have no numbers and two no score");
  cJSON_ArrayForEach(entry, bottlenecks) {
    cr_expect_str_eq(keys(entry), "layer source score reasons");
    cr_assert(cJSON_IsNumber(at(entry, "score")));
    cr_expect_leq(at(entry, "score")->valuedouble, last);
    last = at(entry, "score")->valuedouble;
  }
  const cJSON *large = at(at(root, "network"), "large_tensors");
  cr_expect_eq(cJSON_GetArraySize(large), 1);
  cr_expect_str_eq(cJSON_GetArrayItem(large, 0)->valuestring, "encoder.layers.2.conv");
}

Test(report, compat_scores_appear_only_when_asked) {
  report_document *document = sample_troubles();
  const cJSON *compat = at(layer_at(render_json(document), 1), "compat");
  cr_expect_str_eq(keys(compat), "capacity entropy odd \"name\", <b>");
  cr_expect(cJSON_IsNull(at(compat, "capacity")));
  cr_expect_eq(at(compat, "entropy")->valuedouble, 1.1);
  char *table = render(document, REPORT_TABLE, 0, 0);
  cr_expect_not_null(strstr(table, "neuroexapt"));
  /* A layer without any score, such as a gradient, has no row. */
  for (int k = 0; k < COMPAT_MAX; k++) document->layers[2].compat.value[k] = NAN;
  const char *rows = strstr(render(document, REPORT_TABLE, 0, 0), "neuroexapt");
  cr_expect(strstr(strstr(table, "neuroexapt"), document->layers[2].name) && !strstr(strndup(rows, strcspn(rows, "W")), document->layers[2].name));
  document->compat = 0;
  cr_expect_null(at(layer_at(render_json(document), 1), "compat"));
  cr_expect_null(strstr(render(document, REPORT_CSV, 0, 0), "compat"));
  cr_expect_null(strstr(render(document, REPORT_TABLE, 0, 0), "neuroexapt"));
}

Test(report, options_are_echoed_by_their_names) {
  report_document *document = sample_document(0);
  document->options.device = ACTSCOPE_DEVICE_CUDA, document->options.device_index = 3;
  document->options.statistics = ACTSCOPE_DISTINCT | ACTSCOPE_RANK;
  document->options.correlation = ACTSCOPE_CORRELATION_SAMPLED, document->options.distinct = ACTSCOPE_DISTINCT_SKETCH;
  document->options.precision = ACTSCOPE_PRECISION_FP16, document->options.channels = 1;
  document->options.seed = UINT64_MAX;
  char *text = render(document, REPORT_JSON, 0, 0);
  const char *expected[] = {"\"device\": \"cuda:3\"",         "\"statistics\": [\"distinct\", \"rank\"]",
                            "\"correlation\": \"sampled\"",   "\"distinct\": \"sketch\"",
                            "\"precision\": \"fp16\"",        "\"channels\": true",
                            "\"seed\": 18446744073709551615", "\"layers\": [],"};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
    cr_expect_not_null(strstr(text, expected[i]), "%s in\n%s", expected[i], text);
  parse(text);
}

static long allocations_left;
static void *failing_malloc(size_t size) { return allocations_left-- == 0 ? NULL : malloc(size); }

/* Whichever single allocation fails, the answer is ENOMEM, never half a document that claims to be whole. */
Test(report, json_reports_every_failed_allocation) {
  report_document *document = sample_document(1);
  char *whole[] = {render(document, REPORT_JSON, 0, 0), render(document, REPORT_JSONL, 0, 0)};
  cJSON_InitHooks(&(cJSON_Hooks){failing_malloc, free});
  const report_format formats[] = {REPORT_JSON, REPORT_JSONL};
  for (int k = 0; k < 2; k++) {
    long n = 0;
    for (int result = -1; result != 0; n++) {
      char *text = NULL;
      size_t size = 0;
      FILE *stream = open_memstream(&text, &size);
      allocations_left = n;
      errno = 0;
      result = report_write(stream, formats[k], document, 0, 0);
      if (result != 0) cr_assert_eq(errno, ENOMEM, "allocation %ld: %s", n, strerror(errno));
      fclose(stream);
      if (result == 0) cr_assert_str_eq(text, whole[k], "allocation %ld failed unnoticed", n);
      free(text);
      cr_assert_lt(n, 5000);
    }
    cr_expect_gt(n, 200, "only %ld allocations were seen", n);
  }
}

Test(report, jsonl_is_a_layer_a_line_and_then_the_network) {
  char *text = render(sample_troubles(), REPORT_JSONL, 0, 0);
  int lines = 0;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
    cJSON *item = parse(line);
    cr_expect_str_eq(at(item, "schema")->valuestring, "actscope-report/1");
    cr_expect_str_eq(at(item, "type")->valuestring, lines < 7 ? "layer" : "network");
    cr_expect(lines < 7 ? cJSON_IsString(at(item, "source")) : cJSON_IsArray(at(item, "bottlenecks")));
  }
  cr_expect_eq(lines, 8);
}

/* ---- CSV --------------------------------------------------------------------------------------------------------- */

/* One field off *text by the rules of RFC 4180, in memory; *text then is at the comma or the end of the row. */
static char *csv_field(const char **text) {
  char *out = calloc(1, strlen(*text) + 1), *to = out;
  if (**text == '"') {
    for (++*text; **text; ++*text) {
      if (**text == '"' && *++*text != '"') break;
      *to++ = **text;
    }
    cr_assert(**text == ',' || **text == '\n', "text behind a closing quote: %.20s", *text);
  } else {
    while (**text && **text != ',' && **text != '\n') {
      cr_assert_neq(**text, '"', "a quote in an unquoted field");
      *to++ = *(*text)++;
    }
    cr_assert(**text, "the last row does not end");
  }
  return out;
}

Test(report, csv_rows_have_the_columns_of_the_header) {
  char *text = render(sample_troubles(), REPORT_CSV, 0, 0);
  const char *rest = text;
  char *heads[256];
  int columns = 0, rows = 0, mean = -1, pairs = -1;
  for (;; rest++) {
    heads[columns] = csv_field(&rest);
    if (strcmp(heads[columns], "profile.mean") == 0) mean = columns;
    if (strcmp(heads[columns], "correlation.pairs_total") == 0) pairs = columns;
    columns++;
    if (*rest == '\n') break;
  }
  cr_expect_str_eq(heads[0], "name");
  cr_expect_str_eq(heads[columns - 1], "compat.odd \"name\", <b>");
  cr_assert(mean > 0 && pairs > 0);
  for (rest++; *rest; rest++, rows++) {
    int seen = 0;
    for (;; rest++) {
      char *value = csv_field(&rest);
      if (rows == 0 && seen == 0) cr_expect(strstr(value, "<script>") && strstr(value, "\n\033[31m,"), "%s", value);
      if (rows == 1 && seen == mean) cr_expect_str_eq(value, "", "an empty tensor has a mean: %s", value);
      if (rows == 2 && seen == mean) cr_expect_str_eq(value, "0.3333333333333333", "%s", value);
      if (rows == 2 && seen == pairs) cr_expect_str_eq(value, "18446744073709551615");
      cr_expect(strcmp(value, "nan") != 0 && strcmp(value, "inf") != 0 && strcmp(value, "-nan") != 0);
      seen++;
      if (*rest == '\n') break;
    }
    cr_expect_eq(seen, columns, "row %d has %d fields, the header %d", rows, seen, columns);
  }
  cr_expect_eq(rows, 7);
}

/* ---- Page -------------------------------------------------------------------------------------------------------- */

Test(report, page_tells_layers_of_several_files_apart) {
  report_document *document = sample_document(4);
  char *text = render(document, REPORT_HTML, 0, 0);
  cr_expect_null(strstr(text, "class=\"file\""));
  cr_expect_null(strstr(text, "class=\"cut\""));
  document->layers[2].source = document->layers[3].source = "dir/<step2>.npz";
  text = render(document, REPORT_HTML, 0, 0);
  cr_expect_not_null(strstr(text, "<span class=\"file\">&lt;step2&gt;.npz</span>"));
  cr_expect_not_null(strstr(text, "class=\"cut\""));
  char *trend = strstr(text, "class=\"trend\" d=\"M");
  cr_assert_not_null(trend);
  int moves = 0;
  for (char *c = strstr(trend, "d=\"") + 3; *c != '"'; c++) moves += *c == 'M';
  cr_expect_eq(moves, 2, "the line of one file runs into the next: %d", moves);
}
