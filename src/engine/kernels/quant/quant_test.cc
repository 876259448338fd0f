// Bit-exact against the formulas of model/ops/operators.inc written out.

#include "engine/kernels/quant/quant.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <tuple>
#include <vector>

namespace slipway::kernels {
namespace {

std::vector<Isa> Isas() {
  std::vector<Isa> all;
  for (int i = 0; i <= static_cast<int>(BestIsa()); ++i) all.push_back(static_cast<Isa>(i));
  return all;
}

class Quant : public testing::TestWithParam<Isa> {
 protected:
  std::vector<uint8_t> Codes(size_t n) {
    std::vector<uint8_t> v(n);
    for (uint8_t& x : v) x = static_cast<uint8_t>(random_());
    return v;
  }
  const QuantKernels& k_ = GetQuant(GetParam());
  std::mt19937 random_{3};
};
INSTANTIATE_TEST_SUITE_P(Isa, Quant, testing::ValuesIn(Isas()),
                         [](const auto& info) { return IsaName(info.param); });

int32_t ValueOf(uint8_t code, bool is_signed) {
  return is_signed ? static_cast<int8_t>(code) : code;
}

// The output element as the bits of an int (float: its bits).
int32_t Truth(float v, int y_type, const Requant& to) {
  if (y_type == 2) {
    int32_t bits;
    std::memcpy(&bits, &v, 4);
    return bits;
  }
  double r = std::nearbyint(static_cast<double>(v)) + to.zero_point;
  r = std::min<double>(std::max<double>(r, to.lo), to.hi);
  return static_cast<int32_t>(r);
}
int32_t Got(const std::vector<uint8_t>& y, size_t i, int y_type) {
  if (y_type == 2) {
    int32_t bits;
    std::memcpy(&bits, &y[4 * i], 4);
    return bits;
  }
  return ValueOf(y[i], y_type == 1);
}
Requant RangeOf(int y_type) { return y_type == 1 ? Requant{-3, -127, 120} : Requant{7, 7, 250}; }

TEST_P(Quant, Affine) {
  std::uniform_real_distribution<float> real(-1.5f, 1.5f);
  for (int combo = 0; combo < 6; ++combo) {
    const int tx = combo & 1, ty = combo >> 1;
    for (size_t channels : {1u, 15u, 16u, 40u, 64u, 67u, 130u}) {
      const size_t rows = 5, xs = channels + 3, ys = channels + 7;
      const auto x = Codes(rows * xs);
      std::vector<uint8_t> y(rows * ys * 4, 0xAA);
      std::vector<float> m(channels), o(channels);
      for (size_t c = 0; c < channels; ++c) m[c] = real(random_), o[c] = 20 * real(random_);
      const Requant to = RangeOf(ty);
      k_.affine[tx][ty](x.data(), static_cast<int64_t>(xs), y.data(), static_cast<int64_t>(ys),
                        rows, static_cast<int64_t>(channels), m.data(), o.data(), to);
      for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < channels; ++c) {
          const float v = std::fma(static_cast<float>(ValueOf(x[r * xs + c], tx)), m[c], o[c]);
          ASSERT_EQ(Got(y, r * ys + c, ty), Truth(v, ty, to)) << channels << " channels, " << c;
        }
        EXPECT_EQ(y[(r * ys + channels) * (ty == 2 ? 4 : 1)], 0xAA);
      }
    }
  }
}

TEST_P(Quant, Binary) {
  for (int kind = 0; kind < 2; ++kind) {
    for (int combo = 0; combo < 12; ++combo) {
      const int ta = combo & 1, tb = combo >> 1 & 1, ty = combo >> 2;
      for (int walk = 0; walk < 4; ++walk) {
        for (size_t period : {1u, 5u, 16u, 24u}) {
          const size_t n = period * 29;
          const auto a = Codes(n), b = Codes(n);
          std::vector<uint8_t> y(n * 4);
          const QBinaryParams p{ta ? -5 : 3, tb ? 11 : 0, kind ? 0.0123f : 0.731f, 0.377f,
                                RangeOf(ty)};
          k_.binary[kind][ta][tb][ty][walk](a.data(), b.data(), y.data(), static_cast<int64_t>(n),
                                            static_cast<int64_t>(period), p);
          for (size_t i = 0; i < n; ++i) {
            const int32_t va = ValueOf(a[walk == 2 ? 0 : i], ta) - p.a_zero;
            const int32_t vb = ValueOf(b[walk == 1   ? 0
                                         : walk == 3 ? i % period
                                                     : i],
                                       tb) -
                               p.b_zero;
            const float v = kind ? static_cast<float>(va * vb) * p.a_multiplier
                                 : std::fma(static_cast<float>(va), p.a_multiplier,
                                            static_cast<float>(vb) * p.b_multiplier);
            ASSERT_EQ(Got(y, i, ty), Truth(v, ty, p.to))
                << kind << " " << combo << " " << walk << " " << i;
          }
        }
      }
    }
  }
}

