// distinct_test.cu - kernels/distinct.cu: counts against the oracle and against sets of bit patterns.
#include <memory>
#include <unordered_set>

#include "kernels.h"
#include "reference/data.h"
#include "reference/reference.h"
#include "test.h"
#include "tuning.h"

namespace {
const actscope_dtype kTypes[] = {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT64};

struct Layer {  // a tensor, the memory it is counted in, and what should come out
  laid_out tensor = {};
  std::unique_ptr<Device<unsigned char>> raw;
  view v;
  uint64_t want;
  std::string name;
  cuda_distinct_shape shape;
  std::unique_ptr<Device<uint64_t>> memory;  // of exactly the shape's bytes, rounded up to a word
  Device<cuda_distinct> state{1};

  Layer(data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features, data_layout layout) {
    std::vector<double> x(samples * features + 1);
    data_fill(kind, samples + features, dtype, x.data(), samples, features);
    data_lay_out(&tensor, x.data(), dtype, samples, features, layout);
    view_init(&v, &tensor.tensor, 0);
    ref_matrix m;
    ref_matrix_load(&m, &tensor.tensor, 0);
    want = ref_distinct(&m);
    ref_matrix_free(&m);
    note("%s %s %s %llux%llu", data_kind_name(kind), data_dtype_name(dtype), data_layout_name(layout), samples, features);
  }
  // Patterns, `offset` elements past an aligned address.
  template <class W>
  Layer(const char *what, const std::vector<W> &bits, size_t offset = 0) {
    raw = std::make_unique<Device<unsigned char>>((bits.size() + offset) * sizeof(W));
    memcpy(raw->p + offset * sizeof(W), bits.data(), bits.size() * sizeof(W));
    tensor.shape[0] = (int64_t)bits.size();
    tensor.tensor = {raw->p + offset * sizeof(W), sizeof(W) == 4 ? ACTSCOPE_FLOAT32 : ACTSCOPE_FLOAT64, 1, tensor.shape, nullptr};
    view_init(&v, &tensor.tensor, 0);
    std::unordered_set<uint64_t> values;
    const int mantissa = sizeof(W) == 4 ? 23 : 52;
    const W magnitude = W(~W(0)) >> 1, infinity = magnitude >> mantissa << mantissa;
    for (W w : bits) values.insert((w & magnitude) == 0 ? 0 : (w & magnitude) > infinity ? ~0ull : uint64_t(w));
    want = values.size();
    note("%s %s+%llu, %llu of them", what, sizeof(W) == 4 ? "float32" : "float64", "", offset, bits.size());
  }
  ~Layer() {
    test_shape = name;
    if (!raw) CHECK(guard_damage(&tensor.memory) == 0), data_free(&tensor);
  }
  void note(const char *format, const char *a, const char *b, const char *c, uint64_t m, uint64_t n) {
    char text[200];
    if (*c) snprintf(text, sizeof text, format, a, b, c, (unsigned long long)m, (unsigned long long)n);
    else snprintf(text, sizeof text, format, a, b, (unsigned long long)m, (unsigned long long)n);
    name = text;
  }
  Layer &with(cuda_distinct_shape s) {
    shape = s;
    memory = std::make_unique<Device<uint64_t>>((shape.bytes + 7) / 8);
    memory->zero(), state.zero();
    return *this;
  }
  Layer &in(uint64_t bytes) { return with(actscope_cuda_distinct_shape(v.dtype, v.elements, bytes)); }
  Layer &best() { return in(actscope_cuda_distinct_best(v.dtype, v.elements)); }
  bool lost() const {  // did a pass overflow?
    for (auto p : state.p->part)
      if (p >> 63) return true;
    return false;
  }
  void check() {
    test_shape = name + ", " + std::to_string(shape.passes) + " passes of " + std::to_string(shape.slots);
    CHECK_NEAR(state.p->count, want, 0, 0);
  }
};
using Layers = std::vector<std::unique_ptr<Layer>>;

void run(Layers &layers) {
  cuda_distinct_table table;
  actscope_cuda_distinct_begin(&table, layers[0]->v.dtype);
  for (auto &l : layers) {
    if (!actscope_cuda_distinct_add(&table, &l->v, l->shape, l->memory->p, l->state.p)) {
      CHECK(table.layers > 0);
      CHECK_LAUNCH(actscope_cuda_distinct(&table, 0));
      actscope_cuda_distinct_begin(&table, l->v.dtype);
      CHECK(actscope_cuda_distinct_add(&table, &l->v, l->shape, l->memory->p, l->state.p));
    }
  }
  CHECK_LAUNCH(actscope_cuda_distinct(&table, 0));
  for (auto &l : layers) l->check();
}
void run_alone(Layer &layer) {
  cuda_distinct_table table;
  actscope_cuda_distinct_begin(&table, layer.v.dtype);
  CHECK(actscope_cuda_distinct_add(&table, &layer.v, layer.shape, layer.memory->p, layer.state.p));
  CHECK_LAUNCH(actscope_cuda_distinct(&table, 0));
  layer.check();
}

// The patterns whose keys are the given ones: the mixers of core/distinct.h backwards.
template <class W>
W inverse(W odd) {
  W y = odd;
  for (int k = 0; k < 6; ++k) y *= 2 - odd * y;
  return y;
}
template <class W>
W unshift(W x, int s) {
  W y = x;
  for (int k = s; k < int(sizeof(W)) * 8; k += s) y = x ^ y >> s;
  return y;
}
uint32_t unmix(uint32_t x) {
  x = unshift(x, 15) * inverse(0xD35A2D97u);
  x = unshift(x, 15) * inverse(0x21F0AAADu);
  return unshift(x, 16);
}
uint64_t unmix(uint64_t x) {
  x = unshift(x, 31) * inverse<uint64_t>(0x94D049BB133111EBull);
  x = unshift(x, 27) * inverse<uint64_t>(0xBF58476D1CE4E5B9ull);
  return unshift(x, 30);
}
bool plain(uint32_t bits) { return (bits & 0x7F800000u) != 0x7F800000u && bits << 1; }
bool plain(uint64_t bits) { return (bits & 0x7FF0000000000000ull) != 0x7FF0000000000000ull && bits << 1; }

// n values whose keys follow on `from`, `step` apart.
template <class W>
std::vector<W> neighbours(size_t n, W from, W step) {
  std::vector<W> bits;
  for (W key = from; bits.size() < n; key += step)
    if (plain(unmix(key))) bits.push_back(unmix(key));
  return bits;
}
}  // namespace

