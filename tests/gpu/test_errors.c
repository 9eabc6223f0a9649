/* test_errors.c - how far single correlations are from float64 on this device: hard features, pair by pair, at few and at many
 * samples, by each kernel of pairs. Sim adds as IEEE 754 does; what tensor cores leave out as they add, and what adding their
 * accumulators up on the way saves, only a device shows: there the errors are told. */
#include "gpu/plan_tests.h"

enum { EACH = 6, ACROSS = 12, ERROR_KINDS = HARD_KINDS + 1 }; /* features of a kind, pairs of two kinds, and what they are counted as */

/* r of two columns of a row-major matrix; NaN where one is constant. */
static double r_of_columns(const double *x, uint64_t samples, uint64_t features, uint64_t a, uint64_t b) {
  long double mean[2] = {0, 0}, square[2] = {0, 0}, product = 0;
  for (uint64_t s = 0; s < samples; ++s) mean[0] += x[s * features + a], mean[1] += x[s * features + b];
  mean[0] /= samples, mean[1] /= samples;
  for (uint64_t s = 0; s < samples; ++s) {
    const long double p = x[s * features + a] - mean[0], q = x[s * features + b] - mean[1];
    square[0] += p * p, square[1] += q * q, product += p * q;
  }
  return square[0] > 0 && square[1] > 0 ? (double)(product / sqrtl(square[0] * square[1])) : NAN;
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
      const double r = r_of_columns(x, samples, D, a, b);
      if (isnan(r)) continue; /* dead ones */
      across += !same;
      kind_of[n->count] = same ? (int)(a / EACH) : HARD_KINDS;
      want[n->count] = fabs(r);
      for (uint64_t s = 0; s < samples; ++s) two[2 * s] = x[s * D + a], two[2 * s + 1] = x[s * D + b];
      network_add_values(n, same ? data_hard_name((enum data_hard)(a / EACH)) : "of two kinds", two, ACTSCOPE_FLOAT32, samples, 2, LAYOUT_ROWS);
    }
  actscope_options o = cuda_options();
  o.statistics = ACTSCOPE_CORRELATION;
  o.correlation = ACTSCOPE_CORRELATION_EXACT;
  actscope_plan *p = plan_of(n, &o);
  CHECK_STATUS(actscope_plan_enqueue(p, n->there, n->count, hook_stream(0)), ACTSCOPE_OK);
  CHECK_STATUS(actscope_plan_wait(p), ACTSCOPE_OK);
  /* three products hold 3e-6; tensor cores that truncate, emptied every TUNE_PAIRS_PROMOTE samples, 4e-6 of very many samples */
  const double bound = samples > 4096 ? 4e-6 : 3e-6;
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
