#pragma once
// The first half of exporting: rewrites a graph (a clone that the exporter owns) until every
// operator exists, with the meaning it has in the IR, in the wanted opset. Fused operators come
// apart, quantization becomes QuantizeLinear and DequantizeLinear.

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::onnx {

Status ExpandForOpset(ir::Graph* graph, int opset);

// The opset that introduced an operator of the default domain as the IR means it (7 for the old
// ones).
int SinceOpset(std::string_view op);

// Used by expand.cc: Quantize and Dequantize nodes.
Status ExpandQuantization(ir::Graph* graph, int opset);

}  // namespace slipway::onnx
