// nulls_test.cu - split halves, on either side, and the floor of rotated samples, by the kernels, pair by pair.
#include "core/halves.h"
#include "kernels.h"
#include "reference/data.h"
#include "reference/reference.h"
#include "test.h"

namespace {
struct Tensor {
  laid_out tensor;
  view v;
  ref_matrix matrix;
  Tensor(data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features, data_layout layout) {
    std::vector<double> x(samples * features + 1);
    data_fill(kind, 7, dtype, x.data(), samples, features);
    data_lay_out(&tensor, x.data(), dtype, samples, features, layout);
    view_init(&v, &tensor.tensor, 0);
    ref_matrix_load(&matrix, &tensor.tensor, 0);
    SHAPE("%s %s %s %llux%llu", data_kind_name(kind), data_dtype_name(dtype), data_layout_name(layout),
          (unsigned long long)samples, (unsigned long long)features);
  }
  ~Tensor() {
    CHECK(guard_damage(&tensor.memory) == 0);
    ref_matrix_free(&matrix), data_free(&tensor);
  }
};
cuda_layers table;
template <class F>
void launch(F f) {  // with scratch for what the table holds
  uint64_t bytes, words, more, more_words;
  actscope_cuda_standardise_scratch(&table, &bytes, &words);
  actscope_cuda_gram_scratch(&table, &more, &more_words);
  Device<char> scratch(bytes > more ? bytes : more);
  Device<unsigned> counters((words > more_words ? words : more_words) + 1);
  counters.zero();
  CHECK_LAUNCH(f(scratch.p, counters.p));
  for (size_t i = 0; i < counters.n; ++i) CHECK(counters[i] == 0);
}

void halves(data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features, data_layout layout,
            bool by_sample) {
  Tensor x(kind, dtype, samples, features, layout);
  view half[2];
  CHECK(halves_split(&x.tensor.tensor, 0, half));
  const uint32_t pitch[2] = {actscope_cuda_pitch(half[0].samples), actscope_cuda_pitch(half[1].samples)};
  const uint32_t stride = pitch[0] + pitch[1];
  Device<column> columns[2] = {Device<column>(features), Device<column>(features)};
  Device<cuda_features> found(1);
  Device<uint32_t> list(features);
  Device<uint16_t> high(features * stride), low(features * stride);
  Device<float> weight(features), first(by_sample ? 0 : features * features),
      second(by_sample ? 0 : features * features);
  Device<cuda_halves> state(1);
  state.zero();
  const auto point = [&](int k) {
    actscope_cuda_layers_begin(&table);
    cuda_layer *f = actscope_cuda_layers_add(&table, &half[k]);
    f->columns = columns[k].p, f->other_columns = columns[1 - k].p, f->features_out = found.p, f->list = list.p,
    f->weight = weight.p;
    f->z_hi = high.p + (by_sample && k ? pitch[0] : 0), f->z_lo = low.p + (by_sample && k ? pitch[0] : 0);
    if (by_sample)
      f->stride = stride;
    else
      f->feature_gram = k ? second.p : first.p, f->pairs = &state.p->spare;
  };
  for (int k = 0; k < 2; ++k)
    point(k), launch([&](void *s, unsigned *c) { return actscope_cuda_columns(&table, s, c, 0); });
  CHECK_LAUNCH(actscope_cuda_select(&table, 0));
  for (int k = 0; k < 2; ++k) {
    point(k), launch([&](void *s, unsigned *c) { return actscope_cuda_standardise(&table, s, c, 0); });
    if (!by_sample) CHECK_LAUNCH(actscope_cuda_correlation(&table, 0));
  }
  if (by_sample) {
    point(0);
    cuda_layer &f = table.layer[0];
    f.samples = f.pitch = stride, f.second_half = pitch[0], f.halves = state.p;
    f.half_samples[0] = (uint32_t)half[0].samples, f.half_samples[1] = (uint32_t)half[1].samples;
    launch([&](void *s, unsigned *c) { return actscope_cuda_gram(&table, s, c, 0); });
  } else {
    cuda_halves_table t;
    t.layers = 1, t.layer[0] = {{first.p, second.p}, found.p, state.p};
    Device<char> scratch(actscope_cuda_halves_scratch(1));
    Device<unsigned> counter(1);
    counter.zero();
    CHECK_LAUNCH(actscope_cuda_halves(&t, scratch.p, counter.p, 0));
    CHECK(counter[0] == 0);
  }
  const cuda_halves got = state[0];
  double congruence, rms, want[2];
  halves_finish(got.product, got.first, got.second, got.valid, &congruence, &rms);
  ref_split_half(&x.matrix, half[0].samples, &want[0], &want[1]);
  CHECK_NEAR(congruence, want[0], 1e-5, 0);
  CHECK_NEAR(rms * rms, want[1] * want[1], 5e-6, 0);
}

void shift(data_kind kind, actscope_dtype dtype, uint64_t samples, uint64_t features, data_layout layout) {
  Tensor x(kind, dtype, samples, features, layout);
  const uint64_t seed = samples, room = shift_group(features, samples), groups = shift_groups(features, room),
                 pitch = actscope_cuda_pitch(samples);
  Device<column> columns(features);
  Device<cuda_features> found(1), group_out(groups);
  Device<uint32_t> list(features), members(groups * room), rotation(groups * room);
  Device<uint16_t> high(groups * room * pitch), low(groups * room * pitch);
  Device<float> weight(groups * room);
  Device<cuda_shift> state(1);
  state.zero();
  actscope_cuda_layers_begin(&table);
  cuda_layer *f = actscope_cuda_layers_add(&table, &x.v);
  f->columns = columns.p, f->features_out = found.p, f->list = list.p;
  launch([&](void *s, unsigned *c) { return actscope_cuda_columns(&table, s, c, 0); });
  CHECK_LAUNCH(actscope_cuda_select(&table, 0));
  cuda_shift_table t;
  t.layers = 1,
  t.layer[0] = {found.p, list.p, samples, seed, groups, room, group_out.p, members.p, rotation.p, state.p};
  CHECK_LAUNCH(actscope_cuda_shift_choose(&t, 0));
  const cuda_layer whole = *f;
  CHECK(groups <= CUDA_LAYERS);
  for (table.layers = 0; table.layers < (int)groups; ++table.layers) {
    cuda_layer &g = table.layer[table.layers] = whole;
    const uint64_t row = (uint64_t)table.layers * room;
    g.features = g.rows = room, g.list = members.p + row, g.rotation = rotation.p + row,
    g.features_out = group_out.p + table.layers;
    g.z_hi = high.p + row * pitch, g.z_lo = low.p + row * pitch, g.weight = weight.p + row, g.pairs = &state.p->pairs;
  }
  launch([&](void *s, unsigned *c) { return actscope_cuda_standardise(&table, s, c, 0); });
  CHECK_LAUNCH(actscope_cuda_correlation(&table, 0));
  const double want = ref_shift(&x.matrix, seed), count = (double)state[0].count;
  CHECK_NEAR(count > 0 ? pairs_value(&state.p->pairs.abs) / count : NAN, want, 5e-6, 0);
}
}  // namespace

