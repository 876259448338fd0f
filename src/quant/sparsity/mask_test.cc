#include "quant/sparsity/mask.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "base/thread_pool.h"
#include "quant/weight_only/hessian.h"

namespace slipway::quant {
namespace {

SparsityPattern Pattern(const char* text) {
  const auto p = compiler::ParseSparsity(text);
  EXPECT_TRUE(p.ok()) << p.status().message();
  return *p;
}
std::vector<float> Normal(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(static_cast<size_t>(count));
  for (float& x : v) x = normal(random);
  return v;
}
// Rows of inputs that depend on each other: half as many causes as columns, and noise.
std::vector<float> Inputs(int64_t rows, int64_t width, unsigned seed) {
  const int64_t causes = std::max<int64_t>(1, width / 2);
  const std::vector<float> mix = Normal(causes * width, seed), z = Normal(rows * causes, seed + 1),
                           noise = Normal(rows * width, seed + 2);
  std::vector<float> x(static_cast<size_t>(rows * width));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < width; ++i) {
      float v = 0.3f * noise[static_cast<size_t>(r * width + i)];
      for (int64_t j = 0; j < causes; ++j)
        v += z[static_cast<size_t>(r * causes + j)] * mix[static_cast<size_t>(j * width + i)];
      x[static_cast<size_t>(r * width + i)] = v * (i % 8 == 3 ? 4.0f : 1.0f);
    }
  }
  return x;
}
InputStatistics Statistics(const std::vector<float>& x, int64_t width) {
  InputStatistics s(width);
  EXPECT_TRUE(s.Add(x, nullptr).ok());
  return s;
}
double Lost(const InputStatistics& s, const std::vector<float>& w, const std::vector<float>& p) {
  std::vector<float> d(w.size());
  for (size_t i = 0; i < d.size(); ++i) d[i] = w[i] - p[i];
  return s.SquaredError(d, nullptr);
}
std::vector<float> Masked(std::vector<float> w, const std::vector<uint8_t>& mask) {
  for (size_t i = 0; i < w.size(); ++i) w[i] = mask[i] ? w[i] : 0;
  return w;
}
std::vector<uint8_t> ZerosOf(const std::vector<float>& w) {
  std::vector<uint8_t> z(w.size());
  for (size_t i = 0; i < w.size(); ++i) z[i] = w[i] == 0;
  return z;
}

// Of each group the pair with the largest sum of magnitudes, of all six.
TEST(Masks, TwoOfFourByBruteForce) {
  const WeightShape shape = {6, 12, 3};
  const std::vector<float> w = Normal(6 * 36, 1);
  const auto mask = MagnitudeMask(w, shape, Pattern("2:4"));
  for (size_t g = 0; g < w.size(); g += 4) {
    float best = -1, kept = 0;
    int count = 0;
    for (size_t a = 0; a < 4; ++a) {
      for (size_t b = a + 1; b < 4; ++b)
        best = std::max(best, std::fabs(w[g + a]) + std::fabs(w[g + b]));
      kept += mask[g + a] ? std::fabs(w[g + a]) : 0;
      count += mask[g + a];
    }
    EXPECT_EQ(count, 2);
    EXPECT_FLOAT_EQ(kept, best);
  }
}

TEST(Masks, AnyPatternHolds) {
  std::mt19937 random(3);
  for (const char* text : {"1:2", "2:4", "1:4", "4:8", "3:5", "block:2x4@0.5", "block:3x5@0.3",
                           "block:1x1@0.9", "block:4x2@0.99"}) {
    for (int round = 0; round < 6; ++round) {
      SCOPED_TRACE(std::string(text) + ", round " + std::to_string(round));
      const SparsityPattern p = Pattern(text);
      const WeightShape shape = {static_cast<int64_t>(4 + random() % 6),
                                 static_cast<int64_t>(8 + random() % 10),
                                 static_cast<int64_t>(1 + random() % 3)};
      const int64_t k = shape.columns();
      const std::vector<float> w = Normal(shape.rows * k, static_cast<unsigned>(round));
      const auto mask = MagnitudeMask(w, shape, p);
      const auto inputs = Statistics(Inputs(200, k, 9), k);
      const auto pruned = PruneByInputs(w, shape, p, inputs, 0.01, nullptr);
      ASSERT_TRUE(pruned.ok()) << pruned.status().message();
      EXPECT_TRUE(Satisfies(ZerosOf(Masked(w, mask)), shape, p));
      EXPECT_TRUE(Satisfies(ZerosOf(pruned->weights), shape, p));
      EXPECT_FALSE(Satisfies(ZerosOf(w), shape, p));
      if (!p.block) {  // as many go either way, and no more than the pattern wants
        EXPECT_EQ(std::count(mask.begin(), mask.end(), 0),
                  std::count(pruned->mask.begin(), pruned->mask.end(), 0));
        const int64_t whole = shape.channels / p.group, tail = shape.channels % p.group;
        EXPECT_EQ(std::count(mask.begin(), mask.end(), 1),
                  shape.rows * shape.taps * (whole * p.keep + std::min<int64_t>(tail, p.keep)));
      }
      EXPECT_LE(Lost(inputs, w, pruned->weights), 1.001 * Lost(inputs, w, Masked(w, mask)));
    }
  }
}

