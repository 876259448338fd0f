#pragma once
// Weights that a training run has ruined, found before they cost a deployment.

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::onnx {

// InvalidArgument names the first constant with a NaN, or with an infinity where a convolution,
// matrix product or normalisation reads it.
Status CheckFinite(const ir::Graph& graph);

}  // namespace slipway::onnx
