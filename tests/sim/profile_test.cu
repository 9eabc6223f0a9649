// profile_test.cu - kernels/profile.cu against the oracle; counters and sketches bit by bit.
#include <memory>

#include "kernels.h"
#include "reference/data.h"
#include "reference/reference.h"
#include "test.h"
#include "tuning.h"

namespace {
using Patch = void (*)(uint32_t *bits, uint64_t n);  // changes a compact float32 tensor
struct Layer {  // a tensor, its device states, and what they should be
  laid_out tensor;
  view v;
  ref_matrix matrix;
  std::string name;
  Device<moments> state{1};
  Device<uint32_t> histogram, sketch;

  static view view_of(laid_out &t) {
    view v;
    t.tensor.shape = t.shape;  // a copy's own
    if (t.tensor.strides) t.tensor.strides = t.strides;
    view_init(&v, &t.tensor, 0);
    return v;
  }
  Layer(const laid_out &t, int bits, std::string text)
      : tensor(t), v(view_of(tensor)), name(std::move(text)), histogram(cuda_histogram_bytes(v.dtype, v.elements) / 4), sketch(size_t(1) << bits) {
    ref_matrix_load(&matrix, &tensor.tensor, 0);
    histogram.zero(), sketch.zero();
  }
  Layer(data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features, data_layout layout, int bits, uint64_t seed = 1,
        Patch patch = nullptr)
      : Layer(make(kind, dtype, samples, features, layout, seed, patch), bits,
              std::string(data_kind_name(kind)) + " " + data_dtype_name(dtype) + " " + data_layout_name(layout) + " " +
                  std::to_string(samples) + "x" + std::to_string(features)) {}
  ~Layer() {
    test_shape = name;
    CHECK(guard_damage(&tensor.memory) == 0);
    ref_matrix_free(&matrix), data_free(&tensor);
  }
  static laid_out make(data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features, data_layout layout, uint64_t seed, Patch patch) {
    laid_out t;
    std::vector<double> x(samples * features + 1);
    data_fill(kind, seed, dtype, x.data(), samples, features);
    data_lay_out(&t, x.data(), dtype, samples, features, layout);
    if (patch) patch(static_cast<uint32_t *>(const_cast<void *>(t.tensor.data)), samples * features);
    return t;
  }

