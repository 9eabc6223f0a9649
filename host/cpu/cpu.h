/* cpu.h - the stages of the CPU backend, as the plan calls them.
 *
 * A stage never allocates: it says how much scratch memory it needs at the least and at the best, and works with
 * whatever it is given in between (bytes >= least), stepping down where the best does not fit. Scratch is 64-byte
 * aligned and holds garbage on entry. Threads: OpenMP, always a team of `threads` (changing a team's size costs a
 * 4 ms tick), work cut by the data alone and merged in a fixed order, so that results do not depend on the count. */
#ifndef ACTSCOPE_CPU_H
#define ACTSCOPE_CPU_H

#include "core/columns.h"
#include "core/top.h"
#include "core/view.h"
#include "cpu/window.h"

struct cpu_need {
  uint64_t least, best; /* bytes; least <= best */
};

/* ---- profile.c: one read of the elements -------------------------------------------------------------------------- */
struct cpu_profile_request {
  uint32_t statistics; /* MOMENTS | ENTROPY | QUANTILES | DISTINCT; other bits ignored */
  actscope_distinct_method distinct; /* resolved: EXACT or SKETCH; narrow types are exact either way */
  int sketch_bits, threads;
  struct cpu_window *window; /* NULL, or the states so far, which this step joins: the numbers are then the window's */
  int windowed;              /* there is one, or will be when the stage runs */
};
struct cpu_need actscope_cpu_profile_need(const struct cpu_profile_request *q, actscope_dtype dtype, uint64_t elements);
/* Fills *profile (when a part of it is asked for; parts not asked for are NaN or 0) and *distinct (when asked for).
 * Sets ACTSCOPE_WARN_DISTINCT_PASSES and ACTSCOPE_WARN_NONFINITE in *warnings. */
actscope_status actscope_cpu_profile(const struct view *v, const struct cpu_profile_request *q, void *scratch,
                                     uint64_t bytes, actscope_profile *profile, actscope_distinct *distinct,
                                     uint32_t *warnings);

/* ---- columns.c: feature moments ------------------------------------------------------------------------------------ */
struct cpu_need actscope_cpu_columns_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads);
/* columns: features states, all written, or NULL: nobody wants them; health: what columns_health() would count, counted
 * while they are in the cache. */
actscope_status actscope_cpu_columns(const struct view *v, int threads, void *scratch, uint64_t bytes,
                                     struct column *columns, actscope_health *health);

/* ---- correlation.c: |r| over pairs ---------------------------------------------------------------------------------- */
struct cpu_pairs_request {
  actscope_correlation_method method; /* EXACT or SAMPLED */
  uint32_t functionals;               /* ACTSCOPE_PAIRS_... */
  uint64_t pairs, seed;               /* SAMPLED: pairs > 0; more than exist means all */
  int threads;
  struct cpu_window *window;          /* as above; *square_sum stays this step's */
  uint64_t step;                      /* SAMPLED: which pairs (core/pairs.h) */
  int same_pairs;                     /* SAMPLED: other steps of the window look at these too */
  actscope_precision precision;       /* FP16: z-scores of 16 bits, but for float64 */
  struct pairs_feature *features;     /* with ACTSCOPE_PAIRS_FEATURES: one a feature of the tensor, added to; NULL: not wanted */
  struct top_pairs *top;              /* empty; filled with the first top_most pairs (core/top.h); NULL: not wanted */
  uint64_t top_most;
  double top_above;                   /* 0, or only pairs with |r| above it */
};
struct cpu_need actscope_cpu_pairs_need(const struct cpu_pairs_request *q, actscope_dtype dtype, uint64_t samples,
                                        uint64_t features);
/* Fills *out; *square_sum receives sum r^2 over the pairs looked at (0 if none). Features that are not valid
 * (core/columns.h) are left out of everything. Sets ACTSCOPE_WARN_STRIPS in *warnings when z-scores were recomputed
 * strip by strip because scratch is less than the best. */
actscope_status actscope_cpu_pairs(const struct view *v, const struct column *columns,
                                   const struct cpu_pairs_request *q, void *scratch, uint64_t bytes,
                                   actscope_correlation *out, double *square_sum, uint32_t *warnings);

/* ---- spread.c: what the interval of a sample of pairs needs (core/spread.h) ------------------------------------------ */
struct random_permutation;
double actscope_cpu_spread(const struct view *v, const struct column *columns, const uint32_t *list, uint64_t valid,
                           uint64_t pairs, const struct random_permutation *order);

/* ---- gram.c: the smaller of K = Z Z^T and R = Z^T Z ----------------------------------------------------------------- */
struct cpu_need actscope_cpu_gram_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads);
/* *frobenius_square of that matrix; *effective_rank when not NULL. */
actscope_status actscope_cpu_gram(const struct view *v, const struct column *columns, int threads, void *scratch,
                                  uint64_t bytes, double *frobenius_square, double *effective_rank);

/* The products of the centred samples that CKA takes (core/cka.h): cka_entries(samples) floats in kept. *there is 0 where
 * the layer has none: too few samples, no valid feature, or no direction. */
struct cpu_need actscope_cpu_cka_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads);
actscope_status actscope_cpu_cka(const struct view *v, const struct column *columns, int threads, void *scratch,
                                 uint64_t bytes, float *kept, int *there);
double actscope_cpu_cka_pair(const float *a, const float *b, uint64_t samples);

/* ---- halves.c: correlations of the halves of the samples, against each other (core/halves.h) -------------------------- */
struct cpu_need actscope_cpu_halves_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads);
actscope_status actscope_cpu_halves(const actscope_tensor *t, int channels, int threads, void *scratch, uint64_t bytes,
                                    double *congruence, double *rms);

/* ---- shift.c: mean |r| of rotated samples (core/shift.h) --------------------------------------------------------------- */
struct cpu_need actscope_cpu_shift_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads);
actscope_status actscope_cpu_shift(const struct view *v, const struct column *columns, uint64_t seed, int threads, void *scratch,
                                   uint64_t bytes, double *floor);

/* ---- similarity.c: cosines between samples --------------------------------------------------------------------------- */
struct cpu_need actscope_cpu_similarity_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads);
actscope_status actscope_cpu_similarity(const struct view *v, int threads, void *scratch, uint64_t bytes,
                                        actscope_similarity *out);

#endif
