#include <algorithm>
#include <cmath>

#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Constants of this size are weights: combining them would copy a model.
constexpr int64_t kMaxElements = 1 << 16;

// x op c for a float32 node with one constant operand.
struct Step {
  Value* x = nullptr;
  Value* c = nullptr;
  size_t c_index = 1;
};

std::optional<Step> StepOf(const Node* node, std::string_view op) {
  if (!node || !node->Is(op) || node->output()->dtype() != DType::kFloat32) return std::nullopt;
  for (size_t i : {size_t{1}, size_t{0}}) {
    Value *c = node->input(i), *x = node->input(1 - i);
    if (c && c->is_constant() && x && !x->is_constant() && c->constant()->count() <= kMaxElements)
      return Step{x, c, i};
  }
  return std::nullopt;
}

// (x + a) + b = x + (a + b), (x * a) * b = x * (a * b): one rounding less. A product or sum of the
// constants that is no normal number would change what overflows: left alone.
bool Merge(Graph& graph, Node* node) {
  const char* op = node->Is("Add") ? "Add" : node->Is("Mul") ? "Mul" : nullptr;
  auto outer = op ? StepOf(node, op) : std::nullopt;
  if (!outer || outer->x->OnlyUser() != node) return false;
  Node* before = outer->x->producer();
  auto inner = StepOf(before, op);
  if (!inner) return false;
  std::vector<Tensor> operands{*inner->c->constant(), *outer->c->constant()};
  auto joined = EvaluateOp(op, "", {}, operands);
  // A row and a column would make a matrix.
  if (!joined.ok() || joined->count() > std::max(operands[0].count(), operands[1].count()))
    return false;
  for (double v : joined->ToDoubles()) {
    bool zero = v == 0 && node->Is("Add");
    if (!zero && !std::isnormal(static_cast<float>(v))) return false;
  }
  Value* c = graph.AddConstant(outer->c->name(), std::move(*joined));
  Fuse(graph, {.op = op, .inputs = {inner->x, c}}, node, {before, node});
  return true;
}

// Signs: x + -y = x - y, x - -y = x + y, -1 * x = -x, -x * -y = x * y, -x / -y = x / y. Exact.
bool Signs(Graph& graph, Node* node) {
  if (!node->domain().empty() || node->inputs().size() != 2 || !IsFloating(node->output()->dtype()))
    return false;
  Value *a = node->input(0), *b = node->input(1);
  Node *minus_a = ProducerOf(a, "Neg"), *minus_b = ProducerOf(b, "Neg");
  if (node->op() == "Add" && (minus_a || minus_b)) {
    Fuse(
        graph,
        {.op = "Sub", .inputs = {minus_b ? a : b, minus_b ? minus_b->input(0) : minus_a->input(0)}},
        node, {minus_b ? minus_b : minus_a, node});
    return true;
  }
  if (node->op() == "Sub" && minus_b) {
    Fuse(graph, {.op = "Add", .inputs = {a, minus_b->input(0)}}, node, {minus_b, node});
    return true;
  }
  if ((node->op() == "Mul" || node->op() == "Div") && minus_a && minus_b) {
    std::vector<Node*> replaced{minus_a};
    if (minus_b != minus_a) replaced.push_back(minus_b);
    replaced.push_back(node);
    Fuse(graph, {.op = node->op(), .inputs = {minus_a->input(0), minus_b->input(0)}}, node,
         replaced);
    return true;
  }
  if (node->op() == "Mul") {
    ScalarOperand m = MatchScalarOperand(node, true);
    if (m && m.constant == -1 && SameShape(m.other, node->output())) {
      Fuse(graph, {.op = "Neg", .inputs = {m.other}}, node, {node});
      return true;
    }
  }
  return false;
}

}  // namespace

Result<int> MergeAffine(ir::Graph& graph, const PassOptions&) {
  int changes =
      VisitNodes(graph, [&](Node* node) { return Merge(graph, node) || Signs(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
