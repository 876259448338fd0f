#include "engine/kernels/rows/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "base/float16.h"

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
          k_.softmax(x.data(), y.data(), 1, n, log);
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

// Rows do not depend on how many there are.
TEST_P(Rows, SoftmaxOfManyRows) {
  for (int64_t n : {1, 15, 16, 49, 197, 300}) {
    const auto x = Values(7 * n, -20, 20);
    std::vector<float> all(x.size()), one(x.size());
    k_.softmax(x.data(), all.data(), 7, n, false);
    for (int64_t r = 0; r < 7; ++r) k_.softmax(x.data() + r * n, one.data() + r * n, 1, n, false);
    EXPECT_EQ(all, one) << n;
  }
}

// Scores so far below the largest that their powers of two have no exponent, as masks make them.
TEST_P(Rows, SoftmaxOfFarScores) {
  const float far[] = {-100, -178, -200, -356, -1e3f, -1e9f, -3e38f, -INFINITY};
  for (int64_t n : {1, 15, 16, 49, 197}) {
    auto x = Values(2 * n, -5, 5);
    for (int64_t r = 0; r < 2; ++r) {
      for (int64_t i = 1; i < n; i += 2) x[static_cast<size_t>(r * n + i)] = far[i / 2 % 8];
    }
    std::vector<float> rows(x.size()), work(static_cast<size_t>(4 * (n + 15)));
    std::vector<uint8_t> codes(x.size());
    k_.softmax(x.data(), rows.data(), 2, n, false);
    SoftmaxCodesCall c{.x = x.data(), .y = codes.data(), .work = work.data(), .x_stride = n};
    c.y_stride = n, c.rows = 2, c.n = n, c.code = {1.0f / 255, 0, 255};
    k_.softmax_codes(c);
    for (int64_t r = 0; r < 2; ++r) {
      double sum = 0;
      const float* s = x.data() + r * n;
      for (int64_t i = 0; i < n; i += 2) sum += std::exp(static_cast<double>(s[i]));
      for (int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<size_t>(r * n + i);
        const double want = i % 2 ? 0 : std::exp(static_cast<double>(s[i])) / sum;
        EXPECT_NEAR(rows[at], want, 2e-6) << n << " " << i;
        EXPECT_NEAR(codes[at], 255 * want, 0.501) << n << " " << i;
      }
    }
  }
}

TEST_P(Rows, SoftmaxToCodes) {
  for (int64_t n : {1, 3, 16, 49, 64, 197}) {
    for (int kind = 0; kind < 6; ++kind) {
      const bool rounded = kind % 2 != 0, biased = kind >= 2, masked = kind >= 4;
      const int64_t rows = 6, x_stride = n + 3, y_stride = n + 1;
      const auto x = Values(rows * x_stride, -9, 9), bias = Values(rows * n, -2, 2),
                 mask = Values(rows * n, -3, 0);
      std::vector<float> work(static_cast<size_t>(4 * (n + 15)));
      std::vector<uint8_t> y(static_cast<size_t>(rows * y_stride), 0xAA);
      SoftmaxCodesCall c{.x = x.data(), .y = y.data(), .work = work.data(), .x_stride = x_stride};
      c.y_stride = y_stride, c.rows = rows, c.n = n, c.zero = 3;
      c.code = {0.0075f, -3, 90};
      if (rounded) c.score = {0.25f, -20, 20};
      if (biased) c.bias = bias.data(), c.bias_stride = n;
      if (masked) c.mask = mask.data(), c.mask_stride = n, c.sum = {0.5f, -9, 9};
      c.sum_multiplier = 0.4f;
      k_.softmax_codes(c);
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<double> s;
        double sum = 0, top = -1e30;
        for (int64_t i = 0; i < n; ++i) {
          double v = x[static_cast<size_t>(r * x_stride + i)];
          if (rounded) v = std::clamp(std::nearbyint(v), -20.0, 20.0) * 0.25;
          if (biased) v += bias[static_cast<size_t>(r * n + i)];
          if (masked)
            v = std::clamp(std::nearbyint(v / 0.5), -9.0, 9.0) * 0.4f +
                mask[static_cast<size_t>(r * n + i)];
          s.push_back(v);
          top = std::max(top, v);
        }
        for (double& v : s) sum += v = std::exp(v - top);
        for (int64_t i = 0; i < n; ++i) {
          const double want = std::clamp(s[static_cast<size_t>(i)] / sum / 0.0075, -3.0, 90.0) + 3;
          EXPECT_NEAR(y[static_cast<size_t>(r * y_stride + i)], want, 0.501)
              << n << " kind " << kind;
        }
        EXPECT_EQ(y[static_cast<size_t>(r * y_stride + n)], 0xAA) << "written beside the row";
      }
    }
  }
}

