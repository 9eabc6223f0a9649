/* test_cka.c - CKA between layers: what a layer keeps and the products of two, against the formula written out; and in a
 * plan, which layers have it. */
#include "api_calls.h"
#include "core/cka.h"
#include "stages.h"

TestSuite(cka, .timeout = 240);

/* |CKA| is at most 1, and what a layer keeps is rounded to float32 products: 1e-5, as include/actscope.h says. */
static const double bound = 1e-5;

static int keep(const struct view *v, int threads, int64_t bytes, float **kept) {
  struct column *columns = stage_columns(v, threads);
  struct stage_memory m;
  struct guarded g;
  int there = -1;
  guard_alloc(&g, cka_entries(v->samples) * sizeof(float), 4, 0, POISON_NAN);
  stage_memory(&m, actscope_cpu_cka_need(v->dtype, v->samples, v->features, threads), bytes);
  actscope_status status = actscope_cpu_cka(v, columns, threads, m.g.data, m.bytes, (float *)(void *)g.data, &there);
  cr_assert_eq(status, ACTSCOPE_OK, "%s", actscope_last_error());
  stage_memory_check(&m, "CKA");
  cr_assert_eq(guard_damage(&g), 0, "more was kept than there is room for");
  *kept = malloc(cka_entries(v->samples) * sizeof(float) + 1);
  memcpy(*kept, g.data, cka_entries(v->samples) * sizeof(float));
  guard_free(&g);
  free(columns);
  return there;
}

/* Two layers of the same samples. */
static void check(struct stage_input *a, struct stage_input *b, int threads) {
  struct compare c;
  float *kept[2];
  int there[2] = {keep(&a->v, threads, BEST, &kept[0]), keep(&b->v, threads, LEAST, &kept[1])};
  double want = ref_cka(&a->m, &b->m), got = NAN;
  if (there[0] && there[1]) got = actscope_cpu_cka_pair(kept[0], kept[1], a->v.samples);
  compare_begin(&c, "%s and %s, %d threads", a->name, b->name, threads);
  compare_value(&c, "CKA", got, want, bound, 0);
  if (there[0]) compare_value(&c, "CKA with itself", actscope_cpu_cka_pair(kept[0], kept[0], a->v.samples), 1, 1e-6, 0);
  CHECK(c);
  free(kept[0]);
  free(kept[1]);
}

static void run(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features,
                uint64_t others) {
  struct stage_input a, b;
  stage_input(&a, kind, samples * 31 + features, dtype, layout, samples, features);
  stage_input(&b, DATA_FACTORS, samples * 31 + features, ACTSCOPE_FLOAT32, LAYOUT_ROWS, samples, others);
  check(&a, &b, 1 + (int)(samples & 1));
  stage_input_free(&a);
  stage_input_free(&b);
}

ParameterizedTestParameters(cka, every_type_and_layout) { return instruction_sets(); }
ParameterizedTest(int *isa, cka, every_type_and_layout) {
  USE_INSTRUCTION_SET(*isa);
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int layout = 0; layout < LAYOUTS; ++layout) {
      run(DATA_FACTORS, (actscope_dtype)dtype, (enum data_layout)layout, 40, 90, 300);
      run(DATA_RELU, (actscope_dtype)dtype, (enum data_layout)layout, 91, 40, 20);
    }
}

ParameterizedTestParameters(cka, every_content) { return instruction_sets(); }
ParameterizedTest(int *isa, cka, every_content) {
  USE_INSTRUCTION_SET(*isa);
  for (int kind = 0; kind < DATA_KINDS; ++kind) {
    if (kind == DATA_SCALES) continue; /* one feature outweighs all others by so much that float32 loses them */
    run((enum data_kind)kind, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 50, 1500, 70);
    run((enum data_kind)kind, ACTSCOPE_BFLOAT16, LAYOUT_ROWS, 200, 50, 300);
    run((enum data_kind)kind, ACTSCOPE_FLOAT64, LAYOUT_COLUMNS, 70, 75, 70);
  }
}

