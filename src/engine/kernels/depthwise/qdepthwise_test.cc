// Bit for bit against the formula of model/ops/operators.inc written out.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/kernels/depthwise/depthwise.h"
#include "engine/kernels/simd/random_test_util.h"

namespace slipway::kernels {
namespace {

std::vector<Isa> Isas() {
  std::vector<Isa> all = {Isa::kBaseline};
  if (HasFeature(CpuFeature::kAvx2)) all.push_back(Isa::kAvx2);
  const Isa best = BestIntegerIsa();
  if (best == Isa::kAvx512Vnni || best == Isa::kArmDotprod || best == Isa::kArmI8mm)
    all.push_back(best);
  return all;
}

int32_t ValueOf(uint8_t code, bool is_signed) {
  return is_signed ? static_cast<int8_t>(code) : code;
}

struct Layer {
  DepthwiseShape shape;
  QDepthwiseParams params;
  bool per_channel = true, bias = true;
  float multiplier = 0.002f;
  UnaryKind activation = UnaryKind::kIdentity;
};

constexpr float kSlope = 0.3f;  // of LeakyRelu

double Activated(UnaryKind kind, double v) {
  switch (kind) {
    case UnaryKind::kSwish:
      return v / (1 + std::exp(-v));
    case UnaryKind::kHardSwish:
      return v * std::clamp(v / 6 + 0.5, 0.0, 1.0);
    case UnaryKind::kGelu:
      return v * std::erfc(-v * std::sqrt(0.5)) / 2;
    case UnaryKind::kLeakyRelu:
      return v < 0 ? kSlope * v : v;
    default:
      return v;
  }
}

std::string Name(const Layer& l) {
  const DepthwiseShape& s = l.shape;
  std::string name;
  for (const int64_t v :
       {s.batch, s.channels, s.in_h, s.in_w, s.out_h, s.out_w, s.kernel_h, s.kernel_w, s.stride_h,
        s.stride_w, s.dilation_h, s.dilation_w, s.pad_top, s.pad_left})
    name += std::to_string(v) + " ";
  return name + (l.params.x_signed ? "s8" : "u8") + " to " +
         std::to_string(static_cast<int>(l.params.y)) + (l.params.residual ? " residual" : "");
}

void Check(const Layer& l, Random& r) {
  SCOPED_TRACE(Name(l));
  const DepthwiseShape& s = l.shape;
  QDepthwiseParams p = l.params;
  const bool activated = l.activation != UnaryKind::kIdentity;
  ASSERT_TRUE(s.Valid());
  const int64_t c_count = s.channels, window = s.kernel_h * s.kernel_w,
                x_count = s.batch * s.in_h * s.in_w * c_count,
                y_count = s.batch * s.out_h * s.out_w * c_count,
                size = p.y == CodeType::kF32 ? 4 : 1;
  // The image ends where its memory does, so that reading beyond it shows under a sanitizer.
  std::vector<uint8_t> x(static_cast<size_t>(x_count)), z(static_cast<size_t>(y_count));
  std::vector<int8_t> w(static_cast<size_t>(c_count * window));
  std::vector<int32_t> bias(static_cast<size_t>(c_count));
  std::vector<float> m(l.per_channel ? static_cast<size_t>(c_count) : 1);
  for (auto* codes : {&x, &z}) {
    for (uint8_t& v : *codes) v = static_cast<uint8_t>(r.Int(0, 255));
  }
  for (int8_t& v : w) v = static_cast<int8_t>(r.Int(-128, 127));
  for (int32_t& v : bias) v = static_cast<int32_t>(r.Int(-20000, 20000));
  for (float& v : m) v = l.multiplier * r.Real(0.5f, 2);

  std::vector<uint8_t> want(static_cast<size_t>(y_count * size));
  int64_t at = 0;
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t oy = 0; oy < s.out_h; ++oy) {
      for (int64_t ox = 0; ox < s.out_w; ++ox) {
        for (int64_t c = 0; c < c_count; ++c, ++at) {
          uint32_t sum = l.bias ? static_cast<uint32_t>(bias[static_cast<size_t>(c)]) : 0;
          for (int64_t k = 0; k < window; ++k) {
            const int64_t iy = oy * s.stride_h - s.pad_top + k / s.kernel_w * s.dilation_h,
                          ix = ox * s.stride_w - s.pad_left + k % s.kernel_w * s.dilation_w;
            if (iy < 0 || iy >= s.in_h || ix < 0 || ix >= s.in_w) continue;
            const uint8_t code =
                x[static_cast<size_t>(((n * s.in_h + iy) * s.in_w + ix) * c_count + c)];
            sum += static_cast<uint32_t>((ValueOf(code, p.x_signed) - p.x_zero) *
                                         w[static_cast<size_t>(c * window + k)]);
          }
          float v = static_cast<float>(static_cast<int32_t>(sum)) *
                    m[l.per_channel ? static_cast<size_t>(c) : 0];
          if (p.residual) {
            const int32_t code = ValueOf(z[static_cast<size_t>(at)], p.z_signed);
            v = std::fma(static_cast<float>(code - p.z_zero), p.z_multiplier, v);
          }
          if (l.activation != UnaryKind::kIdentity)
            v = static_cast<float>(Activated(l.activation, v) * p.y_multiplier);
          if (p.y == CodeType::kF32) {
            std::memcpy(want.data() + at * 4, &v, 4);
            continue;
          }
          const float low = static_cast<float>(p.to.lo - p.to.zero_point),
                      high = static_cast<float>(p.to.hi - p.to.zero_point);
          v = v > low ? v : low;
          v = v < high ? v : high;
          want[static_cast<size_t>(at)] =
              static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(v)) + p.to.zero_point);
        }
      }
    }
  }
  for (const Isa isa : Isas()) {
    SCOPED_TRACE(IsaName(isa));
    const QDepthwiseKernels& kernels = GetQDepthwise(isa);
    if (activated) {
      p.activation = GetEltwise(isa).unary[static_cast<int>(l.activation)];
      p.leaky = l.activation == UnaryKind::kLeakyRelu;
      p.a = p.leaky ? kSlope : 1;
      p.swish = l.activation == UnaryKind::kSwish;
      p.rectifier = MakeRectifierTable(l.activation, p.a, p.y_multiplier);
    }
    QDepthwisePlan plan;
    ASSERT_TRUE(plan.Make(s, p, w.data(), m.data(), l.per_channel, l.bias ? bias.data() : nullptr,
                          kernels));
    constexpr uint8_t kGuard = 0xa5;
    std::vector<uint8_t> y(want.size() + 64, kGuard);
    const QDepthwiseCall call = {x.data(), y.data(), p.residual ? z.data() : nullptr};
    // In pieces, the last first: units are independent.
    const int64_t units = plan.units(), step = r.Int(1, std::max<int64_t>(1, units / 2));
    for (int64_t end = units; end > 0; end -= step)
      kernels.run(plan.view(), call, std::max<int64_t>(0, end - step), end);
    for (size_t i = want.size(); i < y.size(); ++i) ASSERT_EQ(y[i], kGuard);
    for (int64_t i = 0; i < y_count && activated; ++i) {
      if (p.y == CodeType::kF32) {
        float got, right;
        std::memcpy(&got, &y[static_cast<size_t>(i * 4)], 4);
        std::memcpy(&right, &want[static_cast<size_t>(i * 4)], 4);
        ASSERT_NEAR(got, right, 2e-6f * std::max(p.y_multiplier, std::fabs(right)))
            << "element " << i;
      } else {
        const bool is_signed = p.y == CodeType::kS8;
        ASSERT_NEAR(ValueOf(y[static_cast<size_t>(i)], is_signed),
                    ValueOf(want[static_cast<size_t>(i)], is_signed), 1)
            << "element " << i;
      }
    }
    for (int64_t i = 0; i < y_count && !activated; ++i) {
      ASSERT_EQ(std::memcmp(&y[static_cast<size_t>(i * size)], &want[static_cast<size_t>(i * size)],
                            static_cast<size_t>(size)),
                0)
          << "element " << i << ": " << int{y[static_cast<size_t>(i * size)]} << " instead of "
          << int{want[static_cast<size_t>(i * size)]};
    }
  }
}

