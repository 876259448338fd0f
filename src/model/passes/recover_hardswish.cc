#include <cmath>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// value = clamp(x + 3, 0, 6): the nodes that make it.
std::optional<std::vector<Node*>> MatchClip(Value* value, Value** x) {
  Node* clip = ProducerOf(value, "Clip");
  if (!clip || !IsScalar(clip->input(1), 0) || !IsScalar(clip->input(2), 6)) return std::nullopt;
  Node* add = ProducerOf(clip->input(0), "Add");
  ScalarOperand three = add ? MatchScalarOperand(add, true) : ScalarOperand{};
  if (!three || three.constant != 3 || !SameShape(three.other, value)) return std::nullopt;
  *x = three.other;
  return std::vector<Node*>{add, clip};
}

bool IsSixth(double v) { return std::abs(v * 6 - 1) < 1e-6; }

// c * [x *] clamp(x + 3, 0, 6) with c = 1 / 6.
bool FromClip(Graph& graph, Node* node) {
  Product p = FlattenProduct(node);
  if (!IsSixth(p.constant) || p.factors.empty() || p.factors.size() > 2) return false;
  for (size_t i = 0; i < p.factors.size(); ++i) {
    Value* x = nullptr;
    auto nodes = MatchClip(p.factors[i], &x);
    if (!nodes || x->dtype() != DType::kFloat32) continue;
    bool swish = p.factors.size() == 2;
    if (swish && p.factors[1 - i] != x) continue;
    nodes->insert(nodes->end(), p.nodes.begin(), p.nodes.end());
    if (!IsSelfContained(*nodes)) continue;
    if (swish) {
      Fuse(graph, {.op = "HardSwish", .inputs = {x}}, node, *nodes);
    } else {
      Fuse(graph,
           {.op = "HardSigmoid",
            .inputs = {x},
            .attributes = {{"alpha", 1.0f / 6.0f}, {"beta", 0.5f}}},
           node, *nodes);
    }
    return true;
  }
  return false;
}

// x * HardSigmoid(x) with alpha = 1 / 6 and beta = 0.5.
bool FromHardSigmoid(Graph& graph, Node* node) {
  if (!node->Is("Mul")) return false;
  for (size_t i = 0; i < 2; ++i) {
    Node* sigmoid = ProducerOf(node->input(1 - i), "HardSigmoid");
    if (!sigmoid || sigmoid->input(0) != node->input(i) ||
        node->output()->dtype() != DType::kFloat32)
      continue;
    bool constants = IsSixth(sigmoid->attributes.Float("alpha", 0.2f)) &&
                     sigmoid->attributes.Float("beta", 0.5f) == 0.5f;
    if (!constants || !IsSelfContained({sigmoid, node})) continue;
    Fuse(graph, {.op = "HardSwish", .inputs = {node->input(i)}}, node, {sigmoid, node});
    return true;
  }
  return false;
}

}  // namespace

Result<int> RecoverHardSwish(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(
      graph, [&](Node* node) { return FromClip(graph, node) || FromHardSigmoid(graph, node); },
      true);
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
