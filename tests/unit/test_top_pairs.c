/* test_top_pairs.c - the pairs with the largest |r| against all pairs, one by one. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "core/top.h"
#include "cpu/dispatch.h"
#include "unit/api_calls.h"

TestSuite(top_pairs, .timeout = 240);

/* ---- The set that keeps them ------------------------------------------------------------------------------------------- */

static int in_order(const void *a, const void *b) { return top_before(a, b) ? -1 : top_before(b, a); }

Test(top_pairs, set_keeps_the_first) {
  enum { OFFERED = 3000 };
  static struct top_pair all[OFFERED];
  struct random_state r = {3};
  for (int k = 0; k < OFFERED; ++k) /* few values, so that the features decide often */
    all[k] = (struct top_pair){(uint32_t)(k % 60), (uint32_t)(100 + k / 60), floor(random_uniform(&r) * 40 - 20) / 20};
  for (uint64_t most = 0; most <= OFFERED + 10; most = most < 5 ? most + 1 : most * 3) {
    struct top_pairs *t = calloc(1, top_bytes(most));
    struct top_pair sorted[OFFERED];
    for (int k = 0; k < OFFERED; ++k) top_offer(t, most, all[(k * 1009 + 7) % OFFERED]);
    top_sort(t);
    memcpy(sorted, all, sizeof sorted);
    qsort(sorted, OFFERED, sizeof *sorted, in_order);
    cr_assert_eq(t->count, most < OFFERED ? most : OFFERED);
    cr_assert_eq(memcmp(t->pair, sorted, t->count * sizeof *sorted), 0, "the first %llu", (unsigned long long)most);
    free(t);
  }
}

/* ---- Of tensors ---------------------------------------------------------------------------------------------------------- */

static actscope_options top_options(int most, double above) {
  actscope_options o = cpu_options();
  o.statistics = ACTSCOPE_CORRELATION;
  o.pair_functionals = 0;
  o.memory_budget = 1ull << 30;
  o.top_pairs = most, o.pairs_above = above;
  return o;
}

struct listed {
  size_t count;
  uint64_t above;
  uint32_t warnings;
  actscope_pair *pair;
};
static struct listed listed_by(const actscope_tensor *t, const actscope_options *o) {
  actscope_plan *plan;
  actscope_layer layer = {"x", t->dtype, t->ndim, t->shape};
  actscope_layer_report r;
  struct listed l = {.pair = malloc(sizeof(actscope_pair) * ((size_t)o->top_pairs + 1))};
  memset(l.pair, POISON_ODD, sizeof(actscope_pair) * ((size_t)o->top_pairs + 1));
  ACCEPTED(actscope_plan_create(&plan, &layer, 1, o));
  ACCEPTED(actscope_plan_enqueue(plan, t, 1, NULL));
  ACCEPTED(actscope_plan_report(plan, 0, &r));
  ACCEPTED(actscope_plan_top_pairs(plan, 0, l.pair, (size_t)o->top_pairs, &l.count, &l.above));
  l.warnings = r.warnings;
  actscope_plan_destroy(plan);
  return l;
}

static int looked_at(const struct ref_pair *looked, uint64_t count, uint64_t i, uint64_t j) {
  for (uint64_t k = 0; k < count; ++k)
    if ((looked[k].i == i && looked[k].j == j) || (looked[k].i == j && looked[k].j == i)) return 1;
  return 0;
}

