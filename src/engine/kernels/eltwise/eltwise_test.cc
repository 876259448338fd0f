// Every line of kernels.inc, for every instruction set of this CPU, against the same function in
// double.

#include "engine/kernels/eltwise/eltwise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "base/float16.h"
#include "engine/kernels/eltwise/rectifier.h"

namespace slipway::kernels {
namespace {

double SigmoidOf(double x) { return 1 / (1 + std::exp(-x)); }
double TrueIdentity(double x, double, double) { return x; }
double TrueRelu(double x, double, double) { return x < 0 ? 0 : x; }
double TrueLeakyRelu(double x, double a, double) { return x < 0 ? a * x : x; }
double TrueClip(double x, double a, double b) { return std::min(std::max(x, a), b); }
double TrueSigmoid(double x, double, double) { return SigmoidOf(x); }
double TrueHardSigmoid(double x, double a, double b) {
  return std::max(0.0, std::min(1.0, a * x + b));
}
double TrueHardSwish(double x, double, double) { return x * TrueHardSigmoid(x, 1.0 / 6, 0.5); }
double TrueSwish(double x, double a, double) { return x * SigmoidOf(a * x); }
double TrueGelu(double x, double, double) { return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5))); }
double TrueGeluTanh(double x, double, double) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double TrueTanh(double x, double, double) { return std::tanh(x); }
double TrueElu(double x, double a, double) { return x < 0 ? a * std::expm1(x) : x; }
double TrueSelu(double x, double a, double b) { return b * TrueElu(x, a, 0); }
double TrueCelu(double x, double a, double) { return x < 0 ? a * std::expm1(x / a) : x; }
double TrueThresholdedRelu(double x, double a, double) { return x > a ? x : 0; }
double TrueSoftplus(double x, double, double) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
}
double TrueSoftsign(double x, double, double) { return x / (1 + std::fabs(x)); }
double TrueMish(double x, double, double) { return x * std::tanh(TrueSoftplus(x, 0, 0)); }
double TrueErf(double x, double, double) { return std::erf(x); }
double TrueExp(double x, double, double) { return x < -87.4 ? 0 : std::exp(x); }
double TrueLog(double x, double, double) { return std::log(x); }
double TrueSqrt(double x, double, double) { return std::sqrt(x); }
double TrueReciprocal(double x, double, double) { return 1 / x; }
double TrueNeg(double x, double, double) { return -x; }
double TrueAbs(double x, double, double) { return std::fabs(x); }
double TrueFloor(double x, double, double) { return std::floor(x); }
double TrueCeil(double x, double, double) { return std::ceil(x); }
double TrueRound(double x, double, double) { return std::nearbyint(x); }
double TrueSign(double x, double, double) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
double TrueAffine(double x, double a, double b) { return a * x + b; }
double TrueSquare(double x, double, double) { return x * x; }

double TrueAdd(double x, double y) { return x + y; }
double TrueSub(double x, double y) { return x - y; }
double TrueMul(double x, double y) { return x * y; }
double TrueDiv(double x, double y) { return x / y; }
double TrueMin(double x, double y) { return std::min(x, y); }
double TrueMax(double x, double y) { return std::max(x, y); }
double TruePRelu(double x, double y) { return x < 0 ? x * y : x; }
double TruePow(double x, double y) { return std::pow(x, y); }

std::vector<Isa> Isas() {
  std::vector<Isa> all;
  for (int i = 0; i <= static_cast<int>(BestIsa()); ++i) all.push_back(static_cast<Isa>(i));
  return all;
}

class Eltwise : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isa, Eltwise, testing::ValuesIn(Isas()),
                         [](const auto& info) { return IsaName(info.param); });

// The error that float arithmetic may have: 2e-6 of the value (1e-6 absolute near zero, where some
// functions are differences).
void Near(double got, double want, const char* what, double x) {
  if (std::isnan(want) && std::isnan(got)) return;
  if (std::isinf(want)) {
    EXPECT_EQ(got, want) << what << "(" << x << ")";
    return;
  }
  EXPECT_LE(std::fabs(got - want), 2e-6 * std::fabs(want) + 1e-6)
      << what << "(" << x << ") = " << got << ", expected " << want;
}

