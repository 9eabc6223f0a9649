// test.h - the harness of the sim tests: TEST registers a function, CHECK counts; main.cpp runs them and reports.
//
// Device buffers end with guard bytes and start out as poison, so that a write beyond the end or a value never written
// is noticed; under ASan the exact allocation notices reads too.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "simt.h"

struct Test {
  const char *name;
  void (*run)();
  Test *next;
  static Test *&first() {
    static Test *f = nullptr;
    return f;
  }
  Test(const char *n, void (*r)()) : name(n), run(r), next(first()) { first() = this; }
};
#define TEST(name)               \
  static void name();            \
  static Test test_##name(#name, name); \
  static void name()

extern int test_failures;      // of the running test
extern std::string test_shape; // what the running test is at; printed with a failure
inline bool test_note(bool ok, const char *file, int line, const char *text) {
  if (!ok && ++test_failures <= 10) printf("    %s:%d: %s [%s]\n", file, line, text, test_shape.c_str());
  return ok;
}
#define CHECK(condition) test_note((condition), __FILE__, __LINE__, #condition)
// |got - want| <= absolute + relative |want|; a NaN on one side alone fails.
#define CHECK_NEAR(got, want, absolute, relative)                                                              \
  do {                                                                                                         \
    double g_ = double(got), w_ = double(want);                                                                \
    bool ok_ = (g_ != g_ && w_ != w_) || g_ == w_ || std::fabs(g_ - w_) <= (absolute) + (relative)*std::fabs(w_); \
    char text_[256];                                                                                           \
    snprintf(text_, sizeof text_, "%s = %.17g, want %.17g", #got, g_, w_);                                     \
    test_note(ok_, __FILE__, __LINE__, text_);                                                                 \
  } while (0)
#define CHECK_LAUNCH(call)                                                                  \
  do {                                                                                      \
    int e_ = (call);                                                                        \
    if (e_ != 0) {                                                                          \
      char text_[1400];                                                                     \
      snprintf(text_, sizeof text_, "%s: error %d: %s", #call, e_, simt::error());          \
      test_note(false, __FILE__, __LINE__, text_);                                          \
      return;                                                                               \
    }                                                                                       \
  } while (0)
#define SHAPE(...)                                                \
  do {                                                            \
    char text_[200];                                              \
    snprintf(text_, sizeof text_, __VA_ARGS__);                   \
    test_shape = text_;                                           \
  } while (0)

extern bool test_small;  // TSan: smaller sizes

template <class T>
struct Device {
  static constexpr size_t kGuard = 64;
  T *p = nullptr;
  size_t n;
  explicit Device(size_t count) : n(count) {
    if (cudaMalloc(reinterpret_cast<void **>(&p), n * sizeof(T) + kGuard)) abort();
    memset(reinterpret_cast<char *>(p) + n * sizeof(T), 0xA5, kGuard);
  }
  explicit Device(const std::vector<T> &v) : Device(v.size()) {
    if (n) memcpy(static_cast<void *>(p), v.data(), n * sizeof(T));
  }
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;
  ~Device() {
    for (size_t i = 0; i < kGuard; ++i)
      if (reinterpret_cast<unsigned char *>(p)[n * sizeof(T) + i] != 0xA5) {
        test_note(false, __FILE__, __LINE__, "guard bytes after a buffer were written");
        break;
      }
    cudaFree(p);
  }
  void zero() { memset(static_cast<void *>(p), 0, n * sizeof(T)); }
  std::vector<T> get() const { return std::vector<T>(p, p + n); }
  T operator[](size_t i) const { return p[i]; }
};

// A small generator for inputs (SplitMix64) with uniform and normal values.
struct Random {
  uint64_t state;
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t word() {
    uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
  }
  double uniform() { return double(word() >> 11) * 0x1p-53; }
  double normal() { return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(6.283185307179586 * uniform()); }
};
