/* test_errors.c - how far single correlations are from float64 on this device: hard features, pair by pair, at few and at many
 * samples, by each kernel of pairs. Sim adds as IEEE 754 does; what tensor cores leave out as they add, and what adding their
 * accumulators up on the way saves, only a device shows: there the errors are told. */
#include "gpu/plan_tests.h"
#include "reference/reference.h"

enum { EACH = 6, ACROSS = 12, ERROR_KINDS = HARD_KINDS + 1 }; /* features of a kind, pairs of two kinds, and what they are counted as */

/* r of two columns side by side; NaN where one is constant. */
static double r_of(const double *two, uint64_t samples) {
  const int64_t shape[2] = {(int64_t)samples, 2};
  const actscope_tensor t = {two, ACTSCOPE_FLOAT64, 2, shape, NULL};
  struct ref_matrix m;
  struct ref_correlation r;
  ref_matrix_load(&m, &t, 0);
  ref_correlate(&m, 0, NULL, 0, &r);
  ref_matrix_free(&m);
  return r.value.valid_features == 2 ? r.value.max_abs : NAN;
}

static void errors_at(uint64_t samples, const char *kernel) {
  enum { D = EACH * HARD_KINDS };
  double *x = malloc(samples * D * sizeof *x), *part = malloc(samples * EACH * sizeof *part), *two = malloc(samples * 2 * sizeof *two);
  double want[MOST], worst[ERROR_KINDS] = {0};
  int kind_of[MOST], pairs[ERROR_KINDS] = {0};
  for (int kind = 0; kind < HARD_KINDS; ++kind) {
    data_fill_hard((enum data_hard)kind, 21, part, samples, EACH);
    for (uint64_t i = 0; i < samples * EACH; ++i) x[i / EACH * D + (uint64_t)kind * EACH + i % EACH] = (float)part[i];
  }
  struct network *n = network_new();
  for (uint64_t a = 0, across = 0; a < D; ++a)
    for (uint64_t b = a + 1; b < D; ++b) {
      const int same = a / EACH == b / EACH;
      if (!same && (across >= ACROSS || (a * 7 + b) % 29 != 0)) continue;
      for (uint64_t s = 0; s < samples; ++s) two[2 * s] = x[s * D + a], two[2 * s + 1] = x[s * D + b];
      const double r = r_of(two, samples);
      if (isnan(r)) continue; /* dead ones */
      across += !same;
      kind_of[n->count] = same ? (int)(a / EACH) : HARD_KINDS;
      want[n->count] = r;
      network_add_values(n, same ? data_hard_name((enum data_hard)(a / EACH)) : "of two kinds", two, ACTSCOPE_FLOAT32, samples, 2, LAYOUT_ROWS);
    }
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_CORRELATION;
  o.correlation = ACTSCOPE_CORRELATION_EXACT;
  actscope_plan *p = plan_of(n, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  const double bound = 3e-6; /* of fp32 quality, whatever the features: docs/correlation.md */
  for (size_t i = 0; i < n->count; ++i) {
    actscope_layer_report got;
    CHECK_STATUS(actscope_plan_report(p, i, &got), ACTSCOPE_OK);
    const double off = fabs(got.correlation.max_abs - want[i]);
    note(off <= bound, __LINE__, "%s, %s, %llu samples: |r| %.9g is %.9g", kernel, n->names[i], (unsigned long long)samples,
         got.correlation.max_abs, want[i]);
    if (off > worst[kind_of[i]] || isnan(off)) worst[kind_of[i]] = off;
    ++pairs[kind_of[i]];
  }
  if (!hook_sim()) printf("  largest error of |r|, %s, %llu samples:", kernel, (unsigned long long)samples);
  for (int kind = 0; kind < ERROR_KINDS; ++kind) {
    CHECK(pairs[kind] > 5);
    if (!hook_sim()) printf(" %s %.1e%s", kind < HARD_KINDS ? data_hard_name((enum data_hard)kind) : "of two kinds", worst[kind], kind < HARD_KINDS ? "," : "\n");
  }
  plan_end(p);
  network_free(n);
  free(x), free(part), free(two);
}

/* Where there is no kernel of sm_90a, test_pairs_kernel() looks at what is said of it. */
static void errors_by(const char *kernel) {
  static const uint64_t samples[2][3] = {{128, 1024, 65536}, {128, 640}}; /* on a device, under sim */
  const char *name = "ACTSCOPE_CORRELATION_KERNEL", *was = getenv(name);
  char *before = was ? strdup(was) : NULL;
  int asked;
  setenv(name, kernel, 1);
  for (int k = 0; actscope_cuda_wants_wgmma(0, &asked) == ACTSCOPE_OK && k < (small ? 1 : hook_sim() ? 2 : 3); ++k)
    errors_at(samples[hook_sim()][k], kernel);
  if (before) setenv(name, before, 1); else unsetenv(name);
  free(before);
}

void test_errors(void) { errors_by("mma"); }
void test_errors_wgmma(void) { errors_by("wgmma"); }
