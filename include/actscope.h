/* actscope.h - what flows through a neural network while it trains.
 *
 * Introduction
 *   actscope measures tensors of activations or gradients: moments and special values, quantiles, entropy, distinct
 *   values, dead and constant features, correlations between all pairs of features, the rank of their correlation
 *   matrix, and the similarity of the samples. It never stores that matrix, and it never uses more working memory than
 *   the caller allows.
 *
 *   A tensor of shape [N, ...] holds N samples (axis 0) of D features (the other axes, flattened): [128, 512, 4, 4] is
 *   N = 128, D = 8192. With `channels` set, the features are axis 1 and every other axis counts as samples.
 *
 *   Three ways in, from simple to complete:
 *     actscope_analyze()                       one tensor, one call, one report
 *     actscope_plan_create() .. _enqueue() ..  many layers, decided once, run often, inside one workspace
 *     the program `actscope report FILE`       no code at all
 *
 * Rules that hold for every function
 *   - Functions return an actscope_status; ACTSCOPE_OK is 0 and the numbers never change. The text of the last failure
 *     on the calling thread is actscope_last_error(). The library never prints, exits or raises a signal.
 *   - Counts and indices are 64 bits wide. Strides are in elements, as in DLPack, and may be zero or negative.
 *   - A number that does not exist (the variance of one value, the mean |r| of one feature) is NaN in a report.
 *   - Streams come last and are `struct CUstream_st *`, which is cudaStream_t: no CUDA header is needed here.
 *   - A handle belongs to one thread at a time; different handles may be used by different threads at once.
 *   - Results are deterministic: the same input, options and device give the same bits, however many threads run.
 *     Integer results (counts, histograms, distinct states, pair indices) are the same bits on every backend.
 *
 * This header compiles alone as C99, C11 and C++11.
 */
#ifndef ACTSCOPE_H
#define ACTSCOPE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ACTSCOPE_API __attribute__((visibility("default")))
#else
#define ACTSCOPE_API
#endif

struct CUstream_st; /* cudaStream_t is a pointer to this */

/* ---- Version ----------------------------------------------------------------------------------------------------- */

#define ACTSCOPE_VERSION_MAJOR 0
#define ACTSCOPE_VERSION_MINOR 1
#define ACTSCOPE_VERSION_PATCH 0
#define ACTSCOPE_VERSION_STRING "0.1.0"

/* The version of the library that is running, "MAJOR.MINOR.PATCH". Never NULL. */
ACTSCOPE_API const char *actscope_version(void);

/* ---- Status and errors ------------------------------------------------------------------------------------------- */

typedef enum actscope_status {
  ACTSCOPE_OK = 0,
  ACTSCOPE_INVALID_ARGUMENT = 1,    /* a NULL, a shape, an option outside its range */
  ACTSCOPE_UNSUPPORTED = 2,         /* well-formed, but this build or device cannot do it */
  ACTSCOPE_OUT_OF_MEMORY = 3,       /* the system or the device refused an allocation */
  ACTSCOPE_BUDGET_TOO_SMALL = 4,    /* no method fits memory_budget; actscope_minimum_budget() names what would */
  ACTSCOPE_WORKSPACE_TOO_SMALL = 5, /* the caller's workspace is smaller than actscope_plan_workspace() asked for */
  ACTSCOPE_NOT_READY = 6,           /* enqueued work has not finished yet, or nothing was enqueued */
  ACTSCOPE_NO_DEVICE = 7,           /* the requested device is not there */
  ACTSCOPE_DEVICE_ERROR = 8,        /* the device reported an execution error; the text names the layer */
  ACTSCOPE_INTERNAL = 9             /* a bug in actscope; please report the text */
} actscope_status;

/* The constant's name, "ACTSCOPE_OK" and so on; "ACTSCOPE_STATUS_UNKNOWN" for any other number. Never NULL. */
ACTSCOPE_API const char *actscope_status_name(actscope_status status);

/* What went wrong in the last failing call on this thread, one line without a newline; "" if nothing did.
 * The text stays valid until the next actscope call on this thread. */
ACTSCOPE_API const char *actscope_last_error(void);

/* ---- Tensors ----------------------------------------------------------------------------------------------------- */

typedef enum actscope_dtype {
  ACTSCOPE_FLOAT32 = 0,
  ACTSCOPE_FLOAT16 = 1,
  ACTSCOPE_BFLOAT16 = 2,
  ACTSCOPE_FLOAT8_E4M3 = 3, /* the "fn" variant of OCP: no infinities, NaN is 0x7f and 0xff */
  ACTSCOPE_FLOAT8_E5M2 = 4,
  ACTSCOPE_FLOAT64 = 5
} actscope_dtype;

/* "float32", "float16", "bfloat16", "float8_e4m3", "float8_e5m2", "float64"; "unknown" for any other number. */
ACTSCOPE_API const char *actscope_dtype_name(actscope_dtype dtype);

/* Bytes of one element: 4, 2, 2, 1, 1, 8; 0 for any other number. */
ACTSCOPE_API size_t actscope_dtype_size(actscope_dtype dtype);

#define ACTSCOPE_MAX_DIMS 16

/* A view of the caller's data. Nothing is copied; the data must stay valid and unchanged until the work that reads it
 * has finished. Element (i0, i1, ...) lies at data[i0*strides[0] + i1*strides[1] + ...], in elements, not bytes.
 * ndim 0 is one element; ndim 1 is N samples of one feature; an extent of 0 makes an empty tensor, which is valid. */
