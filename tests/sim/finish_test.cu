// finish_test.cu - the whole way on the device: tensors in, reports out, against the oracle and the core's own finish.
#include <memory>

#include "kernels.h"
#include "reference/data.h"
#include "reference/reference.h"
#include "test.h"

namespace {
struct Whole {
  laid_out tensor;
  view v;
  ref_matrix matrix;
  std::string name;
  int bits;
  bool sample_side;
  Device<moments> state{1};
  Device<uint32_t> histogram, sketch, list;
  Device<column> columns;
  Device<uint16_t> hi, lo;
  Device<float> weight, gram, feature_gram;
  Device<cuda_features> counts{1};
  Device<pairs> pair_state{1};
  Device<double> frobenius{1}, effective{1};

  static laid_out make(data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features, data_layout layout) {
    laid_out t;
    std::vector<double> x(samples * features + 1);
    data_fill(kind, 5, dtype, x.data(), samples, features);
    data_lay_out(&t, x.data(), dtype, samples, features, layout);
    return t;
  }
  static view view_of(const laid_out &t) {
    view v;
    view_init(&v, &t.tensor, 0);
    return v;
  }
  Whole(data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features, data_layout layout, int sketch_bits)
      : tensor(make(kind, dtype, samples, features, layout)), v(view_of(tensor)), bits(sketch_bits), sample_side(samples < features),
        histogram(cuda_histogram_bytes(dtype, v.elements) / 4), sketch(size_t(1) << bits), list(features), columns(features),
        hi(features * actscope_cuda_pitch(samples)), lo(features * actscope_cuda_pitch(samples)), weight(features),
        gram(samples * samples), feature_gram(features * features) {
    ref_matrix_load(&matrix, &tensor.tensor, 0);
    char text[160];
    snprintf(text, sizeof text, "%s %s %s %llux%llu", data_kind_name(kind), data_dtype_name(dtype), data_layout_name(layout),
             (unsigned long long)samples, (unsigned long long)features);
    name = text;
    histogram.zero(), sketch.zero(), pair_state.zero();
  }
  ~Whole() { ref_matrix_free(&matrix), data_free(&tensor); }

  void check(const cuda_report &got, uint32_t statistics) {
    SHAPE("%s", name.c_str());
    compare c;
    compare_begin(&c, "%s", name.c_str());
    if (statistics & ACTSCOPE_PROFILE) {
      actscope_profile want;
      ref_profile(&matrix, &want);
      compare_profile(&c, &got.profile, &want, v.dtype, statistics);
      compare_count(&c, "nonfinite", got.nonfinite, want.finite != want.count);
    }
    if (statistics & ACTSCOPE_DISTINCT) {
      const uint64_t distinct = ref_distinct(&matrix);
      actscope_distinct want;
      if (dtype_is_narrow(v.dtype)) {
        distinct_finish_exact(distinct, v.elements, &want);
      } else {
        uint64_t columns_of_sketch[33];
        distinct_columns(sketch.p, bits, columns_of_sketch);
        distinct_finish(v.dtype, columns_of_sketch, bits, v.elements, &want);
        compare_between(&c, "distinct", double(got.distinct.count), double(distinct) * .8 - 2, double(distinct) * 1.25 + 2);
      }
      compare_count(&c, "distinct.method", uint64_t(got.distinct.method), uint64_t(want.method));
      compare_count(&c, "distinct.count", got.distinct.count, want.count);
      compare_count(&c, "distinct.lower", got.distinct.lower, want.lower);
      compare_count(&c, "distinct.upper", got.distinct.upper, want.upper);
      compare_value(&c, "distinct.error", got.distinct.relative_standard_error, want.relative_standard_error, 1e-9, 1e-9);
      compare_value(&c, "distinct.redundancy", got.distinct.redundancy, want.redundancy, 1e-12, 0);
    }
    actscope_health health;
    ref_health(&matrix, &health);
    compare_health(&c, &got.health, &health);
    ref_correlation correlation;
    ref_correlate(&matrix, compare_r_slack(v.samples), nullptr, 0, &correlation);
    compare_correlation(&c, &got.correlation, &correlation, ACTSCOPE_PAIRS_ALL);
    actscope_rank rank;
    ref_rank(&matrix, &rank);
    compare_value(&c, "participation", got.rank.participation_ratio, rank.participation_ratio, 0, 1e-5);
    if (compare_end(&c)) test_note(false, __FILE__, __LINE__, c.text);
  }
};
}  // namespace

