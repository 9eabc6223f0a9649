/* gram.c - gram_eigenvalues() with the vectors of this instruction set. */
#include "cpu/simd/gram.h"

static int eigenvalues(double *a, uint64_t n, double *diagonal, double *off, double *work) {
  return gram_eigenvalues(a, n, diagonal, off, work);
}

const struct gram_table SIMD_TABLE(gram) = {eigenvalues};
