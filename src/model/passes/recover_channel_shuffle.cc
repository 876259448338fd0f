#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// [N, C, spatial...] -> [N, g, C / g, spatial...] with g and C / g exchanged -> [N, C, spatial...]:
// the channels in another order.
bool Recover(Graph& graph, Node* join) {
  if (!join->Is("Reshape")) return false;
  Node* transpose = ProducerOf(join->input(0), "Transpose");
  const auto perm = PermOf(transpose);
  if (!perm || perm->size() < 4) return false;
  for (size_t i = 0; i < perm->size(); ++i) {
    const size_t from = i == 1 ? 2 : i == 2 ? 1 : i;
    if ((*perm)[i] != static_cast<int64_t>(from)) return false;
  }
  Node* split = ProducerOf(transpose->input(0), "Reshape");
  if (!split || !IsSelfContained({split, transpose, join})) return false;
  const auto& from = split->input(0)->type().shape;
  const auto& parts = split->output()->type().shape;
  const auto& to = join->output()->type().shape;
  if (!from || !parts || !to || parts->size() != perm->size() ||
      from->size() + 1 != parts->size() || !(*from == *to)) {
    return false;
  }
  const Dim &groups = (*parts)[1], &size = (*parts)[2];
  if (!groups.known() || !size.known() || groups.value() < 2 || size.value() < 2) return false;
  bool fits = (*parts)[0] == (*from)[0] && (*from)[1].Is(groups.value() * size.value());
  for (size_t i = 2; i < from->size(); ++i) fits &= (*parts)[i + 1] == (*from)[i];
  if (!fits) return false;
  std::vector<int64_t> channels;
  for (int64_t i = 0; i < size.value(); ++i) {
    for (int64_t g = 0; g < groups.value(); ++g) channels.push_back(g * size.value() + i);
  }
  Fuse(graph,
       {.op = "Gather",
        .inputs = {split->input(0), AddInts(graph, join->name() + "/channels", channels)},
        .attributes = {{"axis", int64_t{1}}}},
       transpose, {split, transpose, join});
  return true;
}

}  // namespace

Result<int> RecoverChannelShuffle(ir::Graph& graph, const PassOptions&) {
  const int changes = VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
