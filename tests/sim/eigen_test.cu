// eigen_test.cu - effective ranks against the eigenvalues that the host finds by another method.
#include <memory>

#include "kernels.h"
#include "test.h"

namespace {
// Symmetric, positive semi-definite with trace n, from a spectrum by random rotations.
enum Spectrum { FLAT, RANDOM, LOW_RANK, ONE, PAIRS, GRADED, DIAGONAL, SPECTRA };
std::vector<float> matrix_of(Spectrum kind, int n, uint64_t seed) {
  Random random(seed);
  std::vector<double> a(size_t(n) * n), v(n);
  double sum = 0;
  for (int i = 0; i < n; ++i) {
    double l = 1;
    switch (kind) {
      case RANDOM: case DIAGONAL: l = random.uniform(); break;
      case LOW_RANK: l = i < (n + 3) / 4 ? random.uniform() + .1 : 0; break;
      case ONE: l = i == 0; break;
      case PAIRS: l = i / 2 % 3; break;
      case GRADED: l = std::pow(10.0, -12.0 * i / n); break;
      default: break;
    }
    a[size_t(i) * n + i] = l, sum += l;
  }
  if (sum == 0) a[0] = sum = 1;
  for (int k = 0; kind != DIAGONAL && k < 3; ++k) {  // a := H a H, H = 1 - 2 v v^T
    double norm = 0;
    for (double &x : v) x = random.normal(), norm += x * x;
    for (double &x : v) x /= std::sqrt(norm);
    for (int side = 0; side < 2; ++side)
      for (int i = 0; i < n; ++i) {
        double dot = 0;
        auto at = [&](int j) -> double & { return side ? a[size_t(i) * n + j] : a[size_t(j) * n + i]; };
        for (int j = 0; j < n; ++j) dot += at(j) * v[j];
        for (int j = 0; j < n; ++j) at(j) -= 2 * dot * v[j];
      }
  }
  std::vector<float> out(a.size());
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) out[size_t(i) * n + j] = float((a[size_t(i) * n + j] + a[size_t(j) * n + i]) / 2 * n / sum);
  return out;
}
double host_rank(const std::vector<float> &m, int n) {
  std::vector<double> a(m.begin(), m.end()), d(n), off(n), work(n);
  CHECK(gram_eigenvalues(a.data(), uint64_t(n), d.data(), off.data(), work.data()) == 0);
  return gram_effective_rank(d.data(), uint64_t(n));
}

void run(const std::vector<int> &sides, const std::vector<Spectrum> &kinds) {
  static cuda_layers t;
  struct One {
    int n;
    Spectrum kind;
    std::vector<float> host;
    Device<float> matrix;
    Device<cuda_features> found{1};
    One(int side, Spectrum k) : n(side), kind(k), host(matrix_of(k, side, uint64_t(side) * 31 + k)), matrix(host) {}
  };
  std::vector<std::unique_ptr<One>> all;
  for (int n : sides)
    for (Spectrum k : kinds) all.push_back(std::make_unique<One>(n, k));
  Device<double> rank(all.size()), again(all.size());
  for (size_t from = 0; from < all.size(); from += 11)
    for (Device<double> *out : {&rank, &again}) {
      uint64_t bytes = 0, one;
      memset(&t, 0, sizeof t);
      const size_t stop = from + 11 < all.size() ? from + 11 : all.size();
      for (size_t i = from; i < stop; ++i) {
        cuda_layer &layer = t.layer[t.layers++];
        const uint64_t n = uint64_t(all[i]->n);
        layer.features_out = all[i]->found.p, layer.effective_rank = out->p + i;
        all[i]->found.p->valid = n;
        if (i % 2) layer.gram = all[i]->matrix.p, layer.samples = n, layer.features = n + 5;
        else layer.feature_gram = all[i]->matrix.p, layer.samples = n + 9, layer.features = n + 3 < CUDA_EIGEN_SIDE ? n + 3 : n;
        CHECK_LAUNCH(actscope_cuda_eigen_scratch(i % 2 ? n : layer.features, &one));
        bytes += one;
      }
      t.layer[t.layers++].gram = t.layer[0].gram;  // one that does not want it
      Device<char> scratch(bytes);
      CHECK_LAUNCH(actscope_cuda_eigen(&t, scratch.p, 0));
    }
  double worst = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    SHAPE("side %d, spectrum %d", all[i]->n, int(all[i]->kind));
    const double want = host_rank(all[i]->host, all[i]->n);
    // The host's own eigenvalues carry rounding of about 1e-16 of the largest, and those of a float32 matrix near 0 are noise
    // in either case: what they add to the entropy is below 1e-7.
    CHECK_NEAR(rank[i], want, 0, 1e-6);
    worst = std::fmax(worst, std::fabs(rank[i] / want - 1));
    CHECK(rank[i] == again[i]);
  }
  if (getenv("SIM_TIMES")) printf("    worst relative error of an effective rank: %.1e\n", worst);
}
const std::vector<Spectrum> kAll = {FLAT, RANDOM, LOW_RANK, ONE, PAIRS, GRADED, DIAGONAL};
}  // namespace

TEST(eigen_small) {
  if (test_small) return run({1, 2, 8, 17}, {RANDOM, PAIRS});
  run({1, 2, 3, 4, 5, 7, 8, 16, 17}, kAll);
}

TEST(eigen_sides) {  // in shared memory, around warps, rows of a warp, threads of an eigenvalue
  if (test_small) return run({33}, {RANDOM});
  run({31, 32, 33, 64, 65}, {RANDOM, LOW_RANK, GRADED});
  run({127, 128, 129, 160}, {RANDOM});
}

TEST(eigen_large) {  // in scratch
  if (test_small) return;
  run({200}, {RANDOM, GRADED});
  run({512}, {LOW_RANK});
}

TEST(eigen_none) {  // no valid feature: no number
  static cuda_layers t;
  Device<cuda_features> found(1);
  Device<float> matrix(9);
  Device<double> rank(1);
  found.zero();
  memset(&t, 0, sizeof t);
  t.layers = 1;
  t.layer[0].features = 3, t.layer[0].samples = 9, t.layer[0].features_out = found.p, t.layer[0].feature_gram = matrix.p;
  t.layer[0].effective_rank = rank.p;
  CHECK_LAUNCH(actscope_cuda_eigen(&t, nullptr, 0));
  CHECK(rank[0] != rank[0]);
}
