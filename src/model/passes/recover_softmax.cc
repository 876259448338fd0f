#include <algorithm>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// The one axis of a reduction that keeps its rank; nullopt otherwise.
std::optional<int64_t> OneAxis(const Node* node, std::string_view op) {
  if (!node || !node->Is(op) || !node->attributes.Int("keepdims", 1)) return std::nullopt;
  auto axes = IntsOf(node->input(1));
  auto rank = RankOf(node->input(0));
  if (!axes || axes->size() != 1 || !rank) return std::nullopt;
  return NormalAxis((*axes)[0], *rank);
}

// What is exponentiated: x, or x - max(x) along the axis. With the largest element taken off first
// (as Softmax does by itself) nothing overflows; where the file does not do so, results for
// elements above 88 become finite.
struct Shifted {
  Value* x = nullptr;
  std::vector<Node*> nodes;
};

Shifted TakeOffMaximum(Value* value, int64_t axis) {
  Node* sub = ProducerOf(value, "Sub");
  if (sub) {
    Node* max = ProducerOf(sub->input(1), "ReduceMax");
    if (OneAxis(max, "ReduceMax") == axis && max->input(0) == sub->input(0))
      return {sub->input(0), {max, sub}};
  }
  return {value, {}};
}

bool Replace(Graph& graph, const char* op, Value* x, int64_t axis, Node* main,
             const std::vector<Node*>& nodes) {
  if (x->dtype() != DType::kFloat32 || !IsSelfContained(nodes)) return false;
  Fuse(graph, {.op = op, .inputs = {x}, .attributes = {{"axis", axis}}}, main, nodes);
  return true;
}

// Exp(s) / ReduceSum(Exp(s)), also as a product with the reciprocal.
bool FromExp(Graph& graph, Node* node) {
  for (size_t i = 0; i < 2; ++i) {
    Value *numerator = node->input(i), *divisor = node->input(1 - i);
    std::vector<Node*> tail;
    if (node->Is("Div")) {
      if (i == 1) break;
    } else {
      Node* reciprocal = ProducerOf(divisor, "Reciprocal");
      if (!reciprocal) continue;
      divisor = reciprocal->input(0);
      tail.push_back(reciprocal);
    }
    Node *exp = ProducerOf(numerator, "Exp"), *sum = ProducerOf(divisor, "ReduceSum");
    auto axis = OneAxis(sum, "ReduceSum");
    if (!exp || !axis || sum->input(0) != numerator) continue;
    Shifted s = TakeOffMaximum(exp->input(0), *axis);
    std::vector<Node*> nodes = s.nodes;
    nodes.insert(nodes.end(), {exp, sum});
    nodes.insert(nodes.end(), tail.begin(), tail.end());
    nodes.push_back(node);
    if (Replace(graph, "Softmax", s.x, *axis, node, nodes)) return true;
    // The maximum may be used by somebody else: then what was shifted is the input.
    nodes.erase(nodes.begin(), nodes.begin() + static_cast<ptrdiff_t>(s.nodes.size()));
    if (Replace(graph, "Softmax", exp->input(0), *axis, node, nodes)) return true;
  }
  return false;
}

// Log(Softmax(x)).
bool LogOfSoftmax(Graph& graph, Node* node) {
  Node* softmax = ProducerOf(node->input(0), "Softmax");
  return softmax && Replace(graph, "LogSoftmax", softmax->input(0),
                            softmax->attributes.Int("axis", -1), node, {softmax, node});
}

// s - Log(ReduceSum(Exp(s))).
bool FromLogSum(Graph& graph, Node* node) {
  Node* log = ProducerOf(node->input(1), "Log");
  Node* sum = log ? ProducerOf(log->input(0), "ReduceSum") : nullptr;
  auto axis = OneAxis(sum, "ReduceSum");
  Node* exp = axis ? ProducerOf(sum->input(0), "Exp") : nullptr;
  if (!exp || exp->input(0) != node->input(0)) return false;
  Shifted s = TakeOffMaximum(exp->input(0), *axis);
  std::vector<Node*> nodes = s.nodes;
  nodes.insert(nodes.end(), {exp, sum, log, node});
  return Replace(graph, "LogSoftmax", s.x, *axis, node, nodes);
}

bool Recover(Graph& graph, Node* node) {
  if (!node->domain().empty() || !node->output()) return false;
  const std::string& op = node->op();
  if (op == "Div" || op == "Mul") return FromExp(graph, node);
  if (op == "Log") return LogOfSoftmax(graph, node);
  if (op == "Sub") return FromLogSum(graph, node);
  return false;
}

}  // namespace

Result<int> RecoverSoftmax(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
