/* correlation.c - functionals of |r| over pairs of features: which z-scores lie where, and who multiplies what.
 *
 * Positions are the valid features in their order (EXACT) or permuted (SAMPLED); the pairs are a band of the matrix of
 * positions: the triangle, or the first M pairs of the circulant order (core/pairs.h). The band is covered by blocks of
 * PRODUCT_BLOCK^2, threads take them one by one, and each register tile is rounded to fixed point once, so that
 * neither the threads nor the memory change a bit of the result.
 *
 * Where the scratch memory holds all z-scores they are packed once. Else positions are cut into strips, and pairs of
 * strips follow one another: either two strips with all their samples, or two strips with a group of samples and the
 * sums of their products in double, group after group. The sums way, with one strip, is also taken where samples are
 * many and features few: it needs less memory and reads the tensor once. */
#include <omp.h>

#include "cpu/cpu.h"
#include "cpu/largest.h"
#include "cpu/top.h"
#include "cpu/zscores.h"
#include "error.h"

enum {
  BLOCK = PRODUCT_BLOCK,
  GROUPS_MAX = 64,         /* chunks packed at once in the sums way */
  GROUP_BYTES = 1 << 20,   /* and bytes of a strip, about */
  SAMPLED_STRIP = 16384    /* positions: larger strips make SAMPLED no faster */
};

/* How memory is used. */
struct layout {
  uint64_t strip, strips; /* positions in a strip (a multiple of BLOCK unless there is one strip), strips */
  uint64_t group;         /* samples packed at once: all, or a multiple of a chunk */
  int slots;              /* strips in memory: 1 or 2 */
  int sums;               /* sums in memory, for strip x strip */
  int thread_sums;        /* sums of one block for each thread */
  uint64_t bytes;
};

static uint64_t ceil_to(uint64_t a, uint64_t unit) { return (a + unit - 1) / unit * unit; }
static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Values that lie in a panel for so many: those of 16 bits come in pairs. */
static uint64_t deep(uint64_t values, uint64_t size) { return size == 2 ? values + (values & 1) : values; }

static void layout_finish(struct layout *l, uint64_t v, uint64_t n, uint64_t size, uint64_t threads) {
  uint64_t wide = ceil_to(l->strip, PRODUCT_ROUND);
  l->strips = l->strip > 0 ? (v + l->strip - 1) / l->strip : 0;
  l->slots = l->strips > 1 ? 2 : 1;
  l->thread_sums = !l->sums && n > product_chunk(size);
  l->bytes = (uint64_t)l->slots * wide * deep(l->group, size) * size + (l->sums ? wide * wide * 8 : 0) +
             (l->thread_sums ? threads * BLOCK * BLOCK * 8 : 0) + threads * ZSCORES_BUFFER;
}

/* The layout with strips of this length (0: one strip), and groups of as many chunks as memory allows in the sums way.
 * Returns whether it fits. */
static int layout_try(struct layout *l, uint64_t strip, int sums, uint64_t v, uint64_t n, uint64_t size,
                      uint64_t threads, uint64_t bytes) {
  l->strip = strip == 0 || strip >= v ? (v > 0 ? v : 1) : strip;
  l->sums = sums;
  const uint64_t chunk = product_chunk(size);
  l->group = sums ? chunk : n;
  layout_finish(l, v, n, size, threads);
  if (l->bytes > bytes) return 0;
  if (sums) {
    uint64_t each = ceil_to(l->strip, PRODUCT_ROUND) * chunk * size, more = (bytes - l->bytes) / ((uint64_t)l->slots * each);
    uint64_t useful = GROUP_BYTES / each, all = (n + chunk - 1) / chunk, chunks = 1 + more;
    if (chunks > GROUPS_MAX) chunks = GROUPS_MAX;
    if (chunks > useful) chunks = useful > 0 ? useful : 1;
    if (chunks > all) chunks = all;
    l->group = chunks * chunk;
    layout_finish(l, v, n, size, threads);
  }
  return 1;
}