  void check(uint32_t statistics, int bits) {
    test_shape = name;
    const actscope_dtype dtype = v.dtype;
    const bool narrow = dtype_is_narrow(dtype);
    const uint32_t bins = dtype_bins(dtype);
    std::vector<uint64_t> counts(bins), got(bins);
    std::vector<uint32_t> words(size_t(1) << bits);
    for (uint64_t i = 0; i < v.elements; ++i) {
      uint64_t b = ref_bits(dtype, v.data, view_offset(&v.sample, i / v.features) + view_offset(&v.feature, i % v.features));
      if (dtype == ACTSCOPE_FLOAT32) {
        ++counts[matrix.x[i] == 0 ? 0 : b >> 16];
        distinct_update(words.data(), bits, distinct_hash32(core_f32(uint32_t(b))));
      } else if (dtype == ACTSCOPE_FLOAT64) {
        ++counts[matrix.x[i] == 0 ? 0 : b >> 45];
        distinct_update(words.data(), bits, distinct_hash64(core_f64(b)));
      } else {
        ++counts[b];
      }
    }
    for (uint32_t k = 0; k < bins; ++k) got[k] = histogram[k];
    compare c;
    compare_begin(&c, "%s", name.c_str());
    if (narrow || (statistics & ACTSCOPE_QUANTILES)) compare_counts(&c, "histogram", got.data(), counts.data(), bins);
    if (!narrow && (statistics & ACTSCOPE_DISTINCT)) compare_bytes(&c, "sketch", sketch.p, words.data(), words.size() * 4);
    if (statistics & ACTSCOPE_PROFILE) {
      actscope_profile want, have;
      moments m;
      memset(&have, 0, sizeof have);
      ref_profile(&matrix, &want);
      if (narrow) histogram_moments(dtype, got.data(), &m); else m = state[0];
      moments_finish(&m, statistics, &have);
      histogram_quantiles(dtype, got.data(), m.n, m.min, m.max, have.quantiles);
      histogram_buckets(dtype, got.data(), m.zero, m.negative, have.buckets);
      uint32_t parts = narrow || (statistics & ACTSCOPE_QUANTILES) ? statistics : statistics & ~uint32_t(ACTSCOPE_QUANTILES);
      compare_profile(&c, &have, &want, dtype, parts);
      if (v.elements == 0) compare_count(&c, "count", have.count, 0);
    }
    if (compare_end(&c)) test_note(false, __FILE__, __LINE__, c.text);
  }
};

// All layers (of one dtype) in as few launches as their tables take.
void run(std::vector<std::unique_ptr<Layer>> &layers, uint32_t statistics, int bits) {
  const actscope_dtype dtype = layers[0]->v.dtype;
  static cuda_profile_table table;
  uint64_t bytes = 0;
  CHECK_LAUNCH(actscope_cuda_profile_scratch(dtype, statistics, bits, &bytes));
  Device<char> scratch(bytes);
  Device<unsigned> counters(CUDA_PROFILE_LAYERS);
  counters.zero();
  test_shape = layers[0]->name + ", ...";
  actscope_cuda_profile_begin(&table, dtype, statistics, bits);
  for (auto &l : layers) {
    if (!actscope_cuda_profile_add(&table, &l->v, l->state.p, l->histogram.p, l->sketch.p)) {
      CHECK_LAUNCH(actscope_cuda_profile(&table, scratch.p, counters.p, 0));
      actscope_cuda_profile_begin(&table, dtype, statistics, bits);
      CHECK(actscope_cuda_profile_add(&table, &l->v, l->state.p, l->histogram.p, l->sketch.p));
    }
  }
  CHECK_LAUNCH(actscope_cuda_profile(&table, scratch.p, counters.p, 0));
  for (unsigned i = 0; i < CUDA_PROFILE_LAYERS; ++i) CHECK(counters[i] == 0);
  for (auto &l : layers) l->check(statistics, bits);
}
const actscope_dtype kTypes[] = {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT16, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_FLOAT64};
const uint32_t kAll = ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT;
}  // namespace

TEST(profile_contents) {  // every kind of content in every dtype, in one launch a dtype
  const uint64_t n = test_small ? 40 : 151, d = test_small ? 67 : 131;
  for (actscope_dtype dtype : kTypes) {
    std::vector<std::unique_ptr<Layer>> layers;
    for (int kind = 0; kind < DATA_KINDS; ++kind)
      layers.push_back(std::make_unique<Layer>(data_kind(kind), dtype, n, d, LAYOUT_ROWS, 8));
    run(layers, kAll, 8);
  }
}

TEST(profile_layouts) {
  for (actscope_dtype dtype : kTypes) {
    std::vector<std::unique_ptr<Layer>> layers;
    for (int layout = 0; layout < LAYOUTS; ++layout)
      layers.push_back(std::make_unique<Layer>(layout % 2 ? DATA_RELU : DATA_SPECIALS, dtype, test_small ? 21 : 61, test_small ? 30 : 74, data_layout(layout), 6));
    run(layers, kAll, 6);
  }
}