typedef struct actscope_tensor {
  const void *data;       /* NULL only where the tensor is empty, or to skip a layer in actscope_plan_enqueue() */
  actscope_dtype dtype;
  int32_t ndim;           /* 0 .. ACTSCOPE_MAX_DIMS */
  const int64_t *shape;   /* ndim extents, each >= 0, their product below 2^62; may be NULL when ndim is 0 */
  const int64_t *strides; /* ndim strides in elements; NULL means compact row-major */
} actscope_tensor;

/* ---- Options ----------------------------------------------------------------------------------------------------- */

typedef enum actscope_device {
  ACTSCOPE_DEVICE_AUTO = 0, /* a usable GPU, else the CPU */
  ACTSCOPE_DEVICE_CPU = 1,
  ACTSCOPE_DEVICE_CUDA = 2
} actscope_device;

/* What to measure: a bit mask. ACTSCOPE_PROFILE is the three parts that one read of the tensor gives. */
enum {
  ACTSCOPE_MOMENTS = 1,   /* counts of special values, extrema, mean to kurtosis, norms */
  ACTSCOPE_ENTROPY = 2,   /* entropy of |x| as a distribution over the elements */
  ACTSCOPE_QUANTILES = 4, /* from the value histogram */
  ACTSCOPE_PROFILE = 7,
  ACTSCOPE_DISTINCT = 8,
  ACTSCOPE_HEALTH = 16,
  ACTSCOPE_CORRELATION = 32,
  ACTSCOPE_RANK = 64,
  ACTSCOPE_SIMILARITY = 128, /* of samples */
  ACTSCOPE_ALL = 255,        /* every section of a report */
  ACTSCOPE_CKA = 256         /* beside them: keeps what actscope_plan_cka() compares layers by */
};

/* Functionals of r beyond mean |r|, mean r^2 and the largest |r|, which always come: a bit mask. */
enum {
  ACTSCOPE_PAIRS_ABOVE = 1,     /* shares of pairs above the thresholds */
  ACTSCOPE_PAIRS_HISTOGRAM = 2, /* 64 counts of |r| over [0, 1] */
  ACTSCOPE_PAIRS_DEFAULT = 3,
  ACTSCOPE_PAIRS_SIGNED = 4,    /* the mean of r itself */
  ACTSCOPE_PAIRS_FEATURES = 8,  /* of each feature: keeps what actscope_plan_feature_correlations() tells, 24 bytes a feature */
  ACTSCOPE_PAIRS_ALL = 15,
  /* beside them, at a cost of their own */
  ACTSCOPE_PAIRS_SPLIT_HALF = 16, /* the halves of the samples against each other */
  ACTSCOPE_PAIRS_SHIFT = 32       /* a noise floor of rotated samples */
};

typedef enum actscope_correlation_method {
  ACTSCOPE_CORRELATION_AUTO = 0,    /* exact while N*D^2 <= 1e13 and time_budget allows, else sampled; exact all the same where
                                       a sample would be every pair or, within 1e13, take no less time by the plan's model */
  ACTSCOPE_CORRELATION_EXACT = 1,   /* every pair of features */
  ACTSCOPE_CORRELATION_SAMPLED = 2, /* `pairs` pairs without replacement, with a 95 % interval: those that options.seed and
                                       the report's sequence choose, on every backend, replays of a graph included */
  ACTSCOPE_CORRELATION_GRAM = 3     /* mean r^2 only, exactly, from the Gram matrix: no pairs at all */
} actscope_correlation_method;

typedef enum actscope_distinct_method {
  ACTSCOPE_DISTINCT_AUTO = 0,  /* exact for 8- and 16-bit types and, in windows of 1, for up to 65,536 elements; else
                                  sketch */
  ACTSCOPE_DISTINCT_EXACT = 1, /* of 32- and 64-bit types only in windows of 1: a set cannot be carried over */
  ACTSCOPE_DISTINCT_SKETCH = 2 /* 2^sketch_bits words of 32 bits; 8- and 16-bit types stay exact: they cost no more */
} actscope_distinct_method;

typedef enum actscope_precision {
  ACTSCOPE_PRECISION_FP32 = 0, /* fp32 quality: three fp16 products on a GPU. On the CPU fp32 products; where EXACT takes 4,096
                                  to 131,072 valid features, at least 64 samples and asks for nothing of single features or
                                  pairs, products of 16-bit integers whose errors average out in the means (below 1e-6), the
                                  largest |r| again in fp32: only a pair closer than 1e-4 to a threshold or to an edge of the
                                  histogram may be counted beyond it */
  ACTSCOPE_PRECISION_FP16 = 1  /* one product of 16-bit z-scores: fp16 on a GPU, where single r are off by 3e-5 (standard
                                  deviation), integers on the CPU, 2e-5; means by far less. float64 on the CPU stays */
} actscope_precision;

typedef enum actscope_log_level {
  ACTSCOPE_LOG_ERROR = 0,
  ACTSCOPE_LOG_WARNING = 1,
  ACTSCOPE_LOG_INFO = 2,
  ACTSCOPE_LOG_DEBUG = 3
} actscope_log_level;

/* One line, without a newline. Called on the thread that called actscope, never from a worker. */
typedef void (*actscope_log_function)(void *user, actscope_log_level level, const char *message);

