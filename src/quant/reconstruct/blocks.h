#pragma once
// Parts of a graph that are reconstructed together, found from the graph alone.

#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::quant {

// A stretch of the graph's order. Values are named, as a quantized copy of the graph has them too.
struct Block {
  std::string name;                 // of its last node with weights
  std::vector<std::string> layers;  // nodes with constant weights, in order
  // Float values that cross its ends, and inputs of the graph of other types that it reads.
  std::vector<std::string> inputs, outputs;
};

struct BlockOptions {
  bool by_layer = false;        // every layer is a block of its own
  int64_t most_layers = 10;     // larger regions are split into layers
  std::set<std::string> uncut;  // values that may not lie between two blocks
};

// Cuts the graph where a single floating-point activation is alive: between two such places lies a
// region with one entry and one exit, as a residual block or an attention with its residual is, or
// a single layer. Regions without weights go to the one before them. Every layer is in one block.
std::vector<Block> FindBlocks(const ir::Graph& graph, const BlockOptions& options = {});

// A graph of its own that makes `outputs` from `inputs`, with all names kept. InvalidArgument: a
// name is not there, or something else than `inputs` and constants is needed.
Result<std::unique_ptr<ir::Graph>> Extract(const ir::Graph& graph,
                                           const std::vector<std::string>& inputs,
                                           const std::vector<std::string>& outputs);

}  // namespace slipway::quant
