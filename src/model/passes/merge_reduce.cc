#include <algorithm>
#include <set>
#include <unordered_set>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

std::optional<std::vector<int64_t>> AxesOf(const Node* node) {
  auto rank = RankOf(node->input(0));
  auto axes = IntsOf(node->input(1));
  if (!rank || !axes || axes->empty()) return std::nullopt;
  for (int64_t& a : *axes) {
    a = NormalAxis(a, *rank);
    if (a < 0 || a >= *rank) return std::nullopt;
  }
  return axes;
}

// The same reduction twice is one over the axes of both. (A mean of means of equally many elements
// is the mean of all.)
bool MergePair(Graph& graph, Node* node) {
  static const std::unordered_set<std::string_view> kOps = {"ReduceSum", "ReduceMean", "ReduceMax",
                                                            "ReduceMin", "ReduceProd", "ReduceL1"};
  if (!node->domain().empty() || !kOps.count(node->op())) return false;
  Node* inner = ProducerOf(node->input(0), node->op());
  if (!inner || !node->input(0)->OnlyUser()) return false;
  bool keep = node->attributes.Int("keepdims", 1) != 0;
  bool inner_keep = inner->attributes.Int("keepdims", 1) != 0;
  if (keep != inner_keep) return false;
  auto outer_axes = AxesOf(node), inner_axes = AxesOf(inner);
  if (!outer_axes || !inner_axes) return false;
  std::set<int64_t> all(inner_axes->begin(), inner_axes->end());
  if (keep) {
    all.insert(outer_axes->begin(), outer_axes->end());
  } else {
    // The outer axes count what the inner one left.
    std::vector<int64_t> left;
    for (int64_t i = 0; i < *RankOf(inner->input(0)); ++i) {
      if (!all.count(i)) left.push_back(i);
    }
    for (int64_t a : *outer_axes) all.insert(left[static_cast<size_t>(a)]);
  }
  Value* axes = AddInts(graph, "", std::vector<int64_t>(all.begin(), all.end()));
  Fuse(graph,
       {.op = node->op(),
        .inputs = {inner->input(0), axes},
        .attributes = {{"keepdims", int64_t{keep}}}},
       node, {inner, node});
  return true;
}

// ReduceMax(x, all of the image), AveragePool and MaxPool with a window as large as the image.
bool ToGlobalPool(Graph& graph, Node* node) {
  Value* x = node->input(0);
  if (!x || x->dtype() != DType::kFloat32) return false;
  auto rank = RankOf(x);
  if (!rank || *rank < 4 || *rank > 5) return false;
  if (node->Is("ReduceMax") && node->attributes.Int("keepdims", 1)) {
    auto axes = AxesOf(node);
    if (!axes) return false;
    std::sort(axes->begin(), axes->end());
    for (int64_t i = 2; i < *rank; ++i) {
      if (axes->size() != static_cast<size_t>(*rank - 2) ||
          (*axes)[static_cast<size_t>(i - 2)] != i)
        return false;
    }
    Fuse(graph, {.op = "GlobalMaxPool", .inputs = {x}}, node, {node});
    return true;
  }
  bool average = node->Is("AveragePool");
  if (!average && !node->Is("MaxPool")) return false;
  if (node->output(1) && node->output(1)->IsUsed()) return false;
  auto none = [&](const char* name, int64_t neutral) {
    auto v = node->attributes.Ints(name);
    return std::all_of(v.begin(), v.end(), [&](int64_t i) { return i == neutral; });
  };
  auto kernel = node->attributes.Ints("kernel_shape");
  const std::string_view pad = node->attributes.String("auto_pad", "NOTSET");
  bool unpadded = none("pads", 0) && (pad == "NOTSET" || pad == "VALID");
  if (!unpadded || !none("dilations", 1) || static_cast<int>(kernel.size()) != *rank - 2)
    return false;
  for (size_t i = 0; i < kernel.size(); ++i) {
    if (!(*x->type().shape)[i + 2].Is(kernel[i])) return false;
  }
  Fuse(graph, {.op = average ? "GlobalAveragePool" : "GlobalMaxPool", .inputs = {x}}, node, {node});
  return true;
}

}  // namespace

Result<int> MergeReduce(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(
      graph, [&](Node* node) { return MergePair(graph, node) || ToGlobalPool(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