/* The longest strip, a multiple of BLOCK, that fits; 0 if none does. */
static uint64_t longest_strip(int sums, uint64_t v, uint64_t n, uint64_t size, uint64_t threads, uint64_t bytes) {
  struct layout l;
  uint64_t low = 0, high = v / BLOCK + 1; /* in blocks: low fits, high does not need to */
  while (high - low > 1) {
    uint64_t middle = (low + high) / 2;
    if (layout_try(&l, middle * BLOCK, sums, v, n, size, threads, bytes)) low = middle; else high = middle;
  }
  return low * BLOCK;
}

/* Chooses the layout for v positions; 0 when none fits. */
static int layout_choose(struct layout *l, uint64_t v, uint64_t n, uint64_t size, uint64_t threads, uint64_t bytes) {
  int few = n > product_chunk(size) && n > 2 * v; /* sums of v^2 are smaller than z-scores */
  if (few && layout_try(l, 0, 1, v, n, size, threads, bytes)) return 1;
  if (layout_try(l, 0, 0, v, n, size, threads, bytes)) return 1;
  uint64_t whole = longest_strip(0, v, n, size, threads, bytes), sums = 0;
  if (n > product_chunk(size)) {
    if (layout_try(l, 0, 1, v, n, size, threads, bytes)) return 1;
    sums = longest_strip(1, v, n, size, threads, bytes);
  }
  /* z-scores of a strip are made v / strip times, in the sums way twice as often */
  if (whole > 0 && 2 * whole >= sums) return layout_try(l, whole, 0, v, n, size, threads, bytes);
  return sums > 0 && layout_try(l, sums, 1, v, n, size, threads, bytes);
}

/* Before the panels: the list of valid features, and what is gathered of each. */
static uint64_t list_bytes(uint64_t features) { return ceil_to(features * 4, 64); }
static uint64_t sums_bytes(const struct cpu_pairs_request *q, uint64_t features) {
  return q->functionals & ACTSCOPE_PAIRS_FEATURES ? ceil_to(features * 8, 64) + ceil_to(features * 4, 64) : 0;
}
static uint64_t fixed_bytes(const struct cpu_pairs_request *q, uint64_t features) {
  return list_bytes(features) + sums_bytes(q, features) + 64;
}
static uint64_t blocks_bytes(uint64_t features) { return ceil_to(largest_blocks(features) * 4, 64); }

/* With panels of one kind. */
static struct cpu_need need_of(const struct cpu_pairs_request *q, uint64_t size, uint64_t samples, uint64_t features) {
  uint64_t threads = (uint64_t)q->threads;
  struct layout l;
  struct cpu_need need;
  uint64_t chunk = product_chunk(size), shortest = samples > chunk ? UINT64_MAX : 0;
  layout_try(&l, BLOCK, 0, features, samples, size, threads, UINT64_MAX);
  need.least = l.bytes;
  if (shortest) {
    layout_try(&l, BLOCK, 1, features, samples, size, threads, UINT64_MAX);
    uint64_t each = (uint64_t)l.slots * ceil_to(l.strip, PRODUCT_ROUND) * chunk * size; /* one chunk at a time */
    need.least = least_of(need.least, l.bytes - each * (l.group / chunk - 1));
  }
  layout_choose(&l, features, samples, size, threads, UINT64_MAX);
  need.best = l.bytes;
  if (q->method == ACTSCOPE_CORRELATION_SAMPLED && features > 0) {
    uint64_t strip = ceil_to(4 * (q->pairs / features + 1), BLOCK);
    if (strip < SAMPLED_STRIP) strip = SAMPLED_STRIP;
    layout_try(&l, strip, 0, features, samples, size, threads, UINT64_MAX);
    need.best = least_of(need.best, l.bytes);
  }
  if (need.best < need.least) need.best = need.least;
  return need;
}

