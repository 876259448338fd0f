#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Reshape [batch, length, heads * size] to [batch, length, heads, size] and Transpose to [batch,
// heads, length, size]: what it starts from; null when `value` is made otherwise.
Value* BeforeHeads(const Value* value) {
  static const std::vector<int64_t> kSwap = {0, 2, 1, 3};
  Node* transpose = ProducerOf(value, "Transpose");
  if (PermOf(transpose) != kSwap) return nullptr;
  Node* reshape = ProducerOf(transpose->input(0), "Reshape");
  if (!reshape) return nullptr;
  Value* x = reshape->input(0);
  const auto &from = x->type().shape, &to = reshape->output()->type().shape;
  if (!from || !to || from->size() != 3 || to->size() != 4) return nullptr;
  bool fits = (*from)[0] == (*to)[0] && (*from)[1] == (*to)[1] && (*to)[2].known() &&
              (*from)[2] == (*to)[2] * (*to)[3];
  return fits ? x : nullptr;
}

// Attention reads and writes the heads where they lie: with operands of rank 3 the splitting into
// heads and back disappears.
bool Flatten(Graph& graph, Node* node) {
  static const std::vector<int64_t> kSwap = {0, 2, 1, 3};
  if (!node->Is("Attention") || RankOf(node->input(0)) != 4) return false;
  Node* transpose = node->output()->OnlyUser();
  if (!transpose || PermOf(transpose) != kSwap) return false;
  Node* join = transpose->output()->OnlyUser();
  if (!join || !join->Is("Reshape") || !transpose->output()->type().shape) return false;
  const SymShape& heads = *transpose->output()->type().shape;
  const auto& joined = join->output()->type().shape;
  if (!joined || joined->empty() || !heads[2].known() || !(joined->back() == heads[2] * heads[3]))
    return false;
  std::vector<Value*> inputs = node->inputs();
  for (size_t i = 0; i < 3; ++i) {
    inputs[i] = BeforeHeads(node->input(i));
    if (!inputs[i]) return false;
  }
  const Dim& kv = (*node->input(1)->type().shape)[1];
  if (!kv.known()) return false;
  SymShape flat{heads[0], heads[1], joined->back()};
  auto target = ReshapeTarget(flat, *joined);
  if (!target) return false;
  ir::Attributes attributes = node->attributes;
  attributes.Set("q_num_heads", heads[2].value());
  attributes.Set("kv_num_heads", kv.value());
  std::string name = node->name();
  Value* made = AddBefore(
      graph,
      {.op = "Attention", .inputs = inputs, .attributes = attributes, .name = name + "/flat"},
      {node->output()->dtype(), flat}, node, node);
  if (flat == *joined) {
    if (!BypassNode(graph, join, made)) return false;
  } else {
    Fuse(graph, {.op = "Reshape", .inputs = {made, AddInts(graph, "", *target)}}, join,
         {transpose, join});
  }
  graph.RemoveUnused();
  if (!graph.FindNode(name)) graph.Rename(made->producer(), name);
  return true;
}

}  // namespace

Result<int> FlattenAttention(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Flatten(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
