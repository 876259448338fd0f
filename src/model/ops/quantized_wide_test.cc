// QConv, QLinear and QAveragePool with codes of 16 bits, against sums in int64.

#include <algorithm>
#include <cmath>
#include <random>

#include "model/ops/ops_test_util.h"
#include "model/ops/quantize.h"

namespace slipway::ops {
namespace {

template <typename V>
std::vector<V> Codes(std::mt19937& rng, int64_t n) {
  std::vector<V> v(static_cast<size_t>(n));
  for (V& c : v) c = static_cast<V>(rng());
  return v;
}

int64_t Int(std::mt19937& rng, int64_t lo, int64_t hi) {
  return std::uniform_int_distribution<int64_t>(lo, hi)(rng);
}

struct Case {
  int64_t channels, outputs, extent, kernel, pad, zero;
  std::vector<int64_t> sums;  // [outputs, extent_out, extent_out]
  int64_t out = 0;
};

template <typename X>
Case Sums(const std::vector<X>& x, const std::vector<int8_t>& w, Case c) {
  c.out = c.extent + 2 * c.pad - c.kernel + 1;
  for (int64_t o = 0; o < c.outputs; ++o) {
    for (int64_t i = 0; i < c.out; ++i) {
      for (int64_t j = 0; j < c.out; ++j) {
        int64_t sum = 0;
        for (int64_t k = 0; k < c.channels; ++k) {
          for (int64_t a = 0; a < c.kernel; ++a) {
            for (int64_t b = 0; b < c.kernel; ++b) {
              const int64_t y = i + a - c.pad, z = j + b - c.pad;
              if (y < 0 || y >= c.extent || z < 0 || z >= c.extent) continue;
              const size_t at = static_cast<size_t>((k * c.extent + y) * c.extent + z),
                           tap = static_cast<size_t>(
                               ((o * c.channels + k) * c.kernel + a) * c.kernel + b);
              sum += (int64_t{x[at]} - c.zero) * w[tap];
            }
          }
        }
        c.sums.push_back(sum);
      }
    }
  }
  return c;
}

template <typename X>
void CheckConv(std::mt19937& rng, DType type, int64_t lo, int64_t hi) {
  Case c{Int(rng, 1, 40),
         Int(rng, 1, 9),
         Int(rng, 3, 9),
         Int(rng, 1, 3),
         Int(rng, 0, 1),
         Int(rng, lo, hi),
         {},
         0};
  const auto x = Codes<X>(rng, c.channels * c.extent * c.extent);
  const auto w = Codes<int8_t>(rng, c.outputs * c.channels * c.kernel * c.kernel);
  std::vector<float> m(static_cast<size_t>(c.outputs));
  std::vector<int32_t> bias(m.size());
  for (float& v : m) v = static_cast<float>(Int(rng, 1, 1000)) * 1e-6f;
  for (int32_t& b : bias) b = static_cast<int32_t>(Int(rng, -2000000000, 2000000000));
  c = Sums(x, w, c);
  const Dims y{1, c.outputs, c.out, c.out};
  const int64_t zero = Int(rng, lo, hi);
  const Attributes a{{"pads", Ints{c.pad, c.pad, c.pad, c.pad}},
                     {"x_zero_point", c.zero},
                     {"y_zero_point", zero},
                     {"to", static_cast<int64_t>(type)},
                     {"q_min", lo},
                     {"q_max", hi}};
  const std::vector<T> inputs = {Make<X>({1, c.channels, c.extent, c.extent}, x),
                                 S8({c.outputs, c.channels, c.kernel, c.kernel}, w),
                                 F({c.outputs}, m), I32({c.outputs}, bias)};
  const auto codes = Run1("QConv", inputs, y, a, type, "slipway").template As<X>();
  Attributes real = a;
  real.Set("to", int64_t{1});
  const auto values = Run1("QConv", inputs, y, real, DType::kFloat32, "slipway").As<float>();
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t channel = i / static_cast<size_t>(c.out * c.out);
    const float v = static_cast<float>(c.sums[i] + bias[channel]) * m[channel];
    ASSERT_EQ(values[i], v) << i;
    ASSERT_EQ(int64_t{codes[i]}, Requantize(v, static_cast<int32_t>(zero), static_cast<int32_t>(lo),
                                            static_cast<int32_t>(hi)))
        << i;
  }
  if (c.out != 1 || c.extent != c.kernel) return;
  // The same numbers as one row of a linear layer.
  const int64_t depth = c.channels * c.kernel * c.kernel;
  Attributes linear = a;
  linear.Erase("pads");
  linear.Set("transW", int64_t{1});
  EXPECT_EQ(
      Run1("QLinear", {Make<X>({1, depth}, x), S8({c.outputs, depth}, w), inputs[2], inputs[3]},
           {1, c.outputs}, linear, type, "slipway")
          .template As<X>(),
      codes);
}

TEST(WideCodes, ConvolutionsAreExact) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  for (int i = 0; i < 40; ++i) {
    CheckConv<uint16_t>(rng, DType::kUInt16, 0, 65535);
    CheckConv<int16_t>(rng, DType::kInt16, -32768, 32767);
  }
}

