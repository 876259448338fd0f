#include <cmath>
#include <limits>

#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

TEST(Unary, KnownValues) {
  struct Case {
    const char* op;
    Attributes attributes;
    std::vector<float> want;  // at -2, -0.5, 0, 1, 3
  };
  const std::vector<Case> cases = {
      {"Relu", {}, {0, 0, 0, 1, 3}},
      {"LeakyRelu", {{"alpha", 0.1f}}, {-0.2f, -0.05f, 0, 1, 3}},
      {"Sigmoid", {}, {0.11920292f, 0.37754067f, 0.5f, 0.73105858f, 0.95257413f}},
      {"HardSigmoid", {}, {0.1f, 0.4f, 0.5f, 0.7f, 1}},
      {"HardSwish", {}, {-0.33333333f, -0.20833333f, 0, 0.66666667f, 3}},
      {"Swish", {{"alpha", 2.0f}}, {-0.03597242f, -0.13447071f, 0, 0.88079708f, 2.99258210f}},
      {"Gelu", {}, {-0.04550026f, -0.15426877f, 0, 0.84134475f, 2.99595031f}},
      {"Gelu",
       {{"approximate", "tanh"}},
       {-0.04540231f, -0.15428599f, 0, 0.84119199f, 2.99636268f}},
      {"Tanh", {}, {-0.96402758f, -0.46211716f, 0, 0.76159416f, 0.99505475f}},
      {"Elu", {{"alpha", 2.0f}}, {-1.72932943f, -0.78693868f, 0, 1, 3}},
      {"Selu", {}, {-1.52016700f, -0.69175768f, 0, 1.05070102f, 3.15210307f}},
      {"Celu", {{"alpha", 2.0f}}, {-1.26424112f, -0.44239843f, 0, 1, 3}},
      {"ThresholdedRelu", {{"alpha", 1.0f}}, {0, 0, 0, 0, 3}},
      {"Softplus", {}, {0.12692801f, 0.47407698f, 0.69314718f, 1.31326169f, 3.04858735f}},
      {"Softsign", {}, {-0.66666667f, -0.33333333f, 0, 0.5f, 0.75f}},
      {"Mish", {}, {-0.25250150f, -0.22074373f, 0, 0.86509839f, 2.98653500f}},
      {"Erf", {}, {-0.99532227f, -0.52049988f, 0, 0.84270079f, 0.99997791f}},
      {"Exp", {}, {0.13533528f, 0.60653066f, 1, 2.71828183f, 20.08553692f}},
      {"Neg", {}, {2, 0.5f, 0, -1, -3}},
      {"Abs", {}, {2, 0.5f, 0, 1, 3}},
      {"Floor", {}, {-2, -1, 0, 1, 3}},
      {"Ceil", {}, {-2, 0, 0, 1, 3}},
      {"Round", {}, {-2, 0, 0, 1, 3}},
      {"Sign", {}, {-1, -1, 0, 1, 1}},
      {"Sin", {}, {-0.90929743f, -0.47942554f, 0, 0.84147098f, 0.14112001f}},
      {"Cos", {}, {-0.41614684f, 0.87758256f, 1, 0.54030231f, -0.98999250f}},
      {"Tan", {}, {2.18503986f, -0.54630249f, 0, 1.55740772f, -0.14254654f}},
      {"Atan", {}, {-1.10714872f, -0.46364761f, 0, 0.78539816f, 1.24904577f}},
      {"Sinh", {}, {-3.62686041f, -0.52109531f, 0, 1.17520119f, 10.01787493f}},
      {"Cosh", {}, {3.76219569f, 1.12762597f, 1, 1.54308063f, 10.06766200f}},
      {"Asinh", {}, {-1.44363548f, -0.48121183f, 0, 0.88137359f, 1.81844646f}},
      {"Shrink", {{"bias", 1.0f}, {"lambd", 0.75f}}, {-1, 0, 0, 0, 2}},
      {"Identity", {}, {-2, -0.5f, 0, 1, 3}},
  };
  const std::vector<float> x{-2, -0.5f, 0, 1, 3};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.op);
    ExpectNear(Run1(c.op, {F({5}, x)}, {5}, c.attributes), c.want);
    if (std::string_view(c.op) == "Identity") continue;
    const std::vector<double> wide(x.begin(), x.end());
    const auto d = Run1(c.op, {Make<double>({5}, wide)}, {5}, c.attributes).As<double>();
    for (size_t i = 0; i < 5; ++i)
      EXPECT_NEAR(d[i], c.want[i], 1e-6 * std::max(1.0f, std::fabs(c.want[i])));
  }
  ExpectNear(Run1("Log", {F({3}, {1, 2, 0})}, {3}), {0, 0.69314718f, -kInf});
  ExpectNear(Run1("Sqrt", {F({3}, {1, 2, -1})}, {3}), {1, 1.41421356f, kNan});
  ExpectNear(Run1("Acos", {F({3}, {-1, 0, 1})}, {3}), {3.14159265f, 1.57079633f, 0});
  ExpectNear(Run1("Asin", {F({3}, {-1, 0, 2})}, {3}), {-1.57079633f, 0, kNan});
  ExpectNear(Run1("Acosh", {F({2}, {1, 2})}, {2}), {0, 1.31695790f});
  ExpectNear(Run1("Atanh", {F({3}, {-0.5f, 0, 1})}, {3}), {-0.54930614f, 0, kInf});
  ExpectNear(Run1("Reciprocal", {F({2}, {4, -0.5f})}, {2}), {0.25f, -2});
  ExpectNear(Run1("Round", {F({4}, {0.5f, 1.5f, 2.5f, -1.5f})}, {4}), {0, 2, 2, -2});
  ExpectNear(Run1("Relu", {F({1}, {kNan})}, {1}), {kNan});
}

