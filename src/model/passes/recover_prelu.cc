#include <algorithm>
#include <cmath>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

bool Finish(Graph& graph, Node* node, Value* x, double alpha, const std::vector<Node*>& nodes) {
  if (x->dtype() != DType::kFloat32 || !SameShape(x, node->output()) || !std::isfinite(alpha) ||
      !IsSelfContained(nodes))
    return false;
  Fuse(graph,
       {.op = "LeakyRelu", .inputs = {x}, .attributes = {{"alpha", static_cast<float>(alpha)}}},
       node, nodes);
  return true;
}

// value = alpha * x, once used: the factor and the node.
bool IsMultiple(Value* value, Value* x, double* alpha, Node** mul) {
  *mul = ProducerOf(value, "Mul");
  if (!*mul) return false;
  ScalarOperand m = MatchScalarOperand(*mul, true);
  *alpha = m.constant;
  return m && m.other == x;
}

// max(x, alpha * x) with 0 <= alpha <= 1; min(x, alpha * x) with alpha >= 1.
bool FromMax(Graph& graph, Node* node) {
  if (node->inputs().size() != 2) return false;
  bool max = node->Is("Max");
  for (size_t i = 0; i < 2; ++i) {
    double alpha = 0;
    Node* mul = nullptr;
    Value* x = node->input(i);
    if (!IsMultiple(node->input(1 - i), x, &alpha, &mul)) continue;
    if (max ? alpha < 0 || alpha > 1 : alpha < 1) continue;
    // With alpha = 0 it is Relu, but for an infinite x (0 * inf is NaN): left alone.
    if (alpha != 0 && Finish(graph, node, x, alpha, {mul, node})) return true;
  }
  return false;
}

// where(x > 0, x, alpha * x) and its mirror images. At 0 both sides are 0; a NaN stays one.
bool FromWhere(Graph& graph, Node* node) {
  Node* compare = node->input(0)->producer();
  if (!compare || !compare->domain().empty() || compare->inputs().size() != 2) return false;
  bool greater = compare->op() == "Greater" || compare->op() == "GreaterOrEqual";
  bool less = compare->op() == "Less" || compare->op() == "LessOrEqual";
  if (!greater && !less) return false;
  Value* x = compare->input(0);
  if (!IsScalar(compare->input(1), 0)) {
    if (!IsScalar(x, 0)) return false;
    x = compare->input(1);
    std::swap(greater, less);
  }
  Value *positive = node->input(greater ? 1 : 2), *negative = node->input(greater ? 2 : 1);
  double alpha = 0;
  Node* mul = nullptr;
  if (positive != x || !IsMultiple(negative, x, &alpha, &mul)) return false;
  return Finish(graph, node, x, alpha, {compare, mul, node});
}

// value = c * relu(-x) (c a constant that may have several elements): c and the nodes.
struct Negative {
  Value* x = nullptr;
  Value* c = nullptr;  // null: 1
  bool minus = false;  // c is negated
  std::vector<Node*> nodes;
};

Negative MatchNegative(Value* value) {
  Negative n;
  Node* node = value->producer();
  // Signs outside.
  while (node && node->Is("Neg")) {
    n.minus = !n.minus;
    n.nodes.push_back(node);
    node = node->input(0)->producer();
  }
  if (node && node->Is("Mul")) {
    size_t c = node->input(0)->is_constant() ? 0 : 1;
    n.c = node->input(c);
    if (!n.c->is_constant()) return {};
    n.nodes.push_back(node);
    node = node->input(1 - c)->producer();
    while (node && node->Is("Neg")) {
      n.minus = !n.minus;
      n.nodes.push_back(node);
      node = node->input(0)->producer();
    }
  }
  if (!node || !node->Is("Relu")) return {};
  n.nodes.push_back(node);
  Node* neg = ProducerOf(node->input(0), "Neg");
  if (!neg) return {};
  n.nodes.push_back(neg);
  n.x = neg->input(0);
  return n;
}

// relu(x) - slope * relu(-x), also as relu(x) + -slope * relu(-x): PRelu, as Keras and TensorFlow
// write it.
bool FromRelus(Graph& graph, Node* node) {
  bool sub = node->Is("Sub");
  for (size_t i = 0; i < (sub ? 1u : 2u); ++i) {
    Node* relu = ProducerOf(node->input(i), "Relu");
    if (!relu) continue;
    Negative n = MatchNegative(node->input(1 - i));
    if (!n.x || n.x != relu->input(0) || n.x->dtype() != DType::kFloat32 ||
        !SameShape(n.x, node->output()))
      continue;
    std::vector<float> slope{1.0f};
    Dims dims;
    if (n.c) {
      auto v = FloatsOf(n.c);
      if (!v || !n.x->type().shape ||
          n.c->constant()->dims().rank() > static_cast<int>(n.x->type().shape->size()))
        continue;
      slope = *v;
      dims = n.c->constant()->dims();
    }
    bool finite = std::all_of(slope.begin(), slope.end(), [](float s) { return std::isfinite(s); });
    // relu(x) - c * relu(-x) has the slope c, relu(x) + c * relu(-x) the slope -c.
    if (sub == n.minus) {
      for (float& v : slope) v = -v;
    }
    std::vector<Node*> nodes = n.nodes;
    nodes.push_back(relu);
    nodes.push_back(node);
    if (!finite || !IsSelfContained(nodes)) continue;
    Value* value = AddFloats(graph, node->name() + "_slope", dims, slope);
    Fuse(graph, {.op = "PRelu", .inputs = {n.x, value}}, node, nodes);
    return true;
  }
  return false;
}

// PRelu with one slope for all.
bool OneSlope(Graph& graph, Node* node) {
  auto slope = FloatsOf(node->input(1));
  if (!slope || slope->empty() || node->output()->dtype() != DType::kFloat32) return false;
  if (!std::all_of(slope->begin(), slope->end(), [&](float s) { return s == slope->front(); }))
    return false;
  return Finish(graph, node, node->input(0), slope->front(), {node});
}

bool Recover(Graph& graph, Node* node) {
  if (!node->domain().empty() || !node->output()) return false;
  const std::string& op = node->op();
  if (op == "Max" || op == "Min") return FromMax(graph, node);
  if (op == "Where") return FromWhere(graph, node);
  if (op == "Add" || op == "Sub") return FromRelus(graph, node);
  if (op == "PRelu") return OneSlope(graph, node);
  return false;
}

}  // namespace

Result<int> RecoverPRelu(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
