#include "model/ops/quantize.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

const Attributes kUnsigned{{"signed", int64_t{0}}};

TEST(Rounding, RequantizeIsRoundThenClamp) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> u(-300, 300);
  for (int i = 0; i < 200000; ++i) {
    const float v = i % 4 == 0 ? std::floor(u(rng)) + 0.5f : u(rng);
    const int32_t zero = static_cast<int32_t>(rng() % 256) - 128;
    const int32_t want = std::clamp(static_cast<int32_t>(std::nearbyint(v)) + zero, -128, 127);
    ASSERT_EQ(Requantize(v, zero, -128, 127), want) << v << " zero point " << zero;
  }
  EXPECT_EQ(Requantize(1e30f, 5, 0, 255), 255);
  EXPECT_EQ(Requantize(-std::numeric_limits<float>::infinity(), 5, 0, 255), 0);
  EXPECT_EQ(Requantize(std::nanf(""), 5, 3, 255), 3);
}

TEST(Rounding, Ranges) {
  EXPECT_EQ(RangeOf(8, true, false).lo, -128);
  EXPECT_EQ(RangeOf(8, true, true).lo, -127);
  EXPECT_EQ(RangeOf(4, false, false).hi, 15);
  EXPECT_EQ(RangeOf(1, true, true).lo, -1);
  EXPECT_EQ(RangeOf(1, true, true).hi, 0);
  EXPECT_EQ(RangeOf(16, false, false).hi, 65535);
}

TEST(Quantize, PerTensor) {
  const T x = F({6}, {-1000, -0.25f, 0.25f, 0.75f, 63.75f, std::nanf("")}), s = F({}, {0.5f});
  EXPECT_EQ(Run1("Quantize", {x, s}, {6}, {}, DType::kInt8, "slipway").As<int8_t>(),
            (std::vector<int8_t>{-128, 0, 0, 2, 127, -128}));
  EXPECT_EQ(Run1("Quantize", {x, s}, {6}, {{"narrow", int64_t{1}}}, DType::kInt8, "slipway")
                .As<int8_t>()[0],
            -127);
  EXPECT_EQ(Run1("Quantize", {x, s}, {6}, {{"rounding", "half_away"}}, DType::kInt8, "slipway")
                .As<int8_t>(),
            (std::vector<int8_t>{-128, -1, 1, 2, 127, -128}));
  EXPECT_EQ(Run1("Quantize", {x, s}, {6}, {{"rounding", "half_up"}}, DType::kInt8, "slipway")
                .As<int8_t>(),
            (std::vector<int8_t>{-128, 0, 1, 2, 127, -128}));
  EXPECT_EQ(Run1("Quantize", {x, s, U8({}, {100})}, {6}, kUnsigned, DType::kUInt8, "slipway")
                .As<uint8_t>(),
            (std::vector<uint8_t>{0, 100, 100, 102, 228, 0}));
  EXPECT_EQ(
      Run1("Quantize", {x, s}, {6}, {{"bits", int64_t{2}}}, DType::kInt8, "slipway").As<int8_t>(),
      (std::vector<int8_t>{-2, 0, 0, 1, 1, -2}));
  EXPECT_EQ(Run1("Quantize", {F({1}, {1e9f}), s}, {1},
                 {{"bits", int64_t{16}}, {"signed", int64_t{0}}}, DType::kUInt16, "slipway")
                .As<uint16_t>()[0],
            65535);
}

