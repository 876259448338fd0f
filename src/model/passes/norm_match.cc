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
  Node* mean = MeanOf(epsilon.other);
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

Node* MeanOf(const Value* value) {
  Node* mean = ProducerOf(value, "ReduceMean");
  return mean ? mean : ProducerOf(value, "GlobalAveragePool");
}

std::optional<int64_t> TrailingAxis(const Node* mean) {
  if (mean->Is("GlobalAveragePool")) {
    return RankOf(mean->input(0)).value_or(0) >= 3 ? std::optional<int64_t>(2) : std::nullopt;
  }
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

std::optional<Normalised> MatchNormalised(Node* node, bool scaled) {
  Normalised m;
  Value* centred = nullptr;
  InverseDeviation deviation;
  if (node->Is("Div")) {
    centred = node->input(0);
    deviation = MatchDeviation(node->input(1));
  } else if (node->Is("Mul")) {
    for (size_t i = 0; i < 2 && !deviation; ++i) {
      centred = node->input(i);
      deviation = MatchInverseDeviation(node->input(1 - i));
    }
  }
  if (!deviation) return std::nullopt;
  if (deviation.x != centred) {
    Node* mul = scaled ? ProducerOf(centred, "Mul") : nullptr;
    if (!mul || !(mul->input(0)->is_constant() || mul->input(1)->is_constant()))
      return std::nullopt;
    m.scale = mul;
    centred = mul->input(mul->input(0)->is_constant() ? 1 : 0);
    if (deviation.x != centred) return std::nullopt;
  }
  Node* sub = ProducerOf(centred, "Sub");
  Node* mean = sub ? MeanOf(sub->input(1)) : nullptr;
  if (!mean || mean->input(0) != sub->input(0)) return std::nullopt;
  auto axis = TrailingAxis(mean);
  if (!axis || axis != deviation.axis) return std::nullopt;
  m.x = sub->input(0);
  m.axis = *axis;
  m.epsilon = deviation.epsilon;
  m.nodes = {mean, sub};
  m.nodes.insert(m.nodes.end(), deviation.nodes.begin(), deviation.nodes.end());
  if (m.scale) m.nodes.push_back(m.scale);
  m.nodes.push_back(node);
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
