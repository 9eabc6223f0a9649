/* memory.h - the one place through which the library allocates host memory, so that it can be counted and made to fail.
 */
#ifndef ACTSCOPE_MEMORY_H
#define ACTSCOPE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed, 64-byte aligned; NULL when the system refuses or bytes overflow. 0 bytes give a valid pointer. */
void *actscope_memory_allocate(uint64_t bytes);
/* The same, left as the system gives it: for large scratch that is written before it is read. */
void *actscope_memory_allocate_raw(uint64_t bytes);
/* NULL is allowed. */
void actscope_memory_free(void *pointer);

/* Bytes held now, and the most ever held, by everything allocated here. */
uint64_t actscope_memory_held(void);
uint64_t actscope_memory_peak(void);
/* How many allocations there ever were. */
uint64_t actscope_memory_allocations(void);

/* For tests: the n-th allocation from now on fails (0: none does). */
void actscope_memory_fail_at(uint64_t n);

#endif
