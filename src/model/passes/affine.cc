#include "model/passes/affine.h"

#include <cmath>

namespace slipway::passes {

std::optional<std::vector<double>> PerIndex(const Value* value, int rank, int axis,
                                            int64_t channels) {
  const Tensor* t = value ? value->constant() : nullptr;
  if (!t || t->dtype() != DType::kFloat32 || t->dims().rank() > rank) return std::nullopt;
  if (t->count() != 1) {
    for (int i = 0; i < t->dims().rank(); ++i) {
      int at = i + rank - t->dims().rank();
      if (t->dims()[static_cast<size_t>(i)] != (at == axis ? channels : 1)) return std::nullopt;
    }
  }
  std::vector<double> v = t->ToDoubles();
  if (v.size() == 1) v.assign(static_cast<size_t>(channels), v[0]);
  if (static_cast<int64_t>(v.size()) != channels) return std::nullopt;
  return v;
}

std::optional<Affine> AffineOf(const Node* node, int axis) {
  if (node->Is("BatchNormalization")) {
    Affine a{node->input(0), {}, {}};
    auto gamma = FloatsOf(node->input(1)), beta = FloatsOf(node->input(2)),
         mean = FloatsOf(node->input(3)), var = FloatsOf(node->input(4));
    if (axis != 1 || !gamma || !beta || !mean || !var) return std::nullopt;
    double epsilon = node->attributes.Float("epsilon", 1e-5f);
    for (size_t c = 0; c < gamma->size(); ++c) {
      a.scale.push_back((*gamma)[c] / std::sqrt((*var)[c] + epsilon));
      a.shift.push_back((*beta)[c] - (*mean)[c] * a.scale.back());
    }
    return a;
  }
  bool mul = node->Is("Mul"), div = node->Is("Div");
  if (!mul && !div && !node->Is("Add")) return std::nullopt;
  for (size_t i = 0; i < (div ? 1u : 2u); ++i) {
    Value* x = node->input(i);
    auto rank = RankOf(x);
    if (x->is_constant() || !rank || *rank < 2) continue;
    int at = axis < 0 ? axis + *rank : axis;
    if (at < 0 || at >= *rank || !(*x->type().shape)[static_cast<size_t>(at)].known()) continue;
    int64_t channels = (*x->type().shape)[static_cast<size_t>(at)].value();
    auto c = PerIndex(node->input(1 - i), *rank, at, channels);
    if (!c || !SameShape(x, node->output())) continue;
    std::vector<double> ones(c->size(), 1.0), zeros(c->size(), 0.0);
    if (div) {
      for (double& v : *c) v = 1 / v;
    }
    if (mul || div) return Affine{x, *c, zeros, true, false};
    return Affine{x, ones, *c, false, true};
  }
  return std::nullopt;
}

}  // namespace slipway::passes