TEST(finish_reports) {
  const uint32_t statistics = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
  const actscope_dtype types[] = {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT16, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_FLOAT64};
  std::vector<std::unique_ptr<Whole>> all;
  for (actscope_dtype dtype : types) {
    all.push_back(std::make_unique<Whole>(DATA_FACTORS, dtype, test_small ? 12 : 37, test_small ? 20 : 90, LAYOUT_ROWS, 7));
    if (test_small) continue;
    all.push_back(std::make_unique<Whole>(DATA_SPECIALS, dtype, 70, 31, LAYOUT_PADDED, 9));
    all.push_back(std::make_unique<Whole>(DATA_CONSTANT, dtype, 20, 17, LAYOUT_ROWS, 5));
    all.push_back(std::make_unique<Whole>(DATA_TINY, dtype, 23, 41, LAYOUT_ROWS, 6));
    all.push_back(std::make_unique<Whole>(DATA_RELU, dtype, 300, 8, LAYOUT_COLUMNS, 11));
  }
  static cuda_profile_table profile;
  static cuda_layers layers;
  static cuda_finish_table finish;
  static cuda_window_table window;
  Device<unsigned> counters(4096);
  counters.zero();
  for (actscope_dtype dtype : types)
    for (int bits = 4; bits < 12; ++bits) {
      actscope_cuda_profile_begin(&profile, dtype, statistics, bits);
      for (auto &w : all)
        if (w->v.dtype == dtype && w->bits == bits)
          CHECK(actscope_cuda_profile_add(&profile, &w->v, w->state.p, w->histogram.p, w->sketch.p));
      uint64_t bytes;
      CHECK_LAUNCH(actscope_cuda_profile_scratch(dtype, statistics, bits, &bytes));
      Device<char> scratch(bytes);
      CHECK_LAUNCH(actscope_cuda_profile(&profile, scratch.p, counters.p, 0));
    }
  actscope_cuda_layers_begin(&layers);
  for (auto &w : all) {
    cuda_layer *l = actscope_cuda_layers_add(&layers, &w->v);
    l->columns = w->columns.p, l->features_out = w->counts.p, l->list = w->list.p;
    l->z_hi = w->hi.p, l->z_lo = w->lo.p, l->weight = w->weight.p;
    l->functionals = ACTSCOPE_PAIRS_ALL, l->pairs = w->pair_state.p, l->feature_gram = w->feature_gram.p;
    l->gram = w->gram.p, l->frobenius_square = w->frobenius.p;
  }
  uint64_t bytes, gram_bytes, words;
  actscope_cuda_standardise_scratch(&layers, &bytes, &words);
  actscope_cuda_gram_scratch(&layers, &gram_bytes, &words);
  Device<char> scratch(bytes > gram_bytes ? bytes : gram_bytes);
  CHECK_LAUNCH(actscope_cuda_columns(&layers, scratch.p, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_select(&layers, 0));
  CHECK_LAUNCH(actscope_cuda_standardise(&layers, scratch.p, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_correlation(&layers, 0));
  CHECK_LAUNCH(actscope_cuda_gram(&layers, scratch.p, counters.p, 0));

  Device<cuda_report> reports(all.size());
  Device<cuda_report_header> header(1);
  Device<cuda_finish_words> state(1);
  Device<cuda_clock> clocks(all.size());
  Device<uint64_t> newest(all.size());
  state.zero(), header.zero(), clocks.zero(), newest.zero();
  state.p->alarm = ~0ull;
  window.layers = 0, window.window = 1;
  finish.layers = 0, finish.first_layer = 100, finish.history = 1, finish.stride = all.size();
  for (auto &w : all) {
    cuda_finish_layer &f = finish.layer[finish.layers];
    memset(&f, 0, sizeof f);
    f.dtype = w->v.dtype, f.correlation = ACTSCOPE_CORRELATION_EXACT, f.statistics = statistics, f.functionals = ACTSCOPE_PAIRS_ALL;
    f.sketch_bits = w->bits, f.wide = cuda_histogram_wide(w->v.elements);
    f.elements = w->v.elements, f.samples = w->v.samples, f.features = w->v.features;
    f.moments = w->state.p, f.histogram = w->histogram.p, f.sketch = w->sketch.p, f.features_out = w->counts.p;
    f.pairs = w->pair_state.p, f.frobenius_square = w->frobenius.p;
    f.clock = clocks.p + finish.layers, f.report = reports.p + finish.layers, f.newest = newest.p + finish.layers;
    finish.index[finish.layers] = (uint32_t)finish.layers;
    memset(&window.layer[window.layers], 0, sizeof window.layer[0]);
    window.layer[window.layers++].clock = clocks.p + finish.layers++;
  }
  for (uint64_t step = 1; step <= 3; ++step) {
    CHECK_LAUNCH(actscope_cuda_window_begin(&window, state.p, header.p, 0));
    CHECK_LAUNCH(actscope_cuda_finish(&finish, state.p, header.p, 0));
    CHECK(header[0].sequence == step && newest[0] == step && reports[0].sequence == step && reports[0].steps == 1);
    CHECK(header[0].alarm == (test_small ? ~0ull : 1ull << 24 | 101));
  }
  for (size_t i = 0; i < all.size(); ++i) {
    all[i]->check(reports[i], statistics);
    // The matrix of r itself: symmetric, ones on its diagonal, and its norm is the Gram matrix's.
    const uint64_t valid = all[i]->counts[0].valid;
    double square = 0;
    for (uint64_t a = 0; a < valid; ++a)
      for (uint64_t b = 0; b < valid; ++b) {
        const double r = all[i]->feature_gram[a * valid + b];
        square += r * r;
        CHECK(a == b ? r == 1 : r == all[i]->feature_gram[b * valid + a]);
      }
    CHECK_NEAR(square, all[i]->frobenius[0], 1e-12, 4e-6);
  }

  // Gram alone: mean r^2 without pairs.
  for (int i = 0; i < finish.layers; ++i) finish.layer[i].correlation = ACTSCOPE_CORRELATION_GRAM, finish.layer[i].pairs = nullptr;
  CHECK_LAUNCH(actscope_cuda_finish(&finish, state.p, header.p, 0));
  for (size_t i = 0; i < all.size(); ++i) {
    SHAPE("%s, gram", all[i]->name.c_str());
    ref_correlation want;
    ref_correlate(&all[i]->matrix, 0, nullptr, 0, &want);
    CHECK(reports[i].correlation.method == ACTSCOPE_CORRELATION_GRAM && reports[i].correlation.pairs == want.value.pairs_total);
    CHECK_NEAR(reports[i].correlation.mean_square, want.value.mean_square, 2e-6, 1e-5);
    CHECK(reports[i].correlation.mean_abs != reports[i].correlation.mean_abs);
  }
}
