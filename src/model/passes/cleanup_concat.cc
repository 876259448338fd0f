#include <algorithm>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

std::optional<int64_t> ConcatAxis(const Node* node) {
  if (!node || !node->Is("Concat")) return std::nullopt;
  auto rank = RankOf(node->output());
  if (!rank) return std::nullopt;
  int64_t axis = NormalAxis(node->attributes.Int("axis", 0), *rank);
  if (axis < 0 || axis >= *rank) return std::nullopt;
  return axis;
}

std::optional<int64_t> ExtentOf(const Value* value, int64_t axis) {
  if (!value || !value->type().shape || axis >= static_cast<int64_t>(value->type().shape->size()))
    return std::nullopt;
  const Dim& d = (*value->type().shape)[static_cast<size_t>(axis)];
  if (!d.known()) return std::nullopt;
  return d.value();
}

Node* Rebuild(Graph& graph, Node* node, int64_t axis, std::vector<Value*> inputs,
              std::vector<Node*> replaced) {
  replaced.push_back(node);
  return Fuse(graph, {.op = "Concat", .inputs = std::move(inputs), .attributes = {{"axis", axis}}},
              node, replaced);
}

// Concat(a, Concat(b, c), d) along one axis.
bool Flatten(Graph& graph, Node* node) {
  auto axis = ConcatAxis(node);
  if (!axis) return false;
  std::vector<Value*> inputs;
  std::vector<Node*> inner;
  for (Value* v : node->inputs()) {
    Node* made = v->producer();
    if (v->OnlyUser() && ConcatAxis(made) == axis) {
      inputs.insert(inputs.end(), made->inputs().begin(), made->inputs().end());
      inner.push_back(made);
    } else {
      inputs.push_back(v);
    }
  }
  return !inner.empty() && Rebuild(graph, node, *axis, inputs, inner);
}

// Inputs that are empty along the axis.
bool DropEmpty(Graph& graph, Node* node) {
  auto axis = ConcatAxis(node);
  if (!axis) return false;
  std::vector<Value*> kept;
  for (Value* v : node->inputs()) {
    if (ExtentOf(v, *axis) != 0) kept.push_back(v);
  }
  if (kept.empty() || kept.size() == node->inputs().size()) return false;
  return Rebuild(graph, node, *axis, kept, {});
}

// A part of a tensor along one axis: a Slice with unit steps, or an output of a Split.
struct Piece {
  Value* of = nullptr;
  int64_t axis = 0, start = 0, end = 0;
};

std::optional<Piece> PieceOf(const Value* value) {
  Node* node = value->producer();
  if (!node) return std::nullopt;
  if (auto ranges = SliceRangesOf(node)) {
    if (ranges->size() != 1) return std::nullopt;
    auto& [axis, r] = *ranges->begin();
    if (r.step != 1 || !ExtentOf(node->input(0), axis)) return std::nullopt;
    return Piece{node->input(0), axis, r.start, r.end};
  }
  int64_t axis = 0;
  auto sizes = SplitSizesOf(node, &axis);
  if (!sizes) return std::nullopt;
  Piece p{node->input(0), axis, 0, 0};
  for (int i = 0; i < value->producer_index(); ++i) p.start += (*sizes)[static_cast<size_t>(i)];
  p.end = p.start + (*sizes)[static_cast<size_t>(value->producer_index())];
  return p;
}

// Concat of pieces that follow each other: the tensor they come from, or one Slice of it.
bool JoinPieces(Graph& graph, Node* node) {
  auto axis = ConcatAxis(node);
  if (!axis || node->inputs().size() < 2) return false;
  std::vector<Value*> inputs;
  bool joined = false;
  for (size_t i = 0; i < node->inputs().size();) {
    auto piece = PieceOf(node->input(i));
    size_t next = i + 1;
    if (piece && piece->axis == *axis) {
      for (; next < node->inputs().size(); ++next) {
        auto more = PieceOf(node->input(next));
        if (!more || more->of != piece->of || more->axis != *axis || more->start != piece->end)
          break;
        piece->end = more->end;
      }
    }
    if (next == i + 1) {
      inputs.push_back(node->input(i));
    } else if (piece->start == 0 && piece->end == ExtentOf(piece->of, *axis)) {
      inputs.push_back(piece->of);
      joined = true;
    } else {
      SymShape shape = *piece->of->type().shape;
      shape[static_cast<size_t>(*axis)] = Dim(piece->end - piece->start);
      Graph::NodeSpec slice{
          .op = "Slice",
          .inputs = {piece->of, AddInts(graph, "", {piece->start}),
                     AddInts(graph, "", {piece->end}), AddInts(graph, "", {*axis})},
          .name = node->name() + "/slice"};
      inputs.push_back(AddBefore(graph, std::move(slice), {piece->of->dtype(), shape}, node, node));
      joined = true;
    }
    i = next;
  }
  if (!joined) return false;
  if (inputs.size() == 1) {
    if (BypassNode(graph, node, inputs[0])) return true;
    Fuse(graph, {.op = "Identity", .inputs = inputs}, node, {node});
    return true;
  }
  Rebuild(graph, node, *axis, inputs, {});
  return true;
}

// Slice(Concat(a, b, ...)) that lies inside one of them.
bool SliceOfConcat(Graph& graph, Node* node) {
  auto ranges = SliceRangesOf(node);
  if (!ranges) return false;
  Node* concat = node->input(0)->producer();
  auto axis = ConcatAxis(concat);
  if (!axis) return false;
  auto found = ranges->find(*axis);
  if (found == ranges->end()) return false;
  const SliceRange& r = found->second;
  if (!ExtentOf(concat->output(), *axis) || r.start >= r.end) return false;
  int64_t at = 0;
  for (Value* part : concat->inputs()) {
    auto extent = ExtentOf(part, *axis);
    if (!extent) return false;
    if (r.start >= at && r.end <= at + *extent) {
      std::vector<int64_t> starts, ends, axes, steps;
      for (const auto& [a, range] : *ranges) {
        int64_t shift = a == *axis ? at : 0;
        starts.push_back(range.start - shift);
        ends.push_back(range.end - shift);
        axes.push_back(a);
        steps.push_back(range.step);
      }
      Fuse(graph,
           {.op = "Slice",
            .inputs = {part, AddInts(graph, "", starts), AddInts(graph, "", ends),
                       AddInts(graph, "", axes), AddInts(graph, "", steps)}},
           node, {node});
      return true;
    }
    at += *extent;
  }
  return false;
}

// Split(Concat(a, b, ...)) into exactly those.
bool SplitOfConcat(Graph& graph, Node* node) {
  int64_t axis = 0;
  auto sizes = SplitSizesOf(node, &axis);
  if (!sizes) return false;
  Node* concat = node->input(0)->producer();
  if (ConcatAxis(concat) != axis || concat->inputs().size() != sizes->size()) return false;
  for (size_t i = 0; i < sizes->size(); ++i) {
    const Value* out = node->output(i);
    if (ExtentOf(concat->input(i), axis) != (*sizes)[i] || (out && out->is_output())) return false;
  }
  for (size_t i = 0; i < sizes->size(); ++i) {
    if (node->output(i)) ReplaceValue(graph, node->output(i), concat->input(i));
  }
  graph.RemoveNode(node);
  return true;
}

}  // namespace

Result<int> CleanupConcat(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) {
    return Flatten(graph, node) || DropEmpty(graph, node) || JoinPieces(graph, node) ||
           SliceOfConcat(graph, node) || SplitOfConcat(graph, node);
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
