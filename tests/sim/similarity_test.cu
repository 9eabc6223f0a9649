// similarity_test.cu - the mean cosine between samples, by the kernels, against all pairs one by one.
#include <memory>

#include "core/similarity.h"
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
};
struct Subject {
  Case what;
  laid_out tensor;
  actscope_tensor shaped;
  int64_t shape[3];
  view v;
  ref_matrix matrix;
  std::unique_ptr<Device<double>> unit;
  Device<cuda_similarity> out{1};
  explicit Subject(const Case &c, int parts) : what(c) {
    std::vector<double> x(c.samples * c.features + 1);
    const uint64_t outer = parts ? c.samples / (uint64_t)parts : c.samples, inner = parts ? c.features * (uint64_t)parts : c.features;
    data_fill(c.kind, 7, c.dtype, x.data(), outer, inner);
    data_lay_out(&tensor, x.data(), c.dtype, outer, inner, c.layout);
    shaped = tensor.tensor;
    if (parts) {  // [outer, features, parts]: channels
      shape[0] = (int64_t)outer, shape[1] = (int64_t)c.features, shape[2] = parts;
      shaped.ndim = 3, shaped.shape = shape, shaped.strides = nullptr;
    }
    view_init(&v, &shaped, parts != 0);
    ref_matrix_load(&matrix, &shaped, parts != 0);
    unit = std::make_unique<Device<double>>(v.samples);
  }
  ~Subject() {
    CHECK(guard_damage(&tensor.memory) == 0);
    ref_matrix_free(&matrix), data_free(&tensor);
  }
  actscope_similarity got() const {
    actscope_similarity s;
    similarity_finish(out[0].square, out[0].used, out[0].zero, v.samples, &s);
    return s;
  }
};

void run(const std::vector<Case> &cases, int parts = 0) {
  static cuda_layers t;
  actscope_cuda_layers_begin(&t);
  std::vector<std::unique_ptr<Subject>> all;
  for (auto &c : cases) {
    all.push_back(std::make_unique<Subject>(c, parts));
    cuda_layer *layer = actscope_cuda_layers_add(&t, &all.back()->v);
    CHECK(layer != nullptr);
    layer->unit = all.back()->unit->p, layer->similarity = all.back()->out.p;
  }
  uint64_t bytes, words;
  actscope_cuda_similarity_scratch(&t, &bytes, &words);
  Device<char> scratch(bytes);
  Device<unsigned> counters(words);
  counters.zero();
  std::vector<double> first;
  for (int round = 0; round < 2; ++round) {  // again, with the same counters: the same bits
    CHECK_LAUNCH(actscope_cuda_similarity(&t, scratch.p, counters.p, 0));
    for (size_t i = 0; i < counters.n; ++i) CHECK(counters[i] == 0);
    for (size_t i = 0; i < all.size(); ++i) {
      const Subject &s = *all[i];
      SHAPE("%s %s %s %llux%llu, %d parts", data_kind_name(s.what.kind), data_dtype_name(s.what.dtype), data_layout_name(s.what.layout),
            (unsigned long long)s.v.samples, (unsigned long long)s.v.features, parts);
      if (round == 0) first.push_back(s.out[0].square);
      else CHECK(first[i] == s.out[0].square);
      actscope_similarity want, got = s.got();
      ref_similarity(&s.matrix, &want);
      compare c;
      compare_begin(&c, "similarity");
      compare_similarity(&c, &got, &want);
      if (compare_end(&c)) test_note(false, __FILE__, __LINE__, c.text);
    }
  }
}
}  // namespace

TEST(similarity_contents) {
  std::vector<Case> cases;
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    if (!test_small || kind % 4 == 0)
      cases.push_back({data_kind(kind), kind % 3 ? ACTSCOPE_FLOAT32 : ACTSCOPE_FLOAT64, 40, test_small ? 50u : 141u, LAYOUT_ROWS});
  run(cases);
}

TEST(similarity_dtypes_and_layouts) {
  for (actscope_dtype dtype : {ACTSCOPE_FLOAT32, ACTSCOPE_FLOAT16, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT8_E4M3, ACTSCOPE_FLOAT8_E5M2, ACTSCOPE_FLOAT64}) {
    std::vector<Case> cases;
    for (int layout = 0; layout < LAYOUTS; layout += test_small ? 3 : 1) {
      cases.push_back({DATA_RELU, dtype, 29, 46, data_layout(layout)});
      cases.push_back({DATA_SPECIALS, dtype, 37, 30, data_layout(layout)});
    }
    run(cases);
  }
}

TEST(similarity_channels) {
  for (int parts : {3, 16, 49}) run({{DATA_HUBS, ACTSCOPE_FLOAT32, 4u * (unsigned)parts, 37, LAYOUT_ROWS}, {DATA_RELU, ACTSCOPE_BFLOAT16, 5u * (unsigned)parts, 9, LAYOUT_ROWS}}, parts);
}

TEST(similarity_shapes) {
  const uint64_t samples[] = {1, 2, 3, 7, 8, 9, 31, 32, 33}, features[] = {1, 2, 3, 7, 8, 9, 31, 32, 33, 255, 256, 257, 1025};
  for (uint64_t n : samples) {
    std::vector<Case> cases;
    for (uint64_t d : features)
      if (!test_small || n * d < 500) cases.push_back({n % 2 ? DATA_NORMAL : DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, n, d, d % 2 ? LAYOUT_ROWS : LAYOUT_COLUMNS});
    run(cases);
  }
  if (test_small) return;  // slices on both sides, in both layouts
  run({{DATA_FACTORS, ACTSCOPE_FLOAT32, 700, 40, LAYOUT_ROWS}, {DATA_FACTORS, ACTSCOPE_FLOAT32, 700, 40, LAYOUT_COLUMNS},
       {DATA_FACTORS, ACTSCOPE_FLOAT32, 12, 3000, LAYOUT_ROWS}, {DATA_FACTORS, ACTSCOPE_BFLOAT16, 12, 3000, LAYOUT_COLUMNS}});
}
