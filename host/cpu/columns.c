/* columns.c - feature moments: one read of the tensor, features (and, where they are few, samples) shared out.
 *
 * A task is a block of features over a chunk of samples, both cut by the shape alone. It sums runs of samples about a
 * pivot, the mean so far, and merges each run; chunks are merged in their order. Where a run's sum of squares leaves
 * the range of its type, that feature's run is done again in double, element by element. */
#include <omp.h>

#include "cpu/cpu.h"
#include "cpu/simd/columns.h"
#include "cpu/tile.h"
#include "error.h"

enum {
  RUN = 256,             /* samples about one pivot */
  RUN_INNER = TILE_INNER_MAX, /* the same where samples are the inner side, and need a copy */
  RUN_LONG = 2048,       /* or need none */
  NARROW = 512,          /* features of a task, where they are not neighbours in memory */
  TASKS = 32,            /* samples are cut only to reach that many */
  BLOCKS = 4,            /* features are cut into smaller blocks only to reach that many */
  CHUNK = 2048,          /* samples in a chunk, at the least */
  LANES_MAX = 16,        /* of any instruction set */
  BUFFER = 65536,        /* bytes of converted values at once, or of a block's states */
  PARTIAL = 1 << 20      /* bytes of partial states, about */
};

_Static_assert(COLUMNS_FEATURES * sizeof(struct column) <= BUFFER, "a block's states fit the buffer");

enum layout { ROWS, ROWS_APART, SAMPLES }; /* features are neighbours; are not; samples are the inner side */
struct cut {
  enum layout layout;
  uint64_t block, blocks, chunk, chunks; /* features, samples */
};

static uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
static uint64_t between(uint64_t low, uint64_t x, uint64_t high) { return x < low ? low : x > high ? high : x; }

static struct cut cut_for(enum layout layout, uint64_t samples, uint64_t features) {
  struct cut c;
  c.layout = layout;
  uint64_t most = between(1, samples / CHUNK, TASKS), parts = features > 0 ? PARTIAL / (features * sizeof(struct column)) : 1;
  if (most > parts) most = parts > 0 ? parts : 1;
  uint64_t share = ceil_div(features, layout == SAMPLES ? TASKS : most < BLOCKS ? BLOCKS / most : 1);
  c.block = ceil_div(share, 16) * 16;
  c.block = layout == ROWS ? between(128, c.block, COLUMNS_FEATURES) : between(16, c.block, NARROW);
  c.blocks = ceil_div(features, c.block);
  uint64_t run = layout == SAMPLES ? RUN_LONG : RUN, want = between(1, c.blocks > 0 ? ceil_div(TASKS, c.blocks) : 1, most);
  c.chunk = ceil_div(ceil_div(samples, want), run) * run;
  c.chunks = c.chunk > 0 ? ceil_div(samples, c.chunk) : 0;
  return c;
}

/* Bytes of one thread: seven arrays of doubles at the most, and converted values. */
static uint64_t thread_bytes(void) { return 7 * COLUMNS_FEATURES * 8 + BUFFER; }
static uint64_t partial_bytes(const struct cut *c, uint64_t features) {
  return c->chunks > 1 ? c->chunks * features * sizeof(struct column) : 0;
}

/* The order of the axes is not known here: the largest of the cuts. */
struct cpu_need actscope_cpu_columns_need(actscope_dtype dtype, uint64_t samples, uint64_t features, int threads) {
  uint64_t partial = 0;
  (void)dtype;
  for (int layout = ROWS; layout <= SAMPLES; ++layout) {
    struct cut c = cut_for((enum layout)layout, samples, features);
    if (partial_bytes(&c, features) > partial) partial = partial_bytes(&c, features);
  }
  uint64_t need = (uint64_t)threads * thread_bytes() + partial + 64;
  return (struct cpu_need){need, need};
}

struct worker {
  const struct view *view;
  const struct columns_kernels *kernels;
  struct columns_state state;
  void *buffer;
  int wide;
};

static void worker_init(struct worker *w, const struct view *v, char *scratch) {
  double *a = (double *)scratch;
  w->view = v;
  w->wide = v->dtype == ACTSCOPE_FLOAT64;
  w->kernels = w->wide ? &actscope_simd_columns()->wide : &actscope_simd_columns()->single;
  w->state.s1 = a;
  w->state.s2 = a + COLUMNS_FEATURES;
  w->state.mean = a + 2 * COLUMNS_FEATURES;
  w->state.m2 = a + 3 * COLUMNS_FEATURES;
  w->state.pivot = a + 4 * COLUMNS_FEATURES;
  w->state.min = a + 5 * COLUMNS_FEATURES;
  w->state.max = a + 6 * COLUMNS_FEATURES;
  w->buffer = a + 7 * COLUMNS_FEATURES;
}