TEST(nulls_halves) {
  const uint64_t more = test_small ? 40 : 140;
  for (bool by_sample : {true, false}) {
    halves(DATA_FACTORS, ACTSCOPE_FLOAT32, 6, 9, LAYOUT_ROWS, by_sample);
    halves(DATA_CONSTANT_COLUMNS, ACTSCOPE_BFLOAT16, 41, 90, LAYOUT_COLUMNS, by_sample);
    halves(DATA_HUBS, ACTSCOPE_FLOAT64, more + 1, 50, LAYOUT_PADDED, by_sample);
    halves(DATA_SPECIALS, ACTSCOPE_FLOAT32, 33, more, LAYOUT_ROWS, by_sample);
  }
}

TEST(nulls_shift) {
  shift(DATA_FACTORS, ACTSCOPE_FLOAT32, 40, test_small ? 50 : 140, LAYOUT_ROWS);  // groups of 40
  shift(DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT16, 70, 50, LAYOUT_COLUMNS);         // one, of those that are valid
  shift(DATA_OUTLIERS, ACTSCOPE_FLOAT64, 300, 20, LAYOUT_ROWS);                   // several slices of samples
  shift(DATA_CONSTANT, ACTSCOPE_FLOAT32, 9, 20, LAYOUT_ROWS);                     // nobody
}
