/* kernels.h - the host's entry points to the CUDA kernels.
 *
 * Rules for every function: pointers are device memory unless they are named host or are tables; work is queued on
 * `stream`, nothing waits and nothing is allocated, so everything may be captured in a graph. A return value is a
 * cudaError_t as int, 0 for success. States and counters must be zero before the first launch (one cudaMemsetAsync over
 * all of them); counters are left at zero, states are not.
 *
 * A stage takes many layers in one launch: the caller fills a table, which travels by value. A table is full when
 * ..._add returns 0; the caller then launches it and goes on with an empty one. */
#ifndef ACTSCOPE_KERNELS_H
#define ACTSCOPE_KERNELS_H

#include "core/cka.h"
#include "core/columns.h"
#include "core/gram.h"
#include "core/halves.h"
#include "core/histogram.h"
#include "core/pairs.h"
#include "core/shift.h"
#include "core/top.h"
#include "core/view.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- profile.cu: one read of all layers of one dtype ----------------------------------------------------------------
 * Counters of the value histogram are 32 bits wide; a layer of 2^32 elements or more has a second word a bin, behind
 * all the first ones, that counts their overflows. */
ACTSCOPE_FN int cuda_histogram_wide(uint64_t elements) { return elements >> 32 != 0; }
ACTSCOPE_FN uint64_t cuda_histogram_bytes(actscope_dtype dtype, uint64_t elements) {
  return (uint64_t)dtype_bins(dtype) * 4 * (cuda_histogram_wide(elements) ? 2 : 1);
}

#define CUDA_PROFILE_LAYERS 64
#define CUDA_PROFILE_AXES 128
struct cuda_profile_layer {
  const void *data;      /* lowest address */
  struct moments *moments; /* result; NULL for 8- and 16-bit types, whose histogram says everything */
  uint32_t *histogram;   /* NULL where neither quantiles nor a narrow type ask for it */
  uint32_t *sketch;      /* 2^sketch_bits words; NULL where not asked for */
  uint64_t elements, vectors, first_unit; /* 16-byte vectors; units of the layers before */
  uint32_t head;         /* elements before the first aligned vector */
  int16_t axis, dims;    /* strided layers: their axes in the table; dims 0: compact */
};
struct cuda_profile_table {
  actscope_dtype dtype;
  uint32_t statistics;   /* ACTSCOPE_MOMENTS | ENTROPY | QUANTILES | DISTINCT */
  int32_t sketch_bits, layers, axes;
  uint64_t units;        /* of all layers: 512 vectors each */
  struct cuda_profile_layer layer[CUDA_PROFILE_LAYERS];
  struct view_axis axis[CUDA_PROFILE_AXES];
};
/* An empty table. statistics: DISTINCT means the sketch; exact counts of wide types are distinct.cu's. */
void actscope_cuda_profile_begin(struct cuda_profile_table *table, actscope_dtype dtype, uint32_t statistics,
                                 int sketch_bits);
/* Adds a layer of the table's dtype, whose data is aligned to its elements' size; 0 when the table is full. */
int actscope_cuda_profile_add(struct cuda_profile_table *table, const struct view *v, struct moments *moments,
                              uint32_t *histogram, uint32_t *sketch);
/* Scratch of any table with these settings on the current device, in bytes. */
int actscope_cuda_profile_scratch(actscope_dtype dtype, uint32_t statistics, int sketch_bits, uint64_t *bytes);
/* counters: CUDA_PROFILE_LAYERS words. */
int actscope_cuda_profile(const struct cuda_profile_table *table, void *scratch, unsigned *counters,
                          struct CUstream_st *stream);

/* ---- distinct.cu: exact counts of the distinct values of float32 and float64 ----------------------------------------
 * A layer has memory for a hash set or a map of bits, which must be zero before the launch; where that is short, its
 * elements are read in several passes. How many depends on the numbers here alone. */
