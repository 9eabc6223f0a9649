/* profile.c - the profile stage: one read of the elements for everything that is asked for.
 *
 * The stream of elements is cut into chunks by their number alone; threads take chunks, and a chunk gives one state of
 * moments. States are merged in the order of the chunks; histograms, sketches and sets are integers whose order does not
 * matter. Inside a chunk, elements that lie side by side are handed to the kernels in blocks where they are; others are
 * gathered first. Exact distinct values of wide types that turn out too many for their set are counted afterwards, one
 * range of keys after the other, the ranges chosen by a sketch made on the way. */
#include "cpu/profile.h"

#include <omp.h>

#include "cpu/cpu.h"
#include "cpu/segment.h"
#include "error.h"

enum {
  CHUNKS = 256,         /* at the most */
  CHUNK = 16384,        /* elements, at the least */
  GATHER = 1024,        /* elements gathered at once; shorter runs than half of it are gathered too */
  KEYS = 1024,          /* keys made and inserted at once */
  TABLE_GAP = 2112,     /* bytes between tables */
  TABLES_FROM = 1 << 19, /* elements a worker from which on four tables pay for being cleared and added up */
  NEIGHBOURS = 64,      /* pairs of them looked at in a block */
  REPEATS = 3,          /* pairs with one bin among those from which on more tables than one are quicker */
  GUIDE_BITS = 10       /* the sketch that guides the passes of an exact count: 2 % */
};
#define NARROW_BLOCK (1u << 14)

/* Elements from which on counters of 64 bits are needed; 32-bit ones are emptied into them in time. Tests lower it. */
uint64_t actscope_profile_wide_from = 1ull << 32;

/* ---- Memory ---------------------------------------------------------------------------------------------------------- */

struct layout {
  /* what is done */
  uint32_t statistics;
  int narrow, sums, histogram, sketch_bits /* 0: none */, exact /* wide types only */, wide_counts;
  actscope_dtype dtype;
  uint32_t bins, block;
  size_t size; /* bytes of an element */
  uint64_t elements, chunks, chunk;
  /* with what */
  int workers, tables;
  uint64_t states_bytes, totals_bytes, gather_bytes, keys_bytes, hashes_bytes, words_bytes, table_bytes, worker_bytes, stage_bytes, set_bytes, bytes;
};

/* What the merge of workers' states has to know of one. */
struct tally {
  int tables; /* in use, the first ones; the others are not cleared */
};

