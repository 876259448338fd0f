#pragma once
// Integer codes: their ranges, rounding and the requantization step of the integer contract
// (operators.inc).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/dtype.h"
#include "base/status.h"
#include "model/ops/attributes.h"

namespace slipway::ops {

struct CodeRange {
  int32_t lo = 0, hi = 0;
};
// bits 1..16: [-2^(bits-1), 2^(bits-1)-1] when signed (narrow: without the lowest), else [0,
// 2^bits-1]. One signed bit stands for the codes -1 and 0, narrow included (dropping the lowest
// would leave one code).
inline CodeRange RangeOf(int bits, bool is_signed, bool narrow) {
  if (!is_signed) return {0, (1 << bits) - 1};
  const int32_t half = 1 << (bits - 1);
  return {narrow && bits > 1 ? 1 - half : -half, half - 1};
}

// The integer nearest to v, ties to even, for |v| < 2^22: adding 1.5 * 2^23 leaves no fraction
// bits. Equal to std::nearbyint there.
inline float RoundHalfEven(float v) {
  constexpr float kMagic = 12582912.0f;
  return (v + kMagic) - kMagic;
}

// clamp(round_half_even(v) + zero_point, lo, hi) for lo, hi and zero_point of at most 17 bits; NaN
// becomes lo. Clamping first is the same, because the bounds are integers, and keeps the conversion
// in range.
inline int32_t Requantize(float v, int32_t zero_point, int32_t lo, int32_t hi) {
  const float low = static_cast<float>(lo - zero_point), high = static_cast<float>(hi - zero_point);
  v = v > low ? v : low;
  v = v < high ? v : high;
  return static_cast<int32_t>(RoundHalfEven(v)) + zero_point;
}

// kSmallFloat: codes are elements of an 8- or 4-bit floating-point type (QuantParams::code_type).
enum class QuantKind : uint8_t { kAffine = 0, kPowerOfTwo = 1, kLogarithmic = 2, kSmallFloat = 3, kBipolar = 4 };
enum class QuantRounding : uint8_t {
  kHalfEven = 0,
  kHalfAway = 1,
  kHalfUp = 2,
  kHalfToZero = 3,
  kCeil = 4,
  kFloor = 5,
  kToZero = 6,
  kFromZero = 7,
};

// The names of the `rounding` attribute, in the order of QuantRounding.
inline constexpr std::string_view kRoundingNames[] = {
    "half_even", "half_away", "half_up", "half_to_zero", "ceil", "floor", "to_zero", "from_zero"};
std::optional<QuantRounding> RoundingFromName(std::string_view name);
// The element type that the kind `name` of Quantize and Dequantize stands for (float8e4m3fn, ...,
// float4e2m1); kUndefined when it is another kind.
DType SmallFloatKind(std::string_view name);

inline double RoundBy(double v, QuantRounding rounding) {
  switch (rounding) {
    case QuantRounding::kHalfEven:
      return std::nearbyint(v);
    case QuantRounding::kHalfAway:
      return std::round(v);
    case QuantRounding::kHalfUp:
      return std::floor(v + 0.5);
    case QuantRounding::kHalfToZero:
      return std::copysign(std::ceil(std::fabs(v) - 0.5), v);
    case QuantRounding::kCeil:
      return std::ceil(v);
    case QuantRounding::kFloor:
      return std::floor(v);
    case QuantRounding::kToZero:
      return std::trunc(v);
    case QuantRounding::kFromZero:
      return std::copysign(std::ceil(std::fabs(v)), v);
  }
  return v;
}

// The attributes of Quantize and Dequantize, checked.
struct QuantParams {
  int bits = 8;
  bool is_signed = true, narrow = false;
  QuantKind kind = QuantKind::kAffine;
  QuantRounding rounding = QuantRounding::kHalfEven;
  int64_t axis = 1, group = 0;
  CodeRange range;
  // The zero point is added before rounding, which matters to all but ceil and floor (QONNX does
  // so).
  bool zero_first = false;
  DType code_type = DType::kUndefined;  // kSmallFloat only
  bool saturate = true;                 // kSmallFloat only
  // The type in which x is divided by the scale: float16 or bfloat16; kUndefined = float32.
  DType precision = DType::kUndefined;
};
// InvalidArgument: bits outside 1..16 (32 is allowed for Dequantize: max_bits), an unknown kind,
// rounding or precision, logarithmic codes that are unsigned or wider than 8 bits.
Result<QuantParams> ParseQuant(const Attributes& attributes, int max_bits = 16);

// Logarithmic codes (the nnie row of QUANTIZATION.md, carried over to other widths). `scale` is the
// largest magnitude `max`. With s = 2^(bits-4) steps an octave (at least 1; 16 for 8 bits) and L =
// 2^(bits-1) - 1 the level k in [0, L] stands for 2^((k + z) / s), z = round(s * log2(max)) - L. A
// code keeps k in its low bits and the sign in bit (bits-1); "minus level 0" (code -2^(bits-1) of
// the two's complement integer) stands for zero, so negative values have the levels 1..L.
struct LogLevels {
  int bits, steps, top;
  double z;

  LogLevels(int bits_in, double max) : bits(bits_in) {
    steps = bits >= 4 ? 1 << (bits - 4) : 1;
    top = (1 << (bits - 1)) - 1;
    z = std::nearbyint(steps * std::log2(max)) - top;
  }
  int32_t zero_code() const { return -(top + 1); }
  double Magnitude(int level) const { return std::exp2((level + z) / steps); }
  // Rounds in the logarithmic domain; magnitudes nearer to zero than to the lowest level become
  // zero. NaN becomes zero.
  int32_t Encode(double x) const {
    const double magnitude = std::fabs(x);
    const int lowest = x < 0 ? 1 : 0;
    if (!(magnitude >= 0.5 * Magnitude(lowest))) return zero_code();
    const double level = std::nearbyint(steps * std::log2(magnitude)) - z;
    const int32_t k = static_cast<int32_t>(std::clamp(level, double(lowest), double(top)));
    return x < 0 ? k + zero_code() : k;
  }
  double Decode(int32_t code) const {
    if (code == zero_code()) return 0;
    return code >= 0 ? Magnitude(code) : -Magnitude(code - zero_code());
  }
};

}  // namespace slipway::ops