#define CUDA_DISTINCT_LAYERS 64
#define CUDA_DISTINCT_AXES 128
#define CUDA_DISTINCT_PASSES 64
struct cuda_distinct_shape {
  uint64_t slots;  /* keys of the set, bits of the map */
  uint64_t bytes;  /* of either: a multiple of 4, for float64 of 8 */
  uint32_t passes; /* 1 .. CUDA_DISTINCT_PASSES */
  int32_t map;
};
/* The shape for a layer with so many bytes at hand, which are actscope_cuda_distinct_least() or more: the fewest passes,
 * then the fewest bytes. More than actscope_cuda_distinct_best() are not used. elements must be above 0. */
struct cuda_distinct_shape actscope_cuda_distinct_shape(actscope_dtype dtype, uint64_t elements, uint64_t bytes);
uint64_t actscope_cuda_distinct_least(actscope_dtype dtype, uint64_t elements);
uint64_t actscope_cuda_distinct_best(actscope_dtype dtype, uint64_t elements);

struct cuda_distinct {      /* state; zero before the launch */
  unsigned long long count; /* result: distinct values; -0 is +0, all NaN are one */
  unsigned long long zero;  /* a zero was seen */
  unsigned long long part[CUDA_DISTINCT_PASSES]; /* new keys of each pass, where one may overflow: then the top bit is set */
};
struct cuda_distinct_layer {
  const void *data;
  uint64_t elements, vectors, first_unit;
  uint32_t head;
  int16_t axis, dims;
  struct cuda_distinct_shape shape;
  void *memory;             /* shape.bytes, aligned to 16 */
  struct cuda_distinct *state;
};
struct cuda_distinct_table {
  actscope_dtype dtype;
  int32_t layers, axes;
  uint64_t units;
  struct cuda_distinct_layer layer[CUDA_DISTINCT_LAYERS];
  struct view_axis axis[CUDA_DISTINCT_AXES];
};
void actscope_cuda_distinct_begin(struct cuda_distinct_table *table, actscope_dtype dtype);
/* Adds a layer of the table's dtype, FLOAT32 or FLOAT64, whose data is aligned to its elements' size; 0 when the table is
 * full. */
int actscope_cuda_distinct_add(struct cuda_distinct_table *table, const struct view *v, struct cuda_distinct_shape shape,
                               void *memory, struct cuda_distinct *state);
int actscope_cuda_distinct(const struct cuda_distinct_table *table, struct CUstream_st *stream);

/* ---- Layers of the stages that look at features ----------------------------------------------------------------------
 * Filled by actscope_cuda_layers_add from a view; the caller then sets the pointers of the stages it will run. */
#define CUDA_LAYERS 48
#define CUDA_AXES 160
#define CUDA_STRIP 128
struct cuda_clock; /* below */
struct cuda_features { /* of a layer: what select found */
  uint64_t valid, constant, nonfinite, dead;
};
struct cuda_similarity { /* of a layer: |sum of unit samples|^2, and the samples that took part and that are zero */
  double square;
  uint64_t used, zero;
};
struct cuda_halves { /* of a layer, zero before; sums over the ordered pairs of features, of which one is not with itself */
  double product, first, second; /* r1 r2, r1^2, r2^2 of the two halves */
  uint64_t valid;                /* features that are valid in both */
  struct pairs spare;            /* what the pairs of a half add up to */
};
struct cuda_shift { /* of a layer, zero before: the pairs within groups of rotated features, and how many they are */
  struct pairs pairs;
  uint64_t count;
};
/* The pairs with the largest |r| (top.cu). How far |r| of the products may be from r in float64: z-scores are rounded by
 * 2^-11 of themselves, by 2^-22 in three products, which leave out another 2^-22; tensor cores truncate at each of 32 steps
 * between promotions, and the rest adds up in float32. Means and norms are of doubles. */
