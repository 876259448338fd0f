#pragma once
// What integer products with constant weights have in common, convolutions (qconv.cc) and linear
// layers (qgemm.cc): their weights as the kernels want them, and how their calls are shared out.

#include <cstdint>
#include <memory>
#include <vector>

#include "base/aligned.h"
#include "base/status.h"
#include "engine/backends/x86/run/step.h"
#include "engine/kernels/qgemm/qgemm.h"

namespace slipway::backends::x86 {

// Weights, bias and multipliers in one buffer, shared by the sessions of a package: the blocks of
// every group, then [blocks][16] int32, then [blocks][16] float32. The layout depends on shapes
// only.
struct QWeights {
  AlignedBuffer data;
  int64_t blocks = 0, bias_at = 0, multiplier_at = 0;

  const int8_t* weights() const { return reinterpret_cast<const int8_t*>(data.data()); }
  const int32_t* bias() const { return reinterpret_cast<const int32_t*>(data.data() + bias_at); }
  const float* multiplier() const {
    return reinterpret_cast<const float*>(data.data() + multiplier_at);
  }
};

// What the product is made of beside the rows; the same for convolutions and linear layers.
struct QProduct {
  std::shared_ptr<const QWeights> packed;  // null in a probe
  kernels::QGemmCall call;                 // pointers of a run left out
  bool residual = false;
};

// Reads multiplier, bias, residual, activation and output of the node; `channels` columns in all.
Result<QProduct> ReadQProduct(Builder& b, int64_t channels);

// Packs the node's constant weights: that of column n of a group and code k of a row lies at
// (group * columns + n) * column_stride + order[k], and is 0 where order[k] < 0. x_zero: the zero
// point of the codes that the rows hold.
Result<std::shared_ptr<const QWeights>> PackQWeights(Builder& b, int64_t groups, int64_t columns,
                                                     int64_t column_stride,
                                                     const std::vector<int64_t>& order,
                                                     int32_t x_zero);

}  // namespace slipway::backends::x86
