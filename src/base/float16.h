#pragma once
// The short floating-point types: float16, bfloat16, the FP8 family, FP4 and the power-of-two E8M0.
// All encoders take a double, so that every source type is rounded once, to nearest even (IEEE 754;
// OCP FP8 and MX formats; ONNX Cast's table for infinities and saturation).

#include <bit>
#include <cmath>
#include <cstdint>

#include "base/dtype.h"

namespace slipway {
namespace detail {

// 2^e for -1022 <= e <= 1023.
inline double PowerOfTwo(int e) {
  return std::bit_cast<double>(static_cast<uint64_t>(e + 1023) << 52);
}

// The code of |x| (finite) with `mantissa` bits and `bias`, rounded to nearest even, without a
// bound: the caller compares it with the largest finite code. Subnormals come out by themselves.
inline uint32_t EncodeMagnitude(double magnitude, int mantissa, int bias) {
  if (magnitude == 0) return 0;
  const int exponent_of = static_cast<int>(std::bit_cast<uint64_t>(magnitude) >> 52) - 1023;
  int e = exponent_of < 1 - bias ? 1 - bias : exponent_of;
  if (e > bias + 1) e = bias + 1;  // far too large: any code over the largest will do
  const double scaled = magnitude * PowerOfTwo(mantissa - e);  // exact, or beyond every code
  const double limit = PowerOfTwo(mantissa + 1);
  const uint32_t q = static_cast<uint32_t>(std::nearbyint(scaled < limit ? scaled : limit));
  return (static_cast<uint32_t>(e + bias - 1) << mantissa) + q;
}

inline float DecodeMagnitude(uint32_t code, int mantissa, int bias) {
  const int exponent = static_cast<int>(code >> mantissa);
  const uint32_t fraction = code & ((1u << mantissa) - 1);
  const uint32_t significand = exponent == 0 ? fraction : fraction | (1u << mantissa);
  const int e = (exponent == 0 ? 1 : exponent) - bias - mantissa;
  return static_cast<float>(significand * PowerOfTwo(e));
}

}  // namespace detail

struct Float16 {
  uint16_t bits = 0;
  Float16() = default;
  explicit Float16(double x) {
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    if (std::isnan(x)) {
      bits = sign | 0x7e00;
    } else {
      const double magnitude = std::fabs(x);
      const uint32_t code =
          magnitude >= 65520.0 ? 0x7c00 : detail::EncodeMagnitude(magnitude, 10, 15);
      bits = static_cast<uint16_t>(sign | code);
    }
  }
  static Float16 FromBits(uint16_t b) {
    Float16 h;
    h.bits = b;
    return h;
  }
  operator float() const {  // NOLINT: every half is a float
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 31, fraction = bits & 0x3ffu;
    uint32_t r;
    if (exponent == 31) {
      r = 0x7f800000u | fraction << 13;
    } else if (exponent != 0) {
      r = (exponent + 112) << 23 | fraction << 13;
    } else {
      r = std::bit_cast<uint32_t>(static_cast<float>(fraction) * 0x1p-24f);
    }
    return std::bit_cast<float>(sign | r);
  }
};

struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(double x) {
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    if (std::isnan(x)) {
      bits = sign | 0x7fc0;
    } else if (std::isinf(x)) {
      bits = sign | 0x7f80;
    } else {
      const uint32_t code = detail::EncodeMagnitude(std::fabs(x), 7, 127);
      bits = static_cast<uint16_t>(sign | (code < 0x7f80 ? code : 0x7f80));
    }
  }
  static BFloat16 FromBits(uint16_t b) {
    BFloat16 h;
    h.bits = b;
    return h;
  }
  operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }  // NOLINT
};

template <>
struct DTypeOf<Float16> {
  static constexpr DType value = DType::kFloat16;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::kBFloat16;
};

enum class E8M0Rounding { kUp, kDown, kNearest };

