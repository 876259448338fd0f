#pragma once
// Squeeze-excite blocks (Hu et al. 2018) as one operator, for platforms that have it.

#include <functional>

#include "model/ir/graph.h"

namespace slipway::passes {

// x * gate(W2 * activation(W1 * mean(x))) becomes slipway.SqueezeExcite where `supported` says yes
// of it: the mean a GlobalAveragePool, the products convolutions of 1x1 windows, as the level kFused
// leaves them. The graph must have inferred types. Returns how many it made.
Result<int> FuseSqueezeExcite(ir::Graph& graph,
                              const std::function<bool(const ir::Node&)>& supported);

}  // namespace slipway::passes
