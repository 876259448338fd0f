#include "base/float16.h"

#include <gtest/gtest.h>

#include <limits>

namespace slipway {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Float16, EveryCodeSurvives) {
  for (uint32_t b = 0; b < 65536; ++b) {
    const Float16 h = Float16::FromBits(static_cast<uint16_t>(b));
    const float f = h;
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(Float16(f))));
    } else {
      ASSERT_EQ(Float16(f).bits, b) << f;
    }
    const BFloat16 g = BFloat16::FromBits(static_cast<uint16_t>(b));
    if (!std::isnan(static_cast<float>(g))) {
      ASSERT_EQ(BFloat16(static_cast<float>(g)).bits, b);
    }
  }
}

TEST(Float16, RoundsToNearestEvenOnce) {
  EXPECT_EQ(Float16(1.0).bits, 0x3c00);
  EXPECT_EQ(Float16(-2.0).bits, 0xc000);
  EXPECT_EQ(Float16(1 + 0x1p-11).bits, 0x3c00);            // tie: to even
  EXPECT_EQ(Float16(1 + 3 * 0x1p-11).bits, 0x3c02);        // tie: to even, upwards
  EXPECT_EQ(Float16(1 + 0x1p-11 + 0x1p-40).bits, 0x3c01);  // via float32 this would be a tie
  EXPECT_EQ(Float16(65519.99).bits, 0x7bff);
  EXPECT_EQ(Float16(65520).bits, 0x7c00);
  EXPECT_EQ(Float16(1e300).bits, 0x7c00);
  EXPECT_EQ(Float16(0x1p-24).bits, 1);
  EXPECT_EQ(Float16(0x1p-25).bits, 0);
  EXPECT_EQ(Float16(0x1.8p-25).bits, 1);
  EXPECT_EQ(Float16(1e-300).bits, 0);
  EXPECT_EQ(Float16(-0.0).bits, 0x8000);
  EXPECT_TRUE(std::isnan(static_cast<float>(Float16(kNan))));
}

TEST(BFloat16, Rounds) {
  EXPECT_EQ(BFloat16(1 + 0x1p-8).bits, 0x3f80);
  EXPECT_EQ(BFloat16(1 + 3 * 0x1p-8).bits, 0x3f82);
  EXPECT_EQ(BFloat16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(BFloat16(-kInf).bits, 0xff80);
  EXPECT_EQ(BFloat16(1e300).bits, 0x7f80);
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(kNan))));
}

TEST(Float8, EveryCodeSurvives) {
  for (DType t : {DType::kFloat8E4M3FN, DType::kFloat8E4M3FNUZ, DType::kFloat8E5M2,
                  DType::kFloat8E5M2FNUZ, DType::kFloat8E8M0}) {
    for (int code = 0; code < 256; ++code) {
      const float f = DecodeFloat8(t, static_cast<uint8_t>(code));
      if (std::isnan(f)) {
        EXPECT_TRUE(std::isnan(DecodeFloat8(t, EncodeFloat8(t, f))));
      } else {
        EXPECT_EQ(EncodeFloat8(t, f, /*saturate=*/false), code) << DTypeName(t) << " " << f;
      }
    }
  }
  for (int code = 0; code < 16; ++code) {
    const float f = DecodeFloat8(DType::kFloat4E2M1, static_cast<uint8_t>(code));
    EXPECT_EQ(EncodeFloat8(DType::kFloat4E2M1, f), code);
  }
}

TEST(Float8, LimitsAndSaturation) {
  auto code = [](DType t, double x, bool saturate) { return EncodeFloat8(t, x, saturate); };
  EXPECT_EQ(DecodeFloat8(DType::kFloat8E4M3FN, 0x7e), 448);
  EXPECT_EQ(DecodeFloat8(DType::kFloat8E4M3FNUZ, 0x7f), 240);
  EXPECT_EQ(DecodeFloat8(DType::kFloat8E5M2, 0x7b), 57344);
  EXPECT_EQ(DecodeFloat8(DType::kFloat8E5M2FNUZ, 0x7f), 57344);
  EXPECT_EQ(DecodeFloat8(DType::kFloat4E2M1, 7), 6);
  EXPECT_EQ(code(DType::kFloat8E4M3FN, 1e6, true), 0x7e);
  EXPECT_EQ(code(DType::kFloat8E4M3FN, 1e6, false), 0x7f);
  EXPECT_EQ(code(DType::kFloat8E4M3FN, -kInf, true), 0xfe);
  EXPECT_EQ(code(DType::kFloat8E5M2, kInf, true), 0x7b);
  EXPECT_EQ(code(DType::kFloat8E5M2, kInf, false), 0x7c);
  EXPECT_EQ(code(DType::kFloat8E5M2FNUZ, -1e9, false), 0x80);
  EXPECT_EQ(code(DType::kFloat8E4M3FNUZ, -0.0, true), 0);
  EXPECT_EQ(code(DType::kFloat4E2M1, -100, true), 15);
  EXPECT_EQ(code(DType::kFloat4E2M1, 2.5, true), 4);  // tie between 2 and 3: even code
}

TEST(Float8, E8M0Rounds) {
  auto value = [](double x, E8M0Rounding r) {
    return DecodeFloat8(DType::kFloat8E8M0, EncodeFloat8(DType::kFloat8E8M0, x, true, r));
  };
  EXPECT_EQ(value(5, E8M0Rounding::kUp), 8);
  EXPECT_EQ(value(5, E8M0Rounding::kDown), 4);
  EXPECT_EQ(value(5, E8M0Rounding::kNearest), 4);
  EXPECT_EQ(value(6, E8M0Rounding::kNearest), 8);
  EXPECT_EQ(value(4, E8M0Rounding::kUp), 4);
  EXPECT_EQ(value(kInf, E8M0Rounding::kUp), 0x1p127f);
}

}  // namespace
}  // namespace slipway