// The table of rounding modes in QONNX's specification of Quant.
TEST(Quantize, RoundingModes) {
  const T x = F({10}, {5.5f, 2.5f, 1.6f, 1.1f, 1.0f, -1.0f, -1.1f, -1.6f, -2.5f, -5.5f}),
          one = F({}, {1});
  const std::pair<const char*, std::vector<int8_t>> rows[] = {
      {"half_even", {6, 2, 2, 1, 1, -1, -1, -2, -2, -6}},
      {"ceil", {6, 3, 2, 2, 1, -1, -1, -1, -2, -5}},
      {"floor", {5, 2, 1, 1, 1, -1, -2, -2, -3, -6}},
      {"from_zero", {6, 3, 2, 2, 1, -1, -2, -2, -3, -6}},
      {"to_zero", {5, 2, 1, 1, 1, -1, -1, -1, -2, -5}},
      {"half_away", {6, 3, 2, 1, 1, -1, -1, -2, -3, -6}},
      {"half_to_zero", {5, 2, 2, 1, 1, -1, -1, -2, -2, -5}},
      {"half_up", {6, 3, 2, 1, 1, -1, -1, -2, -2, -5}},
  };
  for (const auto& [name, want] : rows) {
    EXPECT_EQ(
        Run1("Quantize", {x, one}, {10}, {{"rounding", std::string(name)}}, DType::kInt8, "slipway")
            .As<int8_t>(),
        want)
        << name;
  }
  EXPECT_NE(RunError("Quantize", {x, one}, {10}, {{"rounding", std::string("sideways")}},
                     DType::kInt8, "slipway")
                .find("sideways"),
            std::string::npos);
}

TEST(Quantize, ZeroPointBeforeOrAfterRounding) {
  const T x = F({4}, {0.5f, 1.5f, 2.5f, -300}), s = F({}, {1}), z = S8({}, {1});
  EXPECT_EQ(Run1("Quantize", {x, s, z}, {4}, {}, DType::kInt8, "slipway").As<int8_t>(),
            (std::vector<int8_t>{1, 3, 3, -128}));
  EXPECT_EQ(Run1("Quantize", {x, s, z}, {4}, {{"zero_first", int64_t{1}}}, DType::kInt8, "slipway")
                .As<int8_t>(),
            (std::vector<int8_t>{2, 2, 4, -128}));
}

TEST(Quantize, SmallFloats) {
  const T x = F({5}, {0, 1, 2, 1000, -100}), s = F({}, {2});
  const Attributes e4m3{{"kind", std::string("float8e4m3fn")}};
  const T q = Run1("Quantize", {x, s}, {5}, e4m3, DType::kFloat8E4M3FN, "slipway");
  // 0.5 = 0x30, 1 = 0x38, 448 (saturated) = 0x7e, -50 -> -48 = 0xe4 (ties to even).
  EXPECT_EQ(q.bytes, (std::vector<uint8_t>{0, 0x30, 0x38, 0x7e, 0xe4}));
  ExpectNear(Run1("Dequantize", {q, s}, {5}, e4m3, DType::kFloat32, "slipway"),
             {0, 1, 2, 896, -96});
  const Attributes open{{"kind", std::string("float8e5m2")}, {"saturate", int64_t{0}}};
  EXPECT_EQ(Run1("Quantize", {F({1}, {1e6f}), s}, {1}, open, DType::kFloat8E5M2, "slipway").bytes,
            (std::vector<uint8_t>{0x7c}));
  const Attributes fp4{{"kind", std::string("float4e2m1")}, {"bits", int64_t{4}}};
  const T f =
      Run1("Quantize", {F({3}, {1, 2, -100}), F({}, {1})}, {3}, fp4, DType::kFloat4E2M1, "slipway");
  EXPECT_EQ(f.bytes, (std::vector<uint8_t>{0x42, 0x0f}));
  ExpectNear(Run1("Dequantize", {f, F({}, {1})}, {3}, fp4, DType::kFloat32, "slipway"), {1, 2, -6});
}

TEST(Quantize, Precision) {
  const T x = F({1}, {2051}), s = F({}, {1});  // float16 has 2050 and 2052
  const Attributes wide{{"bits", int64_t{16}}};
  EXPECT_EQ(Run1("Quantize", {x, s}, {1}, wide, DType::kInt16, "slipway").As<int16_t>()[0], 2051);
  const Attributes half{{"bits", int64_t{16}},
                        {"precision", static_cast<int64_t>(DType::kFloat16)}};
  EXPECT_EQ(Run1("Quantize", {x, s}, {1}, half, DType::kInt16, "slipway").As<int16_t>()[0], 2052);
}

