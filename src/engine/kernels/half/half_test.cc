// Sums in double of the same numbers, within the bound of half.h; shapes and numbers at random (the
// seed is printed, the time is bounded).

#include "engine/kernels/half/half.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <iostream>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/float16.h"
#include "engine/kernels/simd/random_test_util.h"

namespace slipway::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kUnit = 0x1p-11;

uint16_t HalfOf(double v) { return Float16(v).bits; }
float FloatOf(uint16_t bits) { return Float16::FromBits(bits); }

struct Case {
  HalfShape shape;
  bool rows = false, bias = true, residual = false;
  float low = -kInfinity, high = kInfinity;
  int threads = 1;
  std::vector<uint16_t> x, w, b, z;

  void Fill(Random& r, float largest) {
    const HalfShape& s = shape;
    const auto fill = [&](std::vector<uint16_t>& v, int64_t n, float most) {
      v.resize(static_cast<size_t>(n));
      for (uint16_t& i : v) i = HalfOf(r.Real(-most, most));
    };
    fill(x, s.images * s.height * s.width * s.groups * s.in_channels, largest);
    fill(w, s.groups * s.out_channels * s.depth(), 1);
    fill(b, s.groups * s.out_channels, largest);
    fill(z, s.images * s.pixels() * s.groups * s.out_channels, largest);
  }

  std::vector<uint16_t> Run(const HalfKernels& kernels) const {
    AlignedBuffer packed(static_cast<size_t>(HalfPackedBytes(shape)));
    PackHalf(shape, rows, w.data(), bias ? b.data() : nullptr, packed.data());
    const HalfPlan plan = PlanHalf(shape, threads);
    AlignedBuffer workspace(static_cast<size_t>(plan.workspace_bytes));
    std::memset(workspace.data(), 0xff, workspace.size());  // NaN, should anybody use it
    std::vector<uint16_t> y(z.size() + 8, 0x1234);
    const HalfCall call{
        x.data(), packed.data(), residual ? z.data() : nullptr, y.data(), low, high, nullptr, 0, 0};
    const int64_t some = plan.jobs / 2;
    kernels.run(plan, call, workspace.data(), some, plan.jobs);
    kernels.run(plan, call, workspace.data(), 0, some);
    for (size_t i = z.size(); i < y.size(); ++i)
      EXPECT_EQ(y[i], 0x1234) << "written behind the end";
    y.resize(z.size());
    return y;
  }

  // f(place in y, sum with all that is added, sum of the magnitudes of products)
  template <typename F>
  void Exact(const F& f) const {
    const HalfShape& s = shape;
    const int64_t channels = s.groups * s.in_channels, outs = s.groups * s.out_channels;
    for (int64_t at = 0; at < s.images * s.pixels() * outs; ++at) {
      const int64_t n = at % outs, pixel = at / outs % s.pixels(), image = at / outs / s.pixels();
      const int64_t group = n / s.out_channels;
      double sum = 0, magnitude = 0;
      for (int64_t h = 0; h < s.kernel_height; ++h) {
        const int64_t row =
            pixel / s.out_width * s.stride_height - s.pad_top + h * s.dilation_height;
        if (row < 0 || row >= s.height) continue;
        for (int64_t v = 0; v < s.kernel_width; ++v) {
          const int64_t column =
              pixel % s.out_width * s.stride_width - s.pad_left + v * s.dilation_width;
          if (column < 0 || column >= s.width) continue;
          for (int64_t c = 0; c < s.in_channels; ++c) {
            const int64_t from = ((image * s.height + row) * s.width + column) * channels +
                                 group * s.in_channels + c,
                          by = rows ? c * s.out_channels + n
                                    : (n * s.in_channels + c) * s.kernel_height * s.kernel_width +
                                          h * s.kernel_width + v;
            const double product = static_cast<double>(FloatOf(x[static_cast<size_t>(from)])) *
                                   FloatOf(w[static_cast<size_t>(by)]);
            sum += product;
            magnitude += std::fabs(product);
          }
        }
      }
      if (bias) sum += FloatOf(b[static_cast<size_t>(n)]);
      if (residual) sum += FloatOf(z[static_cast<size_t>(at)]);
      f(static_cast<size_t>(at), sum, magnitude);
    }
  }

