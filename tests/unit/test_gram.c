/* test_gram.c - the Gram matrix: its norm against the pairs, its eigenvalues against Jacobi rotations. */
#include "stages.h"

TestSuite(gram, .timeout = 240);

static void check(struct stage_input *in, int threads, int64_t bytes) {
  struct compare c;
  actscope_rank want, got;
  double frobenius, alone, rank;
  uint64_t *list = malloc((in->m.features + 1) * sizeof *list), valid = ref_valid_features(&in->m, list);
  struct column *columns = stage_columns(&in->v, threads);
  stage_gram(&in->v, columns, threads, bytes, &frobenius, &rank);
  stage_gram(&in->v, columns, threads, bytes, &alone, NULL);
  ref_rank(&in->m, &want);
  got.participation_ratio = gram_participation_ratio(frobenius, valid);
  got.effective_rank = rank;
  compare_begin(&c, "%s, %d threads", in->name, threads);
  compare_rank(&c, &got, &want);
  compare_value(&c, "norm alone", alone, frobenius, 0, 0);
  cr_assert_eq(compare_end(&c), 0, "%s", c.text);
  free(columns);
  free(list);
}

static void run(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features) {
  struct stage_input in;
  stage_input(&in, kind, samples * 31 + features, dtype, layout, samples, features);
  check(&in, 1, (samples ^ features) & 1 ? BEST : LEAST);
  stage_input_free(&in);
}

ParameterizedTestParameters(gram, every_type_and_layout) { return instruction_sets(); }
ParameterizedTest(int *isa, gram, every_type_and_layout) {
  USE_INSTRUCTION_SET(*isa);
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int layout = 0; layout < LAYOUTS; ++layout) {
      run(DATA_NORMAL, (actscope_dtype)dtype, (enum data_layout)layout, 40, 90);
      run(DATA_CONSTANT_COLUMNS, (actscope_dtype)dtype, (enum data_layout)layout, 90, 40);
    }
}

ParameterizedTestParameters(gram, every_content) { return instruction_sets(); }
ParameterizedTest(int *isa, gram, every_content) {
  USE_INSTRUCTION_SET(*isa);
  for (int kind = 0; kind < DATA_KINDS; ++kind) {
    run((enum data_kind)kind, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 50, 1500);
    run((enum data_kind)kind, ACTSCOPE_BFLOAT16, LAYOUT_ROWS, 1500, 50);
    run((enum data_kind)kind, ACTSCOPE_FLOAT64, LAYOUT_COLUMNS, 70, 75);
  }
}

ParameterizedTestParameters(gram, every_size) { return instruction_sets(); }
ParameterizedTest(int *isa, gram, every_size) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 31, 47, 48, 49, 97, 130, 193, 257, 1000};
  for (int a = 0; a < 16; ++a)
    for (int b = 0; b < 16; ++b)
      if ((sizes[a] < 140 || sizes[b] < 140) && sizes[a] * sizes[b] < 60000)
        run(DATA_FACTORS, ACTSCOPE_FLOAT32, (a + b) % 2 ? LAYOUT_COLUMNS : LAYOUT_ROWS, sizes[a], sizes[b]);
}

/* ||K||_F^2 = V + 2 sum of r^2 over the pairs: two ways to one number. */
ParameterizedTestParameters(gram, agrees_with_the_pairs) { return instruction_sets(); }
ParameterizedTest(int *isa, gram, agrees_with_the_pairs) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t shapes[][2] = {{128, 2000}, {2000, 128}, {500, 520}, {129, 4097}};
  for (int k = 0; k < 4; ++k) {
    struct stage_input in;
    stage_input(&in, DATA_HUBS, 7, ACTSCOPE_FLOAT32, LAYOUT_ROWS, shapes[k][0], shapes[k][1]);
    struct column *columns = stage_columns(&in.v, 2);
    struct stage_pairs p = stage_pairs(&in.v, columns, exact_request(2), BEST);
    double frobenius, want = (double)shapes[k][1] + 2 * p.square_sum;
    stage_gram(&in.v, columns, 2, BEST, &frobenius, NULL);
    cr_assert(fabs(frobenius - want) <= 1e-6 * want, "%s: %.12g, pairs say %.12g", in.name, frobenius, want);
    free(columns);
    stage_input_free(&in);
  }
}

Test(gram, threads_and_memory_do_not_change_a_bit) {
  static const uint64_t shapes[][2] = {{128, 3000}, {3000, 100}, {300, 301}};
  for (int k = 0; k < 3; ++k) {
    struct stage_input in;
    stage_input(&in, DATA_FACTORS, 3, ACTSCOPE_FLOAT32, LAYOUT_ROWS, shapes[k][0], shapes[k][1]);
    struct column *columns = stage_columns(&in.v, 2);
    double first[2], other[2];
    stage_gram(&in.v, columns, 1, BEST, &first[0], &first[1]);
    for (int threads = 1; threads <= 4; ++threads)
      for (int bytes = LEAST; bytes <= BEST; ++bytes) {
        stage_gram(&in.v, columns, threads, bytes, &other[0], &other[1]);
        cr_assert_eq(memcmp(first, other, sizeof first), 0, "%s: %d threads", in.name, threads);
      }
    free(columns);
    stage_input_free(&in);
  }
}

/* Spectra that are known: Walsh functions are uncorrelated (full rank), copies of one feature have rank 1. */
ParameterizedTestParameters(gram, predictable) { return instruction_sets(); }
ParameterizedTest(int *isa, gram, predictable) {
  USE_INSTRUCTION_SET(*isa);
  enum { N = 64, D = 60 };
  for (int copies = 1; copies <= D; copies *= 2) {
    double x[N * D], frobenius, rank;
    for (int s = 0; s < N; ++s)
      for (int f = 0; f < D; ++f) x[s * D + f] = __builtin_parity((unsigned)(s & (1 + f / copies))) ? 3 : -1;
    struct stage_input in;
    data_lay_out(&in.t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
    view_init(&in.v, &in.t.tensor, 0);
    struct column *columns = stage_columns(&in.v, 2);
    stage_gram(&in.v, columns, 2, BEST, &frobenius, &rank);
    double square = 0, entropy = 0;
    for (int f = 0; f < D; f += copies) {
      double group = D - f < copies ? D - f : copies;
      square += group * group;
      entropy -= group / D * log(group / D);
    }
    cr_assert(fabs(frobenius - square) <= 1e-6 * square, "%d copies: %.12g, want %.12g", copies, frobenius, square);
    cr_assert(fabs(rank - exp(entropy)) <= 1e-5 * exp(entropy), "%d copies: %.12g, want %.12g", copies, rank, exp(entropy));
    free(columns);
    data_free(&in.t);
  }
}