typedef struct actscope_options {
  size_t size;                /* sizeof(actscope_options), set by actscope_options_init() */
  actscope_device device;     /* AUTO */
  int32_t device_index;       /* 0: which GPU */
  int32_t threads;            /* 0: as many CPU threads as OpenMP would use */
  uint64_t memory_budget;     /* 256 MiB: hard cap in bytes on working memory beside the input */
  uint32_t statistics;        /* ACTSCOPE_ALL */
  uint32_t pair_functionals;  /* ACTSCOPE_PAIRS_DEFAULT */
  actscope_correlation_method correlation; /* AUTO */
  uint64_t pairs;             /* Pair budget of SAMPLED: so many, or every pair if there are fewer. 0: 2^24, or where AUTO samples
                                 under a time_budget what that allows, 2^16 .. 2^24: then it differs from
                                 device to device, and by threads */
  uint64_t seed;              /* 0: every random choice derives from it, and from the number of the layer's enqueue */
  int32_t same_pairs;         /* 0: SAMPLED looks at other pairs at every enqueue; non-zero: at those of the first, so that
                                 two steps differ by their activations alone */
  actscope_precision precision; /* FP32 */
  actscope_distinct_method distinct; /* AUTO */
  int32_t sketch_bits;        /* 12: 4 .. 18 */
  int32_t channels;           /* 0; non-zero: features = axis 1, samples = all other axes together */
  uint64_t large_tensor;      /* 10,000,000: warn from this many elements on */
  int32_t window;             /* 1: enqueues of a layer that one report covers ("Windows" below); 0: all since a reset */
  int32_t history;            /* 1: finished reports kept of each layer, 1 .. 1024 */
  int32_t graph;              /* 0. Non-zero: a CUDA plan records an enqueue of all layers once and launches it as one graph
                                 from then on, updating it where tensors have moved; the CPU pays no attention */
  int32_t top_pairs;          /* 0. K, up to 65,536: keeps the K pairs of features with the largest |r|, exactly, for
                                 actscope_plan_top_pairs(). Not with GRAM (UNSUPPORTED). A GPU makes the products twice */
  double pairs_above;         /* 0. Else, up to 1: of those, only pairs with |r| above it; all there are are counted */
  double time_budget;         /* 0: none. Seconds that AUTO lets a layer's correlations take, by the plan's model: where every pair
                                 takes longer it samples, and where nothing it may do is quick enough the report has
                                 ACTSCOPE_WARN_TIME_BUDGET */
  actscope_log_function log;  /* NULL */
  void *log_user;             /* handed to log */
  actscope_log_level log_level; /* INFO: messages above it are not made */
} actscope_options;

/* Fills every field with the default above. */
ACTSCOPE_API void actscope_options_init(actscope_options *options);

/* ---- Reports ----------------------------------------------------------------------------------------------------- */

#define ACTSCOPE_QUANTILE_COUNT 7
#define ACTSCOPE_THRESHOLD_COUNT 5
#define ACTSCOPE_PAIR_BINS 64
#define ACTSCOPE_VALUE_BUCKETS 225 /* 112 of each sign and the zeros */

/* The levels 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99 and the thresholds 0.5, 0.7, 0.9, 0.95, 0.99. */
ACTSCOPE_API extern const double actscope_quantile_levels[ACTSCOPE_QUANTILE_COUNT];
ACTSCOPE_API extern const double actscope_pair_thresholds[ACTSCOPE_THRESHOLD_COUNT];

/* All numbers but the first five counts are over the finite values; zero, negative and subnormal count finite values. */
typedef struct actscope_profile {
  uint64_t count; /* elements */
  uint64_t finite, nan, positive_inf, negative_inf;
  uint64_t zero, negative, subnormal; /* -0 is a zero and not negative */
  double min, max, mean;
  double variance; /* unbiased, n - 1 */
  double std;
  double skewness; /* g1 = m3 / m2^1.5 */
  double kurtosis; /* excess, g2 = m4 / m2^2 - 3 */
  double abs_mean, abs_max, l2_norm;
  double entropy; /* -sum p ln p with p = |x| / sum |x|, over ln n: 0 (one element holds all) .. 1 (all equal) */
  double quantiles[ACTSCOPE_QUANTILE_COUNT]; /* the smallest v with at least q*n values <= v: exact for 8- and 16-bit
                                                types, within 2^-8 relative for the others */
  uint64_t buckets[ACTSCOPE_VALUE_BUCKETS];  /* of the finite values, in ascending order, half an octave each; exact. All 0
                                                where quantiles were not asked for. actscope_value_edge() has the limits */
} actscope_profile;

/* The lower limit, in magnitude, of buckets 112 + k and 112 - k, which hold the positive and the negative v with
 * edge(k) <= |v| < edge(k + 1): 2^-40, 1.5 * 2^-40, 2^-39, 1.5 * 2^-39, .. for k = 1, 2, 3, 4, ..; k = 113 is the upper limit of
 * the last, 2^16. The first bucket of a sign holds what is smaller too, the last what is larger. Bucket 112 holds the zeros.
 * 0 for k < 1, infinity for k > 113. */
ACTSCOPE_API double actscope_value_edge(int k);

typedef struct actscope_distinct {
  actscope_distinct_method method; /* EXACT or SKETCH: what was done */
  uint64_t count;                  /* -0 equals +0; all NaN are one value */
  double relative_standard_error;  /* 0 when exact */
  uint64_t lower, upper;           /* 95 % interval; both equal count when exact */
  double redundancy;               /* 1 - count / elements */
} actscope_distinct;

/* Counts of features. */
typedef struct actscope_health {
  uint64_t constant;      /* all samples finite and equal */
  uint64_t nonfinite;     /* at least one NaN or infinity */
  uint64_t dead;          /* never above 1e-6 in absolute value */
  double active_fraction; /* 1 - dead / features */
} actscope_health;