ParameterizedTestParameters(cka, every_size) { return instruction_sets(); }
ParameterizedTest(int *isa, cka, every_size) {
  USE_INSTRUCTION_SET(*isa);
  static const uint64_t sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 47, 48, 49, 97, 130, 193, 257};
  for (int a = 0; a < 17; ++a)
    for (int b = 0; b < 17; ++b)
      if (sizes[a] * sizes[a] * sizes[b] < 2000000)
        run(DATA_FACTORS, ACTSCOPE_FLOAT32, (a + b) % 2 ? LAYOUT_COLUMNS : LAYOUT_ROWS, sizes[a], sizes[b], sizes[16 - b]);
}

Test(cka, threads_and_memory_do_not_change_a_bit) {
  struct stage_input in;
  stage_input(&in, DATA_FACTORS, 3, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 129, 3000);
  float *first, *other;
  cr_assert(keep(&in.v, 1, BEST, &first));
  for (int threads = 1; threads <= 4; ++threads)
    for (int bytes = LEAST; bytes <= BEST; ++bytes) {
      cr_assert(keep(&in.v, threads, bytes, &other));
      cr_assert_eq(memcmp(first, other, cka_entries(129) * sizeof *first), 0, "%d threads", threads);
      free(other);
    }
  free(first);
  stage_input_free(&in);
}

/* Samples that are all as far from each other: K is a multiple of 1 plus a constant, of which centring leaves nothing. */
Test(cka, no_direction) {
  enum { N = 33 };
  double x[N * N] = {0};
  struct laid_out t;
  struct view v;
  float *kept;
  for (int i = 0; i < N; ++i) x[i * N + i] = 3;
  data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, N, LAYOUT_ROWS);
  view_init(&v, &t.tensor, 0);
  cr_assert_eq(keep(&v, 2, BEST, &kept), 0);
  free(kept);
  data_free(&t);
}

/* A rotation, a scale and an offset change nothing; independent layers of many features are at 0, where the biased estimate
 * would be near 1. */
