/* stages.h - runs the feature side of the CPU backend, stage by stage, on guarded and poisoned memory. */
#ifndef STAGES_H
#define STAGES_H

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/gram.h"
#include "core/pairs.h"
#include "cpu/cpu.h"
#include "cpu/dispatch.h"
#include "reference/data.h"
#include "reference/reference.h"

/* The instruction sets, as parameters: plain numbers. A test process uses one. */
static inline struct criterion_test_params instruction_sets(void) {
  static int sets[] = {ISA_BASELINE, ISA_AVX2, ISA_AVX512, ISA_AVX512VNNI};
  return cr_make_param_array(int, sets, 4);
}
/* Lowers this process to an instruction set; 0 when the processor has not got it. */
static inline int use_instruction_set(int isa) {
  setenv("ACTSCOPE_ISA", actscope_cpu_isa_name(isa), 1);
  return actscope_cpu_isa() == isa;
}
#define USE_INSTRUCTION_SET(isa) \
  if (!use_instruction_set(isa)) cr_skip("this processor has no %s", actscope_cpu_isa_name(isa))

enum { BEST = -1, LEAST = -2 }; /* scratch bytes: what the stage asks for */

struct stage_memory {
  struct guarded g;
  uint64_t bytes;
};
static inline void stage_memory(struct stage_memory *m, struct cpu_need need, int64_t bytes) {
  cr_assert_leq(need.least, need.best);
  m->bytes = bytes == BEST ? need.best : bytes == LEAST ? need.least : (uint64_t)bytes;
  guard_alloc(&m->g, m->bytes, 64, 0, POISON_NAN);
}
static inline void stage_memory_check(struct stage_memory *m, const char *what) {
  cr_assert_eq(guard_damage(&m->g), 0, "%s wrote outside its scratch memory of %llu bytes", what,
               (unsigned long long)m->bytes);
  guard_free(&m->g);
}

/* The tensor's feature states; the caller frees them. */
static inline struct column *stage_columns(const struct view *v, int threads) {
  struct stage_memory m;
  struct column *c = calloc(v->features + 1, sizeof *c);
  memset(c, POISON_NAN, (v->features + 1) * sizeof *c);
  stage_memory(&m, actscope_cpu_columns_need(v->dtype, v->samples, v->features, threads), LEAST);
  actscope_health health, again;
  actscope_status status = actscope_cpu_columns(v, threads, m.g.data, m.bytes, c, &health);
  cr_assert_eq(status, ACTSCOPE_OK, "%s", actscope_last_error());
  columns_health(c, v->features, &again);
  cr_assert(health.constant == again.constant && health.nonfinite == again.nonfinite && health.dead == again.dead);
  cr_assert(v->features == 0 || health.active_fraction == again.active_fraction);
  cr_assert_eq(actscope_cpu_columns(v, threads, m.g.data, m.bytes, NULL, &health), ACTSCOPE_OK);
  cr_assert(health.constant == again.constant && health.nonfinite == again.nonfinite && health.dead == again.dead);
  for (size_t i = 0; i < sizeof *c; ++i)
    cr_assert_eq(((unsigned char *)&c[v->features])[i], POISON_NAN, "a state too many was written");
  stage_memory_check(&m, "columns");
  return c;
}

struct stage_pairs {
  actscope_correlation out;
  double square_sum;
  uint32_t warnings;
};
/* Those of test_feature_correlations.c aside. */
enum { OVER_ALL_PAIRS = ACTSCOPE_PAIRS_DEFAULT | ACTSCOPE_PAIRS_SIGNED };
static inline struct cpu_pairs_request exact_request(int threads) {
  return (struct cpu_pairs_request){ACTSCOPE_CORRELATION_EXACT, OVER_ALL_PAIRS, 0, 0, threads};
}
static inline struct stage_pairs stage_pairs(const struct view *v, const struct column *columns,
                                             struct cpu_pairs_request q, int64_t bytes) {
  struct stage_memory m;
  struct stage_pairs p;
  memset(&p, 0, sizeof p);
  stage_memory(&m, actscope_cpu_pairs_need(&q, v->dtype, v->samples, v->features), bytes);
  actscope_status status = actscope_cpu_pairs(v, columns, &q, m.g.data, m.bytes, &p.out, &p.square_sum, &p.warnings);
  cr_assert_eq(status, ACTSCOPE_OK, "%s", actscope_last_error());
  stage_memory_check(&m, "pairs");
  return p;
}

static inline void stage_gram(const struct view *v, const struct column *columns, int threads, int64_t bytes,
                              double *frobenius, double *rank) {
  struct stage_memory m;
  stage_memory(&m, actscope_cpu_gram_need(v->dtype, v->samples, v->features, threads), bytes);
  actscope_status status = actscope_cpu_gram(v, columns, threads, m.g.data, m.bytes, frobenius, rank);
  cr_assert_eq(status, ACTSCOPE_OK, "%s", actscope_last_error());
  stage_memory_check(&m, "gram");
}

/* A tensor in some layout, its view, and its values as the oracle sees them. */
struct stage_input {
  struct laid_out t;
  struct view v;
  struct ref_matrix m;
  char name[160];
};
static inline void stage_input(struct stage_input *in, enum data_kind kind, uint64_t seed, actscope_dtype dtype,
                               enum data_layout layout, uint64_t samples, uint64_t features) {
  double *x = malloc((samples * features + 1) * sizeof *x);
  data_fill(kind, seed, dtype, x, samples, features);
  data_lay_out(&in->t, x, dtype, samples, features, layout);
  free(x);
  view_init(&in->v, &in->t.tensor, 0);
  ref_matrix_load(&in->m, &in->t.tensor, 0);
  snprintf(in->name, sizeof in->name, "%s %s %s [%llu, %llu] on %s", data_kind_name(kind), data_dtype_name(dtype),
           data_layout_name(layout), (unsigned long long)samples, (unsigned long long)features,
           actscope_cpu_isa_name(actscope_cpu_isa()));
}
static inline void stage_input_free(struct stage_input *in) {
  cr_assert_eq(guard_damage(&in->t.memory), 0, "%s: the input was written to", in->name);
  data_free(&in->t);
  ref_matrix_free(&in->m);
}

#endif
