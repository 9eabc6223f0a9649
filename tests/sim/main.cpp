// main.cpp - runs the sim tests in one schedule: main [SEED [NAME-PART...]], with
// SIM_FIRST set until one fails. main SEED K/N: the K-th of every N tests, K from 0, so that N processes share them.
// Last line: N passed, M failed.
#include <algorithm>
#include <chrono>

#include "test.h"

int test_failures;
std::string test_shape;
bool test_small = getenv("SIM_SMALL") != nullptr;

int main(int argc, char **argv) {
  if (argc > 1) simt::options.seed = strtoull(argv[1], nullptr, 10);
  std::vector<Test *> tests;
  unsigned part = 0, parts = 1;
  const bool share = argc == 3 && sscanf(argv[2], "%u/%u", &part, &parts) == 2 && part < parts;
  for (Test *t = Test::first(); t; t = t->next)
    if (argc < 3 || share || std::any_of(argv + 2, argv + argc, [t](const char *part) { return strstr(t->name, part) != nullptr; }))
      tests.push_back(t);
  std::sort(tests.begin(), tests.end(), [](Test *a, Test *b) { return strcmp(a->name, b->name) < 0; });
  if (share) {
    size_t kept = 0;
    for (size_t i = part; i < tests.size(); i += parts) tests[kept++] = tests[i];
    tests.resize(kept);
  }
  int passed = 0, failed = 0;
  bool times = getenv("SIM_TIMES") != nullptr;
  for (Test *t : tests) {
    test_failures = 0;
    test_shape.clear();
    auto start = std::chrono::steady_clock::now();
    t->run();
    double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    (test_failures ? failed : passed)++;
    if (test_failures) printf("  FAILED %s (schedule %llu): %d checks\n", t->name, (unsigned long long)simt::options.seed, test_failures);
    else if (times) printf("  %6.2f s  %s\n", s, t->name);
    fflush(stdout);
    if (failed && getenv("SIM_FIRST")) break;
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0;
}
