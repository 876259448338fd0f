#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// x * Sigmoid(alpha * x).
bool Recover(Graph& graph, Node* node) {
  if (!node->Is("Mul") || node->output()->dtype() != DType::kFloat32) return false;
  for (size_t i = 0; i < 2; ++i) {
    Value* x = node->input(i);
    Node* sigmoid = ProducerOf(node->input(1 - i), "Sigmoid");
    if (!sigmoid) continue;
    double alpha = 1;
    std::vector<Node*> nodes;
    if (sigmoid->input(0) != x) {
      Product p = FlattenProduct(sigmoid->input(0)->producer());
      if (p.factors.size() != 1 || p.factors[0] != x || !SameShape(x, sigmoid->input(0))) continue;
      alpha = p.constant;
      nodes = p.nodes;
    }
    nodes.push_back(sigmoid);
    nodes.push_back(node);
    if (!IsSelfContained(nodes)) continue;
    ir::Attributes attributes;
    if (alpha != 1) attributes.Set("alpha", static_cast<float>(alpha));
    Fuse(graph, {.op = "Swish", .inputs = {x}, .attributes = attributes}, node, nodes);
    return true;
  }
  return false;
}

}  // namespace

Result<int> RecoverSwish(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
