#pragma once
// The first half of exporting: rewrites a graph (a clone that the exporter owns) until every
// operator exists, with the meaning it has in the IR, in the wanted opset. Fused operators come
// apart, quantization becomes QuantizeLinear and DequantizeLinear.

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::onnx {

// own_quantization: as of ExportOptions.
Status ExpandForOpset(ir::Graph* graph, int opset, bool own_quantization = false);

// Quantize and Dequantize as QONNX's Quant; before ExpandForOpset. Unsupported names what QONNX
// cannot hold: codes as outputs, blocks, logarithmic and floating-point codes. A zero point other
// than 0 may send values half-way between two codes to the other one, as QONNX adds it before it
// rounds.
inline constexpr char kQonnxDomain[] = "qonnx.custom_op.general";
Status ExpandToQonnx(ir::Graph* graph);

// Used by expand.cc: Quantize and Dequantize nodes.
Status ExpandQuantization(ir::Graph* graph, int opset, bool own_quantization);
// Used by expand.cc: operators whose element type came later than the opset compute in another one.
Status ExpandTypes(ir::Graph* graph, int opset);

}  // namespace slipway::onnx
