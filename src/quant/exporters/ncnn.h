#pragma once
// What the converters to ncnn and Caffe want of a graph.

#include <memory>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::quant {

// An open batch, a symbol that stands first in inputs' shapes and nowhere else, becomes 1.
void SetBatchToOne(ir::Graph* graph);

// A copy with an open batch set to 1, after the passes of level kFused that ncnn has layers for.
Result<std::unique_ptr<ir::Graph>> PrepareForNcnn(const ir::Graph& graph);

}  // namespace slipway::quant