static uint64_t up64(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

static void layout_place(struct layout *l, int workers, int tables, uint64_t set_bytes) {
  l->workers = workers;
  l->tables = tables;
  l->set_bytes = set_bytes;
  l->stage_bytes = 0;
  if (l->exact) {
    struct distinct_set set;
    actscope_distinct_shape(&set, (uint32_t)l->size, set_bytes);
    l->stage_bytes = actscope_distinct_stage_bytes(&set);
  }
  l->worker_bytes = up64(sizeof(struct tally)) + l->gather_bytes + l->keys_bytes + l->hashes_bytes + l->words_bytes + l->stage_bytes +
                    l->table_bytes * (uint64_t)tables;
  l->bytes = l->states_bytes + l->totals_bytes + l->worker_bytes * (uint64_t)workers + set_bytes;
}

/* Bytes of the set: for all values at once, with room for partitions that get more than their share, and the least, with
 * which some 64 passes do. */
static uint64_t set_best(const struct layout *l) {
  return up64((l->elements + l->elements / 8 + 2 * DISTINCT_LEAST) * l->size + 2048 * sizeof(struct distinct_partition));
}
static uint64_t set_least(const struct layout *l) {
  uint64_t part = set_best(l) / 64, least = DISTINCT_LEAST * l->size + 2048 * sizeof(struct distinct_partition);
  return up64(part > least ? part : least);
}

static void layout_init(struct layout *l, const struct cpu_profile_request *q, actscope_dtype dtype, uint64_t elements) {
  memset(l, 0, sizeof *l);
  l->statistics = q->statistics & (ACTSCOPE_PROFILE | ACTSCOPE_DISTINCT);
  l->elements = elements;
  l->size = dtype == ACTSCOPE_FLOAT64 ? 8 : dtype == ACTSCOPE_FLOAT32 ? 4 : dtype_bins(dtype) == 256 ? 1 : 2;
  l->dtype = dtype;
  l->narrow = dtype_is_narrow(dtype);
  l->bins = dtype_bins(dtype);
  /* A narrow type's histogram gives everything; of 16-bit types moments alone are quicker without. */
  const int alone = l->statistics == ACTSCOPE_MOMENTS && !q->windowed && actscope_simd_profile()->sums[dtype];
  l->histogram = l->narrow ? l->statistics != 0 && !alone : (l->statistics & ACTSCOPE_QUANTILES) != 0;
  l->sums = (l->statistics & ACTSCOPE_PROFILE) && !(l->narrow && l->histogram);
  l->block = l->narrow && !l->sums ? NARROW_BLOCK : l->size == 8 ? PROFILE_BLOCK / 2 : PROFILE_BLOCK; /* sums: 16 KiB */
  l->wide_counts = l->histogram && elements >= actscope_profile_wide_from;
  if (!l->narrow && (l->statistics & ACTSCOPE_DISTINCT)) {
    l->exact = q->distinct == ACTSCOPE_DISTINCT_EXACT;
    l->sketch_bits = l->exact ? GUIDE_BITS : q->sketch_bits;
  }
  l->chunk = (elements + CHUNKS - 1) / CHUNKS;
  l->chunk = l->chunk < CHUNK ? CHUNK : (l->chunk + PROFILE_BLOCK - 1) / PROFILE_BLOCK * PROFILE_BLOCK;
  l->chunks = (elements + l->chunk - 1) / l->chunk;
  l->states_bytes = l->sums ? up64(l->chunks * sizeof(struct moments)) : 0;
  l->totals_bytes = l->wide_counts ? up64(l->bins * sizeof(uint64_t)) : 0;
  l->gather_bytes = up64(GATHER * l->size);
  l->keys_bytes = l->exact ? up64(KEYS * l->size) : 0;
  l->hashes_bytes = l->sketch_bits ? up64(PROFILE_HASHES * sizeof(uint32_t)) : 0;
  l->words_bytes = l->sketch_bits ? up64(sizeof(uint32_t) << l->sketch_bits) : 0;
  /* Not a multiple of 4 KiB: a load waits for a store to the same place in another page. */
  l->table_bytes = l->histogram ? up64(l->bins * sizeof(uint32_t)) + TABLE_GAP : 0;
}

/* Tables a worker uses at best: 1 MiB in all for 16-bit bins, and no more than 64 MiB for all workers. */
static int most_tables(const struct layout *l, int workers) {
  if (!l->histogram) return 0;
  if (l->bins > 65536 || workers > 128) return 1;
  return l->elements / (uint64_t)workers >= TABLES_FROM && workers <= 64 ? 4 : 2;
}

static int most_workers(const struct layout *l, int threads) {
  int most = threads > 1 ? threads : 1;
  return (uint64_t)most > l->chunks ? l->chunks > 0 ? (int)l->chunks : 1 : most;
}

/* The largest arrangement that fits. Threads come first, then second tables; a set takes half, then what is left. */
static int layout_fit(struct layout *l, int threads, uint64_t bytes) {
  uint64_t best = l->exact ? set_best(l) : 0, least = l->exact ? set_least(l) : 0, half = bytes / 2 / 64 * 64, want;
  want = best < half ? best : half > least ? half : least;
  for (int workers = most_workers(l, threads); workers >= 1; --workers)
    for (int tables = most_tables(l, workers); tables >= l->histogram; tables = tables > 1 ? tables / 2 : -1) {
      for (uint64_t set = best;; set = set / 64 * 63 / 64 * 64) { /* the stages grow with the set */
        if (set < want) set = want;
        layout_place(l, workers, tables, set);
        if (l->bytes <= bytes) return 1;
        if (set == want) break;
      }
      if (workers == 1 && tables <= 1) {
        layout_place(l, workers, tables, least);
        if (l->bytes <= bytes) return 1;
      }
    }
  return 0;
}

struct cpu_need actscope_cpu_profile_need(const struct cpu_profile_request *q, actscope_dtype dtype, uint64_t elements) {
  struct layout l;
  struct cpu_need need = {0, 0};
  layout_init(&l, q, dtype, elements);
  if (l.statistics == 0 || elements == 0) return need;
  layout_place(&l, 1, l.histogram, l.exact ? set_least(&l) : 0);
  need.least = l.bytes;
  int workers = most_workers(&l, q->threads);
  layout_place(&l, workers, most_tables(&l, workers), l.exact ? set_best(&l) : 0);
  need.best = l.bytes;
  return need;
}

/* ---- The stream of elements ------------------------------------------------------------------------------------------ */

struct stream {
  const char *data;
  size_t size;
  uint32_t block;
  struct view_side side;
};

/* A place in the stream, moved on without divisions. */
struct cursor {
  int64_t at[2 * ACTSCOPE_MAX_DIMS], offset;
};

static void cursor_set(struct cursor *c, const struct view_side *side, uint64_t index) {
  c->offset = 0;
  for (int d = side->dims - 1; d >= 0; --d) {
    c->at[d] = (int64_t)(index % (uint64_t)side->axis[d].extent);
    index /= (uint64_t)side->axis[d].extent;
    c->offset += c->at[d] * side->axis[d].stride;
  }
}
/* By at most the rest of the innermost axis. */
static void cursor_move(struct cursor *c, const struct view_side *side, uint64_t by) {
  for (int d = side->dims - 1; d >= 0; --d) {
    c->at[d] += (int64_t)by;
    c->offset += (int64_t)by * side->axis[d].stride;
    if (c->at[d] < side->axis[d].extent) return;
    c->at[d] = 0;
    c->offset -= side->axis[d].extent * side->axis[d].stride;
    by = 1;
  }
}

#define GATHER_RUN(TYPE)                                                                                    \
  for (uint64_t i = 0; i < n; ++i) memcpy(to + i * sizeof(TYPE), from + (int64_t)i * step, sizeof(TYPE));

static void gather_run(char *to, const char *from, int64_t stride, uint64_t n, size_t size) {
  int64_t step = stride * (int64_t)size;
  if (stride == 1) { memcpy(to, from, n * size); return; }
  switch (size) {
    case 1: GATHER_RUN(uint8_t) break;
    case 2: GATHER_RUN(uint16_t) break;
    case 4: GATHER_RUN(uint32_t) break;
    default: GATHER_RUN(uint64_t)
  }
}

struct worker;
static void consume(struct worker *w, const void *x, uint32_t n);

/* Hands the elements [from, to) to `take`, in order, side by side. gather holds GATHER elements. */
static void walk(const struct stream *s, uint64_t from, uint64_t to, char *gather,
                 void (*take)(struct worker *, const void *, uint32_t), struct worker *w) {
  const struct view_side *side = &s->side;
  int64_t extent = side->dims ? side->axis[side->dims - 1].extent : 1;
  int64_t stride = side->dims ? side->axis[side->dims - 1].stride : 1;
  struct cursor c;
  uint32_t held = 0;
  cursor_set(&c, side, from);
  while (from < to) {
    uint64_t run = side->dims ? (uint64_t)(extent - c.at[side->dims - 1]) : 1;
    const char *x = s->data + c.offset * (int64_t)s->size;
    if (run > to - from) run = to - from;
    if (held == 0 && stride == 1 && (run >= GATHER / 2 || run == to - from)) {
      if (run > s->block) run = s->block;
      take(w, x, (uint32_t)run);
    } else {
      if (run > GATHER - held) run = GATHER - held;
      gather_run(gather + held * s->size, x, stride, run, s->size);
      held += (uint32_t)run;
      if (held == GATHER || run == to - from) {
        take(w, gather, held);
        held = 0;
      }
    }
    cursor_move(&c, side, run);
    from += run;
  }
}

/* ---- Workers ------------------------------------------------------------------------------------------------------------ */

struct job {
  const struct layout *l;
  const struct profile_table *simd;
  struct stream stream;
  struct moments *states;
  uint64_t *totals;
  struct distinct_set set;
  int insert, sketch; /* fill the set, the sketch along the way */
  char *workers; /* memory */
  uint64_t next; /* chunk; atomic */
};
struct worker {
  struct job *job;
  char *gather;
  void *keys, *stage_memory;
  struct profile_sketch sketch;
  struct distinct_stage stage;
  struct profile_counts counts, single; /* all tables; the first in place of all */
  struct tally *tally;
  int spread;       /* values repeat: count in all tables */
  uint64_t counted; /* in the tables since they were emptied */
  struct segment segment;
  int opened; /* the segment of this chunk has begun */
};

static void worker_init(struct worker *w, struct job *job, int index) {
  const struct layout *l = job->l;
  char *at = job->workers + l->worker_bytes * (uint64_t)index;
  memset(w, 0, sizeof *w);
  w->job = job;
  w->tally = (struct tally *)at, at += up64(sizeof *w->tally);
  w->gather = at, at += l->gather_bytes;
  w->keys = at, at += l->keys_bytes;
  w->sketch.hashes = (uint32_t *)at, at += l->hashes_bytes;
  w->sketch.words = (uint32_t *)at, at += l->words_bytes;
  w->sketch.bits = l->sketch_bits;
  w->stage_memory = at, at += l->stage_bytes;
  for (int t = 0; t < 4; ++t) {
    w->counts.table[t] = (uint32_t *)(at + (l->tables ? t % l->tables : 0) * l->table_bytes);
    w->single.table[t] = (uint32_t *)at;
  }
}

/* Adds the 32-bit counters to the 64-bit ones and empties them. */
static void worker_flush(struct worker *w) {
  const struct layout *l = w->job->l;
  for (int t = 0; t < w->tally->tables; ++t)
    for (uint32_t b = 0; b < l->bins; ++b) {
      uint32_t c = w->counts.table[t][b];
      if (c == 0) continue;
      __atomic_fetch_add(&w->job->totals[b], c, __ATOMIC_RELAXED);
      w->counts.table[t][b] = 0;
    }
  w->counted = 0;
}

static void use_tables(struct worker *w, int tables) {
  for (int *used = &w->tally->tables; *used < tables; ++*used)
    memset(w->counts.table[*used], 0, w->job->l->table_bytes);
}

#define SAME_BIN(TYPE, SHIFT)                                                                        \
  for (uint32_t i = 0; i < NEIGHBOURS; ++i) {                                                        \
    TYPE pair[2];                                                                                    \
    memcpy(pair, (const char *)x + (i / 16 * (n / 4) + i % 16) * sizeof(TYPE), sizeof pair);         \
    same += (pair[0] ^ pair[1]) >> SHIFT == 0;                                                       \
  }

/* Where values repeat, an increment waits for the one before of the same counter, which tables taken in turn avoid. Where
 * they do not, one table is quicker, more of which stays in the first-level cache: normal float16 values take 0.6 of the
 * time. Neighbours in a block tell which way to count the next. */
static int values_repeat(const void *x, uint32_t n, size_t size) {
  uint32_t same = 0;
  if (size == 1) return 1;
  if (size == 2) SAME_BIN(uint16_t, 0)
  else if (size == 4) SAME_BIN(uint32_t, 16)
  else SAME_BIN(uint64_t, 45)
  return same >= REPEATS;
}

static const struct profile_counts *counts_of(struct worker *w) {
  const struct layout *l = w->job->l;
  if (!l->histogram) return 0;
  if (!w->spread) return &w->single;
  use_tables(w, l->tables);
  return &w->counts;
}

static void sum_block(struct worker *w, const void *x, uint32_t n, const struct profile_counts *counts) {
  const struct layout *l = w->job->l;
  const struct profile_table *simd = w->job->simd;
  struct segment *g = &w->segment;
  struct profile_sums b;
  int flags = l->statistics & ACTSCOPE_ENTROPY ? PROFILE_ENTROPY : 0;
  profile_sums_function *sums = simd->sums[l->dtype];
  if (!w->opened) actscope_segment_begin(g, x, n, l->dtype);
  w->opened = 1;
  sums(x, n, &g->frame, flags, counts, &b);
  actscope_segment_add(g, sums, flags, x, n, &b);
}

static void insert_keys(struct worker *w, const void *x, uint32_t n) {
  struct job *job = w->job;
  size_t size = job->l->size;
  if (__atomic_load_n(&job->set.overflow, __ATOMIC_RELAXED)) return;
  for (uint32_t i = 0; i < n; i += KEYS) {
    uint32_t k = n - i < KEYS ? n - i : KEYS;
    const char *from = (const char *)x + i * size;
    if (size == 4) job->simd->keys32(from, k, w->keys);
    else job->simd->keys64(from, k, w->keys);
    actscope_distinct_insert(&job->set, &w->stage, w->keys, k);
  }
}

static void consume(struct worker *w, const void *x, uint32_t n) {
  struct job *job = w->job;
  const struct layout *l = job->l;
  if (l->histogram) {
    if (l->wide_counts && w->counted + n >= actscope_profile_wide_from) worker_flush(w);
    w->counted += n;
  }
  const struct profile_counts *counts = counts_of(w);
  if (l->sums) sum_block(w, x, n, counts);
  if (l->narrow && counts) {
    if (l->size == 2) job->simd->count16(x, n, counts);
    else job->simd->count8(x, n, counts);
  }
  if (l->tables > 1 && n >= 2 * NEIGHBOURS) w->spread = values_repeat(x, n, l->size);
  if (job->insert) insert_keys(w, x, n);
  if (job->sketch) {
    if (l->size == 4) job->simd->sketch32(x, n, &w->sketch);
    else job->simd->sketch64(x, n, &w->sketch);
  }
}

/* Takes chunks until there are none. */
static void worker_run(struct worker *w, void (*take)(struct worker *, const void *, uint32_t)) {
  struct job *job = w->job;
  const struct layout *l = job->l;
  for (;;) {
    uint64_t chunk = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED);
    if (chunk >= l->chunks) return;
    uint64_t from = chunk * l->chunk, to = l->elements - from > l->chunk ? from + l->chunk : l->elements;
    w->opened = 0;
    walk(&job->stream, from, to, w->gather, take, w);
    if (l->sums && take == consume) {
      actscope_segment_close(&w->segment);
      job->states[chunk] = w->segment.closed;
    }
  }
}

