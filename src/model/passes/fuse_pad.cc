#include <algorithm>
#include <limits>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// pads of a constant-mode Pad, [begin..., end...] for every axis; nullopt when they are not
// constant or negative.
std::optional<std::vector<int64_t>> PadsOf(const Node* pad, int rank) {
  if (pad->attributes.String("mode", "constant") != "constant") return std::nullopt;
  auto pads = IntsOf(pad->input(1));
  if (!pads) return std::nullopt;
  size_t n = static_cast<size_t>(rank);
  if (pad->input(3)) {
    auto axes = IntsOf(pad->input(3));
    if (!axes || pads->size() != 2 * axes->size()) return std::nullopt;
    std::vector<int64_t> all(2 * n);
    for (size_t i = 0; i < axes->size(); ++i) {
      int64_t axis = NormalAxis((*axes)[i], rank);
      if (axis < 0 || axis >= rank) return std::nullopt;
      all[static_cast<size_t>(axis)] = (*pads)[i];
      all[static_cast<size_t>(axis) + n] = (*pads)[i + axes->size()];
    }
    pads = all;
  }
  if (pads->size() != 2 * n ||
      std::any_of(pads->begin(), pads->end(), [](int64_t p) { return p < 0; }))
    return std::nullopt;
  return pads;
}

bool Has(const Node* node, const char* name, int64_t other_than) {
  auto v = node->attributes.Ints(name);
  return std::any_of(v.begin(), v.end(), [&](int64_t x) { return x != other_than; });
}

bool FuseOne(Graph& graph, Node* node) {
  bool conv = node->Is("Conv"), max = node->Is("MaxPool"), average = node->Is("AveragePool");
  if (!conv && !max && !average) return false;
  Node* pad = ProducerOf(node->input(0), "Pad");
  auto rank = RankOf(node->input(0));
  if (!pad || !rank || *rank < 3 || pad->input(0)->dtype() != DType::kFloat32) return false;
  if (node->attributes.String("auto_pad", "NOTSET") != "NOTSET") return false;
  if (node->attributes.Int("ceil_mode", 0) || (node->output(1) && node->output(1)->IsUsed()))
    return false;
  auto pads = PadsOf(pad, *rank);
  if (!pads) return false;
  size_t n = static_cast<size_t>(*rank), spatial = n - 2;
  if ((*pads)[0] || (*pads)[1] || (*pads)[n] || (*pads)[n + 1]) return false;
  double value = 0;
  if (pad->input(2)) {
    auto v = ScalarOf(pad->input(2));
    if (!v) return false;
    value = *v;
  }
  auto old = node->attributes.Ints("pads");
  std::vector<int64_t> sum(2 * spatial);
  for (size_t i = 0; i < spatial; ++i) {
    sum[i] = (*pads)[i + 2] + (old.empty() ? 0 : old[i]);
    sum[i + spatial] = (*pads)[n + i + 2] + (old.empty() ? 0 : old[i + spatial]);
  }
  ir::Attributes attributes = node->attributes;
  if (max) {
    // MaxPool pads with minus infinity: the same where that is the value, or where nothing is below
    // zero anyway and no window lies in the padding alone.
    bool lowest = value <= std::numeric_limits<float>::lowest();
    Node* before = pad->input(0)->producer();
    auto kernel = node->attributes.Ints("kernel_shape");
    bool inside = !Has(node, "dilations", 1);
    for (size_t i = 0; i < spatial && inside; ++i)
      inside = sum[i] < kernel[i] && sum[i + spatial] < kernel[i];
    if (!lowest && !(value == 0 && before && before->Is("Relu") && inside && !Has(node, "pads", 0)))
      return false;
  } else if (value != 0) {
    return false;
  } else if (average) {
    if (Has(node, "pads", 0) && !node->attributes.Int("count_include_pad", 0)) return false;
    attributes.Set("count_include_pad", int64_t{1});
  }
  attributes.Set("pads", sum);
  std::vector<Value*> inputs = node->inputs();
  inputs[0] = pad->input(0);
  Fuse(graph, {.op = node->op(), .inputs = inputs, .attributes = attributes}, node, {pad, node});
  return true;
}

}  // namespace

Result<int> FusePad(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
