#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Nearest-neighbour upsampling by whole factors written as [N, C, H, 1, W, 1] -> Expand or Tile to
// [N, C, H, a, W, b] -> [N, C, aH, bW] (frameworks' old Upsample, repeat_interleave).
bool Recover(Graph& graph, Node* join) {
  if (!join->Is("Reshape")) return false;
  Node* spread = join->input(0)->producer();
  if (!spread || !(spread->Is("Expand") || spread->Is("Tile"))) return false;
  Node* open = ProducerOf(spread->input(0), "Reshape");
  if (!open) open = ProducerOf(spread->input(0), "Unsqueeze");
  if (!open || !IsSelfContained({spread, join}) || open->output()->OnlyUser() != spread)
    return false;
  Value* x = open->input(0);
  const auto &from = x->type().shape, &ones = open->output()->type().shape,
             &parts = spread->output()->type().shape, &to = join->output()->type().shape;
  if (!from || !ones || !parts || !to || x->dtype() != DType::kFloat32 || from->size() != 4 ||
      ones->size() != 6 || parts->size() != 6 || to->size() != 4)
    return false;
  const Dim &a = (*parts)[3], &b = (*parts)[5];
  if (!a.known() || !b.known() || !(*ones)[3].Is(1) || !(*ones)[5].Is(1)) return false;
  for (size_t i = 0; i < 3; ++i) {
    if (!((*ones)[i] == (*from)[i]) || !((*parts)[i] == (*from)[i])) return false;
  }
  bool fits = (*ones)[4] == (*from)[3] && (*parts)[4] == (*from)[3] && (*to)[0] == (*from)[0] &&
              (*to)[1] == (*from)[1] && (*to)[2] == (*from)[2] * a && (*to)[3] == (*from)[3] * b;
  if (!fits) return false;
  std::vector<float> scales{1, 1, static_cast<float>(a.value()), static_cast<float>(b.value())};
  Fuse(graph,
       {.op = "Resize",
        .inputs = {x, nullptr, AddFloats(graph, "", {4}, scales)},
        .attributes = {{"coordinate_transformation_mode", std::string("asymmetric")},
                       {"mode", std::string("nearest")},
                       {"nearest_mode", std::string("floor")}}},
       spread, {open, spread, join});
  return true;
}

}  // namespace

Result<int> RecoverUpsample(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