/* The read of everything, and what the sketches and tables of all workers come to, in those of the first. */
static void run_all(struct job *job, int index, int team) {
  const struct layout *l = job->l;
  struct worker w;
  if (index < l->workers) {
    worker_init(&w, job, index);
    memset(w.sketch.words, 0, l->words_bytes);
    w.tally->tables = 0;
    use_tables(&w, l->histogram);
    if (job->insert) actscope_distinct_stage_init(&job->set, &w.stage, w.stage_memory);
    if (l->wide_counts && index == 0) memset(job->totals, 0, l->totals_bytes);
  }
  if (team > 1) {
#pragma omp barrier
  }
  if (index < l->workers) {
    worker_run(&w, consume);
    if (l->wide_counts) worker_flush(&w);
    if (job->insert) actscope_distinct_flush(&job->set, &w.stage);
  }
  if (team > 1) {
#pragma omp barrier
  }
  if (index < l->workers && job->insert) actscope_distinct_count(&job->set, &w.stage);
  if (index >= l->workers) return;
  struct worker first, other;
  worker_init(&first, job, 0);
  uint32_t words = l->sketch_bits ? 1u << l->sketch_bits : 0, bins = l->wide_counts ? 0 : l->bins;
  uint32_t part = (uint32_t)index, parts = (uint32_t)l->workers;
  for (int k = 0; k < l->workers; ++k) {
    worker_init(&other, job, k);
    uint32_t *to = first.sketch.words, *from = other.sketch.words;
    if (k > 0)
      for (uint32_t i = words / parts * part, end = part + 1 == parts ? words : i + words / parts; i < end; ++i) to[i] |= from[i];
    for (int t = k == 0; t < other.tally->tables; ++t) {
      to = first.counts.table[0], from = other.counts.table[t];
      for (uint32_t i = bins / parts * part, end = part + 1 == parts ? bins : i + bins / parts; i < end; ++i) to[i] += from[i];
    }
  }
}