TEST_P(Eltwise, Unary) {
  const EltwiseKernels& k = GetEltwise(GetParam());
  auto check = [&](const char* name, UnaryKind kind, double (*truth)(double, double, double),
                   double low, double high) {
    const int n = 4099;
    std::vector<float> x(n), y(n);
    for (int i = 0; i < n; ++i)
      x[static_cast<size_t>(i)] = static_cast<float>(low + (high - low) * i / (n - 1));
    const float a = kind == UnaryKind::kClip ? -0.7f : 0.9f, b = 1.3f;
    k.unary[static_cast<int>(kind)](x.data(), y.data(), n, a, b);
    for (size_t i = 0; i < x.size(); ++i) Near(y[i], truth(x[i], a, b), name, x[i]);
    k.unary[static_cast<int>(kind)](x.data(), x.data(), n, a, b);  // in place
    EXPECT_EQ(x, y) << name;
    const float nan = std::nanf("");
    float r;
    k.unary[static_cast<int>(kind)](&nan, &r, 1, a, b);
    EXPECT_TRUE(std::isnan(r) || kind == UnaryKind::kThresholdedRelu) << name << " of NaN is " << r;
  };
#define SLIPWAY_UNARY(NAME, LOW, HIGH) check(#NAME, UnaryKind::k##NAME, True##NAME, LOW, HIGH);
#define SLIPWAY_BINARY(NAME)
#include "engine/kernels/eltwise/kernels.inc"
#undef SLIPWAY_UNARY
#undef SLIPWAY_BINARY
}

TEST_P(Eltwise, RoughSwish) {
  const EltwiseKernels& k = GetEltwise(GetParam());
  for (const float a : {1.0f, 1.7f}) {
    for (float x = -60; x < 60; x += 0.03f) {
      float y;
      k.rough_swish(&x, &y, 1, a, 0);
      const double want = TrueSwish(static_cast<double>(x), static_cast<double>(a), 0);
      EXPECT_LE(std::fabs(y - want), 2.5e-4 * std::fabs(want) + 1e-30) << x;
    }
  }
  for (float x : {-1e30f, -200.0f, 200.0f, 1e30f}) {  // where the power overflows or vanishes
    float y;
    k.rough_swish(&x, &y, 1, 1, 0);
    EXPECT_NEAR(y, x < 0 ? 0 : x, 2.5e-4 * std::fabs(x < 0 ? 0 : x) + 1e-6) << x;
    k.unary[static_cast<int>(UnaryKind::kSwish)](&x, &y, 1, 1, 0);
    EXPECT_NEAR(y, x < 0 ? 0 : x, 1e-6 * std::fabs(x < 0 ? 0 : x) + 1e-6) << x;
  }
}

TEST_P(Eltwise, Binary) {
  const EltwiseKernels& k = GetEltwise(GetParam());
  std::mt19937 random(1);
  auto check = [&](const char* name, BinaryKind kind, double (*truth)(double, double)) {
    const BinaryFunctions& f = k.binary[static_cast<int>(kind)];
    const bool positive = kind == BinaryKind::kPow || kind == BinaryKind::kDiv;
    std::uniform_real_distribution<float> value(positive ? 0.1f : -3.f, 3.f);
    for (int64_t period : {1, 3, 8, 16, 21}) {
      const int64_t n = period * 19;
      std::vector<float> x(static_cast<size_t>(n)), y(x.size()), z(x.size());
      for (size_t i = 0; i < x.size(); ++i) x[i] = value(random), y[i] = value(random);
      auto compare = [&](auto at) {
        for (size_t i = 0; i < x.size(); ++i) {
          const auto [a, b] = at(i);
          Near(z[i], truth(a, b), name, a);
        }
      };
      f.rows(x.data(), y.data(), z.data(), n, 0);
      compare([&](size_t i) { return std::pair(x[i], y[i]); });
      f.scalar_y(x.data(), y.data(), z.data(), n, 0);
      compare([&](size_t i) { return std::pair(x[i], y[0]); });
      f.scalar_x(x.data(), y.data(), z.data(), n, 0);
      compare([&](size_t i) { return std::pair(x[0], y[i]); });
      f.periodic(x.data(), y.data(), z.data(), n, period);
      compare([&](size_t i) { return std::pair(x[i], y[i % static_cast<size_t>(period)]); });
    }
  };
#define SLIPWAY_UNARY(NAME, LOW, HIGH)
#define SLIPWAY_BINARY(NAME) check(#NAME, BinaryKind::k##NAME, True##NAME);
#include "engine/kernels/eltwise/kernels.inc"
#undef SLIPWAY_UNARY
#undef SLIPWAY_BINARY
}

