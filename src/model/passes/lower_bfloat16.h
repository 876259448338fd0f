#pragma once
// From float32 to bfloat16, for platforms that compute in it.

#include <functional>

#include "model/ir/graph.h"

namespace slipway::passes {

// Nodes that gain by it (convolutions, products, activations, additions, pooling, what moves data)
// take and give bfloat16 where `supported` says yes of the node as it then is; weights are rounded
// once, here. Casts stand at the borders: inputs and outputs of the graph and of what stays float32
// keep their type. Accumulation is the backend's, in float32. The graph must have inferred types;
// bodies of control flow stay as they are. Returns how many nodes changed.
Result<int> LowerBFloat16(ir::Graph& graph, const std::function<bool(const ir::Node&)>& supported);

}  // namespace slipway::passes
