#pragma once
// From float32 to bfloat16 or float16, for platforms that compute in them.

#include <functional>

#include "model/ir/graph.h"

namespace slipway::passes {

// Nodes that gain by it (convolutions, products, activations, additions, pooling, what moves data)
// take and give `type` where `supported` says yes of the node as it then is; weights are rounded
// once, here. Casts stand at the borders: inputs and outputs of the graph and of what stays float32
// keep their type. Nodes with constants beyond the greatest number of `type` stay float32 (bounds
// of Clip do not count: nothing lies beyond). Accumulation is the backend's. The graph must have
// inferred types; bodies of control flow stay as they are. Returns how many nodes changed.
Result<int> LowerHalf(ir::Graph& graph, DType type,
                      const std::function<bool(const ir::Node&)>& supported);

}  // namespace slipway::passes