TEST(Unary, IntegersAndLimits) {
  EXPECT_EQ(Run1("Abs", {S8({3}, {-128, -3, 4})}, {3}).As<int8_t>(),
            (std::vector<int8_t>{-128, 3, 4}));
  EXPECT_EQ(Run1("Neg", {I({2}, {std::numeric_limits<int64_t>::min(), 5})}, {2}).As<int64_t>(),
            (Ints{std::numeric_limits<int64_t>::min(), -5}));
  EXPECT_EQ(Run1("Relu", {I32({2}, {-7, 7})}, {2}).As<int32_t>(), (std::vector<int32_t>{0, 7}));
  EXPECT_EQ(Run1("Not", {B({3}, {0, 1, 2})}, {3}).As<uint8_t>(), (std::vector<uint8_t>{1, 0, 0}));
  EXPECT_NE(RunError("Exp", {I32({1}, {1})}, {1}).find("int32"), std::string::npos);
}

TEST(Unary, ClipAndDropout) {
  ExpectNear(Run1("Clip", {F({4}, {-5, 0, 5, kNan}), F({}, {-1}), F({}, {2})}, {4}),
             {-1, 0, 2, kNan});
  ExpectNear(Run1("Clip", {F({3}, {-5, 0, 5}), T(), F({}, {2})}, {3}), {-5, 0, 2});
  ExpectNear(Run1("Clip", {F({3}, {-5, 0, 5}), F({}, {3}), F({}, {1})}, {3}), {1, 1, 1});
  EXPECT_EQ(Run1("Clip", {U8({2}, {3, 250}), U8({}, {10})}, {2}).As<uint8_t>(),
            (std::vector<uint8_t>{10, 250}));
  RunError("Clip", {F({1}, {1}), I({}, {1})}, {1});
  std::vector<T> out{T(DType::kFloat32, {2}), T(DType::kBool, {2})};
  ASSERT_TRUE(Call("Dropout", {F({2}, {1, 2}), F({}, {0.5f})}, out).ok());
  EXPECT_EQ(out[0].As<float>(), (std::vector<float>{1, 2}));
  EXPECT_EQ(out[1].As<uint8_t>(), (std::vector<uint8_t>{1, 1}));
  EXPECT_FALSE(Call("Dropout", {F({2}, {1, 2}), F({}, {0.5f}), B({}, {1})}, out).ok());
}

