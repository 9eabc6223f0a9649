/* test_similarity.c - the mean cosine between samples against all pairs one by one. */
#include "stages.h"

#include "core/similarity.h"

TestSuite(similarity, .timeout = 240);

static actscope_similarity stage_similarity(const struct view *v, int threads) {
  struct stage_memory m;
  actscope_similarity out;
  memset(&out, POISON_ODD, sizeof out);
  stage_memory(&m, actscope_cpu_similarity_need(v->dtype, v->samples, v->features, threads), LEAST);
  actscope_status status = actscope_cpu_similarity(v, threads, m.g.data, m.bytes, &out);
  cr_assert_eq(status, ACTSCOPE_OK, "%s", actscope_last_error());
  stage_memory_check(&m, "similarity");
  return out;
}

static void run(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features) {
  struct stage_input in;
  struct compare c;
  actscope_similarity want;
  stage_input(&in, kind, samples * 31 + features, dtype, layout, samples, features);
  actscope_similarity got = stage_similarity(&in.v, 1 + (int)(samples + features) % 2);
  ref_similarity(&in.m, &want);
  compare_begin(&c, "%s", in.name);
  compare_similarity(&c, &got, &want);
  cr_assert_eq(compare_end(&c), 0, "%s", c.text);
  stage_input_free(&in);
}

ParameterizedTestParameters(similarity, every_type_and_layout) { return instruction_sets(); }
ParameterizedTest(int *isa, similarity, every_type_and_layout) {
  USE_INSTRUCTION_SET(*isa);
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int layout = 0; layout < LAYOUTS; ++layout) {
      run(DATA_NORMAL, (actscope_dtype)dtype, (enum data_layout)layout, 40, 90);
      run(DATA_SPECIALS, (actscope_dtype)dtype, (enum data_layout)layout, 90, 41);
      run(DATA_RELU, (actscope_dtype)dtype, (enum data_layout)layout, 33, 1100);
    }
}

ParameterizedTestParameters(similarity, every_content) { return instruction_sets(); }
ParameterizedTest(int *isa, similarity, every_content) {
  USE_INSTRUCTION_SET(*isa);
  for (int kind = 0; kind < DATA_KINDS; ++kind) {
    run((enum data_kind)kind, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 50, 700);
    run((enum data_kind)kind, ACTSCOPE_BFLOAT16, LAYOUT_COLUMNS, 300, 20);
    run((enum data_kind)kind, ACTSCOPE_FLOAT64, LAYOUT_PADDED, 70, 75);
  }
}

ParameterizedTestParameters(similarity, every_size) { return instruction_sets(); }
ParameterizedTest(int *isa, similarity, every_size) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 511, 512, 513, 1025};
  for (int a = 0; a < 18; ++a)
    for (int b = 0; b < 18; ++b)
      if (sizes[a] * sizes[b] < 10000)
        run((a + b) % 3 ? DATA_NORMAL : DATA_CONSTANT_COLUMNS, (a + b) % 5 ? ACTSCOPE_FLOAT32 : ACTSCOPE_FLOAT64,
            (a + b) % 2 ? LAYOUT_COLUMNS : LAYOUT_ROWS, sizes[a], sizes[b]);
}

/* More samples than one group takes, in both layouts: integers on +-e_k, whose mean cosine is known. */
ParameterizedTestParameters(similarity, many_samples) { return instruction_sets(); }
ParameterizedTest(int *isa, similarity, many_samples) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t counts[] = {16384, 16385, 40000};
  for (int k = 0; k < 3; ++k)
    for (int columns = 0; columns < 2; ++columns) {
      uint64_t n = counts[k], d = 5, zero = 0, count[5] = {0};
      double *x = calloc(n * d, sizeof *x), square = 0, used;
      for (uint64_t s = 0; s < n; ++s)
        if (s % 97 == 0) ++zero; else ++count[s % 7 % d], x[s * d + s % 7 % d] = (double)(1 + s % 3);
      for (uint64_t f = 0; f < d; ++f) square += (double)count[f] * (double)count[f];
      used = (double)(n - zero);
      struct laid_out t;
      struct view v;
      data_lay_out(&t, x, ACTSCOPE_FLOAT32, n, d, columns ? LAYOUT_COLUMNS : LAYOUT_ROWS);
      view_init(&v, &t.tensor, 0);
      actscope_similarity got = stage_similarity(&v, 2);
      cr_expect_eq(got.zero_samples, zero);
      cr_expect_eq(got.nonfinite_samples, 0);
      double want = (square - used) / (used * (used - 1));
      cr_expect(fabs(got.mean_cosine - want) < 1e-12, "%llu samples: %.17g, want %.17g", (unsigned long long)n,
                got.mean_cosine, want);
      data_free(&t);
      free(x);
    }
}

