// features_test.cu - columns, select, standardise, correlation and gram against the oracle.
#include <memory>

#include "gpu.cuh"
#include "kernels.h"
#include "reference/data.h"
#include "reference/reference.h"
#include "test.h"

namespace {
struct Case {
  data_kind kind;
  actscope_dtype dtype;
  uint64_t samples, features;
  data_layout layout;
  uint64_t pairs;  // 0: all
  bool three;
  uint32_t functionals;
};

struct Subject {  // a layer with all its device memory
  Case what;
  laid_out tensor;
  actscope_tensor shaped;       // as tensor, or [a, features, b] for channels
  int64_t shape[3], strides[3];
  int channels = 0;
  view v;
  ref_matrix matrix;
  cuda_layer *layer = nullptr;
  std::unique_ptr<Device<column>> columns;
  std::unique_ptr<Device<uint32_t>> list, order;
  std::unique_ptr<Device<uint16_t>> hi, lo;
  std::unique_ptr<Device<float>> weight, gram;
  Device<float> square{SPREAD_SIDE * SPREAD_SIDE};
  Device<cuda_features> counts{1};
  Device<pairs> state{1};
  Device<double> frobenius{1};
  std::unique_ptr<Device<unsigned long long>> sums;  // of each feature
  std::unique_ptr<Device<unsigned>> maxima;

  explicit Subject(const Case &c, int parts = 0) : what(c) {
    std::vector<double> x(c.samples * c.features + 1);
    if (parts == 0) {
      data_fill(c.kind, 7, c.dtype, x.data(), c.samples, c.features);
      data_lay_out(&tensor, x.data(), c.dtype, c.samples, c.features, c.layout);
      shaped = tensor.tensor;
    } else {  // [samples / parts, features, parts]: channels
      const uint64_t outer = c.samples / (uint64_t)parts;
      data_fill(c.kind, 7, c.dtype, x.data(), outer, c.features * (uint64_t)parts);
      data_lay_out(&tensor, x.data(), c.dtype, outer, c.features * (uint64_t)parts, LAYOUT_ROWS);
      shaped = tensor.tensor;
      shape[0] = (int64_t)outer, shape[1] = (int64_t)c.features, shape[2] = parts;
      shaped.ndim = 3, shaped.shape = shape, shaped.strides = nullptr;
      channels = 1;
    }
    view_init(&v, &shaped, channels);
    ref_matrix_load(&matrix, &shaped, channels);
    const uint64_t n = v.samples, d = v.features, z = d * actscope_cuda_pitch(n);
    columns = std::make_unique<Device<column>>(d);
    list = std::make_unique<Device<uint32_t>>(d), order = std::make_unique<Device<uint32_t>>(d);
    hi = std::make_unique<Device<uint16_t>>(z), lo = std::make_unique<Device<uint16_t>>(what.three ? z : 0);
    weight = std::make_unique<Device<float>>(d), gram = std::make_unique<Device<float>>(n > 8192 ? 0 : n * n);  // 16 GiB at 65536
    const uint64_t each = what.functionals & ACTSCOPE_PAIRS_FEATURES ? d : 0;
    sums = std::make_unique<Device<unsigned long long>>(each), maxima = std::make_unique<Device<unsigned>>(each);
    clear();
  }
  void clear() { state.zero(), sums->zero(), maxima->zero(); }
  ~Subject() {
    SHAPE("%s", name().c_str());
    CHECK(guard_damage(&tensor.memory) == 0);
    ref_matrix_free(&matrix), data_free(&tensor);
  }
  std::string name() const {
    char text[200];
    snprintf(text, sizeof text, "%s %s %s %llux%llu%s %llu pairs, %s", data_kind_name(what.kind), data_dtype_name(what.dtype),
             data_layout_name(what.layout), (unsigned long long)v.samples, (unsigned long long)v.features, channels ? " channels" : "",
             (unsigned long long)what.pairs, what.three ? "three products" : "one product");
    return text;
  }
  void add(cuda_layers *t) {
    layer = actscope_cuda_layers_add(t, &v);
    CHECK(layer != nullptr);
    layer->columns = columns->p, layer->features_out = counts.p, layer->list = list->p, layer->order = order->p;
    layer->pairs_wanted = what.pairs, layer->seed = 99;
    layer->z_hi = hi->p, layer->z_lo = what.three ? lo->p : nullptr, layer->weight = weight->p;
    layer->functionals = what.functionals, layer->pairs = state.p, layer->square = square.p;
    if (sums->n) layer->feature_sum = sums->p, layer->feature_max = maxima->p;
    layer->gram = gram->p, layer->frobenius_square = frobenius.p;
  }
  std::vector<uint64_t> valid() const {
    std::vector<uint64_t> f(v.features + 1);
    f.resize(ref_valid_features(&matrix, f.data()));
    return f;
  }

