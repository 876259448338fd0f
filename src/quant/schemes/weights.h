#pragma once
// A layer's weights as integer codes.

#include <string>

#include "base/status.h"
#include "engine/compiler/platform.h"
#include "model/ir/graph.h"

namespace slipway::quant {

// Codes, scales and zero points of constant weights, as Dequantize (model/ops/operators.inc) reads
// them, with its attributes.
struct WeightCodes {
  ir::Tensor codes, scales;
  ir::Tensor zero_points;  // of the codes' type and the scales' shape; without elements: all 0
  bool has_zero_points = false;
  ir::Attributes attributes;
};

// `axis` counts output channels (-1: per channel becomes per tensor), `group_axis` inputs: scales
// per group lie along it, and are per channel where it is -1. Scheme and rounding as of the
// platform; one bit means the signs, scaled by the mean magnitude (XNOR-Net, Rastegari et al.,
// 2016). InvalidArgument: weights that are not finite.
Result<WeightCodes> CodesForWeights(const ir::Tensor& weights, const compiler::TensorScheme& scheme,
                                    const std::string& rounding, int axis, int group_axis);

// The type that holds codes of so many bits.
DType CodeType(int bits, bool is_signed);
// One code.
Result<ir::Tensor> CodeScalar(DType type, int64_t value);
ir::Attributes QuantAttributes(const compiler::TensorScheme& scheme, const std::string& rounding,
                               bool is_signed, int64_t axis);

}  // namespace slipway::quant
