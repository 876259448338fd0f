#include <algorithm>
#include <map>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

using Range = SliceRange;

// Slice(Slice(x)): one Slice when they cut different axes, or the same with unit steps inside a
// known extent.
bool MergeChain(Graph& graph, Node* node) {
  auto outer = SliceRangesOf(node);
  if (!outer) return false;
  Node* inner = node->input(0)->producer();
  auto ranges = SliceRangesOf(inner);
  if (!ranges || !node->input(0)->OnlyUser()) return false;
  const SymShape& shape = *inner->input(0)->type().shape;
  for (auto& [axis, r] : *outer) {
    auto found = ranges->find(axis);
    if (found == ranges->end()) {
      (*ranges)[axis] = r;
      continue;
    }
    Range& in = found->second;
    if (!shape[static_cast<size_t>(axis)].known() || in.step != 1) return false;
    in = {in.start + r.start, in.start + r.end, r.step};
  }
  std::vector<int64_t> starts, ends, axes, steps;
  for (auto& [axis, r] : *ranges) {
    starts.push_back(r.start);
    ends.push_back(r.end);
    axes.push_back(axis);
    steps.push_back(r.step);
  }
  Fuse(graph,
       {.op = "Slice",
        .inputs = {inner->input(0), AddInts(graph, "", starts), AddInts(graph, "", ends),
                   AddInts(graph, "", axes), AddInts(graph, "", steps)}},
       node, {inner, node});
  return true;
}

// Slices of `value` along one axis that follow each other and cover it become one Split.
bool ToSplit(Graph& graph, Value* value) {
  if (!value->type().shape || value->uses().size() < 2) return false;
  struct Piece {
    Range range;
    Node* node;
  };
  std::map<int64_t, std::vector<Piece>> by_axis;
  for (const Use& use : value->uses()) {
    if (use.index != 0) continue;
    auto ranges = SliceRangesOf(use.node);
    if (!ranges || ranges->size() != 1 || ranges->begin()->second.step != 1) continue;
    by_axis[ranges->begin()->first].push_back({ranges->begin()->second, use.node});
  }
  for (auto& [axis, pieces] : by_axis) {
    const Dim& extent = (*value->type().shape)[static_cast<size_t>(axis)];
    if (pieces.size() < 2 || !extent.known()) continue;
    std::sort(pieces.begin(), pieces.end(),
              [](const Piece& a, const Piece& b) { return a.range.start < b.range.start; });
    int64_t at = 0;
    bool covers = true;
    std::vector<int64_t> sizes;
    for (const Piece& p : pieces) {
      covers &= p.range.start == at && p.range.end > at && !p.node->output()->is_output();
      at = p.range.end;
      sizes.push_back(p.range.end - p.range.start);
    }
    if (!covers || at != extent.value()) continue;
    // Where the first of them stands.
    Node* first = nullptr;
    for (const auto& n : graph.nodes()) {
      for (const Piece& p : pieces) {
        if (!first && n.get() == p.node) first = p.node;
      }
      if (first) break;
    }
    Graph::NodeSpec spec{.op = "Split",
                         .inputs = {value, AddInts(graph, "", sizes)},
                         .attributes = {{"axis", axis}},
                         .name = first->name() + "/split",
                         .outputs = std::vector<std::string>(pieces.size())};
    Node* split = graph.AddNode(std::move(spec), first);
    for (size_t i = 0; i < pieces.size(); ++i) {
      Value* old = pieces[i].node->output();
      std::string name = old->name();
      split->output(i)->set_type(old->type());
      for (const std::string& s : pieces[i].node->sources) split->sources.push_back(s);
      graph.ReplaceAllUses(old, split->output(i));
      graph.RemoveNode(pieces[i].node);
      graph.Rename(split->output(i), name);
    }
    return true;
  }
  return false;
}

}  // namespace

Result<int> MergeSlices(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return MergeChain(graph, node); });
  changes += VisitNodes(
      graph, [&](Node* node) { return node->Is("Slice") && ToSplit(graph, node->input(0)); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