TEST(profile_sizes) {  // around every unit of work, aligned and not; more layers than a table holds
  const std::vector<uint64_t> few = {0, 1, 17, 33, 2049, 4097};
  const std::vector<uint64_t> all = {0, 1, 2, 3, 15, 16, 17, 31, 33, 255, 257, 2047, 2048, 2049, 4095, 4097, 8193, 16385};
  for (actscope_dtype dtype : kTypes) {
    std::vector<std::unique_ptr<Layer>> layers;
    for (uint64_t n : test_small ? few : all) {
      layers.push_back(std::make_unique<Layer>(DATA_NORMAL, dtype, n, 1, LAYOUT_ROWS, 4));
      layers.push_back(std::make_unique<Layer>(DATA_RELU, dtype, n, 1, LAYOUT_MISALIGNED, 4));
    }
    if (dtype == ACTSCOPE_FLOAT32)
      for (uint64_t k = 0; k < 40; ++k) layers.push_back(std::make_unique<Layer>(DATA_INTEGERS, dtype, k, 3, LAYOUT_COLUMNS, 4));
    run(layers, kAll, 4);
  }
}

TEST(profile_statistics) {  // each combination asked for alone
  for (actscope_dtype dtype : {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT64})
    for (uint32_t statistics : {uint32_t(ACTSCOPE_MOMENTS), uint32_t(ACTSCOPE_MOMENTS | ACTSCOPE_ENTROPY), uint32_t(ACTSCOPE_QUANTILES),
                                uint32_t(ACTSCOPE_DISTINCT), uint32_t(ACTSCOPE_MOMENTS | ACTSCOPE_DISTINCT), uint32_t(ACTSCOPE_QUANTILES | ACTSCOPE_DISTINCT)}) {
      std::vector<std::unique_ptr<Layer>> layers;
      for (data_kind kind : {DATA_SPECIALS, DATA_RELU, DATA_TINY})
        if (!test_small || kind == DATA_SPECIALS) layers.push_back(std::make_unique<Layer>(kind, dtype, 83, 61, LAYOUT_ROWS, 5));
      run(layers, statistics, 5);
    }
}

