#include "model/passes/norm_match.h"

#include <algorithm>

namespace slipway::passes {
namespace {

// mean(x * x) + epsilon
InverseDeviation MatchVariance(Value* value) {
  Node* add = ProducerOf(value, "Add");
  if (!add) return {};
  ScalarOperand epsilon = MatchScalarOperand(add, true);
  if (!epsilon || epsilon.constant < 0) return {};
  Node* mean = ProducerOf(epsilon.other, "ReduceMean");
  auto axis = mean ? TrailingAxis(mean) : std::nullopt;
  if (!axis) return {};
  Node* square = mean->input(0)->producer();
  if (!square) return {};
  bool ok = (square->Is("Mul") && square->input(0) == square->input(1)) ||
            (square->Is("Pow") && IsScalar(square->input(1), 2));
  if (!ok) return {};
  return {square->input(0), *axis, epsilon.constant, {square, mean, add}};
}

}  // namespace

std::optional<int64_t> TrailingAxis(const Node* mean) {
  if (!mean->attributes.Int("keepdims", 1)) return std::nullopt;
  auto axes = IntsOf(mean->input(1));
  auto rank = RankOf(mean->input(0));
  if (!axes || axes->empty() || !rank) return std::nullopt;
  for (int64_t& a : *axes) a = NormalAxis(a, *rank);
  std::sort(axes->begin(), axes->end());
  for (size_t i = 0; i < axes->size(); ++i) {
    if ((*axes)[i] != *rank - static_cast<int64_t>(axes->size()) + static_cast<int64_t>(i))
      return std::nullopt;
  }
  return (*axes)[0];
}

InverseDeviation MatchDeviation(Value* value) {
  Node* root = value->producer();
  if (!root || !(root->Is("Sqrt") || (root->Is("Pow") && IsScalar(root->input(1), 0.5)))) return {};
  InverseDeviation m = MatchVariance(root->input(0));
  if (m) m.nodes.push_back(root);
  return m;
}

InverseDeviation MatchInverseDeviation(Value* value) {
  Node* root = value->producer();
  if (!root) return {};
  InverseDeviation m;
  if (root->Is("Pow") && IsScalar(root->input(1), -0.5)) {
    m = MatchVariance(root->input(0));
  } else if (root->Is("Reciprocal")) {
    m = MatchDeviation(root->input(0));
  } else if (root->Is("Div") && IsScalar(root->input(0), 1)) {
    m = MatchDeviation(root->input(1));
  }
  if (m) m.nodes.push_back(root);
  return m;
}

Value* NormParameter(Graph& graph, const Node* node, const Value* x, const Dims& normal) {
  Value* other = node->input(0) == x ? node->input(1) : node->input(0);
  const Tensor* t = other ? other->constant() : nullptr;
  if (!t || t->dtype() != DType::kFloat32 || !SameShape(x, node->output())) return nullptr;
  Dims dims = t->dims();
  while (dims.rank() > normal.rank() && dims[0] == 1) {
    Dims rest;
    for (int i = 1; i < dims.rank(); ++i) rest.push_back(dims[static_cast<size_t>(i)]);
    dims = rest;
  }
  if (dims == normal)
    return dims == t->dims() ? other : graph.AddConstant(other->name(), t->Reshaped(dims));
  if (t->count() != 1 || normal.count() > 1 << 20) return nullptr;
  float v = static_cast<float>(*ScalarOf(other));
  return AddFloats(graph, other->name(), normal,
                   std::vector<float>(static_cast<size_t>(normal.count()), v));
}

}  // namespace slipway::passes
