// simt.cpp - the fibre engine.
//
// A worker (one operating system thread) runs blocks one after another; a block's threads are fibres with stacks of
// their own. A fibre runs until it meets a barrier or a warp collective; the last lane to arrive completes it. When
// nothing is ready and nothing can be released, the block is divergent, and the report says who waits where.
// Never instrumented for TSan itself: it tells TSan what synchronises with what.
#include "simt.h"

#include <link.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define IF_ASAN(...) __VA_ARGS__
#else
#define IF_ASAN(...)
#endif
#if defined(SIMT_TSAN)
#include <sanitizer/tsan_interface.h>
#define IF_TSAN(...) __VA_ARGS__
#else
#define IF_TSAN(...)
#endif

// ---- Context switch: saves the stack pointer, loads another ----------------------------------------------------------
extern "C" void simt_switch(char **save, char *load);
#if defined(__x86_64__)
constexpr int kSaved = 6;  // registers under the return address
asm(R"(.text
.globl simt_switch
.type simt_switch,@function
simt_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi); movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  popq %rcx; jmpq *%rcx  # not ret: the return predictor would be wrong every time
.size simt_switch,.-simt_switch
.section .note.GNU-stack,"",@progbits
.text)");
#elif defined(__aarch64__)
constexpr int kSaved = 20;  // x19..x30, d8..d15; x30 is the return address
asm(R"(.text
.globl simt_switch
.type simt_switch,%function
simt_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size simt_switch,.-simt_switch)");
#else
#error "sim needs the context switch of this processor"
#endif

namespace simt {
static long setting(const char *name, long otherwise) {
  const char *s = getenv(name);
  return s && *s ? atol(s) : otherwise;
}
Options options = {uint64_t(setting("SIMT_SEED", 0)), int(setting("SIMT_WORKERS", 1)),
                   int(setting("SIMT_MULTIPROCESSORS", 3)), int(setting("SIMT_SHARED", 227 << 10)),
                   (unsigned char)setting("SIMT_POISON", 0xFF)};
__thread Lane *self;
static std::mutex error_lock;
static char error_text[1024];
static std::map<const void *, int> dynamic_limit;
const char *error() { return error_text; }
void allow_dynamic(const void *kernel, int bytes) { dynamic_limit[kernel] = bytes; }

constexpr size_t kGuard = 4096, kStack = 64 << 10 IF_ASAN(<< 2);
constexpr unsigned kMaxThreads = 1024;
constexpr unsigned char kGuardByte = 0xA5;
IF_TSAN(static char atomic_tag[1024];)  // one for each hashed address

struct Worker : Block {
  Lane main{}, lanes[kMaxThreads];
  unsigned threads = 0, exited = 0, at_barrier = 0, barriers = 0;
  unsigned ready_warps = 0, ready[32], arrived[32], gone[32], asleep[32];
  int any[2];  // of block_or, by barrier parity
  bool failed = false;
  void (*body)(void *) = nullptr;
  void *arg = nullptr;
  char start_tag, exit_tag, barrier_tag[2], in_tag[kMaxThreads], out_tag[kMaxThreads];  // what TSan is told about
  struct Copy {
    void *to;
    const void *from;
    size_t n;
    unsigned group;
  };
  std::vector<Copy> copies[kMaxThreads];  // cp.async in flight, by thread
  unsigned group[kMaxThreads];            // cp.async groups committed
  std::minstd_rand random;
  char *stacks;
  char *fixed = nullptr;  // static __shared__ variables, all that are in the kernel's module
  size_t fixed_bytes = 0, room = 0;