/* Over pairs of valid features: those neither constant nor non-finite. */
typedef struct actscope_correlation {
  actscope_correlation_method method; /* EXACT, SAMPLED or GRAM: what was done */
  uint64_t pairs;          /* looked at; GRAM counts all of them */
  uint64_t pairs_total;    /* valid_features * (valid_features - 1) / 2 */
  uint64_t valid_features;
  double mean_abs;         /* mean |r|; NaN for GRAM, and so are the fields below that need single pairs */
  double mean_abs_ci95[2]; /* both equal mean_abs when EXACT; docs/correlation.md says how the interval is made */
  double mean_square;      /* mean r^2 */
  double max_abs;
  double above[ACTSCOPE_THRESHOLD_COUNT];     /* share of pairs with |r| above the threshold */
  uint64_t histogram[ACTSCOPE_PAIR_BINS];     /* |r| in [k/64, (k+1)/64); 1 falls in the last; all 0 when not asked */
  double noise_floor;      /* E|r| of independent normal features: G((N-1)/2) / (sqrt(pi) G(N/2)) */
  double adjusted_rms;     /* sqrt(max(0, (mean_square - 1/(N-1)) (N-1)/(N-2))): 0 for independent features */
  double mean;             /* mean r, sign and all, -1/(valid_features-1) .. 1 when EXACT; NaN when not asked for and for GRAM */
  /* With ACTSCOPE_PAIRS_SPLIT_HALF, whatever the method: r1 and r2 of the first and the second half of axis 0, over all pairs
   * of features that are valid in both; NaN for fewer than 6 samples, 3 in a half, and where min(N, D) > 4096. */
  double split_half;       /* sum r1 r2 / sqrt(sum r1^2 sum r2^2), Tucker's congruence: 0 for noise, 1 for one pattern */
  double split_half_rms;   /* sqrt(max(0, mean r1 r2)): as adjusted_rms, without the assumption of a noise of 1/(N-1) */
  double noise_floor_shift; /* with ACTSCOPE_PAIRS_SHIFT: mean |r| where each feature's samples are rotated by an offset of
                               its own, over up to 1024 features (docs/correlation.md); NaN below 3 samples */
} actscope_correlation;

/* Of the correlation matrix of the valid features, with eigenvalues l: p = l / sum l. On a GPU both are NaN where only they
 * ask for a matrix that costs more than 1e13 multiply-adds, N D min(N, D); effective_rank is NaN where min(N, D) > 512
 * (4096 on the CPU), with a warning. */
typedef struct actscope_rank {
  double participation_ratio; /* 1 / sum p^2 */
  double effective_rank;      /* exp(-sum p ln p) */
} actscope_rank;

/* How alike the samples are, over all pairs of them. A sample without a direction takes no part: one that is all zero,
 * or holds a NaN or an infinity (float64: or whose norm is outside about 1e-145 .. 1e154). */
typedef struct actscope_similarity {
  double mean_cosine; /* mean over i != j of cos(x_i, x_j), -1/(n-1) .. 1; NaN for fewer than two samples */
  uint64_t zero_samples, nonfinite_samples; /* without a direction, and why */
} actscope_similarity;

/* Bits of actscope_layer_report.warnings; actscope_warning_text() puts them into words. */
enum {
  ACTSCOPE_WARN_LARGE_TENSOR = 1,      /* at least options.large_tensor elements */
  ACTSCOPE_WARN_NONFINITE = 2,         /* NaN or infinities among the values */
  ACTSCOPE_WARN_STRIPS = 4,            /* z-scores did not fit the budget: features in strips (slower, same result) */
  ACTSCOPE_WARN_SAMPLED = 8,           /* AUTO chose SAMPLED */
  ACTSCOPE_WARN_DISTINCT_PASSES = 16,  /* exact distinct needed several reads of the tensor to fit the budget */
  ACTSCOPE_WARN_NO_EFFECTIVE_RANK = 32, /* its eigenvalues did not fit the budget: effective_rank is NaN */
  ACTSCOPE_WARN_FEW_SAMPLES = 64,      /* N < 3: correlations do not exist or are all +-1 */
  ACTSCOPE_WARN_NO_VALID_PAIR = 128,   /* fewer than two valid features */
  ACTSCOPE_WARN_NO_CKA = 256,          /* what CKA keeps of the layer did not fit the budget: it is left out */
  ACTSCOPE_WARN_TOP_PAIRS = 512,       /* more pairs are above options.pairs_above than options.top_pairs keeps */
  ACTSCOPE_WARN_TIME_BUDGET = 1024,    /* by the plan's model the correlations take longer than options.time_budget all the same */
  ACTSCOPE_WARN_COUNT = 11
};

typedef struct actscope_layer_report {
  actscope_status status;    /* why this layer has no numbers, or ACTSCOPE_OK */
  uint32_t statistics;       /* bits of the sections that are filled; the others are zero */
  uint32_t warnings;         /* ACTSCOPE_WARN_... */
  actscope_dtype dtype;
  uint64_t elements;         /* of all steps that the report covers */
  uint64_t samples, features; /* of one step */
  uint64_t sequence;         /* how many times the layer had been enqueued, this time included: 1, 2, .. */
  uint64_t steps;            /* enqueues that the report covers; 1 unless options.window says otherwise */
  double seconds;            /* time this layer took; on a GPU, where layers share launches, NaN */
  actscope_profile profile;
  actscope_distinct distinct;
  actscope_health health;
  actscope_correlation correlation;
  actscope_rank rank;
  actscope_similarity similarity;
} actscope_layer_report;

