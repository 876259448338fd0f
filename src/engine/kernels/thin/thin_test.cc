#include "engine/kernels/thin/thin.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "engine/kernels/simd/isa_test_util.h"

namespace slipway::kernels {
namespace {

void Check(int64_t m, int64_t k, int64_t n, bool transposed, std::mt19937& random) {
  SCOPED_TRACE("m " + std::to_string(m) + " k " + std::to_string(k) + " n " + std::to_string(n) +
               (transposed ? " transposed" : ""));
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(m * k)), w(static_cast<size_t>(k * n)),
      start(static_cast<size_t>(m * n));
  for (auto* v : {&x, &w, &start}) {
    for (float& f : *v) f = normal(random);
  }
  for (Isa isa : Isas()) {
    const ThinKernels& kernels = GetThin(isa);
    const ThinFunction function = transposed ? kernels.transposed : kernels.plain;
    std::vector<float> y = start, cut = start;
    y.push_back(7);  // nobody may write behind the end
    cut.push_back(7);
    function({x.data(), w.data(), y.data(), m, k, n}, 0, n);
    // The same numbers wherever the ranges of columns are cut, at blocks of 16.
    const int64_t middle = n / 2 / 16 * 16;
    function({x.data(), w.data(), cut.data(), m, k, n}, middle, n);
    function({x.data(), w.data(), cut.data(), m, k, n}, 0, middle);
    ASSERT_EQ(std::memcmp(y.data(), cut.data(), y.size() * 4), 0) << IsaName(isa);
    ASSERT_EQ(y.back(), 7);
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t col = 0; col < n; ++col) {
        double sum = start[static_cast<size_t>(row * n + col)], size = std::fabs(sum);
        for (int64_t i = 0; i < k; ++i) {
          const double p = static_cast<double>(x[static_cast<size_t>(row * k + i)]) *
                           w[static_cast<size_t>(transposed ? col * k + i : i * n + col)];
          sum += p;
          size += std::fabs(p);
        }
        ASSERT_NEAR(y[static_cast<size_t>(row * n + col)], sum, 1e-6 * size)
            << IsaName(isa) << " at " << row << ", " << col;
      }
    }
  }
}

TEST(Thin, RandomShapes) {
  const uint32_t seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto below = [&](int n) {
    return static_cast<int64_t>(random() % static_cast<unsigned>(n));
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
  for (int round = 0; round < 40 || std::chrono::steady_clock::now() < end; ++round) {
    for (bool transposed : {false, true}) {
      Check(1 + below(round % 4 == 0 ? 19 : 8), below(80), 1 + below(150), transposed, random);
      if (HasFatalFailure()) return;
    }
  }
  Check(1, 33, 9001, false, random);  // several blocks of columns
}

}  // namespace
}  // namespace slipway::kernels