TEST(Unary, HalfIsComputedInFloat) {
  const T x = Run1("Cast", {F({2}, {0.1f, 10})}, {2}, {}, DType::kFloat16);
  const T y = Run1("Cast", {Run1("Exp", {x}, {2})}, {2}, {}, DType::kFloat32);
  EXPECT_EQ(y.As<float>()[0],
            static_cast<float>(Float16(std::exp(static_cast<float>(Float16(0.1f))))));
  const T b = Run1("Cast", {F({1}, {3})}, {1}, {}, DType::kBFloat16);
  ExpectNear(Run1("Cast", {Run1("Neg", {b}, {1})}, {1}, {}, DType::kFloat32), {-3});
}

TEST(Cast, BetweenTypes) {
  const T x = F({6}, {-1.7f, 0, 1.5f, 300, kNan, 1e30f});
  EXPECT_EQ(Run1("Cast", {x}, {6}, {}, DType::kInt32).As<int32_t>()[0], -1);
  EXPECT_EQ(Run1("Cast", {x}, {6}, {}, DType::kUInt8).As<uint8_t>()[3], 44);
  EXPECT_EQ(Run1("Cast", {x}, {6}, {}, DType::kInt64).As<int64_t>()[5],
            std::numeric_limits<int64_t>::max());
  EXPECT_EQ(Run1("Cast", {x}, {6}, {}, DType::kBool).As<uint8_t>(),
            (std::vector<uint8_t>{1, 0, 1, 1, 1, 1}));
  ExpectNear(Run1("Cast", {B({2}, {0, 7})}, {2}, {}, DType::kFloat32), {0, 1});
  EXPECT_EQ(
      Run1("Cast", {I({1}, {(int64_t{1} << 40) + 5})}, {1}, {}, DType::kInt32).As<int32_t>()[0], 5);
  EXPECT_EQ(Run1("Cast", {Make<double>({1}, {1.8e19})}, {1}, {}, DType::kUInt64).As<uint64_t>()[0],
            18000000000000000000u);
  EXPECT_EQ(Run1("Cast", {F({2}, {1e6f, 1})}, {2}, {}, DType::kFloat8E4M3FN).As<uint8_t>(),
            (std::vector<uint8_t>{0x7e, 0x38}));
  EXPECT_EQ(Run1("Cast", {F({1}, {1e6f})}, {1}, {{"saturate", int64_t{0}}}, DType::kFloat8E4M3FN)
                .As<uint8_t>()[0],
            0x7f);
  // Sub-byte: [-8, 7, -1] packs as 0x78, 0x0f.
  const T packed = Run1("Cast", {F({3}, {-8, 7, -1})}, {3}, {}, DType::kInt4);
  EXPECT_EQ(packed.As<uint8_t>(), (std::vector<uint8_t>{0x78, 0x0f}));
  ExpectNear(Run1("Cast", {packed}, {3}, {}, DType::kFloat32), {-8, 7, -1});
  const T two = Run1("Cast", {S8({5}, {0, 1, 2, 3, 1})}, {5}, {}, DType::kUInt2);
  EXPECT_EQ(two.As<uint8_t>(), (std::vector<uint8_t>{0xe4, 0x01}));
  RunError("Cast", {F({1}, {1})}, {1}, {{"round_mode", "sideways"}}, DType::kFloat8E8M0);
}

