#pragma once
// What ncnn's converter wants of a graph.

#include <memory>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::quant {

// A copy with an open batch set to 1, after the passes of level kFused that ncnn has layers for.
Result<std::unique_ptr<ir::Graph>> PrepareForNcnn(const ir::Graph& graph);

}  // namespace slipway::quant
