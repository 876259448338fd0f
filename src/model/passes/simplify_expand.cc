#include <unordered_set>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

bool Broadcasts(const Node* node) {
  static const std::unordered_set<std::string_view> kOps = {
      "Add",   "Sub",     "Mul",           "Div", "Pow", "Mod",   "Min",  "Max",
      "Sum",   "Mean",    "And",           "Or",  "Xor", "Equal", "Less", "LessOrEqual",
      "Where", "Greater", "GreaterOrEqual"};
  return node->domain().empty() && kOps.count(node->op());
}

// The operator broadcasts by itself: an Expand, Tile of ones or constant filling before it only
// costs time where the others already have the result's shape.
bool DropExpand(Graph& graph, Node* node) {
  if (!Broadcasts(node) || !node->output() || !node->output()->type().shape) return false;
  for (size_t i = 0; i < node->inputs().size(); ++i) {
    Value* v = node->input(i);
    Node* made = v ? v->producer() : nullptr;
    if (!made || !made->domain().empty()) continue;
    Value* source = nullptr;
    if (made->op() == "Expand") {
      source = made->input(0);
    } else if (made->op() == "Tile") {
      // Only dimensions of extent 1 are repeated.
      const auto &from = made->input(0)->type().shape, &to = v->type().shape;
      bool ones = from && to && from->size() == to->size();
      for (size_t d = 0; ones && d < from->size(); ++d)
        ones = (*from)[d].Is(1) || (*from)[d] == (*to)[d];
      if (ones) source = made->input(0);
    } else if (made->op() == "ConstantOfShape" && v->dtype() == DType::kFloat32) {
      // Its element, as a scalar (made below).
    } else {
      continue;
    }
    bool fill = made->op() == "ConstantOfShape";
    if (!fill && (!source || !source->type().shape)) continue;
    std::vector<SymShape> shapes;
    bool known = true;
    for (size_t j = 0; j < node->inputs().size(); ++j) {
      const Value* other = node->input(j);
      if (j == i) {
        shapes.push_back(fill ? SymShape{} : *source->type().shape);
      } else if (other && other->type().shape) {
        shapes.push_back(*other->type().shape);
      } else {
        known = false;
      }
    }
    if (!known || BroadcastShape(shapes) != *node->output()->type().shape) continue;
    if (fill) {
      if (made->attributes.Int("dtype", 1) != 1) continue;
      source = graph.AddConstant(v->name(),
                                 Tensor::Scalar<float>(made->attributes.Float("value_float", 0)));
    }
    graph.SetInput(node, i, source);
    return true;
  }
  return false;
}

// Tile that repeats only dimensions of extent 1 as an Expand, which may be a view.
bool TileToExpand(Graph& graph, Node* node) {
  if (!node->Is("Tile")) return false;
  auto repeats = IntsOf(node->input(1));
  const auto& shape = node->input(0)->type().shape;
  if (!repeats || !shape || repeats->size() != shape->size()) return false;
  bool any = false;
  for (size_t i = 0; i < shape->size(); ++i) {
    if ((*repeats)[i] == 1) continue;
    if (!(*shape)[i].Is(1) || (*repeats)[i] < 1) return false;
    any = true;
  }
  if (!any) return false;
  Fuse(graph, {.op = "Expand", .inputs = {node->input(0), node->input(1)}}, node, {node});
  return true;
}

// Expand(Expand(x)): the outer shape alone, when it is known and covers the inner one.
bool MergePair(Graph& graph, Node* node) {
  if (!node->Is("Expand")) return false;
  Node* inner = ProducerOf(node->input(0), "Expand");
  auto dims = StaticDimsOf(node->output());
  if (!inner || !dims) return false;
  Value* shape = AddInts(graph, "", std::vector<int64_t>(dims->begin(), dims->end()));
  Fuse(graph, {.op = "Expand", .inputs = {inner->input(0), shape}}, node, {inner, node});
  return true;
}

}  // namespace

Result<int> SimplifyExpand(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) {
    return DropExpand(graph, node) || TileToExpand(graph, node) || MergePair(graph, node);
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
