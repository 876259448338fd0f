#include "model/passes/affine.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

bool AllAre(const Value* value, float wanted) {
  auto v = FloatsOf(value);
  return v && !v->empty() && *v == std::vector<float>(v->size(), wanted);
}

// Reshape to [N, groups, rest], InstanceNormalization without parameters, Reshape back, then scale
// and bias by channel (either may be missing).
bool Recover(Graph& graph, Node* norm) {
  if (!norm->Is("InstanceNormalization") || !AllAre(norm->input(1), 1) ||
      !AllAre(norm->input(2), 0) || norm->output()->dtype() != DType::kFloat32)
    return false;
  Node* there = ProducerOf(norm->input(0), "Reshape");
  Node* back = norm->output()->OnlyUser();
  if (!there || !back || !back->Is("Reshape")) return false;
  Value* x = there->input(0);
  if (!SameShape(x, back->output())) return false;
  const SymShape& shape = *x->type().shape;
  const auto& grouped = norm->input(0)->type().shape;
  if (shape.size() < 3 || !shape[1].known() || !grouped || grouped->size() < 3 ||
      !(*grouped)[1].known() || !((*grouped)[0] == shape[0]))
    return false;
  int64_t channels = shape[1].value(), groups = (*grouped)[1].value();
  if (groups < 1 || channels % groups) return false;

  std::vector<Node*> nodes{there, norm, back};
  std::vector<float> scale(static_cast<size_t>(channels), 1.0f), bias(scale.size(), 0.0f);
  Value* out = back->output();
  for (const char* op : {"Mul", "Add"}) {
    Node* user = out->OnlyUser();
    if (!user || !user->Is(op)) continue;
    auto affine = AffineOf(user);
    if (!affine || affine->x != out) continue;
    if (affine->scales) scale.assign(affine->scale.begin(), affine->scale.end());
    if (affine->shifts) bias.assign(affine->shift.begin(), affine->shift.end());
    nodes.push_back(user);
    out = user->output();
  }
  std::vector<Node*> inside(nodes.begin() + 1, nodes.end());
  if (!IsSelfContained(inside)) return false;
  if (norm->input(0)->OnlyUser() != norm) nodes.erase(nodes.begin());
  std::vector<Value*> inputs{x, AddFloats(graph, norm->name() + "_scale", {channels}, scale),
                             AddFloats(graph, norm->name() + "_bias", {channels}, bias)};
  Fuse(graph,
       {.op = "GroupNormalization",
        .inputs = inputs,
        .attributes = {{"epsilon", norm->attributes.Float("epsilon", 1e-5f)},
                       {"num_groups", groups}}},
       norm, nodes);
  return true;
}

}  // namespace

Result<int> RecoverGroupNorm(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
