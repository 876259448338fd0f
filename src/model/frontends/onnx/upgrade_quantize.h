#pragma once
// QuantizeLinear and DequantizeLinear (opset 10..25) to slipway.Quantize and slipway.Dequantize.

#include "model/frontends/onnx/upgrade.h"

namespace slipway::onnx {

Status QuantizeLinear(OldNode& node, Upgrader& upgrader);
Status DequantizeLinear(OldNode& node, Upgrader& upgrader);

// ONNX knows few widths: others are written as 8- or 16-bit codes behind a Clip to their range (expand_quantize.cc). This finds such clips, gives the
// Quantize its width and removes them.
void FoldCodeClips(ir::Graph* graph);

}  // namespace slipway::onnx
