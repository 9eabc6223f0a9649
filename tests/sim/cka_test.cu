// cka_test.cu - CKA of layers by the kernels, from what each keeps, against the formula written out.
#include <memory>

#include "kernels.h"
#include "reference/data.h"
#include "reference/reference.h"
#include "test.h"

namespace {
struct Case {
  data_kind kind;
  actscope_dtype dtype;
  uint64_t samples, features;
};
struct Subject {  // a layer with all its device memory
  laid_out tensor;
  view v;
  ref_matrix matrix;
  Device<column> columns;
  Device<uint32_t> list;
  Device<uint16_t> high, low;
  Device<float> weight, kept;
  Device<double> unscaled{1}, sums, partial;
  Device<cuda_cka_totals> totals{1};
  Device<cuda_features> found{1};
  Device<cuda_clock> clock{1};
  static uint64_t z(const Case &c) { return c.features * actscope_cuda_pitch(c.samples); }
  explicit Subject(const Case &c)
      : columns(c.features),
        list(c.features),
        high(z(c)),
        low(z(c)),
        weight(c.features),
        kept(cka_entries(c.samples)),
        sums(c.samples),
        partial(actscope_cuda_cka_partial(c.samples)) {
    std::vector<double> x(c.samples * c.features + 1);
    data_fill(c.kind, c.features, c.dtype, x.data(), c.samples, c.features);
    data_lay_out(&tensor, x.data(), c.dtype, c.samples, c.features, c.features % 2 ? LAYOUT_COLUMNS : LAYOUT_ROWS);
    view_init(&v, &tensor.tensor, 0);
    ref_matrix_load(&matrix, &tensor.tensor, 0);
    clock.zero();
    clock.p->windows = 6;
  }
  ~Subject() { CHECK(guard_damage(&tensor.memory) == 0), ref_matrix_free(&matrix), data_free(&tensor); }
};

void run(const std::vector<Case> &cases) {
  static cuda_layers t;
  static cuda_cka_table keep;
  static cuda_cka_pairs pairs;
  const uint64_t count = cases.size();
  std::vector<std::unique_ptr<Subject>> all;
  Device<char> words(cuda_cka_words_bytes(count)), told_bytes(cuda_cka_told_bytes(count));
  words.zero(), told_bytes.zero();
  auto *told = reinterpret_cast<cuda_cka_told *>(told_bytes.p);
  actscope_cuda_layers_begin(&t);
  keep.layers = pairs.rows = pairs.columns = 0;
  pairs.layers = count;
  keep.words = pairs.words = reinterpret_cast<cuda_cka_words *>(words.p), keep.told = pairs.told = told;
  uint64_t pair_bytes = 0, pair_words = 0;
  for (auto &c : cases) {
    all.push_back(std::make_unique<Subject>(c));
    Subject &s = *all.back();
    cuda_layer *f = actscope_cuda_layers_add(&t, &s.v);
    f->columns = s.columns.p, f->features_out = s.found.p, f->list = s.list.p, f->z_hi = s.high.p, f->z_lo = s.low.p,
    f->weight = s.weight.p;
    f->unscaled = s.unscaled.p, f->triangle = s.kept.p;
    const uint32_t index = (uint32_t)all.size() - 1;
    keep.layer[keep.layers++] = {c.samples, c.features,  s.columns.p, s.unscaled.p, s.kept.p,
                                 s.sums.p,  s.partial.p, s.totals.p,  s.clock.p,    &keep.words->mark[index]};
    pairs.row[pairs.rows++] =
        pairs.column[pairs.columns++] = {s.kept.p, &keep.words->mark[index], index, (uint32_t)c.samples, 1};
    uint64_t bytes, counters;
    actscope_cuda_cka_scratch(c.samples, &bytes, &counters);
    pair_bytes += bytes, pair_words += counters;
  }
  uint64_t bytes, counts, gram_bytes, gram_counts;
  actscope_cuda_standardise_scratch(&t, &bytes, &counts);
  actscope_cuda_gram_scratch(&t, &gram_bytes, &gram_counts);
  Device<char> scratch(std::max(std::max(bytes, gram_bytes), pair_bytes));
  Device<unsigned> counters(std::max(std::max(counts, gram_counts), pair_words));
  counters.zero();
  CHECK_LAUNCH(actscope_cuda_columns(&t, scratch.p, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_select(&t, 0));
  CHECK_LAUNCH(actscope_cuda_cka_begin(&keep, 0));
  CHECK(told->begun == 1 && told->done == 0);
  for (auto &s : all) {
    double most = 0;
    for (uint64_t f = 0; f < s->v.features; ++f) {
      const column c = s->columns[f];
      if (column_valid(&c) && c.m2 > most) most = c.m2;
    }
    CHECK(s->unscaled[0] == (most > 0 ? 1 / std::sqrt(most) : 0));
  }
  CHECK_LAUNCH(actscope_cuda_standardise(&t, scratch.p, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_gram(&t, scratch.p, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_cka_keep(&keep, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_cka_pairs(&pairs, scratch.p, counters.p, 0));
  CHECK_LAUNCH(actscope_cuda_cka_tell(&pairs, 0));
  for (size_t i = 0; i < counters.n; ++i) CHECK(counters[i] == 0);
  CHECK(told->begun == 1 && told->done == 1);
  for (uint64_t i = 0; i < count; ++i)
    for (uint64_t j = 0; j < i; ++j) {
      const double want = ref_cka(&all[i]->matrix, &all[j]->matrix);
      const bool there =
          cuda_cka_there(told)[i] == 7 && cuda_cka_there(told)[j] == 7 && cases[i].samples == cases[j].samples;
      SHAPE("layers %d and %d of %d", (int)i, (int)j, (int)count);
      CHECK_NEAR(there ? cuda_cka_values(told, count)[cuda_cka_at(i, j)] : NAN, want, 1e-5, 0);
    }
}
}  // namespace

TEST(cka_layers) {
  std::vector<Case> cases = {{DATA_FACTORS, ACTSCOPE_FLOAT32, 40, 50},  {DATA_RELU, ACTSCOPE_BFLOAT16, 40, 21},
                             {DATA_SPECIALS, ACTSCOPE_FLOAT64, 40, 30}, {DATA_CONSTANT, ACTSCOPE_FLOAT32, 40, 9},
                             {DATA_FACTORS, ACTSCOPE_FLOAT32, 4, 5},    {DATA_NORMAL, ACTSCOPE_FLOAT32, 4, 90},
                             {DATA_FACTORS, ACTSCOPE_FLOAT32, 33, 1},   {DATA_FACTORS, ACTSCOPE_FLOAT16, 33, 40},
                             {DATA_HUBS, ACTSCOPE_FLOAT32, 31, 40}};
  if (!test_small) cases.push_back({DATA_FACTORS, ACTSCOPE_FLOAT32, 300, 12}), cases.push_back({DATA_HUBS, ACTSCOPE_FLOAT32, 300, 40});
  else cases.erase(cases.begin() + 3, cases.begin() + 6);
  run(cases);
}
