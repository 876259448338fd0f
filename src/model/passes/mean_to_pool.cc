#include <algorithm>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// ReduceMean over exactly the dimensions behind the channels of an image (rank 3 to 5).
bool Convert(Graph& graph, Node* node) {
  if (!node->Is("ReduceMean") || node->output()->dtype() != DType::kFloat32) return false;
  auto axes = IntsOf(node->input(1));
  auto rank = RankOf(node->input(0));
  if (!axes || !rank || *rank < 4 || *rank > 5) return false;
  for (int64_t& a : *axes) a = NormalAxis(a, *rank);
  std::sort(axes->begin(), axes->end());
  if (static_cast<int>(axes->size()) != *rank - 2) return false;
  for (size_t i = 0; i < axes->size(); ++i) {
    if ((*axes)[i] != static_cast<int64_t>(i) + 2) return false;
  }
  Value* x = node->input(0);
  if (node->attributes.Int("keepdims", 1)) {
    Fuse(graph, {.op = "GlobalAveragePool", .inputs = {x}}, node, {node});
    return true;
  }
  const SymShape& in = *x->type().shape;
  auto target = ReshapeTarget(SymShape(in), {in[0], in[1]});
  if (!target) return false;
  SymShape pooled(in.size(), Dim(1));
  pooled[0] = in[0];
  pooled[1] = in[1];
  Node* pool = graph.AddNode(
      {.op = "GlobalAveragePool", .inputs = {x}, .name = node->name() + "/pool"}, node);
  pool->sources = node->sources;
  pool->output()->set_type({x->dtype(), pooled});
  Value* shape = AddInts(graph, "", *target);
  Fuse(graph, {.op = "Reshape", .inputs = {pool->output(), shape}}, node, {node});
  return true;
}

}  // namespace

Result<int> MeanToPool(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Convert(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
