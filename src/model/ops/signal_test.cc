#include <random>

#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

// The definition, for any length.
std::vector<double> Naive(const std::vector<float>& x, int64_t n, bool inverse) {
  std::vector<double> out(static_cast<size_t>(2 * n));
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t i = 0; i < n && 2 * i < static_cast<int64_t>(x.size()); ++i) {
      const double angle =
          (inverse ? 2 : -2) * M_PI * static_cast<double>(i * k % n) / static_cast<double>(n);
      const double re = x[static_cast<size_t>(2 * i)], im = x[static_cast<size_t>(2 * i + 1)];
      out[static_cast<size_t>(2 * k)] += re * std::cos(angle) - im * std::sin(angle);
      out[static_cast<size_t>(2 * k + 1)] += re * std::sin(angle) + im * std::cos(angle);
    }
  }
  if (inverse) {
    for (double& v : out) v /= static_cast<double>(n);
  }
  return out;
}

TEST(Signal, DftOfEveryLengthIsItsDefinition) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  std::uniform_real_distribution<float> noise(-1, 1);
  for (int64_t n = 1; n < 40; ++n) {
    const int64_t have = std::max<int64_t>(1, n - static_cast<int64_t>(rng() % 3));
    std::vector<float> x(static_cast<size_t>(2 * have));
    for (float& v : x) v = noise(rng);
    for (int64_t inverse : {0, 1}) {
      const T y = Run1("DFT", {F({1, have, 2}, x), I({}, {n}), I({}, {1})}, {1, n, 2},
                       {{"inverse", inverse}});
      const auto want = Naive(x, n, inverse != 0);
      ExpectNear(y, std::vector<float>(want.begin(), want.end()), 2e-5f);
    }
  }
}

// One-sided there and back is the real signal again, along a dimension in the middle.
TEST(Signal, OneSidedRoundTrip) {
  for (int64_t n : {7, 8}) {
    const T x = Iota({2, n, 3, 1}, -2);
    const Attributes onesided = {{"onesided", int64_t{1}}};
    const T half = Run1("DFT", {x, T(), I({}, {1})}, {2, n / 2 + 1, 3, 2}, onesided);
    const T back = Run1("DFT", {half, I({}, {n}), I({}, {1})}, {2, n, 3, 1},
                        {{"onesided", int64_t{1}}, {"inverse", int64_t{1}}});
    ExpectNear(back, x.As<float>(), 1e-5f);
  }
}

TEST(Signal, StftIsDftsOfFrames) {
  const T x = Iota({1, 8, 1});
  const T window = F({4}, {0, 1, 1, 0});
  const T y = Run1("STFT", {x, I({}, {2}), window, I({}, {4})}, {1, 3, 3, 2});
  // Frame 1 is 2 3 4 5, windowed 0 3 4 0.
  const auto v = y.As<float>();
  EXPECT_NEAR(v[6], 7, 1e-5);
  EXPECT_NEAR(v[8], -4, 1e-5);
  EXPECT_NEAR(v[9], -3, 1e-5);
  EXPECT_NEAR(v[10], 1, 1e-5);
  EXPECT_NE(RunError("STFT", {x, I({}, {0}), window, I({}, {4})}, {1, 3, 3, 2}).find("frame_step"),
            std::string::npos);
}

TEST(Signal, Windows) {
  ExpectNear(Run1("HannWindow", {I({}, {4})}, {4}, {}, DType::kFloat32), {0, 0.5f, 1, 0.5f});
  ExpectNear(Run1("HannWindow", {I({}, {3})}, {3}, {{"periodic", int64_t{0}}}, DType::kFloat32),
             {0, 1, 0});
  ExpectNear(Run1("HammingWindow", {I({}, {2})}, {2}, {}, DType::kFloat32), {4.0f / 46, 1});
  ExpectNear(Run1("BlackmanWindow", {I({}, {2})}, {2}, {}, DType::kFloat32), {0, 1}, 1e-6f);
}

TEST(Signal, ExtentsFromData) {
  EXPECT_EQ(ShapeFromData("HannWindow", {I32({}, {7})}), "[7]");
  EXPECT_NE(ShapeFromData("HannWindow", {I({}, {-1})}).find("holds -1"), std::string::npos);
  EXPECT_EQ(ShapeFromData("MelWeightMatrix", {I({}, {8}), I({}, {64})}), "[33, 8]");
  const T x = F({2, 6, 1}, std::vector<float>(12, 0.0f));
  EXPECT_EQ(ShapeFromData("DFT", {x, I({}, {9})}, {{"onesided", int64_t{1}}}), "[2, 5, 2]");
  EXPECT_EQ(ShapeFromData("DFT", {F({2, 2}, {1, 2, 3, 4}), T(), I({}, {0})},
                          {{"onesided", int64_t{1}}, {"inverse", int64_t{1}}}),
            "[2, 1]");
  EXPECT_EQ(ShapeFromData("STFT", {x, I({}, {2}), T(), I({}, {4})}), "[2, 2, 3, 2]");
  EXPECT_NE(ShapeFromData("STFT", {x, I({}, {2}), T(), I({}, {7})}).find("does not fit"),
            std::string::npos);
}

TEST(Signal, MelWeightMatrix) {
  const T y =
      Run1("MelWeightMatrix", {I({}, {2}), I({}, {8}), I({}, {8000}), F({}, {0}), F({}, {4000})},
           {5, 2}, {}, DType::kFloat32);
  // Corners at mel steps of a quarter of 2146: 0, 426, 1111, 2213 Hz in bins of 8000 / 9 Hz: 0 0
  // 1 2.
  ExpectNear(y, {1, 0, 0, 1, 0, 0, 0, 0, 0, 0});
}

}  // namespace
}  // namespace slipway::ops
