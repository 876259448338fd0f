// Float32, bfloat16 and float16 against sums in double, in every layout and for every instruction
// set.

#include "engine/kernels/depthwise/depthwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/float16.h"
#include "engine/kernels/simd/random_test_util.h"

namespace slipway::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<Isa> Isas() {
  std::vector<Isa> all;
  for (int i = 0; i <= static_cast<int>(BestIsa()); ++i) all.push_back(static_cast<Isa>(i));
  return all;
}

// Where element (n, c, y, x) of a tensor lies.
size_t At(int64_t block, int64_t channels, int64_t height, int64_t width, int64_t n, int64_t c,
          int64_t y, int64_t x) {
  if (block == 1) return static_cast<size_t>(((n * height + y) * width + x) * channels + c);
  return static_cast<size_t>(
      (((n * channels / block + c / block) * height + y) * width + x) * block + c % block);
}

void Twice(const float* x, float* y, int64_t n, float a, float b) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * a + b;
}

template <typename T>
void Check(const DepthwiseShape& s, int64_t block, bool with_bias, bool with_residual,
           int activation, UnaryKind kind, Random& r) {
  ASSERT_TRUE(s.Valid());
  const int64_t taps = s.kernel_h * s.kernel_w;
  std::vector<T> x(static_cast<size_t>(s.batch * s.channels * s.in_h * s.in_w)),
      residual(static_cast<size_t>(s.batch * s.channels * s.out_h * s.out_w));
  std::vector<float> w(static_cast<size_t>(s.channels * taps)),
      bias(static_cast<size_t>(s.channels));
  for (auto* v : {&x, &residual}) {
    for (T& f : *v) f = static_cast<T>(r.Real(-1, 1));
  }
  for (auto* v : {&w, &bias}) {
    for (float& f : *v) f = static_cast<float>(static_cast<T>(r.Real(-1, 1)));
  }
  DepthwiseParams p;
  p.block = block;
  p.rows = r.Int(1, 4);
  p.low = activation == 1 ? 0 : -kInfinity;
  p.high = activation == 1 ? 0.7f : kInfinity;
  if (activation == 2) p.activation = Twice, p.a = 2, p.b = 0.5f;
  if (activation == 3) p.a = kind == UnaryKind::kLeakyRelu ? 0.3f : 1, p.kind = kind;
  std::vector<double> want(residual.size()), magnitudes(residual.size());
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t c = 0; c < s.channels; ++c) {
      for (int64_t oy = 0; oy < s.out_h; ++oy) {
        for (int64_t ox = 0; ox < s.out_w; ++ox) {
          double sum = with_bias ? bias[static_cast<size_t>(c)] : 0, magnitude = 0;
          for (int64_t k = 0; k < taps; ++k) {
            const int64_t iy = oy * s.stride_h - s.pad_top + k / s.kernel_w * s.dilation_h,
                          ix = ox * s.stride_w - s.pad_left + k % s.kernel_w * s.dilation_w;
            if (iy < 0 || iy >= s.in_h || ix < 0 || ix >= s.in_w) continue;
            const T v = x[At(block, s.channels, s.in_h, s.in_w, n, c, iy, ix)];
            const double product =
                static_cast<double>(static_cast<float>(v)) * w[static_cast<size_t>(c * taps + k)];
            sum += product;
            magnitude += std::fabs(product);
          }
          const size_t at = At(block, s.channels, s.out_h, s.out_w, n, c, oy, ox);
          if (with_residual) sum += static_cast<double>(static_cast<float>(residual[at]));
          if (activation == 3)
            sum *= kind == UnaryKind::kSwish       ? 1 / (1 + std::exp(-sum))
                   : kind == UnaryKind::kLeakyRelu ? (sum < 0 ? 0.3 : 1)
                                                   : std::clamp(sum / 6 + 0.5, 0.0, 1.0);
          magnitudes[at] = magnitude;
          want[at] = activation == 1   ? std::clamp(sum, 0.0, 0.7)
                     : activation == 2 ? sum * 2 + 0.5
                                       : sum;
        }
      }
    }
  }
  constexpr bool kHalf = std::is_same_v<T, BFloat16>, kFloat16 = std::is_same_v<T, Float16>;
  for (const Isa isa : kFloat16 ? std::vector<Isa>{Isa::kBaseline, BestHalfIsa()}
                       : kHalf  ? std::vector<Isa>{BestBfloat16Isa()}
                                : Isas()) {
    SCOPED_TRACE(IsaName(isa));
    if (kHalf && !GetDepthwiseBf16(isa, block)) continue;
    if (kFloat16 && (!GetDepthwiseF16(isa) || block != 1)) continue;
    const DepthwiseKernels& kernels = kFloat16 ? *GetDepthwiseF16(isa)
                                      : kHalf  ? *GetDepthwiseBf16(isa, block)
                                               : GetDepthwise(isa, block);
    std::vector<uint16_t> bits;
    for (const float v : w) bits.push_back(kFloat16 ? Float16(v).bits : BFloat16(v).bits);
    const float* b = with_bias ? bias.data() : nullptr;
    const AlignedBuffer packed = kFloat16 ? PackDepthwiseF16(s, bits.data(), b)
                                 : kHalf  ? PackDepthwiseBf16(s, block, bits.data(), b)
                                          : PackDepthwise(s, kernels.lanes, w.data(), b);
    if (activation == 3) {
      const EltwiseKernels& eltwise = GetEltwise(kHalf ? Isa::kAvx512 : isa);
      p.activation = kHalf && kind == UnaryKind::kSwish ? eltwise.rough_swish
                                                        : eltwise.unary[static_cast<int>(kind)];
    }
    std::vector<T> y(want.size() + 16, static_cast<T>(77.0f));
    const DepthwiseCall call = {x.data(), reinterpret_cast<const float*>(packed.data()),
                                with_residual ? residual.data() : nullptr, y.data()};
    const int64_t units = DepthwiseUnits(s, p), step = r.Int(1, std::max<int64_t>(1, units / 2));
    for (int64_t end = units; end > 0; end -= step)
      kernels.run(s, p, call, std::max<int64_t>(0, end - step), end);
    for (size_t i = want.size(); i < y.size(); ++i) ASSERT_EQ(static_cast<float>(y[i]), 77);
    if (activation == 3) {  // the function instead of what the kernel may have itself
      DepthwiseParams apart = p;
      apart.kind = UnaryKind::kIdentity;
      std::vector<T> same(y.size(), static_cast<T>(77.0f));
      kernels.run(s, apart, {call.x, call.weights, call.residual, same.data()}, 0, units);
      ASSERT_EQ(std::memcmp(same.data(), y.data(), y.size() * sizeof(T)), 0);
    }
    const double tolerance = 1e-6 * static_cast<double>(taps + 4);
    for (size_t i = 0; i < want.size(); ++i) {
      // Swish for bfloat16 is off by 2e-4 before it is rounded.
      double more = kHalf ? std::fabs(want[i]) * (activation == 3 ? 1.1 : 1) / 256 : 0;
      // Roundings of float16 in the sum, twice as much behind an activation, and of the result.
      if (kFloat16) {
        const double sums = isa == Isa::kArmFp16 && taps <= kHalfTaps
                                ? static_cast<double>(taps) * magnitudes[i] / 2048
                                : 0;
        more = 2.01 * sums + std::fabs(want[i]) / 2048 + 1e-7;
      }
      ASSERT_NEAR(static_cast<float>(y[i]), want[i], tolerance + more) << "element " << i;
    }
  }
}