/* Puts warning number `bit` (0 .. ACTSCOPE_WARN_COUNT-1) of the report into words: at most `size` bytes with the
 * terminating zero. Returns 1 if that warning is set, else 0 and an empty text. */
ACTSCOPE_API int actscope_warning_text(const actscope_layer_report *report, int bit, char *text, size_t size);

/* ---- The simple call --------------------------------------------------------------------------------------------- */

/* Analyses one tensor in host memory and returns when the report is complete. options NULL means the defaults.
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY, BUDGET_TOO_SMALL, NO_DEVICE, DEVICE_ERROR, UNSUPPORTED. */
ACTSCOPE_API actscope_status actscope_analyze(const actscope_tensor *tensor, const actscope_options *options,
                                              actscope_layer_report *report);

/* ---- The plan ---------------------------------------------------------------------------------------------------- */

/* What a tensor is in its network. A gradient or a weight belongs to the activation of the same name in the same plan;
 * the order of the activations is the order of the network. */
typedef enum actscope_role {
  ACTSCOPE_ROLE_ACTIVATION = 0,
  ACTSCOPE_ROLE_GRADIENT = 1, /* of the loss, with respect to the activation */
  ACTSCOPE_ROLE_WEIGHT = 2
} actscope_role;

/* One layer of the network: what is known before the first step. Names are copied. Fields that an initialiser leaves
 * out are 0, which is the default of each. */
typedef struct actscope_layer {
  const char *name;     /* NULL: "layer K" */
  actscope_dtype dtype;
  int32_t ndim;         /* 0 .. ACTSCOPE_MAX_DIMS */
  const int64_t *shape; /* copied */
  actscope_role role;   /* ACTIVATION */
  const actscope_options *options; /* NULL: the plan's. Else, copied, this layer's own statistics, pair_functionals,
                                      correlation, pairs, seed, same_pairs, precision, distinct, sketch_bits, channels,
                                      large_tensor, top_pairs, pairs_above and time_budget; its other fields are not looked at */
} actscope_layer;

typedef struct actscope_plan actscope_plan;

/* Decides, for all layers, what will be done and with how much memory; nothing runs and nothing is allocated but the
 * plan itself (its size counts against the budget). Layers whose best method does not fit step down a ladder
 * (features in strips, several passes, no effective rank), and their reports say so.
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY, NO_DEVICE, UNSUPPORTED, BUDGET_TOO_SMALL (the text says which layer and the
 * smallest budget that would do); *plan is then NULL. */
ACTSCOPE_API actscope_status actscope_plan_create(actscope_plan **plan, const actscope_layer *layers, size_t count,
                                                  const actscope_options *options);

/* The smallest memory_budget with which actscope_plan_create() would succeed for these layers and options. */
ACTSCOPE_API actscope_status actscope_minimum_budget(const actscope_layer *layers, size_t count,
                                                     const actscope_options *options, uint64_t *bytes);

/* The device the plan runs on, AUTO resolved: CPU or CUDA. plan must not be NULL. */
ACTSCOPE_API actscope_device actscope_plan_device(const actscope_plan *plan);

/* Bytes and alignment (a power of two) of the one workspace the plan needs; layers share it. A query of its own: it
 * allocates nothing and is never a side effect of another call. Either pointer may be NULL. */
ACTSCOPE_API actscope_status actscope_plan_workspace(const actscope_plan *plan, size_t *bytes, size_t *alignment);

/* Lends the plan a workspace (host memory for a CPU plan, device memory for a CUDA plan) that stays the caller's and
 * must outlive the plan or the next bind. Without one the plan allocates its own at the first enqueue.
 * Errors: INVALID_ARGUMENT (NULL, misaligned), WORKSPACE_TOO_SMALL. */
ACTSCOPE_API actscope_status actscope_plan_bind(actscope_plan *plan, void *workspace, size_t bytes);

/* Measures tensors[0 .. count-1], which must have the dtypes and shapes of the plan's layers; strides are free. A
 * tensor with data NULL (and elements) skips its layer this time: its last report stays. count must be the plan's.
 * On a CUDA plan the work is put on `stream` and the call returns at once; the CPU backend has finished when it
 * returns, and ignores `stream`. Reports of the previous enqueue are overwritten. Enqueues on different streams follow one
 * another; the replay of a captured graph is ordered by the caller alone.
 * A CUDA plan takes device memory, without allocating or waiting after the first call, so that a call can be captured in
 * a graph; each replay makes new reports. It takes host memory too, copied to the device first: that may allocate, and
 * cannot be captured (INVALID_ARGUMENT).
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY (first call without a bound workspace), DEVICE_ERROR. */
ACTSCOPE_API actscope_status actscope_plan_enqueue(actscope_plan *plan, const actscope_tensor *tensors, size_t count,
                                                   struct CUstream_st *stream);

/* The same for one layer alone: for callers whose tensors do not all exist at once, such as a reader of files. */
ACTSCOPE_API actscope_status actscope_plan_enqueue_layer(actscope_plan *plan, size_t layer,
                                                         const actscope_tensor *tensor, struct CUstream_st *stream);

/* ACTSCOPE_OK when everything enqueued has finished, NOT_READY while it runs or if nothing was enqueued, DEVICE_ERROR
 * when it failed. Never waits. */
ACTSCOPE_API actscope_status actscope_plan_poll(actscope_plan *plan);

/* Waits for what was enqueued, then as poll. */
ACTSCOPE_API actscope_status actscope_plan_wait(actscope_plan *plan);

/* Copies the report of layer 0 .. count-1. Errors: INVALID_ARGUMENT, NOT_READY. */
ACTSCOPE_API actscope_status actscope_plan_report(actscope_plan *plan, size_t layer, actscope_layer_report *report);