TEST_P(Rows, LayerNormToCodes) {
  for (int64_t n : {1, 5, 16, 33, 96, 768}) {
    for (int kind = 0; kind < 4; ++kind) {
      const int64_t rows = 7;
      const auto x = Values(rows * n, -3, 5), weight = Values(n, -2, 2);
      std::vector<uint8_t> y(x.size());
      LayerNormCodesCall c{.x = x.data(), .y = y.data(), .n = n, .epsilon = 1e-3f};
      if (kind % 2 != 0) c.weight = weight.data();
      if (kind >= 2) c.variance = {0.11f, 0, 90};
      c.code = {0.02f, -100, 120}, c.zero = 101;
      k_.layer_norm_codes(c, 0, 3);
      k_.layer_norm_codes(c, 3, rows);
      for (int64_t r = 0; r < rows; ++r) {
        double mean = 0, v = 0;
        for (int64_t i = 0; i < n; ++i)
          mean += x[static_cast<size_t>(r * n + i)] / static_cast<double>(n);
        for (int64_t i = 0; i < n; ++i)
          v += std::pow(x[static_cast<size_t>(r * n + i)] - mean, 2) / static_cast<double>(n);
        if (kind >= 2) v = std::clamp(std::nearbyint(v / 0.11f), 0.0, 90.0) * 0.11f;
        for (int64_t i = 0; i < n; ++i) {
          double want = (x[static_cast<size_t>(r * n + i)] - mean) / std::sqrt(v + 1e-3f) / 0.02f;
          if (c.weight) want *= weight[static_cast<size_t>(i)];
          EXPECT_NEAR(y[static_cast<size_t>(r * n + i)], std::clamp(want, -100.0, 120.0) + 101,
                      0.501)
              << n << " kind " << kind;
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
    k_.normalize_by(x.data(), y.data(), n, 7, 2, 1);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(y[i], (x[i] - 7) * 2 + 1, 1e-5);
  }
}

TEST_P(Rows, LayerNorm) {
  for (const bool half : {false, true}) {
    if (half && !k_.half_rows) continue;
    for (int64_t n : {1, 2, 7, 16, 31, 65, 127, 197, 768, 9000}) {
      for (int which = 0; which < 4; ++which) {
        const bool bias = which & 1, root_mean = which & 2;
        const int64_t rows = 7;  // of which 4 at a time
        auto x = Values(n * rows, 5, 9);
        const auto scale = Values(n), shift = Values(n);
        std::vector<BFloat16> short_x;
        for (float& v : x) {
          short_x.emplace_back(v);
          if (half) v = static_cast<float>(short_x.back());
        }
        std::vector<float> y = x;
        std::vector<BFloat16> short_y = short_x;
        LayerNormCall call{.x = x.data(),
                           .y = y.data(),
                           .half = half,
                           .root_mean = root_mean,
                           .n = n,
                           .scale = scale.data(),
                           .bias = bias ? shift.data() : nullptr,
                           .epsilon = 1e-5f};
        if (half) call.x = short_x.data(), call.y = short_y.data();
        k_.layer_norm(call, 1, rows);
        const auto got = [&](int64_t i) -> double {
          const auto at = static_cast<size_t>(i);
          return half ? static_cast<float>(short_y[at]) : y[at];
        };
        for (int64_t i = 0; i < n; ++i)
          ASSERT_EQ(got(i), x[static_cast<size_t>(i)]) << "a row that nobody asked for";
        for (int64_t row = 1; row < rows; ++row) {
          const float* px = x.data() + row * n;
          double mean = 0, variance = 0;
          for (int64_t j = 0; j < n && !root_mean; ++j) mean += px[j] / static_cast<double>(n);
          for (int64_t j = 0; j < n; ++j)
            variance += (px[j] - mean) * (px[j] - mean) / static_cast<double>(n);
          for (int64_t j = 0; j < n; ++j) {
            const auto column = static_cast<size_t>(j);
            const double want = (px[j] - mean) / std::sqrt(variance + 1e-5) * scale[column] +
                                (bias ? shift[column] : 0);
            ASSERT_NEAR(got(row * n + j), want, 1e-4 + (half ? std::fabs(want) / 256 : 0))
                << n << " " << which << (half ? " bfloat16" : "") << " at " << row << ", " << j;
          }
        }
      }
    }
  }
  // NaN stays one, also in bfloat16.
  if (k_.half_rows) {
    std::vector<BFloat16> x(40, BFloat16(1.0)), y(40);
    x[3] = BFloat16(NAN);
    const std::vector<float> scale(40, 1);
    k_.layer_norm({x.data(), y.data(), true, false, 40, scale.data(), nullptr, 1e-5f}, 0, 1);
    for (BFloat16 v : y) EXPECT_TRUE(std::isnan(static_cast<float>(v)));
  }
}

}  // namespace
}  // namespace slipway::kernels