TEST(Quantize, PerAxisAndGroups) {
  const T x = F({2, 3}, {1, 2, 3, 4, 5, 6});
  const Attributes axis0{{"axis", int64_t{0}}};
  EXPECT_EQ(
      Run1("Quantize", {x, F({2}, {1, 2}), S8({2}, {0, 1})}, {2, 3}, axis0, DType::kInt8, "slipway")
          .As<int8_t>(),
      (std::vector<int8_t>{1, 2, 3, 3, 3, 4}));
  EXPECT_EQ(
      Run1("Quantize", {x, F({3}, {1, 2, 3})}, {2, 3}, {}, DType::kInt8, "slipway").As<int8_t>(),
      (std::vector<int8_t>{1, 1, 1, 4, 2, 2}));
  // Groups of 2 along axis 1: scales [2, 2]; the last group is short.
  const Attributes group{{"group", int64_t{2}}};
  const T scale = F({2, 2}, {1, 3, 2, 6});
  const T q = Run1("Quantize", {x, scale}, {2, 3}, group, DType::kInt8, "slipway");
  EXPECT_EQ(q.As<int8_t>(), (std::vector<int8_t>{1, 2, 1, 2, 2, 1}));
  ExpectNear(Run1("Dequantize", {q, scale}, {2, 3}, group, DType::kFloat32, "slipway"),
             {1, 2, 3, 4, 4, 6});
  // Groups along axis 0 of [3, 2].
  const Attributes down{{"group", int64_t{2}}, {"axis", int64_t{0}}};
  ExpectNear(Run1("Dequantize", {S8({3, 2}, {1, 1, 1, 1, 1, 1}), F({2, 2}, {1, 2, 3, 4})}, {3, 2},
                  down, DType::kFloat32, "slipway"),
             {1, 2, 1, 2, 3, 4});
  RunError("Quantize", {x, F({2}, {1, 2})}, {2, 3}, {}, DType::kInt8, "slipway");
}

TEST(Quantize, DequantizeBiasAndTypes) {
  ExpectNear(Run1("Dequantize", {I32({2}, {-100000, 7}), F({2}, {0.5f, 2})}, {2},
                  {{"bits", int64_t{32}}, {"axis", int64_t{0}}}, DType::kFloat32, "slipway"),
             {-50000, 14});
  ExpectNear(Run1("Dequantize", {U8({2}, {3, 255}), F({}, {0.5f}), U8({}, {5})}, {2}, kUnsigned,
                  DType::kFloat32, "slipway"),
             {-1, 125});
}

TEST(Quantize, WrongParametersAreRefused) {
  const T x = F({2}, {1, 2}), s = F({}, {0.5f});
  auto refuse = [&](const T& scale, const Attributes& a, DType y = DType::kInt8) {
    return RunError("Quantize", {x, scale}, {2}, a, y, "slipway");
  };
  refuse(F({}, {0}), {});
  refuse(F({}, {-1}), {});
  refuse(F({}, {std::nanf("")}), {});
  EXPECT_NE(refuse(s, {{"bits", int64_t{17}}}).find("17"), std::string::npos);
  refuse(s, {{"bits", int64_t{0}}});
  refuse(s, {{"bits", int64_t{32}}});
  refuse(s, {{"kind", "float"}});
  refuse(s, {{"rounding", "up"}});
  refuse(s, {{"group", int64_t{-1}}});
  refuse(s, {{"bits", int64_t{16}}});  // int8 cannot hold it
  refuse(s, kUnsigned);                // neither can it hold unsigned codes
  refuse(F({}, {0.3f}), {{"kind", "power_of_two"}});
  refuse(s, {{"kind", "logarithmic"}, {"signed", int64_t{0}}}, DType::kUInt8);
  EXPECT_NE(RunError("Quantize", {x, s, S8({}, {100})}, {2}, {{"bits", int64_t{4}}}, DType::kInt8,
                     "slipway")
                .find("zero_point"),
            std::string::npos);
}