TEST_P(Quant, Unary) {
  for (size_t n : {1u, 15u, 64u, 333u}) {
    const auto x = Codes(n);
    for (int tx = 0; tx < 2; ++tx) {
      for (int ty = 0; ty < 3; ++ty) {
        std::vector<uint8_t> y(n * 4);
        k_.rescale[tx][ty](x.data(), y.data(), static_cast<int64_t>(n), 4, 0.5f,
                           RangeOf(ty));  // halves: ties
        for (size_t i = 0; i < n; ++i)
          ASSERT_EQ(Got(y, i, ty),
                    Truth(static_cast<float>(ValueOf(x[i], tx) - 4) * 0.5f, ty, RangeOf(ty)));
      }
      std::vector<float> f(n);
      k_.dequantize[tx](x.data(), f.data(), static_cast<int64_t>(n), 9, 0.037f);
      for (size_t i = 0; i < n; ++i)
        ASSERT_EQ(f[i], static_cast<float>(ValueOf(x[i], tx) - 9) * 0.037f);
      std::vector<int32_t> sums(n, 5);
      k_.accumulate[tx](x.data(), sums.data(), static_cast<int64_t>(n));
      int32_t total = 0;
      for (size_t i = 0; i < n; ++i) {
        ASSERT_EQ(sums[i], 5 + ValueOf(x[i], tx));
        total += ValueOf(x[i], tx);
      }
      EXPECT_EQ(k_.sum[tx](x.data(), static_cast<int64_t>(n)), total);
      auto most = Codes(n), before = most;
      k_.max[tx](x.data(), most.data(), static_cast<int64_t>(n));
      for (size_t i = 0; i < n; ++i)
        ASSERT_EQ(ValueOf(most[i], tx), std::max(ValueOf(before[i], tx), ValueOf(x[i], tx)));
    }
    const Requant range = RangeOf(0);
    const size_t rows = 5, stride = n + 3;
    std::vector<float> values(rows * stride);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(i * 37 % 1001) * 0.05f - 20;  // ties among them
    std::vector<int32_t> sums(n + 1, 3);
    k_.accumulate_rounded(values.data(), static_cast<int64_t>(stride), rows,
                          static_cast<int64_t>(n), 0.1f, range, sums.data());
    for (size_t i = 0; i < n; ++i) {
      int32_t want = 3;
      for (size_t r = 0; r < rows; ++r)
        want += static_cast<int32_t>(Truth(values[r * stride + i] / 0.1f, 0, range)) -
                range.zero_point;
      ASSERT_EQ(sums[i], want);
    }
    EXPECT_EQ(sums[n], 3);
    for (size_t channels = 1; channels <= 4; ++channels) {
      const auto planes = Codes((n + 3) * channels);
      std::vector<uint8_t> pixels(n * channels);
      k_.interleave(planes.data(), static_cast<int64_t>(n + 3), static_cast<int64_t>(channels),
                    pixels.data(), static_cast<int64_t>(n));
      for (size_t i = 0; i < pixels.size(); ++i)
        ASSERT_EQ(pixels[i], planes[i % channels * (n + 3) + i / channels]);
    }
    const auto table = Codes(256);
    std::vector<uint8_t> y(n);
    k_.lookup(x.data(), table.data(), y.data(), static_cast<int64_t>(n));
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(y[i], table[x[i]]);
    std::fill(y.begin(), y.end(), uint8_t{0});
    GetLookup(GetParam())(x.data(), table.data(), y.data(), static_cast<int64_t>(n));
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(y[i], table[x[i]]);
  }
}

TEST_P(Quant, ChannelLookup) {
  for (const auto& [rows, channels, stride] : {std::tuple<int64_t, int64_t, int64_t>{1, 3, 3},
                                               {197, 80, 83},
                                               {49, 16, 16},
                                               {70, 97, 97},
                                               {5, 33, 40},
                                               {128, 64, 64}}) {
    const auto x = Codes(static_cast<size_t>(rows * stride)),
               table = Codes(static_cast<size_t>(channels) * 256);
    std::vector<uint8_t> want = x;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < channels; ++c) {
        const auto at = static_cast<size_t>(r * stride + c);
        want[at] = table[static_cast<size_t>(c) * 256 + x[at]];
      }
    }
    for (auto f : {k_.channel_lookup, GetChannelLookup(GetParam())}) {
      std::vector<uint8_t> y = x;
      f(y.data(), table.data(), y.data(), rows, stride, channels);
      EXPECT_EQ(y, want) << rows << " x " << channels;
    }
  }
}

TEST_P(Quant, Quantize) {
  std::vector<float> x;
  for (int i = -4000; i < 4000; ++i)
    x.push_back(static_cast<float>(i) * 0.0125f);  // multiples of half a step: ties
  for (float v : {INFINITY, -INFINITY, 1e30f, -1e30f, 0.0f, -0.0f}) x.push_back(v);
  for (int ty = 0; ty < 2; ++ty) {
    std::vector<uint8_t> y(x.size());
    const Requant to = RangeOf(ty);
    k_.quantize[ty](x.data(), y.data(), static_cast<int64_t>(x.size()), 0.025f, to);
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(Got(y, i, ty), Truth(x[i] / 0.025f, ty, to)) << x[i];
    const float nan = NAN;
    k_.quantize[ty](&nan, y.data(), 1, 0.025f, to);
    EXPECT_EQ(Got(y, 0, ty), to.lo);
  }
}

}  // namespace
}  // namespace slipway::kernels