TEST(distinct_contents) {
  for (actscope_dtype dtype : kTypes) {
    Layers layers;
    for (int kind = 0; kind < DATA_KINDS; ++kind) {
      layers.push_back(std::make_unique<Layer>(data_kind(kind), dtype, test_small ? 20 : 61, 47, data_layout(kind % LAYOUTS)));
      layers.back()->best();
    }
    run(layers);
  }
}

TEST(distinct_layouts) {
  for (actscope_dtype dtype : kTypes) {
    Layers layers;
    for (int layout = 0; layout < LAYOUTS; ++layout)
      for (data_kind kind : {DATA_NORMAL, DATA_INTEGERS}) {
        layers.push_back(std::make_unique<Layer>(kind, dtype, test_small ? 21 : 71, 30, data_layout(layout)));
        layers.back()->best();
      }
    run(layers);
  }
}

TEST(distinct_sizes) {  // around every unit of work, aligned and not; more layers than a table holds
  for (actscope_dtype dtype : kTypes) {
    Layers layers;
    for (uint64_t n : {1, 2, 3, 15, 16, 17, 31, 32, 33, 255, 256, 257, 2047, 2048, 2049, 4097, 8193, 16385}) {
      if (test_small && n > 2100) continue;
      for (data_layout layout : {LAYOUT_ROWS, LAYOUT_MISALIGNED}) {
        layers.push_back(std::make_unique<Layer>(DATA_NORMAL, dtype, n, 1, layout));
        layers.back()->best();
      }
    }
    for (uint64_t k = 1; k < 70; ++k) {
      layers.push_back(std::make_unique<Layer>(DATA_INTEGERS, dtype, k, 3, LAYOUT_COLUMNS));
      layers.back()->best();
    }
    run(layers);
  }
}

