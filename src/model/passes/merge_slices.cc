#include <algorithm>
#include <limits>
#include <map>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

struct Range {
  int64_t start, end, step;
};

// The ranges of a Slice with constant, positive steps, by axis; ends beyond a known extent are cut
// off.
std::optional<std::map<int64_t, Range>> RangesOf(const Node* node) {
  if (!node || !node->Is("Slice")) return std::nullopt;
  const auto& shape = node->input(0)->type().shape;
  auto starts = IntsOf(node->input(1)), ends = IntsOf(node->input(2));
  if (!shape || !starts || !ends || starts->size() != ends->size()) return std::nullopt;
  std::vector<int64_t> axes(starts->size()), steps(starts->size(), 1);
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
  if (node->input(3)) {
    auto given = IntsOf(node->input(3));
    if (!given || given->size() != axes.size()) return std::nullopt;
    axes = *given;
  }
  if (node->input(4)) {
    auto given = IntsOf(node->input(4));
    if (!given || given->size() != axes.size()) return std::nullopt;
    steps = *given;
  }
  std::map<int64_t, Range> ranges;
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t axis = NormalAxis(axes[i], static_cast<int>(shape->size()));
    if (axis < 0 || axis >= static_cast<int64_t>(shape->size()) || steps[i] <= 0)
      return std::nullopt;
    Range r{(*starts)[i], (*ends)[i], steps[i]};
    const Dim& d = (*shape)[static_cast<size_t>(axis)];
    if (d.known()) {
      auto clamp = [&](int64_t v) {
        return std::clamp<int64_t>(v < 0 ? std::max(v, -d.value()) + d.value() : v, 0, d.value());
      };
      r.start = clamp(r.start);
      r.end = std::max(r.start, clamp(r.end));
    }
    ranges[axis] = r;
  }
  return ranges;
}

// Slice(Slice(x)): one Slice when they cut different axes, or the same with unit steps inside a
// known extent.
bool MergeChain(Graph& graph, Node* node) {
  auto outer = RangesOf(node);
  if (!outer) return false;
  Node* inner = node->input(0)->producer();
  auto ranges = RangesOf(inner);
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
    auto ranges = RangesOf(use.node);
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