/* The list is sorted, its r are right, and nothing that is not in it comes before its last. */
static void check(struct compare *c, const struct ref_matrix *m, const struct listed *got, const actscope_options *o, double bound) {
  uint64_t *list = malloc((m->features + 1) * sizeof *list), valid = ref_valid_features(m, list), looked_count = 0;
  uint64_t surely = 0, perhaps = 0, pairs = 0, better = 0;
  struct ref_pair *looked = NULL;
  unsigned char *in = calloc(m->features * m->features + 1, 1);
  if (o->correlation == ACTSCOPE_CORRELATION_SAMPLED) {
    uint64_t all = valid * (valid - (valid > 0)) / 2;
    looked_count = o->pairs < all ? o->pairs : all;
    looked = malloc((looked_count + 1) * sizeof *looked);
    ref_sampled_pairs(valid, looked_count, o->seed, 0, looked);
  }
  const double last = got->count ? fabs(got->pair[got->count - 1].r) : 2;
  for (size_t k = 0; k < got->count; ++k) {
    const actscope_pair p = got->pair[k];
    compare_count(c, "i < j < features", p.i < p.j && p.j < m->features, 1);
    if (!(p.i < p.j && p.j < m->features)) break;
    compare_count(c, "twice", in[p.i * m->features + p.j]++, 0);
    compare_value(c, "r", p.r, ref_r(m, p.i, p.j), bound, 0);
    if (o->pairs_above > 0) compare_count(c, "above the limit", fabs(p.r) > o->pairs_above, 1);
    if (k == 0) continue;
    const struct top_pair a = {(uint32_t)got->pair[k - 1].i, (uint32_t)got->pair[k - 1].j, got->pair[k - 1].r};
    const struct top_pair b = {(uint32_t)p.i, (uint32_t)p.j, p.r};
    compare_count(c, "in order", (uint64_t)top_before(&a, &b), 1);
  }
  for (uint64_t i = 0; i < valid; ++i)
    for (uint64_t j = i + 1; j < valid; ++j) {
      if (looked && !looked_at(looked, looked_count, i, j)) continue;
      const double r = fabs(ref_r(m, list[i], list[j]));
      ++pairs;
      surely += r > o->pairs_above + bound, perhaps += r > o->pairs_above - bound;
      better += !in[list[i] * m->features + list[j]] && r > last + bound;
    }
  compare_count(c, "left out, and larger", better, 0);
  if (o->pairs_above > 0) {
    compare_between(c, "above", (double)got->above, (double)surely, (double)perhaps);
    compare_count(c, "count", got->count, got->above < (uint64_t)o->top_pairs ? got->above : (uint64_t)o->top_pairs);
    compare_count(c, "warning", (got->warnings & ACTSCOPE_WARN_TOP_PAIRS) != 0, got->above > (uint64_t)o->top_pairs);
  } else {
    compare_count(c, "above", got->above, 0);
    compare_count(c, "count", got->count, pairs < (uint64_t)o->top_pairs ? pairs : (uint64_t)o->top_pairs);
  }
  free(looked), free(list), free(in);
}

static void run(enum data_kind kind, actscope_dtype dtype, enum data_layout layout, uint64_t samples, uint64_t features,
                actscope_options o) {
  struct laid_out t;
  struct ref_matrix m;
  struct compare c;
  double *x = malloc((samples * features + 1) * sizeof *x);
  data_fill(kind, samples * 11 + features, dtype, x, samples, features);
  data_lay_out(&t, x, dtype, samples, features, layout);
  ref_matrix_load(&m, &t.tensor, 0);
  compare_begin(&c, "%s %s %s [%llu, %llu], %d above %g, on %s", data_kind_name(kind), data_dtype_name(dtype), data_layout_name(layout),
                (unsigned long long)samples, (unsigned long long)features, (int)o.top_pairs, o.pairs_above, actscope_cpu_isa_name(actscope_cpu_isa()));
  struct listed first = listed_by(&t.tensor, &o);
  check(&c, &m, &first, &o, 1e-11);
  for (int other = 0; other < 3; ++other) { /* other threads, the least memory, 16-bit products: the same bits */
    actscope_options p = o;
    actscope_layer layer = {"x", dtype, t.tensor.ndim, t.tensor.shape};
    p.threads = other ? 3 : 1;
    if (other == 1) ACCEPTED(actscope_minimum_budget(&layer, 1, &p, &p.memory_budget));
    if (other == 2) p.precision = ACTSCOPE_PRECISION_FP16;
    struct listed again = listed_by(&t.tensor, &p);
    compare_count(&c, "count again", again.count, first.count);
    compare_count(&c, "above again", again.above, first.above);
    compare_bytes(&c, other == 0 ? "one thread" : other == 1 ? "least memory" : "16 bits", again.pair, first.pair, first.count * sizeof *first.pair);
    free(again.pair);
  }
  CHECK(c);
  free(first.pair), free(x);
  ref_matrix_free(&m);
  data_free(&t);
}

Test(top_pairs, every_type_and_layout) {
  for (int dtype = ACTSCOPE_FLOAT32; dtype <= ACTSCOPE_FLOAT64; ++dtype)
    for (int layout = 0; layout < LAYOUTS; ++layout)
      run(layout % 2 ? DATA_CONSTANT_COLUMNS : DATA_FACTORS, (actscope_dtype)dtype, (enum data_layout)layout, 40, 61,
          top_options(17, layout % 3 ? 0 : 0.4));
}