TEST(Quantize, Logarithmic) {
  const LogLevels levels(8, 4.0);
  EXPECT_EQ(levels.z, 32 - 127);
  EXPECT_EQ(levels.Encode(4.0), 127);
  EXPECT_EQ(levels.Decode(127), 4.0);
  EXPECT_EQ(levels.Encode(100), 127);
  EXPECT_EQ(levels.Decode(levels.Encode(-4.0)), -4.0);
  EXPECT_EQ(levels.Decode(levels.Encode(0)), 0);
  EXPECT_EQ(levels.Decode(levels.Encode(std::nan(""))), 0);
  EXPECT_EQ(levels.Encode(1e-9), -128);
  for (int code = -128; code < 128; ++code) EXPECT_EQ(levels.Encode(levels.Decode(code)), code);
  for (double x = 0.05; x < 4; x *= 1.013) {  // half a step of 1/16 octave
    EXPECT_NEAR(levels.Decode(levels.Encode(x)) / x, 1, 0.0222) << x;
    EXPECT_NEAR(levels.Decode(levels.Encode(-x)) / -x, 1, 0.0222) << x;
  }
  for (int bits = 2; bits <= 8; ++bits) {
    const LogLevels l(bits, 1.0);
    for (int code = -(1 << (bits - 1)); code < (1 << (bits - 1)); ++code)
      EXPECT_EQ(l.Encode(l.Decode(code)), code) << bits;
  }
  const Attributes log{{"kind", "logarithmic"}};
  const T q = Run1("Quantize", {F({3}, {4, -2, 0}), F({}, {4})}, {3}, log, DType::kInt8, "slipway");
  EXPECT_EQ(q.As<int8_t>(), (std::vector<int8_t>{127, 111 - 128, -128}));
  ExpectNear(Run1("Dequantize", {q, F({}, {4})}, {3}, log, DType::kFloat32, "slipway"), {4, -2, 0});
}

TEST(Quantize, Bipolar) {
  const Attributes a{{"kind", "bipolar"}, {"bits", int64_t{1}}};
  const T x = F({5}, {-3, -0.0f, 0, 1e-40f, NAN}), s = F({}, {0.25f});
  const T q = Run1("Quantize", {x, s}, {5}, a, DType::kInt8, "slipway");
  EXPECT_EQ(q.As<int8_t>(), (std::vector<int8_t>{-1, 1, 1, 1, -1}));
  EXPECT_EQ(Run1("Dequantize", {q, s}, {5}, a, DType::kFloat32, "slipway").As<float>(),
            (std::vector<float>{-0.25f, 0.25f, 0.25f, 0.25f, -0.25f}));
  const Attributes two{{"kind", "bipolar"}, {"bits", int64_t{2}}};
  EXPECT_NE(RunError("Quantize", {x, s}, {5}, two, DType::kInt8, "slipway")
                .find("bipolar codes have one bit"),
            std::string::npos);
}

TEST(QConv, BitExactContract) {
  // 1x1, two channels; x zero point 128, so that x - zp = {-28, 72}.
  const T x = U8({1, 2, 1, 1}, {100, 200}), w = S8({2, 2, 1, 1}, {127, 1, -128, 3}),
          m = F({2}, {0.01f, 0.02f});
  const Attributes a{{"x_zero_point", int64_t{128}},
                     {"y_zero_point", int64_t{10}},
                     {"to", int64_t{2}},
                     {"q_min", int64_t{0}},
                     {"q_max", int64_t{255}}};
  const float v0 = static_cast<float>(-28 * 127 + 72 + 1000) * 0.01f,
              v1 = static_cast<float>(28 * 128 + 216 - 7) * 0.02f;
  const T bias = I32({2}, {1000, -7});
  EXPECT_EQ(Run1("QConv", {x, w, m, bias}, {1, 2, 1, 1}, a, DType::kUInt8, "slipway").As<uint8_t>(),
            (std::vector<uint8_t>{static_cast<uint8_t>(std::max(0.0f, std::nearbyint(v0) + 10)),
                                  static_cast<uint8_t>(std::nearbyint(v1) + 10)}));
  Attributes f = a;
  f.Set("to", int64_t{1});
  EXPECT_EQ(Run1("QConv", {x, w, m, bias}, {1, 2, 1, 1}, f, DType::kFloat32, "slipway").As<float>(),
            (std::vector<float>{v0, v1}));
  f.Set("z_multiplier", 0.3f);
  f.Set("z_zero_point", int64_t{-3});
  const T z = S8({1, 2, 1, 1}, {5, -128});
  EXPECT_EQ(
      Run1("QConv", {x, w, m, bias, z}, {1, 2, 1, 1}, f, DType::kFloat32, "slipway").As<float>(),
      (std::vector<float>{std::fma(8.0f, 0.3f, v0), std::fma(-125.0f, 0.3f, v1)}));
  Attributes bad = a;
  bad.Set("x_zero_point", int64_t{300});
  EXPECT_NE(RunError("QConv", {x, w, m}, {1, 2, 1, 1}, bad, DType::kUInt8, "slipway")
                .find("x_zero_point"),
            std::string::npos);
  bad = a;
  bad.Set("q_max", int64_t{256});
  RunError("QConv", {x, w, m}, {1, 2, 1, 1}, bad, DType::kUInt8, "slipway");
  RunError("QConv", {x, w, m}, {1, 2, 1, 1}, a, DType::kInt8, "slipway");
  RunError("QConv", {x, w, F({3}, {1, 1, 1})}, {1, 2, 1, 1}, a, DType::kUInt8, "slipway");
}