struct cpu_need actscope_cpu_pairs_need(const struct cpu_pairs_request *q, actscope_dtype dtype, uint64_t samples,
                                        uint64_t features) {
  uint64_t fixed = fixed_bytes(q, features);
  struct cpu_need need;
  if (!actscope_cpu_largest_serves(q, dtype, samples, features)) {
    need = need_of(q, (uint64_t)zscores_kernels(dtype, q->precision)->size, samples, features);
  } else { /* unless fewer of them are valid */
    struct cpu_need few = need_of(q, sizeof(float), samples, LARGEST_VALID_LEAST - 1);
    need = need_of(q, sizeof(int16_t), samples, features);
    fixed += blocks_bytes(features);
    if (few.best > need.best) need.best = few.best;
    if (few.least > need.least) need.least = few.least;
    if (actscope_cpu_largest_bytes(samples) > need.least) need.least = actscope_cpu_largest_bytes(samples);
    if (need.best < need.least) need.best = need.least;
  }
  need.least += fixed;
  need.best += fixed;
  return need;
}

/* ---- Execution ------------------------------------------------------------------------------------------------------- */

struct run {
  struct zscores z;
  struct product_band band;
  struct layout layout;
  const struct product_table *table;
  const struct product_kernels *kernels;
  uint64_t n, size, chunk;
  uint32_t functionals;
  uint64_t *feature_sum; /* of each position, in 2^-32; NULL: not wanted */
  uint32_t *feature_max;
  struct top_shared *top; /* NULL: not wanted */
  uint32_t *blocks;       /* of largest.h; NULL: not wanted */
  char *slot[2], *buffers;
  double *sums, *thread_sums;
  uint64_t next; /* task to take */
};

/* Positions of a strip. */
static uint64_t strip_length(const struct run *r, uint64_t strip) {
  return least_of(r->layout.strip, r->band.v - strip * r->layout.strip);
}

/* Panels of a slot: chunk after chunk, each with all its positions. */
static char *panels_at(const struct run *r, int slot, uint64_t k, uint64_t length, uint64_t position) {
  uint64_t wide = ceil_to(r->layout.strip, PRODUCT_ROUND);
  return r->slot[slot] + (k * wide + position * length) * r->size;
}

static uint64_t tasks(struct run *r, uint64_t count) { return __atomic_fetch_add(&r->next, count, __ATOMIC_RELAXED); }
static uint64_t task(struct run *r) { return tasks(r, 1); }

/* Everybody: waits, and starts a new list of tasks. */
static void tasks_begin(struct run *r) {
#pragma omp barrier
#pragma omp master
  r->next = 0;
#pragma omp barrier
}

/* Packs samples [k0, k0 + k) of a strip. */
static void pack_strip(struct run *r, int slot, uint64_t strip, uint64_t k0, uint64_t k, uint64_t t, void *buffer) {
  uint64_t length = strip_length(r, strip), blocks = (length + BLOCK - 1) / BLOCK;
  uint64_t block = t % blocks, c = t / blocks * r->chunk, values = least_of(r->chunk, k - c), at = block * BLOCK;
  actscope_zscores_pack(&r->z, strip * r->layout.strip + at, least_of(BLOCK, length - at), k0 + c, values,
                        panels_at(r, slot, c, deep(values, r->size), at),
                        (int64_t)(deep(values, r->size) * (uint64_t)r->kernels->lanes), buffer);
}

static struct product_part part_of(const struct run *r, const struct product_beyond *beyond, uint64_t i0, uint64_t rows,
                                   uint64_t j0, uint64_t columns) {
  struct product_part p = {0};
  p.i0 = i0;
  p.j0 = j0;
  p.rows = rows;
  p.columns = columns;
  p.band = &r->band;
  p.functionals = r->functionals & (ACTSCOPE_PAIRS_ABOVE | ACTSCOPE_PAIRS_HISTOGRAM);
  p.beyond = beyond && (beyond->signs || beyond->features || beyond->top) ? beyond : 0;
  return p;
}