Test(top_pairs, every_content) {
  for (int kind = 0; kind < DATA_KINDS; ++kind) {
    run((enum data_kind)kind, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 90, 70, top_options(40, 0));
    run((enum data_kind)kind, ACTSCOPE_FLOAT32, LAYOUT_ROWS, 20, 70, top_options(3000, 0.25));
    actscope_options sampled = top_options(25, kind % 2 ? 0 : 0.1);
    sampled.correlation = ACTSCOPE_CORRELATION_SAMPLED, sampled.pairs = 300, sampled.seed = 5;
    run((enum data_kind)kind, ACTSCOPE_FLOAT64, LAYOUT_ROWS, 30, 50, sampled);
  }
}

Test(top_pairs, every_size) {
  static const uint64_t shapes[][2] = {{2, 5}, {3, 1}, {3, 2}, {9, 48}, {9, 49}, {64, 193}, {300, 60}, {700, 210}, {20, 400}, {1, 6}};
  for (int isa = actscope_cpu_isa(); isa >= 0; --isa) {
    setenv("ACTSCOPE_ISA", actscope_cpu_isa_name(isa), 1);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k) {
      run(DATA_HUBS, k % 3 ? ACTSCOPE_FLOAT32 : ACTSCOPE_FLOAT64, LAYOUT_ROWS, shapes[k][0], shapes[k][1], top_options(1 + 10 * (int)k, 0));
      run(DATA_NORMAL, ACTSCOPE_FLOAT32, LAYOUT_COLUMNS, shapes[k][0], shapes[k][1], top_options(100, 0.2));
    }
  }
}

/* More pairs than are kept, all of one |r|: the features decide. A limit at an |r| that many have is not passed by them. */
Test(top_pairs, ties) {
  enum { N = 64, COPIES = 40, D = 3 * COPIES };
  double *x = malloc(sizeof *x * N * D);
  struct laid_out t;
  for (int s = 0; s < N; ++s)
    for (int f = 0; f < D; ++f) {
      int sign = __builtin_parity((unsigned)(s & (1 + f % 3))) ? -1 : 1; /* three Walsh functions, in turn */
      x[s * D + f] = f % 2 ? sign : -4 * sign;
    }
  data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  for (int threads = 1; threads <= 3; ++threads)
    for (int limit = 0; limit < 3; ++limit) {
      actscope_options o = top_options(100, limit == 0 ? 0 : limit == 1 ? 0.5 : 1);
      o.threads = threads;
      struct listed got = listed_by(&t.tensor, &o);
      size_t k = 0;
      cr_assert_eq(got.above, limit == 1 ? 3 * COPIES * (COPIES - 1) / 2 : 0, "%llu above", (unsigned long long)got.above);
      cr_assert_eq((got.warnings & ACTSCOPE_WARN_TOP_PAIRS) != 0, limit == 1);
      cr_assert_eq(got.count, limit == 2 ? 0 : 100);
      for (uint64_t i = 0; i < D && k < got.count; ++i)
        for (uint64_t j = i + 3; j < D && k < got.count; j += 3, ++k)
          cr_assert(got.pair[k].i == i && got.pair[k].j == j && got.pair[k].r == ((i ^ j) & 1 ? -1 : 1), "pair %zu: (%llu, %llu) %g", k,
                    (unsigned long long)got.pair[k].i, (unsigned long long)got.pair[k].j, got.pair[k].r);
      free(got.pair);
    }
  free(x);
  data_free(&t);
}

/* Two pairs whose |r| differ by less than the products see: float64 tells them apart. */
Test(top_pairs, closer_than_the_products) {
  enum { N = 2000, D = 40 };
  double *x = malloc(sizeof *x * N * D);
  struct laid_out t;
  struct ref_matrix m;
  struct random_state r = {9};
  struct compare c;
  for (int s = 0; s < N; ++s) {
    double shared = random_normal(&r);
    for (int f = 0; f < D; ++f) x[s * D + f] = 5 + shared + (1e-3 + 1e-9 * (D - f)) * random_normal(&r);
  }
  data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
  ref_matrix_load(&m, &t.tensor, 0);
  compare_begin(&c, "close");
  for (int most = 1; most < 800; most *= 5) {
    actscope_options o = top_options(most, most % 2 ? 0 : 0.999999);
    struct listed got = listed_by(&t.tensor, &o);
    check(&c, &m, &got, &o, 1e-12);
    free(got.pair);
  }
  CHECK(c);
  free(x);
  ref_matrix_free(&m);
  data_free(&t);
}

