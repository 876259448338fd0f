#include <algorithm>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Every element of a bool constant is `wanted`.
bool AllAre(const Value* value, bool wanted) {
  const Tensor* t = value ? value->constant() : nullptr;
  if (!t || t->dtype() != DType::kBool || t->count() == 0 || t->count() > 1 << 20) return false;
  auto bytes = t->bytes();
  return std::all_of(bytes.begin(), bytes.end(),
                     [&](auto b) { return (static_cast<int>(b) != 0) == wanted; });
}

bool Passes(const Value* from, const Node* node) {
  return SameShape(from, node->output()) && from->dtype() == node->output()->dtype();
}

bool SimplifyWhere(Graph& graph, Node* node) {
  Value *condition = node->input(0), *a = node->input(1), *b = node->input(2);
  if (a == b && Passes(a, node)) return BypassNode(graph, node, a);
  for (bool wanted : {true, false}) {
    Value* taken = wanted ? a : b;
    if (AllAre(condition, wanted) && Passes(taken, node) && BypassNode(graph, node, taken))
      return true;
  }
  if (Node* inverse = ProducerOf(condition, "Not")) {
    Fuse(graph, {.op = "Where", .inputs = {inverse->input(0), b, a}}, node, {inverse, node});
    return true;
  }
  // Where(c, 1, 0) is the number of the truth value.
  if (IsScalar(a, 1) && IsScalar(b, 0) && SameShape(condition, node->output())) {
    int64_t to = static_cast<int64_t>(node->output()->dtype());
    Fuse(graph, {.op = "Cast", .inputs = {condition}, .attributes = {{"to", to}}}, node, {node});
    return true;
  }
  return false;
}

// Not of a comparison of integers is the opposite comparison (a NaN would answer false to both).
bool SimplifyNot(Graph& graph, Node* node) {
  Node* compare = node->input(0)->producer();
  if (!compare || !compare->domain().empty() || compare->inputs().size() != 2 ||
      !IsInteger(compare->input(0)->dtype()) || !node->input(0)->OnlyUser())
    return false;
  static const std::pair<std::string_view, const char*> kOpposite[] = {{"Less", "GreaterOrEqual"},
                                                                       {"GreaterOrEqual", "Less"},
                                                                       {"Greater", "LessOrEqual"},
                                                                       {"LessOrEqual", "Greater"}};
  for (const auto& [op, opposite] : kOpposite) {
    if (compare->op() != op) continue;
    Fuse(graph, {.op = opposite, .inputs = compare->inputs()}, node, {compare, node});
    return true;
  }
  return false;
}

bool SimplifyAndOr(Graph& graph, Node* node) {
  bool neutral = node->op() == "And";
  for (size_t i = 0; i < 2; ++i) {
    Value* other = node->input(1 - i);
    bool drop = AllAre(node->input(i), neutral) || node->input(i) == other;
    if (drop && Passes(other, node) && BypassNode(graph, node, other)) return true;
  }
  return false;
}

// A comparison of a truth value that became a number: Equal(Cast(b), 1), Greater(Cast(b), 0) are
// b; Equal(Cast(b), 0) is Not(b).
bool CompareCast(Graph& graph, Node* node) {
  ScalarOperand m = MatchScalarOperand(node, node->Is("Equal"));
  Node* cast = m ? ProducerOf(m.other, "Cast") : nullptr;
  if (!cast || cast->input(0)->dtype() != DType::kBool || !Passes(cast->input(0), node))
    return false;
  bool yes = node->Is("Equal") ? m.constant == 1 : m.constant >= 0 && m.constant < 1;
  if (yes) return BypassNode(graph, node, cast->input(0));
  if (!node->Is("Equal") || m.constant != 0) return false;
  Fuse(graph, {.op = "Not", .inputs = {cast->input(0)}}, node, {cast, node});
  return true;
}

bool Simplify(Graph& graph, Node* node) {
  if (!node->domain().empty() || !node->output()) return false;
  const std::string& op = node->op();
  if (op == "Where") return SimplifyWhere(graph, node);
  if (op == "Not") return SimplifyNot(graph, node);
  if (op == "And" || op == "Or") return SimplifyAndOr(graph, node);
  if (op == "Equal" || op == "Greater") return CompareCast(graph, node);
  return false;
}

}  // namespace

Result<int> SimplifyLogic(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Simplify(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
