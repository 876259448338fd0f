#include "engine/kernels/rows/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace slipway::kernels {
namespace {

std::vector<Isa> Isas() {
  std::vector<Isa> all;
  for (int i = 0; i <= static_cast<int>(BestIsa()); ++i) all.push_back(static_cast<Isa>(i));
  return all;
}

class Rows : public testing::TestWithParam<Isa> {
 protected:
  std::vector<float> Values(int64_t n, float low = -2, float high = 2) {
    std::uniform_real_distribution<float> value(low, high);
    std::vector<float> v(static_cast<size_t>(n));
    for (float& x : v) x = value(random_);
    return v;
  }
  const RowKernels& k_ = GetRows(GetParam());
  std::mt19937 random_{7};
};
INSTANTIATE_TEST_SUITE_P(Isa, Rows, testing::ValuesIn(Isas()),
                         [](const auto& info) { return IsaName(info.param); });

constexpr int64_t kSizes[] = {1, 2, 3, 7, 16, 31, 64, 65, 127, 197, 768};

double Truth(ReduceKind kind, const float* x, int64_t n, int64_t stride) {
  double r = kind == ReduceKind::kProd  ? 1
             : kind == ReduceKind::kMax ? -INFINITY
             : kind == ReduceKind::kMin ? INFINITY
                                        : 0;
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i * stride];
    switch (kind) {
      case ReduceKind::kSum:
        r += v;
        break;
      case ReduceKind::kMax:
        r = std::max(r, v);
        break;
      case ReduceKind::kMin:
        r = std::min(r, v);
        break;
      case ReduceKind::kProd:
        r *= v;
        break;
      case ReduceKind::kAbsSum:
        r += std::fabs(v);
        break;
      case ReduceKind::kSquareSum:
        r += v * v;
        break;
      case ReduceKind::kCount:
        break;
    }
  }
  return r;
}

TEST_P(Rows, Reduce) {
  for (int kind = 0; kind < static_cast<int>(ReduceKind::kCount); ++kind) {
    const auto which = static_cast<ReduceKind>(kind);
    for (int64_t n : kSizes) {
      const auto x = which == ReduceKind::kProd ? Values(n, 0.9f, 1.1f) : Values(n);
      EXPECT_NEAR(k_.reduce[kind](x.data(), n), Truth(which, x.data(), n, 1),
                  2e-5 * std::sqrt(static_cast<double>(n)))
          << kind << " " << n;
    }
    for (int64_t m : kSizes) {
      const int64_t n = 13, stride = m + 5;
      const auto x =
          which == ReduceKind::kProd ? Values(n * stride, 0.9f, 1.1f) : Values(n * stride);
      std::vector<float> y(static_cast<size_t>(m));
      k_.reduce_columns[kind](x.data(), n, stride, y.data(), m);
      for (int64_t j = 0; j < m; ++j)
        EXPECT_NEAR(y[static_cast<size_t>(j)], Truth(which, x.data() + j, n, stride), 2e-5)
            << kind << " " << m;
    }
  }
  // Float32 alone would lose 4 digits over so many terms of one sign.
  const int64_t many = 1 << 20;
  const auto x = Values(2 * many, 0.5f, 1.5f);
  const auto sum = static_cast<int>(ReduceKind::kSquareSum);
  const double truth = Truth(ReduceKind::kSquareSum, x.data(), many, 1);
  EXPECT_NEAR(k_.reduce[sum](x.data(), many), truth, 1e-6 * truth);
  float y[2];
  k_.reduce_columns[sum](x.data(), many, 2, y, 2);
  for (int j = 0; j < 2; ++j) {
    const double column = Truth(ReduceKind::kSquareSum, x.data() + j, many, 2);
    EXPECT_NEAR(y[j], column, 1e-6 * column);
  }
  auto with_nan = Values(70);
  with_nan[33] = NAN;
  EXPECT_TRUE(std::isnan(k_.reduce[static_cast<int>(ReduceKind::kMax)](with_nan.data(), 70)));
}

TEST_P(Rows, Softmax) {
  for (bool log : {false, true}) {
    for (int64_t n : kSizes) {
      for (int64_t m : {1, 3, 70}) {
        auto x = Values(n * m, -30, 30);
        std::vector<float> y(x.size());
        if (m == 1) {
          k_.softmax(x.data(), y.data(), n, log);
        } else {
          k_.softmax_columns(x.data(), y.data(), n, m, m, log);
        }
        for (int64_t j = 0; j < m; ++j) {
          const double top = Truth(ReduceKind::kMax, x.data() + j, n, m);
          double sum = 0;
          for (int64_t i = 0; i < n; ++i) sum += std::exp(x[static_cast<size_t>(i * m + j)] - top);
          for (int64_t i = 0; i < n; ++i) {
            const double v = x[static_cast<size_t>(i * m + j)] - top;
            const double want = log ? v - std::log(sum) : std::exp(v) / sum;
            EXPECT_NEAR(y[static_cast<size_t>(i * m + j)], want, 1e-6 + 1e-6 * std::fabs(want))
                << n << " " << m;
          }
        }
      }
    }
  }
}

TEST_P(Rows, Normalize) {
  for (int64_t n : kSizes) {
    const auto x = Values(n, 5, 9), scale = Values(n), bias = Values(n);
    std::vector<float> y(x.size());
    double mean = 0, variance = 0;
    for (float v : x) mean += v / static_cast<double>(n);
    for (float v : x) variance += (v - mean) * (v - mean) / static_cast<double>(n);
    const Moments m = k_.moments(x.data(), n);
    EXPECT_NEAR(m.mean, mean, 1e-5);
    EXPECT_NEAR(m.variance, variance, 1e-5);
    k_.normalize(x.data(), y.data(), n, 7, 2, scale.data(), bias.data());
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_NEAR(y[i], (x[i] - 7) * 2 * scale[i] + bias[i], 1e-5);
    k_.normalize(x.data(), y.data(), n, 7, 2, scale.data(), nullptr);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(y[i], (x[i] - 7) * 2 * scale[i], 1e-5);
    k_.normalize_by(x.data(), y.data(), n, 7, 2, 1);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(y[i], (x[i] - 7) * 2 + 1, 1e-5);
  }
}

}  // namespace
}  // namespace slipway::kernels
