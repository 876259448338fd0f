#pragma once
// The nodes that a network-level backend won, as a graph of their own.

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/backends/compile.h"

namespace slipway::backends {

struct Subgraph {
  std::unique_ptr<ir::Graph> graph;               // inputs i0, i1, ..., outputs o0, o1, ...
  std::vector<const ir::Value*> inputs, outputs;  // what they stand for outside
};

// A node that is written otherwise than as it is; null: as it is.
using Rewrite = std::function<ir::Node*(ir::Graph& graph, const ir::Node& node,
                                        const std::vector<ir::Value*>& inputs)>;

// `nodes` in an order in which producers come first. Errors: those of shape inference.
Result<Subgraph> CutOut(std::span<const PartitionNode> nodes, const Rewrite& rewrite = {});

// One step for all of them.
StepSpec StepOf(std::span<const PartitionNode> nodes, const Subgraph& subgraph, std::string kernel,
                std::vector<uint8_t> blob);

}  // namespace slipway::backends