int64_t Outputs(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads) {
  return (in + pads - ((kernel - 1) * dilation + 1)) / stride + 1;
}

Layer MakeLayer(Random& r) {
  Layer l;
  DepthwiseShape& s = l.shape;
  s.batch = r.Int(1, 2);
  s.channels = r.Chance(0.5) ? r.Int(1, 40) : r.Chance(0.5) ? 16 * r.Int(1, 9) : r.Int(41, 200);
  const int64_t kernels[] = {1, 2, 3, 3, 3, 4, 5, 5, 7, 9};
  const bool square = r.Chance(0.6);
  s.kernel_w = kernels[r.Int(0, 9)];
  s.kernel_h = square ? s.kernel_w : kernels[r.Int(0, 9)];
  s.stride_w = r.Int(1, 3);
  s.stride_h = square ? s.stride_w : r.Int(1, 3);
  if (r.Chance(0.2)) s.dilation_h = r.Int(1, 3), s.dilation_w = r.Int(1, 3);
  s.in_h = r.Int(1, 18), s.in_w = r.Int(1, 36);
  // Sometimes more padding than the window is wide, sometimes a cut.
  s.pad_top = r.Int(-1, s.kernel_h), s.pad_left = r.Int(-1, s.kernel_w);
  int64_t bottom = r.Int(0, s.kernel_h), right = r.Int(0, s.kernel_w);
  bottom = std::max(bottom, (s.kernel_h - 1) * s.dilation_h + 1 - s.in_h - s.pad_top);
  right = std::max(right, (s.kernel_w - 1) * s.dilation_w + 1 - s.in_w - s.pad_left);
  s.out_h = Outputs(s.in_h, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top + bottom);
  s.out_w = Outputs(s.in_w, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left + right);
  QDepthwiseParams& p = l.params;
  const auto zero = [&](bool is_signed, double chance) -> int32_t {
    if (!r.Chance(chance)) return 0;
    return static_cast<int32_t>(is_signed ? r.Int(-128, 127) : r.Int(0, 255));
  };
  p.x_signed = r.Chance(0.5);
  p.x_zero = zero(p.x_signed, 0.4);
  p.y = static_cast<CodeType>(r.Int(0, 2));
  if (p.y != CodeType::kF32) {
    const bool is_signed = p.y == CodeType::kS8;
    p.to = {zero(is_signed, 0.3), is_signed ? -128 : 0, is_signed ? 127 : 255};
    if (r.Chance(0.2)) p.to.lo = p.to.zero_point;
    if (r.Chance(0.2)) p.to.hi = static_cast<int32_t>(r.Int(p.to.lo, p.to.hi));
  }
  if (r.Chance(0.2)) {
    p.residual = true;
    p.z_signed = r.Chance(0.5);
    p.z_zero = zero(p.z_signed, 0.5);
    p.z_multiplier = r.Real(0.2f, 1.2f);
  }
  if (r.Chance(0.4)) {
    const UnaryKind kinds[] = {UnaryKind::kSwish, UnaryKind::kHardSwish, UnaryKind::kGelu,
                               UnaryKind::kLeakyRelu};
    l.activation = kinds[r.Int(0, 3)];
    if (r.Chance(0.7)) p.y_multiplier = r.Real(1, 40);
  }
  l.per_channel = r.Chance(0.8);
  l.bias = r.Chance(0.8);
  // Small ones give values in the range of the codes, large ones leave that of int32.
  l.multiplier = r.Chance(0.9) ? 0.5f / static_cast<float>(s.kernel_h * s.kernel_w * 100) : 3e5f;
  return l;
}