// One element of float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz, float8e8m0 or (low 4
// bits) float4e2m1. Other types decode to 0 and encode to 0.
inline float DecodeFloat8(DType t, uint8_t code) {
  const float sign = code & 0x80 ? -1.0f : 1.0f;
  const uint32_t magnitude = code & 0x7f;
  switch (t) {
    case DType::kFloat8E4M3FN:
      return magnitude == 0x7f ? std::nanf("") : sign * detail::DecodeMagnitude(magnitude, 3, 7);
    case DType::kFloat8E4M3FNUZ:
      return code == 0x80 ? std::nanf("") : sign * detail::DecodeMagnitude(magnitude, 3, 8);
    case DType::kFloat8E5M2:
      if (magnitude > 0x7c) return std::nanf("");
      return magnitude == 0x7c ? sign * HUGE_VALF
                               : sign * detail::DecodeMagnitude(magnitude, 2, 15);
    case DType::kFloat8E5M2FNUZ:
      return code == 0x80 ? std::nanf("") : sign * detail::DecodeMagnitude(magnitude, 2, 16);
    case DType::kFloat4E2M1:
      return (code & 8 ? -1.0f : 1.0f) * detail::DecodeMagnitude(code & 7u, 1, 1);
    case DType::kFloat8E8M0:
      return code == 0xff ? std::nanf("") : static_cast<float>(detail::PowerOfTwo(code - 127));
    default:
      return 0;
  }
}

// saturate: what lies beyond the largest finite value becomes that value; otherwise it becomes
// infinity (E5M2) or NaN. FP4 always saturates and has no NaN (NaN becomes the largest value). E8M0
// takes the magnitude; zero becomes 2^-127.
inline uint8_t EncodeFloat8(DType t, double x, bool saturate = true,
                            E8M0Rounding rounding = E8M0Rounding::kUp) {
  if (t == DType::kFloat8E8M0) {
    if (std::isnan(x)) return 0xff;
    const double magnitude = std::fabs(x);
    if (std::isinf(x)) return saturate ? 0xfe : 0xff;
    if (magnitude < 0x1p-127) return 0;
    int e = static_cast<int>(std::bit_cast<uint64_t>(magnitude) >> 52) - 1023;
    const double low = detail::PowerOfTwo(e);
    if (rounding == E8M0Rounding::kUp && magnitude > low) ++e;
    if (rounding == E8M0Rounding::kNearest && magnitude >= 1.5 * low) ++e;
    if (e > 127) return saturate ? 0xfe : 0xff;
    return static_cast<uint8_t>(e + 127);
  }
  int mantissa, bias;
  uint32_t largest, overflow, nan, sign_bit = 0x80;
  bool unsigned_zero = false;
  switch (t) {
    case DType::kFloat8E4M3FN:
      mantissa = 3, bias = 7, largest = 0x7e, overflow = nan = 0x7f;
      break;
    case DType::kFloat8E4M3FNUZ:
      mantissa = 3, bias = 8, largest = 0x7f, overflow = nan = 0x80, unsigned_zero = true;
      break;
    case DType::kFloat8E5M2:
      mantissa = 2, bias = 15, largest = 0x7b, overflow = 0x7c, nan = 0x7f;
      break;
    case DType::kFloat8E5M2FNUZ:
      mantissa = 2, bias = 16, largest = 0x7f, overflow = nan = 0x80, unsigned_zero = true;
      break;
    case DType::kFloat4E2M1:
      mantissa = 1, bias = 1, largest = overflow = nan = 7, sign_bit = 8;
      break;
    default:
      return 0;
  }
  if (std::isnan(x)) return static_cast<uint8_t>(nan);
  const uint32_t sign = std::signbit(x) ? sign_bit : 0;
  const uint32_t code =
      std::isinf(x) ? largest + 1 : detail::EncodeMagnitude(std::fabs(x), mantissa, bias);
  if (code > largest) return static_cast<uint8_t>((saturate ? largest : overflow) | sign);
  if (code == 0 && unsigned_zero) return 0;
  return static_cast<uint8_t>(code | sign);
}

}  // namespace slipway