TEST(distinct_patterns) {  // zeros of both signs, NaN of every payload, infinities; all alike, all different
  std::vector<uint32_t> specials = {0, 0x80000000u, 0x7F800000u, 0xFF800000u, 1, 0x80000001u, 0x7F7FFFFFu}, nans, same(5000, 0x3F800000u), zeros(3001);
  std::vector<uint64_t> specials64 = {0, 1ull << 63, 0x7FF0000000000000ull, 0xFFF0000000000000ull, 1, 1ull << 63 | 1}, nans64, zeros64(3001), all64;
  for (uint32_t k = 1; k < 3000; ++k) {
    nans.push_back(0x7F800000u + k * 2789), nans.push_back(0xFF800000u + k);
    nans64.push_back(0x7FF0000000000000ull + k), nans64.push_back(0xFFF0000000000000ull | (uint64_t)k << 9 | k);
    all64.push_back(0x3FF0000000000000ull + k);  // the lowest bits alone
  }
  for (size_t k = 0; k < zeros.size(); k += 3) zeros[k] = 0x80000000u, zeros64[k] = 1ull << 63;
  for (size_t offset : {0, 1, 3}) {
    Layers layers;
    auto add = [&](const char *what, const std::vector<uint32_t> &bits) {
      layers.push_back(std::make_unique<Layer>(what, bits, offset));
      layers.back()->best();
    };
    add("specials", specials), add("NaN", nans), add("one value", same), add("zeros", zeros);
    for (int kind = 0; kind < FLOATS_KINDS; ++kind) {
      std::vector<uint32_t> bits;
      for (uint64_t i = 0; i < (test_small ? 3000 : 20000); ++i) bits.push_back(core_bits32(data_float(data_floats(kind), i, 3)));
      add(data_floats_name(data_floats(kind)), bits);
    }
    run(layers);
  }
  for (size_t offset : {0, 1}) {
    Layers layers;
    auto add = [&](const char *what, const std::vector<uint64_t> &bits) {
      layers.push_back(std::make_unique<Layer>(what, bits, offset));
      layers.back()->best();
    };
    add("specials", specials64), add("NaN", nans64), add("zeros", zeros64), add("lowest bits", all64);
    run(layers);
  }
}

TEST(distinct_passes) {  // from the least memory to the best, structured values; no pass overflows on its own
  const uint64_t n = test_small ? 9000 : 20001;
  for (int kind = 0; kind < FLOATS_KINDS; kind += test_small ? 3 : 1) {
    std::vector<uint32_t> bits;
    std::vector<uint64_t> bits64;
    for (uint64_t i = 0; i < n; ++i) {
      const float x = data_float(data_floats(kind), i, 3);
      bits.push_back(core_bits32(x)), bits64.push_back(core_bits64((double)x));
    }
    Layer layer(data_floats_name(data_floats(kind)), bits), layer64(data_floats_name(data_floats(kind)), bits64);
    for (Layer *l : {&layer, &layer64}) {
      const uint64_t least = actscope_cuda_distinct_least(l->v.dtype, n), best = actscope_cuda_distinct_best(l->v.dtype, n);
      for (uint64_t bytes : {least, kind % 2 ? least * 3 : best / 2 + 4}) {
        l->in(bytes / 8 * 8);
        CHECK(l->shape.passes > 1 || bytes > least);
        run_alone(*l);
        CHECK(!l->lost());
        if (test_small) break;
      }
    }
  }
}