static double value_at(const struct worker *w, const void *array, uint64_t i) {
  return w->wide ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

/* Merges one feature's run [from, to) of samples, whose vector sums prove nothing, after `before` others. */
static void redo(struct worker *w, uint64_t feature, uint64_t at, uint64_t from, uint64_t to, uint64_t before) {
  const struct view *v = w->view;
  double *mean = &w->state.mean[at], *m2 = &w->state.m2[at];
  double low = value_at(w, w->state.min, at), high = value_at(w, w->state.max, at), s2 = w->state.s2[at];
  double range = w->wide ? 1e150 : 1e17; /* squares of differences up to twice that do not overflow */
  w->state.s1[at] = w->state.s2[at] = 0;
  if (!core_finite(*mean)) return; /* known not to be finite */
  int harmless = low > -range && high < range;
  if (!core_finite(low) || !core_finite(high) || (harmless && !core_finite(s2))) {
    *mean = core_nan();
    return;
  }
  int64_t base = view_offset(&v->feature, feature);
  double k = (double)(to - from), center = 0, square = 0;
  for (uint64_t s = from; s < to; ++s) {
    double x = dtype_load(v->dtype, v->data, base + view_offset(&v->sample, s));
    if (!core_finite(x)) {
      *mean = core_nan();
      return;
    }
    center += x / k;
  }
  for (uint64_t s = from; s < to; ++s) {
    double d = dtype_load(v->dtype, v->data, base + view_offset(&v->sample, s)) - center;
    square += d * d;
  }
  double n = (double)before + k, d = center - *mean;
  *m2 += square + d * d * ((double)before * k / n);
  *mean += before > 0 ? d * (k / n) : d;
  if (!(*m2 <= 1.7e308)) *m2 = core_infinity();
  if (w->wide) ((double *)w->state.pivot)[at] = *mean; else ((float *)w->state.pivot)[at] = (float)*mean;
}

/* Features [at, at + n) of the block that starts at f0: ends the run [from, to) of samples, after `before` others. */
static void merge_run(struct worker *w, uint64_t f0, uint64_t at, uint64_t n, uint64_t from, uint64_t to,
                      uint64_t before) {
  uint16_t odd[COLUMNS_FEATURES];
  uint64_t count = w->kernels->merge(&w->state, at, at + n, (double)(to - from), (double)before, odd);
  for (uint64_t i = 0; i < count; ++i) redo(w, f0 + odd[i], odd[i], from, to, before);
}

/* Rows of features, where they are or, converted, a few samples at a time. */
static void run_rows(struct worker *w, uint64_t f0, uint64_t n, uint64_t c0, uint64_t c1) {
  struct tile_reader reader;
  actscope_tile_open(&reader, w->view, 0, (struct tile_indices){0, f0, n});
  const size_t size = actscope_tile_size(w->view->dtype);
  const uint64_t most = BUFFER / (n * size), fit = most < COLUMNS_GROUP ? most : most / COLUMNS_GROUP * COLUMNS_GROUP;
  columns_rows *direct = w->kernels->rows[w->view->dtype];
  columns_rows *converted = w->kernels->rows[w->wide ? ACTSCOPE_FLOAT64 : ACTSCOPE_FLOAT32];
  for (uint64_t s = c0; s < c1; s += RUN) {
    uint64_t end = c1 - s < RUN ? c1 : s + RUN;
    struct tile t;
    if (direct && actscope_tile_raw(&reader, (struct tile_indices){0, s, end - s}, &t)) {
      direct(t.data, t.ld, end - s, n, &w->state, s == c0);
    } else {
      for (uint64_t r = s; r < end; r += fit) {
        uint64_t rows = end - r < fit ? end - r : fit;
        t = actscope_tile_read(&reader, (struct tile_indices){0, r, rows}, w->buffer);
        converted(t.data, t.ld, rows, n, &w->state, r == c0);
      }
    }
    merge_run(w, f0, 0, n, s, end, s - c0);
  }
}

/* Samples side by side: a few features at a time, or one after the other where nothing needs to be converted. */
static void run_samples(struct worker *w, uint64_t f0, uint64_t n, uint64_t c0, uint64_t c1) {
  const struct view *v = w->view;
  size_t size = actscope_tile_size(v->dtype);
  if (!dtype_is_narrow(v->dtype) && actscope_tile_neighbours(&v->sample)) {
    for (uint64_t f = 0; f < n; ++f) {
      const char *x = (const char *)v->data + view_offset(&v->feature, f0 + f) * (int64_t)size;
      for (uint64_t s = c0; s < c1; s += RUN_LONG) {
        uint64_t end = c1 - s < RUN_LONG ? c1 : s + RUN_LONG;
        w->kernels->samples(x + s * size, end - s, &w->state, f, s == c0);
        merge_run(w, f0, f, 1, s, end, s - c0);
      }
    }
    return;
  }
  struct tile_reader reader;
  for (uint64_t s = c0; s < c1; s += RUN_INNER) {
    uint64_t end = c1 - s < RUN_INNER ? c1 : s + RUN_INNER, length = end - s, step = BUFFER / (length * size);
    actscope_tile_open(&reader, v, 1, (struct tile_indices){0, s, length});
    for (uint64_t f = 0; f < n; f += step) {
      uint64_t count = n - f < step ? n - f : step;
      struct tile t = actscope_tile_read(&reader, (struct tile_indices){0, f0 + f, count}, w->buffer);
      for (uint64_t i = 0; i < count; ++i)
        w->kernels->samples((const char *)t.data + (int64_t)i * t.ld * (int64_t)size, length, &w->state, f + i, s == c0);
    }
    merge_run(w, f0, 0, n, s, end, s - c0);
  }
}

actscope_status actscope_cpu_columns(const struct view *v, int threads, void *scratch, uint64_t bytes,
                                     struct column *columns, actscope_health *health) {
  enum layout layout = actscope_tile_samples_inner(v) ? SAMPLES : actscope_tile_neighbours(&v->feature) ? ROWS : ROWS_APART;
  struct cut c = cut_for(layout, v->samples, v->features);
  uint64_t partial = partial_bytes(&c, v->features), tasks = c.blocks * c.chunks;
  if (c.chunks == 0) {
    struct column none;
    column_init(&none);
    *health = (actscope_health){0};
    for (uint64_t f = 0; f < v->features; ++f) {
      if (columns) columns[f] = none;
      columns_count(&none, 1, health);
    }
    columns_counted(v->features, health);
    return ACTSCOPE_OK;
  }
  if (bytes < partial + (uint64_t)threads * thread_bytes())
    return actscope_fail(ACTSCOPE_WORKSPACE_TOO_SMALL, "feature moments: %llu bytes of scratch memory are too few",
                         (unsigned long long)bytes);
  struct column *parts = c.chunks > 1 ? (struct column *)((char *)scratch + (uint64_t)threads * thread_bytes()) : columns;
  uint64_t next = 0, constant = 0, nonfinite = 0, dead = 0;
#pragma omp parallel num_threads(threads) default(shared) reduction(+ : constant, nonfinite, dead)
  {
    struct worker w;
    actscope_health counts = {0};
    worker_init(&w, v, (char *)scratch + (uint64_t)omp_get_thread_num() * thread_bytes());
    for (;;) {
      uint64_t t = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
      if (t >= tasks) break;
      uint64_t block = t % c.blocks, part = t / c.blocks, f0 = block * c.block, c0 = part * c.chunk;
      uint64_t n = v->features - f0 < c.block ? v->features - f0 : c.block;
      uint64_t c1 = v->samples - c0 < c.chunk ? v->samples : c0 + c.chunk;
      w.kernels->init(&w.state, (n + LANES_MAX - 1) / LANES_MAX * LANES_MAX);
      if (layout == SAMPLES) run_samples(&w, f0, n, c0, c1); else run_rows(&w, f0, n, c0, c1);
      struct column *to = parts ? parts + part * v->features + f0 : (struct column *)w.buffer;
      w.kernels->finish(&w.state, n, to);
      if (c.chunks == 1) columns_count(to, n, &counts);
    }
    if (c.chunks > 1) {
#pragma omp barrier
#pragma omp for schedule(static)
      for (uint64_t f = 0; f < v->features; ++f) {
        struct column all = parts[f];
        for (uint64_t part = 1; part < c.chunks; ++part) {
          uint64_t c0 = part * c.chunk, c1 = v->samples - c0 < c.chunk ? v->samples : c0 + c.chunk;
          column_merge(&all, (double)c0, &parts[part * v->features + f], (double)(c1 - c0));
        }
        columns_count(&all, 1, &counts);
        if (columns) columns[f] = all;
      }
    }
    constant += counts.constant, nonfinite += counts.nonfinite, dead += counts.dead;
  }
  *health = (actscope_health){.constant = constant, .nonfinite = nonfinite, .dead = dead};
  columns_counted(v->features, health);
  return ACTSCOPE_OK;
}