Test(cka, what_it_says) {
  enum { N = 64, D = 4000 };
  double *x = malloc(N * D * sizeof *x), *y = malloc(N * D * sizeof *y);
  struct random_state r = {5};
  struct laid_out t[3];
  struct view v[3];
  float *kept[3];
  for (int i = 0; i < N; ++i)
    for (int f = 0; f < D; ++f) x[i * D + f] = random_normal(&r);
  for (int i = 0; i < N; ++i)
    for (int f = 0; f < D; ++f) { /* neighbours turned by an angle */
      double a = x[i * D + (f & ~1)], b = x[i * D + (f | 1)], c = cos(0.1 * (f / 2)), s = sin(0.1 * (f / 2));
      y[i * D + f] = 40 + 7 * (f & 1 ? s * a + c * b : c * a - s * b);
    }
  data_lay_out(&t[0], x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  data_lay_out(&t[1], y, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  for (int k = 0; k < N * D; ++k) x[k] = random_normal(&r);
  data_lay_out(&t[2], x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  for (int k = 0; k < 3; ++k) {
    view_init(&v[k], &t[k].tensor, 0);
    cr_assert(keep(&v[k], 2, BEST, &kept[k]));
  }
  double same = actscope_cpu_cka_pair(kept[0], kept[1], N), other = actscope_cpu_cka_pair(kept[0], kept[2], N);
  cr_assert(fabs(same - 1) < bound, "turned: %g", same);
  cr_assert(fabs(other) < 0.1, "independent: %g", other); /* its standard deviation is sqrt(2)/N = 0.022 */
  for (int k = 0; k < 3; ++k) free(kept[k]), data_free(&t[k]);
  free(x);
  free(y);
}

/* ---- In a plan -------------------------------------------------------------------------------------------------------- */

enum { LAYERS = 6 };
struct network {
  struct stage_input in[LAYERS];
  actscope_layer layers[LAYERS];
  actscope_tensor tensors[LAYERS];
};
static void network(struct network *n) {
  static const uint64_t shapes[LAYERS][2] = {{60, 300}, {60, 70}, {40, 70}, {60, 11}, {60, 300}, {3, 50}};
  memset(n, 0, sizeof *n);
  for (int i = 0; i < LAYERS; ++i) {
    stage_input(&n->in[i], i == 1 ? DATA_SPECIALS : DATA_FACTORS, 7, ACTSCOPE_FLOAT32, LAYOUT_ROWS, shapes[i][0], shapes[i][1]);
    n->tensors[i] = n->in[i].t.tensor;
    n->layers[i] = (actscope_layer){"x", ACTSCOPE_FLOAT32, n->tensors[i].ndim, n->tensors[i].shape};
  }
  n->layers[4].role = ACTSCOPE_ROLE_GRADIENT;
}
static void network_free(struct network *n) {
  for (int i = 0; i < LAYERS; ++i) stage_input_free(&n->in[i]);
}
/* Which layers are compared, as bits. */
static void check_matrix(const struct network *n, actscope_plan *p, unsigned compared, const char *what) {
  double matrix[LAYERS * LAYERS];
  struct compare c;
  memset(matrix, POISON_NAN, sizeof matrix);
  ACCEPTED(actscope_plan_cka(p, matrix, LAYERS));
  compare_begin(&c, "%s", what);
  for (int i = 0; i < LAYERS; ++i)
    for (int j = 0; j < LAYERS; ++j) {
      int both = (compared >> i & 1) && (compared >> j & 1);
      double want = both ? i == j ? 1 : ref_cka(&n->in[i].m, &n->in[j].m) : NAN;
      compare_value(&c, "CKA", matrix[i * LAYERS + j], want, i == j ? 0 : bound, 0);
    }
  CHECK(c);
}

Test(cka, in_a_plan) {
  struct network n;
  actscope_options o = cpu_options();
  actscope_plan *p;
  double matrix[LAYERS * LAYERS];
  network(&n);
  o.statistics = ACTSCOPE_ALL | ACTSCOPE_CKA;
  ACCEPTED(actscope_plan_create(&p, n.layers, LAYERS, &o));
  REFUSED(actscope_plan_cka(p, matrix, LAYERS), ACTSCOPE_NOT_READY, "nothing was enqueued");
  REFUSED(actscope_plan_cka(p, matrix, LAYERS - 1), ACTSCOPE_INVALID_ARGUMENT, "5 layers");
  REFUSED(actscope_plan_cka(p, NULL, LAYERS), ACTSCOPE_INVALID_ARGUMENT, "matrix");
  REFUSED(actscope_plan_cka(NULL, matrix, LAYERS), ACTSCOPE_INVALID_ARGUMENT, "plan");
  ACCEPTED(actscope_plan_enqueue_layer(p, 0, &n.tensors[0], NULL));
  ACCEPTED(actscope_plan_enqueue_layer(p, 3, &n.tensors[3], NULL));
  check_matrix(&n, p, 1 | 8, "two layers so far");
  ACCEPTED(actscope_plan_enqueue(p, n.tensors, LAYERS, NULL));
  check_matrix(&n, p, 1 | 2 | 4 | 8, "all layers"); /* the gradient and the layer of three samples have none */
  actscope_tensor skipped[LAYERS];
  memcpy(skipped, n.tensors, sizeof skipped);
  skipped[0].data = NULL;
  ACCEPTED(actscope_plan_enqueue(p, skipped, LAYERS, NULL));
  check_matrix(&n, p, 1 | 2 | 4 | 8, "a skipped layer's last one");
  ACCEPTED(actscope_plan_reset(p));
  check_matrix(&n, p, 0, "after a reset");
  /* the reports are those of a plan without */
  actscope_plan *without;
  actscope_layer_report a, b;
  o.statistics = ACTSCOPE_ALL;
  ACCEPTED(actscope_plan_create(&without, n.layers, LAYERS, &o));
  ACCEPTED(actscope_plan_enqueue(without, n.tensors, LAYERS, NULL));
  ACCEPTED(actscope_plan_enqueue(p, n.tensors, LAYERS, NULL));
  for (size_t i = 0; i < LAYERS; ++i) {
    ACCEPTED(actscope_plan_report(p, i, &a));
    ACCEPTED(actscope_plan_report(without, i, &b));
    a.statistics = b.statistics;
    cr_assert(same_report(&a, &b), "layer %zu", i);
  }
  check_matrix(&n, without, 0, "not asked for");
  actscope_plan_destroy(without);
  actscope_plan_destroy(p);
  network_free(&n);
}

/* What is kept counts against the budget: as much as fits, in the order of the layers, and never a byte more. */
Test(cka, within_the_budget) {
  struct network n;
  actscope_options o = cpu_options();
  uint64_t least, without;
  network(&n);
  o.statistics = ACTSCOPE_CKA | ACTSCOPE_HEALTH;
  ACCEPTED(actscope_minimum_budget(n.layers, LAYERS, &o, &least));
  o.statistics = ACTSCOPE_HEALTH;
  ACCEPTED(actscope_minimum_budget(n.layers, LAYERS, &o, &without));
  cr_assert_eq(least, without, "CKA raises the least budget");
  o.statistics = ACTSCOPE_CKA | ACTSCOPE_HEALTH;
  unsigned last = 0, most = 1 | 2 | 4 | 8, between = 0;
  for (o.memory_budget = least; last != most; o.memory_budget += 4096) {
    actscope_plan *p;
    actscope_layer_report r;
    unsigned compared = 0;
    cr_assert_lt(o.memory_budget, least + (1 << 24), "never all");
    ACCEPTED(actscope_plan_create(&p, n.layers, LAYERS, &o));
    uint64_t before = actscope_memory_held();
    ACCEPTED(actscope_plan_enqueue(p, n.tensors, LAYERS, NULL));
    size_t workspace, held = actscope_memory_held() - before;
    ACCEPTED(actscope_plan_workspace(p, &workspace, NULL));
    cr_assert_leq(workspace, o.memory_budget);
    cr_assert_leq(held, o.memory_budget);
    for (size_t i = 0; i < LAYERS; ++i) {
      ACCEPTED(actscope_plan_report(p, i, &r));
      if (!(r.warnings & ACTSCOPE_WARN_NO_CKA)) compared |= (1u << i) & most;
    }
    between |= compared && compared != most;
    check_matrix(&n, p, compared, "a tight budget");
    last = compared;
    actscope_plan_destroy(p);
  }
  cr_assert(between, "all layers or none");
  network_free(&n);
}

Test(cka, shapes_change) {
  struct network n;
  actscope_options o = cpu_options();
  actscope_plan *p;
  network(&n);
  o.statistics = ACTSCOPE_CKA;
  actscope_layer other[LAYERS];
  int64_t shape[2] = {5, 9};
  memcpy(other, n.layers, sizeof other);
  other[0].shape = shape;
  other[0].ndim = 2;
  ACCEPTED(actscope_plan_create(&p, other, LAYERS, &o));
  ACCEPTED(actscope_plan_reshape(p, n.layers, LAYERS));
  ACCEPTED(actscope_plan_enqueue(p, n.tensors, LAYERS, NULL));
  check_matrix(&n, p, 1 | 2 | 4 | 8, "reshaped");
  shape[0] = CKA_SAMPLES_MOST + 1;
  REFUSED(actscope_plan_reshape(p, other, LAYERS), ACTSCOPE_UNSUPPORTED, "4096");
  check_matrix(&n, p, 1 | 2 | 4 | 8, "a refused change leaves it");
  actscope_plan_destroy(p);
  REFUSED(actscope_plan_create(&p, other, LAYERS, &o), ACTSCOPE_UNSUPPORTED, "CKA of 4097 samples: there may be 4096 at most");
  shape[0] = CKA_SAMPLES_MOST;
  ACCEPTED(actscope_plan_create(&p, other, LAYERS, &o));
  actscope_plan_destroy(p);
  network_free(&n);
}

/* Windows keep their states before it, and it is of the last step. */
Test(cka, beside_windows) {
  struct network n, later;
  actscope_options o = cpu_options();
  actscope_plan *p;
  network(&n);
  network(&later);
  stage_input_free(&later.in[0]);
  stage_input(&later.in[0], DATA_NORMAL, 99, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 60, 300);
  later.tensors[0] = later.in[0].t.tensor;
  o.statistics = ACTSCOPE_ALL | ACTSCOPE_CKA;
  o.window = 0;
  ACCEPTED(actscope_plan_create(&p, n.layers, LAYERS, &o));
  ACCEPTED(actscope_plan_enqueue(p, n.tensors, LAYERS, NULL));
  check_matrix(&n, p, 1 | 2 | 4 | 8, "the first step");
  ACCEPTED(actscope_plan_enqueue(p, later.tensors, LAYERS, NULL));
  check_matrix(&later, p, 1 | 2 | 4 | 8, "the second step");
  actscope_plan_destroy(p);
  network_free(&n);
  network_free(&later);
}
