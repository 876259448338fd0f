#pragma once
// What integer products with constant weights have in common, convolutions (qconv.cc) and linear
// layers (qgemm.cc): their weights as the kernels want them, and how their calls are shared out.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/backends/x86/run/step.h"
#include "engine/kernels/qgemm/qgemm.h"

namespace slipway::backends::x86 {

// Weights, bias and multipliers in one buffer, shared by the sessions of a package: the blocks of
// every group, then [blocks][16] int32, then [blocks][16] float32. The layout depends on shapes
// only.
struct QWeights {
  PackedWeightsPtr packed;  // null in a probe
  int64_t blocks = 0, bias_at = 0, multiplier_at = 0;

  explicit operator bool() const { return packed != nullptr; }
  const int8_t* weights() const { return packed->as<int8_t>(); }
  const int32_t* bias() const { return reinterpret_cast<const int32_t*>(packed->data + bias_at); }
  const float* multiplier() const {
    return reinterpret_cast<const float*>(packed->data + multiplier_at);
  }
};

// What the product is made of beside the rows; the same for convolutions and linear layers.
struct QProduct {
  QWeights packed;
  kernels::QGemmCall call;  // pointers of a run left out
  bool residual = false;
  int32_t shift = 0;  // what the kernel adds to the input's codes
};

// Reads multiplier, bias, residual, activation and output of the node; `channels` columns in all.
// Attributes x_low and x_high: what the input's codes lie within, if less than its type allows.
Result<QProduct> ReadQProduct(Builder& b, int64_t channels);

// Packs the node's constant weights: that of column n of a group and code k < depth of a row lies
// at (group * columns + n) * column_stride + order()[k], and is 0 where that is negative. x_zero:
// the zero point of the codes that the rows hold. `form` names the order, which is asked for only
// when the package does not hold them packed. Bias and multipliers go with them.
Result<QWeights> PackQWeights(Builder& b, const std::string& form, int64_t groups, int64_t columns,
                              int64_t column_stride, int64_t depth,
                              const std::function<std::vector<int64_t>()>& order, int32_t x_zero,
                              const QProduct& product);

}  // namespace slipway::backends::x86