  Worker() {
    size_t each = kGuard + kStack;
    stacks = static_cast<char *>(mmap(nullptr, each * kMaxThreads, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (stacks == MAP_FAILED) abort();
    for (unsigned i = 0; i < kMaxThreads; ++i) {
      mprotect(stacks + i * each, kGuard, PROT_NONE);
      lanes[i] = Lane{};
      lanes[i].stack = stacks + i * each + kGuard;
      lanes[i].stack_size = kStack;
    }
    main.warp = 31;
    asynchronous = asynchronous_new();
  }
  void bind([[maybe_unused]] const void *kernel) {  // to the calling operating system thread
#if defined(__SANITIZE_ADDRESS__)
    static thread_local void *stack;
    static thread_local size_t stack_size;
    if (!stack) {
      pthread_attr_t a;
      pthread_getattr_np(pthread_self(), &a);
      pthread_attr_getstack(&a, &stack, &stack_size);
      pthread_attr_destroy(&a);
    }
    main.stack = stack, main.stack_size = stack_size;
#else
    Shared shared = {kernel, nullptr, 0};
    dl_iterate_phdr(&find_shared, &shared);
    fixed = shared.at, fixed_bytes = shared.bytes;
#endif
    IF_TSAN(main.fiber = __tsan_get_current_fiber();)
  }

  // ---- Scheduling
  void go(Lane *to) {  // leaves the current context for `to`
    Lane *from = self;
    if (from == to) return;
    self = to;
    IF_ASAN(__sanitizer_start_switch_fiber(&from->fake, to->stack, to->stack_size);)
    IF_TSAN(__tsan_switch_to_fiber(to->fiber, __tsan_switch_to_fiber_no_sync);)
    simt_switch(&from->sp, to->sp);
    IF_ASAN(__sanitizer_finish_switch_fiber(from->fake, nullptr, nullptr);)
  }
  static unsigned pick(unsigned set, unsigned from) {  // the first bit at or after `from`, cyclically
    unsigned high = from < 32 ? set & (~0u << from) : 0;
    return unsigned(__builtin_ctz(high ? high : set));
  }
  void next() {  // the current lane blocked, ended or offers to yield
    while (!ready_warps && asynchronous_step(this)) {
    }
    if (!ready_warps) return go(&main);
    bool stay = ready_warps >> self->warp & 1;  // warp by warp, as long as this warp can go on
    unsigned w, l;
    if (options.seed == 0) {
      w = stay ? self->warp : pick(ready_warps, self->warp + 1);
      l = pick(ready[w], stay ? self->lane + 1 : 0);
    } else if (options.seed == 1) {
      w = stay ? self->warp : 31 - unsigned(__builtin_clz(ready_warps));
      l = 31 - unsigned(__builtin_clz(ready[w]));
    } else {
      unsigned r = unsigned(random()) >> 4;
      w = pick(ready_warps, r & 31);
      l = pick(ready[w], r >> 5 & 31);
    }
    go(&lanes[w * 32 + l]);
  }
  void unready(Lane *l) {
    if (!(ready[l->warp] &= ~(1u << l->lane))) ready_warps &= ~(1u << l->warp);
  }
  void make_ready(unsigned w, unsigned mask) {
    if (mask) ready[w] |= mask, ready_warps |= 1u << w;
  }
  unsigned present(unsigned w) const {  // lanes of warp w
    unsigned rest = threads - w * 32;
    return rest >= 32 ? ~0u : (1u << rest) - 1;
  }

  // ---- Fibres
  void reset_fiber(Lane *l) {
    IF_ASAN(__asan_unpoison_memory_region(l->stack, l->stack_size);)
    IF_TSAN(if (l->fiber) __tsan_destroy_fiber(l->fiber); l->fiber = __tsan_create_fiber(0);)
    // The stacks of a warp begin at different addresses modulo a page, or they would share a few sets of the cache.
    char *end = static_cast<char *>(l->stack) + l->stack_size - l->lane * 128;
#if defined(__x86_64__)
    auto **top = reinterpret_cast<void **>(end) - 1;
    *top = nullptr;                                      // the return address of fiber_main: entered as after a call
    *--top = reinterpret_cast<void *>(&fiber_main);
    l->sp = reinterpret_cast<char *>(top - kSaved);
    memset(l->sp, 0, kSaved * sizeof(void *));
#else
    l->sp = end - kSaved * sizeof(void *);
    memset(l->sp, 0, kSaved * sizeof(void *));
    reinterpret_cast<void **>(l->sp)[11] = reinterpret_cast<void *>(&fiber_main);
#endif
    l->fake = nullptr;
  }
  static void fiber_main() {
    IF_ASAN(__sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);)
    for (;;) {
      auto *w = static_cast<Worker *>(self->block);
      IF_TSAN(__tsan_acquire(&w->start_tag);)
      w->body(w->arg);
      IF_TSAN(__tsan_release(&w->exit_tag);)
      w->unready(self);
      ++w->exited;
      w->gone[self->warp] |= 1u << self->lane;
      w->next();
    }
  }
  void complete(unsigned w, unsigned mask) {  // a collective, once all its lanes are there
    if ((arrived[w] & mask) != mask) return;
    void *args[32];
    WarpFn fn = self->fn;
    for (unsigned i = 0; i < 32; ++i) {
      if (!(mask >> i & 1)) continue;
      Lane &l = lanes[w * 32 + i];
      if (l.fn != fn || l.mask != mask)
        fail(l.site, "lanes of one warp meet in different collectives or with different masks");
      args[i] = l.arg;
    }
    if (fn) fn(args, mask);
    IF_TSAN(else {
      for (unsigned i = 0; i < 32; ++i)
        if (mask >> i & 1) __tsan_acquire(&in_tag[w * 32 + i]);
      for (unsigned i = 0; i < 32; ++i)
        if (mask >> i & 1) __tsan_release(&out_tag[w * 32 + i]);
    })
    arrived[w] &= ~mask;
    make_ready(w, mask);
  }

  // ---- Blocks
  // By an instruction of its own: TSan would write down every byte.
  static void fill(void *at, unsigned char value, size_t bytes) {
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
    asm volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(value) : "memory");
#else
    memset(at, value, bytes);
#endif
  }
  // Dynamic shared memory: under ASan of exactly its size and new for every block, else kept, with bytes behind it that must
  // stay as they are.
  static constexpr size_t kBehind = 64 IF_ASAN(- 64);
  void renew_dynamic(size_t bytes) {
    if (IF_ASAN(true ||) bytes + kBehind + 1 > room) {
      void *memory = nullptr;
      free(dynamic);
      if (posix_memalign(&memory, 128, bytes + kBehind + 1)) abort();
      dynamic = static_cast<unsigned char *>(memory), room = bytes + kBehind + 1;
    }
    dynamic_bytes = bytes;
    fill(dynamic, options.poison, bytes), fill(dynamic + bytes, kGuardByte, kBehind);
  }
  bool kept_dynamic() const {
    return std::all_of(dynamic + dynamic_bytes, dynamic + dynamic_bytes + kBehind, [](unsigned char c) { return c == kGuardByte; });
  }
  struct Shared {
    const void *kernel;
    char *at;
    size_t bytes;
  };
  // The .tbss of the kernel's module: the static __shared__ variables of the calling operating system thread.
  static int find_shared(dl_phdr_info *info, size_t, void *out) {
    auto *shared = static_cast<Shared *>(out);
    bool mine = false;
    const ElfW(Phdr) *tls = nullptr;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      auto &p = info->dlpi_phdr[i];
      if (p.p_type == PT_LOAD) mine |= uintptr_t(shared->kernel) - (info->dlpi_addr + p.p_vaddr) < p.p_memsz;
      if (p.p_type == PT_TLS) tls = &p;
    }
    if (mine && tls && info->dlpi_tls_data)
      shared->at = static_cast<char *>(info->dlpi_tls_data) + tls->p_filesz, shared->bytes = tls->p_memsz - tls->p_filesz;
    return mine;
  }
  bool run_block(uint3 at, size_t bytes) {
    index = at;
    renew_dynamic(bytes);
    asynchronous_begin(this);
    if (fixed_bytes) fill(fixed, options.poison, fixed_bytes);  // also `self`, which is set below
    exited = at_barrier = barriers = ready_warps = 0;
    any[0] = any[1] = 0;
    failed = false;
    unsigned i = 0;
    for (unsigned z = 0; z < size.z; ++z)
      for (unsigned y = 0; y < size.y; ++y)
        for (unsigned x = 0; x < size.x; ++x, ++i) {
          Lane &l = lanes[i];
          l.index = {x, y, z};
          l.block = this;
          l.thread = i, l.lane = i & 31, l.warp = i >> 5;
          l.fenced = false, l.loaded = nullptr;
          copies[i].clear(), group[i] = 0;
          if (!l.sp) reset_fiber(&l);
        }
    for (unsigned w = 0; w < 32; ++w) arrived[w] = gone[w] = ready[w] = asleep[w] = 0;
    for (i = 0; i < threads; ++i) make_ready(i >> 5, 1u << (i & 31));
    IF_TSAN(__tsan_release(&start_tag);)
    self = &main;
    next();
    if (!failed && exited != threads) report_deadlock();
    if (const char *wrong = failed ? nullptr : asynchronous_left(this)) record(wrong);
    if (!failed && !kept_dynamic()) record("the block wrote behind its dynamic shared memory");
    if (failed)
      for (i = 0; i < threads; ++i) {  // abandoned: its fibres start afresh next time
        IF_TSAN(__tsan_switch_to_fiber(lanes[i].fiber, __tsan_switch_to_fiber_no_sync); __tsan_release(&exit_tag);
                __tsan_switch_to_fiber(main.fiber, __tsan_switch_to_fiber_no_sync);)
        lanes[i].sp = nullptr;
      }
    IF_TSAN(__tsan_acquire(&exit_tag);)
    return !failed;
  }
  void record(const char *text) {
    std::lock_guard<std::mutex> guard(error_lock);
    failed = true;
    snprintf(error_text, sizeof error_text, "block (%u,%u,%u): %s", index.x, index.y, index.z, text);
    fprintf(stderr, "simt: %s\n", error_text);
  }
  void report_deadlock() {
    std::map<std::string, std::pair<unsigned, unsigned>> where;  // place: how many, the first thread
    for (unsigned i = 0; i < threads; ++i) {
      Lane &l = lanes[i];
      std::string place = "exited";
      if (!(gone[l.warp] >> l.lane & 1))
        place = std::string(arrived[l.warp] >> l.lane & 1  ? "in a warp collective at "
                            : asleep[l.warp] >> l.lane & 1 ? "waiting for a barrier in shared memory at "
                                                           : "at __syncthreads ") +
                l.site.file + ":" + std::to_string(l.site.line);
      ++where.emplace(place, std::make_pair(0u, i)).first->second.first;
    }
    std::string text = "divergence:";
    for (auto &[place, count] : where)
      text += " " + std::to_string(count.first) + " threads " + place + " (first: thread " +
              std::to_string(count.second) + ");";
    record(text.c_str());
  }
};

