#pragma once
// QuantizeLinear and DequantizeLinear (opset 10..25) to slipway.Quantize and slipway.Dequantize.

#include "model/frontends/onnx/upgrade.h"

namespace slipway::onnx {

Status QuantizeLinear(OldNode& node, Upgrader& upgrader);
Status DequantizeLinear(OldNode& node, Upgrader& upgrader);

}  // namespace slipway::onnx