ACTSCOPE_FN double cuda_r_error(int three, uint64_t samples) {
  return (three ? 4 * 2.4e-7 : 2 * 4.9e-4 + 1e-6) + 40 * 2.4e-7 + (double)samples / 512 * 1.2e-7 + 1e-6;
}
struct cuda_candidate { uint32_t i, j; float product; }; /* positions in the pairs' order */
struct cuda_top {
  struct pairs spare;       /* what the products add up to when they are made again */
  float low;                /* products from here on are candidates, .. */
  float near_low, near_high; /* .. and those about the limit, above which they are counted; 2: there is none */
  uint32_t reserved;
  unsigned long long count, above; /* candidates, also those without room; pairs above the limit */
  struct cuda_candidate candidate[];
};
struct cuda_top_told { /* in pinned memory */
  uint64_t sequence;   /* 0 while the rest is being written, and written last */
  uint64_t count, above; /* as above */
  struct top_pair pair[];
};
#define CUDA_TOP_ROOM 131072
ACTSCOPE_FN uint64_t cuda_top_room(uint64_t features) {
  return pairs_total(features) < CUDA_TOP_ROOM ? pairs_total(features) : CUDA_TOP_ROOM;
}
ACTSCOPE_FN uint64_t cuda_top_bytes(uint64_t features) {
  return sizeof(struct cuda_top) + cuda_top_room(features) * sizeof(struct cuda_candidate);
}
ACTSCOPE_FN uint64_t cuda_top_told_bytes(uint64_t features) {
  return sizeof(struct cuda_top_told) + cuda_top_room(features) * sizeof(struct top_pair);
}
struct cuda_layer {
  const void *data;
  uint64_t samples, features;
  int32_t dtype, features_adjacent;      /* neighbours in memory: features, else samples */
  int16_t sample_axis, sample_dims, feature_axis, feature_dims; /* in the table */
  /* columns, select */
  struct column *columns;                /* features states */
  const struct column *other_columns;    /* features have to be valid in these as well; NULL: none */
  struct cuda_features *features_out;
  uint32_t *list;                        /* features entries: position in the pairs' order -> feature */
  uint32_t *order;                       /* the same size, scratch; only for sampled layers */
  uint64_t pairs_wanted, seed;           /* 0: every pair; else the first so many in shuffled order .. */
  const struct cuda_clock *clock;        /* .. of this step; NULL: of the first */
  /* standardise: rows first_row .. first_row + rows - 1 of the order, all of them unless the caller narrows it to a strip.
   * Strips begin at multiples of CUDA_STRIP; every pair of strips, each with itself included, gives the integers of one
   * launch over all rows. */
  uint64_t first_row, rows;
  const double *unscaled;                /* NULL; else values are (x - mean) times this and the root of samples, not z-scores */
  uint16_t *z_hi, *z_lo;                 /* rows x pitch of binary16; z_lo NULL: one product */
  float *weight;                         /* rows */
  const uint32_t *rotation;              /* a row each: sample s stands at (s + rotation) mod samples; NULL: at s */
  uint32_t pitch;                        /* actscope_cuda_pitch(samples) */
  uint32_t stride;                       /* between rows of z: pitch, unless they are parts of longer ones */
  /* correlation: pairs between the rows above and, unless other_hi is NULL, those of a second strip */
  uint32_t functionals;                  /* ACTSCOPE_PAIRS_... */
  uint64_t other_first, other_rows;
  const uint16_t *other_hi, *other_lo;
  const float *other_weight;
  struct pairs *pairs;                   /* added to */
  unsigned long long *feature_sum;       /* features entries, by position in the pairs' order: sum of |r| in 2^-32, .. */
  unsigned *feature_max;                 /* .. and bits of the largest |r|: added to; both NULL unless FEATURES is asked for */
  float *square;                         /* spread: SPREAD_SIDE^2, scratch; only for sampled layers */
  struct cuda_top *top;                  /* cuda_top_bytes(); NULL unless the pairs with the largest |r| are wanted */
  struct cuda_top_told *top_out;
  double top_above;                      /* 0, or only pairs with |r| above it */
  uint32_t top_most;                     /* how many */
  int32_t top_emits;                     /* the products are made again, for the candidates alone */
  struct pairs *all_pairs;               /* the caller's: it launches a second time with this as pairs, for every pair */
  float *feature_gram;                   /* valid x valid, the matrix of r itself; NULL unless wanted, for few features, .. */
  int32_t matrix_wanted;                 /* .. or where there is no memory for it: the kernel of pairs does not depend on that */
  /* gram. Over several strips: one launch a strip, in order, each adding to the parts; the last one makes the results. */
  float *gram_parts;                     /* actscope_cuda_gram_parts() bytes; NULL: all rows at once, parts in scratch */
  int32_t gram_begins, gram_ends;        /* of several strips: the first, the last */
  float *gram;                           /* samples x samples; NULL where only the norm is asked for */
  float *triangle;                       /* NULL; else the entries above the diagonal go there, row after row (core/cka.h) */
  double *frobenius_square;              /* of the Gram matrix, whose trace is the number of valid features; NULL: not wanted */
  struct cuda_halves *halves;            /* not NULL: rows are z-scores of one half of the samples, then, from second_half on,
                                            of the other; samples is pitch, and half_samples are theirs. The sums alone. */
  uint32_t second_half, half_samples[2];
  /* eigen: of gram, else of feature_gram */
  double *effective_rank;                /* NaN where no feature is valid; NULL: not wanted */
  /* similarity */
  double *unit;                          /* samples: 1/norm; 0 for a zero sample, -1 for one that is not finite */
  struct cuda_similarity *similarity;
  /* set at each launch */
  uint32_t first_block, first_counter;
  uint64_t first_partial;
};
struct cuda_layers {
  int32_t layers, axes;
  struct cuda_layer layer[CUDA_LAYERS];
  struct view_axis axis[CUDA_AXES];
};
void actscope_cuda_layers_begin(struct cuda_layers *layers);
/* NULL when the table is full. features must be below 2^32. */
struct cuda_layer *actscope_cuda_layers_add(struct cuda_layers *layers, const struct view *v);
uint32_t actscope_cuda_pitch(uint64_t samples); /* binary16 values between two rows of z */