TEST(QDepthwise, RandomLayers) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random r{std::mt19937(seed)};
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  for (int cases = 0; (cases <= 50 || std::chrono::steady_clock::now() < end) && !HasFatalFailure();
       ++cases)
    Check(MakeLayer(r), r);
}

// The layers of real networks take the ways that random ones seldom do.
TEST(QDepthwise, Networks) {
  Random r{std::mt19937(5)};
  for (const int64_t kernel : {3, 5, 7}) {
    for (const int64_t stride : {1, 2}) {
      for (const int64_t channels : {8, 16, 24, 32, 72, 88, 96, 144, 240}) {
        for (const int64_t size : {7, 14, 57}) {
          if (size == 57 && channels > 32) continue;
          Layer l;
          l.shape = {.batch = 1, .channels = channels, .in_h = size, .in_w = size};
          l.shape.kernel_h = l.shape.kernel_w = kernel;
          l.shape.stride_h = l.shape.stride_w = stride;
          l.shape.pad_top = l.shape.pad_left = kernel / 2;
          l.shape.out_h = l.shape.out_w = Outputs(size, kernel, stride, 1, kernel / 2 * 2);
          l.params.to = {0, 0, 255};
          l.params.x_signed = size == 14;
          Check(l, r);
          l.activation = UnaryKind::kLeakyRelu;
          Check(l, r);
          l.activation = UnaryKind::kSwish;
          Check(l, r);
          l.params.y = CodeType::kF32;
          Check(l, r);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Values that no conversion to int32 holds, and none at all.
TEST(QDepthwise, ExtremeMultipliers) {
  Random r{std::mt19937(6)};
  for (const float m : {1e30f, -1e30f, 1e7f, std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::quiet_NaN()}) {
    for (const CodeType y : {CodeType::kU8, CodeType::kS8}) {
      Layer l;
      l.shape = {.batch = 1, .channels = 70, .in_h = 9, .in_w = 9, .out_h = 9, .out_w = 9};
      l.shape.kernel_h = l.shape.kernel_w = 3;
      l.shape.pad_top = l.shape.pad_left = 1;
      l.params.y = y;
      l.params.to = y == CodeType::kU8 ? Requant{3, 0, 250} : Requant{-3, -120, 127};
      l.multiplier = m;
      Check(l, r);
    }
  }
}

TEST(QDepthwise, WindowsThatDoNotFit) {
  DepthwiseShape s = {.batch = 1, .channels = 16, .in_h = 200, .in_w = 200, .out_h = 1, .out_w = 1};
  s.kernel_h = 1, s.kernel_w = 200;
  const std::vector<int8_t> w(static_cast<size_t>(16 * 200 * 200), 1);
  const float m = 1;
  QDepthwisePlan plan;
  for (const Isa isa : Isas()) {
    const QDepthwiseKernels& k = GetQDepthwise(isa);
    EXPECT_TRUE(plan.Make(s, {}, w.data(), &m, false, nullptr, k));
    DepthwiseShape wide = s;
    wide.kernel_h = 200;
    EXPECT_FALSE(plan.Make(wide, {}, w.data(), &m, false, nullptr, k));
    wide.kernel_h = 1, wide.kernel_w = 2, wide.dilation_w = 1 << 20, wide.pad_left = 1 << 20;
    EXPECT_FALSE(plan.Make(wide, {}, w.data(), &m, false, nullptr, k));
  }
  s.kernel_h = 0;
  EXPECT_FALSE(s.Valid());
}

}  // namespace
}  // namespace slipway::kernels
