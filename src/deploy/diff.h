#pragma once
// What differs between two models: structure by the names of nodes, weights by the names of
// constants.

#include <map>
#include <string>
#include <vector>

#include "model/ir/graph.h"

namespace slipway::deploy {

struct NodeChange {
  std::string name, what;  // "Conv -> QConv", "attributes: pads [1, 1] -> [0, 0]", ...
};

struct WeightChange {
  std::string name, type;  // of the second model
  int64_t elements = 0, different = 0;
  double largest = 0;   // largest absolute difference; NaN when one is not finite
  double relative = 0;  // the norm of the difference over the norm of the first
};

struct ModelDiff {
  std::vector<std::string> ports;                    // differences of inputs and outputs, in words
  std::vector<std::string> only_first, only_second;  // "Conv node 'a'"
  std::vector<NodeChange> changed;
  std::vector<std::string> weights_only_first, weights_only_second;
  std::vector<NodeChange> weights_retyped;  // another element type or extent
  std::vector<WeightChange> weights_changed;
  std::map<std::string, std::pair<int, int>> operators;  // counts where they differ
  int same_nodes = 0;
  int64_t same_weights = 0;
  bool same_structure = false;  // equal structure hashes: names and weights apart, the same network

  bool Empty() const {
    return ports.empty() && only_first.empty() && only_second.empty() && changed.empty() &&
           weights_only_first.empty() && weights_only_second.empty() && weights_retyped.empty() &&
           weights_changed.empty();
  }
};

// Where most names differ but the structures are equal, nodes and weights are paired by position.
ModelDiff Diff(const ir::Graph& first, const ir::Graph& second);

}  // namespace slipway::deploy