// float64 over its whole range: powers of deviations would leave it, and so would the sums of |x| and |x| log |x|.
TEST(profile_float64_range) {
  const double sizes[] = {1e-320, 1e-310, 1e-300, 1e-160, 1e-80, 1e-59, 1e59, 1e80, 1e160, 1e300, 1e304};
  const uint64_t n = test_small ? 9000 : 70001;  // of several blocks, and several looks of a thread
  std::vector<double> x(n);
  std::vector<std::unique_ptr<Layer>> layers;
  auto add = [&](data_layout layout, const char *what, double size) {
    laid_out t;
    char text[100];
    snprintf(text, sizeof text, "%s of %g, %llu elements", what, size, (unsigned long long)n);
    data_lay_out(&t, x.data(), ACTSCOPE_FLOAT64, n, 1, layout);
    layers.push_back(std::make_unique<Layer>(t, 6, text));
  };
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k += test_small ? 5 : 1) {
    const double size = sizes[k];
    Random r(7);
    auto fill = [&](auto value) { for (uint64_t i = 0; i < n; ++i) x[i] = value(i) * size; };
    fill([&](uint64_t) { return r.normal(); });
    add(LAYOUT_ROWS, "normal", size);
    fill([&](uint64_t) { return 1000 + r.normal(); });
    add(LAYOUT_EVERY_OTHER, "mean/std 1000", size);
    fill([&](uint64_t) { return std::fmax(r.normal(), 0); });
    add(LAYOUT_MISALIGNED, "half zeros", size);
    fill([&](uint64_t i) { return i < n - n / 8 ? 0 : 3 + r.normal(); });
    add(LAYOUT_ROWS, "zeros, then values", size);
    fill([&](uint64_t) { return 0.7; });
    add(LAYOUT_ROWS, "constant", size);
    fill([&](uint64_t i) { return i % 7 == 3 ? 0.7 : 0; });
    add(LAYOUT_ROWS, "two values", size);
    fill([&](uint64_t i) { return i % 997 == 5 ? 4000 * r.normal() : r.normal(); });
    add(LAYOUT_ROWS, "outliers", size);
  }
  // Sizes that have nothing in common: the large ones decide, wherever they are.
  const double pairs[][2] = {{1e-300, 1e300}, {1e-160, 1e160}, {1e-80, 1e80}, {1e-310, 1}, {1, 1e300}, {1e-55, 1e-70}, {1e55, 1e70}};
  for (auto &q : pairs)
    for (int where = 0; where < (test_small ? 1 : 4); ++where) {
      Random r(11);
      for (uint64_t i = 0; i < n; ++i) {
        const bool large = where == 0 ? i < n / 2 : where == 1 ? i >= n / 2 : where == 2 ? i % 2 : i % 1999 == 1998;
        x[i] = r.normal() * (large ? std::fmax(q[0], q[1]) : std::fmin(q[0], q[1]));
      }
      const char *const words[] = {"large ones before", "large ones behind", "every other large", "few large"};
      add(LAYOUT_ROWS, words[where], std::fmax(q[0], q[1]));
    }
  {  // powers of 2^20 after each other, and the ends of the range
    Random r(13);
    for (uint64_t i = 0; i < n; ++i) x[i] = std::ldexp(r.normal(), -1040 + int(i * 2060 / n));
    add(LAYOUT_ROWS, "rising", 1);
    for (uint64_t i = 0; i < n; ++i) x[i] = std::ldexp(r.normal(), 1020 - int(i * 2060 / n));
    add(LAYOUT_ROWS, "falling", 1);
    for (uint64_t i = 0; i < n; ++i) x[i] = (i % 3 ? 1 : -1) * 1.7976e308;
    add(LAYOUT_ROWS, "both ends", 1.7976e308);
    for (uint64_t i = 0; i < n; ++i) x[i] = (i < n / 2 ? 1 : -1) * 1.7976e308;
    add(LAYOUT_ROWS, "one end, then the other", 1.7976e308);
    for (uint64_t i = 0; i < n; ++i) x[i] = double(i % 5) * 4.9406564584124654e-324;
    add(LAYOUT_ROWS, "the smallest", 4.9406564584124654e-324);
    // the most that a mean may be apart from zeros in units of its spread
    for (uint64_t i = 0; i < n; ++i) x[i] = i < n / 2 ? 0 : std::ldexp(1 + double(i % 3) * 0x1p-52, 250);
    add(LAYOUT_ROWS, "zeros, then a spread of last digits", 0x1p250);
  }
  run(layers, kAll, 6);
}

TEST(profile_full_counters) {  // 16-bit counters that overflow many times; sketches in shared memory and beside it
  for (actscope_dtype dtype : kTypes) {
    const uint64_t n = (test_small ? 140000 : 420000) / (dtype == ACTSCOPE_FLOAT64 ? 8 : 1);
    std::vector<std::unique_ptr<Layer>> layers;
    int bits = dtype == ACTSCOPE_FLOAT32 ? 15 : 14;
    layers.push_back(std::make_unique<Layer>(DATA_CONSTANT, dtype, n, 1, LAYOUT_ROWS, bits));
    layers.push_back(std::make_unique<Layer>(DATA_INTEGERS, dtype, n / 4, 1, LAYOUT_ROWS, bits));
    run(layers, kAll, bits);
  }
}

