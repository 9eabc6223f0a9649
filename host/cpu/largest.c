/* largest.c - which blocks of pairs may hold the largest |r| of a layer that was multiplied in 16 bits, and what it is. */
#include "cpu/largest.h"

#include <omp.h>

/* How far an r may be off: its error is a sum over samples of a rounding error, within a unit, times the other feature's
 * z-score, for both features; by Hoeffding's inequality it is beyond six units in fewer than 1 of 1e15 pairs. */
static const double margin = 6.0 / PRODUCT_INT16_ONE;

int actscope_cpu_largest_serves(const struct cpu_pairs_request *q, actscope_dtype dtype, uint64_t samples, uint64_t valid) {
  return q->precision == ACTSCOPE_PRECISION_FP32 && dtype != ACTSCOPE_FLOAT64 && q->method == ACTSCOPE_CORRELATION_EXACT &&
         !(q->functionals & ACTSCOPE_PAIRS_FEATURES) && q->top_most == 0 && actscope_simd_product()->int16_is_fast &&
         samples >= LARGEST_SAMPLES_LEAST && valid >= LARGEST_VALID_LEAST && valid <= LARGEST_VALID_MOST;
}

void actscope_cpu_largest_note(uint32_t *blocks, uint64_t i, uint64_t j, float top) {
  const uint64_t I = i / PRODUCT_BLOCK, J = j / PRODUCT_BLOCK;
  uint32_t bits = core_bits32(top), *at = &blocks[J * (J + 1) / 2 + I], seen = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (seen < bits && !__atomic_compare_exchange_n(at, &seen, bits, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

static uint64_t panels_bytes(uint64_t samples) {
  return PRODUCT_BLOCK * (samples < PRODUCT_CHUNK ? samples : PRODUCT_CHUNK) * sizeof(float);
}
static uint64_t sums_bytes(uint64_t samples) {
  return samples > PRODUCT_CHUNK ? PRODUCT_BLOCK * PRODUCT_BLOCK * sizeof(double) : 0;
}
uint64_t actscope_cpu_largest_bytes(uint64_t samples) {
  return 2 * panels_bytes(samples) + sums_bytes(samples) + ZSCORES_BUFFER;
}

/* All pairs of a block, as correlation.c multiplies them in fp32; `at` is a thread's scratch. */
static void multiply(const struct zscores *z, const struct product_band *band, uint64_t I, uint64_t J, char *at,
                     struct product_tally *tally) {
  const uint64_t n = z->view->samples, first[2] = {I * PRODUCT_BLOCK, J * PRODUCT_BLOCK};
  void *panels[2] = {at, I == J ? at : at + panels_bytes(n)}, *sums = at + 2 * panels_bytes(n), *buffer = (char *)sums + sums_bytes(n);
  struct product_part p = {.band = band, .i0 = first[0], .j0 = first[1], .a = panels[0], .b = panels[1]};
  p.rows = band->v - p.i0 < PRODUCT_BLOCK ? band->v - p.i0 : PRODUCT_BLOCK;
  p.columns = band->v - p.j0 < PRODUCT_BLOCK ? band->v - p.j0 : PRODUCT_BLOCK;
  if (n > PRODUCT_CHUNK) {
    p.sum = sums;
    p.sum_ld = PRODUCT_BLOCK;
    memset(sums, 0, sums_bytes(n));
  }
  for (uint64_t c = 0; c < n; c += PRODUCT_CHUNK) {
    p.k = n - c < PRODUCT_CHUNK ? n - c : PRODUCT_CHUNK;
    p.stride = (int64_t)p.k * z->kernels->lanes;
    actscope_zscores_pack(z, p.i0, p.rows, c, p.k, panels[0], p.stride, buffer);
    if (I != J) actscope_zscores_pack(z, p.j0, p.columns, c, p.k, panels[1], p.stride, buffer);
    if (p.sum) z->kernels->add(&p); else z->kernels->direct(&p, tally);
  }
  if (p.sum) z->kernels->take(&p, tally);
}

uint32_t actscope_cpu_largest(const struct zscores *z, const struct product_band *band, uint32_t *blocks, int threads, void *scratch,
                              uint64_t bytes) {
  const struct product_table *table = actscope_simd_product();
  const uint64_t all = largest_blocks(band->v), each = actscope_cpu_largest_bytes(z->view->samples), most = bytes / each;
  struct zscores single = *z;
  uint32_t top = 0, bits = 0;
  uint64_t count = 0, next = 0;
  single.kernels = &table->single;
  for (uint64_t b = 0; b < all; ++b)
    if (blocks[b] > top) top = blocks[b];
  const double low = (double)core_f32(top) - 2 * margin;
  for (uint64_t J = 0, b = 0; b < all; ++J)
    for (uint64_t I = 0; I <= J; ++I, ++b)
      if ((double)core_f32(blocks[b]) >= low) blocks[count++] = (uint32_t)(I << 16 | J); /* what is read comes later */
#pragma omp parallel num_threads(threads)
  {
    const uint64_t thread = (uint64_t)omp_get_thread_num();
    struct product_tally tally;
    table->tally_init(&tally);
    if (thread < most)
      for (uint64_t b; (b = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < count;)
        multiply(&single, band, blocks[b] >> 16, blocks[b] & 0xFFFF, (char *)scratch + thread * each, &tally);
    table->tally_empty(&tally);
#pragma omp critical(actscope_largest)
    if (tally.pairs.max_bits > bits) bits = tally.pairs.max_bits;
  }
  return bits;
}
