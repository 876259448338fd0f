#pragma once
// QuantizeLinear, DequantizeLinear and the integer operators (opset 10..25) to slipway.Quantize and
// slipway.Dequantize.

#include "model/frontends/onnx/upgrade.h"

namespace slipway::onnx {

Status QuantizeLinear(OldNode& node, Upgrader& upgrader);
Status DequantizeLinear(OldNode& node, Upgrader& upgrader);

// The integer operators of opset 10 (QLinearConv, QLinearMatMul) as dequantized operands, the float
// operator, and a Quantize: the form in which the IR keeps quantization and from which backends
// make integer kernels again.
Status QLinearConv(OldNode& node, Upgrader& upgrader);
Status QLinearMatMul(OldNode& node, Upgrader& upgrader);

// ONNX knows few widths: others are written as 8- or 16-bit codes behind a Clip to their range
// (expand_quantize.cc). This finds such clips, gives the Quantize its width and removes them.
void FoldCodeClips(ir::Graph* graph);

}  // namespace slipway::onnx
