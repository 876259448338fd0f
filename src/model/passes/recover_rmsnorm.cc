#include "model/passes/norm_match.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// x / sqrt(mean(x * x) + epsilon) * scale. Runs behind recover-layernorm, so x is not centred.
bool Recover(Graph& graph, Node* node) {
  InverseDeviation m;
  if (node->Is("Div")) {
    m = MatchDeviation(node->input(1));
    if (m && m.x != node->input(0)) return false;
  } else if (node->Is("Mul")) {
    for (size_t i = 0; i < 2 && !m; ++i) {
      m = MatchInverseDeviation(node->input(i));
      if (m && m.x != node->input(1 - i)) m = {};
    }
  }
  if (!m || m.x->dtype() != DType::kFloat32 || !m.x->type().shape) return false;
  const SymShape& shape = *m.x->type().shape;
  Dims normal;
  for (size_t i = static_cast<size_t>(m.axis); i < shape.size(); ++i) {
    if (!shape[i].known()) return false;
    normal.push_back(shape[i].value());
  }
  std::vector<Node*> nodes = m.nodes;
  nodes.push_back(node);
  if (!IsSelfContained(nodes)) return false;
  // Without a scale behind it: one of ones.
  Value* scale = nullptr;
  Node* user = node->output()->OnlyUser();
  if (user && user->Is("Mul")) {
    scale = NormParameter(graph, user, node->output(), normal);
    if (scale) nodes.push_back(user);
  }
  if (!scale) {
    if (normal.count() > 1 << 20) return false;
    scale = AddFloats(graph, node->name() + "_ones", normal,
                      std::vector<float>(static_cast<size_t>(normal.count()), 1.0f));
  }
  int64_t axis = m.axis - static_cast<int64_t>(shape.size());
  Fuse(graph,
       {.op = "RMSNormalization",
        .inputs = {m.x, scale},
        .attributes = {{"axis", axis}, {"epsilon", static_cast<float>(m.epsilon)}}},
       node, nodes);
  return true;
}

}  // namespace

Result<int> RecoverRmsNorm(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
