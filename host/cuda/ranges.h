/* ranges.h - NVTX ranges in domain "actscope": one round the layers that are measured together ("conv1 .. fc2"), and inside
 * it one a stage ("profile", "correlation", ...), so that a profiler's time line says whose launches these are.
 *
 * Compiled in with ACTSCOPE_NVTX (make NVTX=0 leaves it out); then a range costs a pointer's test while no profiler is
 * attached. backend.c includes this after kernels.h: the entry points' names are wrapped here, every one of them, so that
 * a launch cannot be forgotten. */
#ifndef ACTSCOPE_CUDA_RANGES_H
#define ACTSCOPE_CUDA_RANGES_H

#ifdef ACTSCOPE_NVTX
int actscope_ranges_on(void); /* is anybody listening? */
void actscope_range_begin(const char *text);
void actscope_range_end(void);

#define RANGE_STAGE(text, call)   \
  ({                              \
    actscope_range_begin(text);   \
    int range_error_ = (call);    \
    actscope_range_end();         \
    range_error_;                 \
  })
#define actscope_cuda_profile(...) RANGE_STAGE("profile", actscope_cuda_profile(__VA_ARGS__))
#define actscope_cuda_columns(...) RANGE_STAGE("columns", actscope_cuda_columns(__VA_ARGS__))
#define actscope_cuda_select(...) RANGE_STAGE("select", actscope_cuda_select(__VA_ARGS__))
#define actscope_cuda_standardise(...) RANGE_STAGE("standardise", actscope_cuda_standardise(__VA_ARGS__))
#define actscope_cuda_spread(...) RANGE_STAGE("spread", actscope_cuda_spread(__VA_ARGS__))
#define actscope_cuda_correlation(...) RANGE_STAGE("correlation", actscope_cuda_correlation(__VA_ARGS__))
#define actscope_cuda_correlation_wgmma(...) RANGE_STAGE("correlation", actscope_cuda_correlation_wgmma(__VA_ARGS__))
#define actscope_cuda_gram(...) RANGE_STAGE("gram", actscope_cuda_gram(__VA_ARGS__))
#define actscope_cuda_halves(...) RANGE_STAGE("halves", actscope_cuda_halves(__VA_ARGS__))
#define actscope_cuda_shift_choose(...) RANGE_STAGE("shift", actscope_cuda_shift_choose(__VA_ARGS__))
#define actscope_cuda_cka_begin(...) RANGE_STAGE("CKA", actscope_cuda_cka_begin(__VA_ARGS__))
#define actscope_cuda_cka_keep(...) RANGE_STAGE("CKA", actscope_cuda_cka_keep(__VA_ARGS__))
#define actscope_cuda_cka_pairs(...) RANGE_STAGE("CKA", actscope_cuda_cka_pairs(__VA_ARGS__))
#define actscope_cuda_cka_tell(...) RANGE_STAGE("CKA", actscope_cuda_cka_tell(__VA_ARGS__))
#define actscope_cuda_finish(...) RANGE_STAGE("finish", actscope_cuda_finish(__VA_ARGS__))
#else
static inline int actscope_ranges_on(void) { return 0; }
static inline void actscope_range_begin(const char *text) { (void)text; }
static inline void actscope_range_end(void) {}
#endif

#endif
