#pragma once
// What the integer operators share: how a real value becomes an output element, read from a node's
// attributes.

#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

#include "base/dtype.h"
#include "base/status.h"
#include "model/ops/attributes.h"
#include "model/ops/kernel.h"
#include "model/ops/quantize.h"
#include "model/ops/window.h"

namespace slipway::ops {

struct Requantizer {
  int32_t zero_point = 0, lo = 0, hi = 0;

  // float: v itself, unrounded.
  template <typename Y>
  Y Convert(float v) const {
    if constexpr (std::is_same_v<Y, float>) {
      return v;
    } else {
      return static_cast<Y>(Requantize(v, zero_point, lo, hi));
    }
  }
};

// From `to`, `y_zero_point`, `q_min`, `q_max`. InvalidArgument: they do not fit the output's
// element type y. Unsupported: y is not float32 and no code of 8 bits (`wide`: of 8 or 16).
Result<Requantizer> MakeRequantizer(const Attributes& attributes, DType y, bool wide = false);
// How a float32 input is rounded to codes on the way: clamp(round_half_even(v / scale) +
// zero_point, lo, hi).
struct InputRounding {
  float scale = 0;
  Requantizer to;
};
// From `x_scale`, `x_zero_point`, `x_q_min`, `x_q_max`. InvalidArgument: no codes of 8 bits.
Result<InputRounding> ReadInputRounding(const Attributes& attributes);
// What QLayerNorm rounds.
struct NormRounding {
  Requantizer to, v_to;
  float scale = 1, v_scale = 0, epsilon = 0;  // v_scale 0: the variance is not rounded

  // sqrt of the variance, as rounded, plus epsilon.
  float Deviation(float variance) const {
    if (v_scale > 0)
      variance =
          static_cast<float>(v_to.Convert<int32_t>(variance / v_scale) - v_to.zero_point) * v_scale;
    return std::sqrt(variance + epsilon);
  }
};
// InvalidArgument: attributes that do not fit each other or the output's element type y.
Result<NormRounding> ReadNormRounding(const Attributes& attributes, DType y);
// The zero point attribute `name`, which must be a code of the type (int8 or uint8; `wide`: int16
// or uint16 too).
Result<int32_t> ReadZeroPoint(const Attributes& attributes, std::string_view name, DType codes,
                              bool wide = false);

inline bool IsWideCode(DType t) { return t == DType::kInt16 || t == DType::kUInt16; }
// The least and the largest number of a type of codes: 8 bits, `wide`: or 16. nullopt: no such
// type.
struct CodeLimits {
  int64_t lo, hi;
};
std::optional<CodeLimits> LimitsOf(DType codes, bool wide = false);
// QConv and QLinear where X, Y or the residual has codes of 16 bits, once their operands and
// extents are checked. Sums are exact below 2^53.
Status WideQConv(const OpContext& c, const Window& window);
Status WideQLinear(const OpContext& c);

}  // namespace slipway::ops