int64_t Outputs(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads) {
  return (in + pads - ((kernel - 1) * dilation + 1)) / stride + 1;
}

TEST(Depthwise, RandomLayers) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random r{std::mt19937(seed)};
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  for (int cases = 0; (cases <= 50 || std::chrono::steady_clock::now() < end) && !HasFatalFailure();
       ++cases) {
    DepthwiseShape s;
    const int64_t blocks[] = {1, 1, 8, 16}, block = blocks[r.Int(0, 3)];
    s.batch = r.Int(1, 2);
    s.channels = block == 1 ? r.Int(1, 70) : block * r.Int(1, 4);
    const int64_t windows[] = {1, 2, 3, 3, 3, 5, 5, 7, 9};
    const bool square = r.Chance(0.6);
    s.kernel_w = windows[r.Int(0, 8)];
    s.kernel_h = square ? s.kernel_w : windows[r.Int(0, 8)];
    s.stride_w = r.Int(1, 3);
    s.stride_h = square ? s.stride_w : r.Int(1, 3);
    if (r.Chance(0.2)) s.dilation_h = r.Int(1, 3), s.dilation_w = r.Int(1, 3);
    s.in_h = r.Int(1, 18), s.in_w = r.Int(1, 30);
    // Sometimes more padding than the window is wide, sometimes a cut.
    s.pad_top = r.Int(-1, s.kernel_h), s.pad_left = r.Int(-1, s.kernel_w);
    int64_t bottom = r.Int(0, s.kernel_h), right = r.Int(0, s.kernel_w);
    bottom = std::max(bottom, (s.kernel_h - 1) * s.dilation_h + 1 - s.in_h - s.pad_top);
    right = std::max(right, (s.kernel_w - 1) * s.dilation_w + 1 - s.in_w - s.pad_left);
    s.out_h = Outputs(s.in_h, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top + bottom);
    s.out_w = Outputs(s.in_w, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left + right);
    std::string name = "block " + std::to_string(block);
    for (const int64_t v :
         {s.batch, s.channels, s.in_h, s.in_w, s.out_h, s.out_w, s.kernel_h, s.kernel_w, s.stride_h,
          s.stride_w, s.dilation_h, s.dilation_w, s.pad_top, s.pad_left})
      name += " " + std::to_string(v);
    SCOPED_TRACE(name);
    const bool bias = r.Chance(0.7), residual = r.Chance(0.3);
    const int activation = static_cast<int>(r.Int(0, 3));
    const UnaryKind kinds[] = {UnaryKind::kSwish, UnaryKind::kHardSwish, UnaryKind::kLeakyRelu},
                    kind = kinds[r.Int(0, 2)];
    Check<float>(s, block, bias, residual, activation, kind, r);
    Check<BFloat16>(s, block, bias, residual, activation, kind, r);
    Check<Float16>(s, block, bias, residual, activation, kind, r);
  }
}

