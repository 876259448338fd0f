#include "model/passes/epilogue.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

bool FuseOne(Graph& graph, Node* node) {
  if (!node->Is("Add") || node->output()->dtype() != DType::kFloat32) return false;
  Node* user = node->output()->OnlyUser();
  auto activation = user && user->input(0) == node->output() ? ActivationOf(user) : std::nullopt;
  if (!activation) return false;
  ir::Attributes attributes;
  activation->WriteTo(attributes);
  Fuse(graph,
       {.op = "Add",
        .inputs = node->inputs(),
        .attributes = attributes,
        .domain = ir::kSlipwayDomain},
       node, {node, user});
  return true;
}

}  // namespace

Result<int> FuseAdd(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