/* ---- standardise.cu: columns, then select, then standardise -------------------------------------------------------- */
/* Scratch and counter words that columns and standardise need for this table. */
void actscope_cuda_standardise_scratch(const struct cuda_layers *layers, uint64_t *bytes, uint64_t *counters);
/* The same for standardise alone. */
void actscope_cuda_scores_scratch(const struct cuda_layers *layers, uint64_t *bytes, uint64_t *counters);
int actscope_cuda_columns(const struct cuda_layers *layers, void *scratch, unsigned *counters, struct CUstream_st *stream);
int actscope_cuda_select(const struct cuda_layers *layers, struct CUstream_st *stream);
int actscope_cuda_standardise(const struct cuda_layers *layers, void *scratch, unsigned *counters, struct CUstream_st *stream);

/* ---- correlation.cu: |r| over the pairs of all layers, into layer.pairs ---------------------------------------------
 * Layers of one launch are computed in the precision of the finest (z_lo not NULL in any: three products for those that
 * have it). layer.pairs->count stays 0: it is min(pairs_wanted, all) and known from `valid`. */
int actscope_cuda_correlation(const struct cuda_layers *layers, struct CUstream_st *stream);
/* correlation_wgmma.cu: the same on compute capability 9.0, in a build with machine code for sm_90a (elsewhere it does
 * nothing), for layers that have neither feature_gram nor top. The same pairs; sums agree to rounding. Layers share launches by
 * the length of their samples. */
int actscope_cuda_correlation_wgmma(const struct cuda_layers *layers, struct CUstream_st *stream);

/* ---- spread.cu: pairs->feature_share of the sampled layers; rows 0 and on, the first strip's. A counter a layer. ------- */
int actscope_cuda_spread(const struct cuda_layers *layers, unsigned *counters, struct CUstream_st *stream);

/* ---- top.cu: the pairs with the largest |r|, of layers with `top`. After their products with feature_max: the limit, the
 * products again with top_emits (and without feature sums, into top->spare), then r of the candidates, into top_out. ------- */
int actscope_cuda_top_limit(const struct cuda_layers *layers, struct CUstream_st *stream);
int actscope_cuda_top_exact(const struct cuda_layers *layers, struct CUstream_st *stream);

/* ---- nulls.cu: what there is beyond noise -------------------------------------------------------------------------------
 * Halves: sums over the matrices of r of two halves, valid x valid (feature_gram of each); the samples' side is gram.cu's.
 * A counter a layer. Shift: who is in which group of rotated features, each of which the caller then takes as a layer. ------ */