// How many rows make a unit changes nothing: kernels may sum several together, where there are.
TEST(Depthwise, RowsOfAUnit) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random r{std::mt19937(seed)};
  for (int64_t width = 1; width <= 20; ++width) {
    for (int64_t pads = 0; pads < 16; ++pads) {
      DepthwiseShape s = {.batch = r.Int(1, 2), .channels = r.Int(1, 3) * 4 + r.Int(0, 1)};
      s.kernel_h = s.kernel_w = 3;
      s.stride_h = s.stride_w = r.Int(1, 2);
      s.in_w = width, s.in_h = r.Int(1, 12);
      s.pad_left = pads % 4 - 1, s.pad_top = r.Int(-1, 2);
      s.out_w = Outputs(s.in_w, 3, s.stride_w, 1, s.pad_left + pads / 4 - 1);
      s.out_h = Outputs(s.in_h, 3, s.stride_h, 1, s.pad_top + r.Int(-1, 2));
      if (s.in_w + s.pad_left + pads / 4 - 1 < 3 || s.out_h < 1) continue;
      SCOPED_TRACE(std::to_string(s.in_h) + " x " + std::to_string(width) + " to " +
                   std::to_string(s.out_h) + " x " + std::to_string(s.out_w) + " stride " +
                   std::to_string(s.stride_w) + " pads " + std::to_string(s.pad_top) + ", " +
                   std::to_string(s.pad_left));
      std::vector<float> x(static_cast<size_t>(s.batch * s.in_h * s.in_w * s.channels)),
          w(static_cast<size_t>(s.channels * 9)), bias(static_cast<size_t>(s.channels));
      for (auto* v : {&x, &w, &bias}) {
        for (float& f : *v) f = r.Real(-1, 1);
      }
      for (const Isa isa : Isas()) {
        const DepthwiseKernels& kernels = GetDepthwise(isa, 1);
        const AlignedBuffer packed = PackDepthwise(s, kernels.lanes, w.data(), bias.data());
        DepthwiseParams p;
        p.low = -1.5f, p.high = 1.5f;
        std::vector<float> first;
        for (p.rows = 1; p.rows <= s.out_h + 1; ++p.rows) {
          std::vector<float> y(static_cast<size_t>(s.batch * s.out_h * s.out_w * s.channels), 77);
          kernels.run(s, p,
                      {x.data(), reinterpret_cast<const float*>(packed.data()), nullptr, y.data()},
                      0, DepthwiseUnits(s, p));
          if (first.empty()) first = y;
          ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * sizeof(float)), 0)
              << p.rows << " rows";
        }
      }
    }
  }
}

