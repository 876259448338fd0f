#include "model/passes/norm_match.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

bool Recover(Graph& graph, Node* node) {
  auto m = MatchNormalised(node, false);
  if (!m || m->x->dtype() != DType::kFloat32 || !IsSelfContained(m->nodes)) return false;
  // What is scaled: known extents behind the axis.
  Dims normal;
  const SymShape& shape = *m->x->type().shape;
  for (size_t i = static_cast<size_t>(m->axis); i < shape.size(); ++i) {
    if (!shape[i].known()) return false;
    normal.push_back(shape[i].value());
  }
  Value *scale = nullptr, *bias = nullptr;
  Node* user = node->output()->OnlyUser();
  if (user && user->Is("Mul")) {
    scale = NormParameter(graph, user, node->output(), normal);
    if (scale) m->nodes.push_back(user);
  }
  Value* out = m->nodes.back()->output();
  user = out->OnlyUser();
  if (user && user->Is("Add")) {
    bias = NormParameter(graph, user, out, normal);
    if (bias) m->nodes.push_back(user);
  }
  if (!scale) {
    if (normal.count() > 1 << 20) return false;
    scale = AddFloats(graph, node->name() + "_ones", normal,
                      std::vector<float>(static_cast<size_t>(normal.count()), 1.0f));
  }
  std::vector<Value*> inputs{m->x, scale};
  if (bias) inputs.push_back(bias);
  int64_t axis = m->axis - static_cast<int64_t>(shape.size());
  Fuse(graph,
       {.op = "LayerNormalization",
        .inputs = inputs,
        .attributes = {{"axis", axis}, {"epsilon", static_cast<float>(m->epsilon)}}},
       node, m->nodes);
  return true;
}

}  // namespace

Result<int> RecoverLayerNorm(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
