// hopper.cpp - what sm_90a adds, for sim: barriers in shared memory that count bytes, copies of boxes of a tensor, and
// products of warpgroups, written from PTX ISA (mbarrier; cp.async.bulk.tensor; wgmma: register fragments, matrix
// descriptors, swizzles) and from what cuda.h asks of cuTensorMapEncodeTiled.
//
// A copy and a product are under way from their issue on and end when the schedule says so: in schedule 0 as late as the
// instructions allow (copies when nothing else can run, the newest first; products when they are waited for), in schedule 1
// at once, in others at random. So an operand that is read before it is there, overwritten while it is read, or a register
// used before its product ended shows as a wrong result, and a phase that never ends as a deadlock. Refused where they are
// met: a barrier never initialised, more arrivals than it counts, two of one thread in a phase (PTX allows that, but no
// barrier here counts anyone twice: who is a round ahead would end the phase of the others), misaligned addresses, a
// descriptor whose pattern does not begin at a multiple of 1024 bytes, warps of a group that go different ways, products
// without a fence, a block that ends with something under way.
// Never instrumented for TSan itself, as simt.cpp.
#include <algorithm>
#include <bitset>
#include <vector>

#include "simt.h"
// after simt.h, which stands in for the toolkit
#include "gpu.cuh"
#if defined(SIMT_TSAN)
#include <sanitizer/tsan_interface.h>
#define IF_TSAN(...) __VA_ARGS__
#else
#define IF_TSAN(...)
#endif