TEST(QConv, PaddingIsTheZeroPoint) {
  const Attributes a{{"pads", Ints{1, 1}}, {"x_zero_point", int64_t{7}}, {"to", int64_t{1}}};
  const T y = Run1("QConv", {S8({1, 1, 2}, {8, 9}), S8({1, 1, 3}, {1, 2, 3}), F({1}, {1})},
                   {1, 1, 2}, a, DType::kFloat32, "slipway");
  ExpectNear(y, {1 * 2 + 2 * 3, 1 * 1 + 2 * 2});
}

TEST(QConv, AgreesWithFloatConvOnExactValues) {
  std::mt19937 rng(3);
  std::vector<int8_t> xq(2 * 6 * 9 * 8), wq(8 * 3 * 3 * 2);
  for (auto& v : xq) v = static_cast<int8_t>(rng());
  for (auto& v : wq) v = static_cast<int8_t>(rng());
  const std::vector<float> xf(xq.begin(), xq.end()), wf(wq.begin(), wq.end());
  const Attributes a{{"group", int64_t{2}},
                     {"pads", Ints{1, 0, 2, 1}},
                     {"strides", Ints{2, 1}},
                     {"dilations", Ints{1, 2}},
                     {"to", int64_t{1}}};
  const Dims y{2, 8, 5, 7};
  const T q = Run1("QConv", {S8({2, 6, 9, 8}, xq), S8({8, 3, 3, 2}, wq), F({1}, {1})}, y, a,
                   DType::kFloat32, "slipway");
  EXPECT_EQ(q.As<float>(),
            Run1("Conv", {F({2, 6, 9, 8}, xf), F({8, 3, 3, 2}, wf)}, y, a).As<float>());
}

TEST(QLinear, BothLayoutsAndWrap) {
  const T x = U8({1, 2, 2}, {1, 2, 3, 4}), m = F({1}, {0.5f});
  const Attributes a{{"to", int64_t{3}}};
  EXPECT_EQ(Run1("QLinear", {x, S8({2, 3}, {1, 0, 2, 0, 1, 3}), m, I32({3}, {0, 10, -1})},
                 {1, 2, 3}, a, DType::kInt8, "slipway")
                .As<int8_t>(),
            (std::vector<int8_t>{0, 6, 4, 2, 7, 8}));
  EXPECT_EQ(Run1("QLinear", {x, S8({3, 2}, {1, 0, 0, 1, 2, 3}), m, I32({3}, {0, 10, -1})},
                 {1, 2, 3}, {{"to", int64_t{3}}, {"transW", int64_t{1}}}, DType::kInt8, "slipway")
                .As<int8_t>(),
            (std::vector<int8_t>{0, 6, 4, 2, 7, 8}));
  // acc + bias wraps modulo 2^32 instead of overflowing.
  const T y = Run1("QLinear",
                   {U8({1, 1}, {1}), S8({1, 1}, {1}), F({1}, {1}),
                    I32({1}, {std::numeric_limits<int32_t>::max()})},
                   {1, 1}, {{"to", int64_t{1}}}, DType::kFloat32, "slipway");
  EXPECT_EQ(y.As<float>()[0], -0x1p31f);
}