TEST(Binary, Broadcasting) {
  const T a = F({2, 3}, {0, 1, 2, 3, 4, 5});
  ExpectNear(Run1("Add", {a, F({3}, {10, 20, 30})}, {2, 3}), {10, 21, 32, 13, 24, 35});
  ExpectNear(Run1("Sub", {F({2, 1}, {10, 20}), a}, {2, 3}), {10, 9, 8, 17, 16, 15});
  ExpectNear(Run1("Mul", {a, F({}, {2})}, {2, 3}), {0, 2, 4, 6, 8, 10});
  ExpectNear(Run1("Div", {F({1, 3}, {6, 6, 6}), F({2, 1}, {2, 3})}, {2, 3}), {3, 3, 3, 2, 2, 2});
  // [2,1,3,1] with [4,1,2]
  const T y =
      Run1("Add", {Iota({2, 1, 3, 1}), F({4, 1, 2}, {0, 100, 200, 300, 400, 500, 600, 700})},
           {2, 4, 3, 2});
  const auto v = y.As<float>();
  for (size_t n = 0; n < 2; ++n) {
    for (size_t c = 0; c < 4; ++c) {
      for (size_t h = 0; h < 3; ++h) {
        for (size_t w = 0; w < 2; ++w) {
          EXPECT_EQ(v[((n * 4 + c) * 3 + h) * 2 + w],
                    static_cast<float>(n * 3 + h + (c * 2 + w) * 100));
        }
      }
    }
  }
  EXPECT_EQ(Run1("Add", {F({0, 3}, {}), F({3}, {1, 2, 3})}, {0, 3}).bytes.size(), 0u);
  RunError("Add", {F({1}, {1}), I({1}, {1})}, {1});
}

TEST(Binary, BroadcastSplitOverThreadsMatches) {
  ThreadPool pool({.threads = 4});
  const T a = Iota({7, 1, 5000}), b = Iota({3, 1});
  std::vector<T> one{T(DType::kFloat32, {7, 3, 5000})}, many = one;
  ASSERT_TRUE(Call("Add", {a, b}, one).ok());
  ASSERT_TRUE(Call("Add", {a, b}, many, {}, "", &pool).ok());
  EXPECT_EQ(one[0].bytes, many[0].bytes);
}

TEST(Binary, Integers) {
  EXPECT_EQ(Run1("Add", {S8({1}, {127}), S8({1}, {1})}, {1}).As<int8_t>()[0], -128);
  EXPECT_EQ(Run1("Mul", {I32({1}, {1 << 20}), I32({1}, {1 << 20})}, {1}).As<int32_t>()[0], 0);
  EXPECT_EQ(
      Run1("Div",
           {I32({4}, {7, -7, 7, std::numeric_limits<int32_t>::min()}), I32({4}, {2, 2, -2, -1})},
           {4})
          .As<int32_t>(),
      (std::vector<int32_t>{3, -3, -3, std::numeric_limits<int32_t>::min()}));
  EXPECT_NE(RunError("Div", {I32({2}, {1, 2}), I32({2}, {1, 0})}, {2}).find("division by zero"),
            std::string::npos);
  EXPECT_NE(RunError("Mod", {U8({1}, {1}), U8({1}, {0})}, {1}).find("division by zero"),
            std::string::npos);
  EXPECT_EQ(Run1("Mod", {I32({4}, {5, -5, 5, -5}), I32({4}, {3, 3, -3, -3})}, {4}).As<int32_t>(),
            (std::vector<int32_t>{2, 1, -1, -2}));
  EXPECT_EQ(
      Run1("Mod", {I32({2}, {5, -5}), I32({2}, {3, 3})}, {2}, {{"fmod", int64_t{1}}}).As<int32_t>(),
      (std::vector<int32_t>{2, -2}));
  ExpectNear(Run1("Mod", {F({2}, {5.5f, -5.5f}), F({2}, {2, 2})}, {2}, {{"fmod", int64_t{1}}}),
             {1.5f, -1.5f});
  RunError("Mod", {F({1}, {1}), F({1}, {1})}, {1});
}

TEST(Binary, Pow) {
  ExpectNear(Run1("Pow", {F({3}, {2, 3, 4}), F({}, {2})}, {3}), {4, 9, 16});
  ExpectNear(Run1("Pow", {F({2}, {4, 9}), I({2}, {-1, 2})}, {2}), {0.25f, 81});
  EXPECT_EQ(Run1("Pow", {I32({3}, {2, -3, 5}), I32({3}, {10, 3, -1})}, {3}).As<int32_t>(),
            (std::vector<int32_t>{1024, -27, 0}));
  EXPECT_EQ(Run1("Pow", {I({1}, {9}), F({1}, {0.5f})}, {1}).As<int64_t>()[0], 3);
}

