#include <algorithm>
#include <cmath>
#include <limits>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kMaxConstant = 1 << 16;

// 1 / x is exact for powers of two whose reciprocal is a normal number.
bool HasExactReciprocal(float x) {
  int exponent;
  return std::isnormal(x) && std::isnormal(1.0f / x) && std::abs(std::frexp(x, &exponent)) == 0.5f;
}

// A new constant f(c) like the float32 constant `value`; null when it is not one.
template <typename F>
Value* MapConstant(Graph& graph, const Value* value, F f) {
  auto v = FloatsOf(value);
  if (!v || static_cast<int64_t>(v->size()) > kMaxConstant) return nullptr;
  for (float& x : *v) x = f(x);
  return AddFloats(graph, value->name(), value->constant()->dims(), *v);
}

struct Bounds {
  Value* x = nullptr;
  float lo = -kInf, hi = kInf;
};

// Relu, Clip with constant bounds, Min and Max with a constant, as bounds on x.
std::optional<Bounds> BoundsOf(const Node* node) {
  if (!node || !node->domain().empty() || node->inputs().empty()) return std::nullopt;
  Bounds b{node->input(0)};
  if (!b.x || b.x->dtype() != DType::kFloat32) return std::nullopt;
  if (node->op() == "Relu") {
    b.lo = 0;
    return b;
  }
  if (node->op() == "Clip") {
    for (size_t i : {1, 2}) {
      if (!node->input(i)) continue;
      auto c = ScalarOf(node->input(i));
      if (!c || std::isnan(*c)) return std::nullopt;
      (i == 1 ? b.lo : b.hi) = static_cast<float>(*c);
    }
    return b;
  }
  if ((node->op() == "Min" || node->op() == "Max") && node->inputs().size() == 2) {
    ScalarOperand m = MatchScalarOperand(node, true);
    if (!m || !SameShape(m.other, node->output()) || std::isnan(m.constant)) return std::nullopt;
    b.x = m.other;
    (node->op() == "Min" ? b.hi : b.lo) = static_cast<float>(m.constant);
    return b;
  }
  return std::nullopt;
}

struct Simplifier {
  Graph& graph;
  const PassOptions& options;

  Node* Put(Node* node, std::string op, std::vector<Value*> inputs,
            std::vector<Node*> replaced = {}) {
    replaced.push_back(node);
    return Fuse(graph, {.op = std::move(op), .inputs = std::move(inputs)}, node, replaced);
  }

  bool Power(Node* node) {
    auto c = ScalarOf(node->input(1));
    Value* x = node->input(0);
    // The exponent must not broadcast x to a higher rank.
    if (!c || !IsFloating(x->dtype()) || !SameShape(x, node->output())) return false;
    if (*c == 2) return Put(node, "Mul", {x, x});
    if (*c == 0.5) return Put(node, "Sqrt", {x});
    if (*c == -1) return Put(node, "Reciprocal", {x});
    return false;
  }

  bool Divide(Node* node) {
    Value *x = node->input(0), *y = node->input(1);
    if (node->output()->dtype() != DType::kFloat32) return false;
    if (IsScalar(x, 1) && SameShape(y, node->output())) return Put(node, "Reciprocal", {y});
    auto c = FloatsOf(y);
    if (!c || x->is_constant()) return false;
    bool exact = std::all_of(c->begin(), c->end(), HasExactReciprocal);
    bool finite = std::all_of(c->begin(), c->end(),
                              [](float v) { return std::isnormal(v) && std::isnormal(1.0f / v); });
    if (!exact && !(options.allow_rounding && finite)) return false;
    Value* inverse = MapConstant(graph, y, [](float v) { return 1.0f / v; });
    return inverse && Put(node, "Mul", {x, inverse});
  }

  bool Subtract(Node* node) {
    if (node->output()->dtype() != DType::kFloat32 || node->input(0)->is_constant()) return false;
    Value* negative = MapConstant(graph, node->input(1), [](float v) { return -v; });
    return negative && Put(node, "Add", {node->input(0), negative});
  }

  // Chains of bounds become one Clip or Relu.
  bool Clamp(Node* node) {
    auto outer = BoundsOf(node);
    if (!outer || outer->lo > outer->hi) return false;
    std::vector<Node*> replaced;
    Bounds b = *outer;
    Node* inner = b.x->OnlyUser() ? b.x->producer() : nullptr;
    if (auto more = BoundsOf(inner); more && more->lo <= more->hi) {
      // clamp(clamp(x, l1, h1), l2, h2): the inner bounds, clamped by the outer ones.
      b.lo = std::clamp(more->lo, outer->lo, outer->hi);
      b.hi = std::clamp(more->hi, outer->lo, outer->hi);
      b.x = more->x;
      replaced.push_back(inner);
    }
    bool relu = b.lo == 0 && b.hi == kInf;
    if (replaced.empty() && (node->op() == "Relu" || (node->op() == "Clip" && !relu))) return false;
    if (relu) return Put(node, "Relu", {b.x}, replaced);
    Value* lo = b.lo == -kInf
                    ? nullptr
                    : graph.AddConstant(node->name() + "_min", Tensor::Scalar<float>(b.lo));
    Value* hi = b.hi == kInf
                    ? nullptr
                    : graph.AddConstant(node->name() + "_max", Tensor::Scalar<float>(b.hi));
    std::vector<Value*> inputs{b.x};
    if (lo || hi) inputs.push_back(lo);
    if (hi) inputs.push_back(hi);
    return Put(node, "Clip", inputs, replaced);
  }

  bool Run(Node* node) {
    if (!node->domain().empty() || !node->output() || node->inputs().empty()) return false;
    const std::string& op = node->op();
    if (op == "Pow") return Power(node);
    if (op == "Div") return Divide(node);
    if (op == "Sub") return Subtract(node);
    if (op == "Sum" && node->inputs().size() == 2)
      return Put(node, "Add", {node->input(0), node->input(1)});
    if (op == "Relu" || op == "Clip" || op == "Min" || op == "Max") return Clamp(node);
    return false;
  }
};

}  // namespace

Result<int> SimplifyArithmetic(ir::Graph& graph, const PassOptions& options) {
  Simplifier simplifier{graph, options};
  // From the end, so that a chain of clamps is seen whole from its last node.
  int changes = VisitNodes(
      graph, [&](Node* node) { return simplifier.Run(node); }, true);
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