struct cuda_halves_layer {
  const float *r[2];
  const struct cuda_features *features_out;
  struct cuda_halves *halves;
};
struct cuda_halves_table {
  int32_t layers;
  struct cuda_halves_layer layer[CUDA_LAYERS];
};
uint64_t actscope_cuda_halves_scratch(int layers);
int actscope_cuda_halves(const struct cuda_halves_table *table, void *scratch, unsigned *counters, struct CUstream_st *stream);
struct cuda_shift_layer {
  const struct cuda_features *features_out; /* of the layer */
  const uint32_t *list;                     /* its valid features in their order */
  uint64_t samples, seed, groups, room;     /* groups there may be, and rows of each: shift_group(features, samples) */
  struct cuda_features *group_out;          /* of each group: valid is its rows, or 0 */
  uint32_t *members, *rotation;             /* groups x room: features, and how far each is rotated */
  struct cuda_shift *shift;                 /* its count is set */
};
struct cuda_shift_table {
  int32_t layers;
  struct cuda_shift_layer layer[CUDA_LAYERS];
};
int actscope_cuda_shift_choose(const struct cuda_shift_table *table, struct CUstream_st *stream);

/* ---- gram.cu: the samples' side of all layers, for samples <= valid features; the features' side has
 * ||R||^2 = valid + 2 sum r^2, which correlation.cu gives ------------------------------------------------------------- */
void actscope_cuda_gram_scratch(const struct cuda_layers *layers, uint64_t *bytes, uint64_t *counters);
uint64_t actscope_cuda_gram_parts(const struct cuda_layer *layer);
int actscope_cuda_gram(const struct cuda_layers *layers, void *scratch, unsigned *counters, struct CUstream_st *stream);

/* ---- cka.cu: what layers keep for CKA, and CKA of each two (core/cka.h) ------------------------------------------------------ */
#define CUDA_CKA_SIDE 4       /* layers of a block, down and across */
#define CUDA_CKA_COLUMNS 64   /* layers that those just measured are compared with, of a launch */
#define CUDA_CKA_PART 16384   /* entries of a block, about; .. */
#define CUDA_CKA_SPLITS 64    /* .. and the most blocks that share two layers */
struct cuda_cka_words { /* on the device, all 0 at first */
  unsigned long long begun;
  unsigned long long mark[]; /* of each compared layer */
};
struct cuda_cka_told { /* in pinned memory, all 0 at first: then marks of the layers (8 bytes) and CKA of each two (float) */
  uint64_t begun, done;
};
ACTSCOPE_FN uint64_t cuda_cka_words_bytes(uint64_t layers) { return sizeof(struct cuda_cka_words) + layers * 8; }
ACTSCOPE_FN uint64_t cuda_cka_told_bytes(uint64_t layers) {
  return sizeof(struct cuda_cka_told) + layers * 8 + layers * (layers - 1) / 2 * sizeof(float);
}
ACTSCOPE_FN uint64_t *cuda_cka_there(struct cuda_cka_told *told) { return (uint64_t *)(told + 1); }
ACTSCOPE_FN float *cuda_cka_values(struct cuda_cka_told *told, uint64_t layers) { return (float *)(cuda_cka_there(told) + layers); }
ACTSCOPE_FN uint64_t cuda_cka_at(uint64_t i, uint64_t j) { return i > j ? i * (i - 1) / 2 + j : j * (j - 1) / 2 + i; }
struct cuda_cka_totals { double total, before, scale; };
struct cuda_cka_layer {
  uint64_t samples, features;
  const struct column *columns;
  double *unscaled;                 /* set by begin, for standardise */
  float *kept;                      /* cka_entries(samples); gram's triangle, before keep */
  double *sums, *partial;           /* samples, actscope_cuda_cka_partial(): scratch */
  struct cuda_cka_totals *totals;   /* the same */
  const struct cuda_clock *clock;
  unsigned long long *mark;
};
struct cuda_cka_table {
  int32_t layers;
  struct cuda_cka_words *words;
  struct cuda_cka_told *told;
  struct cuda_cka_layer layer[CUDA_LAYERS];
};
uint64_t actscope_cuda_cka_partial(uint64_t samples);
int actscope_cuda_cka_begin(const struct cuda_cka_table *table, struct CUstream_st *stream);
int actscope_cuda_cka_keep(const struct cuda_cka_table *table, unsigned *counters, struct CUstream_st *stream); /* one a layer */
struct cuda_cka_side {
  const float *kept;
  const unsigned long long *mark;
  uint32_t index, samples;          /* among the compared layers */
  int32_t measured;                 /* of a column: it is a row, too */
};
struct cuda_cka_pairs {
  int32_t rows, columns;
  uint64_t layers;                  /* compared, of the plan */
  struct cuda_cka_words *words;
  struct cuda_cka_told *told;
  struct cuda_cka_side row[CUDA_LAYERS], column[CUDA_CKA_COLUMNS];
  uint32_t first_partial[CUDA_LAYERS / CUDA_CKA_SIDE]; /* set at each launch */
};
/* Of each row: scratch bytes and counters. */
void actscope_cuda_cka_scratch(uint64_t samples, uint64_t *bytes, uint64_t *counters);
int actscope_cuda_cka_pairs(struct cuda_cka_pairs *table, void *scratch, unsigned *counters, struct CUstream_st *stream);
/* After all columns: the host may read. */
int actscope_cuda_cka_tell(const struct cuda_cka_pairs *table, struct CUstream_st *stream);

