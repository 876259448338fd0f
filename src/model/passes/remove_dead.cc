#include "model/passes/pass.h"

namespace slipway::passes {

Result<int> RemoveDead(ir::Graph& graph, const PassOptions&) {
  size_t before = graph.values().size();
  int nodes = graph.RemoveUnused();
  // Constants that went without a node count too.
  return nodes > 0 ? nodes : static_cast<int>(before - graph.values().size());
}

}  // namespace slipway::passes
