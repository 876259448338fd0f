// Sequences whose tensors the graph names, or that are one tensor cut into pieces: without them.

#include <algorithm>

#include "base/checked.h"
#include "model/passes/inline_body.h"
#include "model/passes/pass.h"
#include "model/passes/sequences.h"

namespace slipway::passes {
namespace {

// The SplitToSequence that makes a sequence, past identities.
const Node* SplitOf(const Value* sequence) {
  const Node* node = sequence->producer();
  while (node && node->Is("Identity") && node->input(0)) node = node->input(0)->producer();
  return node && node->Is("SplitToSequence") ? node : nullptr;
}

// The sizes of the pieces when all are known.
std::optional<std::vector<int64_t>> SizesOf(const Node& split) {
  constexpr int64_t kMost = 4096;
  const Value *x = split.input(0), *given = split.input(1);
  const auto rank = RankOf(x);
  const auto ints = IntsOf(given);
  if (!ints || !rank) return std::nullopt;
  if (given->constant()->dims().rank() == 1) return ints;
  const int64_t axis = NormalAxis(split.attributes.Int("axis", 0), *rank);
  if (axis < 0 || axis >= *rank || ints->size() != 1 || (*ints)[0] < 1) return std::nullopt;
  const Dim& d = (*x->type().shape)[static_cast<size_t>(axis)];
  const int64_t each = (*ints)[0];
  if (!d.known() || d.value() / each > kMost) return std::nullopt;
  std::vector<int64_t> sizes(static_cast<size_t>(d.value() / each), each);
  if (d.value() % each != 0) sizes.push_back(d.value() % each);
  return sizes;
}

bool SimplifyAt(Graph& graph, Node* node) {
  Value *sequence = node->input(0), *position = node->input(1);
  if (const auto at = PositionOf(position)) {
    if (const auto items = ItemsOf(sequence)) {
      const auto count = static_cast<int64_t>(items->size());
      const int64_t i = *at < 0 ? *at + count : *at;
      if (i < 0 || i >= count) return false;
      ReplaceOutput(graph, node, 0, (*items)[static_cast<size_t>(i)]);
      return true;
    }
  }
  const Node* split = SplitOf(sequence);
  if (!split) return false;
  if (!split->input(1)) {
    Value* piece = PieceOf(graph, split->input(0), *split, position, node->output()->type(), node);
    if (!piece) return false;
    ReplaceOutput(graph, node, 0, piece);
    return true;
  }
  const auto sizes = SizesOf(*split);
  const auto at = PositionOf(position);
  if (!sizes || !at) return false;
  const auto count = static_cast<int64_t>(sizes->size());
  const int64_t i = *at < 0 ? *at + count : *at;
  if (i < 0 || i >= count) return false;
  int64_t start = 0;
  for (int64_t k = 0; k <= i; ++k) {
    const auto next = CheckedAdd(start, (*sizes)[static_cast<size_t>(k)]);
    if (!next) return false;
    if (k < i) start = *next;
  }
  Value* piece = AddBefore(
      graph,
      {.op = "Slice",
       .inputs = {split->input(0), AddInts(graph, node->name() + "_start", {start}),
                  AddInts(graph, node->name() + "_end", {start + (*sizes)[static_cast<size_t>(i)]}),
                  AddInts(graph, node->name() + "_axis", {split->attributes.Int("axis", 0)})}},
      node->output()->type(), node, node);
  ReplaceOutput(graph, node, 0, piece);
  return true;
}

bool SimplifyLength(Graph& graph, Node* node) {
  Value* sequence = node->input(0);
  std::optional<int64_t> length;
  if (const auto items = ItemsOf(sequence)) length = static_cast<int64_t>(items->size());
  const Node* split = SplitOf(sequence);
  if (split && !split->input(1)) {
    Value* count = CountPieces(graph, split->input(0), *split, node);
    if (!count) return false;
    ReplaceOutput(graph, node, 0, count);
    return true;
  }
  if (split) {
    const auto dims = StaticDimsOf(split->input(1));
    if (dims && dims->rank() == 1) length = (*dims)[0];
    if (const auto sizes = SizesOf(*split)) length = static_cast<int64_t>(sizes->size());
  }
  if (!length) return false;
  ReplaceOutput(
      graph, node, 0,
      graph.AddConstant(node->output()->name() + "_known", Tensor::Scalar<int64_t>(*length)));
  return true;
}

bool SimplifyConcat(Graph& graph, Node* node) {
  const bool stack = node->attributes.Int("new_axis", 0) != 0;
  const int64_t axis = node->attributes.Int("axis", 0);
  if (const Node* split = SplitOf(node->input(0))) {
    // What was cut and is joined again.
    Value* x = split->input(0);
    const auto rank = RankOf(x);
    const bool drops = !split->input(1) && split->attributes.Int("keepdims", 1) == 0;
    if (!rank || drops != stack ||
        NormalAxis(split->attributes.Int("axis", 0), *rank) != NormalAxis(axis, *rank))
      return false;
    ReplaceOutput(graph, node, 0, x);
    return true;
  }
  const auto items = ItemsOf(node->input(0));
  if (!items || items->empty()) return false;
  std::vector<Value*> parts = *items;
  if (stack) {
    Value* axes = AddInts(graph, node->name() + "_axes", {axis});
    for (Value*& v : parts)
      v = AddBefore(graph, {.op = "Unsqueeze", .inputs = {v, axes}}, {v->dtype(), std::nullopt},
                    node, node);
  }
  Value* joined =
      AddBefore(graph, {.op = "Concat", .inputs = std::move(parts), .attributes = {{"axis", axis}}},
                node->output()->type(), node, node);
  ReplaceOutput(graph, node, 0, joined);
  return true;
}

}  // namespace

Result<int> SimplifySequence(ir::Graph& graph, const PassOptions&) {
  const int changes = VisitNodes(graph, [&](Node* node) {
    if (!node->output() || !node->output()->IsUsed()) return false;
    if (node->Is("SequenceAt")) return SimplifyAt(graph, node);
    if (node->Is("SequenceLength")) return SimplifyLength(graph, node);
    return node->Is("ConcatFromSequence") && SimplifyConcat(graph, node);
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