/* ---- eigen.cu: effective rank from the eigenvalues of gram (samples x samples) or feature_gram (valid x valid) -------
 * Sides up to CUDA_EIGEN_SIDE, where one multiprocessor takes some milliseconds; a fixed amount of work, the same bits every
 * time. Scratch: the sum over the layers that want it. */
#define CUDA_EIGEN_SIDE 512
int actscope_cuda_eigen_scratch(uint64_t side, uint64_t *bytes); /* of one layer, on the current device */
int actscope_cuda_eigen(const struct cuda_layers *layers, void *scratch, struct CUstream_st *stream);

/* ---- window.cu, finish.cu: what a plan keeps on the device from enqueue to enqueue -------------------------------------- */
struct cuda_clock { /* of a layer; starts at 0 */
  unsigned long long sequence; /* enqueues, this one included */
  unsigned long long steps;    /* of its window, this one included */
  unsigned long long windows;  /* the header's, as last seen */
};
struct cuda_correlations { /* in pinned memory: of a layer's features, as of the report of that sequence */
  uint64_t sequence;         /* 0 while the rest is being written, and written last */
  float of[];                /* mean |r| of every feature, then the largest */
};
ACTSCOPE_FN uint64_t cuda_correlations_bytes(uint64_t features) { return sizeof(struct cuda_correlations) + features * 8; }
struct cuda_window_state { /* of a layer with a window: what window_begin clears at a first step and finish adds to */
  struct moments moments;
  struct pairs pairs;
  unsigned long long pairs_total, constant, nonfinite, dead, zero_samples, nonfinite_samples;
  double square_sum, participation_sum, effective_sum, cosine_sum, half_sum, half_rms_sum, shift_sum; /* over the steps .. */
  unsigned long long square_steps, participation_steps, effective_steps, cosine_steps, half_steps, half_rms_steps, shift_steps; /* .. that had one */
};
struct cuda_report_header { /* in the host's pinned memory */
  uint64_t sequence;    /* written last: how many groups of layers are complete */
  uint64_t alarm;       /* sequence of a layer << 24 | its index: the first with a NaN or an infinity; ~0: none */
  uint64_t alarm_of;    /* the number of alarm resets that it comes after */
  uint64_t windows, alarms; /* the host's: how often windows were begun anew, and the alarm was reset */
};
struct cuda_finish_words { /* in device memory; all start at 0 but alarm, which starts at ~0 */
  unsigned long long step, alarm, alarms; /* alarms: the header's, as last seen */
  unsigned done, reserved;
};

