#include "model/passes/sequences.h"

namespace slipway::passes {

std::optional<int64_t> PositionOf(const Value* value) {
  const auto ints = IntsOf(value);
  if (!ints || ints->size() != 1) return std::nullopt;
  return (*ints)[0];
}

std::optional<std::vector<Value*>> ItemsOf(const Value* sequence) {
  constexpr size_t kMost = 4096;  // edits, and tensors
  std::vector<const Node*> edits;
  std::vector<Value*> items;
  for (const Value* at = sequence;;) {
    const Node* n = at ? at->producer() : nullptr;
    if (!n || edits.size() > kMost) return std::nullopt;
    if (n->Is("SequenceEmpty")) break;
    if (n->Is("SequenceConstruct")) {
      items = n->inputs();
      break;
    }
    if (n->Is("SequenceInsert") || n->Is("SequenceErase"))
      edits.push_back(n);
    else if (!n->Is("Identity"))
      return std::nullopt;
    at = n->input(0);
  }
  for (size_t i = edits.size(); i-- > 0;) {
    const Node* n = edits[i];
    const bool insert = n->Is("SequenceInsert");
    const auto count = static_cast<int64_t>(items.size());
    int64_t at = insert ? count : count - 1;
    if (const Value* given = n->input(insert ? 2 : 1)) {
      const auto position = PositionOf(given);
      if (!position) return std::nullopt;
      at = *position < 0 ? *position + count : *position;
    }
    // What is out of range is the interpreter's to report.
    if (at < 0 || at >= count + (insert ? 1 : 0) || items.size() > kMost) return std::nullopt;
    if (insert)
      items.insert(items.begin() + at, n->input(1));
    else
      items.erase(items.begin() + at);
  }
  return items;
}

Value* PieceOf(Graph& graph, Value* x, const Node& split, Value* position, const Type& type,
               Node* before) {
  const bool keep = split.attributes.Int("keepdims", 1) != 0;
  const auto rank = RankOf(position);
  if (!rank || *rank > 1) return nullptr;
  if (*rank != (keep ? 1 : 0))
    position = AddReshape(graph, position, keep ? SymShape{Dim(1)} : SymShape{}, before);
  if (!position) return nullptr;
  return AddBefore(graph,
                   {.op = "Gather",
                    .inputs = {x, position},
                    .attributes = {{"axis", split.attributes.Int("axis", 0)}}},
                   type, before, before);
}

Value* CountPieces(Graph& graph, Value* x, const Node& split, Node* before) {
  const auto rank = RankOf(x);
  if (!rank) return nullptr;
  const int64_t axis = NormalAxis(split.attributes.Int("axis", 0), *rank);
  if (axis < 0 || axis >= *rank) return nullptr;
  const Dim& d = (*x->type().shape)[static_cast<size_t>(axis)];
  if (d.known())
    return graph.AddConstant(x->name() + "_pieces", Tensor::Scalar<int64_t>(d.value()));
  Value* one = AddBefore(
      graph, {.op = "Shape", .inputs = {x}, .attributes = {{"start", axis}, {"end", axis + 1}}},
      {DType::kInt64, SymShape{Dim(1)}}, before, before);
  return AddReshape(graph, one, SymShape{}, before);
}

}  // namespace slipway::passes