static Worker *worker() { return static_cast<Worker *>(self->block); }

void fail(Site s, const char *format, ...) {  // without allocating: the fibre's stack is abandoned
  auto *w = worker();
  char text[768];
  int k = snprintf(text, sizeof text, "%s:%d: thread %u: ", s.file, s.line, self->thread);
  va_list a;
  va_start(a, format);
  vsnprintf(text + k, sizeof text - size_t(k), format, a);
  va_end(a);
  w->record(text);
  w->go(&w->main);
  abort();
}
// TSan: an atomic releases its word if a fence came before; a later fence acquires the word of the last atomic.
void fence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  IF_TSAN(self->fenced = true; if (self->loaded) __tsan_acquire(self->loaded);)
}
void before_atomic([[maybe_unused]] const void *p) {
  preempt();
  IF_TSAN(self->loaded = &atomic_tag[uintptr_t(p) / 4 % 1024]; if (self->fenced) __tsan_release(self->loaded);)
}
void preempt() {
  if (options.seed < 2) return;
  auto *w = worker();
  if ((w->random() & 0x70) == 0) w->next();
}
void block_barrier(Site s) {
  auto *w = worker();
  if (w->at_barrier++) {
    Site o = w->main.site;  // of the first to arrive
    if (o.line != s.line || (o.file != s.file && strcmp(o.file, s.file)))
      fail(s, "__syncthreads reached while other threads wait in the one at %s:%d", o.file, o.line);
  }
  w->main.site = self->site = s;
  // Two tags in turn: a thread late to leave must not see what others release on reaching the next barrier.
  IF_TSAN(char *tag = &w->barrier_tag[w->barriers & 1]; __tsan_release(tag);)
  w->unready(self);
  if (w->at_barrier == w->threads) {
    w->at_barrier = 0;
    w->any[++w->barriers & 1] = 0;  // for the barrier after this one
    for (unsigned i = 0; i * 32 < w->threads; ++i) w->make_ready(i, w->present(i));
  }
  w->next();
  IF_TSAN(__tsan_acquire(tag);)
}
int block_or(int p, Site s) {
  auto *w = worker();
  int *any = &w->any[w->barriers & 1];
  if (p) *any = 1;
  block_barrier(s);
  return *any;
}
void warp_op(unsigned mask, WarpFn fn, void *arg, Site s) {
  auto *w = worker();
  unsigned wi = self->warp, bit = 1u << self->lane;
  if (!(mask & bit)) fail(s, "a lane calls a collective without its own bit in the mask");
  if (mask & ~w->present(wi)) fail(s, "the mask names lanes beyond the end of the block");
  if (mask & w->gone[wi]) fail(s, "the mask names lanes that have exited");
  self->mask = mask, self->fn = fn, self->arg = arg, self->site = s;
  w->arrived[wi] |= bit;
  w->unready(self);
  IF_TSAN(if (!fn) __tsan_release(&w->in_tag[self->thread]);)  // of the collectives only __syncwarp orders memory
  w->complete(wi, mask);
  w->next();
  IF_TSAN(if (!fn) __tsan_acquire(&w->out_tag[self->thread]);)
}