TEST(QElementwise, AddMulRescaleLookup) {
  const Attributes add{{"a_multiplier", 0.7f},
                       {"a_zero_point", int64_t{3}},
                       {"b_multiplier", 1.3f},
                       {"b_zero_point", int64_t{-2}},
                       {"to", int64_t{1}}};
  const T a = S8({2, 2}, {1, -128, 127, 3}), b = S8({2}, {5, -7});
  std::vector<float> want;
  for (auto [p, q] : std::vector<std::pair<int, int>>{{-2, 7}, {-131, -5}, {124, 7}, {0, -5}}) {
    want.push_back(std::fma(static_cast<float>(p), 0.7f, static_cast<float>(q) * 1.3f));
  }
  EXPECT_EQ(Run1("QAdd", {a, b}, {2, 2}, add, DType::kFloat32, "slipway").As<float>(), want);
  Attributes codes = add;
  codes.Set("to", int64_t{3});
  codes.Set("y_zero_point", int64_t{1});
  const auto y = Run1("QAdd", {a, b}, {2, 2}, codes, DType::kInt8, "slipway").As<int8_t>();
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(y[i], Requantize(want[i], 1, -128, 127));
  EXPECT_EQ(Run1("QMul", {U8({2}, {255, 0}), S8({1}, {-128})}, {2},
                 {{"multiplier", 0.001f}, {"a_zero_point", int64_t{5}}, {"to", int64_t{1}}},
                 DType::kFloat32, "slipway")
                .As<float>(),
            (std::vector<float>{static_cast<float>(250 * -128) * 0.001f,
                                static_cast<float>(5 * 128) * 0.001f}));
  EXPECT_EQ(Run1("QRescale", {U8({3}, {0, 4, 255})}, {3},
                 {{"multiplier", 0.5f}, {"x_zero_point", int64_t{3}}, {"to", int64_t{3}}},
                 DType::kInt8, "slipway")
                .As<int8_t>(),
            (std::vector<int8_t>{-2, 0, 126}));  // -1.5 and 0.5: ties to even
  std::vector<int8_t> table(256);
  for (int i = 0; i < 256; ++i) table[static_cast<size_t>(i)] = static_cast<int8_t>(255 - i);
  EXPECT_EQ(
      Run1("QLookup", {S8({3}, {0, -1, 127}), S8({256}, table)}, {3}, {}, DType::kInt8, "slipway")
          .As<int8_t>(),
      (std::vector<int8_t>{-1, 0, -128}));
  RunError("QLookup", {S8({1}, {0}), S8({2}, {0, 1})}, {1}, {}, DType::kInt8, "slipway");
  // A table a channel: the second one gives the code itself.
  for (int i = 0; i < 256; ++i) table.push_back(static_cast<int8_t>(i));
  EXPECT_EQ(Run1("QLookup", {S8({1, 2, 2}, {0, 1, 2, -3}), S8({2, 256}, table)}, {1, 2, 2},
                 {{"axis", int64_t{1}}}, DType::kInt8, "slipway")
                .As<int8_t>(),
            (std::vector<int8_t>{-1, -2, 2, -3}));
  EXPECT_EQ(Run1("QLookup", {S8({2, 2}, {0, 1, 2, -3}), S8({2, 256}, table)}, {2, 2}, {},
                 DType::kInt8, "slipway")
                .As<int8_t>(),
            (std::vector<int8_t>{-1, 1, -3, -3}));
  RunError("QLookup", {S8({1, 3}, {0, 0, 0}), S8({2, 256}, table)}, {1, 3}, {}, DType::kInt8,
           "slipway");
  RunError("QLookup", {S8({2}, {0, 0}), S8({2, 256}, table)}, {2}, {{"axis", int64_t{1}}},
           DType::kInt8, "slipway");
}