/* How alike the layers place the same samples, as each was last enqueued: debiased linear CKA (Kornblith et al. 2019, with
 * the unbiased HSIC_1 of Song et al. 2012 as in Nguyen, Raghu and Kornblith 2021),
 *   CKA = HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)),  K = X X^T of one layer's centred features, L of the other's,
 *   HSIC_1(K, L) = (tr K'L' + (1'K'1)(1'L'1) / ((N-1)(N-2)) - 2/(N-2) 1'K'L'1) / (N(N-3)),  K', L' without their diagonals.
 * matrix: count x count doubles, symmetric, -1 .. 1 (about 0 for independent layers), 1 on the diagonal; count must be the
 * plan's. It is for activations that were asked for ACTSCOPE_CKA, of 4 samples or more (more than 4096 are refused by
 * actscope_plan_create() with UNSUPPORTED). NaN: a pair of different numbers of samples, a layer that is of another kind,
 * not enqueued since the plan was made, reset or bound, without a valid feature, or left out (ACTSCOPE_WARN_NO_CKA); also one
 * of which centring leaves nothing. Features with a NaN or an infinity take no part. A layer keeps N(N-1)/2 floats in the
 * workspace. Precision: 1e-5. On a GPU each step compares the layers that it measures with all others, in 4 bytes for each
 * two beside the workspace, and the numbers are those of the newest work to finish.
 * Errors: INVALID_ARGUMENT, NOT_READY (also while they are being written), DEVICE_ERROR. */
ACTSCOPE_API actscope_status actscope_plan_cka(actscope_plan *plan, double *matrix, size_t count);

/* Of each feature of a layer, mean |r| and the largest |r| over the pairs that it takes part in, as of the layer's newest
 * report: which features repeat others. mean_abs and max_abs have room for `count` numbers each, which must be the layer's
 * features; they are in the order of the tensor's axes, flattened. Either may be NULL. Sums are integers of 2^-32: the same
 * bits however many threads run. In a window: over the pairs of all its steps. NaN for a feature without a pair: constant,
 * non-finite, in no pair of the sample, or all of them where correlations are GRAM.
 * The layer must have been asked for ACTSCOPE_PAIRS_FEATURES. On a GPU the numbers are those of the newest work to finish.
 * Errors: INVALID_ARGUMENT, NOT_READY (no report yet, or none in this workspace, or one is being made), DEVICE_ERROR. */
ACTSCOPE_API actscope_status actscope_plan_feature_correlations(actscope_plan *plan, size_t layer, float *mean_abs,
                                                                float *max_abs, size_t count);

/* A pair of features, i < j, in the order of the tensor's axes, flattened, and its r, sign and all. */
typedef struct actscope_pair {
  uint64_t i, j;
  double r;
} actscope_pair;

/* The pairs of a layer with the largest |r|, of those that its newest report looked at: by falling |r|, then by i, then j.
 * Each r is computed in float64 from the tensor itself, in two passes, and the choice is by that r: the products that the
 * report is made of only say which pairs may be among them, within a bound of their error. The same bits however many
 * threads run and however little memory there is. In a window: of the last step.
 * Fills the first `capacity` entries of pairs; *count is how many there are, options.top_pairs at most, and *above how many
 * pairs have |r| above options.pairs_above, kept or not (0 where that is 0): when it is more than top_pairs, the report has
 * ACTSCOPE_WARN_TOP_PAIRS. Both may be NULL, pairs where capacity is 0.
 * A GPU looks at 131,072 candidates of a layer at most: where more pairs may be among the largest, because many are alike or
 * top_pairs is more than half of the valid features, the call is refused (UNSUPPORTED), and the CPU is the way.
 * Errors: INVALID_ARGUMENT (options.top_pairs was 0), NOT_READY (no report yet, none in this workspace, or one is being made),
 * UNSUPPORTED, OUT_OF_MEMORY, DEVICE_ERROR. */
ACTSCOPE_API actscope_status actscope_plan_top_pairs(actscope_plan *plan, size_t layer, actscope_pair *pairs, size_t capacity,
                                                     size_t *count, uint64_t *above);

/* The name a layer got; NULL when the index is out of range. Valid as long as the plan. */
ACTSCOPE_API const char *actscope_plan_layer_name(const actscope_plan *plan, size_t layer);

/* ---- Windows: micro-batches and spans of steps --------------------------------------------------------------------
 * With options.window = K, K enqueues of a layer make one report: states merge, data are not kept. What is known so far
 * can be read at any step; the enqueue after the K-th begins a new window. 0: only actscope_plan_reset() begins one.
 *   profile, distinct, health  exactly those of all samples of the window together; distinct values of 32- and 64-bit
 *                              types by the sketch
 *   correlation                within each step, over the pairs of all steps: pairs and pairs_total are sums, means are
 *                              over all of them, max_abs is the largest; valid_features is the last step's
 *   rank, similarity           the mean over the steps; counts of samples are sums
 * Between enqueues the workspace then holds the states: a lent one must stay as it is, and binding another begins anew. */

/* Forgets the windows begun and the alarm; layers count their enqueues on. Work under way on a stream is not waited for:
 * call it when poll has said OK. */
ACTSCOPE_API actscope_status actscope_plan_reset(actscope_plan *plan);

/* The first layer, in the order of the calls, that showed a NaN or an infinity since the plan was made or reset: *layer,
 * and the number of that layer's enqueue: *sequence. *layer is SIZE_MAX when there was none yet. Never waits: on a GPU it
 * reads what has arrived. Pointers may be NULL. */