  std::string Describe() const {
    const HalfShape& s = shape;
    std::string text;
    for (int64_t v :
         {s.images,        s.groups,       s.in_channels,     s.out_channels,    s.height,
          s.width,         s.out_height,   s.out_width,       s.kernel_height,   s.kernel_width,
          s.stride_height, s.stride_width, s.dilation_height, s.dilation_width,  s.pad_top,
          s.pad_left,      int64_t{rows},  int64_t{bias},     int64_t{residual}, int64_t{threads}})
      text += std::to_string(v) + " ";
    return text;
  }
};

Case RandomCase(Random& r) {
  Case c;
  HalfShape& s = c.shape;
  if (r.Chance(0.3)) {
    s.width = s.out_width = r.Chance(0.3) ? r.Int(1, 4) : r.Int(1, 50);
    s.in_channels = r.Int(1, r.Chance(0.2) ? 900 : 150);
    s.out_channels = r.Int(1, 70);
    c.rows = r.Chance(0.5);
  } else {
    s.images = r.Int(1, 2);
    s.groups = r.Chance(0.3) ? r.Int(2, 4) : 1;
    s.in_channels = r.Int(1, r.Chance(0.5) ? 8 : 60);
    s.out_channels = r.Chance(0.5) ? 8 * r.Int(1, 5) : r.Int(1, 40);
    for (int64_t* v : {&s.height, &s.width}) *v = r.Int(1, 14);
    for (int64_t* v : {&s.kernel_height, &s.kernel_width}) *v = r.Int(1, r.Chance(0.5) ? 3 : 5);
    for (int64_t* v : {&s.stride_height, &s.stride_width}) *v = r.Int(1, 2);
    for (int64_t* v : {&s.dilation_height, &s.dilation_width}) *v = r.Chance(0.8) ? 1 : 2;
    s.pad_top = r.Int(-1, 2);
    s.pad_left = r.Int(-1, 2);
    s.out_height = r.Int(1, 12);
    s.out_width = r.Int(1, 12);
  }
  c.bias = r.Chance(0.7);
  c.residual = r.Chance(0.4);
  if (r.Chance(0.4)) c.low = 0;
  if (r.Chance(0.2)) c.high = 6;
  c.threads = static_cast<int>(r.Int(1, 4));
  return c;
}

std::vector<Isa> Isas() {
  std::vector<Isa> all = {Isa::kBaseline};
  if (BestHalfIsa() != Isa::kBaseline) all.push_back(BestHalfIsa());
  return all;
}
class Half : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!GetHalf(GetParam())) GTEST_SKIP() << "only 64-bit ARM has these kernels";
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, Half, testing::ValuesIn(Isas()),
                         [](const auto& info) { return IsaName(info.param); });

TEST_P(Half, Random) {
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  Random r{std::mt19937(seed)};
  const bool wide = GetParam() == Isa::kBaseline;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  double square = 0, squares = 0, most = 0;
  int cases = 0;
  do {
    Case c = RandomCase(r);
    ASSERT_TRUE(c.shape.Valid()) << c.Describe();
    c.Fill(r, r.Chance(0.3) ? 1e-3f : 2);
    const std::vector<uint16_t> got = c.Run(*GetHalf(GetParam()));
    const auto depth = static_cast<double>(c.shape.depth());
    int wrong = 0;
    c.Exact([&](size_t i, double sum, double magnitude) {
      const double error = wide ? depth * 0x1p-24 * magnitude
                                : (kHalfChunk + 2) * kUnit * magnitude + depth * 0x1p-25;
      const double want = std::min<double>(c.high, std::max<double>(c.low, sum));
      const double off = std::fabs(FloatOf(got[i]) - want);
      // And the rounding of the result.
      const double bound = error + kUnit * (std::fabs(want) + error) + 0x1p-25;
      if (!(off <= bound) && ++wrong < 3) {
        ADD_FAILURE() << c.Describe() << "at " << i << ": " << FloatOf(got[i]) << " for " << want
                      << ", bound " << bound;
      }
      square += off * off;
      squares += want * want;
      most = std::max(most, off / bound);
    });
    ASSERT_EQ(wrong, 0);
    ++cases;
  } while (std::chrono::steady_clock::now() < end);
  // What roundings do at random is far less than what they may do.
  const double noise = std::sqrt(square / squares);
  EXPECT_LT(noise, wide ? 4e-4 : 2e-3);
  std::cout << cases << " shapes, noise to signal " << noise << ", at most " << most
            << " of the bound\n";
  RecordProperty("noise", std::to_string(noise));
}

