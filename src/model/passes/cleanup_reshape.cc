#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

bool IsReshape(const Node* node) {
  return node && (node->Is("Reshape") || node->Is("Flatten") || node->Is("Squeeze") ||
                  node->Is("Unsqueeze"));
}

bool Cleanup(Graph& graph, Node* node) {
  if (!IsReshape(node) || !node->output()->type().shape) return false;
  Value* x = node->input(0);
  // The first input of a chain of them: they all keep the elements' order.
  std::vector<Node*> chain{node};
  while (IsReshape(x->producer()) && x->producer()->input(0)->type().shape) {
    chain.insert(chain.begin(), x->producer());
    x = x->producer()->input(0);
  }
  bool constant = node->Is("Reshape") && node->input(1)->is_constant();
  if (chain.size() == 1 && constant) return false;
  auto target = ReshapeTarget(x->type().shape, *node->output()->type().shape);
  if (!target) {
    // Perhaps the node alone can be said.
    if (chain.size() == 1 || constant) return false;
    x = node->input(0);
    chain = {node};
    target = ReshapeTarget(x->type().shape, *node->output()->type().shape);
    if (!target) return false;
  }
  Value* shape = AddInts(graph, "", *target);
  Fuse(graph, {.op = "Reshape", .inputs = {x, shape}}, node, chain);
  return true;
}

}  // namespace

Result<int> CleanupReshape(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(
      graph, [&](Node* node) { return Cleanup(graph, node); }, true);
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
