/* test_errors.c - how far single correlations are from float64: every pair of hard features, by itself, at few and at many
 * samples; and what a layer of all of them says. The largest error is told with --verbose; docs/correlation.md has the table. */
#include "stages.h"

TestSuite(errors, .timeout = 240);

/* The bound of fp32 quality on |r|, whatever the features. */
static const double bound = 3e-6;

static double r_of(const struct view *v, const struct column *columns) {
  return stage_pairs(v, columns, exact_request(1), BEST).out.max_abs;
}

static void worst_pair(enum data_hard kind, uint64_t samples, uint64_t features) {
  const char *name = data_hard_name(kind);
  struct laid_out t;
  struct ref_matrix m;
  struct view all;
  double *x = malloc(samples * features * sizeof *x), worst = 0;
  uint64_t pairs = 0, list[64], valid;
  data_fill_hard(kind, 21, x, samples, features);
  data_lay_out(&t, x, ACTSCOPE_FLOAT32, samples, features, LAYOUT_ROWS);
  ref_matrix_load(&m, &t.tensor, 0);
  valid = ref_valid_features(&m, list);
  for (uint64_t a = 0; a < valid; ++a)
    for (uint64_t b = a + 1; b < valid; ++b, ++pairs) {
      const int64_t shape[2] = {(int64_t)samples, 2}, strides[2] = {(int64_t)features, (int64_t)(list[b] - list[a])};
      const actscope_tensor two = {(const float *)t.tensor.data + list[a], ACTSCOPE_FLOAT32, 2, shape, strides};
      struct ref_matrix of;
      struct ref_correlation want;
      struct view v;
      view_init(&v, &two, 0);
      ref_matrix_load(&of, &two, 0);
      ref_correlate(&of, 0, NULL, 0, &want);
      struct column *columns = stage_columns(&v, 1);
      double off = fabs(r_of(&v, columns) - want.value.max_abs);
      worst = off > worst || off != off ? off : worst;
      free(columns);
      ref_matrix_free(&of);
    }
  cr_log_info("%s, %llu samples: max |error of r| %.1e over %llu pairs (%s)", name, (unsigned long long)samples, worst,
              (unsigned long long)pairs, actscope_cpu_isa_name(actscope_cpu_isa()));
  cr_assert(pairs > 0 && worst <= bound, "%s, %llu samples: a correlation is off by %g", name, (unsigned long long)samples, worst);
  /* all of them in tiles */
  struct ref_correlation want;
  view_init(&all, &t.tensor, 0);
  ref_correlate(&m, 0, NULL, 0, &want);
  struct column *columns = stage_columns(&all, 2);
  const actscope_correlation got = stage_pairs(&all, columns, exact_request(2), BEST).out;
  cr_assert(fabs(got.max_abs - want.value.max_abs) <= bound, "%s: max_abs %.9g, want %.9g", name, got.max_abs, want.value.max_abs);
  cr_assert(fabs(got.mean_abs - want.value.mean_abs) <= bound, "%s: mean_abs %.9g, want %.9g", name, got.mean_abs, want.value.mean_abs);
  free(columns);
  ref_matrix_free(&m);
  data_free(&t);
  free(x);
}

ParameterizedTestParameters(errors, of_single_correlations) { return instruction_sets(); }
ParameterizedTest(int *isa, errors, of_single_correlations) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t shapes[][2] = {{128, 40}, {1024, 30}, {65536, 9}};
  for (int k = 0; k < 3; ++k)
    for (int c = 0; c < HARD_KINDS; ++c) worst_pair((enum data_hard)c, shapes[k][0], shapes[k][1]);
}