TEST_P(Eltwise, Extremes) {
  const EltwiseKernels& k = GetEltwise(GetParam());
  const float inf = INFINITY;
  auto at = [&](UnaryKind kind, float x) {
    float y;
    k.unary[static_cast<int>(kind)](&x, &y, 1, 1, 1);
    return y;
  };
  EXPECT_EQ(at(UnaryKind::kExp, 89.f), inf);
  EXPECT_EQ(at(UnaryKind::kExp, inf), inf);
  EXPECT_EQ(at(UnaryKind::kExp, -inf), 0);
  EXPECT_EQ(at(UnaryKind::kLog, 0.f), -inf);
  EXPECT_EQ(at(UnaryKind::kLog, inf), inf);
  EXPECT_TRUE(std::isnan(at(UnaryKind::kLog, -1.f)));
  EXPECT_NEAR(at(UnaryKind::kLog, 1e-40f), -92.10340, 1e-4);
  EXPECT_EQ(at(UnaryKind::kTanh, inf), 1);
  EXPECT_EQ(at(UnaryKind::kTanh, -inf), -1);
  EXPECT_EQ(at(UnaryKind::kSigmoid, inf), 1);
  EXPECT_NEAR(at(UnaryKind::kSigmoid, -inf), 0, 1e-30);
  EXPECT_EQ(at(UnaryKind::kErf, inf), 1);
  EXPECT_EQ(at(UnaryKind::kRelu, -inf), 0);
}