TEST(WideCodes, SumsBeyondInt32) {
  // 1000 products of 65535 * 127: beyond int32, exact all the same.
  const int64_t n = 1000;
  const T x = Make<uint16_t>({1, n}, std::vector<uint16_t>(n, 65535)),
          w = S8({1, n}, std::vector<int8_t>(n, 127)), m = F({1}, {1});
  const Attributes a{{"transW", int64_t{1}}, {"to", int64_t{1}}};
  EXPECT_EQ(Run1("QLinear", {x, w, m}, {1, 1}, a, DType::kFloat32, "slipway").As<float>()[0],
            static_cast<float>(int64_t{65535} * 127 * n));
}

TEST(WideCodes, ResidualsAndMeans) {
  const T x = Make<int16_t>({1, 2}, {1000, -2000}), w = S8({1, 2}, {3, 1}), m = F({1}, {0.5f}),
          z = Make<int16_t>({1, 1}, {-30000});
  const Attributes a{{"transW", int64_t{1}},     {"to", static_cast<int64_t>(DType::kInt16)},
                     {"q_min", int64_t{-32768}}, {"q_max", int64_t{32767}},
                     {"z_multiplier", 0.5f},     {"z_zero_point", int64_t{-10000}}};
  EXPECT_EQ(
      Run1("QLinear", {x, w, m, T(), z}, {1, 1}, a, DType::kInt16, "slipway").As<int16_t>()[0],
      500 - 10000);
  const std::vector<uint16_t> plane(70000, 65535);
  EXPECT_EQ(Run1("QAveragePool", {Make<uint16_t>({1, 1, 70000}, plane)}, {1, 1, 1},
                 {{"global", int64_t{1}},
                  {"multiplier", 1.0f},
                  {"to", static_cast<int64_t>(DType::kUInt16)},
                  {"q_min", int64_t{0}},
                  {"q_max", int64_t{65535}}},
                 DType::kUInt16, "slipway")
                .As<uint16_t>()[0],
            65535);
}

TEST(WideCodes, WrongOperandsAreNamed) {
  const T x = Make<int16_t>({1, 2}, {1, 2}), w = S8({1, 2}, {3, 1}), m = F({1}, {0.5f});
  Attributes a{{"transW", int64_t{1}}, {"to", int64_t{1}}, {"x_zero_point", int64_t{40000}}};
  EXPECT_NE(RunError("QLinear", {x, w, m}, {1, 1}, a, DType::kFloat32, "slipway")
                .find("x_zero_point = 40000"),
            std::string::npos);
  a.Set("x_zero_point", int64_t{0});
  EXPECT_NE(RunError("QLinear", {x, F({1, 2}, {1, 2}), m}, {1, 1}, a, DType::kFloat32, "slipway")
                .find("W must be"),
            std::string::npos);
  RunError("QLinear", {x, w, F({2}, {1, 1})}, {1, 1}, a, DType::kFloat32, "slipway");
  RunError("QLinear", {x, w, m, I32({2}, {1, 1})}, {1, 1}, a, DType::kFloat32, "slipway");
  RunError("QLinear", {x, w, m}, {1, 1}, a, DType::kInt32, "slipway");
}

}  // namespace
}  // namespace slipway::ops