/* ---- window.cu: clocks, and states that outlive a step ------------------------------------------------------------------ */
#define CUDA_WINDOW_LAYERS 48
struct cuda_window_layer {
  actscope_dtype dtype;
  int32_t sketch_bits, step_wide;      /* step_wide: step_counts has second words (cuda_histogram_wide) */
  uint64_t samples, features;
  struct cuda_clock *clock;
  struct cuda_window_state *kept;      /* NULL, as all below: reports of one step */
  uint32_t *counts;                    /* 2 dtype_bins() words, as a wide histogram's */
  uint32_t *words;
  struct column *columns;
  const uint32_t *step_counts, *step_words; /* of this step */
  const struct column *step_columns;
};
struct cuda_window_table {
  int32_t layers;
  uint64_t window;                     /* steps of a window; 0: until a reset */
  struct cuda_window_layer layer[CUDA_WINDOW_LAYERS];
};
/* Before anything else of the layers' step: moves their clocks on, begins windows. header is pinned memory. */
int actscope_cuda_window_begin(const struct cuda_window_table *table, struct cuda_finish_words *words,
                               const struct cuda_report_header *header, struct CUstream_st *stream);
/* After the step's stages and before finish: the arrays of the window. */
int actscope_cuda_window_merge(const struct cuda_window_table *table, struct CUstream_st *stream);

/* ---- similarity.cu: |sum of the samples divided by their norms|^2 of all layers, into layer.similarity --------------- */
void actscope_cuda_similarity_scratch(const struct cuda_layers *layers, uint64_t *bytes, uint64_t *counters);
int actscope_cuda_similarity(const struct cuda_layers *layers, void *scratch, unsigned *counters, struct CUstream_st *stream);

/* ---- finish.cu: states to reports -------------------------------------------------------------------------------------- */
struct cuda_report { /* in the host's pinned memory; sections not asked for are 0 */
  actscope_profile profile;
  actscope_distinct distinct;
  actscope_health health;
  actscope_correlation correlation;
  actscope_rank rank;
  actscope_similarity similarity;
  uint64_t nonfinite; /* 1 when there was a NaN or an infinity */
  uint64_t steps;     /* that the report covers */
  uint64_t sequence;  /* the layer's; 0 while the rest is being written, and written last */
};
#define CUDA_FINISH_LAYERS 128
struct cuda_finish_layer {
  actscope_dtype dtype;
  actscope_correlation_method correlation; /* EXACT, SAMPLED or GRAM */
  uint32_t statistics, functionals;
  int32_t sketch_bits, wide;            /* wide: histogram has second words */
  int32_t same_pairs;                   /* SAMPLED: all steps of the window look at the same */
  uint64_t elements, samples, features, pairs_wanted; /* of one step */
  const struct moments *moments;        /* wide types; of this step */
  const uint32_t *histogram, *sketch;   /* of the window, where there is one; sketch NULL: distinct_count */
  const unsigned long long *distinct_count; /* of wide types, counted exactly */
  const struct cuda_features *features_out; /* NULL: no section about features */
  const struct pairs *pairs;
  const double *frobenius_square, *effective_rank; /* NULL where not computed */
  const struct pairs *all_pairs;        /* beside a sample: every pair, for the norm; NULL where not computed */
  const struct cuda_halves *halves;     /* NULL where not computed, as the next */
  const struct cuda_shift *shift;
  const struct cuda_clock *clock;
  const struct cuda_similarity *similarity; /* NULL where not computed */
  const unsigned long long *feature_sum;    /* of this step, by position; NULL, as all four, where not asked for */
  const unsigned *feature_max;
  const uint32_t *list;
  struct pairs_feature *correlations;       /* a feature each: of the window so far, joined by this step */
  struct cuda_correlations *correlations_out;
  const struct cuda_top *top;               /* NULL where not asked for */
  struct cuda_top_told *top_out;
  struct cuda_window_state *kept;       /* NULL: reports of one step */
  struct cuda_report *report;           /* of `history` reports: sequence s goes to report[s % history * stride] */
  uint64_t *newest;                     /* in pinned memory: sequence of the newest one */
};
struct cuda_finish_table {
  int32_t layers;
  uint32_t history;
  uint64_t stride;        /* reports from one of a layer to its next */
  uint64_t first_layer;   /* index of layer[0] in call order; .. */
  uint32_t index[CUDA_FINISH_LAYERS]; /* .. and of each, from there */
  struct cuda_finish_layer layer[CUDA_FINISH_LAYERS];
};
int actscope_cuda_finish(const struct cuda_finish_table *table, struct cuda_finish_words *words,
                         struct cuda_report_header *header, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif
#endif