TEST_P(Eltwise, BFloat16) {
  const EltwiseKernels& k = GetEltwise(GetParam());
  std::vector<float> x = {0, -0.0f, 1, -1, INFINITY, -INFINITY, NAN, 3.3895e38f, 3.4e38f, 1e-40f};
  // Both sides of every tie of some numbers.
  for (uint32_t high : {0x3f80u, 0x3f81u, 0xc2feu, 0x007fu, 0x7f7fu}) {
    for (uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      x.push_back(std::bit_cast<float>(high << 16 | low));
  }
  for (size_t n : {size_t{0}, size_t{1}, size_t{17}, x.size()}) {
    std::vector<uint16_t> y(x.size() + 1, 0x1234);
    std::vector<float> z(x.size() + 1, 7);
    k.to_bfloat16(x.data(), y.data(), static_cast<int64_t>(n));
    k.from_bfloat16(y.data(), z.data(), static_cast<int64_t>(n));
    for (size_t i = 0; i < n; ++i) {
      ASSERT_EQ(y[i], BFloat16(x[i]).bits) << i << " " << x[i];
      ASSERT_EQ(std::bit_cast<uint32_t>(z[i]), static_cast<uint32_t>(y[i]) << 16);
    }
    ASSERT_EQ(y[n], 0x1234);
    ASSERT_EQ(z[n], 7);
  }
}

TEST_P(Eltwise, Float16) {
  const EltwiseKernels& k = GetEltwise(GetParam());
  if (!k.to_float16) GTEST_SKIP() << "only 64-bit ARM has these functions";
  std::vector<float> x = {0,     -0.0f,  1,        -1,      INFINITY, -INFINITY, NAN,
                          65504, 65519.f, 65520.f, -65521.f, 3e38f,    1e-40f,    6e-8f};
  // Both sides of every tie of some numbers, normal and not.
  for (uint16_t code : {uint16_t{1}, uint16_t{0x3ff}, uint16_t{0x400}, uint16_t{0x3c01}}) {
    const float a = Float16::FromBits(code),
                b = Float16::FromBits(static_cast<uint16_t>(code + 1)), middle = (a + b) / 2;
    for (float v : {std::nextafter(middle, 0.0f), middle, std::nextafter(middle, 1e9f)})
      x.push_back(v), x.push_back(-v);
  }
  for (size_t n : {size_t{0}, size_t{1}, size_t{17}, x.size()}) {
    std::vector<uint16_t> y(x.size() + 1, 0x1234);
    std::vector<float> z(x.size() + 1, 7);
    k.to_float16(x.data(), y.data(), static_cast<int64_t>(n));
    k.from_float16(y.data(), z.data(), static_cast<int64_t>(n));
    for (size_t i = 0; i < n; ++i) {
      ASSERT_EQ(y[i], Float16(x[i]).bits) << i << " " << x[i];
      const float want = Float16::FromBits(y[i]);
      if (!std::isnan(want)) {
        ASSERT_EQ(z[i], want);
      }
    }
    ASSERT_EQ(y[n], 0x1234);
    ASSERT_EQ(z[n], 7);
  }
}

// As the kernels read the table.
float ByTable(const RectifierTable& t, float x) {
  const float at = std::min(std::fabs(x), t.limit * (1 - 1e-6f));
  const auto i = std::bit_cast<uint32_t>(std::fma(at, t.scale, 1.0f)) >> 20 & 15;
  const auto& c = t.coefficients;
  const float h = std::fma(std::fma(std::fma(c[3][i], at, c[2][i]), at, c[1][i]), at, c[0][i]);
  return std::fma(std::max(x, 0.0f), t.multiplier, -h);
}

TEST(Rectifier, IsCloseToTheActivation) {
  struct Case {
    UnaryKind kind;
    float a;
    double (*truth)(double, double, double);
  };
  for (const Case& c :
       {Case{UnaryKind::kSwish, 1, TrueSwish}, Case{UnaryKind::kSwish, 1.702f, TrueSwish},
        Case{UnaryKind::kSwish, 0.1f, TrueSwish}, Case{UnaryKind::kHardSwish, 0, TrueHardSwish},
        Case{UnaryKind::kGelu, 0, TrueGelu}, Case{UnaryKind::kGeluTanh, 0, TrueGeluTanh}}) {
    for (const float multiplier : {1.0f, 37.0f}) {
      const RectifierTable t = MakeRectifierTable(c.kind, c.a, multiplier);
      ASSERT_GT(t.limit, 0);
      const float a = c.kind == UnaryKind::kSwish ? c.a : 1;
      double worst = 0;
      for (int i = -40000; i <= 40000; ++i) {
        const float x = static_cast<float>(i) * 1e-3f / a;
        const double right = c.truth(x, c.a, 0) * multiplier;
        worst = std::max(
            worst, (std::fabs(ByTable(t, x) - right) - 2e-7 * std::fabs(right)) * a / multiplier);
      }
      EXPECT_LT(worst, kRectifierError) << static_cast<int>(c.kind) << " " << c.a;
    }
  }
  for (const float a : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN()})
    EXPECT_EQ(MakeRectifierTable(UnaryKind::kSwish, a, 1).limit, 0);
  EXPECT_EQ(MakeRectifierTable(UnaryKind::kTanh, 1, 1).limit, 0);
}

TEST_P(Eltwise, Where) {
  const EltwiseKernels& k = GetEltwise(GetParam());
  for (int mask = 0; mask < 8; ++mask) {
    const int64_t cs = mask & 1, xs = mask >> 1 & 1, ys = mask >> 2 & 1;
    uint8_t c[37];
    float x[37], y[37], z[37];
    for (int i = 0; i < 37; ++i)
      c[i] = i % 3 == 1, x[i] = static_cast<float>(i), y[i] = static_cast<float>(-i);
    k.where(c, cs, x, xs, y, ys, z, 37);
    for (int i = 0; i < 37; ++i) EXPECT_EQ(z[i], c[i * cs] ? x[i * xs] : y[i * ys]) << mask;
  }
}

}  // namespace
}  // namespace slipway::kernels