// The same, whatever the number of threads.
TEST_P(Half, Threads) {
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  Random r{std::mt19937(seed)};
  for (int i = 0; i < 20; ++i) {
    Case c = RandomCase(r);
    c.Fill(r, 2);
    c.threads = 1;
    const auto one = c.Run(*GetHalf(GetParam()));
    c.threads = 3;
    EXPECT_EQ(c.Run(*GetHalf(GetParam())), one) << c.Describe();
  }
}

// Sums that leave float16 on the way and come back, that stay outside, and what is no number.
TEST_P(Half, Overflow) {
  for (const int64_t rows : {1, 2, 3, 5, 8, 21}) {
    for (const int64_t columns : {1, 8, 9, 16, 40}) {
      Case c;
      c.shape.width = c.shape.out_width = rows;
      c.shape.in_channels = 200;
      c.shape.out_channels = columns;
      c.bias = false;
      c.x.assign(static_cast<size_t>(200 * rows), HalfOf(0));
      c.w.assign(static_cast<size_t>(200 * columns), HalfOf(1));
      c.b.resize(static_cast<size_t>(columns));
      c.z.resize(static_cast<size_t>(rows * columns));
      const auto x = [&](int64_t k, double v) {
        for (int64_t i = 0; i < rows; ++i) c.x[static_cast<size_t>(i * 200 + k)] = HalfOf(v);
      };
      x(0, 60000), x(1, 60000), x(2, 60000), x(70, -60000), x(71, -60000);
      x(72, -3);
      for (const uint16_t y : c.Run(*GetHalf(GetParam()))) EXPECT_EQ(y, HalfOf(59997));
      x(70, 0);
      for (const uint16_t y : c.Run(*GetHalf(GetParam()))) EXPECT_EQ(FloatOf(y), kInfinity);
      c.high = 6;  // a bound beneath it
      for (const uint16_t y : c.Run(*GetHalf(GetParam()))) EXPECT_EQ(FloatOf(y), 6);
      c.high = kInfinity;
      x(71, NAN);
      for (const uint16_t y : c.Run(*GetHalf(GetParam()))) EXPECT_TRUE(std::isnan(FloatOf(y)));
    }
  }
}

TEST(HalfShape, Limits) {
  HalfShape s;
  EXPECT_FALSE(s.Valid());
  s.width = s.out_width = 5;
  s.in_channels = 3;
  s.out_channels = 4;
  EXPECT_TRUE(s.Valid());
  for (int64_t bad : {int64_t{0}, int64_t{-1}, int64_t{1} << 40}) {
    for (int64_t HalfShape::*field :
         {&HalfShape::images, &HalfShape::groups, &HalfShape::in_channels, &HalfShape::out_channels,
          &HalfShape::height, &HalfShape::out_width, &HalfShape::kernel_width,
          &HalfShape::stride_height, &HalfShape::dilation_width}) {
      HalfShape t = s;
      t.*field = bad;
      EXPECT_FALSE(t.Valid());
    }
  }
  s.in_channels = s.out_channels = int64_t{1} << 30;
  EXPECT_FALSE(s.Valid());
}

}  // namespace
}  // namespace slipway::kernels
