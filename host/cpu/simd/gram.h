/* gram.h - the eigenvalues of the Gram matrix, compiled for each instruction set. */
#ifndef ACTSCOPE_CPU_SIMD_GRAM_H
#define ACTSCOPE_CPU_SIMD_GRAM_H

#include "core/gram.h"
#include "cpu/dispatch.h"

struct gram_table {
  int (*eigenvalues)(double *a, uint64_t n, double *diagonal, double *off, double *work); /* gram_eigenvalues() */
};
SIMD_FAMILY(struct gram_table, gram)

#endif
