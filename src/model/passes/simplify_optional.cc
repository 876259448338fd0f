// Optionals of which the graph says whether they hold something.

#include "model/passes/inline_body.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

// The node that makes an optional, past identities.
const Node* MakerOf(const Value* v) {
  const Node* node = v->producer();
  while (node && node->Is("Identity") && node->input(0)) node = node->input(0)->producer();
  return node && node->Is("Optional") ? node : nullptr;
}

bool GetElement(Graph& graph, Node* node) {
  Value* x = node->input(0);
  if (x->dtype() == DType::kUndefined) return false;
  if (x->type().is_optional()) {
    const Node* maker = MakerOf(x);
    if (!maker || !maker->input(0)) return false;
    x = maker->input(0);
  }
  ReplaceOutput(graph, node, 0, x);
  return true;
}

bool HasElement(Graph& graph, Node* node) {
  const Value* x = node->input(0);
  bool has = x != nullptr;
  if (x) {
    if (x->dtype() == DType::kUndefined) return false;
    const Node* maker = x->type().is_optional() ? MakerOf(x) : nullptr;
    if (x->type().is_optional() && !maker) return false;
    has = !maker || maker->input(0);
  }
  ReplaceOutput(graph, node, 0,
                graph.AddConstant(node->output()->name() + "_known", Tensor::Scalar<bool>(has)));
  return true;
}

}  // namespace

Result<int> SimplifyOptional(ir::Graph& graph, const PassOptions&) {
  const int changes = VisitNodes(graph, [&](Node* node) {
    if (!node->output() || !node->output()->IsUsed()) return false;
    if (node->Is("OptionalGetElement")) return GetElement(graph, node);
    return node->Is("OptionalHasElement") && HasElement(graph, node);
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
