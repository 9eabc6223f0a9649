/* test_report.c - the report writers: what the formats promise, for documents made to trip them. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <locale.h>

#include "report/fields.h"
#include "report/format.h"
#include "report_documents.h"

TestSuite(report, .timeout = 60);

static char *render(const report_document *document, report_format format, int colour, int width) {
  char *text = NULL;
  size_t size = 0;
  FILE *stream = open_memstream(&text, &size);
  cr_assert_not_null(stream);
  int result = report_write(stream, format, document, colour, width);
  cr_assert_eq(result, 0, "%s: %s", report_format_name(format), strerror(errno));
  fclose(stream);
  cr_assert_eq(strlen(text), size, "%s holds a zero byte", report_format_name(format));
  return text;
}

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
      "kurtosis abs_mean abs_max l2_norm entropy quantiles");
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
  cr_expect(cJSON_IsNull(at(at(layer, "profile"), "quantiles")));
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

/* ---- Table ------------------------------------------------------------------------------------------------------- */

/* Columns of one line by the simplest rules that hold for what the samples contain. */
static int simple_columns(const char *line, size_t length) {
  int columns = 0;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)line[i];
    if ((c & 0xc0) == 0x80 || c == 0xcc) continue; /* 0xcc begins the combining accent */
    columns += c >= 0xe4 && c < 0xea ? 2 : 1;      /* CJK ideographs */
  }
  return columns;
}

Test(report, table_fits_the_width) {
  report_document *documents[] = {sample_document(5), sample_document(100), sample_troubles()};
  for (int k = 0; k < 3; k++) {
    for (int width = 40; width <= 240; width += k == 1 ? 25 : 7) {
      char *text = render(documents[k], REPORT_TABLE, 0, width);
      for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        int columns = simple_columns(line, strcspn(line, "\n"));
        cr_assert_leq(columns, width, "document %d, width %d, %d columns: %.*s", k, width, columns,
                      (int)strcspn(line, "\n"), line);
      }
      cr_expect_not_null(strstr(text, "adj."), "the most important column is gone at %d", width);
      free(text);
    }
  }
}

/* What says least goes first: on a narrow terminal the answer is still there. */
Test(report, table_drops_the_least_important_columns) {
  char *text = render(sample_document(24), REPORT_TABLE, 0, 80), *head = strstr(text, "\nlayer ");
  cr_assert_not_null(head);
  head[1 + strcspn(head + 1, "\n")] = 0;
  cr_expect(strstr(head, " adj.") && strstr(head, " |r|") && strstr(head, " redund.") && strstr(head, " dead"), "%s",
            head);
  cr_expect(!strstr(head, " range") && !strstr(head, " type") && !strstr(head, " const."), "%s", head);
  text = render(sample_document(24), REPORT_TABLE, 0, 240);
  cr_expect(strstr(text, " range") && strstr(text, " const.") && strstr(text, " floor"));
}

/* Each column that is shown is explained, and no other. */
Test(report, legend_is_of_the_columns_shown) {
  static const struct {
    const char *head, *words;
  } columns[] = {{" std", "std"}, {" zero", "zero: share"},    {" nan/inf", "nan/inf: elements"}, {" distinct", "distinct: "},
                 {" redund.", "redund.: "},      {" dead", "dead: features"}, {" const.", "const.: "},           {" |r|", "|r|: mean"},
                 {" r ", " r: mean with"},               {" floor", "floor: "},       {" shift", "shift: "},             {" adj.", "adj.: "},
                 {" max", "max: "},              {" split", "split: "},       {" rank", "rank: "},               {" cosine", "cosine: "}};
  report_document *document = sample_document(24);
  for (int width = 60; width <= 260; width += 10)
    for (int asked = 0; asked < 2; asked++) {
      for (size_t i = 0; i < document->count; i++) {
        actscope_correlation *c = &document->layers[i].report.correlation;
        c->mean = asked ? 0.01 : NAN, c->split_half = asked ? 0.5 : NAN, c->noise_floor_shift = asked ? 0.07 : NAN;
      }
      char *text = render(document, REPORT_TABLE, 0, width), *head = strstr(text, "\nlayer "), *legend = head ? strstr(head, "\n\n") : NULL;
      cr_assert(head && legend, "%s", text);
      head[1 + strcspn(head + 1, "\n")] = 0;
      char *end = strstr(legend + 2, "\n\n");
      if (end) *end = 0;
      for (char *c = legend + 2; *c; c++)
        if (*c == '\n') *c = ' '; /* it is broken into lines */
      for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
        cr_expect_eq(strstr(head, columns[k].head) != NULL, strstr(legend, columns[k].words) != NULL, "width %d: %s in %s: %s", width,
                     columns[k].head, head, legend);
    }
}