// Sums that leave float16 on the way and come back, or stay outside.
TEST(Depthwise, Float16Overflow) {
  const DepthwiseShape s = {.batch = 1,
                            .channels = 11,
                            .in_h = 3,
                            .in_w = 12,
                            .out_h = 1,
                            .out_w = 10,
                            .kernel_h = 3,
                            .kernel_w = 3};
  const auto half = [](double v) { return Float16(v).bits; };
  std::vector<uint16_t> x(11 * 3 * 12), y(11 * 10), w(11 * 9, half(1));
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = half(i < 11 * 12 ? 30000 : i < 22 * 12 ? -1 : -28992);
  for (const Isa isa : {Isa::kBaseline, BestHalfIsa()}) {
    const DepthwiseKernels* kernels = GetDepthwiseF16(isa);
    if (!kernels) GTEST_SKIP() << "only 64-bit ARM has these kernels";
    DepthwiseParams p;
    p.low = -kInfinity, p.high = kInfinity;
    const auto run = [&] {
      const AlignedBuffer packed = PackDepthwiseF16(s, w.data(), nullptr);
      kernels->run(s, p,
                   {x.data(), reinterpret_cast<const float*>(packed.data()), nullptr, y.data()}, 0,
                   DepthwiseUnits(s, p));
    };
    w.assign(11 * 9, half(1));
    run();
    for (const uint16_t v : y) EXPECT_EQ(v, half(3 * 30000 - 3 - 3 * 28992.0));
    w.assign(11 * 9, half(-30));
    for (size_t i = 0; i < w.size(); ++i) w[i] = half(i % 9 < 6 ? 1 : 0);
    run();
    for (const uint16_t v : y) EXPECT_EQ(v, half(kInfinity));
  }
}

// NaN stays NaN through the clamp, as the plain loops have it.
TEST(Depthwise, NotANumber) {
  const DepthwiseShape s = {
      .batch = 1, .channels = 16, .in_h = 1, .in_w = 9, .out_h = 1, .out_w = 9};
  std::vector<float> x(16 * 9, 1), y(16 * 9), w(16, 2);
  x[16 * 3 + 5] = std::numeric_limits<float>::quiet_NaN();
  for (const Isa isa : Isas()) {
    const DepthwiseKernels& kernels = GetDepthwise(isa, 1);
    const AlignedBuffer packed = PackDepthwise(s, kernels.lanes, w.data(), nullptr);
    DepthwiseParams p;
    p.low = 0, p.high = 1.5f;
    kernels.run(s, p, {x.data(), reinterpret_cast<const float*>(packed.data()), nullptr, y.data()},
                0, DepthwiseUnits(s, p));
    for (size_t i = 0; i < y.size(); ++i) {
      if (i == 16 * 3 + 5)
        EXPECT_TRUE(std::isnan(y[i]));
      else
        EXPECT_EQ(y[i], 1.5f);
    }
  }
}

}  // namespace
}  // namespace slipway::kernels
