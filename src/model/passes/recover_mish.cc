#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// x * Tanh(Softplus(x)).
bool Recover(Graph& graph, Node* node) {
  if (!node->Is("Mul") || node->output()->dtype() != DType::kFloat32) return false;
  for (size_t i = 0; i < 2; ++i) {
    Value* x = node->input(i);
    Node* tanh = ProducerOf(node->input(1 - i), "Tanh");
    Node* softplus = tanh ? ProducerOf(tanh->input(0), "Softplus") : nullptr;
    if (!softplus || softplus->input(0) != x) continue;
    std::vector<Node*> pieces = {softplus, tanh, node};  // the last one makes the result
    if (!IsSelfContained(pieces)) continue;
    Fuse(graph, {.op = "Mish", .inputs = {x}}, node, pieces);
    return true;
  }
  return false;
}

}  // namespace

Result<int> RecoverMish(ir::Graph& graph, const PassOptions&) {
  return VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
}

}  // namespace slipway::passes