/* One read more, for the keys of the set's range. */
static void run_insert(struct job *job, int index, int team) {
  struct worker w;
  if (index < job->l->workers) {
    worker_init(&w, job, index);
    actscope_distinct_stage_init(&job->set, &w.stage, w.stage_memory);
    worker_run(&w, insert_keys);
    actscope_distinct_flush(&job->set, &w.stage);
  }
  if (team > 1) {
#pragma omp barrier
  }
  if (index < job->l->workers) actscope_distinct_count(&job->set, &w.stage);
}

/* A single worker needs no team. */
static void run(struct job *job, int threads, void (*stage)(struct job *, int, int)) {
  job->next = 0;
  if (job->l->workers == 1) {
    stage(job, 0, 1);
    return;
  }
#pragma omp parallel num_threads(threads)
  stage(job, omp_get_thread_num(), omp_get_num_threads());
}

/* ---- Exact counts of wide types ------------------------------------------------------------------------------------------ */

/* Distinct keys that surely fit, a partition's share of them varying as it does. */
static double set_room(const struct distinct_set *set) {
  double capacity = set->capacity;
  return (double)set->partitions * (0.875 * capacity - 5 * sqrt(capacity));
}

/* In passes, after a read that filled the sketch and found out that the set is too small for all. */
static actscope_status count_in_passes(struct job *job, actscope_dtype dtype, int threads, uint64_t *count) {
  const uint64_t whole = 1ull << 32;
  uint64_t columns[33], low = 0;
  double lambda, error;
  struct worker first;
  worker_init(&first, job, 0);
  distinct_columns(first.sketch.words, GUIDE_BITS, columns);
  distinct_likelihood(columns, GUIDE_BITS, &lambda, &error);
  double parts = ceil(distinct_count(dtype, lambda) * (1 + 3 * error) / set_room(&job->set));
  uint64_t range = parts <= 2 ? whole / 2 : (uint64_t)(4294967296.0 / parts) + 1;
  *count = 0;
  while (low < whole) {
    if (range > whole - low) range = whole - low;
    actscope_distinct_open(&job->set, low, range);
    run(job, threads, run_insert);
    if (job->set.overflow) {
      if (range == 1) return ACTSCOPE_INTERNAL; /* thousands of doubles whose hashes begin alike */
      range = (range + 1) / 2;
      continue;
    }
    *count += job->set.count;
    low += range;
  }
  *count += job->set.zero;
  return ACTSCOPE_OK;
}

