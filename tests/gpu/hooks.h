/* hooks.h - what the tests of the plan on a GPU need besides the library: on a device (hooks.c) or under sim
 * (tests/sim/hooks.cpp). */
#ifndef GPU_HOOKS_H
#define GPU_HOOKS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct CUstream_st;
void hook_begin(const char *argument); /* sim: the schedule */
void hook_upload(void *device, const void *host, size_t bytes); /* waits */
void hook_download(void *host, const void *device, size_t bytes); /* waits for all work */
struct CUstream_st *hook_stream(int k);                           /* k = 0, 1: two streams */
/* Records what is put on the stream instead of running it; then runs the record any number of times, and waits. */
int hook_capture_begin(struct CUstream_st *stream);
int hook_capture_end(struct CUstream_st *stream);
int hook_replay(void);

/* What only sim can do; on a device hook_sim() is 0 and the others do nothing. */
int hook_sim(void);
/* When work runs (tests/sim/simt.h), all that was there first. Returns the order before, which tests go back to. */
enum { HOOK_AT_ONCE, HOOK_LATE, HOOK_SIDE_FIRST, HOOK_RANDOM, HOOK_ORDERS };
int hook_order(int order);
void hook_drain(void); /* runs all */
void hook_fail(long n, int error); /* the n-th call of the runtime from now on fails with this; n 0: none */
void hook_no_driver(void);
void hook_break(int error);     /* the device broke: every call fails with this; 0 mends it */
unsigned long hook_side_work(void);   /* launches on streams of the plan's own so far */
unsigned long hook_synchronous(void); /* allocations and waits so far */
unsigned long hook_allocations(void); /* of device and pinned memory so far, and their ends */
size_t hook_damage(void);       /* allocations so far with bytes behind them that were written */
size_t hook_held(void);         /* bytes of device and pinned memory */

#ifdef __cplusplus
}
#endif
#endif