/* All rows of the table end in the same column: numbers stand under each other whatever the names are made of. */
Test(report, table_is_aligned) {
  report_document *document = sample_document(6);
  document->layers[1].name = "\xe5\xb1\x82\xe5\x90\x8d.e\xcc\x81";
  document->layers[2].name = "x";
  char *text = render(document, REPORT_TABLE, 0, 200);
  char *head = strstr(text, "\nlayer ");
  cr_assert_not_null(head);
  int expected = simple_columns(head + 1, strcspn(head + 1, "\n"));
  const char *line = head + 1;
  for (int row = 0; row < 7; row++, line += strcspn(line, "\n") + 1)
    cr_expect_eq(simple_columns(line, strcspn(line, "\n")), expected, "%.*s", (int)strcspn(line, "\n"), line);
}

Test(report, table_lets_no_control_character_through) {
  for (int colour = 0; colour < 2; colour++) {
    report_document *document = sample_troubles();
    document->device = "dev\033]0;title\007ice";
    char *text = render(document, REPORT_TABLE, colour, 240);
    int escapes = 0;
    for (const char *c = text; *c; c++) {
      if (*c == '\033') {
        size_t digits = strspn(c + 2, "0123456789;");
        cr_assert(colour && c[1] == '[' && c[2 + digits] == 'm', "an escape sequence that is not a colour");
        cr_assert(strncmp(c, "\033[31m,", 6) != 0, "the layer's own escape sequence");
        escapes++;
      } else {
        cr_assert((unsigned char)*c >= 0x20 || *c == '\n', "control character %02x", (unsigned char)*c);
        cr_assert(*c != 0x7f);
      }
    }
    cr_expect_eq(escapes > 0, colour);
    cr_expect_null(strstr(text, "\xe2\x80\xae"), "a mark that turns the line around");
    cr_expect_not_null(strstr(text, "\\n\\x1b[31m,"), "the name, with its controls spelled out");
  }
}

Test(report, table_names_the_most_constrained_layer_first) {
  report_document *document = sample_document(24);
  char *text = render(document, REPORT_TABLE, 0, 200);
  const report_layer *worst = &document->layers[document->ranking[0].layer];
  char *first = strstr(text, "  1  0.");
  cr_assert_not_null(first);
  char reason[REPORT_SENTENCE];
  cr_assert(actscope_reason_text(&document->ranking[0], &worst->report, 0, reason, sizeof reason));
  char *name = strstr(first, worst->name), *why = strstr(first, reason), *rows = strstr(text, "\nlayer ");
  cr_expect(name && why && rows && name < why && why < rows, "%s", text);
  document->ranking = NULL;
  cr_expect_null(strstr(render(document, REPORT_TABLE, 0, 200), "constrained"));
}

Test(report, table_tells_layers_of_several_files_apart) {
  report_document *document = sample_document(2);
  char *text = render(document, REPORT_TABLE, 0, 120);
  cr_expect_null(strstr(text, "activations.safetensors"));
  document->layers[1].source = "dir/step2.npz";
  text = render(document, REPORT_TABLE, 0, 200);
  cr_expect_not_null(strstr(text, "activations.safetensors:\nencoder.layers.0.conv"), "%s", text);
  cr_expect_not_null(strstr(text, "dir/step2.npz:\nencoder.layers.1.mlp"));
}