/* ---- The stage ------------------------------------------------------------------------------------------------------------ */

static void finish_profile(const struct layout *l, actscope_dtype dtype, const struct moments *m, struct histogram_counts counts,
                           actscope_profile *out) {
  memset(out, 0, sizeof *out);
  moments_finish(m, l->statistics, out);
  for (int i = 0; i < ACTSCOPE_QUANTILE_COUNT; ++i) out->quantiles[i] = core_nan();
  if ((l->statistics & ACTSCOPE_QUANTILES) && m->n > 0) {
    histogram_quantiles_of(dtype, counts, m->n, m->min, m->max, out->quantiles);
    histogram_buckets_of(dtype, counts, m->zero, m->negative, out->buckets);
  }
}

/* This step's states join the window's. */
static void window_join(struct cpu_window *w, const struct layout *l, const struct moments *m, struct histogram_counts *counts,
                        const uint32_t *words) {
  if (l->sums) moments_merge(&w->moments, m);
  if (w->counts) {
    for (uint32_t bin = 0; bin < l->bins; ++bin) w->counts[bin] += histogram_at(*counts, bin);
    *counts = histogram_of64(w->counts);
  }
  if (w->words && words)
    for (uint64_t i = 0; i < 1ull << l->sketch_bits; ++i) w->words[i] |= words[i];
}

