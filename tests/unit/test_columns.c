/* test_columns.c - feature moments against their definition. */
#include "stages.h"

TestSuite(columns, .timeout = 120);

/* The state by two passes in long double. */
static struct column naive(const struct ref_matrix *m, uint64_t f) {
  struct column c;
  long double sum = 0, squares = 0;
  double top = -1;
  int bad = 0;
  column_init(&c);
  for (uint64_t s = 0; s < m->samples; ++s) {
    double x = m->x[s * m->features + f];
    bad |= !isfinite(x);
    if (fabs(x) > top) top = fabs(x);
    if (x < c.min) c.min = x;
    if (x > c.max) c.max = x;
    sum += x;
  }
  if (bad) {
    c.min = NAN;
    c.max = top;
    return c;
  }
  if (m->samples == 0) return c;
  c.mean = (double)(sum / m->samples);
  for (uint64_t s = 0; s < m->samples; ++s) {
    long double d = m->x[s * m->features + f] - sum / m->samples;
    squares += d * d;
  }
  c.m2 = (double)squares;
  return c;
}

static void check(const struct stage_input *in, const struct column *got) {
  struct compare c;
  actscope_health health, expected;
  compare_begin(&c, "%s", in->name);
  for (uint64_t f = 0; f < in->m.features; ++f) {
    struct column want = naive(&in->m, f);
    compare_value(&c, "min", got[f].min, want.min, 0, 0);
    compare_value(&c, "max", got[f].max, want.max, 0, 0);
    if (isnan(want.min)) continue;
    double std = in->m.samples > 0 ? sqrt(want.m2 / (double)in->m.samples) : 0;
    /* Single precision within groups of 8: a square is off by 3 * 2^-24 and each of 8 additions by 2^-24, 6.6e-7 when one
     * outlier makes up all of m2. */
    compare_value(&c, "mean", got[f].mean, want.mean, 3e-7 * std, 1e-15);
    if (want.min < want.max) compare_value(&c, "m2", got[f].m2, want.m2, 0, 6.6e-7);
    if (want.min == want.max) compare_value(&c, "m2 of a constant", got[f].m2, 0, 0, 0);
  }
  if (in->m.elements > 0) {
    columns_health(got, in->m.features, &health);
    ref_health(&in->m, &expected);
    compare_health(&c, &health, &expected);
  }
  if (in->m.features > 0) cr_assert_eq(compare_end(&c), 0, "%s", c.text);
}

static void run(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features) {
  struct stage_input in;
  stage_input(&in, kind, samples * 31 + features, dtype, layout, samples, features);
  struct column *got = stage_columns(&in.v, 1);
  check(&in, got);
  free(got);
  stage_input_free(&in);
}

ParameterizedTestParameters(columns, every_type_and_layout) { return instruction_sets(); }
ParameterizedTest(int *isa, columns, every_type_and_layout) {
  USE_INSTRUCTION_SET(*isa);
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int layout = 0; layout < LAYOUTS; ++layout) {
      run(DATA_NORMAL, (actscope_dtype)dtype, (enum data_layout)layout, 70, 90);
      run(DATA_CONSTANT_COLUMNS, (actscope_dtype)dtype, (enum data_layout)layout, 33, 17);
      run(DATA_SPECIALS, (actscope_dtype)dtype, (enum data_layout)layout, 19, 34);
    }
}

ParameterizedTestParameters(columns, every_content) { return instruction_sets(); }
ParameterizedTest(int *isa, columns, every_content) {
  USE_INSTRUCTION_SET(*isa);
  static const int dtypes[] = {ACTSCOPE_FLOAT32, ACTSCOPE_BFLOAT16, ACTSCOPE_FLOAT64};
  for (int kind = 0; kind < DATA_KINDS; ++kind)
    for (int d = 0; d < 3; ++d) {
      run((enum data_kind)kind, (actscope_dtype)dtypes[d], LAYOUT_ROWS, 700, 37);
      run((enum data_kind)kind, (actscope_dtype)dtypes[d], LAYOUT_COLUMNS, 1100, 21);
    }
}

ParameterizedTestParameters(columns, every_size) { return instruction_sets(); }
ParameterizedTest(int *isa, columns, every_size) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 127, 255, 256, 257, 513, 1025};
  enum { COUNT = sizeof sizes / sizeof *sizes };
  for (int a = 0; a < COUNT; ++a)
    for (int b = 0; b < COUNT; ++b) {
      if (sizes[a] * sizes[b] > 70000) continue;
      run(DATA_NORMAL, ACTSCOPE_FLOAT32, LAYOUT_ROWS, sizes[a], sizes[b]);
      run(DATA_NORMAL, ACTSCOPE_FLOAT16, LAYOUT_COLUMNS, sizes[a], sizes[b]);
    }
  run(DATA_OFFSET, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 20000, 5); /* samples in chunks */
  run(DATA_OFFSET, ACTSCOPE_FLOAT32, LAYOUT_COLUMNS, 20000, 5);
  run(DATA_CONSTANT_COLUMNS, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 9000, 31);
  run(DATA_SPECIALS, ACTSCOPE_BFLOAT16, LAYOUT_ROWS, 9000, 31);
  run(DATA_NORMAL, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 9, 9001); /* features in blocks */
  run(DATA_NORMAL, ACTSCOPE_FLOAT64, LAYOUT_COLUMNS, 9, 9001);
}