/* Of the last step, whatever the window. */
Test(top_pairs, of_windows_are_the_last_steps) {
  enum { N = 12, D = 23 };
  int64_t shape[] = {N, D};
  actscope_layer layer = {"x", ACTSCOPE_FLOAT32, 2, shape};
  actscope_options o = top_options(9, 0);
  actscope_plan *plan;
  o.window = 0, o.pair_functionals = ACTSCOPE_PAIRS_ALL;
  ACCEPTED(actscope_plan_create(&plan, &layer, 1, &o));
  for (uint64_t step = 0; step < 3; ++step) {
    double x[N * D];
    struct laid_out t;
    struct ref_matrix m;
    struct compare c;
    actscope_pair pair[9];
    struct listed got = {.pair = pair};
    data_fill(DATA_FACTORS, step, ACTSCOPE_FLOAT32, x, N, D);
    data_lay_out(&t, x, ACTSCOPE_FLOAT32, N, D, LAYOUT_ROWS);
    ref_matrix_load(&m, &t.tensor, 0);
    ACCEPTED(actscope_plan_enqueue(plan, &t.tensor, 1, NULL));
    ACCEPTED(actscope_plan_top_pairs(plan, 0, pair, 9, &got.count, &got.above));
    compare_begin(&c, "step %d", (int)step);
    check(&c, &m, &got, &o, 1e-11);
    CHECK(c);
    ref_matrix_free(&m);
    data_free(&t);
  }
  actscope_plan_destroy(plan);
}

Test(top_pairs, what_cannot_be_told) {
  int64_t shape[] = {6, 4}, nothing[] = {0, 4};
  float x[24];
  actscope_pair pair[8];
  size_t count = 99;
  uint64_t above = 99;
  for (int k = 0; k < 24; ++k) x[k] = (float)(k * k % 11);
  actscope_layer layers[] = {{"x", ACTSCOPE_FLOAT32, 2, shape}, {"empty", ACTSCOPE_FLOAT32, 2, nothing}};
  actscope_tensor t[] = {{x, ACTSCOPE_FLOAT32, 2, shape, NULL}, {NULL, ACTSCOPE_FLOAT32, 2, nothing, NULL}};
  actscope_options o = top_options(8, 0);
  actscope_plan *plan;
  ACCEPTED(actscope_plan_create(&plan, layers, 2, &o));
  REFUSED(actscope_plan_top_pairs(NULL, 0, pair, 8, &count, &above), ACTSCOPE_INVALID_ARGUMENT, "plan");
  REFUSED(actscope_plan_top_pairs(plan, 0, NULL, 8, &count, &above), ACTSCOPE_INVALID_ARGUMENT, "pairs");
  REFUSED(actscope_plan_top_pairs(plan, 2, pair, 8, &count, &above), ACTSCOPE_INVALID_ARGUMENT, "layer 2");
  REFUSED(actscope_plan_top_pairs(plan, 0, pair, 8, &count, &above), ACTSCOPE_NOT_READY, "x:");
  ACCEPTED(actscope_plan_enqueue(plan, t, 2, NULL));
  ACCEPTED(actscope_plan_top_pairs(plan, 0, NULL, 0, &count, NULL));
  cr_assert_eq(count, 6);
  memset(pair, POISON_ODD, sizeof pair);
  const actscope_pair before = pair[2];
  ACCEPTED(actscope_plan_top_pairs(plan, 0, pair, 2, NULL, &above));
  cr_assert(fabs(pair[0].r) >= fabs(pair[1].r) && memcmp(&pair[2], &before, sizeof before) == 0);
  ACCEPTED(actscope_plan_top_pairs(plan, 1, pair, 8, &count, &above));
  cr_assert(count == 0 && above == 0);
  actscope_plan_destroy(plan);
  o.correlation = ACTSCOPE_CORRELATION_GRAM;
  REFUSED(actscope_plan_create(&plan, layers, 2, &o), ACTSCOPE_UNSUPPORTED, "GRAM");
  o = top_options(0, 0);
  ACCEPTED(actscope_plan_create(&plan, layers, 2, &o));
  ACCEPTED(actscope_plan_enqueue(plan, t, 2, NULL));
  REFUSED(actscope_plan_top_pairs(plan, 0, pair, 8, &count, &above), ACTSCOPE_INVALID_ARGUMENT, "not asked for");
  actscope_plan_destroy(plan);
}