actscope_status actscope_cpu_profile(const struct view *v, const struct cpu_profile_request *q, void *scratch,
                                     uint64_t bytes, actscope_profile *profile, actscope_distinct *distinct,
                                     uint32_t *warnings) {
  struct layout l;
  struct job job;
  struct worker first;
  struct moments m;
  struct histogram_counts counts;
  const void *data;
  uint64_t exact = 0, elements = q->window ? v->elements * q->window->steps : v->elements;
  memset(&counts, 0, sizeof counts);
  layout_init(&l, q, v->dtype, v->elements);
  moments_init(&m);
  memset(&job, 0, sizeof job);
  job.l = &l;
  if (l.statistics == 0) return ACTSCOPE_OK;
  if (v->elements > 0) {
    if (!layout_fit(&l, q->threads, bytes))
      return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "the profile stage needs more than %llu bytes", (unsigned long long)bytes);
    char *at = scratch;
    job.simd = actscope_simd_profile();
    job.states = (struct moments *)at, at += l.states_bytes;
    job.totals = (uint64_t *)at, at += l.totals_bytes;
    job.workers = at, at += l.worker_bytes * (uint64_t)l.workers;
    view_stream(v, &data, &job.stream.side);
    job.stream.data = data;
    job.stream.size = l.size;
    job.stream.block = l.block;
    if (l.exact) {
      actscope_distinct_shape(&job.set, (uint32_t)l.size, l.set_bytes);
      actscope_distinct_place(&job.set, at);
      actscope_distinct_open(&job.set, 0, 1ull << 32);
      job.insert = 1;
    }
    job.sketch = l.sketch_bits > 0;
    run(&job, q->threads, run_all);
    worker_init(&first, &job, 0);
    if (l.sums)
      for (uint64_t c = 0; c < l.chunks; ++c) moments_merge(&m, &job.states[c]);
    if (l.histogram) counts = l.wide_counts ? histogram_of64(job.totals) : histogram_of32(first.counts.table[0]);
    if (q->window) {
      window_join(q->window, &l, &m, &counts, l.sketch_bits && !l.exact ? first.sketch.words : 0);
      m = q->window->moments;
    }
    if (l.narrow && l.histogram) {
      histogram_moments_of(v->dtype, counts, &m);
      if (l.statistics & ACTSCOPE_DISTINCT) exact = histogram_distinct_of(v->dtype, counts);
    }
  }
  if (l.statistics & ACTSCOPE_PROFILE) finish_profile(&l, v->dtype, &m, counts, profile);
  if (m.nan + m.positive_inf + m.negative_inf > 0) *warnings |= ACTSCOPE_WARN_NONFINITE;
  if (!(l.statistics & ACTSCOPE_DISTINCT)) return ACTSCOPE_OK;
  if (l.sketch_bits && !l.exact && v->elements > 0) {
    uint64_t columns[33];
    distinct_columns(q->window ? q->window->words : first.sketch.words, l.sketch_bits, columns);
    distinct_finish(v->dtype, columns, l.sketch_bits, elements, distinct);
    return ACTSCOPE_OK;
  }
  if (l.exact && v->elements > 0) {
    exact = job.set.count + job.set.zero;
    if (job.set.overflow) {
      actscope_status status = count_in_passes(&job, v->dtype, q->threads, &exact);
      if (status) return actscope_fail(status, "more values with one hash than memory holds");
      *warnings |= ACTSCOPE_WARN_DISTINCT_PASSES;
    }
  }
  distinct_finish_exact(exact, elements, distinct);
  return ACTSCOPE_OK;
}