/* What the part's features gathered goes to everybody's: integers, and a largest, in any order. */
static void features_flush(const struct run *r, const struct product_part *p) {
  struct product_features *f = p->beyond ? p->beyond->features : 0;
  if (!f) return;
  for (int side = 0; side < 2; ++side)
    for (uint64_t k = 0; k < BLOCK; ++k) {
      if (f->max[side][k] == 0) continue;
      uint64_t at = (side ? p->j0 : p->i0) + k;
      __atomic_fetch_add(&r->feature_sum[at], f->sum[side][k], __ATOMIC_RELAXED);
      uint32_t *top = &r->feature_max[at], seen = __atomic_load_n(top, __ATOMIC_RELAXED);
      while (seen < f->max[side][k] &&
             !__atomic_compare_exchange_n(top, &seen, f->max[side][k], 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
      f->sum[side][k] = 0;
      f->max[side][k] = 0;
    }
}

/* Points the part at its panels of the chunk that starts at sample c of the `packed` ones. */
static void part_chunk(const struct run *r, struct product_part *p, const int slot[2], uint64_t i, uint64_t j, uint64_t c,
                       uint64_t packed) {
  uint64_t values = least_of(r->chunk, packed - c), length = deep(values, r->size);
  p->k = values;
  p->stride = (int64_t)(length * (uint64_t)r->kernels->lanes);
  p->a = panels_at(r, slot[0], c, length, i);
  p->b = panels_at(r, slot[1], c, length, j);
  p->next_a = p->next_b = 0;
  if (c + 2 * r->chunk <= packed) {
    p->next_a = panels_at(r, slot[0], c + r->chunk, r->chunk, i);
    p->next_b = panels_at(r, slot[1], c + r->chunk, r->chunk, j);
  }
}

/* The blocks of columns, within strip J, that row block i of strip I meets: two ranges, the second of those beyond the
 * wrap. Returns how many blocks. */
static uint64_t row_blocks(const struct run *r, uint64_t I, uint64_t J, uint64_t i, uint64_t range[2][2]) {
  const struct product_band *b = &r->band;
  uint64_t base = J * r->layout.strip, end = base + strip_length(r, J), first = I * r->layout.strip + i * BLOCK;
  uint64_t last = least_of(first + BLOCK, I * r->layout.strip + strip_length(r, I)) - 1, reach = last + b->width + (b->extra > 0);
  uint64_t from = first + 1 > base ? first + 1 : base, to = least_of(reach + 1, end); /* positions [from, to) */
  range[0][0] = range[0][1] = range[1][0] = range[1][1] = 0;
  if (from < to) {
    range[0][0] = (from - base) / BLOCK;
    range[0][1] = (to - 1 - base) / BLOCK + 1;
  }
  if (b->wrap && reach >= b->v && base <= reach - b->v) {
    range[1][1] = (least_of(reach - b->v, end - 1) - base) / BLOCK + 1;
    if (from < to && range[1][1] > range[0][0]) range[1][1] = range[0][0];
  }
  return range[0][1] - range[0][0] + range[1][1];
}

/* Block pairs of strips I and J, z-scores of all samples being there. */
static void multiply_blocks(struct run *r, uint64_t I, uint64_t J, const int slot[2], double *sums,
                            const struct product_beyond *beyond, struct product_tally *tally) {
  uint64_t rows = (strip_length(r, I) + BLOCK - 1) / BLOCK, i = 0, before = 0, range[2][2];
  uint64_t count = row_blocks(r, I, J, 0, range);
  /* Neighbours go to one thread where there are plenty: their panels are fetched ahead. */
  uint64_t plenty = rows * ((strip_length(r, J) + BLOCK - 1) / BLOCK) / (32 * (uint64_t)omp_get_num_threads());
  uint64_t together = plenty < 1 ? 1 : plenty > 8 ? 8 : plenty;
  for (uint64_t t = 0, end = 0;; ++t) {
    if (t == end) {
      t = tasks(r, together);
      end = t + together;
    }
    while (t >= before + count) {
      before += count;
      if (++i == rows) return;
      count = row_blocks(r, I, J, i, range);
    }
    uint64_t j = t - before, first = range[0][1] - range[0][0];
    j = j < first ? range[0][0] + j : j - first;
    uint64_t a = i * BLOCK, b = j * BLOCK;
    struct product_part p = part_of(r, beyond, I * r->layout.strip + a, least_of(BLOCK, strip_length(r, I) - a),
                                    J * r->layout.strip + b, least_of(BLOCK, strip_length(r, J) - b));
    if (r->n <= r->chunk) {
      part_chunk(r, &p, slot, a, b, 0, r->n);
      r->kernels->direct(&p, tally);
    } else {
      p.sum = sums;
      p.sum_ld = BLOCK;
      memset(sums, 0, BLOCK * BLOCK * sizeof *sums);
      for (uint64_t c = 0; c < r->n; c += r->chunk) {
        part_chunk(r, &p, slot, a, b, c, r->n);
        r->kernels->add(&p);
      }
      r->kernels->take(&p, tally);
    }
    features_flush(r, &p);
    if (r->blocks) actscope_cpu_largest_note(r->blocks, p.i0, p.j0, r->table->tally_largest(tally));
  }
}

/* The sums way, one phase: units of the product of strips I and J; k samples are packed, 0: sums go to the tally. */
static void multiply_units(struct run *r, uint64_t I, uint64_t J, const int slot[2], uint64_t k,
                           const struct product_beyond *beyond, struct product_tally *tally) {
  uint64_t rows = strip_length(r, I), columns = strip_length(r, J), wide = ceil_to(r->layout.strip, PRODUCT_ROUND);
  uint64_t unit = rows >= 8 * BLOCK && columns >= 8 * BLOCK ? BLOCK : PRODUCT_ROUND;
  uint64_t across = (columns + unit - 1) / unit, all = across * ((rows + unit - 1) / unit);
  for (uint64_t t = task(r); t < all; t = task(r)) {
    uint64_t a = t / across * unit, b = t % across * unit;
    struct product_part p = part_of(r, beyond, I * r->layout.strip + a, least_of(unit, rows - a), J * r->layout.strip + b,
                                    least_of(unit, columns - b));
    if (product_band_meets(&r->band, p.i0, p.rows, p.j0, p.columns) == 0) continue;
    p.rows = ceil_to(p.rows, PRODUCT_ROUND); /* what lies beyond is zero */
    p.columns = ceil_to(p.columns, PRODUCT_ROUND);
    p.sum = r->sums + a * wide + b;
    p.sum_ld = (int64_t)wide;
    for (uint64_t c = 0; c < k; c += r->chunk) {
      part_chunk(r, &p, slot, a, b, c, k);
      r->kernels->add(&p);
    }
    if (k == 0) {
      r->kernels->take(&p, tally);
      features_flush(r, &p);
      if (r->blocks) actscope_cpu_largest_note(r->blocks, p.i0, p.j0, r->table->tally_largest(tally));
    }
  }
}

/* Does strip I meet strip J? Strips in the band's order: J = I first. */
static int strips_meet(const struct run *r, uint64_t I, uint64_t J) {
  return I == J || product_band_meets(&r->band, I * r->layout.strip, strip_length(r, I), J * r->layout.strip, strip_length(r, J)) > 0;
}

static void run_pair(struct run *r, uint64_t I, uint64_t J, uint64_t held[2], double *sums, void *buffer,
                     const struct product_beyond *beyond, struct product_tally *tally) {
  const struct layout *l = &r->layout;
  uint64_t wide = ceil_to(l->strip, PRODUCT_ROUND);
  for (uint64_t k0 = 0; k0 < r->n; k0 += l->group) {
    uint64_t k = least_of(l->group, r->n - k0), strip[2] = {I, J};
    int other = held[0] != I && (held[1] == I || (J != I && held[0] == J)), slot[2] = {other, J == I ? other : !other};
    tasks_begin(r);
    uint64_t blocks[2] = {0, 0};
    for (int s = 0; s < 1 + (J != I); ++s)
      if (held[slot[s]] != strip[s]) blocks[s] = (strip_length(r, strip[s]) + BLOCK - 1) / BLOCK * ((k + r->chunk - 1) / r->chunk);
    for (uint64_t t = task(r); t < blocks[0] + blocks[1]; t = task(r)) {
      int s = t >= blocks[0];
      pack_strip(r, slot[s], strip[s], k0, k, s ? t - blocks[0] : t, buffer);
    }
    if (l->group >= r->n) held[slot[0]] = I, held[slot[1]] = J;
    if (l->sums && k0 == 0) {
#pragma omp for schedule(static) nowait
      for (uint64_t i = 0; i < wide; ++i) memset(r->sums + i * wide, 0, wide * sizeof *r->sums);
    }
    tasks_begin(r);
    if (l->sums) multiply_units(r, I, J, slot, k, beyond, tally); else multiply_blocks(r, I, J, slot, sums, beyond, tally);
  }
  if (l->sums) {
    const int none[2] = {0, 0};
    tasks_begin(r);
    multiply_units(r, I, J, none, 0, beyond, tally);
  }
}

static void run_all(struct run *r, struct pairs *out, int threads) {
#pragma omp parallel num_threads(threads)
  {
    struct product_tally tally;
    uint64_t held[2] = {UINT64_MAX, UINT64_MAX}, thread = (uint64_t)omp_get_thread_num();
    void *buffer = r->buffers + thread * ZSCORES_BUFFER;
    double *sums = r->layout.thread_sums ? r->thread_sums + thread * BLOCK * BLOCK : 0;
    struct product_features features;
    struct product_beyond beyond = {(r->functionals & ACTSCOPE_PAIRS_SIGNED) != 0, r->feature_sum ? &features : 0, 0};
    struct top_search search;
    memset(&features, 0, sizeof features);
    if (r->top) {
      actscope_cpu_top_begin(&search, r->top);
      beyond.top = &search.product;
    }
    r->table->tally_init(&tally);
    for (uint64_t I = 0; I < r->layout.strips; ++I)
      for (uint64_t k = 0; k < r->layout.strips; ++k) {
        uint64_t J = (I + k) % r->layout.strips;
        if (strips_meet(r, I, J)) run_pair(r, I, J, held, sums, buffer, &beyond, &tally);
      }
    r->table->tally_empty(&tally);
#pragma omp critical(actscope_pairs)
    {
      pairs_merge(out, &tally.pairs);
      out->count += tally.cells;
      if (r->top) r->top->top->above += search.above;
    }
  }
}

actscope_status actscope_cpu_pairs(const struct view *v, const struct column *columns,
                                   const struct cpu_pairs_request *q, void *scratch, uint64_t bytes,
                                   actscope_correlation *out, double *square_sum, uint32_t *warnings) {
  struct run r;
  struct random_permutation order;
  struct pairs all;
  uint64_t fixed = fixed_bytes(q, v->features), threads = (uint64_t)q->threads;
  memset(&r, 0, sizeof r);
  pairs_init(&all);
  *square_sum = 0;
  if (v->features >> 32) return actscope_fail(ACTSCOPE_UNSUPPORTED, "correlation: 2^32 features or more");
  if (bytes < fixed) goto small;
  uint64_t valid = actscope_zscores_list(columns, v->features, scratch), total = pairs_total(valid), count = total;
  if (q->method == ACTSCOPE_CORRELATION_SAMPLED && q->pairs < total) {
    count = q->pairs;
    pairs_permutation(&order, valid, q->seed, q->step);
    r.band = (struct product_band){valid, count / valid, count % valid, 1};
  } else {
    r.band = (struct product_band){valid, valid, 0, 0};
  }
  if (count > 0) {
    const int integers = actscope_cpu_largest_serves(q, v->dtype, v->samples, v->features) &&
                         actscope_cpu_largest_serves(q, v->dtype, v->samples, valid);
    r.table = actscope_simd_product();
    actscope_zscores_init(&r.z, v, columns, scratch, valid, r.band.wrap ? &order : 0, 0,
                          integers ? &r.table->int16 : zscores_kernels(v->dtype, q->precision));
    if (integers) fixed += blocks_bytes(valid);
    if (bytes < fixed) goto small;
    r.kernels = r.z.kernels;
    r.n = v->samples;
    r.size = (uint64_t)r.kernels->size;
    r.chunk = product_chunk(r.size);
    r.functionals = q->functionals;
    if (!layout_choose(&r.layout, valid, r.n, r.size, threads, bytes - fixed)) goto small;
    uint64_t wide = ceil_to(r.layout.strip, PRODUCT_ROUND);
    char *at = (char *)scratch + list_bytes(v->features);
    if (q->features) {
      r.feature_sum = (uint64_t *)at;
      r.feature_max = (uint32_t *)(at + ceil_to(v->features * 8, 64));
      memset(r.feature_sum, 0, valid * sizeof *r.feature_sum);
      memset(r.feature_max, 0, valid * sizeof *r.feature_max);
    }
    at += sums_bytes(q, v->features);
    if (integers) {
      r.blocks = (uint32_t *)at;
      memset(r.blocks, 0, blocks_bytes(valid));
      at += blocks_bytes(valid);
    }
    void *slots = at;
    for (int s = 0; s < r.layout.slots; ++s, at += wide * deep(r.layout.group, r.size) * r.size) r.slot[s] = at;
    r.sums = (double *)at;
    at += r.layout.sums ? wide * wide * 8 : 0;
    r.thread_sums = (double *)at;
    at += r.layout.thread_sums ? threads * BLOCK * BLOCK * 8 : 0;
    r.buffers = at;
    struct top_shared top = {&r.z, &r.band, q->top, q->top_most, q->top_above, 0, -1, 0};
    if (q->top) {
      top.error = actscope_cpu_r_error(r.kernels, v->dtype, r.n);
      r.top = &top;
    }
    /* a sample takes strips with all the memory it likes too */
    const uint64_t best = actscope_cpu_pairs_need(q, v->dtype, v->samples, v->features).best;
    if (r.layout.strips > 1 && bytes < best) *warnings |= ACTSCOPE_WARN_STRIPS;
    run_all(&r, &all, q->threads);
    if (integers) all.max_bits = actscope_cpu_largest(&r.z, &r.band, r.blocks, q->threads, slots, bytes - fixed);
    if (q->functionals & ACTSCOPE_PAIRS_HISTOGRAM) all.histogram[0] -= all.count - count; /* cells that are no pair */
    all.count = count;
    if (q->top) top_sort(q->top);
    for (uint64_t p = 0; q->features && p < valid; ++p) {
      uint32_t feature = r.z.list[r.z.order ? random_permute(r.z.order, p) : p];
      pairs_feature_add(&q->features[feature], r.feature_sum[p], r.feature_max[p], pairs_partners(p, valid, count));
    }
    all.shares = 1;
    if (r.band.wrap) all.feature_share = actscope_cpu_spread(v, columns, scratch, valid, count, &order);
  }
  *square_sum = pairs_value(&all.square);
  if (q->window) {
    pairs_merge(&q->window->pairs, &all);
    all = q->window->pairs;
    total = q->window->pairs_total += total;
  }
  pairs_finish_of(&all, q->method, q->functionals, q->same_pairs, v->samples, valid, total, out);
  return ACTSCOPE_OK;
small:
  return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "correlation: %llu bytes of scratch memory are too few",
                       (unsigned long long)bytes);
}
