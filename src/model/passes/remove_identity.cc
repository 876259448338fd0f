#include <algorithm>
#include <unordered_set>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

bool AllEqual(const Value* value, double wanted) {
  const Tensor* t = value ? value->constant() : nullptr;
  if (!t || t->count() == 0 || t->count() > 1 << 20) return false;
  std::vector<double> v = t->ToDoubles();
  return !v.empty() && std::all_of(v.begin(), v.end(), [&](double x) { return x == wanted; });
}

bool IsIdentityPerm(const Node* node) {
  auto perm = node->attributes.Ints("perm");
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return !perm.empty() || RankOf(node->input(0)).value_or(2) <= 1;
}

bool IsTrivialPool(const Node* node) {
  auto is = [&](const char* name, int64_t wanted) {
    auto v = node->attributes.Ints(name);
    return std::all_of(v.begin(), v.end(), [&](int64_t x) { return x == wanted; });
  };
  return is("kernel_shape", 1) && is("strides", 1) && is("pads", 0);
}

bool HasUnitImage(const Value* value) {
  const auto& shape = value->type().shape;
  if (!shape || shape->size() < 3) return false;
  return std::all_of(shape->begin() + 2, shape->end(), [](const Dim& d) { return d.Is(1); });
}

// The input that `node` returns unchanged; null when it does something.
Value* Unchanged(const Node* node) {
  static const std::unordered_set<std::string_view> kOfOne = {"Concat", "Sum", "Mean", "Min",
                                                              "Max"};
  static const std::unordered_set<std::string_view> kByShape = {"Reshape",   "Flatten", "Squeeze",
                                                                "Unsqueeze", "Expand",  "Tile"};
  static const std::unordered_set<std::string_view> kIdempotent = {"Relu", "Abs",   "Floor",
                                                                   "Ceil", "Round", "Sign"};
  if (!node->domain().empty() || !node->input(0)) return nullptr;
  const std::string& op = node->op();
  Value* x = node->input(0);
  bool same = SameShape(x, node->output()) && x->dtype() == node->output()->dtype();
  if (op == "Identity") return x;
  if (op == "Dropout") {
    bool inference = !node->input(2) || IsScalar(node->input(2), 0) || IsScalar(node->input(1), 0);
    return inference && !(node->output(1) && node->output(1)->IsUsed()) ? x : nullptr;
  }
  if (op == "Cast") return x->dtype() == node->output()->dtype() ? x : nullptr;
  if (kByShape.count(op)) return same ? x : nullptr;
  if (op == "Transpose") return IsIdentityPerm(node) ? x : nullptr;
  if (op == "Slice") return same && (!node->input(4) || AllEqual(node->input(4), 1)) ? x : nullptr;
  if (op == "Pad") return AllEqual(node->input(1), 0) ? x : nullptr;
  if (kOfOne.count(op) && node->inputs().size() == 1) return x;
  if (op == "Split" && node->outputs().size() == 1) return x;
  if (op == "Resize") {
    auto mode = node->attributes.String("coordinate_transformation_mode", "half_pixel");
    return same && mode != "tf_crop_and_resize" && mode != "tf_half_pixel_for_nn" ? x : nullptr;
  }
  if (op == "GlobalAveragePool" || op == "GlobalMaxPool") return HasUnitImage(x) ? x : nullptr;
  if (op == "MaxPool" || op == "AveragePool") {
    return same && IsTrivialPool(node) && !(node->output(1) && node->output(1)->IsUsed()) ? x
                                                                                          : nullptr;
  }
  if (op == "Clip") return !node->input(1) && !node->input(2) ? x : nullptr;
  if (op == "Mul" || op == "Add") {
    double neutral = op == "Mul" ? 1 : 0;
    if (same && AllEqual(node->input(1), neutral)) return x;
    Value* y = node->input(1);
    bool other = SameShape(y, node->output()) && y->dtype() == node->output()->dtype();
    return other && AllEqual(x, neutral) ? y : nullptr;
  }
  if (op == "Div" || op == "Pow") return same && AllEqual(node->input(1), 1) ? x : nullptr;
  if (op == "Sub") return same && AllEqual(node->input(1), 0) ? x : nullptr;
  const Node* before = x->producer();
  if (kIdempotent.count(op)) return before && before->Is(op) ? x : nullptr;
  if (op == "Neg" || op == "Not") return before && before->Is(op) ? before->input(0) : nullptr;
  return nullptr;
}

}  // namespace

Result<int> RemoveIdentity(ir::Graph& graph, const PassOptions&) {
  int changes = 0;
  for (Node* node : graph.NodeList()) {
    Value* same = Unchanged(node);
    if (same && BypassNode(graph, node, same)) ++changes;
  }
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