TEST(Binary, PReluAndVariadic) {
  ExpectNear(Run1("PRelu", {F({1, 2, 2}, {-1, 2, -3, 4}), F({2, 1}, {0.1f, 0.5f})}, {1, 2, 2}),
             {-0.1f, 2, -1.5f, 4});
  const T a = F({3}, {1, 5, kNan}), b = F({1}, {2}), c = F({3}, {0, 9, 3});
  ExpectNear(Run1("Min", {a, b, c}, {3}), {0, 2, kNan});
  ExpectNear(Run1("Max", {a, b, c}, {3}), {2, 9, kNan});
  ExpectNear(Run1("Sum", {b, F({3}, {1, 5, 7}), c}, {3}), {3, 16, 12});
  ExpectNear(Run1("Mean", {F({2}, {1, 2}), F({2}, {3, 6})}, {2}), {2, 4});
  ExpectNear(Run1("Max", {c}, {3}), {0, 9, 3});
  ExpectNear(Run1("Add", {F({2}, {-1, 1}), F({2}, {0, 8})}, {2},
                  {{"activation", "Clip"}, {"activation_params", std::vector<float>{0, 6}}},
                  DType::kUndefined, "slipway"),
             {0, 6});
}

TEST(Compare, AllOperators) {
  const T a = F({4}, {1, 2, 3, kNan}), b = F({1}, {2});
  auto check = [&](const char* op, std::vector<uint8_t> want) {
    EXPECT_EQ(Run1(op, {a, b}, {4}, {}, DType::kBool).As<uint8_t>(), want) << op;
  };
  check("Less", {1, 0, 0, 0});
  check("LessOrEqual", {1, 1, 0, 0});
  check("Greater", {0, 0, 1, 0});
  check("GreaterOrEqual", {0, 1, 1, 0});
  check("Equal", {0, 1, 0, 0});
  const T p = B({4}, {0, 0, 1, 1}), q = B({4}, {0, 1, 0, 1});
  EXPECT_EQ(Run1("And", {p, q}, {4}).As<uint8_t>(), (std::vector<uint8_t>{0, 0, 0, 1}));
  EXPECT_EQ(Run1("Or", {p, q}, {4}).As<uint8_t>(), (std::vector<uint8_t>{0, 1, 1, 1}));
  EXPECT_EQ(Run1("Xor", {p, q}, {4}).As<uint8_t>(), (std::vector<uint8_t>{0, 1, 1, 0}));
  EXPECT_EQ(Run1("Equal", {p, q}, {4}).As<uint8_t>(), (std::vector<uint8_t>{1, 0, 0, 1}));
  EXPECT_EQ(Run1("Equal", {I({2}, {int64_t{1} << 60, 3}), I({2}, {(int64_t{1} << 60) + 1, 3})}, {2},
                 {}, DType::kBool)
                .As<uint8_t>(),
            (std::vector<uint8_t>{0, 1}));
  EXPECT_EQ(Run1("Less", {U8({1}, {200}), U8({1}, {100})}, {1}, {}, DType::kBool).As<uint8_t>()[0],
            0);
}

TEST(Compare, Where) {
  const T c = B({2, 1}, {1, 0});
  ExpectNear(Run1("Where", {c, F({3}, {1, 2, 3}), F({}, {9})}, {2, 3}, {}, DType::kFloat32),
             {1, 2, 3, 9, 9, 9});
  EXPECT_EQ(
      Run1("Where", {c, I({2, 1}, {1, 2}), I({1}, {7})}, {2, 1}, {}, DType::kInt64).As<int64_t>(),
      (Ints{1, 7}));
  RunError("Where", {F({1}, {1}), F({1}, {1}), F({1}, {1})}, {1});
}

}  // namespace
}  // namespace slipway::ops