ACTSCOPE_API actscope_status actscope_plan_alarm(const actscope_plan *plan, size_t *layer, uint64_t *sequence);

/* The layer's report number `sequence`, of the last options.history ones. Errors: INVALID_ARGUMENT (0, or older than what
 * is kept), NOT_READY (not finished yet). */
ACTSCOPE_API actscope_status actscope_plan_report_at(actscope_plan *plan, size_t layer, uint64_t sequence,
                                                     actscope_layer_report *report);

/* ---- Changing shapes, and why a plan is as it is ------------------------------------------------------------------ */

/* Plans anew for the same layers (count, names, roles, options) with other shapes or dtypes, such as the short last batch
 * of an epoch: nothing happens when they are the plan's own. The workspace is kept when it is large enough, and a plan on a
 * GPU then allocates nothing and waits for none of the caller's streams, but where more or fewer features are told of
 * singly, or layers compared by CKA. Windows begin anew, reports are gone. On an error the plan is as it was, but for a GPU
 * that refuses the plan's own memory: then only another change of shapes, or the end, is left. Waits for its work under way.
 * Errors: those of actscope_plan_create(); WORKSPACE_TOO_SMALL when a lent workspace does not do. */
ACTSCOPE_API actscope_status actscope_plan_reshape(actscope_plan *plan, const actscope_layer *layers, size_t count);

/* What the plan decided for a layer. */
typedef struct actscope_choice {
  uint32_t statistics;
  actscope_distinct_method distinct;       /* EXACT or SKETCH */
  actscope_correlation_method correlation; /* EXACT, SAMPLED or GRAM */
  uint64_t pairs;           /* that will be looked at, if every feature is valid; 0 without pairs */
  uint64_t kept_bytes;      /* states that stay in the workspace between enqueues */
  uint64_t workspace_bytes; /* what the layer works in beside them; shared with the other layers */
  uint64_t best_bytes;      /* what it would use if there were no cap */
  uint64_t least_bytes;     /* below it, it would be refused */
  double seconds;           /* modelled, for this device: see docs/architecture.md */
  char reason[160];         /* why, in words */
} actscope_choice;
ACTSCOPE_API actscope_status actscope_plan_choice(const actscope_plan *plan, size_t layer, actscope_choice *choice);

/* Frees the plan and what it allocated. NULL is allowed and does nothing. */
ACTSCOPE_API void actscope_plan_destroy(actscope_plan *plan);

/* ---- The network ------------------------------------------------------------------------------------------------- */

/* Why a layer constrains what flows through it: bits of actscope_bottleneck.reasons; docs/analysis.md defines each. */
enum {
  ACTSCOPE_REASON_CORRELATED = 1, /* features repeat each other: adjusted_rms */
  ACTSCOPE_REASON_LOW_RANK = 2,   /* effective rank is small against min(N - 1, D) */
  ACTSCOPE_REASON_REDUNDANT = 4,  /* values repeat more than the dtype explains */
  ACTSCOPE_REASON_DEAD = 8,       /* dead features */
  ACTSCOPE_REASON_CONSTANT = 16,  /* constant features */
  ACTSCOPE_REASON_LOW_ENTROPY = 32, /* few elements carry the magnitude */
  ACTSCOPE_REASON_NONFINITE = 64, /* NaN or infinities */
  ACTSCOPE_REASON_COUNT = 7
};

typedef struct actscope_bottleneck {
  size_t layer;     /* index into the reports */
  double score;     /* 0 (free) .. 1 (constrained); NaN if no ingredient was measured, or it is no activation */
  uint32_t reasons; /* ACTSCOPE_REASON_... */
} actscope_bottleneck;

/* Scores `count` reports into `ranking` (count entries), most constrained first, ties in layer order; layers without a
 * score come last. roles: of each; NULL: all are activations. Gradients and weights have no score: what it counts, such as
 * features that never exceed 1e-6, is about what flows forwards. Errors: INVALID_ARGUMENT for NULL. */
ACTSCOPE_API actscope_status actscope_rank_bottlenecks(const actscope_layer_report *reports, const actscope_role *roles, size_t count,
                                                       actscope_bottleneck *ranking);

/* Puts reason number `bit` (0 .. ACTSCOPE_REASON_COUNT-1) of this layer into words with its number ("mean |r| far above
 * its noise floor: adjusted rms 0.61"). Returns 1 if that reason is set, else 0 and an empty text. */
ACTSCOPE_API int actscope_reason_text(const actscope_bottleneck *bottleneck, const actscope_layer_report *report,
                                      int bit, char *text, size_t size);

/* Scores of a layer in five families, each 0 (healthy) .. 1, and of what each is made: severities in 0 .. 1. A severity
 * whose numbers were not measured, or that does not exist, is NaN; a family takes the share of those that are known and
 * is NaN when none is. docs/analysis.md defines each and gives its reason. */
