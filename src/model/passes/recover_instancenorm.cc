#include "model/passes/affine.h"
#include "model/passes/norm_match.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

// (x - mean) / sqrt(variance + epsilon) over everything behind the channels of an image, with scale
// and bias by channel. Without either it is left to recover-layernorm, which needs known extents.
bool Recover(Graph& graph, Node* node) {
  auto m = MatchNormalised(node, true);
  if (!m || m->axis != 2 || m->x->dtype() != DType::kFloat32 || !m->x->type().shape) return false;
  const SymShape& shape = *m->x->type().shape;
  if (shape.size() < 3 || !shape[1].known()) return false;
  size_t channels = static_cast<size_t>(shape[1].value());
  std::vector<float> scale(channels, 1.0f), bias(channels, 0.0f);
  bool any = false;
  if (m->scale) {
    auto affine = AffineOf(m->scale);
    if (!affine) return false;
    scale.assign(affine->scale.begin(), affine->scale.end());
    any = true;
  }
  Value* out = node->output();
  for (const char* op : {"Mul", "Add"}) {
    Node* user = out->OnlyUser();
    if (!user || !user->Is(op) || (user->Is("Mul") && m->scale)) continue;
    auto affine = AffineOf(user);
    if (!affine || affine->x != out) continue;
    if (affine->scales) scale.assign(affine->scale.begin(), affine->scale.end());
    if (affine->shifts) bias.assign(affine->shift.begin(), affine->shift.end());
    m->nodes.push_back(user);
    out = user->output();
    any = true;
  }
  if (!any && shape.size() == 3) return false;
  if (!IsSelfContained(m->nodes)) return false;
  Dims dims{static_cast<int64_t>(channels)};
  std::vector<Value*> inputs{m->x, AddFloats(graph, node->name() + "_scale", dims, scale),
                             AddFloats(graph, node->name() + "_bias", dims, bias)};
  Fuse(graph,
       {.op = "InstanceNormalization",
        .inputs = inputs,
        .attributes = {{"epsilon", static_cast<float>(m->epsilon)}}},
       node, m->nodes);
  return true;
}

}  // namespace

Result<int> RecoverInstanceNorm(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