namespace simt {
constexpr uint32_t kDynamicAt = 1152;  // where dynamic shared memory begins: a multiple of 128, not of 1024

// ---- What is under way -----------------------------------------------------------------------------------------------
struct Copy {
  uint32_t to, barrier, bytes;
  const CUtensorMap *map;
  int32_t x, y;
};
struct Product {
  uint64_t a, b;
  bool accumulate;
  float *d[32];
  unsigned group;
};
struct Asynchronous {
  Block *block;
  std::vector<Copy> copies;
  std::vector<Product> products[32];    // of a warp, in order
  unsigned group[32], issued[32];       // of a warp: groups committed, products issued
  bool fenced[32];
  struct Came {  // who has arrived at a barrier in its phase; of a fixed size, since TSan sees what containers do
    uint32_t barrier;
    std::bitset<1024> threads;
  } came[64];
  unsigned barriers;
  struct Issue { uint64_t a, b; bool accumulate; };
  std::vector<Issue> log[8];            // of a warpgroup
  uint64_t random;
};
static Asynchronous *mine() { return self->block->asynchronous; }
static bool chance(Asynchronous *a) {  // one in four
  a->random = a->random * 6364136223846793005ull + 1442695040888963407ull;
  return (a->random >> 60 & 3) == 0;
}

Asynchronous *asynchronous_new() { return new Asynchronous(); }
void asynchronous_begin(Block *block) {
  Asynchronous *a = block->asynchronous;
  a->block = block;
  a->copies.clear(), a->barriers = 0;
  for (int w = 0; w < 32; ++w) a->products[w].clear(), a->group[w] = a->issued[w] = 0, a->fenced[w] = false;
  for (auto &l : a->log) l.clear();
  a->random = options.seed * 2654435761u + block->index.x;
}
const char *asynchronous_left(Block *block) {
  Asynchronous *a = block->asynchronous;
  if (!a->copies.empty()) return "copies are under way at the end of the block";
  for (int w = 0; w < 32; ++w) {
    if (!a->products[w].empty()) return "products are under way at the end of the block";
    if (a->issued[w] != a->log[w / 4].size() && a->issued[w / 4 * 4] + a->issued[w] > 0)
      return "warps of a group issued different numbers of products";
  }
  return nullptr;
}

// ---- Shared memory ---------------------------------------------------------------------------------------------------
uint32_t shared_address(const void *p) {
  const size_t at = size_t(static_cast<const unsigned char *>(p) - self->block->dynamic);
  if (at > self->block->dynamic_bytes) fail({"shared_address", 0}, "not in the block's dynamic shared memory");
  return uint32_t(at) + kDynamicAt;
}
static unsigned char *shared_pointer(Block *block, uint32_t address) { return block->dynamic + (address - kDynamicAt); }
static bool shared_has(Block *block, uint32_t address, size_t bytes) {
  return address >= kDynamicAt && address - kDynamicAt + bytes <= block->dynamic_bytes;
}
// Swizzles exchange pieces of 16 bytes: bits 4.. of an address by those from 7 on, `bits` of them (128 bytes: 3).
static uint32_t swizzled(uint32_t address, int bits) { return address ^ ((address >> 7 & ((1u << bits) - 1)) << 4); }

// ---- Barriers --------------------------------------------------------------------------------------------------------
struct Word {  // an mbarrier object, 64 bits
  uint64_t phase : 1, expected : 20, pending : 20;
  int64_t bytes : 22;
  uint64_t never : 1;  // poison is not a barrier
};
static_assert(sizeof(Word) == 8);
static Word *word(Block *block, uint32_t barrier, Site site) {
  if (barrier % 8 || !shared_has(block, barrier, 8)) fail(site, "no place for a barrier: address %u", barrier);
  auto *w = reinterpret_cast<Word *>(shared_pointer(block, barrier));
  if (w->never || w->expected == 0) fail(site, "the barrier was never initialised");
  return w;
}
static std::bitset<1024> &came(Asynchronous *a, uint32_t barrier) {
  unsigned k = 0;
  while (k < a->barriers && a->came[k].barrier != barrier) ++k;
  if (k == 64) abort();
  if (k == a->barriers) ++a->barriers, a->came[k].barrier = barrier, a->came[k].threads.reset();
  return a->came[k].threads;
}
static void settle(Asynchronous *a, uint32_t barrier, Word *w) {
  if (w->pending || w->bytes) return;
  w->phase ^= 1, w->pending = w->expected;
  came(a, barrier).reset();
  wake();
}
void barrier_init(uint32_t barrier, uint32_t count, Site site) {
  if (count == 0 || count >= 1u << 20) fail(site, "a barrier for %u arrivals", count);
  if (barrier % 8 || !shared_has(self->block, barrier, 8)) fail(site, "no place for a barrier: address %u", barrier);
  *reinterpret_cast<Word *>(shared_pointer(self->block, barrier)) = {0, count, count, 0, 0};
  came(mine(), barrier).reset();
}

static void finish_copy(Asynchronous *a, size_t k);
static void get_on() {  // some time passes
  Asynchronous *a = mine();
  preempt();
  if (options.seed >= 2 && !a->copies.empty() && chance(a)) finish_copy(a, size_t(a->random >> 33) % a->copies.size());
}
void barrier_arrive(uint32_t barrier, uint32_t bytes, Site site) {
  get_on();
  Word *w = word(self->block, barrier, site);
  IF_TSAN(__tsan_release(w);)
  if (w->pending == 0) fail(site, "more arrivals than the barrier counts");
  if (w->bytes + int64_t(bytes) >= 1 << 20) fail(site, "more bytes than a barrier can count");
  auto &here = came(mine(), barrier);
  if (here[self->thread]) fail(site, "a thread arrives twice in one phase");
  here[self->thread] = true;
  w->bytes += int64_t(bytes);
  w->pending -= 1;
  settle(mine(), barrier, w);
}
void barrier_wait(uint32_t barrier, uint32_t parity, Site site) {
  get_on();
  Word *w = word(self->block, barrier, site);
  while (w->phase == parity) sleep(site);
  IF_TSAN(__tsan_acquire(w);)
}

// ---- Copies ----------------------------------------------------------------------------------------------------------
struct Map {  // what CUtensorMap holds here
  uint64_t magic, base, rows, columns, stride;
  uint32_t box_columns, box_rows, swizzle, reserved;
};
constexpr uint64_t kMagic = 0x70616d20726f736eull;

static CUresult encode(CUtensorMap *out, CUtensorMapDataType type, uint32_t rank, void *address, const uint64_t *dims,
                       const uint64_t *strides, const uint32_t *box, const uint32_t *steps, CUtensorMapInterleave interleave,
                       CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  const uint64_t most = 1ull << 32;
  const bool whole = uintptr_t(out) % 64 == 0 && type == CU_TENSOR_MAP_DATA_TYPE_FLOAT16 && rank == 2 && interleave == 0 && fill == 0;
  if (!whole || uintptr_t(address) % 16 || strides[0] % 16 || strides[0] >= 1ull << 40 || strides[0] < dims[0] * 2) return CUDA_ERROR_INVALID_VALUE;
  for (int d = 0; d < 2; ++d)
    if (dims[d] == 0 || dims[d] > most || box[d] == 0 || box[d] > 256 || steps[d] != 1) return CUDA_ERROR_INVALID_VALUE;
  if (box[0] * 2 % 16 || (swizzle && box[0] * 2 > 16u << swizzle) || swizzle > CU_TENSOR_MAP_SWIZZLE_128B) return CUDA_ERROR_INVALID_VALUE;
  const Map m = {kMagic, uint64_t(uintptr_t(address)), dims[1], dims[0], strides[0], box[0], box[1], uint32_t(swizzle), 0};
  memset(out, 0, sizeof *out);
  memcpy(out, &m, sizeof m);
  return CUDA_SUCCESS;
}

// Zeros stand in for what lies outside the tensor; they count among the bytes as the rest does.
static void finish_copy(Asynchronous *a, size_t k) {
  const Copy c = a->copies[k];
  a->copies.erase(a->copies.begin() + long(k));
  Map m;
  memcpy(&m, c.map, sizeof m);
  for (uint32_t y = 0; y < m.box_rows; ++y)
    for (uint32_t x = 0; x < m.box_columns; ++x) {
      const int64_t row = int64_t(c.y) + y, column = int64_t(c.x) + x;
      uint16_t value = 0;
      if (row >= 0 && column >= 0 && uint64_t(row) < m.rows && uint64_t(column) < m.columns)
        value = *reinterpret_cast<const uint16_t *>(m.base + uint64_t(row) * m.stride + uint64_t(column) * 2);
      const uint32_t to = swizzled(c.to + (y * m.box_columns + x) * 2, int(m.swizzle));
      *reinterpret_cast<uint16_t *>(shared_pointer(a->block, to)) = value;
    }
  Word *w = reinterpret_cast<Word *>(shared_pointer(a->block, c.barrier));
  IF_TSAN(__tsan_release(w);)
  w->bytes -= int64_t(c.bytes);
  settle(a, c.barrier, w);
}
void copy_box(uint32_t to, const CUtensorMap *map, int32_t x, int32_t y, uint32_t barrier, Site site) {
  Asynchronous *a = mine();
  Map m;
  memcpy(&m, map, sizeof m);
  if (m.magic != kMagic || uintptr_t(map) % 64) fail(site, "not the description of a tensor");
  word(self->block, barrier, site);
  const uint32_t bytes = m.box_rows * m.box_columns * 2;
  if (to % 128 || !shared_has(self->block, to, bytes)) fail(site, "no place for a box of %u bytes at %u", bytes, to);
  a->copies.push_back({to, barrier, bytes, map, x, y});
  if (options.seed == 1 || (options.seed >= 2 && chance(a))) finish_copy(a, a->copies.size() - 1);
}
bool asynchronous_step(Block *block) {
  Asynchronous *a = block->asynchronous;
  if (a->copies.empty()) return false;
  finish_copy(a, options.seed < 2 ? a->copies.size() - 1 : size_t(a->random >> 33) % a->copies.size());
  return true;
}

// ---- Products --------------------------------------------------------------------------------------------------------
// An operand's rows lie along k. Groups of 8 rows are a stride apart. Without a swizzle a group is
// two matrices of 8 x 16 bytes, `lead` apart; with one its rows are 32, 64 or 128 bytes apart.
// The 16 elements of a row, in two pieces, which no swizzle takes apart.
static void row_of(Block *block, uint64_t descriptor, uint32_t row, uint16_t (&out)[16]) {
  static const int kBits[4] = {0, 3, 2, 1};
  const uint32_t start = uint32_t(descriptor & 0x3FFF) << 4, lead = uint32_t(descriptor >> 16 & 0x3FFF) << 4;
  const uint32_t stride = uint32_t(descriptor >> 32 & 0x3FFF) << 4, mode = uint32_t(descriptor >> 62);
  const int bits = kBits[mode];
  for (uint32_t piece = 0; piece < 2; ++piece) {
    uint32_t at = start + row / 8 * stride + (row % 8 << (4 + bits)) + piece * (bits ? 16 : lead);
    at = swizzled(at, bits);
    if (!shared_has(block, at, 16)) fail({"wgmma", 0}, "a descriptor leads outside shared memory, to %u", at);
    memcpy(out + piece * 8, shared_pointer(block, at), 16);
  }
}
void multiply_f16(const uint16_t (*a)[16], const uint16_t (*b)[16], float *c, int columns) {
  float x[16][16], y[16 * 128];
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 16; ++k) x[i][k] = f16_value(a[i][k]);
  for (int j = 0; j < columns; ++j) {
    float row[16];
    for (int k = 0; k < 16; ++k) row[k] = f16_value(b[j][k]);
    for (int k = 0; k < 16; ++k) y[k * columns + j] = row[k];
  }
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < columns; j += 8) {
      float sum[8] = {};
      for (int k = 0; k < 16; ++k)
        for (int e = 0; e < 8; ++e) sum[e] += x[i][k] * y[k * columns + j + e];
      memcpy(c + i * columns + j, sum, sizeof sum);
    }
}
// The part of one warp: 16 of the 64 rows. Lane l holds in d[4 j + 2 h + e] row l / 4 + 8 h and column 8 j + l % 4 * 2 + e.
static void finish_product(Block *block, const Product &p, unsigned warp) {
  uint16_t a[16][16], b[128][16];
  float c[16][128];
  for (uint32_t i = 0; i < 16; ++i) row_of(block, p.a, warp % 4 * 16 + i, a[i]);
  for (uint32_t j = 0; j < 128; ++j) row_of(block, p.b, j, b[j]);
  multiply_f16(a, b, c[0], 128);
  for (int l = 0; l < 32; ++l)
    for (int j = 0; j < 16; ++j)
      for (int h = 0; h < 2; ++h)
        for (int e = 0; e < 2; ++e) {
          float &d = p.d[l][4 * j + 2 * h + e];
          const float x = c[l / 4 + 8 * h][8 * j + l % 4 * 2 + e];
          d = p.accumulate ? d + x : 0.0f + x;
        }
}
static void finish_products(unsigned warp, unsigned pending) {
  Asynchronous *a = mine();
  auto &q = a->products[warp];
  size_t done = 0;
  for (; done < q.size() && q[done].group + pending < a->group[warp]; ++done) finish_product(a->block, q[done], warp);
  q.erase(q.begin(), q.begin() + long(done));
}
void product_fence(Site site) {
  warp_op(~0u, [](void *const *, unsigned) { mine()->fenced[self->warp] = true; }, nullptr, site);
}
void product_64x128x16(float (&d)[64], uint64_t a, uint64_t b, bool accumulate, Site site) {
  struct Arg {
    float *d;
    uint64_t a, b;
    bool accumulate;
    Site site;
  } arg{d, a, b, accumulate, site};
  warp_op(~0u, [](void *const *p, unsigned) {
    Asynchronous *all = mine();
    const unsigned w = self->warp;
    const Arg &first = *static_cast<Arg *>(p[0]);
    Product q{first.a, first.b, first.accumulate, {}, all->group[w]};
    for (int l = 0; l < 32; ++l) {
      const Arg &x = *static_cast<Arg *>(p[l]);
      if (x.a != q.a || x.b != q.b || x.accumulate != q.accumulate) fail(x.site, "lanes name different operands of a product");
      q.d[l] = x.d;
    }
    for (uint64_t o : {q.a, q.b})
      if (o >> 62 && ((o >> 49 & 7) != 0 || (o >> 3 & 7) != 0))
        fail(first.site, "sim knows descriptors alone whose pattern begins at a multiple of 1024 bytes");
    if (!all->fenced[w]) fail(first.site, "a product without a fence after its registers were waited for");
    auto &log = all->log[w / 4];
    const unsigned k = all->issued[w]++;
    if (k == log.size()) log.push_back({q.a, q.b, q.accumulate});
    else if (log[k].a != q.a || log[k].b != q.b || log[k].accumulate != q.accumulate)
      fail(first.site, "warps of a group issue different products");
    if (!q.accumulate)  // until it ends they hold nothing
      for (float *d : q.d)
        for (int i = 0; i < 64; ++i) d[i] = NAN;
    all->products[w].push_back(q);
    if (options.seed == 1 || (options.seed >= 2 && chance(all))) {  // at once, and with it all before
      for (auto &r : all->products[w]) finish_product(all->block, r, w);
      all->products[w].clear();
    }
  }, &arg, site);
}
void product_commit(Site site) {
  warp_op(~0u, [](void *const *, unsigned) { ++mine()->group[self->warp]; }, nullptr, site);
}
void product_wait(unsigned pending, Site site) {
  struct Arg {
    unsigned pending;
  } arg{pending};
  warp_op(~0u, [](void *const *p, unsigned) {
    finish_products(self->warp, static_cast<Arg *>(p[0])->pending);
    mine()->fenced[self->warp] = false;
  }, &arg, site);
}
}  // namespace simt

extern "C" cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned, unsigned long long,
                                                        cudaDriverEntryPointQueryResult *found) {
  const bool known = strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void *>(&simt::encode) : nullptr;
  *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