TEST(QElementwise, AveragePool) {
  const T x = U8({1, 1, 2, 3}, {10, 20, 30, 40, 50, 60});
  const Attributes global{{"global", int64_t{1}},
                          {"multiplier", 1.0f},
                          {"x_zero_point", int64_t{10}},
                          {"to", int64_t{1}}};
  EXPECT_EQ(
      Run1("QAveragePool", {x}, {1, 1, 1, 1}, global, DType::kFloat32, "slipway").As<float>()[0],
      150.0f * (1.0f / 6.0f));
  const Attributes padded{{"kernel_shape", Ints{2, 2}},
                          {"strides", Ints{2, 2}},
                          {"pads", Ints{0, 1, 0, 0}},
                          {"multiplier", 1.0f},
                          {"to", int64_t{1}}};
  EXPECT_EQ(Run1("QAveragePool", {x}, {1, 1, 1, 2}, padded, DType::kFloat32, "slipway").As<float>(),
            (std::vector<float>{25, 40}));
  Attributes include = padded;
  include.Set("count_include_pad", int64_t{1});
  EXPECT_EQ(
      Run1("QAveragePool", {x}, {1, 1, 1, 2}, include, DType::kFloat32, "slipway").As<float>(),
      (std::vector<float>{12.5f, 40}));
}

// Three pointers each.
bool Same(const Kernel& a, const Kernel& b) { return std::memcmp(&a, &b, sizeof(Kernel)) == 0; }

TEST(Kernels, TableIsCompleteAndFindable) {
  EXPECT_GE(Kernels().size(), 119u);
  for (const KernelEntry& e : Kernels()) {
    ASSERT_NE(e.kernel, nullptr);
    EXPECT_TRUE(Same(FindKernel(e.domain, e.name), e.kernel)) << e.name;
  }
  EXPECT_FALSE(FindKernel("", "Nothing"));
  EXPECT_FALSE(Same(FindKernel("", "Conv"), FindKernel("slipway", "Conv")));
  EXPECT_FALSE(FindKernel("other", "Conv"));
}

// Weights that float32 holds exactly: the sums of Resize, then the rounding of the contract.
TEST(QElementwise, Resize) {
  std::vector<uint8_t> codes(3 * 4 * 5);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i * i * 37 % 256);
  const T x = U8({1, 3, 4, 5}, codes), scales = F({4}, {1, 1, 2, 4}), no = T();
  std::vector<float> floats;
  for (const uint8_t c : codes) floats.push_back(static_cast<float>(c - 100));
  for (const char* mode : {"linear", "cubic", "nearest"}) {
    Attributes a{{"mode", std::string(mode)}};
    const auto want =
        Run1("Resize", {F({1, 3, 4, 5}, floats), no, scales}, {1, 3, 8, 20}, a).As<float>();
    a.Set("x_zero_point", int64_t{100});
    a.Set("y_zero_point", int64_t{-3});
    a.Set("q_min", int64_t{-90});
    a.Set("multiplier", 0.75f);
    const auto y =
        Run1("QResize", {x, no, scales}, {1, 3, 8, 20}, a, DType::kInt8, "slipway").As<int8_t>();
    const bool exact = std::string(mode) != "cubic";  // whose weights take more bits
    for (size_t i = 0; i < y.size() && exact; ++i)
      ASSERT_EQ(y[i], Requantize(want[i] * 0.75f, -3, -90, 127)) << mode << " " << i;
    a.Set("to", int64_t{1});
    const auto v =
        Run1("QResize", {x, no, scales}, {1, 3, 8, 20}, a, DType::kFloat32, "slipway").As<float>();
    for (size_t i = 0; i < v.size(); ++i)
      ASSERT_NEAR(v[i], want[i] * 0.75f, exact ? 0 : 1e-4f) << mode << " " << i;
  }
  RunError("QResize", {x, no, scales}, {1, 3, 8, 20},
           {{"coordinate_transformation_mode", std::string("tf_crop_and_resize")}}, DType::kInt8,
           "slipway");
}

}  // namespace
}  // namespace slipway::ops