enum {
  ACTSCOPE_SCORE_DEPTH,            /* passing the layer costs: saturation, gradient fault, information loss */
  ACTSCOPE_SCORE_WIDTH,            /* its features are too few or too alike: unused, similarity, gradient noise */
  ACTSCOPE_SCORE_INFORMATION_FLOW, /* the score of actscope_rank_bottlenecks() */
  ACTSCOPE_SCORE_GRADIENT_FLOW,    /* gradient fault, gradient step, gradient drift */
  ACTSCOPE_SCORE_CAPACITY,         /* capacity that is there and not used: unused, rank deficit, weight rank deficit */
  ACTSCOPE_SCORE_COUNT
};
enum {
  /* of the activation alone */
  ACTSCOPE_INGREDIENT_SATURATION,       /* values stuck at the largest magnitude */
  ACTSCOPE_INGREDIENT_UNUSED,           /* dead and constant features */
  ACTSCOPE_INGREDIENT_SIMILARITY,       /* samples point the same way: mean cosine beyond that of a common offset */
  ACTSCOPE_INGREDIENT_CORRELATION,      /* as ACTSCOPE_REASON_CORRELATED */
  ACTSCOPE_INGREDIENT_LOW_RANK,         /* as ACTSCOPE_REASON_LOW_RANK */
  ACTSCOPE_INGREDIENT_LOW_ENTROPY,      /* as ACTSCOPE_REASON_LOW_ENTROPY */
  ACTSCOPE_INGREDIENT_REDUNDANCY,       /* as ACTSCOPE_REASON_REDUNDANT */
  ACTSCOPE_INGREDIENT_NONFINITE,        /* as ACTSCOPE_REASON_NONFINITE */
  ACTSCOPE_INGREDIENT_RANK_DEFICIT,     /* effective rank against that of D independent features */
  /* against the activation before it */
  ACTSCOPE_INGREDIENT_INFORMATION_LOSS, /* rank deficit that it had not yet */
  /* of the weight */
  ACTSCOPE_INGREDIENT_WEIGHT_RANK_DEFICIT,
  /* of the gradient */
  ACTSCOPE_INGREDIENT_GRADIENT_FAULT,   /* not finite, underflowing, or absent from features */
  ACTSCOPE_INGREDIENT_GRADIENT_NOISE,   /* share of noise in the samples' mean gradient */
  /* of the gradient against those of later layers */
  ACTSCOPE_INGREDIENT_GRADIENT_STEP,    /* norm against the next layer's, either way */
  ACTSCOPE_INGREDIENT_GRADIENT_DRIFT,   /* norm against the last layer's, either way */
  ACTSCOPE_INGREDIENT_COUNT
};

#define ACTSCOPE_NO_LAYER ((size_t)-1)

typedef struct actscope_network_scores {
  size_t layer;            /* the activation: an index into the reports, as the others */
  size_t gradient, weight; /* what belongs to it; ACTSCOPE_NO_LAYER: none */
  size_t before;           /* the activation that information loss looks back to; ACTSCOPE_NO_LAYER: none */
  size_t next, last;       /* gradients that step and drift look at; ACTSCOPE_NO_LAYER: none */
  double score[ACTSCOPE_SCORE_COUNT];
  double ingredient[ACTSCOPE_INGREDIENT_COUNT];
  uint32_t reasons;        /* bit i: ingredient i is worth a person's attention */
} actscope_network_scores;

/* Scores the activations among `count` reports, which are in the order of the network. roles NULL: all are activations.
 * names: a gradient or a weight belongs to the activation of the same name, the first of each; a gradient must have the
 * activation's samples and elements. NULL, as a whole or one of them: it belongs to none. scores has room for an entry
 * per activation; *scored is their number, and entries are in the order of the network. A pure function; it allocates
 * nothing. Errors: INVALID_ARGUMENT. */
ACTSCOPE_API actscope_status actscope_network_analyze(const actscope_layer_report *reports, const actscope_role *roles,
                                                      const char *const *names, size_t count,
                                                      actscope_network_scores *scores, size_t *scored);

/* "depth", "information_flow", ... and "saturation", "gradient_noise", ...; "unknown" for any other number. */
ACTSCOPE_API const char *actscope_score_name(int score);
ACTSCOPE_API const char *actscope_ingredient_name(int ingredient);

/* Puts an ingredient that is among scores->reasons into words with its numbers. reports are those of
 * actscope_network_analyze(). Returns 1, or 0 and an empty text when it is not among them. */
ACTSCOPE_API int actscope_ingredient_text(const actscope_network_scores *scores, const actscope_layer_report *reports,
                                          int ingredient, char *text, size_t size);

/* ---- What this build and machine can do ---------------------------------------------------------------------------- */

typedef struct actscope_device_info {
  actscope_device device;   /* CPU or CUDA */
  int32_t index;
  char name[128];           /* the processor's or the GPU's own name */
  char backend[64];         /* "avx512vnni", "avx512", "avx2", "baseline", "sm_90" */
  int32_t units;            /* threads, or multiprocessors */
  uint64_t memory_bytes;    /* physical or device memory */
} actscope_device_info;

/* Fills at most `capacity` entries, the CPU first, and sets *count to how many there are. */
ACTSCOPE_API actscope_status actscope_devices(actscope_device_info *devices, size_t capacity, size_t *count);

/* Memory of this process and, where there is a GPU, of device `index`; fields that the system does not tell are 0. */
typedef struct actscope_memory {
  uint64_t held_bytes, held_peak_bytes;         /* by this library in host memory, workspaces of CPU plans included */
  uint64_t resident_bytes, resident_peak_bytes; /* by the whole process */
  uint64_t device_held_bytes, device_held_peak_bytes; /* by this library on all GPUs */
  uint64_t device_used_bytes, device_total_bytes; /* of the GPU, by everybody */
} actscope_memory;
ACTSCOPE_API actscope_status actscope_memory_usage(int32_t index, actscope_memory *memory);

/* One line on why no GPU is used ("built without CUDA", "no NVIDIA driver", ...); "" when one can be. Never NULL. */
ACTSCOPE_API const char *actscope_no_gpu_reason(void);

#ifdef __cplusplus
}
#endif
#endif /* ACTSCOPE_H */