// Without correlation what costs least is the smallest.
TEST(Masks, IndependentInputsGiveMagnitudes) {
  const int64_t k = 16;
  std::vector<float> x(k * k, 0.0f);
  for (size_t i = 0; i < k; ++i) x[i * k + i] = 2;
  const WeightShape shape = {5, k, 1};
  const std::vector<float> w = Normal(5 * k, 4);
  for (const char* text : {"2:4", "block:5x2@0.5", "block:1x4@0.4"}) {
    const auto pruned = PruneByInputs(w, shape, Pattern(text), Statistics(x, k), 0.01, nullptr);
    ASSERT_TRUE(pruned.ok());
    const auto mask = MagnitudeMask(w, shape, Pattern(text));
    EXPECT_EQ(pruned->mask, mask);
    EXPECT_EQ(pruned->weights, Masked(w, mask));
  }
}

// (H + damping * mean diagonal) of the inputs.
std::vector<double> Damped(const InputStatistics& inputs, double damping) {
  const auto k = static_cast<size_t>(inputs.width());
  std::vector<double> a(inputs.products().begin(), inputs.products().end());
  double mean = 0;
  for (size_t i = 0; i < k; ++i) mean += a[i * k + i] / static_cast<double>(k);
  for (size_t i = 0; i < k; ++i) a[i * k + i] += damping * mean;
  return a;
}
// The weights on a mask that lose least, by Gaussian elimination.
std::vector<double> LeastSquares(const std::vector<double>& a, std::span<const float> w,
                                 std::span<const uint8_t> mask) {
  const size_t k = w.size();
  std::vector<size_t> s;
  for (size_t i = 0; i < k; ++i) {
    if (mask[i]) s.push_back(i);
  }
  const size_t n = s.size();
  std::vector<std::vector<double>> m(n, std::vector<double>(n + 1, 0));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) m[i][j] = a[s[i] * k + s[j]];
    for (size_t j = 0; j < k; ++j) m[i][n] += a[s[i] * k + j] * double{w[j]};
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) {
      const double f = m[j][i] / m[i][i];
      for (size_t c = i; c <= n; ++c) m[j][c] -= f * m[i][c];
    }
  }
  std::vector<double> x(k, 0);
  for (size_t i = n; i-- > 0;) {
    for (size_t j = i + 1; j < n; ++j) m[i][n] -= m[i][j] * x[s[j]];
    x[s[i]] = m[i][n] / m[i][i];
  }
  return x;
}

TEST(Masks, RemainingWeightsAreTheLeastSquares) {
  const WeightShape shape = {4, 12, 2};
  const int64_t k = shape.columns();
  const auto inputs = Statistics(Inputs(300, k, 5), k);
  const std::vector<float> w = Normal(shape.rows * k, 6);
  const std::vector<double> a = Damped(inputs, 0.01);
  for (const char* text : {"2:4", "block:2x3@0.5"}) {
    const auto pruned = PruneByInputs(w, shape, Pattern(text), inputs, 0.01, nullptr);
    ASSERT_TRUE(pruned.ok());
    for (size_t r = 0; r < 4; ++r) {
      const auto at = r * static_cast<size_t>(k);
      const auto want = LeastSquares(a, std::span(w).subspan(at, static_cast<size_t>(k)),
                                     std::span(pruned->mask).subspan(at, static_cast<size_t>(k)));
      for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(pruned->weights[at + i], want[i], 2e-4);
    }
  }
}