void sleep(Site s) {
  auto *w = worker();
  self->site = s;
  w->asleep[self->warp] |= 1u << self->lane;
  w->unready(self);
  w->next();
}
void wake() {
  auto *w = worker();
  for (unsigned i = 0; i * 32 < w->threads; ++i) w->make_ready(i, w->asleep[i]), w->asleep[i] = 0;
}

void cp_async(void *to, const void *from, size_t n) {
  if ((uintptr_t(to) | uintptr_t(from)) % n) fail({"cp.async", 0}, "misaligned address");
  auto *w = worker();
  w->copies[self->thread].push_back({to, from, n, w->group[self->thread]});
}
void cp_async_commit() { ++worker()->group[self->thread]; }
void cp_async_wait(unsigned pending) {
  auto *w = worker();
  auto &c = w->copies[self->thread];
  size_t done = 0;
  for (; done < c.size() && c[done].group + pending < w->group[self->thread]; ++done)
    memcpy(c[done].to, c[done].from, c[done].n);
  c.erase(c.begin(), c.begin() + long(done));
}

cudaError_t run(const void *kernel, dim3 grid, dim3 block, size_t dynamic, void (*body)(void *), void *arg) {
  static auto &pool = *new std::vector<Worker *>;  // idle workers, kept to the end
  static std::mutex pool_lock;
  uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z, threads = uint64_t(block.x) * block.y * block.z;
  if (!blocks || !threads || threads > kMaxThreads || grid.y > 65535 || grid.z > 65535 || block.z > 64) {
    snprintf(error_text, sizeof error_text, "grid (%u,%u,%u) of blocks (%u,%u,%u) is no valid configuration", grid.x,
             grid.y, grid.z, block.x, block.y, block.z);
    return cudaErrorInvalidConfiguration;
  }
  auto limit = dynamic_limit.find(kernel);
  if (dynamic > size_t(limit == dynamic_limit.end() ? 48 << 10 : limit->second)) {
    snprintf(error_text, sizeof error_text, "%zu bytes of dynamic shared memory are above the kernel's limit", dynamic);
    return cudaErrorInvalidValue;
  }
  std::vector<uint64_t> order(blocks);
  for (uint64_t i = 0; i < blocks; ++i) order[i] = options.seed == 1 ? blocks - 1 - i : i;
  if (options.seed > 1) std::shuffle(order.begin(), order.end(), std::mt19937_64(options.seed));
  unsigned count = std::max(1u, unsigned(std::min<uint64_t>(uint64_t(options.workers), blocks)));
  IF_ASAN(count = 1;)  // static __shared__ is one copy for the process
  std::atomic<bool> ok{true};
  auto work = [&](unsigned t) {
    Worker *w = nullptr;
    {
      std::lock_guard<std::mutex> guard(pool_lock);
      if (!pool.empty()) w = pool.back(), pool.pop_back();
    }
    if (!w) w = new Worker;
    w->bind(kernel);
    w->size = block, w->grid = grid, w->body = body, w->arg = arg, w->threads = unsigned(threads);
    w->random.seed(unsigned(options.seed * 2654435761u + t));
    for (uint64_t b = t; b < blocks && ok; b += count) {
      uint64_t i = order[b];
      uint3 at = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
      if (!w->run_block(at, dynamic)) ok = false;
    }
    std::lock_guard<std::mutex> guard(pool_lock);
    pool.push_back(w);
  };
  if (count == 1) {
    work(0);
  } else {
    std::vector<std::thread> team;
    for (unsigned t = 0; t < count; ++t) team.emplace_back(work, t);
    for (auto &t : team) t.join();
  }
  return ok ? cudaSuccess : cudaErrorLaunchFailure;
}
}  // namespace simt