/* Spreads whose squares leave the range of single precision. */
ParameterizedTestParameters(columns, squares_beyond_the_type) { return instruction_sets(); }
ParameterizedTest(int *isa, columns, squares_beyond_the_type) {
  USE_INSTRUCTION_SET(*isa);
  static const double scales[] = {1e-40, 1e-30, 1e-22, 1e-19, 1e17, 1e19, 1e30, 3e38};
  for (int k = 0; k < 8; ++k)
    for (int layout = LAYOUT_ROWS; layout <= LAYOUT_COLUMNS; ++layout) {
      enum { N = 300, D = 20 };
      struct stage_input in;
      double x[N * D];
      struct random_state r = {(uint64_t)k};
      for (int i = 0; i < N * D; ++i) x[i] = scales[k] * (2 * random_uniform(&r) - 1);
      data_lay_out(&in.t, x, ACTSCOPE_FLOAT32, N, D, (enum data_layout)layout);
      view_init(&in.v, &in.t.tensor, 0);
      ref_matrix_load(&in.m, &in.t.tensor, 0);
      snprintf(in.name, sizeof in.name, "scale %g, %s", scales[k], data_layout_name((enum data_layout)layout));
      struct column *got = stage_columns(&in.v, 2);
      check(&in, got);
      free(got);
      stage_input_free(&in);
    }
}

/* Four axes: runs of samples that are not one stride, as a convolution's channels have. */
ParameterizedTestParameters(columns, channels) { return instruction_sets(); }
ParameterizedTest(int *isa, columns, channels) {
  USE_INSTRUCTION_SET(*isa);
  static const int64_t shapes[][4] = {{8, 20, 4, 4}, {5, 33, 7, 7}, {16, 48, 1, 1}, {3, 5, 40, 30}, {2, 70, 1, 9}};
  for (int k = 0; k < 5; ++k) {
    struct stage_input in;
    int64_t total = 1;
    for (int a = 0; a < 4; ++a) total *= shapes[k][a];
    double *x = malloc((size_t)total * sizeof *x);
    data_fill(DATA_OFFSET, 5, ACTSCOPE_FLOAT32, x, (uint64_t)shapes[k][0], (uint64_t)(total / shapes[k][0]));
    data_lay_out(&in.t, x, ACTSCOPE_FLOAT32, (uint64_t)shapes[k][0], (uint64_t)(total / shapes[k][0]), LAYOUT_ROWS);
    actscope_tensor t = in.t.tensor;
    t.ndim = 4;
    t.shape = shapes[k];
    view_init(&in.v, &t, 1);
    ref_matrix_load(&in.m, &t, 1);
    snprintf(in.name, sizeof in.name, "channels of shape %d", k);
    struct column *got = stage_columns(&in.v, 2);
    check(&in, got);
    free(got);
    free(x);
    stage_input_free(&in);
  }
}

/* Five samples of every seven: rows that lie at no one distance, as wide as a block of features gets. */
ParameterizedTestParameters(columns, rows_in_groups) { return instruction_sets(); }
ParameterizedTest(int *isa, columns, rows_in_groups) {
  USE_INSTRUCTION_SET(*isa);
  enum { D = 8200 };
  static const int64_t shape[] = {3, D, 5}, strides[] = {7 * D, 1, D};
  double *x = malloc(21 * D * sizeof *x);
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype) {
    struct stage_input in;
    data_fill(DATA_CONSTANT_COLUMNS, 7, (actscope_dtype)dtype, x, 21, D);
    data_lay_out(&in.t, x, (actscope_dtype)dtype, 21, D, LAYOUT_ROWS);
    actscope_tensor t = in.t.tensor;
    t.ndim = 3, t.shape = shape, t.strides = strides;
    view_init(&in.v, &t, 1);
    ref_matrix_load(&in.m, &t, 1);
    snprintf(in.name, sizeof in.name, "groups of rows, dtype %d", dtype);
    struct column *got = stage_columns(&in.v, 2);
    check(&in, got);
    free(got);
    stage_input_free(&in);
  }
  free(x);
}

Test(columns, threads_do_not_change_a_bit) {
  static const uint64_t shapes[][2] = {{128, 3000}, {30000, 40}, {700, 700}};
  for (int k = 0; k < 3; ++k)
    for (int layout = LAYOUT_ROWS; layout <= LAYOUT_COLUMNS; ++layout) {
      struct stage_input in;
      stage_input(&in, DATA_OFFSET, 3, ACTSCOPE_FLOAT32, (enum data_layout)layout, shapes[k][0], shapes[k][1]);
      struct column *one = stage_columns(&in.v, 1);
      for (int threads = 2; threads <= 5; ++threads) {
        struct column *more = stage_columns(&in.v, threads);
        cr_assert_eq(memcmp(one, more, in.v.features * sizeof *one), 0, "%s: %d threads", in.name, threads);
        free(more);
      }
      free(one);
      stage_input_free(&in);
    }
}

Test(columns, too_little_memory_is_an_error) {
  struct stage_input in;
  stage_input(&in, DATA_NORMAL, 3, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 40, 40);
  struct column c[40];
  char scratch[64];
  actscope_health health;
  cr_assert_eq(actscope_cpu_columns(&in.v, 2, scratch, sizeof scratch, c, &health), ACTSCOPE_WORKSPACE_TOO_SMALL);
  cr_assert(strlen(actscope_last_error()) > 0);
  stage_input_free(&in);
}
