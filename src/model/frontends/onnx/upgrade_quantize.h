#pragma once
// QuantizeLinear, DequantizeLinear and the integer operators (opset 10..25) to slipway.Quantize and
// slipway.Dequantize.

#include <optional>

#include "model/frontends/onnx/upgrade.h"

namespace slipway::onnx {

Status QuantizeLinear(OldNode& node, Upgrader& upgrader);
Status DequantizeLinear(OldNode& node, Upgrader& upgrader);

// `codes` as real numbers, and the other way round (into `node`); `zero` may be null: 0 of type
// `type`.
Result<ir::Value*> RealOperand(const OldNode& node, Upgrader& upgrader, ir::Value* codes,
                               ir::Value* scale, ir::Value* zero, std::optional<int64_t> axis);
Status RequantizeTo(OldNode& node, Upgrader& upgrader, ir::Value* real, ir::Value* scale,
                    ir::Value* zero, DType type);

// The integer operators of opset 10 (QLinearConv, QLinearMatMul) as dequantized operands, the float
// operator, and a Quantize: the form in which the IR keeps quantization and from which backends
// make integer kernels again.
Status QLinearConv(OldNode& node, Upgrader& upgrader);
Status QLinearMatMul(OldNode& node, Upgrader& upgrader);

// ONNX knows few widths: others are written as 8- or 16-bit codes behind a Clip to their range
// (expand_quantize.cc). This finds such clips, gives the Quantize its width and removes them.
void FoldCodeClips(ir::Graph* graph);

}  // namespace slipway::onnx