Test(report, table_without_layers_says_so) {
  char *text = render(sample_document(0), REPORT_TABLE, 0, 0);
  cr_expect_not_null(strstr(text, "0 layers, 0 elements"), "%s", text);
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

/* ---- Numbers and text ----------------------------------------------------------------------------------------------
 */

Test(report, numbers_for_people) {
  static const struct {
    double value;
    const char *number, *percent;
  } cases[] = {{0, "0", "0%"},
               {1, "1.00", "100%"},
               {0.5, "0.500", "50.0%"},
               {0.99999, "1.00", ">99.9%"},
               {1e-5, "1e-5", "<0.1%"},
               {-0.0123456, "-0.0123", NULL},
               {9.996, "10.0", NULL},
               {123456, "1.23e5", NULL},
               {99999, "99999", NULL},
               {1e300, "1e300", NULL},
               {NAN, "-", "-"},
               {INFINITY, "inf", "-"},
               {0.0009996, "0.00100", "0.1%"},
               {0.1234, "0.123", "12.3%"},
               {0.000499, "4.99e-4", "<0.1%"}};
  char text[REPORT_TEXT];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    cr_expect_str_eq(report_number(text, cases[i].value), cases[i].number, "%g: %s", cases[i].value, text);
    if (cases[i].percent)
      cr_expect_str_eq(report_percent(text, cases[i].value), cases[i].percent, "%g: %s", cases[i].value, text);
  }
  static const struct {
    uint64_t value;
    const char *count, *bytes;
  } counts[] = {{0, "0", "0 B"},
                {1023, "1023", "1023 B"},
                {99999, "99999", "97.7 KiB"},
                {100000, "100k", "97.7 KiB"},
                {999999, "1.00M", "977 KiB"},
                {1048576, "1.05M", "1 MiB"},
                {268435456, "268M", "256 MiB"},
                {UINT64_MAX, "18.4E", "16 EiB"}};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    cr_expect_str_eq(report_count(text, counts[i].value), counts[i].count, "%s", text);
    cr_expect_str_eq(report_bytes(text, counts[i].value), counts[i].bytes, "%s", text);
  }
  cr_expect_str_eq(report_seconds(text, 0.0615), "61.5 ms");
  cr_expect_str_eq(report_seconds(text, 3e-6), "3.00 \xc2\xb5s");
  cr_expect_str_eq(report_seconds(text, 150.2), "2 min 30 s");
  cr_expect_str_eq(report_seconds(text, 7300), "2 h 1 min");
  cr_expect_str_eq(report_seconds(text, NAN), "-");
}