/* Cases whose answer needs no arithmetic. */
Test(similarity, known_answers) {
  enum { N = 6, D = 40 };
  double x[N * D];
  struct laid_out t;
  struct view v;
  for (int k = 0; k < 6; ++k) {
    memset(x, 0, sizeof x);
    for (int s = 0; s < N; ++s)
      for (int f = 0; f < D; ++f)
        switch (k) {
          case 0: x[s * D + f] = (1 + s) * (f + 1); break;            /* one direction */
          case 1: x[s * D + f] = s == f ? 7 : 0; break;               /* orthogonal */
          case 2: x[s * D + f] = (s % 2 ? -1 : 1) * (f + 1); break;   /* two opposite halves */
          case 3: x[s * D + f] = s < 2 ? f + 1 : s == 2 && f == 3 ? NAN : s == 3 && f == 9 ? -INFINITY : 0; break;
          case 4: x[s * D + f] = s == 0 ? 1 : 0; break;               /* one sample is no pair */
          default: break;                                             /* zeros */
        }
    data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, k % 2 ? LAYOUT_ROWS : LAYOUT_COLUMNS);
    view_init(&v, &t.tensor, 0);
    actscope_similarity got = stage_similarity(&v, 1);
    static const double want[] = {1, 0, -1.0 / (N - 1), 1, NAN, NAN};
    static const uint64_t zero[] = {0, 0, 0, 2, N - 1, N}, bad[] = {0, 0, 0, 2, 0, 0};
    cr_expect(isnan(want[k]) ? isnan(got.mean_cosine) : fabs(got.mean_cosine - want[k]) < 1e-14, "case %d: %.17g", k,
              got.mean_cosine);
    cr_expect(got.mean_cosine != got.mean_cosine || (got.mean_cosine <= 1 && got.mean_cosine >= -1.0 / (N - 1)));
    cr_expect(got.zero_samples == zero[k] && got.nonfinite_samples == bad[k], "case %d: %llu zero, %llu not finite", k,
              (unsigned long long)got.zero_samples, (unsigned long long)got.nonfinite_samples);
    data_free(&t);
  }
}

/* All of float32's range has a direction, and what float64 cannot square counts as having none. */
Test(similarity, extremes) {
  static const struct {
    actscope_dtype dtype;
    double scale;
    uint64_t zero, bad;
  } cases[] = {{ACTSCOPE_FLOAT32, 1.4012984643248171e-45, 0, 0}, {ACTSCOPE_FLOAT32, 3e38, 0, 0},
               {ACTSCOPE_FLOAT64, 1e-140, 0, 0},  {ACTSCOPE_FLOAT64, 1e150, 0, 0},
               {ACTSCOPE_FLOAT64, 1e-150, 3, 0},  {ACTSCOPE_FLOAT64, 1e160, 0, 3}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k) {
    double a = cases[k].scale, x[9] = {a, 0, 0, a, a, 0, 0, a, a};
    struct laid_out t;
    struct view v;
    data_lay_out(&t, x, cases[k].dtype, 3, 3, LAYOUT_ROWS);
    view_init(&v, &t.tensor, 0);
    actscope_similarity got = stage_similarity(&v, 1);
    cr_expect(got.zero_samples == cases[k].zero && got.nonfinite_samples == cases[k].bad, "case %zu", k);
    double want = (sqrt(0.5) + 0 + 0.5) / 3;
    if (cases[k].zero || cases[k].bad) cr_expect(isnan(got.mean_cosine), "case %zu: %g", k, got.mean_cosine);
    else cr_expect(fabs(got.mean_cosine - want) < 1e-14, "case %zu: %.17g", k, got.mean_cosine);
    data_free(&t);
  }
}

Test(similarity, threads_do_not_change_a_bit) {
  static const uint64_t shapes[][2] = {{128, 5000}, {20000, 70}, {3, 30000}, {600, 600}};
  for (int k = 0; k < 4; ++k)
    for (int layout = 0; layout < 2; ++layout) {
      struct stage_input in;
      stage_input(&in, DATA_FACTORS, 3, ACTSCOPE_FLOAT32, layout ? LAYOUT_COLUMNS : LAYOUT_ROWS, shapes[k][0], shapes[k][1]);
      actscope_similarity first = stage_similarity(&in.v, 1);
      for (int threads = 2; threads <= 5; ++threads) {
        actscope_similarity other = stage_similarity(&in.v, threads);
        cr_assert_eq(memcmp(&first, &other, sizeof first), 0, "%s: %d threads", in.name, threads);
      }
      stage_input_free(&in);
    }
}

/* [2, 3, 4] with channels: the samples are batch and place. */
Test(similarity, channels) {
  float x[24];
  int64_t shape[3] = {2, 3, 4};
  for (int i = 0; i < 24; ++i) x[i] = (float)(i % 7) - 2;
  actscope_tensor t = {x, ACTSCOPE_FLOAT32, 3, shape, NULL};
  actscope_options o;
  actscope_layer_report r;
  struct ref_matrix m;
  actscope_similarity want;
  struct compare c;
  actscope_options_init(&o);
  o.device = ACTSCOPE_DEVICE_CPU;
  o.channels = 1;
  o.statistics = ACTSCOPE_SIMILARITY;
  cr_assert_eq(actscope_analyze(&t, &o, &r), ACTSCOPE_OK);
  ref_matrix_load(&m, &t, 1);
  ref_similarity(&m, &want);
  compare_begin(&c, "channels");
  compare_count(&c, "samples", r.samples, 8);
  compare_similarity(&c, &r.similarity, &want);
  cr_assert_eq(compare_end(&c), 0, "%s", c.text);
  ref_matrix_free(&m);
}

Test(similarity, scratch_that_is_too_small_is_refused) {
  float x[12] = {1};
  int64_t shape[2] = {3, 4};
  actscope_tensor t = {x, ACTSCOPE_FLOAT32, 2, shape, NULL};
  struct view v;
  actscope_similarity out;
  char scratch[64] __attribute__((aligned(64)));
  view_init(&v, &t, 0);
  cr_assert_eq(actscope_cpu_similarity(&v, 1, scratch, sizeof scratch, &out), ACTSCOPE_WORKSPACE_TOO_SMALL);
}
