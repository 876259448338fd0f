#pragma once
// Products of floats that are rounded to codes, for platforms that have it in one step.

#include <functional>

#include "model/ir/graph.h"

namespace slipway::passes {

// A Mul of float32 whose only reader is a Quantize to 8 bits with one scale becomes
// slipway.MulQuantize where `supported` says yes of it, bit for bit. The graph must have inferred
// types. Returns how many it made.
Result<int> FuseMulQuantize(ir::Graph& graph,
                            const std::function<bool(const ir::Node&)>& supported);

}  // namespace slipway::passes
