#pragma once
// What the integer operators share: how a real value becomes an output element, read from a node's
// attributes.

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "base/dtype.h"
#include "base/status.h"
#include "model/ops/attributes.h"
#include "model/ops/quantize.h"

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
// element type y.
Result<Requantizer> MakeRequantizer(const Attributes& attributes, DType y);
// How a float32 input is rounded to codes on the way: clamp(round_half_even(v / scale) + zero_point,
// lo, hi).
struct InputRounding {
  float scale = 0;
  Requantizer to;
};
// From `x_scale`, `x_zero_point`, `x_q_min`, `x_q_max`. InvalidArgument: no codes of 8 bits.
Result<InputRounding> ReadInputRounding(const Attributes& attributes);
// The zero point attribute `name`, which must be a code of the type (int8 or uint8).
Result<int32_t> ReadZeroPoint(const Attributes& attributes, std::string_view name, DType codes);

}  // namespace slipway::ops