  void check_columns() {
    SHAPE("%s", name().c_str());
    const double n = double(v.samples);
    compare c;
    compare_begin(&c, "%s", name().c_str());
    for (uint64_t f = 0; f < v.features; ++f) {
      long double sum = 0, m2 = 0;
      double low = INFINITY, high = -INFINITY, top = -1;
      bool bad = false;
      for (uint64_t s = 0; s < v.samples; ++s) {
        double x = matrix.x[s * v.features + f];
        bad |= !core_finite(x), sum += x;
        low = x < low ? x : low, high = x > high ? x : high, top = std::fabs(x) > top ? std::fabs(x) : top;
      }
      const column got = (*columns)[f];
      compare_value(&c, "min", got.min, bad ? NAN : low, 0, 0);
      compare_value(&c, "max", got.max, bad ? top : high, 0, 0);
      if (bad || v.samples == 0) continue;
      const long double mean = sum / n;
      for (uint64_t s = 0; s < v.samples; ++s) m2 += (matrix.x[s * v.features + f] - mean) * (matrix.x[s * v.features + f] - mean);
      compare_value(&c, "mean", got.mean, double(mean), 1e-15 * (high - low), 1e-15);
      compare_value(&c, "m2", got.m2, double(m2), low == high ? 1e-30 * (1 + low * low) * n : 0, 1e-10);
    }
    actscope_health health;
    ref_health(&matrix, &health);
    compare_count(&c, "constant", counts[0].constant, health.constant);
    compare_count(&c, "nonfinite", counts[0].nonfinite, health.nonfinite);
    if (v.samples) compare_count(&c, "dead", counts[0].dead, health.dead);  // without samples the plan says nothing
    const auto list_want = valid();
    compare_count(&c, "valid", counts[0].valid, list_want.size());
    random_permutation shuffle;
    if (!list_want.empty()) random_permutation_init(&shuffle, list_want.size(), 99, 0);
    for (uint64_t k = 0; k < list_want.size(); ++k)
      compare_count(&c, "list", (*list)[k], list_want[what.pairs ? ref_permute(list_want.size(), 99, 0, k) : k]);
    if (compare_end(&c)) test_note(false, __FILE__, __LINE__, c.text);
  }
  void check_scores() {
    SHAPE("%s", name().c_str());
    const double n = double(v.samples);
    double worst = 0;
    for (uint64_t k = 0; k < counts[0].valid && k < layer->rows; ++k) {
      const column col = (*columns)[(*list)[k]];
      double squares = 0;
      for (uint64_t s = 0; s < layer->pitch; ++s) {
        double z = f16_value((*hi)[k * layer->pitch + s]);
        if (what.three) z += f16_value((*lo)[k * layer->pitch + s]) / 2048.0;
        double want = s < v.samples ? (matrix.x[s * v.features + (*list)[k]] - col.mean) * std::sqrt(n / col.m2) : 0;
        worst = std::fmax(worst, std::fabs(z - want) / (std::fabs(want) + 1e-4));
        squares += z * z;
      }
      CHECK_NEAR((*weight)[k], 1 / std::sqrt(squares), 0, 2e-7);
    }
    CHECK(worst <= (what.three ? 0x1p-20 : 0x1.1p-11));
  }
  void check_pairs() {
    SHAPE("%s", name().c_str());
    const auto features = valid();
    const uint64_t total = pairs_total(features.size());
    std::vector<ref_pair> looked;
    const bool sampled = what.pairs && what.pairs < total;
    if (sampled)
      for (uint64_t k = 0; k < what.pairs; ++k) {
        uint64_t i, j;
        pairs_index(k, features.size(), &i, &j);
        i = ref_permute(features.size(), 99, 0, i), j = ref_permute(features.size(), 99, 0, j);
        looked.push_back({i, j});
      }
    // binary16 rounds each z by 2^-12 of itself at most, at random: r by a few 2^-12 / sqrt(N)
    const double slack = what.three ? compare_r_slack(v.samples) : 2e-3 / std::sqrt(double(v.samples)) + 1e-5;
    ref_correlation want;
    ref_correlate(&matrix, slack, sampled ? looked.data() : nullptr, sampled ? what.pairs : 0, &want);
    if (sampled) want.value.method = ACTSCOPE_CORRELATION_SAMPLED;
    pairs p = state[0];
    CHECK(p.count == 0);
    p.count = sampled ? what.pairs : total, p.shares = 1;
    CHECK_NEAR(p.feature_share, want.feature_share, what.three ? 1e-4 : 1e-2, 0);
    actscope_correlation got;
    pairs_finish(&p, sampled ? ACTSCOPE_CORRELATION_SAMPLED : ACTSCOPE_CORRELATION_EXACT, what.functionals, v.samples, features.size(), &got);
    compare c;
    compare_begin(&c, "%s", name().c_str());
    if (what.three) {
      compare_correlation(&c, &got, &want, what.functionals);
    } else {
      compare_value(&c, "mean_abs", got.mean_abs, want.value.mean_abs, slack / 4, 0);
      compare_value(&c, "mean_square", got.mean_square, want.value.mean_square, slack / 4, 0);
      compare_value(&c, "max_abs", got.max_abs, want.value.max_abs, slack, 0);
      if (what.functionals & ACTSCOPE_PAIRS_SIGNED) compare_value(&c, "mean", got.mean, want.value.mean, slack / 4, 0);
      for (int h = 0; total && (what.functionals & ACTSCOPE_PAIRS_ABOVE) && h < ACTSCOPE_THRESHOLD_COUNT; ++h)
        compare_between(&c, "above", got.above[h] * double(p.count), double(want.above_least[h]) - .5, double(want.above_most[h]) + .5);
    }
    if (compare_end(&c)) test_note(false, __FILE__, __LINE__, c.text);
    if (sums->n) check_sums(slack);
  }
  // Sums and maxima of |r| of each feature, by position in the pairs' order, from the definition of r.
  void check_sums(double slack) {
    const uint64_t valid = counts[0].valid, n = v.samples, all = pairs_total(valid);
    const uint64_t count = what.pairs && what.pairs < all ? what.pairs : all;
    std::vector<double> z(valid * n), sum(valid), most(valid);
    std::vector<uint64_t> partners(valid);
    for (uint64_t p = 0; p < valid; ++p) {
      const column col = (*columns)[(*list)[p]];
      for (uint64_t i = 0; i < n; ++i)
        z[p * n + i] = (matrix.x[i * v.features + (*list)[p]] - col.mean) / std::sqrt(col.m2);
    }
    for (uint64_t k = 0; k < count; ++k) {
      uint64_t at[2];
      pairs_index(k, valid, &at[0], &at[1]);
      double r = 0;
      for (uint64_t i = 0; i < n; ++i) r += z[at[0] * n + i] * z[at[1] * n + i];
      for (uint64_t p : at) sum[p] += std::fabs(r), most[p] = std::fmax(most[p], std::fabs(r)), ++partners[p];
    }
    for (uint64_t p = 0; p < v.features; ++p) {
      const double got = double((*sums)[p]) * 0x1p-32, high = core_f32((*maxima)[p]);
      const double many = p < valid ? double(partners[p]) : 0;
      if (many > 0 && std::fabs(got - sum[p]) <= slack * many && std::fabs(high - most[p]) <= slack) continue;
      if (many == 0 && got == 0 && high == 0) continue;
      CHECK_NEAR(got, p < valid ? sum[p] : 0, slack * many, 0);
      CHECK_NEAR(high, p < valid ? most[p] : 0, many > 0 ? slack : 0, 0);
      break;
    }
  }
  void check_gram() {
    SHAPE("%s", name().c_str());
    const auto features = valid();
    const uint64_t n = v.samples;
    if (n == 0) return;
    std::vector<double> k(n * n);
    double square = 0, most = 0;
    for (uint64_t f : features) {
      const column col = (*columns)[f];
      for (uint64_t a = 0; a < n; ++a)
        for (uint64_t b = 0; b < n; ++b)
          k[a * n + b] += (matrix.x[a * v.features + f] - col.mean) * (matrix.x[b * v.features + f] - col.mean) / col.m2;
    }
    for (double x : k) square += x * x, most = std::fmax(most, std::fabs(x));
    const double relative = what.three ? 2e-6 : 1e-3;
    for (uint64_t i = 0; i < n * n; ++i)
      if (!(std::fabs((*gram)[i] - k[i]) <= relative * most)) {
        CHECK_NEAR((*gram)[i], k[i], relative * most, 0);
        break;
      }
    CHECK_NEAR(frobenius[0], square, 0, relative);
  }
};

void run(const std::vector<Case> &cases, int channels = 0, bool gram = true) {
  static cuda_layers t;
  actscope_cuda_layers_begin(&t);
  std::vector<std::unique_ptr<Subject>> all;
  for (auto &c : cases) {
    all.push_back(std::make_unique<Subject>(c, channels));
    all.back()->add(&t);
  }
  uint64_t bytes, words, gram_bytes, gram_words;
  actscope_cuda_standardise_scratch(&t, &bytes, &words);
  actscope_cuda_gram_scratch(&t, &gram_bytes, &gram_words);
  Device<char> scratch(bytes), gram_scratch(gram ? gram_bytes : 0);
  Device<unsigned> counters(words > gram_words ? words : gram_words);
  counters.zero();
  SHAPE("%s, ...", all[0]->name().c_str());
  CHECK_LAUNCH(actscope_cuda_columns(&t, scratch.p, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_select(&t, 0));
  CHECK_LAUNCH(actscope_cuda_standardise(&t, scratch.p, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_spread(&t, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_correlation(&t, 0));
  if (gram) CHECK_LAUNCH(actscope_cuda_gram(&t, gram_scratch.p, counters.p, 0));
  for (size_t i = 0; i < counters.n; ++i) CHECK(counters[i] == 0);
  for (auto &s : all) {
    s->check_columns(), s->check_scores(), s->check_pairs();
    if (gram) s->check_gram();
  }
  // The kernel of sm_90a adds the same products in the same order here, so each r is the same; its sums are rounded in other
  // groups of 64, those of a feature in groups of 16 to 128.
  std::vector<pairs> other;
  std::vector<std::vector<unsigned long long>> other_sums;
  std::vector<std::vector<unsigned>> other_maxima;
  for (auto &s : all) {
    other.push_back(s->state[0]), other_sums.push_back(s->sums->get()), other_maxima.push_back(s->maxima->get());
    s->clear();
  }
  CHECK_LAUNCH(actscope_cuda_spread(&t, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_correlation_wgmma(&t, 0));
  for (size_t i = 0; i < all.size(); ++i) {
    Subject &s = *all[i];
    s.check_pairs();
    const pairs got = s.state[0], want = other[i];
    CHECK(got.max_bits == want.max_bits && got.count == 0);
    if (s.what.functionals)  // else either may count, for another layer's sake
      CHECK(memcmp(got.above, want.above, sizeof got.above) == 0 && memcmp(got.histogram, want.histogram, sizeof got.histogram) == 0);
    CHECK_NEAR(pairs_value(&got.abs), pairs_value(&want.abs), 0x1p-30, 2e-6);
    CHECK_NEAR(pairs_value(&got.square), pairs_value(&want.square), 0x1p-30, 2e-6);
    CHECK(s.maxima->get() == other_maxima[i]);
    for (size_t f = 0; f < s.sums->n; ++f) CHECK_NEAR((*s.sums)[f], other_sums[i][f], 0x1p32 * 0x1p-30, 2e-6);
    if (s.what.functionals & ACTSCOPE_PAIRS_SIGNED) CHECK_NEAR(pairs_value_signed(&got.plain), pairs_value_signed(&want.plain), 0x1p-30 + 2e-6 * pairs_value(&want.abs), 0);
  }
}
const uint32_t kBoth = ACTSCOPE_PAIRS_ALL;
}  // namespace

TEST(features_contents) {  // every kind of content, all layers in one launch
  std::vector<Case> cases;
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    if (!test_small || kind % 4 == 0)
      cases.push_back({data_kind(kind), ACTSCOPE_FLOAT32, 40, test_small ? 50u : 141u, LAYOUT_ROWS, 0, true, kBoth});
  run(cases);
}

TEST(features_dtypes) {
  std::vector<Case> cases;
  for (actscope_dtype dtype : {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT16, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_FLOAT64})
    for (data_kind kind : {DATA_FACTORS, DATA_SPECIALS}) cases.push_back({kind, dtype, 33, 60, LAYOUT_ROWS, 0, true, kBoth});
  run(cases);
}

TEST(features_layouts) {
  std::vector<Case> cases;
  for (int layout = 0; layout < LAYOUTS; ++layout)
    cases.push_back({DATA_CONSTANT_COLUMNS, layout % 2 ? ACTSCOPE_FLOAT32 : ACTSCOPE_BFLOAT16, 29, 46, data_layout(layout), 0, true, 0});
  run(cases);
}

TEST(features_channels) {  // [a, features, b]: the features are axis 1
  for (int parts : {3, 16, 49})
    run({{DATA_HUBS, ACTSCOPE_FLOAT32, 4u * (unsigned)parts, 37, LAYOUT_ROWS, 0, true, kBoth},
         {DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT16, 5u * (unsigned)parts, 41, LAYOUT_ROWS, 200, true, kBoth}}, parts);
}

TEST(features_shapes) {  // few samples, few features, odd and prime numbers of both, around every tile
  std::vector<Case> cases;
  const uint64_t samples[] = {1, 2, 3, 31, 32, 33, 65}, features[] = {1, 2, 3, 5, 31, 33, 127, 128, 129};
  int i = 0;
  for (uint64_t n : samples)
    for (uint64_t d : features)
      if ((!test_small || (n < 33 && d < 33)) && ++i)
        cases.push_back({DATA_NORMAL, ACTSCOPE_FLOAT32, n, d, LAYOUT_ROWS, 0, i % 3 != 0, i % 2 ? kBoth : 0u});
  for (size_t at = 0; at < cases.size(); at += 20)
    run({cases.begin() + (long)at, cases.begin() + (long)std::min(at + 20, cases.size())});
  run({{DATA_NORMAL, ACTSCOPE_FLOAT32, 0, 5, LAYOUT_ROWS, 0, true, kBoth}, {DATA_NORMAL, ACTSCOPE_FLOAT32, 5, 0, LAYOUT_ROWS, 0, true, kBoth}});
}

TEST(features_tiles) {  // several rows of tiles, an odd and an even number of them
  if (test_small) return;
  for (uint64_t d : {300u, 390u})
    run({{DATA_HUBS, ACTSCOPE_FLOAT32, 17, d, LAYOUT_ROWS, 0, false, kBoth}, {DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, 20, d, LAYOUT_ROWS, 0, true, 0}}, 0, false);
}

TEST(features_sampled) {  // bands of every width, with and without wrapping into a short last tile
  const uint64_t d = test_small ? 60 : 290, total = d * (d - 1) / 2;
  std::vector<Case> cases;
  for (uint64_t m : {uint64_t(1), d - 1, d, d + 1, 3 * d + 7, 130 * d / 2, total - 1, total, total + 5})
    cases.push_back({DATA_HUBS, ACTSCOPE_FLOAT32, 9, d, LAYOUT_ROWS, m, true, kBoth});
  if (!test_small) cases.push_back({DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, 9, 600, LAYOUT_ROWS, 1000, false, kBoth});
  run(cases, 0, false);
}

TEST(features_many_samples) {  // several slices of samples, accumulators added up on the way, several Gram tiles
  run({{DATA_FACTORS, ACTSCOPE_FLOAT32, test_small ? 300u : 1100u, 9, LAYOUT_ROWS, 0, true, kBoth},
       {DATA_NORMAL, ACTSCOPE_FLOAT32, 530, 11, LAYOUT_COLUMNS, 0, false, kBoth},
       {DATA_STEPS, ACTSCOPE_FLOAT64, 270, 40, LAYOUT_ROWS, 0, true, 0}}, 0, !test_small);
}

// A sum's words carry at other places on another grid.
static pairs carried(pairs p) {
  for (pairs_sum *x : {&p.abs, &p.square, &p.plain}) x->high += x->low >> 32, x->low &= 0xFFFFFFFFu;
  return p;
}

TEST(features_small_shared_memory) {  // of 8.6, 8.9 and 12.0: fewer stages, narrower counters, the same bits
  const int before = simt::options.shared_limit, units = simt::options.multiprocessors;
  simt::options.multiprocessors = 1;  // many tiles to a block: counters are full before they are flushed
  const uint32_t counted = kBoth & ~(uint32_t)(ACTSCOPE_PAIRS_SIGNED | ACTSCOPE_PAIRS_FEATURES);
  for (bool three : {false, true})
    for (uint32_t functionals : {0u, counted, kBoth})
      for (uint64_t samples : {2, 530}) {  // |r| = 1 for all pairs: one counter takes all; accumulators are added up on the way
        if (test_small && (samples == 2 ? three || functionals != kBoth : !three || functionals == kBoth)) continue;
        Subject s({DATA_NORMAL, ACTSCOPE_FLOAT32, samples, samples == 2 ? test_small ? 300u : 600u : 140u, LAYOUT_ROWS, 0, three, functionals});
        static cuda_layers t;
        actscope_cuda_layers_begin(&t);
        s.add(&t);
        uint64_t bytes, words, gram_bytes, gram_words;
        actscope_cuda_standardise_scratch(&t, &bytes, &words);
        actscope_cuda_gram_scratch(&t, &gram_bytes, &gram_words);
        Device<char> scratch(bytes), gram_scratch(gram_bytes);
        Device<unsigned> counters(std::max(words, gram_words));
        counters.zero();
        CHECK_LAUNCH(actscope_cuda_columns(&t, scratch.p, counters.p, 0));
        CHECK_LAUNCH(actscope_cuda_select(&t, 0));
        CHECK_LAUNCH(actscope_cuda_standardise(&t, scratch.p, counters.p, 0));
        CHECK_LAUNCH(actscope_cuda_spread(&t, counters.p, 0));
        const pairs none = s.state[0];
        pairs want;
        std::vector<unsigned long long> sums;
        std::vector<unsigned> maxima;
        std::vector<float> gram;
        double frobenius = 0;
        for (int limit : {before, 99 << 10}) {
          simt::options.shared_limit = limit;
          memcpy(s.state.p, &none, sizeof none), s.sums->zero(), s.maxima->zero(), s.gram->zero();
          CHECK_LAUNCH(actscope_cuda_correlation(&t, 0));
          CHECK_LAUNCH(actscope_cuda_gram(&t, gram_scratch.p, counters.p, 0));
          const pairs got = carried(s.state[0]);
          if (limit == before) {
            want = got, sums = s.sums->get(), maxima = s.maxima->get(), gram = s.gram->get(), frobenius = s.frobenius[0];
            continue;
          }
          SHAPE("%s", s.name().c_str());
          CHECK(memcmp(&got, &want, sizeof got) == 0);
          CHECK(s.sums->get() == sums && s.maxima->get() == maxima);
          CHECK(s.gram->get() == gram && s.frobenius[0] == frobenius);
          s.check_pairs();
        }
        simt::options.shared_limit = before;
      }
  simt::options.multiprocessors = units;
}

// Rows in strips of whole tiles, every strip with itself and with each other one, in the order of pairs that asks most of
// it; a short last strip. The integers are those of one launch, and the Gram matrix is right.
static void strips(int (*correlation)(const cuda_layers *, CUstream_st *)) {
  const struct { data_kind kind; uint64_t samples, features, pairs; bool three; bool shared; } cases[] = {
      {DATA_HUBS, 21, 600, 0, true, false},        {DATA_HUBS, 21, 600, 3000, true, false},
      {DATA_HUBS, 21, 650, 90000, false, false},   {DATA_CONSTANT_COLUMNS, 33, 700, 0, false, false},
      {DATA_CONSTANT_COLUMNS, 33, 700, 40000, true, false}, {DATA_NORMAL, 21, 515, 0, true, true}};
  for (auto &q : cases) {
    if (test_small && q.pairs != 3000) continue;
    const Case c = {q.kind, ACTSCOPE_FLOAT32, q.samples, q.features, LAYOUT_ROWS, q.pairs, q.three, kBoth};
    Subject s(c), many({DATA_NORMAL, ACTSCOPE_FLOAT32, 530, 5, LAYOUT_ROWS, 0, q.three, kBoth});
    static cuda_layers t, two;
    actscope_cuda_layers_begin(&t);
    s.add(&t);
    const uint64_t strip = 2 * CUDA_STRIP, d = c.features, pitch = s.layer->pitch, strips = (d + strip - 1) / strip;
    uint64_t bytes, words, gram_words, gram_bytes;
    actscope_cuda_standardise_scratch(&t, &bytes, &words);
    float none;
    s.layer->gram_parts = &none;  // its scratch without the parts
    actscope_cuda_gram_scratch(&t, &gram_bytes, &gram_words);
    Device<char> scratch(bytes), gram_scratch(gram_bytes), parts(actscope_cuda_gram_parts(s.layer));
    Device<unsigned> counters(std::max(words, gram_words));
    counters.zero();
    CHECK_LAUNCH(actscope_cuda_columns(&t, scratch.p, counters.p, 0));
    CHECK_LAUNCH(actscope_cuda_select(&t, 0));
    // In one piece, beside a layer of many samples where asked: the kernel is then another one.
    CHECK_LAUNCH(actscope_cuda_standardise(&t, scratch.p, counters.p, 0));
    two = t;
    if (q.shared) {
      actscope_cuda_layers_begin(&two);
      many.add(&two);
      uint64_t more, more_words;
      actscope_cuda_standardise_scratch(&two, &more, &more_words);
      Device<char> more_scratch(more);
      Device<unsigned> more_counters(more_words);
      more_counters.zero();
      CHECK_LAUNCH(actscope_cuda_columns(&two, more_scratch.p, more_counters.p, 0));
      CHECK_LAUNCH(actscope_cuda_select(&two, 0));
      CHECK_LAUNCH(actscope_cuda_standardise(&two, more_scratch.p, more_counters.p, 0));
      two.layer[two.layers++] = *s.layer;
    }
    CHECK_LAUNCH(actscope_cuda_spread(&t, counters.p, 0));
    CHECK_LAUNCH(correlation(&two, 0));
    const auto high = s.hi->get(), low = s.lo->get();
    const auto weight = s.weight->get();
    const pairs whole = s.state[0];
    const auto whole_sums = s.sums->get();
    const auto whole_maxima = s.maxima->get();
    s.clear();
    cuda_layer strip_at[2];
    auto point = [&](uint64_t k) {  // the layer at strip k, in slots of the layer's own memory
      s.layer->first_row = k * strip, s.layer->rows = std::min(strip, d - k * strip);
      s.layer->z_hi = s.hi->p + k * strip * pitch, s.layer->z_lo = q.three ? s.lo->p + k * strip * pitch : nullptr;
      s.layer->weight = s.weight->p + k * strip;
    };
    memset(s.hi->p, 0xFF, d * pitch * 2);
    for (uint64_t k = 0; k < strips; ++k) {
      point(k);
      s.layer->gram_parts = reinterpret_cast<float *>(parts.p), s.layer->gram_begins = k == 0, s.layer->gram_ends = k + 1 == strips;
      CHECK_LAUNCH(actscope_cuda_standardise(&t, scratch.p, counters.p, 0));
      if (k == 0) CHECK_LAUNCH(actscope_cuda_spread(&t, counters.p, 0));
      CHECK_LAUNCH(actscope_cuda_gram(&t, gram_scratch.p, counters.p, 0));
    }
    for (uint64_t i = 0; i < strips; ++i)
      for (uint64_t j = 0; j < strips; ++j) {
        if (j > i && (i + j) % 2 == 0) continue;  // each two strips once, in either order
        if (j < i && (i + j) % 2 == 1) continue;
        point(j);
        strip_at[1] = *s.layer;
        point(i);
        if (i != j) {
          s.layer->other_first = strip_at[1].first_row, s.layer->other_rows = strip_at[1].rows;
          s.layer->other_hi = strip_at[1].z_hi, s.layer->other_lo = strip_at[1].z_lo, s.layer->other_weight = strip_at[1].weight;
        } else {
          s.layer->other_hi = nullptr;
        }
        CHECK_LAUNCH(correlation(&t, 0));
      }
    SHAPE("%s, strips", s.name().c_str());
    const uint64_t valid = s.counts[0].valid;
    CHECK(memcmp(high.data(), s.hi->p, valid * pitch * 2) == 0 && memcmp(weight.data(), s.weight->p, valid * 4) == 0);
    CHECK(!q.three || memcmp(low.data(), s.lo->p, valid * pitch * 2) == 0);
    const pairs got = carried(s.state[0]), want = carried(whole);
    CHECK(memcmp(&got, &want, sizeof got) == 0);
    CHECK(s.sums->get() == whole_sums && s.maxima->get() == whole_maxima);
    s.layer->rows = d, s.layer->first_row = 0;
    s.check_columns(), s.check_pairs(), s.check_gram();
  }
}
TEST(features_strips) { strips(actscope_cuda_correlation); }
TEST(features_strips_wgmma) { strips(actscope_cuda_correlation_wgmma); }

TEST(features_wgmma) {  // what the kernel of sm_90a divides by: 64 samples a box, panels that stay or pass, promotion, two rows a job
  const uint64_t samples[] = {1, 2, 3, 64, 128, 129, 200, 256, 257, 512, 513, 1024, 1500};
  for (bool three : {false, true}) {
    std::vector<Case> cases;
    for (uint64_t n : samples) {
      if (test_small && n != 64 && n != 129 && n != 257) continue;
      const uint64_t d = test_small ? 131 : n > 600 ? 133 : 260 + n % 5;
      const uint32_t functionals = n % 2 ? kBoth : n % 4 ? 0u : uint32_t(ACTSCOPE_PAIRS_ABOVE | ACTSCOPE_PAIRS_HISTOGRAM);
      cases.push_back({n % 3 ? DATA_HUBS : DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, n, d, LAYOUT_ROWS, n == 129 ? 5 * d + 3 : 0, three, functionals});
    }
    run(cases, 0, false);
  }
  // One block takes all: the ring holds just one job's boxes, and a consumer without a tile of its own goes ahead of the other.
  const int before = simt::options.multiprocessors;
  simt::options.multiprocessors = 1;
  run({{DATA_HUBS, ACTSCOPE_FLOAT32, 200, 260, LAYOUT_ROWS, 0, false, kBoth}}, 0, false);
  simt::options.multiprocessors = before;
}
TEST(features_wgmma_panels) {  // several panels a block, blocks that begin in the middle of one; an odd number of rows of tiles
  if (test_small) return;
  run({{DATA_NORMAL, ACTSCOPE_FLOAT32, 128, 1150, LAYOUT_ROWS, 0, false, 0}, {DATA_NORMAL, ACTSCOPE_FLOAT32, 50, 1030, LAYOUT_ROWS, 0, true, kBoth}}, 0, false);
}

// Single correlations of hard features against float64: fp32 quality holds to 3e-6 with three products at few and at many
// samples. All kinds stand in one layer, which takes one tile. Sim adds as IEEE 754 does; what tensor cores truncate is for a
// device to show.
TEST(features_errors) {
  const uint64_t each = 9, d = each * HARD_KINDS;
  for (uint64_t n : {128u, 1024u, 65536u}) {
    if (test_small && n > 128) continue;
    Subject s({DATA_NORMAL, ACTSCOPE_FLOAT32, n, d, LAYOUT_ROWS, 0, true, kBoth});
    float *x = reinterpret_cast<float *>(s.tensor.memory.data);
    std::vector<double> part(n * each);
    for (uint64_t kind = 0; kind < HARD_KINDS; ++kind) {
      data_fill_hard(data_hard(kind), 21, part.data(), n, each);
      for (uint64_t i = 0; i < n * each; ++i) x[i / each * d + kind * each + i % each] = float(part[i]);
    }
    ref_matrix_free(&s.matrix);
    ref_matrix_load(&s.matrix, &s.shaped, 0);
    const auto features = s.valid();
    Device<float> r(d * d);
    static cuda_layers t;
    actscope_cuda_layers_begin(&t);
    s.add(&t);
    s.layer->gram = nullptr, s.layer->feature_gram = r.p;
    uint64_t bytes, words;
    actscope_cuda_standardise_scratch(&t, &bytes, &words);
    Device<char> scratch(bytes);
    Device<unsigned> counters(words);
    counters.zero();
    CHECK_LAUNCH(actscope_cuda_columns(&t, scratch.p, counters.p, 0));
    CHECK_LAUNCH(actscope_cuda_select(&t, 0));
    CHECK_LAUNCH(actscope_cuda_standardise(&t, scratch.p, counters.p, 0));
    CHECK_LAUNCH(actscope_cuda_correlation(&t, 0));
    const uint64_t valid = features.size();
    SHAPE("%llu samples", (unsigned long long)n);
    CHECK(valid == d - (each + 4) / 5 && s.counts[0].valid == valid);
    std::vector<double> z(valid * n);
    for (uint64_t a = 0; a < valid; ++a) {
      long double mean = 0, square = 0;
      for (uint64_t i = 0; i < n; ++i) mean += (long double)s.matrix.x[i * d + features[a]] / n;
      for (uint64_t i = 0; i < n; ++i) square += (s.matrix.x[i * d + features[a]] - mean) * (s.matrix.x[i * d + features[a]] - mean);
      for (uint64_t i = 0; i < n; ++i) z[a * n + i] = double((s.matrix.x[i * d + features[a]] - mean) / sqrtl(square));
    }
    double worst[HARD_KINDS + 1] = {};  // of pairs of a kind; of two kinds
    for (uint64_t a = 0; a < valid; ++a)
      for (uint64_t b = a + 1; b < valid; ++b) {
        const uint64_t kind = features[a] / each == features[b] / each ? features[a] / each : uint64_t(HARD_KINDS);
        double product = 0;
        for (uint64_t i = 0; i < n; ++i) product += z[a * n + i] * z[b * n + i];
        const double off = std::fabs(r[a * valid + b] - product);
        worst[kind] = off > worst[kind] || off != off ? off : worst[kind];
      }
    for (uint64_t kind = 0; kind <= HARD_KINDS; ++kind) {
      const char *name = kind < HARD_KINDS ? data_hard_name(data_hard(kind)) : "of two kinds";
      SHAPE("%s, %llu samples: max |error of r| %.1e", name, (unsigned long long)n, worst[kind]);
      CHECK(worst[kind] <= 3e-6);
      if (getenv("SIM_ERRORS")) printf("  %s\n", test_shape.c_str());
    }
    // The kernel of sm_90a adds up on its way as this one does.
    const auto maxima = s.maxima->get();
    s.clear();
    CHECK_LAUNCH(actscope_cuda_correlation_wgmma(&t, 0));
    CHECK(s.maxima->get() == maxima);
  }
}
