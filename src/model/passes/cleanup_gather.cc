#include <algorithm>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Gather with constant, consecutive indices along a known extent: [first, first + count).
struct Run {
  int64_t axis = 0, first = 0, count = 0;
  bool scalar = false;  // the axis goes
};

std::optional<Run> RunOf(const Node* node) {
  if (!node || !node->Is("Gather")) return std::nullopt;
  // Selections from a shape are what fold-constants and inference follow; leave them as they are.
  const Value* data = node->input(0);
  auto rank = RankOf(data);
  if (!rank || *rank < 1 || data->is_constant() || ProducerOf(data, "Shape")) return std::nullopt;
  auto indices = IntsOf(node->input(1));
  if (!indices || indices->empty() || node->constant_input(1)->dims().rank() > 1)
    return std::nullopt;
  Run run;
  run.axis = NormalAxis(node->attributes.Int("axis", 0), *rank);
  if (run.axis < 0 || run.axis >= *rank) return std::nullopt;
  const Dim& extent = (*data->type().shape)[static_cast<size_t>(run.axis)];
  run.scalar = node->constant_input(1)->dims().rank() == 0;
  run.count = static_cast<int64_t>(indices->size());
  for (int64_t& i : *indices) {
    if (i < 0) {
      if (!extent.known()) return std::nullopt;
      i += extent.value();
    }
  }
  run.first = indices->front();
  for (int64_t i = 0; i < run.count; ++i) {
    if ((*indices)[static_cast<size_t>(i)] != run.first + i) return std::nullopt;
  }
  // An index out of range is an error that must stay one. A symbolic extent is at least 1.
  if (run.first < 0) return std::nullopt;
  if (extent.known() ? run.first + run.count > extent.value() : run.first + run.count > 1)
    return std::nullopt;
  return run;
}

bool ToSlice(Graph& graph, Node* node) {
  auto run = RunOf(node);
  if (!run) return false;
  Value* x = node->input(0);
  SymShape sliced = *x->type().shape;
  sliced[static_cast<size_t>(run->axis)] = Dim(run->count);
  std::vector<Value*> inputs{x, AddInts(graph, "", {run->first}),
                             AddInts(graph, "", {run->first + run->count}),
                             AddInts(graph, "", {run->axis})};
  if (!run->scalar) {
    Fuse(graph, {.op = "Slice", .inputs = inputs}, node, {node});
    return true;
  }
  Value* piece =
      AddBefore(graph, {.op = "Slice", .inputs = inputs, .name = node->name() + "/slice"},
                {x->dtype(), sliced}, node, node);
  Fuse(graph, {.op = "Squeeze", .inputs = {piece, AddInts(graph, "", {run->axis})}}, node, {node});
  return true;
}

}  // namespace

Result<int> CleanupGather(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return ToSlice(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