// Blocks see enough distinct values to filter hashes by the ranks that every word has, with all counters and with a window
// of them. Signs, zeros of both signs, and the NaN patterns that stand in for zeros.
TEST(profile_filtered_sketch) {
  const Patch positive = [](uint32_t *bits, uint64_t n) { for (uint64_t i = 0; i < n; ++i) bits[i] &= 0x7FFFFFFFu; };
  const Patch negative = [](uint32_t *bits, uint64_t n) { for (uint64_t i = 0; i < n; ++i) bits[i] |= 0x80000000u; };
  const Patch zeros = [](uint32_t *bits, uint64_t n) {  // only where a block filters already: they enter in the end
    for (uint64_t i = n * 55 / 100; i < n * 57 / 100; ++i) bits[i] = i % 2 ? 0x80000000u : 0;
  };
  const Patch nan = [](uint32_t *bits, uint64_t n) {
    for (uint64_t i = 0; i < n; i += i < n / 2 ? 5001 : 17) bits[i] = 0xFF800000u + (uint32_t)(i % 67 << 16) + 1;
  };
  const int before = simt::options.shared_limit;
  const uint64_t n = test_small ? 120000 : 210000;
  for (int shared : {before, 99 << 10})
    for (int bits : {4, 7}) {
      simt::options.shared_limit = shared;
      std::vector<std::unique_ptr<Layer>> layers;
      for (Patch patch : {Patch(nullptr), positive, negative, zeros, nan}) {
        if ((bits == 7 || shared != before) && patch != nullptr && patch != nan) continue;
        layers.push_back(std::make_unique<Layer>(DATA_NORMAL, ACTSCOPE_FLOAT32, n, 1, LAYOUT_MISALIGNED, bits, uint64_t(bits), patch));
      }
      run(layers, kAll, bits);
      simt::options.shared_limit = before;
    }
}

TEST(profile_moments_and_filter) {  // without counters the zeros are counted one by one
  std::vector<std::unique_ptr<Layer>> layers;
  for (data_kind kind : {DATA_RELU, DATA_SCALES})
    layers.push_back(std::make_unique<Layer>(kind, ACTSCOPE_FLOAT32, test_small ? 1100 : 2000, 97, LAYOUT_ROWS, 4));
  run(layers, ACTSCOPE_MOMENTS | ACTSCOPE_DISTINCT, 4);
}

TEST(profile_zeros_beyond_16_bits) {  // more zeros in one block than the counters of 32 lanes hold
  if (test_small) return;
  const int before = simt::options.multiprocessors;
  simt::options.multiprocessors = 1;
  for (actscope_dtype dtype : {ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT8_E4M3}) {
    std::vector<std::unique_ptr<Layer>> layers;
    layers.push_back(std::make_unique<Layer>(DATA_ZEROS_THEN, dtype, dtype == ACTSCOPE_BFLOAT16 ? 2500000 : 5000000, 1, LAYOUT_ROWS, 4));
    run(layers, kAll, 4);
  }
  simt::options.multiprocessors = before;
}

TEST(profile_small_shared_memory) {  // a device whose shared memory holds only a window of the counters
  const int before = simt::options.shared_limit;
  simt::options.shared_limit = 99 << 10;
  for (actscope_dtype dtype : kTypes) {
    std::vector<std::unique_ptr<Layer>> layers;
    for (data_kind kind : {DATA_SPECIALS, DATA_CONSTANT, DATA_TINY, DATA_OUTLIERS})
      layers.push_back(std::make_unique<Layer>(kind, dtype, test_small ? 50 : 300, 91, LAYOUT_ROWS, 12));
    run(layers, kAll, 12);
  }
  simt::options.shared_limit = before;
}

TEST(profile_repeats) {  // the same bits every time, in every schedule: scratch holds garbage, the order of blocks changes
  std::vector<moments> seen;
  const uint64_t seed = simt::options.seed;
  for (uint64_t schedule : {0, 1, 5, 9}) {
    simt::options.seed = schedule;
    std::vector<std::unique_ptr<Layer>> layers;
    for (data_kind kind : {DATA_DRIFT, DATA_NORMAL}) layers.push_back(std::make_unique<Layer>(kind, ACTSCOPE_FLOAT32, 101, 397, LAYOUT_ROWS, 4));
    run(layers, kAll, 4);
    for (auto &l : layers) seen.push_back(l->state[0]);
  }
  simt::options.seed = seed;
  for (size_t i = 2; i < seen.size(); ++i) CHECK(memcmp(&seen[i], &seen[i % 2], sizeof(moments)) == 0);
}
