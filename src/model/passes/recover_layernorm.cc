#include <algorithm>

#include "model/passes/norm_match.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Both operands of a commutative node in either order.
template <typename F>
bool EitherOrder(const Node* node, F&& f) {
  return f(node->input(0), node->input(1)) || f(node->input(1), node->input(0));
}

struct Match {
  Value* x = nullptr;
  int64_t axis = 0;  // first normalised axis
  double epsilon = 0;
  std::vector<Node*> nodes;
};

// (x - mean) * 1 / sqrt(mean((x - mean)^2) + epsilon), ending in `node`.
std::optional<Match> MatchNormalised(Node* node) {
  Match m;
  Value* centred = nullptr;
  InverseDeviation deviation;
  if (node->Is("Div")) {
    centred = node->input(0);
    deviation = MatchDeviation(node->input(1));
  } else if (node->Is("Mul")) {
    EitherOrder(node, [&](Value* a, Value* b) {
      centred = a;
      deviation = MatchInverseDeviation(b);
      return static_cast<bool>(deviation);
    });
  }
  if (!deviation || deviation.x != centred) return std::nullopt;
  Node* sub = ProducerOf(centred, "Sub");
  Node* mean = sub ? ProducerOf(sub->input(1), "ReduceMean") : nullptr;
  if (!mean || mean->input(0) != sub->input(0)) return std::nullopt;
  auto axis = TrailingAxis(mean);
  if (!axis || axis != deviation.axis) return std::nullopt;
  m.x = sub->input(0);
  m.axis = *axis;
  m.epsilon = deviation.epsilon;
  m.nodes = {mean, sub};
  m.nodes.insert(m.nodes.end(), deviation.nodes.begin(), deviation.nodes.end());
  m.nodes.push_back(node);
  return m;
}

bool Recover(Graph& graph, Node* node) {
  auto m = MatchNormalised(node);
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