// Values whose keys crowd one pass, chosen for it: passes overflow and are counted again. Zeros and NaN are among them, and
// the keys around the ends of every pass.
template <class W>
static void crowd(size_t n, W step, uint32_t passes, uint64_t slots, bool overflows) {
  std::vector<W> bits = neighbours<W>(n, step == W(-1) ? step : W(5), step);
  for (size_t k = 0; k < n / 8; ++k) bits.push_back(bits[k * 3 % n]);
  for (uint32_t p = 1; p <= passes; ++p) {
    const W end = W(((unsigned __int128)p << sizeof(W) * 8) / passes - 1);
    for (W key = end - 2; key != W(end + 3); ++key)
      if (plain(unmix(key))) bits.push_back(unmix(key));
  }
  bits.push_back(W(0)), bits.push_back(W(1) << (sizeof(W) * 8 - 1)), bits.push_back(~W(0)), bits.push_back(~W(0) >> 1);
  Layer layer("crowded", bits, 1);
  layer.with({slots, slots * sizeof(W), passes, 0});
  run_alone(layer);
  CHECK(layer.lost() == overflows);
}
TEST(distinct_overflow) {
  const size_t n = test_small ? 1500 : 6000;
  crowd<uint32_t>(n, 1, 4, n / 2, true);        // consecutive keys, in no more than two slices
  crowd<uint64_t>(n, ~0ull, 3, n / 2, true);    // downwards from the last key
  if (test_small) return;
  crowd<uint32_t>(n, 1, 3, 7, true);            // hardly any memory: halved many times
  crowd<uint32_t>(n, 40000, 5, n * 3 / 4, true);
  crowd<uint32_t>(n, ~0u / (uint32_t)n, 4, n / 2, false);  // spread over all passes
  crowd<uint32_t>(n, 1, 4, 2 * n, n > TUNE_DISTINCT_REACH);
  crowd<uint64_t>(n, 1, 4, n / 2, true);
  crowd<uint64_t>(n, ~0ull / n / 6, 2, n / 3, true);
  crowd<uint64_t>(n, 1, 3, n / 2, true);
  crowd<uint64_t>(n, ~0ull / n, 4, n / 2, false);
}

TEST(distinct_map) {  // a bit a key: shapes that the plan takes for 10^8 elements, and odd ones
  for (uint32_t passes : {64u, 257u}) {
    if (test_small && passes > 64) continue;
    const uint64_t slots = (((1ull << 32) + passes - 1) / passes + 31) / 32 * 32;
    std::vector<uint32_t> bits = neighbours<uint32_t>(500, ~0u - 400, 1);  // both ends of the range
    for (uint32_t p = 0; p < passes; ++p)                                  // and of every pass
      for (uint64_t end = (((uint64_t)p << 32) + passes - 1) / passes, d = 0; d < 2; ++d) bits.push_back(unmix(uint32_t(end - d)));
    for (uint32_t k = 0; k < 300; ++k) bits.push_back(0x3F800000u + k * 977), bits.push_back(k % 2 << 31), bits.push_back(0x7FC00000u + k);
    Layer layer("map", bits, 1);
    layer.with({slots, slots / 8, passes, 1});
    run_alone(layer);
  }
}

TEST(distinct_shapes) {  // what the plan may rely on, for every size
  for (actscope_dtype dtype : kTypes)
    for (uint64_t n = 1; n < 1ull << 44; n += n / 3 + 1) {
      const uint64_t best = actscope_cuda_distinct_best(dtype, n), least = actscope_cuda_distinct_least(dtype, n);
      const uint64_t keys = dtype == ACTSCOPE_FLOAT32 && n > 1ull << 32 ? 1ull << 32 : n, size = dtype == ACTSCOPE_FLOAT32 ? 4 : 8;
      SHAPE("%s, %llu elements", data_dtype_name(dtype), (unsigned long long)n);
      CHECK(least <= best && actscope_cuda_distinct_shape(dtype, n, best).passes == 1);
      CHECK(actscope_cuda_distinct_shape(dtype, n, best * 2).bytes == actscope_cuda_distinct_shape(dtype, n, best).bytes);
      if (dtype == ACTSCOPE_FLOAT32) CHECK(best <= 512u << 20 && least <= 8u << 20);
      uint32_t before = CUDA_DISTINCT_PASSES;
      for (uint64_t bytes = least; bytes <= best; bytes += bytes / 9 / 8 * 8 + 8) {
        const cuda_distinct_shape s = actscope_cuda_distinct_shape(dtype, n, bytes);
        CHECK(s.bytes <= bytes && s.bytes % size == 0);
        CHECK(s.passes >= 1 && s.passes <= before);
        if (s.map) CHECK(dtype == ACTSCOPE_FLOAT32 && s.slots == s.bytes * 8 && s.slots * s.passes >= 1ull << 32);
        else CHECK(s.slots * size == s.bytes && (s.passes == 1 ? s.slots > keys : double(s.slots) * s.passes >= double(keys) * 1.6));
        before = s.passes;
      }
    }
}