Test(report, text_is_fitted_by_columns) {
  char out[256];
  static const struct {
    const char *text;
    int columns;
    const char *expected;
  } cases[] = {{"encoder.layers.11.conv", 22, "encoder.layers.11.conv"},
               {"encoder.layers.11.conv", 12,
                "enco\xe2\x80\xa6"
                "11.conv"},
               {"\xe5\xb1\x82\xe5\xb1\x82\xe5\xb1\x82\xe5\xb1\x82", 6, "\xe5\xb1\x82\xe2\x80\xa6\xe5\xb1\x82"},
               {"abcdee\xcc\x81gh", 4, "a\xe2\x80\xa6gh"},
               {"ae\xcc\x81gh", 4, "ae\xcc\x81gh"},
               {"a\nb", 10, "a\\nb"},
               {"\xff", 3, "\xef\xbf\xbd"},
               {"abc", 1, "\xe2\x80\xa6"},
               {"", 5, ""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    report_fit(out, sizeof out, cases[i].text, cases[i].columns);
    cr_expect_str_eq(out, cases[i].expected, "%s in %d: %s", cases[i].text, cases[i].columns, out);
    cr_expect_leq(report_columns(out), cases[i].columns);
  }
  report_fit(out, 4, "\xe5\xb1\x82\xe5\xb1\x82", 10); /* a small buffer never splits a character */
  cr_expect_str_eq(out, "\xe5\xb1\x82");
  report_fit(out, 3, "\xe5\xb1\x82", 10);
  cr_expect_str_eq(out, "");
  cr_expect_eq(report_columns("e\xcc\x81\xe5\xb1\x82\xf0\x9f\x98\x80"), 5);
}

/* Names of a network differ in their numbers: those are the last to go. */
Test(report, names_keep_their_numbers) {
  static const struct {
    const char *name;
    int columns;
    const char *expected;
  } cases[] = {{"encoder.layer.4.output.dense", 28, "encoder.layer.4.output.dense"},
               {"encoder.layer.4.output.dense", 27, "e.layer.4.output.dense"},
               {"encoder.layer.4.output.dense", 20, "e.l.4.output.dense"},
               {"encoder.layer.12.output.dense", 16, "e.l.12.o.dense"},
               {"conv1.gradient", 13, "c1.gradient"},
               {"blocks/block17/mlp", 14, "b/block17/mlp"},
               {"blocks/block17/mlp", 12, "b/b17/mlp"},
               {"\xe5\xb1\x82\xe5\xb1\x82" "3.\xe5\xb1\x82\xe5\xb1\x82", 9, "\xe5\xb1\x82" "3.\xe5\xb1\x82\xe5\xb1\x82"},
               {"..a..", 3, "\xe2\x80\xa6.."},
               {"encoder.layer.4.intermediate", 10, "e.l\xe2\x80\xa6""ediate"},
               {"nodotsatall", 6, "no\xe2\x80\xa6""all"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[64];
    report_fit_name(text, sizeof text, cases[i].name, cases[i].columns);
    cr_expect_str_eq(text, cases[i].expected, "%s in %d: %s", cases[i].name, cases[i].columns, text);
  }
}

Test(report, text_for_programs_is_valid_utf8) {
  static const struct {
    const char *text, *expected;
  } cases[] = {{"plain", "plain"},
               {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* overlong */
               {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* a surrogate */
               {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* beyond U+10FFFF */
               {"\xe5\xb1", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* cut off */
               {"\xef\xbf\xbd", "\xef\xbf\xbd"},
               {"\xf0\x9f\x98\x80\n", "\xf0\x9f\x98\x80\n"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    cr_expect_str_eq(report_clean(cases[i].text), cases[i].expected, "case %zu", i);
  cr_expect_str_eq(report_clean(NULL), "");
}

/* A locale with a decimal comma: an installed one, or one of that alone made for the occasion (localedef warns about
 * all that it lacks and exits with 1, but writes it). */
static int decimal_comma(void) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8", "de_DE", "ru_RU.UTF-8"};
  for (size_t k = 0; k < sizeof names / sizeof *names; k++)
    if (setlocale(LC_NUMERIC, names[k]) && *localeconv()->decimal_point == ',') return 1;
  char folder[] = "/tmp/actscope-locale-XXXXXX", command[512];
  if (!mkdtemp(folder)) return 0;
  snprintf(command, sizeof command,
           "cd %s && printf 'LC_NUMERIC\\ndecimal_point \",\"\\nthousands_sep \"\"\\ngrouping -1\\nEND LC_NUMERIC\\n' "
           ">source && "
           "localedef -c -f ANSI_X3.4-1968 -i source ./comma >log 2>&1",
           folder);
  (void)!system(command);
  int made = setenv("LOCPATH", folder, 1) == 0 && setlocale(LC_NUMERIC, "comma") && *localeconv()->decimal_point == ',';
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command) == 0 && made;
}

Test(report, numbers_do_not_follow_the_locale) {
  if (!decimal_comma()) cr_skip_test("no locale with a decimal comma is installed, nor localedef to make one");
  report_document *document = sample_document(2);
  document->layers[0].report.profile.mean = 0.125;
  cr_expect_not_null(strstr(render(document, REPORT_JSON, 0, 0), "\"mean\": 0.125,"));
  cr_expect_not_null(strstr(render(document, REPORT_CSV, 0, 0), ",0.125,"));
  cr_expect_not_null(strstr(render(document, REPORT_TABLE, 0, 0), " 0.125 "));
  cr_expect_eq(*localeconv()->decimal_point, ',', "the caller's locale was changed");
}

Test(report, formats_have_names) {
  report_format format;
  for (int k = 0; k < 5; k++) {
    cr_expect_eq(report_format_from_name(report_format_name((report_format)k), &format), 0);
    cr_expect_eq((int)format, k);
  }
  cr_expect_eq(report_format_from_name("xml", &format), -1);
  cr_expect_eq(report_format_from_name(NULL, &format), -1);
  cr_expect_null(report_format_name((report_format)5));
  errno = 0;
  cr_expect_eq(report_write(stdout, (report_format)5, sample_document(1), 0, 0), -1);
  cr_expect_eq(errno, EINVAL);
}