// All masks of three of six blocks: what is taken is close to the best of them.
TEST(Masks, BlocksAreNearlyTheBest) {
  const WeightShape shape = {2, 12, 1};
  double taken = 0, best = 0, largest = 0;
  for (unsigned seed = 0; seed < 8; ++seed) {
    const auto inputs = Statistics(Inputs(100, 12, 20 + seed), 12);
    const std::vector<float> w = Normal(24, seed);
    const auto pruned = PruneByInputs(w, shape, Pattern("block:2x2@0.5"), inputs, 0.01, nullptr);
    ASSERT_TRUE(pruned.ok());
    const std::vector<double> a = Damped(inputs, 0.01);
    const auto lost = [&](const std::vector<uint8_t>& mask) {
      std::vector<float> x;
      for (size_t r = 0; r < 2; ++r) {
        for (const double v :
             LeastSquares(a, std::span(w).subspan(12 * r, 12), std::span(mask).subspan(12 * r, 12)))
          x.push_back(static_cast<float>(v));
      }
      return Lost(inputs, w, x);
    };
    double least = 1e300;
    for (unsigned set = 0; set < 64; ++set) {
      if (std::popcount(set) != 3) continue;
      std::vector<uint8_t> mask(24);
      for (size_t i = 0; i < 24; ++i) mask[i] = (set >> (i % 12 / 2)) & 1;
      least = std::min(least, lost(mask));
    }
    taken += lost(pruned->mask);
    best += least;
    largest += lost(MagnitudeMask(w, shape, Pattern("block:2x2@0.5")));
  }
  EXPECT_LT(taken, 1.15 * best);
  EXPECT_GT(largest, 1.3 * best);
}

TEST(Masks, OfTheLayersOutputsRatherThanOfItsWeights) {
  const WeightShape shape = {16, 32, 1};
  const auto inputs = Statistics(Inputs(500, 32, 7), 32);
  const std::vector<float> w = Normal(16 * 32, 8);
  for (const char* text : {"2:4", "1:4", "block:4x4@0.5"}) {
    const SparsityPattern p = Pattern(text);
    const auto pruned = PruneByInputs(w, shape, p, inputs, 0.01, nullptr);
    ASSERT_TRUE(pruned.ok());
    EXPECT_LT(Lost(inputs, w, pruned->weights),
              0.5 * Lost(inputs, w, Masked(w, MagnitudeMask(w, shape, p))));
    // The same whatever the threads.
    ThreadPool pool({.threads = 3});
    const auto again = PruneByInputs(w, shape, p, inputs, 0.01, &pool);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->weights, pruned->weights);
    EXPECT_EQ(again->mask, pruned->mask);
  }
}

TEST(Masks, DeadInputsAndZeroWeights) {
  const int64_t k = 16;
  std::vector<float> x = Inputs(100, k, 11);
  for (size_t r = 0; r < 100; ++r) x[r * k + 1] = x[r * k + 2] = 0;
  const WeightShape shape = {3, k, 1};
  const std::vector<float> w = Normal(3 * k, 12);
  const auto pruned = PruneByInputs(w, shape, Pattern("2:4"), Statistics(x, k), 0.01, nullptr);
  ASSERT_TRUE(pruned.ok());
  for (size_t r = 0; r < 3; ++r) {  // what nothing ever multiplies goes first
    EXPECT_EQ(pruned->weights[r * k + 1], 0);
    EXPECT_EQ(pruned->weights[r * k + 2], 0);
    EXPECT_EQ(pruned->mask[r * k], 1);
  }
  // No input at all, and no weight at all.
  for (const char* text : {"2:4", "block:1x4@0.5"}) {
    const auto none = PruneByInputs(w, shape, Pattern(text),
                                    Statistics(std::vector<float>(10 * k, 0.0f), k), 0.01, nullptr);
    ASSERT_TRUE(none.ok()) << none.status().message();
    EXPECT_TRUE(Satisfies(ZerosOf(none->weights), shape, Pattern(text)));
    const std::vector<float> empty(3 * k, 0.0f);
    const auto zero = PruneByInputs(empty, shape, Pattern(text), Statistics(x, k), 0.01, nullptr);
    ASSERT_TRUE(zero.ok());
    EXPECT_EQ(zero->weights, empty);
  }
  x[5] = std::nanf("");
  InputStatistics s(k);
  EXPECT_NE(s.Add(x, nullptr).message().find("not finite"), std::string::npos);
}

TEST(Masks, WhatACompressedFormTakes) {
  const WeightShape shape = {8, 16, 9};
  EXPECT_EQ(StoredWeights(shape, Pattern("2:4")), 8 * 16 * 9 / 2);
  EXPECT_EQ(IndexBits(shape, Pattern("2:4")), 8 * 16 * 9 / 2 * 2);  // two bits a value
  EXPECT_EQ(IndexBits(shape, Pattern("4:8")), 8 * 16 * 9 / 2 * 3);
  EXPECT_EQ(StoredWeights(shape, Pattern("block:4x4@0.25")), 8 * 16 * 9 * 3 / 4);
  EXPECT_EQ(IndexBits(shape, Pattern("block:4x4@0.25")), 2 * 4 * 9);
}

}  // namespace
}  // namespace slipway::quant
