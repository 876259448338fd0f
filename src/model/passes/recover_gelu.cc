#include <algorithm>
#include <cmath>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

constexpr double kRelative = 1e-4;  // how far the constants in files may be off

bool Near(double a, double b) { return std::abs(a - b) <= kRelative * std::abs(b); }

void Append(std::vector<Node*>& to, const std::vector<Node*>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// 1 + f(...): the node that makes f(...).
Node* OnePlus(Value* value, std::string_view op, Node** add) {
  *add = ProducerOf(value, "Add");
  if (!*add) return nullptr;
  ScalarOperand m = MatchScalarOperand(*add, true);
  return m && m.constant == 1 ? ProducerOf(m.other, op) : nullptr;
}

// value = constant * x.
bool IsMultiple(Value* value, Value* x, double constant, std::vector<Node*>& nodes) {
  Product p = FlattenProduct(value->producer());
  if (p.factors.size() != 1 || p.factors[0] != x || !Near(p.constant, constant)) return false;
  Append(nodes, p.nodes);
  return true;
}

// value = constant * x^3 (as products or Pow).
bool IsCube(Value* value, Value* x, double constant, std::vector<Node*>& nodes) {
  Product p = FlattenProduct(value->producer());
  double c = p.constant;
  std::vector<Value*> factors = p.factors;
  Append(nodes, p.nodes);
  if (p.nodes.empty()) factors = {value};
  int power = 0;
  for (Value* f : factors) {
    Node* made = f->producer();
    if (f == x) {
      power += 1;
    } else if (made && made->Is("Pow") && made->input(0) == x && IsScalar(made->input(1), 3)) {
      power += 3;
      nodes.push_back(made);
    } else if (made && made->Is("Pow") && made->input(0) == x && IsScalar(made->input(1), 2)) {
      power += 2;
      nodes.push_back(made);
    } else if (made && made->Is("Mul") && made->input(0) == x && made->input(1) == x) {
      power += 2;
      nodes.push_back(made);
    } else {
      return false;
    }
  }
  return power == 3 && Near(c, constant);
}

// value = 0.79788 * (x + 0.044715 * x^3), also written 0.79788 * x * (1 + 0.044715 * x * x).
bool IsTanhArgument(Value* value, Value* x, std::vector<Node*>& nodes) {
  Product p = FlattenProduct(value->producer());
  if (!Near(p.constant, 0.79788456080286536)) return false;
  Append(nodes, p.nodes);
  if (p.factors.size() == 1) {
    Node* add = ProducerOf(p.factors[0], "Add");
    if (!add) return false;
    nodes.push_back(add);
    for (size_t i = 0; i < 2; ++i) {
      if (add->input(i) == x && IsCube(add->input(1 - i), x, 0.044715, nodes)) return true;
    }
    return false;
  }
  if (p.factors.size() != 2) return false;
  for (size_t i = 0; i < 2; ++i) {
    Node* add = ProducerOf(p.factors[1 - i], "Add");
    if (p.factors[i] != x || !add) continue;
    ScalarOperand one = MatchScalarOperand(add, true);
    if (!one || one.constant != 1) continue;
    Product square = FlattenProduct(one.other->producer());
    double c = square.constant;
    std::vector<Value*> factors = square.factors;
    Append(nodes, square.nodes);
    nodes.push_back(add);
    if (factors.size() == 1) {
      Node* made = factors[0]->producer();
      bool squares = made && made->input(0) == x &&
                     ((made->Is("Pow") && IsScalar(made->input(1), 2)) ||
                      (made->Is("Mul") && made->input(1) == x));
      if (!squares) return false;
      nodes.push_back(made);
      factors = {x, x};
    }
    return factors == std::vector<Value*>{x, x} && Near(c, 0.044715);
  }
  return false;
}

bool Recover(Graph& graph, Node* node) {
  Product p = FlattenProduct(node);
  if (p.factors.size() != 2 || !Near(p.constant, 0.5)) return false;
  for (size_t i = 0; i < 2; ++i) {
    Value* x = p.factors[i];
    if (x->dtype() != DType::kFloat32 || !SameShape(x, node->output())) continue;
    for (bool tanh : {false, true}) {
      Node* add;
      Node* f = OnePlus(p.factors[1 - i], tanh ? "Tanh" : "Erf", &add);
      if (!f) continue;
      std::vector<Node*> nodes;
      bool ok = tanh ? IsTanhArgument(f->input(0), x, nodes)
                     : IsMultiple(f->input(0), x, std::sqrt(0.5), nodes);
      if (!ok) continue;
      nodes.push_back(f);
      nodes.push_back(add);
      Append(nodes, p.nodes);
      if (!IsSelfContained(nodes)) continue;
      ir::Attributes attributes;
      if (tanh) attributes.Set("approximate", std::string("tanh"));
      Fuse(graph, {.op = "Gelu", .inputs = {x}, .attributes = attributes}, node, nodes);
      return true;
    }
  }
  return false;
}

}  // namespace

Result<int> RecoverGelu(ir::Graph& graph, const PassOptions&) {
  // From the end: the root of a product is seen before its parts.
  int changes = VisitNodes(
      graph, [&](Node* node) { return Recover(graph, node); }, true);
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
